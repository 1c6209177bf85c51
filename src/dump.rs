//! `steersman sandbox --load`: reads dumps and tells what became of them.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use steersman_sandbox::Server;
use steersman_sandbox::load::{Dump, Report};

use crate::failure::Usage;

/// Loads the files into a server that nothing uses yet, and says how that went.
///
/// # Errors
///
/// A file cannot be read, or nothing of all of them can be loaded.
pub(crate) fn load(server: &Server, files: &[PathBuf]) -> anyhow::Result<()> {
    let mut dump = Dump::default();
    for file in files {
        let text = read(file)
            .with_context(|| format!("--load {}", file.display()))
            .map_err(Usage)?;
        dump.read(&file.display().to_string(), &text);
    }
    let report = server.load(dump);
    tell(&report).context("standard output")?;
    if report.loaded == 0 && !files.is_empty() {
        return Err(Usage(anyhow!("--load: nothing could be loaded")).into());
    }
    Ok(())
}

fn read(file: &Path) -> std::io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file)
}

fn tell(report: &Report) -> std::io::Result<()> {
    let mut errors = std::io::stderr();
    for change in &report.changed {
        writeln!(errors, "note: {change}")?;
    }
    for refused in &report.refused {
        writeln!(errors, "not loaded: {refused}")?;
    }
    writeln!(
        std::io::stdout(),
        "loaded {} objects, {} of them nodes; {} not loaded",
        report.loaded,
        report.nodes.len(),
        report.refused.len(),
    )
}
