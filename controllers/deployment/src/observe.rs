//! Which change touches which Deployment, and what a plan gets to see.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use steersman_crds::RolloutPolicy;
use steersman_shared::cache::{Cache, Change};
use steersman_shared::informer::{Informers, KindId};
use steersman_shared::objects::{Deployment, ObjectKey, Pod, ReplicaSet, Uid};
use steersman_shared::queue::Queue;
use steersman_shared::selector::Selector;
use steersman_shared::writes::Writes;
use steersman_shared::{owners, ownership, pods, wire};

use crate::plan::policy::{Governed, Overview, PodFacts, Policy};
use crate::plan::{Snapshot, Strategy, strategy};
use crate::{Error, Result};

/// Looks into the caches.
#[derive(Clone, Debug)]
pub struct Observer {
    deployments: Arc<Cache<Deployment>>,
    replica_sets: Arc<Cache<ReplicaSet>>,
    pods: Arc<Cache<Pod>>,
    policies: Arc<Cache<RolloutPolicy>>,
}

impl Observer {
    /// An observer of the caches of these informers.
    #[must_use]
    pub fn new(informers: &Informers) -> Self {
        Self {
            deployments: Arc::clone(informers.get::<Deployment>().cache()),
            replica_sets: Arc::clone(informers.get::<ReplicaSet>().cache()),
            pods: Arc::clone(informers.get::<Pod>().cache()),
            policies: Arc::clone(informers.get_if_served::<RolloutPolicy>().cache()),
        }
    }

    /// Kinds that snapshots are made from.
    #[must_use]
    pub fn kinds() -> Vec<KindId> {
        vec![
            KindId::of::<Deployment>(),
            KindId::of::<ReplicaSet>(),
            KindId::of::<Pod>(),
            KindId::of::<RolloutPolicy>(),
        ]
    }

    /// Keys of all that the cache shows.
    #[must_use]
    pub fn keys(&self) -> Vec<ObjectKey> {
        let all = self.deployments.all();
        all.iter().map(|it| ObjectKey::of(it.as_ref())).collect()
    }

    /// Keys of all RolloutPolicies.
    #[must_use]
    pub fn policy_keys(&self) -> Vec<ObjectKey> {
        let all = self.policies.all();
        all.iter().map(|it| ObjectKey::of(it.as_ref())).collect()
    }

    /// Whether an object that the snapshot needs does not decode (STY-25).
    #[must_use]
    pub fn is_held(&self, key: &ObjectKey) -> bool {
        let deployment = self.deployments.get(key);
        self.deployments.held(key)
            || deployment.is_some_and(|it| self.replica_sets.held_controlled_by(&Uid::of(it.as_ref())))
    }

