//! The generic loop: takes keys, waits for the caches to show former writes, reconciles, and decides when the key
//! comes back.

use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument as _, debug, field, info_span, warn};

use crate::context::Context;
use crate::informer::KindId;
use crate::metrics::Metrics;
use crate::objects::ObjectKey;
use crate::queue::{Item, Queue};
use crate::sink::{Mode, Retry};
use crate::writes::Writes;
use crate::{Error, Result, clock};

/// An error of a controller crate: knows what the queue does with the key.
pub trait ReconcileError: std::error::Error + Send + Sync + 'static {
    /// What the queue does with the key.
    fn retry(&self) -> Retry;
    /// Metric label: one per variant.
    fn label(&self) -> &'static str;
}

/// Observes, plans and acts for one key.
pub trait Reconcile: Send + Sync + 'static {
    /// Why it may fail.
    type Error: ReconcileError;

    /// Name of the controller: metric label and span field.
    const NAME: &'static str;

    /// Kinds whose caches a snapshot is made from. No key is taken before they are synced (RS-32), nor after a
    /// change of leadership before they are fresh (TAKE-5).
    fn watches(&self) -> Vec<KindId>;

    /// Whether an object that the snapshot needs does not decode at present (STY-25). The change that mends it
    /// brings the key back.
    fn held(&self, key: &ObjectKey) -> bool {
        let _ = key;
        false
    }

    /// All keys there are: planned again when the guard changes its mind, or a namespace opts out or in.
    fn keys(&self) -> Vec<ObjectKey> {
        Vec::new()
    }

    /// Observes, plans and acts for one key. A missing object is a normal case (STY-18).
    fn reconcile(&self, key: &ObjectKey) -> impl Future<Output = Result<Outcome, Self::Error>> + Send;
}

/// How a reconcile ended that did not fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Earliest moment at which time alone changes the plan; replaces the one of the reconcile before.
    pub wake_at: Option<Timestamp>,
}

impl Outcome {
    /// Only a change brings the key back.
    #[must_use]
    pub fn done() -> Self {
        Self::default()
    }

    /// Wakes the key up at that moment, if there is one.
    #[must_use]
    pub fn wake_at(wake_at: Option<Timestamp>) -> Self {
        Self { wake_at }
    }
}

/// A controller, wired up and not running yet.
pub struct Controller<R> {
    reconciler: R,
    queue: Queue<ObjectKey>,
    writes: Writes,
    ctx: Context,
    workers: NonZeroUsize,
}

impl<R: Reconcile> fmt::Debug for Controller<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("name", &R::NAME)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

impl<R: Reconcile> Controller<R> {
    /// A controller with a queue and open writes of its own. `wire` makes the reconciler; it subscribes what is to come
    /// into the queue, which takes in keys from then on.
    pub fn new(
        ctx: &Context,
        workers: NonZeroUsize,
        wire: impl FnOnce(&Queue<ObjectKey>, &Writes) -> R,
    ) -> Self {
        let queue = ctx.queue(R::NAME);
        let writes = ctx.writes(&queue);
        Self {
            reconciler: wire(&queue, &writes),
            queue,
            writes,
            ctx: ctx.clone(),
            workers,
        }
    }

    /// Runs until the context stops; actions in flight are finished.
    ///
    /// # Errors
    /// A worker panicked.
    pub async fn run(self) -> Result<()> {
        run(self.reconciler, self.queue, self.writes, self.ctx, self.workers).await
    }
}

/// Runs `workers` workers until the context stops. Actions in flight are finished.
///
/// # Errors
/// A worker panicked.
pub async fn run<R: Reconcile>(
    reconciler: R,
    queue: Queue<ObjectKey>,
    writes: Writes,
    ctx: Context,
    workers: NonZeroUsize,
) -> Result<()> {
    let worker = Arc::new(Worker {
        reconciler,
        queue,
        writes,
        ctx,
    });
    let mut tasks: JoinSet<()> = JoinSet::new();
    for _ in 0..workers.get() {
        tasks.spawn(Arc::clone(&worker).work());
    }
    let housekeeping = async {
        tokio::select! {
            biased;
            () = worker.writes.expire(&worker.ctx.stop) => {}
            // Not resumed after the end.
            () = worker.plan_again() => {}
        }
        worker.queue.shut_down();
    };
    let finished = async {
        while let Some(ended) = tasks.join_next().await {
            if let Err(source) = ended {
                return Err(Error::TaskDied {
                    task: R::NAME,
                    source,
                });
            }
        }
        Ok(())
    };
    tokio::pin!(housekeeping, finished);
    tokio::select! {
        biased;
        result = &mut finished => result,
        () = &mut housekeeping => finished.await,
    }
}

struct Worker<R> {
    reconciler: R,
    queue: Queue<ObjectKey>,
    writes: Writes,
    ctx: Context,
}

