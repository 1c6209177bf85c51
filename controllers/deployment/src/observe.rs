//! Which change touches which Deployment, and what a plan gets to see.

use std::collections::BTreeSet;
use std::sync::Arc;

use steersman_shared::cache::{Cache, Change};
use steersman_shared::informer::{Informers, KindId};
use steersman_shared::objects::{Deployment, ObjectKey, Pod, ReplicaSet, Uid};
use steersman_shared::queue::Queue;
use steersman_shared::selector::Selector;
use steersman_shared::writes::Writes;
use steersman_shared::{ownership, pods, wire};

use crate::plan::{Snapshot, Strategy, strategy};
use crate::{Error, Result};

/// Looks into the caches.
#[derive(Clone, Debug)]
pub struct Observer {
    deployments: Arc<Cache<Deployment>>,
    replica_sets: Arc<Cache<ReplicaSet>>,
    pods: Arc<Cache<Pod>>,
}

impl Observer {
    /// An observer of the caches of these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Self {
        Self {
            deployments: Arc::clone(informers.get::<Deployment>().cache()),
            replica_sets: Arc::clone(informers.get::<ReplicaSet>().cache()),
            pods: Arc::clone(informers.get::<Pod>().cache()),
        }
    }

    /// Kinds that snapshots are made from.
    #[must_use]
    pub fn kinds() -> Vec<KindId> {
        vec![
            KindId::of::<Deployment>(),
            KindId::of::<ReplicaSet>(),
            KindId::of::<Pod>(),
        ]
    }

    /// Whether an object that the snapshot needs does not decode (STY-25).
    #[must_use]
    pub fn is_held(&self, key: &ObjectKey) -> bool {
        let deployment = self.deployments.get(key);
        self.deployments.held(key)
            || deployment.is_some_and(|it| self.replica_sets.held_controlled_by(&Uid::of(it.as_ref())))
    }

    /// The ReplicaSet of that name.
    #[must_use]
    pub fn replica_set(&self, key: &ObjectKey) -> Option<Arc<ReplicaSet>> {
        self.replica_sets.get(key)
    }

    /// What a plan for that Deployment reads; `None` if it is gone.
    ///
    /// # Errors
    /// The selector does not parse (RS-6).
    pub fn snapshot(&self, key: &ObjectKey) -> Result<Option<Snapshot>> {
        let Some(deployment) = self.deployments.get(key) else {
            return Ok(None);
        };
        let selector = Selector::parse(&deployment.spec.selector).map_err(|source| Error::Selector {
            source: Box::new(source),
        })?;
        let mut children = self.replica_sets.controlled_by(&Uid::of(deployment.as_ref()));
        let orphans = self.replica_sets.orphans(&key.namespace);
        children.extend(orphans.into_iter().filter(|it| selector.selects(it.as_ref())));
        children.retain(|it| it.metadata.namespace.as_deref() == Some(&*key.namespace));
        children.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let unfinished = match strategy(&deployment) {
            Strategy::Recreate => self.unfinished(&children),
            Strategy::RollingUpdate | Strategy::Unknown => BTreeSet::new(),
        };
        Ok(Some(Snapshot {
            deployment,
            selector,
            children,
            unfinished,
        }))
    }

    fn unfinished(&self, children: &[Arc<ReplicaSet>]) -> BTreeSet<Uid> {
        let uids = children.iter().map(|it| Uid::of(it.as_ref()));
        uids.filter(|uid| {
            self.pods
                .controlled_by(uid)
                .iter()
                .any(|pod| !pods::is_finished(pod))
        })
        .collect()
    }

    /// Deployments whose plan may differ after a change of a ReplicaSet (DEP-107).
    #[must_use]
    pub fn touched(&self, change: &Change<ReplicaSet>) -> Vec<ObjectKey> {
        let mut keys: Vec<_> = change.versions().filter_map(|it| self.owner(it)).collect();
        let is_news = match change {
            Change::Added(_) => true,
            Change::Updated { old, new } => {
                old.metadata.labels != new.metadata.labels
                    || ownership::controller_uid(old.as_ref()) != ownership::controller_uid(new.as_ref())
            }
            Change::Removed(_) => false,
        };
        let is_orphan = |it: &&Arc<ReplicaSet>| ownership::controller_of(it.as_ref()).is_none();
        if let Some(orphan) = change.current().filter(|_| is_news).filter(is_orphan) {
            keys.extend(self.selecting(orphan));
        }
        keys.sort();
        keys.dedup();
        keys
    }

    /// A Recreate Deployment that may wait for a pod, if the pod's phase changed or it is gone (DEP-61).
    #[must_use]
    pub fn waiting_for(&self, change: &Change<Pod>) -> Option<ObjectKey> {
        let is_news = match change {
            Change::Added(_) => false,
            Change::Updated { old, new } => pods::phase(old) != pods::phase(new),
            Change::Removed(_) => true,
        };
        let pod = change.latest();
        let owner =
            ownership::controller_of(pod.as_ref()).filter(|it| is_news && it.kind == wire::REPLICA_SET)?;
        let replica_set = self.replica_sets.get_by_uid(&Uid(owner.uid.as_str().into()))?;
        let key = self.owner(&replica_set)?;
        let deployment = self.deployments.get(&key)?;
        (strategy(&deployment) == Strategy::Recreate).then_some(key)
    }

    /// The Deployment that controls a ReplicaSet; not one of the same name only (RS-18).
    fn owner(&self, replica_set: &ReplicaSet) -> Option<ObjectKey> {
        let reference = ownership::controller_of(replica_set).filter(|it| it.kind == wire::DEPLOYMENT)?;
        let namespace = replica_set.metadata.namespace.as_deref().unwrap_or_default();
        let key = ObjectKey::new(namespace, reference.name.as_str());
        let owner = self.deployments.get(&key)?;
        ownership::refers_to(reference, owner.as_ref()).then_some(key)
    }

    fn selecting(&self, orphan: &ReplicaSet) -> Vec<ObjectKey> {
        let all = self
            .deployments
            .in_namespace(orphan.metadata.namespace.as_deref().unwrap_or_default());
        let selects = |it: &&Arc<Deployment>| {
            let selector = Selector::parse(&it.spec.selector);
            selector.is_ok_and(|selector| !selector.is_empty() && selector.selects(orphan))
        };
        all.iter()
            .filter(selects)
            .map(|it| ObjectKey::of(it.as_ref()))
            .collect()
    }
}

/// Brings the keys that a change touches into the queue, from now on.
pub(crate) fn subscribe(
    informers: &Informers,
    observer: &Observer,
    queue: &Queue<ObjectKey>,
    writes: &Writes,
) {
    let (keys, open) = (queue.clone(), writes.clone());
    informers.get::<Deployment>().subscribe(Box::new(move |change| {
        let key = ObjectKey::of(change.latest().as_ref());
        // What was written for one of the same name says nothing about this one (RS-29).
        if change.ends_former() {
            open.forget(&key);
        }
        keys.add(key);
    }));
    let (looking, keys) = (observer.clone(), queue.clone());
    informers.get::<ReplicaSet>().subscribe(Box::new(move |change| {
        for key in looking.touched(change) {
            keys.add(key);
        }
    }));
    let (looking, keys) = (observer.clone(), queue.clone());
    informers.get::<Pod>().subscribe(Box::new(move |change| {
        if let Some(key) = looking.waiting_for(change) {
            keys.add(key);
        }
    }));
}
