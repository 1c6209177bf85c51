//! Observe, plan, act for one Deployment.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::{FxHashMap, FxHashSet};
use steersman_shared::clock::Clock;
use steersman_shared::controller::{Outcome, Reconcile};
use steersman_shared::informer::KindId;
use steersman_shared::objects::{Deployment, ObjectKey};
use steersman_shared::opt_out::OptOuts;
use steersman_shared::sink::{Sinks, Way};
use tracing::debug;

use crate::act::{self, Live};
use crate::observe::Observer;
use crate::plan::{Garbage, Plan, claims, plan};
use crate::shadow::{self, Comparison};
use crate::{Error, Result};

/// The reconciler of Deployments.
pub struct Reconciler {
    pub(crate) observer: Observer,
    pub(crate) sinks: Sinks<Live>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) reported: Reported,
    pub(crate) opt_outs: OptOuts,
    pub(crate) comparison: Comparison,
    pub(crate) postponed: Postponed,
}

impl Reconcile for Reconciler {
    type Error = Error;

    const NAME: &'static str = crate::NAME;

    fn watches(&self) -> Vec<KindId> {
        Observer::kinds()
    }

    fn held(&self, key: &ObjectKey) -> bool {
        self.observer.is_held(key)
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.observer.keys()
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let result = self.sync(key).await;
        if let Some(advice) = result.as_ref().err().and_then(Error::advice)
            && let Some(deployment) = self.observer.deployment(key)
            && let Ok(Way::Live(live, _)) = self.sinks.way()
        {
            live.report_invalid(&deployment, advice);
        }
        result
    }
}

impl Reconciler {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(snapshot) = self.observer.snapshot(key)? else {
            self.reported.forget(key);
            self.comparison.forget(key);
            self.postponed.forget(key);
            return Ok(Outcome::done());
        };
        if self
            .opt_outs
            .leaves_alone(snapshot.deployment.as_ref(), self.sinks.is_acting())
        {
            return Ok(Outcome::done());
        }
        let now = self.clock.now();
        let (plan, failure) = match plan(&snapshot, now) {
            Ok(plan) => (plan, None),
            Err(error) => (claims(&snapshot, now), Some(error)),
        };
        debug!(actions = plan.actions.len(), wake_at = ?plan.wake_at, held_by = ?plan.held_by, "planned");
        let acting = self.sinks.is_acting();
        let outlook = || shadow::outlook(&snapshot, &plan);
        let compare_at = self.comparison.compare(&self.observer, key, acting, outlook, now);
        let existing = |name: &str| {
            self.observer
                .replica_set(&ObjectKey::new(Arc::clone(&key.namespace), name))
        };
        if !plan.actions.is_empty() {
            let owner = self.sinks.live().owner(key);
            match self.sinks.way()? {
                Way::Live(live, token) => {
                    let rest = self.postponed.rest(key, &plan, &snapshot.deployment);
                    let plan = rest.as_ref().unwrap_or(&plan);
                    let sink = live.sync(&snapshot.deployment, token);
                    act::apply(&sink, &owner, &snapshot, plan, existing, now).await?;
                }
                Way::Shadow(sink, _) => act::apply(sink, &owner, &snapshot, &plan, existing, now).await?,
            }
        }
        if let Some(error) = failure {
            return Err(error);
        }
        if plan.garbage.is_empty() {
            self.reported.forget(key);
        } else if let Ok(Way::Live(live, _)) = self.sinks.way() {
            let news = self.reported.news(key, &plan.garbage);
            live.report_garbage(&snapshot.deployment, &news);
        }
        Ok(Outcome::wake_at(
            [plan.wake_at, compare_at].into_iter().flatten().min(),
        ))
    }
}

/// What was reported about unreadable annotations since the start, so that each is reported once and a Deployment at
/// rest stays at rest (INV-11).
#[derive(Debug, Default)]
pub(crate) struct Reported {
    by_key: Mutex<FxHashMap<ObjectKey, Vec<Garbage>>>,
}

impl Reported {
    /// What was not reported before; all of it counts as reported from now on.
    fn news(&self, key: &ObjectKey, garbage: &[Garbage]) -> Vec<Garbage> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let former = by_key.insert(key.clone(), garbage.to_vec()).unwrap_or_default();
        let is_news = |it: &&Garbage| !former.contains(it);
        garbage.iter().filter(is_news).cloned().collect()
    }

    fn forget(&self, key: &ObjectKey) {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        by_key.remove(key);
    }
}

