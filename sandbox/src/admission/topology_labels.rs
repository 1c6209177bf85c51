//! `PodTopologyLabels`: a pod has the zone and the region of its node as labels (API-508).

use serde_json::Value;

use crate::{json, server::Core, store::Key};

/// Labels of a node that its pods get.
const LABELS: &[&str] = &["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Labels a pod that names its node.
pub(crate) fn admit(core: &Core, pod: &mut Value) {
    let node = json::text(pod, &["spec", "nodeName"]);
    if node.is_empty() {
        return;
    }
    let Some(stored) = core.store.get(&"nodes".into(), &Key::new("", node)) else {
        return;
    };
    let node = stored.parse();
    for label in LABELS {
        let value = json::text(&node, &["metadata", "labels", label]);
        if !value.is_empty() {
            json::set(pod, &["metadata", "labels"], label, value);
        }
    }
}
