use rstest::rstest;
use serde_json::json;

use super::*;

fn row(group: &'static str, kind: &'static str, mut object: Value) -> Value {
    let gk = GroupKind::new(group, kind);
    if object.get("metadata").is_none() {
        object["metadata"] = json!({"name": "x"});
    }
    object["metadata"]["creationTimestamp"] = json!("1970-01-01T00:00:00Z");
    let cells = cells(&gk, &object, Timestamp::from_second(300).unwrap());
    assert_eq!(cells.len(), columns(&gk).len());
    Value::Array(cells)
}

fn headings(group: &'static str, kind: &'static str) -> String {
    let mark = |column: &Column| format!("{}{}", column.name, if column.priority == 1 { "*" } else { "" });
    columns(&GroupKind::new(group, kind))
        .iter()
        .map(mark)
        .collect::<Vec<_>>()
        .join(", ")
}

#[rstest]
#[case(
    "",
    "Pod",
    "Name, Ready, Status, Restarts, Age, IP*, Node*, Nominated Node*, Readiness Gates*"
)]
#[case(
    "",
    "Node",
    "Name, Status, Roles, Age, Version, Internal-IP*, External-IP*, OS-Image*, Kernel-Version*, Container-Runtime*"
)]
#[case("", "Service", "Name, Type, Cluster-IP, External-IP, Port(s), Age, Selector*")]
#[case(
    "apps",
    "Deployment",
    "Name, Ready, Up-to-date, Available, Age, Containers*, Images*, Selector*"
)]
#[case(
    "apps",
    "ReplicaSet",
    "Name, Desired, Current, Ready, Age, Containers*, Images*, Selector*"
)]
#[case(
    "",
    "Event",
    "Last Seen, Type, Reason, Object, Subobject*, Source*, Message, First Seen*, Count*, Name*"
)]
#[case("", "PodTemplate", "Name, Containers, Images, Pod Labels")]
#[case("", "LimitRange", "Name, Created At")]
fn api_602_columns(#[case] group: &'static str, #[case] kind: &'static str, #[case] want: &str) {
    assert_eq!(headings(group, kind), want);
}

#[test]
fn api_600_the_first_column_is_the_name() {
    let gk = GroupKind::new("", "ConfigMap");
    assert_eq!(
        (columns(&gk)[0].format.as_ref(), columns(&gk)[1].format.as_ref()),
        ("name", "")
    );
}

#[test]
fn api_604_pod() {
    let pod = json!({"spec": {"nodeName": "n1", "containers": [{"name": "c"}]}, "status": {
        "phase": "Running", "podIP": "10.0.0.7", "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "c", "ready": true, "restartCount": 2, "state": {"running": {}}}]}});
    assert_eq!(
        row("", "Pod", pod),
        json!([
            "x", "1/1", "Running", "2", "5m", "10.0.0.7", "n1", "<none>", "<none>"
        ])
    );
}

#[test]
fn api_604_restarts_say_when() {
    let pod = json!({"spec": {"containers": [{"name": "c"}]}, "status": {"containerStatuses": [{"name": "c",
        "restartCount": 2, "lastState": {"terminated": {"finishedAt": "1970-01-01T00:01:00Z"}}}]}});
    assert_eq!(row("", "Pod", pod)[3], "2 (4m ago)");
}

fn terminated(members: &Value) -> Value {
    json!({"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"terminated": members}}]})
}

#[rstest]
#[case(terminated(&json!({"exitCode": 0, "reason": "Completed"})), "Completed")]
#[case(terminated(&json!({"exitCode": 3})), "ExitCode:3")]
#[case(terminated(&json!({"exitCode": 137, "signal": 9})), "Signal:9")]
#[case(json!({"phase": "Failed", "reason": "Evicted"}), "Evicted")]
#[case(json!({"phase": "Running", "reason": "NodeLost"}), "NodeLost")]
#[case(json!({"phase": "Pending", "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}),
    "ImagePullBackOff")]
#[case(json!({"phase": "Pending", "initContainerStatuses": [{"name": "i1", "restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]}),
    "Init:CrashLoopBackOff")]
#[case(json!({"phase": "Pending", "initContainerStatuses": [{"name": "i1", "state": {"running": {}}}],
    "containerStatuses": [{"name": "c", "state": {"waiting": {"reason": "PodInitializing"}}}]}), "Init:0/2")]
#[case(json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
    "SchedulingGated")]
#[case(json!({"phase": "Running", "containerStatuses": [
    {"name": "c", "state": {"terminated": {"reason": "Completed"}}}, {"name": "d", "ready": true, "state": {"running": {}}}]}), "NotReady")]
