//! HorizontalPodAutoscalers: how many pods a target is to have, by what its pods use.
//!
//! ```text
//!   the leader, every PERIOD: what workers say that pods use (Samples) -> survey.rs: what each metric asks for       (no turn)
//!     -> Input::Measured, if anything would come of it -> react.rs: bounds, history, behavior
//!                                                      -> the target's replicas, the status, events                  (the turn)
//! ```
//!
//! An autoscaler has no `reconcile`: between two measurements it has nothing to go by, as in Kubernetes. What it asked for and did in the
//! past is an object of its own (`history.rs`), so that no new leader forgets a stabilization window.
//!
//! Sources: <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/>, and pkg/controller/podautoscaler of Kubernetes 1.33
//! for reasons, messages, and how is rounded.

mod bounds;
mod calculate;
mod custom;
mod failure;
mod group;
mod history;
mod rate;
mod react;
mod sample;
mod spec;
mod status;
mod subject;
mod survey;
mod target;

use serde::{Deserialize, Serialize};

pub(crate) use react::measured;
pub use sample::{ContainerSample, PodSample, Samples};
pub use survey::Survey;

use crate::object::ObjectKey;

/// How often autoscalers are looked at: Kubernetes' `--horizontal-pod-autoscaler-sync-period`.
pub const PERIOD_MS: i64 = 15_000;
/// Autoscalers in one input: each may change a few objects and what a workload does after that, so that a turn has room for all of them.
pub const BATCH: usize = 64;
/// Metrics of one autoscaler that are looked at. Kubernetes has no such limit; but for each all pods of the target are gone through, so that
/// whoever may write autoscalers could else keep the leader busy.
pub const METRICS_MAX: usize = 64;
/// Bytes of them after which an input is closed.
pub const BATCH_BYTES: usize = 256 << 10;
/// Bytes of a failure's message: an event has no more, and names in specs may be long.
const MESSAGE_MAX: usize = 1024;
/// So much more or less than what is aimed at is let be: `--horizontal-pod-autoscaler-tolerance`.
const TOLERANCE: f64 = 0.1;

/// What the leader found out about an autoscaler's target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// The autoscaler.
    pub scaler: ObjectKey,
    /// At which revision it was looked at: it counts only if it still is at that.
    pub revision: u64,
    /// How many pods its target asked for; it counts only if that still does. 0 where there is no target.
    pub replicas: i64,
    /// What came of its metrics, in their order, but of [`METRICS_MAX`] at most. Nothing where the number of pods alone decides.
    pub metrics: Vec<Measured>,
    /// Why its pods cannot be told from those of others, if so: then no metric says anything.
    pub ambiguous: Option<String>,
}

impl Measurement {
    /// About how many bytes it adds to an entry.
    pub fn weight(&self) -> usize {
        let metrics = self.metrics.iter().map(|metric| match metric {
            Measured::Value(_) => 32,
            Measured::Failed(why) => why.len(),
        });
        let ambiguous = self.ambiguous.as_ref().map_or(0, String::len);
        64 + self.scaler.name.len() + self.scaler.namespace.len() + ambiguous + metrics.sum::<usize>()
    }
}

/// What came of one metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Measured {
    /// It has a value.
    Value(Proposal),
    /// It has none, for this reason.
    Failed(String),
}

/// What a metric asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// So many pods.
    pub replicas: i64,
    /// What they use of what they ask for, in percent, if that is what is aimed at.
    pub utilization: Option<i64>,
    /// What they use on average, in thousandths.
    pub average_milli: i64,
}
