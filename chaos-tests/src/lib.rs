//! The harness for real clusters: [`Cluster`] starts the binary's processes and hurts them, [`Client`] speaks to one
//! controller as any Kubernetes client does, [`Raw`] as none should, [`drive`] runs programs that are written with a client
//! library with the [tools](run) that they need, and [`eventually`] waits for what must become true.
//!
//! For tests and benchmarks of the built binary; nothing in the product depends on it.

mod client;
mod cluster;
mod drive;
mod raw;
mod tools;
mod wait;

pub use client::{Answer, Client, identity};
pub use cluster::{Cluster, Plan, example_image, kubectl_path};
pub use drive::drive;
pub use raw::{Raw, exchange, stranger};
pub use tools::{at_least, run};
pub use wait::eventually;
