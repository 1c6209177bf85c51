//! Garbage collection by owner references (API-170 to API-174).
//!
//! Metadata of every resource that can be listed, watched and deleted feeds a `Graph`; new resources (custom ones) join
//! within half a minute, and at once when their definition is seen. What the graph makes doubtful is checked on the server
//! by uid before anything is deleted, with uid and resourceVersion as preconditions. All steps may be repeated.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{AbortHandle, BoxStream, FuturesUnordered, SelectAll};
use futures::{FutureExt as _, StreamExt as _};
use k8s_openapi::api::core::v1::Event as EventObject;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, Preconditions, PropagationPolicy};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::backlog::Backlog;
use super::discovery::{Catalogue, Served, discover};
use super::follow::{Followed, follow};
use super::graph::{
    FOREGROUND, Graph, Identity, Known, ORPHAN, OwnerState, Stage, Touched, Uid, Verdict, verdict,
};
use super::{patching, posting};
use crate::clock::Clock;

/// Objects looked at at a time (kube-controller-manager 1.36).
const WORKERS: usize = 20;
/// Time between two looks at the list of resources (kube-controller-manager 1.36).
const DISCOVERY_INTERVAL: Duration = Duration::from_secs(30);
/// After a change of a custom resource definition its resource is soon served.
const DISCOVERY_DELAY: Duration = Duration::from_millis(200);
/// An owner that is not known yet usually is a moment later: its watch is another one.
const PATIENCE: Duration = Duration::from_millis(200);
/// A request that takes longer counts as failed.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// References that the server said lead nowhere; the oldest is forgotten first.
const REMEMBERED: usize = 4096;
/// A resource whose list fails this often does not hold up the others.
const PATIENCE_FAILURES: u32 = 3;
/// Events own nothing and nobody owns them; there are many.
const IGNORED: [&str; 2] = ["events", "events.events.k8s.io"];
const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

type Meta = PartialObjectMeta<DynamicObject>;
type Changes = BoxStream<'static, (String, Followed<Meta>)>;

/// Why an object could not be dealt with; it is tried again.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{verb} {what}")]
    Api {
        verb: &'static str,
        what: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("no resource of the server is of kind {kind} in {api_version}")]
    UnknownKind { api_version: String, kind: String },
    #[error("no answer in time")]
    Deadline,
}

/// Result of looking at one object.
enum Looked {
    Done,
    /// The server does not have it (any more).
    Gone,
}

/// Collects until `stop`.
pub async fn run(client: Client, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let shared = Arc::new(Shared {
        client,
        clock,
        graph: Mutex::new(Graph::default()),
        catalogue: Mutex::new(Arc::default()),
        absent: Mutex::new(Remembered::default()),
        reported: Mutex::new(Remembered::default()),
    });
    let collector = Collector {
        shared,
        monitors: BTreeMap::new(),
        changes: SelectAll::new(),
        backlog: Backlog::new(),
        discover_at: Instant::now(),
        discovered: false,
    };
    collector.run(stop).await;
}

/// The watch of one resource.
struct Monitor {
    served: Arc<Served>,
    abort: AbortHandle,
    /// Objects of a list in progress.
    listed: Option<BTreeSet<Uid>>,
    known: bool,
    failures: u32,
}

struct Collector {
    shared: Arc<Shared>,
    monitors: BTreeMap<String, Monitor>,
    changes: SelectAll<Changes>,
    backlog: Backlog<Uid>,
    discover_at: Instant,
    discovered: bool,
}

