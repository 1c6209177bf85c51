//! DEP-37 to DEP-45.

use super::*;
use crate::action::Event;
use crate::plan::fenceposts;

/// A ReplicaSet of that size, all available, last scaled when the Deployment had `desired` replicas and `max` at most.
fn sized(owner: &Deployment, name: &str, image: &str, size: i32, desired: &str, max: &str) -> ReplicaSet {
    let mut it = child(owner, name, image, size, size);
    let annotations = it.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED_REPLICAS.to_owned(), desired.to_owned());
    annotations.insert(MAX_REPLICAS.to_owned(), max.to_owned());
    it
}

fn aged(mut it: ReplicaSet, seconds: u64) -> ReplicaSet {
    it.metadata.creation_timestamp = Some(Time(t(seconds)));
    it
}

fn rolling(replicas: i32, surge: i32) -> Deployment {
    let limits = (IntOrString::Int(surge), IntOrString::Int(1));
    deployment("web")
        .replicas(replicas)
        .image("web:2")
        .rolling(limits.0, limits.1)
        .build()
}

/// Name, size before and size after of all resizes, in their order.
fn resizes(owner: &Deployment, all: Vec<ReplicaSet>) -> Vec<String> {
    let all: Vec<_> = all.into_iter().map(Arc::new).collect();
    let line = |it: &Resize| {
        let name = it.replica_set.metadata.name.clone().unwrap();
        format!("{name} {}->{}", it.from, it.to)
    };
    scale::plan(owner, &Family::of(owner, &all))
        .iter()
        .map(line)
        .collect()
}

#[rstest]
#[case::other("5", 3, true)]
#[case::the_same("3", 3, false)]
#[case::inactive("5", 0, false)]
#[case::signed("+5", 3, false)]
#[case::spaced(" 5", 3, false)]
#[case::too_large("2147483648", 3, false)]
#[case::leading_zeros("0003", 3, false)]
#[case::leading_zeros_of_another("0005", 3, true)]
#[case::no_number("many", 3, false)]
fn dep_30_dep_37_only_a_readable_annotation_of_an_active_set_tells_of_a_resize(
    #[case] desired: &str,
    #[case] size: i32,
    #[case] want: bool,
) {
    let owner = rolling(3, 1);
    let set = sized(&owner, "a", "web:1", size, desired, "4");
    assert_eq!(Family::of(&owner, &[Arc::new(set)]).is_resized(&owner), want);
}

#[test]
fn dep_38_dep_39_a_resize_creates_nothing_and_evaluates_no_progress() {
    let mut owner = rolling(5, 1);
    let failed = ReplicaSetCondition {
        type_: crate::action::REPLICA_FAILURE.to_owned(),
        status: "True".to_owned(),
        ..ReplicaSetCondition::default()
    };
    let mut old = sized(&owner, "old", "web:1", 3, "3", "4");
    old.status.conditions = Some(vec![failed]);
    let mut noted = Vec::new();
    conditions::note_created(&owner, "x", &mut noted, T0);
    owner.status.conditions = Some(noted);
    let mut world = world(owner, vec![old]);
    world.now = t(9999);
    let plan = world.sync().unwrap();
    assert_eq!(summary(&plan), ["scale old 3->5", "status"]);
    assert_eq!(
        reason(&world.deployment.status),
        Some(NEW_REPLICA_SET_CREATED),
        "not timed out"
    );
    assert_eq!(plan.wake_at, None);
    let failures = |status: &DeploymentStatus| {
        status
            .conditions
            .iter()
            .flatten()
            .filter(|it| it.type_ == "ReplicaFailure")
            .count()
    };
    assert_eq!(failures(&world.deployment.status), 0);
    let next = world.sync().unwrap();
    assert!(
        summary(&next)[0].starts_with("create"),
        "the rollout goes on at the next sync"
    );
    assert_eq!(failures(&world.deployment.status), 1);
}

