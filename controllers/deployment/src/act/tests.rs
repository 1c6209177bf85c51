use std::sync::Mutex;

use kube::core::Status;
use kube::core::response::{StatusCause, StatusDetails};
use steersman_shared::controller::ReconcileError as _;
use steersman_shared::sink::{Retry, ShadowSink};
use steersman_shared::testing::{
    Asked, Feed, ScriptedServer, StoredOwner, T0, context, deployment, refusal, refused as refused_by_server,
    replica_set, template as pod_template,
};

use super::*;
use crate::plan::plan;
use crate::simulate::World;

/// Answers by the label of an action, and logs all of them; an action that nobody expects stays in the log.
#[derive(Default)]
struct Script {
    refused: Vec<(&'static str, u16, &'static str)>,
    gone: Vec<&'static str>,
    log: Mutex<Vec<String>>,
}

impl Script {
    fn refusing(label: &'static str, code: u16, reason: &'static str) -> Self {
        Self {
            refused: vec![(label, code, reason)],
            ..Self::default()
        }
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

fn error(code: u16, reason: &str) -> kube::Error {
    refused_by_server(code, reason, "quota exceeded")
}

impl Sink<Action> for Script {
    type Done = Done;
    type Error = Error;

    async fn apply(&self, action: &Action) -> Result<Done> {
        let detail = match action {
            Action::WriteStatus(write) => {
                let conditions = write.status.conditions.iter().flatten();
                let progressing = conditions
                    .filter(|it| it.type_ == "Progressing")
                    .filter_map(|it| it.reason.clone());
                let collisions = write
                    .status
                    .collision_count
                    .map(|count| format!("collisions {count}"));
                progressing.chain(collisions).collect::<Vec<_>>().join(" ")
            }
            Action::ReportCreateError { message } => message.clone(),
            Action::Adopt { name, .. } | Action::Release { name, .. } => name.clone(),
            Action::Scale { target, from, to, .. } => format!("{} {from}->{to}", target.name),
            _ => String::new(),
        };
        self.log
            .lock()
            .unwrap()
            .push(format!("{} {detail}", action.label()).trim().to_owned());
        if let Some((_, code, reason)) = self.refused.iter().find(|it| it.0 == action.label()) {
            let source = Box::new(error(*code, reason));
            return Err(Error::ReplicaSet {
                verb: action.label(),
                name: "web-x".to_owned(),
                source,
            });
        }
        Ok(if self.gone.contains(&action.label()) {
            Done::Gone
        } else {
            Done::Changed
        })
    }
}

fn web() -> StoredOwner {
    StoredOwner::of(&deployment("web").build())
}

async fn run(
    script: &Script,
    owner: &StoredOwner,
    world: &World,
    existing: Option<ReplicaSet>,
) -> Result<()> {
    let snapshot = world.snapshot().unwrap();
    let plan = plan(&snapshot, T0).unwrap();
    let existing = existing.map(Arc::new);
    apply(script, owner, &snapshot, &plan, |_| existing.clone(), T0).await
}

fn fresh() -> World {
    World::new(deployment("web").build(), Vec::new(), Vec::new(), T0)
}

fn orphan(name: &str) -> ReplicaSet {
    replica_set(name)
        .label("app", "web")
        .template(pod_template("web:0"))
        .replicas(0)
        .build()
}

#[tokio::test(start_paused = true)]
async fn dep_21_creates_then_writes_one_status() {
    let script = Script::default();
    run(&script, &web(), &fresh(), None).await.unwrap();
    assert_eq!(script.log(), ["create", "status NewReplicaSetCreated"]);
}

#[tokio::test(start_paused = true)]
async fn dep_20_a_refused_create_is_reported_and_retried() {
    let script = Script::refusing("create", 403, "Forbidden");
    let error = run(&script, &web(), &fresh(), None).await.unwrap_err();
    let log = script.log();
    assert_eq!(
        (log[0].as_str(), log[2].as_str()),
        ("create", "status ReplicaSetCreateError")
    );
    assert!(
        log[1].starts_with("report Failed to create new replica set \"web-"),
        "{log:?}"
    );
    assert!(log[1].ends_with("\": quota exceeded"), "{log:?}");
    assert_eq!(error.retry(), Retry::Drop { after: 15 });
}

#[tokio::test(start_paused = true)]
async fn dep_19_a_taken_name_is_a_collision_only_if_it_is_foreign() {
    let script = Script::refusing("create", 409, "AlreadyExists");
    let error = run(&script, &web(), &fresh(), None).await.unwrap_err();
    assert!(matches!(error, Error::NameTaken { .. }), "{error}");
    assert_eq!(
        script.log(),
        ["create"],
        "not in the cache yet: nothing is written"
    );

    let script = Script::refusing("create", 409, "AlreadyExists");
    let error = run(&script, &web(), &fresh(), Some(orphan("web-x")))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Collision { .. }), "{error}");
    assert_eq!(script.log(), ["create", "status collisions 1"]);
}

