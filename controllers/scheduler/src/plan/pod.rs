//! A pod as the planner reads it: parsed once, when it arrives (STY-41).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration, Volume};
use steersman_shared::objects::{ObjectKey, Uid};

use super::resources::{Demand, is_sidecar};
use super::selector::{PreferredNodes, RequiredNodes};

/// A pod and what scheduling derives from it.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// The pod as received.
    pub object: Arc<Pod>,
    /// Namespace and name.
    pub key: ObjectKey,
    /// Identity; a namesake that is created later has another.
    pub uid: Uid,
    /// `spec.priority`, 0 when absent (SCH-10).
    pub priority: i32,
    /// `spec.nodeName`, `None` while unbound.
    pub node: Option<Arc<str>>,
    /// `status.nominatedNodeName`.
    pub nominated: Option<Arc<str>>,
    /// Requests and charges.
    pub demand: Demand,
    /// Host ports of containers and sidecars, sorted, each once (SCH-49).
    pub ports: Vec<HostPort>,
    /// As in the spec.
    pub tolerations: Vec<Toleration>,
    /// Node selector and required node affinity.
    pub required: RequiredNodes,
    /// Preferred node affinity, `None` if the pod has no such stanza.
    pub preferred: Option<PreferredNodes>,
    /// Normalised names of the images of all containers and image volumes, repeated ones included (SCH-101).
    pub images: Vec<String>,
    /// Containers and init containers (SCH-102).
    pub containers: usize,
    /// `spec.schedulingGates`.
    pub gates: Vec<String>,
    /// What the pod asks for that no plugin here honours; such a pod is held.
    pub unsupported: Vec<Unsupported>,
}

/// A constraint of a pod that this scheduler does not honour yet. Placing the pod would break it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unsupported {
    /// `spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution`.
    PodAffinity,
    /// `spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution`.
    PodAntiAffinity,
    /// A hard entry of `spec.topologySpreadConstraints`.
    TopologySpread,
    /// A volume of a type that restricts the choice of nodes.
    Volume(&'static str),
    /// `spec.resourceClaims`.
    ResourceClaims,
    /// `spec.schedulingGroup`: the pod wants to be placed with others or not at all.
    SchedulingGroup,
    /// A request that cannot be read.
    Quantity(String),
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PodAffinity => f.write_str("required spec.affinity.podAffinity"),
            Self::PodAntiAffinity => f.write_str("required spec.affinity.podAntiAffinity"),
            Self::TopologySpread => {
                f.write_str("spec.topologySpreadConstraints with whenUnsatisfiable: DoNotSchedule")
            }
            Self::Volume(kind) => write!(f, "spec.volumes of type {kind}"),
            Self::ResourceClaims => f.write_str("spec.resourceClaims"),
            Self::SchedulingGroup => f.write_str("spec.schedulingGroup"),
            Self::Quantity(resource) => write!(f, "the unreadable request of {resource}"),
        }
    }
}

/// A port of the node that a pod occupies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Address; `0.0.0.0` when absent.
    pub ip: Arc<str>,
    /// `TCP` when absent.
    pub protocol: Arc<str>,
    /// Above 0.
    pub port: i32,
}

/// The only address that conflicts with every other one (SCH-87).
const ANY_ADDRESS: &str = "0.0.0.0";

impl HostPort {
    /// Whether one node cannot give both (SCH-87).
    #[must_use]
    pub fn conflicts_with(&self, other: &Self) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || &*self.ip == ANY_ADDRESS || &*other.ip == ANY_ADDRESS)
    }
}

impl PodInfo {
    /// Reads a pod.
    pub fn new(object: Arc<Pod>) -> Self {
        let empty = PodSpec::default();
        let spec = object.spec.as_ref().unwrap_or(&empty);
        let demand = Demand::of(&object);
        let affinity = spec
            .affinity
            .as_ref()
            .and_then(|affinity| affinity.node_affinity.as_ref());
        let preferred = affinity.and_then(|affinity| {
            affinity
                .preferred_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let nominated = object
            .status
            .as_ref()
            .and_then(|status| status.nominated_node_name.as_deref());
        Self {
            key: ObjectKey::of(&*object),
            uid: Uid::of(&*object),
            priority: spec.priority.unwrap_or_default(),
            node: filled(spec.node_name.as_deref()),
            nominated: filled(nominated),
            ports: host_ports(spec),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            required: RequiredNodes::parse(spec.node_selector.as_ref(), affinity),
            preferred: preferred.map(|terms| PreferredNodes::parse(terms)),
            images: images(spec),
            containers: spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len),
            gates: spec
                .scheduling_gates
                .iter()
                .flatten()
                .map(|gate| gate.name.clone())
                .collect(),
            unsupported: unsupported(spec, &demand),
            demand,
            object,
        }
    }

    /// `spec.schedulerName`.
    #[must_use]
    pub fn scheduler_name(&self) -> &str {
        self.object
            .spec
            .as_ref()
            .and_then(|spec| spec.scheduler_name.as_deref())
            .unwrap_or_default()
    }

    /// Whether the pod is being deleted.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        self.object.metadata.deletion_timestamp.is_some()
    }

