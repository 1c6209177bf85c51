//! The safety invariants of `docs/specs/workloads.md` chapter 5 that plans alone decide, on random histories: users
//! change the Deployment, ReplicaSets follow with a delay, pods become ready one by one.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;
use serde_json::Value;
use steersman_shared::testing::{T0, deployment, template as pod_template};
use steersman_shared::wire::REVISION;

use super::*;
use crate::simulate::World;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Happening {
    Sync,
    /// The ReplicaSet controller acts on one ReplicaSet and writes its status.
    Follow(usize),
    /// Pods of one ReplicaSet become available.
    Ready(usize, i32),
    Template(u8),
    Resize(i32),
    Pause(bool),
    Rollback,
}

fn happenings(resizes: bool) -> impl Strategy_<Value = Vec<Happening>> {
    let resize = if resizes { 2 } else { 0 };
    let one = prop_oneof![
        8 => Just(Happening::Sync),
        8 => (0..4usize).prop_map(Happening::Follow),
        8 => (0..4usize, 1..9i32).prop_map(|(which, pods)| Happening::Ready(which, pods)),
        2 => (0..4u8).prop_map(Happening::Template),
        resize => (0..13i32).prop_map(Happening::Resize),
        1 => any::<bool>().prop_map(Happening::Pause),
        1 => Just(Happening::Rollback),
    ];
    prop::collection::vec(one, 1..120)
}

use proptest::strategy::Strategy as Strategy_;

/// A world, and how many pods of each ReplicaSet are there and available in fact.
struct Cluster {
    world: World,
    pods: BTreeMap<String, (i32, i32)>,
    templates: BTreeMap<String, Arc<Value>>,
    revisions: BTreeMap<String, i64>,
    highest: i64,
    /// INV-3 is about rollouts: whoever resizes a Deployment changes what has to stay.
    resizes: bool,
}

impl Cluster {
    fn new(replicas: i32, surge: i32, unavailable: i32, resizes: bool) -> Self {
        let limits = (IntOrString::Int(surge), IntOrString::Int(unavailable));
        let owner = deployment("web")
            .replicas(replicas)
            .rolling(limits.0, limits.1)
            .build();
        Self {
            world: World::new(owner, Vec::new(), Vec::new(), T0),
            pods: BTreeMap::new(),
            templates: BTreeMap::new(),
            revisions: BTreeMap::new(),
            highest: 0,
            resizes,
        }
    }

    fn name(&self, which: usize) -> Option<String> {
        let names: Vec<_> = self
            .world
            .replica_sets
            .iter()
            .map(|it| it.metadata.name.clone().unwrap())
            .collect();
        names.get(which % names.len().max(1)).cloned()
    }

    fn find(&mut self, name: &str) -> &mut ReplicaSet {
        self.world
            .replica_sets
            .iter_mut()
            .find(|it| it.metadata.name.as_deref() == Some(name))
            .unwrap()
    }

    fn happen(&mut self, happening: &Happening) -> Result<(), TestCaseError> {
        let changed = |deployment: &mut Deployment| {
            deployment.metadata.generation = deployment.metadata.generation.map(|it| it + 1);
        };
        let deployment = &mut self.world.deployment;
        match happening {
            Happening::Sync => return self.sync(),
            Happening::Follow(which) => {
                let Some(name) = self.name(*which) else {
                    return Ok(());
                };
                let (_, available) = self.pods.get(&name).copied().unwrap_or_default();
                let it = self.find(&name);
                let wanted = size(it);
                // Unready pods go first, and the status tells what is left.
                let available = available.min(wanted);
                it.status.replicas = wanted;
                it.status.ready_replicas = Some(available);
                it.status.available_replicas = Some(available);
                it.status.terminating_replicas = Some(0);
                it.status.observed_generation = it.metadata.generation;
                self.pods.insert(name, (wanted, available));
            }
            Happening::Ready(which, more) => {
                if let Some(name) = self.name(*which)
                    && let Some((all, available)) = self.pods.get_mut(&name)
                {
                    *available = (*available + more).min(*all);
                    let now = *available;
                    let status = &mut self.find(&name).status;
                    // The controller tells at once; what it was told to do takes longer.
                    (status.ready_replicas, status.available_replicas) = (Some(now), Some(now));
                }
            }
            Happening::Template(image) => {
                deployment.spec.template = Arc::new(pod_template(&format!("web:{image}")));
                changed(deployment);
            }
            Happening::Resize(replicas) => {
                deployment.spec.replicas = Some(*replicas);
                changed(deployment);
            }
            Happening::Pause(paused) => {
                deployment.spec.paused = Some(*paused);
                changed(deployment);
            }
            Happening::Rollback => {
                let annotations = deployment.metadata.annotations.get_or_insert_default();
                annotations.insert(crate::action::ROLLBACK_TO.to_owned(), "0".to_owned());
                changed(deployment);
            }
        }
        self.world.now = self
            .world
            .now
            .checked_add(jiff::SignedDuration::from_secs(7))
            .unwrap();
        Ok(())
    }

