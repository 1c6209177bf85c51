use serde_json::json;

use crate::support::{Http, MAPS, PODS, config_map, names, pod, pod_on, server, version};

#[tokio::test(start_paused = true)]
async fn api_140_api_42_what_a_deletion_answers() {
    let http = Http::new(&server());
    let uid = http.post(MAPS, &config_map("a")).await.ok()["metadata"]["uid"].clone();
    let status = http.delete(&format!("{MAPS}/a")).await.ok();
    assert_eq!(
        (&status["kind"], &status["status"]),
        (&json!("Status"), &json!("Success"))
    );
    assert_eq!(
        status["details"],
        json!({"name": "a", "kind": "configmaps", "uid": uid})
    );
    http.post(PODS, &pod("p")).await.ok();
    assert_eq!(http.delete(&format!("{PODS}/p")).await.ok()["kind"], "Pod");
    assert_eq!(http.delete(&format!("{PODS}/p")).await.failure().0, 404);
}

#[tokio::test(start_paused = true)]
async fn api_141_api_142_api_143_finalizers_hold_an_object() {
    let http = Http::new(&server());
    let url = format!("{MAPS}/a");
    let mut sent = config_map("a");
    sent["metadata"]["finalizers"] = json!(["example.com/f"]);
    let from = version(&http.post(MAPS, &sent).await.ok());
    let marked = http.delete(&url).await.ok();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(http.delete(&url).await.ok(), marked);
    let more = json!({"metadata": {"finalizers": ["example.com/f", "example.com/g"]}});
    let message = http.merge(&url, &more).await.failure().2;
    assert!(
        message.contains("found new finalizers []string{\"example.com/g\"}"),
        "{message}"
    );
    let freed = http
        .merge(&url, &json!({"metadata": {"finalizers": null}}))
        .await
        .ok();
    assert_eq!(freed["metadata"].get("finalizers"), None);
    assert_eq!(http.get(&url).await.failure().0, 404);
    let mut watch = http
        .watch(&format!("{MAPS}?watch=1&resourceVersion={from}"))
        .await;
    assert_eq!(
        (watch.named().await, watch.named().await),
        ("MODIFIED a".into(), "DELETED a".into())
    );
}

#[tokio::test(start_paused = true)]
async fn api_145_preconditions() {
    let http = Http::new(&server());
    let url = format!("{MAPS}/a");
    let stored = http.post(MAPS, &config_map("a")).await.ok();
    let answer = http
        .delete_with(&url, &json!({"preconditions": {"uid": "x"}}))
        .await;
    assert!(
        answer
            .failure()
            .2
            .contains("the UID in the precondition (x) does not match the UID in record")
    );
    assert_eq!(answer.json()["details"]["kind"], "ConfigMap");
    let stale = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(http.delete_with(&url, &stale).await.failure().0, 409);
    let right = json!({"preconditions": {
        "uid": stored["metadata"]["uid"], "resourceVersion": stored["metadata"]["resourceVersion"],
    }});
    http.delete_with(&url, &right).await.ok();
}

