//! WATCH: first what is there, if asked for, then every event as it is committed, in order and without a gap.
//!
//! A watch reads the feed when its client reads the watch, so a slow client costs nothing but its place in the feed; when
//! it falls behind what the feed keeps, it is told that it expired and its stream ends. Whoever reads nothing at all loses its watch: soon
//! while that holds a state of the past, and else when it is over.

use std::{
    ops::ControlFlow,
    sync::{Arc, Weak},
    time::Duration,
};

use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::stream;
use kontiki_actors::{DefinitionDigest, Event, Kind, Object, ObjectKey};
use kontiki_hooks::{Defect, planted};
use parking_lot::Mutex;
use serde_json::json;
use tokio::{task::AbortHandle, time::Instant};

use super::{
    Api,
    call::{Call, now_ms},
    negotiate::{Answer, Media, Shape, negotiate},
    path::Target,
    places::Place,
    query::{Query, revision},
    read::write_metadata,
    reply::{Answered, Reply},
    selection::Selection,
    snapshot::Snapshot,
    table::{self, Include},
};
use crate::{
    backend::Freshness,
    conversion::{self, Asker},
    feed::{Expired, Feed, FeedEvent},
    served::Served,
    status::Status,
    wire::encoding::{self, EncodeError},
};

/// Events looked at before the stream is polled again.
const BATCH: usize = 512;
/// The same where their objects have to be converted, all at once.
const BATCH_SHOWN: usize = 128;
/// Bytes of one chunk of initial objects.
const CHUNK: usize = 64 << 10;
/// A client's longest watch.
const LONGEST: u64 = 24 * 3600;
/// How long a client may take for the next of the objects that are there: until it has them all, what is replaced is kept for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long after its time the last bytes of a watch may be read.
const GRACE: Duration = Duration::from_secs(30);

/// Answers a WATCH.
pub(crate) async fn watch(call: Call, target: Target) -> Answered {
    let form = negotiate(&call.headers, Answer::List)?;
    if form.media == Media::Yaml {
        const STREAMS: &str = "application/json, application/json;stream=watch, application/vnd.kubernetes.protobuf, \
            application/vnd.kubernetes.protobuf;stream=watch";
        return Err(Status::not_acceptable(STREAMS));
    }
    let selection = Selection::of(&target, &call.query)?;
    let include = Include::of(&call.query)?;
    let start = Start::of(&call.query)?;
    let asked = call.query.number("timeoutSeconds")?.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    let lasts = match asked {
        Some(seconds) => Duration::from_secs(seconds.min(LONGEST)),
        None => call.api.options.watch_timeout.mul_f64(rand::random_range(1.0..2.0)),
    };
    let place = call.place(&call.api.watches)?;
    let (initial, after) = match start {
        Start::After(revision) if planted(Defect::WatchGap) => {
            (None, revision.max(call.api.backend.feed().revision()))
        }
        Start::After(revision) if planted(Defect::WatchDuplicate) => (None, revision.saturating_sub(1)),
        Start::After(revision) => (None, revision),
        Start::Now(freshness) => (None, call.api.backend.view(freshness).await?.revision()),
        Start::From(freshness) => {
            let snapshot = Snapshot::now(&*call.api.backend, freshness).await?;
            let revision = snapshot.revision();
            (Some(Initial { snapshot, shown: None }), revision)
        }
    };
    let list_end = initial.is_some() && call.query.switch("sendInitialEvents");
    let interval = call.api.options.bookmark_interval;
    let now = Instant::now();
    let asker = target.served.converter().map(|_| (call.api.clone(), call.user.name.clone()));
    let watch = Watch {
        feed: call.api.backend.feed(),
        selection,
        served: target.served,
        shape: form.shape,
        protobuf: form.media == Media::Protobuf,
        include,
        headed: false,
        initial,
        list_end,
        after,
        bookmarks: call.query.switch("allowWatchBookmarks"),
        interval,
        next_bookmark: now + interval,
        deadline: now + lasts,
        ended: false,
        asker,
        _place: place,
    };
    let chunks = stream::unfold(Unread::of(watch), |unread| async move {
        let mut watch = unread.watch.lock().take()?;
        let chunk = watch.next().await?;
        if !watch.ended {
            *unread.watch.lock() = Some(watch);
        }
        Some((Ok::<Bytes, std::convert::Infallible>(chunk), unread))
    });
    let content_type = match form.media {
        Media::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json",
    };
    Ok(Reply::stream(content_type, Body::from_stream(chunks)))
}

