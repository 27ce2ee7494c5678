//! This controller's copy of the cluster: what the log is folded into. Publishes a view after each batch and tells the
//! feed. The same on every controller, leader or not.

use std::sync::Arc;

use arc_swap::ArcSwap;
use kontiki_actors::{Entry, Event, Object, ObjectKey, Outcome, RequestId, State, codec, object::Document};
use kontiki_api::feed::Feed;
use kontiki_raft::{CommittedEntry, Fold, FoldError, LogPosition, Record, StoreError, Table, Writes};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The tables of the stored state, in the order of their ids.
pub const TABLES: &[&str] = &["objects", "wakes", "answered", "position"];
const OBJECTS: Table = Table(0);
const WAKES: Table = Table(1);
const ANSWERED: Table = Table(2);
const POSITION: Table = Table(3);
const POSITION_KEY: &[u8] = b"position";

/// The replicated state on this controller.
pub struct Replica {
    working: Mutex<Working>,
    view: ArcSwap<State>,
    feed: Arc<Feed>,
}

#[derive(Default)]
struct Working {
    state: State,
    answers: u64,
    events: Vec<Event>,
}

#[derive(Serialize, Deserialize)]
struct StoredObject {
    revision: u64,
    document: Document,
}

#[derive(Serialize, Deserialize)]
struct StoredAnswer {
    sequence: u64,
    outcome: Outcome,
}

#[derive(Serialize, Deserialize)]
struct Position {
    revision: u64,
    chain: [u8; 32],
    answers: u64,
}

impl Replica {
    /// An empty replica that tells this feed.
    pub fn new(feed: Arc<Feed>) -> Arc<Replica> {
        Arc::new(Replica { working: Mutex::default(), view: ArcSwap::default(), feed })
    }

    /// The state as it is folded now.
    pub fn view(&self) -> Arc<State> {
        self.view.load_full()
    }

    /// The feed of what is folded.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    fn store(working: &Working, folded: &kontiki_actors::state::Folded, writes: &mut Writes) {
        for event in &folded.events {
            let key = event.key().to_bytes();
            match &event.new {
                Some(object) => {
                    let stored =
                        StoredObject { revision: object.revision, document: object.document.clone() };
                    writes.put(OBJECTS, key, record(&stored));
                }
                None => writes.delete(OBJECTS, key),
            }
        }
        for (key, at) in &folded.wakes {
            match at {
                Some(at) => writes.put(WAKES, key.to_bytes(), at.to_be_bytes().to_vec()),
                None => writes.delete(WAKES, key.to_bytes()),
            }
        }
        for request in &folded.forgotten {
            writes.delete(ANSWERED, request.as_bytes());
        }
        let position = Position {
            revision: working.state.revision(),
            chain: working.state.chain(),
            answers: working.answers,
        };
        writes.put(POSITION, POSITION_KEY, record(&position));
    }
}

/// Our own closed types always encode; the limit of an object is checked long before it comes here.
fn record<T: Serialize>(value: &T) -> Vec<u8> {
    match codec::encode(value) {
        Ok(bytes) => bytes,
        Err(error) => stop(&format!("a record of the state cannot be encoded: {error}")),
    }
}

/// What is committed must be folded: a controller that cannot do so must not go on with a state of its own.
fn stop(why: &str) -> ! {
    tracing::error!(
        why,
        "cannot fold a committed entry; this controller stops, the others go on. Run the version of the \
                          controllers that lead, or remove this controller and let it join again"
    );
    std::process::exit(70)
}

impl Fold for Replica {
    fn load(&self, records: &mut dyn Iterator<Item = Result<Record, StoreError>>) -> Result<(), FoldError> {
        let mut working = Working::default();
        let mut answers: Vec<(u64, RequestId, Outcome)> = Vec::new();
        let mut position = Position { revision: 0, chain: [0; 32], answers: 0 };
        let broken =
            |what: &str, error: &dyn std::fmt::Display| FoldError(format!("record of {what}: {error}"));
        for record in records {
            let Record { table, key, value } = record?;
            let object_key = || ObjectKey::from_bytes(&key).map_err(|e| broken("a key", &e));
            match table {
                OBJECTS => {
                    let stored: StoredObject = codec::decode(&value).map_err(|e| broken("an object", &e))?;
                    working.state.restore(Object::new(object_key()?, stored.revision, stored.document));
                }
                WAKES => {
                    let at = <[u8; 8]>::try_from(value.as_slice()).map_err(|e| broken("a wake-up", &e))?;
                    working.state.restore_wake(&object_key()?, i64::from_be_bytes(at));
                }
                ANSWERED => {
                    let stored: StoredAnswer = codec::decode(&value).map_err(|e| broken("an answer", &e))?;
                    let request = std::str::from_utf8(&key).map_err(|e| broken("an answer", &e))?;
                    answers.push((stored.sequence, request.into(), stored.outcome));
                }
                POSITION => position = codec::decode(&value).map_err(|e| broken("the position", &e))?,
                Table(other) => return Err(broken("a table", &format!("{other} is unknown"))),
            }
        }
        answers.sort_by_key(|(sequence, _, _)| *sequence);
        for (_, request, outcome) in answers {
            working.state.remember(&request, &outcome);
        }
        working.state.restore_position(position.revision, position.chain);
        working.answers = position.answers;
        self.feed.reset(working.state.revision());
        self.view.store(Arc::new(working.state.clone()));
        *self.working.lock() = working;
        Ok(())
    }

    fn fold(&self, committed: &CommittedEntry, writes: &mut Writes) {
        let entry = match Entry::decode(&committed.payload) {
            Ok(entry) => entry,
            Err(error) => stop(&format!("entry {}: {error}", committed.index)),
        };
        if !entry.counts_in(committed.term) {
            // Decided by a leader of another term: its state was not what the log holds. The second lock.
            tracing::warn!(
                index = committed.index,
                decided = entry.term,
                committed = committed.term,
                "skipped an entry that was not decided in the term it was committed in"
            );
            return;
        }
        let _span = super::telemetry::fold_span(&entry, committed.index).entered();
        let mut working = self.working.lock();
        let folded = working.state.fold(&entry, &committed.payload);
        for (request, outcome) in &folded.answered {
            working.answers += 1;
            let stored = StoredAnswer { sequence: working.answers, outcome: outcome.clone() };
            writes.put(ANSWERED, request.as_bytes(), record(&stored));
        }
        Self::store(&working, &folded, writes);
        working.events.extend(folded.events);
    }

    fn folded(&self, _last: LogPosition) {
        let mut working = self.working.lock();
        let events = std::mem::take(&mut working.events);
        self.view.store(Arc::new(working.state.clone()));
        let revision = working.state.revision();
        drop(working);
        self.feed.publish(events, revision);
    }
}
