//! Strings that users see and that more than one crate reads or writes. Strings of one controller stand in its
//! `action.rs`.

/// Condition status: it holds.
pub const TRUE: &str = "True";
/// Condition status: it does not hold.
pub const FALSE: &str = "False";
/// Condition status: nobody knows.
pub const UNKNOWN: &str = "Unknown";

/// Pod phase: accepted, containers not all started.
pub const PHASE_PENDING: &str = "Pending";
/// Pod phase: at least one container runs.
pub const PHASE_RUNNING: &str = "Running";
/// Pod phase: all containers ended well.
pub const PHASE_SUCCEEDED: &str = "Succeeded";
/// Pod phase: all containers ended, at least one badly.
pub const PHASE_FAILED: &str = "Failed";

/// Condition of pods and nodes (RS-55).
pub const POD_READY: &str = "Ready";
/// Pod condition: bound to a node, or why not (SCH-162).
pub const POD_SCHEDULED: &str = "PodScheduled";

/// Group and version of ReplicaSet and Deployment in owner references (RS-15).
pub const APPS_V1: &str = "apps/v1";
/// Kind in owner references (RS-15).
pub const REPLICA_SET: &str = "ReplicaSet";
/// Kind in owner references (RS-15).
pub const DEPLOYMENT: &str = "Deployment";

/// Label that ties ReplicaSets and pods to one pod template (DEP-14).
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Annotation: revision of a ReplicaSet, mirrored on its Deployment (DEP-22).
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation: desired size of the Deployment when the ReplicaSet was last scaled (DEP-27).
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// Annotation: desired size plus surge when the ReplicaSet was last scaled (DEP-27).
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Annotation that kubectl writes; dropped before an object enters a cache, never copied (DEP-26).
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Status cause of requests refused because the namespace terminates (RS-8).
pub const CAUSE_NAMESPACE_TERMINATING: &str = "NamespaceTerminating";
/// Prefix of the message of collapsed events (RS-68).
pub const COMBINED_EVENTS: &str = "(combined from similar events): ";
