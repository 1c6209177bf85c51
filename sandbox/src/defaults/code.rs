//! Defaults that depend on more than the member that they fill.

use serde_json::{Map, Value, json};

use crate::{
    names::GroupKind,
    validate::{Quantity, at},
};

type Object = Map<String, Value>;

fn text<'a>(object: &'a Object, member: &str) -> &'a str {
    object.get(member).and_then(Value::as_str).unwrap_or_default()
}

fn members<'a>(object: &'a mut Object, member: &str) -> Option<&'a mut Object> {
    object
        .entry(member)
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
}

fn list<'a>(object: &'a Object, member: &str) -> &'a [Value] {
    object
        .get(member)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// What only a new object gets.
pub(super) fn on_create(gk: &GroupKind, object: &mut Value) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    match (gk.group.as_ref(), gk.kind.as_ref()) {
        ("", "Namespace") => {
            if let Some(spec) = members(object, "spec") {
                add_to_list(spec, "finalizers", json!("kubernetes"));
            }
        }
        ("", "PersistentVolumeClaim") => add_finalizer(object, "kubernetes.io/pvc-protection"),
        ("", "PersistentVolume") => add_finalizer(object, "kubernetes.io/pv-protection"),
        ("", "Node") => {
            let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
            if let Some(spec) = members(object, "spec") {
                add_to_list(spec, "taints", taint);
            }
        }
        _ => {}
    }
}

fn add_finalizer(object: &mut Object, name: &str) {
    if let Some(metadata) = members(object, "metadata") {
        add_to_list(metadata, "finalizers", json!(name));
    }
}

fn add_to_list(object: &mut Object, member: &str, item: Value) {
    if let Some(items) = object.entry(member).or_insert_with(|| json!([])).as_array_mut()
        && !items.contains(&item)
    {
        items.push(item);
    }
}

/// `kubernetes.io/metadata.name`, restored if removed (API-175).
pub(super) fn namespace_label(namespace: &mut Object) {
    let Some(metadata) = members(namespace, "metadata") else {
        return;
    };
    let Some(name) = metadata.get("name").cloned() else {
        return;
    };
    if let Some(labels) = members(metadata, "labels") {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name);
    }
}

/// `podCIDR` and the first of `podCIDRs` are the same (API-346).
pub(super) fn pod_ranges(spec: &mut Object) {
    match (
        spec.get("podCIDR").cloned(),
        list(spec, "podCIDRs").first().cloned(),
    ) {
        (Some(range), None) => spec.insert("podCIDRs".to_owned(), json!([range])),
        (None, Some(range)) => spec.insert("podCIDR".to_owned(), range),
        _ => None,
    };
}

/// A negative grace period is stored as 1 (API-324).
pub(super) fn positive_grace(spec: &mut Object) {
    const MEMBER: &str = "terminationGracePeriodSeconds";
    if spec
        .get(MEMBER)
        .and_then(Value::as_i64)
        .is_some_and(|grace| grace < 0)
    {
        spec.insert(MEMBER.to_owned(), json!(1));
    }
}

/// The deprecated `serviceAccount` mirrors `serviceAccountName` (API-501).
pub(super) fn service_account_alias(spec: &mut Object) {
    match (
        spec.get("serviceAccountName").cloned(),
        spec.get("serviceAccount").cloned(),
    ) {
        (Some(name), _) => spec.insert("serviceAccount".to_owned(), name),
        (None, Some(name)) => spec.insert("serviceAccountName".to_owned(), name),
        (None, None) => None,
    };
}

/// A volume without a source is an empty directory (API-328).
pub(super) fn empty_dir(volume: &mut Object) {
    if volume.keys().all(|member| member == "name") {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
}

/// `Always` for the tag `latest` and for no tag at all (API-321).
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image
        .split_once('@')
        .map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((_, "latest")) => "Always",
        None if digest.is_none() => "Always",
        _ => "IfNotPresent",
    }
}

pub(super) fn image_pull_policy(container: &Object) -> Value {
    pull_policy(text(container, "image")).into()
}

pub(super) fn volume_pull_policy(source: &Object) -> Value {
    pull_policy(text(source, "reference")).into()
}

/// With the host's network a port of the container is one of the host (API-325).
pub(super) fn host_ports(spec: &mut Object) {
    if spec.get("hostNetwork") != Some(&Value::Bool(true)) {
        return;
    }
    for list in ["containers", "initContainers"] {
        for container in spec
            .get_mut(list)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            for port in container
                .get_mut("ports")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                let Some(port) = port.as_object_mut() else {
                    continue;
                };
                if let (Some(number), None) = (port.get("containerPort").cloned(), port.get("hostPort")) {
                    port.insert("hostPort".to_owned(), number);
                }
            }
        }
    }
}

/// A resource with a limit and no request requests the limit (API-325).
pub(super) fn requests_from_limits(resources: &mut Object) {
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    let Some(requests) = members(resources, "requests") else {
        return;
    };
    for (name, limit) in limits {
        requests.entry(name).or_insert(limit);
    }
}

