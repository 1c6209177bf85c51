//! Logs of pods (API-470). Simulated containers run no program: their log says when they started, that they still run,
//! one line a minute, and how they ended.

use std::{collections::VecDeque, fmt::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    json,
    names::{GroupKind, Gvr},
    server::Core,
    status::Failure,
    store::{Key, TableName},
    validate::{FieldError, FieldErrorKind},
    verbs::{Answer, Call, field_error},
};

const TEXT: &str = "text/plain";
/// Time between two lines of a container that runs.
const LINE_PERIOD: i64 = 60;
/// Older lines are rotated away.
const KEPT_LINES: i64 = 1000;

/// What a client wants to see.
struct Options {
    follow: bool,
    previous: bool,
    timestamps: bool,
    /// Only lines from then on.
    since: Option<Timestamp>,
    tail: Option<usize>,
    limit: Option<usize>,
}

/// One line with its time.
struct Line {
    at: Timestamp,
    text: String,
}

pub(crate) fn log(call: &Call<'_>) -> Result<Answer, Failure> {
    // The answer is text, but what is accepted has to be something else (API-2).
    call.object_view()?;
    let name = call.path.name.clone().unwrap_or_default();
    let options = Options::of_query(call, &name)?;
    let pod = call.current()?.parse();
    let container = container(call, &pod)?;
    let node = json::text(&pod, &["spec", "nodeName"]);
    if node.is_empty() {
        return Ok(Answer::Full {
            code: 204,
            content_type: TEXT,
            body: Bytes::new(),
        });
    }
    if call
        .core
        .store
        .get(&"nodes".into(), &Key::new("", node))
        .is_none()
    {
        return Err(Failure::not_found(&Gvr::new("", "v1", "nodes"), node));
    }
    if options.previous {
        return Err(Failure::bad_request(format!(
            "previous terminated container {container:?} in pod {name:?} not found"
        )));
    }
    let source = Source {
        core: Arc::clone(call.core),
        key: call.key(),
        uid: json::text(&pod, &["metadata", "uid"]).to_owned(),
        container,
    };
    let Some(life) = Life::of(&pod, &source.container) else {
        let reason = status_of(&pod, &source.container)
            .map(|status| json::text(status, &["state", "waiting", "reason"]))
            .filter(|reason| !reason.is_empty())
            .unwrap_or("ContainerCreating");
        return Err(Failure::bad_request(format!(
            "container {:?} in pod {name:?} is waiting to start: {reason}",
            source.container
        )));
    };
    let now = call.core.now();
    let mut lines = life.lines(&source.container, now);
    if let Some(since) = options.since {
        lines.retain(|line| line.at >= since);
    }
    if let Some(tail) = options.tail {
        lines.drain(..lines.len().saturating_sub(tail));
    }
    let mut text = String::new();
    for line in &lines {
        line.write(&mut text, options.timestamps);
    }
    if options.follow && life.ended.is_none() {
        let rest = source.follow(text, now, &options, call.stop.clone());
        return Ok(Answer::Watch {
            content_type: TEXT,
            events: rest,
        });
    }
    let mut body = text.into_bytes();
    body.truncate(options.limit.unwrap_or(usize::MAX));
    Ok(Answer::Full {
        code: 200,
        content_type: TEXT,
        body: body.into(),
    })
}

impl Options {
    fn of_query(call: &Call<'_>, pod: &str) -> Result<Self, Failure> {
        let query = &call.query;
        let (tail, limit) = (query.integer("tailLines")?, query.integer("limitBytes")?);
        let since_seconds = query.integer("sinceSeconds")?;
        let since_time = match query.get("sinceTime") {
            "" => None,
            text => Some(text.parse::<Timestamp>().map_err(|_| {
                Failure::bad_request(format!(
                    "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
                ))
            })?),
        };
        let mut errors: Vec<FieldError> = Vec::new();
        let mut at_least = |field: &str, value: Option<i64>, least: i64, rule: &str| {
            if let Some(value) = value.filter(|value| *value < least) {
                errors.push(field_error(
                    FieldErrorKind::Invalid,
                    field,
                    format!("{value}: {rule}"),
                ));
            }
        };
        at_least("tailLines", tail, 0, "must be greater than or equal to 0");
        at_least("limitBytes", limit, 1, "must be greater than 0");
        if since_time.is_none() {
            at_least("sinceSeconds", since_seconds, 1, "must be greater than 0");
        }
        if since_time.is_some() && since_seconds.is_some() {
            let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(field_error(FieldErrorKind::Forbidden, "[]", detail));
        }
        if query.has("stream") {
            errors.push(field_error(
                FieldErrorKind::Forbidden,
                "stream",
                "may not be specified",
            ));
        }
        if !errors.is_empty() {
            return Err(Failure::invalid(
                &GroupKind::new("", "PodLogOptions"),
                pod,
                &errors,
            ));
        }
        let ago = |seconds| {
            let now = call.core.now();
            now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(now)
        };
        let size = |value: Option<i64>| value.and_then(|value| usize::try_from(value).ok());
        Ok(Self {
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            since: since_time.or_else(|| since_seconds.map(ago)),
            tail: size(tail),
            limit: size(limit),
        })
    }
}

