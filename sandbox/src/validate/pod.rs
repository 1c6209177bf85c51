//! Pods and pod templates (API-381 to API-389).

use serde_json::Value;

use super::{
    container,
    error::FieldError,
    meta, pod_spec,
    quantity::Quantity,
    rule::{Check, Path, Report, Row, Table, at, is_unset, items_at, text_at},
    selector::{LABEL_SELECTOR, NODE_SELECTOR_TERM, key},
    text, volume,
};

pub(super) const KINDS: &[(&str, &str, Table)] = &[
    (
        "",
        "Pod",
        &[
            Row("", Check::With(mirror_annotation)),
            Row("spec", Check::Members(POD_SPEC)),
            Row("spec", Check::With(gated_on_a_node)),
            Row("spec", Check::With(tokens_have_accounts)),
            Row("spec", Check::With(without_ephemeral_containers)),
        ],
    ),
    ("", "PodTemplate", &[Row("template", Check::Members(TEMPLATE))]),
];

/// Metadata and spec of a pod template.
pub(super) const TEMPLATE: Table = &[
    Row("", Check::With(template_metadata)),
    Row("spec", Check::Members(POD_SPEC)),
];

/// Reported without `metadata`, as upstream does.
fn template_metadata(report: &mut Report, path: &Path<'_>, template: &Value) {
    meta::check_labels_and_annotations(report, path, at(template, "metadata"));
}

