//! What the controller may do, and every string of it that users see.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DeploymentStatus;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use steersman_crds::rollout_policy::RolloutPolicyStatus;
use steersman_shared::claims::{Claim, Claiming};
use steersman_shared::objects::Uid;

use crate::plan::annotations::Annotations;
use crate::plan::policy::Unreadable;
use crate::plan::policy::marks::Note;

/// Annotation: earlier revisions of a ReplicaSet, separated by commas (DEP-23).
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Annotation: request to roll back to a revision (DEP-95).
pub const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";

/// Condition: enough pods are available (DEP-72).
pub const AVAILABLE: &str = "Available";
/// Condition: the rollout gets on, is complete, or is stuck (DEP-73 to DEP-83).
pub const PROGRESSING: &str = "Progressing";
/// Condition: a ReplicaSet could not create or delete pods (DEP-80, RS-62).
pub const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Reason of [`AVAILABLE`] being `True`.
pub const MINIMUM_AVAILABLE: &str = "MinimumReplicasAvailable";
/// Reason of [`AVAILABLE`] being `False`.
pub const MINIMUM_UNAVAILABLE: &str = "MinimumReplicasUnavailable";
/// Message of [`MINIMUM_AVAILABLE`].
pub const MINIMUM_AVAILABLE_MESSAGE: &str = "Deployment has minimum availability.";
/// Message of [`MINIMUM_UNAVAILABLE`].
pub const MINIMUM_UNAVAILABLE_MESSAGE: &str = "Deployment does not have minimum availability.";

/// Reason of [`PROGRESSING`]: a new ReplicaSet was created (DEP-21).
pub const NEW_REPLICA_SET_CREATED: &str = "NewReplicaSetCreated";
/// Reason of [`PROGRESSING`]: the new ReplicaSet existed already.
pub const FOUND_NEW_REPLICA_SET: &str = "FoundNewReplicaSet";
/// Reason of [`PROGRESSING`]: some count got better (DEP-77).
pub const REPLICA_SET_UPDATED: &str = "ReplicaSetUpdated";
/// Reason of [`PROGRESSING`]: complete (DEP-75).
pub const NEW_REPLICA_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
/// Reason of [`PROGRESSING`] being `False`: too long without progress (DEP-78).
pub const DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";
/// Reason of [`PROGRESSING`] being `False`, and of an event: the new ReplicaSet was refused (DEP-20).
pub const CREATE_ERROR: &str = "ReplicaSetCreateError";
/// Reason of [`PROGRESSING`] being `Unknown` (DEP-83).
pub const PAUSED: &str = "DeploymentPaused";
/// Message of [`PAUSED`].
pub const PAUSED_MESSAGE: &str = "Deployment is paused";
/// Reason of [`PROGRESSING`] being `Unknown` (DEP-83).
pub const RESUMED: &str = "DeploymentResumed";
/// Message of [`RESUMED`].
pub const RESUMED_MESSAGE: &str = "Deployment is resumed";

/// Reason of an event: a field that the API server should not have let through. Not upstream's, which only logs it.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// Reason of an event: an annotation of upstream's that cannot be read and is ignored. Upstream only logs it.
pub const INVALID_ANNOTATION: &str = "InvalidAnnotation";

/// Beginning of the keys of our annotations on Deployments and ReplicaSets.
pub const ROLLOUT_PREFIX: &str = "rollout.steersman.dev/";
/// Annotation of a Deployment, by users: the rollout of a revision may leave a step, `REVISION/STEP`, or all of them,
/// `REVISION/all` (ASK-2).
pub const PROMOTE: &str = "rollout.steersman.dev/promote";
/// Annotation of a Deployment, by users: the rollout of that revision is to go back, `REVISION` (ASK-2).
pub const ABORT: &str = "rollout.steersman.dev/abort";
/// Annotation of a Deployment, and of the ReplicaSet that was left: the last rollback by a policy, and why (ASK-1).
pub const ROLLED_BACK: &str = "rollout.steersman.dev/rolled-back";
/// Annotation of a ReplicaSet: it was complete, when and in which revision (ASK-1).
pub const COMPLETE: &str = "rollout.steersman.dev/complete";
/// Annotation of a ReplicaSet: the step of its rollout, and since when it waits there (ASK-2).
pub const STEP: &str = "rollout.steersman.dev/step";

