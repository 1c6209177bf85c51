//! The objects of one simulated node: Node, its status, its Lease.

use std::net::Ipv4Addr;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::Config;
use super::address::Pool;
use super::behaviour::{NodeBehaviour, SIMULATED};
use super::pod::{micros, seconds};
use super::view::NodeView;

/// Taint that admission puts on every new node (API-504); the simulation takes it away once the node is ready.
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// Whether the Node object exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// To be created.
    Wanted,
    /// Exists and is ours.
    Registered,
    /// Was deleted by somebody: it stays gone.
    Deleted,
    /// Exists, but no simulation made it: it is left alone.
    Foreign,
}

/// One simulated node.
#[derive(Debug)]
pub(crate) struct SimulatedNode {
    pub(crate) name: Arc<str>,
    pub(crate) zone: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) pool: Pool,
    pub(crate) presence: Presence,
    /// Made by somebody else: only its readiness is reported.
    pub(crate) adopted: bool,
    pub(crate) behaviour: NodeBehaviour,
    pub(crate) uid: String,
    /// Failed writes in a row.
    pub(crate) failures: u32,
    /// The Lease exists, as far as known.
    pub(crate) leased: bool,
    /// Next time the status is due, whatever happens.
    pub(crate) status_due: Timestamp,
    /// This run has written the whole status.
    pub(crate) has_reported: bool,
    version: u64,
    resource_version: String,
    taints: Vec<Value>,
    /// Since when Ready has its status.
    ready: Option<(bool, Timestamp)>,
    /// Status of Ready that the server shows.
    shown_ready: String,
}

impl SimulatedNode {
    pub(crate) fn new(name: Arc<str>, zone: String, address: Ipv4Addr, pool: Pool, now: Timestamp) -> Self {
        Self {
            name,
            zone,
            address,
            pool,
            presence: Presence::Wanted,
            adopted: false,
            behaviour: NodeBehaviour::default(),
            uid: String::new(),
            failures: 0,
            leased: false,
            status_due: now,
            has_reported: false,
            version: 0,
            resource_version: String::new(),
            taints: Vec::new(),
            ready: None,
            shown_ready: String::new(),
        }
    }

    /// True while its kubelet is at work.
    pub(crate) fn is_up(&self) -> bool {
        self.presence == Presence::Registered && !self.behaviour.down
    }

    /// Takes over what the server says; older versions are ignored.
    pub(crate) fn observe(&mut self, view: &NodeView) {
        let resource_version = view.metadata.resource_version.clone().unwrap_or_default();
        let version = resource_version.parse().unwrap_or(0);
        if version != 0 && version < self.version {
            return;
        }
        self.version = version;
        self.resource_version = resource_version;
        self.uid = view.metadata.uid.clone().unwrap_or_default();
        self.presence = Presence::Registered;
        self.behaviour = NodeBehaviour::of(view.metadata.annotations.as_ref());
        self.taints.clone_from(&view.spec.taints);
        view.ready().clone_into(&mut self.shown_ready);
        if self.ready.is_none() {
            self.ready = view.ready_since();
        }
        if self.adopted
            && let Some(address) = view.status.internal_address()
        {
            self.address = address;
        }
        let network = view.spec.pod_cidr.parse().ok();
        if let Some(network) = network.filter(|network| *network != self.pool.network()) {
            self.pool = Pool::new(network);
        }
    }

    /// True if the server shows another readiness than ours, or the regular report is due.
    pub(crate) fn must_report(&self, now: Timestamp) -> bool {
        self.status_due <= now || self.shown_ready != ready_text(!self.behaviour.unready)
    }

    /// The patch that takes the not-ready taint away, if the node is ready and has it.
    pub(crate) fn untaint(&self) -> Option<Value> {
        let ours = |taint: &&Value| taint.get("key").and_then(Value::as_str) == Some(NOT_READY);
        if self.shown_ready != "True" || !self.taints.iter().any(|taint| ours(&taint)) {
            return None;
        }
        let rest: Vec<&Value> = self.taints.iter().filter(|taint| !ours(taint)).collect();
        let taints = if rest.is_empty() { Value::Null } else { json!(rest) };
        Some(
            json!({ "metadata": { "resourceVersion": self.resource_version }, "spec": { "taints": taints } }),
        )
    }

