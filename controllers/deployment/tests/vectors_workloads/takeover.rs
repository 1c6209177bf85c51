//! Taking over what kube-controller-manager 1.36 left, and leaving it something it can go on with: chapter 4 of the
//! spec over the recorded syncs. The same with servers: `tests/suite/takeover.rs`.

use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use steersman_deployment::action::{Action, PROGRESSING};
use steersman_deployment::plan::template;
use steersman_deployment::simulate::World;
use steersman_shared::objects::{Deployment, ReplicaSet};
use steersman_shared::ownership;
use steersman_shared::testing::vectors::{self, Case, same};

fn each(check: impl Fn(&Case) -> Result<(), String>) {
    vectors::each("workloads", "deployment_sync.json", check);
}

fn recorded(case: &Case) -> World {
    let pods: Vec<Pod> = case.input("pods");
    World::new(
        case.input("deployment"),
        case.input("replicaSets"),
        pods,
        case.input("now"),
    )
}

/// The objects as the reference left them when it had nothing more to write.
fn left_by_reference(case: &Case) -> World {
    let left = &case.expect["fixpoint"];
    let mut world = recorded(case);
    let deployment = &mut world.deployment;
    deployment.metadata.annotations =
        serde_json::from_value(left["deployment"]["annotations"].clone()).unwrap();
    deployment.metadata.generation = left["deployment"]["generation"].as_i64();
    deployment.status = serde_json::from_value(left["deployment"]["status"].clone()).unwrap();
    let image = &left["deployment"]["image"];
    if deployment.spec.template["spec"]["containers"][0]["image"] != *image {
        // Rolled back.
        let mut templates = world.replica_sets.iter().map(|it| &it.spec.template);
        let mut template = templates
            .find(|it| it["spec"]["containers"][0]["image"] == *image)
            .map(|it| Value::clone(it))
            .unwrap();
        template["metadata"]["labels"]
            .as_object_mut()
            .unwrap()
            .remove("pod-template-hash");
        deployment.spec.template = Arc::new(template);
    }
    let owner = ownership::reference_to(&world.deployment);
    world.replica_sets.retain_mut(|it| {
        let Some(facts) = left["replicaSets"].get(it.metadata.name.as_deref().unwrap()) else {
            return false;
        };
        it.spec.replicas = facts["replicas"]
            .as_i64()
            .map(|count| i32::try_from(count).unwrap());
        it.spec.min_ready_seconds = serde_json::from_value(facts["minReadySeconds"].clone()).unwrap();
        it.metadata.annotations = serde_json::from_value(facts["annotations"].clone()).unwrap();
        let references = it.metadata.owner_references.get_or_insert_default();
        match facts["controller"].as_str() {
            None => references.retain(|it| it.controller != Some(true)),
            Some(uid) if uid == owner.uid && !references.iter().any(|it| it.uid == uid) => {
                references.push(owner.clone());
            }
            Some(_) => {}
        }
        // Its own controller has seen the size.
        it.status.observed_generation = it.metadata.generation;
        true
    });
    world.replica_sets.extend(created(case, &world.deployment));
    world
}

/// The ReplicaSet that the reference created, named and hashed by it.
fn created(case: &Case, deployment: &Deployment) -> Option<ReplicaSet> {
    let made = case.expect["fixpoint"]["createdReplicaSet"].as_object()?;
    let made: Value = serde_json::from_str(&json!(made).to_string().replace("HASH", "5d4f9c8b7")).unwrap();
    let mut template = Value::clone(&deployment.spec.template);
    template["metadata"]["labels"] = made["templateLabels"].clone();
    let object = json!({
        "metadata": {
            "name": made["name"], "namespace": "ns", "uid": "made", "generation": 1,
            "creationTimestamp": case.input["now"], "labels": made["labels"], "annotations": made["annotations"],
            "ownerReferences": [ownership::reference_to(deployment)],
        },
        "spec": {
            "replicas": made["replicas"], "minReadySeconds": made["minReadySeconds"], "selector": made["selector"],
            "template": template,
        },
        "status": { "replicas": 0 },
    });
    let mut created: ReplicaSet = serde_json::from_value(object).unwrap();
    if created.spec.replicas == Some(0) {
        created.status.observed_generation = Some(1);
        created.status.terminating_replicas = Some(0);
    }
    Some(created)
}

fn writes(actions: &[Action]) -> Vec<&Action> {
    let is_write = |it: &&Action| !matches!(it, Action::ReportSelectingAll);
    actions.iter().filter(is_write).collect()
}

#[test]
fn take_1_nothing_is_written_where_the_reference_writes_nothing() {
    each(|case| {
        if case.deviation.is_some() {
            // Listed with reasons in the README of the vectors: ours goes on where the reference is stuck.
            return Ok(());
        }
        let mut world = left_by_reference(case);
        let plan = world.sync().map_err(|error| error.to_string())?;
        same("writes", writes(&plan.actions), Vec::new())
    });
}

