//! Recorded decisions of kube-controller-manager 1.36 against the planners. Format: `tests/vectors/workloads/README.md`.
//! `STEERSMAN_VECTORS` names another folder with the same layout.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::DeploymentStatus;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};
use steersman_deployment::action::{Action, Event, ScaleCause, Target};
use steersman_deployment::plan::annotations::{self, Annotations, Revision, Stage};
use steersman_deployment::plan::find::Family;
use steersman_deployment::plan::{
    Resize, conditions, fenceposts, history, rolling, scale, size, status, template,
};
use steersman_deployment::simulate::World;
use steersman_shared::objects::{Deployment, ReplicaSet, Uid};
use steersman_shared::ownership;
use steersman_shared::testing::vectors::{self, Case, same};

fn each(file: &str, check: impl Fn(&Case) -> Result<(), String>) {
    vectors::each("workloads", file, check);
}

fn family_of(case: &Case) -> Family {
    let old: Vec<ReplicaSet> = case.input("oldRSs");
    let new: Option<ReplicaSet> = case.input("newRS");
    let mut old: Vec<_> = old.into_iter().map(Arc::new).collect();
    old.sort_by(|a, b| steersman_deployment::plan::find::by_age(a, b));
    Family {
        new: new.map(Arc::new),
        old,
        ..Family::default()
    }
}

fn event(event: &Event) -> String {
    let kind = if event.warning { "Warning" } else { "Normal" };
    format!("{kind} {} {}", event.reason, event.message)
}

fn sorted<T: Ord>(mut list: Vec<T>) -> Vec<T> {
    list.sort();
    list
}

