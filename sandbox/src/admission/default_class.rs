//! `DefaultStorageClass` (API-506) and `DefaultIngressClass` (API-507).

use std::cmp::Reverse;

use serde_json::Value;

use super::objects;
use crate::{json, server::Core};

/// Chooses the class of a claim that names none.
pub(super) fn of_claim(core: &Core, claim: &mut Value) {
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

/// Chooses the class of an Ingress that names none.
pub(super) fn of_ingress(core: &Core, ingress: &mut Value) {
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
