//! RolloutPolicies in a whole cluster (ASK-1, ASK-2): in one thread on paused time without faults, and the real binary with
//! kubectl on the sandbox and on a real API server.

use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, CustomResourceExt as _, ResourceExt as _};
use serde_json::{Value, json};
use steersman_crds::RolloutPolicy;
use steersman_crds::rollout_policy::Phase;
use steersman_deployment::action::{ABORT, COMPLETE, PROMOTE, ROLLED_BACK, ROLLOUT_PREFIX};
use steersman_sandbox::clock::TokioClock;
use steersman_sandbox::nodes::{self, FAIL, READY, Simulation};
use steersman_sandbox::{Config, Server, housekeeping};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, STEERSMAN};
use crate::simulation::{START, controller_process, deterministic};

/// Longest time, on the paused clock, that one expectation may take.
const PATIENCE: Duration = Duration::from_mins(30);

/// Installs the definition.
pub(crate) async fn install(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    api.create(&PostParams::default(), &RolloutPolicy::crd())
        .await
        .unwrap();
}

/// Creates a policy once its kind is served.
pub(crate) async fn create(client: &Client, name: &str, spec: Value) {
    let api: Api<RolloutPolicy> = Api::namespaced(client.clone(), "default");
    let spec = serde_json::from_value(spec).unwrap();
    let policy = RolloutPolicy::new(name, spec);
    for _ in 0..100 {
        match api.create(&PostParams::default(), &policy).await {
            Ok(_) => return,
            Err(kube::Error::Api(status)) if status.code == 404 => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("RolloutPolicies are not served");
}

/// A cluster in memory with every controller and the Deployment `web`.
struct World {
    client: Client,
    clock: TokioClock,
    stop: CancellationToken,
    environment: JoinSet<()>,
    controllers: JoinSet<()>,
    _server: Server,
}

impl World {
    fn start() -> Self {
        let clock = TokioClock::starting_at(START.parse().unwrap());
        let config = Config {
            seed: Some(1),
            clock: Arc::new(clock),
            managed_fields: false,
            ..Config::default()
        };
        let server = Server::start(config).unwrap();
        let (client, stop) = (server.client(), CancellationToken::new());
        let mut environment = JoinSet::new();
        let nodes = nodes::Config {
            count: 3,
            lease_interval: Duration::from_mins(5),
            ..nodes::Config::default()
        };
        let simulation = Simulation::new(client.clone(), nodes, Arc::new(clock)).unwrap();
        environment.spawn(simulation.run(stop.clone()));
        let chores = housekeeping::Config::default();
        environment.spawn(housekeeping::run(
            client.clone(),
            chores,
            Arc::new(clock),
            stop.clone(),
        ));
        let mut world = Self {
            client,
            clock,
            stop,
            environment,
            controllers: JoinSet::new(),
            _server: server,
        };
        world.restart();
        world
    }

    /// Ends the controllers without a word, and starts them anew.
    fn restart(&mut self) {
        self.controllers = JoinSet::new();
        let process = controller_process(self.client.clone(), self.clock, None, self.stop.clone());
        self.controllers.spawn(process);
    }

    async fn end(mut self) {
        self.stop.cancel();
        self.controllers.shutdown().await;
        self.environment.shutdown().await;
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Rolls `web:1` out to its end.
    async fn with_web(self, replicas: i32) -> Self {
        let web: Deployment = serde_json::from_value(json!({
            "metadata": { "name": "web" },
            "spec": {
                "replicas": replicas,
                "progressDeadlineSeconds": 60,
                "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
                "selector": { "matchLabels": { "app": "web" } },
                "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": { "containers": [{ "name": "c", "image": "web:1" }] },
                },
            },
        }))
        .unwrap();
        self.deployments()
            .create(&PostParams::default(), &web)
            .await
            .unwrap();
        self.until_sizes(&format!("web:1={replicas}")).await;
        self.until("complete", async || {
            let status = self.deployments().get("web").await.unwrap().status.unwrap();
            status.available_replicas == Some(replicas)
        })
        .await;
        self
    }

    async fn with_policy(self, spec: Value) -> Self {
        install(&self.client).await;
        let mut spec = spec;
        spec["deploymentSelector"] = json!({ "names": ["web"] });
        create(&self.client, "careful", spec).await;
        // The current revision is the one to go back to.
        self.until("the first mark", async || {
            let sets = self.sets().await;
            sets.iter().any(|it| it.annotations().contains_key(COMPLETE))
        })
        .await;
        self
    }

    async fn until(&self, what: &str, done: impl AsyncFn() -> bool) {
        let waiting = async {
            while !done().await {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            let web = self.deployments().get("web").await.unwrap();
            panic!("{what}: {} {}", self.sizes().await, json!(web));
        }
    }

    async fn merge(&self, patch: Value) {
        let params = PatchParams::default();
        self.deployments()
            .patch("web", &params, &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// A new template with that image, and that annotation on its pods.
    async fn roll_out(&self, image: &str, annotation: Option<(&str, &str)>) {
        let annotations = annotation.map(|(key, value)| json!({ (key): value }));
        self.merge(json!({ "spec": { "template": {
            "metadata": { "annotations": annotations },
            "spec": { "containers": [{ "name": "c", "image": image }] },
        } } }))
        .await;
    }

    async fn annotate(&self, key: &str, value: &str) {
        self.merge(json!({ "metadata": { "annotations": { (key): value } } }))
            .await;
    }

    async fn sets(&self) -> Vec<ReplicaSet> {
        let api: Api<ReplicaSet> = Api::namespaced(self.client.clone(), "default");
        api.list(&ListParams::default()).await.unwrap().items
    }

    /// Sizes by image, those of 0 left out: `web:1=9 web:2=1`.
    async fn sizes(&self) -> String {
        let mut all: Vec<String> = Vec::new();
        for set in self.sets().await {
            let spec = set.spec.unwrap();
            let pod = spec.template.unwrap().spec.unwrap();
            if let Some(size) = spec.replicas.filter(|size| *size > 0) {
                all.push(format!("{}={size}", pod.containers[0].image.as_deref().unwrap()));
            }
        }
        all.sort();
        all.join(" ")
    }

    async fn until_sizes(&self, want: &str) {
        self.until(want, async || self.sizes().await == want).await;
    }

    async fn until_phase(&self, want: Phase) {
        let api: Api<RolloutPolicy> = Api::namespaced(self.client.clone(), "default");
        self.until(&want.to_string(), async || {
            let policy = api.get("careful").await.unwrap();
            policy.status.and_then(|it| it.phase) == Some(want)
        })
        .await;
    }

    async fn image(&self) -> String {
        let spec = self.deployments().get("web").await.unwrap().spec.unwrap();
        spec.template.spec.unwrap().containers[0].image.clone().unwrap()
    }

    async fn events(&self, reason: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), "default");
        let all = api.list(&ListParams::default()).await.unwrap();
        let meant = all
            .items
            .into_iter()
            .filter(|it| it.reason.as_deref() == Some(reason));
        meant.filter_map(|it| it.message).collect()
    }
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn canary() -> Value {
    json!({ "steps": [{ "pods": 1 }, { "percent": 50, "pauseSeconds": 300 }] })
}

#[test]
fn ask_2_a_canary_waits_for_its_promotion_across_restarts() {
    deterministic(1, async {
        let mut world = World::start().with_web(6).await.with_policy(canary()).await;
        world.roll_out("web:2", None).await;
        world.until_phase(Phase::AwaitingPromotion).await;
        assert_eq!(world.sizes().await, "web:1=5 web:2=1");
        world.restart();
        sleep(3600).await;
        assert_eq!(
            world.sizes().await,
            "web:1=5 web:2=1",
            "another process waits as well"
        );

        world.annotate(PROMOTE, "2/1").await;
        world.until_phase(Phase::StepPaused).await;
        assert_eq!(world.sizes().await, "web:1=3 web:2=3");
        sleep(150).await;
        world.restart();
        sleep(100).await;
        assert_eq!(world.sizes().await, "web:1=3 web:2=3");
        sleep(60).await;
        world.until_phase(Phase::Complete).await;
        assert_eq!(world.sizes().await, "web:2=6", "the pause did not start anew");
        world.end().await;
    });
}

#[test]
fn ask_2_an_aborted_canary_goes_back() {
    deterministic(2, async {
        let world = World::start().with_web(6).await.with_policy(canary()).await;
        world.roll_out("web:2", None).await;
        world.until_phase(Phase::AwaitingPromotion).await;
        world.annotate(ABORT, "2").await;
        world.until_phase(Phase::RolledBack).await;
        world.until_sizes("web:1=6").await;
        assert_eq!(world.image().await, "web:1");
        assert_eq!(
            world.events("RolloutPolicyRollback").await,
            ["RolloutPolicy careful went back from revision 2 to revision 1: revision 2 was aborted"]
        );
        world.end().await;
    });
}

#[test]
fn ask_2_a_canary_keeps_its_size_when_the_deployment_is_scaled() {
    deterministic(3, async {
        let world = World::start().with_web(6).await.with_policy(canary()).await;
        world.roll_out("web:2", None).await;
        world.until_phase(Phase::AwaitingPromotion).await;
        for (replicas, want) in [(12, "web:1=11 web:2=1"), (3, "web:1=2 web:2=1")] {
            world.merge(json!({ "spec": { "replicas": replicas } })).await;
            world.until_sizes(want).await;
            sleep(60).await;
            assert_eq!(world.sizes().await, want);
        }
        world.end().await;
    });
}

#[test]
fn ask_1_a_missed_deadline_leads_back_once_per_revision() {
    deterministic(4, async {
        let spec = json!({ "autoRollback": {} });
        let mut world = World::start().with_web(3).await.with_policy(spec).await;
        world.roll_out("web:2", Some((READY, "false"))).await;
        world.until_sizes("web:1=3 web:2=1").await;
        world.restart();
        world.until_phase(Phase::RolledBack).await;
        world.until_sizes("web:1=3").await;
        let told = world.events("RolloutPolicyRollback").await;
        assert!(
            told.len() == 1 && told[0].contains("progress deadline"),
            "{told:?}"
        );
        let web = world.deployments().get("web").await.unwrap();
        assert!(web.annotations()[ROLLED_BACK].contains("ProgressDeadlineExceeded"));
        let conditions = web.status.unwrap().conditions.unwrap();
        assert!(
            conditions
                .iter()
                .any(|it| it.type_ == "steersman.dev/RolledBack" && it.status == "True")
        );

        world.roll_out("web:2", Some((READY, "false"))).await;
        world.until_phase(Phase::Failed).await;
        sleep(600).await;
        assert_eq!(world.image().await, "web:2");
        assert_eq!(world.events("RolloutPolicyRollback").await.len(), 1);
        world.end().await;
    });
}

#[test]
fn ask_1_a_crash_loop_leads_back_but_not_from_a_pause() {
    deterministic(5, async {
        let spec = json!({ "autoRollback": { "onProgressDeadline": false, "maxCrashLoopingPods": 0 } });
        let world = World::start().with_web(3).await.with_policy(spec).await;
        world.roll_out("web:2", Some((FAIL, "true"))).await;
        world
            .until("the new ReplicaSet", async || world.sets().await.len() == 2)
            .await;
        world.merge(json!({ "spec": { "paused": true } })).await;
        sleep(600).await;
        assert_eq!(world.image().await, "web:2", "a paused Deployment is left alone");
        world.merge(json!({ "spec": { "paused": false } })).await;
        world.until_phase(Phase::RolledBack).await;
        world.until_sizes("web:1=3").await;
        let told = world.events("RolloutPolicyRollback").await;
        assert!(told[0].contains("crash loop"), "{told:?}");
        world.end().await;
    });
}

#[test]
fn ask_2_batches_keep_their_distance() {
    deterministic(6, async {
        let spec = json!({ "minReadyBetweenBatchesSeconds": 120 });
        let world = World::start().with_web(3).await.with_policy(spec).await;
        world.roll_out("web:2", None).await;
        world.until_sizes("web:1=2 web:2=1").await;
        sleep(100).await;
        assert_eq!(world.sizes().await, "web:1=2 web:2=1");
        world.until_sizes("web:1=1 web:2=2").await;
        world.until_sizes("web:2=3").await;
        world.end().await;
    });
}

#[test]
fn ask_2_the_oldest_policy_holds_and_the_others_say_so() {
    deterministic(7, async {
        let world = World::start().with_web(3).await.with_policy(canary()).await;
        sleep(2).await;
        let all = json!({ "deploymentSelector": { "matchLabels": {} }, "autoRollback": {} });
        create(&world.client, "later", all).await;
        let nothing = json!({ "deploymentSelector": { "names": ["nobody"] }, "autoRollback": {} });
        create(&world.client, "idle", nothing).await;
        let api: Api<RolloutPolicy> = Api::namespaced(world.client.clone(), "default");
        let reason = async |name: &str, type_: &str| {
            let status = api.get(name).await.unwrap().status.unwrap_or_default();
            let found = status.conditions.into_iter().find(|it| it.type_ == type_);
            found.map(|it| (it.reason, it.message)).unwrap_or_default()
        };
        world
            .until("told", async || {
                reason("later", "Effective").await.0 == "OlderPolicyHolds"
            })
            .await;
        assert!(
            reason("later", "Effective")
                .await
                .1
                .contains("web follows careful")
        );
        assert_eq!(reason("careful", "Effective").await.0, "InForce");
        world
            .until("told", async || {
                reason("idle", "Selecting").await.0 == "NothingSelected"
            })
            .await;

        world
            .merge(json!({ "spec": { "strategy": { "type": "Recreate", "rollingUpdate": null } } }))
            .await;
        world
            .until("told", async || {
                reason("careful", "Effective").await.0 == "StepsNeedRollingUpdate"
            })
            .await;
        // Without the oldest the next one holds.
        api.delete("careful", &kube::api::DeleteParams::default())
            .await
            .unwrap();
        world
            .until("told", async || reason("later", "Effective").await.0 == "InForce")
            .await;
        world.end().await;
    });
}

#[test]
fn ask_2_without_the_definition_nothing_of_ours_is_written() {
    deterministic(8, async {
        let world = World::start().with_web(3).await;
        world.roll_out("web:2", None).await;
        world.until_sizes("web:2=3").await;
        for set in world.sets().await {
            assert!(
                set.annotations()
                    .keys()
                    .all(|key| !key.starts_with(ROLLOUT_PREFIX))
            );
        }
        // It may come later.
        let world = world.with_policy(canary()).await;
        world.roll_out("web:3", None).await;
        world.until_phase(Phase::AwaitingPromotion).await;
        // And go again.
        let api: Api<CustomResourceDefinition> = Api::all(world.client.clone());
        let name = RolloutPolicy::crd().name_any();
        api.delete(&name, &kube::api::DeleteParams::default())
            .await
            .unwrap();
        world.until_sizes("web:3=3").await;
        world.end().await;
    });
}

#[test]
fn sty_9_policies_with_kubectl_on_the_sandbox() {
    policies_with_kubectl(&Cluster::sandbox(3));
}

#[test]
fn sty_9_policies_with_kubectl_on_a_real_api_server() {
    if let Some(cluster) = Cluster::real(3) {
        policies_with_kubectl(&cluster);
    }
}

fn steersman(cluster: &Cluster, args: &str) -> Output {
    Command::new(STEERSMAN)
        .args(args.split_whitespace())
        .args(["--kubeconfig", cluster.kubeconfig.to_str().unwrap()])
        .output()
        .unwrap()
}

/// What a verb prints when it succeeds.
fn says(cluster: &Cluster, args: &str) -> String {
    let output = steersman(cluster, args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "steersman {args}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn complains(cluster: &Cluster, args: &str) -> String {
    let output = steersman(cluster, args);
    assert!(!output.status.success(), "steersman {args} succeeded");
    String::from_utf8(output.stderr).unwrap()
}

fn policies_with_kubectl(cluster: &Cluster) {
    let minute = Duration::from_mins(1);
    // Without the definition the controllers are ready all the same.
    let _run = cluster.run_steersman_with(&[
        "--mode",
        "all=active",
        "--scheduler-name",
        "default-scheduler",
        "--no-leader-election",
        "--no-native-controller-manager",
    ]);
    cluster.kubectl("create deployment web --image=web:1 --replicas=4");
    cluster.kubectl("rollout status deployment/web --timeout=60s");
    let definitions = cluster.dir.path().join("crds.yaml");
    std::fs::write(&definitions, says_without_cluster("crds")).unwrap();
    cluster.kubectl(&format!(
        "apply --server-side --force-conflicts -f {}",
        definitions.display()
    ));
    cluster.kubectl("wait --for=condition=Established crd/rolloutpolicies.steersman.dev --timeout=30s");

    contradictions_are_refused(cluster);

    let complaint = complains(cluster, "rollout promote default/web");
    assert!(
        complaint.contains("no RolloutPolicy of namespace default selects"),
        "{complaint}"
    );
    cluster.apply(
        &json!({ "apiVersion": "steersman.dev/v1alpha1", "kind": "RolloutPolicy",
        "metadata": { "name": "careful" },
        "spec": { "deploymentSelector": { "matchLabels": { "app": "web" } },
            "autoRollback": { "maxPodRestarts": 5 }, "steps": [{ "pods": 1 }] } }),
    );
    let columns = |it: &Cluster| {
        let row = it.kubectl("get rpol careful --no-headers");
        row.split_whitespace()
            .take(4)
            .map(str::to_owned)
            .collect::<Vec<_>>()
            .join(" ")
    };
    cluster.wait("the policy in force", minute, |it| {
        columns(it).starts_with("careful 1 Complete")
    });
    let complaint = complains(cluster, "rollout promote web");
    assert!(complaint.contains("there is nothing to promote"), "{complaint}");
    cluster.kubectl("set image deployment/web web=web:2");
    cluster.wait("the step", minute, |it| {
        columns(it) == "careful 1 AwaitingPromotion 1/1"
    });
    let status = says(cluster, "rollout status web");
    assert!(
        status.starts_with("Deployment default/web: AwaitingPromotion, revision 2, step 1 of 1"),
        "{status}"
    );
    let explained = says(cluster, "explain deployment web");
    assert!(
        explained.contains("waits at step 1 of 1 for a promotion"),
        "{explained}"
    );
    // kubectl waits as for any rollout under way.
    let waiting = cluster.try_kubectl(&["rollout", "status", "deployment/web", "--timeout=1s"]);
    assert!(!waiting.status.success());
    says(cluster, "rollout promote default/web");
    cluster.kubectl("rollout status deployment/web --timeout=60s");
    cluster.kubectl("set image deployment/web web=web:3");
    cluster.wait("the step", minute, |it| {
        columns(it) == "careful 1 AwaitingPromotion 1/1"
    });
    cluster.kubectl("rollout pause deployment/web");
    cluster.wait("the pause", minute, |it| {
        columns(it).starts_with("careful 1 Paused")
    });
    let complaint = complains(cluster, "rollout abort default/web");
    assert!(
        complaint.contains("kubectl rollout resume deployment/web -n default first"),
        "{complaint}"
    );
    cluster.kubectl("rollout resume deployment/web");
    cluster.wait("the step", minute, |it| {
        columns(it) == "careful 1 AwaitingPromotion 1/1"
    });
    says(cluster, "rollout abort default/web");
    cluster.wait("the way back", minute, |it| {
        columns(it).starts_with("careful 1 RolledBack")
    });
    cluster.kubectl("rollout status deployment/web --timeout=60s");
    let web = cluster.get("deployment web");
    assert_eq!(web["spec"]["template"]["spec"]["containers"][0]["image"], "web:2");
    assert_eq!(
        web["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
        "4"
    );
}

fn contradictions_are_refused(cluster: &Cluster) {
    let minute = Duration::from_mins(1);
    for (spec, problem) in REFUSED {
        let policy = cluster.dir.path().join("refused.json");
        let spec: Value = serde_json::from_str(spec).unwrap();
        let object = json!({ "apiVersion": "steersman.dev/v1alpha1", "kind": "RolloutPolicy",
            "metadata": { "name": "refused" }, "spec": spec });
        std::fs::write(&policy, object.to_string()).unwrap();
        cluster.wait("the kind to be served", minute, |it| {
            it.try_kubectl(&["get", "rolloutpolicies"]).status.success()
        });
        let output = cluster.try_kubectl(&["create", "-f", policy.to_str().unwrap()]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{spec} was accepted");
        assert_eq!(
            error.trim(),
            format!("The RolloutPolicy \"refused\" is invalid: {problem}"),
            "{spec}"
        );
    }
}

fn says_without_cluster(verb: &str) -> String {
    let output = Command::new(STEERSMAN).arg(verb).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// Specs that contradict themselves, and what both API servers say.
const REFUSED: [(&str, &str); 9] = [
    (
        r#"{"deploymentSelector": {"names": ["a"]}}"#,
        "spec: Invalid value: spec asks for nothing: set autoRollback, steps or minReadyBetweenBatchesSeconds",
    ),
    (
        r#"{"deploymentSelector": {}, "autoRollback": {}}"#,
        "spec.deploymentSelector: Invalid value: deploymentSelector selects by names or by labels: give either names, or \
         matchLabels and matchExpressions; for both write two policies",
    ),
    (
        r#"{"deploymentSelector": {"names": ["a"], "matchLabels": {"b": "c"}}, "autoRollback": {}}"#,
        "spec.deploymentSelector: Invalid value: deploymentSelector selects by names or by labels: give either names, or \
         matchLabels and matchExpressions; for both write two policies",
    ),
    (
        r#"{"deploymentSelector": {"names": ["a"]}, "autoRollback": {"onProgressDeadline": false}}"#,
        "spec.autoRollback: Invalid value: autoRollback has no trigger: set onProgressDeadline to true, or maxPodRestarts \
         or maxCrashLoopingPods",
    ),
    (
        r#"{"deploymentSelector": {"names": ["a"]}, "steps": [{"pauseSeconds": 5}]}"#,
        "spec.steps[0]: Invalid value: a step asks for a number of pods or for a percentage: give either pods or percent",
    ),
    (
        r#"{"deploymentSelector": {"names": ["a"]}, "steps": [{"pods": 1, "percent": 5}]}"#,
        "spec.steps[0]: Invalid value: a step asks for a number of pods or for a percentage: give either pods or percent",
    ),
    (
        r#"{"deploymentSelector": {"names": ["a"]}, "steps": [{"percent": 100}]}"#,
        "spec.steps[0].percent: Invalid value: 100: spec.steps[0].percent in body should be less than or equal to 99",
    ),
    (
        r#"{"deploymentSelector": {"names": ["a"]}, "steps": [{"percent": 50}, {"percent": 20}]}"#,
        "spec.steps: Invalid value: steps: pods or percent become fewer from one step to a later one: sort the steps, \
         ascending",
    ),
    (
        r#"{"deploymentSelector": {"names": ["a"]}, "steps": [{"pods": 2}, {"pods": 2}]}"#,
        "spec.steps: Invalid value: steps: two steps ask for the same pods or percent: keep one of them",
    ),
];
