//! Drives the deployment and replicaset controllers of a cluster and prints one figure per line:
//! `cargo run --release --example workloads -- --kubeconfig FILE --pid N [--deployments N] [--replicas N] [--limit S]`.
//!
//! Creates Deployments, waits until all are rolled out, gives each a new template, and waits again. The kubelets' part is
//! done here: each new pod is marked ready as soon as its creation is seen. CPU and memory are those of the process `N`,
//! API writes are what the API server counted (`apiserver_request_total`) without the ones made here: those of the
//! controllers. `bench/workloads.sh` runs it beside kube-controller-manager and beside `steersman run`.
#![expect(clippy::disallowed_methods, reason = "measures on the wall clock")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::future::Future;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use http::{Method, Request, header};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const NAMESPACE: &str = "bench";
/// Requests of users under way at a time.
const USERS: usize = 64;
/// Pods marked ready at a time.
const KUBELETS: usize = 32;
/// Attempts at a request that the server refuses for the time being.
const ATTEMPTS: u32 = 6;

#[derive(Clone, Debug)]
struct Settings {
    kubeconfig: String,
    pid: u32,
    deployments: usize,
    replicas: u64,
    /// For each of the two phases.
    limit: Duration,
}

fn settings() -> Outcome<Settings> {
    let mut settings = Settings {
        kubeconfig: String::new(),
        pid: 0,
        deployments: 1000,
        replicas: 5,
        limit: Duration::from_mins(4),
    };
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} takes a value"))?;
        match flag.as_str() {
            "--kubeconfig" => settings.kubeconfig = value,
            "--pid" => settings.pid = value.parse()?,
            "--deployments" => settings.deployments = value.parse()?,
            "--replicas" => settings.replicas = value.parse()?,
            "--limit" => settings.limit = Duration::from_secs(value.parse()?),
            _ => return Err(format!("unknown flag {flag}").into()),
        }
    }
    Ok(settings)
}

/// Which writes: resource and subresource.
type Target = (String, String);

/// The API server as users and kubelets of this benchmark see it.
struct Cluster {
    client: Client,
    /// Writes made here, by target.
    own: Mutex<BTreeMap<Target, u64>>,
}

impl Cluster {
    async fn send(&self, method: &Method, path: &str, content_type: &str, body: &Value) -> Outcome<()> {
        let mut attempt = 0;
        loop {
            *self
                .own
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(target(path, method))
                .or_default() += 1;
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(header::CONTENT_TYPE, content_type)
                .body(serde_json::to_vec(body)?)?;
            attempt += 1;
            match self.client.request_text(request).await {
                Ok(_) => return Ok(()),
                // Gone meanwhile, or there from an earlier run.
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_already_exists() => {
                    return Ok(());
                }
                Err(kube::Error::Api(status))
                    if attempt < ATTEMPTS && matches!(status.code, 409 | 429 | 500 | 503) =>
                {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) => return Err(format!("{method} {path}: {error}").into()),
            }
        }
    }

    /// Writes by target that the API server has counted, and how many of them it refused.
    async fn writes(&self) -> Outcome<(BTreeMap<Target, u64>, u64)> {
        let request = Request::get("/metrics").body(Vec::new())?;
        let text = self.client.request_text(request).await?;
        let (mut counted, mut refused) = (BTreeMap::<Target, u64>::new(), 0);
        for line in text.lines() {
            let Some(line) = line.strip_prefix("apiserver_request_total{") else {
                continue;
            };
            let (labels, value) = line.rsplit_once("} ").ok_or("a metric without value")?;
            let label = |name: &str| {
                let start = labels.find(&format!("{name}=\""))? + name.len() + 2;
                labels.get(start..)?.split('"').next()
            };
            let verb = label("verb").unwrap_or_default();
            let resource = label("resource").unwrap_or_default();
            if !["POST", "PUT", "PATCH", "DELETE", "APPLY"].contains(&verb) || !RESOURCES.contains(&resource)
            {
                continue;
            }
            let subresource = label("subresource").unwrap_or_default();
            let count = value.trim().parse::<u64>()?;
            *counted
                .entry((resource.to_owned(), subresource.to_owned()))
                .or_default() += count;
            if label("code").is_some_and(|code| code.starts_with(['4', '5'])) {
                refused += count;
            }
        }
        for (target, own) in self.own.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(count) = counted.get_mut(target) {
                *count = count.saturating_sub(*own);
            }
        }
        Ok((counted, refused))
    }

    /// Calls `see` with each object that is added or changed from now on.
    async fn watch(&self, path: &str, accept: &str, mut see: impl FnMut(&str, &Value)) -> Outcome<()> {
        let list = self
            .client
            .request_text(Request::get(format!("{path}?limit=1")).body(Vec::new())?)
            .await?;
        let list: Value = serde_json::from_str(&list)?;
        let mut version = text(&list, "/metadata/resourceVersion").to_owned();
        loop {
            let request = Request::get(format!(
                "{path}?watch=1&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds=3600"
            ))
            .header(header::ACCEPT, accept)
            .body(Vec::new())?;
            let mut lines = self.client.request_stream(request).await?.lines();
            while let Some(line) = lines.try_next().await? {
                let event: Value = serde_json::from_str(&line)?;
                let kind = text(&event, "/type");
                if kind == "ERROR" {
                    return Err(format!("watch of {path}: {event}").into());
                }
                text(&event, "/object/metadata/resourceVersion").clone_into(&mut version);
                if kind != "BOOKMARK" {
                    see(kind, event.get("object").unwrap_or(&Value::Null));
                }
            }
        }
    }
}

