//! How strategic merge treats a member: the table of API-266.

use crate::names::Gvr;

/// What a patch does to a list or map member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// Elements are objects, identified by this member.
    MergeBy(&'static str),
    /// A set of strings.
    MergeSet,
    /// The value of the patch takes the place of the old one.
    Replace,
}

/// Where a row holds.
#[derive(Clone, Copy)]
enum At {
    /// Under any parent, in any resource: the name occurs once in the API.
    Anywhere,
    /// Directly under one of these members.
    Under(&'static [&'static str]),
    /// Directly under this member (empty: at the top) of one of these resources.
    In(&'static str, &'static [&'static str]),
}

const CONTAINERS: &[&str] = &["containers", "initContainers", "ephemeralContainers"];
const WITH_CONDITIONS: &[&str] = &[
    "daemonsets",
    "deployments",
    "horizontalpodautoscalers",
    "jobs",
    "namespaces",
    "nodes",
    "persistentvolumeclaims",
    "poddisruptionbudgets",
    "pods",
    "replicasets",
    "replicationcontrollers",
    "services",
    "statefulsets",
];

const TABLE: &[(&str, At, Strategy)] = &[
    ("containers", At::Anywhere, Strategy::MergeBy("name")),
    ("initContainers", At::Anywhere, Strategy::MergeBy("name")),
    ("ephemeralContainers", At::Anywhere, Strategy::MergeBy("name")),
    ("env", At::Under(CONTAINERS), Strategy::MergeBy("name")),
    ("ports", At::Under(CONTAINERS), Strategy::MergeBy("containerPort")),
    (
        "volumeMounts",
        At::Under(CONTAINERS),
        Strategy::MergeBy("mountPath"),
    ),
    (
        "volumeDevices",
        At::Under(CONTAINERS),
        Strategy::MergeBy("devicePath"),
    ),
    ("volumes", At::Under(&["spec"]), Strategy::MergeBy("name")),
    ("schedulingGates", At::Anywhere, Strategy::MergeBy("name")),
    (
        "imagePullSecrets",
        At::Under(&["spec"]),
        Strategy::MergeBy("name"),
    ),
    ("resourceClaims", At::Under(&["spec"]), Strategy::MergeBy("name")),
    (
        "topologySpreadConstraints",
        At::Anywhere,
        Strategy::MergeBy("topologyKey"),
    ),
    ("hostAliases", At::Anywhere, Strategy::MergeBy("ip")),
    (
        "resourceClaimStatuses",
        At::Under(&["status"]),
        Strategy::MergeBy("name"),
    ),
    ("podIPs", At::Under(&["status"]), Strategy::MergeBy("ip")),
    ("hostIPs", At::Under(&["status"]), Strategy::MergeBy("ip")),
    ("ports", At::In("spec", &["services"]), Strategy::MergeBy("port")),
    (
        "secrets",
        At::In("", &["serviceaccounts"]),
        Strategy::MergeBy("name"),
    ),
    (
        "drivers",
        At::In("spec", &["csinodes"]),
        Strategy::MergeBy("name"),
    ),
    (
        "conditions",
        At::In("status", WITH_CONDITIONS),
        Strategy::MergeBy("type"),
    ),
    (
        "addresses",
        At::In("status", &["nodes"]),
        Strategy::MergeBy("type"),
    ),
    ("podCIDRs", At::In("spec", &["nodes"]), Strategy::MergeSet),
    (
        "ownerReferences",
        At::Under(&["metadata"]),
        Strategy::MergeBy("uid"),
    ),
    ("finalizers", At::Under(&["metadata"]), Strategy::MergeSet),
    (
        "selector",
        At::In("spec", &["poddisruptionbudgets"]),
        Strategy::Replace,
    ),
];

/// Strategy of the list `member` of an object that is itself the value (or an element) of `parent`.
pub(super) fn of_list(resource: &Gvr, parent: &str, member: &str) -> Strategy {
    find(resource, parent, member).unwrap_or(Strategy::Replace)
}

/// Whether a map member is replaced instead of merged (API-269).
pub(super) fn replaces_map(resource: &Gvr, parent: &str, member: &str) -> bool {
    find(resource, parent, member) == Some(Strategy::Replace)
}

fn find(resource: &Gvr, parent: &str, member: &str) -> Option<Strategy> {
    let holds = |at: &At| match at {
        At::Anywhere => true,
        At::Under(parents) => parents.contains(&parent),
        At::In(wanted, resources) => parent == *wanted && resources.contains(&resource.resource.as_ref()),
    };
    TABLE
        .iter()
        .find(|(name, at, _)| *name == member && holds(at))
        .map(|(_, _, strategy)| *strategy)
}
