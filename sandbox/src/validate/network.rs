//! Services, endpoints, Ingresses and network policies (API-395 to API-398, API-405).

use std::net::IpAddr;

use serde_json::Value;

use super::{
    error::{FieldError, FieldErrorKind},
    gofmt::show_ordered,
    rule::{Check, Path, Report, Row, Table, at, is_unset, items_at, text_at},
    selector::LABEL_SELECTOR,
    text,
};

pub(super) const KINDS: &[(&str, &str, Table)] = &[
    ("", "Service", &[Row("spec", Check::Members(SERVICE))]),
    ("", "Endpoints", &[Row("subsets", Check::Items(SUBSET))]),
    ("discovery.k8s.io", "EndpointSlice", ENDPOINT_SLICE),
    (
        "networking.k8s.io",
        "Ingress",
        &[Row("spec", Check::With(ingress))],
    ),
    (
        "networking.k8s.io",
        "IngressClass",
        &[Row("spec", Check::Members(INGRESS_CLASS))],
    ),
    (
        "networking.k8s.io",
        "NetworkPolicy",
        &[Row("spec", Check::Members(NETWORK_POLICY))],
    ),
];

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

const SERVICE: Table = &[
    Row("", Check::With(service_ports)),
    Row("selector", Check::Labels),
    Row("sessionAffinity", Check::OneOf(&["ClientIP", "None"])),
    Row("clusterIPs", Check::With(cluster_ips)),
    Row("externalIPs", Check::EachText(text::endpoint_ip)),
    Row(
        "type",
        Check::OneOf(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]),
    ),
    Row("", Check::With(service_by_type)),
    Row("internalTrafficPolicy", Check::OneOf(&["Cluster", "Local"])),
    Row("loadBalancerSourceRanges", Check::EachText(text::cidr)),
];

