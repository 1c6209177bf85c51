//! The parts of Pod and Node that a simulated kubelet reads. Everything else is skipped while decoding.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use serde::Deserialize;

/// A pod, as far as a kubelet cares.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodView {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: PodSpecView,
    pub(crate) status: PodStatusView,
}

/// `spec` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodSpecView {
    pub(crate) node_name: String,
    pub(crate) host_network: bool,
    pub(crate) restart_policy: String,
    pub(crate) containers: Vec<ContainerView>,
    pub(crate) init_containers: Vec<ContainerView>,
    pub(crate) readiness_gates: Vec<ReadinessGateView>,
}

/// A container or init container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerView {
    pub(crate) name: String,
    pub(crate) image: String,
    pub(crate) restart_policy: String,
    pub(crate) ports: Vec<PortView>,
}

/// A declared port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PortView {
    pub(crate) container_port: u16,
    pub(crate) host_port: u16,
    pub(crate) protocol: String,
}

/// A condition that must be true besides the containers' readiness.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ReadinessGateView {
    pub(crate) condition_type: String,
}

/// `status` of a pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct PodStatusView {
    pub(crate) phase: String,
    #[serde(rename = "podIP")]
    pub(crate) pod_ip: String,
    pub(crate) start_time: Option<Timestamp>,
    pub(crate) conditions: Vec<ConditionView>,
    pub(crate) container_statuses: Vec<ContainerStatusView>,
    pub(crate) init_container_statuses: Vec<ContainerStatusView>,
}

/// A condition of a pod or node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ConditionView {
    pub(crate) r#type: String,
    pub(crate) status: String,
    pub(crate) last_transition_time: Option<Timestamp>,
}

/// What an earlier kubelet reported about a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct ContainerStatusView {
    pub(crate) name: String,
    pub(crate) restart_count: u32,
    pub(crate) state: StateView,
}

/// The state of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StateView {
    pub(crate) running: Option<RunningView>,
}

/// The running state of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RunningView {
    pub(crate) started_at: Option<Timestamp>,
}

/// A node, as far as its kubelet cares.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeView {
    pub(crate) metadata: ObjectMeta,
    pub(crate) spec: NodeSpecView,
    pub(crate) status: NodeStatusView,
}

/// `spec` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NodeSpecView {
    #[serde(rename = "podCIDR")]
    pub(crate) pod_cidr: String,
    /// As received: a patch of the list must not lose fields.
    pub(crate) taints: Vec<serde_json::Value>,
}

/// `status` of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeStatusView {
    pub(crate) conditions: Vec<ConditionView>,
    pub(crate) addresses: Vec<AddressView>,
}

/// An address of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct AddressView {
    pub(crate) r#type: String,
    pub(crate) address: String,
}

impl NodeStatusView {
    /// The first IPv4 address inside of the cluster.
    pub(crate) fn internal_address(&self) -> Option<Ipv4Addr> {
        let mut internal = self
            .addresses
            .iter()
            .filter(|address| address.r#type == "InternalIP");
        internal.find_map(|address| address.address.parse().ok())
    }
}

impl NodeView {
    /// Status of the Ready condition; empty if there is none.
    pub(crate) fn ready(&self) -> &str {
        condition(&self.status.conditions, "Ready").map_or("", |ready| ready.status.as_str())
    }

    /// Whether it is ready, and since when.
    pub(crate) fn ready_since(&self) -> Option<(bool, Timestamp)> {
        let ready = condition(&self.status.conditions, "Ready")?;
        Some((ready.status == "True", ready.last_transition_time?))
    }
}

/// The condition of this type.
pub(crate) fn condition<'a>(conditions: &'a [ConditionView], r#type: &str) -> Option<&'a ConditionView> {
    conditions.iter().find(|condition| condition.r#type == r#type)
}

impl kube::Resource for PodView {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl kube::Resource for NodeView {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "nodes".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
