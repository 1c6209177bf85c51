//! Observe, plan, act for one ReplicaSet.

use std::sync::Arc;

use steersman_shared::clock::Clock;
use steersman_shared::controller::{Outcome, Reconcile};
use steersman_shared::informer::KindId;
use steersman_shared::objects::ObjectKey;
use steersman_shared::opt_out::OptOuts;
use steersman_shared::sink::{Sinks, Way};
use tracing::debug;

use crate::act::{self, Live};
use crate::observe::Observer;
use crate::plan::plan;
use crate::shadow::{self, Comparison};
use crate::{Error, Result};

/// The reconciler of ReplicaSets.
pub struct Reconciler {
    pub(crate) observer: Observer,
    pub(crate) sinks: Sinks<Live>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) opt_outs: OptOuts,
    pub(crate) comparison: Comparison,
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
            && let Some(replica_set) = self.observer.replica_set(key)
            && let Ok(Way::Live(live, _)) = self.sinks.way()
        {
            live.report_invalid(&replica_set, advice);
        }
        result
    }
}

impl Reconciler {
    async fn sync(&self, key: &ObjectKey) -> Result<Outcome> {
        let live = self.sinks.live();
        let Some(snapshot) = self.observer.snapshot(key, live.stores_terminating())? else {
            self.comparison.forget(key);
            return Ok(Outcome::done());
        };
        if self
            .opt_outs
            .leaves_alone(snapshot.replica_set.as_ref(), self.sinks.is_acting())
        {
            return Ok(Outcome::done());
        }
        let now = self.clock.now();
        let plan = plan(&snapshot, now);
        debug!(actions = plan.actions.len(), wake_at = ?plan.wake_at, held_by = ?plan.held_by, "planned");
        let acting = self.sinks.is_acting();
        let outlook = || shadow::outlook(&snapshot, &plan);
        let compare_at = self.comparison.compare(&self.observer, key, acting, outlook, now);
        let owner = live.owner(key);
        if !plan.actions.is_empty() {
            match self.sinks.way()? {
                Way::Live(live, token) => {
                    let sink = live.sync(&snapshot.replica_set, token);
                    act::apply(&sink, &owner, &snapshot, &plan, now).await?;
                }
                Way::Shadow(sink, _) => act::apply(sink, &owner, &snapshot, &plan, now).await?,
            }
        }
        Ok(Outcome::wake_at(
            [plan.wake_at, compare_at].into_iter().flatten().min(),
        ))
    }
}
