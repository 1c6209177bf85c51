use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;

use super::*;
use crate::testing::{PodBuilder, pod, replica_set};

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(crate::testing::NAMESPACE, name)
}

fn names(pods: &[Arc<Pod>]) -> Vec<&str> {
    pods.iter()
        .map(|pod| pod.metadata.name.as_deref().unwrap())
        .collect()
}

fn apply(cache: &Cache<Pod>, pod: PodBuilder) -> Vec<Change<Pod>> {
    cache.apply(pod.build())
}

#[test]
fn sty_19_an_update_carries_the_old_and_the_new_version() {
    let cache = Cache::default();
    apply(&cache, pod("a").label("app", "old").version(1));
    let changes = apply(&cache, pod("a").label("app", "new").version(2));
    let labels: Vec<_> = changes[0]
        .versions()
        .map(|pod| pod.metadata.labels.as_ref().unwrap()["app"].as_str())
        .collect();
    assert_eq!((changes.len(), labels), (1, vec!["old", "new"]));
}

#[test]
fn sty_20_a_list_removes_what_is_absent_from_it() {
    let cache = Cache::default();
    apply(&cache, pod("a").version(1));
    apply(&cache, pod("b").version(2));
    apply(&cache, pod("c").version(3));
    let kept = cache.get(&key("b"));
    let changes = cache.replace(
        vec![pod("b").version(2).build(), pod("c").version(9).build()],
        &[],
    );
    assert!(
        matches!(&changes[..], [Change::Removed(a), Change::Updated { .. }] if Uid::of(&**a).0.ends_with('a'))
    );
    assert!(Arc::ptr_eq(&kept.unwrap(), &cache.get(&key("b")).unwrap()));
    assert!(cache.replace(Vec::new(), &[]).len() == 2 && cache.is_empty());
}

#[test]
fn rs_18_a_reused_name_is_a_removal_and_an_addition() {
    let cache = Cache::default();
    apply(&cache, pod("a").uid("first").version(1));
    let changes = apply(&cache, pod("a").uid("second").version(5));
    assert!(matches!(&changes[..], [Change::Removed(old), Change::Added(new)]
        if &*Uid::of(&**old).0 == "first" && &*Uid::of(&**new).0 == "second"));
    assert!(cache.get_by_uid(&Uid("first".into())).is_none());
    // A late event of the first one changes nothing.
    assert!(apply(&cache, pod("a").uid("first").version(2)).is_empty());
    assert!(
        cache
            .delete(&pod("a").uid("first").version(4).build().metadata)
            .is_none()
    );
    assert_eq!(cache.len(), 1);
}

#[test]
fn rs_27_repeated_and_late_events_are_ignored() {
    let cache = Cache::default();
    apply(&cache, pod("a").version(7));
    assert!(apply(&cache, pod("a").version(7)).is_empty());
    assert!(apply(&cache, pod("a").version(6)).is_empty());
    assert!(cache.delete(&pod("a").version(8).build().metadata).is_some());
    assert!(cache.delete(&pod("a").version(8).build().metadata).is_none());
    assert!(
        apply(&cache, pod("a").version(7)).is_empty(),
        "a deleted object came back"
    );
    assert!(cache.is_empty());
}

#[test]
fn rs_31_versions_that_are_no_numbers_only_have_to_differ() {
    let cache = Cache::default();
    let version = |text: &str| {
        let text = text.to_owned();
        pod("a").with(|pod| pod.metadata.resource_version = Some(text))
    };
    apply(&cache, version("b"));
    assert!(apply(&cache, version("b")).is_empty());
    assert_eq!(apply(&cache, version("a")).len(), 1);
}

#[test]
fn sty_25_an_object_that_does_not_decode_is_held_and_not_forgotten() {
    let cache = Cache::default();
    let owner = replica_set("web").build();
    apply(&cache, pod("a").owned_by(&owner).version(1));
    let broken = pod("a").owned_by(&owner).version(2).build().metadata;
    assert!(cache.hold(&broken, "no"));
    assert!(!cache.hold(&broken, "no"), "the same version is news only once");
    assert!(cache.held(&key("a")) && cache.held_controlled_by(&Uid::of(&owner)));
    assert!(cache.get(&key("a")).is_some());
    assert!(apply(&cache, pod("a").version(1)).is_empty() && cache.held(&key("a")));
    assert_eq!(apply(&cache, pod("a").version(3)).len(), 1);
    assert!(!cache.held(&key("a")));
    assert!(!cache.hold(&broken, "no"), "older than what is cached");

    let broken = pod("a").version(4).build().metadata;
    let changes = cache.replace(Vec::new(), &[(broken.clone(), "no".to_owned())]);
    assert!(changes.is_empty() && cache.len() == 1 && cache.held(&key("a")));
    assert!(cache.delete(&broken).is_some());
    assert!(!cache.held(&key("a")) && cache.is_empty());
}

