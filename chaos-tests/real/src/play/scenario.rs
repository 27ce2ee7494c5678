//! What a scenario of this layer is: short, with several faults at once.

use kontiki_chaos_plan::plan::generate::{ALL_KINDS, Budget, Options, Profile};

/// How long a scenario is.
const DURATION_MS: u64 = 22_000;
/// Fewer entries than this between snapshots would purge what a controller lacks that was down for a moment only: with the witness
/// (see [`crate::Cluster::witness`]) the evidence would be gone.
pub const SNAPSHOT_ENTRIES: u64 = 300;
/// The kind by which logs are purged. Such plans have three controllers, so that nothing is committed without the witness while one is
/// away, and no fault that costs the witness its log.
const PURGES: &str = "snapshot-while-away";
const COST_A_LOG: [&str; 3] = ["bit-rot", "disk-lost", "member-replaced"];
/// What other layers do.
const ELSEWHERE: [&str; 2] = ["old-leader", "crash-at-command"];

/// The kinds of faults that this layer does.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    ALL_KINDS.iter().map(|kind| kind.name).filter(|name| !ELSEWHERE.contains(name))
}

/// The options by which plans for real processes are made. Profiles take turns; of three plans one purges logs.
pub fn options(seed: u64) -> Options {
    let purges = seed.is_multiple_of(3);
    let possible = |name: &&'static str| if purges { !COST_A_LOG.contains(name) } else { *name != PURGES };
    let options = Options {
        profile: Profile::ALL[(seed % 4) as usize],
        budget: Budget::Within,
        duration_ms: DURATION_MS,
        ops_per_s: 12.0,
        workers: (3, 6),
        faults: kinds().filter(possible).collect(),
        // With the usual length of a fault at least four of them overlap.
        faults_per_minute: 60.0,
        ..Options::default()
    };
    if purges { Options { controllers: vec![3], ..options } } else { options }
}

#[cfg(test)]
mod tests {
    use kontiki_chaos_plan::plan::{FaultKind, What, generate::generate};

    use super::*;

    #[test]
    fn logs_are_purged_only_where_the_witness_keeps_its_own() {
        for seed in 0..60 {
            let plan = generate(seed, &options(seed));
            let kinds = plan.events.iter().filter_map(|event| match &event.what {
                What::Fault(fault) => Some(fault.kind.clone()),
                What::Op { .. } => None,
            });
            let kinds: Vec<FaultKind> = kinds.collect();
            if kinds.contains(&FaultKind::SnapshotWhileAway) {
                assert_eq!(plan.shape.controllers, 3);
                assert!(!kinds.iter().any(|kind| COST_A_LOG.contains(&kind.name())), "{kinds:?}");
            }
        }
    }
}
