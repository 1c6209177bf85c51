//! Strategic merge patch (API-266 to API-270): maps merge, lists with a merge key merge by it, and directives say what
//! plain JSON cannot.

use serde_json::{Map, Value};

use super::{
    PatchError,
    merge_keys::{self, Strategy},
};
use crate::{
    schema::Node,
    validate::{gofmt, show_map},
};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

type Object = Map<String, Value>;

/// `root` is the type of the object.
pub(super) fn apply(root: Option<Node<'_>>, current: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(PatchError::Malformed("the patch has to be an object".into()));
    };
    maps(root, current.clone(), patch.clone()).map(Value::Object)
}

fn fault(message: impl Into<String>) -> PatchError {
    PatchError::Strategic(message.into())
}

/// `node` is the type of `original`.
fn maps(node: Option<Node<'_>>, mut original: Object, mut patch: Object) -> Result<Object, PatchError> {
    match patch.get(DIRECTIVE).map(|directive| directive.as_str()) {
        None => {}
        Some(Some("replace")) => {
            patch.remove(DIRECTIVE);
            return Ok(patch);
        }
        Some(Some("delete")) => return Ok(Object::new()),
        Some(_) => return Err(unknown_directive(&Value::Object(patch))),
    }
    if patch.contains_key(ELEMENT_ORDER.trim_end_matches('/')) {
        return Err(PatchError::Directive("setElementOrder list"));
    }
    retain_keys(&mut original, &mut patch)?;
    ordered_lists(node, &mut original, &mut patch)?;
    for (name, value) in patch {
        let (name, deletes) = match name.strip_prefix(DELETE_FROM) {
            Some(list) => (list.to_owned(), true),
            None => (name, false),
        };
        let merged = match (original.remove(&name), value) {
            (_, Value::Null) => None,
            (None, value) => without_directives(value).filter(|_| !deletes),
            (Some(Value::Object(old)), Value::Object(new)) => {
                if merge_keys::replaces_map(node, &name) {
                    Some(Value::Object(new))
                } else {
                    Some(Value::Object(maps(merge_keys::below(node, &name), old, new)?))
                }
            }
            (Some(Value::Array(old)), Value::Array(new)) if deletes => Some(Value::Array(
                old.into_iter().filter(|item| !new.contains(item)).collect(),
            )),
            (Some(Value::Array(old)), Value::Array(new)) => {
                let strategy = merge_keys::of_list(node, &name);
                Some(Value::Array(lists(
                    merge_keys::below(node, &name),
                    strategy,
                    old,
                    new,
                )?))
            }
            (Some(old), _) if deletes => Some(old),
            (Some(_), value) => without_directives(value),
        };
        if let Some(merged) = merged {
            original.insert(name, merged);
        }
    }
    Ok(original)
}

/// Merges the lists that have a `$setElementOrder` and takes them out of the patch.
fn ordered_lists(
    node: Option<Node<'_>>,
    original: &mut Object,
    patch: &mut Object,
) -> Result<(), PatchError> {
    let names: Vec<String> = patch
        .keys()
        .filter_map(|name| name.strip_prefix(ELEMENT_ORDER))
        .map(str::to_owned)
        .collect();
    for name in names {
        let order = match patch.remove(&format!("{ELEMENT_ORDER}{name}")) {
            Some(Value::Array(order)) => order,
            other => {
                return Err(fault(format!(
                    "expected a []interface {{}}, but received a {}",
                    type_name(&other.unwrap_or_default())
                )));
            }
        };
        if node.is_some_and(|node| node.field(&name).is_none()) {
            return Err(fault(format!(
                "unable to find api field for the json field {}",
                gofmt::quote(&name)
            )));
        }
        let strategy = merge_keys::of_list(node, &name);
        if let Strategy::MergeBy(key) = strategy {
            for (index, item) in order.iter().enumerate() {
                if !item.is_object() {
                    return Err(fault(format!("value for key {index} is not a map")));
                }
                key_of(item, key)?;
            }
        }
        let changes = match patch.remove(&name) {
            Some(Value::Array(changes)) => Some(changes),
            Some(other) => {
                patch.insert(name, other);
                continue;
            }
            None => None,
        };
        if let Some(changes) = &changes {
            check_order(strategy, changes, &order)?;
        }
        let old = match original.remove(&name) {
            Some(Value::Array(old)) => Some(old),
            _ => None,
        };
        let merged = match (&old, changes) {
            (Some(old), Some(changes)) => {
                lists(merge_keys::below(node, &name), strategy, old.clone(), changes)?
            }
            (Some(old), None) => old.clone(),
            (None, Some(changes)) => match without_directives(Value::Array(changes)) {
                Some(Value::Array(changes)) => changes,
                _ => continue,
            },
            (None, None) => continue,
        };
        let merged = arrange(strategy, merged, &order, &old.unwrap_or_default());
        original.insert(name, Value::Array(merged));
    }
    Ok(())
}

