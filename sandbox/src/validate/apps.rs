//! Workloads: groups apps and batch (API-390 to API-394).

use serde_json::Value;

use super::{
    error::{FieldError, FieldErrorKind},
    gofmt::quote,
    pod::TEMPLATE,
    rule::{Check, Path, Report, Row, Table, at, text_at},
    selector::LABEL_SELECTOR,
    text,
};
use crate::selector::LabelSelector;

pub(super) const KINDS: &[(&str, &str, Table)] = &[
    ("apps", "Deployment", &[Row("spec", Check::Members(DEPLOYMENT))]),
    ("apps", "ReplicaSet", &[Row("spec", Check::Members(REPLICA_SET))]),
    (
        "apps",
        "StatefulSet",
        &[Row("spec", Check::Members(STATEFUL_SET))],
    ),
    ("apps", "DaemonSet", &[Row("spec", Check::Members(DAEMON_SET))]),
    (
        "apps",
        "ControllerRevision",
        &[Row("revision", Check::NotNegative)],
    ),
    (
        "",
        "ReplicationController",
        &[Row("spec", Check::Members(REPLICATION_CONTROLLER))],
    ),
    (
        "batch",
        "Job",
        &[
            Row("spec", Check::Members(JOB)),
            Row("", Check::With(generated_selector)),
        ],
    ),
    ("batch", "CronJob", &[Row("spec", Check::Members(CRON_JOB))]),
];

const DEPLOYMENT: Table = &[
    Row("replicas", Check::NotNegative),
    Row(
        "",
        Check::With(|report, path, spec| selector(report, path, spec, "deployment")),
    ),
    Row(
        "",
        Check::With(|report, path, spec| template(report, path, spec, true)),
    ),
    Row("strategy", Check::With(deployment_strategy)),
    Row("minReadySeconds", Check::NotNegative),
    Row("revisionHistoryLimit", Check::NotNegative),
    Row("", Check::With(progress_deadline)),
];

const REPLICA_SET: Table = &[
    Row("replicas", Check::NotNegative),
    Row("minReadySeconds", Check::NotNegative),
    Row(
        "",
        Check::With(|report, path, spec| selector(report, path, spec, "deployment")),
    ),
    Row(
        "",
        Check::With(|report, path, spec| template(report, path, spec, true)),
    ),
];

const STATEFUL_SET: Table = &[
    Row("podManagementPolicy", Check::With(pod_management_policy)),
    Row("updateStrategy", Check::With(stateful_set_strategy)),
    Row("replicas", Check::NotNegative),
    Row("minReadySeconds", Check::NotNegative),
    Row(
        "",
        Check::With(|report, path, spec| selector(report, path, spec, "statefulset")),
    ),
    Row(
        "",
        Check::With(|report, path, spec| template(report, path, spec, false)),
    ),
];

const DAEMON_SET: Table = &[
    Row(
        "selector",
        Check::With(|report, path, value| checked_selector(report, path, value, "daemonset")),
    ),
    Row(
        "",
        Check::With(|report, path, spec| template(report, path, spec, false)),
    ),
    Row("minReadySeconds", Check::NotNegative),
    Row("updateStrategy", Check::With(daemon_set_strategy)),
    Row("revisionHistoryLimit", Check::NotNegative),
];

const REPLICATION_CONTROLLER: Table = &[
    Row("minReadySeconds", Check::NotNegative),
    Row("selector", Check::Required),
    Row("replicas", Check::NotNegative),
    Row("template", Check::Members(TEMPLATE)),
];

const JOB: Table = &[
    Row("parallelism", Check::NotNegative),
    Row("completions", Check::NotNegative),
    Row("activeDeadlineSeconds", Check::NotNegative),
    Row("backoffLimit", Check::NotNegative),
    Row("ttlSecondsAfterFinished", Check::NotNegative),
    Row("selector", Check::Members(LABEL_SELECTOR)),
    Row("template", Check::Members(TEMPLATE)),
    Row("", Check::With(job_restart_policy)),
];

