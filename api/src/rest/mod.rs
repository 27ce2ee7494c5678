//! The REST API of Kubernetes over a backend.
//!
//! ```text
//!   request -> path.rs (what is it about) -> authentication.rs, impersonation.rs (who) -> access.rs, identity.rs (may they)
//!                                                  -> body.rs, negotiate.rs (forms)
//!     read.rs, list.rs, table.rs, watch.rs        reads: from a view and the feed
//!     write.rs, patch.rs, delete.rs, subresource/ writes: a request of a turn, answered after commit
//! ```
//!
//! Every request gets an answer: a refusal is a Status, and even a panic is one. Not for TLS, and not for gRPC.

mod access;
mod authentication;
mod body;
mod call;
mod delete;
pub mod identity;
mod impersonation;
mod list;
mod logs;
pub mod negotiate;
mod patch;
pub mod path;
mod presentation;
mod query;
mod read;
mod reply;
mod review;
mod scale;
mod selection;
mod snapshot;
mod subresource;
mod system;
mod table;
mod watch;
mod write;

use std::{sync::Arc, time::Duration};

pub use access::{Access, Attributes, On};
use axum::Router;
pub use identity::{Authorizer, MastersAndNodes, User};
pub use system::GIT_VERSION;
use tokio::sync::Semaphore;

use crate::backend::Backend;

/// How the API is served.
#[derive(Clone)]
pub struct Options {
    /// Bytes of a request body.
    pub body_limit: usize,
    /// Requests under way at once, without watches and logs.
    pub max_requests: usize,
    /// Watches and followed logs at once.
    pub max_streams: usize,
    /// The time of a request, reading its body included.
    pub request_timeout: Duration,
    /// How often a watch that asked for it is told where it stands.
    pub bookmark_interval: Duration,
    /// How long a watch lasts that does not say; up to twice that, so that watches do not end all at once.
    pub watch_timeout: Duration,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// `host:port` under which clients reach this API, told in discovery.
    pub advertised: String,
    /// Names a request: no two get the same, or the second write would be answered like the first and not done. A simulation has
    /// its own.
    pub request_id: RequestIds,
}

/// Names requests, by their headers.
pub type RequestIds = Arc<dyn Fn(&http::HeaderMap) -> String + Send + Sync>;

impl Default for Options {
    fn default() -> Options {
        Options {
            body_limit: 3 << 20,
            max_requests: 400,
            max_streams: 10_000,
            request_timeout: Duration::from_secs(60),
            bookmark_interval: Duration::from_secs(30),
            watch_timeout: Duration::from_secs(30 * 60),
            authorizer: Arc::new(MastersAndNodes),
            advertised: "127.0.0.1:6443".into(),
            // Not the audit id: clients choose that.
            request_id: Arc::new(|_| uuid::Uuid::new_v4().to_string()),
        }
    }
}

/// What all requests share.
pub(crate) struct Api {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) options: Options,
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) presenters: Arc<Semaphore>,
}

/// The service of the whole REST API. It reads a [`kontiki_pki::Peer`] from the request's extensions; a request
/// without one is anonymous. It answers every path, so gRPC routes are to be put in front of it.
pub fn router(backend: Arc<dyn Backend>, options: Options) -> Router {
    let requests = Arc::new(Semaphore::new(options.max_requests));
    let streams = Arc::new(Semaphore::new(options.max_streams));
    let api =
        Arc::new(Api { backend, options, requests, streams, presenters: Arc::new(presentation::workers()) });
    Router::new().fallback(move |request: axum::extract::Request| call::answer(api.clone(), request))
}
