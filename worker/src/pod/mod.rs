//! One pod's life on this worker.
//!
//! ```text
//!   document (wanted) ─┐
//!                      ├─> step (what next, pure) ─> driver (does it) ─> runtime, volume, probe
//!   observed (seen)  ──┘                                │
//!        ^────────────── inbox (exits, probes) <────────┘──> status, event ─> outbox
//! ```
//!
//! Not for which pods there are: that is the agent's crew. Not for how a container is made: that is the runtime's.

pub mod access;
pub mod backoff;
pub mod dependency;
pub mod document;
pub mod driver;
pub mod env;
pub mod event;
pub mod host;
pub mod inbox;
pub mod kept;
pub mod names;
pub mod observed;
pub mod order;
pub mod quantity;
pub mod status;
pub mod step;
pub mod tenant;

mod disk_limits;
pub(crate) mod disk_use;
mod hook;
mod image;
mod launch;
mod news;
mod oom;
mod probes;
mod security;
mod stop_signal;
mod storage;
#[cfg(test)]
mod tests;
