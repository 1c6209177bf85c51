//! Conditions of a Deployment (DEP-72 to DEP-83).

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use steersman_shared::conditions::{find, remove, replace};
use steersman_shared::objects::Deployment;
use steersman_shared::wire::{FALSE, TRUE, UNKNOWN};

use super::find::Family;
use super::policy::marks::Note;
use super::policy::{Limits, Stop};
use super::{desired_replicas, fenceposts, is_paused};
use crate::action::{
    AVAILABLE, CREATE_ERROR, DEADLINE_EXCEEDED, FOUND_NEW_REPLICA_SET, MINIMUM_AVAILABLE,
    MINIMUM_AVAILABLE_MESSAGE, MINIMUM_UNAVAILABLE, MINIMUM_UNAVAILABLE_MESSAGE, NEW_REPLICA_SET_AVAILABLE,
    NEW_REPLICA_SET_CREATED, PAUSED, PAUSED_MESSAGE, PROGRESSING, REPLICA_FAILURE, REPLICA_SET_UPDATED,
    RESUMED, RESUMED_MESSAGE, ROLLED_BACK_CONDITION, STEP_PAUSED, STEP_RESUMED, STEP_RESUMED_MESSAGE,
    rollback_message,
};

/// The value of `progressDeadlineSeconds` that means never (kube-controller-manager 1.36, DEP-73).
const NO_DEADLINE: i32 = i32::MAX;

/// Conditions as they stand in a status.
pub type Conditions = Vec<DeploymentCondition>;

/// The progress deadline, if one is in force (DEP-73).
#[must_use]
pub fn deadline(deployment: &Deployment) -> Option<SignedDuration> {
    let seconds = deployment
        .spec
        .progress_deadline_seconds
        .filter(|seconds| *seconds != NO_DEADLINE)?;
    Some(SignedDuration::from_secs(i64::from(seconds)))
}

fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: impl Into<String>,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
        message: Some(message.into()),
        reason: Some(reason.to_owned()),
        status: status.to_owned(),
        type_: type_.to_owned(),
    }
}

/// Sets a condition: unchanged with equal status and reason; the transition time is kept with an equal status.
fn set(conditions: &mut Conditions, mut new: DeploymentCondition) {
    if let Some(old) = find(conditions, &new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time.clone_from(&old.last_transition_time);
        }
        not_before(&mut new, old);
    }
    replace(conditions, new);
}

/// A clock set back does not turn back the deadline (DEP-82).
fn not_before(new: &mut DeploymentCondition, old: &DeploymentCondition) {
    let updated = |it: &DeploymentCondition| it.last_update_time.as_ref().map(|time| time.0);
    // A failure reported by a ReplicaSet brings its own times (DEP-80).
    if new.type_ != REPLICA_FAILURE && updated(new) < updated(old) {
        new.last_update_time.clone_from(&old.last_update_time);
    }
}

fn reason(condition: &DeploymentCondition) -> &str {
    condition.reason.as_deref().unwrap_or_default()
}

/// Notes that a Deployment was paused or resumed (DEP-83).
pub fn note_pause(deployment: &Deployment, conditions: &mut Conditions, now: Timestamp) {
    let stored = find(conditions, PROGRESSING).map(reason).unwrap_or_default();
    if deadline(deployment).is_none() || stored == DEADLINE_EXCEEDED {
        return;
    }
    match (is_paused(deployment), stored == PAUSED) {
        (true, false) => set(
            conditions,
            condition(PROGRESSING, UNKNOWN, PAUSED, PAUSED_MESSAGE, now),
        ),
        (false, true) => set(
            conditions,
            condition(PROGRESSING, UNKNOWN, RESUMED, RESUMED_MESSAGE, now),
        ),
        _ => {}
    }
}

/// Notes that the rollout waits at a step of its policy, or goes on. As with a pause of the user's, the progress deadline
/// does not run meanwhile and starts anew afterwards.
pub fn note_step(deployment: &Deployment, stop: Option<&Stop>, conditions: &mut Conditions, now: Timestamp) {
    if deadline(deployment).is_none() || is_paused(deployment) {
        return;
    }
    let stored = find(conditions, PROGRESSING).map(reason).unwrap_or_default();
    match stop {
        Some(Stop::Step { step, steps, .. }) => {
            let message = format!("Rollout waits at step {step} of {steps}");
            let new = condition(PROGRESSING, UNKNOWN, STEP_PAUSED, message, now);
            set_with_message(conditions, new);
        }
        _ if stored == STEP_PAUSED => set(
            conditions,
            condition(PROGRESSING, UNKNOWN, STEP_RESUMED, STEP_RESUMED_MESSAGE, now),
        ),
        _ => {}
    }
}

