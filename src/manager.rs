//! Wiring: clients, watches, controllers and the admin port on one supervisor. No reconcile logic, and the choice
//! live or shadow is made here, once (STY-2).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use prometheus_client::registry::Registry;
use steersman_shared::clock::{Clock, SystemClock};
use steersman_shared::context::{Context, Mode};
use steersman_shared::guard::{self, Guard, KubePlane, Licence, Native};
use steersman_shared::informer::Informers;
use steersman_shared::lease::{self, Elector, KubeLease, Leadership};
use steersman_shared::metrics::Metrics;
use steersman_shared::opt_out::OptOuts;
use steersman_shared::ready::Readiness;
use steersman_shared::recorder::{EventWriter, KubeEvents, Recorders};
use steersman_shared::shadow::{self, Shadows};
use steersman_shared::supervisor::Supervisor;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cli::{ControllerArgs, ControllerName};

/// Source of the guard's events.
const COMPONENT: &str = "steersman-guard";

/// Which controllers run, and how.
#[derive(Clone, Debug)]
pub(crate) struct Controllers {
    pub(crate) deployment: Mode,
    pub(crate) replicaset: Mode,
    pub(crate) scheduler: Mode,
    /// The schedulers to be, by `spec.schedulerName`.
    pub(crate) scheduler_names: Vec<String>,
}

impl Controllers {
    /// As asked for on the command line. By default nothing that exists is changed (TAKE-14).
    pub(crate) fn from_args(args: &ControllerArgs) -> Self {
        Self {
            deployment: args.mode(ControllerName::Deployment, Mode::Shadow),
            replicaset: args.mode(ControllerName::Replicaset, Mode::Shadow),
            scheduler: args.mode(ControllerName::Scheduler, Mode::Active),
            scheduler_names: args.scheduler_names.clone(),
        }
    }

    /// Every controller, as the only one of the cluster.
    #[cfg(feature = "sandbox")]
    fn alone() -> Self {
        Self {
            deployment: Mode::Active,
            replicaset: Mode::Active,
            scheduler: Mode::Active,
            scheduler_names: vec!["default-scheduler".to_owned(), "steersman".to_owned()],
        }
    }

    /// The native controllers whose work is to be taken over.
    fn taken_over(&self) -> Vec<Native> {
        let modes = [
            (self.deployment, Native::Deployment),
            (self.replicaset, Native::ReplicaSet),
        ];
        let active = modes.into_iter().filter(|(mode, _)| *mode == Mode::Active);
        active.map(|(_, native)| native).collect()
    }

    fn any_writes(&self) -> bool {
        [self.deployment, self.replicaset, self.scheduler].contains(&Mode::Active)
    }
}

/// What a process shares: made once, handed to everything.
pub(crate) struct Manager {
    client: Client,
    clock: Arc<dyn Clock>,
    pub(crate) registry: Arc<Mutex<Registry>>,
    metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) shadows: Shadows,
    instance: String,
    /// Cancelled first: no new keys are taken.
    stop: CancellationToken,
}

/// How the right to write is obtained.
pub(crate) enum Election {
    /// There is no other process of ours.
    Alone,
    /// Through the Lease of this namespace and name.
    Lease(String, String),
}

