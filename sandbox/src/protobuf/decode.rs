//! From protobuf to the JSON form of an object.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::{
    MAGIC, envelope,
    wire::{Malformed, Reader, Wire},
};
use crate::schema::{Field, Node, Scalar, Shape, Types, Untyped};

/// Deepest nesting of messages; JSON bodies have the same limit.
const DEPTH: usize = 120;
/// Seconds of the zero time, `0001-01-01T00:00:00Z`.
const ZERO_TIME: i64 = -62_135_596_800;

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The body is not in the envelope.
    #[error("{0}")]
    Unrecognized(String),
    /// No type of this name is built in.
    #[error(
        "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
    )]
    UnknownKind { kind: String, version: String },
    /// The message within the envelope is malformed.
    #[error(transparent)]
    Message(#[from] Malformed),
}

/// The JSON form of the object in `body`. `expected` is the type of objects whose envelope does not name one.
pub(crate) fn decode(body: &[u8], expected: Option<Node<'static>>) -> Result<Value, Error> {
    let unrecognized = |why: String| Error::Unrecognized(why);
    if body.is_empty() {
        return Err(unrecognized("empty data".to_owned()));
    }
    let Some(message) = body.strip_prefix(MAGIC) else {
        return Err(unrecognized(format!(
            "provided data does not appear to be a protobuf message, expected prefix {}",
            shown(MAGIC)
        )));
    };
    if message.is_empty() {
        return Err(unrecognized("empty body".to_owned()));
    }
    let envelope = Envelope::read(message).map_err(|error| unrecognized(error.to_string()))?;
    let node = envelope.node().or(expected.filter(|_| envelope.kind.is_empty()));
    let node = node.ok_or_else(|| Error::UnknownKind {
        kind: envelope.kind.clone(),
        version: envelope.api_version.clone(),
    })?;
    let mut object = Map::new();
    read_struct(node, envelope.raw, &mut object, DEPTH)?;
    for (member, text) in [("apiVersion", envelope.api_version), ("kind", envelope.kind)] {
        if !text.is_empty() {
            object.insert(member.to_owned(), text.into());
        }
    }
    Ok(Value::Object(object))
}

/// Bytes as Go prints them.
fn shown(bytes: &[u8]) -> String {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}

struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(message: &'a [u8]) -> Result<Self, Malformed> {
        let mut envelope = Self {
            api_version: String::new(),
            kind: String::new(),
            raw: &[],
        };
        let mut reader = Reader::new(message);
        while let Some((number, value)) = reader.member()? {
            match (number, value) {
                (envelope::TYPE, Wire::Bytes(bytes)) => {
                    let mut reader = Reader::new(bytes);
                    while let Some((number, value)) = reader.member()? {
                        match (number, value) {
                            (envelope::API_VERSION, Wire::Bytes(bytes)) => envelope.api_version = text(bytes),
                            (envelope::KIND, Wire::Bytes(bytes)) => envelope.kind = text(bytes),
                            _ => {}
                        }
                    }
                }
                (envelope::RAW, Wire::Bytes(bytes)) => envelope.raw = bytes,
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn node(&self) -> Option<Node<'static>> {
        let types = Types::built_in();
        // Every group has the options of deletions.
        if self.kind == "DeleteOptions" {
            return types.named("meta.v1", "DeleteOptions");
        }
        let (group, version) = self
            .api_version
            .rsplit_once('/')
            .unwrap_or(("", &self.api_version));
        types.kind(group, version, &self.kind)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads the members of a message into `object`, which may have some already: later ones add to them.
fn read_struct(
    node: Node<'_>,
    bytes: &[u8],
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.member()? {
        if let Some((field, member)) = node.numbered().find(|(field, _)| field.number == number) {
            read_member(field, member, wire, object, depth)?;
        } else if let Some((_, included)) = node.included().find(|(included, _)| *included == number) {
            read_struct(included, message(wire, number)?, object, depth)?;
        }
        // Members that are not in the table are dropped, as those of a newer client are.
    }
    Ok(())
}

fn message(wire: Wire<'_>, number: u32) -> Result<&[u8], Malformed> {
    match wire {
        Wire::Bytes(bytes) => Ok(bytes),
        other => Err(Malformed::Member {
            field: number.to_string(),
            found: other.number(),
        }),
    }
}

/// Adds the value of a member, or one element or entry of it.
fn read_member(
    field: &Field,
    node: Node<'_>,
    wire: Wire<'_>,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Malformed> {
    let named = |error| match error {
        Malformed::Member { found, .. } => Malformed::Member {
            field: capitalized(&field.name),
            found,
        },
        other => other,
    };
    match node.shape() {
        Shape::List { items, .. } => {
            let entry = object
                .entry(field.name.as_ref())
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = entry {
                read_items(items, wire, list, depth).map_err(named)?;
            }
        }
        Shape::Map { values, .. } => {
            let (key, value) = read_entry(values, wire, depth).map_err(named)?;
            let entry = object
                .entry(field.name.as_ref())
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(map) = entry {
                map.insert(key, value);
            }
        }
        Shape::Struct { .. } => {
            let bytes = message(wire, field.number).map_err(named)?;
            let entry = object
                .entry(field.name.as_ref())
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(member) = entry {
                read_struct(node, bytes, member, depth)?;
            }
        }
        Shape::Scalar(_) | Shape::Untyped => {
            let value = read_value(node, wire, depth).map_err(named)?;
            // What is not a pointer is always on the wire, and in JSON only if it says something.
            if field.facts.pointer || field.facts.kept || !is_zero(&value) {
                object.insert(field.name.clone().into_owned(), value);
            } else {
                object.remove(field.name.as_ref());
            }
        }
    }
    Ok(())
}

fn capitalized(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

/// One element of a list, or several numbers that are packed.
fn read_items(items: Node<'_>, wire: Wire<'_>, list: &mut Vec<Value>, depth: usize) -> Result<(), Malformed> {
    if let (Shape::Scalar(Scalar::Integer | Scalar::Boolean), Wire::Bytes(bytes)) = (items.shape(), wire) {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            list.push(read_value(items, Wire::Varint(reader.varint()?), depth)?);
        }
        return Ok(());
    }
    list.push(read_value(items, wire, depth)?);
    Ok(())
}

fn read_entry(values: Node<'_>, wire: Wire<'_>, depth: usize) -> Result<(String, Value), Malformed> {
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader::new(message(wire, 0)?);
    while let Some((number, wire)) = reader.member()? {
        match number {
            1 => key = text(message(wire, number)?),
            2 => value = Some(read_value(values, wire, depth)?),
            _ => {}
        }
    }
    let value = match value {
        Some(value) => value,
        None => zero(values),
    };
    Ok((key, value))
}

/// The value of a map's entry that has none.
fn zero(node: Node<'_>) -> Value {
    match node.shape() {
        Shape::Scalar(Scalar::String | Scalar::Bytes) => Value::from(""),
        Shape::Scalar(Scalar::Integer) => Value::from(0),
        Shape::Scalar(Scalar::Quantity) => Value::from("0"),
        Shape::Scalar(Scalar::Boolean) => Value::from(false),
        Shape::List { .. } => Value::Array(Vec::new()),
        Shape::Scalar(_) | Shape::Untyped => Value::Null,
        Shape::Struct { .. } | Shape::Map { .. } => Value::Object(Map::new()),
    }
}

fn read_value(node: Node<'_>, wire: Wire<'_>, depth: usize) -> Result<Value, Malformed> {
    match node.shape() {
        Shape::Scalar(scalar) => read_scalar(scalar, node.is_wide(), wire),
        Shape::Struct { .. } => {
            let mut object = Map::new();
            read_struct(node, message(wire, 0)?, &mut object, depth)?;
            Ok(Value::Object(object))
        }
        // A list as the value of a map is a message of its elements.
        Shape::List { items, .. } => {
            let mut list = Vec::new();
            let mut reader = Reader::new(message(wire, 0)?);
            while let Some((number, wire)) = reader.member()? {
                if number == 1 {
                    read_items(items, wire, &mut list, depth)?;
                }
            }
            Ok(Value::Array(list))
        }
        Shape::Map { values, .. } => {
            let mut map = Map::new();
            let (key, value) = read_entry(values, wire, depth)?;
            map.insert(key, value);
            Ok(Value::Object(map))
        }
        Shape::Untyped => read_untyped(node.untyped(), message(wire, 0)?, depth),
    }
}

#[expect(
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    reason = "negative numbers are written as their complement"
)]
fn integer(value: u64, wide: bool) -> i64 {
    if wide {
        value as i64
    } else {
        i64::from(value as i32)
    }
}

fn read_scalar(scalar: Scalar, wide: bool, sent: Wire<'_>) -> Result<Value, Malformed> {
    Ok(match (scalar, sent) {
        (Scalar::String, Wire::Bytes(bytes)) => Value::String(text(bytes)),
        (Scalar::Integer, Wire::Varint(number)) => Value::from(integer(number, wide)),
        (Scalar::Boolean, Wire::Varint(number)) => Value::Bool(number != 0),
        (Scalar::Number, Wire::Fixed64(bits)) => {
            Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number)
        }
        (Scalar::Bytes, Wire::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
        (Scalar::Quantity, Wire::Bytes(bytes)) => {
            let quantity = single(bytes)?.map(text).filter(|text| !text.is_empty());
            Value::String(quantity.unwrap_or_else(|| "0".to_owned()))
        }
        (Scalar::IntOrString, Wire::Bytes(bytes)) => read_int_or_string(bytes)?,
        (Scalar::Time | Scalar::MicroTime, Wire::Bytes(bytes)) => {
            read_time(bytes, scalar == Scalar::MicroTime)?
        }
        (_, other) => {
            return Err(Malformed::Member {
                field: String::new(),
                found: other.number(),
            });
        }
    })
}

/// Member 1 of a message that has no other.
fn single(bytes: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let mut reader = Reader::new(bytes);
    let mut found = None;
    while let Some((number, wire)) = reader.member()? {
        if number == 1 {
            found = Some(message(wire, number)?);
        }
    }
    Ok(found)
}

/// A message of type (1: string), number and string.
fn read_int_or_string(bytes: &[u8]) -> Result<Value, Malformed> {
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    let mut reader = Reader::new(bytes);
    while let Some((member, wire)) = reader.member()? {
        match (member, wire) {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = integer(value, false),
            (3, Wire::Bytes(bytes)) => string = text(bytes),
            _ => {}
        }
    }
    Ok(if is_text {
        Value::String(string)
    } else {
        Value::from(number)
    })
}

/// A message of seconds and nanoseconds; an empty one is no time.
fn read_time(bytes: &[u8], micro: bool) -> Result<Value, Malformed> {
    let (mut seconds, mut nanoseconds) = (0, 0);
    let mut reader = Reader::new(bytes);
    if reader.is_empty() {
        return Ok(Value::Null);
    }
    while let Some((member, wire)) = reader.member()? {
        match (member, wire) {
            (1, Wire::Varint(value)) => seconds = integer(value, true),
            (2, Wire::Varint(value)) => {
                nanoseconds = i32::try_from(integer(value, false)).unwrap_or_default();
            }
            _ => {}
        }
    }
    let nanoseconds = if micro { nanoseconds / 1000 * 1000 } else { 0 };
    if seconds == ZERO_TIME && nanoseconds == 0 {
        return Ok(Value::Null);
    }
    let time = Timestamp::new(seconds, nanoseconds)
        .map_err(|_| Malformed::Json(format!("timestamp out of range: {seconds}")))?;
    let pattern = if micro {
        "%Y-%m-%dT%H:%M:%S%.6fZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    Ok(Value::String(time.strftime(pattern).to_string()))
}

fn read_json(bytes: &[u8]) -> Result<Value, Malformed> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).map_err(|error| Malformed::Json(error.to_string()))
}

