//! ReplicaSet controller: keeps the number of pods of a ReplicaSet at `spec.replicas`. Spec: chapters 1 and 2 of
//! `docs/specs/workloads.md` (RS-1 to RS-70).
//! Watches ReplicaSet, Pod, ResourceQuota. Writes Pod, ReplicaSet/status, Event.
//!
//! ```text
//! watches ─► observe ─► Snapshot ─► plan (pure, +now) ─► Plan ─► act ─► API server
//!            keys,queue  Arc'd objects                    │       preconditions, lease
//!                                                         └─► explain / shadow / simulate
//! ```

use std::num::NonZeroUsize;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};
use steersman_shared::context::Context;
use steersman_shared::metrics::Actions;
use steersman_shared::rbac::Rule;
use steersman_shared::sink::Sinks;
use steersman_shared::{controller, wire};

pub mod act;
pub mod action;
mod error;
pub mod explain;
pub mod observe;
pub mod plan;
pub mod quota;
mod reconcile;
mod shadow;

pub use error::{Error, Result};
pub use reconcile::Reconciler;

/// Name of the controller in metrics, logs and its queue (upstream's queue name).
pub const NAME: &str = "replicaset";

/// What the controller may do (RS-19).
pub const RBAC: &[Rule] = &[
    Rule {
        api_groups: &["apps"],
        resources: &["replicasets"],
        verbs: &["get", "list", "watch"],
    },
    Rule {
        api_groups: &["apps"],
        resources: &["replicasets/status"],
        verbs: &["patch"],
    },
    Rule {
        api_groups: &["apps"],
        resources: &["replicasets/finalizers"],
        verbs: &["update"],
    },
    Rule {
        api_groups: &[""],
        resources: &["pods"],
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
    },
    // RS-40.
    Rule {
        api_groups: &[""],
        resources: &["resourcequotas"],
        verbs: &["get", "list", "watch"],
    },
];

/// Settings of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// ReplicaSets in work at the same time; 5 by default (kube-controller-manager 1.36).
    pub workers: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        const WORKERS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4);
        Self { workers: WORKERS }
    }
}

/// The controller, wired up and not running yet.
pub type Controller = controller::Controller<Reconciler>;

/// A controller that listens to the informers of `ctx` from now on and acts once it runs. Where its plans go follows
/// from the mode of `ctx`.
///
/// # Errors
/// None at present.
pub fn new(ctx: &Context, config: &Config) -> Result<Controller> {
    let workers = config.workers;
    let actions = Actions::register(
        &mut ctx.metrics.lock().unwrap_or_else(PoisonError::into_inner),
        NAME,
        wire::REPLICA_SET,
    );
    Ok(Controller::new(ctx, workers, |queue, writes| {
        let observer = observe::Observer::new(&ctx.informers);
        observe::subscribe(&ctx.informers, &observer, queue, writes);
        let comparison = ctx.shadows.comparer(NAME, ctx.standing());
        shadow::subscribe(&ctx.informers, &observer, &comparison, &ctx.clock);
        let live = act::Live::new(ctx, writes.clone(), observer.pods().clone(), actions);
        Reconciler {
            observer,
            sinks: Sinks::new(ctx, NAME, live),
            clock: ctx.clock.clone(),
            opt_outs: ctx.opt_outs.clone(),
            comparison,
        }
    }))
}
