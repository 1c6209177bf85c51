//! Why a pod is not available, said from its status alone: what `explain` tells about pods in the way of a rollout.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use serde::Serialize;

use crate::clock::{self, Spoken};
use crate::pods::{self, condition};
use crate::wire;

/// Pod condition reason: no node fits (SCH-162).
const UNSCHEDULABLE: &str = "Unschedulable";
/// Pod condition reason: `spec.schedulingGates` are left.
const SCHEDULING_GATED: &str = "SchedulingGated";
/// Waiting reason of a container that ended too often.
const CRASH_LOOP: &str = "CrashLoopBackOff";
/// Waiting reasons of a container that is on its way: nothing is wrong yet.
const STARTING: [&str; 2] = ["ContainerCreating", "PodInitializing"];
/// Waiting reasons that are about the image.
const IMAGE: [&str; 6] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
];

/// How a container ended last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Exit code.
    pub code: i32,
    /// `Error`, `OOMKilled` and the like; empty if the node gave none.
    pub reason: String,
    /// What the container left behind; mostly empty.
    pub message: String,
    /// When.
    pub at: Option<Timestamp>,
}

/// Why a pod does not count as available. `Display` says what pods with the same trouble share, [`Obstacle::detail`] what
/// is special about one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Obstacle {
    /// No node fits.
    Unschedulable {
        /// The scheduler's words.
        message: String,
    },
    /// Somebody has to remove scheduling gates first.
    SchedulingGated {
        /// Names of the gates.
        gates: Vec<String>,
    },
    /// No scheduler has tried it yet.
    Unassigned {
        /// The scheduler that it asks for.
        scheduler: String,
        /// Creation of the pod.
        since: Option<Timestamp>,
    },
    /// Bound, but its node has not reported about it.
    NotStarted {
        /// The node.
        node: String,
        /// Creation of the pod.
        since: Option<Timestamp>,
    },
    /// An image cannot be pulled.
    Image {
        /// The container.
        container: String,
        /// The image as asked for.
        image: String,
        /// `ImagePullBackOff`, `ErrImagePull` and the like.
        reason: String,
        /// The node's words.
        message: String,
    },
    /// A container ends again and again; the node waits before it starts it anew.
    CrashLoop {
        /// The container.
        container: String,
        /// Restarts so far.
        restarts: i32,
        /// How it ended last, as far as the node tells.
        exit: Option<Exit>,
    },
    /// A container has ended and is not started again yet.
    Ended {
        /// The container.
        container: String,
        /// Restarts so far.
        restarts: i32,
        /// How.
        exit: Exit,
    },
    /// A container cannot start: missing ConfigMap or Secret, refused security context and the like.
    Container {
        /// The container.
        container: String,
        /// The node's reason.
        reason: String,
        /// The node's words.
        message: String,
    },
    /// Containers are being started.
    Starting {
        /// Creation of the pod.
        since: Option<Timestamp>,
    },
    /// An init container runs.
    Initialising {
        /// The container.
        container: String,
        /// Since when it runs.
        since: Option<Timestamp>,
    },
    /// Containers run, but their readiness probe does not succeed.
    NotReady {
        /// The containers.
        containers: Vec<String>,
        /// Restarts of all containers, the largest.
        restarts: i32,
        /// Last words of a failing probe, where somebody looked for them: they stand in events, not in the pod.
        probe: Option<String>,
        /// Not ready since.
        since: Option<Timestamp>,
    },
    /// A condition among `spec.readinessGates` is not true.
    ReadinessGate {
        /// The condition.
        condition: String,
        /// What is said about it; empty if it is not set.
        message: String,
    },
    /// The node does not report any more.
    NodeLost {
        /// The node.
        node: String,
        /// The pod's reason; empty if there is none.
        reason: String,
    },
    /// Ready, but not for `minReadySeconds` yet (RS-56).
    MinReady {
        /// `minReadySeconds`.
        seconds: u64,
        /// When it becomes available; `None`: its condition Ready has no time.
        until: Option<Timestamp>,
    },
    /// Being deleted: it does not count as a pod of the ReplicaSet, but it is still there.
    Terminating {
        /// Deletion timestamp less the grace period: when the deletion was asked for.
        since: Timestamp,
        /// When the node kills its containers at the latest.
        killed_at: Timestamp,
        /// The node; empty if unassigned.
        node: String,
        /// What has to be removed before the object goes.
        finalizers: Vec<String>,
    },
    /// None of the known reasons.
    Other {
        /// Phase of the pod.
        phase: String,
        /// Reason and message of its status or its condition Ready.
        message: String,
    },
}

