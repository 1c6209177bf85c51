//! Resizing a Deployment apart from its rollout (DEP-37 to DEP-46).

use std::cmp::Reverse;
use std::sync::Arc;

use steersman_shared::objects::{Deployment, ReplicaSet};

use super::find::{Family, by_age};
use super::{Resize, Strategy, annotations, desired_replicas, fenceposts, is_paused, size, strategy};

/// Resizes the ReplicaSets of a Deployment whose own size changed; shrinking ones first, so that the sum never
/// passes the surge on the way (DEP-39 to DEP-45). A resize to the same size refreshes the annotations only.
#[must_use]
pub fn plan(deployment: &Deployment, family: &Family) -> Vec<Resize> {
    let replicas = desired_replicas(deployment);
    if let Some(only) = family.active_or_latest() {
        // An old annotation on a ReplicaSet of the right size would look like a resize for ever (DEP-46).
        let refresh = is_stuck(deployment, family);
        return if size(only) != replicas || refresh {
            vec![to(only, replicas)]
        } else {
            Vec::new()
        };
    }
    if family.is_saturated(deployment) {
        return family.active_old().map(|it| to(it, 0)).collect();
    }
    if strategy(deployment) != Strategy::RollingUpdate {
        // Sizes are the rollout's business; fresh annotations let it go on (DEP-46).
        let refresh = is_stuck(deployment, family);
        return family
            .active()
            .filter(|_| refresh)
            .map(|it| to(it, size(it)))
            .collect();
    }
    let mut resizes = proportional(deployment, family);
    resizes.retain(|it| it.from != it.to || annotations::has_stale_sizes(deployment, &it.replica_set));
    resizes.sort_by_key(|it| it.to > it.from);
    resizes
}

/// Whether old annotations alone would keep the rollout from going on. A paused one does not go on anyway.
fn is_stuck(deployment: &Deployment, family: &Family) -> bool {
    !is_paused(deployment) && family.is_resized(deployment)
}

fn to(replica_set: &Arc<ReplicaSet>, to: i32) -> Resize {
    Resize {
        replica_set: Arc::clone(replica_set),
        from: size(replica_set),
        to,
    }
}

/// Spreads the difference over the active ReplicaSets by their size (DEP-42 to DEP-44). As in the reference, shares may
/// go against the direction while the leftover stops at 0: after a change of the surge along with the size, the sum may
/// stay above the limit until the rollout goes on.
fn proportional(deployment: &Deployment, family: &Family) -> Vec<Resize> {
    let mut active: Vec<_> = family.active().cloned().collect();
    let replicas = i64::from(desired_replicas(deployment));
    let allowed = if replicas > 0 {
        replicas + fenceposts::surge(deployment)
    } else {
        0
    };
    let add = allowed - active.iter().map(|it| i64::from(size(it))).sum::<i64>();
    if add > 0 {
        active.sort_by(|a, b| Reverse(size(a)).cmp(&Reverse(size(b))).then_with(|| by_age(b, a)));
    } else {
        active.sort_by(|a, b| Reverse(size(a)).cmp(&Reverse(size(b))).then_with(|| by_age(a, b)));
    }

    let mut added = 0;
    let mut sizes: Vec<i64> = Vec::with_capacity(active.len());
    for replica_set in &active {
        let share = share(deployment, replica_set, add, added);
        added += share;
        sizes.push(i64::from(size(replica_set)) + share);
    }
    if add != 0
        && let Some(first) = sizes.first_mut()
    {
        *first = (*first + add - added).max(0);
    }
    active
        .iter()
        .zip(sizes)
        .map(|(it, size)| to(it, super::pods(size)))
        .collect()
}

/// What one ReplicaSet gets of `add` when earlier ones took `added` (DEP-43).
fn share(deployment: &Deployment, replica_set: &ReplicaSet, add: i64, added: i64) -> i64 {
    let left = add - added;
    if left == 0 {
        return 0;
    }
    let fraction = fraction(deployment, replica_set);
    if add > 0 {
        fraction.min(left)
    } else {
        fraction.max(left)
    }
}

fn fraction(deployment: &Deployment, replica_set: &ReplicaSet) -> i64 {
    let current = i64::from(size(replica_set));
    let replicas = i64::from(desired_replicas(deployment));
    if replicas == 0 {
        return -current;
    }
    let base = annotations::max(replica_set).filter(|max| *max != 0);
    let base = i64::from(base.unwrap_or_else(|| deployment.status.replicas.unwrap_or_default()));
    if base <= 0 {
        return 0;
    }
    let scaled = current * (replicas + fenceposts::surge(deployment));
    // Half away from zero; neither factor is negative.
    (2 * scaled + base) / (2 * base) - current
}
