//! The snapshots of earlier versions: one JSON object a line, the first one a header. They are read once, into a data
//! directory that has no file of today's format yet, and then kept under another name.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::Value;

use super::{CEILING_STEP, Record};
use crate::{
    server::{Error, Result},
    store::{Draft, Key, Revision},
};

const FORMAT: u32 = 1;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    revision: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    table: String,
    namespace: String,
    name: String,
    revision: u64,
    object: Value,
}

fn file_of(directory: &Path) -> PathBuf {
    directory.join("objects.jsonl")
}

/// The objects of an old snapshot and where revisions go on after it; nothing and 0 if there is none.
pub(super) fn load(directory: &Path) -> Result<(Vec<Record>, Revision)> {
    let path = file_of(directory);
    read(&path).map_err(|source| Error::DataImport { path, source })
}

/// Gives an old snapshot that has been imported another name.
pub(super) fn retire(directory: &Path) -> Result<()> {
    let path = file_of(directory);
    match fs::rename(&path, path.with_extension("jsonl.imported")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| Error::DataImport { path, source }),
    }
}

fn read(path: &Path) -> io::Result<(Vec<Record>, Revision)> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), Revision(0))),
        Err(error) => return Err(error),
    };
    let mut lines = BufReader::new(file).lines();
    let header: Header = serde_json::from_str(&lines.next().transpose()?.unwrap_or_default())?;
    if header.format != FORMAT {
        let text = format!("unknown format {}", header.format);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let records = lines
        .map(|line| Ok(record(&serde_json::from_str(&line?)?)))
        .collect::<io::Result<_>>()?;
    // Revisions that were handed out after the snapshot are not in it.
    Ok((records, Revision(header.revision.saturating_add(CEILING_STEP))))
}

fn record(line: &Line) -> Record {
    let key = Key::new(&line.namespace, &line.name);
    Record {
        table: line.table.as_str().into(),
        object: Arc::new(Draft::new(&line.object).stamp(key, Revision(line.revision))),
        is_stored: true,
    }
}
