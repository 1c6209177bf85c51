//! What Deployments and ReplicaSets become in a whole cluster: the controllers, the sandbox and its nodes in one
//! thread on paused time, without faults. Objects are raw JSON, so that fields without a type of ours count.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use steersman_sandbox::clock::{Clock as _, TokioClock};
use steersman_sandbox::nodes::{self, STOP_AFTER, Simulation};
use steersman_sandbox::{Config, Server, housekeeping};
use steersman_shared::objects::{Deployment, Uid};
use steersman_shared::ownership;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::simulation::{START, controller_process, deterministic};

/// Longest time, on the paused clock, that anything here may take.
const PATIENCE: Duration = Duration::from_mins(5);
/// A field that no version of the API has.
const INVENTED: &str = "fromTheFuture";

/// A cluster in memory with every controller.
struct Cluster {
    client: Client,
    clock: TokioClock,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    _server: Server,
}

/// What the API server checks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checks {
    /// As kube-apiserver does.
    All,
    /// Nothing: it stores what it is sent, as if an older or a newer one had let it through.
    None,
}

impl Cluster {
    fn start(checks: Checks) -> Self {
        Self::start_with(checks, housekeeping::Config::default())
    }

    fn start_with(checks: Checks, chores: housekeeping::Config) -> Self {
        let clock = TokioClock::starting_at(START.parse().unwrap());
        let config = Config {
            validation: checks == Checks::All,
            seed: Some(1),
            clock: Arc::new(clock),
            managed_fields: false,
            ..Config::default()
        };
        let server = Server::start(config).unwrap();
        let (client, stop) = (server.client(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let nodes = nodes::Config {
            count: 3,
            lease_interval: Duration::from_mins(5),
            ..nodes::Config::default()
        };
        let simulation = Simulation::new(client.clone(), nodes, Arc::new(clock)).unwrap();
        tasks.spawn(simulation.run(stop.clone()));
        tasks.spawn(housekeeping::run(
            client.clone(),
            chores,
            Arc::new(clock),
            stop.clone(),
        ));
        tasks.spawn(controller_process(client.clone(), clock, None, stop.clone()));
        Self {
            client,
            clock,
            stop,
            tasks,
            _server: server,
        }
    }

    async fn end(mut self) {
        self.stop.cancel();
        self.tasks.shutdown().await;
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn api_in(&self, namespace: &str, kind: &str) -> Api<DynamicObject> {
        let group = if ["Deployment", "ReplicaSet"].contains(&kind) {
            "apps"
        } else {
            ""
        };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
        if kind == "Namespace" {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        self.api_in("default", kind)
    }

    async fn create(&self, kind: &str, object: &Value) -> Value {
        let object = serde_json::from_value(object.clone()).unwrap();
        json!(
            self.api(kind)
                .create(&PostParams::default(), &object)
                .await
                .unwrap()
        )
    }

    async fn merge(&self, kind: &str, name: &str, patch: &Value) -> Value {
        let patch = Patch::Merge(patch);
        json!(
            self.api(kind)
                .patch(name, &PatchParams::default(), &patch)
                .await
                .unwrap()
        )
    }

    async fn get(&self, kind: &str, name: &str) -> Value {
        json!(self.api(kind).get(name).await.unwrap())
    }

    /// By name.
    async fn list(&self, kind: &str) -> Vec<Value> {
        let mut items = self.api(kind).list(&ListParams::default()).await.unwrap().items;
        items.sort_by_key(ResourceExt::name_any);
        items.iter().map(|it| json!(it)).collect()
    }

    /// Those that are not on their way out.
    async fn pods(&self) -> Vec<Value> {
        let mut pods = self.list("Pod").await;
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods
    }

    /// Reasons and messages of the events about objects of that kind.
    async fn events(&self, kind: &str) -> Vec<(String, String)> {
        let events = self.list("Event").await.into_iter();
        let about = events.filter(|it| it["involvedObject"]["kind"] == kind);
        about
            .map(|it| (text(&it, "/reason").to_owned(), text(&it, "/message").to_owned()))
            .collect()
    }

    /// Looks again and again until the condition holds.
    async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds(self).await {
                pass(Duration::from_millis(100)).await;
            }
        });
        if waited.await.is_err() {
            let mut state = Vec::new();
            for kind in ["Deployment", "ReplicaSet", "Pod", "Event"] {
                state.extend(self.list(kind).await.iter().map(summary));
            }
            panic!("{what}: not within {PATIENCE:?}\n{}", state.join("\n"));
        }
    }

    /// Until the Deployment is rolled out as its spec says.
    async fn until_complete(&self, name: &str) {
        self.until(&format!("{name} is rolled out"), async |it| {
            is_complete(&it.get("Deployment", name).await)
        })
        .await;
    }
}

/// The clock of the test is paused: this takes no time, but lets everything else happen that is due by then.
async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

fn summary(object: &Value) -> String {
    let kind = text(object, "/kind");
    let (name, message) = (text(object, "/metadata/name"), text(object, "/message"));
    format!("{kind} {name} {message} {}", object["status"])
}

fn is_complete(deployment: &Value) -> bool {
    let wanted = number(deployment, "/spec/replicas");
    let counts = ["replicas", "updatedReplicas", "availableReplicas"];
    number(deployment, "/status/observedGeneration") == number(deployment, "/metadata/generation")
        && counts
            .iter()
            .all(|count| number(deployment, &format!("/status/{count}")) == wanted)
}

fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|it| it["type"] == type_)
}

