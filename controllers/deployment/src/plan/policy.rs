//! How a RolloutPolicy bends a rollout: at which steps it stops, at which pace it goes, when it goes back (ASK-1, ASK-2).
//!
//! Everything is worked out anew in each sync from what is stored: the sizes and annotations of ReplicaSets, the
//! annotations and conditions of the Deployment, and its pods. Without a policy [`assess`] allows everything, and a plan
//! is upstream's to the last write.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde::Serialize;
use steersman_crds::rollout_policy::{AutoRollback, RolloutPolicySpec, Step as StepSpec};
use steersman_shared::objects::{Deployment, ReplicaSet, Uid};
use steersman_shared::pods;

use super::find::Family;
use super::{annotations, conditions, desired_replicas};
use crate::action::{ABORT, PROMOTE, ROLLED_BACK};
use back::Back;
use marks::{Complete, Note, Promotion};
pub use overview::{Overview, Summary};
pub use steps::{Limits, Stop};

pub mod back;
pub mod marks;
pub mod overview;
pub mod steps;
#[cfg(test)]
mod tests;

/// What a policy asks for, checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// Name of the RolloutPolicy.
    pub name: String,
    /// When a rollout goes back by itself; `None`: never.
    pub triggers: Option<Triggers>,
    /// Where a rollout stops, in order.
    pub steps: Vec<Step>,
    /// How long all new pods have to be available before there are more of them; zero: not at all.
    pub pace: SignedDuration,
}

/// What makes a rollout go back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triggers {
    /// The progress deadline passed.
    pub on_deadline: bool,
    /// The containers of one new pod restarted more often than this within the window of its start.
    pub max_restarts: Option<i64>,
    /// More new pods than this are in a crash loop.
    pub max_crash_looping: Option<usize>,
    /// From the start of a pod, and from the completion of a rollout.
    pub window: SignedDuration,
}

/// One stop of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// New pods to be.
    pub size: StepSize,
    /// How long to wait with them; `None`: until somebody promotes the rollout.
    pub pause: Option<SignedDuration>,
}

/// New pods of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepSize {
    /// So many.
    Pods(i32),
    /// So many percent of the Deployment's replicas; rounds up.
    Percent(i32),
}

impl Policy {
    /// The checked form of a policy's spec. A step without a size, which the API server refuses, is left out.
    #[must_use]
    pub fn of(name: &str, spec: &RolloutPolicySpec) -> Self {
        let seconds = |count: i32| SignedDuration::from_secs(i64::from(count));
        let step = |step: &StepSpec| {
            let size = match (step.pods, step.percent) {
                (Some(pods), _) => StepSize::Pods(pods),
                (None, Some(percent)) => StepSize::Percent(percent),
                (None, None) => return None,
            };
            Some(Step {
                size,
                pause: step.pause_seconds.map(seconds),
            })
        };
        let triggers = |asked: &AutoRollback| Triggers {
            on_deadline: asked.on_progress_deadline,
            max_restarts: asked.max_pod_restarts.map(i64::from),
            max_crash_looping: asked
                .max_crash_looping_pods
                .map(|count| usize::try_from(count).unwrap_or_default()),
            window: seconds(asked.window_seconds),
        };
        Self {
            name: name.to_owned(),
            triggers: spec.auto_rollback.as_ref().map(triggers),
            steps: spec.steps.iter().flatten().filter_map(step).collect(),
            pace: seconds(spec.min_ready_between_batches_seconds.unwrap_or_default()),
        }
    }
}

/// The policy that a Deployment follows, and what is known of its pods because of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Governed {
    /// The oldest of those that select the Deployment.
    pub policy: Arc<Policy>,
    /// Active pods by the ReplicaSet that controls them.
    pub pods: BTreeMap<Uid, Vec<PodFacts>>,
}

/// What a policy wants to know of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub started: Option<Timestamp>,
    /// Restarts of all its containers.
    pub restarts: i64,
    /// When a container last ended before it was started again; `None`: not told.
    pub last_restart: Option<Timestamp>,
    /// A container waits to be started again after it ended.
    pub crash_looping: bool,
    /// Since when it is ready.
    pub ready_since: Option<Timestamp>,
}

/// Reason of a waiting container that the kubelet starts again later.
const CRASH_LOOP: &str = "CrashLoopBackOff";

impl PodFacts {
    /// What the status of a pod tells.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let containers: Vec<&ContainerStatus> = status
            .into_iter()
            .flat_map(|it| it.init_container_statuses.iter().chain(&it.container_statuses))
            .flatten()
            .collect();
        let ended = |it: &&ContainerStatus| {
            let last = it.last_state.as_ref()?.terminated.as_ref()?;
            last.finished_at.as_ref().map(|time| time.0)
        };
        let loops = |it: &&ContainerStatus| {
            let waiting = it.state.as_ref().and_then(|state| state.waiting.as_ref());
            waiting.and_then(|waiting| waiting.reason.as_deref()) == Some(CRASH_LOOP)
        };
        Self {
            name: pod.metadata.name.clone().unwrap_or_default(),
            started: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            restarts: containers.iter().map(|it| i64::from(it.restart_count)).sum(),
            last_restart: containers.iter().filter_map(ended).max(),
            crash_looping: containers.iter().any(loops),
            ready_since: pods::ready_since(pod),
        }
    }
}

