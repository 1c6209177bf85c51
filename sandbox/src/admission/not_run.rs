//! What a cluster would enforce and this server does not: whoever relies on it is told so (API-500).

use serde_json::Value;

use crate::{json, verbs::Call};

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

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
