//! Deployment controller: rolls out pod templates through ReplicaSets. Spec: chapter 3 of `docs/specs/workloads.md`
//! (DEP-1 to DEP-111) and RS-1 to RS-19.
//! Watches Deployment, ReplicaSet, Pod. Writes ReplicaSet, Deployment/status, Deployment (rollback only), Event.
//!
//! ```text
//! watches ─► observe ─► Snapshot ─► plan (pure, +now) ─► Plan ─► act ─► API server
//!            keys,queue  Arc'd objects                    │       preconditions, lease
//!                                                         └─► explain / shadow / simulate
//! ```

use std::num::NonZeroUsize;
use std::sync::PoisonError;

use serde::{Deserialize, Serialize};
use steersman_shared::context::{Context, Mode};
use steersman_shared::controller;
use steersman_shared::objects::ObjectKey;
use steersman_shared::queue::Queue;
use steersman_shared::rbac::Rule;
use steersman_shared::sink::ShadowSink;
use steersman_shared::writes::Writes;

pub mod act;
pub mod action;
mod error;
pub mod metrics;
pub mod observe;
pub mod plan;
mod reconcile;
pub mod simulate;

pub use error::{Error, Result};
use reconcile::{Reconciler, Sinks};

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
pub struct Controller {
    reconciler: Reconciler,
    queue: Queue<ObjectKey>,
    writes: Writes,
    ctx: Context,
    config: Config,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A controller that listens to the informers of `ctx` from now on and acts once it runs. Where its plans go follows
/// from the mode of `ctx`.
///
/// # Errors
/// None at present.
pub fn new(ctx: &Context, config: Config) -> Result<Controller> {
    let queue = ctx.queue(NAME);
    let writes = ctx.writes(&queue);
    let metrics = metrics::Metrics::register(&mut ctx.metrics.lock().unwrap_or_else(PoisonError::into_inner));
    let observer = observe::Observer::new(&ctx.informers);
    observe::subscribe(&ctx.informers, &observer, &queue, &writes);
    let live = Box::new(act::Live::new(ctx, writes.clone(), metrics));
    let sinks = match ctx.mode {
        Mode::Active => Sinks::Live(live, ctx.leadership.clone()),
        Mode::Shadow | Mode::Off => Sinks::Shadow(ShadowSink::new(NAME), live),
    };
    let reconciler = Reconciler {
        observer,
        sinks,
        clock: ctx.clock.clone(),
    };
    Ok(Controller {
        reconciler,
        queue,
        writes,
        ctx: ctx.clone(),
        config,
    })
}

impl Controller {
    /// Runs until the context stops; actions in flight are finished.
    ///
    /// # Errors
    /// A worker panicked.
    pub async fn run(self) -> steersman_shared::Result<()> {
        controller::run(
            self.reconciler,
            self.queue,
            self.writes,
            self.ctx,
            self.config.workers,
        )
        .await
    }
}
