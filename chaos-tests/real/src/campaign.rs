//! Many seeds, one after the other: each becomes a plan that is played and judged, and together they become a line of the ledger.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use kontiki_chaos_plan::{
    Layer,
    check::coverage::{Coverage, Required},
    ledger::Campaign,
    plan::generate::generate,
    provenance::{commit, day, seconds},
};
use kontiki_chaos_real::play::{kinds, options};

use crate::{What, play, tally::Tally};

/// Arguments of `seeds`.
#[derive(Debug, Args)]
pub(crate) struct SeedsArgs {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// How many.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Begin no further one after so many minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// Keep plans and histories of runs that failed here.
    #[arg(long, default_value = "target/chaos")]
    out: PathBuf,
    /// Append a line to this ledger.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// Every fault kind must have had an effect. Which pairs of core kinds never overlapped is told: real time allows few of them.
    #[arg(long)]
    coverage: bool,
    #[command(flatten)]
    what: What,
}

/// Plays them. Answers whether all passed, and exercised what they had to.
pub(crate) fn seeds(args: &SeedsArgs) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let end = args.minutes.map(|minutes| begun + Duration::from_secs(60 * minutes));
    std::fs::create_dir_all(&args.out)?;
    let mut campaign = Campaign::new(&commit(), &day(seconds()), Layer::L3, args.from);
    let (mut coverage, mut tally, mut unplayed) = (Coverage::default(), Tally::default(), Vec::new());
    for seed in args.from..args.from.saturating_add(args.count) {
        if end.is_some_and(|end| Instant::now() > end) {
            break;
        }
        let plan = generate(seed, &options(seed));
        let (file, history) =
            (args.out.join(format!("l3-{seed}.jsonl")), args.out.join(format!("l3-{seed}.json")));
        std::fs::write(&file, plan.to_lines())?;
        println!("seed {seed}");
        // What breaks the harness breaks one run, and is no pass.
        let passed = match play(&plan, &args.what, Some(&history)) {
            Ok((run, judgements)) => {
                campaign.add(&run, run.lasted_ms(), &judgements);
                coverage.add(&run);
                tally.add(&run);
                judgements.iter().all(|judgement| judgement.verdict.passed())
            }
            Err(error) => {
                println!("   not played to its end: {error:#}");
                unplayed.push(seed);
                false
            }
        };
        if passed {
            std::fs::remove_file(&file)?;
            std::fs::remove_file(&history)?;
            std::fs::remove_dir_all(history.with_extension("logs"))?;
        } else {
            println!("   replay: kontiki-chaos-real play {}", file.display());
        }
    }
    campaign.wall_ms = u64::try_from(begun.elapsed().as_millis())?;
    campaign.failed_seeds.extend(&unplayed);
    campaign.unknown += unplayed.len() as u64;
    if let Some(ledger) = &args.ledger {
        campaign.append(ledger)?;
    }
    println!(
        "{} seeds played, failed: {:?}; {} operations, {} watch events, {} faults of {} kinds that bit, {:.0} s",
        campaign.runs,
        campaign.failed_seeds,
        campaign.ops,
        campaign.watch_events,
        campaign.bit,
        coverage.kinds.len(),
        begun.elapsed().as_secs_f64()
    );
    print!("{tally}");
    let all: Vec<&str> = kinds().collect();
    let mut missing = Vec::new();
    if args.coverage {
        let pairs =
            coverage.missing(&Required { pairs: Required::of(&all, &[]).pairs, ..Required::default() });
        println!("pairs of core kinds that never overlapped: {}", pairs.len());
        missing = coverage.missing(&Required { kinds: all, ..Required::default() });
        missing.iter().for_each(|words| println!("not exercised: {words}"));
    }
    Ok(campaign.failed_seeds.is_empty() && missing.is_empty() && campaign.runs > 0)
}
