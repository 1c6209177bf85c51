//! The versioned store: every object of the server, one revision counter, and the recent history of each table.
//!
//! An object version is kept as its serialised JSON, without `kind` and `apiVersion`: a list, a watch event and a
//! single answer are made by joining bytes, all readers share them, and ten thousand pods take tens of megabytes.
//! Whoever needs to look inside parses a version again, which costs microseconds.
//!
//! Watches keep no queue of their own. Each one has a cursor into the history of its table and reads on when it is
//! polled; one whose cursor has fallen out of the history is cut off (API-243).

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::persist::journal::{Journal, Record};

/// A value of the server-wide write counter (API-61).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Place of an object in its table. The order is that of lists (API-191).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl Key {
    /// Makes a key; `namespace` is empty for cluster-scoped objects.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// Name of a table, shared by all versions of a resource: `pods`, `deployments.apps`.
pub type TableName = Arc<str>;

/// One version of an object.
#[derive(Debug)]
pub struct Object {
    /// Where it is stored.
    pub key: Key,
    /// The write that made this version.
    pub revision: Revision,
    json: Bytes,
    slot: usize,
    /// Length of the value of `metadata.managedFields`; 0 if there is none.
    managed: usize,
}

impl Object {
    /// A version as [`Object::json`] gave it once.
    pub(crate) fn from_json(key: Key, revision: Revision, json: Bytes) -> Self {
        let digits = revision.to_string();
        let slot = json
            .strip_suffix(END)
            .and_then(|json| json.strip_suffix(digits.as_bytes()))
            .and_then(|json| json.ends_with(BEGIN_REVISION).then_some(json.len()));
        match slot {
            Some(slot) => Self {
                key,
                revision,
                managed: managed_length(&json, slot),
                json,
                slot,
            },
            None => Draft::new(&serde_json::from_slice(&json).unwrap_or(Value::Null)).stamp(key, revision),
        }
    }

    /// The JSON object without `kind` and `apiVersion`.
    #[must_use]
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// Parses the version without `metadata.managedFields`, which often is half of it and which only clients look at;
    /// `kind` and `apiVersion` are absent.
    #[must_use]
    pub fn parse(&self) -> Value {
        let Some((start, end)) = self.managed_range() else {
            return self.parse_whole();
        };
        let mut json = Vec::with_capacity(self.json.len());
        json.extend_from_slice(self.json.get(..start - MANAGED_FIELDS.len()).unwrap_or_default());
        json.extend_from_slice(self.json.get(end + 1..).unwrap_or_default());
        serde_json::from_slice(&json).unwrap_or(Value::Null)
    }

    /// Parses the version; `kind` and `apiVersion` are absent.
    #[must_use]
    pub fn parse_whole(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or(Value::Null)
    }

    /// The JSON of `metadata.managedFields`; empty if there is none.
    #[must_use]
    pub fn managed_fields(&self) -> &[u8] {
        self.managed_range()
            .and_then(|(start, end)| self.json.get(start..end))
            .unwrap_or_default()
    }

    fn managed_range(&self) -> Option<(usize, usize)> {
        // A comma stands between the two.
        let end = self.slot - BEGIN_REVISION.len() - 1;
        (self.managed > 0).then(|| (end - self.managed, end))
    }

    /// A draft of a new version with the present `managedFields`: for writes that nobody is to own.
    #[must_use]
    pub fn redraft(&self, object: &Value) -> Draft {
        Draft::with_managed_fields(object, self.managed_fields())
    }

    /// The same content under another revision: what watchers see when an object leaves their view (API-233, API-234).
    #[must_use]
    pub fn restamped(&self, revision: Revision) -> Self {
        let draft = Draft {
            json: self.without_revision(),
            slot: self.slot,
            managed: self.managed,
        };
        draft.stamp(self.key.clone(), revision)
    }

