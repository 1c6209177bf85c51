//! The table of defaults: one row per member, grouped by kind; the IDs are those of the requirements.

use super::{
    Fill::{Edit, Flag, From, Null, Number, Object, ServerEdit, ServerFrom, Text},
    Row, code,
};

/// Kinds that hold a pod spec, and where.
pub(super) const POD_SPECS: &[(&str, &str, &str)] = &[
    ("", "Pod", "spec"),
    ("", "PodTemplate", "template.spec"),
    ("", "ReplicationController", "spec.template.spec"),
    ("apps", "DaemonSet", "spec.template.spec"),
    ("apps", "Deployment", "spec.template.spec"),
    ("apps", "ReplicaSet", "spec.template.spec"),
    ("apps", "StatefulSet", "spec.template.spec"),
    ("batch", "CronJob", "spec.jobTemplate.spec.template.spec"),
    ("batch", "Job", "spec.template.spec"),
];

/// API-324 to API-328, for pods and templates; paths from the pod spec.
pub(super) const POD_SPEC: &[Row] = &[
    Row("", "restartPolicy", Text("Always")),
    Row("", "dnsPolicy", Text("ClusterFirst")),
    Row("", "schedulerName", Text("default-scheduler")),
    Row("", "terminationGracePeriodSeconds", Number(30)),
    Row("", "terminationGracePeriodSeconds", Edit(code::positive_grace)),
    Row("", "securityContext", Object),
    Row("", "", Edit(code::service_account_alias)),
    Row("volumes[*]", "", Edit(code::empty_dir)),
    Row(
        "volumes[*].secret|configMap|downwardAPI|projected",
        "defaultMode",
        Number(420),
    ),
    Row(
        "volumes[*].projected.sources[*].serviceAccountToken",
        "expirationSeconds",
        Number(3600),
    ),
    Row(
        "volumes[*].downwardAPI.items[*].fieldRef",
        "apiVersion",
        Text("v1"),
    ),
    Row(
        "volumes[*].downwardAPI.items[*].resourceFieldRef",
        "divisor",
        Text("0"),
    ),
    Row(
        "volumes[*].projected.sources[*].downwardAPI.items[*].fieldRef",
        "apiVersion",
        Text("v1"),
    ),
    Row(
        "volumes[*].projected.sources[*].downwardAPI.items[*].resourceFieldRef",
        "divisor",
        Text("0"),
    ),
    Row("volumes[*].hostPath", "type", Text("")),
    Row("volumes[*].iscsi", "iscsiInterface", Text("default")),
    Row("volumes[*].ephemeral.volumeClaimTemplate", "metadata", Object),
    Row(
        "volumes[*].ephemeral.volumeClaimTemplate.spec",
        "volumeMode",
        Text("Filesystem"),
    ),
    Row(
        "volumes[*].image",
        "pullPolicy",
        From(|around| Some(code::volume_pull_policy(around))),
    ),
    Row(
        "containers|initContainers|ephemeralContainers[*]",
        "imagePullPolicy",
        From(|around| Some(code::image_pull_policy(around))),
    ),
    Row(
        "containers|initContainers|ephemeralContainers[*]",
        "terminationMessagePath",
        Text("/dev/termination-log"),
    ),
    Row(
        "containers|initContainers|ephemeralContainers[*]",
        "terminationMessagePolicy",
        Text("File"),
    ),
    Row(
        "containers|initContainers|ephemeralContainers[*]",
        "resources",
        Object,
    ),
    Row(
        "containers|initContainers|ephemeralContainers[*].ports[*]",
        "protocol",
        Text("TCP"),
    ),
    Row(
        "containers|initContainers|ephemeralContainers[*].env[*].valueFrom.fieldRef",
        "apiVersion",
        Text("v1"),
    ),
    Row(
        "containers|initContainers|ephemeralContainers[*].env[*].valueFrom.resourceFieldRef",
        "divisor",
        Text("0"),
    ),
    Row(
        "containers|initContainers[*].livenessProbe|readinessProbe|startupProbe",
        "timeoutSeconds",
        Number(1),
    ),
    Row(
        "containers|initContainers[*].livenessProbe|readinessProbe|startupProbe",
        "periodSeconds",
        Number(10),
    ),
    Row(
        "containers|initContainers[*].livenessProbe|readinessProbe|startupProbe",
        "successThreshold",
        Number(1),
    ),
    Row(
        "containers|initContainers[*].livenessProbe|readinessProbe|startupProbe",
        "failureThreshold",
        Number(3),
    ),
    Row(
        "containers|initContainers[*].livenessProbe|readinessProbe|startupProbe.httpGet",
        "path",
        Text("/"),
    ),
    Row(
        "containers|initContainers[*].livenessProbe|readinessProbe|startupProbe.httpGet",
        "scheme",
        Text("HTTP"),
    ),
    Row(
        "containers|initContainers[*].livenessProbe|readinessProbe|startupProbe.grpc",
        "service",
        Text(""),
    ),
    Row(
        "containers|initContainers[*].lifecycle.postStart|preStop.httpGet",
        "path",
        Text("/"),
    ),
    Row(
        "containers|initContainers[*].lifecycle.postStart|preStop.httpGet",
        "scheme",
        Text("HTTP"),
    ),
];

