//! `steersman sandbox --data`: what was acknowledged is there after any end of the process. `--load`: a dump starts a
//! copy of a cluster.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, Process, STEERSMAN};

const ROUNDS: u32 = 8;
const WRITERS: u32 = 8;
const NAMES_PER_WRITER: u32 = 6;

/// What a name holds: a number, or nothing.
type Content = Option<u64>;

/// What is known about a name.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    acknowledged: Content,
    /// A write that was sent and not answered: it may have happened or not.
    sent: Option<Content>,
}

type Model = Arc<Mutex<BTreeMap<String, Known>>>;

fn start(runtime: &Runtime, dir: &Path) -> (Process, Client) {
    let kubeconfig = dir.join("kubeconfig");
    let _ = std::fs::remove_file(&kubeconfig);
    let data = dir.join("data");
    let args = [
        "sandbox",
        "--nodes",
        "2",
        "--data",
        data.to_str().unwrap(),
        "--kubeconfig-out",
        kubeconfig.to_str().unwrap(),
    ];
    let mut process = Process::start("sandbox", dir, STEERSMAN, &args);
    let until = Instant::now() + Duration::from_secs(30);
    while !kubeconfig.exists() {
        assert!(process.is_running(), "the sandbox ended:\n{}", process.output());
        assert!(Instant::now() < until, "no kubeconfig:\n{}", process.output());
        std::thread::sleep(Duration::from_millis(10));
    }
    let client = runtime.block_on(client(&kubeconfig));
    (process, client)
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

fn content(map: &ConfigMap) -> Content {
    map.data.as_ref()?.get("n")?.parse().ok()
}

fn version(map: &ConfigMap) -> u64 {
    map.metadata.resource_version.as_deref().unwrap().parse().unwrap()
}

/// Creates, changes and deletes objects of its own until the server is gone.
async fn write(api: Api<ConfigMap>, model: Model, writer: u32, mut random: fastrand::Rng) -> (u32, u64) {
    let (mut answered, mut newest) = (0, 0);
    loop {
        let name = format!("w{writer}-{}", random.u32(0..NAMES_PER_WRITER));
        let known = model.lock().unwrap().get(&name).copied().unwrap_or_default();
        let wanted = (known.acknowledged.is_none() || random.u32(0..3) > 0).then(|| random.u64(..1 << 50));
        let data = json!({"metadata": {"name": name}, "data": {"n": wanted.unwrap_or(0).to_string()}});
        let sending = Known {
            sent: Some(wanted),
            ..known
        };
        model.lock().unwrap().insert(name.clone(), sending);
        let written = match (known.acknowledged, wanted) {
            (None, _) => {
                let map: ConfigMap = serde_json::from_value(data).unwrap();
                api.create(&PostParams::default(), &map).await.map(Some)
            }
            (Some(_), Some(_)) => {
                let patch = Patch::Merge(data);
                api.patch(&name, &PatchParams::default(), &patch).await.map(Some)
            }
            (Some(_), None) => api.delete(&name, &DeleteParams::default()).await.map(|_| None),
        };
        match written {
            Ok(map) => newest = newest.max(map.as_ref().map_or(0, version)),
            Err(kube::Error::Api(status)) => panic!("{name}: {status:?}"),
            // The process is gone.
            Err(_) => return (answered, newest),
        }
        answered += 1;
        let done = Known {
            acknowledged: wanted,
            sent: None,
        };
        model.lock().unwrap().insert(name, done);
    }
}

#[test]
fn api_684_killed_at_random_moments_nothing_acknowledged_is_lost() {
    let dir = tempfile::TempDir::new().unwrap();
    let runtime = Runtime::new().unwrap();
    let mut random = fastrand::Rng::with_seed(684);
    let model = Model::default();
    let (mut total, mut newest) = (0, 0);
    for round in 0..ROUNDS {
        let (mut process, client) = start(&runtime, dir.path());
        let api: Api<ConfigMap> = Api::namespaced(client, "default");
        newest = newest.max(check(&runtime, &api, &model, round, newest));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let writing = write(api.clone(), Arc::clone(&model), writer, random.fork());
            writers.spawn_on(writing, runtime.handle());
        }
        std::thread::sleep(Duration::from_millis(random.u64(50..600)));
        process.crash();
        for (answered, version) in runtime.block_on(writers.join_all()) {
            total += answered;
            newest = newest.max(version);
        }
    }
    let (mut process, client) = start(&runtime, dir.path());
    check(
        &runtime,
        &Api::namespaced(client, "default"),
        &model,
        ROUNDS,
        newest,
    );
    assert!(total > ROUNDS * WRITERS, "only {total} writes were answered");
    // SIGTERM ends it cleanly, and a clean end loses nothing either.
    assert_eq!(process.terminate(Duration::from_secs(15)), Some(0));
    let (_process, client) = start(&runtime, dir.path());
    check(
        &runtime,
        &Api::namespaced(client, "default"),
        &model,
        ROUNDS + 1,
        newest,
    );
}

