use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Mutex;

use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use kube::api::{DeleteParams, ListParams};
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::faults::{FaultLayer, Target, Verb, storm};
use crate::housekeeping::testing::{Cluster, named};

const NS: &str = "default";
const LEASE: &str = "coordination.k8s.io/v1 Lease";

/// Starts a simulation that can be stopped.
fn simulate(cluster: &mut Cluster, client: Client, config: Config) -> (Connector, CancellationToken) {
    let simulation = Simulation::new(client, config, Arc::clone(&cluster.clock)).unwrap();
    let (connector, stop) = (simulation.connector(), CancellationToken::new());
    cluster.spawn(simulation.run(stop.clone()));
    (connector, stop)
}

fn nodes(count: usize) -> (Cluster, Connector) {
    let mut cluster = Cluster::start();
    let client = cluster.client.clone();
    let (connector, _) = simulate(
        &mut cluster,
        client,
        Config {
            count,
            ..Config::default()
        },
    );
    (cluster, connector)
}

fn pod(name: &str, node: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": {
        "nodeName": node,
        "containers": [{ "name": "web", "image": "web:1", "ports": [{ "containerPort": 8080, "name": "http" }] }],
    } })
}

fn condition<'a>(object: &'a Value, r#type: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .filter(|c| c["type"] == r#type)
        .find_map(|c| c["status"].as_str())
        .unwrap_or("absent")
}

async fn is_ready(cluster: &Cluster, kind: &str, namespace: &str, name: &str) -> bool {
    cluster
        .get(kind, namespace, name)
        .await
        .is_some_and(|object| condition(&object, "Ready") == "True")
}

async fn until_ready(cluster: &Cluster, name: &str) {
    cluster
        .until(60, &format!("pod {name} is ready"), || {
            is_ready(cluster, "Pod", NS, name)
        })
        .await;
}

async fn until_nodes_ready(cluster: &Cluster, count: usize) {
    let ready = || async {
        let list = cluster
            .api("Node", "")
            .list(&ListParams::default())
            .await
            .unwrap();
        let usable = list.items.iter().filter(|node| {
            let node = serde_json::to_value(node).unwrap();
            condition(&node, "Ready") == "True" && node["spec"]["taints"].is_null()
        });
        usable.count() == count
    };
    cluster
        .until(60, "all nodes are ready and free of taints", ready)
        .await;
}

async fn ask(connector: &Connector, address: &str, port: u16) -> std::io::Result<Value> {
    let io = connector
        .connect(address.parse::<IpAddr>().unwrap(), port)
        .await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
        .await
        .unwrap();
    let request = http::Request::get("/some/path?q=1")
        .header("host", "shop.example")
        .header("x-test", "yes");
    let ask = async {
        let response = sender
            .send_request(request.body(Empty::<bytes::Bytes>::new()).unwrap())
            .await
            .unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        drop(sender);
        serde_json::from_slice(&body).unwrap()
    };
    let (answer, _) = tokio::join!(ask, connection);
    Ok(answer)
}

