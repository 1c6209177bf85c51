//! What a pod's status says, in the words of the specs.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};

use crate::clock;
use crate::conditions;
use crate::wire;

/// `status.phase`; empty if the pod has none yet.
#[must_use]
pub fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

/// Name of the node the pod is bound to; empty if unassigned.
#[must_use]
pub fn node_name(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default()
}

/// Phase `Succeeded` or `Failed`.
#[must_use]
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), wire::PHASE_SUCCEEDED | wire::PHASE_FAILED)
}

/// The deletion timestamp is set.
#[must_use]
pub fn is_being_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Neither finished nor being deleted (RS-21).
#[must_use]
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_being_deleted(pod)
}

/// Being deleted and not finished (the part of RS-22 that the pod alone decides).
#[must_use]
pub fn is_terminating(pod: &Pod) -> bool {
    is_being_deleted(pod) && !is_finished(pod)
}

/// The pod's condition of that type.
#[must_use]
pub fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .as_deref()
        .and_then(|all| conditions::find(all, type_))
}

/// Condition `Ready` is `True` (RS-55).
#[must_use]
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, wire::POD_READY).is_some_and(|ready| ready.status == wire::TRUE)
}

/// When the pod became ready: last transition of `Ready`, while that is `True`.
#[must_use]
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, wire::POD_READY).filter(|ready| ready.status == wire::TRUE)?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// Moment at which a ready pod becomes, or became, available; `None` if it is not ready or has no ready time.
#[must_use]
pub fn available_at(pod: &Pod, min_ready: Duration) -> Option<Timestamp> {
    ready_since(pod).map(|since| clock::after(since, min_ready))
}

/// Ready for at least `min_ready`; equality counts (RS-56).
#[must_use]
pub fn is_available(pod: &Pod, now: Timestamp, min_ready: Duration) -> bool {
    is_ready(pod) && (min_ready.is_zero() || available_at(pod, min_ready).is_some_and(|moment| moment <= now))
}

/// Largest restart count of the containers; 0 without any.
#[must_use]
pub fn max_restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_deref());
    statuses
        .unwrap_or_default()
        .iter()
        .map(|status| status.restart_count)
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{T0, pod};

    #[test]
    fn rs_21_active_is_neither_finished_nor_deleted() {
        assert!(is_active(&pod("a").build()));
        assert!(is_active(&pod("a").phase("Unknown").build()));
        assert!(!is_active(&pod("a").phase("Failed").build()));
        assert!(!is_active(&pod("a").phase("Succeeded").build()));
        assert!(!is_active(&pod("a").deleting().build()));
    }

    #[test]
    fn rs_22_a_finished_pod_does_not_terminate() {
        assert!(is_terminating(&pod("a").deleting().build()));
        assert!(!is_terminating(&pod("a").deleting().phase("Failed").build()));
    }

    #[test]
    fn rs_56_equality_counts_as_available() {
        let ready = pod("a").ready().build();
        let ten = Duration::from_secs(10);
        assert!(is_available(&ready, T0, Duration::ZERO));
        assert!(!is_available(
            &ready,
            clock::after(T0, Duration::from_secs(9)),
            ten
        ));
        assert!(is_available(&ready, clock::after(T0, ten), ten));
        assert!(!is_available(&pod("b").build(), T0, Duration::ZERO));
    }

    #[test]
    fn rs_56_a_ready_condition_without_time_is_available_only_without_delay() {
        let mut odd = pod("a").ready().build();
        for condition in odd.status.as_mut().unwrap().conditions.as_mut().unwrap() {
            condition.last_transition_time = None;
        }
        assert!(is_available(&odd, T0, Duration::ZERO));
        assert!(!is_available(&odd, T0, Duration::from_secs(1)));
    }
}
