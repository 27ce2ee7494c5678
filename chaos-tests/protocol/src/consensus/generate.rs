//! Plans for consensus-only clusters, from a seed. Each seed chooses which kinds of faults it uses and how often (swarm testing): so that
//! some runs have many of one kind, and others many kinds at once.

use kontiki_chaos_plan::Plan;
use kontiki_chaos_plan::plan::{Event, Fault, FaultKind, Op, Shape, Side, Target, What};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// How long faults go on, milliseconds.
const LENGTH_MS: u64 = 30_000;
/// Registers: few, so that clients meet.
const REGISTERS: u32 = 8;
/// Clients.
const CLIENTS: u32 = 6;

type Make = fn(&mut StdRng) -> (FaultKind, u64);

fn side(random: &mut StdRng) -> Side {
    [Side::Both, Side::Out, Side::In][random.random_range(0..3)]
}

/// The kinds, each with how it is made and how long it lasts.
const KINDS: &[Make] = &[
    |r| (FaultKind::Crash, r.random_range(50..3000)),
    |r| (FaultKind::Crash, r.random_range(50..3000)),
    |r| (FaultKind::PowerCut, r.random_range(50..4000)),
    |r| (FaultKind::PowerCut, r.random_range(50..4000)),
    |r| (FaultKind::Pause, r.random_range(50..3000)),
    |r| (FaultKind::Isolate { side: side(r) }, r.random_range(100..5000)),
    |r| {
        let other = Target::Controller(r.random_range(0..5));
        (FaultKind::Cut { other, side: side(r) }, r.random_range(100..5000))
    },
    |r| {
        let (ms, jitter_ms) = (r.random_range(1..150), r.random_range(0..150));
        (FaultKind::Delay { ms, jitter_ms }, r.random_range(500..6000))
    },
    |r| {
        let per_mille = r.random_range(5..300);
        let kind = FaultKind::Loss { per_mille, duplicate_per_mille: 0, reorder_per_mille: 0 };
        (kind, r.random_range(500..6000))
    },
    |r| (FaultKind::Bandwidth { kib_per_s: r.random_range(8..500) }, r.random_range(500..5000)),
    |_| (FaultKind::Reset, 0),
    |r| (FaultKind::Flap { times: r.random_range(2..8) }, r.random_range(400..5000)),
    |r| (FaultKind::DiskFull, r.random_range(200..4000)),
    |r| (FaultKind::DiskError, r.random_range(20..2000)),
    |r| (FaultKind::DiskSlow { ms: r.random_range(5..400) }, r.random_range(300..5000)),
    |r| (FaultKind::DiskStuck, r.random_range(100..4000)),
    |r| (FaultKind::BitRot { flips: r.random_range(1..4) }, r.random_range(100..2000)),
    |r| (FaultKind::DiskLost, r.random_range(100..2000)),
    |_| (FaultKind::MemberReplaced, 0),
    |_| (FaultKind::LeaderTransfer, 0),
    |r| (FaultKind::SnapshotWhileAway, r.random_range(1000..6000)),
];

fn target(random: &mut StdRng, kind: &FaultKind, controllers: u32) -> Target {
    match kind {
        FaultKind::LeaderTransfer => Target::Leader,
        FaultKind::BitRot { .. } | FaultKind::DiskLost | FaultKind::MemberReplaced => {
            Target::Controller(random.random_range(0..controllers))
        }
        FaultKind::Flap { .. } => Target::Zone(random.random_range(0..3)),
        // Everybody at once, too: what was acknowledged survives that.
        FaultKind::Crash | FaultKind::PowerCut if random.random_ratio(1, 4) => Target::Controllers,
        _ => match random.random_range(0..10) {
            0..4 => Target::Leader,
            4..6 => Target::Follower,
            6 => Target::Zone(random.random_range(0..3)),
            _ => Target::Controller(random.random_range(0..controllers)),
        },
    }
}

/// The plan of a seed.
pub fn generate(seed: u64) -> Plan {
    let mut random = StdRng::seed_from_u64(seed ^ 0xc0_5e_05);
    let controllers = if random.random_ratio(1, 3) { 5 } else { 3 };
    let snapshot_entries = [20, 50, 200, 1000][random.random_range(0..4)];
    let election_ms = [150, 200, 300][random.random_range(0..3)];
    let shape = Shape { controllers, workers: 0, snapshot_entries, election_ms, ..Shape::default() };
    let mut events = Vec::new();

    let chosen: Vec<Make> = {
        let count = random.random_range(2..=8);
        KINDS.choose_multiple(&mut random, count).copied().collect()
    };
    let mut at = 500;
    while at < LENGTH_MS {
        let make = chosen[random.random_range(0..chosen.len())];
        let (kind, for_ms) = make(&mut random);
        let on = target(&mut random, &kind, controllers);
        events.push(Event { at_ms: at, what: What::Fault(Fault { on, for_ms, kind }) });
        // Some at once, some after a while of quiet.
        at += match random.random_range(0..4) {
            0 => random.random_range(0..100),
            1 => random.random_range(3000..6000),
            _ => random.random_range(300..2500),
        };
    }

    let rate = [10, 30, 100][random.random_range(0..3)];
    let mut at = 0;
    while at < LENGTH_MS {
        at += random.random_range(1..=2 * 1000 / rate);
        let (client, via) = (random.random_range(0..CLIENTS), random.random_range(0..controllers));
        let key = random.random_range(0..REGISTERS);
        let op = if random.random_ratio(1, 3) { Op::Get { key } } else { Op::Put { key } };
        events.push(Event { at_ms: at, what: What::Op { client, via, op } });
    }
    events.sort_by_key(|event| event.at_ms);
    Plan { seed, shape, events }
}
