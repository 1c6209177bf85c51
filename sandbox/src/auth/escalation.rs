//! Nobody grants rights that they do not have (API-680): writes of roles and bindings.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    MASTERS,
    attributes::Attributes,
    rbac::{self, GROUP, Policy, Rule},
};
use crate::{json, status::Failure, validate::gofmt, verbs::Call};

/// Refuses a role or binding that gives more than the caller has.
pub(crate) fn check(call: &Call<'_>, new: &Value, old: Option<&Value>) -> Result<(), Failure> {
    if !call.core.config.rbac || call.kind.gk.group != GROUP || call.user.is_in(MASTERS) {
        return Ok(());
    }
    if old.is_some_and(|old| differ_for_the_collector_only(new, old)) {
        return Ok(());
    }
    match call.kind.gk.kind.as_ref() {
        "Role" | "ClusterRole" => check_role(call, new, old),
        "RoleBinding" | "ClusterRoleBinding" => check_binding(call, new),
        _ => Ok(()),
    }
}

/// The garbage collector may finish what it began whatever its rights are.
fn differ_for_the_collector_only(new: &Value, old: &Value) -> bool {
    let rest = |object: &Value| {
        let mut rest = object.clone();
        for member in [
            "ownerReferences",
            "finalizers",
            "managedFields",
            "resourceVersion",
        ] {
            json::remove(&mut rest, &["metadata"], member);
        }
        rest
    };
    new != old && rest(new) == rest(old)
}

fn namespace<'a>(call: &'a Call<'_>) -> &'a str {
    call.path.namespace.as_deref().unwrap_or_default()
}

fn check_role(call: &Call<'_>, new: &Value, old: Option<&Value>) -> Result<(), Failure> {
    let escalate = Attributes {
        verb: "escalate".to_owned(),
        namespace: namespace(call).to_owned(),
        group: GROUP.to_owned(),
        resource: call.kind.resource.resource.to_string(),
        name: call.path.name.clone().unwrap_or_default(),
        ..Attributes::default()
    };
    if rbac::decide(call.core, &call.user, &escalate).allowed {
        return Ok(());
    }
    let policy = rbac::policy(call.core);
    confirm(call, &policy, new, &Rule::of_role(new))?;
    let aggregates =
        |role: &Value| !json::list(role, &["aggregationRule", "clusterRoleSelectors"]).is_empty();
    if !aggregates(new) && !old.is_some_and(aggregates) {
        return Ok(());
    }
    let everything = |word: &str| vec![word.to_owned()];
    let full = [
        Rule {
            api_groups: everything("*"),
            resources: everything("*"),
            verbs: everything("*"),
            ..Rule::default()
        },
        Rule {
            urls: everything("*"),
            verbs: everything("*"),
            ..Rule::default()
        },
    ];
    confirm(call, &policy, new, &full).map_err(|_| {
        let cause = "must have cluster-admin privileges to use the aggregationRule";
        Failure::forbidden(&call.kind.resource, json::text(new, &["metadata", "name"]), cause)
    })
}

fn check_binding(call: &Call<'_>, new: &Value) -> Result<(), Failure> {
    let kind = json::text(new, &["roleRef", "kind"]);
    let name = json::text(new, &["roleRef", "name"]);
    let bind = Attributes {
        verb: "bind".to_owned(),
        namespace: namespace(call).to_owned(),
        group: GROUP.to_owned(),
        resource: if kind == "Role" { "roles" } else { "clusterroles" }.to_owned(),
        name: name.to_owned(),
        ..Attributes::default()
    };
    if rbac::decide(call.core, &call.user, &bind).allowed {
        return Ok(());
    }
    let policy = rbac::policy(call.core);
    let rules = policy
        .role(kind, name, namespace(call))
        .map_err(|_| Failure::not_found(&call.kind.resource, name))?;
    confirm(call, &policy, new, rules)
}

