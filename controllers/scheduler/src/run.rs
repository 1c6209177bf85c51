//! The loop: changes in, decisions, writes out. Decisions are made one after the other, writes many at a time.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use rustc_hash::{FxHashMap, FxHashSet};
use steersman_shared::clock;
use steersman_shared::context::{Context, Mode};
use steersman_shared::objects::Uid;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::act::{Target, Trouble};
use crate::action::{Action, UnscheduledReason};
use crate::cycle::{Binding, Failure, Scheduler, Step};
use crate::error::{Error, Result};
use crate::metrics::{Ended, Metrics};
use crate::observe::{Inbox, watches};

/// Nodes looked at in one go before other tasks get their turn: about 1 ms (STY-75). A table with more of them is
/// planned on a thread of its own.
const ROWS_PER_TURN: usize = 8192;
/// Pods planned on that thread in one go.
const PODS_PER_THREAD_TURN: usize = 16;
/// Changes taken over before other tasks get their turn (STY-75).
const CHANGES_PER_TURN: usize = 64;
/// Status patches under way at one time; more wait, the latest per pod.
const PATCHES_IN_FLIGHT: usize = 32;

/// The scheduler with its connections.
pub(crate) struct Runner<S> {
    pub(crate) ctx: Context,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) sink: Arc<S>,
    pub(crate) metrics: Metrics,
    pub(crate) bindings_at_once: usize,
    pub(crate) writes: Writes,
}

/// What is being written, and what waits for it.
#[derive(Default)]
pub(crate) struct Writes {
    running: FuturesUnordered<BoxFuture<'static, Written>>,
    bindings: usize,
    patching: FxHashSet<Uid>,
    /// The latest condition per pod that waits for a slot, or for the patch before.
    patches: FxHashMap<Uid, Action>,
    /// Bindings that wait for a patch of their pod: the other way round, the patch would undo what the API server
    /// says of a bound pod (SINV-17).
    held: FxHashMap<Uid, Pending>,
}

/// A binding and when its attempt began.
struct Pending {
    binding: Binding,
    started: Instant,
}

/// What became of a write; an error as users read it.
enum Written {
    Bound(Box<Pending>, Result<(), String>),
    Patched(Uid),
}

