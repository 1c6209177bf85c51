//! Annotations of upstream's that somebody filled with something else: ignored, and reported once.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use steersman_shared::objects::Deployment;
use steersman_shared::wire::{DEPLOYMENT, DESIRED_REPLICAS, MAX_REPLICAS, REPLICA_SET, REVISION};

use super::annotations::{parse_replicas, value};
use super::find::Family;
use crate::action::ROLLBACK_TO;

/// An annotation that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Garbage {
    /// Kind of the object that has it.
    pub kind: &'static str,
    /// Name of that object.
    pub name: String,
    /// The annotation.
    pub key: &'static str,
    /// As written.
    pub value: String,
    /// What it should be, and what becomes of it.
    pub rule: &'static str,
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            name,
            key,
            value,
            rule,
        } = self;
        write!(f, "{kind} \"{name}\": annotation {key}: {value:?} {rule}")
    }
}

/// A revision stays as it is for good: only a person knows which number it was (DEP-28).
const NO_REVISION: &str = "is not an integer; it is ignored and left as it is, remove or correct it";
/// Written anew when the ReplicaSet is next scaled (DEP-27, DEP-30).
const NO_SIZE: &str =
    "is not a number of pods; it is ignored, and replaced when the ReplicaSet is next scaled";
/// The controller writes it by itself (DEP-24).
const NO_OWN_REVISION: &str = "is not an integer; it is replaced by the revision of the ReplicaSet";
/// DEP-95.
const NO_REQUEST: &str = "is not a revision; it is ignored, remove or correct it";

/// All that a sync ignores, in a fixed order: the Deployment's, then those of its ReplicaSets, oldest first.
#[must_use]
pub fn of(deployment: &Deployment, family: &Family) -> Vec<Garbage> {
    let is_revision = |text: &str| text.is_empty() || text.parse::<i64>().is_ok();
    let is_size = |text: &str| parse_replicas(text).is_some();
    let mut found = Vec::new();
    let mut look = |kind, meta: &ObjectMeta, key, rule, is_valid: &dyn Fn(&str) -> bool| {
        if let Some(text) = value(meta.annotations.as_ref(), key).filter(|text| !is_valid(text)) {
            found.push(Garbage {
                kind,
                name: meta.name.clone().unwrap_or_default(),
                key,
                value: text.to_owned(),
                rule,
            });
        }
    };
    let own = &deployment.metadata;
    look(DEPLOYMENT, own, REVISION, NO_OWN_REVISION, &is_revision);
    look(DEPLOYMENT, own, ROLLBACK_TO, NO_REQUEST, &is_revision);
    for meta in family.all().map(|it| &it.metadata) {
        look(REPLICA_SET, meta, REVISION, NO_REVISION, &is_revision);
        look(REPLICA_SET, meta, DESIRED_REPLICAS, NO_SIZE, &is_size);
        look(REPLICA_SET, meta, MAX_REPLICAS, NO_SIZE, &is_size);
    }
    found
}