fn controller(object: &Value) -> Vec<&str> {
    let references = object["metadata"]["ownerReferences"].as_array();
    let all = references.into_iter().flatten();
    all.filter(|it| it["controller"] == true)
        .map(|it| text(it, "/name"))
        .collect()
}

fn template(image: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "main", "image": image }], "terminationGracePeriodSeconds": 5 },
    })
}

fn workload(kind: &str, name: &str, replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": "web" } },
            "template": template(image),
        },
    })
}

fn deployment(name: &str, replicas: u32, image: &str) -> Value {
    workload("Deployment", name, replicas, image)
}

fn set(name: &str, replicas: u32, image: &str) -> Value {
    workload("ReplicaSet", name, replicas, image)
}

/// The revision of a ReplicaSet, if its Deployment gave it one.
fn revision(set: &Value) -> &str {
    text(set, "/metadata/annotations/deployment.kubernetes.io~1revision")
}

/// What a spec has of the invented field, in the spec and in its first container.
fn invented(pod_spec: &Value) -> [&Value; 2] {
    [&pod_spec[INVENTED], &pod_spec["containers"][0][INVENTED]]
}

#[test]
fn rs_2_dep_95_a_field_that_nobody_knows_survives_rollouts_scaling_and_rollbacks() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::None);
        let (first, second) = (json!({ "deep": [1, { "er": "x" }] }), json!([true, "two"]));
        let mut web = deployment("web", 2, "web:1");
        web["spec"]["template"]["spec"][INVENTED] = first.clone();
        web["spec"]["template"]["spec"]["containers"][0][INVENTED] = first.clone();
        cluster.create("Deployment", &web).await;
        cluster.until_complete("web").await;

        let check = async |want: &Value, pods: usize, revision_of_it: &str| {
            let sets = cluster.list("ReplicaSet").await;
            let set = sets.iter().find(|it| revision(it) == revision_of_it).unwrap();
            assert_eq!(invented(&set["spec"]["template"]["spec"]), [want; 2]);
            let all = cluster.pods().await;
            assert_eq!(all.len(), pods);
            for pod in &all {
                assert_eq!(
                    invented(&pod["spec"]),
                    [want; 2],
                    "{}",
                    text(pod, "/metadata/name")
                );
            }
        };
        check(&first, 2, "1").await;

        cluster
            .merge("Deployment", "web", &json!({ "spec": { "replicas": 3 } }))
            .await;
        cluster.until_complete("web").await;
        check(&first, 3, "1").await;

        // The invented field alone makes another template.
        let containers = json!([{ "name": "main", "image": "web:1", INVENTED: second }]);
        let spec = json!({ INVENTED: second, "containers": containers });
        let patch = json!({ "spec": { "template": { "spec": spec } } });
        cluster.merge("Deployment", "web", &patch).await;
        cluster.until_complete("web").await;
        check(&second, 3, "2").await;

        let request = json!({ "metadata": { "annotations": { "deprecated.deployment.rollback.to": "1" } } });
        cluster.merge("Deployment", "web", &request).await;
        cluster
            .until("rolled back", async |it| {
                let web = it.get("Deployment", "web").await;
                invented(&web["spec"]["template"]["spec"]) == [&first; 2] && is_complete(&web)
            })
            .await;
        check(&first, 3, "3").await;
        assert_eq!(cluster.list("ReplicaSet").await.len(), 2, "DEP-96: no third one");
        cluster.end().await;
    });
}

