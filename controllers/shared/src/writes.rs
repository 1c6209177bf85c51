//! Read your writes: a key is not planned again before the caches show what was written for it (RS-30, RS-31).
//!
//! A key with open writes is parked when a worker takes it. The step of a watch that closes the last of them puts it
//! back into the queue; there is no polling. Should a cache never show a write, the key goes on after five minutes.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::api;
use crate::cache::version_number;
use crate::informer::{Advance, Informers, KindId, Mark};
use crate::metrics::Metrics;
use crate::objects::{ObjectKey, Uid};
use crate::queue::Queue;

/// After this time a key is planned although a write of its never showed (source: RS-25).
const CAP: Duration = Duration::from_mins(5);
/// How often parked keys are looked through for expired writes.
const SWEEP: Duration = Duration::from_secs(15);

/// What was written for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// An object was created or changed; the server answered with this version.
    Version {
        /// Kind of the object, not of the key.
        kind: KindId,
        /// `metadata.resourceVersion` of the answer.
        resource_version: String,
    },
    /// An object was deleted, or was gone already.
    Deleted {
        /// Kind of the object, not of the key.
        kind: KindId,
        /// Its uid.
        uid: Uid,
    },
    /// A write may or may not have taken effect: no answer came ([`crate::api::is_outcome_unknown`]). A fresh list
    /// of the kind will tell, unless the server carries the request out only after that list.
    Unknown {
        /// Kind of the object, not of the key.
        kind: KindId,
    },
}

impl Written {
    /// What a create or patch that answered with this object wrote.
    #[must_use]
    pub fn version<K: kube::Resource + 'static>(object: &K) -> Self {
        Self::answered::<K>(object.meta())
    }

    /// What a create or patch wrote whose answer has this metadata, for answers without a type of their own.
    #[must_use]
    pub fn answered<K: kube::Resource + 'static>(answer: &ObjectMeta) -> Self {
        Self::Version {
            kind: KindId::of::<K>(),
            resource_version: answer.resource_version.clone().unwrap_or_default(),
        }
    }

    /// A deletion of that object.
    #[must_use]
    pub fn deleted<K: kube::Resource + 'static>(uid: Uid) -> Self {
        Self::Deleted {
            kind: KindId::of::<K>(),
            uid,
        }
    }

    /// A write to an object of that kind whose outcome is unknown.
    #[must_use]
    pub fn unknown<K: kube::Resource + 'static>() -> Self {
        Self::Unknown {
            kind: KindId::of::<K>(),
        }
    }
}

/// What an open write waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// A version of the kind at least this high.
    Version {
        /// The kind.
        kind: KindId,
        /// The version.
        number: u64,
        /// A list started after this place closes it as well.
        mark: Mark,
    },
    /// Exactly this version: the server's versions are no numbers.
    Text {
        /// The kind.
        kind: KindId,
        /// The version.
        version: String,
        /// A list started after this place closes it as well.
        mark: Mark,
    },
    /// The object to be gone or on its way out.
    Gone {
        /// The kind.
        kind: KindId,
        /// The object.
        uid: Uid,
    },
    /// A list started after this place.
    List {
        /// The kind.
        kind: KindId,
        /// The place.
        mark: Mark,
    },
}

impl Wait {
    fn kind(&self) -> KindId {
        match self {
            Self::Version { kind, .. }
            | Self::Text { kind, .. }
            | Self::Gone { kind, .. }
            | Self::List { kind, .. } => *kind,
        }
    }
}

/// Open writes of the keys of one controller. Clones share them.
#[derive(Clone)]
pub struct Writes {
    shared: Arc<Shared>,
}

struct Shared {
    controller: &'static str,
    informers: Informers,
    queue: Queue<ObjectKey>,
    metrics: Metrics,
    state: Mutex<State>,
    parked: Notify,
}

#[derive(Default)]
struct State {
    open: FxHashMap<ObjectKey, Vec<Open>>,
    /// Keys taken out of the queue, each with the one write it waits for first.
    parked: FxHashMap<ObjectKey, Wait>,
    by_version: FxHashMap<KindId, BTreeSet<(u64, ObjectKey)>>,
    by_uid: FxHashMap<Uid, BTreeSet<ObjectKey>>,
    /// Parked keys that every step of a watch may wake.
    by_text: BTreeSet<ObjectKey>,
}

struct Open {
    wait: Wait,
    since: Instant,
}

