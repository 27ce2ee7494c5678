//! Situations that take several things at the right times, which chance makes too rarely: the plan of a campaign begins with one now
//! and then. While one lasts nothing else breaks, so that nothing else explains what is seen.

use rand::{Rng, rngs::StdRng};

use super::Options;
use crate::plan::{Client, Event, Fault, FaultKind, Op, Shape, Side, Target, What};

/// The cluster works before it: deployments were made and run.
const BEGINS_MS: std::ops::Range<u64> = 2000..3000;
/// Clients of situations come after those that operate and those that watch: who waits for an answer does nothing else.
const FIRST_CLIENT: Client = 16;
/// Pods that are a situation's own: numbers that nobody else draws.
const FIRST_POD: u32 = 40;
/// How many of them.
const PODS: u32 = 4;
/// Registers whose deletes are held up are numbered from here on, so that nobody else writes them.
const FIRST_HELD_UP: u32 = 60;
/// How many of them.
const HELD_UP: u32 = 16;
/// Between two writes of a client.
const WRITES_EVERY_MS: u64 = 20;
/// For so long clients read, when nobody took over.
const READS_MS: u64 = 4000;
/// Between two of their reads.
const READS_EVERY_MS: u64 = 150;
/// For so long clients write around the moment in which a leader is cut off.
const WRITES_MS: u64 = 800;

/// Between two crashes of a leader at a command.
const CRASHES_EVERY_MS: u64 = 1500;
/// How long a step of a change of members takes while it is to be cut short.
const STEP_MS: u64 = 160;

/// A situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Situation {
    /// The leader loses the other controllers and keeps its clients, who go on, and its workers, whose agents may die meanwhile. The
    /// others choose another leader; then the old one is back.
    DeposedLeader,
    /// No controller's disk takes anything for a while, though all speak with each other: nothing can be committed. Clients write and
    /// read on; then all controllers lose their power.
    StuckDisks,
    /// A controller speaks as the leader of a term that is over, while workers' agents die and look for a leader again.
    OldLeader,
    /// All workers are out of contact with all controllers for longer than the grace, and come back.
    MassSilence,
    /// The leader changes while all workers are silent, for less than the grace.
    SilentWhileElected,
    /// Pods are deleted at once, without waiting for their workers, while these are away.
    DeletedWhileAway,
    /// One controller, perhaps the leader, is down for so long that the others go on without it, and clients with them.
    MinorityDown,
    /// A storm of requests, and clients that read before it and half a minute after it.
    Overloaded,
    /// The leader and a follower lose each other, with writes between them that are sent again when they meet, and then arrive as well.
    HeldUp,
    /// While clients keep it busy, whoever leads crashes between one command and the next, several times in a row.
    BetweenCommands,
    /// What workers are told comes late, and once more later still, while pods are made and deleted.
    ToldTwice,
    /// A controller that lost its disk is taken out and in again, and the leader that does it crashes between the two steps of the
    /// change.
    ChangeCutShort,
    /// A leader whose disk is full hands over, and its word does not get through, while clients read on.
    HandedOverToNobody,
    /// A follower's disk is so slow that the streams to it are given up again and again, while so much is written that what it has not
    /// got yet is purged from the log.
    SlowFollower,
}

impl Situation {
    /// All of them.
    pub const ALL: [Situation; 14] = [
        Situation::DeposedLeader,
        Situation::StuckDisks,
        Situation::OldLeader,
        Situation::MassSilence,
        Situation::SilentWhileElected,
        Situation::DeletedWhileAway,
        Situation::MinorityDown,
        Situation::Overloaded,
        Situation::HeldUp,
        Situation::BetweenCommands,
        Situation::ToldTwice,
        Situation::ChangeCutShort,
        Situation::HandedOverToNobody,
        Situation::SlowFollower,
    ];