fn service_ports(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let kind = text_at(spec, "type");
    let is_headless = text_at(spec, "clusterIP") == "None";
    let ports = items_at(spec, "ports");
    let list = path.member("ports");
    if ports.is_empty() && !is_headless && kind != "ExternalName" {
        report.required(&list, "");
    }
    if kind == "ExternalName" {
        if text_at(spec, "externalName").is_empty() {
            report.required(&path.member("externalName"), "");
        } else {
            let name = text_at(spec, "externalName");
            let problems = text::dns_subdomain(name.strip_suffix('.').unwrap_or(name));
            report.problems(&path.member("externalName"), at(spec, "externalName"), &problems);
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let path = list.item(index);
        let name = text_at(port, "name");
        if name.is_empty() {
            if ports.len() > 1 {
                report.required(&path.member("name"), "");
            }
        } else {
            report.problems(&path.member("name"), at(port, "name"), &text::dns_label(name));
            if ports
                .iter()
                .take(index)
                .any(|other| text_at(other, "name") == name)
            {
                report.duplicate(&path.member("name"), at(port, "name"));
            }
        }
        required_port(report, &path.member("port"), at(port, "port"));
        protocol(report, &path.member("protocol"), at(port, "protocol"));
        target_port(report, &path.member("targetPort"), at(port, "targetPort"));
    }
    for (index, port) in ports.iter().enumerate() {
        let identity = |port: &Value| (at(port, "port").as_i64(), text_at(port, "protocol").to_owned());
        if ports
            .iter()
            .take(index)
            .any(|other| identity(other) == identity(port))
        {
            let shown = serde_json::json!({"protocol": at(port, "protocol"), "port": at(port, "port"), "targetPort": 0});
            let shown = show_ordered(&shown, &["protocol", "port", "targetPort"]);
            report.push(FieldError::new(
                FieldErrorKind::Duplicate,
                list.item(index).to_string(),
                shown,
            ));
        }
    }
}

fn required_port(report: &mut Report, path: &Path<'_>, port: &Value) {
    let number = port.as_i64().unwrap_or_default();
    if !(1..=65535).contains(&number) {
        report.invalid(
            path,
            &Value::from(number),
            "must be between 1 and 65535, inclusive",
        );
    }
}

fn protocol(report: &mut Report, path: &Path<'_>, protocol: &Value) {
    match protocol.as_str() {
        None | Some("") => report.required(path, ""),
        Some(name) if !PROTOCOLS.contains(&name) => report.not_supported(path, protocol, PROTOCOLS),
        Some(_) => {}
    }
}

fn target_port(report: &mut Report, path: &Path<'_>, port: &Value) {
    match port {
        Value::String(name) => report.problems(path, port, &text::port_name(name)),
        Value::Number(_) => required_port(report, path, port),
        _ => {}
    }
}

fn cluster_ips(report: &mut Report, path: &Path<'_>, addresses: &Value) {
    for (index, address) in addresses.as_array().into_iter().flatten().enumerate() {
        let text = address.as_str().unwrap_or_default();
        if text != "None" && !text.is_empty() {
            report.problems(&path.item(index), address, &text::ip(text));
        }
    }
}

fn service_by_type(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let kind = text_at(spec, "type");
    let policy = at(spec, "externalTrafficPolicy");
    let is_external =
        matches!(kind, "NodePort" | "LoadBalancer") || !items_at(spec, "externalIPs").is_empty();
    if kind == "LoadBalancer" && text_at(spec, "clusterIP") == "None" {
        let problem = "may not be set to 'None' for LoadBalancer services";
        report.invalid(&path.member("clusterIPs").item(0), &Value::from("None"), problem);
    }
    if kind == "NodePort" && text_at(spec, "clusterIP") == "None" {
        let problem = "may not be set to 'None' for NodePort services";
        report.invalid(&path.member("clusterIPs").item(0), &Value::from("None"), problem);
    }
    if !is_external && !is_unset(policy) {
        report.invalid(
            &path.member("externalTrafficPolicy"),
            policy,
            "may only be set for externally-accessible services",
        );
    } else if is_external && !policy.is_null() && !matches!(policy.as_str(), Some("Cluster" | "Local")) {
        report.not_supported(
            &path.member("externalTrafficPolicy"),
            policy,
            &["Cluster", "Local"],
        );
    }
    if kind == "ClusterIP" || kind == "ExternalName" {
        for (index, port) in items_at(spec, "ports").iter().enumerate() {
            if !is_unset(at(port, "nodePort")) {
                let path = path.member("ports");
                let path = path.item(index);
                report.forbidden(
                    &path.member("nodePort"),
                    &format!("may not be used when `type` is '{kind}'"),
                );
            }
        }
    }
    if text_at(spec, "sessionAffinity") == "ClientIP" {
        let path = path.member("sessionAffinityConfig");
        let path = path.member("clientIP");
        let seconds = at(spec, "sessionAffinityConfig.clientIP.timeoutSeconds");
        if seconds
            .as_i64()
            .is_some_and(|seconds| !(1..=86400).contains(&seconds))
        {
            report.invalid(
                &path.member("timeoutSeconds"),
                seconds,
                "must be greater than 0 and less than 86400",
            );
        }
    }
}

const SUBSET: Table = &[
    Row("", Check::With(subset_addresses)),
    Row("addresses", Check::Items(ENDPOINT_ADDRESS)),
    Row("notReadyAddresses", Check::Items(ENDPOINT_ADDRESS)),
    Row("ports", Check::Items(ENDPOINT_PORT)),
    Row("ports", Check::With(endpoint_port_names)),
];

const ENDPOINT_ADDRESS: Table = &[
    Row("ip", Check::With(endpoint_address)),
    Row("hostname", Check::Text(text::dns_label)),
    Row("nodeName", Check::Text(text::dns_subdomain)),
];

const ENDPOINT_PORT: Table = &[
    Row("name", Check::Text(text::dns_label)),
    Row("port", Check::With(required_port)),
    Row("protocol", Check::With(protocol)),
];

fn endpoint_address(report: &mut Report, path: &Path<'_>, address: &Value) {
    let shown = Value::from(address.as_str().unwrap_or_default());
    report.problems(
        path,
        &shown,
        &text::endpoint_ip(address.as_str().unwrap_or_default()),
    );
}

fn subset_addresses(report: &mut Report, path: &Path<'_>, subset: &Value) {
    if is_unset(at(subset, "addresses")) && is_unset(at(subset, "notReadyAddresses")) {
        report.required(path, "must specify `addresses` or `notReadyAddresses`");
    }
}

fn endpoint_port_names(report: &mut Report, path: &Path<'_>, ports: &Value) {
    let ports = ports.as_array().map_or(&[][..], Vec::as_slice);
    for (index, port) in ports.iter().enumerate() {
        if ports.len() > 1 && text_at(port, "name").is_empty() {
            report.required(&path.item(index).member("name"), "");
        }
    }
}

const ENDPOINT_SLICE: Table = &[
    Row("", Check::With(address_type)),
    Row("", Check::With(endpoints)),
    Row("ports", Check::With(slice_ports)),
];

fn address_type(report: &mut Report, path: &Path<'_>, slice: &Value) {
    let kind = at(slice, "addressType");
    match kind.as_str() {
        None | Some("") => report.required(&path.member("addressType"), ""),
        Some("FQDN" | "IPv4" | "IPv6") => {}
        Some(_) => report.not_supported(&path.member("addressType"), kind, &["FQDN", "IPv4", "IPv6"]),
    }
}

const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;

fn endpoints(report: &mut Report, path: &Path<'_>, slice: &Value) {
    let path = path.member("endpoints");
    let endpoints = items_at(slice, "endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        report.push(FieldError::too_many(
            path.to_string(),
            endpoints.len(),
            MAX_ENDPOINTS,
        ));
        return;
    }
    let kind = text_at(slice, "addressType");
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = path.item(index);
        let addresses_path = path.member("addresses");
        let addresses = items_at(endpoint, "addresses");
        if addresses.is_empty() {
            report.required(&addresses_path, "must contain at least 1 address");
        } else if addresses.len() > MAX_ADDRESSES {
            report.push(FieldError::too_many(
                addresses_path.to_string(),
                addresses.len(),
                MAX_ADDRESSES,
            ));
        }
        for (index, address) in addresses.iter().enumerate() {
            let text = address.as_str().unwrap_or_default();
            let item = addresses_path.item(index);
            match (kind, text.parse::<IpAddr>()) {
                ("FQDN", _) => report.problems(&item, address, &text::dns_subdomain(text)),
                ("IPv4", Ok(IpAddr::V6(_))) => {
                    report.invalid(&addresses_path, address, "must be an IPv4 address");
                }
                ("IPv6", Ok(IpAddr::V4(_))) => {
                    report.invalid(&addresses_path, address, "must be an IPv6 address");
                }
                ("IPv4" | "IPv6", _) => report.problems(&item, address, &text::endpoint_ip(text)),
                _ => {}
            }
        }
        let problems = |text: &str| {
            if text.is_empty() {
                Vec::new()
            } else {
                text::dns_subdomain(text)
            }
        };
        report.problems(
            &path.member("nodeName"),
            at(endpoint, "nodeName"),
            &problems(text_at(endpoint, "nodeName")),
        );
        if let Some(hostname) = endpoint.get("hostname").and_then(Value::as_str) {
            report.problems(
                &path.member("hostname"),
                at(endpoint, "hostname"),
                &text::dns_label(hostname),
            );
        }
    }
}

