//! What a batch tells about its seeds, a line of JSON each.

use kontiki_chaos_plan::{
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
