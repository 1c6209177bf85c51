use std::collections::VecDeque;
use std::sync::Mutex;

use kube::core::Status;
use tokio::task::JoinSet;

use super::*;
use crate::testing::{SimClock, T0, pod, replica_set};

/// Stores events; answers as scripted, then with success.
#[derive(Clone, Default)]
struct Script {
    log: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<VecDeque<kube::Error>>>,
}

impl Script {
    fn write(&self, line: String) -> Result<(), kube::Error> {
        if let Some(error) = self.answers.lock().unwrap().pop_front() {
            return Err(error);
        }
        self.log.lock().unwrap().push(line);
        Ok(())
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

impl EventStore for Script {
    async fn create(&self, _: &str, event: &EventObject) -> Result<(), kube::Error> {
        self.write(match event {
            EventObject::Core(event) => {
                format!(
                    "create x{} {}",
                    event.count.unwrap(),
                    event.message.as_deref().unwrap()
                )
            }
            EventObject::Series(event) => format!("create series {}", event.note.as_deref().unwrap()),
        })
    }

    async fn patch(&self, _: &str, _: &str, patch: &Value, _: &EventObject) -> Result<(), kube::Error> {
        let series = &patch["series"];
        self.write(if series.is_null() {
            format!("patch x{} {}", patch["count"], patch["message"].as_str().unwrap())
        } else {
            format!("patch series x{}", series["count"])
        })
    }
}

struct World {
    script: Script,
    recorders: Recorders,
    stop: CancellationToken,
    tasks: JoinSet<Result<()>>,
}

fn world() -> World {
    let (script, metrics, stop) = (Script::default(), Metrics::default(), CancellationToken::new());
    let clock: Arc<dyn Clock> = Arc::new(SimClock::new(T0));
    let (recorders, backlog) = Recorders::new(Arc::clone(&clock), "pod-1", &metrics);
    let writer = EventWriter::new(backlog, script.clone(), clock, &metrics);
    let mut tasks = JoinSet::new();
    tasks.spawn(writer.run(stop.clone()));
    World {
        script,
        recorders,
        stop,
        tasks,
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn status(code: u16, reason: &str) -> kube::Error {
    kube::Error::Api(Status::failure("no", reason).with_code(code).boxed())
}

#[tokio::test(start_paused = true)]
async fn rs_68_identical_events_raise_the_count() {
    let world = world();
    let recorder = world.recorders.core("replicaset-controller");
    let about = reference(&replica_set("web").build());
    for _ in 0..3 {
        recorder.event(
            &about,
            EventType::Normal,
            "SuccessfulCreate",
            "",
            "Created pod: a",
        );
        pass(1).await;
    }
    assert_eq!(
        world.script.log(),
        [
            "create x1 Created pod: a",
            "patch x2 Created pod: a",
            "patch x3 Created pod: a"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn rs_68_more_than_ten_similar_events_collapse() {
    let world = world();
    let recorder = world.recorders.core("replicaset-controller");
    let about = reference(&replica_set("web").build());
    for number in 0..12 {
        recorder.event(
            &about,
            EventType::Normal,
            "SuccessfulCreate",
            "",
            format!("Created pod: {number}"),
        );
    }
    pass(1).await;
    let log = world.script.log();
    assert_eq!(log[9], "create x1 Created pod: 9");
    assert_eq!(
        log[10..],
        [
            "create x1 (combined from similar events): Created pod: 10",
            "patch x2 (combined from similar events): Created pod: 11"
        ]
    );
    pass(601).await;
    recorder.event(
        &about,
        EventType::Normal,
        "SuccessfulCreate",
        "",
        "Created pod: later",
    );
    pass(1).await;
    assert_eq!(world.script.log().last().unwrap(), "create x1 Created pod: later");
}

#[tokio::test(start_paused = true)]
async fn rs_68_per_object_25_events_and_then_one_per_5_minutes() {
    let world = world();
    let recorder = world.recorders.core("deployment-controller");
    let (web, other) = (
        reference(&replica_set("web").build()),
        reference(&replica_set("other").build()),
    );
    for number in 0..40 {
        recorder.event(&web, EventType::Normal, &format!("Reason{number}"), "", "m");
    }
    recorder.event(&other, EventType::Normal, "Reason", "", "other object");
    pass(1).await;
    assert_eq!(world.script.log().len(), 26);
    pass(300).await;
    recorder.event(&web, EventType::Normal, "Later", "", "one");
    recorder.event(&web, EventType::Normal, "Later2", "", "two");
    pass(1).await;
    assert_eq!(world.script.log()[26..], ["create x1 one"]);
}

#[tokio::test(start_paused = true)]
async fn rs_67_events_name_the_component_and_the_instance() {
    let clock = Arc::new(SimClock::new(T0));
    let (recorders, mut backlog) = Recorders::new(clock, "pod-1", &Metrics::default());
    let web = replica_set("web").build();
    recorders.core("replicaset-controller").event(
        &reference(&web),
        EventType::Warning,
        "FailedCreate",
        "",
        "no",
    );
    let note = backlog.receiver.recv().await.unwrap();
    let write = Correlator::default().correlate(note).unwrap();
    let EventObject::Core(event) = write.object else {
        panic!("core event expected")
    };
    assert_eq!(
        event.reporting_component.as_deref(),
        Some("replicaset-controller")
    );
    assert_eq!(
        event.source.unwrap().component.as_deref(),
        Some("replicaset-controller")
    );
    assert_eq!(event.reporting_instance.as_deref(), Some("pod-1"));
    assert_eq!(event.involved_object.kind.as_deref(), Some("ReplicaSet"));
    assert_eq!(event.involved_object.api_version.as_deref(), Some("apps/v1"));
    assert_eq!(write.namespace, "default");
    assert!(write.name.starts_with("web."));
    assert_eq!(
        (event.type_.as_deref(), event.first_timestamp),
        (Some("Warning"), event.last_timestamp)
    );
}

#[tokio::test(start_paused = true)]
async fn sch_165_repeated_events_become_a_series() {
    let world = world();
    let recorder = world.recorders.series("default-scheduler");
    let about = reference(&pod("a").build());
    for _ in 0..5 {
        recorder.event(
            &about,
            EventType::Warning,
            "FailedScheduling",
            "Scheduling",
            "0/3 nodes are available",
        );
        pass(60).await;
    }
    assert_eq!(
        world.script.log(),
        ["create series 0/3 nodes are available", "patch series x2"]
    );
    // Once it is over, the final count is written, and the next one starts anew.
    pass(800).await;
    assert_eq!(world.script.log()[2..], ["patch series x5"]);
    recorder.event(
        &about,
        EventType::Warning,
        "FailedScheduling",
        "Scheduling",
        "0/4 nodes are available",
    );
    pass(1).await;
    assert_eq!(world.script.log()[3..], ["create series 0/4 nodes are available"]);
}

#[tokio::test(start_paused = true)]
async fn rs_68_an_expired_event_is_created_again_with_its_count() {
    let world = world();
    let recorder = world.recorders.core("replicaset-controller");
    let about = reference(&replica_set("web").build());
    recorder.event(&about, EventType::Normal, "R", "", "m");
    pass(1).await;
    world
        .script
        .answers
        .lock()
        .unwrap()
        .push_back(status(404, "NotFound"));
    recorder.event(&about, EventType::Normal, "R", "", "m");
    pass(1).await;
    assert_eq!(world.script.log(), ["create x1 m", "create x2 m"]);
}

#[tokio::test(start_paused = true)]
async fn sty_74_writing_is_retried_a_few_times_and_then_given_up() {
    let world = world();
    let recorder = world.recorders.core("replicaset-controller");
    let about = reference(&replica_set("web").build());
    world
        .script
        .answers
        .lock()
        .unwrap()
        .extend([status(503, "ServiceUnavailable"), status(500, "InternalError")]);
    recorder.event(&about, EventType::Normal, "R", "", "retried");
    pass(10).await;
    assert_eq!(world.script.log(), ["create x1 retried"]);
    world
        .script
        .answers
        .lock()
        .unwrap()
        .push_back(status(403, "Forbidden"));
    recorder.event(&about, EventType::Normal, "R", "", "refused");
    recorder.event(&about, EventType::Normal, "R", "", "next");
    pass(10).await;
    assert_eq!(world.script.log()[1..], ["create x1 next"]);
}

#[tokio::test(start_paused = true)]
async fn sty_71_a_full_backlog_drops_and_counts() {
    let metrics = Metrics::default();
    let (recorders, backlog) = Recorders::new(Arc::new(SimClock::new(T0)), "pod-1", &metrics);
    let recorder = recorders.core("replicaset-controller");
    let about = reference(&replica_set("web").build());
    for _ in 0..BACKLOG + 3 {
        recorder.event(&about, EventType::Normal, "R", "", "m");
    }
    assert_eq!(metrics.events.get_or_create(&[("result", "dropped")]).get(), 3);
    drop(backlog);
}

#[tokio::test(start_paused = true)]
async fn sty_77_what_is_left_is_written_at_the_end() {
    let mut world = world();
    let about = reference(&replica_set("web").build());
    world
        .recorders
        .core("replicaset-controller")
        .event(&about, EventType::Normal, "R", "", "last words");
    world.stop.cancel();
    world.tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(world.script.log(), ["create x1 last words"]);
}

#[tokio::test(start_paused = true)]
async fn sch_165_each_flavour_goes_to_its_own_api() {
    let log: Arc<Mutex<Vec<crate::testing::Asked>>> = Arc::default();
    let asked = Arc::clone(&log);
    let client = crate::testing::client_fn(move |request| {
        asked.lock().unwrap().push(request);
        async { (201, r#"{"metadata":{"name":"e"},"involvedObject":{}}"#.to_owned()) }
    });
    let store = KubeEvents::new(client);
    let clock = Arc::new(SimClock::new(T0));
    let (recorders, mut backlog) = Recorders::new(clock, "host", &Metrics::default());
    let about = reference(&pod("a").build());
    recorders
        .core("replicaset-controller")
        .event(&about, EventType::Normal, "R", "", "m");
    let scheduler = recorders.series("default-scheduler");
    for _ in 0..2 {
        scheduler.event(&about, EventType::Warning, "FailedScheduling", "Scheduling", "no");
    }
    let mut correlator = Correlator::default();
    for _ in 0..3 {
        let write = correlator
            .correlate(backlog.receiver.recv().await.unwrap())
            .unwrap();
        match &write.patch {
            Some(patch) => store
                .patch(&write.namespace, &write.name, patch, &write.object)
                .await
                .unwrap(),
            None => store.create(&write.namespace, &write.object).await.unwrap(),
        }
    }
    let log = log.lock().unwrap();
    let calls: Vec<String> = log
        .iter()
        .map(|asked| format!("{} {}", asked.method, asked.path))
        .collect();
    assert_eq!(
        calls[..2],
        [
            "POST /api/v1/namespaces/default/events",
            "POST /apis/events.k8s.io/v1/namespaces/default/events"
        ]
    );
    assert!(
        calls[2].starts_with("PATCH /apis/events.k8s.io/v1/namespaces/default/events/a."),
        "{}",
        calls[2]
    );
    assert_eq!(log[1].body["reportingInstance"], "default-scheduler-host");
    assert_eq!(log[1].body["eventTime"], "2026-01-02T03:04:05.000000Z");
    assert_eq!(log[2].body["series"]["count"], 2);
}
