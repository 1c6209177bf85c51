//! One step of a rolling update (DEP-47 to DEP-57).

use std::sync::Arc;

use steersman_shared::objects::{Deployment, ReplicaSet, Uid};

use super::fenceposts::{self, BadFencepost};
use super::find::Family;
use super::hold::{Hold, is_unavailable, names};
use super::{Resize, Strategy, desired_replicas, size, strategy};

/// Size of the new ReplicaSet after a growing step: as large as the surge allows (DEP-15, DEP-47).
/// `total` is the sum of all sizes, `current` included.
///
/// # Errors
/// `maxSurge` does not parse (DEP-36).
pub fn grown(deployment: &Deployment, total: i64, current: i32) -> Result<i32, BadFencepost> {
    let replicas = desired_replicas(deployment);
    if strategy(deployment) != Strategy::RollingUpdate {
        return Ok(replicas);
    }
    let limit = i64::from(replicas) + fenceposts::strict_surge(deployment)?;
    if total >= limit {
        return Ok(current);
    }
    let step = (limit - total).min(i64::from(replicas) - i64::from(current));
    Ok(super::pods(i64::from(current) + step))
}

/// Brings the new ReplicaSet towards the desired size (DEP-47). `None`: it has the size that it can have now.
///
/// # Errors
/// `maxSurge` does not parse (DEP-36).
pub fn plan_new(deployment: &Deployment, family: &Family) -> Result<Option<Resize>, BadFencepost> {
    let Some(new) = &family.new else { return Ok(None) };
    let (current, replicas) = (size(new), desired_replicas(deployment));
    let to = match current.cmp(&replicas) {
        std::cmp::Ordering::Equal => return Ok(None),
        std::cmp::Ordering::Greater => replicas,
        std::cmp::Ordering::Less => {
            let to = grown(deployment, family.total_size(), current)?;
            family.limits.capped(current, to)
        }
    };
    Ok((to != current).then(|| Resize {
        replica_set: Arc::clone(new),
        from: current,
        to,
    }))
}

/// What a shrinking step does.
#[derive(Clone, Debug, Default)]
pub struct Shrink {
    /// In order; one ReplicaSet may appear twice, the second time from its already reduced size.
    pub resizes: Vec<Resize>,
    /// Why the step does less than it could.
    pub hold: Option<Hold>,
    /// The step ended early because a status lags; what is planned stays, but does not count as progress (DEP-51).
    pub abandoned: bool,
}

/// Shrinks old ReplicaSets: pods that are unhealthy first, then as many as availability allows (DEP-49 to DEP-52).
#[must_use]
pub fn plan_old(deployment: &Deployment, family: &Family) -> Shrink {
    let shrink = plan_old_as_observed(deployment, family);
    // A status older than our last scaling may count pods that are about to go: only what is safe even then. DEP-57
    // would trust such a status up to the size; that misses a set that was shrunk and grown again.
    let lags = family.all().any(|it| is_behind(it) || available(it) > size(it));
    if lags && !keeps_available(deployment, family, &shrink.resizes) {
        return Shrink {
            hold: Some(status_lags(family)),
            ..Shrink::default()
        };
    }
    shrink
}

fn status_lags(family: &Family) -> Hold {
    Hold::StatusLags {
        replica_sets: names(family.all(), |it| is_behind(it) || available(it) > size(it)),
    }
}

/// Why no old pod may go.
fn unavailable(deployment: &Deployment, family: &Family) -> Hold {
    Hold::Unavailable {
        available: family.all().map(|it| i64::from(available(it))).sum(),
        needed: fenceposts::min_available(deployment),
        replica_sets: names(family.all(), is_unavailable),
    }
}

/// Why the new ReplicaSet does not grow further, if the surge is the reason (DEP-47).
#[must_use]
pub fn held_by_surge(deployment: &Deployment, family: &Family) -> Option<Hold> {
    let (replicas, total) = (desired_replicas(deployment), family.total_size());
    let limit = i64::from(replicas) + fenceposts::surge(deployment);
    let is_smaller = family.new.as_ref().is_some_and(|new| size(new) < replicas);
    (is_smaller && total >= limit).then_some(Hold::Surge { total, limit })
}

