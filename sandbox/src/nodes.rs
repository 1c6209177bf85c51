//! Simulated nodes: the kubelet's part for any number of nodes, against any API server. Spec: API-152.
//!
//! A [`Simulation`] creates Node objects, renews their Leases, reports their status, and runs the pods that are bound to
//! them: containers start, become ready, finish, fail or stop as time passes; every pod has an address of its own; its
//! declared TCP ports answer HTTP inside the process (see [`Connector`]). One task does all of it.
//!
//! ```text
//! watch nodes ─┐                        ┌─► patch nodes/status, leases, taints
//! watch pods  ─┼─► jobs ─► what is due ─┤
//! timers      ─┘   (by key)             └─► patch pods/status, delete pods that stopped
//! ```
//!
//! What a pod or node does can be steered by annotations, at any time:
//!
//! | annotation | on | effect |
//! |---|---|---|
//! | [`READY`] `"false"` | pod, node | not ready until it changes |
//! | [`READY_AFTER`] `5s` | pod | time from the start of the containers to readiness |
//! | [`START_AFTER`] `5s` | pod | time from binding to the start of the first container |
//! | [`FINISH_AFTER`] `5s` | pod | the containers exit that long after their start: how Jobs finish |
//! | [`FAIL`] `"true"`, `"137"` | pod | exit code; at once unless [`FINISH_AFTER`] is given |
//! | [`STOP_AFTER`] `5s` | pod | time to stop when deleted, at most the grace period |
//! | [`DOWN`] `"true"` | node | silence: no lease, no status, nothing happens to its pods |
//!
//! Images that begin with `fail/` cannot be pulled: `ErrImagePull`, after 10 s `ImagePullBackOff`, and the pod stays
//! Pending. Containers that exit are restarted by the pod's restart policy, with the kubelet's back-off.
//!
//! Limits: IPv4 only; probes, hooks, volumes, quotas of a node and admission by the kubelet are not simulated; the
//! not-ready taint of a new node (API-504) is removed by the simulation, as no node lifecycle controller does it yet. A
//! node that somebody deletes stays gone until the simulation is started again.

mod address;
mod behaviour;
mod connector;
mod engine;
mod node;
mod pod;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

pub use address::Network;
pub use behaviour::{DOWN, FAIL, FINISH_AFTER, READY, READY_AFTER, SIMULATED, START_AFTER, STOP_AFTER};
pub use connector::Connector;
pub(crate) use pod::seconds;

/// Why a simulation cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not of the form `10.0.0.0/8`.
    #[error("{text:?} is not an IPv4 network such as 10.0.0.0/8")]
    Network {
        /// What was given.
        text: String,
    },
    /// More nodes than the network has room for.
    #[error("network {network} has no room for node number {index}: use a larger network or fewer nodes")]
    TooFewAddresses {
        /// The network of nodes or of pods.
        network: Network,
        /// Number of the first node without a place, from 0.
        index: u64,
    },
}

/// An image that every node claims to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// With registry and tag.
    pub name: String,
    /// In bytes.
    pub size: u64,
}

