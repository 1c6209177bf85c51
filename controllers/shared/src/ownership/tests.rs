use std::sync::Mutex;

use insta::assert_snapshot;
use kube::Resource as _;
use kube::core::Status;
use rstest::rstest;

use super::*;
use crate::objects::ReplicaSet;
use crate::testing::{PodBuilder, pod, replica_set};

fn owner() -> ReplicaSet {
    replica_set("web").build()
}

#[rstest]
#[case::rs_10_foreign(pod("a").owned_by(&replica_set("other").build()), true, ClaimDecision::Ignore)]
#[case::rs_11_owned_and_matching(pod("a").owned_by(&owner()), true, ClaimDecision::Claimed)]
#[case::rs_11_also_when_deleted(pod("a").owned_by(&owner()).deleting(), true, ClaimDecision::Claimed)]
#[case::rs_12_owned_not_matching(pod("a").owned_by(&owner()), false, ClaimDecision::Release)]
#[case::rs_13_orphan(pod("a"), true, ClaimDecision::Adopt)]
#[case::rs_13_orphan_not_matching(pod("a"), false, ClaimDecision::Ignore)]
#[case::rs_13_orphan_deleted(pod("a").deleting(), true, ClaimDecision::Ignore)]
#[case::rs_13_other_namespace(pod("a").namespace("elsewhere"), true, ClaimDecision::Ignore)]
#[case::rs_18_same_name_other_uid(
    pod("a").owned_by(&replica_set("web").uid("former").build()), true, ClaimDecision::Ignore
)]
fn rs_10_rs_11_rs_12_rs_13_claims(
    #[case] child: PodBuilder,
    #[case] matches: bool,
    #[case] want: ClaimDecision,
) {
    assert_eq!(decide(&owner().metadata, &child.build().metadata, matches), want);
}

#[rstest]
#[case::still_claimed(pod("a").owned_by(&owner()), true, ClaimDecision::Claimed)]
#[case::no_release(pod("a").owned_by(&owner()), false, ClaimDecision::Ignore)]
#[case::no_adoption(pod("a"), true, ClaimDecision::Ignore)]
fn rs_12_an_owner_being_deleted(
    #[case] child: PodBuilder,
    #[case] matches: bool,
    #[case] want: ClaimDecision,
) {
    let owner = replica_set("web").deleting().build();
    assert_eq!(decide(&owner.metadata, &child.build().metadata, matches), want);
}

#[test]
fn rs_13_a_reference_that_is_not_a_controller_does_not_count() {
    let mut reference = reference_to(&owner());
    reference.controller = None;
    let child = pod("a").owner(reference).build();
    assert!(controller_of(&child).is_none());
    assert_eq!(
        decide(&owner().metadata, &child.metadata, true),
        ClaimDecision::Adopt
    );
}

#[test]
fn rs_15_the_patches() {
    let child = Uid::of(&pod("a").build());
    assert_snapshot!(adopt_patch(&owner(), &child), @r#"{"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"web","uid":"rs-web"}],"uid":"pod-a"}}"#);
    assert_snapshot!(release_patch(&Uid::of(&owner()), &child), @r#"{"metadata":{"ownerReferences":[{"$patch":"delete","uid":"rs-web"}],"uid":"pod-a"}}"#);
}

#[test]
fn rs_18_a_reference_is_followed_only_if_kind_name_and_uid_match() {
    let reference = reference_to(&owner());
    assert!(refers_to(&reference, &owner()));
    assert!(!refers_to(&reference, &replica_set("web").uid("later").build()));
    let other_kind = OwnerReference {
        kind: "Deployment".to_owned(),
        ..reference.clone()
    };
    assert!(!refers_to(&other_kind, &owner()));
    let other_version = OwnerReference {
        api_version: "apps/v1beta2".to_owned(),
        ..reference.clone()
    };
    assert!(refers_to(&other_version, &owner()));
    let other_group = OwnerReference {
        api_version: "example.com/v1".to_owned(),
        ..reference
    };
    assert!(!refers_to(&other_group, &owner()));
}

fn refused(code: u16, reason: &str) -> Result<(), kube::Error> {
    Err(kube::Error::Api(
        Status::failure("no", reason).with_code(code).boxed(),
    ))
}

#[test]
fn rs_16_answers() {
    assert!(matches!(adopt_answer(Ok(1)), ClaimAnswer::Done(1)));
    assert!(matches!(
        adopt_answer(refused(404, "NotFound")),
        ClaimAnswer::Gone
    ));
    assert!(matches!(
        adopt_answer(refused(422, "Invalid")),
        ClaimAnswer::Failed(_)
    ));
    assert!(matches!(
        release_answer(refused(404, "NotFound")),
        ClaimAnswer::Gone
    ));
    assert!(matches!(
        release_answer(refused(422, "Invalid")),
        ClaimAnswer::Gone
    ));
    assert!(matches!(
        release_answer(refused(500, "InternalError")),
        ClaimAnswer::Failed(_)
    ));
}

/// Answers one read.
struct Script(Mutex<Option<Result<Option<ObjectMeta>, kube::Error>>>);

impl FreshOwner for Script {
    async fn fresh_owner(&self) -> Result<Option<ObjectMeta>, kube::Error> {
        self.0.lock().unwrap().take().expect("asked more than once")
    }
}

async fn check(answer: Result<Option<ObjectMeta>, kube::Error>) -> Result<(), AdoptionRefused> {
    fresh_adoption_check(&Uid::of(&owner()), &Script(Mutex::new(Some(answer)))).await
}

#[tokio::test]
async fn rs_14_the_owner_is_read_live_before_an_adoption() {
    let meta = |builder: crate::testing::ReplicaSetBuilder| Ok(Some(builder.build().meta().clone()));
    assert!(check(meta(replica_set("web"))).await.is_ok());
    assert!(matches!(
        check(meta(replica_set("web").uid("x"))).await,
        Err(AdoptionRefused::Replaced)
    ));
    assert!(matches!(
        check(meta(replica_set("web").deleting())).await,
        Err(AdoptionRefused::Deleted)
    ));
    assert!(matches!(check(Ok(None)).await, Err(AdoptionRefused::Replaced)));
    let unreachable = refused(500, "InternalError").map(|()| None);
    assert!(matches!(check(unreachable).await, Err(AdoptionRefused::Read(_))));
}
