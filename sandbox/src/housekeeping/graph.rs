//! Who owns whom, by uid, and what follows from it. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;

use super::discovery::Served;
use super::follow::version_of;

/// Finalizers of the two policies that make an owner wait (API-146).
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

pub(crate) type Uid = Arc<str>;

/// An object, by everything that can be asked for.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) served: Arc<Served>,
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) name: Arc<str>,
    pub(crate) uid: Uid,
}

impl Identity {
    /// Names the object that `meta` belongs to; `None` without uid or name.
    pub(crate) fn of(served: &Arc<Served>, meta: &ObjectMeta) -> Option<Self> {
        Some(Self {
            served: Arc::clone(served),
            namespace: meta.namespace.as_deref().map(Arc::from),
            name: meta.name.as_deref()?.into(),
            uid: meta.uid.as_deref()?.into(),
        })
    }
}

/// How an object ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// No deletion timestamp.
    Alive,
    /// The server removes it once other finalizers are gone.
    Deleting,
    /// Waits for its blocking dependents.
    Foreground,
    /// Waits until its dependents have let go of it.
    Orphaning,
}

impl Stage {
    pub(crate) fn of(meta: &ObjectMeta) -> Self {
        if meta.deletion_timestamp.is_none() {
            return Self::Alive;
        }
        let has = |name: &str| {
            meta.finalizers
                .iter()
                .flatten()
                .any(|finalizer| finalizer == name)
        };
        if has(ORPHAN) {
            Self::Orphaning
        } else if has(FOREGROUND) {
            Self::Foreground
        } else {
            Self::Deleting
        }
    }
}

#[derive(Debug)]
struct Node {
    identity: Identity,
    owners: Vec<OwnerReference>,
    stage: Stage,
    version: u64,
}

/// What the graph knows about a reference to an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Exists where the reference says.
    Present,
    /// Exists and waits for its dependents.
    Waiting,
    /// Exists, but where this dependent may not refer to (API-173).
    Misplaced,
    /// Not seen, or under another name: only the server can tell.
    Unknown,
}

/// What the server said about an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnerState {
    /// It exists.
    Present,
    /// It exists and waits for its dependents.
    Waiting,
    /// It does not exist (any more).
    Absent,
}

/// What to do with a dependent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It has owners.
    Keep,
    /// Some owners remain: these references go.
    Drop(Vec<String>),
    /// No owner remains.
    Delete(PropagationPolicy),
}

/// API-170 and API-171 for one object. `blocked` says whether it has dependents that block its own deletion.
pub(crate) fn verdict(meta: &ObjectMeta, owners: &[(&str, OwnerState)], blocked: bool) -> Verdict {
    let any = |state: OwnerState| owners.iter().any(|(_, known)| *known == state);
    if owners.is_empty() {
        return Verdict::Keep;
    }
    if any(OwnerState::Present) {
        let rest = owners.iter().filter(|(_, state)| *state != OwnerState::Present);
        let uids: Vec<String> = rest.map(|(uid, _)| (*uid).to_owned()).collect();
        return if uids.is_empty() {
            Verdict::Keep
        } else {
            Verdict::Drop(uids)
        };
    }
    let has = |name: &str| {
        meta.finalizers
            .iter()
            .flatten()
            .any(|finalizer| finalizer == name)
    };
    Verdict::Delete(if any(OwnerState::Waiting) && blocked {
        PropagationPolicy::Foreground
    } else if has(ORPHAN) {
        // A policy that the object's finalizers ask for is not overruled.
        PropagationPolicy::Orphan
    } else if has(FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    })
}

/// What a change makes worth looking at.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Now.
    pub(crate) now: BTreeSet<Uid>,
    /// In a moment: the owner is probably about to be seen, its watch is another one.
    pub(crate) soon: BTreeSet<Uid>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    nodes: BTreeMap<Uid, Node>,
    /// By uid of the owner, whether it was seen or not.
    dependents: BTreeMap<Uid, BTreeSet<Uid>>,
}

