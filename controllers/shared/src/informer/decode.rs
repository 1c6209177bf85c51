//! Decoding that loses one object instead of a whole list (STY-25).

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{guard, wire};
use lean::Lean;

mod lean;

/// An object of the watch: whole, or only as much as could be read.
#[derive(Clone, Debug)]
pub enum Decoded<K> {
    /// It decodes.
    Whole(K),
    /// It does not.
    Broken(Box<Broken>),
}

/// What is left of an object that does not decode.
#[derive(Clone, Debug)]
pub struct Broken {
    /// Name, namespace, uid, version and, if readable, owner references.
    pub meta: ObjectMeta,
    /// What the decoder said.
    pub error: String,
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Decoded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(
            match deserializer.deserialize_newtype_struct(RAW_VALUE, AnyForm)? {
                Form::Text(text) => Self::from_text(text.get()),
                Form::Tree(tree) => Self::from_tree(tree),
            },
        )
    }
}

impl<K: DeserializeOwned> Decoded<K> {
    /// The usual case: no tree is built, of `managedFields` neither, often half of the object (STY-24).
    fn from_text(text: &str) -> Self {
        let mut reader = serde_json::Deserializer::from_str(text);
        match K::deserialize(Lean::object(&mut reader)) {
            Ok(object) => Self::Whole(object),
            // Why, and which object it is, is told by the tree.
            Err(_) => Self::from_tree(serde_json::from_str(text).unwrap_or_default()),
        }
    }

    fn from_tree(mut tree: Value) -> Self {
        let mut stub = Value::Null;
        if let Some(Value::Object(metadata)) = tree.get_mut("metadata") {
            // Dropped before anything is built from it: often half of the object (STY-24). What the guard needs of it
            // is next to nothing, and seldom there.
            let native = metadata
                .remove(lean::MANAGED_FIELDS)
                .as_ref()
                .and_then(guard::native_status_entries);
            if let Some(entries) = native {
                metadata.insert(lean::MANAGED_FIELDS.to_owned(), entries);
            }
            stub = IDENTITY
                .into_iter()
                .filter_map(|field| Some((field.to_owned(), metadata.get(field)?.clone())))
                .collect();
        }
        match serde_json::from_value(tree) {
            Ok(object) => Self::Whole(object),
            Err(error) => Self::Broken(Box::new(Broken {
                meta: identity(&stub),
                error: error.to_string(),
            })),
        }
    }
}

/// What `serde_json` calls its raw values. Should that ever change, objects are decoded by way of a tree.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// An object on its way: as text where a JSON text is read, else as a tree. A watch event whose type comes after the
/// object is buffered, for instance.
enum Form {
    Text(Box<RawValue>),
    Tree(Value),
}

struct AnyForm;

impl<'de> Visitor<'de> for AnyForm {
    type Value = Form;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Form, A::Error> {
        Box::<RawValue>::deserialize(MapAccessDeserializer::new(map)).map(Form::Text)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Form, D::Error> {
        Value::deserialize(deserializer).map(Form::Tree)
    }
}

/// The metadata that tells which object, and whose, a broken one is.
const IDENTITY: [&str; 6] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "ownerReferences",
    "deletionTimestamp",
];

fn identity(stub: &Value) -> ObjectMeta {
    let text = |field: &str| stub.get(field).and_then(Value::as_str).map(str::to_owned);
    let owners = stub.get("ownerReferences").cloned();
    ObjectMeta {
        name: text("name"),
        namespace: text("namespace"),
        uid: text("uid"),
        resource_version: text("resourceVersion"),
        owner_references: owners.and_then(|raw| serde_json::from_value::<Vec<OwnerReference>>(raw).ok()),
        deletion_timestamp: stub
            .get("deletionTimestamp")
            .and_then(|raw| serde_json::from_value(raw.clone()).ok()),
        ..ObjectMeta::default()
    }
}

impl<K: kube::Resource> kube::Resource for Decoded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }
    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }
    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }
    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }
    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Whole(object) => object.meta(),
            Self::Broken(broken) => &broken.meta,
        }
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Whole(object) => object.meta_mut(),
            Self::Broken(broken) => &mut broken.meta,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

