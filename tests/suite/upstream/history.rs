//! Every version of the workload objects of a namespace, to judge afterwards what an observer could have seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Api, ApiResource, DynamicObject, WatchEvent, WatchParams};
use kube::core::GroupVersionKind;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::stage::{Stage, controller, name, text, uid};

const KINDS: [(&str, &str, &str); 3] = [
    ("apps", "Deployment", "deployments"),
    ("apps", "ReplicaSet", "replicasets"),
    ("", "Pod", "pods"),
];

/// One version of one object; `None`: it is gone.
#[derive(Clone, Debug)]
struct Version {
    at: u64,
    kind: &'static str,
    name: Arc<str>,
    object: Option<Arc<Value>>,
}

/// Watches that fill the history.
pub(super) struct History {
    stage: Stage,
    versions: Arc<Mutex<Vec<Version>>>,
    watches: Vec<JoinHandle<()>>,
}

/// The objects as they were right after one write.
#[derive(Clone, Debug, Default)]
pub(super) struct Moment {
    /// Version of the write.
    pub(super) at: u64,
    /// Kind and name of what was written.
    pub(super) written: (&'static str, Arc<str>),
    objects: BTreeMap<(&'static str, Arc<str>), Arc<Value>>,
}

impl History {
    pub(super) async fn start(stage: &Stage) -> Self {
        let versions: Arc<Mutex<Vec<Version>>> = Arc::default();
        let mut watches = Vec::new();
        for (group, kind, plural) in KINDS {
            let from = stage.get(plural).await;
            let from = text(&from, "/metadata/resourceVersion").to_owned();
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
            let api: Api<DynamicObject> =
                Api::namespaced_with(stage.client.clone(), &stage.namespace, &resource);
            let kept = Arc::clone(&versions);
            watches.push(tokio::spawn(async move {
                let mut events = api
                    .watch(&WatchParams::default().timeout(280), &from)
                    .await
                    .unwrap()
                    .boxed();
                while let Some(event) = events.try_next().await.unwrap() {
                    let (object, is_gone) = match event {
                        WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, false),
                        WatchEvent::Deleted(object) => (object, true),
                        WatchEvent::Bookmark(_) => continue,
                        WatchEvent::Error(status) => panic!("watch {plural}: {status:?}"),
                    };
                    let object = serde_json::to_value(object).unwrap();
                    kept.lock().unwrap().push(Version {
                        at: version(&object),
                        kind: plural,
                        name: name(&object).into(),
                        object: (!is_gone).then(|| Arc::new(object)),
                    });
                }
            }));
        }
        Self {
            stage: stage.clone(),
            versions,
            watches,
        }
    }

    /// Ends the recording once it has what is stored now; the moments in the order of the writes.
    pub(super) async fn end(self) -> Vec<Moment> {
        for (_, _, plural) in KINDS {
            for object in self.stage.list(plural).await {
                let at = version(&object);
                let has = || {
                    self.versions
                        .lock()
                        .unwrap()
                        .iter()
                        .any(|it| it.kind == plural && it.at >= at)
                };
                while !has() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
        self.watches.iter().for_each(JoinHandle::abort);
        let mut versions = std::mem::take(&mut *self.versions.lock().unwrap());
        versions.sort_by_key(|it| it.at);
        let mut moments: Vec<Moment> = Vec::new();
        for version in versions {
            let mut moment = moments.last().cloned().unwrap_or_default();
            moment.at = version.at;
            moment.written = (version.kind, Arc::clone(&version.name));
            let key = (version.kind, version.name);
            match version.object {
                Some(object) => moment.objects.insert(key, object),
                None => moment.objects.remove(&key),
            };
            moments.push(moment);
        }
        moments
    }
}

fn version(object: &Value) -> u64 {
    text(object, "/metadata/resourceVersion").parse().unwrap()
}

impl Moment {
    pub(super) fn deployment(&self, name: &str) -> Option<&Value> {
        self.objects.get(&("deployments", name.into())).map(Arc::as_ref)
    }

    pub(super) fn all(&self, plural: &'static str) -> impl Iterator<Item = &Value> {
        self.objects
            .iter()
            .filter(move |((kind, _), _)| *kind == plural)
            .map(|(_, object)| object.as_ref())
    }

    /// ReplicaSets that the Deployment controls.
    pub(super) fn replica_sets<'a>(&'a self, deployment: &'a Value) -> impl Iterator<Item = &'a Value> {
        self.all("replicasets")
            .filter(move |it| controller(it) == uid(deployment))
    }

    /// The ReplicaSet with the Deployment's template (DEP-10).
    pub(super) fn new_replica_set<'a>(&'a self, deployment: &'a Value) -> Option<&'a Value> {
        self.replica_sets(deployment).find(|it| {
            let mut template = it["spec"]["template"].clone();
            if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
                labels.remove("pod-template-hash");
            }
            template == deployment["spec"]["template"]
        })
    }

    /// Pods that this ReplicaSet controls.
    pub(super) fn pods<'a>(&'a self, replica_set: &'a Value) -> impl Iterator<Item = &'a Value> {
        self.all("pods")
            .filter(move |it| controller(it) == uid(replica_set))
    }
}
