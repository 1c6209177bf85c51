//! Upstream's scenarios of Deployments.

use serde_json::{Value, json};

use super::stage::{
    Stage, controller, count, deployment, image, is_active, is_complete, is_finished, is_observed, reason,
    replica_set, revision, text, uid,
};

async fn replica_sets_of(stage: &Stage, deployment: &Value) -> Vec<Value> {
    let mut all = stage.list("replicasets").await;
    all.retain(|it| controller(it) == uid(deployment));
    all
}

/// The image of a pod, or of the template of a workload.
fn has_image(object: &Value, image: &str) -> bool {
    let template = &object["spec"]["template"];
    let pod = if template.is_null() { object } else { template };
    text(pod, "/spec/containers/0/image") == image
}

pub(super) async fn dep_3_background_deletion_reaps_replica_sets_and_pods(stage: Stage) {
    let mut body = deployment("reaped", 2, "example.com/reaped:1");
    body["metadata"]["annotations"] = json!({
        "test": "copied",
        "kubectl.kubernetes.io/last-applied-configuration": "not copied",
    });
    stage.create("deployments", &body).await;
    let made = stage.complete("reaped").await;
    let sets = replica_sets_of(&stage, &made).await;
    let [set] = &sets[..] else {
        panic!("one ReplicaSet: {sets:?}")
    };
    let annotations = &set["metadata"]["annotations"];
    assert_eq!(annotations["test"], "copied", "DEP-26");
    assert!(
        annotations["kubectl.kubernetes.io/last-applied-configuration"].is_null(),
        "DEP-26"
    );
    assert_eq!((revision(&made), revision(set)), ("1", "1"));
    stage.delete("deployments/reaped", "Background").await;
    stage
        .until("nothing is left", async || {
            let none = stage.list("deployments").await.is_empty()
                && stage.list("replicasets").await.is_empty()
                && stage.list("pods").await.is_empty();
            none.then_some(())
        })
        .await;
}

pub(super) async fn dep_3_foreground_deletion_waits_for_the_children(stage: Stage) {
    stage
        .create("deployments", &deployment("waits", 2, "example.com/waits:1"))
        .await;
    stage.complete("waits").await;
    let history = stage.record().await;
    stage.delete("deployments/waits", "Foreground").await;
    stage
        .until("it is gone", async || {
            stage.try_get("deployments/waits").await.is_none().then_some(())
        })
        .await;
    let moments = history.end().await;
    for moment in moments.iter().filter(|it| it.deployment("waits").is_none()) {
        assert_eq!(moment.all("replicasets").count(), 0, "its ReplicaSet goes first");
    }
    let creations = moments.iter().filter(|it| it.all("pods").count() > 2).count();
    assert_eq!(creations, 0, "RS-24: no pod is replaced on the way");
}

pub(super) async fn dep_3_orphaned_replica_sets_and_pods_go_on(stage: Stage) {
    stage
        .create("deployments", &deployment("left", 2, "example.com/left:1"))
        .await;
    let made = stage.complete("left").await;
    let before = replica_sets_of(&stage, &made).await;
    stage.delete("deployments/left", "Orphan").await;
    stage
        .until("it is gone and its ReplicaSet an orphan", async || {
            let sets = stage.list("replicasets").await;
            let orphans = sets.iter().all(|set| controller(set).is_empty());
            (orphans && stage.try_get("deployments/left").await.is_none()).then_some(())
        })
        .await;
    // A later deletion has gone all the way: the garbage collector had every occasion for a mistake.
    stage
        .create("deployments", &deployment("later", 1, "example.com/later:1"))
        .await;
    stage.complete("later").await;
    stage.delete("deployments/later", "Background").await;
    stage
        .until("the later one's pods are gone", async || {
            stage
                .list("pods?labelSelector=app%3Dlater")
                .await
                .is_empty()
                .then_some(())
        })
        .await;
    let sets = stage.list("replicasets").await;
    let [set] = &sets[..] else {
        panic!("one ReplicaSet: {sets:?}")
    };
    assert_eq!(uid(set), uid(&before[0]));
    // Its pods are replaced still: it works on its own.
    let pods = stage.list("pods").await;
    stage
        .delete(&format!("pods/{}", super::stage::name(&pods[0])), "Background")
        .await;
    stage
        .until("two pods of the orphan", async || {
            let pods = stage.list("pods").await;
            let own = pods
                .iter()
                .filter(|pod| is_active(pod) && controller(pod) == uid(set));
            (own.count() == 2).then_some(())
        })
        .await;
}