/// `items` is the type of the elements.
fn lists(
    items: Option<Node<'_>>,
    strategy: Strategy,
    original: Vec<Value>,
    patch: Vec<Value>,
) -> Result<Vec<Value>, PatchError> {
    match strategy {
        Strategy::Replace => match without_directives(Value::Array(patch)) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        },
        Strategy::MergeSet => {
            let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
            for item in original.iter().chain(&patch) {
                if !merged.contains(item) {
                    merged.push(item.clone());
                }
            }
            Ok(arrange(strategy, merged, &patch, &original))
        }
        Strategy::MergeBy(key) => lists_by(items, key, original, patch),
    }
}

fn lists_by(
    items: Option<Node<'_>>,
    key: &'static str,
    mut original: Vec<Value>,
    patch: Vec<Value>,
) -> Result<Vec<Value>, PatchError> {
    if !patch.iter().all(Value::is_object) {
        let show = |list: &[Value]| show_map(&Value::Array(list.to_vec()));
        return Err(fault(format!(
            "list element types are not identical: [{} {}]",
            show(&original),
            show(&patch)
        )));
    }
    let mut changes = Vec::with_capacity(patch.len());
    let mut replaces = false;
    for item in patch {
        match item.get(DIRECTIVE).map(|directive| directive.as_str()) {
            None => changes.push(item),
            Some(Some("delete")) => {
                let value = key_of(&item, key)?;
                original.retain(|old| old.get(key) != Some(value));
            }
            Some(Some("replace")) => replaces = true,
            Some(Some("merge")) => {
                return Err(fault("merging lists cannot yet be specified in the patch"));
            }
            Some(_) => return Err(unknown_directive(&item)),
        }
    }
    if replaces {
        return Ok(changes);
    }
    let mut merged = original.clone();
    for change in &changes {
        let value = key_of(change, key)?;
        let at = merged.iter().position(|old| old.get(key) == Some(value));
        match (at.and_then(|at| merged.get_mut(at)), change) {
            (Some(slot), Value::Object(change)) => {
                let old = match slot.take() {
                    Value::Object(old) => old,
                    _ => Object::new(),
                };
                *slot = Value::Object(maps(items, old, change.clone())?);
            }
            _ => merged.extend(without_directives(change.clone())),
        }
    }
    Ok(arrange(Strategy::MergeBy(key), merged, &changes, &original))
}

/// `map` has a `$patch` that is none of the known ones.
fn unknown_directive(map: &Value) -> PatchError {
    let directive = map.get(DIRECTIVE).unwrap_or(&Value::Null);
    let shown = match directive {
        Value::String(_) | Value::Array(_) | Value::Object(_) => show_map(directive),
        Value::Null => "%!s(<nil>)".to_owned(),
        other => format!("%!s({}={other})", type_name(other)),
    };
    fault(format!("unknown patch type: {shown} in map: {}", show_map(map)))
}

/// The type of a value in upstream's language, as its messages print it.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn key_of<'a>(item: &'a Value, key: &str) -> Result<&'a Value, PatchError> {
    item.get(key).ok_or_else(|| {
        fault(format!(
            "map: {} does not contain declared merge key: {key}",
            show_map(item)
        ))
    })
}

