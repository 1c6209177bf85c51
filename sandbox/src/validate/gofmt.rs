//! Values in the notation of error messages, which is that of upstream's language: strings quoted, everything else
//! as compact JSON, and the `map[k:v]` notation of some messages of strategic merge.

use serde_json::Value;

/// A value inside `Invalid value: …` (API-36).
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        other => escape_html(&other.to_string()),
    }
}

/// JSON as upstream writes it: what could be markup is escaped.
pub(crate) fn escape_html(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

/// An object as compact JSON with its members in the given order; absent members are left out.
pub(crate) fn show_ordered(object: &Value, order: &[&str]) -> String {
    let members: Vec<String> = order
        .iter()
        .filter_map(|name| object.get(name).map(|value| format!("{}:{value}", quote(name))))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// `"text"` with quotes, backslashes and control characters escaped: `\a`, `\n`, `\x00`.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\t' => quoted.push_str("\\t"),
            '\n' => quoted.push_str("\\n"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_ascii_control() => {
                quoted.push_str("\\x");
                quoted.extend(char::from_digit(u32::from(c) / 16, 16));
                quoted.extend(char::from_digit(u32::from(c) % 16, 16));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether upstream counts a character as printable: letters, marks, numbers, punctuation, symbols, and of the spaces
/// only the plain one.
pub(crate) fn is_print(c: char) -> bool {
    let invisible = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{10ffff}'
    );
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible)
}

/// `map[image:i:9 ports:[map[containerPort:80]]]`: members sorted, nothing quoted.
pub(crate) fn show_map(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(show_map).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{name}:{}", show_map(value)))
                .collect();
            format!("map[{}]", members.join(" "))
        }
        scalar => scalar.to_string(),
    }
}

/// `[]interface {}{1, "a"}`: the value as it would stand in upstream's source, members sorted.
pub(crate) fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => quote(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(name, value)| format!("{}:{}", quote(name), syntax(value)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", members.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn api_36_values_in_messages() {
        assert_eq!(show(&json!("a\u{7}\"b\\\n\u{0}é")), r#""a\a\"b\\\n\x00é""#);
        assert_eq!(show(&json!({"a": [1, "b"]})), r#"{"a":[1,"b"]}"#);
        assert_eq!(
            show_ordered(&json!({"uid": "u", "kind": "Pod"}), &["kind", "name", "uid"]),
            r#"{"kind":"Pod","uid":"u"}"#
        );
        assert_eq!(
            show_map(&json!({"image": "i:9", "ports": [{"containerPort": 80}]})),
            "map[image:i:9 ports:[map[containerPort:80]]]"
        );
    }
}
