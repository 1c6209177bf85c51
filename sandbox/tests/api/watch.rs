use serde_json::json;
use tokio::time::Instant;

use crate::support::{Http, MAPS, PODS, config_map, pod, server, server_with, version};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

#[tokio::test(start_paused = true)]
async fn api_231_api_233_every_change_once_and_in_order() {
    let http = Http::new(&server());
    let from = version(&http.post(MAPS, &config_map("a")).await.ok());
    http.merge(&format!("{MAPS}/a"), &json!({"data": {"k": "2"}}))
        .await
        .ok();
    let mut watch = http
        .watch(&format!("{MAPS}?watch=1&resourceVersion={from}"))
        .await;
    assert_eq!(watch.named().await, "MODIFIED a");
    http.post(MAPS, &config_map("b")).await.ok();
    http.delete(&format!("{MAPS}/a")).await.ok();
    assert_eq!(watch.named().await, "ADDED b");
    let gone = watch.next().await.unwrap();
    assert_eq!(
        (&gone["type"], version(&gone["object"])),
        (&json!("DELETED"), from + 3)
    );
    assert_eq!(gone["object"]["data"]["k"], "2");
    assert_eq!(
        (&gone["object"]["kind"], &gone["object"]["apiVersion"]),
        (&json!("ConfigMap"), &json!("v1"))
    );
}

#[tokio::test(start_paused = true)]
async fn api_232_without_a_version_the_state_comes_first() {
    let http = Http::new(&server());
    http.post(MAPS, &config_map("a")).await.ok();
    http.post(MAPS, &config_map("b")).await.ok();
    let mut watch = http.watch(&format!("{MAPS}?watch=true&resourceVersion=0")).await;
    assert_eq!(
        (watch.named().await, watch.named().await),
        ("ADDED a".into(), "ADDED b".into())
    );
    http.delete(&format!("{MAPS}/a")).await.ok();
    assert_eq!(watch.named().await, "DELETED a");
}

#[tokio::test(start_paused = true)]
async fn api_234_objects_enter_and_leave_a_selection() {
    let http = Http::new(&server());
    let from = version(&http.post(MAPS, &config_map("a")).await.ok());
    let mut watch = http
        .watch(&format!(
            "{MAPS}?watch=1&resourceVersion={from}&labelSelector=l%3D1"
        ))
        .await;
    let label = async |value: &str| {
        http.merge(
            &format!("{MAPS}/a"),
            &json!({"metadata": {"labels": {"l": value}}}),
        )
        .await
        .ok()
    };
    label("0").await;
    let entered = version(&label("1").await);
    let left = version(&label("2").await);
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], version(&event["object"])),
        (&json!("ADDED"), entered)
    );
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], version(&event["object"])),
        (&json!("DELETED"), left)
    );
    assert_eq!(event["object"]["metadata"]["labels"]["l"], "1");
}

#[tokio::test(start_paused = true)]
async fn api_235_bookmarks_carry_the_newest_version() {
    let http = Http::new(&server());
    let mut watch = http
        .watch(&format!("{MAPS}?watch=1&allowWatchBookmarks=true"))
        .await;
    let newest = version(&http.post(PODS, &pod("p")).await.ok());
    let start = Instant::now();
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], version(&event["object"])),
        (&json!("BOOKMARK"), newest)
    );
    assert_eq!(event["object"]["kind"], "ConfigMap");
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn api_236_the_end_of_the_initial_events_is_marked() {
    let http = Http::new(&server());
    http.post(MAPS, &config_map("a")).await.ok();
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = http.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(watch.named().await, "ADDED a");
    let mark = watch.next().await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert_eq!(
        mark["object"]["metadata"]["annotations"],
        json!({"k8s.io/initial-events-end": "true"})
    );
    http.post(MAPS, &config_map("b")).await.ok();
    assert_eq!(watch.named().await, "ADDED b");
}

