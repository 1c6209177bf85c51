//! Label and field selectors of lists and watches (API-220 to API-223).

use std::fmt;

use serde_json::Value;

use crate::{names::GroupKind, validate::gofmt::quote};

/// A selector that does not parse, or a field that cannot be selected; the text is the message of the 400 answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

/// A parsed label selector: all requirements have to hold. The empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Parses the text form: `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a)`, `k`, `!k`, `k>5`, `k<5`; comma is *and*.
    ///
    /// # Errors
    /// If the text is not of that form or a key or value is not a valid label.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { rest: text };
        let mut requirements = Vec::new();
        loop {
            match parser.peek() {
                Token::Word(_) | Token::Not => {}
                Token::End => break,
                other => {
                    return Err(SelectorError(format!(
                        "found '{other}', expected: !, identifier, or 'end of string'"
                    )));
                }
            }
            let requirement = parser.requirement().map_err(|SelectorError(problem)| {
                SelectorError(format!("unable to parse requirement: {problem}"))
            })?;
            requirements.push(requirement);
            match parser.next() {
                Token::End => break,
                Token::Comma => match parser.peek() {
                    Token::Word(_) | Token::Not => {}
                    other => {
                        return Err(SelectorError(format!(
                            "found '{other}', expected: identifier after ','"
                        )));
                    }
                },
                other => {
                    return Err(SelectorError(format!(
                        "found '{other}', expected: ',' or 'end of string'"
                    )));
                }
            }
        }
        Ok(Self { requirements })
    }

    /// The selector of an object's spec: `{matchLabels, matchExpressions}`. `null` matches nothing and is `None`.
    ///
    /// # Errors
    /// If an operator is unknown or its values do not fit.
    pub fn from_value(selector: &Value) -> Result<Option<Self>, SelectorError> {
        let Some(selector) = selector.as_object() else {
            return Ok(None);
        };
        let mut requirements = Vec::new();
        for (key, value) in selector
            .get("matchLabels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement {
                key: key.clone(),
                operator: Operator::In(vec![value]),
            });
        }
        for expression in selector
            .get("matchExpressions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let text = |name: &str| {
                expression
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let values: Vec<String> = expression
                .get("values")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(|value| value.as_str().map(str::to_owned))
                .collect();
            let operator = match (text("operator").as_str(), values.is_empty()) {
                ("In", false) => Operator::In(values),
                ("NotIn", false) => Operator::NotIn(values),
                ("Exists", true) => Operator::Exists,
                ("DoesNotExist", true) => Operator::DoesNotExist,
                (other, _) => {
                    return Err(SelectorError(format!(
                        "{other:?} is not a valid label selector operator"
                    )));
                }
            };
            requirements.push(Requirement {
                key: text("key"),
                operator,
            });
        }
        Ok(Some(Self { requirements }))
    }

    /// Whether the labels (a JSON object of strings, or null) satisfy all requirements.
    #[must_use]
    pub fn matches(&self, labels: &Value) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key).and_then(Value::as_str);
            match &requirement.operator {
                Operator::In(values) => {
                    value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
                }
                Operator::NotIn(values) => {
                    value.is_none_or(|value| values.iter().all(|wanted| wanted != value))
                }
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
                Operator::Greater(bound) => number(value).is_some_and(|value| value > *bound),
                Operator::Less(bound) => number(value).is_some_and(|value| value < *bound),
            }
        })
    }

    /// A part of the compact JSON of every object that is selected, to tell most others apart without parsing them; `None`
    /// if there is none.
    #[must_use]
    pub(crate) fn evidence(&self) -> Option<String> {
        let is_plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        };
        self.requirements.iter().find_map(|requirement| {
            let key = &requirement.key;
            match &requirement.operator {
                Operator::In(values) => match values.as_slice() {
                    [value] if is_plain(key) && is_plain(value) => Some(format!("\"{key}\":\"{value}\"")),
                    _ => None,
                },
                _ => None,
            }
        })
    }

    /// Whether it matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl fmt::Display for LabelSelector {
    /// The text form, requirements sorted by key, as `scale` reports it (API-442) and tables show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<&Requirement> = self.requirements.iter().collect();
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        for (index, requirement) in sorted.into_iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let key = &requirement.key;
            match &requirement.operator {
                Operator::In(values) => match values.as_slice() {
                    [value] => write!(f, "{key}={value}")?,
                    values => write!(f, "{key} in ({})", sorted_join(values))?,
                },
                Operator::NotIn(values) => match values.as_slice() {
                    [value] => write!(f, "{key}!={value}")?,
                    values => write!(f, "{key} notin ({})", sorted_join(values))?,
                },
                Operator::Exists => f.write_str(key)?,
                Operator::DoesNotExist => write!(f, "!{key}")?,
                Operator::Greater(bound) => write!(f, "{key}>{bound}")?,
                Operator::Less(bound) => write!(f, "{key}<{bound}")?,
            }
        }
        Ok(())
    }
}

