//! Carries plans out: in which order, how many at once, and what a failure means for the rest. The only place with a
//! client.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSetStatus;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use steersman_shared::api::{self, REQUEST_DEADLINE, within};
use steersman_shared::cache::Cache;
use steersman_shared::claims::apply_claims;
use steersman_shared::context::Context;
use steersman_shared::lease::WriteToken;
use steersman_shared::metrics::Actions;
use steersman_shared::objects::{ObjectKey, Pod, ReplicaSet, Uid};
use steersman_shared::ownership::{self, ClaimAnswer, FreshOwner, LiveOwner, adopt_answer, release_answer};
use steersman_shared::pods;
use steersman_shared::recorder::{EventType, Recorder, reference};
use steersman_shared::sink::{Done, Sink};
use steersman_shared::writes::{Writes, Written};
use tracing::{info, warn};

use crate::action::{
    Action, EVENT_ACTION, FAILED_CREATE, FAILED_DELETE, INVALID_SPEC, SUCCESSFUL_CREATE, SUCCESSFUL_DELETE,
    StatusWrite, create_failed_message, created_message, delete_failed_message, deleted_message,
};
use crate::plan::{self, Plan, Snapshot, Step, pod};
use crate::{Error, Result};

/// Who writes, in `managedFields` (TAKE-7).
const FIELD_MANAGER: &str = "steersman-replicaset";
/// Source of events (RS-67).
const COMPONENT: &str = "replicaset-controller";

/// Carries out a plan: claims, then creates or deletes, then the status as it is after what came of them (RS-60).
///
/// # Errors
/// The first failure of claims, else of creates or deletes, else of the status write.
pub async fn apply<S>(
    sink: &S,
    owner: &impl FreshOwner,
    snapshot: &Snapshot,
    plan: &Plan,
    now: Timestamp,
) -> Result<()>
where
    S: Sink<Action>,
    S::Done: Into<Done> + Send,
    S::Error: Into<Error> + Send,
{
    let uid = Uid::of(snapshot.replica_set.as_ref());
    let claims = apply_claims(sink, owner, &uid, &plan.actions).await;
    claims.finished(Error::OrphanGone)?;
    let step = apply_step(sink, &plan.actions).await;
    let planned = || plan.actions.iter().find_map(Action::status);
    let status = match &step {
        // The sync that the changed pods bring about has more to tell (RS-60).
        Ok(Worked::Completely)
            if planned().is_some_and(|it| it.is_mere_acknowledgement(&snapshot.replica_set)) =>
        {
            None
        }
        Ok(_) => planned()
            .cloned()
            .map(|write| Action::WriteStatus(Box::new(write))),
        Err(Error::NotLeading(_)) => None,
        Err(error) => plan::status_write(snapshot, &error.shown().map_or(Step::Skipped, Step::Failed), now),
    };
    let written = match status {
        Some(action) => sink.apply(&action).await.map(drop).map_err(Into::into),
        None => Ok(()),
    };
    step.and(written)
}

/// What creating or deleting pods came to, if nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worked {
    /// There was nothing to do, or some of it turned out to be done already or refused for good.
    Partly,
    /// All of it: the caches will show a change of a pod that this sync does not know yet.
    Completely,
}

async fn apply_step<S>(sink: &S, actions: &[Action]) -> Result<Worked>
where
    S: Sink<Action>,
    S::Done: Into<Done> + Send,
    S::Error: Into<Error> + Send,
{
    let one = Action::CreatePods { count: 1 };
    let (mut asked, mut changed) = (0, 0);
    for action in actions {
        if let Action::CreatePods { count } = action {
            let created = slow_start(*count, || sink.apply(&one)).await;
            if created.successes > 0 {
                info!(pods.created = created.successes, "replica set scaled up");
            }
            if let Some(error) = created.error {
                return Err(error.into());
            }
            asked += *count;
            changed += created.successes;
        }
    }
    let deletes = actions
        .iter()
        .filter(|action| matches!(action, Action::DeletePod { .. }));
    let results = join_all(deletes.map(|action| sink.apply(action))).await;
    let gone = results.iter().filter(|result| result.is_ok()).count();
    if gone > 0 {
        info!(pods.deleted = gone, "replica set scaled down");
    }
    for result in results {
        let done = result.map(Into::into).map_err(Into::into)?;
        asked += 1;
        changed += u32::from(done == Done::Changed);
    }
    Ok(if asked > 0 && asked == changed {
        Worked::Completely
    } else {
        Worked::Partly
    })
}

