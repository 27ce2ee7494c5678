//! The plan's events: operations are handed to clients, faults are done and undone.

use std::collections::BTreeMap;

use kontiki_chaos_plan::{
    history::FaultRecord,
    plan::{Fault, FaultKind, Side, Target, What},
};

use crate::{
    Moment,
    net::{Cut, Host, Slow},
    time::{MICRO, MS, SECOND},
    world::{Happening, World},
};

/// The faults of a run.
#[derive(Default)]
pub(crate) struct Faults {
    /// What would have happened on hosts that stand still.
    pub(crate) frozen: BTreeMap<Host, Vec<Happening>>,
    /// What is to be undone, by event.
    undo: BTreeMap<usize, Vec<Undo>>,
    /// Where a fault's record is.
    records: BTreeMap<usize, usize>,
    /// Events that are not the plan's.
    extra: usize,
    /// Workers that lie, by event.
    pub(crate) lying: BTreeMap<usize, Vec<usize>>,
    /// Crashes at commands to come.
    armed: Vec<Armed>,
}

/// A crash of whoever leads when it comes to this entry, or to the first after it.
struct Armed {
    event: usize,
    index: u64,
    moment: Moment,
}

#[derive(Debug)]
enum Undo {
    Start(Host),
    Resume(Host),
    Network,
    Clock(usize),
    Disk(usize, u64),
    Runtime(usize),
    Truth(usize),
    Disarm,
}

/// Numbers of events that are not the plan's begin here.
const EXTRA: usize = 1 << 32;

impl Faults {
    /// A crash that the harness itself does: the number under which it is undone.
    pub(crate) fn extra(&mut self, controller: usize) -> usize {
        self.extra += 1;
        let event = EXTRA + self.extra;
        self.undo.insert(event, vec![Undo::Start(controller)]);
        event
    }

    /// The event of the plan by which whoever leads crashes at this entry, if there is one.
    pub(crate) fn crashes_at(&mut self, index: u64, moment: Moment) -> Option<usize> {
        let due = self.armed.iter().position(|armed| armed.moment == moment && armed.index <= index)?;
        Some(self.armed.remove(due).event)
    }
}

impl World {
    pub(crate) fn plan_event(&mut self, number: usize) {
        match self.plan.events[number].what.clone() {
            What::Op { client, via, op } => self.operate(client, via, &op),
            What::Fault(fault) => self.fault(number, &fault),
        }
    }

    /// Does a fault, or says why not.
    fn fault(&mut self, number: usize, fault: &Fault) {
        let hosts = self.targets(fault.on);
        let result = self.do_fault(number, fault, &hosts);
        let until_ns = self.now + fault.for_ms * MS;
        let (bit, skipped) = match result {
            Ok(bit) => (bit, None),
            Err(why) => (false, Some(why.to_owned())),
        };
        self.faults.records.insert(number, self.notes.faults.len());
        self.notes.faults.push(FaultRecord {
            event: number,
            number: fault.kind.number(),
            hit: hosts.iter().map(|host| self.host_name(*host)).collect(),
            from_ns: self.now,
            until_ns,
            bit,
            skipped,
        });
        self.agenda.enter(until_ns, Happening::FaultEnds(number));
    }

    fn host_name(&self, host: Host) -> String {
        match host.checked_sub(self.controllers.len()) {
            None => kontiki_chaos_plan::names::controller(host as u32),
            Some(worker) => self.workers[worker].name.clone(),
        }
    }

    fn targets(&mut self, target: Target) -> Vec<Host> {
        let (controllers, all) = (self.controllers.len(), self.controllers.len() + self.workers.len());
        let leader = self.raft.lead.map(|(leader, _)| leader);
        match target {
            Target::Controller(n) => vec![n as usize % controllers],
            Target::Leader => vec![leader.unwrap_or(0)],
            Target::Follower => {
                let others: Vec<usize> = (0..controllers).filter(|c| Some(*c) != leader).collect();
                self.rng.pick(&others).copied().into_iter().collect()
            }
            Target::Worker(n) if all > controllers => vec![controllers + n as usize % (all - controllers)],
            Target::Worker(_) => Vec::new(),
            Target::Zone(zone) => {
                let zone = zone % self.shape().zones.max(1);
                let number = |host: usize| host.checked_sub(controllers).unwrap_or(host) as u32;
                (0..all).filter(|host| self.shape().zone_of(number(*host)) == zone).collect()
            }
            Target::Controllers => (0..controllers).collect(),
            Target::Workers => (controllers..all).collect(),
            Target::All => (0..all).collect(),
        }
    }

    fn mask(&self, hosts: &[Host]) -> Vec<bool> {
        let mut mask = vec![false; self.controllers.len() + self.workers.len()];
        for host in hosts {
            mask[*host] = true;
        }
        mask
    }

