//! TaintToleration: hard taints keep pods off, soft taints make a node less attractive (SCH-76 to SCH-79).

use std::borrow::Cow;

use super::{
    Cycle, Hint, NodeFilter, NodeScore, Plugin, PluginName, PreFilter, PreScore, Verdict,
    normalise_by_maximum_reversed, passes_on,
};
use crate::action::reason;
use crate::plan::event::{Event, NodeAspect, PodAspect};
use crate::plan::pod::PodInfo;
use crate::plan::table::{NodeRow, NodeTable, PerTaintSet};
use crate::plan::toleration;
use crate::plan::units::Score;

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaintToleration;

struct Filter<'a> {
    table: &'a NodeTable,
    passes: PerTaintSet<bool>,
}

impl NodeFilter for Filter<'_> {
    fn check(&self, row: NodeRow) -> Verdict {
        let passes = |set| self.passes.get(set).copied().unwrap_or_default();
        Verdict::unresolvable_unless(self.table.taint_set(row).is_none_or(passes))
    }

    fn reasons(&self) -> Vec<Cow<'static, str>> {
        vec![reason::UNTOLERATED_TAINT.into()]
    }
}

struct Scores<'a> {
    table: &'a NodeTable,
    untolerated: PerTaintSet<i64>,
}

impl NodeScore for Scores<'_> {
    fn score(&self, row: NodeRow) -> Score {
        let count = self
            .table
            .taint_set(row)
            .and_then(|set| self.untolerated.get(set));
        Score(count.copied().unwrap_or_default())
    }

    fn normalise(&self, scores: &mut [Score]) {
        normalise_by_maximum_reversed(scores);
    }
}

impl Plugin for TaintToleration {
    fn name(&self) -> PluginName {
        PluginName::TaintToleration
    }

    fn prefilter<'a>(&'a self, cycle: Cycle<'a>) -> PreFilter<'a> {
        let passes = cycle.table.per_taint_set(|taints| {
            let mut hard = taints.iter().filter(|taint| toleration::is_hard(taint));
            hard.all(|taint| toleration::is_tolerated(taint, &cycle.pod.tolerations))
        });
        PreFilter::Check(Box::new(Filter {
            table: cycle.table,
            passes,
        }))
    }

    fn is_scoring(&self) -> bool {
        true
    }

    fn prescore<'a>(&'a self, cycle: Cycle<'a>) -> PreScore<'a> {
        let untolerated = cycle
            .table
            .per_taint_set(|taints| toleration::untolerated_soft(taints, &cycle.pod.tolerations));
        PreScore::Score(Box::new(Scores {
            table: cycle.table,
            untolerated,
        }))
    }

    fn hint(&self, pod: &PodInfo, event: &Event) -> Option<Hint> {
        match event {
            Event::NodeAdded(new) => Some(Hint::queue_if(passes_on(self, pod, &new.table))),
            Event::NodeUpdated {
                aspect: NodeAspect::Taint,
                old,
                new,
            } => Some(Hint::queue_if(
                !passes_on(self, pod, &old.table) && passes_on(self, pod, &new.table),
            )),
            Event::PendingUpdated {
                aspect: PodAspect::Toleration,
                new,
                ..
            } => Some(Hint::queue_if(new.uid == pod.uid)),
            _ => None,
        }
    }
}
