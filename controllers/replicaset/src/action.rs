//! What the controller may do, and every string of it that users see.

use k8s_openapi::api::apps::v1::ReplicaSetStatus;
use serde::Serialize;
use steersman_shared::claims::{Claim, Claiming};
use steersman_shared::objects::{ReplicaSet, Uid};

/// Annotation of pods: what deleting it costs, compared between pods of one ReplicaSet (RS-44).
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Condition: pods could not be created or deleted (RS-62).
pub const REPLICA_FAILURE: &str = "ReplicaFailure";
/// Reason of [`REPLICA_FAILURE`] and of an event.
pub const FAILED_CREATE: &str = "FailedCreate";
/// Reason of [`REPLICA_FAILURE`] and of an event.
pub const FAILED_DELETE: &str = "FailedDelete";
/// Reason of an event.
pub const SUCCESSFUL_CREATE: &str = "SuccessfulCreate";
/// Reason of an event.
pub const SUCCESSFUL_DELETE: &str = "SuccessfulDelete";
/// Reason of an event: a field that the API server should not have let through. Not upstream's, which only logs it.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// Action of all events: what the controller was doing.
pub const EVENT_ACTION: &str = "Reconcile";

/// Message of [`SUCCESSFUL_CREATE`].
#[must_use]
pub fn created_message(pod: &str) -> String {
    format!("Created pod: {pod}")
}

/// Message of the event [`FAILED_CREATE`].
#[must_use]
pub fn create_failed_message(error: &str) -> String {
    format!("Error creating: {error}")
}

/// Message of [`SUCCESSFUL_DELETE`].
#[must_use]
pub fn deleted_message(pod: &str) -> String {
    format!("Deleted pod: {pod}")
}

/// Message of the event [`FAILED_DELETE`].
#[must_use]
pub fn delete_failed_message(error: &str) -> String {
    format!("Error deleting: {error}")
}

/// Message of the condition for [`FAILED_DELETE`].
#[must_use]
pub fn unable_to_delete_message(error: &str) -> String {
    format!("unable to delete pods: {error}")
}

/// One write, or a counted batch of equal ones; serialised as is into shadow reports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Action {
    /// Makes the ReplicaSet the controller of an orphan (RS-13). Only after a live read of the ReplicaSet (RS-14).
    AdoptPod {
        /// Pod.
        name: String,
        /// Of the pod: the write fails if the name was used again.
        uid: Uid,
    },
    /// Gives up a pod that the selector no longer matches (RS-12).
    ReleasePod {
        /// Pod.
        name: String,
        /// Of the pod.
        uid: Uid,
    },
    /// Creates pods from the template, a few at first (RS-34).
    CreatePods {
        /// How many.
        count: u32,
    },
    /// Refused by the API server if `uid` no longer matches (RS-5).
    DeletePod {
        /// Pod.
        name: String,
        /// Of the pod.
        uid: Uid,
        /// Why this one.
        cause: DeleteCause,
    },
    /// Writes status through `/status` (RS-60).
    WriteStatus(Box<StatusWrite>),
}

impl Action {
    /// For logs and metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::AdoptPod { .. } => "adopt",
            Self::ReleasePod { .. } => "release",
            Self::CreatePods { .. } => "create",
            Self::DeletePod { .. } => "delete",
            Self::WriteStatus(_) => "status",
        }
    }

    /// The status that it writes, if that is what it does.
    #[must_use]
    pub const fn status(&self) -> Option<&StatusWrite> {
        match self {
            Self::WriteStatus(write) => Some(&**write),
            _ => None,
        }
    }
}

impl Claiming for Action {
    fn claim(&self) -> Option<Claim<'_>> {
        match self {
            Self::AdoptPod { uid, .. } => Some(Claim::Adopt(uid)),
            Self::ReleasePod { uid, .. } => Some(Claim::Release(uid)),
            Self::CreatePods { .. } | Self::DeletePod { .. } | Self::WriteStatus(_) => None,
        }
    }
}

/// Why a pod is among those deleted: the most telling of the ranking's rules that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum DeleteCause {
    /// Not bound to a node (RS-41).
    Unassigned,
    /// Its phase is not Running (RS-42).
    NotRunning,
    /// Not ready (RS-43).
    NotReady,
    /// As good as the ones that stay; deletion cost, spread and age decided (RS-44 to RS-49).
    Surplus,
}

/// The status to write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatusWrite {
    /// Of the ReplicaSet.
    pub uid: Uid,
    /// Of the ReplicaSet in the snapshot.
    pub resource_version: String,
    /// Complete.
    pub status: ReplicaSetStatus,
}

impl StatusWrite {
    /// Whether it tells nothing that `replica_set` does not show already, except that its generation was seen.
    #[must_use]
    pub fn is_mere_acknowledgement(&self, replica_set: &ReplicaSet) -> bool {
        let counts = |status: &ReplicaSetStatus| {
            let optional = [
                status.fully_labeled_replicas,
                status.ready_replicas,
                status.available_replicas,
                status.terminating_replicas,
            ];
            (status.replicas, optional.map(Option::unwrap_or_default))
        };
        let conditions = |status: &ReplicaSetStatus| status.conditions.clone().unwrap_or_default();
        counts(&self.status) == counts(&replica_set.status)
            && conditions(&self.status) == conditions(&replica_set.status)
    }
}