#[case(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": [
    {"name": "c", "state": {"terminated": {"reason": "Completed"}}}, {"name": "d", "ready": true, "state": {"running": {}}}]}), "Running")]
fn api_603_pod_status(#[case] status: Value, #[case] want: &str) {
    let spec = json!({"containers": [{"name": "c"}], "initContainers": [{"name": "i1"}, {"name": "i2"}]});
    assert_eq!(row("", "Pod", json!({"spec": spec, "status": status}))[2], want);
}

#[test]
fn api_603_terminating_unless_finished() {
    let deleted = |phase: &str| {
        let metadata = json!({"name": "x", "deletionTimestamp": "1970-01-01T00:00:00Z"});
        row(
            "",
            "Pod",
            json!({"metadata": metadata, "spec": {}, "status": {"phase": phase}}),
        )[2]
        .clone()
    };
    assert_eq!(deleted("Running"), "Terminating");
    assert_eq!(deleted("Succeeded"), "Succeeded");
}

#[test]
fn api_605_node() {
    let node = json!({"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "x"}},
        "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "192.0.2.9"}], "nodeInfo": {"kubeletVersion": "v1.36.0",
        "osImage": "os", "kernelVersion": "6", "containerRuntimeVersion": "cri://1"}}});
    assert_eq!(
        row("", "Node", node),
        json!([
            "n",
            "Ready,SchedulingDisabled",
            "worker,x",
            "5m",
            "v1.36.0",
            "192.0.2.9",
            "<none>",
            "os",
            "6",
            "cri://1"
        ])
    );
}

#[test]
fn api_606_service() {
    let service = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.9", "selector": {"a": "b"},
        "ports": [{"port": 80, "nodePort": 31777, "protocol": "TCP"}]}});
    assert_eq!(
        row("", "Service", service),
        json!(["x", "NodePort", "10.0.0.9", "<none>", "80:31777/TCP", "5m", "a=b"])
    );
    let balanced = json!({"spec": {"type": "LoadBalancer", "externalIPs": ["192.0.2.50"]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.77"}]}}});
    assert_eq!(row("", "Service", balanced)[3], "192.0.2.77,192.0.2.50");
    assert_eq!(
        row("", "Service", json!({"spec": {"type": "LoadBalancer"}}))[3],
        "<pending>"
    );
}

#[test]
fn api_607_endpoints_and_slices() {
    let addresses =
        json!([{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}, {"ip": "192.0.2.3"}, {"ip": "192.0.2.4"}]);
    let endpoints = json!({"subsets": [{"addresses": addresses, "ports": [{"port": 80}]}]});
    let want = json!(["x", "192.0.2.1:80,192.0.2.2:80,192.0.2.3:80 + 1 more...", "5m"]);
    assert_eq!(row("", "Endpoints", endpoints), want);
    let slice =
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"port": 80}]});
    assert_eq!(
        row("discovery.k8s.io", "EndpointSlice", slice),
        json!(["x", "IPv4", "80", "192.0.2.1", "5m"])
    );
    let empty = json!({"addressType": "IPv4", "endpoints": null, "ports": null});
    assert_eq!(
        row("discovery.k8s.io", "EndpointSlice", empty),
        json!(["x", "IPv4", "<unset>", "<unset>", "5m"])
    );
}

fn workload_spec() -> Value {
    json!({"replicas": 3, "selector": {"matchLabels": {"app": "a"}},
        "template": {"spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}]}}})
}

#[test]
fn api_608_deployment() {
    let status = json!({"replicas": 3, "updatedReplicas": 2, "readyReplicas": 1, "availableReplicas": 1});
    let cells = row(
        "apps",
        "Deployment",
        json!({"spec": workload_spec(), "status": status}),
    );
    assert_eq!(cells, json!(["x", "1/3", 2, 1, "5m", "c,d", "i,j", "app=a"]));
}

#[test]
fn api_609_replica_set_and_replication_controller() {
    let status = json!({"replicas": 3, "readyReplicas": 1});
    let cells = row(
        "apps",
        "ReplicaSet",
        json!({"spec": workload_spec(), "status": status}),
    );
    assert_eq!(cells, json!(["x", 3, 3, 1, "5m", "c,d", "i,j", "app=a"]));
    let mut spec = workload_spec();
    spec["selector"] = json!({"app": "a"});
    assert_eq!(
        row("", "ReplicationController", json!({"spec": spec}))[7],
        "app=a"
    );
}

#[test]
fn api_614_ingress() {
    let hosts = ["a", "b", "c", "d"].map(|host| json!({"host": host}));
    let ingress = json!({"spec": {"ingressClassName": "k", "rules": hosts, "tls": [{}]}});
    let want = json!(["x", "k", "a,b,c + 1 more...", "", "80, 443", "5m"]);
    assert_eq!(row("networking.k8s.io", "Ingress", ingress), want);
    assert_eq!(row("networking.k8s.io", "Ingress", json!({"spec": {}}))[2], "*");
}

#[rstest]
#[case::api_610("apps", "StatefulSet", json!({"spec": workload_spec()}), json!(["x", "0/3", "5m", "c,d", "i,j"]))]
#[case::api_611("apps", "DaemonSet", json!({"spec": workload_spec()}),
    json!(["x", 0, 0, 0, 0, 0, "<none>", "5m", "c,d", "i,j", "app=a"]))]
#[case::api_612("batch", "Job", json!({"spec": {"completions": 1, "selector": {"matchLabels": {"u": "1"}}}}),
    json!(["x", "Running", "0/1", "", "5m", "", "", "u=1"]))]
