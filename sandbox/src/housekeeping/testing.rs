//! A server in memory with paused time, for tests of what runs against it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, TokioClock};
use crate::{Config, Server};

/// A server and what works on it. Everything ends when it is dropped.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) server: Server,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let start = Timestamp::from_second(1_700_000_000).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(start));
        let config = Config {
            seed: Some(1),
            clock: Arc::clone(&clock),
            ..Config::default()
        };
        let server = Server::start(config).unwrap();
        let client = server.client();
        Self {
            client,
            server,
            clock,
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
        }
    }

    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// The collection of `kind` (`apps/v1 ReplicaSet`) in `namespace`; empty: of the cluster.
    pub(crate) fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (version, kind) = kind.split_once(' ').unwrap_or(("v1", kind));
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }

    /// Creates an object and gives it back as stored.
    pub(crate) async fn create(&self, kind: &str, namespace: &str, object: Value) -> Value {
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        let created = self
            .api(kind, namespace)
            .create(&PostParams::default(), &object)
            .await
            .unwrap();
        serde_json::to_value(created).unwrap()
    }

    pub(crate) async fn get(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let found = self.api(kind, namespace).get_opt(name).await.unwrap();
        found.map(|object| serde_json::to_value(object).unwrap())
    }

    pub(crate) async fn names(&self, kind: &str, namespace: &str) -> Vec<String> {
        let list = self
            .api(kind, namespace)
            .list(&ListParams::default())
            .await
            .unwrap();
        list.items
            .into_iter()
            .filter_map(|object| object.metadata.name)
            .collect()
    }

    pub(crate) async fn patch(&self, kind: &str, namespace: &str, name: &str, patch: Value) {
        self.api(kind, namespace)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub(crate) async fn delete(&self, kind: &str, namespace: &str, name: &str, params: &DeleteParams) {
        self.api(kind, namespace).delete(name, params).await.unwrap();
    }

    /// Lets time pass until `condition` holds; fails after `seconds`.
    pub(crate) async fn until<F: Future<Output = bool>>(
        &self,
        seconds: u64,
        what: &str,
        mut condition: impl FnMut() -> F,
    ) {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if condition().await {
                return;
            }
            assert!(Instant::now() < end, "after {seconds} s still not: {what}");
        }
    }

    /// Waits until an object is gone.
    pub(crate) async fn until_gone(&self, kind: &str, namespace: &str, name: &str) {
        self.until(60, &format!("{name} is gone"), || async {
            self.get(kind, namespace, name).await.is_none()
        })
        .await;
    }

    /// Lets everything that is under way settle.
    pub(crate) async fn pass(&self, seconds: u64) {
        let end = Instant::now() + Duration::from_secs(seconds);
        self.until(seconds + 1, "time passes", || async { Instant::now() >= end })
            .await;
    }
}

/// A reference to `owner`, an object as stored.
pub(crate) fn owned_by(owner: &Value, blocks: bool) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "blockOwnerDeletion": blocks,
    })
}

/// An object with only metadata.
pub(crate) fn named(name: &str, owners: &[Value]) -> Value {
    json!({ "metadata": { "name": name, "ownerReferences": owners } })
}