/// For pods, not for templates: API-324, API-325, API-329, API-502.
pub(super) const POD_ONLY: &[Row] = &[
    Row("spec", "enableServiceLinks", Flag(true)),
    Row("spec", "", Edit(code::host_ports)),
    Row(
        "spec.containers|initContainers[*].resources",
        "",
        Edit(code::requests_from_limits),
    ),
    Row("spec.resources", "", Edit(code::requests_from_limits)),
    Row("spec", "", ServerEdit(code::tolerations)),
    Row("", "status", Object),
    Row("status", "phase", Text("Pending")),
    Row("", "", Edit(code::qos_class)),
    Row("", "", Edit(code::scheduling_gated)),
    Row("status.conditions[*]", "lastProbeTime", Null),
    Row("status.conditions[*]", "lastTransitionTime", Null),
    Row(
        "status.containerStatuses|initContainerStatuses|ephemeralContainerStatuses[*]",
        "image",
        Text(""),
    ),
    Row(
        "status.containerStatuses|initContainerStatuses|ephemeralContainerStatuses[*]",
        "imageID",
        Text(""),
    ),
    Row(
        "status.containerStatuses|initContainerStatuses|ephemeralContainerStatuses[*]",
        "lastState",
        Object,
    ),
    Row(
        "status.containerStatuses|initContainerStatuses|ephemeralContainerStatuses[*]",
        "ready",
        Flag(false),
    ),
    Row(
        "status.containerStatuses|initContainerStatuses|ephemeralContainerStatuses[*]",
        "restartCount",
        Number(0),
    ),
    Row(
        "status.containerStatuses|initContainerStatuses|ephemeralContainerStatuses[*]",
        "state",
        Object,
    ),
    Row(
        "status.containerStatuses|initContainerStatuses|ephemeralContainerStatuses[*].state|lastState.running",
        "startedAt",
        Null,
    ),
    Row(
        "status.containerStatuses|initContainerStatuses|ephemeralContainerStatuses[*].state|lastState.terminated",
        "startedAt",
        Null,
    ),
    Row(
        "status.containerStatuses|initContainerStatuses|ephemeralContainerStatuses[*].state|lastState.terminated",
        "finishedAt",
        Null,
    ),
];