/// Notes that the current template is one that a policy went back to; `None`: it is not.
pub fn note_rolled_back(note: Option<&Note>, conditions: &mut Conditions, now: Timestamp) {
    match note {
        Some(note) => {
            let message = rollback_message(note);
            let new = condition(ROLLED_BACK_CONDITION, TRUE, note.reason.label(), message, now);
            set_with_message(conditions, new);
        }
        None => {
            remove(conditions, ROLLED_BACK_CONDITION);
        }
    }
}

/// As [`set`], but a changed message counts too.
fn set_with_message(conditions: &mut Conditions, mut new: DeploymentCondition) {
    if let Some(old) = find(conditions, &new.type_) {
        if old.status == new.status && old.reason == new.reason && old.message == new.message {
            return;
        }
        if old.status == new.status {
            new.last_transition_time.clone_from(&old.last_transition_time);
        }
        not_before(&mut new, old);
    }
    replace(conditions, new);
}

/// The ReplicaSet that the stored condition Progressing says something about, with that reason.
fn named<'a>(status: &'a DeploymentStatus, wanted: &str) -> Option<&'a str> {
    let current = find(status.conditions.as_deref().unwrap_or_default(), PROGRESSING)?;
    let message = current.message.as_deref().filter(|_| reason(current) == wanted)?;
    let (name, _) = message.strip_prefix("ReplicaSet \"")?.split_once('"')?;
    Some(name)
}

/// The ReplicaSet that is complete as the stored conditions have it (DEP-75).
#[must_use]
pub fn completed(status: &DeploymentStatus) -> Option<&str> {
    named(status, NEW_REPLICA_SET_AVAILABLE)
}

/// The ReplicaSet that missed the progress deadline as the stored conditions have it (DEP-78).
#[must_use]
pub fn timed_out(status: &DeploymentStatus) -> Option<&str> {
    named(status, DEADLINE_EXCEEDED)
}

/// Notes that the new ReplicaSet existed before anything was reported about progress.
pub fn note_found(deployment: &Deployment, replica_set: &str, conditions: &mut Conditions, now: Timestamp) {
    if deadline(deployment).is_some() && find(conditions, PROGRESSING).is_none() {
        let message = format!("Found new replica set \"{replica_set}\"");
        set(
            conditions,
            condition(PROGRESSING, TRUE, FOUND_NEW_REPLICA_SET, message, now),
        );
    }
}

/// Notes that the new ReplicaSet was created (DEP-21).
pub fn note_created(deployment: &Deployment, replica_set: &str, conditions: &mut Conditions, now: Timestamp) {
    if deadline(deployment).is_some() {
        let message = format!("Created new replica set \"{replica_set}\"");
        set(
            conditions,
            condition(PROGRESSING, TRUE, NEW_REPLICA_SET_CREATED, message, now),
        );
    }
}

/// Notes that the new ReplicaSet was refused (DEP-20).
pub fn note_create_error(
    deployment: &Deployment,
    message: &str,
    conditions: &mut Conditions,
    now: Timestamp,
) {
    if deadline(deployment).is_some() {
        set(
            conditions,
            condition(PROGRESSING, FALSE, CREATE_ERROR, message, now),
        );
    }
}

/// Evaluates the condition Available (DEP-72).
pub fn set_available(deployment: &Deployment, available: i64, conditions: &mut Conditions, now: Timestamp) {
    let wanted = i64::from(desired_replicas(deployment)) - fenceposts::unavailable(deployment);
    let new = if available >= wanted {
        condition(AVAILABLE, TRUE, MINIMUM_AVAILABLE, MINIMUM_AVAILABLE_MESSAGE, now)
    } else {
        condition(
            AVAILABLE,
            FALSE,
            MINIMUM_UNAVAILABLE,
            MINIMUM_UNAVAILABLE_MESSAGE,
            now,
        )
    };
    set(conditions, new);
}

/// Whether a status says that the rollout is complete (DEP-75).
#[must_use]
pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let replicas = desired_replicas(deployment);
    [
        status.updated_replicas,
        status.replicas,
        status.available_replicas,
    ]
    .iter()
    .all(|count| count.unwrap_or_default() == replicas)
        && status.observed_generation.unwrap_or_default()
            >= deployment.metadata.generation.unwrap_or_default()
}

