//! Upstream's scenarios of ReplicaSets.

use serde_json::json;

use super::stage::{
    Stage, condition, controller, count, is_active, is_observed, is_ready, name, reason, replica_set, text,
    uid,
};

fn is_available(replica_set: &serde_json::Value) -> bool {
    let wanted = count(replica_set, "/spec/replicas");
    is_observed(replica_set)
        && count(replica_set, "/status/replicas") == wanted
        && count(replica_set, "/status/availableReplicas") == wanted
}

pub(super) async fn rs_33_each_replica_runs(stage: Stage) {
    stage
        .create(
            "replicasets",
            &replica_set("basic", "basic", 3, "example.com/hostname:1"),
        )
        .await;
    let set = stage.object("replicasets/basic", is_available).await;
    let pods = stage.list("pods?labelSelector=app%3Dbasic").await;
    assert_eq!(pods.len(), 3);
    for pod in &pods {
        assert!(is_ready(pod) && !text(pod, "/status/podIP").is_empty(), "{pod}");
        assert!(name(pod).starts_with("basic-"), "RS-36: {}", name(pod));
        assert_eq!(controller(pod), uid(&set), "RS-35");
        assert_eq!(pod["metadata"]["ownerReferences"][0]["blockOwnerDeletion"], true);
    }
}

pub(super) async fn rs_13_pods_are_adopted_and_released_by_label(stage: Stage) {
    let orphan = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "lone", "labels": {"app": "adopt", "pod": "adopter"}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [{"name": "main", "image": "example.com/lone:1"}]},
    });
    stage.create("pods", &orphan).await;
    stage
        .create(
            "replicasets",
            &replica_set("adopter", "adopt", 1, "example.com/other:1"),
        )
        .await;
    let set = stage.object("replicasets/adopter", is_available).await;
    let lone = stage.get("pods/lone").await;
    assert_eq!(controller(&lone), uid(&set), "the orphan was adopted");
    assert_eq!(stage.list("pods").await.len(), 1, "and no pod made beside it");

    stage
        .patch(
            "pods/lone",
            &json!({"metadata": {"labels": {"app": "elsewhere"}}}),
        )
        .await;
    let lone = stage.object("pods/lone", |pod| controller(pod).is_empty()).await;
    assert!(is_active(&lone), "released, not deleted");
    stage
        .until("a replacement", async || {
            let pods = stage.list("pods?labelSelector=app%3Dadopt").await;
            pods.iter().any(|pod| controller(pod) == uid(&set)).then_some(())
        })
        .await;
}

pub(super) async fn rs_62_exceeded_quota_is_a_condition_that_goes_away(stage: Stage) {
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "two"},
                       "spec": {"hard": {"pods": "0"}}});
    stage.create("resourcequotas", &quota).await;
    // The API server enforces a quota as soon as it has seen it itself, which may be after us.
    let probe = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"},
                       "spec": {"containers": [{"name": "main", "image": "example.com/probe:1"}]}});
    stage
        .until("no pod is allowed", async || {
            stage.is_refused("pods?dryRun=All", &probe).await.then_some(())
        })
        .await;
    stage
        .patch("resourcequotas/two", &json!({"spec": {"hard": {"pods": "2"}}}))
        .await;
    stage
        .object("resourcequotas/two", |it| it["status"]["hard"]["pods"] == "2")
        .await;
    stage
        .create(
            "replicasets",
            &replica_set("greedy", "greedy", 3, "example.com/greedy:1"),
        )
        .await;
    let set = stage
        .object("replicasets/greedy", |set| {
            condition(set, "ReplicaFailure").is_some()
        })
        .await;
    let failure = condition(&set, "ReplicaFailure").unwrap();
    assert_eq!(
        (&failure["status"], reason(&set, "ReplicaFailure")),
        (&json!("True"), "FailedCreate")
    );
    assert!(
        text(failure, "/message").contains("exceeded quota: two"),
        "{failure}"
    );
    stage
        .object("replicasets/greedy", |set| count(set, "/status/replicas") == 2)
        .await;

    stage
        .replace("replicasets/greedy", |set| set["spec"]["replicas"] = json!(2))
        .await;
    stage
        .object("replicasets/greedy", |set| {
            is_available(set) && condition(set, "ReplicaFailure").is_none()
        })
        .await;
}

