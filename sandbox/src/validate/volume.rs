//! Sources of volumes (API-384).

use serde_json::Value;

use super::{
    others,
    pod::quantity,
    quantity::Quantity,
    rule::{Check, Path, Report, Row, Table, at, is_unset, items_at, text_at},
    text,
};

/// The source of a volume, whichever it is.
pub(super) fn sources(report: &mut Report, path: &Path<'_>, volume: &Value) {
    report.check(path, volume, SOURCES);
}

const SOURCES: Table = &[
    Row("emptyDir", Check::With(empty_dir)),
    Row(
        "hostPath",
        Check::Members(&[
            Row("path", Check::Required),
            Row("path", Check::Text(text::no_way_up)),
            Row(
                "type",
                Check::OneOf(&[
                    "",
                    "BlockDevice",
                    "CharDevice",
                    "Directory",
                    "DirectoryOrCreate",
                    "File",
                    "FileOrCreate",
                    "Socket",
                ]),
            ),
        ]),
    ),
    Row(
        "secret",
        Check::Members(&[
            Row("secretName", Check::Required),
            Row("defaultMode", Check::With(mode)),
            Row("items", Check::Items(KEY_TO_PATH)),
        ]),
    ),
    Row(
        "nfs",
        Check::Members(&[
            Row("server", Check::Required),
            Row("path", Check::Required),
            Row("path", Check::With(absolute)),
        ]),
    ),
    Row(
        "iscsi",
        Check::Members(&[Row("targetPortal", Check::Required), Row("iqn", Check::Required)]),
    ),
    Row(
        "persistentVolumeClaim",
        Check::Members(&[Row("claimName", Check::Required)]),
    ),
    Row("downwardAPI", Check::With(downward)),
    Row(
        "configMap",
        Check::Members(&[
            Row("name", Check::Required),
            Row("defaultMode", Check::With(mode)),
            Row("items", Check::Items(KEY_TO_PATH)),
        ]),
    ),
    Row("projected", Check::With(projected)),
    Row(
        "csi",
        Check::Members(&[
            Row("driver", Check::Required),
            Row("driver", Check::Text(text::dns_subdomain)),
        ]),
    ),
    Row("ephemeral", Check::With(ephemeral)),
    Row(
        "image",
        Check::Members(&[
            Row("reference", Check::Required),
            Row("pullPolicy", Check::OneOf(&["Always", "IfNotPresent", "Never"])),
        ]),
    ),
];

const KEY_TO_PATH: Table = &[
    Row("key", Check::Required),
    Row("path", Check::Required),
    Row("path", Check::Text(text::path_below)),
    Row("mode", Check::With(mode)),
];

fn mode(report: &mut Report, path: &Path<'_>, mode: &Value) {
    if mode.as_i64().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        let problem = "must be a number between 0 and 0777 (octal), both inclusive";
        report.invalid(path, mode, problem);
    }
}

fn absolute(report: &mut Report, path: &Path<'_>, target: &Value) {
    let text = target.as_str().unwrap_or_default();
    if !text.starts_with('/') {
        report.invalid(path, &Value::from(text), "must be an absolute path");
    }
}

fn empty_dir(report: &mut Report, path: &Path<'_>, source: &Value) {
    if quantity(at(source, "sizeLimit")).is_some_and(Quantity::is_negative) {
        let reason = "SizeLimit field must be a valid resource quantity";
        report.forbidden(&path.member("sizeLimit"), reason);
    }
}

/// Files with what a pod knows of itself. Reported without their index.
fn downward(report: &mut Report, path: &Path<'_>, source: &Value) {
    mode(report, &path.member("defaultMode"), at(source, "defaultMode"));
    for item in items_at(source, "items") {
        downward_item(report, path, item);
    }
}

fn downward_item(report: &mut Report, path: &Path<'_>, item: &Value) {
    const FIELDS: &[&str] = &[
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
    ];
    let target = text_at(item, "path");
    if target.is_empty() {
        report.required(&path.member("path"), "");
    }
    report.problems(&path.member("path"), at(item, "path"), &text::path_below(target));
    match (item.get("fieldRef"), item.get("resourceFieldRef")) {
        (Some(_), Some(_)) => {
            let problem = "fieldRef and resourceFieldRef can not be specified simultaneously";
            report.invalid(path, &Value::from("resource"), problem);
        }
        (Some(reference), None) => {
            let field = text_at(reference, "fieldPath");
            let name = field.split_once('[').map_or(field, |(name, _)| name);
            let path = path.member("fieldRef");
            if field.is_empty() {
                report.required(&path.member("fieldPath"), "");
            } else if !FIELDS.contains(&name) {
                report.not_supported(&path.member("fieldPath"), at(reference, "fieldPath"), FIELDS);
            }
        }
        (None, Some(reference)) => {
            let path = path.member("resourceFieldRef");
            if text_at(reference, "containerName").is_empty() {
                report.required(&path.member("containerName"), "");
            } else if text_at(reference, "resource").is_empty() {
                report.required(&path.member("resource"), "");
            }
        }
        (None, None) => report.required(path, "one of fieldRef and resourceFieldRef is required"),
    }
    mode(report, &path.member("mode"), at(item, "mode"));
}

/// Several sources in one directory.
fn projected(report: &mut Report, path: &Path<'_>, source: &Value) {
    if source.is_null() {
        return;
    }
    mode(report, &path.member("defaultMode"), at(source, "defaultMode"));
    let mut taken: Vec<&str> = Vec::new();
    let list = path.member("sources");
    for (index, source) in items_at(source, "sources").iter().enumerate() {
        let item_path = list.item(index);
        for kind in ["secret", "configMap"] {
            let Some(files) = source.get(kind) else { continue };
            let kind_path = item_path.member(kind);
            let name = text_at(files, "name");
            if name.is_empty() {
                report.required(&kind_path.member("name"), "");
            }
            report.check(&kind_path, files, &[Row("items", Check::Items(KEY_TO_PATH))]);
            for file in items_at(files, "items") {
                let target = text_at(file, "path");
                if !target.is_empty() && taken.contains(&target) {
                    report.invalid(path, &Value::from(name), "conflicting duplicate paths");
                }
                taken.push(target);
            }
        }
        if let Some(files) = source.get("downwardAPI") {
            for file in items_at(files, "items") {
                downward_item(report, &item_path.member("downwardAPI"), file);
            }
        }
        if let Some(token) = source.get("serviceAccountToken") {
            let token_path = item_path.member("serviceAccountToken");
            let seconds = at(token, "expirationSeconds");
            if seconds.as_i64().is_some_and(|seconds| seconds < 600) {
                report.invalid(
                    &token_path.member("expirationSeconds"),
                    seconds,
                    "may not specify a duration less than 10 minutes",
                );
            }
            if is_unset(at(token, "path")) {
                report.required(&path.member("path"), "");
            }
        }
    }
}

/// A claim that comes and goes with the pod.
fn ephemeral(report: &mut Report, path: &Path<'_>, source: &Value) {
    if source.is_null() {
        return;
    }
    let path = path.member("volumeClaimTemplate");
    let Some(template) = source.get("volumeClaimTemplate") else {
        report.required(&path, "");
        return;
    };
    let metadata = path.member("metadata");
    for (member, _) in at(template, "metadata").as_object().into_iter().flatten() {
        if !matches!(member.as_str(), "labels" | "annotations") {
            report.forbidden(&metadata.member(member), "cannot be set");
        }
    }
    others::claim(report, &path.member("spec"), at(template, "spec"));
}
