//! Embedded resources have a type and valid metadata of their own (API-543).

use serde_json::Value;

use super::schema::Schema;
use crate::{
    json,
    validate::{self, FieldError, Path},
};

/// What is wrong with the embedded resources in an object.
pub(super) fn check(schema: &Schema, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if schema.has_embedded {
        check_value(schema, object, &Path::root(), &mut errors);
    }
    errors
}

fn check_value(schema: &Schema, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !schema.has_embedded {
        return;
    }
    match value {
        Value::Object(members) => {
            if schema.embedded {
                check_resource(value, path, errors);
            }
            for (name, member) in members {
                if let Some(inner) = schema.properties.get(name) {
                    check_value(inner, member, &path.member(name), errors);
                } else if let Some(inner) = schema.additional() {
                    check_value(inner, member, &path.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(inner) = schema.items.as_deref() {
                for (index, item) in items.iter().enumerate() {
                    check_value(inner, item, &path.item(index), errors);
                }
            }
        }
        _ => {}
    }
}

fn check_resource(value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    for name in ["apiVersion", "kind"] {
        let field = path.member(name).to_string();
        match value.get(name) {
            None => errors.push(FieldError::required(field, "")),
            Some(found @ Value::String(text)) => {
                if text.is_empty() {
                    errors.push(FieldError::invalid(field, found, "must not be empty"));
                } else if name == "apiVersion" && text.matches('/').count() > 1 {
                    let problem = format!("unexpected GroupVersion string: {text}");
                    errors.push(FieldError::invalid(field, found, problem));
                } else if name == "kind"
                    && let Some(problem) = validate::dns_1035_problem(&text.to_lowercase())
                {
                    let problem = format!("may have mixed case, but should otherwise match: {problem}");
                    errors.push(FieldError::invalid(field, found, problem));
                }
            }
            Some(found) => errors.push(FieldError::invalid(field, found, "must be a string")),
        }
    }
    if !json::at(value, &["metadata"]).is_none_or(Value::is_null) {
        errors.extend(validate::embedded_metadata(value, path));
    }
}
