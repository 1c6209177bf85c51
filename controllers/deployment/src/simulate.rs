//! What-if: a world of one Deployment in memory. Plans are applied to its objects as the API server would apply the
//! writes; nothing leaves the process.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use steersman_shared::objects::{Deployment, ReplicaSet, Uid};
use steersman_shared::selector::Selector;
use steersman_shared::wire::{DESIRED_REPLICAS, MAX_REPLICAS, REVISION};
use steersman_shared::{ownership, pods};

use crate::action::{Action, Event, ROLLBACK_TO, Rollback, Target};
use crate::plan::policy::{Governed, PodFacts, Policy};
use crate::plan::{Plan, Snapshot, plan, template};
use crate::{Error, Result};

/// The objects, all events so far, and the time.
#[derive(Clone, Debug)]
pub struct World {
    /// The Deployment.
    pub deployment: Deployment,
    /// All ReplicaSets of its namespace, in order of creation.
    pub replica_sets: Vec<ReplicaSet>,
    /// All pods of its namespace.
    pub pods: Vec<Pod>,
    /// What happened.
    pub events: Vec<Event>,
    /// Name of the last ReplicaSet created by an action, with its hash.
    pub created: Option<(String, String)>,
    /// Given to plans and written into new objects.
    pub now: Timestamp,
    /// Writes so far; makes uids and resourceVersions.
    pub writes: u64,
    /// The RolloutPolicy that the Deployment follows.
    pub policy: Option<Arc<Policy>>,
}

impl World {
    /// A world with these objects.
    #[must_use]
    pub fn new(
        deployment: Deployment,
        replica_sets: Vec<ReplicaSet>,
        pods: Vec<Pod>,
        now: Timestamp,
    ) -> Self {
        Self {
            deployment,
            replica_sets,
            pods,
            events: Vec::new(),
            created: None,
            now,
            writes: 0,
            policy: None,
        }
    }