/// `$retainKeys`: members that it does not name go; the patch may set no other.
fn retain_keys(original: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let malformed = || PatchError::Directive("retainKeys");
    let retained: Vec<&str> = retained
        .as_array()
        .ok_or_else(malformed)?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let is_retained = |name: &str| name.starts_with('$') || retained.contains(&name);
    if patch
        .iter()
        .any(|(name, value)| !value.is_null() && !is_retained(name))
    {
        return Err(malformed());
    }
    original.retain(|name, _| is_retained(name));
    Ok(())
}

/// A value that has nothing to merge with: directives and nulls go; `None` if it is deleted as a whole.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(members) => {
            if members
                .get(DIRECTIVE)
                .is_some_and(|directive| directive == "delete")
            {
                return None;
            }
            let kept = members
                .into_iter()
                .filter(|(name, _)| {
                    !(name == DIRECTIVE
                        || name == RETAIN_KEYS
                        || name.starts_with(DELETE_FROM)
                        || name.starts_with(ELEMENT_ORDER))
                })
                .filter_map(|(name, value)| without_directives(value).map(|value| (name, value)))
                .collect();
            Some(Value::Object(kept))
        }
        Value::Array(items) => {
            let is_marker = |item: &Value| {
                item.as_object()
                    .is_some_and(|members| members.len() == 1 && members.contains_key(DIRECTIVE))
            };
            let kept = items
                .into_iter()
                .filter(|item| !is_marker(item))
                .filter_map(without_directives)
                .collect();
            Some(Value::Array(kept))
        }
        scalar => Some(scalar),
    }
}

fn identity(strategy: Strategy, item: &Value) -> Option<&Value> {
    match strategy {
        Strategy::MergeBy(key) => item.get(key),
        Strategy::MergeSet | Strategy::Replace => Some(item),
    }
}

fn position(strategy: Strategy, list: &[Value], item: &Value) -> Option<usize> {
    let wanted = identity(strategy, item)?;
    list.iter()
        .position(|other| identity(strategy, other) == Some(wanted))
}

/// Elements that `order` names, in its order, with the others between them: each before the first that followed it in
/// `before`; what was not in `before` stands as far in front as `order` allows (API-267).
fn arrange(strategy: Strategy, items: Vec<Value>, order: &[Value], before: &[Value]) -> Vec<Value> {
    let (mut named, mut others): (Vec<Value>, Vec<Value>) = items
        .into_iter()
        .partition(|item| position(strategy, order, item).is_some());
    named.sort_by_key(|item| position(strategy, order, item));
    others.sort_by_key(|item| position(strategy, before, item));
    let mut arranged = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in named {
        let here = position(strategy, before, &item);
        while let Some(other) = others.next_if(|other| match (position(strategy, before, other), here) {
            (Some(other), Some(here)) => other < here,
            _ => false,
        }) {
            arranged.push(other);
        }
        arranged.push(item);
    }
    arranged.extend(others);
    arranged
}

