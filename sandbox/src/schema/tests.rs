use std::fmt::Write as _;

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::{table::parse, *};

/// Node at a path of member names; `*` is an element or a map value.
fn at<'a>(root: Node<'a>, path: &str) -> Option<Node<'a>> {
    path.split('.')
        .filter(|step| !step.is_empty())
        .try_fold(root, |node, step| match (step, node.shape()) {
            ("*", Shape::List { items, .. }) => Some(items),
            ("*", Shape::Map { values, .. }) => Some(values),
            _ => node.field(step),
        })
}

/// A short text for what a node is.
fn shown(node: Node<'_>) -> String {
    let mut text = String::new();
    match node.shape() {
        Shape::Scalar(scalar) => write!(text, "{scalar:?}"),
        Shape::Struct { atomic } => write!(
            text,
            "{}{}",
            if atomic { "atomic " } else { "" },
            node.definition().map_or("", |definition| definition.name)
        ),
        Shape::Map { atomic, values } => {
            write!(
                text,
                "{}map of {}",
                if atomic { "atomic " } else { "" },
                shown(values)
            )
        }
        Shape::List { list, items } => match list {
            ListType::Atomic => write!(text, "list of {}", shown(items)),
            ListType::Set => write!(text, "set of {}", shown(items)),
            ListType::Map(keys) => {
                let keys: Vec<String> = keys
                    .iter()
                    .map(|key| match &key.default {
                        Some(default) => format!("{}={default}", key.name),
                        None => key.name.to_string(),
                    })
                    .collect();
                write!(text, "map by {} of {}", keys.join(","), shown(items))
            }
        },
        Shape::Untyped => write!(text, "untyped"),
    }
    .unwrap();
    text
}

#[rstest]
#[case::containers(
    "apps/Deployment",
    "spec.template.spec.containers",
    r#"map by name="" of Container"#
)]
#[case::container_ports(
    "/Pod",
    "spec.containers.*.ports",
    r#"map by containerPort=0,protocol="TCP" of ContainerPort"#
)]
#[case::debug_ports(
    "/Pod",
    "spec.ephemeralContainers.*.ports",
    r#"map by containerPort=0,protocol="TCP" of ContainerPort"#
)]
#[case::service_ports("/Service", "spec.ports", r#"map by port=0,protocol="TCP" of ServicePort"#)]
#[case::spread(
    "/Pod",
    "spec.topologySpreadConstraints",
    r#"map by topologyKey="",whenUnsatisfiable="" of TopologySpreadConstraint"#
)]
#[case::pull_secrets(
    "/Pod",
    "spec.imagePullSecrets",
    r#"map by name="" of atomic LocalObjectReference"#
)]
#[case::claims(
    "/Pod",
    "spec.containers.*.resources.claims",
    r#"map by name="" of ResourceClaim"#
)]
#[case::pod_ips("/Pod", "status.podIPs", r#"map by ip="" of PodIP"#)]
#[case::host_ips("/Pod", "status.hostIPs", "list of HostIP")]
#[case::tolerations("/Pod", "spec.tolerations", "list of Toleration")]
#[case::args("/Pod", "spec.containers.*.args", "list of String")]
#[case::node_selector("/Pod", "spec.nodeSelector", "atomic map of String")]
#[case::requests("/Pod", "spec.containers.*.resources.requests", "map of Quantity")]
#[case::labels("/Pod", "metadata.labels", "map of String")]
#[case::finalizers("/Pod", "metadata.finalizers", "set of String")]
#[case::owners(
    "/Pod",
    "metadata.ownerReferences",
    r#"map by uid="" of atomic OwnerReference"#
)]
#[case::managers("/Pod", "metadata.managedFields", "list of ManagedFieldsEntry")]
#[case::selector("apps/Deployment", "spec.selector", "atomic LabelSelector")]
#[case::service_selector("/Service", "spec.selector", "atomic map of String")]
#[case::probe_port("/Pod", "spec.containers.*.livenessProbe.httpGet.port", "IntOrString")]
#[case::volume_source("/Pod", "spec.volumes.*.configMap.name", "String")]
#[case::reference("/Event", "involvedObject", "atomic ObjectReference")]
#[case::claim_reference("/PersistentVolume", "spec.claimRef", "ObjectReference")]
#[case::claim_reference_member("/PersistentVolume", "spec.claimRef.namespace", "String")]
#[case::addresses("/Node", "status.addresses", r#"map by type="" of NodeAddress"#)]
#[case::secret("/Secret", "data", "map of Bytes")]
#[case::event_time("/Event", "eventTime", "MicroTime")]
#[case::revision("apps/ControllerRevision", "data", "untyped")]
#[case::endpoints("discovery.k8s.io/EndpointSlice", "endpoints", "list of Endpoint")]
#[case::condition(
    "apps/Deployment",
    "status.conditions",
    r#"map by type="" of DeploymentCondition"#
)]
#[case::api_version("apps/Deployment", "apiVersion", "String")]
fn api_302_built_in_types(#[case] kind: &str, #[case] path: &str, #[case] want: &str) {
    let (group, kind) = kind.split_once('/').unwrap();
    let root = Types::built_in().kind(group, "v1", kind).unwrap();
    assert_eq!(at(root, path).map(shown).as_deref(), Some(want));
}

