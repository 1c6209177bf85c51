//! The admin port: /healthz, /readyz, /metrics and /shadow.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prometheus_client::registry::Registry;
use steersman_shared::ready::Readiness;
use steersman_shared::shadow::Shadows;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// What the admin port tells.
pub(crate) struct Admin {
    pub(crate) readiness: Readiness,
    pub(crate) registry: Arc<Mutex<Registry>>,
    pub(crate) shadows: Shadows,
    pub(crate) pulse: Pulse,
    /// Cancelled once the process is to end: not ready from then on (STY-77).
    pub(crate) stop: CancellationToken,
}

/// Proof that the tasks of the process get their turn: a task beside the controllers beats it (STY-78).
#[derive(Clone)]
pub(crate) struct Pulse(Arc<Mutex<Instant>>);

/// Time between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// Without a beat for so long, tasks do not get their turn any more.
const DEAD_AFTER: Duration = Duration::from_secs(15);

impl Pulse {
    /// Beats now for the first time.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Beats until `stop`.
    pub(crate) async fn beat(self, stop: CancellationToken) -> Result<(), Infallible> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // Cancel-safe: only waits.
                () = tokio::time::sleep(BEAT) => {}
            }
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    fn age(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// Binds the admin port; `off` means none.
///
/// # Errors
///
/// The address does not parse or cannot be bound.
pub(crate) async fn bind(address: &str) -> anyhow::Result<Option<TcpListener>> {
    if address == "off" {
        return Ok(None);
    }
    let parsed: SocketAddr = address
        .parse()
        .with_context(|| format!("--admin-address {address:?} is not ADDR:PORT or `off`"))?;
    let listener = TcpListener::bind(parsed)
        .await
        .with_context(|| format!("--admin-address {parsed} cannot be bound"))?;
    info!(address = %listener.local_addr()?, "admin port open");
    Ok(Some(listener))
}

impl Admin {
    /// Serves until `stop`.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // `accept` is cancel-safe.
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let Ok((stream, _)) = accepted else { continue };
            let admin = Arc::clone(&self);
            connections.spawn(async move {
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let response = admin.respond(request.uri().path());
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = auto::Builder::new(TokioExecutor::new());
                if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
                    debug!(error, "admin connection ended");
                }
            });
        }
    }

    fn respond(&self, path: &str) -> Response<Full<Bytes>> {
        let (status, body) = match path {
            "/healthz" | "/livez" => {
                let age = self.pulse.age();
                if age < DEAD_AFTER || self.stop.is_cancelled() {
                    (StatusCode::OK, "ok\n".to_owned())
                } else {
                    let text = format!("tasks have not had a turn for {} s\n", age.as_secs());
                    (StatusCode::INTERNAL_SERVER_ERROR, text)
                }
            }
            "/readyz" if self.stop.is_cancelled() => {
                (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned())
            }
            "/readyz" => {
                let waiting = self.readiness.missing();
                if waiting.is_empty() {
                    (StatusCode::OK, "ok\n".to_owned())
                } else {
                    (
                        StatusCode::SERVICE_UNAVAILABLE,
                        format!("waiting for: {}\n", waiting.join(", ")),
                    )
                }
            }
            "/metrics" => {
                let mut text = String::new();
                let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
                match prometheus_client::encoding::text::encode(&mut text, &registry) {
                    Ok(()) => (StatusCode::OK, text),
                    Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
                }
            }
            "/shadow" => match serde_json::to_string(&self.shadows.reports()) {
                Ok(text) => (StatusCode::OK, text + "\n"),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            },
            _ => (
                StatusCode::NOT_FOUND,
                "not found: /healthz, /readyz, /metrics, /shadow\n".to_owned(),
            ),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin() -> Admin {
        Admin {
            readiness: Readiness::default(),
            registry: Arc::default(),
            shadows: Shadows::default(),
            pulse: Pulse::new(),
            stop: CancellationToken::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sty_78_health_and_readiness_are_no_constants() {
        let admin = admin();
        assert_eq!(admin.respond("/healthz").status(), StatusCode::OK);
        tokio::time::advance(DEAD_AFTER).await;
        assert_eq!(
            admin.respond("/healthz").status(),
            StatusCode::INTERNAL_SERVER_ERROR
        );
        let waiting = admin.readiness.guard("pods");
        assert_eq!(admin.respond("/readyz").status(), StatusCode::SERVICE_UNAVAILABLE);
        drop(waiting);
        assert_eq!(admin.respond("/readyz").status(), StatusCode::OK);
        admin.stop.cancel();
        assert_eq!(admin.respond("/readyz").status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(admin.respond("/shadow").status(), StatusCode::OK);
        assert_eq!(admin.respond("/nowhere").status(), StatusCode::NOT_FOUND);
    }
}
