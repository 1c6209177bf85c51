//! Budgets, autoscalers, storage, leases, events, priorities (API-399 to API-406).

use serde_json::Value;

use super::{
    apps::{int_or_percent, not_above_100_percent},
    autoscaler,
    error::{FieldError, FieldErrorKind},
    gofmt::show,
    limits,
    pod::quantity,
    rule::{Check, Path, Report, Row, Table, at, is_unset, items_at, text_at},
    selector::{LABEL_SELECTOR, key},
    text,
};

pub(super) const KINDS: &[(&str, &str, Table)] = &[
    (
        "policy",
        "PodDisruptionBudget",
        &[
            Row("spec", Check::Members(BUDGET)),
            Row("spec", Check::With(budget)),
        ],
    ),
    (
        "autoscaling",
        "HorizontalPodAutoscaler",
        &[Row("spec", Check::With(scaling))],
    ),
    (
        "autoscaling",
        "Scale",
        &[Row(
            "spec",
            Check::Members(&[Row("replicas", Check::NotNegative)]),
        )],
    ),
    ("", "PersistentVolumeClaim", &[Row("spec", Check::With(claim))]),
    ("", "PersistentVolume", &[Row("spec", Check::With(volume))]),
    ("", "LimitRange", &[Row("spec", Check::With(limits::limit_range))]),
    ("", "ResourceQuota", &[Row("spec", Check::With(limits::quota))]),
    (
        "coordination.k8s.io",
        "Lease",
        &[Row("spec", Check::Members(LEASE))],
    ),
    ("", "Event", &[Row("", Check::With(core_event))]),
    ("events.k8s.io", "Event", &[Row("", Check::With(event))]),
    (
        "scheduling.k8s.io",
        "PriorityClass",
        &[Row("", Check::With(priority_class))],
    ),
    ("storage.k8s.io", "StorageClass", STORAGE_CLASS),
    (
        "rbac.authorization.k8s.io",
        "Role",
        &[Row(
            "rules",
            Check::With(|report, path, rules| policy_rules(report, path, rules, true)),
        )],
    ),
    (
        "rbac.authorization.k8s.io",
        "ClusterRole",
        &[
            Row(
                "rules",
                Check::With(|report, path, rules| policy_rules(report, path, rules, false)),
            ),
            Row("aggregationRule", Check::With(aggregation)),
        ],
    ),
    (
        "rbac.authorization.k8s.io",
        "RoleBinding",
        &[
            Row(
                "roleRef",
                Check::With(|report, path, reference| {
                    role_reference(report, path, reference, &["Role", "ClusterRole"]);
                }),
            ),
            Row("subjects", Check::Items(SUBJECT)),
        ],
    ),
    (
        "rbac.authorization.k8s.io",
        "ClusterRoleBinding",
        &[
            Row(
                "roleRef",
                Check::With(|report, path, reference| {
                    role_reference(report, path, reference, &["ClusterRole"]);
                }),
            ),
            Row("subjects", Check::Items(SUBJECT)),
            Row(
                "subjects",
                Check::Items(&[Row("", Check::With(account_namespace))]),
            ),
        ],
    ),
];

const BUDGET: Table = &[
    Row("minAvailable", Check::With(int_or_percent)),
    Row("minAvailable", Check::With(not_above_100_percent)),
    Row("maxUnavailable", Check::With(int_or_percent)),
    Row("maxUnavailable", Check::With(not_above_100_percent)),
    Row(
        "unhealthyPodEvictionPolicy",
        Check::OneOf(&["AlwaysAllow", "IfHealthyBudget"]),
    ),
    Row("selector", Check::Members(LABEL_SELECTOR)),
];

fn budget(report: &mut Report, path: &Path<'_>, spec: &Value) {
    if spec.get("minAvailable").is_some() && spec.get("maxUnavailable").is_some() {
        let member = |name: &str| show(at(spec, name));
        let detail = format!(
            "{{\"MinAvailable\":{},\"Selector\":{},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}: \
             minAvailable and maxUnavailable cannot be both set",
            member("minAvailable"),
            member("selector"),
            member("maxUnavailable"),
            member("unhealthyPodEvictionPolicy")
        );
        report.push(FieldError::new(FieldErrorKind::Invalid, path.to_string(), detail));
    }
}