    /// True: it had its effect at once; others show theirs while they last.
    fn do_fault(&mut self, number: usize, fault: &Fault, hosts: &[Host]) -> Result<bool, &'static str> {
        let controllers = self.controllers.len();
        let worker = |host: &Host| host.checked_sub(controllers);
        let these = self.mask(hosts);
        let others: Vec<bool> = these.iter().map(|hit| !hit).collect();
        let mut undo = Vec::new();
        let bit = match &fault.kind {
            FaultKind::Crash | FaultKind::PowerCut | FaultKind::NodeReboot | FaultKind::AgentCrash => {
                let machine = matches!(fault.kind, FaultKind::PowerCut | FaultKind::NodeReboot);
                for host in hosts {
                    match worker(host) {
                        None => self.crash_controller(*host),
                        Some(worker) => self.crash_worker(worker, machine),
                    }
                    undo.push(Undo::Start(*host));
                }
                !hosts.is_empty()
            }
            FaultKind::Pause => {
                for host in hosts {
                    self.pause(*host);
                    undo.push(Undo::Resume(*host));
                }
                !hosts.is_empty()
            }
            FaultKind::Isolate { side } => {
                self.cut(number, these, others, *side);
                undo.push(Undo::Network);
                false
            }
            FaultKind::Cut { other, side } => {
                let other = self.targets(*other);
                let those = self.mask(&other);
                self.cut(number, these, those, *side);
                undo.push(Undo::Network);
                false
            }
            FaultKind::Flap { times } => {
                let step = fault.for_ms * MS / u64::from((*times).max(1) * 2);
                for n in 0..u64::from(*times) * 2 {
                    self.after(step * n, Happening::Flap { event: number, cut: n % 2 == 0 });
                }
                undo.push(Undo::Network);
                false
            }
            FaultKind::Delay { ms, jitter_ms } => {
                let (delay, jitter) = (ms * MS, jitter_ms * MS);
                self.net.slow(number, Slow { these, delay, jitter, lost_per_mille: 0, twice_per_mille: 0 });
                undo.push(Undo::Network);
                false
            }
            FaultKind::Loss { per_mille, duplicate_per_mille, .. } => {
                // Doubled and overtaken packets are put right by the streams; lost ones come late. What a worker is told is doubled
                // nevertheless (`World::deliver_again`).
                let (lost_per_mille, twice_per_mille) =
                    (u64::from(*per_mille), u64::from(*duplicate_per_mille));
                let slow = Slow { these, delay: 0, jitter: 500 * MICRO, lost_per_mille, twice_per_mille };
                self.net.slow(number, slow);
                undo.push(Undo::Network);
                false
            }
            FaultKind::Reset => {
                for host in hosts {
                    self.reset(*host);
                }
                true
            }
            FaultKind::ClockJump { by_ms } => {
                for host in hosts.iter().filter(|host| **host < controllers) {
                    self.controllers[*host].clock.jump(*by_ms);
                }
                hosts.iter().any(|host| *host < controllers)
            }
            FaultKind::ClockRate { per_mille } => {
                let now = self.now;
                for host in hosts.iter().filter(|host| **host < controllers) {
                    self.controllers[*host].clock.rate(i64::from(*per_mille), now);
                    undo.push(Undo::Clock(*host));
                }
                !undo.is_empty()
            }
            FaultKind::DiskSlow { ms } => {
                for host in hosts.iter().filter(|host| **host < controllers) {
                    self.controllers[*host].disk += ms * MS;
                    undo.push(Undo::Disk(*host, ms * MS));
                }
                !undo.is_empty()
            }
            FaultKind::EvilWorker => {
                let liars: Vec<usize> = hosts.iter().filter_map(worker).collect();
                if liars.is_empty() {
                    return Err("it is not aimed at a worker");
                }
                for worker in &liars {
                    self.after(0, Happening::Lie { worker: *worker, event: number });
                    undo.push(Undo::Truth(*worker));
                }
                self.faults.lying.insert(number, liars);
                true
            }
            FaultKind::Overload { requests } => {
                for n in 0..*requests {
                    let op = kontiki_chaos_plan::plan::Op::Put { key: 900 + n % 16 };
                    self.operate(100_000 + n % 64, n, &op);
                }
                *requests > 0
            }
            FaultKind::CrashAtCommand { nth, committed } => {
                let moment = if *committed { Moment::Committed } else { Moment::Proposed };
                self.faults.armed.push(Armed { event: number, index: self.raft.end() + nth, moment });
                undo.push(Undo::Disarm);
                false
            }
            FaultKind::LeaderTransfer => {
                let leader = self.raft.lead.map(|(leader, _)| leader);
                let others: Vec<usize> = (0..controllers).filter(|c| Some(*c) != leader).collect();
                let wanted = self.rng.pick(&others).copied();
                wanted.is_some() && self.elect(wanted)
            }
            FaultKind::MemberReplaced | FaultKind::DiskLost => {
                let host = hosts.iter().find(|host| **host < controllers).copied();
                let host = host.ok_or("it is not aimed at a controller")?;
                self.replace_member(host);
                undo.push(Undo::Start(host));
                true
            }
            FaultKind::SnapshotWhileAway => {
                self.cut(number, these, others, Side::Both);
                undo.push(Undo::Network);
                false
            }
            FaultKind::ContainersExit { count } => {
                let mut exited = 0;
                for worker in hosts.iter().filter_map(worker) {
                    exited += self.exit_containers(worker, *count);
                }
                exited > 0
            }
            FaultKind::RuntimeHangs => {
                for worker in hosts.iter().filter_map(worker) {
                    self.workers[worker].hanging += 1;
                    undo.push(Undo::Runtime(worker));
                }
                !undo.is_empty()
            }
            FaultKind::Corrupt { .. } | FaultKind::Bandwidth { .. } => {
                return Err("there are no bytes on a wire in the model");
            }
            FaultKind::DiskFull | FaultKind::DiskError | FaultKind::DiskStuck | FaultKind::BitRot { .. } => {
                return Err("there are no disks in the model");
            }
            FaultKind::MemoryLimit { .. } | FaultKind::CpuLimit { .. } | FaultKind::FileLimit { .. } => {
                return Err("there are no processes in the model");
            }
            FaultKind::OldLeader => return Err("workers of the model know one leader at a time"),
            FaultKind::BadInput { .. } | FaultKind::Stranger => {
                return Err("there is no HTTP and no TLS in the model");
            }
        };
        self.faults.undo.insert(number, undo);
        Ok(bit)
    }

    fn cut(&mut self, number: usize, these: Vec<bool>, those: Vec<bool>, side: Side) {
        let (out, into) = match side {
            Side::Both => (true, true),
            Side::Out => (true, false),
            Side::In => (false, true),
        };
        self.change(|world| world.net.cut(number, Cut { these, those, out, into }));
    }

    pub(crate) fn flap(&mut self, event: usize, cut: bool) {
        let What::Fault(fault) = self.plan.events[event].what.clone() else { return };
        if !self.faults.undo.contains_key(&event) {
            return;
        }
        if cut {
            let hosts = self.targets(fault.on);
            let these = self.mask(&hosts);
            let others = these.iter().map(|hit| !hit).collect();
            self.cut(event, these, others, Side::Both);
        } else {
            self.change(|world| world.net.heal(event));
        }
    }

    /// A fault is over: what it left dead comes back.
    pub(crate) fn fault_ends(&mut self, number: usize) {
        for undo in self.faults.undo.remove(&number).unwrap_or_default() {
            match undo {
                Undo::Start(host) => self.start(host),
                Undo::Resume(host) => self.resume(host),
                Undo::Network => self.change(|world| world.net.heal(number)),
                Undo::Clock(at) => {
                    let now = self.now;
                    self.controllers[at].clock.rate(1000, now);
                }
                Undo::Disk(at, slower) => self.controllers[at].disk -= slower,
                Undo::Runtime(worker) => self.runtime_goes_on(worker),
                Undo::Truth(worker) => self.tell_the_truth(worker, number),
                Undo::Disarm => self.faults.armed.retain(|armed| armed.event != number),
            }
        }
        let bitten = self.net.bitten.remove(&number).unwrap_or(0) > 0;
        if let Some(record) = self.faults.records.get(&number) {
            self.notes.faults[*record].bit |= bitten;
            self.notes.faults[*record].until_ns = self.now;
        }
    }

    /// A fault of the plan that waited for it crashes this leader.
    pub(crate) fn crash_by(&mut self, event: usize, leader: Host) {
        self.faults.undo.entry(event).or_default().push(Undo::Start(leader));
        let name = self.host_name(leader);
        if let Some(record) = self.faults.records.get(&event) {
            let record = &mut self.notes.faults[*record];
            (record.bit, record.hit) = (true, vec![name]);
        }
        self.crash_controller(leader);
    }

    /// Everything is whole again.
    pub(crate) fn heal_all(&mut self) {
        for number in self.faults.undo.keys().copied().collect::<Vec<_>>() {
            self.fault_ends(number);
        }
    }

    /// Whether a worker lies because of this event.
    pub(crate) fn lies(&self, worker: usize, event: usize) -> bool {
        self.faults.lying.get(&event).is_some_and(|liars| liars.contains(&worker))
    }

    /// How long a run may take to settle.
    pub(crate) fn settle_limit(&self) -> u64 {
        (120 * SECOND).max(self.shape().node_grace_ms * 20 * MS)
    }
}