/// A watch while its client does not read it. Nobody asks it for more then, so somebody else has to end it.
struct Unread {
    watch: Arc<Mutex<Option<Watch>>>,
    end: AbortHandle,
}

impl Unread {
    fn of(watch: Watch) -> Unread {
        let until = watch.deadline + GRACE;
        let watch = Arc::new(Mutex::new(Some(watch)));
        let end = tokio::spawn(end(Arc::downgrade(&watch), until)).abort_handle();
        Unread { watch, end }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.end.abort();
    }
}

/// Ends a watch that is not read.
async fn end(watch: Weak<Mutex<Option<Watch>>>, until: Instant) {
    let mut seen = None;
    loop {
        let Some(unread) = watch.upgrade() else { return };
        let progress = unread.lock().as_ref().and_then(Watch::progress);
        if progress.is_some() && progress == seen || Instant::now() >= until {
            unread.lock().take();
            return;
        }
        drop(unread);
        seen = progress;
        tokio::time::sleep_until(until.min(Instant::now() + PATIENCE)).await;
    }
}

/// Where a watch begins.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// With the events after a revision.
    After(u64),
    /// With the events after a view.
    Now(Freshness),
    /// With all objects of a view.
    From(Freshness),
}

impl Start {
    fn of(query: &Query) -> Result<Start, Status> {
        let wanted = revision(query.text("resourceVersion"))?;
        let matching = query.text("resourceVersionMatch");
        let forbidden = |field: &str, why: &str| {
            Status::invalid_option("ListOptions", field, "FieldValueForbidden", format!("Forbidden: {why}"))
        };
        if query.text("sendInitialEvents").is_none() {
            if matching.is_some() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                return Err(forbidden("resourceVersionMatch", why));
            }
            return Ok(match wanted {
                None => Start::From(Freshness::Linearizable),
                Some(0) => Start::From(Freshness::Any),
                Some(revision) => Start::After(revision),
            });
        }
        match matching {
            Some("NotOlderThan") => {}
            None => {
                let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                return Err(forbidden("resourceVersionMatch", why));
            }
            Some(other) => {
                let message = format!("Unsupported value: {other:?}: supported values: \"NotOlderThan\"");
                return Err(Status::invalid_option(
                    "ListOptions",
                    "resourceVersionMatch",
                    "FieldValueNotSupported",
                    message,
                ));
            }
        }
        Ok(match (query.switch("sendInitialEvents"), wanted) {
            (true, None) => Start::From(Freshness::Linearizable),
            (true, Some(0)) => Start::From(Freshness::Any),
            (true, Some(revision)) => Start::From(Freshness::AtLeast(revision)),
            (false, None) => Start::Now(Freshness::Linearizable),
            (false, Some(0)) => Start::Now(Freshness::Any),
            (false, Some(revision)) => Start::After(revision),
        })
    }
}

/// Objects that are there when a watch begins.
struct Initial {
    snapshot: Snapshot,
    shown: Option<ObjectKey>,
}

struct Watch {
    feed: Arc<Feed>,
    selection: Selection,
    served: Served,
    shape: Shape,
    protobuf: bool,
    include: Include,
    /// Whether the columns of a table were sent.
    headed: bool,
    initial: Option<Initial>,
    /// Whether the end of the initial objects is to be marked.
    list_end: bool,
    /// Everything up to this revision was sent.
    after: u64,
    bookmarks: bool,
    interval: Duration,
    next_bookmark: Instant,
    deadline: Instant,
    ended: bool,
    /// Who has objects converted, where versions are more than names.
    asker: Option<(Arc<Api>, String)>,
    _place: Place,
}

impl Watch {
    /// How far it is with the objects that are there; none when it is done with them.
    fn progress(&self) -> Option<Option<ObjectKey>> {
        self.initial.as_ref().map(|initial| initial.shown.clone())
    }

