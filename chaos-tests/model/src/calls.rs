//! A call at its controller: the view that it is worked out on, the way to the leader's stage, and the outcome.

use kontiki_actors::{Input, Outcome, Rejection, State};
use kontiki_api::Status;
use kontiki_chaos_plan::history::Answer;

use crate::{
    clients::{AGAIN, Step},
    desk::{NoOutcome, Reply},
    requests::Intent,
    time::MICRO,
    world::{Happening, World},
};

/// How often an update that nobody locked is tried again when others were faster.
const TRIES: u32 = 8;

impl World {
    /// Asks the leader what is committed, for a view that holds all of it.
    pub(crate) fn ask_index(&mut self, op: u64) {
        let Some(doing) = self.clients.calls.get(&op) else { return };
        let via = doing.via;
        let Some((leader, _)) = self.raft.lead.filter(|(leader, term)| self.confirms(*leader, *term)) else {
            return self.ask_index_later(op);
        };
        if leader != via && !(self.net.open(via, leader) && self.net.open(leader, via)) {
            return self.ask_index_later(op);
        }
        let index = self.raft.log.len() as u64;
        let delay = self.rng.between(150 * MICRO, 900 * MICRO);
        self.after(delay, Happening::Op { op, step: Step::Index(index) });
    }

    pub(crate) fn ask_index_later(&mut self, op: u64) {
        let delay = 2 * AGAIN + self.rng.below(AGAIN);
        self.after(delay, Happening::Op { op, step: Step::Arrive });
    }

    /// The replica has moved: whoever waited for that goes on.
    pub(crate) fn wake_waiters(&mut self, at: usize) {
        let index = self.controllers[at].replica.index;
        if self.controllers[at].waiters.is_empty() {
            return;
        }
        let waiters = std::mem::take(&mut self.controllers[at].waiters);
        let (due, rest): (Vec<_>, Vec<_>) = waiters.into_iter().partition(|(wanted, _)| *wanted <= index);
        self.controllers[at].waiters = rest;
        for (_, op) in due {
            self.go_on(op);
        }
    }

    /// The view is there.
    pub(crate) fn go_on(&mut self, op: u64) {
        let Some(doing) = self.clients.calls.get_mut(&op) else { return };
        let via = doing.via;
        let view: &State = &self.controllers[via].replica.state;
        if !doing.intent.writes() {
            if let Intent::ListForWatch { watch } = doing.intent {
                self.clients.calls.remove(&op);
                return self.watch_listed(watch, via);
            }
            let answer = doing.intent.read(view);
            return self.answer(op, answer);
        }
        match doing.intent.request(view) {
            Err(code) => self.answer(op, Answer::Refused { code }),
            Ok(request) => {
                doing.submitted = Some(request);
                self.submit_call(op);
            }
        }
    }

    /// Hands the write to whoever leads, as this controller sees it.
    pub(crate) fn submit_call(&mut self, op: u64) {
        let Some(doing) = self.clients.calls.get_mut(&op) else { return };
        let via = doing.via;
        doing.submission += 1;
        let submission = doing.submission;
        let leader = if self.controllers[via].lead.is_some() {
            Some(via)
        } else {
            let leader = self.raft.lead.map(|(leader, _)| leader);
            leader.filter(|l| self.awake(*l) && self.net.open(via, *l) && self.net.open(*l, via))
        };
        let Some(at) = leader else {
            let delay = AGAIN + self.rng.below(2 * AGAIN);
            return self.after(delay, Happening::Op { op, step: Step::Resubmit(submission) });
        };
        if let Some(doing) = self.clients.calls.get_mut(&op) {
            doing.maybe = true;
        }
        let what = Happening::Submit { at, via, op, submission };
        if at == via { self.after(0, what) } else { self.send(via, at, what) }
    }

    pub(crate) fn op_submitted(&mut self, at: usize, via: usize, op: u64, submission: u32) {
        let Some(doing) = self.clients.calls.get(&op) else { return };
        let Some(request) = doing.submitted.clone().filter(|_| doing.submission == submission) else {
            return;
        };
        if at != via && !self.net.passes(via, at) {
            return;
        }
        let id = doing.request_id();
        let reply = Reply::Op { via, op, submission };
        self.submit(at, Input::Api(request), Some(id.into()), Some(reply));
    }

    /// An outcome goes back to whoever waits for it.
    pub(crate) fn reply(&mut self, at: usize, reply: Reply, outcome: Result<Outcome, NoOutcome>) {
        match reply {
            Reply::Op { via, op, submission } => {
                let what = Happening::Op { op, step: Step::Answered(submission, outcome) };
                if at == via {
                    self.after(0, what);
                } else if self.net.passes(at, via) {
                    self.send(at, via, what);
                }
            }
            Reply::Report { session, serial } => match outcome {
                Ok(_) => self.push_down(session, crate::sessions::Down::ReportAck(serial)),
                Err(_) => self.session_over(session),
            },
            Reply::Hello { session } => match outcome {
                Ok(_) => self.synchronize(session),
                Err(_) => self.session_over(session),
            },
        }
    }

    pub(crate) fn stage_answers(&mut self, op: u64, answer: Result<Outcome, NoOutcome>) {
        let Some(doing) = self.clients.calls.get_mut(&op) else { return };
        let again = doing.attempt + 1 < TRIES && !doing.intent.locked();
        match answer {
            Err(NoOutcome::NotLeader | NoOutcome::Unknown) => {
                let submission = doing.submission;
                self.after(AGAIN, Happening::Op { op, step: Step::Resubmit(submission) });
            }
            Err(NoOutcome::Overloaded) => self.answer(op, Answer::Refused { code: 429 }),
            Err(NoOutcome::Defect) => self.answer(op, Answer::Refused { code: 500 }),
            Ok(Outcome::Rejected(Rejection::Conflict(..))) if again => {
                doing.attempt += 1;
                doing.maybe = false;
                self.ask_index(op);
            }
            Ok(Outcome::Rejected(rejection)) => {
                let code = Status::from(rejection).code;
                self.answer(op, Answer::Refused { code });
            }
            Ok(Outcome::Done) => self.answer(op, Answer::Done { revision: 0 }),
            Ok(Outcome::Object { revision, .. } | Outcome::Deleted { revision, .. }) => {
                self.answer(op, Answer::Done { revision });
            }
        }
    }
}
