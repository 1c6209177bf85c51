//! The body of an apply: YAML, of which JSON is a part.

use serde_json::Value;

/// A parsed body.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) config: Value,
    /// What strict decoding says against it: keys that stand twice in a map.
    pub(crate) problem: Option<String>,
}

/// Parses a body; of a key that stands twice the last value counts.
///
/// # Errors
/// With the reason if it is no YAML, or no map.
pub(crate) fn parse(body: &[u8]) -> Result<Body, String> {
    let options = |duplicate_keys| serde_saphyr::options! { duplicate_keys: duplicate_keys };
    let read = |policy| serde_saphyr::from_slice_with_options::<Value>(body, options(policy));
    let (config, problem) = match read(serde_saphyr::options::DuplicateKeyPolicy::Error) {
        Ok(config) => (config, None),
        Err(strict) => {
            let config = read(serde_saphyr::options::DuplicateKeyPolicy::LastWins)
                .map_err(|error| error.to_string())?;
            (config, Some(duplicate(&strict)))
        }
    };
    match config {
        Value::Object(_) => Ok(Body { config, problem }),
        Value::Null => Ok(Body {
            config: Value::Object(serde_json::Map::new()),
            problem,
        }),
        _ => Err("the body must be a map".to_owned()),
    }
}

fn duplicate(error: &serde_saphyr::Error) -> String {
    match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key, location } => format!(
            "error converting YAML to JSON: yaml: unmarshal errors:\n  line {}: key {:?} already set in map",
            location.line(),
            key.as_deref().unwrap_or_default(),
        ),
        other => other.to_string(),
    }
}
