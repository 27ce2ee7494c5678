//! The stage: where the leader decides. It runs ahead of the commit index on a state of its own, so that turns pipeline;
//! nothing it decided leaves before its entry is committed and folded. Losing leadership drops the stage; callers whose
//! outcome is unknown are told so.
//!
//! A thin shell: deciding is `kontiki_actors::decide`, agreeing is `kontiki_raft::Node::propose`.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture, fut::ActorFutureExt};
use kontiki_actors::{Entry, Input, Outcome, RequestId, State, Turned, decide};
use kontiki_raft::{Node, ProposeError};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tracing::Instrument;

use super::{replica::Replica, telemetry};

/// Entries that may be on their way at once.
const IN_FLIGHT_MAX: usize = 8;
/// Turns in one entry.
const TURNS_MAX: usize = 256;
/// Bytes of changes after which an entry is closed.
const ENTRY_BYTES: usize = 1 << 20;
/// Time after which an entry is closed, so that the first of its callers does not wait for the last.
const ENTRY_TIME: Duration = Duration::from_millis(5);
/// Inputs that may wait. What comes beyond is refused, and says so.
const WAITING_MAX: usize = 16_384;
/// Reports of workers that are merged into one turn.
const REPORTS_MAX: usize = 512;
/// Wake-ups in one turn.
const WAKES_MAX: usize = 256;

/// Why the stage gives no outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StageError {
    /// This controller does not lead. Nothing happened.
    #[error("this controller does not lead")]
    NotLeader,
    /// Leadership was lost on the way: it may be done or not.
    #[error("leadership was lost before the outcome was known")]
    Unknown,
    /// Too much is waiting. Nothing happened.
    #[error("the leader has {WAITING_MAX} requests waiting and takes no more now")]
    Overloaded,
    /// No space for another entry. Nothing happened.
    #[error("the leader's disk is full: {0}")]
    StorageFull(String),
    /// The turn's entry is larger than the log takes. Nothing happened.
    #[error("the change is too large: {0}")]
    TooLarge(String),
    /// A defect. Nothing happened.
    #[error("an actor failed on this input: {0}")]
    Defect(String),
}

/// What a caller gets.
pub type Answer = Result<Outcome, StageError>;

/// Something to decide.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Submit {
    /// What.
    pub input: Input,
    /// The request it belongs to: decided once, however often it comes.
    pub request: Option<RequestId>,
    /// Its W3C trace context.
    pub trace: Option<String>,
    /// Who waits for the outcome.
    pub reply: Option<oneshot::Sender<Answer>>,
}

/// This controller leads from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Enter {
    /// In this term.
    pub term: u64,
}

/// This controller leads no more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Leave;

/// The actor.
pub struct Stage {
    node: Node,
    replica: Arc<Replica>,
    runtime: tokio::runtime::Handle,
    leading: Option<Leading>,
    waiting: VecDeque<Submit>,
    flights: VecDeque<Flight>,
    next_flight: u64,
    clock: Option<(i64, SpawnHandle)>,
}

struct Leading {
    term: u64,
    state: State,
    /// A proposal failed: the state is ahead of what will ever be committed.
    broken: bool,
}

struct Flight {
    id: u64,
    term: u64,
    replies: Vec<(oneshot::Sender<Answer>, Outcome)>,
}

impl Stage {
    /// A stage that does not lead yet.
    pub fn new(node: Node, replica: Arc<Replica>, runtime: tokio::runtime::Handle) -> Stage {
        Stage {
            node,
            replica,
            runtime,
            leading: None,
            waiting: VecDeque::new(),
            flights: VecDeque::new(),
            next_flight: 0,
            clock: None,
        }
    }

