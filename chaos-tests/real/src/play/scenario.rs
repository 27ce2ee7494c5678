//! What a scenario of this layer is: short, with several faults at once.

use kontiki_chaos_plan::plan::generate::{ALL_KINDS, Budget, Options, Profile};

/// How long a scenario is.
const DURATION_MS: u64 = 22_000;
/// Kinds that other layers do: snapshots would take parts of the log away, which is the evidence here.
const ELSEWHERE: [&str; 2] = ["snapshot-while-away", "evil-worker"];

/// The options by which plans for real processes are made. Profiles take turns.
pub fn options(seed: u64) -> Options {
    Options {
        profile: Profile::ALL[(seed % 4) as usize],
        budget: Budget::Within,
        duration_ms: DURATION_MS,
        ops_per_s: 12.0,
        workers: (3, 6),
        faults: ALL_KINDS.iter().map(|kind| kind.name).filter(|name| !ELSEWHERE.contains(name)).collect(),
        // With the usual length of a fault at least four of them overlap.
        faults_per_minute: 60.0,
        ..Options::default()
    }
}
