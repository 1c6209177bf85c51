//! NodeAffinity: node selector, required and preferred node affinity (SCH-80 to SCH-86).

use std::borrow::Cow;

use k8s_openapi::api::core::v1;

use super::{
    Cycle, Hardness, Hint, NodeFilter, NodeScore, Plugin, PluginName, PreFilter, PreScore, ReasonSet,
    Verdict, normalise_by_maximum, passes_on,
};
use crate::action::reason;
use crate::plan::event::{Event, NodeAspect, NodeView};
use crate::plan::pod::PodInfo;
use crate::plan::selector::{PreferredNodes, RequiredNodes, ResolvedNodes, ResolvedTerm, TermError};
use crate::plan::table::{NodeRow, NodeTable};
use crate::plan::units::Score;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct NodeAffinity {
    added: AddedAffinity,
}

/// Affinity that the profile adds to every pod (`addedAffinity`, SCH-85).
#[derive(Clone, Debug, Default)]
pub struct AddedAffinity {
    required: RequiredNodes,
    preferred: Option<PreferredNodes>,
}

impl AddedAffinity {
    /// Compiles the affinity of a profile.
    ///
    /// # Errors
    /// [`TermError`] for a preferred term that cannot be used.
    pub fn parse(affinity: &v1::NodeAffinity) -> Result<Self, TermError> {
        let preferred = affinity
            .preferred_during_scheduling_ignored_during_execution
            .as_deref();
        let mut added = Self {
            required: RequiredNodes::parse(None, Some(affinity)),
            preferred: preferred.map(PreferredNodes::parse),
        };
        match added
            .preferred
            .as_mut()
            .and_then(|preferred| preferred.error.take())
        {
            Some(error) => Err(error),
            None => Ok(added),
        }
    }
}

impl NodeAffinity {
    /// With what the profile adds.
    #[must_use]
    pub fn new(added: AddedAffinity) -> Self {
        Self { added }
    }
}

struct Filter<'a> {
    table: &'a NodeTable,
    added: Option<ResolvedNodes>,
    required: ResolvedNodes,
}

impl NodeFilter for Filter<'_> {
    fn check(&self, row: NodeRow) -> Verdict {
        let reject = |index| Verdict::Reject(Hardness::UnschedulableAndUnresolvable, ReasonSet::only(index));
        if self
            .added
            .as_ref()
            .is_some_and(|added| !added.matches(self.table, row))
        {
            return reject(1);
        }
        if self.required.matches(self.table, row) {
            Verdict::Pass
        } else {
            reject(0)
        }
    }

    fn reasons(&self) -> Vec<Cow<'static, str>> {
        vec![
            reason::NODE_AFFINITY.into(),
            reason::ENFORCED_NODE_AFFINITY.into(),
        ]
    }
}

struct Scores<'a> {
    table: &'a NodeTable,
    terms: Vec<(Score, ResolvedTerm)>,
}

impl NodeScore for Scores<'_> {
    fn score(&self, row: NodeRow) -> Score {
        let matching = self
            .terms
            .iter()
            .filter(|(_, term)| term.matches(self.table, row));
        matching.map(|(weight, _)| *weight).sum()
    }

    fn normalise(&self, scores: &mut [Score]) {
        normalise_by_maximum(scores);
    }
}

impl Plugin for NodeAffinity {
    fn name(&self) -> PluginName {
        PluginName::NodeAffinity
    }

    fn prefilter<'a>(&'a self, cycle: Cycle<'a>) -> PreFilter<'a> {
        let (pod, symbols) = (&cycle.pod.required, cycle.table.symbols());
        if pod.is_empty() && self.added.required.is_empty() {
            return PreFilter::Skip;
        }
        if pod
            .names
            .as_ref()
            .is_some_and(std::collections::BTreeSet::is_empty)
        {
            return PreFilter::Reject(
                Hardness::UnschedulableAndUnresolvable,
                reason::AFFINITY_TERMS_CONFLICT.to_owned(),
            );
        }
        let added = &self.added.required;
        let filter = Box::new(Filter {
            table: cycle.table,
            added: (!added.is_empty()).then(|| added.resolve(symbols)),
            required: pod.resolve(symbols),
        });
        match &pod.names {
            Some(names) => PreFilter::Restrict(filter, names),
            None => PreFilter::Check(filter),
        }
    }

    fn is_scoring(&self) -> bool {
        true
    }

    fn prescore<'a>(&'a self, cycle: Cycle<'a>) -> PreScore<'a> {
        let stanzas = [self.added.preferred.as_ref(), cycle.pod.preferred.as_ref()];
        if stanzas.iter().all(Option::is_none) {
            return PreScore::Skip;
        }
        let stanzas = stanzas.into_iter().flatten();
        if let Some(error) = stanzas.clone().find_map(|stanza| stanza.error.as_ref()) {
            return PreScore::Fail(error.to_string());
        }
        let terms = stanzas
            .flat_map(|stanza| stanza.resolve(cycle.table.symbols()))
            .collect();
        PreScore::Score(Box::new(Scores {
            table: cycle.table,
            terms,
        }))
    }

    fn hint(&self, pod: &PodInfo, event: &Event) -> Option<Hint> {
        // With a term that cannot be used, upstream does not tell whether the node will do, and tries (SCH-34).
        let may_pass = |view: &NodeView| pod.required.has_unusable_term || passes_on(self, pod, &view.table);
        match event {
            Event::NodeAdded(new) => Some(Hint::queue_if(may_pass(new))),
            Event::NodeUpdated {
                aspect: NodeAspect::Label,
                old,
                new,
            } => Some(Hint::queue_if(!passes_on(self, pod, &old.table) && may_pass(new))),
            Event::NodeUpdated {
                aspect: NodeAspect::Taint,
                ..
            } => Some(Hint::Queue),
            _ => None,
        }
    }
}
