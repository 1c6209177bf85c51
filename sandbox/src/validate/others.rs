//! Budgets, autoscalers, storage, leases, events, priorities (API-399 to API-406).

use serde_json::Value;

use super::{
    apps::{int_or_percent, not_above_100_percent},
    pod::resource_amount,
    rule::{Check, Path, Report, Row, Table, at, is_unset, items_at, text_at},
    selector::LABEL_SELECTOR,
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
        &[Row("spec", Check::With(autoscaler))],
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
    (
        "coordination.k8s.io",
        "Lease",
        &[Row("spec", Check::Members(LEASE))],
    ),
    (
        "",
        "Event",
        &[Row(
            "",
            Check::With(|report, path, event| event_namespace(report, path, event, "involvedObject")),
        )],
    ),
    ("events.k8s.io", "Event", &[Row("", Check::With(event))]),
    (
        "scheduling.k8s.io",
        "PriorityClass",
        &[Row("", Check::With(priority_class))],
    ),
    ("storage.k8s.io", "StorageClass", STORAGE_CLASS),
    ("rbac.authorization.k8s.io", "RoleBinding", BINDING),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", BINDING),
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
        report.invalid(path, spec, "minAvailable and maxUnavailable cannot be both set");
    }
}

fn autoscaler(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let minimum = at(spec, "minReplicas").as_i64();
    let maximum = at(spec, "maxReplicas").as_i64().unwrap_or_default();
    if minimum.is_some_and(|minimum| minimum < 1) {
        report.invalid(
            &path.member("minReplicas"),
            at(spec, "minReplicas"),
            "must be greater than or equal to 1",
        );
    }
    if maximum < 1 {
        report.required(&path.member("maxReplicas"), "must be set and greater than 0");
    }
    if minimum.is_some_and(|minimum| maximum < minimum) {
        let problem = "must be greater than or equal to `minReplicas`";
        report.invalid(&path.member("maxReplicas"), &Value::from(maximum), problem);
    }
    let path = path.member("scaleTargetRef");
    let target = at(spec, "scaleTargetRef");
    for member in ["kind", "name"] {
        if text_at(target, member).is_empty() {
            report.required(&path.member(member), "");
        }
    }
    let api_version = text_at(target, "apiVersion");
    if api_version.is_empty() {
        report.invalid(
            &path.member("apiVersion"),
            &Value::from(""),
            "apiVersion must specify API group",
        );
    }
}

fn claim(report: &mut Report, path: &Path<'_>, spec: &Value) {
    const MODES: &[&str] = &[
        "ReadWriteOnce",
        "ReadOnlyMany",
        "ReadWriteMany",
        "ReadWriteOncePod",
    ];
    if items_at(spec, "accessModes").is_empty() {
        report.required(&path.member("accessModes"), "at least 1 access mode is required");
    }
    for mode in items_at(spec, "accessModes") {
        if !mode.as_str().is_some_and(|mode| MODES.contains(&mode)) {
            report.not_supported(&path.member("accessModes"), mode, MODES);
        }
    }
    if let Some(selector) = spec.get("selector") {
        report.check(&path.member("selector"), selector, LABEL_SELECTOR);
    }
    let resources_path = path.member("resources");
    match at(spec, "resources.requests").get("storage") {
        None => report.required(&resources_path.key("storage"), ""),
        Some(amount) => {
            let path = resources_path.member("requests");
            resource_amount(report, &path.key("storage"), "storage", amount);
        }
    }
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
        namespace == own
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
            let shown = if member == "reportingController" {
                "reportingComponent"
            } else {
                member
            };
            let path = path.member(shown);
            match text_at(event, member) {
                "" => report.required(&path, ""),
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
            let reason = "priority class names with 'system-' prefix are reserved for system use only";
            report.forbidden(&path.member("name"), reason);
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
    Row("reclaimPolicy", Check::OneOf(&["Delete", "Retain"])),
    Row(
        "volumeBindingMode",
        Check::OneOf(&["Immediate", "WaitForFirstConsumer"]),
    ),
];

const BINDING: Table = &[
    Row("roleRef", Check::With(role_reference)),
    Row(
        "subjects",
        Check::Items(&[Row("name", Check::Required), Row("", Check::With(subject))]),
    ),
];

fn role_reference(report: &mut Report, path: &Path<'_>, reference: &Value) {
    let group = text_at(reference, "apiGroup");
    if group != "rbac.authorization.k8s.io" {
        report.not_supported(
            &path.member("apiGroup"),
            &Value::from(group),
            &["rbac.authorization.k8s.io"],
        );
    }
    let kind = text_at(reference, "kind");
    if !matches!(kind, "Role" | "ClusterRole") {
        report.not_supported(&path.member("kind"), &Value::from(kind), &["Role", "ClusterRole"]);
    }
    if is_unset(at(reference, "name")) {
        report.required(&path.member("name"), "");
    }
}

fn subject(report: &mut Report, path: &Path<'_>, subject: &Value) {
    let kind = text_at(subject, "kind");
    if !matches!(kind, "ServiceAccount" | "User" | "Group") {
        let supported = ["ServiceAccount", "User", "Group"];
        report.not_supported(&path.member("kind"), &Value::from(kind), &supported);
    }
}
