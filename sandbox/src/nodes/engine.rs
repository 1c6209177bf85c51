//! The loop behind a simulation: changes and timers become jobs, a job looks at the present moment and sends what is due.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::address::Pool;
use super::behaviour::SIMULATED;
use super::connector::{Accepted, Connector, Exposed};
use super::node::{Presence, SimulatedNode};
use super::pod::{Delays, PodRun, after, until};
use super::view::{NodeView, PodView};
use super::{Config, Error};
use crate::clock::Clock;
use crate::housekeeping::follow::{Followed, follow, version_of};

/// A request that takes longer counts as failed.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// Pauses after failed requests.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long requests under way may take when the simulation ends.
const DRAIN: Duration = Duration::from_secs(2);
const LEASES: &str = "kube-node-lease";

type Uid = Arc<str>;

/// Something to look at. Jobs of the same key never run at the same time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    Lease(usize),
    Node(usize),
    Pod(Uid),
}

/// Jobs that wait, in order of arrival; those of nodes go first, so that heartbeats do not wait behind thousands of pods.
#[derive(Debug, Default)]
struct Jobs {
    urgent: VecDeque<Job>,
    usual: VecDeque<Job>,
    waiting: BTreeSet<Job>,
    running: BTreeSet<Job>,
}

impl Jobs {
    fn add(&mut self, job: Job) {
        if self.waiting.insert(job.clone()) && !self.running.contains(&job) {
            self.queue(job);
        }
    }

    fn queue(&mut self, job: Job) {
        match job {
            Job::Pod(_) => self.usual.push_back(job),
            Job::Lease(_) | Job::Node(_) => self.urgent.push_back(job),
        }
    }

    fn next(&mut self) -> Option<Job> {
        let job = self.urgent.pop_front().or_else(|| self.usual.pop_front())?;
        self.waiting.remove(&job);
        Some(job)
    }

    /// The request of `job` came back; what arrived meanwhile is looked at now.
    fn finished(&mut self, job: &Job) {
        self.running.remove(job);
        if self.waiting.contains(job) {
            self.queue(job.clone());
        }
    }
}

/// What came back from a request.
#[derive(Debug)]
enum Reply {
    Node(Box<NodeView>),
    /// A node's status was written.
    NodeStatus(Box<NodeView>),
    Leased,
    /// A pod's status was written: digest of the content, version of the object.
    Reported(u64, u64),
    Removed,
}

type Reached = Result<Reply, kube::Error>;
/// `None`: the deadline passed.
type Request = BoxFuture<'static, (Job, Option<Reached>)>;

/// See the module.
pub(crate) struct Engine {
    client: Client,
    config: Config,
    clock: Arc<dyn Clock>,
    connector: Connector,
    delays: Delays,
    nodes: Vec<SimulatedNode>,
    by_name: BTreeMap<Arc<str>, usize>,
    pods: BTreeMap<Uid, PodRun>,
    exposed: BTreeMap<Uid, Exposed>,
    jobs: Jobs,
    timers: BinaryHeap<Reverse<(Timestamp, Job)>>,
    armed: BTreeMap<Job, Timestamp>,
    /// Nodes that existed before a list in progress and were not in it so far.
    missing_nodes: BTreeSet<usize>,
    /// Pods of a list in progress.
    listed_pods: Option<BTreeSet<Uid>>,
    nodes_known: bool,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("nodes", &self.nodes.len())
            .field("pods", &self.pods.len())
            .finish_non_exhaustive()
    }
}