impl<S: Target> Runner<S> {
    /// Runs until the context stops. Writes under way are finished.
    pub(crate) async fn run(mut self, mut scheduler: Scheduler) -> Result<()> {
        let stop = self.ctx.stop.clone();
        let kinds = watches();
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            // Cancel-safe: only waits (SCH-12).
            () = self.ctx.informers.synced(&kinds) => {}
        }
        loop {
            let term = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                // Cancel-safe: only waits.
                term = self.until_entitled() => term,
            };
            info!(term, "scheduling");
            let (back, ended) = self.schedule(scheduler, term).await?;
            scheduler = back;
            self.drain(&mut scheduler).await;
            match ended {
                TermEnd::Stopped => return Ok(()),
                TermEnd::LeadershipLost => info!(term, "leadership lost: nothing is scheduled"),
            }
        }
    }

    /// Finishes the writes under way and starts no more patches. Ends soon: requests have deadlines.
    async fn drain(&mut self, scheduler: &mut Scheduler) {
        self.writes.patches.clear();
        while let Some(written) = self.writes.running.next().await {
            self.finish(scheduler, written);
        }
    }

    /// Waits until this process may write and its caches show what the former leader wrote. Without writing, nothing
    /// has to be waited for.
    async fn until_entitled(&mut self) -> u64 {
        let leadership = &self.ctx.leadership;
        let kinds = watches();
        loop {
            if self.ctx.mode != Mode::Active {
                return leadership.term();
            }
            let term = leadership.until_leading().await;
            tokio::select! {
                biased;
                // Cancel-safe: both only wait.
                () = leadership.until_lost(term) => {}
                () = self.ctx.informers.fresh(term, &kinds) => return term,
            }
        }
    }

    /// Schedules during one term of leadership.
    async fn schedule(&mut self, mut scheduler: Scheduler, term: u64) -> Result<(Scheduler, TermEnd)> {
        let stop = self.ctx.stop.clone();
        let leadership = self.ctx.leadership.clone();
        loop {
            let now = self.ctx.now();
            self.observe(&mut scheduler, now).await;
            scheduler.flush(now);
            while let Some(Some(written)) = self.writes.running.next().now_or_never() {
                self.finish(&mut scheduler, written);
            }
            scheduler = self.turn(scheduler).await?;
            self.metrics.sizes(&scheduler);
            let is_busy = scheduler.is_ready() && self.writes.bindings < self.bindings_at_once;
            let due = scheduler.next_flush();
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok((scheduler, TermEnd::Stopped)),
                // Cancel-safe: only waits.
                () = leadership.until_lost(term), if self.ctx.mode == Mode::Active => {
                    return Ok((scheduler, TermEnd::LeadershipLost));
                }
                // Other tasks first: the connections that carry our writes are among them.
                () = tokio::task::yield_now(), if is_busy => {}
                // Cancel-safe: a finished write stays in the set until it is returned.
                Some(written) = self.writes.running.next() => self.finish(&mut scheduler, written),
                // Cancel-safe: see there.
                () = self.inbox.arrived(), if !is_busy => {}
                // Cancel-safe: only waits.
                () = sleep_until(self.ctx.now(), due), if !is_busy => {}
            }
        }
    }

    /// Takes over what the watches told, a bit at a time: the first lists are long.
    async fn observe(&mut self, scheduler: &mut Scheduler, now: Timestamp) {
        let mut inputs = self.inbox.take().into_iter();
        while inputs.len() > 0 {
            scheduler.observe(inputs.by_ref().take(CHANGES_PER_TURN), now);
            if inputs.len() > 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Decides about as many pods as fit into one turn.
    async fn turn(&mut self, mut scheduler: Scheduler) -> Result<Scheduler> {
        let room = self.bindings_at_once.saturating_sub(self.writes.bindings);
        if room == 0 || !scheduler.is_ready() {
            return Ok(scheduler);
        }
        let rows = scheduler.cluster().table().len().max(1);
        let now = self.ctx.now();
        let started = Instant::now();
        let steps;
        (scheduler, steps) = if rows > ROWS_PER_TURN {
            let pods = room.min(PODS_PER_THREAD_TURN);
            let planning = move || {
                let steps = take_steps(&mut scheduler, pods, now);
                (scheduler, steps)
            };
            tokio::task::spawn_blocking(planning)
                .await
                .map_err(|source| Error::Planner { source })?
        } else {
            let steps = take_steps(&mut scheduler, room.min(ROWS_PER_TURN / rows), now);
            (scheduler, steps)
        };
        let each = started.elapsed() / u32::try_from(steps.len().max(1)).unwrap_or(u32::MAX);
        for step in steps {
            self.metrics.decision(each);
            self.carry_out(&scheduler, step, started);
        }
        Ok(scheduler)
    }

    fn carry_out(&mut self, scheduler: &Scheduler, step: Step, started: Instant) {
        match step {
            Step::Bind(binding) => self.bind(Pending {
                binding: *binding,
                started,
            }),
            Step::Failed(failure) => self.report(scheduler, failure, started),
            Step::Dropped(event) => {
                if let Some(event) = event {
                    self.tell(event);
                }
            }
        }
    }

    fn bind(&mut self, pending: Pending) {
        let uid = pending.binding.action.uid();
        self.writes.patches.remove(uid);
        self.writes.bindings += 1;
        if self.writes.patching.contains(uid) {
            self.writes.held.insert(uid.clone(), pending);
        } else {
            self.send_binding(pending);
        }
    }

    fn send_binding(&mut self, pending: Pending) {
        let sink = Arc::clone(&self.sink);
        self.writes.running.push(
            async move {
                let result = sink
                    .apply(&pending.binding.action)
                    .await
                    .map_err(|error| error.text());
                Written::Bound(Box::new(pending), result)
            }
            .boxed(),
        );
    }

    /// Tells a failed attempt: an event at once, the condition when there is a slot.
    fn report(&mut self, scheduler: &Scheduler, failure: Failure, started: Instant) {
        let ended = match failure.reason {
            UnscheduledReason::Unschedulable => Ended::Unschedulable,
            UnscheduledReason::SchedulerError => Ended::Error,
        };
        self.metrics.attempt(ended, started.elapsed());
        self.tell(failure.event);
        if let Some(condition) = failure.condition {
            self.writes.patches.insert(failure.pod.uid.clone(), condition);
            self.send_patches(scheduler);
        } else {
            // The pod says it already; an older text must not be written over it.
            self.writes.patches.remove(&failure.pod.uid);
        }
    }

    /// Sends as many patches as there are slots. A pod that got a node meanwhile, from whomever, needs none, and one
    /// would undo what the API server says of it (SINV-17).
    fn send_patches(&mut self, scheduler: &Scheduler) {
        while self.writes.patching.len() < PATCHES_IN_FLIGHT {
            let patching = &self.writes.patching;
            let Some(uid) = self
                .writes
                .patches
                .keys()
                .find(|uid| !patching.contains(*uid))
                .cloned()
            else {
                return;
            };
            let Some(action) = self.writes.patches.remove(&uid) else {
                return;
            };
            if !scheduler.is_pending(&uid) {
                continue;
            }
            self.writes.patching.insert(uid.clone());
            let sink = Arc::clone(&self.sink);
            self.writes.running.push(
                async move {
                    if let Err(error) = sink.apply(&action).await {
                        // The next attempt of the pod reports again.
                        warn!(error = &error as &dyn std::error::Error, pod = %action.pod(), "condition not written");
                    }
                    Written::Patched(uid)
                }
                .boxed(),
            );
        }
    }

    /// Events wait for nothing: the recorder takes or drops them at once.
    fn tell(&mut self, event: Action) {
        let sink = Arc::clone(&self.sink);
        let told = async move { sink.apply(&event).await.map_err(|error| error.text()) }
            .boxed()
            .now_or_never();
        if let Some(Err(error)) = told {
            debug!(error, "event not told");
        }
    }

    fn finish(&mut self, scheduler: &mut Scheduler, written: Written) {
        match written {
            Written::Patched(uid) => {
                self.writes.patching.remove(&uid);
                if let Some(pending) = self.writes.held.remove(&uid) {
                    self.send_binding(pending);
                }
                self.send_patches(scheduler);
            }
            Written::Bound(pending, result) => {
                self.writes.bindings = self.writes.bindings.saturating_sub(1);
                let Pending { binding, started } = *pending;
                let now = self.ctx.now();
                match result {
                    Ok(()) => {
                        let attempt = &binding.attempt;
                        self.metrics.attempt(Ended::Scheduled, started.elapsed());
                        let since = attempt
                            .first_tried
                            .map_or(Duration::ZERO, |first| clock::since(now, first));
                        self.metrics.bound(attempt.attempts, since, attempt.after_timeout);
                        let event = scheduler.bound(&binding);
                        self.tell(event);
                    }
                    Err(message) => {
                        warn!(pod = %binding.attempt.pod.key, node = &*binding.node, message, "binding failed");
                        let step = scheduler.binding_failed(binding, &message, now);
                        self.carry_out(scheduler, step, started);
                    }
                }
            }
        }
    }
}

/// Why a term of scheduling ended.
enum TermEnd {
    Stopped,
    LeadershipLost,
}

fn take_steps(scheduler: &mut Scheduler, pods: usize, now: Timestamp) -> Vec<Step> {
    std::iter::from_fn(|| scheduler.step(now))
        .take(pods.max(1))
        .collect()
}

/// Waits until a moment; for ever if there is none.
async fn sleep_until(now: Timestamp, moment: Option<Timestamp>) {
    match moment {
        Some(moment) => tokio::time::sleep(clock::until(now, moment)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
