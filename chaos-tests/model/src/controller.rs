//! A controller: its replica of the log, and, while it leads, its desk and its sessions.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kontiki_actors::{Entry, Event, Object, Outcome, RequestId, State, codec, state::ANSWERED_LIMIT};
use kontiki_api::feed::{Feed, FeedLimits};

use crate::{desk::Desk, liveness::Liveness, notes, time::Clock};

/// A controller.
pub(crate) struct Controller {
    /// What is folded here.
    pub(crate) replica: Replica,
    /// The watch history.
    pub(crate) feed: Feed,
    /// It leads, as it believes.
    pub(crate) lead: Option<Lead>,
    /// Faults that keep it down.
    pub(crate) down: u32,
    /// Faults that let it stand still.
    pub(crate) paused: u32,
    pub(crate) clock: Clock,
    /// A disk that takes so much longer.
    pub(crate) disk: u64,
    /// Calls that wait for the replica to reach an entry.
    pub(crate) waiters: Vec<(u64, u64)>,
    /// An entry that was decided and handed on when the leadership was lost, and is proposed if it comes back.
    pub(crate) late: Option<Bytes>,
}

/// What a controller holds that believes to lead.
pub(crate) struct Lead {
    pub(crate) term: u64,
    pub(crate) desk: Desk,
    /// The session of each worker.
    pub(crate) sessions: BTreeMap<usize, u64>,
    pub(crate) liveness: Liveness,
    /// Silence is being looked at.
    pub(crate) ticking: bool,
    /// Which of the reigns this is.
    pub(crate) reign: usize,
}

/// A replica of the state.
#[derive(Clone, Default)]
pub(crate) struct Replica {
    pub(crate) state: State,
    /// The last entry in it.
    pub(crate) index: u64,
    answers: VecDeque<(RequestId, Outcome)>,
}

impl Controller {
    pub(crate) fn new(history: u64) -> Controller {
        let limits = FeedLimits { events: history.max(1) as usize, bytes: usize::MAX };
        Controller {
            replica: Replica::default(),
            feed: Feed::new(0, limits),
            lead: None,
            down: 0,
            paused: 0,
            clock: Clock::default(),
            disk: 0,
            waiters: Vec::new(),
            late: None,
        }
    }

    /// Whether it believes to lead in this term.
    pub(crate) fn leads(&self, term: u64) -> bool {
        self.lead.as_ref().is_some_and(|lead| lead.term == term)
    }
}

impl Replica {
    /// Folds the next entry.
    pub(crate) fn fold(&mut self, entry: Option<&Entry>, bytes: &[u8]) -> Vec<Event> {
        self.index += 1;
        let Some(entry) = entry else { return Vec::new() };
        let folded = self.state.fold(entry, bytes);
        self.note_answers(entry);
        folded.events
    }

    /// Takes over what another replica has folded the next entry into.
    pub(crate) fn follow(&mut self, state: State, entry: &Entry) {
        self.index += 1;
        self.state = state;
        self.note_answers(entry);
    }

    fn note_answers(&mut self, entry: &Entry) {
        for turned in &entry.turns {
            if let Some(request) = &turned.request {
                self.answers.push_back((request.clone(), turned.outcome.abridged()));
            }
        }
        let surplus = self.answers.len().saturating_sub(ANSWERED_LIMIT);
        self.answers.drain(..surplus);
    }

    /// What another controller makes of this replica's snapshot, or this one of what is on its disk: the documents, through
    /// the codec, into an empty state. Indexes are not in it.
    pub(crate) fn restored(&self) -> Result<Replica, String> {
        let mut state = State::default();
        for object in self.state.iter() {
            let bytes =
                codec::encode(&(object.revision, &object.document.whole())).map_err(|e| e.to_string())?;
            let (revision, document) = codec::decode(&bytes).map_err(|e| e.to_string())?;
            state.restore(Object::new(object.key.clone(), revision, document));
        }
        for object in self.state.iter() {
            if let Some(at) = self.state.wake_of(&object.key) {
                state.restore_wake(&object.key, at);
            }
        }
        for (request, outcome) in &self.answers {
            state.remember(request, outcome);
        }
        state.restore_position(self.state.revision(), self.state.chain());
        state.restore_level(self.state.level());
        Ok(Replica { state, index: self.index, answers: self.answers.clone() })
    }

    /// Objects, revisions, documents, wake-ups, and what waits for a place.
    pub(crate) fn hash(&self) -> u64 {
        state_hash(&self.state)
    }
}

/// A hash of all that is in a state.
pub(crate) fn state_hash(state: &State) -> u64 {
    let mut hash = notes::mix(u64::from(state.level()), state.revision());
    for object in state.iter() {
        hash = notes::mix_bytes(hash, object.key.name.as_bytes());
        hash = notes::mix_bytes(hash, object.key.namespace.as_bytes());
        hash = notes::mix(hash, u64::from(object.key.kind.code()));
        hash = notes::mix(hash, object.revision);
        let document = &object.document.whole();
        for segment in [&document.metadata, &document.spec, &document.status, &document.rest] {
            hash = notes::mix_bytes(hash, segment);
        }
        hash = notes::mix(hash, state.wake_of(&object.key).unwrap_or(-1) as u64);
    }
    for key in state.unplaced() {
        hash = notes::mix_bytes(hash, key.name.as_bytes());
    }
    hash
}
