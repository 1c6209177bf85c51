//! Builders and doubles for tests of this and other crates. Each builder starts from a valid default object and changes
//! one thing per method (STY-61).

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    Container, ContainerStatus, NodeCondition, NodeSpec, NodeStatus, PodCondition, PodSpec, PodStatus,
    ResourceRequirements, Taint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::Status;
use kube::runtime::watcher::Event;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::{self, Clock};
use crate::context::{Context, Mode};
use crate::guard::Licence;
use crate::informer::{Decoded, Informer, Informers, Listing, Watched};
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::objects::{
    Deployment, DeploymentSpec, Node, Pod, ReplicaSet, ReplicaSetSpec, RollingUpdate, Strategy,
};
use crate::opt_out::OptOuts;
use crate::ownership::{self, FreshOwner};
use crate::ready::Readiness;
use crate::recorder::Recorders;
use crate::shadow::Shadows;
use crate::wire;

pub mod vectors;

/// Where the clocks of tests start: 2026-01-02T03:04:05Z.
pub const T0: Timestamp = Timestamp::constant(1_767_323_045, 0);
/// Namespace of built objects.
pub const NAMESPACE: &str = "default";

/// `T0` plus seconds.
#[must_use]
pub fn t(seconds: u64) -> Timestamp {
    clock::after(T0, Duration::from_secs(seconds))
}

/// A clock that follows tokio's time, so that paused tests advance it; it can be set off by a skew.
#[derive(Debug)]
pub struct SimClock {
    start: Timestamp,
    started: Instant,
    skew: Mutex<SignedDuration>,
}

impl SimClock {
    /// A clock that shows `start` now.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self {
            start,
            started: Instant::now(),
            skew: Mutex::default(),
        }
    }

    /// Sets the clock off from tokio's time, forwards or backwards.
    pub fn set_skew(&self, skew: SignedDuration) {
        *self.skew.lock().unwrap_or_else(PoisonError::into_inner) = skew;
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let skew = *self.skew.lock().unwrap_or_else(PoisonError::into_inner);
        clock::after(self.start, self.started.elapsed())
            .saturating_add(skew)
            .unwrap_or(self.start)
    }
}

/// A context for tests: simulated clock, leadership without a lease, events discarded.
#[must_use]
pub fn context(client: kube::Client) -> Context {
    let mut registry = Registry::default();
    let shared_metrics = Metrics::register(&mut registry);
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(T0));
    Context {
        informers: Informers::new(client.clone(), &shared_metrics, &Readiness::default()),
        client,
        recorder: Recorders::discard(Arc::clone(&clock), &shared_metrics),
        clock,
        stop: CancellationToken::new(),
        leadership: Leadership::always(),
        metrics: Arc::new(Mutex::new(registry)),
        shared_metrics,
        mode: Mode::Active,
        licence: Licence::unguarded(),
        opt_outs: OptOuts::default(),
        shadows: Shadows::default(),
        instance: "test".to_owned(),
    }
}

/// A client whose server never answers, for tests in which nobody should ask it.
#[must_use]
pub fn silent_client() -> kube::Client {
    client_fn(|_| std::future::pending())
}

/// A request as a scripted server sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// HTTP method.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query, empty if there is none.
    pub query: String,
    /// `Content-Type`, empty if there is none.
    pub content_type: String,
    /// The body; null if it is empty or no JSON.
    pub body: Value,
}

/// A client whose server answers with status and body as the function decides.
#[must_use]
pub fn client_fn<F, A>(answer: F) -> kube::Client
where
    F: Fn(Asked) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = (u16, String)> + Send + 'static,
{
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let answer = answer.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let content_type = head
                .headers
                .get(http::header::CONTENT_TYPE)
                .and_then(|text| text.to_str().ok());
            let asked = Asked {
                method: head.method.to_string(),
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                content_type: content_type.unwrap_or_default().to_owned(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
            };
            let (status, text) = answer(asked).await;
            let response = http::Response::builder()
                .status(status)
                .body(kube::client::Body::from(text.into_bytes()));
            response.map_err(tower::BoxError::from)
        }
    });
    kube::Client::new(service, NAMESPACE)
}

