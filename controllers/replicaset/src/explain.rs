//! A plan in words and numbers for a person: what comes next and why, and which pods are not available. Pure.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use steersman_shared::conditions::find;
use steersman_shared::obstacle::Obstacle;
use steersman_shared::{ownership, pods};

use crate::action::{Action, DeleteCause, REPLICA_FAILURE};
use crate::plan::{Hold, Plan, Snapshot};

/// What a plan means.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Name of the ReplicaSet.
    pub name: String,
    /// Its controller as `Kind/name`, if there is one.
    pub controller: Option<String>,
    /// Its pods, counted now.
    pub pods: Counts,
    /// The plan's actions, in order.
    pub next: Vec<Step>,
    /// What holds it up, apart from its pods.
    pub held_by: Vec<Hold>,
    /// Pods could not be created or deleted at the last attempt (RS-62).
    pub failure: Option<Failure>,
    /// Pods that are not available, and pods that are still terminating, by name.
    pub blocked: Vec<Blocked>,
    /// When time alone changes the plan; `None`: only a change does.
    pub wake_at: Option<Timestamp>,
}

/// Pods that a ReplicaSet controls (RS-53 to RS-57).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// `spec.replicas`.
    pub desired: i32,
    /// Neither finished nor terminating.
    pub active: usize,
    /// Ready ones.
    pub ready: usize,
    /// Available ones.
    pub available: usize,
    /// Being deleted.
    pub terminating: usize,
    /// Succeeded or Failed: replaced, but not deleted (RS-23).
    pub finished: usize,
}

/// An action with its reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// For a person.
    pub text: String,
    /// As planned.
    pub action: Action,
}

/// The condition `ReplicaFailure`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub reason: String,
    /// The API server's words.
    pub message: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// A pod that is not available, or not gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// Name of the pod.
    pub pod: String,
    /// Why.
    pub obstacle: Obstacle,
}

/// Explains `plan`, which was made from `snapshot` at `now`.
#[must_use]
pub fn explain(snapshot: &Snapshot, plan: &Plan, now: Timestamp) -> Explanation {
    let replica_set = snapshot.replica_set.as_ref();
    let seconds = replica_set.spec.min_ready_seconds.unwrap_or_default();
    let min_ready = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let mut counts = Counts {
        desired: replica_set.spec.replicas.unwrap_or(1),
        ..Counts::default()
    };
    let mut blocked = Vec::new();
    let own = |pod: &&Arc<Pod>| {
        ownership::controller_of(pod.as_ref()).is_some_and(|it| ownership::refers_to(it, replica_set))
            && snapshot.selector.selects(pod.as_ref())
    };
    for pod in snapshot.pods.iter().filter(own) {
        counts.active += usize::from(pods::is_active(pod));
        counts.terminating += usize::from(pods::is_terminating(pod));
        counts.finished += usize::from(pods::is_finished(pod));
        let ready = pods::is_active(pod) && pods::is_ready(pod);
        counts.ready += usize::from(ready);
        counts.available += usize::from(ready && pods::is_available(pod, now, min_ready));
        blocked.extend(Obstacle::of(pod, now, min_ready).map(|obstacle| Blocked {
            pod: pod.metadata.name.clone().unwrap_or_default(),
            obstacle,
        }));
    }
    let conditions = replica_set.status.conditions.as_deref().unwrap_or_default();
    let failure = find(conditions, REPLICA_FAILURE).map(|it| Failure {
        reason: it.reason.clone().unwrap_or_default(),
        message: it.message.clone().unwrap_or_default(),
        since: it.last_transition_time.as_ref().map(|time| time.0),
    });
    Explanation {
        name: replica_set.metadata.name.clone().unwrap_or_default(),
        controller: ownership::controller_of(replica_set).map(|it| format!("{}/{}", it.kind, it.name)),
        pods: counts,
        next: plan
            .actions
            .iter()
            .map(|action| Step {
                text: sentence(action, snapshot),
                action: action.clone(),
            })
            .collect(),
        held_by: plan.held_by.clone(),
        failure,
        blocked,
        wake_at: plan.wake_at,
    }
}

/// An action and its reason.
fn sentence(action: &Action, snapshot: &Snapshot) -> String {
    match action {
        Action::AdoptPod { name, .. } => {
            format!("adopt pod {name}: it matches the selector and nothing controls it")
        }
        Action::ReleasePod { name, .. } => {
            format!("release pod {name}: the selector does not match it any more")
        }
        Action::CreatePods { count } => {
            format!("create {count} pod{}", if *count == 1 { "" } else { "s" })
        }
        Action::DeletePod { name, cause, .. } => {
            let why = match cause {
                DeleteCause::Unassigned => "one too many, and not on a node yet",
                DeleteCause::NotRunning => "one too many, and not running",
                DeleteCause::NotReady => "one too many, and not ready",
                DeleteCause::Surplus => "one too many; cost, spread, age and restarts decided for this one",
            };
            format!("delete pod {name}: {why}")
        }
        Action::WriteStatus(write) => {
            let (before, after) = (&snapshot.replica_set.status, &write.status);
            let mut changes = Vec::new();
            for (name, old, new) in [
                ("replicas", Some(before.replicas), Some(after.replicas)),
                (
                    "fully labelled",
                    before.fully_labeled_replicas,
                    after.fully_labeled_replicas,
                ),
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
            if changes.is_empty() {
                changes.push("conditions".to_owned());
            }
            format!("write status: {}", changes.join(", "))
        }
    }
}
