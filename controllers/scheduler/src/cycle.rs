//! The scheduler without its connections: takes changes of the cluster and decides pod after pod. Each decision sees
//! the assumption of the one before (SCH-55). Pure except for its own state; the caller passes `now`.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod};
use rustc_hash::FxHashMap;
use steersman_shared::cache::Change;
use steersman_shared::objects::Uid;
use steersman_shared::{conditions, pods, wire};
use tracing::{debug, trace, warn};

use crate::action::{Action, Told, UnscheduledReason, event as text};
use crate::cluster::{Cluster, Confirmed};
use crate::config::Config;
use crate::error::Result;
use crate::plan::event::{Event, NodeAspect, NodeView, PodAspect};
use crate::plan::plugins::PluginName;
use crate::plan::pod::PodInfo;
use crate::plan::{self, Decision, Outcome, Profile};
use crate::queue::{Attempt, Backoff, Place, Queue};

/// How often pods that were parked for too long are looked for (kube-scheduler 1.36, SCH-24).
const PARKED_FLUSH: SignedDuration = SignedDuration::from_secs(30);

/// State of the scheduler.
#[derive(Debug)]
pub struct Scheduler {
    names: BTreeSet<String>,
    seed: u64,
    profile: Profile,
    cluster: Cluster,
    queue: Queue,
    /// Pods of ours without a node, as the watch shows them.
    pending: FxHashMap<Uid, Arc<PodInfo>>,
    /// Bound pods that changed their node, which no API server allows (SCH-42).
    moved: u64,
    flushed_at: Option<Timestamp>,
}

/// What became of one pod that was taken from the queue.
#[derive(Debug)]
pub enum Step {
    /// A node was decided and is assumed: bind the pod.
    Bind(Box<Binding>),
    /// The attempt failed: tell it.
    Failed(Failure),
    /// There was nothing to decide: the pod is going or gone, or has a node.
    Dropped(Option<Action>),
}

/// A pod on its way to a node.
#[derive(Debug)]
pub struct Binding {
    /// The write.
    pub action: Action,
    /// The node.
    pub node: Arc<str>,
    /// The pod and its history.
    pub attempt: Attempt,
}

/// A failed attempt.
#[derive(Debug)]
pub struct Failure {
    /// The pod.
    pub pod: Arc<PodInfo>,
    /// Rejected, or an error.
    pub reason: UnscheduledReason,
    /// The event.
    pub event: Action,
    /// The condition, `None` if the pod says it already (SCH-162).
    pub condition: Option<Action>,
}

impl Scheduler {
    /// A scheduler that knows nothing yet.
    ///
    /// # Errors
    /// [`crate::error::Error::Setting`] and others for settings that cannot work.
    pub fn new(config: &Config) -> Result<Self> {
        let seconds = |seconds: u32| SignedDuration::from_secs(i64::from(seconds));
        let backoff = Backoff {
            initial: seconds(config.pod_initial_backoff_seconds),
            maximum: seconds(config.pod_max_backoff_seconds),
        };
        Ok(Self {
            names: config.scheduler_names.iter().cloned().collect(),
            seed: config.seed,
            profile: config.profile()?,
            cluster: Cluster::default(),
            queue: Queue::new(backoff),
            pending: FxHashMap::default(),
            moved: 0,
            flushed_at: None,
        })
    }

    /// Nodes and charged pods.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Waiting pods.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The plugins.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// Pods of ours without a node, as the watch shows them.
    pub fn pending(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.pending.values()
    }

    /// Whether the watch shows the pod without a node.
    #[must_use]
    pub fn is_pending(&self, uid: &Uid) -> bool {
        self.pending.contains_key(uid)
    }