pub(super) const POD_SPEC: Table = &[
    Row("volumes", Check::With(volume_names)),
    Row("volumes", Check::Items(VOLUME)),
    Row("", Check::With(containers)),
    Row("restartPolicy", Check::OneOf(&["Always", "OnFailure", "Never"])),
    Row(
        "dnsPolicy",
        Check::OneOf(&["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]),
    ),
    Row("", Check::With(pod_spec::dns)),
    Row("nodeSelector", Check::Labels),
    Row("imagePullSecrets", Check::Items(&[])),
    Row("affinity", Check::Members(AFFINITY)),
    Row(
        "readinessGates",
        Check::Items(&[Row("conditionType", Check::With(key))]),
    ),
    Row("schedulingGates", Check::With(pod_spec::gates)),
    Row("topologySpreadConstraints", Check::With(spread_constraints)),
    Row("serviceAccountName", Check::Text(text::dns_subdomain)),
    Row("nodeName", Check::Text(text::dns_subdomain)),
    Row("activeDeadlineSeconds", Check::Between(1, 2_147_483_647)),
    Row("hostname", Check::Text(text::dns_label)),
    Row("subdomain", Check::Text(text::dns_label)),
    Row("tolerations", Check::Items(&[Row("", Check::With(toleration))])),
    Row(
        "hostAliases",
        Check::Items(&[
            Row("ip", Check::With(pod_spec::alias_address)),
            Row("hostnames", Check::EachText(text::dns_subdomain)),
        ]),
    ),
    Row("priorityClassName", Check::Text(text::dns_subdomain)),
    Row("runtimeClassName", Check::Text(text::dns_subdomain)),
    Row(
        "preemptionPolicy",
        Check::OneOf(&["Never", "PreemptLowerPriority"]),
    ),
    Row("", Check::With(pod_spec::resources)),
    Row("", Check::With(pod_spec::names)),
    Row("", Check::With(pod_spec::security)),
    Row("", Check::With(pod_spec::operating_system)),
];

/// Only pods of a kubelet's own files carry it, and those have a node.
fn mirror_annotation(report: &mut Report, path: &Path<'_>, pod: &Value) {
    const NAME: &str = "kubernetes.io/config.mirror";
    let Some(hash) = at(pod, "metadata.annotations").get(NAME) else {
        return;
    };
    if is_unset(at(pod, "spec.nodeName")) {
        let path = path.member("metadata");
        let path = path.member("annotations");
        report.invalid(
            &path.key(NAME),
            hash,
            "must set spec.nodeName if mirror pod annotation is set",
        );
    }
}

/// A token is one of the pod's account.
fn tokens_have_accounts(report: &mut Report, path: &Path<'_>, spec: &Value) {
    if !is_unset(at(spec, "serviceAccountName")) {
        return;
    }
    let path = path.member("volumes");
    for (index, volume) in items_at(spec, "volumes").iter().enumerate() {
        let path = path.item(index);
        let path = path.member("projected");
        let path = path.member("sources");
        for (index, source) in items_at(volume, "projected.sources").iter().enumerate() {
            if source.get("serviceAccountToken").is_some() {
                let reason = "must not be specified when serviceAccountName is not set";
                report.forbidden(&path.item(index).member("serviceAccountToken"), reason);
            }
        }
    }
}

/// Those come later, through their subresource.
fn without_ephemeral_containers(report: &mut Report, path: &Path<'_>, spec: &Value) {
    if !is_unset(at(spec, "ephemeralContainers")) {
        report.forbidden(&path.member("ephemeralContainers"), "cannot be set on create");
    }
}

fn gated_on_a_node(report: &mut Report, path: &Path<'_>, spec: &Value) {
    if !is_unset(at(spec, "nodeName")) && !is_unset(at(spec, "schedulingGates")) {
        report.forbidden(
            &path.member("nodeName"),
            "cannot be set until all schedulingGates have been cleared",
        );
    }
}

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

const CONTAINER: Table = &[
    Row("name", Check::Required),
    Row("name", Check::Text(text::dns_label)),
    Row("image", Check::With(image)),
    Row(
        "terminationMessagePolicy",
        Check::OneOf(&["File", "FallbackToLogsOnError"]),
    ),
    Row("restartPolicy", Check::OneOf(&["Always", "Never", "OnFailure"])),
    Row("", Check::With(container::restart_rules)),
    Row("ports", Check::Items(CONTAINER_PORT)),
    Row("ports", Check::UniqueBy("name")),
    Row("env", Check::Items(ENVIRONMENT)),
    Row("envFrom", Check::With(environment_sources)),
    Row(
        "imagePullPolicy",
        Check::OneOf(&["Always", "IfNotPresent", "Never"]),
    ),
    Row("resources", Check::With(resources)),
    Row("resizePolicy", Check::With(container::resize_policies)),
    Row("securityContext", Check::With(container::security)),
    Row(
        "lifecycle",
        Check::Members(&[
            Row("postStart", Check::With(handler)),
            Row("preStop", Check::With(handler)),
        ]),
    ),
    Row(
        "livenessProbe",
        Check::With(|report, path, value| probe(report, path, value, Probe::Liveness)),
    ),
    Row(
        "readinessProbe",
        Check::With(|report, path, value| probe(report, path, value, Probe::Readiness)),
    ),
    Row(
        "startupProbe",
        Check::With(|report, path, value| probe(report, path, value, Probe::Startup)),
    ),
];

const CONTAINER_PORT: Table = &[
    Row("name", Check::Text(text::port_name)),
    Row("containerPort", Check::Required),
    Row("containerPort", Check::With(port_number)),
    Row("hostPort", Check::With(port_number)),
    Row("protocol", Check::OneOf(PROTOCOLS)),
];

const ENVIRONMENT: Table = &[
    Row("name", Check::Required),
    Row("name", Check::Text(text::environment_name)),
    Row("", Check::With(environment_value)),
];

/// 1 to 65535, unless unset.
pub(super) fn port_number(report: &mut Report, path: &Path<'_>, value: &Value) {
    if value
        .as_i64()
        .is_some_and(|port| port != 0 && !(1..=65535).contains(&port))
    {
        report.invalid(path, value, "must be between 1 and 65535, inclusive");
    }
}

fn image(report: &mut Report, path: &Path<'_>, value: &Value) {
    let image = value.as_str().unwrap_or_default();
    if image.is_empty() {
        report.required(path, "");
    } else if image.trim() != image {
        report.invalid(path, value, "must not have leading or trailing whitespace");
    }
}

/// All containers of a pod spec: their own rules, then those across them.
fn containers(report: &mut Report, path: &Path<'_>, spec: &Value) {
    if items_at(spec, "containers").is_empty() {
        report.required(&path.member("containers"), "");
    }
    let mut names: Vec<&str> = Vec::new();
    for list in ["containers", "initContainers"] {
        let path = path.member(list);
        for (index, container) in items_at(spec, list).iter().enumerate() {
            let path = path.item(index);
            report.check(&path, container, CONTAINER);
            mounts(report, &path, container, spec);
            container::devices(report, &path, container, spec);
            container::in_pod(report, &path, container, spec);
            if list == "initContainers" && text_at(container, "restartPolicy") != "Always" {
                for member in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
                    if container.get(member).is_some() {
                        let reason = "may not be set for init containers without restartPolicy=Always";
                        report.forbidden(&path.member(member), reason);
                    }
                }
            }
            let name = text_at(container, "name");
            if !name.is_empty() && names.contains(&name) {
                report.duplicate(&path.member("name"), at(container, "name"));
            }
            names.push(name);
        }
    }
    host_ports(report, path, spec);
}

/// No two containers claim a host port; with the host's network it is the container's port (API-382).
fn host_ports(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let uses_host_network = at(spec, "hostNetwork") == &Value::Bool(true);
    let path = path.member("containers");
    let mut claimed: Vec<(&str, &str, i64)> = Vec::new();
    for (index, container) in items_at(spec, "containers").iter().enumerate() {
        let path = path.item(index);
        let path = path.member("ports");
        for (index, port) in items_at(container, "ports").iter().enumerate() {
            let Some(host_port) = at(port, "hostPort").as_i64().filter(|port| *port != 0) else {
                continue;
            };
            let path = path.item(index);
            let claim = (text_at(port, "protocol"), text_at(port, "hostIP"), host_port);
            if claimed.contains(&claim) {
                let shown = format!("{}/{}/{}", claim.0, claim.1, claim.2);
                report.duplicate(&path.member("hostPort"), &Value::from(shown));
            }
            claimed.push(claim);
            if uses_host_network && at(port, "containerPort").as_i64() != Some(host_port) {
                let problem = "must match `containerPort` when `hostNetwork` is true";
                report.invalid(&path.member("hostPort"), at(port, "hostPort"), problem);
            }
        }
    }
}

fn mounts(report: &mut Report, path: &Path<'_>, container: &Value, spec: &Value) {
    let mounts_path = path.member("volumeMounts");
    let volumes = items_at(spec, "volumes");
    let mounts = items_at(container, "volumeMounts");
    for (index, mount) in mounts.iter().enumerate() {
        let path = mounts_path.item(index);
        let name = text_at(mount, "name");
        if name.is_empty() {
            report.required(&path.member("name"), "");
        }
        if !volumes.iter().any(|volume| text_at(volume, "name") == name) {
            report.push(FieldError::not_found(
                path.member("name").to_string(),
                &Value::from(name),
            ));
        }
        let target = text_at(mount, "mountPath");
        if target.is_empty() {
            report.required(&path.member("mountPath"), "");
        } else if mounts
            .iter()
            .take(index)
            .any(|other| text_at(other, "mountPath") == target)
        {
            report.invalid(
                &path.member("mountPath"),
                at(mount, "mountPath"),
                "must be unique",
            );
        }
        container::mount(report, &mounts_path, &path, mount, container);
    }
}

fn environment_value(report: &mut Report, path: &Path<'_>, variable: &Value) {
    const SOURCES: &[&str] = &[
        "fieldRef",
        "resourceFieldRef",
        "configMapKeyRef",
        "secretKeyRef",
        "fileKeyRef",
    ];
    let Some(source) = variable.get("valueFrom") else {
        return;
    };
    let path = path.member("valueFrom");
    let empty = Value::from("");
    if !text_at(variable, "value").is_empty() {
        report.invalid(&path, &empty, "may not be specified when `value` is not empty");
    }
    match SOURCES.iter().filter(|name| source.get(**name).is_some()).count() {
        1 => {}
        0 => {
            let problem = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            report.invalid(&path, &empty, problem);
        }
        _ => report.invalid(
            &path,
            &empty,
            "may not have more than one field specified at a time",
        ),
    }
    if let Some(reference) = source.get("fieldRef") {
        field_path(report, &path.member("fieldRef"), reference);
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        let Some(reference) = source.get(name) else {
            continue;
        };
        let path = path.member(name);
        if text_at(reference, "name").is_empty() {
            let problems = text::dns_subdomain("");
            report.problems(&path.member("name"), &Value::from(""), &problems);
        }
        if text_at(reference, "key").is_empty() {
            report.required(&path.member("key"), "");
        } else {
            let problems = text::config_key(text_at(reference, "key"));
            report.problems(&path.member("key"), at(reference, "key"), &problems);
        }
    }
    if let Some(reference) = source.get("resourceFieldRef") {
        resource_field(report, &path.member("resourceFieldRef"), reference);
    }
}

/// A resource of a container, in units of a divisor.
fn resource_field(report: &mut Report, path: &Path<'_>, reference: &Value) {
    const RESOURCES: &[&str] = &[
        "limits.cpu",
        "limits.ephemeral-storage",
        "limits.memory",
        "requests.cpu",
        "requests.ephemeral-storage",
        "requests.memory",
    ];
    const SIZES: &[&str] = &[
        "0", "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    let resource = at(reference, "resource");
    let name = text_at(reference, "resource");
    let huge_pages = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if name.is_empty() {
        report.required(&path.member("resource"), "");
        return;
    }
    if !RESOURCES.contains(&name) && !huge_pages {
        report.not_supported(&path.member("resource"), resource, RESOURCES);
        return;
    }
    let divisor = text_at(reference, "divisor");
    let kind = name.split_once('.').map_or(name, |(_, kind)| kind);
    let (fits, units) = match kind {
        "cpu" => (
            matches!(divisor, "" | "0" | "1" | "1m"),
            "1m and 1 are supported with the cpu resource",
        ),
        "memory" => (
            divisor.is_empty() || SIZES.contains(&divisor),
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource",
        ),
        "ephemeral-storage" => (
            divisor.is_empty() || SIZES.contains(&divisor),
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the local ephemeral storage resource",
        ),
        _ => (
            divisor.is_empty() || SIZES.contains(&divisor),
            "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the hugepages resource",
        ),
    };
    if !fits {
        let problem = format!("only divisor's values {units}");
        report.invalid(&path.member("divisor"), resource, &problem);
    }
}

/// `metadata.labels['x']` and the fields that the downward API offers.
fn field_path(report: &mut Report, path: &Path<'_>, reference: &Value) {
    const FIELDS: &[&str] = &[
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.hostNetwork",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.phase",
        "status.podIP",
        "status.podIPs",
    ];
    const OFFERED: &[&str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    let whole = path;
    let path = path.member("fieldPath");
    let field = text_at(reference, "fieldPath");
    if field.is_empty() {
        report.required(&path, "");
        return;
    }
    let version = text_at(reference, "apiVersion");
    if !matches!(version, "" | "v1") {
        let problem = format!("error converting fieldPath: unsupported pod version: {version}");
        report.invalid(&path, &Value::from(field), &problem);
        return;
    }
    let subscript = field
        .split_once('[')
        .and_then(|(name, rest)| Some((name, rest.strip_prefix('\'')?.strip_suffix("']")?)));
    match subscript {
        Some(("metadata.labels", of)) => {
            report.problems(whole, &Value::from(of), &text::qualified_name(of));
        }
        Some(("metadata.annotations", of)) => {
            report.problems(whole, &Value::from(of), &text::qualified_name(&of.to_lowercase()));
        }
        _ if !FIELDS.contains(&field) => {
            let problem = format!("error converting fieldPath: field label not supported: {field}");
            report.invalid(&path, &Value::from(field), &problem);
        }
        _ if !OFFERED.contains(&field) => {
            report.not_supported(&path, &Value::from(field), OFFERED);
        }
        _ => {}
    }
}

/// How many sources there are is reported for the list, what is wrong with one at its index.
fn environment_sources(report: &mut Report, path: &Path<'_>, sources: &Value) {
    for (index, source) in sources.as_array().into_iter().flatten().enumerate() {
        let prefix = text_at(source, "prefix");
        let path_of_source = path.item(index);
        if !prefix.is_empty() {
            let problems = text::environment_name(prefix);
            report.problems(&path_of_source.member("prefix"), at(source, "prefix"), &problems);
        }
        environment_source(report, path, &path_of_source, source);
    }
}

fn environment_source(report: &mut Report, list: &Path<'_>, path: &Path<'_>, source: &Value) {
    match ["configMapRef", "secretRef"]
        .iter()
        .filter(|name| source.get(**name).is_some())
        .count()
    {
        1 => {}
        0 => report.invalid(
            list,
            &Value::from(""),
            "must specify one of: `configMapRef` or `secretRef`",
        ),
        _ => report.invalid(
            list,
            &Value::from(""),
            "may not have more than one field specified at a time",
        ),
    }
    for kind in ["configMapRef", "secretRef"] {
        let Some(reference) = source.get(kind) else {
            continue;
        };
        let path = path.member(kind);
        let path = path.member("name");
        let name = text_at(reference, "name");
        if name.is_empty() {
            report.required(&path, "");
        } else {
            report.problems(&path, at(reference, "name"), &text::dns_subdomain(name));
        }
    }
}

/// Resources of a container (API-383).
fn resources(report: &mut Report, path: &Path<'_>, resources: &Value) {
    let limits_path = path.member("limits");
    let requests_path = path.member("requests");
    let limits = at(resources, "limits");
    for (name, quantity) in limits.as_object().into_iter().flatten() {
        resource(report, &limits_path.key(name), name, quantity);
    }
    for (name, requested) in at(resources, "requests").as_object().into_iter().flatten() {
        resource(report, &requests_path.key(name), name, requested);
        let (Some(request), limit) = (quantity(requested), limits.get(name).and_then(quantity)) else {
            continue;
        };
        match limit {
            Some(limit) if is_overcommitable(name) && request > limit => {
                let problem = format!("must be less than or equal to {name} limit of {limit}");
                report.invalid(&requests_path, requested, &problem);
            }
            Some(limit) if !is_overcommitable(name) && request != limit => {
                report.invalid(
                    &requests_path,
                    requested,
                    &format!("must be equal to {name} limit of {limit}"),
                );
            }
            None if !is_overcommitable(name) && is_resource_name(name) => {
                report.required(&limits_path, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    let names = || {
        ["limits", "requests"]
            .into_iter()
            .filter_map(|kind| at(resources, kind).as_object())
            .flat_map(serde_json::Map::keys)
    };
    if names().any(|name| is_huge_pages(name))
        && !names().any(|name| matches!(name.as_str(), "cpu" | "memory"))
    {
        report.forbidden(path, "HugePages require cpu or memory");
    }
}

pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str().and_then(|text| text.parse().ok())
}

pub(super) fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// May be requested without a limit, and more than the limit of others.
fn is_overcommitable(name: &str) -> bool {
    (!name.contains('/') || name.starts_with("kubernetes.io/")) && !is_huge_pages(name)
}

fn is_resource_name(name: &str) -> bool {
    name.contains('/') || matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge_pages(name)
}

fn resource(report: &mut Report, path: &Path<'_>, name: &str, value: &Value) {
    const STANDARD: &[&str] = &[
        "cpu",
        "memory",
        "ephemeral-storage",
        "storage",
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
    ];
    let shown = Value::from(name);
    let problems = text::qualified_name(name);
    report.problems(path, &shown, &problems);
    if name.contains('/') {
        if name.starts_with("requests.") {
            report.invalid(path, &shown, "doesn't follow extended resource name standard");
        }
    } else {
        if problems.is_empty() && !STANDARD.contains(&name) && !is_huge_pages(name) {
            report.invalid(
                path,
                &shown,
                "must be a standard resource type or fully qualified",
            );
        }
        if !is_resource_name(name) {
            report.invalid(path, &shown, "must be a standard resource for containers");
        }
    }
    resource_amount(report, path, name, value);
}

/// Not negative, and whole for everything that comes in pieces.
pub(super) fn resource_amount(report: &mut Report, path: &Path<'_>, name: &str, value: &Value) {
    let Some(amount) = quantity(value) else { return };
    if amount.is_negative() {
        report.invalid(path, value, "must be greater than or equal to 0");
    } else if !is_overcommitable(name) && !amount.is_integer() {
        report.invalid(path, value, "must be an integer");
    }
    if let Some(page) = name.strip_prefix("hugepages-")
        && let Ok(page) = page.parse::<Quantity>()
        && !amount.is_multiple_of(&page)
    {
        let problem = format!("{amount} is not positive integer multiple of {name}");
        report.invalid(path, value, &problem);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Probe {
    Liveness,
    Readiness,
    Startup,
}

fn probe(report: &mut Report, path: &Path<'_>, probe: &Value, role: Probe) {
    if probe.is_null() {
        return;
    }
    handler(report, path, probe);
    for member in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        report.not_negative(&path.member(member), at(probe, member));
    }
    let (grace, successes) = (
        at(probe, "terminationGracePeriodSeconds"),
        at(probe, "successThreshold"),
    );
    if grace.as_i64().is_some_and(|grace| grace <= 0) {
        report.invalid(
            &path.member("terminationGracePeriodSeconds"),
            grace,
            "must be greater than 0",
        );
    }
    if role == Probe::Readiness {
        if !grace.is_null() {
            report.invalid(
                &path.member("terminationGracePeriodSeconds"),
                grace,
                "must not be set for readinessProbes",
            );
        }
    } else if successes.as_i64().is_some_and(|successes| successes != 1) {
        report.invalid(&path.member("successThreshold"), successes, "must be 1");
    }
}

/// What a probe or a lifecycle hook does.
fn handler(report: &mut Report, path: &Path<'_>, handler: &Value) {
    if handler.is_null() {
        return;
    }
    let mut found = 0;
    for kind in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let Some(action) = handler.get(kind) else { continue };
        let path = path.member(kind);
        found += 1;
        if found > 1 {
            report.forbidden(&path, "may not specify more than 1 handler type");
            continue;
        }
        match kind {
            "exec" if items_at(action, "command").is_empty() => report.required(&path.member("command"), ""),
            "httpGet" => {
                if text_at(action, "path").is_empty() {
                    report.required(&path.member("path"), "");
                }
                handler_port(report, &path.member("port"), at(action, "port"));
                http_headers(report, &path.member("httpHeaders"), at(action, "httpHeaders"));
                let scheme = at(action, "scheme");
                if !matches!(scheme.as_str(), Some("HTTP" | "HTTPS")) {
                    report.not_supported(&path.member("scheme"), scheme, &["HTTP", "HTTPS"]);
                }
            }
            "tcpSocket" | "grpc" => handler_port(report, &path.member("port"), at(action, "port")),
            _ => {}
        }
    }
    if found == 0 {
        report.required(path, "must specify a handler type");
    }
}

fn http_headers(report: &mut Report, path: &Path<'_>, headers: &Value) {
    const PROBLEM: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
    for header in headers.as_array().into_iter().flatten() {
        let name = text_at(header, "name");
        let fits = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        if name.is_empty() || !name.bytes().all(fits) {
            report.invalid(path, &Value::from(name), PROBLEM);
        }
    }
}

fn handler_port(report: &mut Report, path: &Path<'_>, port: &Value) {
    match port.as_str() {
        Some(name) => report.problems(path, port, &text::port_name(name)),
        None if !port.as_i64().is_some_and(|port| (1..=65535).contains(&port)) => {
            let shown = if port.is_null() {
                Value::from(0)
            } else {
                port.clone()
            };
            report.invalid(path, &shown, "must be between 1 and 65535, inclusive");
        }
        None => {}
    }
}

fn toleration(report: &mut Report, path: &Path<'_>, toleration: &Value) {
    let (toleration_key, operator, value) = (
        text_at(toleration, "key"),
        text_at(toleration, "operator"),
        text_at(toleration, "value"),
    );
    let effect = at(toleration, "effect");
    let operator_path = path.member("operator");
    if !toleration_key.is_empty() {
        key(report, &path.member("key"), at(toleration, "key"));
    } else if operator != "Exists" {
        let problem =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        report.invalid(&operator_path, &Value::from(operator), problem);
    }
    if !at(toleration, "tolerationSeconds").is_null() && effect != "NoExecute" {
        let shown = Value::from(effect.as_str().unwrap_or_default());
        report.invalid(
            &path.member("effect"),
            &shown,
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        );
    }
    match operator {
        "" | "Equal" => {
            if let Some(problem) = text::label_value(value).first() {
                report.invalid(&operator_path, &Value::from(value), problem);
            }
        }
        "Exists" if !value.is_empty() => {
            report.invalid(
                &operator_path,
                &Value::from(value),
                "value must be empty when `operator` is 'Exists'",
            );
        }
        "Exists" => {}
        // Known, but not offered.
        "Lt" | "Gt" => report.not_supported(
            &operator_path,
            at(toleration, "operator"),
            &["Equal", "Exists", "Lt", "Gt"],
        ),
        _ => report.not_supported(&operator_path, at(toleration, "operator"), &["Equal", "Exists"]),
    }
    if !effect.is_null() {
        taint_effect(report, &path.member("effect"), effect);
    }
}

/// Effect of a taint or of a toleration.
pub(super) fn taint_effect(report: &mut Report, path: &Path<'_>, effect: &Value) {
    const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if !effect.as_str().is_some_and(|effect| EFFECTS.contains(&effect)) {
        report.not_supported(path, effect, EFFECTS);
    }
}

const AFFINITY: Table = &[
    Row("nodeAffinity", Check::Members(NODE_AFFINITY)),
    Row("podAffinity", Check::Members(POD_AFFINITY)),
    Row("podAntiAffinity", Check::Members(POD_AFFINITY)),
];

const NODE_AFFINITY: Table = &[
    Row(
        "requiredDuringSchedulingIgnoredDuringExecution",
        Check::Members(&[
            Row(
                "nodeSelectorTerms",
                Check::RequiredBecause("must have at least one node selector term"),
            ),
            Row("nodeSelectorTerms", Check::Items(NODE_SELECTOR_TERM)),
        ]),
    ),
    Row(
        "preferredDuringSchedulingIgnoredDuringExecution",
        Check::Items(&[
            Row("weight", Check::With(weight)),
            Row("preference", Check::Members(NODE_SELECTOR_TERM)),
        ]),
    ),
];

const POD_AFFINITY: Table = &[
    Row(
        "requiredDuringSchedulingIgnoredDuringExecution",
        Check::Items(POD_AFFINITY_TERM),
    ),
    Row(
        "preferredDuringSchedulingIgnoredDuringExecution",
        Check::Items(&[
            Row("weight", Check::With(weight)),
            Row("", Check::With(weighted_term)),
        ]),
    ),
];

const POD_AFFINITY_TERM: Table = &[
    Row("labelSelector", Check::Members(LABEL_SELECTOR)),
    Row("namespaceSelector", Check::Members(LABEL_SELECTOR)),
    Row("namespaces", Check::With(affinity_namespaces)),
    Row("", Check::With(label_keys)),
    Row("topologyKey", Check::RequiredBecause("can not be empty")),
    Row("topologyKey", Check::With(key)),
];

fn weighted_term(report: &mut Report, path: &Path<'_>, weighted: &Value) {
    report.check(
        &path.member("podAffinityTerm"),
        at(weighted, "podAffinityTerm"),
        POD_AFFINITY_TERM,
    );
}

/// Reported without their index.
fn affinity_namespaces(report: &mut Report, path: &Path<'_>, namespaces: &Value) {
    let Some(term) = path.parent() else { return };
    for namespace in namespaces.as_array().into_iter().flatten() {
        let problems = text::dns_label(namespace.as_str().unwrap_or_default());
        report.problems(&term.member("namespace"), namespace, &problems);
    }
}

/// Keys whose values of the pod itself are added to the selector.
fn label_keys(report: &mut Report, path: &Path<'_>, term: &Value) {
    let mismatching = items_at(term, "mismatchLabelKeys");
    for list in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = items_at(term, list);
        let path = path.member(list);
        if !keys.is_empty() && at(term, "labelSelector").is_null() {
            report.forbidden(&path, "must not be specified when labelSelector is not set");
        }
        for (index, name) in keys.iter().enumerate() {
            key(report, &path.item(index), name);
            if list == "matchLabelKeys" && mismatching.contains(name) {
                let problem = "exists in both matchLabelKeys and mismatchLabelKeys";
                report.invalid(&path.item(index), name, problem);
            }
        }
    }
}

fn weight(report: &mut Report, path: &Path<'_>, weight: &Value) {
    if !weight.as_i64().is_some_and(|weight| (1..=100).contains(&weight)) {
        let shown = if weight.is_null() {
            Value::from(0)
        } else {
            weight.clone()
        };
        report.invalid(path, &shown, "must be in the range 1-100");
    }
}

fn spread_constraints(report: &mut Report, path: &Path<'_>, constraints: &Value) {
    let list = path;
    let constraints = constraints.as_array().map_or(&[][..], Vec::as_slice);
    for (index, constraint) in constraints.iter().enumerate() {
        let path = list.item(index);
        let skew = at(constraint, "maxSkew");
        if skew.as_i64().unwrap_or_default() <= 0 {
            let shown = Value::from(skew.as_i64().unwrap_or_default());
            report.invalid(&path.member("maxSkew"), &shown, "must be greater than zero");
        }
        if text_at(constraint, "topologyKey").is_empty() {
            report.required(&path.member("topologyKey"), "can not be empty");
        }
        let action = Value::from(text_at(constraint, "whenUnsatisfiable"));
        if action != "DoNotSchedule" && action != "ScheduleAnyway" {
            report.not_supported(
                &path.member("whenUnsatisfiable"),
                &action,
                &["DoNotSchedule", "ScheduleAnyway"],
            );
        }
        let pair = |constraint: &Value| {
            (
                text_at(constraint, "topologyKey").to_owned(),
                text_at(constraint, "whenUnsatisfiable").to_owned(),
            )
        };
        if constraints
            .iter()
            .take(index)
            .any(|other| pair(other) == pair(constraint))
        {
            let (key, action) = pair(constraint);
            let shown = Value::from(format!("{{{key}, {action}}}"));
            // Upstream compares each with those after it.
            let first = constraints
                .iter()
                .position(|other| pair(other) == pair(constraint));
            let path = list.item(first.unwrap_or(index));
            report.duplicate(&path.member("{topologyKey, whenUnsatisfiable}"), &shown);
        }
        let domains = at(constraint, "minDomains");
        if domains.as_i64().is_some_and(|domains| domains <= 0) {
            report.invalid(&path.member("minDomains"), domains, "must be greater than zero");
        }
        if !domains.is_null() && action != "DoNotSchedule" {
            let action = action.as_str().unwrap_or_default();
            let problem = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            report.invalid(&path.member("minDomains"), domains, &problem);
        }
        report.check(
            &path,
            constraint,
            &[
                Row("nodeAffinityPolicy", Check::OneOf(&["Honor", "Ignore"])),
                Row("nodeTaintsPolicy", Check::OneOf(&["Honor", "Ignore"])),
                Row("", Check::With(label_keys)),
            ],
        );
        if let Some(selector) = constraint.get("labelSelector") {
            report.check(&path.member("labelSelector"), selector, LABEL_SELECTOR);
        }
    }
}

/// Sources of a volume, in the order in which a second one is found.
const VOLUME_SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "flocker",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "projected",
    "storageos",
    "csi",
    "ephemeral",
    "image",
];

const VOLUME: Table = &[
    Row("name", Check::Required),
    Row("name", Check::Text(text::dns_label)),
    Row("", Check::With(volume_source)),
    Row("", Check::With(volume::sources)),
];

fn volume_names(report: &mut Report, path: &Path<'_>, volumes: &Value) {
    let volumes = volumes.as_array().map_or(&[][..], Vec::as_slice);
    for (index, volume) in volumes.iter().enumerate() {
        let name = text_at(volume, "name");
        if !name.is_empty()
            && volumes
                .iter()
                .take(index)
                .any(|other| text_at(other, "name") == name)
        {
            report.duplicate(&path.item(index).member("name"), at(volume, "name"));
        }
    }
}

fn volume_source(report: &mut Report, path: &Path<'_>, volume: &Value) {
    let mut sources = VOLUME_SOURCES
        .iter()
        .filter(|source| volume.get(**source).is_some());
    if sources.next().is_none() {
        report.required(path, "must specify a volume type");
    }
    for source in sources {
        report.forbidden(&path.member(source), "may not specify more than 1 volume type");
    }
}
