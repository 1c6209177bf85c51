//! The quota controller: `status.hard` follows the spec, `status.used` is what there is (API-509). Admission counts
//! what comes; this counts what goes, and everything once in a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, SelectAll};
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::backlog::Backlog;
use super::discovery::{Served, discover};
use super::follow::{Followed, follow};
use crate::clock::Clock;
use crate::names::Gvr;
use crate::quota::{self, Amounts};
use crate::validate::Quantity;

/// Changes of counted objects are gathered for so long: deleting a hundred pods is one count.
const GATHER: Duration = Duration::from_millis(250);
/// Every quota is counted anew after this time, whatever was seen (kube-controller-manager 1.36).
const RESYNC: Duration = Duration::from_mins(5);
/// A request that takes longer counts as failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// Namespace and name of a quota.
type Place = (String, String);

/// The resource whose objects count for a name in `spec.hard`, in the form `deployments.apps`.
fn counted(name: &str) -> &str {
    if let Some(resource) = name.strip_prefix("count/") {
        return resource;
    }
    match name {
        "configmaps" | "secrets" | "resourcequotas" | "replicationcontrollers" => name,
        "persistentvolumeclaims" | "requests.storage" => "persistentvolumeclaims",
        _ if name.contains(".storageclass.storage.k8s.io/") => "persistentvolumeclaims",
        _ if name == "services" || name.starts_with("services.") => "services",
        _ => "pods",
    }
}

fn hard(quota: &Value) -> Amounts {
    quota::amounts(quota, &["spec", "hard"])
}

/// What is used, by the names of `spec.hard`; `objects` are those of each counted resource.
fn used(quota: &Value, objects: &[(Gvr, Vec<Value>)], now: jiff::Timestamp) -> Amounts {
    let mut used: Amounts = hard(quota)
        .into_keys()
        .map(|name| (name, Quantity::ZERO))
        .collect();
    for (resource, objects) in objects {
        for object in objects
            .iter()
            .filter(|object| quota::in_scope(quota, resource, object))
        {
            for (name, amount) in quota::usage(resource, object, now) {
                if let Some(sum) = used.get_mut(&name) {
                    *sum = sum.plus(amount);
                }
            }
        }
    }
    used
}

/// The status to write; `None` if it is right.
fn status_patch(quota: &Value, used: &Amounts) -> Option<Value> {
    let hard = hard(quota);
    let differs = |wanted: &Amounts, member: &str| *wanted != quota::amounts(quota, &["status", member]);
    if !differs(&hard, "hard") && !differs(used, "used") {
        return None;
    }
    let member = |wanted: &Amounts, member: &str| -> Value {
        let stale = quota::amounts(quota, &["status", member]).into_keys();
        let mut map: serde_json::Map<String, Value> = stale.map(|name| (name, Value::Null)).collect();
        map.extend(
            wanted
                .iter()
                .map(|(name, amount)| (name.clone(), amount.to_string().into())),
        );
        map.into()
    };
    Some(json!({
        // Admission may count at the same time: whoever comes second counts again.
        "metadata": {"resourceVersion": crate::json::text(quota, &["metadata", "resourceVersion"])},
        "status": {"hard": member(&hard, "hard"), "used": member(used, "used")},
    }))
}

/// Everything that the loop knows.
struct Controller {
    client: Client,
    clock: Arc<dyn Clock>,
    quotas: BTreeMap<Place, Value>,
    /// Resources of the server, by name; read when a quota names one that is not there.
    served: BTreeMap<String, Arc<Served>>,
    followed: BTreeSet<String>,
    /// Namespaces in which a counted object has changed.
    changes: SelectAll<BoxStream<'static, String>>,
    backlog: Backlog<Place>,
    touched: BTreeSet<String>,
    flush_at: Option<Instant>,
}

