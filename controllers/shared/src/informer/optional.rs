//! Kinds that an API server serves only once their CustomResourceDefinition is there. Until then the cache is empty and
//! counts as synced: nobody waits for it, and nothing is reported.

use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use kube::Client;
use kube::runtime::watcher::{self, Event};

use super::{Source, WatchItem, Watched};

/// Time between two questions whether the kind is served by now.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Where the stream of one watch is.
enum State<K> {
    /// Whether the kind is served is to be found out; after a pause if it was not a moment ago.
    Ask { waited: bool },
    /// It is not served: an empty list is to be delivered.
    Empty,
    /// It is served.
    Watch(BoxStream<'static, WatchItem<K>>),
}

/// Events of `watch` while the kind is served; one empty list while it is not.
pub(super) fn source<K: Watched>(
    client: Client,
    watch: impl Fn() -> BoxStream<'static, WatchItem<K>> + Clone + Send + Sync + 'static,
) -> Source<K> {
    Box::new(move || {
        let (client, watch) = (client.clone(), watch.clone());
        stream::unfold(State::Ask { waited: true }, move |mut state| {
            let (client, watch) = (client.clone(), watch.clone());
            async move {
                loop {
                    state = match state {
                        State::Ask { waited } => {
                            if !waited {
                                tokio::time::sleep(ASK_AGAIN).await;
                            }
                            match is_served::<K>(&client).await {
                                Ok(true) => State::Watch(watch()),
                                Ok(false) if waited => return Some((Ok(Event::Init), State::Empty)),
                                Err(error) if waited => {
                                    let error = watcher::Error::InitialListFailed(error);
                                    return Some((Err(error), State::Ask { waited: true }));
                                }
                                // An empty list was delivered; trouble meanwhile changes nothing.
                                Ok(false) | Err(_) => State::Ask { waited: false },
                            }
                        }
                        State::Empty => return Some((Ok(Event::InitDone), State::Ask { waited: false })),
                        State::Watch(mut events) => match events.next().await {
                            // The definition went: the stream ends, and starts over with the question.
                            Some(Err(error)) if is_gone(&error) => return None,
                            Some(item) => return Some((item, State::Watch(events))),
                            None => return None,
                        },
                    }
                }
            }
        })
        .boxed()
    })
}

async fn is_served<K: Watched>(client: &Client) -> Result<bool, kube::Error> {
    match client.list_api_group_resources(&K::api_version(&())).await {
        Ok(list) => Ok(list.resources.iter().any(|it| it.name == K::plural(&()))),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(source)
        | watcher::Error::WatchStartFailed(source)
        | watcher::Error::WatchFailed(source) => {
            matches!(source, kube::Error::Api(status) if status.code == 404)
        }
        watcher::Error::WatchError(status) => status.code == 404,
        watcher::Error::NoResourceVersion => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::json;
    use tokio::task::JoinSet;
    use tokio_util::sync::CancellationToken;

    use crate::informer::{Informers, KindId};
    use crate::metrics::Metrics;
    use crate::objects::ReplicaSet;
    use crate::ready::Readiness;
    use crate::testing::client_fn;

    use super::*;

    /// A server with one ReplicaSet, once ReplicaSets are served at all.
    fn server(served: &Arc<AtomicBool>) -> Client {
        let served = Arc::clone(served);
        client_fn(move |asked| {
            let served = Arc::clone(&served);
            async move {
                let list = json!({ "kind": "ReplicaSetList", "apiVersion": "apps/v1", "metadata": { "resourceVersion": "7" },
                    "items": [{ "metadata": { "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "5" } }] });
                let resources = json!({ "groupVersion": "apps/v1", "resources": [{ "name": "replicasets",
                    "singularName": "replicaset", "namespaced": true, "kind": "ReplicaSet", "verbs": ["list"] }] });
                let gone = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
                    "reason": "NotFound", "message": "the server could not find the requested resource" });
                let is_watch = asked.query.contains("watch=");
                if is_watch {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                }
                if !served.load(Ordering::Relaxed) {
                    return (404, gone.to_string());
                }
                match asked.path.as_str() {
                    "/apis/apps/v1" => (200, resources.to_string()),
                    _ if is_watch => (200, String::new()),
                    _ => (200, list.to_string()),
                }
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn sty_78_a_kind_that_is_not_served_counts_as_empty_until_it_is() {
        let served = Arc::new(AtomicBool::new(false));
        let readiness = Readiness::default();
        let informers = Informers::new(server(&served), &Metrics::default(), &readiness);
        let informer = informers.get_if_served::<ReplicaSet>();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(informers.clone().run(stop.clone()));
        informers.synced(&[KindId::of::<ReplicaSet>()]).await;
        assert!(informer.cache().is_empty() && readiness.is_ready());

        for (is_served, count) in [(true, 1), (false, 0), (true, 1)] {
            served.store(is_served, Ordering::Relaxed);
            tokio::time::timeout(Duration::from_mins(2), async {
                while informer.cache().len() != count {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            })
            .await
            .unwrap();
            assert!(readiness.is_ready(), "served: {is_served}");
        }
        stop.cancel();
        tasks.join_all().await;
    }
}
