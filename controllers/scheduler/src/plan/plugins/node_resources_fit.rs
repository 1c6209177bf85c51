//! `NodeResourcesFit`: a node has room for what the pod requests (SCH-88 to SCH-93); how full it would be is its score
//! (SCH-94 to SCH-97).

mod score;

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Cycle, Hardness, Hint, NodeFilter, Plugin, PluginName, PreFilter, PreScore, ReasonSet, Verdict, passes_on,
};
use crate::action::reason;
use crate::plan::event::{Event, NodeAspect, NodeView, PodAspect};
use crate::plan::pod::PodInfo;
use crate::plan::resources::Resources;
use crate::plan::symbols::Symbol;
use crate::plan::table::{NodeRow, NodeTable};
use crate::plan::units::Units;

pub(crate) use score::{Measured, Measures, Usage};
pub use score::{RequestedToCapacityRatio, ResourceWeight, ScoringStrategy, ShapePoint, Strategy};

/// Arguments of the plugin (`NodeResourcesFitArgs` of a v1 profile).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FitArgs {
    /// Extended resources that are not checked. Default: none.
    pub ignored_resources: Vec<String>,
    /// Domains of extended resources (`example.com`) that are not checked. Default: none.
    pub ignored_resource_groups: Vec<String>,
    /// How room left is turned into a score. Default: `LeastAllocated` over cpu and memory.
    pub scoring_strategy: ScoringStrategy,
}

impl FitArgs {
    fn ignores(&self, resource: &str) -> bool {
        let domain = resource.split_once('/').map(|(domain, _)| domain);
        self.ignored_resources.iter().any(|ignored| ignored == resource)
            || domain.is_some_and(|domain| {
                self.ignored_resource_groups
                    .iter()
                    .any(|ignored| ignored == domain)
            })
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct NodeResourcesFit {
    args: FitArgs,
}

impl NodeResourcesFit {
    /// With the arguments of a profile.
    #[must_use]
    pub fn new(args: FitArgs) -> Self {
        Self { args }
    }
}

/// Indexes of the reasons of native resources; scalars follow in name order (SCH-93).
const TOO_MANY_PODS: usize = 0;
const CPU: usize = 1;
const MEMORY: usize = 2;
const EPHEMERAL_STORAGE: usize = 3;
const FIRST_SCALAR: usize = 4;

struct Filter<'a> {
    table: &'a NodeTable,
    request: &'a Resources,
    asks_nothing: bool,
    scalars: Vec<WantedScalar>,
}

struct WantedScalar {
    name: Arc<str>,
    /// `None`: no node has it.
    symbol: Option<Symbol>,
    amount: Units,
}

/// Collects shortages; one that even the empty node would have cannot be resolved by preemption (SCH-90).
struct Shortages {
    reasons: ReasonSet,
    hardness: Hardness,
}

impl Shortages {
    fn check(&mut self, index: usize, wanted: i64, allocatable: i64, used: i64) {
        if wanted > 0 && wanted > allocatable.saturating_sub(used) {
            self.reasons.insert(index);
            if wanted > allocatable {
                self.hardness = Hardness::UnschedulableAndUnresolvable;
            }
        }
    }
}

impl NodeFilter for Filter<'_> {
    fn check(&self, row: NodeRow) -> Verdict {
        let table = self.table;
        let mut short = Shortages {
            reasons: ReasonSet::default(),
            hardness: Hardness::Unschedulable,
        };
        if table.pods(row) + Units(1) > table.allowed_pods(row) {
            short.reasons.insert(TOO_MANY_PODS);
        }
        if !self.asks_nothing {
            let (request, allocatable, used) = (self.request, table.allocatable(row), table.used(row));
            short.check(CPU, request.cpu.0, allocatable.cpu.0, used.cpu.0);
            short.check(MEMORY, request.memory.0, allocatable.memory.0, used.memory.0);
            let storage = (
                request.ephemeral_storage.0,
                allocatable.ephemeral_storage.0,
                used.ephemeral_storage.0,
            );
            short.check(EPHEMERAL_STORAGE, storage.0, storage.1, storage.2);
            for (index, wanted) in self.scalars.iter().enumerate() {
                let (allocatable, used) = match wanted.symbol {
                    Some(symbol) => {
                        let scalar = table.scalar(row, symbol);
                        (scalar.allocatable.0, scalar.used.0)
                    }
                    None => (0, 0),
                };
                short.check(FIRST_SCALAR + index, wanted.amount.0, allocatable, used);
            }
        }
        if short.reasons.is_empty() {
            Verdict::Pass
        } else {
            Verdict::Reject(short.hardness, short.reasons)
        }
    }

