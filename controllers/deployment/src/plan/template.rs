//! Pod templates: equality by meaning (DEP-10, DEP-11, DEP-13), the hash of one (DEP-18) and the ReplicaSet made from
//! one (DEP-14, DEP-16).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use steersman_shared::objects::Deployment;
use steersman_shared::quantity::Quantity;
use steersman_shared::wire;

use crate::action::NewReplicaSet;

/// Letters of a hash: no vowels, no look-alikes (kube-apiserver 1.36, DEP-17).
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Characters of a hash (DEP-18).
const HASH_LENGTH: usize = 10;
/// Longest name of an object.
const NAME_LENGTH: usize = 253;

/// Whether two pod templates mean the same, their `pod-template-hash` labels left out (DEP-10, DEP-11).
#[must_use]
pub fn is_equal(a: &Value, b: &Value) -> bool {
    Place::Template.is_equal(Some(a), Some(b))
}

/// Where in a template a value stands, as far as its meaning depends on that.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The template itself, and its `spec`.
    Template,
    PodSpec,
    /// `metadata` of the template.
    TemplateMetadata,
    /// `metadata.labels` of the template.
    TemplateLabels,
    /// A map from names to scalars: empty is the same as absent.
    Map,
    /// A map from resource names to quantities: empty is the same as absent.
    Quantities,
    Quantity,
    /// `resources` of a container or a volume claim: always present, so empty is the same as absent.
    Resources,
    /// `resources` of a pod: optional.
    PodResources,
    /// Parents of a single quantity.
    ResourceFieldRef,
    EmptyDir,
    /// Objects that are always present: empty is the same as absent.
    Inline,
    Other,
}

impl Place {
    /// Place of a member.
    fn member(self, key: &str) -> Self {
        match (self, key) {
            (Self::Template, "metadata") => Self::TemplateMetadata,
            (Self::Template, "spec") => Self::PodSpec,
            (Self::TemplateMetadata, "labels") => Self::TemplateLabels,
            (Self::PodSpec, "resources") => Self::PodResources,
            (Self::PodSpec, "overhead") | (Self::Resources | Self::PodResources, "limits" | "requests") => {
                Self::Quantities
            }
            (Self::Quantities, _) | (Self::ResourceFieldRef, "divisor") | (Self::EmptyDir, "sizeLimit") => {
                Self::Quantity
            }
            (Self::Map | Self::TemplateLabels, _) => Self::Other,
            (_, "resources") => Self::Resources,
            (_, "resourceFieldRef") => Self::ResourceFieldRef,
            (_, "emptyDir") => Self::EmptyDir,
            (
                _,
                "labels" | "annotations" | "nodeSelector" | "matchLabels" | "volumeAttributes" | "options",
            ) => Self::Map,
            (_, "metadata" | "spec") => Self::Inline,
            _ => Self::Other,
        }
    }

    fn is_equal(self, a: Option<&Value>, b: Option<&Value>) -> bool {
        match (self.present(a), self.present(b)) {
            (None, None) => true,
            (Some(Value::Object(a)), Some(Value::Object(b))) => self.is_equal_object(a, b),
            (Some(Value::Array(a)), Some(Value::Array(b))) => {
                // Lists do not change what their elements mean: containers, volumes, env.
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .all(|(a, b)| Self::Other.is_equal(Some(a), Some(b)))
            }
            (Some(a), Some(b)) if self == Self::Quantity => match (quantity(a), quantity(b)) {
                (Some(a), Some(b)) => a == b,
                _ => a == b,
            },
            (a, b) => a == b,
        }
    }

    fn is_equal_object(self, a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
        a.keys()
            .chain(b.keys().filter(|key| !a.contains_key(*key)))
            .all(|key| {
                (self == Self::TemplateLabels && key == wire::POD_TEMPLATE_HASH)
                    || self.member(key).is_equal(a.get(key), b.get(key))
            })
    }

    /// The value, if it says anything here.
    fn present(self, value: Option<&Value>) -> Option<&Value> {
        value.filter(|value| match value {
            Value::Null => false,
            Value::Array(elements) => !elements.is_empty(),
            Value::Object(members) if self == Self::TemplateLabels => {
                members.keys().any(|key| key != wire::POD_TEMPLATE_HASH)
            }
            // Members that say nothing do not make an object that is always present say something.
            Value::Object(members) if self.is_always_there() => members
                .iter()
                .any(|(key, value)| self.member(key).present(Some(value)).is_some()),
            _ => true,
        })
    }