impl Graph {
    /// Takes over what a watch or list says. Older versions than the known one are ignored.
    pub(crate) fn observe(&mut self, identity: Identity, meta: ObjectMeta) -> Touched {
        let mut touched = Touched::default();
        let uid = Arc::clone(&identity.uid);
        let version = version_of(meta.resource_version.as_deref());
        let stage = Stage::of(&meta);
        let owners = meta.owner_references.unwrap_or_default();
        let before = self.nodes.get(&uid);
        if before.is_some_and(|before| version != 0 && version < before.version) {
            return touched;
        }
        let new_owners = before.is_none_or(|before| before.owners != owners);
        let old_stage = before.map_or(Stage::Alive, |before| before.stage);
        if new_owners {
            let old: Vec<OwnerReference> = before.map(|before| before.owners.clone()).unwrap_or_default();
            for owner in old {
                self.unlink(&uid, &owner, &mut touched);
            }
            for owner in &owners {
                self.dependents
                    .entry(owner.uid.as_str().into())
                    .or_default()
                    .insert(Arc::clone(&uid));
            }
        }
        self.nodes.insert(
            Arc::clone(&uid),
            Node {
                identity,
                owners,
                stage,
                version,
            },
        );
        if stage != old_stage && matches!(stage, Stage::Foreground | Stage::Orphaning) {
            touched.now.insert(Arc::clone(&uid));
            if stage == Stage::Foreground {
                touched
                    .now
                    .extend(self.dependents.get(&uid).into_iter().flatten().cloned());
            }
        }
        if new_owners && stage == Stage::Alive {
            match self.doubt(&uid) {
                Some(Known::Unknown) => drop(touched.soon.insert(uid)),
                Some(Known::Waiting | Known::Misplaced) => drop(touched.now.insert(uid)),
                Some(Known::Present) | None => {}
            }
        }
        touched
    }

    /// The object is gone: its dependents may be too soon, and owners that waited for it may go on.
    pub(crate) fn remove(&mut self, uid: &Uid) -> Touched {
        let mut touched = Touched::default();
        let Some(node) = self.nodes.remove(uid) else {
            return touched;
        };
        for owner in &node.owners {
            self.unlink(uid, owner, &mut touched);
        }
        touched
            .now
            .extend(self.dependents.get(uid).into_iter().flatten().cloned());
        touched
    }

    fn unlink(&mut self, uid: &Uid, owner: &OwnerReference, touched: &mut Touched) {
        let owner: Uid = owner.uid.as_str().into();
        if let Some(dependents) = self.dependents.get_mut(&owner) {
            dependents.remove(uid);
            if dependents.is_empty() {
                self.dependents.remove(&owner);
            }
        }
        if self.stage(&owner) == Some(Stage::Foreground) {
            touched.now.insert(owner);
        }
    }

    /// Objects of one resource, by its name.
    pub(crate) fn of_resource(&self, name: &str) -> Vec<Uid> {
        let nodes = self
            .nodes
            .iter()
            .filter(|(_, node)| node.identity.served.name() == name);
        nodes.map(|(uid, _)| Arc::clone(uid)).collect()
    }

    pub(crate) fn identity(&self, uid: &Uid) -> Option<Identity> {
        self.nodes.get(uid).map(|node| node.identity.clone())
    }

    pub(crate) fn stage(&self, uid: &Uid) -> Option<Stage> {
        self.nodes.get(uid).map(|node| node.stage)
    }

    /// All dependents that were seen.
    pub(crate) fn dependents(&self, uid: &Uid) -> Vec<Identity> {
        let dependents = self.dependents.get(uid).into_iter().flatten();
        dependents
            .filter_map(|dependent| self.identity(dependent))
            .collect()
    }

    /// True if a dependent holds up the foreground deletion of `uid`.
    pub(crate) fn is_blocked(&self, uid: &Uid) -> bool {
        let dependents = self.dependents.get(uid).into_iter().flatten();
        dependents
            .filter_map(|dependent| self.nodes.get(dependent))
            .any(|dependent| {
                dependent
                    .owners
                    .iter()
                    .any(|owner| *owner.uid == **uid && owner.block_owner_deletion == Some(true))
            })
    }

    /// True if a dependent of `uid` itself waits for its dependents: the two own each other, directly or by a detour.
    pub(crate) fn has_waiting_dependent(&self, uid: &Uid) -> bool {
        let dependents = self.dependents.get(uid).into_iter().flatten();
        dependents
            .filter_map(|dependent| self.stage(dependent))
            .any(|stage| stage == Stage::Foreground)
    }

    /// What is known of `owner` as referred to from `namespace`.
    pub(crate) fn known(&self, owner: &OwnerReference, namespace: Option<&str>) -> Known {
        let Some(node) = self.nodes.get(owner.uid.as_str()) else {
            return Known::Unknown;
        };
        let identity = &node.identity;
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        if identity.served.api.group != group
            || identity.served.api.kind != owner.kind
            || *identity.name != *owner.name
        {
            return Known::Unknown;
        }
        if identity
            .namespace
            .as_deref()
            .is_some_and(|place| Some(place) != namespace)
        {
            return Known::Misplaced;
        }
        if node.stage == Stage::Foreground {
            Known::Waiting
        } else {
            Known::Present
        }
    }

