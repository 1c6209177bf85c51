//! From the JSON of a request to what is stored: types checked, unknown members dropped, quantities and times in
//! canonical form, zero values left out where upstream's types leave them out (API-38, API-40, API-74 to API-76).
//!
//! The generated types of k8s-openapi serve as schema: an object is deserialised into its type by a deserialiser that
//! edits the JSON on the way; the typed value is thrown away.

use std::{fmt, sync::LazyLock};

use base64::Engine as _;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        admissionregistration::v1 as admissionregistration, apps::v1 as apps,
        authentication::v1 as authentication, authorization::v1 as authorization,
        autoscaling::v2 as autoscaling, batch::v1 as batch, coordination::v1 as coordination,
        core::v1 as core, discovery::v1 as discovery, events::v1 as events, networking::v1 as networking,
        node::v1 as node, policy::v1 as policy, rbac::v1 as rbac, scheduling::v1 as scheduling,
        storage::v1 as storage,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use rustc_hash::FxHashMap;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, SeqAccess,
    Visitor,
};
use serde_json::Value;

use super::{gofmt, quantity::Quantity, rule::Path, zero};
use crate::names::GroupKind;

type Read = fn(&mut Value, &mut Vec<String>) -> Result<(), DecodeError>;

/// Brings an object of a request into the form in which it is stored and returns the texts of strict decoding:
/// `unknown field "spec.nope"`, one per member that was dropped (API-39, API-40). Kinds that are not built in only
/// have their metadata checked.
///
/// # Errors
/// With the tail of the message of a 400 if a value has the wrong JSON type, or is no quantity, time or base64.
pub fn decode(gk: &GroupKind, object: &mut Value) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    let result = match TYPES.get(&(gk.group.as_ref(), gk.kind.as_ref())) {
        Some(read) => read(object, &mut unknown),
        None => match object.get_mut("metadata") {
            Some(metadata) => read_at::<ObjectMeta>(metadata, &Path::root().member("metadata"), &mut unknown),
            None => Ok(()),
        },
    };
    result.map_err(|error| error.to_string())?;
    if gk.group.is_empty() && gk.kind == "Secret" {
        merge_string_data(object);
    }
    Ok(unknown)
}

fn read<T: DeserializeOwned>(object: &mut Value, unknown: &mut Vec<String>) -> Result<(), DecodeError> {
    read_at::<T>(object, &Path::root(), unknown)
}

fn read_at<T: DeserializeOwned>(
    value: &mut Value,
    path: &Path<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), DecodeError> {
    T::deserialize(Editor {
        value,
        path,
        unknown,
        inside: Inside::Plain,
    })
    .map(drop)
}

/// `stringData` becomes base64 in `data` and is never stored (API-77).
fn merge_string_data(secret: &mut Value) {
    let Some(secret) = secret.as_object_mut() else {
        return;
    };
    let Some(Value::Object(plain)) = secret.remove("stringData") else {
        return;
    };
    let data = secret
        .entry("data")
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
    for (key, text) in plain {
        let encoded = base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap_or_default());
        if let Some(data) = data.as_object_mut() {
            data.insert(key, Value::String(encoded));
        }
    }
}

