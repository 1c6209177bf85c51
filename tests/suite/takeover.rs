//! Handing a cluster over from kube-controller-manager to ours and back, on a real API server with the real
//! kube-controller-manager from `KUBEBUILDER_ASSETS` (chapter 4 of `docs/specs/workloads.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Process, STEERSMAN};

/// Native workload controllers at work.
const NATIVE_ON: &str = "deployment-controller,replicaset-controller";
/// A controller manager that lives and does other things.
const NATIVE_OFF: &str = "ttl-controller";
/// Ours, active, with a guard that is in a hurry.
const OURS: &[&str] = &[
    "--mode",
    "scheduler=off",
    "--mode",
    "deployment=active",
    "--mode",
    "replicaset=active",
    "--guard-quiet-seconds",
    "3",
];
/// Somebody has to bind the pods, whoever controls them.
const SCHEDULER: &[&str] = &[
    "--mode",
    "deployment=off",
    "--mode",
    "replicaset=off",
    "--scheduler-name",
    "default-scheduler",
    "--no-leader-election",
];
const SOON: Duration = Duration::from_mins(1);

fn real() -> Option<(Cluster, Process)> {
    let cluster = Cluster::real(5)?;
    let native = cluster.run_native("native", NATIVE_ON, true)?;
    Some((cluster, native))
}

/// SIGTERM: ours leaves nothing behind.
fn stop(mut process: Process) {
    assert_eq!(process.terminate(Duration::from_secs(20)), Some(0));
}

/// SIGKILL: the native one goes without a word.
fn kill(mut process: Process) {
    process.crash();
}

fn deployment(name: &str, replicas: usize, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "containers": [{"name": "main", "image": format!("example.com/{name}:1")}],
                },
            },
        },
    });
    let members = object["spec"].as_object_mut().unwrap();
    members.extend(spec.as_object().unwrap().clone());
    object
}

fn items(cluster: &Cluster, what: &str) -> Vec<Value> {
    cluster.get(what)["items"].as_array().unwrap().clone()
}

