//! Metrics of the controller.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use steersman_shared::metrics::Labels;

/// Counters of the controller. Clones share the values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    actions: Family<Labels<2>, Counter>,
}

impl Metrics {
    /// Creates the metrics and registers them. Once per registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "steersman_deployment_actions",
            "Writes of the Deployment controller by what became of them",
            metrics.actions.clone(),
        );
        metrics
    }

    pub(crate) fn count(&self, action: &'static str, outcome: &'static str) {
        self.actions
            .get_or_create(&[("action", action), ("outcome", outcome)])
            .inc();
    }
}