#[tokio::test(start_paused = true)]
async fn dep_53_a_failed_shrink_ends_quietly_with_the_status() {
    let owner = deployment("web").replicas(10).image("web:2").build();
    let child = |name: &str, image: &str, pods: i32| {
        let built = replica_set(name)
            .owned_by(&owner)
            .label("app", "web")
            .template(pod_template(image));
        let status = |it: &mut ReplicaSet| {
            it.status.replicas = pods;
            it.status.available_replicas = Some(pods);
            it.status.observed_generation = Some(1);
        };
        let revision = if image == "web:2" { "2" } else { "1" };
        built
            .replicas(pods)
            .annotation(REVISION, revision)
            .with(status)
            .build()
    };
    let all = vec![
        child("a", "web:0", 4),
        child("b", "web:1", 4),
        child("c", "web:2", 5),
    ];
    let world = World::new(owner.clone(), all, Vec::new(), T0);
    let script = Script::refusing("scale", 500, "InternalError");
    let result = run(&script, &web(), &world, None).await;
    let log = script.log();
    assert_eq!(
        log.iter().filter(|line| line.starts_with("scale")).count(),
        1,
        "{log:?}"
    );
    assert!(log.last().unwrap().starts_with("status"), "{log:?}");
    assert!(!log.iter().any(|line| line.starts_with("report")), "{log:?}");
    assert!(result.is_err(), "the key comes back by itself");
}