pub(super) const KINDS: &[(&str, &str, &[Row])] = &[
    ("", "Namespace", NAMESPACE),
    ("", "Node", NODE),
    ("", "Secret", &[Row("", "type", Text("Opaque"))]),
    ("", "Service", SERVICE),
    (
        "",
        "Endpoints",
        &[Row("subsets[*].ports[*]", "protocol", Text("TCP"))],
    ),
    ("", "Event", CORE_EVENT),
    ("", "PersistentVolumeClaim", CLAIM),
    ("", "PersistentVolume", VOLUME),
    (
        "",
        "LimitRange",
        &[
            Row("spec", "limits", Null),
            Row("spec.limits[*]", "", Edit(code::limit_range)),
        ],
    ),
    (
        "",
        "ResourceQuota",
        &[Row("", "spec", Object), Row("", "status", Object)],
    ),
    ("", "ReplicationController", REPLICATION_CONTROLLER),
    ("apps", "Deployment", DEPLOYMENT),
    ("apps", "ReplicaSet", REPLICA_SET),
    ("apps", "StatefulSet", STATEFUL_SET),
    ("apps", "DaemonSet", DAEMON_SET),
    ("batch", "Job", JOB),
    ("batch", "CronJob", CRON_JOB),
    ("coordination.k8s.io", "Lease", &[Row("", "spec", Object)]),
    ("discovery.k8s.io", "EndpointSlice", ENDPOINT_SLICE),
    ("events.k8s.io", "Event", EVENT),
    (
        "networking.k8s.io",
        "Ingress",
        &[
            Row("", "spec", Object),
            Row("", "status", Object),
            Row("status", "loadBalancer", Object),
        ],
    ),
    (
        "networking.k8s.io",
        "IngressClass",
        &[
            Row("", "spec", Object),
            Row("spec.parameters", "scope", Text("Cluster")),
        ],
    ),
    ("networking.k8s.io", "NetworkPolicy", NETWORK_POLICY),
    ("storage.k8s.io", "CSIDriver", CSI_DRIVER),
    (
        "storage.k8s.io",
        "StorageClass",
        &[
            Row("", "reclaimPolicy", Text("Delete")),
            Row("", "volumeBindingMode", Text("Immediate")),
        ],
    ),
    (
        "storage.k8s.io",
        "CSINode",
        &[Row("spec.drivers[*]", "topologyKeys", Null)],
    ),
    (
        "storage.k8s.io",
        "VolumeAttachment",
        &[Row("", "status", Object), Row("status", "attached", Flag(false))],
    ),
    (
        "scheduling.k8s.io",
        "PriorityClass",
        &[
            Row("", "preemptionPolicy", Text("PreemptLowerPriority")),
            Row("", "value", Number(0)),
        ],
    ),
    ("autoscaling", "HorizontalPodAutoscaler", AUTOSCALER),
    ("policy", "PodDisruptionBudget", BUDGET),
    ("rbac.authorization.k8s.io", "Role", &[Row("", "rules", Null)]),
    (
        "rbac.authorization.k8s.io",
        "ClusterRole",
        &[Row("", "rules", Null)],
    ),
    ("rbac.authorization.k8s.io", "RoleBinding", BINDING),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding", BINDING),
    (
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        CUSTOM_RESOURCE_DEFINITION,
    ),
];

/// API-175.
const NAMESPACE: &[Row] = &[
    Row("", "", Edit(code::namespace_label)),
    Row("", "spec", Object),
    Row("", "status", Object),
    Row("status", "phase", Text("Active")),
];

/// API-346.
const NODE: &[Row] = &[
    Row("", "spec", Object),
    Row("spec", "", Edit(code::pod_ranges)),
    Row("", "status", Object),
    Row(
        "status",
        "allocatable",
        From(|status| status.get("capacity").cloned()),
    ),
    Row("status", "daemonEndpoints", Object),
    Row("status.daemonEndpoints", "kubeletEndpoint", Object),
    Row("status.daemonEndpoints.kubeletEndpoint", "Port", Number(0)),
    Row("status", "nodeInfo", Object),
    Row("status.nodeInfo", "architecture", Text("")),
    Row("status.nodeInfo", "bootID", Text("")),
    Row("status.nodeInfo", "containerRuntimeVersion", Text("")),
    Row("status.nodeInfo", "kernelVersion", Text("")),
    Row("status.nodeInfo", "kubeProxyVersion", Text("")),
    Row("status.nodeInfo", "kubeletVersion", Text("")),
    Row("status.nodeInfo", "machineID", Text("")),
    Row("status.nodeInfo", "operatingSystem", Text("")),
    Row("status.nodeInfo", "osImage", Text("")),
    Row("status.nodeInfo", "systemUUID", Text("")),
    Row("status.conditions[*]", "lastHeartbeatTime", Null),
    Row("status.conditions[*]", "lastTransitionTime", Null),
];

