use k8s_openapi::api::apps::v1::ReplicaSetCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;
use steersman_shared::conditions;
use steersman_shared::testing::{PodBuilder, T0, deployment, pod as built_pod, replica_set, t};

use super::*;
use crate::action::{DELETION_COST, FAILED_CREATE, REPLICA_FAILURE};

/// A snapshot of `web`; pods without owner become its own.
fn snapshot(replica_set: ReplicaSet, pods: Vec<PodBuilder>) -> Snapshot {
    let own = |pod: PodBuilder| {
        let built = pod.clone().build();
        if built.metadata.owner_references.is_some() {
            built
        } else {
            pod.owned_by(&replica_set).build()
        }
    };
    let pods: Vec<_> = pods.into_iter().map(own).map(Arc::new).collect();
    Snapshot {
        selector: Selector::parse(&replica_set.spec.selector).unwrap(),
        related: pods.clone(),
        pods,
        replica_set: Arc::new(replica_set),
        stores_terminating: true,
    }
}

fn web(replicas: i32) -> ReplicaSet {
    replica_set("web")
        .owned_by(&deployment("web").build())
        .replicas(replicas)
        .build()
}

/// What a plan does besides the status, in short.
fn summary(plan: &Plan) -> Vec<String> {
    let line = |action: &Action| match action {
        Action::CreatePods { count } => Some(format!("create {count}")),
        Action::DeletePod { name, cause, .. } => Some(format!("delete {name} ({cause:?})")),
        Action::AdoptPod { name, .. } => Some(format!("adopt {name}")),
        Action::ReleasePod { name, .. } => Some(format!("release {name}")),
        Action::WriteStatus(_) => None,
    };
    plan.actions.iter().filter_map(line).collect()
}

fn status_of(plan: &Plan) -> Option<&StatusWrite> {
    plan.actions.iter().find_map(|action| match action {
        Action::WriteStatus(write) => Some(write.as_ref()),
        _ => None,
    })
}

#[rstest]
#[case::creates_what_is_missing(3, vec![built_pod("a")], &["create 2"])]
#[case::content(1, vec![built_pod("a")], &[])]
#[case::replaces_finished_pods(1, vec![built_pod("a").phase("Failed")], &["create 1"])]
#[case::replaces_pods_on_their_way_out(1, vec![built_pod("a").deleting()], &["create 1"])]
#[case::at_most_500(600, vec![], &["create 500"])]
fn rs_21_rs_33_as_many_as_wanted(
    #[case] replicas: i32,
    #[case] pods: Vec<PodBuilder>,
    #[case] want: &[&str],
) {
    assert_eq!(summary(&plan(&snapshot(web(replicas), pods), T0)), want);
}

#[rstest]
#[case::unassigned_first(vec![built_pod("a").on("n1").ready(), built_pod("b")], "delete b (Unassigned)")]
#[case::not_running_next(vec![built_pod("a").on("n").ready(), built_pod("b").on("n")], "delete b (NotRunning)")]
#[case::not_ready_next(
    vec![built_pod("a").on("n").ready(), built_pod("b").on("n").phase("Running")], "delete b (NotReady)"
)]
#[case::cheaper_next(
    vec![built_pod("a").on("n").ready(), built_pod("b").on("n").ready().annotation(DELETION_COST, "-1")],
    "delete b (Surplus)"
)]
#[case::more_restarts_next(
    vec![built_pod("a").on("n").ready(), built_pod("b").on("n").ready().restarts(2)], "delete b (Surplus)"
)]
#[case::younger_last(
    vec![built_pod("a").on("n").ready(), built_pod("b").on("n").ready().created(99)], "delete b (Surplus)"
)]
#[case::unknown_before_running(
    vec![built_pod("a").on("n").phase("Running"), built_pod("b").on("n").phase("Unknown")], "delete b (NotRunning)"
)]
#[case::pending_before_unknown(
    vec![built_pod("a").on("n").phase("Unknown"), built_pod("b").on("n").phase("Pending")], "delete b (NotRunning)"
)]
fn rs_41_rs_42_rs_43_rs_44_rs_47_rs_48_picks_the_victim(#[case] pods: Vec<PodBuilder>, #[case] want: &str) {
    assert_eq!(summary(&plan(&snapshot(web(1), pods), t(100))), [want]);
}

