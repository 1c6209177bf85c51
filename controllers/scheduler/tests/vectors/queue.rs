//! Traces of the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Deserialize;
use steersman_scheduler::plan::event::{Event, NodeView};
use steersman_scheduler::plan::plugins::PluginName;
use steersman_scheduler::plan::pod::PodInfo;
use steersman_scheduler::plan::{Profile, ProfileArgs};
use steersman_scheduler::queue::{Attempt, Backoff, Place, Queue};
use steersman_shared::objects::Uid;

use crate::support::{Case, Report};

/// Plays one trace.
pub(crate) fn check(report: &mut Report, case: &Case<Input, Expect>) {
    let profile = Profile::new(ProfileArgs::default());
    let mut queue = Queue::new(Backoff::default());
    let mut now = case.input.start;
    let mut names: BTreeMap<Uid, String> = BTreeMap::new();
    let mut in_flight: BTreeMap<String, Attempt> = BTreeMap::new();
    for (index, step) in case.expect.steps.iter().enumerate() {
        let label = format!(
            "{} ({}) step {index} {}",
            case.name,
            case.covers.join(" "),
            step.op
        );
        let pod = step
            .pod
            .as_ref()
            .map(|pod| Arc::new(PodInfo::new(Arc::new(pod.clone()))));
        if let Some(pod) = &pod {
            names.insert(pod.uid.clone(), pod.key.name.to_string());
        }
        let pass = SignedDuration::from_millis(step.ms.unwrap_or_default());
        match step.op.as_str() {
            "add" => {
                queue.add(pod.unwrap(), now, &profile);
                now += pass;
            }
            "pop" => {
                let attempt = queue.pop(now);
                let name = attempt.as_ref().map(|attempt| attempt.pod.key.name.to_string());
                report.same(&label, "popped", &name, &step.popped);
                if let Some(attempt) = attempt {
                    in_flight.insert(attempt.pod.key.name.to_string(), attempt);
                }
            }
            "fail" => {
                let attempt = in_flight.remove(step.name.as_deref().unwrap()).unwrap();
                let latest = Arc::clone(&attempt.pod);
                let rejected_by = step
                    .rejected_by
                    .iter()
                    .map(|name| PluginName::find(name).unwrap())
                    .collect();
                queue.fail(attempt, latest, rejected_by, now, &profile);
                now += pass;
            }
            "nodeAdd" => {
                let node = Arc::new(step.node.clone().unwrap());
                queue.wake(&Event::NodeAdded(Arc::new(NodeView::new(node))), now, &profile);
            }
            "boundPodDelete" => {
                queue.wake(&Event::PodRemoved(pod.unwrap()), now, &profile);
            }
            "update" => {
                queue.update(pod.unwrap(), now, &profile);
                now += pass;
            }
            "advanceAndFlush" => {
                now += pass;
                queue.flush_backoff(now);
            }
            "advanceAndFlushUnschedulable" => {
                now += pass;
                queue.flush_parked(now, &profile);
            }
            other => panic!("{label}: unknown step {other}"),
        }
        let mut ours = State::default();
        for (uid, place) in queue.places() {
            let list = match place {
                Place::Active => &mut ours.active,
                Place::Backoff | Place::ErrorBackoff => &mut ours.backoff,
                Place::Unschedulable | Place::Gated => &mut ours.unschedulable,
                Place::InFlight => &mut ours.in_flight,
            };
            list.insert(names[uid].clone());
        }
        report.same(&label, "state", &ours, &step.state);
    }
}

#[derive(Deserialize)]
pub(crate) struct Input {
    start: Timestamp,
}

#[derive(Deserialize)]
pub(crate) struct Expect {
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Step {
    op: String,
    pod: Option<Pod>,
    node: Option<Node>,
    popped: Option<String>,
    name: Option<String>,
    #[serde(default)]
    rejected_by: Vec<String>,
    ms: Option<i64>,
    state: State,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
struct State {
    active: BTreeSet<String>,
    backoff: BTreeSet<String>,
    unschedulable: BTreeSet<String>,
    in_flight: BTreeSet<String>,
}
