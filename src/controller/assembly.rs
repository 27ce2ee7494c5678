//! Putting a controller together: its live crew, its door for the API, and the service that answers on its port. Not for
//! opening stores and ports: the binary and the simulation do that, each in its own way.

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use kontiki_api::{Gate, feed::FeedLimits, rest};
use kontiki_pki::Ca;
use kontiki_proto::worker::{
    sessions_server::SessionsServer, streams_server::StreamsServer, usages_server::UsagesServer,
};
use kontiki_raft::Node;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use super::{
    ControllerConfig, Handles, Local, Replica,
    autoscaling::Autoscaling,
    cluster::{self, Levels},
    crew::{Pulse, Room, Spawner, start},
    leadership::{self, Crew},
    peers::Dial,
    sessions::{Contact, Lag, LivenessTimings, Pace, SessionService, Sessions},
    stage::{Consensus, Live, Nature, Stage},
    streams::{StreamService, Streams},
    usage::{UsageService, Usages},
};

/// The largest gRPC message that is taken.
const MESSAGE_BYTES: usize = 16 << 20;
/// What the watch feed keeps: watches that resume later than this list anew.
pub(super) const FEED: FeedLimits = FeedLimits { events: 50_000, bytes: 64 << 20 };

/// What a controller is put together from.
pub struct Parts {
    /// How it runs.
    pub config: ControllerConfig,
    /// Its member of the consensus, which folds into `replica`.
    pub node: Node,
    /// Its copy of the cluster.
    pub replica: Arc<Replica>,
    /// The cluster that it belongs to.
    pub cluster_id: String,
    /// The certificate of the cluster's authority, which pods find in their namespaces.
    pub ca_pem: String,
    /// The authority itself, to sign newcomers.
    pub ca: Option<Ca>,
    /// Where its live actors run.
    pub spawner: Arc<dyn Spawner>,
    /// Reaches others.
    pub dial: Arc<dyn Dial>,
    /// The hour and the randomness that decisions get.
    pub nature: Nature,
    /// How the API is served.
    pub api: rest::Options,
}

/// A controller that is put together: its crew waits for the leadership, its service for a port.
pub struct Controller {
    pub(super) handles: Handles,
    service: axum::Router,
    pulse: Pulse,
    background: Vec<JoinHandle<()>>,
}

impl Controller {
    /// Puts a controller together and lets it follow the leadership.
    pub async fn assemble(parts: Parts) -> Controller {
        let Parts { config, node, replica, cluster_id, ca_pem, ca, spawner, dial, nature, api } = parts;
        let grace = Duration::from_millis(config.node_grace_ms);
        let pulse = Pulse::new();
        let (contact, pace) = (Contact::default(), Pace::new(grace));
        let lag = Lag::default();
        let signs = (&contact, &pace, &lag);
        let crew = start_crew(&*spawner, &node, &replica, signs, grace, nature.clone(), &pulse).await;
        let levels = Levels::new(config.level, node.clone(), replica.clone(), dial.clone());
        let (leadership, ca_pem) = (node.leadership(), ca_pem.into());
        let (leads, raises) = (crew.clone(), levels.clone());
        let knows = (node.clone(), replica.clone());
        let feeds = leadership::feed_sessions(replica.feed().clone(), crew.sessions.clone());
        let streams = Streams::new(&config.advertise, node.clone(), crew.sessions.clone());
        let usages = Usages::new(node.clone(), crew.sessions.clone());
        let autoscaling = Autoscaling::new(replica.clone(), usages.clone(), nature);
        let handles = Handles {
            local: Arc::new(Local::new(
                node.clone(),
                replica.clone(),
                crew.stage.clone(),
                contact,
                dial,
                streams.clone(),
                usages.clone(),
                levels.clone(),
            )),
            node: node.clone(),
            replica: replica.clone(),
            levels,
            ca: ca.map(Arc::new),
            cluster_id,
            config: Arc::new(config),
        };
        let sessions = SessionService {
            node,
            replica,
            stage: crew.stage,
            sessions: crew.sessions,
            spawner,
            pace,
            lease: grace,
            next: AtomicU64::new(1),
            issuer: api.issuer.clone(),
        };
        let (service, gate) = service(&handles, sessions, (streams, usages), api);
        let leader_follows = leadership::follow(leadership, leads, raises, knows, gate, autoscaling, ca_pem);
        let background = vec![
            kontiki_raft::spawn(leader_follows),
            kontiki_raft::spawn(feeds),
            kontiki_raft::spawn(lag.watch()),
        ];
        Controller { handles, service, pulse, background }
    }

    /// What answers on its port: REST and gRPC. Callers' identities are in the requests' extensions.
    pub fn service(&self) -> axum::Router {
        self.service.clone()
    }

    /// Resolves when it cannot go on, with the reason.
    pub async fn failed(&mut self) -> String {
        let node = self.handles.node.clone();
        tokio::select! {
            why = node.failed() => format!("its consensus: {why}"),
            name = self.pulse.stopped() => format!("its {name} actor failed; the log says why"),
        }
    }

    /// Ends what runs for it, but for the crew.
    pub(super) fn end(&self) {
        self.background.iter().for_each(JoinHandle::abort);
    }
}

async fn start_crew(
    spawner: &dyn Spawner,
    node: &Node,
    replica: &Arc<Replica>,
    (contact, pace, lag): (&Contact, &Pace, &Lag),
    grace: Duration,
    nature: Nature,
    pulse: &Pulse,
) -> Crew {
    let consensus: Arc<dyn Consensus> = Arc::new(Live::new(node.clone(), replica.clone()));
    let (c, vital) = (consensus.clone(), pulse.vital("stage"));
    let stage = start(spawner, Room::Stage, move |_| Stage::new(c, nature, vital)).await;
    let (r, s, vital) = (replica.clone(), stage.clone(), pulse.vital("sessions"));
    let timings = LivenessTimings::of_grace(grace);
    let (contact, pace, lag) = (contact.clone(), pace.clone(), lag.clone());
    let make = move |_: &mut actix::Context<Sessions>| {
        Sessions::new(r, s, consensus, timings, contact, pace, lag, vital)
    };
    let sessions = start(spawner, Room::Sessions, make).await;
    Crew { stage, sessions }
}

/// REST and gRPC on one port: told apart by the media type. And what asks about pods that actors want.
fn service(
    handles: &Handles,
    sessions: SessionService,
    (streams, usages): (Streams, Usages),
    api: rest::Options,
) -> (axum::Router, Gate) {
    let (rest, gate) = rest::serve(handles.local.clone(), api);
    let sessions = SessionsServer::new(sessions).max_decoding_message_size(MESSAGE_BYTES);
    let grpc = tonic::service::Routes::new(handles.node.service())
        .add_service(sessions)
        .add_service(StreamsServer::new(StreamService(streams)).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(UsagesServer::new(UsageService(usages)).max_decoding_message_size(MESSAGE_BYTES))
        .add_service(cluster::service(handles.clone()).max_decoding_message_size(MESSAGE_BYTES))
        .prepare()
        .into_axum_router();
    let router = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let media = request.headers().get(http::header::CONTENT_TYPE).map(|v| v.as_bytes().to_vec());
        let is_grpc = media.is_some_and(|m| m.starts_with(b"application/grpc"));
        let router = if is_grpc { grpc.clone() } else { rest.clone() };
        async move {
            match router.oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    });
    (router, gate)
}
