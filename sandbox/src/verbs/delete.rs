//! DELETE of objects and collections (API-140 to API-153).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    apply::Ownership,
    crd,
    json::{self, is_blank},
    prepare,
    registry::{DeleteAnswer, Kind},
    render::served,
    server::timestamp,
    services,
    status::{self, Failure},
    store::{Key, Object, WriteError},
    validate::FieldErrorKind,
    verbs::{
        Answer, Call, Written, check_dry_run, content_type, create::draft, field_error, read,
        update::ATTEMPTS,
    },
};

/// API-153.
const PROTECTED_NAMESPACES: &[&str] = &["default", "kube-system", "kube-public"];
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What happens to dependents (API-146).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Propagation {
    /// Nothing said: finalizers that are there decide.
    Unset,
    Background,
    Foreground,
    Orphan,
}

/// Options of a deletion, from the body or the query (API-144).
#[derive(Clone, Debug)]
pub(crate) struct DeleteOptions {
    grace: Option<i64>,
    propagation: Propagation,
    uid: Option<String>,
    version: Option<String>,
    pub(crate) dry_run: bool,
}

/// What a deletion has led to.
pub(crate) enum Deleted {
    /// The object is gone.
    Gone(Written),
    /// It waits for finalizers or for its grace period.
    Marked(Written),
}

pub(crate) fn delete(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let options = DeleteOptions::of_request(call)?;
    let key = call.key();
    if call.kind.is_core("Namespace") && PROTECTED_NAMESPACES.contains(&&*key.name) {
        let cause = "this namespace may not be deleted";
        return Err(Failure::forbidden(&call.kind.resource, &key.name, cause));
    }
    match delete_object(call, &key, &options)? {
        Deleted::Gone(Written::Stored(object)) if call.kind.delete_answer == DeleteAnswer::Status => {
            let value = object.parse();
            let uid = json::text(&value, &["metadata", "uid"]);
            Ok(Answer::object(
                200,
                status::deleted(&call.kind.resource, &key.name, uid),
            ))
        }
        Deleted::Gone(Written::Unstored(value)) if call.kind.delete_answer == DeleteAnswer::Status => {
            let uid = json::text(&value, &["metadata", "uid"]);
            Ok(Answer::object(
                200,
                status::deleted(&call.kind.resource, &key.name, uid),
            ))
        }
        Deleted::Gone(written) | Deleted::Marked(written) => call.answer_object(200, &written),
    }
}

pub(crate) async fn delete_collection(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let options = DeleteOptions::of_request(call)?;
    let (objects, meta) = read::selected(call).await?;
    for object in &objects {
        match delete_object(call, &object.key, &options) {
            Ok(_) => {}
            // Somebody else deleted it meanwhile.
            Err(failure) if failure.code == 404 => {}
            Err(failure) => return Err(failure),
        }
    }
    let view = call.list_view()?;
    let body = view.list(&objects, &meta);
    Ok(Answer::Full {
        code: 200,
        content_type: content_type(view.accepted.encoding),
        body,
    })
}

impl DeleteOptions {
    /// Options that the body or else the query give.
    fn of_request(call: &mut Call<'_>) -> Result<Self, Failure> {
        let sent = if call.body.iter().all(u8::is_ascii_whitespace) {
            Self::query_as_body(call)?
        } else {
            let sent = call.decode_body()?;
            Self::check_shape(&sent)?;
            sent
        };
        Self::parse(&sent)
    }

