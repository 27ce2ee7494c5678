//! The kinds of the fault matrix that are no fault of their own: several things at once, or one right after the other.

use std::collections::BTreeSet;

use super::hits;
use crate::{
    Run,
    history::FaultRecord,
    plan::{FaultKind, Op, What},
};

/// 33: nodes are drained while something is broken.
const DRAIN_UNDER_FAULT: u32 = 33;
/// 34: a host that is slow, and hit by something else that does not stop it.
const GRAY: u32 = 34;
/// 35: a fault while the cluster recovers from another on the same host.
const DURING_RECOVERY: u32 = 35;

/// Those that came up in a run.
pub(super) fn numbers(run: &Run) -> BTreeSet<u32> {
    let bit: Vec<(&FaultRecord, &FaultKind)> = run
        .faults
        .iter()
        .filter(|record| record.bit)
        .filter_map(|record| Some((record, hits::kind(run, record)?)))
        .collect();
    let pairs =
        || bit.iter().enumerate().flat_map(|(n, one)| bit[n + 1..].iter().map(move |other| (*one, *other)));
    let mut numbers = BTreeSet::new();
    if bit.iter().any(|(record, _)| drained_during(run, record)) {
        numbers.insert(DRAIN_UNDER_FAULT);
    }
    if pairs().any(|(one, other)| gray_together(one, other)) {
        numbers.insert(GRAY);
    }
    // A worker is given up after its grace; before that nobody has recovered from anything.
    let recovery_ns = 2 * 1_000_000 * run.plan.shape.node_grace_ms;
    if pairs().any(|((one, _), (other, _))| {
        same_host(one, other) && (follows(one, other, recovery_ns) || follows(other, one, recovery_ns))
    }) {
        numbers.insert(DURING_RECOVERY);
    }
    numbers
}

/// Whether a client was told to drain a node while this lasted, by the plan's time.
fn drained_during(run: &Run, record: &FaultRecord) -> bool {
    let Some(begins) = run.plan.events.get(record.event).map(|event| event.at_ms) else { return false };
    let ends = begins + record.until_ns.saturating_sub(record.from_ns) / 1_000_000;
    run.plan.events.iter().any(|event| {
        matches!(event.what, What::Op { op: Op::Drain { .. }, .. }) && (begins..=ends).contains(&event.at_ms)
    })
}

fn gray_together(
    (one, kind): (&FaultRecord, &FaultKind),
    (other, kind_of_other): (&FaultRecord, &FaultKind),
) -> bool {
    let overlap = one.from_ns <= other.until_ns && other.from_ns <= one.until_ns;
    let slow = is_slow(kind) && is_gray(kind_of_other) || is_slow(kind_of_other) && is_gray(kind);
    overlap && slow && kind.name() != kind_of_other.name() && same_host(one, other)
}

const fn is_slow(kind: &FaultKind) -> bool {
    matches!(kind, FaultKind::DiskSlow { .. } | FaultKind::Delay { .. } | FaultKind::CpuLimit { .. })
}

const fn is_gray(kind: &FaultKind) -> bool {
    let gray = matches!(
        kind,
        FaultKind::Cut { .. } | FaultKind::Loss { .. } | FaultKind::Flap { .. } | FaultKind::Bandwidth { .. }
    );
    gray || is_slow(kind)
}

fn same_host(one: &FaultRecord, other: &FaultRecord) -> bool {
    one.hit.iter().any(|host| other.hit.contains(host))
}

/// Whether `other` begins after `one` has ended, and so soon that the cluster still recovers.
const fn follows(one: &FaultRecord, other: &FaultRecord, recovery_ns: u64) -> bool {
    other.from_ns > one.until_ns && other.from_ns - one.until_ns <= recovery_ns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        check::build::{Build, fault},
        plan::Event,
    };

    /// In the builder's unit.
    const SECOND: u64 = 1_000;

    fn run(faults: &[(FaultKind, &str, u64, u64)]) -> Run {
        let mut run = Build::new().run;
        for (kind, hit, from_s, until_s) in faults {
            fault(&mut run, kind.clone(), hit, from_s * SECOND, until_s * SECOND);
        }
        run
    }

    #[test]
    fn a_slow_disk_and_lost_messages_are_gray_on_one_host_at_one_time_only() {
        let slow = |hit| (FaultKind::DiskSlow { ms: 50 }, hit, 10, 20);
        let loss = |hit, from, until| {
            (
                FaultKind::Loss { per_mille: 10, duplicate_per_mille: 0, reorder_per_mille: 0 },
                hit,
                from,
                until,
            )
        };
        assert_eq!(
            numbers(&run(&[slow("controller-0"), loss("controller-0", 15, 25)])),
            BTreeSet::from([GRAY])
        );
        assert!(numbers(&run(&[slow("controller-0"), loss("controller-1", 15, 25)])).is_empty());
        assert!(numbers(&run(&[slow("controller-0"), loss("controller-0", 500, 600)])).is_empty());
        assert!(
            numbers(&run(&[slow("controller-0"), (FaultKind::Crash, "controller-0", 15, 25)])).is_empty()
        );
    }

    #[test]
    fn what_follows_soon_on_the_same_host_comes_during_recovery() {
        let crash = |hit, from, until| (FaultKind::Crash, hit, from, until);
        let soon = numbers(&run(&[crash("worker-0", 10, 20), crash("worker-0", 21, 22)]));
        assert_eq!(soon, BTreeSet::from([DURING_RECOVERY]));
        assert!(numbers(&run(&[crash("worker-0", 10, 20), crash("worker-0", 500, 501)])).is_empty());
        assert!(numbers(&run(&[crash("worker-0", 10, 20), crash("worker-1", 21, 22)])).is_empty());
    }

    #[test]
    fn a_drain_counts_while_a_fault_bites() {
        let drained_at = |at_ms| {
            let mut run = run(&[(FaultKind::Pause, "worker-0", 10, 20)]);
            let begins = run.plan.events[run.faults[0].event].at_ms;
            let what = What::Op { client: 0, via: 0, op: Op::Drain { worker: 1 } };
            run.plan.events.push(Event { at_ms: begins + at_ms, what });
            run
        };
        assert_eq!(numbers(&drained_at(5_000)), BTreeSet::from([DRAIN_UNDER_FAULT]));
        assert!(numbers(&drained_at(10_001)).is_empty());
        let mut harmless = drained_at(5_000);
        harmless.faults[0].bit = false;
        assert!(numbers(&harmless).is_empty());
    }
}
