//! Subresources of pods: binding, exec (API-450, API-451, API-471, API-508).

use serde_json::{Value, json};

use crate::{
    admission::topology_labels,
    json::{self, is_blank},
    status::{self, Failure},
    verbs::{
        Answer, Call, FieldValidation, WriteOptions, log,
        update::{ATTEMPTS, Scope, UpdateError, change},
    },
};

pub(crate) fn bind(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let options = call.write_options("CreateOptions")?;
    let binding = call.decode_body()?;
    let name = call.path.name.clone().unwrap_or_default();
    let sent_name = json::text(&binding, &["metadata", "name"]);
    if !sent_name.is_empty() && sent_name != name {
        return Err(Failure::bad_request(
            "name in URL does not match name in Binding object",
        ));
    }
    if !matches!(json::text(&binding, &["target", "kind"]), "" | "Node") {
        return Err(Failure::unmapped(
            "target.kind: Unsupported value: supported values: \"Node\", \"<empty>\"",
        ));
    }
    let node = json::text(&binding, &["target", "name"]).to_owned();
    if node.is_empty() {
        return Err(Failure::unmapped("target.name: Required value"));
    }
    for _ in 0..ATTEMPTS {
        let current = call.current()?;
        let mut pod = current.parse();
        check_bindable(call, &pod, &binding, &name)?;
        assign(call, &mut pod, &binding, &node);
        match change(call, &current, pod, Scope::Server, silent(options), None) {
            Ok(_) => return Ok(Answer::object(201, status::created())),
            Err(UpdateError::Failed(failure)) => return Err(failure),
            Err(UpdateError::Undecodable(why)) => return Err(Failure::internal(why)),
            Err(UpdateError::Raced) => {}
        }
    }
    Err(Failure::stale(&call.kind.resource, &name))
}

/// Options of a write that the server makes on behalf of a subresource.
pub(crate) fn silent(options: WriteOptions) -> WriteOptions {
    WriteOptions {
        field_validation: FieldValidation::Ignore,
        ..options
    }
}

fn check_bindable(call: &Call<'_>, pod: &Value, binding: &Value, name: &str) -> Result<(), Failure> {
    let conflict = |cause: &str| Failure::conflict_on("pods/binding", "", "pods/binding", name, cause);
    let uid = json::text(binding, &["metadata", "uid"]);
    let stored = json::text(pod, &["metadata", "uid"]);
    if !uid.is_empty() && uid != stored {
        let cause = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}");
        return Err(Failure::conflict(&call.kind.resource, name, &cause));
    }
    if !is_blank(json::at(pod, &["metadata", "deletionTimestamp"])) {
        return Err(conflict(&format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        )));
    }
    let assigned = json::text(pod, &["spec", "nodeName"]);
    if !assigned.is_empty() {
        return Err(conflict(&format!(
            "pod {name} is already assigned to node {assigned:?}"
        )));
    }
    if !json::list(pod, &["spec", "schedulingGates"]).is_empty() {
        return Err(conflict(&format!(
            "pod {name} has non-empty .spec.schedulingGates"
        )));
    }
    Ok(())
}

fn assign(call: &Call<'_>, pod: &mut Value, binding: &Value, node: &str) {
    json::set(pod, &["spec"], "nodeName", node);
    json::remove(pod, &["status"], "nominatedNodeName");
    for member in ["annotations", "labels"] {
        for (key, value) in json::at(binding, &["metadata", member])
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            json::set(pod, &["metadata", member], key, value.clone());
        }
    }
    topology_labels::admit(call.core, pod);
    let scheduled =
        json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": call.core.timestamp()});
    set_condition(pod, scheduled);
}

/// Replaces the condition of the same type, or appends it.
pub(crate) fn set_condition(object: &mut Value, mut condition: Value) {
    let mut conditions = json::list(object, &["status", "conditions"]).to_vec();
    let kind = json::text(&condition, &["type"]).to_owned();
    let existing = conditions
        .iter_mut()
        .find(|other| json::text(other, &["type"]) == kind);
    if let Some(place) = existing.and_then(Value::as_object_mut) {
        for stale in ["reason", "message"] {
            place.remove(stale);
        }
        place.extend(condition.as_object().cloned().unwrap_or_default());
    } else {
        json::set(&mut condition, &[], "lastProbeTime", Value::Null);
        conditions.push(condition);
    }
    json::set(object, &["status"], "conditions", conditions);
}

/// API-471.
pub(crate) fn connect(call: &Call<'_>) -> Result<Answer, Failure> {
    let pod = call.current()?.parse();
    let name = call.path.name.as_deref().unwrap_or_default();
    if call.path.subresource.as_deref() != Some("portforward") {
        log::container(call, &pod)?;
    }
    if json::text(&pod, &["spec", "nodeName"]).is_empty() {
        return Err(Failure::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    Err(Failure::bad_request("not supported by the simulated node"))
}
