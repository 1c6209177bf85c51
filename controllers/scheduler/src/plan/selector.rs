//! Node selectors with compiled requirements (SCH-80 to SCH-83).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm,
};

use super::symbols::{Symbol, Symbols};
use super::table::{NodeRow, NodeTable};
use super::units::Score;

/// One requirement on a node label.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
    Greater(String, i64),
    Less(String, i64),
}

/// One requirement on the node's name, the only field that can be selected.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NameRequirement {
    Is(String),
    IsNot(String),
}

/// A term whose requirements all hold for a matching node; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    labels: Vec<Requirement>,
    names: Vec<NameRequirement>,
}

/// Why a term cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermError {
    /// Not one of the six operators.
    #[error("{0:?} is not a valid label selector operator")]
    Operator(String),
    /// The operator wants another number of values.
    #[error("operator {0:?} of key {1:?} has a wrong number of values")]
    Values(String, String),
    /// `Gt` and `Lt` compare integers.
    #[error("value {0:?} of key {1:?} is not an integer")]
    Integer(String, String),
    /// A value that no label can have.
    #[error("value {0:?} of key {1:?} is not a valid label value")]
    LabelValue(String, String),
    /// Only `metadata.name` with `In` or `NotIn` and one value can be selected.
    #[error("field selector on {0:?} is not supported")]
    Field(String),
}

impl Term {
    /// Compiles a term; `Ok(None)` for one without requirements, which matches nothing (SCH-81).
    fn parse(term: &NodeSelectorTerm) -> Result<Option<Self>, TermError> {
        let labels = term.match_expressions.iter().flatten().map(label_requirement);
        let names = term.match_fields.iter().flatten().map(name_requirement);
        let term = Self {
            labels: labels.collect::<Result<_, _>>()?,
            names: names.collect::<Result<_, _>>()?,
        };
        Ok((!term.labels.is_empty() || !term.names.is_empty()).then_some(term))
    }
}

