//! The server on a TCP listener, with or without TLS (API-16).

use std::{sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::Caller,
    server::{Result, Server},
    tls,
};

/// A client that has not finished its TLS handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests in flight get so long to finish when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept (out of file descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Server {
    /// Serves HTTP/1.1 and HTTP/2 on `listener` until `stop` is cancelled: with TLS if `tls` is given, else in plain
    /// text. Then ends the watches of this listener and lets requests in flight finish.
    ///
    /// # Errors
    /// None so far: a connection that fails concerns its client only, and accepting is tried again.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        stop: CancellationToken,
    ) -> Result<()> {
        let acceptor = tls.map(TlsAcceptor::from);
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        loop {
            // All branches are cancel-safe: accepting and joining lose nothing when another branch wins.
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "connection not accepted"
                    );
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Small writes of watches must not wait for each other; failing to set this only costs latency.
            let _ = stream.set_nodelay(true);
            let watcher = graceful.watcher();
            let server = self.clone();
            let stop = stop.clone();
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                match acceptor {
                    None => {
                        let service = server.service_for(Caller::Connection(None), stop);
                        connection(stream, service, watcher).await;
                    }
                    Some(acceptor) => {
                        match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                            Ok(Ok(stream)) => {
                                let certificate = stream.get_ref().1.peer_certificates();
                                let user = certificate.and_then(<[_]>::first).and_then(|it| tls::user_of(it));
                                let caller = Caller::Connection(user.map(Arc::new));
                                connection(stream, server.service_for(caller, stop), watcher).await;
                            }
                            Ok(Err(error)) => {
                                tracing::debug!(
                                    error = &error as &dyn std::error::Error,
                                    "TLS handshake failed"
                                );
                            }
                            Err(_) => tracing::debug!("TLS handshake timed out"),
                        }
                    }
                }
            });
        }
        drop(listener);
        if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("connections still open at shutdown are cut");
        }
        connections.shutdown().await;
        Ok(())
    }
}

async fn connection<I>(
    stream: I,
    service: crate::service::ApiService,
    watcher: hyper_util::server::graceful::Watcher,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1000);
    let served = builder
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .into_owned();
    if let Err(error) = watcher.watch(served).await {
        tracing::debug!(error = &*error as &dyn std::error::Error, "connection ended");
    }
}
