//! The player of real clusters, from the command line.

mod campaign;
mod tally;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use campaign::SeedsArgs;
use clap::{Parser, Subcommand};
use kontiki_chaos_plan::{
    Plan, Play, Run,
    check::{self, Judgement},
};

use kontiki_chaos_real::{
    Cluster, Real, Setup, ground,
    measure::{Means, MeasureArgs, measure},
    play::silence,
    truth,
};

/// Plays plans with real processes. Needs root; gives back everything that it takes of the machine.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play a plan and judge it.
    Play {
        /// The plan's file.
        plan: PathBuf,
        /// Keep the whole history here, as JSON, and the processes' logs beside it.
        #[arg(long)]
        out: Option<PathBuf>,
        #[command(flatten)]
        what: What,
    },
    /// Make plans from seeds, one after the other, play and judge them.
    Seeds(SeedsArgs),
    /// Judge a history that was kept, again.
    Judge {
        /// The history.
        history: PathBuf,
        /// Print the entries of the log from this one ...
        #[arg(long)]
        first: Option<u64>,
        /// ... to this one.
        #[arg(long, default_value_t = u64::MAX)]
        last: u64,
    },
    /// Start a cluster and leave it running until SIGINT or SIGTERM.
    Hold {
        #[command(flatten)]
        what: What,
        /// How many controllers.
        #[arg(long, default_value_t = 3)]
        controllers: u32,
        /// How many workers.
        #[arg(long, default_value_t = 3)]
        workers: u32,
    },
    /// Measure what clients notice when a leader, a worker or a zone is lost.
    Measure {
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        args: MeasureArgs,
    },
    /// Remove what runs left whose harness was killed.
    Sweep,
    /// What runs in a container: tells the harness that it runs.
    #[command(hide = true)]
    Container,
}

#[derive(Clone, Debug, clap::Args)]
struct What {
    /// The built binary.
    #[arg(long, env = "KONTIKI_BINARY", default_value = "target/release/kontiki")]
    binary: PathBuf,
    /// The archive of the image that pods name.
    #[arg(long, env = "KONTIKI_TEST_IMAGE")]
    image: Option<PathBuf>,
}

impl What {
    fn setup(&self) -> anyhow::Result<Setup> {
        let binary = self.binary.canonicalize().with_context(|| self.binary.display().to_string())?;
        let image = match &self.image {
            Some(image) => image.clone(),
            None => kontiki_chaos_tests::example_image()?,
        };
        Ok(Setup { binary, image: Some(image), ..Setup::default() })
    }
}

fn main() -> ExitCode {
    kontiki_pki::install_crypto();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kontiki-chaos-real: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Play { plan, out, what } => {
            let plan = Plan::read(&plan)?;
            let run = play(&plan, &what, out.as_deref(), true)?;
            anyhow::ensure!(check::first_failure(&say(&run)).is_none(), "the run failed");
            Ok(())
        }
        Command::Seeds(args) => {
            anyhow::ensure!(campaign::seeds(&args)?, "runs failed, or did not exercise what they had to");
            Ok(())
        }
        Command::Judge { history, first, last } => {
            let run: Run = serde_json::from_slice(&std::fs::read(&history)?)?;
            for entry in
                run.log.iter().filter(|entry| first.is_some_and(|n| (n..=last).contains(&entry.index)))
            {
                let decoded = kontiki_actors::Entry::decode(&entry.bytes);
                println!("{} term {}: {decoded:#?}", entry.index, entry.term);
            }
            anyhow::ensure!(check::first_failure(&judge(&run)).is_none(), "the run failed");
            Ok(())
        }
        Command::Hold { what, controllers, workers } => {
            let shape = kontiki_chaos_plan::plan::Shape { controllers, workers, ..Default::default() };
            let cluster = Cluster::start(what.setup()?, &shape, 0)?;
            println!("ready {}", cluster.id());
            loop {
                std::thread::park();
            }
        }
        Command::Measure { what, args } => {
            let means = Means { setup: what.setup()?, program: std::env::current_exe()? };
            measure(&args, &means)
        }
        Command::Sweep => {
            for id in ground::sweep()? {
                println!("removed run {id}");
            }
            Ok(())
        }
        Command::Container => truth::tell(),
    }
}

/// Plays a plan. With `out` the history is kept there and the processes' logs beside it; `tell` says what happens while it does.
fn play(plan: &Plan, what: &What, out: Option<&Path>, tell: bool) -> anyhow::Result<Run> {
    let logs = out.map(|out| out.with_extension("logs"));
    let mut real = Real { setup: what.setup()?, program: std::env::current_exe()?, tell, logs };
    let run = real.play(plan)?;
    if let Some(out) = out {
        std::fs::write(out, serde_json::to_vec(&run)?)?;
    }
    Ok(run)
}

/// Says what came of each fault, judges the run and says that, too.
fn say(run: &Run) -> Vec<Judgement> {
    for fault in &run.faults {
        let what = fault.skipped.as_deref().unwrap_or(if fault.bit { "bit" } else { "did not bite" });
        println!("   fault {} (kind {}) on {}: {what}", fault.event, fault.number, fault.hit.join(", "));
    }
    judge(run)
}

/// Judges a run by all checks, and says every verdict that is no pass.
fn judge(run: &Run) -> Vec<Judgement> {
    let mut judgements = check::judge_all(run);
    if let Some(silence) = silence(run) {
        println!(
            "   all workers were silent for {} ms: of {} containers {} ended, {} began",
            silence.lasted_ms,
            silence.running,
            silence.ended.len(),
            silence.began.len()
        );
        judgements.push(Judgement { check: "silence".into(), verdict: silence.verdict(run) });
    }
    for judgement in judgements.iter().filter(|judgement| !judgement.verdict.passed()) {
        println!("   {}: {:?}", judgement.check, judgement.verdict);
    }
    let failed = check::first_failure(&judgements).is_some();
    println!("   {} checks: {}", judgements.len(), if failed { "FAILED" } else { "passed" });
    judgements
}
