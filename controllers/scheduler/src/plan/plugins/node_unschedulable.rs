//! `NodeUnschedulable`: cordoned nodes take no pods (SCH-74).

use std::borrow::Cow;

use k8s_openapi::api::core::v1::Taint;

use super::{Cycle, Hint, NodeFilter, Plugin, PluginName, PreFilter, Verdict};
use crate::action::reason;
use crate::plan::event::{Event, NodeAspect, NodeView, PodAspect};
use crate::plan::pod::PodInfo;
use crate::plan::table::{NodeRow, NodeTable};
use crate::plan::toleration;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeUnschedulable;

struct Filter<'a> {
    table: &'a NodeTable,
}

impl NodeFilter for Filter<'_> {
    fn check(&self, row: NodeRow) -> Verdict {
        Verdict::unresolvable_unless(!self.table.is_unschedulable(row))
    }

    fn reasons(&self) -> Vec<Cow<'static, str>> {
        vec![reason::NODE_UNSCHEDULABLE.into()]
    }
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> PluginName {
        PluginName::NodeUnschedulable
    }

    fn prefilter<'a>(&'a self, cycle: Cycle<'a>) -> PreFilter<'a> {
        if is_tolerated(cycle.pod) {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(Filter { table: cycle.table }))
    }

    fn hint(&self, pod: &PodInfo, event: &Event) -> Option<Hint> {
        match event {
            Event::NodeAdded(new) => Some(Hint::queue_if(!is_unschedulable(new))),
            Event::NodeUpdated {
                aspect: NodeAspect::Taint,
                old,
                new,
            } => Some(Hint::queue_if(is_unschedulable(old) && !is_unschedulable(new))),
            Event::PendingUpdated {
                aspect: PodAspect::Toleration,
                new,
                ..
            } => Some(Hint::queue_if(new.uid == pod.uid && is_tolerated(new))),
            _ => None,
        }
    }
}

/// Whether the pod may go to cordoned nodes.
fn is_tolerated(pod: &PodInfo) -> bool {
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: toleration::NO_SCHEDULE.to_owned(),
        ..Taint::default()
    };
    toleration::is_tolerated(&taint, &pod.tolerations)
}

fn is_unschedulable(view: &NodeView) -> bool {
    view.node
        .spec
        .as_ref()
        .and_then(|spec| spec.unschedulable)
        .unwrap_or_default()
}
