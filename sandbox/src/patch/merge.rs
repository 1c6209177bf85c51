//! JSON merge patch (RFC 7386, API-264).

use serde_json::{Map, Value};

/// Members of `patch` replace those of `target`, `null` removes, objects merge, everything else is replaced whole.
pub(crate) fn apply(target: Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut target = match target {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            let old = target.remove(name).unwrap_or_default();
            target.insert(name.clone(), apply(old, value));
        }
    }
    Value::Object(target)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case(json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"}))]
    #[case(json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"}))]
    #[case(json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]}))]
    #[case(json!({"a": {"b": "c"}}), json!({"a": {"b": null, "d": 1}}), json!({"a": {"d": 1}}))]
    #[case(json!({"a": "b"}), json!({"a": {"x": {"y": null}}}), json!({"a": {"x": {}}}))]
    #[case(json!({}), json!({"none": null}), json!({}))]
    fn api_264_merge(#[case] target: Value, #[case] patch: Value, #[case] want: Value) {
        assert_eq!(apply(target, &patch), want);
    }
}
