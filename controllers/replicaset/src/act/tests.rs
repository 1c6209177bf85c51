use std::sync::Mutex;

use steersman_shared::controller::ReconcileError as _;
use steersman_shared::selector::Selector;
use steersman_shared::sink::Retry;
use steersman_shared::testing::{
    Asked, Feed, ScriptedServer, StoredOwner, T0, context, pod as built_pod, refusal, refused, replica_set,
};

use super::*;

/// Refuses creates after the first `creates`, or deletes of one pod; logs everything.
#[derive(Default)]
struct Script {
    creates: Option<usize>,
    ending: bool,
    keeps: Option<(&'static str, u16)>,
    log: Mutex<Vec<String>>,
}

impl Script {
    fn count(&self, label: &str) -> usize {
        self.log
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.starts_with(label))
            .count()
    }

    fn last(&self) -> String {
        self.log.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

fn failed(verb: &'static str, code: u16) -> Error {
    let reason = if code == 409 { "Conflict" } else { "Forbidden" };
    Error::Pod {
        verb,
        pod: "web-x".to_owned(),
        source: Box::new(refused(code, reason, "quota")),
    }
}

impl Sink<Action> for Script {
    type Done = Done;
    type Error = Error;

    async fn apply(&self, action: &Action) -> Result<Done> {
        let before = self.count("create");
        let detail = match action {
            Action::DeletePod { name, .. } => name.clone(),
            Action::WriteStatus(write) => {
                let failure = write.status.conditions.iter().flatten().next();
                let text = |it: &Option<String>| it.clone().unwrap_or_default();
                failure
                    .map(|it| format!("{}: {}", text(&it.reason), text(&it.message)))
                    .unwrap_or_default()
            }
            _ => String::new(),
        };
        self.log
            .lock()
            .unwrap()
            .push(format!("{} {detail}", action.label()));
        match action {
            Action::CreatePods { .. } if self.ending => Ok(Done::NamespaceTerminating),
            Action::CreatePods { .. } if self.creates.is_some_and(|limit| before >= limit) => {
                Err(failed("create", 403))
            }
            Action::DeletePod { name, .. } => match self.keeps {
                Some((kept, code)) if kept == name => Err(failed("delete", code)),
                _ => Ok(Done::Changed),
            },
            _ => Ok(Done::Changed),
        }
    }
}

async fn run(script: &Script, replicas: i32, pods: &[&str]) -> Result<()> {
    let replica_set = replica_set("web").replicas(replicas).build();
    let owner = StoredOwner::of(&replica_set);
    let pods = pods
        .iter()
        .map(|name| Arc::new(built_pod(name).owned_by(&replica_set).build()))
        .collect();
    let snapshot = Snapshot {
        selector: Selector::parse(&replica_set.spec.selector).unwrap(),
        replica_set: Arc::new(replica_set),
        pods,
        related: Vec::new(),
        stores_terminating: true,
    };
    apply(script, &owner, &snapshot, &plan::plan(&snapshot, T0), T0).await
}

#[tokio::test(start_paused = true)]
async fn rs_34_rs_39_rs_62_a_refused_create_ends_the_batches_and_shows_in_the_status() {
    let script = Script {
        creates: Some(1),
        ..Script::default()
    };
    let error = run(&script, 20, &[]).await.unwrap_err();
    assert_eq!(script.count("create"), 3, "batches of 1 and 2");
    assert_eq!(script.last(), "status FailedCreate: quota");
    assert_eq!(error.retry(), Retry::Backoff);
}

#[tokio::test(start_paused = true)]
async fn rs_38_a_terminating_namespace_is_no_error() {
    let script = Script {
        ending: true,
        ..Script::default()
    };
    run(&script, 20, &[]).await.unwrap();
    assert_eq!(script.count("create"), 1);
    assert_eq!(script.last(), "status ");
}

#[tokio::test(start_paused = true)]
async fn rs_51_rs_60_all_deletes_are_tried_and_the_status_is_written_after_a_failure() {
    let script = Script {
        keeps: Some(("b", 500)),
        ..Script::default()
    };
    run(&script, 0, &["a", "b", "c"]).await.unwrap_err();
    assert_eq!(script.count("delete"), 3);
    assert_eq!(script.last(), "status FailedDelete: unable to delete pods: quota");
}

#[tokio::test(start_paused = true)]
async fn rs_4_a_conflict_shows_nowhere_and_is_retried_soon() {
    let script = Script {
        keeps: Some(("b", 409)),
        ..Script::default()
    };
    let error = run(&script, 0, &["a", "b"]).await.unwrap_err();
    assert_eq!(script.last(), "status ");
    assert!(matches!(error.retry(), Retry::Soon(_)));
}

#[test]
fn rs_60_counts_of_zero_are_removed_from_the_status() {
    let status = ReplicaSetStatus {
        ready_replicas: Some(0),
        terminating_replicas: Some(0),
        ..Default::default()
    };
    let patch = status_patch(&status);
    assert_eq!(
        (&patch["readyReplicas"], &patch["terminatingReplicas"]),
        (&json!(null), &json!(0))
    );
    assert_eq!(patch["replicas"], json!(0));
}

#[tokio::test(start_paused = true)]
async fn rs_40_every_attempt_starts_with_one_pod() {
    let script = Script {
        creates: Some(0),
        ..Script::default()
    };
    for attempt in 1..=3 {
        run(&script, 20, &[]).await.unwrap_err();
        assert_eq!(script.count("create"), attempt, "one doomed create per attempt");
    }
}

#[test]
fn rs_8_a_terminating_namespace_is_not_retried_even_if_the_server_names_a_time() {
    let (_, mut body) = refusal(403, "Forbidden", "terminating");
    body["details"] = json!({
        "causes": [{ "reason": "NamespaceTerminating", "message": "", "field": "" }], "retryAfterSeconds": 5,
    });
    let status: kube::core::Status = serde_json::from_value(body).unwrap();
    let error = Error::Status(Box::new(kube::Error::Api(status.boxed())));
    assert_eq!(error.retry(), Retry::OnChange);
}

/// A controller's hands on a scripted server, and the watches that tell it what came of its writes.
struct World {
    server: ScriptedServer,
    ctx: Context,
    live: Live,
    writes: Writes,
    pods: Feed<Pod>,
    sets: Feed<ReplicaSet>,
    owner: ReplicaSet,
}

impl World {
    fn new(answer: impl Fn(&Asked) -> (u16, Value) + Send + std::marker::Sync + 'static) -> Self {
        let server = ScriptedServer::new(answer);
        let ctx = context(server.client.clone());
        let queue = ctx.queue("replicaset");
        let writes = ctx.writes(&queue);
        let (pods, sets) = (Feed::new(ctx.informers.get()), Feed::new(ctx.informers.get()));
        pods.list([built_pod("a").version(10).build()]);
        let owner = replica_set("web").version(10).build();
        sets.list([owner.clone()]);
        let cache = Arc::clone(ctx.informers.get::<Pod>().cache());
        let actions = Actions::register(&mut ctx.metrics.lock().unwrap(), "test", "Test");
        let live = Live::new(&ctx, writes.clone(), cache, actions);
        Self {
            server,
            ctx,
            live,
            writes,
            pods,
            sets,
            owner,
        }
    }

    async fn apply(&self, action: &Action) -> Result<Done> {
        let sync = self.live.sync(&self.owner, self.ctx.leadership.token().unwrap());
        sync.apply(action).await
    }

    /// Whether the key waits for its own writes.
    fn waits(&self) -> bool {
        self.writes.pending(&ObjectKey::new("default", "web")).is_some()
    }
}

fn delete_a() -> Action {
    Action::DeletePod {
        name: "a".to_owned(),
        uid: Uid("pod-a".into()),
        cause: crate::action::DeleteCause::Surplus,
    }
}

fn status_action() -> Action {
    let status = ReplicaSetStatus {
        replicas: 2,
        observed_generation: Some(4),
        ..Default::default()
    };
    Action::WriteStatus(Box::new(StatusWrite {
        uid: Uid("rs-web".into()),
        resource_version: "10".to_owned(),
        status,
    }))
}

fn created_pod(version: &str) -> Value {
    json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "web-x", "uid": "x", "resourceVersion": version } })
}

