//! The status of a RolloutPolicy: what it selects, how far each rollout is, and what of it is not in force.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use steersman_crds::RolloutPolicy;
use steersman_crds::rollout_policy::{DeploymentSummary, Phase, RolloutPolicyStatus};
use steersman_shared::objects::Deployment;
use steersman_shared::wire::{FALSE, TRUE};

use super::{Assessment, Policy, Stop, assess, revision};
use crate::action::{
    EFFECTIVE, IN_FORCE, INVALID_SELECTOR, NO_DEADLINE_TO_PASS, NO_ROLLBACK, NOTHING_SELECTED,
    OLDER_POLICY_HOLDS, POLICY_ROLLED_BACK, SELECTED, SELECTING, STEPS_NEED_ROLLING_UPDATE,
};
use crate::plan::{Draft, Snapshot, Strategy, conditions, is_paused, strategy};

/// Most Deployments that a status names.
const LISTED: usize = 100;

/// Everything that the status of a policy is made from.
#[derive(Clone, Debug)]
pub struct Overview {
    /// The policy.
    pub policy: std::sync::Arc<RolloutPolicy>,
    /// Its checked form.
    pub checked: Policy,
    /// What is wrong with its selector; it selects nothing then.
    pub bad_selector: Option<String>,
    /// Selected Deployments that follow it, by name.
    pub followers: Vec<Snapshot>,
    /// Selected Deployments that follow an older policy, and which.
    pub overruled: BTreeMap<String, String>,
}

/// What a status says of one Deployment.
pub type Summary = DeploymentSummary;

/// How far the rollout of a Deployment is.
#[must_use]
pub fn summary(snapshot: &Snapshot, now: Timestamp) -> Summary {
    let deployment = snapshot.deployment.as_ref();
    let family = Draft::new(snapshot, now).family;
    let assessment = assess(deployment, &family, snapshot.governed.as_ref(), now);
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let since = match &assessment.stop {
        // Whole seconds, as they are stored.
        Some(Stop::Step { since, .. }) => Timestamp::from_second(since.as_second()).ok().map(Time),
        _ => None,
    };
    let (phase, message) = phase(deployment, &assessment);
    Summary {
        name: deployment.metadata.name.clone().unwrap_or_default(),
        phase,
        revision: Some(revision(&family)),
        step: assessment.step.map(|(step, _)| number(step)),
        steps: assessment.step.map(|(_, steps)| number(steps)),
        paused_since: since,
        message,
    }
}

fn phase(deployment: &Deployment, assessment: &Assessment) -> (Phase, Option<String>) {
    if let Some(why) = &assessment.stranded {
        return (Phase::Failed, Some(why.clone()));
    }
    if is_paused(deployment) {
        return (Phase::Paused, None);
    }
    if let Some(note) = &assessment.rolled_back {
        let message = format!(
            "back from revision {} to revision {}: {}",
            note.from_revision, note.to_revision, note.message
        );
        return (Phase::RolledBack, Some(message));
    }
    let message = assessment.stop.as_ref().map(ToString::to_string);
    match &assessment.stop {
        Some(Stop::Step { until: None, .. }) => return (Phase::AwaitingPromotion, message),
        Some(Stop::Step { until: Some(_), .. }) => return (Phase::StepPaused, message),
        Some(Stop::Pace { .. }) => return (Phase::Progressing, message),
        None => {}
    }
    if conditions::is_complete(deployment, &deployment.status) {
        return (Phase::Complete, None);
    }
    if conditions::timed_out(&deployment.status).is_some() {
        let message = "the progress deadline passed".to_owned();
        return (Phase::Failed, Some(message));
    }
    (Phase::Progressing, None)
}

/// The status of a policy.
#[must_use]
pub fn status(overview: &Overview, now: Timestamp) -> RolloutPolicyStatus {
    let mut summaries: Vec<Summary> = overview.followers.iter().map(|it| summary(it, now)).collect();
    summaries.sort_by(|a, b| {
        Reverse(a.phase)
            .cmp(&Reverse(b.phase))
            .then_with(|| a.name.cmp(&b.name))
    });
    let first = summaries.first();
    let selected = overview.followers.len() + overview.overruled.len();
    let step = first.and_then(|it| Some(format!("{}/{}", it.step?, it.steps?)));
    let (phase, message) = (
        first.map(|it| it.phase),
        first.and_then(|it| Some(format!("{}: {}", it.name, it.message.as_deref()?))),
    );
    let mut status = RolloutPolicyStatus {
        observed_generation: overview.policy.metadata.generation,
        selected: i32::try_from(selected).ok(),
        phase,
        step,
        message,
        deployments: Vec::new(),
        conditions: Vec::new(),
    };
    let wanted = [
        selecting(overview, selected),
        effective(overview),
        rolled_back(&summaries),
    ];
    let stored = overview.policy.status.as_ref();
    status.conditions = wanted
        .into_iter()
        .map(|it| it.condition(overview, stored, now))
        .collect();
    summaries.truncate(LISTED);
    summaries.sort_by(|a, b| a.name.cmp(&b.name));
    status.deployments = summaries;
    status
}

