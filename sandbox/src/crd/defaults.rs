//! Defaults in a definition have to be valid themselves (API-531, API-542).

use serde_json::Value;

use super::{
    embedded, prune, rules,
    schema::{Schema, properties},
    validate,
};
use crate::validate::FieldError;

/// Defaults that do not validate against their own schema.
pub(super) fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, path, &mut errors);
    errors
}

fn walk(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        check_default(schema, default, &format!("{path}.default"), errors);
    }
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        walk(items, &format!("{path}.items"), errors);
    }
    for (name, property) in properties(schema) {
        walk(property, &format!("{path}.properties[{name}]"), errors);
    }
}

fn check_default(schema: &Value, default: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let parsed = Schema::parse(schema);
    let mut pruned = default.clone();
    prune::prune_part(&parsed, &mut pruned);
    if &pruned != default {
        errors.push(FieldError::invalid(
            field,
            default,
            "must not have unknown fields",
        ));
    }
    let mut found = embedded::check(&parsed, default)
        .into_iter()
        .map(|error| below(field, error))
        .collect::<Vec<_>>();
    if found.is_empty() {
        found = validate::validate(&parsed, default, None, field);
    }
    if found.is_empty() {
        found = rules::check_default(&parsed, default, field);
    }
    errors.extend(found);
}

fn below(field: &str, error: FieldError) -> FieldError {
    FieldError {
        field: format!("{field}.{}", error.field),
        ..error
    }
}
