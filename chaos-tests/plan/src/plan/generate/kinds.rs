//! The table of fault kinds as the generator draws them.

use rand::{Rng, rngs::StdRng};

use crate::plan::{FaultKind, Side, Target};

/// A kind and what it can hit.
#[derive(Clone, Copy, Debug)]
pub struct KindInfo {
    /// As plans write it.
    pub name: &'static str,
    /// Whether it can hit controllers.
    pub controllers: bool,
    /// Whether it can hit workers.
    pub workers: bool,
    /// Whether a zone, or all of something, can be hit at once.
    pub many: bool,
    /// Whether it can destroy what a controller has stored for good.
    pub destroys: bool,
    /// Whether it is over at once.
    pub at_once: bool,
    /// Whether it comes up in situations only (see [`super::Situation`]): alone it shows nothing.
    pub staged: bool,
}

const fn kind(name: &'static str, controllers: bool, workers: bool, many: bool) -> KindInfo {
    KindInfo { name, controllers, workers, many, destroys: false, at_once: false, staged: false }
}

const fn destroys(kind: KindInfo) -> KindInfo {
    KindInfo { destroys: true, ..kind }
}

const fn at_once(kind: KindInfo) -> KindInfo {
    KindInfo { at_once: true, ..kind }
}

const fn staged(kind: KindInfo) -> KindInfo {
    KindInfo { staged: true, ..kind }
}

/// Every kind that plans can have.
pub const ALL_KINDS: [KindInfo; 35] = [
    kind("crash", true, true, true),
    kind("power-cut", true, true, true),
    kind("pause", true, true, true),
    kind("isolate", true, true, true),
    kind("cut", true, true, false),
    kind("delay", true, true, true),
    kind("loss", true, true, true),
    kind("corrupt", true, true, false),
    kind("bandwidth", true, true, true),
    at_once(kind("reset", true, true, true)),
    kind("flap", true, true, true),
    kind("clock-jump", true, true, true),
    kind("clock-rate", true, true, false),
    kind("disk-full", true, true, false),
    kind("disk-error", true, false, false),
    kind("disk-slow", true, false, true),
    kind("disk-stuck", true, false, false),
    destroys(kind("bit-rot", true, false, false)),
    destroys(kind("disk-lost", true, false, false)),
    kind("memory-limit", true, true, false),
    kind("cpu-limit", true, true, true),
    kind("file-limit", true, true, false),
    at_once(kind("bad-input", true, false, false)),
    kind("evil-worker", false, true, false),
    kind("overload", true, false, false),
    destroys(kind("member-replaced", true, false, false)),
    at_once(kind("leader-transfer", true, false, false)),
    kind("snapshot-while-away", true, false, false),
    kind("agent-crash", false, true, true),
    kind("runtime-hangs", false, true, false),
    at_once(kind("containers-exit", false, true, false)),
    kind("node-reboot", false, true, true),
    at_once(kind("stranger", true, false, false)),
    staged(kind("old-leader", true, false, false)),
    staged(kind("crash-at-command", true, false, false)),
];

/// The core kinds: of these every pair has to be seen overlapping.
pub const CORE_KINDS: [&str; 12] = [
    "crash",
    "power-cut",
    "pause",
    "isolate",
    "cut",
    "delay",
    "loss",
    "flap",
    "clock-jump",
    "disk-full",
    "disk-slow",
    "snapshot-while-away",
];

/// The kind of this name.
pub(super) fn info(name: &str) -> Option<&'static KindInfo> {
    ALL_KINDS.iter().find(|kind| kind.name == name)
}