const CRON_JOB: Table = &[
    Row("schedule", Check::With(schedule)),
    Row("startingDeadlineSeconds", Check::NotNegative),
    Row("timeZone", Check::With(time_zone)),
    Row("concurrencyPolicy", Check::OneOf(&["Allow", "Forbid", "Replace"])),
    Row("jobTemplate", Check::Members(&[Row("spec", Check::Members(JOB))])),
    Row("successfulJobsHistoryLimit", Check::NotNegative),
    Row("failedJobsHistoryLimit", Check::NotNegative),
];

fn selector(report: &mut Report, path: &Path<'_>, spec: &Value, workload: &str) {
    let path = path.member("selector");
    match spec.get("selector") {
        None | Some(Value::Null) => report.required(&path, ""),
        Some(selector) => checked_selector(report, &path, selector, workload),
    }
}

fn checked_selector(report: &mut Report, path: &Path<'_>, selector: &Value, workload: &str) {
    if selector.is_null() {
        return;
    }
    report.check(path, selector, LABEL_SELECTOR);
    match LabelSelector::from_value(selector) {
        Ok(Some(parsed)) if parsed.is_empty() => {
            report.invalid(
                path,
                selector,
                &format!("empty selector is invalid for {workload}"),
            );
        }
        Err(_) => report.invalid(path, selector, "invalid label selector"),
        Ok(_) => {}
    }
}

/// The template has to match the selector, and its pods are restarted for ever.
fn template(report: &mut Report, path: &Path<'_>, spec: &Value, in_replica_set: bool) {
    let Ok(selector) = LabelSelector::from_value(at(spec, "selector")) else {
        return;
    };
    let path = path.member("template");
    let template = at(spec, "template");
    let labels = at(template, "metadata.labels");
    if !selector.is_some_and(|selector| selector.matches(labels)) {
        let path = path.member("metadata");
        report.invalid(
            &path.member("labels"),
            labels,
            "`selector` does not match template `labels`",
        );
    }
    report.check(&path, template, TEMPLATE);
    let path = path.member("spec");
    let policy = at(template, "spec.restartPolicy");
    if !policy.is_null() && policy != "Always" {
        report.not_supported(&path.member("restartPolicy"), policy, &["Always"]);
    }
    if in_replica_set && !at(template, "spec.activeDeadlineSeconds").is_null() {
        let reason = "activeDeadlineSeconds in ReplicaSet is not Supported";
        report.forbidden(&path.member("activeDeadlineSeconds"), reason);
    }
}

/// `{"Type":"X","RollingUpdate":null}`: a strategy as messages show it.
fn show_strategy(strategy: &Value) -> String {
    format!(
        "{{\"Type\":{},\"RollingUpdate\":{}}}",
        quote(text_at(strategy, "type")),
        at(strategy, "rollingUpdate")
    )
}

fn unsupported_strategy(report: &mut Report, path: &Path<'_>, strategy: &Value, supported: &str) {
    let detail = format!("{}: supported values: {supported}", show_strategy(strategy));
    report.push(FieldError::new(
        FieldErrorKind::NotSupported,
        path.to_string(),
        detail,
    ));
}

fn deployment_strategy(report: &mut Report, path: &Path<'_>, strategy: &Value) {
    let path_rolling = path.member("rollingUpdate");
    let rolling = at(strategy, "rollingUpdate");
    match text_at(strategy, "type") {
        "Recreate" => {
            if !rolling.is_null() {
                report.forbidden(
                    &path_rolling,
                    "may not be specified when strategy `type` is 'Recreate'",
                );
            }
        }
        "RollingUpdate" => {
            let (unavailable, surge) = (at(rolling, "maxUnavailable"), at(rolling, "maxSurge"));
            int_or_percent(report, &path_rolling.member("maxUnavailable"), unavailable);
            int_or_percent(report, &path_rolling.member("maxSurge"), surge);
            if is_zero(unavailable) && is_zero(surge) {
                let problem = "may not be 0 when `maxSurge` is 0";
                report.invalid(&path_rolling.member("maxUnavailable"), unavailable, problem);
            }
            not_above_100_percent(report, &path_rolling.member("maxUnavailable"), unavailable);
        }
        _ => unsupported_strategy(report, path, strategy, "\"Recreate\", \"RollingUpdate\""),
    }
}

