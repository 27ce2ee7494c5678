//! Many seeds, in several processes at once.

use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use kontiki_chaos_plan::{
    Layer,
    check::coverage::{Coverage, Required},
    ledger::Campaign,
    plan::generate::generate,
    provenance::{self, commit, day},
};

use crate::{
    children::{self, Job},
    layers,
    outcome::Line,
    say::Progress,
    workers,
};

/// Seeds of one process.
const BATCH: u64 = 8;
/// So many failing seeds are told in full.
const TOLD: usize = 10;
/// So many of the things that came last are told.
const LAST_TOLD: usize = 5;

/// Arguments of `seeds`.
#[derive(Debug, Args)]
pub(crate) struct SeedsArgs {
    /// The layer.
    #[arg(long, value_parser = layers::parse)]
    layer: Layer,
    /// The first seed [default: the time, so that each run tries others].
    #[arg(long)]
    from: Option<u64>,
    /// How many; without it as many as the time allows.
    #[arg(long)]
    count: Option<u64>,
    /// Begin none after so many minutes.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Each plan lasts an hour in which little happens, as most plans of l0 do: some bugs are armed by silence.
    #[arg(long)]
    hours: bool,
    /// Processes at once [default: one per processor].
    #[arg(long)]
    jobs: Option<usize>,
    /// Plans of runs that failed are kept here.
    #[arg(long, default_value = "target/chaos")]
    out: PathBuf,
    /// Append a line to this ledger.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// Every fault kind of the layer and every pair of the core kinds must have had an effect, and every mark in the code must
    /// have been reached.
    #[arg(long)]
    coverage: bool,
    /// So many of the kinds of the fault matrix must have had an effect.
    #[arg(long, default_value_t = 0)]
    numbers: usize,
}

/// What is known so far.
struct Sum {
    campaign: Campaign,
    coverage: Coverage,
    failures: Vec<u64>,
    progress: Progress,
    simulated_ms: u64,
    runs: u64,
    required: Required,
    /// What was still missing when one looked last, and what came after how many runs.
    missing: Vec<String>,
    came: Vec<(u64, String)>,
}

pub(crate) fn seeds(args: &SeedsArgs) -> anyhow::Result<bool> {
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(args.minutes.max(0.0) * 60.0);
    let seconds = provenance::seconds();
    let from = args.from.unwrap_or(seconds.saturating_mul(1000));
    let last = args.count.map_or(u64::MAX, |count| from.saturating_add(count));
    std::fs::create_dir_all(&args.out)?;
    let all = Required::of(&layers::faults(args.layer), &layers::marks(args.layer));
    let required = if args.coverage { all } else { Required::default() };
    let sum = Mutex::new(Sum {
        campaign: Campaign::new(&commit(), &day(seconds), args.layer, from),
        coverage: Coverage::default(),
        failures: Vec::new(),
        progress: Progress::new(),
        simulated_ms: 0,
        runs: 0,
        missing: Coverage::default().missing(&required),
        came: Vec::new(),
        required,
    });
    let next = AtomicU64::new(from);
    workers::all(args.jobs, || {
        while Instant::now() < end {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= last {
                break;
            }
            let count = BATCH.min(last - first);
            let (layer, hours) = (args.layer, args.hours);
            let job = Job { layer, from: first, count, first: false, hours, hunt: None, healthy: false };
            children::play(&job, |line| hear(&sum, args, begun, line))?;
        }
        Ok(())
    })?;
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.campaign.wall_ms = begun.elapsed().as_millis() as u64;
    sum.campaign.failed_seeds.clone_from(&sum.failures);
    if let Some(ledger) = &args.ledger {
        sum.campaign.append(ledger)?;
    }
    let missing = sum.coverage.missing(&Required { numbers: args.numbers, ..sum.required.clone() });
    missing.iter().for_each(|words| sum.progress.say(&format!("not exercised: {words}")));
    if let Some(words) = last_to_come(&sum.came) {
        sum.progress.say(&words);
    }
    let summary = summary(&sum, begun.elapsed());
    sum.progress.say(&summary);
    Ok(sum.failures.is_empty() && missing.is_empty() && sum.campaign.unknown == 0 && sum.runs > 0)
}

fn hear(sum: &Mutex<Sum>, args: &SeedsArgs, begun: Instant, line: Line) {
    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
    match line {
        Line::Begins { .. } => {}
        Line::Judged { seed, simulated_ms, failure } => {
            sum.runs += 1;
            sum.simulated_ms += simulated_ms;
            if let Some(failure) = failure {
                sum.failures.push(seed);
                let file = args.out.join(format!("{}-{seed}.jsonl", layers::name(args.layer)));
                let plan = generate(seed, &layers::options(args.layer, seed, args.hours));
                let kept = std::fs::write(&file, plan.to_lines());
                if sum.failures.len() <= TOLD {
                    let words = format!(
                        "seed {seed}: {}: {:?}\n  replay: kontiki-chaos play --layer {} {}",
                        failure.check,
                        failure.verdict,
                        layers::name(args.layer),
                        kept.map_or_else(|_| seed.to_string(), |()| file.display().to_string()),
                    );
                    sum.progress.say(&words);
                }
            }
            let words = summary(&sum, begun.elapsed());
            sum.progress.now(&words);
        }
        Line::Over { campaign, coverage } => {
            sum.campaign.merge(&campaign);
            sum.coverage.merge(&coverage);
            sum.note_what_came();
        }
    }
}

impl Sum {
    fn note_what_came(&mut self) {
        let missing = self.coverage.missing(&self.required);
        // Counts stand in the words: what is told anew is no less missing.
        let still = |words: &String| missing.iter().any(|other| subject(other) == subject(words));
        let came = std::mem::take(&mut self.missing).into_iter().filter(|words| !still(words));
        self.came.extend(came.map(|words| (self.runs, words)));
        self.missing = missing;
    }
}

/// What is missing, without how often it was tried.
fn subject(words: &str) -> &str {
    words.split(',').next().unwrap_or(words)
}

/// What came last of all that is demanded: that is what shorter campaigns miss.
fn last_to_come(came: &[(u64, String)]) -> Option<String> {
    let last: Vec<String> =
        came.iter().rev().take(LAST_TOLD).map(|(runs, words)| format!("until {runs} runs {words}")).collect();
    (!last.is_empty()).then(|| last.join("; "))
}

fn summary(sum: &Sum, wall: Duration) -> String {
    let hours = sum.simulated_ms as f64 / 3.6e6;
    let speed = sum.simulated_ms as f64 / 1000.0 / wall.as_secs_f64().max(0.001);
    let campaign = &sum.campaign;
    format!(
        "{:?}: {} runs, {} failed; {hours:.2} cluster-hours in {:.0} s ({speed:.0}x); {} operations, {} watch events, {} faults \
         of {} kinds that bit ({} of the fault matrix)",
        campaign.layer,
        sum.runs,
        sum.failures.len(),
        wall.as_secs_f64(),
        campaign.ops,
        campaign.watch_events,
        campaign.bit,
        sum.coverage.kinds.len(),
        sum.coverage.numbers.len(),
    )
}