/// `$setElementOrder` has to name the elements of the patch, in the same order.
fn check_order(strategy: Strategy, changes: &[Value], order: &[Value]) -> Result<(), PatchError> {
    let mut left = order.iter();
    for change in changes.iter().filter(|change| change.get(DIRECTIVE).is_none()) {
        if let Strategy::MergeBy(key) = strategy {
            key_of(change, key)?;
        }
        let wanted = identity(strategy, change);
        if !left.by_ref().any(|item| identity(strategy, item) == wanted) {
            let show = |list: &[Value]| show_map(&Value::Array(list.to_vec()));
            return Err(fault(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                show(changes),
                show(order)
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::Types;

    fn deployment(pod_spec: &Value) -> Value {
        json!({"spec": {"template": {"spec": pod_spec}}})
    }

    fn containers() -> Value {
        json!([
            {"name": "c1", "image": "i:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
             "ports": [{"containerPort": 80}, {"containerPort": 81, "name": "x"}]},
            {"name": "c2", "image": "i:2"},
        ])
    }

    fn root(group: &str, version: &str, kind: &str) -> Option<Node<'static>> {
        Types::built_in().kind(group, version, kind)
    }

    /// The pod spec after a patch to the pod template of a Deployment.
    fn patched(pod_spec: &Value, patch: &Value) -> Result<Value, PatchError> {
        let resource = root("apps", "v1", "Deployment");
        let object = apply(resource, &deployment(pod_spec), &deployment(patch))?;
        Ok(object["spec"]["template"]["spec"].clone())
    }

    fn patched_containers(patch: &Value) -> Result<Value, PatchError> {
        patched(&json!({"containers": containers()}), patch).map(|spec| spec["containers"].clone())
    }

    fn names(list: &Value) -> String {
        let name = |item: &Value| item["name"].as_str().unwrap_or("-").to_owned();
        list.as_array()
            .unwrap()
            .iter()
            .map(name)
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn metadata(patch: &Value, old: &Value) -> Value {
        let resource = root("", "v1", "ConfigMap");
        apply(resource, &json!({"metadata": old}), &json!({"metadata": patch})).unwrap()["metadata"].clone()
    }

    #[test]
    fn api_266_containers_merge_by_name() {
        let merged = patched_containers(&json!({"containers": [{"name": "c1", "image": "i:9"}]})).unwrap();
        let mut want = containers();
        want[0]["image"] = "i:9".into();
        assert_eq!(merged, want);
    }

    #[test]
    fn api_266_ports_of_containers_merge_by_container_port() {
        let patch = json!({"containers": [{"name": "c1", "ports": [{"containerPort": 81, "name": "y"}, {"containerPort": 82}]}]});
        let want = json!([{"containerPort": 80}, {"containerPort": 81, "name": "y"}, {"containerPort": 82}]);
        assert_eq!(patched_containers(&patch).unwrap()[0]["ports"], want);
    }

    #[test]
    fn api_266_ports_of_services_merge_by_port() {
        let resource = root("", "v1", "Service");
        let service = json!({"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}});
        let patch = json!({"spec": {"ports": [{"port": 81, "targetPort": 8081}, {"port": 82, "name": "c"}]}});
        assert_eq!(
            apply(resource, &service, &patch),
            Ok(json!({"spec": {"ports": [
                {"name": "a", "port": 80}, {"name": "b", "port": 81, "targetPort": 8081}, {"name": "c", "port": 82}]}}))
        );
    }

    #[test]
    fn api_266_lists_without_key_are_replaced() {
        let resource = root("networking.k8s.io", "v1", "Ingress");
        let ingress = json!({"spec": {"rules": [{"host": "a.example"}, {"host": "b.example"}]}});
        let patch = json!({"spec": {"rules": [{"host": "c.example"}]}});
        assert_eq!(apply(resource, &ingress, &patch), Ok(patch));
    }

    #[test]
    fn api_266_pull_secrets_of_service_accounts_are_replaced_secrets_merge() {
        let resource = root("", "v1", "ServiceAccount");
        let account = json!({"imagePullSecrets": [{"name": "a"}], "secrets": [{"name": "x"}]});
        let patch = json!({"imagePullSecrets": [{"name": "b"}], "secrets": [{"name": "y"}]});
        let want = json!({"imagePullSecrets": [{"name": "b"}], "secrets": [{"name": "y"}, {"name": "x"}]});
        assert_eq!(apply(resource, &account, &patch), Ok(want));
    }

    #[test]
    fn api_266_null_deletes_and_is_dropped_where_there_is_nothing() {
        let spec = json!({"hostname": "x", "nodeSelector": {"a": "b"}});
        let patch = json!({"hostname": null, "nodeSelector": {"a": null}, "dnsConfig": {"options": null}});
        assert_eq!(
            patched(&spec, &patch),
            Ok(json!({"nodeSelector": {}, "dnsConfig": {}}))
        );
    }

    #[test]
    fn api_267_new_elements_come_first() {
        let merged = patched_containers(&json!({"containers": [{"name": "c0", "image": "i:0"}]})).unwrap();
        assert_eq!(names(&merged), "c0 c1 c2");
        let patch =
            json!({"containers": [{"name": "c1", "env": [{"name": "A", "value": "9"}, {"name": "C"}]}]});
        assert_eq!(names(&patched_containers(&patch).unwrap()[0]["env"]), "A C B");
    }

    #[test]
    fn api_268_element_order() {
        let patch = json!({"$setElementOrder/containers": [{"name": "c2"}, {"name": "c3"}, {"name": "c1"}],
            "containers": [{"name": "c3", "image": "i:3"}]});
        assert_eq!(names(&patched_containers(&patch).unwrap()), "c2 c3 c1");
        let only_order = json!({"$setElementOrder/containers": [{"name": "c2"}, {"name": "c1"}]});
        assert_eq!(names(&patched_containers(&only_order).unwrap()), "c2 c1");
    }

    #[test]
    fn api_268_element_order_has_to_name_the_patch() {
        let patch = json!({"$setElementOrder/containers": [{"name": "c2"}], "containers": [{"name": "c1", "image": "i:9"}]});
        assert_eq!(patched_containers(&patch).unwrap_err().code(), 500);
    }

    #[test]
    fn api_268_delete_and_replace_in_lists() {
        let delete = json!({"containers": [{"name": "c2", "$patch": "delete"}]});
        assert_eq!(names(&patched_containers(&delete).unwrap()), "c1");
        let replace = json!({"containers": [{"name": "n", "image": "i:7"}, {"$patch": "replace"}]});
        assert_eq!(
            patched_containers(&replace).unwrap(),
            json!([{"name": "n", "image": "i:7"}])
        );
    }

    #[test]
    fn api_268_replace_and_delete_of_maps() {
        let spec = json!({"securityContext": {"runAsUser": 1}, "nodeSelector": {"a": "b"}});
        let patch = json!({"securityContext": {"$patch": "replace", "runAsGroup": 2}, "nodeSelector": {"$patch": "delete"}});
        assert_eq!(
            patched(&spec, &patch),
            Ok(json!({"securityContext": {"runAsGroup": 2}, "nodeSelector": {}}))
        );
    }

    #[test]
    fn api_268_retain_keys() {
        let spec = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
        let patch = json!({"volumes": [{"$retainKeys": ["name", "configMap"], "name": "v", "configMap": {"name": "m"}}]});
        assert_eq!(
            patched(&spec, &patch),
            Ok(json!({"volumes": [{"name": "v", "configMap": {"name": "m"}}]}))
        );
    }

    #[test]
    fn api_268_finalizers_are_a_set() {
        let old = json!({"finalizers": ["example.com/a"]});
        let merged = metadata(&json!({"finalizers": ["example.com/b"]}), &old);
        assert_eq!(merged["finalizers"], json!(["example.com/b", "example.com/a"]));
        let deleted = metadata(
            &json!({"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}),
            &merged,
        );
        assert_eq!(deleted["finalizers"], json!(["example.com/b"]));
    }

    #[test]
    fn api_266_owner_references_merge_by_uid() {
        let old = json!({"ownerReferences": [{"uid": "1", "name": "x", "controller": true}]});
        let added = metadata(&json!({"ownerReferences": [{"uid": "2", "name": "y"}]}), &old);
        assert_eq!(names(&added["ownerReferences"]), "y x");
        let released = metadata(
            &json!({"ownerReferences": [{"$patch": "delete", "uid": "1"}]}),
            &old,
        );
        assert_eq!(released, json!({"ownerReferences": []}));
    }

    #[test]
    fn api_41_merge_key_missing() {
        let error = patched_containers(&json!({"containers": [{"image": "i:9"}]})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "map: map[image:i:9] does not contain declared merge key: name"
        );
        assert_eq!((error.code(), error.reason()), (500, None));
    }

    #[test]
    fn api_269_selector_of_a_disruption_budget_is_replaced() {
        let resource = root("policy", "v1", "PodDisruptionBudget");
        let budget = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}}});
        let patch = json!({"spec": {"selector": {"matchLabels": {"c": "d"}}}});
        assert_eq!(apply(resource, &budget, &patch), Ok(patch));
    }

    #[test]
    fn api_266_pod_conditions_merge_by_type() {
        let resource = root("", "v1", "Pod");
        let pod = json!({"status": {"conditions": [{"type": "PodScheduled", "status": "False"}]}});
        let patch = json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}});
        let merged = apply(resource, &pod, &patch).unwrap();
        let want = json!([{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "False"}]);
        assert_eq!(merged["status"]["conditions"], want);
    }
}
