//! Requests against a scripted API server that fails on an unexpected call and on a missing one (STY-65).

use std::collections::VecDeque;
use std::convert::Infallible;

use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;
use steersman_shared::lease::{self, Elector, LeaseStore, StoredLease};
use steersman_shared::testing::{T0, context, pod, silent_client};

use super::*;
use crate::action::UnscheduledReason;

const BINDING: &str = "POST /api/v1/namespaces/default/pods/a/binding";
const POD: &str = "GET /api/v1/namespaces/default/pods/a";
const STATUS: &str = "PATCH /api/v1/namespaces/default/pods/a/status";

/// A request, and the code and body of its answer.
type Answered = (&'static str, u16, Value);

/// Requests that are expected, with their answers; and the bodies received.
#[derive(Clone, Default)]
struct Server {
    script: Arc<Mutex<VecDeque<Answered>>>,
    bodies: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    fn expecting(script: impl IntoIterator<Item = Answered>) -> Self {
        let server = Self::default();
        server.script.lock().unwrap().extend(script);
        server
    }

    fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, request: http::Request<Body>) -> http::Response<Body> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        self.bodies.lock().unwrap().push(body);
        let asked = format!("{} {}", parts.method, parts.uri.path());
        let next = self.script.lock().unwrap().pop_front();
        let (expected, code, answer) = next.unwrap_or_else(|| panic!("unexpected request {asked}"));
        assert_eq!(asked, expected);
        if asked == STATUS {
            let format = parts.headers.get(http::header::CONTENT_TYPE).unwrap();
            assert_eq!(format, "application/strategic-merge-patch+json");
        }
        http::Response::builder()
            .status(code)
            .body(Body::from(answer.to_string().into_bytes()))
            .unwrap()
    }

    fn body(&self, index: usize) -> Value {
        self.bodies.lock().unwrap()[index].clone()
    }

    fn is_done(&self) -> bool {
        self.script.lock().unwrap().is_empty()
    }
}

fn failed(code: u16, reason: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": format!("pods \"a\" {reason}"),
    })
}

fn created() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "status": "Success", "code": 201 })
}

fn stored(node: Option<&str>) -> Value {
    let built = pod("a").uid("u-a");
    serde_json::to_value(node.map_or(built.clone(), |node| built.on(node)).build()).unwrap()
}

fn bind() -> Action {
    Action::Bind {
        pod: ObjectKey::new("default", "a"),
        uid: Uid("u-a".into()),
        node: "n1".into(),
    }
}

fn condition() -> Action {
    Action::Condition {
        pod: ObjectKey::new("default", "a"),
        uid: Uid("u-a".into()),
        observed_generation: Some(3),
        since: T0,
        reason: UnscheduledReason::Unschedulable,
        message: "0/1 nodes are available: 1 Too many pods.".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn sch_156_a_binding_carries_the_uid() {
    let server = Server::expecting([(BINDING, 201, created())]);
    LiveSink::new(&context(server.client()))
        .apply(&bind())
        .await
        .unwrap();
    let body = server.body(0);
    assert_eq!(
        body["metadata"],
        json!({ "namespace": "default", "name": "a", "uid": "u-a" })
    );
    assert_eq!(body["target"], json!({ "kind": "Node", "name": "n1" }));
    assert!(server.is_done());
}

#[tokio::test(start_paused = true)]
async fn sch_157_a_refused_binding_is_not_sent_again() {
    let server = Server::expecting([(BINDING, 409, failed(409, "Conflict"))]);
    let error = LiveSink::new(&context(server.client()))
        .apply(&bind())
        .await
        .unwrap_err();
    assert_eq!(error.text(), "bind pod default/a: pods \"a\" Conflict");
    assert!(server.is_done());
}

#[tokio::test(start_paused = true)]
async fn sch_40_a_lost_answer_is_looked_up() {
    let lost = (BINDING, 504, failed(504, "Timeout"));
    for (found, is_bound) in [
        (stored(Some("n1")), true),
        (stored(Some("n2")), false),
        (stored(None), false),
    ] {
        let server = Server::expecting([lost.clone(), (POD, 200, found)]);
        let result = LiveSink::new(&context(server.client())).apply(&bind()).await;
        assert_eq!(result.is_ok(), is_bound);
        assert!(server.is_done());
    }
}

#[tokio::test(start_paused = true)]
async fn sch_162_the_condition_is_patched_in_the_status() {
    let server = Server::expecting([(STATUS, 200, stored(None))]);
    LiveSink::new(&context(server.client()))
        .apply(&condition())
        .await
        .unwrap();
    let body = server.body(0);
    assert_eq!(
        body["metadata"],
        json!({ "uid": "u-a" }),
        "a namesake is left alone"
    );
    let want = json!([{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "observedGeneration": 3,
        "message": "0/1 nodes are available: 1 Too many pods.",
        "lastProbeTime": null, "lastTransitionTime": "2026-01-02T03:04:05Z",
    }]);
    assert_eq!(body["status"]["conditions"], want);
}

#[tokio::test(start_paused = true)]
async fn sch_166_status_patches_are_repeated_on_passing_errors_only() {
    let passing = || (STATUS, 503, failed(503, "ServiceUnavailable"));
    let server = Server::expecting([passing(), passing(), (STATUS, 200, stored(None))]);
    LiveSink::new(&context(server.client()))
        .apply(&condition())
        .await
        .unwrap();
    assert!(server.is_done());

    let server = Server::expecting([passing(), passing(), passing(), passing()]);
    assert!(
        LiveSink::new(&context(server.client()))
            .apply(&condition())
            .await
            .is_err()
    );
    assert!(server.is_done());

    let server = Server::expecting([(STATUS, 422, failed(422, "Invalid"))]);
    assert!(
        LiveSink::new(&context(server.client()))
            .apply(&condition())
            .await
            .is_err()
    );
    assert!(server.is_done());

    let server = Server::expecting([(STATUS, 404, failed(404, "NotFound"))]);
    LiveSink::new(&context(server.client()))
        .apply(&condition())
        .await
        .unwrap();
    assert!(server.is_done());
}

struct NoStore;

impl LeaseStore for NoStore {
    async fn read(&self) -> Result<Option<StoredLease>, kube::Error> {
        std::future::pending().await
    }
    async fn create(
        &self,
        _: &k8s_openapi::api::coordination::v1::LeaseSpec,
    ) -> Result<StoredLease, kube::Error> {
        std::future::pending().await
    }
    async fn update(
        &self,
        _: &str,
        _: &k8s_openapi::api::coordination::v1::LeaseSpec,
    ) -> Result<StoredLease, kube::Error> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn sinv_11_nothing_is_written_without_the_lease() {
    let mut ctx = context(silent_client());
    let config = lease::Config::new("kube-system", "steersman", "test");
    let (elector, leadership) =
        Elector::new(NoStore, config, Arc::clone(&ctx.clock), &ctx.shared_metrics).unwrap();
    ctx.leadership = leadership;
    let sink = LiveSink::new(&ctx);
    let event = Action::Event {
        pod: ObjectKey::new("default", "a"),
        uid: Uid("u-a".into()),
        scheduler: "steersman".into(),
        what: Told::Scheduled,
        note: String::new(),
    };
    for action in [bind(), condition(), event] {
        assert!(matches!(sink.apply(&action).await, Err(Error::NotLeading(_))));
    }
    drop(elector);
}