impl Controller {
    fn take(&mut self, event: Event<ResourceQuota>) {
        match event {
            Event::Init => self.quotas.clear(),
            Event::InitDone => {}
            Event::InitApply(quota) | Event::Apply(quota) => {
                let place = (quota.metadata.namespace.clone(), quota.metadata.name.clone());
                if let (Some(namespace), Some(name)) = place {
                    let (place, quota) = ((namespace, name), json!(quota));
                    // Admission writes what it admits before the object is there: counting at each such write would
                    // count too little.
                    let is_news = self
                        .quotas
                        .get(&place)
                        .is_none_or(|known| known.get("spec") != quota.get("spec"))
                        || hard(&quota) != quota::amounts(&quota, &["status", "hard"]);
                    self.quotas.insert(place.clone(), quota);
                    if is_news {
                        self.backlog.add(place);
                    }
                }
            }
            Event::Delete(quota) => {
                let place = (quota.metadata.namespace, quota.metadata.name);
                if let (Some(namespace), Some(name)) = place {
                    self.quotas.remove(&(namespace, name));
                }
            }
        }
    }

    fn touch(&mut self, namespace: String) {
        self.touched.insert(namespace);
        let now = Instant::now();
        self.flush_at
            .get_or_insert(now.checked_add(GATHER).unwrap_or(now));
    }

    fn flush(&mut self) {
        self.flush_at = None;
        let touched = std::mem::take(&mut self.touched);
        let quotas = self
            .quotas
            .keys()
            .filter(|(namespace, _)| touched.contains(namespace));
        for place in quotas.cloned().collect::<Vec<_>>() {
            self.backlog.add(place);
        }
    }

    /// The resources that count for a quota; they are watched from now on.
    async fn resources(&mut self, quota: &Value) -> Result<Vec<Arc<Served>>, kube::Error> {
        let names: BTreeSet<String> = hard(quota).keys().map(|name| counted(name).to_owned()).collect();
        if names.iter().any(|name| !self.served.contains_key(name)) {
            let catalogue = discover(&self.client).await?;
            let served = catalogue.preferred.iter().filter(|served| served.namespaced);
            self.served = served.map(|served| (served.name(), Arc::clone(served))).collect();
        }
        let mut resources = Vec::new();
        for name in names {
            // A resource that the server does not have counts as unused.
            let Some(served) = self.served.get(&name).filter(|served| served.has("list")) else {
                continue;
            };
            resources.push(Arc::clone(served));
            if self.followed.insert(name) {
                let api: Api<PartialObjectMeta<DynamicObject>> =
                    Api::all_with(self.client.clone(), &served.api);
                let stream = follow(api, watcher::Config::default()).filter_map(|change| async move {
                    match change {
                        Followed::Event(Event::Apply(object) | Event::Delete(object)) => {
                            object.metadata.namespace
                        }
                        _ => None,
                    }
                });
                self.changes.push(stream.boxed());
            }
        }
        Ok(resources)
    }
}

/// Counts and writes one quota.
async fn count(
    client: Client,
    resources: Vec<Arc<Served>>,
    quota: Value,
    (namespace, name): &Place,
    now: jiff::Timestamp,
) -> Result<(), kube::Error> {
    let mut objects = Vec::new();
    for served in resources {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &served.api);
        let list = api.list(&ListParams::default()).await?;
        let resource = Gvr::new(
            served.api.group.clone(),
            served.api.version.clone(),
            served.api.plural.clone(),
        );
        objects.push((
            resource,
            list.items.into_iter().map(|object| json!(object)).collect(),
        ));
    }
    let Some(patch) = status_patch(&quota, &used(&quota, &objects, now)) else {
        return Ok(());
    };
    let api: Api<ResourceQuota> = Api::namespaced(client, namespace);
    let written = api
        .patch_status(name, &PatchParams::default(), &Patch::Merge(patch))
        .await;
    match written {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        written => written.map(drop),
    }
}