fn slice_ports(report: &mut Report, path: &Path<'_>, ports: &Value) {
    let ports = ports.as_array().map_or(&[][..], Vec::as_slice);
    if ports.len() > MAX_PORTS {
        report.push(FieldError::too_many(path.to_string(), ports.len(), MAX_PORTS));
        return;
    }
    let mut names = rustc_hash::FxHashSet::default();
    for (index, port) in ports.iter().enumerate() {
        let path = path.item(index);
        let name = text_at(port, "name");
        if !name.is_empty() {
            report.problems(&path.member("name"), at(port, "name"), &text::dns_label(name));
        }
        if !names.insert(name) {
            report.duplicate(&path.member("name"), at(port, "name"));
        }
        if port.get("port").is_some() {
            required_port(report, &path.member("port"), at(port, "port"));
        }
        protocol(report, &path.member("protocol"), at(port, "protocol"));
    }
}

fn ingress(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let rules = items_at(spec, "rules");
    let default_backend = at(spec, "defaultBackend");
    if rules.is_empty() && default_backend.is_null() {
        let problem = "either `defaultBackend` or `rules` must be specified";
        report.invalid(path, &Value::Null, problem);
    }
    if !default_backend.is_null() {
        backend(report, &path.member("defaultBackend"), default_backend);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.member("rules");
        let path = path.item(index);
        let name = text_at(rule, "host");
        if !name.is_empty() {
            report.problems(&path.member("host"), at(rule, "host"), &text::host(name));
        }
        let Some(http) = rule.get("http") else { continue };
        let path = path.member("http");
        let path = path.member("paths");
        let paths = items_at(http, "paths");
        if paths.is_empty() {
            report.required(&path, "");
        }
        for (index, entry) in paths.iter().enumerate() {
            ingress_path(report, &path.item(index), entry);
        }
    }
    for (index, tls) in items_at(spec, "tls").iter().enumerate() {
        let path = path.member("tls");
        let path = path.item(index);
        let path = path.member("hosts");
        for (index, name) in items_at(tls, "hosts").iter().enumerate() {
            report.problems(
                &path.item(index),
                name,
                &text::host(name.as_str().unwrap_or_default()),
            );
        }
    }
    if let Some(class) = spec.get("ingressClassName").and_then(Value::as_str) {
        let problems = text::dns_subdomain(class);
        report.problems(
            &path.member("ingressClassName"),
            at(spec, "ingressClassName"),
            &problems,
        );
    }
}

