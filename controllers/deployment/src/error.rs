use std::time::Duration;

use steersman_shared::api;
use steersman_shared::controller::ReconcileError;
use steersman_shared::lease::NotLeading;
use steersman_shared::ownership::AdoptionRefused;
use steersman_shared::sink::{Retry, Unserialisable};

use crate::plan::fenceposts::BadFencepost;

/// Pause before a key that met a conflict is planned from fresh state.
const AFTER_CONFLICT: Duration = Duration::from_millis(50);
/// Retries before a Deployment waits for its next change (kube-controller-manager 1.36).
const RETRIES: u32 = 15;

/// What can go wrong with one Deployment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The selector does not parse (RS-6).
    #[error("parse the selector")]
    Selector {
        /// What is wrong with it.
        #[source]
        source: Box<steersman_shared::Error>,
    },
    /// `spec.strategy.type` is neither RollingUpdate nor Recreate (DEP-1).
    #[error("strategy {strategy:?} is not known")]
    UnknownStrategy {
        /// As written.
        strategy: String,
    },
    /// A ReplicaSet made from the template would not belong to the Deployment, which would make another one, and so on.
    /// The API server refuses such Deployments.
    #[error("the selector does not match the labels of the template")]
    SelectorMismatch,
    /// A surge that cannot be resolved (DEP-36).
    #[error("find the limits of the rolling update")]
    Fenceposts(#[from] BadFencepost),
    /// A request about a ReplicaSet failed.
    #[error("{verb} ReplicaSet {name}")]
    ReplicaSet {
        /// API verb.
        verb: &'static str,
        /// Name of the ReplicaSet.
        name: String,
        /// What the client or the server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// A write to the Deployment failed.
    #[error("{verb} Deployment")]
    Deployment {
        /// API verb.
        verb: &'static str,
        /// What the client or the server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The status of a RolloutPolicy could not be written.
    #[error("write the status of the RolloutPolicy")]
    Policy {
        /// What the client or the server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The new ReplicaSet is no JSON of one: its template has metadata of a wrong type.
    #[error("make the ReplicaSet")]
    Malformed(#[source] serde_json::Error),
    /// Orphans match, but may not be adopted (RS-14).
    #[error("adopt ReplicaSets")]
    Adoption(#[from] AdoptionRefused),
    /// An orphan was gone before its adoption: the plan counted on it (RS-16).
    #[error("a ReplicaSet was gone before its adoption")]
    OrphanGone,
    /// The name of the new ReplicaSet is taken, by ours or by one that is not known yet (DEP-19).
    #[error("ReplicaSet {name} exists already")]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The name of the new ReplicaSet is taken by a foreign one; the next attempt uses another (DEP-19).
    #[error("ReplicaSet {name} belongs to something else")]
    Collision {
        /// The name.
        name: String,
    },
    /// The lease was lost in the middle of the sync (INV-12).
    #[error("refused to write")]
    NotLeading(#[from] NotLeading),
    /// A plan that cannot be reported.
    #[error("report the plan")]
    Report(#[from] Unserialisable),
}

/// Result with the [`Error`] of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The name of a new object was taken (DEP-19).
    pub(crate) fn is_name_taken(&self) -> bool {
        matches!(self, Self::ReplicaSet { source, .. } if api::is_already_exists(source))
    }

    /// The text that users see, in the server's own words where it spoke (DEP-20); `None` if they are not to see it
    /// (RS-4).
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        match self {
            Self::Malformed(source) => Some(source.to_string()),
            Self::ReplicaSet { source, .. } if api::is_conflict(source) => None,
            Self::ReplicaSet { source, .. } | Self::Deployment { source, .. } => Some(api::message(source)),
            Self::Selector { .. }
            | Self::SelectorMismatch
            | Self::UnknownStrategy { .. }
            | Self::Fenceposts(_)
            | Self::Policy { .. }
            | Self::Adoption(_)
            | Self::OrphanGone
            | Self::NameTaken { .. }
            | Self::Collision { .. }
            | Self::NotLeading(_)
            | Self::Report(_) => None,
        }
    }
}

impl Error {
    /// For users who can mend it: which field is wrong, and what would be right (STY-35, DEP-36); `None` if no field is.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Selector { source } => Some(format!("spec.selector: {source}")),
            Self::SelectorMismatch => Some(
                "spec.selector does not match spec.template.metadata.labels: no ReplicaSet is created until it does"
                    .to_owned(),
            ),
            Self::UnknownStrategy { strategy } => Some(format!(
                "spec.strategy.type: {strategy:?} is not known; use RollingUpdate or Recreate"
            )),
            Self::Fenceposts(source) => Some(format!(
                "spec.strategy.rollingUpdate.{source}; use a number of pods such as 1, or a percentage such as \"25%\""
            )),
            _ => None,
        }
    }
}

impl ReconcileError for Error {
    fn retry(&self) -> Retry {
        match self {
            Self::UnknownStrategy { .. }
            | Self::SelectorMismatch
            | Self::Fenceposts(_)
            | Self::Malformed(_)
            | Self::NotLeading(_)
            | Self::Report(_) => Retry::OnChange,
            Self::OrphanGone | Self::Collision { .. } => Retry::Soon(AFTER_CONFLICT),
            Self::ReplicaSet { source, .. } | Self::Deployment { source, .. } | Self::Policy { source } => {
                match api::retry_after(source) {
                    _ if api::is_namespace_terminating(source) => Retry::OnChange,
                    Some(pause) => Retry::Soon(pause),
                    // Something else under that name, or nothing: the cache is about to tell.
                    None if api::is_conflict(source) || api::is_not_found(source) => {
                        Retry::Soon(AFTER_CONFLICT)
                    }
                    None => Retry::Drop { after: RETRIES },
                }
            }
            Self::Selector { .. } | Self::Adoption(_) | Self::NameTaken { .. } => {
                Retry::Drop { after: RETRIES }
            }
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Selector { .. } => "selector",
            Self::SelectorMismatch => "selector_mismatch",
            Self::UnknownStrategy { .. } => "strategy",
            Self::Fenceposts(_) => "fenceposts",
            Self::ReplicaSet { .. } => "replica_set",
            Self::Deployment { .. } => "deployment",
            Self::Policy { .. } => "policy",
            Self::Malformed(_) => "malformed",
            Self::Adoption(_) => "adoption",
            Self::OrphanGone => "orphan_gone",
            Self::NameTaken { .. } => "name_taken",
            Self::Collision { .. } => "collision",
            Self::NotLeading(_) => "not_leading",
            Self::Report(_) => "report",
        }
    }
}
