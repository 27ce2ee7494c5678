//! The watch feed: the committed events of one controller in order of revision, in a bounded ring that any number of
//! watches read at their own pace. A reader sees every event after its revision or is told that the feed no longer
//! reaches back so far; it never sees a gap. The publisher never waits for readers. Not for history on disk.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use kontiki_actors::Event;
use kontiki_hooks::{Defect, Mark, planted, reached};
use parking_lot::RwLock;
use tokio::{sync::watch, time::Instant};

use crate::wire::encoding;

/// What the feed keeps.
#[derive(Clone, Copy, Debug)]
pub struct FeedLimits {
    /// Events.
    pub events: usize,
    /// Bytes of their documents, both states counted.
    pub bytes: usize,
}

impl Default for FeedLimits {
    fn default() -> Self {
        FeedLimits { events: 50_000, bytes: 128 << 20 }
    }
}

/// One event with its encodings, made once and shared by all watches.
#[derive(Debug)]
pub struct FeedEvent {
    /// What happened.
    pub event: Event,
    /// When it was published here.
    at: Instant,
    new_json: OnceLock<Bytes>,
    old_json: OnceLock<Bytes>,
    new_message: OnceLock<Bytes>,
    old_message: OnceLock<Bytes>,
}

impl FeedEvent {
    fn new(event: Event, at: Instant) -> FeedEvent {
        let [new_json, old_json, new_message, old_message] = [const { OnceLock::new() }; 4];
        FeedEvent { event, at, new_json, old_json, new_message, old_message }
    }

    /// The object after the event, of a built-in kind; empty when it was deleted.
    pub fn new_json(&self) -> Bytes {
        self.new_json
            .get_or_init(|| self.event.new.as_ref().map(|o| o.to_json().into()).unwrap_or_default())
            .clone()
    }

    /// The object of a built-in kind before the event, at the event's revision: what a watch shows of an object that is gone or that its
    /// selector no longer matches. Empty when there was none.
    pub fn old_json(&self) -> Bytes {
        self.old_json
            .get_or_init(|| {
                let Some(old) = &self.event.old else { return Bytes::new() };
                let mut out = Vec::with_capacity(old.document.len() + 128);
                let kind = old.key.kind;
                old.document.write_json(kind, kind.info().version, self.event.revision, &mut out);
                out.into()
            })
            .clone()
    }

    /// The same as [`FeedEvent::new_json`] as protobuf; empty, too, where the object has no message.
    pub fn new_message(&self) -> Bytes {
        self.new_message.get_or_init(|| message(self.new_json())).clone()
    }

    /// The same as [`FeedEvent::old_json`] as protobuf; empty, too, where the object has no message.
    pub fn old_message(&self) -> Bytes {
        self.old_message.get_or_init(|| message(self.old_json())).clone()
    }

    fn weight(&self) -> usize {
        let bytes = |o: &Option<Arc<kontiki_actors::Object>>| o.as_ref().map_or(0, |o| o.document.len());
        bytes(&self.event.old) + bytes(&self.event.new) + 256
    }
}

fn message(json: Bytes) -> Bytes {
    if json.is_empty() { json } else { encoding::encode(&json).unwrap_or_default().into() }
}

/// What a read found.
#[derive(Debug)]
pub struct Batch {
    /// Events in order of revision.
    pub events: Vec<Arc<FeedEvent>>,
    /// After these events the reader has seen everything up to this revision.
    pub revision: u64,
}

/// The feed does not reach back to the reader's revision: the reader must list anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {wanted} ({oldest})")]
pub struct Expired {
    /// The reader's revision.
    pub wanted: u64,
    /// The oldest revision that a reader can go on from.
    pub oldest: u64,
}

struct Ring {
    events: VecDeque<Arc<FeedEvent>>,
    bytes: usize,
    /// Every event after this revision is in the ring.
    floor: u64,
    revision: u64,
}

/// The feed.
pub struct Feed {
    limits: FeedLimits,
    ring: RwLock<Ring>,
    revision: watch::Sender<u64>,
}

impl Feed {
    /// A feed that begins after a revision: that of the state at the process' start.
    pub fn new(revision: u64, limits: FeedLimits) -> Feed {
        let ring = Ring { events: VecDeque::new(), bytes: 0, floor: revision, revision };
        Feed { limits, ring: RwLock::new(ring), revision: watch::Sender::new(revision) }
    }