fn strings(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn dep_31_36_fenceposts() {
    each("fenceposts.json", |case| {
        let (surge, unavailable): (Option<IntOrString>, Option<IntOrString>) =
            (case.input("maxSurge"), case.input("maxUnavailable"));
        let replicas: i32 = case.input("replicas");
        let resolved = fenceposts::resolve(surge.as_ref(), unavailable.as_ref(), replicas).ok();
        let resolved = resolved.map_or(
            Value::Null,
            |it| json!({ "surge": it.surge, "unavailable": it.unavailable }),
        );
        let deployment: Deployment = serde_json::from_value(json!({ "spec": {
            "replicas": replicas,
            "strategy": {
                "type": case.input["strategy"],
                "rollingUpdate": { "maxSurge": case.input["maxSurge"], "maxUnavailable": case.input["maxUnavailable"] },
            },
        }}))
        .unwrap();
        let got = json!({
            "resolved": resolved,
            "maxSurge": fenceposts::surge(&deployment),
            "maxUnavailable": fenceposts::unavailable(&deployment),
            "minAvailable": fenceposts::min_available(&deployment),
        });
        same("values", &got, &case.expect)
    });
}

fn updates(deployment: &Deployment, resizes: &[Resize]) -> Vec<Value> {
    let (desired, max) = annotations::sizes(deployment);
    let update = |it: &Resize| {
        json!({
            "name": it.replica_set.metadata.name,
            "replicas": it.to,
            "annotations": { "desired-replicas": desired.to_string(), "max-replicas": max.to_string() },
        })
    };
    resizes.iter().map(update).collect()
}

fn events(deployment: &Deployment, resizes: &[Resize]) -> Vec<String> {
    let (desired, max) = annotations::sizes(deployment);
    let action = |it: &Resize| Action::Scale {
        target: Target::of(it.replica_set.as_ref()),
        from: it.from,
        to: it.to,
        desired,
        max,
        cause: ScaleCause::RolloutUp,
    };
    resizes
        .iter()
        .filter_map(|it| action(it).event("web"))
        .map(|it| event(&it))
        .collect()
}

#[test]
fn dep_47_52_rolling_step() {
    each("rolling_step.json", |case| {
        let deployment: Deployment = case.input("deployment");
        let family = family_of(case);
        let new = family.new.as_ref().unwrap();
        let target = rolling::grown(&deployment, family.total_size(), size(new)).ok();
        same(
            "newRSReplicas",
            json!(target),
            case.expect["newRSReplicas"].clone(),
        )?;

        let recreate = case.expect.get("shrinkOld").is_none();
        if recreate {
            return Ok(());
        }
        let want = &case.expect["growNew"];
        match rolling::plan_new(&deployment, &family) {
            Err(_) => same("growNew error", true, want["error"] == true)?,
            Ok(resize) => {
                let resizes: Vec<_> = resize.into_iter().collect();
                let got = json!({
                    "scaled": !resizes.is_empty(), "error": false,
                    "updates": updates(&deployment, &resizes), "events": events(&deployment, &resizes),
                });
                same("growNew", &got, want)?;
            }
        }
        let shrink = rolling::plan_old(&deployment, &family);
        let got = json!({
            "scaled": !shrink.resizes.is_empty() && !shrink.abandoned, "error": false,
            "updates": updates(&deployment, &shrink.resizes), "events": events(&deployment, &shrink.resizes),
        });
        same("shrinkOld", &got, &case.expect["shrinkOld"])
    });
}

#[test]
fn dep_39_46_scale() {
    each("scale.json", |case| {
        let deployment: Deployment = case.input("deployment");
        let family = family_of(case);
        let resizes = scale::plan(&deployment, &family);
        let got = updates(&deployment, &resizes);
        if case.deviation.as_deref() == Some("DEP-46") {
            // What the reference never does: the annotations of all active ones are fresh, sizes are left alone.
            same("events", events(&deployment, &resizes), Vec::new())?;
            let stuck = family.is_resized(&deployment);
            let active: Vec<_> = family
                .active()
                .filter(|_| stuck)
                .filter_map(|it| it.metadata.name.clone())
                .collect();
            let refreshed: Vec<_> = resizes
                .iter()
                .filter_map(|it| it.replica_set.metadata.name.clone())
                .collect();
            return same("refreshed", sorted(refreshed), sorted(active));
        }
        // Shrinking ones come first in ours (DEP-45).
        let by_name = |mut list: Vec<Value>| {
            list.sort_by_key(|it| it["name"].to_string());
            list
        };
        same(
            "updates",
            by_name(got),
            by_name(case.expect["updates"].as_array().unwrap().clone()),
        )?;
        same(
            "events",
            sorted(events(&deployment, &resizes)),
            sorted(strings(&case.expect["events"])),
        )
    });
}

/// Without counts of 0, which mean the same as absent ones.
fn status_json(status: &DeploymentStatus) -> Value {
    normal(serde_json::to_value(status).unwrap())
}

/// Ours never turns an update time back, the reference does (DEP-82): the recorded status with that corrected.
fn not_before(stored: &DeploymentStatus, status: &mut Value) {
    for condition in status
        .get_mut("conditions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let before = stored
            .conditions
            .iter()
            .flatten()
            .find(|it| condition["type"] == it.type_);
        let before = before
            .filter(|it| it.type_ != "ReplicaFailure")
            .and_then(|it| it.last_update_time.as_ref());
        let recorded: Option<Timestamp> =
            serde_json::from_value(condition["lastUpdateTime"].clone()).unwrap();
        if let (Some(before), Some(recorded)) = (before, recorded)
            && recorded < before.0
        {
            condition["lastUpdateTime"] = json!(before);
        }
    }
}

fn normal(mut status: Value) -> Value {
    if let Some(members) = status.as_object_mut() {
        members.retain(|key, value| match key.as_str() {
            "terminatingReplicas" | "collisionCount" => !value.is_null(),
            _ => *value != json!(0) && *value != json!([]),
        });
        for condition in members
            .get_mut("conditions")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            condition
                .as_object_mut()
                .unwrap()
                .retain(|_, value| *value != json!(""));
        }
    }
    status
}

#[test]
fn dep_62_82_status() {
    each("deployment_status.json", |case| {
        let deployment: Deployment = case.input("deployment");
        let family = family_of(case);
        let now: Timestamp = case.input("now");
        let plain = status::plain(&deployment, &family, &deployment.status, now);
        let expected = |key: &str| {
            let mut status = normal(case.expect[key].clone());
            not_before(&deployment.status, &mut status);
            status
        };
        same(
            "scalePathStatus",
            status_json(&plain),
            expected("scalePathStatus"),
        )?;
        let rollout = status::of_rollout(&deployment, &family, &deployment.status, now);
        let is_written = !status::is_equal(&rollout, &deployment.status);
        let got = if is_written {
            status_json(&rollout)
        } else {
            Value::Null
        };
        same("rolloutStatusWrite", got, expected("rolloutStatusWrite"))?;

        let wake_at = conditions::next_check(&deployment, &rollout, &family.limits).filter(|_| !is_written);
        if case.deviation.as_deref() == Some("DEP-76") {
            return same("wake_at", wake_at, None);
        }
        let delay = match case.expect["requeueMs"].as_i64() {
            None => None,
            // At once and rate-limited, that is again and again: ours waits for the one moment that matters (DEP-76).
            Some(0) => {
                let late = now.checked_add(SignedDuration::from_secs(2)).unwrap();
                return same("wake_at", wake_at.is_some_and(|it| now < it && it <= late), true);
            }
            Some(millis) => Some(
                now.checked_add(SignedDuration::from_millis(millis + 1000))
                    .unwrap(),
            ),
        };
        same("wake_at", wake_at, delay)
    });
}

