//! `NamespaceLifecycle`: no new content in namespaces that are missing or terminating (API-127, API-128).

use crate::{
    json::{self, is_blank},
    names::Gvr,
    status::{Cause, Failure},
    store::Key,
    verbs::Call,
};

/// Refuses new content in namespaces that are missing or terminating (API-127, API-128).
pub(crate) fn accepts_content(call: &Call<'_>, name: &str) -> Result<(), Failure> {
    let namespace = call.path.namespace.as_deref().unwrap_or_default();
    let namespaces = Gvr::new("", "v1", "namespaces");
    let Some(stored) = call
        .core
        .store
        .get(&"namespaces".into(), &Key::new("", namespace))
    else {
        return Err(Failure::not_found(&namespaces, namespace));
    };
    let stored = stored.parse();
    let terminating = !is_blank(json::at(&stored, &["metadata", "deletionTimestamp"]));
    if !terminating {
        return Ok(());
    }
    let cause =
        format!("unable to create new content in namespace {namespace} because it is being terminated");
    Err(
        Failure::forbidden(&call.kind.resource, name, cause).because(Cause {
            reason: "NamespaceTerminating",
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        }),
    )
}
