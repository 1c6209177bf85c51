//! One scheduling decision as a pure function: nodes, a pod, a profile and a seed in, a [`Decision`] out (SCH-73).
//!
//! Every node is evaluated (SCH-65). The result of a tie is drawn from the seed, so that equal nodes share the load
//! and a recorded decision can be replayed (SCH-70).

pub mod event;
pub mod plugins;
pub mod pod;
pub mod resources;
pub mod selector;
pub mod symbols;
pub mod table;
mod toleration;
pub mod units;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::sync::Arc;

use rustc_hash::FxHasher;
use serde::Serialize;
use steersman_shared::objects::{ObjectKey, Uid};

use self::event::Event;
use self::plugins::{
    AddedAffinity, BalancedAllocation, BalancedAllocationArgs, Cycle, FitArgs, Hardness, Hint, ImageLocality,
    NodeAffinity, NodeName, NodePorts, NodeResourcesFit, NodeUnschedulable, Plugin, PluginName, PreFilter,
    PreScore, ReasonSet, SchedulingGates, TaintToleration, UnsupportedFields,
};
use self::pod::PodInfo;
use self::table::{NodeRow, NodeTable};
use self::units::{Score, Weight};
use crate::action::{FailureText, Why, reason};

/// Arguments of the plugins that have some.
#[derive(Clone, Debug, Default)]
pub struct ProfileArgs {
    /// Of `NodeResourcesFit`.
    pub fit: FitArgs,
    /// Of `NodeResourcesBalancedAllocation`.
    pub balanced: BalancedAllocationArgs,
    /// Of `NodeAffinity`.
    pub added_affinity: AddedAffinity,
}

/// The plugins of a scheduler, in the order in which they are asked, with the weights of their scores.
#[derive(Debug)]
pub struct Profile {
    plugins: Vec<(Box<dyn Plugin>, Weight)>,
    /// Place of each plugin in `plugins`, by [`PluginName::index`].
    by_name: [Option<usize>; PluginName::ALL.len()],
}

impl Profile {
    /// The default profile of kube-scheduler 1.36, as far as its plugins exist here (SCH-56). Pods that need one of
    /// the others are held by [`UnsupportedFields`].
    #[must_use]
    pub fn new(args: ProfileArgs) -> Self {
        let weighted = |weight, plugin| (plugin, Weight(weight));
        let plugins = vec![
            weighted(1, Box::new(SchedulingGates) as Box<dyn Plugin>),
            weighted(1, Box::new(UnsupportedFields)),
            weighted(1, Box::new(NodeUnschedulable)),
            weighted(1, Box::new(NodeName)),
            weighted(3, Box::new(TaintToleration)),
            weighted(2, Box::new(NodeAffinity::new(args.added_affinity))),
            weighted(1, Box::new(NodePorts)),
            weighted(1, Box::new(NodeResourcesFit::new(args.fit))),
            weighted(1, Box::new(BalancedAllocation::new(args.balanced))),
            weighted(1, Box::new(ImageLocality)),
        ];
        let mut by_name = [None; PluginName::ALL.len()];
        for (place, (plugin, _)) in plugins.iter().enumerate() {
            if let Some(known) = by_name.get_mut(plugin.name().index()) {
                *known = Some(place);
            }
        }
        Self { plugins, by_name }
    }

    /// The first plugin that keeps the pod from being tried, with its reason (SCH-16).
    #[must_use]
    pub fn gate(&self, pod: &PodInfo) -> Option<(PluginName, String)> {
        self.plugins()
            .find_map(|plugin| plugin.gate(pod).map(|reason| (plugin.name(), reason)))
    }

    /// What a plugin says of an event (SCH-27); `None` if it does not care or does not exist.
    #[must_use]
    pub fn hint(&self, plugin: PluginName, pod: &PodInfo, event: &Event) -> Option<Hint> {
        let place = self.by_name.get(plugin.index()).copied().flatten()?;
        self.plugins
            .get(place)
            .and_then(|(plugin, _)| plugin.hint(pod, event))
    }

