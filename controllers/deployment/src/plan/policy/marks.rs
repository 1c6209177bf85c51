//! What a policy keeps in annotations. Each value names what it is about (a ReplicaSet, a revision), so that a copy on
//! another object, or one left over from an earlier revision, means nothing: both kubectl and upstream copy annotations
//! between a Deployment and its ReplicaSets.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use steersman_shared::objects::ReplicaSet;

use super::{Mark, Scene, Unreadable};
use crate::action::{COMPLETE, ROLLED_BACK, RollbackReason, STEP};
use crate::plan::annotations::{self, Annotations};
use crate::plan::conditions;
use crate::plan::find::Family;
use crate::plan::{desired_replicas, fenceposts, size};

/// A value of an annotation of ours.
pub trait Value: Sized {
    /// From its text.
    fn parse(text: &str) -> Option<Self>;
}

/// Where the rollout of a revision is: value of [`STEP`] on its ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepMark {
    /// Of the ReplicaSet, when this was written: another revision starts anew.
    pub revision: i64,
    /// From 1; one more than there are steps once the last one is passed.
    pub step: usize,
    /// When the step's pods were available first: its pause counts from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// A rollout came to its end: value of [`COMPLETE`] on its ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Complete {
    /// Name of the ReplicaSet.
    pub replica_set: String,
    /// Its revision then.
    pub revision: i64,
    /// When that was noticed.
    pub at: Timestamp,
}

/// A rollback by a policy: value of [`ROLLED_BACK`] on the Deployment, and on the ReplicaSet that was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    /// Name of the ReplicaSet that was left.
    pub from: String,
    /// Its revision.
    pub from_revision: i64,
    /// Name of the ReplicaSet that became the new one again.
    pub to: String,
    /// Its revision before that.
    pub to_revision: i64,
    /// Name of the policy.
    pub policy: String,
    /// Why.
    pub reason: RollbackReason,
    /// Why, in a sentence.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

macro_rules! json_value {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn parse(text: &str) -> Option<Self> {
                json(text)
            }
        }
    )*};
}

json_value!(StepMark, Complete, Note);

fn json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// A mark as annotation value. Marks are plain structs, which always have a JSON form.
fn text<T: Serialize>(mark: &T) -> String {
    serde_json::to_string(mark).unwrap_or_default()
}

/// How far a rollout may go: value of [`PROMOTE`](crate::action::PROMOTE) on the Deployment, `REVISION/STEP` or
/// `REVISION/all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promotion {
    /// The revision meant; another one is not promoted.
    pub revision: i64,
    /// The pauses of all steps up to this one are over; `None`: there are no more steps.
    pub step: Option<usize>,
}

impl FromStr for Promotion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (revision, step) = text.split_once('/').ok_or(())?;
        let step = match step {
            "all" => None,
            number => Some(number.parse().map_err(drop)?),
        };
        let revision = revision.parse().map_err(drop)?;
        Ok(Self { revision, step })
    }
}

impl fmt::Display for Promotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.step {
            Some(step) => write!(f, "{}/{step}", self.revision),
            None => write!(f, "{}/all", self.revision),
        }
    }
}

impl Value for Promotion {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// A revision to be left: value of [`ABORT`](crate::action::ABORT) on the Deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort(pub i64);

impl Value for Abort {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

/// The value of an annotation of ours, and what of it makes no sense.
pub(super) fn read<T: Value>(
    annotations: Option<&Annotations>,
    key: &'static str,
) -> (Option<T>, Option<Unreadable>) {
    let Some(text) = annotations::value(annotations, key) else {
        return (None, None);
    };
    match T::parse(text) {
        Some(value) => (Some(value), None),
        None => (
            None,
            Some(Unreadable {
                key,
                value: text.to_owned(),
            }),
        ),
    }
}

fn on<T: Value>(replica_set: &ReplicaSet, key: &'static str) -> Option<T> {
    read(replica_set.metadata.annotations.as_ref(), key).0
}

fn name(replica_set: &ReplicaSet) -> &str {
    replica_set.metadata.name.as_deref().unwrap_or_default()
}

impl StepMark {
    /// Of a ReplicaSet in that revision.
    #[must_use]
    pub fn of(replica_set: &ReplicaSet, revision: i64) -> Option<Self> {
        on(replica_set, STEP).filter(|mark: &Self| mark.revision == revision)
    }

