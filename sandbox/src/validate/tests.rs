//! Rules by requirement: what the API server answers to an object that breaks one.

use rstest::rstest;
use serde_json::json;

use super::*;
use crate::defaults;

fn gk(group: &'static str, kind: &'static str) -> GroupKind {
    GroupKind::new(group, kind)
}

fn text(errors: &[FieldError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The object as it is when it is validated: decoded and defaulted, with a name.
fn prepared(gk: &GroupKind, mut object: Value) -> Value {
    if object.get("metadata").is_none() {
        object["metadata"] = json!({});
    }
    if object["metadata"].get("name").is_none() {
        object["metadata"]["name"] = json!("x");
    }
    decode(gk, &mut object).unwrap();
    defaults::create(gk, &mut object);
    object
}

fn created(gk: &GroupKind, object: Value) -> String {
    text(&create(gk, &prepared(gk, object)))
}

fn updated(gk: &GroupKind, old: &Value, change: &Value) -> String {
    let old = prepared(gk, old.clone());
    let mut new = crate::patch::apply(crate::patch::PatchKind::Merge, None, &old, change).unwrap();
    decode(gk, &mut new).unwrap();
    defaults::apply(gk, &mut new);
    text(&update(gk, &new, &old))
}

/// A pod whose spec has these members besides one container.
fn pod(members: &Value) -> Value {
    let mut spec = json!({"containers": [{"name": "c", "image": "i"}]});
    spec.as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    json!({"spec": spec})
}

/// A pod whose only container has these members besides name and image.
fn container(members: &Value) -> Value {
    let mut container = json!({"name": "c", "image": "i"});
    container
        .as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    pod(&json!({"containers": [container]}))
}

/// A valid workload whose spec has these members besides selector and template.
fn workload(members: &Value) -> Value {
    let template =
        json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let mut spec = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template});
    spec.as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    json!({"spec": spec})
}

#[rstest]
#[case(json!({"containers": []}), "spec.containers: Required value")]
#[case(json!({"containers": [{"name": "c"}]}), "spec.containers[0].image: Required value")]
#[case(json!({"containers": [{"name": "c", "image": " i"}]}),
    "spec.containers[0].image: Invalid value: \" i\": must not have leading or trailing whitespace")]
#[case(json!({"containers": [{"image": "i"}]}), "spec.containers[0].name: Required value")]
#[case(json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]}),
    "spec.containers[1].name: Duplicate value: \"c\"")]
#[case(json!({"restartPolicy": "X"}),
    "spec.restartPolicy: Unsupported value: \"X\": supported values: \"Always\", \"OnFailure\", \"Never\"")]
#[case(json!({"dnsPolicy": "X"}),
    "spec.dnsPolicy: Unsupported value: \"X\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"")]
#[case(json!({"activeDeadlineSeconds": 0}),
    "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive")]
#[case(json!({"hostname": "a.b"}), "spec.hostname: Invalid value: \"a.b\": must not contain dots")]
#[case(json!({"terminationGracePeriodSeconds": -1}), "")]
fn api_381_pod(#[case] members: Value, #[case] want: &str) {
    assert_eq!(created(&gk("", "Pod"), pod(&members)), want);
}

#[rstest]
#[case(json!([{"containerPort": 0}]), "spec.containers[0].ports[0].containerPort: Required value")]
#[case(json!([{"containerPort": 70000}]),
    "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive")]
#[case(json!([{"containerPort": 80, "name": "toolongportname1234"}]),
    "spec.containers[0].ports[0].name: Invalid value: \"toolongportname1234\": must be no more than 15 characters")]
#[case(json!([{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]),
    "spec.containers[0].ports[1].name: Duplicate value: \"a\"")]
#[case(json!([{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 80}]),
    "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//80\"")]
#[case(json!([{"containerPort": 80, "protocol": "X"}]),
    "spec.containers[0].ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"")]
fn api_382_ports(#[case] ports: Value, #[case] want: &str) {
    assert_eq!(created(&gk("", "Pod"), container(&json!({"ports": ports}))), want);
}

#[test]
fn api_382_host_network() {
    let pod = pod(&json!({"hostNetwork": true,
        "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 81}]}]}));
    let want = "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true";
    assert_eq!(created(&gk("", "Pod"), pod), want);
}

#[rstest]
#[case(json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
    "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1")]
#[case(json!({"requests": {"cpu": "-1"}}),
    "spec.containers[0].resources.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0")]
#[case(json!({"requests": {"foo": "1"}}),
    "spec.containers[0].resources.requests[foo]: Invalid value: \"foo\": must be a standard resource type or fully qualified; \
     spec.containers[0].resources.requests[foo]: Invalid value: \"foo\": must be a standard resource for containers")]
