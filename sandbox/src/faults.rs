//! Seeded faults around an API server: what networks, overloaded servers and restarting proxies do to clients, on demand
//! and repeatable. Spec: API-15; watch errors as in API-240.
//!
//! [`FaultLayer`] wraps the in-memory service below a `kube::Client`. Each [`Rule`] names a [`Fault`], how often it
//! strikes, and which verbs and resources it may strike; every decision comes from one seeded generator in the order of
//! requests, so that a single-threaded run on paused time repeats exactly. [`Faults`] switches it off ("quiesce") and
//! holds the log of what was done.

mod stream;
mod target;

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use kube::client::Body;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

pub use target::{Target, Verb};

/// Body of responses that passed the layer.
pub type FaultBody = UnsyncBoxBody<Bytes, BoxError>;

/// One way in which a request or watch goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// 409 Conflict; nothing was written.
    Conflict,
    /// The write took effect, the answer is lost: the client sees a time-out.
    TimeoutAfterEffect,
    /// The connection broke before the server saw the request.
    ConnectionLost,
    /// 429 with `Retry-After: 1`, in plain text as an overloaded server sends it.
    TooManyRequests,
    /// 500.
    InternalError,
    /// 503.
    Unavailable,
    /// The answer comes late.
    Slow,
    /// The watch ends, perhaps in the middle of an event.
    WatchCut,
    /// An event of a watch and all after it come late; their order stays.
    WatchDelay,
    /// An event of a watch comes twice.
    WatchRepeat,
    /// The watch ends with an ERROR event 410 Expired.
    WatchExpired,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 11] = [
        Self::Conflict,
        Self::TimeoutAfterEffect,
        Self::ConnectionLost,
        Self::TooManyRequests,
        Self::InternalError,
        Self::Unavailable,
        Self::Slow,
        Self::WatchCut,
        Self::WatchDelay,
        Self::WatchRepeat,
        Self::WatchExpired,
    ];

    /// True for faults that strike single events of a watch rather than a request.
    #[must_use]
    pub fn strikes_events(self) -> bool {
        matches!(
            self,
            Self::WatchCut | Self::WatchDelay | Self::WatchRepeat | Self::WatchExpired
        )
    }

    fn may_strike(self, verb: Verb) -> bool {
        match self {
            Self::Conflict => matches!(verb, Verb::Update | Verb::Patch),
            Self::TimeoutAfterEffect => verb.writes(),
            Self::ConnectionLost
            | Self::TooManyRequests
            | Self::InternalError
            | Self::Unavailable
            | Self::Slow => true,
            Self::WatchCut | Self::WatchDelay | Self::WatchRepeat | Self::WatchExpired => verb == Verb::Watch,
        }
    }
}

/// How often a fault strikes what.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    probability: f64,
    longest: Duration,
    verbs: Option<Vec<Verb>>,
    resources: Option<Vec<String>>,
}

impl Rule {
    /// A rule for all verbs and resources that the fault can strike. The probability is per request, or per event for
    /// faults of watches; it is cut to 0…1.
    #[must_use]
    pub fn new(fault: Fault, probability: f64) -> Self {
        Self {
            fault,
            probability: probability.clamp(0.0, 1.0),
            longest: Duration::from_secs(5),
            verbs: None,
            resources: None,
        }
    }

    /// Only these verbs.
    #[must_use]
    pub fn verbs(mut self, verbs: impl IntoIterator<Item = Verb>) -> Self {
        self.verbs = Some(verbs.into_iter().collect());
        self
    }

    /// Only these resources, in the plural (`pods`); subresources count as their resource.
    #[must_use]
    pub fn resources<T: Into<String>>(mut self, resources: impl IntoIterator<Item = T>) -> Self {
        self.resources = Some(resources.into_iter().map(Into::into).collect());
        self
    }

    /// Longest delay, for faults that delay. Default 5 s.
    #[must_use]
    pub fn longest(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    fn applies(&self, target: &Target) -> bool {
        self.fault.may_strike(target.verb)
            && self
                .verbs
                .as_ref()
                .is_none_or(|verbs| verbs.contains(&target.verb))
            && self
                .resources
                .as_ref()
                .is_none_or(|resources| resources.contains(&target.resource))
    }
}

/// Every fault at once, each rarely: a storm for controllers. About one request in ten and one event in eight suffers.
#[must_use]
pub fn storm() -> Vec<Rule> {
    let rate = |fault: Fault| match fault {
        Fault::Conflict | Fault::TimeoutAfterEffect => 0.03,
        Fault::ConnectionLost | Fault::Slow | Fault::WatchCut => 0.02,
        Fault::TooManyRequests | Fault::InternalError | Fault::Unavailable | Fault::WatchExpired => 0.01,
        Fault::WatchDelay => 0.05,
        Fault::WatchRepeat => 0.04,
    };
    Fault::ALL
        .into_iter()
        .map(|fault| Rule::new(fault, rate(fault)))
        .collect()
}

/// A fault that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injected {
    /// Since the layer was made.
    pub at: Duration,
    /// What was done.
    pub fault: Fault,
    /// To which request or watch.
    pub target: Target,
}

#[derive(Debug)]
struct Dice {
    rng: fastrand::Rng,
    log: Vec<Injected>,
}

#[derive(Debug)]
struct Shared {
    rules: Vec<Rule>,
    dice: Mutex<Dice>,
    /// False: no faults.
    active: watch::Sender<bool>,
    origin: Instant,
}

impl Shared {
    fn dice(&self) -> std::sync::MutexGuard<'_, Dice> {
        self.dice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_active(&self) -> bool {
        *self.active.borrow()
    }

