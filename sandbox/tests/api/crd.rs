use serde_json::{Value, json};

use crate::support::{Http, names, server, version};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn definition() -> Value {
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["w"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size",
                }},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "size": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
                        "color": {"type": "string", "enum": ["red", "blue"]},
                    }},
                    "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }}},
            }],
        },
    })
}

fn widget(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn defined() -> Http {
    let http = Http::new(&server());
    assert_eq!(http.post(DEFINITIONS, &definition()).await.code, 201);
    http
}

#[tokio::test(start_paused = true)]
async fn api_530_a_definition_is_served_when_established() {
    let http = Http::new(&server());
    assert_eq!(http.get("/apis/example.com/v1").await.code, 404);
    http.post(DEFINITIONS, &definition()).await.ok();
    let stored = http.get(&format!("{DEFINITIONS}/widgets.example.com")).await.ok();
    let conditions: Vec<_> = stored["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["type"])
        .collect();
    assert_eq!(conditions, ["NamesAccepted", "Established"]);
    assert_eq!(stored["status"]["storedVersions"], json!(["v1"]));
    let resources = http.get("/apis/example.com/v1").await.ok();
    assert_eq!(resources["resources"][0]["shortNames"], json!(["w"]));
}

#[tokio::test(start_paused = true)]
async fn api_531_api_545_definitions_that_are_refused() {
    let http = Http::new(&server());
    let mut wrong = definition();
    wrong["metadata"]["name"] = "wrong".into();
    assert_eq!(http.post(DEFINITIONS, &wrong).await.failure().0, 422);
    let mut rules = definition();
    rules["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] =
        json!([{"rule": "self.spec =="}]);
    assert!(
        http.post(DEFINITIONS, &rules)
            .await
            .failure()
            .2
            .contains("x-kubernetes-validations[0].rule: Invalid value")
    );
}

#[tokio::test(start_paused = true)]
async fn api_540_api_541_api_542_custom_resources() {
    let http = defined().await;
    let answer = http
        .post(WIDGETS, &widget("a", &json!({"color": "red", "nope": 1})))
        .await;
    assert_eq!(
        answer.headers["warning"],
        "299 - \"unknown field \\\"spec.nope\\\"\""
    );
    let stored = answer.ok();
    assert_eq!(stored["spec"], json!({"color": "red", "size": 3}));
    let list = http.get(WIDGETS).await.ok();
    assert_eq!(
        (&list["kind"], &list["items"][0]["kind"]),
        (&json!("WidgetList"), &json!("Widget"))
    );
    let mut watch = http
        .watch(&format!("{WIDGETS}?watch=1&resourceVersion={}", version(&list)))
        .await;
    http.merge(&format!("{WIDGETS}/a"), &json!({"spec": {"size": 5}}))
        .await
        .ok();
    assert_eq!(watch.named().await, "MODIFIED a");
    let strategic = "application/strategic-merge-patch+json";
    assert_eq!(
        http.patch(&format!("{WIDGETS}/a"), strategic, &json!({}))
            .await
            .failure()
            .0,
        415
    );
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    assert_eq!(
        http.post(&strict, &widget("b", &json!({"nope": 1})))
            .await
            .failure()
            .0,
        400
    );
}

#[tokio::test(start_paused = true)]
async fn api_543_schemas_are_enforced() {
    let http = defined().await;
    for (spec, want) in [
        (
            json!({"size": 11}),
            "spec.size in body should be less than or equal to 10",
        ),
        (
            json!({"size": "x"}),
            "spec.size in body must be of type integer: \"string\"",
        ),
        (
            json!({"color": "green"}),
            "Unsupported value: \"green\": supported values: \"red\", \"blue\"",
        ),
    ] {
        let (code, _, message) = http.post(WIDGETS, &widget("a", &spec)).await.failure();
        assert_eq!(code, 422);
        assert!(message.contains(want), "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn api_546_api_547_api_548_api_66_updates_and_subresources() {
    let http = defined().await;
    let url = format!("{WIDGETS}/a");
    http.post(WIDGETS, &widget("a", &json!({}))).await.ok();
    assert_eq!(http.put(&url, &widget("a", &json!({}))).await.failure().0, 422);
    let patch = json!({"metadata": {"labels": {"l": "1"}}, "spec": {"size": 9}, "status": {"size": 2}});
    let status = http.merge(&format!("{url}/status"), &patch).await.ok();
    assert_eq!(
        (&status["spec"]["size"], &status["status"]["size"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(
        (
            status["metadata"].get("labels"),
            &status["metadata"]["generation"]
        ),
        (None, &json!(1))
    );
    let scale = http
        .merge(&format!("{url}/scale"), &json!({"spec": {"replicas": 4}}))
        .await
        .ok();
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]["replicas"]),
        (&json!(4), &json!(2))
    );
    assert_eq!(http.get(&url).await.ok()["metadata"]["generation"], 2);
}

#[tokio::test(start_paused = true)]
async fn api_549_printer_columns() {
    let http = defined().await;
    http.post(WIDGETS, &widget("a", &json!({"size": 4}))).await.ok();
    let table = http
        .get_as(WIDGETS, "application/json;as=Table;v=v1;g=meta.k8s.io")
        .await
        .ok();
    let columns: Vec<_> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| &column["name"])
        .collect();
    assert_eq!(columns, ["Name", "Size"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 4]));
}

#[tokio::test(start_paused = true)]
async fn api_532_a_definition_takes_its_objects_with_it() {
    let http = defined().await;
    http.post(WIDGETS, &widget("a", &json!({}))).await.ok();
    let mut held = widget("b", &json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/f"]);
    http.post(WIDGETS, &held).await.ok();
    http.delete(&format!("{DEFINITIONS}/widgets.example.com"))
        .await
        .ok();
    assert_eq!(names(&http.get(WIDGETS).await.ok()), ["b"]);
    let stored = http.get(&format!("{DEFINITIONS}/widgets.example.com")).await.ok();
    assert_eq!(
        stored["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    http.merge(
        &format!("{WIDGETS}/b"),
        &json!({"metadata": {"finalizers": null}}),
    )
    .await
    .ok();
    assert_eq!(
        http.get(&format!("{DEFINITIONS}/widgets.example.com"))
            .await
            .failure()
            .0,
        404
    );
    assert_eq!(http.get(WIDGETS).await.code, 404);
}
