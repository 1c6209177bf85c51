//! Following a collection: list, watch, resume, with a back-off that is the same in every run.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tracing::debug;

/// Pauses after a failed list or watch: 200 ms doubling to 10 s, without jitter, so that simulated runs repeat exactly.
#[derive(Debug)]
struct Pauses {
    next: Duration,
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(LONGEST_PAUSE);
        Some(pause)
    }
}

impl Backoff for Pauses {
    fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }
}

/// What [`follow`] yields.
#[derive(Debug)]
pub(crate) enum Followed<K> {
    /// The list or watch gave something.
    Event(Event<K>),
    /// A list or watch failed; another attempt follows by itself.
    Failed,
}

/// Every change of the collection behind `api`, for ever. Dropping the stream ends the watch.
pub(crate) fn follow<K>(api: Api<K>, config: watcher::Config) -> BoxStream<'static, Followed<K>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    K::DynamicType: Send,
{
    let resource = api.resource_url().to_owned();
    watcher::watcher(api, config)
        .backoff(Pauses { next: FIRST_PAUSE })
        .map(move |item| match item {
            Ok(event) => Followed::Event(event),
            Err(error) => {
                debug!(
                    resource,
                    error = &error as &dyn std::error::Error,
                    "watch failed, it is started again"
                );
                Followed::Failed
            }
        })
        .boxed()
}

/// The version as a number; versions are comparable integers (API-61). Zero if it is not one.
pub(crate) fn version_of(resource_version: Option<&str>) -> u64 {
    resource_version
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}
