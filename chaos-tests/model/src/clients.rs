//! Clients and their calls: each client does one thing after the other, through a controller's API. The API's own code
//! prepares and checks what is written; the way to the leader and back is modelled after `src/controller/backend.rs`.

use std::collections::{BTreeMap, VecDeque};

use kontiki_actors::{Outcome, Request};
use kontiki_chaos_plan::{
    history::{Answer, OpRecord},
    names,
    plan::{Client, Op},
};

use crate::{
    desk::NoOutcome,
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
pub(crate) const AGAIN: u64 = 25 * MS;

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
    pub(crate) record: Option<usize>,
    pub(crate) intent: Intent,
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) submission: u32,
    /// Something was handed to a stage, so it may be done.
    pub(crate) maybe: bool,
    /// Connections that broke on it.
    pub(crate) breaks: u32,
    pub(crate) submitted: Option<Request>,
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

    /// A client has its answer.
    pub(crate) fn answer(&mut self, op: u64, answer: Answer) {
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

    /// The controller that a call was sent to is gone. What it may have handed to a stage nobody knows; else the next one is
    /// asked.
    fn connection_breaks(&mut self, op: u64) {
        let all = self.controllers.len();
        let Some(doing) = self.clients.calls.get_mut(&op) else { return };
        doing.breaks += 1;
        if doing.maybe || doing.breaks > 4 {
            let answer = if doing.maybe { Answer::Unknown } else { Answer::Refused { code: 503 } };
            return self.answer(op, answer);
        }
        doing.via = (doing.via + 1) % all;
        // The history has the server that answers, and so the time at which that one was asked: the others never did anything.
        if let Some(record) = doing.record {
            self.notes.ops[record].invoked_ns = self.now;
        }
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
    pub(crate) fn request_id(&self) -> String {
        if self.attempt == 0 { self.id.clone() } else { format!("{}-{}", self.id, self.attempt) }
    }
}