#[test]
fn dep_40_a_saturated_new_set_takes_over_from_the_old_ones() {
    let owner = rolling(5, 1);
    let old = sized(&owner, "old", "web:1", 2, "7", "8");
    let saturated = sized(&owner, "new", "web:2", 5, "5", "6");
    assert_eq!(
        resizes(&owner, vec![old.clone(), saturated.clone()]),
        ["old 2->0"]
    );
    let mut unavailable = saturated.clone();
    unavailable.status.available_replicas = Some(4);
    assert_ne!(resizes(&owner, vec![old.clone(), unavailable]), ["old 2->0"]);
    let stale = sized(&owner, "new", "web:2", 5, "7", "8");
    assert_ne!(resizes(&owner, vec![old, stale]), ["old 2->0"]);
}

#[test]
fn dep_41_recreate_spreads_nothing() {
    let owner = deployment("web").recreate().replicas(9).image("web:2").build();
    let all = vec![
        sized(&owner, "old", "web:1", 2, "4", "4"),
        sized(&owner, "new", "web:2", 2, "4", "4"),
    ];
    let all = resizes(&owner, all);
    assert_eq!(
        all,
        ["old 2->2", "new 2->2"],
        "only the annotations are refreshed"
    );
}

#[test]
fn dep_41_dep_42_dep_43_growth_is_spread_in_proportion() {
    // 25 pods are allowed instead of 15: 8 and 7 of 15 become 13.3 and 11.7 of 25.
    let owner = rolling(20, 5);
    let all = vec![
        sized(&owner, "a", "web:1", 8, "10", "15"),
        sized(&owner, "b", "web:2", 7, "10", "15"),
    ];
    assert_eq!(resizes(&owner, all), ["a 8->13", "b 7->12"]);
}

#[test]
fn dep_42_dep_44_the_newest_of_the_largest_gets_the_leftover_of_growth() {
    let owner = rolling(20, 5);
    let of = |name: &str, age| aged(sized(&owner, name, "web:1", 5, "10", "15"), age);
    assert_eq!(
        resizes(&owner, vec![of("a", 0), of("b", 10), of("c", 20)]),
        ["c 5->9", "b 5->8", "a 5->8"],
        "5 of 15 is 8.3 of 25; one is left"
    );
}

#[test]
fn dep_42_dep_44_the_oldest_of_the_largest_loses_the_leftover_of_shrinking() {
    let owner = rolling(9, 1);
    let of = |name: &str, age| aged(sized(&owner, name, "web:1", 5, "14", "15"), age);
    assert_eq!(
        resizes(&owner, vec![of("a", 0), of("b", 10), of("c", 20)]),
        ["a 5->3", "b 5->3", "c 5->4"],
        "3.3 each rounds to 3, and there is room for one more at the end"
    );
}

#[test]
fn dep_43_without_a_readable_base_the_status_is_the_base() {
    let mut owner = rolling(20, 0);
    let all = |owner: &Deployment| {
        vec![
            sized(owner, "a", "web:1", 6, "10", "none"),
            sized(owner, "b", "web:2", 4, "10", "0"),
        ]
    };
    owner.status.replicas = Some(10);
    assert_eq!(resizes(&owner, all(&owner)), ["a 6->12", "b 4->8"]);
    owner.status.replicas = None;
    assert_eq!(
        resizes(&owner, all(&owner)),
        ["b 4->4", "a 6->16"],
        "no base: all is leftover"
    );
}

#[test]
fn dep_42_dep_43_none_at_all_is_spread_too() {
    let owner = rolling(0, 3);
    let all = vec![
        sized(&owner, "a", "web:1", 6, "10", "13"),
        sized(&owner, "b", "web:2", 4, "10", "13"),
    ];
    assert_eq!(resizes(&owner, all), ["a 6->0", "b 4->0"]);
}

