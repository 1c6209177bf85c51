//! Explanations for a person.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use steersman_deployment::explain::{Deadline, Explanation, Phase};
use steersman_deployment::plan::hold::Hold;
use steersman_replicaset::action::Action as PodAction;
use steersman_replicaset::explain::{Blocked, Explanation as ReplicaSetExplanation};
use steersman_shared::clock::{self, Spoken};
use steersman_shared::obstacle::Obstacle;
use steersman_shared::opt_out::{BY_NOBODY, MANAGED};

use super::{DeploymentReport, LookReason, NextLook, OptOut, ReplicaSetReport};

/// Pods named for one reason; the rest is counted.
const NAMED_PODS: usize = 4;
/// Deletions listed for one ReplicaSet; the rest is counted.
const LISTED_DELETES: usize = 3;

/// Text in the making: headings, and points below them.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, indent: usize, line: impl Display) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{:indent$}{line}", "");
    }

    fn heading(&mut self, title: &str) {
        self.text.push('\n');
        self.line(0, title);
    }
}

/// A Deployment: state, plan, holds, deadline, next look.
pub(super) fn deployment(report: &DeploymentReport) -> String {
    let told = &report.explanation;
    let mut page = Page::default();
    page.line(
        0,
        format_args!("Deployment {}/{}: {}", report.namespace, report.name, state(told)),
    );
    page.line(2, budget(told));
    replica_sets(&mut page, told);
    opted_out(&mut page, report.opt_out.as_ref());

    page.heading("Next");
    let mut next: Vec<String> = told.next.iter().map(|step| step.text.clone()).collect();
    for plan in &report.replica_set_plans {
        next.extend(pod_steps(plan).map(|step| format!("ReplicaSet {}: {step}", plan.name)));
    }
    if next.is_empty() {
        next.push("nothing to write".to_owned());
    }
    for step in next {
        page.line(2, format_args!("- {step}"));
    }
    holds(&mut page, report);
    if let Some(deadline) = &told.deadline {
        page.heading("Progress deadline");
        page.line(2, passes(deadline, told.phase, report));
    }
    page.heading("Next look");
    page.line(
        2,
        next_look(report.next_look, "it, its ReplicaSets or their pods"),
    );
    page.text
}

/// A ReplicaSet: pods, plan, holds, next look.
pub(super) fn replica_set(report: &ReplicaSetReport) -> String {
    let told = &report.explanation;
    let counts = &told.pods;
    let mut page = Page::default();
    page.line(
        0,
        format_args!(
            "ReplicaSet {}/{}: {} of {} pods available, {} ready, {} exist",
            report.namespace, told.name, counts.available, counts.desired, counts.ready, counts.active
        ),
    );
    for (count, what) in [
        (counts.terminating, "terminating, not counted"),
        (counts.finished, "failed or succeeded, not counted"),
    ] {
        if count > 0 {
            page.line(2, format_args!("{} {what}", pods(count)));
        }
    }
    if let Some(controller) = &told.controller {
        page.line(
            2,
            format_args!("controlled by {}", controller.replacen('/', " ", 1)),
        );
    }
    opted_out(&mut page, report.opt_out.as_ref());
    page.heading("Next");
    let steps: Vec<String> = pod_steps(told).collect();
    if steps.is_empty() {
        page.line(2, "- nothing to write");
    }
    for step in steps {
        page.line(2, format_args!("- {step}"));
    }
    let blocked: Vec<&Blocked> = told.blocked.iter().collect();
    if !told.held_by.is_empty() || !blocked.is_empty() || told.failure.is_some() {
        page.heading("Held by");
        for hold in &told.held_by {
            page.line(2, format_args!("- {hold}"));
        }
        failure(&mut page, 2, told, report.at);
        reasons(&mut page, 2, &blocked, "", report.at);
    }
    page.heading("Next look");
    page.line(2, next_look(report.next_look, "it or its pods"));
    page.text
}

fn opted_out(page: &mut Page, opt_out: Option<&OptOut>) {
    let Some(OptOut { on, value }) = opt_out else {
        return;
    };
    let effect = match value.as_str() {
        BY_NOBODY => "steersman leaves it alone; below is what it would do without",
        _ => "steersman leaves it to the native controller, where there is one",
    };
    page.line(
        2,
        format_args!("annotation {MANAGED}={value} on the {on}: {effect}"),
    );
}

fn state(told: &Explanation) -> String {
    let mut state = told.phase.to_string();
    if let Some(revision) = told.revision.as_deref().filter(|it| !it.is_empty()) {
        let _ = write!(state, ", revision {revision}");
    }
    let counts = &told.pods;
    format!(
        "{state}: {} of {} pods updated, {} ready, {} available",
        counts.updated, counts.desired, counts.ready, counts.available
    )
}

