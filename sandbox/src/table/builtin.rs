//! Columns of the built-in kinds, pods apart (API-605 to API-629).

use jiff::Timestamp;
use serde_json::Value;

use super::{Spec, age, pod};
use crate::{selector::LabelSelector, validate::at};

pub(super) const KINDS: &[(&str, &str, &[Spec])] = &[
    ("", "Pod", pod::COLUMNS),
    ("", "Node", NODE),
    ("", "Service", SERVICE),
    (
        "",
        "Endpoints",
        &[NAME, Spec("Endpoints", "string", 0, endpoints), AGE],
    ),
    ("", "Event", EVENT),
    ("events.k8s.io", "Event", EVENT),
    (
        "",
        "ConfigMap",
        &[NAME, Spec("Data", "string", 0, config_data), AGE],
    ),
    (
        "",
        "Secret",
        &[
            NAME,
            Spec("Type", "string", 0, |o, _| copy(o, "type")),
            Spec("Data", "string", 0, secret_data),
            AGE,
        ],
    ),
    (
        "",
        "Namespace",
        &[
            NAME,
            Spec("Status", "string", 0, |o, _| copy(o, "status.phase")),
            AGE,
        ],
    ),
    (
        "",
        "PodTemplate",
        &[
            NAME,
            Spec("Containers", "string", 0, containers),
            Spec("Images", "string", 0, images),
            Spec("Pod Labels", "string", 0, |o, _| {
                label_map(at(o, "template.metadata.labels"))
            }),
        ],
    ),
    ("", "ServiceAccount", &[NAME, AGE]),
    ("", "PersistentVolumeClaim", CLAIM),
    ("", "PersistentVolume", VOLUME),
    ("", "ReplicationController", REPLICA_SET),
    (
        "",
        "ResourceQuota",
        &[
            NAME,
            Spec("Request", "string", 0, |o, _| quota(o, false)),
            Spec("Limit", "string", 0, |o, _| quota(o, true)),
            AGE,
        ],
    ),
    ("apps", "Deployment", DEPLOYMENT),
    ("apps", "ReplicaSet", REPLICA_SET),
    (
        "apps",
        "StatefulSet",
        &[
            NAME,
            Spec("Ready", "string", 0, ready_of_desired),
            AGE,
            Spec("Containers", "string", 1, containers),
            Spec("Images", "string", 1, images),
        ],
    ),
    ("apps", "DaemonSet", DAEMON_SET),
    (
        "apps",
        "ControllerRevision",
        &[
            NAME,
            Spec("Controller", "string", 0, owner),
            Spec("Revision", "string", 0, |o, _| number(o, "revision")),
            AGE,
        ],
    ),
    ("batch", "Job", JOB),
    ("batch", "CronJob", CRON_JOB),
    ("discovery.k8s.io", "EndpointSlice", ENDPOINT_SLICE),
    ("networking.k8s.io", "Ingress", INGRESS),
    (
        "networking.k8s.io",
        "IngressClass",
        &[
            NAME,
            Spec("Controller", "string", 0, |o, _| copy(o, "spec.controller")),
            Spec("Parameters", "string", 0, class_parameters),
            AGE,
        ],
    ),
    (
        "networking.k8s.io",
        "NetworkPolicy",
        &[
            NAME,
            Spec("Pod-Selector", "string", 0, |o, _| {
                selector(at(o, "spec.podSelector"))
            }),
            AGE,
        ],
    ),
    (
        "coordination.k8s.io",
        "Lease",
        &[
            NAME,
            Spec("Holder", "string", 0, |o, _| copy(o, "spec.holderIdentity")),
            AGE,
        ],
    ),
    (
        "scheduling.k8s.io",
        "PriorityClass",
        &[
            NAME,
            Spec("Value", "integer", 0, |o, _| number(o, "value")),
            Spec("Global-Default", "boolean", 0, |o, _| flag(o, "globalDefault")),
            AGE,
            Spec("PreemptionPolicy", "string", 0, |o, _| {
                copy(o, "preemptionPolicy")
            }),
        ],
    ),
    ("storage.k8s.io", "StorageClass", STORAGE_CLASS),
    ("storage.k8s.io", "CSIDriver", DRIVER),
    (
        "storage.k8s.io",
        "CSINode",
        &[
            NAME,
            Spec("Drivers", "integer", 0, |o, _| {
                Value::from(items(o, "spec.drivers").len())
            }),
            AGE,
        ],
    ),
    (
        "storage.k8s.io",
        "VolumeAttachment",
        &[
            NAME,
            Spec("Attacher", "string", 0, |o, _| copy(o, "spec.attacher")),
            Spec("PV", "string", 0, |o, _| {
                copy(o, "spec.source.persistentVolumeName")
            }),
            Spec("Node", "string", 0, |o, _| copy(o, "spec.nodeName")),
            Spec("Attached", "boolean", 0, |o, _| flag(o, "status.attached")),
            AGE,
        ],
    ),
    ("rbac.authorization.k8s.io", "RoleBinding", BINDING),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", BINDING),
    ("policy", "PodDisruptionBudget", BUDGET),
    ("autoscaling", "HorizontalPodAutoscaler", AUTOSCALER),
];

