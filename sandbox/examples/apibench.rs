//! Drives any API server with the same requests and prints one figure per line:
//! `cargo run --release -p steersman-sandbox --example apibench -- --kubeconfig FILE [--pids N,N] [--pods N]`.
//!
//! HTTP/2 over TLS, as client-go does it; answers are read and counted, not parsed. With `--pids`, the CPU time that
//! these processes take for one request is printed too: it varies less than rates do on a machine that is busy.
//! `bench/apiserver.sh` runs it against the sandbox and a real API server side by side.
#![expect(clippy::disallowed_methods, reason = "measures on the wall clock")]

use std::{
    error::Error,
    future::Future,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::{
    Config,
    client::ConfigExt as _,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, sync::Notify, task::JoinSet};
use tokio_rustls::TlsConnector;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const NAMESPACE: &str = "bench";
/// Connections for requests; each watch fan-out uses as many more.
const CONNECTIONS: usize = 4;
/// Requests under way at a time.
const IN_FLIGHT: usize = 32;
const WATCHES: usize = 100;
const WATCHED_WRITES: usize = 2000;
const LISTS: usize = 10;

#[derive(Debug)]
struct Settings {
    kubeconfig: String,
    pids: Vec<u32>,
    pods: usize,
    only: Vec<String>,
}

fn settings() -> Outcome<Settings> {
    let mut settings = Settings {
        kubeconfig: String::new(),
        pids: Vec::new(),
        pods: 10_000,
        only: Vec::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or("each flag takes a value")?;
        match flag.as_str() {
            "--kubeconfig" => settings.kubeconfig = value,
            "--pids" => settings.pids = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--pods" => settings.pods = value.parse()?,
            "--only" => settings.only = value.split(',').map(str::to_owned).collect(),
            other => return Err(format!("{other}: unknown flag").into()),
        }
    }
    Ok(settings)
}

/// Connections to one API server, used in turn.
struct Client {
    authority: String,
    bearer: Option<String>,
    senders: Vec<SendRequest<Full<Bytes>>>,
    turn: AtomicUsize,
}

impl Client {
    async fn connect(kubeconfig: &str, connections: usize) -> Outcome<Self> {
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(kubeconfig)?, &options).await?;
        let mut tls = config.rustls_client_config()?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let connector = TlsConnector::from(Arc::new(tls));
        let host = config.cluster_url.host().unwrap_or("127.0.0.1").to_owned();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let mut senders = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            let name = rustls::pki_types::ServerName::try_from(host.clone())?;
            let stream = connector.connect(name, stream).await?;
            let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(16 << 20)
                .handshake(TokioIo::new(stream))
                .await?;
            // Ends with the process.
            tokio::spawn(connection);
            senders.push(sender);
        }
        let file: Value = serde_saphyr::from_str(&std::fs::read_to_string(kubeconfig)?)?;
        let token = file.pointer("/users/0/user/token").and_then(Value::as_str);
        Ok(Self {
            authority: format!("{host}:{port}"),
            bearer: token.map(|token| format!("Bearer {token}")),
            senders,
            turn: AtomicUsize::new(0),
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Outcome<http::Response<hyper::body::Incoming>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.senders.len();
        let mut sender = self.senders.get(turn).ok_or("no connection")?.clone();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.authority))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "apibench");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        if let Some(bearer) = &self.bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        sender.ready().await?;
        Ok(sender.send_request(request.body(Full::new(body))?).await?)
    }

    /// The body of an answer, which has to be a success.
    async fn call(&self, method: Method, path: &str, body: Bytes) -> Outcome<Bytes> {
        self.call_as(method, path, "application/json", body).await
    }

    async fn call_as(&self, method: Method, path: &str, content_type: &str, body: Bytes) -> Outcome<Bytes> {
        let answer = self.send(method, path, content_type, body).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)).into())
    }
}

/// User and system time of the processes so far.
fn cpu(pids: &[u32]) -> Duration {
    /// `USER_HZ` of every Linux.
    const TICKS_PER_SECOND: u64 = 100;
    let ticks: u64 = pids
        .iter()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok())
        .filter_map(|stat| {
            // After the name, which may hold spaces: state is field 3, utime 14, stime 15.
            let (_, rest) = stat.rsplit_once(')')?;
            let times = rest.split_whitespace().skip(11).take(2);
            Some(times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>())
        })
        .sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

