use k8s_openapi::api::apps::v1::ReplicaSetCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use rstest::rstest;
use serde_json::{Value, json};
use steersman_shared::conditions::find;
use steersman_shared::controller::ReconcileError as _;
use steersman_shared::sink::Retry;
use steersman_shared::testing::{T0, deployment, replica_set, t, template as pod_template};
use steersman_shared::wire::{DESIRED_REPLICAS, MAX_REPLICAS, POD_TEMPLATE_HASH, REVISION};

use super::*;
use crate::action::{
    DEADLINE_EXCEEDED, NEW_REPLICA_SET_CREATED, NoRollback, PAUSED, PROGRESSING, RESUMED, ROLLBACK_TO,
};
use crate::simulate::World;

mod handed_down;
mod reported;
mod rollout;
mod scaling;

/// A ReplicaSet of `web` with that image, size and number of available pods; its status is up to date.
fn child(owner: &Deployment, name: &str, image: &str, size: i32, available: i32) -> ReplicaSet {
    replica_set(name)
        .owned_by(owner)
        .label("app", "web")
        .template(pod_template(image))
        .replicas(size)
        .annotation(REVISION, "1")
        .with(|it| {
            it.status.replicas = size;
            it.status.ready_replicas = Some(available);
            it.status.available_replicas = Some(available);
            it.status.observed_generation = Some(1);
        })
        .build()
}

fn web(replicas: i32, image: &str) -> Deployment {
    let limits = |surge, unavailable| (IntOrString::Int(surge), IntOrString::Int(unavailable));
    let (surge, unavailable) = limits(1, 1);
    deployment("web")
        .replicas(replicas)
        .image(image)
        .rolling(surge, unavailable)
        .build()
}

fn world(deployment: Deployment, replica_sets: Vec<ReplicaSet>) -> World {
    World::new(deployment, replica_sets, Vec::new(), T0)
}

fn planned(world: &World) -> Plan {
    plan(&world.snapshot().unwrap(), world.now).unwrap()
}

/// What a plan does, in short.
fn summary(plan: &Plan) -> Vec<String> {
    let line = |action: &Action| match action {
        Action::Create(new) => format!("create {}", new.replicas),
        Action::Scale { target, from, to, .. } => format!("scale {} {from}->{to}", target.name),
        Action::Annotate { target, .. } => format!("annotate {}", target.name),
        Action::Delete { target } => format!("delete {}", target.name),
        Action::Adopt { name, .. } => format!("adopt {name}"),
        Action::Release { name, .. } => format!("release {name}"),
        Action::Rollback(rollback) => format!("roll back to {}", rollback.revision),
        other => other.label().to_owned(),
    };
    plan.actions.iter().map(line).collect()
}

fn status_of(plan: &Plan) -> Option<&StatusWrite> {
    plan.actions.iter().find_map(|action| match action {
        Action::WriteStatus(write) => Some(write.as_ref()),
        _ => None,
    })
}

fn reason(status: &DeploymentStatus) -> Option<&str> {
    find(status.conditions.as_deref().unwrap_or_default(), PROGRESSING).and_then(|it| it.reason.as_deref())
}

#[test]
fn dep_2_a_deployment_that_selects_all_is_reported_and_left_alone() {
    let all = deployment("web")
        .with(|it| it.spec.selector = LabelSelector::default())
        .generation(3)
        .build();
    let plan = planned(&world(all, vec![]));
    assert_eq!(summary(&plan), ["report", "status"]);
    assert_eq!(status_of(&plan).unwrap().status.observed_generation, Some(3));
}

#[test]
fn dep_3_a_deployment_being_deleted_only_gets_a_status() {
    let mut owner = web(3, "web:2");
    let old = child(&owner, "old", "web:1", 3, 3);
    let orphan = replica_set("orphan").build();
    owner.metadata.deletion_timestamp = Some(Time(T0));
    assert_eq!(summary(&planned(&world(owner, vec![old, orphan]))), ["status"]);
}