/// Deployments whose last status write was left to the sync after it (DEP-5). Never twice in a row: a long rollout shows
/// how far it is.
#[derive(Debug, Default)]
pub(crate) struct Postponed {
    keys: Mutex<FxHashSet<ObjectKey>>,
}

impl Postponed {
    /// The plan without its status write, if that is left to the next sync.
    fn rest(&self, key: &ObjectKey, plan: &Plan, deployment: &Deployment) -> Option<Plan> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = keys.remove(key);
        if is_due || !plan.has_passing_status(deployment) {
            return None;
        }
        keys.insert(key.clone());
        Some(plan.clone().without_status())
    }

    fn forget(&self, key: &ObjectKey) {
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use steersman_shared::testing::{T0, deployment, replica_set};

    use super::*;
    use crate::action::{Action, ScaleCause, StatusWrite, Target};

    fn progressing(reason: &str, seconds: i64) -> DeploymentCondition {
        DeploymentCondition {
            type_: "Progressing".to_owned(),
            status: "True".to_owned(),
            reason: Some(reason.to_owned()),
            last_update_time: Some(Time(T0 + SignedDuration::from_secs(seconds))),
            ..DeploymentCondition::default()
        }
    }

    /// A plan that scales and writes this status.
    fn scaling(deployment: &Deployment, status: DeploymentStatus) -> Plan {
        let scale = Action::Scale {
            target: Target::of(&replica_set("web-1").build()),
            from: 1,
            to: 2,
            desired: 3,
            max: 4,
            cause: ScaleCause::RolloutUp,
        };
        let write = StatusWrite {
            target: Target::of(deployment),
            status,
            revision: None,
            repaired: Vec::new(),
        };
        Plan {
            actions: vec![scale, Action::WriteStatus(Box::new(write))],
            ..Plan::default()
        }
    }

    #[test]
    fn dep_5_counts_wait_for_the_sync_that_scaling_brings_but_only_once() {
        let mut web = deployment("web").build();
        web.status.conditions = Some(vec![progressing("ReplicaSetUpdated", 0)]);
        let counts = DeploymentStatus {
            available_replicas: Some(2),
            conditions: Some(vec![progressing("ReplicaSetUpdated", 5)]),
            ..web.status.clone()
        };
        let plan = scaling(&web, counts.clone());
        let (key, postponed) = (ObjectKey::of(&web), Postponed::default());
        let rest = postponed.rest(&key, &plan, &web).unwrap();
        assert_eq!(rest.actions, plan.actions[..1]);
        assert!(postponed.rest(&key, &plan, &web).is_none(), "twice in a row");
        assert!(postponed.rest(&key, &plan, &web).is_some());
        postponed.forget(&key);

        let other = DeploymentStatus {
            conditions: Some(vec![progressing("NewReplicaSetAvailable", 5)]),
            ..counts.clone()
        };
        assert!(
            postponed.rest(&key, &scaling(&web, other), &web).is_none(),
            "another reason"
        );
        let seen = DeploymentStatus {
            observed_generation: Some(2),
            ..counts.clone()
        };
        assert!(
            postponed.rest(&key, &scaling(&web, seen), &web).is_none(),
            "another generation"
        );
        let mut only_status = scaling(&web, counts);
        only_status.actions.remove(0);
        assert!(
            postponed.rest(&key, &only_status, &web).is_none(),
            "nothing is scaled"
        );
    }

    #[test]
    fn dep_28_dep_30_each_unreadable_annotation_is_reported_once() {
        let garbage = |value: &str| Garbage {
            kind: "ReplicaSet",
            name: "web".to_owned(),
            key: "k",
            value: value.to_owned(),
            rule: "",
        };
        let (reported, key) = (Reported::default(), ObjectKey::new("default", "web"));
        let (one, two) = (garbage("1"), garbage("2"));
        assert_eq!(reported.news(&key, std::slice::from_ref(&one)).len(), 1);
        assert!(reported.news(&key, std::slice::from_ref(&one)).is_empty());
        assert_eq!(reported.news(&key, &[one.clone(), two.clone()]), [two]);
        reported.forget(&key);
        assert_eq!(reported.news(&key, std::slice::from_ref(&one)), [one]);
    }
}