fn ingress_path(report: &mut Report, path: &Path<'_>, entry: &Value) {
    const INVALID_PARTS: &[&str] = &["//", "/./", "/../", "%2f", "%2F"];
    const INVALID_ENDS: &[&str] = &["/..", "/."];
    let kind = at(entry, "pathType");
    let value = at(entry, "path");
    let text = value.as_str().unwrap_or_default();
    let path_of_path = path.member("path");
    match kind.as_str() {
        None | Some("") => report.required(&path.member("pathType"), "pathType must be specified"),
        Some("Exact" | "Prefix") => {
            if text.starts_with('/') {
                for part in INVALID_PARTS.iter().filter(|part| text.contains(**part)) {
                    report.invalid(&path_of_path, value, &format!("must not contain '{part}'"));
                }
                for end in INVALID_ENDS.iter().filter(|end| text.ends_with(**end)) {
                    report.invalid(&path_of_path, value, &format!("cannot end with '{end}'"));
                }
            } else {
                report.invalid(&path_of_path, &Value::from(text), "must be an absolute path");
            }
        }
        Some("ImplementationSpecific") => {
            if !text.is_empty() && !text.starts_with('/') {
                report.invalid(&path_of_path, value, "must be an absolute path");
            }
        }
        Some(_) => {
            let supported = ["Exact", "ImplementationSpecific", "Prefix"];
            report.not_supported(&path.member("pathType"), kind, &supported);
        }
    }
    backend(report, &path.member("backend"), at(entry, "backend"));
}

