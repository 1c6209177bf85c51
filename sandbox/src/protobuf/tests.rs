use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;

/// A ConfigMap as kube-apiserver 1.36.2 sends it (managed fields left out).
const CONFIG_MAP: &[u8] = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x51\
    \x0a\x3e\x0a\x01c\x12\x00\x1a\x07default\x22\x00\x2a\x1bffa9dd56-9814-4f60-9a96-ec6\x32\x03229\x38\x00\x42\x08\x08\xab\xf5\x86\xd8\x06\x10\x00\
    \x12\x06\x0a\x01a\x12\x01b\x1a\x07\x0a\x01z\x12\x02\x00\xff\x1a\x00\x22\x00";

fn config_map() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "c", "namespace": "default", "uid": "ffa9dd56-9814-4f60-9a96-ec6",
            "resourceVersion": "229", "creationTimestamp": "2026-11-21T15:37:15Z",
        },
        "data": {"a": "b"}, "binaryData": {"z": "AP8="},
    })
}

#[test]
fn api_5_reads_and_writes_the_bytes_of_the_real_server() {
    assert_eq!(decode(CONFIG_MAP, None), Ok(config_map()));
    let encoded = encode(&config_map()).unwrap();
    assert_eq!(
        encoded.escape_ascii().to_string(),
        CONFIG_MAP.escape_ascii().to_string()
    );
}

#[rstest]
#[case::deployment(json!({
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "labels": {"a": "b"}},
    "spec": {
        "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
        "template": {"metadata": {}, "spec": {
            "containers": [{
                "name": "c", "image": "i", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"limits": {"cpu": "100m"}},
                "livenessProbe": {"httpGet": {"port": "http", "path": "/"}, "periodSeconds": 5},
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": false}}}],
            }],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "configMap": {"name": "m", "defaultMode": 420}}],
            "terminationGracePeriodSeconds": 0,
        }},
    },
    "status": {},
}))]
#[case::service(json!({
    "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
    "spec": {"ports": [{"port": 80, "targetPort": 8080}], "selector": {"a": "b"}, "clusterIPs": ["10.0.0.1"]},
    "status": {"loadBalancer": {}},
}))]
#[case::event(json!({
    "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
    "eventTime": "2026-01-02T03:04:05.678901Z", "series": {"count": 2, "lastObservedTime": "2026-01-02T03:04:05.000000Z"},
    "deprecatedSource": {}, "regarding": {"kind": "Pod"},
}))]
#[case::review(json!({
    "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {},
    "spec": {"user": "u", "groups": ["g"], "extra": {"k": ["a", "b"]}, "resourceAttributes": {"verb": "get"}},
    "status": {"allowed": true},
}))]
#[case::definition(json!({
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "as.x.io"},
    "spec": {
        "group": "x.io", "scope": "Namespaced", "names": {"plural": "as", "kind": "A"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "properties": {
                "a": {"type": "array", "items": {"type": "string", "minLength": 1, "enum": ["x", 1]}, "default": ["y"]},
                "b": {"type": "object", "additionalProperties": {"type": "integer", "maximum": 2.5}},
                "c": {"type": "object", "additionalProperties": false, "x-kubernetes-preserve-unknown-fields": true},
            },
        }}}],
    },
    "status": {"acceptedNames": {"kind": "", "plural": ""}},
}))]
#[case::revision(json!({
    "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": "r"},
    "data": {"spec": {"template": {"a": [1, 2]}}}, "revision": 3,
}))]
#[case::ephemeral(json!({
    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "managedFields": [
        {"manager": "m", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {".": {}}}},
    ]},
    "spec": {"containers": [{"name": "c", "resources": {}}], "ephemeralContainers": [
        {"name": "d", "image": "i", "targetContainerName": "c", "resources": {}},
    ], "tolerations": [{"operator": "Exists", "tolerationSeconds": -1}]},
    "status": {},
}))]
#[case::status(json!({
    "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": "m", "reason": "NotFound",
    "details": {"name": "n", "kind": "pods"}, "code": 404,
}))]
fn api_5_objects_survive_the_way_there_and_back(#[case] object: Value) {
    let encoded = encode(&object).unwrap();
    assert_eq!(decode(&encoded, None), Ok(object));
}

#[test]
fn api_5_repeated_items_and_entries_of_any_order_are_read() {
    // A later message adds to an earlier one; packed numbers; an unknown member; an entry without a value.
    let raw = b"\x0a\x03\x0a\x01n\x0a\x03\x1a\x01s\xfa\x06\x01x\x12\x03\x0a\x01k";
    let mut body = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12".to_vec();
    body.push(u8::try_from(raw.len()).unwrap());
    body.extend_from_slice(raw);
    assert_eq!(
        decode(&body, None),
        Ok(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n", "namespace": "s"}, "data": {"k": ""}})
        )
    );
}

#[rstest]
#[case::other(
    "eHl6",
    "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
)]
#[case::empty("", "empty data")]
#[case::magic("azhzAA==", "empty body")]
#[case::cut("azhzAP///w==", "unexpected EOF")]
#[case::cut_message("azhzAAoPCgJ2MRIJQ29uZmlnTWFwEgIK/w==", "unexpected EOF")]
#[case::kind(
    "azhzAAoKCgJ2MRIETm9wZRIA",
    "no kind \"Nope\" is registered for version \"v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\""
)]
#[case::wire_type(
    "azhzAAoPCgJ2MRIJQ29uZmlnTWFwEgIIAQ==",
    "proto: wrong wireType = 0 for field Metadata"
)]
fn api_38_malformed_bodies_are_errors(#[case] body: &str, #[case] want: &str) {
    let body = STANDARD.decode(body).unwrap();
    assert_eq!(decode(&body, None).unwrap_err().to_string(), want);
}

#[test]
fn api_5_events_of_a_watch_come_after_their_length() {
    assert_eq!(
        event("ADDED", b"k8s"),
        b"\0\0\0\x0e\x0a\x05ADDED\x12\x05\x0a\x03k8s"
    );
}

#[test]
fn api_5_custom_resources_have_no_protobuf_form() {
    assert_eq!(
        encode(&json!({"apiVersion": "example.com/v1", "kind": "Widget"})),
        None
    );
}

proptest! {
    #[test]
    fn api_38_any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in "Pod|ConfigMap|Service") {
        let mut body = MAGIC.to_vec();
        body.extend_from_slice(&bytes);
        let _outcome = decode(&body, None);
        let mut message = b"k8s\0\x12\xc8\x01".to_vec();
        message.extend_from_slice(&bytes);
        message.resize(207, 0x0a);
        let node = crate::schema::Types::built_in().kind("", "v1", &kind);
        let _outcome = decode(&message, node);
    }
}
