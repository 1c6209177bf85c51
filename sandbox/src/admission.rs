//! The admission steps of upstream that clients and controllers notice (API-127, API-128, API-500 to API-507).
//! Not run: `LimitRanger`, `ResourceQuota`, `ServiceAccount`, `PodSecurity`, webhooks and policies.

use std::cmp::Reverse;

use serde_json::Value;

use crate::{
    json::{self, is_blank},
    names::Gvr,
    server::Core,
    status::{Cause, Failure},
    store::Key,
    verbs::Call,
};

/// Refuses new content in namespaces that are missing or terminating (API-127, API-128).
pub(crate) fn namespace_accepts_content(call: &Call<'_>, name: &str) -> Result<(), Failure> {
    let namespace = call.path.namespace.as_deref().unwrap_or_default();
    let namespaces = Gvr::new("", "v1", "namespaces");
    let Some(stored) = call
        .core
        .store
        .get(&"namespaces".into(), &Key::new("", namespace))
    else {
        return Err(Failure::not_found(&namespaces, namespace));
    };
    let stored = stored.parse();
    let terminating = !is_blank(json::at(&stored, &["metadata", "deletionTimestamp"]));
    if !terminating {
        return Ok(());
    }
    let cause =
        format!("unable to create new content in namespace {namespace} because it is being terminated");
    Err(
        Failure::forbidden(&call.kind.resource, name, cause).because(Cause {
            reason: "NamespaceTerminating",
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        }),
    )
}

/// Changes a new object, or refuses it.
pub(crate) fn create(call: &Call<'_>, object: &mut Value) -> Result<(), Failure> {
    let kind = &call.kind;
    match (kind.gk.group.as_ref(), kind.gk.kind.as_ref()) {
        ("", "Pod") => priority(call, object)?,
        ("", "PersistentVolumeClaim") => default_storage_class(call.core, object),
        ("networking.k8s.io", "Ingress") => default_ingress_class(call.core, object),
        ("scheduling.k8s.io", "PriorityClass") => second_global_default(call, object)?,
        _ => {}
    }
    Ok(())
}

/// Changes an updated object, or refuses it.
pub(crate) fn update(call: &Call<'_>, new: &mut Value, old: &Value) -> Result<(), Failure> {
    if call.kind.is_core("Pod") {
        for member in ["priority", "preemptionPolicy"] {
            if json::at(new, &["spec"]).is_some_and(|spec| spec.get(member).is_none()) {
                json::copy_member(old, new, &["spec"], member);
            }
        }
    }
    if call.kind.is("scheduling.k8s.io", "PriorityClass") {
        second_global_default(call, new)?;
    }
    Ok(())
}

/// API-503.
fn priority(call: &Call<'_>, pod: &mut Value) -> Result<(), Failure> {
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

/// API-503: only one class may be the default.
fn second_global_default(call: &Call<'_>, class: &Value) -> Result<(), Failure> {
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

/// API-506.
fn default_storage_class(core: &Core, claim: &mut Value) {
    let chosen = json::at(claim, &["spec", "storageClassName"]).is_some()
        || json::at(
            claim,
            &[
                "metadata",
                "annotations",
                "volume.beta.kubernetes.io/storage-class",
            ],
        )
        .is_some();
    if chosen || !json::at(claim, &["spec"]).is_some_and(Value::is_object) {
        return;
    }
    let annotation = "storageclass.kubernetes.io/is-default-class";
    if let Some(name) = default_class(core, "storageclasses.storage.k8s.io", annotation) {
        json::set(claim, &["spec"], "storageClassName", name);
    }
}

/// API-507.
fn default_ingress_class(core: &Core, ingress: &mut Value) {
    let chosen = json::at(ingress, &["spec", "ingressClassName"]).is_some()
        || json::at(
            ingress,
            &["metadata", "annotations", "kubernetes.io/ingress.class"],
        )
        .is_some();
    if chosen || !json::at(ingress, &["spec"]).is_some_and(Value::is_object) {
        return;
    }
    let annotation = "ingressclass.kubernetes.io/is-default-class";
    if let Some(name) = default_class(core, "ingressclasses.networking.k8s.io", annotation) {
        json::set(ingress, &["spec"], "ingressClassName", name);
    }
}

/// The class marked as default: the newest one, then the first by name.
fn default_class(core: &Core, table: &str, annotation: &str) -> Option<String> {
    let mut classes: Vec<(Reverse<String>, String)> = objects(core, table)
        .into_iter()
        .filter(|class| json::text(class, &["metadata", "annotations", annotation]) == "true")
        .map(|class| {
            let created = json::text(&class, &["metadata", "creationTimestamp"]).to_owned();
            (
                Reverse(created),
                json::text(&class, &["metadata", "name"]).to_owned(),
            )
        })
        .collect();
    classes.sort();
    classes.into_iter().next().map(|(_, name)| name)
}

fn objects(core: &Core, table: &str) -> Vec<Value> {
    core.store
        .list(&table.into(), None, None)
        .objects
        .iter()
        .map(|object| object.parse())
        .collect()
}
