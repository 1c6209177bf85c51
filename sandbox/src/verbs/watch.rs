//! Watches (API-230 to API-245).

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};
use tokio::{sync::watch::Receiver, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    negotiation::Encoding,
    protobuf,
    render::View,
    request::parse_version,
    server::Core,
    status::Failure,
    store::{Change, ChangeKind, Object, ReadError, Revision},
    validate::{FieldErrorKind, gofmt::quote},
    verbs::{Answer, Call, field_error, read::Filter},
};

/// The lines of a watch, ready to be sent.
pub(crate) type WatchStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// Time between bookmarks (kube-apiserver 1.36: about a minute, API-235).
const BOOKMARK_PERIOD: Duration = Duration::from_mins(1);
/// Longest time a client can ask for; beyond that the clock would overflow.
const LONGEST: Duration = Duration::from_hours(24 * 365);
/// Changes read from the history at once.
const BATCH: usize = 256;
/// Longest piece of a stream that is made of several events, in bytes.
const PIECE: usize = 64 * 1024;

/// What comes before the stream of changes.
enum Start {
    /// Only what happens from now on.
    Now,
    /// All existing objects (API-232); then, if asked for, a marked bookmark (API-236).
    State { mark_end: bool },
    /// What happened after a revision (API-231).
    After(Revision),
}

struct Watch {
    core: Arc<Core>,
    view: View,
    filter: Filter,
    namespace: Option<String>,
    cursor: Revision,
    signal: Receiver<()>,
    /// Lines that have been rendered and not yet sent.
    ready: VecDeque<Bytes>,
    /// Initial objects that have not been rendered yet.
    initial: VecDeque<Arc<Object>>,
    mark_end: bool,
    /// `None`: the client wants no bookmarks.
    next_bookmark: Option<Instant>,
    deadline: Instant,
    is_first: bool,
    ended: bool,
    /// The listener that carries the watch stops.
    stop: CancellationToken,
    /// All watches are told to end.
    end: CancellationToken,
}

pub(crate) fn watch(call: &Call<'_>) -> Result<Answer, Failure> {
    let mut view = call.object_view()?;
    // There are no watches in YAML.
    let content_type = if view.accepted.encoding == Encoding::Protobuf {
        protobuf::WATCH_TYPE
    } else {
        view.accepted.encoding = Encoding::Json;
        "application/json"
    };
    let mut filter = Filter::parse(call)?;
    if let Some(name) = &call.path.name {
        filter = filter.named(name)?;
    }
    call.query.integer("limit")?;
    let start = start(call)?;
    let timeout = match call
        .query
        .integer("timeoutSeconds")?
        .filter(|seconds| *seconds > 0)
    {
        Some(seconds) => Duration::from_secs(seconds.unsigned_abs()).min(LONGEST),
        // Half an hour to an hour, so that watches do not all end together (API-239).
        None => Duration::from_secs(call.core.random(|random| random.u64(1800..3600))),
    };
    let table = &call.kind.table;
    let signal = call.core.store.subscribe(table);
    let namespace = call.path.namespace.clone();
    let (mut initial, mut mark_end) = (VecDeque::new(), false);
    let cursor = match start {
        Start::Now => call.core.store.revision(),
        Start::State { mark_end: mark } => {
            let page = call.core.store.list(table, namespace.as_deref(), None);
            initial = page
                .objects
                .into_iter()
                .filter(|object| filter.matches(object))
                .collect();
            mark_end = mark;
            page.revision
        }
        Start::After(revision) => {
            if let Err(ReadError::Compacted { oldest }) = call.core.store.check_history(table, revision) {
                let events = too_old(&view, revision, oldest);
                return Ok(Answer::Watch { content_type, events });
            }
            revision
        }
    };
    let now = Instant::now();
    let watch = Watch {
        core: Arc::clone(call.core),
        view,
        filter,
        namespace,
        cursor,
        signal,
        ready: VecDeque::new(),
        initial,
        mark_end,
        next_bookmark: call
            .query
            .flag("allowWatchBookmarks")
            .then(|| now + BOOKMARK_PERIOD),
        deadline: now + timeout,
        is_first: true,
        ended: false,
        stop: call.stop.clone(),
        end: call.core.end_of_watches(),
    };
    let events = stream::unfold(watch, Watch::next).boxed();
    Ok(Answer::Watch { content_type, events })
}

/// API-240: the error comes as an event of a stream that ends.
fn too_old(view: &View, asked: Revision, oldest: Revision) -> WatchStream {
    let failure = Failure::expired(format!("too old resource version: {asked} ({oldest})"));
    stream::iter([view.event_of("ERROR", &failure.to_value())]).boxed()
}

