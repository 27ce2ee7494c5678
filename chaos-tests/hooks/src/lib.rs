//! The product's code asks two things of this crate: is this defect planted, and note that this was reached. Without the feature
//! `active` the first is constantly false and the second does nothing, so that the compiler removes both.
//!
//! A planted defect is a known bug, written beside the correct code, that the harness must find (`chaos-tests/`); a reached mark
//! proves that runs get to the places where bugs live.

mod defect;
mod mark;
#[cfg(feature = "active")]
mod reached;

pub use defect::Defect;
pub use mark::Mark;
#[cfg(feature = "active")]
pub use {
    defect::{plant, unplant},
    reached::{reached_counts, reset_reached},
};

/// Whether this defect is planted in this process.
#[cfg(not(feature = "active"))]
#[inline(always)]
pub const fn planted(_: Defect) -> bool {
    false
}

/// Whether this defect is planted in this process.
#[cfg(feature = "active")]
pub fn planted(defect: Defect) -> bool {
    defect::is_planted(defect)
}

/// Notes that the run came here.
#[cfg(not(feature = "active"))]
#[inline(always)]
pub const fn reached(_: Mark) {}

/// Notes that the run came here.
#[cfg(feature = "active")]
pub fn reached(mark: Mark) {
    reached::note(mark.name());
}