/// Reason of [`PROGRESSING`] being `Unknown`: the rollout waits at a step of its policy.
pub const STEP_PAUSED: &str = "RolloutStepPaused";
/// Reason of [`PROGRESSING`] being `Unknown`: the rollout goes on after a step.
pub const STEP_RESUMED: &str = "RolloutStepResumed";
/// Message of [`STEP_RESUMED`].
pub const STEP_RESUMED_MESSAGE: &str = "Rollout goes on after its step";
/// Condition of a Deployment: its template is one that a policy went back to. Reasons are those of
/// [`RollbackReason::label`].
pub const ROLLED_BACK_CONDITION: &str = "steersman.dev/RolledBack";

/// Condition of a RolloutPolicy: it selects Deployments.
pub const SELECTING: &str = "Selecting";
/// Reason of [`SELECTING`] being `True`.
pub const SELECTED: &str = "DeploymentsSelected";
/// Reason of [`SELECTING`] being `False`.
pub const NOTHING_SELECTED: &str = "NothingSelected";
/// Reason of [`SELECTING`] being `False`: the selector does not parse.
pub const INVALID_SELECTOR: &str = "InvalidSelector";
/// Condition of a RolloutPolicy: all that it asks for is in force.
pub const EFFECTIVE: &str = "Effective";
/// Reason of [`EFFECTIVE`] being `True`.
pub const IN_FORCE: &str = "InForce";
/// Reason of [`EFFECTIVE`] being `False`: a Deployment follows an older policy.
pub const OLDER_POLICY_HOLDS: &str = "OlderPolicyHolds";
/// Reason of [`EFFECTIVE`] being `False`: steps and the strategy Recreate.
pub const STEPS_NEED_ROLLING_UPDATE: &str = "StepsNeedRollingUpdate";
/// Reason of [`EFFECTIVE`] being `False`: `onProgressDeadline` and no progress deadline.
pub const NO_DEADLINE_TO_PASS: &str = "NoProgressDeadline";
/// Condition of a RolloutPolicy: a Deployment runs a revision that a rollback led to.
pub const POLICY_ROLLED_BACK: &str = "RolledBack";
/// Reason of [`POLICY_ROLLED_BACK`] being `False`.
pub const NO_ROLLBACK: &str = "NoRollback";

/// Action of all events: what the controller was doing.
pub const EVENT_ACTION: &str = "Reconcile";

/// An event on the Deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// Machine-readable reason.
    pub reason: &'static str,
    /// Message for people.
    pub message: String,
}

/// One write, in the order of the plan; serialised as is into shadow reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Action {
    /// Makes the Deployment the controller of an orphan (RS-13). Only after a live read of the Deployment (RS-14).
    Adopt {
        /// ReplicaSet.
        name: String,
        /// Of the ReplicaSet: the write fails if the name was used again.
        uid: Uid,
    },
    /// Gives up a ReplicaSet that the selector no longer matches (RS-12).
    Release {
        /// ReplicaSet.
        name: String,
        /// Of the ReplicaSet.
        uid: Uid,
    },
    /// Creates the new ReplicaSet (DEP-14).
    Create(Box<NewReplicaSet>),
    /// Sets annotations and `minReadySeconds` of the new ReplicaSet (DEP-24, DEP-29).
    Annotate {
        /// ReplicaSet.
        target: Target,
        /// Only the ones that change.
        annotations: Annotations,
        /// `None`: unchanged.
        min_ready_seconds: Option<i32>,
    },
    /// Sets an annotation of ours on a ReplicaSet, which a RolloutPolicy needs to remember something.
    Mark {
        /// ReplicaSet.
        target: Target,
        /// [`STEP`], [`COMPLETE`] or [`ROLLED_BACK`].
        key: &'static str,
        /// Value to be.
        value: String,
    },
    /// Resizes a ReplicaSet, or only refreshes its size annotations if `from` equals `to` (DEP-54, DEP-45).
    Scale {
        /// ReplicaSet.
        target: Target,
        /// Size in the snapshot.
        from: i32,
        /// Size to be.
        to: i32,
        /// Its desired-replicas annotation afterwards.
        desired: i64,
        /// Its max-replicas annotation afterwards.
        max: i64,
        /// Why.
        cause: ScaleCause,
    },
    /// Deletes an old ReplicaSet (DEP-60).
    Delete {
        /// ReplicaSet, as it was when it was found to be superfluous.
        target: Target,
    },
    /// Rolls the Deployment back to a revision; the only write to its main resource (DEP-95).
    Rollback(Box<Rollback>),
    /// Ends a rollback request that cannot be carried out (DEP-95).
    ClearRollback {
        /// The Deployment.
        target: Target,
        /// Why.
        cause: NoRollback,
    },
    /// Reports that the selector is empty (DEP-2); an event only.
    ReportSelectingAll,
    /// Reports that the new ReplicaSet was refused (DEP-20); an event only.
    ReportCreateError {
        /// Which one, and what the server said.
        message: String,
    },
    /// Writes status, and the revision along with it, through `/status` (DEP-5, DEP-25).
    WriteStatus(Box<StatusWrite>),
}

