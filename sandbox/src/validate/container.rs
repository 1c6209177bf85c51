//! Containers: what is more than names, ports and environment (API-381, API-383, API-384).

use serde_json::Value;

use super::{
    error::{FieldError, FieldErrorKind},
    gofmt::show,
    pod_spec::{app_armor, seccomp, user_or_group},
    rule::{Check, Path, Report, Row, at, items_at, text_at},
    text,
};

/// When a container of a pod starts again.
pub(super) fn restart_rules(report: &mut Report, path: &Path<'_>, container: &Value) {
    let rules = items_at(container, "restartPolicyRules");
    if rules.is_empty() {
        return;
    }
    if at(container, "restartPolicy").is_null() {
        report.required(
            &path.member("restartPolicy"),
            "must specify restartPolicy when restart rules are used",
        );
    }
    let path = path.member("restartPolicyRules");
    for (index, rule) in rules.iter().enumerate() {
        let path = path.item(index);
        report.check(
            &path,
            rule,
            &[
                Row("action", Check::OneOf(&["Restart", "RestartAllContainers"])),
                Row(
                    "exitCodes",
                    Check::Members(&[Row("operator", Check::OneOf(&["In", "NotIn"]))]),
                ),
            ],
        );
    }
}

/// Rules that depend on the pod around a container.
pub(super) fn in_pod(report: &mut Report, path: &Path<'_>, container: &Value, spec: &Value) {
    let grace = at(spec, "terminationGracePeriodSeconds").as_i64().unwrap_or(30);
    let lifecycle = path.member("lifecycle");
    for hook in ["postStart", "preStop"] {
        let seconds = at(at(container, "lifecycle"), hook).pointer("/sleep/seconds");
        let Some(seconds) = seconds.filter(|seconds| {
            let number = seconds.as_i64().unwrap_or_default();
            number < 0 || number > grace
        }) else {
            continue;
        };
        let problem = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        report.invalid(&lifecycle.member(hook).member("sleep"), seconds, &problem);
    }
    if at(container, "securityContext.procMount") == "Unmasked"
        && at(spec, "hostUsers") != &Value::Bool(false)
    {
        report.invalid(
            &path.member("securityContext").member("procMount"),
            &Value::from("Unmasked"),
            "`hostUsers` must be false to use `Unmasked`",
        );
    }
    claims(report, path, container, spec);
}

/// A device is one of the pod's volumes, and one that can be a device.
fn device_volume(report: &mut Report, path: &Path<'_>, device: &Value, spec: &Value) {
    let name = text_at(device, "name");
    let volume = items_at(spec, "volumes")
        .iter()
        .find(|volume| text_at(volume, "name") == name);
    match volume {
        None => report.push(FieldError::not_found(path.to_string(), &Value::from(name))),
        Some(volume)
            if volume.get("persistentVolumeClaim").is_none() && volume.get("ephemeral").is_none() =>
        {
            let problem =
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
            report.invalid(path, at(device, "name"), problem);
        }
        Some(_) => {}
    }
}

/// Resource claims that a container uses are those of its pod.
fn claims(report: &mut Report, path: &Path<'_>, container: &Value, spec: &Value) {
    let of_pod = items_at(spec, "resourceClaims");
    let path = path.member("resources");
    let path = path.member("claims");
    for (index, claim) in items_at(container, "resources.claims").iter().enumerate() {
        let path = path.item(index);
        let name = text_at(claim, "name");
        if name.is_empty() {
            report.required(&path, "");
        } else if !of_pod.iter().any(|other| text_at(other, "name") == name) {
            let names: Vec<&str> = of_pod.iter().map(|other| text_at(other, "name")).collect();
            let known = if names.is_empty() {
                "which is empty".to_owned()
            } else {
                names.join(", ")
            };
            let detail = format!(
                "{}: must be one of the names in pod.spec.resourceClaims {known}",
                show(at(claim, "name"))
            );
            report.push(FieldError::new(
                FieldErrorKind::NotFound,
                path.to_string(),
                detail,
            ));
        }
    }
}

/// Raw block devices, which are no mounts.
pub(super) fn devices(report: &mut Report, path: &Path<'_>, container: &Value, spec: &Value) {
    let mounts = items_at(container, "volumeMounts");
    let path = path.member("volumeDevices");
    let devices = items_at(container, "volumeDevices");
    for (index, device) in devices.iter().enumerate() {
        let path = path.item(index);
        if text_at(device, "name").is_empty() {
            report.required(&path.member("name"), "");
        }
        device_volume(report, &path.member("name"), device, spec);
        if text_at(device, "devicePath").is_empty() {
            report.required(&path.member("devicePath"), "");
        }
        let same = |member: &str, of_mount: &str| {
            let text = text_at(device, member);
            !text.is_empty() && mounts.iter().any(|mount| text_at(mount, of_mount) == text)
        };
        if same("name", "name") {
            let problem = "must not already exist in volumeMounts";
            report.invalid(&path.member("name"), at(device, "name"), problem);
        }
        if same("devicePath", "mountPath") {
            let problem = "must not already exist as a path in volumeMounts";
            report.invalid(&path.member("devicePath"), at(device, "devicePath"), problem);
        }
    }
}

