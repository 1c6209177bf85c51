//! One watch per kind and process, feeding an indexed cache (STY-18 to STY-25).
//!
//! An event goes this way: decoded one by one, trimmed, into the cache, then the watch's progress is raised,
//! subscribers hear the change, and last those who wait for the progress.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource as _;
use kube::runtime::watcher::{self, Event};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::cache::{Cache, Change, Object, key_of};
use crate::guard;
use crate::metrics::Metrics;
use crate::objects::Uid;
use crate::ready::{Guard, Readiness};

mod decode;
mod optional;
mod progress;
mod registry;

pub use decode::{Broken, Decoded, trim};
pub use progress::{Advance, KindId, Mark, Progress};
pub use registry::Informers;

/// Objects per page of a list (source: client-go 1.36).
const PAGE_SIZE: u32 = 500;
/// Seconds after which a watch is renewed; five more without an event or bookmark and it counts as dead.
const WATCH_SECONDS: u32 = 290;
/// A list that delivers nothing for this long is started again (STY-74).
const LIST_IDLE: Duration = Duration::from_mins(1);
/// Longest pause between attempts, should the back-off of the watcher library ever end.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Shortest time between two lists that someone asked for.
const RELIST_PAUSE: Duration = Duration::from_secs(10);

/// What a kind needs to be watched.
pub trait Watched: Object + Clone + fmt::Debug + DeserializeOwned {}

impl<K: Object + Clone + fmt::Debug + DeserializeOwned> Watched for K {}

/// What a watch delivers.
pub type WatchItem<K> = Result<Event<Decoded<K>>, watcher::Error>;
/// Opens a watch: called at start, and again when a list hangs or a fresh one is asked for.
pub type Source<K> = Box<dyn Fn() -> BoxStream<'static, WatchItem<K>> + Send + Sync>;
/// Hears each change, synchronously, after the cache shows it. Must not block.
pub type Subscriber<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;
/// Hears each step of any watch, after the cache and the progress show it. Must not block.
pub type AdvanceListener = Box<dyn Fn(&Advance) + Send + Sync>;

type Listeners = Arc<RwLock<Vec<AdvanceListener>>>;

/// The watch of one kind with its cache.
pub struct Informer<K> {
    cache: Arc<Cache<K>>,
    progress: Progress,
    subscribers: RwLock<Vec<Subscriber<K>>>,
    listeners: Listeners,
    synced: watch::Sender<bool>,
    /// Time of the last status write of a native controller that the watch showed (TAKE-8).
    native_writes: watch::Sender<Option<Timestamp>>,
    /// Wakes the watch when `relist_at` of its health changed.
    relist: Notify,
    trim: fn(&mut K),
    /// The API server may not serve the kind (yet).
    optional: bool,
    metrics: Metrics,
    readiness: Readiness,
    state: Mutex<Health>,
}

/// What the watch is up to, and what it reported last.
#[derive(Default)]
struct Health {
    /// Holds readiness back until the first list, and while the watch fails.
    guard: Option<Guard>,
    /// Trouble as last reported; the same trouble is not reported again.
    trouble: Option<String>,
    last_list: Option<Instant>,
    /// When to start over with a list, if somebody asked for one.
    relist_at: Option<Instant>,
}

impl<K> fmt::Debug for Informer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informer")
            .field("cache", &self.cache)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

impl<K: Watched> Informer<K> {
    fn new(
        trim: fn(&mut K),
        optional: bool,
        listeners: Listeners,
        metrics: &Metrics,
        readiness: &Readiness,
    ) -> Arc<Self> {
        let guard = readiness.guard(format!("watch of {}", K::plural(&())));
        Arc::new(Self {
            cache: Arc::default(),
            progress: Progress::default(),
            subscribers: RwLock::default(),
            listeners,
            synced: watch::Sender::new(false),
            native_writes: watch::Sender::new(None),
            relist: Notify::new(),
            trim,
            optional,
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            state: Mutex::new(Health {
                guard: Some(guard),
                ..Health::default()
            }),
        })
    }

