//! The roles and bindings that every cluster has from the start; their text is `default_policy.txt`.

use serde_json::{Value, json};

use super::rbac::{GROUP, Rule};

const TEXT: &str = include_str!("default_policy.txt");
const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-";

/// An object of the default policy.
pub(crate) struct Entry {
    /// Plural name of its resource.
    pub(crate) resource: &'static str,
    /// Empty for cluster-scoped ones.
    pub(crate) namespace: &'static str,
    /// Without kind and apiVersion.
    pub(crate) object: Value,
}

/// All of them, roles before bindings.
pub(crate) fn entries() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
        if let Some(detail) = line.strip_prefix("  ") {
            if let Some(role) = entries.last_mut() {
                add_detail(&mut role.object, detail);
            }
        } else {
            entries.extend(entry(line));
        }
    }
    entries
}

fn entry(line: &'static str) -> Option<Entry> {
    let mut words = line.split(' ');
    let (kind, place) = (words.next()?, words.next()?);
    let (namespace, name) = place.split_once('/').unwrap_or(("", place));
    let mut labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    let mut object = json!({"metadata": {
        "name": name,
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    }});
    let resource = match kind {
        "clusterrole" | "role" => {
            for word in words {
                crate::json::set(&mut labels, &[], &format!("{AGGREGATE}{word}"), "true");
            }
            crate::json::set(&mut object, &[], "rules", Value::Array(Vec::new()));
            if kind == "role" { "roles" } else { "clusterroles" }
        }
        "clusterrolebinding" | "rolebinding" => {
            let role = words.next()?;
            let (role_kind, role) = match role.strip_prefix("role:") {
                Some(name) => ("Role", name),
                None => ("ClusterRole", role.strip_prefix("clusterrole:").unwrap_or(role)),
            };
            let role = json!({"apiGroup": GROUP, "kind": role_kind, "name": role});
            crate::json::set(&mut object, &[], "roleRef", role);
            let subjects: Vec<Value> = words.filter_map(subject).collect();
            if !subjects.is_empty() {
                crate::json::set(&mut object, &[], "subjects", subjects);
            }
            if kind == "rolebinding" {
                "rolebindings"
            } else {
                "clusterrolebindings"
            }
        }
        _ => return None,
    };
    crate::json::set(&mut object, &["metadata"], "labels", labels);
    Some(Entry {
        resource,
        namespace,
        object,
    })
}

fn subject(word: &str) -> Option<Value> {
    let (kind, name) = word.split_once(':')?;
    Some(match kind {
        "user" => json!({"kind": "User", "apiGroup": GROUP, "name": name}),
        "group" => json!({"kind": "Group", "apiGroup": GROUP, "name": name}),
        "account" => {
            let (namespace, name) = name.split_once('/')?;
            json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
        }
        _ => return None,
    })
}

fn add_detail(role: &mut Value, detail: &str) {
    if let Some(selected) = detail.strip_prefix("aggregates ") {
        let selectors: Vec<Value> = selected
            .split(' ')
            .map(|word| json!({"matchLabels": {format!("{AGGREGATE}{word}"): "true"}}))
            .collect();
        crate::json::set(
            role,
            &[],
            "aggregationRule",
            json!({"clusterRoleSelectors": selectors}),
        );
        // Filled by whoever aggregates.
        crate::json::set(role, &[], "rules", Value::Null);
        return;
    }
    let parsed = serde_json::to_value(rule(detail)).unwrap_or_default();
    if let Some(rules) = role.get_mut("rules").and_then(Value::as_array_mut) {
        rules.push(parsed);
    }
}

fn rule(detail: &str) -> Rule {
    let list = |text: &str, separator| text.split(separator).map(str::to_owned).collect::<Vec<_>>();
    let (verbs, rest) = detail.split_once(' ').unwrap_or((detail, ""));
    let (groups, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let verbs = list(verbs, ',');
    if groups == "url" {
        return Rule {
            verbs,
            urls: list(rest, ' '),
            ..Rule::default()
        };
    }
    let (resources, names) = rest.split_once(" = ").unwrap_or((rest, ""));
    let api_groups = list(groups, ',')
        .into_iter()
        .map(|group| if group == "core" { String::new() } else { group })
        .collect();
    Rule {
        verbs,
        api_groups,
        resources: list(resources, ' '),
        resource_names: if names.is_empty() {
            Vec::new()
        } else {
            list(names, ' ')
        },
        ..Rule::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_680_the_default_policy_is_complete() {
        let entries = entries();
        let count = |resource: &str| entries.iter().filter(|entry| entry.resource == resource).count();
        assert_eq!(
            ["clusterroles", "clusterrolebindings", "roles", "rolebindings"].map(count),
            [71, 52, 7, 7]
        );
        let named = |name: &str| {
            let found = entries
                .iter()
                .find(|entry| entry.resource == "clusterroles" && entry.object["metadata"]["name"] == name);
            &found.unwrap().object
        };
        assert_eq!(
            named("cluster-admin")["rules"][1],
            json!({"verbs": ["*"], "nonResourceURLs": ["*"]})
        );
        assert_eq!(
            named("view")["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"],
            json!({"rbac.authorization.k8s.io/aggregate-to-view": "true"})
        );
        for entry in &entries {
            for rule in Rule::of_role(&entry.object) {
                assert!(!rule.verbs.is_empty(), "{}", entry.object);
                assert!(
                    rule.urls.is_empty() != rule.resources.is_empty(),
                    "{}",
                    entry.object
                );
            }
        }
    }
}
