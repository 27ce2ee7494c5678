//! This controller's copy of the cluster: what the log is folded into. Publishes a view after each batch and tells the
//! feed. The same on every controller, leader or not.
//!
//! What is of a higher level than this build knows (see `kontiki_actors::level`) is neither loaded nor folded.

use std::{collections::VecDeque, sync::Arc};

use arc_swap::ArcSwap;
use kontiki_actors::{
    Entry, Event, Foreseen, LEVEL, Object, ObjectKey, Outcome, RequestId, State, codec, level::FIRST,
    object::Document,
};
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
/// The cluster's level, four bytes, big-endian, once it was raised: every build to come reads it. In a table that was there before levels
/// were, since an older build takes no snapshot with a table that it does not know.
const LEVEL_KEY: &[u8] = b"level";

/// Entries of which it is known what will come of them: more than a leader has on their way.
const FORESEEN_MAX: usize = 16;

/// The replicated state on this controller.
pub struct Replica {
    /// The newest level that it knows.
    level: u32,
    working: Mutex<Working>,
    view: ArcSwap<State>,
    feed: Arc<Feed>,
    /// While it leads: what it knows will come of what it decided, the oldest first.
    foreseen: Mutex<VecDeque<Foreseen>>,
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

#[derive(Default, Serialize, Deserialize)]
struct Position {
    revision: u64,
    chain: [u8; 32],
    answers: u64,
}

impl Replica {
    /// An empty replica that tells this feed.
    pub fn new(feed: Arc<Feed>) -> Arc<Replica> {
        Replica::of_level(LEVEL, feed)
    }

    /// The same, of a build that knows no more than this level.
    pub fn of_level(level: u32, feed: Arc<Feed>) -> Arc<Replica> {
        Arc::new(Replica {
            level,
            working: Mutex::default(),
            view: ArcSwap::default(),
            feed,
            foreseen: Mutex::default(),
        })
    }

    /// The state as it is folded now.
    pub fn view(&self) -> Arc<State> {
        self.view.load_full()
    }

    /// The feed of what is folded.
    pub fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// This will come of the next entry that this controller decided, if that is committed on the history that it was decided on.
    pub fn foresee(&self, foreseen: Foreseen) {
        let mut all = self.foreseen.lock();
        if all.len() >= FORESEEN_MAX {
            all.pop_front();
        }
        all.push_back(foreseen);
    }

    /// What was foreseen will not come, or is not known to: it is folded like that of others.
    pub fn forget(&self) {
        self.foreseen.lock().clear();
    }

    /// What was foreseen of the entry with this hash in the chain. What was foreseen before it did not come.
    fn foreseen(&self, chain: &[u8; 32]) -> Option<Foreseen> {
        let mut all = self.foreseen.lock();
        let at = all.iter().position(|foreseen| foreseen.state.chain() == *chain)?;
        all.drain(..=at).next_back()
    }

