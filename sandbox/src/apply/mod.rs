//! Server-side apply, and the record of who owns which fields that every write keeps (API-290 to API-304).
//!
//! ```text
//! body, live object ─► typed (compare, merge by schema) ─► managers (entries) ─► metadata.managedFields
//!                                │                              │
//!                                └────────── fields (sets) ◄────┘
//! ```
//!
//! `fields`, `typed` and `managers` are pure. This module ties them to kinds and requests: which fields a path cannot
//! change, what an empty object of a kind has, and how the versions of a kind see the same object.

pub(crate) mod body;
mod empty;
pub(crate) mod fields;
mod last_applied;
pub(crate) mod managers;
pub(crate) mod scale;
pub(crate) mod typed;

use std::sync::Arc;

use serde_json::{Map, Value};

use self::{
    fields::Set,
    managers::{Application, Applied, Entry, Reset, Versions, Writer},
};
use crate::{
    json,
    names::Gvr,
    registry::{Kind, Kinds},
    schema::Node,
    server::Core,
    status::{Cause, Failure},
    store::{Draft, Object},
    verbs::{Call, update::Scope},
};

/// Manager of what the server writes by itself.
pub(crate) const SERVER: &str = "kube-apiserver";

/// What a body says about `metadata.managedFields`.
#[derive(Debug)]
pub(crate) enum Sent {
    /// Nothing, or nothing valid: the stored entries count.
    Nothing,
    /// They are to be forgotten (API-301).
    Reset,
    /// These are to count (API-304).
    Entries(Vec<Entry>),
}

impl Sent {
    /// Takes the entries out of a body.
    pub(crate) fn take(object: &mut Value) -> Self {
        match json::remove(object, &["metadata"], "managedFields") {
            Some(Value::Array(entries)) if entries.is_empty() => Self::Reset,
            Some(Value::Array(entries)) if entries == [Value::Object(Map::new())] => Self::Reset,
            Some(sent @ Value::Array(_)) => managers::decode(&sent).map_or(Self::Nothing, Self::Entries),
            _ => Self::Nothing,
        }
    }
}

/// The entries that go with a write.
#[derive(Debug, Default)]
pub(crate) struct Ownership {
    json: Vec<u8>,
    /// Whether they differ from the stored ones in more than times.
    pub(crate) changed: bool,
}

impl Ownership {
    /// The stored entries.
    pub(crate) fn kept(current: &Object) -> Self {
        Self {
            json: current.managed_fields().to_vec(),
            changed: false,
        }
    }

    fn of(current: Option<&Object>, mut entries: Vec<Entry>) -> Self {
        let json = managers::encode(&mut entries);
        let before = current.map_or(&[][..], Object::managed_fields);
        let changed = json != before && !managers::same_but_times(&managers::parse(before), &entries);
        Self { json, changed }
    }

    /// The value of `metadata.managedFields` as JSON; empty if there is none.
    pub(crate) fn json(&self) -> &[u8] {
        &self.json
    }

    /// The object as clients see it, with the entries.
    pub(crate) fn show(&self, mut object: Value) -> Value {
        if !self.json.is_empty()
            && let Ok(entries) = serde_json::from_slice::<Value>(&self.json)
        {
            json::set(&mut object, &["metadata"], "managedFields", entries);
        }
        object
    }
}

/// All versions in which a kind is served.
struct Served {
    kinds: Arc<Kinds>,
    kind: Arc<Kind>,
}

impl Served {
    fn new(call: &Call<'_>) -> Self {
        Self {
            kinds: call.core.registry.kinds(),
            kind: Arc::clone(&call.kind),
        }
    }

    fn version(&self, api_version: &str) -> Option<&Arc<Kind>> {
        if api_version == self.kind.api_version() {
            return Some(&self.kind);
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        // Upstream converts within a group only: a write to an Event in one group drops the entries of the other.
        if group != self.kind.resource.group {
            return None;
        }
        let kind = self.kinds.get(group, version, &self.kind.resource.resource)?;
        (kind.table == self.kind.table).then_some(kind)
    }
}

impl Versions for Served {
    fn node(&self, api_version: &str) -> Option<Node<'_>> {
        self.version(api_version)?.node()
    }

    fn empty(&self, api_version: &str) -> Value {
        let built_in = self.version(api_version).filter(|kind| kind.custom.is_none());
        built_in
            .and_then(|kind| kind.node())
            .map_or_else(|| Value::Object(Map::new()), empty::object)
    }
}

