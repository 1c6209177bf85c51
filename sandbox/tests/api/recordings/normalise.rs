//! Replaces what differs from run to run. Equal raw values get equal placeholders within one case.

use std::{net::IpAddr, sync::LazyLock};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use regex::{Captures, Regex};
use rustc_hash::FxHashMap;
use serde_json::{Map, Value, json};
use steersman_sandbox::clock::{Clock, WallClock};

use super::{
    path::{self, Part},
    python,
};

/// A time counts as the present when it is no further away, in hours.
const PRESENT_HOURS: i64 = 36;

fn regex(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

static UUID: LazyLock<Regex> =
    LazyLock::new(|| regex(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static TIME: LazyLock<Regex> = LazyLock::new(|| regex(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z"));
static VERSION_TEXT: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)resource ?version"));
static VERSION_NOW: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(current: |object meta: |resource version: \d+ \()\d+"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| regex(r"\b\d+\b"));
static ACCESS_VOLUME: LazyLock<Regex> = LazyLock::new(|| regex(r"^kube-api-access-[a-z0-9]{5}$"));
static AGE: LazyLock<Regex> = LazyLock::new(|| regex(r"^(\d+[smhdy])+$|^<invalid>$"));

/// The placeholders of one run of one case.
pub(super) struct Normaliser {
    /// All that the case sends: what stands there was not made by the server.
    sent: String,
    namespace: String,
    now: Timestamp,
    placeholders: FxHashMap<(&'static str, String), String>,
    counts: FxHashMap<&'static str, usize>,
    /// Generated names and addresses, replaced inside other strings as well; in order of discovery.
    names: Vec<(String, String)>,
}

impl Normaliser {
    pub(super) fn new(case: &Value, namespace: &str) -> Self {
        let mut steps = case["steps"].clone();
        for step in steps.as_array_mut().into_iter().flatten() {
            if let Some(step) = step.as_object_mut() {
                step.remove("want");
            }
        }
        Self {
            sent: json!([steps, case["setup"]]).to_string(),
            namespace: namespace.to_owned(),
            now: WallClock.now(),
            placeholders: FxHashMap::default(),
            counts: FxHashMap::default(),
            names: Vec::new(),
        }
    }

    /// The placeholder of a raw value.
    fn placeholder(&mut self, kind: &'static str, raw: &str) -> String {
        if let Some(known) = self.placeholders.get(&(kind, raw.to_owned())) {
            return known.clone();
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let made = format!("<{kind}:{count}>");
        self.placeholders.insert((kind, raw.to_owned()), made.clone());
        made
    }

    fn knows(&self, raw: &str) -> bool {
        self.names.iter().any(|(name, _)| name == raw)
    }

    pub(super) fn text(&mut self, text: &str) -> String {
        let mut text = text.replace(&self.namespace, "$NS");
        for (raw, placeholder) in &self.names {
            if text.contains(raw.as_str()) {
                text = text.replace(raw.as_str(), placeholder);
            }
        }
        let text = UUID.replace_all(&text, |found: &Captures<'_>| {
            if self.sent.contains(&found[0]) {
                found[0].to_owned()
            } else {
                self.placeholder("uid", &found[0])
            }
        });
        let text = TIME.replace_all(&text, |found: &Captures<'_>| self.time(found));
        if !VERSION_TEXT.is_match(&text) {
            return text.into_owned();
        }
        let text = NUMBER.replace_all(&text, |found: &Captures<'_>| {
            let known = self.placeholders.get(&("rv", found[0].to_owned()));
            known.cloned().unwrap_or_else(|| found[0].to_owned())
        });
        VERSION_NOW.replace_all(&text, "${1}<rv>").into_owned()
    }

    fn time(&self, found: &Captures<'_>) -> String {
        let raw = found[0].to_owned();
        if self.sent.contains(&raw) {
            return raw;
        }
        let Ok(when) = found[1]
            .parse::<DateTime>()
            .and_then(|at| at.to_zoned(TimeZone::UTC))
        else {
            return raw;
        };
        if (when.timestamp().as_second() - self.now.as_second()).abs() > PRESENT_HOURS * 3600 {
            return raw;
        }
        match found.get(2) {
            None => "<time>".to_owned(),
            Some(fraction) => format!("<time.{}>", fraction.len() - 1),
        }
    }

    /// Finds names that the server generated: `metadata.generateName`, volumes of service accounts.
    pub(super) fn learn_names(&mut self, document: &Value) {
        match document {
            Value::Array(list) => list.iter().for_each(|element| self.learn_names(element)),
            Value::Object(members) => {
                let metadata = document.get("metadata");
                let of_metadata = |key| metadata.and_then(|metadata| metadata.get(key)?.as_str());
                if let (Some(name), Some(base)) = (of_metadata("name"), of_metadata("generateName"))
                    && !base.is_empty()
                    && name.starts_with(base)
                    && !self.sent.contains(name)
                    && !self.knows(name)
                {
                    let made = base.replace(&self.namespace, "$NS") + &self.placeholder("name", name);
                    self.names.push((name.to_owned(), made));
                }
                if let Some(name) = members.get("name").and_then(Value::as_str)
                    && ACCESS_VOLUME.is_match(name)
                    && !self.knows(name)
                {
                    let made = format!("kube-api-access-{}", self.placeholder("name", name));
                    self.names.push((name.to_owned(), made));
                }
                members.values().for_each(|member| self.learn_names(member));
            }
            _ => {}
        }
    }

    fn learn_addresses(&mut self, document: &Value) {
        match document {
            Value::Array(list) => list.iter().for_each(|element| self.learn_addresses(element)),
            Value::Object(members) => {
                for member in ["clusterIP", "clusterIPs"]
                    .iter()
                    .filter_map(|key| members.get(*key))
                {
                    let values = member
                        .as_array()
                        .map_or(std::slice::from_ref(member), Vec::as_slice);
                    for address in values.iter().filter_map(Value::as_str) {
                        let sent = self.sent.contains(&format!("\"{address}\""));
                        if !sent && !self.knows(address) && address.parse::<IpAddr>().is_ok() {
                            let made = self.placeholder("ip", address);
                            self.names.push((address.to_owned(), made));
                        }
                    }
                }
                members.values().for_each(|member| self.learn_addresses(member));
            }
            _ => {}
        }
    }

    fn learn(&mut self, document: &Value) {
        self.learn_names(document);
        self.learn_addresses(document);
    }

    /// A whole body.
    pub(super) fn body(&mut self, document: &Value, managed_fields: bool) -> Value {
        self.learn(document);
        self.walk(document, None, false, managed_fields)
    }

    /// One value that a case asks for by path; its last member decides how it is treated.
    pub(super) fn picked(&mut self, value: Option<&Value>, path: &str) -> Value {
        let Some(value) = value else {
            return "<absent>".into();
        };
        let key = path::split(path).into_iter().rev().find_map(|part| match part {
            Part::Member(name) => Some(name),
            _ => None,
        });
        match &key {
            Some(key) => self.learn(&json!({ key: value })),
            None => self.learn(value),
        }
        self.walk(value, key.as_deref(), false, true)
    }

    fn walk(&mut self, value: &Value, key: Option<&str>, of_list: bool, managed_fields: bool) -> Value {
        match value {
            Value::Object(members) => self.walk_object(members, key, managed_fields),
            Value::Array(list) => {
                let walked = list
                    .iter()
                    .map(|element| self.walk(element, key, false, managed_fields));
                let mut walked: Vec<Value> = walked.collect();
                if key == Some("cells") {
                    let ages = walked
                        .iter_mut()
                        .filter(|cell| cell.as_str().is_some_and(|cell| AGE.is_match(cell)));
                    ages.for_each(|cell| *cell = "<age>".into());
                }
                if key == Some("causes") {
                    walked.sort_by_cached_key(python::dumps);
                }
                walked.into()
            }
            Value::Number(number) => {
                let port = number.as_i64().filter(|port| (30000..=32767).contains(port));
                match (key, port) {
                    (Some("nodePort" | "healthCheckNodePort"), Some(port)) if !self.sends_number(port) => {
                        self.placeholder("nodePort", &port.to_string()).into()
                    }
                    _ => value.clone(),
                }
            }
            Value::String(text) => self.walk_text(text, key, of_list).into(),
            other => other.clone(),
        }
    }

    fn walk_text(&mut self, text: &str, key: Option<&str>, of_list: bool) -> String {
        let version = text != "0" && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match key {
            Some("resourceVersion") if version && of_list => "<rv>".to_owned(),
            Some("resourceVersion") if version => self.placeholder("rv", text),
            Some("storageVersionHash") => "<hash>".to_owned(),
            Some("continue") if !text.is_empty() => "<continue>".to_owned(),
            _ => self.text(text),
        }
    }

    fn walk_object(
        &mut self,
        members: &Map<String, Value>,
        key: Option<&str>,
        managed_fields: bool,
    ) -> Value {
        let list = match members.get("kind") {
            None => members.contains_key("items"),
            Some(Value::String(kind)) => {
                members.contains_key("items") || kind.ends_with("List") || kind == "Table" || kind == "Status"
            }
            Some(_) => false,
        };
        let column = key == Some("columnDefinitions");
        let mut out = Map::new();
        for (name, member) in members {
            if name == "managedFields" && !managed_fields {
                continue;
            }
            let described =
                column && name == "description" && member.as_str().is_some_and(|text| !text.is_empty());
            let value = if described {
                "<text>".into()
            } else {
                self.walk(member, Some(name), list && name == "metadata", managed_fields)
            };
            out.insert(self.text(name), value);
        }
        if let Some(Value::Array(entries)) = out.get_mut("managedFields") {
            entries.sort_by_cached_key(|entry| {
                ["manager", "operation", "subresource", "apiVersion"]
                    .map(|key| entry.get(key).map_or_else(String::new, python::text))
            });
        }
        if members.get("type").is_some_and(|kind| kind == "BOOKMARK")
            && let Some(metadata) = out
                .get_mut("object")
                .and_then(|object| object.get_mut("metadata"))
        {
            metadata["resourceVersion"] = "<rv>".into();
        }
        out.into()
    }

    /// Whether the case itself names this number.
    fn sends_number(&self, number: i64) -> bool {
        let number = number.to_string();
        NUMBER.find_iter(&self.sent).any(|found| found.as_str() == number)
    }
}
