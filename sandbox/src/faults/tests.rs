use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::{StreamExt as _, stream};
use http::Method;
use http_body::Frame;
use http_body_util::StreamBody;
use rstest::rstest;
use tower::{ServiceExt as _, service_fn};

use super::*;

#[rstest]
#[case("GET", "/api/v1/namespaces/a/pods/p/status", "Get pods/a/p/status")]
#[case("GET", "/api/v1/pods?limit=5", "List pods")]
#[case("GET", "/apis/apps/v1/deployments?watch=true&x=1", "Watch deployments")]
#[case("POST", "/api/v1/namespaces", "Create namespaces")]
#[case("PATCH", "/api/v1/namespaces/a", "Patch namespaces/a")]
#[case("PUT", "/api/v1/namespaces/a/finalize", "Update namespaces/a/finalize")]
#[case("DELETE", "/api/v1/namespaces/a/pods", "DeleteCollection pods/a")]
#[case(
    "DELETE",
    "/apis/apps/v1/namespaces/a/replicasets/r",
    "Delete replicasets/a/r"
)]
#[case("GET", "/apis/apps/v1", "Get ")]
#[case("GET", "/healthz", "Get ")]
fn api_15_requests_are_recognised(#[case] method: Method, #[case] uri: http::Uri, #[case] want: &str) {
    assert_eq!(Target::of(&method, &uri).to_string(), want);
}

/// A server that counts writes and streams `events` numbered lines on a watch.
fn server(
    events: usize,
    writes: Arc<AtomicU32>,
) -> impl Service<Request<Body>, Response = Response<FaultBody>, Error = Infallible, Future: Send> + Clone + Send
{
    service_fn(move |request: Request<Body>| {
        let writes = Arc::clone(&writes);
        async move {
            let target = Target::of(request.method(), request.uri());
            if target.verb.writes() {
                writes.fetch_add(1, Ordering::SeqCst);
            }
            if target.verb == Verb::Watch {
                let lines =
                    stream::iter(0..events).map(|n| Ok(Frame::data(Bytes::from(format!("{{\"n\":{n}}}\n")))));
                return Ok(Response::new(StreamBody::new(lines).boxed_unsync()));
            }
            Ok::<_, Infallible>(Response::new(full("{}")))
        }
    })
}

fn request(method: &Method, uri: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(uri)
        .body(Body::empty())
        .unwrap()
}

