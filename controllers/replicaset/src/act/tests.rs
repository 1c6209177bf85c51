use std::sync::Mutex;

use steersman_shared::controller::ReconcileError as _;
use steersman_shared::selector::Selector;
use steersman_shared::sink::Retry;
use steersman_shared::testing::{StoredOwner, T0, pod as built_pod, refused, replica_set};

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
async fn rs_34_39_62_a_refused_create_ends_the_batches_and_shows_in_the_status() {
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
async fn rs_51_60_all_deletes_are_tried_and_the_status_is_written_after_a_failure() {
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