/// A server that logs what it is asked and answers by script.
#[derive(Clone)]
pub struct ScriptedServer {
    /// Talks to this server.
    pub client: kube::Client,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl ScriptedServer {
    /// A server whose answers, code and body, the function decides.
    #[must_use]
    pub fn new(answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        let client = client_fn(move |request| {
            let (code, body) = answer(&request);
            log.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            std::future::ready((code, body.to_string()))
        });
        Self { client, asked }
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Method and path of what it was asked so far.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let line = |it: Asked| format!("{} {}", it.method, it.path);
        self.asked().into_iter().map(line).collect()
    }
}

impl std::fmt::Debug for ScriptedServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptedServer")
            .field("asked", &self.asked())
            .finish_non_exhaustive()
    }
}

/// The body of an answer that refuses a request.
#[must_use]
pub fn refusal(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (code, body)
}

/// The error that a client makes of an answer with this code, reason and message.
#[must_use]
pub fn refused(code: u16, reason: &str, message: &str) -> kube::Error {
    kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
}

/// The owner as a live read finds it, and how often it was read.
#[derive(Debug, Default)]
pub struct StoredOwner {
    /// `None`: it is gone.
    pub stored: Option<ObjectMeta>,
    /// Reads so far.
    pub reads: AtomicU32,
}

impl StoredOwner {
    /// The object is stored like this.
    #[must_use]
    pub fn of(object: &impl kube::Resource) -> Self {
        Self {
            stored: Some(object.meta().clone()),
            reads: AtomicU32::new(0),
        }
    }

    /// Reads so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.reads.load(Ordering::Relaxed)
    }
}

impl FreshOwner for StoredOwner {
    async fn fresh_owner(&self) -> Result<Option<ObjectMeta>, kube::Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.stored.clone())
    }
}

/// Plays the watch of a detached informer ([`Informers::detached`]): each call takes effect before it returns.
#[derive(Debug)]
pub struct Feed<K> {
    informer: Arc<Informer<K>>,
}

impl<K: Watched> Feed<K> {
    /// The watch of that informer.
    #[must_use]
    pub fn new(informer: Arc<Informer<K>>) -> Self {
        Self { informer }
    }

    /// A complete list: everything else is gone.
    pub fn list(&self, objects: impl IntoIterator<Item = K>) {
        let mut listing = Listing::default();
        self.informer.take_in(&mut listing, Event::Init);
        for object in objects {
            self.informer
                .take_in(&mut listing, Event::InitApply(Decoded::Whole(object)));
        }
        self.informer.take_in(&mut listing, Event::InitDone);
    }

    /// An object was created or changed.
    pub fn apply(&self, object: K) {
        self.informer
            .take_in(&mut Listing::default(), Event::Apply(Decoded::Whole(object)));
    }

    /// An object is gone.
    pub fn delete(&self, object: K) {
        self.informer
            .take_in(&mut Listing::default(), Event::Delete(Decoded::Whole(object)));
    }

    /// An object was created or changed, in the form the API server sends it; it need not decode.
    ///
    /// # Errors
    /// The text is no JSON.
    pub fn apply_json(&self, object: &str) -> Result<(), serde_json::Error> {
        let decoded = serde_json::from_str(object)?;
        self.informer
            .take_in(&mut Listing::default(), Event::Apply(decoded));
        Ok(())
    }
}

fn metadata(name: &str, kind: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(NAMESPACE.to_owned()),
        uid: Some(format!("{kind}-{name}")),
        resource_version: Some("1".to_owned()),
        generation: Some(1),
        creation_timestamp: Some(Time(T0)),
        ..ObjectMeta::default()
    }
}

