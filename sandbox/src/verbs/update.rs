//! PUT, and what all changes of an existing object share (API-34, API-35, API-62, API-71, API-122 to API-124,
//! API-142, API-143, API-440).

use std::sync::Arc;

use serde_json::Value;

use crate::{
    admission,
    apply::{self, Ownership, Sent},
    auth::escalation,
    crd, defaults, json, prepare,
    registry::VersionCheck,
    render::served,
    request::parse_version,
    services,
    status::Failure,
    store::{Object, WriteError},
    validate::{self, FieldErrorKind, check_types},
    verbs::{
        Answer, Call, WriteOptions, Written,
        create::{self, check_namespace, check_type, create_object, draft},
        field_error,
    },
};

/// Writers that race for the same object give up after so many attempts, like upstream's patch.
pub(crate) const ATTEMPTS: usize = 16;

/// Which part of an object a write may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All but status.
    Main,
    /// Status and some metadata.
    Status,
    /// The finalizers in the spec of a namespace.
    Finalize,
    /// Ephemeral containers of a pod.
    EphemeralContainers,
    /// Resources of the containers of a pod.
    Resize,
    /// Whatever the server changes on behalf of a subresource, unseen by admission.
    Server,
}

/// Why a change was not made.
pub(crate) enum UpdateError {
    /// It is refused.
    Failed(Failure),
    /// The new object does not decode, with the reason.
    Undecodable(String),
    /// Another writer came first.
    Raced,
}

impl From<Failure> for UpdateError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

pub(crate) fn update(call: &mut Call<'_>, scope: Scope) -> Result<Answer, Failure> {
    let options = call.write_options("UpdateOptions")?;
    let sent = call.decode_body()?;
    check_type(call, &sent)?;
    let name = call.path.name.clone().unwrap_or_default();
    let sent_name = json::text(&sent, &["metadata", "name"]);
    if sent_name.is_empty() {
        return Err(Failure::bad_request("name must be provided"));
    }
    if sent_name != name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({sent_name}) does not match the name on the URL ({name})"
        )));
    }
    check_namespace(call, &sent)?;
    let expected = sent_version(&sent)?;
    for _ in 0..ATTEMPTS {
        let Some(current) = call.core.store.get(&call.kind.table, &call.key()) else {
            return put_missing(call, sent, options, scope);
        };
        check_precondition(call, &current, &sent, expected)?;
        match change(call, &current, sent.clone(), scope, options, None) {
            Ok(written) => return call.answer_object(200, &written),
            Err(UpdateError::Failed(failure)) => return Err(failure),
            Err(UpdateError::Undecodable(why)) => return Err(call.undecodable(&why)),
            Err(UpdateError::Raced) => {}
        }
    }
    Err(Failure::stale(&call.kind.resource, &name))
}

/// The version that a body insists on; `None` for an unconditional write.
fn sent_version(sent: &Value) -> Result<Option<u64>, Failure> {
    match json::text(sent, &["metadata", "resourceVersion"]) {
        "" | "0" => Ok(None),
        text => parse_version(text).map(Some).map_err(Failure::unmapped),
    }
}

fn put_missing(
    call: &mut Call<'_>,
    sent: Value,
    options: WriteOptions,
    scope: Scope,
) -> Result<Answer, Failure> {
    if !call.kind.put_creates || scope != Scope::Main {
        return Err(call.not_found());
    }
    let uid = json::text(&sent, &["metadata", "uid"]);
    if !uid.is_empty() {
        let cause = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: ");
        return Err(Failure::conflict(
            &call.kind.resource,
            call.path.name.as_deref().unwrap_or_default(),
            &cause,
        ));
    }
    let written = create_object(call, sent, options, None)?;
    call.answer_object(201, &written)
}

fn check_precondition(
    call: &Call<'_>,
    current: &Object,
    sent: &Value,
    expected: Option<u64>,
) -> Result<(), Failure> {
    let name = &current.key.name;
    let resource = &call.kind.resource;
    let uid = json::text(sent, &["metadata", "uid"]);
    if !uid.is_empty() {
        let stored = current.parse();
        let stored_uid = json::text(&stored, &["metadata", "uid"]);
        if uid != stored_uid {
            let cause =
                format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored_uid}");
            return Err(Failure::conflict(resource, name, &cause));
        }
    }
    match expected {
        Some(version) if version != current.revision.0 => Err(Failure::stale(resource, name)),
        None if call.kind.version_check == VersionCheck::Required => {
            let detail = "0: must be specified for an update";
            let error = field_error(FieldErrorKind::Invalid, "metadata.resourceVersion", detail);
            Err(Failure::invalid_as(
                &resource.to_string(),
                &resource.group,
                &resource.resource,
                name,
                &[error],
            ))
        }
        _ => Ok(()),
    }
}

