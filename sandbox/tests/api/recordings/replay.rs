//! Runs one case: its namespace, its setup, its steps.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::{
    client::{Answer, Call, Client, Stream},
    normalise::Normaliser,
    path, python,
    variables::{Variables, fill, fill_text},
};

const KEPT_HEADERS: [&str; 5] = ["content-type", "warning", "retry-after", "location", "allow"];
/// Of these only the presence can be compared.
const VOLATILE_HEADERS: [&str; 7] = [
    "audit-id",
    "x-kubernetes-pf-flowschema-uid",
    "x-kubernetes-pf-prioritylevel-uid",
    "date",
    "etag",
    "last-modified",
    "content-length",
];
/// Pause between tries of a step that waits for a condition.
const RETRY: Duration = Duration::from_millis(100);
/// How long a collect with a count waits for its events, and one without for what comes; in seconds.
const COUNTED: f64 = 15.0;
const UNCOUNTED: f64 = 1.0;

/// Runs a case; returns one observation per step. What the case leaves behind goes with its server.
pub(super) async fn run(case: &Value, client: Client) -> Result<Vec<Value>, String> {
    let letters = std::iter::repeat_with(|| fastrand::char('a'..='z'));
    let namespace: String = "rec-".chars().chain(letters.take(8)).collect();
    let mut run = Run {
        client,
        variables: Variables::from([("NS".to_owned(), namespace.as_str().into())]),
        normaliser: Normaliser::new(case, &namespace),
        streams: BTreeMap::new(),
    };
    if case["namespace"] != false {
        run.create_namespace(case, &namespace).await?;
    }
    for step in elements(&case["setup"]) {
        run.setup(step).await?;
    }
    let mut seen = Vec::new();
    for step in elements(&case["steps"]) {
        seen.push(run.step(step).await?);
    }
    Ok(seen)
}

fn elements(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    elements(value).iter().filter_map(Value::as_str)
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap_or_default())
}

struct Run {
    client: Client,
    variables: Variables,
    normaliser: Normaliser,
    streams: BTreeMap<String, Stream>,
}

impl Run {
    async fn create_namespace(&mut self, case: &Value, namespace: &str) -> Result<(), String> {
        let post = |target: &str, name: &str| Call {
            method: "POST".to_owned(),
            target: target.to_owned(),
            headers: Map::from_iter([("Content-Type".to_owned(), "application/json".into())]),
            body: Some(json!({"metadata": {"name": name}}).to_string()),
        };
        let answer = self
            .client
            .request(&post("/api/v1/namespaces", namespace))
            .await?;
        if answer.status != StatusCode::CREATED {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(format!("cannot create namespace: {} {body}", answer.status));
        }
        if strings(&case["requires"]).any(|capability| capability == "admission:ServiceAccount") {
            let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
            self.client.request(&post(&accounts, "default")).await?;
        }
        Ok(())
    }

    /// The request of a step with variables filled in.
    fn call(&self, step: &Value) -> Call {
        let path = fill_text(step["path"].as_str().unwrap_or_default(), &self.variables);
        let query = python::urlencode(&fill(&step["query"], &self.variables));
        let separator = if query.is_empty() { "" } else { "?" };
        let mut headers = match fill(&step["headers"], &self.variables) {
            Value::Object(headers) => headers,
            _ => Map::new(),
        };
        let body = step.get("body").filter(|body| !body.is_null()).map(|body| {
            if !headers
                .keys()
                .any(|name| name.eq_ignore_ascii_case("content-type"))
            {
                headers.insert("Content-Type".to_owned(), content_type(step).into());
            }
            match fill(body, &self.variables) {
                Value::String(text) if step["raw"] == true => text,
                other => python::dumps(&other),
            }
        });
        Call {
            method: step["method"].as_str().unwrap_or_default().to_owned(),
            target: format!("{}{separator}{query}", python::quote(&path)),
            headers,
            body,
        }
    }

