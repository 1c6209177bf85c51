//! The life of one simulated pod as a function of time: which state each container is in, and the status that follows.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::behaviour::PodBehaviour;
use super::view::{ContainerStatusView, ContainerView, PodView, condition};
use crate::housekeeping::follow::version_of;

use scene::{Ended, Progress};
use status::CONDITIONS;

/// Images that cannot be pulled begin like this.
const UNPULLABLE: &str = "fail/";

/// How long things take, where no annotation says otherwise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delays {
    pub(crate) start: Duration,
    pub(crate) init: Duration,
    pub(crate) ready: Duration,
    pub(crate) stop_percent: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RestartPolicy {
    Always,
    OnFailure,
    Never,
}

impl RestartPolicy {
    fn parse(text: &str) -> Self {
        match text {
            "Never" => Self::Never,
            "OnFailure" => Self::OnFailure,
            _ => Self::Always,
        }
    }

    fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// A declared TCP port of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) container: u16,
    /// Zero: none.
    pub(crate) host: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Container {
    name: String,
    image: String,
    sidecar: bool,
    ports: Vec<Port>,
}

impl Container {
    fn of(view: &ContainerView) -> Self {
        let ports = view
            .ports
            .iter()
            .filter(|port| port.protocol.is_empty() || port.protocol == "TCP")
            .map(|port| Port {
                container: port.container_port,
                host: port.host_port,
            })
            .collect();
        Self {
            name: view.name.clone(),
            image: view.image.clone(),
            sidecar: view.restart_policy == "Always",
            ports,
        }
    }

    fn unpullable(&self) -> bool {
        self.image.starts_with(UNPULLABLE)
    }
}

/// A graceful deletion in progress.
#[derive(Clone, Copy, Debug)]
struct Stopping {
    seen_at: Timestamp,
    grace: Duration,
}

/// A condition of ours and since when it has its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Since {
    status: bool,
    at: Timestamp,
}

/// What others can see of our status, to notice that somebody else changed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Summary {
    phase: String,
    pod_ip: String,
    ready: bool,
}

/// What to report and what follows from it.
#[derive(Debug)]
pub(crate) struct Step {
    /// The status as a strategic merge patch, if the server does not have it yet.
    pub(crate) report: Option<Report>,
    /// Whether the containers accept connections.
    pub(crate) running: bool,
    /// The containers ended for good: the address is free.
    pub(crate) over: bool,
    /// The pod is being deleted, has stopped, and the server knows its last status: remove the object.
    pub(crate) remove: bool,
    /// When time alone changes this.
    pub(crate) wake_at: Option<Timestamp>,
}

/// A status to write.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) patch: Value,
    /// Identifies the content; pass it to [`PodRun::reported`].
    pub(crate) digest: u64,
}

/// What the present version of the object says.
#[derive(Debug)]
struct Declared {
    host_network: bool,
    restart: RestartPolicy,
    init: Vec<Container>,
    main: Vec<Container>,
    /// All readiness gates are true.
    gates_open: bool,
    behaviour: PodBehaviour,
    generation: i64,
    version: u64,
}

impl Declared {
    fn of(view: &PodView) -> Self {
        let conditions = &view.status.conditions;
        let is_true =
            |r#type: &str| condition(conditions, r#type).is_some_and(|found| found.status == "True");
        Self {
            host_network: view.spec.host_network,
            restart: RestartPolicy::parse(&view.spec.restart_policy),
            init: view.spec.init_containers.iter().map(Container::of).collect(),
            main: view.spec.containers.iter().map(Container::of).collect(),
            gates_open: view
                .spec
                .readiness_gates
                .iter()
                .all(|gate| is_true(&gate.condition_type)),
            behaviour: PodBehaviour::of(view.metadata.annotations.as_ref()),
            generation: view.metadata.generation.unwrap_or_default(),
            version: version_of(view.metadata.resource_version.as_deref()),
        }
    }
}

/// A pod on a simulated node.
#[derive(Debug)]
pub(crate) struct PodRun {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) uid: Arc<str>,
    pub(crate) node: usize,
    /// Its address within the pod network of the node; none for pods in the host network.
    pub(crate) address: Option<Ipv4Addr>,
    /// The address was given back; it stays in the status.
    pub(crate) address_free: bool,
    /// An address that an earlier run reported and that may be claimed again.
    pub(crate) former_address: Option<Ipv4Addr>,
    /// Failed writes in a row.
    pub(crate) failures: u32,
    /// The final DELETE was accepted; finalizers may still hold the object.
    pub(crate) removed: bool,
    object: Declared,
    admitted: Timestamp,
    /// Time of the scheduler's condition, if no scheduler had set it: the pod was created with a node.
    scheduled: Option<Timestamp>,
    /// Start of the main containers, where it is not simply a consequence of `admitted`.
    main_started: Option<Timestamp>,
    /// Restarts before `main_started`.
    restarts: u32,
    /// Set once the containers ended for good: a later annotation does not revive them.
    outcome: Option<Ended>,
    /// Already Succeeded or Failed when first seen: nothing is left to run or report.
    finished_before: bool,
    stopping: Option<Stopping>,
    conditions: [Option<Since>; 4],
    digest: Option<u64>,
    summary: Summary,
}