#[test]
fn take_2_replica_sets_are_found_by_template_not_by_name_or_hash() {
    each(|case| {
        let renamed = |text: String| text.replace("web-h", "zzz-").replace("\"h", "\"native");
        let mut as_recorded = recorded(case);
        let mut other_names = recorded(case);
        for it in &mut other_names.replica_sets {
            let text = serde_json::to_string(&(&it.metadata.name, &it.metadata.labels)).unwrap();
            (it.metadata.name, it.metadata.labels) = serde_json::from_str(&renamed(text)).unwrap();
            let mut template = Value::clone(&it.spec.template);
            if let Some(hash) = template["metadata"]["labels"].get_mut("pod-template-hash") {
                *hash = json!("another");
            }
            it.spec.template = Arc::new(template);
        }
        let actions = |world: &mut World| -> Result<Vec<String>, String> {
            let plan = world.sync().map_err(|error| error.to_string())?;
            let texts = plan.actions.iter().map(|it| serde_json::to_string(it).unwrap());
            Ok(texts.map(|text| text.replace("web-h", "zzz-")).collect())
        };
        same("actions", actions(&mut other_names)?, actions(&mut as_recorded)?)
    });
}

#[test]
fn take_3_what_ours_creates_is_what_the_reference_would_have_created() {
    each(|case| {
        if case.deviation.is_some() {
            return Ok(());
        }
        let mut ours = recorded(case);
        ours.settle(30).map_err(|error| error.to_string())?;
        let ours_made = ours.created.as_ref().and_then(|(name, _)| {
            let made = ours
                .replica_sets
                .iter()
                .find(|it| it.metadata.name.as_deref() == Some(name));
            made.cloned()
        });
        // A rollback changes the template after the ReplicaSet was made.
        let theirs = created(case, &recorded(case).deployment);
        same("created", ours_made.is_some(), theirs.is_some())?;
        let (Some(ours_made), Some(theirs)) = (ours_made, theirs) else {
            return Ok(());
        };
        same(
            "template",
            template::is_equal(&ours_made.spec.template, &theirs.spec.template),
            true,
        )?;
        let hash = |it: &ReplicaSet| it.metadata.labels.as_ref().unwrap()["pod-template-hash"].clone();
        let (own, other) = (hash(&ours_made), hash(&theirs));
        let shape = |it: &ReplicaSet, hash: &str| {
            let parts = json!([
                it.metadata.name,
                it.metadata.labels,
                it.spec.selector,
                it.spec.template["metadata"]
            ]);
            parts.to_string().replace(hash, "HASH")
        };
        same(
            "name, labels, selector",
            shape(&ours_made, &own),
            shape(&theirs, &other),
        )?;
        same(
            "owner",
            ours_made.metadata.owner_references,
            theirs.metadata.owner_references,
        )
    });
}

#[test]
fn take_4_a_hand_over_does_not_touch_the_deadline_clock() {
    each(|case| {
        if case.deviation.is_some() {
            return Ok(());
        }
        let mut world = left_by_reference(case);
        let progressing = |world: &World| {
            let conditions = world.deployment.status.conditions.clone().unwrap_or_default();
            conditions.into_iter().find(|it| it.type_ == PROGRESSING)
        };
        let before = progressing(&world);
        world.now = world.now.checked_add(SignedDuration::from_secs(20)).unwrap();
        world.sync().map_err(|error| error.to_string())?;
        let after = progressing(&world);
        let reason = |it: &Option<_>| {
            it.as_ref()
                .and_then(|it: &k8s_openapi::api::apps::v1::DeploymentCondition| it.reason.clone())
        };
        // A deadline that passes meanwhile is no matter of the hand-over.
        if reason(&before) != reason(&after) {
            return same(
                "reason",
                reason(&after).as_deref(),
                Some("ProgressDeadlineExceeded"),
            );
        }
        same("Progressing", after, before)
    });
}

#[test]
fn take_6_a_newly_defaulted_field_on_both_sides_is_no_change() {
    each(|case| {
        let mut as_recorded = recorded(case);
        let mut defaulted = recorded(case);
        let with_default = |template: &Arc<Value>| {
            let mut template = Value::clone(template);
            template["spec"]["fieldOfALaterVersion"] = json!("default");
            Arc::new(template)
        };
        defaulted.deployment.spec.template = with_default(&defaulted.deployment.spec.template);
        for it in &mut defaulted.replica_sets {
            it.spec.template = with_default(&it.spec.template);
        }
        let labels = |world: &mut World| -> Result<Vec<&'static str>, String> {
            let plan = world.sync().map_err(|error| error.to_string())?;
            Ok(plan.actions.iter().map(Action::label).collect())
        };
        same("actions", labels(&mut defaulted)?, labels(&mut as_recorded)?)
    });
}

#[test]
fn take_7_annotations_of_the_native_controller_are_left_alone() {
    each(|case| {
        let mut world = left_by_reference(case);
        let before = world.replica_sets.clone();
        world.sync().map_err(|error| error.to_string())?;
        for (old, new) in before.iter().zip(&world.replica_sets) {
            let managed = |it: &ReplicaSet| it.metadata.managed_fields.clone();
            same("managedFields", managed(new), managed(old))?;
            if case.deviation.is_none() {
                same(
                    "annotations",
                    &new.metadata.annotations,
                    &old.metadata.annotations,
                )?;
            }
        }
        Ok(())
    });
}
