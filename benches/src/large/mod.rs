//! A large cluster: 5,000 nodes with 150,000 pods that run, three controllers and all workers on this machine. What it costs, what it takes,
//! and what happens when a leader or a zone goes. The same at a tenth and at three tenths of the size: how cost grows.
//!
//! The workers are simulated, with real sessions: of each zone in a process of its own, so that a zone can be stopped.

mod faults;
mod idle;
mod list;
mod page;
mod plot;
mod rows;
mod stage;
mod watchers;

use std::path::Path;

use self::{
    rows::{Row, Size, Sizes},
    stage::Stage,
};
use crate::report::Setting;

/// All of it.
const NODES: usize = 5000;
/// Pods on each node.
const PODS_PER_NODE: usize = 30;
/// The sizes, in percent.
const SHARES: [usize; 3] = [10, 30, 100];

/// How it is measured.
pub(crate) struct Method<'a> {
    /// The built binary.
    pub(crate) binary: &'a Path,
    /// Nodes of the largest cluster.
    pub(crate) nodes: Option<usize>,
    /// What the reader should know of the machine.
    pub(crate) note: &'a str,
    /// The folder with benchmarks.md.
    pub(crate) docs: Option<&'a Path>,
}

/// Measures all sizes, the smallest first. What was measured is kept and told after each of them.
pub(crate) async fn measure(method: &Method<'_>) -> anyhow::Result<()> {
    let mut sizes = Sizes { setting: Setting::begin(method.note), sizes: Vec::new() };
    let all = method.nodes.unwrap_or(NODES);
    for share in SHARES {
        let nodes = (all * share / 100).max(3);
        sizes.sizes.push(one(method.binary, nodes).await?);
        sizes.setting = sizes.setting.end();
        match method.docs {
            Some(docs) => page::write(docs, &sizes)?,
            None => print!("{}", page::render(&sizes)),
        }
    }
    Ok(())
}

/// A cluster of this size, from its first worker to its end.
async fn one(binary: &Path, nodes: usize) -> anyhow::Result<Size> {
    let pods = nodes * PODS_PER_NODE;
    eprintln!("{nodes} nodes, {pods} pods");
    let mut size = Size { nodes, pods, figures: Default::default() };
    let mut stage = Stage::start(binary).await?;
    size.add(Row::Sessions, stage.workers(binary, nodes).await?);
    size.add(Row::Run, stage.pods(pods).await?);
    size.add(Row::Deploy, stage.deploy().await?);
    for (row, value) in idle::measure(&stage).await? {
        size.add(row, value);
    }
    for (row, value) in list::measure(&stage, pods).await? {
        size.add(row, value);
    }
    size.add(Row::Watch, watchers::measure(&stage).await?);
    for (row, value) in faults::leader(&stage, nodes).await? {
        size.add(row, value);
    }
    size.add(Row::Zone, faults::zone(&stage).await?);
    Ok(size)
}
