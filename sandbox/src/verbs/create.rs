//! POST to a collection (API-60 to API-70, API-120, API-125 to API-128).

use serde_json::Value;

use crate::{
    admission,
    apply::{self, Ownership, Sent},
    auth::escalation,
    crd, defaults, event,
    json::{self, is_blank},
    names::GroupKind,
    prepare,
    registry::Kind,
    services,
    status::Failure,
    store::{Draft, Key, WriteError},
    validate::{self, FieldError, FieldErrorKind, check_types},
    verbs::{Answer, Call, FieldValidation, WriteOptions, Written, field_error},
};

/// Names drawn for `generateName` before the server gives up.
const NAME_ATTEMPTS: usize = 8;

pub(crate) fn create(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let options = call.write_options("CreateOptions")?;
    let object = call.decode_body()?;
    let written = create_object(call, object, options, None)?;
    call.answer_object(201, &written)
}

/// Creates the object at the path of the call. An apply knows its ownership already.
pub(crate) fn create_object(
    call: &mut Call<'_>,
    mut object: Value,
    options: WriteOptions,
    ownership: Option<Ownership>,
) -> Result<Written, Failure> {
    warn_of_other_version(call, &object);
    check_type(call, &object)?;
    if json::map_mut(&mut object, &["metadata"]).is_none() {
        return Err(call.undecodable("metadata must be an object"));
    }
    check_types(&object).map_err(|why| call.undecodable(&why))?;
    let sent = Sent::take(&mut object);
    own_metadata(call, &mut object)?;
    decode(call, &mut object, options.field_validation).map_err(|why| call.undecodable(&why))?;
    if call.kind.custom.as_ref().is_some_and(|custom| custom.terminating) {
        let cause = "create not allowed while custom resource definition is terminating";
        let name = json::text(&object, &["metadata", "name"]);
        return Err(Failure::forbidden(&call.kind.resource, name, cause));
    }
    dedup_owners(call, &mut object);
    prepare::create(&call.kind, &mut object);
    default(call, &mut object);
    let ownership = ownership.unwrap_or_else(|| apply::created(call, sent, &object));
    if call.kind.custom.is_none() {
        defaults::created_by_server(&call.kind.gk, &mut object);
    }
    prepare::times(call.core, &call.kind, &mut object);
    crd::prepare_definition(&call.kind, &mut object, None);
    if call.kind.namespaced {
        admission::namespace_accepts_content(call, json::text(&object, &["metadata", "name"]))?;
    }
    admission::create(call, &mut object)?;
    escalation::check(call, &object, None)?;
    let name = json::text(&object, &["metadata", "name"]).to_owned();
    if !name.is_empty() {
        let written = store(call, &mut object, &name, options, &ownership)?;
        return written.ok_or_else(|| Failure::already_exists(&call.kind.resource, &name));
    }
    let base = json::text(&object, &["metadata", "generateName"]).to_owned();
    let mut name = String::new();
    for _ in 0..NAME_ATTEMPTS {
        let mut named = object.clone();
        name = call.core.generated_name(&base);
        json::set(&mut named, &["metadata"], "name", name.as_str());
        // Some defaults repeat the name.
        default(call, &mut named);
        if call.kind.custom.is_none() {
            defaults::created_by_server(&call.kind.gk, &mut named);
        }
        if let Some(written) = store(call, &mut named, &name, options, &ownership)? {
            return Ok(written);
        }
    }
    Err(Failure::already_exists(&call.kind.resource, &name))
}

/// Validates and stores; `None` if the name is taken.
fn store(
    call: &mut Call<'_>,
    object: &mut Value,
    name: &str,
    options: WriteOptions,
    ownership: &Ownership,
) -> Result<Option<Written>, Failure> {
    let key = Key::new(call.path.namespace.as_deref().unwrap_or_default(), name);
    let reservation = services::reserve(call.core, &call.kind, &key, object, None)?;
    if call.core.config.validation {
        let mut errors = match &call.kind.custom {
            Some(custom) => {
                let mut errors = validate::create(&call.kind.gk, object);
                errors.extend(crd::validate(custom, object, None, crd::Part::Whole).errors);
                errors
            }
            None => validate::create(&call.kind.gk, object),
        };
        errors.extend(crd::validate_definition(&call.kind, object, None));
        if !errors.is_empty() {
            return Err(invalid(&call.kind, name, &errors));
        }
        warn(call, object, None);
        let warnings = crd::definition_warnings(&call.kind, object, None);
        let finalizers = crd::finalizer_warnings(&call.kind, object, None);
        for warning in warnings.into_iter().chain(finalizers) {
            call.warn(warning);
        }
    }
    admission::resource_quota::charge(call, object, None, options.dry_run)?;
    if options.dry_run && call.core.store.get(&call.kind.table, &key).is_some() {
        return Ok(None);
    }
    if options.dry_run {
        json::remove(object, &["metadata"], "resourceVersion");
        return Ok(Some(Written::Unstored(ownership.show(object.clone()))));
    }
    let draft = draft(&call.kind, object, ownership.json());
    match call.core.store.create(&call.kind.table, &key, &draft) {
        Ok(stored) => {
            reservation.keep();
            crd::after_write(call.core, &call.kind, &key);
            Ok(Some(Written::Stored(stored)))
        }
        Err(WriteError::Exists) => Ok(None),
        Err(error) => Err(Failure::internal(error)),
    }
}