    /// What a plan reads.
    ///
    /// # Errors
    /// The selector does not parse.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let selector = Selector::parse(&self.deployment.spec.selector).map_err(|source| Error::Selector {
            source: Box::new(source),
        })?;
        let owner = Uid::of(&self.deployment);
        let is_child =
            |it: &&ReplicaSet| ownership::controller_uid(*it).is_none_or(|controller| controller == owner);
        let mut children: Vec<_> = self
            .replica_sets
            .iter()
            .filter(is_child)
            .cloned()
            .map(Arc::new)
            .collect();
        children.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let unfinished: BTreeSet<Uid> = children
            .iter()
            .filter(|it| {
                let uid = Some(Uid::of(it.as_ref()));
                let mut own = self
                    .pods
                    .iter()
                    .filter(|pod| ownership::controller_uid(*pod) == uid);
                own.any(|pod| !pods::is_finished(pod))
            })
            .map(|it| Uid::of(it.as_ref()))
            .collect();
        Ok(Snapshot {
            deployment: Arc::new(self.deployment.clone()),
            selector,
            governed: self.governed(&children),
            children,
            unfinished,
        })
    }

    fn governed(&self, children: &[Arc<ReplicaSet>]) -> Option<Governed> {
        let policy = Arc::clone(self.policy.as_ref()?);
        let facts = |it: &Arc<ReplicaSet>| {
            let uid = Uid::of(it.as_ref());
            let own = self
                .pods
                .iter()
                .filter(|pod| ownership::controller_uid(*pod).as_ref() == Some(&uid) && pods::is_active(pod));
            (uid.clone(), own.map(PodFacts::of).collect())
        };
        Some(Governed {
            policy,
            pods: children.iter().map(facts).collect(),
        })
    }

    /// Plans once and applies the plan.
    ///
    /// # Errors
    /// The plan's.
    pub fn sync(&mut self) -> Result<Plan> {
        let plan = plan(&self.snapshot()?, self.now)?;
        plan.actions.iter().for_each(|action| self.apply(action));
        Ok(plan)
    }

    /// Syncs until a plan writes nothing; `false` if that takes more than `limit` syncs.
    ///
    /// # Errors
    /// The plan's.
    pub fn settle(&mut self, limit: usize) -> Result<bool> {
        for _ in 0..limit {
            if self
                .sync()?
                .actions
                .iter()
                .all(|action| matches!(action, Action::ReportSelectingAll))
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn find(&mut self, name: &str) -> Option<&mut ReplicaSet> {
        self.replica_sets
            .iter_mut()
            .find(|it| it.metadata.name.as_deref() == Some(name))
    }

    fn touch(&mut self, target: &Target) -> Option<&mut ReplicaSet> {
        let version = self.writes.to_string();
        let found = self.find(&target.name)?;
        found.metadata.resource_version = Some(version);
        Some(found)
    }

    fn roll_back(&mut self, rollback: &Rollback) {
        self.deployment.spec.template = Arc::clone(&rollback.template);
        let annotations = self.deployment.metadata.annotations.get_or_insert_default();
        annotations.extend(rollback.annotations.clone());
        annotations.retain(|key, _| !rollback.removed_annotations.contains(key));
        grow_generation(&mut self.deployment.metadata);
    }

    /// Applies one action.
    pub fn apply(&mut self, action: &Action) {
        self.writes += 1;
        let name = self.deployment.metadata.name.clone().unwrap_or_default();
        self.events.extend(action.event(&name));
        match action {
            Action::Adopt { name, .. } => {
                let owner = ownership::reference_to(&self.deployment);
                if let Some(child) = self.find(name) {
                    child
                        .metadata
                        .owner_references
                        .get_or_insert_default()
                        .push(owner);
                }
            }
            Action::Release { name, .. } => {
                let uid = self.deployment.metadata.uid.clone().unwrap_or_default();
                if let Some(child) = self.find(name) {
                    child
                        .metadata
                        .owner_references
                        .get_or_insert_default()
                        .retain(|it| it.uid != uid);
                }
            }
            Action::Create(new) => {
                let body = template::replica_set(&self.deployment, new);
                let mut created: ReplicaSet = serde_json::from_value(body).unwrap_or_default();
                created.metadata.uid = Some(format!("created-{}", self.writes));
                created.metadata.generation = Some(1);
                created.metadata.creation_timestamp = Some(Time(self.now));
                self.created = Some((new.name.clone(), new.hash.clone()));
                self.replica_sets.push(created);
            }
            Action::Annotate {
                target,
                annotations,
                min_ready_seconds,
            } => {
                if let Some(child) = self.touch(target) {
                    child
                        .metadata
                        .annotations
                        .get_or_insert_default()
                        .extend(annotations.clone());
                    if min_ready_seconds.is_some() {
                        child.spec.min_ready_seconds = *min_ready_seconds;
                        grow_generation(&mut child.metadata);
                    }
                }
            }
            Action::Mark { target, key, value } => {
                if let Some(child) = self.touch(target) {
                    let annotations = child.metadata.annotations.get_or_insert_default();
                    annotations.insert((*key).to_owned(), value.clone());
                }
            }
            Action::Scale {
                target,
                from,
                to,
                desired,
                max,
                ..
            } => {
                if let Some(child) = self.touch(target) {
                    let annotations = child.metadata.annotations.get_or_insert_default();
                    annotations.insert(DESIRED_REPLICAS.to_owned(), desired.to_string());
                    annotations.insert(MAX_REPLICAS.to_owned(), max.to_string());
                    child.spec.replicas = Some(*to);
                    if from != to {
                        grow_generation(&mut child.metadata);
                    }
                }
            }
            Action::Delete { target } => {
                self.replica_sets
                    .retain(|it| it.metadata.name.as_deref() != Some(&target.name));
            }
            Action::Rollback(rollback) => self.roll_back(rollback),
            Action::ClearRollback { .. } => {
                self.deployment
                    .metadata
                    .annotations
                    .get_or_insert_default()
                    .remove(ROLLBACK_TO);
                grow_generation(&mut self.deployment.metadata);
            }
            Action::ReportSelectingAll | Action::ReportCreateError { .. } => {}
            Action::WriteStatus(write) => {
                self.deployment.status = write.status.clone();
                let annotations = self.deployment.metadata.annotations.get_or_insert_default();
                if let Some(revision) = &write.revision {
                    annotations.insert(REVISION.to_owned(), revision.clone());
                }
                annotations.retain(|key, _| write.repaired.iter().all(|it| it.key != key));
            }
        }
    }
}

fn grow_generation(metadata: &mut ObjectMeta) {
    metadata.generation = Some(metadata.generation.unwrap_or_default() + 1);
}
