//! Carries actions out against the API server. The only place with a client (STY-13).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use rustc_hash::FxHashMap;
use serde_json::json;
use steersman_shared::api::{self, REQUEST_DEADLINE, within};
use steersman_shared::context::Context;
use steersman_shared::lease::Leadership;
use steersman_shared::objects::{ObjectKey, Uid};
use steersman_shared::pods;
use steersman_shared::recorder::{EventType, Recorder, Recorders};
use steersman_shared::sink::{Retry, ShadowSink, Sink, Unserialisable};
use steersman_shared::wire;
use tracing::info;

use crate::action::{Action, Told, event};
use crate::error::{Error, Result};

/// How often a request is repeated that may succeed the next time (kube-scheduler 1.36, SCH-166).
const STEPS: u32 = 4;

/// Where the actions of a scheduler go.
pub trait Target: Sink<Action, Done = (), Error: Trouble> + 'static {}

impl<S: Sink<Action, Done = (), Error: Trouble> + 'static> Target for S {}

/// Why an action was not carried out.
pub trait Trouble: std::error::Error + Send {
    /// What users read.
    fn text(&self) -> String;
}

impl Trouble for Error {
    fn text(&self) -> String {
        Self::text(self)
    }
}

impl Trouble for Unserialisable {
    fn text(&self) -> String {
        self.to_string()
    }
}

/// Writes nothing (SINV-12).
#[must_use]
pub fn shadow() -> ShadowSink {
    ShadowSink::new("scheduler")
}

/// Writes to the API server, as long as the lease is held.
pub struct LiveSink {
    client: kube::Client,
    leadership: Leadership,
    recorders: Recorders,
    /// One per scheduler name: each reports under its own (SCH-165).
    by_scheduler: Mutex<FxHashMap<Arc<str>, Recorder>>,
}

impl fmt::Debug for LiveSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSink")
            .field("leadership", &self.leadership)
            .finish_non_exhaustive()
    }
}

impl LiveSink {
    /// A sink with the client, lease and recorders of the process.
    #[must_use]
    pub fn new(ctx: &Context) -> Self {
        Self {
            client: ctx.client.clone(),
            leadership: ctx.leadership.clone(),
            recorders: ctx.recorder.clone(),
            by_scheduler: Mutex::default(),
        }
    }

    fn pods(&self, pod: &ObjectKey) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace)
    }

    /// Sends a binding. An answer that got lost is looked up instead of sending again: whether the pod is bound
    /// decides (SCH-40, SINV-4).
    async fn apply_bind(&self, pod: &ObjectKey, uid: &Uid, node: &str) -> Result<()> {
        self.leadership.token()?;
        let binding = Binding {
            metadata: ObjectMeta {
                namespace: Some(pod.namespace.to_string()),
                name: Some(pod.name.to_string()),
                uid: Some(uid.0.to_string()),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
        };
        let pods = self.pods(pod);
        let params = PostParams::default();
        let request =
            pods.create_subresource::<_, serde_json::Value>("binding", &pod.name, &params, &binding);
        let Err(source) = within(REQUEST_DEADLINE, request).await else {
            info!(%pod, node, "pod bound");
            return Ok(());
        };
        if api::is_outcome_unknown(&source)
            && self.fresh_node(pod, uid).await.is_some_and(|bound| bound == node)
        {
            info!(%pod, node, "pod bound, although the answer says otherwise");
            return Ok(());
        }
        Err(Error::Request {
            verb: "bind",
            pod: pod.clone(),
            source: Box::new(source),
        })
    }

    /// The node of a pod as the API server has it now; `None` if it has none, is gone, or nobody answers.
    async fn fresh_node(&self, pod: &ObjectKey, uid: &Uid) -> Option<String> {
        let found = within(REQUEST_DEADLINE, self.pods(pod).get_opt(&pod.name))
            .await
            .ok()??;
        let is_same = found.metadata.uid.as_deref() == Some(&*uid.0);
        let node = pods::node_name(&found);
        (is_same && !node.is_empty()).then(|| node.to_owned())
    }

    /// Writes the condition; a pod that is gone needs none.
    async fn apply_condition(&self, pod: &ObjectKey, patch: &serde_json::Value) -> Result<()> {
        let pods = self.pods(pod);
        let mut pause = Duration::from_millis(10);
        let mut step = 1;
        loop {
            self.leadership.token()?;
            let (params, patch) = (PatchParams::default(), Patch::Strategic(patch));
            let request = pods.patch_status(&pod.name, &params, &patch);
            let source = match within(REQUEST_DEADLINE, request).await {
                Ok(_) => return Ok(()),
                Err(source) if api::is_not_found(&source) => return Ok(()),
                Err(source) => Box::new(source),
            };
            let error = Error::Request {
                verb: "patch status of",
                pod: pod.clone(),
                source,
            };
            match error.retry() {
                Retry::Soon(_) if step < STEPS => tokio::time::sleep(pause).await,
                _ => return Err(error),
            }
            step += 1;
            pause *= 5;
        }
    }

    fn tell(&self, pod: &ObjectKey, uid: &Uid, scheduler: &Arc<str>, what: Told, note: &str) -> Result<()> {
        self.leadership.token()?;
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(pod.namespace.to_string()),
            name: Some(pod.name.to_string()),
            uid: Some(uid.0.to_string()),
            ..ObjectReference::default()
        };
        let recorder = self.recorder(scheduler);
        match what {
            Told::Scheduled => {
                recorder.event(&about, EventType::Normal, event::SCHEDULED, event::BINDING, note);
            }
            Told::FailedScheduling => {
                recorder.event(
                    &about,
                    EventType::Warning,
                    event::FAILED_SCHEDULING,
                    event::SCHEDULING,
                    note,
                );
            }
        }
        Ok(())
    }

    fn recorder(&self, scheduler: &Arc<str>) -> Recorder {
        let mut by_scheduler = self.by_scheduler.lock().unwrap_or_else(PoisonError::into_inner);
        let recorder = by_scheduler
            .entry(Arc::clone(scheduler))
            .or_insert_with(|| self.recorders.series(scheduler.to_string()));
        recorder.clone()
    }
}

impl Sink<Action> for LiveSink {
    type Done = ();
    type Error = Error;

    async fn apply(&self, action: &Action) -> Result<()> {
        match action {
            Action::Bind { pod, uid, node } => self.apply_bind(pod, uid, node).await,
            Action::Condition {
                pod,
                uid,
                observed_generation,
                since,
                reason,
                message,
            } => {
                let patch = json!({
                    "metadata": { "uid": uid },
                    "status": { "conditions": [{
                        "type": wire::POD_SCHEDULED,
                        "status": wire::FALSE,
                        "lastProbeTime": null,
                        "lastTransitionTime": Time(*since),
                        "observedGeneration": observed_generation,
                        "reason": reason.as_str(),
                        "message": message,
                    }] },
                });
                self.apply_condition(pod, &patch).await
            }
            Action::Event {
                pod,
                uid,
                scheduler,
                what,
                note,
            } => self.tell(pod, uid, scheduler, *what, note),
        }
    }
}

#[cfg(test)]
mod tests;
