//! Wiring: clients, watches, controllers and the admin port on one supervisor. No reconcile logic, and the choice
//! live or shadow is made here, once (STY-2).

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use kube::Client;
use prometheus_client::registry::Registry;
use steersman_shared::clock::{Clock, SystemClock};
use steersman_shared::context::{Context, Mode};
use steersman_shared::informer::Informers;
use steersman_shared::lease::{self, Elector, KubeLease, Leadership};
use steersman_shared::metrics::Metrics;
use steersman_shared::ready::Readiness;
use steersman_shared::recorder::{EventWriter, KubeEvents, Recorders};
use steersman_shared::supervisor::Supervisor;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cli::{ControllerArgs, ControllerName};

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
    pub(crate) fn alone() -> Self {
        Self {
            deployment: Mode::Active,
            replicaset: Mode::Active,
            scheduler: Mode::Active,
            scheduler_names: vec!["default-scheduler".to_owned(), "steersman".to_owned()],
        }
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
    instance: String,
    /// Cancelled first: no new keys are taken.
    stop: CancellationToken,
}

/// How the right to write is obtained.
pub(crate) enum Election {
    /// There is no other process.
    Alone,
    /// Through the Lease of this namespace and name.
    Lease(String, String),
}

impl Manager {
    /// Nothing runs yet.
    pub(crate) fn new(client: Client, stop: CancellationToken) -> Self {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        Self {
            client,
            clock: Arc::new(SystemClock),
            registry: Arc::new(Mutex::new(registry)),
            metrics,
            readiness: Readiness::default(),
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
        if controllers.deployment != Mode::Off {
            let context = context.with_mode(controllers.deployment);
            let controller = steersman_deployment::new(&context, &steersman_deployment::Config::default())
                .context("deployment controller")?;
            supervisor.spawn("deployment", controller.run());
        }
        if controllers.replicaset != Mode::Off {
            let context = context.with_mode(controllers.replicaset);
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
