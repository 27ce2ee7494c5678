//! The harness is tested, too: each planted defect must be found.

use std::time::Instant;

use anyhow::Context;
use clap::Args;
use kontiki_chaos_plan::Layer;
use kontiki_hooks::Defect;

use crate::{
    children::{self, Job},
    layers,
    outcome::Line,
    say::Progress,
};

/// Arguments of `defects`.
#[derive(Debug, Args)]
pub(crate) struct DefectsArgs {
    /// The layers to look in, one after the other.
    #[arg(long, value_parser = layers::parse, value_delimiter = ',', default_value = "l0,l1")]
    layers: Vec<Layer>,
    /// Only these; several with commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// So many seeds are tried per layer.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
}

/// The defect of this name.
pub(crate) fn by_name(name: &str) -> anyhow::Result<Defect> {
    Defect::ALL
        .iter()
        .copied()
        .find(|defect| defect.name() == name)
        .with_context(|| format!("no defect is called {name}"))
}

pub(crate) fn defects(args: &DefectsArgs) -> anyhow::Result<bool> {
    let wanted: Vec<Defect> = match args.only.as_slice() {
        [] => Defect::ALL.to_vec(),
        names => names.iter().map(|name| by_name(name)).collect::<anyhow::Result<_>>()?,
    };
    let mut progress = Progress::new();
    let mut missed = Vec::new();
    for defect in &wanted {
        progress.now(&format!("{} ...", defect.name()));
        let begun = Instant::now();
        let mut found = None;
        for layer in &args.layers {
            found = find(*layer, *defect, args)?;
            if found.is_some() {
                break;
            }
        }
        match found {
            Some((layer, tried, check)) => progress.say(&format!(
                "found   {:28} {layer:?}, {tried} seeds, {:.1} s, by {check}",
                defect.name(),
                begun.elapsed().as_secs_f64()
            )),
            None => {
                missed.push(*defect);
                progress.say(&format!("MISSED  {:28} {}", defect.name(), defect.about().trim()));
            }
        }
    }
    progress.say(&format!("{} of {} planted defects found", wanted.len() - missed.len(), wanted.len()));
    Ok(missed.is_empty())
}

/// The layer, how many seeds it took, and the check that fired.
fn find(layer: Layer, defect: Defect, args: &DefectsArgs) -> anyhow::Result<Option<(Layer, u64, String)>> {
    let job =
        Job { layer, from: args.from, count: args.seeds, first: true, defect: Some(defect.name().into()) };
    let mut found = None;
    children::play(&job, |line| {
        if let Line::Judged { seed, failure: Some(failure), .. } = line {
            found = Some((layer, seed + 1 - args.from, failure.check));
        }
    })?;
    Ok(found)
}