    /// The next bytes of the stream; none at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = Vec::new();
        while let Some(initial) = self.initial.take() {
            if self.asker.is_none() {
                self.write_initial(initial, &mut out);
            } else if let Err(status) = self.write_initial_shown(initial, &mut out).await {
                self.write_error(&status, &mut out);
                self.ended = true;
            }
            if !out.is_empty() {
                return Some(out.into());
            }
        }
        loop {
            let written = match self.asker {
                None => self.write_events(&mut out).map_err(Status::from),
                Some(_) => self.write_events_shown(&mut out).await,
            };
            if let Err(status) = written {
                self.write_error(&status, &mut out);
                self.ended = true;
            }
            let now = Instant::now();
            if !self.ended && now >= self.deadline {
                self.ended = true;
            }
            if self.bookmarks && out.is_empty() && (self.ended || now >= self.next_bookmark) {
                self.write_bookmark(false, &mut out);
            }
            if !out.is_empty() {
                return Some(out.into());
            }
            if self.ended {
                return None;
            }
            let pause = if self.bookmarks { self.next_bookmark.min(self.deadline) } else { self.deadline };
            tokio::select! {
                () = self.feed.changed(self.after) => {}
                () = tokio::time::sleep_until(pause) => {}
            }
        }
    }

    /// Writes a chunk of what is there, and the mark of its end.
    fn write_initial(&mut self, mut initial: Initial, out: &mut Vec<u8>) {
        let selection = self.selection.clone();
        let mut last = None;
        let mut complete = true;
        let shown = initial.shown.take();
        initial.snapshot.visit(&selection, shown.as_ref(), |object| {
            if out.len() >= CHUNK {
                complete = false;
                return ControlFlow::Break(());
            }
            if self.selection.matches(object) {
                self.write_object("ADDED", object, object.revision, None, out);
            }
            last = Some(object.key.clone());
            ControlFlow::Continue(())
        });
        if complete {
            if self.list_end {
                self.write_bookmark(true, out);
            }
        } else {
            initial.shown = last.or(shown);
            self.initial = Some(initial);
        }
    }

    /// The same where objects have to be converted before they are selected and shown.
    async fn write_initial_shown(&mut self, mut initial: Initial, out: &mut Vec<u8>) -> Result<(), Status> {
        let some = initial.snapshot.some(&self.selection, initial.shown.as_ref());
        let last = some.last().map(|object| object.key.clone());
        for object in self.shown(some).await? {
            if self.selection.matches(&object) {
                self.write_object("ADDED", &object, object.revision, None, out);
            }
        }
        match last {
            Some(last) => {
                initial.shown = Some(last);
                self.initial = Some(initial);
            }
            None if self.list_end => self.write_bookmark(true, out),
            None => {}
        }
        Ok(())
    }

    /// Objects in the version that is asked for.
    async fn shown(&self, objects: Vec<Arc<Object>>) -> Result<Vec<Arc<Object>>, Status> {
        let Some((api, user)) = &self.asker else { return Ok(objects) };
        conversion::watched(Asker { api, user }, &self.served, objects).await
    }

    /// The same as [`Watch::write_events`] where objects have to be converted before they are selected and shown.
    async fn write_events_shown(&mut self, out: &mut Vec<u8>) -> Result<(), Status> {
        loop {
            let batch = self.feed.read(self.after, BATCH_SHOWN)?;
            let end = batch.events.iter().position(|entry| self.is_redefined_by(entry));
            let events = &batch.events[..end.unwrap_or(batch.events.len())];
            let kind = self.selection.kind;
            let events = events.iter().map(|entry| &entry.event).filter(|event| event.key().kind == kind);
            // Whether an object was selected before has to be known only where not all are, and what it was, where it is gone.
            let narrowed = self.selection.narrowed();
            let looks_back = |event: &Event| narrowed || event.new.is_none();
            let mut stored = Vec::new();
            for event in events.clone() {
                let old = event.old.as_ref().filter(|_| looks_back(event));
                let both = old.into_iter().chain(&event.new);
                stored.extend(both.filter(|object| self.selection.is_place_of(object)).cloned());
            }
            let mut shown = self.shown(stored).await?.into_iter();
            for event in events {
                let place = |object: &&Arc<Object>| self.selection.is_place_of(object);
                let old = event.old.as_ref().filter(place);
                let old = if looks_back(event) { old.and_then(|_| shown.next()) } else { old.cloned() };
                let new = event.new.as_ref().filter(place).and_then(|_| shown.next());
                self.write_change(event.revision, old.as_ref(), new.as_ref(), None, out);
            }
            if let Some(end) = end {
                self.after = batch.events[end].event.revision;
                self.ended = true;
                return Ok(());
            }
            self.after = batch.revision;
            if batch.events.is_empty() || out.len() >= CHUNK {
                return Ok(());
            }
        }
    }

    /// Whether with this event versions become more than names, or are converted otherwise. The watch ends then: its client comes again, and
    /// is served by what holds from there on.
    fn is_redefined_by(&self, entry: &FeedEvent) -> bool {
        let (Some(version), Some(new)) = (self.served.defined(), &entry.event.new) else { return false };
        if new.key.kind != Kind::CUSTOM_RESOURCE_DEFINITION
            || new.key.name != self.selection.kind.resource_name()
        {
            return false;
        }
        let converts = |object: &Arc<Object>| object.definition().is_some_and(DefinitionDigest::converts);
        let concerns = converts(new) || entry.event.old.as_ref().is_some_and(converts);
        concerns && new.meta.generation > version.generation
    }

    /// Writes what happened since; nothing when nothing did.
    fn write_events(&mut self, out: &mut Vec<u8>) -> Result<(), Expired> {
        loop {
            let batch = self.feed.read(self.after, BATCH)?;
            for event in &batch.events {
                self.write_event(event, out);
                if self.ended {
                    return Ok(());
                }
            }
            self.after = batch.revision;
            if batch.events.is_empty() || out.len() >= CHUNK {
                return Ok(());
            }
        }
    }

    fn write_event(&mut self, entry: &FeedEvent, out: &mut Vec<u8>) {
        let event = &entry.event;
        if event.key().kind != self.selection.kind {
            if self.is_redefined_by(entry) {
                self.after = event.revision;
                self.ended = true;
            }
            return;
        }
        self.write_change(event.revision, event.old.as_ref(), event.new.as_ref(), Some(entry), out);
    }

    /// Writes what became of an object, if the watch selects it; with the event, if both are as they are stored.
    fn write_change(
        &mut self,
        revision: u64,
        old: Option<&Arc<Object>>,
        new: Option<&Arc<Object>>,
        entry: Option<&FeedEvent>,
        out: &mut Vec<u8>,
    ) {
        let old = old.filter(|object| self.selection.matches(object));
        let new = new.filter(|object| self.selection.matches(object));
        // What has as many encodings as versions is encoded by each watch for itself.
        let entry = entry.filter(|_| self.served.as_stored());
        let shared = |json: fn(&FeedEvent) -> Bytes, message: fn(&FeedEvent) -> Bytes| {
            entry.map(if self.protobuf { message } else { json })
        };
        // What a watch does not select does not exist for it.
        match (old, new) {
            (None, None) => {}
            (Some(_), None) if planted(Defect::WatchLosesDelete) => {}
            (old, Some(object)) => {
                let kind = if old.is_some() { "MODIFIED" } else { "ADDED" };
                let shared = shared(FeedEvent::new_json, FeedEvent::new_message);
                self.write_object(kind, object, revision, shared, out);
            }
            (Some(object), None) => {
                let shared = shared(FeedEvent::old_json, FeedEvent::old_message);
                self.write_object("DELETED", object, revision, shared, out);
            }
        }
    }

    fn write_object(
        &mut self,
        kind: &str,
        object: &Object,
        revision: u64,
        shared: Option<Bytes>,
        out: &mut Vec<u8>,
    ) {
        if let (true, Shape::Plain, Some(message)) = (self.protobuf, self.shape, &shared)
            && !message.is_empty()
        {
            return encoding::frame_of(kind, message, out);
        }
        // Where there is no message, it is found out again why.
        let json = shared.filter(|_| !self.protobuf);
        let columns = (!self.headed).then_some(&self.served);
        let written = write_frame(self.protobuf, kind, out, |out| match self.shape {
            Shape::Plain => match json {
                Some(json) => out.extend_from_slice(&json),
                None => self.served.write(object, revision, out),
            },
            Shape::Metadata { version, .. } => write_metadata(object, revision, version, out),
            Shape::Table(version) => {
                let metadata = json!({"resourceVersion": revision.to_string()});
                table::write_head(version, &metadata, columns, out);
                table::write_row(&self.served, object, revision, self.include, version, now_ms(), out);
                out.extend_from_slice(b"]}");
            }
        });
        self.headed |= matches!(self.shape, Shape::Table(_));
        if let Err(error) = written {
            // What cannot be told ends the watch: nothing is skipped unseen.
            self.write_error(&Status::internal(error), out);
            self.ended = true;
        }
    }

    /// Tells that everything up to a revision was sent. Written in the order of the events, so it is true.
    fn write_bookmark(&mut self, list_end: bool, out: &mut Vec<u8>) {
        self.next_bookmark = Instant::now() + self.interval;
        let after = self.after + u64::from(planted(Defect::BookmarkTooEarly));
        let mut metadata = json!({"resourceVersion": after.to_string(), "creationTimestamp": null});
        if list_end {
            // In the form of the watch: whoever reads it reads its objects, too.
            let list = self.empty_list().to_string().into_bytes();
            let list = if self.protobuf { encoding::encode(&list).unwrap_or_default() } else { list };
            metadata["annotations"] = json!({
                "k8s.io/initial-events-end": "true",
                "kubernetes.io/initial-events-list-blueprint": STANDARD.encode(list),
            });
        }
        let partial = |version: &str| json!({"kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": metadata});
        let object = match self.shape {
            Shape::Plain => {
                json!({"kind": self.served.name(), "apiVersion": self.served.api_version(), "metadata": metadata})
            }
            Shape::Metadata { version, .. } => partial(version),
            Shape::Table(version) => {
                let columns = if self.headed { json!([]) } else { table::definitions(&self.served) };
                self.headed = true;
                let width = table::definitions(&self.served).as_array().map_or(0, Vec::len);
                json!({
                    "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "columnDefinitions": columns,
                    "metadata": {"resourceVersion": self.after.to_string()},
                    "rows": [{"cells": vec![serde_json::Value::Null; width], "object": partial(version)}],
                })
            }
        };
        let told = object.to_string();
        let written =
            write_frame(self.protobuf, "BOOKMARK", out, |out| out.extend_from_slice(told.as_bytes()));
        if let Err(error) = written {
            tracing::error!(%error, "a bookmark is not told");
        }
    }

    /// What a client makes a list of that it fills with the objects: of their kind, or of metadata where it asked for that.
    fn empty_list(&self) -> serde_json::Value {
        let (kind, version) = match self.shape {
            Shape::Metadata { version, .. } => {
                ("PartialObjectMetadataList".to_owned(), format!("meta.k8s.io/{version}"))
            }
            _ => (self.served.list_name(), self.served.api_version()),
        };
        json!({"kind": kind, "apiVersion": version, "metadata": {}, "items": []})
    }

    fn write_error(&self, status: &Status, out: &mut Vec<u8>) {
        let status = status.to_value().to_string();
        let written =
            write_frame(self.protobuf, "ERROR", out, |out| out.extend_from_slice(status.as_bytes()));
        if let Err(error) = written {
            tracing::error!(%error, "why a watch ends is not told");
        }
    }
}

/// Writes an event, whose object is written as JSON. Nothing of it is written where that has no message.
fn write_frame(
    protobuf: bool,
    kind: &str,
    out: &mut Vec<u8>,
    object: impl FnOnce(&mut Vec<u8>),
) -> Result<(), EncodeError> {
    if protobuf {
        let mut json = Vec::new();
        object(&mut json);
        return encoding::frame(kind, &json, out);
    }
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    object(out);
    out.extend_from_slice(b"}\n");
    Ok(())
}
