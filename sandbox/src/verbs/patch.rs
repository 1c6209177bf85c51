//! PATCH (API-4, API-260 to API-271).

use serde_json::Value;

use crate::{
    apply, json,
    names::GroupKind,
    patch::{self, PatchKind},
    render::typed,
    schema::Node,
    status::Failure,
    validate::{self, FieldErrorKind, check_types, gofmt},
    verbs::{
        Answer, Call, FieldValidation, WriteOptions,
        create::{check_namespace, check_type, create_object},
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
    let format = format(call)?;
    let options = call.patch_options(format == Format::Apply)?;
    let Format::Patch(kind) = format else {
        return apply_config(call, scope, options);
    };
    let body = decode(call)?;
    let name = call.path.name.clone().unwrap_or_default();
    let mentions_owners = mentions_owners(&body);
    for _ in 0..ATTEMPTS {
        let current = call.current()?;
        let stored = if mentions_owners {
            current.parse_whole()
        } else {
            current.parse()
        };
        let before = typed(&call.kind, crate::render::served(&call.kind, stored));
        let mut after = apply_patch(kind, call.kind.node(), &before, &body)?;
        if kind == PatchKind::Strategic {
            // Merged into the type of the path: what the patch calls it does not matter.
            for member in ["kind", "apiVersion"] {
                if after.get(member).is_none_or(Value::is_string) {
                    json::copy_member(&before, &mut after, &[], member);
                }
            }
        }
        if let Err(why) = check_types(&after) {
            return Err(undecodable(call, &body, &after.to_string(), &why));
        }
        check_identity(call, &before, &after)?;
        let version = json::text(&after, &["metadata", "resourceVersion"]);
        let conditional = !matches!(version, "" | "0") && insists_on_version(kind, &body);
        check_version(version)?;
        if conditional && version != current.revision.to_string() {
            return Err(Failure::stale(&call.kind.resource, &name));
        }
        // What a custom resource would have become is shown if it is refused.
        let shown = match &call.kind.custom {
            Some(_) => after.to_string(),
            None => String::new(),
        };
        match change(call, &current, after, scope, options, None) {
            Ok(written) => return call.answer_object(200, &written),
            Err(UpdateError::Undecodable(why)) => return Err(undecodable(call, &body, &shown, &why)),
            Err(UpdateError::Failed(failure)) => return Err(failure),
            Err(UpdateError::Raced) if conditional => break,
            Err(UpdateError::Raced) => {}
        }
    }
    Err(Failure::stale(&call.kind.resource, &name))
}

/// What a PATCH carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A change of the stored object.
    Patch(PatchKind),
    /// What the client wants the object to have (API-290).
    Apply,
}

/// The format by `Content-Type`.
pub(crate) fn format(call: &Call<'_>) -> Result<Format, Failure> {
    let accepted = if call.kind.custom.is_some() {
        CUSTOM
    } else {
        BUILT_IN
    };
    let media_type = call.media_type();
    if !accepted.contains(&media_type) {
        return Err(Failure::unsupported_media_type(accepted));
    }
    Ok(match media_type {
        "application/json-patch+json" => Format::Patch(PatchKind::Json),
        "application/merge-patch+json" => Format::Patch(PatchKind::Merge),
        "application/strategic-merge-patch+json" => Format::Patch(PatchKind::Strategic),
        _ => Format::Apply,
    })
}

/// Parses a patch that is no apply.
pub(crate) fn decode(call: &Call<'_>) -> Result<Value, Failure> {
    serde_json::from_slice(&call.body)
        .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))
}

/// Whether a patch reads or changes `metadata.managedFields`: only then the object is given to it with them.
fn mentions_owners(patch: &Value) -> bool {
    let is_about = |text: &str| text.contains("managedFields");
    match patch {
        Value::String(text) => is_about(text) || matches!(text.as_str(), "" | "/metadata"),
        Value::Array(items) => items.iter().any(mentions_owners),
        Value::Object(members) => {
            members
                .iter()
                .any(|(name, value)| is_about(name) || value.is_object() && mentions_owners(value))
                || ["path", "from"]
                    .iter()
                    .filter_map(|name| members.get(*name))
                    .any(mentions_owners)
        }
        _ => false,
    }
}

