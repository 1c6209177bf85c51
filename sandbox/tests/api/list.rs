use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::support::{Http, MAPS, PODS, config_map, names, pod_on, server, version};

async fn five(http: &Http) {
    for name in ["a", "b", "c", "d", "e"] {
        http.post(MAPS, &config_map(name)).await.ok();
    }
}

#[tokio::test(start_paused = true)]
async fn api_190_shape_of_a_list() {
    let http = Http::new(&server());
    let empty = http.get(MAPS).await.ok();
    assert_eq!(
        (&empty["kind"], &empty["items"]),
        (&json!("ConfigMapList"), &json!([]))
    );
    five(&http).await;
    let list = http.get(MAPS).await.ok();
    assert_eq!(list["items"][0].get("kind"), None);
    assert_eq!(version(&list), version(&list["items"][4]));
}

#[tokio::test(start_paused = true)]
async fn api_192_api_193_pages_are_a_snapshot() {
    let http = Http::new(&server());
    five(&http).await;
    let first = http.get(&format!("{MAPS}?limit=2")).await.ok();
    assert_eq!(
        (names(&first), &first["metadata"]["remainingItemCount"]),
        (vec!["a".into(), "b".into()], &json!(3))
    );
    http.delete(&format!("{MAPS}/c")).await.ok();
    http.post(MAPS, &config_map("cc")).await.ok();
    http.merge(&format!("{MAPS}/d"), &json!({"data": {"k": "new"}}))
        .await
        .ok();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = http.get(&format!("{MAPS}?limit=2&continue={token}")).await.ok();
    assert_eq!(names(&second), ["c", "d"]);
    assert_eq!(second["items"][1]["data"]["k"], "v");
    assert_eq!(version(&second), version(&first));
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = http.get(&format!("{MAPS}?limit=2&continue={token}")).await.ok();
    assert_eq!(
        (names(&last), last["metadata"].get("continue")),
        (vec!["e".to_owned()], None)
    );
}

#[tokio::test(start_paused = true)]
async fn api_194_api_197_tokens_that_do_not_work() {
    let server = server();
    let http = Http::new(&server);
    five(&http).await;
    assert_eq!(http.get(&format!("{MAPS}?continue=zzz")).await.failure().0, 400);
    let first = http.get(&format!("{MAPS}?limit=2")).await.ok();
    let token = first["metadata"]["continue"].as_str().unwrap();
    assert_eq!(
        http.get(&format!("{MAPS}?continue={token}&resourceVersion=5"))
            .await
            .failure()
            .0,
        400
    );
    http.post(MAPS, &config_map("f")).await.ok();
    server.compact();
    let expired = http.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!(
        (expired.failure().0, expired.failure().1.as_str()),
        (410, "Expired")
    );
    let status = expired.json();
    let token = status["metadata"]["continue"].as_str().unwrap();
    let rest = http.get(&format!("{MAPS}?continue={token}")).await.ok();
    assert_eq!(names(&rest), ["c", "d", "e", "f"]);
}

#[tokio::test(start_paused = true)]
async fn api_195_exact_and_future_versions() {
    let http = Http::new(&server());
    five(&http).await;
    let then = version(&http.get(MAPS).await.ok());
    http.delete(&format!("{MAPS}/a")).await.ok();
    let exact = http
        .get(&format!(
            "{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact"
        ))
        .await
        .ok();
    assert_eq!((names(&exact).len(), version(&exact)), (5, then));
    let fresh = http.get(&format!("{MAPS}?resourceVersion={then}")).await.ok();
    assert_eq!(names(&fresh).len(), 4);
    let zero = http.get(&format!("{MAPS}?resourceVersion=0")).await.ok();
    assert_eq!(names(&zero).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn api_196_bad_and_future_versions() {
    let http = Http::new(&server());
    assert_eq!(
        http.get(&format!("{MAPS}?resourceVersion=abc")).await.failure().0,
        400
    );
    assert_eq!(
        http.get(&format!("{MAPS}?resourceVersionMatch=Exact"))
            .await
            .failure()
            .0,
        422
    );
    assert_eq!(
        http.get(&format!("{MAPS}?resourceVersion=0&resourceVersionMatch=Exact"))
            .await
            .failure()
            .0,
        422
    );
    let start = tokio::time::Instant::now();
    let answer = http.get(&format!("{MAPS}?resourceVersion=99999")).await;
    assert_eq!(
        (answer.failure().0, answer.failure().1.as_str()),
        (504, "Timeout")
    );
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(start.elapsed().as_secs(), Duration::from_secs(3).as_secs());
}

#[tokio::test(start_paused = true)]
async fn api_198_api_220_api_222_selectors() {
    let http = Http::new(&server());
    http.post("/api/v1/namespaces", &json!({"metadata": {"name": "other"}}))
        .await
        .ok();
    http.post(PODS, &pod_on("a", "n1")).await.ok();
    http.post(PODS, &pod_on("b", "n2")).await.ok();
    let mut labelled = pod_on("c", "n1");
    labelled["metadata"]["labels"] = json!({"app": "x"});
    http.post("/api/v1/namespaces/other/pods", &labelled).await.ok();
    let find = async |query: &str| names(&http.get(&format!("/api/v1/pods?{query}")).await.ok());
    assert_eq!(find("fieldSelector=spec.nodeName%3Dn1").await, ["a", "c"]);
    assert_eq!(find("fieldSelector=metadata.namespace%3Dother").await, ["c"]);
    assert_eq!(find("labelSelector=app%20in%20(x)").await, ["c"]);
    assert_eq!(find("labelSelector=!app").await, ["a", "b"]);
    let (code, _, message) = http
        .get("/api/v1/pods?fieldSelector=spec.priority%3D1")
        .await
        .failure();
    assert_eq!(
        (code, message.as_str()),
        (400, "field label not supported: spec.priority")
    );
}

#[tokio::test(start_paused = true)]
async fn api_127_a_missing_namespace_is_an_empty_list() {
    let http = Http::new(&server());
    assert_eq!(
        http.get("/api/v1/namespaces/nope/pods").await.ok()["items"],
        json!([])
    );
    let (code, _, message) = http
        .post("/api/v1/namespaces/nope/configmaps", &config_map("a"))
        .await
        .failure();
    assert_eq!((code, message.as_str()), (404, "namespaces \"nope\" not found"));
}

#[tokio::test]
async fn api_7_long_answers_are_compressed_when_asked_for() {
    use std::io::Read as _;

    let http = Http::new(&server());
    for index in 0..30 {
        let mut map = config_map(&format!("m{index}"));
        map["data"] = json!({"text": "x".repeat(10_000)});
        http.post(MAPS, &map).await.ok();
    }
    let gzip = [("accept-encoding", "br, gzip")];
    let plain = http.get(MAPS).await;
    assert!(!plain.headers.contains_key("content-encoding"));
    let packed = http.open("GET", MAPS, &gzip, Bytes::new()).await;
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    assert_eq!(packed.headers()["vary"], "Accept-Encoding");
    let packed = packed.into_body().collect().await.unwrap().to_bytes();
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(packed.as_ref())
        .read_to_string(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, plain.text);
    assert!(packed.len() < unpacked.len() / 10);
    // Short ones are not, nor those of clients that want something else.
    let one = http.open("GET", &format!("{MAPS}/m1"), &gzip, Bytes::new()).await;
    assert!(!one.headers().contains_key("content-encoding"));
    let other = [("accept-encoding", "gzip;q=0, br")];
    let other = http.open("GET", MAPS, &other, Bytes::new()).await;
    assert!(!other.headers().contains_key("content-encoding"));
}