#[rstest]
#[case("/Pod", "spec.containers.*", "env", "merge:name")]
#[case("/Pod", "spec.containers.*", "ports", "merge:containerPort")]
#[case("/Pod", "spec", "volumes", "merge,retainKeys:name")]
#[case("/Pod", "spec", "topologySpreadConstraints", "merge:topologyKey")]
#[case("/Pod", "status", "hostIPs", "merge:ip")]
#[case("/Pod", "metadata", "finalizers", "merge")]
#[case("/Service", "spec", "ports", "merge:port")]
#[case("apps/Deployment", "spec", "strategy", "retainKeys")]
#[case("policy/PodDisruptionBudget", "spec", "selector", "replace")]
fn api_266_patch_facts(#[case] kind: &str, #[case] path: &str, #[case] member: &str, #[case] want: &str) {
    let (group, kind) = kind.split_once('/').unwrap();
    let root = Types::built_in().kind(group, "v1", kind).unwrap();
    let patch = at(root, path).unwrap().facts(member).unwrap().patch.unwrap();
    let (strategies, key) = want.split_once(':').unwrap_or((want, ""));
    assert_eq!(
        (patch.strategies, patch.merge_key.unwrap_or("")),
        (strategies, key)
    );
}

#[test]
fn api_5_numbers_of_own_and_included_members() {
    let types = Types::built_in();
    let volume = types.named("core.v1", "Volume").unwrap();
    let numbered: Vec<(&str, u32)> = volume
        .numbered()
        .map(|(field, _)| (field.name.as_ref(), field.number))
        .collect();
    assert_eq!(numbered, [("name", 1)]);
    let (number, source) = volume.included().next().unwrap();
    assert_eq!((number, source.definition().unwrap().name), (2, "VolumeSource"));
    assert!(volume.field("emptyDir").is_some() && volume.field("nope").is_none());
    let rule = types
        .named("admissionregistration.v1", "NamedRuleWithOperations")
        .unwrap();
    assert!(
        rule.field("apiGroups").is_some(),
        "an included type's included type"
    );
}

#[test]
fn api_302_every_member_has_a_type_and_a_number_of_its_own() {
    let types = Types::built_in();
    for node in types.names.values().map(|id| types.node(*id)) {
        let definition = node.definition().unwrap();
        let mut numbers: Vec<u32> = node.numbered().map(|(field, _)| field.number).collect();
        numbers.extend(node.included().map(|(number, _)| number));
        numbers.sort_unstable();
        let all = numbers.len();
        numbers.dedup();
        assert_eq!(numbers.len(), all, "{}", definition.name);
        let mut names: Vec<&str> = node.members().map(|(field, _)| field.name.as_ref()).collect();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "{}", definition.name);
    }
}

