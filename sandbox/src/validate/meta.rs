//! Metadata: names, labels, annotations, owner references, finalizers (API-65, API-72, API-100 to API-104).

use serde_json::Value;

use super::{
    error::FieldError,
    gofmt::show_ordered,
    rule::{Path, Report, at, items_at, text_at},
    text,
};
use crate::names::GroupKind;

const MAX_ANNOTATIONS: usize = 262_144;
const OWNER_MEMBERS: &[&str] = &[
    "apiVersion",
    "kind",
    "name",
    "uid",
    "controller",
    "blockOwnerDeletion",
];
const STANDARD_FINALIZERS: &[&str] = &["orphan", "foregroundDeletion", "kubernetes"];

/// Which rule the name of a kind follows (API-100).
pub(super) fn name_problems(gk: &GroupKind, name: &str) -> Vec<String> {
    match (gk.group.as_ref(), gk.kind.as_ref()) {
        ("", "Namespace" | "Service") | ("apps", "StatefulSet") => text::dns_label(name),
        // Only what a URL needs is asked of events, which anyone writes.
        ("" | "events.k8s.io", "Event") | ("rbac.authorization.k8s.io", _) => text::path_segment(name),
        ("batch", "CronJob") => {
            let mut problems = text::dns_subdomain(name);
            if name.len() > 52 {
                problems.push("must be no more than 52 characters".to_owned());
            }
            problems
        }
        _ => text::dns_subdomain(name),
    }
}

pub(super) fn check(report: &mut Report, gk: &GroupKind, object: &Value) {
    let root = Path::root();
    let path = root.member("metadata");
    let metadata = at(object, "metadata");
    let name = text_at(metadata, "name");
    let base = text_at(metadata, "generateName");
    if !base.is_empty() {
        // A hyphen at the end is fine: more follows.
        let mut as_name = base.to_owned();
        if base.len() > 1 && base.ends_with('-') {
            as_name.truncate(base.len() - 2);
            as_name.push('a');
        }
        let problems = name_problems(gk, &as_name);
        report.problems(
            &path.member("generateName"),
            at(metadata, "generateName"),
            &problems,
        );
    }
    if name.is_empty() {
        report.required(&path.member("name"), "name or generateName is required");
    } else {
        report.problems(
            &path.member("name"),
            at(metadata, "name"),
            &name_problems(gk, name),
        );
    }
    report.not_negative(&path.member("generation"), at(metadata, "generation"));
    check_labels_and_annotations(report, &path, metadata);
    owner_references(
        report,
        &path.member("ownerReferences"),
        at(metadata, "ownerReferences"),
    );
    let path = path.member("finalizers");
    if is_built_in(gk) {
        finalizers(report, &path, items_at(metadata, "finalizers"));
    } else {
        qualified_finalizers(report, &path, items_at(metadata, "finalizers"));
    }
}

/// Whether the stricter rule for finalizers applies: not for definitions and custom resources.
fn is_built_in(gk: &GroupKind) -> bool {
    let group = gk.group.as_ref();
    group != "apiextensions.k8s.io" && (!group.contains('.') || group.ends_with(".k8s.io"))
}

fn qualified_finalizers(report: &mut Report, path: &Path<'_>, finalizers: &[Value]) {
    for finalizer in finalizers {
        let problems = text::qualified_name(finalizer.as_str().unwrap_or_default());
        report.problems(path, finalizer, &problems);
    }
    both_propagations(report, path, finalizers);
}

/// The metadata of an object inside of another one: it needs no name.
pub(super) fn check_embedded(report: &mut Report, metadata: &Value, path: &Path<'_>) {
    let name = text_at(metadata, "name");
    if !name.is_empty() {
        report.problems(
            &path.member("name"),
            at(metadata, "name"),
            &text::path_segment(name),
        );
    }
    let namespace = text_at(metadata, "namespace");
    if !namespace.is_empty() {
        report.problems(
            &path.member("namespace"),
            at(metadata, "namespace"),
            &text::dns_label(namespace),
        );
    }
    check_labels_and_annotations(report, path, metadata);
    owner_references(
        report,
        &path.member("ownerReferences"),
        at(metadata, "ownerReferences"),
    );
    qualified_finalizers(
        report,
        &path.member("finalizers"),
        items_at(metadata, "finalizers"),
    );
}

/// Also for the metadata of pod templates.
pub(super) fn check_labels_and_annotations(report: &mut Report, path: &Path<'_>, metadata: &Value) {
    report.labels(&path.member("labels"), at(metadata, "labels"));
    let path = path.member("annotations");
    let mut size = 0;
    for (key, value) in at(metadata, "annotations").as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        for problem in text::qualified_name(&key.to_lowercase()) {
            report.push(FieldError::invalid(
                path.to_string(),
                &Value::from(key.as_str()),
                problem,
            ));
        }
    }
    if size > MAX_ANNOTATIONS {
        report.push(FieldError::too_long(path.to_string(), MAX_ANNOTATIONS));
    }
}

