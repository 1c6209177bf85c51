use serde_json::json;

use crate::support::{Http, MAPS, config_map, server};

#[tokio::test(start_paused = true)]
async fn api_30_api_31_shape_of_errors() {
    let http = Http::new(&server());
    let missing = http
        .get("/apis/apps/v1/namespaces/default/deployments/nope")
        .await;
    assert_eq!(
        missing.json(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 404,
            "message": "deployments.apps \"nope\" not found", "reason": "NotFound",
            "details": {"group": "apps", "kind": "deployments", "name": "nope"},
        })
    );
    let unknown = http.get("/api/v1/nope").await;
    assert_eq!(
        (unknown.failure().2.as_str(), &unknown.json()["details"]),
        ("the server could not find the requested resource", &json!({}))
    );
    assert_eq!(
        http.put(MAPS, &config_map("a")).await.failure().1,
        "MethodNotAllowed"
    );
    assert_eq!(http.send("HEAD", MAPS, &[], "").await.code, 405);
}

#[tokio::test(start_paused = true)]
async fn api_33_unknown_paths_are_plain_text() {
    let http = Http::new(&server());
    for path in ["/nope", "/apis/unknown.group/v1", "/apis/unknown.group/v1/things"] {
        let answer = http.get(path).await;
        assert_eq!((answer.code, answer.text.as_str()), (404, "404 page not found\n"));
        assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    }
}

#[tokio::test(start_paused = true)]
async fn api_36_all_field_errors_are_listed() {
    let http = Http::new(&server());
    let sent = json!({"metadata": {"name": "Bad_Name"}, "spec": {"replicas": -1}});
    let answer = http
        .post("/apis/apps/v1/namespaces/default/deployments", &sent)
        .await;
    assert!(
        answer
            .failure()
            .2
            .starts_with("Deployment.apps \"Bad_Name\" is invalid: [")
    );
    let causes = answer.json()["details"]["causes"].as_array().unwrap().len();
    assert!(causes >= 3, "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn api_38_api_3_bodies_that_do_not_parse() {
    let http = Http::new(&server());
    let (code, _, message) = http.send("POST", MAPS, &[], "{").await.failure();
    assert_eq!(code, 400);
    assert!(
        message.starts_with("ConfigMap in version \"v1\" cannot be handled as a ConfigMap: "),
        "{message}"
    );
    let odd = http
        .send("POST", MAPS, &[("content-type", "text/html")], "x")
        .await;
    assert_eq!(
        (odd.failure().0, odd.failure().1.as_str()),
        (415, "UnsupportedMediaType")
    );
    let yaml = "metadata:\n  name: m\ndata:\n  k: v\n";
    let stored = http
        .send("POST", MAPS, &[("content-type", "application/yaml")], yaml)
        .await
        .ok();
    assert_eq!(stored["data"]["k"], "v");
}

#[tokio::test(start_paused = true)]
async fn api_13_bodies_are_limited() {
    let http = Http::new(&server());
    let answer = http
        .send("POST", MAPS, &[], vec![b' '; 3 * 1024 * 1024 + 1])
        .await;
    assert_eq!(answer.failure().2, "Request entity too large: limit is 3145728");
}

#[tokio::test(start_paused = true)]
async fn api_4_api_261_patches_that_cannot_be_applied() {
    let http = Http::new(&server());
    http.post(MAPS, &config_map("a")).await.ok();
    let url = format!("{MAPS}/a");
    assert_eq!(http.patch(&url, "text/plain", &json!({})).await.failure().0, 415);
    assert_eq!(
        http.patch(&url, "application/apply-patch+yaml", &json!({}))
            .await
            .failure()
            .2,
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
    );
    let test = json!([{"op": "test", "path": "/data/k", "value": "x"}]);
    let answer = http.patch(&url, "application/json-patch+json", &test).await;
    assert_eq!(
        answer.failure().2,
        "the server rejected our request due to an error in our request"
    );
}

#[tokio::test(start_paused = true)]
async fn api_8_every_answer_has_an_audit_id() {
    let http = Http::new(&server());
    let answer = http.get(MAPS).await;
    assert_eq!(answer.headers["audit-id"].len(), 36);
    assert_eq!(answer.headers["cache-control"], "no-cache, private");
    let echoed = http.send("GET", MAPS, &[("audit-id", "mine")], "").await;
    assert_eq!(echoed.headers["audit-id"], "mine");
}
