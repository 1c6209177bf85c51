//! Lists of type set and map have no duplicates (API-544).

use rustc_hash::FxHashSet;
use serde_json::{Map, Value};

use super::schema::{ListKind, Schema};
use crate::validate::{FieldError, Path};

/// Duplicates in an object.
pub(super) fn duplicates(schema: &Schema, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if schema.has_keyed_lists {
        check(schema, object, &Path::root(), &mut errors);
    }
    errors
}

fn check(schema: &Schema, value: &Value, path: &Path<'_>, errors: &mut Vec<FieldError>) {
    if !schema.has_keyed_lists {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if let Some(property) = schema.properties.get(name) {
                    check(property, member, &path.member(name), errors);
                } else if let Some(inner) = schema.additional() {
                    check(inner, member, &path.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            match &schema.list {
                ListKind::Atomic => {}
                ListKind::Set => repeated(items.iter().map(ToString::to_string), |index| {
                    errors.extend(items.get(index).map(|item| duplicate(path, index, item)));
                }),
                ListKind::Map(keys) => check_map(keys, items, path, errors),
            }
            if let Some(inner) = schema.items.as_deref() {
                for (index, item) in items.iter().enumerate() {
                    check(inner, item, &path.item(index), errors);
                }
            }
        }
        _ => {}
    }
}

fn duplicate(path: &Path<'_>, index: usize, value: &Value) -> FieldError {
    FieldError::duplicate(path.item(index).to_string(), value)
}

fn check_map(keys: &[String], items: &[Value], path: &Path<'_>, errors: &mut Vec<FieldError>) {
    let odd = |item: &&Value| !item.is_object() && !item.is_null();
    if let Some(index) = items.iter().position(|item| odd(&item)) {
        let item = items.get(index).unwrap_or(&Value::Null);
        let problem = "must be an object for an array of list-type map";
        errors.push(FieldError::invalid(path.item(index).to_string(), item, problem));
        return;
    }
    let key_of = |item: &Value| -> Value {
        let members: Map<String, Value> = keys
            .iter()
            .filter_map(|key| Some((key.clone(), item.get(key)?.clone())))
            .collect();
        members.into()
    };
    let found: Vec<Value> = items.iter().map(key_of).collect();
    repeated(found.iter().map(ToString::to_string), |index| {
        errors.extend(found.get(index).map(|key| duplicate(path, index, key)));
    });
}

/// Calls `report` with the place at which each text is seen for the second time.
fn repeated(texts: impl Iterator<Item = String>, mut report: impl FnMut(usize)) {
    let mut seen = FxHashSet::default();
    let mut reported = FxHashSet::default();
    for (index, text) in texts.enumerate() {
        if !seen.insert(text.clone()) && reported.insert(text) {
            report(index);
        }
    }
}
