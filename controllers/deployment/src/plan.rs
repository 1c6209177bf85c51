//! From a snapshot of one Deployment to what is to be written next (DEP-1). Pure: no I/O, no clock.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DeploymentStatus, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde::Serialize;
use steersman_shared::objects::{self, Deployment, ReplicaSet, ReplicaSetSpec, Uid};
use steersman_shared::ownership::{self, ClaimDecision};
use steersman_shared::selector::Selector;
use steersman_shared::wire::REVISION;

use crate::action::{Action, NewReplicaSet, ScaleCause, StatusWrite, Target};
use crate::{Error, Result};
use annotations::{Annotations, HISTORY_LIMIT, Stage};
use find::Family;
pub use garbage::Garbage;
pub use hold::Hold;
use policy::back::Back;
use policy::{Assessment, Governed};

pub mod annotations;
pub mod conditions;
pub mod fenceposts;
pub mod find;
pub mod garbage;
pub mod history;
pub mod hold;
#[cfg(test)]
mod invariants;
pub mod policy;
pub mod recreate;
pub mod rollback;
pub mod rolling;
pub mod scale;
pub mod status;
pub mod template;
#[cfg(test)]
mod tests;

/// Everything that [`plan`] reads, and nothing else.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The Deployment.
    pub deployment: Arc<Deployment>,
    /// Its selector.
    pub selector: Selector,
    /// ReplicaSets that it controls and orphans in its namespace, sorted by name.
    pub children: Vec<Arc<ReplicaSet>>,
    /// Children that own a pod which is neither Succeeded nor Failed, terminating ones included. Only needed for the
    /// strategy Recreate.
    pub unfinished: BTreeSet<Uid>,
    /// The RolloutPolicy that the Deployment follows; `None`: everything is as upstream does it.
    pub governed: Option<Governed>,
}

/// What to do, why nothing more, and when to look again.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// In the order in which they are applied.
    pub actions: Vec<Action>,
    /// What holds the rollout up: `explain` prints it.
    pub held_by: Vec<Hold>,
    /// Earliest moment at which time alone changes the plan; `None`: only a change does.
    pub wake_at: Option<Timestamp>,
    /// Annotations that are ignored because they cannot be read (DEP-28, DEP-30).
    pub garbage: Vec<Garbage>,
}

impl Plan {
    /// Whether the status write may be left to the sync that follows from the plan's own scaling: it changes nothing but
    /// counts, and these change again as soon as the caches show the new sizes (DEP-5, DEP-63). Conditions, a revision or
    /// a generation not acknowledged yet do not wait.
    #[must_use]
    pub fn has_passing_status(&self, deployment: &Deployment) -> bool {
        let is_resize = |action: &Action| matches!(action, Action::Scale { from, to, .. } if from != to);
        let Some((Action::WriteStatus(write), others)) = self.actions.split_last() else {
            return false;
        };
        let (status, stored) = (&write.status, &deployment.status);
        let kinds = |status: &DeploymentStatus| -> Vec<_> {
            let conditions = status.conditions.iter().flatten();
            conditions
                .map(|it| (it.type_.clone(), it.status.clone(), it.reason.clone()))
                .collect()
        };
        !others.is_empty()
            && others.iter().all(is_resize)
            && write.revision.is_none()
            && status.observed_generation == stored.observed_generation
            && status.collision_count == stored.collision_count
            && kinds(status) == kinds(stored)
    }

    /// The plan without its status write.
    #[must_use]
    pub fn without_status(mut self) -> Self {
        self.actions
            .retain(|action| !matches!(action, Action::WriteStatus(_)));
        self
    }
}

/// A new size for one ReplicaSet; equal sizes refresh its size annotations.
#[derive(Clone, Debug)]
pub struct Resize {
    /// As in the snapshot.
    pub replica_set: Arc<ReplicaSet>,
    /// Size before this step.
    pub from: i32,
    /// Size after it.
    pub to: i32,
}

/// `spec.strategy.type`, where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Pods are replaced step by step.
    RollingUpdate,
    /// All old pods go before the first new one comes.
    Recreate,
    /// Not one of ours: an error of that Deployment (DEP-1).
    Unknown,
}

