//! Observe, plan, act for one Deployment.

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

/// The reconciler of Deployments.
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
        let Some(snapshot) = self.observer.snapshot(key)? else {
            return Ok(Outcome::done());
        };
        let now = self.clock.now();
        let plan = plan(&snapshot, now)?;
        debug!(actions = plan.actions.len(), wake_at = ?plan.wake_at, held_by = ?plan.held_by, "planned");
        let existing = |name: &str| {
            self.observer
                .replica_set(&ObjectKey::new(Arc::clone(&key.namespace), name))
        };
        match &self.sinks {
            _ if plan.actions.is_empty() => {}
            Sinks::Live(live, leadership) => {
                let sink = live.sync(&snapshot.deployment, leadership.token()?);
                act::apply(&sink, &live.owner(key), &snapshot, &plan, existing, now).await?;
            }
            Sinks::Shadow(sink, live) => {
                act::apply(sink, &live.owner(key), &snapshot, &plan, existing, now).await?;
            }
        }
        Ok(Outcome::wake_at(plan.wake_at))
    }
}