    /// The body of a deletion is of the kind `DeleteOptions`, in whatever version, or says nothing about that.
    fn check_shape(sent: &Value) -> Result<(), Failure> {
        let kind = json::text(sent, &["kind"]);
        if !matches!(kind, "" | "DeleteOptions") {
            let version = json::text(sent, &["apiVersion"]);
            return Err(Failure::bad_request(format!(
                "no kind {kind:?} is registered for the deletion options of version {version:?}"
            )));
        }
        let is_texts = |value: &Value| {
            value
                .as_array()
                .is_some_and(|items| items.iter().all(Value::is_string))
        };
        let fits = |path: &[&str], fits: fn(&Value) -> bool| {
            json::at(sent, path).is_none_or(|value| value.is_null() || fits(value))
        };
        let problem = if !fits(&["gracePeriodSeconds"], Value::is_i64) {
            "gracePeriodSeconds has to be an integer"
        } else if !fits(&["orphanDependents"], Value::is_boolean) {
            "orphanDependents has to be a boolean"
        } else if !fits(&["preconditions"], Value::is_object) {
            "preconditions has to be an object"
        } else if ![
            &["propagationPolicy"][..],
            &["preconditions", "uid"],
            &["preconditions", "resourceVersion"],
        ]
        .iter()
        .all(|path| fits(path, Value::is_string))
        {
            "propagationPolicy and the preconditions have to be strings"
        } else if !fits(&["dryRun"], is_texts) {
            "dryRun has to be a list of strings"
        } else {
            return Ok(());
        };
        Err(Failure::bad_request(format!(
            "DeleteOptions in version \"v1\" cannot be handled as a DeleteOptions: {problem}"
        )))
    }

    fn query_as_body(call: &Call<'_>) -> Result<Value, Failure> {
        let mut sent = json!({});
        if let Some(seconds) = call.query.integer("gracePeriodSeconds")? {
            json::set(&mut sent, &[], "gracePeriodSeconds", seconds);
        }
        if call.query.has("propagationPolicy") {
            json::set(
                &mut sent,
                &[],
                "propagationPolicy",
                call.query.get("propagationPolicy"),
            );
        }
        if let Some(orphan) = call.query.optional_flag("orphanDependents") {
            json::set(&mut sent, &[], "orphanDependents", orphan);
        }
        for name in ["uid", "resourceVersion"] {
            if call.query.has(name) {
                json::set(&mut sent, &["preconditions"], name, call.query.get(name));
            }
        }
        let dry_run: Vec<Value> = call.query.all("dryRun").map(Value::from).collect();
        json::set(&mut sent, &[], "dryRun", dry_run);
        Ok(sent)
    }

    /// Reads a `DeleteOptions` object.
    pub(crate) fn parse(sent: &Value) -> Result<Self, Failure> {
        let mut errors = Vec::new();
        let dry_run: Vec<&str> = json::list(sent, &["dryRun"])
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let dry_run = check_dry_run(&dry_run, &mut errors);
        let policy = json::at(sent, &["propagationPolicy"]).and_then(Value::as_str);
        let orphan = json::at(sent, &["orphanDependents"]).and_then(Value::as_bool);
        if policy.is_some() && orphan.is_some() {
            let detail = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(field_error(
                FieldErrorKind::Invalid,
                "propagationPolicy",
                format!("{:?}: {detail}", policy.unwrap_or_default()),
            ));
        }
        let propagation = match (policy, orphan) {
            (Some("Background"), _) | (None, Some(false)) => Propagation::Background,
            (Some("Foreground"), _) => Propagation::Foreground,
            (Some("Orphan"), _) | (None, Some(true)) => Propagation::Orphan,
            (None, None) => Propagation::Unset,
            (Some(other), _) => {
                let detail = format!(
                    "{other:?}: supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
                );
                errors.push(field_error(
                    FieldErrorKind::NotSupported,
                    "propagationPolicy",
                    detail,
                ));
                Propagation::Unset
            }
        };
        if !errors.is_empty() {
            return Err(Failure::invalid_option("DeleteOptions", &errors));
        }
        let precondition = |name: &str| {
            let text = json::text(sent, &["preconditions", name]);
            (!text.is_empty()).then(|| text.to_owned())
        };
        Ok(Self {
            grace: json::at(sent, &["gracePeriodSeconds"]).and_then(Value::as_i64),
            propagation,
            uid: precondition("uid"),
            version: precondition("resourceVersion"),
            dry_run,
        })
    }