impl Collector {
    async fn run(mut self, stop: CancellationToken) {
        let mut looking: FuturesUnordered<BoxFuture<'static, (Uid, Result<Looked, Failure>)>> =
            FuturesUnordered::new();
        let mut discovery: Option<BoxFuture<'static, Result<Catalogue, kube::Error>>> = None;
        loop {
            if discovery.is_none() && self.discover_at <= Instant::now() {
                let client = self.shared.client.clone();
                discovery = Some(async move { discover(&client).await }.boxed());
            }
            while self.is_complete() && looking.len() < WORKERS {
                let Some(uid) = self.backlog.take() else { break };
                match self.look(&uid) {
                    Some(future) => looking.push(future),
                    None => self.backlog.done(&uid),
                }
            }
            // All branches are cancel-safe: what is not taken stays in its stream, set or future.
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some((uid, looked)) = looking.next(), if !looking.is_empty() => self.looked(&uid, looked),
                Some((resource, item)) = self.changes.next(), if !self.changes.is_empty() => self.changed(&resource, item),
                result = pending_or(discovery.as_mut()) => {
                    discovery = None;
                    self.discover_at = later(DISCOVERY_INTERVAL);
                    match result {
                        Ok(catalogue) => self.served(catalogue),
                        Err(error) => {
                            self.discover_at = later(DISCOVERY_DELAY);
                            debug!(error = &error as &dyn std::error::Error, "discovery for garbage collection failed");
                        }
                    }
                }
                () = tokio::time::sleep_until(self.discover_at), if discovery.is_none() => {}
                // Not while nothing may be taken: what is due would end the wait again and again.
                () = self.backlog.due(), if self.is_complete() && looking.len() < WORKERS => {}
            }
        }
    }

    /// Nothing is decided before everything was listed: dependents that were not seen cannot hold up an owner.
    fn is_complete(&self) -> bool {
        let settled = |monitor: &Monitor| monitor.known || monitor.failures >= PATIENCE_FAILURES;
        self.discovered && self.monitors.values().all(settled)
    }

    /// Watches what is new and forgets what is not served any more.
    fn served(&mut self, catalogue: Catalogue) {
        self.discovered = true;
        let failed = |served: &Served| catalogue.failed.contains(&served.api.api_version);
        let collected = |served: &Served| {
            ["list", "watch", "delete"].iter().all(|verb| served.has(verb))
                && !IGNORED.contains(&&*served.name())
        };
        let mut wanted: BTreeMap<String, Arc<Served>> = BTreeMap::new();
        for served in catalogue.preferred.iter().filter(|served| collected(served)) {
            wanted.insert(served.name(), Arc::clone(served));
        }
        let kept = |name: &String, monitor: &Monitor| {
            wanted
                .get(name)
                .is_some_and(|served| served.api == monitor.served.api)
                || (!wanted.contains_key(name) && failed(&monitor.served))
        };
        let gone: Vec<String> = self
            .monitors
            .iter()
            .filter(|(name, monitor)| !kept(name, monitor))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(monitor) = self.monitors.remove(&name) {
                monitor.abort.abort();
            }
            if !wanted.contains_key(&name) {
                info!(resource = name, "resource is not served any more");
                let uids = self.shared.graph().of_resource(&name);
                for uid in uids {
                    self.forget(&uid);
                }
            }
        }
        for (name, served) in wanted {
            if !self.monitors.contains_key(&name) {
                self.watch(name, served);
            }
        }
        *self
            .shared
            .catalogue
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
    }

    fn watch(&mut self, name: String, served: Arc<Served>) {
        let api: Api<Meta> = Api::all_with(self.shared.client.clone(), &served.api);
        let (changes, abort) = futures::stream::abortable(follow(api, watcher::Config::default()));
        let key = name.clone();
        self.changes
            .push(changes.map(move |item| (key.clone(), item)).boxed());
        self.monitors.insert(
            name,
            Monitor {
                served,
                abort,
                listed: None,
                known: false,
                failures: 0,
            },
        );
    }

    fn changed(&mut self, resource: &str, item: Followed<Meta>) {
        let Some(monitor) = self.monitors.get_mut(resource) else {
            return;
        };
        let event = match item {
            Followed::Event(event) => event,
            Followed::Failed => {
                monitor.failures = monitor.failures.saturating_add(1);
                return;
            }
        };
        let served = Arc::clone(&monitor.served);
        match event {
            Event::Init => monitor.listed = Some(BTreeSet::new()),
            Event::InitApply(object) => {
                if let (Some(uid), Some(listed)) = (object.metadata.uid.as_deref(), monitor.listed.as_mut()) {
                    listed.insert(uid.into());
                }
                self.seen(&served, object.metadata);
            }
            Event::InitDone => {
                monitor.known = true;
                let listed = monitor.listed.take().unwrap_or_default();
                let gone: Vec<Uid> = self
                    .shared
                    .graph()
                    .of_resource(resource)
                    .into_iter()
                    .filter(|uid| !listed.contains(uid))
                    .collect();
                for uid in gone {
                    self.forget(&uid);
                }
            }
            Event::Apply(object) => {
                if resource == DEFINITIONS {
                    self.discover_at = self.discover_at.min(later(DISCOVERY_DELAY));
                }
                self.seen(&served, object.metadata);
            }
            Event::Delete(object) => {
                if resource == DEFINITIONS {
                    self.discover_at = self.discover_at.min(later(DISCOVERY_DELAY));
                }
                if let Some(uid) = object.metadata.uid.as_deref() {
                    self.forget(&uid.into());
                }
            }
        }
    }

    fn seen(&mut self, served: &Arc<Served>, mut meta: ObjectMeta) {
        meta.managed_fields = None;
        if let Some(identity) = Identity::of(served, &meta) {
            let touched = self.shared.graph().observe(identity, meta);
            self.touch(touched);
        }
    }

    fn forget(&mut self, uid: &Uid) {
        let touched = self.shared.graph().remove(uid);
        self.touch(touched);
    }

    fn touch(&mut self, touched: Touched) {
        for uid in touched.now {
            self.backlog.add(uid);
        }
        for uid in touched.soon {
            self.backlog.add_after(uid, PATIENCE);
        }
    }

    /// What has to be asked or written for this object; `None`: nothing.
    fn look(&self, uid: &Uid) -> Option<BoxFuture<'static, (Uid, Result<Looked, Failure>)>> {
        let shared = Arc::clone(&self.shared);
        let (identity, stage, doubt, blocked) = {
            let graph = shared.graph();
            (
                graph.identity(uid)?,
                graph.stage(uid)?,
                graph.doubt(uid),
                graph.is_blocked(uid),
            )
        };
        let work: BoxFuture<'static, Result<Looked, Failure>> = match stage {
            Stage::Deleting => return None,
            Stage::Foreground if blocked => return None,
            Stage::Alive if doubt.is_none() => return None,
            Stage::Foreground => Box::pin(async move { shared.release(&identity, FOREGROUND).await }),
            Stage::Orphaning => Box::pin(async move { shared.orphan(&identity).await }),
            Stage::Alive => Box::pin(async move { shared.judge(&identity).await }),
        };
        let uid = Arc::clone(uid);
        Some(Box::pin(async move {
            let result = tokio::time::timeout(REQUEST_DEADLINE, work)
                .await
                .unwrap_or(Err(Failure::Deadline));
            (uid, result)
        }))
    }

    fn looked(&mut self, uid: &Uid, looked: Result<Looked, Failure>) {
        match looked {
            Ok(Looked::Done) => self.backlog.done(uid),
            Ok(Looked::Gone) => {
                self.backlog.done(uid);
                self.forget(uid);
            }
            Err(failure) => {
                debug!(
                    uid = &**uid,
                    error = &failure as &dyn std::error::Error,
                    "garbage collection is tried again"
                );
                if matches!(failure, Failure::UnknownKind { .. }) {
                    self.discover_at = self.discover_at.min(later(DISCOVERY_DELAY));
                }
                self.backlog.failed(uid);
            }
        }
    }
}