/// How far creates in batches got.
#[derive(Debug)]
pub struct SlowStart<E> {
    /// Creates tried.
    pub calls: u32,
    /// Creates that were not refused.
    pub successes: u32,
    /// The first failure.
    pub error: Option<E>,
}

/// Creates in batches of 1, 2, 4, …: all of a batch at once, none after a batch with a failure (RS-34).
pub async fn slow_start<F, T, E>(count: u32, create: impl Fn() -> F) -> SlowStart<E>
where
    F: Future<Output = Result<T, E>>,
    T: Into<Done>,
{
    let mut result = SlowStart {
        calls: 0,
        successes: 0,
        error: None,
    };
    let mut batch = 1;
    while result.calls < count && result.error.is_none() {
        batch = batch.min(count - result.calls);
        let mut is_ending = false;
        for created in join_all((0..batch).map(|_| create())).await {
            result.calls += 1;
            match created.map(Into::into) {
                Ok(Done::NamespaceTerminating) => is_ending = true,
                Ok(_) => result.successes += 1,
                Err(error) => result.error = result.error.or(Some(error)),
            }
        }
        if is_ending {
            break;
        }
        batch = batch.saturating_mul(2);
    }
    result
}

/// Writes to the API server. One per controller.
pub(crate) struct Live {
    client: kube::Client,
    writes: Writes,
    recorder: Recorder,
    pods: Arc<Cache<Pod>>,
    actions: Actions,
    stores_terminating: AtomicBool,
}

impl Live {
    pub(crate) fn new(ctx: &Context, writes: Writes, pods: Arc<Cache<Pod>>, actions: Actions) -> Self {
        Self {
            client: ctx.client.clone(),
            writes,
            recorder: ctx.recorder.core(COMPONENT),
            pods,
            actions,
            stores_terminating: AtomicBool::new(true),
        }
    }

    /// Whether the API server kept `terminatingReplicas` in the last status write (RS-57).
    pub(crate) fn stores_terminating(&self) -> bool {
        self.stores_terminating.load(Ordering::Relaxed)
    }

    /// Tells users about a field that only they can mend.
    pub(crate) fn report_invalid(&self, replica_set: &ReplicaSet, advice: String) {
        warn!(advice, "spec cannot be acted on");
        let about = reference(replica_set);
        self.recorder
            .event(&about, EventType::Warning, INVALID_SPEC, EVENT_ACTION, advice);
    }

    /// The sink of one sync.
    pub(crate) fn sync<'a>(&'a self, replica_set: &'a ReplicaSet, token: WriteToken) -> Sync<'a> {
        let namespace = replica_set.metadata.namespace.as_deref().unwrap_or_default();
        let resource = ApiResource::erase::<Pod>(&());
        Sync {
            pods: Api::namespaced_with(self.client.clone(), namespace, &resource),
            replica_sets: Api::namespaced(self.client.clone(), namespace),
            key: ObjectKey::of(replica_set),
            about: reference(replica_set),
            pod: OnceLock::new(),
            live: self,
            replica_set,
            token,
        }
    }

    /// Reads that ReplicaSet past the cache.
    pub(crate) fn owner(&self, key: &ObjectKey) -> LiveOwner<ReplicaSet> {
        LiveOwner::new(Api::namespaced(self.client.clone(), &key.namespace), &*key.name)
    }
}

