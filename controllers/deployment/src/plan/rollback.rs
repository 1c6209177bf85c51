//! Rolling back on request of the annotation `deprecated.deployment.rollback.to` (DEP-95, DEP-96).

use std::sync::Arc;

use steersman_shared::objects::Deployment;

use super::annotations::{self, Annotations, Revision};
use super::find::Family;
use super::template;
use crate::action::{Action, NoRollback, ROLLBACK_TO, Rollback, Target};

/// The revision asked for; 0 means the one before the current. `None`: nothing is asked for, or not a number.
#[must_use]
pub fn requested(deployment: &Deployment) -> Option<Revision> {
    let value = annotations::value(deployment.metadata.annotations.as_ref(), ROLLBACK_TO)?;
    value.parse().ok().map(Revision)
}

/// The write that answers the request. The new ReplicaSet exists and has its revision.
#[must_use]
pub fn plan(deployment: &Deployment, family: &Family, requested: Revision) -> Action {
    let no = |cause| Action::ClearRollback {
        target: Target::of(deployment),
        cause,
    };
    let all = || family.all().map(Arc::as_ref);
    let wanted = match requested {
        Revision(0) => annotations::last_revision(all()),
        revision => revision,
    };
    if wanted == Revision(0) {
        return no(NoRollback::NoLastRevision);
    }
    let Some(found) = all().find(|it| annotations::revision(it) == Some(wanted)) else {
        return no(NoRollback::RevisionNotFound);
    };
    if template::is_equal(&deployment.spec.template, &found.spec.template) {
        return no(NoRollback::TemplateUnchanged);
    }
    let empty = Annotations::new();
    let before = deployment.metadata.annotations.as_ref().unwrap_or(&empty);
    let after = annotations::rolled_back(deployment, found);
    Action::Rollback(Box::new(Rollback {
        target: Target::of(deployment),
        revision: wanted.0,
        template: Arc::new(template::without_hash(&found.spec.template)),
        removed_annotations: before
            .keys()
            .filter(|key| !after.contains_key(*key))
            .cloned()
            .collect(),
        annotations: annotations::changed(before, &after),
    }))
}