/// Keeps the status of all quotas right until `stop`.
pub async fn run(client: Client, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let mut quotas = follow(
        Api::<ResourceQuota>::all(client.clone()),
        watcher::Config::default(),
    );
    let mut controller = Controller {
        client,
        clock,
        quotas: BTreeMap::new(),
        served: BTreeMap::new(),
        followed: BTreeSet::new(),
        changes: SelectAll::new(),
        backlog: Backlog::new(),
        touched: BTreeSet::new(),
        flush_at: None,
    };
    let mut writes: FuturesUnordered<BoxFuture<'static, (Place, Result<(), kube::Error>)>> =
        FuturesUnordered::new();
    loop {
        while writes.is_empty() {
            let Some(place) = controller.backlog.take() else {
                break;
            };
            let Some(quota) = controller.quotas.get(&place).cloned() else {
                controller.backlog.done(&place);
                continue;
            };
            match controller.resources(&quota).await {
                Ok(resources) => {
                    let (client, now) = (controller.client.clone(), controller.clock.now());
                    writes.push(Box::pin(async move {
                        let timeout =
                            tokio::time::timeout(DEADLINE, count(client, resources, quota, &place, now))
                                .await;
                        (
                            place,
                            timeout.unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into()))),
                        )
                    }));
                }
                Err(error) => {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "resources of a quota are not known"
                    );
                    controller.backlog.failed(&place);
                }
            }
        }
        let flush_at = controller.flush_at;
        // All branches are cancel-safe: what is not taken stays in its stream or set.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some((place, written)) = writes.next(), if !writes.is_empty() => match written {
                Ok(()) => {
                    controller.backlog.done(&place);
                    controller.backlog.add_after(place, RESYNC);
                }
                Err(error) => {
                    debug!(quota = place.1, error = &error as &dyn std::error::Error, "quota is counted again");
                    controller.backlog.failed(&place);
                }
            },
            Some(change) = quotas.next() => if let Followed::Event(event) = change {
                controller.take(event);
            },
            Some(namespace) = controller.changes.next(), if !controller.changes.is_empty() => {
                controller.touch(namespace);
            }
            () = tokio::time::sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => {
                controller.flush();
            }
            () = controller.backlog.due(), if writes.is_empty() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_509_what_counts_for_a_name() {
        for (name, want) in [
            ("pods", "pods"),
            ("requests.cpu", "pods"),
            ("limits.memory", "pods"),
            ("requests.example.com/gpu", "pods"),
            ("count/deployments.apps", "deployments.apps"),
            ("configmaps", "configmaps"),
            ("services.nodeports", "services"),
            ("requests.storage", "persistentvolumeclaims"),
            (
                "gold.storageclass.storage.k8s.io/requests.storage",
                "persistentvolumeclaims",
            ),
        ] {
            assert_eq!(counted(name), want, "{name}");
        }
    }

    #[test]
    fn api_509_status_is_written_only_when_it_is_wrong() {
        let quota = json!({
            "metadata": {"resourceVersion": "7"},
            "spec": {"hard": {"pods": "2", "requests.cpu": "1"}},
            "status": {"hard": {"pods": "3"}, "used": {"pods": "0", "old": "1"}},
        });
        let pod = json!({"spec": {"containers": [{"resources": {"requests": {"cpu": "100m"}}}]}});
        let done = json!({"status": {"phase": "Failed"}, "spec": {"containers": []}});
        let objects = [(Gvr::new("", "v1", "pods"), vec![pod.clone(), pod, done])];
        let used = used(&quota, &objects, jiff::Timestamp::UNIX_EPOCH);
        let patch = status_patch(&quota, &used).unwrap();
        assert_eq!(
            patch["status"],
            json!({
                "hard": {"pods": "2", "requests.cpu": "1"},
                "used": {"pods": "2", "requests.cpu": "200m", "old": null},
            })
        );
        let mut right = quota;
        right["status"] =
            json!({"hard": {"pods": "2", "requests.cpu": "1"}, "used": {"pods": "2", "requests.cpu": "0.2"}});
        assert_eq!(status_patch(&right, &used), None);
    }
}
