//! Nodes by column: a plugin reads the arrays that it needs, not node objects. Usage is kept up to date pod by pod.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use rustc_hash::FxHashMap;
use serde::Serialize;

use super::pod::{HostPort, PodInfo};
use super::resources::{self, NonZero, Resources};
use super::symbols::{Symbol, Symbols};
use super::units::{Bytes, MilliCpu, Units};

/// Row of a [`NodeTable`]; only the table makes one. Valid until its node and the pods on it are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRow(u32);

/// One value per row.
#[derive(Clone, Debug)]
struct Column<T>(Vec<T>);

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Index<NodeRow> for Column<T> {
    type Output = T;
    #[expect(
        clippy::indexing_slicing,
        reason = "the table hands out rows and never shortens a column"
    )]
    fn index(&self, row: NodeRow) -> &T {
        &self.0[row.0 as usize]
    }
}

impl<T> IndexMut<NodeRow> for Column<T> {
    #[expect(
        clippy::indexing_slicing,
        reason = "the table hands out rows and never shortens a column"
    )]
    fn index_mut(&mut self, row: NodeRow) -> &mut T {
        &mut self.0[row.0 as usize]
    }
}

/// The three native resources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Native {
    /// CPU.
    pub cpu: MilliCpu,
    /// Memory.
    pub memory: Bytes,
    /// Node-local storage.
    pub ephemeral_storage: Bytes,
}

/// A counted resource of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scalar {
    name: Symbol,
    /// What the node offers.
    pub(crate) allocatable: Units,
    /// What its pods are charged with.
    pub(crate) used: Units,
}

/// Identity of a node's list of taints: rows with equal lists have equal sets, so a verdict on taints is computed
/// once per set and not once per node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TaintSet(u32);

/// Key, value and effect of each taint.
type TaintKey = Vec<(String, String, String)>;

/// The distinct lists of taints in use; slots of lists that are no longer in use are used again.
#[derive(Clone, Debug, Default)]
struct TaintSets {
    by_key: FxHashMap<TaintKey, TaintSet>,
    slots: Vec<(Arc<[Taint]>, usize)>,
}

impl TaintSets {
    fn acquire(&mut self, taints: &[Taint]) -> TaintSet {
        let key = taint_key(taints);
        if let Some(set) = self.by_key.get(&key) {
            if let Some((_, users)) = self.slots.get_mut(set.0 as usize) {
                *users += 1;
            }
            return *set;
        }
        let entry = (Arc::from(taints), 1);
        let index = if let Some(index) = self.slots.iter().position(|(_, users)| *users == 0) {
            if let Some(slot) = self.slots.get_mut(index) {
                *slot = entry;
            }
            index
        } else {
            self.slots.push(entry);
            self.slots.len() - 1
        };
        let set = TaintSet(u32::try_from(index).unwrap_or(u32::MAX));
        self.by_key.insert(key, set);
        set
    }

    fn release(&mut self, set: TaintSet) {
        if let Some((taints, users)) = self.slots.get_mut(set.0 as usize) {
            *users = users.saturating_sub(1);
            if *users == 0 {
                self.by_key.remove(&taint_key(taints));
            }
        }
    }
}

fn taint_key(taints: &[Taint]) -> TaintKey {
    let parts = |taint: &Taint| {
        (
            taint.key.clone(),
            taint.value.clone().unwrap_or_default(),
            taint.effect.clone(),
        )
    };
    taints.iter().map(parts).collect()
}

/// Size of an image and the number of nodes that have it (SCH-50).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ImageState {
    pub(crate) size: i64,
    pub(crate) nodes: usize,
}

/// Nodes by column. All columns have the same length; rows of removed nodes are used again.
#[derive(Clone, Debug, Default)]
pub struct NodeTable {
    symbols: Symbols,
    by_name: FxHashMap<Arc<str>, NodeRow>,
    free: Vec<NodeRow>,
    /// Rows of nodes that exist, sorted. A row outside is free or stands for a node that only its pods name (SCH-43).
    listed: Vec<NodeRow>,
    names: Column<Arc<str>>,
    is_listed: Column<bool>,
    unschedulable: Column<bool>,
    labels: Column<Box<[(Symbol, Symbol)]>>,
    taints: Column<Option<TaintSet>>,
    allocatable: Column<Native>,
    allowed_pods: Column<Units>,
    used: Column<Native>,
    used_non_zero: Column<NonZero>,
    pods: Column<Units>,
    scalars: Column<Vec<Scalar>>,
    /// Host ports in use, sorted, with the number of pods that have them: normally 1.
    ports: Column<Vec<(HostPort, u32)>>,
    images: Column<Vec<Symbol>>,
    generations: Column<u64>,
    taint_sets: TaintSets,
    image_states: FxHashMap<Symbol, ImageState>,
    generation: u64,
}