static TYPES: LazyLock<FxHashMap<(&'static str, &'static str), Read>> = LazyLock::new(|| {
    let rows: &[(&str, &str, Read)] = &[
        ("", "ConfigMap", read::<core::ConfigMap>),
        ("", "Endpoints", read::<core::Endpoints>),
        ("", "Event", read::<core::Event>),
        ("", "LimitRange", read::<core::LimitRange>),
        ("", "Namespace", read::<core::Namespace>),
        ("", "Node", read::<core::Node>),
        ("", "PersistentVolume", read::<core::PersistentVolume>),
        ("", "PersistentVolumeClaim", read::<core::PersistentVolumeClaim>),
        ("", "Pod", read::<core::Pod>),
        ("", "PodTemplate", read::<core::PodTemplate>),
        ("", "ReplicationController", read::<core::ReplicationController>),
        ("", "ResourceQuota", read::<core::ResourceQuota>),
        ("", "Secret", read::<core::Secret>),
        ("", "Service", read::<core::Service>),
        ("", "ServiceAccount", read::<core::ServiceAccount>),
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration",
            read::<admissionregistration::MutatingWebhookConfiguration>,
        ),
        (
            "admissionregistration.k8s.io",
            "ValidatingWebhookConfiguration",
            read::<admissionregistration::ValidatingWebhookConfiguration>,
        ),
        (
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            read::<apiextensions::CustomResourceDefinition>,
        ),
        ("apps", "ControllerRevision", read::<apps::ControllerRevision>),
        ("apps", "DaemonSet", read::<apps::DaemonSet>),
        ("apps", "Deployment", read::<apps::Deployment>),
        ("apps", "ReplicaSet", read::<apps::ReplicaSet>),
        ("apps", "StatefulSet", read::<apps::StatefulSet>),
        (
            "autoscaling",
            "HorizontalPodAutoscaler",
            read::<autoscaling::HorizontalPodAutoscaler>,
        ),
        (
            "autoscaling",
            "Scale",
            read::<k8s_openapi::api::autoscaling::v1::Scale>,
        ),
        ("batch", "CronJob", read::<batch::CronJob>),
        ("batch", "Job", read::<batch::Job>),
        ("coordination.k8s.io", "Lease", read::<coordination::Lease>),
        (
            "discovery.k8s.io",
            "EndpointSlice",
            read::<discovery::EndpointSlice>,
        ),
        ("events.k8s.io", "Event", read::<events::Event>),
        ("networking.k8s.io", "Ingress", read::<networking::Ingress>),
        (
            "networking.k8s.io",
            "IngressClass",
            read::<networking::IngressClass>,
        ),
        (
            "networking.k8s.io",
            "NetworkPolicy",
            read::<networking::NetworkPolicy>,
        ),
        ("node.k8s.io", "RuntimeClass", read::<node::RuntimeClass>),
        (
            "policy",
            "PodDisruptionBudget",
            read::<policy::PodDisruptionBudget>,
        ),
        (
            "authentication.k8s.io",
            "SelfSubjectReview",
            read::<authentication::SelfSubjectReview>,
        ),
        (
            "authentication.k8s.io",
            "TokenRequest",
            read::<authentication::TokenRequest>,
        ),
        (
            "authentication.k8s.io",
            "TokenReview",
            read::<authentication::TokenReview>,
        ),
        (
            "authorization.k8s.io",
            "LocalSubjectAccessReview",
            read::<authorization::LocalSubjectAccessReview>,
        ),
        (
            "authorization.k8s.io",
            "SelfSubjectAccessReview",
            read::<authorization::SelfSubjectAccessReview>,
        ),
        (
            "authorization.k8s.io",
            "SelfSubjectRulesReview",
            read::<authorization::SelfSubjectRulesReview>,
        ),
        (
            "authorization.k8s.io",
            "SubjectAccessReview",
            read::<authorization::SubjectAccessReview>,
        ),
        (
            "rbac.authorization.k8s.io",
            "ClusterRole",
            read::<rbac::ClusterRole>,
        ),
        (
            "rbac.authorization.k8s.io",
            "ClusterRoleBinding",
            read::<rbac::ClusterRoleBinding>,
        ),
        ("rbac.authorization.k8s.io", "Role", read::<rbac::Role>),
        (
            "rbac.authorization.k8s.io",
            "RoleBinding",
            read::<rbac::RoleBinding>,
        ),
        (
            "scheduling.k8s.io",
            "PriorityClass",
            read::<scheduling::PriorityClass>,
        ),
        ("storage.k8s.io", "CSIDriver", read::<storage::CSIDriver>),
        ("storage.k8s.io", "CSINode", read::<storage::CSINode>),
        ("storage.k8s.io", "StorageClass", read::<storage::StorageClass>),
        (
            "storage.k8s.io",
            "VolumeAttachment",
            read::<storage::VolumeAttachment>,
        ),
    ];
    rows.iter()
        .map(|(group, kind, read)| ((*group, *kind), *read))
        .collect()
});

/// Why an object does not decode. Displays as the tail of the 400 message.
#[derive(Debug)]
struct DecodeError {
    /// Where, for errors that do not say it themselves.
    path: Option<String>,
    message: String,
}

impl DecodeError {
    fn exact(message: impl fmt::Display) -> Self {
        Self {
            path: Some(String::new()),
            message: message.to_string(),
        }
    }

    fn at(mut self, path: &Path<'_>) -> Self {
        self.path.get_or_insert_with(|| path.to_string());
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_deref() {
            None | Some("") => f.write_str(&self.message),
            Some(path) => write!(f, "{path}: {}", self.message),
        }
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            path: None,
            message: message.to_string(),
        }
    }
}

/// The newtype that a scalar is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Plain,
    /// The value has been checked and is canonical.
    Checked,
}

/// Deserialises one value and brings it into the stored form on the way.
struct Editor<'a> {
    value: &'a mut Value,
    path: &'a Path<'a>,
    unknown: &'a mut Vec<String>,
    inside: Inside,
}

