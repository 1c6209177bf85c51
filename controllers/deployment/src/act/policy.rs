//! Writes the status of RolloutPolicies.

use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use steersman_crds::RolloutPolicy;
use steersman_shared::api::{self, REQUEST_DEADLINE, within};
use steersman_shared::context::Context;
use steersman_shared::lease::WriteToken;
use steersman_shared::metrics::Actions;
use steersman_shared::objects::ObjectKey;
use steersman_shared::sink::{Done, Sink};
use steersman_shared::writes::{Writes, Written};

use super::FIELD_MANAGER;
use crate::action::PolicyStatusWrite;
use crate::{Error, Result};

/// Writes to the API server.
pub(crate) struct Live {
    client: kube::Client,
    writes: Writes,
    actions: Actions,
}

impl Live {
    pub(crate) fn new(ctx: &Context, writes: Writes, actions: Actions) -> Self {
        Self {
            client: ctx.client.clone(),
            writes,
            actions,
        }
    }

    /// The sink of one sync.
    pub(crate) fn sync<'a>(&'a self, key: &'a ObjectKey, token: WriteToken) -> Sync<'a> {
        Sync {
            policies: Api::namespaced(self.client.clone(), &key.namespace),
            live: self,
            key,
            token,
        }
    }
}

/// Writes for one policy.
pub(crate) struct Sync<'a> {
    live: &'a Live,
    key: &'a ObjectKey,
    token: WriteToken,
    policies: Api<RolloutPolicy>,
}

impl Sink<PolicyStatusWrite> for Sync<'_> {
    type Done = Done;
    type Error = Error;

    async fn apply(&self, write: &PolicyStatusWrite) -> Result<Done> {
        self.token.check()?;
        let result = self.write(write).await;
        self.live.actions.count("status", &result);
        result
    }
}

impl Sync<'_> {
    async fn write(&self, write: &PolicyStatusWrite) -> Result<Done> {
        let target = &write.target;
        let (status, empty) = (&write.status, json!(null));
        // A merge patch: what the new status leaves out is removed by name.
        let patch = json!({
            "metadata": { "uid": target.uid, "resourceVersion": target.resource_version },
            "status": {
                "observedGeneration": status.observed_generation,
                "selected": status.selected,
                "phase": status.phase,
                "step": status.step,
                "message": status.message,
                "deployments": if status.deployments.is_empty() { empty } else { json!(status.deployments) },
                "conditions": status.conditions,
            },
        });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(patch);
        let answer = self.policies.patch_status(&target.name, &params, &patch);
        match within(REQUEST_DEADLINE, answer).await {
            Ok(stored) => {
                let written = Written::answered::<RolloutPolicy>(&stored.metadata);
                self.live.writes.record(self.key, written);
                Ok(Done::Changed)
            }
            Err(source) if api::is_not_found(&source) => Ok(Done::Gone),
            Err(source) => {
                self.live
                    .writes
                    .record_failure::<RolloutPolicy>(self.key, &source);
                Err(Error::Policy {
                    source: Box::new(source),
                })
            }
        }
    }
}