/// What is simulated. The default is five nodes in three zones.
#[derive(Clone, Debug)]
pub struct Config {
    /// Number of nodes, called `<prefix>1`, `<prefix>2`, …
    pub count: usize,
    /// Names of further nodes, which exist: those of a dump or of an earlier run. The simulation is their kubelet from now
    /// on; what they say about their size, addresses and system stays. Default: none.
    pub adopted: Vec<String>,
    /// Beginning of the names of nodes. Default `node-`.
    pub prefix: String,
    /// Number of zones, `zone-1` to `zone-N`; nodes are dealt out in turn. Default 3.
    pub zones: usize,
    /// Value of the region label. Default `sandbox`.
    pub region: String,
    /// Further labels of every node.
    pub labels: BTreeMap<String, String>,
    /// Resources of a node, as quantities. Default 8 cores, 32 GiB of memory, 100 GiB of disk, 110 pods.
    pub capacity: BTreeMap<String, String>,
    /// What of it pods may use. Default: all.
    pub allocatable: BTreeMap<String, String>,
    /// Images reported by every node. Default: none.
    pub images: Vec<Image>,
    /// Version that nodes report. Default `v1.36.0-sandbox`.
    pub kubelet_version: String,
    /// Addresses of nodes; the first two are left out. Default 172.16.0.0/12.
    pub node_network: Network,
    /// Addresses of pods. Default 10.128.0.0/9: 32,768 nodes.
    pub pod_network: Network,
    /// Prefix length of each node's part of [`pod_network`](Self::pod_network). Default 24: 253 pods.
    pub pod_prefix: u32,
    /// From binding to the start of the first container. Default 200 ms.
    pub start_delay: Duration,
    /// Duration of each init container. Default 100 ms.
    pub init_delay: Duration,
    /// From the start of the containers to readiness. Default 300 ms.
    pub ready_delay: Duration,
    /// How much of its grace period a pod takes to stop, in percent. Default 3 (0.9 s of the usual 30 s).
    pub stop_percent: u32,
    /// Time between two renewals of a node's Lease. Default 10 s (kubelet 1.36).
    pub lease_interval: Duration,
    /// Longest time between two reports of a node's status. Default 5 min (kubelet 1.36).
    pub status_interval: Duration,
    /// Requests under way at a time. Default 64.
    pub concurrency: usize,
}

impl Default for Config {
    fn default() -> Self {
        let resources: BTreeMap<String, String> = [
            ("cpu", "8"),
            ("ephemeral-storage", "100Gi"),
            ("memory", "32Gi"),
            ("pods", "110"),
        ]
        .into_iter()
        .map(|(name, quantity)| (name.to_owned(), quantity.to_owned()))
        .collect();
        Self {
            count: 5,
            adopted: Vec::new(),
            prefix: "node-".to_owned(),
            zones: 3,
            region: "sandbox".to_owned(),
            labels: BTreeMap::new(),
            capacity: resources.clone(),
            allocatable: resources,
            images: Vec::new(),
            kubelet_version: "v1.36.0-sandbox".to_owned(),
            node_network: Network::constant(Ipv4Addr::new(172, 16, 0, 0), 12),
            pod_network: Network::constant(Ipv4Addr::new(10, 128, 0, 0), 9),
            pod_prefix: 24,
            start_delay: Duration::from_millis(200),
            init_delay: Duration::from_millis(100),
            ready_delay: Duration::from_millis(300),
            stop_percent: 3,
            lease_interval: Duration::from_secs(10),
            status_interval: Duration::from_mins(5),
            concurrency: 64,
        }
    }
}

impl Config {
    /// Number of nodes of a configuration with these values of `count` and `adopted`, and the default prefix: nodes that
    /// are in both count once.
    #[must_use]
    pub fn total(count: usize, adopted: &[String]) -> usize {
        let own: BTreeSet<String> = (1..=count).map(|number| format!("node-{number}")).collect();
        count + adopted.iter().filter(|name| !own.contains(*name)).count()
    }
}

/// Simulated nodes, ready to run.
#[derive(Debug)]
pub struct Simulation {
    engine: engine::Engine,
    connections: mpsc::Receiver<connector::Accepted>,
    connector: Connector,
}

impl Simulation {
    /// Plans the nodes; nothing is sent before [`run`](Self::run).
    ///
    /// # Errors
    /// A network of the configuration is too small for the number of nodes.
    pub fn new(client: Client, config: Config, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let (connector, connections) = Connector::new();
        let engine = engine::Engine::new(client, config, clock, connector.clone())?;
        Ok(Self {
            engine,
            connections,
            connector,
        })
    }

    /// Connects to the pods of this simulation.
    #[must_use]
    pub fn connector(&self) -> Connector {
        self.connector.clone()
    }

    /// Runs the nodes until `stop`. Failed requests are repeated for ever, with pauses of up to 10 s; the nodes and pods
    /// stay as they are when it ends, and another run continues with them.
    pub async fn run(self, stop: CancellationToken) {
        drop(self.connector);
        self.engine.run(self.connections, stop).await;
    }
}

#[cfg(test)]
mod tests;