    /// The fault kinds that it is made of.
    const fn kinds(self) -> &'static [&'static str] {
        match self {
            Situation::DeposedLeader => &["cut", "agent-crash"],
            Situation::StuckDisks => &["disk-stuck", "power-cut"],
            Situation::OldLeader => &["old-leader", "agent-crash"],
            Situation::MassSilence | Situation::DeletedWhileAway => &["isolate"],
            Situation::SilentWhileElected => &["isolate", "crash"],
            Situation::MinorityDown => &["crash", "power-cut", "pause", "isolate"],
            Situation::Overloaded => &["overload"],
            Situation::HeldUp => &["cut"],
            Situation::BetweenCommands => &["crash-at-command"],
            Situation::ToldTwice => &["loss", "delay"],
            Situation::ChangeCutShort => &["member-replaced", "delay", "crash"],
            Situation::HandedOverToNobody => &["cut", "disk-full"],
            Situation::SlowFollower => &["disk-slow", "snapshot-while-away"],
        }
    }

    fn is_possible(self, options: &Options) -> bool {
        options.hit_controllers
            && options.hit_workers
            && self.kinds().iter().all(|kind| options.faults.contains(kind))
    }
}

/// The events of the options' situation, and when it is over. Nothing, if there is none or the layer cannot do it. `victim`: the
/// controller whose disk may be destroyed.
pub(super) fn draw(
    rng: &mut StdRng,
    options: &Options,
    shape: &Shape,
    victim: Option<u32>,
) -> (Vec<Event>, u64) {
    let Some(situation) = options.situation.filter(|situation| situation.is_possible(options)) else {
        return (Vec::new(), 0);
    };
    let begins = rng.random_range(BEGINS_MS).min(options.duration_ms / 4);
    let mut scene = Scene { rng, options, shape, begins, events: Vec::new() };
    match situation {
        Situation::DeposedLeader => scene.deposed_leader(),
        Situation::StuckDisks => scene.stuck_disks(),
        Situation::OldLeader => scene.old_leader(),
        Situation::MassSilence => scene.mass_silence(),
        Situation::SilentWhileElected => scene.silent_while_elected(),
        Situation::DeletedWhileAway => scene.deleted_while_away(),
        Situation::MinorityDown => scene.minority_down(),
        Situation::Overloaded => scene.overloaded(),
        Situation::HeldUp => scene.held_up(),
        Situation::BetweenCommands => scene.between_commands(),
        Situation::ToldTwice => scene.told_twice(),
        Situation::ChangeCutShort => scene.change_cut_short(victim),
        Situation::HandedOverToNobody => scene.handed_over_to_nobody(),
        Situation::SlowFollower => scene.slow_follower(),
    }
    let over = scene.events.iter().map(Event::ends_ms).max().unwrap_or(0);
    // What it leads to, is seen soon after it, and not mixed with what comes next.
    (scene.events, over + shape.node_grace_ms)
}

struct Scene<'a> {
    rng: &'a mut StdRng,
    options: &'a Options,
    shape: &'a Shape,
    begins: u64,
    events: Vec<Event>,
}

