//! L1 of the chaos tests: the real consensus, the real log and the real snapshots over simulated disks and a simulated network, on
//! one single-threaded runtime whose clock is paused and jumps from event to event. The same seed gives the same run, byte by byte.
//!
//! ```text
//! sim::run(seed, ..)        the runtime
//!   SimNet                  hosts, connections, links
//!   Machine                 a host with a disk; start() gives a Process: a scope for its tasks and its view of the disk
//!     Node::open_on         the consensus on that disk, opened within the scope
//!     network::serve, dial  HTTP/2 over simulated connections, in the scope
//! ```
//! To run a node: spawn everything that belongs to its process in `process.scope`, open it there with
//! `Node::open_on(process.disk, options, fold)`, listen with `net.listen(host, address)`, and hand the receiver and the routes to
//! [`network::serve`], which puts the caller's identity into each request. Its `PeerDialer` uses [`network::dial`].
//! [`Machine::crash`], [`Machine::power_cut`] and [`Machine::hold`] do the rest. Whatever spawns tasks in the product must use
//! `kontiki_raft::spawn`, else its tasks outlive a crash and run on while the process stands still; its effects on disk and network
//! are fenced in any case. See `consensus::node` for all of it in a few lines.

#[cfg(feature = "whole")]
pub mod client;
pub mod consensus;
#[cfg(feature = "whole")]
pub mod controller;
pub mod disk;
pub mod machine;
pub mod network;
#[cfg(feature = "whole")]
pub mod player;
pub mod sim;
mod stillness;
pub mod trace;
#[cfg(feature = "whole")]
pub mod worker;

pub use machine::{Machine, Process};
pub use network::SimNet;
#[cfg(feature = "whole")]
pub use player::{ABSENT_FAULTS, Player};
pub use trace::Trace;
