//! Load generators over Kubernetes' REST API, and what they see: for measurements beside peers (benches/) and for `kontiki bench`.
//!
//! Not for verdicts: what a figure should be, only those who measure know.

mod closed;
mod pods;
mod rest;
mod samples;
mod watch;

pub use closed::{Ask, Seen, Shape, closed};
pub use pods::{Pod, Pods};
pub use rest::{Refused, Rest};
pub use samples::Samples;
pub use watch::{Event, Watch};