macro_rules! metadata_methods {
    () => {
        /// Another namespace than [`NAMESPACE`].
        #[must_use]
        pub fn namespace(mut self, namespace: &str) -> Self {
            self.object.metadata.namespace = Some(namespace.to_owned());
            self
        }

        /// Another uid than `<kind>-<name>`.
        #[must_use]
        pub fn uid(mut self, uid: &str) -> Self {
            self.object.metadata.uid = Some(uid.to_owned());
            self
        }

        /// `metadata.resourceVersion`; 1 by default.
        #[must_use]
        pub fn version(mut self, version: u64) -> Self {
            self.object.metadata.resource_version = Some(version.to_string());
            self
        }

        /// `metadata.generation`; 1 by default.
        #[must_use]
        pub fn generation(mut self, generation: i64) -> Self {
            self.object.metadata.generation = Some(generation);
            self
        }

        /// Adds a label.
        #[must_use]
        pub fn label(mut self, key: &str, value: &str) -> Self {
            self.object
                .metadata
                .labels
                .get_or_insert_default()
                .insert(key.to_owned(), value.to_owned());
            self
        }

        /// Adds an annotation.
        #[must_use]
        pub fn annotation(mut self, key: &str, value: &str) -> Self {
            self.object
                .metadata
                .annotations
                .get_or_insert_default()
                .insert(key.to_owned(), value.to_owned());
            self
        }

        /// Created so many seconds after [`T0`].
        #[must_use]
        pub fn created(mut self, seconds: u64) -> Self {
            self.object.metadata.creation_timestamp = Some(Time(t(seconds)));
            self
        }

        /// Being deleted since [`T0`].
        #[must_use]
        pub fn deleting(mut self) -> Self {
            self.object.metadata.deletion_timestamp = Some(Time(T0));
            self
        }

        /// Controlled by that object.
        #[must_use]
        pub fn owned_by<K: kube::Resource<DynamicType = ()>>(self, owner: &K) -> Self {
            self.owner(ownership::reference_to(owner))
        }

        /// Adds an owner reference.
        #[must_use]
        pub fn owner(mut self, reference: OwnerReference) -> Self {
            self.object
                .metadata
                .owner_references
                .get_or_insert_default()
                .push(reference);
            self
        }
    };
}

/// Builds a [`Pod`]; see [`pod`].
#[derive(Clone, Debug)]
pub struct PodBuilder {
    object: Pod,
}

/// A pending pod with one container and label `app: web`, not bound to a node.
#[must_use]
pub fn pod(name: &str) -> PodBuilder {
    let container = Container {
        name: "main".to_owned(),
        image: Some("web:1".to_owned()),
        ..Container::default()
    };
    let spec = PodSpec {
        containers: vec![container],
        ..PodSpec::default()
    };
    let status = PodStatus {
        phase: Some(wire::PHASE_PENDING.to_owned()),
        ..PodStatus::default()
    };
    let object = Pod {
        metadata: metadata(name, "pod"),
        spec: Some(spec),
        status: Some(status),
    };
    PodBuilder { object }.label("app", "web")
}

impl PodBuilder {
    metadata_methods!();

    fn spec(&mut self) -> &mut PodSpec {
        self.object.spec.get_or_insert_default()
    }

    fn status(&mut self) -> &mut PodStatus {
        self.object.status.get_or_insert_default()
    }

    /// Bound to that node.
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        self.spec().node_name = Some(node.to_owned());
        self
    }

    /// In that phase.
    #[must_use]
    pub fn phase(mut self, phase: &str) -> Self {
        self.status().phase = Some(phase.to_owned());
        self
    }

    /// Running, and ready since [`T0`].
    #[must_use]
    pub fn ready(self) -> Self {
        self.ready_at(T0)
    }

    /// Running, and ready since that moment.
    #[must_use]
    pub fn ready_at(self, since: Timestamp) -> Self {
        self.phase(wire::PHASE_RUNNING)
            .condition(wire::POD_READY, wire::TRUE, since)
    }

    /// With that condition.
    #[must_use]
    pub fn condition(mut self, type_: &str, status: &str, since: Timestamp) -> Self {
        let condition = PodCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            last_transition_time: Some(Time(since)),
            ..PodCondition::default()
        };
        crate::conditions::replace(self.status().conditions.get_or_insert_default(), condition);
        self
    }

    /// With a container that restarted so often.
    #[must_use]
    pub fn restarts(mut self, count: i32) -> Self {
        let status = ContainerStatus {
            name: "main".to_owned(),
            restart_count: count,
            ..ContainerStatus::default()
        };
        self.status().container_statuses = Some(vec![status]);
        self
    }

    /// Its container requests that much.
    #[must_use]
    pub fn requests(mut self, resource: &str, quantity: &str) -> Self {
        if let Some(container) = self.spec().containers.first_mut() {
            let resources: &mut ResourceRequirements = container.resources.get_or_insert_default();
            let requests = resources.requests.get_or_insert_default();
            requests.insert(resource.to_owned(), Quantity(quantity.to_owned()));
        }
        self
    }

    /// To be bound by that scheduler.
    #[must_use]
    pub fn scheduler(mut self, name: &str) -> Self {
        self.spec().scheduler_name = Some(name.to_owned());
        self
    }

    /// Any other change.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Pod)) -> Self {
        change(&mut self.object);
        self
    }

    /// The pod.
    #[must_use]
    pub fn build(self) -> Pod {
        self.object
    }
}

