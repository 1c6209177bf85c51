//! What tells that a native controller is at work, and how it is read (TAKE-8). Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::objects::Uid;
use crate::{pods, wire};

/// `managedFields` entries of the native controllers carry this manager (kube-controller-manager 1.36).
pub const NATIVE_MANAGER: &str = "kube-controller-manager";
/// Namespace of the native controller manager's pods and Lease.
pub const NATIVE_NAMESPACE: &str = "kube-system";
/// Name of the native controller manager's Lease.
pub const NATIVE_LEASE: &str = "kube-controller-manager";
/// Selects the native controller manager's pods, where it runs as pods.
pub const NATIVE_PODS: &str = "component=kube-controller-manager";
/// Assumed for a Lease that says none (kube-controller-manager 1.36).
const LEASE_DURATION: Duration = Duration::from_secs(15);

/// A controller of kube-controller-manager whose work one of ours does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Native {
    /// `deployment-controller`.
    Deployment,
    /// `replicaset-controller`.
    ReplicaSet,
}

impl Native {
    /// Name of our controller that does the same work; label of metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deployment => "deployment",
            Self::ReplicaSet => "replicaset",
        }
    }

    /// Kind of the objects that it writes the status of.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Deployment => wire::DEPLOYMENT,
            Self::ReplicaSet => wire::REPLICA_SET,
        }
    }

    /// Its names in `--controllers`, the alias last.
    #[must_use]
    pub const fn flags(self) -> [&'static str; 2] {
        match self {
            Self::Deployment => ["deployment-controller", "deployment"],
            Self::ReplicaSet => ["replicaset-controller", "replicaset"],
        }
    }
}

/// What is known about one native controller. Everything that [`super::decide`] reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The user says that no native controller manager exists (TAKE-14).
    pub declared_absent: bool,
    /// This process saw the native controller at work at least once.
    pub seen: bool,
    /// All watches have delivered their first list.
    pub synced: bool,
    /// (a)
    pub probe: Probe,
    /// (b) Time of the last status write of the native controller to any object, by the API server's clock; whole
    /// seconds.
    pub written: Option<Timestamp>,
    /// (c)
    pub setting: Setting,
    /// (d)
    pub lease: LeaseState,
}

/// The object that nobody touches but a native controller (TAKE-8 (a)).
#[derive(Clone, Debug, PartialEq)]
pub enum Probe {
    /// There is none.
    Missing {
        /// What the API server said when it was to be made; empty if that was not tried yet.
        error: String,
    },
    /// Nobody wrote its status.
    Untouched {
        /// Since when; goes on when an untouched probe is replaced in time.
        since: Instant,
        /// When the present one was created, by the API server's clock.
        made: Timestamp,
    },
    /// Somebody wrote its status.
    Touched,
}

/// What the flags of the native controller manager's pods say (TAKE-8 (c)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    /// There are no such pods to be seen: a managed control plane, or one outside the cluster.
    Unknown,
    /// Every pod has the controller switched off.
    Disabled,
    /// That pod has it switched on.
    Enabled {
        /// Name of the pod.
        pod: String,
    },
}

/// What the native controller manager's Lease says (TAKE-8 (d)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LeaseState {
    /// It does not exist or cannot be read.
    Absent,
    /// Nobody renews it, or no renewal was seen yet.
    Expired,
    /// It is being renewed: a controller manager lives.
    Alive,
}

/// A probe as the API server or a cache has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Which one.
    pub uid: Uid,
    /// When it was created, by the API server's clock.
    pub made: Timestamp,
    /// Somebody wrote its status.
    pub touched: bool,
}

/// The native controller manager as its pods show it. A difference between two of these is a change (TAKE-8 (c)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerPod {
    /// Name of the pod.
    pub name: String,
    /// Its uid.
    pub uid: Uid,
    /// Command and arguments of its containers.
    pub arguments: Vec<String>,
}

