//! What can go wrong in the scheduler.

use steersman_shared::api;
use steersman_shared::lease::NotLeading;
use steersman_shared::objects::ObjectKey;
use steersman_shared::sink::Retry;

use crate::plan::selector::TermError;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting that cannot work.
    #[error("{field}: {rule}")]
    Setting {
        /// Field path in the configuration.
        field: &'static str,
        /// What the field has to satisfy.
        rule: &'static str,
    },
    /// A preferred term of the profile's affinity cannot be used.
    #[error("addedAffinity")]
    AddedAffinity {
        /// What is wrong with it.
        #[source]
        source: TermError,
    },
    /// A write was attempted without a valid lease (SINV-11).
    #[error("refused to write")]
    NotLeading(#[from] NotLeading),
    /// The API server refused a write, or it is not known whether it took effect.
    #[error("{verb} pod {pod}")]
    Request {
        /// What was attempted.
        verb: &'static str,
        /// On which pod.
        pod: ObjectKey,
        /// What the client or the server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// A body that cannot be serialised.
    #[error("serialise the binding of pod {pod}")]
    Body {
        /// The pod.
        pod: ObjectKey,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A planning thread panicked.
    #[error("planning thread died")]
    Planner {
        /// The panic, as far as the runtime knows it.
        #[source]
        source: tokio::task::JoinError,
    },
}

/// Result with the [`Error`] of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether a status patch is sent again at once (SCH-166), a pod tried again after its back-off, or neither.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Setting { .. } | Self::AddedAffinity { .. } | Self::Body { .. } | Self::NotLeading(_) => {
                Retry::OnChange
            }
            Self::Request { source, .. } if is_passing(source) => {
                Retry::Soon(std::time::Duration::from_millis(10))
            }
            Self::Request { .. } | Self::Planner { .. } => Retry::Backoff,
        }
    }

    /// Label in metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Setting { .. } => "setting",
            Self::AddedAffinity { .. } => "added_affinity",
            Self::NotLeading(_) => "not_leading",
            Self::Request { .. } => "request",
            Self::Body { .. } => "body",
            Self::Planner { .. } => "planner",
        }
    }

    /// What users read: the server's own words where there are some.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Request { source, .. } => format!("{self}: {}", api::message(source)),
            other => other.to_string(),
        }
    }
}

/// Errors after which the same request may succeed (SCH-166).
fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 500 | 503) || status.is_conflict(),
        kube::Error::Service(_) | kube::Error::HyperError(_) => true,
        _ => false,
    }
}
