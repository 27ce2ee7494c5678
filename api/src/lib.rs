//! The Kubernetes API of Kontiki: from HTTP requests to requests of a turn, and from the state to answers.
//!
//! ```text
//!   HTTP -> rest/ (path, identity, negotiation) -> wire/ + schema/ (decode, check) -> resource/ (defaults, validation)
//!        -> Backend::submit -> the leader's turn ... -> Outcome -> answer
//!   HTTP <- rest/ (list, table, watch) <- Backend::view, Feed
//! ```
//!
//! Not for deciding anything about the cluster: that is the turn's business, behind [`backend::Backend`].

mod admission;
pub mod apply;
pub mod audit;
pub mod backend;
mod backing;
mod candidates;
mod cel;
mod conversion;
mod custom;
pub mod discovery;
mod editions;
pub mod feed;
mod flow;
#[doc(hidden)]
pub mod fuzzing;
pub mod oidc;
pub mod patch;
pub mod quantity;
pub mod resource;
pub mod rest;
pub mod schema;
pub mod selector;
pub mod served;
pub mod status;
pub mod streams;
pub mod token;
pub mod usage;
pub mod wire;

pub use backend::{Backend, Freshness, LogsError, LogsQuery, Unavailable};
pub use candidates::Gate;
pub use feed::{Feed, FeedLimits};
pub use rest::{GIT_VERSION, Options, router, serve};
pub use status::Status;
