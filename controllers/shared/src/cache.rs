//! What the API server holds, as far as a watch has shown it: objects by key, with indexes, each change with its
//! old and its new version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::objects::{ObjectKey, Uid};
use crate::ownership;

/// What a cache can hold.
pub trait Object: kube::Resource<DynamicType = ()> + Send + Sync + 'static {}

impl<K: kube::Resource<DynamicType = ()> + Send + Sync + 'static> Object for K {}

/// A change of one object, with the version before it (STY-19).
#[derive(Debug, PartialEq, Eq)]
pub enum Change<K> {
    /// First seen.
    Added(Arc<K>),
    /// A newer version of the same object.
    Updated {
        /// What the cache held before.
        old: Arc<K>,
        /// What it holds now.
        new: Arc<K>,
    },
    /// Gone; the version last seen.
    Removed(Arc<K>),
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added(new) => Self::Added(Arc::clone(new)),
            Self::Updated { old, new } => Self::Updated {
                old: Arc::clone(old),
                new: Arc::clone(new),
            },
            Self::Removed(old) => Self::Removed(Arc::clone(old)),
        }
    }
}

impl<K> Change<K> {
    /// Whether what stood under the key before is gone: removed, or replaced by another object of the same name.
    #[must_use]
    pub fn ends_former(&self) -> bool
    where
        K: kube::Resource,
    {
        match self {
            Self::Added(_) => false,
            Self::Updated { old, new } => old.meta().uid != new.meta().uid,
            Self::Removed(_) => true,
        }
    }

    /// The one or two versions, old before new.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<K>> {
        self.old().into_iter().chain(self.current())
    }

    /// What the cache held before, if anything.
    #[must_use]
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Added(_) => None,
            Self::Updated { old, .. } | Self::Removed(old) => Some(old),
        }
    }

    /// What the cache holds now, if anything.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<K>> {
        match self {
            Self::Added(new) | Self::Updated { new, .. } => Some(new),
            Self::Removed(_) => None,
        }
    }

    /// The last version that was seen.
    #[must_use]
    pub fn latest(&self) -> &Arc<K> {
        match self {
            Self::Added(latest) | Self::Updated { new: latest, .. } | Self::Removed(latest) => latest,
        }
    }
}

/// Computes the values under which an object is found in a custom index.
pub type IndexFn<K> = fn(&K) -> Vec<Arc<str>>;

/// An object whose current version does not decode (STY-25). What is known of it comes from its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The object's uid.
    pub uid: Uid,
    /// The version that does not decode.
    pub resource_version: Option<Arc<str>>,
    /// Its controller, as far as its metadata can be read.
    pub controller: Option<Uid>,
    /// What the decoder said.
    pub error: Arc<str>,
}

/// The objects of one kind. Reading clones `Arc`s; lists are sorted by namespace and name.
pub struct Cache<K> {
    state: RwLock<State<K>>,
}

struct State<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    by_uid: FxHashMap<Uid, ObjectKey>,
    by_controller: FxHashMap<Uid, BTreeSet<ObjectKey>>,
    orphans: BTreeSet<ObjectKey>,
    custom: Vec<Index<K>>,
    held: BTreeMap<ObjectKey, Held>,
    /// Uids deleted since the last list: a late duplicate of an earlier event does not bring them back.
    deleted: FxHashSet<Uid>,
}

struct Index<K> {
    name: &'static str,
    values: IndexFn<K>,
    entries: FxHashMap<Arc<str>, BTreeSet<ObjectKey>>,
}

impl<K> fmt::Debug for Cache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.read();
        f.debug_struct("Cache")
            .field("objects", &state.objects.len())
            .field("held", &state.held.len())
            .finish_non_exhaustive()
    }
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        let state = State {
            objects: BTreeMap::new(),
            by_uid: FxHashMap::default(),
            by_controller: FxHashMap::default(),
            orphans: BTreeSet::new(),
            custom: Vec::new(),
            held: BTreeMap::new(),
            deleted: FxHashSet::default(),
        };
        Self {
            state: RwLock::new(state),
        }
    }
}