fn figure(name: &str, value: f64) -> Outcome<()> {
    writeln!(std::io::stdout(), "{name} {value:.2}")?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of this size are exact")]
fn float(count: usize) -> f64 {
    count as f64
}

/// Runs `work` and prints its rate, and what one of its `count` units costs the server.
async fn measure(
    settings: &Settings,
    name: &str,
    count: usize,
    work: impl Future<Output = Outcome<()>>,
) -> Outcome<()> {
    let (began, before) = (Instant::now(), cpu(&settings.pids));
    work.await?;
    let (took, used) = (began.elapsed(), cpu(&settings.pids).saturating_sub(before));
    figure(&format!("{name}_per_second"), float(count) / took.as_secs_f64())?;
    if !settings.pids.is_empty() {
        figure(
            &format!("{name}_server_cpu_microseconds"),
            used.as_secs_f64() * 1e6 / float(count),
        )?;
    }
    Ok(())
}

/// Calls `request` with each number below `count`, [`IN_FLIGHT`] at a time.
async fn each<F>(
    client: &Arc<Client>,
    count: usize,
    request: impl Fn(Arc<Client>, usize) -> F + Copy,
) -> Outcome<()>
where
    F: Future<Output = Outcome<()>> + Send + 'static,
{
    let mut under_way = JoinSet::new();
    for index in 0..count {
        if under_way.len() >= IN_FLIGHT
            && let Some(done) = under_way.join_next().await
        {
            done??;
        }
        under_way.spawn(request(Arc::clone(client), index));
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}

fn pods_path() -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/pods")
}

/// A pod as a ReplicaSet controller makes it, without the owner: garbage collection would look for it.
fn pod(index: usize) -> Value {
    let container = |name: &str| {
        json!({
            "name": name, "image": format!("registry.example.com/shop/{name}:1.4.2"),
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "env": [
                {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "LOG_LEVEL", "value": "info"},
            ],
            "resources": {
                "requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "500m", "memory": "256Mi"},
            },
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 5},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/shop", "readOnly": true}],
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("web-{index:06}"),
            "labels": {"app": "web", "pod-template-hash": "5d8c7f9b6d", "group": format!("g{}", index % 50)},
        },
        "spec": {
            "containers": [container("web"), container("sidecar")],
            "volumes": [{"name": "config", "configMap": {"name": "web"}}],
            "serviceAccountName": "default", "automountServiceAccountToken": false,
        },
    })
}

/// Numbers that hit all pods in an order that looks random and is always the same.
fn scattered(index: usize, of: usize) -> usize {
    index.wrapping_mul(7919) % of.max(1)
}

async fn create_pods(settings: &Settings, client: &Arc<Client>) -> Outcome<()> {
    let work = each(client, settings.pods, |client, index| async move {
        let body = pod(index).to_string().into();
        client.call(Method::POST, &pods_path(), body).await.map(drop)
    });
    measure(settings, "create", settings.pods, work).await
}

async fn get_pods(settings: &Settings, client: &Arc<Client>) -> Outcome<()> {
    let pods = settings.pods;
    let work = each(client, 2 * pods, move |client, index| async move {
        let path = format!("{}/web-{:06}", pods_path(), scattered(index, pods));
        client.call(Method::GET, &path, Bytes::new()).await.map(drop)
    });
    measure(settings, "get", 2 * pods, work).await
}

/// What a kubelet sends when the containers of a pod run.
async fn patch_status(settings: &Settings, client: &Arc<Client>) -> Outcome<()> {
    let work = each(client, settings.pods, |client, index| async move {
        let path = format!("{}/web-{index:06}/status", pods_path());
        let now = "2026-01-01T00:00:00Z";
        let condition = |name: &str| json!({"type": name, "status": "True", "lastTransitionTime": now});
        let container = |name: &str| {
            json!({
                "name": name, "ready": true, "started": true, "restartCount": 0,
                "image": format!("registry.example.com/shop/{name}:1.4.2"), "imageID": "sha256:0", "containerID": "c://1",
                "state": {"running": {"startedAt": now}},
            })
        };
        let body = json!({"status": {
            "phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}], "hostIP": "10.9.0.1", "startTime": now,
            "conditions": [
                condition("PodScheduled"), condition("Initialized"), condition("ContainersReady"), condition("Ready"),
            ],
            "containerStatuses": [container("web"), container("sidecar")],
        }});
        let sent = client.call_as(
            Method::PATCH,
            &path,
            "application/strategic-merge-patch+json",
            body.to_string().into(),
        );
        sent.await.map(drop)
    });
    measure(settings, "patch_status", settings.pods, work).await
}

async fn put_pods(settings: &Settings, client: &Arc<Client>) -> Outcome<()> {
    let path = format!("{}/web-000000", pods_path());
    let stored: Value = serde_json::from_slice(&client.call(Method::GET, &path, Bytes::new()).await?)?;
    let count = settings.pods / 2;
    let stored = Arc::new(stored);
    let stored = &stored;
    let work = each(client, count, |client, index| {
        let mut pod = Value::clone(stored);
        if let Some(metadata) = pod.pointer_mut("/metadata").and_then(Value::as_object_mut) {
            metadata.insert("name".to_owned(), format!("web-{index:06}").into());
            for member in ["uid", "resourceVersion", "managedFields", "creationTimestamp"] {
                metadata.remove(member);
            }
        }
        if let Some(labels) = pod.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
            labels.insert("round".to_owned(), "2".into());
        }
        async move {
            let path = format!("{}/web-{index:06}", pods_path());
            client
                .call(Method::PUT, &path, pod.to_string().into())
                .await
                .map(drop)
        }
    });
    measure(settings, "update", count, work).await
}

