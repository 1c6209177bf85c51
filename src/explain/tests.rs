use k8s_openapi::api::apps::v1::{DeploymentCondition, ReplicaSetCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};
use steersman_shared::testing::{DeploymentBuilder, PodBuilder, deployment, pod, replica_set, t, template};
use steersman_shared::wire::{DESIRED_REPLICAS, MAX_REPLICAS, POD_TEMPLATE_HASH, REVISION};

use super::*;

/// A namespace with one Deployment `web` of 4 pods, 25 % surge and unavailable.
struct Scene {
    deployment: Deployment,
    replica_sets: Vec<ReplicaSet>,
    pods: Vec<Pod>,
}

impl Scene {
    fn new(builder: DeploymentBuilder) -> Self {
        Self {
            deployment: builder.build(),
            replica_sets: Vec::new(),
            pods: Vec::new(),
        }
    }

    /// A ReplicaSet `web-REVISION` of that image and size, its status as if so many pods were there and available.
    fn child(mut self, revision: u32, image: &str, size: i32, (pods, available): (i32, i32)) -> Self {
        let name = format!("web-{revision}");
        let mut labelled = template(image);
        labelled["metadata"]["labels"][POD_TEMPLATE_HASH] = json!(revision.to_string());
        let child = replica_set(&name)
            .owned_by(&self.deployment)
            .label("app", "web")
            .created(u64::from(revision))
            .annotation(REVISION, &revision.to_string())
            .annotation(DESIRED_REPLICAS, "4")
            .annotation(MAX_REPLICAS, "5")
            .template(labelled)
            .replicas(size)
            .with(|it| {
                it.spec.min_ready_seconds = self.deployment.spec.min_ready_seconds;
                it.status.replicas = pods;
                it.status.fully_labeled_replicas = Some(pods);
                it.status.ready_replicas = Some(available);
                it.status.available_replicas = Some(available);
                it.status.terminating_replicas = Some(0);
                it.status.observed_generation = Some(1);
            });
        self.replica_sets.push(child.build());
        self
    }

    /// Pods `web-REVISION-FROM…` of that ReplicaSet.
    fn pods(mut self, revision: u32, names: &[&str], make: impl Fn(PodBuilder) -> PodBuilder) -> Self {
        let set = self
            .replica_sets
            .iter()
            .find(|it| it.metadata.name == Some(format!("web-{revision}")))
            .unwrap();
        for name in names {
            let built = make(
                pod(&format!("web-{revision}-{name}"))
                    .owned_by(set)
                    .label(POD_TEMPLATE_HASH, &revision.to_string()),
            );
            self.pods.push(built.build());
        }
        self
    }

    /// The condition Progressing as it stands since [`t`]`(0)`.
    fn progressing(mut self, status: &str, reason: &str, message: &str) -> Self {
        let condition = DeploymentCondition {
            type_: "Progressing".to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_update_time: Some(Time(t(0))),
            last_transition_time: Some(Time(t(0))),
        };
        self.deployment
            .status
            .conditions
            .get_or_insert_default()
            .push(condition);
        self
    }

    /// The Deployment's own writes are all done: what is left is what holds the rollout up.
    fn settled(mut self, now: Timestamp) -> Self {
        for _ in 0..5 {
            let plan = {
                let observer = steersman_deployment::observe::Observer::new(&self.informers());
                let snapshot = observer.snapshot(&key()).unwrap().unwrap();
                steersman_deployment::plan::plan(&snapshot, now).unwrap()
            };
            for action in plan.actions {
                if let steersman_deployment::action::Action::WriteStatus(write) = action {
                    self.deployment.status = write.status;
                    if let Some(revision) = write.revision {
                        let annotations = self.deployment.metadata.annotations.get_or_insert_default();
                        annotations.insert(REVISION.to_owned(), revision);
                    }
                }
            }
        }
        self
    }

    fn informers(&self) -> Informers {
        let informers = Informers::detached();
        informers
            .get::<Deployment>()
            .fill([Decoded::Whole(self.deployment.clone())]);
        informers
            .get::<ReplicaSet>()
            .fill(self.replica_sets.iter().cloned().map(Decoded::Whole));
        informers
            .get::<Pod>()
            .fill(self.pods.iter().cloned().map(Decoded::Whole));
        informers
    }

    fn report(&self, now: Timestamp) -> DeploymentReport {
        deployment_report(&self.informers(), &key(), now).unwrap()
    }

    fn told(&self, now: Timestamp) -> String {
        text::deployment(&self.report(now))
    }
}

fn key() -> ObjectKey {
    ObjectKey::new("default", "web")
}

fn web(image: &str) -> DeploymentBuilder {
    deployment("web").replicas(4).image(image)
}