fn sorted_join(values: &[String]) -> String {
    let mut values: Vec<&str> = values.iter().map(String::as_str).collect();
    values.sort_unstable();
    values.join(",")
}

fn number(value: Option<&str>) -> Option<i64> {
    value.and_then(|value| value.parse().ok())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Comma,
    Open,
    Close,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    End,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Word(word) => word,
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::Not => "!",
            Self::Equals => "=",
            Self::DoubleEquals => "==",
            Self::NotEquals => "!=",
            Self::Greater => ">",
            Self::Less => "<",
            Self::End => "",
        })
    }
}

/// Recursive descent over the text form of a label selector.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        Self { rest: self.rest }.next()
    }

    fn next(&mut self) -> Token<'a> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let symbols = [
            ("!=", Token::NotEquals),
            ("==", Token::DoubleEquals),
            ("=", Token::Equals),
            ("!", Token::Not),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
            (">", Token::Greater),
            ("<", Token::Less),
        ];
        for (symbol, token) in symbols {
            if let Some(rest) = self.rest.strip_prefix(symbol) {
                self.rest = rest;
                return token;
            }
        }
        // A NUL ends the text, as in upstream's lexer.
        if self.rest.is_empty() || self.rest.starts_with('\0') {
            return Token::End;
        }
        let end = self
            .rest
            .find(|c: char| {
                matches!(
                    c,
                    '=' | '!' | '(' | ')' | ',' | '>' | '<' | ' ' | '\t' | '\r' | '\n' | '\0'
                )
            })
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Token::Word(word)
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let negated = self.peek() == Token::Not;
        if negated {
            self.next();
        }
        let key = self.identifier()?.to_owned();
        if let Some(problem) = crate::validate::label_key_problem(&key) {
            return Err(SelectorError(format!(
                "<nil>: Invalid value: {}: {problem}",
                quote(&key)
            )));
        }
        if negated {
            return Ok(Requirement {
                key,
                operator: Operator::DoesNotExist,
            });
        }
        if matches!(self.peek(), Token::Comma | Token::End) {
            return Ok(Requirement {
                key,
                operator: Operator::Exists,
            });
        }
        let operator = match self.next() {
            Token::Equals | Token::DoubleEquals => Operator::In(checked(&key, vec![self.value()?])?),
            Token::NotEquals => Operator::NotIn(checked(&key, vec![self.value()?])?),
            Token::Word("in") => Operator::In(checked(&key, self.values()?)?),
            Token::Word("notin") => Operator::NotIn(checked(&key, self.values()?)?),
            Token::Greater => Operator::Greater(self.bound(&key)?),
            Token::Less => Operator::Less(self.bound(&key)?),
            other => {
                return Err(SelectorError(format!(
                    "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                )));
            }
        };
        Ok(Requirement { key, operator })
    }

    fn identifier(&mut self) -> Result<&'a str, SelectorError> {
        match self.next() {
            Token::Word(word) => Ok(word),
            other => Err(SelectorError(format!("found '{other}', expected: identifier"))),
        }
    }

    fn bound(&mut self, key: &str) -> Result<i64, SelectorError> {
        let value = self.value()?;
        let Ok(bound) = value.parse() else {
            return Err(SelectorError(format!(
                "values[0]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                quote(&value)
            )));
        };
        checked(key, vec![value])?;
        Ok(bound)
    }

    /// A single value; an absent one is the empty string.
    fn value(&mut self) -> Result<String, SelectorError> {
        match self.peek() {
            Token::Comma | Token::End => Ok(String::new()),
            _ => self.identifier().map(str::to_owned),
        }
    }

    /// A list in parentheses, in which a missing value is the empty string.
    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        match self.next() {
            Token::Open => {}
            other => return Err(SelectorError(format!("found '{other}' expected: '('"))),
        }
        if !matches!(self.peek(), Token::Word(_) | Token::Comma | Token::Close) {
            return Err(SelectorError(format!(
                "found '{}', expected: ',', ')' or identifier",
                self.peek()
            )));
        }
        let mut values = Vec::new();
        loop {
            match self.peek() {
                Token::Word(word) => {
                    self.next();
                    values.push(word.to_owned());
                }
                _ => values.push(String::new()),
            }
            match self.next() {
                Token::Comma => {}
                Token::Close => return Ok(values),
                other => {
                    return Err(SelectorError(format!("found '{other}', expected: ',' or ')'")));
                }
            }
        }
    }
}

