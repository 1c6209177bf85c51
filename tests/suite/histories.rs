//! Random histories of the deployment and the replicaset controller on a store in memory: their own observers, planners
//! and `act`, with watches that lag, writes that conflict, get lost or are answered too late, crashes between any two
//! writes, pods that fail and users that change things. No API server and no tasks: thousands of seeds in little time.
//! The whole program on the sandbox is in [`crate::simulation`].
//!
//! `STEERSMAN_HISTORIES=N` runs N seeds instead of [`SEEDS`]; `STEERSMAN_HISTORY=S` runs the one that failed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use futures::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};
use steersman_deployment::action::{Action as DeploymentAction, Target};
use steersman_deployment::{act as deployment_act, plan as deployment_plan};
use steersman_replicaset::action::Action as SetAction;
use steersman_replicaset::{act as set_act, plan as set_plan};
use steersman_shared::informer::{Informers, KindId};
use steersman_shared::metrics::Metrics;
use steersman_shared::objects::{Deployment, ObjectKey, Pod, ReplicaSet, Uid};
use steersman_shared::queue::Queue;
use steersman_shared::sink::{Done, Sink};
use steersman_shared::testing::{Feed, StoredOwner, refused};
use steersman_shared::writes::{Writes, Written};

use crate::invariants::{Monitor, Write};

/// Seeds of a normal run.
const SEEDS: u64 = 5_000;
/// Test functions that share the seeds, so that they run in parallel.
const SHARDS: u64 = 4;
/// Longest delay of a watch event; well within [`crate::invariants::LAG`].
const LONGEST_DELAY: i64 = 2;
/// Longest time that a ReplicaSet waits for its turn.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(2);
const OURS: &str = "ours";
const NAMESPACE: &str = "default";
const NAME: &str = "web";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Deployment,
    ReplicaSet,
    Pod,
}

const KINDS: [Kind; 3] = [Kind::Deployment, Kind::ReplicaSet, Kind::Pod];

impl Kind {
    fn resource(self) -> &'static str {
        match self {
            Self::Deployment => "deployments",
            Self::ReplicaSet => "replicasets",
            Self::Pod => "pods",
        }
    }
}

/// A watch event on its way.
struct Sent {
    due: Timestamp,
    object: Value,
    deleted: bool,
}

/// What the API server holds.
struct Store {
    now: Timestamp,
    revision: u64,
    objects: BTreeMap<(Kind, String), Value>,
    watches: BTreeMap<Kind, VecDeque<Sent>>,
    /// Kinds whose watch has to start over with a list.
    relist: Vec<Kind>,
    monitor: Monitor,
    random: fastrand::Rng,
    /// Writes until the process dies.
    lives: Option<u32>,
    quiet: bool,
    log: Vec<String>,
}

/// How a request of ours ends.
enum Fate {
    Answered,
    Refused(kube::Error),
    /// Carried out, but the answer is lost.
    Unanswered,
    /// Never sent: the process is dead.
    Dead,
}

impl Store {
    fn get(&self, kind: Kind, name: &str) -> Option<&Value> {
        self.objects.get(&(kind, name.to_owned()))
    }

    fn names(&self, kind: Kind) -> Vec<String> {
        let all = self.objects.keys();
        all.filter(|(of, _)| *of == kind)
            .map(|(_, name)| name.clone())
            .collect()
    }

    fn put(&mut self, by: Option<&str>, kind: Kind, name: &str, new: Option<Value>) -> String {
        self.revision += 1;
        let old = self.objects.remove(&(kind, name.to_owned()));
        let version = self.revision.to_string();
        let new = new.map(|mut new| {
            let generation = old.as_ref().map_or(1, |old| {
                let before = old["metadata"]["generation"].as_i64().unwrap_or(1);
                let annotated = kind == Kind::Deployment
                    && old["metadata"]["annotations"] != new["metadata"]["annotations"];
                before + i64::from(old["spec"] != new["spec"] || annotated)
            });
            let metadata = &mut new["metadata"];
            metadata["name"] = json!(name);
            metadata["namespace"] = json!(NAMESPACE);
            metadata["resourceVersion"] = json!(version);
            metadata["generation"] = json!(generation);
            if old.is_none() {
                metadata["uid"] = json!(format!("uid-{}", self.revision));
                metadata["creationTimestamp"] = json!(self.now);
            }
            new
        });
        self.monitor.see(&Write {
            at: self.now,
            by,
            resource: kind.resource(),
            old: old.as_ref(),
            new: new.as_ref(),
        });
        let deleted = new.is_none();
        let mut object = new.clone().or_else(|| old.clone()).unwrap_or_default();
        object["metadata"]["resourceVersion"] = json!(version);
        let delay = if self.quiet {
            0
        } else {
            self.random.i64(0..=LONGEST_DELAY)
        };
        let watch = self.watches.entry(kind).or_default();
        let due =
            (self.now + SignedDuration::from_secs(delay)).max(watch.back().map_or(self.now, |last| last.due));
        watch.push_back(Sent { due, object, deleted });
        if let Some(new) = new {
            self.objects.insert((kind, name.to_owned()), new);
        }
        version
    }