/// Fields that writes through a path of a kind cannot change.
fn reset(kind: &Kind, subresource: &str) -> Reset {
    let these = |paths: &[&[&str]]| {
        let all = paths.iter().map(|path| Set::of_fields(path));
        Reset::These(all.fold(Set::default(), |all, path| all.union(&path)))
    };
    match subresource {
        "" if kind.has_status() => these(&[&["status"]]),
        "finalize" => these(&[&["status"]]),
        "status" if kind.custom.is_some() => these(&[&["metadata"], &["spec"]]),
        "status" if kind.is("storage.k8s.io", "VolumeAttachment") => these(&[&["metadata"], &["spec"]]),
        "status" if kind.is("apps", "Deployment") => these(&[&["spec"], &["metadata", "labels"]]),
        "status" if kind.is_core("Pod") => these(&[
            &["spec"],
            &["metadata", "deletionTimestamp"],
            &["metadata", "ownerReferences"],
        ]),
        "status" => these(&[&["spec"]]),
        "ephemeralcontainers" => Reset::AllBut(&[&["spec", "ephemeralContainers"]]),
        "resize" => Reset::AllBut(&[
            &["spec", "containers", "*", "resources"],
            &["spec", "containers", "*", "resizePolicy"],
            &["spec", "initContainers", "*", "resources"],
            &["spec", "initContainers", "*", "resizePolicy"],
        ]),
        _ => these(&[]),
    }
}

impl Scope {
    /// Name of the subresource through which the write comes; empty for the object itself.
    pub(crate) fn subresource(self) -> &'static str {
        match self {
            Self::Main | Self::Server => "",
            Self::Status => "status",
            Self::Finalize => "finalize",
            Self::EphemeralContainers => "ephemeralcontainers",
            Self::Resize => "resize",
        }
    }
}

/// Who makes the request: the parameter `fieldManager`, else the user agent up to the first slash (API-294).
pub(crate) fn manager(call: &Call<'_>) -> String {
    let named = call.query.get("fieldManager");
    if !named.is_empty() {
        return named.to_owned();
    }
    let agent = call.header(http::header::USER_AGENT).unwrap_or_default();
    let mut name = String::new();
    for letter in agent
        .split('/')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|letter| !letter.is_control())
    {
        if name.len() + letter.len_utf8() > 128 {
            break;
        }
        name.push(letter);
    }
    if name.is_empty() {
        "unknown".clone_into(&mut name);
    }
    name
}

fn writer(call: &Call<'_>, subresource: &str) -> Writer {
    Writer {
        manager: manager(call),
        api_version: call.kind.api_version(),
        subresource: subresource.to_owned(),
    }
}

/// The entries of an object that a create makes. `new` is decoded and has the defaults of its type, and nothing yet
/// that the server decides.
pub(crate) fn created(call: &Call<'_>, sent: Sent, new: &Value) -> Ownership {
    if !call.core.config.managed_fields {
        return Ownership::default();
    }
    let entries = match sent {
        Sent::Entries(entries) => entries,
        Sent::Nothing | Sent::Reset => Vec::new(),
    };
    let versions = Served::new(call);
    let writer = writer(call, "");
    let empty = versions.empty(&writer.api_version);
    let reset = reset(&call.kind, "");
    let now = call.core.timestamp();
    let entries = managers::update(&versions, entries, &writer, (&empty, new), &reset, &now);
    Ownership::of(None, entries)
}

/// The entries after an update of `old` to `new`, both as for [`created`].
pub(crate) fn updated(
    call: &Call<'_>,
    current: &Object,
    sent: Sent,
    (old, new): (&Value, &Value),
    subresource: &str,
) -> Ownership {
    if !call.core.config.managed_fields {
        return Ownership::kept(current);
    }
    let entries = match sent {
        Sent::Reset if subresource.is_empty() => return Ownership::of(Some(current), Vec::new()),
        Sent::Entries(entries) if subresource.is_empty() && !entries.is_empty() => entries,
        _ => {
            if old == new {
                return Ownership::kept(current);
            }
            managers::parse(current.managed_fields())
        }
    };
    // Objects without entries are tracked from their first apply on.
    if entries.is_empty() {
        return Ownership::kept(current);
    }
    let versions = Served::new(call);
    let writer = writer(call, subresource);
    let reset = reset(&call.kind, subresource);
    let now = call.core.timestamp();
    let entries = managers::update(&versions, entries, &writer, (old, new), &reset, &now);
    Ownership::of(Some(current), entries)
}