    /// Decides what waits, as far as entries may be on their way.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        while self.flights.len() < IN_FLIGHT_MAX && !self.waiting.is_empty() {
            let Some(leading) = self.leading.as_mut().filter(|l| !l.broken) else { break };
            let mut entry = Entry { term: leading.term, turns: Vec::new() };
            let mut replies = Vec::new();
            let (started, mut bytes) = (Instant::now(), 0);
            while let Some(mut next) = self.waiting.pop_front() {
                let mut senders: Vec<_> = next.reply.take().into_iter().collect();
                merge_reports(&mut next.input, &mut senders, &mut self.waiting);
                match decide_one(leading, &next) {
                    Ok((turned, outcome)) => {
                        if let Some(turned) = turned {
                            bytes += turned.changes.iter().map(|c| c.weight()).sum::<usize>();
                            entry.turns.push(turned);
                        }
                        replies.extend(senders.into_iter().map(|sender| (sender, outcome.clone())));
                    }
                    Err(error) => reply_all(senders, &error),
                }
                if entry.turns.len() >= TURNS_MAX || bytes >= ENTRY_BYTES || started.elapsed() >= ENTRY_TIME {
                    break;
                }
            }
            if entry.turns.is_empty() {
                self.confirm(replies, ctx);
            } else {
                self.propose(&entry, replies, ctx);
            }
        }
        self.arm(ctx);
    }

    /// Answers that changed nothing: they hold what is on its way before them, and that this controller still leads.
    fn confirm(&mut self, replies: Vec<(oneshot::Sender<Answer>, Outcome)>, _ctx: &mut Context<Self>) {
        if replies.is_empty() {
            return;
        }
        if let Some(last) = self.flights.back_mut() {
            last.replies.extend(replies);
            return;
        }
        let node = self.node.clone();
        self.runtime.spawn(async move {
            let confirmed = node.read_index().await;
            for (sender, outcome) in replies {
                let answer = if confirmed.is_ok() { Ok(outcome) } else { Err(StageError::NotLeader) };
                let _ = sender.send(answer);
            }
        });
    }

    fn propose(&mut self, entry: &Entry, replies: Vec<(oneshot::Sender<Answer>, Outcome)>, ctx: &mut Context<Self>) {
        let id = self.next_flight;
        self.next_flight += 1;
        self.flights.push_back(Flight { id, term: entry.term, replies });
        let bytes = match entry.encode() {
            Ok(bytes) => bytes,
            Err(error) => {
                tracing::error!(%error, "an entry cannot be encoded");
                let too_large = ProposeError::TooLarge { bytes: usize::MAX, limit: kontiki_actors::codec::LIMIT };
                self.settled(id, Err(too_large), ctx);
                return;
            }
        };
        let span = telemetry::propose_span(entry);
        let proposal = self.node.propose(bytes.into(), entry.term);
        let settled = async move { proposal.await }.instrument(span).into_actor(self);
        ctx.spawn(settled.map(move |result, stage, ctx| stage.settled(id, result.map(|_| ()), ctx)));
    }

    /// An entry is committed and folded, or will not be.
    fn settled(&mut self, id: u64, result: Result<(), ProposeError>, ctx: &mut Context<Self>) {
        let Some(at) = self.flights.iter().position(|f| f.id == id) else { return };
        let Some(flight) = self.flights.remove(at) else { return };
        match result {
            Ok(()) => {
                for (sender, outcome) in flight.replies {
                    let _ = sender.send(Ok(outcome));
                }
            }
            Err(error) => {
                let told = stage_error(&error);
                tracing::warn!(%error, "an entry was not committed");
                for (sender, _) in flight.replies {
                    let _ = sender.send(Err(told.clone()));
                }
                if let Some(leading) = self.leading.as_mut().filter(|l| l.term == flight.term) {
                    leading.broken = true;
                }
            }
        }
        if self.flights.is_empty() && self.leading.as_ref().is_some_and(|l| l.broken) {
            self.rebuild(ctx);
        }
        self.pump(ctx);
    }

    /// After a failed proposal the state that was decided on is not the one that is committed: begin again from that.
    fn rebuild(&mut self, ctx: &mut Context<Self>) {
        let leadership = self.node.leadership().borrow().clone();
        self.leading = None;
        if leadership.leading {
            let node = self.node.clone();
            let caught_up = async move {
                let index = node.read_index().await.ok()?;
                node.wait_applied(index, Duration::from_secs(5)).await.ok()
            };
            let term = leadership.term;
            ctx.spawn(caught_up.into_actor(self).map(move |done, stage, ctx| {
                if done.is_some() && stage.leading.is_none() {
                    stage.enter(term, ctx);
                } else {
                    stage.refuse_waiting();
                }
            }));
        } else {
            self.refuse_waiting();
        }
    }

    fn enter(&mut self, term: u64, ctx: &mut Context<Self>) {
        let state = State::clone(&self.replica.view());
        tracing::info!(term, revision = state.revision(), "this controller leads");
        self.leading = Some(Leading { term, state, broken: false });
        self.pump(ctx);
    }

    fn refuse_waiting(&mut self) {
        for submit in self.waiting.drain(..) {
            if let Some(sender) = submit.reply {
                let _ = sender.send(Err(StageError::NotLeader));
            }
        }
    }

    /// Sets the clock to the next wake-up of the state.
    fn arm(&mut self, ctx: &mut Context<Self>) {
        let next = self.leading.as_ref().filter(|l| !l.broken).and_then(|l| l.state.next_wake_ms());
        match (next, &self.clock) {
            (Some(at), Some((set, _))) if at == *set => {}
            (next, _) => {
                if let Some((_, handle)) = self.clock.take() {
                    ctx.cancel_future(handle);
                }
                if let Some(at) = next {
                    let delay = u64::try_from(at - now_ms()).unwrap_or(0);
                    let handle = ctx.run_later(Duration::from_millis(delay), |stage, ctx| stage.ring(ctx));
                    self.clock = Some((at, handle));
                }
            }
        }
    }

    /// Wake-ups are due.
    fn ring(&mut self, ctx: &mut Context<Self>) {
        self.clock = None;
        if let Some(leading) = &self.leading {
            let due = leading.state.due(now_ms(), WAKES_MAX);
            if !due.is_empty() {
                self.waiting.push_back(Submit { input: Input::Wake(due), request: None, trace: None, reply: None });
            }
        }
        self.pump(ctx);
    }
}

