use rstest::rstest;
use serde_json::{Value, json};

use super::*;

/// What a new object of the kind becomes; `metadata` and what tests leave out is not shown.
fn filled(group: &'static str, kind: &'static str, mut object: Value) -> Value {
    let gk = GroupKind::new(group, kind);
    create(&gk, &mut object);
    let once = object.clone();
    apply(&gk, &mut object);
    assert_eq!(object, once, "defaults are idempotent");
    object
}

fn pod(members: &Value) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    spec.as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    filled("", "Pod", json!({"spec": spec}))
}

fn filled_container() -> Value {
    json!({"name": "c", "image": "i:1", "imagePullPolicy": "IfNotPresent", "resources": {},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"})
}

fn filled_template_spec() -> Value {
    json!({"containers": [filled_container()], "dnsPolicy": "ClusterFirst", "restartPolicy": "Always",
        "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30})
}

fn workload() -> Value {
    json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": {
        "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
}

/// Spec of a filled workload without selector and template, after a look at the template.
fn workload_spec(mut object: Value) -> Value {
    let spec = object["spec"].as_object_mut().unwrap();
    spec.remove("selector");
    let template = spec.remove("template").unwrap();
    assert_eq!(
        template,
        json!({"metadata": {"labels": {"app": "a"}}, "spec": filled_template_spec()})
    );
    object["spec"].take()
}

#[rstest]
#[case("i", "Always")]
#[case("i:latest", "Always")]
#[case("i:1", "IfNotPresent")]
#[case("r.example:5000/a", "Always")]
#[case("r.example:5000/a:v1", "IfNotPresent")]
#[case("i@sha256:aaaa", "IfNotPresent")]
#[case("i:latest@sha256:aaaa", "Always")]
fn api_321_pull_policy(#[case] image: &str, #[case] want: &str) {
    let pod = pod(&json!({"containers": [{"name": "c", "image": image}]}));
    assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], want);
}

#[rstest]
#[case(json!({}), "BestEffort")]
#[case(json!({"requests": {"cpu": "1"}}), "Burstable")]
#[case(json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed")]
#[case(json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}), "Burstable")]
#[case(json!({"limits": {"cpu": "1"}}), "Burstable")]
fn api_322_qos_class(#[case] resources: Value, #[case] want: &str) {
    let pod = pod(&json!({"containers": [{"name": "c", "image": "i", "resources": resources}]}));
    assert_eq!(pod["status"]["qosClass"], want);
}

#[test]
fn api_324_pod_spec() {
    let mut want = filled_template_spec();
    want["enableServiceLinks"] = json!(true);
    let mut spec = pod(&json!({}))["spec"].take();
    spec.as_object_mut().unwrap().remove("tolerations");
    assert_eq!(spec, want);
    assert_eq!(
        pod(&json!({"terminationGracePeriodSeconds": -1}))["spec"]["terminationGracePeriodSeconds"],
        1
    );
}

#[test]
fn api_325_container() {
    let container = json!({"name": "c", "image": "i", "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}});
    let pod = pod(&json!({"hostNetwork": true, "containers": [container]}));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(
        container["ports"],
        json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}])
    );
    assert_eq!(
        container["resources"]["requests"],
        json!({"cpu": "500m", "memory": "1Gi"})
    );
}

#[test]
fn api_326_probes() {
    let container = json!({"name": "c", "image": "i", "livenessProbe": {"httpGet": {"port": 80}},
        "readinessProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 3}, "startupProbe": {"grpc": {"port": 90}},
        "lifecycle": {"preStop": {"httpGet": {"port": 80}}}});
    let pod = pod(&json!({"containers": [container]}));
    let container = &pod["spec"]["containers"][0];
    let get = json!({"path": "/", "port": 80, "scheme": "HTTP"});
    assert_eq!(
        container["livenessProbe"],
        json!({"httpGet": get, "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(container["readinessProbe"]["periodSeconds"], 3);
    assert_eq!(
        container["startupProbe"]["grpc"],
        json!({"port": 90, "service": ""})
    );
    assert_eq!(container["lifecycle"]["preStop"]["httpGet"], get);
}

#[test]
fn api_327_env() {
    let env = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]);
    let pod = pod(&json!({"containers": [{"name": "c", "image": "i", "env": env}]}));
    let env = &pod["spec"]["containers"][0]["env"];
    assert_eq!(env[0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(env[1]["valueFrom"]["resourceFieldRef"]["divisor"], "0");
}

#[rstest]
#[case(json!({}), json!({"emptyDir": {}}))]
#[case(json!({"secret": {"secretName": "s"}}), json!({"secret": {"secretName": "s", "defaultMode": 420}}))]
#[case(json!({"configMap": {"name": "m"}}), json!({"configMap": {"name": "m", "defaultMode": 420}}))]
#[case(json!({"hostPath": {"path": "/x"}}), json!({"hostPath": {"path": "/x", "type": ""}}))]
#[case(json!({"nfs": {"server": "s", "path": "/p"}}), json!({"nfs": {"server": "s", "path": "/p"}}))]
#[case(json!({"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}),
    json!({"projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}]}}))]
#[case(json!({"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "metadata.name"}}]}}),
    json!({"downwardAPI": {"defaultMode": 420, "items": [{"path": "x", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}]}}))]
#[case(json!({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
    json!({"ephemeral": {"volumeClaimTemplate": {"metadata": {}, "spec": {"volumeMode": "Filesystem"}}}}))]
fn api_328_volumes(#[case] mut volume: Value, #[case] mut want: Value) {
    volume["name"] = json!("v");
    want["name"] = json!("v");
    assert_eq!(
        pod(&json!({"volumes": [volume]}))["spec"]["volumes"],
        json!([want])
    );
}

#[test]
fn api_329_pod_status() {
    assert_eq!(
        pod(&json!({}))["status"],
        json!({"phase": "Pending", "qosClass": "BestEffort"})
    );
    let gated = pod(&json!({"schedulingGates": [{"name": "example.com/g"}]}));
    assert_eq!(
        gated["status"]["conditions"],
        json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
            "lastProbeTime": null, "lastTransitionTime": null}])
    );
}

