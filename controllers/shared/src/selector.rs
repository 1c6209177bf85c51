//! Label selectors, parsed once at the edge and then matched without allocation.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::{Error, Result};

/// Longest name part of a label key, and longest label value (source: Kubernetes label syntax).
const LABEL_LENGTH: usize = 63;
/// Longest prefix of a label key (source: RFC 1123 subdomain).
const PREFIX_LENGTH: usize = 253;

/// A parsed label selector. Without requirements it matches everything, see [`Selector::is_empty`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One requirement; all of a selector have to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Selector {
    /// Parses a selector.
    ///
    /// # Errors
    /// A key, value, operator or number of values that the API does not allow (RS-6).
    pub fn parse(selector: &LabelSelector) -> Result<Self> {
        let equalities = selector
            .match_labels
            .iter()
            .flatten()
            .map(|(key, value)| Requirement::new(key, Operator::In, std::slice::from_ref(value), "In"));
        let expressions = selector
            .match_expressions
            .iter()
            .flatten()
            .map(Requirement::parse);
        Ok(Self {
            requirements: equalities.chain(expressions).collect::<Result<_>>()?,
        })
    }

    /// Whether the selector has no requirement. It then matches everything; callers that must not select
    /// everything (DEP-2, RS-69) ask this first.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(labels.get(&requirement.key)))
    }

    /// [`Selector::matches`] for an object; one without labels counts as having none.
    #[must_use]
    pub fn selects(&self, object: &impl kube::Resource) -> bool {
        object
            .meta()
            .labels
            .as_ref()
            .map_or_else(|| self.matches(&BTreeMap::new()), |labels| self.matches(labels))
    }
}

impl Requirement {
    fn parse(raw: &LabelSelectorRequirement) -> Result<Self> {
        let operator = match raw.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => {
                return Err(Error::SelectorOperator {
                    key: raw.key.clone(),
                    operator: raw.operator.clone(),
                });
            }
        };
        Self::new(
            &raw.key,
            operator,
            raw.values.as_deref().unwrap_or_default(),
            &raw.operator,
        )
    }

    fn new(key: &str, operator: Operator, values: &[String], spelled: &str) -> Result<Self> {
        if !is_label_key(key) {
            return Err(Error::SelectorLabel {
                part: "key",
                text: key.to_owned(),
            });
        }
        if let Some(bad) = values.iter().find(|value| !is_label_value(value)) {
            return Err(Error::SelectorLabel {
                part: "value",
                text: bad.clone(),
            });
        }
        let rule = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => Some("needs at least one value"),
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => Some("takes no values"),
            _ => None,
        };
        match rule {
            Some(rule) => Err(Error::SelectorValues {
                key: key.to_owned(),
                operator: spelled.to_owned(),
                rule,
            }),
            None => Ok(Self {
                key: key.to_owned(),
                operator,
                values: values.to_vec(),
            }),
        }
    }

    fn holds(&self, value: Option<&String>) -> bool {
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// Whether `key` may be a label key: `[prefix/]name`.
#[must_use]
pub fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(is_subdomain)
}

/// Whether `value` may be a label value: empty, or at most 63 of `[A-Za-z0-9_.-]` with alphanumeric ends.
#[must_use]
pub fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let ends = [bytes.first(), bytes.last()]
        .into_iter()
        .flatten()
        .all(u8::is_ascii_alphanumeric);
    ends && bytes.len() <= LABEL_LENGTH
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_subdomain(prefix: &str) -> bool {
    prefix.len() <= PREFIX_LENGTH
        && prefix.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: key.to_owned(),
                operator: operator.to_owned(),
                values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
            }]),
            match_labels: None,
        }
    }

    #[rstest]
    #[case("In", &["a", "b"], [true, false, false])]
    #[case("NotIn", &["a", "b"], [false, true, true])]
    #[case("Exists", &[], [true, true, false])]
    #[case("DoesNotExist", &[], [false, false, true])]
    fn rs_13_operators(#[case] operator: &str, #[case] values: &[&str], #[case] want: [bool; 3]) {
        let selector = Selector::parse(&expression("app", operator, values)).unwrap();
        let cases = [
            labels(&[("app", "a")]),
            labels(&[("app", "z")]),
            labels(&[("x", "a")]),
        ];
        assert_eq!(cases.map(|labels| selector.matches(&labels)), want);
    }

    #[test]
    fn rs_13_all_requirements_have_to_hold() {
        let mut both = expression("tier", "Exists", &[]);
        both.match_labels = Some(labels(&[("app", "web")]));
        let selector = Selector::parse(&both).unwrap();
        assert!(selector.matches(&labels(&[("app", "web"), ("tier", "front")])));
        assert!(!selector.matches(&labels(&[("app", "web")])));
    }

    #[test]
    fn dep_2_the_empty_selector_says_so_and_matches_everything() {
        let selector = Selector::parse(&LabelSelector::default()).unwrap();
        assert!(selector.is_empty());
        assert!(selector.matches(&BTreeMap::new()));
    }

    #[rstest]
    #[case(expression("app", "Near", &["a"]), "\"Near\" of key \"app\" is not a valid label selector operator")]
    #[case(expression("app", "In", &[]), "needs at least one value")]
    #[case(expression("app", "Exists", &["a"]), "takes no values")]
    #[case(expression("a b", "Exists", &[]), "is not a valid label key")]
    #[case(expression("UPPER.com/x", "Exists", &[]), "is not a valid label key")]
    #[case(expression("app", "In", &["-a"]), "is not a valid label value")]
    fn rs_6_unparsable_selectors_are_refused(#[case] selector: LabelSelector, #[case] message: &str) {
        let error = Selector::parse(&selector).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