    fn without_revision(&self) -> Vec<u8> {
        let digits = self.revision.to_string().len();
        let mut json = Vec::with_capacity(self.json.len());
        json.extend_from_slice(self.json.get(..self.slot).unwrap_or_default());
        json.extend_from_slice(self.json.get(self.slot + digits..).unwrap_or_default());
        json
    }
}

/// What stands before and after the revision in a stored version: it is its last member.
const BEGIN_REVISION: &[u8] = b"\"resourceVersion\":\"";
const END: &[u8] = b"\"}}";
const MANAGED_FIELDS: &[u8] = b"\"managedFields\":";

/// Length of the value of `managedFields`, which if there is one is the member before the resource version.
fn managed_length(json: &[u8], slot: usize) -> usize {
    let end = slot - BEGIN_REVISION.len() - 1;
    let before = json.get(..end).unwrap_or_default();
    let found = before
        .windows(MANAGED_FIELDS.len())
        .rposition(|window| window == MANAGED_FIELDS)
        .map(|start| start + MANAGED_FIELDS.len());
    // The same name elsewhere in the object does not end here.
    found
        .and_then(|start| before.get(start..))
        .filter(|value| serde_json::from_slice::<serde::de::IgnoredAny>(value).is_ok())
        .map_or(0, <[u8]>::len)
}

/// A serialised object that waits for its revision. Made before the store is locked, so that the lock covers a copy
/// of bytes only.
#[derive(Debug)]
pub struct Draft {
    json: Vec<u8>,
    slot: usize,
    managed: usize,
}

impl Draft {
    /// Serialises `object`, its `managedFields` included, with room for its resource version.
    #[must_use]
    pub fn new(object: &Value) -> Self {
        let managed = object
            .pointer("/metadata/managedFields")
            .filter(|managed| managed.as_array().is_some_and(|entries| !entries.is_empty()))
            .map(Value::to_string)
            .unwrap_or_default();
        Self::with_managed_fields(object, managed.as_bytes())
    }

    /// Serialises `object` with these `managedFields` in place of its own, given as JSON; none if empty.
    #[must_use]
    pub fn with_managed_fields(object: &Value, managed: &[u8]) -> Self {
        let mut json = Vec::with_capacity(1024 + managed.len());
        json.push(b'{');
        let empty = Map::new();
        let metadata = object
            .get("metadata")
            .and_then(Value::as_object)
            .unwrap_or(&empty);
        if let Some(members) = object.as_object() {
            for (name, value) in members {
                if name != "metadata" && name != "kind" && name != "apiVersion" {
                    write_member(&mut json, name, value);
                    json.push(b',');
                }
            }
        }
        json.extend_from_slice(b"\"metadata\":{");
        for (name, value) in metadata {
            if name != "resourceVersion" && name != "managedFields" {
                write_member(&mut json, name, value);
                json.push(b',');
            }
        }
        if !managed.is_empty() {
            json.extend_from_slice(MANAGED_FIELDS);
            json.extend_from_slice(managed);
            json.push(b',');
        }
        json.extend_from_slice(BEGIN_REVISION);
        let slot = json.len();
        json.extend_from_slice(END);
        json.shrink_to_fit();
        Self {
            json,
            slot,
            managed: managed.len(),
        }
    }

    pub(crate) fn stamp(&self, key: Key, revision: Revision) -> Object {
        let digits = revision.to_string();
        let mut json = Vec::with_capacity(self.json.len() + digits.len());
        json.extend_from_slice(self.json.get(..self.slot).unwrap_or_default());
        json.extend_from_slice(digits.as_bytes());
        json.extend_from_slice(self.json.get(self.slot..).unwrap_or_default());
        Object {
            key,
            revision,
            json: json.into(),
            slot: self.slot,
            managed: self.managed,
        }
    }
}

fn write_member(json: &mut Vec<u8>, name: &str, value: &Value) {
    // Writing JSON values into memory cannot fail: every map key is a string.
    let _ = serde_json::to_writer(&mut *json, name);
    json.push(b':');
    let _ = serde_json::to_writer(&mut *json, value);
}