/// The values, if all of them are label values.
fn checked(key: &str, mut values: Vec<String>) -> Result<Vec<String>, SelectorError> {
    values.sort_unstable();
    values.dedup();
    for (index, value) in values.iter().enumerate() {
        if let Some(problem) = crate::validate::label_value_problem(value) {
            return Err(SelectorError(format!(
                "values[{index}][{key}]: Invalid value: {}: {problem}",
                quote(value)
            )));
        }
    }
    Ok(values)
}

/// A parsed field selector: all terms have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    negated: bool,
}

impl FieldSelector {
    /// Parses the text form: `f=v`, `f==v`, `f!=v`; comma is *and*; `\` escapes `\`, `,` and `=` (API-221).
    ///
    /// # Errors
    /// If a term has no operator or an escape is not one of the three.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = Vec::new();
        // Sorted, which decides on the first error.
        let mut parts = split_terms(text);
        parts.sort_unstable();
        for part in parts {
            if part.is_empty() {
                continue;
            }
            let cannot = || SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'"));
            let (field, operator, value) = split_term(part).ok_or_else(cannot)?;
            let value = unescape(value)?;
            if field.is_empty() && value.is_empty() {
                continue;
            }
            terms.push(Term {
                field: field.to_owned(),
                value,
                negated: operator == "!=",
            });
        }
        Ok(Self { terms })
    }

    /// Fails on the first field that objects of the kind cannot be selected by (API-223). `extra` are the
    /// selectableFields of a custom resource, as paths without the leading dot.
    ///
    /// # Errors
    /// With the message of the 400 answer.
    pub fn check(&self, gk: &GroupKind, extra: &[String]) -> Result<(), SelectorError> {
        let own = own_fields(gk);
        for term in &self.terms {
            let field = term.field.as_str();
            let known = match field {
                "metadata.name" => true,
                "metadata.namespace" => {
                    !(gk.group.is_empty() && matches!(gk.kind.as_ref(), "Node" | "Namespace"))
                }
                _ => own.contains(&field) || extra.iter().any(|path| path == field),
            };
            if known {
                continue;
            }
            return Err(SelectorError(if gk.group == "batch" && gk.kind == "Job" {
                format!("field label {} not supported for Job", quote(field))
            } else if own.is_empty() && extra.is_empty() {
                let field = quote(field);
                format!(
                    "{field} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                )
            } else {
                format!("field label not supported: {field}")
            }));
        }
        Ok(())
    }

    /// Whether the object satisfies all terms. Fields that [`check`](Self::check) would refuse count as empty.
    #[must_use]
    pub fn matches(&self, gk: &GroupKind, object: &Value) -> bool {
        self.terms
            .iter()
            .all(|term| (field(gk, object, &term.field) == term.value) != term.negated)
    }

    /// The value that a field has to equal, if the selector pins it: lets a list by name avoid the scan.
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms
            .iter()
            .find(|term| !term.negated && term.field == field)
            .map(|term| term.value.as_str())
    }

    /// Whether it matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

