//! Custom resource definitions and the schemas of custom resources (API-530 to API-552).
//!
//! ```text
//! definition written ─► check (structural, keywords, defaults, expression) ─► stored ─► names, conditions ─► registry
//! object written     ─► default ─► coerce, prune ─► validate, lists, embedded, rules ─► stored
//! object read        ─► default, prune, if it was written under another schema
//! ```
//!
//! A schema is parsed once, when its definition is served ([`Schema`]); patterns and rules are compiled with it.

mod check;
mod cleanup;
mod correlate;
mod default;
mod defaults;
mod definition;
mod embedded;
mod evaluate;
mod expression;
mod field_path;
mod format;
mod go_struct;
mod keywords;
mod lists;
mod names;
mod pattern;
mod prune;
mod rules;
mod schema;
mod structural;
mod validate;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::{
    json,
    registry::{Custom, Kind},
    validate::{FieldError, FieldErrorKind, gofmt},
};

pub(crate) use self::{
    cleanup::{add_finalizer, mark_deleting},
    definition::{after_write, serve_all},
    schema::Schema,
};

/// Fills what a definition leaves open, before it is checked.
pub(crate) fn prepare_definition(kind: &Kind, object: &mut Value, old: Option<&Value>) {
    if definition::is_definition(kind) {
        check::prepare(object, old);
    }
}

/// What is wrong with a definition (API-531, API-545, API-550).
pub(crate) fn validate_definition(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    if definition::is_definition(kind) {
        check::check(object, old)
    } else {
        Vec::new()
    }
}

/// Warnings about a definition that is accepted.
pub(crate) fn definition_warnings(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<String> {
    if !definition::is_definition(kind) {
        return Vec::new();
    }
    let known = old.map_or_else(Vec::new, check::unknown_formats);
    let mut warnings = check::unknown_formats(object);
    warnings.retain(|warning| !known.contains(warning));
    warnings
}

/// Brings an object of a request into the form in which it is stored (API-541, API-542) and returns the texts of strict
/// decoding.
///
/// # Errors
/// With the tail of the message of a 400 if the metadata of an embedded resource is malformed.
pub(crate) fn decode(custom: &Custom, object: &mut Value) -> Result<Vec<String>, String> {
    let schema = &custom.validation;
    default::settle_numbers(object);
    default::default(schema, object);
    let mut unknown = prune::prune(schema, object);
    let in_metadata = prune::coerce(schema, object).map_err(|malformed| {
        let value = gofmt::show(&malformed.value);
        format!(
            "{}: Invalid value: {value}: {}",
            malformed.field, malformed.problem
        )
    })?;
    unknown.extend(in_metadata);
    Ok(unknown
        .into_iter()
        .map(|path| format!("unknown field \"{path}\""))
        .collect())
}

/// Brings a stored object into the form that its definition now demands (API-542). Defaults are those of the storage
/// version: the conversion to another version only drops what that version does not have (API-550).
pub(crate) fn on_read(custom: &Custom, object: &mut Value) {
    let storage = custom.storage.as_ref().unwrap_or(&custom.validation);
    default::default(storage, object);
    prune::prune(storage, object);
    if custom.storage.is_some() {
        prune::prune(&custom.validation, object);
    }
}

/// The object as it is stored: without what the storage version does not have. `None` if it is stored as it is.
pub(crate) fn to_storage(kind: &Kind, object: &Value) -> Option<Value> {
    let storage = kind.custom.as_ref()?.storage.as_ref()?;
    let mut stored = object.clone();
    prune::prune(storage, &mut stored);
    Some(stored)
}

/// Finalizers that an object gets and that are not named after a domain, as texts for `Warning` headers.
pub(crate) fn finalizer_warnings(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<String> {
    if kind.custom.is_none() {
        return Vec::new();
    }
    let known = old.map_or(&[][..], |old| json::list(old, &["metadata", "finalizers"]));
    json::list(object, &["metadata", "finalizers"])
        .iter()
        .filter(|finalizer| !known.contains(finalizer))
        .filter_map(Value::as_str)
        .filter(|name| !name.contains('/') && !matches!(*name, "orphan" | "foregroundDeletion" | "kubernetes"))
        .map(|name| {
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            format!(
                "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name{path} to avoid accidental \
                 conflicts with other finalizer writers"
            )
        })
        .collect()
}

/// Result of the validation of an object.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) errors: Vec<FieldError>,
    pub(crate) warnings: Vec<String>,
}

/// Which part of an object a write has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    Status,
}

