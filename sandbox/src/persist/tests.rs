use std::io::ErrorKind;

use redb::{StorageBackend, backends::InMemoryBackend};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::store::Draft;

fn draft(text: &str) -> Draft {
    Draft::new(&json!({"metadata": {"name": "a"}, "data": {"k": text}}))
}

fn key(name: &str) -> Key {
    Key::new("n", name)
}

fn maps() -> TableName {
    "configmaps".into()
}

/// A store on the data of a directory.
fn open(directory: &Path) -> Result<(Store, Disk)> {
    let opened = Opened::open(directory)?;
    let store = Store::new(opened.start, 100);
    opened.restore(&store)?;
    let disk = opened.attach(&store)?;
    Ok((store, disk))
}

/// The text of an error and all its causes.
fn text(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", text(source)),
        None => error.to_string(),
    }
}

/// What a directory with a few objects holds after the server ended.
fn filled() -> TempDir {
    let directory = TempDir::new().unwrap();
    let (store, disk) = open(directory.path()).unwrap();
    for index in 0..200 {
        let name = format!("m{index}");
        store
            .create(&maps(), &key(&name), &draft(&"x".repeat(300)))
            .unwrap();
    }
    drop(disk);
    directory
}

#[tokio::test]
async fn api_683_objects_and_the_counter_survive() {
    let directory = TempDir::new().unwrap();
    let (store, disk) = open(directory.path()).unwrap();
    let kept = store.create(&maps(), &key("kept"), &draft("1")).unwrap();
    let gone = store.create(&maps(), &key("gone"), &draft("1")).unwrap();
    store
        .remove(&maps(), &key("gone"), gone.revision, &draft("1"))
        .unwrap();
    let kept = store
        .replace(&maps(), &key("kept"), kept.revision, &draft("2"))
        .unwrap();
    disk.wait_for(store.revision()).await.unwrap();
    let end = store.revision();
    drop(disk);

    let (store, _disk) = open(directory.path()).unwrap();
    assert_eq!(store.revision(), end);
    assert_eq!(store.object_count(), 1);
    let restored = store.get(&maps(), &key("kept")).unwrap();
    assert_eq!((restored.revision, restored.json()), (kept.revision, kept.json()));
    assert!(store.check_history(&maps(), Revision(end.0 - 1)).is_err());
    // A later write finds the place of the revision in what was loaded.
    assert_eq!(
        restored.restamped(Revision(7)).parse()["metadata"]["resourceVersion"],
        "7"
    );
}

#[tokio::test]
async fn api_683_after_a_crash_the_counter_goes_on_above_what_was_seen() {
    let directory = TempDir::new().unwrap();
    let (store, disk) = open(directory.path()).unwrap();
    store.create(&maps(), &key("a"), &draft("1")).unwrap();
    disk.wait_for(store.revision()).await.unwrap();
    // A crash: the file as it is now, and a revision that was seen but did not reach it.
    let crashed = TempDir::new().unwrap();
    std::fs::copy(directory.path().join(FILE), crashed.path().join(FILE)).unwrap();
    let seen = store.create(&maps(), &key("b"), &draft("1")).unwrap().revision;
    let (store, _disk) = open(crashed.path()).unwrap();
    assert!(store.get(&maps(), &key("a")).is_some());
    assert!(store.revision() > seen);
}

#[test]
fn api_683_a_directory_in_use_is_refused() {
    let directory = TempDir::new().unwrap();
    let _first = open(directory.path()).unwrap();
    let error = Opened::open(directory.path()).unwrap_err();
    assert!(matches!(error, Error::DataInUse { .. }), "{error:?}");
    assert!(error.to_string().contains("cluster.redb is in use"), "{error}");
}

#[test]
fn api_683_foreign_and_newer_files_are_refused() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join(FILE);
    std::fs::write(&file, "SQLite format 3\0 and more").unwrap();
    let error = Opened::open(directory.path()).unwrap_err();
    assert!(matches!(error, Error::DataForeign { .. }), "{error:?}");
    std::fs::write(&file, "").unwrap();
    let error = Opened::open(directory.path()).unwrap_err();
    assert!(matches!(error, Error::DataForeign { .. }), "{error:?}");

    let directory = filled();
    let database = builder().open(directory.path().join(FILE)).unwrap();
    let writing = database.begin_write().unwrap();
    writing.open_table(META).unwrap().insert(FORMAT_KEY, 99).unwrap();
    writing.commit().unwrap();
    drop(database);
    let error = Opened::open(directory.path()).unwrap_err();
    assert!(matches!(error, Error::DataFormat { found: 99, .. }), "{error:?}");

    let error = Opened::open(Path::new("/proc/nowhere")).unwrap_err();
    assert!(matches!(error, Error::DataOpen { .. }), "{error:?}");
}

