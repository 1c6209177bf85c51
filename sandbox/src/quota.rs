//! How much an object uses of what quotas limit (API-509): for admission and for the quota controller.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    json::{self, is_blank},
    names::Gvr,
    validate::Quantity,
};

/// Quantities by resource name, such as `requests.cpu`.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// Core resources that have a name of their own beside `count/<resource>`.
const PLAIN_COUNTS: &[&str] = &[
    "configmaps",
    "resourcequotas",
    "replicationcontrollers",
    "secrets",
];
/// Compute resources that count under their own name as requests.
const BARE: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// The quantities in the map at a path; what is no quantity is left out.
pub(crate) fn amounts(object: &Value, path: &[&str]) -> Amounts {
    json::at(object, path)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.parse().ok()?)))
        .collect()
}

fn add(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let sum = to.get(name).map_or(*amount, |own| own.plus(*amount));
        to.insert(name.clone(), sum);
    }
}

fn raise(to: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        if to.get(name).is_none_or(|own| own < amount) {
            to.insert(name.clone(), *amount);
        }
    }
}

/// What a pod requests, or its limits, over all containers: those that run together add up, init containers that run
/// one after the other count as far as they need more. With `overhead`, that of the runtime too.
pub(crate) fn pod_amounts(pod: &Value, member: &str, overhead: bool) -> Amounts {
    let of = |container: &Value| amounts(container, &["resources", member]);
    let mut total = Amounts::new();
    for container in json::list(pod, &["spec", "containers"]) {
        add(&mut total, &of(container));
    }
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for container in json::list(pod, &["spec", "initContainers"]) {
        let mut own = of(container);
        if json::text(container, &["restartPolicy"]) == "Always" {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            own.clone_from(&sidecars);
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut peak, &own);
    }
    raise(&mut total, &peak);
    // Amounts of the pod as a whole replace those of its containers.
    for (name, amount) in amounts(pod, &["spec", "resources", member]) {
        total.insert(name, amount);
    }
    if overhead {
        for (name, amount) in amounts(pod, &["spec", "overhead"]) {
            if member == "requests" || total.contains_key(&name) {
                let sum = total.get(&name).map_or(amount, |own| own.plus(amount));
                total.insert(name, sum);
            }
        }
    }
    total
}

/// What an object counts for, by the name of the resource in `spec.hard`.
pub(crate) fn usage(resource: &Gvr, object: &Value, now: Timestamp) -> Amounts {
    let mut used = Amounts::new();
    used.insert(format!("count/{resource}"), Quantity::ONE);
    if !resource.group.is_empty() {
        return used;
    }
    match resource.resource.as_ref() {
        "pods" => pod_usage(object, now, &mut used),
        "services" => service_usage(object, &mut used),
        "persistentvolumeclaims" => claim_usage(object, &mut used),
        plain if PLAIN_COUNTS.contains(&plain) => {
            used.insert(plain.to_owned(), Quantity::ONE);
        }
        _ => {}
    }
    used
}