impl Manager {
    /// Nothing runs yet.
    pub(crate) fn new(client: Client, shadow_window: Duration, stop: CancellationToken) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let shadows = Shadows::new(shadow_window, shadow::Metrics::register(&mut registry));
        Self {
            client,
            clock: Arc::new(SystemClock),
            registry: Arc::new(Mutex::new(registry)),
            metrics,
            readiness: Readiness::default(),
            shadows,
            instance: instance(),
            stop,
        }
    }

    /// Puts the controllers on the supervisor, with their watches and events. What they need until their last write,
    /// the lease, goes to the `keeper` and ends when `released` is cancelled (STY-77).
    ///
    /// # Errors
    ///
    /// A setting is refused.
    pub(crate) fn start(
        &self,
        supervisor: &mut Supervisor,
        keeper: &mut Supervisor,
        controllers: &Controllers,
        election: Election,
        protection: Option<guard::Config>,
        released: &CancellationToken,
    ) -> anyhow::Result<()> {
        let leadership = match election {
            Election::Lease(namespace, name) if controllers.any_writes() => {
                let config = lease::Config::new(namespace, name, self.instance.clone());
                let store = KubeLease::new(self.client.clone(), &config);
                let (elector, leadership) =
                    Elector::new(store, config, Arc::clone(&self.clock), &self.metrics)
                        .context("leader election")?;
                keeper.spawn("leader election", elector.run(released.clone()));
                leadership
            }
            Election::Lease(..) | Election::Alone => Leadership::always(),
        };
        let informers = Informers::new(self.client.clone(), &self.metrics, &self.readiness);
        let (recorder, backlog) =
            Recorders::new(Arc::clone(&self.clock), self.instance.clone(), &self.metrics);
        let context = Context {
            client: self.client.clone(),
            informers: informers.clone(),
            clock: Arc::clone(&self.clock),
            stop: self.stop.clone(),
            leadership,
            recorder,
            metrics: Arc::clone(&self.registry),
            shared_metrics: self.metrics.clone(),
            mode: Mode::Active,
            licence: Licence::unguarded(),
            opt_outs: OptOuts::default(),
            shadows: self.shadows.clone(),
            instance: self.instance.clone(),
        };
        let events = KubeEvents::new(self.client.clone());
        let writer = EventWriter::new(backlog, events, Arc::clone(&self.clock), &self.metrics);
        supervisor.spawn("events", writer.run(self.stop.clone()));

        info!(
            deployment = %controllers.deployment,
            replicaset = %controllers.replicaset,
            scheduler = %controllers.scheduler,
            scheduler_names = controllers.scheduler_names.join(","),
            "controllers start"
        );
        let workloads = [controllers.deployment, controllers.replicaset];
        let context = if workloads.iter().all(|mode| *mode == Mode::Off) {
            context
        } else {
            let recorder = context.recorder.core(COMPONENT);
            Context {
                opt_outs: OptOuts::new(&informers, recorder),
                ..context
            }
        };
        let licences = self.protect(supervisor, &context, controllers, protection);
        let licence = |native| licences.get(&native).cloned().unwrap_or_default();
        if controllers.deployment != Mode::Off {
            let context = context
                .with_mode(controllers.deployment)
                .with_licence(licence(Native::Deployment));
            let controller = steersman_deployment::new(&context, &steersman_deployment::Config::default())
                .context("deployment controller")?;
            supervisor.spawn("deployment", controller.run());
            let policies = steersman_deployment::policies::new(&context);
            supervisor.spawn("rolloutpolicy", policies.run());
        }
        if controllers.replicaset != Mode::Off {
            let context = context
                .with_mode(controllers.replicaset)
                .with_licence(licence(Native::ReplicaSet));
            let controller = steersman_replicaset::new(&context, &steersman_replicaset::Config::default())
                .context("replicaset controller")?;
            supervisor.spawn("replicaset", controller.run());
        }
        if controllers.scheduler != Mode::Off {
            let context = context.with_mode(controllers.scheduler);
            let config = steersman_scheduler::Config {
                scheduler_names: controllers.scheduler_names.clone(),
                ..steersman_scheduler::Config::default()
            };
            let controller = steersman_scheduler::new(&context, config).context("scheduler")?;
            supervisor.spawn("scheduler", controller.run());
        }
        supervisor.spawn("watches", informers.run(self.stop.clone()));
        Ok(())
    }

    /// As [`Self::start`], with every controller and nobody else in the cluster.
    #[cfg(feature = "sandbox")]
    pub(crate) fn start_alone(
        &self,
        supervisor: &mut Supervisor,
        keeper: &mut Supervisor,
        released: &CancellationToken,
    ) -> anyhow::Result<()> {
        let controllers = Controllers::alone();
        self.start(supervisor, keeper, &controllers, Election::Alone, None, released)
    }

    /// Puts the guard on the supervisor if there is anything to guard; what it says to each controller. No `protection`:
    /// the cluster has no native controllers and never will, its API server is ours.
    fn protect(
        &self,
        supervisor: &mut Supervisor,
        context: &Context,
        controllers: &Controllers,
        protection: Option<guard::Config>,
    ) -> BTreeMap<Native, Licence> {
        let natives = controllers.taken_over();
        let Some(config) = protection.filter(|_| !natives.is_empty()) else {
            return BTreeMap::new();
        };
        let metrics =
            guard::Metrics::register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
        let plane = KubePlane::new(self.client.clone(), config.namespace.clone(), config.name.clone());
        let mut guard = Guard::new(
            plane,
            config,
            &context.informers,
            &context.leadership,
            Arc::clone(&self.clock),
            context.recorder.core(COMPONENT),
            metrics,
        );
        let licences = natives.into_iter().map(|native| (native, guard.guard(native)));
        let licences = licences.collect();
        supervisor.spawn("guard", guard.run(self.stop.clone()));
        licences
    }
}

/// Name of this process, unique among its replicas: the pod's name where there is one.
fn instance() -> String {
    let host = std::env::var("POD_NAME").or_else(|_| std::env::var("HOSTNAME"));
    let host = host
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .unwrap_or_default();
    let host = host.trim();
    let host = if host.is_empty() { "steersman" } else { host };
    format!("{host}-{}", std::process::id())
}