    /// The first thing that is wrong with the owners of `uid`; `None` if all are present.
    pub(crate) fn doubt(&self, uid: &Uid) -> Option<Known> {
        let node = self.nodes.get(uid)?;
        let namespace = node.identity.namespace.as_deref();
        node.owners
            .iter()
            .map(|owner| self.known(owner, namespace))
            .find(|known| *known != Known::Present)
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ApiResource;
    use rstest::rstest;

    use super::*;
    use crate::housekeeping::discovery::testing::served;

    fn meta(uid: &str, owners: &[(&str, bool)]) -> ObjectMeta {
        let reference = |(owner, blocks): &(&str, bool)| OwnerReference {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            name: (*owner).into(),
            uid: (*owner).into(),
            block_owner_deletion: Some(*blocks),
            controller: None,
        };
        ObjectMeta {
            name: Some(uid.into()),
            namespace: Some("a".into()),
            uid: Some(uid.into()),
            owner_references: Some(owners.iter().map(reference).collect()),
            ..ObjectMeta::default()
        }
    }

    fn deleting(mut meta: ObjectMeta, finalizer: &str) -> ObjectMeta {
        meta.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            jiff::Timestamp::UNIX_EPOCH,
        ));
        meta.finalizers = Some(vec![finalizer.into()]);
        meta
    }

    fn observe(graph: &mut Graph, meta: ObjectMeta) -> Touched {
        let config_maps = Arc::new(served(
            ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&()),
            true,
        ));
        graph.observe(Identity::of(&config_maps, &meta).unwrap(), meta)
    }

    fn touched(now: &[&str], soon: &[&str]) -> Touched {
        let set = |uids: &[&str]| uids.iter().map(|uid| Uid::from(*uid)).collect();
        Touched {
            now: set(now),
            soon: set(soon),
        }
    }

    #[test]
    fn api_170_dependents_of_a_vanished_owner_are_looked_at() {
        let mut graph = Graph::default();
        assert_eq!(
            observe(&mut graph, meta("early", &[("owner", false)])),
            touched(&[], &["early"])
        );
        assert_eq!(observe(&mut graph, meta("owner", &[])), touched(&[], &[]));
        assert_eq!(
            observe(&mut graph, meta("late", &[("owner", false)])),
            touched(&[], &[])
        );
        assert_eq!(graph.doubt(&"early".into()), None);
        assert_eq!(graph.remove(&"owner".into()), touched(&["early", "late"], &[]));
        assert_eq!(graph.doubt(&"early".into()), Some(Known::Unknown));
    }

    #[test]
    fn api_171_a_waiting_owner_goes_on_when_the_last_blocking_dependent_is_gone() {
        let mut graph = Graph::default();
        observe(&mut graph, meta("owner", &[]));
        observe(&mut graph, meta("blocks", &[("owner", true)]));
        observe(&mut graph, meta("free", &[("owner", false)]));
        let waiting = deleting(meta("owner", &[]), FOREGROUND);
        assert_eq!(
            observe(&mut graph, waiting),
            touched(&["owner", "blocks", "free"], &[])
        );
        assert!(graph.is_blocked(&"owner".into()));
        assert_eq!(graph.remove(&"blocks".into()), touched(&["owner"], &[]));
        assert!(!graph.is_blocked(&"owner".into()));
    }

    #[test]
    fn api_173_an_owner_in_another_namespace_is_misplaced() {
        let mut graph = Graph::default();
        observe(&mut graph, meta("owner", &[]));
        let mut stranger = meta("stranger", &[("owner", false)]);
        stranger.namespace = Some("b".into());
        assert_eq!(observe(&mut graph, stranger), touched(&["stranger"], &[]));
        let mut renamed = meta("renamed", &[("owner", false)]);
        renamed.owner_references.as_mut().unwrap()[0].name = "other".into();
        assert_eq!(observe(&mut graph, renamed), touched(&[], &["renamed"]));
    }

    #[rstest]
    #[case::no_owner(&[], false, Verdict::Keep)]
    #[case::owned(&[("a", OwnerState::Present)], false, Verdict::Keep)]
    #[case::one_left(&[("a", OwnerState::Present), ("b", OwnerState::Absent), ("c", OwnerState::Waiting)], false,
        Verdict::Drop(vec!["b".into(), "c".into()]))]
    #[case::all_gone(&[("a", OwnerState::Absent)], true, Verdict::Delete(PropagationPolicy::Background))]
    #[case::owner_waits(&[("a", OwnerState::Waiting)], false, Verdict::Delete(PropagationPolicy::Background))]
    #[case::owner_waits_in_turn(&[("a", OwnerState::Waiting)], true, Verdict::Delete(PropagationPolicy::Foreground))]
    fn api_170_and_171_verdicts(
        #[case] owners: &[(&str, OwnerState)],
        #[case] blocked: bool,
        #[case] want: Verdict,
    ) {
        assert_eq!(verdict(&meta("x", &[]), owners, blocked), want);
    }
}