#[case(json!({"requests": {"example.com/gpu": "1"}}),
    "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources")]
#[case(json!({"limits": {"example.com/gpu": "1.5"}}),
    "spec.containers[0].resources.limits[example.com/gpu]: Invalid value: \"1500m\": must be an integer; \
     spec.containers[0].resources.requests[example.com/gpu]: Invalid value: \"1500m\": must be an integer")]
fn api_383_resources(#[case] resources: Value, #[case] want: &str) {
    assert_eq!(
        created(&gk("", "Pod"), container(&json!({"resources": resources}))),
        want
    );
}

#[rstest]
#[case(json!({"volumes": [{"name": "a"}, {"name": "a"}]}), "spec.volumes[1].name: Duplicate value: \"a\"")]
#[case(json!({"volumes": [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}}]}),
    "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type")]
#[case(json!({"volumes": [{"name": "a", "secret": {}}]}), "spec.volumes[0].secret.secretName: Required value")]
#[case(json!({"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "zzz", "mountPath": "/x"}]}]}),
    "spec.containers[0].volumeMounts[0].name: Not found: \"zzz\"")]
#[case(json!({"volumes": [{"name": "a"}], "containers": [{"name": "c", "image": "i",
        "volumeMounts": [{"name": "a", "mountPath": "/x"}, {"name": "a", "mountPath": "/x"}]}]}),
    "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/x\": must be unique")]
fn api_384_volumes(#[case] members: Value, #[case] want: &str) {
    assert_eq!(created(&gk("", "Pod"), pod(&members)), want);
}

#[rstest]
#[case(json!({"livenessProbe": {}}), "spec.containers[0].livenessProbe: Required value: must specify a handler type")]
#[case(json!({"livenessProbe": {"tcpSocket": {"port": 80}, "httpGet": {"port": 80}}}),
    "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type")]
#[case(json!({"livenessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": -1}}),
    "spec.containers[0].livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0")]
#[case(json!({"readinessProbe": {"tcpSocket": {"port": 80}, "terminationGracePeriodSeconds": 5}}),
    "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes")]
#[case(json!({"livenessProbe": {"tcpSocket": {"port": 80}, "successThreshold": 2}}),
    "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1")]
fn api_385_probes(#[case] members: Value, #[case] want: &str) {
    assert_eq!(created(&gk("", "Pod"), container(&members)), want);
}

#[rstest]
#[case(json!({"value": "x"}), "spec.containers[0].env[0].name: Required value")]
#[case(json!({"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
    "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty")]
#[case(json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.nope"}}}),
    "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"metadata.nope\": error converting fieldPath: field label not supported: metadata.nope")]
#[case(json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['x']"}}}), "")]
fn api_386_env(#[case] variable: Value, #[case] want: &str) {
    assert_eq!(
        created(&gk("", "Pod"), container(&json!({"env": [variable]}))),
        want
    );
}

#[rstest]
#[case(json!({"key": "a", "operator": "Exists", "value": "x"}),
    "spec.tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'")]
#[case(json!({"operator": "Equal"}),
    "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"")]
#[case(json!({"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5}),
    "spec.tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set")]
#[case(json!({"key": "a", "effect": "X"}),
    "spec.tolerations[0].effect: Unsupported value: \"X\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"")]
fn api_387_tolerations(#[case] toleration: Value, #[case] want: &str) {
    assert_eq!(
        created(&gk("", "Pod"), pod(&json!({"tolerations": [toleration]}))),
        want
    );
}

#[test]
fn api_388_affinity() {
    let node = |terms: Value| {
        let required =
            json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
        created(
            &gk("", "Pod"),
            pod(&json!({"affinity": {"nodeAffinity": required}})),
        )
    };
    let at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    assert_eq!(
        node(json!([])),
        format!("{at}: Required value: must have at least one node selector term")
    );
    assert_eq!(
        node(json!([{"matchExpressions": [{"key": "a", "operator": "In"}]}])),
        format!(
            "{at}[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
        )
    );
    let term = json!({"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ""}]});
    let errors = created(&gk("", "Pod"), pod(&json!({"affinity": {"podAffinity": term}})));
    assert_eq!(errors.matches("topologyKey: ").count(), 3);
}

#[test]
fn api_389_topology_spread() {
    let spread = |constraint: Value| {
        created(
            &gk("", "Pod"),
            pod(&json!({"topologySpreadConstraints": [constraint]})),
        )
    };
    assert_eq!(
        spread(json!({"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"})),
        "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero"
    );
    assert_eq!(
        spread(json!({"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "X"})),
        "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"X\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\""
    );
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"template": {"spec": {"topologySpreadConstraints": [{"maxSkew": 1}]}}}});
    assert_eq!(
        warnings(&gk("apps", "Deployment"), &deployment),
        [
            "spec.template.spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod"
        ]
    );
}

#[rstest]
#[case(json!({"selector": {"matchLabels": {"app": "b"}}}),
    "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`")]