fn running(pod: PodBuilder) -> PodBuilder {
    pod.on("n1").ready()
}

/// Its one container is in that state and not ready.
fn container(pod: PodBuilder, state: &Value) -> PodBuilder {
    let status = json!([{
        "name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 3, "state": state,
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": t(40)}},
    }]);
    pod.on("n1").with(|pod| {
        pod.status.get_or_insert_default().container_statuses = Some(serde_json::from_value(status).unwrap());
    })
}

fn unpullable(pod: PodBuilder) -> PodBuilder {
    let waiting =
        json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"web:2\""}});
    container(
        pod.with(|pod| pod.spec.get_or_insert_default().containers[0].image = Some("web:2".to_owned())),
        &waiting,
    )
}

#[test]
fn ask_9_an_image_that_cannot_be_pulled_holds_the_rollout() {
    let scene = Scene::new(web("web:2"))
        .child(1, "web:1", 3, (3, 3))
        .child(2, "web:2", 2, (2, 0))
        .pods(1, &["a", "b", "c"], running)
        .pods(2, &["d", "e"], unpullable)
        .progressing("True", "ReplicaSetUpdated", "")
        .settled(t(60));
    insta::assert_snapshot!(scene.told(t(60)));
}

#[test]
fn ask_9_each_reason_names_its_pods() {
    let unschedulable = |pod: PodBuilder| {
        pod.with(|pod| {
            let condition = json!([{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                                    "message": "0/3 nodes are available: 3 Insufficient cpu."}]);
            pod.status.get_or_insert_default().conditions = Some(serde_json::from_value(condition).unwrap());
        })
    };
    let scene = Scene::new(
        web("web:2")
            .replicas(10)
            .rolling(IntOrString::Int(10), IntOrString::Int(0)),
    )
    .child(1, "web:1", 10, (10, 10))
    .child(2, "web:2", 10, (10, 0))
    .pods(1, &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"], running)
    .pods(2, &["a", "b", "c", "d", "e", "f"], unschedulable)
    .pods(2, &["g", "h"], |pod| {
        container(pod, &json!({"waiting": {"reason": "CrashLoopBackOff"}}))
    })
    .pods(2, &["i"], |pod| container(pod, &json!({"running": {}})))
    .pods(2, &["j"], PodBuilder::deleting)
    .progressing("False", "ProgressDeadlineExceeded", "")
    .settled(t(60));
    let mut scene = scene;
    for set in &mut scene.replica_sets {
        set.metadata
            .annotations
            .get_or_insert_default()
            .insert(DESIRED_REPLICAS.to_owned(), "10".to_owned());
    }
    let mut report = scene.settled(t(60)).report(t(60));
    for it in report
        .replica_set_plans
        .iter_mut()
        .flat_map(|plan| &mut plan.blocked)
    {
        if let Obstacle::NotReady { probe, .. } = &mut it.obstacle {
            *probe = Some("Readiness probe failed: HTTP probe failed with statuscode: 503".to_owned());
        }
    }
    insta::assert_snapshot!(text::deployment(&report));
}

#[test]
fn dep_58_a_recreate_waits_for_terminating_pods() {
    let scene = Scene::new(web("web:2").recreate())
        .child(1, "web:1", 0, (0, 0))
        .pods(1, &["a", "b"], |pod| {
            running(pod).deleting().with(|pod| {
                pod.metadata.deletion_timestamp = Some(Time(t(70)));
                pod.metadata.deletion_grace_period_seconds = Some(30);
            })
        })
        .settled(t(60));
    insta::assert_snapshot!(scene.told(t(60)));
}

#[test]
fn rs_39_refused_pods_are_told_in_the_servers_words() {
    let mut scene = Scene::new(web("web:1"))
        .child(1, "web:1", 4, (1, 1))
        .pods(1, &["a"], running);
    scene.replica_sets[0].status.conditions = Some(vec![ReplicaSetCondition {
        type_: "ReplicaFailure".to_owned(),
        status: "True".to_owned(),
        reason: Some("FailedCreate".to_owned()),
        message: Some("pods \"web-1-x\" is forbidden: exceeded quota: small".to_owned()),
        last_transition_time: Some(Time(t(0))),
    }]);
    insta::assert_snapshot!(scene.settled(t(60)).told(t(60)));
}

#[test]
fn rs_61_the_next_look_is_when_a_pod_becomes_available() {
    let scene = Scene::new(web("web:1").with(|it| it.spec.min_ready_seconds = Some(30)))
        .child(1, "web:1", 4, (4, 3))
        .pods(1, &["a", "b", "c"], running)
        .pods(1, &["d"], |pod| pod.on("n1").ready_at(t(50)))
        .with_ready(4)
        .progressing("True", "ReplicaSetUpdated", "")
        .settled(t(60));
    insta::assert_snapshot!(scene.told(t(60)));
}

impl Scene {
    /// As many pods of the first ReplicaSet are ready.
    fn with_ready(mut self, count: i32) -> Self {
        self.replica_sets[0].status.ready_replicas = Some(count);
        self
    }
}

#[test]
fn dep_84_a_paused_rollout_says_so() {
    let scene = Scene::new(web("web:2").paused())
        .child(1, "web:1", 4, (4, 4))
        .pods(1, &["a", "b", "c", "d"], running)
        .settled(t(60));
    insta::assert_snapshot!(scene.told(t(60)));
}

#[test]
fn issue_4_a_complete_rollout_has_nothing_left_to_do() {
    let scene = Scene::new(web("web:1"))
        .child(1, "web:1", 4, (4, 4))
        .pods(1, &["a", "b", "c", "d"], running)
        .settled(t(60));
    let told = scene.told(t(60));
    assert!(!told.contains("Held by"), "{told}");
    insta::assert_snapshot!(told);
}

#[test]
fn issue_4_the_next_step_comes_with_its_reason() {
    let scene = Scene::new(web("web:2"))
        .child(1, "web:1", 4, (4, 4))
        .pods(1, &["a", "b", "c", "d"], running);
    insta::assert_snapshot!(scene.told(t(60)));
}

#[test]
fn issue_4_programs_read_it_as_json() {
    let scene = Scene::new(web("web:2"))
        .child(1, "web:1", 3, (3, 3))
        .child(2, "web:2", 2, (2, 0))
        .pods(1, &["a", "b", "c"], running)
        .pods(2, &["d", "e"], unpullable)
        .progressing("True", "ReplicaSetUpdated", "")
        .settled(t(60));
    let report = serde_json::to_value(scene.report(t(60))).unwrap();
    for (pointer, want) in [
        ("/kind", json!("Deployment")),
        ("/phase", json!("rollingOut")),
        (
            "/pods",
            json!({"desired": 4, "updated": 2, "total": 5, "ready": 3, "available": 3}),
        ),
        (
            "/budget",
            json!({"surge": 1, "unavailable": 1, "most": 5, "fewest": 3}),
        ),
        ("/next", json!([])),
        ("/heldBy/0/kind", json!("surge")),
        (
            "/heldBy/1",
            json!({"kind": "unavailable", "available": 3, "needed": 3, "replicaSets": ["web-2"]}),
        ),
        ("/replicaSetPlans/0/blocked/0/pod", json!("web-2-d")),
        ("/replicaSetPlans/0/blocked/0/obstacle/kind", json!("image")),
        (
            "/nextLook",
            json!({"when": "at", "at": t(661), "inSeconds": 601, "reason": "progressDeadline"}),
        ),
    ] {
        assert_eq!(report.pointer(pointer), Some(&want), "{pointer} of {report:#}");
    }
}

#[test]
fn rs_33_a_replica_set_tells_which_pods_go() {
    let scene = Scene::new(web("web:1"))
        .child(1, "web:1", 1, (3, 2))
        .pods(1, &["a", "b"], running)
        .pods(1, &["c"], unpullable);
    let report = replica_set_report(&scene.informers(), &ObjectKey::new("default", "web-1"), t(60)).unwrap();
    insta::assert_snapshot!(text::replica_set(&report));
}

#[test]
fn issue_4_a_missing_name_is_answered_with_those_that_exist() {
    let informers = Scene::new(web("web:1")).informers();
    let cache = informers.get::<Deployment>();
    let missing = ObjectKey::new("default", "wep");
    let error = check_exists(cache.cache(), &missing, "Deployment").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Deployment default/wep not found; namespace default has web"
    );
}

#[test]
fn take_12_an_opt_out_is_told() {
    let deployment = web("web:1").annotation(MANAGED, BY_NOBODY);
    let mut report = Scene::new(deployment.clone())
        .child(1, "web:1", 4, (4, 4))
        .report(t(60));
    report.opt_out = OptOut::of(&deployment.build(), None);
    let told = text::deployment(&report);
    assert!(
        told.contains("annotation steersman.dev/managed=never on the object: steersman leaves it alone"),
        "{told}"
    );
    let namespace: Namespace =
        serde_json::from_value(json!({"metadata": {"annotations": {MANAGED: NOT_BY_US}}})).unwrap();
    let of_namespace = OptOut::of(&web("web:1").build(), Some(&namespace)).unwrap();
    assert_eq!(
        (of_namespace.on, of_namespace.value.as_str()),
        ("namespace", NOT_BY_US)
    );
    assert_eq!(OptOut::of(&web("web:1").build(), None), None);
}