/// Splits at commas that are not escaped.
fn split_terms(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.extend(text.get(start..index));
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts
}

/// Field, operator and value of a term; the operator is the first one in it.
fn split_term(part: &str) -> Option<(&str, &str, &str)> {
    part.char_indices().find_map(|(index, _)| {
        let rest = part.get(index..)?;
        let operator = ["!=", "==", "="]
            .into_iter()
            .find(|operator| rest.starts_with(operator))?;
        Some((part.get(..index)?, operator, rest.get(operator.len()..)?))
    })
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let invalid = |problem: String| SelectorError(format!("invalid field selector: {problem}"));
    let mut plain = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                other => {
                    let escaped: String = other.into_iter().collect();
                    return Err(invalid(format!("invalid escape sequence: \\{escaped}")));
                }
            },
            ',' | '=' => {
                let code = u32::from(c);
                return Err(invalid(format!("unescaped character in value: {code}")));
            }
            c => plain.push(c),
        }
    }
    Ok(plain)
}

/// Fields by which a kind can be selected besides name and namespace (API-222).
fn own_fields(gk: &GroupKind) -> &'static [&'static str] {
    match (gk.group.as_ref(), gk.kind.as_ref()) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Namespace") => &["status.phase"],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "Event") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("", "ReplicationController") => &["status.replicas"],
        ("batch", "Job") => &["status.successful"],
        _ => &[],
    }
}

/// The text that a field selector compares for `path`; absent fields are their type's zero value.
fn field(gk: &GroupKind, object: &Value, path: &str) -> String {
    let own = (gk.group.as_ref(), gk.kind.as_ref());
    match (own, path) {
        (("", "Event"), "source") => {
            let component = plain(lookup(object, "source.component"));
            if component.is_empty() {
                plain(lookup(object, "reportingComponent"))
            } else {
                component
            }
        }
        // Accepted, and never set: upstream compares the first address as status.podIP alone.
        (("", "Pod"), "status.podIPs") => String::new(),
        (("batch", "Job"), "status.successful") => or_zero(lookup(object, "status.succeeded"), "0"),
        (("", "ReplicationController"), "status.replicas") => or_zero(lookup(object, path), "0"),
        (("", "Pod"), "spec.hostNetwork") | (("", "Node"), "spec.unschedulable") => {
            or_zero(lookup(object, path), "false")
        }
        _ => plain(lookup(object, path)),
    }
}

fn lookup<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(object, |value, member| value.get(member))
}

fn plain(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null | Value::Array(_) | Value::Object(_)) => String::new(),
        Some(scalar) => scalar.to_string(),
    }
}