    /// The Deployments that the caches show.
    #[must_use]
    pub fn deployments(&self) -> &Arc<Cache<Deployment>> {
        &self.deployments
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
        let governed = self.governed(&deployment, &children);
        Ok(Some(Snapshot {
            deployment,
            selector,
            children,
            unfinished,
            governed,
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

    /// Policies of a namespace.
    #[must_use]
    pub fn policies_in(&self, namespace: &str) -> Vec<Arc<RolloutPolicy>> {
        if self.policies.is_empty() {
            return Vec::new();
        }
        self.policies.in_namespace(namespace)
    }

    /// The policy that a Deployment follows: the oldest of those that select it, the first by name of equally old ones.
    #[must_use]
    pub fn policy_of(&self, deployment: &Deployment) -> Option<Arc<RolloutPolicy>> {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let age = |it: &Arc<RolloutPolicy>| {
            let created = it.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (created, it.metadata.name.clone())
        };
        self.policies_in(namespace)
            .into_iter()
            .filter(|it| selects(it, deployment).unwrap_or_default())
            .min_by_key(age)
    }

    fn governed(&self, deployment: &Deployment, children: &[Arc<ReplicaSet>]) -> Option<Governed> {
        let policy = self.policy_of(deployment)?;
        let facts = |it: &Arc<ReplicaSet>| {
            let uid = Uid::of(it.as_ref());
            let own = self.pods.controlled_by(&uid);
            let active = own.iter().filter(|pod| pods::is_active(pod));
            let facts = active.map(|pod| PodFacts::of(pod)).collect();
            (uid, facts)
        };
        Some(Governed {
            policy: Arc::new(checked(&policy)),
            pods: children.iter().map(facts).collect(),
        })
    }

    /// What the status of a policy is made from; `None` if it is gone. A Deployment whose selector does not parse, which
    /// no plan is made for either, is left out.
    #[must_use]
    pub fn overview(&self, key: &ObjectKey) -> Option<Overview> {
        let policy = self.policies.get(key)?;
        let mut overview = Overview {
            checked: checked(&policy),
            policy: Arc::clone(&policy),
            bad_selector: None,
            followers: Vec::new(),
            overruled: BTreeMap::new(),
        };
        for deployment in self.deployments.in_namespace(&key.namespace) {
            match selects(&policy, &deployment) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(problem) => {
                    overview.bad_selector = Some(problem.to_string());
                    break;
                }
            }
            let name = || deployment.metadata.name.clone().unwrap_or_default();
            match self.policy_of(&deployment) {
                Some(holds) if holds.metadata.uid != policy.metadata.uid => {
                    let holder = holds.metadata.name.clone().unwrap_or_default();
                    overview.overruled.insert(name(), holder);
                }
                _ => {
                    let key = ObjectKey::of(deployment.as_ref());
                    overview.followers.extend(self.snapshot(&key).ok().flatten());
                }
            }
        }
        Some(overview)
    }

    /// Deployments of a policy's namespace: each may follow another one after it changed.
    #[must_use]
    pub fn governable(&self, change: &Change<RolloutPolicy>) -> Vec<ObjectKey> {
        let namespace = change.latest().metadata.namespace.clone().unwrap_or_default();
        let all = self.deployments.in_namespace(&namespace);
        let selected = |it: &&Arc<Deployment>| {
            let mut versions = change.versions();
            versions.any(|policy| selects(policy, it).unwrap_or_default())
        };
        all.iter()
            .filter(selected)
            .map(|it| ObjectKey::of(it.as_ref()))
            .collect()
    }

    /// The Deployment of a pod, if it follows a policy and the change matters to one.
    #[must_use]
    pub fn governed_through(&self, change: &Change<Pod>) -> Option<ObjectKey> {
        if self.policies.is_empty() {
            return None;
        }
        let pod = change.latest();
        if self
            .policies_in(pod.metadata.namespace.as_deref().unwrap_or_default())
            .is_empty()
        {
            return None;
        }
        if let Change::Updated { old, new } = change
            && pods::is_active(old) == pods::is_active(new)
            && PodFacts::of(old) == PodFacts::of(new)
        {
            return None;
        }
        let key = self.deployment_of(pod)?;
        let deployment = self.deployments.get(&key)?;
        self.policy_of(&deployment).map(|_| key)
    }

    /// The Deployment that controls the ReplicaSet that controls a pod.
    fn deployment_of(&self, pod: &Pod) -> Option<ObjectKey> {
        let owner = ownership::controller_of(pod).filter(|it| it.kind == wire::REPLICA_SET)?;
        let replica_set = self.replica_sets.get_by_uid(&Uid(owner.uid.as_str().into()))?;
        owners::owner_of(&self.deployments, replica_set.as_ref())
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
        if !is_news {
            return None;
        }
        let key = self.deployment_of(change.latest())?;
        let deployment = self.deployments.get(&key)?;
        (strategy(&deployment) == Strategy::Recreate).then_some(key)
    }
}

/// Whether a policy selects a Deployment of its namespace.
fn selects(policy: &RolloutPolicy, deployment: &Deployment) -> steersman_shared::Result<bool> {
    let wanted = &policy.spec.deployment_selector;
    if let Some(names) = &wanted.names {
        return Ok(names
            .iter()
            .any(|name| Some(name) == deployment.metadata.name.as_ref()));
    }
    let selector = Selector::parse(&LabelSelector {
        match_labels: wanted.match_labels.clone(),
        match_expressions: wanted.match_expressions.clone(),
    })?;
    Ok(selector.selects(deployment))
}

fn checked(policy: &RolloutPolicy) -> Policy {
    Policy::of(policy.metadata.name.as_deref().unwrap_or_default(), &policy.spec)
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
        Vec::from_iter(
            looking
                .waiting_for(change)
                .or_else(|| looking.governed_through(change)),
        )
    });
    let (looking, keys) = (observer.clone(), queue.clone());
    let policies = informers.get_if_served::<RolloutPolicy>();
    policies.subscribe(Box::new(move |change| {
        for key in looking.governable(change) {
            keys.add(key);
        }
    }));
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
