//! Which change touches which ReplicaSet, and what a plan gets to see.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ResourceQuota;
use steersman_shared::cache::{Cache, Change};
use steersman_shared::informer::{Informers, KindId};
use steersman_shared::objects::{ObjectKey, Pod, ReplicaSet, Uid};
use steersman_shared::queue::Queue;
use steersman_shared::selector::Selector;
use steersman_shared::writes::Writes;
use steersman_shared::{conditions, owners, ownership, wire};

use crate::action::{FAILED_CREATE, REPLICA_FAILURE};
use crate::plan::{Snapshot, needs_ranking};
use crate::{Error, Result, quota};

/// Looks into the caches.
#[derive(Clone, Debug)]
pub struct Observer {
    replica_sets: Arc<Cache<ReplicaSet>>,
    pods: Arc<Cache<Pod>>,
}

impl Observer {
    /// An observer of the caches of these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Self {
        let pods = Arc::clone(informers.get::<Pod>().cache());
        pods.add_index(BY_TEMPLATE_HASH, template_hash);
        Self {
            replica_sets: Arc::clone(informers.get::<ReplicaSet>().cache()),
            pods,
        }
    }

    /// Kinds that snapshots are made from.
    #[must_use]
    pub fn kinds() -> Vec<KindId> {
        vec![KindId::of::<ReplicaSet>(), KindId::of::<Pod>()]
    }

    /// The pods that the caches show.
    #[must_use]
    pub fn pods(&self) -> &Arc<Cache<Pod>> {
        &self.pods
    }

    /// The ReplicaSets that the caches show.
    #[must_use]
    pub fn replica_sets(&self) -> &Arc<Cache<ReplicaSet>> {
        &self.replica_sets
    }

    /// The snapshot with its related pods as they were while `former` was still there.
    #[must_use]
    pub fn with_related(&self, mut snapshot: Snapshot, former: &Arc<Pod>) -> Snapshot {
        if needs_ranking(&snapshot.replica_set, &snapshot.pods) {
            snapshot.related = self.related(&snapshot.replica_set);
            let uid = Uid::of(former.as_ref());
            snapshot.related.retain(|pod| Uid::of(pod.as_ref()) != uid);
            snapshot.related.push(Arc::clone(former));
        }
        snapshot
    }

    /// The ReplicaSet of that name.
    #[must_use]
    pub fn replica_set(&self, key: &ObjectKey) -> Option<Arc<ReplicaSet>> {
        self.replica_sets.get(key)
    }

    /// Keys of all that the cache shows.
    #[must_use]
    pub fn keys(&self) -> Vec<ObjectKey> {
        let all = self.replica_sets.all();
        all.iter().map(|it| ObjectKey::of(it.as_ref())).collect()
    }

    /// Whether an object that the snapshot needs does not decode (STY-25).
    #[must_use]
    pub fn is_held(&self, key: &ObjectKey) -> bool {
        let replica_set = self.replica_sets.get(key);
        self.replica_sets.held(key)
            || replica_set.is_some_and(|it| self.pods.held_controlled_by(&Uid::of(it.as_ref())))
    }

    /// What a plan for that ReplicaSet reads; `None` if it is gone.
    ///
    /// # Errors
    /// The selector does not parse (RS-6).
    pub fn snapshot(&self, key: &ObjectKey, stores_terminating: bool) -> Result<Option<Snapshot>> {
        let Some(replica_set) = self.replica_sets.get(key) else {
            return Ok(None);
        };
        let selector = Selector::parse(&replica_set.spec.selector).map_err(|source| Error::Selector {
            source: Box::new(source),
        })?;
        let pods = owners::candidates(&self.pods, replica_set.as_ref(), &selector);
        let related = if needs_ranking(&replica_set, &pods) {
            self.related(&replica_set)
        } else {
            Vec::new()
        };
        Ok(Some(Snapshot {
            replica_set,
            selector,
            pods,
            related,
            stores_terminating,
        }))
    }

    /// Pods that match the selector of any ReplicaSet with the same controller (RS-45).
    fn related(&self, replica_set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let Some(controller) = ownership::controller_uid(replica_set) else {
            return Vec::new();
        };
        let namespace = replica_set.metadata.namespace.as_deref().unwrap_or_default();
        let mut selectors = Vec::new();
        let mut hashes = Vec::new();
        for sibling in self.replica_sets.controlled_by(&controller) {
            let parsed = Selector::parse(&sibling.spec.selector);
            let Some(selector) = parsed.ok().filter(|selector| !selector.is_empty()) else {
                continue;
            };
            hashes.push(required_hash(sibling.as_ref()).map(|hash| hash_entry(namespace, hash)));
            selectors.push(selector);
        }
        // A namespace may hold thousands of pods; those of a Deployment are found by the hashes in their labels.
        let mut related = match hashes.into_iter().collect::<Option<BTreeSet<_>>>() {
            Some(hashes) => hashes
                .iter()
                .flat_map(|entry| self.pods.indexed(BY_TEMPLATE_HASH, entry))
                .collect(),
            None => self.pods.in_namespace(namespace),
        };
        related.retain(|pod| selectors.iter().any(|selector| selector.selects(pod.as_ref())));
        related
    }

    /// ReplicaSets whose plan may differ after a change of a pod (RS-69).
    #[must_use]
    pub fn touched(&self, change: &Change<Pod>) -> Vec<ObjectKey> {
        owners::touched(&self.replica_sets, change)
    }

    /// ReplicaSets that a quota may have kept from creating pods, once it has more room (RS-40).
    #[must_use]
    pub fn relieved(&self, change: &Change<ResourceQuota>) -> Vec<ObjectKey> {
        if !quota::has_more_room(change) {
            return Vec::new();
        }
        let namespace = change.latest().metadata.namespace.as_deref().unwrap_or_default();
        let all = self.replica_sets.in_namespace(namespace);
        let lacks_pods = |it: &&Arc<ReplicaSet>| {
            let conditions = it.status.conditions.as_deref().unwrap_or_default();
            let failure = conditions::find(conditions, REPLICA_FAILURE);
            failure.is_some_and(|it| it.reason.as_deref() == Some(FAILED_CREATE))
        };
        all.iter()
            .filter(lacks_pods)
            .map(|it| ObjectKey::of(it.as_ref()))
            .collect()
    }
}

