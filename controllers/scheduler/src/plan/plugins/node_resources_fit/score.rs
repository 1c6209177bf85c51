//! Scoring strategies: how full the node would be with the pod on it.

use serde::{Deserialize, Serialize};

use crate::plan::plugins::{Cycle, NodeScore};
use crate::plan::pod::PodInfo;
use crate::plan::resources::{self, Resources};
use crate::plan::symbols::Symbol;
use crate::plan::table::{NodeRow, NodeTable};
use crate::plan::units::{Score, percent};

/// A resource and its weight among the scored ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceWeight {
    /// Resource name.
    pub name: String,
    /// 1 to 100. Default: 1.
    #[serde(default = "one")]
    pub weight: i64,
}

fn one() -> i64 {
    1
}

impl ResourceWeight {
    /// cpu and memory with weight 1 (kube-scheduler 1.36).
    #[must_use]
    pub fn default_resources() -> Vec<Self> {
        [resources::CPU, resources::MEMORY]
            .map(|name| Self {
                name: name.to_owned(),
                weight: 1,
            })
            .into()
    }
}

/// Which nodes are better: emptier ones, fuller ones, or what a curve says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Strategy {
    /// Emptier nodes (SCH-94).
    #[default]
    LeastAllocated,
    /// Fuller nodes (SCH-95).
    MostAllocated,
    /// As the `shape` says (SCH-96).
    RequestedToCapacityRatio,
}

/// One point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ShapePoint {
    /// Percentage in use, 0 to 100, strictly rising from point to point.
    pub utilization: i64,
    /// 0 to 10.
    pub score: i64,
}

/// Arguments of [`Strategy::RequestedToCapacityRatio`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestedToCapacityRatio {
    /// Points of the curve; at least one.
    pub shape: Vec<ShapePoint>,
}

impl RequestedToCapacityRatio {
    /// Value of the curve, 0 to 100.
    fn at(&self, utilization: i64) -> i64 {
        let mut previous: Option<&ShapePoint> = None;
        for point in &self.shape {
            if utilization <= point.utilization {
                let end = point.score * 10;
                return previous.map_or(end, |previous| {
                    let start = previous.score * 10;
                    let width = point.utilization - previous.utilization;
                    start + (end - start) * (utilization - previous.utilization) / width
                });
            }
            previous = Some(point);
        }
        previous.map_or(0, |last| last.score * 10)
    }
}

/// How room left is turned into a score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScoringStrategy {
    /// Default: `LeastAllocated`.
    #[serde(rename = "type")]
    pub strategy: Strategy,
    /// Resources that count. Default: cpu and memory, weight 1 each.
    pub resources: Vec<ResourceWeight>,
    /// Only with that strategy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_to_capacity_ratio: Option<RequestedToCapacityRatio>,
}

impl Default for ScoringStrategy {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            resources: ResourceWeight::default_resources(),
            requested_to_capacity_ratio: None,
        }
    }
}

impl ScoringStrategy {
    /// The score for one cycle. Each strategy has a loop of its own: the choice is not made per node.
    pub(super) fn prepare<'a>(&'a self, cycle: Cycle<'a>) -> Box<dyn NodeScore + 'a> {
        let measures = Measures::new(cycle, &self.resources, Usage::WithDefaults);
        match (self.strategy, &self.requested_to_capacity_ratio) {
            (Strategy::LeastAllocated, _) => Box::new(Least(measures)),
            (Strategy::MostAllocated, _) => Box::new(Most(measures)),
            (Strategy::RequestedToCapacityRatio, shape) => Box::new(Shaped {
                measures,
                shape: shape.as_ref(),
            }),
        }
    }
}

/// Which usage a score looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    /// Defaults for containers without requests; pod-level requests of the pod ignored (SCH-47, SCH-97).
    WithDefaults,
    /// What is really requested (SCH-98).
    Real,
}

/// The configured resources, with what the pod asks of each.
pub(crate) struct Measures<'a> {
    table: &'a NodeTable,
    usage: Usage,
    resources: Vec<Measure>,
}

#[derive(Clone, Copy)]
enum Kind {
    Cpu,
    Memory,
    EphemeralStorage,
    /// `None`: no node has it.
    Scalar(Option<Symbol>),
}

struct Measure {
    kind: Kind,
    request: i64,
    weight: i64,
}

/// One resource of one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) allocatable: i64,
    /// In use by the pods of the node.
    pub(crate) used: i64,
    /// What the pod adds.
    pub(crate) request: i64,
    pub(crate) weight: i64,
}

impl Measured {
    fn with_pod(self) -> i64 {
        self.used.saturating_add(self.request)
    }
}

