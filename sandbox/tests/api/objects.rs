use serde_json::{Value, json};

use crate::support::{
    DEPLOYMENTS, Http, MAPS, PODS, START, config_map, deployment, pod, server, server_with, version,
};

#[tokio::test(start_paused = true)]
async fn api_60_the_server_owns_identity_and_time() {
    let http = Http::new(&server());
    let mut sent = config_map("a");
    sent["metadata"]["uid"] = "mine".into();
    sent["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    sent["metadata"]["deletionTimestamp"] = "2001-01-01T00:00:00Z".into();
    let stored = http.post(MAPS, &sent).await.ok();
    assert_eq!(stored["metadata"]["creationTimestamp"], START);
    assert_eq!(stored["metadata"]["uid"].as_str().unwrap().len(), 36);
    assert_eq!(stored["metadata"].get("deletionTimestamp"), None);
    assert_eq!(
        (&stored["kind"], &stored["apiVersion"]),
        (&json!("ConfigMap"), &json!("v1"))
    );
}

#[tokio::test(start_paused = true)]
async fn api_61_versions_grow_over_all_kinds() {
    let http = Http::new(&server());
    let first = version(&http.post(MAPS, &config_map("a")).await.ok());
    let second = version(&http.post(PODS, &pod("a")).await.ok());
    let third = version(
        &http
            .merge(&format!("{MAPS}/a"), &json!({"data": {"k": "2"}}))
            .await
            .ok(),
    );
    assert_eq!((second, third), (first + 1, first + 2));
}

#[tokio::test(start_paused = true)]
async fn api_62_a_write_that_changes_nothing_commits_nothing() {
    let server = server();
    let http = Http::new(&server);
    let stored = http.post(DEPLOYMENTS, &deployment("d")).await.ok();
    let before = server.revision();
    let again = http.put(&format!("{DEPLOYMENTS}/d"), &stored).await.ok();
    assert_eq!(again, stored);
    http.merge(&format!("{DEPLOYMENTS}/d"), &json!({"spec": {"replicas": 1}}))
        .await
        .ok();
    assert_eq!(server.revision(), before);
}

#[tokio::test(start_paused = true)]
async fn api_63_a_recreated_object_is_another_one() {
    let http = Http::new(&server());
    let first = http.post(MAPS, &config_map("a")).await.ok();
    http.delete(&format!("{MAPS}/a")).await.ok();
    let second = http.post(MAPS, &config_map("a")).await.ok();
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
}

#[tokio::test(start_paused = true)]
async fn api_64_a_version_in_a_create_is_an_error() {
    let http = Http::new(&server());
    let mut sent = config_map("a");
    sent["metadata"]["resourceVersion"] = "5".into();
    let (code, reason, message) = http.post(MAPS, &sent).await.failure();
    assert_eq!((code, reason.as_str()), (500, ""));
    assert_eq!(
        message,
        "resourceVersion should not be set on objects to be created"
    );
}

#[tokio::test(start_paused = true)]
async fn api_65_a_name_is_needed() {
    let http = Http::new(&server());
    let (code, _, message) = http.post(MAPS, &json!({"metadata": {}})).await.failure();
    assert_eq!(code, 422);
    let want = "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required";
    assert_eq!(message, want);
}

#[tokio::test(start_paused = true)]
async fn api_66_generation_follows_the_content() {
    let http = Http::new(&server());
    let generation = |object: &Value| object["metadata"]["generation"].clone();
    let url = format!("{DEPLOYMENTS}/d");
    assert_eq!(
        generation(&http.post(DEPLOYMENTS, &deployment("d")).await.ok()),
        1
    );
    let labelled = http
        .merge(&url, &json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .ok();
    assert_eq!(generation(&labelled), 1);
    let annotated = http
        .merge(&url, &json!({"metadata": {"annotations": {"a": "b"}}}))
        .await
        .ok();
    assert_eq!(generation(&annotated), 2);
    let scaled = http.merge(&url, &json!({"spec": {"replicas": 3}})).await.ok();
    assert_eq!(generation(&scaled), 3);
    let reported = http
        .merge(&format!("{url}/status"), &json!({"status": {"replicas": 3}}))
        .await
        .ok();
    assert_eq!(generation(&reported), 3);
    assert_eq!(
        generation(&http.post(MAPS, &config_map("a")).await.ok()),
        Value::Null
    );
}

#[tokio::test(start_paused = true)]
async fn api_68_generated_names() {
    let http = Http::new(&server());
    let base = "x".repeat(70);
    let stored = http
        .post(MAPS, &json!({"metadata": {"generateName": base}}))
        .await
        .ok();
    let name = stored["metadata"]["name"].as_str().unwrap();
    assert_eq!((name.len(), &name[..58]), (63, &base[..58]));
    assert!(
        name[58..]
            .chars()
            .all(|letter| "bcdfghjklmnpqrstvwxz2456789".contains(letter)),
        "{name}"
    );
    assert_eq!(stored["metadata"]["generateName"], base.as_str());
}

#[tokio::test(start_paused = true)]
async fn api_69_api_70_the_body_has_to_fit_the_url() {
    let http = Http::new(&server());
    let mut elsewhere = config_map("a");
    elsewhere["metadata"]["namespace"] = "other".into();
    let (code, _, message) = http.post(MAPS, &elsewhere).await.failure();
    let want = "the namespace of the provided object does not match the namespace sent on the request";
    assert_eq!((code, message.as_str()), (400, want));
    http.post(MAPS, &config_map("a")).await.ok();
    let (code, _, message) = http.put(&format!("{MAPS}/a"), &config_map("b")).await.failure();
    let want = "the name of the object (b) does not match the name on the URL (a)";
    assert_eq!((code, message.as_str()), (400, want));
    let mut odd = config_map("c");
    odd["apiVersion"] = "v2".into();
    odd["kind"] = "ConfigMap".into();
    let (code, _, message) = http.post(MAPS, &odd).await.failure();
    let want = "the API version in the data (v2) does not match the expected API version (v1)";
    assert_eq!((code, message.as_str()), (400, want));
}

#[tokio::test(start_paused = true)]
async fn api_72_owners_are_stored_once() {
    let http = Http::new(&server());
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "u1"});
    let mut sent = config_map("a");
    sent["metadata"]["ownerReferences"] = json!([owner, owner]);
    let answer = http.post(MAPS, &sent).await;
    assert!(
        answer.headers["warning"]
            .to_str()
            .unwrap()
            .contains("duplicate UID(s) observed: u1")
    );
    assert_eq!(answer.ok()["metadata"]["ownerReferences"], json!([owner]));
}

