//! The harness is tested, too: each planted defect must be found, as the table of hunts says.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::Context;
use clap::Args;
use kontiki_chaos_plan::{
    Layer, Verdict,
    hunts::{HUNTS, Hunt},
};
use kontiki_hooks::Defect;

use crate::{
    children::{self, Job},
    hunting, layers,
    outcome::Line,
    say::Progress,
    workers,
};

/// Arguments of `defects`.
#[derive(Debug, Args)]
pub(crate) struct DefectsArgs {
    /// Only in these layers, with commas [default: wherever the table looks for them].
    #[arg(long, value_parser = layers::parse, value_delimiter = ',')]
    layers: Vec<Layer>,
    /// Only these; several with commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Processes at once [default: one per processor].
    #[arg(long)]
    jobs: Option<usize>,
}

/// The defect of this name.
pub(crate) fn by_name(name: &str) -> anyhow::Result<Defect> {
    Defect::ALL
        .iter()
        .copied()
        .find(|defect| defect.name() == name)
        .with_context(|| format!("no defect is called {name}"))
}

/// What came of a hunt.
enum Prey {
    /// This seed violates that.
    Found(u64, String),
    /// So does it without the defect: what was found is something else.
    Sick(u64, String),
    /// Nothing.
    None,
}

pub(crate) fn defects(args: &DefectsArgs) -> anyhow::Result<bool> {
    let wanted: Vec<Defect> = match args.only.as_slice() {
        [] => Defect::ALL.to_vec(),
        names => names.iter().map(|name| by_name(name)).collect::<anyhow::Result<_>>()?,
    };
    let here = |hunt: &Hunt| args.layers.is_empty() || args.layers.contains(&hunting::layer(&hunt.ground));
    let chosen = |hunt: &Hunt| wanted.contains(&hunt.defect) && here(hunt);
    let places: Vec<usize> = (0..HUNTS.len()).filter(|place| chosen(&HUNTS[*place])).collect();
    // Those that the layers leave out are of another call.
    let unhunted: Vec<&Defect> =
        wanted.iter().filter(|defect| !HUNTS.iter().any(|hunt| hunt.defect == **defect)).collect();
    unhunted.iter().for_each(|defect| println!("MISSED  {:28} nobody looks for it", defect.name()));
    let missed = hunt_all(&places, args.jobs)?;
    println!("{} of {} hunts found their planted defects", places.len() - missed, places.len());
    Ok(missed == 0 && unhunted.is_empty() && !places.is_empty())
}

/// How many found nothing.
fn hunt_all(places: &[usize], jobs: Option<usize>) -> anyhow::Result<usize> {
    let told = Mutex::new((Progress::new(), 0));
    let next = AtomicUsize::new(0);
    workers::all(jobs, || {
        while let Some(place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (hunt, begun) = (&HUNTS[*place], Instant::now());
            let prey = find(*place, hunt)?;
            let (name, layer) = (hunt.defect.name(), hunting::layer(&hunt.ground));
            let seconds = begun.elapsed().as_secs_f64();
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            let words = match &prey {
                Prey::Found(seed, what) => {
                    format!("found   {name:28} {layer:?}, seed {seed}, {seconds:.1} s, by {what}")
                }
                Prey::Sick(seed, what) => {
                    format!("MISSED  {name:28} {layer:?}: seed {seed} fails without it, too: {what}")
                }
                Prey::None => {
                    format!("MISSED  {name:28} {layer:?}, {seconds:.1} s: {}", hunt.defect.about().trim())
                }
            };
            told.0.say(&words);
            told.1 += usize::from(!matches!(prey, Prey::Found(..)));
        }
        Ok(())
    })?;
    let (_, missed) = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(missed)
}

fn find(place: usize, hunt: &Hunt) -> anyhow::Result<Prey> {
    let layer = hunting::layer(&hunt.ground);
    let job = Job {
        layer,
        from: hunt.from,
        count: hunt.seeds,
        first: true,
        hours: false,
        hunt: Some(place),
        healthy: false,
    };
    let Some((seed, what)) = violated(&job)? else { return Ok(Prey::None) };
    // Only what passes without the defect was found because of it. What does not is a bug of its own.
    let healthy = violated(&Job { from: seed, count: 1, healthy: true, ..job })?;
    Ok(healthy.map_or(Prey::Found(seed, what), |(seed, what)| Prey::Sick(seed, what)))
}

/// The first seed that violates something, and what.
fn violated(job: &Job) -> anyhow::Result<Option<(u64, String)>> {
    let mut found = None;
    children::play(job, |line| {
        // What could not be decided is no find.
        if let Line::Judged { seed, failure: Some(failure), .. } = line
            && let Verdict::Violated { invariant, .. } = failure.verdict
        {
            found = Some((seed, format!("{} ({invariant})", failure.check)));
        }
    })?;
    Ok(found)
}