impl<K> Cache<K> {
    fn read(&self) -> RwLockReadGuard<'_, State<K>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State<K>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Object> Cache<K> {
    /// The object of that name.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.read().objects.get(key).cloned()
    }

    /// The object with that uid.
    #[must_use]
    pub fn get_by_uid(&self, uid: &Uid) -> Option<Arc<K>> {
        let state = self.read();
        state.objects.get(state.by_uid.get(uid)?).cloned()
    }

    /// Objects whose controller reference names that uid.
    #[must_use]
    pub fn controlled_by(&self, owner: &Uid) -> Vec<Arc<K>> {
        let state = self.read();
        state.resolve(state.by_controller.get(owner).into_iter().flatten())
    }

    /// Objects of a namespace without a controller reference.
    #[must_use]
    pub fn orphans(&self, namespace: &str) -> Vec<Arc<K>> {
        let state = self.read();
        let first = ObjectKey::new(namespace, "");
        state.resolve(
            state
                .orphans
                .range(first..)
                .take_while(|key| &*key.namespace == namespace),
        )
    }

    /// Objects of a namespace; the empty one holds cluster-scoped objects.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = ObjectKey::new(namespace, "");
        let state = self.read();
        let range = state
            .objects
            .range(first..)
            .take_while(|(key, _)| &*key.namespace == namespace);
        range.map(|(_, object)| Arc::clone(object)).collect()
    }

    /// Objects under a value of a custom index; none if there is no such index.
    #[must_use]
    pub fn indexed(&self, index: &str, value: &str) -> Vec<Arc<K>> {
        let state = self.read();
        let entries = state
            .custom
            .iter()
            .find(|known| known.name == index)
            .map(|known| &known.entries);
        state.resolve(
            entries
                .and_then(|entries| entries.get(value))
                .into_iter()
                .flatten(),
        )
    }

    /// All objects.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read().objects.values().cloned().collect()
    }

    /// Number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether there are no objects.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an index. A second one with the same name changes nothing, so that several controllers may ask.
    pub fn add_index(&self, name: &'static str, values: IndexFn<K>) {
        let mut state = self.write();
        if state.custom.iter().any(|known| known.name == name) {
            return;
        }
        let mut index = Index {
            name,
            values,
            entries: FxHashMap::default(),
        };
        for (key, object) in &state.objects {
            index.insert(key, object);
        }
        state.custom.push(index);
    }

    /// Whether the current version of that object does not decode: its keys are not to be planned (STY-25).
    #[must_use]
    pub fn held(&self, key: &ObjectKey) -> bool {
        self.read().held.contains_key(key)
    }

    /// Whether an object that does not decode is controlled by that uid.
    #[must_use]
    pub fn held_controlled_by(&self, owner: &Uid) -> bool {
        self.read()
            .held
            .values()
            .any(|held| held.controller.as_ref() == Some(owner))
    }

    /// All objects that do not decode.
    #[must_use]
    pub fn all_held(&self) -> Vec<(ObjectKey, Held)> {
        self.read()
            .held
            .iter()
            .map(|(key, held)| (key.clone(), held.clone()))
            .collect()
    }

    /// Whether the object with that uid is gone or on its way out: what a deletion of ours waits for.
    #[must_use]
    pub fn is_gone(&self, uid: &Uid) -> bool {
        self.get_by_uid(uid)
            .is_none_or(|object| object.meta().deletion_timestamp.is_some())
    }

    /// Takes in a version from the watch. Empty if it is not newer than what is known.
    pub(crate) fn apply(&self, object: K) -> Vec<Change<K>> {
        self.write().apply(object, Origin::Watch)
    }

    /// Takes in a deletion from the watch.
    pub(crate) fn delete(&self, meta: &ObjectMeta) -> Option<Change<K>> {
        self.write().delete(meta)
    }

    /// Takes in a version that does not decode. Whether it was not known yet.
    pub(crate) fn hold(&self, meta: &ObjectMeta, error: &str) -> bool {
        self.write().hold(meta, error)
    }

    /// Takes in a complete list (STY-20): what is absent from it is removed.
    pub(crate) fn replace(&self, objects: Vec<K>, held: &[(ObjectMeta, String)]) -> Vec<Change<K>> {
        self.write().replace(objects, held)
    }

    /// Compares all indexes with ones built from scratch (STY-83).
    #[cfg(test)]
    pub(crate) fn assert_consistent(&self) {
        let state = self.read();
        let mut fresh = State {
            custom: state
                .custom
                .iter()
                .map(|index| Index {
                    name: index.name,
                    values: index.values,
                    entries: FxHashMap::default(),
                })
                .collect(),
            ..Self::default().state.into_inner().unwrap()
        };
        for object in state.objects.values() {
            fresh.insert(Arc::clone(object));
        }
        assert_eq!(fresh.by_uid, state.by_uid);
        assert_eq!(fresh.by_controller, state.by_controller);
        assert_eq!(fresh.orphans, state.orphans);
        for (fresh, kept) in fresh.custom.iter().zip(&state.custom) {
            assert_eq!(fresh.entries, kept.entries, "{}", kept.name);
        }
    }
}