/// 403 that names what of `granted` the caller does not have.
fn confirm(call: &Call<'_>, policy: &Policy, object: &Value, granted: &[Rule]) -> Result<(), Failure> {
    let own = policy.rules_of(&call.user, namespace(call));
    let missing: Vec<Rule> = granted
        .iter()
        .flat_map(atoms)
        .filter(|atom| !own.rules.iter().any(|rule| covers(rule, atom)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let texts: BTreeSet<String> = compact(missing).iter().map(shown).collect();
    let mut cause = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        gofmt::quote(&call.user.name),
        quoted(&call.user.groups),
        texts.into_iter().collect::<Vec<_>>().join("\n")
    );
    if !own.errors.is_empty() {
        cause.push_str("; resolution errors: [");
        cause.push_str(&own.error());
        cause.push(']');
    }
    let name = json::text(object, &["metadata", "name"]);
    Err(Failure::forbidden(&call.kind.resource, name, cause))
}

/// A rule as rules of one verb, one resource and at most one name each.
fn atoms(rule: &Rule) -> Vec<Rule> {
    let one = |text: &String| vec![text.clone()];
    let mut atoms = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let atom = Rule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: one(verb),
                    ..Rule::default()
                };
                if rule.resource_names.is_empty() {
                    atoms.push(atom);
                } else {
                    atoms.extend(rule.resource_names.iter().map(|name| Rule {
                        resource_names: one(name),
                        ..atom.clone()
                    }));
                }
            }
        }
    }
    for url in &rule.urls {
        atoms.extend(rule.verbs.iter().map(|verb| Rule {
            urls: one(url),
            verbs: one(verb),
            ..Rule::default()
        }));
    }
    atoms
}

/// Whether a rule gives all of an atom.
fn covers(rule: &Rule, atom: &Rule) -> bool {
    let all = |own: &[String], wanted: &[String]| {
        own.iter().any(|word| word == "*") || wanted.iter().all(|word| own.contains(word))
    };
    let resource = |wanted: &String| {
        rule.resources.iter().any(|own| own == "*" || own == wanted)
            || wanted
                .split_once('/')
                .is_some_and(|(_, subresource)| rule.resources.contains(&format!("*/{subresource}")))
    };
    let url = |wanted: &String| {
        rule.urls.iter().any(|own| {
            own == wanted
                || own
                    .strip_suffix('*')
                    .is_some_and(|prefix| wanted.starts_with(prefix.trim_end_matches('*')))
        })
    };
    all(&rule.verbs, &atom.verbs)
        && all(&rule.api_groups, &atom.api_groups)
        && atom.resources.iter().all(resource)
        && atom.urls.iter().all(url)
        && (rule.resource_names.is_empty()
            || (!atom.resource_names.is_empty()
                && atom
                    .resource_names
                    .iter()
                    .all(|name| rule.resource_names.contains(name))))
}

/// Joins the verbs of atoms for the same resource.
fn compact(atoms: Vec<Rule>) -> Vec<Rule> {
    type Place = (Vec<String>, Vec<String>, Vec<String>);
    let mut joined: BTreeMap<Place, Rule> = BTreeMap::new();
    let mut rest = Vec::new();
    for atom in atoms {
        if !atom.urls.is_empty() {
            rest.push(atom);
            continue;
        }
        let place = (
            atom.api_groups.clone(),
            atom.resources.clone(),
            atom.resource_names.clone(),
        );
        match joined.get_mut(&place) {
            Some(rule) => rule.verbs.extend(atom.verbs),
            None => {
                joined.insert(place, atom);
            }
        }
    }
    rest.extend(joined.into_values());
    rest
}

fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| gofmt::quote(word)).collect();
    format!("[{}]", words.join(" "))
}

fn shown(rule: &Rule) -> String {
    let parts: Vec<String> = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ]
    .into_iter()
    .filter(|(_, words)| !words.is_empty())
    .map(|(name, words)| format!("{name}:{}", quoted(words)))
    .collect();
    format!("{{{}}}", parts.join(", "))
}
