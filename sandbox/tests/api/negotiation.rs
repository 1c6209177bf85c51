use serde_json::{Value, json};

use crate::support::{DEPLOYMENTS, Http, MAPS, config_map, deployment, server};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

#[tokio::test(start_paused = true)]
async fn api_1_api_2_yaml_and_nothing_acceptable() {
    let http = Http::new(&server());
    http.post(MAPS, &config_map("a")).await.ok();
    let yaml = http.get_as(&format!("{MAPS}/a"), "application/yaml").await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(yaml.text.contains("kind: ConfigMap"), "{}", yaml.text);
    let refused = http.get_as(MAPS, "text/html").await;
    assert_eq!(refused.failure().0, 406);
}

#[tokio::test(start_paused = true)]
async fn api_6_metadata_alone() {
    let http = Http::new(&server());
    http.post(MAPS, &config_map("a")).await.ok();
    let one = http.get_as(&format!("{MAPS}/a"), METADATA).await.ok();
    assert_eq!(
        (&one["kind"], one.get("data")),
        (&json!("PartialObjectMetadata"), None)
    );
    let list = http.get_as(MAPS, METADATA_LIST).await.ok();
    assert_eq!(
        (&list["kind"], &list["items"][0]["kind"]),
        (
            &json!("PartialObjectMetadataList"),
            &json!("PartialObjectMetadata")
        )
    );
    assert_eq!(http.get_as(MAPS, METADATA).await.failure().0, 406);
}

#[tokio::test(start_paused = true)]
async fn api_600_tables() {
    let http = Http::new(&server());
    http.post(DEPLOYMENTS, &deployment("d")).await.ok();
    let table = http.get_as(DEPLOYMENTS, TABLE).await.ok();
    assert_eq!(
        (&table["kind"], &table["apiVersion"]),
        (&json!("Table"), &json!("meta.k8s.io/v1"))
    );
    assert_eq!(table["columnDefinitions"][0]["format"], "name");
    assert_eq!(table["rows"][0]["cells"][0], "d");
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let bare = http
        .get_as(&format!("{DEPLOYMENTS}?includeObject=None"), TABLE)
        .await
        .ok();
    assert_eq!(bare["rows"][0]["object"], Value::Null);
    assert_eq!(
        http.get_as(&format!("{DEPLOYMENTS}?includeObject=X"), TABLE)
            .await
            .failure()
            .0,
        400
    );
}

fn resource<'a>(list: &'a Value, name: &str) -> &'a Value {
    list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .find(|resource| resource["name"] == name)
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn api_570_api_571_discovery() {
    let http = Http::new(&server());
    assert_eq!(http.get("/api").await.ok()["versions"], json!(["v1"]));
    let core = http.get("/api/v1").await.ok();
    assert_eq!(resource(&core, "pods")["shortNames"], json!(["po"]));
    assert_eq!(resource(&core, "pods/eviction")["group"], "policy");
    let apps = http.get("/apis/apps/v1").await.ok();
    assert_eq!(resource(&apps, "deployments/scale")["kind"], "Scale");
    assert_eq!(
        http.get("/apis/apps").await.ok()["preferredVersion"]["groupVersion"],
        "apps/v1"
    );
    let groups = http.get("/apis").await.ok();
    assert!(
        groups["groups"]
            .as_array()
            .unwrap()
            .iter()
            .any(|group| group["name"] == "coordination.k8s.io")
    );
}

#[tokio::test(start_paused = true)]
async fn api_572_aggregated_discovery() {
    let http = Http::new(&server());
    let answer = http.get_as("/apis", AGGREGATED).await;
    assert!(answer.headers.contains_key("etag"));
    let list = answer.ok();
    assert_eq!(list["kind"], "APIGroupDiscoveryList");
    let items = list["items"].as_array().unwrap();
    let apps = items
        .iter()
        .find(|group| group["metadata"]["name"] == "apps")
        .unwrap();
    let resources = apps["versions"][0]["resources"].as_array().unwrap();
    let deployments = resources
        .iter()
        .find(|resource| resource["resource"] == "deployments")
        .unwrap();
    assert_eq!(
        (
            &deployments["scope"],
            &deployments["subresources"][0]["subresource"]
        ),
        (&json!("Namespaced"), &json!("scale"))
    );
}

#[tokio::test(start_paused = true)]
async fn api_573_api_574_openapi_tells_kubectl_to_ask_the_server() {
    let http = Http::new(&server());
    let index = http.get("/openapi/v3").await.ok();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let document = http.get(url).await.ok();
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    let parameters: Vec<_> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["name"])
        .collect();
    assert_eq!(parameters, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    let content = patch["requestBody"]["content"].as_object().unwrap();
    assert!(content.contains_key("application/strategic-merge-patch+json"));
    assert_eq!(http.get("/openapi/v3/apis/nope/v1").await.code, 404);
    assert_eq!(http.get("/openapi/v2").await.ok()["swagger"], "2.0");
}

#[tokio::test(start_paused = true)]
async fn api_576_api_577_version_and_health() {
    let http = Http::new(&server());
    assert_eq!(http.get("/version").await.ok()["gitVersion"], "v1.36.0+steersman");
    for path in ["/healthz", "/livez", "/readyz", "/livez/ping"] {
        assert_eq!(http.get(path).await.text, "ok");
    }
    assert!(
        http.get("/readyz?verbose")
            .await
            .text
            .ends_with("readyz check passed\n")
    );
    assert_eq!(http.get("/livez/nope").await.code, 404);
}

#[tokio::test(start_paused = true)]
async fn api_637_reviews_allow_everything() {
    let http = Http::new(&server());
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}});
    let answer = http
        .post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review)
        .await;
    assert_eq!(
        (answer.code, &answer.json()["status"]["allowed"]),
        (201, &json!(true))
    );
}
