//! A batch of seeds in this process.

use std::io::Write;

use anyhow::Context;
use clap::Args;
use kontiki_chaos_plan::{
    Layer,
    check::{coverage::Coverage, first_failure, judge_all},
    hunts::{Ground, HUNTS},
    ledger::Campaign,
    plan::generate::{Options, generate},
};

use crate::{hunting, layers, outcome::Line};

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
    /// Each plan lasts an hour in which little happens.
    #[arg(long)]
    hours: bool,
    /// The plans of this hunt, by its place in the table, with its defect planted.
    #[arg(long)]
    hunt: Option<usize>,
    /// Without the hunt's defect.
    #[arg(long)]
    healthy: bool,
}

pub(crate) fn batch(args: &BatchArgs) -> anyhow::Result<bool> {
    let hunt = match args.hunt {
        Some(place) => Some(HUNTS.get(place).context("there is no such hunt")?),
        None => None,
    };
    if let Some(hunt) = hunt.filter(|_| !args.healthy) {
        kontiki_hooks::plant(hunt.defect);
    }
    match hunt.map(|hunt| &hunt.ground) {
        None => plans(args, |seed| layers::options(args.layer, seed, args.hours)),
        Some(Ground::Model(terms) | Ground::Whole(terms)) => {
            plans(args, |_| terms.options(layers::faults(args.layer)))
        }
        Some(Ground::Consensus) => hunting::consensus(args.from, args.count, tell),
    }?;
    Ok(true)
}

fn plans(args: &BatchArgs, options: impl Fn(u64) -> Options) -> anyhow::Result<()> {
    let mut player = layers::player(args.layer)?;
    let mut campaign = Campaign::new("", "", args.layer, args.from);
    let mut coverage = Coverage::default();
    for seed in args.from..args.from.saturating_add(args.count) {
        tell(&Line::Begins { seed })?;
        let run = player.play(&generate(seed, &options(seed)))?;
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
    tell(&Line::Over { campaign: Box::new(campaign), coverage: Box::new(coverage) })
}

fn tell(line: &Line) -> anyhow::Result<()> {
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}