impl Editor<'_> {
    fn wrong_type(&self, wanted: &str) -> DecodeError {
        let found = match &*self.value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        DecodeError {
            path: Some(self.path.to_string()),
            message: format!("found {found}, wanted {wanted}"),
        }
    }
}

/// Timestamp of a `Time` (whole seconds) or `MicroTime` (exactly six decimals, API-75).
fn canonical_time(text: &str, micro: bool) -> Result<String, DecodeError> {
    let unreadable = || {
        DecodeError::exact(format!(
            "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse"
        ))
    };
    if micro {
        let decimals = text
            .split_once('.')
            .map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        if decimals != 6 {
            let layout = "2006-01-02T15:04:05.000000Z07:00";
            return Err(DecodeError::exact(format!(
                "parsing time {text:?} as {layout:?}: cannot parse"
            )));
        }
    }
    let is_shaped = text.as_bytes().get(10).is_some_and(|c| *c == b'T');
    let time: Timestamp = text.parse().ok().filter(|_| is_shaped).ok_or_else(unreadable)?;
    Ok(format_time(time, micro))
}

/// RFC 3339 in UTC with six decimals or none.
fn format_time(time: Timestamp, micro: bool) -> String {
    let pattern = if micro {
        "%Y-%m-%dT%H:%M:%S%.6fZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    time.strftime(pattern).to_string()
}

/// Position at which a base64 text stops being one.
fn base64_error(text: &str) -> Option<usize> {
    let engine = &base64::engine::general_purpose::STANDARD;
    match engine.decode(text) {
        Ok(_) => None,
        Err(base64::DecodeError::InvalidByte(offset, found)) if found != b'=' => Some(offset),
        Err(_) => Some(text.trim_end_matches('=').len() / 4 * 4),
    }
}

macro_rules! scalars {
    ($($method:ident $wanted:literal $zero:expr),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            if self.value.is_null() {
                *self.value = Value::from($zero);
            }
            match &*self.value {
                Value::Bool(value) => visitor.visit_bool(*value),
                Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                    (Some(number), _, _) => visitor.visit_i64(number),
                    (_, Some(number), _) => visitor.visit_u64(number),
                    (_, _, Some(number)) => visitor.visit_f64(number),
                    _ => return Err(self.wrong_type($wanted)),
                },
                _ => return Err(self.wrong_type($wanted)),
            }
            .map_err(|error: DecodeError| error.at(self.path))
        })*
    };
}

