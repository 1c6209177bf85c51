//! DEP-23 to DEP-30: annotations.

use super::*;
use crate::action::REVISION_HISTORY;
use crate::plan::annotations::{Annotations, HISTORY_LIMIT, Revision, Stage};
use steersman_shared::wire::LAST_APPLIED;

fn map(entries: &[(&str, &str)]) -> Annotations {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn raised(current: &[(&str, &str)], target: i64) -> Annotations {
    let owner = deployment("web").build();
    annotations::of_new(
        &owner,
        &map(current),
        Revision(target),
        Stage::Existing,
        HISTORY_LIMIT,
    )
}

#[test]
fn dep_23_the_former_revision_goes_into_the_history() {
    assert_eq!(raised(&[(REVISION, "1")], 4)[REVISION_HISTORY], "1");
    let twice = raised(&[(REVISION, "4"), (REVISION_HISTORY, "1")], 9);
    assert_eq!(
        (twice[REVISION].as_str(), twice[REVISION_HISTORY].as_str()),
        ("9", "1,4")
    );
    assert!(!raised(&[], 4).contains_key(REVISION_HISTORY), "there was none");
    let never_lowered = raised(&[(REVISION, "7")], 4);
    assert_eq!(
        (
            never_lowered[REVISION].as_str(),
            never_lowered.get(REVISION_HISTORY)
        ),
        ("7", None)
    );
}

#[test]
fn dep_23_the_oldest_entries_make_room() {
    let long: Vec<String> = (1000..1400).map(|it| it.to_string()).collect();
    let history = long.join(",");
    assert_eq!(history.len(), 1999);
    let after = raised(&[(REVISION, "1400"), (REVISION_HISTORY, &history)], 1401);
    let entries: Vec<_> = after[REVISION_HISTORY].split(',').collect();
    assert!(after[REVISION_HISTORY].len() <= HISTORY_LIMIT);
    assert_eq!((entries.first(), entries.last()), (Some(&"1001"), Some(&"1400")));
    let owner = deployment("web").build();
    let full = map(&[(REVISION, "1400"), (REVISION_HISTORY, "1,2")]);
    let none_fits = annotations::of_new(&owner, &full, Revision(2000), Stage::Existing, 3);
    assert_eq!(
        none_fits[REVISION_HISTORY], "1,2",
        "an entry that does not fit alone is not added"
    );
}

#[test]
fn dep_26_all_annotations_but_those_of_the_controller_are_handed_down() {
    let mut owner = web(1, "web:2");
    owner.metadata.annotations = Some(map(&[
        ("team", "a"),
        ("kubernetes.io/change-cause", "because"),
        (LAST_APPLIED, "{}"),
        (REVISION, "2"),
        (REVISION_HISTORY, "1"),
        (DESIRED_REPLICAS, "77"),
        (MAX_REPLICAS, "78"),
    ]));
    let mut new = child(&owner, "new", "web:2", 1, 1);
    new.metadata.annotations = Some(map(&[
        (REVISION, "2"),
        ("team", "b"),
        ("gone", "stays"),
        (DESIRED_REPLICAS, "1"),
    ]));
    let old = child(&owner, "old", "web:1", 0, 0);
    let plan = planned(&world(owner, vec![old, new]));
    let annotated: Vec<_> = plan
        .actions
        .iter()
        .filter_map(|it| match it {
            Action::Annotate {
                target, annotations, ..
            } => Some((target.name.as_str(), annotations.clone())),
            _ => None,
        })
        .collect();
    let want = map(&[("team", "a"), ("kubernetes.io/change-cause", "because")]);
    assert_eq!(
        annotated,
        [("new", want)],
        "nothing is removed, and old ones are left alone"
    );
}

#[test]
fn dep_27_sizes_are_noted_at_birth_and_not_when_a_set_is_found() {
    let mut fresh = world(web(3, "web:1"), vec![]);
    let plan = fresh.sync().unwrap();
    let Action::Create(new) = &plan.actions[0] else {
        panic!("{plan:?}")
    };
    assert_eq!(
        (
            &*new.annotations[DESIRED_REPLICAS],
            &*new.annotations[MAX_REPLICAS]
        ),
        ("3", "4")
    );

    let owner = web(3, "web:1");
    let mut found = child(&owner, "found", "web:1", 3, 3);
    found.metadata.annotations = None;
    let plan = planned(&world(owner, vec![found]));
    let Action::Annotate { annotations, .. } = &plan.actions[0] else {
        panic!("{plan:?}")
    };
    assert_eq!(annotations, &map(&[(REVISION, "1")]));
}

#[rstest]
#[case::annotation(|it: &mut Deployment| {
    it.metadata.annotations.get_or_insert_default().insert("team".to_owned(), "b".to_owned());
})]
#[case::min_ready(|it: &mut Deployment| it.spec.min_ready_seconds = Some(9))]
#[case::strategy(|it: &mut Deployment| it.spec.strategy.type_ = Some("Recreate".to_owned()))]
#[case::deadline(|it: &mut Deployment| it.spec.progress_deadline_seconds = Some(7))]
#[case::history(|it: &mut Deployment| it.spec.revision_history_limit = Some(1))]
#[case::labels(|it: &mut Deployment| it.metadata.labels = Some(map(&[("a", "b")])))]
#[case::replicas(|it: &mut Deployment| it.spec.replicas = Some(5))]
fn dep_29_only_a_template_causes_a_rollout(#[case] change: fn(&mut Deployment)) {
    let mut world = world(web(2, "web:1"), vec![]);
    world.settle(10).unwrap();
    change(&mut world.deployment);
    world.deployment.metadata.generation = Some(2);
    world.settle(10).unwrap();
    assert_eq!(world.replica_sets.len(), 1);
    let (set, owner) = (&world.replica_sets[0], &world.deployment);
    assert_eq!(
        set.spec.min_ready_seconds.unwrap_or_default(),
        owner.spec.min_ready_seconds.unwrap_or_default()
    );
    assert_eq!(set.metadata.annotations.as_ref().unwrap()[REVISION], "1");
}

