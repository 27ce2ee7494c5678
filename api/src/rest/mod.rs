//! The REST API of Kubernetes over a backend.
//!
//! ```text
//!   request -> path.rs (what is it about) -> authentication.rs, impersonation.rs (who) -> access.rs, rbac/ (may they)
//!                                                  -> body.rs, negotiate.rs (forms)
//!     read.rs, list.rs, table.rs, watch.rs        reads: from a view and the feed
//!     stream/                                     requests that become streams: exec, attach, port-forward
//!     proxy/                                      requests that are handed on to pods and Services
//!     write.rs, patch.rs, delete.rs, subresource/ writes: a request of a turn, answered after commit
//!     apply.rs, tracking.rs                       server-side apply; who owns what, with every write
//!     pod_security.rs                             what they are warned of
//!     restriction.rs                              what is refused for who writes it
//!     admitted.rs                                 what webhooks make of it, by ../admission/
//!   all of it in one version of a custom kind; what is stored in another is converted at both ends, by ../conversion/
//! ```
//!
//! Every request gets an answer: a refusal is a Status, and even a panic is one. Not for TLS, and not for gRPC.

mod access;
mod account_token;
pub(crate) mod admitted;
mod apply;
mod authentication;
pub(crate) mod body;
pub(crate) mod call;
mod delete;
pub mod identity;
mod impersonation;
mod list;
mod logs;
pub mod negotiate;
mod patch;
pub mod path;
pub(crate) mod places;
mod pod_security;
mod presentation;
mod proxy;
pub(crate) mod query;
mod rbac;
mod read;
mod reply;
mod restriction;
mod review;
mod scale;
mod selection;
mod snapshot;
pub(crate) mod stream;
mod subresource;
mod system;
mod table;
mod tracking;
pub mod usage;
mod watch;
pub(crate) mod write;

use std::{sync::Arc, time::Duration};

pub use access::{Access, Attributes, On};
use axum::Router;
pub use identity::{Authorizer, Held, User};
pub use rbac::Rbac;
pub use restriction::node_may_label;
pub use system::GIT_VERSION;
use tokio::sync::Semaphore;

use crate::{
    admission::{Policies, Webhooks},
    audit::Audit,
    backend::Backend,
    candidates::Gate,
    custom::Definitions,
    flow::Flow,
    oidc::Authenticators,
    token::Issuer,
};
use places::Places;

/// One user may have a part of what memory there is, and a part of the watches: many machines may share a user.
const USER_PART: usize = 4;
const WATCHES_PART: usize = 2;
/// Streams into pods of one user at a time.
const STREAMS_PER_USER: usize = 128;
/// What is shorter is not counted: requests are.
pub(crate) const SHORT: usize = 64 << 10;

/// How the API is served.
#[derive(Clone)]
pub struct Options {
    /// Bytes of a request body.
    pub body_limit: usize,
    /// Requests under way at once, shared out among priority levels; as many besides for those who are exempt. Watches, logs and streams
    /// into pods count until they have begun.
    pub max_requests: usize,
    /// Watches, followed logs and streams into pods at once; half of them may be watches and logs of one user.
    pub max_streams: usize,
    /// Bytes of long request bodies at once, of all requests; a quarter of that for one user.
    pub max_bodies: usize,
    /// Bytes of long answers, most of them lists, that are not sent yet, of all requests; a quarter of that for one user.
    pub max_lists: usize,
    /// The time of a request, reading its body included.
    pub request_timeout: Duration,
    /// How often a watch that asked for it is told where it stands.
    pub bookmark_interval: Duration,
    /// How long a watch lasts that does not say; up to twice that, so that watches do not end all at once.
    pub watch_timeout: Duration,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// What is audited, and where it goes; without it, nothing is.
    pub audit: Option<Audit>,
    /// Makes and believes tokens of service accounts; without one, no token is believed.
    pub issuer: Option<Arc<Issuer>>,
    /// Believes tokens of users who are known elsewhere; without it, none of those is believed.
    pub authenticators: Option<Arc<Authenticators>>,
    /// `host:port` under which clients reach this API, told in discovery.
    pub advertised: String,
    /// Names a request: no two get the same, or the second write would be answered like the first and not done. A simulation has
    /// its own.
    pub request_id: RequestIds,
    /// The time that owners of fields note, Unix milliseconds. A simulation has its own.
    pub clock: Clock,
}

/// A clock: Unix milliseconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Names requests, by their headers.
pub type RequestIds = Arc<dyn Fn(&http::HeaderMap) -> String + Send + Sync>;

impl Default for Options {
    fn default() -> Options {
        Options {
            body_limit: 3 << 20,
            max_requests: 400,
            max_streams: 10_000,
            max_bodies: 256 << 20,
            max_lists: 1 << 30,
            request_timeout: Duration::from_secs(60),
            bookmark_interval: Duration::from_secs(30),
            watch_timeout: Duration::from_secs(30 * 60),
            authorizer: Arc::new(Rbac),
            audit: None,
            issuer: None,
            authenticators: None,
            advertised: "127.0.0.1:6443".into(),
            // Not the audit id: clients choose that.
            request_id: Arc::new(|_| uuid::Uuid::new_v4().to_string()),
            clock: Arc::new(call::now_ms),
        }
    }
}

/// What all requests share.
pub(crate) struct Api {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) options: Options,
    pub(crate) flow: Arc<Flow>,
    /// Watches and followed logs.
    pub(crate) watches: Places,
    /// Streams into pods.
    pub(crate) streams: Places,
    /// KiB of long request bodies.
    pub(crate) bodies: Places,
    /// KiB of long answers.
    pub(crate) lists: Places,
    pub(crate) presenters: Arc<Semaphore>,
    pub(crate) definitions: Definitions,
    pub(crate) webhooks: Webhooks,
    pub(crate) policies: Policies,
}

/// The service of the whole REST API. It reads a [`kontiki_pki::Peer`] from the request's extensions; a request
/// without one is anonymous. It answers every path, so gRPC routes are to be put in front of it.
pub fn router(backend: Arc<dyn Backend>, options: Options) -> Router {
    serve(backend, options).0
}

/// The same, and what asks about pods that actors want, to be run by whoever leads.
pub fn serve(backend: Arc<dyn Backend>, options: Options) -> (Router, Gate) {
    let streams = Arc::new(Semaphore::new(options.max_streams));
    let memory = |bytes: usize, what| {
        let kib = bytes >> 10;
        Places::new(&Arc::new(Semaphore::new(kib)), kib / USER_PART, what)
    };
    let api = Arc::new(Api {
        backend,
        flow: Arc::new(Flow::new(options.max_requests)),
        watches: Places::new(&streams, options.max_streams / WATCHES_PART, "watches open"),
        streams: Places::new(&streams, STREAMS_PER_USER, "streams open"),
        bodies: memory(options.max_bodies, "long bodies under way"),
        lists: memory(options.max_lists, "long answers under way"),
        options,
        presenters: Arc::new(presentation::workers()),
        definitions: Definitions::default(),
        webhooks: Webhooks::default(),
        policies: Policies::default(),
    });
    let gate = Gate::new(api.clone());
    let router =
        Router::new().fallback(move |request: axum::extract::Request| call::answer(api.clone(), request));
    (router, gate)
}
