//! The end of namespaces (API-176, API-177): everything in them is deleted, pods by their grace, then they are finalized.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::backlog::Backlog;
use super::discovery::{Catalogue, Served, discover};
use super::follow::{Followed, follow};
use super::{MANAGER, patching};
use crate::clock::Clock;

/// Namespaces that are emptied at a time.
const WORKERS: usize = 5;
/// Pause before content that is still there is looked at again: pods take their time to stop.
const PAUSE: Duration = Duration::from_millis(500);
/// Emptying a namespace takes longer than a single request.
const DEADLINE: Duration = Duration::from_mins(5);
/// Finalizer in the spec of every namespace (API-175).
const FINALIZER: &str = "kubernetes";

/// Why a namespace could not be emptied; it is tried again.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{verb} namespace {name}")]
    Api {
        verb: &'static str,
        name: String,
        #[source]
        source: Box<kube::Error>,
    },
    #[error("no end in time")]
    Deadline,
}

enum Pass {
    /// Nothing to do any more.
    Over,
    /// Something is still there.
    Remains,
}

/// Finishes namespaces until `stop`.
pub async fn run(client: Client, clock: Arc<dyn Clock>, stop: CancellationToken) {
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let mut changes = follow(namespaces, watcher::Config::default());
    let mut backlog: Backlog<String> = Backlog::new();
    let mut passes: FuturesUnordered<BoxFuture<'static, (String, Result<Pass, Failure>)>> =
        FuturesUnordered::new();
    loop {
        while passes.len() < WORKERS {
            let Some(name) = backlog.take() else { break };
            let end = End {
                client: client.clone(),
                clock: Arc::clone(&clock),
                name: name.clone(),
            };
            passes.push(Box::pin(async move {
                let result = tokio::time::timeout(DEADLINE, end.pass()).await;
                (name, result.unwrap_or(Err(Failure::Deadline)))
            }));
        }
        // All branches are cancel-safe: what is not taken stays in its stream or set.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some((name, result)) = passes.next(), if !passes.is_empty() => match result {
                Ok(Pass::Over) => backlog.done(&name),
                Ok(Pass::Remains) => {
                    backlog.done(&name);
                    backlog.add_after(name, PAUSE);
                }
                Err(failure) => {
                    debug!(namespace = name, error = &failure as &dyn std::error::Error, "end of namespace is tried again");
                    backlog.failed(&name);
                }
            },
            Some(change) = changes.next() => {
                if let Followed::Event(Event::InitApply(object) | Event::Apply(object)) = change
                    && object.metadata.deletion_timestamp.is_some()
                    && let Some(name) = object.metadata.name
                {
                    backlog.add(name);
                }
            }
            // Not while nothing may be taken: what is due would end the wait again and again.
            () = backlog.due(), if passes.len() < WORKERS => {}
        }
    }
}

/// What is left of a namespace after a pass.
#[derive(Debug, Default, PartialEq, Eq)]
struct Remains {
    /// Group versions that could not be asked for their resources.
    undiscovered: Vec<String>,
    /// Resources that could not be emptied, with the reason.
    undeleted: Vec<String>,
    /// Objects that are left, by resource.
    objects: BTreeMap<String, usize>,
    /// Objects that are left because of a finalizer, by finalizer.
    finalizers: BTreeMap<String, usize>,
}

impl Remains {
    fn is_empty(&self) -> bool {
        self.undiscovered.is_empty() && self.undeleted.is_empty() && self.objects.is_empty()
    }

