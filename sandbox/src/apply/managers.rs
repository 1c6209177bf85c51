//! Who owns which fields: the entries of `metadata.managedFields`, and what writes do to them (API-292 to API-304).
//!
//! An entry keeps its fields as the text in which they are stored until a write touches them.

use std::{borrow::Cow, cmp::Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{
    fields::{Set, touches},
    typed::{self, Difference},
};
use crate::{schema::Node, validate::gofmt};

/// Entries of updates beyond this number are merged, oldest first (kube-apiserver 1.36).
const MAX_UPDATE_ENTRIES: usize = 10;
/// Manager of merged entries.
const ANCIENT: &str = "ancient-changes";
/// Manager of what an object has before somebody applies to it for the first time (API-301).
pub(super) const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// How a manager writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Operation {
    Apply,
    Update,
}

/// Who writes: together with the operation this tells entries apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) manager: String,
    pub(crate) api_version: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
}

/// The versions in which objects of a kind can be seen. They differ in their types only: nothing is converted.
pub(crate) trait Versions {
    /// The type of the objects in a version; `None` if the kind has no such version.
    fn node(&self, api_version: &str) -> Option<Node<'_>>;
    /// An object without content: the structs that objects of this version always have.
    fn empty(&self, api_version: &str) -> Value;
}

/// Fields that writes through a path cannot change, and therefore do not own.
#[derive(Clone, Debug)]
pub(crate) enum Reset {
    /// These and what is below them.
    These(Set),
    /// All but those below one of these paths; `*` stands for any element.
    AllBut(&'static [&'static [&'static str]]),
}

impl Reset {
    fn strip(&self, fields: &Set) -> Set {
        match self {
            Self::These(reset) => fields.without(reset),
            Self::AllBut(paths) => paths
                .iter()
                .map(|path| fields.only_below(path))
                .fold(Set::default(), |all, some| all.union(&some)),
        }
    }
}

/// Metadata that is never owned (API-293), and the path `metadata` itself.
fn untracked(fields: &Set) -> Set {
    const METADATA: &[&str] = &[
        "clusterName",
        "creationTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    ];
    let paths = METADATA.iter().map(|name| Set::of_fields(&["metadata", name]));
    let all = paths.fold(Set::of_fields(&["metadata"]), |all, path| all.union(&path));
    fields.difference(&all)
}

#[derive(Clone, Debug)]
enum Fields {
    /// As stored.
    Text(Box<RawValue>),
    Read(Set),
}

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) writer: Writer,
    pub(crate) operation: Operation,
    /// RFC 3339 in UTC and whole seconds, so that the order of texts is that of times.
    time: Option<String>,
    fields: Fields,
}

impl Entry {
    pub(crate) fn new(writer: Writer, operation: Operation, time: Option<String>, fields: Set) -> Self {
        Self {
            writer,
            operation,
            time,
            fields: Fields::Read(fields),
        }
    }

    /// The fields. Text that cannot be read holds none: what clients send goes through [`decode`].
    pub(crate) fn set(&self) -> Cow<'_, Set> {
        match &self.fields {
            Fields::Text(text) => Cow::Owned(Set::parse(text.get()).unwrap_or_default()),
            Fields::Read(set) => Cow::Borrowed(set),
        }
    }

    pub(super) fn put(&mut self, fields: Set) {
        self.fields = Fields::Read(fields);
    }

    pub(super) fn touches(&self, fields: &Set) -> bool {
        match &self.fields {
            Fields::Text(text) => touches(text.get(), fields),
            Fields::Read(set) => !set.intersection(fields).is_empty(),
        }
    }

    /// Whether writes of this manager, operation and subresource belong to this entry. An Apply entry moves along to
    /// the version in which its manager applies.
    pub(crate) fn is_of(&self, writer: &Writer, operation: Operation) -> bool {
        self.operation == operation
            && self.writer.manager == writer.manager
            && self.writer.subresource == writer.subresource
            && (operation == Operation::Apply || self.writer.api_version == writer.api_version)
    }

