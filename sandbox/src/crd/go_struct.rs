//! Definitions as upstream shows them inside `Invalid value: …`: the members of its internal types, in their order,
//! zero values included.

use serde_json::Value;

use crate::{json, validate::gofmt};

/// Member in JSON, name upstream, and what it is if unset.
const SCHEMA: &[(&str, &str, Zero)] = &[
    ("id", "ID", Zero::Text),
    ("$schema", "Schema", Zero::Text),
    ("$ref", "Ref", Zero::Null),
    ("description", "Description", Zero::Text),
    ("type", "Type", Zero::Text),
    ("nullable", "Nullable", Zero::Flag),
    ("format", "Format", Zero::Text),
    ("title", "Title", Zero::Text),
    ("default", "Default", Zero::Null),
    ("maximum", "Maximum", Zero::Null),
    ("exclusiveMaximum", "ExclusiveMaximum", Zero::Flag),
    ("minimum", "Minimum", Zero::Null),
    ("exclusiveMinimum", "ExclusiveMinimum", Zero::Flag),
    ("maxLength", "MaxLength", Zero::Null),
    ("minLength", "MinLength", Zero::Null),
    ("pattern", "Pattern", Zero::Text),
    ("maxItems", "MaxItems", Zero::Null),
    ("minItems", "MinItems", Zero::Null),
    ("uniqueItems", "UniqueItems", Zero::Flag),
    ("multipleOf", "MultipleOf", Zero::Null),
    ("enum", "Enum", Zero::Null),
    ("maxProperties", "MaxProperties", Zero::Null),
    ("minProperties", "MinProperties", Zero::Null),
    ("required", "Required", Zero::Null),
    ("items", "Items", Zero::Null),
    ("allOf", "AllOf", Zero::Null),
    ("oneOf", "OneOf", Zero::Null),
    ("anyOf", "AnyOf", Zero::Null),
    ("not", "Not", Zero::Null),
    ("properties", "Properties", Zero::Null),
    ("additionalProperties", "AdditionalProperties", Zero::Null),
    ("patternProperties", "PatternProperties", Zero::Null),
    ("dependencies", "Dependencies", Zero::Null),
    ("additionalItems", "AdditionalItems", Zero::Null),
    ("definitions", "Definitions", Zero::Null),
    ("externalDocs", "ExternalDocs", Zero::Null),
    ("example", "Example", Zero::Null),
    (
        "x-kubernetes-preserve-unknown-fields",
        "XPreserveUnknownFields",
        Zero::Null,
    ),
    ("x-kubernetes-embedded-resource", "XEmbeddedResource", Zero::Flag),
    ("x-kubernetes-int-or-string", "XIntOrString", Zero::Flag),
    ("x-kubernetes-list-map-keys", "XListMapKeys", Zero::Null),
    ("x-kubernetes-list-type", "XListType", Zero::Null),
    ("x-kubernetes-map-type", "XMapType", Zero::Null),
    ("x-kubernetes-validations", "XValidations", Zero::Null),
];
const RULE: &[(&str, &str, Zero)] = &[
    ("rule", "Rule", Zero::Text),
    ("message", "Message", Zero::Text),
    ("messageExpression", "MessageExpression", Zero::Text),
    ("reason", "Reason", Zero::Null),
    ("fieldPath", "FieldPath", Zero::Text),
    ("optionalOldSelf", "OptionalOldSelf", Zero::Null),
];
const VERSION: &[(&str, &str, Zero)] = &[
    ("name", "Name", Zero::Text),
    ("served", "Served", Zero::Flag),
    ("storage", "Storage", Zero::Flag),
    ("deprecated", "Deprecated", Zero::Flag),
    ("deprecationWarning", "DeprecationWarning", Zero::Null),
    ("schema", "Schema", Zero::Null),
    ("subresources", "Subresources", Zero::Null),
    ("additionalPrinterColumns", "AdditionalPrinterColumns", Zero::Null),
    ("selectableFields", "SelectableFields", Zero::Null),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zero {
    Text,
    Flag,
    Null,
}

impl Zero {
    fn shown(self) -> &'static str {
        match self {
            Self::Text => "\"\"",
            Self::Flag => "false",
            Self::Null => "null",
        }
    }
}

/// Members of a schema in upstream's order, with upstream's names.
pub(super) fn schema_members() -> impl Iterator<Item = (&'static str, &'static str)> {
    SCHEMA.iter().map(|(member, name, _)| (*member, *name))
}

/// Whether upstream sees a member with this value as unset.
pub(super) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

/// A text that is already in the wanted form travels as a JSON string.
pub(super) fn text(shown: &Value) -> String {
    match shown {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(text).collect();
            format!("[{}]", items.join(","))
        }
        other => gofmt::show(other),
    }
}

/// A schema.
pub(super) fn schema(schema: &Value) -> Value {
    members(SCHEMA, schema, |member, value| match member {
        "not" => text(&self::schema(value)),
        "items" => format!(
            "{{\"Schema\":{},\"JSONSchemas\":null}}",
            text(&self::schema(value))
        ),
        "additionalProperties" => match value {
            Value::Bool(allows) => format!("{{\"Allows\":{allows},\"Schema\":null}}"),
            inner => format!("{{\"Allows\":true,\"Schema\":{}}}", text(&self::schema(inner))),
        },
        "allOf" | "oneOf" | "anyOf" => list(value, self::schema),
        "x-kubernetes-validations" => list(value, rule),
        "properties" => {
            let members: Vec<String> = value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, inner)| format!("{}:{}", gofmt::quote(name), text(&self::schema(inner))))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        _ => gofmt::escape_html(&value.to_string()),
    })
}

/// A rule.
pub(super) fn rule(rule: &Value) -> Value {
    members(RULE, rule, |_, value| gofmt::escape_html(&value.to_string()))
}

/// A version without the `hidden` members: what all versions agree on is shown elsewhere.
pub(super) fn version(version: &Value, hidden: &[&str]) -> Value {
    let mut version = version.clone();
    for member in hidden {
        json::remove(&mut version, &[], member);
    }
    members(VERSION, &version, |member, value| {
        match (member, value.get("openAPIV3Schema")) {
            ("schema", Some(inner)) => format!("{{\"OpenAPIV3Schema\":{}}}", text(&self::schema(inner))),
            _ => gofmt::escape_html(&value.to_string()),
        }
    })
}

fn list(value: &Value, show: fn(&Value) -> Value) -> String {
    let items: Vec<String> = json::list(value, &[])
        .iter()
        .map(|item| text(&show(item)))
        .collect();
    format!("[{}]", items.join(","))
}

fn members(table: &[(&str, &str, Zero)], value: &Value, show: impl Fn(&str, &Value) -> String) -> Value {
    let shown: Vec<String> = table
        .iter()
        .map(
            |(member, name, zero)| match value.get(*member).filter(|value| !value.is_null()) {
                Some(value) => format!("\"{name}\":{}", show(member, value)),
                None => format!("\"{name}\":{}", zero.shown()),
            },
        )
        .collect();
    format!("{{{}}}", shown.join(",")).into()
}
