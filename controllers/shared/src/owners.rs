//! Kinds whose objects own others: which owner a change of a child touches, and which children an owner looks at.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::cache::{Cache, Change, Object};
use crate::informer::{Informers, Watched};
use crate::objects::{Deployment, ObjectKey, ReplicaSet, Uid};
use crate::ownership;
use crate::queue::Queue;
use crate::selector::Selector;
use crate::writes::Writes;

/// A kind that controls children of another kind and finds orphans by their labels.
pub trait Owner: Object {
    /// Which children belong to it.
    fn selector(&self) -> &LabelSelector;
}

impl Owner for ReplicaSet {
    fn selector(&self) -> &LabelSelector {
        &self.spec.selector
    }
}

impl Owner for Deployment {
    fn selector(&self) -> &LabelSelector {
        &self.spec.selector
    }
}

/// Children that a sync of `owner` decides about: those that it controls, and the orphans of its namespace that match.
/// An empty selector matches no orphan: it would match every one. Sorted by name.
#[must_use]
pub fn candidates<O: Owner, C: Object>(children: &Cache<C>, owner: &O, selector: &Selector) -> Vec<Arc<C>> {
    let namespace = owner.meta().namespace.as_deref().unwrap_or_default();
    let mut found = children.controlled_by(&Uid::of(owner));
    if !selector.is_empty() {
        let orphans = children.orphans(namespace);
        found.extend(orphans.into_iter().filter(|it| selector.selects(it.as_ref())));
    }
    found.retain(|it| it.meta().namespace.as_deref() == Some(namespace));
    found.sort_by(|a, b| a.meta().name.cmp(&b.meta().name));
    found
}

/// The owner that controls a child; not one of the same name only (RS-18).
#[must_use]
pub fn owner_of<O: Owner>(owners: &Cache<O>, child: &impl kube::Resource) -> Option<ObjectKey> {
    let reference = ownership::controller_of(child).filter(|it| it.kind == O::kind(&()))?;
    let namespace = child.meta().namespace.as_deref().unwrap_or_default();
    let key = ObjectKey::new(namespace, reference.name.as_str());
    let owner = owners.get(&key)?;
    ownership::refers_to(reference, owner.as_ref()).then_some(key)
}

/// Owners that may adopt an orphan: in its namespace, with a selector that is not empty and selects it.
#[must_use]
pub fn selecting<O: Owner>(owners: &Cache<O>, orphan: &impl kube::Resource) -> Vec<ObjectKey> {
    let all = owners.in_namespace(orphan.meta().namespace.as_deref().unwrap_or_default());
    let selects = |it: &&Arc<O>| {
        let selector = Selector::parse(it.selector());
        selector.is_ok_and(|selector| !selector.is_empty() && selector.selects(orphan))
    };
    all.iter()
        .filter(selects)
        .map(|it| ObjectKey::of(it.as_ref()))
        .collect()
}

/// Owners whose plan may differ after a change of a child: the one that controls it, before the change and after it;
/// for an orphan that is new, or has other labels or lost its controller, all that select it (RS-69, DEP-107). Sorted.
#[must_use]
pub fn touched<O: Owner, C: Object>(owners: &Cache<O>, change: &Change<C>) -> Vec<ObjectKey> {
    let mut keys: Vec<_> = change
        .versions()
        .filter_map(|it| owner_of(owners, it.as_ref()))
        .collect();
    let is_news = match change {
        Change::Added(_) => true,
        Change::Updated { old, new } => {
            old.meta().labels != new.meta().labels
                || ownership::controller_uid(old.as_ref()) != ownership::controller_uid(new.as_ref())
        }
        Change::Removed(_) => false,
    };
    let is_orphan = |it: &&Arc<C>| ownership::controller_of(it.as_ref()).is_none();
    if let Some(orphan) = change.current().filter(|_| is_news).filter(is_orphan) {
        keys.extend(selecting(owners, orphan.as_ref()));
    }
    keys.sort();
    keys.dedup();
    keys
}

/// Brings each owner that changes into the queue, from now on. What was written for a former object of the same name
/// is forgotten: it says nothing about this one (RS-29).
pub fn subscribe<O: Owner + Watched>(informers: &Informers, queue: &Queue<ObjectKey>, writes: &Writes) {
    let (keys, open) = (queue.clone(), writes.clone());
    informers.get::<O>().subscribe(Box::new(move |change| {
        let key = ObjectKey::of(change.latest().as_ref());
        if change.ends_former() {
            open.forget(&key);
        }
        keys.add(key);
    }));
}

