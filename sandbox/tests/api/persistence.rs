use serde_json::json;
use steersman_sandbox::Server;
use tokio_util::sync::CancellationToken;

use crate::support::{Http, MAPS, config_map, server_with, version};

fn server_in(directory: &std::path::Path) -> Server {
    server_with(|config| config.data = Some(directory.to_owned()))
}

#[tokio::test(start_paused = true)]
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
    first.save().unwrap();
    let lost = version(&http.post(MAPS, &config_map("lost")).await.ok());

    let second = server_in(directory.path());
    let http = Http::new(&second);
    assert_eq!(http.get(&format!("{MAPS}/a")).await.ok(), kept);
    assert_eq!(http.get(&format!("{MAPS}/lost")).await.failure().0, 404);
    assert!(version(&http.post(MAPS, &config_map("b")).await.ok()) > lost);
    let mut watch = http
        .watch(&format!("{MAPS}?watch=1&resourceVersion={lost}"))
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
async fn api_683_the_state_is_saved_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let first = server_in(directory.path());
    let stop = CancellationToken::new();
    Http::new(&first).post(MAPS, &config_map("a")).await.ok();
    stop.cancel();
    first
        .keep_saved(std::time::Duration::from_hours(1), stop)
        .await
        .unwrap();
    let second = server_in(directory.path());
    assert_eq!(Http::new(&second).get(&format!("{MAPS}/a")).await.code, 200);
}

#[tokio::test(start_paused = true)]
async fn api_683_a_damaged_snapshot_refuses_the_start() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("objects.jsonl"),
        "{\"format\":99,\"revision\":1}\n",
    )
    .unwrap();
    let config = steersman_sandbox::Config {
        data: Some(directory.path().to_owned()),
        ..steersman_sandbox::Config::default()
    };
    let error = Server::start(config).unwrap_err();
    assert!(error.to_string().starts_with("read the snapshot "), "{error}");
}
