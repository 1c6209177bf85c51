//! The real binary, over HTTP, with the real kubectl: on the sandbox always, on a real API server when
//! `KUBEBUILDER_ASSETS` is set.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Process, STEERSMAN, http_get};

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests");

/// Runs a scenario on both kinds of API server.
macro_rules! on_both {
    ($($(#[$doc:meta])* $name:ident => $scenario:path;)*) => {
        mod sandbox {
            $(#[test] fn $name() { $scenario(&super::Cluster::sandbox(5)); })*
        }
        mod real_api_server {
            $(#[test] fn $name() { if let Some(cluster) = super::Cluster::real(5) { $scenario(&cluster); } })*
        }
    };
}

on_both! {
    published_manifests_roll_out_and_obey_kubectl => super::published_manifests;
    inv_6_killed_at_random_moments_the_end_state_is_right => super::killed_at_random_moments;
    dep_20_a_refused_template_is_reported_without_a_hot_loop => super::refused_template;
    inv_12_shadow_plans_and_writes_nothing => super::shadow;
}

/// Deployments by namespace and name.
fn deployments(cluster: &Cluster) -> BTreeMap<String, Value> {
    let list = cluster.get("deployments -A");
    let part = |it: &Value, part: &str| it["metadata"][part].as_str().unwrap().to_owned();
    let items = list["items"].as_array().unwrap().iter();
    // The guard's probe is nobody's to roll out (TAKE-8).
    let items = items.filter(|it| it["metadata"]["labels"]["steersman.dev/probe"].is_null());
    items
        .map(|it| {
            (
                format!("{}/{}", part(it, "namespace"), part(it, "name")),
                it.clone(),
            )
        })
        .collect()
}

/// Replicas and the image of each Deployment, as `kubectl apply` takes them.
fn deployment(name: &str, replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": name, "image": format!("example.com/{name}:0")}]},
            },
        },
    })
}

/// As `kubectl rollout status` judges: everything updated, available, nothing left over.
fn is_rolled_out(deployment: &Value) -> bool {
    let count = |field: &str| deployment["status"][field].as_i64().unwrap_or(0);
    let wanted = deployment["spec"]["replicas"].as_i64().unwrap();
    deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
        && [
            count("updatedReplicas"),
            count("replicas"),
            count("availableReplicas"),
        ] == [wanted; 3]
}

fn wait_rolled_out(cluster: &Cluster, within: Duration) {
    cluster.wait("all Deployments rolled out", within, |it| {
        deployments(it).values().all(is_rolled_out)
    });
}

fn published_manifests(cluster: &Cluster) {
    let mut steersman = cluster.run_steersman();
    // Each in a namespace of its own: both have a Deployment `frontend`, with different selectors.
    let shops = [("boutique", "online-boutique", 12), ("guestbook", "guestbook", 3)];
    for (namespace, manifest, _) in shops {
        cluster.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
        cluster.kubectl(&format!("apply -n {namespace} -f {MANIFESTS}/{manifest}.yaml"));
    }
    wait_rolled_out(cluster, Duration::from_mins(1));
    for (namespace, _, count) in shops {
        obeys_kubectl(cluster, namespace, count);
    }
    assert!(steersman.is_running());
    assert_eq!(
        steersman.terminate(Duration::from_secs(15)),
        Some(0),
        "SIGTERM ends it cleanly"
    );
}

