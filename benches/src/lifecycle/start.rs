//! From the built binary to a ready cluster.

use std::time::Instant;

use kontiki_chaos_tests::{Cluster, Plan};

use super::figures::Figures;

/// Starts clusters from nothing.
pub(crate) fn measure(plan: &Plan, n: usize) -> anyhow::Result<()> {
    let mut figures = Figures::default();
    for _ in 0..n {
        let started = Instant::now();
        let cluster = Cluster::start(plan.clone())?;
        figures.add(started.elapsed());
        drop(cluster);
    }
    figures.print("built binary to a ready 3+3 cluster", "<= 5 s");
    Ok(())
}