/// A condition before it has its times.
struct Verdict {
    type_: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn condition(
        self,
        overview: &Overview,
        stored: Option<&RolloutPolicyStatus>,
        now: Timestamp,
    ) -> Condition {
        let status = if self.holds { TRUE } else { FALSE };
        let before = stored.and_then(|it| it.conditions.iter().find(|it| it.type_ == self.type_));
        let since = before
            .filter(|it| it.status == status)
            .map_or(Time(now), |it| it.last_transition_time.clone());
        Condition {
            type_: self.type_.to_owned(),
            status: status.to_owned(),
            reason: self.reason.to_owned(),
            message: self.message,
            last_transition_time: since,
            observed_generation: overview.policy.metadata.generation,
        }
    }
}

fn selecting(overview: &Overview, selected: usize) -> Verdict {
    let verdict = |holds, reason, message| Verdict {
        type_: SELECTING,
        holds,
        reason,
        message,
    };
    match &overview.bad_selector {
        Some(problem) => verdict(
            false,
            INVALID_SELECTOR,
            format!("spec.deploymentSelector: {problem}"),
        ),
        None if selected == 0 => verdict(
            false,
            NOTHING_SELECTED,
            "no Deployment of this namespace has one of these names or labels".to_owned(),
        ),
        None if selected == 1 => verdict(true, SELECTED, "selects 1 Deployment".to_owned()),
        None => verdict(true, SELECTED, format!("selects {selected} Deployments")),
    }
}

/// Names, the first few of them.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let shown = names.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn effective(overview: &Overview) -> Verdict {
    let verdict = |holds, reason, message| Verdict {
        type_: EFFECTIVE,
        holds,
        reason,
        message,
    };
    let followers = |is_meant: &dyn Fn(&Deployment) -> bool| {
        let meant = overview.followers.iter().map(|it| it.deployment.as_ref());
        let names: Vec<&str> = meant
            .filter(|it| is_meant(it))
            .filter_map(|it| it.metadata.name.as_deref())
            .collect();
        (!names.is_empty()).then(|| listed(names.into_iter()))
    };
    if !overview.overruled.is_empty() {
        let pairs: Vec<String> = overview
            .overruled
            .iter()
            .map(|(deployment, policy)| format!("{deployment} follows {policy}"))
            .collect();
        let message = format!(
            "an older policy holds: {}; select each Deployment by one policy only",
            listed(pairs.iter().map(String::as_str))
        );
        return verdict(false, OLDER_POLICY_HOLDS, message);
    }
    let checked = &overview.checked;
    if !checked.steps.is_empty() || checked.pace.is_positive() {
        let recreate = |it: &Deployment| strategy(it) == Strategy::Recreate;
        if let Some(names) = followers(&recreate) {
            let message = format!(
                "steps and minReadyBetweenBatchesSeconds need the strategy RollingUpdate; these have Recreate: {names}"
            );
            return verdict(false, STEPS_NEED_ROLLING_UPDATE, message);
        }
    }
    if checked.triggers.is_some_and(|it| it.on_deadline) {
        let endless = |it: &Deployment| conditions::deadline(it).is_none();
        if let Some(names) = followers(&endless) {
            let message = format!(
                "autoRollback.onProgressDeadline needs spec.progressDeadlineSeconds, which these lack: {names}"
            );
            return verdict(false, NO_DEADLINE_TO_PASS, message);
        }
    }
    verdict(true, IN_FORCE, "all that it asks for is in force".to_owned())
}

fn rolled_back(summaries: &[Summary]) -> Verdict {
    let back = || summaries.iter().filter(|it| it.phase == Phase::RolledBack);
    let one = |it: &Summary| format!("{}: {}", it.name, it.message.as_deref().unwrap_or_default());
    let message = match back().count() {
        0 => None,
        1 => back().next().map(one),
        _ => Some(listed(back().map(|it| it.name.as_str()))),
    };
    let holds = message.is_some();
    let none = || "no Deployment runs a revision that a rollback led to".to_owned();
    Verdict {
        type_: POLICY_ROLLED_BACK,
        holds,
        reason: if holds { "RolledBack" } else { NO_ROLLBACK },
        message: message.unwrap_or_else(none),
    }
}
