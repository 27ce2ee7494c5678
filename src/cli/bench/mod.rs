//! `kontiki bench`: how fast a live cluster is, and what holds it up, in figures and in words. By the same generators as the project's
//! own measurements (benches/load).

mod figures;
mod ground;
mod pods;
mod progress;
mod verdict;
mod watches;
mod work;

use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use figures::Report;
use ground::Ground;
use progress::Progress;
use tokio_util::sync::CancellationToken;

use super::access::{Access, AccessArgs};
use super::run::shutdown_signals;
use super::say::say_text;
use super::{Output, print_json};

/// Threads of the generator: it must not be what is slow.
const THREADS: usize = 2;

/// Arguments of `kontiki bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "It works in a namespace of its own, kontiki-bench-..., and deletes it at the end, also on Ctrl-C. Pods are created with \
                  an image that no worker has, so that nothing runs, unless --image names one that the workers have.\n\n\
                  Writes are acknowledged when a majority has them on disk; reads are linearizable. Load is closed: a client asks again \
                  when it has its answer.\n\n\
                  Exit status: 0 fit for production, 1 not, or requests failed. Run it while the cluster is idle, from a machine near \
                  to it, and before the cluster has users: 100 clients that write as fast as they can are felt by others."
)]
pub(crate) struct BenchArgs {
    /// What to measure [default: all].
    #[arg(value_enum)]
    what: Vec<Part>,
    #[command(flatten)]
    access: AccessArgs,
    /// Clients that write, or read, at the same time.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    clients: u16,
    /// Watches at the same time.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=10_000))]
    watchers: u16,
    /// Pods in the making at the same time.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pods: u16,
    /// How long each part takes.
    #[arg(long, default_value_t = 10, value_name = "S", value_parser = clap::value_parser!(u16).range(1..=3600))]
    seconds: u16,
    /// An image that the workers have: pods run it, and are measured until they run.
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// How to print the answer.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Creations of ConfigMaps of 1 KiB.
    Writes,
    /// Linearizable reads of the same.
    Reads,
    /// The time from a write to all who watch.
    Watches,
    /// Pods: from creation to a node, to running if there is an image, and from deletion to the end.
    Pods,
}

/// How it is measured.
#[derive(Clone, Debug)]
struct Method {
    clients: usize,
    watchers: usize,
    pods: usize,
    span: Duration,
    image: Option<String>,
}

pub(crate) fn bench(args: BenchArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("bench")
        .enable_all()
        .build()?;
    let report = runtime.block_on(measured(&args))?;
    match args.output {
        Output::Table => say_text(&report.table()),
        Output::Json => print_json(&report)?,
    }
    match report.unfit() {
        None => Ok(()),
        Some(why) => bail!("{why}"),
    }
}

/// Measures in a namespace, which is deleted whatever happens.
async fn measured(args: &BenchArgs) -> anyhow::Result<Report> {
    let access = Access::find(&args.access)?;
    let shutdown = shutdown_signals()?;
    let progress = Progress::new();
    let ground = Ground::prepare(&access).await?;
    let done = all(args, &ground, &progress, &shutdown).await;
    progress.begin("cleaning up", None);
    let cleaned = ground.clean_up().await;
    progress.end();
    let report = done?;
    cleaned?;
    Ok(report)
}

async fn all(
    args: &BenchArgs,
    ground: &Ground,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> anyhow::Result<Report> {
    let method = Method {
        clients: args.clients.into(),
        watchers: args.watchers.into(),
        pods: args.pods.into(),
        span: Duration::from_secs(args.seconds.into()),
        image: args.image.clone(),
    };
    let measuring = async {
        let mut report = Report::begin(ground);
        report.trip = Some(work::trips(ground, progress).await?);
        for part in Part::value_variants() {
            if !args.what.is_empty() && !args.what.contains(part) {
                continue;
            }
            match part {
                Part::Writes => work::writes(ground, &method, progress, &mut report).await?,
                Part::Reads => work::reads(ground, &method, progress, &mut report).await?,
                Part::Watches => watches::watches(ground, &method, progress, &mut report).await?,
                Part::Pods => pods::pods(ground, &method, progress, &mut report).await?,
            }
        }
        report.judge();
        Ok(report)
    };
    tokio::select! {
        report = measuring => report,
        () = shutdown.cancelled() => bail!("stopped before the end: nothing is judged"),
    }
}
