//! The player of real clusters, from the command line.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use kontiki_chaos_plan::{Plan, Play, Run, check, plan::generate::generate};
use kontiki_chaos_real::{Cluster, Real, Setup, ground, play::options, truth};

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
    Seeds {
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
        #[command(flatten)]
        what: What,
    },
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
    /// Remove what runs left whose harness was killed.
    Sweep,
    /// What runs in a container: tells the harness that it runs.
    #[command(hide = true)]
    Container,
}

#[derive(Clone, Debug, clap::Args)]
struct What {
    /// The built binary.
    #[arg(long, default_value = "target/release/kontiki")]
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
        Ok(Setup { binary, image: Some(image), clocks: false })
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
            anyhow::ensure!(play(&plan, &what, out.as_deref())?, "the run failed");
            Ok(())
        }
        Command::Seeds { from, count, minutes, out, what } => {
            let end = minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
            std::fs::create_dir_all(&out)?;
            let (mut played, mut failed) = (0, Vec::new());
            for seed in from..from + count {
                if end.is_some_and(|end| Instant::now() > end) {
                    break;
                }
                let plan = generate(seed, &options(seed));
                let (file, history) =
                    (out.join(format!("l3-{seed}.plan")), out.join(format!("l3-{seed}.json")));
                std::fs::write(&file, plan.to_lines())?;
                println!("seed {seed}");
                played += 1;
                if play(&plan, &what, Some(&history))? {
                    std::fs::remove_file(&history)?;
                    std::fs::remove_dir_all(history.with_extension("logs"))?;
                } else {
                    println!("   replay: kontiki-chaos-real play {}", file.display());
                    failed.push(seed);
                }
            }
            println!("{played} seeds, {} failed: {failed:?}", failed.len());
            anyhow::ensure!(failed.is_empty(), "runs failed");
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
            anyhow::ensure!(judge(&run), "the run failed");
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
        Command::Sweep => {
            for id in ground::sweep()? {
                println!("removed run {id}");
            }
            Ok(())
        }
        Command::Container => truth::tell(),
    }
}

/// Plays a plan, judges the run and says both. Answers whether it passed.
fn play(plan: &Plan, what: &What, out: Option<&Path>) -> anyhow::Result<bool> {
    let logs = out.map(|out| out.with_extension("logs"));
    let mut real = Real { setup: what.setup()?, program: std::env::current_exe()?, tell: true, logs };
    let run = real.play(plan)?;
    if let Some(out) = out {
        std::fs::write(out, serde_json::to_vec(&run)?)?;
    }
    for fault in &run.faults {
        let what = fault.skipped.as_deref().unwrap_or(if fault.bit { "bit" } else { "did not bite" });
        println!("   fault {} (kind {}) on {}: {what}", fault.event, fault.number, fault.hit.join(", "));
    }
    Ok(judge(&run))
}

/// Says every verdict that is no pass. Answers whether there is none.
fn judge(run: &Run) -> bool {
    let judgements = check::judge_all(run);
    for judgement in judgements.iter().filter(|judgement| !judgement.verdict.passed()) {
        println!("   {}: {:?}", judgement.check, judgement.verdict);
    }
    let failed = check::first_failure(&judgements).is_some();
    println!("   {} checks: {}", judgements.len(), if failed { "FAILED" } else { "passed" });
    !failed
}
