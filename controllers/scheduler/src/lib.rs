//! Scheduler: gives each pod of its names a node. Spec: SCH-1 to SCH-203 in `docs/specs/scheduler.md`.
//! Watches Pod, Node. Writes Pod/binding, Pod/status, Event.
//!
//! ```text
//! watches ─► observe ─► Scheduler { Cluster, Queue } ─► plan::decide (pure, +seed) ─► Decision ─► act ─► API server
//!            inbox      cycle.rs: one pod at a time                                    │          lease, uid
//!                                                                                      └─► explain / shadow
//! ```
//!
//! # Current limits
//!
//! The plugins of [`plan::plugins`] decide; those of upstream's default profile that are not among them do not exist
//! yet. A pod that needs one of them is **held**, never placed against its constraints: it stays pending with the
//! condition `PodScheduled=False` and an event `FailedScheduling` that name the field. Held are pods with
//! - required `spec.affinity.podAffinity` or `podAntiAffinity`,
//! - `spec.topologySpreadConstraints` with `whenUnsatisfiable: DoNotSchedule`,
//! - volumes that choose nodes or count against a limit: `persistentVolumeClaim`, `ephemeral`, and the in-tree disks,
//! - `spec.resourceClaims`, and
//! - `spec.schedulingGroup`.
//!
//! Without effect on placement are preferred pod (anti-)affinity and spread constraints with `ScheduleAnyway`. A pod
//! may be placed next to a pod *of another scheduler* whose required anti-affinity excludes it (SCH-105). There is no
//! preemption: `status.nominatedNodeName` of the pod itself is honoured (SCH-62), room is not kept free for other
//! nominated pods (SCH-64). `status.declaredFeatures` of nodes is not looked at (SCH-125).

pub mod act;
pub mod action;
pub mod cluster;
pub mod config;
pub mod cycle;
pub mod error;
pub mod metrics;
pub mod observe;
pub mod plan;
pub mod queue;
mod run;

use std::sync::{Arc, PoisonError};

use steersman_shared::context::{Context, Mode};
use steersman_shared::rbac::Rule;

pub use self::config::Config;
pub use self::error::{Error, Result};

use self::act::LiveSink;
use self::cycle::Scheduler;
use self::metrics::Metrics;
use self::observe::Inbox;
use self::run::{Runner, Writes};

/// What the scheduler may do (SCH-164, SCH-190), besides events and the lease.
pub const RBAC: &[Rule] = &[
    Rule {
        api_groups: &[""],
        resources: &["nodes"],
        verbs: &["get", "list", "watch"],
    },
    Rule {
        api_groups: &[""],
        resources: &["pods"],
        verbs: &["get", "list", "watch"],
    },
    Rule {
        api_groups: &[""],
        resources: &["pods/binding"],
        verbs: &["create"],
    },
    Rule {
        api_groups: &[""],
        resources: &["pods/status"],
        verbs: &["patch"],
    },
];

/// A scheduler that is ready to run.
#[derive(Debug)]
pub struct Controller {
    ctx: Context,
    scheduler: Scheduler,
    inbox: Arc<Inbox>,
    metrics: Metrics,
    config: Config,
}

/// Makes the scheduler and subscribes it to its watches. Once per process, before the informers run.
///
/// # Errors
/// A setting that cannot work (SCH-168).
pub fn new(ctx: &Context, config: Config) -> Result<Controller> {
    let scheduler = Scheduler::new(&config)?;
    let metrics = Metrics::register(&mut ctx.metrics.lock().unwrap_or_else(PoisonError::into_inner));
    tracing::info!(?config, "scheduler configured");
    Ok(Controller {
        ctx: ctx.clone(),
        scheduler,
        inbox: Inbox::subscribed(&ctx.informers),
        metrics,
        config,
    })
}

impl Controller {
    /// Schedules until the context stops. The mode chooses where the writes go.
    ///
    /// # Errors
    /// [`Error::Planner`] if planning panicked.
    pub async fn run(self) -> Result<()> {
        match self.ctx.mode {
            Mode::Active => {
                let sink = LiveSink::new(&self.ctx);
                self.run_with(sink).await
            }
            Mode::Shadow => self.run_with(act::shadow()).await,
            Mode::Off => {
                self.ctx.stop.cancelled().await;
                Ok(())
            }
        }
    }

    /// Schedules until the context stops, with writes going to `sink`: the API server, a shadow report, a script.
    ///
    /// # Errors
    /// [`Error::Planner`] if planning panicked.
    pub async fn run_with<S: act::Target>(self, sink: S) -> Result<()> {
        let Self {
            ctx,
            scheduler,
            inbox,
            metrics,
            config,
        } = self;
        let runner = Runner {
            ctx,
            inbox,
            sink: Arc::new(sink),
            metrics,
            bindings_at_once: config.max_bindings_in_flight,
            writes: Writes::default(),
        };
        runner.run(scheduler).await
    }
}