#[tokio::test(start_paused = true)]
async fn rs_14_rs_16_dep_4_a_failed_claim_lets_the_others_finish_and_nothing_else_happen() {
    let world = World::new(
        deployment("web").build(),
        vec![orphan("a"), orphan("b")],
        Vec::new(),
        T0,
    );
    let (script, owner) = (Script::refusing("adopt", 422, "Invalid"), web());
    run(&script, &owner, &world, None).await.unwrap_err();
    assert_eq!(script.log(), ["adopt a", "adopt b"]);
    assert_eq!(owner.count(), 1);

    let (script, owner) = (
        Script::default(),
        StoredOwner::of(&deployment("web").deleting().build()),
    );
    let error = run(&script, &owner, &world, None).await.unwrap_err();
    assert!(matches!(error, Error::Adoption(_)), "{error}");
    assert!(script.log().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rs_16_an_orphan_that_is_gone_ends_the_sync_without_a_trace() {
    let world = World::new(deployment("web").build(), vec![orphan("a")], Vec::new(), T0);
    let script = Script {
        gone: vec!["adopt"],
        ..Script::default()
    };
    let error = run(&script, &web(), &world, None).await.unwrap_err();
    assert_eq!(script.log(), ["adopt a"]);
    assert!(matches!(error.retry(), Retry::Soon(_)));
    assert_eq!(error.shown(), None);
}

#[test]
fn rs_4_a_conflict_is_no_error_that_users_see() {
    let conflict = Error::Deployment {
        verb: "patch",
        source: Box::new(error(409, "Conflict")),
    };
    assert!(matches!(conflict.retry(), Retry::Soon(_)));
}

#[test]
fn rs_8_a_terminating_namespace_is_not_retried() {
    let details = StatusDetails {
        causes: vec![StatusCause {
            reason: "NamespaceTerminating".into(),
            message: String::new(),
            field: String::new(),
        }],
        name: String::new(),
        group: String::new(),
        kind: String::new(),
        uid: String::new(),
        retry_after_seconds: 0,
    };
    let status = Status::failure("terminating", "Forbidden")
        .with_code(403)
        .with_details(details);
    let source = Box::new(kube::Error::Api(status.boxed()));
    assert_eq!(
        Error::ReplicaSet {
            verb: "scale",
            name: String::new(),
            source
        }
        .retry(),
        Retry::OnChange
    );
}

#[tokio::test(start_paused = true)]
async fn inv_13_a_shadow_run_reports_the_same_plan() {
    let world = fresh();
    let snapshot = world.snapshot().unwrap();
    let plan = plan(&snapshot, T0).unwrap();
    let shadow = ShadowSink::new("deployment");
    apply(&shadow, &web(), &snapshot, &plan, |_| None, T0)
        .await
        .unwrap();
    assert_eq!(shadow.count(), u64::try_from(plan.actions.len()).unwrap());
}

#[test]
fn dep_95_annotation_keys_are_escaped_in_the_patch() {
    assert_eq!(pointer("a/b~c"), "a~1b~0c");
}

/// A controller's hands on a scripted server.
struct Hands {
    server: ScriptedServer,
    ctx: Context,
    live: Live,
    writes: Writes,
    sets: Feed<ReplicaSet>,
    owner: Deployment,
}

impl Hands {
    fn new(answer: impl Fn(&Asked) -> (u16, Value) + Send + std::marker::Sync + 'static) -> Self {
        let server = ScriptedServer::new(answer);
        let ctx = context(server.client.clone());
        let queue = ctx.queue("deployment");
        let writes = ctx.writes(&queue);
        let sets = Feed::new(ctx.informers.get());
        sets.list([replica_set("web-x").version(10).build()]);
        let owner = deployment("web").version(10).build();
        Feed::new(ctx.informers.get()).list([owner.clone()]);
        let actions = Actions::register(&mut ctx.metrics.lock().unwrap(), "test", "Test");
        let live = Live::new(&ctx, writes.clone(), actions);
        Self {
            server,
            ctx,
            live,
            writes,
            sets,
            owner,
        }
    }

    /// Applies actions in one sync.
    async fn apply(&self, actions: &[Action]) -> Vec<Result<Done>> {
        let sync = self.live.sync(&self.owner, self.ctx.leadership.token().unwrap());
        let mut results = Vec::new();
        for action in actions {
            results.push(sync.apply(action).await);
        }
        results
    }

    fn waits(&self) -> bool {
        self.writes.pending(&ObjectKey::new("default", "web")).is_some()
    }
}

fn set_target() -> Target {
    Target::of(&replica_set("web-x").version(10).build())
}

fn scale(to: i32) -> Action {
    Action::Scale {
        target: set_target(),
        from: 1,
        to,
        desired: 3,
        max: 4,
        cause: ScaleCause::RolloutUp,
    }
}

fn stored(kind: &str, name: &str, uid: &str, version: &str) -> (u16, Value) {
    let metadata = json!({ "name": name, "uid": uid, "resourceVersion": version });
    (
        200,
        json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": metadata }),
    )
}

#[tokio::test(start_paused = true)]
async fn rs_3_dep_27_a_replica_set_is_changed_by_patches_of_one_version() {
    let hands = Hands::new(|asked| {
        let version = if asked.body["metadata"]["resourceVersion"] == "10" {
            "11"
        } else {
            "12"
        };
        stored("ReplicaSet", "web-x", "rs-web-x", version)
    });
    let annotate = Action::Annotate {
        target: set_target(),
        annotations: [("team".to_owned(), "a".to_owned())].into(),
        min_ready_seconds: Some(5),
    };
    for result in hands.apply(&[annotate, scale(3)]).await {
        assert_eq!(result.unwrap(), Done::Changed);
    }
    let asked = hands.server.asked();
    let path = "/apis/apps/v1/namespaces/default/replicasets/web-x";
    for it in &asked {
        assert_eq!(
            (it.method.as_str(), it.path.as_str()),
            ("PATCH", path),
            "never a PUT"
        );
        assert_eq!(it.content_type, "application/merge-patch+json");
        assert_eq!(it.body["metadata"]["uid"], "rs-web-x");
    }
    assert_eq!(asked[0].body["metadata"]["resourceVersion"], "10");
    assert_eq!(asked[0].body["spec"], json!({ "minReadySeconds": 5 }));
    assert_eq!(
        asked[1].body["metadata"]["resourceVersion"], "11",
        "a second write builds on the first"
    );
    assert_eq!(
        asked[1].body["spec"],
        json!({ "replicas": 3 }),
        "nothing else of the spec"
    );
    let annotations = &asked[1].body["metadata"]["annotations"];
    assert_eq!(
        (&annotations[DESIRED_REPLICAS], &annotations[MAX_REPLICAS]),
        (&json!("3"), &json!("4"))
    );
}

#[tokio::test(start_paused = true)]
async fn rs_31_after_a_write_to_a_replica_set_the_deployment_waits_for_it() {
    let hands = Hands::new(|_| stored("ReplicaSet", "web-x", "rs-web-x", "15"));
    hands.apply(&[scale(3)]).await.remove(0).unwrap();
    assert!(hands.waits());
    hands.sets.apply(replica_set("web-x").version(15).build());
    assert!(!hands.waits());
    let delete = Action::Delete { target: set_target() };
    hands.apply(&[delete]).await.remove(0).unwrap();
    assert!(hands.waits(), "for the deletion");
    hands.sets.delete(replica_set("web-x").version(16).build());
    assert!(!hands.waits());
}

#[tokio::test(start_paused = true)]
async fn rs_5_dep_60_a_replica_set_is_deleted_by_uid_in_the_background_and_may_be_gone() {
    for (code, reason) in [(404, "NotFound"), (409, "Conflict")] {
        let hands = Hands::new(move |_| refusal(code, reason, "gone"));
        let delete = Action::Delete { target: set_target() };
        assert_eq!(hands.apply(&[delete]).await.remove(0).unwrap(), Done::Gone);
        let asked = hands.server.asked().remove(0);
        assert_eq!(asked.body["preconditions"]["uid"], "rs-web-x");
        assert_eq!(asked.body["propagationPolicy"], "Background");
    }
}

#[tokio::test(start_paused = true)]
async fn dep_5_dep_25_the_revision_goes_with_the_status_and_not_to_the_main_resource() {
    let hands = Hands::new(|_| stored("Deployment", "web", "deploy-web", "11"));
    let write = StatusWrite {
        target: Target::of(&hands.owner),
        status: DeploymentStatus {
            observed_generation: Some(3),
            ..DeploymentStatus::default()
        },
        revision: Some("2".to_owned()),
        repaired: Vec::new(),
    };
    hands
        .apply(&[Action::WriteStatus(Box::new(write))])
        .await
        .remove(0)
        .unwrap();
    let asked = hands.server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].method.as_str(), asked[0].path.as_str()),
        ("PATCH", "/apis/apps/v1/namespaces/default/deployments/web/status")
    );
    assert_eq!(asked[0].body["metadata"]["annotations"], json!({ REVISION: "2" }));
    assert_eq!(asked[0].body["metadata"]["resourceVersion"], "10");
    assert_eq!(asked[0].body["status"]["observedGeneration"], 3);
    assert!(hands.waits(), "RS-31: for its own status");
}