    /// An informer without a watch, for tests that play the watch with [`crate::testing::Feed`].
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn detached() -> Arc<Self> {
        Self::new(
            trim::<K>,
            false,
            Listeners::default(),
            &Metrics::default(),
            &Readiness::default(),
        )
    }

    /// Takes in a complete list, as the watch would. Not beside a running watch.
    pub fn fill(&self, objects: impl IntoIterator<Item = Decoded<K>>) {
        let mut list = Listing::default();
        self.take_in(&mut list, Event::Init);
        for object in objects {
            self.take_in(&mut list, Event::InitApply(object));
        }
        self.take_in(&mut list, Event::InitDone);
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Arc<Cache<K>> {
        &self.cache
    }

    /// How far the watch has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Time of the last status write of a native controller to any object of the kind, by the API server's clock;
    /// `None` if none was seen (TAKE-8).
    #[must_use]
    pub fn native_writes(&self) -> watch::Receiver<Option<Timestamp>> {
        self.native_writes.subscribe()
    }

    /// Takes note of who wrote the status, before that is trimmed away.
    fn note_native(&self, meta: &ObjectMeta) {
        let Some(time) = guard::native_status_write(meta) else {
            return;
        };
        self.native_writes.send_if_modified(|last| {
            let is_news = last.is_none_or(|last| last < time);
            if is_news {
                *last = Some(time);
            }
            is_news
        });
    }

    /// Calls `subscriber` with each change from now on, after replaying what the cache already holds as additions.
    pub fn subscribe(&self, subscriber: Subscriber<K>) {
        for object in self.cache.all() {
            subscriber(&Change::Added(object));
        }
        self.subscribers
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(subscriber);
    }

    /// Waits until the first list is in the cache.
    pub fn synced(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut synced = self.synced.subscribe();
        async move {
            // An error means that the informer is gone; whoever waits is being shut down too.
            drop(synced.wait_for(|synced| *synced).await);
        }
    }

    /// Runs the watch on events from that source until `stop`. [`Informers::run`] does so with the API server as
    /// source, a test with a script.
    pub async fn drive(self: Arc<Self>, source: Source<K>, stop: CancellationToken) {
        let mut backoff = watcher::DefaultBackoff::default();
        let mut stream = source();
        let mut list = Listing::default();
        loop {
            let patience = if list.open { LIST_IDLE } else { Duration::MAX };
            let relist_at = self.lock().relist_at;
            let item = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // Cancel-safe: a permit that is not consumed stays.
                () = self.relist.notified() => continue,
                // Cancel-safe: the moment stays in the health.
                () = sleep_until(relist_at) => {
                    self.lock().relist_at = None;
                    debug!(resource = %K::plural(&()), "fresh list asked for");
                    list = Listing::default();
                    stream = source();
                    continue;
                }
                // Cancel-safe: an item is taken from the stream only by the poll that returns it.
                item = tokio::time::timeout(patience, stream.next()) => item.ok().flatten(),
            };
            match item {
                Some(Ok(event)) => {
                    if !matches!(event, Event::Init) {
                        self.recover();
                        kube::runtime::utils::Backoff::reset(&mut backoff);
                    }
                    self.take_in(&mut list, event);
                    continue;
                }
                Some(Err(error)) => {
                    list = Listing::default();
                    self.report(&error);
                }
                None => {
                    debug!(resource = %K::plural(&()), "watch hangs or ended; it starts over with a list");
                    list = Listing::default();
                    stream = source();
                }
            }
            let pause = backoff.next().unwrap_or(LONGEST_PAUSE);
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    pub(crate) fn take_in(&self, list: &mut Listing<K>, event: Event<Decoded<K>>) {
        match event {
            Event::Init => {
                *list = Listing {
                    open: true,
                    ..Listing::default()
                };
                self.progress.start_list();
            }
            Event::InitApply(Decoded::Whole(mut object)) => {
                self.note_native(object.meta());
                (self.trim)(&mut object);
                list.objects.push(object);
            }
            Event::InitApply(Decoded::Broken(broken)) => list.broken.push(*broken),
            Event::InitDone => self.finish_list(std::mem::take(list)),
            Event::Apply(Decoded::Whole(mut object)) => {
                self.note_native(object.meta());
                (self.trim)(&mut object);
                let version = object.meta().resource_version.clone();
                let gone = object
                    .meta()
                    .deletion_timestamp
                    .is_some()
                    .then(|| Uid::of(&object));
                let changes = self.cache.apply(object);
                self.progress.see(version.as_deref());
                self.publish(&changes, gone);
            }
            Event::Apply(Decoded::Broken(broken)) => {
                self.hold(&broken.meta, &broken.error);
                self.progress.see(broken.meta.resource_version.as_deref());
                let gone = broken
                    .meta
                    .deletion_timestamp
                    .is_some()
                    .then(|| Uid::of(&Decoded::<K>::Broken(broken)));
                self.publish(&[], gone);
            }
            Event::Delete(object) => {
                let change = self.cache.delete(object.meta());
                self.progress.see(object.meta().resource_version.as_deref());
                self.publish(change.as_slice(), Some(Uid::of(&object)));
            }
        }
        let labels = [("resource", resource_label::<K>())];
        let count = i64::try_from(self.cache.len()).unwrap_or(i64::MAX);
        self.metrics.objects.get_or_create(&labels).set(count);
    }

    fn finish_list(&self, list: Listing<K>) {
        let broken: Vec<(ObjectMeta, String)> = list
            .broken
            .into_iter()
            .map(|broken| (broken.meta, broken.error))
            .collect();
        let known: Vec<_> = self.cache.all_held();
        let versions: Vec<Option<String>> = list
            .objects
            .iter()
            .map(|object| object.meta().resource_version.clone())
            .chain(broken.iter().map(|(meta, _)| meta.resource_version.clone()))
            .collect();
        let changes = self.cache.replace(list.objects, &broken);
        for (meta, error) in &broken {
            let same = |key: &_, version: Option<&str>| {
                *key == key_of(meta) && version == meta.resource_version.as_deref()
            };
            if !known
                .iter()
                .any(|(key, held)| same(key, held.resource_version.as_deref()))
            {
                self.warn_undecodable(meta, error);
            }
        }
        for version in &versions {
            self.progress.see(version.as_deref());
        }
        self.progress.finish_list();
        self.metrics
            .relists
            .get_or_create(&[("resource", resource_label::<K>())])
            .inc();
        self.lock().last_list = Some(Instant::now());
        if !self.synced.send_replace(true) {
            info!(resource = %K::plural(&()), objects = self.cache.len(), "cache synced");
        }
        self.notify(&changes);
        self.advance(None, true);
    }

    fn hold(&self, meta: &ObjectMeta, error: &str) {
        if self.cache.hold(meta, error) {
            self.warn_undecodable(meta, error);
        }
    }

    fn warn_undecodable(&self, meta: &ObjectMeta, error: &str) {
        self.metrics
            .undecodable
            .get_or_create(&[("resource", resource_label::<K>())])
            .inc();
        warn!(
            resource = %K::plural(&()),
            object = %key_of(meta),
            resource_version = meta.resource_version,
            error,
            "object does not decode; it is neither forgotten nor acted upon"
        );
    }

    fn publish(&self, changes: &[Change<K>], gone: Option<Uid>) {
        self.notify(changes);
        self.advance(gone, false);
    }

    fn notify(&self, changes: &[Change<K>]) {
        if changes.is_empty() {
            return;
        }
        let subscribers = self.subscribers.read().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            for subscriber in subscribers.iter() {
                subscriber(change);
            }
        }
    }

    fn advance(&self, gone: Option<Uid>, listed: bool) {
        let advance = Advance {
            kind: KindId::of::<K>(),
            seen: self.progress.seen(),
            gone,
            listed,
        };
        for listener in self
            .listeners
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            listener(&advance);
        }
    }

