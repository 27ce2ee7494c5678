//! A controller: one member of the consensus, one replica of the cluster, one TLS port for everything.
//!
//! ```text
//!   port --REST--> api (crate) --Backend--> backend: view of the replica | write
//!        --gRPC--> raft, sessions, cluster                          |
//!                                     leader here? --> stage --propose--> raft --fold--> replica --> feed
//!                                     else forward --> the leader's submit                          |
//!                                                                     sessions <--events------------+
//! ```
//!
//! `stage`, `sessions` and each `session` are actix actors, thin, started by `crew`; `leadership` tells them when this
//! controller leads and when no more. Everything they hold is derived from the replica.

mod assembly;
pub(crate) mod audit_log;
pub(crate) mod authentication;
mod autoscaling;
mod backend;
mod bootstrap;
pub(crate) mod cluster;
mod crew;
mod endpoints;
mod front;
mod lane;
mod leadership;
mod metrics;
mod peers;
mod replica;
pub mod sessions;
mod stage;
mod streams;
mod submit;
pub(crate) mod telemetry;
mod usage;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
pub use assembly::{Controller, Parts};
pub(crate) use backend::Local;
pub use crew::{Room, Spawner};
use kontiki_api::{
    audit::{Audit, Policy},
    feed::Feed,
    oidc::{Authenticators, Configuration, Timings},
    rest,
    token::Issuer,
};
use kontiki_pki::{ALPN, AccountKeys, Ca, Identity};
use kontiki_raft::{Limits, MemberInfo, Node, Options, PeerDialer};
pub use peers::{Dial, caller_of};
pub use replica::{Replica, TABLES};
pub use stage::Nature;
use tokio_util::sync::CancellationToken;

use audit_log::{AuditLog, AuditLogOptions};
use authentication::AuthenticationFile;
use crew::Threads;
use front::Front;
use lane::{Lane, LanePeers};
use peers::Peers;

/// A leader that ends waits this long for another one to take over.
const TRANSFER: Duration = Duration::from_millis(500);
/// How long a leader that stops tries to hand over. When all stop at once, nobody takes it.
const HAND_OVER: Duration = Duration::from_millis(500);

/// How one controller runs.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// Its name.
    pub name: String,
    /// Its consensus id.
    pub node_id: u64,
    /// Its zone.
    pub zone: String,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// Its port.
    pub listen: SocketAddr,
    /// A second port that several controllers of one machine share (SO_REUSEPORT): clients reach whichever lives.
    pub shared_listen: Option<SocketAddr>,
    /// `host:port` where others reach it.
    pub advertise: String,
    /// Begin a new cluster, of which this is the only member, if the data directory is new.
    pub bootstrap: bool,
    /// The shortest election timeout, milliseconds; the longest is twice that, the heartbeat half.
    pub election_timeout_ms: u64,
    /// Silence after which a worker's pods are replaced, milliseconds.
    pub node_grace_ms: u64,
    /// A snapshot is taken after so many entries of the log; half as many stay behind it. None: the default.
    pub snapshot_entries: Option<u64>,
    /// The newest level that it knows: its build's, [`kontiki_actors::LEVEL`]; tests play older builds.
    pub level: u32,
}

/// What the parts of a running controller share.
#[derive(Clone)]
pub(crate) struct Handles {
    /// The consensus.
    pub node: Node,
    /// Reads and writes, as the API does them.
    pub local: Arc<Local>,
    /// The folded state.
    pub replica: Arc<Replica>,
    /// The cluster's level and who holds it down.
    pub levels: Arc<cluster::Levels>,
    /// The cluster that it belongs to.
    pub cluster_id: String,
    /// The cluster's authority, to sign newcomers.
    pub ca: Option<Arc<Ca>>,
    /// How it runs.
    pub config: Arc<ControllerConfig>,
}

