//! Reaching the containers of simulated pods from within the process.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Map, Value, json};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Buffer of one direction of a connection, in bytes.
const BUFFER: usize = 64 * 1024;

type Place = (IpAddr, u16);
type Listeners = Arc<Mutex<BTreeMap<Place, Arc<Listener>>>>;

/// A running pod that listens.
#[derive(Debug)]
pub(crate) struct Listener {
    pod: Arc<str>,
    namespace: Arc<str>,
    node: Arc<str>,
    uid: Arc<str>,
    stopped: CancellationToken,
}

/// A connection to be served.
#[derive(Debug)]
pub(crate) struct Accepted {
    io: DuplexStream,
    place: Place,
    listener: Arc<Listener>,
}

/// Connects to simulated pods by address and port, without a network: an HTTP/1.1 server behind every declared TCP port
/// of a running pod answers with a JSON object of what it was asked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Connector {
    listeners: Listeners,
    /// Full: `connect` waits.
    accepted: mpsc::Sender<Accepted>,
}

impl Connector {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Accepted>) {
        let (accepted, connections) = mpsc::channel(1024);
        (
            Self {
                listeners: Listeners::default(),
                accepted,
            },
            connections,
        )
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// [`io::ErrorKind::ConnectionRefused`] unless a pod with this address runs, declares the port, and the simulation is
    /// running. Pods that are being deleted accept until they have stopped; readiness does not matter.
    pub async fn connect(&self, address: IpAddr, port: u16) -> io::Result<DuplexStream> {
        let refused = || {
            io::Error::new(
                io::ErrorKind::ConnectionRefused,
                format!("nothing listens on {address}:{port}"),
            )
        };
        let place = (address, port);
        let listener = self.lock().get(&place).map(Arc::clone).ok_or_else(refused)?;
        let (client, io) = tokio::io::duplex(BUFFER);
        self.accepted
            .send(Accepted { io, place, listener })
            .await
            .map_err(|_| refused())?;
        Ok(client)
    }

    /// Whether [`connect`](Self::connect) would find a listener now.
    #[must_use]
    pub fn listens(&self, address: IpAddr, port: u16) -> bool {
        self.lock().contains_key(&(address, port))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Place, Arc<Listener>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places where one pod listens; dropping it closes them and cuts their connections.
#[derive(Debug)]
pub(crate) struct Exposed {
    connector: Connector,
    listener: Arc<Listener>,
    places: Vec<Place>,
}

impl Connector {
    /// Opens the places of a pod. One that another pod holds (two pods in the host network) stays with the first.
    pub(crate) fn expose(
        &self,
        (namespace, pod, uid): (&Arc<str>, &Arc<str>, &Arc<str>),
        node: &Arc<str>,
        places: impl IntoIterator<Item = (Ipv4Addr, u16)>,
    ) -> Exposed {
        let listener = Arc::new(Listener {
            pod: Arc::clone(pod),
            namespace: Arc::clone(namespace),
            node: Arc::clone(node),
            uid: Arc::clone(uid),
            stopped: CancellationToken::new(),
        });
        let places: Vec<Place> = places
            .into_iter()
            .map(|(address, port)| (IpAddr::V4(address), port))
            .collect();
        let mut listeners = self.lock();
        for place in &places {
            listeners.entry(*place).or_insert_with(|| Arc::clone(&listener));
        }
        drop(listeners);
        Exposed {
            connector: self.clone(),
            listener,
            places,
        }
    }
}

impl Drop for Exposed {
    fn drop(&mut self) {
        let mut listeners = self.connector.lock();
        for place in &self.places {
            if listeners
                .get(place)
                .is_some_and(|known| known.uid == self.listener.uid)
            {
                listeners.remove(place);
            }
        }
        drop(listeners);
        self.listener.stopped.cancel();
    }
}

impl Accepted {
    /// Serves the connection until the client closes it or the pod stops.
    pub(crate) async fn serve(self) {
        let Self { io, place, listener } = self;
        let service = service_fn(|request| echo(request, place, &listener));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(io), service);
        tokio::select! {
            biased;
            () = listener.stopped.cancelled() => {}
            // Dropping the connection cuts it, as the end of a container does.
            served = connection => if let Err(error) = served {
                debug!(pod = %listener.pod, error = &error as &dyn std::error::Error, "connection to a simulated pod failed");
            },
        }
    }
}

async fn echo(
    request: Request<Incoming>,
    (address, port): Place,
    listener: &Listener,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let size = body.collect().await.map_or(0, |body| body.to_bytes().len());
    let mut headers = Map::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let joined = match headers.get(name.as_str()).and_then(Value::as_str) {
            Some(known) => format!("{known}, {value}"),
            None => value.into_owned(),
        };
        headers.insert(name.as_str().to_owned(), json!(joined));
    }
    let answer = json!({
        "pod": &*listener.pod,
        "namespace": &*listener.namespace,
        "node": &*listener.node,
        "address": address.to_string(),
        "port": port,
        "method": head.method.as_str(),
        "path": head.uri.path_and_query().map_or("/", |path| path.as_str()),
        "headers": headers,
        "bodyBytes": size,
    });
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    Ok(response)
}
