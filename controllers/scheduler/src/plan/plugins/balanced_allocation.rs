//! `NodeResourcesBalancedAllocation`: prefers nodes whose use of resources the pod evens out (SCH-98 to SCH-100).

use serde::{Deserialize, Serialize};

use super::node_resources_fit::{Measured, Measures, ResourceWeight, Usage};
use super::{Cycle, NodeScore, Plugin, PluginName, PreScore};
use crate::plan::table::NodeRow;
use crate::plan::units::Score;

/// Arguments of the plugin (`NodeResourcesBalancedAllocationArgs` of a v1 profile).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BalancedAllocationArgs {
    /// Resources to keep in balance; each weight must be 1. Default: cpu and memory.
    pub resources: Vec<ResourceWeight>,
}

impl Default for BalancedAllocationArgs {
    fn default() -> Self {
        Self {
            resources: ResourceWeight::default_resources(),
        }
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct BalancedAllocation {
    args: BalancedAllocationArgs,
}

impl BalancedAllocation {
    /// With the arguments of a profile.
    #[must_use]
    pub fn new(args: BalancedAllocationArgs) -> Self {
        Self { args }
    }
}

struct Scores<'a>(Measures<'a>);

impl NodeScore for Scores<'_> {
    fn score(&self, row: NodeRow) -> Score {
        let resources = self.0.of(row);
        let with_pod = evenness(
            resources
                .clone()
                .map(|resource| fraction(resource.used.saturating_add(resource.request), resource)),
        );
        let without = evenness(resources.map(|resource| fraction(resource.used, resource)));
        Score(50 + (50 + with_pod - without) / 2)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the score is defined in 64-bit floats (SCH-98)"
)]
fn fraction(used: i64, resource: Measured) -> f64 {
    (used as f64 / resource.allocatable as f64).min(1.0)
}

/// 100 for equal fractions, less the more they differ (SCH-99).
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the score is defined in 64-bit floats, truncated (SCH-99)"
)]
fn evenness(fractions: impl Iterator<Item = f64> + Clone) -> i64 {
    let (count, sum) = fractions
        .clone()
        .fold((0_u32, 0.0), |(count, sum), fraction| (count + 1, sum + fraction));
    let deviation = match count {
        0 | 1 => 0.0,
        2 => {
            let mut both = fractions;
            let (first, second) = (both.next().unwrap_or_default(), both.next().unwrap_or_default());
            (first - second).abs() / 2.0
        }
        _ => {
            let mean = sum / f64::from(count);
            let squares: f64 = fractions
                .map(|fraction| (fraction - mean) * (fraction - mean))
                .sum();
            (squares / f64::from(count)).sqrt()
        }
    };
    ((1.0 - deviation) * Score::MAX.0 as f64) as i64
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> PluginName {
        PluginName::BalancedAllocation
    }

    fn is_scoring(&self) -> bool {
        true
    }

    fn prescore<'a>(&'a self, cycle: Cycle<'a>) -> PreScore<'a> {
        let requests = &cycle.pod.demand.request;
        if self
            .args
            .resources
            .iter()
            .all(|resource| requests.amount(&resource.name) == 0)
        {
            return PreScore::Skip;
        }
        PreScore::Score(Box::new(Scores(Measures::new(
            cycle,
            &self.args.resources,
            Usage::Real,
        ))))
    }
}
