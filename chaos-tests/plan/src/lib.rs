//! What all layers of the chaos tests share. A [`Plan`] says what happens; a layer plays it and writes down a [`Run`]; the
//! checkers in [`check`] judge the run. The same plan runs in the model (L0), in the simulation of the protocol (L1) and with
//! real processes (L3), and the same checkers judge all of them.

pub mod check;
pub mod history;
pub mod hunts;
pub mod ledger;
pub mod names;
pub mod plan;
pub mod provenance;
pub mod regressions;
pub mod report;
pub mod shrink;

pub use check::{Check, Verdict};
pub use history::Run;
pub use plan::Plan;

/// Where a plan is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// The model: actors, scheduler and worker logic over a plain ordered log.
    L0,
    /// The protocol: real consensus over simulated disks and a simulated network.
    L1,
    /// Real processes.
    L3,
}

/// Plays plans.
pub trait Play {
    /// Which layer this is.
    fn layer(&self) -> Layer;

    /// Plays the plan from an empty cluster to its end, then heals everything and lets it settle. An error is a defect of the
    /// harness or the machine, not of the system under test: what the system does wrong is written into the run.
    fn play(&mut self, plan: &Plan) -> anyhow::Result<Run>;
}
