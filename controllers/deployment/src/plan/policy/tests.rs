use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;
use steersman_crds::rollout_policy::Phase;
use steersman_shared::conditions::find;
use steersman_shared::objects::ReplicaSet;
use steersman_shared::testing::{T0, deployment, pod, replica_set, template as pod_template};
use steersman_shared::wire::REVISION;

use super::*;
use crate::action::{
    Action, COMPLETE, DEADLINE_EXCEEDED, PROGRESSING, ROLLED_BACK_CONDITION, RollbackReason, STEP_PAUSED,
    STEP_RESUMED, ScaleCause,
};
use crate::plan::{Plan, size};
use crate::simulate::World;

/// A policy from the fields of its spec.
fn policy(spec: serde_json::Value) -> Arc<Policy> {
    let mut spec = spec;
    spec["deploymentSelector"] = json!({ "names": ["web"] });
    let spec: RolloutPolicySpec = serde_json::from_value(spec).unwrap();
    Arc::new(Policy::of("careful", &spec))
}

/// The Deployment `web` and its ReplicaSets, whose pods come and become available as asked for.
struct Cluster {
    world: World,
    /// Templates whose pods never become available.
    broken: Vec<String>,
}

fn image(replica_set: &ReplicaSet) -> String {
    let image = &replica_set.spec.template["spec"]["containers"][0]["image"];
    image.as_str().unwrap().to_owned()
}

impl Cluster {
    /// A complete rollout of `web:1`, then the policy.
    fn new(replicas: i32, spec: serde_json::Value) -> Self {
        let limits = (IntOrString::Int(1), IntOrString::Int(0));
        let owner = deployment("web")
            .replicas(replicas)
            .image("web:1")
            .rolling(limits.0, limits.1)
            .with(|it| it.spec.progress_deadline_seconds = Some(600))
            .build();
        let mut cluster = Self {
            world: World::new(owner, Vec::new(), Vec::new(), T0),
            broken: Vec::new(),
        };
        cluster.settle();
        cluster.world.policy = Some(policy(spec));
        cluster.settle();
        cluster
    }

