//! The state on disk: one redb file in the data directory (API-683).
//!
//! Every write of the store goes into the [`journal`] in the order of revisions. One thread takes what waits there at a
//! moment and commits it as one transaction with one fsync; a request is answered when its writes are committed. Readers
//! and watchers do not wait: they may see a write that a crash then undoes, which is why a revision is never used
//! again: the file holds a ceiling that lies above all revisions that were handed out.
//!
//! ```text
//! request ─► store ─► journal ─► writer thread ─► redb ─► fsync
//!    ▲                                               │
//!    └───────────── answered when committed ─────────┘
//! ```

pub(crate) mod journal;
mod legacy;

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use bytes::Bytes;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition, TableError, WriteTransaction,
};

use self::journal::{Journal, Record};
use crate::{
    server::{Error, Result},
    store::{Key, Object, Revision, Store, TableName},
};

/// Name of the file in the data directory.
const FILE: &str = "cluster.redb";
/// Beginning of every redb file.
const MAGIC: &[u8] = b"redb";
/// Format of what this module keeps in the file; 1 was a JSON file (see [`legacy`]).
const FORMAT: u64 = 2;
/// The ceiling of revisions is raised by so much, well before it is reached.
const CEILING_STEP: u64 = 1 << 20;
/// The store holds all objects in memory itself; redb only needs its inner pages.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Resource table, namespace and name to revision and JSON.
const OBJECTS: TableDefinition<'static, (&str, &str, &str), (u64, &[u8])> = TableDefinition::new("objects");
/// [`FORMAT_KEY`] and [`CEILING_KEY`].
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
const CEILING_KEY: &str = "ceiling";

/// An open data directory, which no other process can open meanwhile. Dropped, it commits what is left and closes the
/// file.
#[derive(Debug)]
pub(crate) struct Disk {
    path: PathBuf,
    journal: Arc<Journal>,
    writer: Option<JoinHandle<()>>,
}

/// What a data directory held when it was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    path: PathBuf,
    database: Database,
    /// Where the counter of the server starts: above all revisions of earlier runs.
    pub(crate) start: Revision,
    ceiling: Revision,
}

impl Opened {
    /// Opens the file of a data directory, or makes a new one.
    ///
    /// # Errors
    /// When the directory cannot be used; the error names the file and what to do.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        fs::create_dir_all(directory).map_err(|source| Error::DataOpen {
            path: path.clone(),
            source,
        })?;
        let exists = path.try_exists().map_err(|source| Error::DataOpen {
            path: path.clone(),
            source,
        })?;
        let database = if exists {
            open_existing(&path)?
        } else {
            create(directory, &path)?
        };
        legacy::retire(directory)?;
        let damaged = |source| Error::DataDamaged {
            path: path.clone(),
            source,
        };
        let (format, start) = read_meta(&database).map_err(damaged)?;
        if format != FORMAT {
            return Err(Error::DataFormat {
                path,
                found: format,
                known: FORMAT,
            });
        }
        let ceiling = Revision(start.0.saturating_add(CEILING_STEP));
        write_ceiling(&database, ceiling).map_err(|source| write_error(&path, Arc::new(source)))?;
        Ok(Self {
            path,
            database,
            start,
            ceiling,
        })
    }

    /// Puts all objects into a store.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(crate) fn restore(&self, store: &Store) -> Result<()> {
        self.read_all(store).map_err(|source| Error::DataDamaged {
            path: self.path.clone(),
            source,
        })
    }

    fn read_all(&self, store: &Store) -> Result<(), redb::Error> {
        let reading = self.database.begin_read()?;
        let objects = match reading.open_table(OBJECTS) {
            Ok(objects) => objects,
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut table: TableName = "".into();
        let mut namespace: Arc<str> = "".into();
        for entry in objects.iter()? {
            let (place, version) = entry?;
            let (in_table, in_namespace, name) = place.value();
            // Neighbours share their texts.
            if *table != *in_table {
                table = in_table.into();
            }
            if *namespace != *in_namespace {
                namespace = in_namespace.into();
            }
            let key = Key {
                namespace: Arc::clone(&namespace),
                name: name.into(),
            };
            let (revision, json) = version.value();
            store.restore(
                &table,
                Object::from_json(key, Revision(revision), Bytes::copy_from_slice(json)),
            );
        }
        Ok(())
    }

    /// From now on all writes of `store` go to the file.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn attach(self, store: &Store) -> Result<Disk> {
        let journal = Arc::new(Journal::new(self.start));
        store.attach(Arc::clone(&journal));
        let (database, ceiling, path) = (self.database, self.ceiling, self.path);
        let thread = std::thread::Builder::new().name("data".to_owned());
        let of_writer = Arc::clone(&journal);
        let writer = thread
            .spawn(move || write_until_closed(&of_writer, &database, ceiling))
            .map_err(|source| Error::DataOpen {
                path: path.clone(),
                source,
            })?;
        Ok(Disk {
            path,
            journal,
            writer: Some(writer),
        })
    }
}