/// A bounded memory of things; the oldest is forgotten first.
#[derive(Debug, Default)]
struct Remembered {
    known: BTreeSet<String>,
    order: VecDeque<String>,
}

impl Remembered {
    /// False if it was there before.
    fn insert(&mut self, key: String) -> bool {
        let new = self.known.insert(key.clone());
        if new {
            self.order.push_back(key);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        new
    }
}

/// What the requests need.
struct Shared {
    client: Client,
    clock: Arc<dyn Clock>,
    graph: Mutex<Graph>,
    catalogue: Mutex<Arc<Catalogue>>,
    /// References whose owner the server did not have: a uid never comes back.
    absent: Mutex<Remembered>,
    /// Misplaced references that an Event was written for.
    reported: Mutex<Remembered>,
}

impl Shared {
    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn api(&self, served: &Served, namespace: Option<&str>) -> Api<Meta> {
        match namespace {
            Some(namespace) if served.namespaced => {
                Api::namespaced_with(self.client.clone(), namespace, &served.api)
            }
            _ => Api::all_with(self.client.clone(), &served.api),
        }
    }

    fn api_of(&self, identity: &Identity) -> Api<Meta> {
        self.api(&identity.served, identity.namespace.as_deref())
    }

    /// The object as it is now; `None` if it is gone or another one has its name.
    async fn fresh(&self, identity: &Identity) -> Result<Option<ObjectMeta>, Failure> {
        let found = self
            .api_of(identity)
            .get_opt(&identity.name)
            .await
            .map_err(|error| failed("get", identity, error))?;
        Ok(found
            .map(|object| object.metadata)
            .filter(|meta| meta.uid.as_deref() == Some(&*identity.uid)))
    }

