//! Clients and their calls: each client does one thing after the other, through a controller's API. The API's own code
//! prepares and checks what is written; the way to the leader and back is modelled after `src/controller/backend.rs`.

use std::collections::{BTreeMap, VecDeque};

use kontiki_actors::{Input, Outcome, Rejection, Request, State};
use kontiki_api::Status;
use kontiki_chaos_plan::{
    history::{Answer, OpRecord},
    names,
    plan::{Client, Op},
};

use crate::{
    desk::{NoOutcome, Reply},
    net::Host,
    requests::Intent,
    time::{MICRO, MS, SECOND},
    watches::Watching,
    world::{Happening, World},
};

/// A write is answered within this time, one way or the other.
const WRITE: u64 = 5 * SECOND;
/// A read gives up after this.
const READ: u64 = 3 * SECOND;
/// The pause before something is tried again.
const AGAIN: u64 = 25 * MS;
/// How often an update that nobody locked is tried again when others were faster.
const TRIES: u32 = 8;

/// All clients.
#[derive(Default)]
pub(crate) struct Clients {
    queues: BTreeMap<Client, VecDeque<(u32, Intent)>>,
    busy: BTreeMap<Client, u64>,
    pub(crate) calls: BTreeMap<u64, Doing>,
    next: u64,
    /// The revision at which a client saw a register last.
    pub(crate) seen: BTreeMap<(Client, u32), u64>,
    /// Templates rolled out so far.
    pub(crate) templates: u64,
    /// Values written so far: each is written once.
    values: u64,
    pub(crate) watches: Vec<Watching>,
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Doing {
    pub(crate) client: Client,
    pub(crate) via: usize,
    /// Where it is written down; watches' lists are not.
    record: Option<usize>,
    pub(crate) intent: Intent,
    id: String,
    attempt: u32,
    submission: u32,
    /// Something was handed to a stage, so it may be done.
    maybe: bool,
    /// Connections that broke on it.
    breaks: u32,
    submitted: Option<Request>,
}

/// How a call goes on.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// It is at its controller.
    Arrive,
    /// The leader has said what is committed.
    Index(u64),
    /// It is handed to the stage again.
    Resubmit(u32),
    /// The stage has answered.
    Answered(u32, Result<Outcome, NoOutcome>),
    /// Its time is over.
    Deadline,
}

impl Clients {
    /// A value that was never written.
    pub(crate) fn value(&mut self, client: Client) -> String {
        self.values += 1;
        format!("c{client}-{}", self.values)
    }
}

impl World {
    /// An operation of the plan: done when the client has done what it did before.
    pub(crate) fn operate(&mut self, client: Client, via: u32, op: &Op) {
        match op {
            Op::Watch { resume_via } => self.watch(client, via, *resume_via, 0),
            Op::WatchSlowly { resume_via, stall_ms } => self.watch(client, via, *resume_via, *stall_ms),
            op => {
                for intent in Intent::of(op, client, &mut self.clients) {
                    self.clients.queues.entry(client).or_default().push_back((via, intent));
                }
                self.next_call(client);
            }
        }
    }

    /// Puts something in front of what a client does next.
    fn do_next(&mut self, client: Client, via: u32, intent: Intent) {
        self.clients.queues.entry(client).or_default().push_front((via, intent));
    }

    fn next_call(&mut self, client: Client) {
        if self.clients.busy.contains_key(&client) {
            return;
        }
        let next = self.clients.queues.get_mut(&client).and_then(VecDeque::pop_front);
        let Some((via, mut intent)) = next else { return };
        intent.begin(client, &mut self.clients);
        let via = via as usize % self.controllers.len();
        let record = self.notes.ops.len();
        self.notes.ops.push(OpRecord {
            client,
            request: None,
            server: via as u32,
            invoked_ns: self.now,
            returned_ns: None,
            call: intent.call(),
            answer: Answer::Unknown,
        });
        let op = self.call_api(client, via, Some(record), intent);
        self.clients.busy.insert(client, op);
    }

    /// Sends a call to a controller.
    pub(crate) fn call_api(
        &mut self,
        client: Client,
        via: usize,
        record: Option<usize>,
        intent: Intent,
    ) -> u64 {
        let op = self.clients.next;
        self.clients.next += 1;
        let limit = if intent.writes() { WRITE } else { READ };
        let doing = Doing {
            client,
            via,
            record,
            intent,
            id: format!("{client}-{op}"),
            attempt: 0,
            submission: 0,
            maybe: false,
            breaks: 0,
            submitted: None,
        };
        self.clients.calls.insert(op, doing);
        let delay = self.rng.between(50 * MICRO, 500 * MICRO);
        self.after(delay, Happening::Op { op, step: Step::Arrive });
        self.after(limit, Happening::Op { op, step: Step::Deadline });
        op
    }

    /// Calls are at their controllers; their deadlines are the clients' own.
    pub(crate) fn op_host(&self, op: u64, step: &Step) -> Option<Host> {
        let doing = self.clients.calls.get(&op)?;
        match step {
            Step::Deadline | Step::Arrive => None,
            _ => Some(doing.via),
        }
    }