fn stored_set(version: &str) -> Value {
    json!({ "kind": "ReplicaSet", "apiVersion": "apps/v1",
            "metadata": { "name": "web", "uid": "rs-web", "generation": 9, "resourceVersion": version } })
}

#[tokio::test(start_paused = true)]
async fn rs_5_rs_51_a_delete_names_the_uid_and_a_pod_that_is_gone_counts_as_deleted() {
    for code in [404, 409] {
        let reason = if code == 404 { "NotFound" } else { "Conflict" };
        let world = World::new(move |_| refusal(code, reason, "gone"));
        assert_eq!(world.apply(&delete_a()).await.unwrap(), Done::Gone, "{code}");
        let asked = world.server.asked().remove(0);
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str()),
            ("DELETE", "/api/v1/namespaces/default/pods/a")
        );
        assert_eq!(asked.body["preconditions"], json!({ "uid": "pod-a" }));
        assert!(asked.body.get("gracePeriodSeconds").is_none_or(Value::is_null));
    }
}

#[tokio::test(start_paused = true)]
async fn rs_27_rs_31_after_a_delete_the_key_waits_until_the_pod_shows_as_going() {
    let world = World::new(|_| (200, created_pod("11")));
    assert_eq!(world.apply(&delete_a()).await.unwrap(), Done::Changed);
    assert!(world.waits());
    world.pods.apply(built_pod("a").version(12).deleting().build());
    assert!(!world.waits());
}

