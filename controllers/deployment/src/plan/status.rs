//! The status of a Deployment: counts and what is written (DEP-62 to DEP-67).

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentStatus;
use steersman_shared::objects::{Deployment, ReplicaSet};

use super::conditions;
use super::find::Family;
use super::pods;

/// Counts, observed generation and the condition Available; all other conditions as in `stored` (DEP-38).
#[must_use]
pub fn plain(
    deployment: &Deployment,
    family: &Family,
    stored: &DeploymentStatus,
    now: Timestamp,
) -> DeploymentStatus {
    let sum = |count: fn(&ReplicaSet) -> i32| -> i64 { family.all().map(|it| i64::from(count(it))).sum() };
    let available = sum(|it| it.status.available_replicas.unwrap_or_default());
    let unavailable = (family.total_size() - available).max(0);
    let mut conditions = stored.conditions.clone().unwrap_or_default();
    conditions::set_available(deployment, available, &mut conditions, now);
    DeploymentStatus {
        available_replicas: Some(pods(available)),
        collision_count: stored.collision_count,
        conditions: Some(conditions),
        observed_generation: deployment.metadata.generation,
        ready_replicas: Some(pods(sum(|it| it.status.ready_replicas.unwrap_or_default()))),
        replicas: Some(pods(sum(|it| it.status.replicas))),
        terminating_replicas: terminating(family),
        unavailable_replicas: Some(pods(unavailable)),
        updated_replicas: Some(family.new.as_ref().map_or(0, |new| new.status.replicas)),
    }
}

/// As [`plain`], with progress and failures evaluated (DEP-74 to DEP-80).
#[must_use]
pub fn of_rollout(
    deployment: &Deployment,
    family: &Family,
    stored: &DeploymentStatus,
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = plain(deployment, family, stored, now);
    let new = family.new.as_ref().and_then(|new| new.metadata.name.as_deref());
    conditions::evaluate_progress(deployment, new, stored, &mut status, &family.limits, now);
    conditions::evaluate_failure(family, status.conditions.get_or_insert_default());
    status
}

/// Sum of terminating pods; unknown as soon as one ReplicaSet that was ever synced does not tell (DEP-64).
fn terminating(family: &Family) -> Option<i32> {
    let mut total = 0;
    for replica_set in family.all() {
        match replica_set.status.terminating_replicas {
            Some(count) => total += i64::from(count),
            None if replica_set.status.observed_generation.unwrap_or_default() == 0 => {}
            None => return None,
        }
    }
    Some(pods(total))
}

/// Whether two statuses say the same: an absent count is 0, an absent list is empty (DEP-67).
#[must_use]
pub fn is_equal(a: &DeploymentStatus, b: &DeploymentStatus) -> bool {
    normal(a.clone()) == normal(b.clone())
}

fn normal(status: DeploymentStatus) -> DeploymentStatus {
    DeploymentStatus {
        available_replicas: status.available_replicas.filter(|count| *count != 0),
        collision_count: status.collision_count,
        conditions: status.conditions.filter(|list| !list.is_empty()),
        observed_generation: status.observed_generation.filter(|generation| *generation != 0),
        ready_replicas: status.ready_replicas.filter(|count| *count != 0),
        replicas: status.replicas.filter(|count| *count != 0),
        terminating_replicas: status.terminating_replicas,
        unavailable_replicas: status.unavailable_replicas.filter(|count| *count != 0),
        updated_replicas: status.updated_replicas.filter(|count| *count != 0),
    }
}