/// Serialises the served form of an object as it is stored, with the JSON of its `managedFields`.
pub(crate) fn draft(kind: &Kind, object: &Value, managed_fields: &[u8]) -> Draft {
    if kind.is_new_event {
        Draft::with_managed_fields(&event::to_core(object.clone()), managed_fields)
    } else if let Some(stored) = crd::to_storage(kind, object) {
        Draft::with_managed_fields(&stored, managed_fields)
    } else {
        Draft::with_managed_fields(object, managed_fields)
    }
}

/// API-70, and API-546 for custom resources.
pub(crate) fn check_type(call: &Call<'_>, object: &Value) -> Result<(), Failure> {
    let kind = &call.kind;
    let expected = kind.api_version();
    let (sent_version, sent_kind) = (json::text(object, &["apiVersion"]), json::text(object, &["kind"]));
    if sent_version.is_empty() && sent_kind.is_empty() && kind.custom.is_none() {
        return Ok(());
    }
    if sent_kind.is_empty() {
        let missing = format!("Object 'Kind' is missing in '{}'", shortened(object));
        if kind.custom.is_none() {
            return Err(Failure::bad_request(missing));
        }
        let raw = String::from_utf8_lossy(&call.body);
        let start: String = raw.chars().take(30).collect();
        let start = if start.len() < raw.len() {
            format!("{start} ...")
        } else {
            start
        };
        return Err(Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{raw}' ({start})",
            kind.gk.kind
        )));
    }
    if sent_version != expected {
        return Err(Failure::bad_request(format!(
            "the API version in the data ({sent_version}) does not match the expected API version ({expected})"
        )));
    }
    if sent_kind == kind.gk.kind {
        return Ok(());
    }
    if kind.custom.is_some() {
        let name = json::text(object, &["metadata", "name"]);
        let sent = crate::names::GroupKind::new(kind.gk.group.clone(), sent_kind.to_owned());
        let detail = format!("{sent_kind:?}: must be {}", kind.gk.kind);
        return Err(Failure::invalid(
            &sent,
            name,
            &[field_error(FieldErrorKind::Invalid, "kind", detail)],
        ));
    }
    Err(Failure::bad_request(format!(
        "{sent_kind} in version {:?} cannot be handled as a {}",
        kind.resource.version, kind.gk.kind
    )))
}

/// An object of another version of a custom resource has no schema: all that it contains is unknown.
fn warn_of_other_version(call: &mut Call<'_>, object: &Value) {
    let sent = json::text(object, &["apiVersion"]);
    let of_kind = json::text(object, &["kind"]) == call.kind.gk.kind;
    let of_group = sent
        .split_once('/')
        .is_some_and(|(group, _)| group == call.kind.gk.group);
    if call.kind.custom.is_none() || !of_kind || !of_group || sent == call.kind.api_version() {
        return;
    }
    for name in object.as_object().into_iter().flatten().map(|(name, _)| name) {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            call.warn(format!("unknown field \"{name}\""));
        }
    }
}

fn shortened(object: &Value) -> String {
    object.to_string().chars().take(200).collect()
}

