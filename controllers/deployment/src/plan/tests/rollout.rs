//! DEP-10 to DEP-17, DEP-48 to DEP-60.

use super::*;
use crate::action::NewReplicaSet;

fn created(plan: &Plan) -> Option<&NewReplicaSet> {
    plan.actions.iter().find_map(|action| match action {
        Action::Create(new) => Some(new.as_ref()),
        _ => None,
    })
}

#[test]
fn dep_12_a_second_set_with_the_same_template_is_an_old_one() {
    let owner = web(3, "web:1");
    let older = child(&owner, "older", "web:1", 3, 3);
    let mut newer = child(&owner, "newer", "web:1", 1, 1);
    newer.metadata.creation_timestamp = Some(Time(t(9)));
    let family = Family::of(&owner, &[Arc::new(newer), Arc::new(older)]);
    let name = |it: &Arc<ReplicaSet>| it.metadata.name.clone().unwrap();
    assert_eq!(family.new.as_ref().map(name).as_deref(), Some("older"), "DEP-10");
    assert_eq!(family.old.iter().map(name).collect::<Vec<_>>(), ["newer"]);
    let plan = planned(&world(
        owner,
        family.all().map(|it| it.as_ref().clone()).collect(),
    ));
    assert!(
        summary(&plan).contains(&"scale newer 1->0".to_owned()),
        "{:?}",
        summary(&plan)
    );
}

