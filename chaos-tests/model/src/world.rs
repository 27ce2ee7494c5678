//! Everything there is in a run, and the loop that lets one thing happen after another.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use compact_str::CompactString;
use kontiki_actors::{Object, input::Verdict};
use kontiki_chaos_plan::{Plan, plan::Shape};

use crate::{
    Options,
    agenda::Agenda,
    clients::Clients,
    controller::Controller,
    faults::Faults,
    net::{Host, Net},
    notes::Notes,
    raft::Raft,
    rng::Rng,
    sessions::Session,
    workers::{PodAct, Worker},
};

/// What can happen.
#[derive(Clone, Debug)]
pub(crate) enum Happening {
    /// An event of the plan.
    Plan(usize),
    /// A fault of the plan is over.
    FaultEnds(usize),
    /// Another round of a zone that flaps.
    Flap { event: usize, cut: bool },
    /// A follower gets entries.
    Append { to: usize, term: u64, upto: u64 },
    /// The leader hears that they are kept.
    Ack { at: usize, from: usize, term: u64, upto: u64 },
    /// A follower hears what is committed.
    Learn { to: usize },
    /// Somebody may stand for election.
    Election { epoch: u64 },
    /// A controller hears that it leads no more.
    Deposed { at: usize, term: u64 },
    /// The desk decides what waits.
    Pump { at: usize, term: u64 },
    /// Wake-ups are due.
    Ring { at: usize, term: u64, alarm: (i64, u64) },
    /// A majority has been asked whether this controller leads.
    Confirmed { at: usize, term: u64, flight: u64 },
    /// Silence is looked at.
    Tick { at: usize, term: u64 },
    /// Verdicts, when a majority has confirmed the leader.
    Judge { at: usize, term: u64, verdicts: Vec<Verdict> },
    /// A client's request comes to a stage.
    Submit { at: usize, via: usize, op: u64, submission: u32 },
    /// A worker calls a controller.
    Dial { worker: usize, epoch: u64 },
    /// The call arrives.
    Hello { at: usize, worker: usize, epoch: u64 },
    /// The call failed, or somebody else was named.
    Hint { worker: usize, epoch: u64, leader: Option<usize> },
    /// Messages of a session arrive at the worker.
    Down { session: u64 },
    /// Assignments arrive once more at the worker.
    Again { session: u64, put: Vec<Arc<Object>> },
    /// Messages of a session arrive at the leader.
    Up { session: u64 },
    /// A worker would have given up this session by now.
    Silent { session: u64 },
    /// Something in a pod's life on a worker.
    Pod { worker: usize, uid: CompactString, epoch: u32, act: PodAct },
    /// A container has run for as long as it does.
    Ends { worker: usize, uid: CompactString, attempt: u32 },
    /// A worker sends its reports.
    Flush { worker: usize },
    /// A lying worker lies.
    Lie { worker: usize, event: usize },
    /// A client's call goes on.
    Op { op: u64, step: crate::clients::Step },
    /// A watch is begun or resumed.
    Watch { watch: usize, epoch: u64 },
}

/// The world.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) options: Options,
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) agenda: Agenda<Happening>,
    pub(crate) net: Net,
    pub(crate) raft: Raft,
    pub(crate) controllers: Vec<Controller>,
    pub(crate) workers: Vec<Worker>,
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) next_session: u64,
    pub(crate) clients: Clients,
    pub(crate) faults: Faults,
    pub(crate) notes: Notes,
    zero: Instant,
}

impl World {
    /// An empty cluster in which nobody leads yet.
    pub(crate) fn new(plan: &Plan, options: &Options) -> World {
        let shape = &plan.shape;
        let controllers = shape.controllers.max(1) as usize;
        let workers = (0..shape.workers).map(|n| Worker::new(n, shape)).collect();
        let mut world = World {
            plan: plan.clone(),
            options: options.clone(),
            now: 0,
            rng: Rng::new(plan.seed),
            agenda: Agenda::new(),
            net: Net::default(),
            raft: Raft::new(controllers),
            controllers: (0..controllers).map(|_| Controller::new(shape.watch_history)).collect(),
            workers,
            sessions: BTreeMap::new(),
            next_session: 0,
            clients: Clients::default(),
            faults: Faults::default(),
            notes: Notes::default(),
            zero: Instant::now(),
        };
        for (number, event) in plan.events.iter().enumerate() {
            world.agenda.enter(event.at_ms * crate::time::MS, Happening::Plan(number));
        }
        world.check_leadership();
        for worker in 0..world.workers.len() {
            let at = world.rng.below(100 * crate::time::MS);
            let epoch = world.workers[worker].epoch;
            world.agenda.enter(at, Happening::Dial { worker, epoch });
        }
        world
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.plan.shape
    }

    /// Lets everything happen that does until then.
    pub(crate) fn run_until(&mut self, until: u64) {
        while let Some((at, what)) = self.agenda.next_until(until) {
            self.now = at;
            self.happen(what);
        }
        self.now = until;
    }

    /// This happens in so much time.
    pub(crate) fn after(&mut self, delay: u64, what: Happening) {
        self.agenda.enter(self.now + delay, what);
    }

