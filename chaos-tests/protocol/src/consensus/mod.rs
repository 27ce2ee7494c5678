//! Consensus-only scenarios: 3 or 5 nodes and a small state, so that many hours of them fit into a minute.
//!
//! ```text
//! generate(seed) -> Plan -> play(plan) -> Outcome
//!   Member     a node on a machine            Cluster  all of them, and their supervisor and operator
//!   Registers  the state they agree on        Clients  write and read
//!   Observer   sees each fold, answer and leader, and says at once what must not be
//! ```

pub mod clients;
pub mod cluster;
pub mod faults;
pub mod fold;
mod generate;
pub mod node;
mod observer;
mod play;

pub use generate::generate;
pub use node::{Member, Running, Setup};
pub use observer::{Observer, Voters};
pub use play::{Outcome, play};