impl Engine {
    pub(crate) fn new(
        client: Client,
        config: Config,
        clock: Arc<dyn Clock>,
        connector: Connector,
    ) -> Result<Self, Error> {
        let now = clock.now();
        let delays = Delays {
            start: config.start_delay,
            init: config.init_delay,
            ready: config.ready_delay,
            stop_percent: config.stop_percent,
        };
        let mut nodes: Vec<SimulatedNode> = Vec::with_capacity(config.count);
        let mut by_name = BTreeMap::new();
        let own = (1..=config.count).map(|number| (format!("{}{number}", config.prefix), false));
        let own_names: BTreeSet<String> = own.clone().map(|(name, _)| name).collect();
        let others = config.adopted.iter().filter(|name| !own_names.contains(*name));
        let names = own.chain(others.map(|name| (name.clone(), true)));
        for ((position, (name, adopted)), index) in names.enumerate().zip(0u64..) {
            let name: Arc<str> = name.into();
            let zone = format!(
                "zone-{}",
                position.checked_rem(config.zones).unwrap_or(0).saturating_add(1)
            );
            let pool = Pool::new(config.pod_network.part(config.pod_prefix, index)?);
            let full = || Error::TooFewAddresses {
                network: config.node_network,
                index,
            };
            let address = config
                .node_network
                .address(index.saturating_add(2))
                .ok_or_else(full)?;
            by_name.insert(Arc::clone(&name), position);
            let mut node = SimulatedNode::new(name, zone, address, pool, now);
            node.adopted = adopted;
            nodes.push(node);
        }
        Ok(Self {
            client,
            config,
            clock,
            connector,
            delays,
            nodes,
            by_name,
            pods: BTreeMap::new(),
            exposed: BTreeMap::new(),
            jobs: Jobs::default(),
            timers: BinaryHeap::new(),
            armed: BTreeMap::new(),
            missing_nodes: BTreeSet::new(),
            listed_pods: None,
            nodes_known: false,
        })
    }

    pub(crate) async fn run(mut self, mut connections: mpsc::Receiver<Accepted>, stop: CancellationToken) {
        let ours = watcher::Config::default().labels(&format!("{SIMULATED}=true"));
        let bound = watcher::Config::default().fields("spec.nodeName!=");
        let mut nodes = follow(Api::<NodeView>::all(self.client.clone()), ours);
        let mut pods = follow(Api::<PodView>::all(self.client.clone()), bound);
        let mut requests: FuturesUnordered<Request> = FuturesUnordered::new();
        let mut serving: JoinSet<()> = JoinSet::new();
        loop {
            self.fire();
            while requests.len() < self.config.concurrency.max(1) {
                let Some(job) = self.jobs.next() else { break };
                if let Some(request) = self.start(&job) {
                    self.jobs.running.insert(job);
                    requests.push(request);
                }
            }
            let pause = self
                .timers
                .peek()
                .map(|Reverse((at, _))| until(self.clock.now(), *at));
            // All branches are cancel-safe: streams, channels and sets keep what they have when not polled to the end.
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some((job, reached)) = requests.next(), if !requests.is_empty() => self.finish(&job, reached),
                Some(event) = nodes.next() => if let Followed::Event(event) = event { self.node_event(event); },
                Some(event) = pods.next() => if let Followed::Event(event) = event { self.pod_event(event); },
                Some(accepted) = connections.recv() => { serving.spawn(accepted.serve()); },
                Some(_) = serving.join_next(), if !serving.is_empty() => {}
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
        let drained = tokio::time::timeout(DRAIN, async { while requests.next().await.is_some() {} }).await;
        if drained.is_err() {
            debug!("requests of simulated nodes were cut at the end of the simulation");
        }
    }

    /// Queues the jobs whose time has come.
    fn fire(&mut self) {
        let now = self.clock.now();
        while let Some(Reverse((at, _))) = self.timers.peek() {
            if *at > now {
                break;
            }
            if let Some(Reverse((at, job))) = self.timers.pop()
                && self.armed.get(&job) == Some(&at)
            {
                self.armed.remove(&job);
                self.jobs.add(job);
            }
        }
    }

    /// Looks at `job` again at `at`, or earlier if that was asked for before.
    fn arm(&mut self, at: Timestamp, job: Job) {
        if self.armed.get(&job).is_some_and(|known| *known <= at) {
            return;
        }
        self.armed.insert(job.clone(), at);
        self.timers.push(Reverse((at, job)));
    }

    fn node_event(&mut self, event: Event<NodeView>) {
        match event {
            Event::Init => {
                // A node that is created while the list is under way need not be in it.
                let nodes = self.nodes.iter().enumerate();
                let registered = nodes.filter(|(_, node)| node.presence == Presence::Registered);
                self.missing_nodes = registered.map(|(index, _)| index).collect();
            }
            Event::InitApply(view) => {
                if let Some(index) = self.index_of(&view) {
                    self.missing_nodes.remove(&index);
                }
                self.node_seen(&view);
            }
            Event::InitDone => {
                for index in std::mem::take(&mut self.missing_nodes) {
                    self.node_missing(index);
                }
                if !self.nodes_known {
                    self.nodes_known = true;
                    self.first_heartbeats();
                }
            }
            Event::Apply(view) => self.node_seen(&view),
            Event::Delete(view) => {
                let index = self.index_of(&view);
                let uid = view.metadata.uid.unwrap_or_default();
                if let Some(index) =
                    index.filter(|index| self.nodes.get(*index).is_some_and(|node| node.uid == uid))
                {
                    self.node_missing(index);
                }
            }
        }
    }

    /// Spreads the heartbeats of all nodes evenly over their interval, so that they never come as a burst.
    fn first_heartbeats(&mut self) {
        let now = self.clock.now();
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX).max(1);
        for (index, turn) in (0..self.nodes.len()).zip(0u32..) {
            self.jobs.add(Job::Node(index));
            let share = self.config.lease_interval.saturating_mul(turn) / count;
            self.arm(after(now, share), Job::Lease(index));
        }
    }