    /// Sends the request until its conditions hold (and, for a setup, it succeeds) or its time is over.
    async fn until(&mut self, step: &Value, setup: bool) -> Result<(Answer, Value, bool), String> {
        let deadline = Instant::now() + seconds(&step["within"]);
        loop {
            let answer = self.client.request(&self.call(step)).await?;
            let document = document(&answer.headers, &answer.body);
            let conditions = fill(&step["until"], &self.variables);
            let holds = members(&conditions).all(|(path, want)| path::lookup(&document, path) == Some(want));
            let ready = holds && (!setup || answer.status.is_success());
            if ready || Instant::now() > deadline {
                return Ok((answer, document, ready));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn setup(&mut self, step: &Value) -> Result<(), String> {
        let (answer, document, ready) = self.until(step, true).await?;
        if !ready {
            let (method, path) = (&step["method"], &step["path"]);
            return Err(format!("setup {method} {path}: {} {document}", answer.status));
        }
        self.capture(step, &document);
        Ok(())
    }

    fn capture(&mut self, step: &Value, document: &Value) {
        for (name, path) in members(&step["capture"]) {
            let found = path::lookup(document, path.as_str().unwrap_or_default());
            self.variables
                .insert(name.clone(), found.cloned().unwrap_or_else(|| "<absent>".into()));
        }
    }

    async fn step(&mut self, step: &Value) -> Result<Value, String> {
        if step.get("sleep").is_some() {
            tokio::time::sleep(seconds(&step["sleep"])).await;
            return Ok(json!({}));
        }
        if let Some(name) = step["collect"].as_str() {
            return Ok(self.collect(step, name).await);
        }
        if let Some(name) = step["watch"].as_str() {
            let stream = self.client.open(&self.call(step)).await?;
            if stream.status() != StatusCode::OK {
                let answer = stream.finish().await?;
                let document = document(&answer.headers, &answer.body);
                return Ok(self.observe(step, &answer, &document));
            }
            let headers = headers(step, stream.headers(), |values| values.last().cloned());
            self.streams.insert(name.to_owned(), stream);
            return Ok(json!({"status": 200, "headers": headers}));
        }
        let (answer, document, _) = self.until(step, false).await?;
        Ok(self.observe(step, &answer, &document))
    }

    fn observe(&mut self, step: &Value, answer: &Answer, document: &Value) -> Value {
        self.capture(step, document);
        let kept: Map<String, Value> = headers(step, &answer.headers, |values| Some(values.join(", ")))
            .into_iter()
            .map(|(name, value)| (name, self.normaliser.text(&value).into()))
            .collect();
        let mut seen = json!({"status": answer.status.as_u16(), "headers": kept});
        if step["compare"] == "status" {
            return seen;
        }
        seen["body"] = if step.get("only").is_some() {
            self.normaliser.learn_names(document);
            let picked = strings(&step["only"]).map(|path| {
                let found = path::lookup(document, &fill_text(path, &self.variables));
                (path.to_owned(), self.normaliser.picked(found, path))
            });
            picked.collect::<Map<_, _>>().into()
        } else if step.get("contains").is_some() {
            let text = document
                .as_str()
                .map_or_else(|| python::dumps(document), str::to_owned);
            let found = strings(&step["contains"]).map(|part| (part.to_owned(), text.contains(part).into()));
            found.collect::<Map<_, _>>().into()
        } else {
            let mut body = self.normaliser.body(document, step["managed_fields"] == true);
            strings(&step["ignore"]).for_each(|path| path::remove(&mut body, path));
            body
        };
        seen
    }

    async fn collect(&mut self, step: &Value, name: &str) -> Value {
        let Some(stream) = self.streams.get_mut(name) else {
            return json!({"events": "<no such watch>"});
        };
        let count = step["count"]
            .as_u64()
            .and_then(|count| usize::try_from(count).ok());
        let default = if count.is_some_and(|count| count > 0) {
            COUNTED
        } else {
            UNCOUNTED
        };
        let wait = Duration::from_secs_f64(step["seconds"].as_f64().unwrap_or(default));
        let events = stream.collect(count, wait, step["bookmarks"] == true).await;
        let closed = stream.closed;
        self.capture(step, &events.clone().into());
        let only: Option<Vec<&str>> = step
            .get("only")
            .map(|only| ["type"].into_iter().chain(strings(only)).collect());
        let mut out: Vec<Value> = Vec::new();
        for event in &events {
            out.push(match &only {
                Some(paths) => {
                    let picked = paths.iter().map(|&path| {
                        let found = path::lookup(event, path);
                        (path.to_owned(), self.normaliser.picked(found, path))
                    });
                    picked.collect::<Map<_, _>>().into()
                }
                None => self.normaliser.body(event, step["managed_fields"] == true),
            });
        }
        if only.is_none() {
            for event in &mut out {
                strings(&step["ignore"]).for_each(|path| path::remove(event, path));
            }
        }
        if step["unordered"] == true {
            out.sort_by_cached_key(python::dumps);
        }
        if step["closed"] == true {
            return json!({"events": out, "closed": closed});
        }
        json!({"events": out})
    }
}

fn content_type(step: &Value) -> &str {
    match step["patch"].as_str().unwrap_or("json") {
        "json-patch" => "application/json-patch+json",
        "merge" => "application/merge-patch+json",
        "strategic" => "application/strategic-merge-patch+json",
        "apply" => "application/apply-patch+yaml",
        "json" => "application/json",
        other => other,
    }
}

/// The body as JSON, as text if it is none, or what its first bytes are.
fn document(headers: &HeaderMap, body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default();
    if content_type.contains("json")
        && !content_type.contains("proto-openapi")
        && let Ok(document) = serde_json::from_slice(body)
    {
        return document;
    }
    if let Ok(text) = std::str::from_utf8(body) {
        return text.into();
    }
    let start: Vec<String> = body.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("<binary, begins {}>", start.concat()).into()
}

/// The headers that are compared. `join` makes one value of several.
fn headers(
    step: &Value,
    headers: &HeaderMap,
    join: impl Fn(&[String]) -> Option<String>,
) -> BTreeMap<String, String> {
    let asked = strings(&step["keep_headers"]).map(str::to_ascii_lowercase);
    let mut out = BTreeMap::new();
    for name in KEPT_HEADERS.map(str::to_owned).into_iter().chain(asked) {
        let values = headers.get_all(&name).iter();
        // Bytes are characters of ISO 8859-1, as in Python.
        let values: Vec<String> = values
            .map(|value| value.as_bytes().iter().map(|&byte| char::from(byte)).collect())
            .collect();
        match join(&values).filter(|_| !values.is_empty()) {
            Some(_) if VOLATILE_HEADERS.contains(&name.as_str()) => {
                out.insert(name, "<present>".to_owned());
            }
            Some(value) => {
                out.insert(name, value);
            }
            None if !KEPT_HEADERS.contains(&name.as_str()) => {
                out.insert(name, "<absent>".to_owned());
            }
            None => {}
        }
    }
    out
}