    fn store(working: &Working, folded: &kontiki_actors::state::Folded, writes: &mut Writes) {
        for event in &folded.events {
            let key = event.key().to_bytes();
            match &event.new {
                Some(object) => {
                    // Most objects change several times in their first seconds: only what is stored in the end is encoded.
                    let object = object.clone();
                    writes.put_later(OBJECTS, key, object.document.len(), move || {
                        let stored =
                            StoredObject { revision: object.revision, document: object.document.whole() };
                        record(&stored)
                    });
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
        if let Some(level) = folded.level {
            writes.put(POSITION, LEVEL_KEY, level.to_be_bytes().to_vec());
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

/// Why a build cannot go on with a cluster.
fn beyond(cluster: u32, build: u32) -> String {
    format!("the cluster is at level {cluster}, and this build knows level {build}")
}

fn unusable(what: &str, error: &dyn std::fmt::Display) -> FoldError {
    FoldError::Records(format!("record of {what}: {error}"))
}

/// A state that is being put together from its records.
#[derive(Default)]
struct Loading {
    working: Working,
    answers: Vec<(u64, RequestId, Outcome)>,
    position: Position,
}

impl Loading {
    fn take(&mut self, record: Record) -> Result<(), FoldError> {
        let Record { table, key, value } = record;
        let object_key = || ObjectKey::from_bytes(&key).map_err(|e| unusable("a key", &e));
        match table {
            OBJECTS => {
                let stored: StoredObject = codec::decode(&value).map_err(|e| unusable("an object", &e))?;
                let object = Object::new(object_key()?, stored.revision, stored.document);
                self.working.state.restore(object);
            }
            WAKES => {
                let at = <[u8; 8]>::try_from(value.as_slice()).map_err(|e| unusable("a wake-up", &e))?;
                self.working.state.restore_wake(&object_key()?, i64::from_be_bytes(at));
            }
            ANSWERED => {
                let stored: StoredAnswer = codec::decode(&value).map_err(|e| unusable("an answer", &e))?;
                let request = std::str::from_utf8(&key).map_err(|e| unusable("an answer", &e))?;
                self.answers.push((stored.sequence, request.into(), stored.outcome));
            }
            POSITION => self.position = codec::decode(&value).map_err(|e| unusable("the position", &e))?,
            Table(other) => return Err(unusable("a table", &format!("{other} is unknown"))),
        }
        Ok(())
    }

    fn finish(self) -> Working {
        let Loading { mut working, mut answers, position } = self;
        answers.sort_by_key(|(sequence, _, _)| *sequence);
        for (_, request, outcome) in answers {
            working.state.remember(&request, &outcome);
        }
        working.state.restore_position(position.revision, position.chain);
        working.answers = position.answers;
        working
    }
}

impl Fold for Replica {
    fn load(&self, records: &mut dyn Iterator<Item = Result<Record, StoreError>>) -> Result<(), FoldError> {
        let mut loading = Loading::default();
        let (mut level, mut broken) = (FIRST, None);
        for record in records {
            let record = record?;
            if record.table == POSITION && record.key == LEVEL_KEY {
                let bytes = <[u8; 4]>::try_from(record.value.as_slice());
                level = u32::from_be_bytes(bytes.map_err(|e| unusable("the level", &e))?);
            } else if broken.is_none() {
                broken = loading.take(record).err();
            }
        }
        if level > self.level {
            // Before anything else: what else is not understood is so for this.
            return Err(FoldError::Newer(beyond(level, self.level)));
        }
        if let Some(broken) = broken {
            return Err(broken);
        }
        let mut working = loading.finish();
        working.state.restore_level(level);
        self.feed.reset(working.state.revision());
        self.view.store(Arc::new(working.state.clone()));
        *self.working.lock() = working;
        Ok(())
    }

    fn fold(&self, committed: &CommittedEntry, writes: &mut Writes) {
        let entry = match Entry::decode(&committed.payload) {
            Ok(entry) => entry,
            Err(error) => {
                let (index, level) = (committed.index, self.view().level());
                stop(&format!(
                    "entry {index}: {error} (the cluster was at level {level}, this build knows {})",
                    self.level
                ))
            }
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
        let needs = entry.level();
        if needs > self.level {
            stop(&format!("entry {}: {}", committed.index, beyond(needs, self.level)));
        }
        let _span = super::telemetry::fold_span(&entry, committed.index).entered();
        let mut working = self.working.lock();
        let chain = working.state.next_chain(&committed.payload);
        let folded = match self.foreseen(&chain) {
            Some(foreseen) => working.state.adopt(&entry, chain, foreseen),
            None => working.state.fold_to(&entry, chain),
        };
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kontiki_actors::{Change, Input, Kind, Turned};
    use kontiki_api::feed::FeedLimits;

    use super::*;

    fn replica(level: u32) -> Arc<Replica> {
        Replica::of_level(level, Arc::new(Feed::new(0, FeedLimits { events: 10, bytes: 1 << 20 })))
    }

    fn record(table: Table, key: impl Into<Vec<u8>>, value: Vec<u8>) -> Result<Record, StoreError> {
        Ok(Record { table, key: key.into(), value })
    }

    fn load(replica: &Replica, records: Vec<Result<Record, StoreError>>) -> Result<(), FoldError> {
        replica.load(&mut records.into_iter())
    }

    fn stored(kind: Kind) -> Result<Record, StoreError> {
        let object = StoredObject { revision: 3, document: Document::default() };
        record(OBJECTS, ObjectKey::new(kind, "", "x").to_bytes(), codec::encode(&object).unwrap())
    }

    fn level(level: u32) -> Result<Record, StoreError> {
        record(POSITION, LEVEL_KEY, level.to_be_bytes().to_vec())
    }

    #[test]
    fn a_state_without_a_level_is_of_the_first() {
        let replica = replica(LEVEL);
        load(&replica, vec![stored(Kind::NODE)]).unwrap();
        assert_eq!((replica.view().level(), replica.view().len()), (FIRST, 1));
    }

    #[test]
    fn a_level_comes_back_and_one_that_is_too_high_is_named_before_what_it_brought() {
        let replica = replica(LEVEL);
        load(&replica, vec![level(LEVEL), stored(Kind::FLOW_SCHEMA)]).unwrap();
        assert_eq!(replica.view().level(), LEVEL);
        // As the next build writes it: a kind that nobody knows here comes first.
        let unknown = record(OBJECTS, [0xf0, 0x00, 0x01], vec![1, 2, 3]);
        let Err(FoldError::Newer(said)) = load(&replica, vec![unknown.clone(), level(LEVEL + 1)]) else {
            panic!("it is not loaded");
        };
        assert_eq!(
            said,
            format!("the cluster is at level {}, and this build knows level {LEVEL}", LEVEL + 1)
        );
        assert!(matches!(load(&replica, vec![unknown, level(LEVEL)]), Err(FoldError::Records(_))));
        assert_eq!(replica.view().level(), LEVEL, "what it holds stays");
    }

    #[test]
    fn a_raise_is_stored_with_its_entry() {
        let replica = replica(LEVEL);
        let turned = Turned {
            request: None,
            now_ms: 0,
            seed: 0,
            input: Input::Raise { level: LEVEL, objects: Vec::new() },
            changes: vec![Change::Level(LEVEL)],
            outcome: Outcome::Done,
            trace: None,
        };
        let payload = Entry { term: 4, turns: vec![turned] }.encode().unwrap().into();
        let entry = |term| CommittedEntry { term, index: 9, payload: bytes::Bytes::clone(&payload) };
        let mut writes = Writes::default();
        replica.fold(&entry(5), &mut writes);
        assert!(!format!("{writes:?}").contains(&format!("{LEVEL_KEY:?}")), "decided in another term");
        replica.fold(&entry(4), &mut writes);
        replica.folded(LogPosition { term: 4, index: 9 });
        assert_eq!(replica.view().level(), LEVEL);
        assert!(format!("{writes:?}").contains(&format!("{LEVEL_KEY:?}")), "{writes:?}");
    }

    fn put(name: &str) -> Change {
        Change::Put {
            key: ObjectKey::new(Kind::CONFIG_MAP, "default", name),
            metadata: Some("{}".into()),
            spec: None,
            status: None,
            rest: None,
        }
    }

    /// An entry of term 4 that puts an object, at this place of the log, and what is foreseen of it.
    fn decided(state: &State, index: u64, name: &str) -> (CommittedEntry, Foreseen) {
        let turned = Turned {
            request: None,
            now_ms: 0,
            seed: index,
            input: Input::Wake(Vec::new()),
            changes: vec![put(name)],
            outcome: Outcome::Done,
            trace: None,
        };
        let mut state = state.clone();
        let events = turned.changes.iter().filter_map(|change| state.apply(change)).collect();
        let payload: bytes::Bytes = Entry { term: 4, turns: vec![turned] }.encode().unwrap().into();
        state.advance(&payload);
        (CommittedEntry { term: 4, index, payload }, Foreseen { state, events, forgotten: Vec::new() })
    }

    fn commit(replica: &Replica, entry: &CommittedEntry) -> Arc<State> {
        replica.fold(entry, &mut Writes::default());
        replica.folded(LogPosition { term: 4, index: entry.index });
        replica.view()
    }

    fn object(state: &State, name: &str) -> Arc<Object> {
        state.get(&ObjectKey::new(Kind::CONFIG_MAP, "default", name)).unwrap().clone()
    }

    #[test]
    fn what_comes_as_it_was_foreseen_is_held_once() {
        let replica = replica(LEVEL);
        let (first, foreseen_first) = decided(&replica.view(), 1, "a");
        let (second, foreseen_second) = decided(&foreseen_first.state, 2, "b");
        let staged = foreseen_second.state.clone();
        replica.foresee(foreseen_first);
        replica.foresee(foreseen_second);
        commit(&replica, &first);
        let view = commit(&replica, &second);
        for name in ["a", "b"] {
            assert!(Arc::ptr_eq(&object(&view, name), &object(&staged, name)), "{name}");
        }
        assert_eq!(view.chain(), staged.chain());
    }

    #[test]
    fn what_was_foreseen_on_another_history_does_not_come() {
        let replica = replica(LEVEL);
        let (first, foreseen) = decided(&replica.view(), 1, "a");
        let (second, foreseen_second) = decided(&foreseen.state, 2, "b");
        let staged = foreseen_second.state.clone();
        replica.foresee(foreseen);
        replica.foresee(foreseen_second);
        // Another leader's entry comes first.
        let (other, _) = decided(&replica.view(), 1, "other");
        let view = commit(&replica, &other);
        assert_eq!(object(&view, "other").revision, 1);
        for entry in [first, second] {
            commit(&replica, &entry);
        }
        let view = replica.view();
        assert_eq!(["a", "b"].map(|name| object(&view, name).revision), [2, 3]);
        assert!(!Arc::ptr_eq(&object(&view, "b"), &object(&staged, "b")));
    }

    #[test]
    fn what_is_forgotten_is_folded() {
        let replica = replica(LEVEL);
        let (first, foreseen) = decided(&replica.view(), 1, "a");
        let staged = foreseen.state.clone();
        replica.foresee(foreseen);
        replica.forget();
        let view = commit(&replica, &first);
        assert!(!Arc::ptr_eq(&object(&view, "a"), &object(&staged, "a")));
        assert_eq!(view.chain(), staged.chain());
    }
}