    fn plugins(&self) -> impl Iterator<Item = &dyn Plugin> {
        self.plugins.iter().map(|(plugin, _)| &**plugin)
    }
}

/// What is decided for a pod, with everything that led to it. Rows refer to the table that was looked at.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The pod.
    pub pod: ObjectKey,
    /// Its identity.
    pub uid: Uid,
    /// What a tie was drawn with.
    pub seed: u64,
    /// Number of nodes.
    pub nodes: usize,
    /// The result.
    pub outcome: Outcome,
    /// Feasible and rejected nodes; empty if a plugin rejected the pod before.
    pub filtered: Filtered,
    /// Scores of the feasible nodes; `None` unless there were at least two (SCH-68).
    pub ranking: Option<Ranking>,
}

/// Result of a [`Decision`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The pod goes to this node.
    Place {
        /// Row of the node.
        row: NodeRow,
        /// Its name.
        node: Arc<str>,
        /// Why this one.
        choice: Choice,
    },
    /// A plugin rejected the pod before nodes were looked at (SCH-59).
    Rejected {
        /// The plugin, or those whose restrictions have no node in common.
        plugins: BTreeSet<PluginName>,
        /// Whether preemption may help.
        hardness: Hardness,
        /// Why.
        message: String,
    },
    /// Every node was rejected.
    NoFit {
        /// Plugins that rejected some node.
        plugins: BTreeSet<PluginName>,
    },
    /// There is no node at all (SCH-57).
    NoNodes,
    /// A plugin could not do its work (SCH-67).
    Failed {
        /// The plugin.
        plugin: PluginName,
        /// What went wrong.
        message: String,
    },
}

/// Why a node was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Choice {
    /// The pod was nominated to it and fits; no other node was looked at (SCH-62).
    Nominated,
    /// The only feasible node.
    Only,
    /// Highest total score.
    Best,
    /// Drawn from that many nodes with the highest total.
    Tie(usize),
}

/// Result of the filters.
#[derive(Clone, Debug, Default)]
pub struct Filtered {
    /// Nodes that passed, in row order.
    pub feasible: Vec<NodeRow>,
    rejected: Vec<Rejected>,
    /// Texts of the reasons, by plugin.
    reasons: Vec<(PluginName, Vec<Cow<'static, str>>)>,
    /// Nodes to which plugins restricted the pod, and those plugins (SCH-61).
    restriction: Option<(BTreeSet<Arc<str>>, BTreeSet<PluginName>)>,
    outside: Vec<NodeRow>,
}

/// A rejected node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rejected {
    row: NodeRow,
    by: PluginName,
    hardness: Hardness,
    reasons: ReasonSet,
}

/// Scores of the feasible nodes.
#[derive(Clone, Debug)]
pub struct Ranking {
    /// Scores per plugin, in the order of [`Filtered::feasible`].
    pub columns: Vec<ScoreColumn>,
    /// Plugins that had nothing to say for this pod (SCH-69).
    pub skipped: Vec<PluginName>,
    /// Weighted sums.
    pub totals: Vec<Score>,
}

/// Scores of one plugin.
#[derive(Clone, Debug)]
pub struct ScoreColumn {
    /// The plugin.
    pub plugin: PluginName,
    /// Its factor in the total.
    pub weight: Weight,
    /// As computed.
    pub raw: Vec<Score>,
    /// 0 to 100.
    pub normalised: Vec<Score>,
}