impl<'de> Deserializer<'de> for Editor<'_> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let Self {
            value, path, unknown, ..
        } = self;
        match value {
            Value::Null => visitor.visit_unit(),
            Value::String(text) => visitor.visit_str(text),
            Value::Array(items) => visitor.visit_seq(Items {
                left: items.iter_mut(),
                index: 0,
                path,
                unknown,
            }),
            Value::Object(members) => visitor.visit_map(Members {
                left: members.iter_mut(),
                next: None,
                path,
                unknown,
            }),
            scalar => {
                return Editor {
                    value: scalar,
                    path,
                    unknown,
                    inside: Inside::Plain,
                }
                .deserialize_i64(visitor);
            }
        }
        .map_err(|error: DecodeError| error.at(path))
    }

    scalars! {
        deserialize_bool "bool" false,
        deserialize_i8 "number" 0, deserialize_i16 "number" 0, deserialize_i32 "number" 0, deserialize_i64 "number" 0,
        deserialize_u8 "number" 0, deserialize_u16 "number" 0, deserialize_u32 "number" 0, deserialize_u64 "number" 0,
        deserialize_f32 "number" 0, deserialize_f64 "number" 0,
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.value.is_null() {
            *self.value = Value::String(String::new()); // null in a list or map of strings (API-303)
        }
        match &*self.value {
            Value::String(text) => visitor
                .visit_str(text)
                .map_err(|error: DecodeError| error.at(self.path)),
            _ => Err(self.wrong_type("string")),
        }
    }

    /// Strings that stand for something else: base64, unless a newtype has checked the value already.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.inside == Inside::Plain
            && let Some(offset) = self.value.as_str().and_then(base64_error)
        {
            return Err(DecodeError::exact(format!(
                "illegal base64 data at input byte {offset}"
            )));
        }
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.value.is_null() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match (name, &*self.value) {
            ("Quantity", Value::String(_) | Value::Number(_) | Value::Null) => {
                let text = match &*self.value {
                    Value::String(text) => text.clone(),
                    Value::Null => "0".to_owned(),
                    number => number.to_string(),
                };
                let quantity: Quantity = text.parse().map_err(DecodeError::exact)?;
                *self.value = Value::String(quantity.to_string());
                self.inside = Inside::Checked;
            }
            ("Time" | "MicroTime", Value::String(text)) => {
                *self.value = Value::String(canonical_time(text, name == "MicroTime")?);
                self.inside = Inside::Checked;
            }
            _ => {}
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.value.is_null() {
            return visitor.visit_seq(Items {
                left: [].iter_mut(),
                index: 0,
                path: self.path,
                unknown: self.unknown,
            });
        }
        let Self {
            value, path, unknown, ..
        } = self;
        let Value::Array(items) = value else {
            return Err(Editor {
                value,
                path,
                unknown,
                inside: Inside::Plain,
            }
            .wrong_type("array"));
        };
        let read = visitor.visit_seq(Items {
            left: items.iter_mut(),
            index: 0,
            path,
            unknown,
        })?;
        if items.is_empty() {
            *value = Value::Null; // the type around it drops it
        }
        Ok(read)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let Self {
            value, path, unknown, ..
        } = self;
        if value.is_null() {
            *value = Value::Object(serde_json::Map::new());
        }
        let Value::Object(members) = value else {
            return Err(Editor {
                value,
                path,
                unknown,
                inside: Inside::Plain,
            }
            .wrong_type("object"));
        };
        let read = visitor.visit_map(Members {
            left: members.iter_mut(),
            next: None,
            path,
            unknown,
        })?;
        if members.is_empty() {
            *value = Value::Null;
        }
        Ok(read)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let Self {
            value, path, unknown, ..
        } = self;
        if value.is_null() {
            *value = Value::Object(serde_json::Map::new());
        }
        let Value::Object(members) = value else {
            return Err(Editor {
                value,
                path,
                unknown,
                inside: Inside::Plain,
            }
            .wrong_type("object"));
        };
        members.retain(|member, value| {
            let known = fields.contains(&member.as_str());
            if !known {
                let place = path.member(member).to_string();
                unknown.push(format!("unknown field {}", gofmt::quote(&place)));
            }
            known && !value.is_null()
        });
        let read = visitor.visit_map(Members {
            left: members.iter_mut(),
            next: None,
            path,
            unknown,
        })?;
        let rules = zero::rules(name);
        members.retain(|member, value| zero::is_kept(rules, member, value));
        Ok(read)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

struct Items<'a> {
    left: std::slice::IterMut<'a, Value>,
    index: usize,
    path: &'a Path<'a>,
    unknown: &'a mut Vec<String>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(value) = self.left.next() else {
            return Ok(None);
        };
        let path = self.path.item(self.index);
        self.index += 1;
        seed.deserialize(Editor {
            value,
            path: &path,
            unknown: self.unknown,
            inside: Inside::Plain,
        })
        .map(Some)
    }
}