#[tokio::test(start_paused = true)]
async fn api_120_api_121_api_122_create_read_replace() {
    let http = Http::new(&server());
    let url = format!("{MAPS}/a");
    let mut sent = config_map("a");
    sent["metadata"]["labels"] = json!({"l": "1"});
    let answer = http.post(MAPS, &sent).await;
    assert_eq!(answer.code, 201);
    let stored = answer.ok();
    assert_eq!(http.get(&url).await.ok(), stored);
    assert_eq!(
        http.post(MAPS, &sent).await.failure().2,
        "configmaps \"a\" already exists"
    );
    let replaced = http
        .put(&url, &json!({"metadata": {"name": "a"}, "data": {"x": "y"}}))
        .await
        .ok();
    assert_eq!(replaced["data"], json!({"x": "y"}));
    assert_eq!(replaced["metadata"].get("labels"), None);
    assert_eq!(replaced["metadata"]["uid"], stored["metadata"]["uid"]);
    assert_eq!(
        http.get(&format!("{MAPS}/b")).await.failure().2,
        "configmaps \"b\" not found"
    );
}

#[tokio::test(start_paused = true)]
async fn api_123_some_kinds_insist_on_a_version() {
    let http = Http::new(&server());
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}});
    http.post(leases, &lease).await.ok();
    let answer = http.put(&format!("{leases}/l"), &lease).await;
    assert_eq!(answer.failure().0, 422);
    assert_eq!(answer.json()["details"]["kind"], "leases");
}