/// Decides where a pod goes. Equal arguments give equal decisions (SINV-13).
#[must_use]
pub fn decide(profile: &Profile, table: &NodeTable, pod: &PodInfo, seed: u64) -> Decision {
    let mut decision = Decision {
        pod: pod.key.clone(),
        uid: pod.uid.clone(),
        seed,
        nodes: table.len(),
        outcome: Outcome::NoNodes,
        filtered: Filtered::default(),
        ranking: None,
    };
    if table.is_empty() {
        return decision;
    }
    let cycle = Cycle { table, pod };
    let prepared = match Prepared::new(profile, cycle) {
        Ok(prepared) => prepared,
        Err(outcome) => {
            decision.outcome = outcome;
            return decision;
        }
    };
    if let Some(row) = pod.nominated.as_ref().and_then(|name| table.row(name))
        && prepared.passes(table, row)
    {
        let node = Arc::clone(table.shared_name(row));
        decision.filtered.feasible.push(row);
        decision.outcome = Outcome::Place {
            row,
            node,
            choice: Choice::Nominated,
        };
        return decision;
    }
    decision.filtered = prepared.filter(table);
    decision.outcome = match decision.filtered.feasible.as_slice() {
        [] => Outcome::NoFit {
            plugins: decision.filtered.rejecting_plugins(),
        },
        [row] => Outcome::Place {
            row: *row,
            node: Arc::clone(table.shared_name(*row)),
            choice: Choice::Only,
        },
        rows => match rank(profile, cycle, rows) {
            Ok(ranking) => {
                let outcome = choose(table, pod, seed, rows, &ranking);
                decision.ranking = Some(ranking);
                outcome
            }
            Err((plugin, message)) => Outcome::Failed { plugin, message },
        },
    };
    decision
}

/// The filters of a cycle.
struct Prepared<'a> {
    filters: Vec<(PluginName, Box<dyn plugins::NodeFilter + 'a>)>,
    restriction: Option<(BTreeSet<Arc<str>>, BTreeSet<PluginName>)>,
}

impl<'a> Prepared<'a> {
    /// Asks every plugin before nodes are looked at (SCH-58).
    fn new(profile: &'a Profile, cycle: Cycle<'a>) -> Result<Self, Outcome> {
        let mut prepared = Self {
            filters: Vec::new(),
            restriction: None,
        };
        let mut rejection = None;
        for plugin in profile.plugins() {
            match plugin.prefilter(cycle) {
                PreFilter::Skip => {}
                PreFilter::Check(filter) => prepared.filters.push((plugin.name(), filter)),
                PreFilter::Restrict(filter, names) => {
                    prepared.filters.push((plugin.name(), filter));
                    prepared.restrict(plugin.name(), names);
                }
                PreFilter::Reject(hardness, message) => {
                    let plugins = BTreeSet::from([plugin.name()]);
                    let outcome = Outcome::Rejected {
                        plugins,
                        hardness,
                        message,
                    };
                    if hardness == Hardness::UnschedulableAndUnresolvable {
                        return Err(outcome);
                    }
                    rejection.get_or_insert(outcome);
                }
            }
        }
        if let Some(outcome) = rejection {
            return Err(outcome);
        }
        match &prepared.restriction {
            Some((names, plugins)) if names.is_empty() => Err(Outcome::Rejected {
                plugins: plugins.clone(),
                hardness: Hardness::UnschedulableAndUnresolvable,
                message: reason::empty_restriction(&plugin_names(plugins)),
            }),
            _ => Ok(prepared),
        }
    }

    fn restrict(&mut self, plugin: PluginName, names: &BTreeSet<Arc<str>>) {
        match &mut self.restriction {
            None => self.restriction = Some((names.clone(), BTreeSet::from([plugin]))),
            Some((known, plugins)) => {
                known.retain(|name| names.contains(name));
                plugins.insert(plugin);
            }
        }
    }

    /// Whether one node passes every filter.
    fn passes(&self, table: &NodeTable, row: NodeRow) -> bool {
        self.restriction
            .as_ref()
            .is_none_or(|(names, _)| names.contains(table.name(row)))
            && self
                .filters
                .iter()
                .all(|(_, filter)| filter.check(row) == plugins::Verdict::Pass)
    }

