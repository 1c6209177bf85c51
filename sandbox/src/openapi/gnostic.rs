//! The binary form of the version 2 document, which kubectl and helm read to check objects before they send them
//! (API-574). Its messages are those of gnostic's `openapi.v2`; each is a table of its members here.

use serde_json::Value;

use crate::protobuf::wire::{put_bytes, put_double, put_number};

/// What a JSON value becomes.
enum Message {
    /// An object: its members by name, and the number of its extensions (`x-…`).
    Members(&'static [(&'static str, u32, Part)], u32),
    /// A list of strings, all with number 1.
    Texts,
    /// An object of names and values: an entry with this number for each.
    Map(u32, &'static Message),
    /// Another message, inside messages with these numbers; the value decides.
    Inside(fn(&Value) -> (&'static [u32], &'static Message)),
}

/// What a member becomes.
enum Part {
    Text,
    Flag,
    Count,
    Number,
    Texts,
    /// Any value, as text.
    Yaml,
    /// Any values, each as text.
    Yamls,
    One(&'static Message),
    Many(&'static Message),
    /// Names and values: a message whose entries have this number.
    Map(u32, &'static Message),
    /// A schema, or whether anything goes.
    SchemaOrFlag,
    /// A string or several, in a message of their own.
    Types,
}
use Part::{Count, Flag, Many, Map, Number, One, SchemaOrFlag, Text, Texts, Types, Yaml, Yamls};

static DOCUMENT: Message = Message::Members(
    &[
        ("swagger", 1, Text),
        ("info", 2, One(&INFO)),
        ("consumes", 6, Texts),
        ("produces", 7, Texts),
        ("paths", 8, Map(2, &PATH_ITEM)),
        ("definitions", 9, Map(1, &SCHEMA)),
        ("security", 12, Many(&REQUIREMENT)),
        ("securityDefinitions", 13, Map(1, &SECURITY)),
    ],
    16,
);

static INFO: Message = Message::Members(
    &[("title", 1, Text), ("version", 2, Text), ("description", 3, Text)],
    7,
);

static PATH_ITEM: Message = Message::Members(
    &[
        ("$ref", 1, Text),
        ("get", 2, One(&OPERATION)),
        ("put", 3, One(&OPERATION)),
        ("post", 4, One(&OPERATION)),
        ("delete", 5, One(&OPERATION)),
        ("options", 6, One(&OPERATION)),
        ("head", 7, One(&OPERATION)),
        ("patch", 8, One(&OPERATION)),
        ("parameters", 9, Many(&PARAMETER)),
    ],
    10,
);

static OPERATION: Message = Message::Members(
    &[
        ("tags", 1, Texts),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("produces", 6, Texts),
        ("consumes", 7, Texts),
        ("parameters", 8, Many(&PARAMETER)),
        ("responses", 9, Map(1, &RESPONSE_OR_REFERENCE)),
        ("schemes", 10, Texts),
        ("deprecated", 11, Flag),
        ("security", 12, Many(&REQUIREMENT)),
    ],
    13,
);

static PARAMETER: Message = Message::Inside(|parameter| {
    if parameter.get("$ref").is_some() {
        return (&[2], &REFERENCE);
    }
    match parameter.get("in").and_then(Value::as_str) {
        Some("body") => (&[1, 1], &BODY_PARAMETER),
        Some("header") => (&[1, 2, 1], &OTHER_PARAMETER),
        Some("path") => (&[1, 2, 4], &OTHER_PARAMETER),
        _ => (&[1, 2, 3], &QUERY_PARAMETER),
    }
});

static BODY_PARAMETER: Message = Message::Members(
    &[
        ("description", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("required", 4, Flag),
        ("schema", 5, One(&SCHEMA)),
    ],
    6,
);

/// In the path or in a header.
static OTHER_PARAMETER: Message = Message::Members(
    &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("type", 5, Text),
        ("format", 6, Text),
        ("default", 9, Yaml),
        ("uniqueItems", 18, Flag),
        ("enum", 20, Yamls),
    ],
    22,
);

static QUERY_PARAMETER: Message = Message::Members(
    &[
        ("required", 1, Flag),
        ("in", 2, Text),
        ("description", 3, Text),
        ("name", 4, Text),
        ("allowEmptyValue", 5, Flag),
        ("type", 6, Text),
        ("format", 7, Text),
        ("default", 10, Yaml),
        ("uniqueItems", 19, Flag),
        ("enum", 21, Yamls),
    ],
    23,
);

static REFERENCE: Message = Message::Members(&[("$ref", 1, Text), ("description", 2, Text)], 0);

static RESPONSE_OR_REFERENCE: Message = Message::Inside(|response| {
    if response.get("$ref").is_some() {
        (&[2], &REFERENCE)
    } else {
        (&[1], &RESPONSE)
    }
});

static RESPONSE: Message = Message::Members(&[("description", 1, Text), ("schema", 2, One(&SCHEMA_ITEM))], 5);

static SCHEMA_ITEM: Message = Message::Inside(|_| (&[1], &SCHEMA));

static SCHEMA: Message = Message::Members(
    &[
        ("$ref", 1, Text),
        ("format", 2, Text),
        ("title", 3, Text),
        ("description", 4, Text),
        ("default", 5, Yaml),
        ("multipleOf", 6, Number),
        ("maximum", 7, Number),
        ("exclusiveMaximum", 8, Flag),
        ("minimum", 9, Number),
        ("exclusiveMinimum", 10, Flag),
        ("maxLength", 11, Count),
        ("minLength", 12, Count),
        ("pattern", 13, Text),
        ("maxItems", 14, Count),
        ("minItems", 15, Count),
        ("uniqueItems", 16, Flag),
        ("maxProperties", 17, Count),
        ("minProperties", 18, Count),
        ("required", 19, Texts),
        ("enum", 20, Yamls),
        ("additionalProperties", 21, SchemaOrFlag),
        ("type", 22, Types),
        ("items", 23, One(&SCHEMA_ITEM)),
        ("allOf", 24, Many(&SCHEMA)),
        ("properties", 25, Map(1, &SCHEMA)),
        ("discriminator", 26, Text),
        ("readOnly", 27, Flag),
        ("example", 30, Yaml),
    ],
    31,
);

static REQUIREMENT: Message = Message::Map(1, &SCOPES);
static SCOPES: Message = Message::Texts;

static SECURITY: Message = Message::Inside(|_| (&[2], &API_KEY));

static API_KEY: Message = Message::Members(
    &[
        ("type", 1, Text),
        ("name", 2, Text),
        ("in", 3, Text),
        ("description", 4, Text),
    ],
    5,
);

/// The document as clients read it that ask for the binary form.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    message(&DOCUMENT, document)
}

fn message(kind: &Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    match kind {
        Message::Members(members, extensions) => {
            for (name, number, part) in *members {
                if let Some(member) = value.get(name) {
                    put_part(&mut out, *number, part, member);
                }
            }
            let members = value.as_object().into_iter().flatten();
            for (name, extension) in members.filter(|(name, _)| name.starts_with("x-")) {
                put_bytes(&mut out, *extensions, &entry(name, &yaml(extension)));
            }
        }
        Message::Texts => put_texts(&mut out, 1, value),
        Message::Map(number, of) => put_map(&mut out, *number, of, value),
        Message::Inside(choose) => {
            let (numbers, inner) = choose(value);
            out = numbers
                .iter()
                .rev()
                .fold(message(inner, value), |inside, number| {
                    let mut outer = Vec::with_capacity(inside.len().saturating_add(8));
                    put_bytes(&mut outer, *number, &inside);
                    outer
                });
        }
    }
    out
}

fn put_part(out: &mut Vec<u8>, number: u32, part: &Part, value: &Value) {
    match part {
        Part::Text => put_bytes(out, number, value.as_str().unwrap_or_default().as_bytes()),
        Part::Flag => put_number(out, number, value.as_bool().unwrap_or_default().into()),
        // Lengths and counts are never negative; one that is a whole floating point number may come as such.
        Part::Count => put_number(out, number, value.as_u64().unwrap_or_default()),
        Part::Number => put_double(out, number, value.as_f64().unwrap_or_default()),
        Part::Texts => put_texts(out, number, value),
        Part::Yaml => put_bytes(out, number, &yaml(value)),
        Part::Yamls => items(value).for_each(|item| put_bytes(out, number, &yaml(item))),
        Part::One(kind) => put_bytes(out, number, &message(kind, value)),
        Part::Many(kind) => items(value).for_each(|item| put_bytes(out, number, &message(kind, item))),
        Part::Map(entries, kind) => {
            let mut map = Vec::new();
            put_map(&mut map, *entries, kind, value);
            put_bytes(out, number, &map);
        }
        Part::SchemaOrFlag => {
            let mut either = Vec::new();
            match value.as_bool() {
                Some(anything) => put_number(&mut either, 2, anything.into()),
                None => put_bytes(&mut either, 1, &message(&SCHEMA, value)),
            }
            put_bytes(out, number, &either);
        }
        Part::Types => {
            let mut types = Vec::new();
            match value.as_str() {
                Some(one) => put_bytes(&mut types, 1, one.as_bytes()),
                None => put_texts(&mut types, 1, value),
            }
            put_bytes(out, number, &types);
        }
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn put_texts(out: &mut Vec<u8>, number: u32, list: &Value) {
    for text in items(list).filter_map(Value::as_str) {
        put_bytes(out, number, text.as_bytes());
    }
}

fn put_map(out: &mut Vec<u8>, number: u32, of: &Message, map: &Value) {
    for (name, value) in map.as_object().into_iter().flatten() {
        put_bytes(out, number, &entry(name, &message(of, value)));
    }
}

/// A name and a value.
fn entry(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len().saturating_add(name.len()).saturating_add(8));
    put_bytes(&mut out, 1, name.as_bytes());
    put_bytes(&mut out, 2, value);
    out
}

/// Any value: as YAML, of which JSON is a part.
fn yaml(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 2, format!("{value}\n").as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn api_574_the_binary_form() {
        let document = json!({
            "swagger": "2.0",
            "definitions": {"A": {"type": "object", "x-y": 1, "additionalProperties": {"$ref": "#/definitions/B"}}},
            "security": [{"T": []}],
        });
        let schema = b"\xaa\x01\x13\x0a\x11\x0a\x0f#/definitions/B\xb2\x01\x08\x0a\x06object\
                       \xfa\x01\x0b\x0a\x03x-y\x12\x04\x12\x021\n";
        let mut named = vec![0x0a, 1, b'A', 0x12, u8::try_from(schema.len()).unwrap()];
        named.extend_from_slice(schema);
        let mut definitions = vec![0x0a, u8::try_from(named.len()).unwrap()];
        definitions.extend(named);
        let mut want = b"\x0a\x032.0\x4a".to_vec();
        want.push(u8::try_from(definitions.len()).unwrap());
        want.extend(definitions);
        want.extend(b"\x62\x07\x0a\x05\x0a\x01T\x12\x00");
        assert_eq!(encode(&document), want);
    }
}
