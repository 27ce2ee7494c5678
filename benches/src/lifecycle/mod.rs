//! What people notice of the cluster's processes: how fast they start, what fails over how fast, what idling costs. Each prints its
//! figures beside a target.

mod failover;
mod figures;
mod idle;
mod node;
mod scale;
mod start;

use std::path::Path;

use clap::ValueEnum;
use kontiki_chaos_tests::{Cluster, Plan};
use tokio::runtime::Runtime;

use self::failover::Fault;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Event {
    /// Built binary to a ready cluster of 3 + 3.
    Start,
    /// Memory and processor time of idle processes.
    Idle,
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
    /// What a node owes its pods: their start, a hundred at once, memory, exec, port-forward.
    Node,
}

/// Measures one of them so often and prints it.
pub(crate) fn measure(
    runtime: &Runtime,
    event: Event,
    plan: &Plan,
    daemon: Option<&Path>,
    n: usize,
) -> anyhow::Result<()> {
    let cluster = |workers| Cluster::start(Plan { workers, ..plan.clone() });
    match event {
        Event::Start => start::measure(&Plan { workers: 3, ..plan.clone() }, n.min(5)),
        Event::Idle => idle::measure(&cluster(3)?),
        Event::Leader => runtime.block_on(failover::leader(&cluster(0)?, n)),
        Event::Worker => runtime.block_on(failover::worker(&cluster(3)?, Fault::Kill, n)),
        Event::Pause => runtime.block_on(failover::worker(&cluster(3)?, Fault::Stop, n)),
        Event::Both => runtime.block_on(failover::worker(&cluster(3)?, Fault::KillWithLeader, n)),
        Event::Scale => scale::measure(&cluster(5)?, n),
        Event::Node => runtime.block_on(node::measure(plan, daemon, n)),
    }
}
