//! The worker: runs the pods that the leader placed on this machine and reports how they fare.
//!
//! ```text
//! agent (drives each pod) -> runtime (the seam) -> shim (a process per pod) -> containers
//!                                  image (what containers run) -^
//! ```
//!
//! Not for deciding what should run anywhere: that is the leader's.

pub mod agent;
mod folder;
#[doc(hidden)]
pub mod fuzzing;
pub mod image;
pub mod logs;
pub mod pod;
pub mod probe;
mod remove;
pub mod runtime;
pub mod seccomp;
pub mod session;
pub mod shim;
pub mod streams;
pub mod volume;
