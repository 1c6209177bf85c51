//! A plan in words and numbers for a person: where the rollout stands, what comes next and why, what holds it. Pure.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use serde::Serialize;
use steersman_shared::conditions::find;
use steersman_shared::objects::{Deployment, ReplicaSet};
use steersman_shared::ownership::{self, ClaimDecision};
use steersman_shared::wire::REVISION;

use crate::action::{
    Action, CREATE_ERROR, DEADLINE_EXCEEDED, NEW_REPLICA_SET_AVAILABLE, NoRollback, PAUSED, PROGRESSING,
    RollbackCause, ScaleCause,
};
use crate::plan::find::Family;
use crate::plan::hold::Hold;
use crate::plan::{Plan, Snapshot, Strategy, annotations, conditions, fenceposts, rollback, size, status};
use crate::plan::{desired_replicas, is_paused, strategy};

/// What a plan means.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Where the rollout stands.
    pub phase: Phase,
    /// Revision of the present template; `None` until its ReplicaSet exists.
    pub revision: Option<String>,
    /// `spec.strategy.type`.
    pub strategy: String,
    /// Its ReplicaSets: the new one, then the old ones, youngest first.
    pub replica_sets: Vec<Member>,
    /// Pods as the ReplicaSets report them now.
    pub pods: Counts,
    /// What the strategy allows.
    pub budget: Budget,
    /// The plan's actions, in order.
    pub next: Vec<Step>,
    /// What holds the rollout up.
    pub held_by: Vec<Hold>,
    /// The API server refused the new ReplicaSet, in its words (DEP-20).
    pub refused: Option<String>,
    /// The progress deadline, if one is in force (DEP-73).
    pub deadline: Option<Deadline>,
    /// When time alone changes the plan; `None`: only a change does.
    pub wake_at: Option<Timestamp>,
}

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Phase {
    /// All pods are of the present template and available (DEP-75).
    Complete,
    /// On its way.
    RollingOut,
    /// The template is rolled out; pods were lost or the size was changed since.
    Degraded,
    /// `spec.paused`.
    Paused,
    /// No progress for longer than the deadline (DEP-78).
    TimedOut,
    /// A rollback is asked for by annotation (DEP-95).
    RollingBack,
    /// Being deleted (DEP-3).
    Deleting,
    /// The selector is empty: it is left alone (DEP-2).
    SelectsAll,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Complete => "rolled out",
            Self::RollingOut => "rolling out",
            Self::Degraded => "rolled out, but not all pods are available",
            Self::Paused => "paused",
            Self::TimedOut => "no progress for longer than its deadline",
            Self::RollingBack => "rolling back",
            Self::Deleting => "being deleted",
            Self::SelectsAll => "left alone: its selector is empty and would select all pods",
        })
    }
}

/// A ReplicaSet of the Deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Name.
    pub name: String,
    /// It has the present template (DEP-10).
    pub is_new: bool,
    /// Its revision annotation; empty if it has none.
    pub revision: String,
    /// `spec.replicas`.
    pub size: i32,
    /// `status.replicas`: pods that are neither finished nor terminating.
    pub pods: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
    /// `status.availableReplicas`.
    pub available: i32,
    /// `status.terminatingReplicas`; 0 where the API server does not keep it.
    pub terminating: i32,
}

/// Pods of a Deployment (DEP-62).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// `spec.replicas`.
    pub desired: i32,
    /// Of the present template.
    pub updated: i32,
    /// All.
    pub total: i32,
    /// Ready ones.
    pub ready: i32,
    /// Available ones.
    pub available: i32,
}

/// What the strategy allows (DEP-31 to DEP-35).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Pods that may exist beyond the desired ones.
    pub surge: i64,
    /// Pods that may be missing.
    pub unavailable: i64,
    /// Most pods at a time.
    pub most: i64,
    /// Fewest available pods.
    pub fewest: i64,
}

/// An action with its reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// For a person.
    pub text: String,
    /// As planned.
    pub action: Action,
}

/// The progress deadline (DEP-73 to DEP-78).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Deadline {
    /// `spec.progressDeadlineSeconds`.
    pub seconds: i64,
    /// Last progress; `None` before the first one.
    pub since: Option<Timestamp>,
    /// When it passes; `None` while it does not count: complete, paused, or nothing rolled out yet.
    pub passes_at: Option<Timestamp>,
    /// The rollout counts as failed.
    pub is_exceeded: bool,
}