    /// A change by somebody else.
    fn edit(&mut self, kind: Kind, name: &str, change: impl FnOnce(&mut Value)) {
        let Some(mut object) = self.get(kind, name).cloned() else {
            return;
        };
        change(&mut object);
        self.put(None, kind, name, Some(object));
    }

    fn fate(&mut self) -> Fate {
        if let Some(lives) = &mut self.lives {
            if *lives == 0 {
                return Fate::Dead;
            }
            *lives -= 1;
        }
        match self.random.u8(..100) {
            _ if self.quiet => Fate::Answered,
            0..4 => Fate::Refused(refused(409, "Conflict", "the object has been modified")),
            4..6 => Fate::Refused(refused(503, "ServiceUnavailable", "try again")),
            6..8 => Fate::Unanswered,
            _ => Fate::Answered,
        }
    }

    /// The stored object, if its uid and, where one is given, its version are these.
    fn expect(&self, kind: Kind, name: &str, uid: &Uid, version: Option<&str>) -> Result<Value, kube::Error> {
        let stored = self
            .get(kind, name)
            .ok_or_else(|| refused(404, "NotFound", "not found"))?;
        if stored["metadata"]["uid"] != *uid.0 {
            return Err(refused(409, "Conflict", "the uid is another"));
        }
        if version.is_some_and(|version| stored["metadata"]["resourceVersion"] != version) {
            return Err(refused(409, "Conflict", "the object has been modified"));
        }
        Ok(stored.clone())
    }
}

/// What a write of ours leaves: the version of the object, or its end.
enum Effect {
    Version(String),
    Deleted(Uid),
    Nothing,
}

/// Carries a request out under its fate, and records what the controller would.
fn request<K: kube::Resource + 'static>(
    store: &Mutex<Store>,
    writes: &Writes,
    key: &ObjectKey,
    kind: Kind,
    effect: impl FnOnce(&mut Store) -> Result<Effect, kube::Error>,
) -> Result<(), kube::Error> {
    let mut store = store.lock().unwrap();
    let fate = store.fate();
    match fate {
        Fate::Dead => return Err(refused(500, "InternalError", "dead")),
        Fate::Refused(error) => return Err(error),
        Fate::Unanswered => {
            let _ = effect(&mut store);
            store.relist.push(kind);
            drop(store);
            writes.record(key, Written::unknown::<K>());
            return Err(refused(504, "Timeout", "no answer"));
        }
        Fate::Answered => {}
    }
    let effect = effect(&mut store)?;
    drop(store);
    match effect {
        Effect::Version(resource_version) => {
            let kind = KindId::of::<K>();
            writes.record(
                key,
                Written::Version {
                    kind,
                    resource_version,
                },
            );
        }
        Effect::Deleted(uid) => writes.record(key, Written::deleted::<K>(uid)),
        Effect::Nothing => {}
    }
    Ok(())
}

fn merge(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn adopt(object: &mut Value, api: &str, kind: &str, name: &str, uid: &Uid) {
    let owners = &mut object["metadata"]["ownerReferences"];
    if !owners.is_array() {
        *owners = json!([]);
    }
    owners.as_array_mut().unwrap().push(json!({
        "apiVersion": api, "kind": kind, "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": true,
    }));
}

fn release(object: &mut Value, uid: &Uid) {
    if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
        owners.retain(|owner| owner["uid"] != *uid.0);
    }
}

