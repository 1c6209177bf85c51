//! Carries plans out: in which order, and what a failure means for the rest. The only place with a client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DeploymentStatus;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use steersman_shared::api::{self, REQUEST_DEADLINE, within};
use steersman_shared::claims::{Claiming as _, apply_claims};
use steersman_shared::context::Context;
use steersman_shared::lease::WriteToken;
use steersman_shared::metrics::Actions;
use steersman_shared::objects::{Deployment, ObjectKey, ReplicaSet, Uid};
use steersman_shared::ownership::{self, ClaimAnswer, FreshOwner, LiveOwner, adopt_answer, release_answer};
use steersman_shared::recorder::{EventType, Recorder, reference};
use steersman_shared::sink::{Done, Sink};
use steersman_shared::wire::{DESIRED_REPLICAS, MAX_REPLICAS, REVISION};
use steersman_shared::writes::{Writes, Written};
use tracing::{info, warn};

use crate::action::{
    Action, EVENT_ACTION, INVALID_ANNOTATION, INVALID_SPEC, NewReplicaSet, ROLLBACK_TO, Rollback, ScaleCause,
    StatusWrite, Target, create_error_message,
};
use crate::plan::{Garbage, Plan, Snapshot, Taken, after_create_error, after_name_taken, template};
use crate::{Error, Result};

pub(crate) mod policy;

/// Who writes, in `managedFields` (TAKE-7).
const FIELD_MANAGER: &str = "steersman-deployment";
/// Source of events (RS-67).
const COMPONENT: &str = "deployment-controller";

/// Carries out a plan in its order. `existing` looks a ReplicaSet of the namespace up by name, should the name of a new
/// one be taken (DEP-19).
///
/// # Errors
/// The first failure. It ends the sync, with two exceptions: claims are tried to the last (RS-16), and after a failed
/// shrink the status is still written (DEP-53).
pub async fn apply<S>(
    sink: &S,
    owner: &impl FreshOwner,
    snapshot: &Snapshot,
    plan: &Plan,
    existing: impl Fn(&str) -> Option<Arc<ReplicaSet>> + Send,
    now: Timestamp,
) -> Result<()>
where
    S: Sink<Action>,
    S::Done: Into<Done> + Send,
    S::Error: Into<Error> + Send,
{
    let uid = Uid::of(snapshot.deployment.as_ref());
    let claims = apply_claims(sink, owner, &uid, &plan.actions).await;
    claims.finished(Error::OrphanGone)?;
    let mut shrunk = Ok(());
    for action in &plan.actions {
        if action.claim().is_some() {
            continue;
        }
        if shrunk.is_err() && !matches!(action, Action::WriteStatus(_)) {
            continue;
        }
        match (
            sink.apply(action).await.map_err(Into::into).map(Into::into),
            action,
        ) {
            (Ok(Done::NamespaceTerminating), _) => return Ok(()),
            (Ok(Done::Changed | Done::Gone), _) => {}
            (Err(error), Action::Create(new)) => {
                let known = existing(&new.name);
                return Err(refused(sink, snapshot, new, known.as_deref(), error, now).await);
            }
            (Err(error @ Error::NotLeading(_)), _) => return Err(error),
            (
                Err(error),
                Action::Scale {
                    cause: ScaleCause::RolloutDown,
                    ..
                },
            ) => shrunk = Err(error),
            (Err(error), _) => return Err(error),
        }
    }
    shrunk
}

/// What follows from a refused create; the error that ends the sync (DEP-19, DEP-20).
async fn refused<S>(
    sink: &S,
    snapshot: &Snapshot,
    new: &NewReplicaSet,
    existing: Option<&ReplicaSet>,
    error: Error,
    now: Timestamp,
) -> Error
where
    S: Sink<Action>,
    S::Error: Into<Error> + Send,
    S::Done: Send,
{
    let name = || new.name.clone();
    if error.is_name_taken() {
        return match after_name_taken(snapshot, existing) {
            Taken::PlanAgain => Error::NameTaken { name: name() },
            Taken::Collision(status) => match sink.apply(&status).await {
                Ok(_) => Error::Collision { name: name() },
                Err(error) => error.into(),
            },
        };
    }
    let Some(shown) = error.shown() else { return error };
    let message = create_error_message(&new.name, &shown);
    let status = after_create_error(snapshot, &message, now);
    let report = Action::ReportCreateError { message };
    for action in [Some(report), status].into_iter().flatten() {
        if let Err(error) = sink.apply(&action).await {
            return error.into();
        }
    }
    error
}