#[rstest]
#[case("  name 1 string", "line 1: member outside of a type")]
#[case("Pod", "line 1: type outside of a package")]
#[case("package a.v1 io.a", "line 1: wants: package ALIAS PREFIX GROUP/VERSION")]
#[case("package a.v1 io.a a/v1\nPod nope", "line 2: unknown word \"nope\"")]
#[case("package a.v1 io.a a/v1\nPod\nPod", "line 3: second type Pod")]
#[case(
    "package a.v1 io.a a/v1\nPod\n  a string",
    "line 3: wants: MEMBER NUMBER TYPE"
)]
#[case("package a.v1 io.a a/v1\nPod\n  a x string", "line 3: the number is not one")]
#[case(
    "package a.v1 io.a a/v1\nPod\n  a 1 strong",
    "line 3: unknown type \"strong\""
)]
#[case(
    "package a.v1 io.a a/v1\nPod\n  a 1 string oops",
    "line 3: unknown word \"oops\""
)]
#[case(
    "package a.v1 io.a a/v1\nPod\n  a 1 string atomic",
    "line 3: atomic does not apply to string"
)]
#[case(
    "package a.v1 io.a a/v1\nPod\n  a 1 int32 default(x)",
    "line 3: \"x\" is no default of int32"
)]
fn api_302_mistakes_in_the_table_are_named(#[case] text: &'static str, #[case] want: &str) {
    assert_eq!(parse(text).unwrap_err().to_string(), want);
}

fn custom() -> Types {
    Types::of_schema(&json!({
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "port": {"x-kubernetes-int-or-string": true},
                    "rules": {
                        "type": "array", "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["name", "protocol"],
                        "items": {"type": "object", "properties": {
                            "name": {"type": "string"}, "protocol": {"type": "string", "default": "TCP"},
                        }},
                    },
                    "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                    "words": {"type": "array", "items": {"type": "string"}},
                    "limits": {"type": "object", "additionalProperties": {"type": "integer"}},
                    "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "number"}}},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    "open": {
                        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                        "properties": {"known": {"type": "boolean"}},
                    },
                    "child": {"type": "object", "x-kubernetes-embedded-resource": true},
                },
            },
        },
    }))
}

#[rstest]
#[case("metadata.finalizers", Some("set of String"))]
#[case("kind", Some("String"))]
#[case("spec.port", Some("IntOrString"))]
#[case("spec.rules", Some(r#"map by name,protocol="TCP" of "#))]
#[case("spec.tags", Some("set of String"))]
#[case("spec.words", Some("list of String"))]
#[case("spec.limits", Some("map of Integer"))]
#[case("spec.whole", Some("atomic "))]
#[case("spec.free", Some("untyped"))]
#[case("spec.open.known", Some("Boolean"))]
#[case("spec.open.other", Some("untyped"))]
#[case("spec.child.metadata.labels", Some("map of String"))]
#[case("spec.child.nope", None)]
#[case("spec.nope", None)]
fn api_307_types_of_a_custom_resource(#[case] path: &str, #[case] want: Option<&str>) {
    let types = custom();
    assert_eq!(at(types.root().unwrap(), path).map(shown).as_deref(), want);
}

proptest! {
    /// Whatever stands in a definition, reading it ends, and every node has a shape.
    #[test]
    fn api_307_any_schema_is_read(text in "\\PC{0,40}", kind in "string|object|array|x") {
        let types = Types::of_schema(&json!({"type": kind, "properties": {text.clone(): {"type": kind, "items": {"type": text}}}}));
        let root = types.root().unwrap();
        prop_assert!(matches!(root.shape(), Shape::Struct { .. }), "shape is struct");
    }
}
