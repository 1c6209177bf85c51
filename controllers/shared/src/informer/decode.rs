//! Decoding that loses one object instead of a whole list (STY-25).

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{guard, wire};

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
        let mut value = Value::deserialize(deserializer)?;
        let mut stub = Value::Null;
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            // Dropped before anything is built from it: often half of the object (STY-24). What the guard needs of it
            // is next to nothing, and seldom there.
            let native = metadata
                .remove("managedFields")
                .as_ref()
                .and_then(guard::native_status_entries);
            if let Some(entries) = native {
                metadata.insert("managedFields".to_owned(), entries);
            }
            stub = IDENTITY
                .into_iter()
                .filter_map(|field| Some((field.to_owned(), metadata.get(field)?.clone())))
                .collect();
        }
        Ok(match serde_json::from_value(value) {
            Ok(object) => Self::Whole(object),
            Err(error) => Self::Broken(Box::new(Broken {
                meta: identity(&stub),
                error: error.to_string(),
            })),
        })
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