/// Server-side apply (API-290 to API-299).
fn apply_config(call: &mut Call<'_>, scope: Scope, options: WriteOptions) -> Result<Answer, Failure> {
    let (config, problems) = read_config(call, &call.kind.gk, &call.kind.api_version())?;
    // The schema has refused what is unknown already.
    let quiet = WriteOptions {
        field_validation: FieldValidation::Ignore,
        ..options
    };
    let name = call.path.name.clone().unwrap_or_default();
    for _ in 0..ATTEMPTS {
        let Some(current) = call.core.store.get(&call.kind.table, &call.key()) else {
            if scope != Scope::Main {
                return Err(call.not_found());
            }
            return apply_to_nothing(call, &config, &problems, quiet, options);
        };
        let live = crate::render::served(&call.kind, current.parse());
        let (new, ownership) = apply::apply(call, Some(&current), Some(&live), &config, scope.subresource())?;
        report(call, &problems, options)?;
        check_convertible(call, &config, &new)?;
        let new = typed(&call.kind, new);
        check_identity(call, &live, &new)?;
        let version = json::text(&new, &["metadata", "resourceVersion"]);
        check_version(version)?;
        if !matches!(version, "" | "0") && version != current.revision.to_string() {
            return Err(Failure::stale(&call.kind.resource, &name));
        }
        match change(call, &current, new, scope, quiet, Some(ownership)) {
            Ok(written) => return call.answer_object(200, &written),
            Err(UpdateError::Undecodable(why)) => return Err(unconvertible(call, &config, &why)),
            Err(UpdateError::Failed(failure)) => return Err(failure),
            Err(UpdateError::Raced) => {}
        }
    }
    Err(Failure::stale(&call.kind.resource, &name))
}