#[tokio::test(start_paused = true)]
async fn api_124_some_kinds_are_created_by_put() {
    let http = Http::new(&server());
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let lease = json!({"metadata": {"name": "l", "resourceVersion": "5"}, "spec": {"holderIdentity": "a"}});
    assert_eq!(http.put(leases, &lease).await.code, 201);
    assert_eq!(
        http.put(&format!("{MAPS}/a"), &config_map("a")).await.failure().0,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn api_125_a_dry_run_stores_nothing() {
    let server = server();
    let http = Http::new(&server);
    let before = (server.revision(), server.object_count());
    let shown = http
        .post(&format!("{DEPLOYMENTS}?dryRun=All"), &deployment("d"))
        .await
        .ok();
    assert_eq!(shown["spec"]["replicas"], 1);
    assert_eq!(shown["metadata"].get("resourceVersion"), None);
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    http.post("/api/v1/namespaces/default/services?dryRun=All", &service)
        .await
        .ok();
    assert_eq!(
        http.post(&format!("{MAPS}?dryRun=Some"), &config_map("a"))
            .await
            .failure()
            .0,
        422
    );
    assert_eq!((server.revision(), server.object_count()), before);
}

#[tokio::test(start_paused = true)]
async fn api_34_api_35_stale_writes_are_refused() {
    let http = Http::new(&server());
    let url = format!("{MAPS}/a");
    let first = http.post(MAPS, &config_map("a")).await.ok();
    http.merge(&url, &json!({"data": {"k": "2"}})).await.ok();
    let (code, reason, message) = http.put(&url, &first).await.failure();
    assert_eq!((code, reason.as_str()), (409, "Conflict"));
    assert!(
        message.ends_with("please apply your changes to the latest version and try again"),
        "{message}"
    );
    let patch =
        json!({"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}, "data": {"k": "3"}});
    assert_eq!(http.merge(&url, &patch).await.failure().0, 409);
    let other = json!({"metadata": {"name": "a", "uid": "x"}});
    let message = http.put(&url, &other).await.failure().2;
    assert!(
        message.contains("Precondition failed: UID in precondition: x, UID in object meta: "),
        "{message}"
    );
    let answer = http.merge(&url, &json!({"metadata": {"uid": "x"}})).await;
    assert_eq!(answer.failure().0, 422);
    assert_eq!(answer.json()["details"]["causes"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn api_39_api_40_unknown_and_repeated_fields() {
    let http = Http::new(&server());
    let body = r#"{"metadata":{"name":"a"},"data":{"k":"1","k":"2"},"nope":1}"#;
    let strict = http
        .send("POST", &format!("{MAPS}?fieldValidation=Strict"), &[], body)
        .await;
    let want = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: \
                unknown field \"nope\", duplicate field \"data.k\"";
    assert_eq!(strict.failure().2, want);
    let answer = http.send("POST", MAPS, &[], body).await;
    let warnings: Vec<_> = answer
        .headers
        .get_all("warning")
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect();
    assert_eq!(
        warnings,
        [
            "299 - \"unknown field \\\"nope\\\"\"",
            "299 - \"duplicate field \\\"data.k\\\"\""
        ]
    );
    let stored = answer.ok();
    assert_eq!((&stored["data"], stored.get("nope")), (&json!({"k": "2"}), None));
}

#[tokio::test(start_paused = true)]
async fn api_40_without_validation_unknown_fields_are_kept() {
    let http = Http::new(&server_with(|config| config.validation = false));
    let mut sent = deployment("d");
    sent["spec"]["template"]["spec"]["fromTheFuture"] = json!({"a": 1});
    let stored = http
        .post(&format!("{DEPLOYMENTS}?fieldValidation=Strict"), &sent)
        .await
        .ok();
    assert_eq!(
        stored["spec"]["template"]["spec"]["fromTheFuture"],
        json!({"a": 1})
    );
    let scaled = http
        .merge(
            &format!("{DEPLOYMENTS}/d/scale"),
            &json!({"spec": {"replicas": 2}}),
        )
        .await
        .ok();
    assert_eq!(scaled["spec"]["replicas"], 2);
    let stored = http.get(&format!("{DEPLOYMENTS}/d")).await.ok();
    assert_eq!(
        stored["spec"]["template"]["spec"]["fromTheFuture"],
        json!({"a": 1})
    );
}

#[tokio::test(start_paused = true)]
async fn api_222_events_are_one_resource_in_two_groups() {
    let http = Http::new(&server());
    let core = "/api/v1/namespaces/default/events";
    let new = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = json!({
        "metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "R", "message": "m", "type": "Normal",
    });
    http.post(core, &event).await.ok();
    let shown = http.get(&format!("{new}/e")).await.ok();
    assert_eq!(
        (&shown["note"], &shown["regarding"]["name"]),
        (&json!("m"), &json!("p"))
    );
    let found = http
        .get(&format!("{new}?fieldSelector=regarding.name%3Dp"))
        .await
        .ok();
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    http.merge(&format!("{core}/e"), &json!({"metadata": {"labels": {"a": "b"}}}))
        .await
        .ok();
    assert_eq!(
        http.get(&format!("{new}/e")).await.ok()["metadata"]["labels"]["a"],
        "b"
    );
}
