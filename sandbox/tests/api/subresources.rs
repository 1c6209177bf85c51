use serde_json::{Value, json};

use crate::support::{DEPLOYMENTS, Http, PODS, deployment, pod, pod_on, server};

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";

#[tokio::test(start_paused = true)]
async fn api_440_status_and_the_rest_are_written_apart() {
    let http = Http::new(&server());
    let url = format!("{DEPLOYMENTS}/d");
    let mut sent = deployment("d");
    sent["status"] = json!({"replicas": 9});
    let stored = http.post(DEPLOYMENTS, &sent).await.ok();
    assert_eq!(stored["status"].get("replicas"), None);
    let patch = json!({
        "metadata": {"labels": {"l": "1"}, "annotations": {"a": "1"}},
        "spec": {"replicas": 9},
        "status": {"observedGeneration": 1},
    });
    let status = http.merge(&format!("{url}/status"), &patch).await.ok();
    assert_eq!(
        (
            &status["spec"]["replicas"],
            &status["status"]["observedGeneration"]
        ),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (
            status["metadata"].get("labels"),
            &status["metadata"]["annotations"]["a"]
        ),
        (None, &json!("1"))
    );
    let main = http
        .merge(&url, &json!({"status": {"observedGeneration": 7}}))
        .await
        .ok();
    assert_eq!(main["status"]["observedGeneration"], 1);
    let maps = "/api/v1/namespaces/default/configmaps/a/status";
    assert_eq!(
        http.get(maps).await.failure().2,
        "the server could not find the requested resource"
    );
}

#[tokio::test(start_paused = true)]
async fn api_442_scale() {
    let http = Http::new(&server());
    let url = format!("{DEPLOYMENTS}/d/scale");
    http.post(DEPLOYMENTS, &deployment("d")).await.ok();
    let scale = http.get(&url).await.ok();
    assert_eq!(
        (&scale["kind"], &scale["apiVersion"]),
        (&json!("Scale"), &json!("autoscaling/v1"))
    );
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["selector"]),
        (&json!(1), &json!("app=d"))
    );
    let scaled = http.merge(&url, &json!({"spec": {"replicas": 3}})).await.ok();
    assert_eq!(scaled["spec"]["replicas"], 3);
    let target = http.get(&format!("{DEPLOYMENTS}/d")).await.ok();
    assert_eq!(
        (&target["spec"]["replicas"], &target["metadata"]["generation"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(http.put(&url, &scale).await.failure().0, 409);
    let message = http
        .merge(&url, &json!({"spec": {"replicas": -1}}))
        .await
        .failure()
        .2;
    assert!(
        message.starts_with("Scale.autoscaling \"d\" is invalid: spec.replicas: "),
        "{message}"
    );
}

#[tokio::test(start_paused = true)]
async fn api_450_api_451_api_508_binding() {
    let http = Http::new(&server());
    let labels = json!({"topology.kubernetes.io/zone": "z1", "other": "x"});
    http.post(
        "/api/v1/nodes",
        &json!({"metadata": {"name": "n1", "labels": labels}}),
    )
    .await
    .ok();
    http.post(PODS, &pod("p")).await.ok();
    http.merge(
        &format!("{PODS}/p/status"),
        &json!({"status": {"nominatedNodeName": "n9"}}),
    )
    .await
    .ok();
    let binding = json!({
        "metadata": {"name": "p", "annotations": {"a": "1"}}, "target": {"kind": "Node", "name": "n1"},
    });
    let answer = http.post(&format!("{PODS}/p/binding"), &binding).await;
    assert_eq!((answer.code, &answer.json()["status"]), (201, &json!("Success")));
    let bound = http.get(&format!("{PODS}/p")).await.ok();
    assert_eq!(
        (&bound["spec"]["nodeName"], &bound["metadata"]["generation"]),
        (&json!("n1"), &json!(1))
    );
    assert_eq!(
        bound["metadata"]["labels"],
        json!({"topology.kubernetes.io/zone": "z1"})
    );
    assert_eq!(bound["metadata"]["annotations"]["a"], "1");
    assert_eq!(bound["status"].get("nominatedNodeName"), None);
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    let again = http.post(&format!("{PODS}/p/binding"), &binding).await.failure();
    let want =
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"n1\"";
    assert_eq!((again.0, again.2.as_str()), (409, want));
}

async fn ready_pod(http: &Http, name: &str) {
    let mut sent = pod_on(name, "n1");
    sent["metadata"]["labels"] = json!({"app": "a"});
    http.post(PODS, &sent).await.ok();
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    http.merge(&format!("{PODS}/{name}/status"), &status).await.ok();
}

async fn budget(http: &Http, allowed: i64) {
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}});
    http.post(BUDGETS, &json!({"metadata": {"name": "b"}, "spec": spec}))
        .await
        .ok();
    let status = json!({"status": {
        "observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": 1, "desiredHealthy": 1,
        "expectedPods": 1,
    }});
    http.merge(&format!("{BUDGETS}/b/status"), &status).await.ok();
}