#[test]
fn sty_83_lookups_are_sorted_by_name() {
    let cache = Cache::default();
    let owner = replica_set("web").build();
    cache.add_index("node", |pod: &Pod| vec![crate::pods::node_name(pod).into()]);
    for (version, name) in ["c", "a", "b"].into_iter().enumerate() {
        apply(
            &cache,
            pod(name).owned_by(&owner).on("n1").version(1 + version as u64),
        );
    }
    apply(&cache, pod("z").version(9));
    apply(&cache, pod("y").namespace("other").uid("other").version(10));
    assert_eq!(names(&cache.controlled_by(&Uid::of(&owner))), ["a", "b", "c"]);
    assert_eq!(names(&cache.indexed("node", "n1")), ["a", "b", "c"]);
    assert_eq!(names(&cache.orphans("default")), ["z"]);
    assert_eq!(names(&cache.in_namespace("default")), ["a", "b", "c", "z"]);
    assert_eq!(names(&cache.in_namespace("other")), ["y"]);
    assert!(cache.indexed("none", "n1").is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Apply {
        name: u8,
        incarnation: u8,
        owner: Option<u8>,
        node: u8,
        version: u64,
    },
    Delete {
        name: u8,
        incarnation: u8,
        version: u64,
    },
    List(Vec<(u8, u8, u64)>),
}

fn step() -> impl Strategy<Value = Step> {
    let object = (0_u8..4, 0_u8..2, 0_u64..30);
    prop_oneof![
        4 => (object.clone(), proptest::option::of(0_u8..2), 0_u8..3).prop_map(
            |((name, incarnation, version), owner, node)| Step::Apply { name, incarnation, owner, node, version }),
        2 => object.clone().prop_map(|(name, incarnation, version)| Step::Delete { name, incarnation, version }),
        1 => proptest::collection::btree_map(0_u8..4, (0_u8..2, 0_u64..30), 0..4)
            .prop_map(|map| Step::List(map.into_iter().map(|(n, (i, v))| (n, i, v)).collect())),
    ]
}

fn built(name: u8, incarnation: u8, version: u64) -> PodBuilder {
    pod(&format!("p{name}"))
        .uid(&format!("p{name}-{incarnation}"))
        .version(version)
}

proptest! {
    /// Whoever follows the changes knows exactly what the cache holds, and the indexes equal fresh ones.
    #[test]
    fn sty_20_the_changes_lead_to_the_cache(steps in proptest::collection::vec(step(), 1..60)) {
        let cache = Cache::default();
        cache.add_index("node", |pod: &Pod| vec![crate::pods::node_name(pod).into()]);
        let mut mirror: BTreeMap<ObjectKey, Arc<Pod>> = BTreeMap::new();
        for step in steps {
            let changes = match step {
                Step::Apply { name, incarnation, owner, node, version } => {
                    let mut pod = built(name, incarnation, version).on(&format!("n{node}"));
                    if let Some(owner) = owner {
                        pod = pod.owned_by(&replica_set(&format!("rs{owner}")).build());
                    }
                    cache.apply(pod.build())
                }
                Step::Delete { name, incarnation, version } => {
                    cache.delete(&built(name, incarnation, version).build().metadata).into_iter().collect()
                }
                Step::List(objects) => {
                    let listed = objects.iter().map(|&(n, i, v)| built(n, i, v).build()).collect();
                    cache.replace(listed, &[])
                }
            };
            for change in changes {
                let key = ObjectKey::of(&**change.latest());
                let before = mirror.get(&key);
                prop_assert!(match (change.old(), before) {
                    (Some(old), Some(before)) => Arc::ptr_eq(old, before),
                    (None, None) => true,
                    _ => false,
                }, "{change:?} after {before:?}");
                match change.current() {
                    Some(current) => mirror.insert(key, Arc::clone(current)),
                    None => mirror.remove(&key),
                };
            }
            prop_assert_eq!(cache.all(), mirror.values().cloned().collect::<Vec<_>>());
            cache.assert_consistent();
        }
    }
}