    fn reasons(&self) -> Vec<Cow<'static, str>> {
        let mut reasons: Vec<Cow<'static, str>> = vec![
            reason::TOO_MANY_PODS.into(),
            reason::insufficient("cpu"),
            reason::insufficient("memory"),
            reason::insufficient("ephemeral-storage"),
        ];
        reasons.extend(
            self.scalars
                .iter()
                .map(|scalar| reason::insufficient(&scalar.name)),
        );
        reasons
    }
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> PluginName {
        PluginName::NodeResourcesFit
    }

    fn prefilter<'a>(&'a self, cycle: Cycle<'a>) -> PreFilter<'a> {
        let request = &cycle.pod.demand.request;
        let wanted = request
            .scalars
            .iter()
            .filter(|(name, amount)| *amount > Units::ZERO && !self.args.ignores(name));
        let scalars = wanted.map(|(name, amount)| WantedScalar {
            name: Arc::clone(name),
            symbol: cycle.table.symbols().find(name),
            amount: *amount,
        });
        PreFilter::Check(Box::new(Filter {
            table: cycle.table,
            request,
            asks_nothing: request.is_empty(),
            scalars: scalars.collect(),
        }))
    }

    fn is_scoring(&self) -> bool {
        true
    }

    fn prescore<'a>(&'a self, cycle: Cycle<'a>) -> PreScore<'a> {
        PreScore::Score(self.args.scoring_strategy.prepare(cycle))
    }

    fn hint(&self, pod: &PodInfo, event: &Event) -> Option<Hint> {
        match event {
            Event::PodRemoved(_)
            | Event::NodeUpdated {
                aspect: NodeAspect::Taint,
                ..
            } => Some(Hint::Queue),
            Event::PodUpdated {
                aspect: PodAspect::ScaleDown,
                old,
                new,
            } => Some(Hint::queue_if(
                new.demand
                    .charge
                    .shrinks_one_of(&old.demand.charge, &pod.demand.request),
            )),
            Event::PendingUpdated {
                aspect: PodAspect::ScaleDown,
                new,
                ..
            } => Some(Hint::queue_if(new.uid == pod.uid)),
            Event::NodeAdded(new) => Some(Hint::queue_if(passes_on(self, pod, &new.table))),
            Event::NodeUpdated {
                aspect: NodeAspect::Allocatable,
                old,
                new,
            } => {
                let grew = has_more_of_what_is_wanted(pod, old, new);
                Some(Hint::queue_if(grew && passes_on(self, pod, &new.table)))
            }
            _ => None,
        }
    }
}

/// Whether the node allows more pods than before or has more of some requested resource.
fn has_more_of_what_is_wanted(pod: &PodInfo, old: &NodeView, new: &NodeView) -> bool {
    let amounts = |view: &NodeView| {
        let status = view.node.status.as_ref();
        crate::plan::resources::allocatable(status.and_then(|status| status.allocatable.as_ref()))
    };
    let ((old, old_pods), (new, new_pods)) = (amounts(old), amounts(new));
    new_pods > old_pods || old.shrinks_one_of(&new, &pod.demand.request)
}