fn scaling(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let minimum = at(spec, "minReplicas").as_i64();
    let maximum = at(spec, "maxReplicas").as_i64().unwrap_or_default();
    if minimum.is_some_and(|minimum| minimum < 1) {
        report.invalid(
            &path.member("minReplicas"),
            at(spec, "minReplicas"),
            "must be greater than or equal to 1",
        );
    }
    if maximum == 0 {
        report.required(&path.member("maxReplicas"), "must be set and greater than 0");
    } else if maximum < 0 {
        report.invalid(
            &path.member("maxReplicas"),
            &Value::from(maximum),
            "must be greater than or equal to 1",
        );
    }
    if minimum.is_some_and(|minimum| maximum < minimum) {
        let problem = "must be greater than or equal to `minReplicas`";
        report.invalid(&path.member("maxReplicas"), &Value::from(maximum), problem);
    }
    scale_target(report, &path.member("scaleTargetRef"), at(spec, "scaleTargetRef"));
    autoscaler::metrics(report, &path.member("metrics"), spec);
    autoscaler::behavior(report, &path.member("behavior"), at(spec, "behavior"));
}

fn scale_target(report: &mut Report, path: &Path<'_>, target: &Value) {
    for member in ["kind", "name"] {
        if text_at(target, member).is_empty() {
            report.required(&path.member(member), "");
        } else {
            let problems = text::path_segment(text_at(target, member));
            report.problems(&path.member(member), at(target, member), &problems);
        }
    }
    let api_version = text_at(target, "apiVersion");
    let core = text_at(target, "kind") == "ReplicationController" && api_version == "v1";
    if !core && !api_version.contains('/') {
        report.invalid(
            &path.member("apiVersion"),
            &Value::from(api_version),
            "apiVersion must specify API group",
        );
    }
}

pub(super) fn claim(report: &mut Report, path: &Path<'_>, spec: &Value) {
    if items_at(spec, "accessModes").is_empty() {
        report.required(&path.member("accessModes"), "at least 1 access mode is required");
    }
    for mode in items_at(spec, "accessModes") {
        if !mode.as_str().is_some_and(|mode| ACCESS_MODES.contains(&mode)) {
            report.not_supported(&path.member("accessModes"), mode, ACCESS_MODES);
        }
    }
    single_pod_alone(report, &path.member("accessModes"), at(spec, "accessModes"));
    if let Some(selector) = spec.get("selector") {
        report.check(&path.member("selector"), selector, LABEL_SELECTOR);
    }
    let resources_path = path.member("resources");
    match at(spec, "resources.requests").get("storage") {
        None => report.required(&resources_path.key("storage"), ""),
        Some(amount) => {
            positive_amount(report, &resources_path.key("storage"), amount);
        }
    }
    for member in ["storageClassName", "volumeAttributesClassName"] {
        let name = text_at(spec, member);
        if !name.is_empty() {
            let problems = text::dns_subdomain(name);
            report.problems(&path.member(member), at(spec, member), &problems);
        }
    }
    report.check(path, spec, &[Row("volumeMode", Check::OneOf(VOLUME_MODES))]);
    for member in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.get(member) {
            data_source(report, &path.member(member), source);
        }
    }
}

const ACCESS_MODES: &[&str] = &[
    "ReadOnlyMany",
    "ReadWriteMany",
    "ReadWriteOnce",
    "ReadWriteOncePod",
];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];

