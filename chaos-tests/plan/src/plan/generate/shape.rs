//! The cluster of a seed. Small thresholds in some of them make snapshots, compactions and verdicts common.

use rand::{Rng, rngs::StdRng};

use super::{Budget, Options, Profile, kinds::pick};
use crate::plan::Shape;

pub(super) fn draw(rng: &mut StdRng, options: &Options) -> Shape {
    let (least, most) = options.workers;
    let small = matches!(options.profile, Profile::Watches) || rng.random_bool(0.4);
    let (snapshots, history): (&[u64], &[u64]) =
        if small { (&[10, 20, 50, 100], &[16, 64, 256]) } else { (&[200, 1000, 5000], &[1000, 10_000]) };
    let defaults = Shape::default();
    Shape {
        controllers: if options.controllers.is_empty() { 3 } else { pick(rng, &options.controllers) },
        workers: rng.random_range(least..=most.max(least)),
        zones: options.zones.max(1),
        node_cpu_m: pick(rng, &[1000, 4000, 8000]),
        node_memory_mib: defaults.node_memory_mib,
        node_pods: pick(rng, &[10, 30, 110]),
        snapshot_entries: pick(rng, snapshots),
        node_grace_ms: pick(rng, &[1500, 3000, 3000, 8000]),
        election_ms: pick(rng, &[150, 200, 200, 400]),
        watch_history: pick(rng, history),
        beyond_budget: options.budget == Budget::Beyond,
    }
}