#[case(json!({"selector": {}}), "spec.selector: Invalid value: {}: empty selector is invalid for deployment")]
#[case(json!({"selector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
    "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'; \
     spec.selector: Invalid value: {\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\"}]}: invalid label selector")]
#[case(json!({"replicas": -1}), "spec.replicas: Invalid value: -1: must be greater than or equal to 0")]
fn api_390_replica_set(#[case] members: Value, #[case] want: &str) {
    assert_eq!(created(&gk("apps", "ReplicaSet"), workload(&members)), want);
}

#[test]
fn api_390_errors_are_complete() {
    let want = "spec.selector: Required value; \
                spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`; \
                spec.template.spec.containers: Required value";
    assert_eq!(created(&gk("apps", "ReplicaSet"), json!({"spec": {}})), want);
    let restarts = json!({"template": {"metadata": {"labels": {"app": "a"}}, "spec": {
        "restartPolicy": "Never", "activeDeadlineSeconds": 5, "containers": [{"name": "c", "image": "i"}]}}});
    let want = "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"; \
                spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported";
    assert_eq!(created(&gk("apps", "Deployment"), workload(&restarts)), want);
}

#[rstest]
#[case(json!({"strategy": {"type": "X"}}),
    "spec.strategy: Unsupported value: {\"Type\":\"X\",\"RollingUpdate\":null}: supported values: \"Recreate\", \"RollingUpdate\"")]
#[case(json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}}),
    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0")]
#[case(json!({"strategy": {"rollingUpdate": {"maxUnavailable": "150%"}}}),
    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"150%\": must not be greater than 100%")]
#[case(json!({"strategy": {"rollingUpdate": {"maxSurge": "x"}}}),
    "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"x\": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')")]
#[case(json!({"strategy": {"type": "Recreate", "rollingUpdate": {}}}),
    "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'")]
#[case(json!({"progressDeadlineSeconds": 600, "minReadySeconds": 600}),
    "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds")]
fn api_391_deployment(#[case] members: Value, #[case] want: &str) {
    assert_eq!(created(&gk("apps", "Deployment"), workload(&members)), want);
}

#[rstest]
#[case(json!({"podManagementPolicy": "X"}),
    "spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'")]
#[case(json!({"updateStrategy": {"type": "X"}}),
    "spec.updateStrategy: Invalid value: {\"Type\":\"X\",\"RollingUpdate\":null}: must be 'RollingUpdate' or 'OnDelete'")]
#[case(json!({"updateStrategy": {"rollingUpdate": {"partition": -1}}}),
    "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0")]
fn api_392_stateful_set(#[case] members: Value, #[case] want: &str) {
    assert_eq!(created(&gk("apps", "StatefulSet"), workload(&members)), want);
}

#[rstest]
#[case(json!({"updateStrategy": {"type": "X"}}),
    "spec.updateStrategy: Unsupported value: {\"Type\":\"X\",\"RollingUpdate\":null}: supported values: \"RollingUpdate\", \"OnDelete\"")]
#[case(json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0}}}),
    "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0")]
fn api_393_daemon_set(#[case] members: Value, #[case] want: &str) {
    assert_eq!(created(&gk("apps", "DaemonSet"), workload(&members)), want);
}

#[test]
fn api_394_job() {
    let job = |spec: Value| {
        let metadata = json!({"name": "j", "uid": "11111111-1111-1111-1111-111111111111"});
        created(&gk("batch", "Job"), json!({"metadata": metadata, "spec": spec}))
    };
    let template = |policy: &str| json!({"spec": {"restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(job(json!({"template": template("Never")})), "");
    assert_eq!(
        job(json!({"template": template("")})),
        "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""
    );
    let chosen = job(json!({"template": template("Never"), "selector": {"matchLabels": {"a": "b"}}}));
    assert!(chosen.starts_with(
        "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"batch.kubernetes.io/controller-uid\":"
    ));
    assert!(chosen.contains("`selector` not auto-generated; spec.template.metadata.labels: "));
}

#[rstest]
#[case(json!({"schedule": "* * * * *"}), "")]
#[case(json!({"schedule": "*/5 1-3 * JAN MON-FRI"}), "")]
#[case(json!({"schedule": "@daily"}), "")]
#[case(json!({"schedule": "nope"}), "spec.schedule: Invalid value: \"nope\": expected exactly 5 fields, found 1: [nope]")]
#[case(json!({"schedule": "60 * * * *"}),
    "spec.schedule: Invalid value: \"60 * * * *\": end of range (60) above maximum (59): 60")]
#[case(json!({"schedule": "* * * * *", "timeZone": "Nope/City"}),
    "spec.timeZone: Invalid value: \"Nope/City\": unknown time zone Nope/City")]
