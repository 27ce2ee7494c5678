//! The leader's desk: what waits, the state that is decided on ahead of the log, and what is on its way. A model of
//! `src/controller/stage/`, with the real turn in it.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use kontiki_actors::{
    Context, Entry, Input, Outcome, RequestId, State, Turned, decide, scheduling::SchedulingQueue,
};

use crate::{
    assertions,
    raft::NEVER,
    time::{MICRO, MS},
    world::{Happening, World},
};

/// Entries that may be on their way at once.
const IN_FLIGHT_MAX: usize = 8;
/// Turns in one entry.
const TURNS_MAX: usize = 256;
/// Bytes of changes after which an entry is closed.
const ENTRY_BYTES: usize = 1 << 20;
/// With so many bytes in an entry, the pods that its turns leave to be placed are left to the next one.
const PLACING_BYTES: usize = ENTRY_BYTES / 2;
/// Reports of workers that are merged into one turn.
const REPORTS_MAX: usize = 512;
/// Wake-ups in one turn.
const WAKES_MAX: usize = 256;
/// Inputs that may wait.
const WAITING_MAX: usize = 16_384;
/// The clock is looked at this often at least, in milliseconds.
const NAP_MAX_MS: u64 = 60_000;
/// An alarm that rings so much too late is let be.
const LATE: u64 = 10 * MS;

/// Who waits for an outcome.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A client's call, through this controller.
    Op { via: usize, op: u64, submission: u32 },
    /// A worker's report.
    Report { session: u64, serial: u64 },
    /// A worker's session that begins.
    Hello { session: u64 },
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoOutcome {
    /// Nothing happened.
    NotLeader,
    /// It may be done or not.
    Unknown,
    /// Nothing happened, and it would not if it were tried again at once.
    Overloaded,
    /// An actor failed.
    Defect,
}

struct Waiting {
    input: Input,
    request: Option<RequestId>,
    replies: Vec<Reply>,
}

impl Waiting {
    /// What nobody asked for.
    fn unasked(input: Input) -> Waiting {
        Waiting { input, request: None, replies: Vec::new() }
    }
}

struct Flight {
    id: u64,
    /// Where the entry is in the log; none for what changed nothing.
    at: Option<u64>,
    done: bool,
    replies: Vec<(Reply, Outcome)>,
    /// The state after it, as it was decided on, and the entry: to be compared with what is folded.
    decided: Option<(State, Arc<Entry>)>,
}

/// The desk of one reign.
pub(crate) struct Desk {
    state: State,
    waiting: VecDeque<Waiting>,
    /// Pods that are to be placed.
    queue: SchedulingQueue,
    flights: VecDeque<Flight>,
    next: u64,
    pumping: bool,
    ringing: bool,
    /// The wake-up that is to come next, and when it is looked at.
    alarm: Option<(i64, u64)>,
}

impl Desk {
    /// A desk that begins with this state.
    pub(crate) fn new(state: State) -> Desk {
        Desk {
            state,
            waiting: VecDeque::new(),
            queue: SchedulingQueue::of_all(),
            flights: VecDeque::new(),
            next: 0,
            pumping: false,
            ringing: false,
            alarm: None,
        }
    }

    /// Whether there is something to decide.
    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || !self.queue.is_empty()
    }

    /// How much waits.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Everybody who waits for something, with whether it may be done.
    pub(crate) fn close(&mut self) -> Vec<(Reply, NoOutcome)> {
        let flights = self.flights.drain(..).flat_map(|flight| {
            let why = if flight.at.is_some() { NoOutcome::Unknown } else { NoOutcome::NotLeader };
            flight.replies.into_iter().map(move |(reply, _)| (reply, why))
        });
        let waiting = self.waiting.drain(..).flat_map(|waiting| waiting.replies);
        flights.chain(waiting.map(|reply| (reply, NoOutcome::NotLeader))).collect()
    }
}

impl World {
    /// Hands something to a controller's stage.
    pub(crate) fn submit(
        &mut self,
        at: usize,
        input: Input,
        request: Option<RequestId>,
        reply: Option<Reply>,
    ) {
        let full = match &mut self.controllers[at].lead {
            None => Some(NoOutcome::NotLeader),
            Some(lead) if lead.desk.waiting() >= WAITING_MAX => Some(NoOutcome::Overloaded),
            Some(lead) => {
                let replies = reply.clone().into_iter().collect();
                lead.desk.waiting.push_back(Waiting { input, request, replies });
                None
            }
        };
        match (full, reply) {
            (Some(why), Some(reply)) => self.reply(at, reply, Err(why)),
            (Some(_), None) => {}
            (None, _) => self.pump_soon(at),
        }
    }

    fn pump_soon(&mut self, at: usize) {
        let delay = self.rng.below(200 * MICRO);
        if let Some(lead) = self.controllers[at].lead.as_mut().filter(|lead| !lead.desk.pumping) {
            lead.desk.pumping = true;
            let term = lead.term;
            self.after(delay, Happening::Pump { at, term });
        }
    }