#[test]
fn rs_17_inv_5_a_second_controller_is_refused() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::All);
        cluster.create("Deployment", &deployment("web", 1, "web:1")).await;
        cluster.until_complete("web").await;
        let set = cluster.list("ReplicaSet").await.remove(0);
        let (name, uid) = (
            text(&set, "/metadata/name"),
            Uid(text(&set, "/metadata/uid").into()),
        );
        let mut other: Deployment = serde_json::from_value(deployment("other", 1, "web:1")).unwrap();
        other.metadata.uid = Some("other".to_owned());
        let patch = Patch::Strategic(ownership::adopt_patch(&other, &uid));
        let answer = cluster
            .api("ReplicaSet")
            .patch(name, &PatchParams::default(), &patch)
            .await;
        assert!(matches!(answer, Err(kube::Error::Api(status)) if status.code == 422));
        assert_eq!(controller(&cluster.get("ReplicaSet", name).await), ["web"]);
        cluster.end().await;
    });
}

#[test]
fn rs_12_rs_13_rs_69_a_pod_is_released_replaced_and_adopted_again() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::All);
        cluster.create("ReplicaSet", &set("web", 2, "web:1")).await;
        cluster
            .until("2 pods", async |it| it.pods().await.len() == 2)
            .await;
        let label = |app: &str| json!({ "metadata": { "labels": { "app": app } } });
        let name = text(&cluster.pods().await[0], "/metadata/name").to_owned();
        cluster.merge("Pod", &name, &label("lost")).await;
        cluster
            .until("released and replaced", async |it| {
                it.pods().await.len() == 3 && controller(&it.get("Pod", &name).await).is_empty()
            })
            .await;
        cluster
            .merge("ReplicaSet", "web", &json!({ "spec": { "replicas": 3 } }))
            .await;
        cluster
            .until("4 pods", async |it| it.pods().await.len() == 4)
            .await;
        cluster.merge("Pod", &name, &label("web")).await;
        cluster
            .until("adopted, and one is too many", async |it| {
                let pods = it.pods().await;
                pods.len() == 3 && pods.iter().all(|pod| controller(pod) == ["web"])
            })
            .await;
        cluster.end().await;
    });
}

