//! Metrics and behavior of autoscalers (API-400).

use serde_json::Value;

use super::{
    pod::quantity,
    quantity::Quantity,
    rule::{Check, Path, Report, Row, at, is_unset, items_at, text_at},
    text,
};

const SOURCES: &[(&str, &str)] = &[
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

/// What an autoscaler scales by.
pub(super) fn metrics(report: &mut Report, path: &Path<'_>, spec: &Value) {
    const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
    let metrics = items_at(spec, "metrics");
    for (index, metric) in metrics.iter().enumerate() {
        let path = path.item(index);
        let kind = text_at(metric, "type");
        if kind.is_empty() {
            report.required(&path.member("type"), "must specify a metric source type");
        }
        let Some((_, source)) = SOURCES.iter().find(|(name, _)| *name == kind) else {
            report.not_supported(&path.member("type"), &Value::from(kind), TYPES);
            continue;
        };
        let path = path.member(source);
        match metric.get(source) {
            None => report.required(&path, "must populate information for the given metric source"),
            Some(metric) => metric_source(report, &path, kind, metric),
        }
    }
    let to_zero = at(spec, "minReplicas").as_i64() == Some(0);
    let scales_from_zero = |metric: &Value| matches!(text_at(metric, "type"), "Object" | "External");
    if to_zero && !metrics.iter().any(scales_from_zero) {
        report.forbidden(
            path,
            "must specify at least one Object or External metric to support scaling to zero replicas",
        );
    }
}

fn metric_source(report: &mut Report, path: &Path<'_>, kind: &str, source: &Value) {
    let target_path = path.member("target");
    let target = at(source, "target");
    let has = |member: &str| !at(target, member).is_null();
    match kind {
        "Object" => {
            let about = at(source, "describedObject");
            for member in ["kind", "name"] {
                if text_at(about, member).is_empty() {
                    report.required(&path.member("describedObject").member(member), "");
                }
            }
            metric_name(report, path, source);
            metric_target(report, &target_path, target);
            if !has("value") && !has("averageValue") {
                report.required(
                    &target_path.member("averageValue"),
                    "must set either a target value or averageValue",
                );
            }
        }
        "External" => {
            metric_name(report, path, source);
            metric_target(report, &target_path, target);
            match (has("value"), has("averageValue")) {
                (false, false) => report.required(
                    &target_path.member("averageValue"),
                    "must set either a target value for metric or a per-pod target",
                ),
                (true, true) => report.forbidden(
                    &target_path.member("value"),
                    "may not set both a target value for metric and a per-pod target",
                ),
                _ => {}
            }
        }
        "Pods" => {
            metric_name(report, path, source);
            metric_target(report, &target_path, target);
            if !has("averageValue") {
                report.required(
                    &target_path.member("averageValue"),
                    "must specify a positive target averageValue",
                );
            }
        }
        _ => {
            if kind == "ContainerResource" && text_at(source, "container").is_empty() {
                report.required(&path.member("container"), "must specify a container");
            }
            if text_at(source, "name").is_empty() {
                report.required(&path.member("name"), "must specify a resource name");
            }
            metric_target(report, &target_path, target);
            match (has("averageUtilization"), has("averageValue")) {
                (false, false) => report.required(
                    &target_path.member("averageUtilization"),
                    "must set either a target raw value or a target utilization",
                ),
                (true, true) => report.forbidden(
                    &target_path.member("averageValue"),
                    "may not set both a target raw value and a target utilization",
                ),
                _ => {}
            }
        }
    }
}

fn metric_name(report: &mut Report, path: &Path<'_>, source: &Value) {
    let path = path.member("metric");
    let path = path.member("name");
    let name = at(source, "metric.name");
    if is_unset(name) {
        report.required(&path, "must specify a metric name");
    } else {
        let problems = text::path_segment(name.as_str().unwrap_or_default());
        report.problems(&path, name, &problems);
    }
}

fn metric_target(report: &mut Report, path: &Path<'_>, target: &Value) {
    let kind = text_at(target, "type");
    if kind.is_empty() {
        report.required(&path.member("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let problem = "must be either Utilization, Value, or AverageValue";
        report.invalid(&path.member("type"), &Value::from(kind), problem);
    }
    for member in ["value", "averageValue"] {
        let amount = at(target, member);
        if quantity(amount).is_some_and(|amount| amount.is_negative() || amount.to_string() == "0") {
            report.invalid(&path.member(member), amount, "must be positive");
        }
    }
    let utilization = at(target, "averageUtilization");
    if utilization.as_i64().is_some_and(|percent| percent < 1) {
        report.invalid(
            &path.member("averageUtilization"),
            utilization,
            "must be greater than 0",
        );
    }
}

/// How fast an autoscaler acts.
pub(super) fn behavior(report: &mut Report, path: &Path<'_>, behavior: &Value) {
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = behavior.get(direction) {
            scaling_rules(report, &path.member(direction), rules);
        }
    }
}

fn scaling_rules(report: &mut Report, path: &Path<'_>, rules: &Value) {
    const LONGEST_WINDOW: i64 = 3600;
    const LONGEST_PERIOD: i64 = 1800;
    let window = at(rules, "stabilizationWindowSeconds");
    let window_path = path.member("stabilizationWindowSeconds");
    match window.as_i64() {
        Some(seconds) if seconds < 0 => {
            report.invalid(&window_path, window, "must be greater than or equal to zero");
        }
        Some(seconds) if seconds > LONGEST_WINDOW => {
            let problem = format!("must be less than or equal to {LONGEST_WINDOW}");
            report.invalid(&window_path, window, &problem);
        }
        _ => {}
    }
    report.check(
        path,
        rules,
        &[Row("selectPolicy", Check::OneOf(&["Disabled", "Max", "Min"]))],
    );
    let policies_path = path.member("policies");
    let policies = items_at(rules, "policies");
    if policies.is_empty() {
        report.required(&policies_path, "must specify at least one Policy");
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = policies_path.item(index);
        let kind = at(policy, "type");
        if kind != "Pods" && kind != "Percent" {
            report.not_supported(&path.member("type"), kind, &["Percent", "Pods"]);
        }
        for member in ["value", "periodSeconds"] {
            if at(policy, member).as_i64().unwrap_or_default() <= 0 {
                let shown = Value::from(at(policy, member).as_i64().unwrap_or_default());
                report.invalid(&path.member(member), &shown, "must be greater than zero");
            }
        }
        let period = at(policy, "periodSeconds");
        if period.as_i64().is_some_and(|seconds| seconds > LONGEST_PERIOD) {
            let problem = format!("must be less than or equal to {LONGEST_PERIOD}");
            report.invalid(&path.member("periodSeconds"), period, &problem);
        }
    }
    let tolerance = at(rules, "tolerance");
    if quantity(tolerance).is_some_and(Quantity::is_negative) {
        report.invalid(
            &path.member("tolerance"),
            tolerance,
            "must be greater than or equal to 0",
        );
    }
}
