//! Writes on their way to disk.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::store::{Object, Revision, TableName};

/// One write of the store.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) table: TableName,
    pub(crate) object: Arc<Object>,
    /// False: the object is gone, `object` is its last version.
    pub(crate) is_stored: bool,
}

/// Writes that are committed together.
#[derive(Debug)]
pub(crate) struct Batch {
    /// In the order in which they were made.
    pub(crate) records: Vec<Record>,
    /// The last of them.
    pub(crate) revision: Revision,
}

#[derive(Debug)]
struct Pending {
    records: Vec<Record>,
    revision: Revision,
    closed: bool,
}

/// How far the writer thread is.
#[derive(Clone, Debug)]
struct Progress {
    committed: Revision,
    failure: Option<Arc<redb::Error>>,
}

/// A queue from the store to the writer thread. Not bounded itself: every request waits for its own writes, so it never
/// holds more than those of the requests under way.
#[derive(Debug)]
pub(crate) struct Journal {
    pending: Mutex<Pending>,
    filled: Condvar,
    progress: watch::Sender<Progress>,
}

impl Journal {
    /// A journal whose first write is the one after `start`.
    pub(crate) fn new(start: Revision) -> Self {
        Self {
            pending: Mutex::new(Pending {
                records: Vec::new(),
                revision: start,
                closed: false,
            }),
            filled: Condvar::new(),
            progress: watch::Sender::new(Progress {
                committed: start,
                failure: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Each change of the queue is one statement; a panic leaves it whole.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a write. Called with the store locked, so that the order is that of revisions.
    pub(crate) fn push(&self, record: Record) {
        let mut pending = self.lock();
        pending.revision = record.object.revision;
        pending.records.push(record);
        drop(pending);
        self.filled.notify_one();
    }

    /// Lets the writer thread end after what is there.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Waits until all writes up to a revision are committed.
    ///
    /// # Errors
    /// Why they never will be.
    pub(crate) async fn wait_for(&self, revision: Revision) -> Result<(), Arc<redb::Error>> {
        let mut progress = self.progress.subscribe();
        let reached = progress
            .wait_for(|progress| progress.committed >= revision || progress.failure.is_some())
            .await;
        match reached {
            Ok(progress) if progress.committed >= revision => Ok(()),
            Ok(progress) => Err(progress.failure.clone().unwrap_or_else(closed)),
            // The sender is in `self`.
            Err(_) => Err(closed()),
        }
    }

    /// Waits until a commit fails.
    pub(crate) async fn failure(&self) -> Arc<redb::Error> {
        let mut progress = self.progress.subscribe();
        match progress.wait_for(|progress| progress.failure.is_some()).await {
            Ok(progress) => progress.failure.clone().unwrap_or_else(closed),
            Err(_) => closed(),
        }
    }

    /// The end of the writer thread. Only one at a time.
    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer(self)
    }
}

fn closed() -> Arc<redb::Error> {
    Arc::new(redb::Error::DatabaseClosed)
}

/// The reading end of a journal. Dropped, whoever still waits is told that nothing is written any more: a panic of the
/// thread must not leave requests waiting.
#[derive(Debug)]
pub(crate) struct Writer<'a>(&'a Journal);

impl Writer<'_> {
    /// Waits for writes; `None` once the journal is closed and empty.
    pub(crate) fn next_batch(&self) -> Option<Batch> {
        let idle = |pending: &mut Pending| pending.records.is_empty() && !pending.closed;
        let mut pending = self
            .0
            .filled
            .wait_while(self.0.lock(), idle)
            .unwrap_or_else(PoisonError::into_inner);
        if pending.records.is_empty() {
            return None;
        }
        Some(Batch {
            records: std::mem::take(&mut pending.records),
            revision: pending.revision,
        })
    }

    /// All writes up to a revision are on disk.
    pub(crate) fn committed(&self, revision: Revision) {
        self.0
            .progress
            .send_modify(|progress| progress.committed = revision);
    }

    /// A commit failed: nothing will be written any more.
    pub(crate) fn failed(&self, error: redb::Error) {
        self.0
            .progress
            .send_modify(|progress| progress.failure = Some(Arc::new(error)));
    }

    /// The last revision that was written.
    pub(crate) fn end(&self) -> Revision {
        self.0.lock().revision
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.0.progress.send_modify(|progress| {
            progress.failure.get_or_insert_with(closed);
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::store::{Draft, Key, Store};

    fn store() -> (Store, Arc<Journal>) {
        let store = Store::new(Revision(0), 10);
        let journal = Arc::new(Journal::new(Revision(0)));
        store.attach(Arc::clone(&journal));
        (store, journal)
    }

    fn create(store: &Store, name: &str) -> Revision {
        let draft = Draft::new(&json!({"metadata": {"name": name}}));
        store
            .create(&"configmaps".into(), &Key::new("n", name), &draft)
            .unwrap()
            .revision
    }

    #[tokio::test]
    async fn api_684_all_writes_that_wait_are_one_batch() {
        let (store, journal) = store();
        let revisions: Vec<Revision> = ["a", "b", "c"].iter().map(|name| create(&store, name)).collect();
        let writer = journal.writer();
        let batch = writer.next_batch().unwrap();
        assert_eq!(batch.revision, revisions[2]);
        let of_batch: Vec<Revision> = batch
            .records
            .iter()
            .map(|record| record.object.revision)
            .collect();
        assert_eq!(of_batch, revisions);
        let waiting = journal.wait_for(revisions[1]);
        tokio::pin!(waiting);
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        writer.committed(batch.revision);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn api_684_nobody_waits_for_a_writer_that_ended() {
        let (store, journal) = store();
        let revision = create(&store, "a");
        let writer = journal.writer();
        writer.failed(redb::Error::Io(std::io::ErrorKind::StorageFull.into()));
        assert!(matches!(
            *journal.wait_for(revision).await.unwrap_err(),
            redb::Error::Io(_)
        ));
        drop(writer);
        assert!(matches!(*journal.failure().await, redb::Error::Io(_)));
        let (store, journal) = self::store();
        let revision = create(&store, "a");
        drop(journal.writer());
        assert!(journal.wait_for(revision).await.is_err());
    }
}
