//! The faults that are in force, and what they make of links and disks. Everything is computed from the whole set whenever it changes,
//! so that faults may overlap and end in any order.

use std::collections::BTreeMap;
use std::time::Duration;

use kontiki_chaos_plan::plan::{Fault, FaultKind, Side};

use crate::disk::Faults;
use crate::network::Conditions;

/// A fault in force: which, on which slots, and those at the other end of a cut link.
pub struct Active {
    /// What.
    pub fault: Fault,
    /// Whom it hits.
    pub slots: Vec<usize>,
    /// The other end.
    pub others: Vec<usize>,
    /// A flapping link is whole at the moment.
    pub lull: bool,
}

/// All of them, by the number of their event.
#[derive(Default)]
pub struct InForce(pub BTreeMap<usize, Active>);

impl InForce {
    fn of(&self, slot: usize) -> impl Iterator<Item = &Active> {
        self.0.values().filter(move |active| active.slots.contains(&slot))
    }

    /// Whether something keeps the slot down.
    pub fn down(&self, slot: usize) -> bool {
        self.of(slot).any(|active| {
            matches!(
                active.fault.kind,
                FaultKind::Crash | FaultKind::PowerCut | FaultKind::BitRot { .. } | FaultKind::DiskLost
            )
        })
    }

    /// Whether the slot stands still.
    pub fn held(&self, slot: usize) -> bool {
        self.of(slot).any(|active| matches!(active.fault.kind, FaultKind::Pause))
    }

    /// Whether its disk does nothing.
    pub fn stuck(&self, slot: usize) -> bool {
        self.of(slot).any(|active| matches!(active.fault.kind, FaultKind::DiskStuck))
    }

    /// What is wrong with its disk.
    pub fn disk(&self, slot: usize) -> Faults {
        let mut faults = Faults::default();
        for active in self.of(slot) {
            match active.fault.kind {
                FaultKind::DiskFull => faults.full = true,
                FaultKind::DiskError => faults.error = true,
                FaultKind::DiskSlow { ms } => faults.slow += Duration::from_millis(ms),
                _ => {}
            }
        }
        faults
    }

    /// What a direction of a link is like.
    pub fn link(&self, from: usize, to: usize, base: Conditions) -> Conditions {
        let mut link = base;
        for active in self.0.values() {
            let (out, into) = (active.slots.contains(&from), active.slots.contains(&to));
            // Those that are hit together keep each other.
            let crosses = out != into;
            let passes = |side: &Side| match side {
                Side::Both => crosses,
                Side::Out => crosses && out,
                Side::In => crosses && into,
            };
            match &active.fault.kind {
                FaultKind::Isolate { side } => link.cut |= passes(side),
                FaultKind::SnapshotWhileAway => link.cut |= crosses,
                FaultKind::Flap { .. } => link.cut |= crosses && !active.lull,
                FaultKind::Cut { side, .. } => {
                    let there = out && active.others.contains(&to) && *side != Side::In;
                    let back = into && active.others.contains(&from) && *side != Side::Out;
                    link.cut |= there || back;
                }
                FaultKind::Delay { ms, jitter_ms } if crosses => {
                    link.delay += Duration::from_millis(*ms);
                    link.jitter += Duration::from_millis(*jitter_ms);
                }
                FaultKind::Loss { per_mille, .. } if crosses => link.loss_per_mille += per_mille,
                FaultKind::Bandwidth { kib_per_s } if crosses => {
                    link.bytes_per_second = kib_per_s.max(&1) * 1024;
                }
                _ => {}
            }
        }
        link
    }
}
