//! DEP-62 to DEP-85, DEP-96.

use k8s_openapi::api::apps::v1::DeploymentCondition;

use super::*;
use crate::action::{AVAILABLE, NEW_REPLICA_SET_AVAILABLE, REPLICA_FAILURE, REPLICA_SET_UPDATED};

fn named(
    owner: &Deployment,
    name: &str,
    revision: &str,
    image: &str,
    size: i32,
    available: i32,
) -> ReplicaSet {
    let mut it = child(owner, name, image, size, available);
    it.metadata.annotations = Some([(REVISION.to_owned(), revision.to_owned())].into());
    it.status.terminating_replicas = Some(0);
    it
}

fn condition<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    find(status.conditions.as_deref().unwrap_or_default(), type_)
}

fn family(owner: &Deployment, all: Vec<ReplicaSet>) -> Family {
    let all: Vec<_> = all.into_iter().map(Arc::new).collect();
    Family::of(owner, &all)
}

#[test]
fn dep_62_dep_63_counts_are_those_of_the_replica_sets_and_sizes_those_before_this_sync() {
    let owner = web(10, "web:2");
    let old = named(&owner, "old", "1", "web:1", 9, 8);
    let new = named(&owner, "new", "2", "web:2", 2, 1);
    let status = status::plain(&owner, &family(&owner, vec![old.clone(), new]), &owner.status, T0);
    assert_eq!(
        [
            status.replicas,
            status.updated_replicas,
            status.ready_replicas,
            status.available_replicas,
            status.unavailable_replicas
        ],
        [Some(11), Some(2), Some(9), Some(9), Some(2)]
    );
    // A ReplicaSet created in this sync counts with its initial size.
    let plan = planned(&world(owner, vec![old]));
    assert_eq!(summary(&plan)[0], "create 2");
    let status = &status_of(&plan).unwrap().status;
    assert_eq!(
        (status.unavailable_replicas, status.updated_replicas),
        (Some(3), Some(0))
    );
}

#[test]
fn dep_63_unavailable_is_never_negative() {
    let owner = web(2, "web:1");
    let new = named(&owner, "new", "1", "web:1", 2, 5);
    let status = status::plain(&owner, &family(&owner, vec![new]), &owner.status, T0);
    assert_eq!(status.unavailable_replicas, Some(0));
}

#[rstest]
#[case::all_told((Some(1), Some(2)), (Some(1), Some(1)), Some(3))]
#[case::one_was_never_synced((Some(1), None), (Some(1), None), Some(1))]
#[case::never_synced_is_also_0((Some(1), None), (Some(1), Some(0)), Some(1))]
#[case::one_does_not_tell((Some(1), None), (Some(1), Some(1)), None)]
fn dep_64_terminating_pods_are_summed_if_all_tell(
    #[case] counts: (Option<i32>, Option<i32>),
    #[case] observed: (Option<i64>, Option<i64>),
    #[case] want: Option<i32>,
) {
    let owner = web(2, "web:1");
    let of = |name: &str, count, observed| {
        let mut it = named(&owner, name, "1", name, 1, 1);
        (it.status.terminating_replicas, it.status.observed_generation) = (count, observed);
        it
    };
    let all = vec![of("a", counts.0, observed.0), of("b", counts.1, observed.1)];
    let status = status::plain(&owner, &family(&owner, all), &owner.status, T0);
    assert_eq!(status.terminating_replicas, want);
}

#[rstest]
#[case::rollout(|_: &mut Deployment| {})]
#[case::paused(|it: &mut Deployment| it.spec.paused = Some(true))]
#[case::deleting(|it: &mut Deployment| it.metadata.deletion_timestamp = Some(Time(T0)))]
#[case::resized(|it: &mut Deployment| it.spec.replicas = Some(7))]
fn dep_65_dep_66_every_status_observes_the_generation_and_keeps_what_is_not_its_own(
    #[case] change: fn(&mut Deployment),
) {
    let mut owner = web(3, "web:1");
    owner.metadata.generation = Some(8);
    owner.status.collision_count = Some(4);
    owner.status.conditions = Some(vec![DeploymentCondition {
        type_: "OfOthers".to_owned(),
        status: "True".to_owned(),
        ..DeploymentCondition::default()
    }]);
    change(&mut owner);
    let mut new = named(&owner, "new", "1", "web:1", 3, 3);
    new.metadata
        .annotations
        .as_mut()
        .unwrap()
        .insert(DESIRED_REPLICAS.to_owned(), "3".to_owned());
    let plan = planned(&world(owner, vec![new]));
    let status = &status_of(&plan).unwrap().status;
    assert_eq!(status.observed_generation, Some(8));
    assert_eq!(status.collision_count, Some(4));
    assert!(condition(status, "OfOthers").is_some());
}