#[test]
fn api_683_a_damaged_file_is_refused_or_whole() {
    let directory = filled();
    let path = directory.path().join(FILE);
    let whole = std::fs::read(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(683);
    let mut refused = 0;
    for round in 0..60 {
        let mut damaged = whole.clone();
        match round % 3 {
            0 => damaged.truncate(random.usize(MAGIC.len()..whole.len())),
            1 => {
                let at = random.usize(MAGIC.len()..whole.len());
                damaged[at] ^= random.u8(1..);
            }
            _ => {
                let at = random.usize(MAGIC.len()..whole.len() - 5000);
                damaged[at..at + 5000].fill(0);
            }
        }
        std::fs::write(&path, damaged).unwrap();
        match open(directory.path()) {
            // The damage is where nothing is kept.
            Ok((store, _disk)) => assert_eq!(store.object_count(), 200, "round {round}"),
            Err(error) => {
                assert!(error.to_string().contains("cluster.redb"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused} of 60 damaged files were refused");
}

#[test]
fn api_683_a_snapshot_of_an_earlier_version_is_imported_once() {
    let directory = TempDir::new().unwrap();
    let old = directory.path().join("objects.jsonl");
    std::fs::write(
        &old,
        "{\"format\":1,\"revision\":70}\n{\"table\":\"configmaps\",\"namespace\":\"n\",\"name\":\"a\",\
         \"revision\":65,\"object\":{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"65\"},\"data\":{\"k\":\"v\"}}}\n",
    )
    .unwrap();
    let (store, disk) = open(directory.path()).unwrap();
    let imported = store.get(&maps(), &key("a")).unwrap();
    assert_eq!(imported.revision, Revision(65));
    assert_eq!(imported.parse()["metadata"]["resourceVersion"], "65");
    assert!(store.revision() > Revision(70));
    store
        .remove(&maps(), &key("a"), imported.revision, &draft("v"))
        .unwrap();
    drop(disk);
    assert!(!old.exists() && directory.path().join("objects.jsonl.imported").exists());
    let (store, _disk) = open(directory.path()).unwrap();
    assert_eq!(store.object_count(), 0);
}

#[test]
fn api_683_an_old_snapshot_that_cannot_be_read_is_named() {
    let directory = TempDir::new().unwrap();
    let old = directory.path().join("objects.jsonl");
    std::fs::write(&old, "{\"format\":99,\"revision\":1}\n").unwrap();
    let error = Opened::open(directory.path()).unwrap_err();
    assert!(text(&error).contains("objects.jsonl: repair it") && text(&error).contains("unknown format 99"));
    std::fs::remove_file(&old).unwrap();
    // Nothing half made is in the way.
    assert_eq!(open(directory.path()).unwrap().0.object_count(), 0);
}

/// A disk that is full after a number of bytes.
#[derive(Debug)]
struct Full {
    memory: InMemoryBackend,
    room: u64,
}

impl StorageBackend for Full {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.room {
            return Err(ErrorKind::StorageFull.into());
        }
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.memory.write(offset, data)
    }
}

#[tokio::test]
async fn api_683_a_full_disk_is_told_to_all_who_wait() {
    let backend = Full {
        memory: InMemoryBackend::new(),
        room: 4 << 20,
    };
    let opened = Opened {
        path: "data/cluster.redb".into(),
        database: builder().create_with_backend(backend).unwrap(),
        start: Revision(0),
        ceiling: Revision(CEILING_STEP),
    };
    let store = Store::new(opened.start, 100);
    let disk = opened.attach(&store).unwrap();
    let mut written = 0;
    let error = loop {
        let name = format!("m{written}");
        store
            .create(&maps(), &key(&name), &draft(&"x".repeat(50_000)))
            .unwrap();
        match disk.wait_for(store.revision()).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(written > 5, "{written}");
    assert!(
        text(&error).starts_with("write data/cluster.redb: all that was acknowledged is in it"),
        "{error}"
    );
    assert!(matches!(disk.failure().await, Error::DataWrite { .. }));
    assert!(disk.wait_for(store.revision()).await.is_err());
}
