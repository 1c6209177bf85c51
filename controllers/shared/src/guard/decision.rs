//! Whether to act, from the evidence (TAKE-9, TAKE-10, TAKE-14). Pure.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use super::evidence::{Evidence, LeaseState, Probe, Setting};

/// The probe has to stay untouched for so long (TAKE-9).
pub const QUIET: Duration = Duration::from_secs(30);

/// Whether one of our controllers acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The native controller is off: act.
    Active,
    /// Plan and compare only.
    StandBy(Why),
}

/// Why a controller stands by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum Why {
    /// This process does not hold the leader lease.
    NotLeading,
    /// The status of the probe was written (TAKE-8 (a)).
    ProbeTouched,
    /// The status of another object was written after the probe was made (TAKE-8 (b)).
    NativeWrite {
        /// When, by the API server's clock.
        at: Timestamp,
    },
    /// A pod of the native controller manager has the controller switched on (TAKE-8 (c)).
    SwitchedOn {
        /// Name of the pod.
        pod: String,
    },
    /// The first lists are not complete.
    NotSynced,
    /// The probe could not be made.
    NoProbe {
        /// What the API server said; empty if it was not asked yet.
        error: String,
    },
    /// The probe is untouched, but not for long enough (TAKE-9).
    Waiting,
    /// No native controller manager can be seen to live, so one that is down may come back (TAKE-14).
    NoManager {
        /// What its Lease says.
        lease: LeaseState,
    },
}

impl Why {
    /// Whether it proves a native controller at work, or about to be.
    #[must_use]
    pub fn is_native(&self) -> bool {
        matches!(
            self,
            Self::ProbeTouched | Self::NativeWrite { .. } | Self::SwitchedOn { .. }
        )
    }

    /// For metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotLeading => "not_leading",
            Self::ProbeTouched => "probe_touched",
            Self::NativeWrite { .. } => "native_write",
            Self::SwitchedOn { .. } => "switched_on",
            Self::NotSynced => "not_synced",
            Self::NoProbe { .. } => "no_probe",
            Self::Waiting => "waiting",
            Self::NoManager { .. } => "no_manager",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeading => f.write_str("another process of ours leads"),
            Self::ProbeTouched => f.write_str("the native controller wrote the status of the probe"),
            Self::NativeWrite { at } => write!(f, "the native controller wrote a status at {at}"),
            Self::SwitchedOn { pod } => {
                write!(f, "pod kube-system/{pod} has the native controller switched on")
            }
            Self::NotSynced => f.write_str("the first lists are not complete"),
            Self::NoProbe { error } if error.is_empty() => f.write_str("the probe is not made yet"),
            Self::NoProbe { error } => write!(f, "the probe cannot be made: {error}"),
            Self::Waiting => f.write_str("the probe is untouched, but not for long enough yet"),
            Self::NoManager { lease } => {
                let state = match lease {
                    LeaseState::Absent => "is absent",
                    LeaseState::Expired | LeaseState::Alive => "is not renewed",
                };
                write!(
                    f,
                    "Lease kube-system/kube-controller-manager {state}: the native controllers may be down for a \
                     while only; say --no-native-controller-manager if there are none"
                )
            }
        }
    }
}

/// Whether to act on this evidence, the strongest first. `quiet` is [`QUIET`] outside tests.
///
/// A declaration that no native controller manager exists saves the wait, not the watch: it counts until the native
/// controller is seen, or its manager's Lease is being renewed.
#[must_use]
pub fn decide(evidence: &Evidence, quiet: Duration, now: Instant) -> Decision {
    let Evidence { probe, lease, .. } = evidence;
    if *probe == Probe::Touched {
        return Decision::StandBy(Why::ProbeTouched);
    }
    if let (Probe::Untouched { made, .. }, Some(at)) = (probe, evidence.written)
        && at > *made
    {
        return Decision::StandBy(Why::NativeWrite { at });
    }
    if let Setting::Enabled { pod } = &evidence.setting {
        return Decision::StandBy(Why::SwitchedOn { pod: pod.clone() });
    }
    if evidence.declared_absent && !evidence.seen && *lease != LeaseState::Alive {
        return Decision::Active;
    }
    if !evidence.synced {
        return Decision::StandBy(Why::NotSynced);
    }
    match probe {
        Probe::Missing { error } => {
            return Decision::StandBy(Why::NoProbe { error: error.clone() });
        }
        Probe::Untouched { since, .. } if now.saturating_duration_since(*since) < quiet => {
            return Decision::StandBy(Why::Waiting);
        }
        Probe::Untouched { .. } | Probe::Touched => {}
    }
    if *lease == LeaseState::Alive || evidence.declared_absent {
        Decision::Active
    } else {
        Decision::StandBy(Why::NoManager { lease: *lease })
    }
}
