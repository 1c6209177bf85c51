//! What a cluster would enforce and this server does not: whoever relies on it is told so (API-500).

use serde_json::Value;

use crate::{
    json,
    status::Failure,
    validate::FieldErrorKind,
    verbs::{Call, field_error},
};

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const PREFIX: &str = "pod-security.kubernetes.io/";

/// Refuses labels of a namespace that `PodSecurity` could not read.
pub(super) fn check_labels(call: &Call<'_>, new: &Value) -> Result<(), Failure> {
    if !call.kind.is_core("Namespace") {
        return Ok(());
    }
    let mut errors = Vec::new();
    for mode in ["enforce", "audit", "warn"] {
        let label = format!("{PREFIX}{mode}");
        let level = json::text(new, &["metadata", "labels", &label]);
        if !matches!(level, "" | "privileged" | "baseline" | "restricted") {
            let detail = format!("{level:?}: must be one of privileged, baseline, restricted");
            errors.push(field_error(
                FieldErrorKind::Invalid,
                format!("metadata.labels[{label}]"),
                detail,
            ));
        }
        let label = format!("{label}-version");
        let version = json::text(new, &["metadata", "labels", &label]);
        let minor = version.strip_prefix("v1.").unwrap_or_default();
        let is_number = minor == "0" || (!minor.starts_with('0') && minor.parse::<u32>().is_ok());
        if !matches!(version, "" | "latest") && !is_number {
            let detail = format!("{version:?}: must be \"latest\" or \"v1.x\"");
            errors.push(field_error(
                FieldErrorKind::Invalid,
                format!("metadata.labels[{label}]"),
                detail,
            ));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let name = json::text(new, &["metadata", "name"]);
    Err(Failure::invalid(&call.kind.gk, name, &errors))
}

/// Adds warnings about an object that asks for something that is not run.
pub(super) fn warn(call: &mut Call<'_>, new: &Value, old: Option<&Value>) {
    if call.kind.is_core("Namespace") {
        let level = |namespace: &Value| json::text(namespace, &["metadata", "labels", ENFORCE]).to_owned();
        let asked = level(new);
        let is_news = old.is_none_or(|old| level(old) != asked);
        if !asked.is_empty() && asked != "privileged" && is_news {
            call.warn(format!(
                "the sandbox does not run PodSecurity: pods that violate {asked:?} are admitted here and refused in a \
                 cluster"
            ));
        }
    }
    let kind = call.kind.gk.kind.to_string();
    let group = &call.kind.gk.group;
    if old.is_none() && group == "admissionregistration.k8s.io" {
        call.warn(format!(
            "the sandbox stores a {kind} and does not run it: requests are neither changed nor refused by it"
        ));
    }
}