#[tokio::test(start_paused = true)]
async fn api_144_api_146_propagation_becomes_a_finalizer() {
    let http = Http::new(&server());
    for (name, query, finalizers) in [
        ("a", "propagationPolicy=Foreground", json!(["foregroundDeletion"])),
        ("b", "propagationPolicy=Orphan", json!(["orphan"])),
        ("c", "orphanDependents=true", json!(["orphan"])),
    ] {
        http.post(MAPS, &config_map(name)).await.ok();
        let marked = http.delete(&format!("{MAPS}/{name}?{query}")).await.ok();
        assert_eq!(marked["metadata"]["finalizers"], finalizers);
    }
    let background = http
        .delete_with(&format!("{MAPS}/b"), &json!({"propagationPolicy": "Background"}))
        .await
        .ok();
    assert_eq!(background["status"], "Success");
    let message = http
        .delete(&format!("{MAPS}/a?propagationPolicy=Nope"))
        .await
        .failure()
        .2;
    assert!(
        message.contains("\"Foreground\", \"Background\", \"Orphan\", \"nil\""),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn api_148_a_collection_is_deleted_by_selector() {
    let http = Http::new(&server());
    for (name, label) in [("a", "1"), ("b", "2"), ("c", "1")] {
        let mut sent = config_map(name);
        sent["metadata"]["labels"] = json!({"l": label});
        http.post(MAPS, &sent).await.ok();
    }
    let deleted = http.delete(&format!("{MAPS}?labelSelector=l%3D1")).await.ok();
    assert_eq!(
        (&deleted["kind"], names(&deleted)),
        (&json!("ConfigMapList"), vec!["a".into(), "c".into()])
    );
    assert_eq!(names(&http.get(MAPS).await.ok()), ["b"]);
    assert_eq!(http.delete("/api/v1/namespaces").await.failure().0, 405);
}

#[tokio::test(start_paused = true)]
async fn api_149_api_150_api_151_pods_end_gracefully() {
    let http = Http::new(&server());
    let url = format!("{PODS}/p");
    let from = version(&http.post(PODS, &pod_on("p", "n1")).await.ok());
    let marked = http.delete(&url).await.ok();
    assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:00:30Z");
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(marked["metadata"]["generation"], 2);
    assert_eq!(
        http.delete(&format!("{url}?gracePeriodSeconds=60")).await.ok(),
        marked
    );
    let shorter = http.delete(&format!("{url}?gracePeriodSeconds=5")).await.ok();
    assert_eq!(shorter["metadata"]["deletionTimestamp"], "2026-01-01T00:00:05Z");
    http.delete(&format!("{url}?gracePeriodSeconds=0")).await.ok();
    let mut watch = http
        .watch(&format!("{PODS}?watch=1&resourceVersion={from}"))
        .await;
    for want in ["MODIFIED p", "MODIFIED p", "MODIFIED p", "DELETED p"] {
        assert_eq!(watch.named().await, want);
    }
    http.post(PODS, &pod("q")).await.ok();
    http.delete(&format!("{PODS}/q")).await.ok();
    assert_eq!(http.get(&format!("{PODS}/q")).await.failure().0, 404);
}

#[tokio::test(start_paused = true)]
async fn api_153_some_namespaces_stay() {
    let http = Http::new(&server());
    let (code, _, message) = http.delete("/api/v1/namespaces/default").await.failure();
    let want = "namespaces \"default\" is forbidden: this namespace may not be deleted";
    assert_eq!((code, message.as_str()), (403, want));
}

#[tokio::test(start_paused = true)]
async fn api_128_api_175_api_176_life_of_a_namespace() {
    let http = Http::new(&server());
    let url = "/api/v1/namespaces/x";
    let stored = http
        .post("/api/v1/namespaces", &json!({"metadata": {"name": "x"}}))
        .await
        .ok();
    assert_eq!(
        stored["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "x"})
    );
    assert_eq!(
        (&stored["spec"]["finalizers"], &stored["status"]["phase"]),
        (&json!(["kubernetes"]), &json!("Active"))
    );
    assert_eq!(http.delete(url).await.ok()["status"]["phase"], "Terminating");
    let refused = http.post(&format!("{url}/configmaps"), &config_map("a")).await;
    assert_eq!(refused.failure().0, 403);
    assert_eq!(
        refused.json()["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    let mut kept = http.get(url).await.ok();
    kept["spec"]["finalizers"] = json!([]);
    http.put(url, &kept).await.ok();
    assert_eq!(
        http.get(url).await.ok()["spec"]["finalizers"],
        json!(["kubernetes"])
    );
    http.put(&format!("{url}/finalize"), &kept).await.ok();
    assert_eq!(http.get(url).await.failure().0, 404);
}
