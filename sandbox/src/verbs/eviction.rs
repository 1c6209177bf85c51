//! Eviction under disruption budgets (API-460 to API-467).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    apply,
    json::{self, is_blank},
    names::Gvr,
    selector::LabelSelector,
    status::{self, Cause, Failure},
    store::{Key, TableName},
    verbs::{
        Answer, Call, WriteOptions,
        delete::{DeleteOptions, delete_object},
        pod::{set_condition, silent},
        update::{ATTEMPTS, Scope, UpdateError, change},
    },
};

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// More pods than this in `status.disruptedPods` mean that nobody looks after the budget (API-466).
const MOST_DISRUPTED: usize = 2000;

pub(crate) fn evict(call: &mut Call<'_>) -> Result<Answer, Failure> {
    let mut options = call.write_options("CreateOptions")?;
    let eviction = call.decode_body()?;
    let name = call.path.name.clone().unwrap_or_default();
    let sent_name = json::text(&eviction, &["metadata", "name"]);
    if !sent_name.is_empty() && sent_name != name {
        return Err(Failure::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let nothing = json!({});
    let mut delete = DeleteOptions::parse(json::at(&eviction, &["deleteOptions"]).unwrap_or(&nothing))?;
    options.dry_run |= delete.dry_run;
    delete.dry_run = options.dry_run;
    let pod = call.current()?.parse();
    if !is_free_to_go(&pod) {
        spend_budget(call, &pod, options.dry_run)?;
    }
    if !options.dry_run {
        mark_disrupted(call, options)?;
    }
    delete_object(call, &call.key(), &delete)?;
    Ok(Answer::object(201, status::created()))
}

/// API-461.
fn is_free_to_go(pod: &Value) -> bool {
    !is_blank(json::at(pod, &["metadata", "deletionTimestamp"]))
        || matches!(
            json::text(pod, &["status", "phase"]),
            "Pending" | "Succeeded" | "Failed"
        )
}

fn is_ready(pod: &Value) -> bool {
    json::list(pod, &["status", "conditions"])
        .iter()
        .any(|condition| {
            json::text(condition, &["type"]) == "Ready" && json::text(condition, &["status"]) == "True"
        })
}

/// Takes one disruption from the budget that covers the pod, if there is one (API-462 to API-466).
fn spend_budget(call: &Call<'_>, pod: &Value, dry_run: bool) -> Result<(), Failure> {
    let table: TableName = "poddisruptionbudgets.policy".into();
    let namespace = json::text(pod, &["metadata", "namespace"]);
    let labels = json::at(pod, &["metadata", "labels"]).unwrap_or(&Value::Null);
    for _ in 0..ATTEMPTS {
        let mut covering = call
            .core
            .store
            .list(&table, Some(namespace), None)
            .objects
            .into_iter()
            .map(|object| (object.parse(), object))
            .filter(|(budget, _)| covers(budget, labels));
        let Some((mut budget, stored)) = covering.next() else {
            return Ok(());
        };
        if covering.next().is_some() {
            return Err(Failure::unmapped(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        if !is_ready(pod) && may_skip(&budget) {
            return Ok(());
        }
        check_budget(&budget, &stored.key)?;
        if dry_run {
            return Ok(());
        }
        let before = budget.clone();
        let allowed = number(&budget, "disruptionsAllowed").saturating_sub(1);
        let now = call.core.timestamp();
        json::set(&mut budget, &["status"], "disruptionsAllowed", allowed);
        let name = json::text(pod, &["metadata", "name"]);
        json::set(&mut budget, &["status", "disruptedPods"], name, now.as_str());
        if allowed == 0 {
            let condition = json!({
                "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
                "lastTransitionTime": now, "observedGeneration": number(&budget, "observedGeneration"),
            });
            set_plain_condition(&mut budget, condition);
        }
        let resource = Gvr::new("policy", "v1", "poddisruptionbudgets");
        let draft = apply::draft_of_status(call.core, &resource, &stored, (&before, &budget));
        if call
            .core
            .store
            .replace(&table, &stored.key, stored.revision, &draft)
            .is_ok()
        {
            return Ok(());
        }
    }
    let resource = Gvr::new("policy", "v1", "poddisruptionbudgets");
    Err(Failure::stale(&resource, ""))
}

fn set_plain_condition(object: &mut Value, condition: Value) {
    let mut conditions = json::list(object, &["status", "conditions"]).to_vec();
    let kind = json::text(&condition, &["type"]).to_owned();
    match conditions
        .iter_mut()
        .find(|other| json::text(other, &["type"]) == kind)
    {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
    json::set(object, &["status"], "conditions", conditions);
}

fn covers(budget: &Value, labels: &Value) -> bool {
    let selector = json::at(budget, &["spec", "selector"]).unwrap_or(&Value::Null);
    // A selector that does not parse was refused when the budget was written; none at all covers nothing.
    matches!(LabelSelector::from_value(selector), Ok(Some(selector)) if selector.matches(labels))
}

fn number(budget: &Value, member: &str) -> i64 {
    json::at(budget, &["status", member])
        .and_then(Value::as_i64)
        .unwrap_or(0)
}

/// API-463.
fn may_skip(budget: &Value) -> bool {
    let desired = number(budget, "desiredHealthy");
    json::text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow"
        || (number(budget, "currentHealthy") >= desired && desired > 0)
}

/// API-464, API-466.
fn check_budget(budget: &Value, key: &Key) -> Result<(), Failure> {
    let name = &key.name;
    let cause = |message: String| Cause {
        reason: "DisruptionBudget",
        message,
        field: String::new(),
    };
    let generation = json::at(budget, &["metadata", "generation"])
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if number(budget, "observedGeneration") < generation {
        let message = format!("The disruption budget {name} is still being processed by the server.");
        return Err(Failure::too_many_requests(REFUSED)
            .because(cause(message))
            .retry_after(10));
    }
    let resource = Gvr::new("policy", "v1", "poddisruptionbudgets");
    let allowed = number(budget, "disruptionsAllowed");
    if allowed < 0 {
        return Err(Failure::forbidden(
            &resource,
            name,
            "pdb disruptions allowed is negative",
        ));
    }
    let disrupted = json::at(budget, &["status", "disruptedPods"]).and_then(Value::as_object);
    if disrupted.is_some_and(|pods| pods.len() > MOST_DISRUPTED) {
        let cause = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(Failure::forbidden(&resource, name, cause));
    }
    if allowed > 0 {
        return Ok(());
    }
    let failed_sync = json::list(budget, &["status", "conditions"])
        .iter()
        .find(|condition| {
            json::text(condition, &["type"]) == "DisruptionAllowed"
                && json::text(condition, &["status"]) == "False"
                && json::text(condition, &["reason"]) == "SyncFailed"
        });
    let message = match failed_sync {
        Some(condition) => format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {}",
            json::text(condition, &["message"])
        ),
        None => format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            number(budget, "desiredHealthy"),
            number(budget, "currentHealthy")
        ),
    };
    Err(Failure::too_many_requests(REFUSED).because(cause(message)))
}

/// API-467.
fn mark_disrupted(call: &mut Call<'_>, options: WriteOptions) -> Result<(), Failure> {
    for _ in 0..ATTEMPTS {
        let current = call.current()?;
        let mut pod = current.parse();
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastTransitionTime": call.core.timestamp(),
        });
        set_condition(&mut pod, condition);
        match change(call, &current, pod, Scope::Server, silent(options), None) {
            Ok(_) => return Ok(()),
            Err(UpdateError::Failed(failure)) => return Err(failure),
            Err(UpdateError::Undecodable(why)) => return Err(Failure::internal(why)),
            Err(UpdateError::Raced) => {}
        }
    }
    Err(Failure::stale(
        &Arc::clone(&call.kind).resource,
        call.path.name.as_deref().unwrap_or_default(),
    ))
}