    /// The object to create.
    pub(crate) fn object(&mut self, config: &Config, now: Timestamp) -> Value {
        let network = self.pool.network().to_string();
        let mut labels: Map<String, Value> = config
            .labels
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        for (key, value) in [
            ("kubernetes.io/arch", "amd64"),
            ("kubernetes.io/hostname", &*self.name),
            ("kubernetes.io/os", "linux"),
            ("node.kubernetes.io/instance-type", "sandbox"),
            ("topology.kubernetes.io/region", &config.region),
            ("topology.kubernetes.io/zone", &self.zone),
            (SIMULATED, "true"),
        ] {
            labels.insert(key.to_owned(), json!(value));
        }
        let status = self.status(config, now);
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": &*self.name, "labels": labels },
            "spec": { "podCIDR": network, "podCIDRs": [network], "providerID": format!("sandbox://{}", self.name) },
            "status": status.get("status"),
        })
    }

    /// The whole status, as a strategic merge patch.
    pub(crate) fn status(&mut self, config: &Config, now: Timestamp) -> Value {
        let ready = !self.behaviour.unready;
        let since = self
            .ready
            .filter(|(known, _)| *known == ready)
            .map_or(now, |(_, since)| since);
        self.ready = Some((ready, since));
        let first = self.status_due;
        let condition = |r#type: &str, status: bool, reason: &str, message: &str, since: Timestamp| {
            json!({
                "type": r#type,
                "status": ready_text(status),
                "lastHeartbeatTime": seconds(now),
                "lastTransitionTime": seconds(since),
                "reason": reason,
                "message": message,
            })
        };
        let (reason, message) = if ready {
            ("KubeletReady", "the simulated node is ready")
        } else {
            ("KubeletNotReady", "an annotation of the node says not ready")
        };
        let ready = condition("Ready", ready, reason, message, since);
        if self.adopted {
            return json!({ "status": { "conditions": [ready] } });
        }
        let images: Vec<Value> = config
            .images
            .iter()
            .map(|image| json!({ "names": [image.name], "sizeBytes": image.size }))
            .collect();
        json!({ "status": {
            "capacity": config.capacity,
            "allocatable": config.allocatable,
            "addresses": [
                { "type": "InternalIP", "address": self.address.to_string() },
                { "type": "Hostname", "address": &*self.name },
            ],
            "conditions": [
                condition("MemoryPressure", false, "KubeletHasSufficientMemory", "memory is not simulated", first),
                condition("DiskPressure", false, "KubeletHasNoDiskPressure", "disks are not simulated", first),
                condition("PIDPressure", false, "KubeletHasSufficientPID", "processes are not simulated", first),
                ready,
            ],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
            "images": images,
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "00000000-0000-0000-0000-000000000000",
                "containerRuntimeVersion": "sandbox://1",
                "kernelVersion": "simulated",
                "kubeProxyVersion": "",
                "kubeletVersion": config.kubelet_version,
                "machineID": &*self.name,
                "operatingSystem": "linux",
                "osImage": "steersman sandbox",
                "systemUUID": &*self.name,
            },
        } })
    }

    /// The Lease to create.
    pub(crate) fn lease(&self, now: Timestamp) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": &*self.name,
                "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": &*self.name, "uid": self.uid }],
            },
            "spec": { "holderIdentity": &*self.name, "leaseDurationSeconds": 40, "renewTime": micros(now) },
        })
    }

    /// The patch that renews the Lease.
    pub(crate) fn renewal(&self, now: Timestamp) -> Value {
        json!({ "spec": {
            "holderIdentity": &*self.name,
            "leaseDurationSeconds": 40,
            "renewTime": micros(now),
        } })
    }
}

fn ready_text(ready: bool) -> &'static str {
    if ready { "True" } else { "False" }
}
