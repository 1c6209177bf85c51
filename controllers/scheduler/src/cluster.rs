//! The scheduler's view of the cluster: nodes, bound pods, and pods that are assumed to be bound because we sent, or
//! are about to send, their binding (SCH-39 to SCH-44).

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::Serialize;
use steersman_shared::objects::{ObjectKey, Uid};

use crate::plan::pod::PodInfo;
use crate::plan::table::{NodeDump, NodeRow, NodeTable};

/// Nodes with what is charged to them.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    table: NodeTable,
    pods: FxHashMap<Uid, Held>,
    assumed: usize,
}

/// A pod that is charged to a node.
#[derive(Clone, Debug)]
struct Held {
    pod: Arc<PodInfo>,
    row: NodeRow,
    node: Arc<str>,
    is_assumed: bool,
}

/// What the watch's word on a bound pod meant for the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// A pod that was not charged before.
    New,
    /// It was assumed on this node.
    AsAssumed,
    /// It was assumed on another node; the API server is right (SCH-41).
    Elsewhere,
    /// It was bound here already.
    Known,
    /// It was bound to another node, which no API server allows; it was charged anew (SCH-42).
    Moved,
}

/// The pod is charged to a node already (SCH-39).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlreadyCharged;

impl Cluster {
    /// The nodes, as plugins see them.
    #[must_use]
    pub fn table(&self) -> &NodeTable {
        &self.table
    }

    /// For changes of nodes.
    pub fn table_mut(&mut self) -> &mut NodeTable {
        &mut self.table
    }

    /// Number of charged pods.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether no pod is charged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// Number of assumed pods.
    #[must_use]
    pub fn assumed(&self) -> usize {
        self.assumed
    }

    /// Whether the pod is charged without confirmation.
    #[must_use]
    pub fn is_assumed(&self, uid: &Uid) -> bool {
        self.pods.get(uid).is_some_and(|held| held.is_assumed)
    }

    /// The charged pod of that identity.
    #[must_use]
    pub fn pod(&self, uid: &Uid) -> Option<&Arc<PodInfo>> {
        self.pods.get(uid).map(|held| &held.pod)
    }

    /// Charges a pod to the node that was decided for it.
    ///
    /// # Errors
    /// [`AlreadyCharged`].
    pub fn assume(&mut self, pod: &Arc<PodInfo>, node: &str) -> Result<(), AlreadyCharged> {
        if self.pods.contains_key(&pod.uid) {
            return Err(AlreadyCharged);
        }
        self.insert(Arc::clone(pod), node, true);
        Ok(())
    }

    /// Takes an assumption back, `None` if there is none (any more).
    pub fn forget(&mut self, uid: &Uid) -> Option<Arc<PodInfo>> {
        if self.is_assumed(uid) {
            self.remove(uid)
        } else {
            None
        }
    }

    /// Takes over what the watch says of a bound pod.
    pub fn confirm(&mut self, pod: Arc<PodInfo>, node: &str) -> Confirmed {
        let before = self
            .pods
            .get(&pod.uid)
            .map(|held| (held.is_assumed, &*held.node == node));
        let confirmed = match before {
            None => Confirmed::New,
            Some((true, true)) => Confirmed::AsAssumed,
            Some((true, false)) => Confirmed::Elsewhere,
            Some((false, true)) => Confirmed::Known,
            Some((false, false)) => Confirmed::Moved,
        };
        self.remove(&pod.uid);
        self.insert(pod, node, false);
        confirmed
    }

    /// Removes a pod, bound or assumed.
    pub fn remove(&mut self, uid: &Uid) -> Option<Arc<PodInfo>> {
        let held = self.pods.remove(uid)?;
        if held.is_assumed {
            self.assumed = self.assumed.saturating_sub(1);
        }
        self.table.discharge(held.row, &held.pod);
        Some(held.pod)
    }

    fn insert(&mut self, pod: Arc<PodInfo>, node: &str, is_assumed: bool) {
        let row = self.table.charge(node, &pod);
        let node = Arc::clone(self.table.shared_name(row));
        self.assumed += usize::from(is_assumed);
        self.pods.insert(
            pod.uid.clone(),
            Held {
                pod,
                row,
                node,
                is_assumed,
            },
        );
    }

    /// Everything that decisions depend on, comparable and readable (SCH-54).
    #[must_use]
    pub fn dump(&self) -> ClusterDump {
        let pod = |held: &Held| {
            let state = if held.is_assumed { "assumed" } else { "bound" };
            (
                held.pod.key.clone(),
                held.pod.uid.clone(),
                Arc::clone(&held.node),
                state,
            )
        };
        let mut pods: Vec<_> = self.pods.values().map(pod).collect();
        pods.sort_unstable();
        ClusterDump {
            nodes: self.table.dump(),
            pods,
        }
    }
}

/// See [`Cluster::dump`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClusterDump {
    /// By name.
    pub nodes: BTreeMap<Arc<str>, NodeDump>,
    /// Charged pods with their node and `assumed` or `bound`, sorted.
    pub pods: Vec<(ObjectKey, Uid, Arc<str>, &'static str)>,
}