    /// Judges all nodes, plugin by plugin: a rejected node is not shown to the plugins after (SCH-63).
    fn filter(self, table: &NodeTable) -> Filtered {
        let mut filtered = Filtered::default();
        match &self.restriction {
            None => filtered.feasible = table.rows().to_vec(),
            Some((names, _)) => {
                filtered.feasible = names.iter().filter_map(|name| table.row(name)).collect();
                filtered.feasible.sort_unstable();
                let inside = &filtered.feasible;
                let outside = table
                    .rows()
                    .iter()
                    .filter(|row| inside.binary_search(row).is_err());
                filtered.outside = outside.copied().collect();
            }
        }
        let mut rejected = Vec::new();
        for (by, filter) in &self.filters {
            filter.sift(&mut filtered.feasible, &mut rejected);
            if !rejected.is_empty() {
                filtered.reasons.push((*by, filter.reasons()));
                let by = *by;
                let named = rejected.drain(..);
                filtered
                    .rejected
                    .extend(named.map(|(row, hardness, reasons)| Rejected {
                        row,
                        by,
                        hardness,
                        reasons,
                    }));
            }
        }
        filtered.restriction = self.restriction;
        filtered
    }
}

fn plugin_names(plugins: &BTreeSet<PluginName>) -> Vec<&'static str> {
    let mut names: Vec<_> = plugins.iter().map(|plugin| plugin.as_str()).collect();
    names.sort_unstable();
    names
}

impl Filtered {
    /// Plugins that rejected some node, those that restricted the set of nodes included.
    fn rejecting_plugins(&self) -> BTreeSet<PluginName> {
        let restricting = self.restriction.iter().flat_map(|(_, plugins)| plugins).copied();
        self.reasons
            .iter()
            .map(|(plugin, _)| *plugin)
            .chain(restricting)
            .collect()
    }

    fn texts(&self, rejected: Rejected) -> impl Iterator<Item = &str> {
        let texts = self.reasons.iter().find(|(plugin, _)| *plugin == rejected.by);
        let texts = texts.map(|(_, texts)| texts.as_slice()).unwrap_or_default();
        let named = texts
            .iter()
            .enumerate()
            .filter(move |(index, _)| rejected.reasons.contains(*index));
        named.map(|(_, text)| &**text)
    }

    /// Number of nodes per reason; a node with several reasons counts in each (SCH-163).
    fn counts(&self) -> BTreeMap<String, usize> {
        // Nodes usually share a handful of verdicts: count those first, then spell them out.
        let mut verdicts: Vec<(Rejected, usize)> = Vec::new();
        for rejected in &self.rejected {
            let same = verdicts
                .iter_mut()
                .find(|(known, _)| known.by == rejected.by && known.reasons == rejected.reasons);
            match same {
                Some((_, count)) => *count += 1,
                None => verdicts.push((*rejected, 1)),
            }
        }
        let mut counts = BTreeMap::new();
        for (verdict, count) in verdicts {
            for text in self.texts(verdict) {
                *counts.entry(text.to_owned()).or_default() += count;
            }
        }
        if let Some((_, plugins)) = &self.restriction
            && !self.outside.is_empty()
        {
            counts.insert(
                reason::outside_restriction(&plugin_names(plugins)),
                self.outside.len(),
            );
        }
        counts
    }
}

/// Scores nodes that passed the filters (SCH-69).
///
/// # Errors
/// The plugin that could not score, and why.
pub fn rank(profile: &Profile, cycle: Cycle<'_>, rows: &[NodeRow]) -> Result<Ranking, (PluginName, String)> {
    let mut ranking = Ranking {
        columns: Vec::new(),
        skipped: Vec::new(),
        totals: vec![Score::ZERO; rows.len()],
    };
    for (plugin, weight) in profile.plugins.iter().filter(|(plugin, _)| plugin.is_scoring()) {
        let scores = match plugin.prescore(cycle) {
            PreScore::Skip => {
                ranking.skipped.push(plugin.name());
                continue;
            }
            PreScore::Fail(message) => return Err((plugin.name(), message)),
            PreScore::Score(scores) => scores,
        };
        let raw = scores.score_all(rows);
        let mut normalised = raw.clone();
        scores.normalise(&mut normalised);
        if let Some(score) = normalised
            .iter()
            .find(|score| !(Score::ZERO..=Score::MAX).contains(score))
        {
            return Err((
                plugin.name(),
                format!("score {score} is outside 0 to {}", Score::MAX),
            ));
        }
        for (total, score) in std::iter::zip(&mut ranking.totals, &normalised) {
            *total += weight.of(*score);
        }
        ranking.columns.push(ScoreColumn {
            plugin: plugin.name(),
            weight: *weight,
            raw,
            normalised,
        });
    }
    Ok(ranking)
}

