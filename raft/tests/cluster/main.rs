//! Several controllers in one process over loopback connections, each on a runtime of its own: killing one drops its runtime, so that
//! its sockets break and its databases are left as they are, as when a process is killed.
#![allow(clippy::unwrap_used, reason = "a test")]

mod failover;
mod full_disk;
mod harness;
mod identity;
mod membership;
mod order;
mod relays;
mod snapshots;
mod stale_leader;
