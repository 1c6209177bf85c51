//! Which of many events are written, and as what: limits per object, similar ones collapsed, equal ones counted.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event as CoreEvent, EventSource, ObjectReference};
use k8s_openapi::api::events::v1::{Event as SeriesEvent, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use rustc_hash::FxHashMap;
use serde_json::json;

use super::{EventObject, EventType, EventWrite, Flavour, Note, Source};
use crate::clock::since;
use crate::wire;

/// Events per source and object before the limit holds (source: RS-68).
const BURST: f64 = 25.0;
/// After the burst one event per this time (source: RS-68).
const REFILL: Duration = Duration::from_mins(5);
/// Similar events within [`SIMILAR_WINDOW`] that are written one by one (source: RS-68).
const SIMILAR: usize = 10;
/// Similar events further apart start anew (source: RS-68).
const SIMILAR_WINDOW: Duration = Duration::from_mins(10);
/// Entries per memory; the one unused for longest makes room (source: client-go 1.36).
const REMEMBERED: usize = 4096;
/// A series ends when its event was not seen for this long; also how often series are looked at (source: client-go
/// 1.36).
pub(super) const REVIEW: Duration = Duration::from_mins(6);
/// A series that goes on is written this often (source: client-go 1.36).
const REFRESH: Duration = Duration::from_mins(30);
/// Longest part of an object's name in the name of its event: 253 less a dot and sixteen digits.
const NAME_LENGTH: usize = 236;

/// What was told so far.
#[derive(Default)]
pub(super) struct Correlator {
    limits: Memory<(Arc<Source>, Subject), Bucket>,
    similar: Memory<Topic, Similar>,
    equal: Memory<(Topic, Option<String>), Equal>,
    series: Memory<Topic, Series>,
    sequence: u64,
}

/// The object that an event is about.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Subject {
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
    field_path: Option<String>,
    api_version: Option<String>,
}

/// Everything of an event but its message.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Topic {
    source: Arc<Source>,
    subject: Subject,
    type_: EventType,
    reason: String,
    action: String,
}

struct Bucket {
    tokens: f64,
    refilled: Timestamp,
}

struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

struct Equal {
    name: String,
    count: i32,
    first: Timestamp,
}

struct Series {
    event: Box<SeriesEvent>,
    count: i32,
    written_count: i32,
    last: Timestamp,
    written: Timestamp,
}

impl Correlator {
    /// The write that an event leads to, if any.
    pub(super) fn correlate(&mut self, note: Note) -> Option<EventWrite> {
        match note.source.flavour {
            Flavour::Core => self.correlate_core(note),
            Flavour::Series => self.correlate_series(&note),
        }
    }

    fn correlate_core(&mut self, mut note: Note) -> Option<EventWrite> {
        let topic = Topic::of(&note);
        let similar = self.similar.entry(&topic, note.at, || Similar {
            messages: BTreeSet::new(),
            last: note.at,
        });
        if since(note.at, similar.last) > SIMILAR_WINDOW {
            similar.messages.clear();
        }
        similar.last = note.at;
        let mut message = Some(note.message.clone());
        if !similar.messages.contains(&note.message) && similar.messages.len() >= SIMILAR {
            // From here on they are one event, whatever they say.
            note.message.insert_str(0, wire::COMBINED_EVENTS);
            message = None;
        } else {
            similar.messages.insert(note.message.clone());
        }

        let name = self.name(&note);
        let equal = self.equal.entry(&(topic, message), note.at, || Equal {
            name,
            count: 0,
            first: note.at,
        });
        equal.count = equal.count.saturating_add(1);
        let known = equal.count > 1;
        let event = core_event(&note, equal);

        let source = (Arc::clone(&note.source), Subject::of(&note.about));
        let bucket = self.limits.entry(&source, note.at, || Bucket {
            tokens: BURST,
            refilled: note.at,
        });
        if !bucket.take(note.at) {
            return None;
        }
        let patch = known.then(|| {
            json!({ "count": event.count, "lastTimestamp": event.last_timestamp, "message": event.message })
        });
        Some(EventWrite {
            namespace: event.metadata.namespace.clone().unwrap_or_default(),
            name: event.metadata.name.clone().unwrap_or_default(),
            patch,
            object: EventObject::Core(Box::new(event)),
        })
    }

    fn correlate_series(&mut self, note: &Note) -> Option<EventWrite> {
        let topic = Topic::of(note);
        let name = self.name(note);
        if let Some(series) = self.series.get_mut(&topic, note.at) {
            series.count = series.count.saturating_add(1);
            series.last = note.at;
            // The second one starts the series; later ones are written by `review`.
            return (series.count == 2).then(|| series.write(note.at));
        }
        let event = Box::new(series_event(note, name));
        let (namespace, name) = (
            event.metadata.namespace.clone().unwrap_or_default(),
            event.metadata.name.clone().unwrap_or_default(),
        );
        let object = EventObject::Series(event.clone());
        self.series.entry(&topic, note.at, || Series {
            event,
            count: 1,
            written_count: 1,
            last: note.at,
            written: note.at,
        });
        Some(EventWrite {
            namespace,
            name,
            patch: None,
            object,
        })
    }

