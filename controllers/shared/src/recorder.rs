//! Events: told without waiting, aggregated and limited as users know it from upstream (RS-67, RS-68, SCH-165), and
//! written by one supervised task.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event as CoreEvent, ObjectReference};
use k8s_openapi::api::events::v1::Event as SeriesEvent;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::{Result, api};

mod correlate;

use correlate::Correlator;

/// Events that may wait to be written. More are dropped and counted (STY-71).
const BACKLOG: usize = 1000;
/// Attempts to write one event; between them a pause that doubles.
const ATTEMPTS: u32 = 3;
/// First pause between attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest wait that a server may ask for before an event is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the task goes on writing after it was told to stop.
const FAREWELL: Duration = Duration::from_secs(2);

/// Type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
pub enum EventType {
    /// Nothing is wrong.
    Normal,
    /// Somebody should have a look.
    Warning,
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        })
    }
}

/// Which API the events of a recorder are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Flavour {
    /// core/v1, aggregated by count.
    Core,
    /// events.k8s.io/v1, aggregated as series.
    Series,
}

/// Who tells.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Source {
    flavour: Flavour,
    component: String,
    instance: String,
}

/// An event on its way to the writer.
#[derive(Clone, Debug)]
struct Note {
    source: Arc<Source>,
    about: ObjectReference,
    type_: EventType,
    reason: String,
    action: String,
    message: String,
    at: Timestamp,
}

/// Makes recorders; one per process. Clones share the backlog.
#[derive(Clone)]
pub struct Recorders {
    sender: mpsc::Sender<Note>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    instance: String,
}

impl fmt::Debug for Recorders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorders")
            .field("instance", &self.instance)
            .finish_non_exhaustive()
    }
}

/// The other end of all recorders, for [`EventWriter`].
#[derive(Debug)]
pub struct Backlog {
    receiver: mpsc::Receiver<Note>,
}

#[cfg(test)]
impl Backlog {
    /// Reason of the next event, if one waits to be written.
    pub(crate) fn next_reason(&mut self) -> Option<String> {
        self.receiver.try_recv().ok().map(|note| note.reason)
    }
}

impl Recorders {
    /// A factory and its backlog. `instance` is the name of this process (RS-67).
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, instance: impl Into<String>, metrics: &Metrics) -> (Self, Backlog) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (
            Self {
                sender,
                clock,
                metrics: metrics.clone(),
                instance: instance.into(),
            },
            Backlog { receiver },
        )
    }

    /// A factory whose events go nowhere: shadow runs, and tests that do not look at events.
    #[must_use]
    pub fn discard(clock: Arc<dyn Clock>, metrics: &Metrics) -> Self {
        Self::new(clock, String::new(), metrics).0
    }

    /// A recorder of core/v1 events from that component, `replicaset-controller` (RS-67).
    #[must_use]
    pub fn core(&self, component: impl Into<String>) -> Recorder {
        self.recorder(Flavour::Core, component.into(), self.instance.clone())
    }

    /// A recorder of events.k8s.io/v1 series from that scheduler (SCH-165).
    #[must_use]
    pub fn series(&self, scheduler: impl Into<String>) -> Recorder {
        let component = scheduler.into();
        let instance = format!("{component}-{}", self.instance);
        self.recorder(Flavour::Series, component, instance)
    }

    fn recorder(&self, flavour: Flavour, component: String, instance: String) -> Recorder {
        Recorder {
            source: Arc::new(Source {
                flavour,
                component,
                instance,
            }),
            sender: self.sender.clone(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
        }
    }
}

/// Tells events of one component.
#[derive(Clone)]
pub struct Recorder {
    source: Arc<Source>,
    sender: mpsc::Sender<Note>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Tells an event. Never waits: with a full backlog the event is dropped and counted. `action` shows only in
    /// series; controllers pass an empty one.
    pub fn event(
        &self,
        about: &ObjectReference,
        type_: EventType,
        reason: &str,
        action: &str,
        message: impl Into<String>,
    ) {
        let note = Note {
            source: Arc::clone(&self.source),
            about: about.clone(),
            type_,
            reason: reason.to_owned(),
            action: action.to_owned(),
            message: message.into(),
            at: self.clock.now(),
        };
        if self.sender.try_send(note).is_err() {
            count(&self.metrics, "dropped");
            debug!(
                reason,
                "event dropped: the backlog is full or nobody writes events"
            );
        }
    }
}

/// A reference to an object, as events carry it.
#[must_use]
pub fn reference<K: kube::Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
    let meta = object.meta();
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// An event object to create.
#[derive(Clone, Debug, PartialEq)]
pub enum EventObject {
    /// core/v1.
    Core(Box<CoreEvent>),
    /// events.k8s.io/v1.
    Series(Box<SeriesEvent>),
}

/// One write of the event task.
#[derive(Clone, Debug, PartialEq)]
pub struct EventWrite {
    /// Namespace of the event.
    pub namespace: String,
    /// Name of the event.
    pub name: String,
    /// Merge patch of the existing event; `None` creates `object`.
    pub patch: Option<Value>,
    /// The event as it is after the write; created if the patched one has expired meanwhile.
    pub object: EventObject,
}