    fn index_of(&self, view: &NodeView) -> Option<usize> {
        self.by_name.get(view.metadata.name.as_deref()?).copied()
    }

    fn node_seen(&mut self, view: &NodeView) {
        let Some(index) = self.index_of(view) else { return };
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        if node.presence == Presence::Deleted {
            return;
        }
        let was_up = node.is_up();
        let network = node.pool.network();
        node.observe(view);
        let (is_up, moved) = (node.is_up(), node.pool.network() != network);
        if self.nodes_known {
            self.jobs.add(Job::Node(index));
        }
        if is_up != was_up || moved {
            self.jobs.add(Job::Lease(index));
            self.node_pods(index);
        }
    }

    /// Looks at all pods of a node that came, went silent, or spoke again.
    fn node_pods(&mut self, index: usize) {
        let up = self.nodes.get(index).is_some_and(SimulatedNode::is_up);
        let uids: Vec<Uid> = self
            .pods
            .values()
            .filter(|pod| pod.node == index)
            .map(|pod| Arc::clone(&pod.uid))
            .collect();
        for uid in uids {
            if !up {
                self.exposed.remove(&uid);
            }
            self.jobs.add(Job::Pod(uid));
        }
    }

    /// A node that existed does not any more. One that was never created is none of that.
    fn node_missing(&mut self, index: usize) {
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        if node.presence != Presence::Registered {
            return;
        }
        node.presence = Presence::Deleted;
        info!(node = %node.name, "simulated node was deleted, it stays gone");
        let uids: Vec<Uid> = self
            .pods
            .values()
            .filter(|pod| pod.node == index)
            .map(|pod| Arc::clone(&pod.uid))
            .collect();
        for uid in uids {
            self.forget(&uid);
        }
    }

    fn pod_event(&mut self, event: Event<PodView>) {
        match event {
            Event::Init => self.listed_pods = Some(BTreeSet::new()),
            Event::InitApply(view) => {
                if let (Some(uid), Some(listed)) = (view.metadata.uid.as_deref(), self.listed_pods.as_mut()) {
                    listed.insert(Arc::from(uid));
                }
                self.pod_seen(&view);
            }
            Event::InitDone => {
                let listed = self.listed_pods.take().unwrap_or_default();
                let gone: Vec<Uid> = self
                    .pods
                    .keys()
                    .filter(|uid| !listed.contains(*uid))
                    .map(Arc::clone)
                    .collect();
                for uid in gone {
                    self.forget(&uid);
                }
            }
            Event::Apply(view) => self.pod_seen(&view),
            Event::Delete(view) => {
                if let Some(uid) = view.metadata.uid.as_deref() {
                    self.forget(&Uid::from(uid));
                }
            }
        }
    }

