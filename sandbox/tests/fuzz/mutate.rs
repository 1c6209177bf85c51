//! From corpus requests to requests that nobody should send.

use serde_json::{Map, Number, Value, json};

use crate::{choices::Choices, request::Request};

const METHODS: &[&str] = &[
    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "X",
];
const QUERY: &[&str] = &[
    "watch",
    "limit",
    "continue",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "allowWatchBookmarks",
    "timeoutSeconds",
    "labelSelector",
    "fieldSelector",
    "dryRun",
    "fieldManager",
    "fieldValidation",
    "force",
    "gracePeriodSeconds",
    "propagationPolicy",
    "orphanDependents",
    "includeObject",
    "timeout",
    "pretty",
    "container",
    "tailLines",
    "follow",
    "command",
];
const HEADERS: &[&str] = &[
    "Accept",
    "Content-Type",
    "Audit-Id",
    "User-Agent",
    "Authorization",
    "Impersonate-User",
    "Impersonate-Group",
    "Impersonate-Extra-%2f",
    "Accept-Encoding",
    "If-None-Match",
    "Upgrade",
    "Connection",
];
const HEADER_VALUES: &[&str] = &[
    "",
    "*/*",
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;q=0.1",
    "text/plain;q=9.99999999999999999999",
    "gzip",
    "Bearer eyJhbGciOiJub25lIn0.e30.",
    "Basic Og==",
    "system:serviceaccount:fuzz:default",
    "websocket",
    ";;;,,,===\"",
    "\u{ff}\u{fe}",
];
const TEXTS: &[&str] = &[
    "",
    "a",
    "A",
    " ",
    "0",
    "1",
    "-1",
    "01",
    "1.5",
    "1e400",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "-9223372036854775808",
    "99999999999999999999999999999999999999999",
    "0x10",
    "true",
    "null",
    "All",
    "Strict",
    "Exact",
    "NotOlderThan",
    "Orphan",
    "..",
    ".",
    "/",
    "a/b",
    "example.com/a",
    "%",
    "\0",
    "é\u{200b}\u{1F600}",
    "10Gi",
    "1Ki",
    "100n",
    "1E3",
    "1e-30",
    "+1",
    "50%",
    "101%",
    "-5%",
    "2024-01-01T00:00:00Z",
    "2024-01-01T00:00:00.000000Z",
    "9999-12-31T23:59:59Z",
    "0000-00-00T00:00:00Z",
    "-2024-01-01T00:00:00Z",
    "10.0.0.1",
    "10.0.0.0/8",
    "::1",
    "256.0.0.1",
    "fd00::/129",
    "i:1@sha256:x",
    "a=b",
    "a in (b,c)",
    "a notin (",
    "!a",
    "a>5",
    "a<99999999999999999999",
    "metadata.name=a",
    "metadata.name!=a,",
    "spec.nodeName=\\",
    "app=a,,b",
    "* * * * *",
    "*/0 70-1 ? L #",
    "TZ=x * * * * *",
    "((((((((((",
    "a{1000}{1000}{1000}",
    "self.a == 1",
    "{.spec.a[?(@.b=='c')]}",
    ".spec..",
    "k8s.io",
    "foregroundDeletion",
    "$patch",
    "$(A)",
    "eyJyZXZpc2lvbiI6MSwibmFtZXNwYWNlIjoiIiwibmFtZSI6IiJ9",
];
const NAMES: &[&str] = &[
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$setElementOrder/ports",
    "$setElementOrder/finalizers",
    "$deleteFromPrimitiveList/finalizers",
    "$deleteFromPrimitiveList/containers",
    "$setElementOrder/",
    "name",
    "metadata",
    "spec",
    "status",
    "kind",
    "apiVersion",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "managedFields",
    "resourceVersion",
    "uid",
    "deletionTimestamp",
    "generateName",
    "containers",
    "ports",
    "env",
    "volumes",
    "selector",
    "template",
    "replicas",
    "resources",
    "conditions",
    "properties",
    "items",
    "x-kubernetes-validations",
    "",
    "a/b",
    "~1",
    "\0",
];
const POINTERS: &[&str] = &[
    "",
    "/",
    "/metadata",
    "/metadata/labels",
    "/metadata/labels/a~1b",
    "/metadata/finalizers/0",
    "/metadata/finalizers/-",
    "/metadata/finalizers/-1",
    "/metadata/finalizers/18446744073709551615",
    "/metadata/finalizers/1000000000000",
    "/metadata/annotations/x",
    "/metadata/managedFields",
    "/metadata/name",
    "/metadata/uid",
    "/metadata/resourceVersion",
    "/spec",
    "/spec/template/spec/containers",
    "/spec/template/spec/containers/0",
    "/spec/template/spec/containers/0/env/-",
    "/spec/ports/0/port",
    "/spec/replicas",
    "/status",
    "/data",
    "/data/x",
    "~",
    "/~2",
    "//",
];
const TYPES: &[&str] = &[
    "string", "integer", "number", "boolean", "object", "array", "null", "x",
];