    /// Draws whether a rule strikes; the first that does is logged and returned with a delay of its range.
    fn draw(&self, target: &Target, of_events: bool) -> Option<(Fault, Duration)> {
        if !self.is_active() {
            return None;
        }
        let mut dice = self.dice();
        let rules = self
            .rules
            .iter()
            .filter(|rule| rule.fault.strikes_events() == of_events && rule.applies(target));
        for rule in rules {
            if dice.rng.f64() < rule.probability {
                let delay = rule.longest.mul_f64(dice.rng.f64());
                let injected = Injected {
                    at: self.origin.elapsed(),
                    fault: rule.fault,
                    target: target.clone(),
                };
                dice.log.push(injected);
                return Some((rule.fault, delay));
            }
        }
        None
    }

    fn coin(&self) -> bool {
        self.dice().rng.bool()
    }
}

/// Switch and log of a [`FaultLayer`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Shared>);

impl Faults {
    /// Ends all faults: nothing new strikes, and delayed events and answers are let go at once.
    pub fn quiesce(&self) {
        self.0.active.send_replace(false);
    }

    /// Lets faults strike (again).
    pub fn resume(&self) {
        self.0.active.send_replace(true);
    }

    /// All faults so far, in the order in which they were done.
    #[must_use]
    pub fn log(&self) -> Vec<Injected> {
        self.0.dice().log.clone()
    }
}

/// Puts faults between a client and a service; see the module. Must be made within a tokio runtime.
#[derive(Clone, Debug)]
pub struct FaultLayer(Arc<Shared>);

impl FaultLayer {
    /// A layer that follows these rules, in this order: the first that strikes a request is the only one.
    #[must_use]
    pub fn new(seed: u64, rules: Vec<Rule>) -> Self {
        let dice = Mutex::new(Dice {
            rng: fastrand::Rng::with_seed(seed),
            log: Vec::new(),
        });
        Self(Arc::new(Shared {
            rules,
            dice,
            active: watch::Sender::new(true),
            origin: Instant::now(),
        }))
    }

    /// The switch and log of this layer.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults(Arc::clone(&self.0))
    }
}

impl<S> Layer<S> for FaultLayer {
    type Service = FaultService<S>;

    fn layer(&self, inner: S) -> FaultService<S> {
        FaultService {
            inner,
            shared: Arc::clone(&self.0),
        }
    }
}

/// The service that [`FaultLayer`] makes.
#[derive(Clone, Debug)]
pub struct FaultService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, B> Service<Request<Body>> for FaultService<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<FaultBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<FaultBody>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone takes the next request, this one was polled ready.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let shared = Arc::clone(&self.shared);
        let target = Target::of(request.method(), request.uri());
        // Drawn here, not when the future is polled: the order of requests decides.
        let struck = shared.draw(&target, false);
        Box::pin(async move {
            match struck {
                Some((Fault::Conflict, _)) => return Ok(conflict(&target)),
                Some((Fault::ConnectionLost, _)) => {
                    let kind = std::io::ErrorKind::ConnectionReset;
                    return Err(std::io::Error::new(
                        kind,
                        "injected fault: connection lost before the request",
                    )
                    .into());
                }
                Some((Fault::TooManyRequests, _)) => return Ok(overloaded()),
                Some((Fault::InternalError, _)) => {
                    return Ok(failure(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "InternalError",
                        "injected fault",
                    ));
                }
                Some((Fault::Unavailable, _)) => {
                    return Ok(failure(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "ServiceUnavailable",
                        "injected fault",
                    ));
                }
                Some((Fault::Slow, delay)) => wait(&shared, delay).await,
                _ => {}
            }
            let response = inner.call(request).await.map_err(Into::into)?;
            if let Some((Fault::TimeoutAfterEffect, delay)) = struck {
                wait(&shared, delay).await;
                let text = "injected fault: the answer was lost, the write took effect";
                return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, text).into());
            }
            if target.verb == Verb::Watch && response.status().is_success() {
                return Ok(response.map(|body| stream::disturb(body, target, shared)));
            }
            Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
        })
    }
}

/// Waits for `delay` or until faults are switched off.
async fn wait(shared: &Shared, delay: Duration) {
    let mut active = shared.active.subscribe();
    tokio::select! {
        biased;
        _ = active.wait_for(|active| !active) => {}
        () = tokio::time::sleep(delay) => {}
    }
}

fn full(bytes: impl Into<Bytes>) -> FaultBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn status_response(code: StatusCode, status: &serde_json::Value) -> Response<FaultBody> {
    let mut response = Response::new(full(status.to_string()));
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn failure(code: StatusCode, reason: &str, message: &str) -> Response<FaultBody> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "code": code.as_u16(),
    });
    status_response(code, &status)
}

/// Status(409) as in API-34.
fn conflict(target: &Target) -> Response<FaultBody> {
    let qualified = if target.group.is_empty() {
        target.resource.clone()
    } else {
        format!("{}.{}", target.resource, target.group)
    };
    let name = target.name.as_deref().unwrap_or_default();
    let cause = "the object has been modified; please apply your changes to the latest version and try again";
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Conflict", "code": 409,
        "message": format!("Operation cannot be fulfilled on {qualified} \"{name}\": {cause}"),
        "details": { "name": name, "group": target.group, "kind": target.resource },
    });
    status_response(StatusCode::CONFLICT, &status)
}

/// 429 as in API-15.
fn overloaded() -> Response<FaultBody> {
    let mut response = Response::new(full("Too many requests, please try again later.\n"));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests;