/// Where plans for the Deployment go.
struct DeploymentSink<'a> {
    store: &'a Mutex<Store>,
    writes: &'a Writes,
    deployment: &'a Deployment,
    /// Versions that this sync wrote: a second write to an object builds on the first.
    versions: Mutex<BTreeMap<Uid, String>>,
}

impl DeploymentSink<'_> {
    fn patch(
        &self,
        store: &mut Store,
        kind: Kind,
        target: &Target,
        change: impl FnOnce(&mut Value),
    ) -> Result<Effect, kube::Error> {
        let mut versions = self.versions.lock().unwrap();
        let version = versions
            .get(&target.uid)
            .unwrap_or(&target.resource_version)
            .clone();
        let mut object = store.expect(kind, &target.name, &target.uid, Some(&version))?;
        change(&mut object);
        let version = store.put(Some(OURS), kind, &target.name, Some(object));
        versions.insert(target.uid.clone(), version.clone());
        Ok(Effect::Version(version))
    }

    #[expect(clippy::too_many_lines, reason = "one arm per action")]
    fn write(&self, action: &DeploymentAction) -> Result<(), (bool, kube::Error)> {
        let key = ObjectKey::of(self.deployment);
        let uid = Uid::of(self.deployment);
        let set = |effect: &mut dyn FnMut(&mut Store) -> Result<Effect, kube::Error>| {
            request::<ReplicaSet>(self.store, self.writes, &key, Kind::ReplicaSet, |store| {
                effect(store)
            })
            .map_err(|error| (true, error))
        };
        let own = |effect: &mut dyn FnMut(&mut Store) -> Result<Effect, kube::Error>| {
            request::<Deployment>(self.store, self.writes, &key, Kind::Deployment, |store| {
                effect(store)
            })
            .map_err(|error| (false, error))
        };
        match action {
            DeploymentAction::Adopt { name, uid: child } => set(&mut |store| {
                let mut object = store.expect(Kind::ReplicaSet, name, child, None)?;
                adopt(&mut object, "apps/v1", "Deployment", NAME, &uid);
                Ok(Effect::Version(store.put(
                    Some(OURS),
                    Kind::ReplicaSet,
                    name,
                    Some(object),
                )))
            }),
            DeploymentAction::Release { name, uid: child } => set(&mut |store| {
                let mut object = store.expect(Kind::ReplicaSet, name, child, None)?;
                release(&mut object, &uid);
                Ok(Effect::Version(store.put(
                    Some(OURS),
                    Kind::ReplicaSet,
                    name,
                    Some(object),
                )))
            }),
            DeploymentAction::Create(new) => set(&mut |store| {
                if store.get(Kind::ReplicaSet, &new.name).is_some() {
                    return Err(refused(409, "AlreadyExists", "exists already"));
                }
                let body = deployment_plan::template::replica_set(self.deployment, new);
                Ok(Effect::Version(store.put(
                    Some(OURS),
                    Kind::ReplicaSet,
                    &new.name,
                    Some(body),
                )))
            }),
            DeploymentAction::Annotate {
                target,
                annotations,
                min_ready_seconds,
            } => set(&mut |store| {
                self.patch(store, Kind::ReplicaSet, target, |object| {
                    merge(&mut object["metadata"]["annotations"], &json!(annotations));
                    if let Some(seconds) = min_ready_seconds {
                        object["spec"]["minReadySeconds"] = json!(seconds);
                    }
                })
            }),
            DeploymentAction::Scale {
                target,
                to,
                desired,
                max,
                ..
            } => set(&mut |store| {
                self.patch(store, Kind::ReplicaSet, target, |object| {
                    object["spec"]["replicas"] = json!(to);
                    let sizes = json!({
                        "deployment.kubernetes.io/desired-replicas": desired.to_string(),
                        "deployment.kubernetes.io/max-replicas": max.to_string(),
                    });
                    merge(&mut object["metadata"]["annotations"], &sizes);
                })
            }),
            DeploymentAction::Delete { target } => set(&mut |store| {
                store.expect(
                    Kind::ReplicaSet,
                    &target.name,
                    &target.uid,
                    Some(&target.resource_version),
                )?;
                store.put(Some(OURS), Kind::ReplicaSet, &target.name, None);
                Ok(Effect::Deleted(target.uid.clone()))
            }),
            DeploymentAction::Rollback(rollback) => own(&mut |store| {
                self.patch(store, Kind::Deployment, &rollback.target, |object| {
                    object["spec"]["template"] = (*rollback.template).clone();
                    merge(
                        &mut object["metadata"]["annotations"],
                        &json!(rollback.annotations),
                    );
                    for key in &rollback.removed_annotations {
                        object["metadata"]["annotations"]
                            .as_object_mut()
                            .unwrap()
                            .remove(key);
                    }
                })
            }),
            DeploymentAction::ClearRollback { target, .. } => own(&mut |store| {
                self.patch(store, Kind::Deployment, target, |object| {
                    let gone = json!({ "deprecated.deployment.rollback.to": null });
                    merge(&mut object["metadata"]["annotations"], &gone);
                })
            }),
            DeploymentAction::WriteStatus(write) => own(&mut |store| {
                let before = store
                    .get(Kind::Deployment, NAME)
                    .map(|it| it["metadata"]["generation"].clone());
                let effect = self.patch(store, Kind::Deployment, &write.target, |object| {
                    object["status"] = json!(write.status);
                });
                // Annotations written through the status do not raise the generation (DEP-25).
                if let (Ok(_), Some(revision), Some(_)) = (&effect, &write.revision, before) {
                    let object = store
                        .objects
                        .get_mut(&(Kind::Deployment, NAME.to_owned()))
                        .unwrap();
                    merge(
                        &mut object["metadata"]["annotations"],
                        &json!({ "deployment.kubernetes.io/revision": revision }),
                    );
                    let annotated = object.clone();
                    store
                        .watches
                        .get_mut(&Kind::Deployment)
                        .unwrap()
                        .back_mut()
                        .unwrap()
                        .object = annotated;
                }
                effect
            }),
            _ => Ok(()),
        }
    }
}

