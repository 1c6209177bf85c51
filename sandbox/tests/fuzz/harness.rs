//! A server with some objects, and what has to hold for every answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use steersman_sandbox::{Config, Server, clock::TokioClock, service::ApiService};
use tokio::runtime::Runtime;

use crate::request::Request;

/// The server is replaced after so many writes: a failure is found again by the requests since then.
const WRITES: u64 = 200;
/// Frames read from a watch.
const FRAMES: usize = 64;
/// Codes that a request can be answered with (API-31); a client's fault never is a plain 500.
const CODES: &[u16] = &[
    200, 201, 202, 304, 400, 401, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429, 500, 501, 503, 504,
];
/// Collections that are listed in all forms before a server is given up.
const COLLECTIONS: &[&str] = &[
    "/api/v1/namespaces",
    "/api/v1/nodes",
    "/api/v1/pods",
    "/api/v1/services",
    "/api/v1/configmaps",
    "/api/v1/secrets",
    "/api/v1/events",
    "/apis/events.k8s.io/v1/events",
    "/apis/apps/v1/deployments",
    "/apis/batch/v1/jobs",
    "/apis/batch/v1/cronjobs",
    "/apis/policy/v1/poddisruptionbudgets",
    "/apis/autoscaling/v2/horizontalpodautoscalers",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/example.com/v1/widgets",
];

/// What is in every server: one request for each object.
const FIXTURE: &str = include_str!("fixture.txt");

pub(crate) struct Harness {
    runtime: Runtime,
    server: Server,
    service: ApiService,
    /// Requests since the server was started that have written something.
    writes: Vec<String>,
    fixture: u64,
}

struct Answer {
    code: u16,
    content_type: String,
    body: Bytes,
}

impl Harness {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let (server, service) = start(&runtime);
        let fixture = server.revision().0;
        Self {
            runtime,
            server,
            service,
            writes: Vec::new(),
            fixture,
        }
    }

    /// Sends a request and checks its answer.
    pub(crate) fn send(&mut self, request: &Request) {
        let before = self.server.revision();
        let Some(answer) = self.runtime.block_on(exchange(&self.service, request)) else {
            return; // not HTTP
        };
        let context = || format!("\n{request}\n\nafter {:#?}", self.writes);
        check(&answer, request).unwrap_or_else(|problem| panic!("{problem}{}", context()));
        let wrote = self.server.revision() != before;
        let reads = matches!(request.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        assert!(!(wrote && reads), "a read has written{}", context());
        // A form that does not fit is noticed when the object is shown, as upstream does it.
        assert!(
            !(wrote && answer.code >= 400 && answer.code != 406),
            "a refused request ({}) has written{}",
            answer.code,
            context()
        );
        let alive = self.get("/readyz", "");
        assert_eq!(alive.code, 200, "the server is not ready{}", context());
        if wrote {
            self.writes.push(format!("{} {}", request.method, request.target));
        }
        if self.server.revision().0 > self.fixture + WRITES {
            self.replace();
        }
    }

    /// Lists everything in all forms, then starts anew.
    fn replace(&mut self) {
        for path in COLLECTIONS {
            for accept in [
                "",
                "application/yaml",
                "application/json;as=Table;v=v1;g=meta.k8s.io",
                "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
            ] {
                let code = self.get(path, accept).code;
                // The definition may be gone.
                assert!(
                    code == 200 || code == 404,
                    "{path} as {accept:?}: {code} after {:#?}",
                    self.writes
                );
            }
        }
        (self.server, self.service) = start(&self.runtime);
        self.fixture = self.server.revision().0;
        self.writes.clear();
    }

    fn get(&self, path: &str, accept: &str) -> Answer {
        let request = Request {
            method: "GET".to_owned(),
            target: path.to_owned(),
            headers: vec![("Accept".to_owned(), accept.to_owned())],
            body: Vec::new(),
        };
        self.runtime.block_on(exchange(&self.service, &request)).unwrap()
    }
}

fn start(runtime: &Runtime) -> (Server, ApiService) {
    let server = {
        let _inside = runtime.enter();
        let clock = Arc::new(TokioClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        Server::start(Config {
            seed: Some(1),
            clock,
            ..Config::default()
        })
        .unwrap()
    };
    let service = server.service();
    for text in FIXTURE.split("\n\n\n") {
        let request = Request::parse(text.trim_start().as_bytes()).expect(text);
        let answer = runtime.block_on(exchange(&service, &request)).unwrap();
        assert!(
            answer.code < 300,
            "{}: {}",
            answer.code,
            String::from_utf8_lossy(&answer.body)
        );
    }
    (server, service)
}

/// `None` if no HTTP client can send the request.
async fn exchange(service: &ApiService, request: &Request) -> Option<Answer> {
    let mut http = http::Request::builder()
        .method(request.method.as_bytes())
        .uri(request.target.as_str());
    for (name, value) in &request.headers {
        http = http.header(name.as_str(), value.as_bytes());
    }
    let http = http.body(Full::new(Bytes::from(request.body.clone()))).ok()?;
    let response = service.clone().answer(http).await;
    let content_type = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let code = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    for _ in 0..FRAMES {
        // The clock is paused: a watch that is idle runs into this at once.
        match tokio::time::timeout(Duration::from_millis(1), body.frame()).await {
            Ok(Some(Ok(frame))) => {
                bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
            }
            Ok(Some(Err(never))) => match never {},
            Ok(None) | Err(_) => break,
        }
    }
    Some(Answer {
        code,
        content_type,
        body: bytes.into(),
    })
}

/// API-30: an error is a Status with the code of the response, or the page of an unknown path (API-33).
fn check(answer: &Answer, request: &Request) -> Result<(), String> {
    let Answer {
        code,
        content_type,
        body,
    } = answer;
    if !CODES.contains(code) {
        return Err(format!("unexpected code {code}"));
    }
    let text = || {
        String::from_utf8_lossy(body)
            .chars()
            .take(500)
            .collect::<String>()
    };
    let is_head = request.method == "HEAD";
    if *code == 200 && body.is_empty() {
        return Ok(()); // a watch without events
    }
    if content_type.starts_with("application/json")
        && !is_head
        && request.header("accept-encoding").is_empty()
    {
        let mut lines = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
        let first = lines.next().and_then(Result::ok);
        let Some(first) = first.filter(|_| lines.all(|line| line.is_ok())) else {
            return Err(format!("{code} with broken JSON: {}", text()));
        };
        if *code >= 400 {
            let is_status = first["kind"] == "Status"
                && first["apiVersion"] == "v1"
                && first["status"] == "Failure"
                && first["code"] == *code
                && first["message"].is_string();
            if !is_status {
                return Err(format!("{code} is not a Status: {}", text()));
            }
        }
    } else if *code >= 400
        && content_type.is_empty()
        && !is_head
        && !request.target.starts_with("/openapi/v3")
    {
        // Upstream answers 404 without a body for documents that it does not have.
        return Err(format!("{code} without a body"));
    }
    Ok(())
}
