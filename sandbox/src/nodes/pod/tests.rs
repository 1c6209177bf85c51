use rstest::rstest;
use serde_json::json;

use super::*;

const DELAYS: Delays = Delays {
    start: Duration::from_secs(1),
    init: Duration::from_secs(2),
    ready: Duration::from_secs(3),
    stop_percent: 10,
};
const HOST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

/// A bound pod with one container `a`, changed by merging `change` into it.
fn pod(change: &Value) -> Value {
    let mut pod = json!({
        "metadata": { "namespace": "ns", "name": "p", "uid": "u", "resourceVersion": "1", "generation": 1 },
        "spec": { "nodeName": "n", "containers": [{ "name": "a", "image": "a:1" }] },
        "status": { "phase": "Pending", "conditions": [{ "type": "PodScheduled", "status": "True" }] },
    });
    json_patch::merge(&mut pod, change);
    pod
}

fn view(value: &Value) -> PodView {
    serde_json::from_value(value.clone()).unwrap()
}

fn run(value: &Value) -> PodRun {
    let mut run = PodRun::new(&view(value), 0, at(0));
    run.address = Some(Ipv4Addr::new(10, 0, 0, 2));
    run
}

fn describe(statuses: &Value) -> String {
    let one = |status: &Value| {
        let (state, body) = status["state"].as_object().unwrap().iter().next().unwrap();
        let detail = match state.as_str() {
            "waiting" => body["reason"].as_str().unwrap().to_owned(),
            "terminated" => format!("exit {}", body["exitCode"]),
            other => other.to_owned(),
        };
        let ready = if status["ready"] == true { " ready" } else { "" };
        let restarts = status["restartCount"].as_u64().filter(|count| *count > 0);
        format!(
            "{}: {detail}{ready}{}",
            status["name"].as_str().unwrap(),
            restarts.map_or(String::new(), |n| format!(" #{n}"))
        )
    };
    statuses
        .as_array()
        .into_iter()
        .flatten()
        .map(one)
        .collect::<Vec<_>>()
        .join(", ")
}

/// What the pod reports from second `from` to second `to`, one line per report.
fn life(run: &mut PodRun, from: i64, to: i64) -> Vec<String> {
    let (mut now, mut lines) = (at(from), Vec::new());
    loop {
        let step = run.advance(&DELAYS, HOST, now);
        let seconds = now.duration_since(at(0)).as_secs();
        if let Some(report) = step.report {
            let status = &report.patch["status"];
            let ready = status["conditions"]
                .as_array()
                .unwrap()
                .iter()
                .find(|c| c["type"] == "Ready")
                .unwrap();
            let containers = [
                describe(&status["initContainerStatuses"]),
                describe(&status["containerStatuses"]),
            ];
            let containers = containers
                .iter()
                .filter(|text| !text.is_empty())
                .cloned()
                .collect::<Vec<_>>()
                .join(" | ");
            let ready = if ready["status"] == "True" { ", Ready" } else { "" };
            lines.push(format!(
                "{seconds}s {}{ready} [{containers}]",
                status["phase"].as_str().unwrap()
            ));
            run.reported(report.digest, 0);
            continue;
        }
        if step.remove {
            lines.push(format!("{seconds}s remove"));
            return lines;
        }
        match step.wake_at.filter(|wake| *wake <= at(to)) {
            Some(wake) => {
                assert!(wake > now, "no progress at {seconds}s");
                now = wake;
            }
            None => return lines,
        }
    }
}

fn annotated(key: &str, value: &str) -> Value {
    json!({ "metadata": { "annotations": { key: value } } })
}