/// What a write did to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The object did not exist before.
    Added,
    /// A new version of an existing object.
    Modified,
    /// The object is gone; the change holds its last content under the revision of the deletion.
    Deleted,
}

/// One entry of a table's history.
#[derive(Clone, Debug)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// The version that the write made.
    pub object: Arc<Object>,
    /// The version before.
    pub previous: Option<Arc<Object>>,
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// An object is stored under this key.
    #[error("the object exists already")]
    Exists,
    /// Nothing is stored under this key.
    #[error("the object does not exist")]
    Missing,
    /// The stored version is not the one that the writer has read.
    #[error("the object has been changed by another writer")]
    Changed,
}

/// Why a past state cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The history no longer reaches back to the revision.
    #[error("the revision has been compacted")]
    Compacted {
        /// Oldest revision that can still be read.
        oldest: Revision,
    },
    /// The revision has not been written yet.
    #[error("the revision is in the future")]
    Future {
        /// The newest revision.
        current: Revision,
    },
}

#[derive(Debug)]
struct Table {
    objects: BTreeMap<Key, Arc<Object>>,
    history: VecDeque<Change>,
    /// Revision of the newest change.
    newest: Revision,
    /// Changes up to and including this revision are no longer in `history`.
    compacted: Revision,
    /// One channel per watch, in the order in which they came: receivers of one channel are woken in random order, and
    /// a deterministic simulation could not repeat itself.
    signals: Vec<watch::Sender<()>>,
}

impl Table {
    fn new(compacted: Revision) -> Self {
        Self {
            objects: BTreeMap::new(),
            history: VecDeque::new(),
            newest: compacted,
            compacted,
            signals: Vec::new(),
        }
    }

    fn range<'a>(
        &'a self,
        namespace: Option<&'a str>,
        after: Option<&Key>,
    ) -> impl Iterator<Item = (&'a Key, &'a Arc<Object>)> + 'a {
        let first = match (after, namespace) {
            (Some(key), _) => Bound::Excluded(key.clone()),
            (None, Some(namespace)) => Bound::Included(Key::new(namespace, "")),
            (None, None) => Bound::Unbounded,
        };
        self.objects
            .range((first, Bound::Unbounded))
            .take_while(move |(key, _)| namespace.is_none_or(|namespace| *key.namespace == *namespace))
    }

    fn changes_after(&self, revision: Revision) -> impl DoubleEndedIterator<Item = &Change> {
        let start = self
            .history
            .partition_point(|change| change.object.revision <= revision);
        self.history.range(start..)
    }

    fn record(&mut self, change: Change, limit: usize) {
        self.newest = change.object.revision;
        self.history.push_back(change);
        while self.history.len() > limit {
            if let Some(gone) = self.history.pop_front() {
                self.compacted = gone.object.revision;
            }
        }
        self.wake();
    }

    fn wake(&mut self) {
        self.signals.retain(|signal| signal.send(()).is_ok());
    }
}

#[derive(Debug)]
struct State {
    revision: Revision,
    tables: FxHashMap<TableName, Table>,
    history_limit: usize,
    /// Start of history for tables that do not exist yet.
    floor: Revision,
    /// Where writes go on their way to disk; `None`: they stay in memory.
    journal: Option<Arc<Journal>>,
}

impl State {
    fn table(&mut self, name: &TableName) -> &mut Table {
        let floor = self.floor;
        self.tables
            .entry(Arc::clone(name))
            .or_insert_with(|| Table::new(floor))
    }

    fn next_revision(&mut self) -> Revision {
        self.revision = Revision(self.revision.0.saturating_add(1));
        self.revision
    }

