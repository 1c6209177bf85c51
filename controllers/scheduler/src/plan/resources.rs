//! What a pod asks for and what it is charged with (SCH-45 to SCH-48). Sums are exact and rounded up once, at the
//! end.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as RawQuantity;
use serde::Serialize;
use steersman_shared::quantity::Quantity;

use super::units::{Bytes, MilliCpu, Units};

/// Resource name of processor time.
pub(crate) const CPU: &str = "cpu";
/// Resource name of memory.
pub(crate) const MEMORY: &str = "memory";
/// Resource name of node-local storage.
pub(crate) const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
/// Resource name of the number of pods of a node.
pub(crate) const PODS: &str = "pods";

/// What scoring assumes for a container that names no CPU request: 100m (kube-scheduler 1.36, SCH-47).
const DEFAULT_CPU: Quantity = Quantity::millis(100);
/// What scoring assumes for a container that names no memory request: 200 MiB (kube-scheduler 1.36, SCH-47).
const DEFAULT_MEMORY: Quantity = Quantity::units(209_715_200);

/// Amounts per resource, rounded up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// CPU.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: Bytes,
    /// Node-local storage.
    pub ephemeral_storage: Bytes,
    /// Every other counted resource, sorted by name, each once. An explicit 0 keeps its entry.
    pub scalars: Vec<(Arc<str>, Units)>,
}

impl Resources {
    /// Whether nothing at all is named (SCH-89).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cpu == MilliCpu::ZERO
            && self.memory == Bytes::ZERO
            && self.ephemeral_storage == Bytes::ZERO
            && self.scalars.is_empty()
    }

    /// Amount of a scalar, `None` if it is not named.
    #[must_use]
    pub fn scalar(&self, name: &str) -> Option<Units> {
        self.scalars
            .iter()
            .find(|(known, _)| &**known == name)
            .map(|(_, amount)| *amount)
    }

    /// Amount of any resource by its name, 0 if not named.
    #[must_use]
    pub fn amount(&self, name: &str) -> i64 {
        match name {
            CPU => self.cpu.0,
            MEMORY => self.memory.0,
            EPHEMERAL_STORAGE => self.ephemeral_storage.0,
            _ => self.scalar(name).map_or(0, |amount| amount.0),
        }
    }

    /// Whether `other` asks for a resource of which `self` has less than `before` had.
    pub(crate) fn shrinks_one_of(&self, before: &Self, other: &Self) -> bool {
        let counts = |name: &str| other.amount(name) > 0 && self.amount(name) < before.amount(name);
        [CPU, MEMORY, EPHEMERAL_STORAGE].into_iter().any(counts)
            || other.scalars.iter().any(|(name, _)| counts(name))
    }
}

/// CPU and memory as scoring counts them (SCH-47).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NonZero {
    /// CPU.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: Bytes,
}

/// All that scheduling derives from a pod's requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// What the filter compares with a node's room: from the spec alone (SCH-88).
    pub request: Resources,
    /// What the strategies of `NodeResourcesFit` add to a node's usage: container requests with defaults, pod-level
    /// requests ignored (SCH-97).
    pub scored: Resources,
    /// What a node is charged for the pod, statuses included (SCH-45).
    pub charge: Resources,
    /// The same with defaults for scoring (SCH-47).
    pub charge_non_zero: NonZero,
    /// Names of resources whose quantity cannot be read; such a pod is not placed.
    pub unreadable: Vec<String>,
}

/// Exact amounts.
type Amounts = BTreeMap<String, Quantity>;

/// Requests of a container whose containers report what they really hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Basis {
    Spec,
    Status,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PodLevel {
    Honoured,
    Ignored,
}

/// Defaults that apply to containers without an entry.
#[derive(Clone, Copy, Default)]
struct Defaults {
    cpu: bool,
    memory: bool,
}