impl<R: Reconcile> Worker<R> {
    /// Brings all keys back whenever what is planned for them may go another way: plans that were only reported are
    /// carried out from now on, or the other way round. Never ends.
    async fn plan_again(&self) {
        let (mut licence, mut opt_outs) = (self.ctx.licence.clone(), self.ctx.opt_outs.clone());
        loop {
            tokio::select! {
                // Cancel-safe: both only wait.
                () = licence.changed() => {}
                () = opt_outs.changed() => {}
            }
            for key in self.reconciler.keys() {
                self.queue.add(key);
            }
        }
    }

    async fn work(self: Arc<Self>) {
        let stop = &self.ctx.stop;
        let mut kinds = self.reconciler.watches();
        kinds.extend(self.ctx.opt_outs.kinds());
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // Cancel-safe: only waits.
            () = self.ctx.informers.synced(&kinds) => {}
        }
        loop {
            let term = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // Cancel-safe: only waits.
                term = self.until_entitled(&kinds) => term,
            };
            loop {
                let next = tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    // Cancel-safe: only waits.
                    () = self.until_stripped(term) => break,
                    // Cancel-safe, see there.
                    next = self.queue.next() => next,
                };
                let Some(item) = next else { return };
                self.work_on(&item).await;
            }
            debug!(controller = R::NAME, term, "leadership lost: no key is taken");
        }
    }

    /// Waits until this process may write, and its caches show what the former leader wrote. The term it may write
    /// in. A controller that writes nothing need not wait.
    async fn until_entitled(&self, kinds: &[KindId]) -> u64 {
        let leadership = &self.ctx.leadership;
        loop {
            if self.ctx.mode != Mode::Active {
                return leadership.term();
            }
            let term = leadership.until_leading().await;
            tokio::select! {
                biased;
                // Cancel-safe: both only wait.
                () = leadership.until_lost(term) => {}
                () = self.ctx.informers.fresh(term, kinds) => return term,
            }
        }
    }

    /// Waits until this process may write no longer; never ends for a controller that writes nothing.
    async fn until_stripped(&self, term: u64) {
        if self.ctx.mode == Mode::Active {
            self.ctx.leadership.until_lost(term).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    async fn work_on(&self, key: &Item<ObjectKey>) {
        if self.writes.park(key) || self.ctx.licence.is_probe(key) {
            return;
        }
        let metrics = &self.ctx.shared_metrics;
        if self.reconciler.held(key) {
            metrics.held_keys.get_or_create(&[("controller", R::NAME)]).inc();
            debug!(controller = R::NAME, key = %**key, "held: an object that it depends on does not decode");
            return;
        }
        let attempt = self.queue.retries(key);
        let span = info_span!(
            "reconcile",
            controller = R::NAME,
            namespace = &*key.namespace,
            name = &*key.name,
            uid = field::Empty,
            trigger = field::Empty,
            attempt,
        );
        let timer = Timer {
            started: Instant::now(),
            metrics,
            controller: R::NAME,
        };
        let result = self.reconciler.reconcile(key).instrument(span.clone()).await;
        drop(timer);
        let _entered = span.enter();
        match result {
            Ok(outcome) => {
                self.queue.forget(key);
                let now = self.ctx.clock.now();
                self.queue.wake_after(
                    (**key).clone(),
                    outcome.wake_at.map(|moment| clock::until(now, moment)),
                );
            }
            Err(error) => self.requeue(key, &error),
        }
    }

    fn requeue(&self, key: &Item<ObjectKey>, error: &R::Error) {
        let (queue, retry) = (&self.queue, error.retry());
        let labels = [("controller", R::NAME), ("error", error.label())];
        self.ctx
            .shared_metrics
            .reconcile_errors
            .get_or_create(&labels)
            .inc();
        let chain = error as &dyn std::error::Error;
        let key = (**key).clone();
        match retry {
            Retry::OnChange => {
                debug!(error = chain, ?retry, "reconcile ended early");
                queue.forget(&key);
            }
            Retry::Soon(delay) => {
                debug!(error = chain, ?retry, "reconcile starts again");
                queue.add_soon(key, delay);
            }
            Retry::Backoff => {
                warn!(error = chain, ?retry, "reconcile failed");
                queue.add_rate_limited(key);
            }
            Retry::Drop { after } if queue.retries(&key) < after => {
                warn!(error = chain, ?retry, "reconcile failed");
                queue.add_rate_limited(key);
            }
            Retry::Drop { .. } => {
                warn!(
                    error = chain,
                    ?retry,
                    "reconcile failed too often; waiting for the next change"
                );
                queue.forget(&key);
            }
        }
    }
}

/// Records on drop, so that early returns and panics count (STY-56).
struct Timer<'a> {
    started: Instant,
    metrics: &'a Metrics,
    controller: &'static str,
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        let duration = self
            .metrics
            .reconcile_duration
            .get_or_create(&[("controller", self.controller)]);
        duration.observe(self.started.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests;