/// The tolerations that let a pod stay on a failed node for five minutes (API-502).
pub(super) fn tolerations(spec: &mut Object) {
    for taint in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = list(spec, "tolerations").iter().any(|toleration| {
            let member = |name: &str| toleration.get(name).and_then(Value::as_str).unwrap_or_default();
            matches!(member("key"), "")
                && member("operator") == "Exists"
                && matches!(member("effect"), "" | "NoExecute")
                || member("key") == taint && matches!(member("effect"), "" | "NoExecute")
        });
        if tolerated {
            continue;
        }
        let toleration =
            json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
        if let Some(items) = spec
            .entry("tolerations")
            .or_insert_with(|| json!([]))
            .as_array_mut()
        {
            items.push(toleration);
        }
    }
}

/// Set once (API-322).
pub(super) fn qos_class(pod: &mut Object) {
    let class = qos_class_of(pod.get("spec").unwrap_or(&Value::Null));
    if let Some(status) = members(pod, "status") {
        status.entry("qosClass").or_insert_with(|| class.into());
    }
}

fn qos_class_of(spec: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    let containers = ["containers", "initContainers"]
        .into_iter()
        .filter_map(|list| at(spec, list).as_array())
        .flatten();
    // Resources of the pod as a whole decide alone.
    let whole = Some(spec).filter(|spec| at(spec, "resources").is_object());
    for container in whole.into_iter().chain(containers.filter(|_| whole.is_none())) {
        let amount = |kind: &str, resource: &str| {
            let amount: Option<Quantity> = container
                .get("resources")?
                .get(kind)?
                .get(resource)?
                .as_str()
                .and_then(|text| text.parse().ok());
            amount.filter(|amount| amount.to_string() != "0")
        };
        for resource in ["cpu", "memory"] {
            let (limit, request) = (amount("limits", resource), amount("requests", resource));
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// The condition of a pod that is not to be scheduled yet (API-329).
pub(super) fn scheduling_gated(pod: &mut Object) {
    let gated = pod.get("spec").is_some_and(|spec| {
        at(spec, "schedulingGates")
            .as_array()
            .is_some_and(|gates| !gates.is_empty())
    });
    if !gated {
        return;
    }
    let Some(status) = members(pod, "status") else {
        return;
    };
    if list(status, "conditions")
        .iter()
        .any(|condition| condition.get("type") == Some(&json!("PodScheduled")))
    {
        return;
    }
    let condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
    });
    add_to_list(status, "conditions", condition);
}

/// Three hours, if sessions stick to a client (API-336).
pub(super) fn session_affinity(spec: &mut Object) {
    match text(spec, "sessionAffinity") {
        "ClientIP" => {
            let Some(config) = members(spec, "sessionAffinityConfig") else {
                return;
            };
            let Some(client) = members(config, "clientIP") else {
                return;
            };
            client.entry("timeoutSeconds").or_insert_with(|| json!(10_800));
        }
        _ => {
            spec.remove("sessionAffinityConfig");
        }
    }
}

pub(super) fn target_port(port: &mut Object) {
    let unset = match port.get("targetPort") {
        None | Some(Value::Null) => true,
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(Value::String(name)) => name.is_empty(),
        Some(_) => false,
    };
    if let (true, Some(number)) = (unset, port.get("port").cloned()) {
        port.insert("targetPort".to_owned(), number);
    }
}

/// What a service of its type has besides ports (API-336, API-481, API-485).
pub(super) fn service_type(spec: &mut Object) {
    let kind = text(spec, "type").to_owned();
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        spec.entry("externalTrafficPolicy")
            .or_insert_with(|| json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        spec.entry("allocateLoadBalancerNodePorts")
            .or_insert_with(|| json!(true));
    }
}

/// The first of the addresses is also in the list.
pub(super) fn cluster_ips(spec: &mut Object) {
    let is_external = text(spec, "type") == "ExternalName";
    if !is_external && list(spec, "clusterIPs").is_empty() && !text(spec, "clusterIP").is_empty() {
        let address = spec.get("clusterIP").cloned();
        spec.insert("clusterIPs".to_owned(), json!([address]));
    }
}

pub(super) fn unless_external_name(spec: &Object, value: Value) -> Option<Value> {
    (text(spec, "type") != "ExternalName").then_some(value)
}

/// Selector and labels of a replication controller come from its template (API-331).
pub(super) fn labels_from_template(controller: &mut Object) {
    let labels = controller
        .get("spec")
        .map(|spec| at(spec, "template.metadata.labels").clone());
    let Some(labels) = labels.filter(|labels| !labels.is_null()) else {
        return;
    };
    if let Some(spec) = members(controller, "spec") {
        spec.entry("selector").or_insert_with(|| labels.clone());
    }
    if let Some(metadata) = members(controller, "metadata") {
        metadata.entry("labels").or_insert(labels);
    }
}

pub(super) fn rolling_update(strategy: &Object) -> Option<Value> {
    (text(strategy, "type") == "RollingUpdate").then(|| json!({}))
}

pub(super) fn template_generation(set: &mut Object) {
    let Some(metadata) = members(set, "metadata") else {
        return;
    };
    if let Some(annotations) = members(metadata, "annotations") {
        annotations
            .entry("deprecated.daemonset.template.generation")
            .or_insert_with(|| json!("1"));
    }
}

/// One at a time, once, unless something else is said (API-334).
pub(super) fn parallelism(spec: &mut Object) {
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        spec.insert("completions".to_owned(), json!(1));
    }
    spec.entry("parallelism").or_insert_with(|| json!(1));
}