    fn fields_text(&self) -> Cow<'_, str> {
        match &self.fields {
            Fields::Text(text) => Cow::Borrowed(text.get()),
            Fields::Read(set) => Cow::Owned(set.to_json()),
        }
    }

    /// As messages name the manager (API-295).
    fn description(&self) -> String {
        let mut text = gofmt::quote(&self.writer.manager);
        if !self.writer.subresource.is_empty() {
            text.push_str(" with subresource ");
            text.push_str(&gofmt::quote(&self.writer.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(" using ");
            text.push_str(&self.writer.api_version);
        }
        text
    }

    fn order(&self, other: &Self) -> Ordering {
        fn key(entry: &Entry) -> (Operation, Option<&str>, &str, &str, &str) {
            let writer = &entry.writer;
            let time = entry.time.as_deref();
            (
                entry.operation,
                time,
                &writer.manager,
                &writer.api_version,
                &writer.subresource,
            )
        }
        key(self).cmp(&key(other))
    }
}

/// An entry as clients see it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(default, skip_serializing_if = "str::is_empty")]
    manager: Cow<'a, str>,
    operation: Operation,
    api_version: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<Cow<'a, str>>,
    fields_type: FieldsType,
    #[serde(rename = "fieldsV1")]
    fields: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    subresource: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
enum FieldsType {
    FieldsV1,
}

/// Reads entries as the store holds them. Of two with the same identity the last one counts.
pub(crate) fn parse(json: &[u8]) -> Vec<Entry> {
    let entries: Vec<Wire<'_>> = if json.is_empty() {
        Vec::new()
    } else {
        serde_json::from_slice(json).unwrap_or_default()
    };
    let mut read: Vec<Entry> = Vec::with_capacity(entries.len() + 1);
    for wire in entries {
        let entry = Entry {
            writer: Writer {
                manager: wire.manager.into_owned(),
                api_version: wire.api_version.into_owned(),
                subresource: wire.subresource.into_owned(),
            },
            operation: wire.operation,
            time: wire.time.map(Cow::into_owned),
            fields: wire
                .fields
                .map_or_else(|| Fields::Read(Set::default()), Fields::Text),
        };
        match read
            .iter_mut()
            .find(|known| known.is_of(&entry.writer, entry.operation))
        {
            Some(known) => *known = entry,
            None => read.push(entry),
        }
    }
    read
}

/// Reads entries that a client has sent and brings them into their canonical form; `None` if they are not valid.
pub(crate) fn decode(sent: &Value) -> Option<Vec<Entry>> {
    let text = sent.to_string();
    serde_json::from_str::<Vec<Wire<'_>>>(&text).ok()?;
    let mut entries = parse(text.as_bytes());
    for entry in &mut entries {
        if entry.writer.api_version.is_empty() {
            return None;
        }
        if let Some(time) = &entry.time {
            let time: jiff::Timestamp = time.parse().ok()?;
            entry.time = Some(crate::server::timestamp(time));
        }
        if let Fields::Text(text) = &entry.fields {
            let fields = Set::parse(text.get()).ok()?;
            entry.put(fields);
        }
    }
    Some(entries)
}

/// The entries as the value of `metadata.managedFields`, in upstream's order; empty if there are none.
pub(crate) fn encode(entries: &mut [Entry]) -> Vec<u8> {
    if entries.is_empty() {
        return Vec::new();
    }
    entries.sort_by(Entry::order);
    let wire: Vec<Wire<'_>> = entries
        .iter()
        .map(|entry| Wire {
            manager: Cow::Borrowed(&entry.writer.manager),
            operation: entry.operation,
            api_version: Cow::Borrowed(&entry.writer.api_version),
            time: entry.time.as_deref().map(Cow::Borrowed),
            fields_type: FieldsType::FieldsV1,
            fields: match &entry.fields {
                Fields::Text(text) => Some(text.clone()),
                Fields::Read(set) => RawValue::from_string(set.to_json()).ok(),
            },
            subresource: Cow::Borrowed(&entry.writer.subresource),
        })
        .collect();
    // Writing into memory cannot fail.
    serde_json::to_vec(&wire).unwrap_or_default()
}

/// Whether two lists of entries, both in upstream's order, differ in times at most (API-62).
pub(crate) fn same_but_times(one: &[Entry], two: &[Entry]) -> bool {
    one.len() == two.len()
        && std::iter::zip(one, two).all(|(one, two)| {
            one.writer == two.writer
                && one.operation == two.operation
                && one.fields_text() == two.fields_text()
        })
}

/// The differences between two objects as each version shows them.
struct Differences<'a, V> {
    versions: &'a V,
    old: &'a Value,
    new: &'a Value,
    reset: &'a Reset,
    found: Vec<(String, Option<(Difference, Set)>)>,
}

impl<'a, V: Versions> Differences<'a, V> {
    fn new(versions: &'a V, old: &'a Value, new: &'a Value, reset: &'a Reset) -> Self {
        Self {
            versions,
            old,
            new,
            reset,
            found: Vec::new(),
        }
    }

    /// The difference and all of its fields; `None` if the kind has no such version.
    fn at(&mut self, api_version: &str) -> Option<&(Difference, Set)> {
        let known = self.found.iter().position(|(version, _)| version == api_version);
        let index = known.unwrap_or_else(|| {
            let found = self.compare(api_version);
            self.found.push((api_version.to_owned(), found));
            self.found.len() - 1
        });
        self.found.get(index)?.1.as_ref()
    }

