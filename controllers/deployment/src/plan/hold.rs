//! What holds a rollout up, with the numbers that decide it: `explain` says it to a person.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use steersman_shared::objects::ReplicaSet;

use super::policy::Stop;
use super::{rolling, size};

/// Why a rollout does less than it could. Names are those of ReplicaSets; a ReplicaSet's own plan tells about its pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Hold {
    /// `spec.paused` (DEP-84).
    Paused,
    /// As many pods exist as the surge allows: the new ReplicaSet cannot grow (DEP-47).
    Surge {
        /// Sum of all sizes.
        total: i64,
        /// Most that it may be.
        limit: i64,
    },
    /// No old pod may go: no more pods are available than have to stay (DEP-49).
    Unavailable {
        /// Available pods of all ReplicaSets.
        available: i64,
        /// Fewest that have to stay.
        needed: i64,
        /// With pods that are not available, oldest first.
        replica_sets: Vec<String>,
    },
    /// All sizes are as they will be; the rollout is complete when the last pods are available (DEP-75).
    Incomplete {
        /// Available pods of all ReplicaSets.
        available: i64,
        /// `spec.replicas`.
        desired: i32,
        /// With pods that are missing, not available or too many, oldest first.
        replica_sets: Vec<String>,
    },
    /// The status of ReplicaSets is older than their last scaling (DEP-51, DEP-57).
    StatusLags {
        /// Which ones.
        replica_sets: Vec<String>,
    },
    /// Pods of other ReplicaSets still exist (DEP-58, DEP-111).
    OldPods {
        /// Which ones.
        replica_sets: Vec<String>,
    },
    /// The revision annotation of the new ReplicaSet is not an integer (DEP-28).
    BadRevision {
        /// The new ReplicaSet.
        replica_set: String,
        /// As written.
        value: String,
    },
    /// A RolloutPolicy lets the rollout go no further for now.
    Policy(Stop),
    /// A RolloutPolicy would go back, and cannot.
    NoWayBack {
        /// What happened, and why there is no way back.
        message: String,
    },
}

impl Hold {
    /// ReplicaSets whose pods, or whose status, this waits for.
    #[must_use]
    pub fn replica_sets(&self) -> &[String] {
        match self {
            Self::Paused | Self::Surge { .. } | Self::Policy(_) | Self::NoWayBack { .. } => &[],
            Self::Unavailable { replica_sets, .. }
            | Self::Incomplete { replica_sets, .. }
            | Self::StatusLags { replica_sets }
            | Self::OldPods { replica_sets } => replica_sets,
            Self::BadRevision { replica_set, .. } => std::slice::from_ref(replica_set),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Paused => f.write_str("spec.paused is set: a changed template is not rolled out"),
            Self::Surge { total, limit } => {
                write!(
                    f,
                    "no new pod fits: {total} pods asked for, {limit} allowed at a time"
                )
            }
            Self::Unavailable {
                available, needed, ..
            } => write!(
                f,
                "no old pod may go: {available} pods are available, {needed} have to be"
            ),
            Self::Incomplete {
                available, desired, ..
            } => write!(f, "{available} of {desired} pods are available"),
            Self::StatusLags { .. } => {
                f.write_str("the status of a ReplicaSet is older than its last scaling")
            }
            Self::OldPods { .. } => f.write_str("pods of the former template still exist"),
            Self::Policy(stop) => write!(f, "the RolloutPolicy holds the rollout: it {stop}"),
            Self::NoWayBack { message } => write!(f, "the RolloutPolicy would go back, but: {message}"),
            Self::BadRevision { replica_set, value } => write!(
                f,
                "the revision annotation of ReplicaSet {replica_set} is {value:?}, not an integer"
            ),
        }
    }
}

/// Names of the ReplicaSets that meet a condition, in their order.
pub(super) fn names<'a>(
    all: impl Iterator<Item = &'a Arc<ReplicaSet>>,
    is_meant: impl Fn(&ReplicaSet) -> bool,
) -> Vec<String> {
    all.filter(|it| is_meant(it))
        .map(|it| it.metadata.name.clone().unwrap_or_default())
        .collect()
}

/// Fewer of its pods are available than it asks for.
pub(super) fn is_unavailable(replica_set: &ReplicaSet) -> bool {
    replica_set.status.available_replicas.unwrap_or_default() < size(replica_set)
}

/// Its pods are not yet, or not as far as its status tells, those that it asks for.
pub(super) fn is_unsettled(replica_set: &ReplicaSet) -> bool {
    is_unavailable(replica_set)
        || replica_set.status.replicas != size(replica_set)
        || rolling::is_behind(replica_set)
}