    /// Bound pods that changed their node; always 0 with a correct API server.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.moved
    }

    /// Takes over a change of a node (SCH-32, SCH-37).
    pub fn observe_node(&mut self, change: &Change<Node>, now: Timestamp) {
        match change {
            Change::Added(new) => self.node_added(new, now),
            Change::Updated { new, .. } if self.row_is_missing(new) => self.node_added(new, now),
            Change::Updated { old, new } => {
                if is_same_row(old, new) {
                    return;
                }
                self.cluster.table_mut().set_node(new);
                let aspects = NodeAspect::changed(old, new);
                if aspects.is_empty() || !self.queue.has_listeners() {
                    return;
                }
                let (old, new) = (view(old), view(new));
                for aspect in aspects {
                    let (old, new) = (Arc::clone(&old), Arc::clone(&new));
                    self.wake(&Event::NodeUpdated { aspect, old, new }, now);
                }
            }
            Change::Removed(old) => {
                self.wake(&Event::NodeRemoved, now);
                self.cluster
                    .table_mut()
                    .remove_node(old.metadata.name.as_deref().unwrap_or_default());
            }
        }
    }

    fn row_is_missing(&self, node: &Node) -> bool {
        self.cluster
            .table()
            .row(node.metadata.name.as_deref().unwrap_or_default())
            .is_none()
    }

    fn node_added(&mut self, node: &Arc<Node>, now: Timestamp) {
        self.cluster.table_mut().set_node(node);
        if self.queue.has_listeners() {
            self.wake(&Event::NodeAdded(view(node)), now);
        }
    }

    /// Takes over a change of a pod (SCH-1 to SCH-9). What is known of the pod decides, not the old version in the
    /// change: after a relist that may be anything.
    pub fn observe_pod(&mut self, change: &Change<Pod>, now: Timestamp) {
        match change.current() {
            Some(pod) if !pods::is_finished(pod) => {
                if self.concerns_us(pod) {
                    self.pod_seen(Arc::new(PodInfo::new(Arc::clone(pod))), now);
                }
            }
            _ => self.pod_gone(&Uid::of(&**change.latest()), now),
        }
    }

    /// Bound pods take room, whoever placed them (SCH-3); of the others only ours are of interest (SCH-2).
    fn concerns_us(&self, pod: &Pod) -> bool {
        let scheduler = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
        !pods::node_name(pod).is_empty() || self.names.contains(scheduler.unwrap_or_default())
    }

    fn pod_seen(&mut self, pod: Arc<PodInfo>, now: Timestamp) {
        match pod.node.clone() {
            Some(node) => self.bound_pod_seen(pod, &node, now),
            None => self.pending_pod_seen(pod, now),
        }
    }

    fn bound_pod_seen(&mut self, pod: Arc<PodInfo>, node: &str, now: Timestamp) {
        if self.pending.remove(&pod.uid).is_some() {
            self.queue.remove(&pod.uid);
        }
        let before = self.cluster.pod(&pod.uid).cloned();
        let confirmed = self.cluster.confirm(Arc::clone(&pod), node);
        match (confirmed, before) {
            (Confirmed::Known, Some(old)) => {
                if self.queue.has_listeners() && old.object != pod.object {
                    for aspect in PodAspect::changed(&old, &pod) {
                        let (old, new) = (Arc::clone(&old), Arc::clone(&pod));
                        self.wake(&Event::PodUpdated { aspect, old, new }, now);
                    }
                }
                return;
            }
            (Confirmed::Elsewhere, Some(old)) => {
                warn!(pod = %pod.key, node, "pod is bound to another node than was decided here");
                self.wake(&Event::PodRemoved(old), now);
            }
            (Confirmed::Moved, Some(old)) => {
                warn!(pod = %pod.key, node, "bound pod changed its node");
                self.moved += 1;
                self.wake(&Event::PodRemoved(old), now);
            }
            _ => {}
        }
        self.wake(&Event::PodAdded(pod), now);
    }

    fn pending_pod_seen(&mut self, pod: Arc<PodInfo>, now: Timestamp) {
        if self.cluster.pod(&pod.uid).is_some() && !self.cluster.is_assumed(&pod.uid) {
            debug!(pod = %pod.key, "the watch is behind: the pod was seen bound");
            return;
        }
        let old = self.pending.insert(pod.uid.clone(), Arc::clone(&pod));
        if let Some(old) = &old
            && old.object.metadata.resource_version == pod.object.metadata.resource_version
        {
            return;
        }
        if self.cluster.is_assumed(&pod.uid) {
            // Its binding is under way. If it is going to be deleted, others can have the room already (SCH-7).
            if pod.is_terminating() {
                self.forget(&pod.uid, now);
            }
            return;
        }
        if self.queue.place(&pod.uid).is_none() && old.is_some() {
            // Taken from the queue for good: it is terminating, or its binding is under way.
            return;
        }
        self.queue.update(pod, now, &self.profile);
    }

    fn pod_gone(&mut self, uid: &Uid, now: Timestamp) {
        self.pending.remove(uid);
        self.queue.remove(uid);
        if let Some(pod) = self.cluster.remove(uid) {
            self.wake(&Event::PodRemoved(pod), now);
        }
    }

    fn forget(&mut self, uid: &Uid, now: Timestamp) {
        if let Some(pod) = self.cluster.forget(uid) {
            self.wake(&Event::PodRemoved(pod), now);
        }
    }

    fn wake(&mut self, event: &Event, now: Timestamp) {
        let woken = self.queue.wake(event, now, &self.profile);
        if woken > 0 {
            debug!(event = event.label(), pods = woken, "pods may fit now");
        }
    }

    /// Does what is due: back-offs that are over, pods parked for too long.
    pub fn flush(&mut self, now: Timestamp) {
        self.queue.flush_backoff(now);
        let last = *self.flushed_at.get_or_insert(now);
        if now.duration_since(last) >= PARKED_FLUSH {
            self.flushed_at = Some(now);
            self.queue.flush_parked(now, &self.profile);
        }
    }

    /// When [`Self::flush`] next has something to do, if nothing changes before.
    #[must_use]
    pub fn next_flush(&self) -> Option<Timestamp> {
        let parked = self.queue.has_parked().then_some(self.flushed_at).flatten();
        let parked = parked.and_then(|last| last.checked_add(PARKED_FLUSH).ok());
        match (self.queue.next_flush(), parked) {
            (Some(backoff), Some(parked)) => Some(backoff.min(parked)),
            (backoff, parked) => backoff.or(parked),
        }
    }

    /// Whether [`Self::step`] has a pod to look at.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.queue.is_ready()
    }

    /// Takes one pod from the queue and decides about it; `None` if none is ready.
    pub fn step(&mut self, now: Timestamp) -> Option<Step> {
        let attempt = self.queue.pop(now)?;
        let pod = Arc::clone(&attempt.pod);
        if pod.is_terminating() {
            self.queue.done(&pod.uid);
            return Some(Step::Dropped(Some(event(
                &pod,
                Told::FailedScheduling,
                text::skipped(&pod.key),
            ))));
        }
        if self.cluster.is_assumed(&pod.uid) {
            self.queue.done(&pod.uid);
            return Some(Step::Dropped(None));
        }
        let decision = plan::decide(&self.profile, self.cluster.table(), &pod, self.seed);
        if tracing::enabled!(tracing::Level::TRACE) {
            trace!(explanation = ?decision.explain(self.cluster.table()), "decided");
        }
        Some(self.carry_out(attempt, &decision, now))
    }

    fn carry_out(&mut self, attempt: Attempt, decision: &Decision, now: Timestamp) -> Step {
        let pod = Arc::clone(&attempt.pod);
        let Outcome::Place { node, .. } = &decision.outcome else {
            let message = decision.failure().unwrap_or_default();
            let reason = match &decision.outcome {
                Outcome::Failed { .. } => UnscheduledReason::SchedulerError,
                _ => UnscheduledReason::Unschedulable,
            };
            return self.fail(attempt, reason, &message, decision.rejecting_plugins(), now);
        };
        if self.cluster.assume(&pod, node).is_err() {
            let message = format!("pod {} is charged to a node already", pod.key);
            return self.fail(
                attempt,
                UnscheduledReason::SchedulerError,
                &message,
                BTreeSet::new(),
                now,
            );
        }
        self.queue.done(&pod.uid);
        let action = Action::Bind {
            pod: pod.key.clone(),
            uid: pod.uid.clone(),
            node: Arc::clone(node),
        };
        Step::Bind(Box::new(Binding {
            action,
            node: Arc::clone(node),
            attempt,
        }))
    }

    /// Puts a pod back whose attempt failed; one that is gone or bound by now is dropped (SCH-25).
    fn fail(
        &mut self,
        attempt: Attempt,
        reason: UnscheduledReason,
        message: &str,
        rejected_by: BTreeSet<PluginName>,
        now: Timestamp,
    ) -> Step {
        let uid = attempt.pod.uid.clone();
        let Some(latest) = self.pending.get(&uid).cloned() else {
            self.queue.done(&uid);
            return Step::Dropped(None);
        };
        debug!(pod = %latest.key, message, "pod is not scheduled");
        self.queue
            .fail(attempt, Arc::clone(&latest), rejected_by, now, &self.profile);
        Step::Failed(Failure {
            event: event(&latest, Told::FailedScheduling, text::note(message)),
            condition: condition(&latest, reason, message, now),
            reason,
            pod: latest,
        })
    }

    /// The binding was accepted. The assumption stays until the watch confirms it (SCH-40).
    pub fn bound(&mut self, binding: &Binding) -> Action {
        let pod = &binding.attempt.pod;
        event(pod, Told::Scheduled, text::scheduled(&pod.key, &binding.node))
    }

    /// The binding failed: everything is as before the attempt, and others may have the room (SCH-158).
    pub fn binding_failed(&mut self, binding: Binding, message: &str, now: Timestamp) -> Step {
        self.forget(&binding.attempt.pod.uid, now);
        if self.queue.place(&binding.attempt.pod.uid).is_some() {
            return Step::Dropped(None);
        }
        self.fail(
            binding.attempt,
            UnscheduledReason::SchedulerError,
            message,
            BTreeSet::new(),
            now,
        )
    }

    /// Number of pods per place, with upstream's names (SCH-186).
    #[must_use]
    pub fn pending_counts(&self) -> [(&'static str, usize); 4] {
        let count = |place| self.queue.count(place);
        [
            ("active", count(Place::Active)),
            ("backoff", count(Place::Backoff) + count(Place::ErrorBackoff)),
            ("unschedulable", count(Place::Unschedulable)),
            ("gated", count(Place::Gated)),
        ]
    }
}

