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
mod complete;
mod election;
mod insist;
mod lag;
mod links;
pub mod liveness;
mod opens;
mod outbox;
mod pace;
mod router;
mod service;
mod session;
mod sign;
mod stretch;

pub(super) use lag::Lag;
pub(super) use liveness::{Liveness, LivenessTimings};
pub(super) use pace::Pace;
pub(super) use router::{AskNodes, Contact, Lead, OpenOn, Resync, Sessions, Step};
pub(super) use service::SessionService;