#[test]
fn dep_67_a_status_is_written_if_it_differs_in_anything() {
    let owner = web(2, "web:1");
    let new = named(&owner, "new", "1", "web:1", 2, 2);
    let mut world = world(owner, vec![new]);
    assert!(world.settle(10).unwrap());
    let settled = world.clone();
    assert!(status_of(&planned(&world)).is_none());
    world.deployment.status.conditions.as_mut().unwrap().reverse();
    let other_order = DeploymentStatus {
        conditions: world.deployment.status.conditions.clone(),
        ..settled.deployment.status.clone()
    };
    assert!(
        !status::is_equal(&other_order, &settled.deployment.status),
        "order counts"
    );
    let mut world = settled.clone();
    world.deployment.status.ready_replicas = Some(1);
    assert!(status_of(&planned(&world)).is_some());
    let mut world = settled;
    world.deployment.status.unavailable_replicas = None;
    assert!(status_of(&planned(&world)).is_none(), "an absent count is 0");
}

#[rstest]
#[case::rolling_may_miss_some(web(10, "web:1"), 9, true)]
#[case::rolling_may_not_miss_more(web(10, "web:1"), 8, false)]
#[case::recreate_may_miss_none(deployment("web").recreate().replicas(2).build(), 1, false)]
#[case::recreate_has_all(deployment("web").recreate().replicas(2).build(), 2, true)]
#[case::none_is_available_of_none(web(0, "web:1"), 0, true)]
fn dep_35_dep_72_available(#[case] owner: Deployment, #[case] available: i32, #[case] want: bool) {
    for paused in [false, true] {
        let mut owner = owner.clone();
        owner.spec.paused = Some(paused);
        let size = desired_replicas(&owner);
        let new = named(&owner, "new", "1", "web:1", size, available);
        let plan = planned(&world(owner, vec![new]));
        let status = &status_of(&plan).unwrap().status;
        let it = condition(status, AVAILABLE).unwrap();
        assert_eq!(it.status == "True", want, "paused: {paused}");
        let texts = (it.reason.as_deref().unwrap(), it.message.as_deref().unwrap());
        let known = if want {
            ("MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            (
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        assert_eq!(texts, known);
    }
}

#[rstest]
#[case::none(None)]
#[case::never(Some(i32::MAX))]
fn dep_73_without_a_deadline_progress_is_not_reported(#[case] deadline: Option<i32>) {
    let mut world = world(web(1, "web:1"), vec![]);
    world.sync().unwrap();
    assert_eq!(reason(&world.deployment.status), Some(NEW_REPLICA_SET_CREATED));
    world.deployment.spec.progress_deadline_seconds = deadline;
    world.deployment.spec.paused = Some(true);
    world.sync().unwrap();
    assert!(
        reason(&world.deployment.status).is_some(),
        "the way of pauses leaves it"
    );
    world.deployment.spec.paused = None;
    world.sync().unwrap();
    assert_eq!(reason(&world.deployment.status), None);
}

/// A world whose rollout is complete and reported so at `T0`.
fn finished() -> World {
    let owner = web(2, "web:1");
    let new = named(&owner, "new", "1", "web:1", 2, 2);
    let mut world = world(owner, vec![new]);
    assert!(world.settle(10).unwrap());
    world
}

#[test]
fn dep_74_dep_75_dep_76_a_finished_rollout_never_times_out() {
    let mut world = finished();
    let progressing = condition(&world.deployment.status, PROGRESSING).unwrap();
    assert_eq!(progressing.reason.as_deref(), Some(NEW_REPLICA_SET_AVAILABLE));
    assert_eq!(
        progressing.message.as_deref(),
        Some("ReplicaSet \"new\" has successfully progressed.")
    );
    world.replica_sets[0].status.available_replicas = Some(0);
    world.now = t(99_999);
    world.settle(10).unwrap();
    assert_eq!(reason(&world.deployment.status), Some(NEW_REPLICA_SET_AVAILABLE));
    assert_eq!(planned(&world).wake_at, None, "no time can change that");
}

#[test]
fn dep_75_terminating_pods_do_not_keep_a_rollout_from_being_complete() {
    let owner = web(2, "web:1");
    let mut new = named(&owner, "new", "1", "web:1", 2, 2);
    new.status.terminating_replicas = Some(3);
    let mut world = world(owner, vec![new]);
    world.settle(10).unwrap();
    assert_eq!(reason(&world.deployment.status), Some(NEW_REPLICA_SET_AVAILABLE));
}

#[test]
fn dep_78_the_deadline_itself_is_not_late_yet() {
    let owner = web(1, "web:1");
    let mut world = world(owner, vec![]);
    world.settle(10).unwrap();
    world.now = t(600);
    world.settle(10).unwrap();
    assert_eq!(reason(&world.deployment.status), Some(NEW_REPLICA_SET_CREATED));
    world.now = t(601);
    world.settle(10).unwrap();
    assert_eq!(reason(&world.deployment.status), Some(DEADLINE_EXCEEDED));
    let progressing = condition(&world.deployment.status, PROGRESSING).unwrap();
    assert_eq!(progressing.status, "False");
    assert!(
        progressing
            .message
            .as_deref()
            .unwrap()
            .ends_with("has timed out progressing.")
    );
}

#[test]
fn dep_78_without_the_condition_nothing_times_out() {
    let owner = web(1, "web:1");
    let mut new = named(&owner, "new", "1", "web:1", 1, 0);
    new.status.ready_replicas = None;
    new.status.replicas = 0;
    let status = status::of_rollout(
        &owner,
        &family(&owner, vec![new]),
        &DeploymentStatus::default(),
        t(99_999),
    );
    assert_eq!(reason(&status), None);
}

#[test]
fn dep_77_dep_79_a_timed_out_rollout_goes_on_and_reports_progress_again() {
    let owner = web(4, "web:2");
    let old = named(&owner, "old", "1", "web:1", 4, 4);
    let mut world = world(owner, vec![old]);
    world.settle(20).unwrap();
    world.now = t(700);
    world.settle(20).unwrap();
    assert_eq!(reason(&world.deployment.status), Some(DEADLINE_EXCEEDED));
    let image = |world: &World| world.deployment.spec.template["spec"]["containers"][0]["image"].clone();
    assert_eq!(image(&world), json!("web:2"), "nothing is rolled back");
    for it in &mut world.replica_sets {
        let size = size(it);
        (
            it.status.replicas,
            it.status.available_replicas,
            it.status.ready_replicas,
        ) = (size, Some(size), Some(size));
        (it.status.observed_generation, it.status.terminating_replicas) = (it.metadata.generation, Some(0));
    }
    let plan = world.sync().unwrap();
    assert_eq!(reason(&world.deployment.status), Some(REPLICA_SET_UPDATED));
    assert!(
        summary(&plan).iter().any(|line| line.starts_with("scale")),
        "{:?}",
        summary(&plan)
    );
    let progressing = condition(&world.deployment.status, PROGRESSING).unwrap();
    assert_eq!(progressing.last_update_time, Some(Time(t(700))));
    assert_eq!(
        progressing.last_transition_time,
        Some(Time(t(700))),
        "it was False"
    );
}

#[test]
fn dep_80_a_failure_of_a_replica_set_is_taken_over_with_its_times() {
    let owner = web(4, "web:2");
    let failure = |message: &str, at| ReplicaSetCondition {
        type_: REPLICA_FAILURE.to_owned(),
        status: "True".to_owned(),
        reason: Some("FailedCreate".to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(t(at))),
    };
    let mut old = named(&owner, "old", "1", "web:1", 3, 3);
    old.status.conditions = Some(vec![failure("old", 1)]);
    let mut new = named(&owner, "new", "2", "web:2", 2, 0);
    new.status.conditions = Some(vec![failure("new", 2)]);
    let mut world = world(owner, vec![old, new]);
    world.now = t(50);
    world.sync().unwrap();
    let taken = condition(&world.deployment.status, REPLICA_FAILURE).unwrap();
    assert_eq!(taken.message.as_deref(), Some("new"), "the new one's comes first");
    assert_eq!(
        [&taken.last_update_time, &taken.last_transition_time],
        [&Some(Time(t(2))); 2]
    );
    for it in &mut world.replica_sets {
        it.status.conditions = None;
    }
    world.sync().unwrap();
    assert!(condition(&world.deployment.status, REPLICA_FAILURE).is_none());
}

/// Rolled back at `T0` to a ReplicaSet that exists, without a pod coming up since; what is reported much later.
#[rstest]
#[case::the_clock_runs_on(REPLICA_SET_UPDATED, DEADLINE_EXCEEDED)]
#[case::a_finished_rollout_has_none(NEW_REPLICA_SET_AVAILABLE, NEW_REPLICA_SET_AVAILABLE)]
fn dep_81_going_back_to_an_existing_set_does_not_restart_the_clock(#[case] stored: &str, #[case] want: &str) {
    let owner = web(4, "web:1");
    let mut back = named(&owner, "one", "3", "web:1", 1, 0);
    back.status.replicas = 0;
    let all = family(&owner, vec![back, named(&owner, "two", "2", "web:2", 4, 4)]);
    let mut before = status::plain(&owner, &all, &owner.status, T0);
    before
        .conditions
        .get_or_insert_default()
        .push(DeploymentCondition {
            type_: PROGRESSING.to_owned(),
            status: "True".to_owned(),
            reason: Some(stored.to_owned()),
            last_update_time: Some(Time(T0)),
            last_transition_time: Some(Time(T0)),
            message: None,
        });
    let mut found = before.conditions.clone().unwrap();
    conditions::note_found(&owner, "one", &mut found, t(9999));
    assert_eq!(Some(found), before.conditions, "finding it notes nothing");
    let later = status::of_rollout(&owner, &all, &before, t(9999));
    assert_eq!(reason(&later), Some(want));
}

#[test]
fn dep_84_a_paused_one_changes_no_template_but_all_else() {
    let mut owner = web(4, "web:2");
    owner.spec.paused = Some(true);
    owner.metadata.generation = Some(3);
    owner.spec.revision_history_limit = Some(0);
    let current = named(&owner, "one", "2", "web:1", 4, 4);
    let empty = named(&owner, "zero", "1", "web:0", 0, 0);
    let mut world = world(owner, vec![current, empty]);
    let plan = world.sync().unwrap();
    assert_eq!(summary(&plan), ["delete zero", "status"], "no new ReplicaSet");
    assert_eq!(world.deployment.status.observed_generation, Some(3));
    world.deployment.spec.replicas = Some(6);
    assert_eq!(summary(&world.sync().unwrap())[0], "scale one 4->6");
    // The new ReplicaSet, once there is one, gets annotations and minReadySeconds.
    world.deployment.spec.template = Arc::new(pod_template("web:1"));
    world.deployment.spec.min_ready_seconds = Some(5);
    world
        .deployment
        .metadata
        .annotations
        .get_or_insert_default()
        .insert("team".to_owned(), "a".to_owned());
    let plan = world.sync().unwrap();
    assert!(
        summary(&plan).contains(&"annotate one".to_owned()),
        "{:?}",
        summary(&plan)
    );
    assert_eq!(world.replica_sets[0].spec.min_ready_seconds, Some(5));
}

#[test]
fn dep_85_one_created_paused_waits_with_a_status() {
    let mut world = world(deployment("web").paused().replicas(2).build(), vec![]);
    assert_eq!(summary(&world.sync().unwrap()), ["status"]);
    let status = &world.deployment.status;
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(condition(status, AVAILABLE).unwrap().status, "False");
    assert_eq!(reason(status), Some(PAUSED));
    assert!(world.sync().unwrap().actions.is_empty());
    world.deployment.spec.paused = None;
    assert_eq!(summary(&world.sync().unwrap())[0], "create 2");
}

#[test]
fn dep_22_dep_23_dep_96_after_an_undo_the_old_set_is_the_new_one_with_the_next_revision() {
    let owner = web(1, "web:1");
    let all = vec![
        named(&owner, "one", "1", "web:1", 0, 0),
        named(&owner, "two", "2", "web:2", 0, 0),
        named(&owner, "three", "3", "web:3", 1, 1),
    ];
    let mut world = world(owner, all);
    world.settle(20).unwrap();
    assert_eq!(world.replica_sets.len(), 3, "no new ReplicaSet");
    let revision = |name: &str| {
        let it = world
            .replica_sets
            .iter()
            .find(|it| it.metadata.name.as_deref() == Some(name));
        it.unwrap().metadata.annotations.clone().unwrap()
    };
    assert_eq!(revision("one")[REVISION], "4");
    assert_eq!(revision("one")[crate::action::REVISION_HISTORY], "1");
    assert_eq!(
        (&*revision("two")[REVISION], &*revision("three")[REVISION]),
        ("2", "3")
    );
    assert_eq!(
        world.deployment.metadata.annotations.as_ref().unwrap()[REVISION],
        "4"
    );
}
