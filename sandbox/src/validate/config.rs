//! Configuration maps, secrets, nodes and other core kinds without a template (API-129, API-130, API-401).

use base64::Engine as _;
use serde_json::Value;

use super::{
    error::FieldError,
    gofmt::quote,
    pod::taint_effect,
    rule::{Check, Path, Report, Row, Table, at, is_unset, items_at, text_at},
    selector::key,
    text,
};

const MAX_DATA: usize = 1_048_576;

pub(super) const KINDS: &[(&str, &str, Table)] = &[
    ("", "ConfigMap", &[Row("", Check::With(config_map))]),
    ("", "Secret", &[Row("", Check::With(secret))]),
    (
        "",
        "Namespace",
        &[Row(
            "spec",
            Check::Members(&[Row("finalizers", Check::With(namespace_finalizers))]),
        )],
    ),
    (
        "",
        "Node",
        &[
            Row("", Check::With(node_taints)),
            Row("spec", Check::Members(NODE)),
        ],
    ),
];

const NODE: Table = &[
    Row("podCIDRs", Check::EachText(text::cidr)),
    Row("podCIDRs", Check::With(one_range_per_family)),
];

fn one_range_per_family(report: &mut Report, path: &Path<'_>, ranges: &Value) {
    let list = ranges.as_array().map_or(&[][..], Vec::as_slice);
    let of_six = |range: &&Value| range.as_str().is_some_and(|range| range.contains(':'));
    let six = list.iter().filter(of_six).count();
    if six > 1 || list.len().saturating_sub(six) > 1 {
        let problem = "may specify no more than one CIDR for each IP family";
        report.invalid(path, ranges, problem);
    }
}

/// Finalizers in the spec of a namespace are named like those of metadata.
fn namespace_finalizers(report: &mut Report, path: &Path<'_>, finalizers: &Value) {
    for finalizer in finalizers.as_array().into_iter().flatten() {
        let name = finalizer.as_str().unwrap_or_default();
        report.problems(path, finalizer, &text::qualified_name(name));
        if !name.contains('/') && name != "kubernetes" {
            let problem = "name is neither a standard finalizer name nor is it fully qualified";
            report.invalid(path, finalizer, problem);
        }
    }
}

fn config_map(report: &mut Report, path: &Path<'_>, map: &Value) {
    let mut size = 0;
    let binary = at(map, "binaryData");
    for (key, value) in at(map, "data").as_object().into_iter().flatten() {
        let path = path.member("data");
        let path = path.key(key);
        data_key(report, &path, key);
        if binary.get(key).is_some() {
            report.invalid(
                &path,
                &Value::from(key.as_str()),
                "duplicate of key present in binaryData",
            );
        }
        size += value.as_str().map_or(0, str::len);
    }
    for (key, value) in binary.as_object().into_iter().flatten() {
        data_key(report, &path.member("binaryData").key(key), key);
        size += decoded_length(value.as_str().unwrap_or_default());
    }
    if size > MAX_DATA {
        report.push(FieldError::too_long("[]", MAX_DATA));
    }
}

fn data_key(report: &mut Report, path: &Path<'_>, key: &str) {
    report.problems(path, &Value::from(key), &text::config_key(key));
}

/// Bytes that a base64 text stands for.
fn decoded_length(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|c| *c == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

fn secret(report: &mut Report, path: &Path<'_>, secret: &Value) {
    let data_path = path.member("data");
    let data = at(secret, "data");
    let mut size = 0;
    for (key, value) in data.as_object().into_iter().flatten() {
        data_key(report, &data_path.key(key), key);
        size += decoded_length(value.as_str().unwrap_or_default());
    }
    if size > MAX_DATA {
        report.push(FieldError::too_long(data_path.to_string(), MAX_DATA));
    }
    let mut needs = |key: &str| {
        if data.get(key).is_none() {
            report.required(&data_path.key(key), "");
        }
    };
    match text_at(secret, "type") {
        "kubernetes.io/tls" => {
            needs("tls.crt");
            needs("tls.key");
        }
        "kubernetes.io/ssh-auth" if data.get("ssh-privatekey").is_none_or(is_unset) => {
            report.required(&data_path.key("ssh-privatekey"), "");
        }
        "kubernetes.io/basic-auth" if data.get("username").is_none() && data.get("password").is_none() => {
            needs("username");
            needs("password");
        }
        "kubernetes.io/dockerconfigjson" => json_value(report, &data_path, data, ".dockerconfigjson"),
        "kubernetes.io/dockercfg" => json_value(report, &data_path, data, ".dockercfg"),
        "kubernetes.io/service-account-token" => {
            const NAME: &str = "kubernetes.io/service-account.name";
            let annotations = at(secret, "metadata.annotations");
            if annotations.get(NAME).is_none_or(is_unset) {
                let path = path.member("metadata");
                let path = path.member("annotations");
                report.required(&path.key(NAME), "");
            }
        }
        _ => {}
    }
}

fn json_value(report: &mut Report, path: &Path<'_>, data: &Value, key: &str) {
    let Some(encoded) = data.get(key).and_then(Value::as_str) else {
        report.required(&path.key(key), "");
        return;
    };
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&decoded) {
        report.invalid(
            &path.key(key),
            &Value::from("<secret contents redacted>"),
            &error.to_string(),
        );
    }
}

/// The path of the errors says `metadata`, as upstream's (API-401).
fn node_taints(report: &mut Report, path: &Path<'_>, node: &Value) {
    let path = path.member("metadata");
    let path = path.member("taints");
    let taints = items_at(node, "spec.taints");
    for (index, taint) in taints.iter().enumerate() {
        let path = path.item(index);
        key(report, &path.member("key"), at(taint, "key"));
        let problems = text::label_value(text_at(taint, "value"));
        report.problems(&path.member("value"), at(taint, "value"), &problems);
        if is_unset(at(taint, "effect")) {
            report.required(&path.member("effect"), "");
        } else {
            taint_effect(report, &path.member("effect"), at(taint, "effect"));
        }
        let identity = |taint: &Value| {
            (
                text_at(taint, "key").to_owned(),
                text_at(taint, "effect").to_owned(),
            )
        };
        if taints
            .iter()
            .take(index)
            .any(|other| identity(other) == identity(taint))
        {
            let detail = format!(
                "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":{}}}: taints must be unique by key and effect pair",
                quote(text_at(taint, "key")),
                quote(text_at(taint, "value")),
                quote(text_at(taint, "effect")),
                at(taint, "timeAdded")
            );
            report.push(FieldError::new(
                super::FieldErrorKind::Duplicate,
                path.to_string(),
                detail,
            ));
        }
    }
}
