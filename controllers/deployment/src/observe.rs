//! Which change touches which Deployment, and what a plan gets to see.

use std::collections::BTreeSet;
use std::sync::Arc;

use steersman_shared::cache::{Cache, Change};
use steersman_shared::informer::{Informers, KindId};
use steersman_shared::objects::{Deployment, ObjectKey, Pod, ReplicaSet, Uid};
use steersman_shared::queue::Queue;
use steersman_shared::selector::Selector;
use steersman_shared::writes::Writes;
use steersman_shared::{owners, ownership, pods, wire};

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

    /// Keys of all that the cache shows.
    #[must_use]
    pub fn keys(&self) -> Vec<ObjectKey> {
        let all = self.deployments.all();
        all.iter().map(|it| ObjectKey::of(it.as_ref())).collect()
    }

    /// Whether an object that the snapshot needs does not decode (STY-25).
    #[must_use]
    pub fn is_held(&self, key: &ObjectKey) -> bool {
        let deployment = self.deployments.get(key);
        self.deployments.held(key)
            || deployment.is_some_and(|it| self.replica_sets.held_controlled_by(&Uid::of(it.as_ref())))
    }

    /// The Deployment of that name.
    #[must_use]
    pub fn deployment(&self, key: &ObjectKey) -> Option<Arc<Deployment>> {
        self.deployments.get(key)
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
        let children = owners::candidates(&self.replica_sets, deployment.as_ref(), &selector);
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
        owners::touched(&self.deployments, change)
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
        let key = owners::owner_of(&self.deployments, replica_set.as_ref())?;
        let deployment = self.deployments.get(&key)?;
        (strategy(&deployment) == Strategy::Recreate).then_some(key)
    }
}

/// Brings the keys that a change touches into the queue, from now on.
pub(crate) fn subscribe(
    informers: &Informers,
    observer: &Observer,
    queue: &Queue<ObjectKey>,
    writes: &Writes,
) {
    owners::subscribe::<Deployment>(informers, queue, writes);
    let looking = observer.clone();
    owners::subscribe_children(informers, queue, move |change| looking.touched(change));
    let looking = observer.clone();
    owners::subscribe_children(informers, queue, move |change| {
        Vec::from_iter(looking.waiting_for(change))
    });
}

#[cfg(test)]
mod tests {
    use steersman_shared::testing::{Feed, deployment, pod, replica_set};

    use super::*;

    fn observer(owner: Deployment, set: ReplicaSet) -> Observer {
        let informers = Informers::detached();
        Feed::new(informers.get()).list([owner]);
        Feed::new(informers.get()).list([set]);
        Observer::new(&informers)
    }

    #[test]
    fn dep_61_every_end_and_phase_of_a_pod_wakes_a_recreate_deployment() {
        let owner = deployment("web").recreate().build();
        let set = replica_set("old").owned_by(&owner).build();
        let own = |phase: &str| Arc::new(pod("a").owned_by(&set).phase(phase).build());
        let watching = observer(owner.clone(), set.clone());
        let changed = |old: &str, new: &str| Change::Updated {
            old: own(old),
            new: own(new),
        };
        let key = Some(ObjectKey::new("default", "web"));
        assert_eq!(watching.waiting_for(&changed("Running", "Failed")), key);
        assert_eq!(watching.waiting_for(&changed("Unknown", "Succeeded")), key);
        assert_eq!(
            watching.waiting_for(&Change::Removed(own("Running"))),
            key,
            "not only the last one"
        );
        assert_eq!(watching.waiting_for(&changed("Running", "Running")), None);
        assert_eq!(watching.waiting_for(&Change::Added(own("Running"))), None);

        let stray = Arc::new(pod("b").build());
        assert_eq!(watching.waiting_for(&Change::Removed(stray)), None);
        let rolling = observer(deployment("web").build(), set.clone());
        assert_eq!(rolling.waiting_for(&Change::Removed(own("Running"))), None);
        let released = observer(owner, replica_set("old").build());
        assert_eq!(
            released.waiting_for(&Change::Removed(own("Running"))),
            None,
            "DEP-59"
        );
    }
}
