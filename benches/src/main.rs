//! Measures the built binary with real processes on this machine. Questions are answered beside a peer in the same run and end in
//! docs/benchmarks.md; lifecycle events are printed beside a target. All one after the other, so that one does not disturb the other;
//! run it on a machine that does nothing else.
//!
//! ```text
//!   questions (what is asked, its goal) -> peers (Kontiki, etcd) <- load (generators)
//!             -> limits (disk, loopback: what physics allows)    -> report (JSON, table, plots)
//!   lifecycle (start, failover, idle)     large (5,000 nodes: what it costs, how it grows)
//! ```
//!
//!     make bench                  # all questions
//!     make bench NAME=create-one  # one of them, or a lifecycle event: NAME=leader
//!     make bench NAME=large       # a cluster of 5,000 nodes, half an hour

mod large;
mod lifecycle;
mod limits;
mod load;
mod peers;
mod questions;
mod report;

use std::{path::PathBuf, sync::LazyLock};

use anyhow::bail;
use clap::{Parser, ValueEnum, builder::PossibleValue};
use kontiki_chaos_tests::Plan;
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
};

use crate::{
    lifecycle::Event,
    questions::{Method, Question},
};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Question(Question),
    Event(Event),
    Questions,
    Schedule,
    Large,
    Lifecycle,
    All,
}

impl ValueEnum for What {
    fn value_variants<'a>() -> &'a [What] {
        static ALL: LazyLock<Vec<What>> = LazyLock::new(|| {
            let questions = Question::value_variants().iter().map(|question| What::Question(*question));
            let events = Event::value_variants().iter().map(|event| What::Event(*event));
            questions
                .chain(events)
                .chain([What::Questions, What::Schedule, What::Large, What::Lifecycle, What::All])
                .collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            What::Question(question) => question.to_possible_value(),
            What::Event(event) => event.to_possible_value(),
            What::Questions => {
                Some(PossibleValue::new("questions").help("All that is answered beside a peer"))
            }
            What::Schedule => Some(
                PossibleValue::new("schedule")
                    .help("kube-scheduler's own workloads, on 5,000 simulated workers"),
            ),
            What::Large => {
                Some(PossibleValue::new("large").help("5,000 nodes with 150,000 pods, and how cost grows"))
            }
            What::Lifecycle => {
                Some(PossibleValue::new("lifecycle").help("Start, faults and idling, beside targets"))
            }
            What::All => Some(PossibleValue::new("all").help("Everything")),
        }
    }
}

/// Measures the built binary with real processes on this machine.
#[derive(Parser)]
struct Args {
    /// What to measure.
    #[arg(value_enum, required = true)]
    what: Vec<What>,
    /// The binary.
    #[arg(long, default_value = "target/release/kontiki")]
    binary: PathBuf,
    /// The example image (examples/build-image.sh), for lifecycle events.
    #[arg(long, default_value = "target/web.tar")]
    image: PathBuf,
    /// Repetitions of each lifecycle event.
    #[arg(long, default_value_t = 10)]
    n: usize,
    /// How long a question takes, about.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// In how many rounds those who are asked take turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Simulated workers of the questions that need some [default: as the question says].
    #[arg(long)]
    nodes: Option<usize>,
    /// Ask no peer.
    #[arg(long)]
    alone: bool,
    /// The CRI socket of a daemon on whose runtime pods are started beside the built-in one: NAME=node.
    #[arg(long, value_name = "SOCKET")]
    daemon: Option<PathBuf>,
    /// What the reader should know of the machine while this is measured.
    #[arg(long, default_value = "")]
    note: String,
    /// The folder with benchmarks.md, to write answers to [default: they are only printed].
    #[arg(long, value_name = "DIR", value_parser = report::folder)]
    docs: Option<PathBuf>,
}

impl Args {
    fn wants(&self, what: What) -> bool {
        let group = match what {
            What::Question(Question::Schedule(_)) => What::Schedule,
            What::Question(_) => What::Questions,
            What::Large => What::Large,
            _ => What::Lifecycle,
        };
        self.what.iter().any(|wanted| [what, group, What::All].contains(wanted))
    }

    fn large(&self) -> anyhow::Result<()> {
        if !self.wants(What::Large) {
            return Ok(());
        }
        let method = large::Method {
            binary: &self.binary,
            nodes: self.nodes,
            note: &self.note,
            docs: self.docs.as_deref(),
        };
        // Two threads: 10,000 watchers read, and what is late because one waits for a processor is late for them, too.
        runtime(2)?.block_on(unless_stopped(large::measure(&method)))
    }

    fn questions(&self) -> anyhow::Result<()> {
        let method = Method {
            binary: self.binary.clone(),
            seconds: self.seconds,
            rounds: self.rounds.max(1),
            nodes: self.nodes,
            etcd: !self.alone,
            note: self.note.clone(),
        };
        for question in Question::value_variants() {
            if !self.wants(What::Question(*question)) {
                continue;
            }
            eprintln!("{}", question.name());
            // One thread is enough for the load, and leaves the processors to those who are asked. A runtime of its own: when it ends,
            // so do all connections.
            let runtime = runtime(1)?;
            let outcome = runtime.block_on(unless_stopped(question.answer(&method)))?;
            match &self.docs {
                Some(docs) => {
                    outcome.keep(&docs.join("benchmarks"))?;
                    report::write(docs)?;
                }
                None => print!("{}", report::render(&[outcome])),
            }
        }
        Ok(())
    }
}

fn runtime(threads: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

/// Ctrl-C must not leave the processes behind: the answer is dropped, and they end with it.
async fn unless_stopped<T>(answer: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = answer => outcome,
        _ = tokio::signal::ctrl_c() => bail!("stopped"),
        _ = terminate.recv() => bail!("stopped"),
    }
}

fn main() -> anyhow::Result<()> {
    kontiki_pki::install_crypto();
    let args = Args::parse();
    args.questions()?;
    args.large()?;
    let (runtime, plan) = (runtime(2)?, Plan { image: Some(args.image.clone()), ..Plan::of(&args.binary) });
    for event in Event::value_variants() {
        if args.wants(What::Event(*event)) {
            lifecycle::measure(&runtime, *event, &plan, args.daemon.as_deref(), args.n)?;
        }
    }
    Ok(())
}