/// The applied configuration without kind and version, and what strict decoding says against it (API-291).
pub(crate) fn read_config(
    call: &Call<'_>,
    gk: &GroupKind,
    api_version: &str,
) -> Result<(Value, Vec<String>), Failure> {
    if !call.core.config.managed_fields {
        return Err(Failure::of_patch(
            415,
            "server-side apply is off: the server does not record managed fields".to_owned(),
        ));
    }
    let apply::body::Body { mut config, problems } = apply::body::parse(&call.body)
        .map_err(|error| Failure::bad_request(format!("error decoding YAML: {error}")))?;
    let (sent_version, sent_kind) = (
        json::text(&config, &["apiVersion"]),
        json::text(&config, &["kind"]),
    );
    if sent_version != api_version || sent_kind != gk.kind {
        let (group, version) = sent_version.split_once('/').unwrap_or(("", sent_version));
        return Err(Failure::bad_request(format!(
            "invalid object type: {group}/{version}, Kind={sent_kind}"
        )));
    }
    if json::at(&config, &["metadata", "managedFields"]).is_some_and(|sent| !sent.is_null()) {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    json::remove(&mut config, &[], "apiVersion");
    json::remove(&mut config, &[], "kind");
    Ok((config, problems))
}

/// Creates what is applied to a name that does not exist yet.
fn apply_to_nothing(
    call: &mut Call<'_>,
    config: &Value,
    problems: &[String],
    quiet: WriteOptions,
    options: WriteOptions,
) -> Result<Answer, Failure> {
    let name = call.path.name.clone().unwrap_or_default();
    let (new, ownership) = apply::apply(call, None, None, config, "")?;
    report(call, problems, options)?;
    let uid = json::text(&new, &["metadata", "uid"]);
    if !uid.is_empty() {
        let cause = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(Failure::conflict(&call.kind.resource, &name, &cause));
    }
    check_namespace(call, &new)?;
    let sent_name = json::text(&new, &["metadata", "name"]);
    if sent_name.is_empty() {
        return Err(Failure::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if sent_name != name {
        return Err(wrong_name(sent_name, &name));
    }
    check_convertible(call, config, &new)?;
    let new = typed(&call.kind, new);
    let written = create_object(call, new, quiet, Some(ownership))?;
    call.answer_object(201, &written)
}

/// API-39, API-40 for an apply.
pub(crate) fn report(call: &mut Call<'_>, problems: &[String], options: WriteOptions) -> Result<(), Failure> {
    match options.field_validation {
        FieldValidation::Strict if !problems.is_empty() => Err(Failure::bad_request(format!(
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
            problems.join("\n  ")
        ))),
        FieldValidation::Warn => {
            for problem in problems {
                call.warn(problem.clone());
            }
            Ok(())
        }
        FieldValidation::Strict | FieldValidation::Ignore => Ok(()),
    }
}

/// A resource version in a patched object has to be a number (API-41).
fn check_version(version: &str) -> Result<(), Failure> {
    if version.is_empty() || version.parse::<u64>().is_ok() {
        return Ok(());
    }
    let shown = gofmt::quote(version);
    Err(Failure::unmapped(format!(
        "strconv.ParseUint: parsing {shown}: invalid syntax"
    )))
}

/// The schema says less than the type: it does not know what a quantity or a time is.
fn check_convertible(call: &Call<'_>, config: &Value, new: &Value) -> Result<(), Failure> {
    if call.kind.custom.is_some() {
        return Ok(());
    }
    validate::decode(&call.kind.gk, &mut new.clone())
        .map(drop)
        .map_err(|why| unconvertible(call, config, &why))
}

/// The merged object has a value that its type cannot hold.
fn unconvertible(call: &Call<'_>, config: &Value, why: &str) -> Failure {
    Failure::unmapped(format!(
        "failed to convert new object ({}) to proper version: unable to convert unstructured object to {}, Kind={}: \
         {why}",
        apply::shown(call, config),
        call.kind.api_version(),
        call.kind.gk.kind
    ))
}

fn wrong_name(sent: &str, name: &str) -> Failure {
    Failure::bad_request(format!(
        "the name of the object ({sent}) does not match the name on the URL ({name})"
    ))
}

pub(crate) fn apply_patch(
    kind: PatchKind,
    root: Option<Node<'_>>,
    before: &Value,
    body: &Value,
) -> Result<Value, Failure> {
    patch::apply(kind, root, before, body).map_err(|error| Failure::of_patch(error.code(), error.to_string()))
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

/// A patched object that does not decode: 422 at the pseudo field `patch` (API-39). The patch is shown, for custom
/// resources the patched object.
fn undecodable(call: &Call<'_>, body: &Value, after: &str, why: &str) -> Failure {
    let shown = if call.kind.custom.is_some() {
        gofmt::quote(after)
    } else {
        gofmt::quote(&gofmt::show_map(body))
    };
    let error = field_error(FieldErrorKind::Invalid, "patch", format!("{shown}: {why}"));
    Failure::invalid(&GroupKind::new("", ""), "", &[error])
}

/// API-35, API-265.
fn check_identity(call: &Call<'_>, before: &Value, after: &Value) -> Result<(), Failure> {
    let name = call.path.name.as_deref().unwrap_or_default();
    let patched_name = json::text(after, &["metadata", "name"]);
    if patched_name != name {
        return Err(wrong_name(patched_name, name));
    }
    let namespace = json::text(after, &["metadata", "namespace"]);
    if !namespace.is_empty() && namespace != json::text(before, &["metadata", "namespace"]) {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let unnamed = json::is_blank(after.get("kind")) && call.kind.custom.is_none();
    if !unnamed || json::is_blank(after.get("apiVersion")) {
        check_type(call, after).map_err(|failure| Failure::unprocessable(failure.message))?;
    }
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
