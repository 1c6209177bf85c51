//! Plugins: what each says of a node, of a pod before any node is looked at, and of a change in the cluster.

mod balanced_allocation;
mod image_locality;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_fit;
mod node_unschedulable;
mod scheduling_gates;
mod taint_toleration;
mod unsupported;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::event::Event;
use super::pod::PodInfo;
use super::table::{NodeRow, NodeTable};
use super::units::Score;

pub use balanced_allocation::{BalancedAllocation, BalancedAllocationArgs};
pub use image_locality::ImageLocality;
pub use node_affinity::{AddedAffinity, NodeAffinity};
pub use node_name::NodeName;
pub use node_ports::NodePorts;
pub use node_resources_fit::{
    FitArgs, NodeResourcesFit, RequestedToCapacityRatio, ResourceWeight, ScoringStrategy, ShapePoint,
    Strategy,
};
pub use node_unschedulable::NodeUnschedulable;
pub use scheduling_gates::SchedulingGates;
pub use taint_toleration::TaintToleration;
pub use unsupported::UnsupportedFields;

/// The plugins of this crate, under upstream's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PluginName {
    /// Holds pods with scheduling gates back (SCH-17).
    SchedulingGates,
    /// Holds pods back that no other plugin can judge; ours alone.
    UnsupportedFields,
    /// SCH-74.
    NodeUnschedulable,
    /// SCH-75.
    NodeName,
    /// SCH-76 to SCH-79.
    TaintToleration,
    /// SCH-80 to SCH-86.
    NodeAffinity,
    /// SCH-87.
    NodePorts,
    /// SCH-88 to SCH-97.
    NodeResourcesFit,
    /// SCH-98 to SCH-100.
    BalancedAllocation,
    /// SCH-101, SCH-102.
    ImageLocality,
}

impl PluginName {
    /// Every plugin.
    pub const ALL: [Self; 10] = [
        Self::SchedulingGates,
        Self::UnsupportedFields,
        Self::NodeUnschedulable,
        Self::NodeName,
        Self::TaintToleration,
        Self::NodeAffinity,
        Self::NodePorts,
        Self::NodeResourcesFit,
        Self::BalancedAllocation,
        Self::ImageLocality,
    ];

    /// Name in configuration, messages and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SchedulingGates => "SchedulingGates",
            Self::UnsupportedFields => "UnsupportedFields",
            Self::NodeUnschedulable => "NodeUnschedulable",
            Self::NodeName => "NodeName",
            Self::TaintToleration => "TaintToleration",
            Self::NodeAffinity => "NodeAffinity",
            Self::NodePorts => "NodePorts",
            Self::NodeResourcesFit => "NodeResourcesFit",
            Self::BalancedAllocation => "NodeResourcesBalancedAllocation",
            Self::ImageLocality => "ImageLocality",
        }
    }

    /// Position in [`Self::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The plugin of that name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plugin| plugin.as_str() == name)
    }
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for PluginName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What a plugin looks at in one scheduling cycle.
#[derive(Clone, Copy, Debug)]
pub struct Cycle<'a> {
    /// All nodes.
    pub table: &'a NodeTable,
    /// The pod to place.
    pub pod: &'a PodInfo,
}

/// Whether removing other pods could turn a rejection around.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Hardness {
    /// Preemption may help.
    Unschedulable,
    /// Preemption does not help.
    UnschedulableAndUnresolvable,
}

/// Why a node was rejected: indexes into [`NodeFilter::reasons`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReasonSet(u64);

impl ReasonSet {
    /// The last index; a plugin with more reasons lets it stand for all further ones.
    pub const LAST: usize = 63;

    /// Only the reason of that index.
    #[must_use]
    pub fn only(index: usize) -> Self {
        let mut set = Self::default();
        set.insert(index);
        set
    }

    /// Adds a reason.
    pub fn insert(&mut self, index: usize) {
        self.0 |= 1 << index.min(Self::LAST);
    }

    /// Whether no reason was added.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the reason of that index was added.
    #[must_use]
    pub fn contains(self, index: usize) -> bool {
        index <= Self::LAST && self.0 & (1 << index) != 0
    }
}

/// What a filter says of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pod may go there.
    Pass,
    /// It may not.
    Reject(Hardness, ReasonSet),
}

impl Verdict {
    /// A rejection for the plugin's only reason that no preemption turns around, unless `passes`.
    pub(crate) fn unresolvable_unless(passes: bool) -> Self {
        if passes {
            Self::Pass
        } else {
            Self::Reject(Hardness::UnschedulableAndUnresolvable, ReasonSet::only(0))
        }
    }
}

/// A plugin's filter, prepared for one cycle.
pub trait NodeFilter {
    /// Judges one node. No allocation (STY-84).
    fn check(&self, row: NodeRow) -> Verdict;