    /// API-145.
    fn check(&self, kind: &Kind, object: &Object, value: &Value) -> Result<(), Failure> {
        let name = &object.key.name;
        let conflict =
            |cause: &str| Failure::conflict_on(&kind.gk.kind, &kind.gk.group, &kind.gk.kind, name, cause);
        let uid = json::text(value, &["metadata", "uid"]);
        if let Some(wanted) = self.uid.as_deref().filter(|wanted| *wanted != uid) {
            return Err(conflict(&format!(
                "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might \
                 have been deleted and then recreated"
            )));
        }
        let version = object.revision.to_string();
        if let Some(wanted) = self.version.as_deref().filter(|wanted| *wanted != version) {
            return Err(conflict(&format!(
                "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
                 ({version}). The object might have been modified"
            )));
        }
        Ok(())
    }
}

/// Deletes one object, or marks it.
pub(crate) fn delete_object(call: &Call<'_>, key: &Key, options: &DeleteOptions) -> Result<Deleted, Failure> {
    for _ in 0..ATTEMPTS {
        let kind = &call.kind;
        let missing = || Failure::not_found(&kind.resource, &key.name);
        let current = call.core.store.get(&kind.table, key).ok_or_else(missing)?;
        match delete_once(call, &current, options) {
            Ok(deleted) => {
                if !options.dry_run {
                    crd::after_write(call.core, kind, key);
                }
                return Ok(deleted);
            }
            Err(Refused::Failed(failure)) => return Err(failure),
            Err(Refused::Write(WriteError::Missing)) => return Err(missing()),
            Err(Refused::Write(_)) => {}
        }
    }
    Err(Failure::stale(&call.kind.resource, &key.name))
}

