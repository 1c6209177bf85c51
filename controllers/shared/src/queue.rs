//! The keyed work queue: at most one worker per key, additions coalesce, failures back off (RS-7, STY-22).
//!
//! Bounded by coalescing: it holds each key at most once, however often it is added (STY-71).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::metrics::{Metrics, Working};

/// First delay of a failing key (source: kube-controller-manager 1.36).
const BACKOFF_BASE: Duration = Duration::from_millis(5);
/// Longest delay of a failing key (source: kube-controller-manager 1.36).
const BACKOFF_CAP: Duration = Duration::from_secs(1000);
/// Retries per second over all keys (source: kube-controller-manager 1.36).
const OVERALL_RATE: f64 = 10.0;
/// Retries over all keys before the overall rate holds (source: kube-controller-manager 1.36).
const OVERALL_BURST: f64 = 100.0;
/// Shortest time until a key wakes itself up, so that a moment already passed is no busy loop (RS-9).
const SHORTEST_WAKE: Duration = Duration::from_millis(10);

/// Stands for delays that no clock can express.
const LONGEST_DELAY: Duration = Duration::from_hours(24 * 365);

/// What a queue can hold.
pub trait Key: Clone + Eq + Hash + Send + Sync + 'static {}

impl<T: Clone + Eq + Hash + Send + Sync + 'static> Key for T {}

/// The queue. Clones share it.
pub struct Queue<T: Key> {
    shared: Arc<Shared<T>>,
}

impl<T: Key> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: Key> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.lock();
        f.debug_struct("Queue")
            .field("name", &self.shared.name)
            .field("ready", &state.ready.len())
            .field("working", &state.working.len())
            .field("timers", &state.timers.len())
            .finish_non_exhaustive()
    }
}

struct Shared<T> {
    name: &'static str,
    state: Mutex<State<T>>,
    changed: Notify,
    metrics: Metrics,
}

struct State<T> {
    /// Keys for the next free worker, in order; a subset of `dirty`.
    ready: VecDeque<T>,
    /// Keys that have to be worked on, with the time of the first addition.
    dirty: FxHashMap<T, Instant>,
    /// Keys in work, with the time they were taken.
    working: FxHashMap<T, Instant>,
    /// Keys to add later. The number keeps keys of the same instant in order.
    timers: BTreeMap<Alarm, (T, Cause)>,
    armed: FxHashMap<T, Armed>,
    sequence: u64,
    failures: FxHashMap<T, u32>,
    overall: Bucket,
    shut_down: bool,
}

/// When a timer fires; unique.
type Alarm = (Instant, u64);

#[derive(Clone, Copy)]
enum Cause {
    Delay,
    Wake,
}

/// The timers of one key: a delay only moves forward, a wake-up is replaced by the next plan.
#[derive(Default)]
struct Armed {
    delay: Option<Alarm>,
    wake: Option<Alarm>,
}

impl<T: Key> Queue<T> {
    /// An empty queue; the name is the metric label.
    #[must_use]
    pub fn new(name: &'static str, metrics: &Metrics) -> Self {
        let shared = Arc::new(Shared {
            name,
            state: Mutex::new(State {
                ready: VecDeque::new(),
                dirty: FxHashMap::default(),
                working: FxHashMap::default(),
                timers: BTreeMap::new(),
                armed: FxHashMap::default(),
                sequence: 0,
                failures: FxHashMap::default(),
                overall: Bucket::full(),
                shut_down: false,
            }),
            changed: Notify::new(),
            metrics: metrics.clone(),
        });
        let weak: Weak<Shared<T>> = Arc::downgrade(&shared);
        metrics.in_flight.watch(weak);
        Self { shared }
    }