fn single_pod_alone(report: &mut Report, path: &Path<'_>, modes: &Value) {
    let modes = modes.as_array().map_or(&[][..], Vec::as_slice);
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        report.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

fn positive_amount(report: &mut Report, path: &Path<'_>, amount: &Value) {
    if quantity(amount).is_some_and(|amount| amount.is_negative() || amount.to_string() == "0") {
        report.invalid(path, amount, "must be greater than zero");
    }
}

fn data_source(report: &mut Report, path: &Path<'_>, source: &Value) {
    for member in ["name", "kind"] {
        if text_at(source, member).is_empty() {
            report.required(&path.member(member), "");
        }
    }
    let kind = text_at(source, "kind");
    if text_at(source, "apiGroup").is_empty() && kind != "PersistentVolumeClaim" {
        let problem = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        report.invalid(path, &Value::from(kind), problem);
    }
}

/// A persistent volume (API-402 for its claims; the same words).
fn volume(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let modes = at(spec, "accessModes");
    if is_unset(modes) {
        report.required(&path.member("accessModes"), "");
    }
    for mode in items_at(spec, "accessModes") {
        if !mode.as_str().is_some_and(|mode| ACCESS_MODES.contains(&mode)) {
            report.not_supported(&path.member("accessModes"), mode, ACCESS_MODES);
        }
    }
    single_pod_alone(report, &path.member("accessModes"), modes);
    let capacity_path = path.member("capacity");
    let capacity = at(spec, "capacity");
    let amounts = capacity.as_object();
    if amounts.is_none_or(serde_json::Map::is_empty) {
        report.required(&capacity_path, "");
    }
    if amounts.is_none_or(|amounts| amounts.len() != 1 || !amounts.contains_key("storage")) {
        report.not_supported(&capacity_path, capacity, &["storage"]);
    }
    for (name, amount) in amounts.into_iter().flatten() {
        positive_amount(report, &capacity_path.key(name), amount);
    }
    report.check(
        path,
        spec,
        &[
            Row(
                "persistentVolumeReclaimPolicy",
                Check::OneOf(&["Delete", "Recycle", "Retain"]),
            ),
            Row(
                "nodeAffinity",
                Check::Members(&[Row(
                    "required",
                    Check::RequiredBecause("must specify required node constraints"),
                )]),
            ),
        ],
    );
    volume_source(report, path, spec);
    let name = text_at(spec, "storageClassName");
    if !name.is_empty() {
        let problems = text::dns_subdomain(name);
        report.problems(
            &path.member("storageClassName"),
            at(spec, "storageClassName"),
            &problems,
        );
    }
    report.check(path, spec, &[Row("volumeMode", Check::OneOf(VOLUME_MODES))]);
}

/// Exactly one source.
fn volume_source(report: &mut Report, path: &Path<'_>, spec: &Value) {
    const SOURCES: &[&str] = &[
        "hostPath",
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "glusterfs",
        "flocker",
        "nfs",
        "rbd",
        "quobyte",
        "cephfs",
        "iscsi",
        "cinder",
        "fc",
        "flexVolume",
        "azureFile",
        "vsphereVolume",
        "photonPersistentDisk",
        "portworxVolume",
        "azureDisk",
        "scaleIO",
        "local",
        "storageos",
        "csi",
    ];
    let mut sources = SOURCES.iter().filter(|source| spec.get(**source).is_some());
    if sources.next().is_none() {
        report.required(path, "must specify a volume type");
    }
    for source in sources {
        report.forbidden(&path.member(source), "may not specify more than 1 volume type");
    }
    if let Some(host_path) = spec.get("hostPath") {
        let target = text_at(host_path, "path");
        let problems = text::no_way_up(target);
        report.problems(
            &path.member("hostPath").member("path"),
            at(host_path, "path"),
            &problems,
        );
        if target == "/" && at(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
            report.forbidden(
                &path.member("persistentVolumeReclaimPolicy"),
                "may not be 'recycle' for a hostPath mount of '/'",
            );
        }
    }
    if spec.get("local").is_some() && at(spec, "nodeAffinity").is_null() {
        report.required(
            &path.member("nodeAffinity"),
            "Local volume requires node affinity",
        );
    }
    report.check(
        path,
        spec,
        &[
            Row(
                "nfs",
                Check::Members(&[Row("server", Check::Required), Row("path", Check::Required)]),
            ),
            Row(
                "csi",
                Check::Members(&[
                    Row("driver", Check::Required),
                    Row("driver", Check::Text(text::dns_subdomain)),
                    Row("volumeHandle", Check::Required),
                ]),
            ),
        ],
    );
}

const LEASE: Table = &[
    Row("leaseDurationSeconds", Check::With(positive)),
    Row("leaseTransitions", Check::NotNegative),
];

fn positive(report: &mut Report, path: &Path<'_>, value: &Value) {
    if value.as_i64().is_some_and(|number| number <= 0) {
        report.invalid(path, value, "must be greater than 0");
    }
}

/// Events live in the namespace of what they are about; `default` for what has none (API-404). Both groups report
/// the field under its name in core.
fn event_namespace(report: &mut Report, path: &Path<'_>, event: &Value, about: &str) {
    let namespace = text_at(at(event, about), "namespace");
    let own = text_at(event, "metadata.namespace");
    let fits = if namespace.is_empty() {
        own == "default" || own.is_empty()
    } else {
        // The new form may tell of other namespaces.
        namespace == own || !at(event, "eventTime").is_null()
    };
    if !fits {
        let path = path.member("involvedObject");
        report.invalid(
            &path.member("namespace"),
            &Value::from(namespace),
            "does not match event.namespace",
        );
    }
}

/// The old form; with a time of the new one it has to say as much as that.
fn core_event(report: &mut Report, path: &Path<'_>, event: &Value) {
    event_namespace(report, path, event, "involvedObject");
    if at(event, "eventTime").is_null() {
        return;
    }
    let component = path.member("reportingComponent");
    if text_at(event, "reportingComponent").is_empty() {
        report.required(&component, "");
    }
    let name = Value::from(text_at(event, "reportingComponent"));
    key(report, &component, &name);
    for member in ["reportingInstance", "action", "reason"] {
        if text_at(event, member).is_empty() {
            report.required(&path.member(member), "");
        }
    }
}

fn event(report: &mut Report, path: &Path<'_>, event: &Value) {
    const MAX_NOTE: usize = 1024;
    event_namespace(report, path, event, "regarding");
    if at(event, "eventTime").is_null() {
        report.required(&path.member("eventTime"), "");
    } else {
        for (member, limit) in [
            ("reportingController", 253),
            ("reportingInstance", 128),
            ("action", 128),
            ("reason", 128),
        ] {
            let path = path.member(member);
            if text_at(event, member).is_empty() {
                report.required(&path, "");
            }
            if member == "reportingController" {
                key(report, &path, &Value::from(text_at(event, member)));
            }
            match text_at(event, member) {
                text if text.len() > limit => {
                    report.invalid(
                        &path,
                        &Value::from(""),
                        &format!("can have at most {limit} characters"),
                    );
                }
                _ => {}
            }
        }
        if text_at(event, "note").len() > MAX_NOTE {
            let problem = format!("can have at most {MAX_NOTE} characters");
            report.invalid(&path.member("message"), &Value::from(""), &problem);
        }
        deprecated(report, path, event);
        if let Some(series) = event.get("series") {
            let path = path.member("series");
            if at(series, "count").as_i64().unwrap_or_default() < 2 {
                report.invalid(&path.member("count"), &Value::from(""), "should be at least 2");
            }
            if at(series, "lastObservedTime").is_null() {
                report.required(&path.member("lastObservedTime"), "");
            }
        }
    }
    let kind = text_at(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        report.invalid(
            &path.member("type"),
            &Value::from(""),
            &format!("has invalid value: {kind}"),
        );
    }
}

/// What the old form of events holds stays empty in the new one.
fn deprecated(report: &mut Report, path: &Path<'_>, event: &Value) {
    let set = [
        ("source", "deprecatedSource.component"),
        ("source", "deprecatedSource.host"),
        ("firstTimestamp", "deprecatedFirstTimestamp"),
        ("lastTimestamp", "deprecatedLastTimestamp"),
        ("count", "deprecatedCount"),
    ];
    let mut last = "";
    for (shown, member) in set {
        if !is_unset(at(event, member)) && shown != last {
            report.invalid(&path.member(shown), &Value::from(""), "needs to be unset");
            last = shown;
        }
    }
}

/// An account has a namespace: there is none around it.
fn account_namespace(report: &mut Report, path: &Path<'_>, subject: &Value) {
    if at(subject, "kind") == "ServiceAccount" && text_at(subject, "namespace").is_empty() {
        report.required(&path.member("namespace"), "");
    }
}

fn priority_class(report: &mut Report, path: &Path<'_>, class: &Value) {
    const HIGHEST: i64 = 1_000_000_000;
    const BUILT_IN: &[(&str, i64)] = &[
        ("system-node-critical", 2_000_001_000),
        ("system-cluster-critical", 2_000_000_000),
    ];
    let name = text_at(class, "metadata.name");
    let value = at(class, "value").as_i64().unwrap_or_default();
    if name.starts_with("system-") {
        if !BUILT_IN.contains(&(name, value)) {
            let path = path.member("metadata");
            let known = BUILT_IN.iter().find(|(built_in, _)| *built_in == name);
            let why = match known {
                Some((_, value)) => format!("value of {name} PriorityClass must be {value}"),
                None => format!("{name} is not a known system priority class"),
            };
            let reason = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
            );
            report.forbidden(&path.member("name"), &reason);
        }
    } else if value > HIGHEST {
        let reason = format!("maximum allowed value of a user defined priority is {HIGHEST}");
        report.forbidden(&path.member("value"), &reason);
    }
    let policy = at(class, "preemptionPolicy");
    if !policy.is_null() && !matches!(policy.as_str(), Some("Never" | "PreemptLowerPriority")) {
        report.not_supported(
            &path.member("preemptionPolicy"),
            policy,
            &["PreemptLowerPriority", "Never"],
        );
    }
}