#[test]
fn api_330_deployment() {
    let deployment = filled("apps", "Deployment", workload());
    assert_eq!(deployment["status"], json!({}));
    assert_eq!(
        workload_spec(deployment),
        json!({"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}})
    );
    let mut partial = workload();
    partial["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 2}});
    assert_eq!(
        filled("apps", "Deployment", partial)["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 2, "maxUnavailable": "25%"}})
    );
    let mut recreate = workload();
    recreate["spec"]["strategy"] = json!({"type": "Recreate"});
    assert_eq!(
        filled("apps", "Deployment", recreate)["spec"]["strategy"],
        json!({"type": "Recreate"})
    );
}

#[test]
fn api_331_replica_set_and_replication_controller() {
    let set = filled("apps", "ReplicaSet", workload());
    assert_eq!(set["status"], json!({"replicas": 0}));
    assert_eq!(workload_spec(set), json!({"replicas": 1}));
    let mut controller = workload();
    controller["spec"].as_object_mut().unwrap().remove("selector");
    let controller = filled("", "ReplicationController", controller);
    assert_eq!(controller["spec"]["selector"], json!({"app": "a"}));
    assert_eq!(controller["metadata"]["labels"], json!({"app": "a"}));
}

#[test]
fn api_332_stateful_set() {
    let mut set = workload();
    set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "d"}, "spec": {}}]);
    let set = filled("apps", "StatefulSet", set);
    assert_eq!(set["status"], json!({"replicas": 0, "availableReplicas": 0}));
    assert_eq!(
        workload_spec(set),
        json!({"replicas": 1, "podManagementPolicy": "OrderedReady", "revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "volumeClaimTemplates": [{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "d"},
                "spec": {"volumeMode": "Filesystem"}, "status": {"phase": "Pending"}}]})
    );
}