/// What the server stores when it changes the status of an object by itself: it owns it like any other client.
pub(crate) fn draft_of_status(
    core: &Core,
    resource: &Gvr,
    current: &Object,
    (old, new): (&Value, &Value),
) -> Draft {
    let entries = managers::parse(current.managed_fields());
    let kinds = core.registry.kinds();
    let kind = kinds.get(&resource.group, &resource.version, &resource.resource);
    let (Some(kind), false) = (kind, entries.is_empty()) else {
        return current.redraft(new);
    };
    let writer = Writer {
        manager: SERVER.to_owned(),
        api_version: kind.api_version(),
        subresource: "status".to_owned(),
    };
    let versions = Served {
        kind: Arc::clone(kind),
        kinds,
    };
    let reset = reset(&versions.kind, "status");
    let mut old = old.clone();
    if let Some(node) = versions.kind.node() {
        empty::complete(node, &mut old);
    }
    let entries = managers::update(
        &versions,
        entries,
        &writer,
        (&old, new),
        &reset,
        &core.timestamp(),
    );
    Draft::with_managed_fields(new, Ownership::of(Some(current), entries).json())
}

/// Applies `config` to the live object, or to nothing. The result is neither decoded nor defaulted.
///
/// # Errors
/// 409 for conflicts (API-295), and what upstream answers for a configuration that does not fit the schema (API-298).
pub(crate) fn apply(
    call: &Call<'_>,
    current: Option<&Object>,
    live: Option<&Value>,
    config: &Value,
    subresource: &str,
) -> Result<(Value, Ownership), Failure> {
    let versions = Served::new(call);
    let writer = writer(call, subresource);
    let Some(node) = versions.node(&writer.api_version) else {
        return Err(Failure::unmapped(format!(
            "no corresponding type for {}, Kind={}",
            writer.api_version, call.kind.gk.kind
        )));
    };
    check(node, config, || shown(call, config))?;
    let empty = versions.empty(&writer.api_version);
    let live = live.unwrap_or(&empty);
    let entries = managers::parse(current.map_or(&[][..], Object::managed_fields));
    let applied = run(
        &versions,
        call,
        entries,
        live,
        config,
        &writer,
        &reset(&call.kind, subresource),
    )?;
    let mut object = applied.object.unwrap_or_else(|| live.clone());
    if writer.manager == last_applied::MANAGER {
        last_applied::refresh(&mut object, config, call);
    }
    Ok((object, Ownership::of(current, applied.entries)))
}

fn run(
    versions: &impl Versions,
    call: &Call<'_>,
    entries: Vec<Entry>,
    live: &Value,
    config: &Value,
    writer: &Writer,
    reset: &Reset,
) -> Result<Applied, Failure> {
    let application = Application {
        writer,
        config,
        force: call.query.flag("force"),
        reset,
        now: &call.core.timestamp(),
    };
    let allowed = || match versions.node(&writer.api_version) {
        Some(node) if writer.manager == last_applied::MANAGER => {
            last_applied::allowed(node, live, &writer.api_version)
        }
        _ => Set::default(),
    };
    managers::apply(versions, entries, live, &application, allowed).map_err(|conflicts| conflict(&conflicts))
}

/// API-298.
fn check(node: Node<'_>, config: &Value, shown: impl FnOnce() -> String) -> Result<(), Failure> {
    typed::check(node, config, false).map_or(Ok(()), |why| {
        Err(Failure::unmapped(format!(
            "failed to create typed patch object ({}): {why}",
            shown()
        )))
    })
}

/// As upstream names an object in messages: namespace and name as sent, and its kind.
pub(crate) fn shown(call: &Call<'_>, config: &Value) -> String {
    let resource = &call.kind.resource;
    shown_as(config, &resource.group, &resource.version, &call.kind.gk.kind)
}

fn shown_as(config: &Value, group: &str, version: &str, kind: &str) -> String {
    let text = |member: &str| json::text(config, &["metadata", member]);
    format!(
        "{}/{}; {group}/{version}, Kind={kind}",
        text("namespace"),
        text("name")
    )
}

/// API-295.
fn conflict(conflicts: &[managers::Conflict]) -> Failure {
    let message = match conflicts {
        [conflict] => format!(
            "1 conflict: conflict with {}: {}",
            conflict.manager, conflict.field
        ),
        conflicts => {
            let mut lines = Vec::new();
            let mut manager = "";
            for conflict in conflicts {
                if conflict.manager != manager {
                    manager = &conflict.manager;
                    lines.push(format!("conflicts with {manager}:"));
                }
                lines.push(format!("- {}", conflict.field));
            }
            format!("{} conflicts: {}", conflicts.len(), lines.join("\n"))
        }
    };
    let failure = Failure::apply_conflict(format!("Apply failed with {message}"));
    conflicts.iter().fold(failure, |failure, conflict| {
        failure.because(Cause {
            reason: "FieldManagerConflict",
            message: format!("conflict with {}", conflict.manager),
            field: conflict.field.clone(),
        })
    })
}

#[cfg(test)]
mod tests;
