//! Which ReplicaSet is the new one and which are old (DEP-10, DEP-12), and what follows from that alone.

use std::cmp::Ordering;
use std::sync::Arc;

use steersman_shared::objects::{Deployment, ReplicaSet};

use super::annotations::{self, Revision};
use super::policy::Limits;
use super::{desired_replicas, size, template};

/// The claimed ReplicaSets of a Deployment by role.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// The one whose template equals the Deployment's; the oldest of several (DEP-10).
    pub new: Option<Arc<ReplicaSet>>,
    /// All others, oldest first (DEP-12).
    pub old: Vec<Arc<ReplicaSet>>,
    /// How far a RolloutPolicy lets them go; without limits by default.
    pub limits: Limits,
}

impl Family {
    /// Sorts claimed ReplicaSets into roles; their order does not matter.
    #[must_use]
    pub fn of(deployment: &Deployment, claimed: &[Arc<ReplicaSet>]) -> Self {
        let mut old = claimed.to_vec();
        old.sort_by(|a, b| by_age(a, b));
        let new = old
            .iter()
            .position(|it| template::is_equal(&deployment.spec.template, &it.spec.template));
        let new = new.map(|index| old.remove(index));
        Self {
            new,
            old,
            limits: Limits::default(),
        }
    }

    /// Old ReplicaSets, then the new one.
    pub fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(&self.new)
    }

    /// Old ReplicaSets with pods asked for, oldest first.
    pub fn active_old(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().filter(|it| size(it) > 0)
    }

    /// ReplicaSets with pods asked for: the old ones, then the new one.
    pub fn active(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.all().filter(|it| size(it) > 0)
    }

    /// Sum of `spec.replicas`.
    #[must_use]
    pub fn total_size(&self) -> i64 {
        self.all().map(|it| i64::from(size(it))).sum()
    }

    /// Revision that the new ReplicaSet has at least (DEP-22).
    #[must_use]
    pub fn target_revision(&self) -> Revision {
        let Revision(highest) = annotations::max_revision(self.old.iter().map(Arc::as_ref));
        Revision(highest.saturating_add(1))
    }

    /// The single ReplicaSet that scaling acts on; `None` if several are active, or there is none (DEP-39).
    #[must_use]
    pub fn active_or_latest(&self) -> Option<&Arc<ReplicaSet>> {
        let mut active = self.active();
        match (active.next(), active.next()) {
            (None, _) => self.new.as_ref().or(self.old.last()),
            (only, None) => only,
            _ => None,
        }
    }

    /// Whether the new ReplicaSet has reached its full size (DEP-40).
    #[must_use]
    pub fn is_saturated(&self, deployment: &Deployment) -> bool {
        let replicas = desired_replicas(deployment);
        self.new.as_ref().is_some_and(|new| {
            size(new) == replicas
                && annotations::desired(new) == Some(replicas)
                && new.status.available_replicas.unwrap_or_default() == replicas
        })
    }

    /// Whether the Deployment was resized since its ReplicaSets were last scaled (DEP-37).
    #[must_use]
    pub fn is_resized(&self, deployment: &Deployment) -> bool {
        let replicas = desired_replicas(deployment);
        self.active()
            .filter_map(|it| annotations::desired(it))
            .any(|desired| desired != replicas)
    }
}

/// Oldest first, then by name; a missing creation time is the oldest.
#[must_use]
pub fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    let created = |it: &ReplicaSet| it.metadata.creation_timestamp.as_ref().map(|time| time.0);
    created(a)
        .cmp(&created(b))
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}
