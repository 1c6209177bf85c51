//! Revisions and the annotations of ReplicaSets (DEP-22 to DEP-30).

use std::collections::BTreeMap;

use steersman_shared::objects::{Deployment, ReplicaSet};
use steersman_shared::wire::{DESIRED_REPLICAS, LAST_APPLIED, MAX_REPLICAS, REVISION};

use super::{desired_replicas, fenceposts};
use crate::action::{REVISION_HISTORY, ROLLBACK_TO, ROLLOUT_PREFIX};

/// Longest revision-history annotation, in characters (kube-controller-manager 1.36, DEP-23).
pub const HISTORY_LIMIT: usize = 2000;

/// Annotations of an object.
pub type Annotations = BTreeMap<String, String>;

/// A `deployment.kubernetes.io/revision` annotation: counts the templates of a Deployment from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub i64);

/// Whether the ReplicaSet that gets annotations is stored already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// About to be created.
    Creating,
    /// Exists.
    Existing,
}

/// Annotations that a Deployment never hands down to its ReplicaSets (DEP-26), nor gets back from them. Ours are among
/// them: each belongs to the one object that it is on.
fn stays(key: &str) -> bool {
    [
        LAST_APPLIED,
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        ROLLBACK_TO,
    ]
    .contains(&key)
        || key.starts_with(ROLLOUT_PREFIX)
}

/// Value of an annotation.
#[must_use]
pub fn value<'a>(annotations: Option<&'a Annotations>, key: &str) -> Option<&'a str> {
    annotations.and_then(|all| all.get(key)).map(String::as_str)
}

/// Revision of a ReplicaSet: 0 without the annotation, `None` if it is not an integer (DEP-22).
#[must_use]
pub fn revision(replica_set: &ReplicaSet) -> Option<Revision> {
    match value(replica_set.metadata.annotations.as_ref(), REVISION) {
        None => Some(Revision(0)),
        Some(text) => text.parse().ok().map(Revision),
    }
}

/// Highest revision of some ReplicaSets, those without a valid one left out (DEP-22).
pub fn max_revision<'a>(replica_sets: impl IntoIterator<Item = &'a ReplicaSet>) -> Revision {
    replica_sets
        .into_iter()
        .filter_map(revision)
        .max()
        .unwrap_or_default()
        .max(Revision(0))
}

/// Second highest revision, 0 if there is none: what a rollback to 0 means (DEP-95).
pub fn last_revision<'a>(replica_sets: impl IntoIterator<Item = &'a ReplicaSet>) -> Revision {
    let (mut highest, mut second) = (Revision(0), Revision(0));
    for found in replica_sets.into_iter().filter_map(revision) {
        if found >= highest {
            second = highest;
            highest = found;
        } else if found > second {
            second = found;
        }
    }
    second
}

/// Parses a desired-replicas or max-replicas annotation: digits only, within int32 (DEP-30).
#[must_use]
pub fn parse_replicas(text: &str) -> Option<i32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The valid desired-replicas annotation of a ReplicaSet.
#[must_use]
pub fn desired(replica_set: &ReplicaSet) -> Option<i32> {
    value(replica_set.metadata.annotations.as_ref(), DESIRED_REPLICAS).and_then(parse_replicas)
}

/// The valid max-replicas annotation of a ReplicaSet.
#[must_use]
pub fn max(replica_set: &ReplicaSet) -> Option<i32> {
    value(replica_set.metadata.annotations.as_ref(), MAX_REPLICAS).and_then(parse_replicas)
}

/// What a scaled ReplicaSet gets as desired-replicas and max-replicas (DEP-27).
#[must_use]
pub fn sizes(deployment: &Deployment) -> (i64, i64) {
    let desired = i64::from(desired_replicas(deployment));
    (desired, desired + fenceposts::surge(deployment))
}

/// Whether desired-replicas or max-replicas of a ReplicaSet differ from what scaling it would write.
#[must_use]
pub fn has_stale_sizes(deployment: &Deployment, replica_set: &ReplicaSet) -> bool {
    let (desired, max) = sizes(deployment);
    let annotations = replica_set.metadata.annotations.as_ref();
    value(annotations, DESIRED_REPLICAS) != Some(desired.to_string().as_str())
        || value(annotations, MAX_REPLICAS) != Some(max.to_string().as_str())
}

/// All annotations of the new ReplicaSet after a sync, from those that it has now (DEP-22, DEP-23, DEP-26 to DEP-28).
/// `history_limit` is in characters.
#[must_use]
pub fn of_new(
    deployment: &Deployment,
    current: &Annotations,
    target: Revision,
    stage: Stage,
    history_limit: usize,
) -> Annotations {
    let mut result = current.clone();
    let handed_down = deployment
        .metadata
        .annotations
        .iter()
        .flatten()
        .filter(|(key, _)| !stays(key));
    result.extend(handed_down.map(|(key, value)| (key.clone(), value.clone())));

    let stored = current.get(REVISION);
    // An empty value counts as missing; one that is not an integer stays as it is (DEP-28).
    let previous = match stored.map(String::as_str) {
        None | Some("") => Some(Revision(0)),
        Some(text) => text.parse().ok().map(Revision),
    };
    if previous.is_some_and(|previous| previous < target) {
        result.insert(REVISION.to_owned(), target.0.to_string());
        if let Some(stored) = stored
            && let Some(history) = appended(current.get(REVISION_HISTORY), stored, history_limit)
        {
            result.insert(REVISION_HISTORY.to_owned(), history);
        }
    }
    if stage == Stage::Creating {
        let (desired, max) = sizes(deployment);
        result.insert(DESIRED_REPLICAS.to_owned(), desired.to_string());
        result.insert(MAX_REPLICAS.to_owned(), max.to_string());
    }
    result
}

/// The history with one more entry; the oldest entries make room. `None`: the entry does not fit (DEP-23).
fn appended(history: Option<&String>, entry: &str, limit: usize) -> Option<String> {
    let history = history.map_or("", String::as_str);
    let mut entries: Vec<&str> = history.split(',').collect();
    if entries.first().is_none_or(|first| first.is_empty()) {
        return Some(entry.to_owned());
    }
    let mut length = history.len() + entry.len() + 1;
    let mut dropped = 0;
    for oldest in &entries {
        if length <= limit {
            break;
        }
        length = length.saturating_sub(oldest.len() + 1);
        dropped += 1;
    }
    if length > limit {
        return None;
    }
    entries.push(entry);
    Some(entries.split_off(dropped).join(","))
}

/// Entries of `after` that `before` lacks or has with another value.
#[must_use]
pub fn changed(before: &Annotations, after: &Annotations) -> Annotations {
    after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Annotations of a Deployment rolled back to a ReplicaSet: its own values of the keys that are never handed down, the
/// ReplicaSet's for all others, and the request removed (DEP-95).
#[must_use]
pub fn rolled_back(deployment: &Deployment, target: &ReplicaSet) -> Annotations {
    let own = deployment
        .metadata
        .annotations
        .iter()
        .flatten()
        .filter(|(key, _)| stays(key));
    let taken = target
        .metadata
        .annotations
        .iter()
        .flatten()
        .filter(|(key, _)| !stays(key));
    let mut result: Annotations = own
        .chain(taken)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    result.remove(ROLLBACK_TO);
    result
}
