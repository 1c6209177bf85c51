//! What is accepted but warned about: texts of Warning headers (API-9, API-72, API-389, API-396).

use serde_json::Value;

use super::{
    rule::{at, items_at, text_at},
    text,
};
use crate::{defaults::pod_spec_path, names::GroupKind};

/// Texts of the Warning headers for a create or update of a decoded object.
#[must_use]
pub fn warnings(gk: &GroupKind, object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    match (gk.group.as_ref(), gk.kind.as_ref()) {
        ("", "Endpoints") => {
            warnings.push(
                "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned(),
            );
        }
        ("", "Service") if !items_at(object, "spec.externalIPs").is_empty() => {
            warnings.push(
                "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
            );
        }
        ("networking.k8s.io", "Ingress") => {
            let annotations = at(object, "metadata.annotations");
            let uses_class = !at(object, "spec.ingressClassName").is_null();
            if annotations.get("kubernetes.io/ingress.class").is_some() && !uses_class {
                let text = "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
                warnings.push(text.to_owned());
            }
        }
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet") | ("", "Pod" | "ReplicationController") => {
            let problems = text::dns_label(text_at(object, "metadata.name"));
            if !problems.is_empty() && !at(object, "metadata.name").is_null() {
                warnings.push(format!(
                    "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [{}]",
                    problems.join(", ")
                ));
            }
        }
        _ => {}
    }
    if let Some(path) = pod_spec_path(gk) {
        of_pod_spec(&mut warnings, path, at(object, path));
    }
    warnings
}

fn of_pod_spec(warnings: &mut Vec<String>, path: &str, spec: &Value) {
    for (index, secret) in items_at(spec, "imagePullSecrets").iter().enumerate() {
        if text_at(secret, "name").is_empty() {
            warnings.push(format!(
                "{path}.imagePullSecrets[{index}].name: invalid empty name \"\""
            ));
        }
    }
    for (index, constraint) in items_at(spec, "topologySpreadConstraints").iter().enumerate() {
        if at(constraint, "labelSelector").is_null() {
            warnings.push(format!(
                "{path}.topologySpreadConstraints[{index}].labelSelector: a null labelSelector results in matching no pod"
            ));
        }
    }
}
