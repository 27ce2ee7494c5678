//! The agent: one process per worker, which keeps the set of pods and the session with the leader.
//!
//! ```text
//!   leader ⇄ session ──assignments──> crew ──inbox──> driver of each pod ──> runtime
//!               ^───────── outbox <───statuses, events────┘
//! ```
//!
//! Drivers write files on the agent's thread. The session has a thread of its own (see [`session_thread`]), so that no disk that takes
//! long makes a leader believe that this worker is gone.
//!
//! It needs no controller to keep running what it was given, and pods need no agent to keep running: when it starts
//! again it finds them as they are.

pub mod admission;
pub mod api;
pub(crate) mod aside;
pub mod clock;
pub mod config;
pub mod crew;
pub mod departure;
pub(crate) mod disk;
mod eviction;
pub mod images;
pub mod layout;
pub mod links;
pub mod memory;
pub(crate) mod meter;
pub mod node;
pub mod outbox;
pub mod pressure;
pub mod reserved;
mod sweep;
pub mod tokens;
mod watch;

use std::sync::Arc;

use kontiki_pki::{Dialer, Identity};
use kontiki_proto::worker::node_server::NodeServer;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

pub use config::{AgentConfig, AgentError, Capacity, Limits, Watch};
use crew::Crew;
pub use departure::{Departure, ShutdownGrace};
use meter::Meter;

use crate::logs;
use crate::runtime::Runtime;
pub use crate::session::session_thread;
use crate::session::{self, Dial, Ends, Session};
use crate::streams::Streams;

/// Runs the agent until `shutdown`, its session on the runtime of `thread`. Its pods run on after that, unless it ends because its
/// machine goes down, of which `departure` tells.
pub async fn run(
    config: AgentConfig,
    runtime: Arc<dyn Runtime>,
    identity: Identity,
    thread: &Handle,
    shutdown: CancellationToken,
    departure: Option<Departure>,
) -> Result<(), AgentError> {
    node::check(&config)?;
    let listener = kontiki_pki::bind(config.listen, false).map_err(AgentError::Listen)?;
    let port = listener.local_addr().map_err(AgentError::Listen)?.port();
    let dial = session::ControllerDial::new(Dialer::new(&identity), identity.controller_server_name(None));
    let ended = shutdown.child_token();
    // Whatever ends first takes the other with it.
    let _ends_with_this = ended.clone().drop_guard();
    let agent = Agent { departure, ..Agent::prepare(&config, runtime).await? };
    let service = logs::Service::new(agent.crew.handle(), agent.crew.host().layout.clone());
    let routes = tonic::service::Routes::new(NodeServer::new(service)).into_axum_router();
    let tls = identity.server_config(&[b"h2"]);
    let cluster = identity.cluster_id().to_owned();
    let token = ended.clone();
    let server =
        tokio::spawn(async move { kontiki_pki::serve(listener, tls, &cluster, None, routes, token).await });
    info!(node = %config.node, port, "the agent is up");
    agent.work(&config, Arc::new(dial), port, thread, ended.clone()).await?;
    ended.cancel();
    server.await.ok();
    Ok(())
}

/// An agent that has found its pods again and speaks to nobody yet.
pub struct Agent {
    /// The set of pods.
    pub crew: Crew,
    /// When its machine goes down, if that is known.
    pub departure: Option<Departure>,
}

impl Agent {
    /// Finds the pods that run here: before the first word to the leader, which takes what is not named for not there.
    pub async fn prepare(config: &AgentConfig, runtime: Arc<dyn Runtime>) -> Result<Agent, AgentError> {
        Ok(Agent { crew: Crew::gather(config, runtime).await?, departure: None })
    }

    /// Keeps pods and session going until `shutdown`, the session on the runtime of `thread`.
    pub async fn work(
        self,
        config: &AgentConfig,
        dial: Arc<dyn Dial>,
        port: u16,
        thread: &Handle,
        shutdown: CancellationToken,
    ) -> Result<(), AgentError> {
        let host = self.crew.host().clone();
        let hello = node::hello(config, &*host.runtime, port);
        let (teller, node) = watch::channel(hello.info.clone().unwrap_or_default());
        let departed = self
            .departure
            .map(|it| it.watch(self.crew.handle(), host.clone(), teller.clone(), shutdown.clone()));
        let _departed = departed.map(|it| AbortOnDropHandle::new(tokio::spawn(it)));
        let watched = watch::node(config.clone(), host.clone(), self.crew.handle(), teller);
        let _watch = AbortOnDropHandle::new(tokio::spawn(watched));
        let cleared = images::clear(config.clone(), host.runtime.clone());
        let _cleared = AbortOnDropHandle::new(tokio::spawn(cleared));
        let logs = logs::Service::new(self.crew.handle(), host.layout.clone());
        let meter = Arc::new(Meter::default());
        let metered = meter::read(config.clone(), host.runtime.clone(), meter.clone());
        let _metered = AbortOnDropHandle::new(tokio::spawn(metered));
        let agent = Ends {
            crew: self.crew.handle(),
            outbox: host.outbox.clone(),
            node,
            streams: Streams::new(host.runtime.clone(), Arc::new(logs), Arc::clone(&dial)),
            meter,
            tokens: host.tokens.clone(),
            api: host.api.clone(),
        };
        let session = Session::open(&config.controllers, &host.layout, hello, dial, agent)?;
        let mut session = thread.spawn(session.run(shutdown.clone()));
        let mut crew = std::pin::pin!(self.crew.run(shutdown));
        tokio::select! {
            () = &mut crew => drop(session.await),
            ended = &mut session => match ended {
                Ok(()) => crew.await,
                // A worker that nobody can reach any more is better started again: its pods do not notice.
                Err(failure) => return Err(AgentError::Session(failure.to_string())),
            },
        }
        Ok(())
    }
}
