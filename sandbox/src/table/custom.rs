//! Printer columns of custom resources: `additionalPrinterColumns` with a path (API-549).

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, age};

/// A column after Name, with the way to its cells.
#[derive(Clone, Debug)]
pub struct PrinterColumn {
    /// The column itself.
    pub column: Column,
    path: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Member(String),
    Index(i64),
    Every,
    /// `[?(@.type=="Ready")]`
    Where(Vec<String>, Value),
}

impl PrinterColumn {
    /// Name and the columns of a version's `additionalPrinterColumns`; without any, Name and Age.
    #[must_use]
    pub fn of(additional: &[Value]) -> Vec<Self> {
        let name = Self::new(&serde_json::json!({
            "name": "Name", "type": "string", "format": "name", "jsonPath": ".metadata.name",
            "description": "Name of the object",
        }));
        let age = Self::new(&serde_json::json!({
            "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp",
            "description": "Time since the object was created",
        }));
        if additional.is_empty() {
            return vec![name, age];
        }
        std::iter::once(name)
            .chain(additional.iter().map(Self::new))
            .collect()
    }

    fn new(column: &Value) -> Self {
        let text = |member: &str| {
            column
                .get(member)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            path: parse(&text("jsonPath")).unwrap_or_default(),
            column: Column {
                name: Cow::Owned(text("name")),
                kind: Cow::Owned(text("type")),
                format: Cow::Owned(text("format")),
                description: Cow::Owned(match text("description") {
                    text if !text.is_empty() => text,
                    _ => format!(
                        "Custom resource definition column (in JSONPath format): {}",
                        text("jsonPath")
                    ),
                }),
                priority: column.get("priority").and_then(Value::as_i64).unwrap_or_default(),
            },
        }
    }

    /// Cell of one object; null if the path leads nowhere, or to a value that is not of the column's type.
    #[must_use]
    pub fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let found = find(object, &self.path);
        let Some(first) = found.first() else {
            return Value::Null;
        };
        match self.column.kind.as_ref() {
            "date" => Value::from(age::since(first, now)),
            "integer" => first.as_i64().map_or(Value::Null, Value::from),
            "number" => first.as_f64().map_or(Value::Null, Value::from),
            "boolean" => first.as_bool().map_or(Value::Null, Value::from),
            _ => Value::from(
                found
                    .iter()
                    .map(|value| plain(value))
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
        }
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Members, indexes, `*` and equality filters; `None` for anything else.
fn parse(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path.strip_prefix('$').unwrap_or(path);
    while !rest.is_empty() {
        if let Some(filter) = rest.strip_prefix("[?(@.") {
            let (condition, after) = filter.split_once(")]")?;
            let (member, value) = condition.split_once("==")?;
            let member = member.trim().split('.').map(str::to_owned).collect();
            let value = value.trim();
            let quoted = value
                .strip_prefix(['"', '\''])
                .and_then(|value| value.strip_suffix(['"', '\'']));
            let value = match quoted {
                Some(text) => Value::from(text),
                None => serde_json::from_str(value).ok()?,
            };
            steps.push(Step::Where(member, value));
            rest = after;
        } else if let Some(inner) = rest.strip_prefix('[') {
            let (inner, after) = inner.split_once(']')?;
            let quoted = inner
                .strip_prefix(['"', '\''])
                .and_then(|inner| inner.strip_suffix(['"', '\'']));
            steps.push(match (quoted, inner) {
                (Some(name), _) => Step::Member(name.to_owned()),
                (None, "*") => Step::Every,
                (None, index) => Step::Index(index.parse().ok()?),
            });
            rest = after;
        } else {
            let start = rest.strip_prefix('.')?;
            let mut name = String::new();
            let mut end = start.len();
            let mut escaped = false;
            for (index, c) in start.char_indices() {
                match c {
                    _ if escaped => {
                        name.push(c);
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '.' | '[' => {
                        end = index;
                        break;
                    }
                    c => name.push(c),
                }
            }
            match name.as_str() {
                "" => {}
                "*" => steps.push(Step::Every),
                _ => steps.push(Step::Member(name)),
            }
            rest = start.get(end..)?;
        }
    }
    Some(steps)
}

fn find<'a>(object: &'a Value, path: &[Step]) -> Vec<&'a Value> {
    let mut found = vec![object];
    if path.is_empty() {
        return Vec::new();
    }
    for step in path {
        found = found
            .into_iter()
            .flat_map(|value| -> Vec<&'a Value> {
                match step {
                    Step::Member(name) => value.get(name).into_iter().collect(),
                    Step::Every => match value {
                        Value::Array(items) => items.iter().collect(),
                        Value::Object(members) => members.values().collect(),
                        _ => Vec::new(),
                    },
                    Step::Index(index) => {
                        let length = value.as_array().map_or(0, Vec::len);
                        let index = usize::try_from(*index)
                            .ok()
                            .or_else(|| length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?));
                        index.and_then(|index| value.get(index)).into_iter().collect()
                    }
                    Step::Where(member, wanted) => {
                        let has = |item: &Value| {
                            member.iter().try_fold(item, |item, name| item.get(name)) == Some(wanted)
                        };
                        value
                            .as_array()
                            .into_iter()
                            .flatten()
                            .filter(|item| has(item))
                            .collect()
                    }
                }
            })
            .collect();
    }
    found.retain(|value| !value.is_null());
    found
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn cell(kind: &str, path: &str) -> Value {
        let object = json!({
            "metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:00Z", "labels": {"a.b/c": "d"}},
            "spec": {"size": 3, "on": true, "list": ["x", "y"]},
            "status": {"conditions": [{"type": "Synced", "status": "True"}, {"type": "Ready", "status": "False"}]},
        });
        let column = PrinterColumn::new(&json!({"name": "C", "type": kind, "jsonPath": path}));
        column.cell(&object, Timestamp::from_second(90).unwrap())
    }

    #[rstest]
    #[case("string", ".metadata.name", json!("a"))]
    #[case("integer", ".spec.size", json!(3))]
    #[case("string", ".spec.size", json!("3"))]
    #[case("boolean", ".spec.on", json!(true))]
    #[case("integer", ".spec.on", Value::Null)]
    #[case("string", ".spec.none", Value::Null)]
    #[case("string", r".metadata.labels.a\.b/c", json!("d"))]
    #[case("string", ".metadata.labels['a.b/c']", json!("d"))]
    #[case("string", ".spec.list[*]", json!("x y"))]
    #[case("string", ".spec.list[-1]", json!("y"))]
    #[case("string", r#".status.conditions[?(@.type=="Ready")].status"#, json!("False"))]
    #[case("string", ".status.conditions[?(@.type=='None')].status", Value::Null)]
    #[case("date", ".metadata.creationTimestamp", json!("90s"))]
    fn api_549_cells(#[case] kind: &str, #[case] path: &str, #[case] want: Value) {
        assert_eq!(cell(kind, path), want);
    }

    #[test]
    fn api_549_without_columns_name_and_age() {
        let names: Vec<String> = PrinterColumn::of(&[])
            .iter()
            .map(|one| one.column.name.to_string())
            .collect();
        assert_eq!(names, ["Name", "Age"]);
    }
}
