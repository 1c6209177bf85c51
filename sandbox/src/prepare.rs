//! What the server itself puts into objects before they are stored, apart from defaults and admission: initial
//! status, generation, and the parts that a write is not allowed to change.

use serde_json::Value;

use crate::{
    json::{self, is_blank},
    registry::{Generation, Kind},
    server::Core,
    verbs::update::Scope,
};

/// Metadata that an update never changes (API-71).
const SERVER_OWNED: &[&str] = &[
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "name",
    "namespace",
];

/// Initial status and generation of a new object.
pub(crate) fn create(kind: &Kind, object: &mut Value) {
    if kind.has_status() && !kind.is_core("Node") {
        json::remove(object, &[], "status");
    }
    if !matches!(kind.generation, Generation::None | Generation::SpecLater) {
        json::set(object, &["metadata"], "generation", 1);
    }
}

/// Times that defaults leave open.
pub(crate) fn times(core: &Core, kind: &Kind, object: &mut Value) {
    if kind.is_core("PersistentVolume") {
        json::set(object, &["status"], "lastPhaseTransitionTime", core.timestamp());
    }
    if kind.is_core("Pod") {
        let conditions = object
            .pointer_mut("/status/conditions")
            .and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten() {
            json::set(condition, &[], "lastTransitionTime", core.timestamp());
        }
    }
}

/// Restores metadata that the write may not change, before the new object is decoded.
pub(crate) fn keep_metadata(kind: &Kind, old: &Value, new: &mut Value, scope: Scope) {
    if let Some(metadata) = json::map_mut(new, &["metadata"]) {
        metadata.remove("managedFields");
        metadata.remove("selfLink");
        metadata.retain(|_, value| !value.is_null());
    }
    for member in SERVER_OWNED {
        // To set it is an error, which validation reports; to leave it out is none.
        if *member == "deletionTimestamp" && !is_blank(json::at(new, &["metadata", member])) {
            continue;
        }
        json::copy_member(old, new, &["metadata"], member);
    }
    if !is_blank(json::at(old, &["metadata", "generateName"])) {
        json::copy_member(old, new, &["metadata"], "generateName");
    }
    match scope {
        // API-547.
        Scope::Status if kind.custom.is_some() => json::copy_member(old, new, &[], "metadata"),
        // API-440.
        Scope::Status if kind.is("apps", "Deployment") => {
            json::copy_member(old, new, &["metadata"], "labels");
        }
        Scope::Status if kind.is_core("Pod") => json::copy_member(old, new, &["metadata"], "ownerReferences"),
        _ => {}
    }
}

/// Restores content that the write may not change, after the new object has been decoded (API-440).
pub(crate) fn keep_content(kind: &Kind, old: &Value, new: &mut Value, scope: Scope) {
    match scope {
        Scope::Server => {}
        Scope::Main => {
            if kind.has_status() {
                json::copy_member(old, new, &[], "status");
            }
            if kind.is_core("Namespace") {
                json::copy_member(old, new, &["spec"], "finalizers");
            }
        }
        Scope::Status => keep_all_but(old, new, &["metadata", "status"]),
        Scope::Finalize => {
            let finalizers = json::at(new, &["spec", "finalizers"])
                .cloned()
                .unwrap_or(Value::Null);
            keep_all_but(old, new, &["metadata"]);
            if finalizers.as_array().is_some_and(|list| !list.is_empty()) {
                json::set(new, &["spec"], "finalizers", finalizers);
            } else {
                json::remove(new, &["spec"], "finalizers");
            }
        }
        Scope::EphemeralContainers => {
            let added = json::at(new, &["spec", "ephemeralContainers"]).cloned();
            keep_all_but(old, new, &[]);
            if let Some(added) = added {
                json::set(new, &["spec"], "ephemeralContainers", added);
            }
        }
        Scope::Resize => {
            let sent = new.clone();
            keep_all_but(old, new, &[]);
            copy_resources(&sent, new);
        }
    }
}

