//! The body of an apply: YAML, of which JSON is a part. Of several documents the first one counts.

use std::fmt;

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Spanned, options::DuplicateKeyPolicy};

/// Deepest nesting of YAML that is read: as deep as JSON.
pub(crate) const DEEPEST: usize = 127;

/// Stack that reading YAML of that depth takes, in bytes: some 50 KiB per level in an unoptimised build.
const STACK: usize = 16 << 20;

/// Reads YAML on a stack that is large enough for [`DEEPEST`].
pub(crate) fn on_deep_stack<T>(read: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(STACK / 2, STACK, read)
}

/// A parsed body.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) config: Value,
    /// What strict decoding says against it, one line each: keys that stand twice in a map.
    pub(crate) problems: Vec<String>,
}

/// Parses a body; of a key that stands twice the last value counts. Nothing is an empty map.
///
/// # Errors
/// With the reason if it is no YAML, or no map.
pub(crate) fn parse(body: &[u8]) -> Result<Body, String> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEEPEST },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        legacy_octal_numbers: true,
    };
    let mut reader = body;
    let mut documents = serde_saphyr::read_with_options::<_, Body>(&mut reader, options);
    let mut body = match on_deep_stack(|| documents.next()) {
        None => Body::default(),
        Some(Ok(body)) => body,
        Some(Err(error)) => {
            let error = error.without_snippet();
            let line = error.location().map_or(1, |location| location.line());
            return Err(format!(
                "error converting YAML to JSON: yaml: line {line}: {error}"
            ));
        }
    };
    let found = match &body.config {
        Value::Object(_) => return Ok(body),
        Value::Null => {
            body.config = Value::Object(Map::new());
            return Ok(body);
        }
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
    };
    Err(format!(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go value of type \
         map[string]interface {{}}"
    ))
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Document)
    }
}

struct Document;

impl From<Value> for Body {
    fn from(config: Value) -> Self {
        Self {
            config,
            problems: Vec::new(),
        }
    }
}

impl<'de> Visitor<'de> for Document {
    type Value = Body;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has too")
    }

    fn visit_unit<E>(self) -> Result<Body, E> {
        Ok(Body::default())
    }

    fn visit_none<E>(self) -> Result<Body, E> {
        Ok(Body::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Body, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Body, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Body, E> {
        Ok(Value::from(value).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Body, E> {
        Ok(Value::from(value).into())
    }

    /// JSON does not tell `1.0` from `1`.
    fn visit_f64<E>(self, value: f64) -> Result<Body, E> {
        let whole = format!("{value}").parse::<i64>().ok();
        let number = whole.map(Number::from).or_else(|| Number::from_f64(value));
        Ok(number.map_or(Value::Null, Value::Number).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Body, E> {
        Ok(Value::from(value).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Body, A::Error> {
        let (mut list, mut problems) = (Vec::new(), Vec::new());
        while let Some(item) = items.next_element::<Body>()? {
            list.push(item.config);
            problems.extend(item.problems);
        }
        Ok(Body {
            config: Value::Array(list),
            problems,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Body, A::Error> {
        let (mut map, mut problems) = (Map::new(), Vec::new());
        while let Some(key) = members.next_key::<Spanned<Key>>()? {
            let name = key.value.0;
            if map.contains_key(&name) {
                let line = key.referenced.line();
                problems.push(format!("line {line}: key {name:?} already set in map"));
            }
            let value = members.next_value::<Body>()?;
            problems.extend(value.problems);
            map.insert(name, value.config);
        }
        Ok(Body {
            config: Value::Object(map),
            problems,
        })
    }
}

/// A key; one that is no string counts as its text.
struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let key = Body::deserialize(deserializer)?.config;
        Ok(Self(match key {
            Value::String(text) => text,
            other => other.to_string(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("a: 1\nb: [x, 1.0, 0.5, yes, ~, 017]\n", json!({"a": 1, "b": ["x", 1, 0.5, true, null, 15]}))]
    #[case("{\"a\": {\"b\": \"c\"}}", json!({"a": {"b": "c"}}))]
    #[case("1: \"x\"\ntrue: y1\n", json!({"1": "x", "true": "y1"}))]
    #[case("a: 1\n---\nb: 2\n", json!({"a": 1}))]
    #[case("", json!({}))]
    #[case("null", json!({}))]
    fn api_290_bodies_are_yaml(#[case] body: &str, #[case] want: Value) {
        let body = parse(body.as_bytes()).unwrap();
        assert_eq!((body.config, body.problems), (want, vec![]));
    }

    #[test]
    fn api_39_keys_that_stand_twice() {
        let body = parse(b"a: 1\nb:\n  c: 1\n  c: 2\na: 3\n").unwrap();
        assert_eq!(body.config, json!({"a": 3, "b": {"c": 2}}));
        assert_eq!(
            body.problems,
            [
                "line 4: key \"c\" already set in map",
                "line 5: key \"a\" already set in map"
            ]
        );
    }

    #[rstest]
    #[case(
        "[]",
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}"
    )]
    #[case(
        "x",
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into Go value of type map[string]interface {}"
    )]
    fn api_290_bodies_are_maps(#[case] body: &str, #[case] want: &str) {
        assert_eq!(parse(body.as_bytes()).unwrap_err(), want);
    }

    #[rstest]
    #[case(b"a: [".as_slice())]
    #[case(b"{")]
    #[case(b"a: \xff")]
    #[case(b"a: *b")]
    fn api_290_nonsense_is_refused(#[case] body: &[u8]) {
        assert!(
            parse(body)
                .unwrap_err()
                .starts_with("error converting YAML to JSON: yaml: line ")
        );
    }

    #[test]
    fn api_290_bodies_may_be_as_deep_as_json() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(parse(nested(DEEPEST).as_bytes()).is_ok());
        assert!(parse(nested(DEEPEST + 1).as_bytes()).is_err());
        assert!(serde_json::from_str::<Value>(&nested(DEEPEST)).is_ok());
        assert!(serde_json::from_str::<Value>(&nested(DEEPEST + 1)).is_err());
    }
}