impl NodeTable {
    /// A table of one node without pods; hints judge a change of a node on it.
    #[must_use]
    pub fn single(node: &Node) -> Self {
        let mut table = Self::default();
        table.set_node(node);
        table
    }

    /// Number of existing nodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.listed.len()
    }

    /// Whether no node exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty()
    }

    /// Rows of all existing nodes, in row order.
    #[must_use]
    pub fn rows(&self) -> &[NodeRow] {
        &self.listed
    }

    /// Row of an existing node.
    #[must_use]
    pub fn row(&self, name: &str) -> Option<NodeRow> {
        self.by_name.get(name).copied().filter(|row| self.is_listed[*row])
    }

    /// Name of a node.
    #[must_use]
    pub fn name(&self, row: NodeRow) -> &str {
        &self.names[row]
    }

    /// Shared form of [`Self::name`].
    #[must_use]
    pub fn shared_name(&self, row: NodeRow) -> &Arc<str> {
        &self.names[row]
    }

    /// Number of the last change of the row; never the same for two states of one node (STY-83).
    #[must_use]
    pub fn generation(&self, row: NodeRow) -> u64 {
        self.generations[row]
    }

    /// Strings behind the table's symbols.
    #[must_use]
    pub fn symbols(&self) -> &Symbols {
        &self.symbols
    }

    /// Value of a label of the node.
    pub(crate) fn label(&self, row: NodeRow, key: Symbol) -> Option<Symbol> {
        let labels = &self.labels[row];
        let index = labels.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        labels.get(index).map(|(_, value)| *value)
    }

    pub(crate) fn is_unschedulable(&self, row: NodeRow) -> bool {
        self.unschedulable[row]
    }

    /// The node's taints, `None` if it has none.
    pub(crate) fn taint_set(&self, row: NodeRow) -> Option<TaintSet> {
        self.taints[row]
    }

    /// A value for every set of taints in use, to be looked up with [`PerTaintSet::get`].
    pub(crate) fn per_taint_set<T>(&self, value: impl Fn(&[Taint]) -> T) -> PerTaintSet<T> {
        PerTaintSet(
            self.taint_sets
                .slots
                .iter()
                .map(|(taints, _)| value(taints))
                .collect(),
        )
    }

    pub(crate) fn allocatable(&self, row: NodeRow) -> &Native {
        &self.allocatable[row]
    }

    pub(crate) fn used(&self, row: NodeRow) -> &Native {
        &self.used[row]
    }

    pub(crate) fn used_non_zero(&self, row: NodeRow) -> &NonZero {
        &self.used_non_zero[row]
    }

    pub(crate) fn allowed_pods(&self, row: NodeRow) -> Units {
        self.allowed_pods[row]
    }

    pub(crate) fn pods(&self, row: NodeRow) -> Units {
        self.pods[row]
    }

    /// A counted resource of the node; one that it lacks is all zero.
    pub(crate) fn scalar(&self, row: NodeRow, name: Symbol) -> Scalar {
        let found = self.scalars[row].iter().find(|scalar| scalar.name == name);
        found.copied().unwrap_or(Scalar {
            name,
            allocatable: Units::ZERO,
            used: Units::ZERO,
        })
    }

    pub(crate) fn ports(&self, row: NodeRow) -> impl Iterator<Item = &HostPort> {
        self.ports[row].iter().map(|(port, _)| port)
    }

    pub(crate) fn has_image(&self, row: NodeRow, image: Symbol) -> bool {
        self.images[row].binary_search(&image).is_ok()
    }

    pub(crate) fn image_state(&self, image: Symbol) -> Option<ImageState> {
        self.image_states.get(&image).copied()
    }

    /// Adds a node or takes over its new state; its usage stays. Returns its row.
    pub fn set_node(&mut self, node: &Node) -> NodeRow {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let row = self.row_of(name);
        if !self.is_listed[row] {
            self.is_listed[row] = true;
            if let Err(index) = self.listed.binary_search(&row) {
                self.listed.insert(index, row);
            }
        }
        let (spec, status) = (node.spec.as_ref(), node.status.as_ref());
        self.unschedulable[row] = spec.and_then(|spec| spec.unschedulable).unwrap_or_default();
        let labels = node.metadata.labels.iter().flatten();
        let mut labels: Vec<_> = labels
            .map(|(key, value)| (self.symbols.intern(key), self.symbols.intern(value)))
            .collect();
        labels.sort_unstable();
        self.labels[row] = labels.into();
        self.set_taints(
            row,
            spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default(),
        );
        let (allocatable, pods) =
            resources::allocatable(status.and_then(|status| status.allocatable.as_ref()));
        self.set_allocatable(row, &allocatable, pods);
        self.clear_images(row);
        for image in status
            .and_then(|status| status.images.as_ref())
            .into_iter()
            .flatten()
        {
            for name in image.names.iter().flatten() {
                self.add_image(row, name, image.size_bytes.unwrap_or_default());
            }
        }
        self.touch(row);
        row
    }

    /// Removes a node. Its pods stay counted until they are removed too (SCH-43).
    pub fn remove_node(&mut self, name: &str) {
        let Some(row) = self.row(name) else { return };
        self.is_listed[row] = false;
        if let Ok(index) = self.listed.binary_search(&row) {
            self.listed.remove(index);
        }
        self.unschedulable[row] = false;
        self.labels[row] = Box::default();
        self.set_taints(row, &[]);
        self.set_allocatable(row, &Resources::default(), Units::ZERO);
        self.clear_images(row);
        self.touch(row);
        self.release_if_unused(row);
    }

    /// Counts a pod on a node, which need not exist (SCH-43). Returns the node's row.
    pub fn charge(&mut self, node: &str, pod: &PodInfo) -> NodeRow {
        let row = self.row_of(node);
        let charge = &pod.demand.charge;
        let used = &mut self.used[row];
        used.cpu += charge.cpu;
        used.memory += charge.memory;
        used.ephemeral_storage += charge.ephemeral_storage;
        self.used_non_zero[row].cpu += pod.demand.charge_non_zero.cpu;
        self.used_non_zero[row].memory += pod.demand.charge_non_zero.memory;
        self.pods[row] += Units(1);
        for (name, amount) in &charge.scalars {
            let name = self.symbols.intern(name);
            self.change_scalar(row, name, |scalar| scalar.used += *amount);
        }
        for port in &pod.ports {
            let ports = &mut self.ports[row];
            match ports.binary_search_by(|(used, _)| used.cmp(port)) {
                Ok(index) => {
                    if let Some((_, holders)) = ports.get_mut(index) {
                        *holders += 1;
                    }
                }
                Err(index) => ports.insert(index, (port.clone(), 1)),
            }
        }
        self.touch(row);
        row
    }

    /// Takes back what [`Self::charge`] counted for the same pod on this row.
    pub fn discharge(&mut self, row: NodeRow, pod: &PodInfo) {
        let charge = &pod.demand.charge;
        let used = &mut self.used[row];
        used.cpu -= charge.cpu;
        used.memory -= charge.memory;
        used.ephemeral_storage -= charge.ephemeral_storage;
        self.used_non_zero[row].cpu -= pod.demand.charge_non_zero.cpu;
        self.used_non_zero[row].memory -= pod.demand.charge_non_zero.memory;
        self.pods[row] -= Units(1);
        for (name, amount) in &charge.scalars {
            let name = self.symbols.intern(name);
            self.change_scalar(row, name, |scalar| scalar.used -= *amount);
        }
        for port in &pod.ports {
            // Counted, where upstream keeps a set (SCH-49): a port that another pod has as well is not free.
            let ports = &mut self.ports[row];
            if let Ok(index) = ports.binary_search_by(|(used, _)| used.cmp(port))
                && let Some((_, holders)) = ports.get_mut(index)
            {
                *holders -= 1;
                if *holders == 0 {
                    ports.remove(index);
                }
            }
        }
        self.touch(row);
        self.release_if_unused(row);
    }

    /// The state of every row in names instead of symbols: equal dumps mean equal decisions.
    #[must_use]
    pub fn dump(&self) -> BTreeMap<Arc<str>, NodeDump> {
        self.by_name
            .iter()
            .map(|(name, row)| (Arc::clone(name), self.dump_row(*row)))
            .collect()
    }

    fn dump_row(&self, row: NodeRow) -> NodeDump {
        let scalar = |scalar: &Scalar| {
            (
                self.symbols.text(scalar.name),
                [scalar.used.0, scalar.allocatable.0],
            )
        };
        let port = |(port, _): &(HostPort, u32)| format!("{}:{}/{}", port.ip, port.port, port.protocol);
        NodeDump {
            exists: self.is_listed[row],
            pods: [self.pods[row].0, self.allowed_pods[row].0],
            used: self.used[row],
            used_non_zero: self.used_non_zero[row],
            allocatable: self.allocatable[row],
            scalars: self.scalars[row].iter().map(scalar).collect(),
            ports: self.ports[row].iter().map(port).collect(),
        }
    }

    fn touch(&mut self, row: NodeRow) {
        self.generation += 1;
        self.generations[row] = self.generation;
    }

    fn set_taints(&mut self, row: NodeRow, taints: &[Taint]) {
        if let Some(set) = self.taints[row].take() {
            self.taint_sets.release(set);
        }
        self.taints[row] = (!taints.is_empty()).then(|| self.taint_sets.acquire(taints));
    }

    fn set_allocatable(&mut self, row: NodeRow, amounts: &Resources, pods: Units) {
        self.allocatable[row] = Native {
            cpu: amounts.cpu,
            memory: amounts.memory,
            ephemeral_storage: amounts.ephemeral_storage,
        };
        self.allowed_pods[row] = pods;
        for scalar in &mut self.scalars[row] {
            scalar.allocatable = Units::ZERO;
        }
        for (name, amount) in &amounts.scalars {
            let name = self.symbols.intern(name);
            self.change_scalar(row, name, |scalar| scalar.allocatable = *amount);
        }
        self.scalars[row].retain(|scalar| scalar.used != Units::ZERO || scalar.allocatable != Units::ZERO);
    }

    fn change_scalar(&mut self, row: NodeRow, name: Symbol, change: impl FnOnce(&mut Scalar)) {
        let scalars = &mut self.scalars[row];
        match scalars.binary_search_by_key(&name, |scalar| scalar.name) {
            Ok(index) => {
                if let Some(scalar) = scalars.get_mut(index) {
                    change(scalar);
                    if scalar.used == Units::ZERO && scalar.allocatable == Units::ZERO {
                        scalars.remove(index);
                    }
                }
            }
            Err(index) => {
                let mut scalar = Scalar {
                    name,
                    allocatable: Units::ZERO,
                    used: Units::ZERO,
                };
                change(&mut scalar);
                if scalar.used != Units::ZERO || scalar.allocatable != Units::ZERO {
                    scalars.insert(index, scalar);
                }
            }
        }
    }

    fn add_image(&mut self, row: NodeRow, name: &str, size: i64) {
        let image = self.symbols.intern(name);
        if let Err(index) = self.images[row].binary_search(&image) {
            self.images[row].insert(index, image);
            self.image_states
                .entry(image)
                .or_insert(ImageState { size, nodes: 0 })
                .nodes += 1;
        }
    }

    fn clear_images(&mut self, row: NodeRow) {
        for image in std::mem::take(&mut self.images[row]) {
            if let Some(state) = self.image_states.get_mut(&image) {
                state.nodes = state.nodes.saturating_sub(1);
                if state.nodes == 0 {
                    self.image_states.remove(&image);
                }
            }
        }
    }

    /// The node's row, made if there is none.
    fn row_of(&mut self, name: &str) -> NodeRow {
        if let Some(row) = self.by_name.get(name) {
            return *row;
        }
        let name: Arc<str> = name.into();
        let row = self.free.pop().unwrap_or_else(|| self.push_row());
        self.names[row] = Arc::clone(&name);
        self.by_name.insert(name, row);
        row
    }

    fn push_row(&mut self) -> NodeRow {
        let row = NodeRow(u32::try_from(self.names.0.len()).unwrap_or(u32::MAX));
        self.names.0.push("".into());
        self.is_listed.0.push(false);
        self.unschedulable.0.push(false);
        self.labels.0.push(Box::default());
        self.taints.0.push(None);
        self.allocatable.0.push(Native::default());
        self.allowed_pods.0.push(Units::ZERO);
        self.used.0.push(Native::default());
        self.used_non_zero.0.push(NonZero::default());
        self.pods.0.push(Units::ZERO);
        self.scalars.0.push(Vec::new());
        self.ports.0.push(Vec::new());
        self.images.0.push(Vec::new());
        self.generations.0.push(0);
        row
    }

    fn release_if_unused(&mut self, row: NodeRow) {
        if !self.is_listed[row] && self.pods[row] == Units::ZERO {
            let name = std::mem::replace(&mut self.names[row], "".into());
            self.by_name.remove(&name);
            self.free.push(row);
        }
    }
}

/// A value per set of taints; see [`NodeTable::per_taint_set`].
pub(crate) struct PerTaintSet<T>(Vec<T>);

impl<T> PerTaintSet<T> {
    pub(crate) fn get(&self, set: TaintSet) -> Option<&T> {
        self.0.get(set.0 as usize)
    }
}

/// One node as [`NodeTable::dump`] shows it. Pairs are used and offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeDump {
    /// False for a node that only its pods name.
    pub exists: bool,
    /// Pods.
    pub pods: [i64; 2],
    /// Requests charged.
    pub used: Native,
    /// Requests charged with scoring defaults.
    pub used_non_zero: NonZero,
    /// What the node offers.
    pub allocatable: Native,
    /// Other resources.
    pub scalars: BTreeMap<Arc<str>, [i64; 2]>,
    /// Host ports in use.
    pub ports: Vec<String>,
}
