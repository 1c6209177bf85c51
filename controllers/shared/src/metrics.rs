//! Metrics of the shared machinery. `workqueue_*` keeps upstream's names, labels and buckets (STY-55).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::TypedMetric as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::sink::Done;

/// Label names with values that are configured names, never object names or error text (STY-54).
pub type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Metrics of informers, queues, controllers, events and the lease. Clones share the values.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) depth: Family<Labels<1>, Gauge>,
    pub(crate) adds: Family<Labels<1>, Counter>,
    pub(crate) queue_duration: Family<Labels<1>, Histogram>,
    pub(crate) work_duration: Family<Labels<1>, Histogram>,
    pub(crate) retries: Family<Labels<1>, Counter>,
    pub(crate) in_flight: InFlight,
    pub(crate) reconcile_duration: Family<Labels<1>, Histogram>,
    pub(crate) reconcile_errors: Family<Labels<2>, Counter>,
    pub(crate) held_keys: Family<Labels<1>, Counter>,
    pub(crate) writes_expired: Family<Labels<1>, Counter>,
    pub(crate) objects: Family<Labels<1>, Gauge>,
    pub(crate) undecodable: Family<Labels<1>, Counter>,
    pub(crate) watch_errors: Family<Labels<2>, Counter>,
    pub(crate) relists: Family<Labels<1>, Counter>,
    pub(crate) events: Family<Labels<1>, Counter>,
    pub(crate) leading: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        // Buckets of upstream's workqueue: 10 ns to 1000 s, ten-fold (kube-controller-manager 1.36).
        let workqueue = (|| Histogram::new(exponential_buckets(1e-8, 10.0, 12))) as fn() -> Histogram;
        let reconcile = (|| Histogram::new(exponential_buckets(0.0005, 2.0, 16))) as fn() -> Histogram;
        Self {
            depth: Family::default(),
            adds: Family::default(),
            queue_duration: Family::new_with_constructor(workqueue),
            work_duration: Family::new_with_constructor(workqueue),
            retries: Family::default(),
            in_flight: InFlight::default(),
            reconcile_duration: Family::new_with_constructor(reconcile),
            reconcile_errors: Family::default(),
            held_keys: Family::default(),
            writes_expired: Family::default(),
            objects: Family::default(),
            undecodable: Family::default(),
            watch_errors: Family::default(),
            relists: Family::default(),
            events: Family::default(),
            leading: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Creates the metrics and registers them. Once per registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let m = metrics.clone();
        registry.register("workqueue_depth", "Keys that wait for a worker", m.depth);
        registry.register("workqueue_adds", "Keys added", m.adds);
        registry.register_with_unit(
            "workqueue_queue_duration",
            "Time from adding a key until a worker takes it",
            Unit::Seconds,
            m.queue_duration,
        );
        registry.register_with_unit(
            "workqueue_work_duration",
            "Time a worker spends on a key",
            Unit::Seconds,
            m.work_duration,
        );
        registry.register("workqueue_retries", "Keys added again after a delay", m.retries);
        registry.register_collector(Box::new(m.in_flight));
        registry.register_with_unit(
            "steersman_reconcile_duration",
            "Time to observe, plan and act for one key",
            Unit::Seconds,
            m.reconcile_duration,
        );
        registry.register(
            "steersman_reconcile_errors",
            "Failed reconciles by error",
            m.reconcile_errors,
        );
        registry.register(
            "steersman_reconcile_held_keys",
            "Reconciles skipped because an object does not decode",
            m.held_keys,
        );
        registry.register(
            "steersman_writes_expired",
            "Keys planned again although a cache never showed what was written for them",
            m.writes_expired,
        );
        registry.register("steersman_informer_objects", "Objects in the cache", m.objects);
        registry.register(
            "steersman_informer_undecodable",
            "Object versions that do not decode",
            m.undecodable,
        );
        registry.register(
            "steersman_informer_watch_errors",
            "Failed lists and watches",
            m.watch_errors,
        );
        registry.register("steersman_informer_relists", "Completed lists", m.relists);
        registry.register("steersman_events", "Events by what became of them", m.events);
        registry.register(
            "steersman_lease_leading",
            "1 while this process holds the lease",
            m.leading,
        );
        metrics
    }
}

