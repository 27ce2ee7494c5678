//! The figures: what each is, and what it should be at full size.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::report::Setting;

/// One figure of a cluster. For each, less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Row {
    /// From the start of the workers until all are ready.
    Sessions,
    /// From the first Deployment until all pods run.
    Run,
    /// A Deployment of 1,000 more: POST to all placed.
    Deploy,
    /// Resident memory of a controller, the largest of the three.
    Memory,
    /// Processor time of the leader when nothing happens.
    IdleLeader,
    /// LIST of all pods.
    List,
    /// What a controller's memory grew by for that.
    ListMemory,
    /// 10,000 watchers, 1,000 events per second: from the write to the event, the 99th of a hundred.
    Watch,
    /// Leader killed to the next acknowledged write.
    NextWrite,
    /// The same to all sessions back.
    SessionsBack,
    /// Nodes that were condemned meanwhile.
    Condemned,
    /// A killed controller from its start until it serves.
    Restart,
    /// A zone silent to all its pods placed elsewhere.
    Zone,
}

impl Row {
    pub(super) const ALL: [Row; 13] = [
        Row::Sessions,
        Row::Run,
        Row::Deploy,
        Row::Memory,
        Row::IdleLeader,
        Row::List,
        Row::ListMemory,
        Row::Watch,
        Row::NextWrite,
        Row::SessionsBack,
        Row::Condemned,
        Row::Restart,
        Row::Zone,
    ];

    /// What it is, in words.
    pub(super) fn what(self) -> &'static str {
        match self {
            Row::Sessions => "all workers started to all ready",
            Row::Run => "first Deployment created to all pods Running",
            Row::Deploy => "one Deployment of 1,000 more: POST to all placed",
            Row::Memory => "resident memory of a controller (the largest)",
            Row::IdleLeader => "the leader's processor time when nothing happens",
            Row::List => "LIST of all pods",
            Row::ListMemory => "memory of the controller that answers it grows by",
            Row::Watch => "10,000 watchers at 1,000 events per second, p99 of the delay",
            Row::NextWrite => "leader killed to the next acknowledged write",
            Row::SessionsBack => "leader killed to all sessions back",
            Row::Condemned => "nodes condemned meanwhile",
            Row::Restart => "the killed controller started again to serving",
            Row::Zone => "a zone silent to all its pods placed elsewhere",
        }
    }

    pub(super) fn unit(self) -> &'static str {
        match self {
            Row::Memory | Row::ListMemory => "MiB",
            Row::IdleLeader => "% of a core",
            Row::Watch => "ms",
            Row::Condemned => "",
            _ => "s",
        }
    }

    /// At most so much at full size.
    pub(super) fn goal(self) -> Option<f64> {
        match self {
            Row::Sessions | Row::Run | Row::ListMemory => None,
            Row::Deploy => Some(0.5),
            Row::Memory => Some(1536.0),
            Row::IdleLeader => Some(15.0),
            Row::List => Some(2.0),
            Row::Watch => Some(100.0),
            Row::NextWrite => Some(1.0),
            Row::SessionsBack => Some(10.0),
            Row::Condemned => Some(0.0),
            Row::Restart => Some(15.0),
            Row::Zone => Some(30.0),
        }
    }
}

/// What a cluster of one size showed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Size {
    pub(super) nodes: usize,
    pub(super) pods: usize,
    pub(super) figures: BTreeMap<Row, f64>,
}

impl Size {
    /// Notes a figure, and tells those who wait.
    pub(super) fn add(&mut self, row: Row, value: f64) {
        eprintln!("  {}: {value:.3} {}", row.what(), row.unit());
        self.figures.insert(row, value);
    }
}

/// All sizes, the smallest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sizes {
    pub(super) setting: Setting,
    pub(super) sizes: Vec<Size>,
}