/// API-336; addresses and node ports are allocated where services are written.
const SERVICE: &[Row] = &[
    Row("", "spec", Object),
    Row("spec", "type", Text("ClusterIP")),
    Row("spec", "sessionAffinity", Text("None")),
    Row("spec", "", Edit(code::session_affinity)),
    Row("spec.ports[*]", "protocol", Text("TCP")),
    Row("spec.ports[*]", "", Edit(code::target_port)),
    Row("spec", "", Edit(code::service_type)),
    Row("spec", "", ServerEdit(code::cluster_ips)),
    Row(
        "spec",
        "internalTrafficPolicy",
        From(|spec| code::unless_external_name(spec, "Cluster".into())),
    ),
    Row(
        "spec",
        "ipFamilyPolicy",
        ServerFrom(|spec| code::unless_external_name(spec, "SingleStack".into())),
    ),
    Row(
        "spec",
        "ipFamilies",
        ServerFrom(|spec| code::unless_external_name(spec, vec!["IPv4"].into())),
    ),
    Row("", "status", Object),
    Row("status", "loadBalancer", Object),
];

/// API-74.
const CORE_EVENT: &[Row] = &[
    Row("", "involvedObject", Object),
    Row("", "eventTime", Null),
    Row("", "firstTimestamp", Null),
    Row("", "lastTimestamp", Null),
    Row("", "source", Object),
    Row("", "reportingComponent", Text("")),
    Row("", "reportingInstance", Text("")),
];

/// API-74.
const EVENT: &[Row] = &[
    Row("", "regarding", Object),
    Row("", "eventTime", Null),
    Row("", "deprecatedFirstTimestamp", Null),
    Row("", "deprecatedLastTimestamp", Null),
    Row("", "deprecatedSource", Object),
];

/// API-342.
const CLAIM: &[Row] = &[
    Row("", "spec", Object),
    Row("spec", "resources", Object),
    Row("spec", "volumeMode", Text("Filesystem")),
    Row("spec", "", Edit(code::data_source)),
    Row("spec.dataSource|dataSourceRef", "apiGroup", Null),
    Row("", "status", Object),
    Row("status", "phase", Text("Pending")),
];

/// API-342.
const VOLUME: &[Row] = &[
    Row("", "spec", Object),
    Row("spec", "persistentVolumeReclaimPolicy", Text("Retain")),
    Row("spec", "volumeMode", Text("Filesystem")),
    Row("spec.hostPath", "type", Text("")),
    Row("", "status", Object),
    Row("status", "phase", Text("Pending")),
];

/// API-331.
const REPLICATION_CONTROLLER: &[Row] = &[
    Row("", "spec", Object),
    Row("spec", "replicas", Number(1)),
    Row("", "", Edit(code::labels_from_template)),
    Row("", "status", Object),
    Row("status", "replicas", Number(0)),
    Row("status.conditions[*]", "lastTransitionTime", Null),
];

/// API-330.
const DEPLOYMENT: &[Row] = &[
    Row("", "spec", Object),
    Row("spec", "replicas", Number(1)),
    Row("spec", "strategy", Object),
    Row("spec.strategy", "type", Text("RollingUpdate")),
    Row("spec.strategy", "rollingUpdate", From(code::rolling_update)),
    Row("spec.strategy.rollingUpdate", "maxUnavailable", Text("25%")),
    Row("spec.strategy.rollingUpdate", "maxSurge", Text("25%")),
    Row("spec", "revisionHistoryLimit", Number(10)),
    Row("spec", "progressDeadlineSeconds", Number(600)),
    Row("", "status", Object),
    Row("status.conditions[*]", "lastTransitionTime", Null),
    Row("status.conditions[*]", "lastUpdateTime", Null),
];

