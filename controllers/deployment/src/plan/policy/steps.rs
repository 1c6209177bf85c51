//! Steps and pace: how large the new ReplicaSet may be now, and what the old ones keep meanwhile.
//!
//! At a step for `n` of `r` pods the new ReplicaSet grows to `n`, and the old ones keep `r - n`: the Deployment has its
//! full size at every stop. Where the old ones have less than that, the new one fills up; a Deployment without old pods
//! is therefore in no steps. With `n >= r` and a surge, one old pod stays until the rollout goes on.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use steersman_shared::objects::{Deployment, ReplicaSet, Uid};

use super::marks::{Complete, Promotion, StepMark};
use super::{Assessment, Policy, Scene, Step, StepSize};
use crate::action::PROMOTE;
use crate::plan::find::Family;
use crate::plan::{
    Resize, Strategy, annotations, desired_replicas, fenceposts, is_paused, pods, size, strategy,
};

/// How far a rollout may go for now. The default sets no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Size beyond which the new ReplicaSet does not grow.
    pub cap: Option<i32>,
    /// Size of the new ReplicaSet at the current step; `None`: not in steps.
    pub target: Option<i32>,
    /// Pods that the old ReplicaSets keep together.
    pub keep: i64,
    /// Old ReplicaSets that shrink before the others: those of rollouts that never came to their end.
    pub superseded: BTreeSet<Uid>,
    /// The rollout waits at a step: the progress deadline does not run.
    pub held: bool,
    /// What the progress deadline is longer by.
    pub grace: SignedDuration,
}

impl Limits {
    /// What becomes of a growth of the new ReplicaSet from `current` to `to`.
    #[must_use]
    pub fn capped(&self, current: i32, to: i32) -> i32 {
        self.cap.map_or(to, |cap| to.min(cap.max(current)))
    }

    /// Old ReplicaSets in the order in which they shrink.
    pub fn sort<T>(&self, old: &mut [T], uid: impl Fn(&T) -> Uid) {
        old.sort_by_key(|it| !self.superseded.contains(&uid(it)));
    }
}

/// Why a policy holds a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "stop", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Stop {
    /// At a step whose pods are all available.
    Step {
        /// From 1.
        step: usize,
        /// How many there are.
        steps: usize,
        /// Since when.
        since: Timestamp,
        /// When it goes on by itself; `None`: when somebody promotes it.
        until: Option<Timestamp>,
        /// Value of the annotation that lets it go on.
        promote: String,
    },
    /// Until the new pods have been available for long enough.
    Pace {
        /// When the next ones may come.
        until: Timestamp,
    },
}

impl Stop {
    /// When it ends by itself.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Step { until, .. } => *until,
            Self::Pace { until } => Some(*until),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step {
                step,
                steps,
                until: Some(until),
                ..
            } => write!(f, "waits at step {step} of {steps} until {until:.0}"),
            Self::Step {
                step,
                steps,
                until: None,
                promote,
                ..
            } => write!(
                f,
                "waits at step {step} of {steps} for a promotion: annotation {PROMOTE}={promote}"
            ),
            Self::Pace { until } => write!(f, "the next pods come when these are available until {until:.0}"),
        }
    }
}

/// Works out limits, stop and grace. A template that was complete before is on its way back: nothing holds it.
pub(super) fn assess(scene: &Scene<'_>, promotion: Option<Promotion>, assessment: &mut Assessment) {
    let deployment = scene.deployment;
    let policy = scene.policy();
    if strategy(deployment) != Strategy::RollingUpdate || scene.completed().is_some() || scene.is_complete() {
        return;
    }
    assessment.limits.grace = policy.pace;
    if desired_replicas(deployment) <= 0 {
        return;
    }
    in_steps(scene, promotion, assessment);
    if assessment.stop.is_none() {
        at_pace(scene, assessment);
    }
}

fn in_steps(scene: &Scene<'_>, promotion: Option<Promotion>, assessment: &mut Assessment) {
    let policy = scene.policy();
    let promotion = promotion.filter(|it| it.revision == scene.revision);
    if promotion.is_some_and(|it| it.step.is_none()) {
        return;
    }
    let new = scene.family.new.as_ref();
    let stored = new.and_then(|new| StepMark::of(new, scene.revision));
    let mut mark = stored.clone().unwrap_or(StepMark {
        revision: scene.revision,
        step: 1,
        since: None,
    });
    mark.step = mark.step.max(1);
    let old: i64 = scene.family.old.iter().map(|it| i64::from(size(it))).sum();
    if old == 0 && stored.is_none() {
        return;
    }
    while let Some(step) = policy.steps.get(mark.step - 1) {
        let target = target(policy, mark.step, desired_replicas(scene.deployment));
        if new.is_some_and(|new| has_available(new, target)) && mark.since.is_none() {
            mark.since = Some(scene.now);
        }
        match mark.since.map(|since| (since, pause_end(step, since))) {
            Some((since, until)) if new.is_some_and(|new| has_available(new, target)) => {
                let promoted = promotion
                    .and_then(|it| it.step)
                    .is_some_and(|up_to| up_to >= mark.step);
                if promoted || until.is_some_and(|until| until <= scene.now) {
                    mark.step += 1;
                    mark.since = None;
                    continue;
                }
                let promote = Promotion {
                    revision: scene.revision,
                    step: Some(mark.step),
                };
                assessment.limits.held = true;
                assessment.stop = Some(Stop::Step {
                    step: mark.step,
                    steps: policy.steps.len(),
                    since,
                    until,
                    promote: promote.to_string(),
                });
            }
            _ => {}
        }
        limit(scene, target, old, &mut assessment.limits);
        assessment.step = Some((mark.step, policy.steps.len()));
        break;
    }
    let begins = mark.step == 1 && mark.since.is_none();
    if let Some(new) = new
        && new.metadata.uid.is_some()
        && stored.as_ref() != Some(&mark)
        && !(stored.is_none() && begins)
        && !policy.steps.is_empty()
    {
        assessment.marks.push(mark.mark(new));
    }
}

