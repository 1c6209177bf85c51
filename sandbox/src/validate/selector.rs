//! Label selectors and node selectors inside objects (API-388, API-390).

use serde_json::Value;

use super::{
    error::FieldError,
    rule::{Check, Path, Report, Row, Table, at, items_at, text_at},
    text,
};

/// A label selector of metav1.
pub(super) const LABEL_SELECTOR: Table = &[
    Row("matchLabels", Check::Labels),
    Row(
        "matchExpressions",
        Check::Items(&[
            Row("", Check::With(label_requirement)),
            Row("key", Check::With(key)),
        ]),
    ),
];

/// A term of a node selector.
pub(super) const NODE_SELECTOR_TERM: Table = &[
    Row(
        "matchExpressions",
        Check::Items(&[
            Row("", Check::With(node_requirement)),
            Row("key", Check::With(key)),
        ]),
    ),
    Row(
        "matchFields",
        Check::Items(&[Row("", Check::With(field_requirement))]),
    ),
];

/// A label key, empty ones refused too.
pub(super) fn key(report: &mut Report, path: &Path<'_>, value: &Value) {
    let text = value.as_str().unwrap_or_default();
    for problem in text::qualified_name(text) {
        report.push(FieldError::invalid(path.to_string(), &Value::from(text), problem));
    }
}

fn label_requirement(report: &mut Report, path: &Path<'_>, requirement: &Value) {
    set_requirement(report, path, requirement, false);
}

fn node_requirement(report: &mut Report, path: &Path<'_>, requirement: &Value) {
    set_requirement(report, path, requirement, true);
}

fn set_requirement(report: &mut Report, path: &Path<'_>, requirement: &Value, compares: bool) {
    let values_path = path.member("values");
    let values = items_at(requirement, "values");
    match text_at(requirement, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            report.required(
                &values_path,
                "must be specified when `operator` is 'In' or 'NotIn'",
            );
        }
        "In" | "NotIn" => {}
        "Exists" | "DoesNotExist" => {
            if !values.is_empty() {
                report.forbidden(
                    &values_path,
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
        }
        "Gt" | "Lt" if compares => {
            if values.len() != 1 {
                report.required(
                    &values_path,
                    "must be specified single value when `operator` is 'Lt' or 'Gt'",
                );
            }
        }
        operator => report.invalid(
            &path.member("operator"),
            &Value::from(operator),
            "not a valid selector operator",
        ),
    }
    if !compares {
        for (index, value) in values.iter().enumerate() {
            let problems = text::label_value(value.as_str().unwrap_or_default());
            report.problems(&values_path.item(index), value, &problems);
        }
    }
}

fn field_requirement(report: &mut Report, path: &Path<'_>, requirement: &Value) {
    match text_at(requirement, "operator") {
        "In" | "NotIn" => {
            if items_at(requirement, "values").len() != 1 {
                let reason =
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                report.required(&path.member("values"), reason);
            }
        }
        operator => report.invalid(
            &path.member("operator"),
            &Value::from(operator),
            "not a valid selector operator",
        ),
    }
    if text_at(requirement, "key") == "metadata.name" {
        for (index, value) in items_at(requirement, "values").iter().enumerate() {
            let problems = text::dns_subdomain(value.as_str().unwrap_or_default());
            report.problems(&path.member("values").item(index), value, &problems);
        }
    } else {
        report.invalid(
            &path.member("key"),
            at(requirement, "key"),
            "not a valid field selector key",
        );
    }
}