fn budget(told: &Explanation) -> String {
    let (desired, budget) = (told.pods.desired, &told.budget);
    match told.strategy.as_str() {
        "RollingUpdate" => format!(
            "RollingUpdate: at most {} pods ({desired} and a surge of {}), at least {} available ({} may be missing)",
            budget.most, budget.surge, budget.fewest, budget.unavailable
        ),
        "Recreate" => "Recreate: all old pods go before the first new one comes".to_owned(),
        other => format!("{other}: not a strategy of Deployments"),
    }
}

fn replica_sets(page: &mut Page, told: &Explanation) {
    let is_idle = |it: &&steersman_deployment::explain::Member| {
        !it.is_new && it.size == 0 && it.pods == 0 && it.terminating == 0
    };
    let shown: Vec<_> = told.replica_sets.iter().filter(|it| !is_idle(it)).collect();
    let width = shown
        .iter()
        .map(|it| it.name.len())
        .max()
        .unwrap_or_default()
        .max(10);
    if !shown.is_empty() {
        page.line(
            2,
            format_args!(
                "{:5}{:width$}  REVISION  SIZE  PODS  READY  AVAILABLE  TERMINATING",
                "", "REPLICASET"
            ),
        );
    }
    for it in shown {
        let role = if it.is_new { "new" } else { "old" };
        page.line(
            2,
            format_args!(
                "{role:5}{:width$}  {:<8}  {:<4}  {:<4}  {:<5}  {:<9}  {}",
                it.name, it.revision, it.size, it.pods, it.ready, it.available, it.terminating
            ),
        );
    }
    let idle = told.replica_sets.iter().filter(is_idle).count();
    if idle > 0 {
        let plural = if idle == 1 { "" } else { "s" };
        page.line(2, format_args!("and {idle} old ReplicaSet{plural} without pods"));
    }
}

/// The steps of a ReplicaSet, with long runs of deletions cut short.
fn pod_steps(plan: &ReplicaSetExplanation) -> impl Iterator<Item = String> + '_ {
    let is_delete =
        |step: &&steersman_replicaset::explain::Step| matches!(step.action, PodAction::DeletePod { .. });
    let deletes = plan.next.iter().filter(is_delete).count();
    let cut = (deletes > LISTED_DELETES).then(|| {
        format!(
            "delete {} more: as many as are too many",
            pods(deletes - LISTED_DELETES)
        )
    });
    let listed = plan.next.iter().filter(is_delete).take(LISTED_DELETES);
    let others = plan.next.iter().filter(move |step| !is_delete(step));
    let deletions = listed.map(|step| step.text.clone()).chain(cut);
    deletions.chain(others.map(|step| step.text.clone()))
}

fn holds(page: &mut Page, report: &DeploymentReport) {
    let told = &report.explanation;
    let plan_of = |name: &str| report.replica_set_plans.iter().find(|it| it.name == name);
    let missing = |it: &&Blocked| !matches!(it.obstacle, Obstacle::Terminating { .. });
    let mut told_about: Vec<&str> = Vec::new();
    let mut lines = Page::default();
    if let Some(refused) = &told.refused {
        lines.line(2, format_args!("- the new ReplicaSet was refused: {refused}"));
    }
    for hold in &told.held_by {
        lines.line(2, format_args!("- {hold}"));
        for plan in hold.replica_sets().iter().filter_map(|name| plan_of(name)) {
            if told_about.contains(&plan.name.as_str()) {
                continue;
            }
            told_about.push(&plan.name);
            failure(&mut lines, 4, plan, report.at);
            let leaving = matches!(hold, Hold::OldPods { .. });
            let blocked: Vec<&Blocked> = plan.blocked.iter().filter(|it| leaving || missing(it)).collect();
            reasons(&mut lines, 4, &blocked, &plan.name, report.at);
            let absent = i64::from(plan.pods.desired) - i64::try_from(plan.pods.active).unwrap_or(i64::MAX);
            if leaving && plan.pods.active > 0 {
                lines.line(
                    4,
                    format_args!("- {} of {} not deleted yet", pods(plan.pods.active), plan.name),
                );
            } else if !leaving && absent > 0 && plan.failure.is_none() {
                let absent = pods(usize::try_from(absent).unwrap_or_default());
                lines.line(4, format_args!("- {absent} of {} not created yet", plan.name));
            }
        }
    }
    for plan in &report.replica_set_plans {
        for hold in &plan.held_by {
            lines.line(2, format_args!("- ReplicaSet {}: {hold}", plan.name));
        }
        if told_about.contains(&plan.name.as_str()) {
            continue;
        }
        failure(&mut lines, 2, plan, report.at);
        let blocked: Vec<&Blocked> = plan.blocked.iter().filter(missing).collect();
        reasons(&mut lines, 2, &blocked, &plan.name, report.at);
    }
    if !lines.text.is_empty() {
        page.heading("Held by");
        page.text.push_str(&lines.text);
    }
}