pub(super) async fn dep_22_an_adopted_revision_is_continued_in_64_bits(stage: Stage) {
    let mut old = replica_set("by-hand", "rolling", 1, "example.com/old:1");
    old["metadata"]["annotations"] = json!({"deployment.kubernetes.io/revision": "3546343826724305832"});
    stage.create("replicasets", &old).await;
    stage
        .object("replicasets/by-hand", |set| {
            count(set, "/status/readyReplicas") == 1
        })
        .await;
    stage
        .create("deployments", &deployment("rolling", 1, "example.com/new:1"))
        .await;
    let made = stage.complete("rolling").await;
    assert_eq!(revision(&made), "3546343826724305833");
    let sets = replica_sets_of(&stage, &made).await;
    let old: Vec<_> = sets
        .iter()
        .filter(|set| has_image(set, "example.com/old:1"))
        .collect();
    assert_eq!((sets.len(), old.len()), (2, 1), "adopted (RS-13), and one made");
    assert_eq!(count(old[0], "/spec/replicas"), 0);
}

pub(super) async fn dep_25_the_life_of_a_deployment(stage: Stage) {
    let history = stage.record().await;
    let mut body = deployment("lives", 2, "example.com/lives:1");
    body["metadata"]["labels"]["test-deployment-static"] = json!("true");
    stage.create("deployments", &body).await;
    let made = stage
        .object("deployments/lives", |it| count(it, "/status/readyReplicas") == 2)
        .await;
    stage.complete("lives").await;

    let mut patch = image("example.com/lives:2");
    patch["metadata"] = json!({"labels": {"test-deployment": "patched"}});
    patch["spec"]["replicas"] = json!(1);
    patch["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(0);
    stage.patch("deployments/lives", &patch).await;
    let patched = stage
        .object("deployments/lives", |it| {
            has_image(it, "example.com/lives:2") && is_complete(it)
        })
        .await;
    assert_eq!(
        (
            uid(&patched),
            revision(&patched),
            count(&patched, "/status/replicas")
        ),
        (uid(&made), "2", 1)
    );

    let found = stage
        .list("deployments?labelSelector=test-deployment-static%3Dtrue")
        .await;
    assert_eq!(found.len(), 1);

    stage
        .replace("deployments/lives", |it| {
            it["metadata"]["labels"]["test-deployment"] = json!("updated");
            it["metadata"]["annotations"]["new"] = json!("yes");
            it["spec"]["replicas"] = json!(2);
        })
        .await;
    let updated = stage
        .object("deployments/lives", |it| {
            it["metadata"]["annotations"]["new"] == "yes" && is_complete(it)
        })
        .await;
    assert_eq!(revision(&updated), "2", "DEP-29: no rollout");
    let status = stage.get("deployments/lives/status").await;
    assert_eq!(count(&status, "/status/availableReplicas"), 2);

    stage
        .patch(
            "deployments/lives/status",
            &json!({"metadata": {"annotations": {"deploymentstatus": "1"}},
                                                   "status": {"readyReplicas": 0, "availableReplicas": 0}}),
        )
        .await;
    stage
        .object("deployments/lives", |it| {
            count(it, "/status/readyReplicas") == 2 && is_complete(it)
        })
        .await;

    stage
        .delete(
            "deployments?labelSelector=test-deployment-static%3Dtrue",
            "Background",
        )
        .await;
    stage
        .until("it is gone", async || {
            stage.list("deployments").await.is_empty().then_some(())
        })
        .await;

    // DEP-25: the controller never raises the generation; ours to the spec did.
    let moments = history.end().await;
    let generations: Vec<_> = moments
        .iter()
        .filter_map(|it| it.deployment("lives"))
        .map(|it| count(it, "/metadata/generation"))
        .collect();
    assert_eq!(
        generations.iter().max(),
        Some(&3),
        "created, patched, updated: {generations:?}"
    );
}

pub(super) async fn dep_41_scaling_in_the_middle_of_a_rollout_is_proportional(stage: Stage) {
    let mut body = deployment("proportional", 10, "example.com/one:1");
    body["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}});
    stage.create("deployments", &body).await;
    let made = stage.complete("proportional").await;
    let first = replica_sets_of(&stage, &made).await[0].clone();
    stage
        .patch("deployments/proportional", &image("fail/two:1"))
        .await;
    let path = |set: &Value| format!("replicasets/{}", super::stage::name(set));
    let settled = |size: i64, available: i64| {
        move |set: &Value| {
            count(set, "/spec/replicas") == size
                && count(set, "/status/replicas") == size
                && count(set, "/status/availableReplicas") == available
        }
    };
    stage.object(&path(&first), settled(8, 8)).await;
    let second = stage
        .until("the second ReplicaSet with 5 pods", async || {
            let sets = replica_sets_of(&stage, &made).await;
            sets.into_iter()
                .find(|set| uid(set) != uid(&first) && settled(5, 0)(set))
        })
        .await;
    stage
        .patch("deployments/proportional", &json!({"spec": {"replicas": 30}}))
        .await;
    // 8 + (33 - 13) × 8/13, rounded, and 5 + 20 × 5/13.
    stage
        .object(&path(&first), |set| count(set, "/spec/replicas") == 20)
        .await;
    stage
        .object(&path(&second), |set| count(set, "/spec/replicas") == 13)
        .await;
}

pub(super) async fn dep_55_a_rollover_takes_from_both_former_replica_sets(stage: Stage) {
    stage
        .create(
            "replicasets",
            &replica_set("by-hand", "rollover", 1, "example.com/first:1"),
        )
        .await;
    stage
        .object("replicasets/by-hand", |set| {
            count(set, "/status/readyReplicas") == 1
        })
        .await;
    let mut body = deployment("rollover", 1, "fail/second:1");
    body["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    body["spec"]["minReadySeconds"] = json!(1);
    let made = stage.create("deployments", &body).await;
    let stuck = stage
        .object("deployments/rollover", |it| {
            count(it, "/status/updatedReplicas") >= 1 && is_observed(it)
        })
        .await;
    assert_eq!(revision(&stuck), "1");
    let second = stage
        .until("both ReplicaSets have one pod", async || {
            let sets = replica_sets_of(&stage, &made).await;
            let one = |set: &&Value| count(set, "/spec/replicas") == 1 && count(set, "/status/replicas") == 1;
            (sets.iter().filter(one).count() == 2)
                .then(|| sets.into_iter().find(|it| has_image(it, "fail/second:1")))?
        })
        .await;
    let history = stage.record().await;
    stage
        .patch("deployments/rollover", &image("example.com/third:1"))
        .await;
    let done = stage.complete("rollover").await;
    assert_eq!(revision(&done), "2");
    for name in ["by-hand", super::stage::name(&second)] {
        let set = stage.get(&format!("replicasets/{name}")).await;
        assert_eq!(
            (count(&set, "/spec/replicas"), count(&set, "/status/replicas")),
            (0, 0),
            "{name}"
        );
    }
    super::tools::stays_within_limits(&history.end().await, "rollover", 2, 1);
}

pub(super) async fn dep_58_recreate_never_mixes_old_and_new_pods(stage: Stage) {
    let mut body = deployment("recreated", 2, "example.com/old:1");
    body["spec"]["strategy"] = json!({"type": "Recreate"});
    // Terminating for a moment: the new pods wait for that too.
    body["spec"]["template"]["metadata"]["annotations"] = json!({"sandbox.steersman.dev/stop-after": "1s"});
    body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(5);
    stage.create("deployments", &body).await;
    let made = stage.complete("recreated").await;
    assert_eq!(revision(&made), "1");
    let history = stage.record().await;
    stage
        .patch("deployments/recreated", &image("example.com/new:1"))
        .await;
    let done = stage
        .object("deployments/recreated", |it| {
            has_image(it, "example.com/new:1") && is_complete(it)
        })
        .await;
    assert_eq!(revision(&done), "2");
    let mut made = 0;
    for moment in history.end().await {
        let of = |image: &'static str| {
            moment
                .all("pods")
                .filter(move |pod| has_image(pod, image) && !is_finished(pod))
        };
        let (old, new) = (of("example.com/old:1").count(), of("example.com/new:1").count());
        assert!(old == 0 || new == 0, "{old} old pods beside {new} new ones");
        made = made.max(new);
    }
    assert_eq!(made, 2);
}

pub(super) async fn dep_60_no_history_is_kept_and_no_pod_too_many_is_made(stage: Stage) {
    stage
        .create(
            "replicasets",
            &replica_set("by-hand", "cleanup", 1, "example.com/old:1"),
        )
        .await;
    stage
        .object("replicasets/by-hand", |set| {
            count(set, "/status/readyReplicas") == 1
        })
        .await;
    let history = stage.record().await;
    let mut body = deployment("cleanup", 1, "example.com/new:1");
    body["spec"]["revisionHistoryLimit"] = json!(0);
    stage.create("deployments", &body).await;
    stage.complete("cleanup").await;
    stage
        .until("the old ReplicaSet is deleted", async || {
            (stage.list("replicasets").await.len() == 1).then_some(())
        })
        .await;
    let mut seen = std::collections::BTreeSet::new();
    for moment in history.end().await {
        for pod in moment
            .all("pods")
            .filter(|pod| !has_image(pod, "example.com/old:1"))
        {
            seen.insert(uid(pod).to_owned());
        }
        let made_of_old = moment
            .all("pods")
            .filter(|pod| has_image(pod, "example.com/old:1"))
            .count();
        assert!(made_of_old <= 1, "the adopted ReplicaSet makes no further pod");
    }
    assert_eq!(seen.len(), 1, "one pod is made");
}

pub(super) async fn dep_95_iterative_rollouts_come_to_an_end(stage: Stage) {
    let mut random = fastrand::Rng::with_seed(36);
    let mut body = deployment("iterative", 6, "example.com/iterative:1");
    body["spec"]["progressDeadlineSeconds"] = json!(300);
    body["spec"]["revisionHistoryLimit"] = json!(2);
    body["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(0);
    stage.create("deployments", &body).await;
    for round in 0..20 {
        let current = stage.get("deployments/iterative").await;
        let mut replicas = count(&current, "/spec/replicas");
        match random.u8(0..10) {
            0..3 => replicas += 1,
            3..6 => replicas = (replicas - 1).max(1),
            _ => {}
        }
        let what = random.u8(0..5);
        let change = match what {
            0 => {
                json!({"spec": {"replicas": replicas, "template": {"metadata": {"annotations": {"round": round.to_string()}}}}})
            }
            1 => json!({"metadata": {"annotations": {"deprecated.deployment.rollback.to": "0"}}}),
            2 => json!({"spec": {"replicas": replicas}}),
            3 => json!({"spec": {"paused": current["spec"]["paused"] != true}}),
            _ => Value::Null,
        };
        if change.is_null() {
            for pod in stage.list("pods").await.iter().filter(|_| random.bool()) {
                stage
                    .delete(&format!("pods/{}", super::stage::name(pod)), "Background")
                    .await;
            }
        } else {
            stage.patch("deployments/iterative", &change).await;
        }
        // The steps fall into different moments of the rollout before them.
        tokio::time::sleep(std::time::Duration::from_millis(random.u64(0..200))).await;
    }
    stage
        .patch("deployments/iterative", &json!({"spec": {"paused": false}}))
        .await;
    let done = stage
        .object("deployments/iterative", |it| {
            is_complete(it) && it["metadata"]["annotations"]["deprecated.deployment.rollback.to"].is_null()
        })
        .await;
    assert_eq!(reason(&done, "Progressing"), "NewReplicaSetAvailable");
    let sets = replica_sets_of(&stage, &done).await;
    let mut revisions: Vec<_> = sets.iter().map(revision).collect();
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(revisions.len(), sets.len(), "INV-8: one revision each");
}

pub(super) async fn dep_108_an_orphan_is_adopted_without_a_new_replica_set(stage: Stage) {
    stage
        .create("deployments", &deployment("first", 1, "example.com/adopted:1"))
        .await;
    let first = stage.complete("first").await;
    let sets = replica_sets_of(&stage, &first).await;
    let [orphan] = &sets[..] else {
        panic!("one ReplicaSet: {sets:?}")
    };
    let pods: Vec<_> = stage
        .list("pods")
        .await
        .iter()
        .map(|pod| uid(pod).to_owned())
        .collect();
    stage.delete("deployments/first", "Orphan").await;
    stage
        .until("the ReplicaSet is an orphan", async || {
            let sets = stage.list("replicasets").await;
            let gone = stage.try_get("deployments/first").await.is_none();
            (gone && sets.iter().all(|set| controller(set).is_empty())).then_some(())
        })
        .await;
    let mut second = deployment("second", 1, "example.com/adopted:1");
    second["spec"]["selector"] = json!({"matchLabels": {"app": "first"}});
    second["spec"]["template"] = super::stage::template("first", "example.com/adopted:1");
    let second = stage.create("deployments", &second).await;
    stage.complete("second").await;
    let sets = stage.list("replicasets").await;
    let [adopted] = &sets[..] else {
        panic!("no second ReplicaSet: {sets:?}")
    };
    assert_eq!((uid(adopted), controller(adopted)), (uid(orphan), uid(&second)));
    let now: Vec<_> = stage
        .list("pods")
        .await
        .iter()
        .map(|pod| uid(pod).to_owned())
        .collect();
    assert_eq!(now, pods, "no pod was replaced");
}

pub(super) async fn dep_110_a_status_of_somebody_else_is_recomputed(stage: Stage) {
    stage
        .create("deployments", &deployment("told", 2, "example.com/told:1"))
        .await;
    stage.complete("told").await;
    let update = json!({"type": "StatusUpdate", "status": "True", "reason": "Test", "message": "by a test"});
    stage
        .replace("deployments/told/status", |it| {
            it["status"]["conditions"]
                .as_array_mut()
                .unwrap()
                .push(update.clone());
        })
        .await;
    stage
        .object("deployments/told", |it| reason(it, "StatusUpdate") == "Test")
        .await;
    stage
        .patch(
            "deployments/told/status",
            &json!({"status": {"replicas": 9, "updatedReplicas": 9, "readyReplicas": 9}}),
        )
        .await;
    let told = stage.complete("told").await;
    assert_eq!(
        (
            count(&told, "/status/readyReplicas"),
            reason(&told, "StatusUpdate")
        ),
        (2, "Test"),
        "DEP-66"
    );
    stage
        .patch(
            "deployments/told/status",
            &json!({"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}),
        )
        .await;
    let told = stage
        .object("deployments/told", |it| {
            reason(it, "Available") == "MinimumReplicasAvailable"
        })
        .await;
    assert!(
        super::stage::condition(&told, "StatusPatched").is_some(),
        "{told}"
    );
}
