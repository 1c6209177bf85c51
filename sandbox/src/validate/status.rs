//! Writes through the `status` subresource (API-407).

use serde_json::Value;

use super::{
    error::FieldError,
    rule::{Report, at, items_at, text_at},
    text,
};
use crate::names::GroupKind;

/// Counters of a workload's status that may not be negative; the later columns may not exceed `replicas`.
const COUNTERS: &[&str] = &[
    "replicas",
    "fullyLabeledReplicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "currentReplicas",
    "unavailableReplicas",
    "terminatingReplicas",
    "observedGeneration",
    "currentNumberScheduled",
    "desiredNumberScheduled",
    "numberMisscheduled",
    "numberReady",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
];
const PARTS: &[&str] = &[
    "fullyLabeledReplicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "currentReplicas",
];

pub(super) fn check(report: &mut Report, gk: &GroupKind, new: &Value, old: &Value) {
    match (gk.group.as_ref(), gk.kind.as_ref()) {
        ("apps", kind) => workload(report, kind, new, old),
        ("", "ReplicationController") => workload(report, "ReplicaSet", new, old),
        ("networking.k8s.io", "Ingress") | ("", "Service") => load_balancer(report, new),
        _ => {}
    }
}

fn workload(report: &mut Report, kind: &str, new: &Value, old: &Value) {
    let status = at(new, "status");
    let number = |member: &str| at(status, member).as_i64().unwrap_or_default();
    for member in COUNTERS {
        if number(member) < 0 {
            let path = format!("status.{member}");
            report.push(FieldError::invalid(
                path,
                at(status, member),
                "must be greater than or equal to 0",
            ));
        }
    }
    let exceeds = |report: &mut Report, member: &str, problem: &str| {
        report.push(FieldError::invalid(
            format!("status.{member}"),
            &Value::from(number(member)),
            problem,
        ));
    };
    let parts = PARTS.iter().filter(|member| match kind {
        "Deployment" => !matches!(**member, "fullyLabeledReplicas" | "currentReplicas"),
        "ReplicaSet" => !matches!(**member, "updatedReplicas" | "currentReplicas"),
        "StatefulSet" => **member != "fullyLabeledReplicas",
        _ => false,
    });
    for member in parts {
        if number(member) > number("replicas") {
            exceeds(report, member, "cannot be greater than status.replicas");
        }
    }
    if number("availableReplicas") > number("readyReplicas") && kind != "DaemonSet" {
        let problem = if kind == "StatefulSet" {
            "cannot be greater than status.readyReplicas"
        } else {
            "cannot be greater than readyReplicas"
        };
        exceeds(report, "availableReplicas", problem);
    }
    let collisions = at(status, "collisionCount");
    if let Some(before) = at(old, "status.collisionCount").as_i64()
        && collisions.as_i64().is_none_or(|count| count < before)
    {
        report.push(FieldError::invalid(
            "status.collisionCount",
            collisions,
            "cannot be decremented",
        ));
    }
}

fn load_balancer(report: &mut Report, object: &Value) {
    for (index, ingress) in items_at(object, "status.loadBalancer.ingress").iter().enumerate() {
        let path = format!("status.loadBalancer.ingress[{index}]");
        let address = text_at(ingress, "ip");
        if !address.is_empty() {
            for problem in text::ip(address) {
                report.push(FieldError::invalid(
                    format!("{path}.ip"),
                    at(ingress, "ip"),
                    problem,
                ));
            }
        }
        let name = text_at(ingress, "hostname");
        if !name.is_empty() {
            for problem in text::dns_subdomain(name) {
                report.push(FieldError::invalid(
                    format!("{path}.hostname"),
                    at(ingress, "hostname"),
                    problem,
                ));
            }
        }
    }
}