pub(super) async fn dep_105_the_scale_of_a_replica_set_is_followed(stage: Stage) {
    stage
        .create(
            "replicasets",
            &replica_set("scaled", "scaled", 1, "example.com/scaled:1"),
        )
        .await;
    stage.object("replicasets/scaled", is_available).await;
    let scale = stage.get("replicasets/scaled/scale").await;
    assert_eq!(
        (count(&scale, "/spec/replicas"), count(&scale, "/status/replicas")),
        (1, 1)
    );
    assert_eq!(text(&scale, "/status/selector"), "app=scaled,pod=scaled");
    let scale = stage
        .replace("replicasets/scaled/scale", |scale| {
            scale["spec"]["replicas"] = json!(2);
        })
        .await;
    assert_eq!(count(&scale, "/spec/replicas"), 2);
    stage
        .object("replicasets/scaled", |set| {
            count(set, "/spec/replicas") == 2 && is_available(set)
        })
        .await;
    stage
        .patch("replicasets/scaled/scale", &json!({"spec": {"replicas": 4}}))
        .await;
    let set = stage.object("replicasets/scaled", is_available).await;
    assert_eq!(count(&set, "/spec/replicas"), 4);
}

pub(super) async fn rs_33_a_replaced_and_a_patched_size_are_followed(stage: Stage) {
    let created = stage
        .create(
            "replicasets",
            &replica_set("sized", "sized", 1, "example.com/sized:1"),
        )
        .await;
    stage.object("replicasets/sized", is_available).await;
    stage
        .replace("replicasets/sized", |set| set["spec"]["replicas"] = json!(2))
        .await;
    stage
        .object("replicasets/sized", |set| {
            count(set, "/status/availableReplicas") == 2
        })
        .await;
    let patch = json!({
        "metadata": {"labels": {"test-rs": "patched"}},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "main", "image": "example.com/sized:2"}]}}},
    });
    stage.patch("replicasets/sized", &patch).await;
    let set = stage
        .object("replicasets/sized", |set| {
            is_available(set) && count(set, "/status/replicas") == 3
        })
        .await;
    assert_eq!(
        (uid(&set), text(&set, "/metadata/labels/test-rs")),
        (uid(&created), "patched")
    );
    let images: Vec<_> = stage
        .list("pods")
        .await
        .iter()
        .map(|pod| pod["spec"]["containers"][0]["image"].clone())
        .collect();
    let new = images.iter().filter(|it| **it == "example.com/sized:2").count();
    assert_eq!(
        (images.len(), new),
        (3, 1),
        "a changed template makes no pod anew"
    );
}

pub(super) async fn rs_24_a_collection_is_deleted(stage: Stage) {
    stage
        .create("replicasets", &replica_set("one", "all", 3, "example.com/all:1"))
        .await;
    stage
        .create("replicasets", &replica_set("two", "all", 1, "example.com/all:1"))
        .await;
    stage
        .create(
            "replicasets",
            &replica_set("stays", "other", 1, "example.com/all:1"),
        )
        .await;
    for name in ["one", "two", "stays"] {
        stage.object(&format!("replicasets/{name}"), is_available).await;
    }
    let selected = "replicasets?labelSelector=app%3Dall";
    assert_eq!(stage.list(selected).await.len(), 2);
    stage.delete(selected, "Background").await;
    stage
        .until("only the other one is left", async || {
            let pods = stage.list("pods?labelSelector=app%3Dall").await;
            (stage.list(selected).await.is_empty() && pods.is_empty()).then_some(())
        })
        .await;
    let set = stage.get("replicasets/stays").await;
    assert!(is_available(&set), "{set}");
}

pub(super) async fn rs_65_conditions_of_others_stay_and_counts_are_recomputed(stage: Stage) {
    stage
        .create(
            "replicasets",
            &replica_set("told", "told", 2, "example.com/told:1"),
        )
        .await;
    stage.object("replicasets/told", is_available).await;
    let status = stage.get("replicasets/told/status").await;
    assert_eq!(count(&status, "/status/availableReplicas"), 2);
    stage
        .replace("replicasets/told/status", |set| {
            set["status"]["conditions"] =
                json!([{"type": "StatusUpdate", "status": "True", "reason": "Test", "message": "by a test"}]);
        })
        .await;
    stage
        .patch(
            "replicasets/told/status",
            &json!({"status": {"replicas": 7, "readyReplicas": 6}}),
        )
        .await;
    let set = stage.object("replicasets/told", is_available).await;
    assert_eq!(count(&set, "/status/readyReplicas"), 2, "DEP-110 for ReplicaSets");
    assert_eq!(reason(&set, "StatusUpdate"), "Test");
    stage
        .replace("replicasets/told", |set| set["spec"]["replicas"] = json!(3))
        .await;
    let set = stage.object("replicasets/told", is_available).await;
    assert_eq!(
        reason(&set, "StatusUpdate"),
        "Test",
        "kept by the next status write"
    );
}