#[test]
fn dep_28_dep_30_unreadable_annotations_are_told_and_replaced_by_the_next_write() {
    let mut owner = web(3, "web:2");
    owner.metadata.annotations = Some(map(&[(REVISION, "first"), (ROLLBACK_TO, "back")]));
    let mut old = child(&owner, "old", "web:1", 2, 2);
    old.metadata.annotations = Some(map(&[
        (REVISION, "1"),
        (DESIRED_REPLICAS, "-3"),
        (MAX_REPLICAS, "4 "),
    ]));
    let mut new = child(&owner, "new", "web:2", 2, 2);
    new.metadata.annotations = Some(map(&[(REVISION, "two")]));
    let mut world = world(owner, vec![old, new]);
    let plan = planned(&world);
    let told: Vec<String> = plan.garbage.iter().map(ToString::to_string).collect();
    let starts = [
        "Deployment \"web\": annotation deployment.kubernetes.io/revision: \"first\" is not an integer",
        "Deployment \"web\": annotation deprecated.deployment.rollback.to: \"back\" is not a revision",
        "ReplicaSet \"new\": annotation deployment.kubernetes.io/revision: \"two\" is not an integer",
        "ReplicaSet \"old\": annotation deployment.kubernetes.io/desired-replicas: \"-3\" is not a number of pods",
        "ReplicaSet \"old\": annotation deployment.kubernetes.io/max-replicas: \"4 \" is not a number of pods",
    ];
    assert_eq!(told.len(), starts.len(), "{told:#?}");
    for start in starts {
        assert!(told.iter().any(|it| it.starts_with(start)), "{start}\n{told:#?}");
    }
    for _ in 0..8 {
        world.sync().unwrap();
    }
    let left: Vec<_> = planned(&world)
        .garbage
        .iter()
        .map(|it| (it.name.clone(), it.key))
        .collect();
    assert_eq!(
        left,
        [
            ("web".to_owned(), REVISION),
            ("web".to_owned(), ROLLBACK_TO),
            ("new".to_owned(), REVISION)
        ],
        "sizes are repaired by scaling; a revision only a person knows"
    );
}
