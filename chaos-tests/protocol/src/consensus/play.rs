//! Plays a plan on a consensus-only cluster, watches it all the while, then heals everything and waits until it is whole again.

use std::collections::BTreeMap;
use std::time::Duration;

use kontiki_chaos_plan::Plan;
use kontiki_chaos_plan::history::Broken;
use kontiki_chaos_plan::plan::{Fault, FaultKind, Op, Target, What};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::Observer;
use super::clients::{Clients, leader};
use super::cluster::{Cluster, setup};
use super::faults::{Active, InForce};
use crate::network::{Conditions, SimNet};
use crate::trace::Trace;

/// How often the cluster is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// After the healing, everything must be well within this time.
const SETTLE: Duration = Duration::from_secs(60);

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What went wrong.
    pub broken: Vec<Broken>,
    /// The hash of all that happened, and how much that was.
    pub trace: (u64, u64),
    /// Simulated time, from the start.
    pub simulated: Duration,
    /// Writes that were acknowledged, and reads that were answered.
    pub done: (u64, u64),
    /// Terms that had a leader.
    pub reigns: u64,
    /// Faults that were begun, by number in the matrix.
    pub faults: BTreeMap<u32, u64>,
    /// Nodes that ended themselves and were started again.
    pub deaths: u64,
}

enum Step {
    Begin(usize),
    End(usize),
    Flap(usize, bool),
    Do(usize),
}

struct Player {
    plan: Plan,
    cluster: Cluster,
    clients: Clients,
    force: InForce,
    random: StdRng,
    faults: BTreeMap<u32, u64>,
    operator: Option<tokio::task::JoinHandle<Option<u64>>>,
    trips: BTreeMap<usize, (Instant, bool)>,
}

/// Plays a plan. Must be called on a runtime of its own, see [`crate::sim::run`].
pub async fn play(plan: Plan) -> Outcome {
    let trace = Trace::begin();
    let start = Instant::now();
    let net = SimNet::new(plan.seed ^ 0x6e65_7477, trace.clone());
    let observer = Observer::new(trace.clone());
    let shape = &plan.shape;
    let set = setup(shape.election_ms, shape.snapshot_entries);
    let mut cluster = Cluster::new(&net, &observer, shape.controllers, set, plan.seed);
    let mut outcome = Outcome {
        seed: plan.seed,
        broken: Vec::new(),
        trace: (0, 0),
        simulated: Duration::ZERO,
        done: (0, 0),
        reigns: 0,
        faults: BTreeMap::new(),
        deaths: 0,
    };
    match cluster.form().await {
        Err(words) => observer.broken("F1", format!("the cluster does not form: {words}")),
        Ok(()) => {
            let clients = Clients::new(cluster.handles.clone(), observer.clone());
            let random = StdRng::seed_from_u64(plan.seed ^ 0x706c_6179);
            let mut player = Player {
                plan,
                cluster,
                clients,
                force: InForce::default(),
                random,
                faults: BTreeMap::new(),
                operator: None,
                trips: BTreeMap::new(),
            };
            player.run().await;
            player.settle().await;
            outcome.faults = player.faults;
            outcome.deaths = player.cluster.deaths;
        }
    }
    outcome.broken = observer.violations();
    outcome.trace = trace.hash();
    outcome.simulated = start.elapsed();
    outcome.done = observer.counts();
    outcome.reigns = observer.reigns();
    outcome
}

impl Player {
    async fn run(&mut self) {
        let start = Instant::now();
        let mut steps: BTreeMap<(u64, usize), Step> = BTreeMap::new();
        let events = self.plan.events.clone();
        for (n, event) in events.iter().enumerate() {
            match &event.what {
                What::Op { .. } => drop(steps.insert((event.at_ms, 4 * n), Step::Do(n))),
                What::Fault(fault) => {
                    steps.insert((event.at_ms, 4 * n), Step::Begin(n));
                    if let FaultKind::Flap { times } = fault.kind {
                        let half = (fault.for_ms / u64::from(2 * times.max(1))).max(1);
                        for turn in 1..u64::from(2 * times) {
                            steps
                                .insert((event.at_ms + turn * half, 4 * n + 1), Step::Flap(n, turn % 2 == 1));
                        }
                    }
                    steps.insert((event.ends_ms(), 4 * n + 2), Step::End(n));
                }
            }
        }
        for ((at, _), step) in steps {
            self.until(start + Duration::from_millis(at)).await;
            match (step, &events) {
                (Step::Do(n), events) => self.operate(&events[n].what),
                (Step::Begin(n), events) => {
                    if let What::Fault(fault) = &events[n].what {
                        self.begin(n, fault.clone());
                    }
                }
                (Step::Flap(n, lull), _) => {
                    if let Some(active) = self.force.0.get_mut(&n) {
                        active.lull = lull;
                    }
                    self.apply();
                }
                (Step::End(n), _) => {
                    self.force.0.remove(&n);
                    self.apply();
                }
            }
        }
    }