/// Decides one input on the stage's state. A defect in an actor costs that input, not the stage: the state is untouched.
fn decide_one(leading: &mut Leading, submit: &Submit) -> Result<(Option<Turned>, Outcome), StageError> {
    if let Some(request) = &submit.request
        && let Some(outcome) = leading.state.answered(request)
    {
        return Ok((None, outcome.clone()));
    }
    let (now_ms, seed) = (now_ms(), rand::random());
    let context = kontiki_actors::Context::new(now_ms, seed);
    let _span = telemetry::turn_span(submit).entered();
    let decision =
        std::panic::catch_unwind(AssertUnwindSafe(|| decide(&leading.state, &submit.input, context))).map_err(|panic| {
            let what = panic.downcast_ref::<String>().map(String::as_str);
            let what = what.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic").to_string();
            tracing::error!(what, input = ?submit.input, "an actor failed; its input is refused");
            StageError::Defect(what)
        })?;
    if decision.changes.is_empty() {
        return Ok((None, decision.outcome));
    }
    leading.state = decision.state;
    if let Some(request) = &submit.request {
        leading.state.remember(request, &decision.outcome);
    }
    let turned = Turned {
        request: submit.request.clone(),
        now_ms,
        seed,
        input: submit.input.abridged(),
        changes: decision.changes,
        outcome: decision.outcome.abridged(),
        trace: submit.trace.clone(),
    };
    Ok((Some(turned), decision.outcome))
}

/// Reports that wait one after another are one turn: an owner counts once what many of its pods did.
fn merge_reports(input: &mut Input, senders: &mut Vec<oneshot::Sender<Answer>>, waiting: &mut VecDeque<Submit>) {
    let Input::Reports(reports) = input else { return };
    while reports.len() < REPORTS_MAX {
        let Some(Submit { input: Input::Reports(_), .. }) = waiting.front() else { return };
        let Some(Submit { input: Input::Reports(more), reply, .. }) = waiting.pop_front() else { return };
        reports.extend(more);
        senders.extend(reply);
    }
}

fn reply_all(senders: Vec<oneshot::Sender<Answer>>, error: &StageError) {
    for sender in senders {
        let _ = sender.send(Err(error.clone()));
    }
}

fn stage_error(error: &ProposeError) -> StageError {
    match error {
        ProposeError::NotLeader { .. } => StageError::NotLeader,
        ProposeError::Busy => StageError::Overloaded,
        ProposeError::StorageFull => StageError::StorageFull(error.to_string()),
        ProposeError::TooLarge { .. } => StageError::TooLarge(error.to_string()),
        _ => StageError::Unknown,
    }
}

/// The leader's clock: it enters the state only in entries.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl Actor for Stage {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(WAITING_MAX);
    }
}

impl Handler<Submit> for Stage {
    type Result = ();

    fn handle(&mut self, submit: Submit, ctx: &mut Context<Self>) {
        let refused = match &self.leading {
            None => Some(StageError::NotLeader),
            Some(_) if self.waiting.len() >= WAITING_MAX => Some(StageError::Overloaded),
            Some(_) => None,
        };
        match refused {
            Some(error) => reply_all(submit.reply.into_iter().collect(), &error),
            None => {
                self.waiting.push_back(submit);
                self.pump(ctx);
            }
        }
    }
}

impl Handler<Enter> for Stage {
    type Result = ();

    fn handle(&mut self, enter: Enter, ctx: &mut Context<Self>) {
        // Entries of an earlier term that are still on their way settle by themselves; their callers get an answer.
        self.enter(enter.term, ctx);
    }
}

impl Handler<Leave> for Stage {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        if self.leading.take().is_some() {
            tracing::info!("this controller leads no more");
        }
        self.refuse_waiting();
        self.arm(ctx);
    }
}
