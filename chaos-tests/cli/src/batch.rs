//! A batch of seeds in this process.

use std::io::Write;

use clap::Args;
use kontiki_chaos_plan::{
    Layer,
    check::{coverage::Coverage, first_failure, judge_all},
    ledger::Campaign,
    plan::generate::generate,
};

use crate::{defects, layers, outcome::Line};

/// Arguments of a batch.
#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    #[arg(long, value_parser = layers::parse)]
    layer: Layer,
    /// The first seed.
    #[arg(long)]
    from: u64,
    /// How many.
    #[arg(long)]
    count: u64,
    /// End with the first that fails.
    #[arg(long)]
    first: bool,
    /// This defect is planted.
    #[arg(long)]
    defect: Option<String>,
}

pub(crate) fn batch(args: &BatchArgs) -> anyhow::Result<bool> {
    if let Some(name) = &args.defect {
        kontiki_hooks::plant(defects::by_name(name)?);
    }
    let mut player = layers::player(args.layer)?;
    let mut campaign = Campaign::new("", "", args.layer, args.from);
    let mut coverage = Coverage::default();
    for seed in args.from..args.from.saturating_add(args.count) {
        tell(&Line::Begins { seed })?;
        let run = player.play(&generate(seed, &layers::options(args.layer, seed)))?;
        let judgements = judge_all(&run);
        let simulated_ms = run.lasted_ms();
        campaign.add(&run, simulated_ms, &judgements);
        coverage.add(&run);
        let failure = first_failure(&judgements).cloned();
        let ends = args.first && failure.is_some();
        tell(&Line::Judged { seed, simulated_ms, failure })?;
        if ends {
            break;
        }
    }
    tell(&Line::Over { campaign: Box::new(campaign), coverage: Box::new(coverage) })?;
    Ok(true)
}

fn tell(line: &Line) -> anyhow::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