    pub(crate) fn op_step(&mut self, op: u64, step: Step) {
        let Some(doing) = self.clients.calls.get(&op) else { return };
        let via = doing.via;
        match step {
            Step::Arrive if self.controllers[via].down > 0 => self.connection_breaks(op),
            Step::Arrive if self.controllers[via].paused > 0 => {
                self.faults.frozen.entry(via).or_default().push(Happening::Op { op, step: Step::Arrive });
            }
            Step::Arrive if doing.intent.stale() => self.go_on(op),
            Step::Arrive => self.ask_index(op),
            Step::Index(index) => {
                let leader = self.raft.lead.is_some_and(|(leader, term)| {
                    self.confirms(leader, term) && (leader == via || self.net.open(leader, via))
                });
                if !leader {
                    return self.ask_index_later(op);
                }
                if self.controllers[via].replica.index >= index {
                    self.go_on(op);
                } else {
                    self.controllers[via].waiters.push((index, op));
                }
            }
            Step::Resubmit(submission) => {
                if doing.submission == submission {
                    self.submit_call(op);
                }
            }
            Step::Answered(submission, answer) => {
                if doing.submission == submission {
                    self.stage_answers(op, answer);
                }
            }
            Step::Deadline => {
                let refused = !doing.maybe;
                self.answer(op, if refused { Answer::Refused { code: 503 } } else { Answer::Unknown });
            }
        }
    }

    /// Asks the leader what is committed, for a view that holds all of it.
    fn ask_index(&mut self, op: u64) {
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

    fn ask_index_later(&mut self, op: u64) {
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
    fn go_on(&mut self, op: u64) {
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
    fn submit_call(&mut self, op: u64) {
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
        let Some(request) = doing.submitted.clone().filter(|_| doing.submission == submission) else { return };
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

    fn stage_answers(&mut self, op: u64, answer: Result<Outcome, NoOutcome>) {
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

    /// A client has its answer.
    fn answer(&mut self, op: u64, answer: Answer) {
        let Some(doing) = self.clients.calls.remove(&op) else { return };
        let (client, via) = (doing.client, doing.via as u32);
        let Some(record) = doing.record else {
            if let Intent::ListForWatch { watch } = doing.intent {
                self.watch_again(watch);
            }
            return;
        };
        self.notes.mix(op << 8 ^ crate::notes::mix_bytes(0, format!("{answer:?}").as_bytes()));
        doing.intent.learn(client, &answer, &mut self.clients.seen);
        let written = &mut self.notes.ops[record];
        if doing.intent.writes() {
            written.request = Some(doing.request_id());
        }
        written.server = via;
        // An unknown outcome stays open: it may come true at any later time.
        written.returned_ns = (answer != Answer::Unknown).then_some(self.now);
        written.answer = answer.clone();
        self.clients.busy.remove(&client);
        let view = &self.controllers[doing.via].replica.state;
        for follow_up in doing.intent.follow_ups(&answer, view, client, &mut self.clients) {
            self.do_next(client, via, follow_up);
        }
        self.next_call(client);
    }

    /// The controller that a call was sent to is gone: the next one is asked, with the same request id.
    fn connection_breaks(&mut self, op: u64) {
        let all = self.controllers.len();
        let Some(doing) = self.clients.calls.get_mut(&op) else { return };
        doing.breaks += 1;
        if doing.breaks > 4 {
            let answer = if doing.maybe { Answer::Unknown } else { Answer::Refused { code: 503 } };
            return self.answer(op, answer);
        }
        doing.via = (doing.via + 1) % all;
        // Whatever the old controller still does with it is not listened to any more.
        doing.submission += 1;
        let delay = 10 * MS + self.rng.below(20 * MS);
        self.after(delay, Happening::Op { op, step: Step::Arrive });
    }

    /// A controller's process is gone, and all connections to it.
    pub(crate) fn connections_break(&mut self, at: usize) {
        self.controllers[at].waiters.clear();
        let broken: Vec<u64> =
            self.clients.calls.iter().filter(|(_, doing)| doing.via == at).map(|(op, _)| *op).collect();
        for op in broken {
            self.connection_breaks(op);
        }
    }

    /// Somebody else leads: writes whose outcome is open are sent there, with the same request id.
    pub(crate) fn leadership_changed(&mut self) {
        let open = self.clients.calls.iter().filter(|(_, doing)| doing.maybe && doing.submitted.is_some());
        let open: Vec<(u64, u32)> = open.map(|(op, doing)| (*op, doing.submission)).collect();
        for (op, submission) in open {
            let delay = self.rng.below(AGAIN);
            self.after(delay, Happening::Op { op, step: Step::Resubmit(submission) });
        }
    }

    /// Whether no client waits for anything.
    pub(crate) fn clients_done(&self) -> bool {
        self.clients.busy.is_empty() && self.clients.queues.values().all(VecDeque::is_empty)
    }

    /// A write or a read by the harness itself, as a client of its own; what it is called in the history.
    pub(crate) fn probe(&mut self, at: usize, intent: Intent) -> usize {
        let client = 1_000_000 + at as u32;
        let record = self.notes.ops.len();
        self.clients.queues.entry(client).or_default().push_back((at as u32, intent));
        self.next_call(client);
        record
    }

    /// The register that a controller is probed with.
    pub(crate) fn probe_key(at: usize) -> kontiki_actors::ObjectKey {
        names::register(1_000_000 + at as u32)
    }
}

impl Doing {
    fn request_id(&self) -> String {
        if self.attempt == 0 { self.id.clone() } else { format!("{}-{}", self.id, self.attempt) }
    }
}