#[case(json!({"schedule": "* * * * *", "concurrencyPolicy": "X"}),
    "spec.concurrencyPolicy: Unsupported value: \"X\": supported values: \"Allow\", \"Forbid\", \"Replace\"")]
fn api_394_cron_job(#[case] mut spec: Value, #[case] want: &str) {
    spec["jobTemplate"] = json!({"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}});
    assert_eq!(created(&gk("batch", "CronJob"), json!({"spec": spec})), want);
}

#[rstest]
#[case(json!({}), "spec.ports: Required value")]
#[case(json!({"clusterIP": "None"}), "")]
#[case(json!({"ports": [{"port": 80}, {"port": 81, "name": "b"}]}), "spec.ports[0].name: Required value")]
#[case(json!({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b", "targetPort": 1}]}),
    "spec.ports[1]: Duplicate value: {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}")]
#[case(json!({"ports": [{"port": 80}], "type": "X"}),
    "spec.type: Unsupported value: \"X\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"")]
#[case(json!({"ports": [{"port": 80}], "sessionAffinity": "X"}),
    "spec.sessionAffinity: Unsupported value: \"X\": supported values: \"ClientIP\", \"None\"")]
#[case(json!({"ports": [{"port": 80}], "externalTrafficPolicy": "Local"}),
    "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services")]
#[case(json!({"type": "ExternalName"}), "spec.externalName: Required value")]
fn api_395_service(#[case] spec: Value, #[case] want: &str) {
    assert_eq!(created(&gk("", "Service"), json!({"spec": spec})), want);
}

#[test]
fn api_396_endpoints() {
    let endpoints = json!({"subsets": [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 80}]}]});
    assert_eq!(
        created(&gk("", "Endpoints"), endpoints.clone()),
        "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"
    );
    let warning = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
    assert_eq!(warnings(&gk("", "Endpoints"), &endpoints), [warning]);
}

#[rstest]
#[case(json!({"addressType": "X", "endpoints": [{"addresses": ["192.0.2.1"]}]}),
    "addressType: Unsupported value: \"X\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"")]
#[case(json!({"endpoints": [{"addresses": ["192.0.2.1"]}]}), "addressType: Required value")]
#[case(json!({"addressType": "IPv4", "endpoints": [{"addresses": []}]}),
    "endpoints[0].addresses: Required value: must contain at least 1 address")]
#[case(json!({"addressType": "IPv4", "endpoints": [{"addresses": ["bad"]}]}),
    "endpoints[0].addresses[0]: Invalid value: \"bad\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
#[case(json!({"addressType": "IPv6", "endpoints": [{"addresses": ["192.0.2.1"]}]}),
    "endpoints[0].addresses: Invalid value: \"192.0.2.1\": must be an IPv6 address")]
#[case(json!({"addressType": "IPv4", "ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}),
    "ports[1].name: Duplicate value: \"a\"")]
fn api_397_endpoint_slice(#[case] slice: Value, #[case] want: &str) {
    assert_eq!(created(&gk("discovery.k8s.io", "EndpointSlice"), slice), want);
}

#[test]
fn api_397_size_of_endpoint_slices() {
    let endpoints: Vec<Value> = (0..1001).map(|_| json!({"addresses": ["192.0.2.1"]})).collect();
    let slice = json!({"addressType": "IPv4", "endpoints": endpoints});
    let want = "endpoints: Too many: 1001: must have at most 1000 items";
    assert_eq!(created(&gk("discovery.k8s.io", "EndpointSlice"), slice), want);
}

#[rstest]
#[case(json!({"pathType": null}), "pathType: Required value: pathType must be specified")]
#[case(json!({"pathType": "X"}),
    "pathType: Unsupported value: \"X\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\"")]