/// Where a version comes from: only in a watch may an object that is already deleted show up again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Watch,
    List,
}

impl<K: Object> State<K> {
    fn resolve<'a>(&self, keys: impl Iterator<Item = &'a ObjectKey>) -> Vec<Arc<K>> {
        keys.filter_map(|key| self.objects.get(key).cloned()).collect()
    }

    fn apply(&mut self, object: K, origin: Origin) -> Vec<Change<K>> {
        let (key, uid) = (ObjectKey::of(&object), Uid::of(&object));
        if origin == Origin::Watch && self.deleted.contains(&uid) {
            return Vec::new();
        }
        if let Some(held) = self.held.get(&key) {
            if held.uid == uid && is_older(object.meta(), held.resource_version.as_deref()) {
                return Vec::new();
            }
            self.held.remove(&key);
        }
        let Some(known) = self.objects.get(&key).cloned() else {
            return vec![Change::Added(self.insert(Arc::new(object)))];
        };
        if Uid::of(&*known) == uid {
            if is_known(object.meta(), known.meta()) {
                return Vec::new();
            }
            self.remove(&key);
            return vec![Change::Updated {
                old: known,
                new: self.insert(Arc::new(object)),
            }];
        }
        if is_older(object.meta(), known.meta().resource_version.as_deref()) {
            return Vec::new();
        }
        // The name was reused: nothing of the former object carries over (RS-18).
        self.remove(&key);
        vec![
            Change::Removed(known),
            Change::Added(self.insert(Arc::new(object))),
        ]
    }

    fn delete(&mut self, meta: &ObjectMeta) -> Option<Change<K>> {
        let (key, uid) = (key_of(meta), uid_of(meta));
        self.deleted.insert(uid.clone());
        if self.held.get(&key).is_some_and(|held| held.uid == uid) {
            self.held.remove(&key);
        }
        if self
            .objects
            .get(&key)
            .is_none_or(|known| Uid::of(&**known) != uid)
        {
            return None;
        }
        self.remove(&key).map(Change::Removed)
    }

    fn hold(&mut self, meta: &ObjectMeta, error: &str) -> bool {
        let held = Held {
            uid: uid_of(meta),
            resource_version: meta.resource_version.as_deref().map(Into::into),
            controller: ownership::controller_in(meta).map(|reference| Uid(reference.uid.as_str().into())),
            error: error.into(),
        };
        let known = self
            .objects
            .get(&key_of(meta))
            .filter(|known| Uid::of(&***known) == held.uid);
        if self.deleted.contains(&held.uid) || known.is_some_and(|known| is_known(meta, known.meta())) {
            return false;
        }
        let former = self.held.insert(key_of(meta), held.clone());
        former.as_ref() != Some(&held)
    }

    fn replace(&mut self, objects: Vec<K>, held: &[(ObjectMeta, String)]) -> Vec<Change<K>> {
        self.deleted.clear();
        self.held.clear();
        let listed: FxHashSet<ObjectKey> = objects
            .iter()
            .map(ObjectKey::of)
            .chain(held.iter().map(|(meta, _)| key_of(meta)))
            .collect();
        let gone: Vec<ObjectKey> = self
            .objects
            .keys()
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect();
        let mut changes: Vec<Change<K>> = gone
            .iter()
            .filter_map(|key| self.remove(key))
            .map(Change::Removed)
            .collect();
        for object in objects {
            changes.append(&mut self.apply(object, Origin::List));
        }
        for (meta, error) in held {
            self.hold(meta, error);
        }
        changes
    }

    fn insert(&mut self, object: Arc<K>) -> Arc<K> {
        let key = ObjectKey::of(&*object);
        self.by_uid.insert(Uid::of(&*object), key.clone());
        match ownership::controller_in(object.meta()) {
            Some(owner) => {
                self.by_controller
                    .entry(Uid(owner.uid.as_str().into()))
                    .or_default()
                    .insert(key.clone());
            }
            None => {
                self.orphans.insert(key.clone());
            }
        }
        for index in &mut self.custom {
            index.insert(&key, &object);
        }
        self.objects.insert(key, Arc::clone(&object));
        object
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<Arc<K>> {
        let object = self.objects.remove(key)?;
        self.by_uid.remove(&Uid::of(&*object));
        match ownership::controller_in(object.meta()) {
            Some(owner) => forget(&mut self.by_controller, &Uid(owner.uid.as_str().into()), key),
            None => {
                self.orphans.remove(key);
            }
        }
        for index in &mut self.custom {
            for value in (index.values)(&object) {
                forget(&mut index.entries, &value, key);
            }
        }
        Some(object)
    }
}