/// Strategy of a Deployment; the API server defaults it to RollingUpdate.
#[must_use]
pub fn strategy(deployment: &Deployment) -> Strategy {
    match deployment.spec.strategy.type_.as_deref() {
        None | Some("" | "RollingUpdate") => Strategy::RollingUpdate,
        Some("Recreate") => Strategy::Recreate,
        Some(_) => Strategy::Unknown,
    }
}

/// `spec.replicas`; the API server defaults it to 1.
#[must_use]
pub fn desired_replicas(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

/// `spec.replicas` of a ReplicaSet; the API server defaults it to 1.
#[must_use]
pub fn size(replica_set: &ReplicaSet) -> i32 {
    replica_set.spec.replicas.unwrap_or(1)
}

/// `spec.paused`.
#[must_use]
pub fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.paused.unwrap_or_default()
}

/// A number of pods as the API has it; saturates.
fn pods(count: i64) -> i32 {
    i32::try_from(count).unwrap_or(if count < 0 { i32::MIN } else { i32::MAX })
}

/// The claims of a sync whose plan fails: they come before all that can be wrong with the spec (DEP-1).
#[must_use]
pub fn claims(snapshot: &Snapshot, now: Timestamp) -> Plan {
    Plan {
        actions: Draft::new(snapshot, now).actions,
        ..Plan::default()
    }
}

/// Plans one sync (DEP-1).
///
/// # Errors
/// The strategy is unknown, `maxSurge` does not parse (DEP-36), or the selector does not match the template.
pub fn plan(snapshot: &Snapshot, now: Timestamp) -> Result<Plan> {
    let deployment = snapshot.deployment.as_ref();
    if snapshot.selector.is_empty() {
        return Ok(selecting_all(deployment));
    }
    let mut draft = Draft::new(snapshot, now);
    if deployment.metadata.deletion_timestamp.is_some() {
        draft.sync_new();
        return Ok(draft.with_plain_status());
    }
    conditions::note_pause(deployment, draft.notes.conditions.get_or_insert_default(), now);
    draft.note_policy();
    if is_paused(deployment) {
        draft.held_by.push(Hold::Paused);
        draft.sync_new();
        draft.resize();
        if rollback::requested(deployment).is_none() {
            draft.clean_history();
        }
        return Ok(draft.with_plain_status());
    }
    if let Some(requested) = rollback::requested(deployment) {
        draft.ensure_new()?;
        return Ok(draft.with_rollback(requested));
    }
    if draft.family.is_resized(deployment) {
        draft.sync_new();
        if !draft.is_resize_the_rollouts_business() {
            draft.resize();
            return Ok(draft.with_plain_status());
        }
        draft.refresh_new();
    }
    if let Some(back) = draft.way_back() {
        return Ok(draft.with_way_back(&back));
    }
    match strategy(deployment) {
        Strategy::RollingUpdate => draft.roll()?,
        Strategy::Recreate => draft.recreate()?,
        Strategy::Unknown => {
            let strategy = deployment.spec.strategy.type_.clone().unwrap_or_default();
            return Err(Error::UnknownStrategy { strategy });
        }
    }
    Ok(draft.with_rollout_status())
}

/// A Deployment that would select all pods is reported and left alone (DEP-2).
fn selecting_all(deployment: &Deployment) -> Plan {
    let mut actions = vec![Action::ReportSelectingAll];
    let generation = deployment.metadata.generation;
    if deployment.status.observed_generation < generation {
        let status = DeploymentStatus {
            observed_generation: generation,
            ..deployment.status.clone()
        };
        actions.push(write_status(deployment, status, None));
    }
    Plan {
        actions,
        ..Plan::default()
    }
}

fn write_status(deployment: &Deployment, status: DeploymentStatus, revision: Option<String>) -> Action {
    Action::WriteStatus(Box::new(StatusWrite {
        target: Target::of(deployment),
        status,
        revision,
        repaired: Vec::new(),
    }))
}