fn owner_references(report: &mut Report, path: &Path<'_>, references: &Value) {
    let references = references.as_array().map_or(&[][..], Vec::as_slice);
    let mut controller: Option<&Value> = None;
    for reference in references {
        let version = text_at(reference, "apiVersion");
        if version.is_empty() || version.matches('/').count() > 1 {
            report.invalid(
                &path.member("apiVersion"),
                &Value::from(version),
                "version must not be empty",
            );
        }
        for member in ["kind", "name", "uid"] {
            if text_at(reference, member).is_empty() {
                report.invalid(&path.member(member), &Value::from(""), "must not be empty");
            }
        }
        if text_at(reference, "kind") == "Event" && text_at(reference, "apiVersion") == "v1" {
            let shown = show_ordered(reference, OWNER_MEMBERS);
            let detail = format!("{shown}: /v1, Kind=Event is disallowed from being an owner");
            report.push(FieldError::new(
                super::FieldErrorKind::Invalid,
                path.to_string(),
                detail,
            ));
        }
        if at(reference, "controller") == &Value::Bool(true) {
            if let Some(first) = controller {
                let name = |owner: &Value| format!("{}/{}", text_at(owner, "kind"), text_at(owner, "name"));
                let shown: Vec<String> = references
                    .iter()
                    .map(|owner| show_ordered(owner, OWNER_MEMBERS))
                    .collect();
                let detail = format!(
                    "[{}]: Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                    shown.join(","),
                    name(first),
                    name(reference)
                );
                report.push(FieldError::new(
                    super::FieldErrorKind::Invalid,
                    path.to_string(),
                    detail,
                ));
            }
            controller = controller.or(Some(reference));
        }
    }
}

fn finalizers(report: &mut Report, path: &Path<'_>, finalizers: &[Value]) {
    for (index, finalizer) in finalizers.iter().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        let problems = text::qualified_name(name);
        report.problems(path, finalizer, &problems);
        if !name.contains('/') && !STANDARD_FINALIZERS.contains(&name) {
            let problem = "name is neither a standard finalizer name nor is it fully qualified";
            report.invalid(&path.item(index), finalizer, problem);
        }
    }
    both_propagations(report, path, finalizers);
}

fn both_propagations(report: &mut Report, path: &Path<'_>, finalizers: &[Value]) {
    let has = |wanted: &str| finalizers.iter().any(|finalizer| finalizer == wanted);
    if has("orphan") && has("foregroundDeletion") {
        let shown = Value::Array(finalizers.to_vec());
        let problem = "finalizer orphan and foregroundDeletion cannot be both set";
        report.invalid(path, &shown, problem);
    }
}

/// What may not change in metadata: identity, and finalizers may not be added while deleting (API-35, API-143).
pub(super) fn check_update(report: &mut Report, new: &Value, old: &Value) {
    let root = Path::root();
    let path = root.member("metadata");
    let (new, old) = (at(new, "metadata"), at(old, "metadata"));
    for member in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
    ] {
        let (new, old) = (at(new, member), at(old, member));
        if new != old && (!old.is_null() || member == "deletionTimestamp") {
            report.invalid(&path.member(member), new, "field is immutable");
        }
    }
    if at(old, "deletionTimestamp").is_null() {
        return;
    }
    let added: Vec<String> = items_at(new, "finalizers")
        .iter()
        .filter(|finalizer| !items_at(old, "finalizers").contains(finalizer))
        .map(Value::to_string)
        .collect();
    if !added.is_empty() {
        let detail = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        );
        report.forbidden(&path.member("finalizers"), &detail);
    }
}

/// Whether the members of `metadata` that the server owns have their JSON types, before it drops what was sent
/// (API-38).
///
/// # Errors
/// With the tail of the message of a 400.
pub(crate) fn check_types(object: &Value) -> Result<(), String> {
    let Some(metadata) = object.get("metadata") else {
        return Ok(());
    };
    let is_time = |value: &Value| {
        value
            .as_str()
            .is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok())
    };
    let is_entries = |value: &Value| {
        value
            .as_array()
            .is_some_and(|entries| entries.iter().all(Value::is_object))
    };
    for (members, wanted, fits) in [
        (
            &[
                "name",
                "namespace",
                "generateName",
                "uid",
                "resourceVersion",
                "selfLink",
            ][..],
            "string",
            &Value::is_string as &dyn Fn(&Value) -> bool,
        ),
        (
            &["generation", "deletionGracePeriodSeconds"],
            "integer",
            &Value::is_i64,
        ),
        (&["creationTimestamp", "deletionTimestamp"], "time", &is_time),
        (&["managedFields"], "list of maps", &is_entries),
    ] {
        for member in members {
            if metadata
                .get(*member)
                .is_some_and(|value| !value.is_null() && !fits(value))
            {
                return Err(format!("metadata.{member}: wanted {wanted}"));
            }
        }
    }
    Ok(())
}
