//! Secrets of type `kubernetes.io/service-account-token`: filled with a token of their account, and removed with it
//! (API-473).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::backlog::Backlog;
use super::follow::{Followed, follow};
use crate::auth::token::Signer;

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
/// A request that takes longer counts as failed.
const DEADLINE: Duration = Duration::from_secs(30);

/// Namespace and name.
type Place = (String, String);

fn place(metadata: &kube::core::ObjectMeta) -> Option<Place> {
    Some((metadata.namespace.clone()?, metadata.name.clone()?))
}

/// What is done about one secret.
#[derive(Debug, PartialEq, Eq)]
enum Mend {
    /// Its account is gone, or is another one of the same name.
    Delete { uid: String },
    /// These members are missing or stale.
    Fill {
        account: String,
        uid: String,
        token: bool,
    },
}

/// What has to be done about a secret of an account with this uid, if it exists.
fn mend(secret: &Secret, account_uid: Option<&str>, root_ca: Option<&str>) -> Option<Mend> {
    let annotations = secret.metadata.annotations.as_ref();
    let annotation = |name: &str| annotations.and_then(|all| all.get(name)).map(String::as_str);
    let account = annotation(ACCOUNT_NAME)?;
    let own = annotation(ACCOUNT_UID).filter(|uid| !uid.is_empty());
    let delete = || {
        Some(Mend::Delete {
            uid: secret.metadata.uid.clone().unwrap_or_default(),
        })
    };
    let Some(uid) = account_uid else { return delete() };
    if own.is_some_and(|own| own != uid) {
        return delete();
    }
    let data = secret.data.as_ref();
    let holds = |key: &str, wanted: Option<&str>| {
        let held = data
            .and_then(|data| data.get(key))
            .map(|ByteString(bytes)| bytes.as_slice());
        held.is_some_and(|held| !held.is_empty() && wanted.is_none_or(|wanted| wanted.as_bytes() == held))
    };
    let token = !holds("token", None);
    let complete = !token
        && own.is_some()
        && holds("namespace", secret.metadata.namespace.as_deref())
        && (root_ca.is_none() || holds("ca.crt", root_ca));
    (!complete).then(|| Mend::Fill {
        account: account.to_owned(),
        uid: uid.to_owned(),
        token,
    })
}

/// Fills and removes token secrets until `stop`.
pub async fn run(client: Client, signer: Arc<Signer>, root_ca: Option<String>, stop: CancellationToken) {
    let mut secret_changes = follow(
        Api::<Secret>::all(client.clone()),
        watcher::Config::default().fields(&format!("type={TYPE}")),
    );
    let mut account_changes = follow(
        Api::<PartialObjectMeta<ServiceAccount>>::all(client.clone()),
        watcher::Config::default(),
    );
    let mut secrets: BTreeMap<Place, Secret> = BTreeMap::new();
    let mut accounts: BTreeMap<Place, String> = BTreeMap::new();
    let (mut secrets_known, mut accounts_known) = (false, false);
    let mut backlog: Backlog<Place> = Backlog::new();
    let mut writes: FuturesUnordered<BoxFuture<'static, (Place, Result<(), kube::Error>)>> =
        FuturesUnordered::new();
    loop {
        let ready = secrets_known && accounts_known;
        while ready && writes.is_empty() {
            let Some(key) = backlog.take() else { break };
            let work = secrets.get(&key).and_then(|secret| {
                let account = secret.metadata.annotations.as_ref()?.get(ACCOUNT_NAME)?;
                let uid = accounts.get(&(key.0.clone(), account.clone()));
                mend(secret, uid.map(String::as_str), root_ca.as_deref())
            });
            let Some(work) = work else {
                backlog.done(&key);
                continue;
            };
            let (client, signer, root_ca) = (client.clone(), Arc::clone(&signer), root_ca.clone());
            writes.push(Box::pin(async move {
                let done = apply(client, &signer, root_ca.as_deref(), &key, work);
                let timeout = tokio::time::timeout(DEADLINE, done).await;
                (
                    key,
                    timeout.unwrap_or_else(|elapsed| Err(kube::Error::Service(elapsed.into()))),
                )
            }));
        }
        // All branches are cancel-safe: what is not taken stays in its stream or set.
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some((key, written)) = writes.next(), if !writes.is_empty() => match written {
                Ok(()) => backlog.done(&key),
                Err(error) => {
                    debug!(secret = key.1, error = &error as &dyn std::error::Error, "token secret is tried again");
                    backlog.failed(&key);
                }
            },
            Some(change) = secret_changes.next() => match change {
                Followed::Failed => {}
                Followed::Event(Event::Init) => secrets.clear(),
                Followed::Event(Event::InitDone) => secrets_known = true,
                Followed::Event(Event::InitApply(secret) | Event::Apply(secret)) => {
                    if let Some(key) = place(&secret.metadata) {
                        secrets.insert(key.clone(), secret);
                        backlog.add(key);
                    }
                }
                Followed::Event(Event::Delete(secret)) => {
                    if let Some(key) = place(&secret.metadata) {
                        secrets.remove(&key);
                    }
                }
            },
            Some(change) = account_changes.next() => {
                let touched = match change {
                    Followed::Failed => None,
                    Followed::Event(Event::Init) => {
                        accounts.clear();
                        accounts_known = false;
                        None
                    }
                    Followed::Event(Event::InitDone) => {
                        accounts_known = true;
                        for key in secrets.keys() {
                            backlog.add(key.clone());
                        }
                        None
                    }
                    Followed::Event(Event::InitApply(account) | Event::Apply(account)) => {
                        let key = place(&account.metadata);
                        accounts.extend(key.clone().map(|key| (key, account.metadata.uid.unwrap_or_default())));
                        key
                    }
                    Followed::Event(Event::Delete(account)) => {
                        let key = place(&account.metadata);
                        key.as_ref().map(|key| accounts.remove(key));
                        key
                    }
                };
                if let Some((namespace, _)) = touched {
                    for key in secrets.keys().filter(|key| key.0 == namespace) {
                        backlog.add(key.clone());
                    }
                }
            },
            () = backlog.due(), if ready && writes.is_empty() => {}
        }
    }
}

async fn apply(
    client: Client,
    signer: &Signer,
    root_ca: Option<&str>,
    (namespace, name): &Place,
    mend: Mend,
) -> Result<(), kube::Error> {
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let done = match mend {
        Mend::Delete { uid } => {
            let params = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(uid),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            api.delete(name, &params).await.map(drop)
        }
        Mend::Fill { account, uid, token } => {
            let mut data = BTreeMap::from([("namespace", ByteString(namespace.clone().into_bytes()))]);
            if let Some(root_ca) = root_ca {
                data.insert("ca.crt", ByteString(root_ca.as_bytes().to_vec()));
            }
            if token {
                let token = signer
                    .issue_for_secret(namespace, &account, &uid, name)
                    .map_err(|error| kube::Error::Service(error.into()))?;
                data.insert("token", ByteString(token.into_bytes()));
            }
            let patch = json!({"metadata": {"annotations": {ACCOUNT_UID: uid}}, "data": data});
            api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
                .await
                .map(drop)
        }
    };
    match done {
        // Somebody was faster; the watch tells.
        Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
        done => done,
    }
}