/// What a mount says besides its name and place. Some of it is reported for the list.
pub(super) fn mount(report: &mut Report, list: &Path<'_>, path: &Path<'_>, mount: &Value, container: &Value) {
    let devices = items_at(container, "volumeDevices");
    let same = |member: &str, of_device: &str| {
        let text = text_at(mount, member);
        !text.is_empty() && devices.iter().any(|device| text_at(device, of_device) == text)
    };
    if same("name", "name") {
        let problem = "must not already exist in volumeDevices";
        report.invalid(&path.member("name"), at(mount, "name"), problem);
    }
    if same("mountPath", "devicePath") {
        let problem = "must not already exist as a path in volumeDevices";
        report.invalid(&path.member("mountPath"), at(mount, "mountPath"), problem);
    }
    for member in ["subPath", "subPathExpr"] {
        let problems = text::path_below(text_at(mount, member));
        report.problems(&list.member(member), at(mount, member), &problems);
    }
    if !text_at(mount, "subPath").is_empty() && !text_at(mount, "subPathExpr").is_empty() {
        let problem = "subPathExpr and subPath are mutually exclusive";
        report.invalid(&path.member("subPathExpr"), at(mount, "subPathExpr"), problem);
    }
    let propagation = at(mount, "mountPropagation");
    match propagation.as_str() {
        None | Some("HostToContainer" | "None") => {}
        Some("Bidirectional") => {
            if at(container, "securityContext.privileged") != &Value::Bool(true) {
                report.forbidden(
                    &list.member("mountPropagation"),
                    "Bidirectional mount propagation is available only to privileged containers",
                );
            }
        }
        Some(_) => report.not_supported(
            &list.member("mountPropagation"),
            propagation,
            &["Bidirectional", "HostToContainer", "None"],
        ),
    }
    let recursive = at(mount, "recursiveReadOnly");
    let path = list.member("recursiveReadOnly");
    match recursive.as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if at(mount, "readOnly") != &Value::Bool(true) {
                report.forbidden(&path, "may only be specified when readOnly is true");
            }
        }
        Some(_) => report.not_supported(&path, recursive, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// What happens to a container when its resources change.
pub(super) fn resize_policies(report: &mut Report, path: &Path<'_>, policies: &Value) {
    let policies = policies.as_array().map_or(&[][..], Vec::as_slice);
    for (index, policy) in policies.iter().enumerate() {
        let name = at(policy, "resourceName");
        if policies
            .iter()
            .take(index)
            .any(|other| at(other, "resourceName") == name)
        {
            report.duplicate(&path.item(index), name);
        }
        if name != "cpu" && name != "memory" {
            report.not_supported(path, name, &["cpu", "memory"]);
        }
        let restart = at(policy, "restartPolicy");
        if restart != "NotRequired" && restart != "RestartContainer" {
            report.not_supported(path, restart, &["NotRequired", "RestartContainer"]);
        }
    }
}

/// The security context of a container.
pub(super) fn security(report: &mut Report, path: &Path<'_>, context: &Value) {
    if context.is_null() {
        return;
    }
    for member in ["runAsUser", "runAsGroup"] {
        user_or_group(report, &path.member(member), at(context, member));
    }
    report.check(
        path,
        context,
        &[Row("procMount", Check::OneOf(&["Default", "Unmasked"]))],
    );
    seccomp(
        report,
        &path.member("seccompProfile"),
        at(context, "seccompProfile"),
    );
    let escalates = at(context, "allowPrivilegeEscalation");
    if escalates == &Value::Bool(false) {
        let added = items_at(context, "capabilities.add");
        if at(context, "privileged") == &Value::Bool(true) {
            let problem = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            refuse(report, path, context, problem);
        }
        if added.iter().any(|capability| capability == "CAP_SYS_ADMIN") {
            let problem =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            refuse(report, path, context, problem);
        }
    }
    app_armor(
        report,
        &path.member("appArmorProfile"),
        at(context, "appArmorProfile"),
    );
}

/// The whole context, all members of it named.
fn refuse(report: &mut Report, path: &Path<'_>, context: &Value, problem: &str) {
    let member = |name: &str| show(at(context, name));
    let capabilities = match context.get("capabilities") {
        None => "null".to_owned(),
        Some(both) => format!("{{\"Add\":{},\"Drop\":{}}}", at(both, "add"), at(both, "drop")),
    };
    let detail = format!(
        "{{\"Capabilities\":{capabilities},\"Privileged\":{},\"SELinuxOptions\":{},\"WindowsOptions\":{},\
         \"RunAsUser\":{},\"RunAsGroup\":{},\"RunAsNonRoot\":{},\"ReadOnlyRootFilesystem\":{},\
         \"AllowPrivilegeEscalation\":{},\"ProcMount\":{},\"SeccompProfile\":{},\"AppArmorProfile\":{}}}: {problem}",
        member("privileged"),
        member("seLinuxOptions"),
        member("windowsOptions"),
        member("runAsUser"),
        member("runAsGroup"),
        member("runAsNonRoot"),
        member("readOnlyRootFilesystem"),
        member("allowPrivilegeEscalation"),
        member("procMount"),
        member("seccompProfile"),
        member("appArmorProfile"),
    );
    report.push(FieldError::new(FieldErrorKind::Invalid, path.to_string(), detail));
}