/// An object as the snapshot showed it: a write to another version or another object of that name is refused (RS-3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Name of the object.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
    /// Its resourceVersion.
    pub resource_version: String,
}

impl Target {
    /// The object as it stands in a snapshot.
    #[must_use]
    pub fn of(object: &impl kube::Resource) -> Self {
        let meta = object.meta();
        Self {
            name: meta.name.clone().unwrap_or_default(),
            uid: Uid::of(object),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// What is special about the ReplicaSet to create; the rest is the Deployment's (DEP-14).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NewReplicaSet {
    /// `<deployment>-<hash>` (DEP-16).
    pub name: String,
    /// Value of `pod-template-hash` (DEP-18).
    pub hash: String,
    /// Initial size (DEP-15).
    pub replicas: i32,
    /// Seconds; `None` is 0.
    pub min_ready_seconds: Option<i32>,
    /// All of them (DEP-26, DEP-27).
    pub annotations: Annotations,
}

/// The Deployment as it is to be after a rollback.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rollback {
    /// The Deployment.
    pub target: Target,
    /// Revision to go back to.
    pub revision: i64,
    /// Pod template to be.
    pub template: Arc<Value>,
    /// Annotations to set.
    pub annotations: Annotations,
    /// Annotations to remove, in order.
    pub removed_annotations: Vec<String>,
    /// Who wants it.
    pub cause: RollbackCause,
}

/// Who wants a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RollbackCause {
    /// A user, by annotation (DEP-95).
    Requested,
    /// A RolloutPolicy (ASK-1).
    Policy {
        /// Revision that is left.
        from_revision: i64,
        /// Why.
        reason: RollbackReason,
        /// Why, in a sentence.
        message: String,
    },
}

/// Why a RolloutPolicy went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RollbackReason {
    /// The progress deadline passed.
    ProgressDeadlineExceeded,
    /// A new pod restarted too often.
    PodRestarts,
    /// Too many new pods were in a crash loop.
    CrashLoopingPods,
    /// Somebody aborted the rollout.
    Aborted,
}

impl RollbackReason {
    /// Reason of the condition, and metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ProgressDeadlineExceeded => "ProgressDeadlineExceeded",
            Self::PodRestarts => "PodRestarts",
            Self::CrashLoopingPods => "CrashLoopingPods",
            Self::Aborted => "Aborted",
        }
    }
}

/// The status to write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatusWrite {
    /// The Deployment.
    pub target: Target,
    /// Complete.
    pub status: DeploymentStatus,
    /// Revision annotation to be; `None`: unchanged (DEP-25).
    pub revision: Option<String>,
    /// Annotations of ours that make no sense; removed by the same write.
    pub repaired: Vec<Unreadable>,
}

/// The status of a RolloutPolicy to write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyStatusWrite {
    /// The policy.
    pub target: Target,
    /// Complete.
    pub status: RolloutPolicyStatus,
}

/// Why a ReplicaSet is resized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ScaleCause {
    /// The Deployment was resized (DEP-39 to DEP-45).
    Resized,
    /// The new ReplicaSet takes its share of the rollout (DEP-47, DEP-58).
    RolloutUp,
    /// An old ReplicaSet makes room; a failure is not an error of the sync (DEP-49, DEP-53).
    RolloutDown,
    /// Recreate: old pods go first (DEP-58).
    Recreate,
}