#[case(json!({"path": "no-slash"}), "path: Invalid value: \"no-slash\": must be an absolute path")]
#[case(json!({"path": "/a//b"}), "path: Invalid value: \"/a//b\": must not contain '//'")]
#[case(json!({"path": "/a/../b"}), "path: Invalid value: \"/a/../b\": must not contain '/../'")]
#[case(json!({"path": "/a/.."}), "path: Invalid value: \"/a/..\": cannot end with '/..'")]
#[case(json!({"backend": {}}), "backend: Invalid value: \"\": resource or service backend is required")]
#[case(json!({"backend": {"service": {"name": "s", "port": {}}}}), "backend: Required value: port name or number is required")]
#[case(json!({"backend": {"service": {"name": "s", "port": {"number": 80, "name": "x"}}}}),
    "backend: Invalid value: \"\": cannot set both port name & port number")]
#[case(json!({"backend": {"service": {"name": "s", "port": {"number": 80}}, "resource": {"kind": "X", "name": "y"}}}),
    "backend: Invalid value: \"\": cannot set both resource and service backends")]
fn api_398_ingress_path(#[case] members: Value, #[case] want: &str) {
    let mut path = json!({"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}});
    path.as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    let ingress = json!({"spec": {"rules": [{"host": "a.example", "http": {"paths": [path]}}]}});
    assert_eq!(
        created(&gk("networking.k8s.io", "Ingress"), ingress),
        format!("spec.rules[0].http.paths[0].{want}")
    );
}

#[test]
fn api_398_ingress() {
    let ingress = |spec: Value| created(&gk("networking.k8s.io", "Ingress"), json!({"spec": spec}));
    assert_eq!(
        ingress(json!({})),
        "spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"
    );
    assert_eq!(
        ingress(json!({"rules": [{"host": "192.0.2.1"}]})),
        "spec.rules[0].host: Invalid value: \"192.0.2.1\": must be a DNS name, not an IP address"
    );
    assert_eq!(ingress(json!({"rules": [{"host": "*.a.example"}]})), "");
}

#[test]
fn api_399_disruption_budget() {
    let budget = |spec: Value| created(&gk("policy", "PodDisruptionBudget"), json!({"spec": spec}));
    assert!(
        budget(json!({"minAvailable": 1, "maxUnavailable": 1}))
            .ends_with("minAvailable and maxUnavailable cannot be both set")
    );
    assert_eq!(
        budget(json!({"minAvailable": -1})),
        "spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"
    );
    assert_eq!(
        budget(json!({"unhealthyPodEvictionPolicy": "X"})),
        "spec.unhealthyPodEvictionPolicy: Unsupported value: \"X\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\""
    );
}

#[test]
fn api_400_autoscaler() {
    let autoscaler = json!({"spec": {"maxReplicas": 2, "minReplicas": 3, "scaleTargetRef": {"name": "d"}}});
    assert_eq!(
        created(&gk("autoscaling", "HorizontalPodAutoscaler"), autoscaler),
        "spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`; \
         spec.scaleTargetRef.kind: Required value; \
         spec.scaleTargetRef.apiVersion: Invalid value: \"\": apiVersion must specify API group"
    );
}

#[test]
fn api_401_node_taints() {
    let node = |taints: Value| created(&gk("", "Node"), json!({"spec": {"taints": taints}}));
    assert_eq!(
        node(json!([{"key": "a", "effect": "X"}])),
        "metadata.taints[0].effect: Unsupported value: \"X\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\""
    );
    assert_eq!(
        node(json!([{"key": "a", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}])),
        "metadata.taints[1]: Duplicate value: {\"Key\":\"a\",\"Value\":\"\",\"Effect\":\"NoSchedule\",\"TimeAdded\":null}: taints must be unique by key and effect pair"
    );
}

#[test]
fn api_402_claim() {
    let claim = created(&gk("", "PersistentVolumeClaim"), json!({"spec": {}}));
    assert_eq!(
        claim,
        "spec.accessModes: Required value: at least 1 access mode is required; spec.resources[storage]: Required value"
    );
}

#[test]
fn api_403_lease() {
    let lease = json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}});
    assert_eq!(
        created(&gk("coordination.k8s.io", "Lease"), lease),
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0; \
         spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"
    );
}

#[rstest]
#[case("n", json!({"kind": "Pod", "namespace": "n"}), "")]
#[case("n", json!({"kind": "Pod", "namespace": "other"}),
    "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace")]
#[case("n", json!({"kind": "Node"}), "involvedObject.namespace: Invalid value: \"\": does not match event.namespace")]
#[case("default", json!({"kind": "Node"}), "")]
fn api_404_event_namespace(#[case] namespace: &str, #[case] about: Value, #[case] want: &str) {
    let event = json!({"metadata": {"name": "e", "namespace": namespace}, "involvedObject": about});
    assert_eq!(created(&gk("", "Event"), event), want);
}

