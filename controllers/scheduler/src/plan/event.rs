//! Changes of the cluster that may make a waiting pod fit (SCH-32, chapter 3 of the spec).

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use steersman_shared::objects::Uid;

use super::pod::PodInfo;
use super::resources::has_scaled_down;
use super::table::NodeTable;

/// One change, as plugins judge it. One update of an object may be several events.
#[derive(Clone, Debug)]
pub enum Event {
    /// A node appeared.
    NodeAdded(Arc<NodeView>),
    /// One aspect of a node changed.
    NodeUpdated {
        /// What changed.
        aspect: NodeAspect,
        /// Before.
        old: Arc<NodeView>,
        /// After.
        new: Arc<NodeView>,
    },
    /// A node is gone.
    NodeRemoved,
    /// A pod is bound.
    PodAdded(Arc<PodInfo>),
    /// One aspect of a bound pod changed.
    PodUpdated {
        /// What changed.
        aspect: PodAspect,
        /// Before.
        old: Arc<PodInfo>,
        /// After.
        new: Arc<PodInfo>,
    },
    /// A bound or assumed pod no longer holds its place.
    PodRemoved(Arc<PodInfo>),
    /// One aspect of a waiting pod changed; it concerns that pod.
    PendingUpdated {
        /// What changed.
        aspect: PodAspect,
        /// Before.
        old: Arc<PodInfo>,
        /// After.
        new: Arc<PodInfo>,
    },
    /// Reason to try again whatever rejected the pod: every pod, or the one with this uid (SCH-27).
    Any {
        /// Label of the cause.
        cause: &'static str,
        /// The only pod concerned.
        only: Option<Uid>,
    },
}

impl Event {
    /// Name for logs and metrics, in upstream's words.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::NodeAdded(_) => "NodeAdd",
            Self::NodeUpdated { aspect, .. } => aspect.label(),
            Self::NodeRemoved => "NodeDelete",
            Self::PodAdded(_) => "AssignedPodAdd",
            Self::PodUpdated { aspect, .. } | Self::PendingUpdated { aspect, .. } => aspect.label(),
            Self::PodRemoved(_) => "AssignedPodDelete",
            Self::Any { cause, .. } => cause,
        }
    }
}

/// A node with the one-row table on which plugins judge it.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// The node as received.
    pub node: Arc<Node>,
    /// The node without pods.
    pub table: NodeTable,
}

impl NodeView {
    /// View of a node.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        Self {
            table: NodeTable::single(&node),
            node,
        }
    }
}

/// Part of a node that plugins read (SCH-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeAspect {
    /// Taints, or the end of `spec.unschedulable`.
    Taint,
    /// `status.allocatable`.
    Allocatable,
    /// Labels.
    Label,
    /// Type and status of the conditions.
    Condition,
    /// Annotations.
    Annotation,
    /// `status.declaredFeatures`.
    DeclaredFeature,
}

impl NodeAspect {
    fn label(self) -> &'static str {
        match self {
            Self::Taint => "NodeTaintChange",
            Self::Allocatable => "NodeAllocatableChange",
            Self::Label => "NodeLabelChange",
            Self::Condition => "NodeConditionChange",
            Self::Annotation => "NodeAnnotationChange",
            Self::DeclaredFeature => "NodeDeclaredFeatureChange",
        }
    }

    /// Aspects in which two versions of a node differ, in the order of the spec. None for a heartbeat.
    #[must_use]
    pub fn changed(old: &Node, new: &Node) -> Vec<Self> {
        let spec = |node: &Node| node.spec.clone().unwrap_or_default();
        let status = |node: &Node| node.status.clone().unwrap_or_default();
        let conditions = |node: &Node| -> Vec<(String, String)> {
            let list = status(node).conditions.unwrap_or_default();
            let mut list: Vec<_> = list
                .into_iter()
                .map(|condition| (condition.type_, condition.status))
                .collect();
            list.sort_unstable();
            list
        };
        let is_unschedulable = |node: &Node| spec(node).unschedulable.unwrap_or_default();
        let differs = [
            (Self::Taint, is_unschedulable(old) && !is_unschedulable(new)),
            (
                Self::Allocatable,
                status(old).allocatable != status(new).allocatable,
            ),
            (Self::Label, old.metadata.labels != new.metadata.labels),
            (Self::Taint, spec(old).taints != spec(new).taints),
            (Self::Condition, conditions(old) != conditions(new)),
            (
                Self::Annotation,
                old.metadata.annotations != new.metadata.annotations,
            ),
            (
                Self::DeclaredFeature,
                status(old).declared_features != status(new).declared_features,
            ),
        ];
        differs
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(aspect, _)| aspect)
            .collect()
    }
}

/// Part of a pod that plugins read (SCH-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodAspect {
    /// Labels.
    Label,
    /// Some request went down.
    ScaleDown,
    /// The last scheduling gate is gone.
    GatesEliminated,
    /// The number of tolerations.
    Toleration,
    /// Names of generated resource claims.
    GeneratedResourceClaim,
    /// None of the above.
    Other,
}

impl PodAspect {
    fn label(self) -> &'static str {
        match self {
            Self::Label => "PodLabelChange",
            Self::ScaleDown => "PodScaleDown",
            Self::GatesEliminated => "PodSchedulingGatesEliminated",
            Self::Toleration => "PodTolerationChange",
            Self::GeneratedResourceClaim => "PodGeneratedResourceClaimChange",
            Self::Other => "PodUpdate",
        }
    }

    /// Aspects in which two versions of a pod differ, in the order of the spec; never empty.
    #[must_use]
    pub fn changed(old: &PodInfo, new: &PodInfo) -> Vec<Self> {
        let claims = |pod: &PodInfo| {
            let status = pod.object.status.as_ref();
            status.map(|status| {
                (
                    status.resource_claim_statuses.clone(),
                    status.extended_resource_claim_status.clone(),
                )
            })
        };
        let differs = [
            (Self::Label, old.labels() != new.labels()),
            (Self::ScaleDown, has_scaled_down(&old.object, &new.object)),
            (
                Self::GatesEliminated,
                !old.gates.is_empty() && new.gates.is_empty(),
            ),
            (Self::Toleration, old.tolerations.len() != new.tolerations.len()),
            (Self::GeneratedResourceClaim, claims(old) != claims(new)),
        ];
        let mut aspects: Vec<Self> = differs
            .into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(aspect, _)| aspect)
            .collect();
        if aspects.is_empty() {
            aspects.push(Self::Other);
        }
        aspects
    }
}
