//! `RolloutPolicy`: how the rollouts of some Deployments go (ASK-1, ASK-2 of `docs/specs/workloads.md`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelectorRequirement, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Default of [`AutoRollback::window_seconds`]: ten minutes, the default progress deadline of a Deployment.
const WINDOW_SECONDS: i32 = 600;

/// What a RolloutPolicy asks for.
///
/// Without a policy, and for what it leaves out, a Deployment rolls out as it always did. If several policies select one
/// Deployment, the oldest holds.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "steersman.dev",
    version = "v1alpha1",
    kind = "RolloutPolicy",
    plural = "rolloutpolicies",
    shortname = "rpol",
    namespaced,
    status = "RolloutPolicyStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "How the rollouts of some Deployments of this namespace go: in steps, at which pace, and when back by themselves.",
    printcolumn = r#"{"name": "Deployments", "type": "integer", "jsonPath": ".status.selected", "description": "Deployments that it selects"}"#,
    printcolumn = r#"{"name": "Phase", "type": "string", "jsonPath": ".status.phase", "description": "Of the Deployment that needs attention most"}"#,
    printcolumn = r#"{"name": "Step", "type": "string", "jsonPath": ".status.step", "description": "Step of that Deployment"}"#,
    printcolumn = r#"{"name": "Effective", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Effective\")].status", "description": "Whether all of it is in force"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.message", "description": "What that Deployment waits for", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.autoRollback) || has(self.steps) || has(self.minReadyBetweenBatchesSeconds)")
    .message("spec asks for nothing: set autoRollback, steps or minReadyBetweenBatchesSeconds"))]
pub struct RolloutPolicySpec {
    /// Which Deployments of the policy's namespace follow it.
    pub deployment_selector: DeploymentSelector,
    /// When a rollout goes back by itself. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_rollback: Option<AutoRollback>,
    /// A rollout of a new pod template stops at each step in turn, goes on after the last one, and is held at none of
    /// them on its way back to a template that was complete before. Absent: no stops. Only for the strategy
    /// RollingUpdate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    #[x_kube(validation = Rule::new("self.filter(s, has(s.pods)).map(s, s.pods).isSorted() && \
        self.filter(s, has(s.percent)).map(s, s.percent).isSorted()")
        .message("steps: pods or percent become fewer from one step to a later one: sort the steps, ascending"))]
    #[x_kube(validation = Rule::new("self.all(a, has(a.pods) == has(a.percent) || self.exists_one(b, \
        has(a.pods) ? has(b.pods) && a.pods == b.pods : has(b.percent) && a.percent == b.percent))")
        .message("steps: two steps ask for the same pods or percent: keep one of them"))]
    pub steps: Option<Vec<Step>>,
    /// Seconds for which all new pods have to be available before the next batch of them is created; the progress
    /// deadline becomes longer by the same time. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86400))]
    pub min_ready_between_batches_seconds: Option<i32>,
}

/// Deployments by name or by label.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.names) != (has(self.matchLabels) || has(self.matchExpressions))")
    .message("deploymentSelector selects by names or by labels: give either names, or matchLabels and matchExpressions; for both write two policies"))]
pub struct DeploymentSelector {
    /// Names of Deployments, which need not exist yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub names: Option<Vec<String>>,
    /// Labels that a Deployment must have. An empty map selects all Deployments of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// Requirements on the labels of a Deployment, all of which must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_expressions: Option<Vec<LabelSelectorRequirement>>,
}

/// When a rollout goes back to the last revision that was complete.
///
/// Once per revision: a template that was rolled back and comes again is left as it is, and so is the revision that a
/// rollback led to. A paused Deployment is never rolled back.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.onProgressDeadline || has(self.maxPodRestarts) || has(self.maxCrashLoopingPods)")
    .message("autoRollback has no trigger: set onProgressDeadline to true, or maxPodRestarts or maxCrashLoopingPods"))]
pub struct AutoRollback {
    /// Back when the Deployment's progress deadline passes.
    #[serde(default = "yes")]
    pub on_progress_deadline: bool,
    /// Back when the containers of one new pod restarted more often than this within windowSeconds of its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_pod_restarts: Option<i32>,
    /// Back when more new pods than this are in a crash loop at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_crash_looping_pods: Option<i32>,
    /// Seconds from the start of a pod in which its restarts count, and seconds after the completion of a rollout in
    /// which restarts and crash loops still lead back.
    #[serde(default = "window_seconds")]
    #[schemars(range(min = 1, max = 86400))]
    pub window_seconds: i32,
}

impl Default for AutoRollback {
    fn default() -> Self {
        Self {
            on_progress_deadline: yes(),
            max_pod_restarts: None,
            max_crash_looping_pods: None,
            window_seconds: window_seconds(),
        }
    }
}

fn yes() -> bool {
    true
}

fn window_seconds() -> i32 {
    WINDOW_SECONDS
}

/// One stop of a rollout.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.pods) != has(self.percent)")
    .message("a step asks for a number of pods or for a percentage: give either pods or percent"))]
pub struct Step {
    /// New pods at this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub pods: Option<i32>,
    /// New pods at this step, in percent of the Deployment's replicas; rounds up. The whole comes after the last step
    /// by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 99))]
    pub percent: Option<i32>,
    /// Seconds to wait once the pods of this step are available. Absent: until somebody promotes the rollout with
    /// `steersman rollout promote`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub pause_seconds: Option<i32>,
}

/// What a policy does at present.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutPolicyStatus {
    /// Generation of the policy that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Number of Deployments that it selects, those that follow an older policy included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected: Option<i32>,
    /// Phase of the Deployment that needs attention most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Its step, as in `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The Deployments that follow it, by name; at most 100 of them, those that need attention first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deployments: Vec<DeploymentSummary>,
    /// `Selecting`: it selects Deployments. `Effective`: all that it asks for is in force. `RolledBack`: a Deployment
    /// runs a revision that a rollback led to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// How far the rollout of one Deployment is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentSummary {
    /// Name of the Deployment.
    pub name: String,
    /// How far it is.
    pub phase: Phase,
    /// Revision of its pod template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Step, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i32>,
    /// Number of steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<i32>,
    /// When the step's pause began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<Time>,
    /// What it waits for, or why it went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// The new pods are all there.
    #[default]
    Complete,
    /// The Deployment is paused by its user.
    Paused,
    /// Under way.
    Progressing,
    /// The revision is one that a rollback led to.
    RolledBack,
    /// Waits at a step for its time.
    StepPaused,
    /// Waits at a step for a promotion.
    AwaitingPromotion,
    /// Failed, and there is no way back.
    Failed,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Complete => "Complete",
            Self::Paused => "Paused",
            Self::Progressing => "Progressing",
            Self::RolledBack => "RolledBack",
            Self::StepPaused => "StepPaused",
            Self::AwaitingPromotion => "AwaitingPromotion",
            Self::Failed => "Failed",
        })
    }
}