#[test]
fn api_404_events_of_the_new_group() {
    let event = json!({"metadata": {"name": "e", "namespace": "n"}, "regarding": {"kind": "Pod", "namespace": "n"}, "type": "Odd"});
    assert_eq!(
        created(&gk("events.k8s.io", "Event"), event),
        "eventTime: Required value; type: Invalid value: \"\": has invalid value: Odd"
    );
}

#[rstest]
#[case(json!({"policyTypes": ["X"]}),
    "spec.policyTypes[0]: Unsupported value: \"X\": supported values: \"Ingress\", \"Egress\"")]
#[case(json!({"ingress": [{"from": [{"ipBlock": {"cidr": "bad"}}]}]}),
    "spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"bad\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")]
#[case(json!({"ingress": [{"ports": [{"port": 80, "endPort": 70}]}]}),
    "spec.ingress[0].ports[0].endPort: Invalid value: 80: must be greater than or equal to `port`")]
fn api_405_network_policy(#[case] spec: Value, #[case] want: &str) {
    assert_eq!(
        created(&gk("networking.k8s.io", "NetworkPolicy"), json!({"spec": spec})),
        want
    );
}

#[test]
fn api_406_priority_class() {
    let class = |name: &str, value: i64| {
        created(
            &gk("scheduling.k8s.io", "PriorityClass"),
            json!({"metadata": {"name": name}, "value": value}),
        )
    };
    assert_eq!(
        class("x", 1_000_000_001),
        "value: Forbidden: maximum allowed value of a user defined priority is 1000000000"
    );
    assert!(class("system-x", 5).contains("reserved"));
    assert_eq!(class("system-node-critical", 2_000_001_000), "");
}

#[rstest]
#[case("Deployment", json!({"replicas": 1, "readyReplicas": 2}),
    "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas")]
#[case("Deployment", json!({"replicas": -1}),
    "status.replicas: Invalid value: -1: must be greater than or equal to 0; \
     status.updatedReplicas: Invalid value: 0: cannot be greater than status.replicas; \
     status.readyReplicas: Invalid value: 0: cannot be greater than status.replicas; \
     status.availableReplicas: Invalid value: 0: cannot be greater than status.replicas")]
#[case("ReplicaSet", json!({"replicas": 1, "availableReplicas": 2}),
    "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas; \
     status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas")]
#[case("Deployment", json!({"collisionCount": 1}), "status.collisionCount: Invalid value: 1: cannot be decremented")]
#[case("Deployment", json!({"collisionCount": 2, "observedGeneration": 3}), "")]
fn api_407_status(#[case] kind: &'static str, #[case] status: Value, #[case] want: &str) {
    let old = json!({"metadata": {"name": "d"}, "status": {"collisionCount": 2, "observedGeneration": 5}});
    let mut status = status;
    if kind == "Deployment" && status.get("collisionCount").is_none() {
        status["collisionCount"] = json!(2);
    }
    let old = if kind == "Deployment" {
        old
    } else {
        json!({"metadata": {"name": "d"}})
    };
    let new = json!({"metadata": {"name": "d"}, "status": status});
    assert_eq!(text(&update_status(&gk("apps", kind), &new, &old)), want);
}

#[rstest]
#[case("apps", "Deployment", workload(&json!({})), json!({"spec": {"selector": {"matchLabels": {"app": "z"}}, "template": {"metadata": {"labels": {"app": "z"}}}}}),
    "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"z\"}}: field is immutable")]
#[case("apps", "ReplicaSet", workload(&json!({})), json!({"spec": {"template": {"metadata": {"labels": {"q": "y"}}}}}), "")]
#[case("apps", "StatefulSet", workload(&json!({"serviceName": "s"})), json!({"spec": {"serviceName": "t"}}),
    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden")]
#[case("apps", "StatefulSet", workload(&json!({})), json!({"spec": {"replicas": 3, "minReadySeconds": 5}}), "")]
#[case("apps", "ControllerRevision", json!({"data": {"a": 1}, "revision": 1}), json!({"data": {"a": 2}}),
    "data: Invalid value: {\"a\":2}: field is immutable")]
#[case("", "Secret", json!({"type": "a/b"}), json!({"type": "c/d"}), "type: Invalid value: \"c/d\": field is immutable")]
#[case("discovery.k8s.io", "EndpointSlice", json!({"addressType": "IPv4"}), json!({"addressType": "IPv6"}),
    "addressType: Invalid value: \"IPv6\": field is immutable")]