    fn pod_seen(&mut self, view: &PodView) {
        let Some(index) = self.by_name.get(view.spec.node_name.as_str()).copied() else {
            return;
        };
        let presence = self.nodes.get(index).map(|node| node.presence);
        if matches!(presence, None | Some(Presence::Deleted | Presence::Foreign)) {
            return;
        }
        let Some(uid) = view.metadata.uid.as_deref().map(Uid::from) else {
            return;
        };
        let now = self.clock.now();
        match self.pods.get_mut(&uid) {
            Some(pod) => pod.observe(view, now),
            None => {
                self.pods.insert(Arc::clone(&uid), PodRun::new(view, index, now));
            }
        }
        self.jobs.add(Job::Pod(uid));
    }

    /// The pod is gone: its address is free.
    fn forget(&mut self, uid: &Uid) {
        self.exposed.remove(uid);
        self.armed.remove(&Job::Pod(Arc::clone(uid)));
        if let Some(mut pod) = self.pods.remove(uid) {
            self.give_back(&mut pod);
        }
    }

    fn give_back(&mut self, pod: &mut PodRun) {
        if let (Some(address), false, Some(node)) =
            (pod.address, pod.address_free, self.nodes.get_mut(pod.node))
        {
            node.pool.free(address);
            pod.address_free = true;
        }
    }