/// The status write after the new ReplicaSet was refused; `None`: nothing to add (DEP-20).
#[must_use]
pub fn after_create_error(snapshot: &Snapshot, message: &str, now: Timestamp) -> Option<Action> {
    let deployment = snapshot.deployment.as_ref();
    let mut status = deployment.status.clone();
    let list = status.conditions.get_or_insert_default();
    conditions::note_pause(deployment, list, now);
    conditions::note_create_error(deployment, message, list, now);
    (!status::is_equal(&status, &deployment.status)).then(|| write_status(deployment, status, None))
}

/// What the name of the new ReplicaSet being taken means (DEP-19).
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// Not known yet, or ours: plan again once the cache shows it.
    PlanAgain,
    /// By another template or owner: write this status, then try with another hash.
    Collision(Box<Action>),
}

/// Looks at the ReplicaSet that has the wanted name (DEP-19).
#[must_use]
pub fn after_name_taken(snapshot: &Snapshot, existing: Option<&ReplicaSet>) -> Taken {
    let deployment = snapshot.deployment.as_ref();
    let Some(existing) = existing else {
        return Taken::PlanAgain;
    };
    let owned = ownership::controller_uid(existing) == Some(Uid::of(deployment));
    if owned && template::is_equal(&deployment.spec.template, &existing.spec.template) {
        return Taken::PlanAgain;
    }
    let collisions = deployment
        .status
        .collision_count
        .unwrap_or_default()
        .saturating_add(1);
    let status = DeploymentStatus {
        collision_count: Some(collisions),
        ..deployment.status.clone()
    };
    Taken::Collision(Box::new(write_status(deployment, status, None)))
}

/// A plan in the making.
struct Draft<'a> {
    snapshot: &'a Snapshot,
    now: Timestamp,
    family: Family,
    /// The stored status with the conditions that this sync notes before it looks at the counts.
    notes: DeploymentStatus,
    revision: Option<String>,
    actions: Vec<Action>,
    held_by: Vec<Hold>,
    policy: Assessment,
}

impl<'a> Draft<'a> {
    /// Claims children (RS-10 to RS-13) and sorts them into roles.
    fn new(snapshot: &'a Snapshot, now: Timestamp) -> Self {
        let deployment = snapshot.deployment.as_ref();
        let mut actions = Vec::new();
        let mut claimed = Vec::with_capacity(snapshot.children.len());
        for child in &snapshot.children {
            let name = || child.metadata.name.clone().unwrap_or_default();
            let matches = snapshot.selector.selects(child.as_ref());
            match ownership::decide(&deployment.metadata, &child.metadata, matches) {
                ClaimDecision::Claimed => claimed.push(Arc::clone(child)),
                ClaimDecision::Adopt => {
                    actions.push(Action::Adopt {
                        name: name(),
                        uid: Uid::of(child.as_ref()),
                    });
                    claimed.push(Arc::clone(child));
                }
                ClaimDecision::Release => {
                    actions.push(Action::Release {
                        name: name(),
                        uid: Uid::of(child.as_ref()),
                    });
                }
                ClaimDecision::Ignore => {}
            }
        }
        let mut family = Family::of(deployment, &claimed);
        let policy = policy::assess(deployment, &family, snapshot.governed.as_ref(), now);
        family.limits.clone_from(&policy.limits);
        Self {
            snapshot,
            now,
            family,
            policy,
            notes: deployment.status.clone(),
            revision: None,
            actions,
            held_by: Vec::new(),
        }
    }

