use rstest::rstest;

use super::*;
use crate::registry::Registry;

fn built_in(dialect: Dialect, group: &str, version: &str) -> Value {
    let kinds = Registry::default().kinds();
    document(dialect, of_version(&kinds, group, version))
}

/// Names that a document refers to and does not have.
fn dangling(document: &Value, schemas: &Value, found: &mut Vec<String>) {
    match document {
        Value::Object(members) => {
            if let Some(Value::String(target)) = members.get("$ref") {
                let name = target.rsplit('/').next().unwrap();
                if !schemas.get(name).is_some_and(Value::is_object) {
                    found.push(name.to_owned());
                }
            }
            members.values().for_each(|value| dangling(value, schemas, found));
        }
        Value::Array(items) => items.iter().for_each(|item| dangling(item, schemas, found)),
        _ => {}
    }
}

#[test]
fn api_574_every_reference_leads_somewhere() {
    let kinds = Registry::default().kinds();
    for group in std::iter::once(String::new()).chain(kinds.groups()) {
        for version in kinds.versions(&group) {
            for dialect in [Dialect::V2, Dialect::V3] {
                let document = document(dialect, of_version(&kinds, &group, &version));
                let schemas = document
                    .pointer("/components/schemas")
                    .or_else(|| document.get("definitions"))
                    .unwrap();
                let mut found = Vec::new();
                dangling(&document, schemas, &mut found);
                assert_eq!(found, Vec::<String>::new(), "{group}/{version}");
            }
        }
    }
}

#[rstest]
#[case("DeploymentSpec/required", json!(["selector", "template"]))]
#[case("DeploymentSpec/properties/replicas/format", json!("int32"))]
#[case("DeploymentSpec/properties/strategy/x-kubernetes-patch-strategy", json!("retainKeys"))]
#[case("DeploymentSpec/properties/strategy/default", json!({}))]
#[case("Deployment/x-kubernetes-group-version-kind", json!([{"group": "apps", "version": "v1", "kind": "Deployment"}]))]
#[case("DeploymentStrategy/properties/type/enum", json!(["Recreate", "RollingUpdate"]))]
fn api_574_schemas_say_what_kubectl_asks(#[case] path: &str, #[case] want: Value) {
    let document = built_in(Dialect::V3, "apps", "v1");
    let pointer = format!("/components/schemas/io.k8s.api.apps.v1.{path}");
    assert_eq!(document.pointer(&pointer), Some(&want));
}

#[test]
fn api_574_members_are_described() {
    let document = built_in(Dialect::V3, "apps", "v1");
    let schemas = document.pointer("/components/schemas").unwrap();
    let silent: Vec<String> = ["io.k8s.api.core.v1.PodSpec", "io.k8s.api.apps.v1.DeploymentSpec"]
        .iter()
        .flat_map(|name| schemas[*name]["properties"].as_object().unwrap())
        .filter(|(_, property)| property.get("description").is_none())
        .map(|(name, _)| name.clone())
        .collect();
    assert_eq!(silent, Vec::<String>::new());
}

#[test]
fn api_574_patch_takes_the_parameters_that_kubectl_needs() {
    let document = built_in(Dialect::V3, "apps", "v1");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let names: Vec<&str> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|parameter| parameter["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
}

#[test]
fn api_573_documents_are_kept_until_their_kinds_change() {
    let cache = Cache::default();
    let calls = std::cell::Cell::new(0);
    let make = || {
        calls.set(calls.get() + 1);
        Bytes::from(calls.get().to_string())
    };
    assert_eq!(cache.get("a", 1, make), "1");
    assert_eq!(cache.get("a", 1, make), "1");
    assert_eq!(cache.get("a", 2, make), "2");
}