#[test]
fn api_333_daemon_set() {
    let set = filled("apps", "DaemonSet", workload());
    assert_eq!(
        set["metadata"]["annotations"],
        json!({"deprecated.daemonset.template.generation": "1"})
    );
    assert_eq!(
        workload_spec(set),
        json!({"revisionHistoryLimit": 10,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}})
    );
}

#[test]
fn api_334_job() {
    let job = filled(
        "batch",
        "Job",
        json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"completions": 3}}),
    );
    let spec = &job["spec"];
    assert_eq!(
        (&spec["completions"], &spec["parallelism"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(
        (&spec["backoffLimit"], &spec["completionMode"]),
        (&json!(6), &json!("NonIndexed"))
    );
    assert_eq!(spec["podReplacementPolicy"], "TerminatingOrFailed");
    let parallel = filled("batch", "Job", json!({"spec": {"parallelism": 2}}));
    assert_eq!(parallel["spec"].get("completions"), None);
}

#[test]
fn api_323_job_selector() {
    let job = filled(
        "batch",
        "Job",
        json!({"metadata": {"name": "j", "uid": "u"}, "spec": {}}),
    );
    assert_eq!(
        job["spec"]["selector"],
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}})
    );
    let labels = json!({"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "j",
        "controller-uid": "u", "job-name": "j"});
    assert_eq!(job["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!(job["metadata"]["labels"], labels);
}

#[test]
fn api_335_cron_job() {
    let job = filled("batch", "CronJob", json!({"spec": {"schedule": "* * * * *"}}));
    let spec = &job["spec"];
    assert_eq!(
        (&spec["concurrencyPolicy"], &spec["suspend"]),
        (&json!("Allow"), &json!(false))
    );
    assert_eq!(
        (
            &spec["successfulJobsHistoryLimit"],
            &spec["failedJobsHistoryLimit"]
        ),
        (&json!(3), &json!(1))
    );
    assert_eq!(
        spec["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"],
        "Always"
    );
}

#[rstest]
#[case(json!({"ports": [{"port": 80}]}),
    json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]}))]
#[case(json!({"clusterIP": "None"}),
    json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack", "clusterIP": "None", "clusterIPs": ["None"]}))]
#[case(json!({"type": "ExternalName", "externalName": "a.example"}),
    json!({"type": "ExternalName", "externalName": "a.example", "sessionAffinity": "None"}))]
#[case(json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP"}),
    json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP", "internalTrafficPolicy": "Cluster",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}}, "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Cluster", "allocateLoadBalancerNodePorts": true}))]
fn api_336_service(#[case] spec: Value, #[case] want: Value) {
    let service = filled("", "Service", json!({"spec": spec}));
    assert_eq!(service["spec"], want);
    assert_eq!(service["status"], json!({"loadBalancer": {}}));
}

#[rstest]
#[case::api_337("", "Endpoints", json!({"subsets": [{"ports": [{"port": 80}]}]}), "/subsets/0/ports/0/protocol", json!("TCP"))]
#[case::api_338("discovery.k8s.io", "EndpointSlice", json!({"ports": [{"port": 80}]}), "/ports/0",
    json!({"name": "", "port": 80, "protocol": "TCP"}))]
#[case::api_338_conditions("discovery.k8s.io", "EndpointSlice", json!({"endpoints": [{}]}), "/endpoints/0/conditions", json!({}))]
#[case::api_339("networking.k8s.io", "Ingress", json!({"spec": {"rules": [{"http": {"paths": [{}]}}]}}),
    "/spec/rules/0/http/paths/0", json!({}))]
#[case::api_340("networking.k8s.io", "IngressClass", json!({"spec": {"parameters": {}}}), "/spec/parameters/scope", json!("Cluster"))]
#[case::api_341("networking.k8s.io", "NetworkPolicy", json!({"spec": {"egress": [{}]}}), "/spec/policyTypes", json!(["Ingress", "Egress"]))]
#[case::api_341_ingress("networking.k8s.io", "NetworkPolicy", json!({"spec": {"ingress": [{"ports": [{"port": 80}]}]}}),
    "/spec", json!({"ingress": [{"ports": [{"port": 80, "protocol": "TCP"}]}], "podSelector": {}, "policyTypes": ["Ingress"]}))]