/// Brings the keys that a change of a child touches into the queue, from now on.
pub fn subscribe_children<C: Watched>(
    informers: &Informers,
    queue: &Queue<ObjectKey>,
    touched: impl Fn(&Change<C>) -> Vec<ObjectKey> + Send + Sync + 'static,
) {
    let keys = queue.clone();
    informers.get::<C>().subscribe(Box::new(move |change| {
        for key in touched(change) {
            keys.add(key);
        }
    }));
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::testing::{Feed, pod, replica_set};

    fn cache(owners: impl IntoIterator<Item = ReplicaSet>) -> Arc<Cache<ReplicaSet>> {
        let informers = Informers::detached();
        Feed::new(informers.get()).list(owners);
        Arc::clone(informers.get::<ReplicaSet>().cache())
    }

    fn names(keys: &[ObjectKey]) -> Vec<&str> {
        keys.iter().map(|key| &*key.name).collect()
    }

    #[test]
    fn rs_18_an_owner_of_the_same_name_inherits_no_children() {
        let owners = cache([replica_set("web").uid("later").build()]);
        let child = pod("a")
            .owned_by(&replica_set("web").uid("former").build())
            .build();
        assert_eq!(owner_of(&owners, &child), None);
        let child = pod("a")
            .owned_by(&replica_set("web").uid("later").build())
            .build();
        assert_eq!(owner_of(&owners, &child), Some(ObjectKey::new("default", "web")));
    }

    #[test]
    fn rs_69_dep_107_a_changed_controller_wakes_the_old_owner_and_the_new_one() {
        let (one, two) = (replica_set("one").build(), replica_set("two").build());
        let owners = cache([one.clone(), two.clone()]);
        let change = Change::Updated {
            old: Arc::new(pod("a").owned_by(&one).build()),
            new: Arc::new(pod("a").owned_by(&two).build()),
        };
        assert_eq!(names(&touched(&owners, &change)), ["one", "two"]);
    }

    #[rstest]
    #[case::added(Change::Added(Arc::new(pod("a").build())), &["one", "two"])]
    #[case::without_news(
        Change::Updated { old: Arc::new(pod("a").build()), new: Arc::new(pod("a").ready().build()) }, &[]
    )]
    #[case::other_labels(
        Change::Updated {
            old: Arc::new(pod("a").label("app", "db").build()),
            new: Arc::new(pod("a").build()),
        },
        &["one", "two"]
    )]
    #[case::released(
        Change::Updated {
            old: Arc::new(pod("a").owned_by(&replica_set("one").build()).build()),
            new: Arc::new(pod("a").build()),
        },
        &["one", "two"]
    )]
    #[case::gone(Change::Removed(Arc::new(pod("a").build())), &[])]
    #[case::of_another_namespace(Change::Added(Arc::new(pod("a").namespace("x").build())), &[])]
    fn rs_69_rs_70_an_orphan_wakes_all_that_select_it(
        #[case] change: Change<crate::objects::Pod>,
        #[case] want: &[&str],
    ) {
        let selects_all = replica_set("empty").selector(LabelSelector::default()).build();
        let owners = cache([
            replica_set("one").build(),
            replica_set("two").build(),
            selects_all,
        ]);
        assert_eq!(names(&touched(&owners, &change)), want);
    }

    #[test]
    fn rs_20_candidates_are_controlled_or_orphans_that_match() {
        let owner = replica_set("web").build();
        let informers = Informers::detached();
        Feed::new(informers.get()).list([
            pod("b").owned_by(&owner).label("app", "other").build(),
            pod("a").build(),
            pod("c").label("app", "other").build(),
            pod("d").owned_by(&replica_set("foreign").build()).build(),
            pod("e").namespace("x").build(),
        ]);
        let pods = Arc::clone(informers.get::<crate::objects::Pod>().cache());
        let found = |selector: &LabelSelector| -> Vec<_> {
            let selector = Selector::parse(selector).unwrap();
            let found = candidates(&pods, &owner, &selector);
            found.iter().filter_map(|it| it.metadata.name.clone()).collect()
        };
        assert_eq!(found(&owner.spec.selector), ["a", "b"]);
        assert_eq!(found(&LabelSelector::default()), ["b"]);
    }
}
