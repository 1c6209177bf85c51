//! What plans and writes of ReplicaSets come to, for the comparison with the native controller (TAKE-13).

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use steersman_shared::cache::Change;
use steersman_shared::clock::Clock;
use steersman_shared::informer::Informers;
use steersman_shared::objects::{ObjectKey, Pod, ReplicaSet, Uid};
use steersman_shared::shadow::{CREATE, Comparer, DELETE, Effect, Outlook, STATUS, Shadowed, status_changes};
use steersman_shared::{conditions, owners, pods, wire};

use crate::action::{Action, REPLICA_FAILURE};
use crate::observe::Observer;
use crate::plan::ranking;
use crate::plan::{Plan, Snapshot, plan};

/// Compares ReplicaSets; a write is a change of a pod.
pub(crate) type Comparison = Comparer<Change<Pod>>;

fn subject(pod: &str) -> String {
    format!("pod {pod}")
}

fn effect(action: &Action, replica_set: &ReplicaSet) -> Effect {
    match action {
        Action::AdoptPod { name, .. } => Effect::new("adopt", subject(name), ""),
        Action::ReleasePod { name, .. } => Effect::new("release", subject(name), ""),
        Action::CreatePods { count } => Effect::new(CREATE, "pods", "").times(*count),
        Action::DeletePod { name, .. } => Effect::new(DELETE, subject(name), ""),
        Action::WriteStatus(write) => {
            let (old, new) = (json!(replica_set.status), json!(write.status));
            Effect::new(STATUS, "ReplicaSet", status_changes(&old, &new))
        }
    }
}

/// What a plan comes to.
pub(crate) fn outlook(snapshot: &Snapshot, plan: &Plan) -> Outlook {
    let replica_set = snapshot.replica_set.as_ref();
    let stored = replica_set.status.conditions.as_deref().unwrap_or_default();
    if conditions::find(stored, REPLICA_FAILURE).is_some_and(|it| it.status == wire::TRUE) {
        // The native controller tried and was refused, as ours would be: nothing to compare until that is mended.
        return Outlook::default();
    }
    let effects: Vec<Effect> = plan
        .actions
        .iter()
        .map(|action| effect(action, replica_set))
        .collect();
    Outlook {
        settled: effects.is_empty(),
        effects,
    }
}

/// Whether the pod counted until that change.
fn is_deleted(change: &Change<Pod>) -> bool {
    let counted = |it: &Pod| pods::is_active(it);
    match change {
        Change::Added(_) => false,
        Change::Updated { old, new } => counted(old) && new.metadata.deletion_timestamp.is_some(),
        Change::Removed(gone) => counted(gone),
    }
}

impl Shadowed for Observer {
    type Write = Change<Pod>;

    const STRAY_DELETES: bool = true;

    fn outlook_without(&self, key: &ObjectKey, write: &Self::Write, now: Timestamp) -> Option<Outlook> {
        let mut snapshot = self.snapshot(key, true).ok()??;
        let uid = Uid::of(write.latest().as_ref());
        snapshot.pods.retain(|pod| Uid::of(pod.as_ref()) != uid);
        if let Some(former) = write.old() {
            snapshot.pods.push(Arc::clone(former));
            snapshot
                .pods
                .sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
            snapshot = self.with_related(snapshot, former);
        }
        let plan = plan(&snapshot, now);
        let mut outlook = outlook(&snapshot, &plan);
        if let Some(former) = write.old().filter(|_| is_deleted(write)) {
            // Which one of several equals goes is left open (RS-50).
            let is_victim = |it: &&Arc<Pod>| {
                let named = |action: &Action| matches!(action, Action::DeletePod { uid, .. } if *uid == Uid::of(it.as_ref()));
                plan.actions.iter().any(named)
            };
            let victims: Vec<Arc<Pod>> = snapshot.pods.iter().filter(is_victim).cloned().collect();
            if ranking::is_as_good_as_one_of(former, &victims, &snapshot.related, now) {
                let name = former.metadata.name.as_deref().unwrap_or_default();
                outlook.effects.push(Effect::new(DELETE, subject(name), ""));
            }
        }
        Some(outlook)
    }
}

/// What a change of a pod shows that a ReplicaSet controller may have done.
fn witnessed(change: &Change<Pod>) -> Option<Effect> {
    let pod = change.latest();
    match change {
        Change::Added(added) if added.metadata.deletion_timestamp.is_none() => {
            Some(Effect::new(CREATE, "pods", ""))
        }
        _ if is_deleted(change) => {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            Some(Effect::new(DELETE, subject(name), ""))
        }
        _ => None,
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
    informers.get::<Pod>().subscribe(Box::new(move |change| {
        if comparison.is_idle() {
            return;
        }
        let Some(effect) = witnessed(change) else { return };
        let owner = owners::owner_of(observer.replica_sets(), change.latest().as_ref());
        let Some(key) = owner else { return };
        let replica_set = observer.replica_set(&key);
        // The garbage collector deletes the pods of a ReplicaSet that is being deleted.
        if replica_set.is_none_or(|it| it.metadata.deletion_timestamp.is_some()) {
            return;
        }
        comparison.witness(&observer, &key, &effect, change, clock.now());
    }));
}
