//! Deployment controller: rolls out pod templates through ReplicaSets. Spec: chapter 3 of `docs/specs/workloads.md`
//! (DEP-1 to DEP-111) and RS-1 to RS-19.
//! Watches Deployment, ReplicaSet, Pod, and RolloutPolicy where it is served. Writes ReplicaSet, Deployment/status,
//! Deployment (rollback only), RolloutPolicy/status, Event.
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
pub mod policies;
mod reconcile;
mod shadow;
pub mod simulate;

pub use error::{Error, Result};
pub use reconcile::Reconciler;

/// Name of the controller in metrics, logs and its queue (upstream's queue name).
pub const NAME: &str = "deployment";

/// What the controller may do (RS-19).
pub const RBAC: &[Rule] = &[
    Rule {
        api_groups: &["apps"],
        resources: &["deployments"],
        verbs: &["get", "list", "watch", "patch"],
    },
    Rule {
        api_groups: &["apps"],
        resources: &["deployments/status"],
        verbs: &["patch"],
    },
    Rule {
        api_groups: &["apps"],
        resources: &["deployments/finalizers"],
        verbs: &["update"],
    },
    Rule {
        api_groups: &["apps"],
        resources: &["replicasets"],
        verbs: &["get", "list", "watch", "create", "patch", "delete"],
    },
    Rule {
        api_groups: &[""],
        resources: &["pods"],
        verbs: &["get", "list", "watch"],
    },
    Rule {
        api_groups: &["steersman.dev"],
        resources: &["rolloutpolicies"],
        verbs: &["get", "list", "watch"],
    },
    Rule {
        api_groups: &["steersman.dev"],
        resources: &["rolloutpolicies/status"],
        verbs: &["patch"],
    },
];

/// Settings of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// Deployments in work at the same time; 5 by default (kube-controller-manager 1.36).
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
        wire::DEPLOYMENT,
    );
    Ok(Controller::new(ctx, workers, |queue, writes| {
        let observer = observe::Observer::new(&ctx.informers);
        observe::subscribe(&ctx.informers, &observer, queue, writes);
        let comparison = ctx.shadows.comparer(NAME, ctx.standing());
        shadow::subscribe(&ctx.informers, &observer, &comparison, &ctx.clock);
        let live = act::Live::new(ctx, writes.clone(), actions);
        Reconciler {
            observer,
            sinks: Sinks::new(ctx, NAME, live),
            clock: ctx.clock.clone(),
            reported: reconcile::Reported::default(),
            opt_outs: ctx.opt_outs.clone(),
            comparison,
            postponed: reconcile::Postponed::default(),
        }
    }))
}
