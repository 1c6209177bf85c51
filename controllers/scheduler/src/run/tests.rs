//! The loop with played watches and a scripted sink.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Mutex;

use k8s_openapi::api::core::v1::{Node, Pod};
use steersman_shared::informer::Informers;
use steersman_shared::objects::ObjectKey;
use steersman_shared::sink::Sink;
use steersman_shared::testing::{Feed, NodeBuilder, PodBuilder, context, node, pod, silent_client};
use tokio::sync::Notify;

use super::*;
use crate::config::Config;

/// Answers bindings from a script (accepted when it is used up) and everything else with success.
#[derive(Clone, Default)]
struct Script(Arc<Inner>);

#[derive(Default)]
struct Inner {
    log: Mutex<Vec<Action>>,
    bindings: Mutex<VecDeque<&'static str>>,
    changed: Notify,
    /// While set, patches do not end.
    patches_hang: Mutex<bool>,
    patches_go_on: Notify,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(&'static str);

impl Trouble for Refused {
    fn text(&self) -> String {
        self.0.to_owned()
    }
}

impl Sink<Action> for Script {
    type Done = ();
    type Error = Refused;

    async fn apply(&self, action: &Action) -> Result<(), Refused> {
        self.0.log.lock().unwrap().push(action.clone());
        self.0.changed.notify_one();
        match action {
            Action::Bind { .. } => match self.0.bindings.lock().unwrap().pop_front() {
                Some(refusal) => Err(Refused(refusal)),
                None => Ok(()),
            },
            Action::Condition { .. } => {
                let hangs = *self.0.patches_hang.lock().unwrap();
                if hangs {
                    self.0.patches_go_on.notified().await;
                }
                Ok(())
            }
            Action::Event { .. } => Ok(()),
        }
    }
}

impl Script {
    /// The log, one line per action.
    fn lines(&self) -> Vec<String> {
        let line = |action: &Action| match action {
            Action::Bind { pod, node, .. } => format!("bind {} to {node}", pod.name),
            Action::Condition { pod, reason, .. } => format!("{} is {}", pod.name, reason.as_str()),
            Action::Event { note, .. } => note.clone(),
        };
        self.0.log.lock().unwrap().iter().map(line).collect()
    }

    async fn until(&self, lines: &[&str]) {
        let enough = async {
            while self.lines().len() < lines.len() {
                self.0.changed.notified().await;
            }
        };
        let _elapsed = tokio::time::timeout(Duration::from_hours(1), enough).await;
        assert_eq!(self.lines(), lines);
    }
}

struct Harness {
    ctx: Context,
    nodes: Feed<Node>,
    pods: Feed<Pod>,
    script: Script,
}

/// Runs a scheduler against played watches until `test` ends.
async fn play<F: Future<Output = ()>>(mode: Mode, test: impl FnOnce(Arc<Harness>) -> F) -> Arc<Harness> {
    let mut ctx = context(silent_client());
    ctx.informers = Informers::detached();
    ctx.mode = mode;
    let controller = crate::new(&ctx, Config::default()).unwrap();
    let script = Script::default();
    let sink = script.clone();
    let nodes = Feed::new(ctx.informers.get::<Node>());
    let pods = Feed::new(ctx.informers.get::<Pod>());
    let harness = Arc::new(Harness {
        ctx,
        nodes,
        pods,
        script,
    });
    let run = Box::pin(async {
        match mode {
            Mode::Active => controller.run_with(sink).await,
            _ => Box::pin(controller.run()).await,
        }
    });
    let body = async {
        test(Arc::clone(&harness)).await;
        harness.ctx.stop.cancel();
    };
    let (result, ()) = tokio::join!(run, body);
    result.unwrap();
    harness
}

fn ours(name: &str) -> PodBuilder {
    pod(name).scheduler("steersman")
}

fn small(name: &str) -> NodeBuilder {
    node(name).allocatable("cpu", "1").allocatable("pods", "10")
}

#[tokio::test(start_paused = true)]
async fn sch_12_nothing_is_decided_before_the_first_lists() {
    play(Mode::Active, async |harness| {
        harness.pods.list([ours("a").build()]);
        tokio::task::yield_now().await;
        harness.script.until(&[]).await;
        harness.nodes.list([small("n1").build()]);
        harness
            .script
            .until(&["bind a to n1", "Successfully assigned default/a to n1"])
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sch_161_a_pod_without_a_node_is_told_once_and_bound_when_one_comes() {
    play(Mode::Active, async |harness| {
        harness.nodes.list([small("n1").unschedulable().build()]);
        harness.pods.list([ours("a").build()]);
        let text = "0/1 nodes are available: 1 node(s) were unschedulable.";
        harness.script.until(&[text, "a is Unschedulable"]).await;
        harness.nodes.apply(small("n2").build());
        let bound = "Successfully assigned default/a to n2";
        harness
            .script
            .until(&[text, "a is Unschedulable", "bind a to n2", bound])
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sch_158_a_refused_binding_is_tried_again_after_its_back_off() {
    play(Mode::Active, async |harness| {
        harness
            .script
            .0
            .bindings
            .lock()
            .unwrap()
            .push_back("bind pod default/a: no");
        harness.nodes.list([small("n1").build()]);
        harness.pods.list([ours("a").build()]);
        let first = ["bind a to n1", "bind pod default/a: no", "a is SchedulerError"];
        harness.script.until(&first).await;
        let before = harness.ctx.now();
        let second = ["bind a to n1", "Successfully assigned default/a to n1"];
        harness.script.until(&[&first[..], &second[..]].concat()).await;
        let waited = harness.ctx.now().duration_since(before).as_secs();
        assert!((1..=2).contains(&waited), "waited {waited} s");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sinv_17_a_binding_waits_for_the_condition_before_it() {
    play(Mode::Active, async |harness| {
        *harness.script.0.patches_hang.lock().unwrap() = true;
        harness.nodes.list([small("n1").unschedulable().build()]);
        harness.pods.list([ours("a").build()]);
        let text = "0/1 nodes are available: 1 node(s) were unschedulable.";
        harness.script.until(&[text, "a is Unschedulable"]).await;
        harness.nodes.apply(small("n2").build());
        tokio::time::timeout(Duration::from_mins(1), std::future::pending::<()>())
            .await
            .unwrap_err();
        harness.script.until(&[text, "a is Unschedulable"]).await;
        harness.script.0.patches_go_on.notify_one();
        let bound = "Successfully assigned default/a to n2";
        harness
            .script
            .until(&[text, "a is Unschedulable", "bind a to n2", bound])
            .await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sch_18_pods_of_high_priority_come_first_and_share_what_there_is() {
    play(Mode::Active, async |harness| {
        let of = |name: &str, priority| {
            let built = ours(name).requests("cpu", "600m");
            built
                .with(|pod| pod.spec.as_mut().unwrap().priority = Some(priority))
                .build()
        };
        harness.nodes.list([small("n1").build()]);
        harness.pods.list([of("low", 1), of("high", 9)]);
        let text = "0/1 nodes are available: 1 Insufficient cpu.";
        let lines = [
            "bind high to n1",
            text,
            "low is Unschedulable",
            "Successfully assigned default/high to n1",
        ];
        tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>())
            .await
            .unwrap_err();
        let mut sorted = harness.script.lines();
        sorted.sort();
        let mut want = lines.map(str::to_owned);
        want.sort();
        assert_eq!(sorted, want);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn sinv_12_a_shadow_run_decides_and_sends_nothing() {
    // The client's server never answers, so a request would hang the run; the pod is assumed all the same.
    let harness = play(Mode::Shadow, async |harness| {
        harness.nodes.list([small("n1").build()]);
        harness.pods.list([ours("a").build()]);
        tokio::time::timeout(Duration::from_mins(1), std::future::pending::<()>())
            .await
            .unwrap_err();
    })
    .await;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &harness.ctx.metrics.lock().unwrap()).unwrap();
    assert!(
        text.contains("scheduler_cache_size{type=\"assumed_pods\"} 1"),
        "{text}"
    );
    assert_eq!(harness.script.lines(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn sty_75_a_large_cluster_is_planned_on_a_thread_of_its_own() {
    play(Mode::Active, async |harness| {
        let full = |index: usize| small(&format!("n{index}")).allocatable("pods", "0").build();
        let nodes: Vec<Node> = (0..ROWS_PER_TURN)
            .map(full)
            .chain([small("free").build()])
            .collect();
        harness.nodes.list(nodes);
        harness.pods.list([ours("a").build()]);
        harness
            .script
            .until(&["bind a to free", "Successfully assigned default/a to free"])
            .await;
    })
    .await;
}

#[test]
fn sch_186_metric_names_are_upstreams() {
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = Metrics::register(&mut registry);
    metrics.attempt(Ended::Scheduled, Duration::from_millis(1));
    metrics.bound(20, Duration::from_secs(1), true);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for line in [
        "scheduler_schedule_attempts_total{result=\"scheduled\"} 1",
        "scheduler_pod_scheduled_after_flush_total 1",
        "scheduler_scheduling_attempt_duration_seconds_count{result=\"scheduled\"} 1",
        "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"15+\"} 1",
        "scheduler_pod_scheduling_attempts_count 1",
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}

#[test]
fn sch_164_the_rights_are_those_of_the_writes() {
    let verbs: Vec<_> = crate::RBAC.iter().flat_map(|rule| rule.resources).collect();
    assert_eq!(verbs, [&"nodes", &"pods", &"pods/binding", &"pods/status"]);
    let key = ObjectKey::new("default", "a");
    let bind = Action::Bind {
        pod: key,
        uid: Uid("u".into()),
        node: "n".into(),
    };
    assert_eq!(bind.verb(), "bind");
}