impl Sink<DeploymentAction> for DeploymentSink<'_> {
    type Done = Done;
    type Error = steersman_deployment::Error;

    async fn apply(&self, action: &DeploymentAction) -> Result<Self::Done, Self::Error> {
        match self.write(action) {
            Ok(()) => Ok(Done::Changed),
            Err((_, error)) if matches!(&error, kube::Error::Api(status) if status.is_not_found()) => {
                Ok(Done::Gone)
            }
            Err((true, error)) => Err(steersman_deployment::Error::ReplicaSet {
                verb: "write",
                name: match action {
                    DeploymentAction::Create(new) => new.name.clone(),
                    _ => String::new(),
                },
                source: Box::new(error),
            }),
            Err((false, error)) => {
                let source = Box::new(error);
                Err(steersman_deployment::Error::Deployment {
                    verb: "write",
                    source,
                })
            }
        }
    }
}

/// Where plans for a ReplicaSet go.
struct SetSink<'a> {
    store: &'a Mutex<Store>,
    writes: &'a Writes,
    set: &'a ReplicaSet,
}

impl SetSink<'_> {
    fn write(&self, action: &SetAction) -> Result<(), kube::Error> {
        let key = ObjectKey::of(self.set);
        let owner = Uid::of(self.set);
        let pod = |effect: &mut dyn FnMut(&mut Store) -> Result<Effect, kube::Error>| {
            request::<Pod>(self.store, self.writes, &key, Kind::Pod, |store| effect(store))
        };
        match action {
            SetAction::CreatePods { .. } => pod(&mut |store| {
                let body = set_plan::pod::of(self.set).unwrap();
                let name = format!("{}-{}", key.name, store.revision);
                Ok(Effect::Version(store.put(
                    Some(OURS),
                    Kind::Pod,
                    &name,
                    Some(body),
                )))
            }),
            SetAction::DeletePod { name, uid, .. } => pod(&mut |store| {
                let mut object = store.expect(Kind::Pod, name, uid, None)?;
                object["metadata"]["deletionTimestamp"] = json!(store.now);
                store.put(Some(OURS), Kind::Pod, name, Some(object));
                Ok(Effect::Deleted(uid.clone()))
            }),
            SetAction::AdoptPod { name, uid } => pod(&mut |store| {
                let mut object = store.expect(Kind::Pod, name, uid, None)?;
                adopt(&mut object, "apps/v1", "ReplicaSet", &key.name, &owner);
                Ok(Effect::Version(store.put(
                    Some(OURS),
                    Kind::Pod,
                    name,
                    Some(object),
                )))
            }),
            SetAction::ReleasePod { name, uid } => pod(&mut |store| {
                let mut object = store.expect(Kind::Pod, name, uid, None)?;
                release(&mut object, &owner);
                Ok(Effect::Version(store.put(
                    Some(OURS),
                    Kind::Pod,
                    name,
                    Some(object),
                )))
            }),
            SetAction::WriteStatus(write) => {
                request::<ReplicaSet>(self.store, self.writes, &key, Kind::ReplicaSet, |store| {
                    let Ok(mut object) = store.expect(Kind::ReplicaSet, &key.name, &write.uid, None) else {
                        return Ok(Effect::Nothing);
                    };
                    object["status"] = json!(write.status);
                    Ok(Effect::Version(store.put(
                        Some(OURS),
                        Kind::ReplicaSet,
                        &key.name,
                        Some(object),
                    )))
                })
            }
        }
    }
}