#[tokio::test(start_paused = true)]
async fn api_152_nodes_register_and_become_ready() {
    let (cluster, _) = nodes(4);
    until_nodes_ready(&cluster, 4).await;
    let node = cluster.get("Node", "", "node-4").await.unwrap();
    let labels = &node["metadata"]["labels"];
    assert_eq!(labels["kubernetes.io/hostname"], "node-4");
    assert_eq!(labels["topology.kubernetes.io/zone"], "zone-1");
    assert_eq!(labels["topology.kubernetes.io/region"], "sandbox");
    assert_eq!(node["spec"]["podCIDR"], "10.128.3.0/24");
    assert_eq!(node["status"]["capacity"]["pods"], "110");
    assert_eq!(node["status"]["allocatable"], node["status"]["capacity"]);
    assert_eq!(
        node["status"]["addresses"][0],
        json!({ "type": "InternalIP", "address": "172.16.0.5" })
    );
    for r#type in ["MemoryPressure", "DiskPressure", "PIDPressure"] {
        assert_eq!(condition(&node, r#type), "False");
    }
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn api_152_leases_are_renewed_every_ten_seconds_and_status_every_five_minutes() {
    let (cluster, _) = nodes(3);
    cluster.pass(21).await;
    let mut beats = Vec::new();
    for second in 0..40 {
        let lease = cluster.get(LEASE, "kube-node-lease", "node-2").await.unwrap();
        assert_eq!(lease["metadata"]["ownerReferences"][0]["kind"], "Node");
        assert_eq!(lease["spec"]["leaseDurationSeconds"], 40);
        beats.push(time(&lease["spec"]["renewTime"]));
        beats.dedup();
        assert!(second < 20 || beats.len() > 1);
        cluster.pass(1).await;
    }
    for pair in beats.windows(2) {
        assert_eq!(pair[1].duration_since(pair[0]).as_secs(), 10, "{beats:?}");
    }
    for _ in 0..3 {
        cluster.pass(300).await;
        let node = cluster.get("Node", "", "node-2").await.unwrap();
        let ready = node["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["type"] == "Ready")
            .unwrap();
        assert!(
            cluster
                .clock
                .now()
                .duration_since(time(&ready["lastHeartbeatTime"]))
                .as_secs()
                <= 300
        );
        assert!(
            cluster
                .clock
                .now()
                .duration_since(time(&ready["lastTransitionTime"]))
                .as_secs()
                > 60
        );
    }
}

#[tokio::test(start_paused = true)]
async fn api_152_a_pod_runs_answers_and_stops() {
    let (cluster, connector) = nodes(2);
    until_nodes_ready(&cluster, 2).await;
    cluster.create("Pod", NS, pod("web", "node-2")).await;
    until_ready(&cluster, "web").await;
    let web = cluster.get("Pod", NS, "web").await.unwrap();
    let status = &web["status"];
    assert_eq!(
        (&status["phase"], &status["hostIP"]),
        (&json!("Running"), &json!("172.16.0.3"))
    );
    let address = status["podIP"].as_str().unwrap();
    assert_eq!(status["podIPs"], json!([{ "ip": address }]));
    assert_eq!(address, "10.128.1.2");
    for r#type in [
        "PodReadyToStartContainers",
        "Initialized",
        "ContainersReady",
        "PodScheduled",
    ] {
        assert_eq!(condition(&web, r#type), "True", "{type}");
    }

    let answer = ask(&connector, address, 8080).await.unwrap();
    assert_eq!(answer["pod"], "web");
    assert_eq!(answer["namespace"], NS);
    assert_eq!(answer["node"], "node-2");
    assert_eq!(
        (&answer["method"], &answer["path"]),
        (&json!("GET"), &json!("/some/path?q=1"))
    );
    assert_eq!(answer["headers"]["x-test"], "yes");
    assert_eq!(
        ask(&connector, address, 8081).await.unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );

    let start = cluster.clock.now();
    cluster.delete("Pod", NS, "web", &DeleteParams::default()).await;
    assert!(
        ask(&connector, address, 8080).await.is_ok(),
        "accepts until it stops"
    );
    cluster.until_gone("Pod", NS, "web").await;
    let took = cluster.clock.now().duration_since(start).as_millis();
    assert!((900..1100).contains(&took), "{took} ms of 30 s");
    assert_eq!(
        ask(&connector, address, 8080).await.unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
}

#[tokio::test(start_paused = true)]
async fn api_152_readiness_follows_its_annotation_while_the_pod_runs() {
    let (cluster, connector) = nodes(1);
    cluster.create("Pod", NS, pod("web", "node-1")).await;
    until_ready(&cluster, "web").await;
    let annotate = |value: Value| json!({ "metadata": { "annotations": { READY: value } } });
    cluster.patch("Pod", NS, "web", annotate(json!("false"))).await;
    cluster
        .until(5, "not ready", || async {
            !is_ready(&cluster, "Pod", NS, "web").await
        })
        .await;
    let web = cluster.get("Pod", NS, "web").await.unwrap();
    assert!(
        ask(&connector, web["status"]["podIP"].as_str().unwrap(), 8080)
            .await
            .is_ok()
    );
    cluster.patch("Pod", NS, "web", annotate(Value::Null)).await;
    until_ready(&cluster, "web").await;
}

#[tokio::test(start_paused = true)]
async fn api_152_an_unpullable_image_never_starts_until_it_is_changed() {
    let (cluster, _) = nodes(1);
    let mut broken = pod("web", "node-1");
    broken["spec"]["containers"][0]["image"] = json!("fail/web:1");
    cluster.create("Pod", NS, broken).await;
    cluster.pass(30).await;
    let web = cluster.get("Pod", NS, "web").await.unwrap();
    assert_eq!(web["status"]["phase"], "Pending");
    assert_eq!(
        web["status"]["containerStatuses"][0]["state"]["waiting"]["reason"],
        "ImagePullBackOff"
    );
    let mut containers = web["spec"]["containers"].clone();
    containers[0]["image"] = json!("web:2");
    cluster
        .patch("Pod", NS, "web", json!({ "spec": { "containers": containers } }))
        .await;
    until_ready(&cluster, "web").await;
}

#[tokio::test(start_paused = true)]
async fn api_152_a_finalizer_holds_the_object_but_not_the_pod() {
    let (cluster, connector) = nodes(1);
    let mut held = pod("web", "node-1");
    held["metadata"]["finalizers"] = json!(["example.com/held"]);
    cluster.create("Pod", NS, held).await;
    until_ready(&cluster, "web").await;
    cluster.delete("Pod", NS, "web", &DeleteParams::default()).await;
    cluster.pass(60).await;
    let web = cluster.get("Pod", NS, "web").await.unwrap();
    assert_eq!(web["status"]["phase"], "Succeeded");
    assert_eq!(condition(&web, "Ready"), "False");
    assert!(!connector.listens(web["status"]["podIP"].as_str().unwrap().parse().unwrap(), 8080));
    let before = cluster.server.revision();
    cluster.pass(5).await;
    assert!(cluster.server.revision().0 - before.0 <= 1, "at most a heartbeat");
    cluster
        .patch("Pod", NS, "web", json!({ "metadata": { "finalizers": null } }))
        .await;
    cluster.until_gone("Pod", NS, "web").await;
}

#[tokio::test(start_paused = true)]
async fn api_152_a_deleted_node_stays_gone_and_its_pods_are_forgotten() {
    let (cluster, connector) = nodes(2);
    cluster.create("Pod", NS, pod("web", "node-1")).await;
    until_ready(&cluster, "web").await;
    let web = cluster.get("Pod", NS, "web").await.unwrap();
    let address: IpAddr = web["status"]["podIP"].as_str().unwrap().parse().unwrap();
    assert!(connector.listens(address, 8080));
    cluster
        .delete("Node", "", "node-1", &DeleteParams::default())
        .await;
    cluster.pass(400).await;
    assert_eq!(cluster.names("Node", "").await, ["node-2"]);
    assert!(!connector.listens(address, 8080));
}

#[tokio::test(start_paused = true)]
async fn api_152_a_silent_node_beats_no_more_and_does_nothing() {
    let (cluster, connector) = nodes(1);
    cluster.create("Pod", NS, pod("web", "node-1")).await;
    until_ready(&cluster, "web").await;
    let web = cluster.get("Pod", NS, "web").await.unwrap();
    let address: IpAddr = web["status"]["podIP"].as_str().unwrap().parse().unwrap();
    cluster
        .patch(
            "Node",
            "",
            "node-1",
            json!({ "metadata": { "annotations": { DOWN: "true" } } }),
        )
        .await;
    cluster.pass(1).await;
    assert!(!connector.listens(address, 8080));
    cluster.delete("Pod", NS, "web", &DeleteParams::default()).await;
    let before = cluster.server.revision();
    cluster.pass(400).await;
    assert_eq!(cluster.server.revision(), before);
    cluster
        .patch(
            "Node",
            "",
            "node-1",
            json!({ "metadata": { "annotations": null } }),
        )
        .await;
    cluster.until_gone("Pod", NS, "web").await;
    let lease = cluster.get(LEASE, "kube-node-lease", "node-1").await.unwrap();
    assert!(
        cluster
            .clock
            .now()
            .duration_since(time(&lease["spec"]["renewTime"]))
            .as_secs()
            < 60
    );
}

#[tokio::test(start_paused = true)]
async fn api_152_a_node_of_somebody_else_is_left_alone() {
    let mut cluster = Cluster::start();
    cluster.create("Node", "", named("node-1", &[])).await;
    let client = cluster.client.clone();
    simulate(
        &mut cluster,
        client,
        Config {
            count: 2,
            ..Config::default()
        },
    );
    cluster.pass(30).await;
    let node = cluster.get("Node", "", "node-1").await.unwrap();
    assert_eq!(condition(&node, "Ready"), "absent");
    assert!(is_ready(&cluster, "Node", "", "node-2").await);
}

#[tokio::test(start_paused = true)]
async fn api_152_another_run_continues_with_what_is_there() {
    let mut cluster = Cluster::start();
    let config = || Config {
        count: 2,
        ..Config::default()
    };
    let client = cluster.client.clone();
    let (_, stop) = simulate(&mut cluster, client.clone(), config());
    for name in ["a", "b"] {
        cluster.create("Pod", NS, pod(name, "node-1")).await;
        until_ready(&cluster, name).await;
    }
    let before = cluster.get("Pod", NS, "b").await.unwrap();
    stop.cancel();
    cluster.pass(100).await;
    cluster.delete("Pod", NS, "a", &DeleteParams::default()).await;
    let (connector, _) = simulate(&mut cluster, client, config());
    cluster.until_gone("Pod", NS, "a").await;
    cluster.pass(20).await;
    assert_eq!(
        cluster.get("Pod", NS, "b").await.unwrap()["status"],
        before["status"]
    );
    assert!(
        ask(&connector, before["status"]["podIP"].as_str().unwrap(), 8080)
            .await
            .is_ok()
    );
    cluster.create("Pod", NS, pod("c", "node-1")).await;
    until_ready(&cluster, "c").await;
    let c = cluster.get("Pod", NS, "c").await.unwrap();
    assert_ne!(c["status"]["podIP"], before["status"]["podIP"]);
    assert!(cluster.names("Node", "").await.len() == 2);
}

#[tokio::test(start_paused = true)]
async fn api_152_heartbeats_of_many_nodes_are_spread() {
    let mut cluster = Cluster::start();
    let seen: Arc<Mutex<BTreeMap<u64, u32>>> = Arc::default();
    let (log, clock, service) = (
        Arc::clone(&seen),
        Arc::clone(&cluster.clock),
        cluster.server.service(),
    );
    let start = clock.now();
    let counted = service.map_request(move |request: http::Request<kube::client::Body>| {
        if Target::of(request.method(), request.uri()).verb != Verb::Get {
            let second = u64::try_from(clock.now().duration_since(start).as_secs()).unwrap();
            *log.lock().unwrap().entry(second).or_default() += 1;
        }
        request
    });
    let client = Client::new(counted, NS);
    simulate(
        &mut cluster,
        client,
        Config {
            count: 200,
            ..Config::default()
        },
    );
    cluster.pass(60).await;
    let steady: Vec<u32> = seen
        .lock()
        .unwrap()
        .range(20..60)
        .map(|(_, count)| *count)
        .collect();
    // 20 leases and 0.67 status reports a second.
    assert_eq!(steady.len(), 40);
    assert!(steady.iter().all(|count| (19..=23).contains(count)), "{steady:?}");
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn api_152_pods_run_and_stop_under_faults(#[values(1, 2, 3, 4, 5, 6, 7, 8)] seed: u64) {
    let mut cluster = Cluster::start();
    let layer = FaultLayer::new(seed, storm());
    let client = Client::new(tower::Layer::layer(&layer, cluster.server.service()), NS);
    let (connector, _) = simulate(
        &mut cluster,
        client,
        Config {
            count: 3,
            ..Config::default()
        },
    );
    for index in 0..30 {
        cluster
            .create(
                "Pod",
                NS,
                pod(&format!("p-{index}"), &format!("node-{}", index % 3 + 1)),
            )
            .await;
        if index % 3 == 2 {
            cluster.pass(1).await;
            cluster
                .delete("Pod", NS, &format!("p-{}", index - 2), &DeleteParams::default())
                .await;
        }
    }
    cluster.pass(20).await;
    layer.faults().quiesce();
    assert!(!layer.faults().log().is_empty());
    until_nodes_ready(&cluster, 3).await;
    let settled = || async {
        let list = cluster.api("Pod", NS).list(&ListParams::default()).await.unwrap();
        let ready = list
            .items
            .iter()
            .filter(|pod| condition(&pod.data, "Ready") == "True");
        list.items.len() == 20 && ready.count() == 20
    };
    cluster
        .until(120, "20 pods are ready, 10 are gone", settled)
        .await;
    let list = cluster.api("Pod", NS).list(&ListParams::default()).await.unwrap();
    let addresses: BTreeSet<&str> = list
        .items
        .iter()
        .map(|pod| pod.data["status"]["podIP"].as_str().unwrap())
        .collect();
    assert_eq!(addresses.len(), 20);
    for address in addresses {
        assert!(connector.listens(address.parse().unwrap(), 8080));
    }
}