#[test]
fn rs_45_the_fullest_node_gives_first() {
    let ready = |name: &str, node: &str| built_pod(name).on(node).ready();
    let pods = vec![ready("a", "n1"), ready("b", "n2"), ready("c", "n2")];
    let first = plan(&snapshot(web(2), pods), t(100));
    assert_eq!(summary(&first), ["delete b (Surplus)"]);
}

#[test]
fn rs_10_13_claims_come_first_and_count() {
    let foreign = replica_set("other").build();
    let pods = vec![
        built_pod("foreign").owned_by(&foreign),
        built_pod("lost").owned_by(&web(3)).label("app", "changed"),
        built_pod("own"),
    ];
    let mut snapshot = snapshot(web(3), pods);
    snapshot.pods.push(Arc::new(built_pod("stray").build()));
    assert_eq!(
        summary(&plan(&snapshot, T0)),
        ["release lost", "adopt stray", "create 1"]
    );
}

#[test]
fn rs_24_one_being_deleted_only_gets_a_status() {
    let dying = replica_set("web").replicas(3).deleting().build();
    let mut snapshot = snapshot(dying, vec![built_pod("a")]);
    snapshot.pods.push(Arc::new(built_pod("stray").build()));
    let plan = plan(&snapshot, T0);
    assert!(summary(&plan).is_empty());
    assert_eq!(status_of(&plan).unwrap().status.replicas, 1);
}

#[test]
fn rs_2_rs_35_fields_that_we_do_not_know_reach_the_pod() {
    let template = json!({
        "metadata": { "labels": { "app": "web" }, "name": "ignored", "finalizers": ["a/b"] },
        "spec": { "fromTheFuture": [1, { "deep": null }] },
    });
    let pod = pod::of(&replica_set("web").template(template.clone()).build()).unwrap();
    assert_eq!(pod["spec"], template["spec"]);
    assert_eq!(pod["metadata"]["finalizers"], json!(["a/b"]));
    assert_eq!(pod["metadata"]["generateName"], "web-");
    assert_eq!(pod["metadata"]["name"], json!(null));
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "rs-web");
}

#[test]
fn rs_37_a_template_without_labels_makes_no_pod() {
    let bare = replica_set("web").template(json!({ "spec": {} })).build();
    assert_eq!(
        pod::of(&bare).unwrap_err().to_string(),
        "unable to create pods, no labels"
    );
}

#[rstest]
#[case("web", "web-")]
#[case("Web", "Web")]
fn rs_36_the_name_prefix_is_valid(#[case] name: &str, #[case] want: &str) {
    assert_eq!(
        pod::of(&replica_set(name).build()).unwrap()["metadata"]["generateName"],
        want
    );
}

#[test]
fn rs_57_a_server_that_drops_terminating_pods_is_not_told_again() {
    let told = |stores_terminating| {
        let settled = replica_set("web")
            .replicas(0)
            .with(|it| it.status.observed_generation = Some(1))
            .build();
        let mut snapshot = snapshot(settled, vec![]);
        snapshot.stores_terminating = stores_terminating;
        status_of(&plan(&snapshot, T0)).is_some()
    };
    assert_eq!((told(true), told(false)), (true, false));
}

#[test]
fn rs_61_wakes_when_the_first_ready_pod_becomes_available() {
    let slow = replica_set("web").replicas(2).min_ready(10).build();
    let pods = vec![built_pod("a").ready_at(t(3)), built_pod("b").ready_at(t(1))];
    assert_eq!(plan(&snapshot(slow, pods), t(5)).wake_at, Some(t(11)));
}

#[rstest]
#[case::after_a_failure(Step::Failed("quota".to_owned()), true)]
#[case::after_a_step_that_was_not_tried(Step::Skipped, true)]
#[case::after_a_success(Step::Done, false)]
fn rs_62_rs_63_rs_64_the_failure_stays_until_a_step_succeeds(#[case] step: Step, #[case] stays: bool) {
    let failing = replica_set("web").replicas(2).with(|it| {
        it.status.conditions = Some(vec![ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(FAILED_CREATE.to_owned()),
            last_transition_time: Some(Time(T0)),
            ..Default::default()
        }]);
    });
    let Some(Action::WriteStatus(write)) = status_write(&snapshot(failing.build(), vec![]), &step, t(9))
    else {
        panic!("no status")
    };
    let failure = conditions::find(write.status.conditions.as_deref().unwrap(), REPLICA_FAILURE);
    assert_eq!(failure.is_some(), stays);
    assert!(
        failure.is_none_or(|it| it.last_transition_time == Some(Time(T0))),
        "it is not updated"
    );
}