    /// Texts of the reasons, by index.
    fn reasons(&self) -> Vec<Cow<'static, str>>;

    /// Removes the rows that do not pass and notes why. Judging all rows behind one dynamic call keeps the inner loop
    /// static.
    fn sift(&self, rows: &mut Vec<NodeRow>, rejected: &mut Vec<(NodeRow, Hardness, ReasonSet)>) {
        rows.retain(|row| match self.check(*row) {
            Verdict::Pass => true,
            Verdict::Reject(hardness, reasons) => {
                rejected.push((*row, hardness, reasons));
                false
            }
        });
    }
}

/// A plugin's score, prepared for one cycle.
pub trait NodeScore {
    /// Raw score of one node. No allocation (STY-84).
    fn score(&self, row: NodeRow) -> Score;

    /// Brings the raw scores of all feasible nodes into 0..=100; most are there already (SCH-69).
    fn normalise(&self, _scores: &mut [Score]) {}

    /// Raw scores of all rows, in their order.
    fn score_all(&self, rows: &[NodeRow]) -> Vec<Score> {
        rows.iter().map(|row| self.score(*row)).collect()
    }
}

/// What a plugin says of a pod before any node is looked at (SCH-58).
pub enum PreFilter<'a> {
    /// The plugin has nothing to check for this pod.
    Skip,
    /// Every node has to pass the filter.
    Check(Box<dyn NodeFilter + 'a>),
    /// The same, and no node outside the set comes into question (SCH-61).
    Restrict(Box<dyn NodeFilter + 'a>, &'a BTreeSet<Arc<str>>),
    /// No node comes into question.
    Reject(Hardness, String),
}

/// What a plugin says before feasible nodes are scored (SCH-69).
pub enum PreScore<'a> {
    /// The plugin does not contribute to this pod's scores.
    Skip,
    /// It does.
    Score(Box<dyn NodeScore + 'a>),
    /// The attempt fails.
    Fail(String),
}

/// Whether an event is a reason to try a rejected pod again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// It is.
    Queue,
    /// The pod would be rejected again.
    Skip,
}

impl Hint {
    /// [`Hint::Queue`] exactly if `queue`.
    pub(crate) fn queue_if(queue: bool) -> Self {
        if queue { Self::Queue } else { Self::Skip }
    }
}

/// One scheduling rule. Every method is pure; a plugin implements what concerns it.
pub trait Plugin: Send + Sync + fmt::Debug {
    /// Its name.
    fn name(&self) -> PluginName;

    /// Why the pod may not even be tried, `None` if it may (SCH-16).
    fn gate(&self, _pod: &PodInfo) -> Option<String> {
        None
    }

    /// Prepares the filter.
    fn prefilter<'a>(&'a self, _cycle: Cycle<'a>) -> PreFilter<'a> {
        PreFilter::Skip
    }

    /// Whether the plugin scores at all; one that does not is not asked.
    fn is_scoring(&self) -> bool {
        false
    }

    /// Prepares the score.
    fn prescore<'a>(&'a self, _cycle: Cycle<'a>) -> PreScore<'a> {
        PreScore::Skip
    }

    /// Whether an event may make a pod fit that this plugin rejected or gated; `None` if the plugin is not concerned
    /// by such events (SCH-27, SCH-29, SCH-34).
    fn hint(&self, _pod: &PodInfo, _event: &Event) -> Option<Hint> {
        None
    }
}

/// Whether the plugin lets the pod onto the only node of a one-row table.
pub(crate) fn passes_on(plugin: &dyn Plugin, pod: &PodInfo, table: &NodeTable) -> bool {
    let Some(row) = table.rows().first().copied() else {
        return false;
    };
    match plugin.prefilter(Cycle { table, pod }) {
        PreFilter::Skip => true,
        PreFilter::Check(filter) => filter.check(row) == Verdict::Pass,
        PreFilter::Restrict(filter, names) => {
            names.contains(table.name(row)) && filter.check(row) == Verdict::Pass
        }
        PreFilter::Reject(..) => false,
    }
}

/// Scales scores to 0..=100 by their maximum. All zero stays all zero.
pub(crate) fn normalise_by_maximum(scores: &mut [Score]) {
    let Some(maximum) = scores
        .iter()
        .max()
        .copied()
        .filter(|maximum| *maximum > Score::ZERO)
    else {
        return;
    };
    for score in scores {
        *score = Score(super::units::percent(score.0, maximum.0));
    }
}

/// The same, with the lowest score becoming the best. All zero becomes all 100.
pub(crate) fn normalise_by_maximum_reversed(scores: &mut [Score]) {
    normalise_by_maximum(scores);
    for score in scores {
        *score = Score::MAX - *score;
    }
}
