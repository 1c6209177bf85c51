//! Services, endpoints, Ingresses and network policies (API-395 to API-398, API-405).

use std::net::IpAddr;

use serde_json::Value;

use super::{
    error::{FieldError, FieldErrorKind},
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
    Row("", Check::With(first_cluster_ip)),
    Row("clusterIPs", Check::With(cluster_ips)),
    Row("externalIPs", Check::EachText(text::endpoint_ip)),
    Row(
        "type",
        Check::OneOf(&["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]),
    ),
    Row("", Check::With(service_by_type)),
    Row("internalTrafficPolicy", Check::OneOf(&["Cluster", "Local"])),
    Row("", Check::With(load_balancer)),
    Row("ipFamilies", Check::With(families)),
    Row(
        "ipFamilyPolicy",
        Check::OneOf(&["PreferDualStack", "RequireDualStack", "SingleStack"]),
    ),
    Row(
        "trafficDistribution",
        Check::OneOf(&["PreferClose", "PreferSameZone", "PreferSameNode"]),
    ),
];

fn families(report: &mut Report, path: &Path<'_>, families: &Value) {
    const FAMILIES: &[&str] = &["IPv4", "IPv6"];
    let list = families.as_array().map_or(&[][..], Vec::as_slice);
    for (index, family) in list.iter().enumerate() {
        let path = path.item(index);
        if !family.as_str().is_some_and(|family| FAMILIES.contains(&family)) {
            report.not_supported(&path, family, FAMILIES);
        } else if list.iter().take(index).any(|other| other == family) {
            report.duplicate(&path, family);
        }
    }
}

/// What only load balancers have.
fn load_balancer(report: &mut Report, path: &Path<'_>, spec: &Value) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let balances = text_at(spec, "type") == "LoadBalancer";
    // The name in the error begins with a capital, as upstream's.
    let ranges_path = path.member("LoadBalancerSourceRanges");
    let ranges = at(spec, "loadBalancerSourceRanges");
    if !is_unset(ranges) && !balances {
        report.forbidden(&ranges_path, ONLY);
    } else {
        for (index, range) in items_at(spec, "loadBalancerSourceRanges").iter().enumerate() {
            let problems = text::cidr(range.as_str().unwrap_or_default());
            report.problems(&ranges_path.item(index), range, &problems);
        }
    }
    let nodes = path.member("allocateLoadBalancerNodePorts");
    if !at(spec, "allocateLoadBalancerNodePorts").is_null() && !balances {
        report.forbidden(&nodes, ONLY);
    }
    let class_path = path.member("loadBalancerClass");
    let class = at(spec, "loadBalancerClass");
    if !class.is_null() && !balances {
        report.forbidden(&class_path, ONLY);
    } else if let Some(name) = class.as_str() {
        report.problems(&class_path, class, &text::qualified_name(name));
    }
    let health = at(spec, "healthCheckNodePort");
    let has_use = balances && at(spec, "externalTrafficPolicy") == "Local";
    if !is_unset(health) && !has_use {
        report.invalid(
            &path.member("healthCheckNodePort"),
            health,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        );
    }
}

fn service_ports(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let kind = text_at(spec, "type");
    let is_headless = text_at(spec, "clusterIP") == "None";
    let ports = items_at(spec, "ports");
    let list = path.member("ports");
    if ports.is_empty() && !is_headless && kind != "ExternalName" {
        report.required(&list, "");
    }
    if kind == "ExternalName" {
        if !is_unset(at(spec, "clusterIPs")) || !matches!(text_at(spec, "clusterIP"), "" | "None") {
            let reason = "may not be set for ExternalName services";
            report.forbidden(&path.member("clusterIPs"), reason);
        }
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
        report.check(&path, port, APPLICATION);
    }
    for (index, port) in ports.iter().enumerate() {
        let identity = |port: &Value| (at(port, "port").as_i64(), text_at(port, "protocol").to_owned());
        if ports
            .iter()
            .take(index)
            .any(|other| identity(other) == identity(port))
        {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                at(port, "protocol"),
                at(port, "port")
            );
            report.push(FieldError::new(
                FieldErrorKind::Duplicate,
                list.item(index).to_string(),
                shown,
            ));
        }
    }
}

/// The protocol that is spoken on a port.
const APPLICATION: Table = &[Row("appProtocol", Check::Text(text::qualified_name))];

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
        _ => required_port(report, path, port),
    }
}

/// `clusterIP` is the first of `clusterIPs`.
fn first_cluster_ip(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let first = items_at(spec, "clusterIPs").first().and_then(Value::as_str);
    let problem = match (text_at(spec, "clusterIP"), first) {
        ("", Some(_)) => "must be empty when `clusterIP` is not specified",
        (single, Some(first)) if single != first => "first value must match `clusterIP`",
        _ => return,
    };
    report.invalid(&path.member("clusterIPs"), at(spec, "clusterIPs"), problem);
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
    Row("appProtocol", Check::Text(text::qualified_name)),
];