async fn list_pods(settings: &Settings, client: &Arc<Client>, name: &str, query: &str) -> Outcome<()> {
    let path = format!("/api/v1/pods{query}");
    let mut times = Vec::new();
    let work = async {
        for _ in 0..LISTS {
            let began = Instant::now();
            client.call(Method::GET, &path, Bytes::new()).await?;
            times.push(began.elapsed());
        }
        Ok(())
    };
    measure(settings, name, LISTS, work).await?;
    times.sort_unstable();
    let median = times.get(LISTS / 2).copied().unwrap_or_default();
    figure(&format!("{name}_median_milliseconds"), median.as_secs_f64() * 1e3)
}

/// Body of a watch from a version on.
async fn watch(client: &Client, path: &str, version: &str) -> Outcome<hyper::body::Incoming> {
    let path = format!("{path}?watch=1&resourceVersion={version}");
    let answer = client.send(Method::GET, &path, "", Bytes::new()).await?;
    if answer.status() != StatusCode::OK {
        return Err(format!("watch: {}", answer.status()).into());
    }
    Ok(answer.into_body())
}

/// resourceVersion of the object in a line of a watch.
fn version_of(line: &[u8]) -> &str {
    let name = b"\"resourceVersion\":\"";
    let found = line.windows(name.len()).position(|part| part == name);
    let value = found
        .and_then(|at| line.get(at + name.len()..))
        .unwrap_or_default();
    let end = value.iter().position(|byte| *byte == b'"').unwrap_or_default();
    value
        .get(..end)
        .and_then(|text| std::str::from_utf8(text).ok())
        .unwrap_or_default()
}

/// Many watches of the same objects, and writes that all of them are told.
async fn fan_out(settings: &Settings, client: &Arc<Client>) -> Outcome<()> {
    let maps = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    let list: Value = serde_json::from_slice(&client.call(Method::GET, &maps, Bytes::new()).await?)?;
    let version = list
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let watching = Arc::new(Client::connect(&settings.kubeconfig, CONNECTIONS).await?);
    let received = Arc::new(AtomicUsize::new(0));
    let all = Arc::new(Notify::new());
    let wanted = WATCHES * WATCHED_WRITES;
    let mut watches = JoinSet::new();
    for _ in 0..WATCHES {
        let mut answer = watch(&watching, &maps, version).await?;
        let (received, all) = (Arc::clone(&received), Arc::clone(&all));
        let (watching, maps) = (Arc::clone(&watching), maps.clone());
        let mut seen = version.to_owned();
        watches.spawn(async move {
            loop {
                let mut line = Vec::new();
                while let Some(Ok(frame)) = answer.frame().await {
                    let Some(data) = frame.data_ref() else { continue };
                    let mut lines = 0;
                    for part in data.split_inclusive(|byte| *byte == b'\n') {
                        if line.ends_with(b"\n") {
                            line.clear();
                        }
                        line.extend_from_slice(part);
                        lines += usize::from(part.ends_with(b"\n"));
                    }
                    if line.ends_with(b"\n") {
                        version_of(&line).clone_into(&mut seen);
                    }
                    if received.fetch_add(lines, Ordering::Relaxed) + lines >= wanted {
                        all.notify_one();
                    }
                }
                // A server may end a watch that lags; what was not seen is watched again.
                match watch(&watching, &maps, &seen).await {
                    Ok(again) => answer = again,
                    Err(_) => return,
                }
            }
        });
    }
    let work = async {
        each(client, WATCHED_WRITES, |client, index| async move {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
            let body = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("m{index}")},
                "data": {"text": "x".repeat(500)},
            });
            client
                .call(Method::POST, &path, body.to_string().into())
                .await
                .map(drop)
        })
        .await?;
        let ended = tokio::time::timeout(Duration::from_mins(5), all.notified()).await;
        ended.map_err(|_| format!("{} of {wanted} events", received.load(Ordering::Relaxed)).into())
    };
    measure(settings, "watch_events", wanted, work).await
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let settings = settings()?;
    let client = Arc::new(Client::connect(&settings.kubeconfig, CONNECTIONS).await?);
    let wanted = |name: &str| settings.only.is_empty() || settings.only.iter().any(|only| only == name);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    // It may be there from an earlier run.
    let made = client
        .call(Method::POST, "/api/v1/namespaces", namespace.to_string().into())
        .await;
    if let Err(error) = made
        && !error.to_string().contains("already exists")
    {
        return Err(error);
    }
    if wanted("create") {
        create_pods(&settings, &client).await?;
    }
    if wanted("get") {
        get_pods(&settings, &client).await?;
    }
    if wanted("patch_status") {
        patch_status(&settings, &client).await?;
    }
    if wanted("update") {
        put_pods(&settings, &client).await?;
    }
    if wanted("list") {
        list_pods(&settings, &client, "list", "").await?;
        list_pods(&settings, &client, "list_cached", "?resourceVersion=0").await?;
        list_pods(&settings, &client, "list_by_label", "?labelSelector=group%3Dg7").await?;
    }
    if wanted("watch") {
        fan_out(&settings, &client).await?;
    }
    Ok(())
}