impl Obstacle {
    /// Why `pod` is not available at `now`; `None` if it is, or if it has finished.
    #[must_use]
    pub fn of(pod: &Pod, now: Timestamp, min_ready: Duration) -> Option<Self> {
        if pods::is_finished(pod) {
            return None;
        }
        if let Some(deletion) = &pod.metadata.deletion_timestamp {
            return Some(terminating(pod, deletion.0));
        }
        if pods::is_ready(pod) {
            return (!pods::is_available(pod, now, min_ready)).then(|| Self::MinReady {
                seconds: min_ready.as_secs(),
                until: pods::available_at(pod, min_ready),
            });
        }
        if pods::node_name(pod).is_empty() {
            return Some(unassigned(pod));
        }
        let lost = pods::phase(pod) == wire::UNKNOWN
            || condition(pod, wire::POD_READY).is_some_and(|it| it.status == wire::UNKNOWN);
        if lost {
            return Some(Self::NodeLost {
                node: pods::node_name(pod).to_owned(),
                reason: reason(pod),
            });
        }
        Some(containers(pod).unwrap_or_else(|| not_ready(pod)))
    }

    /// What is special about one pod; empty if nothing is.
    #[must_use]
    pub fn detail(&self, now: Timestamp) -> String {
        let ago = |moment: &Option<Timestamp>| {
            moment.map_or_else(String::new, |at| format!("for {}", Spoken(clock::since(now, at))))
        };
        match self {
            Self::Unassigned { since, .. }
            | Self::NotStarted { since, .. }
            | Self::Starting { since }
            | Self::Initialising { since, .. }
            | Self::NotReady { since, .. } => ago(since),
            Self::CrashLoop { restarts, exit, .. } => {
                let last = exit
                    .as_ref()
                    .and_then(|exit| exit.at)
                    .map_or_else(String::new, |at| {
                        format!(", the last {} ago", Spoken(clock::since(now, at)))
                    });
                format!("{restarts} restarts{last}")
            }
            Self::Ended { restarts, .. } => format!("{restarts} restarts"),
            Self::MinReady {
                until: Some(until), ..
            } => {
                format!("available in {}", Spoken(clock::until(now, *until)))
            }
            Self::Terminating {
                since,
                killed_at,
                node,
                finalizers,
            } => {
                let since = format!("since {}", Spoken(clock::since(now, *since)));
                if !finalizers.is_empty() {
                    format!("{since}, finalizers: {}", finalizers.join(", "))
                } else if *killed_at > now {
                    format!("{since}, at most {} more", Spoken(clock::until(now, *killed_at)))
                } else if node.is_empty() {
                    since
                } else {
                    format!("{since}, its grace period is over: does node {node} still work?")
                }
            }
            Self::Unschedulable { .. }
            | Self::SchedulingGated { .. }
            | Self::Image { .. }
            | Self::Container { .. }
            | Self::ReadinessGate { .. }
            | Self::NodeLost { .. }
            | Self::MinReady { until: None, .. }
            | Self::Other { .. } => String::new(),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable { message } => write!(f, "no node fits: {message}"),
            Self::SchedulingGated { gates } => {
                write!(f, "held back by scheduling gates: {}", gates.join(", "))
            }
            Self::Unassigned { scheduler, .. } => {
                write!(f, "not looked at by its scheduler {scheduler:?} yet")
            }
            Self::NotStarted { node, .. } => write!(f, "not started by node {node} yet"),
            Self::Image {
                container,
                image,
                reason,
                message,
            } => {
                write!(
                    f,
                    "container {container}: image {image:?} cannot be pulled: {reason}"
                )?;
                said(f, message)
            }
            Self::CrashLoop { container, exit, .. } => {
                write!(f, "container {container} crashes again and again")?;
                exit.iter().try_for_each(|exit| write!(f, ": {exit}"))
            }
            Self::Ended { container, exit, .. } => write!(f, "container {container} ended: {exit}"),
            Self::Container {
                container,
                reason,
                message,
            } => {
                write!(f, "container {container} cannot start: {reason}")?;
                said(f, message)
            }
            Self::Starting { .. } => f.write_str("containers are being started"),
            Self::Initialising { container, .. } => write!(f, "init container {container} has to end first"),
            Self::NotReady {
                containers, probe, ..
            } => {
                let plural = if containers.len() == 1 { "" } else { "s" };
                write!(
                    f,
                    "container{plural} {}: running, not ready",
                    containers.join(", ")
                )?;
                probe.iter().try_for_each(|probe| write!(f, ": {probe}"))
            }
            Self::ReadinessGate { condition, message } => {
                write!(f, "readiness gate {condition} is not true")?;
                said(f, message)
            }
            Self::NodeLost { node, reason } => {
                write!(f, "node {node} does not report about it any more")?;
                said(f, reason)
            }
            Self::MinReady { seconds, .. } => {
                write!(
                    f,
                    "ready, but not for {} (minReadySeconds) yet",
                    Spoken(Duration::from_secs(*seconds))
                )
            }
            Self::Terminating { .. } => f.write_str("terminating"),
            Self::Other { phase, message } => {
                let phase = if phase.is_empty() { "without phase" } else { phase };
                write!(f, "not ready ({phase})")?;
                said(f, message)
            }
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}", self.code)?;
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        said(f, &self.message)
    }
}

