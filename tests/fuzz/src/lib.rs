//! Arbitrary input for what reads bytes of others. No nightly compiler is needed: inputs are mutations of seeds, and one is kept as a new
//! seed when it costs another order of allocations, or when its target tells of it what it told of none before, which stands in for coverage.
//!
//! An input fails by a panic, by breaking a target's property, and by asking for more memory or allocations than any input may.

mod documents;
mod engine;
mod kinds;
#[path = "../../../api/tests/api/memory.rs"]
mod memory;
mod mutate;
mod random;
mod tar;
mod targets;

pub use engine::{Failure, MAX_ALLOCATIONS, MAX_LIVE_BYTES, Times, Tried, Watcher, fuzz, try_input};
pub use targets::{Form, TARGETS, Target};
