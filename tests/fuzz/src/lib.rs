//! Arbitrary input for decoders and patches. No nightly compiler is needed: inputs are mutations of seeds, and one is kept as a new seed
//! when it costs another order of allocations or ends otherwise than all before, which stands in for coverage.
//!
//! An input fails by a panic, by breaking a target's property, and by asking for more memory or allocations than any input may.

mod engine;
mod mutate;
mod targets;

pub use engine::{Failure, MAX_ALLOCATIONS, MAX_LIVE_BYTES, fuzz, try_input};
pub use targets::{TARGETS, Target};
