//! PATCH (API-4, API-260 to API-271).

use serde_json::Value;

use crate::{
    json,
    names::{GroupKind, Gvr},
    patch::{self, PatchKind},
    render::typed,
    status::Failure,
    validate::{FieldErrorKind, gofmt},
    verbs::{
        Answer, Call,
        create::check_type,
        field_error,
        update::{ATTEMPTS, Scope, UpdateError, change},
    },
};

/// Patch types of built-in kinds; for custom resources there is no strategic merge (API-4).
pub(super) const BUILT_IN: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const CUSTOM: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
];

pub(crate) fn patch(call: &mut Call<'_>, scope: Scope) -> Result<Answer, Failure> {
    let options = call.write_options("PatchOptions")?;
    let (kind, body) = decode(call)?;
    let name = call.path.name.clone().unwrap_or_default();
    for _ in 0..ATTEMPTS {
        let current = call.current()?;
        let before = typed(&call.kind, crate::render::served(&call.kind, current.parse()));
        let after = apply(kind, &call.kind.resource, &before, &body)?;
        check_identity(call, &before, &after)?;
        let version = json::text(&after, &["metadata", "resourceVersion"]);
        let conditional = !matches!(version, "" | "0") && insists_on_version(kind, &body);
        if conditional && version != current.revision.to_string() {
            return Err(Failure::stale(&call.kind.resource, &name));
        }
        match change(call, &current, after, scope, options) {
            Ok(written) => return call.answer_object(200, &written),
            Err(UpdateError::Undecodable(why)) => return Err(undecodable(call, &body, &why)),
            Err(UpdateError::Failed(failure)) => return Err(failure),
            Err(UpdateError::Raced) if conditional => break,
            Err(UpdateError::Raced) => {}
        }
    }
    Err(Failure::stale(&call.kind.resource, &name))
}

/// Parses the patch.
pub(crate) fn decode(call: &Call<'_>) -> Result<(PatchKind, Value), Failure> {
    let accepted = if call.kind.custom.is_some() {
        CUSTOM
    } else {
        BUILT_IN
    };
    let media_type = call.media_type();
    if !accepted.contains(&media_type) {
        return Err(Failure::unsupported_media_type(accepted));
    }
    let kind = match media_type {
        "application/json-patch+json" => PatchKind::Json,
        "application/merge-patch+json" => PatchKind::Merge,
        "application/strategic-merge-patch+json" => PatchKind::Strategic,
        _ => {
            return Err(Failure::of_patch(
                415,
                "the sandbox does not implement server-side apply yet".to_owned(),
            ));
        }
    };
    if call.query.has("force") {
        let error = field_error(
            FieldErrorKind::Forbidden,
            "force",
            "may not be specified for non-apply patch",
        );
        return Err(Failure::invalid_option("PatchOptions", &[error]));
    }
    let body = serde_json::from_slice(&call.body)
        .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
    Ok((kind, body))
}

pub(crate) fn apply(kind: PatchKind, resource: &Gvr, before: &Value, body: &Value) -> Result<Value, Failure> {
    patch::apply(kind, resource, before, body)
        .map_err(|error| Failure::of_patch(error.code(), error.to_string()))
}

/// Whether the patch itself names a version (API-260).
pub(crate) fn insists_on_version(kind: PatchKind, body: &Value) -> bool {
    match kind {
        PatchKind::Merge | PatchKind::Strategic => json::at(body, &["metadata", "resourceVersion"]).is_some(),
        PatchKind::Json => body.as_array().is_some_and(|operations| {
            operations.iter().any(|operation| {
                let path = json::text(operation, &["path"]);
                json::text(operation, &["op"]) != "test" && path == "/metadata/resourceVersion"
            })
        }),
    }
}

/// A patched object that does not decode: for built-in kinds 422 at the pseudo field `patch` (API-39).
fn undecodable(call: &Call<'_>, body: &Value, why: &str) -> Failure {
    if call.kind.custom.is_some() {
        return call.undecodable(why);
    }
    let shown = gofmt::quote(&gofmt::show_map(body));
    let error = field_error(FieldErrorKind::Invalid, "patch", format!("{shown}: {why}"));
    Failure::invalid(&GroupKind::new("", ""), "", &[error])
}

/// API-35, API-265.
fn check_identity(call: &Call<'_>, before: &Value, after: &Value) -> Result<(), Failure> {
    let name = call.path.name.as_deref().unwrap_or_default();
    let patched_name = json::text(after, &["metadata", "name"]);
    if patched_name != name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({patched_name}) does not match the name on the URL ({name})"
        )));
    }
    if json::text(after, &["metadata", "namespace"]) != json::text(before, &["metadata", "namespace"]) {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    check_type(call, after).map_err(|failure| Failure::unprocessable(failure.message))?;
    let uid = json::at(after, &["metadata", "uid"]);
    let sent = uid.and_then(Value::as_str).unwrap_or_default();
    if !sent.is_empty() && sent != json::text(before, &["metadata", "uid"]) {
        let error = || {
            field_error(
                FieldErrorKind::Invalid,
                "metadata.uid",
                format!("{sent:?}: field is immutable"),
            )
        };
        return Err(Failure::invalid(&call.kind.gk, name, &[error(), error()]));
    }
    Ok(())
}