/// Evaluates the condition Progressing of a rollout: `stored` is the status before, with this sync's notes; `status`
/// has the new counts and conditions (DEP-73 to DEP-78).
pub fn evaluate_progress(
    deployment: &Deployment,
    new_replica_set: Option<&str>,
    stored: &DeploymentStatus,
    status: &mut DeploymentStatus,
    limits: &Limits,
    now: Timestamp,
) {
    let complete = is_complete(deployment, status);
    let progressing = has_progressed(stored, status);
    let all_updated = status.replicas.unwrap_or_default() == status.updated_replicas.unwrap_or_default();
    let conditions = status.conditions.get_or_insert_default();
    let Some(deadline) = deadline(deployment) else {
        remove(conditions, PROGRESSING);
        return;
    };
    if limits.held {
        return;
    }
    let deadline = deadline.saturating_add(limits.grace);
    let current = find(conditions, PROGRESSING).cloned();
    if all_updated
        && current
            .as_ref()
            .is_some_and(|it| reason(it) == NEW_REPLICA_SET_AVAILABLE)
    {
        return;
    }
    let subject = || match new_replica_set {
        Some(name) => format!("ReplicaSet \"{name}\""),
        None => format!(
            "Deployment \"{}\"",
            deployment.metadata.name.as_deref().unwrap_or_default()
        ),
    };
    if complete {
        let message = format!("{} has successfully progressed.", subject());
        set(
            conditions,
            condition(PROGRESSING, TRUE, NEW_REPLICA_SET_AVAILABLE, message, now),
        );
    } else if progressing {
        let message = format!("{} is progressing.", subject());
        let mut new = condition(PROGRESSING, TRUE, REPLICA_SET_UPDATED, message, now);
        // Replaced even with an equal reason: the update time is the deadline's clock.
        if let Some(old) = &current {
            if old.status == TRUE {
                new.last_transition_time.clone_from(&old.last_transition_time);
            }
            not_before(&mut new, old);
        }
        replace(conditions, new);
    } else if current.is_some_and(|it| is_timed_out(&it, deadline, now)) {
        let message = format!("{} has timed out progressing.", subject());
        set(
            conditions,
            condition(PROGRESSING, FALSE, DEADLINE_EXCEEDED, message, now),
        );
    }
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let count = Option::<i32>::unwrap_or_default;
    let old_pods =
        |it: &DeploymentStatus| i64::from(count(it.replicas)) - i64::from(count(it.updated_replicas));
    count(after.updated_replicas) > count(before.updated_replicas)
        || old_pods(after) < old_pods(before)
        || count(after.ready_replicas) > count(before.ready_replicas)
        || count(after.available_replicas) > count(before.available_replicas)
}

fn is_timed_out(current: &DeploymentCondition, deadline: SignedDuration, now: Timestamp) -> bool {
    match reason(current) {
        DEADLINE_EXCEEDED => true,
        NEW_REPLICA_SET_AVAILABLE => false,
        _ => ends(current, deadline).is_none_or(|end| end < now),
    }
}

/// When the deadline ends; `None` if that was before all time.
fn ends(current: &DeploymentCondition, deadline: SignedDuration) -> Option<Timestamp> {
    let since = current.last_update_time.as_ref()?.0;
    Some(since.checked_add(deadline).unwrap_or(Timestamp::MAX))
}

/// First moment at which the stored condition alone times the rollout out (DEP-76). Only for a status that needs no
/// write.
#[must_use]
pub fn next_check(deployment: &Deployment, status: &DeploymentStatus, limits: &Limits) -> Option<Timestamp> {
    let deadline = deadline(deployment).filter(|_| !limits.held)?;
    let deadline = deadline.saturating_add(limits.grace);
    let current = find(status.conditions.as_deref().unwrap_or_default(), PROGRESSING)?;
    if is_complete(deployment, status)
        || [DEADLINE_EXCEEDED, NEW_REPLICA_SET_AVAILABLE].contains(&reason(current))
    {
        return None;
    }
    ends(current, deadline).and_then(|end| end.checked_add(SignedDuration::from_secs(1)).ok())
}

/// Takes over the failure that a ReplicaSet reports, the new one's first (DEP-80).
pub fn evaluate_failure(family: &Family, conditions: &mut Conditions) {
    let failures = family.new.iter().chain(family.all()).find_map(|it| {
        it.status
            .conditions
            .iter()
            .flatten()
            .find(|condition| condition.type_ == REPLICA_FAILURE)
    });
    match failures {
        Some(failure) => set(
            conditions,
            DeploymentCondition {
                last_transition_time: failure.last_transition_time.clone(),
                last_update_time: failure.last_transition_time.clone(),
                message: failure.message.clone(),
                reason: failure.reason.clone(),
                status: failure.status.clone(),
                type_: failure.type_.clone(),
            },
        ),
        None => {
            remove(conditions, REPLICA_FAILURE);
        }
    }
}
