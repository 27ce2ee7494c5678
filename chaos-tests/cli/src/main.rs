//! `kontiki-chaos`: plays plans in the simulated layers, judges them, finds planted defects, shrinks what fails and writes the report.
//! Each batch of seeds runs in a process of its own, so that a panic or an endless loop costs one batch and is a finding.
//! Plans for real processes are played by `kontiki-chaos-real`.

mod batch;
mod children;
mod defects;
mod hunting;
mod layers;
mod outcome;
mod say;
mod seeds;
mod single;
mod workers;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use kontiki_chaos_plan::{Layer, Plan, plan::generate::generate};

/// Plays plans of operations and faults in the simulated layers, and judges what happened.
#[derive(Debug, Parser)]
#[command(after_help = "A failing seed is replayed by the command that is printed with it.\n\
                        The layers: l0, the model; l1, the protocol (real consensus on simulated disks and network).")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a plan from each of many seeds, play and judge them, and what they have exercised together.
    Seeds(seeds::SeedsArgs),
    /// Play one plan, by file or by seed, and say what came of it.
    Play(single::PlayArgs),
    /// Print the plan of a seed.
    Plan {
        /// The layer that it is made for.
        #[arg(long, value_parser = layers::parse, default_value = "l0")]
        layer: Layer,
        /// The seed, or a defect and a seed of its hunt: `mass-condemnation:3`.
        seed: String,
    },
    /// Make a failing plan as short as it can be.
    Shrink(single::ShrinkArgs),
    /// Plant each known defect in turn: each must be found.
    Defects(defects::DefectsArgs),
    /// Replay the plans of `chaos-tests/regressions`.
    Regressions {
        /// Where they are.
        #[arg(long, default_value = kontiki_chaos_plan::regressions::DIRECTORY)]
        directory: PathBuf,
    },
    /// Sum the ledger of campaigns up.
    Ledger {
        /// Where it is.
        #[arg(long, default_value = kontiki_chaos_plan::ledger::FILE)]
        file: PathBuf,
    },
    /// A batch of seeds; what `seeds` and `defects` start.
    #[command(hide = true)]
    Batch(batch::BatchArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Seeds(args) => seeds::seeds(&args),
        Command::Play(args) => single::play(&args),
        Command::Plan { layer, seed } => plan_of(&seed, layer).map(|plan| {
            print!("{}", plan.to_lines());
            true
        }),
        Command::Shrink(args) => single::shrink(&args),
        Command::Defects(args) => defects::defects(&args),
        Command::Regressions { directory } => single::regressions(&directory),
        Command::Ledger { file } => kontiki_chaos_plan::ledger::read(&file).map(|campaigns| {
            print!("{}", kontiki_chaos_plan::ledger::table(&campaigns));
            true
        }),
        Command::Batch(args) => batch::batch(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("kontiki-chaos: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Reads a plan, or makes the one of a seed, or that of a seed of a defect's hunt (`mass-condemnation:3`).
fn plan_of(text: &str, layer: Layer) -> anyhow::Result<Plan> {
    if let Some(plan) = hunting::plan(text, layer) {
        return Ok(plan);
    }
    match text.parse::<u64>() {
        Ok(seed) => Ok(generate(seed, &layers::options(layer, seed, false))),
        Err(_) => Plan::read(std::path::Path::new(text)),
    }
}