    /// The ReplicaSet controller and the nodes do what is asked for.
    fn follow(&mut self) {
        for it in &mut self.world.replica_sets {
            let wanted = size(it);
            let is_broken = self.broken.contains(&image(it));
            let available = if is_broken { 0 } else { wanted };
            it.status.replicas = wanted;
            it.status.ready_replicas = Some(available);
            it.status.available_replicas = Some(available);
            it.status.terminating_replicas = Some(0);
            it.status.observed_generation = it.metadata.generation;
        }
        let mut pods = Vec::new();
        for it in &self.world.replica_sets {
            for number in 0..size(it) {
                let name = format!("{}-{number}", it.metadata.name.as_deref().unwrap());
                let known = self
                    .world
                    .pods
                    .iter()
                    .find(|pod| pod.metadata.name.as_deref() == Some(&name));
                pods.push(known.cloned().unwrap_or_else(|| {
                    let mut new = pod(&name)
                        .owned_by(it)
                        .on("node")
                        .ready_at(self.world.now)
                        .build();
                    new.metadata.creation_timestamp = Some(
                        k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.world.now),
                    );
                    new
                }));
            }
        }
        self.world.pods = pods;
    }

    /// Syncs and follows until nothing changes any more; time stands still.
    fn settle(&mut self) -> Plan {
        for _ in 0..100 {
            let plan = self.world.sync().unwrap();
            self.follow();
            if plan.actions.is_empty() {
                return plan;
            }
        }
        panic!("no rest: {:?}", self.world.sync().unwrap());
    }

    fn wait(&mut self, seconds: i64) {
        self.world.now = self
            .world
            .now
            .checked_add(SignedDuration::from_secs(seconds))
            .unwrap();
    }

    fn change(&mut self, change: impl FnOnce(&mut Deployment)) {
        change(&mut self.world.deployment);
        let generation = &mut self.world.deployment.metadata.generation;
        *generation = generation.map(|it| it + 1);
    }

    fn roll_out(&mut self, image: &str) {
        self.change(|it| it.spec.template = Arc::new(pod_template(image)));
    }

    fn annotate(&mut self, key: &str, value: &str) {
        self.change(|it| {
            let annotations = it.metadata.annotations.get_or_insert_default();
            annotations.insert(key.to_owned(), value.to_owned());
        });
    }

    /// Sizes by image, those of 0 left out: `web:1=9 web:2=1`.
    fn sizes(&self) -> String {
        let mut all: Vec<String> = self
            .world
            .replica_sets
            .iter()
            .filter(|it| size(it) > 0)
            .map(|it| format!("{}={}", image(it), size(it)))
            .collect();
        all.sort();
        all.join(" ")
    }

    fn set(&self, wanted: &str) -> &ReplicaSet {
        self.world
            .replica_sets
            .iter()
            .find(|it| image(it) == wanted)
            .unwrap()
    }

    fn annotation(&self, image: &str, key: &str) -> Option<&str> {
        annotations::value(self.set(image).metadata.annotations.as_ref(), key)
    }

    fn progressing(&self) -> &str {
        let list = self.world.deployment.status.conditions.as_deref().unwrap();
        find(list, PROGRESSING).unwrap().reason.as_deref().unwrap()
    }

    fn template(&self) -> &str {
        self.world.deployment.spec.template["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap()
    }

    fn phase(&self) -> Phase {
        overview::summary(&self.world.snapshot().unwrap(), self.world.now).phase
    }

    /// Makes the pods of an image restart.
    fn crash(&mut self, image: &str, restarts: i32) {
        let set = self.set(image).clone();
        for it in &mut self.world.pods {
            if steersman_shared::ownership::controller_uid(it) == Some(Uid::of(&set)) {
                it.status.get_or_insert_default().container_statuses = serde_json::from_value(json!([{
                    "name": "c", "image": "x", "imageID": "", "ready": false, "restartCount": restarts,
                    "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                }]))
                .unwrap();
            }
        }
    }
}

fn canary() -> serde_json::Value {
    json!({ "steps": [{ "pods": 1 }, { "percent": 50, "pauseSeconds": 60 }] })
}

#[test]
fn ask_2_a_rollout_stops_at_each_step_and_goes_on() {
    let mut cluster = Cluster::new(10, canary());
    cluster.roll_out("web:2");
    let plan = cluster.settle();
    assert_eq!(cluster.sizes(), "web:1=9 web:2=1");
    assert_eq!(
        (cluster.progressing(), cluster.phase()),
        (STEP_PAUSED, Phase::AwaitingPromotion)
    );
    assert_eq!(plan.wake_at, None, "only a promotion ends it");
    cluster.wait(100_000);
    assert!(cluster.settle().actions.is_empty());
    assert_eq!(
        cluster.progressing(),
        STEP_PAUSED,
        "the progress deadline does not run"
    );

    cluster.annotate(PROMOTE, "2/1");
    let plan = cluster.settle();
    assert_eq!(cluster.sizes(), "web:1=5 web:2=5");
    assert_eq!(cluster.phase(), Phase::StepPaused);
    let since = cluster.world.now;
    assert_eq!(
        plan.wake_at,
        since.checked_add(SignedDuration::from_secs(60)).ok()
    );

    cluster.wait(59);
    assert!(cluster.settle().actions.is_empty());
    cluster.wait(1);
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:2=10");
    assert_eq!(cluster.phase(), Phase::Complete);
}

#[test]
fn ask_2_a_restart_or_a_removed_promotion_forgets_no_step() {
    let mut cluster = Cluster::new(10, canary());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.annotate(PROMOTE, "2/1");
    // Up to the growth that follows the promotion.
    while cluster.sizes() == "web:1=9 web:2=1" {
        cluster.world.sync().unwrap();
    }
    cluster.change(|it| drop(it.metadata.annotations.get_or_insert_default().remove(PROMOTE)));
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:1=5 web:2=5");
}

#[rstest]
#[case::all("2/all", "web:2=10")]
#[case::both_steps("2/2", "web:2=10")]
#[case::another_revision("1/all", "web:1=9 web:2=1")]
fn ask_2_a_promotion_names_its_revision(#[case] value: &str, #[case] want: &str) {
    let mut cluster = Cluster::new(10, canary());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.annotate(PROMOTE, value);
    cluster.settle();
    assert_eq!(cluster.sizes(), want);
}

#[rstest]
#[case::promote(PROMOTE, "yes")]
#[case::abort(ABORT, "please")]
#[case::note(ROLLED_BACK, "{}")]
fn ask_2_garbage_in_an_annotation_is_removed_with_an_event(#[case] key: &str, #[case] value: &str) {
    let mut cluster = Cluster::new(3, canary());
    cluster.annotate(key, value);
    cluster.settle();
    let annotations = cluster.world.deployment.metadata.annotations.as_ref();
    assert_eq!(annotations::value(annotations, key), None);
    let event = cluster.world.events.last().unwrap();
    assert_eq!(event.reason, "InvalidAnnotation");
    assert!(event.message.contains(key) && event.warning, "{event:?}");
}

#[test]
fn ask_2_a_canary_that_is_not_available_waits_and_times_out() {
    let mut cluster = Cluster::new(10, canary());
    cluster.broken.push("web:2".to_owned());
    cluster.roll_out("web:2");
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:1=10 web:2=1");
    assert_eq!(cluster.phase(), Phase::Progressing);
    cluster.annotate(PROMOTE, "2/1");
    cluster.settle();
    assert_eq!(
        cluster.sizes(),
        "web:1=10 web:2=1",
        "promoted pods have to be available too"
    );
    cluster.wait(601);
    cluster.settle();
    assert_eq!(cluster.progressing(), DEADLINE_EXCEEDED);
}

#[test]
fn ask_2_a_canary_that_breaks_during_its_pause_times_out_from_then_on() {
    let mut cluster = Cluster::new(10, canary());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.wait(5_000);
    cluster.broken.push("web:2".to_owned());
    cluster.follow();
    cluster.settle();
    assert_eq!(cluster.progressing(), STEP_RESUMED);
    cluster.wait(599);
    cluster.settle();
    assert_eq!(cluster.progressing(), STEP_RESUMED);
    cluster.wait(2);
    cluster.settle();
    assert_eq!(cluster.progressing(), DEADLINE_EXCEEDED);
}

#[rstest]
#[case::up(20, "web:1=19 web:2=1")]
#[case::down(4, "web:1=3 web:2=1")]
#[case::to_one(1, "web:1=1 web:2=1")]
#[case::to_none(0, "")]
fn ask_2_scaling_keeps_the_canary_at_its_step(#[case] replicas: i32, #[case] want: &str) {
    let mut cluster = Cluster::new(10, json!({ "steps": [{ "pods": 1 }] }));
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.change(|it| it.spec.replicas = Some(replicas));
    cluster.settle();
    assert_eq!(cluster.sizes(), want);
}

#[rstest]
#[case::up(20, "web:1=10 web:2=10")]
#[case::down(4, "web:1=2 web:2=2")]
fn ask_2_a_percentage_follows_the_size(#[case] replicas: i32, #[case] want: &str) {
    let mut cluster = Cluster::new(10, json!({ "steps": [{ "percent": 50 }] }));
    cluster.roll_out("web:2");
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:1=5 web:2=5");
    cluster.change(|it| it.spec.replicas = Some(replicas));
    cluster.settle();
    assert_eq!(cluster.sizes(), want);
}

#[test]
fn ask_2_scaling_a_paused_deployment_keeps_the_canary_too() {
    let mut cluster = Cluster::new(10, canary());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.change(|it| it.spec.paused = Some(true));
    cluster.settle();
    assert_eq!(
        (cluster.sizes().as_str(), cluster.phase()),
        ("web:1=9 web:2=1", Phase::Paused)
    );
    cluster.change(|it| it.spec.replicas = Some(20));
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:1=19 web:2=1");
    cluster.change(|it| it.spec.paused = None);
    cluster.settle();
    assert_eq!(cluster.progressing(), STEP_PAUSED);
}

#[test]
fn ask_2_another_template_starts_at_the_first_step_and_replaces_the_canary() {
    let mut cluster = Cluster::new(10, canary());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.annotate(PROMOTE, "2/1");
    cluster.settle();
    cluster.roll_out("web:3");
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:1=5 web:2=4 web:3=1");
    cluster.annotate(PROMOTE, "3/1");
    cluster.settle();
    assert_eq!(
        cluster.sizes(),
        "web:1=5 web:3=5",
        "the canary that was never complete goes first"
    );
}

#[test]
fn ask_2_an_undo_is_held_at_no_step() {
    let mut cluster = Cluster::new(10, canary());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.roll_out("web:1");
    cluster.settle();
    assert_eq!(
        (cluster.sizes().as_str(), cluster.phase()),
        ("web:1=10", Phase::Complete)
    );
    cluster.roll_out("web:2");
    cluster.settle();
    assert_eq!(
        cluster.sizes(),
        "web:1=9 web:2=1",
        "a revision that comes again starts anew"
    );
}

#[test]
fn ask_2_the_first_rollout_has_no_steps() {
    let mut cluster = Cluster::new(10, canary());
    cluster.world.replica_sets.clear();
    cluster.world.pods.clear();
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:1=10");
}

#[test]
fn ask_2_without_its_policy_a_rollout_goes_on_as_upstream() {
    let mut cluster = Cluster::new(10, canary());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.world.policy = None;
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:2=10");
}

#[test]
fn ask_2_a_step_for_all_pods_keeps_one_old_pod() {
    let mut cluster = Cluster::new(1, json!({ "steps": [{ "percent": 20 }] }));
    cluster.roll_out("web:2");
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:1=1 web:2=1");
    cluster.annotate(PROMOTE, "2/1");
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:2=1");
}

#[test]
fn ask_2_without_a_surge_an_old_pod_makes_room_for_the_canary() {
    let mut cluster = Cluster::new(4, json!({ "steps": [{ "pods": 1 }] }));
    let limits = |it: &mut Deployment| {
        let rolling = it.spec.strategy.rolling_update.get_or_insert_default();
        rolling.max_surge = Some(IntOrString::Int(0));
        rolling.max_unavailable = Some(IntOrString::Int(1));
    };
    cluster.change(limits);
    cluster.roll_out("web:2");
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:1=3 web:2=1");
}

#[test]
fn ask_2_recreate_knows_no_steps() {
    let mut cluster = Cluster::new(3, canary());
    cluster.change(|it| it.spec.strategy.type_ = Some("Recreate".to_owned()));
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:2=3");
}

#[test]
fn ask_2_batches_wait_for_the_one_before() {
    let mut cluster = Cluster::new(4, json!({ "minReadyBetweenBatchesSeconds": 30 }));
    cluster.roll_out("web:2");
    let plan = cluster.settle();
    assert_eq!(cluster.sizes(), "web:1=3 web:2=1");
    let next = cluster
        .world
        .now
        .checked_add(SignedDuration::from_secs(30))
        .unwrap();
    assert_eq!(plan.wake_at, Some(next));
    cluster.wait(29);
    assert!(cluster.settle().actions.is_empty());
    cluster.wait(1);
    cluster.settle();
    assert_eq!(cluster.sizes(), "web:1=2 web:2=2");
    cluster.broken.push("web:2".to_owned());
    cluster.wait(30);
    cluster.follow();
    cluster.settle();
    assert_eq!(
        cluster.sizes(),
        "web:1=2 web:2=2",
        "batches wait for pods that are not available"
    );
    cluster.wait(599);
    cluster.settle();
    assert_ne!(cluster.progressing(), DEADLINE_EXCEEDED);
    cluster.wait(2);
    cluster.settle();
    assert_eq!(
        cluster.progressing(),
        DEADLINE_EXCEEDED,
        "the deadline is longer by the pace"
    );
}

fn rollback() -> serde_json::Value {
    json!({ "autoRollback": { "maxPodRestarts": 3, "maxCrashLoopingPods": 1, "windowSeconds": 300 } })
}

#[test]
fn ask_1_a_missed_deadline_leads_back_once_and_tells_why() {
    let mut cluster = Cluster::new(4, rollback());
    cluster.broken.push("web:2".to_owned());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.wait(601);
    cluster.settle();
    assert_eq!(
        (cluster.template(), cluster.sizes().as_str()),
        ("web:1", "web:1=4")
    );
    assert_eq!(cluster.phase(), Phase::RolledBack);
    let conditions = cluster.world.deployment.status.conditions.as_deref().unwrap();
    let told = find(conditions, ROLLED_BACK_CONDITION).unwrap();
    assert_eq!(told.reason.as_deref(), Some("ProgressDeadlineExceeded"));
    let event = cluster
        .world
        .events
        .iter()
        .find(|it| it.reason == "RolloutPolicyRollback")
        .unwrap();
    assert!(
        event
            .message
            .starts_with("RolloutPolicy careful went back from revision 2 to revision 1: ReplicaSet web-"),
        "{}",
        event.message
    );
    let annotations = cluster.world.deployment.metadata.annotations.as_ref();
    let note = Note::on_deployment(annotations).unwrap();
    assert_eq!((note.from_revision, note.to_revision), (2, 1));
    assert_eq!(Note::of_left(cluster.set("web:2")), Some(note));

    // The same template again, as a GitOps tool would have it.
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.wait(601);
    cluster.settle();
    assert_eq!(cluster.template(), "web:2", "once per revision");
    assert_eq!(cluster.phase(), Phase::Failed);
    let conditions = cluster.world.deployment.status.conditions.as_deref().unwrap();
    assert_eq!(find(conditions, ROLLED_BACK_CONDITION), None);
}

#[test]
fn ask_1_no_rollback_follows_a_rollback() {
    let mut cluster = Cluster::new(4, rollback());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.broken.push("web:3".to_owned());
    cluster.roll_out("web:3");
    cluster.settle();
    cluster.wait(601);
    // Now everything is broken.
    cluster.broken.push("web:2".to_owned());
    cluster.settle();
    assert_eq!(cluster.template(), "web:2");
    cluster.wait(601);
    cluster.crash("web:2", 9);
    cluster.settle();
    assert_eq!(cluster.template(), "web:2", "not on to web:1");
    assert_eq!(cluster.phase(), Phase::Failed);
}

#[rstest]
#[case::restarts(4, 1, "web:1")]
#[case::not_enough_restarts(3, 1, "web:2")]
#[case::crash_loops(1, 2, "web:1")]
fn ask_1_restarts_and_crash_loops_lead_back(
    #[case] restarts: i32,
    #[case] replicas: i32,
    #[case] want: &str,
) {
    let mut cluster = Cluster::new(replicas, rollback());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.wait(100);
    cluster.crash("web:2", restarts);
    cluster.settle();
    assert_eq!(cluster.template(), want);
}

#[rstest]
#[case::within_the_window(250, "web:1")]
#[case::after_it(350, "web:2")]
fn ask_1_a_complete_revision_is_watched_for_a_window(#[case] seconds: i64, #[case] want: &str) {
    let mut cluster = Cluster::new(2, rollback());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.wait(seconds);
    cluster.crash("web:2", 1);
    cluster.settle();
    assert_eq!(cluster.template(), want);
}

#[test]
fn ask_1_a_paused_deployment_is_never_rolled_back() {
    let mut cluster = Cluster::new(2, rollback());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.change(|it| it.spec.paused = Some(true));
    cluster.crash("web:2", 9);
    cluster.annotate(ABORT, "2");
    cluster.settle();
    assert_eq!(cluster.template(), "web:2");
    cluster.change(|it| it.spec.paused = None);
    cluster.settle();
    assert_eq!(cluster.template(), "web:1");
}

#[test]
fn ask_1_the_last_complete_revision_is_the_way_back_not_the_last_one() {
    let mut cluster = Cluster::new(4, rollback());
    cluster.broken.push("web:2".to_owned());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.broken.push("web:3".to_owned());
    cluster.roll_out("web:3");
    cluster.settle();
    cluster.wait(601);
    cluster.settle();
    assert_eq!(cluster.template(), "web:1");
}

#[test]
fn ask_1_revisions_from_before_the_policy_count_as_far_as_they_can_be_told() {
    let mut cluster = Cluster::new(4, rollback());
    // As if the policy came in the middle of a rollout of upstream's.
    cluster.world.policy = None;
    for it in &mut cluster.world.replica_sets {
        it.metadata.annotations.get_or_insert_default().remove(COMPLETE);
    }
    cluster.broken.push("web:2".to_owned());
    cluster.roll_out("web:2");
    cluster.settle();
    assert_eq!(
        cluster.annotation("web:1", COMPLETE),
        None,
        "no annotation without a policy"
    );
    cluster.world.policy = Some(policy(rollback()));
    cluster.wait(601);
    cluster.settle();
    assert_eq!(cluster.template(), "web:1");
}

#[test]
fn ask_1_with_no_way_back_it_says_so() {
    let mut cluster = Cluster::new(2, rollback());
    cluster.world.replica_sets.clear();
    cluster.world.pods.clear();
    cluster.broken.push("web:1".to_owned());
    cluster.roll_out("web:1");
    cluster.settle();
    cluster.wait(601);
    cluster.settle();
    cluster.settle();
    let summary = overview::summary(&cluster.world.snapshot().unwrap(), cluster.world.now);
    assert_eq!(summary.phase, Phase::Failed);
    let message = summary.message.unwrap();
    assert!(message.contains("kubectl rollout undo"), "{message}");
}

#[test]
fn ask_2_an_abort_leads_back_from_a_step() {
    let mut cluster = Cluster::new(10, canary());
    cluster.roll_out("web:2");
    cluster.settle();
    cluster.annotate(ABORT, "2");
    cluster.settle();
    assert_eq!(
        (cluster.template(), cluster.sizes().as_str()),
        ("web:1", "web:1=10")
    );
    let annotations = cluster.world.deployment.metadata.annotations.as_ref();
    assert_eq!(annotations::value(annotations, ABORT), None);
    assert_eq!(
        Note::on_deployment(annotations).unwrap().reason,
        RollbackReason::Aborted
    );
}

#[test]
fn ask_1_a_copied_mark_means_nothing() {
    let mut cluster = Cluster::new(2, rollback());
    let mark = cluster.annotation("web:1", COMPLETE).unwrap().to_owned();
    cluster.roll_out("web:2");
    // What upstream and kubectl do with annotations.
    cluster.annotate(COMPLETE, &mark);
    cluster.settle();
    let stored = cluster.annotation("web:2", COMPLETE).unwrap();
    assert_ne!(stored, mark);
    assert_eq!(Complete::of(cluster.set("web:2")).unwrap().revision, 2);
    let stranger = replica_set("web-x").annotation(COMPLETE, &mark).build();
    assert_eq!(Complete::of(&stranger), None);
}

#[test]
fn ask_2_without_policy_nothing_of_ours_is_written() {
    let mut cluster = Cluster::new(3, canary());
    cluster.world.policy = None;
    for it in &mut cluster.world.replica_sets {
        it.metadata
            .annotations
            .get_or_insert_default()
            .retain(|key, _| !key.starts_with("rollout"));
    }
    cluster.roll_out("web:2");
    cluster.settle();
    for it in &cluster.world.replica_sets {
        let keys: Vec<_> = it.metadata.annotations.as_ref().unwrap().keys().collect();
        assert!(
            keys.iter()
                .all(|key| key.starts_with("deployment.kubernetes.io/")),
            "{keys:?}"
        );
    }
}

#[derive(Clone, Debug)]
enum Happening {
    Sync,
    Follow,
    Wait(i64),
    Template(u8),
    Resize(i32),
    Pause(bool),
    Promote(bool),
    Abort,
    Break(u8),
    Mend,
    Policy(bool),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        12 => Just(Happening::Sync),
        10 => Just(Happening::Follow),
        3 => (1..700i64).prop_map(Happening::Wait),
        2 => (0..4u8).prop_map(Happening::Template),
        2 => (0..13i32).prop_map(Happening::Resize),
        1 => any::<bool>().prop_map(Happening::Pause),
        2 => any::<bool>().prop_map(Happening::Promote),
        1 => Just(Happening::Abort),
        1 => (0..4u8).prop_map(Happening::Break),
        1 => Just(Happening::Mend),
        1 => any::<bool>().prop_map(Happening::Policy),
    ];
    prop::collection::vec(one, 1..150)
}

fn specs() -> impl Strategy<Value = serde_json::Value> {
    let step = prop_oneof![
        (1..6i32).prop_map(|pods| json!({ "pods": pods })),
        (1..99i32).prop_map(|percent| json!({ "percent": percent })),
    ];
    let step = (step, prop::option::of(0..100i32)).prop_map(|(mut step, pause)| {
        if let Some(pause) = pause {
            step["pauseSeconds"] = json!(pause);
        }
        step
    });
    (
        prop::collection::vec(step, 0..4),
        prop::option::of(1..60i32),
        any::<bool>(),
    )
        .prop_map(|(steps, pace, back)| {
            let mut spec = json!({ "steps": steps });
            if let Some(pace) = pace {
                spec["minReadyBetweenBatchesSeconds"] = json!(pace);
            }
            if back {
                spec["autoRollback"] = json!({ "maxCrashLoopingPods": 0 });
            }
            spec
        })
}

impl Cluster {
    fn happen(&mut self, happening: &Happening, spec: &serde_json::Value) -> Result<(), TestCaseError> {
        match happening {
            Happening::Sync => return self.checked_sync(),
            Happening::Follow => self.follow(),
            Happening::Wait(seconds) => self.wait(*seconds),
            Happening::Template(number) => self.roll_out(&format!("web:{number}")),
            Happening::Resize(replicas) => self.change(|it| it.spec.replicas = Some(*replicas)),
            Happening::Pause(paused) => self.change(|it| it.spec.paused = Some(*paused)),
            Happening::Promote(all) => {
                let revision = self.revision();
                let value = if *all {
                    format!("{revision}/all")
                } else {
                    format!("{revision}/1")
                };
                self.annotate(PROMOTE, &value);
            }
            Happening::Abort => {
                let revision = self.revision().to_string();
                self.annotate(ABORT, &revision);
            }
            Happening::Break(number) => self.broken.push(format!("web:{number}")),
            Happening::Mend => self.broken.clear(),
            Happening::Policy(on) => self.world.policy = on.then(|| policy(spec.clone())),
        }
        Ok(())
    }

    fn revision(&self) -> i64 {
        let annotations = self.world.deployment.metadata.annotations.as_ref();
        annotations::value(annotations, REVISION)
            .and_then(|it| it.parse().ok())
            .unwrap_or_default()
    }

    /// One sync that keeps INV-1, INV-3 for rollouts and the promise of each step.
    fn checked_sync(&mut self) -> Result<(), TestCaseError> {
        let snapshot = self.world.snapshot().unwrap();
        let planned = crate::plan::plan(&snapshot, self.world.now).unwrap();
        prop_assert_eq!(
            &crate::plan::plan(&snapshot, self.world.now).unwrap(),
            &planned,
            "RS-1"
        );
        let kept =
            |it: &ReplicaSet| i64::from(size(it).min(it.status.available_replicas.unwrap_or_default()));
        for action in &planned.actions {
            let owner = self.world.deployment.clone();
            let paused = crate::plan::is_paused(&owner);
            let limit = i64::from(desired_replicas(&owner)) + crate::plan::fenceposts::surge(&owner);
            let floor = crate::plan::fenceposts::min_available(&owner);
            let before: i64 = self.world.replica_sets.iter().map(kept).sum();
            if let Action::Rollback(_) = action {
                prop_assert!(!paused, "a paused Deployment is never rolled back");
            }
            self.world.apply(action);
            let total: i64 = self.world.replica_sets.iter().map(|it| i64::from(size(it))).sum();
            let after: i64 = self.world.replica_sets.iter().map(kept).sum();
            let (raises, cause) = match action {
                Action::Create(new) => (new.replicas > 0, None),
                Action::Scale { from, to, cause, .. } => (to > from, Some(*cause)),
                _ => (false, None),
            };
            let resized = cause == Some(ScaleCause::Resized);
            prop_assert!(
                !raises || resized || total <= limit,
                "INV-1: {total} > {limit} by {action:?}"
            );
            prop_assert!(
                resized || before < floor || after >= floor,
                "INV-3: {after} < {floor} by {action:?}"
            );
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn inv_1_3_15_hold_under_any_policy(
        replicas in 1..13i32, spec in specs(), history in happenings(),
    ) {
        let mut cluster = Cluster::new(replicas, spec.clone());
        for happening in &history {
            cluster.happen(happening, &spec)?;
        }
        // Whatever happened, a promoted rollout that works comes to its end.
        cluster.broken.clear();
        cluster.change(|it| {
            it.spec.paused = None;
            it.spec.replicas = Some(replicas);
            it.metadata.annotations.get_or_insert_default().remove(ABORT);
        });
        for _ in 0..60 {
            let revision = cluster.revision();
            cluster.annotate(PROMOTE, &format!("{revision}/all"));
            cluster.settle();
            cluster.wait(100);
        }
        let want = format!("{}={replicas}", cluster.template());
        prop_assert_eq!(cluster.sizes(), want);
    }
}