#[tokio::test(start_paused = true)]
async fn dep_20_a_terminating_namespace_refuses_a_create_without_a_trace() {
    let hands = Hands::new(|_| {
        let (code, mut body) = refusal(403, "Forbidden", "terminating");
        body["details"] =
            json!({ "causes": [{ "reason": "NamespaceTerminating", "message": "", "field": "" }] });
        (code, body)
    });
    let world = fresh();
    let snapshot = world.snapshot().unwrap();
    let plan = plan(&snapshot, T0).unwrap();
    let sync = hands
        .live
        .sync(&hands.owner, hands.ctx.leadership.token().unwrap());
    apply(&sync, &web(), &snapshot, &plan, |_| None, T0)
        .await
        .unwrap();
    assert_eq!(
        hands.server.requests().len(),
        1,
        "the create, and nothing after it"
    );
}

#[test]
fn rs_19_the_controller_asks_for_no_more_rights_than_it_may() {
    let allowed = [
        ("deployments", "get list watch update patch"),
        ("deployments/status", "update patch"),
        ("deployments/finalizers", "update"),
        ("replicasets", "get list watch create update patch delete"),
        ("pods", "get list watch"),
    ];
    for rule in crate::RBAC {
        for resource in rule
            .resources
            .iter()
            .filter(|_| rule.api_groups != ["steersman.dev"])
        {
            let (_, verbs) = allowed.iter().find(|(name, _)| name == resource).unwrap();
            let more = rule
                .verbs
                .iter()
                .find(|verb| !verbs.split(' ').any(|it| it == **verb));
            assert_eq!(more, None, "{resource}");
        }
    }
}