#[case::api_613("batch", "CronJob", json!({"spec": {"schedule": "* * * * *", "suspend": false}}),
    json!(["x", "* * * * *", "<none>", "False", 0, "<none>", "5m", "", "", "<none>"]))]
#[case::api_615("networking.k8s.io", "IngressClass", json!({"spec": {"controller": "example.com/c",
    "parameters": {"apiGroup": "g.example.com", "kind": "X", "name": "y"}}}), json!(["x", "example.com/c", "X.g.example.com/y", "5m"]))]
#[case::api_616("networking.k8s.io", "NetworkPolicy", json!({"spec": {"podSelector": {"matchLabels": {"a": "b"}}}}), json!(["x", "a=b", "5m"]))]
#[case::api_617("", "ConfigMap", json!({"data": {"a": ""}, "binaryData": {"b": ""}}), json!(["x", 2, "5m"]))]
#[case::api_617_secret("", "Secret", json!({"type": "Opaque", "data": {"a": ""}}), json!(["x", "Opaque", 1, "5m"]))]
#[case::api_618("", "Namespace", json!({"status": {"phase": "Active"}}), json!(["x", "Active", "5m"]))]
#[case::api_619("", "ServiceAccount", json!({}), json!(["x", "5m"]))]
#[case::api_621("", "PersistentVolumeClaim", json!({"spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}),
    json!(["x", "Pending", "", "", "", "", "<unset>", "5m", "Filesystem"]))]
#[case::api_622("storage.k8s.io", "StorageClass", json!({"provisioner": "p", "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
    json!(["x", "p", "Delete", "Immediate", false, "5m"]))]
#[case::api_623("policy", "PodDisruptionBudget", json!({"spec": {"minAvailable": "50%"}}), json!(["x", "50%", "N/A", 0, "5m"]))]
#[case::api_624("autoscaling", "HorizontalPodAutoscaler", json!({"spec": {"maxReplicas": 5, "minReplicas": 1,
    "scaleTargetRef": {"kind": "Deployment", "name": "d"}, "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}}]}}),
    json!(["x", "Deployment/d", "cpu: <unknown>/80%", "1", 5, 0, "5m"]))]
#[case::api_625("coordination.k8s.io", "Lease", json!({"spec": {"holderIdentity": "h"}}), json!(["x", "h", "5m"]))]
#[case::api_626("scheduling.k8s.io", "PriorityClass", json!({"value": 5, "preemptionPolicy": "PreemptLowerPriority"}),
    json!(["x", 5, false, "5m", "PreemptLowerPriority"]))]
#[case::api_627("apps", "ControllerRevision", json!({"revision": 2}), json!(["x", "<none>", 2, "5m"]))]
#[case::api_628("", "ResourceQuota", json!({"spec": {"hard": {"pods": "1"}}}), json!(["x", "", "", "5m"]))]
fn api_610_to_628_cells(
    #[case] group: &'static str,
    #[case] kind: &'static str,
    #[case] object: Value,
    #[case] want: Value,
) {
    assert_eq!(row(group, kind, object), want);
}

#[test]
fn api_620_event() {
    let event = json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"}, "reason": "R",
        "type": "Normal", "message": "m", "count": 3, "source": {"component": "c", "host": "h"},
        "firstTimestamp": "1970-01-01T00:00:00Z", "lastTimestamp": "1970-01-01T00:04:00Z"});
    assert_eq!(
        row("", "Event", event),
        json!(["60s", "Normal", "R", "pod/p", "", "c, h", "m", "5m", 3, "e"])
    );
}