/// What controllers of workloads write.
const RESOURCES: [&str; 4] = ["deployments", "replicasets", "pods", "events"];

/// The resource that a request goes to: `/…/namespaces/NS/RESOURCE[/NAME[/SUBRESOURCE]]`.
fn target(path: &str, method: &Method) -> Target {
    let rest = path.split("/namespaces/").nth(1).unwrap_or_default();
    let mut parts = rest.split('/').skip(1);
    let resource = parts.next().unwrap_or("namespaces");
    let subresource = if *method == Method::POST {
        ""
    } else {
        parts.nth(1).unwrap_or_default()
    };
    (resource.to_owned(), subresource.to_owned())
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> u64 {
    object
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_default()
}

fn collection() -> String {
    format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments")
}

fn name(index: usize) -> String {
    format!("d{index:05}")
}

fn deployment(index: usize, replicas: u64) -> Value {
    let labels = json!({"app": name(index)});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name(index)},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": {
            "metadata": {"labels": labels},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "a:1"}]},
        }},
    })
}

/// Whether the Deployment says that the rollout of its template is done.
fn is_done(deployment: &Value, replicas: u64) -> bool {
    number(deployment, "/status/observedGeneration") >= number(deployment, "/metadata/generation")
        && ["updatedReplicas", "availableReplicas", "replicas"]
            .iter()
            .all(|count| number(deployment, &format!("/status/{count}")) == replicas)
}

/// CPU seconds and memory of a process.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    cpu: Duration,
    resident_kibibytes: f64,
    peak_kibibytes: f64,
}

fn usage(pid: u32) -> Outcome<Usage> {
    /// `USER_HZ` of every Linux.
    const TICKS_PER_SECOND: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name, which may hold spaces: state is field 3, utime 14, stime 15.
    let (_, rest) = stat.rsplit_once(')').ok_or("no name in stat")?;
    let times = rest.split_whitespace().skip(11).take(2);
    let ticks = times.map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let memory = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .ok_or_else(|| format!("no {field} in status"))
    };
    Ok(Usage {
        cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
        resident_kibibytes: memory("VmRSS:")?,
        peak_kibibytes: memory("VmHWM:")?,
    })
}

