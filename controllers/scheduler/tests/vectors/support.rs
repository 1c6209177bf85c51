//! Reading recordings and collecting differences.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use steersman_scheduler::plan::plugins::PluginName;

/// A recorded case.
#[derive(Deserialize)]
pub(crate) struct Case<I, E> {
    pub(crate) name: String,
    pub(crate) covers: Vec<String>,
    pub(crate) input: I,
    pub(crate) expect: E,
}

/// The cases of a file.
pub(crate) fn load<T: for<'de> Deserialize<'de>>(file: &str) -> Vec<T> {
    let folder = match std::env::var_os("STEERSMAN_VECTORS") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors"),
    };
    let path = folder.join("scheduler").join(format!("{file}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether a plugin exists here.
pub(crate) fn is_ours(plugin: &str) -> bool {
    PluginName::find(plugin).is_some()
}

/// What a case is compared on, and the differences found.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) failures: Vec<String>,
    pub(crate) compared: usize,
    pub(crate) skipped: BTreeMap<&'static str, usize>,
}

impl Report {
    pub(crate) fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        case: &str,
        what: &str,
        ours: &T,
        want: &T,
    ) {
        self.compared += 1;
        if ours != want {
            self.failures
                .push(format!("{case}: {what}\n    ours: {ours:?}\n    want: {want:?}"));
        }
    }

    pub(crate) fn skip(&mut self, reason: &'static str) {
        *self.skipped.entry(reason).or_default() += 1;
    }
}