#[case::api_342("", "PersistentVolumeClaim", json!({"spec": {}}), "/spec/volumeMode", json!("Filesystem"))]
#[case::api_342_volume("", "PersistentVolume", json!({"spec": {}}), "/spec/persistentVolumeReclaimPolicy", json!("Retain"))]
#[case::api_343("storage.k8s.io", "StorageClass", json!({}), "", json!({"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}))]
#[case::api_344("scheduling.k8s.io", "PriorityClass", json!({}), "/preemptionPolicy", json!("PreemptLowerPriority"))]
#[case::api_345("autoscaling", "HorizontalPodAutoscaler", json!({"spec": {"behavior": {"scaleUp": {"stabilizationWindowSeconds": 10}}}}),
    "/spec/behavior", json!({
        "scaleDown": {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]},
        "scaleUp": {"selectPolicy": "Max", "stabilizationWindowSeconds": 10, "policies": [
            {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]}}))]
#[case::api_346("", "Node", json!({"spec": {"podCIDR": "10.9.0.0/24"}}), "/spec/podCIDRs", json!(["10.9.0.0/24"]))]
#[case::api_346_allocatable("", "Node", json!({"status": {"capacity": {"cpu": "4"}}}), "/status/allocatable", json!({"cpu": "4"}))]
#[case::api_347("", "LimitRange", json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}]}}),
    "/spec/limits/0/defaultRequest", json!({"cpu": "2", "memory": "1Mi"}))]
#[case::api_348("rbac.authorization.k8s.io", "RoleBinding", json!({"subjects": [{"kind": "ServiceAccount"}, {"kind": "User"}]}),
    "/subjects", json!([{"kind": "ServiceAccount"}, {"kind": "User", "apiGroup": "rbac.authorization.k8s.io"}]))]
#[case::api_349("apiextensions.k8s.io", "CustomResourceDefinition", json!({"spec": {"names": {"kind": "Widget", "plural": "widgets"}}}),
    "/spec", json!({"conversion": {"strategy": "None"},
        "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"}}))]
#[case::api_504("", "Node", json!({}), "/spec/taints", json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]))]
#[case::api_506("", "PersistentVolumeClaim", json!({}), "/metadata/finalizers", json!(["kubernetes.io/pvc-protection"]))]
#[case::api_74("", "Event", json!({}), "", json!({"eventTime": null, "firstTimestamp": null, "lastTimestamp": null,
    "involvedObject": {}, "source": {}, "reportingComponent": "", "reportingInstance": ""}))]
#[case::api_77("", "Secret", json!({}), "/type", json!("Opaque"))]
fn api_337_to_349_one_member(
    #[case] group: &'static str,
    #[case] kind: &'static str,
    #[case] object: Value,
    #[case] at: &str,
    #[case] want: Value,
) {
    assert_eq!(filled(group, kind, object).pointer(at), Some(&want));
}

#[test]
fn api_175_namespace() {
    let namespace = filled("", "Namespace", json!({"metadata": {"name": "n"}}));
    assert_eq!(
        namespace["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "n"})
    );
    assert_eq!(namespace["spec"], json!({"finalizers": ["kubernetes"]}));
    assert_eq!(namespace["status"], json!({"phase": "Active"}));
    let mut finalized = json!({"metadata": {"name": "n"}, "spec": {}});
    apply(&GroupKind::new("", "Namespace"), &mut finalized);
    assert_eq!(
        finalized["spec"],
        json!({}),
        "an update does not bring the finalizer back"
    );
}

#[test]
fn api_502_tolerations() {
    let seconds = |pod: &Value| -> Vec<Value> {
        pod["spec"]["tolerations"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["tolerationSeconds"].clone())
            .collect()
    };
    assert_eq!(seconds(&pod(&json!({}))), [300, 300]);
    let own = json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 10});
    assert_eq!(seconds(&pod(&json!({"tolerations": [own]}))), [10, 300]);
    assert_eq!(
        seconds(&pod(&json!({"tolerations": [{"operator": "Exists"}]}))),
        [Value::Null]
    );
}