impl<'a> Measures<'a> {
    pub(crate) fn new(cycle: Cycle<'a>, weights: &[ResourceWeight], usage: Usage) -> Self {
        let requests = request_of(cycle.pod, usage);
        let resources = weights.iter().filter_map(|weight| {
            let request = requests.amount(&weight.name);
            let kind = match weight.name.as_str() {
                resources::CPU => Kind::Cpu,
                resources::MEMORY => Kind::Memory,
                resources::EPHEMERAL_STORAGE => Kind::EphemeralStorage,
                // A scalar that the pod does not ask for says nothing about its nodes.
                _ if request == 0 => return None,
                name => Kind::Scalar(cycle.table.symbols().find(name)),
            };
            Some(Measure {
                kind,
                request,
                weight: weight.weight,
            })
        });
        Self {
            table: cycle.table,
            usage,
            resources: resources.collect(),
        }
    }

    /// The configured resources that the node has, in configured order.
    pub(crate) fn of(&self, row: NodeRow) -> impl Iterator<Item = Measured> + Clone + '_ {
        let (table, real) = (self.table, self.usage == Usage::Real);
        let (allocatable, used, non_zero) =
            (table.allocatable(row), table.used(row), table.used_non_zero(row));
        let measured = self.resources.iter().map(move |resource| {
            let (allocatable, used) = match resource.kind {
                Kind::Cpu => (allocatable.cpu.0, if real { used.cpu.0 } else { non_zero.cpu.0 }),
                Kind::Memory => (
                    allocatable.memory.0,
                    if real { used.memory.0 } else { non_zero.memory.0 },
                ),
                Kind::EphemeralStorage => (allocatable.ephemeral_storage.0, used.ephemeral_storage.0),
                Kind::Scalar(Some(symbol)) => {
                    let scalar = table.scalar(row, symbol);
                    (scalar.allocatable.0, scalar.used.0)
                }
                Kind::Scalar(None) => (0, 0),
            };
            Measured {
                allocatable,
                used,
                request: resource.request,
                weight: resource.weight,
            }
        });
        measured.filter(|measured| measured.allocatable != 0)
    }
}

fn request_of(pod: &PodInfo, usage: Usage) -> &Resources {
    match usage {
        Usage::WithDefaults => &pod.demand.scored,
        Usage::Real => &pod.demand.request,
    }
}

/// Weighted mean of a value per resource, truncated; 0 if no resource counts.
fn mean(measured: impl Iterator<Item = Measured>, value: impl Fn(Measured) -> i64) -> Score {
    let (sum, weights) = measured.fold((0_i64, 0_i64), |(sum, weights), measured| {
        (sum + measured.weight * value(measured), weights + measured.weight)
    });
    Score(if weights == 0 { 0 } else { sum / weights })
}

struct Least<'a>(Measures<'a>);

impl NodeScore for Least<'_> {
    fn score(&self, row: NodeRow) -> Score {
        mean(self.0.of(row), |measured| {
            let free = measured.allocatable.saturating_sub(measured.with_pod());
            if free < 0 {
                0
            } else {
                percent(free, measured.allocatable)
            }
        })
    }
}

struct Most<'a>(Measures<'a>);

impl NodeScore for Most<'_> {
    fn score(&self, row: NodeRow) -> Score {
        mean(self.0.of(row), |measured| {
            percent(
                measured.with_pod().min(measured.allocatable),
                measured.allocatable,
            )
        })
    }
}

struct Shaped<'a> {
    measures: Measures<'a>,
    shape: Option<&'a RequestedToCapacityRatio>,
}

impl NodeScore for Shaped<'_> {
    fn score(&self, row: NodeRow) -> Score {
        let value = |measured: Measured| {
            let requested = measured.with_pod();
            let utilization = if requested > measured.allocatable {
                100
            } else {
                percent(requested, measured.allocatable)
            };
            self.shape.map_or(0, |shape| shape.at(utilization))
        };
        // Resources of value 0 do not take part in the mean (SCH-96).
        let (sum, weights) =
            self.measures
                .of(row)
                .fold((0_i64, 0_i64), |(sum, weights), measured| match value(measured) {
                    0 => (sum, weights),
                    value => (sum + measured.weight * value, weights + measured.weight),
                });
        // Half away from zero; both are not negative.
        Score(if weights == 0 {
            0
        } else {
            (2 * sum + weights) / (2 * weights)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::below_the_first_point(5, 20)]
    #[case::on_a_point(10, 20)]
    #[case::between(30, 51)]
    #[case::above_the_last_point(95, 10)]
    fn sch_96_curve(#[case] utilization: i64, #[case] want: i64) {
        let point = |utilization, score| ShapePoint { utilization, score };
        let curve = RequestedToCapacityRatio {
            shape: vec![point(10, 2), point(55, 9), point(90, 1)],
        };
        assert_eq!(curve.at(utilization), want);
    }
}
