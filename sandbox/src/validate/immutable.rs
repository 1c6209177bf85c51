//! What an update may not change (API-430, API-431). Pods: [`pod_update`](super::pod_update).

use serde_json::Value;

use super::{
    error::{FieldError, FieldErrorKind},
    gofmt::{quote, show},
    rule::{Path, Report, at, text_at},
};
use crate::names::GroupKind;

/// `(group, kind, path)` of fields that never change: `field is immutable`.
const FIELDS: &[(&str, &str, &str)] = &[
    ("apps", "ControllerRevision", "data"),
    ("apps", "DaemonSet", "spec.selector"),
    ("apps", "Deployment", "spec.selector"),
    ("apps", "ReplicaSet", "spec.selector"),
    ("batch", "Job", "spec.completionMode"),
    ("batch", "Job", "spec.selector"),
    ("discovery.k8s.io", "EndpointSlice", "addressType"),
    ("networking.k8s.io", "IngressClass", "spec.controller"),
    ("", "ResourceQuota", "spec.scopes"),
    ("", "Secret", "type"),
    ("scheduling.k8s.io", "PriorityClass", "preemptionPolicy"),
    ("storage.k8s.io", "StorageClass", "provisioner"),
    ("storage.k8s.io", "StorageClass", "parameters"),
    ("storage.k8s.io", "StorageClass", "reclaimPolicy"),
    ("storage.k8s.io", "StorageClass", "volumeBindingMode"),
];

pub(super) fn check(report: &mut Report, gk: &GroupKind, new: &Value, old: &Value) {
    let (group, kind) = (gk.group.as_ref(), gk.kind.as_ref());
    if (group, kind) == ("scheduling.k8s.io", "PriorityClass") && at(new, "value") != at(old, "value") {
        report.push(FieldError::forbidden("value", "may not be changed in an update."));
    }
    for (_, _, field) in FIELDS.iter().filter(|row| row.0 == group && row.1 == kind) {
        same(report, field, new, old);
    }
    match (group, kind) {
        ("", "ConfigMap" | "Secret") => frozen_data(report, new, old),
        ("", "Node") => node(report, new, old),
        ("", "PersistentVolume") => volume(report, new, old),
        ("", "PersistentVolumeClaim") => claim(report, new, old),
        ("", "Service") => service(report, new, old),
        ("apps", "StatefulSet") => stateful_set(report, new, old),
        ("batch", "Job") => job(report, new, old),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            role_reference(report, new, old);
        }
        ("events.k8s.io", "Event") => event(report, new, old),
        _ => {}
    }
}

fn same(report: &mut Report, field: &str, new: &Value, old: &Value) {
    let value = at(new, field);
    if value != at(old, field) {
        report.push(FieldError::invalid(field, value, "field is immutable"));
    }
}

/// `immutable: true` freezes the data and itself (API-129).
fn frozen_data(report: &mut Report, new: &Value, old: &Value) {
    if at(old, "immutable") != &Value::Bool(true) {
        return;
    }
    if at(new, "immutable") != &Value::Bool(true) {
        report.push(FieldError::forbidden(
            "immutable",
            "field is immutable when `immutable` is set",
        ));
    }
    for field in ["data", "binaryData"] {
        if at(new, field) != at(old, field) {
            report.push(FieldError::forbidden(
                field,
                "field is immutable when `immutable` is set",
            ));
        }
    }
}

fn node(report: &mut Report, new: &Value, old: &Value) {
    let old_range = text_at(old, "spec.podCIDR");
    if !old_range.is_empty() && text_at(new, "spec.podCIDR") != old_range {
        let reason = "node updates may not change podCIDR except from \"\" to valid";
        report.push(FieldError::forbidden("spec.podCIDRs", reason));
    }
    let old_id = text_at(old, "spec.providerID");
    if !old_id.is_empty() && text_at(new, "spec.providerID") != old_id {
        let reason = "node updates may not change providerID except from \"\" to valid";
        report.push(FieldError::forbidden("spec.providerID", reason));
    }
    if at(new, "spec.externalID") != at(old, "spec.externalID") {
        report.push(FieldError::forbidden("spec.externalID", "may not be updated"));
    }
}

fn volume(report: &mut Report, new: &Value, old: &Value) {
    const OTHERS: &[&str] = &[
        "accessModes",
        "capacity",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "volumeAttributesClassName",
        "volumeMode",
    ];
    let source = |volume: &Value| {
        let mut spec = at(volume, "spec").clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|member, _| !OTHERS.contains(&member.as_str()));
        }
        spec
    };
    if source(new) != source(old) {
        let reason = "spec.persistentvolumesource is immutable after creation";
        report.push(FieldError::forbidden("spec.persistentvolumesource", reason));
    }
    let mode = at(new, "spec.volumeMode");
    if mode != at(old, "spec.volumeMode") {
        report.push(FieldError::invalid("volumeMode", mode, "field is immutable"));
    }
}

