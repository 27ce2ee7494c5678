//! When waiting pods are placed. A plan has a price that does not depend on how many pods it places: the view of all nodes. So one that
//! is not full waits until the last has been paid for by other work, and takes those with it that come meanwhile.

use std::time::Duration;

use kontiki_actors::{
    Input, State,
    scheduling::{PLAN_LIMIT, SchedulingQueue, ToPlace},
};
use tokio::time::Instant;

/// After a plan the next one that is not full waits so many times as long as it took: planning takes a fifth of the stage's time at
/// most. On 5,000 nodes that is some milliseconds, on a hundred less than the clock can tell.
const REST: u32 = 4;

/// The pods that are to be placed, and from when.
#[derive(Default)]
pub(super) struct Placing {
    queue: SchedulingQueue,
    rests_until: Option<Instant>,
}

impl Placing {
    /// All pods without a place are to be tried.
    pub(super) fn begin(&mut self) {
        self.queue = SchedulingQueue::of_all();
        self.rests_until = None;
    }

    /// Adds what a turn left, which ended in this state.
    pub(super) fn add(&mut self, state: &State, left: &ToPlace) {
        self.queue.add(state, left);
    }

    /// When the next plan is due; none while nothing waits.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let full = self.queue.len() >= PLAN_LIMIT;
        (!self.queue.is_empty()).then(|| self.rests_until.filter(|_| !full).unwrap_or(now))
    }

    /// The input that places the next pods, if that is due.
    pub(super) fn next(&mut self, state: &State, now: Instant) -> Option<Input> {
        self.due(now).filter(|due| *due <= now)?;
        self.queue.next(state)
    }

    /// A plan took so long until now.
    pub(super) fn took(&mut self, cost: Duration, now: Instant) {
        self.rests_until = Some(now + cost * REST);
    }
}