/// Kinds without a row above (API-629).
pub(super) const OTHER: &[Spec] = &[
    NAME,
    Spec("Created At", "date", 0, |o, _| {
        copy(o, "metadata.creationTimestamp")
    }),
];

const NAME: Spec = Spec("Name", "string", 0, name);
const AGE: Spec = Spec("Age", "string", 0, age_cell);

pub(super) fn name(object: &Value, _: Timestamp) -> Value {
    copy(object, "metadata.name")
}

pub(super) fn age_cell(object: &Value, now: Timestamp) -> Value {
    Value::from(age::since(at(object, "metadata.creationTimestamp"), now))
}

/// `<none>` for an empty text.
pub(super) fn or_none(text: &str) -> Value {
    Value::from(if text.is_empty() { "<none>" } else { text })
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

fn items<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path).as_array().map_or(&[], Vec::as_slice)
}

fn copy(object: &Value, path: &str) -> Value {
    Value::from(text(object, path))
}

fn number(object: &Value, path: &str) -> Value {
    Value::from(at(object, path).as_i64().unwrap_or_default())
}

fn flag(object: &Value, path: &str) -> Value {
    Value::from(at(object, path).as_bool().unwrap_or_default())
}

fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(",")
}

/// Selector in text form; `<none>` if it selects everything.
fn selector(selector: &Value) -> Value {
    match LabelSelector::from_value(selector) {
        Ok(Some(selector)) => or_none(&selector.to_string()),
        Ok(None) => or_none(""),
        Err(_) => Value::from("<error>"),
    }
}

fn label_map(labels: &Value) -> Value {
    let pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    or_none(&pairs.join(","))
}

fn template_containers(object: &Value) -> &[Value] {
    [
        "spec.template.spec.containers",
        "spec.jobTemplate.spec.template.spec.containers",
        "template.spec.containers",
    ]
    .into_iter()
    .map(|path| items(object, path))
    .find(|containers| !containers.is_empty())
    .unwrap_or_default()
}

fn containers(object: &Value, _: Timestamp) -> Value {
    Value::from(joined(
        template_containers(object)
            .iter()
            .map(|container| text(container, "name")),
    ))
}

fn images(object: &Value, _: Timestamp) -> Value {
    Value::from(joined(
        template_containers(object)
            .iter()
            .map(|container| text(container, "image")),
    ))
}

fn workload_selector(object: &Value, _: Timestamp) -> Value {
    let found = at(object, "spec.selector");
    let is_label_selector =
        found.get("matchLabels").is_some_and(Value::is_object) || found.get("matchExpressions").is_some();
    if is_label_selector {
        selector(found)
    } else {
        label_map(found)
    }
}

fn ready_of_desired(object: &Value, _: Timestamp) -> Value {
    let count = |path: &str| at(object, path).as_i64().unwrap_or_default();
    Value::from(format!(
        "{}/{}",
        count("status.readyReplicas"),
        count("spec.replicas")
    ))
}

const NODE: &[Spec] = &[
    NAME,
    Spec("Status", "string", 0, node_status),
    Spec("Roles", "string", 0, node_roles),
    AGE,
    Spec("Version", "string", 0, |o, _| {
        copy(o, "status.nodeInfo.kubeletVersion")
    }),
    Spec("Internal-IP", "string", 1, |o, _| node_address(o, "InternalIP")),
    Spec("External-IP", "string", 1, |o, _| node_address(o, "ExternalIP")),
    Spec("OS-Image", "string", 1, |o, _| {
        or_unknown(text(o, "status.nodeInfo.osImage"))
    }),
    Spec("Kernel-Version", "string", 1, |o, _| {
        or_unknown(text(o, "status.nodeInfo.kernelVersion"))
    }),
    Spec("Container-Runtime", "string", 1, |o, _| {
        or_unknown(text(o, "status.nodeInfo.containerRuntimeVersion"))
    }),
];

