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
/// Of three plans one purges logs.
const PURGES_EVERY: u64 = 3;
/// So many kinds are in a plan for certain, in turns, so that a campaign of half an hour tries every kind.
const FEATURED: u64 = 2;

/// The kinds of faults that this layer does.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    ALL_KINDS.iter().map(|kind| kind.name).filter(|name| !ELSEWHERE.contains(name))
}

/// The options by which plans for real processes are made. Profiles take turns, and so do the kinds that a plan has for certain.
pub fn options(seed: u64) -> Options {
    let purges = seed.is_multiple_of(PURGES_EVERY);
    let possible = |name: &&'static str| if purges { !COST_A_LOG.contains(name) } else { *name != PURGES };
    let faults: Vec<&'static str> = kinds().filter(possible).collect();
    let options = Options {
        profile: Profile::ALL[(seed % 4) as usize],
        budget: Budget::Within,
        duration_ms: DURATION_MS,
        ops_per_s: 12.0,
        workers: (3, 6),
        featured: featured(seed, &faults),
        faults,
        // With the usual length of a fault at least four of them overlap.
        faults_per_minute: 60.0,
        ..Options::default()
    };
    if purges { Options { controllers: vec![3], ..options } } else { options }
}

/// The kinds that are this seed's turn. Those that purge logs take turns among themselves, and so do the others: each has other kinds.
fn featured(seed: u64, possible: &[&'static str]) -> Vec<&'static str> {
    let purging = seed.div_ceil(PURGES_EVERY);
    let nth = if seed.is_multiple_of(PURGES_EVERY) { purging } else { seed - purging };
    let all = possible.iter().cycle();
    let skipped = (nth * FEATURED) % possible.len().max(1) as u64;
    all.skip(skipped as usize).take(FEATURED as usize).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kontiki_chaos_plan::plan::{FaultKind, What, generate::generate};

    use super::*;

    #[test]
    fn every_kind_takes_its_turns_in_a_short_campaign() {
        for from in [1, 2, 3, 2001, 1_764_366_000] {
            let mut turns: BTreeMap<&str, u32> = BTreeMap::new();
            for seed in from..from + 40 {
                for name in options(seed).featured {
                    *turns.entry(name).or_default() += 1;
                }
            }
            for kind in kinds() {
                assert!(turns.contains_key(kind), "{kind} from {from}: {turns:?}");
            }
        }
    }

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
