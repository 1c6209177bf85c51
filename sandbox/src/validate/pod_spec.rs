//! Pod specs: name resolution, security, operating system, resources of the pod as a whole (API-381).

use serde_json::Value;

use super::{
    error::{FieldError, FieldErrorKind},
    gofmt::{quote, show},
    pod::{is_huge_pages, quantity},
    quantity::Quantity,
    rule::{Check, Path, Report, Row, at, is_unset, items_at, text_at},
    selector::key,
    text,
};

/// What holds a pod back, each thing once.
pub(super) fn gates(report: &mut Report, path: &Path<'_>, gates: &Value) {
    let gates = gates.as_array().map_or(&[][..], Vec::as_slice);
    for (index, gate) in gates.iter().enumerate() {
        let path = path.item(index);
        let name = at(gate, "name");
        key(report, &path, name);
        if gates.iter().take(index).any(|other| at(other, "name") == name) {
            report.duplicate(&path, name);
        }
    }
}

/// An alias has an address.
pub(super) fn alias_address(report: &mut Report, path: &Path<'_>, address: &Value) {
    let text = address.as_str().unwrap_or_default();
    report.problems(path, &Value::from(text), &text::ip(text));
}

/// Where a pod looks names up.
pub(super) fn dns(report: &mut Report, path: &Path<'_>, spec: &Value) {
    const MOST_SERVERS: usize = 3;
    let config = at(spec, "dnsConfig");
    let config_path = path.member("dnsConfig");
    let servers = items_at(config, "nameservers");
    let servers_path = config_path.member("nameservers");
    if at(spec, "dnsPolicy") == "None" {
        if config.is_null() {
            let reason = "must provide `dnsConfig` when `dnsPolicy` is None";
            report.required(&config_path, reason);
        } else if servers.is_empty() {
            let reason = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            report.required(&servers_path, reason);
        }
    }
    if servers.len() > MOST_SERVERS {
        let problem = format!("must not have more than {MOST_SERVERS} nameservers");
        report.invalid(&servers_path, at(config, "nameservers"), &problem);
    }
    for (index, server) in servers.iter().enumerate() {
        let problems = text::ip(server.as_str().unwrap_or_default());
        report.problems(&servers_path.item(index), server, &problems);
    }
    let searches = config_path.member("searches");
    for (index, search) in items_at(config, "searches").iter().enumerate() {
        let name = search.as_str().unwrap_or_default();
        // Underscores occur in the names of services; a dot at the end is fine.
        let name = name.strip_suffix('.').unwrap_or(name);
        if !name.is_empty() {
            report.problems(&searches.item(index), search, &text::search_domain(name));
        }
    }
    let options = config_path.member("options");
    for (index, option) in items_at(config, "options").iter().enumerate() {
        if text_at(option, "name").is_empty() {
            report.required(&options.item(index), "must not be empty");
        }
    }
}

/// Names of the pod's host, and what they exclude.
pub(super) fn names(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let on_host = at(spec, "hostNetwork") == &Value::Bool(true);
    if on_host && !is_unset(at(spec, "hostnameOverride")) {
        let reason = "may not be specified when hostNetwork is true";
        report.forbidden(&path.member("hostnameOverride"), reason);
    }
    let claims = path.member("resourceClaims");
    for (index, claim) in items_at(spec, "resourceClaims").iter().enumerate() {
        let (name, template) = (
            at(claim, "resourceClaimName"),
            at(claim, "resourceClaimTemplateName"),
        );
        let problem = match (name.is_null(), template.is_null()) {
            (true, true) => "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            (false, false) => {
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            }
            _ => continue,
        };
        let detail = format!(
            "{{\"Name\":{},\"ResourceClaimName\":{},\"ResourceClaimTemplateName\":{}}}: {problem}",
            quote(text_at(claim, "name")),
            show(name),
            show(template)
        );
        let path = claims.item(index).to_string();
        report.push(FieldError::new(FieldErrorKind::Invalid, path, detail));
    }
}

/// The highest user and group number.
const HIGHEST_ID: i64 = 2_147_483_647;

/// A number of a user or group, if there is one.
pub(super) fn user_or_group(report: &mut Report, path: &Path<'_>, id: &Value) {
    if id.as_i64().is_some_and(|id| !(0..=HIGHEST_ID).contains(&id)) {
        let problem = format!("must be between 0 and {HIGHEST_ID}, inclusive");
        report.invalid(path, id, &problem);
    }
}

const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

/// Which system calls are allowed.
pub(super) fn seccomp(report: &mut Report, path: &Path<'_>, profile: &Value) {
    if profile.is_null() {
        return;
    }
    let kind = at(profile, "type");
    let file = at(profile, "localhostProfile");
    let file_path = path.member("localhostProfile");
    match (kind.as_str(), file.as_str()) {
        (Some("Localhost"), None | Some("")) => {
            report.required(&file_path, "must be set when seccomp type is Localhost");
        }
        (Some("Localhost"), Some(name)) => {
            report.problems(&file_path, file, &text::path_below(name));
        }
        (_, Some(_)) => {
            let detail = format!(
                "{{\"Type\":{},\"LocalhostProfile\":{}}}: can only be set when seccomp type is Localhost",
                show(kind),
                show(file)
            );
            let path = file_path.to_string();
            report.push(FieldError::new(FieldErrorKind::Invalid, path, detail));
        }
        _ => {}
    }
    if is_unset(kind) {
        report.required(
            &path.member("type"),
            "type is required when seccompProfile is set",
        );
    } else if !kind.as_str().is_some_and(|kind| PROFILES.contains(&kind)) {
        report.not_supported(&path.member("type"), kind, PROFILES);
    }
}