fn figure(name: &str, value: f64) -> Outcome<()> {
    writeln!(std::io::stdout(), "{name} {value:.2}")?;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts of this size are exact")]
fn float(count: u64) -> f64 {
    count as f64
}

/// Calls `request` with each number below `count`, [`USERS`] at a time.
async fn each<F>(count: usize, request: impl Fn(usize) -> F) -> Outcome<()>
where
    F: Future<Output = Outcome<()>> + Send + 'static,
{
    let mut under_way = JoinSet::new();
    for index in 0..count {
        if under_way.len() >= USERS
            && let Some(done) = under_way.join_next().await
        {
            done??;
        }
        under_way.spawn(request(index));
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}

/// When each Deployment was first seen rolled out to an image.
type Done = Arc<Mutex<BTreeMap<(String, String), Instant>>>;

struct Bench {
    settings: Settings,
    cluster: Arc<Cluster>,
    done: Done,
    changed: watch::Receiver<()>,
    /// Pods created so far.
    pods: Arc<Mutex<BTreeSet<String>>>,
}

impl Bench {
    /// Runs `users` and waits until all Deployments are rolled out to that image; prints what it took.
    async fn phase(&self, phase: &str, image: &str, users: impl Future<Output = Outcome<()>>) -> Outcome<()> {
        let (before, began) = (usage(self.settings.pid)?, Instant::now());
        let (writes_before, refused_before) = self.cluster.writes().await?;
        users.await?;
        let mut changed = self.changed.clone();
        let all = async {
            while self.times(image, began).len() < self.settings.deployments {
                changed.changed().await?;
            }
            Ok::<(), Box<dyn Error + Send + Sync>>(())
        };
        let in_time = tokio::time::timeout(self.settings.limit.saturating_sub(began.elapsed()), all).await;
        let after = usage(self.settings.pid)?;
        let times = self.times(image, began);
        if in_time.is_err() {
            figure(
                &format!("{phase}_unfinished"),
                float((self.settings.deployments - times.len()) as u64),
            )?;
        }
        figure(
            &format!("{phase}_cpu_seconds"),
            after.cpu.saturating_sub(before.cpu).as_secs_f64(),
        )?;
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        figure(&format!("{phase}_median_seconds"), median.as_secs_f64())?;
        let last = times.last().copied().unwrap_or_default();
        figure(&format!("{phase}_last_seconds"), last.as_secs_f64())?;
        // The last events may still be on their way.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (writes, refused) = self.cluster.writes().await?;
        let rollouts = float(self.settings.deployments as u64);
        let mut total = 0;
        for (target, count) in &writes {
            let count = count.saturating_sub(writes_before.get(target).copied().unwrap_or_default());
            total += count;
            let (resource, subresource) = target;
            let place = if subresource.is_empty() {
                resource.clone()
            } else {
                format!("{resource}_{subresource}")
            };
            if count > 0 {
                figure(
                    &format!("{phase}_writes_per_rollout_{place}"),
                    float(count) / rollouts,
                )?;
            }
        }
        figure(&format!("{phase}_writes_per_rollout"), float(total) / rollouts)?;
        figure(
            &format!("{phase}_requests_refused"),
            float(refused.saturating_sub(refused_before)),
        )
    }

    /// How long the Deployments took that are rolled out to that image, sorted.
    fn times(&self, image: &str, began: Instant) -> Vec<Duration> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let mut times: Vec<Duration> = done
            .iter()
            .filter(|((_, of), _)| of == image)
            .map(|(_, at)| at.saturating_duration_since(began))
            .collect();
        times.sort_unstable();
        times
    }
}

async fn run(bench: Bench) -> Outcome<()> {
    let Settings {
        deployments,
        replicas,
        pid,
        ..
    } = bench.settings;
    let cluster = Arc::clone(&bench.cluster);
    figure("idle_mebibytes", usage(pid)?.resident_kibibytes / 1024.0)?;
    let create = each(deployments, |index| {
        let cluster = Arc::clone(&cluster);
        async move {
            let body = deployment(index, replicas);
            cluster
                .send(&Method::POST, &collection(), "application/json", &body)
                .await
        }
    });
    bench.phase("create", "a:1", create).await?;
    let roll = each(deployments, |index| {
        let cluster = Arc::clone(&cluster);
        async move {
            let path = format!("{}/{}", collection(), name(index));
            let body =
                json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "a:2"}]}}}});
            cluster
                .send(
                    &Method::PATCH,
                    &path,
                    "application/strategic-merge-patch+json",
                    &body,
                )
                .await
        }
    });
    bench.phase("rollout", "a:2", roll).await?;
    let end = usage(pid)?;
    figure("peak_mebibytes", end.peak_kibibytes / 1024.0)?;
    figure("end_mebibytes", end.resident_kibibytes / 1024.0)?;
    let pods = bench.pods.lock().unwrap_or_else(PoisonError::into_inner).len();
    figure("pods_created", float(pods as u64))
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let settings = settings()?;
    let kubeconfig = Kubeconfig::read_from(&settings.kubeconfig)?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let cluster = Arc::new(Cluster {
        client: Client::try_from(config)?,
        own: Mutex::default(),
    });
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    cluster
        .send(
            &Method::POST,
            "/api/v1/namespaces",
            "application/json",
            &namespace,
        )
        .await?;

    let (done, pods): (Done, Arc<Mutex<BTreeSet<String>>>) = Default::default();
    let (tell, changed) = watch::channel(());
    let replicas = settings.replicas;
    // Never waits: there is room for every pod that can exist.
    let (created, new_pods) = mpsc::channel::<String>(1 << 20);
    let mut environment: JoinSet<Outcome<()>> = JoinSet::new();
    let (watching, seen) = (Arc::clone(&cluster), Arc::clone(&pods));
    environment.spawn(async move {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        let see = |kind: &str, pod: &Value| {
            let name = text(pod, "/metadata/name").to_owned();
            if kind == "ADDED"
                && seen
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(name.clone())
            {
                let _ = created.try_send(name);
            }
        };
        watching.watch(&path, accept, see).await
    });
    let (watching, finished) = (Arc::clone(&cluster), Arc::clone(&done));
    environment.spawn(async move {
        let see = |kind: &str, deployment: &Value| {
            if kind == "DELETED" || !is_done(deployment, replicas) {
                return;
            }
            let image = text(deployment, "/spec/template/spec/containers/0/image");
            let key = (text(deployment, "/metadata/name").to_owned(), image.to_owned());
            finished
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(key)
                .or_insert_with(Instant::now);
            tell.send_replace(());
        };
        watching.watch(&collection(), "application/json", see).await
    });
    let new_pods = Arc::new(tokio::sync::Mutex::new(new_pods));
    for _ in 0..KUBELETS {
        let (new_pods, cluster) = (Arc::clone(&new_pods), Arc::clone(&cluster));
        environment.spawn(async move {
            loop {
                let next = new_pods.lock().await.recv().await;
                let Some(name) = next else { return Ok(()) };
                let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": now});
                let body =
                    json!({"status": {"phase": "Running", "podIP": "10.9.9.9", "conditions": [ready]}});
                let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}/status");
                cluster
                    .send(&Method::PATCH, &path, "application/merge-patch+json", &body)
                    .await?;
            }
        });
    }
    // The watches are open before the first object is created.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let bench = Bench {
        settings,
        cluster,
        done,
        changed,
        pods,
    };
    tokio::select! {
        result = run(bench) => result,
        Some(ended) = environment.join_next() => {
            ended??;
            Err("a watch ended".into())
        }
    }
}