    /// What INV-3 bounds: pods that are available and asked for.
    fn available(&self) -> i64 {
        let kept = |it: &ReplicaSet| {
            let name = it.metadata.name.as_deref().unwrap();
            self.pods
                .get(name)
                .map_or(0, |(_, available)| size(it).min(*available))
        };
        self.world.replica_sets.iter().map(|it| i64::from(kept(it))).sum()
    }

    fn total(&self) -> i64 {
        self.world.replica_sets.iter().map(|it| i64::from(size(it))).sum()
    }

    fn sync(&mut self) -> Result<(), TestCaseError> {
        let snapshot = self.world.snapshot().unwrap();
        let planned = plan(&snapshot, self.world.now).unwrap();
        prop_assert_eq!(&plan(&snapshot, self.world.now).unwrap(), &planned, "RS-1");
        let statuses = planned
            .actions
            .iter()
            .filter(|it| matches!(it, Action::WriteStatus(_)))
            .count();
        prop_assert!(statuses <= 1, "DEP-5: {:?}", planned.actions);
        for action in &planned.actions {
            let deployment = &self.world.deployment;
            let limit = i64::from(desired_replicas(deployment)) + fenceposts::surge(deployment);
            let min_available = fenceposts::min_available(deployment);
            let raises = match action {
                Action::Create(new) => new.replicas > 0,
                Action::Scale { from, to, .. } => to > from,
                _ => false,
            };
            let before = self.available();
            let observed = deployment.status.observed_generation;
            self.world.apply(action);
            // Proportional scaling is the reference's to the last pod, its overshoot included (DEP-43, DEP-44).
            if raises
                && !matches!(
                    action,
                    Action::Scale {
                        cause: ScaleCause::Resized,
                        ..
                    }
                )
            {
                prop_assert!(
                    self.total() <= limit,
                    "INV-1: {} above {limit} by {action:?}",
                    self.total()
                );
            }
            if before >= min_available && !self.resizes {
                prop_assert!(
                    self.available() >= min_available,
                    "INV-3: {} by {action:?}",
                    self.available()
                );
            }
            if let Action::WriteStatus(write) = action {
                let written = write.status.observed_generation;
                prop_assert!(
                    written >= observed && written <= self.world.deployment.metadata.generation,
                    "INV-9"
                );
            }
        }
        self.check_replica_sets()
    }

    fn check_replica_sets(&mut self) -> Result<(), TestCaseError> {
        for it in &self.world.replica_sets {
            let name = it.metadata.name.clone().unwrap();
            let template = self
                .templates
                .entry(name.clone())
                .or_insert_with(|| Arc::clone(&it.spec.template));
            prop_assert_eq!(&*template, &it.spec.template, "INV-10");
            let revision: i64 = it.metadata.annotations.as_ref().unwrap()[REVISION]
                .parse()
                .unwrap();
            let before = self.revisions.insert(name, revision).unwrap_or_default();
            prop_assert!(revision >= before, "INV-8: {before} became {revision}");
            if revision != before {
                prop_assert!(revision > self.highest, "INV-8: {revision} again");
                self.highest = revision;
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn inv_1_8_10_hold_whatever_users_do(
        replicas in 0..13i32, surge in 0..4i32, unavailable in 0..4i32, history in happenings(true),
    ) {
        let mut cluster = Cluster::new(replicas, surge, unavailable, true);
        for happening in &history {
            cluster.happen(happening)?;
        }
    }

    #[test]
    fn inv_3_a_rollout_keeps_pods_available(
        replicas in 1..13i32, surge in 0..4i32, unavailable in 0..4i32, history in happenings(false),
    ) {
        let mut cluster = Cluster::new(replicas, surge, unavailable, false);
        for happening in &history {
            cluster.happen(happening)?;
        }
    }
}
