//! The desk: what waits, the state that is decided on, and what is on its way. A plain struct without a task of its own.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use kontiki_actors::{
    Change, Entry, Event, Foreseen, Input, RequestId, State, Turned, kinds::autoscaler::Measurement,
};
use kontiki_hooks::{Defect, Mark, planted, reached};
use kontiki_raft::ProposeError;
use tokio::{sync::oneshot, time::Instant};
use tracing::Instrument;

use super::{
    Answer, StageError, Submit,
    clock::{Clock, Nature},
    consensus::{Consensus, Settled},
    decide::{Actors, Case, settle},
    flight::{Flights, Kind, Landing, Replies, Reply, stage_error},
    line::{self, Line, Waiting},
    placing::Placing,
    unlogged::Unlogged,
};
use crate::controller::telemetry;

/// Turns in one entry.
const TURNS_MAX: usize = 256;
/// Bytes of turns after which an entry is closed. A turn that is larger gets an entry of its own.
const ENTRY_BYTES: usize = 1 << 20;
/// With so many bytes in an entry, the pods that its turns leave to be placed are left to the next one.
const PLACING_BYTES: usize = ENTRY_BYTES / 2;
/// Time after which an entry is closed, so that the first of its callers does not wait for the last.
const ENTRY_TIME: Duration = Duration::from_millis(5);
/// Wake-ups in one turn.
const WAKES_MAX: usize = 256;
/// After an entry was refused, wake-ups wait this long.
const REST: Duration = Duration::from_millis(250);

/// What the actor must see to.
pub(super) enum Task {
    /// Something is on its way; [`Desk::settled`] is told how it ended.
    Settles(u64, Settled),
    /// The folded state catches up; [`Desk::caught_up`] is told.
    CatchesUp(u64, BoxFuture<'static, bool>),
}

/// Whether this controller leads, as far as the desk is concerned.
enum Post {
    Idle,
    /// It leads, but the state that it is to begin with is not there yet.
    Entering {
        term: u64,
        asked: bool,
    },
    Leading {
        term: u64,
        state: State,
    },
}

/// One entry in the making.
struct Batch {
    /// The state before it, for the case that it is refused.
    before: State,
    entry: Entry,
    /// What watchers will see of it.
    events: Vec<Event>,
    /// Requests whose answers are forgotten for those in it.
    forgotten: Vec<RequestId>,
    replies: Replies,
}

/// The desk.
pub(super) struct Desk {
    consensus: Arc<dyn Consensus>,
    actors: Actors,
    post: Post,
    first: Option<Input>,
    waiting: Line,
    flights: Flights,
    unlogged: Unlogged,
    /// Pods that are to be placed.
    placing: Placing,
    clock: Clock,
    nature: Nature,
    /// A wake-up waits; no further one is due before that is decided.
    ringing: bool,
    rest_until: Option<Instant>,
}

impl Desk {
    pub(super) fn new(consensus: Arc<dyn Consensus>, actors: Actors, nature: Nature) -> Desk {
        Desk {
            consensus,
            actors,
            post: Post::Idle,
            first: None,
            waiting: Line::default(),
            flights: Flights::default(),
            unlogged: Unlogged::default(),
            placing: Placing::default(),
            clock: Clock::default(),
            nature,
            ringing: false,
            rest_until: None,
        }
    }

    /// Takes something in, or says at once that it does not.
    pub(super) fn submit(&mut self, submit: Submit) {
        let Submit { input, request, term, trace, reply } = submit;
        let refused = match &self.post {
            Post::Idle => Some(StageError::NotLeader),
            Post::Entering { term: own, .. } | Post::Leading { term: own, .. }
                if term.is_some_and(|meant| meant != *own) =>
            {
                Some(StageError::NotLeader)
            }
            _ if !self.waiting.has_room(&input) => Some(StageError::Overloaded),
            _ => None,
        };
        let replies: Vec<_> = reply.into_iter().collect();
        match refused {
            Some(error) => refuse(replies, &error),
            None => self.waiting.push(Waiting { input, request, trace, replies }),
        }
    }

    /// This controller leads. The folded state holds everything that was committed before this term.
    pub(super) fn enter(&mut self, term: u64, first: Input) {
        self.first = Some(first);
        if self.flights.any_of(term) {
            // It led this very term a moment ago: the state that is folded lacks what is still on its way.
            self.post = Post::Entering { term, asked: false };
        } else {
            self.begin(term);
        }
    }

    /// This controller leads no more. What is on its way settles by itself; its callers get an answer.
    pub(super) fn leave(&mut self) {
        if !matches!(self.post, Post::Idle) {
            tracing::info!("this controller leads no more");
        }
        self.post = Post::Idle;
        self.consensus.forget();
        self.refuse_waiting();
    }

    fn begin(&mut self, term: u64) {
        self.consensus.forget();
        let state = self.consensus.view();
        tracing::info!(term, revision = state.revision(), "this controller leads");
        self.flights.begin();
        self.unlogged.begin(term);
        self.rest_until = None;
        // Whom the leader before was about to place, nobody knows.
        self.placing.begin();
        self.post = Post::Leading { term, state };
        if let Some(input) = self.first.clone() {
            self.waiting.push_first(Waiting::unasked(input));
        }
    }