    fn add<'a>(&mut self, resource: &str, left: impl Iterator<Item = &'a ObjectMeta>) {
        for meta in left {
            let count = self.objects.entry(resource.to_owned()).or_default();
            *count = count.saturating_add(1);
            for finalizer in meta.finalizers.iter().flatten() {
                let count = self.finalizers.entry(finalizer.clone()).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    /// The conditions of API-177 as (type, status, reason, message).
    fn conditions(&self) -> [(&'static str, bool, &'static str, String); 5] {
        let list = |counts: &BTreeMap<String, usize>, unit: &str| {
            let parts: Vec<String> = counts
                .iter()
                .map(|(name, count)| format!("{name} ({count} {unit})"))
                .collect();
            parts.join(", ")
        };
        let or = |bad: bool, text: String, good: &str| if bad { text } else { good.to_owned() };
        let pick = |bad: bool, reasons: (&'static str, &'static str)| if bad { reasons.0 } else { reasons.1 };
        let undiscovered = !self.undiscovered.is_empty();
        let undeleted = !self.undeleted.is_empty();
        let objects = !self.objects.is_empty();
        let finalizers = !self.finalizers.is_empty();
        [
            (
                "NamespaceDeletionDiscoveryFailure",
                undiscovered,
                pick(undiscovered, ("DiscoveryFailed", "ResourcesDiscovered")),
                or(
                    undiscovered,
                    format!("not discovered: {}", self.undiscovered.join(", ")),
                    "all resources were discovered",
                ),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                false,
                "ParsedGroupVersions",
                "all group versions were understood".to_owned(),
            ),
            (
                "NamespaceDeletionContentFailure",
                undeleted,
                pick(undeleted, ("ContentDeletionFailed", "ContentDeleted")),
                or(
                    undeleted,
                    format!("not deleted: {}", self.undeleted.join(", ")),
                    "deletion of all content was requested",
                ),
            ),
            (
                "NamespaceContentRemaining",
                objects,
                pick(objects, ("SomeResourcesRemain", "ContentRemoved")),
                or(
                    objects,
                    format!("left: {}", list(&self.objects, "objects")),
                    "all content is gone",
                ),
            ),
            (
                "NamespaceFinalizersRemaining",
                finalizers,
                pick(finalizers, ("SomeFinalizersRemain", "ContentHasNoFinalizers")),
                or(
                    finalizers,
                    format!("left: {}", list(&self.finalizers, "objects")),
                    "no content has finalizers",
                ),
            ),
        ]
    }
}

/// The end of one namespace.
struct End {
    client: Client,
    clock: Arc<dyn Clock>,
    name: String,
}

impl End {
    fn failed(&self, verb: &'static str) -> impl Fn(kube::Error) -> Failure + '_ {
        move |source| Failure::Api {
            verb,
            name: self.name.clone(),
            source: Box::new(source),
        }
    }

    async fn pass(&self) -> Result<Pass, Failure> {
        let Some(namespace) = self.fresh().await? else {
            return Ok(Pass::Over);
        };
        let finalizers = namespace.pointer("/spec/finalizers").and_then(Value::as_array);
        let ours =
            finalizers.is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == FINALIZER));
        if namespace.pointer("/metadata/deletionTimestamp").is_none() || !ours {
            return Ok(Pass::Over);
        }
        let catalogue = discover(&self.client)
            .await
            .map_err(self.failed("discover the content of"))?;
        let remains = self.empty(&catalogue).await;
        self.report(&namespace, &remains).await?;
        if !remains.is_empty() {
            return Ok(Pass::Remains);
        }
        self.finalize().await?;
        info!(namespace = self.name, "namespace is empty and gone");
        Ok(Pass::Over)
    }

    /// The namespace with all its fields.
    async fn fresh(&self) -> Result<Option<Value>, Failure> {
        let api: Api<DynamicObject> = Api::all_with(
            self.client.clone(),
            &kube::core::ApiResource::erase::<Namespace>(&()),
        );
        let found = api.get_opt(&self.name).await.map_err(self.failed("get"))?;
        let encoded = found.map(serde_json::to_value).transpose();
        encoded
            .map_err(kube::Error::SerdeError)
            .map_err(self.failed("decode"))
    }

    /// Deletes what is there and says what is left.
    async fn empty(&self, catalogue: &Catalogue) -> Remains {
        let mut remains = Remains {
            undiscovered: catalogue.failed.clone(),
            ..Remains::default()
        };
        for served in &catalogue.preferred {
            if !served.namespaced || !served.has("list") || !served.has("delete") {
                continue;
            }
            if let Err(error) = self.empty_resource(served, &mut remains).await {
                debug!(
                    namespace = self.name,
                    error = &error as &dyn std::error::Error,
                    "content was not deleted"
                );
                remains.undeleted.push(served.name());
            }
        }
        remains
    }

    async fn empty_resource(&self, served: &Served, remains: &mut Remains) -> Result<(), kube::Error> {
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::namespaced_with(self.client.clone(), &self.name, &served.api);
        let everything = ListParams::default();
        let before = api.list(&everything).await?;
        if before.items.is_empty() {
            return Ok(());
        }
        if before
            .items
            .iter()
            .any(|object| object.metadata.deletion_timestamp.is_none())
        {
            if served.has("deletecollection") {
                api.delete_collection(&DeleteParams::background(), &everything)
                    .await?;
            } else {
                for name in before
                    .items
                    .iter()
                    .filter_map(|object| object.metadata.name.as_deref())
                {
                    match api.delete(name, &DeleteParams::background()).await {
                        Err(kube::Error::Api(status)) if status.is_not_found() => {}
                        other => drop(other?),
                    }
                }
            }
        }
        remains.add(
            &served.name(),
            api.list(&everything)
                .await?
                .items
                .iter()
                .map(|object| &object.metadata),
        );
        Ok(())
    }

    /// Writes the conditions, if they say anything new.
    async fn report(&self, namespace: &Value, remains: &Remains) -> Result<(), Failure> {
        let old = namespace
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let now = crate::nodes::seconds(self.clock.now());
        let find = |r#type: &str| {
            old.iter()
                .find(|known| known.get("type").and_then(Value::as_str) == Some(r#type))
        };
        let rows = remains.conditions();
        let others = old
            .iter()
            .filter(|known| !rows.iter().any(|row| known.get("type") == Some(&json!(row.0))));
        let mut conditions: Vec<Value> = others.cloned().collect();
        for (r#type, bad, reason, message) in &rows {
            let status = if *bad { "True" } else { "False" };
            let known =
                find(r#type).filter(|known| known.get("status").and_then(Value::as_str) == Some(status));
            let since = known
                .and_then(|known| known.get("lastTransitionTime"))
                .cloned()
                .unwrap_or_else(|| json!(now));
            conditions.push(json!({
                "type": r#type, "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
            }));
        }
        if conditions == old {
            return Ok(());
        }
        let api: Api<PartialObjectMeta<Namespace>> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({ "status": { "conditions": conditions } }));
        match api.patch_status(&self.name, &patching(), &patch).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(drop).map_err(self.failed("write the conditions of")),
        }
    }

    /// API-176: without the finalizer the namespace goes.
    async fn finalize(&self) -> Result<(), Failure> {
        let Some(mut namespace) = self.fresh().await? else {
            return Ok(());
        };
        if let Some(finalizers) = namespace
            .pointer_mut("/spec/finalizers")
            .and_then(Value::as_array_mut)
        {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let body = serde_json::to_vec(&namespace)
            .map_err(kube::Error::SerdeError)
            .map_err(self.failed("encode"))?;
        let request = http::Request::put(format!("/api/v1/namespaces/{}/finalize", self.name))
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::USER_AGENT, MANAGER)
            .body(body)
            .map_err(kube::Error::HttpError)
            .map_err(self.failed("encode"))?;
        match self.client.request::<Value>(request).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            other => other.map(drop).map_err(self.failed("finalize")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_177_conditions_say_what_is_left() {
        let done = Remains::default()
            .conditions()
            .map(|(r#type, bad, reason, _)| (r#type, bad, reason));
        assert_eq!(
            done,
            [
                ("NamespaceDeletionDiscoveryFailure", false, "ResourcesDiscovered"),
                (
                    "NamespaceDeletionGroupVersionParsingFailure",
                    false,
                    "ParsedGroupVersions"
                ),
                ("NamespaceDeletionContentFailure", false, "ContentDeleted"),
                ("NamespaceContentRemaining", false, "ContentRemoved"),
                ("NamespaceFinalizersRemaining", false, "ContentHasNoFinalizers"),
            ]
        );
        let mut remains = Remains {
            undiscovered: vec!["x/v1".into()],
            undeleted: vec!["pods".into()],
            ..Remains::default()
        };
        let held = ObjectMeta {
            finalizers: Some(vec!["example.com/f".into()]),
            ..ObjectMeta::default()
        };
        remains.add("pods", [held, ObjectMeta::default()].iter());
        let rows = remains
            .conditions()
            .map(|(_, bad, reason, message)| (bad, reason, message));
        assert_eq!(rows[0], (true, "DiscoveryFailed", "not discovered: x/v1".into()));
        assert_eq!(
            rows[2],
            (true, "ContentDeletionFailed", "not deleted: pods".into())
        );
        assert_eq!(
            rows[3],
            (true, "SomeResourcesRemain", "left: pods (2 objects)".into())
        );
        assert_eq!(
            rows[4],
            (
                true,
                "SomeFinalizersRemain",
                "left: example.com/f (1 objects)".into()
            )
        );
    }
}
