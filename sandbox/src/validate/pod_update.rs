//! What a pod may change after its creation (API-432).

use serde_json::Value;

use super::{
    pod::POD_SPEC,
    rule::{Path, Report, at, items_at, text_at},
};

/// Rules of the spec, unless nothing in it changed, and what may change in it.
pub(super) fn check(report: &mut Report, new: &Value, old: &Value) {
    let (new_spec, old_spec) = (at(new, "spec"), at(old, "spec"));
    if new_spec == old_spec {
        return;
    }
    let root = Path::root();
    let path = root.member("spec");
    report.check(&path, new_spec, POD_SPEC);
    for list in ["containers", "initContainers"] {
        if items_at(new_spec, list).len() != items_at(old_spec, list).len() {
            report.forbidden(&path.member(list), "pod updates may not add or remove containers");
            return;
        }
    }
    let mut names_differ = false;
    for list in ["containers", "initContainers"] {
        let pairs = items_at(new_spec, list).iter().zip(items_at(old_spec, list));
        names_differ |= pairs
            .into_iter()
            .any(|(new, old)| text_at(new, "name") != text_at(old, "name"));
    }
    if names_differ {
        report.forbidden(&path, OTHER_FIELDS);
        return;
    }
    deadline(report, &path, new_spec, old_spec);
    tolerations(report, &path, new_spec, old_spec);
    gates(report, &path, new_spec, old_spec);
    if frozen(new_spec, old_spec) != *old_spec {
        report.forbidden(&path, OTHER_FIELDS);
    }
}

const OTHER_FIELDS: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Set once, or lowered.
fn deadline(report: &mut Report, path: &Path<'_>, new: &Value, old: &Value) {
    let path = path.member("activeDeadlineSeconds");
    let (new, old) = (at(new, "activeDeadlineSeconds"), at(old, "activeDeadlineSeconds"));
    match (new.as_i64(), old.as_i64()) {
        (Some(later), Some(before)) if later > before => {
            report.invalid(&path, new, "must be less than or equal to previous value");
        }
        (None, Some(_)) => report.invalid(
            &path,
            &Value::Null,
            "must not update from a positive integer to nil value",
        ),
        _ => {}
    }
}

/// Those that were there stay; only their seconds may change.
fn tolerations(report: &mut Report, path: &Path<'_>, new: &Value, old: &Value) {
    let identity = |toleration: &Value| {
        ["key", "operator", "value", "effect"].map(|member| text_at(toleration, member).to_owned())
    };
    let new = items_at(new, "tolerations");
    let lost = items_at(old, "tolerations")
        .iter()
        .any(|toleration| !new.iter().any(|other| identity(other) == identity(toleration)));
    if lost {
        report.forbidden(
            &path.member("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
}

fn gates(report: &mut Report, path: &Path<'_>, new: &Value, old: &Value) {
    let before = items_at(old, "schedulingGates");
    let path = path.member("schedulingGates");
    for (index, gate) in items_at(new, "schedulingGates").iter().enumerate() {
        if !before.contains(gate) {
            let reason = format!(
                "only deletion is allowed, but found new scheduling gate '{}'",
                text_at(gate, "name")
            );
            report.forbidden(&path.item(index).member("name"), &reason);
        }
    }
}

/// The new spec with everything that may change set back.
fn frozen(new: &Value, old: &Value) -> Value {
    let mut spec = new.clone();
    let Some(members) = spec.as_object_mut() else {
        return spec;
    };
    let mut restored = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    if at(old, "terminationGracePeriodSeconds")
        .as_i64()
        .is_some_and(|grace| grace < 0)
        && at(new, "terminationGracePeriodSeconds") == &Value::from(1)
    {
        restored.push("terminationGracePeriodSeconds");
    }
    if !items_at(old, "schedulingGates").is_empty() {
        if keeps_selector(new, old) {
            restored.push("nodeSelector");
        }
        restored.push("affinity");
    }
    for member in restored {
        match old.get(member) {
            Some(value) => members.insert(member.to_owned(), value.clone()),
            None => members.remove(member),
        };
    }
    for list in ["containers", "initContainers"] {
        let Some(Value::Array(containers)) = members.get_mut(list) else {
            continue;
        };
        for (container, old) in containers.iter_mut().zip(items_at(old, list)) {
            if let (Some(container), Some(image)) = (container.as_object_mut(), old.get("image")) {
                container.insert("image".to_owned(), image.clone());
            }
        }
    }
    spec
}

/// While gated, a node selector may only gain terms.
fn keeps_selector(new: &Value, old: &Value) -> bool {
    at(old, "nodeSelector")
        .as_object()
        .into_iter()
        .flatten()
        .all(|(key, value)| at(new, "nodeSelector").get(key) == Some(value))
}
