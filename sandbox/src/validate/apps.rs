//! Workloads: groups apps and batch (API-390 to API-394).

use serde_json::Value;

use super::{
    error::{FieldError, FieldErrorKind},
    gofmt::{quote, show},
    others,
    pod::TEMPLATE,
    rule::{Check, Path, Report, Row, Table, at, is_unset, items_at, text_at},
    selector::{LABEL_SELECTOR, key},
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
        &[
            Row("data", Check::RequiredBecause("data is mandatory")),
            Row("revision", Check::NotNegative),
        ],
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
        Check::With(|report, path, spec| template(report, path, spec, "ReplicaSet")),
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
        Check::With(|report, path, spec| template(report, path, spec, "ReplicaSet")),
    ),
];

const STATEFUL_SET: Table = &[
    Row("serviceName", Check::Text(text::dns_label)),
    Row("podManagementPolicy", Check::With(pod_management_policy)),
    Row("updateStrategy", Check::With(stateful_set_strategy)),
    Row(
        "persistentVolumeClaimRetentionPolicy",
        Check::Members(&[
            Row("whenDeleted", Check::OneOf(RETENTION)),
            Row("whenScaled", Check::OneOf(RETENTION)),
        ]),
    ),
    Row("replicas", Check::NotNegative),
    Row("minReadySeconds", Check::NotNegative),
    Row("ordinals", Check::Members(&[Row("start", Check::NotNegative)])),
    Row(
        "volumeClaimTemplates",
        Check::Items(&[Row("spec", Check::With(others::claim))]),
    ),
    Row(
        "",
        Check::With(|report, path, spec| selector(report, path, spec, "statefulset")),
    ),
    Row(
        "",
        Check::With(|report, path, spec| template(report, path, spec, "StatefulSet")),
    ),
];

const RETENTION: &[&str] = &["Retain", "Delete"];

const DAEMON_SET: Table = &[
    Row(
        "selector",
        Check::With(|report, path, value| checked_selector(report, path, value, "daemonset")),
    ),
    Row(
        "",
        Check::With(|report, path, spec| template(report, path, spec, "DaemonSet")),
    ),
    Row("minReadySeconds", Check::NotNegative),
    Row("updateStrategy", Check::With(daemon_set_strategy)),
    Row("revisionHistoryLimit", Check::NotNegative),
];

const REPLICATION_CONTROLLER: Table = &[
    Row("minReadySeconds", Check::NotNegative),
    Row("selector", Check::Required),
    Row("replicas", Check::NotNegative),
    Row("", Check::With(controller_template)),
];

const JOB: Table = &[
    Row("parallelism", Check::NotNegative),
    Row("completions", Check::NotNegative),
    Row("activeDeadlineSeconds", Check::NotNegative),
    Row("backoffLimit", Check::NotNegative),
    Row("ttlSecondsAfterFinished", Check::NotNegative),
    Row("backoffLimitPerIndex", Check::NotNegative),
    Row("maxFailedIndexes", Check::NotNegative),
    Row("managedBy", Check::With(managed_by)),
    Row("completionMode", Check::OneOf(&["NonIndexed", "Indexed"])),
    Row("", Check::With(job_indexes)),
    Row("podFailurePolicy", Check::Members(POD_FAILURE_POLICY)),
    Row("", Check::With(pod_replacement_policy)),
    Row("selector", Check::Members(LABEL_SELECTOR)),
    Row("template", Check::With(check_template)),
    Row("", Check::With(job_restart_policy)),
];

const POD_FAILURE_POLICY: Table = &[Row(
    "rules",
    Check::Items(&[
        Row(
            "action",
            Check::OneOf(&["Count", "FailIndex", "FailJob", "Ignore"]),
        ),
        Row("onExitCodes", Check::With(exit_codes)),
        Row(
            "onPodConditions",
            Check::Items(&[
                Row("type", Check::With(key)),
                Row("status", Check::OneOf(&["False", "True", "Unknown"])),
            ]),
        ),
        Row("", Check::With(failure_rule)),
    ]),
)];

fn exit_codes(report: &mut Report, path: &Path<'_>, codes: &Value) {
    if codes.is_null() {
        return;
    }
    let operator = at(codes, "operator");
    if operator != "In" && operator != "NotIn" {
        report.not_supported(&path.member("operator"), operator, &["In", "NotIn"]);
    }
    let path = path.member("values");
    let values = items_at(codes, "values");
    if values.is_empty() {
        let none = Value::Array(Vec::new());
        report.invalid(&path, &none, "at least one value is required");
    }
    for (index, value) in values.iter().enumerate() {
        if operator == "In" && value.as_i64() == Some(0) {
            report.invalid(&path.item(index), value, "must not be 0 for the In operator");
        }
        if values.iter().take(index).any(|other| other == value) {
            report.duplicate(&path.item(index), value);
        }
    }
    if values
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a.as_i64() > b.as_i64()))
    {
        report.invalid(&path, at(codes, "values"), "must be ordered");
    }
}