#[case("networking.k8s.io", "IngressClass", json!({"spec": {"controller": "example.com/c"}}), json!({"spec": {"controller": "example.com/d"}}),
    "spec.controller: Invalid value: \"example.com/d\": field is immutable")]
#[case("storage.k8s.io", "StorageClass", json!({"provisioner": "example.com/p"}), json!({"parameters": {"a": "b"}}),
    "parameters: Invalid value: {\"a\":\"b\"}: field is immutable")]
#[case("rbac.authorization.k8s.io", "RoleBinding", json!({"roleRef": {"kind": "Role", "name": "r"}}), json!({"roleRef": {"name": "q"}}),
    "roleRef: Invalid value: {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"Role\",\"Name\":\"q\"}: cannot change roleRef")]
#[case("", "PersistentVolumeClaim", json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    json!({"spec": {"accessModes": ["ReadOnlyMany"]}}),
    "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims")]
#[case("scheduling.k8s.io", "PriorityClass", json!({"value": 5}), json!({"value": 6}), "value: Forbidden: may not be changed in an update.")]
#[case("", "Service", json!({"spec": {"ports": [{"port": 80}], "clusterIP": "10.0.200.7"}}), json!({"spec": {"clusterIP": "10.0.201.1", "clusterIPs": ["10.0.201.1"]}}),
    "spec.clusterIPs[0]: Invalid value: [\"10.0.201.1\"]: may not change once set")]
#[case("", "Node", json!({"spec": {"podCIDR": "10.9.0.0/24"}}), json!({"spec": {"podCIDR": "10.9.1.0/24"}}),
    "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid")]
#[case("", "ConfigMap", json!({"data": {"a": "b"}, "immutable": true}), json!({"data": {"a": "c"}}),
    "data: Forbidden: field is immutable when `immutable` is set")]
fn api_430_immutable(
    #[case] group: &'static str,
    #[case] kind: &'static str,
    #[case] old: Value,
    #[case] change: Value,
    #[case] want: &str,
) {
    assert_eq!(updated(&gk(group, kind), &old, &change), want);
}

#[rstest]
#[case(json!({"containers": [{"name": "c", "image": "z:1"}], "activeDeadlineSeconds": 50}), "")]
#[case(json!({"activeDeadlineSeconds": 101}), "spec.activeDeadlineSeconds: Invalid value: 101: must be less than or equal to previous value")]
#[case(json!({"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "z:1"}]}),
    "spec.containers: Forbidden: pod updates may not add or remove containers")]
#[case(json!({"tolerations": [{"operator": "Exists"}]}),
    "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds")]
#[case(json!({"schedulingGates": [{"name": "example.com/g"}]}),
    "spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'example.com/g'")]
fn api_432_pod_update(#[case] change: Value, #[case] want: &str) {
    let old = pod(
        &json!({"activeDeadlineSeconds": 100, "tolerations": [{"key": "a", "operator": "Exists"}],
        "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always"}]}),
    );
    let mut change = change;
    for container in change
        .get_mut("containers")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        container["imagePullPolicy"] = json!("Always");
    }
    assert_eq!(updated(&gk("", "Pod"), &old, &json!({"spec": change})), want);
}

#[rstest]
#[case(json!({"hostname": "x"}))]
#[case(json!({"nodeName": "n1"}))]
#[case(json!({"terminationGracePeriodSeconds": 1}))]
fn api_432_other_fields_of_a_pod_stay(#[case] change: Value) {
    let errors = updated(&gk("", "Pod"), &pod(&json!({})), &json!({"spec": change}));
    assert!(
        errors.starts_with("spec: Forbidden: pod updates may not change fields other than"),
        "{errors}"
    );
}

#[test]
fn api_104_finalizers() {
    let with = |finalizer: &str| {
        created(
            &gk("", "ConfigMap"),
            json!({"metadata": {"finalizers": [finalizer]}}),
        )
    };
    assert_eq!(with("example.com/f"), "");
    assert_eq!(with("foregroundDeletion"), "");
    assert_eq!(
        with("nodomain"),
        "metadata.finalizers[0]: Invalid value: \"nodomain\": name is neither a standard finalizer name nor is it fully qualified"
    );
    assert!(
        with("a/b/c").starts_with("metadata.finalizers: Invalid value: \"a/b/c\": a valid label key must")
    );
}

#[test]
fn api_143_no_finalizer_while_deleting() {
    let metadata = |finalizers: Value| json!({"metadata": {"name": "x", "deletionTimestamp": "2024-01-01T00:00:00Z", "finalizers": finalizers}});
    let old = metadata(json!(["example.com/f"]));
    let new = metadata(json!(["example.com/f", "example.com/g"]));
    assert_eq!(
        text(&update(&gk("", "ConfigMap"), &new, &old)),
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/g\"}"
    );
}