/// Explains `plan`, which was made from `snapshot` at `now`.
#[must_use]
pub fn explain(snapshot: &Snapshot, plan: &Plan, now: Timestamp) -> Explanation {
    let deployment = snapshot.deployment.as_ref();
    let family = Family::of(deployment, &claimed(snapshot));
    // Counts as the next status has them: the stored one may be older than the ReplicaSets.
    let counts = status::plain(deployment, &family, &deployment.status, now);
    let (surge, unavailable) = (fenceposts::surge(deployment), fenceposts::unavailable(deployment));
    let desired = desired_replicas(deployment);
    let progressing = find(
        deployment.status.conditions.as_deref().unwrap_or_default(),
        PROGRESSING,
    );
    let refused = progressing.filter(|it| it.reason.as_deref() == Some(CREATE_ERROR));
    Explanation {
        phase: phase(snapshot, &counts, progressing),
        revision: family.new.as_ref().map(|new| revision(new)),
        strategy: match strategy(deployment) {
            Strategy::RollingUpdate => "RollingUpdate".to_owned(),
            Strategy::Recreate => "Recreate".to_owned(),
            Strategy::Unknown => deployment.spec.strategy.type_.clone().unwrap_or_default(),
        },
        replica_sets: members(&family),
        pods: Counts {
            desired,
            updated: counts.updated_replicas.unwrap_or_default(),
            total: counts.replicas.unwrap_or_default(),
            ready: counts.ready_replicas.unwrap_or_default(),
            available: counts.available_replicas.unwrap_or_default(),
        },
        budget: Budget {
            surge,
            unavailable,
            most: i64::from(desired) + surge,
            fewest: fenceposts::min_available(deployment),
        },
        next: plan
            .actions
            .iter()
            .map(|action| Step {
                text: sentence(action, deployment),
                action: action.clone(),
            })
            .collect(),
        held_by: plan.held_by.clone(),
        refused: refused.and_then(|it| it.message.clone()),
        deadline: deadline(deployment, &counts, progressing),
        wake_at: plan.wake_at,
    }
}

fn claimed(snapshot: &Snapshot) -> Vec<Arc<ReplicaSet>> {
    let owner = &snapshot.deployment.metadata;
    let is_claimed = |child: &&Arc<ReplicaSet>| {
        let matches = snapshot.selector.selects(child.as_ref());
        let decision = ownership::decide(owner, &child.metadata, matches);
        matches!(decision, ClaimDecision::Claimed | ClaimDecision::Adopt)
    };
    snapshot.children.iter().filter(is_claimed).cloned().collect()
}

fn reason(condition: Option<&DeploymentCondition>) -> &str {
    condition.and_then(|it| it.reason.as_deref()).unwrap_or_default()
}

fn phase(snapshot: &Snapshot, counts: &DeploymentStatus, progressing: Option<&DeploymentCondition>) -> Phase {
    let deployment = snapshot.deployment.as_ref();
    if snapshot.selector.is_empty() {
        Phase::SelectsAll
    } else if deployment.metadata.deletion_timestamp.is_some() {
        Phase::Deleting
    } else if is_paused(deployment) {
        Phase::Paused
    } else if rollback::requested(deployment).is_some() {
        Phase::RollingBack
    } else if conditions::is_complete(deployment, counts) {
        Phase::Complete
    } else if reason(progressing) == DEADLINE_EXCEEDED {
        Phase::TimedOut
    } else if reason(progressing) == NEW_REPLICA_SET_AVAILABLE
        && counts.replicas.unwrap_or_default() == counts.updated_replicas.unwrap_or_default()
    {
        Phase::Degraded
    } else {
        Phase::RollingOut
    }
}

fn revision(replica_set: &ReplicaSet) -> String {
    let value = annotations::value(replica_set.metadata.annotations.as_ref(), REVISION);
    value.unwrap_or_default().to_owned()
}

fn members(family: &Family) -> Vec<Member> {
    let member = |it: &Arc<ReplicaSet>, is_new| Member {
        name: it.metadata.name.clone().unwrap_or_default(),
        is_new,
        revision: revision(it),
        size: size(it),
        pods: it.status.replicas,
        ready: it.status.ready_replicas.unwrap_or_default(),
        available: it.status.available_replicas.unwrap_or_default(),
        terminating: it.status.terminating_replicas.unwrap_or_default(),
    };
    let new = family.new.iter().map(|it| member(it, true));
    new.chain(family.old.iter().rev().map(|it| member(it, false)))
        .collect()
}

fn deadline(
    deployment: &Deployment,
    counts: &DeploymentStatus,
    progressing: Option<&DeploymentCondition>,
) -> Option<Deadline> {
    let length = conditions::deadline(deployment)?;
    let since = progressing
        .and_then(|it| it.last_update_time.as_ref())
        .map(|time| time.0);
    let is_exceeded = reason(progressing) == DEADLINE_EXCEEDED;
    let counts_on = !is_exceeded
        && ![PAUSED, NEW_REPLICA_SET_AVAILABLE].contains(&reason(progressing))
        && !conditions::is_complete(deployment, counts);
    Some(Deadline {
        seconds: length.as_secs(),
        since,
        passes_at: since
            .filter(|_| counts_on)
            .and_then(|since| since.checked_add(length).ok()),
        is_exceeded,
    })
}

