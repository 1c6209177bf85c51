//! What is accepted but warned about: texts of Warning headers (API-9, API-72, API-389, API-396).

use serde_json::Value;

use super::{
    gofmt::quote,
    pod::quantity,
    rule::{at, items_at, text_at},
    text,
};
use crate::{defaults::pod_spec_path, names::GroupKind};

/// Texts of the Warning headers for an update of `old` to a decoded object: like those of [`warnings`], apart from
/// what only creating is warned about.
#[must_use]
pub fn update_warnings(gk: &GroupKind, object: &Value, old: &Value) -> Vec<String> {
    if gk.kind == "Ingress" {
        return Vec::new();
    }
    if gk.kind == "Pod" || pod_spec_path(gk).is_some_and(|path| at(object, path) == at(old, path)) {
        return Vec::new();
    }
    warnings(gk, object)
}

/// Texts of the Warning headers for a create of a decoded object.
#[must_use]
pub fn warnings(gk: &GroupKind, object: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    match (gk.group.as_ref(), gk.kind.as_ref()) {
        ("", "Endpoints") => {
            warnings.push(
                "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned(),
            );
        }
        ("", "Service") => of_service(&mut warnings, at(object, "spec")),
        ("", "PersistentVolumeClaim") => {
            const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
            if at(object, "metadata.annotations").get(CLASS).is_some() {
                warnings.push(format!(
                    "metadata.annotations[{CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
                ));
            }
        }
        ("discovery.k8s.io", "EndpointSlice") if at(object, "addressType") == "FQDN" => {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
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

fn of_service(warnings: &mut Vec<String>, spec: &Value) {
    if !items_at(spec, "externalIPs").is_empty() {
        let text = "spec.externalIPs is deprecated and may no longer be implemented in some clusters";
        warnings.push(text.to_owned());
    }
    if !text_at(spec, "externalName").is_empty() && text_at(spec, "type") != "ExternalName" {
        let text = "spec.externalName is ignored when spec.type is not \"ExternalName\"";
        warnings.push(text.to_owned());
    }
    if text_at(spec, "trafficDistribution") == "PreferClose" {
        let text = "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        warnings.push(text.to_owned());
    }
}

/// What is odd about the containers of a pod.
fn of_containers(warnings: &mut Vec<String>, path: &str, spec: &Value) {
    for list in ["initContainers", "containers"] {
        for (index, container) in items_at(spec, list).iter().enumerate() {
            let path = format!("{path}.{list}[{index}]");
            let variables = items_at(container, "env");
            for (index, variable) in variables.iter().enumerate() {
                let name = text_at(variable, "name");
                if variables
                    .iter()
                    .take(index)
                    .any(|other| text_at(other, "name") == name)
                {
                    warnings.push(format!(
                        "{path}.env[{index}]: hides previous definition of {name:?}, which may be dropped when using apply"
                    ));
                }
            }
            for kind in ["limits", "requests"] {
                for resource in ["memory", "ephemeral-storage"] {
                    let amount = at(at(container, "resources"), kind)
                        .get(resource)
                        .unwrap_or(&Value::Null);
                    if quantity(amount).is_some_and(|amount| !amount.is_integer()) {
                        warnings.push(format!(
                            "{path}.resources.{kind}[{resource}]: fractional byte value {} is invalid, must be an integer",
                            quote(amount.as_str().unwrap_or_default())
                        ));
                    }
                }
            }
            of_ports(warnings, &path, items_at(container, "ports"));
        }
    }
}

fn of_ports(warnings: &mut Vec<String>, path: &str, ports: &[Value]) {
    let number = |port: &Value, member: &str| at(port, member).as_i64().unwrap_or_default();
    for (index, port) in ports.iter().enumerate() {
        let address = text_at(port, "hostIP");
        if !address.is_empty() && number(port, "hostPort") == 0 {
            warnings.push(format!(
                "{path}.ports[{index}]: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} \
                 HostIP:{address}}}",
                text_at(port, "name"),
                number(port, "containerPort"),
                text_at(port, "protocol")
            ));
        }
        let identity = |port: &Value| {
            (
                number(port, "containerPort"),
                number(port, "hostPort"),
                text_at(port, "protocol").to_owned(),
            )
        };
        if let Some(first) = ports
            .iter()
            .take(index)
            .position(|other| identity(other) == identity(port))
        {
            warnings.push(format!(
                "{path}.ports[{index}]: duplicate port definition with {path}.ports[{first}]"
            ));
        }
    }
}

fn of_pod_spec(warnings: &mut Vec<String>, path: &str, spec: &Value) {
    for (index, secret) in items_at(spec, "imagePullSecrets").iter().enumerate() {
        if text_at(secret, "name").is_empty() {
            warnings.push(format!(
                "{path}.imagePullSecrets[{index}].name: invalid empty name \"\""
            ));
        }
    }
    for volume in items_at(spec, "volumes") {
        let sources = items_at(volume, "projected.sources");
        if sources
            .iter()
            .any(|source| source.as_object().is_some_and(serde_json::Map::is_empty))
        {
            warnings.push(format!(
                "volume {:?} (Projected) has no sources provided",
                text_at(volume, "name")
            ));
        }
    }
    of_containers(warnings, path, spec);
    for (index, constraint) in items_at(spec, "topologySpreadConstraints").iter().enumerate() {
        if at(constraint, "labelSelector").is_null() {
            warnings.push(format!(
                "{path}.topologySpreadConstraints[{index}].labelSelector: a null labelSelector results in matching no pod"
            ));
        }
    }
}