/// Changes `current` to `new` as far as `scope` allows. `new` is in the served form of the kind. Without an `ownership`
/// the writer owns what it changes.
pub(crate) fn change(
    call: &mut Call<'_>,
    current: &Arc<Object>,
    mut new: Value,
    scope: Scope,
    options: WriteOptions,
    ownership: Option<Ownership>,
) -> Result<Written, UpdateError> {
    let kind = Arc::clone(&call.kind);
    let old = served(&kind, current.parse());
    check_types(&new).map_err(UpdateError::Undecodable)?;
    let sent = Sent::take(&mut new);
    prepare::keep_metadata(&kind, &old, &mut new, scope);
    create::decode(call, &mut new, options.field_validation).map_err(UpdateError::Undecodable)?;
    prepare::keep_content(&kind, &old, &mut new, scope);
    create::default(call, &mut new);
    let ownership = match ownership {
        Some(ownership) => ownership,
        None if scope == Scope::Server => Ownership::kept(current),
        None => apply::updated(call, current, sent, (&old, &new), scope.subresource()),
    };
    if kind.custom.is_none() {
        defaults::of_server(&kind.gk, &mut new);
    }
    if scope == Scope::Main {
        crd::prepare_definition(&kind, &mut new, Some(&old));
    }
    if scope == Scope::Main {
        admission::update(call, &mut new, &old)?;
        escalation::check(call, &new, Some(&old))?;
    }
    create::dedup_owners(call, &mut new);
    if scope == Scope::Main {
        create::warn(call, &new, Some(&old));
    }
    let reservation = services::reserve(call.core, &kind, &current.key, &mut new, Some(&old))?;
    prepare::generation(&kind, &old, &mut new, scope);
    if scope != Scope::Server {
        check(call, &new, &old, scope)?;
        let warnings = crd::definition_warnings(&kind, &new, Some(&old));
        let finalizers = crd::finalizer_warnings(&kind, &new, Some(&old));
        for warning in warnings.into_iter().chain(finalizers) {
            call.warn(warning);
        }
    }
    json::copy_member(&old, &mut new, &["metadata"], "resourceVersion");
    let removes = prepare::is_ready_to_go(&kind, &new);
    if new == old && !ownership.changed && !removes {
        return Ok(Written::Stored(Arc::clone(current)));
    }
    if matches!(scope, Scope::Main | Scope::Resize) {
        admission::resource_quota::charge(call, &new, Some(&old), options.dry_run)?;
    }
    if options.dry_run {
        return Ok(Written::Unstored(ownership.show(new)));
    }
    let store = &call.core.store;
    let stored = if removes {
        // Watchers see the last stored content with the deletion, the writer sees what it has made of it (API-142).
        store
            .remove(
                &kind.table,
                &current.key,
                current.revision,
                &draft(&kind, &old, current.managed_fields()),
            )
            .map(|_| Written::Unstored(ownership.show(new.clone())))
    } else {
        store
            .replace(
                &kind.table,
                &current.key,
                current.revision,
                &draft(&kind, &new, ownership.json()),
            )
            .map(Written::Stored)
    };
    match stored {
        Ok(written) => {
            if removes {
                services::release(call.core, &kind, &new);
            }
            reservation.keep();
            crd::after_write(call.core, &kind, &current.key);
            Ok(written)
        }
        Err(WriteError::Missing) => Err(UpdateError::Failed(Failure::not_found(
            &kind.resource,
            &current.key.name,
        ))),
        Err(WriteError::Changed | WriteError::Exists) => Err(UpdateError::Raced),
    }
}

fn check(call: &mut Call<'_>, new: &Value, old: &Value, scope: Scope) -> Result<(), Failure> {
    let kind = Arc::clone(&call.kind);
    let mut errors = Vec::new();
    if call.core.config.validation {
        let validated = match (&kind.custom, scope) {
            (_, Scope::Status) => validate::update_status(&kind.gk, new, old),
            // The rules for pods forbid what these two are for; their scope is enforced by `keep_content`.
            (_, Scope::EphemeralContainers | Scope::Resize) => Vec::new(),
            (_, Scope::Main | Scope::Finalize | Scope::Server) => validate::update(&kind.gk, new, old),
        };
        errors.extend(validated);
        if let Some(custom) = &kind.custom {
            let part = match scope {
                Scope::Status => crd::Part::Status,
                _ => crd::Part::Whole,
            };
            let verdict = crd::validate(custom, new, Some(old), part);
            errors.extend(verdict.errors);
            verdict
                .warnings
                .into_iter()
                .for_each(|warning| call.warn(warning));
        }
        if scope == Scope::Main {
            errors.extend(crd::validate_definition(&kind, new, Some(old)));
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    let name = json::text(new, &["metadata", "name"]);
    Err(create::invalid(&kind, name, &errors))
}
