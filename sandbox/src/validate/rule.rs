//! Rules as table rows: a member, and what has to hold for it.

use std::fmt;

use serde_json::Value;

use super::{error::FieldError, text::Problems};

/// Where in an object a rule looks: a chain on the stack, rendered only when something is wrong.
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Root,
    Member(&'a str),
    Item(usize),
    Key(&'a str),
}

impl<'a> Path<'a> {
    /// The path without its last step.
    pub(crate) fn parent(&self) -> Option<&'a Path<'a>> {
        self.parent
    }
}

impl Path<'_> {
    pub(crate) const fn root() -> Self {
        Self {
            parent: None,
            step: Step::Root,
        }
    }

    /// `spec` → `spec.replicas`
    pub(crate) fn member<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path {
            parent: Some(self),
            step: Step::Member(name),
        }
    }

    /// `spec.ports` → `spec.ports[0]`
    pub(crate) fn item(&self, index: usize) -> Path<'_> {
        Path {
            parent: Some(self),
            step: Step::Item(index),
        }
    }

    /// `data` → `data[key]`
    pub(crate) fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    fn is_root(&self) -> bool {
        matches!(self.step, Step::Root)
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Member(name) if self.parent.is_none_or(Path::is_root) => f.write_str(name),
            Step::Member(name) => write!(f, ".{name}"),
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key}]"),
        }
    }
}

/// What has to hold for the member that a [`Row`] names. Except for the `Required` ones and [`With`](Self::With), an
/// absent member satisfies everything.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// Present and not empty (`""`, `[]`, 0).
    Required,
    /// The same, with a reason after `Required value: `.
    RequiredBecause(&'static str),
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// An integer in this range.
    Between(i64, i64),
    /// An integer that is not negative.
    NotNegative,
    /// A string of this format.
    Text(fn(&str) -> Problems),
    /// Strings of this format, each reported at its index.
    EachText(fn(&str) -> Problems),
    /// A map of label keys to label values, reported at the map.
    Labels,
    /// No two elements have the same value of this member; reported at that member of the second.
    UniqueBy(&'static str),
    /// An object that obeys the rows.
    Members(Table),
    /// A list of objects that obey the rows.
    Items(Table),
    /// Code, given the value, or null if absent.
    With(fn(&mut Report, &Path<'_>, &Value)),
}

/// One rule. The member `""` is the object itself, for rules that relate several members.
#[derive(Clone, Copy)]
pub(super) struct Row(pub(super) &'static str, pub(super) Check);

/// Rules of one type, in the order in which errors are reported.
pub(super) type Table = &'static [Row];

/// The errors found so far.
#[derive(Default)]
pub(super) struct Report {
    pub(super) errors: Vec<FieldError>,
}

static NULL: Value = Value::Null;

/// Absent, null, empty or zero: what does not count as set.
pub(super) fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) | Value::Object(_) => false,
    }
}

impl Report {
    pub(super) fn push(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    pub(super) fn required(&mut self, path: &Path<'_>, detail: &str) {
        self.push(FieldError::required(path.to_string(), detail));
    }

    pub(super) fn invalid(&mut self, path: &Path<'_>, value: &Value, problem: &str) {
        self.push(FieldError::invalid(path.to_string(), value, problem));
    }

    pub(super) fn forbidden(&mut self, path: &Path<'_>, detail: &str) {
        self.push(FieldError::forbidden(path.to_string(), detail));
    }

    pub(super) fn duplicate(&mut self, path: &Path<'_>, value: &Value) {
        self.push(FieldError::duplicate(path.to_string(), value));
    }

    pub(super) fn not_supported(&mut self, path: &Path<'_>, value: &Value, supported: &[&str]) {
        self.push(FieldError::not_supported(path.to_string(), value, supported));
    }

    /// One `Invalid value` per problem of a text.
    pub(super) fn problems(&mut self, path: &Path<'_>, value: &Value, problems: &Problems) {
        for problem in problems {
            self.invalid(path, value, problem);
        }
    }

    pub(super) fn not_negative(&mut self, path: &Path<'_>, value: &Value) {
        if value.as_i64().is_some_and(|number| number < 0) {
            self.invalid(path, value, "must be greater than or equal to 0");
        }
    }

    /// Keys and values of a map of labels, reported at the map (API-102).
    pub(super) fn labels(&mut self, path: &Path<'_>, labels: &Value) {
        for (key, value) in labels.as_object().into_iter().flatten() {
            for problem in super::text::qualified_name(key) {
                self.push(FieldError::invalid(
                    path.to_string(),
                    &Value::from(key.as_str()),
                    problem,
                ));
            }
            self.problems(
                path,
                value,
                &super::text::label_value(value.as_str().unwrap_or_default()),
            );
        }
    }

    /// All rows of a table on one object.
    pub(super) fn check(&mut self, path: &Path<'_>, object: &Value, table: Table) {
        for Row(member, check) in table {
            if member.is_empty() {
                self.check_value(path, object, *check);
            } else {
                self.check_value(&path.member(member), object.get(member).unwrap_or(&NULL), *check);
            }
        }
    }

    fn check_value(&mut self, path: &Path<'_>, value: &Value, check: Check) {
        match check {
            Check::Required if is_unset(value) => self.required(path, ""),
            Check::RequiredBecause(reason) if is_unset(value) => self.required(path, reason),
            Check::With(rule) => rule(self, path, value),
            _ if value.is_null() => {}
            Check::Required | Check::RequiredBecause(_) => {}
            Check::OneOf(supported) => {
                if !value.as_str().is_some_and(|value| supported.contains(&value)) {
                    self.not_supported(path, value, supported);
                }
            }
            Check::Between(low, high) => {
                if !value
                    .as_i64()
                    .is_some_and(|number| (low..=high).contains(&number))
                {
                    self.invalid(
                        path,
                        value,
                        &format!("must be between {low} and {high}, inclusive"),
                    );
                }
            }
            Check::NotNegative => self.not_negative(path, value),
            Check::Text(format) => {
                if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
                    self.problems(path, value, &format(text));
                }
            }
            Check::EachText(format) => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.problems(
                        &path.item(index),
                        item,
                        &format(item.as_str().unwrap_or_default()),
                    );
                }
            }
            Check::Labels => self.labels(path, value),
            Check::UniqueBy(member) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                for (index, item) in items.iter().enumerate() {
                    let Some(name) = item.get(member).filter(|name| !is_unset(name)) else {
                        continue;
                    };
                    if items
                        .iter()
                        .take(index)
                        .any(|other| other.get(member) == Some(name))
                    {
                        self.duplicate(&path.item(index).member(member), name);
                    }
                }
            }
            Check::Members(table) => self.check(path, value, table),
            Check::Items(table) => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.check(&path.item(index), item, table);
                }
            }
        }
    }
}

/// A member of an object, or null.
pub(crate) fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.')
        .try_fold(value, |value, member| value.get(member))
        .unwrap_or(&NULL)
}

/// A string member, or `""`.
pub(super) fn text_at<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// Elements of a list member; none if it is absent.
pub(super) fn items_at<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}