#[rstest]
#[case::memory("/spec/containers/0/resources", json!({"limits": {"memory": "1Gi"}}), json!({"limits": {"memory": "1073741824"}}), true)]
#[case::cpu("/spec/containers/0/resources", json!({"requests": {"cpu": "0.5"}}), json!({"requests": {"cpu": "500m"}}), true)]
#[case::other("/spec/containers/0/resources", json!({"requests": {"cpu": "0.5"}}), json!({"requests": {"cpu": "501m"}}), false)]
#[case::of_the_pod("/spec/resources", json!({"limits": {"cpu": "1"}}), json!({"limits": {"cpu": "1000m"}}), true)]
#[case::overhead("/spec/overhead", json!({"cpu": "1"}), json!({"cpu": "1000m"}), true)]
#[case::divisor(
    "/spec/containers/0/env",
    json!([{"name": "a", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1"}}}]),
    json!([{"name": "a", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1000m"}}}]), true
)]
#[case::size_limit(
    "/spec/volumes", json!([{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}]),
    json!([{"name": "v", "emptyDir": {"sizeLimit": "1024Mi"}}]), true
)]
#[case::not_a_quantity("/spec/containers/0/args", json!(["1Gi"]), json!(["1024Mi"]), false)]
#[case::unknown_field("/spec/fromTheFuture", json!({"cpu": "1"}), json!({"cpu": "1000m"}), false)]
#[case::unknown_field_alone("/spec/fromTheFuture", json!(1), Value::Null, false)]
#[case::empty_list("/spec/volumes", json!([]), Value::Null, true)]
#[case::empty_object("/spec/securityContext", json!({}), Value::Null, false)]
#[case::order("/spec/tolerations", json!([{"key": "a"}, {"key": "b"}]), json!([{"key": "b"}, {"key": "a"}]), false)]
fn dep_11_dep_13_templates_are_compared_by_meaning(
    #[case] place: &str,
    #[case] a: Value,
    #[case] b: Value,
    #[case] want: bool,
) {
    let with = |value: &Value| {
        let mut template = pod_template("web:1");
        let (parent, member) = place.rsplit_once('/').unwrap();
        let parent = template.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if !value.is_null() {
            parent.insert(member.to_owned(), value.clone());
        }
        template
    };
    assert_eq!(template::is_equal(&with(&a), &with(&b)), want);
    assert_eq!(template::is_equal(&with(&b), &with(&a)), want);
}

#[rstest]
#[case::all_at_once(0, 10, 10)]
#[case::as_the_surge_allows(9, 10, 2)]
#[case::none_while_it_is_full(11, 10, 0)]
#[case::none_of_none(0, 0, 0)]
fn dep_15_the_new_set_is_born_as_large_as_the_surge_allows(
    #[case] old: i32,
    #[case] replicas: i32,
    #[case] want: i32,
) {
    let owner = web(replicas, "web:2");
    let old = child(&owner, "old", "web:1", old, old);
    let plan = planned(&world(owner, vec![old]));
    assert_eq!(created(&plan).unwrap().replicas, want);
}

#[test]
fn dep_15_under_recreate_it_is_born_with_all() {
    let owner = deployment("web").recreate().replicas(4).image("web:2").build();
    let old = child(&owner, "old", "web:1", 0, 0);
    assert_eq!(created(&planned(&world(owner, vec![old]))).unwrap().replicas, 4);
}

#[test]
fn dep_14_dep_16_dep_17_the_hash_stands_in_all_places() {
    let mut world = world(web(1, "web:1"), vec![]);
    world.sync().unwrap();
    let (name, hash) = world.created.clone().unwrap();
    let set = &world.replica_sets[0];
    assert_eq!(name, format!("web-{hash}"));
    assert!(
        hash.len() <= 10 && hash.chars().all(|it| "bcdfghjklmnpqrstvwxz2456789".contains(it)),
        "{hash}"
    );
    let in_labels = set.metadata.labels.as_ref().unwrap()[POD_TEMPLATE_HASH].clone();
    let in_selector = set.spec.selector.match_labels.as_ref().unwrap()[POD_TEMPLATE_HASH].clone();
    let in_template = set.spec.template["metadata"]["labels"][POD_TEMPLATE_HASH].clone();
    assert_eq!(
        [&in_labels, &in_selector, in_template.as_str().unwrap()],
        [hash.as_str(); 3]
    );
    let controller = ownership::controller_of(set).unwrap();
    assert_eq!(
        (controller.kind.as_str(), controller.block_owner_deletion),
        ("Deployment", Some(true))
    );
    // The same template and count of collisions hit the same name after a crash.
    assert_eq!(template::hash(&world.deployment.spec.template, None), hash);
}

#[test]
fn dep_50_dep_51_a_set_with_more_available_pods_than_its_size_ends_the_shrinking() {
    let owner = web(10, "web:2");
    let mut lagging = child(&owner, "b", "web:1", 3, 4);
    lagging.metadata.creation_timestamp = Some(Time(t(1)));
    let mut healthy = child(&owner, "c", "web:0", 3, 3);
    healthy.metadata.creation_timestamp = Some(Time(t(2)));
    let new = child(&owner, "new", "web:2", 5, 5);
    let family = Family::of(&owner, &[lagging, healthy, new].map(Arc::new));
    let shrink = rolling::plan_old(&owner, &family);
    assert!(shrink.resizes.is_empty(), "{shrink:?}");
    assert_eq!(
        shrink.hold,
        Some(Hold::StatusLags {
            replica_sets: vec!["b".to_owned()]
        })
    );
}

#[test]
fn dep_52_available_old_pods_go_oldest_first() {
    let owner = web(10, "web:3");
    let older = child(&owner, "older", "web:1", 1, 1);
    let mut old = child(&owner, "old", "web:2", 5, 5);
    old.metadata.creation_timestamp = Some(Time(t(1)));
    let mut new = child(&owner, "new", "web:3", 5, 5);
    new.metadata.creation_timestamp = Some(Time(t(2)));
    let family = Family::of(&owner, &[older, old, new].map(Arc::new));
    let resizes = rolling::plan_old(&owner, &family).resizes;
    let lines: Vec<_> = resizes
        .iter()
        .map(|it| {
            format!(
                "{} {}->{}",
                it.replica_set.metadata.name.as_deref().unwrap(),
                it.from,
                it.to
            )
        })
        .collect();
    assert_eq!(
        lines,
        ["older 1->0", "old 5->4"],
        "11 are available, 9 have to be"
    );
}

#[test]
fn dep_55_in_a_rollover_the_pods_that_never_came_up_go_first() {
    let owner = web(10, "web:3");
    let mut first = child(&owner, "first", "web:1", 9, 9);
    first.metadata.annotations = Some([(REVISION.to_owned(), "1".to_owned())].into());
    let mut stuck = child(&owner, "stuck", "web:2", 2, 0);
    stuck.metadata.creation_timestamp = Some(Time(t(5)));
    stuck.metadata.annotations = Some([(REVISION.to_owned(), "2".to_owned())].into());
    let mut world = world(owner, vec![first, stuck]);
    let plan = world.sync().unwrap();
    assert_eq!(summary(&plan), ["create 0", "scale stuck 2->0", "status"]);
    assert_eq!(created(&plan).unwrap().annotations[REVISION], "3");
}

#[test]
fn dep_56_terminating_pods_take_no_room() {
    let plan_with = |terminating: Option<i32>| {
        let owner = web(10, "web:2");
        let mut old = child(&owner, "old", "web:1", 9, 9);
        old.status.terminating_replicas = terminating;
        let mut new = child(&owner, "new", "web:2", 2, 2);
        new.metadata.annotations = Some([(REVISION.to_owned(), "2".to_owned())].into());
        let mut lines = summary(&planned(&world(owner, vec![old, new])));
        lines.retain(|line| line.starts_with("scale"));
        lines
    };
    assert_eq!(plan_with(Some(7)), plan_with(Some(0)));
    assert_eq!(plan_with(Some(7)), ["scale old 9->7"]);
}

#[test]
fn dep_59_pods_of_a_set_that_is_no_longer_claimed_hold_nothing_back() {
    let owner = deployment("web").recreate().replicas(2).image("web:2").build();
    let foreign = replica_set("foreign")
        .owned_by(&deployment("other").build())
        .build();
    let pod = steersman_shared::testing::pod("stray")
        .owned_by(&foreign)
        .ready()
        .build();
    let world = World::new(owner, vec![foreign], vec![pod], T0);
    assert_eq!(summary(&planned(&world)), ["create 2", "status"]);
}

#[test]
fn dep_60_only_old_sets_without_pods_are_cleaned_up() {
    let mut owner = web(1, "web:9");
    owner.spec.revision_history_limit = Some(1);
    let old = |name: &str, revision: &str, size: i32| {
        let mut it = child(&owner, name, &format!("web:{name}"), size, size);
        it.metadata.annotations = Some([(REVISION.to_owned(), revision.to_owned())].into());
        Arc::new(it)
    };
    let names = |old: &[Arc<ReplicaSet>]| -> Vec<String> {
        let deleted = history::plan(&owner, old);
        deleted
            .iter()
            .map(|it| it.metadata.name.clone().unwrap())
            .collect()
    };
    assert_eq!(
        names(&[old("a", "3", 0), old("b", "1", 0), old("c", "2", 0)]),
        ["b", "c"]
    );
    assert_eq!(
        names(&[old("a", "3", 0), old("b", "1", 1), old("c", "2", 0)]),
        ["c"],
        "one that is not disposable is not replaced by a later one"
    );
}

#[test]
fn dep_5_a_sync_writes_the_status_once() {
    let mut world = world(web(4, "web:1"), vec![]);
    let mut statuses = 0;
    for step in 0..60_u64 {
        if step == 20 {
            world.deployment.spec.template = Arc::new(pod_template("web:2"));
            world.deployment.metadata.generation = Some(2);
        }
        world.now = t(step);
        let plan = world.sync().unwrap();
        let written: Vec<_> = plan
            .actions
            .iter()
            .filter(|it| matches!(it, Action::WriteStatus(_)))
            .collect();
        assert!(written.len() <= 1, "{:?}", summary(&plan));
        statuses += written.len();
        for it in &mut world.replica_sets {
            let size = size(it);
            (it.status.replicas, it.status.observed_generation) = (size, it.metadata.generation);
            it.status.ready_replicas = Some(size);
            it.status.available_replicas = Some(size);
            it.status.terminating_replicas = Some(0);
        }
    }
    assert!(conditions::is_complete(
        &world.deployment,
        &world.deployment.status
    ));
    assert_eq!(
        world.deployment.metadata.annotations.as_ref().unwrap()[REVISION],
        "2"
    );
    assert!((4..20).contains(&statuses), "{statuses}");
}
