//! How Python writes values: recordings hold texts and orders that were made with it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, ser::Formatter};

/// `json.dumps` with its default separators and ASCII only.
struct Dumps;

impl Formatter for Dumps {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for unit in fragment.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if byte.is_ascii() => writer.write_all(&[byte])?,
                _ => write!(writer, "\\u{unit:04x}")?,
            }
        }
        Ok(())
    }
}

/// The value as `json.dumps` writes it.
pub(super) fn dumps(value: &Value) -> String {
    let mut text = Vec::new();
    value
        .serialize(&mut serde_json::Serializer::with_formatter(&mut text, Dumps))
        .unwrap();
    String::from_utf8(text).unwrap()
}

/// The value as `str` writes it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => dumps(other),
    }
}

fn encode(text: &str, kept: &[u8], space: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' if !space.is_empty() => out.push_str(space),
            byte if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) || kept.contains(&byte) => {
                out.push(char::from(byte));
            }
            byte => out.extend(["%".to_owned(), format!("{byte:02X}")]),
        }
    }
    out
}

/// A URL path: what may stand in one stays, percent signs included.
pub(super) fn quote(path: &str) -> String {
    encode(path, b"/:%~,=@!$&'()*+;-._", "")
}

/// `urllib.parse.urlencode(query, doseq=True)`.
pub(super) fn urlencode(query: &Value) -> String {
    let mut pairs = Vec::new();
    for (key, value) in query.as_object().into_iter().flatten() {
        let values = value
            .as_array()
            .map_or(std::slice::from_ref(value), Vec::as_slice);
        pairs.extend(
            values
                .iter()
                .map(|value| format!("{}={}", encode(key, b"", "+"), encode(&text(value), b"", "+"))),
        );
    }
    pairs.join("&")
}

#[test]
fn values_are_written_as_python_does() {
    let value = serde_json::json!({"b": [1, true, null], "a": "ä\n"});
    assert_eq!(dumps(&value), r#"{"a": "\u00e4\n", "b": [1, true, null]}"#);
    assert_eq!(quote("/a b/%2F"), "/a%20b/%2F");
    assert_eq!(
        urlencode(&serde_json::json!({"q": ["a b", "c=d"], "n": 1})),
        "n=1&q=a+b&q=c%3Dd"
    );
}