    /// Name of the queue.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.shared.name
    }

    /// Adds a key. One that already waits stays where it is; one in work is worked on again afterwards.
    pub fn add(&self, key: T) {
        self.shared.lock().add(&self.shared, key);
    }

    /// Adds a key after a delay, or earlier if it already has a shorter one.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        self.shared
            .metrics
            .retries
            .get_or_create(&self.shared.labels())
            .inc();
        self.shared.lock().delay(&self.shared, key, delay);
    }

    /// Adds a key that failed: after its own exponential back-off and the overall rate, whichever is longer.
    pub fn add_rate_limited(&self, key: T) {
        let mut state = self.shared.lock();
        let delay = state.back_off(&key).max(state.overall.reserve(Instant::now()));
        drop(state);
        self.add_after(key, delay);
    }

    /// Adds a key that met a conflict: after `at_least`, and after its own back-off once that is longer. Costs
    /// nothing of the overall rate.
    pub fn add_soon(&self, key: T, at_least: Duration) {
        let delay = self.shared.lock().back_off(&key).max(at_least);
        self.add_after(key, delay);
    }

    /// Sets, replaces or (`None`) cancels the moment at which a key wakes itself up. Other delays stay.
    pub fn wake_after(&self, key: T, delay: Option<Duration>) {
        self.shared
            .lock()
            .wake(&self.shared, key, delay.map(|delay| delay.max(SHORTEST_WAKE)));
    }

    /// Forgets the failures of a key.
    pub fn forget(&self, key: &T) {
        self.shared.lock().failures.remove(key);
    }

    /// Failures of a key since it was last forgotten.
    #[must_use]
    pub fn retries(&self, key: &T) -> u32 {
        self.shared.lock().failures.get(key).copied().unwrap_or(0)
    }

    /// The next key, or `None` after [`Queue::shut_down`]. The key counts as in work until the item drops.
    ///
    /// Cancel-safe: a key is taken only by the poll that returns it.
    pub async fn next(&self) -> Option<Item<T>> {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Registered before the state is read: an addition in between is not missed.
            changed.as_mut().enable();
            let deadline = {
                let mut state = self.shared.lock();
                if state.shut_down {
                    return None;
                }
                let now = Instant::now();
                state.fire(&self.shared, now);
                if let Some(key) = state.take(&self.shared, now) {
                    drop(state);
                    return Some(Item {
                        shared: Arc::clone(&self.shared),
                        key,
                    });
                }
                state.timers.first_key_value().map(|(alarm, _)| alarm.0)
            };
            match deadline {
                Some(deadline) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep_until(deadline) => {}
                    }
                }
                None => changed.await,
            }
        }
    }

    /// Takes no more keys and hands out none. Items in work stay valid.
    pub fn shut_down(&self) {
        let mut state = self.shared.lock();
        state.shut_down = true;
        state.ready.clear();
        state.timers.clear();
        state.armed.clear();
        self.shared
            .metrics
            .depth
            .get_or_create(&self.shared.labels())
            .set(0);
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// Keys that wait for a worker.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().ready.len()
    }

    /// Whether no key waits for a worker.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no key waits or is in work. Timers may be armed.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.shared.lock();
        state.dirty.is_empty() && state.working.is_empty()
    }

    /// When the next timer fires.
    #[must_use]
    pub fn next_timer(&self) -> Option<Instant> {
        self.shared
            .lock()
            .timers
            .first_key_value()
            .map(|(alarm, _)| alarm.0)
    }
}

impl<T: Key> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn labels(&self) -> [(&'static str, &'static str); 1] {
        [("name", self.name)]
    }

    fn show_depth(&self, state: &State<T>) {
        let depth = i64::try_from(state.ready.len()).unwrap_or(i64::MAX);
        self.metrics.depth.get_or_create(&self.labels()).set(depth);
    }
}

impl<T: Key> Working for Shared<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn ages(&self) -> Vec<Duration> {
        self.lock().working.values().map(Instant::elapsed).collect()
    }
}

impl<T: Key> State<T> {
    fn add(&mut self, shared: &Shared<T>, key: T) {
        if self.shut_down || self.dirty.contains_key(&key) {
            return;
        }
        shared.metrics.adds.get_or_create(&shared.labels()).inc();
        self.dirty.insert(key.clone(), Instant::now());
        if !self.working.contains_key(&key) {
            self.make_ready(shared, key);
        }
    }

    fn make_ready(&mut self, shared: &Shared<T>, key: T) {
        self.ready.push_back(key);
        shared.show_depth(self);
        shared.changed.notify_one();
    }

    fn take(&mut self, shared: &Shared<T>, now: Instant) -> Option<T> {
        let key = self.ready.pop_front()?;
        if let Some(added) = self.dirty.remove(&key) {
            let waited = now.duration_since(added).as_secs_f64();
            shared
                .metrics
                .queue_duration
                .get_or_create(&shared.labels())
                .observe(waited);
        }
        self.working.insert(key.clone(), now);
        shared.show_depth(self);
        if !self.ready.is_empty() {
            // Two additions may have met one registered worker.
            shared.changed.notify_one();
        }
        Some(key)
    }