struct Members<'a> {
    left: serde_json::map::IterMut<'a>,
    next: Option<(&'a String, &'a mut Value)>,
    path: &'a Path<'a>,
    unknown: &'a mut Vec<String>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some((name, value)) = self.left.next() else {
            return Ok(None);
        };
        self.next = Some((name, value));
        seed.deserialize(name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, DecodeError> {
        let Some((name, value)) = self.next.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let path = self.path.member(name);
        seed.deserialize(Editor {
            value,
            path: &path,
            unknown: self.unknown,
            inside: Inside::Plain,
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn decoded(
        group: &'static str,
        kind: &'static str,
        mut object: Value,
    ) -> Result<(Value, Vec<String>), String> {
        let unknown = decode(&GroupKind::new(group, kind), &mut object)?;
        Ok((object, unknown))
    }

    #[test]
    fn api_40_unknown_fields_are_dropped_and_named() {
        let pod = json!({"nope": 1, "spec": {"containers": [{"name": "c", "Image": "i"}]}});
        let (pod, unknown) = decoded("", "Pod", pod).unwrap();
        assert_eq!(pod, json!({"spec": {"containers": [{"name": "c"}]}}));
        assert_eq!(
            unknown,
            [
                "unknown field \"nope\"",
                "unknown field \"spec.containers[0].Image\""
            ]
        );
    }

    #[test]
    fn api_74_zero_values_are_left_out_where_they_mean_nothing() {
        let deployment = json!({
            "metadata": {"labels": {}, "annotations": {"a": ""}, "finalizers": []},
            "spec": {"replicas": 0, "paused": false, "minReadySeconds": 0, "selector": {}, "template": {"spec": {
                "hostNetwork": false, "nodeSelector": {}, "securityContext": {},
                "containers": [{"name": "c", "resources": {"limits": {}}, "env": [{"name": "A", "value": ""}], "args": null}],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/x", "type": ""}}]}}},
            "status": {"replicas": 0, "collisionCount": 0},
        });
        let want = json!({
            "metadata": {"annotations": {"a": ""}},
            "spec": {"replicas": 0, "selector": {}, "template": {"spec": {
                "securityContext": {},
                "containers": [{"name": "c", "resources": {}, "env": [{"name": "A"}]}],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "h", "hostPath": {"path": "/x", "type": ""}}]}}},
            "status": {"collisionCount": 0},
        });
        assert_eq!(decoded("apps", "Deployment", deployment), Ok((want, vec![])));
    }

    #[test]
    fn api_76_quantities_become_canonical() {
        let pod = json!({"spec": {"containers": [{"name": "c", "resources": {
            "requests": {"cpu": 0.5, "memory": "1000000", "ephemeral-storage": "1.5Gi"}, "limits": {"cpu": 2}}}]}});
        let (pod, _) = decoded("", "Pod", pod).unwrap();
        assert_eq!(
            pod["spec"]["containers"][0]["resources"],
            json!({"requests": {"cpu": "500m", "memory": "1M", "ephemeral-storage": "1536Mi"}, "limits": {"cpu": "2"}})
        );
        let bad =
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1e3m"}}}]}});
        assert_eq!(
            decoded("", "Pod", bad),
            Err(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                    .into()
            )
        );
    }

    #[rstest]
    #[case("2024-01-01T02:00:00.500000+02:00", Some("2024-01-01T00:00:00.500000Z"))]
    #[case("2024-01-01T00:00:00.123456Z", Some("2024-01-01T00:00:00.123456Z"))]
    #[case("2024-01-01T00:00:00Z", None)]
    #[case("2024-01-01T02:00:00.5+02:00", None)]
    #[case("2024-01-01T00:00:00.123456789Z", None)]
    fn api_75_micro_times_have_six_decimals(#[case] text: &str, #[case] want: Option<&str>) {
        let lease = decoded(
            "coordination.k8s.io",
            "Lease",
            json!({"spec": {"renewTime": text}}),
        );
        assert_eq!(
            lease.ok().map(|(lease, _)| lease["spec"]["renewTime"].clone()),
            want.map(Value::from)
        );
    }

    #[rstest]
    #[case("2024-01-01T00:00:00Z", Some("2024-01-01T00:00:00Z"))]
    #[case("2024-01-01T02:00:00.75+02:00", Some("2024-01-01T00:00:00Z"))]
    #[case("yesterday", None)]
    #[case("2024-01-01", None)]
    fn api_75_times_have_whole_seconds(#[case] text: &str, #[case] want: Option<&str>) {
        let event = decoded("", "Event", json!({"firstTimestamp": text}));
        assert_eq!(
            event.ok().map(|(event, _)| event["firstTimestamp"].clone()),
            want.map(Value::from)
        );
    }

    #[test]
    fn api_77_string_data_is_merged_into_data() {
        let secret = json!({"stringData": {"a": "hello"}, "data": {"b": "aGk="}});
        let (secret, _) = decoded("", "Secret", secret).unwrap();
        assert_eq!(secret, json!({"data": {"a": "aGVsbG8=", "b": "aGk="}}));
    }

    #[rstest]
    #[case("%%%", 0)]
    #[case("e", 0)]
    #[case("aGkh aGkh", 4)]
    fn api_38_bad_base64(#[case] text: &str, #[case] offset: usize) {
        let secret = decoded("", "Secret", json!({"data": {"b": text}}));
        assert_eq!(secret, Err(format!("illegal base64 data at input byte {offset}")));
    }

    #[rstest]
    #[case(json!({"spec": {"containers": "x"}}))]
    #[case(json!({"spec": {"containers": [{"name": 5}]}}))]
    #[case(json!({"spec": {"terminationGracePeriodSeconds": "30"}}))]
    #[case(json!({"spec": {"activeDeadlineSeconds": 1.5}}))]
    #[case(json!({"metadata": {"labels": {"a": 1}}}))]
    fn api_38_wrong_types(#[case] pod: Value) {
        assert!(decoded("", "Pod", pod).is_err());
    }

    #[test]
    fn api_303_null_in_a_string_map_is_the_empty_string() {
        let (map, _) = decoded("", "ConfigMap", json!({"data": {"a": null}})).unwrap();
        assert_eq!(map, json!({"data": {"a": ""}}));
    }
}