impl Ranking {
    /// Nodes with the highest total.
    pub fn best<'a>(&'a self, rows: &'a [NodeRow]) -> impl Iterator<Item = NodeRow> + 'a {
        let best = self.totals.iter().max().copied().unwrap_or_default();
        std::iter::zip(rows, &self.totals)
            .filter(move |(_, total)| **total == best)
            .map(|(row, _)| *row)
    }
}

/// Takes the best node; of several, the one whose name ranks highest in a hash of seed, pod and name (SCH-70). Row
/// numbers play no part, so that a replay from another history agrees.
fn choose(table: &NodeTable, pod: &PodInfo, seed: u64, rows: &[NodeRow], ranking: &Ranking) -> Outcome {
    let draw = |row: NodeRow| {
        let mut hasher = FxHasher::default();
        hasher.write_u64(seed);
        hasher.write(pod.uid.0.as_bytes());
        hasher.write(table.name(row).as_bytes());
        hasher.finish()
    };
    let ties = ranking.best(rows).count();
    // Two names with one hash are told apart by the names themselves.
    let drawn = ranking
        .best(rows)
        .max_by_key(|row| (draw(*row), std::cmp::Reverse(table.name(*row))));
    match drawn {
        Some(row) => {
            let choice = if ties == 1 {
                Choice::Best
            } else {
                Choice::Tie(ties)
            };
            Outcome::Place {
                row,
                node: Arc::clone(table.shared_name(row)),
                choice,
            }
        }
        None => Outcome::NoNodes,
    }
}

impl Decision {
    /// Text of the failure, `None` if the pod has a node (SCH-163). Nothing is said of preemption: none is attempted.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Place { .. } => None,
            Outcome::NoNodes => Some(reason::NO_NODES.to_owned()),
            Outcome::Rejected { message, .. } => Some(
                FailureText {
                    nodes: self.nodes,
                    why: Why::PreFilter(message),
                }
                .to_string(),
            ),
            Outcome::NoFit { .. } => {
                let counts = self.filtered.counts();
                Some(
                    FailureText {
                        nodes: self.nodes,
                        why: Why::Counts(&counts),
                    }
                    .to_string(),
                )
            }
            Outcome::Failed { plugin, message } => Some(format!("running plugin {plugin}: {message}")),
        }
    }

    /// Plugins whose hints decide when the pod is tried again; none after an error (SCH-20).
    #[must_use]
    pub fn rejecting_plugins(&self) -> BTreeSet<PluginName> {
        match &self.outcome {
            Outcome::NoFit { plugins } | Outcome::Rejected { plugins, .. } => plugins.clone(),
            Outcome::Place { .. } | Outcome::NoNodes | Outcome::Failed { .. } => BTreeSet::new(),
        }
    }

    /// The decision in names instead of rows: what `explain` prints and what is recorded.
    pub fn explain(&self, table: &NodeTable) -> Explanation {
        let name = |row: NodeRow| Arc::clone(table.shared_name(row));
        let mut nodes = BTreeMap::new();
        for row in &self.filtered.feasible {
            nodes.insert(
                name(*row),
                NodeVerdict {
                    verdict: "Pass",
                    plugin: None,
                    reasons: Vec::new(),
                },
            );
        }
        for rejected in &self.filtered.rejected {
            let mut reasons: Vec<String> = self.filtered.texts(*rejected).map(str::to_owned).collect();
            reasons.sort_unstable();
            let plugin = Some(rejected.by);
            nodes.insert(
                name(rejected.row),
                NodeVerdict {
                    verdict: verdict(rejected.hardness),
                    plugin,
                    reasons,
                },
            );
        }
        if let Some((_, plugins)) = &self.filtered.restriction {
            let text = reason::outside_restriction(&plugin_names(plugins));
            for row in &self.filtered.outside {
                let verdict = verdict(Hardness::UnschedulableAndUnresolvable);
                nodes.insert(
                    name(*row),
                    NodeVerdict {
                        verdict,
                        plugin: None,
                        reasons: vec![text.clone()],
                    },
                );
            }
        }
        Explanation {
            pod: self.pod.clone(),
            uid: self.uid.clone(),
            seed: self.seed,
            node: match &self.outcome {
                Outcome::Place { node, .. } => Some(Arc::clone(node)),
                _ => None,
            },
            choice: match &self.outcome {
                Outcome::Place { choice, .. } => Some(*choice),
                _ => None,
            },
            failure: self.failure(),
            rejecting_plugins: self.rejecting_plugins(),
            restricted_to: self.filtered.restriction.as_ref().map(|(names, _)| names.clone()),
            nodes,
            scores: self
                .ranking
                .as_ref()
                .map(|ranking| ranking.explain(table, &self.filtered.feasible)),
            score_skipped: self
                .ranking
                .as_ref()
                .map(|ranking| ranking.skipped.clone())
                .unwrap_or_default(),
        }
    }
}

