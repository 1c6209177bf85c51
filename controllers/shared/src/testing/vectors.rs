//! Recorded decisions of upstream, as tests read them. Format: `tests/vectors/<set>/README.md`.
#![expect(
    clippy::panic,
    reason = "a reader for tests: what it cannot read fails the test"
)]

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One recorded decision.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// Unique in its file.
    pub name: String,
    /// Requirements that it belongs to.
    pub req: Vec<String>,
    /// The requirement by which ours differs, if it does.
    pub deviation: Option<String>,
    /// What upstream decided on.
    pub input: Value,
    /// What it decided.
    pub expect: Value,
}

impl Case {
    /// A member of the input, as the type that the caller reads.
    ///
    /// # Panics
    /// It is not of that type.
    #[must_use]
    pub fn input<T: DeserializeOwned>(&self, key: &str) -> T {
        let member = self.input.get(key).cloned().unwrap_or_default();
        serde_json::from_value(member).unwrap_or_else(|error| panic!("{}: {key}: {error}", self.name))
    }
}

/// Where the files of that set are: in this tree, or in the folder that `STEERSMAN_VECTORS` names, which has the same
/// layout or holds that one set.
#[must_use]
pub fn folder(set: &str) -> PathBuf {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors");
    let Some(other) = std::env::var_os("STEERSMAN_VECTORS").map(PathBuf::from) else {
        return own.join(set);
    };
    let nested = other.join(set);
    if nested.is_dir() { nested } else { other }
}

/// Runs `check` on each case of a file; a difference is the text it returns. Names all failing cases.
///
/// # Panics
/// A case differs, or the file does not read.
pub fn each(set: &str, file: &str, check: impl Fn(&Case) -> Result<(), String>) {
    let path = folder(set).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Vec<Case> =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let failures: Vec<_> = cases
        .iter()
        .filter_map(|case| {
            let difference = check(case).err()?;
            Some(format!("{} [{}]: {difference}", case.name, case.req.join(" ")))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{file}: {} of {} fail\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

/// Compares a part of a decision.
///
/// # Errors
/// Both, if they differ.
#[expect(
    clippy::needless_pass_by_value,
    reason = "most callers make the values for the comparison"
)]
pub fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<(), String> {
    if got == want {
        Ok(())
    } else {
        Err(format!("{what}:\n   got {got:?}\n  want {want:?}"))
    }
}
