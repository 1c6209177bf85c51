//! The server as a tower service: from an HTTP request to an HTTP response.

use std::{
    convert::Infallible,
    future::Future,
    io::Write as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header, request::Parts};
use http_body::Frame;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use tokio_util::sync::CancellationToken;

use crate::{
    auth::{self, Caller, User},
    discovery,
    negotiation::{self, Encoding},
    openapi, protobuf, render,
    request::{Query, ResourcePath, Route, check_timeout, is_well_escaped, route},
    server::Core,
    status::Failure,
    verbs::{Answer, Call, content_type, dispatch, watch::WatchStream},
};

/// Largest request body in bytes (kube-apiserver 1.36, API-13).
const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// Longer answers are compressed for clients that ask for it, in bytes (kube-apiserver 1.36, API-7).
const COMPRESSED_ABOVE: usize = 128 * 1024;

/// Body of a response.
pub struct ApiBody(Inner);

enum Inner {
    Full(Option<Bytes>),
    Watch(WatchStream),
}

impl std::fmt::Debug for ApiBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Inner::Full(_) => "ApiBody(full)",
            Inner::Watch(_) => "ApiBody(watch)",
        })
    }
}

impl http_body::Body for ApiBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Inner::Full(body) => Poll::Ready(body.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Watch(lines) => lines
                .as_mut()
                .poll_next(context)
                .map(|line| line.map(|line| Ok(Frame::data(line)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Inner::Full(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match &self.0 {
            Inner::Full(body) => {
                let length = body.as_ref().map_or(0, Bytes::len);
                http_body::SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Inner::Watch(_) => http_body::SizeHint::default(),
        }
    }
}

/// The API server as a [`tower::Service`]. Cheap to clone.
#[derive(Clone)]
pub struct ApiService {
    core: Arc<Core>,
    caller: Caller,
    stop: CancellationToken,
}

impl std::fmt::Debug for ApiService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiService")
    }
}

impl ApiService {
    pub(crate) fn new(core: Arc<Core>, caller: Caller, stop: CancellationToken) -> Self {
        Self { core, caller, stop }
    }

    /// Answers one request. Never fails: errors are responses.
    pub async fn answer<B>(self, request: Request<B>) -> Response<ApiBody>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        let audit = audit_id(&self.core, &parts.headers);
        let (answer, warnings) = match auth::admit(&self.core, &self.caller, &parts) {
            Ok(user) => match collect(body).await {
                Ok(body) => answer(&self, &parts, user, body).await,
                // Reads do not look at a body.
                Err(_)
                    if parts.method == Method::GET
                        || parts.method == Method::HEAD
                        || route(parts.uri.path()) == Route::Other =>
                {
                    answer(&self, &parts, user, Bytes::new()).await
                }
                Err(failure) => (Err(failure), Vec::new()),
            },
            Err(failure) => (Err(failure), Vec::new()),
        };
        let answer = match on_disk(&self.core, &parts.method).await {
            Ok(()) => answer,
            Err(failure) => Err(failure),
        };
        compressed(respond(answer, &warnings, &audit, &parts.headers), &parts).await
    }
}

/// API-7.
async fn compressed(mut response: Response<ApiBody>, request: &Parts) -> Response<ApiBody> {
    let accepted = request
        .headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|encoding| encoding.trim() == "gzip");
    let Inner::Full(Some(body)) = &response.body().0 else {
        return response;
    };
    if request.method != Method::GET || body.len() <= COMPRESSED_ABOVE || !accepted {
        return response;
    }
    let body = body.clone();
    // Takes milliseconds for each megabyte: off the workers that serve others.
    let Ok(Ok(body)) = tokio::task::spawn_blocking(move || gzip(&body)).await else {
        return response;
    };
    response.body_mut().0 = Inner::Full(Some(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

fn gzip(body: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    encoder.write_all(body)?;
    encoder.finish().map(Bytes::from)
}

impl<B> tower::Service<Request<B>> for ApiService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<ApiBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

/// Waits until what a request has written is on disk (API-684). A write of another request that came in between is
/// waited for too, which costs nothing: both are in the same commit, most of the time.
async fn on_disk(core: &Core, method: &Method) -> Result<(), Failure> {
    if method == Method::GET {
        return Ok(());
    }
    core.flushed().await.map_err(|error| {
        let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let texts: Vec<String> = chain.map(ToString::to_string).collect();
        Failure::internal(texts.join(": "))
    })
}

async fn collect<B>(body: B) -> Result<Bytes, Failure>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Failure::too_large(format!("limit is {BODY_LIMIT}")))
        }
        Err(error) => Err(Failure::bad_request(format!(
            "unable to read the body of the request: {error}"
        ))),
    }
}

/// API-8: an id per request, or the one that the client sent.
fn audit_id(core: &Core, headers: &HeaderMap) -> HeaderValue {
    let sent = headers.get("audit-id").cloned();
    sent.or_else(|| HeaderValue::from_str(&core.uid()).ok())
        .unwrap_or_else(|| HeaderValue::from_static(""))
}