/// Violations of the schema (API-543 to API-545). What an update leaves as it is is tolerated.
pub(crate) fn validate(custom: &Custom, object: &Value, old: Option<&Value>, part: Part) -> Verdict {
    let schema = &*custom.validation;
    let pair = old.map(|old| correlate::Pair {
        new: object,
        old,
        schema,
    });
    let mut errors = match part {
        Part::Whole => validate::validate(schema, object, pair, ""),
        Part::Status => match (object.get("status"), schema.properties.get("status")) {
            (Some(status), Some(inner)) => {
                let pair = pair.and_then(|pair| pair.member("status"));
                validate::validate(inner, status, pair, "status")
            }
            _ => Vec::new(),
        },
    };
    errors.extend(check_scale(custom, object, part));
    if part == Part::Whole {
        errors.extend(embedded::check(schema, object));
    }
    if old.is_none_or(|old| lists::duplicates(schema, old).is_empty()) {
        errors.extend(lists::duplicates(schema, object));
    }
    let mut verdict = Verdict {
        errors,
        warnings: Vec::new(),
    };
    if !schema.has_rules {
        return verdict;
    }
    if verdict
        .errors
        .iter()
        .any(|error| makes_rules_meaningless(error.kind))
    {
        let detail = "null: some validation rules were not checked because the object was invalid; correct the \
                      existing errors to complete validation";
        verdict
            .errors
            .push(FieldError::new(FieldErrorKind::Invalid, "<nil>", detail));
        return verdict;
    }
    let broken = if schema.rules.is_empty() {
        rules::check(schema, object, old, None)
    } else {
        // Rules of the whole object can speak of its type, which is not stored.
        let old = old.map(|old| with_type(custom, old));
        rules::check(schema, &with_type(custom, object), old.as_ref(), None)
    };
    verdict.errors.extend(broken.errors);
    verdict.warnings = broken.warnings;
    verdict
}

fn with_type(custom: &Custom, object: &Value) -> Value {
    let [api_version, kind] = &custom.type_meta;
    let mut object = object.clone();
    json::set(&mut object, &[], "apiVersion", api_version.as_str());
    json::set(&mut object, &[], "kind", kind.as_str());
    object
}

fn makes_rules_meaningless(kind: FieldErrorKind) -> bool {
    matches!(
        kind,
        FieldErrorKind::NotSupported
            | FieldErrorKind::Required
            | FieldErrorKind::TooLong
            | FieldErrorKind::TooMany
            | FieldErrorKind::TypeInvalid
    )
}

/// The replica counts and the selector of the scale subresource (API-548).
fn check_scale(custom: &Custom, object: &Value, part: Part) -> Vec<FieldError> {
    let Some(scale) = &custom.scale else {
        return Vec::new();
    };
    let mut errors = Vec::new();
    let at = |path: &str| {
        let names: Vec<&str> = path.split('.').filter(|name| !name.is_empty()).collect();
        json::at(object, &names).cloned()
    };
    let mut count = |path: &str| match at(path) {
        None => {}
        Some(found) => match found.as_i64() {
            None => errors.push(FieldError::invalid(
                path,
                &0.into(),
                accessor_problem(path, &found, "int64"),
            )),
            Some(count) if count < 0 => {
                errors.push(FieldError::invalid(
                    path,
                    &found,
                    "should be a non-negative integer",
                ));
            }
            Some(count) if count > i64::from(i32::MAX) => {
                let problem = format!("should be less than or equal to {}", i32::MAX);
                errors.push(FieldError::invalid(path, &found, problem));
            }
            Some(_) => {}
        },
    };
    if part == Part::Whole {
        count(&scale.spec_replicas);
    }
    count(&scale.status_replicas);
    if let Some(path) = &scale.label_selector
        && let Some(found) = at(path).filter(|found| !found.is_string())
    {
        errors.push(FieldError::invalid(
            path.clone(),
            &"".into(),
            accessor_problem(path, &found, "string"),
        ));
    }
    errors
}

fn accessor_problem(path: &str, found: &Value, wanted: &str) -> String {
    let kind = match found {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    format!(
        "{path} accessor error: {} is of the type {kind}, expected {wanted}",
        gofmt::show_map(found)
    )
}