    fn refuse_waiting(&mut self) {
        self.ringing = false;
        for waiting in self.waiting.drain() {
            refuse(waiting.replies, &StageError::NotLeader);
        }
    }

    /// Something that was on its way is committed and folded, or will not be.
    pub(super) fn settled(&mut self, id: u64, result: Result<(), ProposeError>) {
        let Landing { failed, told } = self.flights.settled(id, result);
        told.iter().for_each(|request| self.unlogged.told(request));
        if let Post::Leading { term, .. } = self.post
            && failed == Some(term)
        {
            // What was decided on is not what is committed: begin again from that.
            reached(Mark::StageBeganAgain);
            self.post = Post::Entering { term, asked: false };
        }
    }

    /// The folded state holds everything that is committed, or could not get there.
    pub(super) fn caught_up(&mut self, of: u64, done: bool) {
        match self.post {
            Post::Entering { term, asked: true } if term == of => {
                if done {
                    self.begin(term);
                } else {
                    self.post = Post::Entering { term, asked: false };
                }
            }
            _ => {}
        }
    }

    /// Decides what waits, as far as entries may be on their way.
    pub(super) fn pump(&mut self) -> Vec<Task> {
        let mut tasks = Vec::new();
        if let Post::Entering { term, asked: false } = self.post {
            // Again and again, if need be: only whoever says that the leadership is over knows that it is.
            if !self.flights.any_of(term) {
                self.post = Post::Entering { term, asked: true };
                tasks.push(Task::CatchesUp(term, self.consensus.catch_up(term)));
            }
        }
        while self.flights.have_room(Instant::now())
            && self.has_work()
            && let Some(batch) = self.decide()
        {
            tasks.extend(self.launch(batch));
        }
        tasks
    }

    /// Whether there is something to decide.
    fn has_work(&self) -> bool {
        let now = Instant::now();
        !self.waiting.is_empty() || self.placing_due(now).is_some_and(|due| due <= now)
    }

    /// When pods are to be placed next, if any wait: they do while entries are refused, too.
    fn placing_due(&self, now: Instant) -> Option<Instant> {
        self.placing.due(now).map(|due| self.rest_until.map_or(due, |rest| rest.max(due)))
    }

    /// Decides what waits until an entry is full.
    fn decide(&mut self) -> Option<Batch> {
        let Post::Leading { term, state } = &self.post else { return None };
        let mut batch = Batch {
            before: state.clone(),
            entry: Entry { term: *term, turns: Vec::new() },
            events: Vec::new(),
            forgotten: Vec::new(),
            replies: Vec::new(),
        };
        let started = Instant::now();
        // First whom the entry before had no room for.
        let mut bytes = self.place(&mut batch);
        let Post::Leading { state, .. } = &mut self.post else { return None };
        while bytes < ENTRY_BYTES
            && let Some(next) = self.waiting.next()
        {
            let before = state.clone();
            let _span = telemetry::turn_span(next.trace.as_deref()).entered();
            let case = Case {
                actors: self.actors,
                input: &next.input,
                request: next.request.as_ref(),
                unlogged: &self.unlogged,
                trace: next.trace.as_deref(),
                now_ms: self.clock.read(&self.nature),
                nature: &self.nature,
            };
            match settle(state, &case) {
                Ok(decided) => {
                    let weight: usize = decided.turns.iter().map(weight).sum();
                    if weight > ENTRY_BYTES && !batch.entry.turns.is_empty() {
                        *state = before;
                        self.waiting.push_first(next);
                        break;
                    }
                    bytes += weight;
                    self.placing.add(state, &decided.to_place);
                    let outcome = decided.outcome;
                    // The answer to what is in the log is remembered by the state; a dry run can come again as it likes.
                    let effective = matches!(&next.input, Input::Api(request) if !request.dry_run());
                    let unlogged = next.request.filter(|request| {
                        effective && decided.turns.is_empty() && self.unlogged.note(request, &outcome)
                    });
                    batch.entry.turns.extend(decided.turns);
                    batch.events.extend(decided.events);
                    batch.forgotten.extend(decided.forgotten);
                    batch.replies.extend(next.replies.into_iter().map(|sender| Reply {
                        sender,
                        outcome: outcome.clone(),
                        unlogged: unlogged.clone(),
                    }));
                }
                Err(error) => refuse(next.replies, &error),
            }
            if matches!(next.input, Input::Wake(_)) {
                self.ringing = false;
            }
            if batch.entry.turns.len() >= TURNS_MAX || bytes >= ENTRY_BYTES || started.elapsed() >= ENTRY_TIME
            {
                break;
            }
        }
        if bytes < PLACING_BYTES {
            self.place(&mut batch);
        }
        Some(batch)
    }