/// What no controller of ours reads of any kind: `managedFields`, and kubectl's copy of the applied object
/// (never copied, DEP-26). All other annotations stay. The default of [`crate::informer::Informers::get`].
pub fn trim<K: kube::Resource>(object: &mut K) {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(wire::LAST_APPLIED);
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::Resource;
    use kube::core::WatchEvent;
    use serde_json::json;

    use super::*;

    #[test]
    fn sty_25_a_broken_object_does_not_break_its_list() {
        let list: kube::core::ObjectList<Decoded<Pod>> = serde_json::from_value(json!({
            "metadata": { "resourceVersion": "9" },
            "items": [
                { "metadata": { "name": "good", "managedFields": [{}] } },
                { "metadata": { "name": "bad", "namespace": "d", "uid": "u", "resourceVersion": "7",
                    "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs",
                                          "uid": "o", "controller": true }] },
                  "spec": { "containers": "none" } },
                { "metadata": { "name": "worse", "labels": 5 } },
                { "metadata": 5 },
            ],
        }))
        .unwrap();
        let [good, bad, worse, empty] = &list.items[..] else {
            unreachable!()
        };
        assert!(matches!(good, Decoded::Whole(pod) if pod.metadata.managed_fields.is_none()));
        assert_eq!(bad.meta().uid.as_deref(), Some("u"));
        assert_eq!(bad.meta().resource_version.as_deref(), Some("7"));
        assert_eq!(bad.meta().owner_references.as_ref().unwrap()[0].uid, "o");
        assert_eq!(worse.meta().name.as_deref(), Some("worse"));
        assert!(matches!(empty, Decoded::Broken(_)));
    }

    #[test]
    fn take_8_the_last_status_write_of_a_native_controller_survives_decoding() {
        let entry = |manager: &str, subresource: &str, time: &str| {
            json!({ "manager": manager, "subresource": subresource, "time": time, "operation": "Update",
                    "fieldsType": "FieldsV1", "fieldsV1": { "f:status": {} } })
        };
        let pod: Decoded<Pod> = serde_json::from_value(json!({ "metadata": { "name": "a", "managedFields": [
            entry("kube-controller-manager", "", "2026-01-09T00:00:00Z"),
            entry("kube-controller-manager", "status", "2026-01-02T00:00:00Z"),
            entry("kubelet", "status", "2026-01-08T00:00:00Z"),
        ]}}))
        .unwrap();
        let time = guard::native_status_write(pod.meta());
        assert_eq!(time, Some("2026-01-02T00:00:00Z".parse().unwrap()));
        let kept = pod.meta().managed_fields.as_ref().unwrap();
        assert!(kept.len() == 1 && kept[0].fields_v1.is_none(), "{kept:?}");
    }

    #[test]
    fn sty_25_watch_events_decode_in_either_field_order() {
        for line in [
            r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#,
            r#"{"object":{"metadata":{"name":"a"}},"type":"ADDED"}"#,
        ] {
            let event: WatchEvent<Decoded<Pod>> = serde_json::from_str(line).unwrap();
            assert!(matches!(event, WatchEvent::Added(Decoded::Whole(_))), "{line}");
        }
    }

    #[test]
    fn sty_80_decoding_from_text_is_decoding_by_way_of_a_tree() {
        let whole = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "a\"b\u{e9}", "labels": { "managedFields": "kept", "metadata": "kept" },
                "managedFields": [{ "manager": "x", "fieldsV1": { "f:spec": {} } },
                    { "manager": "kube-controller-manager", "subresource": "status", "operation": "Update",
                      "fieldsV1": { "f:status": {} }, "time": "2026-01-02T03:04:05Z" }],
                "uid": "u", "generation": 3 },
            "spec": { "nodeName": "n", "containers": [{ "name": "c", "resources": { "limits": { "cpu": "1" } } }],
                "unknown": { "metadata": { "managedFields": [] } } },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True",
                "lastTransitionTime": "2026-01-02T03:04:05Z" }] },
        });
        let broken = json!({ "spec": { "containers": 1 }, "metadata": { "name": "b", "uid": "v", "managedFields": [] } });
        for object in [
            whole,
            broken,
            json!({ "metadata": 5 }),
            json!({ "metadata": null }),
            json!({}),
            json!([1]),
        ] {
            let text = Decoded::<Pod>::from_text(&object.to_string());
            let tree = Decoded::<Pod>::from_tree(object);
            assert_eq!(format!("{text:?}"), format!("{tree:?}"));
        }
    }

    #[test]
    fn sty_24_trimming_keeps_the_annotations_that_controllers_read() {
        let mut pod: Pod = serde_json::from_value(json!({ "metadata": { "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "{}",
            "deployment.kubernetes.io/revision": "3",
        }}}))
        .unwrap();
        trim(&mut pod);
        let kept: Vec<_> = pod.metadata.annotations.unwrap().into_keys().collect();
        assert_eq!(kept, ["deployment.kubernetes.io/revision"]);
    }
}