impl Sink<SetAction> for SetSink<'_> {
    type Done = Done;
    type Error = steersman_replicaset::Error;

    async fn apply(&self, action: &SetAction) -> Result<Self::Done, Self::Error> {
        match self.write(action) {
            Ok(()) => Ok(Done::Changed),
            Err(error) if matches!(&error, kube::Error::Api(status) if status.is_not_found()) => {
                Ok(Done::Gone)
            }
            Err(error) => {
                let (pod, source) = (String::new(), Box::new(error));
                Err(steersman_replicaset::Error::Pod {
                    verb: "write",
                    pod,
                    source,
                })
            }
        }
    }
}

/// Both controllers, as far as they live in memory.
struct Process {
    deployments: steersman_deployment::observe::Observer,
    sets: steersman_replicaset::observe::Observer,
    deployment_writes: Writes,
    set_writes: Writes,
    feeds: (Feed<Deployment>, Feed<ReplicaSet>, Feed<Pod>),
}

impl Process {
    fn start(store: &mut Store) -> Self {
        let informers = Informers::detached();
        let metrics = Metrics::default();
        let deployments = steersman_deployment::observe::Observer::new(&informers);
        let sets = steersman_replicaset::observe::Observer::new(&informers);
        let writes = |name| Writes::new(&informers, &Queue::new(name, &metrics), &metrics);
        let process = Self {
            deployments,
            sets,
            deployment_writes: writes("deployment"),
            set_writes: writes("replicaset"),
            feeds: (
                Feed::new(informers.get::<Deployment>()),
                Feed::new(informers.get::<ReplicaSet>()),
                Feed::new(informers.get::<Pod>()),
            ),
        };
        store.lives = None;
        store.monitor.takeover = Some(store.now);
        for kind in KINDS {
            process.list(store, kind);
        }
        process
    }

    fn list(&self, store: &mut Store, kind: Kind) {
        fn typed<K: serde::de::DeserializeOwned>(store: &Store, kind: Kind) -> Vec<K> {
            let all = store.objects.iter().filter(|((of, _), _)| *of == kind);
            all.map(|(_, object)| serde_json::from_value(object.clone()).unwrap())
                .collect()
        }
        store.watches.remove(&kind);
        match kind {
            Kind::Deployment => self.feeds.0.list(typed(store, kind)),
            Kind::ReplicaSet => self.feeds.1.list(typed(store, kind)),
            Kind::Pod => self.feeds.2.list(typed(store, kind)),
        }
    }

    fn deliver(&self, store: &mut Store) {
        fn feed<K: steersman_shared::informer::Watched>(feed: &Feed<K>, sent: Sent) {
            let object: K = serde_json::from_value(sent.object).unwrap();
            if sent.deleted {
                feed.delete(object);
            } else {
                feed.apply(object);
            }
        }
        for kind in std::mem::take(&mut store.relist) {
            self.list(store, kind);
        }
        for kind in KINDS {
            let now = store.now;
            let watch = store.watches.entry(kind).or_default();
            while watch.front().is_some_and(|sent| sent.due <= now) {
                let Some(sent) = watch.pop_front() else { break };
                match kind {
                    Kind::Deployment => feed(&self.feeds.0, sent),
                    Kind::ReplicaSet => feed(&self.feeds.1, sent),
                    Kind::Pod => feed(&self.feeds.2, sent),
                }
            }
        }
    }
}

struct World {
    store: Mutex<Store>,
    process: Process,
    /// When each ReplicaSet had its turn.
    turns: BTreeMap<ObjectKey, Timestamp>,
}

