//! Ctrl-C and SIGTERM.

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// A token that is cancelled by SIGINT or SIGTERM. A second signal ends the process at once.
///
/// # Errors
///
/// The signal handlers cannot be installed.
#[expect(
    clippy::disallowed_methods,
    reason = "lives as long as the process, outside every supervisor"
)]
pub(crate) fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT handler")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM handler")?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        let mut first = true;
        loop {
            // Both are cancel-safe: a signal not taken stays pending.
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if !first {
                std::process::exit(1);
            }
            first = false;
            info!("stopping");
            token.cancel();
        }
    });
    Ok(stop)
}
