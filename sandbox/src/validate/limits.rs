//! Limit ranges and resource quotas (API-347, API-505, API-509).

use serde_json::Value;

use super::{
    pod::{is_huge_pages, quantity},
    rule::{Path, Report, at, is_unset, items_at, text_at},
    text,
};

const COMPUTE: &[&str] = &["cpu", "memory", "ephemeral-storage"];
const COUNTED: &[&str] = &[
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const CONSTRAINTS: &[&str] = &["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

/// Whether a quota or a limit may name this resource without a domain.
fn is_standard(name: &str) -> bool {
    let compute = name
        .strip_prefix("requests.")
        .or_else(|| name.strip_prefix("limits."))
        .unwrap_or(name);
    COMPUTE.contains(&compute) || COUNTED.contains(&name) || compute == "storage" || is_huge_pages(compute)
}

fn standard_name(report: &mut Report, path: &Path<'_>, name: &str) {
    let shown = Value::from(name);
    let problems = text::qualified_name(name);
    report.problems(path, &shown, &problems);
    if problems.is_empty() && !name.contains('/') && !is_standard(name) {
        report.invalid(
            path,
            &shown,
            "must be a standard resource type or fully qualified",
        );
    }
}

/// Limits by type; each type once.
pub(super) fn limit_range(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let path = path.member("limits");
    let limits = items_at(spec, "limits");
    for (index, limit) in limits.iter().enumerate() {
        let path = path.item(index);
        let kind = text_at(limit, "type");
        let shown = Value::from(kind);
        let problems = text::qualified_name(kind);
        report.problems(&path.member("type"), &shown, &problems);
        let standard = matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim");
        if problems.is_empty() && !kind.contains('/') && !standard {
            let problem = "must be a standard limit type or fully qualified";
            report.invalid(&path.member("type"), &shown, problem);
        }
        if limits
            .iter()
            .take(index)
            .any(|other| text_at(other, "type") == kind)
        {
            report.duplicate(&path.member("type"), &shown);
        }
        limit_item(report, &path, kind, limit);
    }
}

fn limit_item(report: &mut Report, path: &Path<'_>, kind: &str, limit: &Value) {
    let mut names: Vec<&str> = Vec::new();
    for constraint in CONSTRAINTS {
        let path = path.member(constraint);
        let amounts = at(limit, constraint).as_object();
        if kind == "Pod" && constraint.starts_with("default") {
            if amounts.is_some_and(|amounts| !amounts.is_empty()) {
                report.forbidden(&path, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, _) in amounts.into_iter().flatten() {
            standard_name(report, &path.key(name), name);
            if !name.contains('/')
                && kind == "Container"
                && !COMPUTE.contains(&name.as_str())
                && !is_huge_pages(name)
            {
                let problem = "must be a standard resource for containers";
                report.invalid(&path.key(name), &Value::from(name.as_str()), problem);
            }
            names.push(name);
        }
    }
    if kind == "PersistentVolumeClaim"
        && ["max", "min"]
            .iter()
            .all(|bound| at(limit, bound).get("storage").is_none())
    {
        report.required(
            &path.member("limits"),
            "either minimum or maximum storage value is required, but neither was provided",
        );
    }
    names.sort_unstable();
    names.dedup();
    for name in names {
        amounts(report, path, limit, name);
    }
}

/// The amounts of one resource are in order: min ≤ default request ≤ default ≤ max.
fn amounts(report: &mut Report, path: &Path<'_>, limit: &Value, name: &str) {
    let amount = |constraint: &str| at(limit, constraint).get(name).and_then(quantity);
    let (max, min) = (amount("max"), amount("min"));
    let (default, request) = (amount("default"), amount("defaultRequest"));
    let mut refuse = |constraint: &str, problem: String| {
        // For a default upstream shows the bound that it breaks.
        let shown = match constraint {
            "default" if problem.starts_with("min") => "min",
            "default" => "max",
            other => other,
        };
        let value = at(limit, shown).get(name).unwrap_or(&Value::Null);
        report.invalid(&path.member(constraint).key(name), value, &problem);
    };
    if let (Some(min), Some(max)) = (&min, &max)
        && min > max
    {
        refuse("min", format!("min value {min} is greater than max value {max}"));
    }
    if let (Some(request), Some(min)) = (&request, &min)
        && min > request
    {
        let problem = format!("min value {min} is greater than default request value {request}");
        refuse("defaultRequest", problem);
    }
    if let (Some(request), Some(max)) = (&request, &max)
        && request > max
    {
        let problem = format!("default request value {request} is greater than max value {max}");
        refuse("defaultRequest", problem);
    }
    if let (Some(request), Some(default)) = (&request, &default)
        && request > default
    {
        let problem =
            format!("default request value {request} is greater than default limit value {default}");
        refuse("defaultRequest", problem);
    }
    if let (Some(default), Some(min)) = (&default, &min)
        && min > default
    {
        let problem = format!("min value {min} is greater than default value {default}");
        refuse("default", problem);
    }
    if let (Some(default), Some(max)) = (&default, &max)
        && default > max
    {
        let problem = format!("default value {default} is greater than max value {max}");
        refuse("default", problem);
    }
    if let Some(ratio) = amount("maxLimitRequestRatio")
        && quantity(&Value::from("1")).is_some_and(|one| ratio < one)
    {
        refuse("maxLimitRequestRatio", format!("ratio {ratio} is less than 1"));
    }
    if let (Some(ratio), Some(max), Some(min)) = (amount("maxLimitRequestRatio"), &max, &min) {
        let most = max.to_f64() / min.to_f64();
        if ratio.to_f64() > most {
            let problem = format!("ratio {ratio} is greater than max/min = {most:.6}");
            refuse("maxLimitRequestRatio", problem);
        }
    }
}

/// Amounts and scopes of a quota.
pub(super) fn quota(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let hard = path.member("hard");
    for (name, value) in at(spec, "hard").as_object().into_iter().flatten() {
        let path = hard.key(name);
        standard_name(report, &path, name);
        if !name.contains('/') && !is_standard(name) {
            let problem = "must be a standard resource for quota";
            report.invalid(&path, &Value::from(name.as_str()), problem);
        }
        let whole = COUNTED.contains(&name.as_str()) || name.contains('/');
        match quantity(value) {
            Some(amount) if amount.is_negative() => {
                report.invalid(&path, value, "must be greater than or equal to 0");
            }
            Some(amount) if whole && !amount.is_integer() => {
                report.invalid(&path, value, "must be an integer");
            }
            _ => {}
        }
    }
    scopes(report, path, spec);
    scope_selector(report, path, spec);
}

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

fn scopes(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let path = path.member("scopes");
    let all = at(spec, "scopes");
    let scopes: Vec<&str> = items_at(spec, "scopes")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for scope in &scopes {
        if !SCOPES.contains(scope) {
            report.invalid(&path, all, "unsupported scope");
        }
        let names = at(spec, "hard").as_object();
        for (name, _) in names.into_iter().flatten() {
            let of_pods = name == "pods" || name.starts_with("count/pods") || {
                let compute = name
                    .strip_prefix("requests.")
                    .or_else(|| name.strip_prefix("limits."))
                    .unwrap_or(name);
                COMPUTE.contains(&compute)
            };
            let applies = match *scope {
                "BestEffort" => name == "pods",
                "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" => of_pods,
                _ => true,
            };
            if SCOPES.contains(scope) && !applies {
                report.invalid(&path, all, "unsupported scope applied to resource");
            }
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if scopes.contains(&one) && scopes.contains(&other) {
            report.invalid(&path, all, "conflicting scopes");
        }
    }
}

fn scope_selector(report: &mut Report, path: &Path<'_>, spec: &Value) {
    const EXISTS_ONLY: &[&str] = &[
        "BestEffort",
        "NotBestEffort",
        "Terminating",
        "NotTerminating",
        "CrossNamespacePodAffinity",
    ];
    let path = path.member("scopeSelector");
    let path = path.member("matchExpressions");
    for expression in items_at(spec, "scopeSelector.matchExpressions") {
        let (scope, operator) = (text_at(expression, "scopeName"), text_at(expression, "operator"));
        if !SCOPES.contains(&scope) {
            report.invalid(
                &path.member("scopeName"),
                at(expression, "scopeName"),
                "unsupported scope",
            );
        }
        if EXISTS_ONLY.contains(&scope) && operator != "Exists" {
            let problem = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            report.invalid(&path.member("operator"), at(expression, "operator"), problem);
        }
        let values = at(expression, "values");
        match operator {
            "In" | "NotIn" if is_unset(values) => report.required(
                &path.member("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if !is_unset(values) => report.invalid(
                &path.member("values"),
                values,
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => report.invalid(
                &path.member("operator"),
                at(expression, "operator"),
                "not a valid selector operator",
            ),
        }
    }
}