/// API-236 to API-238, API-242.
fn start(call: &Call<'_>) -> Result<Start, Failure> {
    let version = call.query.get("resourceVersion");
    let matching = call.query.get("resourceVersionMatch");
    let initial = call.query.optional_flag("sendInitialEvents");
    let field = "resourceVersionMatch";
    let mut errors = Vec::new();
    let mut forbid = |detail: &str| errors.push(field_error(FieldErrorKind::Forbidden, field, detail));
    // Upstream asks for NotOlderThan itself where a watch starts without a version.
    let matched = !matching.is_empty() || version.is_empty() && initial.is_none();
    if initial.is_some() && matching != "NotOlderThan" {
        forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if initial.is_none() && !matching.is_empty() {
        forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    }
    if matched && !call.query.get("continue").is_empty() {
        forbid("resourceVersionMatch is forbidden when continue is provided");
    }
    if !matches!(matching, "" | "NotOlderThan") {
        let detail = format!("{}: supported values: \"NotOlderThan\"", quote(matching));
        errors.push(field_error(FieldErrorKind::NotSupported, field, detail));
    }
    if !errors.is_empty() {
        return Err(Failure::invalid_option("ListOptions", &errors));
    }
    let revision: u64 = match version {
        "" => 0,
        text => parse_version(text).map_err(Failure::unmapped)?,
    };
    Ok(match (initial, revision) {
        (Some(true), _) => Start::State {
            mark_end: call.query.flag("allowWatchBookmarks"),
        },
        (Some(false), 0) => Start::Now,
        (None, 0) => Start::State { mark_end: false },
        (_, revision) => Start::After(Revision(revision)),
    })
}

impl Watch {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some((self.join(line), self));
            }
            if self.ended {
                return None;
            }
            self.advance().await;
        }
    }

    /// `first` and what else is ready, as one piece: each piece costs a frame, and often a system call.
    fn join(&mut self, first: Bytes) -> Bytes {
        if self.ready.is_empty() {
            return first;
        }
        let mut piece = BytesMut::from(first);
        while let Some(next) = self.ready.front()
            && piece.len() + next.len() <= PIECE
        {
            piece.extend_from_slice(next);
            self.ready.pop_front();
        }
        piece.freeze()
    }

    /// Renders what is there to send, or waits until something is.
    async fn advance(&mut self) {
        self.view.now = self.core.now();
        let mut size = 0;
        while size < PIECE
            && let Some(object) = self.initial.pop_front()
        {
            self.push("ADDED", &object);
            size += self.ready.back().map_or(0, Bytes::len);
        }
        if size > 0 {
            return;
        }
        if std::mem::take(&mut self.mark_end) {
            let line = self.view.bookmark(self.cursor, true, self.is_first);
            self.is_first = false;
            self.ready.push_back(line);
            return;
        }
        self.signal.borrow_and_update();
        // A reader that is so slow that the history has moved past it is cut off without an error (API-243).
        let Ok((changes, complete)) = self.core.store.changes(&self.view.kind.table, self.cursor, BATCH)
        else {
            self.ended = true;
            return;
        };
        self.cursor = complete;
        for change in &changes {
            self.push_change(change);
        }
        if !changes.is_empty() {
            return;
        }
        // All branches only wait: none loses anything when another one wins.
        let (stop, end) = (self.stop.clone(), self.end.clone());
        let bookmark_at = self.next_bookmark.unwrap_or(self.deadline);
        tokio::select! {
            biased;
            () = stop.cancelled() => self.end(),
            () = end.cancelled() => self.end(),
            () = tokio::time::sleep_until(self.deadline) => self.end(),
            () = tokio::time::sleep_until(bookmark_at), if self.next_bookmark.is_some() => {
                self.next_bookmark = Some(Instant::now() + BOOKMARK_PERIOD);
                self.push_bookmark();
            }
            written = self.signal.changed() => self.ended = written.is_err(),
        }
    }

    fn end(&mut self) {
        self.ended = true;
        if self.next_bookmark.is_some() {
            self.push_bookmark();
        }
    }

    /// Everything up to the newest revision has been sent when this is called, unless a write came in between; then
    /// the cursor is the safe answer.
    fn push_bookmark(&mut self) {
        if let Ok((changes, complete)) = self.core.store.changes(&self.view.kind.table, self.cursor, BATCH)
            && changes.is_empty()
        {
            self.cursor = complete;
        }
        let line = self.view.bookmark(self.cursor, false, self.is_first);
        self.is_first = false;
        self.ready.push_back(line);
    }

    fn push(&mut self, event: &str, object: &Object) {
        let line = self.view.event(event, object, self.is_first);
        self.is_first = false;
        self.ready.push_back(line);
    }

    /// API-233, API-234.
    fn push_change(&mut self, change: &Change) {
        let object = &change.object;
        if self
            .namespace
            .as_deref()
            .is_some_and(|namespace| namespace != &*object.key.namespace)
        {
            return;
        }
        let was_selected = change
            .previous
            .as_ref()
            .is_some_and(|previous| self.filter.matches(previous));
        let selected = change.kind != ChangeKind::Deleted && self.filter.matches(object);
        match (was_selected, selected) {
            (false, true) => self.push("ADDED", object),
            (true, true) => self.push("MODIFIED", object),
            (true, false) if change.kind == ChangeKind::Deleted => self.push("DELETED", object),
            (true, false) => {
                if let Some(previous) = &change.previous {
                    let left = previous.restamped(object.revision);
                    self.push("DELETED", &left);
                }
            }
            (false, false) => {}
        }
    }
}