/// Builds a [`ReplicaSet`]; see [`replica_set`].
#[derive(Clone, Debug)]
pub struct ReplicaSetBuilder {
    object: ReplicaSet,
}

/// A pod template with label `app: web` and one container of that image.
#[must_use]
pub fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "main", "image": image }] },
    })
}

fn selects_web() -> LabelSelector {
    LabelSelector {
        match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
        ..LabelSelector::default()
    }
}

/// A ReplicaSet of one pod, selecting `app: web`, with status still empty.
#[must_use]
pub fn replica_set(name: &str) -> ReplicaSetBuilder {
    let spec = ReplicaSetSpec {
        replicas: Some(1),
        selector: selects_web(),
        template: Arc::new(template("web:1")),
        ..ReplicaSetSpec::default()
    };
    let object = ReplicaSet {
        metadata: metadata(name, "rs"),
        spec,
        ..ReplicaSet::default()
    };
    ReplicaSetBuilder { object }
}

impl ReplicaSetBuilder {
    metadata_methods!();

    /// `spec.replicas`.
    #[must_use]
    pub fn replicas(mut self, replicas: i32) -> Self {
        self.object.spec.replicas = Some(replicas);
        self
    }

    /// `spec.minReadySeconds`.
    #[must_use]
    pub fn min_ready(mut self, seconds: i32) -> Self {
        self.object.spec.min_ready_seconds = Some(seconds);
        self
    }

    /// `spec.selector`.
    #[must_use]
    pub fn selector(mut self, selector: LabelSelector) -> Self {
        self.object.spec.selector = selector;
        self
    }

    /// `spec.template`.
    #[must_use]
    pub fn template(mut self, template: Value) -> Self {
        self.object.spec.template = Arc::new(template);
        self
    }

    /// Any other change.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut ReplicaSet)) -> Self {
        change(&mut self.object);
        self
    }

    /// The ReplicaSet.
    #[must_use]
    pub fn build(self) -> ReplicaSet {
        self.object
    }
}

/// Builds a [`Deployment`]; see [`deployment`].
#[derive(Clone, Debug)]
pub struct DeploymentBuilder {
    object: Deployment,
}

/// A Deployment of one pod with the API server's defaults, selecting `app: web`.
#[must_use]
pub fn deployment(name: &str) -> DeploymentBuilder {
    let quarter = || Some(IntOrString::String("25%".to_owned()));
    let rolling_update = RollingUpdate {
        max_surge: quarter(),
        max_unavailable: quarter(),
    };
    let spec = DeploymentSpec {
        replicas: Some(1),
        selector: selects_web(),
        template: Arc::new(template("web:1")),
        strategy: Strategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(rolling_update),
        },
        revision_history_limit: Some(10),
        progress_deadline_seconds: Some(600),
        ..DeploymentSpec::default()
    };
    let object = Deployment {
        metadata: metadata(name, "deploy"),
        spec,
        ..Deployment::default()
    };
    DeploymentBuilder { object }
}

impl DeploymentBuilder {
    metadata_methods!();

