//! The player: a whole cluster in one thread on simulated time, a plan that is played on it, and the book that is kept of it.

mod book;
mod boot;
mod cluster;
mod fabric;
mod faults;
mod growth;
mod hash;
mod rules;
mod settle;

use std::time::Duration;

use anyhow::Context;
pub use book::{Book, Pages};
use cluster::Cluster;
pub use fabric::Fabric;
use kontiki_chaos_plan::{
    Layer, Plan, Play, Run,
    plan::{Fault, Op, What},
};
use tokio::{
    runtime::RngSeed,
    sync::mpsc,
    task::{JoinSet, LocalSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, Outside, Watcher},
    stillness::Stillness,
    trace::Trace,
};

/// The fault kinds that a simulated cluster cannot do, as the generator calls them: it has no processes with limits, no TLS that would
/// refuse a stranger, and nobody counts its commands.
pub const ABSENT_FAULTS: [&str; 5] =
    ["memory-limit", "cpu-limit", "file-limit", "stranger", "crash-at-command"];

/// Operations that may wait for a client that is busy.
const QUEUE: usize = 10_000;

/// Plays plans in the simulation of the protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct Player;

impl Play for Player {
    fn layer(&self) -> Layer {
        Layer::L1
    }

    fn play(&mut self, plan: &Plan) -> anyhow::Result<Run> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .rng_seed(RngSeed::from_bytes(&plan.seed.to_le_bytes()))
            .build()?;
        kontiki_hooks::reset_reached();
        let still = Stillness::begin();
        let run = LocalSet::new().block_on(&runtime, play(plan));
        drop(still);
        // Nothing is waited for: what still runs is of no interest.
        runtime.shutdown_background();
        run
    }
}

/// What is due.
#[derive(Clone, Debug)]
enum Due {
    /// An operation of the plan.
    Act(usize),
    /// A fault of the plan begins.
    Begin(usize, Fault),
    /// And is over.
    End(usize, Fault),
}

async fn play(plan: &Plan) -> anyhow::Result<Run> {
    let trace = Trace::begin();
    let mut cluster = Cluster::new(plan, trace.clone())?;
    boot::boot(&mut cluster).await.context("the cluster does not begin")?;
    let start = Instant::now();
    let mut clients = Clients::new(cluster.outside());
    let mut growth = growth::Growth::default();
    for (at, due) in agenda(plan) {
        cluster.look_after_until(start + at).await;
        match due {
            Due::Act(n) => {
                if let What::Op { client, via, op } = &plan.events[n].what {
                    clients.act(*client, via % plan.shape.controllers.max(1), op.clone());
                }
            }
            Due::Begin(n, fault) => cluster.begin(n, &fault),
            Due::End(n, fault) => cluster.end(n, &fault),
        }
        growth.look(&cluster);
    }
    cluster.look_after_until(start + Duration::from_millis(plan.ends_ms())).await;
    clients.rest();
    let settled = settle::settle(&mut cluster, &mut clients).await;
    clients.ended().await;
    drop(clients);
    let hashes = hash::hashes(&cluster);
    cluster.stop();
    let pages = cluster.book.take();
    let mut run = Run::new(plan.clone(), Layer::L1);
    run.trace_hash = pages.trace.0 ^ trace.hash().0;
    run.ops = pages.ops;
    run.watches = pages.watches;
    run.log = pages.log.into_values().collect();
    run.instances = pages.instances;
    run.reigns = pages.reigns;
    run.heeded = pages.heeded;
    run.faults = pages.faults;
    run.broken = pages.broken;
    run.hashes = hashes;
    run.settled = settled;
    let reached = kontiki_hooks::reached_counts();
    run.reached = reached.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    Ok(run)
}

/// What is to be done, in order of time; of what is due at once, in the plan's order.
fn agenda(plan: &Plan) -> Vec<(Duration, Due)> {
    let mut agenda = Vec::new();
    for (n, event) in plan.events.iter().enumerate() {
        let at = Duration::from_millis(event.at_ms);
        match &event.what {
            What::Op { .. } => agenda.push((at, Due::Act(n))),
            What::Fault(fault) => {
                for (from, until) in faults::phases(fault) {
                    agenda.push((at + from, Due::Begin(n, fault.clone())));
                    agenda.push((at + until, Due::End(n, fault.clone())));
                }
            }
        }
    }
    agenda.sort_by_key(|(at, _)| *at);
    agenda
}

/// The plan's clients, each with its own pace.
struct Clients {
    outside: Outside,
    queues: std::collections::BTreeMap<u32, mpsc::Sender<(u32, Op)>>,
    working: JoinSet<()>,
    watchers: JoinSet<()>,
    resting: CancellationToken,
}

impl Clients {
    fn new(outside: Outside) -> Clients {
        Clients {
            outside,
            queues: Default::default(),
            working: JoinSet::new(),
            watchers: JoinSet::new(),
            resting: CancellationToken::new(),
        }
    }

    fn act(&mut self, client: u32, via: u32, op: Op) {
        let outside = self.outside.clone();
        let stall = |ms| Some(Duration::from_millis(ms));
        let watcher = match op {
            Op::Watch { resume_via } => Watcher::new(client, via, resume_via, None, outside),
            Op::WatchSlowly { resume_via, stall_ms } => {
                Watcher::new(client, via, resume_via, stall(stall_ms), outside)
            }
            op => {
                let queue = self.queues.entry(client).or_insert_with(|| {
                    let (sender, mut queue) = mpsc::channel::<(u32, Op)>(QUEUE);
                    let mut client = Client::new(client, outside);
                    let resting = self.resting.clone();
                    self.working.spawn(async move {
                        while let Some(Some((via, op))) = resting.run_until_cancelled(queue.recv()).await {
                            client.act(via, &op).await;
                        }
                    });
                    sender
                });
                // A client that is so far behind drops what it should have done.
                let _ = queue.try_send((via, op));
                return;
            }
        };
        self.watchers.spawn(watcher.run());
    }

    /// No more is asked of them; they do what they were asked, and watches go on.
    fn rest(&mut self) {
        self.queues.clear();
    }

    /// Whether they have done all that they were asked. A cluster at rest is not to be expected before: the last of a plan's
    /// operations take back what the others did to the nodes.
    fn done(&mut self) -> bool {
        while self.working.try_join_next().is_some() {}
        self.working.is_empty()
    }

    /// They begin nothing new, and what was begun is answered, or given up by its client: only then is it written down.
    async fn ended(&mut self) {
        self.resting.cancel();
        while self.working.join_next().await.is_some() {}
    }
}