fn or_zero(value: Option<&Value>, zero: &str) -> String {
    let text = plain(value);
    if text.is_empty() { zero.to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("app=a", "p1")]
    #[case("app==a", "p1")]
    #[case("app!=a", "p2 p3")]
    #[case("app=a,tier=x", "p1")]
    #[case("app=", "")]
    #[case("app in (a,b)", "p1 p2")]
    #[case("app notin (a)", "p2 p3")]
    #[case("app", "p1 p2")]
    #[case("!app", "p3")]
    #[case("app in ()", "")]
    #[case("app in (a),!tier", "")]
    #[case("app>1", "")]
    #[case("n>1,n<5", "p2")]
    #[case("", "p1 p2 p3")]
    fn api_220_label_selector_matches(#[case] text: &str, #[case] want: &str) -> Result<(), SelectorError> {
        let pods = [
            ("p1", json!({"app": "a", "tier": "x"})),
            ("p2", json!({"app": "b", "n": "3"})),
            ("p3", Value::Null),
        ];
        let selector = LabelSelector::parse(text)?;
        let found: Vec<&str> = pods
            .iter()
            .filter(|(_, labels)| selector.matches(labels))
            .map(|(name, _)| *name)
            .collect();
        assert_eq!(found.join(" "), want);
        if let Some(evidence) = selector.evidence() {
            let selected = pods.iter().filter(|(name, _)| found.contains(name));
            for (name, labels) in selected {
                assert!(labels.to_string().contains(&evidence), "{name} has {evidence}");
            }
        }
        Ok(())
    }

    #[rstest]
    #[case("app gt 1")]
    #[case("app>x")]
    #[case("a b")]
    #[case("=x")]
    #[case("a=b=c")]
    #[case("a in b")]
    #[case("a=-x")]
    fn api_220_label_selector_is_refused(#[case] text: &str) {
        assert!(LabelSelector::parse(text).is_err());
    }

    #[test]
    fn api_442_label_selector_prints_sorted() -> Result<(), SelectorError> {
        let selector = json!({"matchLabels": {"z": "1"}, "matchExpressions": [
            {"key": "a", "operator": "In", "values": ["c", "b"]}, {"key": "m", "operator": "DoesNotExist"}]});
        let selector = LabelSelector::from_value(&selector)?.unwrap();
        assert_eq!(selector.to_string(), "a in (b,c),!m,z=1");
        Ok(())
    }

    #[rstest]
    #[case("spec.nodeName=n1,status.phase!=Failed", true)]
    #[case("spec.nodeName==n2", false)]
    #[case("spec.hostNetwork=false", true)]
    #[case("metadata.name=p", true)]
    fn api_222_pod_fields(#[case] text: &str, #[case] want: bool) -> Result<(), SelectorError> {
        let pod =
            json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n1"}, "status": {"phase": "Running"}});
        let gk = GroupKind::new("", "Pod");
        let selector = FieldSelector::parse(text)?;
        selector.check(&gk, &[])?;
        assert_eq!(selector.matches(&gk, &pod), want);
        Ok(())
    }

    #[test]
    fn api_222_event_source_falls_back_to_the_reporting_component() -> Result<(), SelectorError> {
        let gk = GroupKind::new("", "Event");
        let selector = FieldSelector::parse("source=c")?;
        assert!(selector.matches(&gk, &json!({"source": {"component": "c"}})));
        assert!(selector.matches(&gk, &json!({"source": {}, "reportingComponent": "c"})));
        assert!(!selector.matches(
            &gk,
            &json!({"source": {"component": "d"}, "reportingComponent": "c"})
        ));
        Ok(())
    }

    #[test]
    fn api_221_escapes_and_errors() {
        let selector = FieldSelector::parse(r"metadata.name=a\,b\=c\\").unwrap();
        assert_eq!(selector.exact("metadata.name"), Some(r"a,b=c\"));
        let error = FieldSelector::parse("x").unwrap_err();
        assert_eq!(error.to_string(), "invalid selector: 'x'; can't understand 'x'");
    }

    #[test]
    fn api_552_selectable_fields_of_custom_resources() {
        let gk = GroupKind::new("example.com", "Widget");
        let extra = ["spec.color".to_owned()];
        let selector = FieldSelector::parse("spec.color=red").unwrap();
        assert_eq!(selector.check(&gk, &extra), Ok(()));
        assert!(selector.matches(&gk, &json!({"spec": {"color": "red"}})));
        let error = FieldSelector::parse("spec.size=3")
            .unwrap()
            .check(&gk, &extra)
            .unwrap_err();
        assert_eq!(error.to_string(), "field label not supported: spec.size");
    }

    #[test]
    fn api_223_unsupported_fields() {
        let selector = FieldSelector::parse("spec.priority=1").unwrap();
        let error = selector.check(&GroupKind::new("", "Pod"), &[]).unwrap_err();
        assert_eq!(error.to_string(), "field label not supported: spec.priority");
        let selector = FieldSelector::parse("status.replicas=0").unwrap();
        let error = selector
            .check(&GroupKind::new("apps", "Deployment"), &[])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"status.replicas\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }

    proptest::proptest! {
        #[test]
        fn api_220_any_text_parses_or_is_refused(text in "[a-c=!<>(), \\\\.-]{0,24}") {
            if let Ok(selector) = LabelSelector::parse(&text) {
                let again = LabelSelector::parse(&selector.to_string());
                proptest::prop_assert!(again.is_ok(), "{text:?} prints as {selector}");
            }
            let _ = FieldSelector::parse(&text);
        }
    }
}