impl fmt::Debug for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("Writes")
            .field("controller", &self.shared.controller)
            .field("open", &state.open.len())
            .field("parked", &state.parked.len())
            .finish_non_exhaustive()
    }
}

impl Writes {
    /// No open writes. Listens to the informers from now on.
    #[must_use]
    pub fn new(informers: &Informers, queue: &Queue<ObjectKey>, metrics: &Metrics) -> Self {
        let shared = Arc::new(Shared {
            controller: queue.name(),
            informers: informers.clone(),
            queue: queue.clone(),
            metrics: metrics.clone(),
            state: Mutex::default(),
            parked: Notify::new(),
        });
        let weak: Weak<Shared> = Arc::downgrade(&shared);
        informers.on_advance(Box::new(move |advance| {
            if let Some(shared) = weak.upgrade() {
                shared.advance(advance);
            }
        }));
        Self { shared }
    }

    /// Remembers a write, right after the server answered and before anything else is awaited.
    pub fn record(&self, key: &ObjectKey, written: Written) {
        let shared = &self.shared;
        let wait = match written {
            Written::Version {
                kind,
                resource_version,
            } => {
                let Some(progress) = shared.informers.progress(kind) else {
                    return;
                };
                let mark = progress.mark();
                match version_number(&resource_version) {
                    Some(number) => Wait::Version { kind, number, mark },
                    None => Wait::Text {
                        kind,
                        version: resource_version,
                        mark,
                    },
                }
            }
            Written::Deleted { kind, uid } => Wait::Gone { kind, uid },
            Written::Unknown { kind } => {
                let Some(progress) = shared.informers.progress(kind) else {
                    return;
                };
                let mark = progress.mark();
                shared.informers.relist(kind);
                Wait::List { kind, mark }
            }
        };
        if !shared.is_closed(&wait) {
            shared.lock().open(key, wait);
        }
    }

    /// Remembers a write that failed without an answer: it may have taken effect, and the key waits for a fresh list of
    /// the kind (RS-31). Other failures wrote nothing.
    pub fn record_failure<K: kube::Resource + 'static>(&self, key: &ObjectKey, error: &kube::Error) {
        if api::is_outcome_unknown(error) {
            self.record(key, Written::unknown::<K>());
        }
    }

    /// The first write of a key that its caches do not show yet. Forgets those that they do.
    #[must_use]
    pub fn pending(&self, key: &ObjectKey) -> Option<Wait> {
        self.shared.first_open(&mut self.shared.lock(), key)
    }

    /// Parks a key that has open writes: it comes back into the queue by itself. `false`: it has none, plan it.
    #[must_use]
    pub fn park(&self, key: &ObjectKey) -> bool {
        let shared = &self.shared;
        // One critical section: a step of the watch in between would find nothing to wake.
        let mut state = shared.lock();
        let Some(wait) = shared.first_open(&mut state, key) else {
            return false;
        };
        debug!(controller = shared.controller, key = %key, ?wait, "waiting for a cache to show a write");
        state.park(key, wait);
        drop(state);
        shared.parked.notify_one();
        true
    }

    /// Forgets the writes of a key, because its object is gone (RS-29).
    pub fn forget(&self, key: &ObjectKey) {
        let mut state = self.shared.lock();
        state.open.remove(key);
        state.unpark(key);
    }

    /// Brings parked keys back whose writes are too old, until `stop`.
    pub async fn expire(&self, stop: &CancellationToken) {
        loop {
            let empty = self.shared.lock().parked.is_empty();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // Cancel-safe: a permit that is not consumed stays.
                () = self.shared.parked.notified(), if empty => continue,
                () = tokio::time::sleep(SWEEP), if !empty => {}
            }
            self.shared.sweep();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self, wait: &Wait) -> bool {
        let progress = || self.informers.progress(wait.kind());
        match wait {
            // The number decides alone: after the cap, or with a list, it is closed as well.
            Wait::Version { number, mark, .. } => {
                progress().is_none_or(|progress| progress.seen() >= *number || progress.listed_since(*mark))
            }
            Wait::Text { version, mark, .. } => {
                progress().is_none_or(|progress| progress.reached(version, *mark))
            }
            Wait::Gone { kind, uid } => self.informers.is_gone(*kind, uid),
            Wait::List { mark, .. } => progress().is_none_or(|progress| progress.listed_since(*mark)),
        }
    }

    fn first_open(&self, state: &mut State, key: &ObjectKey) -> Option<Wait> {
        let open = state.open.get_mut(key)?;
        open.retain(|open| {
            if self.is_closed(&open.wait) {
                return false;
            }
            let expired = open.since.elapsed() >= CAP;
            if expired {
                let labels = [("controller", self.controller)];
                self.metrics.writes_expired.get_or_create(&labels).inc();
                warn!(
                    controller = self.controller,
                    key = %key,
                    wait = ?open.wait,
                    "the cache never showed a write; planning from what it shows"
                );
            }
            !expired
        });
        let first = open.first().map(|open| open.wait.clone());
        if first.is_none() {
            state.open.remove(key);
        }
        first
    }

    fn advance(&self, advance: &Advance) {
        let mut state = self.lock();
        if state.parked.is_empty() {
            return;
        }
        let mut woken: Vec<ObjectKey> = Vec::new();
        if let Some(waiting) = state.by_version.get_mut(&advance.kind) {
            while let Some((number, key)) = waiting.pop_first() {
                if number > advance.seen {
                    waiting.insert((number, key));
                    break;
                }
                woken.push(key);
            }
        }
        if let Some(keys) = advance.gone.as_ref().and_then(|uid| state.by_uid.remove(uid)) {
            woken.extend(keys);
        }
        let closed = |(_, wait): &(&ObjectKey, &Wait)| wait.kind() == advance.kind && self.is_closed(wait);
        if advance.listed {
            woken.extend(state.parked.iter().filter(closed).map(|(key, _)| key.clone()));
        } else {
            let texts = state
                .by_text
                .iter()
                .filter_map(|key| state.parked.get_key_value(key));
            woken.extend(texts.filter(closed).map(|(key, _)| key.clone()));
        }
        for key in &woken {
            state.unpark(key);
        }
        drop(state);
        woken.sort();
        woken.dedup();
        for key in woken {
            self.queue.add(key);
        }
    }

    fn sweep(&self) {
        let mut state = self.lock();
        let mut old: Vec<ObjectKey> = state
            .parked
            .keys()
            .filter(|key| {
                state
                    .open
                    .get(*key)
                    .is_some_and(|open| open.iter().any(|open| open.since.elapsed() >= CAP))
            })
            .cloned()
            .collect();
        old.sort();
        for key in &old {
            state.unpark(key);
        }
        drop(state);
        for key in old {
            self.queue.add(key);
        }
    }
}