fn backend(report: &mut Report, path: &Path<'_>, backend: &Value) {
    let empty = Value::from("");
    match (backend.get("service"), backend.get("resource")) {
        (Some(_), Some(_)) => report.invalid(path, &empty, "cannot set both resource and service backends"),
        (None, None) => report.invalid(path, &empty, "resource or service backend is required"),
        (None, Some(resource)) => {
            let path = path.member("resource");
            for member in ["kind", "name"] {
                if text_at(resource, member).is_empty() {
                    report.required(&path.member(member), "");
                }
            }
        }
        (Some(service), None) => {
            let service_path = path.member("service");
            if text_at(service, "name").is_empty() {
                report.required(&service_path.member("name"), "");
            } else {
                let problems = text::dns_label(text_at(service, "name"));
                report.problems(&service_path.member("name"), at(service, "name"), &problems);
            }
            let name = at(service, "port.name");
            let number = at(service, "port.number");
            let port_path = service_path.member("port");
            match (is_unset(name), is_unset(number)) {
                (false, false) => report.invalid(path, &empty, "cannot set both port name & port number"),
                (true, true) => report.required(path, "port name or number is required"),
                (false, true) => {
                    let problems = text::port_name(name.as_str().unwrap_or_default());
                    report.problems(&port_path.member("name"), name, &problems);
                }
                (true, false) => required_port(report, &port_path.member("number"), number),
            }
        }
    }
}

const INGRESS_CLASS: Table = &[
    Row("controller", Check::With(controller_name)),
    Row(
        "parameters",
        Check::Members(&[
            Row("kind", Check::Required),
            Row("name", Check::Required),
            Row("scope", Check::OneOf(&["Cluster", "Namespace"])),
        ]),
    ),
];

fn controller_name(report: &mut Report, path: &Path<'_>, controller: &Value) {
    let name = controller.as_str().unwrap_or_default();
    if name.is_empty() {
        report.required(path, "");
    } else if name.len() > 250 {
        report.push(FieldError::too_long(path.to_string(), 250));
    } else if !name.contains('/') {
        report.invalid(
            path,
            controller,
            "must be a domain-prefixed path (such as \"acme.io/foo\")",
        );
    }
}

const NETWORK_POLICY: Table = &[
    Row("podSelector", Check::Members(LABEL_SELECTOR)),
    Row(
        "ingress",
        Check::Items(&[
            Row("ports", Check::Items(POLICY_PORT)),
            Row("from", Check::Items(PEER)),
        ]),
    ),
    Row(
        "egress",
        Check::Items(&[
            Row("ports", Check::Items(POLICY_PORT)),
            Row("to", Check::Items(PEER)),
        ]),
    ),
    Row("policyTypes", Check::With(policy_types)),
];

const POLICY_PORT: Table = &[
    Row("protocol", Check::OneOf(PROTOCOLS)),
    Row("port", Check::With(target_port)),
    Row("", Check::With(end_port)),
];

const PEER: Table = &[
    Row("podSelector", Check::Members(LABEL_SELECTOR)),
    Row("namespaceSelector", Check::Members(LABEL_SELECTOR)),
    Row(
        "ipBlock",
        Check::Members(&[Row("cidr", Check::Required), Row("cidr", Check::Text(text::cidr))]),
    ),
];

fn end_port(report: &mut Report, path: &Path<'_>, port: &Value) {
    let Some(end) = at(port, "endPort").as_i64() else {
        return;
    };
    let path = path.member("endPort");
    match at(port, "port") {
        Value::Number(start) => {
            if start.as_i64().is_some_and(|start| end < start) {
                report.invalid(
                    &path,
                    &Value::Number(start.clone()),
                    "must be greater than or equal to `port`",
                );
            }
        }
        Value::String(_) => {
            report.invalid(
                &path,
                at(port, "endPort"),
                "may not be specified when `port` is non-numeric",
            );
        }
        _ => report.invalid(
            &path,
            at(port, "endPort"),
            "may not be specified when `port` is not specified",
        ),
    }
}

fn policy_types(report: &mut Report, path: &Path<'_>, types: &Value) {
    for (index, kind) in types.as_array().into_iter().flatten().enumerate() {
        if !matches!(kind.as_str(), Some("Ingress" | "Egress")) {
            report.not_supported(&path.item(index), kind, &["Ingress", "Egress"]);
        }
    }
}