/// A claim may grow once it is bound, and be bound once.
fn claim(report: &mut Report, new: &Value, old: &Value) {
    let mut expected = at(new, "spec").clone();
    let old_spec = at(old, "spec");
    let mut keep = |pointer: &str, member: &str| {
        let from = old_spec
            .pointer(pointer)
            .and_then(|parent| parent.get(member))
            .cloned();
        if let Some(parent) = expected.pointer_mut(pointer).and_then(Value::as_object_mut) {
            match from {
                Some(value) => parent.insert(member.to_owned(), value),
                None => parent.remove(member),
            };
        }
    };
    if text_at(old, "spec.volumeName").is_empty() {
        keep("", "volumeName");
    } else {
        keep("/resources/requests", "storage");
    }
    keep("", "volumeAttributesClassName");
    if old_spec.get("storageClassName").is_none() {
        keep("", "storageClassName");
    }
    if expected != *old_spec {
        let reason = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        report.push(FieldError::forbidden("spec", reason));
    }
    let mode = at(new, "spec.volumeMode");
    if mode != at(old, "spec.volumeMode") {
        report.push(FieldError::invalid("volumeMode", mode, "field is immutable"));
    }
}

fn service(report: &mut Report, new: &Value, old: &Value) {
    let has_address = |service: &Value| text_at(service, "spec.type") != "ExternalName";
    let old_address = text_at(old, "spec.clusterIP");
    if !has_address(new)
        || !has_address(old)
        || old_address.is_empty()
        || text_at(new, "spec.clusterIP") == old_address
    {
        return;
    }
    let shown = Value::Array(vec![at(new, "spec.clusterIP").clone()]);
    report.push(FieldError::invalid(
        "spec.clusterIPs[0]",
        &shown,
        "may not change once set",
    ));
}

fn stateful_set(report: &mut Report, new: &Value, old: &Value) {
    const EDITABLE: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let fixed = |set: &Value| {
        let mut spec = at(set, "spec").clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|member, _| !EDITABLE.contains(&member.as_str()));
        }
        spec
    };
    if fixed(new) != fixed(old) {
        let reason = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        report.push(FieldError::forbidden("spec", reason));
    }
}

fn job(report: &mut Report, new: &Value, old: &Value) {
    if text_at(old, "spec.completionMode") != "Indexed" {
        same(report, "spec.completions", new, old);
    } else if at(new, "spec.completions") != at(old, "spec.completions")
        && at(new, "spec.completions") != at(new, "spec.parallelism")
    {
        report.push(FieldError::invalid(
            "spec.completions",
            at(new, "spec.completions"),
            "can only be modified in tandem with spec.parallelism",
        ));
    }
    same(report, "spec.podFailurePolicy", new, old);
    same(report, "spec.backoffLimitPerIndex", new, old);
    same(report, "spec.managedBy", new, old);
    let never_started =
        at(old, "spec.suspend") == &Value::Bool(true) && at(old, "status.startTime").is_null();
    if never_started {
        scheduling_directives(report, new, old);
    } else {
        same(report, "spec.template", new, old);
    }
}

/// What decides where its pods run may change until a suspended job has started.
fn scheduling_directives(report: &mut Report, new: &Value, old: &Value) {
    const DIRECTIVES: &[&str] = &["nodeSelector", "affinity", "tolerations", "schedulingGates"];
    let fixed = |job: &Value| {
        let mut spec = at(job, "spec.template.spec").clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|member, _| !DIRECTIVES.contains(&member.as_str()));
        }
        spec
    };
    if fixed(new) != fixed(old) {
        same(report, "spec.template.spec", new, old);
    }
}

fn role_reference(report: &mut Report, new: &Value, old: &Value) {
    let reference = at(new, "roleRef");
    if reference == at(old, "roleRef") {
        return;
    }
    let member = |name: &str| quote(text_at(reference, name));
    let shown = format!(
        "{{\"APIGroup\":{},\"Kind\":{},\"Name\":{}}}",
        member("apiGroup"),
        member("kind"),
        member("name")
    );
    let detail = format!("{shown}: cannot change roleRef");
    report.push(FieldError::new(FieldErrorKind::Invalid, "roleRef", detail));
}

/// All but the series, metadata and the deprecated counters (API-404).
fn event(report: &mut Report, new: &Value, old: &Value) {
    const FIELDS: &[(&str, &str)] = &[
        ("regarding", "involvedObject"),
        ("reason", "reason"),
        ("note", "message"),
        ("type", "type"),
        ("eventTime", "eventTime"),
        ("action", "action"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
        ("deprecatedCount", "count"),
    ];
    let path = Path::root();
    let show_reference = |reference: &Value| {
        const MEMBERS: &[(&str, &str)] = &[
            ("Kind", "kind"),
            ("Namespace", "namespace"),
            ("Name", "name"),
            ("UID", "uid"),
            ("APIVersion", "apiVersion"),
            ("ResourceVersion", "resourceVersion"),
            ("FieldPath", "fieldPath"),
        ];
        let members = MEMBERS
            .iter()
            .map(|(shown, name)| format!("{}:{}", quote(shown), quote(text_at(reference, name))));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    for (field, shown) in FIELDS {
        if at(new, field) != at(old, field) {
            let value = match *field {
                "regarding" | "related" => show_reference(at(new, field)),
                _ => show(at(new, field)),
            };
            let detail = format!("{value}: field is immutable");
            let path = path.member(shown).to_string();
            report.push(FieldError::new(FieldErrorKind::Invalid, path, detail));
        }
    }
}
