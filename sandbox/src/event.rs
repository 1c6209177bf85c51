//! Events are stored once, in the form of core/v1, and served in two groups: this maps between the two forms.

use serde_json::{Map, Value, json};

/// Member names: core/v1, events.k8s.io/v1, and what an absent core member becomes in the new form (API-74).
const MEMBERS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// From the stored form to that of events.k8s.io.
pub(crate) fn to_new(event: Value) -> Value {
    let mut event = rename(event, |name| find(name, |(core, _)| core).map(|(_, new)| *new));
    if let Some(members) = event.as_object_mut() {
        for name in ["deprecatedFirstTimestamp", "deprecatedLastTimestamp", "eventTime"] {
            members.entry(name).or_insert(Value::Null);
        }
        for name in ["deprecatedSource", "regarding"] {
            members.entry(name).or_insert_with(|| json!({}));
        }
    }
    event
}

/// From the form of events.k8s.io to the stored form.
pub(crate) fn to_core(event: Value) -> Value {
    rename(event, |name| find(name, |(_, new)| new).map(|(core, _)| *core))
}

fn find(
    name: &str,
    side: impl Fn(&(&'static str, &'static str)) -> &'static str,
) -> Option<&'static (&'static str, &'static str)> {
    MEMBERS.iter().find(|pair| side(pair) == name)
}

fn rename(event: Value, new_name: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(members) = event else {
        return event;
    };
    let renamed: Map<String, Value> = members
        .into_iter()
        .map(|(name, value)| (new_name(&name).map_or(name, str::to_owned), value))
        .collect();
    Value::Object(renamed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_222_both_groups_show_the_same_event() {
        let core = json!({
            "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"}, "message": "m", "reason": "r",
            "source": {"component": "c"}, "firstTimestamp": null, "lastTimestamp": null, "eventTime": null,
        });
        let new = to_new(core.clone());
        assert_eq!(
            (&new["regarding"]["kind"], &new["note"]),
            (&json!("Pod"), &json!("m"))
        );
        assert_eq!(to_core(new), core);
    }
}