    /// Time passes, and the cluster is looked after.
    async fn until(&mut self, at: Instant) {
        while Instant::now() < at {
            sleep_until(at.min(Instant::now() + LOOK)).await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        for n in 0..self.cluster.slots.len() {
            let tripped = *self.cluster.slots[n].member.machine.disk.tripped().borrow_and_update() > 0;
            let due = self.trips.get(&n).copied();
            if let Some((at, power)) = due
                && (at <= Instant::now() || tripped)
            {
                self.trips.remove(&n);
                self.cluster.stop(n, power);
            }
            if let Some(running) = &self.cluster.slots[n].member.running {
                self.examine(running.node.status());
            }
        }
        self.cluster.supervise(&self.force).await;
        self.change_members().await;
    }

    /// A7, of what a node says of itself.
    fn examine(&self, status: kontiki_raft::Status) {
        let kontiki_raft::Status { id, purged, durable, applied, committed, last_log, .. } = status;
        // What is folded is told apart from the rest, before or after it; a snapshot that is being installed is durable first.
        if purged > durable || committed > last_log {
            let words = format!(
                "node {id}: purged {purged:?}, durable {durable:?}, applied {applied:?}, committed {committed:?}, last {last_log:?}"
            );
            self.cluster.observer.broken("A7", words);
        }
    }

    async fn change_members(&mut self) {
        match &mut self.operator {
            None => self.operator = self.cluster.operate(),
            Some(running) if running.is_finished() => {
                let done = running.await.ok().flatten();
                self.operator = None;
                if let Some(id) = done {
                    self.cluster.operated(id);
                }
            }
            Some(_) => {}
        }
    }

    fn operate(&mut self, what: &What) {
        let What::Op { via, op, .. } = what else { return };
        let (clients, via) = (self.clients.clone(), *via as usize);
        match op {
            Op::Get { key } | Op::GetStale { key } => {
                let key = *key;
                tokio::spawn(async move { clients.get(via, key).await });
            }
            Op::Put { key } | Op::Cas { key } | Op::Remove { key } => {
                let key = *key;
                tokio::spawn(async move { clients.put(via, key).await });
            }
            _ => {}
        }
    }

    fn slots(&mut self, target: &Target) -> Vec<usize> {
        let count = self.cluster.slots.len();
        let leading = leader(&self.cluster.handles).map(|found| found.0);
        match target {
            Target::Controller(n) => vec![*n as usize % count],
            Target::Leader => leading.into_iter().collect(),
            Target::Follower => {
                let others: Vec<usize> = (0..count).filter(|n| Some(*n) != leading).collect();
                vec![others[self.random.random_range(0..others.len())]]
            }
            Target::Zone(zone) => (0..count).filter(|n| self.cluster.slots[*n].zone == zone % 3).collect(),
            Target::Controllers | Target::All => (0..count).collect(),
            Target::Worker(_) | Target::Workers => Vec::new(),
        }
    }

    /// Whether a slot may lose its disk: a majority of disks stays whole, all members known to each other.
    fn may_lose(&self, slots: &[usize]) -> bool {
        let whole = self.cluster.slots.iter().all(|slot| !slot.rotten && slot.replaced.is_none());
        whole && slots.len() == 1
    }

    fn begin(&mut self, n: usize, fault: Fault) {
        let slots = self.slots(&fault.on);
        let losing =
            matches!(fault.kind, FaultKind::BitRot { .. } | FaultKind::DiskLost | FaultKind::MemberReplaced);
        if slots.is_empty() || (losing && !self.may_lose(&slots)) {
            return;
        }
        *self.faults.entry(fault.kind.number()).or_default() += 1;
        let others = match &fault.kind {
            FaultKind::Cut { other, .. } => self.slots(&other.clone()),
            _ => Vec::new(),
        };
        match fault.kind {
            FaultKind::Crash => self.stop(&slots, false),
            FaultKind::PowerCut => self.stop(&slots, true),
            FaultKind::BitRot { flips } => {
                self.stop(&slots, false);
                for slot in &slots {
                    self.cluster.slots[*slot].rotten = true;
                    self.cluster.count_voters();
                    self.cluster.slots[*slot].member.machine.disk.rot(flips);
                }
            }
            FaultKind::DiskLost | FaultKind::MemberReplaced => {
                for slot in &slots {
                    self.cluster.replace(*slot);
                }
            }
            FaultKind::Reset => {
                for slot in &slots {
                    self.cluster.net.reset(self.cluster.slots[*slot].member.machine.host);
                }
            }
            FaultKind::LeaderTransfer => {
                if let Some((_, _, node, _)) = leader(&self.cluster.handles) {
                    tokio::spawn(async move { node.transfer_leader(None).await });
                }
            }
            // Enough writes that the others purge what it misses.
            FaultKind::SnapshotWhileAway => {
                for register in 0..2 * self.plan.shape.snapshot_entries.min(200) {
                    let clients = self.clients.clone();
                    let via = slots[0] + 1;
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(5 * register)).await;
                        clients.put(via, register as u32 % 8).await
                    });
                }
            }
            _ => {}
        }
        self.force.0.insert(n, Active { fault, slots, others, lull: false });
        self.apply();
    }

    /// At once, or in the middle of the next few changes that it makes on its disk.
    fn stop(&mut self, slots: &[usize], power: bool) {
        for slot in slots {
            if self.cluster.slots[*slot].member.running.is_some() && self.random.random_bool(0.5) {
                let disk = &self.cluster.slots[*slot].member.machine.disk;
                disk.trip_after(self.random.random_range(0..30));
                self.trips.insert(*slot, (Instant::now() + Duration::from_millis(200), power));
            } else {
                self.cluster.stop(*slot, power);
            }
        }
    }

    /// Makes links, disks and processes as the faults in force demand.
    fn apply(&mut self) {
        let count = self.cluster.slots.len();
        for from in 0..count {
            let slot = &self.cluster.slots[from];
            let machine = &slot.member.machine;
            machine.disk.set_faults(|faults| *faults = self.force.disk(from));
            machine.disk.set_stuck(self.force.stuck(from));
            machine.hold(self.force.held(from));
            for to in (0..count).filter(|to| *to != from) {
                let mut base = Conditions::default();
                if slot.zone != self.cluster.slots[to].zone {
                    base.delay += Duration::from_micros(400);
                }
                let link = self.force.link(from, to, base);
                let (a, b) = (machine.host, self.cluster.slots[to].member.machine.host);
                if self.cluster.net.link(a, b) != link {
                    self.cluster.net.change_link(a, b, |conditions| *conditions = link);
                }
            }
        }
    }

    /// Heals everything; then there must be a leader, all replicas must be equal, and all must serve.
    async fn settle(&mut self) {
        self.force.0.clear();
        self.apply();
        let healed = Instant::now();
        let mut missing = String::from("a leader");
        while healed.elapsed() < SETTLE {
            self.until(Instant::now() + Duration::from_millis(100)).await;
            match self.whole().await {
                Ok(()) => return self.compare(),
                Err(still) => missing = still,
            }
        }
        self.cluster
            .observer
            .broken("F2", format!("{} s after everything was healed: {missing}", SETTLE.as_secs()));
    }

    async fn whole(&mut self) -> Result<(), String> {
        if self.cluster.changing() {
            return Err("a replaced member is not in its place".into());
        }
        for slot in &self.cluster.slots {
            if slot.member.running.is_none() {
                return Err(format!("node {} does not run", slot.member.id));
            }
        }
        if leader(&self.cluster.handles).is_none() {
            return Err("nobody leads".into());
        }
        for n in 0..self.cluster.slots.len() {
            let wrote = timeout(Duration::from_secs(4), self.clients.put(n, n as u32)).await;
            if wrote != Ok(true) {
                return Err("a write is not acknowledged".into());
            }
            let read = timeout(Duration::from_secs(4), self.clients.get(n, n as u32)).await;
            if read != Ok(true) {
                return Err(format!("node {} does not answer a read", self.cluster.slots[n].member.id));
            }
        }
        let last = self.cluster.observer.last();
        for slot in &self.cluster.slots {
            let Some(running) = &slot.member.running else { return Err("a node ended".into()) };
            if running.node.wait_applied(last, Duration::from_secs(2)).await.is_err() {
                return Err(format!(
                    "node {} does not reach entry {last}: {:?}",
                    slot.member.id,
                    running.node.status()
                ));
            }
            let status = running.node.status();
            if status.joint {
                return Err(format!("node {} sees a change of voters half done", slot.member.id));
            }
            let voters: Vec<u64> =
                status.members.iter().filter(|member| member.voter).map(|member| member.info.id).collect();
            let mut expected: Vec<u64> = self.cluster.slots.iter().map(|slot| slot.member.id).collect();
            expected.sort_unstable();
            if voters != expected {
                return Err(format!(
                    "node {} knows the voters {voters:?}, there are {expected:?}",
                    slot.member.id
                ));
            }
        }
        Ok(())
    }

    fn compare(&self) {
        for slot in &self.cluster.slots {
            if let Some(running) = &slot.member.running {
                self.cluster.observer.complete(slot.member.id, &running.fold.held());
            }
        }
    }
}