#[rstest]
#[case::plain(json!({}), &[
    "0s Pending [a: ContainerCreating]",
    "1s Running [a: running]",
    "4s Running, Ready [a: running ready]",
])]
#[case::init_containers(json!({ "spec": { "initContainers": [
    { "name": "i", "image": "i:1" }, { "name": "s", "image": "s:1", "restartPolicy": "Always" },
] } }), &[
    "0s Pending [i: PodInitializing, s: PodInitializing | a: PodInitializing]",
    "1s Pending [i: running, s: PodInitializing | a: PodInitializing]",
    "3s Pending [i: exit 0 ready, s: running | a: PodInitializing]",
    "5s Running [i: exit 0 ready, s: running ready | a: running]",
    "8s Running, Ready [i: exit 0 ready, s: running ready | a: running ready]",
])]
#[case::unpullable(json!({ "spec": { "containers": [{ "name": "a", "image": "fail/a" }, { "name": "b", "image": "b" }] } }), &[
    "0s Pending [a: ContainerCreating, b: ContainerCreating]",
    "1s Pending [a: ErrImagePull, b: running]",
    "4s Pending [a: ErrImagePull, b: running ready]",
    "11s Pending [a: ImagePullBackOff, b: running ready]",
])]
#[case::unready(annotated("sandbox.steersman.dev/ready", "false"), &[
    "0s Pending [a: ContainerCreating]",
    "1s Running [a: running]",
])]
#[case::own_delays(json!({ "metadata": { "annotations": {
    "sandbox.steersman.dev/start-after": "10s", "sandbox.steersman.dev/ready-after": "20s",
} } }), &[
    "0s Pending [a: ContainerCreating]",
    "10s Running [a: running]",
    "30s Running, Ready [a: running ready]",
])]
#[case::job(json!({
    "metadata": { "annotations": { "sandbox.steersman.dev/finish-after": "10s" } }, "spec": { "restartPolicy": "Never" },
}), &[
    "0s Pending [a: ContainerCreating]",
    "1s Running [a: running]",
    "4s Running, Ready [a: running ready]",
    "11s Succeeded [a: exit 0]",
])]
#[case::failing_job(json!({
    "metadata": { "annotations": { "sandbox.steersman.dev/fail": "3" } }, "spec": { "restartPolicy": "Never" },
}), &["0s Pending [a: ContainerCreating]", "1s Failed [a: exit 3]"])]
#[case::crash_loop(annotated("sandbox.steersman.dev/fail", "true"), &[
    "0s Pending [a: ContainerCreating]",
    "1s Running [a: CrashLoopBackOff]",
    "11s Running [a: CrashLoopBackOff #1]",
    "31s Running [a: CrashLoopBackOff #2]",
])]
#[case::gated(json!({ "spec": { "readinessGates": [{ "conditionType": "example.com/up" }] } }), &[
    "0s Pending [a: ContainerCreating]",
    "1s Running [a: running]",
    "4s Running [a: running ready]",
])]
fn api_152_a_pod_lives(#[case] change: Value, #[case] want: &[&str]) {
    assert_eq!(life(&mut run(&pod(&change)), 0, 60), want);
}

#[test]
fn api_152_the_whole_status_is_reported() {
    let mut run = run(&pod(&json!({})));
    life(&mut run, 0, 3);
    let patch = run.advance(&DELAYS, HOST, at(4)).report.unwrap().patch;
    let condition = |r#type: &str, since: i64| json!({ "type": r#type, "status": "True", "lastTransitionTime": seconds(at(since)), "reason": null, "message": null });
    let want = json!({ "metadata": { "uid": "u" }, "status": {
        "phase": "Running",
        "observedGeneration": 1,
        "startTime": seconds(at(0)),
        "hostIP": "172.16.0.2",
        "hostIPs": [{ "ip": "172.16.0.2" }],
        "podIP": "10.0.0.2",
        "podIPs": [{ "ip": "10.0.0.2" }],
        "conditions": [
            condition("PodReadyToStartContainers", 0), condition("Initialized", 0), condition("Ready", 4),
            condition("ContainersReady", 4),
        ],
        "containerStatuses": [{
            "name": "a", "image": "a:1", "imageID": "sandbox://a:1", "containerID": "sandbox://u/a/0",
            "ready": true, "started": true, "restartCount": 0, "lastState": {},
            "state": { "running": { "startedAt": seconds(at(1)) } },
        }],
    } });
    assert_eq!(patch, want);
}

fn deleted(grace: i64) -> Value {
    json!({ "metadata": {
        "resourceVersion": "9", "deletionTimestamp": "2023-11-14T23:00:00Z", "deletionGracePeriodSeconds": grace,
    } })
}

/// The status of a ready pod, as others see it.
fn shown() -> Value {
    json!({ "status": {
        "phase": "Running", "podIP": "10.0.0.2",
        "conditions": [{ "type": "PodScheduled", "status": "True" }, { "type": "Ready", "status": "True" }],
    } })
}