/// A corpus request with some changes.
pub(crate) fn request(choices: &mut Choices<'_>, corpus: &[Request]) -> Request {
    let mut request = choices.pick(corpus).clone();
    for _ in 0..=choices.below(4) {
        match choices.below(12) {
            0 => path(choices, &mut request, corpus),
            1 | 2 => query(choices, &mut request),
            3 => header(choices, &mut request),
            4 if choices.one_in(4) => (*choices.pick(METHODS)).clone_into(&mut request.method),
            5 if choices.one_in(2) => bytes(choices, &mut request.body),
            _ => body(choices, &mut request, corpus),
        }
    }
    request
}

fn text(choices: &mut Choices<'_>) -> String {
    let text = *choices.pick(TEXTS);
    match choices.below(32) {
        0 => text.repeat(100),
        1 => format!("{text}{}", choices.pick(TEXTS)),
        2 => "a".repeat(choices.below(70_000)),
        _ => text.to_owned(),
    }
}

fn path(choices: &mut Choices<'_>, request: &mut Request, corpus: &[Request]) {
    let (path, query) = match request.target.split_once('?') {
        Some((path, query)) => (path.to_owned(), format!("?{query}")),
        None => (request.target.clone(), String::new()),
    };
    let mut segments: Vec<String> = path.split('/').skip(1).map(str::to_owned).collect();
    let at = choices.below(segments.len());
    let other = choices.pick(corpus).target.clone();
    let others: Vec<&str> = other.split(['/', '?']).collect();
    match choices.below(6) {
        0 => segments[at] = (*choices.pick(&others)).to_owned(),
        1 => segments.insert(at, (*choices.pick(&others)).to_owned()),
        2 => segments[at] = encoded(&text(choices)),
        3 if segments.len() > 1 => {
            segments.remove(at);
        }
        4 => segments
            .push((*choices.pick(&["status", "scale", "log", "eviction", "binding", "x", ""])).to_owned()),
        _ => {
            let odd: &[&str] = &["%2F", "%00", "%ff", "%", "%2e%2e", "%25", ";a=b", " "];
            let odd: &str = choices.pick::<&str>(odd);
            segments[at].push_str(odd);
        }
    }
    request.target = format!("/{}{query}", segments.join("/"));
}

fn query(choices: &mut Choices<'_>, request: &mut Request) {
    let name = *choices.pick(QUERY);
    let value = encoded(&text(choices));
    let separator = if request.target.contains('?') { '&' } else { '?' };
    // A parameter that comes twice counts by its first value: the new one goes in front as often as not.
    let added = format!("{name}={value}");
    match request.target.split_once('?') {
        Some((path, query)) if choices.one_in(2) => request.target = format!("{path}?{added}&{query}"),
        _ => request.target = format!("{}{separator}{added}", request.target),
    }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02x}"),
        })
        .collect()
}

fn header(choices: &mut Choices<'_>, request: &mut Request) {
    let name = (*choices.pick(HEADERS)).to_owned();
    let value = if choices.one_in(8) {
        text(choices)
    } else {
        (*choices.pick(HEADER_VALUES)).to_owned()
    };
    if choices.one_in(4) {
        request.headers.push((name, value));
    } else {
        request.headers.retain(|(other, _)| *other != name);
        request.headers.push((name, value));
    }
}

/// Changes the body as JSON if it is JSON, else its bytes.
fn body(choices: &mut Choices<'_>, request: &mut Request, corpus: &[Request]) {
    let Ok(mut value) = serde_json::from_slice::<Value>(&request.body) else {
        return bytes(choices, &mut request.body);
    };
    let donor = serde_json::from_slice(&choices.pick(corpus).body).unwrap_or(Value::Null);
    let place = choices.below(nodes(&value));
    if let Some(node) = node_mut(&mut value, &mut { place }) {
        change(choices, node, &donor);
    }
    request.body = value.to_string().into_bytes();
}

