//! Layer L3: plans played with real processes. The release binary, real RocksDB, TLS and a network namespace for every host; a
//! nemesis breaks links, disks, processes and clocks; everything is written down as a [`kontiki_chaos_plan::Run`].
//!
//! It needs root, and takes nothing of the machine that it does not give back: see [`ground`].

pub mod client;
pub mod clock;
pub mod cluster;
mod crowd;
pub mod ground;
pub mod host;
pub mod measure;
pub mod nemesis;
pub mod net;
pub mod play;
pub mod truth;

pub use cluster::{Cluster, Setup};
pub use ground::Ground;
pub use play::Real;