#[test]
fn dep_45_all_active_sets_get_fresh_annotations_and_shrinking_comes_first() {
    let of = |owner: &Deployment| {
        vec![
            sized(owner, "grows", "web:1", 8, "10", "11"),
            sized(owner, "shrinks", "web:2", 2, "10", "20"),
            sized(owner, "rests", "web:3", 0, "10", "11"),
        ]
    };
    // The sum is right: nothing is left to spread, and sizes stay.
    let owner = rolling(10, 0);
    assert_eq!(resizes(&owner, of(&owner)), ["grows 8->8", "shrinks 2->2"]);
    // 2 of a base of 20 is 1 of 11; the larger one gets what is left.
    let owner = rolling(11, 0);
    assert_eq!(
        resizes(&owner, of(&owner)),
        ["shrinks 2->1", "grows 8->10"],
        "the sum never passes the surge on the way"
    );
    let plan = planned(&world(owner.clone(), of(&owner)));
    let noted: Vec<_> = plan
        .actions
        .iter()
        .filter_map(|it| match it {
            Action::Scale { desired, max, .. } => Some((*desired, *max)),
            _ => None,
        })
        .collect();
    assert_eq!(noted, [(11, 11); 2]);
}

fn scaled(from: i32, to: i32) -> Option<Event> {
    let owner = rolling(5, 1);
    let action = Action::Scale {
        target: Target::of(&child(&owner, "web-x", "web:1", from, from)),
        from,
        to,
        desired: 5,
        max: 6,
        cause: ScaleCause::RolloutUp,
    };
    action.event("web")
}

#[test]
fn dep_54_every_change_of_a_size_is_an_event_and_nothing_else_is() {
    let text = |event: Option<Event>| event.map(|it| (it.warning, it.reason, it.message));
    assert_eq!(
        text(scaled(1, 3)),
        Some((
            false,
            "ScalingReplicaSet",
            "Scaled up replica set web-x from 1 to 3".to_owned()
        ))
    );
    assert_eq!(
        text(scaled(3, 1)),
        Some((
            false,
            "ScalingReplicaSet",
            "Scaled down replica set web-x from 3 to 1".to_owned()
        ))
    );
    assert_eq!(text(scaled(3, 3)), None, "DEP-45: only its annotations change");
}

/// `maxSurge`, `maxUnavailable` and replicas; surge, unavailable and fewest available.
#[rstest]
#[case::dep_31_percentages("25%", "25%", 10, (3, 2, 8))]
#[case::dep_32_both_round_to_nothing("0%", "1%", 10, (0, 1, 9))]
#[case::dep_34_no_more_than_there_are("0%", "200%", 3, (0, 3, 0))]
#[case::dep_34_surge_is_not_capped("300%", "0%", 3, (9, 0, 3))]
#[case::dep_34_nothing_is_missing_of_nothing("25%", "100%", 0, (0, 0, 0))]
#[case::dep_36_not_readable("abc", "25%", 10, (0, 0, 10))]
#[case::dep_36_a_number_as_text("10", "25%", 10, (0, 0, 10))]
fn dep_31_dep_32_dep_34_dep_35_dep_36_limits(
    #[case] surge: &str,
    #[case] unavailable: &str,
    #[case] replicas: i32,
    #[case] want: (i64, i64, i64),
) {
    let text = |it: &str| IntOrString::String(it.to_owned());
    let owner = deployment("web")
        .replicas(replicas)
        .rolling(text(surge), text(unavailable))
        .build();
    let got = (
        fenceposts::surge(&owner),
        fenceposts::unavailable(&owner),
        fenceposts::min_available(&owner),
    );
    assert_eq!(got, want);
}

#[test]
fn dep_33_dep_35_recreate_has_no_limits_of_its_own() {
    let mut owner = deployment("web").replicas(4).recreate().build();
    owner.spec.strategy.rolling_update = rolling(4, 3).spec.strategy.rolling_update;
    assert_eq!(
        (fenceposts::surge(&owner), fenceposts::unavailable(&owner)),
        (0, 0)
    );
    assert_eq!(fenceposts::min_available(&owner), 0);
}
