//! `NodeName`: a pod that names its node goes nowhere else (SCH-75).

use std::borrow::Cow;

use super::{Cycle, Hint, NodeFilter, Plugin, PluginName, PreFilter, Verdict};
use crate::action::reason;
use crate::plan::event::{Event, NodeAspect};
use crate::plan::pod::PodInfo;
use crate::plan::table::{NodeRow, NodeTable};

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeName;

struct Filter<'a> {
    table: &'a NodeTable,
    name: &'a str,
}

impl NodeFilter for Filter<'_> {
    fn check(&self, row: NodeRow) -> Verdict {
        Verdict::unresolvable_unless(self.table.name(row) == self.name)
    }

    fn reasons(&self) -> Vec<Cow<'static, str>> {
        vec![reason::NODE_NAME.into()]
    }
}

impl Plugin for NodeName {
    fn name(&self) -> PluginName {
        PluginName::NodeName
    }

    fn prefilter<'a>(&'a self, cycle: Cycle<'a>) -> PreFilter<'a> {
        match &cycle.pod.node {
            None => PreFilter::Skip,
            Some(name) => PreFilter::Check(Box::new(Filter {
                table: cycle.table,
                name,
            })),
        }
    }

    fn hint(&self, _pod: &PodInfo, event: &Event) -> Option<Hint> {
        match event {
            Event::NodeAdded(_)
            | Event::NodeUpdated {
                aspect: NodeAspect::Taint,
                ..
            } => Some(Hint::Queue),
            _ => None,
        }
    }
}