#[test]
fn rs_70_replica_sets_with_overlapping_selectors_do_not_fight() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::All);
        let orphan = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": "orphan", "labels": { "app": "web" } },
            "spec": { "containers": [{ "name": "main", "image": "web:1" }] },
        });
        cluster.create("Pod", &orphan).await;
        for name in ["one", "two"] {
            cluster.create("ReplicaSet", &set(name, 3, "web:1")).await;
        }
        let count = |pods: &[Value], name: &str| pods.iter().filter(|it| controller(it) == [name]).count();
        cluster
            .until("3 pods each", async |it| {
                let pods = it.pods().await;
                (count(&pods, "one"), count(&pods, "two"), pods.len()) == (3, 3, 6)
            })
            .await;
        let names = |pods: Vec<Value>| -> Vec<String> {
            pods.iter()
                .map(|it| text(it, "/metadata/uid").to_owned())
                .collect()
        };
        let before = names(cluster.pods().await);
        pass(Duration::from_mins(10)).await;
        assert_eq!(names(cluster.pods().await), before, "nobody takes from nobody");
        assert!(
            cluster
                .pods()
                .await
                .iter()
                .any(|it| text(it, "/metadata/name") == "orphan")
        );
        cluster.end().await;
    });
}

#[test]
fn dep_108_deployments_with_overlapping_selectors_do_not_fight() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::All);
        for name in ["one", "two"] {
            cluster.create("Deployment", &deployment(name, 2, name)).await;
        }
        cluster.until_complete("one").await;
        cluster.until_complete("two").await;
        let patch = |image: &str| json!({ "spec": { "template": template(image) } });
        cluster.merge("Deployment", "one", &patch("one:2")).await;
        cluster.until_complete("one").await;
        pass(Duration::from_mins(10)).await;
        assert!(is_complete(&cluster.get("Deployment", "two").await));
        let sets = cluster.list("ReplicaSet").await;
        let of = |owner: &str| sets.iter().filter(|it| controller(it) == [owner]).count();
        assert_eq!((of("one"), of("two"), sets.len()), (2, 1, 3));
        let events = cluster.events("Deployment").await;
        assert!(
            events.iter().all(|(reason, _)| reason == "ScalingReplicaSet"),
            "{events:?}"
        );
        cluster.end().await;
    });
}

#[test]
fn dep_107_dep_109_a_set_made_by_hand_is_adopted_as_it_is() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::All);
        let mut by_hand = set("by-hand", 2, "web:1");
        by_hand["metadata"]["labels"] = json!({ "app": "web" });
        cluster.create("ReplicaSet", &by_hand).await;
        cluster
            .until("2 pods", async |it| it.pods().await.len() == 2)
            .await;
        let before: Vec<Value> = cluster
            .pods()
            .await
            .iter()
            .map(|it| it["metadata"]["uid"].clone())
            .collect();
        cluster.create("Deployment", &deployment("web", 2, "web:1")).await;
        cluster.until_complete("web").await;
        let sets = cluster.list("ReplicaSet").await;
        assert_eq!(sets.len(), 1, "used as the new one");
        assert_eq!(controller(&sets[0]), ["web"]);
        assert_eq!(
            sets[0]["metadata"]["labels"],
            json!({ "app": "web" }),
            "not relabelled"
        );
        assert_eq!(sets[0]["spec"]["selector"], by_hand["spec"]["selector"]);
        let after: Vec<Value> = cluster
            .pods()
            .await
            .iter()
            .map(|it| it["metadata"]["uid"].clone())
            .collect();
        assert_eq!(after, before, "no pod restarts");

        let patch = json!({ "spec": { "template": template("web:2") } });
        cluster.merge("Deployment", "web", &patch).await;
        cluster.until_complete("web").await;
        let old = cluster.get("ReplicaSet", "by-hand").await;
        assert_eq!(number(&old, "/spec/replicas"), 0);

        // One that comes later, with another template, is an old one: it is scaled down and makes no pods.
        let mut stray = set("stray", 0, "web:9");
        stray["metadata"]["labels"] = json!({ "app": "web" });
        stray["spec"]["replicas"] = json!(0);
        cluster.create("ReplicaSet", &stray).await;
        cluster
            .until("adopted", async |it| {
                controller(&it.get("ReplicaSet", "stray").await) == ["web"]
            })
            .await;
        assert_eq!(cluster.pods().await.len(), 2);
        cluster.end().await;
    });
}