    fn deployment(&self) -> &'a Deployment {
        self.snapshot.deployment.as_ref()
    }

    /// Brings annotations and `minReadySeconds` of the new ReplicaSet, or else the Deployment's revision, up to date
    /// (DEP-24).
    fn sync_new(&mut self) {
        let deployment = self.deployment();
        let Some(new) = self.family.new.clone() else {
            return;
        };
        let empty = Annotations::new();
        let before = new.metadata.annotations.as_ref().unwrap_or(&empty);
        let target = self.family.target_revision();
        let after = annotations::of_new(deployment, before, target, Stage::Existing, HISTORY_LIMIT);
        if let Some(value) = after.get(REVISION).filter(|text| text.parse::<i64>().is_err()) {
            self.held_by.push(Hold::BadRevision {
                replica_set: new.metadata.name.clone().unwrap_or_default(),
                value: value.clone(),
            });
        }
        let annotations = annotations::changed(before, &after);
        let seconds = deployment.spec.min_ready_seconds.unwrap_or_default();
        let min_ready_seconds =
            (new.spec.min_ready_seconds.unwrap_or_default() != seconds).then_some(seconds);
        if !annotations.is_empty() || min_ready_seconds.is_some() {
            self.actions.push(Action::Annotate {
                target: Target::of(new.as_ref()),
                annotations,
                min_ready_seconds,
            });
            return;
        }
        self.mirror_revision(before.get(REVISION).cloned().unwrap_or_default());
        let name = new.metadata.name.as_deref().unwrap_or_default();
        conditions::note_found(
            deployment,
            name,
            self.notes.conditions.get_or_insert_default(),
            self.now,
        );
    }

    fn mirror_revision(&mut self, revision: String) {
        let shown = annotations::value(self.deployment().metadata.annotations.as_ref(), REVISION);
        if shown.unwrap_or_default() != revision {
            self.revision = Some(revision);
        }
    }

    /// As [`Self::sync_new`], but creates the new ReplicaSet if there is none (DEP-14, DEP-15, DEP-21).
    fn ensure_new(&mut self) -> Result<()> {
        if self.family.new.is_some() {
            self.sync_new();
            return Ok(());
        }
        let deployment = self.deployment();
        if !self
            .snapshot
            .selector
            .matches(&objects::template_labels(&deployment.spec.template))
        {
            return Err(Error::SelectorMismatch);
        }
        let grown = rolling::grown(deployment, self.family.total_size(), 0)?;
        let replicas = self.family.limits.capped(0, grown);
        let hash = template::hash(&deployment.spec.template, deployment.status.collision_count);
        let owner = deployment.metadata.name.as_deref().unwrap_or_default();
        let target = self.family.target_revision();
        let new = NewReplicaSet {
            name: template::replica_set_name(owner, &hash),
            hash,
            replicas,
            min_ready_seconds: deployment.spec.min_ready_seconds.filter(|seconds| *seconds != 0),
            annotations: annotations::of_new(
                deployment,
                &Annotations::new(),
                target,
                Stage::Creating,
                HISTORY_LIMIT,
            ),
        };
        self.mirror_revision(target.0.to_string());
        conditions::note_created(
            deployment,
            &new.name,
            self.notes.conditions.get_or_insert_default(),
            self.now,
        );
        self.family.new = Some(Arc::new(self.as_created(&new)));
        self.actions.push(Action::Create(Box::new(new)));
        Ok(())
    }

    /// The ReplicaSet as the rest of the sync counts it.
    fn as_created(&self, new: &NewReplicaSet) -> ReplicaSet {
        ReplicaSet {
            metadata: ObjectMeta {
                name: Some(new.name.clone()),
                namespace: self.deployment().metadata.namespace.clone(),
                annotations: Some(new.annotations.clone()),
                creation_timestamp: Some(Time(self.now)),
                ..ObjectMeta::default()
            },
            spec: ReplicaSetSpec {
                replicas: Some(new.replicas),
                min_ready_seconds: new.min_ready_seconds,
                template: Arc::clone(&self.deployment().spec.template),
                ..ReplicaSetSpec::default()
            },
            status: ReplicaSetStatus::default(),
        }
    }

    fn scale(&mut self, resizes: impl IntoIterator<Item = Resize>, cause: ScaleCause) {
        let (desired, max) = annotations::sizes(self.deployment());
        self.actions
            .extend(resizes.into_iter().map(|resize| Action::Scale {
                target: Target::of(resize.replica_set.as_ref()),
                from: resize.from,
                to: resize.to,
                desired,
                max,
                cause,
            }));
    }

    /// The scale path (DEP-38 to DEP-45). Recreate raises nothing from 0 while other pods exist (DEP-111).
    fn resize(&mut self) {
        let deployment = self.deployment();
        let resizes = policy::steps::resize(deployment, &self.family, &self.family.limits)
            .unwrap_or_else(|| scale::plan(deployment, &self.family));
        let raises_from_zero = |resize: &Resize| resize.from == 0 && resize.to > 0;
        if strategy(deployment) == Strategy::Recreate
            && let Some(raised) = resizes.iter().find(|resize| raises_from_zero(resize))
            && let Some(hold) =
                recreate::held_by(&self.family, Some(&raised.replica_set), &self.snapshot.unfinished)
        {
            self.held_by.push(hold);
            return;
        }
        self.scale(resizes, ScaleCause::Resized);
    }

    /// Several active ReplicaSets under Recreate: scaling cannot decide their sizes, the rollout does (DEP-46).
    fn is_resize_the_rollouts_business(&self) -> bool {
        strategy(self.deployment()) != Strategy::RollingUpdate
            && self.family.active_or_latest().is_none()
            && !self.family.is_saturated(self.deployment())
    }

    /// Old ReplicaSets get fresh size annotations when the rollout scales them; the new one may keep its size (DEP-46).
    fn refresh_new(&mut self) {
        let stale = |it: &&Arc<ReplicaSet>| annotations::has_stale_sizes(self.deployment(), it);
        let new = self.family.new.iter().filter(|it| size(it) > 0).find(stale);
        let resize = new.map(|it| Resize {
            replica_set: Arc::clone(it),
            from: size(it),
            to: size(it),
        });
        self.scale(resize, ScaleCause::Resized);
    }

    /// One step of a rolling update (DEP-47 to DEP-52).
    fn roll(&mut self) -> Result<()> {
        let deployment = self.deployment();
        self.ensure_new()?;
        if let Some(resize) = rolling::plan_new(deployment, &self.family)? {
            self.scale([resize], ScaleCause::RolloutUp);
            return Ok(());
        }
        let shrink = rolling::plan_old(deployment, &self.family);
        let done = shrink.resizes.is_empty() || shrink.abandoned;
        if shrink.resizes.is_empty() {
            self.held_by
                .extend(rolling::held_by_surge(deployment, &self.family));
        }
        self.scale(shrink.resizes, ScaleCause::RolloutDown);
        self.held_by.extend(shrink.hold);
        if done {
            self.clean_history_if_complete();
        }
        Ok(())
    }

    /// One step of a Recreate rollout (DEP-58).
    fn recreate(&mut self) -> Result<()> {
        self.sync_once();
        let old = recreate::plan_old(&self.family);
        if !old.is_empty() {
            self.scale(old, ScaleCause::Recreate);
            return Ok(());
        }
        let new = self.family.new.as_deref();
        if let Some(hold) = recreate::held_by(&self.family, new, &self.snapshot.unfinished) {
            self.held_by.push(hold);
            return Ok(());
        }
        if self.family.new.is_none() {
            self.ensure_new()?;
        } else if let Some(new) = self.family.new.clone() {
            self.scale(recreate::plan_new(self.deployment(), &new), ScaleCause::RolloutUp);
        }
        self.clean_history_if_complete();
        Ok(())
    }

    /// [`Self::sync_new`], unless the scale path did it already in this sync.
    fn sync_once(&mut self) {
        if !self
            .actions
            .iter()
            .any(|action| matches!(action, Action::Annotate { .. }))
        {
            self.sync_new();
        }
    }

    fn clean_history_if_complete(&mut self) {
        if conditions::is_complete(self.deployment(), &self.deployment().status) {
            self.clean_history();
        }
    }

    fn clean_history(&mut self) {
        let deleted = history::plan(self.deployment(), &self.family.old);
        self.actions.extend(deleted.iter().map(|it| Action::Delete {
            target: Target::of(it.as_ref()),
        }));
    }

    fn with_plain_status(self) -> Plan {
        let status = status::plain(self.deployment(), &self.family, &self.notes, self.now);
        self.finished(status, None)
    }

    /// Notes in conditions and holds what the policy holds up, and what it led to.
    fn note_policy(&mut self) {
        let (deployment, now) = (self.deployment(), self.now);
        let list = self.notes.conditions.get_or_insert_default();
        conditions::note_step(deployment, self.policy.stop.as_ref(), list, now);
        conditions::note_rolled_back(self.policy.rolled_back.as_ref(), list, now);
        self.held_by.extend(self.policy.stop.clone().map(Hold::Policy));
        let stranded = self.policy.stranded.clone();
        self.held_by
            .extend(stranded.map(|message| Hold::NoWayBack { message }));
    }

    /// The policy's way back, once the new ReplicaSet has its revision.
    fn way_back(&mut self) -> Option<Back> {
        let new = self.family.new.as_deref()?;
        let target = self.family.target_revision();
        let has_revision = annotations::revision(new).is_none_or(|revision| revision >= target);
        self.policy.back.take().filter(|_| has_revision)
    }

    /// The rollback alone: it changes the Deployment's resourceVersion, and so would any write before it.
    fn with_way_back(mut self, back: &Back) -> Plan {
        let claims = |action: &Action| matches!(action, Action::Adopt { .. } | Action::Release { .. });
        self.actions.retain(claims);
        self.actions.push(rollback::by_policy(self.deployment(), back));
        Plan {
            actions: self.actions,
            held_by: self.held_by,
            wake_at: None,
            garbage: garbage::of(self.snapshot.deployment.as_ref(), &self.family),
        }
    }

    /// Writes what the policy has to remember.
    fn mark(&mut self) {
        let marks = std::mem::take(&mut self.policy.marks);
        self.actions.extend(marks.into_iter().map(|mark| Action::Mark {
            target: Target::of(mark.replica_set.as_ref()),
            key: mark.key,
            value: mark.value,
        }));
    }

    fn with_rollout_status(mut self) -> Plan {
        self.mark();
        let status = status::of_rollout(self.deployment(), &self.family, &self.notes, self.now);
        let progress = conditions::next_check(self.deployment(), &status, &self.family.limits);
        let wake_at = [progress, self.policy.wake_at()].into_iter().flatten().min();
        self.finished(status, wake_at)
    }

    /// The rollback itself once nothing else is left to write: it changes the Deployment's resourceVersion, and so
    /// would any status write before it (DEP-95).
    fn with_rollback(mut self, requested: annotations::Revision) -> Plan {
        let claims = |action: &Action| matches!(action, Action::Adopt { .. } | Action::Release { .. });
        let prepared = self.actions.iter().all(claims)
            && self.revision.is_none()
            && status::is_equal(&self.notes, &self.deployment().status);
        if prepared {
            self.actions
                .push(rollback::plan(self.deployment(), &self.family, requested));
        }
        let status = self.notes.clone();
        self.finished(status, None)
    }

    /// Says what is missing when nothing else does and no size changes.
    fn note_incomplete(&mut self, status: &DeploymentStatus) {
        let deployment = self.deployment();
        let acts = |it: &Action| matches!(it, Action::Create(_) | Action::Scale { .. } | Action::Rollback(_));
        if self.held_by.is_empty()
            && deployment.metadata.deletion_timestamp.is_none()
            && !conditions::is_complete(deployment, status)
            && !self.actions.iter().any(acts)
        {
            self.held_by.push(Hold::Incomplete {
                available: i64::from(status.available_replicas.unwrap_or_default()),
                desired: desired_replicas(deployment),
                replica_sets: hold::names(self.family.all(), hold::is_unsettled),
            });
        }
    }

    fn finished(mut self, status: DeploymentStatus, wake_at: Option<Timestamp>) -> Plan {
        let deployment = self.deployment();
        self.note_incomplete(&status);
        let repaired = std::mem::take(&mut self.policy.garbage);
        let is_written =
            !status::is_equal(&status, &deployment.status) || self.revision.is_some() || !repaired.is_empty();
        if is_written {
            self.actions.push(Action::WriteStatus(Box::new(StatusWrite {
                target: Target::of(deployment),
                status,
                revision: self.revision.take(),
                repaired,
            })));
        }
        // A write brings the next sync by itself.
        let wake_at = wake_at.filter(|_| !is_written);
        Plan {
            garbage: garbage::of(deployment, &self.family),
            actions: self.actions,
            held_by: self.held_by,
            wake_at,
        }
    }
}
