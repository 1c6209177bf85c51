//! Metrics under upstream's names (SCH-186).

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use steersman_shared::metrics::Labels;

use crate::cycle::Scheduler;

/// Metrics of the scheduler. Clones share the values.
#[derive(Clone, Debug)]
pub struct Metrics {
    attempts: Family<Labels<1>, Counter>,
    attempt_duration: Family<Labels<1>, Histogram>,
    algorithm_duration: Histogram,
    sli_duration: Family<Labels<1>, Histogram>,
    pod_attempts: Histogram,
    pending: Family<Labels<1>, Gauge>,
    cache_size: Family<Labels<1>, Gauge>,
    after_flush: Counter,
    moved: Gauge,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Scheduled,
    Unschedulable,
    Error,
}

impl Ended {
    fn label(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let milliseconds = (|| Histogram::new(exponential_buckets(0.001, 2.0, 15))) as fn() -> Histogram;
        let sli = (|| Histogram::new(exponential_buckets(0.01, 2.0, 20))) as fn() -> Histogram;
        Self {
            attempts: Family::default(),
            attempt_duration: Family::new_with_constructor(milliseconds),
            algorithm_duration: milliseconds(),
            sli_duration: Family::new_with_constructor(sli),
            pod_attempts: Histogram::new(exponential_buckets(1.0, 2.0, 5)),
            pending: Family::default(),
            cache_size: Family::default(),
            after_flush: Counter::default(),
            moved: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Creates the metrics and registers them. Once per registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        registry.register(
            "scheduler_schedule_attempts",
            "Attempts to schedule pods, by result",
            m.attempts,
        );
        registry.register_with_unit(
            "scheduler_scheduling_attempt_duration",
            "Time from taking a pod from the queue until it is bound or has failed",
            Unit::Seconds,
            m.attempt_duration,
        );
        registry.register_with_unit(
            "scheduler_scheduling_algorithm_duration",
            "Time to decide about a pod",
            Unit::Seconds,
            m.algorithm_duration,
        );
        registry.register_with_unit(
            "scheduler_pod_scheduling_sli_duration",
            "Time from a pod's first entry into the active queue until it is bound",
            Unit::Seconds,
            m.sli_duration,
        );
        registry.register(
            "scheduler_pod_scheduling_attempts",
            "Attempts until a pod is bound",
            m.pod_attempts,
        );
        registry.register("scheduler_pending_pods", "Pods that wait, by queue", m.pending);
        registry.register(
            "scheduler_cache_size",
            "Nodes, pods and assumed pods in the cache",
            m.cache_size,
        );
        registry.register(
            "scheduler_pod_scheduled_after_flush",
            "Pods scheduled only because they were tried without a reason after five minutes",
            m.after_flush,
        );
        registry.register(
            "steersman_scheduler_moved_pods",
            "Bound pods that changed their node",
            m.moved,
        );
        metrics
    }

    /// One attempt ended.
    pub(crate) fn attempt(&self, ended: Ended, duration: Duration) {
        let labels = [("result", ended.label())];
        self.attempts.get_or_create(&labels).inc();
        self.attempt_duration
            .get_or_create(&labels)
            .observe(duration.as_secs_f64());
    }

    /// One decision was made.
    pub(crate) fn decision(&self, duration: Duration) {
        self.algorithm_duration.observe(duration.as_secs_f64());
    }

    /// A pod was bound after so many attempts and so long.
    pub(crate) fn bound(&self, attempts: u32, since_first: Duration, after_flush: bool) {
        self.sli_duration
            .get_or_create(&[("attempts", attempts_label(attempts))])
            .observe(since_first.as_secs_f64());
        self.pod_attempts.observe(f64::from(attempts));
        if after_flush {
            self.after_flush.inc();
        }
    }

    /// Takes over the sizes of queue and cache.
    pub(crate) fn sizes(&self, scheduler: &Scheduler) {
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (queue, count) in scheduler.pending_counts() {
            self.pending.get_or_create(&[("queue", queue)]).set(gauge(count));
        }
        let cluster = scheduler.cluster();
        let sizes = [
            ("nodes", cluster.table().len()),
            ("pods", cluster.len()),
            ("assumed_pods", cluster.assumed()),
        ];
        for (kind, count) in sizes {
            self.cache_size.get_or_create(&[("type", kind)]).set(gauge(count));
        }
        self.moved
            .set(i64::try_from(scheduler.moved()).unwrap_or(i64::MAX));
    }
}

fn attempts_label(attempts: u32) -> &'static str {
    const LABELS: [&str; 14] = [
        "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14",
    ];
    let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    LABELS.get(index).copied().unwrap_or("15+")
}