/// API-331.
const REPLICA_SET: &[Row] = &[
    Row("", "spec", Object),
    Row("spec", "replicas", Number(1)),
    Row("", "status", Object),
    Row("status", "replicas", Number(0)),
    Row("status.conditions[*]", "lastTransitionTime", Null),
];

/// API-332.
const STATEFUL_SET: &[Row] = &[
    Row("", "spec", Object),
    Row("spec", "replicas", Number(1)),
    Row("spec", "podManagementPolicy", Text("OrderedReady")),
    Row("spec", "updateStrategy", Object),
    Row("spec.updateStrategy", "type", Text("RollingUpdate")),
    Row("spec.updateStrategy", "rollingUpdate", From(code::rolling_update)),
    Row("spec.updateStrategy.rollingUpdate", "partition", Number(0)),
    Row("spec", "revisionHistoryLimit", Number(10)),
    Row("spec", "persistentVolumeClaimRetentionPolicy", Object),
    Row(
        "spec.persistentVolumeClaimRetentionPolicy",
        "whenDeleted",
        Text("Retain"),
    ),
    Row(
        "spec.persistentVolumeClaimRetentionPolicy",
        "whenScaled",
        Text("Retain"),
    ),
    Row("spec.volumeClaimTemplates[*]", "apiVersion", Text("v1")),
    Row(
        "spec.volumeClaimTemplates[*]",
        "kind",
        Text("PersistentVolumeClaim"),
    ),
    Row(
        "spec.volumeClaimTemplates[*].spec",
        "volumeMode",
        Text("Filesystem"),
    ),
    Row("spec.volumeClaimTemplates[*]", "status", Object),
    Row("spec.volumeClaimTemplates[*].status", "phase", Text("Pending")),
    Row("", "status", Object),
    Row("status", "replicas", Number(0)),
    Row("status", "availableReplicas", Number(0)),
    Row("status.conditions[*]", "lastTransitionTime", Null),
];

/// API-333.
const DAEMON_SET: &[Row] = &[
    Row("", "spec", Object),
    Row("", "", Edit(code::template_generation)),
    Row("spec", "updateStrategy", Object),
    Row("spec.updateStrategy", "type", Text("RollingUpdate")),
    Row("spec.updateStrategy", "rollingUpdate", From(code::rolling_update)),
    Row("spec.updateStrategy.rollingUpdate", "maxUnavailable", Number(1)),
    Row("spec.updateStrategy.rollingUpdate", "maxSurge", Number(0)),
    Row("spec", "revisionHistoryLimit", Number(10)),
    Row("", "status", Object),
    Row("status", "currentNumberScheduled", Number(0)),
    Row("status", "desiredNumberScheduled", Number(0)),
    Row("status", "numberMisscheduled", Number(0)),
    Row("status", "numberReady", Number(0)),
    Row("status.conditions[*]", "lastTransitionTime", Null),
];

/// API-334, API-323.
const JOB: &[Row] = &[
    Row("", "spec", Object),
    Row("spec", "", Edit(code::parallelism)),
    Row(
        "spec",
        "backoffLimit",
        From(|spec| Some(code::backoff_limit(spec))),
    ),
    Row("spec", "completionMode", Text("NonIndexed")),
    Row("spec", "suspend", Flag(false)),
    Row("spec", "manualSelector", Flag(false)),
    Row(
        "spec",
        "podReplacementPolicy",
        From(|around| Some(code::pod_replacement_policy(around))),
    ),
    Row("", "", ServerEdit(code::job_selector)),
    Row("", "status", Object),
];