impl Demand {
    /// Reads the requests of a pod.
    #[must_use]
    pub fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else {
            return Self::default();
        };
        let mut reader = Reader {
            pod,
            spec,
            unreadable: Vec::new(),
        };
        let both = Defaults {
            cpu: true,
            memory: true,
        };
        let request = reader.aggregate(Basis::Spec, PodLevel::Honoured, Defaults::default());
        let charge = reader.aggregate(Basis::Status, PodLevel::Honoured, Defaults::default());
        let defaults = if reader.has_pod_level_requests() {
            Defaults {
                cpu: !charge.contains_key(CPU),
                memory: !charge.contains_key(MEMORY),
            }
        } else {
            both
        };
        let non_zero = rounded(&reader.aggregate(Basis::Status, PodLevel::Honoured, defaults));
        let scored = rounded(&reader.aggregate(Basis::Spec, PodLevel::Ignored, both));
        let mut unreadable = reader.unreadable;
        unreadable.sort_unstable();
        unreadable.dedup();
        Self {
            request: rounded(&request),
            scored,
            charge: rounded(&charge),
            charge_non_zero: NonZero {
                cpu: non_zero.cpu,
                memory: non_zero.memory,
            },
            unreadable,
        }
    }
}

/// Whether some request that is charged for a pod went down or vanished from one version to the next (SCH-32,
/// `UpdatePodScaleDown`). An explicit 0 that vanishes counts.
pub(crate) fn has_scaled_down(old: &Pod, new: &Pod) -> bool {
    let charged = |pod: &Pod| match &pod.spec {
        None => Amounts::new(),
        Some(spec) => {
            let mut reader = Reader {
                pod,
                spec,
                unreadable: Vec::new(),
            };
            reader.aggregate(Basis::Status, PodLevel::Honoured, Defaults::default())
        }
    };
    let now = charged(new);
    charged(old)
        .iter()
        .any(|(name, amount)| now.get(name).is_none_or(|now| now < amount))
}

struct Reader<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    unreadable: Vec<String>,
}

impl Reader<'_> {
    /// The aggregate of SCH-46.
    fn aggregate(&mut self, basis: Basis, pod_level: PodLevel, defaults: Defaults) -> Amounts {
        let (pod, spec) = (self.pod, self.spec);
        let statuses = |of_init: bool| -> &[ContainerStatus] {
            let status = pod.status.as_ref();
            let list = if of_init {
                status.and_then(|status| status.init_container_statuses.as_ref())
            } else {
                status.and_then(|status| status.container_statuses.as_ref())
            };
            list.map_or(&[], Vec::as_slice)
        };
        let mut sum = Amounts::new();
        for container in &spec.containers {
            add(
                &mut sum,
                &self.of_container(container, basis, statuses(false), defaults),
            );
        }
        let mut sidecars = Amounts::new();
        let mut peak = Amounts::new();
        for container in spec.init_containers.iter().flatten() {
            if is_sidecar(container) {
                let own = self.of_container(container, basis, statuses(true), defaults);
                add(&mut sum, &own);
                add(&mut sidecars, &own);
                raise(&mut peak, &sidecars);
            } else {
                let mut own = self.of_container(container, Basis::Spec, &[], defaults);
                add(&mut own, &sidecars);
                raise(&mut peak, &own);
            }
        }
        raise(&mut sum, &peak);
        if pod_level == PodLevel::Honoured {
            for (name, amount) in self.of_pod_level(basis) {
                sum.insert(name, amount);
            }
        }
        if let Some(overhead) = &spec.overhead {
            let overhead = self.amounts(Some(overhead));
            add(&mut sum, &overhead);
        }
        sum
    }

    fn of_container(
        &mut self,
        container: &Container,
        basis: Basis,
        statuses: &[ContainerStatus],
        defaults: Defaults,
    ) -> Amounts {
        let spec = self.amounts(requests_of(container.resources.as_ref()));
        let status = statuses
            .iter()
            .find(|status| basis == Basis::Status && status.name == container.name);
        let mut amounts = match status.filter(|status| status.resources.is_some()) {
            None => spec,
            Some(status) => {
                let actuated = self.amounts(requests_of(status.resources.as_ref()));
                let allocated = self.amounts(status.allocated_resources.as_ref());
                self.held(spec, &actuated, &allocated)
            }
        };
        if defaults.cpu {
            amounts.entry(CPU.to_owned()).or_insert(DEFAULT_CPU);
        }
        if defaults.memory {
            amounts.entry(MEMORY.to_owned()).or_insert(DEFAULT_MEMORY);
        }
        amounts
    }

    /// What is really held while a resize is under way (SCH-45).
    fn held(&self, spec: Amounts, actuated: &Amounts, allocated: &Amounts) -> Amounts {
        let mut held = if self.is_resize_infeasible() {
            Amounts::new()
        } else {
            spec
        };
        raise(&mut held, actuated);
        raise(&mut held, allocated);
        held
    }

    fn is_resize_infeasible(&self) -> bool {
        let conditions = self
            .pod
            .status
            .as_ref()
            .and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|condition| {
            condition.type_ == "PodResizePending" && condition.reason.as_deref() == Some("Infeasible")
        })
    }

    fn has_pod_level_requests(&self) -> bool {
        requests_of(self.spec.resources.as_ref())
            .is_some_and(|requests| requests.keys().any(|name| is_pod_level(name)))
    }

    /// Pod-level requests of the resources that can have one.
    fn of_pod_level(&mut self, basis: Basis) -> Amounts {
        if !self.has_pod_level_requests() {
            return Amounts::new();
        }
        let spec = self.amounts(requests_of(self.spec.resources.as_ref()));
        let status = self.pod.status.as_ref().filter(|_| basis == Basis::Status);
        let mut amounts = match status.filter(|status| status.resources.is_some()) {
            None => spec,
            Some(status) => {
                let actuated = self.amounts(requests_of(status.resources.as_ref()));
                let allocated = self.amounts(status.allocated_resources.as_ref());
                self.held(spec, &actuated, &allocated)
            }
        };
        amounts.retain(|name, _| is_pod_level(name));
        amounts
    }

    fn amounts(&mut self, list: Option<&BTreeMap<String, RawQuantity>>) -> Amounts {
        let mut amounts = Amounts::new();
        for (name, quantity) in list.into_iter().flatten() {
            match Quantity::parse(&quantity.0) {
                Ok(amount) => {
                    amounts.insert(name.clone(), amount);
                }
                Err(_) => self.unreadable.push(name.clone()),
            }
        }
        amounts
    }
}

