//! Types of a custom resource, from the OpenAPI schema in its definition.

use std::borrow::Cow;

use serde_json::Value;

use super::{Def, Facts, Field, Id, KeyField, OwnedListType, Scalar, Struct, Types, Untyped};
use crate::json;

/// The types that a schema describes; the root is an object with metadata.
pub(super) fn types(schema: &Value) -> Types {
    let mut types = Types::default();
    let root = object(&mut types, schema, true);
    types.root = Some(root);
    types
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn scalar(types: &mut Types, scalar: Scalar, wide: bool) -> Id {
    types.add(Def::Scalar { scalar, wide })
}

fn read(types: &mut Types, schema: &Value) -> Id {
    if flag(schema, "x-kubernetes-int-or-string") {
        return scalar(types, Scalar::IntOrString, false);
    }
    match json::text(schema, &["type"]) {
        "string" => scalar(types, Scalar::String, false),
        "integer" => scalar(types, Scalar::Integer, true),
        "number" => scalar(types, Scalar::Number, false),
        "boolean" => scalar(types, Scalar::Boolean, false),
        "array" => list(types, schema),
        "object" => object(types, schema, flag(schema, "x-kubernetes-embedded-resource")),
        _ => types.add(Def::Untyped(Untyped::Json)),
    }
}

fn list(types: &mut Types, schema: &Value) -> Id {
    let element = schema.get("items").unwrap_or(&Value::Null);
    let items = read(types, element);
    let list = match json::text(schema, &["x-kubernetes-list-type"]) {
        "set" => OwnedListType::Set,
        "map" => OwnedListType::Map(
            json::list(schema, &["x-kubernetes-list-map-keys"])
                .iter()
                .filter_map(Value::as_str)
                .map(|name| KeyField {
                    name: Cow::Owned(name.to_owned()),
                    default: json::at(element, &["properties", name, "default"]).cloned(),
                })
                .collect(),
        ),
        _ => OwnedListType::Atomic,
    };
    types.add(Def::List { list, items })
}

/// An object; `resource` says that it has `apiVersion`, `kind` and standard metadata whatever the schema lists.
fn object(types: &mut Types, schema: &Value, resource: bool) -> Id {
    let atomic = json::text(schema, &["x-kubernetes-map-type"]) == "atomic";
    let preserves = flag(schema, "x-kubernetes-preserve-unknown-fields");
    let properties = schema.get("properties").and_then(Value::as_object);
    if properties.is_none() && !resource {
        match schema.get("additionalProperties") {
            Some(values @ Value::Object(_)) => {
                let values = read(types, values);
                return types.add(Def::Map { atomic, values });
            }
            Some(Value::Bool(true)) => {
                let values = types.add(Def::Untyped(Untyped::Json));
                return types.add(Def::Map { atomic, values });
            }
            _ if preserves && !atomic => return types.add(Def::Untyped(Untyped::Json)),
            _ => {}
        }
    }
    let mut fields: Vec<Field> = properties
        .into_iter()
        .flatten()
        .filter(|(name, _)| !(resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata")))
        .map(|(name, schema)| field(name.clone(), read(types, schema)))
        .collect();
    if resource {
        let text = scalar(types, Scalar::String, false);
        fields.push(field("apiVersion", text));
        fields.push(field("kind", text));
        if let Some(metadata) = Types::built_in().named("meta.v1", "ObjectMeta") {
            fields.push(field("metadata", types.add(Def::BuiltIn(metadata.id))));
        }
    }
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    let rest = preserves.then(|| types.add(Def::Untyped(Untyped::Json)));
    types.add(Def::Struct(Struct {
        atomic,
        fields,
        rest,
        ..Struct::default()
    }))
}

fn field(name: impl Into<Cow<'static, str>>, id: Id) -> Field {
    Field {
        name: name.into(),
        id,
        number: 0,
        facts: Facts::default(),
    }
}