/// Where events are stored. The API server, or a script in tests.
pub trait EventStore: Send + Sync + 'static {
    /// Creates an event.
    fn create(
        &self,
        namespace: &str,
        event: &EventObject,
    ) -> impl Future<Output = Result<(), kube::Error>> + Send;
    /// Patches the event of that name; `like` tells the API.
    fn patch(
        &self,
        namespace: &str,
        name: &str,
        patch: &Value,
        like: &EventObject,
    ) -> impl Future<Output = Result<(), kube::Error>> + Send;
}

/// Events in the API server.
#[derive(Clone)]
pub struct KubeEvents {
    client: kube::Client,
}

impl KubeEvents {
    /// Events of that API server.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }
}

impl fmt::Debug for KubeEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeEvents").finish_non_exhaustive()
    }
}

impl EventStore for KubeEvents {
    async fn create(&self, namespace: &str, event: &EventObject) -> Result<(), kube::Error> {
        let params = PostParams::default();
        match event {
            EventObject::Core(event) => {
                let events: Api<CoreEvent> = Api::namespaced(self.client.clone(), namespace);
                api::within(api::REQUEST_DEADLINE, events.create(&params, event))
                    .await
                    .map(drop)
            }
            EventObject::Series(event) => {
                let events: Api<SeriesEvent> = Api::namespaced(self.client.clone(), namespace);
                api::within(api::REQUEST_DEADLINE, events.create(&params, event))
                    .await
                    .map(drop)
            }
        }
    }

    async fn patch(
        &self,
        namespace: &str,
        name: &str,
        patch: &Value,
        like: &EventObject,
    ) -> Result<(), kube::Error> {
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        match like {
            EventObject::Core(_) => {
                let events: Api<CoreEvent> = Api::namespaced(self.client.clone(), namespace);
                api::within(api::REQUEST_DEADLINE, events.patch(name, &params, &patch))
                    .await
                    .map(drop)
            }
            EventObject::Series(_) => {
                let events: Api<SeriesEvent> = Api::namespaced(self.client.clone(), namespace);
                api::within(api::REQUEST_DEADLINE, events.patch(name, &params, &patch))
                    .await
                    .map(drop)
            }
        }
    }
}

/// The task that writes events.
pub struct EventWriter<S> {
    receiver: mpsc::Receiver<Note>,
    correlator: Correlator,
    store: S,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl<S> fmt::Debug for EventWriter<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWriter").finish_non_exhaustive()
    }
}

impl<S: EventStore> EventWriter<S> {
    /// A writer for everything that the recorders of that backlog tell.
    pub fn new(backlog: Backlog, store: S, clock: Arc<dyn Clock>, metrics: &Metrics) -> Self {
        let correlator = Correlator::default();
        Self {
            receiver: backlog.receiver,
            correlator,
            store,
            clock,
            metrics: metrics.clone(),
        }
    }

    /// Writes events until `stop`, then for two more seconds what is left.
    ///
    /// # Errors
    /// Never; the type is that of a supervised task.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut review = tokio::time::interval_at(Instant::now() + correlate::REVIEW, correlate::REVIEW);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Cancel-safe: a note is taken only by the poll that returns it.
                note = self.receiver.recv() => match note {
                    Some(note) => self.write(note).await,
                    None => break,
                },
                // Cancel-safe: a tick that is not consumed stays.
                _ = review.tick() => {
                    for due in self.correlator.review(self.clock.now()) {
                        self.send(&due).await;
                    }
                }
            }
        }
        let rest = async {
            while let Ok(note) = self.receiver.try_recv() {
                self.write(note).await;
            }
        };
        if tokio::time::timeout(FAREWELL, rest).await.is_err() {
            warn!("stopped before all events were written");
        }
        Ok(())
    }

    async fn write(&mut self, note: Note) {
        match self.correlator.correlate(note) {
            Some(write) => self.send(&write).await,
            None => count(&self.metrics, "filtered"),
        }
    }

    async fn send(&self, write: &EventWrite) {
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            let error = match self.try_send(write).await {
                Ok(()) => return count(&self.metrics, "written"),
                Err(error) => error,
            };
            let asked = api::retry_after(&error);
            let passes = api::is_outcome_unknown(&error)
                || matches!(&error, kube::Error::Api(status) if matches!(status.code, 429 | 503));
            if attempt == ATTEMPTS || !passes || asked.is_some_and(|asked| asked > PATIENCE) {
                debug!(event = write.name, error = api::message(&error), "event given up");
                break;
            }
            tokio::time::sleep(asked.unwrap_or(pause)).await;
            pause = pause.saturating_mul(2);
        }
        count(&self.metrics, "failed");
    }

    async fn try_send(&self, write: &EventWrite) -> Result<(), kube::Error> {
        if let Some(patch) = &write.patch {
            match self
                .store
                .patch(&write.namespace, &write.name, patch, &write.object)
                .await
            {
                // Events expire after an hour, and a filtered one was never written.
                Err(error) if api::is_not_found(&error) => {}
                answer => return answer,
            }
        }
        match self.store.create(&write.namespace, &write.object).await {
            // An earlier attempt took effect.
            Err(error) if api::is_already_exists(&error) => Ok(()),
            answer => answer,
        }
    }
}

fn count(metrics: &Metrics, result: &'static str) {
    metrics.events.get_or_create(&[("result", result)]).inc();
}

#[cfg(test)]
mod tests;
