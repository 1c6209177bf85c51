//! Keys to look at: each at most once at a time, later if asked, with growing pauses after failures.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// First and longest pause after failures of a key; doubles in between.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(crate) struct Backlog<K> {
    ready: VecDeque<K>,
    /// In `ready`, or to be looked at again after the present run.
    wanted: BTreeSet<K>,
    running: BTreeSet<K>,
    later: BinaryHeap<Reverse<(Instant, K)>>,
    failures: BTreeMap<K, u32>,
}

impl<K: Ord + Clone> Backlog<K> {
    pub(crate) fn new() -> Self {
        Self {
            ready: VecDeque::new(),
            wanted: BTreeSet::new(),
            running: BTreeSet::new(),
            later: BinaryHeap::new(),
            failures: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, key: K) {
        if self.wanted.insert(key.clone()) && !self.running.contains(&key) {
            self.ready.push_back(key);
        }
    }

    pub(crate) fn add_after(&mut self, key: K, wait: Duration) {
        let now = Instant::now();
        self.later
            .push(Reverse((now.checked_add(wait).unwrap_or(now), key)));
    }

    /// The next key. It does not come again before [`done`](Self::done) or [`failed`](Self::failed).
    pub(crate) fn take(&mut self) -> Option<K> {
        let now = Instant::now();
        while self.later.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            if let Some(Reverse((_, key))) = self.later.pop() {
                self.add(key);
            }
        }
        let key = self.ready.pop_front()?;
        self.wanted.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    pub(crate) fn done(&mut self, key: &K) {
        self.failures.remove(key);
        self.release(key);
    }

    pub(crate) fn failed(&mut self, key: &K) {
        let count = self.failures.entry(key.clone()).or_default();
        let factor = 1u32
            .checked_shl(*count)
            .filter(|factor| *factor > 0)
            .unwrap_or(u32::MAX);
        *count = count.saturating_add(1);
        self.add_after(key.clone(), FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE));
        self.release(key);
    }

    fn release(&mut self, key: &K) {
        self.running.remove(key);
        if self.wanted.contains(key) {
            self.ready.push_back(key.clone());
        }
    }

    /// Sleeps until a key that was added for later is due; for ever if there is none. Cancel-safe.
    pub(crate) async fn due(&self) {
        match self.later.peek() {
            Some(Reverse((at, _))) => tokio::time::sleep_until(*at).await,
            None => std::future::pending().await,
        }
    }
}
