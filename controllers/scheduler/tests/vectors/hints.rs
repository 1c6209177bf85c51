//! Requeue decisions.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Deserialize;
use serde_json::Value;
use steersman_scheduler::plan::event::{Event, NodeAspect, NodeView, PodAspect};
use steersman_scheduler::plan::plugins::PluginName;
use steersman_scheduler::plan::pod::PodInfo;
use steersman_scheduler::plan::{Profile, ProfileArgs};

use crate::support::{Case, Report};

/// The events that a change means to the plugins here, with their names in the recordings.
fn derived(input: &Input) -> Vec<(String, Event)> {
    let node = |value: &Option<Value>| {
        let node = value
            .as_ref()
            .map(|value| serde_json::from_value::<Node>(value.clone()).unwrap());
        node.map(|node| Arc::new(NodeView::new(Arc::new(node))))
    };
    let pod = |value: &Option<Value>| {
        let pod = value
            .as_ref()
            .map(|value| serde_json::from_value::<Pod>(value.clone()).unwrap());
        pod.map(|pod| Arc::new(PodInfo::new(Arc::new(pod))))
    };
    if input.kind == "Node" {
        return match (node(&input.old), node(&input.new)) {
            (None, Some(new)) => vec![("Add".to_owned(), Event::NodeAdded(new))],
            (Some(_), None) => vec![("Delete".to_owned(), Event::NodeRemoved)],
            (Some(old), Some(new)) => NodeAspect::changed(&old.node, &new.node)
                .into_iter()
                .map(|aspect| {
                    let name = format!("UpdateNode{aspect:?}");
                    (
                        name,
                        Event::NodeUpdated {
                            aspect,
                            old: Arc::clone(&old),
                            new: Arc::clone(&new),
                        },
                    )
                })
                .collect(),
            (None, None) => Vec::new(),
        };
    }
    match (pod(&input.old), pod(&input.new)) {
        (None, Some(new)) => vec![("Add".to_owned(), Event::PodAdded(new))],
        (Some(old), None) => vec![("Delete".to_owned(), Event::PodRemoved(old))],
        (Some(old), Some(new)) => PodAspect::changed(&old, &new)
            .into_iter()
            .map(|aspect| {
                let name = match aspect {
                    PodAspect::Other => "Update".to_owned(),
                    PodAspect::GatesEliminated => "UpdatePodSchedulingGatesEliminated".to_owned(),
                    aspect => format!("UpdatePod{aspect:?}"),
                };
                let (old, new) = (Arc::clone(&old), Arc::clone(&new));
                let event = if input.kind == "Self" {
                    Event::PendingUpdated { aspect, old, new }
                } else {
                    Event::PodUpdated { aspect, old, new }
                };
                (name, event)
            })
            .collect(),
        (None, None) => Vec::new(),
    }
}

/// Compares one case.
pub(crate) fn check(report: &mut Report, case: &Case<Input, Expect>) {
    let label = format!("{} ({})", case.name, case.covers.join(" "));
    if !matches!(case.input.kind.as_str(), "Node" | "AssignedPod" | "Self") {
        return report.skip("hints about a kind that is not watched yet");
    }
    let profile = Profile::new(ProfileArgs::default());
    let pod = PodInfo::new(Arc::new(case.input.pod.clone()));
    let events = derived(&case.input);
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let want: Vec<&str> = case
        .expect
        .events
        .iter()
        .map(|event| event.action.as_str())
        .collect();
    report.same(&label, "events", &names, &want);
    for ((name, event), want) in events.iter().zip(&case.expect.events) {
        for plugin in PluginName::ALL {
            if plugin == PluginName::UnsupportedFields {
                continue;
            }
            let ours = profile.hint(plugin, &pod, event).map(|hint| format!("{hint:?}"));
            let want = want.hints.get(plugin.as_str()).cloned();
            report.same(&label, &format!("hint of {plugin} on {name}"), &ours, &want);
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Input {
    pod: Pod,
    kind: String,
    old: Option<Value>,
    new: Option<Value>,
}

#[derive(Deserialize)]
pub(crate) struct Expect {
    events: Vec<HintEvent>,
}

#[derive(Deserialize)]
struct HintEvent {
    action: String,
    hints: BTreeMap<String, String>,
}
