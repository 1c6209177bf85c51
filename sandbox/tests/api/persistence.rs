use serde_json::json;
use steersman_sandbox::Server;
use tokio_util::sync::CancellationToken;

use crate::support::{Http, MAPS, config_map, server_with, version};

fn server_in(directory: &std::path::Path) -> Server {
    server_with(|config| config.data = Some(directory.to_owned()))
}

#[tokio::test]
async fn api_683_a_restored_server_goes_on_above_all_old_versions() {
    let directory = tempfile::tempdir().unwrap();
    let first = server_in(directory.path());
    let http = Http::new(&first);
    let kept = http.post(MAPS, &config_map("a")).await.ok();
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
    let service = http
        .post("/api/v1/namespaces/default/services", &service)
        .await
        .ok();
    let before = version(&http.post(MAPS, &config_map("gone")).await.ok());
    http.delete(&format!("{MAPS}/gone")).await.ok();
    drop((http, first));

    let second = server_in(directory.path());
    let http = Http::new(&second);
    assert_eq!(http.get(&format!("{MAPS}/a")).await.ok(), kept);
    assert_eq!(http.get(&format!("{MAPS}/gone")).await.failure().0, 404);
    assert!(version(&http.post(MAPS, &config_map("b")).await.ok()) > before + 1);
    let mut watch = http
        .watch(&format!("{MAPS}?watch=1&resourceVersion={before}"))
        .await;
    assert_eq!(watch.next().await.unwrap()["object"]["code"], 410);
    let address = &service["spec"]["clusterIP"];
    let same = json!({"metadata": {"name": "t"}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}});
    assert_eq!(
        http.post("/api/v1/namespaces/default/services", &same)
            .await
            .failure()
            .0,
        422
    );
}

#[tokio::test]
async fn api_683_custom_resources_are_served_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let first = server_in(directory.path());
    let http = Http::new(&first);
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    });
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    http.post(definitions, &definition).await.ok();
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"n": 1}});
    let widget = http.post(widgets, &widget).await.ok();
    drop((http, first));
    let second = server_in(directory.path());
    assert_eq!(Http::new(&second).get(&format!("{widgets}/w")).await.ok(), widget);
}

#[tokio::test]
async fn api_683_an_answered_write_is_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let first = server_in(directory.path());
    let http = Http::new(&first);
    for name in ["a", "b", "c"] {
        http.post(MAPS, &config_map(name)).await.ok();
        // What a crash at this moment would leave.
        let files = std::fs::read_dir(directory.path()).unwrap();
        for file in files.map(Result::unwrap) {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        let restored = server_in(copy.path());
        assert_eq!(
            Http::new(&restored).get(&format!("{MAPS}/{name}")).await.code,
            200
        );
    }
    let stop = CancellationToken::new();
    stop.cancel();
    first.keep_data(stop).await.unwrap();
}