    /// Appends committed events. `revision` is that of the state after them. Called by one publisher, in order. What was appended last is
    /// kept whole, whatever the limits: they are for readers that are late, and nobody can have read it yet.
    pub fn publish(&self, events: impl IntoIterator<Item = Event>, revision: u64) {
        let now = Instant::now();
        let events: Vec<_> = events.into_iter().map(|event| Arc::new(FeedEvent::new(event, now))).collect();
        let mut ring = self.ring.write();
        let before = ring.revision;
        for event in events {
            debug_assert!(event.event.revision > ring.revision, "events come in order of revision");
            ring.revision = event.event.revision;
            ring.bytes += event.weight();
            ring.events.push_back(event);
        }
        ring.revision = ring.revision.max(revision);
        while ring.events.len() > self.limits.events || ring.bytes > self.limits.bytes {
            let Some(first) = ring.events.pop_front_if(|first| first.event.revision <= before) else { break };
            ring.bytes -= first.weight();
            ring.floor = first.event.revision;
        }
        let revision = ring.revision;
        drop(ring);
        self.revision.send_replace(revision);
    }

    /// Starts anew at a revision that was not reached by events (a snapshot was installed): every reader falls out.
    pub fn reset(&self, revision: u64) {
        let mut ring = self.ring.write();
        *ring = Ring { events: VecDeque::new(), bytes: 0, floor: revision, revision };
        drop(ring);
        self.revision.send_replace(revision);
    }

    /// The revision of the newest event.
    pub fn revision(&self) -> u64 {
        *self.revision.borrow()
    }

    /// The oldest revision that a reader can go on from.
    pub fn oldest(&self) -> u64 {
        self.ring.read().floor
    }

    /// The events after a revision, at most `max` of them.
    pub fn read(&self, after: u64, max: usize) -> Result<Batch, Expired> {
        let ring = self.ring.read();
        let mut after = after;
        if planted(Defect::SlowWatcherSkips) {
            after = after.max(ring.floor);
        }
        if planted(Defect::WatchFutureDeliversOld) && after > ring.revision {
            after = ring.revision;
        }
        if after < ring.floor {
            reached(Mark::FeedExpired);
            return Err(Expired { wanted: after, oldest: ring.floor });
        }
        let from = ring.events.partition_point(|e| e.event.revision <= after);
        let events: Vec<_> = ring.events.range(from..).take(max).cloned().collect();
        let all = from + events.len() == ring.events.len();
        let revision = match events.last() {
            Some(last) if !all => last.event.revision,
            _ => ring.revision.max(after),
        };
        Ok(Batch { events, revision })
    }

    /// How long ago a revision ceased to be the present one, as far as the feed reaches back: nothing, while it is.
    pub fn past(&self, revision: u64) -> Duration {
        let ring = self.ring.read();
        let next = ring.events.partition_point(|event| event.event.revision <= revision);
        ring.events.get(next).map_or(Duration::ZERO, |event| event.at.elapsed())
    }

    /// The object that was written at exactly this revision, as far as the feed reaches back.
    pub fn written(&self, revision: u64) -> Option<Arc<kontiki_actors::Object>> {
        let ring = self.ring.read();
        let place = ring.events.binary_search_by_key(&revision, |event| event.event.revision).ok()?;
        ring.events[place].event.new.clone()
    }