fn pod_usage(pod: &Value, now: Timestamp, used: &mut Amounts) {
    if !runs(pod, now) {
        return;
    }
    used.insert("pods".to_owned(), Quantity::ONE);
    for (name, amount) in pod_amounts(pod, "requests", true) {
        if BARE.contains(&name.as_str()) || name.starts_with("hugepages-") {
            used.insert(name.clone(), amount);
        }
        used.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in pod_amounts(pod, "limits", true) {
        if BARE.contains(&name.as_str()) {
            used.insert(format!("limits.{name}"), amount);
        }
    }
}

/// Whether a pod still counts: not when it has finished, nor when it should have been gone.
fn runs(pod: &Value, now: Timestamp) -> bool {
    if matches!(json::text(pod, &["status", "phase"]), "Succeeded" | "Failed") {
        return false;
    }
    let deleted: Option<Timestamp> = json::text(pod, &["metadata", "deletionTimestamp"]).parse().ok();
    let grace = json::at(pod, &["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64);
    match (deleted, grace) {
        (Some(deleted), Some(grace)) => deleted
            .checked_add(jiff::SignedDuration::from_secs(grace))
            .is_ok_and(|end| now <= end),
        _ => true,
    }
}

fn service_usage(service: &Value, used: &mut Amounts) {
    used.insert("services".to_owned(), Quantity::ONE);
    let ports = json::list(service, &["spec", "ports"]);
    let node_ports = match json::text(service, &["spec", "type"]) {
        "NodePort" => ports.len(),
        "LoadBalancer" => {
            used.insert("services.loadbalancers".to_owned(), Quantity::ONE);
            let allocates = json::at(service, &["spec", "allocateLoadBalancerNodePorts"]);
            if allocates.and_then(Value::as_bool).unwrap_or(true) {
                ports.len()
            } else {
                let chosen = |port: &&Value| port.get("nodePort").and_then(Value::as_i64).unwrap_or(0) != 0;
                ports.iter().filter(chosen).count()
            }
        }
        _ => return,
    };
    let node_ports = Quantity::of(i64::try_from(node_ports).unwrap_or(i64::MAX));
    used.insert("services.nodeports".to_owned(), node_ports);
}

fn claim_usage(claim: &Value, used: &mut Amounts) {
    used.insert("persistentvolumeclaims".to_owned(), Quantity::ONE);
    let beta = "volume.beta.kubernetes.io/storage-class";
    let class = match json::text(claim, &["metadata", "annotations", beta]) {
        "" => json::text(claim, &["spec", "storageClassName"]),
        class => class,
    };
    let of_class = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
    if !class.is_empty() {
        used.insert(of_class("persistentvolumeclaims"), Quantity::ONE);
    }
    if let Some(storage) = amounts(claim, &["spec", "resources", "requests"]).get("storage") {
        used.insert("requests.storage".to_owned(), *storage);
        if !class.is_empty() {
            used.insert(of_class("requests.storage"), *storage);
        }
    }
}

/// Compute resources that `hard` limits and containers of the pod do not specify, with these containers.
pub(crate) fn unspecified(pod: &Value, hard: &Amounts) -> BTreeMap<String, Vec<String>> {
    const CONSTRAINED: &[(&str, &str, &str)] = &[
        ("cpu", "requests", "cpu"),
        ("limits.cpu", "limits", "cpu"),
        ("limits.memory", "limits", "memory"),
        ("memory", "requests", "memory"),
        ("requests.cpu", "requests", "cpu"),
        ("requests.memory", "requests", "memory"),
    ];
    let mut missing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let containers = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| json::list(pod, &["spec", list]));
    for container in containers {
        for (limited, member, name) in CONSTRAINED {
            let whole = json::at(pod, &["spec", "resources", member, name]).is_some();
            if hard.contains_key(*limited)
                && !whole
                && json::at(container, &["resources", member, name]).is_none()
            {
                let container = json::text(container, &["name"]).to_owned();
                missing
                    .entry((*limited).to_owned())
                    .or_default()
                    .insert(container);
            }
        }
    }
    missing
        .into_iter()
        .map(|(resource, containers)| (resource, containers.into_iter().collect()))
        .collect()
}

/// Whether the quota is about the object, by its scopes.
pub(crate) fn in_scope(quota: &Value, resource: &Gvr, object: &Value) -> bool {
    let scopes = json::list(quota, &["spec", "scopes"]);
    let selectors = json::list(quota, &["spec", "scopeSelector", "matchExpressions"]);
    if scopes.is_empty() && selectors.is_empty() {
        return true;
    }
    // Other kinds have no scopes.
    if !resource.group.is_empty() || resource.resource != "pods" {
        return false;
    }
    let plain = scopes
        .iter()
        .filter_map(Value::as_str)
        .all(|scope| matches_scope(object, scope, "Exists", &[]));
    plain
        && selectors.iter().all(|selector| {
            let values = json::list(selector, &["values"]);
            let operator = json::text(selector, &["operator"]);
            matches_scope(object, json::text(selector, &["scopeName"]), operator, values)
        })
}

fn matches_scope(pod: &Value, scope: &str, operator: &str, values: &[Value]) -> bool {
    let ends = json::at(pod, &["spec", "activeDeadlineSeconds"])
        .and_then(Value::as_i64)
        .is_some();
    let best_effort = json::text(pod, &["status", "qosClass"]) == "BestEffort";
    match scope {
        "Terminating" => ends,
        "NotTerminating" => !ends,
        "BestEffort" => best_effort,
        "NotBestEffort" => !best_effort,
        "PriorityClass" => {
            let class = json::text(pod, &["spec", "priorityClassName"]);
            let listed = values.iter().any(|value| value == class);
            match operator {
                "In" => !class.is_empty() && listed,
                "NotIn" => !listed,
                "DoesNotExist" => class.is_empty(),
                _ => !class.is_empty(),
            }
        }
        "CrossNamespacePodAffinity" => ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
            let affinity = |list| json::list(pod, &["spec", "affinity", kind, list]);
            let crosses = |term: &Value| {
                !json::list(term, &["namespaces"]).is_empty() || !is_blank(term.get("namespaceSelector"))
            };
            affinity("requiredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(crosses)
                || affinity("preferredDuringSchedulingIgnoredDuringExecution")
                    .iter()
                    .filter_map(|weighted| weighted.get("podAffinityTerm"))
                    .any(crosses)
        }),
        _ => false,
    }
}