/// Every pair of the core kinds among these, in a fixed order: `a` before `b` by the alphabet.
pub fn core_pairs(kinds: &[&'static str]) -> Vec<(&'static str, &'static str)> {
    let core: Vec<&'static str> = CORE_KINDS.iter().copied().filter(|kind| kinds.contains(kind)).collect();
    let mut pairs = Vec::new();
    for (n, a) in core.iter().enumerate() {
        for b in &core[n + 1..] {
            pairs.push(if a < b { (*a, *b) } else { (*b, *a) });
        }
    }
    pairs
}

/// A fault of this kind with numbers drawn for it. `other` is the far end of a cut link.
pub(super) fn draw(name: &str, other: Target, rng: &mut StdRng) -> FaultKind {
    let side = match rng.random_range(0..4) {
        0 => Side::In,
        1 => Side::Out,
        _ => Side::Both,
    };
    match name {
        "crash" => FaultKind::Crash,
        "power-cut" => FaultKind::PowerCut,
        "pause" => FaultKind::Pause,
        "isolate" => FaultKind::Isolate { side },
        "cut" => FaultKind::Cut { other, side },
        "delay" => {
            let ms = pick(rng, &[5, 20, 50, 150, 400]);
            FaultKind::Delay { ms, jitter_ms: pick(rng, &[0, ms / 4, ms]) }
        }
        "loss" => FaultKind::Loss {
            per_mille: pick(rng, &[5, 20, 100, 300]),
            duplicate_per_mille: pick(rng, &[0, 0, 20, 100]),
            reorder_per_mille: pick(rng, &[0, 0, 50, 200]),
        },
        "corrupt" => FaultKind::Corrupt { per_mille: pick(rng, &[1, 10, 50]) },
        "bandwidth" => FaultKind::Bandwidth { kib_per_s: pick(rng, &[16, 64, 256, 1024]) },
        "reset" => FaultKind::Reset,
        "flap" => FaultKind::Flap { times: rng.random_range(2..=8) },
        "clock-jump" => FaultKind::ClockJump {
            by_ms: pick(rng, &[-3_600_000, -30_000, -2_000, 2_000, 30_000, 3_600_000]),
        },
        "clock-rate" => FaultKind::ClockRate { per_mille: pick(rng, &[500, 900, 950, 1050, 1100, 2000]) },
        "disk-full" => FaultKind::DiskFull,
        "disk-error" => FaultKind::DiskError,
        "disk-slow" => FaultKind::DiskSlow { ms: pick(rng, &[5, 20, 100, 500, 2000]) },
        "disk-stuck" => FaultKind::DiskStuck,
        "bit-rot" => FaultKind::BitRot { flips: pick(rng, &[1, 1, 3, 20]) },
        "disk-lost" => FaultKind::DiskLost,
        // A controller that has just begun uses about 30 MiB.
        "memory-limit" => FaultKind::MemoryLimit { mib: pick(rng, &[16, 24, 32]) },
        "cpu-limit" => FaultKind::CpuLimit { per_mille: pick(rng, &[50, 100, 300]) },
        "file-limit" => FaultKind::FileLimit { files: pick(rng, &[16, 64, 128]) },
        "bad-input" => FaultKind::BadInput { requests: pick(rng, &[5, 20, 100]) },
        "evil-worker" => FaultKind::EvilWorker,
        "overload" => FaultKind::Overload { requests: pick(rng, &[50, 200, 1000]) },
        "member-replaced" => FaultKind::MemberReplaced,
        "leader-transfer" => FaultKind::LeaderTransfer,
        "snapshot-while-away" => FaultKind::SnapshotWhileAway,
        "agent-crash" => FaultKind::AgentCrash,
        "runtime-hangs" => FaultKind::RuntimeHangs,
        "containers-exit" => FaultKind::ContainersExit { count: pick(rng, &[1, 2, 5]) },
        "node-reboot" => FaultKind::NodeReboot,
        "old-leader" => FaultKind::OldLeader,
        "crash-at-command" => {
            FaultKind::CrashAtCommand { nth: rng.random_range(1..=8), committed: rng.random_bool(0.5) }
        }
        _ => FaultKind::Stranger,
    }
}

/// One of these.
pub(super) fn pick<T: Copy>(rng: &mut StdRng, from: &[T]) -> T {
    from[rng.random_range(0..from.len())]
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_table_and_the_kinds_agree() {
        let mut rng = StdRng::seed_from_u64(1);
        for kind in ALL_KINDS {
            assert_eq!(draw(kind.name, Target::Leader, &mut rng).name(), kind.name);
        }
        assert_eq!(core_pairs(&CORE_KINDS).len(), 66);
        assert_eq!(core_pairs(&["pause", "crash", "reset"]), [("crash", "pause")]);
    }
}