fn requests_of(resources: Option<&ResourceRequirements>) -> Option<&BTreeMap<String, RawQuantity>> {
    resources.and_then(|resources| resources.requests.as_ref())
}

/// Whether an init container keeps running beside the others.
pub(crate) fn is_sidecar(init_container: &Container) -> bool {
    init_container.restart_policy.as_deref() == Some("Always")
}

fn is_pod_level(name: &str) -> bool {
    name == CPU || name == MEMORY || name.starts_with("hugepages-")
}

/// Whether a resource other than the three native ones is counted (SCH-48).
fn is_scalar(name: &str) -> bool {
    name.starts_with("hugepages-")
        || name.starts_with("attachable-volumes-")
        || (name.contains('/') && !name.starts_with("requests."))
}

fn add(sum: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = sum.entry(name.clone()).or_insert(Quantity::ZERO);
        *entry = entry.saturating_add(*amount);
    }
}

fn raise(peak: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let entry = peak.entry(name.clone()).or_insert(*amount);
        *entry = (*entry).max(*amount);
    }
}

fn rounded(amounts: &Amounts) -> Resources {
    let mut resources = Resources::default();
    for (name, amount) in amounts {
        match name.as_str() {
            CPU => resources.cpu = MilliCpu(amount.milli_value()),
            MEMORY => resources.memory = Bytes(amount.value()),
            EPHEMERAL_STORAGE => resources.ephemeral_storage = Bytes(amount.value()),
            // `Amounts` is sorted, so the scalars are.
            name if is_scalar(name) => resources.scalars.push((name.into(), Units(amount.value()))),
            _ => {}
        }
    }
    resources
}

/// Amounts of a node's `status.allocatable`, and the number of pods it allows. An unreadable quantity counts as 0.
pub(crate) fn allocatable(list: Option<&BTreeMap<String, RawQuantity>>) -> (Resources, Units) {
    let read = |quantity: &RawQuantity| Quantity::parse(&quantity.0).unwrap_or(Quantity::ZERO);
    let amounts: Amounts = list
        .into_iter()
        .flatten()
        .map(|(name, quantity)| (name.clone(), read(quantity)))
        .collect();
    let pods = amounts.get(PODS).map_or(Units::ZERO, |pods| Units(pods.value()));
    (rounded(&amounts), pods)
}