/// Index of pods by namespace and template hash.
const BY_TEMPLATE_HASH: &str = "template hash";

fn hash_entry(namespace: &str, hash: &str) -> Arc<str> {
    format!("{namespace}/{hash}").into()
}

fn template_hash(pod: &Pod) -> Vec<Arc<str>> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = pod.metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get(wire::POD_TEMPLATE_HASH));
    hash.map(|hash| hash_entry(namespace, hash)).into_iter().collect()
}

/// The template hash that a pod has to carry to match the selector, if it asks for one.
fn required_hash(replica_set: &ReplicaSet) -> Option<&str> {
    let labels = replica_set.spec.selector.match_labels.as_ref();
    labels
        .and_then(|labels| labels.get(wire::POD_TEMPLATE_HASH))
        .map(String::as_str)
}

/// Brings the keys that a change touches into the queue, from now on.
pub(crate) fn subscribe(
    informers: &Informers,
    observer: &Observer,
    queue: &Queue<ObjectKey>,
    writes: &Writes,
) {
    owners::subscribe::<ReplicaSet>(informers, queue, writes);
    let looking = observer.clone();
    owners::subscribe_children(informers, queue, move |change| looking.touched(change));
    let looking = observer.clone();
    owners::subscribe_children(informers, queue, move |change| looking.relieved(change));
}

#[cfg(test)]
mod tests {
    use steersman_shared::testing::{Feed, deployment, pod, replica_set};

    use super::*;

    /// The slow twin of [`Observer::related`]: looks at every pod of the namespace.
    fn related_by_scan(observer: &Observer, replica_set: &ReplicaSet) -> Vec<Arc<Pod>> {
        let Some(controller) = ownership::controller_uid(replica_set) else {
            return Vec::new();
        };
        let siblings = observer.replica_sets.controlled_by(&controller);
        let mut pods = observer.pods.in_namespace("default");
        pods.retain(|pod| {
            siblings.iter().any(|it| {
                let selector = Selector::parse(&it.spec.selector).unwrap();
                !selector.is_empty() && selector.selects(pod.as_ref())
            })
        });
        pods
    }

    #[test]
    fn rs_45_related_pods_are_found_by_hash_as_by_a_scan() {
        let informers = Informers::detached();
        let observer = Observer::new(&informers);
        let sets = Feed::new(informers.get::<ReplicaSet>());
        let pods = Feed::new(informers.get::<Pod>());
        let owner = deployment("web").build();
        let set = |name: &str, hash: Option<&str>| {
            let mut built = replica_set(name).owned_by(&owner).build();
            let labels = built.spec.selector.match_labels.get_or_insert_default();
            if let Some(hash) = hash {
                labels.insert(wire::POD_TEMPLATE_HASH.to_owned(), hash.to_owned());
            }
            built
        };
        let (one, two) = (set("one", Some("h1")), set("two", Some("h2")));
        sets.apply(one.clone());
        sets.apply(two.clone());
        sets.apply(replica_set("alone").build());
        for (name, hash) in [("a", "h1"), ("b", "h2"), ("c", "h3"), ("d", "h1")] {
            let built = pod(name).label(wire::POD_TEMPLATE_HASH, hash);
            pods.apply(if name == "d" {
                built.label("app", "other").build()
            } else {
                built.build()
            });
        }
        pods.apply(pod("plain").build());
        pods.apply(
            pod("far")
                .namespace("other")
                .label(wire::POD_TEMPLATE_HASH, "h1")
                .build(),
        );
        let names = |pods: Vec<Arc<Pod>>| -> Vec<_> {
            pods.iter().filter_map(|it| it.metadata.name.clone()).collect()
        };
        for it in [&one, &two] {
            assert_eq!(names(observer.related(it)), names(related_by_scan(&observer, it)));
        }
        assert_eq!(names(observer.related(&one)), ["a", "b"]);
        // A ReplicaSet made by hand may select without a hash: then every pod of the namespace is looked at.
        sets.apply(set("by-hand", None));
        assert_eq!(
            names(observer.related(&one)),
            names(related_by_scan(&observer, &one))
        );
        assert_eq!(names(observer.related(&one)), ["a", "b", "c", "plain"]);
    }
}
