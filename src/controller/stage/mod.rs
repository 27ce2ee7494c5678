//! The stage: where the leader decides. It runs ahead of the commit index on a state of its own, so that turns pipeline;
//! nothing it decided leaves before its entry is committed and folded. Losing leadership drops the stage; callers whose
//! outcome is unknown are told so.
//!
//! ```text
//!   Submit -> Desk: waiting -> decide -> entry -> Consensus -> settled: answers, in order
//!                     ^                                  \-> failed: begin again from the folded state
//!   clock (wake-ups) -+
//! ```
//!
//! A thin shell: deciding is `kontiki_actors::decide`, agreeing is `kontiki_raft::Node`, the `Desk` between them is a plain
//! struct, and this actor only drives it.

mod clock;
mod consensus;
mod decide;
mod desk;
mod flight;
mod line;
mod placing;
#[cfg(test)]
mod tests;
mod unlogged;

use std::{sync::Arc, time::Duration};

use actix::{Actor, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture, fut::ActorFutureExt};
pub use clock::Nature;
pub(super) use clock::now_ms;
pub(super) use consensus::{Consensus, Live};
use desk::{Desk, Task};
use kontiki_actors::{Input, Outcome, RequestId};
use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::Instant};

use super::crew::Vital;

/// Inputs that may wait in each line. What comes beyond is refused, and says so.
const WAITING_MAX: usize = 16_384;
/// The clock is looked at this often at least: so late is noticed that it has jumped, where nothing happens.
const NAP_MAX: Duration = Duration::from_secs(60);
/// An alarm that rings so much too late is let be.
const LATE: Duration = Duration::from_millis(10);

/// Why the stage gives no outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum StageError {
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
pub(super) type Answer = Result<Outcome, StageError>;

/// Something to decide.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Submit {
    /// What.
    pub input: Input,
    /// The request it belongs to: decided once, however often it comes.
    pub request: Option<RequestId>,
    /// Only the leader of this term may decide it: its caller may have asked another since. None: whoever leads.
    pub term: Option<u64>,
    /// Its W3C trace context.
    pub trace: Option<String>,
    /// Who waits for the outcome.
    pub reply: Option<oneshot::Sender<Answer>>,
}

/// This controller leads from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Enter {
    /// In this term.
    pub term: u64,
    /// What is decided before anything else.
    pub first: Input,
}

/// This controller leads no more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Leave;

/// The actor.
pub(crate) struct Stage {
    desk: Desk,
    alarm: Option<Alarm>,
    _vital: Vital,
}

impl Stage {
    /// A stage that does not lead yet.
    pub(crate) fn new(consensus: Arc<dyn Consensus>, nature: Nature, vital: Vital) -> Stage {
        Stage { desk: Desk::new(consensus, kontiki_actors::decide, nature), alarm: None, _vital: vital }
    }

    /// Decides what waits, sees to what is on its way, and sets the clock.
    fn go_on(&mut self, ctx: &mut Context<Self>) {
        for task in self.desk.pump() {
            match task {
                Task::Settles(id, settled) => {
                    let settled = settled.into_actor(self);
                    ctx.spawn(settled.map(move |result, stage, ctx| {
                        stage.desk.settled(id, result);
                        stage.go_on(ctx);
                    }));
                }
                Task::CatchesUp(term, caught_up) => {
                    let caught_up = caught_up.into_actor(self);
                    ctx.spawn(caught_up.map(move |done, stage, ctx| {
                        stage.desk.caught_up(term, done);
                        stage.go_on(ctx);
                    }));
                }
            }
        }
        self.set_alarm(ctx);
    }

    fn set_alarm(&mut self, ctx: &mut Context<Self>) {
        let (next, now) = (self.desk.next_ring(), Instant::now());
        match (next, &self.alarm) {
            (Some((at, delay)), Some(alarm)) if alarm.stands(at, now + delay.min(NAP_MAX)) => {}
            (next, _) => {
                if let Some(alarm) = self.alarm.take() {
                    ctx.cancel_future(alarm.handle);
                }
                if let Some((at, delay)) = next {
                    let delay = delay.min(NAP_MAX);
                    let handle = ctx.run_later(delay, |stage, ctx| {
                        stage.alarm = None;
                        stage.desk.ring();
                        stage.go_on(ctx);
                    });
                    self.alarm = Some(Alarm { at, rings: now + delay, handle });
                }
            }
        }
    }
}

/// When the stage looks at what is due.
struct Alarm {
    /// The wake-up that it is for, by the stage's clock.
    at: i64,
    /// When that is, as it was seen when the alarm was set.
    rings: Instant,
    handle: SpawnHandle,
}

impl Alarm {
    /// Whether it will do for a wake-up that is to come by then. It would be late when the clock has jumped forward since it was set, and
    /// everything that is due after it would be late with it.
    fn stands(&self, at: i64, by: Instant) -> bool {
        self.at == at && self.rings <= by + LATE
    }
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
        self.desk.submit(submit);
        self.go_on(ctx);
    }
}

impl Handler<Enter> for Stage {
    type Result = ();

    fn handle(&mut self, enter: Enter, ctx: &mut Context<Self>) {
        self.desk.enter(enter.term, enter.first);
        self.go_on(ctx);
    }
}

impl Handler<Leave> for Stage {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        self.desk.leave();
        self.go_on(ctx);
    }
}