    /// API-170 and API-171: does it still have an owner?
    async fn judge(&self, identity: &Identity) -> Result<Looked, Failure> {
        let Some(meta) = self.fresh(identity).await? else {
            return Ok(Looked::Gone);
        };
        let references = meta.owner_references.clone().unwrap_or_default();
        if meta.deletion_timestamp.is_some() {
            return Ok(Looked::Done);
        }
        let mut owners: Vec<(&str, OwnerState)> = Vec::with_capacity(references.len());
        for reference in &references {
            owners.push((&reference.uid, self.owner_state(identity, reference).await?));
        }
        let (blocked, circular) = {
            let graph = self.graph();
            (
                graph.is_blocked(&identity.uid),
                graph.has_waiting_dependent(&identity.uid),
            )
        };
        match verdict(&meta, &owners, blocked) {
            Verdict::Keep => Ok(Looked::Done),
            Verdict::Drop(uids) => self.drop_references(identity, &meta, &uids).await,
            Verdict::Delete(policy) => {
                let waiting = owners.iter().any(|(_, state)| *state == OwnerState::Waiting);
                if waiting
                    && circular
                    && references
                        .iter()
                        .any(|owner| owner.block_owner_deletion == Some(true))
                {
                    // They own each other: one of them has to stop blocking, or both wait for ever. The deletion follows
                    // when the changed object is looked at.
                    return self.stop_blocking(identity, &meta).await;
                }
                self.delete(identity, &meta, policy).await
            }
        }
    }

    /// API-173 and API-174: does the owner exist, by uid, where it may?
    async fn owner_state(
        &self,
        dependent: &Identity,
        reference: &OwnerReference,
    ) -> Result<OwnerState, Failure> {
        let namespace = dependent.namespace.as_deref();
        let known = self.graph().known(reference, namespace);
        match known {
            Known::Present => return Ok(OwnerState::Present),
            Known::Waiting => return Ok(OwnerState::Waiting),
            Known::Misplaced => {
                self.report_misplaced(dependent, reference).await?;
                return Ok(OwnerState::Absent);
            }
            Known::Unknown => {}
        }
        let place = namespace.unwrap_or_default();
        let OwnerReference {
            api_version,
            kind,
            name,
            uid,
            ..
        } = reference;
        let key = format!("{api_version} {kind} {place} {name} {uid}");
        if self
            .absent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .contains(&key)
        {
            return Ok(OwnerState::Absent);
        }
        let catalogue = Arc::clone(&*self.catalogue.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(served) = catalogue.find(api_version, kind) else {
            return Err(Failure::UnknownKind {
                api_version: api_version.clone(),
                kind: kind.clone(),
            });
        };
        if served.namespaced && namespace.is_none() {
            self.report_misplaced(dependent, reference).await?;
            return Ok(OwnerState::Absent);
        }
        let found = self
            .api(served, namespace)
            .get_opt(name)
            .await
            .map_err(|source| Failure::Api {
                verb: "get",
                what: format!("{} {name}", served.name()),
                source: Box::new(source),
            })?;
        match found.filter(|owner| owner.metadata.uid.as_ref() == Some(uid)) {
            Some(owner) if Stage::of(&owner.metadata) == Stage::Foreground => Ok(OwnerState::Waiting),
            Some(_) => Ok(OwnerState::Present),
            None => {
                self.absent
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(key);
                Ok(OwnerState::Absent)
            }
        }
    }

    async fn delete(
        &self,
        identity: &Identity,
        meta: &ObjectMeta,
        policy: PropagationPolicy,
    ) -> Result<Looked, Failure> {
        let preconditions = Preconditions {
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
        };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            ..DeleteParams::default()
        };
        match self
            .api_of(identity)
            .delete(&identity.name, &params.preconditions(preconditions))
            .await
        {
            Ok(_) => {
                let (resource, namespace) = (identity.served.name(), identity.namespace.as_deref());
                debug!(
                    resource,
                    namespace,
                    name = &*identity.name,
                    "object without owners deleted"
                );
                Ok(Looked::Done)
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Looked::Gone),
            Err(error) => Err(failed("delete", identity, error)),
        }
    }

    /// Changes metadata under the condition that nobody else did since `meta` was read.
    async fn patch(
        &self,
        identity: &Identity,
        meta: &ObjectMeta,
        field: &str,
        value: Value,
    ) -> Result<Looked, Failure> {
        let mut metadata = json!({ "uid": meta.uid, "resourceVersion": meta.resource_version });
        if let Some(fields) = metadata.as_object_mut() {
            fields.insert(field.to_owned(), value);
        }
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        match self
            .api_of(identity)
            .patch(&identity.name, &patching(), &patch)
            .await
        {
            Ok(_) => Ok(Looked::Done),
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Looked::Gone),
            Err(error) => Err(failed("patch", identity, error)),
        }
    }

