//! From the JSON form of an object to protobuf.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    MAGIC,
    decode::schema_node,
    envelope,
    wire::{put_bytes, put_double, put_number},
};
use crate::{
    json,
    schema::{Node, Scalar, Shape, Types, Untyped},
};

/// An object in its envelope; `None` if its kind is not built in.
pub(crate) fn encode(object: &Value) -> Option<Vec<u8>> {
    let members = object.as_object()?;
    let (api_version, kind) = (json::text(object, &["apiVersion"]), json::text(object, &["kind"]));
    let mut message = Vec::new();
    put_struct(&mut message, node_of(api_version, kind)?, members);
    Some(in_envelope(api_version, kind, &message))
}

/// A list in its envelope, from its metadata and its items; `None` if the kind is not built in.
pub(crate) fn list(
    api_version: &str,
    list_kind: &str,
    metadata: &Value,
    items: impl Iterator<Item = Value>,
) -> Option<Vec<u8>> {
    let node = node_of(api_version, list_kind)?;
    let mut message = Vec::new();
    for (field, member) in node.numbered() {
        match (field.name.as_ref(), member.shape()) {
            ("metadata", _) => put_value(&mut message, field.number, member, metadata),
            ("items", Shape::List { items: item, .. }) => {
                // One at a time: a list of all objects in both forms would be large. `items` is the last member.
                return Some({
                    for value in items {
                        put_value(&mut message, field.number, item, &value);
                    }
                    in_envelope(api_version, list_kind, &message)
                });
            }
            _ => {}
        }
    }
    None
}

/// An event of a watch, after its length; `object` is in its envelope.
pub(crate) fn event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(object.len() + 8);
    put_bytes(&mut raw, 1, object);
    let mut message = Vec::with_capacity(raw.len() + 24);
    put_bytes(&mut message, 1, kind.as_bytes());
    put_bytes(&mut message, 2, &raw);
    let mut framed = Vec::with_capacity(message.len() + 4);
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

fn node_of(api_version: &str, kind: &str) -> Option<Node<'static>> {
    // The list of the core group's resources has no apiVersion in its JSON form.
    let api_version = if api_version.is_empty() { "v1" } else { api_version };
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
    Types::built_in().kind(group, version, kind)
}

fn in_envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut type_meta = Vec::new();
    put_bytes(&mut type_meta, envelope::API_VERSION, api_version.as_bytes());
    put_bytes(&mut type_meta, envelope::KIND, kind.as_bytes());
    let mut body = Vec::with_capacity(raw.len() + type_meta.len() + 24);
    body.extend_from_slice(MAGIC);
    put_bytes(&mut body, envelope::TYPE, &type_meta);
    put_bytes(&mut body, envelope::RAW, raw);
    put_bytes(&mut body, envelope::CONTENT_ENCODING, b"");
    put_bytes(&mut body, envelope::CONTENT_TYPE, b"");
    body
}

/// All members in the order of their numbers. Those that are no pointers are written whatever their value.
fn put_struct(out: &mut Vec<u8>, node: Node<'_>, object: &Map<String, Value>) {
    let mut included = node.included().peekable();
    let put_included = |out: &mut Vec<u8>, (number, node): (u32, Node<'_>)| {
        let mut message = Vec::new();
        put_struct(&mut message, node, object);
        put_bytes(out, number, &message);
    };
    for (field, member) in node.numbered() {
        while let Some(earlier) = included.next_if(|(number, _)| *number < field.number) {
            put_included(out, earlier);
        }
        match object.get(field.name.as_ref()) {
            None | Some(Value::Null) if field.facts.pointer => {}
            None | Some(Value::Null) => put_zero(out, field.number, member),
            Some(value) => put_value(out, field.number, member, value),
        }
    }
    for rest in included {
        put_included(out, rest);
    }
}

fn put_zero(out: &mut Vec<u8>, number: u32, node: Node<'_>) {
    match node.shape() {
        Shape::Scalar(Scalar::String | Scalar::Time | Scalar::MicroTime) | Shape::Untyped => {
            put_bytes(out, number, b"");
        }
        Shape::Scalar(Scalar::Integer | Scalar::Boolean) => put_number(out, number, 0),
        Shape::Scalar(Scalar::Number) => put_double(out, number, 0.0),
        Shape::Scalar(Scalar::Quantity) => put_value(out, number, node, &Value::from("0")),
        Shape::Scalar(Scalar::IntOrString) => put_value(out, number, node, &Value::from(0)),
        Shape::Struct { .. } => put_value(out, number, node, &Value::Object(Map::new())),
        Shape::Scalar(Scalar::Bytes) | Shape::List { .. } | Shape::Map { .. } => {}
    }
}