    /// Decides what waits, as far as entries may be on their way.
    pub(crate) fn pump(&mut self, at: usize, term: u64) {
        let Some(lead) = self.controllers[at].lead.as_mut().filter(|lead| lead.term == term) else { return };
        lead.desk.pumping = false;
        while let Some(lead) = self.controllers[at].lead.as_ref().filter(|lead| lead.term == term)
            && lead.desk.flights.len() < IN_FLIGHT_MAX
            && lead.desk.has_work()
        {
            let Some((entry, replies)) = self.decide_entry(at) else { break };
            self.launch(at, entry, replies);
        }
        self.set_alarm(at);
    }

    fn decide_entry(&mut self, at: usize) -> Option<(Entry, Vec<(Reply, Outcome)>)> {
        let now_ms = self.controllers[at].clock.read(self.now);
        let checked = self.options.checks_now(&mut self.rng);
        let lead = self.controllers[at].lead.as_mut()?;
        let desk = &mut lead.desk;
        let mut entry = Entry { term: lead.term, turns: Vec::new() };
        let (mut replies, mut bytes) = (Vec::new(), 0);
        let mut refused = Vec::new();
        // First whom the entry before had no room for, then what waits, then whom that leaves to be placed.
        let mut put_off = desk.queue.next(&desk.state).map(Waiting::unasked);
        let mut placing = false;
        loop {
            let full = entry.turns.len() >= TURNS_MAX || bytes >= ENTRY_BYTES;
            let mut next = put_off.take();
            if next.is_none() && !full && !placing {
                next = desk.waiting.pop_front();
            }
            if next.is_none() && bytes < PLACING_BYTES && !placing {
                placing = true;
                next = desk.queue.next(&desk.state).map(Waiting::unasked);
            }
            let Some(mut next) = next else { break };
            merge_reports(&mut next, &mut desk.waiting);
            if let Input::Wake(_) = next.input {
                desk.ringing = false;
            }
            if let Some(outcome) = next.request.as_ref().and_then(|request| desk.state.answered(request)) {
                self.notes.reached("retry-answered-from-memory");
                replies.extend(next.replies.into_iter().map(|reply| (reply, outcome.clone())));
                continue;
            }
            let seed = self.rng.next();
            let context = Context::new(now_ms, seed);
            let decide = || decide(&desk.state, &next.input, context.clone());
            let decision = match assertions::no_panic(decide) {
                Ok(decision) => decision,
                Err(words) => {
                    self.notes.broken(
                        self.now,
                        "B5",
                        format!("an actor panics on {:?}: {words}", next.input),
                    );
                    refused.extend(next.replies);
                    continue;
                }
            };
            self.notes.turns += 1;
            desk.queue.add(&decision.state, &decision.to_place);
            if checked && let Some(words) = assertions::same(&decision, &decide()) {
                self.notes.broken(self.now, "B1", words);
            }
            if !decision.changes.is_empty() {
                let turned = Turned {
                    request: next.request.clone(),
                    now_ms,
                    seed,
                    input: next.input.abridged(),
                    outcome: decision.outcome.abridged(),
                    changes: decision.changes,
                    trace: None,
                };
                bytes += turned.changes.iter().map(|change| change.weight()).sum::<usize>();
                desk.state = decision.state;
                if let Some(request) = &next.request {
                    desk.state.remember(request, &decision.outcome);
                }
                entry.turns.push(turned);
            }
            replies.extend(next.replies.into_iter().map(|reply| (reply, decision.outcome.clone())));
        }
        for reply in refused {
            self.reply(at, reply, Err(NoOutcome::Defect));
        }
        Some((entry, replies))
    }

    fn launch(&mut self, at: usize, entry: Entry, replies: Vec<(Reply, Outcome)>) {
        let term = entry.term;
        if entry.turns.is_empty() {
            if replies.is_empty() {
                return;
            }
            // Nothing changed: that holds if this controller leads still and all before it comes true.
            let Some(lead) = &mut self.controllers[at].lead else { return };
            let id = lead.desk.add(None, replies, None);
            let delay = self.rng.between(200 * MICRO, 900 * MICRO);
            self.after(delay, Happening::Confirmed { at, term, flight: id });
            return;
        }
        let Ok(bytes) = entry.encode().map(Bytes::from) else {
            self.notes.broken(self.now, "B5", "an entry cannot be encoded".into());
            return;
        };
        let entry = Arc::new(entry);
        let Some(lead) = &mut self.controllers[at].lead else { return };
        let decided = (lead.desk.state.clone(), entry.clone());
        let id = lead.desk.add(Some(NEVER), replies, Some(decided));
        // What is folded is what was written, not what was meant.
        let written = match Entry::decode(&bytes) {
            Ok(written) => Arc::new(written),
            Err(error) => {
                self.notes.broken(self.now, "B5", format!("an entry cannot be decoded: {error}"));
                return;
            }
        };
        let position = self.propose(at, term, Some(written), bytes);
        let lead = self.controllers[at].lead.as_mut();
        if let Some(flight) = lead.and_then(|l| l.desk.flights.iter_mut().find(|flight| flight.id == id)) {
            flight.at = Some(position);
        }
    }

