//! Which pods go first when there are too many (RS-41 to RS-50).

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use rustc_hash::FxHashMap;
use steersman_shared::{pods, wire};

use crate::action::DELETION_COST;

/// What the ranking compares of one pod.
#[derive(Clone, Debug)]
pub struct Candidate {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    rank: usize,
    ready_since: Option<Timestamp>,
    restarts: i32,
    sidecar_restarts: i32,
    created: Option<Timestamp>,
    uid: String,
}

/// The first `count` of the active pods in deletion order. All of them keep their order: then none is chosen.
#[must_use]
pub fn first(active: &[Arc<Pod>], related: &[Arc<Pod>], count: usize, now: Timestamp) -> Vec<Arc<Pod>> {
    if count >= active.len() {
        return active.to_vec();
    }
    let ranks = ranks(active, related);
    let mut candidates: Vec<_> = active
        .iter()
        .zip(ranks)
        .map(|(pod, rank)| (Candidate::of(pod, rank), pod))
        .collect();
    sort(&mut candidates, &|(a, _), (b, _)| compare(a, b, now));
    candidates
        .into_iter()
        .take(count)
        .map(|(_, pod)| Arc::clone(pod))
        .collect()
}

/// For each pod the number of active related pods on its node; unassigned pods share one (RS-45).
#[must_use]
pub fn ranks(active: &[Arc<Pod>], related: &[Arc<Pod>]) -> Vec<usize> {
    let mut on_node: FxHashMap<&str, usize> = FxHashMap::default();
    for pod in related.iter().filter(|pod| pods::is_active(pod)) {
        *on_node.entry(pods::node_name(pod)).or_default() += 1;
    }
    active
        .iter()
        .map(|pod| on_node.get(pods::node_name(pod)).copied().unwrap_or_default())
        .collect()
}

impl Candidate {
    /// A pod whose node has `rank` related pods.
    #[must_use]
    pub fn of(pod: &Pod, rank: usize) -> Self {
        Self {
            assigned: !pods::node_name(pod).is_empty(),
            phase: match pods::phase(pod) {
                "Unknown" => 1,
                wire::PHASE_RUNNING => 2,
                _ => 0,
            },
            ready: pods::is_ready(pod),
            cost: deletion_cost(pod),
            rank,
            ready_since: pods::ready_since(pod),
            restarts: pods::max_restarts(pod),
            sidecar_restarts: sidecar_restarts(pod),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
        }
    }
}

/// Whether deleting `pod` is as right as deleting one of `victims`, as far as the recorded rules say: they leave full ties
/// open (RS-50).
#[must_use]
pub fn is_as_good_as_one_of(pod: &Pod, victims: &[Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) -> bool {
    let pod = Arc::new(pod.clone());
    let candidate = |it: &Arc<Pod>| {
        let rank = ranks(std::slice::from_ref(it), related).first().copied();
        Candidate {
            uid: String::new(),
            ..Candidate::of(it, rank.unwrap_or_default())
        }
    };
    let wanted = candidate(&pod);
    victims
        .iter()
        .any(|it| compare(&wanted, &candidate(it), now).is_le())
}

/// Which of two pods is deleted first: `Less` is the first one. `Equal` only for a pod and itself. Not transitive as
/// a whole (RS-50).
#[must_use]
pub fn compare(a: &Candidate, b: &Candidate, now: Timestamp) -> Ordering {
    let by_state = (a.assigned, a.phase, a.ready, a.cost, Reverse(a.rank)).cmp(&(
        b.assigned,
        b.phase,
        b.ready,
        b.cost,
        Reverse(b.rank),
    ));
    if by_state.is_ne() {
        return by_state;
    }
    if a.ready && b.ready && a.ready_since != b.ready_since {
        return younger_first(a.ready_since, b.ready_since, now).then_with(|| a.uid.cmp(&b.uid));
    }
    let by_restarts = (b.restarts, b.sidecar_restarts).cmp(&(a.restarts, a.sidecar_restarts));
    if by_restarts.is_ne() {
        return by_restarts;
    }
    if a.created != b.created {
        return younger_first(a.created, b.created, now).then_with(|| a.uid.cmp(&b.uid));
    }
    a.uid.cmp(&b.uid)
}

/// By age in powers of two; an empty time comes first (RS-46, RS-48, RS-49).
fn younger_first(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => bucket(a, now).cmp(&bucket(b, now)),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// Logarithm of the age in nanoseconds; `None` for ages of 0 and below, which come first.
fn bucket(moment: Timestamp, now: Timestamp) -> Option<u32> {
    now.duration_since(moment).as_nanos().checked_ilog2()
}

/// The pod's deletion cost; what does not parse counts as 0 (RS-44).
#[must_use]
pub fn deletion_cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(DELETION_COST))
        .and_then(|text| parse_cost(text))
        .unwrap_or_default()
}

/// An int32 without a leading `+` or 0 (RS-44).
#[must_use]
pub fn parse_cost(text: &str) -> Option<i32> {
    let begins_well = text == "0" || matches!(text.bytes().next(), Some(b'-' | b'1'..=b'9'));
    begins_well.then(|| text.parse().ok()).flatten()
}

/// Most restarts of a restartable init container (RS-47).
fn sidecar_restarts(pod: &Pod) -> i32 {
    let containers = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.init_containers.as_deref())
        .unwrap_or_default();
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.init_container_statuses.as_deref());
    let is_sidecar = |name: &str| {
        containers
            .iter()
            .any(|it| it.name == name && it.restart_policy.as_deref() == Some("Always"))
    };
    let restarts = statuses
        .unwrap_or_default()
        .iter()
        .filter(|it| is_sidecar(&it.name));
    restarts.map(|it| it.restart_count).max().unwrap_or_default()
}

/// Merge sort: its result is defined for intransitive relations too, where standard sorts may give up (RS-50).
fn sort<T: Clone>(items: &mut [T], compare: &impl Fn(&T, &T) -> Ordering) {
    let middle = items.len() / 2;
    if middle == 0 {
        return;
    }
    let mut merged = Vec::with_capacity(items.len());
    {
        let (left, right) = items.split_at_mut(middle);
        sort(left, compare);
        sort(right, compare);
        let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            merged.extend(
                if compare(b, a).is_lt() {
                    right.next()
                } else {
                    left.next()
                }
                .cloned(),
            );
        }
        merged.extend(left.cloned());
        merged.extend(right.cloned());
    }
    items.clone_from_slice(&merged);
}