#[test]
fn dep_22_28_annotations() {
    each("annotations.json", |case| {
        let deployment: Deployment = case.input("deployment");
        let replica_set: ReplicaSet = case.input("replicaSet");
        let revision: String = case.input("newRevision");
        let stage = if case.input("exists") {
            Stage::Existing
        } else {
            Stage::Creating
        };
        let before = replica_set.metadata.annotations.unwrap_or_default();
        let target = Revision(revision.parse().unwrap());
        let got = annotations::of_new(
            &deployment,
            &before,
            target,
            stage,
            case.input("historyLimitChars"),
        );
        let want: Annotations = serde_json::from_value(case.expect["annotations"].clone()).unwrap();
        if case.deviation.as_deref() == Some("DEP-28") {
            // The bad revision stays; ours keeps the copies nevertheless, and sizes a ReplicaSet that it creates.
            let own = |all: &Annotations| {
                let mut all = all.clone();
                all.retain(|key, _| stage == Stage::Existing || !key.ends_with("-replicas"));
                all
            };
            return same("annotations", own(&got), own(&want));
        }
        same("changed", got != before, case.expect["changed"] == true)?;
        same("annotations", got, want)
    });
}

#[test]
fn dep_16_30_values() {
    each("values.json", |case| {
        if let Some(value) = case.input.get("value") {
            let parsed = annotations::parse_replicas(value.as_str().unwrap());
            return same(
                "replicasAnnotation",
                json!(parsed),
                case.expect["replicasAnnotation"].clone(),
            );
        }
        let (name, hash): (String, String) = (case.input("deploymentName"), case.input("hash"));
        let got = template::replica_set_name(&name, &hash);
        same(
            "replicaSetName",
            json!(got),
            case.expect["replicaSetName"].clone(),
        )
    });
}

#[test]
fn dep_10_40_find_replica_sets() {
    each("find_replicasets.json", |case| {
        let deployment: Deployment = case.input("deployment");
        let claimed: Vec<ReplicaSet> = case.input("replicaSets");
        let claimed: Vec<_> = claimed.into_iter().map(Arc::new).collect();
        let family = Family::of(&deployment, &claimed);
        let name = |it: &Arc<ReplicaSet>| it.metadata.name.clone().unwrap();
        let got = json!({
            "newRS": family.new.as_ref().map(name),
            "oldRSs": family.old.iter().map(name).collect::<Vec<_>>(),
            "oldRSsWithPods": family.active_old().map(name).collect::<Vec<_>>(),
            "activeOrLatest": family.active_or_latest().map(name),
            "scalingEvent": family.is_resized(&deployment),
            "maxOldRevision": annotations::max_revision(family.old.iter().map(Arc::as_ref)).0,
            "targetRevision": family.target_revision().0,
            "lastRevision": annotations::last_revision(family.all().map(Arc::as_ref)).0,
            "saturated": family.is_saturated(&deployment),
        });
        for key in case.expect.as_object().unwrap().keys() {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            same(key, text(&got[key]), text(&case.expect[key]))?;
        }
        Ok(())
    });
}

#[test]
fn dep_10_13_template_equal() {
    each("template_equal.json", |case| {
        let (a, b) = (&case.input["a"], &case.input["b"]);
        same("equal", template::is_equal(a, b), case.expect["equal"] == true)?;
        same(
            "equal the other way",
            template::is_equal(b, a),
            case.expect["equal"] == true,
        )
    });
}

#[test]
fn dep_60_history() {
    each("history.json", |case| {
        let deployment: Deployment = case.input("deployment");
        let old: Vec<ReplicaSet> = case.input("oldRSs");
        let old: Vec<_> = old.into_iter().map(Arc::new).collect();
        let deleted: Vec<_> = history::plan(&deployment, &old)
            .iter()
            .map(|it| it.metadata.name.clone().unwrap())
            .collect();
        same("deleted", deleted, strings(&case.expect["deleted"]))
    });
}