fn text(object: &Value, path: &str) -> String {
    object
        .pointer(path)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// ReplicaSets of a Deployment: name to uid, revision and size.
fn replica_sets(cluster: &Cluster, app: &str) -> BTreeMap<String, (String, String, i64)> {
    let sets = items(cluster, &format!("replicasets -l app={app}"));
    let revision = "/metadata/annotations/deployment.kubernetes.io~1revision";
    sets.iter()
        .map(|it| {
            let facts = (
                text(it, "/metadata/uid"),
                text(it, revision),
                it["spec"]["replicas"].as_i64().unwrap(),
            );
            (text(it, "/metadata/name"), facts)
        })
        .collect()
}

/// Names and revisions: what a hand-over must not add to.
fn revisions(cluster: &Cluster, app: &str) -> BTreeMap<String, String> {
    let sets = replica_sets(cluster, app).into_iter();
    sets.map(|(name, (_, revision, _))| (name, revision)).collect()
}

/// Uids of the pods that are not being deleted, of one image or of all.
fn pods(cluster: &Cluster, app: &str, image: Option<&str>) -> BTreeSet<String> {
    let all = items(cluster, &format!("pods -l app={app}"));
    all.iter()
        .filter(|it| it["metadata"]["deletionTimestamp"].is_null())
        .filter(|it| image.is_none_or(|image| it["spec"]["containers"][0]["image"] == image))
        .map(|it| text(it, "/metadata/uid"))
        .collect()
}

fn count(cluster: &Cluster, app: &str, field: &str) -> i64 {
    let status = cluster.get(&format!("deployment {app}"));
    status["status"][field].as_i64().unwrap_or(0)
}

fn condition(cluster: &Cluster, app: &str, type_: &str) -> Value {
    let object = cluster.get(&format!("deployment {app}"));
    let conditions = object["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    conditions
        .into_iter()
        .find(|it| it["type"] == type_)
        .unwrap_or_default()
}

fn is_complete(cluster: &Cluster, app: &str) -> bool {
    let object = cluster.get(&format!("deployment {app}"));
    let wanted = object["spec"]["replicas"].as_i64().unwrap();
    let is = |field: &str| object["status"][field].as_i64().unwrap_or(0) == wanted;
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
        && is("updatedReplicas")
        && is("replicas")
        && is("availableReplicas")
}

fn wait_complete(cluster: &Cluster, apps: &[&str]) {
    cluster.wait("rolled out", SOON, |it| {
        apps.iter().all(|app| is_complete(it, app))
    });
}

/// How often the process said that.
fn said(process: &Process, what: &str) -> usize {
    process.output().matches(what).count()
}

fn wait_said(cluster: &Cluster, process: &Process, what: &str, times: usize) {
    cluster.wait(what, SOON, |_| said(process, what) >= times);
}

/// Two controllers took over.
fn wait_active(cluster: &Cluster, ours: &Process) {
    wait_said(cluster, ours, "takes over", 2);
}

/// Rolls out another image while nobody binds pods: the rollout stands in the middle, with new pods pending.
fn half_a_rollout(cluster: &Cluster, app: &str, image: &str) -> BTreeSet<String> {
    cluster.kubectl(&format!("set image deployment/{app} main={image}"));
    cluster.wait("new pods", SOON, |it| {
        pods(it, app, Some(image)).len() >= 3 && count(it, app, "updatedReplicas") >= 3
    });
    pods(cluster, app, Some(image))
}

/// One state of a Deployment that a hand-over has to leave alone.
#[derive(Debug, PartialEq)]
struct State {
    pods: BTreeSet<String>,
    replica_sets: BTreeMap<String, (String, String, i64)>,
    /// TAKE-4
    progressing: Value,
    available: Value,
}

impl State {
    fn of(cluster: &Cluster, app: &str) -> Self {
        Self {
            pods: pods(cluster, app, None),
            replica_sets: replica_sets(cluster, app),
            progressing: condition(cluster, app, "Progressing"),
            available: condition(cluster, app, "Available"),
        }
    }
}

/// A Deployment in every phase, as the controllers at work leave them: complete, stuck in a rollout, paused in one, past
/// its deadline.
const AT_REST: [&str; 4] = ["steady", "stuck", "paused", "late"];

fn phases(cluster: &Cluster) {
    cluster.apply(&deployment("steady", 3, &json!({})));
    cluster.apply(&deployment("stuck", 4, &json!({})));
    cluster.apply(&deployment("paused", 4, &json!({})));
    cluster.apply(&deployment(
        "late",
        2,
        &json!({"progressDeadlineSeconds": 3, "minReadySeconds": 1}),
    ));
    wait_complete(cluster, &AT_REST);
    for app in ["stuck", "paused", "late"] {
        cluster.kubectl(&format!("set image deployment/{app} main=fail/{app}:2"));
    }
    cluster.wait("all stand still", SOON, |it| {
        let has_new = |app: &str| !pods(it, app, Some(&format!("fail/{app}:2"))).is_empty();
        has_new("stuck")
            && has_new("paused")
            && text(&condition(it, "late", "Progressing"), "/reason") == "ProgressDeadlineExceeded"
    });
    cluster.kubectl("rollout pause deployment/paused");
    cluster.wait("paused", SOON, |it| {
        text(&condition(it, "paused", "Progressing"), "/reason") == "DeploymentPaused"
    });
}

fn states(cluster: &Cluster) -> BTreeMap<&'static str, State> {
    let states = AT_REST.iter().map(|app| (*app, State::of(cluster, app)));
    states.collect()
}

/// Waits until two looks at the objects at rest are the same.
fn settled(cluster: &Cluster) -> BTreeMap<&'static str, State> {
    let mut before = states(cluster);
    for _ in 0..30 {
        std::thread::sleep(Duration::from_secs(1));
        let now = states(cluster);
        if now == before {
            return now;
        }
        before = now;
    }
    panic!("no rest: {before:#?}");
}