fn bytes(choices: &mut Choices<'_>, body: &mut Vec<u8>) {
    let at = choices.below(body.len() + 1).min(body.len());
    let end = (at + 1 + choices.below(16)).min(body.len());
    match choices.below(6) {
        0 => body.truncate(at),
        1 => drop(body.drain(at..end)),
        2 => body.insert(at, choices.byte()),
        3 => {
            let part = body[at..end].to_owned();
            let times = choices.below(2000);
            body.splice(at..at, part.repeat(times));
        }
        4 => {
            let tokens: &[&[u8]] = &[
                b"{",
                b"[",
                b"}",
                b"]",
                b"\"",
                b":",
                b",",
                b"\\u0000",
                b"\\ud800",
                b"\xff",
                b"null",
                b"&a ",
                b"*a",
                b"<<: *a",
                b"---\n",
                b"!!x ",
                b"\x0a\xff\xff\xff\xff\x0f",
                b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
                b"- ",
            ];
            let token = choices.pick(tokens).repeat(1 + choices.below(300));
            body.splice(at..at, token);
        }
        _ => {
            if let Some(byte) = body.get_mut(at) {
                *byte ^= 1 << choices.below(8);
            }
        }
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(members) => members.values().map(nodes).sum(),
        _ => 0,
    }
}

/// The node with this number, in the order of the text.
fn node_mut<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| step(item, left)),
        Value::Object(members) => members.values_mut().find_map(|member| step(member, left)),
        _ => None,
    }
}

/// [`node_mut`] only if the node is in here: the borrow checker wants the count first.
fn step<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    let here = nodes(value);
    if *left < here {
        node_mut(value, left)
    } else {
        *left -= here;
        None
    }
}

fn change(choices: &mut Choices<'_>, node: &mut Value, donor: &Value) {
    match (choices.below(8), &mut *node) {
        (0, Value::Object(members)) if !members.is_empty() => {
            let name = nth_name(choices, members);
            members.remove(&name);
        }
        (1 | 2, Value::Object(members)) => {
            let new = match choices.below(3) {
                0 if !members.is_empty() => {
                    let name = nth_name(choices, members);
                    members.remove(&name).unwrap_or_default()
                }
                1 => graft(choices, donor),
                _ => value(choices),
            };
            let name = if choices.one_in(4) {
                text(choices)
            } else {
                (*choices.pick(NAMES)).to_owned()
            };
            members.insert(name, new);
        }
        (0, Value::Array(items)) if !items.is_empty() => {
            items.remove(choices.below(items.len()));
        }
        (1 | 2, Value::Array(items)) => {
            let new = match choices.below(4) {
                0 if !items.is_empty() => items[choices.below(items.len())].clone(),
                1 => graft(choices, donor),
                2 => operation(choices),
                _ => value(choices),
            };
            items.insert(choices.below(items.len() + 1), new);
        }
        (3, _) => *node = graft(choices, donor),
        (4, _) => {
            let mut deep = node.take();
            for _ in 0..choices.below(400) {
                deep = if choices.one_in(2) {
                    json!([deep])
                } else {
                    json!({"a": deep})
                };
            }
            *node = deep;
        }
        (5, Value::String(old)) => old.push_str(&text(choices)),
        (5, Value::Array(items)) if items.len() < 50 => {
            let more: Vec<Value> = items
                .iter()
                .cycle()
                .take(items.len() * choices.below(40))
                .cloned()
                .collect();
            items.extend(more);
        }
        _ => *node = value(choices),
    }
}

fn nth_name(choices: &mut Choices<'_>, members: &Map<String, Value>) -> String {
    members
        .keys()
        .nth(choices.below(members.len()))
        .cloned()
        .unwrap_or_default()
}

fn graft(choices: &mut Choices<'_>, donor: &Value) -> Value {
    let mut donor = donor.clone();
    let place = choices.below(nodes(&donor));
    node_mut(&mut donor, &mut { place })
        .map(Value::take)
        .unwrap_or_default()
}

/// A JSON patch operation.
fn operation(choices: &mut Choices<'_>) -> Value {
    let op = *choices.pick(&["add", "remove", "replace", "move", "copy", "test", "x"]);
    let mut operation = json!({"op": op, "path": choices.pick(POINTERS), "from": choices.pick(POINTERS)});
    if !choices.one_in(4) {
        operation["value"] = value(choices);
    }
    operation
}

fn value(choices: &mut Choices<'_>) -> Value {
    match choices.below(16) {
        0 => Value::Null,
        1 => true.into(),
        2 => json!({}),
        3 => json!([]),
        4 => (-1).into(),
        5 => 0.into(),
        6 => u64::MAX.into(),
        7 => i64::MIN.into(),
        8 => Number::from_f64(1.5e308).map_or(Value::Null, Value::Number),
        9 => 0.1.into(),
        10 => i64::from(choices.byte()).into(),
        11 => json!({"type": choices.pick(TYPES), "properties": {"a": {"type": choices.pick(TYPES)}}}),
        12 => json!([choices.pick(TEXTS), choices.pick(TEXTS)]),
        13 => json!({"name": choices.pick(TEXTS)}),
        _ => text(choices).into(),
    }
}
