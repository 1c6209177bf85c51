//! `steersman`: Kubernetes controllers and scheduler in one binary. See README.md.

mod admin;
mod cli;
mod crds;
#[cfg(feature = "sandbox")]
mod demo;
#[cfg(feature = "sandbox")]
mod dump;
mod explain;
mod failure;
mod manager;
mod rollout;
mod run;
#[cfg(feature = "sandbox")]
mod sandbox;
mod shadow;
mod signals;
mod telemetry;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use crate::cli::{Cli, Verb};
use crate::failure::Usage;

/// The sandbox and the caches of controllers make and drop many small objects: the system's allocator took a quarter of
/// the time of a request.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed; the exit code tells then.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    telemetry::init(&cli.log, cli.verb.default_log()).map_err(Usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime's threads")?;
    match cli.verb {
        Verb::Run(args) => runtime.block_on(run::run(args)),
        Verb::Explain(args) => runtime.block_on(explain::run(args)),
        Verb::Shadow(args) => runtime.block_on(shadow::run(args)),
        #[cfg(feature = "sandbox")]
        Verb::Sandbox(args) => runtime.block_on(sandbox::run(args)),
        Verb::Crds => crds::print(),
        Verb::Rollout(args) => runtime.block_on(rollout::run(args)),
        Verb::Version => {
            let version = env!("CARGO_PKG_VERSION");
            writeln!(
                std::io::stdout(),
                "steersman {version} (for Kubernetes 1.36 and its three predecessors)"
            )?;
            Ok(())
        }
    }
}