/// A member; for lists and maps one per element. A value of another type than the table's is left out.
fn put_value(out: &mut Vec<u8>, number: u32, node: Node<'_>, value: &Value) {
    match (node.shape(), value) {
        (Shape::Struct { .. }, Value::Object(object)) => {
            let mut message = Vec::new();
            put_struct(&mut message, node, object);
            put_bytes(out, number, &message);
        }
        (Shape::List { items, .. }, Value::Array(list)) => {
            for item in list {
                if item.is_null() {
                    put_zero(out, number, items);
                } else {
                    put_value(out, number, items, item);
                }
            }
        }
        (Shape::Map { values, .. }, Value::Object(map)) => {
            for (key, value) in map {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                if let Shape::List { .. } = values.shape() {
                    // A list as the value of a map is a message of its elements.
                    let mut message = Vec::new();
                    put_value(&mut message, 1, values, value);
                    put_bytes(&mut entry, 2, &message);
                } else {
                    put_value(&mut entry, 2, values, value);
                }
                put_bytes(out, number, &entry);
            }
        }
        (Shape::Scalar(scalar), value) => put_scalar(out, number, scalar, value),
        (Shape::Untyped, value) => {
            let mut message = Vec::new();
            put_untyped(&mut message, node.untyped(), value);
            put_bytes(out, number, &message);
        }
        _ => {}
    }
}

#[expect(
    clippy::cast_sign_loss,
    reason = "negative numbers are written as their complement"
)]
fn varint(number: i64) -> u64 {
    number as u64
}

fn put_scalar(out: &mut Vec<u8>, number: u32, scalar: Scalar, value: &Value) {
    match (scalar, value) {
        (Scalar::String, Value::String(text)) => put_bytes(out, number, text.as_bytes()),
        (Scalar::Integer, Value::Number(integer)) => {
            put_number(out, number, integer.as_i64().map_or(0, varint));
        }
        (Scalar::Number, Value::Number(float)) => put_double(out, number, float.as_f64().unwrap_or_default()),
        (Scalar::Boolean, Value::Bool(flag)) => put_number(out, number, u64::from(*flag)),
        (Scalar::Bytes, Value::String(text)) => {
            put_bytes(out, number, &STANDARD.decode(text).unwrap_or_default());
        }
        (Scalar::Quantity, Value::String(_) | Value::Number(_)) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let mut message = Vec::new();
            put_bytes(&mut message, 1, text.as_bytes());
            put_bytes(out, number, &message);
        }
        (Scalar::IntOrString, Value::String(_) | Value::Number(_)) => {
            let mut message = Vec::new();
            put_number(&mut message, 1, u64::from(value.is_string()));
            put_number(&mut message, 2, value.as_i64().map_or(0, varint));
            put_bytes(&mut message, 3, value.as_str().unwrap_or_default().as_bytes());
            put_bytes(out, number, &message);
        }
        (Scalar::Time | Scalar::MicroTime, Value::String(text)) => {
            let mut message = Vec::new();
            if let Ok(time) = text.parse::<Timestamp>() {
                let nanoseconds = match scalar {
                    Scalar::MicroTime => time.subsec_nanosecond() / 1000 * 1000,
                    _ => 0,
                };
                put_number(&mut message, 1, varint(time.as_second()));
                put_number(&mut message, 2, varint(i64::from(nanoseconds)));
            }
            put_bytes(out, number, &message);
        }
        _ => {}
    }
}

fn put_untyped(out: &mut Vec<u8>, untyped: Option<Untyped>, value: &Value) {
    let schema = |out: &mut Vec<u8>, number: u32, value: &Value| {
        if let Some(node) = schema_node() {
            put_value(out, number, node, value);
        }
    };
    match (untyped, value) {
        (Some(Untyped::SchemaOrArray), Value::Array(list)) => {
            for item in list {
                schema(out, 2, item);
            }
        }
        (Some(Untyped::SchemaOrArray | Untyped::SchemaOrStrings), Value::Object(_)) => schema(out, 1, value),
        (Some(Untyped::SchemaOrBool), Value::Bool(flag)) => put_number(out, 1, u64::from(*flag)),
        (Some(Untyped::SchemaOrBool), Value::Object(_)) => {
            put_number(out, 1, 1);
            schema(out, 2, value);
        }
        (Some(Untyped::SchemaOrStrings), Value::Array(list)) => {
            for item in list {
                put_bytes(out, 2, item.as_str().unwrap_or_default().as_bytes());
            }
        }
        (_, value) => put_bytes(out, 1, value.to_string().as_bytes()),
    }
}
