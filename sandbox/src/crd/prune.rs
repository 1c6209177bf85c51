//! Pruning: members that the schema does not have are dropped and named (API-541), and the metadata of embedded
//! resources is decoded like that of any object.

use serde_json::{Map, Value};

use super::schema::{Additional, Schema};
use crate::{json, names::GroupKind, validate};

const META: &[&str] = &["apiVersion", "kind", "metadata"];

/// Drops what the schema does not have from a whole object and returns the paths, sorted.
pub(crate) fn prune(schema: &Schema, object: &mut Value) -> Vec<String> {
    let mut unknown = Vec::new();
    if let Value::Object(members) = object {
        let site = Site {
            embedded: true,
            keeps: schema.preserves,
        };
        prune_members(schema, members, site, "", &mut unknown);
    }
    unknown.sort();
    unknown
}

/// Drops what the schema does not have from a part of an object.
pub(super) fn prune_part(schema: &Schema, value: &mut Value) {
    prune_value(Some(schema), value, false, "", &mut Vec::new());
}

/// What an object keeps although its schema does not have it.
#[derive(Clone, Copy)]
struct Site {
    /// `apiVersion`, `kind` and `metadata`.
    embedded: bool,
    /// Everything.
    keeps: bool,
}

fn prune_value(
    schema: Option<&Schema>,
    value: &mut Value,
    keeps: bool,
    path: &str,
    unknown: &mut Vec<String>,
) {
    match (value, schema) {
        (Value::Object(members), Some(schema)) => {
            prune_members(
                schema,
                members,
                Site {
                    embedded: schema.embedded,
                    keeps: keeps || schema.preserves,
                },
                path,
                unknown,
            );
        }
        (Value::Object(members), None) => {
            unknown.extend(members.keys().map(|name| join(path, name)));
            members.clear();
        }
        (Value::Array(items), schema) => {
            // A list that preserves unknown fields passes this on to its items.
            let keeps = keeps || schema.is_some_and(|schema| schema.preserves);
            let inner = schema.and_then(|schema| schema.items.as_deref());
            if keeps && inner.is_none() {
                return;
            }
            for (index, item) in items.iter_mut().enumerate() {
                prune_value(inner, item, keeps, &format!("{path}[{index}]"), unknown);
            }
        }
        _ => {}
    }
}

fn prune_members(
    schema: &Schema,
    members: &mut Map<String, Value>,
    site: Site,
    path: &str,
    unknown: &mut Vec<String>,
) {
    members.retain(|name, value| {
        if site.embedded && META.contains(&name.as_str()) {
            return true;
        }
        let inner = match (schema.properties.get(name), &schema.additional) {
            (Some(property), _) => Some(property),
            (None, Additional::Typed(inner)) => Some(&**inner),
            // The member is kept, but nothing is known of what it contains.
            (None, Additional::Allowed(_)) => None,
            (None, Additional::Absent) if site.keeps => return true,
            (None, Additional::Absent) => {
                unknown.push(join(path, name));
                return false;
            }
        };
        prune_value(inner, value, false, &join(path, name), unknown);
        true
    });
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// Decodes the metadata of embedded resources: checks its types, drops what is unknown there and returns the paths.
///
/// # Errors
/// With path and reason, if metadata or the type of an embedded resource is malformed.
pub(crate) fn coerce(schema: &Schema, object: &mut Value) -> Result<Vec<String>, Malformed> {
    let mut unknown = Vec::new();
    if schema.has_embedded {
        coerce_members(schema, object, "", &mut unknown)?;
    }
    unknown.sort();
    Ok(unknown)
}

/// An embedded resource whose metadata cannot be decoded.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) field: String,
    pub(crate) value: Value,
    pub(crate) problem: String,
}

fn coerce_value(
    schema: &Schema,
    value: &mut Value,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<(), Malformed> {
    if !schema.has_embedded {
        return Ok(());
    }
    if let (Value::Array(items), Some(inner)) = (&mut *value, schema.items.as_deref()) {
        for (index, item) in items.iter_mut().enumerate() {
            coerce_value(inner, item, &format!("{path}[{index}]"), unknown)?;
        }
        return Ok(());
    }
    if schema.embedded && value.is_object() {
        coerce_meta(value, path, unknown)?;
    }
    coerce_members(schema, value, path, unknown)
}

fn coerce_members(
    schema: &Schema,
    value: &mut Value,
    path: &str,
    unknown: &mut Vec<String>,
) -> Result<(), Malformed> {
    for (name, member) in value.as_object_mut().into_iter().flatten() {
        if let Some(inner) = schema.properties.get(name) {
            coerce_value(inner, member, &join(path, name), unknown)?;
        } else if let Some(inner) = schema.additional() {
            coerce_value(inner, member, &format!("{path}[{name}]"), unknown)?;
        }
    }
    Ok(())
}

fn coerce_meta(value: &mut Value, path: &str, unknown: &mut Vec<String>) -> Result<(), Malformed> {
    for name in ["apiVersion", "kind"] {
        if let Some(text) = value.get(name).filter(|text| !text.is_string()) {
            return Err(Malformed {
                field: join(path, name),
                value: text.clone(),
                problem: "must be a string".to_owned(),
            });
        }
    }
    let Some(metadata) = value.get("metadata") else {
        return Ok(());
    };
    let mut object = serde_json::json!({"metadata": metadata});
    match validate::decode(&GroupKind::new("", ""), &mut object) {
        Ok(problems) => {
            let prefix = "unknown field \"";
            unknown.extend(problems.iter().filter_map(|problem| {
                let inner = problem.strip_prefix(prefix)?.strip_suffix('"')?;
                Some(join(path, inner))
            }));
        }
        Err(problem) => {
            return Err(Malformed {
                field: join(path, "metadata"),
                value: metadata.clone(),
                problem,
            });
        }
    }
    json::copy_member(&object, value, &[], "metadata");
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, member| !member.is_null());
    }
    Ok(())
}
