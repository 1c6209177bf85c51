//! How far a watch has come: what a write is compared with before its key is planned again (RS-31).

use std::any::TypeId;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::version_number;
use crate::objects::Uid;

/// Versions remembered when a server's versions are no numbers.
const REMEMBERED: usize = 1024;

/// A kind that informers and writes talk about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId {
    type_: TypeId,
    name: &'static str,
}

impl KindId {
    /// The id of a kind.
    #[must_use]
    pub fn of<K: kube::Resource + 'static>() -> Self {
        let path = std::any::type_name::<K>();
        Self {
            type_: TypeId::of::<K>(),
            name: path.rsplit("::").next().unwrap_or(path),
        }
    }

    /// Name of the type, `Pod`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }
}

impl fmt::Debug for KindId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A place in the sequence of lists of one watch. Lists that start later show everything written before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

/// How far one watch has come. Reading is wait-free; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    seen: AtomicU64,
    lists_started: AtomicU64,
    lists_done: AtomicU64,
    texts: Mutex<VecDeque<Arc<str>>>,
}

impl Progress {
    /// Highest resourceVersion that the cache shows, 0 before the first.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.shared.seen.load(Ordering::Acquire)
    }

    /// The present place in the sequence of lists.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(self.shared.lists_started.load(Ordering::Acquire))
    }

    /// Whether a list that started after the mark was taken is complete.
    #[must_use]
    pub fn listed_since(&self, mark: Mark) -> bool {
        self.shared.lists_done.load(Ordering::Acquire) > mark.0
    }

    /// Whether at least one list is complete.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.listed_since(Mark(0))
    }

    /// Whether the cache shows a write that was answered with `version` when `mark` was taken.
    #[must_use]
    pub fn reached(&self, version: &str, mark: Mark) -> bool {
        let shown = match version_number(version) {
            Some(number) => self.seen() >= number,
            None => self.texts().iter().any(|text| &**text == version),
        };
        shown || self.listed_since(mark)
    }

    pub(super) fn see(&self, version: Option<&str>) {
        let Some(version) = version else { return };
        if let Some(number) = version_number(version) {
            self.shared.seen.fetch_max(number, Ordering::AcqRel);
            return;
        }
        let mut texts = self.texts();
        if texts.len() == REMEMBERED {
            texts.pop_front();
        }
        texts.push_back(version.into());
    }

    pub(super) fn start_list(&self) {
        self.shared.lists_started.fetch_add(1, Ordering::AcqRel);
    }

    /// Lists of one watch do not overlap: the one that is complete is the last one started.
    pub(super) fn finish_list(&self) {
        let started = self.shared.lists_started.load(Ordering::Acquire);
        self.shared.lists_done.store(started, Ordering::Release);
    }

    fn texts(&self) -> std::sync::MutexGuard<'_, VecDeque<Arc<str>>> {
        self.shared.texts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Told to whoever waits for a cache, after it shows an event.
#[derive(Clone, Debug)]
pub struct Advance {
    /// The kind whose cache advanced.
    pub kind: KindId,
    /// Highest version seen.
    pub seen: u64,
    /// An object that is gone or on its way out since.
    pub gone: Option<Uid>,
    /// Whether this was the end of a list.
    pub listed: bool,
}