#[tokio::test(start_paused = true)]
async fn rs_52_a_pod_that_is_on_its_way_out_by_now_is_not_deleted_again() {
    let world = World::new(|_| refusal(500, "InternalError", "asked"));
    world.pods.apply(built_pod("a").version(11).deleting().build());
    assert_eq!(world.apply(&delete_a()).await.unwrap(), Done::Gone);
    assert!(world.server.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rs_25_rs_26_rs_30_after_a_create_the_key_waits_for_the_pod() {
    let world = World::new(|_| (201, created_pod("15")));
    world.apply(&Action::CreatePods { count: 1 }).await.unwrap();
    assert!(world.waits());
    world.pods.apply(built_pod("of-others").version(14).build());
    assert!(world.waits(), "an older version of another pod");
    world
        .pods
        .apply(built_pod("web-x").version(15).owned_by(&world.owner).build());
    assert!(!world.waits());
}

#[tokio::test(start_paused = true)]
async fn rs_28_a_refused_write_is_not_waited_for() {
    let world = World::new(|_| refusal(403, "Forbidden", "exceeded quota"));
    world.apply(&Action::CreatePods { count: 1 }).await.unwrap_err();
    world.apply(&delete_a()).await.unwrap_err();
    assert!(!world.waits());
}

#[tokio::test(start_paused = true)]
async fn rs_30_after_a_status_write_the_key_waits_for_its_own_version() {
    let world = World::new(|_| (200, stored_set("21")));
    world.apply(&status_action()).await.unwrap();
    assert!(world.waits());
    world.sets.apply(replica_set("web").version(21).build());
    assert!(!world.waits());
}

#[tokio::test(start_paused = true)]
async fn rs_3_rs_58_rs_60_a_status_is_a_patch_of_one_version_and_is_tried_twice() {
    let world = World::new(|asked| match asked.method.as_str() {
        "GET" => (200, stored_set("20")),
        _ if asked.body["metadata"]["resourceVersion"] == "10" => refusal(409, "Conflict", "modified"),
        _ => (200, stored_set("21")),
    });
    assert_eq!(world.apply(&status_action()).await.unwrap(), Done::Changed);
    let path = "/apis/apps/v1/namespaces/default/replicasets/web";
    assert_eq!(
        world.server.requests(),
        [
            format!("PATCH {path}/status"),
            format!("GET {path}"),
            format!("PATCH {path}/status")
        ]
    );
    let asked = world.server.asked();
    for (request, version) in [(&asked[0], "10"), (&asked[2], "20")] {
        assert_eq!(request.content_type, "application/merge-patch+json");
        assert_eq!(
            request.body["metadata"],
            json!({ "uid": "rs-web", "resourceVersion": version })
        );
        assert_eq!(
            request.body["status"]["observedGeneration"], 4,
            "of what was acted on, not of what is stored"
        );
        assert!(request.body.get("spec").is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn rs_57_a_server_that_drops_terminating_pods_is_noticed_by_its_answer() {
    for stores in [false, true] {
        let world = World::new(move |asked| {
            let (code, mut body) = (200, stored_set("21"));
            body["status"] = asked.body["status"].clone();
            if !stores {
                body["status"]
                    .as_object_mut()
                    .unwrap()
                    .remove("terminatingReplicas");
            }
            (code, body)
        });
        assert!(world.live.stores_terminating(), "until an answer shows otherwise");
        let Action::WriteStatus(mut write) = status_action() else {
            panic!("no status")
        };
        write.status.terminating_replicas = Some(0);
        world.apply(&Action::WriteStatus(write)).await.unwrap();
        assert_eq!(world.live.stores_terminating(), stores);
    }
}

#[tokio::test(start_paused = true)]
async fn rs_60_a_status_that_fails_twice_fails_the_sync() {
    let world = World::new(|asked| match asked.method.as_str() {
        "GET" => (200, stored_set("20")),
        _ => refusal(409, "Conflict", "modified"),
    });
    let error = world.apply(&status_action()).await.unwrap_err();
    assert!(matches!(error, Error::Status(_)), "{error}");
    assert_eq!(world.server.requests().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn rs_3_an_object_of_another_uid_gets_no_status() {
    let world = World::new(|asked| match asked.method.as_str() {
        "GET" => {
            let mut other = stored_set("20");
            other["metadata"]["uid"] = json!("another");
            (200, other)
        }
        _ => refusal(422, "Invalid", "uid"),
    });
    assert_eq!(world.apply(&status_action()).await.unwrap(), Done::Gone);
    assert_eq!(world.server.requests().len(), 2);
}

#[test]
fn rs_19_the_controller_asks_for_no_more_rights_than_it_may() {
    let allowed = [
        ("replicasets", "get list watch create update patch delete"),
        ("replicasets/status", "update patch"),
        ("replicasets/finalizers", "update"),
        ("pods", "get list watch create patch delete"),
        ("resourcequotas", "get list watch"),
    ];
    for rule in crate::RBAC {
        for resource in rule.resources {
            let (_, verbs) = allowed.iter().find(|(name, _)| name == resource).unwrap();
            let more = rule
                .verbs
                .iter()
                .find(|verb| !verbs.split(' ').any(|it| it == **verb));
            assert_eq!(more, None, "{resource}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rs_60_a_mere_acknowledgement_is_left_to_the_sync_that_the_new_pods_bring() {
    let script = Script::default();
    run(&script, 2, &[]).await.unwrap();
    assert_eq!((script.count("create"), script.count("status")), (2, 0));
    // A number of pods that the status does not show yet is written at once, and so is a generation without any change.
    let script = Script::default();
    run(&script, 2, &["a"]).await.unwrap();
    assert_eq!((script.count("create"), script.count("status")), (1, 1));
    let script = Script::default();
    run(&script, 0, &[]).await.unwrap();
    assert_eq!(script.count("status"), 1);
}
