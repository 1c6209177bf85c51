//! Which old ReplicaSets are deleted under `revisionHistoryLimit` (DEP-60).

use std::sync::Arc;

use steersman_shared::objects::{Deployment, ReplicaSet};

use super::find::by_age;
use super::{annotations, size};

/// The value of `revisionHistoryLimit` that keeps all (kube-controller-manager 1.36, DEP-60).
const KEEP_ALL: i32 = i32::MAX;

/// Old ReplicaSets to delete, in order. Exactly the first ones above the limit are looked at; those that still have
/// pods or an older status are left out and not replaced by later ones.
#[must_use]
pub fn plan(deployment: &Deployment, old: &[Arc<ReplicaSet>]) -> Vec<Arc<ReplicaSet>> {
    let Some(limit) = deployment
        .spec
        .revision_history_limit
        .filter(|limit| *limit != KEEP_ALL)
    else {
        return Vec::new();
    };
    let mut candidates: Vec<_> = old
        .iter()
        .filter(|it| it.metadata.deletion_timestamp.is_none())
        .cloned()
        .collect();
    let excess = candidates
        .len()
        .saturating_sub(usize::try_from(limit).unwrap_or_default());
    sort_by_revision(&mut candidates);
    candidates
        .into_iter()
        .take(excess)
        .filter(|it| is_disposable(it))
        .collect()
}

fn is_disposable(replica_set: &ReplicaSet) -> bool {
    let observed = replica_set.status.observed_generation.unwrap_or_default();
    size(replica_set) == 0
        && replica_set.status.replicas == 0
        && observed >= replica_set.metadata.generation.unwrap_or_default()
}

/// Insertion sort: revisions that do not parse make the relation intransitive, and standard sorts may then give up.
fn sort_by_revision(replica_sets: &mut [Arc<ReplicaSet>]) {
    for end in 1..replica_sets.len() {
        let mut at = end;
        while at > 0
            && let (Some(left), Some(right)) = (replica_sets.get(at - 1), replica_sets.get(at))
            && is_before(right, left)
        {
            replica_sets.swap(at - 1, at);
            at -= 1;
        }
    }
}

fn is_before(a: &ReplicaSet, b: &ReplicaSet) -> bool {
    match (annotations::revision(a), annotations::revision(b)) {
        (Some(first), Some(second)) if first != second => first < second,
        _ => by_age(a, b).is_lt(),
    }
}