impl Disk {
    /// Waits until all writes up to a revision are on disk.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(crate) async fn wait_for(&self, revision: Revision) -> Result<()> {
        let waited = self.journal.wait_for(revision).await;
        waited.map_err(|source| write_error(&self.path, source))
    }

    /// Waits until something cannot be written.
    pub(crate) async fn failure(&self) -> Error {
        write_error(&self.path, self.journal.failure().await)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.journal.close();
        if let Some(writer) = self.writer.take() {
            // The journal tells a panic of the writer to whoever waits for it.
            let _ = writer.join();
        }
    }
}

fn write_error(path: &Path, source: Arc<redb::Error>) -> Error {
    Error::DataWrite {
        path: path.to_owned(),
        source,
    }
}

/// The writer thread.
fn write_until_closed(journal: &Journal, database: &Database, mut ceiling: Revision) {
    let exit = journal.writer();
    while let Some(batch) = exit.next_batch() {
        let near = Revision(batch.revision.0.saturating_add(CEILING_STEP / 2));
        if near > ceiling {
            ceiling = Revision(batch.revision.0.saturating_add(CEILING_STEP));
        }
        match commit(database, &batch.records, ceiling) {
            Ok(()) => exit.committed(batch.revision),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "data not written");
                exit.failed(error);
                return;
            }
        }
    }
    // Nobody can have seen a later revision: the next run goes on without a gap.
    let end = exit.end();
    if let Err(error) = write_ceiling(database, end) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "revisions will leave a gap"
        );
    }
}

fn commit(database: &Database, records: &[Record], ceiling: Revision) -> Result<(), redb::Error> {
    let writing = database.begin_write()?;
    insert(&writing, records, ceiling)?;
    writing.commit()?;
    Ok(())
}

fn insert(writing: &WriteTransaction, records: &[Record], ceiling: Revision) -> Result<(), redb::Error> {
    let mut objects = writing.open_table(OBJECTS)?;
    for record in records {
        let object = &record.object;
        let place = (&*record.table, &*object.key.namespace, &*object.key.name);
        if record.is_stored {
            objects.insert(place, (object.revision.0, &**object.json()))?;
        } else {
            objects.remove(place)?;
        }
    }
    let mut meta = writing.open_table(META)?;
    let known = meta.get(CEILING_KEY)?.map(|known| known.value());
    if known != Some(ceiling.0) {
        meta.insert(CEILING_KEY, ceiling.0)?;
    }
    Ok(())
}

fn write_ceiling(database: &Database, ceiling: Revision) -> Result<(), redb::Error> {
    commit(database, &[], ceiling)
}

/// Format and ceiling.
fn read_meta(database: &Database) -> Result<(u64, Revision), redb::Error> {
    let reading = database.begin_read()?;
    let meta = match reading.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => return Ok((0, Revision(0))),
        Err(error) => return Err(error.into()),
    };
    let number = |key: &str| Ok::<_, StorageError>(meta.get(key)?.map_or(0, |number| number.value()));
    Ok((number(FORMAT_KEY)?, Revision(number(CEILING_KEY)?)))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE_BYTES)
        // A file that something else has changed is refused instead of trusted.
        .set_check_integrity_on_open(true);
    builder
}

fn open_existing(path: &Path) -> Result<Database> {
    let mut beginning = Vec::new();
    File::open(path)
        .and_then(|file| {
            file.take(u64::try_from(MAGIC.len()).unwrap_or(0))
                .read_to_end(&mut beginning)
        })
        .map_err(|source| Error::DataOpen {
            path: path.to_owned(),
            source,
        })?;
    if beginning != MAGIC {
        return Err(Error::DataForeign {
            path: path.to_owned(),
        });
    }
    builder().open(path).map_err(|error| open_error(path, error))
}

fn open_error(path: &Path, error: DatabaseError) -> Error {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Error::DataInUse { path },
        DatabaseError::Storage(StorageError::Io(source)) if source.kind() != io::ErrorKind::InvalidData => {
            Error::DataOpen { path, source }
        }
        other => Error::DataDamaged {
            path,
            source: other.into(),
        },
    }
}

/// Makes the file under another name first, so that one that is there is complete.
fn create(directory: &Path, path: &Path) -> Result<Database> {
    let part = path.with_extension("redb.new");
    let mut made = builder().create(&part);
    if matches!(made, Err(DatabaseError::Storage(_))) && part.exists() {
        // Left over by a process that ended while it was at it.
        fs::remove_file(&part).map_err(|source| Error::DataOpen {
            path: part.clone(),
            source,
        })?;
        made = builder().create(&part);
    }
    let database = made.map_err(|error| open_error(&part, error))?;
    let (records, revision) = legacy::load(directory)?;
    let written = (|| {
        let writing = database.begin_write()?;
        writing.delete_table(OBJECTS)?;
        insert(&writing, &records, revision)?;
        writing.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
        writing.commit()?;
        Ok::<_, redb::Error>(())
    })();
    written.map_err(|source| write_error(&part, Arc::new(source)))?;
    fs::rename(&part, path)
        // The new name has to survive a loss of power too.
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|source| Error::DataOpen {
            path: path.to_owned(),
            source,
        })?;
    Ok(database)
}

#[cfg(test)]
mod tests;