/// Writes to the API server. One per controller.
pub(crate) struct Live {
    client: kube::Client,
    writes: Writes,
    recorder: Recorder,
    actions: Actions,
}

impl Live {
    pub(crate) fn new(ctx: &Context, writes: Writes, actions: Actions) -> Self {
        Self {
            client: ctx.client.clone(),
            writes,
            recorder: ctx.recorder.core(COMPONENT),
            actions,
        }
    }

    /// Tells users about a field that only they can mend.
    pub(crate) fn report_invalid(&self, deployment: &Deployment, advice: String) {
        warn!(advice, "spec cannot be acted on");
        let about = reference(deployment);
        self.recorder
            .event(&about, EventType::Warning, INVALID_SPEC, EVENT_ACTION, advice);
    }

    /// Tells users about annotations that are ignored.
    pub(crate) fn report_garbage(&self, deployment: &Deployment, garbage: &[Garbage]) {
        let about = reference(deployment);
        for it in garbage {
            let message = it.to_string();
            self.recorder.event(
                &about,
                EventType::Warning,
                INVALID_ANNOTATION,
                EVENT_ACTION,
                message,
            );
        }
    }

    /// The sink of one sync.
    pub(crate) fn sync<'a>(&'a self, deployment: &'a Deployment, token: WriteToken) -> Sync<'a> {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let api = |resource: &ApiResource| Api::namespaced_with(self.client.clone(), namespace, resource);
        Sync {
            replica_sets: api(&ApiResource::erase::<ReplicaSet>(&())),
            deployments: api(&ApiResource::erase::<Deployment>(&())),
            key: ObjectKey::of(deployment),
            about: reference(deployment),
            versions: Mutex::default(),
            live: self,
            deployment,
            token,
        }
    }

    /// Reads that Deployment past the cache.
    pub(crate) fn owner(&self, key: &ObjectKey) -> LiveOwner<Deployment> {
        LiveOwner::new(Api::namespaced(self.client.clone(), &key.namespace), &*key.name)
    }
}

/// Writes for one Deployment as it stood in the snapshot.
pub(crate) struct Sync<'a> {
    live: &'a Live,
    deployment: &'a Deployment,
    key: ObjectKey,
    about: ObjectReference,
    token: WriteToken,
    deployments: Api<DynamicObject>,
    replica_sets: Api<DynamicObject>,
    /// Versions of ReplicaSets that this sync wrote: a second write to one builds on the first.
    versions: Mutex<BTreeMap<Uid, String>>,
}

impl Sink<Action> for Sync<'_> {
    type Done = Done;
    type Error = Error;

    async fn apply(&self, action: &Action) -> Result<Done> {
        self.token.check()?;
        let result = self.write(action).await;
        self.live.actions.count(action.label(), &result);
        if let (Ok(Done::Changed), Some(event)) = (&result, action.event(&self.key.name)) {
            let type_ = if event.warning {
                EventType::Warning
            } else {
                EventType::Normal
            };
            self.live
                .recorder
                .event(&self.about, type_, event.reason, EVENT_ACTION, event.message);
        }
        result
    }
}