/// An action and its reason.
fn sentence(action: &Action, deployment: &Deployment) -> String {
    match action {
        Action::Adopt { name, .. } => {
            format!("adopt ReplicaSet {name}: it matches the selector and nothing controls it")
        }
        Action::Release { name, .. } => {
            format!("release ReplicaSet {name}: the selector does not match it any more")
        }
        Action::Create(new) => format!(
            "create ReplicaSet {} with {}: none has the present template",
            new.name,
            count(i64::from(new.replicas), "pod")
        ),
        Action::Annotate {
            target,
            annotations,
            min_ready_seconds,
        } => {
            let seconds = min_ready_seconds.map(|seconds| format!("minReadySeconds {seconds}"));
            let keys = annotations.keys().map(|key| format!("annotation {key}"));
            let what: Vec<_> = seconds.into_iter().chain(keys).collect();
            format!("bring ReplicaSet {} up to date: {}", target.name, what.join(", "))
        }
        Action::Scale { target, from, to, .. } if from == to => format!(
            "refresh the size annotations of ReplicaSet {}: the Deployment was resized",
            target.name
        ),
        Action::Scale {
            target,
            from,
            to,
            cause,
            ..
        } => {
            let why = match cause {
                ScaleCause::Resized => "the Deployment was resized",
                ScaleCause::RolloutUp if to > from => "there is room for pods of the present template",
                ScaleCause::RolloutUp => "it is larger than asked for",
                ScaleCause::RolloutDown => "pods of the present template take over, or these are unhealthy",
                ScaleCause::Recreate => "all pods of the former template go first",
            };
            format!("scale ReplicaSet {} from {from} to {to}: {why}", target.name)
        }
        Action::Delete { target } => format!(
            "delete ReplicaSet {}: more old revisions than revisionHistoryLimit keeps",
            target.name
        ),
        Action::Rollback(rollback) => match &rollback.cause {
            RollbackCause::Requested => format!(
                "roll back to revision {}, as the annotation asks",
                rollback.revision
            ),
            RollbackCause::Policy { message, .. } => {
                format!("roll back to revision {}: {message}", rollback.revision)
            }
        },
        Action::Mark { target, key, .. } => {
            format!(
                "note on ReplicaSet {} for the RolloutPolicy: annotation {key}",
                target.name
            )
        }
        Action::ClearRollback { cause, .. } => {
            let why = match cause {
                NoRollback::NoLastRevision => "there is no earlier revision",
                NoRollback::RevisionNotFound => "no ReplicaSet has that revision",
                NoRollback::TemplateUnchanged => "that revision has the present template",
            };
            format!("drop the request to roll back: {why}")
        }
        Action::ReportSelectingAll => "report by event that the selector is empty".to_owned(),
        Action::ReportCreateError { message } => format!("report by event: {message}"),
        Action::WriteStatus(write) => {
            format!(
                "write status: {}",
                changes(&deployment.status, &write.status, write.revision.as_deref())
            )
        }
    }
}

fn count(number: i64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What a status write changes.
fn changes(before: &DeploymentStatus, after: &DeploymentStatus, revision: Option<&str>) -> String {
    let mut changes = Vec::new();
    if let Some(revision) = revision {
        changes.push(format!("revision {revision}"));
    }
    for (name, old, new) in [
        ("replicas", before.replicas, after.replicas),
        ("updated", before.updated_replicas, after.updated_replicas),
        ("ready", before.ready_replicas, after.ready_replicas),
        ("available", before.available_replicas, after.available_replicas),
        (
            "terminating",
            before.terminating_replicas,
            after.terminating_replicas,
        ),
    ] {
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        if old != new {
            changes.push(format!("{name} {old} to {new}"));
        }
    }
    if before.observed_generation != after.observed_generation {
        let generation = after.observed_generation.unwrap_or_default();
        changes.push(format!("observed generation {generation}"));
    }
    if before.collision_count != after.collision_count {
        changes.push("another hash for the next ReplicaSet: the name is taken".to_owned());
    }
    let stored = before.conditions.as_deref().unwrap_or_default();
    for condition in after.conditions.iter().flatten() {
        let old = find(stored, &condition.type_);
        if old.map(|it| (&it.status, &it.reason)) != Some((&condition.status, &condition.reason)) {
            let reason = condition.reason.as_deref().unwrap_or_default();
            changes.push(format!("{}={} ({reason})", condition.type_, condition.status));
        }
    }
    let kept = after.conditions.as_deref().unwrap_or_default();
    for condition in stored.iter().filter(|it| find(kept, &it.type_).is_none()) {
        changes.push(format!("no {} any more", condition.type_));
    }
    if changes.is_empty() {
        changes.push("times of conditions".to_owned());
    }
    changes.join(", ")
}