fn eviction(name: &str) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}})
}

#[tokio::test(start_paused = true)]
async fn api_460_api_462_api_467_eviction_without_a_budget() {
    let http = Http::new(&server());
    ready_pod(&http, "p").await;
    assert_eq!(
        http.post(&format!("{PODS}/p/eviction"), &eviction("q"))
            .await
            .failure()
            .0,
        400
    );
    assert_eq!(
        http.post(&format!("{PODS}/p/eviction"), &eviction("p"))
            .await
            .code,
        201
    );
    let pod = http.get(&format!("{PODS}/p")).await.ok();
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    assert!(
        conditions
            .iter()
            .any(|condition| condition["reason"] == "EvictionByEvictionAPI")
    );
}

#[tokio::test(start_paused = true)]
async fn api_465_api_466_a_budget_is_spent() {
    let http = Http::new(&server());
    ready_pod(&http, "p").await;
    ready_pod(&http, "q").await;
    budget(&http, 1).await;
    http.post(&format!("{PODS}/p/eviction"), &eviction("p"))
        .await
        .ok();
    let spent = http.get(&format!("{BUDGETS}/b")).await.ok();
    assert_eq!(spent["status"]["disruptionsAllowed"], 0);
    assert_eq!(spent["status"]["disruptedPods"]["p"], "2026-01-01T00:00:00Z");
    let refused = http.post(&format!("{PODS}/q/eviction"), &eviction("q")).await;
    assert_eq!(refused.failure().0, 429);
    assert_eq!(
        refused.json()["details"]["causes"][0]["message"],
        "The disruption budget b needs 1 healthy pods and has 1 currently"
    );
    assert_eq!(
        http.get(&format!("{PODS}/q")).await.ok()["metadata"].get("deletionTimestamp"),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn api_464_a_budget_that_is_not_processed_yet() {
    let http = Http::new(&server());
    ready_pod(&http, "p").await;
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}});
    http.post(BUDGETS, &json!({"metadata": {"name": "b"}, "spec": spec}))
        .await
        .ok();
    let refused = http.post(&format!("{PODS}/p/eviction"), &eviction("p")).await;
    assert_eq!(
        (refused.code, &refused.headers["retry-after"]),
        (429, &http::HeaderValue::from_static("10"))
    );
}

#[tokio::test(start_paused = true)]
async fn api_470_api_471_api_473_what_nodes_would_answer() {
    let http = Http::new(&server());
    http.post(PODS, &pod("p")).await.ok();
    assert_eq!(http.get(&format!("{PODS}/p/log")).await.code, 204);
    let message = http.get(&format!("{PODS}/p/log?container=zzz")).await.failure().2;
    assert_eq!(message, "container zzz is not valid for pod p");
    let message = http.get(&format!("{PODS}/p/exec")).await.failure().2;
    assert_eq!(message, "pod p does not have a host assigned");
    let token = "/api/v1/namespaces/default/serviceaccounts/default/token";
    assert_eq!(http.post(token, &json!({})).await.failure().0, 404);
}