    pub(crate) fn confirmed(&mut self, at: usize, term: u64, flight: u64) {
        if !self.controllers[at].leads(term) {
            return;
        }
        if !self.confirms(at, term) {
            return self.after(100 * MS, Happening::Confirmed { at, term, flight });
        }
        let lead = self.controllers[at].lead.as_mut();
        if let Some(found) = lead.and_then(|l| l.desk.flights.iter_mut().find(|f| f.id == flight)) {
            found.done = true;
        }
        self.settle_flights(at);
    }

    /// Gives the answers that are due, in order.
    pub(crate) fn settle_flights(&mut self, at: usize) {
        let folded = self.controllers[at].replica.index;
        loop {
            let Some(lead) = &mut self.controllers[at].lead else { return };
            let due = |flight: &Flight| flight.done || flight.at.is_some_and(|at| at <= folded);
            if !lead.desk.flights.front().is_some_and(due) {
                break;
            }
            let Some(flight) = lead.desk.flights.pop_front() else { break };
            for (reply, outcome) in flight.replies {
                self.reply(at, reply, Ok(outcome));
            }
        }
        if self.controllers[at].lead.as_ref().is_some_and(|lead| lead.desk.has_work()) {
            self.pump_soon(at);
        }
    }

    /// What was decided at this place of the log, if it was decided by this desk.
    pub(crate) fn decided_at(&self, at: usize, index: u64) -> Option<(&State, &Arc<Entry>)> {
        let flights = &self.controllers[at].lead.as_ref()?.desk.flights;
        let flight = flights.iter().find(|flight| flight.at == Some(index))?;
        flight.decided.as_ref().map(|(state, entry)| (state, entry))
    }

    fn set_alarm(&mut self, at: usize) {
        let controller = &mut self.controllers[at];
        let Some(lead) = &mut controller.lead else { return };
        let next = lead.desk.state.next_wake_ms().filter(|_| !lead.desk.ringing);
        let Some(wake) = next else {
            lead.desk.alarm = None;
            return;
        };
        let delay = u64::try_from(wake - controller.clock.read(self.now)).unwrap_or(0);
        let rings = self.now + delay.min(NAP_MAX_MS) * MS;
        // The clock may have jumped since it was set.
        if lead.desk.alarm.is_some_and(|(set, due)| set == wake && due <= rings + LATE) {
            return;
        }
        lead.desk.alarm = Some((wake, rings));
        let term = lead.term;
        self.after(rings - self.now, Happening::Ring { at, term, alarm: (wake, rings) });
    }

    pub(crate) fn ring(&mut self, at: usize, term: u64, alarm: (i64, u64)) {
        let now_ms = self.controllers[at].clock.read(self.now);
        let Some(lead) = self.controllers[at].lead.as_mut().filter(|lead| lead.term == term) else { return };
        if lead.desk.alarm != Some(alarm) {
            return;
        }
        lead.desk.alarm = None;
        let due = lead.desk.state.due(now_ms, WAKES_MAX);
        if !due.is_empty() && !lead.desk.ringing {
            lead.desk.ringing = true;
            lead.desk.waiting.push_back(Waiting::unasked(Input::Wake(due)));
            self.pump_soon(at);
        } else {
            self.set_alarm(at);
        }
    }

    /// The entry that a controller decided in the moment in which it lost its leadership, and nobody took.
    pub(crate) fn decide_late(&mut self, at: usize) {
        let waits = self.controllers[at].lead.as_ref().is_some_and(|lead| lead.desk.has_work());
        if waits && let Some((entry, replies)) = self.decide_entry(at) {
            if !entry.turns.is_empty() {
                self.controllers[at].late = entry.encode().ok().map(Bytes::from);
            }
            for (reply, _) in replies {
                self.reply(at, reply, Err(NoOutcome::Unknown));
            }
        }
    }
}

impl Desk {
    fn add(
        &mut self,
        at: Option<u64>,
        replies: Vec<(Reply, Outcome)>,
        decided: Option<(State, Arc<Entry>)>,
    ) -> u64 {
        let id = self.next;
        self.next += 1;
        self.flights.push_back(Flight { id, at, done: false, replies, decided });
        id
    }
}

/// Reports that wait one after another are one turn.
fn merge_reports(next: &mut Waiting, waiting: &mut VecDeque<Waiting>) {
    let Input::Reports(reports) = &mut next.input else { return };
    while reports.len() < REPORTS_MAX {
        let Some(Waiting { input: Input::Reports(_), .. }) = waiting.front() else { return };
        let Some(Waiting { input: Input::Reports(more), replies, .. }) = waiting.pop_front() else { return };
        reports.extend(more);
        next.replies.extend(replies);
    }
}