    /// A message takes its time; this happens when it is there.
    pub(crate) fn send(&mut self, from: Host, to: Host, what: Happening) {
        let delay = self.net.delay(from, to, &mut self.rng);
        self.after(delay, what);
    }

    /// The host of a worker.
    pub(crate) fn host(&self, worker: usize) -> Host {
        self.controllers.len() + worker
    }

    /// Whether a host runs and does not stand still.
    pub(crate) fn awake(&self, host: Host) -> bool {
        match host.checked_sub(self.controllers.len()) {
            None => self.controllers[host].down == 0 && self.controllers[host].paused == 0,
            Some(worker) => self.workers[worker].down == 0 && self.workers[worker].paused == 0,
        }
    }

    /// Now, for the product's code that counts in instants.
    pub(crate) fn instant(&self) -> Instant {
        self.zero + Duration::from_nanos(self.now)
    }

    /// What happens on a host that stands still happens when it goes on; on one that is down, not at all.
    fn happen(&mut self, what: Happening) {
        if let Some(host) = self.where_is(&what) {
            let (down, paused) = match host.checked_sub(self.controllers.len()) {
                None => (self.controllers[host].down > 0, self.controllers[host].paused > 0),
                Some(worker) => (self.workers[worker].down > 0, self.workers[worker].paused > 0),
            };
            if down {
                return self.lost(&what);
            }
            if paused {
                return self.faults.frozen.entry(host).or_default().push(what);
            }
        }
        self.notes.trace(self.now, &what);
        match what {
            Happening::Plan(number) => self.plan_event(number),
            Happening::FaultEnds(number) => self.fault_ends(number),
            Happening::Flap { event, cut } => self.flap(event, cut),
            Happening::Append { to, term, upto } => self.append(to, term, upto),
            Happening::Ack { at, from, term, upto } => self.ack(at, from, term, upto),
            Happening::Learn { to } => self.learn(to),
            Happening::Election { epoch } => self.election(epoch),
            Happening::Deposed { at, term } => self.deposed(at, term),
            Happening::Pump { at, term } => self.pump(at, term),
            Happening::Ring { at, term, alarm } => self.ring(at, term, alarm),
            Happening::Confirmed { at, term, flight } => self.confirmed(at, term, flight),
            Happening::Tick { at, term } => self.tick(at, term),
            Happening::Judge { at, term, verdicts } => self.judge(at, term, verdicts),
            Happening::Submit { at, via, op, submission } => self.op_submitted(at, via, op, submission),
            Happening::Dial { worker, epoch } => self.dial(worker, epoch),
            Happening::Hello { at, worker, epoch } => self.hello(at, worker, epoch),
            Happening::Hint { worker, epoch, leader } => self.hint(worker, epoch, leader),
            Happening::Down { session } => self.deliver_down(session),
            Happening::Again { session, put } => self.deliver_again(session, &put),
            Happening::Up { session } => self.deliver_up(session),
            Happening::Silent { session } => self.silent(session),
            Happening::Pod { worker, uid, epoch, act } => self.pod_act(worker, &uid, epoch, act),
            Happening::Ends { worker, uid, attempt } => self.container_ends(worker, &uid, attempt),
            Happening::Flush { worker } => self.flush(worker),
            Happening::Lie { worker, event } => self.lie(worker, event),
            Happening::Op { op, step } => self.op_step(op, step),
            Happening::Watch { watch, epoch } => self.watch_begin(watch, epoch),
        }
    }

    /// Which host it happens on; none: outside of all, or on several.
    fn where_is(&self, what: &Happening) -> Option<Host> {
        match what {
            Happening::Append { to, .. } | Happening::Learn { to } => Some(*to),
            Happening::Ack { at, .. }
            | Happening::Deposed { at, .. }
            | Happening::Pump { at, .. }
            | Happening::Ring { at, .. }
            | Happening::Confirmed { at, .. }
            | Happening::Tick { at, .. }
            | Happening::Judge { at, .. }
            | Happening::Submit { at, .. }
            | Happening::Hello { at, .. } => Some(*at),
            Happening::Dial { worker, .. }
            | Happening::Hint { worker, .. }
            | Happening::Pod { worker, .. }
            | Happening::Flush { worker } => Some(self.host(*worker)),
            Happening::Down { session } | Happening::Again { session, .. } => {
                self.sessions.get(session).map(|s| self.host(s.worker))
            }
            Happening::Up { session } => self.sessions.get(session).map(|s| s.at),
            Happening::Silent { session } => self.sessions.get(session).map(|s| self.host(s.worker)),
            Happening::Op { op, step } => self.op_host(*op, step),
            _ => None,
        }
    }

    /// It would have happened on a host that is down.
    fn lost(&mut self, what: &Happening) {
        match what {
            Happening::Append { to, .. } => self.raft.sending[*to] = false,
            Happening::Learn { to } => self.raft.learning[*to] = false,
            Happening::Hello { worker, epoch, .. } => {
                // Its process is not there: the call is refused at once.
                let (worker, epoch) = (*worker, *epoch);
                self.after(crate::time::MS, Happening::Hint { worker, epoch, leader: None });
            }
            _ => {}
        }
    }
}