#[test]
fn dep_14_dep_21_the_first_sync_creates_the_replica_set_and_writes_one_status() {
    let mut world = world(web(3, "web:1"), vec![]);
    let plan = world.sync().unwrap();
    assert_eq!(summary(&plan), ["create 3", "status"]);
    let write = status_of(&plan).unwrap();
    assert_eq!(reason(&write.status), Some(NEW_REPLICA_SET_CREATED));
    assert_eq!(write.revision.as_deref(), Some("1"));
    let (name, hash) = world.created.clone().unwrap();
    assert_eq!(name, format!("web-{hash}"));
    let created = &world.replica_sets[0];
    assert_eq!(
        created.spec.selector.match_labels.as_ref().unwrap()[POD_TEMPLATE_HASH],
        hash
    );
    assert_eq!(
        created.spec.template["metadata"]["labels"][POD_TEMPLATE_HASH],
        json!(hash)
    );
}

#[test]
fn rs_2_fields_that_we_do_not_know_reach_the_replica_set() {
    let mut template = pod_template("web:1");
    template["spec"]["fromTheFuture"] = json!({ "deep": [1, { "er": null }] });
    let mut world = world(deployment("web").template(template.clone()).build(), vec![]);
    world.sync().unwrap();
    assert_eq!(world.replica_sets[0].spec.template["spec"], template["spec"]);
}

#[rstest]
#[case::same("web:1", None, None, true)]
#[case::other_template("web:2", None, None, false)]
#[case::other_collision_count("web:1", None, Some(1), false)]
fn dep_18_the_hash_depends_on_template_and_collisions(
    #[case] image: &str,
    #[case] a: Option<i32>,
    #[case] b: Option<i32>,
    #[case] equal: bool,
) {
    let (first, second) = (
        template::hash(&pod_template("web:1"), a),
        template::hash(&pod_template(image), b),
    );
    assert_eq!(first == second, equal);
    assert!(
        first.len() == 10 && first.chars().all(|it| "bcdfghjklmnpqrstvwxz2456789".contains(it)),
        "{first}"
    );
}

#[test]
fn dep_18_the_hash_is_stable_across_releases() {
    assert_eq!(
        template::hash(&json!({ "b": [1, null, true], "a": { "x": "y" } }), None),
        "cm8jt4lc9j"
    );
    assert_eq!(template::hash(&json!({}), Some(2)), "gp9gbjj9vz");
}

#[test]
fn dep_19_a_foreign_replica_set_of_that_name_counts_as_a_collision() {
    let owner = web(1, "web:1");
    let snapshot = world(owner.clone(), vec![]).snapshot().unwrap();
    assert_eq!(after_name_taken(&snapshot, None), Taken::PlanAgain);
    let ours = child(&owner, "web-x", "web:1", 1, 1);
    assert_eq!(after_name_taken(&snapshot, Some(&ours)), Taken::PlanAgain);
    for foreign in [
        replica_set("web-x").build(),
        child(&owner, "web-x", "web:2", 1, 1),
    ] {
        let Taken::Collision(action) = after_name_taken(&snapshot, Some(&foreign)) else {
            panic!("no collision")
        };
        let Action::WriteStatus(write) = *action else {
            panic!("no status")
        };
        assert_eq!(write.status.collision_count, Some(1));
    }
}

#[test]
fn dep_20_a_refused_create_shows_in_the_condition_if_there_is_a_deadline() {
    let snapshot = world(web(1, "web:1"), vec![]).snapshot().unwrap();
    let Some(Action::WriteStatus(write)) = after_create_error(&snapshot, "no", T0) else {
        panic!("no status")
    };
    assert_eq!(reason(&write.status), Some("ReplicaSetCreateError"));
    let forever = deployment("web")
        .with(|it| it.spec.progress_deadline_seconds = None)
        .build();
    assert_eq!(
        after_create_error(&world(forever, vec![]).snapshot().unwrap(), "no", T0),
        None
    );
}

#[test]
fn dep_24_the_revision_of_the_deployment_follows_one_sync_later() {
    let owner = web(1, "web:1");
    let mut new = child(&owner, "new", "web:1", 1, 1);
    new.metadata.annotations = None;
    let mut world = world(owner, vec![new]);
    let first = world.sync().unwrap();
    assert_eq!(summary(&first)[0], "annotate new");
    assert_eq!(status_of(&first).unwrap().revision, None);
    assert_eq!(
        status_of(&world.sync().unwrap()).unwrap().revision.as_deref(),
        Some("1")
    );
    assert_eq!(
        world.deployment.metadata.generation,
        Some(1),
        "the revision does not raise the generation"
    );
}