fn daemon_set_strategy(report: &mut Report, path: &Path<'_>, strategy: &Value) {
    match text_at(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let path = path.member("rollingUpdate");
            let rolling = at(strategy, "rollingUpdate");
            let (unavailable, surge) = (at(rolling, "maxUnavailable"), at(rolling, "maxSurge"));
            int_or_percent(report, &path.member("maxUnavailable"), unavailable);
            int_or_percent(report, &path.member("maxSurge"), surge);
            match (is_zero(unavailable), is_zero(surge)) {
                (true, true) => {
                    report.required(&path.member("maxUnavailable"), "cannot be 0 when maxSurge is 0");
                }
                (false, false) => {
                    let problem = "may not be set when maxUnavailable is non-zero";
                    report.invalid(&path.member("maxSurge"), surge, problem);
                }
                _ => {}
            }
            not_above_100_percent(report, &path.member("maxUnavailable"), unavailable);
        }
        _ => unsupported_strategy(report, path, strategy, "\"RollingUpdate\", \"OnDelete\""),
    }
}

fn pod_management_policy(report: &mut Report, path: &Path<'_>, policy: &Value) {
    if !matches!(policy.as_str(), Some("OrderedReady" | "Parallel")) {
        report.invalid(path, policy, "must be 'OrderedReady' or 'Parallel'");
    }
}

fn stateful_set_strategy(report: &mut Report, path: &Path<'_>, strategy: &Value) {
    match text_at(strategy, "type") {
        "RollingUpdate" => {
            let path = path.member("rollingUpdate");
            report.not_negative(&path.member("partition"), at(strategy, "rollingUpdate.partition"));
        }
        "OnDelete" => {
            if !at(strategy, "rollingUpdate").is_null() {
                let problem = "only allowed for updateStrategy 'RollingUpdate'";
                report.invalid(
                    &path.member("rollingUpdate"),
                    at(strategy, "rollingUpdate"),
                    problem,
                );
            }
        }
        _ => {
            let detail = format!(
                "{}: must be 'RollingUpdate' or 'OnDelete'",
                show_strategy(strategy)
            );
            report.push(FieldError::new(FieldErrorKind::Invalid, path.to_string(), detail));
        }
    }
}

/// A count that is not negative, or a percentage.
pub(super) fn int_or_percent(report: &mut Report, path: &Path<'_>, value: &Value) {
    match value.as_str() {
        Some(text) if text::percent(text).is_none() => report.invalid(path, value, text::PERCENT),
        Some(_) => {}
        None => report.not_negative(path, value),
    }
}

pub(super) fn not_above_100_percent(report: &mut Report, path: &Path<'_>, value: &Value) {
    if value
        .as_str()
        .and_then(text::percent)
        .is_some_and(|percent| percent > 100)
    {
        report.invalid(path, value, "must not be greater than 100%");
    }
}

fn is_zero(value: &Value) -> bool {
    match value.as_str() {
        Some(text) => text::percent(text) == Some(0),
        None => value.as_i64().unwrap_or_default() == 0,
    }
}

fn progress_deadline(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let path = path.member("progressDeadlineSeconds");
    let deadline = at(spec, "progressDeadlineSeconds");
    let Some(seconds) = deadline.as_i64() else { return };
    report.not_negative(&path, deadline);
    if seconds <= at(spec, "minReadySeconds").as_i64().unwrap_or_default() {
        report.invalid(&path, deadline, "must be greater than minReadySeconds");
    }
}

fn job_restart_policy(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let policy = text_at(spec, "template.spec.restartPolicy");
    if !matches!(policy, "OnFailure" | "Never") {
        let path = path.member("template");
        let path = path.member("spec");
        report.required(
            &path.member("restartPolicy"),
            "valid values: \"OnFailure\", \"Never\"",
        );
    }
}