    fn done(&mut self, shared: &Shared<T>, key: &T) {
        if let Some(taken) = self.working.remove(key) {
            let worked = taken.elapsed().as_secs_f64();
            shared
                .metrics
                .work_duration
                .get_or_create(&shared.labels())
                .observe(worked);
        }
        if !self.shut_down && self.dirty.contains_key(key) {
            self.make_ready(shared, key.clone());
        }
    }

    /// Counts a failure; the delay that goes with it.
    fn back_off(&mut self, key: &T) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        let delay = 2_u32
            .checked_pow(*failures)
            .and_then(|factor| BACKOFF_BASE.checked_mul(factor));
        *failures = failures.saturating_add(1);
        delay.map_or(BACKOFF_CAP, |delay| delay.min(BACKOFF_CAP))
    }

    fn delay(&mut self, shared: &Shared<T>, key: T, delay: Duration) {
        let alarm = self.alarm(delay);
        let armed = self.armed.entry(key.clone()).or_default();
        match armed.delay {
            Some(known) if known.0 <= alarm.0 => return,
            Some(later) => drop(self.timers.remove(&later)),
            None => {}
        }
        armed.delay = Some(alarm);
        self.arm(shared, alarm, key, Cause::Delay);
    }

    fn wake(&mut self, shared: &Shared<T>, key: T, delay: Option<Duration>) {
        if let Some(former) = self.armed.get_mut(&key).and_then(|armed| armed.wake.take()) {
            self.timers.remove(&former);
            self.disarm(&key);
        }
        if let Some(delay) = delay {
            let alarm = self.alarm(delay);
            self.armed.entry(key.clone()).or_default().wake = Some(alarm);
            self.arm(shared, alarm, key, Cause::Wake);
        }
    }

    fn alarm(&mut self, delay: Duration) -> Alarm {
        self.sequence = self.sequence.wrapping_add(1);
        let now = Instant::now();
        (
            now.checked_add(delay).unwrap_or(now + LONGEST_DELAY),
            self.sequence,
        )
    }

    fn arm(&mut self, shared: &Shared<T>, alarm: Alarm, key: T, cause: Cause) {
        if self.shut_down {
            return;
        }
        let earliest = self
            .timers
            .first_key_value()
            .is_none_or(|(first, _)| alarm < *first);
        self.timers.insert(alarm, (key, cause));
        if earliest {
            // All of them: whichever stays has to know the new deadline.
            shared.changed.notify_waiters();
        }
    }

    fn disarm(&mut self, key: &T) {
        if self
            .armed
            .get(key)
            .is_some_and(|armed| armed.delay.is_none() && armed.wake.is_none())
        {
            self.armed.remove(key);
        }
    }

    fn fire(&mut self, shared: &Shared<T>, now: Instant) {
        while let Some(entry) = self.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let (key, cause) = entry.remove();
            if let Some(armed) = self.armed.get_mut(&key) {
                match cause {
                    Cause::Delay => armed.delay = None,
                    Cause::Wake => armed.wake = None,
                }
            }
            self.disarm(&key);
            self.add(shared, key);
        }
    }
}

/// A key in work. Dropping it, on whatever path, frees the key for the next worker.
pub struct Item<T: Key> {
    shared: Arc<Shared<T>>,
    key: T,
}

impl<T: Key> Deref for Item<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.key
    }
}

impl<T: Key> Drop for Item<T> {
    fn drop(&mut self) {
        self.shared.lock().done(&self.shared, &self.key);
    }
}

impl<T: Key + fmt::Debug> fmt::Debug for Item<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Item").field(&self.key).finish()
    }
}

/// Token bucket that lends: a reservation beyond what is there tells how long to wait.
struct Bucket {
    tokens: f64,
    refilled: Option<Instant>,
}

impl Bucket {
    const fn full() -> Self {
        Self {
            tokens: OVERALL_BURST,
            refilled: None,
        }
    }

    fn reserve(&mut self, now: Instant) -> Duration {
        let since = self
            .refilled
            .map_or(Duration::ZERO, |refilled| now.duration_since(refilled));
        self.refilled = Some(now);
        self.tokens = (self.tokens + since.as_secs_f64() * OVERALL_RATE).min(OVERALL_BURST) - 1.0;
        Duration::try_from_secs_f64(-self.tokens / OVERALL_RATE).unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests;