#[test]
fn dep_19_a_name_that_is_taken_makes_another_one() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::All);
        cluster.create("Deployment", &deployment("web", 2, "web:1")).await;
        cluster.until_complete("web").await;
        let taken = text(&cluster.list("ReplicaSet").await[0], "/metadata/name").to_owned();
        let foreground = DeleteParams::foreground();
        let _ = cluster
            .api("Deployment")
            .delete("web", &foreground)
            .await
            .unwrap();
        cluster
            .until("everything is gone", async |it| {
                it.list("Deployment").await.is_empty() && it.list("ReplicaSet").await.is_empty()
            })
            .await;
        let mut foreign = set(&taken, 1, "other:1");
        let labels = json!({ "app": "other" });
        foreign["spec"]["selector"]["matchLabels"] = labels.clone();
        foreign["spec"]["template"]["metadata"]["labels"] = labels;
        let before = cluster.create("ReplicaSet", &foreign).await;

        cluster.create("Deployment", &deployment("web", 2, "web:1")).await;
        cluster.until_complete("web").await;
        let web = cluster.get("Deployment", "web").await;
        assert_eq!(number(&web, "/status/collisionCount"), 1);
        let sets = cluster.list("ReplicaSet").await;
        let names: Vec<_> = sets.iter().map(|it| text(it, "/metadata/name")).collect();
        assert!(sets.len() == 2 && names.contains(&taken.as_str()), "{names:?}");
        let after = cluster.get("ReplicaSet", &taken).await;
        assert_eq!(after["spec"], before["spec"], "the foreign one is left alone");
        assert!(controller(&after).is_empty());
        let events = cluster.events("Deployment").await;
        assert!(
            events.iter().all(|(reason, _)| reason == "ScalingReplicaSet"),
            "{events:?}"
        );
        cluster.end().await;
    });
}

#[test]
fn dep_110_a_status_that_somebody_else_wrote_is_computed_again() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::All);
        cluster.create("Deployment", &deployment("web", 2, "web:1")).await;
        cluster.until_complete("web").await;
        pass(Duration::from_mins(1)).await;
        let before = cluster.get("Deployment", "web").await["status"].clone();
        let patch =
            Patch::Merge(json!({ "status": { "replicas": 7, "readyReplicas": 7, "availableReplicas": 7 } }));
        let params = PatchParams::default();
        let patched = cluster
            .api("Deployment")
            .patch_status("web", &params, &patch)
            .await;
        assert_eq!(number(&json!(patched.unwrap()), "/status/replicas"), 7);
        cluster
            .until("the status is as before", async |it| {
                let status = it.get("Deployment", "web").await["status"].clone();
                ["replicas", "readyReplicas", "availableReplicas"]
                    .iter()
                    .all(|key| status[*key] == before[*key])
            })
            .await;
        cluster.end().await;
    });
}

#[test]
fn dep_58_dep_61_recreate_goes_on_as_soon_as_the_last_old_pod_is_gone() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::All);
        let mut web = deployment("web", 3, "web:1");
        web["spec"]["strategy"] = json!({ "type": "Recreate" });
        web["spec"]["template"]["metadata"]["annotations"] = json!({ STOP_AFTER: "4s" });
        cluster.create("Deployment", &web).await;
        cluster.until_complete("web").await;
        pass(Duration::from_mins(1)).await;

        let started = cluster.now();
        let containers = json!([{ "name": "main", "image": "web:2" }]);
        let patch = json!({ "spec": { "template": { "spec": { "containers": containers } } } });
        cluster.merge("Deployment", "web", &patch).await;
        let image = |pod: &Value| text(pod, "/spec/containers/0/image").to_owned();
        cluster
            .until("new pods", async |it| {
                let all = it.list("Pod").await;
                let is_new = |pod: &Value| image(pod) == "web:2";
                let has_new = all.iter().any(is_new);
                assert!(
                    !has_new || all.iter().all(is_new),
                    "old and new pods at the same time"
                );
                has_new
            })
            .await;
        let waited = cluster.now().duration_since(started);
        assert!(
            (4..7).contains(&waited.as_secs()),
            "{waited:?}: woken by the pods, not by time"
        );
        cluster.until_complete("web").await;
        cluster.end().await;
    });
}