/// Writes of one controller, by what became of them. Clones share the values.
#[derive(Clone, Debug, Default)]
pub struct Actions {
    counter: Family<Labels<2>, Counter>,
}

impl Actions {
    /// Registers `steersman_<controller>_actions`. Once per registry and controller. `kind`: for the help text.
    pub fn register(registry: &mut Registry, controller: &str, kind: &str) -> Self {
        let actions = Self::default();
        registry.register(
            format!("steersman_{controller}_actions"),
            format!("Writes of the {kind} controller by what became of them"),
            actions.counter.clone(),
        );
        actions
    }

    /// Counts one action with that outcome.
    pub fn count<E>(&self, action: &'static str, outcome: &Result<Done, E>) {
        let outcome = outcome.as_ref().map_or("failed", |done| done.label());
        self.counter
            .get_or_create(&[("action", action), ("outcome", outcome)])
            .inc();
    }
}

/// Keys that workers hold right now, asked at scrape time.
pub(crate) trait Working: Send + Sync {
    /// Name of the queue.
    fn name(&self) -> &'static str;
    /// Time since each key was taken.
    fn ages(&self) -> Vec<Duration>;
}

/// Gauges over what is in work, computed when scraped rather than on a timer.
#[derive(Clone, Default)]
pub(crate) struct InFlight {
    queues: Arc<Mutex<Vec<Weak<dyn Working>>>>,
}

impl InFlight {
    pub(crate) fn watch(&self, queue: Weak<dyn Working>) {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|known| known.strong_count() > 0);
        queues.push(queue);
    }

    fn ages(&self) -> Vec<(&'static str, Vec<Duration>)> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues
            .iter()
            .filter_map(Weak::upgrade)
            .map(|queue| (queue.name(), queue.ages()))
            .collect()
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").finish_non_exhaustive()
    }
}

impl Collector for InFlight {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let ages = self.ages();
        let mut gauge = |name: &str, help: &str, value: fn(&[Duration]) -> f64| -> fmt::Result {
            let kind = ConstGauge::<f64>::TYPE;
            let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
            for (queue, ages) in &ages {
                let labels = [("name", *queue)];
                ConstGauge::new(value(ages)).encode(metric.encode_family(&labels)?)?;
            }
            Ok(())
        };
        gauge(
            "workqueue_unfinished_work",
            "Time spent so far on keys in work",
            |ages| ages.iter().map(Duration::as_secs_f64).sum(),
        )?;
        gauge(
            "workqueue_longest_running_processor",
            "Time since the oldest key in work was taken",
            |ages| ages.iter().map(Duration::as_secs_f64).fold(0.0, f64::max),
        )
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    #[test]
    fn sty_55_exposed_names() {
        let mut registry = Registry::default();
        let m = Metrics::register(&mut registry);
        for family in [
            &m.adds,
            &m.retries,
            &m.held_keys,
            &m.writes_expired,
            &m.undecodable,
            &m.relists,
            &m.events,
        ] {
            family.get_or_create(&[("name", "x")]).inc();
        }
        for family in [&m.queue_duration, &m.work_duration, &m.reconcile_duration] {
            family.get_or_create(&[("name", "x")]).observe(1.0);
        }
        m.reconcile_errors
            .get_or_create(&[("controller", "x"), ("error", "y")])
            .inc();
        m.watch_errors
            .get_or_create(&[("resource", "x"), ("reason", "y")])
            .inc();
        m.depth.get_or_create(&[("name", "x")]).set(1);
        m.objects.get_or_create(&[("resource", "x")]).set(1);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let mut types: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .collect();
        types.sort_unstable();
        assert_snapshot!(types.join("\n"), @r"
        steersman_events counter
        steersman_informer_objects gauge
        steersman_informer_relists counter
        steersman_informer_undecodable counter
        steersman_informer_watch_errors counter
        steersman_lease_leading gauge
        steersman_reconcile_duration_seconds histogram
        steersman_reconcile_errors counter
        steersman_reconcile_held_keys counter
        steersman_writes_expired counter
        workqueue_adds counter
        workqueue_depth gauge
        workqueue_longest_running_processor_seconds gauge
        workqueue_queue_duration_seconds histogram
        workqueue_retries counter
        workqueue_unfinished_work_seconds gauge
        workqueue_work_duration_seconds histogram
        ");
    }
}
