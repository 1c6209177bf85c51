//! What the API server checks before it stores an object of a built-in kind: decoding (API-38, API-40, API-74 to
//! API-77), names and metadata (API-72, API-100 to API-104), and the rules of each kind (API-380 to API-432).
//!
//! All functions are pure. Rules are rows of tables (`rule`): a member, and what has to hold for it; only what
//! relates several members is code. Order of calls for a write: [`decode`], `defaults::apply`, then [`create`] or
//! [`update`] (or [`update_status`]), and [`warnings`] for the Warning headers.

mod apps;
mod autoscaler;
mod config;
mod container;
mod decode;
mod error;
pub(crate) mod gofmt;
mod immutable;
mod limits;
mod meta;
mod network;
mod others;
mod pod;
mod pod_spec;
mod pod_update;
mod quantity;
mod rule;
mod selector;
mod status;
mod text;
mod volume;
mod warning;
mod zero;

use std::sync::LazyLock;

use rustc_hash::FxHashMap;
use serde_json::Value;

use self::rule::{Report, Table};
use crate::names::GroupKind;

pub(crate) use self::meta::check_types;
pub use self::{
    decode::decode,
    error::{FieldError, FieldErrorKind},
    quantity::{Quantity, QuantityError},
    warning::{update_warnings, warnings},
};
pub(crate) use self::{
    gofmt::show_map,
    rule::{Path, at},
};

/// Rules of the kinds, metadata apart.
static KINDS: LazyLock<FxHashMap<(&'static str, &'static str), Table>> = LazyLock::new(|| {
    [
        config::KINDS,
        pod::KINDS,
        apps::KINDS,
        network::KINDS,
        others::KINDS,
    ]
    .into_iter()
    .flatten()
    .map(|(group, kind, table)| ((*group, *kind), *table))
    .collect()
});

fn table(gk: &GroupKind) -> Table {
    KINDS
        .get(&(gk.group.as_ref(), gk.kind.as_ref()))
        .copied()
        .unwrap_or(&[])
}

/// Everything wrong with an object that is about to be created, in field order. The object is decoded and defaulted
/// and has its final name and namespace. Custom resources only have their metadata checked.
#[must_use]
pub fn create(gk: &GroupKind, object: &Value) -> Vec<FieldError> {
    let mut report = Report::default();
    let root = Path::root();
    meta::check(&mut report, gk, object);
    report.check(&root, object, table(gk));
    report.errors
}

/// Everything wrong with `new`, the decoded and defaulted object that is to replace `old`: the rules of [`create`]
/// and what may not change (API-430 to API-432).
#[must_use]
pub fn update(gk: &GroupKind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut report = Report::default();
    let root = Path::root();
    meta::check(&mut report, gk, new);
    meta::check_update(&mut report, new, old);
    match (gk.group.as_ref(), gk.kind.as_ref()) {
        ("", "Pod") => {
            pod_update::check(&mut report, new, old);
            immutable::check(&mut report, gk, new, old);
        }
        ("apps", "DaemonSet") => {
            immutable::check(&mut report, gk, new, old);
            report.check(&root, new, table(gk));
        }
        _ => {
            report.check(&root, new, table(gk));
            immutable::check(&mut report, gk, new, old);
        }
    }
    // Endpoints that stay as they are were fine when they were written.
    if gk.kind == "EndpointSlice" && at(new, "endpoints") == at(old, "endpoints") {
        report
            .errors
            .retain(|error| !error.field.starts_with("endpoints"));
    }
    report.errors
}

/// Everything wrong with a write through the `status` subresource (API-407).
#[must_use]
pub fn update_status(gk: &GroupKind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut report = Report::default();
    meta::check(&mut report, gk, new);
    meta::check_update(&mut report, new, old);
    status::check(&mut report, gk, new, old);
    report.errors
}

/// What is wrong with a label key, if anything.
pub(crate) fn label_key_problem(key: &str) -> Option<String> {
    text::qualified_name(key).into_iter().next()
}

/// What is wrong with a label value, if anything.
pub(crate) fn label_value_problem(value: &str) -> Option<String> {
    text::label_value(value).into_iter().next()
}

/// What is wrong with a name that is also part of identifiers, if anything.
pub(crate) fn dns_1035_problem(text: &str) -> Option<String> {
    text::dns_1035_label(text)
        .into_iter()
        .reduce(|all, problem| format!("{all},{problem}"))
}

/// What is wrong with a DNS subdomain, if anything.
pub(crate) fn subdomain_problem(text: &str) -> Option<String> {
    text::dns_subdomain(text)
        .into_iter()
        .reduce(|all, problem| format!("{all},{problem}"))
}

/// What is wrong with the metadata of an object inside of another one, at `path`.
pub(crate) fn embedded_metadata(object: &Value, path: &Path<'_>) -> Vec<FieldError> {
    let mut report = Report::default();
    meta::check_embedded(&mut report, at(object, "metadata"), &path.member("metadata"));
    report.errors
}

/// What is wrong with the name of an object of this kind, if anything (API-100); also for names in URLs.
#[must_use]
pub fn name_problems(gk: &GroupKind, name: &str) -> Vec<String> {
    meta::name_problems(gk, name)
}

#[cfg(test)]
mod tests;
