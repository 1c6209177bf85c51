//! All informers of a process: one per kind, created on first use.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use indexmap::IndexMap;
use kube::runtime::watcher;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    AdvanceListener, Decoded, Informer, KindId, Listeners, Mark, PAGE_SIZE, Progress, Relist, Source,
    WATCH_SECONDS, Watched, optional, trim,
};
use crate::metrics::Metrics;
use crate::objects::Uid;
use crate::ready::Readiness;
use crate::{Error, Result};

/// All informers of a process. Clones share them.
#[derive(Clone)]
pub struct Informers {
    shared: Arc<Shared>,
}

struct Shared {
    client: Option<kube::Client>,
    metrics: Metrics,
    readiness: Readiness,
    listeners: Listeners,
    kinds: Mutex<IndexMap<KindId, Entry>>,
    added: Notify,
    /// Tells all who wait for lists that one is complete.
    listed: Arc<Notify>,
    /// The leadership term for which fresh lists were asked, and the places from which they count.
    fresh: Mutex<Fresh>,
}

#[derive(Default)]
struct Fresh {
    term: u64,
    marks: Vec<(KindId, Progress, Mark)>,
}

struct Entry {
    informer: Arc<dyn AnyInformer>,
    started: bool,
}

impl Entry {
    fn start_fresh(&self, kind: KindId) -> (KindId, Progress, Mark) {
        let progress = self.informer.progress();
        let mark = progress.mark();
        self.informer.relist(Relist::Now);
        (kind, progress, mark)
    }
}

/// An informer whose kind is not known to the caller.
trait AnyInformer: Any + Send + Sync {
    fn progress(&self) -> Progress;
    fn is_gone(&self, uid: &Uid) -> bool;
    fn relist(&self, earliest: Relist);
    fn synced(&self) -> BoxFuture<'static, ()>;
    fn run(self: Arc<Self>, client: kube::Client, stop: CancellationToken) -> BoxFuture<'static, ()>;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<K: Watched> AnyInformer for Informer<K> {
    fn progress(&self) -> Progress {
        self.progress.clone()
    }

    fn is_gone(&self, uid: &Uid) -> bool {
        self.cache.is_gone(uid)
    }

    fn relist(&self, earliest: Relist) {
        Self::relist(self, earliest);
    }

    fn synced(&self) -> BoxFuture<'static, ()> {
        Self::synced(self).boxed()
    }

    fn run(self: Arc<Self>, client: kube::Client, stop: CancellationToken) -> BoxFuture<'static, ()> {
        let api = kube::Api::<Decoded<K>>::all(client.clone());
        let watch = move || {
            let config = watcher::Config::default()
                .page_size(PAGE_SIZE)
                .timeout(WATCH_SECONDS);
            watcher::watcher(api.clone(), config).boxed()
        };
        let source: Source<K> = if self.optional {
            optional::source(client, watch)
        } else {
            Box::new(watch)
        };
        self.drive(source, stop).boxed()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl fmt::Debug for Informers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<KindId> = self.kinds().keys().copied().collect();
        f.debug_struct("Informers")
            .field("kinds", &kinds)
            .finish_non_exhaustive()
    }
}

impl Informers {
    /// No informers yet. Each holds readiness back until its first list, and while its watch fails.
    #[must_use]
    pub fn new(client: kube::Client, metrics: &Metrics, readiness: &Readiness) -> Self {
        Self::with_client(Some(client), metrics, readiness)
    }

    /// Informers without watches: a program that looks once fills them with [`Informer::fill`], tests play them with
    /// `testing::Feed` or [`Informer::drive`].
    #[must_use]
    pub fn detached() -> Self {
        Self::with_client(None, &Metrics::default(), &Readiness::default())
    }

    fn with_client(client: Option<kube::Client>, metrics: &Metrics, readiness: &Readiness) -> Self {
        let shared = Shared {
            client,
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            listeners: Listeners::default(),
            kinds: Mutex::default(),
            added: Notify::new(),
            listed: Arc::default(),
            fresh: Mutex::default(),
        };
        let listed = Arc::clone(&shared.listed);
        let informers = Self {
            shared: Arc::new(shared),
        };
        informers.on_advance(Box::new(move |advance| {
            if advance.listed {
                listed.notify_waiters();
            }
        }));
        informers
    }

    /// The informer of a kind, created on first use, with the default [`trim`].
    #[must_use]
    pub fn get<K: Watched>(&self) -> Arc<Informer<K>> {
        self.get_trimmed(trim::<K>)
    }

    /// The informer of a kind that the API server may not serve, because its CustomResourceDefinition is missing. It is
    /// empty and synced until the definition appears, and again when that goes.
    #[must_use]
    pub fn get_if_served<K: Watched>(&self) -> Arc<Informer<K>> {
        self.get_with(trim::<K>, true)
    }

    /// The informer of a kind; on first use `trim` decides what of an object is kept. It should call [`trim`] too.
    #[must_use]
    pub fn get_trimmed<K: Watched>(&self, trim: fn(&mut K)) -> Arc<Informer<K>> {
        self.get_with(trim, false)
    }

