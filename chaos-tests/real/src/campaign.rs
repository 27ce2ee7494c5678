//! Many seeds, one after the other or some at once: each becomes a plan that is played and judged, and together they become a line of the ledger.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::Args;
use kontiki_chaos_plan::{
    Layer,
    check::coverage::{Coverage, Required},
    ledger::Campaign,
    plan::generate::generate,
    provenance::{commit, day, seconds},
};
use kontiki_chaos_real::play::{kinds, options};
use parking_lot::Mutex;

use crate::{What, play, say, tally::Tally};

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
    /// Clusters at once: a plan has a time, and waits more than it works. With more than one nothing is told before a run's end.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
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

/// What is known so far.
struct Sum {
    campaign: Campaign,
    coverage: Coverage,
    tally: Tally,
    /// Seeds whose runs the harness could not play to their end.
    unplayed: Vec<u64>,
}

/// Plays them. Answers whether all passed, and exercised what they had to.
pub(crate) fn seeds(args: &SeedsArgs) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let end = args.minutes.map(|minutes| begun + Duration::from_secs(60 * minutes));
    std::fs::create_dir_all(&args.out)?;
    let sum = Mutex::new(Sum {
        campaign: Campaign::new(&commit(), &day(seconds()), Layer::L3, args.from),
        coverage: Coverage::default(),
        tally: Tally::default(),
        unplayed: Vec::new(),
    });
    let (next, last) = (AtomicU64::new(args.from), args.from.saturating_add(args.count));
    let work = || -> anyhow::Result<()> {
        while end.is_none_or(|end| Instant::now() <= end) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                break;
            }
            one(seed, args, &sum)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..args.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        jobs.into_iter().try_for_each(|job| job.join().unwrap_or_else(|_| bail!("a run panicked")))
    })?;
    summary(args, sum.into_inner(), begun.elapsed())
}

/// Plays one seed. An error is one of this machine: nothing can be kept any more.
fn one(seed: u64, args: &SeedsArgs, sum: &Mutex<Sum>) -> anyhow::Result<()> {
    let plan = generate(seed, &options(seed));
    let (file, history) =
        (args.out.join(format!("l3-{seed}.jsonl")), args.out.join(format!("l3-{seed}.json")));
    std::fs::write(&file, plan.to_lines())?;
    // What several say at once nobody can read: then each says all of it at its end.
    let alone = args.jobs <= 1;
    if alone {
        println!("seed {seed}");
    }
    let played = play(&plan, &args.what, Some(&history), alone);
    let mut sum = sum.lock();
    if !alone {
        println!("seed {seed}");
    }
    // What breaks the harness breaks one run, and is no pass.
    let passed = match played {
        Ok(run) => {
            let judgements = say(&run);
            sum.campaign.add(&run, run.lasted_ms(), &judgements);
            sum.coverage.add(&run);
            sum.tally.add(&run);
            judgements.iter().all(|judgement| judgement.verdict.passed())
        }
        Err(error) => {
            println!("   not played to its end: {error:#}");
            sum.unplayed.push(seed);
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
    Ok(())
}

/// Says what came of all of them, and appends it to the ledger.
fn summary(args: &SeedsArgs, sum: Sum, took: Duration) -> anyhow::Result<bool> {
    let Sum { mut campaign, coverage, tally, unplayed } = sum;
    campaign.wall_ms = u64::try_from(took.as_millis())?;
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
        took.as_secs_f64()
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