    async fn drop_references(
        &self,
        identity: &Identity,
        meta: &ObjectMeta,
        uids: &[String],
    ) -> Result<Looked, Failure> {
        let references = meta.owner_references.iter().flatten();
        let rest: Vec<&OwnerReference> = references.filter(|owner| !uids.contains(&owner.uid)).collect();
        let value = if rest.is_empty() { Value::Null } else { json!(rest) };
        self.patch(identity, meta, "ownerReferences", value).await
    }

    async fn stop_blocking(&self, identity: &Identity, meta: &ObjectMeta) -> Result<Looked, Failure> {
        let mut references = meta.owner_references.clone().unwrap_or_default();
        for reference in &mut references {
            reference.block_owner_deletion = Some(false);
        }
        self.patch(identity, meta, "ownerReferences", json!(references))
            .await
    }

    /// API-172: the dependents let go of their owner, then the owner goes.
    async fn orphan(&self, owner: &Identity) -> Result<Looked, Failure> {
        let dependents = self.graph().dependents(&owner.uid);
        for dependent in dependents {
            if let Some(meta) = self.fresh(&dependent).await? {
                let refers = |reference: &OwnerReference| *reference.uid == *owner.uid;
                if meta.owner_references.iter().flatten().any(refers) {
                    self.drop_references(&dependent, &meta, &[owner.uid.to_string()])
                        .await?;
                }
            }
        }
        self.release(owner, ORPHAN).await
    }

    /// Takes a finalizer away.
    async fn release(&self, owner: &Identity, finalizer: &str) -> Result<Looked, Failure> {
        let Some(meta) = self.fresh(owner).await? else {
            return Ok(Looked::Gone);
        };
        let finalizers: Vec<&String> = meta.finalizers.iter().flatten().collect();
        if !finalizers.iter().any(|known| *known == finalizer) {
            return Ok(Looked::Done);
        }
        let rest: Vec<&String> = finalizers
            .into_iter()
            .filter(|known| *known != finalizer)
            .collect();
        let value = if rest.is_empty() { Value::Null } else { json!(rest) };
        self.patch(owner, &meta, "finalizers", value).await
    }

    /// The Event of API-173, once per reference.
    async fn report_misplaced(
        &self,
        dependent: &Identity,
        reference: &OwnerReference,
    ) -> Result<(), Failure> {
        let key = format!("{} {}", dependent.uid, reference.uid);
        if !self
            .reported
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key)
        {
            return Ok(());
        }
        let namespace = dependent.namespace.as_deref();
        let OwnerReference {
            api_version,
            kind,
            name,
            uid,
            ..
        } = reference;
        let message = format!(
            "ownerRef [{api_version}/{kind}, namespace: {}, name: {name}, uid: {uid}] does not exist in namespace \"{}\"",
            namespace.unwrap_or_default(),
            namespace.unwrap_or_default(),
        );
        let at = crate::nodes::seconds(self.clock.now());
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "generateName": format!("{}.", dependent.name) },
            "involvedObject": {
                "apiVersion": dependent.served.api.api_version,
                "kind": dependent.served.api.kind,
                "name": &*dependent.name,
                "namespace": namespace,
                "uid": &*dependent.uid,
            },
            "reason": "OwnerRefInvalidNamespace",
            "message": message,
            "type": "Warning",
            "count": 1,
            "firstTimestamp": at,
            "lastTimestamp": at,
            "source": { "component": "garbage-collector-controller" },
            "reportingComponent": "garbage-collector-controller",
        });
        let event: EventObject = serde_json::from_value(event)
            .map_err(|error| failed("encode event for", dependent, kube::Error::SerdeError(error)))?;
        let api: Api<EventObject> = Api::namespaced(self.client.clone(), namespace.unwrap_or("default"));
        match api.create(&posting(), &event).await {
            Ok(_) => Ok(()),
            // An Event that is refused for good (a namespace that ends) does not hold up the collection.
            Err(kube::Error::Api(status)) if status.code < 429 => Ok(()),
            Err(error) => Err(failed("write event for", dependent, error)),
        }
    }
}

fn failed(verb: &'static str, identity: &Identity, source: kube::Error) -> Failure {
    let namespace = identity.namespace.as_deref().unwrap_or_default();
    let what = format!("{} {namespace}/{}", identity.served.name(), identity.name);
    Failure::Api {
        verb,
        what,
        source: Box::new(source),
    }
}

fn later(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now)
}

/// The result of the future, if there is one; else never.
async fn pending_or<T>(future: Option<&mut BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