/// Why a rollback request ends without a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NoRollback {
    /// Revision 0 was asked for and there is no earlier one.
    NoLastRevision,
    /// No ReplicaSet has that revision.
    RevisionNotFound,
    /// It has the template that the Deployment has already.
    TemplateUnchanged,
}

impl Action {
    /// The event that follows when the action was carried out on the Deployment of that name.
    #[must_use]
    pub fn event(&self, deployment: &str) -> Option<Event> {
        let normal = |reason, message| {
            Some(Event {
                warning: false,
                reason,
                message,
            })
        };
        let warning = |reason, message| {
            Some(Event {
                warning: true,
                reason,
                message,
            })
        };
        match self {
            Self::Create(new) if new.replicas > 0 => {
                normal("ScalingReplicaSet", scaled(&new.name, 0, new.replicas))
            }
            Self::Scale { target, from, to, .. } if from != to => {
                normal("ScalingReplicaSet", scaled(&target.name, *from, *to))
            }
            Self::Rollback(rollback) => match &rollback.cause {
                RollbackCause::Requested => normal(
                    "DeploymentRollback",
                    format!(
                        "Rolled back deployment \"{deployment}\" to revision {}",
                        rollback.revision
                    ),
                ),
                RollbackCause::Policy { message, .. } => warning("RolloutPolicyRollback", message.clone()),
            },
            Self::WriteStatus(write) => {
                let first = write.repaired.first()?;
                let message = format!(
                    "Removed the annotation {}: {:?} makes no sense; it takes {}",
                    first.key,
                    first.value,
                    expected(first.key)
                );
                warning(INVALID_ANNOTATION, message)
            }
            Self::ClearRollback { cause, .. } => match cause {
                NoRollback::NoLastRevision => warning(
                    "DeploymentRollbackRevisionNotFound",
                    "Unable to find last revision.".to_owned(),
                ),
                NoRollback::RevisionNotFound => warning(
                    "DeploymentRollbackRevisionNotFound",
                    "Unable to find the revision to rollback to.".to_owned(),
                ),
                NoRollback::TemplateUnchanged => warning(
                    "DeploymentRollbackTemplateUnchanged",
                    format!(
                        "The rollback revision contains the same template as current deployment \"{deployment}\""
                    ),
                ),
            },
            Self::ReportSelectingAll => warning(
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.".to_owned(),
            ),
            Self::ReportCreateError { message } => warning(CREATE_ERROR, message.clone()),
            _ => None,
        }
    }

    /// Verb and resource, for logs and metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Adopt { .. } => "adopt",
            Self::Release { .. } => "release",
            Self::Create(_) => "create",
            Self::Annotate { .. } => "annotate",
            Self::Mark { .. } => "mark",
            Self::Scale { .. } => "scale",
            Self::Delete { .. } => "delete",
            Self::Rollback(_) => "rollback",
            Self::ClearRollback { .. } => "clear_rollback",
            Self::ReportSelectingAll | Self::ReportCreateError { .. } => "report",
            Self::WriteStatus(_) => "status",
        }
    }
}

impl Claiming for Action {
    fn claim(&self) -> Option<Claim<'_>> {
        match self {
            Self::Adopt { uid, .. } => Some(Claim::Adopt(uid)),
            Self::Release { uid, .. } => Some(Claim::Release(uid)),
            _ => None,
        }
    }
}

/// What an annotation of ours takes.
fn expected(key: &str) -> &'static str {
    match key {
        PROMOTE => "REVISION/STEP or REVISION/all",
        ABORT => "REVISION",
        _ => "what this controller writes",
    }
}

/// Tells a rollback by a policy, in event and condition.
#[must_use]
pub fn rollback_message(note: &Note) -> String {
    format!(
        "RolloutPolicy {} went back from revision {} to revision {}: {}",
        note.policy, note.from_revision, note.to_revision, note.message
    )
}

fn scaled(name: &str, from: i32, to: i32) -> String {
    let direction = if to > from { "up" } else { "down" };
    format!("Scaled {direction} replica set {name} from {from} to {to}")
}

/// Message of [`CREATE_ERROR`], in event and condition.
#[must_use]
pub fn create_error_message(replica_set: &str, error: &str) -> String {
    format!("Failed to create new replica set \"{replica_set}\": {error}")
}