fn label_requirement(requirement: &NodeSelectorRequirement) -> Result<Requirement, TermError> {
    let key = requirement.key.clone();
    let values = requirement.values.clone().unwrap_or_default();
    let wrong_count = |key| TermError::Values(requirement.operator.clone(), key);
    if let Some(value) = values.iter().find(|value| !is_label_value(value)) {
        return Err(TermError::LabelValue(value.clone(), key));
    }
    match requirement.operator.as_str() {
        "In" if !values.is_empty() => Ok(Requirement::In(key, values)),
        "NotIn" if !values.is_empty() => Ok(Requirement::NotIn(key, values)),
        "Exists" if values.is_empty() => Ok(Requirement::Exists(key)),
        "DoesNotExist" if values.is_empty() => Ok(Requirement::DoesNotExist(key)),
        "Gt" | "Lt" => {
            let [value] = values.as_slice() else {
                return Err(wrong_count(key));
            };
            let Ok(limit) = value.parse() else {
                return Err(TermError::Integer(value.clone(), key));
            };
            Ok(if requirement.operator == "Gt" {
                Requirement::Greater(key, limit)
            } else {
                Requirement::Less(key, limit)
            })
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => Err(wrong_count(key)),
        other => Err(TermError::Operator(other.to_owned())),
    }
}

fn name_requirement(requirement: &NodeSelectorRequirement) -> Result<NameRequirement, TermError> {
    match (
        requirement.key.as_str(),
        requirement.operator.as_str(),
        requirement.values.as_deref(),
    ) {
        ("metadata.name", "In", Some([name])) => Ok(NameRequirement::Is(name.clone())),
        ("metadata.name", "NotIn", Some([name])) => Ok(NameRequirement::IsNot(name.clone())),
        _ => Err(TermError::Field(requirement.key.clone())),
    }
}

/// At most 63 letters, digits, `-`, `_` and `.`, a letter or digit at both ends; may be empty.
fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    bytes.len() <= 63
        && ends.into_iter().flatten().all(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Alternatives of which one has to match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms(Vec<Term>);

impl Terms {
    /// Compiles the usable terms; those that cannot be used match nothing (SCH-81).
    #[must_use]
    pub fn parse(selector: &NodeSelector) -> Self {
        Self(
            selector
                .node_selector_terms
                .iter()
                .filter_map(|term| Term::parse(term).ok().flatten())
                .collect(),
        )
    }
}

/// What a pod, or a profile, requires of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequiredNodes {
    /// `spec.nodeSelector`.
    pub labels: BTreeMap<String, String>,
    /// Required node affinity, `None` if there is none.
    pub terms: Option<Terms>,
    /// Whether some term of it cannot be used (SCH-81).
    pub has_unusable_term: bool,
    /// The names to which the required affinity restricts the pod if every term names some (SCH-83).
    pub names: Option<BTreeSet<Arc<str>>>,
}

impl RequiredNodes {
    /// From a pod's node selector and node affinity.
    pub fn parse(labels: Option<&BTreeMap<String, String>>, affinity: Option<&NodeAffinity>) -> Self {
        let required = affinity.and_then(|affinity| {
            affinity
                .required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        Self {
            labels: labels.cloned().unwrap_or_default(),
            terms: required.map(Terms::parse),
            has_unusable_term: required.is_some_and(|selector| {
                selector
                    .node_selector_terms
                    .iter()
                    .any(|term| Term::parse(term).is_err())
            }),
            names: required.and_then(names_of),
        }
    }

    /// Whether every node will do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.terms.is_none()
    }

    /// The same with names and labels replaced by a table's symbols.
    pub(crate) fn resolve(&self, symbols: &Symbols) -> ResolvedNodes {
        let labels = self
            .labels
            .iter()
            .map(|(key, value)| (symbols.find(key), symbols.find(value)));
        ResolvedNodes {
            labels: labels.map(|(key, value)| key.zip(value)).collect(),
            terms: self.terms.as_ref().map(|terms| {
                terms
                    .0
                    .iter()
                    .map(|term| ResolvedTerm::of(term, symbols))
                    .collect()
            }),
        }
    }
}

fn names_of(selector: &NodeSelector) -> Option<BTreeSet<Arc<str>>> {
    if selector.node_selector_terms.is_empty() {
        return None;
    }
    let mut all = BTreeSet::new();
    for term in &selector.node_selector_terms {
        // Read from the raw fields: a term that cannot be used for another reason restricts all the same.
        let mut names: Option<BTreeSet<&str>> = None;
        for field in term.match_fields.iter().flatten() {
            if field.key == "metadata.name" && field.operator == "In" {
                let values: BTreeSet<&str> = field.values.iter().flatten().map(String::as_str).collect();
                names = Some(match names {
                    None => values,
                    Some(names) => names.intersection(&values).copied().collect(),
                });
            }
        }
        all.extend(names?.into_iter().map(Arc::from));
    }
    Some(all)
}

/// Preferred node affinity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreferredNodes {
    terms: Vec<(i64, Term)>,
    /// The first term that cannot be used; it fails the attempt once there is a choice (SCH-86).
    pub error: Option<TermError>,
}

impl PreferredNodes {
    /// Compiles preferred terms; those of weight 0 and those without requirements do not count.
    #[must_use]
    pub fn parse(terms: &[PreferredSchedulingTerm]) -> Self {
        let mut parsed = Self::default();
        for term in terms.iter().filter(|term| term.weight != 0) {
            match Term::parse(&term.preference) {
                Ok(Some(preference)) => parsed.terms.push((i64::from(term.weight), preference)),
                Ok(None) => {}
                Err(error) => {
                    parsed.error.get_or_insert(error);
                }
            }
        }
        parsed
    }

    /// The same with names and labels replaced by a table's symbols.
    pub(crate) fn resolve(&self, symbols: &Symbols) -> Vec<(Score, ResolvedTerm)> {
        self.terms
            .iter()
            .map(|(weight, term)| (Score(*weight), ResolvedTerm::of(term, symbols)))
            .collect()
    }
}

/// [`RequiredNodes`] in the symbols of one table. A string unknown to the table is `None` and equals nothing.
pub(crate) struct ResolvedNodes {
    /// `None` if some pair is on no node.
    labels: Option<Vec<(Symbol, Symbol)>>,
    terms: Option<Vec<ResolvedTerm>>,
}

impl ResolvedNodes {
    pub(crate) fn matches(&self, table: &NodeTable, row: NodeRow) -> bool {
        let Some(labels) = &self.labels else { return false };
        labels
            .iter()
            .all(|(key, value)| table.label(row, *key) == Some(*value))
            && self
                .terms
                .as_ref()
                .is_none_or(|terms| terms.iter().any(|term| term.matches(table, row)))
    }
}

pub(crate) struct ResolvedTerm {
    labels: Vec<ResolvedRequirement>,
    names: Vec<NameRequirement>,
}

enum ResolvedRequirement {
    In(Symbol, Vec<Symbol>),
    NotIn(Symbol, Vec<Symbol>),
    Exists(Symbol),
    DoesNotExist(Symbol),
    Greater(Symbol, i64),
    Less(Symbol, i64),
    /// The key is on no node: absence is all that can be asked for.
    Always,
    Never,
}

impl ResolvedTerm {
    fn of(term: &Term, symbols: &Symbols) -> Self {
        let labels = term
            .labels
            .iter()
            .map(|requirement| resolve_requirement(requirement, symbols));
        Self {
            labels: labels.collect(),
            names: term.names.clone(),
        }
    }

    pub(crate) fn matches(&self, table: &NodeTable, row: NodeRow) -> bool {
        self.labels
            .iter()
            .all(|requirement| requirement.matches(table, row))
            && self.names.iter().all(|requirement| match requirement {
                NameRequirement::Is(name) => table.name(row) == name,
                NameRequirement::IsNot(name) => table.name(row) != name,
            })
    }
}

fn resolve_requirement(requirement: &Requirement, symbols: &Symbols) -> ResolvedRequirement {
    let known = |values: &[String]| values.iter().filter_map(|value| symbols.find(value)).collect();
    let (key, absent) = match requirement {
        Requirement::NotIn(key, _) | Requirement::DoesNotExist(key) => (key, ResolvedRequirement::Always),
        Requirement::In(key, _)
        | Requirement::Exists(key)
        | Requirement::Greater(key, _)
        | Requirement::Less(key, _) => (key, ResolvedRequirement::Never),
    };
    let Some(key) = symbols.find(key) else {
        return absent;
    };
    match requirement {
        Requirement::In(_, values) => ResolvedRequirement::In(key, known(values)),
        Requirement::NotIn(_, values) => ResolvedRequirement::NotIn(key, known(values)),
        Requirement::Exists(_) => ResolvedRequirement::Exists(key),
        Requirement::DoesNotExist(_) => ResolvedRequirement::DoesNotExist(key),
        Requirement::Greater(_, limit) => ResolvedRequirement::Greater(key, *limit),
        Requirement::Less(_, limit) => ResolvedRequirement::Less(key, *limit),
    }
}

impl ResolvedRequirement {
    fn matches(&self, table: &NodeTable, row: NodeRow) -> bool {
        let number = |key| {
            table
                .label(row, key)
                .and_then(|value| table.symbols().as_str(value).parse::<i64>().ok())
        };
        match self {
            Self::In(key, values) => table
                .label(row, *key)
                .is_some_and(|value| values.contains(&value)),
            Self::NotIn(key, values) => table
                .label(row, *key)
                .is_none_or(|value| !values.contains(&value)),
            Self::Exists(key) => table.label(row, *key).is_some(),
            Self::DoesNotExist(key) => table.label(row, *key).is_none(),
            Self::Greater(key, limit) => number(*key).is_some_and(|value| value > *limit),
            Self::Less(key, limit) => number(*key).is_some_and(|value| value < *limit),
            Self::Always => true,
            Self::Never => false,
        }
    }
}
