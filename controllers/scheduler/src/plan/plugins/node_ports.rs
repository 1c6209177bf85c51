//! `NodePorts`: two pods of a node cannot have the same host port (SCH-87).

use std::borrow::Cow;

use super::{Cycle, Hardness, Hint, NodeFilter, Plugin, PluginName, PreFilter, ReasonSet, Verdict};
use crate::action::reason;
use crate::plan::event::{Event, NodeAspect};
use crate::plan::pod::{HostPort, PodInfo};
use crate::plan::table::{NodeRow, NodeTable};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodePorts;

struct Filter<'a> {
    table: &'a NodeTable,
    wanted: &'a [HostPort],
}

impl NodeFilter for Filter<'_> {
    fn check(&self, row: NodeRow) -> Verdict {
        if self
            .wanted
            .iter()
            .any(|wanted| self.table.ports(row).any(|used| wanted.conflicts_with(used)))
        {
            return Verdict::Reject(Hardness::Unschedulable, ReasonSet::only(0));
        }
        Verdict::Pass
    }

    fn reasons(&self) -> Vec<Cow<'static, str>> {
        vec![reason::NODE_PORTS.into()]
    }
}

impl Plugin for NodePorts {
    fn name(&self) -> PluginName {
        PluginName::NodePorts
    }

    fn prefilter<'a>(&'a self, cycle: Cycle<'a>) -> PreFilter<'a> {
        if cycle.pod.ports.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(Filter {
            table: cycle.table,
            wanted: &cycle.pod.ports,
        }))
    }

    fn hint(&self, pod: &PodInfo, event: &Event) -> Option<Hint> {
        match event {
            Event::PodRemoved(removed) => Some(Hint::queue_if(has_conflict(&pod.ports, &removed.ports))),
            Event::NodeAdded(_)
            | Event::NodeUpdated {
                aspect: NodeAspect::Taint,
                ..
            } => Some(Hint::Queue),
            _ => None,
        }
    }
}

fn has_conflict(wanted: &[HostPort], used: &[HostPort]) -> bool {
    wanted
        .iter()
        .any(|wanted| used.iter().any(|used| wanted.conflicts_with(used)))
}
