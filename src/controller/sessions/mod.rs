//! The workers' sessions: one stream per worker to the leader. Down go placements, up come reports and signs of life.
//!
//! ```text
//!   service --Hello--> Session (one actor per worker) --NodeHello, Reports--> stage
//!                        ^  assignments                                       |
//!   feed --events--> Sessions (routes by node, holds liveness) <--committed---+
//! ```
//!
//! A session is derived from the state: losing one loses nothing, the worker resyncs by digest.

mod assignment;
mod election;
pub mod liveness;
mod router;
mod service;
mod session;

pub(super) use liveness::{Liveness, LivenessTimings};
pub(super) use router::{Contact, Lead, Resync, Sessions, Step};
pub(super) use service::SessionService;
