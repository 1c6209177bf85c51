//! What every active namespace gets (API-178): service account `default` and ConfigMap `kube-root-ca.crt`.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::Patch;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::backlog::Backlog;
use super::follow::{Followed, follow};
use super::{patching, posting};

const ACCOUNT: &str = "default";
const ROOT_CA: &str = "kube-root-ca.crt";
const KEY: &str = "ca.crt";
const WORKERS: usize = 5;
/// A request that takes longer counts as failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// What is created.
#[derive(Clone, Debug)]
pub struct Config {
    /// Service account `default`.
    pub default_account: bool,
    /// Content of ConfigMap `kube-root-ca.crt`, as PEM.
    pub root_ca: Option<String>,
}

/// Which objects of one name exist, by namespace, with what matters of them.
#[derive(Debug)]
struct Seen<T> {
    objects: BTreeMap<String, T>,
    /// The list in progress.
    listed: BTreeMap<String, T>,
    known: bool,
}

impl<T> Seen<T> {
    fn new() -> Self {
        Self {
            objects: BTreeMap::new(),
            listed: BTreeMap::new(),
            known: false,
        }
    }

    /// Takes over a change; the result names the namespaces to look at.
    fn take<K: Resource>(
        &mut self,
        change: Followed<K>,
        place: fn(&K) -> Option<String>,
        read: fn(K) -> T,
    ) -> Vec<String> {
        match change {
            Followed::Failed => Vec::new(),
            Followed::Event(Event::Init) => {
                self.listed.clear();
                Vec::new()
            }
            Followed::Event(Event::InitApply(object)) => {
                if let Some(namespace) = place(&object) {
                    self.listed.insert(namespace, read(object));
                }
                Vec::new()
            }
            Followed::Event(Event::InitDone) => {
                self.known = true;
                let before = std::mem::replace(&mut self.objects, std::mem::take(&mut self.listed));
                before.into_keys().chain(self.objects.keys().cloned()).collect()
            }
            Followed::Event(Event::Apply(object)) => {
                let namespace = place(&object);
                if let Some(namespace) = &namespace {
                    self.objects.insert(namespace.clone(), read(object));
                }
                namespace.into_iter().collect()
            }
            Followed::Event(Event::Delete(object)) => {
                let namespace = place(&object);
                if let Some(namespace) = &namespace {
                    self.objects.remove(namespace);
                }
                namespace.into_iter().collect()
            }
        }
    }
}

fn named(name: &str) -> watcher::Config {
    watcher::Config::default().fields(&format!("metadata.name={name}"))
}

fn namespace_of<K: Resource>(object: &K) -> Option<String> {
    object.meta().namespace.clone()
}

fn name_of<K: Resource>(object: &K) -> Option<String> {
    object.meta().name.clone()
}

/// Creates what is missing and mends what was changed, until `stop`.
pub async fn run(client: Client, config: Config, stop: CancellationToken) {
    let mut namespaces = follow(
        Api::<PartialObjectMeta<Namespace>>::all(client.clone()),
        watcher::Config::default(),
    );
    let mut accounts = follow(
        Api::<PartialObjectMeta<ServiceAccount>>::all(client.clone()),
        named(ACCOUNT),
    );
    let mut maps = follow(Api::<ConfigMap>::all(client.clone()), named(ROOT_CA));
    let mut active: Seen<bool> = Seen::new();
    let mut with_account: Seen<()> = Seen::new();
    let mut certificates: Seen<Option<String>> = Seen::new();
    let mut backlog: Backlog<String> = Backlog::new();
    let mut writes: FuturesUnordered<BoxFuture<'static, (String, Result<(), kube::Error>)>> =
        FuturesUnordered::new();
    loop {
        let complete = active.known && with_account.known && certificates.known;
        while complete && writes.len() < WORKERS {
            let Some(namespace) = backlog.take() else { break };
            if active.objects.get(&namespace) != Some(&true) {
                backlog.done(&namespace);
                continue;
            }
            let account = config.default_account && !with_account.objects.contains_key(&namespace);
            let found = certificates.objects.get(&namespace);
            let certificate = config
                .root_ca
                .clone()
                .filter(|wanted| found != Some(&Some(wanted.clone())));
            if !account && certificate.is_none() {
                backlog.done(&namespace);
                continue;
            }
            let mend = Mend {
                client: client.clone(),
                account,
                certificate,
                exists: found.is_some(),
            };
            writes.push(Box::pin(async move {
                let timeout = tokio::time::timeout(DEADLINE, mend.apply(&namespace)).await;
                (
                    namespace,
                    timeout.unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into()))),
                )
            }));
        }
        // All branches are cancel-safe: what is not taken stays in its stream or set.
        let touched = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some((namespace, written)) = writes.next(), if !writes.is_empty() => {
                match written {
                    Ok(()) => backlog.done(&namespace),
                    Err(error) => {
                        debug!(namespace, error = &error as &dyn std::error::Error, "default objects are tried again");
                        backlog.failed(&namespace);
                    }
                }
                Vec::new()
            }
            Some(change) = namespaces.next() => {
                active.take(change, name_of, |object| object.metadata.deletion_timestamp.is_none())
            }
            Some(change) = accounts.next() => with_account.take(change, namespace_of, |_| ()),
            Some(change) = maps.next() => {
                certificates.take(change, namespace_of, |map: ConfigMap| map.data.and_then(|mut data| data.remove(KEY)))
            }
            // Not while nothing may be taken: what is due would end the wait again and again.
            () = backlog.due(), if complete && writes.len() < WORKERS => Vec::new(),
        };
        for namespace in touched {
            backlog.add(namespace);
        }
    }
}

/// What one namespace lacks.
struct Mend {
    client: Client,
    account: bool,
    certificate: Option<String>,
    /// The ConfigMap exists with other content.
    exists: bool,
}

impl Mend {
    async fn apply(self, namespace: &str) -> Result<(), kube::Error> {
        if self.account {
            let mut account = ServiceAccount::default();
            account.metadata.name = Some(ACCOUNT.to_owned());
            let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
            accept(api.create(&posting(), &account).await)?;
        }
        let Some(certificate) = self.certificate else {
            return Ok(());
        };
        let api: Api<ConfigMap> = Api::namespaced(self.client, namespace);
        if self.exists {
            let patch = Patch::Merge(json!({ "data": { KEY: certificate } }));
            return accept(api.patch(ROOT_CA, &patching(), &patch).await);
        }
        let mut map = ConfigMap::default();
        map.metadata.name = Some(ROOT_CA.to_owned());
        map.data = Some(BTreeMap::from([(KEY.to_owned(), certificate)]));
        accept(api.create(&posting(), &map).await)
    }
}

/// Answers that need no other attempt: it is there, or the namespace ends. If not, the watch says so.
fn accept<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_not_found() => Ok(()),
        Err(kube::Error::Api(status)) if is_ending(&status) => Ok(()),
        other => other.map(drop),
    }
}

/// API-128: the namespace is being deleted.
fn is_ending(status: &kube::core::Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.is_forbidden()
        && causes
            .into_iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
}