/// Without a limit if each index has its own (API-334).
pub(super) fn backoff_limit(spec: &Object) -> Value {
    if spec.contains_key("backoffLimitPerIndex") {
        i32::MAX.into()
    } else {
        6.into()
    }
}

/// The newer of the two members for the source of a claim mirrors the older one, and the other way round.
pub(super) fn data_source(spec: &mut Object) {
    let known = |source: &Value| {
        let of = (
            at(source, "apiGroup").as_str().unwrap_or_default(),
            at(source, "kind").as_str().unwrap_or_default(),
        );
        matches!(
            of,
            ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
        )
    };
    if spec.get("dataSource").is_some_and(|source| !known(source)) && !spec.contains_key("dataSourceRef") {
        // Others were never filled from.
        spec.remove("dataSource");
    }
    match (
        spec.get("dataSource").cloned(),
        spec.get("dataSourceRef").cloned(),
    ) {
        (Some(source), None) => spec.insert("dataSourceRef".to_owned(), source),
        (None, Some(source)) if source.get("namespace").is_none_or(Value::is_null) => {
            spec.insert("dataSource".to_owned(), source)
        }
        _ => None,
    };
}

pub(super) fn pod_replacement_policy(spec: &Object) -> Value {
    if spec.contains_key("podFailurePolicy") {
        "Failed"
    } else {
        "TerminatingOrFailed"
    }
    .into()
}

/// Selector and template labels of a job that does not choose its own (API-323).
pub(super) fn job_selector(job: &mut Object) {
    let metadata = job.get("metadata").cloned().unwrap_or_default();
    let (uid, name) = (at(&metadata, "uid").clone(), at(&metadata, "name").clone());
    let Some(spec) = members(job, "spec") else { return };
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        labels_of_template(job);
        return;
    }
    // A name that is still to be drawn brings the job here again.
    if uid.is_null() || name.is_null() {
        return;
    }
    if let Some(selector) = members(spec, "selector")
        && let Some(labels) = members(selector, "matchLabels")
    {
        labels.insert("batch.kubernetes.io/controller-uid".to_owned(), uid.clone());
    }
    let Some(template) = members(spec, "template") else {
        return;
    };
    let Some(metadata) = members(template, "metadata") else {
        return;
    };
    let Some(labels) = members(metadata, "labels") else {
        return;
    };
    for (label, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("job-name", &name),
    ] {
        labels.insert(label.to_owned(), value.clone());
    }
    labels_of_template(job);
}

/// A job without labels takes those of its template.
fn labels_of_template(job: &mut Object) {
    let labels = job
        .get("spec")
        .map(|spec| at(spec, "template.metadata.labels").clone());
    let Some(Value::Object(labels)) = labels.filter(|labels| labels != &json!({})) else {
        return;
    };
    if let Some(metadata) = members(job, "metadata") {
        metadata.entry("labels").or_insert(Value::Object(labels));
    }
}

pub(super) fn policy_types(spec: &Object) -> Value {
    if spec.contains_key("egress") {
        json!(["Ingress", "Egress"])
    } else {
        json!(["Ingress"])
    }
}

/// Limits that a limit range leaves open (API-347).
pub(super) fn limit_range(item: &mut Object) {
    if text(item, "type") != "Container" {
        return;
    }
    for (from, to) in [
        ("max", "default"),
        ("default", "defaultRequest"),
        ("min", "defaultRequest"),
    ] {
        let Some(source) = item.get(from).and_then(Value::as_object).cloned() else {
            continue;
        };
        let Some(target) = members(item, to) else { continue };
        for (resource, amount) in source {
            target.entry(resource).or_insert(amount);
        }
    }
}

pub(super) fn cpu_metric() -> Value {
    let target = json!({"type": "Utilization", "averageUtilization": 80});
    json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}])
}

pub(super) fn scale_up_policies() -> Value {
    json!([
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ])
}

pub(super) fn scale_down_policies() -> Value {
    json!([{"type": "Percent", "value": 100, "periodSeconds": 15}])
}

/// Users and groups belong to the authorization group, accounts to core (API-348).
pub(super) fn subject_group(subject: &Object) -> Option<Value> {
    matches!(text(subject, "kind"), "User" | "Group").then(|| "rbac.authorization.k8s.io".into())
}
