//! A plan: what clients do and what breaks, and when. It is data, made from a seed before anything runs: so it can be printed,
//! replayed, edited and shrunk. On disk it is a line of JSON for the cluster and one for each event.

mod event;
mod file;
pub mod generate;
mod shape;

pub use event::{Client, Event, Fault, FaultKind, Op, Side, Target, What};
pub use shape::Shape;

use serde::{Deserialize, Serialize};

/// What is to happen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Everything random that a player does comes from this.
    pub seed: u64,
    /// The cluster.
    pub shape: Shape,
    /// In order of time. Any subset of it is a plan, too: no event needs another one, so that shrinking may leave any out.
    pub events: Vec<Event>,
}

impl Plan {
    /// When its last event has ended, milliseconds from the start.
    pub fn ends_ms(&self) -> u64 {
        self.events.iter().map(Event::ends_ms).max().unwrap_or(0)
    }
}
