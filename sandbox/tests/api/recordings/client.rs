//! HTTP/1.1 as `apirec.py` speaks it: one connection for plain requests, one for each watch.

use std::{io::Read, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::{Map, Value};
use steersman_sandbox::tls::Certificates;
use tokio::{net::TcpStream, task::JoinSet, time::Instant};
use tokio_rustls::TlsConnector;

/// How long a whole exchange may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A request, ready to be sent.
pub(super) struct Call {
    pub(super) method: String,
    /// Path and query, encoded.
    pub(super) target: String,
    /// Values by name; null takes a default header away.
    pub(super) headers: Map<String, Value>,
    pub(super) body: Option<String>,
}

/// A whole answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// A client of one server.
pub(super) struct Client {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    /// Value of the header `Authorization` unless a call has its own.
    authorization: Option<String>,
    kept: Option<SendRequest<Full<Bytes>>>,
    connections: JoinSet<()>,
}

impl Client {
    /// With certificates: over TLS, with the client certificate; with a token: as its bearer.
    pub(super) fn new(address: SocketAddr, certificates: Option<&Certificates>, token: Option<&str>) -> Self {
        Self {
            address,
            tls: certificates.map(connector),
            authorization: token.map(|token| format!("Bearer {token}")),
            kept: None,
            connections: JoinSet::new(),
        }
    }

    fn request_of(&self, call: &Call) -> Result<Request<Full<Bytes>>, String> {
        request(call, self.authorization.as_deref())
    }

    async fn connect(&mut self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect(self.address).await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        let Some(tls) = &self.tls else {
            let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(text)?;
            // A connection that fails shows in its requests.
            self.connections.spawn(async move { drop(connection.await) });
            return Ok(sender);
        };
        let name = ServerName::from(self.address.ip());
        let stream = tls.connect(name, stream).await.map_err(text)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(text)?;
        self.connections.spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    /// One whole exchange, tried again once on a new connection.
    pub(super) async fn request(&mut self, call: &Call) -> Result<Answer, String> {
        if let Some(mut sender) = self.kept.take()
            && sender.ready().await.is_ok()
            && let Ok(answer) = exchange(&mut sender, self.request_of(call)?).await
        {
            self.kept = Some(sender);
            return Ok(answer);
        }
        let mut sender = self.connect().await?;
        let answer = exchange(&mut sender, self.request_of(call)?).await?;
        self.kept = Some(sender);
        Ok(answer)
    }

    /// Sends a request on a connection of its own and returns when the headers are there.
    pub(super) async fn open(&mut self, call: &Call) -> Result<Stream, String> {
        let mut sender = self.connect().await?;
        let response = tokio::time::timeout(TIMEOUT, sender.send_request(self.request_of(call)?))
            .await
            .map_err(text)?
            .map_err(text)?;
        Ok(Stream {
            response,
            received: BytesMut::new(),
            closed: false,
            _sender: sender,
        })
    }
}

/// An open watch.
pub(super) struct Stream {
    response: Response<Incoming>,
    /// What has come of lines that are not complete or not taken.
    received: BytesMut,
    /// Whether the end of the stream has been seen.
    pub(super) closed: bool,
    _sender: SendRequest<Full<Bytes>>,
}

impl Stream {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// What the rest of the stream holds.
    pub(super) async fn finish(self) -> Result<Answer, String> {
        read(self.response).await
    }

    /// The next line before `deadline`; none if there is none by then or the stream has ended.
    async fn line(&mut self, deadline: Instant) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
                return Some(self.received.split_to(end + 1).to_vec());
            }
            match tokio::time::timeout_at(deadline, self.response.body_mut().frame()).await {
                Err(_) => return None,
                Ok(Some(Ok(frame))) => self
                    .received
                    .extend_from_slice(frame.data_ref().map_or(b"", |data| data)),
                Ok(Some(Err(_)) | None) if !self.received.is_empty() => {
                    return Some(self.received.split().to_vec());
                }
                Ok(Some(Err(_)) | None) => {
                    self.closed = true;
                    return None;
                }
            }
        }
    }

    /// Events until there are `count` of them, `wait` is over, or the stream ends.
    pub(super) async fn collect(
        &mut self,
        count: Option<usize>,
        wait: Duration,
        bookmarks: bool,
    ) -> Vec<Value> {
        let deadline = Instant::now() + wait;
        let mut events: Vec<Value> = Vec::new();
        while !self.closed && count.is_none_or(|count| events.len() < count) {
            let Some(line) = self.line(deadline).await else {
                break;
            };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let event: Value = serde_json::from_slice(&line).unwrap_or_else(
                |_| serde_json::json!({"type": "<not JSON>", "object": String::from_utf8_lossy(&line)}),
            );
            if bookmarks || event["type"] != "BOOKMARK" {
                events.push(event);
            }
        }
        events
    }
}

async fn exchange(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let whole = async { read(sender.send_request(request).await.map_err(text)?).await };
    tokio::time::timeout(TIMEOUT, whole).await.map_err(text)?
}

async fn read(response: Response<Incoming>) -> Result<Answer, String> {
    let (parts, body) = response.into_parts();
    let mut body = body.collect().await.map_err(text)?.to_bytes().to_vec();
    if parts
        .headers
        .get("content-encoding")
        .is_some_and(|value| value == "gzip")
    {
        let packed = std::mem::take(&mut body);
        flate2::read::GzDecoder::new(packed.as_slice())
            .read_to_end(&mut body)
            .map_err(text)?;
    }
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    })
}

fn request(call: &Call, authorization: Option<&str>) -> Result<Request<Full<Bytes>>, String> {
    let mut defaults = vec![
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("host", "localhost"),
        ("user-agent", "apirec/1.0 (recorder)"),
    ];
    defaults.extend(authorization.map(|value| ("authorization", value)));
    let mut request = Request::builder()
        .method(call.method.parse::<Method>().map_err(text)?)
        .uri(&call.target);
    for (name, value) in defaults {
        if !call.headers.keys().any(|given| given.eq_ignore_ascii_case(name)) {
            request = request.header(name, value);
        }
    }
    for (name, value) in &call.headers {
        if let Some(value) = value.as_str() {
            request = request.header(name, value);
        }
    }
    let body = call.body.clone().unwrap_or_default();
    request.body(Full::from(body)).map_err(text)
}

fn connector(certificates: &Certificates) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(certificates.authority.as_bytes());
    roots.add(authority.unwrap()).unwrap();
    let identity = &certificates.client;
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![certificate], key)
        .unwrap();
    TlsConnector::from(Arc::new(config))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