#[test]
fn api_72_owner_references() {
    let owners = |references: Value| {
        created(
            &gk("", "ConfigMap"),
            json!({"metadata": {"ownerReferences": references}}),
        )
    };
    assert_eq!(
        owners(json!([{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": ""}])),
        "metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"
    );
    let owner = |name: &str, uid: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid, "controller": true});
    assert!(
        owners(json!([owner("x", "u1"), owner("y", "u2")])).ends_with(
            ": Only one reference can have Controller set to true. Found \"true\" in references for Pod/x and Pod/y"
        )
    );
}

#[test]
fn api_103_annotations() {
    let annotated = |annotations: Value| {
        created(
            &gk("", "ConfigMap"),
            json!({"metadata": {"annotations": annotations}}),
        )
    };
    assert_eq!(annotated(json!({"Example.com/K": "any text, of any kind"})), "");
    assert_eq!(
        annotated(json!({"a": "x".repeat(262_144)})),
        "metadata.annotations: Too long: may not be more than 262144 bytes"
    );
}

#[test]
fn api_100_names_by_kind() {
    let named =
        |group: &'static str, kind: &'static str, name: &str| name_problems(&gk(group, kind), name).join(" ");
    assert_eq!(named("", "Namespace", "a.b"), "must not contain dots");
    assert_eq!(named("", "ConfigMap", "a.b"), "");
    assert_eq!(named("rbac.authorization.k8s.io", "Role", "system:x"), "");
    assert_eq!(
        named("rbac.authorization.k8s.io", "Role", "a%b"),
        "may not contain '%'"
    );
    assert_eq!(
        named("batch", "CronJob", &"x".repeat(53)),
        "must be no more than 52 characters"
    );
    let deployment = json!({"metadata": {"name": "a.b"}});
    assert!(
        warnings(&gk("apps", "Deployment"), &deployment)[0]
            .ends_with("a DNS label is recommended: [must not contain dots]")
    );
}

#[rstest]
#[case("kubernetes.io/tls", json!({}), "data[tls.crt]: Required value; data[tls.key]: Required value")]
#[case("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": "e30="}), "")]
#[case("kubernetes.io/service-account-token", json!({}), "metadata.annotations[kubernetes.io/service-account.name]: Required value")]
#[case("kubernetes.io/ssh-auth", json!({}), "data[ssh-privatekey]: Required value")]
#[case("helm.sh/release.v1", json!({"release": "aGVsbG8="}), "")]
fn api_130_secret_types(#[case] kind: &str, #[case] data: Value, #[case] want: &str) {
    assert_eq!(
        created(&gk("", "Secret"), json!({"type": kind, "data": data})),
        want
    );
}

#[test]
fn api_129_size_of_data() {
    let big = "x".repeat(1_100_000);
    let map = created(&gk("", "ConfigMap"), json!({"data": {"k": big}}));
    assert_eq!(map, "[]: Too long: may not be more than 1048576 bytes");
    let secret = created(&gk("", "Secret"), json!({"stringData": {"k": big}}));
    assert_eq!(secret, "data: Too long: may not be more than 1048576 bytes");
}

#[test]
fn api_36_texts_and_reasons() {
    let error = FieldError::not_supported("a", &json!("x"), &["A", "B"]);
    assert_eq!(
        error.to_string(),
        "a: Unsupported value: \"x\": supported values: \"A\", \"B\""
    );
    assert_eq!(
        (error.reason(), error.message().as_str()),
        (
            "FieldValueNotSupported",
            "Unsupported value: \"x\": supported values: \"A\", \"B\""
        )
    );
    assert_eq!(FieldError::required("a", "").to_string(), "a: Required value");
    assert_eq!(
        FieldError::too_many("a", 3, 2).to_string(),
        "a: Too many: 3: must have at most 2 items"
    );
}

#[test]
fn api_9_warnings() {
    let pod = pod(&json!({"imagePullSecrets": [{}]}));
    assert_eq!(
        warnings(&gk("", "Pod"), &pod),
        ["spec.imagePullSecrets[0].name: invalid empty name \"\""]
    );
    let service = json!({"spec": {"externalIPs": ["192.0.2.50"]}});
    assert_eq!(
        warnings(&gk("", "Service"), &service),
        ["spec.externalIPs is deprecated and may no longer be implemented in some clusters"]
    );
    let ingress = json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "c"}}, "spec": {}});
    assert_eq!(warnings(&gk("networking.k8s.io", "Ingress"), &ingress).len(), 1);
}
