//! Plans played with real processes, and every check passes. What each fault kind does is seen by the fault's own proof.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use kontiki_chaos_plan::{
    Plan, Play, Run, check,
    plan::{Event, Fault, FaultKind, Op, Shape, Side, Target, What},
};
use kontiki_chaos_real::{Real, Setup, host::Cgroup};
use support::{binary, machine, say};

/// None: nothing can be played here.
fn play(plan: &Plan) -> Option<Run> {
    let _machine = machine()?;
    let image = Some(kontiki_chaos_tests::example_image().unwrap());
    let setup = Setup { binary: binary(), image, ..Setup::default() };
    let program = env!("CARGO_BIN_EXE_kontiki-chaos-real").into();
    let run = Real { setup, program, tell: true, logs: None }.play(plan).unwrap();
    let judgements = check::judge_all(&run);
    let failure = check::first_failure(&judgements);
    assert!(failure.is_none(), "{failure:?}\n{}", plan.to_lines());
    Some(run)
}

fn op(at_ms: u64, client: u32, op: Op) -> Event {
    Event { at_ms, what: What::Op { client, via: (at_ms % 3) as u32, op } }
}

fn fault(at_ms: u64, on: Target, for_ms: u64, kind: FaultKind) -> Event {
    Event { at_ms, what: What::Fault(Fault { on, for_ms, kind }) }
}

/// Two clients that write and read one register all the time, a watch, and a Deployment with a container on each worker.
fn load(until_ms: u64) -> Vec<Event> {
    let deploy = Op::Deploy { name: 0, replicas: 3, cpu_m: 100, max_surge: 1, max_unavailable: 1 };
    let mut events = vec![op(0, 8, Op::Watch { resume_via: 1 }), op(1, 9, deploy)];
    for at in (100..until_ms).step_by(100) {
        let key = (at / 100 % 3) as u32;
        let what = match at / 100 % 4 {
            0 | 1 => Op::Put { key },
            2 => Op::Cas { key },
            _ => Op::Get { key },
        };
        events.push(op(at, (at / 100 % 2) as u32, what));
    }
    events
}

fn plan(faults: Vec<Event>) -> Plan {
    let end = faults.iter().map(Event::ends_ms).max().unwrap_or(0);
    let mut events = load(end + 500);
    events.extend(faults);
    events.sort_by_key(|event| event.at_ms);
    let shape = Shape { workers: 3, ..Shape::default() };
    Plan { seed: 7, shape, events }
}

/// Plays faults of which each must have bitten.
fn all_bite(faults: Vec<Event>) {
    if let Some(run) = play(&plan(faults)) {
        for fault in &run.faults {
            assert!(fault.bit, "{fault:?}");
        }
        assert!(run.instances.iter().any(|event| event.running), "no container ran");
    }
}

#[test]
fn processes_and_machines_die_and_come_back() {
    let first = Target::Controller(0);
    all_bite(vec![
        fault(2500, first, 800, FaultKind::Crash),
        fault(2600, Target::Worker(1), 1500, FaultKind::NodeReboot),
        fault(4500, Target::Leader, 1200, FaultKind::Pause),
        fault(4600, Target::Worker(0), 500, FaultKind::AgentCrash),
        fault(7000, Target::Worker(2), 0, FaultKind::ContainersExit { count: 1 }),
        fault(7100, Target::Worker(0), 500, FaultKind::RuntimeHangs),
    ]);
}

#[test]
fn links_break_in_every_way() {
    let follower = Target::Follower;
    all_bite(vec![
        fault(1500, Target::Leader, 1500, FaultKind::Isolate { side: Side::Out }),
        fault(3500, Target::Zone(1), 1000, FaultKind::Flap { times: 2 }),
        fault(5000, follower, 1000, FaultKind::Cut { other: Target::Leader, side: Side::Both }),
        fault(6500, follower, 1500, FaultKind::Delay { ms: 20, jitter_ms: 20 }),
        fault(
            6600,
            Target::Leader,
            1500,
            FaultKind::Loss { per_mille: 50, duplicate_per_mille: 100, reorder_per_mille: 100 },
        ),
        fault(6700, Target::Controllers, 1500, FaultKind::Corrupt { per_mille: 20 }),
        fault(8600, Target::Controllers, 1000, FaultKind::Bandwidth { kib_per_s: 64 }),
        fault(9800, Target::Controllers, 0, FaultKind::Reset),
    ]);
}

#[test]
fn disks_lose_power_space_and_patience() {
    all_bite(vec![
        fault(1500, Target::Controllers, 500, FaultKind::PowerCut),
        fault(4000, Target::Follower, 1500, FaultKind::DiskFull),
        fault(6000, Target::Leader, 1200, FaultKind::DiskStuck),
        fault(8000, Target::Controller(1), 1000, FaultKind::DiskSlow { ms: 30 }),
        fault(9500, Target::Controller(2), 1000, FaultKind::DiskError),
    ]);
}

#[test]
fn data_is_damaged_and_lost_and_members_change() {
    all_bite(vec![
        fault(1500, Target::Controller(1), 300, FaultKind::BitRot { flips: 40 }),
        fault(8000, Target::Controller(1), 300, FaultKind::DiskLost),
        fault(12_000, Target::Controller(1), 300, FaultKind::MemberReplaced),
        fault(16_000, Target::Leader, 0, FaultKind::LeaderTransfer),
    ]);
}

#[test]
fn little_of_everything_and_too_much_of_the_rest() {
    let mut faults = vec![
        fault(3500, Target::Controller(0), 1000, FaultKind::FileLimit { files: 16 }),
        fault(5000, Target::Controller(1), 1500, FaultKind::ClockJump { by_ms: -3_600_000 }),
        fault(5050, Target::Worker(0), 1500, FaultKind::ClockJump { by_ms: 3_600_000 }),
        fault(5100, Target::Controller(2), 1500, FaultKind::ClockRate { per_mille: 2000 }),
        fault(7000, Target::Controllers, 0, FaultKind::BadInput { requests: 30 }),
        fault(7100, Target::Controllers, 0, FaultKind::Stranger),
        fault(7200, Target::Leader, 0, FaultKind::Overload { requests: 1000 }),
    ];
    if Cgroup::able() {
        faults.push(fault(1500, Target::Leader, 1500, FaultKind::CpuLimit { per_mille: 60 }));
        // Less than can be reclaimed: the limit is refused, and what is in use becomes it.
        faults.push(fault(9000, Target::Leader, 1500, FaultKind::MemoryLimit { mib: 4 }));
    } else {
        say("SKIPPED cpu-limit and memory-limit: this machine has no cgroups of version 1");
    }
    all_bite(faults);
}

#[test]
fn a_worker_lies_and_a_controller_comes_back_by_a_snapshot() {
    let follower = Target::Controller(1);
    all_bite(vec![
        // Long enough for several rounds of lies: on a busy machine others have no pods yet in the first.
        fault(2500, Target::Worker(1), 5000, FaultKind::EvilWorker),
        fault(8500, follower, 2000, FaultKind::SnapshotWhileAway),
    ]);
}