/// An annotation of ours to be written to a ReplicaSet.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// As in the snapshot.
    pub replica_set: Arc<ReplicaSet>,
    /// Which of our annotations.
    pub key: &'static str,
    /// Its value.
    pub value: String,
}

/// An annotation of ours that makes no sense, to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Which one.
    pub key: &'static str,
    /// As found.
    pub value: String,
}

/// What a policy means for one sync.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assessment {
    /// How far the rollout may go now.
    pub limits: Limits,
    /// Why it goes no further; `None`: the policy does not hold it.
    pub stop: Option<Stop>,
    /// Annotations to write.
    pub marks: Vec<Mark>,
    /// Annotations of the Deployment to remove.
    pub garbage: Vec<Unreadable>,
    /// The way back, if it is time for it.
    pub back: Option<Back>,
    /// Why there is none although it is time for it.
    pub stranded: Option<String>,
    /// The rollback that led to the current template.
    pub rolled_back: Option<Note>,
    /// Number of the current step, from 1, and how many there are; `None`: not in steps.
    pub step: Option<(usize, usize)>,
}

impl Assessment {
    /// When time alone changes it.
    #[must_use]
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.stop.as_ref().and_then(Stop::until)
    }
}

/// What the parts of an assessment look at.
struct Scene<'a> {
    deployment: &'a Deployment,
    family: &'a Family,
    governed: &'a Governed,
    now: Timestamp,
    /// Revision that the new ReplicaSet has, or is about to get.
    revision: i64,
    /// The rollback that was the last one.
    note: Option<&'a Note>,
}

impl Scene<'_> {
    fn policy(&self) -> &Policy {
        &self.governed.policy
    }

    fn new_name(&self) -> Option<&str> {
        self.family
            .new
            .as_ref()
            .and_then(|new| new.metadata.name.as_deref())
    }

    /// Pods of the new ReplicaSet.
    fn new_pods(&self) -> &[PodFacts] {
        let new = self.family.new.as_ref().map(|it| Uid::of(it.as_ref()));
        new.and_then(|uid| self.governed.pods.get(&uid))
            .map_or(&[], Vec::as_slice)
    }

    /// The mark that the new ReplicaSet was complete, in this revision or an earlier one.
    fn completed(&self) -> Option<Complete> {
        self.family.new.as_deref().and_then(Complete::of)
    }

    fn is_complete(&self) -> bool {
        desired_replicas(self.deployment) > 0
            && self.family.new.is_some()
            && conditions::is_complete(self.deployment, &self.deployment.status)
    }
}

/// Revision that the new ReplicaSet has, or is about to get (DEP-22).
fn revision(family: &Family) -> i64 {
    let stored = family.new.as_deref().and_then(annotations::revision);
    stored.unwrap_or_default().max(family.target_revision()).0
}

/// What the policy means for the Deployment now. `governed` is `None` without a policy: all that is left then is to tell
/// of a rollback that it led to.
#[must_use]
pub fn assess(
    deployment: &Deployment,
    family: &Family,
    governed: Option<&Governed>,
    now: Timestamp,
) -> Assessment {
    let (note, bad_note) = marks::read::<Note>(deployment.metadata.annotations.as_ref(), ROLLED_BACK);
    let mut assessment = Assessment::default();
    assessment.garbage.extend(bad_note);
    if let Some(note) = &note {
        let new = family.new.as_ref().and_then(|new| new.metadata.name.as_deref());
        assessment.rolled_back = Some(note.clone()).filter(|note| new == Some(note.to.as_str()));
        assessment.marks.extend(marks::failed(family, note));
    }
    let Some(governed) = governed else {
        return assessment;
    };
    let scene = Scene {
        deployment,
        family,
        governed,
        now,
        revision: revision(family),
        note: note.as_ref(),
    };
    let annotations = deployment.metadata.annotations.as_ref();
    let (promotion, bad_promotion) = marks::read::<Promotion>(annotations, PROMOTE);
    let (abort, bad_abort) = marks::read::<marks::Abort>(annotations, ABORT);
    assessment
        .garbage
        .extend(bad_promotion.into_iter().chain(bad_abort));
    assessment.marks.extend(marks::complete(&scene));
    steps::assess(&scene, promotion, &mut assessment);
    back::assess(&scene, abort, &mut assessment);
    assessment
}
