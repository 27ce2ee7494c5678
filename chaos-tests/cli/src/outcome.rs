//! What a batch tells about its seeds, a line of JSON each.

use kontiki_chaos_plan::{
    Run,
    check::{Judgement, coverage::Coverage},
    ledger::Campaign,
};
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Line {
    /// A seed begins: if no more is heard, this one did it.
    Begins {
        /// The seed.
        seed: u64,
    },
    /// A seed was judged.
    Judged {
        /// The seed.
        seed: u64,
        /// How long it lasted in its own time.
        simulated_ms: u64,
        /// The first judgement that is no pass.
        failure: Option<Judgement>,
    },
    /// The batch is over.
    Over {
        /// Its sums.
        campaign: Box<Campaign>,
        /// What it has exercised.
        coverage: Box<Coverage>,
    },
}

/// How long a run lasted in its own time.
pub(crate) fn simulated_ms(run: &Run) -> u64 {
    let settled = &run.settled;
    let parts = [settled.leader_ns, settled.replicas_ns, settled.workload_ns, settled.served_ns];
    let after = parts.iter().map(|part| part.unwrap_or(settled.limit_ns)).max().unwrap_or(0);
    (settled.healed_ns + after) / 1_000_000
}
