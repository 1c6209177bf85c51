use std::time::Duration;

use steersman_shared::api;
use steersman_shared::controller::ReconcileError;
use steersman_shared::lease::NotLeading;
use steersman_shared::ownership::AdoptionRefused;
use steersman_shared::sink::{Retry, Unserialisable};

use crate::plan::pod::BadTemplate;

/// Pause before a key that met a conflict is planned from fresh state.
const AFTER_CONFLICT: Duration = Duration::from_millis(50);

/// What can go wrong with one ReplicaSet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The selector does not parse: the ReplicaSet is skipped (RS-6).
    #[error("parse the selector")]
    Selector {
        /// What is wrong with it.
        #[source]
        source: Box<steersman_shared::Error>,
    },
    /// No pod is made from the template (RS-37).
    #[error("make a pod from the template")]
    Template(#[from] BadTemplate),
    /// The template is not the JSON of a pod.
    #[error("read the metadata of the template")]
    Malformed(#[source] serde_json::Error),
    /// A request about a pod failed.
    #[error("{verb} pod {pod}")]
    Pod {
        /// API verb.
        verb: &'static str,
        /// Name of the pod; of its prefix for a create.
        pod: String,
        /// What the client or the server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The status was not written, not even at the second attempt (RS-60).
    #[error("write status")]
    Status(#[source] Box<kube::Error>),
    /// Orphans match, but may not be adopted (RS-14).
    #[error("adopt pods")]
    Adoption(#[from] AdoptionRefused),
    /// An orphan was gone before its adoption: the plan counted on it (RS-16).
    #[error("a pod was gone before its adoption")]
    OrphanGone,
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
    /// The text of the condition, in the server's own words where it spoke (RS-62); `None` if users are not to see it
    /// (RS-4).
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        match self {
            Self::Template(source) => Some(source.to_string()),
            Self::Malformed(source) => Some(source.to_string()),
            Self::Pod { source, .. } if api::is_conflict(source) => None,
            Self::Pod {
                verb: "delete",
                source,
                ..
            } => Some(crate::action::unable_to_delete_message(&api::message(source))),
            Self::Pod { source, .. } => Some(api::message(source)),
            Self::Selector { .. }
            | Self::Status(_)
            | Self::Adoption(_)
            | Self::OrphanGone
            | Self::NotLeading(_)
            | Self::Report(_) => None,
        }
    }
}

impl Error {
    /// For users who can mend it: which field is wrong, and what would be right (STY-35); `None` if no field is.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Selector { source } => Some(format!("spec.selector: {source}")),
            _ => None,
        }
    }
}

impl ReconcileError for Error {
    fn retry(&self) -> Retry {
        match self {
            Self::Selector { .. }
            | Self::Template(_)
            | Self::Malformed(_)
            | Self::Report(_)
            | Self::NotLeading(_) => Retry::OnChange,
            Self::OrphanGone => Retry::Soon(AFTER_CONFLICT),
            Self::Pod { source, .. } | Self::Status(source) => match api::retry_after(source) {
                _ if api::is_namespace_terminating(source) => Retry::OnChange,
                Some(pause) => Retry::Soon(pause),
                None if api::is_conflict(source) => Retry::Soon(AFTER_CONFLICT),
                None => Retry::Backoff,
            },
            Self::Adoption(_) => Retry::Backoff,
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Self::Selector { .. } => "selector",
            Self::Template(_) | Self::Malformed(_) => "template",
            Self::Pod { .. } => "pod",
            Self::Status(_) => "status",
            Self::Adoption(_) => "adoption",
            Self::OrphanGone => "orphan_gone",
            Self::NotLeading(_) => "not_leading",
            Self::Report(_) => "report",
        }
    }
}
