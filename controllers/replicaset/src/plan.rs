//! From a snapshot of one ReplicaSet to what is to be written next. Pure: no I/O, no clock.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use steersman_shared::objects::{ReplicaSet, Uid};
use steersman_shared::ownership::{self, ClaimDecision};
use steersman_shared::pods;
use steersman_shared::selector::Selector;

use crate::action::{Action, DeleteCause, StatusWrite};
use status::Counted;

pub mod pod;
pub mod ranking;
pub mod status;
#[cfg(test)]
mod tests;

/// Most creates or deletes in one sync (kube-controller-manager 1.36, RS-33).
pub const BURST: usize = 500;

/// Everything that [`plan`] reads, and nothing else.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The ReplicaSet.
    pub replica_set: Arc<ReplicaSet>,
    /// Its selector.
    pub selector: Selector,
    /// Pods that it controls and orphans in its namespace, sorted by name (RS-20).
    pub pods: Vec<Arc<Pod>>,
    /// Pods that match the selector of any ReplicaSet with the same controller; only needed when there are too many
    /// pods (RS-45).
    pub related: Vec<Arc<Pod>>,
    /// The API server stores `status.terminatingReplicas` (RS-57).
    pub stores_terminating: bool,
}

/// What to do, why nothing more, and when to look again.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// In the order in which they are applied. A status write comes last and presumes that the others succeed;
    /// [`status_write`] tells what to write instead if they do not.
    pub actions: Vec<Action>,
    /// What holds progress up: `explain` prints it.
    pub held_by: Vec<Hold>,
    /// Earliest moment at which time alone changes the plan; `None`: only a change does.
    pub wake_at: Option<Timestamp>,
}

/// Why less is done than is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Hold {
    /// The ReplicaSet is being deleted (RS-24).
    Deleting,
    /// More creates or deletes than one sync may do (RS-33).
    Burst {
        /// Pods that have to wait for a later sync.
        left: usize,
    },
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deleting => {
                f.write_str("the ReplicaSet is being deleted: its pods are left to the garbage collector")
            }
            Self::Burst { left } => write!(f, "at most {BURST} pods at a time: {left} have to wait"),
        }
    }
}

/// How creating or deleting pods went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// All done, or nothing to do.
    Done,
    /// With the text for the condition (RS-62).
    Failed(String),
    /// Not tried.
    Skipped,
}

/// The pods that count, by what they count as.
#[derive(Clone, Debug, Default)]
struct Claims {
    active: Vec<Arc<Pod>>,
    terminating: usize,
    actions: Vec<Action>,
}

/// `spec.replicas`; the API server defaults it to 1.
fn desired(replica_set: &ReplicaSet) -> usize {
    usize::try_from(replica_set.spec.replicas.unwrap_or(1)).unwrap_or_default()
}

/// Plans one sync.
#[must_use]
pub fn plan(snapshot: &Snapshot, now: Timestamp) -> Plan {
    let claims = claim(snapshot);
    let mut plan = Plan {
        actions: claims.actions.clone(),
        ..Plan::default()
    };
    let wanted = desired(&snapshot.replica_set);
    let active = claims.active.len();
    let step = if snapshot.replica_set.metadata.deletion_timestamp.is_some() {
        plan.held_by.push(Hold::Deleting);
        Step::Skipped
    } else {
        let left = wanted.abs_diff(active).saturating_sub(BURST);
        if left > 0 {
            plan.held_by.push(Hold::Burst { left });
        }
        if active < wanted {
            let count = u32::try_from((wanted - active).min(BURST)).unwrap_or(u32::MAX);
            plan.actions.push(Action::CreatePods { count });
        } else if active > wanted {
            let count = (active - wanted).min(BURST);
            let victims = ranking::first(&claims.active, &snapshot.related, count, now);
            plan.actions.extend(victims.iter().map(|pod| delete(pod)));
        }
        Step::Done
    };
    let counted = Counted::of(&snapshot.replica_set, &claims.active, claims.terminating, now);
    plan.actions.extend(write(snapshot, &counted, &step, now));
    plan.wake_at = counted.next_check(&snapshot.replica_set, now);
    plan
}

/// The status write after the step went as it did; `None`: nothing to write (RS-59).
#[must_use]
pub fn status_write(snapshot: &Snapshot, step: &Step, now: Timestamp) -> Option<Action> {
    let claims = claim(snapshot);
    let counted = Counted::of(&snapshot.replica_set, &claims.active, claims.terminating, now);
    write(snapshot, &counted, step, now)
}

fn write(snapshot: &Snapshot, counted: &Counted, step: &Step, now: Timestamp) -> Option<Action> {
    let replica_set = snapshot.replica_set.as_ref();
    let mut status = counted.status(replica_set, step, now);
    if !status::is_worth_writing(replica_set, &status, snapshot.stores_terminating) {
        return None;
    }
    status.observed_generation = replica_set.metadata.generation;
    Some(Action::WriteStatus(Box::new(StatusWrite {
        uid: Uid::of(replica_set),
        resource_version: replica_set.metadata.resource_version.clone().unwrap_or_default(),
        status,
    })))
}

/// Which pods count, and what it takes to have them (RS-10 to RS-13, RS-20 to RS-22).
fn claim(snapshot: &Snapshot) -> Claims {
    let replica_set = snapshot.replica_set.as_ref();
    let mut claims = Claims::default();
    for pod in &snapshot.pods {
        if pods::is_terminating(pod) {
            let owned = ownership::controller_uid(pod.as_ref()) == Some(Uid::of(replica_set));
            claims.terminating += usize::from(owned && snapshot.selector.selects(pod.as_ref()));
        }
        if !pods::is_active(pod) {
            continue;
        }
        let name = || pod.metadata.name.clone().unwrap_or_default();
        let matches = snapshot.selector.selects(pod.as_ref());
        match ownership::decide(&replica_set.metadata, &pod.metadata, matches) {
            ClaimDecision::Claimed => claims.active.push(Arc::clone(pod)),
            ClaimDecision::Adopt => {
                claims.actions.push(Action::AdoptPod {
                    name: name(),
                    uid: Uid::of(pod.as_ref()),
                });
                claims.active.push(Arc::clone(pod));
            }
            ClaimDecision::Release => {
                claims.actions.push(Action::ReleasePod {
                    name: name(),
                    uid: Uid::of(pod.as_ref()),
                });
            }
            ClaimDecision::Ignore => {}
        }
    }
    claims
}

/// Whether some of the active pods are to go, but not all of them: only then is an order computed, and related pods are
/// looked at.
#[must_use]
pub fn needs_ranking(replica_set: &ReplicaSet, pods: &[Arc<Pod>]) -> bool {
    let active = pods.iter().filter(|pod| pods::is_active(pod)).count();
    let surplus = active.saturating_sub(desired(replica_set)).min(BURST);
    surplus > 0 && surplus < active
}

fn delete(pod: &Pod) -> Action {
    let cause = if pods::node_name(pod).is_empty() {
        DeleteCause::Unassigned
    } else if pods::phase(pod) != steersman_shared::wire::PHASE_RUNNING {
        DeleteCause::NotRunning
    } else if !pods::is_ready(pod) {
        DeleteCause::NotReady
    } else {
        DeleteCause::Surplus
    };
    Action::DeletePod {
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: Uid::of(pod),
        cause,
    }
}