    fn compare(&self, api_version: &str) -> Option<(Difference, Set)> {
        let node = self.versions.node(api_version)?;
        let difference = typed::compare(node, self.old, self.new);
        let difference = Difference {
            changed: self.reset.strip(&difference.changed),
            removed: self.reset.strip(&difference.removed),
        };
        let all = difference.all();
        Some((difference, all))
    }

    /// What others lose to this write: for each of their entries the changed fields that it has.
    fn conflicts(&mut self, entries: &[Entry], except: Option<usize>) -> Vec<(usize, Set)> {
        let mut conflicts = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let Some((difference, _)) = self.at(&entry.writer.api_version) else {
                continue;
            };
            if Some(index) != except && entry.touches(&difference.changed) {
                let lost = entry.set().intersection(&difference.changed);
                conflicts.push((index, lost));
            }
        }
        conflicts
    }

    /// Takes changed and removed fields away from all entries but one. Entries of versions that are gone are dropped,
    /// and so are those that have nothing left.
    fn take(&mut self, entries: Vec<Entry>, except: Option<usize>) -> Vec<Entry> {
        let mut kept = Vec::with_capacity(entries.len() + 1);
        for (index, mut entry) in entries.into_iter().enumerate() {
            if Some(index) != except {
                let Some((_, all)) = self.at(&entry.writer.api_version) else {
                    continue;
                };
                if entry.touches(all) {
                    let rest = entry.set().difference(all);
                    entry.put(rest);
                }
            }
            let is_empty = match &entry.fields {
                Fields::Text(text) => text.get() == "{}",
                Fields::Read(set) => set.is_empty(),
            };
            if !is_empty {
                kept.push(entry);
            }
        }
        kept
    }
}

/// What an update that makes `new` of `old` does to the entries (API-294). `old` is the empty object for a create.
pub(crate) fn update<V: Versions>(
    versions: &V,
    entries: Vec<Entry>,
    writer: &Writer,
    (old, new): (&Value, &Value),
    reset: &Reset,
    now: &str,
) -> Vec<Entry> {
    let mut differences = Differences::new(versions, old, new, reset);
    let own = differences
        .at(&writer.api_version)
        .map(|(difference, _)| untracked(&difference.changed))
        .unwrap_or_default();
    let mut entries = differences.take(entries, None);
    if !own.is_empty() {
        let time = Some(now.to_owned());
        match entries
            .iter_mut()
            .find(|entry| entry.is_of(writer, Operation::Update))
        {
            Some(entry) => {
                let fields = entry.set().union(&own);
                entry.put(fields);
                entry.time = time;
            }
            None => entries.push(Entry::new(writer.clone(), Operation::Update, time, own)),
        }
    }
    merge_ancient(entries)
}

/// Merges the oldest entries of updates, by version, until there are not too many.
fn merge_ancient(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut count = entries
        .iter()
        .filter(|entry| entry.operation == Operation::Update)
        .count();
    if count <= MAX_UPDATE_ENTRIES {
        return entries;
    }
    entries.sort_by(Entry::order);
    let (mut rest, updates): (Vec<Entry>, Vec<Entry>) = entries
        .into_iter()
        .partition(|entry| entry.operation == Operation::Apply);
    let mut merged: Vec<Entry> = Vec::new();
    for mut entry in updates {
        let first = merged
            .iter_mut()
            .find(|first| first.writer.api_version == entry.writer.api_version);
        match first {
            Some(first) if count > MAX_UPDATE_ENTRIES => {
                ANCIENT.clone_into(&mut first.writer.manager);
                first.writer.subresource.clear();
                let fields = first.set().union(&entry.set());
                first.put(fields);
                first.time = entry.time.take();
                count -= 1;
            }
            _ => merged.push(entry),
        }
    }
    rest.extend(merged);
    rest
}

/// A field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The other manager, as messages name it.
    pub(crate) manager: String,
    /// Path of the field, with a leading dot.
    pub(crate) field: String,
}

/// What an apply leads to.
#[derive(Debug)]
pub(crate) struct Applied {
    /// The new object; `None` if it is the live one.
    pub(crate) object: Option<Value>,
    pub(crate) entries: Vec<Entry>,
}

/// An applied configuration and who applies it.
pub(crate) struct Application<'a> {
    pub(crate) writer: &'a Writer,
    /// Fits the schema.
    pub(crate) config: &'a Value,
    /// Whether to take fields from others.
    pub(crate) force: bool,
    pub(crate) reset: &'a Reset,
    pub(crate) now: &'a str,
}