const STORAGE_CLASS: Table = &[
    Row("provisioner", Check::Required),
    Row(
        "provisioner",
        Check::Text(|name| text::qualified_name(&name.to_lowercase())),
    ),
    Row("parameters", Check::With(parameters)),
    Row("allowedTopologies", Check::Items(TOPOLOGY)),
    Row("reclaimPolicy", Check::OneOf(&["Delete", "Retain"])),
    Row(
        "volumeBindingMode",
        Check::OneOf(&["Immediate", "WaitForFirstConsumer"]),
    ),
];

const TOPOLOGY: Table = &[Row(
    "matchLabelExpressions",
    Check::Items(&[
        Row("values", Check::Required),
        Row("values", Check::With(distinct)),
        Row("key", Check::With(key)),
    ]),
)];

fn distinct(report: &mut Report, path: &Path<'_>, values: &Value) {
    let values = values.as_array().map_or(&[][..], Vec::as_slice);
    for (index, value) in values.iter().enumerate() {
        if values.iter().take(index).any(|other| other == value) {
            report.duplicate(&path.item(index), value);
        }
    }
}

fn parameters(report: &mut Report, path: &Path<'_>, parameters: &Value) {
    if parameters.get("").is_some() {
        report.invalid(path, &Value::from(""), "field can not be empty.");
    }
}