#[test]
fn dep_28_a_bad_revision_stays_and_is_reported() {
    let owner = deployment("web").annotation("team", "a").build();
    let mut new = child(&owner, "new", "web:1", 1, 1);
    new.metadata.annotations = Some([(REVISION.to_owned(), "x".to_owned())].into());
    let plan = planned(&world(owner, vec![new]));
    let Action::Annotate { annotations, .. } = &plan.actions[0] else {
        panic!("{:?}", plan.actions)
    };
    assert_eq!(annotations.keys().collect::<Vec<_>>(), ["team"]);
    let bad = Hold::BadRevision {
        replica_set: "new".to_owned(),
        value: "x".to_owned(),
    };
    assert!(plan.held_by.contains(&bad));
}

#[rstest]
#[case::grows_up_to_the_surge((10, 10), (0, 0), &["scale new 0->1"])]
#[case::full((8, 8), (3, 1), &[])]
#[case::shrinks_what_is_available((9, 9), (2, 2), &["scale old 9->7"])]
#[case::shrinks_unhealthy_first((9, 3), (2, 2), &["scale old 9->7"])]
#[case::nothing_may_go((9, 9), (2, 0), &[])]
#[case::shrinks_unhealthy_within_the_limit((9, 8), (2, 2), &["scale old 9->8", "scale old 8->7"])]
fn dep_47_dep_48_dep_49_dep_50_one_step(
    #[case] old: (i32, i32),
    #[case] new: (i32, i32),
    #[case] want: &[&str],
) {
    let owner = web(10, "web:2");
    let old = child(&owner, "old", "web:1", old.0, old.1);
    let mut new = child(&owner, "new", "web:2", new.0, new.1);
    new.metadata.annotations = Some([(REVISION.to_owned(), "2".to_owned())].into());
    let plan = planned(&world(owner, vec![old, new]));
    let scales: Vec<_> = summary(&plan)
        .into_iter()
        .filter(|line| line.starts_with("scale"))
        .collect();
    assert_eq!(scales, want);
}

#[test]
fn dep_57_a_lagging_status_does_not_let_available_pods_go() {
    let owner = web(10, "web:2");
    let old = child(&owner, "old", "web:1", 8, 8);
    // Scaled down to 2 a moment ago: four of its available pods are on their way out.
    let mut new = child(&owner, "new", "web:2", 2, 6);
    new.metadata.generation = Some(2);
    let family = Family::of(&owner, &[Arc::new(old), Arc::new(new)]);
    let shrink = rolling::plan_old(&owner, &family);
    assert!(shrink.resizes.is_empty());
    let replica_sets = vec!["new".to_owned()];
    assert_eq!(shrink.hold, Some(Hold::StatusLags { replica_sets }));
}

#[test]
fn dep_46_a_stale_annotation_does_not_stop_the_rollout() {
    let owner = web(3, "web:2");
    let mut old = child(&owner, "old", "web:1", 3, 3);
    old.metadata
        .annotations
        .get_or_insert_default()
        .insert(DESIRED_REPLICAS.to_owned(), "5".to_owned());
    let mut world = world(owner, vec![old]);
    assert_eq!(summary(&world.sync().unwrap())[0], "scale old 3->3");
    assert_eq!(summary(&world.sync().unwrap())[0], "create 1");
}

#[test]
fn dep_46_a_resized_recreate_goes_on_with_its_rollout() {
    let owner = deployment("web").recreate().replicas(4).image("web:2").build();
    let stale = |mut it: ReplicaSet| {
        it.metadata
            .annotations
            .get_or_insert_default()
            .insert(DESIRED_REPLICAS.to_owned(), "9".to_owned());
        it
    };
    let old = stale(child(&owner, "old", "web:1", 2, 2));
    let new = stale(child(&owner, "new", "web:2", 2, 2));
    let plan = planned(&world(owner, vec![old, new]));
    let scales: Vec<_> = summary(&plan)
        .into_iter()
        .filter(|line| line.starts_with("scale"))
        .collect();
    assert_eq!(scales, ["scale new 2->2", "scale old 2->0"]);
}

fn old_pods(of: &str) -> Hold {
    Hold::OldPods {
        replica_sets: vec![of.to_owned()],
    }
}

