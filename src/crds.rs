//! `steersman crds`: the definitions of our custom resources, to be piped into `kubectl apply -f -`.

use std::io::Write as _;

use anyhow::Context as _;

/// Prints all definitions as one YAML stream.
///
/// # Errors
///
/// Standard output is closed.
pub(crate) fn print() -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    for definition in steersman_crds::all() {
        let text = steersman_crds::yaml(&definition)?;
        write!(out, "---\n{text}").context("standard output")?;
    }
    Ok(())
}