    /// What the job has to send now, if anything.
    fn start(&mut self, job: &Job) -> Option<Request> {
        let future: BoxFuture<'static, Reached> = match job {
            Job::Lease(index) => self.start_lease(*index)?,
            Job::Node(index) => self.start_node(*index)?,
            Job::Pod(uid) => self.start_pod(uid)?,
        };
        let job = job.clone();
        Some(Box::pin(async move {
            (job, tokio::time::timeout(REQUEST_DEADLINE, future).await.ok())
        }))
    }

    fn start_lease(&mut self, index: usize) -> Option<BoxFuture<'static, Reached>> {
        let node = self.nodes.get(index)?;
        let now = self.clock.now();
        if !node.is_up() {
            // Registration and a node that speaks again bring the job back.
            return None;
        }
        let api: Api<Lease> = Api::namespaced(self.client.clone(), LEASES);
        let name = Arc::clone(&node.name);
        let future: BoxFuture<'static, Reached> = if node.leased {
            let patch = Patch::Merge(node.renewal(now));
            Box::pin(async move { api.patch(&name, &patching(), &patch).await.map(|_| Reply::Leased) })
        } else {
            let lease = node.lease(now);
            Box::pin(async move { create::<Lease>(&api, &lease).await.map(|_| Reply::Leased) })
        };
        Some(future)
    }

    fn start_node(&mut self, index: usize) -> Option<BoxFuture<'static, Reached>> {
        let now = self.clock.now();
        let node = self.nodes.get_mut(index)?;
        let api: Api<NodeView> = Api::all(self.client.clone());
        let name = Arc::clone(&node.name);
        match node.presence {
            Presence::Deleted | Presence::Foreign => None,
            Presence::Wanted if node.adopted => Some(Box::pin(async move {
                api.get(&name).await.map(|view| Reply::Node(Box::new(view)))
            })),
            Presence::Wanted => {
                let object = node.object(&self.config, now);
                Some(Box::pin(async move {
                    match create::<NodeView>(&api, &object).await {
                        // Ours from an earlier run or an earlier attempt, or somebody else's.
                        Err(kube::Error::Api(status)) if status.is_already_exists() => api.get(&name).await,
                        other => other,
                    }
                    .map(|view| Reply::Node(Box::new(view)))
                }))
            }
            Presence::Registered if node.behaviour.down => None,
            Presence::Registered if node.must_report(now) => {
                let patch = Patch::Strategic(node.status(&self.config, now));
                Some(Box::pin(async move {
                    let written = api.patch_status(&name, &patching(), &patch).await;
                    written.map(|view| Reply::NodeStatus(Box::new(view)))
                }))
            }
            Presence::Registered => {
                let due = node.status_due;
                let patch = node.untaint().map(Patch::Merge);
                self.arm(due, Job::Node(index));
                let patch = patch?;
                Some(Box::pin(async move {
                    let written = api.patch(&name, &patching(), &patch).await;
                    written.map(|view| Reply::Node(Box::new(view)))
                }))
            }
        }
    }

    fn start_pod(&mut self, uid: &Uid) -> Option<BoxFuture<'static, Reached>> {
        let now = self.clock.now();
        let pod = self.pods.get_mut(uid)?;
        let node = self.nodes.get_mut(pod.node).filter(|node| node.is_up())?;
        if pod.wants_address() {
            // Pods of an adopted node may have addresses of another network: those are as unique as they were.
            let former = pod.former_address.filter(|address| {
                node.pool.claim(*address)
                    || (node.adopted && node.pool.network().index_of(*address).is_none())
            });
            pod.address = former.or_else(|| node.pool.take());
            if pod.address.is_none() {
                debug!(node = %node.name, pod = %pod.name, "no pod address is free on the simulated node");
                self.arm(after(now, Duration::from_secs(1)), Job::Pod(Arc::clone(uid)));
                return None;
            }
        }
        let step = pod.advance(&self.delays, node.address, now);
        if step.over && !pod.address_free {
            if let Some(address) = pod.address {
                node.pool.free(address);
            }
            pod.address_free = true;
        }
        if !step.running {
            self.exposed.remove(uid);
        } else if !self.exposed.contains_key(uid) {
            let own = if pod.is_on_host_network() {
                Some(node.address)
            } else {
                pod.address
            };
            let host = node.address;
            let places = pod.ports().flat_map(|port| {
                let inside = own.map(|address| (address, port.container));
                let outside = (port.host != 0).then_some((host, port.host));
                inside.into_iter().chain(outside)
            });
            let exposed = self.connector.expose(
                (&pod.namespace, &pod.name, &pod.uid),
                &node.name,
                places.collect::<Vec<_>>(),
            );
            self.exposed.insert(Arc::clone(uid), exposed);
        }
        let api: Api<PodView> = Api::namespaced(self.client.clone(), &pod.namespace);
        let name = Arc::clone(&pod.name);
        let future: Option<BoxFuture<'static, Reached>> = if let Some(report) = step.report {
            let (patch, digest) = (Patch::Strategic(report.patch), report.digest);
            Some(Box::pin(async move {
                let written = api.patch_status(&name, &patching(), &patch).await?;
                Ok(Reply::Reported(
                    digest,
                    version_of(written.metadata.resource_version.as_deref()),
                ))
            }))
        } else if step.remove {
            let uid = uid.to_string();
            Some(Box::pin(async move {
                let preconditions = Preconditions {
                    uid: Some(uid),
                    resource_version: None,
                };
                let params = DeleteParams::default()
                    .grace_period(0)
                    .preconditions(preconditions);
                api.delete(&name, &params).await.map(|_| Reply::Removed)
            }))
        } else {
            None
        };
        if let Some(at) = step.wake_at {
            self.arm(at, Job::Pod(Arc::clone(uid)));
        }
        future
    }

    fn finish(&mut self, job: &Job, reached: Option<Reached>) {
        self.jobs.finished(job);
        match (job, reached) {
            (Job::Lease(index), Some(Ok(_))) => self.renewed(*index),
            (Job::Lease(index), failed) => self.lease_failed(*index, failed.as_ref()),
            (Job::Node(index), Some(Ok(Reply::NodeStatus(view)))) => {
                self.status_written(*index);
                self.node_seen(&view);
            }
            (Job::Node(index), Some(Ok(Reply::Node(view)))) => self.node_written(*index, &view),
            (Job::Pod(uid), Some(Ok(reply))) => {
                if let Some(pod) = self.pods.get_mut(uid) {
                    pod.failures = 0;
                    match reply {
                        Reply::Reported(digest, version) => pod.reported(digest, version),
                        Reply::Removed => pod.removed = true,
                        Reply::Node(_) | Reply::NodeStatus(_) | Reply::Leased => {}
                    }
                    self.jobs.add(job.clone());
                }
            }
            (Job::Pod(uid), Some(Err(kube::Error::Api(status)))) if status.is_not_found() => self.forget(uid),
            (Job::Node(index), Some(Err(kube::Error::Api(status))))
                if status.is_not_found() && self.is_adopted_and_unseen(*index) =>
            {
                if let Some(node) = self.nodes.get_mut(*index) {
                    node.presence = Presence::Deleted;
                }
            }
            (Job::Node(_) | Job::Pod(_), reached) => self.failed(job, reached.as_ref()),
        }
    }

    fn is_adopted_and_unseen(&self, index: usize) -> bool {
        let node = self.nodes.get(index);
        node.is_some_and(|node| node.adopted && node.presence == Presence::Wanted)
    }

    fn node_written(&mut self, index: usize, view: &NodeView) {
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        node.failures = 0;
        if node.presence == Presence::Wanted {
            let labels = view.metadata.labels.as_ref();
            if labels.is_none_or(|labels| labels.get(SIMULATED).is_none_or(|value| value != "true")) {
                warn!(node = %node.name, "a node of this name exists that is not simulated, it is left alone");
                node.presence = Presence::Foreign;
                return;
            }
            if !view.ready().is_empty() {
                self.status_written(index);
            }
        }
        self.node_seen(view);
    }

    /// The first report of a node is followed by the next one earlier than usual, by another time for each node, so that
    /// the reports of all nodes spread out.
    fn status_written(&mut self, index: usize) {
        let now = self.clock.now();
        let count = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX).max(1);
        let turn = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        let share = if node.has_reported {
            Some(self.config.status_interval)
        } else {
            None
        };
        let wait = share.unwrap_or(self.config.status_interval.saturating_mul(turn) / count);
        node.status_due = after(now, wait);
        node.has_reported = true;
        node.failures = 0;
    }

    fn renewed(&mut self, index: usize) {
        let next = after(self.clock.now(), self.config.lease_interval);
        if let Some(node) = self.nodes.get_mut(index) {
            node.leased = true;
        }
        self.arm(next, Job::Lease(index));
    }

    fn lease_failed(&mut self, index: usize, failed: Option<&Reached>) {
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        let mut again = self.config.lease_interval.min(Duration::from_secs(1));
        if let Some(Err(kube::Error::Api(status))) = failed {
            if status.is_already_exists() {
                node.leased = true;
                again = Duration::ZERO;
            } else if status.is_not_found() {
                // The Lease was deleted, or its namespace is not there yet.
                node.leased = false;
            }
        }
        debug!(node = %node.name, failed = ?failed, "lease of a simulated node was not renewed");
        self.arm(after(self.clock.now(), again), Job::Lease(index));
    }

    fn failed(&mut self, job: &Job, reached: Option<&Reached>) {
        let failures = match job {
            Job::Pod(uid) => self.pods.get_mut(uid).map(|pod| &mut pod.failures),
            Job::Node(index) | Job::Lease(index) => self.nodes.get_mut(*index).map(|node| &mut node.failures),
        };
        let Some(failures) = failures else { return };
        *failures = failures.saturating_add(1);
        let doubled = 1u32
            .checked_shl(failures.saturating_sub(1))
            .filter(|factor| *factor > 0);
        let mut pause = FIRST_PAUSE
            .saturating_mul(doubled.unwrap_or(u32::MAX))
            .min(LONGEST_PAUSE);
        if let Some(Err(kube::Error::Api(status))) = reached {
            if let Some(details) = &status.details {
                pause = pause.max(Duration::from_secs(u64::from(details.retry_after_seconds)));
            }
            if status.is_invalid() {
                warn!(
                    ?job,
                    message = status.message,
                    "status of a simulated node or pod was refused"
                );
            }
        }
        debug!(
            ?job,
            ?reached,
            ?pause,
            "write of a simulated node failed, it is repeated"
        );
        let at = after(self.clock.now(), pause);
        self.arm(at, job.clone());
    }
}

/// Creates an object from its JSON: fields that the types here do not know stay.
async fn create<K>(api: &Api<K>, object: &Value) -> Result<K, kube::Error>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
    let request = kube::core::Request::new(api.resource_url());
    let request = request
        .create(&posting(), body)
        .map_err(kube::Error::BuildRequest)?;
    api.clone().into_client().request(request).await
}

/// Field manager of everything that is written here.
const MANAGER: &str = "kubelet";

fn patching() -> PatchParams {
    PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

fn posting() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    }
}