    /// Places the next pods that are to be placed, by a turn of the entry. Gives its bytes.
    fn place(&mut self, batch: &mut Batch) -> usize {
        let Post::Leading { state, .. } = &mut self.post else { return 0 };
        let began = Instant::now();
        if self.rest_until.is_some_and(|until| until > began) {
            return 0;
        }
        let Some(input) = self.placing.next(state, began) else { return 0 };
        let case = Case {
            actors: self.actors,
            input: &input,
            request: None,
            unlogged: &self.unlogged,
            trace: None,
            now_ms: self.clock.read(&self.nature),
            nature: &self.nature,
        };
        // Where placing a pod fails, only that pod is left out.
        let decided = settle(state, &case);
        self.placing.took(began.elapsed(), Instant::now());
        let Ok(decided) = decided else { return 0 };
        self.placing.add(state, &decided.to_place);
        let weight = decided.turns.iter().map(weight).sum();
        batch.entry.turns.extend(decided.turns);
        batch.events.extend(decided.events);
        weight
    }

    fn launch(&mut self, batch: Batch) -> Option<Task> {
        let Batch { before, entry, events, forgotten, replies } = batch;
        let term = entry.term;
        if entry.turns.is_empty() {
            // Nothing changed. That holds if everything it was decided on comes true, and this controller leads still.
            if replies.is_empty() {
                return None;
            }
            let id = self.flights.add(term, Kind::Confirmation, replies);
            return Some(Task::Settles(id, self.consensus.confirm(term)));
        }
        let limit = kontiki_actors::codec::LIMIT;
        let proposed = entry
            .encode()
            .map_err(|error| {
                tracing::error!(%error, "an entry cannot be encoded");
                ProposeError::TooLarge { bytes: usize::MAX, limit }
            })
            .and_then(|bytes| {
                let Post::Leading { state, .. } = &mut self.post else {
                    return Err(ProposeError::NotLeader { leader: None });
                };
                state.advance(&bytes);
                self.consensus.propose(bytes, Foreseen { state: state.clone(), events, forgotten }, term)
            });
        match proposed {
            Ok(settled) if planted(Defect::AnswerBeforeCommit) => {
                replies.into_iter().for_each(|reply| drop(reply.sender.send(Ok(reply.outcome))));
                let id = self.flights.add(term, Kind::Entry, Vec::new());
                Some(Task::Settles(id, settled))
            }
            Ok(settled) => {
                let id = self.flights.add(term, Kind::Entry, replies);
                Some(Task::Settles(id, Box::pin(settled.instrument(telemetry::propose_span(&entry)))))
            }
            Err(error) => {
                // Nothing was decided after it, so that the state before it is the right one.
                tracing::warn!(%error, "an entry was refused");
                if let Post::Leading { state, .. } = &mut self.post {
                    *state = before;
                }
                self.consensus.forget();
                self.placing.begin();
                self.rest_until = Some(Instant::now() + REST);
                replies.iter().filter_map(|r| r.unlogged.as_ref()).for_each(|r| self.unlogged.take_back(r));
                refuse(replies.into_iter().map(|reply| reply.sender).collect(), &stage_error(&error));
                None
            }
        }
    }

    /// When the next wake-up is due, by the stage's clock, and how long until then.
    pub(super) fn next_ring(&mut self) -> Option<(i64, Duration)> {
        let Post::Leading { state, .. } = &self.post else { return None };
        let instant = Instant::now();
        let until = |then: Instant| then.saturating_duration_since(instant);
        let rest = self.rest_until.map_or(Duration::ZERO, until);
        let now = self.clock.read(&self.nature);
        let wake = state.next_wake_ms().filter(|_| !self.ringing).map(|at| {
            let delay = u64::try_from(at.saturating_sub(now)).unwrap_or(0);
            (at, Duration::from_millis(delay).max(rest))
        });
        // Pods that rest are no wake-up, but somebody must come back to them.
        let rested =
            self.placing_due(instant).map(until).filter(|delay| !delay.is_zero()).map(|delay| {
                (now.saturating_add(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)), delay)
            });
        wake.into_iter().chain(rested).min_by_key(|(_, delay)| *delay)
    }

    /// Wake-ups are due.
    pub(super) fn ring(&mut self) {
        let Post::Leading { state, .. } = &self.post else { return };
        let due = state.due(self.clock.read(&self.nature), WAKES_MAX);
        if !due.is_empty() && !self.ringing {
            self.ringing = true;
            let input = Input::Wake(due);
            self.waiting.push(Waiting::unasked(input));
        }
    }
}

/// About how many bytes a turn adds to its entry: its changes, and of the rest what workers and users choose.
fn weight(turn: &Turned) -> usize {
    let said = match &turn.input {
        Input::Reports(reports) => line::weight(reports),
        Input::Measured(measurements) => measurements.iter().map(Measurement::weight).sum(),
        _ => 0,
    };
    turn.changes.iter().map(Change::weight).sum::<usize>() + said + turn.trace.as_ref().map_or(0, String::len)
}

fn refuse(replies: Vec<oneshot::Sender<Answer>>, error: &StageError) {
    for sender in replies {
        // Who went away needs no answer.
        let _ = sender.send(Err(error.clone()));
    }
}