fn or_unknown(text: &str) -> Value {
    Value::from(if text.is_empty() { "<unknown>" } else { text })
}

fn node_status(node: &Value, _: Timestamp) -> Value {
    let ready = items(node, "status.conditions")
        .iter()
        .find(|condition| text(condition, "type") == "Ready");
    let status = match ready.map(|condition| text(condition, "status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = at(node, "spec.unschedulable") == &Value::Bool(true);
    Value::from(format!(
        "{status}{}",
        if cordoned { ",SchedulingDisabled" } else { "" }
    ))
}

fn node_roles(node: &Value, _: Timestamp) -> Value {
    let mut roles: Vec<&str> = at(node, "metadata.labels")
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(
            |(label, value)| match label.strip_prefix("node-role.kubernetes.io/") {
                Some(role) => Some(role),
                None if label == "kubernetes.io/role" => value.as_str(),
                None => None,
            },
        )
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    or_none(&roles.join(","))
}

fn node_address(node: &Value, kind: &str) -> Value {
    let address = items(node, "status.addresses")
        .iter()
        .find(|address| text(address, "type") == kind);
    or_none(address.map_or("", |address| text(address, "address")))
}

const SERVICE: &[Spec] = &[
    NAME,
    Spec("Type", "string", 0, |o, _| copy(o, "spec.type")),
    Spec("Cluster-IP", "string", 0, |o, _| {
        or_none(text(o, "spec.clusterIP"))
    }),
    Spec("External-IP", "string", 0, external_ip),
    Spec("Port(s)", "string", 0, service_ports),
    AGE,
    Spec("Selector", "string", 1, |o, _| label_map(at(o, "spec.selector"))),
];

fn external_ip(service: &Value, _: Timestamp) -> Value {
    let external = items(service, "spec.externalIPs")
        .iter()
        .filter_map(Value::as_str);
    match text(service, "spec.type") {
        "ExternalName" => copy(service, "spec.externalName"),
        "LoadBalancer" => {
            let balanced = items(service, "status.loadBalancer.ingress")
                .iter()
                .map(|ingress| match text(ingress, "ip") {
                    "" => text(ingress, "hostname"),
                    address => address,
                });
            let all = joined(balanced.filter(|address| !address.is_empty()).chain(external));
            Value::from(if all.is_empty() {
                "<pending>".to_owned()
            } else {
                all
            })
        }
        _ => or_none(&joined(external)),
    }
}

fn service_ports(service: &Value, _: Timestamp) -> Value {
    let ports: Vec<String> = items(service, "spec.ports")
        .iter()
        .map(|port| {
            let number = at(port, "port");
            let protocol = text(port, "protocol");
            match at(port, "nodePort").as_i64() {
                Some(node_port) if node_port > 0 => format!("{number}:{node_port}/{protocol}"),
                _ => format!("{number}/{protocol}"),
            }
        })
        .collect();
    or_none(&ports.join(","))
}

/// At most three, then how many more.
fn first_three(all: &[String]) -> String {
    let shown = all.iter().take(3).cloned().collect::<Vec<_>>().join(",");
    if all.len() > 3 {
        format!("{shown} + {} more...", all.len() - 3)
    } else {
        shown
    }
}

fn endpoints(object: &Value, _: Timestamp) -> Value {
    let subsets = items(object, "subsets");
    if subsets.is_empty() {
        return or_none("");
    }
    let mut all = Vec::new();
    for subset in subsets {
        let (addresses, ports) = (items(subset, "addresses"), items(subset, "ports"));
        let ips = || addresses.iter().map(|address| text(address, "ip"));
        if ports.is_empty() {
            all.extend(ips().map(str::to_owned));
        }
        for port in ports {
            let port = at(port, "port");
            all.extend(ips().map(|ip| {
                if ip.contains(':') {
                    format!("[{ip}]:{port}")
                } else {
                    format!("{ip}:{port}")
                }
            }));
        }
    }
    Value::from(first_three(&all))
}

const ENDPOINT_SLICE: &[Spec] = &[
    NAME,
    Spec("AddressType", "string", 0, |o, _| copy(o, "addressType")),
    Spec("Ports", "string", 0, slice_ports),
    Spec("Endpoints", "string", 0, slice_endpoints),
    AGE,
];

fn or_unset(text: String) -> Value {
    Value::from(if text.is_empty() {
        "<unset>".to_owned()
    } else {
        text
    })
}

fn slice_ports(slice: &Value, _: Timestamp) -> Value {
    let ports: Vec<String> = items(slice, "ports")
        .iter()
        .map(|port| match at(port, "port").as_i64() {
            Some(number) => number.to_string(),
            None if text(port, "name").is_empty() => "*".to_owned(),
            None => text(port, "name").to_owned(),
        })
        .collect();
    or_unset(first_three(&ports))
}

fn slice_endpoints(slice: &Value, _: Timestamp) -> Value {
    let addresses: Vec<String> = items(slice, "endpoints")
        .iter()
        .flat_map(|endpoint| items(endpoint, "addresses"))
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    or_unset(first_three(&addresses))
}

const EVENT: &[Spec] = &[
    Spec("Last Seen", "string", 0, |o, now| {
        event_time(
            o,
            &[
                "series.lastObservedTime",
                "lastTimestamp",
                "deprecatedLastTimestamp",
                "eventTime",
            ],
            now,
        )
    }),
    Spec("Type", "string", 0, |o, _| copy(o, "type")),
    Spec("Reason", "string", 0, |o, _| copy(o, "reason")),
    Spec("Object", "string", 0, event_object),
    Spec("Subobject", "string", 1, |o, _| copy(event_about(o), "fieldPath")),
    Spec("Source", "string", 1, event_source),
    Spec("Message", "string", 0, |o, _| {
        Value::from(
            if text(o, "message").is_empty() {
                text(o, "note")
            } else {
                text(o, "message")
            }
            .trim(),
        )
    }),
    Spec("First Seen", "string", 1, |o, now| {
        event_time(
            o,
            &["firstTimestamp", "deprecatedFirstTimestamp", "eventTime"],
            now,
        )
    }),
    Spec("Count", "string", 1, event_count),
    Spec("Name", "string", 1, name),
];

fn event_about(event: &Value) -> &Value {
    if event.get("regarding").is_some() {
        at(event, "regarding")
    } else {
        at(event, "involvedObject")
    }
}

/// Age of the first of these times that is set.
fn event_time(event: &Value, paths: &[&str], now: Timestamp) -> Value {
    let time = paths
        .iter()
        .map(|path| at(event, path))
        .find(|time| time.is_string())
        .unwrap_or(&Value::Null);
    Value::from(age::since(time, now))
}

fn event_object(event: &Value, _: Timestamp) -> Value {
    let about = event_about(event);
    let kind = text(about, "kind").to_lowercase();
    match text(about, "name") {
        "" => Value::from(kind),
        name => Value::from(format!("{kind}/{name}")),
    }
}

fn event_source(event: &Value, _: Timestamp) -> Value {
    let first = |paths: [&str; 3]| {
        paths
            .into_iter()
            .map(|path| text(event, path))
            .find(|text| !text.is_empty())
            .unwrap_or_default()
            .to_owned()
    };
    let component = first([
        "source.component",
        "deprecatedSource.component",
        "reportingComponent",
    ]);
    let component = if component.is_empty() {
        text(event, "reportingController").to_owned()
    } else {
        component
    };
    let host = first(["source.host", "deprecatedSource.host", "reportingInstance"]);
    Value::from(if host.is_empty() {
        component
    } else {
        format!("{component}, {host}")
    })
}

fn event_count(event: &Value, _: Timestamp) -> Value {
    let count = ["series.count", "count", "deprecatedCount"]
        .into_iter()
        .find_map(|path| at(event, path).as_i64());
    Value::from(count.unwrap_or(1))
}

fn config_data(map: &Value, _: Timestamp) -> Value {
    let count = |member: &str| at(map, member).as_object().map_or(0, serde_json::Map::len);
    Value::from(count("data") + count("binaryData"))
}

fn secret_data(secret: &Value, _: Timestamp) -> Value {
    Value::from(at(secret, "data").as_object().map_or(0, serde_json::Map::len))
}

const DEPLOYMENT: &[Spec] = &[
    NAME,
    Spec("Ready", "string", 0, ready_of_desired),
    Spec("Up-to-date", "string", 0, |o, _| {
        number(o, "status.updatedReplicas")
    }),
    Spec("Available", "string", 0, |o, _| {
        number(o, "status.availableReplicas")
    }),
    AGE,
    Spec("Containers", "string", 1, containers),
    Spec("Images", "string", 1, images),
    Spec("Selector", "string", 1, workload_selector),
];

const REPLICA_SET: &[Spec] = &[
    NAME,
    Spec("Desired", "integer", 0, |o, _| number(o, "spec.replicas")),
    Spec("Current", "integer", 0, |o, _| number(o, "status.replicas")),
    Spec("Ready", "integer", 0, |o, _| number(o, "status.readyReplicas")),
    AGE,
    Spec("Containers", "string", 1, containers),
    Spec("Images", "string", 1, images),
    Spec("Selector", "string", 1, workload_selector),
];

const DAEMON_SET: &[Spec] = &[
    NAME,
    Spec("Desired", "integer", 0, |o, _| {
        number(o, "status.desiredNumberScheduled")
    }),
    Spec("Current", "integer", 0, |o, _| {
        number(o, "status.currentNumberScheduled")
    }),
    Spec("Ready", "integer", 0, |o, _| number(o, "status.numberReady")),
    Spec("Up-to-date", "integer", 0, |o, _| {
        number(o, "status.updatedNumberScheduled")
    }),
    Spec("Available", "integer", 0, |o, _| {
        number(o, "status.numberAvailable")
    }),
    Spec("Node Selector", "string", 0, |o, _| {
        label_map(at(o, "spec.template.spec.nodeSelector"))
    }),
    AGE,
    Spec("Containers", "string", 1, containers),
    Spec("Images", "string", 1, images),
    Spec("Selector", "string", 1, workload_selector),
];

fn owner(object: &Value, _: Timestamp) -> Value {
    let controller = items(object, "metadata.ownerReferences")
        .iter()
        .find(|reference| at(reference, "controller") == &Value::Bool(true));
    match controller {
        Some(owner) => {
            let group = text(owner, "apiVersion")
                .split_once('/')
                .map_or("", |(group, _)| group);
            let kind = text(owner, "kind").to_lowercase();
            let dot = if group.is_empty() { "" } else { "." };
            Value::from(format!("{kind}{dot}{group}/{}", text(owner, "name")))
        }
        None => or_none(""),
    }
}

const JOB: &[Spec] = &[
    NAME,
    Spec("Status", "string", 0, job_status),
    Spec("Completions", "string", 0, job_completions),
    Spec("Duration", "string", 0, job_duration),
    AGE,
    Spec("Containers", "string", 1, containers),
    Spec("Images", "string", 1, images),
    Spec("Selector", "string", 1, workload_selector),
];

fn job_status(job: &Value, _: Timestamp) -> Value {
    let holds = |kind: &str| {
        items(job, "status.conditions")
            .iter()
            .any(|one| text(one, "type") == kind && text(one, "status") == "True")
    };
    let status = ["Complete", "Failed"].into_iter().find(|kind| holds(kind));
    Value::from(match status {
        Some(status) => status,
        None if !at(job, "metadata.deletionTimestamp").is_null() => "Terminating",
        None if holds("Suspended") => "Suspended",
        None if holds("FailureTarget") => "FailureTarget",
        None if holds("SuccessCriteriaMet") => "SuccessCriteriaMet",
        None => "Running",
    })
}

fn job_completions(job: &Value, _: Timestamp) -> Value {
    let done = at(job, "status.succeeded").as_i64().unwrap_or_default();
    let parallelism = at(job, "spec.parallelism").as_i64().unwrap_or_default();
    Value::from(match at(job, "spec.completions").as_i64() {
        Some(wanted) => format!("{done}/{wanted}"),
        None if parallelism > 1 => format!("{done}/1 of {parallelism}"),
        None => format!("{done}/1"),
    })
}

fn job_duration(job: &Value, now: Timestamp) -> Value {
    let time = |path: &str| text(job, path).parse::<Timestamp>().ok();
    Value::from(match (time("status.startTime"), time("status.completionTime")) {
        (Some(start), end) => age::human_duration(end.unwrap_or(now).duration_since(start).as_secs()),
        (None, _) => String::new(),
    })
}

const CRON_JOB: &[Spec] = &[
    NAME,
    Spec("Schedule", "string", 0, |o, _| copy(o, "spec.schedule")),
    Spec("Timezone", "string", 0, |o, _| or_none(text(o, "spec.timeZone"))),
    // Declared a boolean, shown as a text.
    Spec("Suspend", "boolean", 0, |o, _| {
        Value::from(if at(o, "spec.suspend") == &Value::Bool(true) {
            "True"
        } else {
            "False"
        })
    }),
    Spec("Active", "integer", 0, |o, _| {
        Value::from(items(o, "status.active").len())
    }),
    Spec("Last Schedule", "string", 0, last_schedule),
    AGE,
    Spec("Containers", "string", 1, containers),
    Spec("Images", "string", 1, images),
    Spec("Selector", "string", 1, |o, _| {
        selector(at(o, "spec.jobTemplate.spec.selector"))
    }),
];

fn last_schedule(job: &Value, now: Timestamp) -> Value {
    match at(job, "status.lastScheduleTime") {
        Value::Null => or_none(""),
        time => Value::from(age::since(time, now)),
    }
}

const INGRESS: &[Spec] = &[
    NAME,
    Spec("Class", "string", 0, ingress_class),
    Spec("Hosts", "string", 0, ingress_hosts),
    Spec("Address", "string", 0, ingress_address),
    Spec("Ports", "string", 0, |o, _| {
        Value::from(if items(o, "spec.tls").is_empty() {
            "80"
        } else {
            "80, 443"
        })
    }),
    AGE,
];

fn ingress_class(ingress: &Value, _: Timestamp) -> Value {
    let annotations = at(ingress, "metadata.annotations");
    let annotated = annotations
        .get("kubernetes.io/ingress.class")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match text(ingress, "spec.ingressClassName") {
        "" => or_none(annotated),
        class => Value::from(class),
    }
}

fn ingress_hosts(ingress: &Value, _: Timestamp) -> Value {
    let hosts: Vec<String> = items(ingress, "spec.rules")
        .iter()
        .map(|rule| text(rule, "host").to_owned())
        .filter(|host| !host.is_empty())
        .collect();
    Value::from(if hosts.is_empty() {
        "*".to_owned()
    } else {
        first_three(&hosts)
    })
}

fn ingress_address(ingress: &Value, _: Timestamp) -> Value {
    let addresses = items(ingress, "status.loadBalancer.ingress")
        .iter()
        .map(|ingress| match text(ingress, "ip") {
            "" => text(ingress, "hostname"),
            address => address,
        });
    Value::from(joined(addresses))
}

fn class_parameters(class: &Value, _: Timestamp) -> Value {
    let parameters = at(class, "spec.parameters");
    if parameters.is_null() {
        return or_none("");
    }
    let group = text(parameters, "apiGroup");
    let dot = if group.is_empty() { "" } else { "." };
    Value::from(format!(
        "{}{dot}{group}/{}",
        text(parameters, "kind"),
        text(parameters, "name")
    ))
}

const CLAIM: &[Spec] = &[
    NAME,
    Spec("Status", "string", 0, |o, _| phase_or_terminating(o)),
    Spec("Volume", "string", 0, |o, _| copy(o, "spec.volumeName")),
    Spec("Capacity", "string", 0, |o, _| {
        bound(o, text(at(o, "status.capacity"), "storage"))
    }),
    Spec("Access Modes", "string", 0, |o, _| {
        bound(o, &access_modes(at(o, "status.accessModes")))
    }),
    Spec("StorageClass", "string", 0, |o, _| storage_class(o)),
    Spec("VolumeAttributesClass", "string", 0, |o, _| {
        or_unset(text(o, "spec.volumeAttributesClassName").to_owned())
    }),
    AGE,
    Spec("VolumeMode", "string", 1, |o, _| {
        or_unset(text(o, "spec.volumeMode").to_owned())
    }),
];

fn phase_or_terminating(object: &Value) -> Value {
    if at(object, "metadata.deletionTimestamp").is_null() {
        copy(object, "status.phase")
    } else {
        "Terminating".into()
    }
}

/// Empty until the claim has a volume.
fn bound(claim: &Value, text: &str) -> Value {
    Value::from(if at(claim, "spec.volumeName").is_null() {
        ""
    } else {
        text
    })
}

fn access_modes(modes: &Value) -> String {
    let short = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| {
        modes
            .as_array()
            .is_some_and(|modes| modes.iter().any(|one| one == mode))
    };
    joined(
        short
            .into_iter()
            .filter(|(mode, _)| has(mode))
            .map(|(_, short)| short),
    )
}

const VOLUME: &[Spec] = &[
    NAME,
    Spec("Capacity", "string", 0, |o, _| {
        copy(at(o, "spec.capacity"), "storage")
    }),
    Spec("Access Modes", "string", 0, |o, _| {
        Value::from(access_modes(at(o, "spec.accessModes")))
    }),
    Spec("Reclaim Policy", "string", 0, |o, _| {
        copy(o, "spec.persistentVolumeReclaimPolicy")
    }),
    Spec("Status", "string", 0, |o, _| phase_or_terminating(o)),
    Spec("Claim", "string", 0, |o, _| {
        let claim = at(o, "spec.claimRef");
        Value::from(if claim.is_null() {
            String::new()
        } else {
            format!("{}/{}", text(claim, "namespace"), text(claim, "name"))
        })
    }),
    Spec("StorageClass", "string", 0, |o, _| storage_class(o)),
    Spec("VolumeAttributesClass", "string", 0, |o, _| {
        or_unset(text(o, "spec.volumeAttributesClassName").to_owned())
    }),
    Spec("Reason", "string", 0, |o, _| copy(o, "status.reason")),
    AGE,
    Spec("VolumeMode", "string", 1, |o, _| {
        or_unset(text(o, "spec.volumeMode").to_owned())
    }),
];

const DRIVER: &[Spec] = &[
    NAME,
    Spec("AttachRequired", "boolean", 0, |o, _| {
        Value::from(at(o, "spec.attachRequired").as_bool().unwrap_or(true))
    }),
    Spec("PodInfoOnMount", "boolean", 0, |o, _| {
        flag(o, "spec.podInfoOnMount")
    }),
    Spec("StorageCapacity", "boolean", 0, |o, _| {
        flag(o, "spec.storageCapacity")
    }),
    Spec("TokenRequests", "string", 0, |o, _| {
        let requests = items(o, "spec.tokenRequests").iter();
        or_unset(joined(requests.map(|request| text(request, "audience"))))
    }),
    Spec("RequiresRepublish", "boolean", 0, |o, _| {
        flag(o, "spec.requiresRepublish")
    }),
    Spec("Modes", "string", 0, |o, _| {
        let modes = items(o, "spec.volumeLifecycleModes").iter();
        or_none(&joined(modes.filter_map(Value::as_str)))
    }),
    AGE,
];

const BINDING: &[Spec] = &[
    NAME,
    Spec("Role", "string", 0, |o, _| {
        let (kind, name) = (text(o, "roleRef.kind"), text(o, "roleRef.name"));
        Value::from(format!("{kind}/{name}"))
    }),
    AGE,
    Spec("Users", "string", 1, |o, _| subjects(o, "User")),
    Spec("Groups", "string", 1, |o, _| subjects(o, "Group")),
    Spec("ServiceAccounts", "string", 1, |o, _| {
        subjects(o, "ServiceAccount")
    }),
];

/// Names of the subjects of a kind, accounts with their namespace.
fn subjects(binding: &Value, kind: &str) -> Value {
    let names: Vec<String> = items(binding, "subjects")
        .iter()
        .filter(|subject| text(subject, "kind") == kind)
        .map(|subject| match (kind, text(subject, "namespace")) {
            ("ServiceAccount", namespace) if !namespace.is_empty() => {
                format!("{namespace}/{}", text(subject, "name"))
            }
            _ => text(subject, "name").to_owned(),
        })
        .collect();
    Value::from(names.join(", "))
}

/// The class of a claim or volume; the old annotation wins.
fn storage_class(object: &Value) -> Value {
    let annotations = at(object, "metadata.annotations");
    annotations
        .get("volume.beta.kubernetes.io/storage-class")
        .cloned()
        .unwrap_or_else(|| copy(object, "spec.storageClassName"))
}

const STORAGE_CLASS: &[Spec] = &[
    Spec("Name", "string", 0, storage_class_name),
    Spec("Provisioner", "string", 0, |o, _| copy(o, "provisioner")),
    Spec("ReclaimPolicy", "string", 0, |o, _| copy(o, "reclaimPolicy")),
    Spec("VolumeBindingMode", "string", 0, |o, _| {
        copy(o, "volumeBindingMode")
    }),
    Spec("AllowVolumeExpansion", "string", 0, |o, _| {
        flag(o, "allowVolumeExpansion")
    }),
    AGE,
];

fn storage_class_name(class: &Value, _: Timestamp) -> Value {
    const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
    let annotations = at(class, "metadata.annotations");
    let is_default = annotations.get(DEFAULT).is_some_and(|value| value == "true");
    Value::from(format!(
        "{}{}",
        text(class, "metadata.name"),
        if is_default { " (default)" } else { "" }
    ))
}

/// Resources as `name: used/hard`, those of limits apart from the others.
fn quota(quota: &Value, limits: bool) -> Value {
    let used = at(quota, "status.used");
    let shown: Vec<String> = at(quota, "status.hard")
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| name.starts_with("limits.") == limits)
        .map(|(name, hard)| {
            let used = used.get(name).and_then(Value::as_str).unwrap_or("0");
            format!("{name}: {used}/{}", hard.as_str().unwrap_or_default())
        })
        .collect();
    Value::from(shown.join(", "))
}

const BUDGET: &[Spec] = &[
    NAME,
    Spec("Min Available", "string", 0, |o, _| {
        int_or_text(at(o, "spec.minAvailable"))
    }),
    Spec("Max Unavailable", "string", 0, |o, _| {
        int_or_text(at(o, "spec.maxUnavailable"))
    }),
    Spec("Allowed Disruptions", "integer", 0, |o, _| {
        number(o, "status.disruptionsAllowed")
    }),
    AGE,
];

fn int_or_text(value: &Value) -> Value {
    match value {
        Value::Null => Value::from("N/A"),
        Value::String(text) => Value::from(text.as_str()),
        other => Value::from(other.to_string()),
    }
}

const AUTOSCALER: &[Spec] = &[
    NAME,
    Spec("Reference", "string", 0, |o, _| {
        Value::from(format!(
            "{}/{}",
            text(o, "spec.scaleTargetRef.kind"),
            text(o, "spec.scaleTargetRef.name")
        ))
    }),
    Spec("Targets", "string", 0, autoscaler_targets),
    Spec("MinPods", "string", 0, |o, _| {
        Value::from(
            at(o, "spec.minReplicas")
                .as_i64()
                .map_or_else(|| "<unset>".to_owned(), |count| count.to_string()),
        )
    }),
    Spec("MaxPods", "string", 0, |o, _| number(o, "spec.maxReplicas")),
    Spec("Replicas", "string", 0, |o, _| {
        number(o, "status.currentReplicas")
    }),
    AGE,
];

fn autoscaler_targets(autoscaler: &Value, _: Timestamp) -> Value {
    let current = items(autoscaler, "status.currentMetrics");
    let targets: Vec<String> = items(autoscaler, "spec.metrics")
        .iter()
        .enumerate()
        .map(|(index, metric)| {
            let source = match text(metric, "type") {
                "Resource" => "resource",
                "ContainerResource" => "containerResource",
                "Pods" => "pods",
                "Object" => "object",
                _ => "external",
            };
            let averages = matches!(source, "object" | "external");
            let metric = at(metric, source);
            let now = current
                .get(index)
                .map_or(&Value::Null, |current| at(at(current, source), "current"));
            let amount = |value: &Value| match at(value, "averageUtilization").as_i64() {
                Some(percent) => Some(format!("{percent}%")),
                None => ["averageValue", "value"]
                    .into_iter()
                    .find_map(|name| value.get(name)?.as_str().map(str::to_owned)),
            };
            let now = amount(now).unwrap_or_else(|| "<unknown>".to_owned());
            let target = at(metric, "target");
            let mut wanted = amount(target).unwrap_or_else(|| "<auto>".to_owned());
            if averages && target.get("averageValue").is_some() {
                wanted.push_str(" (avg)");
            }
            let name = text(metric, "name");
            if name.is_empty() {
                format!("{now}/{wanted}")
            } else {
                format!("{name}: {now}/{wanted}")
            }
        })
        .collect();
    if targets.is_empty() {
        return or_none("");
    }
    let shown = targets.iter().take(2).cloned().collect::<Vec<_>>().join(", ");
    Value::from(if targets.len() > 2 {
        format!("{shown} + {} more...", targets.len() - 2)
    } else {
        shown
    })
}