/// The state of a world in the form of the recording, `HASH` in place of our hash.
fn state(world: &World) -> Value {
    let mut replica_sets = BTreeMap::new();
    let mut created = Value::Null;
    for it in &world.replica_sets {
        let name = it.metadata.name.clone().unwrap();
        let mut entry = json!({
            "replicas": size(it),
            "minReadySeconds": it.spec.min_ready_seconds.unwrap_or_default(),
            "annotations": it.metadata.annotations.clone().unwrap_or_default(),
            "controller": ownership::controller_uid(it),
        });
        if world
            .created
            .as_ref()
            .is_some_and(|(created, _)| *created == name)
        {
            let template = &it.spec.template;
            entry["name"] = json!(name);
            entry["labels"] = json!(it.metadata.labels);
            entry["selector"] = json!(it.spec.selector);
            entry["templateLabels"] = template["metadata"]["labels"].clone();
            entry["image"] = template["spec"]["containers"][0]["image"].clone();
            created = entry;
        } else {
            replica_sets.insert(name, entry);
        }
    }
    let deployment = &world.deployment;
    let state = json!({
        "deployment": {
            "annotations": deployment.metadata.annotations.clone().unwrap_or_default(),
            "status": status_json(&deployment.status),
            "image": deployment.spec.template["spec"]["containers"][0]["image"],
            "generation": deployment.metadata.generation,
        },
        "replicaSets": replica_sets,
        "createdReplicaSet": created,
        "events": world.events.iter().map(event).collect::<Vec<_>>(),
    });
    let hash = world.created.as_ref().map_or("HASH", |(_, hash)| hash.as_str());
    let mut state: Value = serde_json::from_str(&state.to_string().replace(hash, "HASH")).unwrap();
    state["events"] = json!(sorted(strings(&state["events"])));
    state
}

/// Syncs until nothing is written. Counts stay as recorded; but every resized ReplicaSet is observed, as its controller
/// would: without that, Recreate waits for ever for one that the run created and emptied again (INV-7), and a rolling
/// update for the availability of the others (INV-3).
fn settle(world: &mut World) -> Result<bool, String> {
    for _ in 0..30 {
        let plan = world.sync().map_err(|e| e.to_string())?;
        if plan
            .actions
            .iter()
            .all(|action| matches!(action, Action::ReportSelectingAll))
        {
            return Ok(true);
        }
        let created = world.created.as_ref().map(|(name, _)| name.as_str());
        for it in &mut world.replica_sets {
            let of_the_run = it.metadata.name.as_deref() == created;
            if of_the_run && size(it) > 0 {
                continue;
            }
            it.status.observed_generation = it.metadata.generation;
            if of_the_run {
                it.status.terminating_replicas = Some(0);
            }
        }
    }
    Ok(false)
}

#[test]
fn dep_1_sync() {
    each("deployment_sync.json", |case| {
        let pods: Vec<Pod> = case.input("pods");
        let mut world = World::new(
            case.input("deployment"),
            case.input("replicaSets"),
            pods,
            case.input("now"),
        );
        let settled = settle(&mut world)?;
        if !settled {
            return Err("writes without end".to_owned());
        }
        if case.deviation.is_some() {
            return deviating_sync(case, &world);
        }
        let mut want = case.expect["fixpoint"].clone();
        let stored: DeploymentStatus =
            serde_json::from_value(case.input["deployment"]["status"].clone()).unwrap();
        not_before(&stored, &mut want["deployment"]["status"]);
        want["events"] = json!(sorted(strings(&want["events"])));
        want["deployment"]["status"] = normal(want["deployment"]["status"].clone());
        if want.get("createdReplicaSet").is_none() {
            want["createdReplicaSet"] = Value::Null;
        }
        let got = state(&world);
        for part in ["deployment", "replicaSets", "createdReplicaSet", "events"] {
            same(part, got[part].to_string(), want[part].to_string())?;
        }
        Ok(())
    });
}

/// What the requirement asks for where the reference does something else.
fn deviating_sync(case: &Case, world: &World) -> Result<(), String> {
    let owned = |it: &&ReplicaSet| ownership::controller_uid(*it) == Some(Uid::of(&world.deployment));
    let claimed: Vec<_> = world
        .replica_sets
        .iter()
        .filter(owned)
        .cloned()
        .map(Arc::new)
        .collect();
    let family = Family::of(&world.deployment, &claimed);
    match case.deviation.as_deref() {
        // The rollout is not stuck behind an old annotation.
        Some("DEP-46") => same(
            "scaling event at the end",
            family.is_resized(&world.deployment),
            false,
        ),
        // Nothing is raised from 0 while pods of other claimed ReplicaSets exist, and only then (DEP-59).
        Some("DEP-111") => {
            let raised = world
                .events
                .iter()
                .find_map(|it| it.message.strip_prefix("Scaled up replica set "));
            let raised = raised.and_then(|rest| rest.split(' ').next());
            let held = claimed
                .iter()
                .filter(|it| it.metadata.name.as_deref() != raised)
                .any(|it| {
                    world.pods.iter().any(|pod| {
                        let uid = ownership::controller_uid(pod);
                        uid == Some(Uid::of(it.as_ref())) && !steersman_shared::pods::is_finished(pod)
                    })
                });
            same("raised", raised.is_some(), !held)
        }
        other => Err(format!("deviation {other:?} has no assertion")),
    }
}