#[test]
fn take_1_take_3_take_4_handed_over_in_every_phase_and_back() {
    let Some((cluster, native)) = real() else { return };
    let scheduler = cluster.run_steersman_as("scheduler", SCHEDULER);
    phases(&cluster);
    for (app, replicas) in [("moving", 8), ("growing", 2)] {
        cluster.apply(&deployment(app, replicas, &json!({})));
    }
    wait_complete(&cluster, &["moving", "growing"]);
    let before = settled(&cluster);
    stop(scheduler);

    // Over to ours, in the middle of a rollout and of a scale-up.
    let pending = half_a_rollout(&cluster, "moving", "example.com/moving:2");
    let kept = revisions(&cluster, "moving");
    let grown_from = pods(&cluster, "growing", None);
    kill(native);
    cluster.kubectl("scale deployment/growing --replicas=6");
    let off = cluster.run_native("native-off", NATIVE_OFF, true).unwrap();
    let ours = cluster.run_steersman_as("ours", OURS);
    wait_active(&cluster, &ours);
    cluster.wait("the scale-up", SOON, |it| pods(it, "growing", None).len() == 6);
    let scheduler = cluster.run_steersman_as("scheduler", SCHEDULER);
    wait_complete(&cluster, &["moving", "growing"]);
    assert_eq!(
        settled(&cluster),
        before,
        "TAKE-1, TAKE-4: nothing at rest was touched"
    );
    assert_eq!(
        revisions(&cluster, "moving"),
        kept,
        "no needless ReplicaSet, same revisions"
    );
    let after = pods(&cluster, "moving", Some("example.com/moving:2"));
    assert!(after.is_superset(&pending), "no pod was restarted");
    assert!(pods(&cluster, "growing", None).is_superset(&grown_from));
    assert_eq!(revisions(&cluster, "growing").len(), 1);
    managed_fields_stay(&cluster);

    // And back, in the middle of the next one.
    let ours_made = revisions(&cluster, "moving");
    stop(scheduler);
    let pending = half_a_rollout(&cluster, "moving", "example.com/moving:3");
    let kept = revisions(&cluster, "moving");
    assert_eq!(kept.len(), ours_made.len() + 1, "ours made the third ReplicaSet");
    stop(ours);
    kill(off);
    let _native = cluster.run_native("native", NATIVE_ON, true).unwrap();
    cluster.kubectl("scale deployment/growing --replicas=4");
    cluster.wait("the native controller at work", SOON, |it| {
        replica_sets(it, "growing")
            .values()
            .all(|(_, _, size)| *size == 4)
    });
    let _scheduler = cluster.run_steersman_as("scheduler", SCHEDULER);
    wait_complete(&cluster, &["moving", "growing"]);
    assert_eq!(settled(&cluster), before, "TAKE-3: nothing at rest was touched");
    assert_eq!(
        revisions(&cluster, "moving"),
        kept,
        "the native one goes on with our ReplicaSet"
    );
    let after = pods(&cluster, "moving", Some("example.com/moving:3"));
    assert!(after.is_superset(&pending), "no pod was restarted");
    assert_eq!(
        items(&cluster, "deployments -n kube-system"),
        Vec::<Value>::new(),
        "no probe stays behind"
    );
}

/// TAKE-7: what the native controllers wrote is still theirs, ours writes under its own names.
fn managed_fields_stay(cluster: &Cluster) {
    let sets = cluster.get("replicasets -l app=moving --show-managed-fields");
    for set in sets["items"].as_array().unwrap() {
        let managers: BTreeSet<String> = set["metadata"]["managedFields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| text(it, "/manager"))
            .collect();
        assert!(managers.contains("kube-controller-manager"), "{managers:?}");
        for manager in managers {
            let known = [
                "kube-controller-manager",
                "steersman-deployment",
                "steersman-replicaset",
            ];
            assert!(known.contains(&manager.as_str()), "{manager}");
        }
    }
}

#[test]
fn take_8_take_10_a_native_controller_that_starts_makes_ours_stop_until_it_has_gone() {
    let Some((cluster, native)) = real() else { return };
    let _scheduler = cluster.run_steersman_as("scheduler", SCHEDULER);
    cluster.apply(&deployment("web", 2, &json!({})));
    wait_complete(&cluster, &["web"]);

    // Ours is started too early: the native one is at work.
    let ours = cluster.run_steersman_as("ours", OURS);
    wait_said(&cluster, &ours, "native controller at work: standing by", 2);
    assert_eq!(said(&ours, "takes over"), 0);
    kill(native);
    let _off = cluster.run_native("native-off", NATIVE_OFF, true).unwrap();
    wait_said(&cluster, &ours, "takes over", 2);
    cluster.kubectl("scale deployment/web --replicas=3");
    wait_complete(&cluster, &["web"]);

    // It comes back while ours is active, by another way than the first manager's flags.
    let native = cluster.run_native("native", NATIVE_ON, false).unwrap();
    wait_said(&cluster, &ours, "native controller at work: standing by", 4);
    let events = items(&cluster, "events -n kube-system");
    let seen = |kind: &str| {
        events.iter().any(|it| {
            it["reason"] == "NativeControllerActive"
                && it["type"] == "Warning"
                && it["involvedObject"]["kind"] == kind
        })
    };
    assert!(seen("Deployment") && seen("ReplicaSet"), "{events:#?}");
    // Only one of the two writes.
    cluster.kubectl("scale deployment/web --replicas=5");
    wait_complete(&cluster, &["web"]);
    let planned = ours.output();
    let resized = planned.matches("replica set resized").count();
    assert_eq!(resized, 1, "ours resized it to 3 and not to 5");

    kill(native);
    wait_said(&cluster, &ours, "takes over", 4);
    cluster.kubectl("scale deployment/web --replicas=1");
    wait_complete(&cluster, &["web"]);
    assert_eq!(said(&ours, "replica set resized"), 2);
    stop(ours);
    assert_eq!(
        items(&cluster, "deployments,replicasets -n kube-system"),
        Vec::<Value>::new()
    );
}

#[test]
fn take_14_without_a_controller_manager_ours_stands_by_unless_told() {
    let Some(cluster) = Cluster::real(2) else { return };
    let ours = cluster.run_steersman_as("ours", OURS);
    cluster.apply(&deployment("web", 1, &json!({})));
    wait_said(&cluster, &ours, "kube-controller-manager is absent", 2);
    assert_eq!(items(&cluster, "replicasets"), Vec::<Value>::new());
    stop(ours);
    let told = [OURS, &["--no-native-controller-manager"]].concat();
    let _ours = cluster.run_steersman_as("told", &told);
    cluster.wait("it acts", SOON, |it| !pods(it, "web", None).is_empty());
}

/// What `steersman shadow report` prints about that process.
fn shadow_report(process: &Process, format: &str) -> String {
    let output = process.output();
    let address = output
        .split("admin port open address=")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap();
    let admin = format!("http://{address}");
    let report = std::process::Command::new(STEERSMAN)
        .args(["shadow", "report", "--admin", &admin, "--output", format])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&report.stderr).into_owned();
    assert!(report.status.success(), "{error}");
    String::from_utf8(report.stdout).unwrap()
}