/// The container that the query names, or the only one.
pub(super) fn container(call: &Call<'_>, pod: &Value) -> Result<String, Failure> {
    let name = call.path.name.as_deref().unwrap_or_default();
    let all: Vec<&str> = ["initContainers", "containers", "ephemeralContainers"]
        .iter()
        .flat_map(|lists| json::list(pod, &["spec", lists]))
        .map(|container| json::text(container, &["name"]))
        .collect();
    let wanted = call.query.get("container");
    if wanted.is_empty() {
        return match json::list(pod, &["spec", "containers"]) {
            [only] => Ok(json::text(only, &["name"]).to_owned()),
            _ => Err(Failure::bad_request(format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                all.join(" ")
            ))),
        };
    }
    if all.contains(&wanted) {
        Ok(wanted.to_owned())
    } else {
        Err(Failure::bad_request(format!(
            "container {wanted} is not valid for pod {name}"
        )))
    }
}

fn status_of<'a>(pod: &'a Value, container: &str) -> Option<&'a Value> {
    [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ]
    .iter()
    .flat_map(|list| json::list(pod, &["status", list]))
    .find(|status| json::text(status, &["name"]) == container)
}

/// When a container ran.
struct Life {
    image: String,
    started: Timestamp,
    ended: Option<(Timestamp, i64)>,
}

impl Life {
    /// `None`: it has not started.
    fn of(pod: &Value, container: &str) -> Option<Self> {
        let status = status_of(pod, container)?;
        let time = |path: &[&str]| json::text(status, path).parse::<Timestamp>().ok();
        let image = json::text(status, &["image"]).to_owned();
        if let Some(started) = time(&["state", "running", "startedAt"]) {
            return Some(Self {
                image,
                started,
                ended: None,
            });
        }
        let code = json::at(status, &["state", "terminated", "exitCode"]).and_then(Value::as_i64);
        let finished = time(&["state", "terminated", "finishedAt"])?;
        Some(Self {
            image,
            started: time(&["state", "terminated", "startedAt"]).unwrap_or(finished),
            ended: Some((finished, code.unwrap_or(0))),
        })
    }

    /// The line of the given number, counted in minutes.
    fn line(&self, container: &str, minute: i64) -> Line {
        let at = self
            .started
            .checked_add(SignedDuration::from_secs(minute.saturating_mul(LINE_PERIOD)))
            .unwrap_or(self.started);
        let text = if minute == 0 {
            format!("{container}: simulated container of image {} started", self.image)
        } else {
            format!("{container}: running for {minute} min")
        };
        Line { at, text }
    }

    /// Whole minutes that it ran until `now`.
    fn minutes(&self, now: Timestamp) -> i64 {
        let end = self.ended.map_or(now, |(at, _)| at);
        end.duration_since(self.started)
            .as_secs()
            .max(0)
            .div_euclid(LINE_PERIOD)
    }

    fn lines(&self, container: &str, now: Timestamp) -> Vec<Line> {
        let last = self.minutes(now);
        let mut lines: Vec<Line> = (last.saturating_sub(KEPT_LINES).max(0)..=last)
            .map(|minute| self.line(container, minute))
            .collect();
        lines.extend(self.ended.map(|(at, code)| Line {
            at,
            text: format!("{container}: ended with exit code {code}"),
        }));
        lines
    }
}

impl Line {
    fn write(&self, to: &mut String, timestamps: bool) {
        if timestamps {
            // Writing to a string does not fail.
            let _ = write!(to, "{:.9} ", self.at);
        }
        to.push_str(&self.text);
        to.push('\n');
    }
}

/// Where the lines of a followed log come from.
struct Source {
    core: Arc<Core>,
    key: Key,
    /// Another pod of the same name is not followed.
    uid: String,
    container: String,
}

impl Source {
    /// `sent` first, then every new line, until the container ends or its pod is gone.
    fn follow(
        self,
        sent: String,
        now: Timestamp,
        options: &Options,
        stop: CancellationToken,
    ) -> crate::verbs::watch::WatchStream {
        let table: TableName = "pods".into();
        let changes = self.core.store.subscribe(&table);
        let timestamps = options.timestamps;
        let mut budget = options.limit.unwrap_or(usize::MAX);
        let ready = VecDeque::from([sent]);
        let state = (self, ready, now, false);
        let lines = stream::unfold(state, move |(source, mut ready, mut seen, mut ended)| {
            let (mut changes, stop, table) = (changes.clone(), stop.clone(), Arc::clone(&table));
            async move {
                loop {
                    if let Some(text) = ready.pop_front() {
                        return Some((text, (source, ready, seen, ended)));
                    }
                    if ended {
                        return None;
                    }
                    // What happened before this look is seen in the pod itself.
                    changes.borrow_and_update();
                    let pod = source.core.store.get(&table, &source.key).map(|pod| pod.parse());
                    let own = pod.filter(|pod| json::text(pod, &["metadata", "uid"]) == source.uid);
                    let life = own.and_then(|pod| Life::of(&pod, &source.container))?;
                    let now = source.core.now();
                    let lines = life.lines(&source.container, now);
                    for line in lines.iter().filter(|line| line.at > seen) {
                        let mut text = String::new();
                        line.write(&mut text, timestamps);
                        ready.push_back(text);
                    }
                    seen = now.max(seen);
                    ended = life.ended.is_some();
                    if ended || !ready.is_empty() {
                        continue;
                    }
                    let next = life
                        .line(&source.container, life.minutes(now).saturating_add(1))
                        .at;
                    let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
                    // All branches are cancel-safe: each only wakes for another look.
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return None,
                        woken = changes.changed() => woken.ok()?,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        });
        let limited = lines.scan((), move |(), text| {
            let mut bytes = text.into_bytes();
            bytes.truncate(budget);
            budget = budget.saturating_sub(bytes.len());
            let end = bytes.is_empty() && budget == 0;
            async move { (!end).then(|| Bytes::from(bytes)) }
        });
        Box::pin(limited.filter(|bytes| std::future::ready(!bytes.is_empty())))
    }
}