/// restart, status, undo, history, scale, describe and delete of every Deployment in a namespace.
fn obeys_kubectl(cluster: &Cluster, namespace: &str, count: usize) {
    let names: Vec<String> = deployments(cluster)
        .into_keys()
        .filter_map(|key| Some(key.strip_prefix(namespace)?.strip_prefix('/')?.to_owned()))
        .collect();
    assert_eq!(names.len(), count, "{names:?}");
    let kubectl = |command: &str| cluster.kubectl(&format!("-n {namespace} {command}"));
    kubectl("wait --for=condition=Available deployment --all --timeout=20s");

    for name in &names {
        let restarted = kubectl(&format!("rollout restart deployment/{name}"));
        assert_eq!(restarted.trim(), format!("deployment.apps/{name} restarted"));
    }
    for name in &names {
        let status = kubectl(&format!("rollout status deployment/{name} --timeout=60s"));
        assert!(
            status.contains(&format!("deployment \"{name}\" successfully rolled out")),
            "{status}"
        );
    }
    for name in &names {
        let undone = kubectl(&format!("rollout undo deployment/{name}"));
        assert_eq!(undone.trim(), format!("deployment.apps/{name} rolled back"));
    }
    wait_rolled_out(cluster, Duration::from_mins(1));
    for name in &names {
        // DEP-96: the undone revision 1 has become revision 3.
        let history = kubectl(&format!("rollout history deployment/{name}"));
        let revisions: Vec<&str> = history
            .lines()
            .skip(2)
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        assert_eq!(revisions, ["2", "3"], "{history}");
        let scaled = kubectl(&format!("scale deployment/{name} --replicas=3"));
        assert_eq!(scaled.trim(), format!("deployment.apps/{name} scaled"));
    }
    wait_rolled_out(cluster, Duration::from_mins(1));
    for name in &names {
        let ready = kubectl(&format!("get deployment {name} --no-headers"));
        let cells: Vec<&str> = ready.split_whitespace().collect();
        assert_eq!(cells[1..4], ["3/3", "3", "3"], "{ready}");
    }
    let described = kubectl("describe deployment frontend");
    for part in [
        "NewReplicaSetAvailable",
        "ScalingReplicaSet",
        "3 desired | 3 updated | 3 total | 3 available",
    ] {
        assert!(described.contains(part), "{part} is missing in\n{described}");
    }
    kubectl(&format!(
        "delete deployment {} --wait --timeout=60s",
        names.join(" ")
    ));
    cluster.wait("no ReplicaSet and no Pod left", Duration::from_mins(1), |it| {
        it.get(&format!("replicasets,pods -n {namespace}"))["items"]
            .as_array()
            .unwrap()
            .is_empty()
    });
}

