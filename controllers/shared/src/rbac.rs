//! What a controller may do, as data: the chart's role is compared with the union of all rules (STY-4, RS-19).

use serde::Serialize;

/// One rule of a role. Each controller crate exports its own as `RBAC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// API groups; the core group is the empty string.
    pub api_groups: &'static [&'static str],
    /// Resources and subresources (`pods/status`).
    pub resources: &'static [&'static str],
    /// Verbs.
    pub verbs: &'static [&'static str],
}

/// What every process needs besides its controllers: the lease (created, read and patched) and events.
pub const RBAC: &[Rule] = &[
    Rule {
        api_groups: &["coordination.k8s.io"],
        resources: &["leases"],
        verbs: &["get", "create", "patch"],
    },
    Rule {
        api_groups: &["", "events.k8s.io"],
        resources: &["events"],
        verbs: &["create", "patch"],
    },
];
