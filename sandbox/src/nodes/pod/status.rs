//! The status that a kubelet reports for a scene.

use std::hash::Hasher as _;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use rustc_hash::FxHasher;
use serde_json::{Value, json};

use super::scene::{Ended, Progress, Scene, State};
use super::{Container, PodRun, Report, Since, Summary, seconds};

/// The conditions that are ours.
pub(super) const CONDITIONS: [&str; 4] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
];

impl PodRun {
    pub(super) fn report(
        &mut self,
        scene: &Scene,
        host: Ipv4Addr,
        over: bool,
        now: Timestamp,
    ) -> Option<Report> {
        let phase = phase(scene);
        let address = if self.object.host_network {
            Some(host)
        } else {
            self.address
        };
        let (conditions, ready) = self.report_conditions(scene, phase, address.is_some(), over, now);
        let mut status = json!({
            "phase": phase,
            "conditions": conditions,
            "hostIP": host.to_string(),
            "hostIPs": [{ "ip": host.to_string() }],
            "startTime": seconds(self.admitted),
            "containerStatuses": self.statuses(&scene.main, &self.object.main),
        });
        if self.object.generation > 0 {
            set(&mut status, "observedGeneration", json!(self.object.generation));
        }
        if !self.object.init.is_empty() {
            set(
                &mut status,
                "initContainerStatuses",
                self.statuses(&scene.init, &self.object.init),
            );
        }
        if let Some(address) = address {
            set(&mut status, "podIP", json!(address.to_string()));
            let entry = json!({ "ip": address.to_string() });
            // The list is merged by address: a former one has to be taken out by name.
            let former = self.former_address.filter(|former| *former != address);
            let out = former.map(|former| json!({ "$patch": "delete", "ip": former.to_string() }));
            set(&mut status, "podIPs", std::iter::once(entry).chain(out).collect());
        }
        let patch = json!({ "metadata": { "uid": &*self.uid }, "status": status });
        let digest = digest(&patch);
        if self.digest == Some(digest) {
            return None;
        }
        let pod_ip = address.map(|address| address.to_string()).unwrap_or_default();
        self.summary = Summary {
            phase: phase.to_owned(),
            pod_ip,
            ready,
        };
        Some(Report { patch, digest })
    }

    /// The conditions, and whether the pod is ready.
    fn report_conditions(
        &mut self,
        scene: &Scene,
        phase: &str,
        addressed: bool,
        over: bool,
        now: Timestamp,
    ) -> (Vec<Value>, bool) {
        let unready = |list: &[Progress], containers: &[Container]| -> Vec<String> {
            let names = list
                .iter()
                .zip(containers)
                .filter(|(progress, _)| !progress.ready);
            names.map(|(_, container)| container.name.clone()).collect()
        };
        let waiting_for: Vec<String> = [
            unready(&scene.init, &self.object.init),
            unready(&scene.main, &self.object.main),
        ]
        .concat();
        let complete = matches!(phase, "Succeeded" | "Failed");
        let containers_ready = waiting_for.is_empty() && !complete && !over;
        let why = |good: bool| match (good, phase) {
            (true, _) => (Value::Null, Value::Null),
            (false, "Succeeded") => (json!("PodCompleted"), Value::Null),
            (false, "Failed") => (json!("PodFailed"), Value::Null),
            (false, _) => {
                let text = format!("containers with unready status: [{}]", waiting_for.join(" "));
                (json!("ContainersNotReady"), json!(text))
            }
        };
        let gated = containers_ready && !self.object.gates_open;
        let ready = containers_ready && self.object.gates_open;
        let mut rows = [
            (addressed && !over, (Value::Null, Value::Null)),
            (scene.initialized, (Value::Null, Value::Null)),
            (ready, why(containers_ready)),
            (containers_ready, why(containers_ready)),
        ];
        if !scene.initialized {
            let names = unready(&scene.init, &self.object.init).join(" ");
            let text = format!("containers with incomplete status: [{names}]");
            rows[1].1 = (json!("ContainersNotInitialized"), json!(text));
        }
        if gated {
            let text = "a readiness gate of the pod is not true";
            rows[2].1 = (json!("ReadinessGatesNotReady"), json!(text));
        }
        let mut conditions = Vec::with_capacity(5);
        for ((r#type, since), (status, (reason, message))) in
            CONDITIONS.into_iter().zip(self.conditions.iter_mut()).zip(rows)
        {
            let at = match *since {
                Some(known) if known.status == status => known.at,
                _ => now,
            };
            *since = Some(Since { status, at });
            conditions.push(json!({
                "type": r#type,
                "status": if status { "True" } else { "False" },
                "lastTransitionTime": seconds(at),
                "reason": reason,
                "message": message,
            }));
        }
        if let Some(at) = self.scheduled.map(seconds) {
            conditions.push(json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": at }));
        }
        (conditions, ready)
    }

    fn statuses(&self, progress: &[Progress], containers: &[Container]) -> Value {
        let one = |(progress, container): (&Progress, &Container)| {
            let id = |restarts: u32| format!("sandbox://{}/{}/{restarts}", self.uid, container.name);
            let ran = !matches!(progress.state, State::Waiting { .. }) || progress.last.is_some();
            let mut status = json!({
                "name": container.name,
                "image": container.image,
                "imageID": if ran { format!("sandbox://{}", container.image) } else { String::new() },
                "ready": progress.ready,
                "started": progress.started,
                "restartCount": progress.restarts,
                "state": state(&progress.state, &id(progress.restarts)),
                "lastState": {},
            });
            if ran {
                set(&mut status, "containerID", json!(id(progress.restarts)));
            }
            if let Some(last) = progress.last {
                let id = id(progress.restarts.saturating_sub(1));
                set(&mut status, "lastState", state(&State::Ended(last), &id));
            }
            status
        };
        progress.iter().zip(containers).map(one).collect()
    }
}

fn phase(scene: &Scene) -> &'static str {
    match scene.outcome {
        Some(Ended { code: 0, .. }) => "Succeeded",
        Some(_) => "Failed",
        None => {
            let started = |progress: &Progress| progress.is_running() || progress.last.is_some();
            if scene.initialized && scene.main.iter().all(started) {
                "Running"
            } else {
                "Pending"
            }
        }
    }
}

fn state(state: &State, id: &str) -> Value {
    match state {
        State::Waiting {
            reason,
            message: None,
        } => json!({ "waiting": { "reason": reason } }),
        State::Waiting { reason, message } => json!({ "waiting": { "reason": reason, "message": message } }),
        State::Running { since } => json!({ "running": { "startedAt": seconds(*since) } }),
        State::Ended(ended) => json!({ "terminated": {
            "exitCode": ended.code,
            "reason": if ended.code == 0 { "Completed" } else { "Error" },
            "startedAt": seconds(ended.since),
            "finishedAt": seconds(ended.at),
            "containerID": id,
        } }),
    }
}

fn set(object: &mut Value, key: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value);
    }
}

fn digest(value: &Value) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(value.to_string().as_bytes());
    hasher.finish()
}