#[test]
fn rs_39_rs_40_a_quota_that_lets_some_pods_through_is_told_and_obeyed_and_watched() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::All);
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "few" },
            "spec": { "hard": { "pods": "2" } },
        });
        cluster.create("ResourceQuota", &quota).await;
        pass(Duration::from_secs(5)).await;
        cluster.create("Deployment", &deployment("web", 5, "web:1")).await;
        cluster
            .until("the failure is reported", async |it| {
                condition(&it.get("Deployment", "web").await, "ReplicaFailure").is_some()
            })
            .await;
        let set = cluster.list("ReplicaSet").await.remove(0);
        let failure = condition(&set, "ReplicaFailure").unwrap();
        assert_eq!(
            (text(failure, "/status"), text(failure, "/reason")),
            ("True", "FailedCreate")
        );
        assert!(
            text(failure, "/message").contains("exceeded quota: few"),
            "{failure}"
        );
        // By now the key backs off for many minutes.
        pass(Duration::from_mins(30)).await;
        assert_eq!(cluster.pods().await.len(), 2, "as many as the quota lets through");
        let events = cluster.events("ReplicaSet").await;
        assert!(
            events
                .iter()
                .any(|(reason, message)| reason == "FailedCreate" && message.contains("exceeded quota: few")),
            "{events:?}"
        );
        let raised = cluster.now();
        let patch = json!({ "spec": { "hard": { "pods": "9" } } });
        cluster.merge("ResourceQuota", "few", &patch).await;
        cluster.until_complete("web").await;
        let waited = cluster.now().duration_since(raised);
        assert!(waited.as_secs() < 30, "{waited:?}: woken by the quota");
        cluster
            .until("the failure is over", async |it| {
                condition(&it.get("Deployment", "web").await, "ReplicaFailure").is_none()
            })
            .await;
        cluster.end().await;
    });
}

#[test]
fn rs_38_dep_20_a_terminating_namespace_is_nobodys_failure() {
    deterministic(1, async {
        // Without the part that empties namespaces, this one stays as it is.
        let chores = housekeeping::Config {
            namespaces: false,
            ..housekeeping::Config::default()
        };
        let cluster = Cluster::start_with(Checks::All, chores);
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "ending" } });
        cluster.create("Namespace", &namespace).await;
        let api = |kind: &str| cluster.api_in("ending", kind);
        let deployments = api("Deployment");
        for name in ["scaled", "changed"] {
            let object = serde_json::from_value(deployment(name, 1, "web:1")).unwrap();
            deployments.create(&PostParams::default(), &object).await.unwrap();
        }
        let complete = async |name: &str| is_complete(&json!(deployments.get(name).await.unwrap()));
        cluster
            .until("rolled out", async |_| {
                complete("scaled").await && complete("changed").await
            })
            .await;
        let namespaces = cluster.api("Namespace");
        let _ = namespaces
            .delete("ending", &DeleteParams::default())
            .await
            .unwrap();
        let merge = async |name: &str, patch: Value| {
            let patch = Patch::Merge(patch);
            deployments
                .patch(name, &PatchParams::default(), &patch)
                .await
                .unwrap();
        };
        merge("scaled", json!({ "spec": { "replicas": 3 } })).await;
        merge("changed", json!({ "spec": { "template": template("web:2") } })).await;
        pass(Duration::from_mins(3)).await;
        for name in ["scaled", "changed"] {
            let stored = json!(deployments.get(name).await.unwrap());
            assert!(condition(&stored, "ReplicaFailure").is_none(), "{stored}");
            let progressing = condition(&stored, "Progressing").unwrap();
            assert_ne!(text(progressing, "/reason"), "ReplicaSetCreateError");
        }
        let sets = api("ReplicaSet").list(&ListParams::default()).await.unwrap();
        assert_eq!(sets.items.len(), 2, "none was created");
        for set in sets.items.iter().map(|it| json!(it)) {
            assert!(condition(&set, "ReplicaFailure").is_none(), "{set}");
        }
        cluster.end().await;
    });
}

