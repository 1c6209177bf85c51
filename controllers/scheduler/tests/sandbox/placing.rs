//! What users see of a pod: its node, its condition, its events.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use steersman_sandbox::{Config, Server};
use steersman_shared::context::Context;
use steersman_shared::recorder::{EventWriter, KubeEvents, Recorders};
use steersman_shared::testing::{NodeBuilder, PodBuilder, context, node, pod};

struct Cluster {
    /// Stops when dropped.
    _server: Server,
    ctx: Context,
    nodes: Api<Node>,
    pods: Api<Pod>,
}

impl Cluster {
    async fn put(&self, built: NodeBuilder) {
        let mut node = built.build();
        node.metadata.uid = None;
        node.metadata.resource_version = None;
        node.metadata.namespace = None;
        let status = json!({ "status": node.status });
        let name = node.metadata.name.clone().unwrap();
        self.nodes.create(&PostParams::default(), &node).await.unwrap();
        self.nodes
            .patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
        // What the node lifecycle controller does once a node is ready.
        let ready = Patch::Merge(json!({ "spec": { "taints": null } }));
        self.nodes
            .patch(&name, &PatchParams::default(), &ready)
            .await
            .unwrap();
    }

    async fn create(&self, built: PodBuilder) {
        let mut pod = built.scheduler("steersman").build();
        pod.metadata.uid = None;
        pod.metadata.resource_version = None;
        pod.status = None;
        self.pods.create(&PostParams::default(), &pod).await.unwrap();
    }

    /// The pod once it is as wanted.
    async fn until(&self, name: &str, want: impl Fn(&Pod) -> bool) -> Pod {
        let found = async {
            loop {
                let pod = self.pods.get(name).await.unwrap();
                if want(&pod) {
                    return pod;
                }
                tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>())
                    .await
                    .unwrap_err();
            }
        };
        match tokio::time::timeout(Duration::from_mins(10), found).await {
            Ok(pod) => pod,
            Err(elapsed) => panic!("{elapsed}: {:#?}", self.pods.get(name).await.unwrap().status),
        }
    }

    async fn notes(&self) -> Vec<(String, String, String)> {
        let events: Api<Event> = Api::namespaced(self.ctx.client.clone(), "default");
        let list = events.list(&ListParams::default()).await.unwrap();
        let part = |text: Option<String>| text.unwrap_or_default();
        list.into_iter()
            .map(|event| {
                (
                    part(event.reporting_controller),
                    part(event.reason),
                    part(event.note),
                )
            })
            .collect()
    }
}

fn condition(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled")
}

fn bound_to(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref())
}

/// Runs server, watches, event writer and scheduler until `test` ends.
async fn with_cluster<F: Future<Output = ()>>(test: impl FnOnce(Arc<Cluster>) -> F) {
    let server = Server::start(Config {
        seed: Some(1),
        ..Config::default()
    })
    .unwrap();
    let client = server.client();
    let mut ctx = context(client.clone());
    let (recorders, backlog) = Recorders::new(Arc::clone(&ctx.clock), "test", &ctx.shared_metrics);
    ctx.recorder = recorders;
    let controller = steersman_scheduler::new(&ctx, steersman_scheduler::Config::default()).unwrap();
    let events = EventWriter::new(
        backlog,
        KubeEvents::new(client.clone()),
        Arc::clone(&ctx.clock),
        &ctx.shared_metrics,
    );
    let (informers, stop) = (ctx.informers.clone(), ctx.stop.clone());
    let cluster = Arc::new(Cluster {
        _server: server,
        ctx,
        nodes: Api::all(client.clone()),
        pods: Api::namespaced(client, "default"),
    });
    let body = async {
        test(Arc::clone(&cluster)).await;
        stop.cancel();
    };
    let (scheduled, watched, told, ()) = tokio::join!(
        Box::pin(controller.run()),
        Box::pin(informers.run(stop.clone())),
        Box::pin(events.run(stop.clone())),
        Box::pin(body)
    );
    scheduled.unwrap();
    watched.unwrap();
    told.unwrap();
}

#[tokio::test(start_paused = true)]
async fn sch_162_condition_and_events_from_pending_to_bound() {
    with_cluster(async |cluster| {
        cluster
            .put(node("n1").allocatable("cpu", "1").allocatable("pods", "10"))
            .await;
        cluster.create(pod("big").requests("cpu", "2")).await;
        let pod = cluster.until("big", |pod| condition(pod).is_some()).await;
        let text = "0/1 nodes are available: 1 Insufficient cpu.";
        let found = condition(&pod).unwrap();
        assert_eq!(
            (found.status.as_str(), found.reason.as_deref()),
            ("False", Some("Unschedulable"))
        );
        assert_eq!(found.message.as_deref(), Some(text));

        cluster
            .put(node("n2").allocatable("cpu", "4").allocatable("pods", "10"))
            .await;
        let pod = cluster.until("big", |pod| bound_to(pod).is_some()).await;
        assert_eq!(bound_to(&pod), Some("n2"));
        assert_eq!(
            condition(&pod).map(|condition| condition.status.as_str()),
            Some("True")
        );
        tokio::time::timeout(Duration::from_secs(30), std::future::pending::<()>())
            .await
            .unwrap_err();
        let told = |reason: &str, note: &str| ("steersman".to_owned(), reason.to_owned(), note.to_owned());
        let notes = cluster.notes().await;
        assert!(notes.contains(&told("FailedScheduling", text)), "{notes:?}");
        assert!(
            notes.contains(&told("Scheduled", "Successfully assigned default/big to n2")),
            "{notes:?}"
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sch_34_room_that_is_freed_goes_to_the_pod_that_waits() {
    with_cluster(async |cluster| {
        cluster
            .put(node("n1").allocatable("cpu", "1").allocatable("pods", "10"))
            .await;
        cluster.create(pod("first").requests("cpu", "1")).await;
        cluster.until("first", |pod| bound_to(pod) == Some("n1")).await;
        cluster.create(pod("second").requests("cpu", "1")).await;
        cluster.until("second", |pod| condition(pod).is_some()).await;
        let at_once = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        cluster.pods.delete("first", &at_once).await.unwrap();
        let before = cluster.ctx.now();
        cluster.until("second", |pod| bound_to(pod) == Some("n1")).await;
        let waited = cluster.ctx.now().duration_since(before).as_secs();
        assert!(waited < 60, "not woken by the deletion: waited {waited} s");
    })
    .await;
}