#[rstest]
#[case::part_of_the_grace(30, json!({}), "13s")]
#[case::own_time(30, annotated("sandbox.steersman.dev/stop-after", "7s"), "17s")]
#[case::never_longer_than_the_grace(5, annotated("sandbox.steersman.dev/stop-after", "7s"), "15s")]
#[case::at_once(0, json!({}), "10s")]
fn api_152_a_deleted_pod_stops_in_time(#[case] grace: i64, #[case] change: Value, #[case] stops: &str) {
    let mut object = pod(&change);
    let mut run = run(&object);
    life(&mut run, 0, 10);
    json_patch::merge(&mut object, &shown());
    json_patch::merge(&mut object, &deleted(grace));
    run.observe(&view(&object), at(10));
    let running = run.advance(&DELAYS, HOST, at(10)).running;
    assert_eq!(running, grace > 0, "accepts until it stops");
    let want = [
        format!("{stops} Succeeded [a: exit 0]"),
        format!("{stops} remove"),
    ];
    assert_eq!(life(&mut run, 10, 60), want);
}

#[test]
fn api_152_a_pod_deleted_before_it_started_is_only_removed() {
    let mut object = pod(&json!({}));
    let mut run = run(&object);
    life(&mut run, 0, 0);
    json_patch::merge(&mut object, &deleted(0));
    run.observe(&view(&object), at(0));
    assert_eq!(life(&mut run, 0, 60), ["0s remove"]);
}

#[test]
fn api_152_readiness_follows_its_annotation() {
    let mut object = pod(&json!({}));
    let mut run = run(&object);
    life(&mut run, 0, 10);
    for (second, value, want) in [
        (20, "false", "20s Running [a: running]"),
        (30, "true", "30s Running, Ready [a: running ready]"),
    ] {
        json_patch::merge(&mut object, &annotated("sandbox.steersman.dev/ready", value));
        json_patch::merge(
            &mut object,
            &json!({ "status": { "phase": "Running", "podIP": "10.0.0.2" } }),
        );
        run.observe(&view(&object), at(second));
        assert_eq!(life(&mut run, second, second), [want]);
    }
}

#[test]
fn api_152_a_repaired_pod_recovers() {
    let mut object = pod(&annotated("sandbox.steersman.dev/fail", "true"));
    let mut run = run(&object);
    life(&mut run, 0, 20);
    json_patch::merge(&mut object, &json!({ "metadata": { "annotations": null } }));
    run.observe(&view(&object), at(20));
    let want = [
        "20s Running [a: running #2]",
        "23s Running, Ready [a: running ready #2]",
    ];
    assert_eq!(life(&mut run, 20, 60), want);
}

#[test]
fn api_152_a_foreign_change_of_the_status_is_taken_back() {
    let mut object = pod(&json!({}));
    let mut run = run(&object);
    life(&mut run, 0, 10);
    json_patch::merge(&mut object, &shown());
    run.observe(&view(&object), at(11));
    assert!(run.advance(&DELAYS, HOST, at(11)).report.is_none());
    json_patch::merge(
        &mut object,
        &json!({ "status": { "conditions": [{ "type": "Ready", "status": "False" }] } }),
    );
    run.observe(&view(&object), at(12));
    assert!(run.advance(&DELAYS, HOST, at(12)).report.is_some());
}

#[test]
fn api_152_a_later_run_continues_with_what_was_reported() {
    let mut object = pod(&json!({}));
    let mut first = run(&object);
    life(&mut first, 0, 3);
    let patch = first.advance(&DELAYS, HOST, at(4)).report.unwrap().patch;
    json_patch::merge(&mut object, &json!({ "status": patch["status"] }));
    let mut second = PodRun::new(&view(&object), 0, at(1000));
    assert_eq!(second.former_address, Some(Ipv4Addr::new(10, 0, 0, 2)));
    second.address = second.former_address;
    let again = second.advance(&DELAYS, HOST, at(1000)).report.unwrap().patch;
    let mut want = patch;
    // The first status had the scheduler's condition only.
    want["status"]["conditions"].as_array_mut().unwrap().push(json!({
        "type": "PodScheduled", "status": "True", "lastTransitionTime": seconds(at(1000)),
    }));
    assert_eq!(again, want);
}

#[test]
fn api_152_a_finished_pod_is_left_alone() {
    let mut object = pod(&json!({ "status": { "phase": "Failed" } }));
    let mut run = PodRun::new(&view(&object), 0, at(0));
    assert!(!run.wants_address());
    assert_eq!(life(&mut run, 0, 60), Vec::<String>::new());
    json_patch::merge(&mut object, &deleted(0));
    run.observe(&view(&object), at(60));
    assert_eq!(life(&mut run, 60, 60), ["60s remove"]);
}