/// What an apply makes of the live object and of the entries (API-295 to API-298, API-301). `live` is the empty object
/// for a create. Conflicts with fields in `allowed` are not conflicts if there are no others.
///
/// # Errors
/// With the conflicts, by manager.
pub(crate) fn apply<V: Versions>(
    versions: &V,
    mut entries: Vec<Entry>,
    live: &Value,
    application: &Application<'_>,
    allowed: impl FnOnce() -> Set,
) -> Result<Applied, Vec<Conflict>> {
    let &Application {
        writer,
        config,
        force,
        reset,
        now,
    } = application;
    let Some(node) = versions.node(&writer.api_version) else {
        let object = Some(config.clone());
        return Ok(Applied { object, entries });
    };
    if entries.is_empty() {
        let before = Writer {
            manager: BEFORE_FIRST_APPLY.to_owned(),
            ..writer.clone()
        };
        let empty = versions.empty(&writer.api_version);
        entries = update(versions, entries, &before, (&empty, live), reset, now);
    }
    let mut merged = typed::merge(node, live, config);
    let fields = reset.strip(&typed::fields_of(node, config));
    let known = entries
        .iter()
        .position(|entry| entry.is_of(writer, Operation::Apply));
    let index = known.unwrap_or_else(|| {
        entries.push(Entry::new(writer.clone(), Operation::Apply, None, Set::default()));
        entries.len() - 1
    });
    let last = entries
        .get_mut(index)
        .map(|entry| {
            let last = (entry.set().into_owned(), entry.writer.api_version.clone());
            entry.writer.clone_from(writer);
            entry.put(fields);
            last
        })
        .unwrap_or_default();
    if !last.0.is_empty() {
        merged = prune(versions, &merged, &entries, &last);
    }
    let mut differences = Differences::new(versions, live, &merged, reset);
    let mut conflicts = differences.conflicts(&entries, Some(index));
    if !force && !conflicts.is_empty() {
        let allowed = allowed();
        for (_, fields) in &mut conflicts {
            *fields = fields.difference(&allowed);
        }
        conflicts.retain(|(_, fields)| !fields.is_empty());
        if !conflicts.is_empty() {
            return Err(describe(&entries, conflicts));
        }
    }
    if let Some(own) = entries.get_mut(index) {
        let fields = untracked(&own.set());
        own.put(fields);
    }
    let is_same = typed::same(live, &merged);
    if !is_same && let Some(own) = entries.get_mut(index) {
        own.time = Some(now.to_owned());
    }
    let entries = differences.take(entries, Some(index));
    Ok(Applied {
        object: (!is_same).then_some(merged),
        entries,
    })
}

pub(super) fn describe(entries: &[Entry], mut conflicts: Vec<(usize, Set)>) -> Vec<Conflict> {
    let entry = |index: usize| entries.get(index);
    conflicts.sort_by(|(one, _), (two, _)| {
        let key = |index: usize| {
            entry(index).map(|entry| {
                let writer = &entry.writer;
                (
                    &writer.manager,
                    entry.operation,
                    &writer.api_version,
                    &writer.subresource,
                )
            })
        };
        key(*one).cmp(&key(*two))
    });
    conflicts
        .into_iter()
        .flat_map(|(index, fields)| {
            let manager = entry(index).map(Entry::description).unwrap_or_default();
            fields.paths().into_iter().map(move |field| Conflict {
                manager: manager.clone(),
                field,
            })
        })
        .collect()
}

/// The merged object without what the manager applied last time and now leaves out, as far as nobody else owns it
/// (API-297).
fn prune<V: Versions>(
    versions: &V,
    merged: &Value,
    entries: &[Entry],
    (last, last_version): &(Set, String),
) -> Value {
    let Some(node) = versions.node(last_version) else {
        return merged.clone();
    };
    let last = last.with_named_fields(Some(node));
    let mut pruned = typed::remove(node, merged, &last);

    // What others own comes back, seen in each version that somebody writes in.
    let mut owned: Vec<(&str, Set)> = vec![(last_version, Set::default())];
    for entry in entries {
        let version = entry.writer.api_version.as_str();
        let set = entry.set();
        match owned.iter_mut().find(|(other, _)| *other == version) {
            Some((_, owned)) => *owned = owned.union(&set),
            None => owned.push((version, set.into_owned())),
        }
    }
    let named = |node: Node<'_>, value: &Value| typed::fields_of(node, value).with_named_fields(Some(node));
    for (version, owned) in owned {
        let Some(node) = versions.node(version) else {
            continue;
        };
        let kept = named(node, &pruned).union(&owned.with_named_fields(Some(node)));
        pruned = typed::remove(node, merged, &named(node, merged).difference(&kept));
    }

    // So does what went along without having been applied.
    let gone = named(node, merged)
        .difference(&named(node, &pruned))
        .intersection(&last);
    typed::remove(node, merged, &gone)
}