impl<K> Index<K> {
    fn insert(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.values)(object) {
            self.entries.entry(value).or_default().insert(key.clone());
        }
    }
}

fn forget<V: std::hash::Hash + Eq>(
    entries: &mut FxHashMap<V, BTreeSet<ObjectKey>>,
    value: &V,
    key: &ObjectKey,
) {
    if let Some(keys) = entries.get_mut(value) {
        keys.remove(key);
        if keys.is_empty() {
            entries.remove(value);
        }
    }
}

pub(crate) fn key_of(meta: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default(),
    )
}

pub(crate) fn uid_of(meta: &ObjectMeta) -> Uid {
    Uid(meta.uid.as_deref().unwrap_or_default().into())
}

/// A resourceVersion as a number: all API servers in use count, see RS-31 for those that do not.
pub(crate) fn version_number(version: &str) -> Option<u64> {
    version.parse().ok()
}

fn number_of(version: Option<&str>) -> Option<u64> {
    version.and_then(version_number)
}

/// Whether `meta` shows nothing newer than `known`, a version of the same object.
fn is_known(meta: &ObjectMeta, known: &ObjectMeta) -> bool {
    let (new, old) = (
        meta.resource_version.as_deref(),
        known.resource_version.as_deref(),
    );
    match (number_of(new), number_of(old)) {
        (Some(new), Some(old)) => new <= old,
        _ => new.is_some() && new == old,
    }
}

/// Whether `meta` is provably from before `version`.
fn is_older(meta: &ObjectMeta, version: Option<&str>) -> bool {
    let numbers = (number_of(meta.resource_version.as_deref()), number_of(version));
    matches!(numbers, (Some(new), Some(old)) if new < old)
}

#[cfg(test)]
mod tests;
