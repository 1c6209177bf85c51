//! The admission plugins of upstream that clients and controllers notice, one file each, in upstream's order (API-500):
//!
//! | plugin | requirement | when |
//! |---|---|---|
//! | `NamespaceLifecycle` | API-127, API-128 | create |
//! | `LimitRanger` | API-505 | pods and claims |
//! | `ServiceAccount` | API-501 | pods, if switched on |
//! | `TaintNodesByCondition`, `DefaultTolerationSeconds`, `StorageObjectInUseProtection` | API-504, API-502, API-506 | constant values: rows of [`defaults`](crate::defaults) |
//! | `PodSecurity` | API-500 | only tells that it does not run |
//! | `Priority` | API-503 | pods, priority classes |
//! | `DefaultStorageClass`, `DefaultIngressClass` | API-506, API-507 | create |
//! | `PodTopologyLabels` | API-508 | pods with a node, binding |
//! | `ResourceQuota` | API-509 | last, after validation: [`resource_quota::charge`] |
//!
//! Webhooks and admission policies are stored and not run; whoever creates one is told.

mod default_class;
mod limit_ranger;
mod namespace_lifecycle;
mod not_run;
mod priority;
pub(crate) mod resource_quota;
pub(crate) mod service_account;
pub(crate) mod topology_labels;

use serde_json::Value;

pub(crate) use self::namespace_lifecycle::accepts_content as namespace_accepts_content;
use crate::{json, server::Core, status::Failure, verbs::Call};

/// Changes a new object, or refuses it.
pub(crate) fn create(call: &mut Call<'_>, object: &mut Value) -> Result<(), Failure> {
    let kind = std::sync::Arc::clone(&call.kind);
    match (kind.gk.group.as_ref(), kind.gk.kind.as_ref()) {
        ("", "Pod") => {
            limit_ranger::default(call, object);
            service_account::admit(call, object)?;
            priority::admit(call, object)?;
            topology_labels::admit(call.core, object);
            limit_ranger::check(call, object)?;
        }
        ("", "PersistentVolumeClaim") => {
            default_class::of_claim(call.core, object);
            limit_ranger::check(call, object)?;
        }
        ("networking.k8s.io", "Ingress") => default_class::of_ingress(call.core, object),
        ("scheduling.k8s.io", "PriorityClass") => priority::second_global_default(call, object)?,
        _ => {}
    }
    not_run::check_labels(call, object)?;
    not_run::warn(call, object, None);
    Ok(())
}

/// Changes an updated object, or refuses it.
pub(crate) fn update(call: &mut Call<'_>, new: &mut Value, old: &Value) -> Result<(), Failure> {
    if call.kind.is_core("Pod") {
        for member in ["priority", "preemptionPolicy"] {
            if json::at(new, &["spec"]).is_some_and(|spec| spec.get(member).is_none()) {
                json::copy_member(old, new, &["spec"], member);
            }
        }
    }
    if call.kind.is_core("PersistentVolumeClaim") {
        limit_ranger::check(call, new)?;
    }
    if call.kind.is("scheduling.k8s.io", "PriorityClass") {
        priority::second_global_default(call, new)?;
    }
    not_run::check_labels(call, new)?;
    not_run::warn(call, new, Some(old));
    Ok(())
}

/// All objects of a table.
fn objects(core: &Core, table: &str) -> Vec<Value> {
    objects_in(core, table, None)
}

/// The objects of a table in one namespace.
fn objects_in(core: &Core, table: &str, namespace: Option<&str>) -> Vec<Value> {
    core.store
        .list(&table.into(), namespace, None)
        .objects
        .iter()
        .map(|object| object.parse())
        .collect()
}
