//! The state on disk: one JSON object a line, the first one a header (API-683).

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    server::{Error, Result},
    store::{Draft, Key, Revision, Store},
};

/// A restored server starts this many revisions above the snapshot, so that it never repeats one that was handed out
/// between the last snapshot and a crash.
const REVISION_GAP: u64 = 1 << 20;
const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    revision: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    table: String,
    namespace: String,
    name: String,
    revision: u64,
    object: Value,
}

/// A loaded snapshot.
#[derive(Debug)]
pub(crate) struct Snapshot {
    revision: u64,
    lines: Vec<Line>,
}

impl Snapshot {
    /// Where the counter of the restored server starts.
    pub(crate) fn next_start(&self) -> Revision {
        Revision(self.revision.saturating_add(REVISION_GAP))
    }

    /// Puts all objects into a store.
    pub(crate) fn restore(self, store: &Store) {
        for line in self.lines {
            let key = Key::new(&line.namespace, &line.name);
            store.import(
                &line.table.into(),
                &key,
                Revision(line.revision),
                &Draft::new(&line.object),
            );
        }
    }
}

fn file_of(directory: &Path) -> PathBuf {
    directory.join("objects.jsonl")
}

/// Reads the snapshot of a directory; `None` if there is none yet.
pub(crate) fn load(directory: &Path) -> Result<Option<Snapshot>> {
    let path = file_of(directory);
    read(&path).map_err(|source| Error::Load { path, source })
}

fn read(path: &Path) -> io::Result<Option<Snapshot>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lines = BufReader::new(file).lines();
    let header: Header = serde_json::from_str(&lines.next().transpose()?.unwrap_or_default())?;
    if header.format != FORMAT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("unknown format {}", header.format),
        ));
    }
    let lines = lines
        .map(|line| Ok(serde_json::from_str(&line?)?))
        .collect::<io::Result<_>>()?;
    Ok(Some(Snapshot {
        revision: header.revision,
        lines,
    }))
}

/// Writes a snapshot beside the old one and then takes its place, so that a crash leaves one of the two.
pub(crate) fn save(directory: &Path, store: &Store) -> Result<()> {
    let path = file_of(directory);
    write(directory, &path, store).map_err(|source| Error::Save { path, source })
}

fn write(directory: &Path, path: &Path, store: &Store) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let (revision, tables) = store.export();
    let temporary = path.with_extension("jsonl.new");
    let mut file = BufWriter::new(File::create(&temporary)?);
    serde_json::to_writer(
        &mut file,
        &Header {
            format: FORMAT,
            revision: revision.0,
        },
    )?;
    for (table, objects) in tables {
        for object in objects {
            let line = Line {
                table: table.to_string(),
                namespace: object.key.namespace.to_string(),
                name: object.key.name.to_string(),
                revision: object.revision.0,
                object: object.parse(),
            };
            file.write_all(b"\n")?;
            serde_json::to_writer(&mut file, &line)?;
        }
    }
    file.write_all(b"\n")?;
    file.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    fs::rename(&temporary, path)
}