fn failure(page: &mut Page, indent: usize, plan: &ReplicaSetExplanation, now: Timestamp) {
    let Some(failure) = &plan.failure else { return };
    let what = if failure.reason == "FailedDelete" {
        "deleted"
    } else {
        "created"
    };
    let since = failure.since.map_or_else(String::new, |since| {
        format!(
            " (first {} ago; tried again with growing pauses)",
            Spoken(clock::since(now, since))
        )
    });
    page.line(
        indent,
        format_args!(
            "- pods of {} cannot be {what}: {}{since}",
            plan.name, failure.message
        ),
    );
}

/// Pods by what is the matter with them, the most frequent trouble first.
fn reasons(page: &mut Page, indent: usize, blocked: &[&Blocked], replica_set: &str, now: Timestamp) {
    let mut groups: Vec<(String, Vec<&Blocked>)> = Vec::new();
    for &it in blocked {
        let text = it.obstacle.to_string();
        match groups.iter_mut().find(|(known, _)| *known == text) {
            Some((_, group)) => group.push(it),
            None => groups.push((text, vec![it])),
        }
    }
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(group.len()));
    for (text, group) in groups {
        let of = if replica_set.is_empty() {
            String::new()
        } else {
            format!(" of {replica_set}")
        };
        page.line(indent, format_args!("- {}{of}: {text}", pods(group.len())));
        let more = group.len().saturating_sub(NAMED_PODS);
        let and_more = if more > 0 {
            format!("and {more} more")
        } else {
            String::new()
        };
        let first = group.iter().take(NAMED_PODS);
        if group.iter().all(|it| it.obstacle.detail(now).is_empty()) {
            let names: Vec<&str> = first.map(|it| it.pod.as_str()).collect();
            page.line(indent + 4, format!("{} {and_more}", names.join(", ")).trim_end());
            continue;
        }
        for it in first {
            let detail = it.obstacle.detail(now);
            let detail = if detail.is_empty() {
                detail
            } else {
                format!(" ({detail})")
            };
            page.line(indent + 4, format_args!("{}{detail}", it.pod));
        }
        if more > 0 {
            page.line(indent + 4, and_more);
        }
    }
}

fn passes(deadline: &Deadline, phase: Phase, report: &DeploymentReport) -> String {
    let length = Spoken(Duration::from_secs(
        u64::try_from(deadline.seconds).unwrap_or_default(),
    ));
    let now = report.at;
    if deadline.is_exceeded {
        let last = deadline.since.map_or_else(String::new, |since| {
            format!("; the condition is {} old", Spoken(clock::since(now, since)))
        });
        return format!(
            "exceeded: {length} went by without progress{last}\n  the rollout goes on as soon as its pods become available; \
             or back to the former template: kubectl -n {} rollout undo deployment/{}",
            report.namespace, report.name
        );
    }
    match deadline.passes_at {
        Some(at) if at >= now => format!(
            "{length} without progress: passes at {}, in {}",
            moment(at),
            Spoken(clock::until(now, at))
        ),
        Some(at) => format!(
            "{length} without progress: passed at {}, about to be reported",
            moment(at)
        ),
        None if phase == Phase::Paused => format!("{length} without progress: does not count while paused"),
        None if phase == Phase::Complete || phase == Phase::Degraded => {
            format!("{length} without progress: does not count, the rollout is through")
        }
        None => format!("{length} without progress: counts from the first report on"),
    }
}

fn next_look(look: NextLook, of: &str) -> String {
    match look {
        NextLook::AfterWrites => "at once, when these writes show".to_owned(),
        NextLook::At {
            at,
            in_seconds,
            reason,
        } => {
            let why = match reason {
                LookReason::ProgressDeadline => "the progress deadline",
                LookReason::RolloutPolicy => "the RolloutPolicy goes on",
                LookReason::MinReadySeconds => "a pod has been ready for minReadySeconds",
            };
            let pause = Spoken(Duration::from_secs(in_seconds));
            format!(
                "at {}, in {pause} ({why}), or before, when {of} change",
                moment(at)
            )
        }
        NextLook::OnChange => format!("when {of} change"),
    }
}

/// In whole seconds.
fn moment(at: Timestamp) -> impl Display {
    at.strftime("%Y-%m-%dT%H:%M:%SZ")
}

fn pods(count: usize) -> String {
    format!("{count} pod{}", if count == 1 { "" } else { "s" })
}
