//! What ties kubectl's client-side apply to server-side apply: the annotation with the last applied configuration.
//! Only the manager `kubectl` is concerned.

use serde_json::Value;

use super::{fields::Set, typed};
use crate::{json, schema::Node, verbs::Call};

/// Manager of `kubectl apply --server-side`.
pub(super) const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Largest size of all annotations (API-103).
const ANNOTATIONS_LIMIT: usize = 262_144;

fn last_applied(object: &Value) -> &str {
    json::text(object, &["metadata", "annotations", ANNOTATION])
}

/// Fields that a client-side apply has set and that nobody has changed since: these may be taken over without force.
pub(super) fn allowed(node: Node<'_>, live: &Value, api_version: &str) -> Set {
    let Ok(config) = serde_json::from_str::<Value>(last_applied(live)) else {
        return Set::default();
    };
    if json::text(&config, &["apiVersion"]) != api_version || typed::check(node, &config, false).is_some() {
        return Set::default();
    }
    let difference = typed::compare(node, &config, live);
    typed::fields_of(node, &config).difference(&difference.all())
}

/// Keeps the annotation of an object that has one in step with what is applied now.
pub(super) fn refresh(object: &mut Value, config: &Value, call: &Call<'_>) {
    if last_applied(object).is_empty() {
        return;
    }
    let mut config = crate::render::typed(&call.kind, config.clone());
    json::remove(&mut config, &["metadata", "annotations"], ANNOTATION);
    let text = go_json(&config);
    let others: usize = json::at(object, &["metadata", "annotations"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter(|(name, _)| *name != ANNOTATION)
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    if others + ANNOTATION.len() + text.len() > ANNOTATIONS_LIMIT {
        json::remove(object, &["metadata", "annotations"], ANNOTATION);
    } else {
        json::set(object, &["metadata", "annotations"], ANNOTATION, text);
    }
}

/// JSON as Go's encoder writes it: a line, with the letters escaped that mean something in HTML.
fn go_json(value: &Value) -> String {
    let mut text = value.to_string();
    for letter in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        if text.contains(letter) {
            text = text.replace(letter, &format!("\\u{:04x}", u32::from(letter)));
        }
    }
    text.push('\n');
    text
}
