//! `ResourceQuota`: refuses what exceeds a quota, and counts what does not (API-509). Runs on valid objects, right
//! before they are stored; the quota controller of housekeeping puts the counts right after deletions.

use std::sync::{MutexGuard, PoisonError};

use serde_json::Value;

use crate::{
    json,
    quota::{self, Amounts},
    status::Failure,
    store::{Draft, TableName},
    validate::Quantity,
    verbs::{Call, update::ATTEMPTS},
};

/// Checks a write against the quotas of its namespace and raises their `status.used`, unless it is a dry run.
pub(crate) fn charge(
    call: &Call<'_>,
    new: &Value,
    old: Option<&Value>,
    dry_run: bool,
) -> Result<(), Failure> {
    let Some(namespace) = call.path.namespace.as_deref() else {
        return Ok(());
    };
    let table: TableName = "resourcequotas".into();
    if call
        .core
        .store
        .list(&table, Some(namespace), None)
        .objects
        .is_empty()
    {
        return Ok(());
    }
    // One write at a time: two of them must not both take the last of a quota.
    let _turn: MutexGuard<'_, ()> = call.core.quota.lock().unwrap_or_else(PoisonError::into_inner);
    let now = call.core.now();
    for _ in 0..ATTEMPTS {
        let mut charged = Vec::new();
        for stored in call.core.store.list(&table, Some(namespace), None).objects {
            let mut quota = stored.parse();
            let asked = asked(call, &quota, new, old, now);
            let hard = quota::amounts(&quota, &["status", "hard"]);
            let asked: Amounts = asked
                .into_iter()
                .filter(|(name, _)| hard.contains_key(name))
                .collect();
            check_specified(call, &quota, &hard, new, old)?;
            if asked.is_empty() {
                continue;
            }
            raise(call, &mut quota, &hard, &asked, new)?;
            charged.push((stored, quota));
        }
        if dry_run {
            return Ok(());
        }
        let complete = charged.into_iter().all(|(stored, quota)| {
            call.core
                .store
                .replace(&table, &stored.key, stored.revision, &Draft::new(&quota))
                .is_ok()
        });
        if complete {
            return Ok(());
        }
    }
    Err(Failure::stale(
        &call.kind.resource,
        json::text(new, &["metadata", "name"]),
    ))
}

/// What the write adds to the usage that counts for a quota.
fn asked(call: &Call<'_>, quota: &Value, new: &Value, old: Option<&Value>, now: jiff::Timestamp) -> Amounts {
    let resource = &call.kind.resource;
    if !quota::in_scope(quota, resource, new) {
        return Amounts::new();
    }
    let before = match old {
        Some(old) if quota::in_scope(quota, resource, old) => quota::usage(resource, old, now),
        _ => Amounts::new(),
    };
    let mut asked = quota::usage(resource, new, now);
    for (name, amount) in &mut asked {
        if let Some(before) = before.get(name) {
            *amount = amount.minus(*before);
        }
    }
    // What is given back is counted by the controller.
    asked.retain(|_, amount| *amount > Quantity::ZERO);
    asked
}

/// Pods have to say what they need of the compute resources that a quota limits.
fn check_specified(
    call: &Call<'_>,
    quota: &Value,
    hard: &Amounts,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Failure> {
    if !call.kind.is_core("Pod") || old.is_some() || !quota::in_scope(quota, &call.kind.resource, new) {
        return Ok(());
    }
    let missing = quota::unspecified(new, hard);
    if missing.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = missing
        .into_iter()
        .map(|(resource, containers)| format!("{resource} for: {}", containers.join(",")))
        .collect();
    let cause = format!(
        "failed quota: {}: must specify {}",
        json::text(quota, &["metadata", "name"]),
        texts.join("; ")
    );
    Err(forbidden(call, new, &cause))
}

/// Adds to `status.used`, or refuses.
fn raise(
    call: &Call<'_>,
    quota: &mut Value,
    hard: &Amounts,
    asked: &Amounts,
    new: &Value,
) -> Result<(), Failure> {
    let name = json::text(quota, &["metadata", "name"]).to_owned();
    let used = quota::amounts(quota, &["status", "used"]);
    let unknown: Vec<&str> = asked
        .keys()
        .filter(|resource| !used.contains_key(*resource))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        let cause = format!(
            "status unknown for quota: {name}, resources: {}",
            unknown.join(",")
        );
        return Err(forbidden(call, new, &cause));
    }
    let after =
        |resource: &String, amount: &Quantity| used.get(resource).map_or(*amount, |used| used.plus(*amount));
    let exceeded: Vec<&String> = asked
        .iter()
        .filter(|(resource, amount)| {
            hard.get(*resource)
                .is_some_and(|hard| after(resource, amount) > *hard)
        })
        .map(|(resource, _)| resource)
        .collect();
    if !exceeded.is_empty() {
        let list = |amounts: &Amounts| {
            let pairs: Vec<String> = exceeded
                .iter()
                .filter_map(|resource| Some(format!("{resource}={}", amounts.get(*resource)?)))
                .collect();
            pairs.join(",")
        };
        let cause = format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            list(asked),
            list(&used),
            list(hard)
        );
        return Err(forbidden(call, new, &cause));
    }
    for (resource, amount) in asked {
        let sum = after(resource, amount).to_string();
        json::set(quota, &["status", "used"], resource, sum);
    }
    Ok(())
}

fn forbidden(call: &Call<'_>, object: &Value, cause: &str) -> Failure {
    Failure::forbidden(
        &call.kind.resource,
        json::text(object, &["metadata", "name"]),
        cause,
    )
}
