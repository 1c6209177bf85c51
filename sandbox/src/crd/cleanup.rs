//! Deletion of definitions: the objects go first, held by a finalizer (API-532).

use serde_json::Value;

use super::definition::{TABLE, is_definition, resource, set_condition, withdraw};
use crate::{
    apply,
    json::{self, is_blank},
    registry::Kind,
    server::Core,
    store::{Key, TableName},
};

const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Condition of a definition whose deletion begins.
pub(crate) fn mark_deleting(kind: &Kind, object: &mut Value, now: &str) {
    if is_definition(kind) {
        let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        set_condition(
            object,
            "Terminating",
            "True",
            "InstanceDeletionPending",
            message,
            now,
        );
    }
}

/// Puts the cleanup finalizer on a definition that is to be deleted.
pub(crate) fn add_finalizer(kind: &Kind, object: &mut Value) {
    if is_definition(kind) {
        let mut finalizers = json::list(object, &["metadata", "finalizers"]).to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == CLEANUP) {
            finalizers.push(CLEANUP.into());
            json::set(object, &["metadata"], "finalizers", finalizers);
        }
    }
}

/// Deletes the objects of a definition that is being deleted; those with finalizers are marked.
pub(super) fn clean_up(core: &Core, key: &Key) {
    mark_in_progress(core, key);
    let table: TableName = key.name.as_ref().into();
    for object in core.store.list(&table, None, None).objects {
        let mut value = object.parse();
        let waits = !json::list(&value, &["metadata", "finalizers"]).is_empty();
        // A writer that is faster only delays this: its own write ends here again.
        if !waits {
            let _ = core
                .store
                .remove(&table, &object.key, object.revision, &object.redraft(&value));
        } else if is_blank(json::at(&value, &["metadata", "deletionTimestamp"])) {
            json::set(&mut value, &["metadata"], "deletionTimestamp", core.timestamp());
            json::set(&mut value, &["metadata"], "deletionGracePeriodSeconds", 0);
            let _ = core
                .store
                .replace(&table, &object.key, object.revision, &object.redraft(&value));
        }
    }
    finish_clean_up(core, key);
}

/// Says that the objects are being deleted.
fn mark_in_progress(core: &Core, key: &Key) {
    while let Some(stored) = core.store.get(&TABLE.into(), key) {
        let before = stored.parse();
        let mut definition = before.clone();
        let message = "CustomResource deletion is in progress";
        let reason = "InstanceDeletionInProgress";
        set_condition(
            &mut definition,
            "Terminating",
            "True",
            reason,
            message,
            &core.timestamp(),
        );
        let draft = apply::draft_of_status(core, &resource(), &stored, (&before, &definition));
        if definition == before
            || core.store.is_table_empty(&key.name.as_ref().into())
            || core
                .store
                .replace(&TABLE.into(), key, stored.revision, &draft)
                .is_ok()
        {
            return;
        }
    }
}

/// Removes the finalizer of a definition that is being deleted once it has no objects.
pub(super) fn finish_clean_up(core: &Core, key: &Key) {
    let table: TableName = key.name.as_ref().into();
    while let Some(stored) = core.store.get(&TABLE.into(), key) {
        let mut definition = stored.parse();
        if is_blank(json::at(&definition, &["metadata", "deletionTimestamp"]))
            || !core.store.is_table_empty(&table)
        {
            return;
        }
        let rest: Vec<Value> = json::list(&definition, &["metadata", "finalizers"])
            .iter()
            .filter(|finalizer| *finalizer != CLEANUP)
            .cloned()
            .collect();
        let is_last = rest.is_empty();
        if is_last {
            json::remove(&mut definition, &["metadata"], "finalizers");
        } else {
            json::set(&mut definition, &["metadata"], "finalizers", rest);
        }
        let draft = apply::draft_of_status(core, &resource(), &stored, (&stored.parse(), &definition));
        let done = if is_last {
            core.store
                .remove(&TABLE.into(), key, stored.revision, &draft)
                .is_ok()
        } else if definition == stored.parse() {
            true
        } else {
            core.store
                .replace(&TABLE.into(), key, stored.revision, &draft)
                .is_ok()
        };
        if done {
            if is_last {
                withdraw(core, key);
            }
            return;
        }
    }
}