/// Fills what the server owns and drops what the client may not set (API-60, API-64, API-65, API-69).
fn own_metadata(call: &Call<'_>, object: &mut Value) -> Result<(), Failure> {
    check_namespace(call, object)?;
    let named_by_url = call.path.name.clone();
    let core = call.core;
    let uid = core.uid();
    let now = core.timestamp();
    let kind = &call.kind;
    let Some(metadata) = json::map_mut(object, &["metadata"]) else {
        return Ok(());
    };
    if !is_blank(metadata.get("resourceVersion")) && named_by_url.is_none() {
        return Err(Failure::unmapped(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    if is_blank(metadata.get("name")) && is_blank(metadata.get("generateName")) {
        let error = field_error(
            FieldErrorKind::Required,
            "metadata.name",
            "name or generateName is required",
        );
        return Err(invalid(kind, "", &[error]));
    }
    for member in [
        "uid",
        "creationTimestamp",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "managedFields",
    ] {
        metadata.remove(member);
    }
    metadata.retain(|_, value| !value.is_null());
    if let Some(namespace) = &call.path.namespace {
        metadata.insert("namespace".to_owned(), namespace.as_str().into());
    } else {
        metadata.remove("namespace");
    }
    metadata.insert("uid".to_owned(), uid.into());
    metadata.insert("creationTimestamp".to_owned(), now.into());
    Ok(())
}

/// API-69.
pub(crate) fn check_namespace(call: &Call<'_>, object: &Value) -> Result<(), Failure> {
    let sent = json::text(object, &["metadata", "namespace"]);
    let namespace = call.path.namespace.as_deref().unwrap_or_default();
    if sent.is_empty() || sent == namespace {
        return Ok(());
    }
    Err(Failure::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

/// 422 for an object; Events of both groups are reported as those of the core group.
pub(crate) fn invalid(kind: &Kind, name: &str, errors: &[FieldError]) -> Failure {
    if kind.is_new_event {
        return Failure::invalid(&GroupKind::new("", "Event"), name, errors);
    }
    Failure::invalid(&kind.gk, name, errors)
}

/// Warnings about an object that is accepted.
pub(crate) fn warn(call: &mut Call<'_>, object: &Value, old: Option<&Value>) {
    if call.core.config.validation && call.kind.custom.is_none() {
        let warnings = match old {
            Some(old) => validate::update_warnings(&call.kind.gk, object, old),
            None => validate::warnings(&call.kind.gk, object),
        };
        for warning in warnings {
            call.warn(warning);
        }
    }
}

/// API-72: owners with the same uid are stored once.
pub(crate) fn dedup_owners(call: &mut Call<'_>, object: &mut Value) {
    let Some(owners) = object
        .pointer_mut("/metadata/ownerReferences")
        .and_then(Value::as_array_mut)
    else {
        return;
    };
    let mut seen: Vec<String> = Vec::new();
    let mut twice: Vec<String> = Vec::new();
    owners.retain(|owner| {
        let uid = json::text(owner, &["uid"]).to_owned();
        let is_new = !seen.contains(&uid);
        if is_new {
            seen.push(uid);
        } else if !twice.contains(&uid) {
            twice.push(uid);
        }
        is_new
    });
    if !twice.is_empty() {
        call.warn(format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and \
             may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            twice.join(", ")
        ));
    }
}

/// Checks the JSON types of all members, drops unknown ones, and brings values into their stored form.
///
/// # Errors
/// With the reason why the object cannot be decoded.
pub(crate) fn decode(
    call: &mut Call<'_>,
    object: &mut Value,
    field_validation: FieldValidation,
) -> Result<(), String> {
    if let Some(members) = object.as_object_mut() {
        members.remove("kind");
        members.remove("apiVersion");
    }
    let kind = std::sync::Arc::clone(&call.kind);
    let mut problems = match &kind.custom {
        Some(custom) => {
            let mut unknown = validate::decode(&kind.gk, object)?;
            unknown.extend(crd::decode(custom, object)?);
            unknown
        }
        None if call.core.config.validation => validate::decode(&kind.gk, object)?,
        None => return Ok(()),
    };
    if kind.custom.is_some() {
        problems.splice(0..0, call.duplicates.iter().cloned());
    } else {
        problems.extend(call.duplicates.iter().cloned());
    }
    match field_validation {
        FieldValidation::Strict if !problems.is_empty() => {
            return Err(format!("strict decoding error: {}", problems.join(", ")));
        }
        FieldValidation::Warn => problems.into_iter().for_each(|problem| call.warn(problem)),
        FieldValidation::Strict | FieldValidation::Ignore => {}
    }
    Ok(())
}

/// Fills the defaults of built-in types; those of custom resources are filled while decoding.
pub(crate) fn default(call: &Call<'_>, object: &mut Value) {
    if call.kind.custom.is_none() {
        defaults::of_type(&call.kind.gk, object);
    }
}
