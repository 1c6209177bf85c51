//! When a rollout goes back, and to which revision.
//!
//! Once per revision, in both directions: a ReplicaSet that was left is not left again when its template returns, and
//! the one that a rollback led to is not left either. Two revisions therefore never take turns.

use std::sync::Arc;

use steersman_shared::objects::ReplicaSet;

use super::marks::{Abort, Complete, Note};
use super::{Assessment, Scene, Triggers};
use crate::action::RollbackReason;
use crate::plan::{annotations, conditions, desired_replicas, size, template};

/// A way back.
#[derive(Clone, Debug, PartialEq)]
pub struct Back {
    /// The ReplicaSet whose template the Deployment gets.
    pub to: Arc<ReplicaSet>,
    /// What is kept of it.
    pub note: Note,
}

/// Works out whether it is time to go back.
pub(super) fn assess(scene: &Scene<'_>, abort: Option<Abort>, assessment: &mut Assessment) {
    let Some(new) = scene.family.new.as_ref().filter(|new| new.metadata.uid.is_some()) else {
        return;
    };
    if desired_replicas(scene.deployment) <= 0 {
        return;
    }
    let is_done = scene
        .completed()
        .is_some_and(|mark| mark.revision >= scene.revision);
    let aborted = abort.is_some_and(|Abort(revision)| revision == scene.revision) && !is_done;
    let (reason, message) = if aborted {
        let message = format!("revision {} was aborted", scene.revision);
        (RollbackReason::Aborted, message)
    } else {
        match scene
            .policy()
            .triggers
            .and_then(|triggers| fired(scene, &triggers))
        {
            Some(fired) => fired,
            None => return,
        }
    };
    let name = new.metadata.name.clone().unwrap_or_default();
    if !aborted && let Some(obstacle) = obstacle(scene, new, &name) {
        assessment.stranded = Some(format!("{message}; {obstacle}"));
        return;
    }
    let Some((to, to_revision)) = target(scene, aborted) else {
        assessment.stranded = Some(format!(
            "{message}; no revision that was complete is left to go back to: fix the template, or use kubectl rollout \
             undo --to-revision"
        ));
        return;
    };
    let note = Note {
        from: name,
        from_revision: scene.revision,
        to: to.metadata.name.clone().unwrap_or_default(),
        to_revision,
        policy: scene.policy().name.clone(),
        reason,
        message,
        at: scene.now,
    };
    assessment.back = Some(Back { to, note });
}

/// Why a trigger that fired leads nowhere.
fn obstacle(scene: &Scene<'_>, new: &ReplicaSet, name: &str) -> Option<&'static str> {
    let left_before = Note::of_left(new).is_some() || scene.note.is_some_and(|note| note.from == name);
    if left_before {
        return Some("this template was rolled back before, which happens once per revision");
    }
    let led_here = scene.note.is_some_and(|note| note.to == name);
    led_here.then_some("a rollback led to this revision, and none leads on from it")
}

/// The first trigger that fired.
fn fired(scene: &Scene<'_>, triggers: &Triggers) -> Option<(RollbackReason, String)> {
    let new = scene.new_name().unwrap_or_default();
    if triggers.on_deadline && conditions::timed_out(&scene.deployment.status) == Some(new) {
        let message = format!("ReplicaSet {new} made no progress within the progress deadline");
        return Some((RollbackReason::ProgressDeadlineExceeded, message));
    }
    let completed = scene.completed().filter(|mark| mark.revision >= scene.revision);
    let watch_ends = completed.map(|mark| mark.at.checked_add(triggers.window));
    if watch_ends.is_some_and(|end| end.is_ok_and(|end| end < scene.now)) {
        return None;
    }
    if let Some(limit) = triggers.max_restarts {
        let within = |pod: &&super::PodFacts| {
            let last = pod.last_restart.unwrap_or(scene.now);
            let start = pod.started.unwrap_or(scene.now);
            start.checked_add(triggers.window).is_ok_and(|end| last <= end)
        };
        let restarted = |pod: &&super::PodFacts| pod.restarts > limit;
        if let Some(pod) = scene.new_pods().iter().filter(restarted).find(within) {
            let message = format!(
                "pod {} restarted {} times, more than {limit}",
                pod.name, pod.restarts
            );
            return Some((RollbackReason::PodRestarts, message));
        }
    }
    let limit = triggers.max_crash_looping?;
    let looping = scene.new_pods().iter().filter(|pod| pod.crash_looping);
    let names: Vec<&str> = looping.map(|pod| pod.name.as_str()).collect();
    let first = names.first().filter(|_| names.len() > limit)?;
    let message = format!(
        "{} pods are in a crash loop, more than {limit}: {first}",
        names.len()
    );
    Some((RollbackReason::CrashLoopingPods, message))
}

/// Where to: the old ReplicaSet that was complete last, never one that was left. An abort, which somebody asked for,
/// may also lead to the one with the most available pods.
fn target(scene: &Scene<'_>, aborted: bool) -> Option<(Arc<ReplicaSet>, i64)> {
    let candidates = || {
        scene.family.old.iter().filter(|it| {
            it.metadata.deletion_timestamp.is_none()
                && Note::of_left(it).is_none()
                && !template::is_equal(&scene.deployment.spec.template, &it.spec.template)
        })
    };
    let revision = |it: &ReplicaSet| annotations::revision(it).unwrap_or_default().0;
    let complete = candidates().filter_map(|it| Some((Complete::of(it)?.revision, it)));
    let last = complete.max_by_key(|(revision, _)| *revision).map(|(_, it)| it);
    let available = |it: &&Arc<ReplicaSet>| it.status.available_replicas.unwrap_or_default();
    let found = last.or_else(|| {
        candidates()
            .filter(|it| aborted && size(it) > 0)
            .max_by_key(available)
    })?;
    Some((Arc::clone(found), revision(found)))
}