fn meta(store: &Store, kind: Kind, name: &str) -> StoredOwner {
    let stored: Option<ObjectMeta> = store
        .get(kind, name)
        .map(|it| serde_json::from_value(it["metadata"].clone()).unwrap());
    StoredOwner {
        stored,
        ..StoredOwner::default()
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut store = Store {
            now: "2026-06-01T12:00:00Z".parse().unwrap(),
            revision: 100,
            objects: BTreeMap::new(),
            watches: BTreeMap::new(),
            relist: Vec::new(),
            monitor: Monitor::default(),
            random: fastrand::Rng::with_seed(seed),
            lives: None,
            quiet: false,
            log: Vec::new(),
        };
        let body = deployment(&mut store.random);
        store.put(None, Kind::Deployment, NAME, Some(body));
        let process = Process::start(&mut store);
        Self {
            store: Mutex::new(store),
            process,
            turns: BTreeMap::new(),
        }
    }

    fn store(&mut self) -> &mut Store {
        self.store.get_mut().unwrap()
    }

    fn sync_deployment(&mut self) {
        let key = ObjectKey::new(NAMESPACE, NAME);
        if self.process.deployment_writes.pending(&key).is_some() {
            return;
        }
        let Ok(Some(snapshot)) = self.process.deployments.snapshot(&key) else {
            return;
        };
        let now = self.store().now;
        let Ok(mut plan) = deployment_plan::plan(&snapshot, now) else {
            return;
        };
        if plan.has_passing_status(&snapshot.deployment) && self.store().random.bool() {
            plan = plan.without_status();
        }
        let owner = meta(self.store(), Kind::Deployment, NAME);
        let sink = DeploymentSink {
            store: &self.store,
            writes: &self.process.deployment_writes,
            deployment: &snapshot.deployment,
            versions: Mutex::default(),
        };
        let existing = |name: &str| {
            self.process
                .deployments
                .replica_set(&ObjectKey::new(NAMESPACE, name))
        };
        let applied = deployment_act::apply(&sink, &owner, &snapshot, &plan, existing, now).now_or_never();
        drop(applied.expect("nothing to wait for"));
    }

    fn sync_set(&mut self, key: &ObjectKey) {
        if self.process.set_writes.pending(key).is_some() {
            return;
        }
        let Ok(Some(snapshot)) = self.process.sets.snapshot(key, true) else {
            return;
        };
        let now = self.store().now;
        self.turns.insert(key.clone(), now);
        let plan = set_plan::plan(&snapshot, now);
        let owner = meta(self.store(), Kind::ReplicaSet, &key.name);
        let sink = SetSink {
            store: &self.store,
            writes: &self.process.set_writes,
            set: &snapshot.replica_set,
        };
        let applied = set_act::apply(&sink, &owner, &snapshot, &plan, now).now_or_never();
        drop(applied.expect("nothing to wait for"));
    }

    /// The pod comes up, or goes if it is on its way out.
    fn follow(&mut self, name: &str) {
        let store = self.store();
        let now = store.now;
        let Some(pod) = store.get(Kind::Pod, name) else {
            return;
        };
        if pod["metadata"]["deletionTimestamp"].is_string() {
            store.put(None, Kind::Pod, name, None);
        } else if pod["status"]["phase"].is_null()
            || (pod["status"]["phase"] == "Running" && pod["status"]["conditions"][0]["status"] == "False")
        {
            store.edit(Kind::Pod, name, |pod| {
                pod["spec"]["nodeName"] = json!("n1");
                pod["status"] = json!({ "phase": "Running", "conditions": [
                    { "type": "Ready", "status": "True", "lastTransitionTime": now }] });
            });
        }
    }

    /// Pods go, and no controller can know.
    fn excuse(&mut self) {
        let store = self.store();
        store
            .monitor
            .robbed
            .insert(format!("{NAMESPACE}/{NAME}"), store.now);
    }

    fn pick(&mut self, kind: Kind) -> Option<String> {
        let store = self.store();
        let names = store.names(kind);
        store.random.choice(&names).cloned()
    }

    /// What users, nodes and the cluster do at random.
    fn disturb(&mut self) {
        let what = self.store().random.u8(..100);
        let number = self.store().random.u8(..8);
        let now = self.store().now;
        self.store().log.push(format!("{now} {what} {number}"));
        match what {
            0..30 => self.store().edit(Kind::Deployment, NAME, |it| {
                it["spec"]["template"]["spec"]["containers"][0]["image"] =
                    json!(format!("web:{}", number % 4));
            }),
            30..48 => self.store().edit(Kind::Deployment, NAME, |it| {
                it["spec"]["replicas"] = json!(number);
            }),
            48..56 => self.store().edit(Kind::Deployment, NAME, |it| {
                it["spec"]["paused"] = json!(number.is_multiple_of(2));
            }),
            56..60 => {
                let strategy = deployment(&mut self.store().random)["spec"]["strategy"].clone();
                self.store()
                    .edit(Kind::Deployment, NAME, |it| it["spec"]["strategy"] = strategy);
            }
            60..64 => self.store().edit(Kind::Deployment, NAME, |it| {
                merge(
                    &mut it["metadata"]["annotations"],
                    &json!({ "deprecated.deployment.rollback.to": "0" }),
                );
            }),
            64..68 => {
                if let Some(name) = self.pick(Kind::ReplicaSet) {
                    self.store().edit(Kind::ReplicaSet, &name, |it| {
                        let garbage = json!({ "deployment.kubernetes.io/desired-replicas": "many",
                            "deployment.kubernetes.io/max-replicas": "-1" });
                        merge(&mut it["metadata"]["annotations"], &garbage);
                    });
                }
            }
            68..80 => {
                self.excuse();
                if let Some(name) = self.pick(Kind::Pod) {
                    self.store().edit(Kind::Pod, &name, |it| match number {
                        0..3 => it["metadata"]["deletionTimestamp"] = json!(now),
                        3..5 => it["status"]["phase"] = json!("Failed"),
                        5..7 if it["status"]["conditions"].is_array() => {
                            it["status"]["conditions"][0]["status"] = json!("False");
                        }
                        5..7 => {}
                        _ => it["metadata"]["labels"]["app"] = json!("released"),
                    });
                }
            }
            80..84 => {
                // A node is lost.
                self.excuse();
                for name in self.store().names(Kind::Pod) {
                    if self.store().random.bool() {
                        self.store().edit(Kind::Pod, &name, |it| {
                            it["metadata"]["deletionTimestamp"] = json!(now);
                        });
                    }
                }
            }
            84..88 => {
                self.excuse();
                if let Some(name) = self.pick(Kind::ReplicaSet) {
                    // Orphaned: it is adopted again.
                    self.store().edit(Kind::ReplicaSet, &name, |it| {
                        it["metadata"]["ownerReferences"] = json!([]);
                    });
                }
            }
            88..94 => self.store().lives = Some(u32::from(number)),
            _ => {
                let Self { store, process, .. } = self;
                *process = Process::start(store.get_mut().unwrap());
            }
        }
    }

    fn step(&mut self) {
        let pause = self.store().random.i64(0..2);
        self.store().now += SignedDuration::from_secs(pause);
        self.process.deliver(self.store.get_mut().unwrap());
        let now = self.store().now;
        for key in self.process.sets.keys() {
            if self
                .turns
                .get(&key)
                .is_none_or(|turn| now - LONGEST_WAIT >= *turn)
            {
                self.sync_set(&key);
            }
        }
        match self.store().random.u8(..100) {
            0..30 => self.sync_deployment(),
            30..65 => {
                let keys = self.process.sets.keys();
                if let Some(key) = self.store().random.choice(&keys).cloned() {
                    self.sync_set(&key);
                }
            }
            65..92 => {
                if let Some(name) = self.pick(Kind::Pod) {
                    self.follow(&name);
                }
            }
            _ => self.disturb(),
        }
        if self.store().lives == Some(0) {
            self.process = Process::start(self.store.get_mut().unwrap());
        }
    }

    /// Everybody does what is left to do; how many writes of ours that took.
    fn round(&mut self) -> u64 {
        let before = self.our_writes();
        self.store().now += SignedDuration::from_secs(1);
        for name in self.store().names(Kind::Pod) {
            self.follow(&name);
        }
        self.process.deliver(self.store.get_mut().unwrap());
        self.sync_deployment();
        self.process.deliver(self.store.get_mut().unwrap());
        for key in self.process.sets.keys() {
            self.sync_set(&key);
        }
        self.our_writes() - before
    }

    fn our_writes(&mut self) -> u64 {
        self.store().monitor.our_writes.values().sum()
    }

    /// After a quiet time the Deployment is as asked for, and nothing is written any more (INV-11).
    fn settle(&mut self) -> Result<(), String> {
        self.store().quiet = true;
        self.store().lives = None;
        self.store()
            .edit(Kind::Deployment, NAME, |it| it["spec"]["paused"] = json!(false));
        self.store().now += SignedDuration::from_secs(LONGEST_DELAY);
        let quiet = (0..200).scan(0, |still, _| {
            *still = if self.round() == 0 { *still + 1 } else { 0 };
            Some(*still)
        });
        if !quiet.into_iter().any(|still| still > 5) {
            return Err("INV-11: never quiet".to_owned());
        }
        let it = self.store().get(Kind::Deployment, NAME).unwrap();
        let wanted = it["spec"]["replicas"].as_i64().unwrap();
        let count = |name: &str| it["status"][name].as_i64().unwrap_or(0);
        let counts = ["replicas", "updatedReplicas", "availableReplicas"].map(count);
        if counts != [wanted; 3] || it["status"]["observedGeneration"] != it["metadata"]["generation"] {
            return Err(format!("not settled: {it:#}"));
        }
        Ok(())
    }
}

