//! The grounds on which planted defects are hunted, as the hunts name them.

use kontiki_chaos_plan::{
    Layer, Plan, Verdict,
    check::{Judgement, coverage::Coverage},
    hunts::{Ground, HUNTS},
    ledger::Campaign,
    plan::generate::generate,
};
use kontiki_chaos_protocol::{consensus, sim};

use crate::{layers, outcome::Line};

/// The layer of a ground.
pub(crate) fn layer(ground: &Ground) -> Layer {
    match ground {
        Ground::Model(_) => Layer::L0,
        Ground::Consensus | Ground::Whole(_) => Layer::L1,
    }
}

/// The plan that `DEFECT:SEED` names, if the defect is hunted in plans of this layer.
pub(crate) fn plan(text: &str, of: Layer) -> Option<Plan> {
    let (name, seed) = text.split_once(':')?;
    let seed = seed.parse().ok()?;
    let mut hunts = HUNTS.iter().filter(|hunt| hunt.defect.name() == name && layer(&hunt.ground) == of);
    match hunts.next()?.ground {
        Ground::Model(terms) | Ground::Whole(terms) => {
            Some(generate(seed, &terms.options(layers::faults(of))))
        }
        Ground::Consensus => None,
    }
}

/// Plays the consensus alone until something is wrong.
pub(crate) fn consensus(
    from: u64,
    count: u64,
    mut tell: impl FnMut(&Line) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for seed in from..from.saturating_add(count) {
        tell(&Line::Begins { seed })?;
        let outcome = sim::run(seed, consensus::play(consensus::generate(seed)));
        let failure = outcome.broken.into_iter().next().map(|broken| Judgement {
            check: "the consensus' observer".into(),
            verdict: Verdict::violated(&broken.invariant, Some(broken.at_ns), broken.words),
        });
        let (found, simulated_ms) = (failure.is_some(), outcome.simulated.as_millis() as u64);
        tell(&Line::Judged { seed, simulated_ms, failure })?;
        if found {
            break;
        }
    }
    let campaign = Campaign::new("", "", Layer::L1, from);
    tell(&Line::Over { campaign: Box::new(campaign), coverage: Box::new(Coverage::default()) })
}