#[test]
fn dep_58_recreate_waits_for_the_last_old_pod() {
    let owner = deployment("web").recreate().replicas(2).image("web:2").build();
    let old = child(&owner, "old", "web:1", 2, 2);
    let pod = steersman_shared::testing::pod("a").owned_by(&old).ready().build();
    let mut world = World::new(owner, vec![old], vec![pod], T0);
    assert_eq!(summary(&world.sync().unwrap()), ["scale old 2->0", "status"]);
    world.replica_sets[0].status.replicas = 0;
    assert_eq!(
        world.sync().unwrap().held_by,
        [old_pods("old")],
        "INV-7: a status older than the size"
    );
    world.replica_sets[0].status.observed_generation = Some(2);
    // Gone from the status, terminating in fact.
    world.pods[0].metadata.deletion_timestamp = Some(Time(T0));
    let waiting = world.sync().unwrap();
    assert!(summary(&waiting).is_empty());
    assert_eq!(waiting.held_by, [old_pods("old")]);
    world.pods.clear();
    assert_eq!(summary(&world.sync().unwrap())[0], "create 2");
}

#[test]
fn dep_111_a_paused_recreate_raises_nothing_while_other_pods_run() {
    let owner = deployment("web")
        .recreate()
        .paused()
        .replicas(2)
        .image("web:2")
        .build();
    let old = child(&owner, "old", "web:1", 0, 0);
    let mut new = child(&owner, "new", "web:2", 0, 0);
    new.metadata.annotations = Some([(REVISION.to_owned(), "2".to_owned())].into());
    let pod = steersman_shared::testing::pod("a")
        .owned_by(&old)
        .deleting()
        .build();
    let mut world = World::new(owner, vec![old, new], vec![pod], T0);
    assert!(planned(&world).held_by.contains(&old_pods("old")));
    world.pods.clear();
    assert!(summary(&planned(&world)).contains(&"scale new 0->2".to_owned()));
}

#[test]
fn dep_76_dep_78_the_deadline_wakes_once_and_then_times_out() {
    let owner = web(1, "web:1");
    let mut world = world(owner, vec![]);
    world.settle(10).unwrap();
    let plan = planned(&world);
    assert_eq!((summary(&plan).len(), plan.wake_at), (0, Some(t(601))));
    world.now = t(601);
    world.settle(10).unwrap();
    assert_eq!(reason(&world.deployment.status), Some(DEADLINE_EXCEEDED));
    assert_eq!(
        planned(&world),
        Plan {
            held_by: planned(&world).held_by,
            ..Plan::default()
        }
    );
}

#[test]
fn dep_82_a_clock_set_back_does_not_turn_back_the_update_time() {
    let mut world = world(web(1, "web:1"), vec![]);
    world.now = t(100);
    world.settle(10).unwrap();
    world.now = T0;
    let new = &mut world.replica_sets[0].status;
    new.replicas = 1;
    new.observed_generation = Some(1);
    world.settle(10).unwrap();
    let progressing = find(
        world.deployment.status.conditions.as_deref().unwrap(),
        PROGRESSING,
    )
    .unwrap();
    assert_eq!(progressing.reason.as_deref(), Some("ReplicaSetUpdated"));
    assert_eq!(progressing.last_update_time, Some(Time(t(100))));
}

#[test]
fn dep_83_dep_85_pausing_and_resuming_is_noted() {
    let mut world = world(deployment("web").paused().build(), vec![]);
    assert_eq!(summary(&world.sync().unwrap()), ["status"]);
    assert_eq!(reason(&world.deployment.status), Some(PAUSED));
    world.deployment.spec.paused = None;
    world.deployment.metadata.generation = Some(2);
    let resumed = world.sync().unwrap();
    assert_eq!(summary(&resumed), ["create 1", "status"]);
    // Resumed and created in one write: the created one is the later state.
    assert_eq!(reason(&world.deployment.status), Some(NEW_REPLICA_SET_CREATED));
    assert_ne!(reason(&world.deployment.status), Some(RESUMED));
}