fn deployment(random: &mut fastrand::Rng) -> Value {
    let rolling = |surge: Value, unavailable: Value| json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } });
    let strategies = [
        json!({ "type": "Recreate" }),
        rolling(json!("25%"), json!("25%")),
        rolling(json!(1), json!(0)),
        rolling(json!(0), json!(1)),
        rolling(json!("100%"), json!(2)),
    ];
    json!({
        "metadata": { "annotations": {} },
        "spec": {
            "replicas": random.u8(1..8),
            "strategy": random.choice(&strategies).unwrap(),
            "minReadySeconds": random.choice(&[0, 0, 3]).unwrap(),
            "revisionHistoryLimit": random.u8(1..4),
            "progressDeadlineSeconds": 30,
            "selector": { "matchLabels": { "app": NAME } },
            "template": {
                "metadata": { "labels": { "app": NAME } },
                "spec": { "containers": [{ "name": "c", "image": "web:0" }] },
            },
        },
    })
}

fn history(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    let steps = world.store().random.u16(40..120);
    for _ in 0..steps {
        world.step();
        if !world.store().monitor.violations.is_empty() {
            break;
        }
    }
    let mut wrong = Vec::new();
    if world.store().monitor.violations.is_empty() {
        wrong.extend(world.settle().err());
    }
    let store = world.store();
    wrong.extend(store.monitor.violations.iter().cloned());
    if wrong.is_empty() {
        return Ok(());
    }
    let trail: Vec<&str> = store.monitor.trail.iter().map(String::as_str).collect();
    Err(format!(
        "history {seed}:\n{}\n-- writes:\n{}\n-- users:\n{}",
        wrong.join("\n"),
        trail.join("\n"),
        store.log.join("\n")
    ))
}