fn read_untyped(untyped: Option<Untyped>, bytes: &[u8], depth: usize) -> Result<Value, Malformed> {
    let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
    let schema = |bytes| {
        let mut object = Map::new();
        if let Some(node) = schema_node() {
            read_struct(node, bytes, &mut object, depth)?;
        }
        Ok::<_, Malformed>(Value::Object(object))
    };
    let (mut list, mut allowed, mut found) = (Vec::new(), None, None);
    let mut reader = Reader::new(bytes);
    match untyped {
        None | Some(Untyped::Json | Untyped::Fields | Untyped::Raw) => {
            return match single(bytes)? {
                None => Ok(Value::Null),
                // An object within another one may be in an envelope too.
                Some(raw) if raw.starts_with(MAGIC) => decode(raw, None).map_err(|error| match error {
                    Error::Message(malformed) => malformed,
                    other => Malformed::Json(other.to_string()),
                }),
                Some(raw) => read_json(raw),
            };
        }
        Some(Untyped::SchemaOrArray) => {
            while let Some((number, wire)) = reader.member()? {
                match number {
                    1 => found = Some(schema(message(wire, number)?)?),
                    2 => list.push(schema(message(wire, number)?)?),
                    _ => {}
                }
            }
        }
        Some(Untyped::SchemaOrBool) => {
            while let Some((number, wire)) = reader.member()? {
                match (number, wire) {
                    (1, Wire::Varint(value)) => allowed = Some(value != 0),
                    (2, wire) => found = Some(schema(message(wire, number)?)?),
                    _ => {}
                }
            }
        }
        Some(Untyped::SchemaOrStrings) => {
            while let Some((number, wire)) = reader.member()? {
                match number {
                    1 => found = Some(schema(message(wire, number)?)?),
                    2 => list.push(Value::String(text(message(wire, number)?))),
                    _ => {}
                }
            }
        }
    }
    Ok(match (found, allowed) {
        (Some(schema), _) => schema,
        (None, Some(allowed)) => Value::Bool(allowed),
        (None, None) => Value::Array(list),
    })
}

/// The type of the schemas in definitions of custom resources.
pub(super) fn schema_node() -> Option<Node<'static>> {
    Types::built_in().named("apiextensions.v1", "JSONSchemaProps")
}