#[rstest]
#[case::to_the_one_before("0", "roll back to 1")]
#[case::to_a_revision("1", "roll back to 1")]
#[case::to_the_current_one("2", "clear_rollback")]
#[case::to_nowhere("7", "clear_rollback")]
fn dep_95_a_rollback_is_one_write_to_the_deployment(#[case] request: &str, #[case] want: &str) {
    let owner = deployment("web")
        .image("web:2")
        .annotation(ROLLBACK_TO, request)
        .annotation(REVISION, "2")
        .build();
    let old = child(&owner, "old", "web:1", 0, 0);
    let mut new = child(&owner, "new", "web:2", 1, 1);
    new.metadata.annotations = Some([(REVISION.to_owned(), "2".to_owned())].into());
    let mut world = world(owner, vec![old, new]);
    while summary(&planned(&world)) != [want] {
        assert!(!world.sync().unwrap().actions.is_empty());
    }
    let generation = world.deployment.metadata.generation;
    world.sync().unwrap();
    assert!(rollback::requested(&world.deployment).is_none());
    assert_eq!(world.deployment.metadata.generation, generation.map(|it| it + 1));
    let is_back = want.starts_with("roll");
    let image = if is_back { "web:1" } else { "web:2" };
    assert_eq!(
        world.deployment.spec.template["spec"]["containers"][0]["image"],
        json!(image)
    );
    world.settle(20).unwrap();
    if is_back {
        assert_eq!(
            world.deployment.metadata.annotations.as_ref().unwrap()[REVISION],
            "3",
            "DEP-96"
        );
    }
}

#[test]
fn dep_95_without_history_there_is_no_last_revision() {
    let owner = deployment("web").annotation(ROLLBACK_TO, "0").build();
    let new = child(&owner, "new", "web:1", 1, 1);
    let family = Family::of(&owner, &[Arc::new(new)]);
    let action = rollback::plan(&owner, &family, annotations::Revision(0));
    let Action::ClearRollback { cause, .. } = action else {
        panic!("{action:?}")
    };
    assert_eq!(cause, NoRollback::NoLastRevision);
}

#[test]
fn dep_36_an_unreadable_surge_is_an_error_of_that_deployment_only() {
    let bad = IntOrString::String("abc".to_owned());
    let broken = deployment("web").rolling(bad, IntOrString::Int(1)).build();
    let error = plan(&world(broken, vec![]).snapshot().unwrap(), T0).unwrap_err();
    assert!(matches!(error, Error::Fenceposts(_)), "{error}");
}

#[test]
fn inv_11_a_complete_deployment_plans_nothing() {
    let mut world = world(web(2, "web:1"), vec![]);
    world.sync().unwrap();
    let new = &mut world.replica_sets[0].status;
    (new.replicas, new.ready_replicas, new.available_replicas) = (2, Some(2), Some(2));
    (new.observed_generation, new.terminating_replicas) = (Some(1), Some(0));
    assert!(world.settle(10).unwrap());
    assert_eq!(planned(&world), Plan::default());
    assert_eq!(Value::Null, json!(planned(&world).wake_at));
}

#[test]
fn issue_4_a_selector_that_does_not_match_the_template_creates_nothing() {
    let odd = deployment("web")
        .template(json!({ "metadata": { "labels": { "app": "db" } }, "spec": {} }))
        .build();
    let world = world(odd, vec![]);
    let error = plan(&world.snapshot().unwrap(), T0).unwrap_err();
    assert!(matches!(error, Error::SelectorMismatch), "{error}");
    assert!(
        error
            .advice()
            .unwrap()
            .starts_with("spec.selector does not match")
    );
}

#[rstest]
#[case::dep_1_unknown_strategy(|it: &mut Deployment| it.spec.strategy.type_ = Some("Sideways".to_owned()),
    "spec.strategy.type: \"Sideways\" is not known; use RollingUpdate or Recreate")]
#[case::dep_36_surge(
    |it: &mut Deployment| {
        it.spec.strategy.rolling_update.as_mut().unwrap().max_surge = Some(IntOrString::String("abc".to_owned()));
    },
    "spec.strategy.rollingUpdate.maxSurge: \"abc\" is neither a number nor a percentage; use a number of pods such as \
     1, or a percentage such as \"25%\"")]
fn dep_1_dep_36_a_bad_field_is_named_with_the_way_out_after_claims(
    #[case] change: fn(&mut Deployment),
    #[case] advice: &str,
) {
    let mut owner = web(3, "web:2");
    change(&mut owner);
    let orphan = replica_set("stray").label("app", "web").replicas(0).build();
    let world = world(owner, vec![orphan]);
    let snapshot = world.snapshot().unwrap();
    let error = plan(&snapshot, T0).unwrap_err();
    assert_eq!(error.advice().as_deref(), Some(advice));
    assert_eq!(error.retry(), Retry::OnChange, "no hot loop");
    assert_eq!(summary(&claims(&snapshot, T0)), ["adopt stray"]);
}