#[tokio::test(start_paused = true)]
async fn api_237_api_238_initial_events_have_rules() {
    let http = Http::new(&server());
    http.post(MAPS, &config_map("a")).await.ok();
    let query = "watch=1&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let mut watch = http.watch(&format!("{MAPS}?{query}")).await;
    http.post(MAPS, &config_map("b")).await.ok();
    assert_eq!(watch.named().await, "ADDED b");
    for query in [
        "watch=1&sendInitialEvents=true",
        "sendInitialEvents=true",
        "watch=1&resourceVersionMatch=Exact",
    ] {
        assert_eq!(
            http.get(&format!("{MAPS}?{query}")).await.failure().0,
            422,
            "{query}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn api_239_a_watch_ends_in_time() {
    let http = Http::new(&server());
    let start = Instant::now();
    let mut watch = http.watch(&format!("{MAPS}?watch=1&timeoutSeconds=7")).await;
    assert_eq!(watch.next().await, None);
    assert_eq!(start.elapsed().as_secs(), 7);
    let mut watch = http.watch(&format!("{MAPS}?watch=1")).await;
    assert_eq!(watch.next().await, None);
    assert!((1800..3600).contains(&(start.elapsed().as_secs() - 7)));
}

#[tokio::test(start_paused = true)]
async fn api_240_a_version_that_is_too_old_is_an_error_event() {
    let server = server();
    let http = Http::new(&server);
    let from = version(&http.post(MAPS, &config_map("a")).await.ok());
    http.post(MAPS, &config_map("b")).await.ok();
    server.compact();
    let mut watch = http
        .watch(&format!("{MAPS}?watch=1&resourceVersion={from}"))
        .await;
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(watch.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn api_241_api_242_future_and_bad_versions() {
    let http = Http::new(&server());
    let mut watch = http
        .watch(&format!("{MAPS}?watch=1&resourceVersion=99999&timeoutSeconds=5"))
        .await;
    http.post(MAPS, &config_map("a")).await.ok();
    assert_eq!(watch.next().await, None);
    assert_eq!(
        http.get(&format!("{MAPS}?watch=1&resourceVersion=abc"))
            .await
            .failure()
            .0,
        500
    );
}

#[tokio::test(start_paused = true)]
async fn api_243_a_reader_that_does_not_read_is_cut_off() {
    let server = server_with(|config| config.history = 10);
    let http = Http::new(&server);
    let mut slow = http.watch(&format!("{MAPS}?watch=1")).await;
    let mut quick = http.watch(&format!("{MAPS}?watch=1")).await;
    http.post(MAPS, &config_map("first")).await.ok();
    assert_eq!(slow.named().await, "ADDED first");
    assert_eq!(quick.named().await, "ADDED first");
    for number in 0..20 {
        http.post(MAPS, &config_map(&format!("m{number}"))).await.ok();
        assert_eq!(quick.named().await, format!("ADDED m{number}"));
    }
    assert_eq!(slow.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn api_244_a_watch_of_tables_brings_its_columns_once() {
    let http = Http::new(&server());
    let mut watch = http.watch_as(&format!("{MAPS}?watch=1"), TABLE).await;
    http.post(MAPS, &config_map("a")).await.ok();
    http.post(MAPS, &config_map("b")).await.ok();
    let first = watch.next().await.unwrap();
    assert_eq!(first["object"]["columnDefinitions"].as_array().unwrap().len(), 3);
    assert_eq!(first["object"]["rows"][0]["cells"][0], "a");
    assert_eq!(
        watch.next().await.unwrap()["object"]["columnDefinitions"],
        json!(null)
    );
}

#[tokio::test(start_paused = true)]
async fn api_230_a_watch_of_one_object_is_a_read() {
    let http = Http::new(&server());
    http.post(MAPS, &config_map("a")).await.ok();
    assert_eq!(
        http.get(&format!("{MAPS}/a?watch=true")).await.ok()["kind"],
        "ConfigMap"
    );
    let mut watch = http.watch("/api/v1/watch/namespaces/default/configmaps").await;
    assert_eq!(watch.named().await, "ADDED a");
}

#[tokio::test(start_paused = true)]
async fn api_235_stopping_the_server_ends_watches_with_a_bookmark() {
    let server = server();
    let http = Http::new(&server);
    let mut watch = http
        .watch(&format!("{MAPS}?watch=1&allowWatchBookmarks=true"))
        .await;
    server.end_watches();
    assert_eq!(watch.next().await.unwrap()["type"], "BOOKMARK");
    assert_eq!(watch.next().await, None);
}