/// Runs a controller until it is shut down or cannot go on.
pub(crate) async fn run(
    config: ControllerConfig,
    identity: Identity,
    ca: Option<Ca>,
    audit: Option<(Policy, AuditLogOptions)>,
    authentication: Option<(Configuration, Option<AuthenticationFile>)>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (audit, audit_log) = match audit {
        Some((policy, options)) => {
            let log = Arc::new(AuditLog::open(options)?);
            (Some(Audit { policy: Arc::new(policy), sink: log.clone() }), Some(log))
        }
        None => (None, None),
    };
    let authenticators = authentication.map(|(configuration, file)| {
        let authenticators = Arc::new(Authenticators::start(configuration, Timings::default()));
        if let Some(file) = file {
            tokio::spawn(authentication::follow(file, authenticators.clone()));
        }
        authenticators
    });
    let keys = ca.as_ref().map(AccountKeys::of).transpose()?;
    let issuer = keys.map(Issuer::new);
    let listener = kontiki_pki::bind(config.listen, false)
        .with_context(|| format!("cannot listen on {}: is another process using the port?", config.listen))?;
    let front = match config.shared_listen {
        Some(address) => Some(Front::open(address)?),
        None => None,
    };
    let spawner = Arc::new(Threads::start()?);
    let lane = Lane::start().context("starting the threads of the consensus")?;
    let replica = Replica::of_level(config.level, Arc::new(Feed::new(0, assembly::FEED)));
    let dialer = LanePeers::new(lane.handle(), &identity);
    let opening = Node::open(options(&config, &identity, dialer), replica.clone());
    let node = lane.handle().spawn(opening).await.context("opening the consensus")??;
    if config.bootstrap
        && !node.has_begun().await
        && let Err(error) = node.initialize().await
    {
        // Whatever is open must be closed before the process ends.
        node.shutdown().await;
        return Err(error).context("beginning a new cluster");
    }
    let parts = Parts {
        config: config.clone(),
        node: node.clone(),
        replica,
        cluster_id: identity.cluster_id().to_owned(),
        ca_pem: identity.ca_cert_pem().to_owned(),
        ca,
        spawner,
        dial: Arc::new(Peers::new(identity.clone())),
        nature: Nature::default(),
        api: rest::Options {
            advertised: config.advertise.clone(),
            issuer: issuer.map(Arc::new),
            authenticators,
            audit,
            ..rest::Options::default()
        },
    };
    let mut controller = Controller::assemble(parts).await;
    let service = controller.service();
    tracing::info!(name = config.name, id = config.node_id, listen = %config.listen, "controller");
    let serve = {
        let (tls, cluster) = (identity.server_config(ALPN), identity.cluster_id().to_string());
        let lane = lane.handle();
        move |listener, until| {
            let (tls, cluster, service) = (tls.clone(), cluster.clone(), service.clone());
            let lane = Some(lane.clone());
            async move { kontiki_pki::serve(listener, tls, &cluster, lane, service, until).await }
        }
    };
    let mut serving = vec![tokio::spawn(serve(listener, shutdown.clone()))];
    serving.extend(front.map(|front| tokio::spawn(front.run(node.room(), serve, shutdown.clone()))));
    let failure = tokio::select! {
        () = shutdown.cancelled() => {
            hand_over(&node).await;
            None
        }
        why = controller.failed() => Some(why),
    };
    give_leadership_away(&node).await;
    shutdown.cancel();
    for task in serving {
        let _ = task.await;
    }
    if let Some(log) = audit_log {
        log.finish();
    }
    node.shutdown().await;
    controller.end();
    match failure {
        None => Ok(()),
        Some(why) => anyhow::bail!("this controller cannot go on and must be started again: {why}"),
    }
}

/// A leader that ends in order lets another one begin first: nobody has to notice that it is gone.
async fn give_leadership_away(node: &Node) {
    let voters = node.status().members.iter().filter(|member| member.voter).count();
    if !node.leadership().borrow().leading || voters < 2 {
        return;
    }
    match tokio::time::timeout(TRANSFER, node.transfer_leader(None)).await {
        Ok(Ok(next)) => tracing::info!(leader = next.name, "the leadership was given away"),
        Ok(Err(error)) => tracing::info!(%error, "the leadership could not be given away"),
        Err(_) => tracing::info!("the leadership was not taken over in time"),
    }
}

/// A leader that is told to stop names its successor, so that nobody has to notice its absence first.
async fn hand_over(node: &Node) {
    if !node.leadership().borrow().leading {
        return;
    }
    match tokio::time::timeout(HAND_OVER, node.transfer_leader(None)).await {
        Ok(Ok(leader)) => tracing::info!(leader = leader.name, "the leadership is handed over"),
        Ok(Err(error)) => tracing::info!(%error, "the leadership is not handed over"),
        Err(_) => tracing::info!("nobody took the leadership over in time"),
    }
}

fn options(config: &ControllerConfig, identity: &Identity, dialer: Arc<dyn PeerDialer>) -> Options {
    let election = Duration::from_millis(config.election_timeout_ms);
    Options {
        data_dir: config.data_dir.clone(),
        cluster_id: identity.cluster_id().to_string(),
        member: MemberInfo {
            id: config.node_id,
            name: config.name.clone(),
            zone: config.zone.clone(),
            address: config.advertise.clone(),
        },
        timings: kontiki_raft::Timings {
            heartbeat: election / 2,
            election_min: election,
            election_max: election * 2,
        },
        limits: limits(config),
        tables: TABLES,
        dialer,
        caller_of: caller_of(),
        probe: Arc::new(kontiki_raft::free_bytes),
    }
}

fn limits(config: &ControllerConfig) -> Limits {
    let mut limits = Limits::default();
    if let Some(entries) = config.snapshot_entries {
        (limits.snapshot_entries, limits.kept_entries) = (entries.max(1), entries / 2);
    }
    limits
}