fn keep_all_but(old: &Value, new: &mut Value, but: &[&str]) {
    if let Some(members) = new.as_object_mut() {
        members.retain(|name, _| but.contains(&name.as_str()));
    }
    if let (Some(from), Some(to)) = (old.as_object(), new.as_object_mut()) {
        for (name, value) in from.iter().filter(|(name, _)| !but.contains(&name.as_str())) {
            to.insert(name.clone(), value.clone());
        }
    }
}

/// Takes the resources of the containers, by name (API-472).
fn copy_resources(sent: &Value, pod: &mut Value) {
    for lists in ["containers", "initContainers"] {
        let wanted = json::list(sent, &["spec", lists]).to_vec();
        let Some(containers) = pod
            .pointer_mut(&format!("/spec/{lists}"))
            .and_then(Value::as_array_mut)
        else {
            continue;
        };
        for container in containers {
            let name = json::text(container, &["name"]).to_owned();
            if let Some(source) = wanted.iter().find(|source| json::text(source, &["name"]) == name) {
                json::copy_member(source, container, &[], "resources");
            }
        }
    }
}

/// The annotation of a DaemonSet that counts its templates: only the server changes it (API-333).
fn template_generation(old: &Value, new: &mut Value) {
    const NAME: &str = "deprecated.daemonset.template.generation";
    let count = json::text(old, &["metadata", "annotations", NAME]);
    let count = count.parse::<i64>().unwrap_or(1);
    let differs = json::at(old, &["spec", "template"]) != json::at(new, &["spec", "template"]);
    let count = if differs { count.saturating_add(1) } else { count };
    json::set(new, &["metadata", "annotations"], NAME, count.to_string());
}

/// API-66, API-67.
pub(crate) fn generation(kind: &Kind, old: &Value, new: &mut Value, scope: Scope) {
    if kind.is("apps", "DaemonSet") {
        template_generation(old, new);
    }
    if matches!(scope, Scope::Status | Scope::Server) {
        return;
    }
    let differs = |path: &[&str]| json::at(old, path) != json::at(new, path);
    let content_differs = |also: &str| {
        let strip = |object: &Value| {
            let mut object = object.clone();
            for member in ["metadata", "kind", "apiVersion", also] {
                json::remove(&mut object, &[], member);
            }
            object
        };
        strip(old) != strip(new)
    };
    let raise = match kind.generation {
        Generation::None | Generation::Fixed => false,
        Generation::Spec | Generation::SpecLater => differs(&["spec"]),
        Generation::SpecOrAnnotations => differs(&["spec"]) || differs(&["metadata", "annotations"]),
        Generation::ContentOrLabels => content_differs("") || differs(&["metadata", "labels"]),
        Generation::Content => content_differs("status"),
        Generation::ContentAndStatus => content_differs(""),
    };
    if raise {
        let generation = json::at(old, &["metadata", "generation"])
            .and_then(Value::as_i64)
            .unwrap_or(0);
        json::set(new, &["metadata"], "generation", generation.saturating_add(1));
    }
}

/// Whether a namespace still has to be finalized before it can go (API-176).
pub(crate) fn waits_for_finalize(kind: &Kind, object: &Value) -> bool {
    kind.is_core("Namespace") && !json::list(object, &["spec", "finalizers"]).is_empty()
}

/// Whether an object that is being deleted has nothing left to wait for (API-142).
pub(crate) fn is_ready_to_go(kind: &Kind, object: &Value) -> bool {
    let grace = json::at(object, &["metadata", "deletionGracePeriodSeconds"])
        .and_then(Value::as_i64)
        .unwrap_or(0);
    !is_blank(json::at(object, &["metadata", "deletionTimestamp"]))
        && grace == 0
        && json::list(object, &["metadata", "finalizers"]).is_empty()
        && !waits_for_finalize(kind, object)
}