fn shadow_reports(process: &Process) -> BTreeMap<String, Value> {
    let reports: Vec<Value> = serde_json::from_str(&shadow_report(process, "json")).unwrap();
    reports
        .into_iter()
        .map(|it| (text(&it, "/controller"), it))
        .collect()
}

#[test]
fn take_13_no_diff_beside_the_native_controllers() {
    let Some((cluster, _native)) = real() else { return };
    let _scheduler = cluster.run_steersman_as("scheduler", SCHEDULER);
    let shadow = cluster.run_steersman_as(
        "shadow",
        &["--mode", "scheduler=off", "--shadow-window-seconds", "10"],
    );
    wait_said(&cluster, &shadow, "cache synced resource=deployments", 1);
    let apps = ["rolling", "wide", "careful", "recreate"];
    let strategy = |surge: &str, unavailable: &str| {
        let limits = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": limits}, "revisionHistoryLimit": 2})
    };
    cluster.apply(&deployment("rolling", 6, &json!({})));
    cluster.apply(&deployment("wide", 5, &strategy("100%", "0%")));
    cluster.apply(&deployment("careful", 4, &strategy("0%", "50%")));
    cluster.apply(&deployment(
        "recreate",
        3,
        &json!({"strategy": {"type": "Recreate"}}),
    ));
    wait_complete(&cluster, &apps);
    for round in 2..=4 {
        for app in apps {
            cluster.kubectl(&format!(
                "set image deployment/{app} main=example.com/{app}:{round}"
            ));
        }
        wait_complete(&cluster, &apps);
    }
    for app in apps {
        cluster.kubectl(&format!("rollout undo deployment/{app}"));
    }
    wait_complete(&cluster, &apps);
    for replicas in [9, 2] {
        for app in apps {
            cluster.kubectl(&format!("scale deployment/{app} --replicas={replicas}"));
        }
        wait_complete(&cluster, &apps);
    }
    // Whatever is still in doubt is decided after the window.
    std::thread::sleep(Duration::from_secs(12));
    let printed = shadow_report(&shadow, "text");
    let reports = shadow_reports(&shadow);
    for controller in ["deployment", "replicaset"] {
        let report = &reports[controller];
        assert_eq!(report["divergences"], json!([]), "{printed}");
        assert_eq!(report["diverged"], 0, "{printed}");
        assert!(report["compared"].as_u64().unwrap() >= 20, "{printed}");
    }
    assert!(printed.contains("no diff over"), "{printed}");

    // Somebody else's hand is not in the plan.
    let (name, _) = replica_sets(&cluster, "rolling")
        .into_iter()
        .find(|(_, (_, _, size))| *size == 2)
        .unwrap();
    cluster.kubectl(&format!("scale replicaset/{name} --replicas=5"));
    cluster.wait("the difference is told", SOON, |_| {
        let told = &shadow_reports(&shadow)["deployment"]["divergences"];
        told.as_array().unwrap().iter().any(|it| {
            it["object"] == "default/rolling"
                && it["fault"] == "notPlanned"
                && text(it, "/observed").contains("5 replicas")
        })
    });
    assert!(shadow_report(&shadow, "text").contains("not ready to take over"));
}