fn run_shard(shard: u64) {
    if let Ok(seed) = std::env::var("STEERSMAN_HISTORY") {
        let seed: u64 = seed.parse().unwrap();
        if seed % SHARDS == shard {
            history(seed).unwrap_or_else(|report| panic!("{report}"));
        }
        return;
    }
    let seeds: u64 = std::env::var("STEERSMAN_HISTORIES").map_or(SEEDS, |text| text.parse().unwrap());
    let failed: Vec<(u64, String)> = (0..seeds)
        .filter(|seed| seed % SHARDS == shard)
        .filter_map(|seed| history(seed).err().map(|report| (seed, report)))
        .collect();
    let numbers: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
    assert!(
        failed.is_empty(),
        "{} histories failed: {numbers:?}\n\n{}",
        failed.len(),
        failed[0].1
    );
}

#[test]
fn inv_1_to_inv_15_hold_in_random_histories_shard_0() {
    run_shard(0);
}

#[test]
fn inv_1_to_inv_15_hold_in_random_histories_shard_1() {
    run_shard(1);
}

#[test]
fn inv_1_to_inv_15_hold_in_random_histories_shard_2() {
    run_shard(2);
}

#[test]
fn inv_1_to_inv_15_hold_in_random_histories_shard_3() {
    run_shard(3);
}