fn view(node: &Arc<Node>) -> Arc<NodeView> {
    Arc::new(NodeView::new(Arc::clone(node)))
}

/// Whether two versions of a node are the same to every plugin: true for heartbeats.
fn is_same_row(old: &Node, new: &Node) -> bool {
    let (old_status, new_status) = (old.status.as_ref(), new.status.as_ref());
    old.spec == new.spec
        && old.metadata.labels == new.metadata.labels
        && old.metadata.annotations == new.metadata.annotations
        && old_status.map(|status| &status.allocatable) == new_status.map(|status| &status.allocatable)
        && old_status.map(|status| &status.images) == new_status.map(|status| &status.images)
        && old_status.map(|status| &status.declared_features)
            == new_status.map(|status| &status.declared_features)
}

fn event(pod: &PodInfo, what: Told, note: String) -> Action {
    Action::Event {
        pod: pod.key.clone(),
        uid: pod.uid.clone(),
        scheduler: pod.scheduler_name().into(),
        what,
        note,
    }
}

/// The condition that a failed attempt leaves, unless the pod has it (SCH-162).
fn condition(pod: &PodInfo, reason: UnscheduledReason, message: &str, now: Timestamp) -> Option<Action> {
    let list = pod
        .object
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let known = conditions::find(list, wire::POD_SCHEDULED).filter(|known| known.status == wire::FALSE);
    let says = |known: &k8s_openapi::api::core::v1::PodCondition| {
        known.reason.as_deref() == Some(reason.as_str()) && known.message.as_deref() == Some(message)
    };
    if known.is_some_and(says) {
        return None;
    }
    let since = known
        .and_then(|known| known.last_transition_time.as_ref())
        .map_or(now, |since| since.0);
    Some(Action::Condition {
        pod: pod.key.clone(),
        uid: pod.uid.clone(),
        observed_generation: pod.object.metadata.generation,
        since,
        reason,
        message: message.to_owned(),
    })
}

#[cfg(test)]
mod tests;