async fn text(response: Response<FaultBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

const POD: &str = "/api/v1/namespaces/a/pods/p";

#[rstest]
#[case(Fault::Conflict, Some(409), 0)]
#[case(Fault::TooManyRequests, Some(429), 0)]
#[case(Fault::InternalError, Some(500), 0)]
#[case(Fault::Unavailable, Some(503), 0)]
#[case(Fault::ConnectionLost, None, 0)]
#[case(Fault::TimeoutAfterEffect, None, 1)]
#[case(Fault::Slow, Some(200), 1)]
#[tokio::test(start_paused = true)]
async fn api_15_a_fault_strikes_before_or_after_the_effect(
    #[case] fault: Fault,
    #[case] code: Option<u16>,
    #[case] written: u32,
) {
    let writes = Arc::new(AtomicU32::new(0));
    let layer = FaultLayer::new(1, vec![Rule::new(fault, 1.0)]);
    let service = layer.layer(server(0, Arc::clone(&writes)));
    let answer = service.oneshot(request(&Method::PATCH, POD)).await;
    assert_eq!(
        answer.as_ref().ok().map(|response| response.status().as_u16()),
        code
    );
    assert_eq!(writes.load(Ordering::SeqCst), written);
    if fault == Fault::TooManyRequests {
        assert_eq!(answer.unwrap().headers().get("retry-after").unwrap(), "1");
    }
    let log = layer.faults().log();
    assert_eq!(
        log.iter().map(|injected| injected.fault).collect::<Vec<_>>(),
        [fault]
    );
    assert_eq!(log[0].target.to_string(), "Patch pods/a/p");
}

#[tokio::test(start_paused = true)]
async fn api_15_rules_filter_verbs_and_resources() {
    let rules = vec![
        Rule::new(Fault::InternalError, 1.0)
            .verbs([Verb::Get])
            .resources(["pods"]),
        Rule::new(Fault::Conflict, 1.0),
    ];
    let layer = FaultLayer::new(1, rules);
    let service = layer.layer(server(0, Arc::default()));
    let mut codes = Vec::new();
    for (method, uri) in [
        (Method::GET, POD),
        (Method::PATCH, POD),
        (Method::POST, "/api/v1/namespaces/a/pods"),
        (Method::GET, "/api/v1/namespaces/a/services/s"),
    ] {
        codes.push(
            service
                .clone()
                .oneshot(request(&method, uri))
                .await
                .unwrap()
                .status()
                .as_u16(),
        );
    }
    assert_eq!(codes, [500, 409, 200, 200]);
    layer.faults().quiesce();
    assert_eq!(
        service
            .oneshot(request(&Method::GET, POD))
            .await
            .unwrap()
            .status(),
        200
    );
}

const WATCH: &str = "/api/v1/pods?watch=true";

async fn watched(seed: u64, rules: Vec<Rule>) -> (String, Duration) {
    let layer = FaultLayer::new(seed, rules);
    let start = Instant::now();
    let service = layer.layer(server(20, Arc::default()));
    let body = text(service.oneshot(request(&Method::GET, WATCH)).await.unwrap()).await;
    (body, start.elapsed())
}

fn numbers(text: &str) -> Vec<u32> {
    text.lines()
        .filter_map(|line| {
            serde_json::from_str::<serde_json::Value>(line).ok()?["n"]
                .as_u64()?
                .try_into()
                .ok()
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn api_240_watch_events_come_late_in_order() {
    let (body, took) = watched(
        3,
        vec![Rule::new(Fault::WatchDelay, 0.5).longest(Duration::from_secs(4))],
    )
    .await;
    assert_eq!(numbers(&body), (0..20).collect::<Vec<_>>());
    assert!(
        took > Duration::ZERO && took <= Duration::from_secs(4),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn api_240_watch_events_come_twice() {
    let (body, _) = watched(3, vec![Rule::new(Fault::WatchRepeat, 1.0)]).await;
    assert_eq!(numbers(&body), (0..20).flat_map(|n| [n, n]).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn api_240_watches_end_early() {
    let (body, _) = watched(3, vec![Rule::new(Fault::WatchCut, 0.2)]).await;
    let whole = numbers(&body);
    assert!(whole.len() < 20);
    assert_eq!(
        whole,
        (0..u32::try_from(whole.len()).unwrap()).collect::<Vec<_>>()
    );
    let (body, _) = watched(3, vec![Rule::new(Fault::WatchExpired, 0.2)]).await;
    let last: serde_json::Value = serde_json::from_str(body.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["type"], &last["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
}

#[tokio::test(start_paused = true)]
async fn api_15_the_same_seed_gives_the_same_faults() {
    let mut logs = Vec::new();
    for seed in [7, 7, 8] {
        let layer = FaultLayer::new(seed, storm());
        let service = layer.layer(server(20, Arc::default()));
        for uri in [POD, WATCH].into_iter().cycle().take(200) {
            if let Ok(response) = service.clone().oneshot(request(&Method::GET, uri)).await {
                let _ = response.into_body().collect().await;
            }
        }
        logs.push(layer.faults().log());
    }
    assert!(!logs[0].is_empty());
    assert_eq!(logs[0], logs[1]);
    assert_ne!(logs[0], logs[2]);
}

#[tokio::test(start_paused = true)]
async fn api_15_quiesce_lets_delayed_events_go() {
    let layer = FaultLayer::new(
        1,
        vec![Rule::new(Fault::WatchDelay, 1.0).longest(Duration::from_hours(1))],
    );
    let faults = layer.faults();
    let start = Instant::now();
    let service = layer.layer(server(5, Arc::default()));
    let read = async { text(service.oneshot(request(&Method::GET, WATCH)).await.unwrap()).await };
    let quiesce = async {
        tokio::task::yield_now().await;
        faults.quiesce();
    };
    let (body, ()) = tokio::join!(read, quiesce);
    assert_eq!(numbers(&body).len(), 5);
    assert!(start.elapsed() < Duration::from_secs(1));
}
