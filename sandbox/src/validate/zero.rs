//! Which zero values of built-in types are stored and which are left out (API-74).

use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use serde_json::Value;

/// Strings whose empty value means something, so that it stays: `(type, member)`.
const KEPT_EMPTY: &[(&str, &str)] = &[
    ("Condition", "message"),
    ("Endpoint", "hostname"),
    ("EndpointPort", "name"),
    ("GRPCAction", "service"),
    ("HostPathVolumeSource", "type"),
    ("IngressClassParametersReference", "apiGroup"),
    ("LeaseSpec", "holderIdentity"),
    ("PersistentVolumeClaimSpec", "storageClassName"),
    ("PersistentVolumeClaimSpec", "volumeAttributesClassName"),
    ("TypedLocalObjectReference", "apiGroup"),
    ("TypedObjectReference", "apiGroup"),
];

/// Numbers and booleans whose zero is not stored: `(type, members)`. Other zeros stay: there they differ from absent,
/// or are always shown.
const DROPPED_ZERO: &[(&str, &[&str])] = &[
    ("Condition", &["observedGeneration"]),
    ("Container", &["stdin", "stdinOnce", "tty"]),
    ("ContainerPort", &["hostPort"]),
    ("ContainerStateTerminated", &["signal"]),
    ("DaemonSetSpec", &["minReadySeconds"]),
    (
        "DaemonSetStatus",
        &[
            "numberAvailable",
            "numberUnavailable",
            "observedGeneration",
            "updatedNumberScheduled",
        ],
    ),
    ("DeploymentSpec", &["minReadySeconds", "paused"]),
    (
        "DeploymentStatus",
        &[
            "availableReplicas",
            "observedGeneration",
            "readyReplicas",
            "replicas",
            "unavailableReplicas",
            "updatedReplicas",
        ],
    ),
    ("EphemeralContainer", &["stdin", "stdinOnce", "tty"]),
    ("Event", &["count", "deprecatedCount"]),
    ("HorizontalPodAutoscalerStatus", &["currentReplicas"]),
    ("JobStatus", &["active", "failed", "succeeded"]),
    ("NodeSpec", &["unschedulable"]),
    ("ObjectMeta", &["generation"]),
    ("PersistentVolumeClaimVolumeSource", &["readOnly"]),
    ("PodCondition", &["observedGeneration"]),
    ("PodDisruptionBudgetStatus", &["observedGeneration"]),
    ("PodSpec", &["hostIPC", "hostNetwork", "hostPID"]),
    ("PodStatus", &["observedGeneration"]),
    ("PriorityClass", &["globalDefault"]),
    (
        "Probe",
        &[
            "failureThreshold",
            "initialDelaySeconds",
            "periodSeconds",
            "successThreshold",
            "timeoutSeconds",
        ],
    ),
    ("ReplicaSetSpec", &["minReadySeconds"]),
    (
        "ReplicaSetStatus",
        &[
            "availableReplicas",
            "fullyLabeledReplicas",
            "observedGeneration",
            "readyReplicas",
        ],
    ),
    ("ReplicationControllerSpec", &["minReadySeconds"]),
    (
        "ReplicationControllerStatus",
        &[
            "availableReplicas",
            "fullyLabeledReplicas",
            "observedGeneration",
            "readyReplicas",
        ],
    ),
    ("ScaleSpec", &["replicas"]),
    ("ServiceBackendPort", &["number"]),
    ("ServicePort", &["nodePort"]),
    (
        "ServiceSpec",
        &["healthCheckNodePort", "publishNotReadyAddresses"],
    ),
    ("StatefulSetSpec", &["minReadySeconds"]),
    (
        "StatefulSetStatus",
        &[
            "currentReplicas",
            "observedGeneration",
            "readyReplicas",
            "updatedReplicas",
        ],
    ),
    ("VolumeMount", &["readOnly"]),
];

/// Types that a row above names, for one look-up per struct.
pub(super) struct ZeroRules {
    strings: Vec<&'static str>,
    scalars: &'static [&'static str],
}

static ZERO_RULES: LazyLock<FxHashMap<&'static str, ZeroRules>> = LazyLock::new(|| {
    let mut rules: FxHashMap<&'static str, ZeroRules> = FxHashMap::default();
    for (name, members) in DROPPED_ZERO {
        rules.insert(
            name,
            ZeroRules {
                strings: Vec::new(),
                scalars: members,
            },
        );
    }
    for (name, member) in KEPT_EMPTY {
        let empty = || ZeroRules {
            strings: Vec::new(),
            scalars: &[],
        };
        rules.entry(name).or_insert_with(empty).strings.push(member);
    }
    rules
});

/// Whether a member of a type with these rules is stored.
pub(super) fn is_kept(rules: Option<&ZeroRules>, member: &str, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty() || rules.is_some_and(|rules| rules.strings.contains(&member)),
        Value::Bool(false) => !rules.is_some_and(|rules| rules.scalars.contains(&member)),
        Value::Number(number) if number.as_i64() == Some(0) => {
            !rules.is_some_and(|rules| rules.scalars.contains(&member))
        }
        _ => true,
    }
}

/// Rules of the type with this name, if it has any of its own.
pub(super) fn rules(name: &str) -> Option<&'static ZeroRules> {
    ZERO_RULES.get(name)
}
