//! Measures what clients notice when parts of a cluster are lost, with real processes on disks and links of their own; for the loss of
//! a leader beside etcd in the same run. Every round looks for all writes that were acknowledged in it.

mod etcd;
mod figures;
mod leader;
mod ours;
mod pods;
mod progress;
mod pump;
mod report;
mod store;
mod worker;
mod workload;
mod zone;

use anyhow::Context;
use clap::ValueEnum;
use kontiki_chaos_plan::plan::Shape;
use serde_json::json;

pub use self::ours::Means;
use self::{
    etcd::Etcd, ours::Ours, progress::Progress, report::Report, store::Members, worker::Loss,
    workload::Workload,
};
use crate::cluster::Setup;

/// What can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Lost {
    /// The leading controller, killed or silent.
    Leader,
    /// A worker's host, dead or silent.
    Worker,
    /// The leader and a worker at once.
    Both,
    /// A whole zone: its controller and its simulated workers with 1,000 pods.
    Zone,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table.
    #[default]
    Table,
    /// JSON, with every time that was measured.
    Json,
}

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct MeasureArgs {
    /// What is lost [default: each of them].
    #[arg(value_enum)]
    lost: Vec<Lost>,
    /// How often.
    #[arg(short, long, default_value_t = 50)]
    n: usize,
    /// Simulated workers in each zone.
    #[arg(long, default_value_t = 20)]
    nodes: u32,
    /// Do not compare with etcd.
    #[arg(long)]
    without_etcd: bool,
    /// How to print the results.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Pods of the Deployment whose workers are lost.
const REPLICAS: u32 = 6;

/// Measures and prints. Progress goes to standard error.
pub fn measure(args: &MeasureArgs, means: &Means) -> anyhow::Result<()> {
    let wanted = |lost: Lost| args.lost.is_empty() || args.lost.contains(&lost);
    let (mut report, mut progress) = (Report::default(), Progress::new());
    let load_before = load();
    let shape = Shape { workers: 3, ..Shape::default() };
    if wanted(Lost::Leader) {
        leaders(args, means, &shape, &mut report, &mut progress).context("the loss of a leader")?;
    }
    if wanted(Lost::Worker) || wanted(Lost::Both) {
        progress.say("starting a cluster with 3 workers");
        let ours = Ours::start(means.setup.clone(), &shape)?;
        let workload = Workload::create(&ours, &means.program, REPLICAS)?;
        let losses =
            [(Lost::Worker, Loss::Dies), (Lost::Worker, Loss::Silent), (Lost::Both, Loss::WithLeader)];
        for (_, loss) in losses.into_iter().filter(|(lost, _)| wanted(*lost)) {
            worker::measure(&ours, &workload, loss, args.n, &mut report, &mut progress)?;
        }
    }
    if wanted(Lost::Zone) {
        progress.say(&format!("starting 3 zones of {} simulated workers", args.nodes));
        let setup = Setup { crowd: args.nodes, ..means.setup.clone() };
        let ours = Ours::start(setup, &shape)?;
        zone::fill(&ours)?;
        zone::measure(&ours, args.n, &mut report, &mut progress)?;
    }
    let load_after = load();
    match args.output {
        Output::Table => {
            println!("{}load of the machine before and after: {load_before}, {load_after}", report.table());
        }
        Output::Json => {
            let mut json = report.json();
            json["load"] = json!({"before": load_before, "after": load_after});
            println!("{json:#}");
        }
    }
    Ok(())
}

fn leaders(
    args: &MeasureArgs,
    means: &Means,
    shape: &Shape,
    report: &mut Report,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    let mut others = Vec::new();
    if !args.without_etcd {
        let version = etcd::version()?;
        for timing in [etcd::DEFAULT, etcd::TUNED] {
            progress.say(&format!("starting etcd {version} with {}/{} ms", timing.0, timing.1));
            others.push(Etcd::start(&version, timing)?);
        }
    }
    progress.say("starting a cluster without workers");
    let ours = Ours::start(means.setup.clone(), &Shape { workers: 0, ..shape.clone() })?;
    let all: Vec<&dyn Members> = std::iter::once(&ours as &dyn Members)
        .chain(others.iter().map(|etcd| etcd as &dyn Members))
        .collect();
    for loss in [leader::Loss::Killed, leader::Loss::Silent] {
        leader::measure(&all, loss, args.n, report, progress)?;
    }
    Ok(())
}

/// What else the machine had to do, as it says itself: the load of the last 1, 5 and 15 minutes.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