impl Scene<'_> {
    fn fault(&mut self, at_ms: u64, on: Target, for_ms: u64, kind: FaultKind) {
        self.events.push(Event { at_ms, what: What::Fault(Fault { on, for_ms, kind }) });
    }

    fn op(&mut self, at_ms: u64, nth: u32, via: u32, op: Op) {
        let client = self.options.clients + FIRST_CLIENT + nth;
        self.events.push(Event { at_ms, what: What::Op { client, via, op } });
    }

    /// So long, but no longer than what is left of the plan.
    fn length(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.rng.random_range(range).min(self.options.duration_ms * 3 / 5)
    }

    /// So many tenths of the time that silent workers are given.
    fn graces(&mut self, tenths: std::ops::Range<u64>) -> u64 {
        let grace = self.shape.node_grace_ms;
        self.length(grace * tenths.start / 10..grace * tenths.end / 10)
    }

    fn workers_away(&mut self, length: u64) {
        self.fault(self.begins, Target::Workers, length, FaultKind::Isolate { side: Side::Both });
    }

    /// An operation through each controller, since nobody knows who will lead.
    fn everywhere(&mut self, at_ms: u64, op: &Op) {
        for via in 0..self.shape.controllers {
            self.op(at_ms, via, via, op.clone());
        }
    }

    fn deposed_leader(&mut self) {
        let length = self.length(1500..4000);
        let kind = FaultKind::Cut { other: Target::Controllers, side: Side::Both };
        self.fault(self.begins, Target::Leader, length, kind);
        self.clients_go_on();
        self.everywhere(self.begins + length / 2, &Op::Scale { name: 0, replicas: 1 });
        if self.rng.random_bool(0.5) {
            self.fault(self.begins + length / 2, Target::Workers, 200, FaultKind::AgentCrash);
        }
        self.everywhere(self.begins + length, &Op::Get { key: 0 });
    }

    fn stuck_disks(&mut self) {
        let length = self.length(600..1200);
        self.fault(self.begins, Target::Controllers, length, FaultKind::DiskStuck);
        self.clients_go_on();
        let dark = self.length(100..800);
        self.fault(self.begins + length * 2 / 3, Target::Controllers, dark, FaultKind::PowerCut);
        self.everywhere(self.begins + length + dark, &Op::Get { key: 0 });
    }

    /// From before it begins, registers are written, deleted and read through all controllers, by clients that do not wait for each
    /// other.
    fn clients_go_on(&mut self) {
        let first = self.begins - WRITES_MS / 8;
        for at in (first..first + WRITES_MS).step_by(WRITES_EVERY_MS as usize) {
            let key = self.rng.random_range(0..self.options.keys.max(1));
            let write = if self.rng.random_bool(0.2) { Op::Remove { key } } else { Op::Put { key } };
            for via in 0..self.shape.controllers {
                self.op(at, via, via, write.clone());
                self.op(at + WRITES_EVERY_MS / 2, self.shape.controllers + via, via, Op::Get { key });
            }
        }
    }

    fn minority_down(&mut self) {
        let length = self.length(9000..12_000);
        let on = if self.rng.random_bool(0.5) { Target::Leader } else { Target::Follower };
        let kind = match self.rng.random_range(0..4) {
            0 => FaultKind::Crash,
            1 => FaultKind::PowerCut,
            2 => FaultKind::Pause,
            _ => FaultKind::Isolate { side: Side::Both },
        };
        self.fault(self.begins, on, length, kind);
        self.read_and_write(self.begins + length / 2, self.begins + length);
    }

    fn overloaded(&mut self) {
        let requests = 1000;
        self.read_and_write(self.begins.saturating_sub(1500), self.begins);
        self.fault(self.begins, Target::Leader, 3000, FaultKind::Overload { requests });
        // When half a minute has passed, if the plan is so long.
        let after = self.begins + 3000 + 30_000;
        if after + 2000 < self.options.duration_ms {
            self.read_and_write(after, after + 2000);
        }
    }

    /// Through every controller, in turns.
    fn read_and_write(&mut self, from_ms: u64, until_ms: u64) {
        for at in (from_ms..until_ms).step_by(100) {
            let key = self.rng.random_range(0..self.options.keys.max(1));
            self.everywhere(at, &Op::Put { key });
            self.everywhere(at + 50, &Op::Get { key });
        }
    }

    fn old_leader(&mut self) {
        let length = self.length(2500..5000);
        // Workers look at the controllers in this order when they start.
        self.fault(self.begins, Target::Controller(0), length, FaultKind::OldLeader);
        let dies = self.begins + self.rng.random_range(length / 4..length / 2);
        let back = self.length(50..400);
        self.fault(dies, Target::Workers, back, FaultKind::AgentCrash);
    }

    fn held_up(&mut self) {
        // Connections in which nothing moves are given up after 3 s; a write waits for 5 s.
        let length = self.length(3200..4400);
        let kind = FaultKind::Cut { other: Target::Follower, side: Side::Both };
        self.fault(self.begins, Target::Leader, length, kind);
        let (controllers, heals) = (self.shape.controllers, self.begins + length);
        for n in 0..HELD_UP {
            let key = FIRST_HELD_UP + n;
            // There is nothing to delete when the second attempt comes, and perhaps there is when the first one does.
            for via in 0..controllers {
                self.op(self.begins + 100, n * controllers + via, via, Op::Remove { key });
            }
            let at = heals + 25 * u64::from(n);
            for via in 0..controllers {
                self.op(at, HELD_UP * controllers + n * controllers + via, via, Op::Put { key });
            }
        }
    }

    fn mass_silence(&mut self) {
        let length = self.graces(20..40);
        self.workers_away(length);
    }

    fn silent_while_elected(&mut self) {
        let length = self.graces(5..9);
        self.workers_away(length);
        let back = self.length(300..1500);
        self.fault(self.begins + length / 4, Target::Leader, back, FaultKind::Crash);
    }

    fn deleted_while_away(&mut self) {
        let length = self.graces(5..20);
        for n in 0..PODS {
            self.op(self.begins / 4, n, n, Op::Pod { name: FIRST_POD + n, cpu_m: 0 });
        }
        self.workers_away(length);
        for n in 0..PODS {
            let at_once = Op::DeletePod { name: FIRST_POD + n, at_once: true };
            self.op(self.begins + length / 3, n, n, at_once);
        }
        self.op(self.begins + length / 3, PODS, 0, Op::Scale { name: 0, replicas: 0 });
    }

    fn between_commands(&mut self) {
        for n in 0..self.rng.random_range(3..=6) {
            let at = self.begins + n * CRASHES_EVERY_MS;
            let (nth, committed) = (self.rng.random_range(1..=8), self.rng.random_bool(0.5));
            let down = self.rng.random_range(CRASHES_EVERY_MS / 3..CRASHES_EVERY_MS * 2 / 3);
            self.fault(at, Target::Leader, down, FaultKind::CrashAtCommand { nth, committed });
            // What has several commands to it: a pod is made, placed, started, reported.
            let pod = FIRST_POD + n as u32 % PODS;
            let (made, gone) = (Op::Pod { name: pod, cpu_m: 0 }, Op::DeletePod { name: pod, at_once: false });
            self.everywhere(at + 10, &made);
            self.everywhere(at + 20, &Op::Scale { name: 0, replicas: n as u32 % 3 });
            self.everywhere(at + CRASHES_EVERY_MS / 2, &gone);
            for write in 0..4 {
                let key = self.rng.random_range(0..self.options.keys.max(1));
                self.everywhere(at + write * WRITES_EVERY_MS, &Op::Put { key });
            }
        }
    }

    fn told_twice(&mut self) {
        let length = self.length(4000..6000);
        let twice = FaultKind::Loss { per_mille: 0, duplicate_per_mille: 1000, reorder_per_mille: 0 };
        self.fault(self.begins, Target::Workers, length, twice);
        // A worker says that a pod is gone, and hears only so much later that it need not keep it in mind.
        self.fault(self.begins, Target::Workers, length, FaultKind::Delay { ms: 300, jitter_ms: 300 });
        for n in 0..2 * PODS {
            let name = FIRST_POD + n;
            let made = self.begins + self.rng.random_range(0..length / 4);
            let deleted = made + self.rng.random_range(length / 4..length / 2);
            self.op(made, n, n, Op::Pod { name, cpu_m: 0 });
            self.op(deleted, n, n, Op::DeletePod { name, at_once: false });
        }
    }

    fn change_cut_short(&mut self, victim: Option<u32>) {
        let Some(victim) = victim else { return };
        let away = self.length(300..800);
        self.fault(self.begins, Target::Controller(victim), away, FaultKind::MemberReplaced);
        // Each step takes the way to the others and back. The first has reached them, and the second has not.
        let way = STEP_MS / 2;
        let back = self.begins + away;
        self.fault(back - way, Target::Leader, 4 * STEP_MS, FaultKind::Delay { ms: way, jitter_ms: 0 });
        let crashes = back + self.rng.random_range(way..way + STEP_MS);
        let down = self.length(200..600);
        self.fault(crashes, Target::Leader, down, FaultKind::Crash);
    }
    fn handed_over_to_nobody(&mut self) {
        // Shorter than the time after which the others miss a leader, and longer than anybody waits for an answer to such a word.
        let cut = self.shape.election_ms * self.rng.random_range(60..80) / 100;
        let kind = FaultKind::Cut { other: Target::Controllers, side: Side::Out };
        self.fault(self.begins, Target::Leader, cut, kind);
        self.fault(self.begins + 5, Target::Leader, cut * 3 / 4, FaultKind::DiskFull);
        // Reads without a pause in which anybody could miss the leader.
        let over = self.begins + cut;
        for at in (over..over + READS_MS).step_by(READS_EVERY_MS as usize) {
            self.everywhere(at, &Op::Get { key: 0 });
        }
    }

    fn slow_follower(&mut self) {
        let length = self.length(8000..14_000);
        let ms = self.rng.random_range(1500..3000);
        self.fault(self.begins, Target::Follower, length, FaultKind::DiskSlow { ms });
        // Who is away for a moment is nobody that matters: this is about the writes.
        for _ in 0..self.rng.random_range(3..8) {
            let at = self.begins + self.rng.random_range(length / 10..length);
            self.fault(at, Target::Worker(0), 50, FaultKind::SnapshotWhileAway);
        }
    }
}