/// Without manualSelector the selector is the one that the server made (API-323).
fn generated_selector(report: &mut Report, path: &Path<'_>, job: &Value) {
    let spec = at(job, "spec");
    if at(spec, "manualSelector") == &Value::Bool(true) {
        return;
    }
    let path = path.member("spec");
    let selector = at(spec, "selector");
    let generated = serde_json::json!({
        "matchLabels": {"batch.kubernetes.io/controller-uid": at(job, "metadata.uid")},
    });
    if selector.is_null() || *selector == generated {
        return;
    }
    report.invalid(
        &path.member("selector"),
        selector,
        "`selector` not auto-generated",
    );
    let labels = at(spec, "template.metadata.labels");
    if !matches!(LabelSelector::from_value(selector), Ok(Some(parsed)) if parsed.matches(labels)) {
        let path = path.member("template");
        let path = path.member("metadata");
        report.invalid(
            &path.member("labels"),
            labels,
            "`selector` does not match template `labels`",
        );
    }
}

/// Five fields, or one of the `@` names (API-394).
fn schedule(report: &mut Report, path: &Path<'_>, value: &Value) {
    const NAMED: &[&str] = &[
        "@yearly",
        "@annually",
        "@monthly",
        "@weekly",
        "@daily",
        "@midnight",
        "@hourly",
    ];
    const RANGES: [(u32, u32); 5] = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
    let text = value.as_str().unwrap_or_default();
    if text.is_empty() {
        report.required(path, "");
        return;
    }
    if text.contains("TZ=") {
        report.invalid(
            path,
            value,
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        );
        return;
    }
    if NAMED.contains(&text) || text.starts_with("@every ") {
        return;
    }
    if text.starts_with('@') {
        report.invalid(path, value, &format!("unrecognized descriptor: {text}"));
        return;
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != 5 {
        let problem = format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        );
        report.invalid(path, value, &problem);
        return;
    }
    for (field, range) in fields.iter().zip(RANGES) {
        if let Some(problem) = field.split(',').find_map(|part| schedule_part(part, range)) {
            report.invalid(path, value, &problem);
            return;
        }
    }
}

/// What is wrong with `*`, `*/5`, `1-5`, `1-10/2`, `MON`.
fn schedule_part(part: &str, (low, high): (u32, u32)) -> Option<String> {
    const NAMES: &[&str] = &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "sun", "mon",
        "tue", "wed", "thu", "fri", "sat",
    ];
    let (range, step) = part
        .split_once('/')
        .map_or((part, None), |(range, step)| (range, Some(step)));
    if let Some(step) = step {
        match step.parse::<u32>() {
            Ok(0) => return Some(format!("step of range should be a positive number: {part}")),
            Ok(_) => {}
            Err(_) => {
                return Some(format!(
                    "failed to parse int from {step}: strconv.Atoi: parsing {step:?}: invalid syntax"
                ));
            }
        }
    }
    if matches!(range, "*" | "?") {
        return None;
    }
    range.splitn(2, '-').find_map(|bound| {
        if NAMES.contains(&bound.to_lowercase().as_str()) {
            return None;
        }
        match bound.parse::<u32>() {
            Ok(number) if number < low => Some(format!(
                "beginning of range ({number}) below minimum ({low}): {part}"
            )),
            Ok(number) if number > high => {
                Some(format!("end of range ({number}) above maximum ({high}): {part}"))
            }
            Ok(_) => None,
            Err(_) => Some(format!(
                "failed to parse int from {bound}: strconv.Atoi: parsing {bound:?}: invalid syntax"
            )),
        }
    })
}

fn time_zone(report: &mut Report, path: &Path<'_>, value: &Value) {
    let Some(zone) = value.as_str() else { return };
    if zone.is_empty() {
        report.invalid(path, value, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("local") {
        report.invalid(
            path,
            value,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    } else if jiff::tz::TimeZone::get(zone).is_err() {
        report.invalid(path, value, &format!("unknown time zone {zone}"));
    }
}