enum Refused {
    Failed(Failure),
    Write(WriteError),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<WriteError> for Refused {
    fn from(error: WriteError) -> Self {
        Self::Write(error)
    }
}

fn delete_once(call: &Call<'_>, current: &Arc<Object>, options: &DeleteOptions) -> Result<Deleted, Refused> {
    let kind = &call.kind;
    let old = served(kind, current.parse());
    options.check(kind, current, &old)?;
    let mut new = old.clone();
    let was_deleting = !is_blank(json::at(&old, &["metadata", "deletionTimestamp"]));
    set_finalizers(kind, &mut new, options.propagation);
    if !was_deleting {
        crd::add_finalizer(kind, &mut new);
    }
    let grace = if kind.is_core("Pod") {
        mark_pod(call, &mut new, options.grace)
    } else {
        0
    };
    let has_finalizers = !json::list(&new, &["metadata", "finalizers"]).is_empty();
    let must_wait = grace > 0 || has_finalizers || prepare::waits_for_finalize(kind, &new);
    if !must_wait {
        return remove(call, current, &old, &new, was_deleting, options.dry_run);
    }
    if !was_deleting {
        mark(call, kind, &mut new);
    }
    if new == old {
        return Ok(Deleted::Marked(Written::Stored(Arc::clone(current))));
    }
    if options.dry_run {
        return Ok(Deleted::Marked(Written::Unstored(
            Ownership::kept(current).show(new),
        )));
    }
    let stored = call.core.store.replace(
        &kind.table,
        &current.key,
        current.revision,
        &draft(kind, &new, current.managed_fields()),
    )?;
    Ok(Deleted::Marked(Written::Stored(stored)))
}

/// Removes the object; a pending graceful deletion first becomes visible as an immediate one (API-151).
fn remove(
    call: &Call<'_>,
    current: &Arc<Object>,
    old: &Value,
    new: &Value,
    was_deleting: bool,
    dry_run: bool,
) -> Result<Deleted, Refused> {
    let kind = &call.kind;
    let shortened = was_deleting && kind.is_core("Pod") && new != old;
    if dry_run {
        return Ok(Deleted::Gone(Written::Unstored(
            Ownership::kept(current).show(old.clone()),
        )));
    }
    let (store, managed) = (&call.core.store, current.managed_fields());
    let (last, revision) = if shortened {
        let stored = store.replace(
            &kind.table,
            &current.key,
            current.revision,
            &draft(kind, new, managed),
        )?;
        (new, stored.revision)
    } else {
        (old, current.revision)
    };
    let gone = store.remove(&kind.table, &current.key, revision, &draft(kind, last, managed))?;
    services::release(call.core, kind, old);
    Ok(Deleted::Gone(Written::Stored(gone)))
}

/// Sets what marks an object as being deleted (API-67, API-141, API-150, API-176).
fn mark(call: &Call<'_>, kind: &Kind, object: &mut Value) {
    if is_blank(json::at(object, &["metadata", "deletionTimestamp"])) {
        json::set(object, &["metadata"], "deletionTimestamp", call.core.timestamp());
        if !kind.is_core("Namespace") {
            json::set(object, &["metadata"], "deletionGracePeriodSeconds", 0);
        }
    }
    if kind.is_core("Namespace") {
        json::set(object, &["status"], "phase", "Terminating");
    }
    raise_generation(object);
    crd::mark_deleting(kind, object, &call.core.timestamp());
}

/// Applies the grace period of a pod and returns what is left of it in seconds (API-149 to API-151).
fn mark_pod(call: &Call<'_>, pod: &mut Value, asked: Option<i64>) -> i64 {
    let own = json::at(pod, &["spec", "terminationGracePeriodSeconds"])
        .and_then(Value::as_i64)
        .unwrap_or(30);
    let mut grace = asked.unwrap_or(own);
    if grace < 0 {
        grace = 1;
    }
    let unassigned = json::text(pod, &["spec", "nodeName"]).is_empty();
    if unassigned || matches!(json::text(pod, &["status", "phase"]), "Succeeded" | "Failed") {
        grace = 0;
    }
    let now = call.core.now();
    if is_blank(json::at(pod, &["metadata", "deletionTimestamp"])) {
        if grace > 0 {
            let end = now
                .saturating_add(jiff::SignedDuration::from_secs(grace))
                .unwrap_or(now);
            json::set(pod, &["metadata"], "deletionTimestamp", timestamp(end));
            json::set(pod, &["metadata"], "deletionGracePeriodSeconds", grace);
        }
        return grace;
    }
    let pending = json::at(pod, &["metadata", "deletionGracePeriodSeconds"])
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if asked.is_none() && grace > 0 || grace >= pending {
        return pending;
    }
    let end: jiff::Timestamp = json::text(pod, &["metadata", "deletionTimestamp"])
        .parse()
        .unwrap_or(now);
    let shortened = end
        .checked_sub(jiff::SignedDuration::from_secs(pending.saturating_sub(grace)))
        .unwrap_or(end);
    json::set(pod, &["metadata"], "deletionTimestamp", timestamp(shortened));
    json::set(pod, &["metadata"], "deletionGracePeriodSeconds", grace);
    grace
}

fn raise_generation(object: &mut Value) {
    let generation = json::at(object, &["metadata", "generation"])
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if generation > 0 {
        json::set(object, &["metadata"], "generation", generation.saturating_add(1));
    }
}

/// API-146: the policy as a finalizer; the garbage collector does the rest.
fn set_finalizers(kind: &Kind, object: &mut Value, propagation: Propagation) {
    // Namespaces delete their content by themselves.
    if propagation == Propagation::Unset || kind.is_core("Namespace") {
        return;
    }
    let before = json::list(object, &["metadata", "finalizers"]);
    let wanted = match propagation {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background | Propagation::Unset => None,
    };
    let mut finalizers: Vec<Value> = before
        .iter()
        .filter(|finalizer| {
            let own = *finalizer == ORPHAN || *finalizer == FOREGROUND;
            !own || wanted.is_some_and(|wanted| *finalizer == wanted)
        })
        .cloned()
        .collect();
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|finalizer| finalizer == wanted)
    {
        finalizers.push(wanted.into());
    }
    if finalizers.is_empty() {
        json::remove(object, &["metadata"], "finalizers");
    } else {
        json::set(object, &["metadata"], "finalizers", finalizers);
    }
}
