//! Observe, plan, act for one ReplicaSet.

use std::sync::Arc;

use steersman_shared::clock::Clock;
use steersman_shared::controller::{Outcome, Reconcile};
use steersman_shared::informer::KindId;
use steersman_shared::lease::Leadership;
use steersman_shared::objects::ObjectKey;
use steersman_shared::sink::ShadowSink;
use tracing::debug;

use crate::act::{self, Live};
use crate::observe::Observer;
use crate::plan::plan;
use crate::{Error, Result};

/// Where plans go.
pub(crate) enum Sinks {
    /// To the API server.
    Live(Box<Live>, Leadership),
    /// Into reports. Orphans are checked live nevertheless: that reads only.
    Shadow(ShadowSink, Box<Live>),
}

impl Sinks {
    fn live(&self) -> &Live {
        match self {
            Self::Live(live, _) | Self::Shadow(_, live) => live,
        }
    }
}

/// The reconciler of ReplicaSets.
pub(crate) struct Reconciler {
    pub(crate) observer: Observer,
    pub(crate) sinks: Sinks,
    pub(crate) clock: Arc<dyn Clock>,
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

    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let live = self.sinks.live();
        let Some(snapshot) = self.observer.snapshot(key, live.stores_terminating())? else {
            return Ok(Outcome::done());
        };
        let now = self.clock.now();
        let plan = plan(&snapshot, now);
        debug!(actions = plan.actions.len(), wake_at = ?plan.wake_at, held_by = ?plan.held_by, "planned");
        let owner = live.owner(key);
        match &self.sinks {
            _ if plan.actions.is_empty() => {}
            Sinks::Live(live, leadership) => {
                let sink = live.sync(&snapshot.replica_set, leadership.token()?);
                act::apply(&sink, &owner, &snapshot, &plan, now).await?;
            }
            Sinks::Shadow(sink, _) => act::apply(sink, &owner, &snapshot, &plan, now).await?,
        }
        Ok(Outcome::wake_at(plan.wake_at))
    }
}