fn endpoint_address(report: &mut Report, path: &Path<'_>, address: &Value) {
    let shown = Value::from(address.as_str().unwrap_or_default());
    let text = address.as_str().unwrap_or_default();
    report.problems(path, &shown, &text::endpoint_ip(text));
    if text.parse::<IpAddr>().is_err() {
        report.invalid(path, &shown, "must be a valid IP address");
    }
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
        let hints = path.member("hints");
        let zones = hints.member("forZones");
        for (index, zone) in items_at(endpoint, "hints.forZones").iter().enumerate() {
            let path = zones.item(index);
            let (path, name) = (path.member("name"), text_at(zone, "name"));
            report.problems(&path, at(zone, "name"), &text::label_value(name));
            let before = items_at(endpoint, "hints.forZones").iter().take(index);
            if before.into_iter().any(|other| text_at(other, "name") == name) {
                report.duplicate(&path, at(zone, "name"));
            }
        }
        let nodes = hints.member("forNodes");
        for (index, node) in items_at(endpoint, "hints.forNodes").iter().enumerate() {
            let problems = text::dns_subdomain(text_at(node, "name"));
            report.problems(&nodes.item(index).member("name"), at(node, "name"), &problems);
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
        if at(port, "protocol") == "" {
            report.not_supported(&path.member("protocol"), at(port, "protocol"), PROTOCOLS);
        } else {
            protocol(report, &path.member("protocol"), at(port, "protocol"));
        }
        report.check(&path, port, APPLICATION);
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
        let hosts = path.member("hosts");
        for (index, name) in items_at(tls, "hosts").iter().enumerate() {
            let text = name.as_str().unwrap_or_default();
            // Certificates may be for addresses as well.
            if text.parse::<IpAddr>().is_err() {
                report.problems(&hosts.item(index), name, &text::host(text));
            }
        }
        let secret = text_at(tls, "secretName");
        if !secret.is_empty() {
            let problems = text::dns_subdomain(secret);
            report.problems(&path.member("secretName"), at(tls, "secretName"), &problems);
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
            typed_reference(report, &path, resource);
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

/// Group, kind and name of a reference, as far as they are set.
fn typed_reference(report: &mut Report, path: &Path<'_>, reference: &Value) {
    report.check(
        path,
        reference,
        &[
            Row("apiGroup", Check::Text(text::dns_subdomain)),
            Row("kind", Check::Text(text::path_segment)),
            Row("name", Check::Text(text::path_segment)),
        ],
    );
}

const INGRESS_CLASS: Table = &[
    Row("controller", Check::With(controller_name)),
    Row(
        "parameters",
        Check::Members(&[
            Row("kind", Check::Required),
            Row("name", Check::Required),
            Row("", Check::With(typed_reference)),
            Row("scope", Check::OneOf(&["Cluster", "Namespace"])),
            Row("", Check::With(parameters_scope)),
        ]),
    ),
];

/// Only parameters in a namespace name one.
fn parameters_scope(report: &mut Report, path: &Path<'_>, parameters: &Value) {
    let path = path.member("namespace");
    let namespace = text_at(parameters, "namespace");
    match text_at(parameters, "scope") {
        "Namespace" if namespace.is_empty() => {
            report.required(&path, "`parameters.scope` is set to 'Namespace'");
        }
        "Namespace" => {
            report.problems(&path, at(parameters, "namespace"), &text::dns_label(namespace));
        }
        "Cluster" if !namespace.is_empty() => {
            report.forbidden(&path, "`parameters.scope` is set to 'Cluster'");
        }
        _ => {}
    }
}

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
    Row("protocol", Check::OneOf(&["TCP", "UDP", "SCTP"])),
    Row("port", Check::With(policy_port)),
    Row("", Check::With(end_port)),
];

const PEER: Table = &[
    Row("", Check::With(one_peer)),
    Row("podSelector", Check::Members(LABEL_SELECTOR)),
    Row("namespaceSelector", Check::Members(LABEL_SELECTOR)),
    Row(
        "ipBlock",
        Check::Members(&[
            Row("cidr", Check::Required),
            Row("cidr", Check::Text(text::cidr)),
            Row("", Check::With(exceptions)),
        ]),
    ),
];

fn policy_port(report: &mut Report, path: &Path<'_>, port: &Value) {
    if !port.is_null() {
        target_port(report, path, port);
    }
}

fn one_peer(report: &mut Report, path: &Path<'_>, peer: &Value) {
    let has = |member: &str| !at(peer, member).is_null();
    let selects = has("podSelector") || has("namespaceSelector");
    match (selects, has("ipBlock")) {
        (false, false) => report.required(path, "must specify a peer"),
        (true, true) => report.forbidden(path, "may not specify both ipBlock and another peer"),
        _ => {}
    }
}

/// What a block leaves out lies within it.
fn exceptions(report: &mut Report, path: &Path<'_>, block: &Value) {
    let Some(whole) = text::network(text_at(block, "cidr")) else {
        return;
    };
    let path = path.member("except");
    for (index, except) in items_at(block, "except").iter().enumerate() {
        let text = except.as_str().unwrap_or_default();
        let path = path.item(index);
        match text::network(text) {
            None => report.problems(&path, except, &text::cidr(text)),
            Some(part) if !part.is_strictly_within(&whole) => {
                report.invalid(&path, except, "must be a strict subset of `cidr`");
            }
            Some(_) => {}
        }
    }
}

fn end_port(report: &mut Report, path: &Path<'_>, port: &Value) {
    let Some(end) = at(port, "endPort").as_i64() else {
        return;
    };
    let path = path.member("endPort");
    if end > 65535 {
        required_port(report, &path, at(port, "endPort"));
        return;
    }
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
    if types.as_array().is_some_and(|types| types.len() > 2) {
        report.invalid(path, types, "may not specify more than two policyTypes");
        return;
    }
    for (index, kind) in types.as_array().into_iter().flatten().enumerate() {
        if !matches!(kind.as_str(), Some("Ingress" | "Egress")) {
            report.not_supported(&path.item(index), kind, &["Ingress", "Egress"]);
        }
    }
}
