//! Counts, conditions and delayed checks of a ReplicaSet (RS-53 to RS-66).

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;
use steersman_shared::objects::ReplicaSet;
use steersman_shared::{clock, conditions, pods, wire};

use super::{Step, desired};
use crate::action::{FAILED_CREATE, FAILED_DELETE, REPLICA_FAILURE};

/// Pods counted at one moment (RS-66).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    active: usize,
    fully_labeled: usize,
    ready: usize,
    available: usize,
    terminating: usize,
    /// When the next ready pod becomes available.
    next_available: Option<Timestamp>,
}

fn min_ready(replica_set: &ReplicaSet) -> Duration {
    let seconds = replica_set.spec.min_ready_seconds.unwrap_or_default();
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn count(pods: usize) -> i32 {
    i32::try_from(pods).unwrap_or(i32::MAX)
}

impl Counted {
    /// Counts the active claimed pods (RS-53 to RS-56).
    #[must_use]
    pub fn of(replica_set: &ReplicaSet, active: &[Arc<Pod>], terminating: usize, now: Timestamp) -> Self {
        let min_ready = min_ready(replica_set);
        let labels = replica_set
            .spec
            .template
            .pointer("/metadata/labels")
            .and_then(Value::as_object);
        let mut counted = Self {
            active: active.len(),
            terminating,
            ..Self::default()
        };
        for pod in active {
            let fully_labeled = labels.into_iter().flatten().all(|(key, value)| {
                let own = pod.metadata.labels.as_ref().and_then(|all| all.get(key));
                own.map(String::as_str) == value.as_str()
            });
            counted.fully_labeled += usize::from(fully_labeled);
            if !pods::is_ready(pod) {
                continue;
            }
            counted.ready += 1;
            if pods::is_available(pod, now, min_ready) {
                counted.available += 1;
            } else if let Some(moment) = pods::available_at(pod, min_ready) {
                counted.next_available = clock::earliest(counted.next_available, moment);
            }
        }
        counted
    }

    /// The status, its observed generation still the stored one (RS-58).
    #[must_use]
    pub fn status(&self, replica_set: &ReplicaSet, step: &Step, now: Timestamp) -> ReplicaSetStatus {
        let stored = &replica_set.status;
        let mut list = stored.conditions.clone().unwrap_or_default();
        let has_failure = conditions::find(&list, REPLICA_FAILURE).is_some();
        let wanted = desired(replica_set);
        match step {
            Step::Failed(message) if !has_failure => {
                let reason = match self.active.cmp(&wanted) {
                    Ordering::Less => Some(FAILED_CREATE),
                    Ordering::Greater => Some(FAILED_DELETE),
                    Ordering::Equal => None,
                };
                list.push(ReplicaSetCondition {
                    last_transition_time: Some(Time(now)),
                    message: Some(message.clone()),
                    reason: reason.map(str::to_owned),
                    status: wire::TRUE.to_owned(),
                    type_: REPLICA_FAILURE.to_owned(),
                });
            }
            Step::Failed(_) => {}
            // A step that was not tried says nothing about the failure, unless there is nothing left to try (RS-64).
            Step::Skipped if self.active != wanted => {}
            Step::Done | Step::Skipped => {
                conditions::remove(&mut list, REPLICA_FAILURE);
            }
        }
        ReplicaSetStatus {
            available_replicas: Some(count(self.available)),
            conditions: Some(list),
            fully_labeled_replicas: Some(count(self.fully_labeled)),
            observed_generation: stored.observed_generation,
            ready_replicas: Some(count(self.ready)),
            replicas: count(self.active),
            terminating_replicas: Some(count(self.terminating)),
        }
    }

    /// When a ready pod becomes available by time alone (RS-61).
    #[must_use]
    pub fn next_check(&self, replica_set: &ReplicaSet, now: Timestamp) -> Option<Timestamp> {
        let min_ready = min_ready(replica_set);
        let waits = !min_ready.is_zero() && self.ready != self.available;
        waits.then(|| {
            self.next_available
                .unwrap_or_else(|| clock::after(now, min_ready))
        })
    }
}

/// Whether a status tells more than the stored one (RS-59). An API server that drops the number of terminating pods
/// gets it only along with something else (RS-57).
#[must_use]
pub fn is_worth_writing(
    replica_set: &ReplicaSet,
    status: &ReplicaSetStatus,
    stores_terminating: bool,
) -> bool {
    let stored = &replica_set.status;
    let number = Option::<i32>::unwrap_or_default;
    let dropped = stored.terminating_replicas.is_none() && !stores_terminating;
    stored.replicas != status.replicas
        || number(stored.fully_labeled_replicas) != number(status.fully_labeled_replicas)
        || number(stored.ready_replicas) != number(status.ready_replicas)
        || number(stored.available_replicas) != number(status.available_replicas)
        || (stored.terminating_replicas != status.terminating_replicas && !dropped)
        || stored.conditions.as_deref().unwrap_or_default()
            != status.conditions.as_deref().unwrap_or_default()
        || replica_set.metadata.generation != stored.observed_generation
}