/// Appends somebody's words, on one line.
fn said(f: &mut fmt::Formatter<'_>, message: &str) -> fmt::Result {
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if message.is_empty() {
        Ok(())
    } else {
        write!(f, ": {message}")
    }
}

fn terminating(pod: &Pod, deletion: Timestamp) -> Obstacle {
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
    let grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
    Obstacle::Terminating {
        since: deletion.checked_sub(grace).unwrap_or(deletion),
        killed_at: deletion,
        node: pods::node_name(pod).to_owned(),
        finalizers: pod.metadata.finalizers.clone().unwrap_or_default(),
    }
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn unassigned(pod: &Pod) -> Obstacle {
    let spec = pod.spec.as_ref();
    let scheduled = condition(pod, wire::POD_SCHEDULED).filter(|it| it.status == wire::FALSE);
    match scheduled.map(|it| (it, it.reason.as_deref().unwrap_or_default())) {
        Some((_, SCHEDULING_GATED)) => {
            let gates = spec
                .and_then(|spec| spec.scheduling_gates.as_deref())
                .unwrap_or_default();
            Obstacle::SchedulingGated {
                gates: gates.iter().map(|gate| gate.name.clone()).collect(),
            }
        }
        Some((it, UNSCHEDULABLE)) => Obstacle::Unschedulable {
            message: it.message.clone().unwrap_or_default(),
        },
        Some((it, _)) => Obstacle::Unschedulable {
            message: join(it.reason.as_deref(), it.message.as_deref()),
        },
        None => Obstacle::Unassigned {
            scheduler: spec
                .and_then(|spec| spec.scheduler_name.clone())
                .unwrap_or_default(),
            since: created(pod),
        },
    }
}

fn join(reason: Option<&str>, message: Option<&str>) -> String {
    let parts = [reason, message]
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(": ")
}

/// Reason and message of the pod's status, else of its condition Ready.
fn reason(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let own = join(
        status.and_then(|it| it.reason.as_deref()),
        status.and_then(|it| it.message.as_deref()),
    );
    if own.is_empty() {
        let ready = condition(pod, wire::POD_READY);
        return join(
            ready.and_then(|it| it.reason.as_deref()),
            ready.and_then(|it| it.message.as_deref()),
        );
    }
    own
}

/// The worst that the containers report; `None` if all run.
fn containers(pod: &Pod) -> Option<Obstacle> {
    let status = pod.status.as_ref()?;
    let spec = pod.spec.as_ref()?;
    let init = status.init_container_statuses.as_deref().unwrap_or_default();
    let main = status.container_statuses.as_deref().unwrap_or_default();
    let all = || init.iter().chain(main);
    if all().next().is_none() {
        return Some(Obstacle::NotStarted {
            node: pods::node_name(pod).to_owned(),
            since: created(pod),
        });
    }
    if let Some(trouble) = all().find_map(|it| waiting(it, pod)) {
        return Some(trouble);
    }
    let restarts_init = |name: &str| {
        let known = spec.init_containers.iter().flatten().find(|it| it.name == name);
        known.and_then(|it| it.restart_policy.as_deref()) == Some("Always")
    };
    // A sidecar runs for good; a plain init container that ended well is done.
    let failed = init.iter().filter(|it| !restarts_init(&it.name));
    let ended = |it: &ContainerStatus, any: bool| {
        let ended = state(it).terminated.filter(|end| any || end.exit_code != 0)?;
        Some(Obstacle::Ended {
            container: it.name.clone(),
            restarts: it.restart_count,
            exit: exit(&ended),
        })
    };
    if let Some(trouble) = failed.clone().find_map(|it| ended(it, false)) {
        return Some(trouble);
    }
    for it in failed {
        if let Some(running) = state(it).running {
            return Some(Obstacle::Initialising {
                container: it.name.clone(),
                since: running.started_at.map(|time| time.0),
            });
        }
    }
    if let Some(trouble) = main.iter().find_map(|it| ended(it, true)) {
        return Some(trouble);
    }
    main.iter()
        .any(|it| state(it).running.is_none())
        .then(|| Obstacle::Starting { since: created(pod) })
}

fn state(status: &ContainerStatus) -> ContainerState {
    status.state.clone().unwrap_or_default()
}

fn waiting(status: &ContainerStatus, pod: &Pod) -> Option<Obstacle> {
    let waiting = state(status).waiting?;
    let reason = waiting
        .reason
        .filter(|reason| !STARTING.contains(&reason.as_str()))?;
    let (container, message) = (status.name.clone(), waiting.message.unwrap_or_default());
    Some(if reason == CRASH_LOOP {
        let last = status.last_state.as_ref().and_then(|it| it.terminated.as_ref());
        Obstacle::CrashLoop {
            container,
            restarts: status.restart_count,
            exit: last.map(exit),
        }
    } else if IMAGE.contains(&reason.as_str()) {
        Obstacle::Image {
            image: image(pod, &container).unwrap_or_else(|| status.image.clone()),
            container,
            reason,
            message,
        }
    } else {
        Obstacle::Container {
            container,
            reason,
            message,
        }
    })
}

/// The image that the spec asks for: the status may name another tag of the same one.
fn image(pod: &Pod, container: &str) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    all.find(|it| it.name == container)?.image.clone()
}

