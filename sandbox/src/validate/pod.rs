//! Pods and pod templates (API-381 to API-389).

use serde_json::Value;

use super::{
    error::FieldError,
    meta,
    quantity::Quantity,
    rule::{Check, Path, Report, Row, Table, at, is_unset, items_at, text_at},
    selector::{LABEL_SELECTOR, NODE_SELECTOR_TERM, key},
    text,
};

pub(super) const KINDS: &[(&str, &str, Table)] = &[
    (
        "",
        "Pod",
        &[
            Row("", Check::With(mirror_annotation)),
            Row("spec", Check::Members(POD_SPEC)),
            Row("spec", Check::With(gated_on_a_node)),
        ],
    ),
    ("", "PodTemplate", &[Row("template", Check::Members(TEMPLATE))]),
];

/// Metadata and spec of a pod template.
pub(super) const TEMPLATE: Table = &[
    Row("metadata", Check::With(meta::check_labels_and_annotations)),
    Row("spec", Check::Members(POD_SPEC)),
];

pub(super) const POD_SPEC: Table = &[
    Row("volumes", Check::With(volume_names)),
    Row("volumes", Check::Items(VOLUME)),
    Row("", Check::With(containers)),
    Row("restartPolicy", Check::OneOf(&["Always", "OnFailure", "Never"])),
    Row(
        "dnsPolicy",
        Check::OneOf(&["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]),
    ),
    Row("nodeSelector", Check::Labels),
    Row("imagePullSecrets", Check::Items(&[])),
    Row("affinity", Check::Members(AFFINITY)),
    Row(
        "readinessGates",
        Check::Items(&[Row("conditionType", Check::With(key))]),
    ),
    Row("schedulingGates", Check::UniqueBy("name")),
    Row("schedulingGates", Check::Items(&[Row("name", Check::With(key))])),
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
            Row("ip", Check::Text(text::ip)),
            Row("hostnames", Check::EachText(text::dns_subdomain)),
        ]),
    ),
    Row("priorityClassName", Check::Text(text::dns_subdomain)),
    Row("runtimeClassName", Check::Text(text::dns_subdomain)),
    Row(
        "preemptionPolicy",
        Check::OneOf(&["Never", "PreemptLowerPriority"]),
    ),
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
        Check::OneOf(&["FallbackToLogsOnError", "File"]),
    ),
    Row("ports", Check::Items(CONTAINER_PORT)),
    Row("ports", Check::UniqueBy("name")),
    Row("env", Check::Items(ENVIRONMENT)),
    Row(
        "envFrom",
        Check::Items(&[Row("", Check::With(environment_source))]),
    ),
    Row(
        "imagePullPolicy",
        Check::OneOf(&["Always", "IfNotPresent", "Never"]),
    ),
    Row("resources", Check::With(resources)),
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
    let path = path.member("volumeMounts");
    let volumes = items_at(spec, "volumes");
    let mounts = items_at(container, "volumeMounts");
    for (index, mount) in mounts.iter().enumerate() {
        let path = path.item(index);
        let name = text_at(mount, "name");
        if name.is_empty() {
            report.required(&path.member("name"), "");
        } else if !volumes.iter().any(|volume| text_at(volume, "name") == name) {
            report.push(FieldError::not_found(
                path.member("name").to_string(),
                at(mount, "name"),
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
        if text_at(reference, "key").is_empty() {
            report.required(&path.member("key"), "");
        } else {
            let problems = text::config_key(text_at(reference, "key"));
            report.problems(&path.member("key"), at(reference, "key"), &problems);
        }
    }
    if let Some(reference) = source.get("resourceFieldRef")
        && text_at(reference, "resource").is_empty()
    {
        report.required(&path.member("resourceFieldRef").member("resource"), "");
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
    let path = path.member("fieldPath");
    let field = text_at(reference, "fieldPath");
    let name = field.split_once('[').map_or(field, |(name, _)| name);
    if field.is_empty() {
        report.required(&path, "");
    } else if !FIELDS.contains(&name) {
        let problem = format!("error converting fieldPath: field label not supported: {field}");
        report.invalid(&path, &Value::from(field), &problem);
    }
}

fn environment_source(report: &mut Report, path: &Path<'_>, source: &Value) {
    match ["configMapRef", "secretRef"]
        .iter()
        .filter(|name| source.get(**name).is_some())
        .count()
    {
        1 => {}
        0 => report.invalid(
            path,
            &Value::from(""),
            "must specify one of: `configMapRef` or `secretRef`",
        ),
        _ => report.invalid(
            path,
            &Value::from(""),
            "may not have more than one field specified at a time",
        ),
    }
    for name in ["configMapRef", "secretRef"] {
        if source
            .get(name)
            .is_some_and(|reference| text_at(reference, "name").is_empty())
        {
            report.required(&path.member(name).member("name"), "");
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
}

pub(super) fn quantity(value: &Value) -> Option<Quantity> {
    value.as_str().and_then(|text| text.parse().ok())
}

fn is_huge_pages(name: &str) -> bool {
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
    report.problems(path, &shown, &text::qualified_name(name));
    if !name.contains('/') {
        if !STANDARD.contains(&name) && !is_huge_pages(name) {
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
            Row("podAffinityTerm", Check::Members(POD_AFFINITY_TERM)),
        ]),
    ),
];

const POD_AFFINITY_TERM: Table = &[
    Row("labelSelector", Check::Members(LABEL_SELECTOR)),
    Row("namespaceSelector", Check::Members(LABEL_SELECTOR)),
    Row("namespaces", Check::EachText(text::dns_label)),
    Row("topologyKey", Check::RequiredBecause("can not be empty")),
    Row("topologyKey", Check::With(key)),
];

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
    let constraints = constraints.as_array().map_or(&[][..], Vec::as_slice);
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.item(index);
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
            report.duplicate(&path.member("{topologyKey, whenUnsatisfiable}"), &shown);
        }
        let domains = at(constraint, "minDomains");
        if domains.as_i64().is_some_and(|domains| domains <= 0) {
            report.invalid(&path.member("minDomains"), domains, "must be greater than 0");
        }
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
    Row("hostPath", Check::Members(&[Row("path", Check::Required)])),
    Row("secret", Check::Members(&[Row("secretName", Check::Required)])),
    Row(
        "nfs",
        Check::Members(&[Row("server", Check::Required), Row("path", Check::Required)]),
    ),
    Row(
        "persistentVolumeClaim",
        Check::Members(&[Row("claimName", Check::Required)]),
    ),
    Row("configMap", Check::Members(&[Row("name", Check::Required)])),
    Row("csi", Check::Members(&[Row("driver", Check::Required)])),
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
