//! `Priority`: numbers from priority classes, and one default class at most (API-503).

use serde_json::Value;

use super::objects;
use crate::{json, status::Failure, verbs::Call};

/// Fills the priority of a new pod from its class.
pub(super) fn admit(call: &Call<'_>, pod: &mut Value) -> Result<(), Failure> {
    let name = json::text(pod, &["metadata", "name"]).to_owned();
    let forbidden = |cause: String| Failure::forbidden(&call.kind.resource, &name, cause);
    let class_name = json::text(pod, &["spec", "priorityClassName"]).to_owned();
    let classes: Vec<Value> = objects(call.core, "priorityclasses.scheduling.k8s.io");
    let class = if class_name.is_empty() {
        classes.into_iter().find(|class| {
            json::at(class, &["globalDefault"])
                .and_then(Value::as_bool)
                .unwrap_or(false)
        })
    } else {
        let named = classes
            .into_iter()
            .find(|class| json::text(class, &["metadata", "name"]) == class_name);
        if named.is_none() {
            return Err(forbidden(format!(
                "no PriorityClass with name {class_name} was found"
            )));
        }
        named
    };
    let value = class
        .as_ref()
        .and_then(|class| json::at(class, &["value"]))
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let policy = class
        .as_ref()
        .map(|class| json::text(class, &["preemptionPolicy"]))
        .filter(|policy| !policy.is_empty())
        .unwrap_or("PreemptLowerPriority")
        .to_owned();
    let given = json::at(pod, &["spec", "priority"]).and_then(Value::as_i64);
    if let Some(given) = given.filter(|given| *given != value) {
        return Err(forbidden(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        )));
    }
    let given = json::text(pod, &["spec", "preemptionPolicy"]).to_owned();
    if !given.is_empty() && given != policy {
        return Err(forbidden(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        )));
    }
    if class_name.is_empty()
        && let Some(class) = &class
    {
        json::set(
            pod,
            &["spec"],
            "priorityClassName",
            json::text(class, &["metadata", "name"]),
        );
    }
    json::set(pod, &["spec"], "priority", value);
    json::set(pod, &["spec"], "preemptionPolicy", policy);
    Ok(())
}

/// Only one class may be the default.
pub(super) fn second_global_default(call: &Call<'_>, class: &Value) -> Result<(), Failure> {
    let is_default = |class: &Value| {
        json::at(class, &["globalDefault"])
            .and_then(Value::as_bool)
            .unwrap_or(false)
    };
    if !is_default(class) {
        return Ok(());
    }
    let name = json::text(class, &["metadata", "name"]);
    let other = objects(call.core, "priorityclasses.scheduling.k8s.io")
        .into_iter()
        .find(|other| is_default(other) && json::text(other, &["metadata", "name"]) != name);
    match other {
        None => Ok(()),
        Some(other) => Err(Failure::forbidden(
            &call.kind.resource,
            name,
            format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                json::text(&other, &["metadata", "name"])
            ),
        )),
    }
}