    /// Whether the pod has ended for good: it holds nothing any more (SCH-1).
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        let phase = self
            .object
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    }

    /// Labels of the pod.
    #[must_use]
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.object.metadata.labels.as_ref()
    }
}

fn filled(text: Option<&str>) -> Option<Arc<str>> {
    text.filter(|text| !text.is_empty()).map(Arc::from)
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|container| is_sidecar(container));
    let mut ports: Vec<HostPort> = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            Some(HostPort {
                ip: filled(port.host_ip.as_deref()).unwrap_or_else(|| ANY_ADDRESS.into()),
                protocol: filled(port.protocol.as_deref()).unwrap_or_else(|| "TCP".into()),
                port: port.host_port.filter(|port| *port > 0)?,
            })
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

fn images(spec: &PodSpec) -> Vec<String> {
    let of_containers = |containers: &[Container]| -> Vec<String> {
        containers
            .iter()
            .filter_map(|container| container.image.as_deref())
            .map(normalised_image)
            .collect()
    };
    let mut images = of_containers(spec.init_containers.as_deref().unwrap_or_default());
    images.extend(of_containers(&spec.containers));
    let volumes = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.image.as_ref());
    images.extend(
        volumes
            .filter_map(|image| image.reference.as_deref())
            .map(normalised_image),
    );
    images
}

/// The name under which nodes report an image (SCH-101).
fn normalised_image(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') {
        name.to_owned()
    } else {
        format!("{name}:latest")
    }
}

fn unsupported(spec: &PodSpec, demand: &Demand) -> Vec<Unsupported> {
    let mut found = Vec::new();
    if let Some(affinity) = &spec.affinity {
        let terms = affinity.pod_affinity.as_ref();
        let terms =
            terms.and_then(|terms| terms.required_during_scheduling_ignored_during_execution.as_ref());
        if terms.is_some_and(|terms| !terms.is_empty()) {
            found.push(Unsupported::PodAffinity);
        }
        let terms = affinity.pod_anti_affinity.as_ref();
        let terms =
            terms.and_then(|terms| terms.required_during_scheduling_ignored_during_execution.as_ref());
        if terms.is_some_and(|terms| !terms.is_empty()) {
            found.push(Unsupported::PodAntiAffinity);
        }
    }
    let mut constraints = spec.topology_spread_constraints.iter().flatten();
    if constraints.any(|constraint| constraint.when_unsatisfiable != "ScheduleAnyway") {
        found.push(Unsupported::TopologySpread);
    }
    found.extend(
        spec.volumes
            .iter()
            .flatten()
            .filter_map(binding_volume)
            .map(Unsupported::Volume),
    );
    if spec
        .resource_claims
        .as_ref()
        .is_some_and(|claims| !claims.is_empty())
    {
        found.push(Unsupported::ResourceClaims);
    }
    if spec.scheduling_group.is_some() {
        found.push(Unsupported::SchedulingGroup);
    }
    found.extend(demand.unreadable.iter().cloned().map(Unsupported::Quantity));
    found.sort_unstable();
    found.dedup();
    found
}

/// Name of a volume source that ties a pod to certain nodes or counts against a limit of attachments.
fn binding_volume(volume: &Volume) -> Option<&'static str> {
    let sources = [
        (volume.persistent_volume_claim.is_some(), "persistentVolumeClaim"),
        (volume.ephemeral.is_some(), "ephemeral"),
        (volume.gce_persistent_disk.is_some(), "gcePersistentDisk"),
        (volume.aws_elastic_block_store.is_some(), "awsElasticBlockStore"),
        (volume.azure_disk.is_some(), "azureDisk"),
        (volume.cinder.is_some(), "cinder"),
        (volume.iscsi.is_some(), "iscsi"),
        (volume.rbd.is_some(), "rbd"),
        (volume.vsphere_volume.is_some(), "vsphereVolume"),
        (volume.portworx_volume.is_some(), "portworxVolume"),
    ];
    sources
        .into_iter()
        .find(|(is_used, _)| *is_used)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("app", "app:latest")]
    #[case("app:1", "app:1")]
    #[case("registry:5000/app", "registry:5000/app:latest")]
    #[case("registry:5000/app@sha256:00", "registry:5000/app@sha256:00")]
    fn sch_101_image_names_get_a_tag(#[case] name: &str, #[case] want: &str) {
        assert_eq!(normalised_image(name), want);
    }
}