type Change<'a> = &'a dyn Fn(&mut Value);

#[test]
fn dep_1_dep_36_rs_6_what_the_api_server_should_have_refused_is_named_to_users() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::None);
        let web = |name: &str, change: &dyn Fn(&mut Value)| {
            let mut object = deployment(name, 2, "web:1");
            object["spec"]["selector"]["matchLabels"] = json!({ "app": name });
            object["spec"]["template"]["metadata"]["labels"] = json!({ "app": name });
            change(&mut object["spec"]);
            object
        };
        let cases: [(&str, Change<'_>, &str); 4] = [
            (
                "mismatch",
                &|spec| spec["template"]["metadata"]["labels"] = json!({ "app": "other" }),
                "spec.selector does not match spec.template.metadata.labels",
            ),
            (
                "strategy",
                &|spec| spec["strategy"] = json!({ "type": "Sideways" }),
                "spec.strategy.type: \"Sideways\" is not known; use RollingUpdate or Recreate",
            ),
            (
                "surge",
                &|spec| {
                    spec["strategy"] =
                        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "abc" } });
                },
                "spec.strategy.rollingUpdate.maxSurge: \"abc\" is neither a number nor a percentage",
            ),
            (
                "operator",
                &|spec| spec["selector"]["matchExpressions"] = json!([{ "key": "a", "operator": "Near" }]),
                "spec.selector: ",
            ),
        ];
        for (name, change, _) in &cases {
            cluster.create("Deployment", &web(name, *change)).await;
        }
        let mut odd = set("odd", 2, "web:1");
        odd["spec"]["selector"]["matchLabels"] = json!({ "app": "nothing" });
        cluster.create("ReplicaSet", &odd).await;
        let mut unreadable = set("unreadable", 2, "web:1");
        unreadable["spec"]["selector"] = json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] });
        cluster.create("ReplicaSet", &unreadable).await;
        pass(Duration::from_mins(10)).await;

        let events = cluster.list("Event").await;
        let about = |name: &str, reason: &str| -> Vec<&Value> {
            let about = |it: &&Value| text(it, "/involvedObject/name") == name && it["reason"] == reason;
            events.iter().filter(about).collect()
        };
        for (name, _, message) in &cases {
            let told = about(name, "InvalidSpec");
            assert_eq!(told.len(), 1, "{name}: {told:?}");
            assert!(
                text(told[0], "/message").starts_with(message),
                "{name}: {}",
                told[0]["message"]
            );
            assert!(
                number(told[0], "/count") <= 20,
                "{name}: no hot loop: {}",
                told[0]["count"]
            );
        }
        assert_eq!(about("unreadable", "InvalidSpec").len(), 1);
        assert!(!about("odd", "FailedCreate").is_empty());
        let odd = cluster.get("ReplicaSet", "odd").await;
        let failure = condition(&odd, "ReplicaFailure").unwrap();
        assert!(
            text(failure, "/message").contains("spec.selector does not match"),
            "{failure}"
        );
        assert_eq!(
            condition(&cluster.get("ReplicaSet", "unreadable").await, "ReplicaFailure"),
            None
        );
        assert!(cluster.pods().await.is_empty());
        assert_eq!(cluster.list("ReplicaSet").await.len(), 2, "none was created");
        cluster.end().await;
    });
}