    fn get_with<K: Watched>(&self, trim: fn(&mut K), optional: bool) -> Arc<Informer<K>> {
        let kind = KindId::of::<K>();
        let mut kinds = self.kinds();
        let known = kinds
            .get(&kind)
            .map(|entry| Arc::clone(&entry.informer).into_any());
        if let Some(informer) = known.and_then(|any| any.downcast().ok()) {
            return informer;
        }
        let shared = &self.shared;
        let informer = Informer::new(
            trim,
            optional,
            Arc::clone(&shared.listeners),
            &shared.metrics,
            &shared.readiness,
        );
        kinds.insert(
            kind,
            Entry {
                informer: Arc::clone(&informer) as Arc<dyn AnyInformer>,
                started: false,
            },
        );
        drop(kinds);
        shared.added.notify_one();
        informer
    }

    /// Calls `listener` at each step of any watch, present or future.
    pub fn on_advance(&self, listener: AdvanceListener) {
        self.shared
            .listeners
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(listener);
    }

    /// How far the watch of a kind has come; `None` if nobody watches it.
    #[must_use]
    pub fn progress(&self, kind: KindId) -> Option<Progress> {
        self.kinds().get(&kind).map(|entry| entry.informer.progress())
    }

    /// Whether the object is gone or on its way out, as far as its watch shows.
    #[must_use]
    pub fn is_gone(&self, kind: KindId, uid: &Uid) -> bool {
        let informer = self.kinds().get(&kind).map(|entry| Arc::clone(&entry.informer));
        informer.is_none_or(|informer| informer.is_gone(uid))
    }

    /// Asks for a fresh list of a kind; it starts at the earliest 10 s after the last one.
    pub fn relist(&self, kind: KindId) {
        let informer = self.kinds().get(&kind).map(|entry| Arc::clone(&entry.informer));
        if let Some(informer) = informer {
            informer.relist(Relist::Throttled);
        }
    }

    /// Waits until the first lists of these kinds are in their caches (RS-32). A kind that nobody watches counts.
    pub async fn synced(&self, kinds: &[KindId]) {
        let waits: Vec<_> = {
            let known = self.kinds();
            kinds
                .iter()
                .filter_map(|kind| known.get(kind))
                .map(|entry| entry.informer.synced())
                .collect()
        };
        futures::future::join_all(waits).await;
    }

    /// Waits until the caches of these kinds show what was written before this leadership term began (TAKE-5): the
    /// former leader's last writes may not have arrived yet. The first caller of a term starts the lists of all
    /// kinds. Term 0, leadership without a lease, needs none.
    pub async fn fresh(&self, term: u64, kinds: &[KindId]) {
        let marks: Vec<(Progress, Mark)> = {
            let mut fresh = self.shared.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            if fresh.term < term {
                fresh.term = term;
                fresh.marks = self
                    .kinds()
                    .iter()
                    .map(|(kind, entry)| entry.start_fresh(*kind))
                    .collect();
            }
            let wanted = fresh.marks.iter().filter(|(kind, ..)| kinds.contains(kind));
            wanted
                .map(|(_, progress, mark)| (progress.clone(), *mark))
                .collect()
        };
        self.listed(&marks).await;
    }

    /// Waits until the caches of these kinds show lists that were asked for after this call began: whatever was
    /// written before is in them (TAKE-5).
    pub async fn renewed(&self, kinds: &[KindId]) {
        let marks: Vec<(Progress, Mark)> = {
            let known = self.kinds();
            let wanted = known.iter().filter(|(kind, _)| kinds.contains(kind));
            wanted
                .map(|(kind, entry)| entry.start_fresh(*kind))
                .map(|(_, progress, mark)| (progress, mark))
                .collect()
        };
        self.listed(&marks).await;
    }

    /// Waits until all of these have a list that began after their mark.
    async fn listed(&self, marks: &[(Progress, Mark)]) {
        loop {
            let listed = self.shared.listed.notified();
            tokio::pin!(listed);
            // Registered before the progress is read: a list that ends in between is not missed.
            listed.as_mut().enable();
            if marks.iter().all(|(progress, mark)| progress.listed_since(*mark)) {
                return;
            }
            listed.await;
        }
    }

    /// Runs all watches, also of kinds added later, until `stop`.
    ///
    /// # Errors
    /// A watch panicked.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let Some(client) = self.shared.client.clone() else {
            stop.cancelled().await;
            return Ok(());
        };
        let mut watches: JoinSet<()> = JoinSet::new();
        loop {
            for entry in self.kinds().values_mut().filter(|entry| !entry.started) {
                entry.started = true;
                watches.spawn(Arc::clone(&entry.informer).run(client.clone(), stop.clone()));
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Cancel-safe: a permit that is not consumed stays.
                () = self.shared.added.notified() => {}
                // Cancel-safe: a finished task stays in the set until it is returned.
                Some(Err(source)) = watches.join_next() => return Err(Error::TaskDied { task: "watch", source }),
            }
        }
        while watches.join_next().await.is_some() {}
        Ok(())
    }

    fn kinds(&self) -> MutexGuard<'_, IndexMap<KindId, Entry>> {
        self.shared.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
