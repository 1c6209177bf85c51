//! Variables of a case: `$NS`, `$name`, `${name}`.

use std::{collections::BTreeMap, sync::LazyLock};

use regex::{Captures, Regex};
use serde_json::Value;

use super::python;

static VARIABLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\$(?:\{(?P<braced>[A-Za-z]\w*)\}|(?P<bare>[A-Za-z]\w*))").unwrap());

/// Values by name.
pub(super) type Variables = BTreeMap<String, Value>;

fn name<'a>(found: &'a Captures<'_>) -> &'a str {
    let name = found.name("braced").or_else(|| found.name("bare"));
    name.unwrap().as_str()
}

/// Puts variables into a text.
pub(super) fn fill_text(text: &str, variables: &Variables) -> String {
    VARIABLE
        .replace_all(text, |found: &Captures<'_>| {
            variables
                .get(name(found))
                .map_or_else(|| found[0].to_owned(), python::text)
        })
        .into_owned()
}

/// Puts variables into every string. A string that is one variable alone takes the variable's own type;
/// `{"$repeat": [x, n]}` becomes x repeated n times.
pub(super) fn fill(value: &Value, variables: &Variables) -> Value {
    match value {
        Value::Object(members) => {
            if let (1, Some(Value::Array(pair))) = (members.len(), members.get("$repeat")) {
                return repeat(&pair[0], usize::try_from(pair[1].as_u64().unwrap()).unwrap());
            }
            members
                .iter()
                .map(|(key, value)| (fill_text(key, variables), fill(value, variables)))
                .collect()
        }
        Value::Array(list) => list.iter().map(|element| fill(element, variables)).collect(),
        Value::String(text) => {
            let whole = VARIABLE
                .captures(text)
                .filter(|found| found[0].len() == text.len());
            match whole.and_then(|found| variables.get(name(&found))) {
                Some(value) => value.clone(),
                None => fill_text(text, variables).into(),
            }
        }
        other => other.clone(),
    }
}

fn repeat(value: &Value, times: usize) -> Value {
    match value {
        Value::String(text) => text.repeat(times).into(),
        Value::Array(list) => std::iter::repeat_n(list, times).flatten().cloned().collect(),
        other => panic!("{other} cannot be repeated"),
    }
}

#[test]
fn variables_keep_their_type_when_alone() {
    let variables = Variables::from([("n".to_owned(), 5.into())]);
    let filled = fill(
        &serde_json::json!({"a": "$n", "b": "x${n}$m", "c": {"$repeat": ["ab", 2]}}),
        &variables,
    );
    assert_eq!(filled, serde_json::json!({"a": 5, "b": "x5$m", "c": "abab"}));
}