impl PodRun {
    /// A pod seen for the first time: new, or left over from an earlier run, whose status it continues.
    pub(crate) fn new(view: &PodView, node: usize, now: Timestamp) -> Self {
        let text = |field: &Option<String>| Arc::<str>::from(field.as_deref().unwrap_or_default());
        let finished_before = matches!(view.status.phase.as_str(), "Succeeded" | "Failed");
        let running =
            |status: &ContainerStatusView| status.state.running.as_ref().and_then(|run| run.started_at);
        let main_started = view.status.container_statuses.iter().filter_map(running).max();
        let restarts = view
            .status
            .container_statuses
            .iter()
            .map(|status| status.restart_count)
            .max();
        let conditions = CONDITIONS.map(|r#type| {
            let known = condition(&view.status.conditions, r#type)?;
            Some(Since {
                status: known.status == "True",
                at: known.last_transition_time?,
            })
        });
        let mut run = Self {
            namespace: text(&view.metadata.namespace),
            name: text(&view.metadata.name),
            uid: text(&view.metadata.uid),
            node,
            address: None,
            address_free: false,
            former_address: view.status.pod_ip.parse().ok(),
            failures: 0,
            removed: false,
            object: Declared::of(view),
            scheduled: condition(&view.status.conditions, "PodScheduled")
                .is_none()
                .then_some(now),
            admitted: view.status.start_time.unwrap_or(now),
            main_started,
            restarts: restarts.unwrap_or_default(),
            outcome: None,
            finished_before,
            stopping: None,
            conditions,
            digest: None,
            summary: Summary::default(),
        };
        run.observe_deletion(view, now);
        run
    }

    /// Takes over what a newer version of the object says. Older versions, as a disturbed watch repeats them, are ignored.
    pub(crate) fn observe(&mut self, view: &PodView, now: Timestamp) {
        let version = version_of(view.metadata.resource_version.as_deref());
        if version != 0 && version < self.object.version {
            return;
        }
        let before: Vec<String> = self
            .object
            .main
            .iter()
            .map(|container| container.image.clone())
            .collect();
        let exit = self.object.behaviour.exit;
        let looped = self
            .main_started
            .and_then(|started| self.loops(started, now))
            .map_or(0, |(count, _)| count);
        let ran = u32::from(!self.object.main.iter().any(Container::unpullable));
        self.object = Declared::of(view);
        self.observe_deletion(view, now);
        let same_images = self
            .object
            .main
            .iter()
            .map(|container| &container.image)
            .eq(before.iter());
        if (!same_images || self.object.behaviour.exit != exit) && self.outcome.is_none() {
            // A changed image or exit rule replaces containers that already run.
            if self.main_started.is_some_and(|started| started <= now) {
                self.restarts = self.restarts.saturating_add(looped).saturating_add(ran);
                self.main_started = Some(now);
            }
        }
        let seen = Summary {
            phase: view.status.phase.clone(),
            pod_ip: view.status.pod_ip.clone(),
            ready: condition(&view.status.conditions, "Ready").is_some_and(|ready| ready.status == "True"),
        };
        if self.digest.is_some() && seen != self.summary {
            self.digest = None;
        }
    }

    fn observe_deletion(&mut self, view: &PodView, now: Timestamp) {
        if view.metadata.deletion_timestamp.is_some() {
            let seconds = view.metadata.deletion_grace_period_seconds.unwrap_or_default();
            let grace = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
            let seen_at = self.stopping.map_or(now, |stopping| stopping.seen_at);
            self.stopping = Some(Stopping { seen_at, grace });
        }
    }

    /// Notes that the server has this status.
    pub(crate) fn reported(&mut self, digest: u64, resource_version: u64) {
        self.digest = Some(digest);
        self.object.version = self.object.version.max(resource_version);
    }

    /// TCP ports of the containers that run while the pod runs.
    pub(crate) fn ports(&self) -> impl Iterator<Item = Port> + '_ {
        let sidecars = self.object.init.iter().filter(|container| container.sidecar);
        sidecars
            .chain(&self.object.main)
            .flat_map(|container| container.ports.iter().copied())
    }

    /// True for pods that share the address of their node.
    pub(crate) fn is_on_host_network(&self) -> bool {
        self.object.host_network
    }

    /// True while the pod needs an address of its own before it can go on.
    pub(crate) fn wants_address(&self) -> bool {
        !self.object.host_network && self.address.is_none() && !self.finished_before && self.outcome.is_none()
    }

    /// What is to be done at `now`. `host` is the address of the node.
    pub(crate) fn advance(&mut self, delays: &Delays, host: Ipv4Addr, now: Timestamp) -> Step {
        let stop_at = self.stop_at(delays);
        let stopped = stop_at.is_some_and(|at| at <= now);
        if self.finished_before {
            let remove = self.stopping.is_some() && !self.removed;
            return Step {
                report: None,
                running: false,
                over: true,
                remove,
                wake_at: None,
            };
        }
        let mut scene = self.scene(delays, now);
        if let Some(at) = stop_at {
            scene.wake(at, now);
        }
        let over = stopped || scene.outcome.is_some();
        let running = !over && scene.main.iter().any(Progress::is_running);
        let never_started = stopped && scene.outcome.is_none();
        let report = if self.removed || never_started {
            None
        } else {
            self.report(&scene, host, over, now)
        };
        let remove = stopped && !self.removed && report.is_none();
        Step {
            report,
            running,
            over,
            remove,
            wake_at: scene.wake_at,
        }
    }
}

/// `at` plus `wait`; the end of time if that is too far.
pub(crate) fn after(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// Time from `now` to `at`; zero if it has passed.
pub(crate) fn until(now: Timestamp, at: Timestamp) -> Duration {
    let wait: SignedDuration = at.duration_since(now);
    Duration::try_from(wait).unwrap_or_default()
}

/// RFC 3339 in whole seconds, as all times in objects (API-75).
pub(crate) fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// RFC 3339 with six decimals, as a Lease wants it (API-75).
pub(crate) fn micros(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

mod scene;
mod status;
#[cfg(test)]
mod tests;
