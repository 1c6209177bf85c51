//! The status of RolloutPolicies: observe, plan, act for one policy. What a policy does to a rollout is part of the plan
//! of each Deployment.

use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError};

use steersman_crds::RolloutPolicy;
use steersman_shared::clock::Clock;
use steersman_shared::context::Context;
use steersman_shared::controller::{self, Outcome, Reconcile};
use steersman_shared::informer::{Informers, KindId};
use steersman_shared::metrics::Actions;
use steersman_shared::objects::{Deployment, ObjectKey, Pod, ReplicaSet};
use steersman_shared::queue::Queue;
use steersman_shared::sink::{Sink as _, Sinks, Way};

use crate::act::policy::Live;
use crate::action::PolicyStatusWrite;
use crate::observe::Observer;
use crate::plan::policy::overview;
use crate::{Error, Result};

/// Name of the controller in metrics, logs and its queue.
pub const NAME: &str = "rolloutpolicy";

/// Policies in work at the same time: their statuses are small and few.
const WORKERS: NonZeroUsize = NonZeroUsize::MIN;

/// The controller, wired up and not running yet.
pub type Controller = controller::Controller<Reconciler>;

/// A controller of the status of policies. It follows the mode of the Deployment controller, whose context it takes.
#[must_use]
pub fn new(ctx: &Context) -> Controller {
    let actions = Actions::register(
        &mut ctx.metrics.lock().unwrap_or_else(PoisonError::into_inner),
        NAME,
        "RolloutPolicy",
    );
    Controller::new(ctx, WORKERS, |queue, writes| {
        let observer = Observer::new(&ctx.informers);
        subscribe(&ctx.informers, &observer, queue);
        let live = Live::new(ctx, writes.clone(), actions);
        Reconciler {
            observer,
            sinks: Sinks::new(ctx, NAME, live),
            clock: ctx.clock.clone(),
        }
    })
}

/// A policy's status follows from all policies of its namespace, their Deployments and what these own.
fn subscribe(informers: &Informers, observer: &Observer, queue: &Queue<ObjectKey>) {
    let add_all = |queue: &Queue<ObjectKey>, observer: &Observer, namespace: Option<&str>| {
        for policy in observer.policies_in(namespace.unwrap_or_default()) {
            queue.add(ObjectKey::of(policy.as_ref()));
        }
    };
    let (keys, looking) = (queue.clone(), observer.clone());
    let policies = informers.get_if_served::<RolloutPolicy>();
    policies.subscribe(Box::new(move |change| {
        add_all(&keys, &looking, change.latest().metadata.namespace.as_deref());
    }));
    let (keys, looking) = (queue.clone(), observer.clone());
    informers.get::<Deployment>().subscribe(Box::new(move |change| {
        add_all(&keys, &looking, change.latest().metadata.namespace.as_deref());
    }));
    let (keys, looking) = (queue.clone(), observer.clone());
    informers.get::<ReplicaSet>().subscribe(Box::new(move |change| {
        add_all(&keys, &looking, change.latest().metadata.namespace.as_deref());
    }));
    let (keys, looking) = (queue.clone(), observer.clone());
    informers.get::<Pod>().subscribe(Box::new(move |change| {
        if let Some(deployment) = looking.governed_through(change) {
            add_all(&keys, &looking, Some(&*deployment.namespace));
        }
    }));
}

/// The reconciler of the status of policies.
pub struct Reconciler {
    observer: Observer,
    sinks: Sinks<Live>,
    clock: Arc<dyn Clock>,
}

impl Reconcile for Reconciler {
    type Error = Error;

    const NAME: &'static str = NAME;

    fn watches(&self) -> Vec<KindId> {
        Observer::kinds()
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.observer.policy_keys()
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome> {
        let Some(overview) = self.observer.overview(key) else {
            return Ok(Outcome::done());
        };
        let Some(write) = plan(&overview, self.clock.now()) else {
            return Ok(Outcome::done());
        };
        match self.sinks.way()? {
            Way::Live(live, token) => drop(live.sync(key, token).apply(&write).await?),
            Way::Shadow(sink, _) => sink.apply(&write).await?,
        }
        Ok(Outcome::done())
    }
}

/// The write that brings the status of a policy up to date, if one is needed.
fn plan(overview: &overview::Overview, now: jiff::Timestamp) -> Option<PolicyStatusWrite> {
    let status = overview::status(overview, now);
    (overview.policy.status.as_ref() != Some(&status)).then(|| PolicyStatusWrite {
        target: crate::action::Target::of(overview.policy.as_ref()),
        status,
    })
}
