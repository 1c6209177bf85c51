//! Rolling back on request of the annotation `deprecated.deployment.rollback.to` (DEP-95, DEP-96).

use std::sync::Arc;

use steersman_shared::objects::{Deployment, ReplicaSet};

use super::annotations::{self, Annotations, Revision};
use super::find::Family;
use super::policy::back::Back;
use super::template;
use crate::action::{
    ABORT, Action, NoRollback, PROMOTE, ROLLBACK_TO, ROLLED_BACK, Rollback, RollbackCause, Target,
    rollback_message,
};

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
    let after = annotations::rolled_back(deployment, found);
    write(deployment, found, wanted, &after, RollbackCause::Requested)
}

/// The write that follows a policy's decision. It keeps the reason and ends the requests of the rollout that it leaves.
#[must_use]
pub fn by_policy(deployment: &Deployment, back: &Back) -> Action {
    let mut after = annotations::rolled_back(deployment, &back.to);
    after.insert(ROLLED_BACK.to_owned(), back.note.text());
    after.remove(PROMOTE);
    after.remove(ABORT);
    let cause = RollbackCause::Policy {
        from_revision: back.note.from_revision,
        reason: back.note.reason,
        message: rollback_message(&back.note),
    };
    write(
        deployment,
        &back.to,
        Revision(back.note.to_revision),
        &after,
        cause,
    )
}

fn write(
    deployment: &Deployment,
    found: &ReplicaSet,
    revision: Revision,
    after: &Annotations,
    cause: RollbackCause,
) -> Action {
    let empty = Annotations::new();
    let before = deployment.metadata.annotations.as_ref().unwrap_or(&empty);
    Action::Rollback(Box::new(Rollback {
        target: Target::of(deployment),
        revision: revision.0,
        template: Arc::new(template::without_hash(&found.spec.template)),
        removed_annotations: before
            .keys()
            .filter(|key| !after.contains_key(*key))
            .cloned()
            .collect(),
        annotations: annotations::changed(before, after),
        cause,
    }))
}