    /// Ends series that are over and refreshes long ones.
    pub(super) fn review(&mut self, now: Timestamp) -> Vec<EventWrite> {
        let mut due = Vec::new();
        self.series.entries.retain(|_, (_, series)| {
            let over = since(now, series.last) >= REVIEW;
            let unwritten = series.count > series.written_count;
            if unwritten && (over || since(now, series.written) >= REFRESH) {
                due.push(series.write(now));
            }
            !over
        });
        due.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        due
    }

    fn name(&mut self, note: &Note) -> String {
        self.sequence = self.sequence.wrapping_add(1);
        let object: String = note
            .about
            .name
            .as_deref()
            .unwrap_or_default()
            .chars()
            .take(NAME_LENGTH)
            .collect();
        let moment = u64::try_from(note.at.as_nanosecond()).unwrap_or_default();
        format!("{object}.{:x}", moment.wrapping_add(self.sequence))
    }
}

impl Series {
    fn write(&mut self, now: Timestamp) -> EventWrite {
        let series = EventSeries {
            count: self.count,
            last_observed_time: MicroTime(self.last),
        };
        self.written_count = self.count;
        self.written = now;
        self.event.series = Some(series.clone());
        EventWrite {
            namespace: self.event.metadata.namespace.clone().unwrap_or_default(),
            name: self.event.metadata.name.clone().unwrap_or_default(),
            patch: Some(json!({ "series": series })),
            object: EventObject::Series(self.event.clone()),
        }
    }
}

impl Bucket {
    fn take(&mut self, now: Timestamp) -> bool {
        let refill = since(now, self.refilled).as_secs_f64() / REFILL.as_secs_f64();
        self.refilled = self.refilled.max(now);
        self.tokens = (self.tokens + refill).min(BURST);
        let free = self.tokens >= 1.0;
        if free {
            self.tokens -= 1.0;
        }
        free
    }
}

impl Subject {
    fn of(about: &ObjectReference) -> Self {
        Self {
            kind: about.kind.clone(),
            namespace: about.namespace.clone(),
            name: about.name.clone(),
            uid: about.uid.clone(),
            field_path: about.field_path.clone(),
            api_version: about.api_version.clone(),
        }
    }
}

impl Topic {
    fn of(note: &Note) -> Self {
        Self {
            source: Arc::clone(&note.source),
            subject: Subject::of(&note.about),
            type_: note.type_,
            reason: note.reason.clone(),
            action: note.action.clone(),
        }
    }
}

/// Cluster-scoped objects have their events in `default`.
fn metadata(note: &Note, name: String) -> ObjectMeta {
    let namespace = note
        .about
        .namespace
        .clone()
        .filter(|namespace| !namespace.is_empty());
    ObjectMeta {
        name: Some(name),
        namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
        ..ObjectMeta::default()
    }
}

fn core_event(note: &Note, equal: &Equal) -> CoreEvent {
    CoreEvent {
        metadata: metadata(note, equal.name.clone()),
        involved_object: note.about.clone(),
        type_: Some(note.type_.to_string()),
        reason: Some(note.reason.clone()),
        message: Some(note.message.clone()),
        source: Some(EventSource {
            component: Some(note.source.component.clone()),
            host: None,
        }),
        reporting_component: Some(note.source.component.clone()),
        reporting_instance: Some(note.source.instance.clone()),
        first_timestamp: Some(Time(equal.first)),
        last_timestamp: Some(Time(note.at)),
        count: Some(equal.count),
        ..CoreEvent::default()
    }
}

fn series_event(note: &Note, name: String) -> SeriesEvent {
    SeriesEvent {
        metadata: metadata(note, name),
        regarding: Some(note.about.clone()),
        type_: Some(note.type_.to_string()),
        reason: Some(note.reason.clone()),
        action: Some(note.action.clone()),
        note: Some(note.message.clone()),
        reporting_controller: Some(note.source.component.clone()),
        reporting_instance: Some(note.source.instance.clone()),
        event_time: Some(MicroTime(note.at)),
        ..SeriesEvent::default()
    }
}

/// A map of limited size.
struct Memory<K, V> {
    entries: FxHashMap<K, (Timestamp, V)>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self {
            entries: FxHashMap::default(),
        }
    }
}

impl<K: Clone + Eq + Hash, V> Memory<K, V> {
    fn get_mut(&mut self, key: &K, now: Timestamp) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(used, value)| {
            *used = now;
            value
        })
    }

    fn entry(&mut self, key: &K, now: Timestamp, create: impl FnOnce() -> V) -> &mut V {
        if self.entries.len() >= REMEMBERED && !self.entries.contains_key(key) {
            let unused = self
                .entries
                .iter()
                .min_by_key(|(_, (used, _))| *used)
                .map(|(key, _)| key.clone());
            if let Some(unused) = unused {
                self.entries.remove(&unused);
            }
        }
        let (used, value) = self.entries.entry(key.clone()).or_insert_with(|| (now, create()));
        *used = now;
        value
    }
}