/// Size of the new ReplicaSet at a step, at least that of the steps before and at most all.
fn target(policy: &Policy, number: usize, replicas: i32) -> i32 {
    let of = |step: &Step| match step.size {
        StepSize::Pods(count) => i64::from(count),
        StepSize::Percent(percent) => (i64::from(percent) * i64::from(replicas) + 99).div_euclid(100),
    };
    let largest = policy.steps.iter().take(number).map(of).max();
    pods(largest.unwrap_or_default().clamp(1, i64::from(replicas.max(1))))
}

fn has_available(new: &ReplicaSet, target: i32) -> bool {
    size(new) >= target && new.status.available_replicas.unwrap_or_default() >= target
}

fn pause_end(step: &Step, since: Timestamp) -> Option<Timestamp> {
    step.pause
        .map(|pause| since.checked_add(pause).unwrap_or(Timestamp::MAX))
}

fn limit(scene: &Scene<'_>, target: i32, old: i64, limits: &mut Limits) {
    let replicas = i64::from(desired_replicas(scene.deployment));
    limits.target = Some(target);
    limits.cap = Some(pods(i64::from(target).max(replicas - old)));
    let one = fenceposts::surge(scene.deployment).clamp(0, 1);
    limits.keep = (replicas - i64::from(target)).max(one);
    let unfinished = scene.family.old.iter().filter(|it| Complete::of(it).is_none());
    limits.superseded = unfinished.map(|it| Uid::of(it.as_ref())).collect();
}

/// Holds the next batch until the pods of the last one have been available for long enough.
fn at_pace(scene: &Scene<'_>, assessment: &mut Assessment) {
    let policy = scene.policy();
    let Some(new) = scene.family.new.as_deref().filter(|new| size(new) > 0) else {
        return;
    };
    if !policy.pace.is_positive() || size(new) >= desired_replicas(scene.deployment) {
        return;
    }
    let seconds = i64::from(new.spec.min_ready_seconds.unwrap_or_default());
    let wait = SignedDuration::from_secs(seconds).saturating_add(policy.pace);
    let ready: Vec<Timestamp> = scene
        .new_pods()
        .iter()
        .filter_map(|pod| pod.ready_since)
        .collect();
    let last = ready.iter().max().copied();
    let until = last.map(|since| since.checked_add(wait).unwrap_or(Timestamp::MAX));
    let all_ready =
        i32::try_from(ready.len()).is_ok_and(|count| count >= size(new)) && has_available(new, size(new));
    if all_ready && until.is_none_or(|until| until <= scene.now) {
        return;
    }
    let cap = assessment.limits.cap.unwrap_or(i32::MAX);
    assessment.limits.cap = Some(cap.min(size(new)));
    if all_ready {
        assessment.stop = until.map(|until| Stop::Pace { until });
    }
}

/// Resizes a Deployment in steps: the new ReplicaSet stays within its step, the old ones take the rest. Proportional
/// scaling (DEP-41) would make the canary larger than its step. `None`: not in steps, or only one ReplicaSet is active.
#[must_use]
pub fn resize(deployment: &Deployment, family: &Family, limits: &Limits) -> Option<Vec<Resize>> {
    let target = limits.target?;
    let new = family.new.as_ref().filter(|new| size(new) > 0)?;
    let mut old: Vec<(Arc<ReplicaSet>, i32)> =
        family.active_old().map(|it| (Arc::clone(it), size(it))).collect();
    if old.is_empty() || desired_replicas(deployment) <= 0 {
        return None;
    }
    if !family.is_resized(deployment) {
        // A pause alone changes no size.
        return is_paused(deployment).then(Vec::new);
    }
    let new_size = size(new).min(target);
    let present: i64 = old.iter().map(|(_, size)| i64::from(*size)).sum();
    let rest = i64::from(desired_replicas(deployment)) - i64::from(new_size);
    let mut change = rest.max(limits.keep.min(present)) - present;
    limits.sort(&mut old, |(it, _)| Uid::of(it.as_ref()));
    if change > 0 {
        // The last one that was complete carries the Deployment; it is the last in this order.
        if let Some((_, size)) = old.last_mut() {
            *size = pods(i64::from(*size) + change);
        }
    } else {
        for (_, size) in &mut old {
            let step = i64::from(*size).min(-change);
            *size = pods(i64::from(*size) - step);
            change += step;
        }
    }
    old.push((Arc::clone(new), new_size));
    let mut resizes: Vec<Resize> = old
        .into_iter()
        .map(|(replica_set, to)| Resize {
            from: size(&replica_set),
            to,
            replica_set,
        })
        .filter(|it| it.from != it.to || annotations::has_stale_sizes(deployment, &it.replica_set))
        .collect();
    resizes.sort_by_key(|it| it.to > it.from);
    Some(resizes)
}