fn exit(ended: &ContainerStateTerminated) -> Exit {
    Exit {
        code: ended.exit_code,
        reason: ended.reason.clone().unwrap_or_default(),
        message: ended.message.clone().unwrap_or_default(),
        at: ended.finished_at.as_ref().map(|time| time.0),
    }
}

/// All containers run.
fn not_ready(pod: &Pod) -> Obstacle {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|it| it.container_statuses.as_deref());
    let waiting = statuses.unwrap_or_default().iter().filter(|it| !it.ready);
    let containers: Vec<String> = waiting.map(|it| it.name.clone()).collect();
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref());
    let is_closed = |type_: &str| condition(pod, type_).is_none_or(|it| it.status != wire::TRUE);
    let gate = gates
        .unwrap_or_default()
        .iter()
        .find(|it| is_closed(&it.condition_type));
    let since = condition(pod, wire::POD_READY)
        .and_then(|it| it.last_transition_time.as_ref())
        .map(|time| time.0);
    match gate {
        _ if !containers.is_empty() => Obstacle::NotReady {
            containers,
            restarts: pods::max_restarts(pod),
            probe: None,
            since,
        },
        Some(gate) => Obstacle::ReadinessGate {
            condition: gate.condition_type.clone(),
            message: condition(pod, &gate.condition_type).map_or_else(String::new, |it| {
                join(it.reason.as_deref(), it.message.as_deref())
            }),
        },
        None => Obstacle::Other {
            phase: pods::phase(pod).to_owned(),
            message: reason(pod),
        },
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{T0, t};

    fn pod(value: &Value) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "web-1", "creationTimestamp": T0},
            "spec": {"nodeName": "n1", "schedulerName": "s", "containers": [{"name": "main", "image": "web:9"}]},
            "status": {"phase": "Pending"},
        });
        merge(&mut pod, value);
        serde_json::from_value(pod).unwrap()
    }

    fn merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }

    fn main_container(state: &Value) -> Value {
        json!({"status": {"containerStatuses": [
            {"name": "main", "image": "sha", "imageID": "", "ready": false, "restartCount": 7, "state": state,
             "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled", "finishedAt": T0}}},
        ]}})
    }

    fn status(type_: &str, status: &str, reason: &str, message: &str) -> Value {
        json!({"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": T0})
    }

    #[rstest]
    #[case::no_node_fits(
        json!({"spec": {"nodeName": null}, "status": {"conditions": [
            status("PodScheduled", "False", "Unschedulable", "0/3 nodes are available: 3 Insufficient cpu."),
        ]}}),
        "no node fits: 0/3 nodes are available: 3 Insufficient cpu.", "")]
    #[case::no_scheduler(json!({"spec": {"nodeName": null}}),
        "not looked at by its scheduler \"s\" yet", "for 1 min 30 s")]
    #[case::gated(
        json!({"spec": {"nodeName": null, "schedulingGates": [{"name": "g"}]}, "status": {"conditions": [
            status("PodScheduled", "False", "SchedulingGated", ""),
        ]}}),
        "held back by scheduling gates: g", "")]
    #[case::not_started(json!({}), "not started by node n1 yet", "for 1 min 30 s")]
    #[case::image(main_container(&json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off\n pulling"}})),
        "container main: image \"web:9\" cannot be pulled: ImagePullBackOff: Back-off pulling", "")]
    #[case::crash_loop(main_container(&json!({"waiting": {"reason": "CrashLoopBackOff", "message": "pod uid"}})),
        "container main crashes again and again: exit code 137 (OOMKilled)", "7 restarts, the last 1 min 30 s ago")]
    #[case::ended(main_container(&json!({"terminated": {"exitCode": 1, "reason": "Error", "message": "no db"}})),
        "container main ended: exit code 1 (Error): no db", "7 restarts")]
    #[case::config(main_container(&json!({"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}})),
        "container main cannot start: CreateContainerConfigError: no secret", "")]
    #[case::starting(main_container(&json!({"waiting": {"reason": "ContainerCreating"}})),
        "containers are being started", "for 1 min 30 s")]
    #[case::not_ready(
        {
            let mut it = main_container(&json!({"running": {}}));
            it["status"]["conditions"] = json!([status("Ready", "False", "ContainersNotReady", "")]);
            it
        },
        "container main: running, not ready", "for 1 min 30 s")]
    #[case::init(
        json!({"spec": {"initContainers": [{"name": "migrate"}]}, "status": {"initContainerStatuses": [
            {"name": "migrate", "image": "", "imageID": "", "ready": false, "restartCount": 0,
             "state": {"running": {"startedAt": T0}}},
        ]}}),
        "init container migrate has to end first", "for 1 min 30 s")]
    #[case::gate(
        json!({"spec": {"readinessGates": [{"conditionType": "lb"}]}, "status": {"phase": "Running",
            "containerStatuses": [{"name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                                   "state": {"running": {}}}]}}),
        "readiness gate lb is not true", "")]
    #[case::lost(json!({"status": {"phase": "Unknown", "reason": "NodeLost"}}),
        "node n1 does not report about it any more: NodeLost", "")]
    #[case::min_ready(
        json!({"status": {"phase": "Running", "conditions": [status("Ready", "True", "", "")]}}),
        "ready, but not for 1 min 40 s (minReadySeconds) yet", "available in 10 s")]
    #[case::terminating(
        json!({"metadata": {"deletionTimestamp": t(100), "deletionGracePeriodSeconds": 30}}),
        "terminating", "since 20 s, at most 10 s more")]
    #[case::stuck_terminating(
        json!({"metadata": {"deletionTimestamp": t(60), "deletionGracePeriodSeconds": 30}}),
        "terminating", "since 1 min, its grace period is over: does node n1 still work?")]
    #[case::finalizer(
        json!({"metadata": {"deletionTimestamp": t(60), "deletionGracePeriodSeconds": 30, "finalizers": ["x/y"]}}),
        "terminating", "since 1 min, finalizers: x/y")]
    fn ask_9_a_pod_says_why_it_is_not_available(#[case] is: Value, #[case] text: &str, #[case] detail: &str) {
        let obstacle = Obstacle::of(&pod(&is), t(90), Duration::from_secs(100)).unwrap();
        assert_eq!(
            (obstacle.to_string().as_str(), obstacle.detail(t(90)).as_str()),
            (text, detail)
        );
    }

    #[test]
    fn ask_9_available_and_finished_pods_are_in_nobodys_way() {
        let ready =
            pod(&json!({"status": {"phase": "Running", "conditions": [status("Ready", "True", "", "")]}}));
        assert_eq!(Obstacle::of(&ready, t(90), Duration::from_secs(90)), None);
        assert_eq!(
            Obstacle::of(
                &pod(&json!({"status": {"phase": "Failed"}})),
                t(90),
                Duration::ZERO
            ),
            None
        );
    }
}