/// Compares what is stored with what was acknowledged; returns the newest version.
fn check(runtime: &Runtime, api: &Api<ConfigMap>, model: &Model, round: u32, newest: u64) -> u64 {
    let list = runtime.block_on(api.list(&ListParams::default())).unwrap();
    let found: BTreeMap<String, u64> = list
        .iter()
        .filter_map(|map| Some((map.metadata.name.clone()?, content(map)?)))
        .collect();
    for (name, known) in model.lock().unwrap().iter_mut() {
        let now = found.get(name).copied();
        assert!(
            now == known.acknowledged || Some(now) == known.sent,
            "round {round}: {name} holds {now:?}, known is {known:?}"
        );
        *known = Known {
            acknowledged: now,
            sent: None,
        };
    }
    let revision: u64 = list
        .metadata
        .resource_version
        .unwrap_or_default()
        .parse()
        .unwrap();
    assert!(
        revision >= newest,
        "round {round}: revision {revision} after {newest}"
    );
    revision
}

#[test]
fn api_683_a_data_directory_that_cannot_be_used_is_named_with_the_way_out() {
    let dir = tempfile::TempDir::new().unwrap();
    let runtime = Runtime::new().unwrap();
    let (_running, _) = start(&runtime, dir.path());
    let foreign = dir.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("cluster.redb"), "something else").unwrap();
    let unwritable = Path::new("/proc/steersman");
    for (data, words) in [
        (
            &*dir.path().join("data"),
            "cluster.redb is in use by another process: end that one",
        ),
        (
            &*foreign,
            "cluster.redb is not a data file of the sandbox: choose another data directory",
        ),
        (unwritable, "open the data file /proc/steersman/cluster.redb"),
    ] {
        let args = ["sandbox", "--nodes", "0", "--data", data.to_str().unwrap()];
        let mut process = Process::start("refused", dir.path(), STEERSMAN, &args);
        assert_eq!(process.exit_code(Duration::from_secs(10)), Some(1), "{data:?}");
        assert!(process.output().contains(words), "{}", process.output());
    }
}

/// What `kubectl get` prints of a cluster, without what has to differ.
fn comparable(list: &serde_json::Value) -> Vec<serde_json::Value> {
    let mut items = list["items"].as_array().unwrap().clone();
    // Each cluster has a certificate of its own.
    items.retain(|item| item["metadata"]["name"] != "kube-root-ca.crt");
    for item in &mut items {
        let metadata = item["metadata"].as_object_mut().unwrap();
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
        // Container ids and times of a report that the new kubelet has repeated.
        item.as_object_mut().unwrap().remove("status");
    }
    items
}

const DUMPED: &str = "namespaces,crds,pods,replicasets,deployments,services,configmaps,secrets,serviceaccounts,\
                      endpointslices,poddisruptionbudgets,priorityclasses";

/// Starts a sandbox from a dump of `cluster` and compares the two.
fn copies(cluster: &Cluster) {
    let run = cluster.run_steersman();
    cluster.apply(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": 4, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "example.com/web:1"}]},
            },
        },
    }));
    cluster.apply(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }));
    cluster.apply(&json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }));
    cluster.apply(&json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    }));
    cluster.kubectl("wait --for=condition=Established crd/widgets.example.com --timeout=20s");
    cluster.apply(&json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"n": 1}}));
    cluster.kubectl("wait --for=condition=Available deployment/web --timeout=60s");
    drop(run);
    let before = cluster.get(&format!("{DUMPED},widgets -A"));
    let dump = cluster.kubectl(&format!("get {DUMPED},nodes,widgets -A -o yaml"));
    let file = cluster.dir.path().join("dump.yaml");
    let broken = "---\nkind: Strange\napiVersion: v1\nmetadata:\n  name: x\n";
    std::fs::write(&file, format!("{dump}{broken}")).unwrap();

    let copy = Cluster::sandbox_with(0, &["--load", file.to_str().unwrap()]);
    let output = copy.output();
    assert!(output.contains("5 of them nodes; 1 not loaded"), "{output}");
    assert!(
        output.contains("document 2: Strange x: kind Strange of v1 is not stored here"),
        "{output}"
    );
    let after = comparable(&copy.get(&format!("{DUMPED},widgets -A")));
    for item in comparable(&before) {
        let name = format!("{} {}", item["kind"], item["metadata"]["name"]);
        let same = |other: &&serde_json::Value| {
            ["name", "namespace"]
                .iter()
                .all(|part| other["metadata"][part] == item["metadata"][part])
                && other["kind"] == item["kind"]
        };
        assert_eq!(after.iter().find(same), Some(&item), "{name}");
    }
    // Nothing has restarted, and the copy is alive: steersman adds a pod, a simulated node of the dump runs it.
    let pods = copy.get("pods -l app=web");
    let phases: Vec<&str> = pods["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|pod| pod["status"]["phase"].as_str())
        .collect();
    assert_eq!(phases, ["Running"; 4]);
    let _run = copy.run_steersman();
    copy.kubectl("scale deployment/web --replicas=5");
    copy.kubectl("rollout status deployment/web --timeout=60s");
    assert_eq!(copy.get("pods -l app=web")["items"].as_array().unwrap().len(), 5);
}

#[test]
fn api_683_a_dump_of_the_sandbox_starts_a_copy() {
    copies(&Cluster::sandbox(5));
}

#[test]
fn api_683_a_dump_of_a_real_cluster_starts_a_copy() {
    if let Some(cluster) = Cluster::real(5) {
        copies(&cluster);
    }
}