#[test]
fn rs_59_inv_11_a_settled_one_plans_nothing() {
    let settled = replica_set("web").with(|it| {
        let status = &mut it.status;
        (status.replicas, status.ready_replicas, status.available_replicas) = (1, Some(1), Some(1));
        (status.fully_labeled_replicas, status.observed_generation) = (Some(1), Some(1));
        status.terminating_replicas = Some(0);
    });
    assert_eq!(
        plan(&snapshot(settled.build(), vec![built_pod("a").ready()]), t(5)),
        Plan::default()
    );
}

fn any_pod() -> impl Strategy<Value = PodBuilder> {
    let phase = prop_oneof![Just("Pending"), Just("Running"), Just("Unknown"), Just("Failed")];
    (
        0..50u32,
        phase,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        0..5u64,
        0..3i32,
    )
        .prop_map(|(name, phase, ready, assigned, deleting, age, restarts)| {
            let mut pod = built_pod(&format!("p{name:02}"))
                .phase(phase)
                .created(age)
                .restarts(restarts);
            if ready {
                pod = pod.condition("Ready", "True", t(age));
            }
            if assigned {
                pod = pod.on(if restarts == 0 { "n1" } else { "n2" });
            }
            if deleting { pod.deleting() } else { pod }
        })
}

proptest! {
    #[test]
    fn inv_14_rs_1_rs_50_plans_are_bounded_and_repeatable(
        replicas in 0..700i32, pods in prop::collection::vec(any_pod(), 0..60),
    ) {
        let snapshot = snapshot(web(replicas), pods);
        let first = plan(&snapshot, t(100));
        prop_assert_eq!(&first, &plan(&snapshot, t(100)));
        let active = snapshot.pods.iter().filter(|pod| pods::is_active(pod)).count();
        let wanted = usize::try_from(replicas).unwrap();
        let (mut creates, mut deletes) = (0, Vec::new());
        for action in &first.actions {
            match action {
                Action::CreatePods { count } => creates += usize::try_from(*count).unwrap(),
                Action::DeletePod { name, .. } => deletes.push(name.clone()),
                _ => {}
            }
        }
        prop_assert_eq!(creates, wanted.saturating_sub(active).min(BURST));
        prop_assert_eq!(deletes.len(), active.saturating_sub(wanted).min(BURST));
        let dying = |name: &String| snapshot.pods.iter().any(|pod| pod.metadata.name.as_ref() == Some(name) && pods::is_active(pod));
        prop_assert!(deletes.iter().all(dying), "RS-52");
    }
}

/// Which of two pods goes first.
fn victim(pods: Vec<PodBuilder>, now: Timestamp) -> String {
    summary(&plan(&snapshot(web(1), pods), now)).remove(0)
}

#[test]
fn rs_46_a_pod_that_is_ready_for_a_shorter_time_goes_first() {
    let ready = |name: &str, since: u64| built_pod(name).on("n").ready_at(t(since));
    assert_eq!(
        victim(vec![ready("a", 0), ready("b", 90)], t(100)),
        "delete b (Surplus)"
    );
    let restarts = vec![ready("a", 0).restarts(9), ready("b", 90)];
    assert_eq!(
        victim(restarts, t(100)),
        "delete b (Surplus)",
        "restarts are looked at later"
    );
    let untimed = ready("b", 0).with(|pod| {
        for condition in pod.status.as_mut().unwrap().conditions.iter_mut().flatten() {
            condition.last_transition_time = None;
        }
    });
    assert_eq!(
        victim(vec![ready("a", 99), untimed], t(100)),
        "delete b (Surplus)"
    );
}

