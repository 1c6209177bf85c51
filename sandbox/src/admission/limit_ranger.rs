//! `LimitRanger`: defaults and bounds for the resources of pods and claims (API-505).

use std::collections::BTreeMap;

use serde_json::Value;

use super::objects_in;
use crate::{
    defaults, json,
    quota::{self, Amounts},
    status::Failure,
    validate::Quantity,
    verbs::Call,
};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

fn ranges(call: &Call<'_>) -> Vec<Value> {
    let namespace = call.path.namespace.as_deref().unwrap_or_default();
    objects_in(call.core, "limitranges", Some(namespace))
}

/// Fills requests and limits that the containers of a new pod leave out.
pub(super) fn default(call: &Call<'_>, pod: &mut Value) {
    for range in ranges(call) {
        let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
        for item in items(&range, "Container") {
            requests.extend(quota::amounts(item, &["defaultRequest"]));
            limits.extend(quota::amounts(item, &["default"]));
        }
        let mut notes = Vec::new();
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            let containers = pod
                .pointer_mut(&format!("/spec/{list}"))
                .and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten() {
                let name = json::text(container, &["name"]).to_owned();
                for (member, word, values) in
                    [("requests", "request", &requests), ("limits", "limit", &limits)]
                {
                    let set = fill(container, member, values);
                    if !set.is_empty() {
                        notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
                    }
                }
            }
        }
        if notes.is_empty() {
            continue;
        }
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        json::set(pod, &["metadata", "annotations"], ANNOTATION, note);
        // The class of the pod follows from its resources.
        json::remove(pod, &["status"], "qosClass");
        defaults::apply(&call.kind.gk, pod);
    }
}

/// Sets the missing members; returns their names.
fn fill(container: &mut Value, member: &str, values: &Amounts) -> Vec<String> {
    let mut set = Vec::new();
    for (name, value) in values {
        let path = ["resources", member];
        if json::at(container, &path).is_none_or(|own| own.get(name).is_none()) {
            json::set(container, &path, name, value.to_string());
            set.push(name.clone());
        }
    }
    set
}

fn items<'a>(range: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    json::list(range, &["spec", "limits"])
        .iter()
        .filter(move |item| json::text(item, &["type"]) == kind)
}

/// Refuses an object outside of the bounds.
pub(super) fn check(call: &Call<'_>, object: &Value) -> Result<(), Failure> {
    for range in ranges(call) {
        let mut problems = Vec::new();
        for item in json::list(&range, &["spec", "limits"]) {
            check_item(call, item, object, &mut problems);
        }
        let cause = match problems.as_slice() {
            [] => continue,
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let name = json::text(object, &["metadata", "name"]);
        return Err(Failure::forbidden(&call.kind.resource, name, cause));
    }
    Ok(())
}

fn check_item(call: &Call<'_>, item: &Value, object: &Value, problems: &mut Vec<String>) {
    let kind = json::text(item, &["type"]);
    let pod = call.kind.is_core("Pod");
    match kind {
        "Container" if pod => {
            let containers = ["containers", "initContainers"]
                .into_iter()
                .flat_map(|list| json::list(object, &["spec", list]));
            for container in containers {
                let requests = quota::amounts(container, &["resources", "requests"]);
                let limits = quota::amounts(container, &["resources", "limits"]);
                let bounds = Bounds::of(item, kind);
                bounds.check(&requests, Some(&limits), problems);
            }
        }
        "Pod" if pod => {
            let total = |member| quota::pod_amounts(object, member, false);
            Bounds::of(item, kind).check(&total("requests"), Some(&total("limits")), problems);
        }
        "PersistentVolumeClaim" if !pod => {
            let requests = quota::amounts(object, &["spec", "resources", "requests"]);
            Bounds::of(item, kind).check(&requests, None, problems);
        }
        _ => {}
    }
}

/// One entry of a `LimitRange`.
struct Bounds<'a> {
    kind: &'a str,
    min: Amounts,
    max: Amounts,
    ratio: Amounts,
}

impl<'a> Bounds<'a> {
    fn of(item: &Value, kind: &'a str) -> Self {
        Self {
            kind,
            min: quota::amounts(item, &["min"]),
            max: quota::amounts(item, &["max"]),
            ratio: quota::amounts(item, &["maxLimitRequestRatio"]),
        }
    }

    /// `limits` is none for claims, whose limits do not count.
    fn check(&self, requests: &Amounts, limits: Option<&Amounts>, problems: &mut Vec<String>) {
        let kind = self.kind;
        let none = BTreeMap::new();
        let limit_of = |name: &String| limits.unwrap_or(&none).get(name);
        for (name, min) in &self.min {
            let bound = format!("minimum {name} usage per {kind} is {min}");
            match (requests.get(name), limit_of(name)) {
                (None, _) => problems.push(format!("{bound}.  No request is specified")),
                (Some(request), _) if request < min => {
                    problems.push(format!("{bound}, but request is {request}"));
                }
                (_, Some(limit)) if limit < min => problems.push(format!("{bound}, but limit is {limit}")),
                _ => {}
            }
        }
        for (name, max) in &self.max {
            let bound = format!("maximum {name} usage per {kind} is {max}");
            match (requests.get(name), limit_of(name)) {
                (None, _) if limits.is_none() => problems.push(format!("{bound}.  No request is specified")),
                (_, None) if limits.is_some() => problems.push(format!("{bound}.  No limit is specified")),
                (_, Some(limit)) if limit > max => problems.push(format!("{bound}, but limit is {limit}")),
                (Some(request), _) if request > max => {
                    problems.push(format!("{bound}, but request is {request}"));
                }
                _ => {}
            }
        }
        for (name, ratio) in &self.ratio {
            let bound = format!("{name} max limit to request ratio per {kind} is {ratio}");
            let positive =
                |amount: Option<&Quantity>| amount.map(|amount| amount.to_f64()).filter(|it| *it != 0.0);
            let Some(request) = positive(requests.get(name)) else {
                problems.push(format!("{bound}, but no request is specified or request is 0"));
                continue;
            };
            let Some(limit) = positive(limit_of(name)) else {
                problems.push(format!("{bound}, but no limit is specified or limit is 0"));
                continue;
            };
            let observed = limit / request;
            if observed > ratio.to_f64() {
                problems.push(format!("{bound}, but provided ratio is {observed:.6}"));
            }
        }
    }
}