const SUBJECT: Table = &[Row("name", Check::Required), Row("", Check::With(subject))];

/// Rules of a role; a namespaced one has no say over paths of the server.
fn policy_rules(report: &mut Report, path: &Path<'_>, rules: &Value, namespaced: bool) {
    for (index, rule) in rules.as_array().into_iter().flatten().enumerate() {
        let path = path.item(index);
        if is_unset(at(rule, "verbs")) {
            report.required(&path.member("verbs"), "verbs must contain at least one value");
        }
        let urls = at(rule, "nonResourceURLs");
        if !is_unset(urls) {
            let path = path.member("nonResourceURLs");
            if namespaced {
                let problem = "namespaced rules cannot apply to non-resource URLs";
                report.invalid(&path, urls, problem);
            }
            let members = ["apiGroups", "resources", "resourceNames"];
            if members.iter().any(|member| !is_unset(at(rule, member))) {
                let problem = "rules cannot apply to both regular resources and non-resource URLs";
                report.invalid(&path, urls, problem);
            }
            continue;
        }
        if is_unset(at(rule, "apiGroups")) {
            report.required(
                &path.member("apiGroups"),
                "resource rules must supply at least one api group",
            );
        }
        if is_unset(at(rule, "resources")) {
            report.required(
                &path.member("resources"),
                "resource rules must supply at least one resource",
            );
        }
    }
}

fn aggregation(report: &mut Report, path: &Path<'_>, rule: &Value) {
    if rule.is_null() {
        return;
    }
    let path = path.member("clusterRoleSelectors");
    let selectors = items_at(rule, "clusterRoleSelectors");
    if selectors.is_empty() {
        let reason = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        report.required(&path, reason);
    }
    for (index, selector) in selectors.iter().enumerate() {
        let before = report.errors.len();
        let path = path.item(index);
        report.check(&path, selector, LABEL_SELECTOR);
        if report.errors.len() > before {
            report.invalid(&path, &Value::Null, "invalid label selector.");
        }
    }
}

fn role_reference(report: &mut Report, path: &Path<'_>, reference: &Value, kinds: &[&str]) {
    let group = text_at(reference, "apiGroup");
    if group != "rbac.authorization.k8s.io" {
        report.not_supported(
            &path.member("apiGroup"),
            &Value::from(group),
            &["rbac.authorization.k8s.io"],
        );
    }
    let kind = text_at(reference, "kind");
    if !kinds.contains(&kind) {
        report.not_supported(&path.member("kind"), &Value::from(kind), kinds);
    }
    if is_unset(at(reference, "name")) {
        report.required(&path.member("name"), "");
    } else {
        let problems = text::path_segment(text_at(reference, "name"));
        report.problems(&path.member("name"), at(reference, "name"), &problems);
    }
}

fn subject(report: &mut Report, path: &Path<'_>, subject: &Value) {
    let kind = text_at(subject, "kind");
    if !matches!(kind, "ServiceAccount" | "User" | "Group") {
        let supported = ["ServiceAccount", "User", "Group"];
        report.not_supported(&path.member("kind"), &Value::from(kind), &supported);
        return;
    }
    let group = text_at(subject, "apiGroup");
    let expected = if kind == "ServiceAccount" {
        ""
    } else {
        "rbac.authorization.k8s.io"
    };
    if kind == "ServiceAccount" && !text_at(subject, "name").is_empty() {
        let problems = text::dns_subdomain(text_at(subject, "name"));
        report.problems(&path.member("name"), at(subject, "name"), &problems);
    }
    if group != expected {
        report.not_supported(&path.member("apiGroup"), &Value::from(group), &[expected]);
    }
}
