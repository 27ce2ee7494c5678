//! Measures the built binary with real processes on this machine: what fails over how fast, what starts how fast, what
//! it costs to sit idle. Each measurement prints n, median, p99 and maximum beside its target. Sequential, so that one
//! does not disturb the other; run it on a machine that does nothing else.
//!
//!     cargo run --release -p kontiki-benches -- all --image target/web.tar

mod failover;
mod figures;
mod idle;
mod scale;
mod start;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use kontiki_chaos_tests::{Cluster, Plan};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Built binary to a ready cluster of 3 + 3.
    Start,
    /// SIGKILL of the leader to the next acknowledged write through another controller.
    Leader,
    /// SIGKILL of a worker to its pods' replacements Ready elsewhere.
    Worker,
    /// SIGSTOP of a worker to the same.
    Pause,
    /// SIGKILL of the leader and of a worker together, to the same.
    Both,
    /// `kubectl scale` from 0 to 50 over five workers.
    Scale,
    /// Memory and processor time of idle processes.
    Idle,
    /// Everything.
    All,
}

/// Measures the built binary with real processes on this machine.
#[derive(Parser)]
struct Args {
    /// What to measure.
    #[arg(value_enum)]
    what: What,
    /// The binary.
    #[arg(long, default_value = "target/release/kontiki")]
    binary: PathBuf,
    /// The example image (examples/build-image.sh).
    #[arg(long, default_value = "target/web.tar")]
    image: PathBuf,
    /// Repetitions of each fault.
    #[arg(long, default_value_t = 10)]
    n: usize,
}

impl Args {
    fn plan(&self, workers: usize) -> Plan {
        Plan { workers, image: Some(self.image.clone()), ..Plan::of(&self.binary) }
    }
}

fn main() -> anyhow::Result<()> {
    kontiki_pki::install_crypto();
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let wanted = |what: What| args.what == what || args.what == What::All;
    if wanted(What::Start) {
        start::measure(&args.plan(3), args.n.min(5))?;
    }
    if wanted(What::Idle) {
        idle::measure(&Cluster::start(args.plan(3))?)?;
    }
    if wanted(What::Leader) {
        runtime.block_on(failover::leader(&Cluster::start(args.plan(0))?, args.n))?;
    }
    for (what, fault) in [
        (What::Worker, failover::Fault::Kill),
        (What::Pause, failover::Fault::Stop),
        (What::Both, failover::Fault::KillWithLeader),
    ] {
        if wanted(what) {
            runtime.block_on(failover::worker(&Cluster::start(args.plan(3))?, fault, args.n))?;
        }
    }
    if wanted(What::Scale) {
        scale::measure(&Cluster::start(args.plan(5))?, args.n)?;
    }
    Ok(())
}