fn failure_rule(report: &mut Report, path: &Path<'_>, rule: &Value) {
    let problem = match (
        is_unset(at(rule, "onExitCodes")),
        is_unset(at(rule, "onPodConditions")),
    ) {
        (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        _ => return,
    };
    let path = path.to_string();
    report.push(FieldError::new(FieldErrorKind::Invalid, path, problem));
}

fn managed_by(report: &mut Report, path: &Path<'_>, value: &Value) {
    if value.as_str().is_some_and(|name| !name.contains('/')) {
        let problem = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        report.invalid(path, value, problem);
    }
}

/// What only jobs with completions by index have.
fn job_indexes(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let indexed = at(spec, "completionMode") == "Indexed";
    let completions = at(spec, "completions");
    if indexed && completions.is_null() {
        report.required(&path.member("completions"), "when completion mode is Indexed");
    }
    let (per_index, max_failed) = (at(spec, "backoffLimitPerIndex"), at(spec, "maxFailedIndexes"));
    let path_per_index = path.member("backoffLimitPerIndex");
    if per_index.is_null() && !max_failed.is_null() {
        report.required(&path_per_index, "when maxFailedIndexes is specified");
    }
    if !indexed {
        for (path, value) in [
            (&path_per_index, per_index),
            (&path.member("maxFailedIndexes"), max_failed),
        ] {
            if !value.is_null() {
                report.invalid(path, value, "requires indexed completion mode");
            }
        }
    } else if let (Some(failed), Some(all)) = (max_failed.as_i64(), completions.as_i64())
        && failed > all
    {
        let problem = "must be less than or equal to completions";
        report.invalid(&path.member("maxFailedIndexes"), max_failed, problem);
    }
    let path = path.member("successPolicy");
    for (index, rule) in items_at(spec, "successPolicy.rules").iter().enumerate() {
        if is_unset(at(rule, "succeededCount")) && is_unset(at(rule, "succeededIndexes")) {
            report.required(
                &path.member("rules").item(index),
                "at least one of succeededCount or succeededIndexes must be specified",
            );
        }
    }
}

fn pod_replacement_policy(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let policy = at(spec, "podReplacementPolicy");
    let supported: &[&str] = if at(spec, "podFailurePolicy").is_null() {
        &["Failed", "TerminatingOrFailed"]
    } else {
        &["Failed"]
    };
    if policy.as_str().is_some_and(|policy| !supported.contains(&policy)) {
        report.not_supported(&path.member("podReplacementPolicy"), policy, supported);
    }
}

/// Selector and template of a replication controller.
fn controller_template(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let path = path.member("template");
    let template = at(spec, "template");
    if is_unset(at(template, "spec.containers")) && at(template, "metadata") == &serde_json::json!({}) {
        report.required(&path, "");
        return;
    }
    let wanted = at(spec, "selector").as_object();
    let labels = at(template, "metadata.labels");
    let fits = |(key, value): (&String, &Value)| labels.get(key) == Some(value);
    if wanted.is_some_and(|wanted| !wanted.is_empty() && !wanted.iter().all(fits)) {
        let path = path.member("metadata");
        report.invalid(
            &path.member("labels"),
            labels,
            "`selector` does not match template `labels`",
        );
    }
    check_template(report, &path, template);
    let path = path.member("spec");
    let policy = at(template, "spec.restartPolicy");
    if !policy.is_null() && policy != "Always" {
        report.not_supported(&path.member("restartPolicy"), policy, &["Always"]);
    }
    if !at(template, "spec.activeDeadlineSeconds").is_null() {
        let reason = "activeDeadlineSeconds in ReplicationController is not Supported";
        report.forbidden(&path.member("activeDeadlineSeconds"), reason);
    }
}

const CRON_JOB: Table = &[
    Row("schedule", Check::With(schedule)),
    Row("startingDeadlineSeconds", Check::NotNegative),
    Row("timeZone", Check::With(time_zone)),
    Row("concurrencyPolicy", Check::OneOf(&["Allow", "Forbid", "Replace"])),
    Row(
        "jobTemplate",
        Check::Members(&[
            Row("spec", Check::Members(JOB)),
            Row("spec", Check::With(template_of_jobs)),
        ]),
    ),
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
    match (usable_selector(selector), workload) {
        (Ok(Some(parsed)), _) if parsed.is_empty() => {
            report.invalid(
                path,
                selector,
                &format!("empty selector is invalid for {workload}"),
            );
        }
        (Err(Unusable), "deployment") => report.invalid(path, selector, "invalid label selector"),
        (Err(Unusable), "statefulset") => {
            let detail = show(selector);
            report.push(FieldError::new(FieldErrorKind::Invalid, path.to_string(), detail));
        }
        _ => {}
    }
}

/// The template has to match the selector, and its pods are restarted for ever.
fn template(report: &mut Report, path: &Path<'_>, spec: &Value, workload: &str) {
    let Ok(selector) = usable_selector(at(spec, "selector")) else {
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
    check_template(report, &path, template);
    let path = path.member("spec");
    let policy = at(template, "spec.restartPolicy");
    if !policy.is_null() && policy != "Always" {
        report.not_supported(&path.member("restartPolicy"), policy, &["Always"]);
    }
    if !at(template, "spec.activeDeadlineSeconds").is_null() {
        let reason = format!("activeDeadlineSeconds in {workload} is not Supported");
        report.forbidden(&path.member("activeDeadlineSeconds"), &reason);
    }
}

/// A selector that cannot be evaluated; what is wrong has been reported where it stands.
struct Unusable;

/// The selector, if there is one.
fn usable_selector(selector: &Value) -> Result<Option<LabelSelector>, Unusable> {
    let mut report = Report::default();
    report.check(&Path::root(), selector, LABEL_SELECTOR);
    if !report.errors.is_empty() {
        return Err(Unusable);
    }
    LabelSelector::from_value(selector).map_err(|_| Unusable)
}

/// A template, whose labels and annotations are reported without their `metadata`, and which has no ephemeral
/// containers.
fn check_template(report: &mut Report, path: &Path<'_>, template: &Value) {
    report.check(path, template, TEMPLATE);
    if !is_unset(at(template, "spec.ephemeralContainers")) {
        let path = path.member("spec");
        report.forbidden(
            &path.member("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
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
                let rolling = at(strategy, "rollingUpdate");
                let detail = format!(
                    "{{\"Partition\":{},\"MaxUnavailable\":{}}}: only allowed for updateStrategy 'RollingUpdate'",
                    at(rolling, "partition").as_i64().unwrap_or_default(),
                    at(rolling, "maxUnavailable")
                );
                let path = path.member("rollingUpdate").to_string();
                report.push(FieldError::new(FieldErrorKind::Invalid, path, detail));
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

/// What is no percentage counts as none.
fn is_zero(value: &Value) -> bool {
    match value.as_str() {
        Some(text) => text::percent(text).unwrap_or_default() == 0,
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
    let policy = at(spec, "template.spec.restartPolicy");
    let path = path.member("template");
    let path = path.member("spec");
    let path = path.member("restartPolicy");
    match policy.as_str().unwrap_or_default() {
        "OnFailure" | "Never" => {}
        "" | "Always" => report.required(&path, "valid values: \"OnFailure\", \"Never\""),
        _ => report.not_supported(&path, policy, &["OnFailure", "Never"]),
    }
}

/// Without manualSelector the selector is the one that the server made (API-323).
fn generated_selector(report: &mut Report, path: &Path<'_>, job: &Value) {
    let spec = at(job, "spec");
    let path = path.member("spec");
    let selector = at(spec, "selector");
    let labels = at(spec, "template.metadata.labels");
    if at(spec, "manualSelector") == &Value::Bool(true) {
        if selector.is_null() {
            report.required(&path.member("selector"), "");
        }
        if !matches!(usable_selector(selector), Ok(Some(parsed)) if parsed.matches(labels)) {
            let path = path.member("template");
            let path = path.member("metadata");
            report.invalid(
                &path.member("labels"),
                labels,
                "`selector` does not match template `labels`",
            );
        }
        return;
    }
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
    if NAMED.contains(&text) {
        return;
    }
    if let Some(duration) = text.strip_prefix("@every ") {
        if !is_duration(duration) {
            let problem = format!("failed to parse duration {text}: time: invalid duration {duration:?}");
            report.invalid(path, value, &problem);
        }
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

/// `1h30m`, `90s`, `1.5h`.
fn is_duration(text: &str) -> bool {
    let unsigned = text.trim_start_matches(['+', '-']);
    let mut rest = unsigned;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let unit = ["ns", "us", "µs", "ms", "s", "m", "h"]
            .into_iter()
            .filter(|unit| digits.starts_with(unit))
            .max_by_key(|unit| unit.len());
        let Some(unit) = unit.filter(|_| digits.len() < rest.len()) else {
            return false;
        };
        rest = digits.strip_prefix(unit).unwrap_or_default();
    }
    !unsigned.is_empty()
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
    let numbers: Vec<Option<u32>> = range.splitn(2, '-').map(|bound| bound.parse().ok()).collect();
    if let [Some(first), Some(last)] = numbers.as_slice()
        && first > last
    {
        return Some(format!(
            "beginning of range ({first}) beyond end of range ({last}): {part}"
        ));
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

/// The selector of each job is made with it.
fn template_of_jobs(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let manual = at(spec, "manualSelector");
    if manual == &Value::Bool(true) {
        let supported = ["nil", "false"];
        report.not_supported(&path.member("manualSelector"), manual, &supported);
    }
    let selector = at(spec, "selector");
    if !selector.is_null() {
        report.invalid(
            &path.member("selector"),
            selector,
            "`selector` will be auto-generated",
        );
    }
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