impl State {
    fn open(&mut self, key: &ObjectKey, wait: Wait) {
        let since = Instant::now();
        let open = self.open.entry(key.clone()).or_default();
        if let Wait::Version { kind, number, mark } = &wait {
            // The highest version of a kind covers the others.
            for known in open.iter_mut() {
                if let Wait::Version {
                    kind: of,
                    number: highest,
                    mark: place,
                } = &mut known.wait
                    && of == kind
                {
                    *highest = (*highest).max(*number);
                    *place = (*place).max(*mark);
                    known.since = since;
                    return;
                }
            }
        }
        open.push(Open { wait, since });
    }

    fn park(&mut self, key: &ObjectKey, wait: Wait) {
        self.unpark(key);
        match &wait {
            Wait::Version { kind, number, .. } => {
                self.by_version
                    .entry(*kind)
                    .or_default()
                    .insert((*number, key.clone()));
            }
            Wait::Gone { uid, .. } => {
                self.by_uid.entry(uid.clone()).or_default().insert(key.clone());
            }
            Wait::Text { .. } => {
                self.by_text.insert(key.clone());
            }
            Wait::List { .. } => {}
        }
        self.parked.insert(key.clone(), wait);
    }

    fn unpark(&mut self, key: &ObjectKey) {
        let Some(wait) = self.parked.remove(key) else {
            return;
        };
        match wait {
            Wait::Version { kind, number, .. } => {
                if let Some(waiting) = self.by_version.get_mut(&kind) {
                    waiting.remove(&(number, key.clone()));
                }
            }
            Wait::Gone { uid, .. } => {
                if let Some(keys) = self.by_uid.get_mut(&uid) {
                    keys.remove(key);
                    if keys.is_empty() {
                        self.by_uid.remove(&uid);
                    }
                }
            }
            Wait::Text { .. } => {
                self.by_text.remove(key);
            }
            Wait::List { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