fn killed_at_random_moments(cluster: &Cluster) {
    const ROUNDS: u32 = 20;
    let mut random = fastrand::Rng::with_seed(20_260_601);
    for (name, replicas) in [("a", 6), ("b", 3)] {
        cluster.apply(&deployment(name, replicas));
    }
    let mut steersman = cluster.run_steersman_with(FAST_LEASE);
    wait_rolled_out(cluster, Duration::from_mins(1));
    for round in 1..=ROUNDS {
        for name in ["a", "b"] {
            cluster.kubectl(&format!(
                "set image deployment/{name} {name}=example.com/{name}:{round}"
            ));
        }
        std::thread::sleep(Duration::from_millis(random.u64(0..1500)));
        steersman.crash();
        check_invariants(cluster);
        steersman = cluster.run_steersman_with(FAST_LEASE);
    }
    wait_rolled_out(cluster, Duration::from_mins(2));
    check_invariants(cluster);
    for (name, replicas) in [("a", 6), ("b", 3)] {
        let sets = cluster.get(&format!("replicasets -l app={name}"));
        let sets = sets["items"].as_array().unwrap();
        // One ReplicaSet per template that was ever seen, never two for one (INV-6), revisions all different (INV-8).
        let mut images: Vec<String> = sets.iter().map(image).collect();
        let mut revisions: Vec<&str> = sets
            .iter()
            .map(|set| {
                set["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
                    .as_str()
                    .unwrap()
            })
            .collect();
        for list in [images.len(), revisions.len()] {
            assert_eq!(list, sets.len());
        }
        images.sort();
        images.dedup();
        revisions.sort_unstable();
        revisions.dedup();
        assert_eq!(
            (images.len(), revisions.len()),
            (sets.len(), sets.len()),
            "{images:?} {revisions:?}"
        );
        let pods = cluster.get(&format!("pods -l app={name}"));
        let pods = pods["items"].as_array().unwrap();
        let current: Vec<&Value> = pods
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .collect();
        assert_eq!(current.len(), replicas, "no pod leaked, none missing");
        assert!(
            current
                .iter()
                .all(|pod| pod["spec"]["containers"][0]["image"] == format!("example.com/{name}:{ROUNDS}"))
        );
    }
}

/// No leader election: a killed holder's lease would have to run out in each of the rounds. What that does is tested
/// by the lease tests of `steersman-shared`.
const FAST_LEASE: &[&str] = &[
    "--mode",
    "all=active",
    "--scheduler-name",
    "default-scheduler",
    "--no-leader-election",
    "--no-native-controller-manager",
];

fn image(set: &Value) -> String {
    set["spec"]["template"]["spec"]["containers"][0]["image"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// What can be seen from outside at any moment: INV-1, INV-4, INV-5 and the sizes of ReplicaSets against their pods.
fn check_invariants(cluster: &Cluster) {
    let deployments = deployments(cluster);
    let sets = cluster.get("replicasets");
    for deployment in deployments.values() {
        let uid = &deployment["metadata"]["uid"];
        let owned = sets["items"].as_array().unwrap().iter().filter(|set| {
            set["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|refs| refs.iter().any(|it| it["uid"] == *uid))
        });
        let total: i64 = owned.map(|set| set["spec"]["replicas"].as_i64().unwrap()).sum();
        let wanted = deployment["spec"]["replicas"].as_i64().unwrap();
        let surge = (wanted + 3) / 4; // 25 %, rounded up
        assert!(total <= wanted + surge, "INV-1: {total} > {wanted} + {surge}");
    }
    for pod in cluster.get("pods")["items"].as_array().unwrap() {
        let owners = pod["metadata"]["ownerReferences"].as_array().unwrap();
        let controllers = owners.iter().filter(|owner| owner["controller"] == true).count();
        assert_eq!(controllers, 1, "INV-5, INV-6: {}", pod["metadata"]["name"]);
    }
}

fn shadow(cluster: &Cluster) {
    cluster.apply(&deployment("shadowed", 2));
    let before = cluster.get("deployment shadowed");
    // The defaults: deployment and replicaset in shadow, the scheduler for pods that name it.
    let run = cluster.run_steersman_with(&[]);
    cluster.wait("the plan", Duration::from_secs(30), |_| {
        run.output().contains("action planned, not carried out")
    });
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(cluster.get("deployment shadowed"), before, "nothing was written");
    assert_eq!(cluster.get("replicasets,pods")["items"], json!([]));
    let events = cluster.get("events");
    let ours = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["involvedObject"]["name"] == "shadowed");
    assert_eq!(ours.count(), 0, "shadow tells its plans in the log, not to users");
}

fn refused_template(cluster: &Cluster) {
    let _steersman = cluster.run_steersman();
    // The priority class does not exist: the API server takes the Deployment and refuses each pod.
    let mut refused = deployment("refused", 1);
    refused["spec"]["template"]["spec"]["priorityClassName"] = json!("missing");
    cluster.apply(&refused);
    cluster.wait("the failure is reported", Duration::from_secs(30), |it| {
        let set = it.get("replicasets -l app=refused");
        let failed = |object: &Value| {
            object["status"]["conditions"]
                .as_array()
                .is_some_and(|conditions| {
                    conditions
                        .iter()
                        .any(|it| it["type"] == "ReplicaFailure" && it["reason"] == "FailedCreate")
                })
        };
        set["items"].as_array().unwrap().iter().any(failed) && failed(&it.get("deployment refused"))
    });
    cluster.wait("a FailedCreate event", Duration::from_secs(30), |it| {
        let events = it.get("events");
        events["items"].as_array().unwrap().iter().any(|event| {
            event["reason"] == "FailedCreate"
                && event["message"]
                    .as_str()
                    .unwrap()
                    .contains("no PriorityClass with name missing was found")
        })
    });
    // RS-22, STY-22: 5 ms doubling: in the 3 s after the tenth attempt there can be one more, two with luck.
    let attempts = |cluster: &Cluster| -> i64 {
        let events = cluster.get("events");
        let failed = events["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["reason"] == "FailedCreate");
        failed.map(|event| event["count"].as_i64().unwrap_or(1)).sum()
    };
    std::thread::sleep(Duration::from_secs(5));
    let before = attempts(cluster);
    std::thread::sleep(Duration::from_secs(3));
    let after = attempts(cluster);
    assert!(after - before <= 2, "{before} attempts, then {after}");
}

#[test]
fn the_demo_rolls_out_updates_and_ends() {
    let dir = tempfile::TempDir::new().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    let args = [
        "sandbox",
        "--demo",
        "--exit",
        "--kubeconfig-out",
        kubeconfig.to_str().unwrap(),
    ];
    let mut demo = Process::start("demo", dir.path(), STEERSMAN, &args);
    let code = demo.exit_code(Duration::from_secs(90));
    let output = demo.output();
    assert_eq!(code, Some(0), "{output}");
    for line in [
        "shop/web",
        "shop/catalog",
        "shop/cart",
        "all Deployments are available",
        "rolling update done",
    ] {
        assert!(output.contains(line), "{line:?} is missing in\n{output}");
    }
}

#[test]
fn an_unreachable_api_server_is_named_and_retried() {
    let dir = tempfile::TempDir::new().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    std::fs::write(
        &kubeconfig,
        "{apiVersion: v1, kind: Config, current-context: c, \
        clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}], users: [{name: u, user: {}}], \
        contexts: [{name: c, context: {cluster: c, user: u}}]}",
    )
    .unwrap();
    let args = [
        "run",
        "--kubeconfig",
        kubeconfig.to_str().unwrap(),
        "--admin-address",
        "127.0.0.1:0",
    ];
    let mut run = Process::start("run", dir.path(), STEERSMAN, &args);
    std::thread::sleep(Duration::from_secs(3));
    let output = run.output();
    assert!(run.is_running(), "it waits for the API server:\n{output}");
    assert!(
        output.contains("http://127.0.0.1:1"),
        "the message names the URL:\n{output}"
    );
    assert!(output.lines().count() < 40, "no flood of messages:\n{output}");
    assert_eq!(run.terminate(Duration::from_secs(15)), Some(0));
}

/// A user without any right, on a real API server: the sandbox does not enforce RBAC.
#[test]
fn forbidden_verbs_are_named_and_hold_readiness_back() {
    let Some(cluster) = Cluster::real(0) else { return };
    let bob = cluster.dir.path().join("bob.kubeconfig");
    let args = [
        "run",
        "--kubeconfig",
        bob.to_str().unwrap(),
        "--admin-address",
        "127.0.0.1:0",
    ];
    let mut run = Process::start("bob", cluster.dir.path(), STEERSMAN, &args);
    cluster.wait("the message", Duration::from_secs(20), |_| {
        run.output().contains("cannot list resource")
    });
    std::thread::sleep(Duration::from_secs(5));
    let output = run.output();
    assert!(run.is_running(), "the other controllers go on:\n{output}");
    for resource in ["pods", "replicasets", "deployments", "nodes"] {
        let named = output
            .lines()
            .filter(|line| line.contains("WARN") && line.contains(resource))
            .count();
        assert!(
            (1..=3).contains(&named),
            "{resource} is named {named} times:\n{output}"
        );
    }
    let address = output
        .lines()
        .find_map(|line| line.split("address=").nth(1))
        .unwrap()
        .trim()
        .to_owned();
    let ready = http_get(&address, "/readyz");
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("waiting for"),
        "{ready}"
    );
    assert_eq!(run.terminate(Duration::from_secs(15)), Some(0));
}

#[test]
fn wrong_usage_is_told_with_exit_code_2() {
    let dir = tempfile::TempDir::new().unwrap();
    for (args, word) in [
        (
            &["run", "--mode", "deployment=maybe"][..],
            "active, shadow or off",
        ),
        (&["run", "--kubeconfig", "/nonexistent"], "/nonexistent"),
        (&["sandbox", "--nodes", "many"], "--nodes"),
        (&["sandbox", "--external", "/nonexistent"], "/nonexistent"),
        (&["fly"], "fly"),
    ] {
        let mut process = Process::start("usage", dir.path(), STEERSMAN, args);
        assert_eq!(
            process.exit_code(Duration::from_secs(10)),
            Some(2),
            "{args:?}: {}",
            process.output()
        );
        assert!(process.output().contains(word), "{args:?}: {}", process.output());
    }
}