/// What the kernel's mandatory access control allows.
pub(super) fn app_armor(report: &mut Report, path: &Path<'_>, profile: &Value) {
    if profile.is_null() {
        return;
    }
    let kind = at(profile, "type");
    let file = at(profile, "localhostProfile");
    let file_path = path.member("localhostProfile");
    match (kind.as_str(), file.as_str()) {
        (Some("Localhost"), None) => {
            report.required(&file_path, "must be set when AppArmor type is Localhost");
        }
        (Some("RuntimeDefault" | "Unconfined"), Some(_)) => {
            let problem = "can only be set when AppArmor type is Localhost";
            report.invalid(&file_path, file, problem);
        }
        (None | Some(""), _) => {
            let reason = "type is required when appArmorProfile is set";
            report.required(&path.member("type"), reason);
        }
        (Some(known), _) if PROFILES.contains(&known) => {}
        _ => report.not_supported(&path.member("type"), kind, PROFILES),
    }
}

/// The security context of a pod, and the namespaces that it shares with its node.
pub(super) fn security(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let is = |member: &str, value: bool| at(spec, member) == &Value::Bool(value);
    if is("hostUsers", false) {
        for member in ["hostNetwork", "hostPID", "hostIPC"] {
            if is(member, true) {
                report.forbidden(&path.member(member), "when `hostUsers` is false");
            }
        }
    }
    let context = at(spec, "securityContext");
    let path = path.member("securityContext");
    for member in ["fsGroup", "runAsUser", "runAsGroup"] {
        user_or_group(report, &path.member(member), at(context, member));
    }
    let groups = path.member("supplementalGroups");
    for (index, group) in items_at(context, "supplementalGroups").iter().enumerate() {
        user_or_group(report, &groups.item(index), group);
    }
    if is("shareProcessNamespace", true) && is("hostPID", true) {
        report.invalid(
            &path.member("shareProcessNamespace"),
            &Value::Bool(true),
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    sysctls(report, &path.member("sysctls"), items_at(context, "sysctls"));
    report.check(
        &path,
        context,
        &[
            Row("fsGroupChangePolicy", Check::OneOf(&["Always", "OnRootMismatch"])),
            Row("supplementalGroupsPolicy", Check::OneOf(&["Merge", "Strict"])),
        ],
    );
    seccomp(
        report,
        &path.member("seccompProfile"),
        at(context, "seccompProfile"),
    );
    app_armor(
        report,
        &path.member("appArmorProfile"),
        at(context, "appArmorProfile"),
    );
}

fn sysctls(report: &mut Report, path: &Path<'_>, sysctls: &[Value]) {
    const PROBLEM: &str = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    for (index, sysctl) in sysctls.iter().enumerate() {
        let path = path.item(index);
        let path = path.member("name");
        let name = text_at(sysctl, "name");
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = name.split(['.', '/']).all(|part| {
            part.starts_with(edge)
                && part.ends_with(edge)
                && part.chars().all(|c| edge(c) || matches!(c, '-' | '_'))
        });
        if name.is_empty() {
            report.required(&path, "");
        } else if name.len() > 253 || !fits {
            report.invalid(&path, at(sysctl, "name"), PROBLEM);
        } else if sysctls
            .iter()
            .take(index)
            .any(|other| text_at(other, "name") == name)
        {
            report.duplicate(&path, at(sysctl, "name"));
        }
    }
}

/// What only the other operating system has.
pub(super) fn operating_system(report: &mut Report, path: &Path<'_>, spec: &Value) {
    const LINUX_ONLY: &[&str] = &[
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "supplementalGroupsPolicy",
    ];
    let os = at(spec, "os");
    if os.is_null() {
        return;
    }
    let context = at(spec, "securityContext");
    let context_path = path.member("securityContext");
    match text_at(os, "name") {
        "" => report.required(&path.member("os").member("name"), ""),
        "linux" => {
            if context.get("windowsOptions").is_some() {
                let reason = "windows options cannot be set for a linux pod";
                report.forbidden(&context_path.member("windowsOptions"), reason);
            }
        }
        "windows" => {
            for member in ["hostPID", "hostIPC", "hostUsers", "shareProcessNamespace"] {
                if at(spec, member) == &Value::Bool(true) {
                    report.forbidden(&path.member(member), "cannot be set for a windows pod");
                }
            }
            for member in LINUX_ONLY.iter().filter(|member| context.get(**member).is_some()) {
                report.forbidden(&context_path.member(member), "cannot be set for a windows pod");
            }
        }
        _ => report.not_supported(&path.member("os"), at(os, "name"), &["linux", "windows"]),
    }
}

/// Resources of the pod as a whole.
pub(super) fn resources(report: &mut Report, path: &Path<'_>, spec: &Value) {
    let resources = at(spec, "resources");
    let path = path.member("resources");
    for kind in ["limits", "requests"] {
        let path = path.member(kind);
        for (name, amount) in at(resources, kind).as_object().into_iter().flatten() {
            let path = path.key(name);
            if !matches!(name.as_str(), "cpu" | "memory") && !is_huge_pages(name) {
                let shown = Value::from(name.as_str());
                report.not_supported(&path, &shown, &["cpu", "hugepages-", "memory"]);
            }
            if quantity(amount).is_some_and(Quantity::is_negative) {
                report.invalid(&path, amount, "must be greater than or equal to 0");
            }
        }
    }
    for (name, request) in at(resources, "requests").as_object().into_iter().flatten() {
        let limit = at(resources, "limits").get(name).and_then(quantity);
        if let (Some(limit), Some(amount)) = (limit, quantity(request))
            && amount > limit
        {
            let problem = format!("must be less than or equal to {name} limit of {limit}");
            report.invalid(&path.member("requests"), request, &problem);
        }
    }
}
