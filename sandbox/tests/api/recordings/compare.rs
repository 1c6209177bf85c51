//! Where an observation differs from the recording.

use std::collections::BTreeSet;

use serde_json::Value;

use super::python;

const ABSENT: &str = "<absent>";

/// All differences of a case, step by step.
pub(super) fn steps(case: &Value, seen: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let nothing = Value::Object(serde_json::Map::new());
    let steps = case["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (number, (step, got)) in steps.iter().zip(seen).enumerate() {
        let want = step.get("want").unwrap_or(&nothing);
        let mut report = |path: &str, want: Option<&Value>, got: Option<&Value>| {
            let (want, got) = (short(want), short(got));
            found.push(format!(
                "step {number} ({}) {path}: want {want}, got {got}",
                describe(step)
            ));
        };
        differences("$", want, got, &mut report);
    }
    found
}

type Report<'a> = dyn FnMut(&str, Option<&Value>, Option<&Value>) + 'a;

fn differences(path: &str, want: &Value, got: &Value, report: &mut Report<'_>) {
    match (want, got) {
        (Value::Object(want), Value::Object(got)) => {
            let keys: BTreeSet<&String> = want.keys().chain(got.keys()).collect();
            for key in keys {
                let plain = key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
                let here = if plain {
                    format!("{path}.{key}")
                } else {
                    format!("{path}[\"{key}\"]")
                };
                pair(&here, want.get(key), got.get(key), report);
            }
        }
        (Value::Array(want), Value::Array(got)) => {
            for index in 0..want.len().max(got.len()) {
                pair(
                    &format!("{path}[{index}]"),
                    want.get(index),
                    got.get(index),
                    report,
                );
            }
        }
        _ if want != got => report(path, Some(want), Some(got)),
        _ => {}
    }
}

fn pair(path: &str, want: Option<&Value>, got: Option<&Value>, report: &mut Report<'_>) {
    match (want, got) {
        (Some(want), Some(got)) => differences(path, want, got, report),
        (want, got) => report(path, want, got),
    }
}

fn short(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| ABSENT.to_owned(), python::dumps);
    if text.len() <= 300 {
        return text;
    }
    format!("{}...", &text[..297])
}

fn describe(step: &Value) -> String {
    if step.get("sleep").is_some() {
        return "sleep".to_owned();
    }
    if let Some(watch) = step["collect"].as_str() {
        return format!("collect {watch}");
    }
    let (method, path) = (python::text(&step["method"]), python::text(&step["path"]));
    match python::urlencode(&step["query"]) {
        query if query.is_empty() => format!("{method} {path}"),
        query => format!("{method} {path}?{query}"),
    }
}

#[test]
fn every_difference_is_named() {
    let case = serde_json::json!({"steps": [{"method": "GET", "path": "/a", "want": {"body": {"a": [1, 2], "b.c": 1}}}]});
    let seen = [serde_json::json!({"body": {"a": [1, 3, 4]}})];
    let found = steps(&case, &seen);
    assert_eq!(
        found,
        [
            "step 0 (GET /a) $.body.a[1]: want 2, got 3",
            "step 0 (GET /a) $.body.a[2]: want <absent>, got 4",
            "step 0 (GET /a) $.body[\"b.c\"]: want 1, got <absent>",
        ]
    );
}