    fn is_always_there(self) -> bool {
        matches!(
            self,
            Self::Template
                | Self::PodSpec
                | Self::TemplateMetadata
                | Self::Map
                | Self::Quantities
                | Self::Resources
                | Self::Inline
        )
    }
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// Hash of a template: the same for the same JSON and collision count on every platform and in every release
/// (DEP-18). 64-bit FNV-1a over the JSON with sorted members, in the alphabet of DEP-17.
#[must_use]
pub fn hash(template: &Value, collisions: Option<i32>) -> String {
    let mut state = Fnv::default();
    state.value(template);
    if let Some(collisions) = collisions {
        state.bytes(&collisions.to_be_bytes());
    }
    let mut rest = state.0;
    let letters = u64::try_from(ALPHABET.len()).unwrap_or(1);
    (0..HASH_LENGTH)
        .filter_map(|_| {
            let index = usize::try_from(rest % letters).ok();
            rest /= letters;
            index
                .and_then(|index| ALPHABET.get(index))
                .map(|letter| char::from(*letter))
        })
        .collect()
}

/// 64-bit FNV-1a. Each value is fed with a tag and its length, so that different JSON gives different input.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn text(&mut self, tag: u8, text: &str) {
        self.tag(tag, text.len());
        self.bytes(text.as_bytes());
    }

    fn tag(&mut self, tag: u8, length: usize) {
        self.bytes(&[tag]);
        self.bytes(&u64::try_from(length).unwrap_or(u64::MAX).to_be_bytes());
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.tag(b'n', 0),
            Value::Bool(flag) => self.tag(b'b', usize::from(*flag)),
            Value::Number(number) => self.text(b'd', &number.to_string()),
            Value::String(text) => self.text(b's', text),
            Value::Array(elements) => {
                self.tag(b'a', elements.len());
                for element in elements {
                    self.value(element);
                }
            }
            Value::Object(members) => {
                self.tag(b'o', members.len());
                for (key, member) in members.iter().collect::<BTreeMap<_, _>>() {
                    self.text(b'k', key);
                    self.value(member);
                }
            }
        }
    }
}

/// `<deployment>-<hash>`, the first part cut so that the whole has at most 253 characters (DEP-16).
#[must_use]
pub fn replica_set_name(deployment: &str, hash: &str) -> String {
    let room = NAME_LENGTH.saturating_sub(hash.len() + 1);
    let mut end = deployment.len().min(room);
    while !deployment.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{hash}", deployment.get(..end).unwrap_or_default())
}

/// The ReplicaSet to create, as JSON: the template goes into it as received, with one more label (DEP-14, RS-2).
#[must_use]
pub fn replica_set(deployment: &Deployment, new: &NewReplicaSet) -> Value {
    let mut template = deployment.spec.template.as_ref().clone();
    with_hash(&mut template, &["metadata", "labels"], &new.hash);
    let labels = template.pointer("/metadata/labels").cloned().unwrap_or_default();
    let mut selector = serde_json::to_value(&deployment.spec.selector).unwrap_or_default();
    with_hash(&mut selector, &["matchLabels"], &new.hash);
    let mut spec = json!({ "replicas": new.replicas, "selector": selector, "template": template });
    if let (Some(seconds), Some(spec)) = (new.min_ready_seconds, spec.as_object_mut()) {
        spec.insert("minReadySeconds".to_owned(), seconds.into());
    }
    json!({
        "apiVersion": wire::APPS_V1,
        "kind": wire::REPLICA_SET,
        "metadata": {
            "name": new.name,
            "namespace": deployment.metadata.namespace,
            "labels": labels,
            "annotations": new.annotations,
            "ownerReferences": [{
                "apiVersion": wire::APPS_V1,
                "kind": wire::DEPLOYMENT,
                "name": deployment.metadata.name,
                "uid": deployment.metadata.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "spec": spec,
    })
}

/// Sets the hash label in the map at `path`; makes the objects on the way where they are missing.
fn with_hash(value: &mut Value, path: &[&str], hash: &str) {
    let mut at = value;
    for key in path {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Some(members) = at.as_object_mut() else { return };
        at = members.entry(*key).or_insert(Value::Null);
    }
    if !at.is_object() {
        *at = Value::Object(Map::new());
    }
    if let Some(members) = at.as_object_mut() {
        members.insert(wire::POD_TEMPLATE_HASH.to_owned(), hash.into());
    }
}

/// A template without the label that ties it to one ReplicaSet: what a rollback gives back to the Deployment (DEP-95).
#[must_use]
pub fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(wire::POD_TEMPLATE_HASH);
    }
    template
}