    /// Waits until there is something after a revision, or until the feed is gone.
    pub async fn changed(&self, after: u64) {
        let mut revision = self.revision.subscribe();
        // An error means that the feed is being dropped; the reader notices at its next read.
        let _ = revision.wait_for(|revision| *revision > after).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_actors::{Document, Kind, Object, ObjectKey};
    use serde_json::json;

    use super::*;
    use crate::{schema::reader::Limits, wire::protobuf};

    fn event(revision: u64) -> Event {
        let key = ObjectKey::new(Kind::CONFIG_MAP, "default", "a");
        let document =
            Document::from_value(json!({"metadata": {"name": "a"}, "data": {"r": revision.to_string()}}));
        let object = |revision| Arc::new(Object::new(key.clone(), revision, document.clone()));
        Event { revision, old: Some(object(revision - 1)), new: Some(object(revision)), trace: None }
    }

    fn revisions(batch: &Batch) -> Vec<u64> {
        batch.events.iter().map(|e| e.event.revision).collect()
    }

    #[test]
    fn what_was_written_is_found_by_its_revision() {
        let feed = Feed::new(1, FeedLimits { events: 2, bytes: 1 << 20 });
        for revision in [2, 4, 5] {
            feed.publish([event(revision)], revision);
        }
        feed.publish([], 6);
        let written = |revision| feed.written(revision).map(|object| object.revision);
        assert_eq!(written(4), Some(4));
        assert_eq!(written(5), Some(5));
        assert_eq!((written(2), written(3), written(6)), (None, None, None), "too old, another's, none yet");
    }

    #[test]
    fn readers_see_every_event_after_their_revision() {
        let feed = Feed::new(10, FeedLimits::default());
        feed.publish([event(11), event(12)], 12);
        feed.publish([event(14)], 15);
        let batch = feed.read(10, 2).unwrap();
        assert_eq!((revisions(&batch), batch.revision), (vec![11, 12], 12));
        let batch = feed.read(12, 2).unwrap();
        assert_eq!((revisions(&batch), batch.revision), (vec![14], 15));
        let batch = feed.read(15, 2).unwrap();
        assert_eq!((revisions(&batch), batch.revision), (vec![], 15));
        // A reader that is ahead of this controller stays ahead.
        assert_eq!(feed.read(99, 2).unwrap().revision, 99);
    }

    #[test]
    fn who_is_too_slow_is_told_so() {
        let feed = Feed::new(0, FeedLimits { events: 3, bytes: usize::MAX });
        (1..=5).for_each(|revision| feed.publish([event(revision)], revision));
        assert_eq!(feed.read(1, 10).unwrap_err(), Expired { wanted: 1, oldest: 2 });
        assert_eq!(revisions(&feed.read(2, 10).unwrap()), [3, 4, 5]);
        feed.reset(9);
        assert_eq!(feed.read(5, 10).unwrap_err(), Expired { wanted: 5, oldest: 9 });
    }

    #[test]
    fn who_keeps_up_sees_more_at_once_than_is_kept() {
        let feed = Feed::new(0, FeedLimits { events: 3, bytes: 1000 });
        feed.publish([event(1)], 1);
        feed.publish((2..=50).map(event), 50);
        assert_eq!(revisions(&feed.read(1, 100).unwrap()), (2..=50).collect::<Vec<_>>());
        assert_eq!(feed.oldest(), 1);
        feed.publish([event(51)], 51);
        assert!(feed.oldest() >= 48, "as soon as there is more, the limits hold");
    }

    #[test]
    fn bytes_are_bounded_too() {
        let feed = Feed::new(0, FeedLimits { events: 1000, bytes: 1000 });
        (1..=50).for_each(|revision| feed.publish([event(revision)], revision));
        assert!(feed.oldest() >= 47, "{}", feed.oldest());
    }

    #[test]
    fn encodings_carry_the_right_revision() {
        let event = FeedEvent::new(event(8), Instant::now());
        let read = |bytes: Bytes| serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        assert_eq!(read(event.new_json())["metadata"]["resourceVersion"], "8");
        assert_eq!(read(event.old_json())["metadata"]["resourceVersion"], "8");
        assert_eq!(event.new_json().as_ptr(), event.new_json().as_ptr(), "encoded once");
        let read = |bytes: Bytes| protobuf::decode(&bytes, None, Limits::default()).unwrap().value;
        assert_eq!(read(event.new_message())["metadata"]["resourceVersion"], "8");
        assert_eq!(read(event.old_message())["data"]["r"], "8");
        assert_eq!(event.new_message().as_ptr(), event.new_message().as_ptr(), "encoded once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_revision_is_past_since_the_next_event() {
        let feed = Feed::new(1, FeedLimits::default());
        let second = Duration::from_secs(1);
        feed.publish([event(2)], 2);
        tokio::time::advance(second).await;
        feed.publish([event(4)], 4);
        tokio::time::advance(second).await;
        assert_eq!([1, 2, 3, 4, 5].map(|revision| feed.past(revision)), [2, 1, 1, 0, 0].map(|s| second * s));
    }

    #[tokio::test]
    async fn waiting_ends_with_the_next_event() {
        let feed = Arc::new(Feed::new(0, FeedLimits::default()));
        feed.publish([event(1)], 1);
        feed.changed(0).await;
        let waiting = tokio::spawn({
            let feed = feed.clone();
            async move { feed.changed(1).await }
        });
        feed.publish([event(2)], 2);
        waiting.await.unwrap();
    }
}