fn plan_old_as_observed(deployment: &Deployment, family: &Family) -> Shrink {
    let mut old: Vec<(Arc<ReplicaSet>, i32)> =
        family.active_old().map(|it| (Arc::clone(it), size(it))).collect();
    family.limits.sort(&mut old, |(it, _)| Uid::of(it.as_ref()));
    let mut spare = old.iter().map(|(_, size)| i64::from(*size)).sum::<i64>() - family.limits.keep;
    let min_available = fenceposts::min_available(deployment);
    let new_unavailable = family
        .new
        .as_ref()
        .map_or(0, |new| i64::from(size(new)) - i64::from(available(new)));
    let budget = family.total_size() - min_available - new_unavailable;
    if old.is_empty() {
        return Shrink::default();
    }
    if spare <= 0 {
        return Shrink::default();
    }
    if budget <= 0 {
        return Shrink {
            hold: Some(unavailable(deployment, family)),
            ..Shrink::default()
        };
    }

    let mut resizes = Vec::new();
    let mut left = budget;
    for (replica_set, now) in &mut old {
        let unhealthy = i64::from(*now) - i64::from(available(replica_set));
        if left <= 0 {
            break;
        }
        if unhealthy == 0 {
            continue;
        }
        if unhealthy < 0 {
            return Shrink {
                resizes,
                hold: Some(status_lags(family)),
                abandoned: true,
            };
        }
        let step = left.min(unhealthy).min(spare);
        if step <= 0 {
            break;
        }
        (left, spare) = (left - step, spare - step);
        resizes.push(reduced(replica_set, now, step));
    }

    let counted = old.iter().map(|(it, _)| it).chain(&family.new);
    let mut left = counted.map(|it| i64::from(available(it))).sum::<i64>() - min_available;
    for (replica_set, now) in &mut old {
        let step = left.min(i64::from(*now)).min(spare);
        if step > 0 {
            (left, spare) = (left - step, spare - step);
            resizes.push(reduced(replica_set, now, step));
        }
    }
    let hold = resizes.is_empty().then(|| unavailable(deployment, family));
    Shrink {
        resizes,
        hold,
        abandoned: false,
    }
}

fn reduced(replica_set: &Arc<ReplicaSet>, now: &mut i32, step: i64) -> Resize {
    let from = *now;
    *now = super::pods(i64::from(from) - step);
    Resize {
        replica_set: Arc::clone(replica_set),
        from,
        to: *now,
    }
}

/// Whether no possible truth behind the statuses lets these resizes bring availability below its minimum (INV-3). A
/// status that is behind its ReplicaSet says nothing about it: the set may have shrunk and grown again since, and have
/// anything from no available pod to as many as its size.
fn keeps_available(deployment: &Deployment, family: &Family, resizes: &[Resize]) -> bool {
    let floor = fenceposts::min_available(deployment);
    let (mut possible, mut certain, mut loses) = (0, 0, false);
    for it in family.all() {
        let last = resizes
            .iter()
            .rev()
            .find(|resize| resize.replica_set.metadata.uid == it.metadata.uid);
        let to = last.map_or_else(|| size(it), |resize| resize.to);
        let (at_most, at_least) = if is_behind(it) {
            loses |= to < size(it);
            (size(it), 0)
        } else {
            let before = size(it).min(available(it));
            loses |= to < before;
            (before, before.min(to))
        };
        possible += i64::from(at_most);
        certain += i64::from(at_least);
    }
    !loses || certain >= floor || possible < floor
}

fn available(replica_set: &ReplicaSet) -> i32 {
    replica_set.status.available_replicas.unwrap_or_default()
}

/// Whether the status is older than the last change of the size.
pub(super) fn is_behind(replica_set: &ReplicaSet) -> bool {
    replica_set.status.observed_generation.unwrap_or_default()
        < replica_set.metadata.generation.unwrap_or_default()
}
