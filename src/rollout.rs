//! `steersman rollout`: how far a rollout in steps is, and the two annotations that steer it. Anybody may set them with
//! kubectl as well; this finds the right values and says when they would mean nothing.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use steersman_crds::rollout_policy::{DeploymentSummary, Phase};
use steersman_deployment::action::{ABORT, PROMOTE};
use steersman_deployment::observe::Observer;
use steersman_deployment::plan::policy::marks::Promotion;
use steersman_deployment::plan::policy::overview;
use steersman_shared::api;
use steersman_shared::clock::{Clock as _, SystemClock};
use steersman_shared::objects::ObjectKey;

use crate::cli::{RolloutArgs, RolloutObject, RolloutVerb};
use crate::explain::Reader;

/// Who writes, in `managedFields`.
const FIELD_MANAGER: &str = "steersman-rollout";

/// Carries out one verb.
///
/// # Errors
///
/// The cluster is not reached, the Deployment follows no policy, or its rollout is not where the verb means something.
pub(crate) async fn run(args: RolloutArgs) -> anyhow::Result<()> {
    let text = match args.verb {
        RolloutVerb::Status(object) => Rollout::find(object).await?.status(),
        RolloutVerb::Promote { all, object } => Rollout::find(object).await?.promote(all).await?,
        RolloutVerb::Abort(object) => Rollout::find(object).await?.abort().await?,
    };
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("standard output")
}

/// The rollout of one Deployment.
struct Rollout {
    reader: Reader,
    key: ObjectKey,
    policy: String,
    summary: DeploymentSummary,
}

impl Rollout {
    async fn find(object: RolloutObject) -> anyhow::Result<Self> {
        let (reader, key) = Reader::connect(&object.cluster, object.object).await?;
        let informers = reader.around(&key).await?;
        let snapshot = Observer::new(&informers)
            .snapshot(&key)
            .with_context(|| format!("Deployment {key} cannot be planned"))?
            .with_context(|| format!("Deployment {key} not found"))?;
        let Some(governed) = &snapshot.governed else {
            bail!(
                "no RolloutPolicy of namespace {} selects Deployment {}: nothing holds its rollouts (kubectl rollout status \
                 and undo work as ever)",
                key.namespace,
                key.name
            );
        };
        Ok(Self {
            policy: governed.policy.name.clone(),
            summary: overview::summary(&snapshot, SystemClock.now()),
            reader,
            key,
        })
    }

    fn status(&self) -> String {
        let summary = &self.summary;
        let mut text = format!("Deployment {}: {}", self.key, summary.phase);
        if let Some(revision) = summary.revision {
            let _ = write!(text, ", revision {revision}");
        }
        if let (Some(step), Some(steps)) = (summary.step, summary.steps) {
            let _ = write!(text, ", step {step} of {steps}");
        }
        let _ = writeln!(text, "\npolicy: {}", self.policy);
        if let Some(message) = &summary.message {
            let _ = writeln!(text, "{message}");
        }
        if summary.step.is_some() {
            let _ = writeln!(
                text,
                "on:   steersman rollout promote {key}\nback: steersman rollout abort {key}",
                key = self.key
            );
        }
        text
    }

    async fn promote(&self, all: bool) -> anyhow::Result<String> {
        self.check_running("promoted")?;
        let (Some(step), Some(steps), Some(revision)) =
            (self.summary.step, self.summary.steps, self.summary.revision)
        else {
            bail!(
                "the rollout of Deployment {} is in no step of RolloutPolicy {} (phase {}): there is nothing to promote",
                self.key,
                self.policy,
                self.summary.phase
            );
        };
        let promotion = Promotion {
            revision,
            step: if all { None } else { usize::try_from(step).ok() },
        };
        self.annotate(PROMOTE, &promotion.to_string()).await?;
        let what = if all {
            format!("all steps of revision {revision}")
        } else {
            format!("step {step} of {steps} of revision {revision}")
        };
        let waits = matches!(self.summary.phase, Phase::AwaitingPromotion | Phase::StepPaused);
        let then = if waits || all {
            ""
        } else {
            "; it goes on once the pods of the step are available"
        };
        Ok(format!("Deployment {}: {what} promoted{then}\n", self.key))
    }

    async fn abort(&self) -> anyhow::Result<String> {
        self.check_running("aborted")?;
        if matches!(self.summary.phase, Phase::Complete | Phase::RolledBack) {
            bail!(
                "the rollout of Deployment {} is not under way (phase {}): to go back from a complete revision use kubectl \
                 rollout undo",
                self.key,
                self.summary.phase
            );
        }
        let revision = self.summary.revision.unwrap_or_default();
        self.annotate(ABORT, &revision.to_string()).await?;
        Ok(format!("Deployment {}: revision {revision} aborted\n", self.key))
    }

    /// A paused Deployment is left alone, whatever its annotations say.
    fn check_running(&self, done: &str) -> anyhow::Result<()> {
        if self.summary.phase == Phase::Paused {
            bail!(
                "Deployment {key} is paused and cannot be {done}: kubectl rollout resume deployment/{name} -n {namespace} first",
                key = self.key,
                name = self.key.name,
                namespace = self.key.namespace
            );
        }
        Ok(())
    }

    async fn annotate(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.reader.client.clone(), &self.key.namespace);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { (key): value } } }));
        match api.patch(&self.key.name, &params, &patch).await {
            Ok(_) => Ok(()),
            Err(error) => bail!("patch Deployment {}: {}", self.key, api::message(&error)),
        }
    }
}