impl Ranking {
    /// The scores by node name.
    #[must_use]
    pub fn explain(&self, table: &NodeTable, rows: &[NodeRow]) -> BTreeMap<Arc<str>, NodeScores> {
        let mut scores: Vec<NodeScores> = self
            .totals
            .iter()
            .map(|total| NodeScores {
                plugins: BTreeMap::new(),
                total: *total,
            })
            .collect();
        for column in &self.columns {
            let pairs = std::iter::zip(&column.raw, &column.normalised);
            for (node, (raw, norm)) in std::iter::zip(&mut scores, pairs) {
                node.plugins.insert(
                    column.plugin.as_str(),
                    PluginScore {
                        raw: *raw,
                        norm: *norm,
                    },
                );
            }
        }
        std::iter::zip(rows, scores)
            .map(|(row, scores)| (Arc::clone(table.shared_name(*row)), scores))
            .collect()
    }
}

fn verdict(hardness: Hardness) -> &'static str {
    match hardness {
        Hardness::Unschedulable => "Unschedulable",
        Hardness::UnschedulableAndUnresolvable => "UnschedulableAndUnresolvable",
    }
}

/// A [`Decision`] that stands on its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The pod.
    pub pod: ObjectKey,
    /// Its identity.
    pub uid: Uid,
    /// What a tie was drawn with.
    pub seed: u64,
    /// Where the pod goes.
    pub node: Option<Arc<str>>,
    /// Why there.
    pub choice: Option<Choice>,
    /// Why nowhere.
    pub failure: Option<String>,
    /// Plugins whose hints decide when the pod is tried again.
    pub rejecting_plugins: BTreeSet<PluginName>,
    /// Names outside of which no node was looked at.
    pub restricted_to: Option<BTreeSet<Arc<str>>>,
    /// Verdict per node.
    pub nodes: BTreeMap<Arc<str>, NodeVerdict>,
    /// Scores per feasible node, if there was a choice.
    pub scores: Option<BTreeMap<Arc<str>, NodeScores>>,
    /// Score plugins that had nothing to say.
    pub score_skipped: Vec<PluginName>,
}

/// What the filters say of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeVerdict {
    /// `Pass`, `Unschedulable` or `UnschedulableAndUnresolvable`.
    pub verdict: &'static str,
    /// Who rejected it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginName>,
    /// Why, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// Scores of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeScores {
    /// By plugin name.
    pub plugins: BTreeMap<&'static str, PluginScore>,
    /// Weighted sum.
    pub total: Score,
}

/// What one plugin says of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PluginScore {
    /// As computed.
    pub raw: Score,
    /// 0 to 100.
    pub norm: Score,
}