    /// Notes a write in the history of its table and on its way to disk.
    fn record(&mut self, name: &TableName, change: Change) {
        if let Some(journal) = &self.journal {
            journal.push(Record {
                table: Arc::clone(name),
                object: Arc::clone(&change.object),
                is_stored: change.kind != ChangeKind::Deleted,
            });
        }
        let limit = self.history_limit;
        self.table(name).record(change, limit);
    }
}

/// The whole state of the server. All methods take a short lock and never wait.
#[derive(Debug)]
pub struct Store {
    state: Mutex<State>,
}

/// Objects of a table at one revision.
#[derive(Debug)]
pub struct Page {
    /// The revision at which `objects` were the content.
    pub revision: Revision,
    /// In list order.
    pub objects: Vec<Arc<Object>>,
}

impl Store {
    /// An empty store whose first write gets the revision after `start`, with `history_limit` changes kept per table.
    #[must_use]
    pub fn new(start: Revision, history_limit: usize) -> Self {
        let state = State {
            revision: start,
            tables: FxHashMap::default(),
            history_limit,
            floor: start,
            journal: None,
        };
        Self {
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held leaves at worst a revision that no object has.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision of the newest write.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.lock().revision
    }

    /// The newest version of an object.
    #[must_use]
    pub fn get(&self, table: &TableName, key: &Key) -> Option<Arc<Object>> {
        self.lock().tables.get(table)?.objects.get(key).map(Arc::clone)
    }

    /// Writes after `revision`, of all tables, in the order in which they were made. Writes that the history no longer
    /// holds are left out.
    #[must_use]
    pub fn changes_after(&self, revision: Revision) -> Vec<(TableName, Change)> {
        let state = self.lock();
        let tables = state.tables.iter();
        let mut changes: Vec<(TableName, Change)> = tables
            .flat_map(|(name, table)| {
                table
                    .changes_after(revision)
                    .map(|change| (Arc::clone(name), change.clone()))
            })
            .collect();
        changes.sort_by_key(|(_, change)| change.object.revision);
        changes
    }

    /// Whether the table has any object.
    #[must_use]
    pub fn is_table_empty(&self, table: &TableName) -> bool {
        self.lock()
            .tables
            .get(table)
            .is_none_or(|table| table.objects.is_empty())
    }

    /// Number of objects in all tables.
    #[must_use]
    pub fn object_count(&self) -> usize {
        self.lock().tables.values().map(|table| table.objects.len()).sum()
    }

    /// Stores a new object.
    ///
    /// # Errors
    /// [`WriteError::Exists`].
    pub fn create(&self, table: &TableName, key: &Key, draft: &Draft) -> Result<Arc<Object>, WriteError> {
        let mut state = self.lock();
        if state.table(table).objects.contains_key(key) {
            return Err(WriteError::Exists);
        }
        let revision = state.next_revision();
        let object = Arc::new(draft.stamp(key.clone(), revision));
        state
            .table(table)
            .objects
            .insert(key.clone(), Arc::clone(&object));
        let change = Change {
            kind: ChangeKind::Added,
            object: Arc::clone(&object),
            previous: None,
        };
        state.record(table, change);
        Ok(object)
    }

    /// Replaces the version `expected` of an object.
    ///
    /// # Errors
    /// [`WriteError::Missing`] and [`WriteError::Changed`].
    pub fn replace(
        &self,
        table: &TableName,
        key: &Key,
        expected: Revision,
        draft: &Draft,
    ) -> Result<Arc<Object>, WriteError> {
        let mut state = self.lock();
        check_expected(state.table(table), key, expected)?;
        let revision = state.next_revision();
        let object = Arc::new(draft.stamp(key.clone(), revision));
        let previous = state
            .table(table)
            .objects
            .insert(key.clone(), Arc::clone(&object));
        let change = Change {
            kind: ChangeKind::Modified,
            object: Arc::clone(&object),
            previous,
        };
        state.record(table, change);
        Ok(object)
    }

    /// Removes the version `expected` of an object; `last` is the content that watchers see with the deletion.
    ///
    /// # Errors
    /// [`WriteError::Missing`] and [`WriteError::Changed`].
    pub fn remove(
        &self,
        table: &TableName,
        key: &Key,
        expected: Revision,
        last: &Draft,
    ) -> Result<Arc<Object>, WriteError> {
        let mut state = self.lock();
        check_expected(state.table(table), key, expected)?;
        let revision = state.next_revision();
        let object = Arc::new(last.stamp(key.clone(), revision));
        let previous = state.table(table).objects.remove(key);
        let change = Change {
            kind: ChangeKind::Deleted,
            object: Arc::clone(&object),
            previous,
        };
        state.record(table, change);
        Ok(object)
    }

    /// All objects of a table, or of one namespace in it, after key `after`, as of now.
    #[must_use]
    pub fn list(&self, table: &TableName, namespace: Option<&str>, after: Option<&Key>) -> Page {
        let mut state = self.lock();
        let revision = state.revision;
        let objects = state
            .table(table)
            .range(namespace, after)
            .map(|(_, object)| Arc::clone(object))
            .collect();
        Page { revision, objects }
    }

    /// Like [`Store::list`], as of a past revision: today's objects with all later changes undone.
    ///
    /// # Errors
    /// [`ReadError`] when the history does not reach there.
    pub fn list_at(
        &self,
        table: &TableName,
        namespace: Option<&str>,
        after: Option<&Key>,
        at: Revision,
    ) -> Result<Page, ReadError> {
        let mut state = self.lock();
        let current = state.revision;
        if at > current {
            return Err(ReadError::Future { current });
        }
        let table = state.table(table);
        if at < table.compacted {
            return Err(ReadError::Compacted {
                oldest: table.compacted,
            });
        }
        let mut past: BTreeMap<Key, Option<Arc<Object>>> = BTreeMap::new();
        for change in table.changes_after(at).rev() {
            let key = &change.object.key;
            let wanted = namespace.is_none_or(|namespace| *key.namespace == *namespace)
                && after.is_none_or(|after| key > after);
            if wanted {
                past.insert(key.clone(), change.previous.clone());
            }
        }
        let mut objects: BTreeMap<&Key, Arc<Object>> = table
            .range(namespace, after)
            .map(|(key, object)| (key, Arc::clone(object)))
            .collect();
        for (key, object) in &past {
            match object {
                Some(object) => objects.insert(key, Arc::clone(object)),
                None => objects.remove(key),
            };
        }
        Ok(Page {
            revision: at,
            objects: objects.into_values().collect(),
        })
    }

    /// Checks that a watch can start after `from`; a revision in the future is allowed (API-241).
    ///
    /// # Errors
    /// [`ReadError::Compacted`].
    pub fn check_history(&self, table: &TableName, from: Revision) -> Result<(), ReadError> {
        let mut state = self.lock();
        let compacted = state.table(table).compacted;
        if from < compacted {
            Err(ReadError::Compacted { oldest: compacted })
        } else {
            Ok(())
        }
    }

    /// Up to `limit` changes of a table after a revision, with the revision up to which they are complete.
    ///
    /// # Errors
    /// [`ReadError::Compacted`] when some of them are gone.
    pub fn changes(
        &self,
        table: &TableName,
        after: Revision,
        limit: usize,
    ) -> Result<(Vec<Change>, Revision), ReadError> {
        let mut state = self.lock();
        let current = state.revision;
        let table = state.table(table);
        if after < table.compacted {
            return Err(ReadError::Compacted {
                oldest: table.compacted,
            });
        }
        let changes: Vec<Change> = table.changes_after(after).take(limit).cloned().collect();
        let complete = match changes.last() {
            Some(last) if changes.len() == limit => last.object.revision,
            _ => current.max(after),
        };
        Ok((changes, complete))
    }

    /// A receiver that is marked changed after each write to the table.
    #[must_use]
    pub fn subscribe(&self, table: &TableName) -> watch::Receiver<()> {
        let (signal, receiver) = watch::channel(());
        self.lock().table(table).signals.push(signal);
        receiver
    }

    /// Revision of the newest change in any of `tables`: whoever keeps something made from them asks whether it is
    /// still good.
    #[must_use]
    pub fn version_of(&self, tables: &[TableName]) -> Revision {
        let mut state = self.lock();
        let versions = tables.iter().map(|table| state.table(table).newest);
        versions.max().unwrap_or_default()
    }

    /// Forgets all history: watches and snapshots from older revisions are answered with 410 from now on.
    pub fn compact(&self) {
        let mut state = self.lock();
        let revision = state.revision;
        state.floor = revision;
        for table in state.tables.values_mut() {
            table.history.clear();
            table.compacted = revision;
            table.wake();
        }
    }

    /// From now on all writes go to `journal` too.
    pub(crate) fn attach(&self, journal: Arc<Journal>) {
        self.lock().journal = Some(journal);
    }

    /// Puts an object of an earlier run back under its old revision, without history.
    pub(crate) fn restore(&self, table: &TableName, object: Object) {
        let key = object.key.clone();
        self.lock().table(table).objects.insert(key, Arc::new(object));
    }
}

fn check_expected(table: &Table, key: &Key, expected: Revision) -> Result<(), WriteError> {
    match table.objects.get(key) {
        None => Err(WriteError::Missing),
        Some(stored) if stored.revision == expected => Ok(()),
        Some(_) => Err(WriteError::Changed),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn store() -> (Store, TableName) {
        (Store::new(Revision(100), 4), "configmaps".into())
    }

    fn draft(value: &str) -> Draft {
        Draft::new(&json!({"metadata": {"name": "a", "zone": 1}, "data": {"k": value}, "kind": "ConfigMap"}))
    }

    fn names(page: &Page) -> Vec<String> {
        page.objects
            .iter()
            .map(|object| format!("{}/{}", object.key.namespace, object.key.name))
            .collect()
    }

    #[test]
    fn api_293_managed_fields_are_kept_apart() {
        let whole =
            json!({"metadata": {"name": "a", "managedFields": [{"manager": "m"}]}, "data": {"k": "v"}});
        let store = Store::new(Revision(6), 10);
        let table: TableName = "configmaps".into();
        let stored = store
            .create(&table, &Key::new("n", "a"), &Draft::new(&whole))
            .unwrap();
        let plain = json!({"metadata": {"name": "a", "resourceVersion": "7"}, "data": {"k": "v"}});
        assert_eq!(stored.parse(), plain);
        assert_eq!(stored.managed_fields(), br#"[{"manager":"m"}]"#);
        let again = store
            .replace(&table, &Key::new("n", "a"), Revision(7), &stored.redraft(&plain))
            .unwrap();
        assert_eq!(
            again.parse_whole()["metadata"]["managedFields"],
            json!([{"manager": "m"}])
        );
        assert_eq!(
            again.restamped(Revision(9)).parse()["metadata"]["resourceVersion"],
            json!("9")
        );
        let loaded = Object::from_json(again.key.clone(), again.revision, again.json().clone());
        assert_eq!(loaded.managed_fields(), again.managed_fields());
        let other = json!({"metadata": {"name": "a"}, "spec": {"managedFields": []}});
        let other = Draft::new(&other).stamp(Key::new("n", "b"), Revision(1));
        let loaded = Object::from_json(other.key.clone(), other.revision, other.json().clone());
        assert_eq!(loaded.managed_fields(), b"");
    }

    #[test]
    fn api_61_one_counter_for_all_tables() {
        let (store, table) = store();
        let other: TableName = "pods".into();
        let first = store.create(&table, &Key::new("n", "a"), &draft("1")).unwrap();
        let second = store.create(&other, &Key::new("n", "a"), &draft("1")).unwrap();
        assert_eq!((first.revision, second.revision), (Revision(101), Revision(102)));
        assert_eq!(second.parse()["metadata"]["resourceVersion"], "102");
        assert_eq!(second.parse().get("kind"), None);
    }

    #[test]
    fn api_34_writes_need_the_version_that_was_read() {
        let (store, table) = store();
        let key = Key::new("n", "a");
        let first = store.create(&table, &key, &draft("1")).unwrap();
        assert_eq!(
            store.create(&table, &key, &draft("1")).unwrap_err(),
            WriteError::Exists
        );
        store.replace(&table, &key, first.revision, &draft("2")).unwrap();
        let stale = store
            .replace(&table, &key, first.revision, &draft("3"))
            .unwrap_err();
        assert_eq!(stale, WriteError::Changed);
        assert_eq!(
            store
                .remove(&table, &key, first.revision, &draft("3"))
                .unwrap_err(),
            WriteError::Changed
        );
    }

    #[test]
    fn api_191_order_is_namespace_then_name() {
        let (store, table) = store();
        for (namespace, name) in [
            ("b", "a"),
            ("a", "ab"),
            ("a", "a0"),
            ("a", "a.b"),
            ("a", "a-b"),
            ("a", "a"),
        ] {
            store
                .create(&table, &Key::new(namespace, name), &draft("1"))
                .unwrap();
        }
        let all = store.list(&table, None, None);
        assert_eq!(names(&all), ["a/a", "a/a-b", "a/a.b", "a/a0", "a/ab", "b/a"]);
        let rest = store.list(&table, Some("a"), Some(&Key::new("a", "a.b")));
        assert_eq!(names(&rest), ["a/a0", "a/ab"]);
    }

    #[test]
    fn api_193_past_states_are_rebuilt_from_history() {
        let (store, table) = store();
        let first = store.create(&table, &Key::new("n", "a"), &draft("1")).unwrap();
        let second = store.create(&table, &Key::new("n", "b"), &draft("1")).unwrap();
        store
            .replace(&table, &Key::new("n", "a"), first.revision, &draft("2"))
            .unwrap();
        store
            .remove(&table, &Key::new("n", "b"), second.revision, &draft("1"))
            .unwrap();
        let past = store.list_at(&table, None, None, second.revision).unwrap();
        assert_eq!(names(&past), ["n/a", "n/b"]);
        assert_eq!(past.objects[0].parse()["data"]["k"], "1");
        let older = store.list_at(&table, None, None, first.revision).unwrap();
        assert_eq!(names(&older), ["n/a"]);
        assert_eq!(
            store.list_at(&table, None, None, Revision(105)).unwrap_err(),
            ReadError::Future {
                current: Revision(104)
            }
        );
    }

    #[test]
    fn api_240_history_is_bounded_and_can_be_compacted() {
        let (store, table) = store();
        for name in ["a", "b", "c", "d", "e"] {
            store.create(&table, &Key::new("n", name), &draft("1")).unwrap();
        }
        assert!(store.changes(&table, Revision(100), 10).is_err());
        let (changes, complete) = store.changes(&table, Revision(101), 2).unwrap();
        assert_eq!((changes.len(), complete), (2, Revision(103)));
        store.compact();
        assert!(store.check_history(&table, Revision(104)).is_err());
        assert!(store.check_history(&table, Revision(105)).is_ok());
    }

    #[test]
    fn api_233_a_deletion_has_a_revision_of_its_own() {
        let (store, table) = store();
        let key = Key::new("n", "a");
        let first = store.create(&table, &key, &draft("1")).unwrap();
        let gone = store.remove(&table, &key, first.revision, &draft("1")).unwrap();
        assert_eq!(gone.revision, Revision(102));
        assert_eq!(
            gone.restamped(Revision(7)).parse()["metadata"]["resourceVersion"],
            "7"
        );
        assert_eq!(store.get(&table, &key).map(|object| object.revision), None);
    }
}