    /// `spec.replicas`.
    #[must_use]
    pub fn replicas(mut self, replicas: i32) -> Self {
        self.object.spec.replicas = Some(replicas);
        self
    }

    /// `spec.template` with that image.
    #[must_use]
    pub fn image(mut self, image: &str) -> Self {
        self.object.spec.template = Arc::new(template(image));
        self
    }

    /// `spec.template`.
    #[must_use]
    pub fn template(mut self, template: Value) -> Self {
        self.object.spec.template = Arc::new(template);
        self
    }

    /// `maxSurge` and `maxUnavailable`.
    #[must_use]
    pub fn rolling(mut self, max_surge: IntOrString, max_unavailable: IntOrString) -> Self {
        let limits = RollingUpdate {
            max_surge: Some(max_surge),
            max_unavailable: Some(max_unavailable),
        };
        self.object.spec.strategy.rolling_update = Some(limits);
        self
    }

    /// Strategy `Recreate`.
    #[must_use]
    pub fn recreate(mut self) -> Self {
        self.object.spec.strategy = Strategy {
            type_: Some("Recreate".to_owned()),
            rolling_update: None,
        };
        self
    }

    /// `spec.paused`.
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.object.spec.paused = Some(true);
        self
    }

    /// Any other change.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Deployment)) -> Self {
        change(&mut self.object);
        self
    }

    /// The Deployment.
    #[must_use]
    pub fn build(self) -> Deployment {
        self.object
    }
}

/// Builds a [`Node`]; see [`node`].
#[derive(Clone, Debug)]
pub struct NodeBuilder {
    object: Node,
}

/// A ready node with 4 CPU, 8Gi and 110 pods, and its host name label.
#[must_use]
pub fn node(name: &str) -> NodeBuilder {
    let ready = NodeCondition {
        type_: wire::POD_READY.to_owned(),
        status: wire::TRUE.to_owned(),
        last_transition_time: Some(Time(T0)),
        ..NodeCondition::default()
    };
    let status = NodeStatus {
        conditions: Some(vec![ready]),
        ..NodeStatus::default()
    };
    let metadata = ObjectMeta {
        namespace: None,
        ..metadata(name, "node")
    };
    let object = Node {
        metadata,
        spec: Some(NodeSpec::default()),
        status: Some(status),
    };
    NodeBuilder { object }
        .label("kubernetes.io/hostname", name)
        .allocatable("cpu", "4")
        .allocatable("memory", "8Gi")
        .allocatable("pods", "110")
}

impl NodeBuilder {
    metadata_methods!();

    /// That much of a resource, as capacity and allocatable.
    #[must_use]
    pub fn allocatable(mut self, resource: &str, quantity: &str) -> Self {
        let status = self.object.status.get_or_insert_default();
        for amounts in [&mut status.capacity, &mut status.allocatable] {
            amounts
                .get_or_insert_default()
                .insert(resource.to_owned(), Quantity(quantity.to_owned()));
        }
        self
    }

    /// In that zone.
    #[must_use]
    pub fn zone(self, zone: &str) -> Self {
        self.label("topology.kubernetes.io/zone", zone)
    }

    /// With that taint.
    #[must_use]
    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> Self {
        let taint = Taint {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            effect: effect.to_owned(),
            time_added: None,
        };
        self.object
            .spec
            .get_or_insert_default()
            .taints
            .get_or_insert_default()
            .push(taint);
        self
    }

    /// `spec.unschedulable`.
    #[must_use]
    pub fn unschedulable(mut self) -> Self {
        self.object.spec.get_or_insert_default().unschedulable = Some(true);
        self
    }

    /// Condition `Ready` is not `True`.
    #[must_use]
    pub fn not_ready(mut self) -> Self {
        for condition in self
            .object
            .status
            .get_or_insert_default()
            .conditions
            .iter_mut()
            .flatten()
        {
            wire::FALSE.clone_into(&mut condition.status);
        }
        self
    }

    /// Any other change.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Node)) -> Self {
        change(&mut self.object);
        self
    }

    /// The node.
    #[must_use]
    pub fn build(self) -> Node {
        self.object
    }
}
