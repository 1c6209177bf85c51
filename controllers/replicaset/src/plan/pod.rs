//! The pod that a ReplicaSet creates (RS-35 to RS-37).

use serde_json::{Map, Value, json};
use steersman_shared::objects::{self, ReplicaSet};
use steersman_shared::selector::Selector;
use steersman_shared::wire;

/// Longest name of a pod.
const NAME_LENGTH: usize = 253;

/// A template from which no pod is made: the ReplicaSet would never find it again, and make another one, and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// RS-37.
    #[error("unable to create pods, no labels")]
    NoLabels,
    /// The API server refuses such ReplicaSets; one that it never checked would be given up pod by pod.
    #[error("unable to create pods, spec.selector does not match the labels of spec.template: change either")]
    NotSelected,
}

/// One pod as JSON; what the template says besides reaches the pod unread (RS-2, RS-35).
///
/// # Errors
/// The template has no labels (RS-37), or none that the selector matches.
pub fn of(replica_set: &ReplicaSet) -> Result<Value, BadTemplate> {
    let template = replica_set.spec.template.as_ref();
    let mut metadata = Map::new();
    for key in ["labels", "annotations", "finalizers"] {
        if let Some(value) = template.pointer("/metadata").and_then(|from| from.get(key)) {
            metadata.insert(key.to_owned(), value.clone());
        }
    }
    let labels = objects::template_labels(template);
    if labels.is_empty() {
        return Err(BadTemplate::NoLabels);
    }
    if Selector::parse(&replica_set.spec.selector).is_ok_and(|selector| !selector.matches(&labels)) {
        return Err(BadTemplate::NotSelected);
    }
    let name = replica_set.metadata.name.as_deref().unwrap_or_default();
    metadata.insert("namespace".to_owned(), json!(replica_set.metadata.namespace));
    metadata.insert("generateName".to_owned(), name_prefix(name).into());
    metadata.insert(
        "ownerReferences".to_owned(),
        json!([{
            "apiVersion": wire::APPS_V1,
            "kind": wire::REPLICA_SET,
            "name": name,
            "uid": replica_set.metadata.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }]),
    );
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": template.get("spec").cloned().unwrap_or_default(),
    }))
}

/// `<name>-`, or the name alone where that cannot begin the name of a pod (RS-36).
fn name_prefix(name: &str) -> String {
    // The API server takes a prefix for valid if it is a name once its last two characters are one letter.
    let kept = name.get(..name.len().saturating_sub(1)).unwrap_or_default();
    if is_subdomain(&format!("{kept}a")) {
        format!("{name}-")
    } else {
        name.to_owned()
    }
}

fn is_subdomain(name: &str) -> bool {
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let ends = [bytes.first(), bytes.last()];
        ends.iter()
            .all(|end| end.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
    };
    name.len() <= NAME_LENGTH && name.split('.').all(is_label)
}