/// Writes for one ReplicaSet as it stood in the snapshot.
pub(crate) struct Sync<'a> {
    live: &'a Live,
    replica_set: &'a ReplicaSet,
    key: ObjectKey,
    about: ObjectReference,
    token: WriteToken,
    pods: Api<DynamicObject>,
    replica_sets: Api<ReplicaSet>,
    pod: OnceLock<DynamicObject>,
}

impl Sink<Action> for Sync<'_> {
    type Done = Done;
    type Error = Error;

    async fn apply(&self, action: &Action) -> Result<Done> {
        self.token.check()?;
        let result = match action {
            Action::AdoptPod { name, uid } => {
                let patch = ownership::adopt_patch(self.replica_set, uid);
                let answer = adopt_answer(self.patch_pod(name, patch).await);
                self.claimed("adopt", name, answer)
            }
            Action::ReleasePod { name, uid } => {
                let patch = ownership::release_patch(&Uid::of(self.replica_set), uid);
                let answer = release_answer(self.patch_pod(name, patch).await);
                self.claimed("release", name, answer)
            }
            Action::CreatePods { .. } => self.create_pod().await,
            Action::DeletePod { name, uid, .. } => self.delete_pod(name, uid).await,
            Action::WriteStatus(write) => self.write_status(write).await,
        };
        self.live.actions.count(action.label(), &result);
        result
    }
}