/// API-335.
const CRON_JOB: &[Row] = &[
    Row("", "spec", Object),
    Row("spec", "concurrencyPolicy", Text("Allow")),
    Row("spec", "suspend", Flag(false)),
    Row("spec", "successfulJobsHistoryLimit", Number(3)),
    Row("spec", "failedJobsHistoryLimit", Number(1)),
    Row("spec", "jobTemplate", Object),
    Row("spec.jobTemplate", "metadata", Object),
    Row("", "status", Object),
];

/// API-338, API-74.
const ENDPOINT_SLICE: &[Row] = &[
    Row("", "endpoints", Null),
    Row("endpoints[*]", "conditions", Object),
    Row("", "ports", Null),
    Row("ports[*]", "name", Text("")),
    Row("ports[*]", "protocol", Text("TCP")),
];

/// API-341.
const NETWORK_POLICY: &[Row] = &[
    Row("", "spec", Object),
    Row("spec", "podSelector", Object),
    Row("spec.ingress|egress[*].ports[*]", "protocol", Text("TCP")),
    Row(
        "spec",
        "policyTypes",
        From(|around| Some(code::policy_types(around))),
    ),
];

/// API-345, API-74.
const AUTOSCALER: &[Row] = &[
    Row("", "spec", Object),
    Row("spec", "scaleTargetRef", Object),
    Row("spec", "minReplicas", Number(1)),
    Row("spec", "metrics", From(|_| Some(code::cpu_metric()))),
    Row("spec.behavior", "scaleUp", Object),
    Row("spec.behavior.scaleUp", "stabilizationWindowSeconds", Number(0)),
    Row("spec.behavior.scaleUp", "selectPolicy", Text("Max")),
    Row(
        "spec.behavior.scaleUp",
        "policies",
        From(|_| Some(code::scale_up_policies())),
    ),
    Row("spec.behavior", "scaleDown", Object),
    Row("spec.behavior.scaleDown", "selectPolicy", Text("Max")),
    Row(
        "spec.behavior.scaleDown",
        "policies",
        From(|_| Some(code::scale_down_policies())),
    ),
    Row("", "status", Object),
    Row("status", "currentMetrics", Null),
    Row("status", "desiredReplicas", Number(0)),
];

/// API-74.
const BUDGET: &[Row] = &[
    Row("", "spec", Object),
    Row("", "status", Object),
    Row("status", "currentHealthy", Number(0)),
    Row("status", "desiredHealthy", Number(0)),
    Row("status", "disruptionsAllowed", Number(0)),
    Row("status", "expectedPods", Number(0)),
];

/// kube-apiserver 1.36.
const CSI_DRIVER: &[Row] = &[
    Row("spec", "attachRequired", Flag(true)),
    Row("spec", "podInfoOnMount", Flag(false)),
    Row("spec", "storageCapacity", Flag(false)),
    Row("spec", "requiresRepublish", Flag(false)),
    Row("spec", "seLinuxMount", Flag(false)),
    Row("spec", "fsGroupPolicy", Text("ReadWriteOnceWithFSType")),
    Row(
        "spec",
        "volumeLifecycleModes",
        From(|_| Some(vec!["Persistent"].into())),
    ),
];

/// API-348.
const BINDING: &[Row] = &[
    Row("", "roleRef", Object),
    Row("roleRef", "apiGroup", Text("rbac.authorization.k8s.io")),
    Row("subjects[*]", "apiGroup", From(code::subject_group)),
];

/// API-349.
const CUSTOM_RESOURCE_DEFINITION: &[Row] = &[
    Row(
        "spec.names",
        "singular",
        From(|names| Some(names.get("kind")?.as_str()?.to_lowercase().into())),
    ),
    Row(
        "spec.names",
        "listKind",
        From(|names| Some(format!("{}List", names.get("kind")?.as_str()?).into())),
    ),
    Row("spec", "conversion", Object),
    Row("spec.conversion", "strategy", Text("None")),
];
