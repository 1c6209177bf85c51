//! What plans and writes of Deployments come to, for the comparison with the native controller (TAKE-13).

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use steersman_shared::cache::Change;
use steersman_shared::clock::Clock;
use steersman_shared::informer::Informers;
use steersman_shared::objects::{Deployment, ObjectKey, ReplicaSet, Uid};
use steersman_shared::shadow::{
    CREATE, Comparer, DELETE, Effect, Outlook, SCALE, STATUS, Shadowed, status_changes,
};
use steersman_shared::{conditions, owners};

use crate::action::{Action, CREATE_ERROR, DEADLINE_EXCEEDED, PROGRESSING};
use crate::observe::Observer;
use crate::plan::conditions::is_complete;
use crate::plan::{Plan, Snapshot, is_paused, plan, size};

/// Compares Deployments; a write is a change of a ReplicaSet.
pub(crate) type Comparison = Comparer<Change<ReplicaSet>>;

/// Subject of a created ReplicaSet: the two name it differently (TAKE-2).
const NEW: &str = "new ReplicaSet";

fn subject(replica_set: &str) -> String {
    format!("ReplicaSet {replica_set}")
}

fn replicas(count: i32) -> String {
    format!("{count} replicas")
}

fn effect(action: &Action, deployment: &Deployment) -> Option<Effect> {
    Some(match action {
        Action::Adopt { name, .. } => Effect::new("adopt", subject(name), ""),
        Action::Release { name, .. } => Effect::new("release", subject(name), ""),
        Action::Create(new) => Effect::new(CREATE, NEW, replicas(new.replicas)),
        Action::Scale { target, from, to, .. } if from != to => {
            Effect::new(SCALE, subject(&target.name), replicas(*to))
        }
        Action::Scale {
            target, desired, max, ..
        } => Effect::new(
            "annotate",
            subject(&target.name),
            format!("sizes {desired} and {max}"),
        ),
        Action::Annotate {
            target,
            annotations,
            min_ready_seconds,
        } => {
            let value = json!({ "annotations": annotations, "minReadySeconds": min_ready_seconds });
            Effect::new("annotate", subject(&target.name), value.to_string())
        }
        Action::Mark { target, key, value } => {
            Effect::new("annotate", subject(&target.name), format!("{key}={value}"))
        }
        Action::Delete { target } => Effect::new(DELETE, subject(&target.name), ""),
        Action::Rollback(rollback) => Effect::new(
            "rollback",
            "Deployment",
            format!("to revision {}", rollback.revision),
        ),
        Action::ClearRollback { .. } => Effect::new("rollback", "Deployment", "request removed"),
        Action::WriteStatus(write) => {
            let (old, new) = (json!(deployment.status), json!(write.status));
            let revision = write.revision.as_ref().map(|it| format!(", revision {it}"));
            let value = status_changes(&old, &new) + &revision.unwrap_or_default();
            Effect::new(STATUS, "Deployment", value)
        }
        // Events are nothing that a watch of the object shows.
        Action::ReportSelectingAll | Action::ReportCreateError { .. } => return None,
    })
}

/// What a plan comes to.
pub(crate) fn outlook(snapshot: &Snapshot, plan: &Plan) -> Outlook {
    if snapshot.governed.is_some() {
        // A RolloutPolicy asks for something else than what the native controller does.
        return Outlook::default();
    }
    let deployment = snapshot.deployment.as_ref();
    let stored = deployment.status.conditions.as_deref().unwrap_or_default();
    let reason = conditions::find(stored, PROGRESSING).and_then(|it| it.reason.as_deref());
    if reason == Some(CREATE_ERROR) {
        // The native controller tried and was refused, as ours would be: nothing to compare until that is mended.
        return Outlook::default();
    }
    let effects: Vec<Effect> = plan
        .actions
        .iter()
        .filter_map(|action| effect(action, deployment))
        .collect();
    let rests = is_complete(deployment, &deployment.status)
        || is_paused(deployment)
        || reason == Some(DEADLINE_EXCEEDED);
    Outlook {
        settled: effects.is_empty() && rests,
        effects,
    }
}

/// The snapshot as it was before that change of a child, everything else as it is.
fn without(snapshot: &mut Snapshot, change: &Change<ReplicaSet>) {
    let children = &mut snapshot.children;
    match change {
        Change::Added(added) => {
            let uid = Uid::of(added.as_ref());
            children.retain(|it| Uid::of(it.as_ref()) != uid);
        }
        Change::Updated { old, new } => {
            let uid = Uid::of(new.as_ref());
            for child in children.iter_mut().filter(|it| Uid::of(it.as_ref()) == uid) {
                let mut former = ReplicaSet::clone(child);
                former.spec.replicas = old.spec.replicas;
                former.metadata.annotations.clone_from(&old.metadata.annotations);
                // Its own controller is taken to have caught up: the native one may have seen that before we did.
                former.status.observed_generation = former.metadata.generation;
                *child = Arc::new(former);
            }
        }
        Change::Removed(gone) => {
            children.push(Arc::clone(gone));
            children.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        }
    }
}

impl Shadowed for Observer {
    type Write = Change<ReplicaSet>;

    const STRAY_DELETES: bool = false;

    fn outlook_without(&self, key: &ObjectKey, write: &Self::Write, now: Timestamp) -> Option<Outlook> {
        let mut snapshot = self.snapshot(key).ok()??;
        without(&mut snapshot, write);
        let plan = plan(&snapshot, now).ok()?;
        Some(outlook(&snapshot, &plan))
    }
}

/// What a change of a ReplicaSet shows that a Deployment controller did.
fn witnessed(change: &Change<ReplicaSet>) -> Option<Effect> {
    let name = |it: &ReplicaSet| subject(it.metadata.name.as_deref().unwrap_or_default());
    match change {
        Change::Added(added) => Some(Effect::new(CREATE, NEW, replicas(size(added)))),
        Change::Updated { old, new } if size(old) != size(new) => {
            Some(Effect::new(SCALE, name(new), replicas(size(new))))
        }
        Change::Updated { .. } => None,
        Change::Removed(gone) => Some(Effect::new(DELETE, name(gone), "")),
    }
}

/// Shows the native controller's writes to the comparison, from now on.
pub(crate) fn subscribe(
    informers: &Informers,
    observer: &Observer,
    comparison: &Comparison,
    clock: &Arc<dyn Clock>,
) {
    let (observer, comparison, clock) = (observer.clone(), comparison.clone(), Arc::clone(clock));
    informers.get::<ReplicaSet>().subscribe(Box::new(move |change| {
        if comparison.is_idle() {
            return;
        }
        let Some(effect) = witnessed(change) else { return };
        let owner = owners::owner_of(observer.deployments(), change.latest().as_ref());
        let Some(key) = owner else { return };
        let deployment = observer.deployment(&key);
        // The garbage collector deletes the ReplicaSets of a Deployment that is being deleted.
        if deployment.is_none_or(|it| it.metadata.deletion_timestamp.is_some()) {
            return;
        }
        comparison.witness(&observer, &key, &effect, change, clock.now());
    }));
}