#[test]
fn rs_47_restarts_of_plain_init_containers_do_not_count() {
    let with_init = |name: &str, policy: &str, restarts: i32| {
        let spec = json!([{ "name": "init", "restartPolicy": policy }]);
        let status =
            json!([{ "name": "init", "restartCount": restarts, "ready": true, "image": "", "imageID": "" }]);
        built_pod(name).on("n").ready().with(|pod| {
            pod.spec.as_mut().unwrap().init_containers = serde_json::from_value(spec).unwrap();
            pod.status.as_mut().unwrap().init_container_statuses = serde_json::from_value(status).unwrap();
        })
    };
    let sidecar = vec![with_init("a", "Always", 0), with_init("b", "Always", 3)];
    assert_eq!(victim(sidecar, t(100)), "delete b (Surplus)");
    let plain = vec![with_init("a", "", 0), with_init("b", "", 3)];
    assert_eq!(
        victim(plain, t(100)),
        "delete a (Surplus)",
        "a full tie is broken by uid"
    );
}

#[test]
fn rs_49_ages_are_compared_by_powers_of_two_and_then_by_uid() {
    let created = |name: &str, at: u64| built_pod(name).on("n").ready().created(at);
    // 68.7 s and 34.4 s are powers of two in nanoseconds: 70 s and 100 s fall between the same two.
    assert_eq!(
        victim(vec![created("a", 0), created("b", 30)], t(100)),
        "delete a (Surplus)",
        "the same power: the smaller uid goes, though it is older"
    );
    assert_eq!(
        victim(vec![created("a", 0), created("b", 40)], t(100)),
        "delete b (Surplus)"
    );
    assert_eq!(
        victim(vec![created("a", 99), created("b", 100)], t(100)),
        "delete b (Surplus)",
        "an age of 0 is the youngest"
    );
}

#[test]
fn rs_23_finished_pods_are_replaced_and_not_deleted() {
    let pods = vec![
        built_pod("evicted").phase("Failed"),
        built_pod("done").phase("Succeeded"),
    ];
    assert_eq!(summary(&plan(&snapshot(web(1), pods.clone()), T0)), ["create 1"]);
    assert_eq!(
        summary(&plan(&snapshot(web(0), pods), T0)),
        Vec::<String>::new(),
        "nor at a scale-down"
    );
}

#[test]
fn rs_22_rs_53_rs_54_rs_55_rs_66_counts_come_from_one_snapshot() {
    let relabelled = replica_set("web")
        .replicas(5)
        .template(json!({ "metadata": { "labels": { "app": "web", "tier": "front" } }, "spec": {} }))
        .min_ready(10)
        .build();
    let pods = vec![
        built_pod("available").ready_at(T0).label("tier", "front"),
        built_pod("ready").ready_at(t(95)).label("tier", "back"),
        built_pod("pending"),
        built_pod("failed").phase("Failed"),
        built_pod("terminating").ready().deleting(),
        built_pod("ended").phase("Failed").deleting(),
    ];
    let plan = plan(&snapshot(relabelled, pods), t(100));
    assert_eq!(
        summary(&plan),
        ["create 2"],
        "what is created now counts in the next sync"
    );
    let status = &status_of(&plan).unwrap().status;
    let counts = (
        status.replicas,
        status.fully_labeled_replicas,
        status.ready_replicas,
        status.available_replicas,
        status.terminating_replicas,
    );
    assert_eq!(counts, (3, Some(1), Some(2), Some(1), Some(1)));
}

#[test]
fn rs_65_conditions_of_others_stay_in_place() {
    let of_others = |type_: &str| ReplicaSetCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        ..Default::default()
    };
    let failing = ReplicaSetCondition {
        reason: Some(FAILED_CREATE.to_owned()),
        ..of_others(REPLICA_FAILURE)
    };
    let stored = vec![of_others("Before"), failing, of_others("After")];
    let owner = replica_set("web")
        .replicas(0)
        .with(|it| it.status.conditions = Some(stored))
        .build();
    let plan = plan(&snapshot(owner, vec![]), T0);
    let conditions = status_of(&plan).unwrap().status.conditions.clone().unwrap();
    let types: Vec<_> = conditions.iter().map(|it| it.type_.as_str()).collect();
    assert_eq!(types, ["Before", "After"]);
}

#[test]
fn issue_4_a_selector_that_does_not_match_the_template_makes_no_pod() {
    let odd = replica_set("web")
        .template(json!({ "metadata": { "labels": { "app": "db" } }, "spec": {} }))
        .build();
    let error = pod::of(&odd).unwrap_err().to_string();
    assert!(error.contains("spec.selector does not match"), "{error}");
}