impl Sync<'_> {
    async fn write(&self, action: &Action) -> Result<Done> {
        match action {
            Action::Adopt { name, uid } => {
                let patch = Patch::Strategic(ownership::adopt_patch(self.deployment, uid));
                claimed(
                    "adopt",
                    name,
                    adopt_answer(self.patch_replica_set(name, patch).await),
                )
            }
            Action::Release { name, uid } => {
                let patch = Patch::Strategic(ownership::release_patch(&Uid::of(self.deployment), uid));
                claimed(
                    "release",
                    name,
                    release_answer(self.patch_replica_set(name, patch).await),
                )
            }
            Action::Create(new) => self.create(new).await,
            Action::Annotate {
                target,
                annotations,
                min_ready_seconds,
            } => {
                let spec =
                    min_ready_seconds.map_or(json!({}), |seconds| json!({ "minReadySeconds": seconds }));
                let metadata = self.metadata(target, &json!(annotations));
                self.change("annotate", target, json!({ "metadata": metadata, "spec": spec }))
                    .await
            }
            Action::Mark { target, key, value } => {
                let metadata = self.metadata(target, &json!({ (*key): value }));
                self.change("mark", target, json!({ "metadata": metadata })).await
            }
            Action::Scale {
                target,
                from,
                to,
                desired,
                max,
                ..
            } => {
                let spec = if from == to {
                    json!({})
                } else {
                    json!({ "replicas": to })
                };
                let sizes = json!({ DESIRED_REPLICAS: desired.to_string(), MAX_REPLICAS: max.to_string() });
                let metadata = self.metadata(target, &sizes);
                let done = self
                    .change("scale", target, json!({ "metadata": metadata, "spec": spec }))
                    .await?;
                if from != to {
                    info!(replica_set = target.name, from, to, "replica set resized");
                }
                Ok(done)
            }
            Action::Delete { target } => self.delete(target).await,
            Action::Rollback(rollback) => self.roll_back(rollback).await,
            Action::ClearRollback { target, .. } => {
                let metadata = self.metadata(target, &json!({ ROLLBACK_TO: null }));
                let patch = Patch::Merge(json!({ "metadata": metadata }));
                let answer = within(
                    REQUEST_DEADLINE,
                    self.deployments.patch(&target.name, &patch_params(), &patch),
                )
                .await;
                self.deployment_changed("patch", answer)
            }
            Action::ReportSelectingAll | Action::ReportCreateError { .. } => Ok(Done::Changed),
            Action::WriteStatus(write) => self.write_status(write).await,
        }
    }

    /// Metadata of a merge patch that fails on another version or another object (RS-3).
    fn metadata(&self, target: &Target, annotations: &Value) -> Value {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let version = versions.get(&target.uid).unwrap_or(&target.resource_version);
        json!({ "uid": target.uid, "resourceVersion": version, "annotations": annotations })
    }

    fn record<K: kube::Resource + 'static>(&self, answer: &DynamicObject) {
        let written = Written::answered::<K>(&answer.metadata);
        self.live.writes.record(&self.key, written);
    }

    fn record_failure<K: kube::Resource + 'static>(&self, error: &kube::Error) {
        self.live.writes.record_failure::<K>(&self.key, error);
    }

    async fn patch_replica_set(&self, name: &str, patch: Patch<Value>) -> Result<DynamicObject, kube::Error> {
        let answer = within(
            REQUEST_DEADLINE,
            self.replica_sets.patch(name, &patch_params(), &patch),
        )
        .await;
        match &answer {
            Ok(stored) => {
                self.record::<ReplicaSet>(stored);
                let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
                versions.insert(
                    Uid::of(stored),
                    stored.metadata.resource_version.clone().unwrap_or_default(),
                );
            }
            Err(error) => self.record_failure::<ReplicaSet>(error),
        }
        answer
    }

    async fn change(&self, verb: &'static str, target: &Target, patch: Value) -> Result<Done> {
        match self.patch_replica_set(&target.name, Patch::Merge(patch)).await {
            Ok(_) => Ok(Done::Changed),
            Err(source) => Err(Error::ReplicaSet {
                verb,
                name: target.name.clone(),
                source: Box::new(source),
            }),
        }
    }

    async fn create(&self, new: &NewReplicaSet) -> Result<Done> {
        let body = template::replica_set(self.deployment, new);
        let body: DynamicObject = serde_json::from_value(body).map_err(Error::Malformed)?;
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        match within(REQUEST_DEADLINE, self.replica_sets.create(&params, &body)).await {
            Ok(stored) => {
                self.record::<ReplicaSet>(&stored);
                info!(
                    replica_set = new.name,
                    replicas = new.replicas,
                    "replica set created"
                );
                Ok(Done::Changed)
            }
            Err(source) if api::is_namespace_terminating(&source) => Ok(Done::NamespaceTerminating),
            Err(source) => {
                self.record_failure::<ReplicaSet>(&source);
                Err(Error::ReplicaSet {
                    verb: "create",
                    name: new.name.clone(),
                    source: Box::new(source),
                })
            }
        }
    }

    /// Deletes an old ReplicaSet unless somebody changed it: it may have pods again.
    async fn delete(&self, target: &Target) -> Result<Done> {
        let preconditions = Preconditions {
            uid: Some(target.uid.to_string()),
            resource_version: Some(target.resource_version.clone()).filter(|version| !version.is_empty()),
        };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            ..DeleteParams::background()
        };
        let deleted = || {
            let written = Written::deleted::<ReplicaSet>(target.uid.clone());
            self.live.writes.record(&self.key, written);
        };
        match within(REQUEST_DEADLINE, self.replica_sets.delete(&target.name, &params)).await {
            Ok(_) => {
                deleted();
                info!(replica_set = target.name, "replica set deleted");
                Ok(Done::Changed)
            }
            Err(source) if api::is_not_found(&source) => {
                deleted();
                Ok(Done::Gone)
            }
            Err(source) if api::is_conflict(&source) => Ok(Done::Gone),
            Err(source) => {
                self.record_failure::<ReplicaSet>(&source);
                Err(Error::ReplicaSet {
                    verb: "delete",
                    name: target.name.clone(),
                    source: Box::new(source),
                })
            }
        }
    }

    fn deployment_changed(
        &self,
        verb: &'static str,
        answer: Result<DynamicObject, kube::Error>,
    ) -> Result<Done> {
        match answer {
            Ok(stored) => {
                self.record::<Deployment>(&stored);
                Ok(Done::Changed)
            }
            Err(source) if api::is_not_found(&source) => Ok(Done::Gone),
            Err(source) => {
                self.record_failure::<Deployment>(&source);
                Err(Error::Deployment {
                    verb,
                    source: Box::new(source),
                })
            }
        }
    }

    /// A JSON patch: a merge patch would mix the two templates.
    async fn roll_back(&self, rollback: &Rollback) -> Result<Done> {
        let target = &rollback.target;
        let annotation = |key: &String| format!("/metadata/annotations/{}", pointer(key));
        let mut operations = vec![
            json!({ "op": "test", "path": "/metadata/uid", "value": target.uid }),
            json!({ "op": "replace", "path": "/metadata/resourceVersion", "value": target.resource_version }),
            json!({ "op": "replace", "path": "/spec/template", "value": rollback.template }),
        ];
        for (key, value) in &rollback.annotations {
            operations.push(json!({ "op": "add", "path": annotation(key), "value": value }));
        }
        for key in &rollback.removed_annotations {
            operations.push(json!({ "op": "remove", "path": annotation(key) }));
        }
        let patch = serde_json::from_value(Value::Array(operations)).map_err(Error::Malformed)?;
        let patch = Patch::Json::<()>(patch);
        let answer = within(
            REQUEST_DEADLINE,
            self.deployments.patch(&target.name, &patch_params(), &patch),
        )
        .await;
        let done = self.deployment_changed("roll back", answer)?;
        info!(revision = rollback.revision, "deployment rolled back");
        Ok(done)
    }

    async fn write_status(&self, write: &StatusWrite) -> Result<Done> {
        let mut annotations = serde_json::Map::new();
        if let Some(revision) = &write.revision {
            annotations.insert(REVISION.to_owned(), json!(revision));
        }
        for garbage in &write.repaired {
            annotations.insert(garbage.key.to_owned(), Value::Null);
        }
        let metadata = self.metadata(&write.target, &Value::Object(annotations));
        let patch = Patch::Merge(json!({ "metadata": metadata, "status": status_patch(&write.status) }));
        let params = patch_params();
        let answer = self.deployments.patch_status(&write.target.name, &params, &patch);
        self.deployment_changed("write status of", within(REQUEST_DEADLINE, answer).await)
    }
}

