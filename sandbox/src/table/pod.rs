//! The cells of pods (API-603, API-604).

use jiff::Timestamp;
use serde_json::Value;

use super::{
    Spec, age,
    builtin::{age_cell, name, or_none},
};
use crate::validate::at;

pub(super) const COLUMNS: &[Spec] = &[
    Spec("Name", "string", 0, name),
    Spec("Ready", "string", 0, |pod, _| Value::from(ready(pod))),
    Spec("Status", "string", 0, |pod, _| Value::from(status(pod))),
    Spec("Restarts", "string", 0, |pod, now| {
        Value::from(restarts(pod, now))
    }),
    Spec("Age", "string", 0, age_cell),
    Spec("IP", "string", 1, |pod, _| or_none(pod_ip(pod))),
    Spec("Node", "string", 1, |pod, _| or_none(text(pod, "spec.nodeName"))),
    Spec("Nominated Node", "string", 1, |pod, _| {
        or_none(text(pod, "status.nominatedNodeName"))
    }),
    Spec("Readiness Gates", "string", 1, |pod, _| {
        or_none(&readiness_gates(pod))
    }),
];

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

fn items<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

fn number(value: &Value, path: &str) -> i64 {
    at(value, path).as_i64().unwrap_or_default()
}

fn is_true(value: &Value, path: &str) -> bool {
    at(value, path) == &Value::Bool(true)
}

fn pod_ip(pod: &Value) -> &str {
    match items(pod, "status.podIPs").first() {
        Some(first) => text(first, "ip"),
        None => text(pod, "status.podIP"),
    }
}

/// Init containers that keep running beside the others.
fn is_sidecar(pod: &Value, status: &Value) -> bool {
    items(pod, "spec.initContainers").iter().any(|container| {
        text(container, "name") == text(status, "name") && text(container, "restartPolicy") == "Always"
    })
}

fn is_running_and_ready(status: &Value) -> bool {
    is_true(status, "ready") && !at(status, "state.running").is_null()
}

fn ready(pod: &Value) -> String {
    let sidecars = items(pod, "spec.initContainers")
        .iter()
        .filter(|container| text(container, "restartPolicy") == "Always")
        .count();
    let total = items(pod, "spec.containers").len() + sidecars;
    let ready_sidecars = items(pod, "status.initContainerStatuses")
        .iter()
        .filter(|status| is_sidecar(pod, status) && is_running_and_ready(status))
        .count();
    let ready = items(pod, "status.containerStatuses")
        .iter()
        .filter(|status| is_running_and_ready(status))
        .count();
    format!("{}/{total}", ready + ready_sidecars)
}

fn restarts(pod: &Value, now: Timestamp) -> String {
    let all = || items(pod, "status.containerStatuses");
    let init = items(pod, "status.initContainerStatuses");
    let statuses: Vec<&Value> = match first_unfinished_init(pod) {
        Some(_) => init.iter().collect(),
        None => init
            .iter()
            .filter(|status| is_sidecar(pod, status))
            .chain(all())
            .collect(),
    };
    let count: i64 = statuses.iter().map(|status| number(status, "restartCount")).sum();
    let last = statuses
        .iter()
        .map(|status| text(status, "lastState.terminated.finishedAt"))
        .max()
        .filter(|time| count > 0 && !time.is_empty());
    match last {
        Some(time) => format!("{count} ({} ago)", age::since(&Value::from(time), now)),
        None => count.to_string(),
    }
}

/// The first init container that is neither done nor a started sidecar, with its position.
fn first_unfinished_init(pod: &Value) -> Option<(usize, &Value)> {
    items(pod, "status.initContainerStatuses")
        .iter()
        .enumerate()
        .find(|(_, status)| {
            let terminated = at(status, "state.terminated");
            let done = !terminated.is_null() && number(terminated, "exitCode") == 0;
            let started = is_sidecar(pod, status) && is_true(status, "started");
            !done && !started
        })
}

fn init_status(pod: &Value) -> Option<String> {
    let (position, status) = first_unfinished_init(pod)?;
    let terminated = at(status, "state.terminated");
    let waiting = text(status, "state.waiting.reason");
    Some(if !terminated.is_null() {
        format!("Init:{}", termination(terminated))
    } else if !waiting.is_empty() && waiting != "PodInitializing" {
        format!("Init:{waiting}")
    } else {
        format!("Init:{position}/{}", items(pod, "spec.initContainers").len())
    })
}

/// Reason of a terminated container, else its signal or exit code.
fn termination(terminated: &Value) -> String {
    let reason = text(terminated, "reason");
    if !reason.is_empty() {
        reason.to_owned()
    } else if number(terminated, "signal") != 0 {
        format!("Signal:{}", number(terminated, "signal"))
    } else {
        format!("ExitCode:{}", number(terminated, "exitCode"))
    }
}

fn status(pod: &Value) -> String {
    let phase = text(pod, "status.phase");
    let own_reason = text(pod, "status.reason");
    let mut status = if own_reason.is_empty() { phase } else { own_reason }.to_owned();
    let condition = |kind: &str| {
        items(pod, "status.conditions")
            .iter()
            .find(|one| text(one, "type") == kind)
    };
    if condition("PodScheduled").is_some_and(|one| text(one, "reason") == "SchedulingGated") {
        "SchedulingGated".clone_into(&mut status);
    }
    if let Some(init) = init_status(pod) {
        status = init;
    } else {
        let mut running = false;
        for container in items(pod, "status.containerStatuses").iter().rev() {
            let waiting = text(container, "state.waiting.reason");
            let terminated = at(container, "state.terminated");
            if !waiting.is_empty() {
                waiting.clone_into(&mut status);
            } else if !terminated.is_null() {
                status = termination(terminated);
            } else if is_running_and_ready(container) {
                running = true;
            }
        }
        if status == "Completed" && running {
            let is_ready = condition("Ready").is_some_and(|one| text(one, "status") == "True");
            if is_ready { "Running" } else { "NotReady" }.clone_into(&mut status);
        }
    }
    let deleting = !at(pod, "metadata.deletionTimestamp").is_null();
    if deleting && own_reason == "NodeLost" {
        "Unknown".clone_into(&mut status);
    } else if deleting && !matches!(phase, "Failed" | "Succeeded") {
        "Terminating".clone_into(&mut status);
    }
    status
}

/// `1/2`: gates whose condition is true.
fn readiness_gates(pod: &Value) -> String {
    let gates = items(pod, "spec.readinessGates");
    if gates.is_empty() {
        return String::new();
    }
    let is_met = |gate: &Value| {
        items(pod, "status.conditions")
            .iter()
            .any(|one| text(one, "type") == text(gate, "conditionType") && text(one, "status") == "True")
    };
    format!(
        "{}/{}",
        gates.iter().filter(|gate| is_met(gate)).count(),
        gates.len()
    )
}