    pub(super) fn mark(&self, replica_set: &Arc<ReplicaSet>) -> Mark {
        Mark {
            replica_set: Arc::clone(replica_set),
            key: STEP,
            value: text(self),
        }
    }
}

impl Complete {
    /// Of a ReplicaSet, not one copied from another.
    #[must_use]
    pub fn of(replica_set: &ReplicaSet) -> Option<Self> {
        on(replica_set, COMPLETE).filter(|mark: &Self| mark.replica_set == name(replica_set))
    }
}

impl Note {
    /// On a ReplicaSet that a rollback left.
    #[must_use]
    pub fn of_left(replica_set: &ReplicaSet) -> Option<Self> {
        on(replica_set, ROLLED_BACK).filter(|note: &Self| note.from == name(replica_set))
    }

    /// On a Deployment, whatever its current revision.
    #[must_use]
    pub fn on_deployment(annotations: Option<&Annotations>) -> Option<Self> {
        read(annotations, ROLLED_BACK).0
    }

    pub(crate) fn text(&self) -> String {
        text(self)
    }
}

/// Notes on the ReplicaSet that a rollback left that it must not happen to it again. A sync after the rollback: this
/// repairs what a crash in between left out.
pub(super) fn failed(family: &Family, note: &Note) -> Option<Mark> {
    let left = family.all().find(|it| name(it) == note.from)?;
    (Note::of_left(left).is_none() && left.metadata.uid.is_some()).then(|| Mark {
        replica_set: Arc::clone(left),
        key: ROLLED_BACK,
        value: note.text(),
    })
}

/// Notes which ReplicaSets were complete, before anything hides it:
/// - the new one, once the stored status says so;
/// - the one that the condition Progressing still names as complete, when a template followed before it was noted;
/// - where no ReplicaSet has the note, as for those from before the policy: an old one whose pods are all available
///   and enough for the whole Deployment.
pub(super) fn complete(scene: &Scene<'_>) -> Option<Mark> {
    let family = scene.family;
    let mark = |replica_set: &Arc<ReplicaSet>, revision: i64| {
        let mark = Complete {
            replica_set: name(replica_set).to_owned(),
            revision,
            at: scene.now,
        };
        Mark {
            replica_set: Arc::clone(replica_set),
            key: COMPLETE,
            value: text(&mark),
        }
    };
    let is_stored = |it: &&Arc<ReplicaSet>| it.metadata.uid.is_some();
    if scene.is_complete() {
        let new = family.new.as_ref().filter(is_stored)?;
        let known = Complete::of(new).is_some_and(|mark| mark.revision >= scene.revision);
        return (!known).then(|| mark(new, scene.revision));
    }
    let own_revision = |it: &ReplicaSet| annotations::revision(it).unwrap_or_default().0;
    let available = |it: &ReplicaSet| it.status.available_replicas.unwrap_or_default();
    if let Some(named) = conditions::completed(&scene.deployment.status)
        && let Some(found) = family.all().filter(is_stored).find(|it| name(it) == named)
        && available(found) > 0
        && Complete::of(found).is_none()
    {
        return Some(mark(found, own_revision(found)));
    }
    if family.all().any(|it| Complete::of(it).is_some()) {
        return None;
    }
    let needed = fenceposts::min_available(scene.deployment).max(1);
    let carries = |it: &ReplicaSet| {
        available(it) == size(it)
            && i64::from(available(it)) >= needed
            && desired_replicas(scene.deployment) > 0
    };
    let found = family.old.iter().filter(is_stored).rfind(|it| carries(it))?;
    Some(mark(found, own_revision(found)))
}