impl ManagerPod {
    /// The pods that run or are about to; sorted by name.
    #[must_use]
    pub fn of(pods: &[Pod]) -> Vec<Self> {
        let live = pods
            .iter()
            .filter(|pod| !pods::is_finished(pod) && pod.metadata.deletion_timestamp.is_none());
        let mut found: Vec<Self> = live
            .map(|pod| {
                let containers = pod
                    .spec
                    .as_ref()
                    .map(|spec| spec.containers.as_slice())
                    .unwrap_or_default();
                let words = containers
                    .iter()
                    .flat_map(|it| it.command.iter().chain(&it.args))
                    .flatten();
                Self {
                    name: pod.metadata.name.clone().unwrap_or_default(),
                    uid: Uid::of(pod),
                    arguments: words.cloned().collect(),
                }
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }
}

/// What these pods say about one native controller: one that has it switched on is enough, for it may take the lead.
#[must_use]
pub fn setting(pods: &[ManagerPod], native: Native) -> Setting {
    let enabled = pods.iter().find(|pod| is_enabled(&pod.arguments, native));
    match enabled {
        Some(pod) => Setting::Enabled {
            pod: pod.name.clone(),
        },
        None if pods.is_empty() => Setting::Unknown,
        None => Setting::Disabled,
    }
}

/// Whether a controller manager with these arguments runs the controller: the first mention of its name decides, then
/// `*`. Without the flag all of them run (kube-controller-manager 1.36).
#[must_use]
pub fn is_enabled(arguments: &[String], native: Native) -> bool {
    let mut chosen: Option<Vec<&str>> = None;
    let mut words = arguments.iter().map(String::as_str);
    while let Some(word) = words.next() {
        let word = word.trim_start_matches('-');
        let value = match word.split_once('=') {
            Some(("controllers", value)) => Some(value),
            None if word == "controllers" => words.next(),
            _ => None,
        };
        if let Some(value) = value {
            chosen
                .get_or_insert_default()
                .extend(value.split(',').map(str::trim));
        }
    }
    let Some(chosen) = chosen else { return true };
    for name in &chosen {
        let (name, on) = match name.strip_prefix('-') {
            Some(name) => (name, false),
            None => (*name, true),
        };
        if native.flags().contains(&name) {
            return on;
        }
    }
    chosen.contains(&"*")
}

/// Reduces `managedFields` as received to the native controllers' status writes, without their fields: usually to
/// nothing, seldom to one short entry (TAKE-8 (b)). Cost: one look at each entry.
#[must_use]
pub fn native_status_entries(fields: &Value) -> Option<Value> {
    let text = |entry: &Value, member: &str| entry.get(member).and_then(Value::as_str).map(str::to_owned);
    let is_native = |entry: &&Value| {
        let is = |member, wanted| entry.get(member).and_then(Value::as_str) == Some(wanted);
        is("manager", NATIVE_MANAGER) && is("subresource", "status")
    };
    let last = fields
        .as_array()?
        .iter()
        .filter(is_native)
        .filter_map(|entry| text(entry, "time"))
        .max()?;
    Some(
        serde_json::json!([{ "manager": NATIVE_MANAGER, "subresource": "status", "operation": "Update", "time": last }]),
    )
}

/// Time of the last status write of a native controller, as far as the metadata shows one (TAKE-8 (b)).
#[must_use]
pub fn native_status_write(meta: &ObjectMeta) -> Option<Timestamp> {
    let is_native = |entry: &&ManagedFieldsEntry| {
        entry.manager.as_deref() == Some(NATIVE_MANAGER) && entry.subresource.as_deref() == Some("status")
    };
    let entries = meta.managed_fields.as_deref().unwrap_or_default();
    entries
        .iter()
        .filter(is_native)
        .filter_map(|entry| entry.time.as_ref())
        .map(|time| time.0)
        .max()
}

/// Watches the native controller manager's Lease. Alive is what was seen to change: no other clock is trusted.
#[derive(Clone, Debug, Default)]
pub struct LeaseWatch {
    seen: Option<Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    spec: LeaseSpec,
    since: Instant,
    /// A renewal happened before our eyes.
    renewed: bool,
}

impl LeaseWatch {
    /// Takes in what was read. Whether another holder has it, or it comes or goes: a change of the control plane.
    pub fn see(&mut self, lease: Option<LeaseSpec>, now: Instant) -> bool {
        let before = self.may_live(now);
        let holder = self.holder();
        self.seen = match (lease, self.seen.take()) {
            (None, _) => None,
            (Some(spec), Some(seen)) if seen.spec == spec => Some(seen),
            (Some(spec), Some(seen)) => Some(Seen {
                renewed: seen.spec.renew_time != spec.renew_time,
                spec,
                since: now,
            }),
            (Some(spec), None) => Some(Seen {
                spec,
                since: now,
                renewed: false,
            }),
        };
        self.may_live(now) != before || self.holder() != holder
    }

    /// Whether a holder renews it, or may do so as far as was seen yet: the first look proves nothing.
    fn may_live(&self, now: Instant) -> bool {
        let is_held = self.holder().is_some_and(|holder| !holder.is_empty());
        let duration = self.duration();
        let is_recent = |seen: &Seen| now.saturating_duration_since(seen.since) < duration;
        is_held && self.seen.as_ref().is_some_and(is_recent)
    }

    fn duration(&self) -> Duration {
        let seconds = self
            .seen
            .as_ref()
            .and_then(|seen| seen.spec.lease_duration_seconds);
        let seconds = seconds.and_then(|it| u64::try_from(it).ok());
        seconds.map_or(LEASE_DURATION, Duration::from_secs)
    }

    fn holder(&self) -> Option<String> {
        self.seen.as_ref()?.spec.holder_identity.clone()
    }

    /// What it says at that moment.
    #[must_use]
    pub fn state(&self, now: Instant) -> LeaseState {
        let Some(seen) = &self.seen else {
            return LeaseState::Absent;
        };
        if seen.renewed && self.may_live(now) {
            LeaseState::Alive
        } else {
            LeaseState::Expired
        }
    }
}