#[test]
fn dep_28_dep_30_unreadable_annotations_are_told_once_and_replaced_by_the_next_write() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::All);
        cluster.create("Deployment", &deployment("web", 2, "web:1")).await;
        cluster.until_complete("web").await;
        let name = text(&cluster.list("ReplicaSet").await[0], "/metadata/name").to_owned();
        let desired = "deployment.kubernetes.io/desired-replicas";
        let garbage = json!({ "metadata": { "annotations": { desired: "lots" } } });
        cluster.merge("ReplicaSet", &name, &garbage).await;
        pass(Duration::from_mins(5)).await;
        let told: Vec<_> = cluster
            .list("Event")
            .await
            .into_iter()
            .filter(|it| it["reason"] == "InvalidAnnotation")
            .collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let message = text(&told[0], "/message");
        assert!(
            message.contains(desired) && message.contains("\"lots\""),
            "{message}"
        );
        assert_eq!(number(&told[0], "/count"), 1);

        cluster
            .merge("Deployment", "web", &json!({ "spec": { "replicas": 4 } }))
            .await;
        cluster.until_complete("web").await;
        let set = cluster.get("ReplicaSet", &name).await;
        assert_eq!(set["metadata"]["annotations"][desired], "4");
        cluster.end().await;
    });
}

#[test]
fn dep_3_rs_14_an_orphaned_set_runs_on_and_is_adopted_by_the_next_deployment() {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::All);
        cluster.create("Deployment", &deployment("web", 3, "web:1")).await;
        cluster.until_complete("web").await;
        let uids = async |kind: &str| -> Vec<Value> {
            let all = cluster.list(kind).await;
            all.iter().map(|it| it["metadata"]["uid"].clone()).collect()
        };
        let before = (uids("ReplicaSet").await, uids("Pod").await);
        let orphaning = DeleteParams::orphan();
        let _ = cluster.api("Deployment").delete("web", &orphaning).await.unwrap();
        cluster
            .until("orphaned", async |it| {
                it.list("Deployment").await.is_empty()
                    && controller(&it.list("ReplicaSet").await[0]).is_empty()
            })
            .await;
        pass(Duration::from_mins(1)).await;
        assert_eq!((uids("ReplicaSet").await, uids("Pod").await), before);
        cluster.create("Deployment", &deployment("web", 3, "web:1")).await;
        cluster.until_complete("web").await;
        assert_eq!(
            (uids("ReplicaSet").await, uids("Pod").await),
            before,
            "nothing restarts"
        );
        assert_eq!(controller(&cluster.list("ReplicaSet").await[0]), ["web"]);
        cluster.end().await;
    });
}

fn goes_with_everything(params: &DeleteParams) {
    deterministic(1, async {
        let cluster = Cluster::start(Checks::All);
        cluster.create("Deployment", &deployment("web", 3, "web:1")).await;
        cluster.until_complete("web").await;
        let _ = cluster.api("Deployment").delete("web", params).await.unwrap();
        cluster
            .until("everything is gone", async |it| {
                let mut left = 0;
                for kind in ["Deployment", "ReplicaSet", "Pod"] {
                    left += it.list(kind).await.len();
                }
                left == 0
            })
            .await;
        let created = cluster.events("ReplicaSet").await;
        let created = created.iter().filter(|(reason, _)| reason == "SuccessfulCreate");
        assert_eq!(created.count(), 3, "no pod is made on the way out");
        cluster.end().await;
    });
}

#[test]
fn dep_3_rs_24_a_deployment_deleted_in_the_background_takes_everything_along() {
    goes_with_everything(&DeleteParams::background());
}

#[test]
fn dep_3_rs_24_a_deployment_deleted_in_the_foreground_takes_everything_along() {
    goes_with_everything(&DeleteParams::foreground());
}