fn claimed(verb: &'static str, name: &str, answer: ClaimAnswer<DynamicObject>) -> Result<Done> {
    match answer {
        ClaimAnswer::Done(_) => Ok(Done::Changed),
        ClaimAnswer::Gone => Ok(Done::Gone),
        ClaimAnswer::Failed(source) => Err(Error::ReplicaSet {
            verb,
            name: name.to_owned(),
            source: Box::new(source),
        }),
    }
}

fn patch_params() -> PatchParams {
    PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// A member name within a JSON pointer.
fn pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The status as a merge patch: what a status written as a whole would leave out is removed.
fn status_patch(status: &DeploymentStatus) -> Value {
    let some = |count: Option<i32>| count.filter(|count| *count != 0);
    json!({
        "observedGeneration": status.observed_generation,
        "replicas": some(status.replicas),
        "updatedReplicas": some(status.updated_replicas),
        "readyReplicas": some(status.ready_replicas),
        "availableReplicas": some(status.available_replicas),
        "unavailableReplicas": some(status.unavailable_replicas),
        "terminatingReplicas": status.terminating_replicas,
        "collisionCount": status.collision_count,
        "conditions": status.conditions.as_ref().filter(|list| !list.is_empty()),
    })
}

#[cfg(test)]
mod tests;
