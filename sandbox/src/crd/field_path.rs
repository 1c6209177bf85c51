//! Paths of fields in rules and selectable fields: `.spec.name`, `.spec['a.b']`.

use serde_json::Value;

/// Whether brackets are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrays {
    Allowed,
    Refused,
}

/// The path in the notation of errors and the schema that it leads to.
///
/// # Errors
/// With what is wrong with the path.
pub(super) fn resolve<'a>(
    path: &str,
    schema: &'a Value,
    arrays: Arrays,
) -> Result<(String, &'a Value), String> {
    let mut resolved = String::new();
    let mut schema = schema;
    let mut tokens = tokens(path).into_iter();
    while let Some(token) = tokens.next() {
        let end = || "unexpected end of JSON path".to_owned();
        let name = match token {
            "." => tokens.next().ok_or_else(end)?.to_owned(),
            "[" if arrays == Arrays::Refused => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let quoted = tokens.next().ok_or_else(end)?;
                let inner = quoted
                    .strip_prefix('\'')
                    .and_then(|inner| inner.strip_suffix('\''))
                    .ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                match tokens.next().ok_or_else(end)? {
                    "]" => inner.replace("\\'", "'").replace("\\\\", "\\"),
                    other => return Err(format!("expected ] but got {other}")),
                }
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        let invalid = || "does not refer to a valid field".to_owned();
        if let Some(properties) = schema
            .get("properties")
            .filter(|properties| properties.is_object())
        {
            if !resolved.is_empty() {
                resolved.push('.');
            }
            resolved.push_str(&name);
            schema = properties.get(&name).ok_or_else(invalid)?;
        } else {
            resolved.push('[');
            resolved.push_str(&name);
            resolved.push(']');
            schema = schema.get("additionalProperties").ok_or_else(invalid)?;
        }
    }
    Ok((resolved, schema))
}

fn tokens(path: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let width = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let closing = rest.char_indices().skip(1).find(|(index, c)| {
                    *c == '\'' && !rest.get(..*index).is_some_and(|before| before.ends_with('\\'))
                });
                closing.map_or(rest.len(), |(index, _)| index + 1)
            }
            _ => rest.find(['.', '[', ']']).unwrap_or(rest.len()),
        };
        tokens.push(rest.get(..width).unwrap_or(rest));
        rest = rest.get(width..).unwrap_or_default();
    }
    tokens
}