impl Sync<'_> {
    fn record<K: kube::Resource + 'static>(&self, answer: &ObjectMeta) {
        self.live.writes.record(&self.key, Written::answered::<K>(answer));
    }

    fn record_failure<K: kube::Resource + 'static>(&self, error: &kube::Error) {
        self.live.writes.record_failure::<K>(&self.key, error);
    }

    fn event(&self, type_: EventType, reason: &str, message: String) {
        self.live
            .recorder
            .event(&self.about, type_, reason, EVENT_ACTION, message);
    }

    async fn patch_pod(&self, name: &str, patch: Value) -> Result<DynamicObject, kube::Error> {
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        within(
            REQUEST_DEADLINE,
            self.pods.patch(name, &params, &Patch::Strategic(patch)),
        )
        .await
    }

    fn claimed(&self, verb: &'static str, name: &str, answer: ClaimAnswer<DynamicObject>) -> Result<Done> {
        match answer {
            ClaimAnswer::Done(pod) => {
                self.record::<Pod>(&pod.metadata);
                Ok(Done::Changed)
            }
            ClaimAnswer::Gone => Ok(Done::Gone),
            ClaimAnswer::Failed(source) => {
                self.record_failure::<Pod>(&source);
                Err(Error::Pod {
                    verb,
                    pod: name.to_owned(),
                    source: Box::new(source),
                })
            }
        }
    }

    /// The pod to create; the same for all of a sync.
    fn body(&self) -> Result<&DynamicObject> {
        if let Some(pod) = self.pod.get() {
            return Ok(pod);
        }
        let pod = serde_json::from_value(pod::of(self.replica_set)?).map_err(Error::Malformed)?;
        Ok(self.pod.get_or_init(|| pod))
    }

    async fn create_pod(&self) -> Result<Done> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let answer = match self.body() {
            Ok(pod) => within(REQUEST_DEADLINE, self.pods.create(&params, pod)).await,
            Err(error) => {
                let message = create_failed_message(&error.shown().unwrap_or_default());
                self.event(EventType::Warning, FAILED_CREATE, message);
                return Err(error);
            }
        };
        match answer {
            Ok(pod) => {
                self.record::<Pod>(&pod.metadata);
                let message = created_message(pod.metadata.name.as_deref().unwrap_or_default());
                self.event(EventType::Normal, SUCCESSFUL_CREATE, message);
                Ok(Done::Changed)
            }
            Err(source) if api::is_namespace_terminating(&source) => Ok(Done::NamespaceTerminating),
            Err(source) => {
                self.record_failure::<Pod>(&source);
                self.event(
                    EventType::Warning,
                    FAILED_CREATE,
                    create_failed_message(&api::message(&source)),
                );
                let pod = format!("{}-*", self.key.name);
                Err(Error::Pod {
                    verb: "create",
                    pod,
                    source: Box::new(source),
                })
            }
        }
    }

    async fn delete_pod(&self, name: &str, uid: &Uid) -> Result<Done> {
        // The cache may know more than the snapshot did (RS-52).
        let current = self.live.pods.get_by_uid(uid);
        if current.is_none_or(|pod| pods::is_being_deleted(&pod)) {
            return Ok(Done::Gone);
        }
        let preconditions = Preconditions {
            uid: Some(uid.to_string()),
            resource_version: None,
        };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match within(REQUEST_DEADLINE, self.pods.delete(name, &params)).await {
            Ok(_) => {
                self.live
                    .writes
                    .record(&self.key, Written::deleted::<Pod>(uid.clone()));
                self.event(EventType::Normal, SUCCESSFUL_DELETE, deleted_message(name));
                Ok(Done::Changed)
            }
            Err(source) if api::is_not_found(&source) || api::is_conflict(&source) => {
                self.live
                    .writes
                    .record(&self.key, Written::deleted::<Pod>(uid.clone()));
                Ok(Done::Gone)
            }
            Err(source) => {
                self.record_failure::<Pod>(&source);
                self.event(
                    EventType::Warning,
                    FAILED_DELETE,
                    delete_failed_message(&api::message(&source)),
                );
                Err(Error::Pod {
                    verb: "delete",
                    pod: name.to_owned(),
                    source: Box::new(source),
                })
            }
        }
    }

    /// Writes the status; after a failure once more onto whatever version is stored by then (RS-60).
    async fn write_status(&self, write: &StatusWrite) -> Result<Done> {
        let first = self.patch_status(write, &write.resource_version).await;
        let answer = match first {
            Err(error) if !api::is_not_found(&error) => {
                self.record_failure::<ReplicaSet>(&error);
                match self.fresh_version().await {
                    Ok(Some((uid, version))) if uid == write.uid => self.patch_status(write, &version).await,
                    Ok(_) => return Ok(Done::Gone),
                    Err(_) => Err(error),
                }
            }
            answer => answer,
        };
        match answer {
            Ok(stored) => {
                let kept = write.status.terminating_replicas == stored.status.terminating_replicas;
                self.live.stores_terminating.store(kept, Ordering::Relaxed);
                self.record::<ReplicaSet>(&stored.metadata);
                Ok(Done::Changed)
            }
            Err(error) if api::is_not_found(&error) => Ok(Done::Gone),
            Err(error) => {
                self.record_failure::<ReplicaSet>(&error);
                Err(Error::Status(Box::new(error)))
            }
        }
    }

    async fn fresh_version(&self) -> Result<Option<(Uid, String)>, kube::Error> {
        let stored = within(REQUEST_DEADLINE, self.replica_sets.get_opt(&self.key.name)).await?;
        Ok(stored.map(|it| (Uid::of(&it), it.metadata.resource_version.unwrap_or_default())))
    }

    async fn patch_status(&self, write: &StatusWrite, version: &str) -> Result<ReplicaSet, kube::Error> {
        let patch = json!({
            "metadata": { "uid": write.uid, "resourceVersion": version },
            "status": status_patch(&write.status),
        });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        within(
            REQUEST_DEADLINE,
            self.replica_sets
                .patch_status(&self.key.name, &params, &Patch::Merge(patch)),
        )
        .await
    }
}

/// The status as a merge patch: what a status written as a whole would leave out is removed.
fn status_patch(status: &ReplicaSetStatus) -> Value {
    let some = |count: Option<i32>| count.filter(|count| *count != 0);
    json!({
        "replicas": status.replicas,
        "fullyLabeledReplicas": some(status.fully_labeled_replicas),
        "readyReplicas": some(status.ready_replicas),
        "availableReplicas": some(status.available_replicas),
        "terminatingReplicas": status.terminating_replicas,
        "observedGeneration": status.observed_generation,
        "conditions": status.conditions.as_ref().filter(|list| !list.is_empty()),
    })
}

#[cfg(test)]
mod tests;