async fn answer(
    service: &ApiService,
    parts: &Parts,
    user: Arc<User>,
    body: Bytes,
) -> (Result<Answer, Failure>, Vec<String>) {
    let core = &service.core;
    if !is_well_escaped(parts.uri.path()) {
        return (Ok(Answer::text(400, "400 Bad Request")), Vec::new());
    }
    let route = route(parts.uri.path());
    // API-10.
    let only_get = matches!(route, Route::CoreVersions | Route::Version { .. });
    if (only_get && parts.method != Method::GET)
        || route != Route::Other && (parts.method == Method::HEAD || parts.method == Method::OPTIONS)
    {
        return (Err(Failure::method_not_allowed()), Vec::new());
    }
    match route {
        Route::Resource(path) => resource(service, parts, path, user, body).await,
        Route::CoreVersions => (discovery::core_versions(core, &parts.headers), Vec::new()),
        Route::Groups => (discovery::groups(core, &parts.headers), Vec::new()),
        Route::Group(group) => (Ok(discovery::group(core, &group)), Vec::new()),
        Route::Version { group, version } => (discovery::resources(core, &group, &version), Vec::new()),
        Route::Other => (other(core, parts), Vec::new()),
    }
}

async fn resource(
    service: &ApiService,
    parts: &Parts,
    path: ResourcePath,
    user: Arc<User>,
    body: Bytes,
) -> (Result<Answer, Failure>, Vec<String>) {
    let core = &service.core;
    let kinds = core.registry.kinds();
    let query = Query::parse(parts.uri.query());
    let timeout = query.get("timeout");
    if !timeout.is_empty()
        && !query.flag("watch")
        && let Err(failure) = check_timeout(timeout)
    {
        return (Err(failure), Vec::new());
    }
    let Some(kind) = kinds.get(&path.group, &path.version, &path.resource) else {
        // Below groups of custom resources alone there is nothing that could name the resource.
        let known = kinds.is_built_in_group(&path.group);
        return (
            if known {
                Err(Failure::unknown_resource())
            } else {
                Ok(not_found_page())
            },
            Vec::new(),
        );
    };
    let mut call = Call {
        core,
        kind: Arc::clone(kind),
        path,
        query,
        headers: &parts.headers,
        user,
        stop: service.stop.clone(),
        body,
        duplicates: Vec::new(),
        warnings: Vec::new(),
    };
    let answer = dispatch(&mut call, &parts.method).await;
    (answer, call.warnings)
}

fn fingerprint(body: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(body);
    hasher.finish()
}

/// API-33.
pub(crate) fn not_found_page() -> Answer {
    Answer::text(404, "404 page not found\n")
}

/// Everything that is not an API group (API-573 to API-577).
fn other(core: &Core, parts: &Parts) -> Result<Answer, Failure> {
    let path = parts.uri.path();
    let path = if path.len() > 1 {
        path.trim_end_matches('/')
    } else {
        path
    };
    if let Some(rest) = path.strip_prefix("/openapi/v3") {
        return Ok(openapi::v3(core, rest).unwrap_or_else(|| Answer::text(404, Bytes::new())));
    }
    Ok(match path {
        "/" => discovery::root(core),
        "/version" if parts.method != Method::GET => return Err(Failure::method_not_allowed()),
        "/version" => discovery::version(),
        "/openapi/v2" => openapi::v2(core, &parts.headers)?,
        "/healthz" | "/livez" | "/readyz" => {
            discovery::health(path, Query::parse(parts.uri.query()).has("verbose"))
        }
        "/healthz/ping" | "/livez/ping" | "/readyz/ping" => Answer::text(200, "ok"),
        _ => not_found_page(),
    })
}

/// An object in the encoding that the client prefers, with its media type; JSON if it has no other.
fn encoded(value: &Value, headers: &HeaderMap) -> (&'static str, Bytes) {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let encoding = negotiation::plain_encoding(accept);
    if encoding == Encoding::Protobuf {
        return match protobuf::encode(value) {
            Some(body) => (protobuf::MEDIA_TYPE, body.into()),
            None => (
                content_type(Encoding::Json),
                render::encode(Encoding::Json, value),
            ),
        };
    }
    (content_type(encoding), render::encode(encoding, value))
}

fn full(code: u16, content_type: &'static str, body: Bytes) -> (u16, Option<&'static str>, Inner) {
    if body.is_empty() {
        (code, None, Inner::Full(None))
    } else {
        (code, Some(content_type), Inner::Full(Some(body)))
    }
}

fn respond(
    answer: Result<Answer, Failure>,
    warnings: &[String],
    audit: &HeaderValue,
    request_headers: &HeaderMap,
) -> Response<ApiBody> {
    let retry_after = answer.as_ref().err().and_then(Failure::retry_after_seconds);
    let answer = answer.unwrap_or_else(|failure| Answer::object(failure.code, failure.to_value()));
    let (code, content_type, inner) = match answer {
        Answer::Full {
            code,
            content_type,
            body,
        } => full(code, content_type, body),
        Answer::Object { code, value } => {
            let (content_type, body) = encoded(&value, request_headers);
            full(code, content_type, body)
        }
        Answer::Watch { content_type, events } => (200, Some(content_type), Inner::Watch(events)),
    };
    let entity_tag = match (&inner, content_type) {
        (Inner::Full(Some(body)), Some(media_type)) if discovery::is_aggregated_type(media_type) => {
            HeaderValue::from_str(&format!("\"{:016X}\"", fingerprint(body))).ok()
        }
        _ => None,
    };
    let mut response = Response::new(ApiBody(inner));
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert("audit-id", audit.clone());
    for name in [
        "x-kubernetes-pf-flowschema-uid",
        "x-kubernetes-pf-prioritylevel-uid",
    ] {
        headers.insert(
            name,
            HeaderValue::from_static("00000000-0000-4000-8000-000000000000"),
        );
    }
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(tag) = entity_tag {
            headers.insert(header::VARY, HeaderValue::from_static("Accept"));
            headers.insert(header::ETAG, tag);
        }
    }
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    for warning in warnings {
        let escaped = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{escaped}\"")) {
            headers.append(header::WARNING, value);
        }
    }
    response
}
