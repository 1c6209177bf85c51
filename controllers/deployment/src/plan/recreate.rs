//! The Recreate strategy: all old pods go before the first new one comes (DEP-58, DEP-59, DEP-111).

use std::collections::BTreeSet;
use std::sync::Arc;

use steersman_shared::objects::{Deployment, ReplicaSet, Uid};

use super::find::Family;
use super::hold::{Hold, names};
use super::{Resize, desired_replicas, rolling, size};

/// Scales every active old ReplicaSet to 0 (DEP-58).
#[must_use]
pub fn plan_old(family: &Family) -> Vec<Resize> {
    family
        .active_old()
        .map(|it| Resize {
            replica_set: Arc::clone(it),
            from: size(it),
            to: 0,
        })
        .collect()
}

/// Pods of ReplicaSets other than `target` that still exist in any phase but Succeeded and Failed, terminating ones
/// included: these hold a ReplicaSet at 0 (DEP-58, INV-7). `unfinished` names the ReplicaSets that own such pods.
#[must_use]
pub fn held_by(family: &Family, target: Option<&ReplicaSet>, unfinished: &BTreeSet<Uid>) -> Option<Hold> {
    let target = target.map(Uid::of);
    let others = family.all().filter(|it| Some(Uid::of(it.as_ref())) != target);
    let replica_sets = names(others, |it| {
        // A status older than the size says nothing about pods that our watch does not show yet.
        it.status.replicas > 0 || rolling::is_behind(it) || unfinished.contains(&Uid::of(it))
    });
    (!replica_sets.is_empty()).then_some(Hold::OldPods { replica_sets })
}

/// Gives the new ReplicaSet the desired size (DEP-58).
#[must_use]
pub fn plan_new(deployment: &Deployment, new: &Arc<ReplicaSet>) -> Option<Resize> {
    let (from, to) = (size(new), desired_replicas(deployment));
    (from != to).then(|| Resize {
        replica_set: Arc::clone(new),
        from,
        to,
    })
}