    /// Asks for a fresh list.
    fn relist(&self, earliest: Relist) {
        let mut health = self.lock();
        let now = Instant::now();
        let at = match earliest {
            Relist::Now => now,
            Relist::Throttled => health.last_list.map_or(now, |last| now.max(last + RELIST_PAUSE)),
        };
        health.relist_at = Some(health.relist_at.map_or(at, |known| known.min(at)));
        drop(health);
        self.relist.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Health> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The watch delivers: ready again.
    fn recover(&self) {
        let mut health = self.lock();
        health.guard = None;
        if health.trouble.take().is_some() {
            info!(resource = %K::plural(&()), "watch works again");
        }
    }

    /// The watch failed: not ready, and said once per kind of trouble.
    fn report(&self, error: &watcher::Error) {
        let trouble = Trouble::of(error);
        let labels = [("resource", resource_label::<K>()), ("reason", trouble.reason)];
        self.metrics.watch_errors.get_or_create(&labels).inc();
        if trouble.reason == "expired" {
            // 410: the history is gone and the next step is a list. Nothing that anybody could or should mend.
            debug!(resource = %K::plural(&()), "watch history expired");
            return;
        }
        let mut health = self.lock();
        if health.guard.is_none() {
            health.guard = Some(self.readiness.guard(format!("watch of {}", K::plural(&()))));
        }
        if health.trouble.as_ref() != Some(&trouble.text) {
            warn!(
                verb = trouble.verb,
                url = url::<K>(),
                resource = %K::plural(&()),
                reason = trouble.reason,
                error = trouble.text,
                "{}", trouble.advice
            );
            health.trouble = Some(trouble.text);
        }
    }
}

/// When a list that somebody asked for may start.
#[derive(Clone, Copy)]
enum Relist {
    Now,
    Throttled,
}

/// A list in the making.
#[derive(Debug)]
pub(crate) struct Listing<K> {
    open: bool,
    objects: Vec<K>,
    broken: Vec<Broken>,
}

impl<K> Default for Listing<K> {
    fn default() -> Self {
        Self {
            open: false,
            objects: Vec::new(),
            broken: Vec::new(),
        }
    }
}

/// A failed list or watch, in words for whoever has to mend it.
struct Trouble {
    verb: &'static str,
    reason: &'static str,
    advice: &'static str,
    text: String,
}

impl Trouble {
    fn of(error: &watcher::Error) -> Self {
        let (verb, cause) = match error {
            watcher::Error::InitialListFailed(source) => ("list", Some(source)),
            watcher::Error::WatchStartFailed(source) | watcher::Error::WatchFailed(source) => {
                ("watch", Some(source))
            }
            watcher::Error::WatchError(status) => {
                let reason = if status.code == 410 { "expired" } else { "status" };
                let advice = "API server ended the watch; trying again";
                return Self {
                    verb: "watch",
                    reason,
                    advice,
                    text: status.message.clone(),
                };
            }
            watcher::Error::NoResourceVersion => ("watch", None),
        };
        let (reason, advice) = match cause {
            Some(kube::Error::Api(status)) => match status.code {
                401 => (
                    "unauthorized",
                    "API server does not accept the credentials; trying again",
                ),
                403 => (
                    "forbidden",
                    "verb on this resource is forbidden: grant it in the role; trying again",
                ),
                404 => (
                    "not_served",
                    "API server does not serve this resource; trying again",
                ),
                410 => ("expired", "watch history expired"),
                429 => ("throttled", "API server is overloaded; trying again"),
                _ => ("status", "API server refused; trying again"),
            },
            Some(_) => (
                "unreachable",
                "API server is unreachable or broke off; trying again",
            ),
            None => (
                "no_version",
                "API server sent an object without resourceVersion; trying again",
            ),
        };
        let text = cause.map_or_else(|| error.to_string(), crate::api::message);
        Self {
            verb,
            reason,
            advice,
            text,
        }
    }
}

/// Completes at the moment, never if there is none.
async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Path of the collection, for messages.
fn url<K: kube::Resource<DynamicType = ()>>() -> String {
    K::url_path(&(), None)
}

/// The plural as metric label; a `&'static str` for every type known at compile time.
fn resource_label<K: kube::Resource<DynamicType = ()> + 'static>() -> &'static str {
    match K::plural(&()) {
        std::borrow::Cow::Borrowed(plural) => plural,
        std::borrow::Cow::Owned(_) => KindId::of::<K>().name(),
    }
}

#[cfg(test)]
mod tests;
