//! The handle: opens the stores, starts the consensus, and offers what the rest of the controller may ask of it.

mod config;
mod half_done;
mod leadership;
mod membership;
mod propose;
mod read;
mod reign;
mod rounds;
mod status;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::begun;
use crate::disk::{Disk, Local, aside};
use crate::envelope::IdentityV1;
use crate::error::OpenError;
use crate::fold::Fold;
use crate::log::{self, Counters, LogLimits, LogStore};
use crate::space::{Probe, Space};
use crate::state::{Progress, StateDirectory, StateLimits, StateMachine};
use crate::types::Raft;
use crate::wire::{CallerOf, LostLeader, MemberInfo, PeerDialer, Peers, RaftService, Service, watch_leader};
pub use config::{Limits, Timings};
pub use leadership::Leadership;
pub(crate) use leadership::LeadershipWatch;
pub use membership::ChangeError;
pub use propose::{Proposal, ProposeError};
pub use read::{ReadError, WaitError};
pub(crate) use reign::Reign;
use rounds::Rounds;
pub use status::{Member, Role, Status, Work};

/// How long closing may take before it is given up.
const CLOSE: Duration = Duration::from_secs(10);

/// The error, once nothing is open any more. The writer of the log closes its database on a thread of its own, and a process that ends
/// upon the error meanwhile would take RocksDB's mutexes from under it and abort.
async fn released(error: OpenError, mut closed: mpsc::Receiver<()>) -> OpenError {
    if tokio::time::timeout(CLOSE, closed.recv()).await.is_err() {
        tracing::warn!("the databases are still in use");
    }
    error
}

/// What a node is made of.
#[derive(Clone)]
pub struct Options {
    /// Where its databases are.
    pub data_dir: PathBuf,
    /// The cluster it belongs to; its data directory serves no other.
    pub cluster_id: String,
    /// Who it is: number, name, zone, and the address where the others reach it.
    pub member: MemberInfo,
    /// How fast it reacts.
    pub timings: Timings,
    /// How much it holds.
    pub limits: Limits,
    /// The tables of the fold's records; new ones may be appended in a later build.
    pub tables: &'static [&'static str],
    /// Reaches the others.
    pub dialer: Arc<dyn PeerDialer>,
    /// Tells who calls.
    pub caller_of: CallerOf,
    /// Reads the free space: [`crate::free_bytes`], unless a test plays a full disk.
    pub probe: Probe,
}

/// A member of the consensus: propose, read, follow the leadership, change the members. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Raft,
    member: MemberInfo,
    limits: Limits,
    timings: Timings,
    peers: Peers,
    rounds: Arc<Rounds<u64>>,
    reign: Reign,
    progress: Arc<Progress>,
    leadership: LeadershipWatch,
    space: Arc<Space>,
    counters: Arc<Counters>,
    proposals: mpsc::Sender<propose::Request>,
    /// Counts how often the proposers began again.
    epoch: AtomicU64,
    service: Service,
    failure: watch::Sender<Option<String>>,
    stop: CancellationToken,
    /// Ends when both databases are closed.
    closed: Mutex<mpsc::Receiver<()>>,
}

impl Node {
    /// Opens or creates the data directory, folds what is committed, and takes part in the consensus. A new node waits: the first one
    /// for [`Node::initialize`], any other until the leader calls it. After an error, nothing of the data directory is open.
    pub async fn open(options: Options, fold: Arc<dyn Fold>) -> Result<Node, OpenError> {
        Node::open_on(Arc::new(Local), options, fold).await
    }

    /// The same on another disk: a seam for simulations. All tasks of the node are spawned in the scope of the caller, if it has one.
    pub async fn open_on(
        disk: Arc<dyn Disk>,
        options: Options,
        fold: Arc<dyn Fold>,
    ) -> Result<Node, OpenError> {
        let config = config::consensus(&options)?;
        let Options { data_dir, cluster_id, member, timings, limits, tables, dialer, caller_of, probe } =
            options;
        // One that is there stays as its owner made it: what only he may read is in directories of their own.
        let there = disk.exists(&data_dir).map_err(|error| OpenError::io("reading", &data_dir, &error))?;
        if !there {
            disk.create_dir(&data_dir).map_err(|error| OpenError::io("creating", &data_dir, &error))?;
        }
        let space = Space::new(&data_dir, limits.reserve_bytes, probe);
        let (open, closed) = mpsc::channel(1);

        let identity = IdentityV1 { cluster_id: cluster_id.clone(), node_id: member.id };
        let log_limits =
            LogLimits { tail_bytes: limits.tail_bytes, write_buffer_bytes: limits.write_buffer_bytes };
        let state_limits = StateLimits {
            tables,
            write_buffer_bytes: limits.write_buffer_bytes,
            cache_bytes: limits.cache_bytes,
        };
        let (root, room, token, on) = (data_dir.clone(), space.clone(), open.clone(), disk.clone());
        let stores = aside(&disk, move || {
            let (path, states) = (root.join("raft.db"), root.join("state"));
            let begun = begun::check(&*on, &root, &path, &log::form(log_limits))?;
            let open_log = || {
                let (room, token) = (room.clone(), token.clone());
                LogStore::open(on.clone(), &path, &identity, begun, log_limits, room, token)
            };
            let log = match open_log() {
                // What fills the disk may be the half of a snapshot that was on its way in when the process ended: opening the state
                // removes it. Nobody else is using it, or the log would have been in use before it was out of space.
                Err(error) if error.is_full() => {
                    StateDirectory::open(on.clone(), &states, state_limits, room.clone())?;
                    open_log()?
                }
                opened => opened?,
            };
            if !begun {
                begun::note(&*on, &root)?;
            }
            let state = StateMachine::open(on.clone(), &states, state_limits, room.clone(), fold, open)?;
            let (durable, purged) = (state.progress().durable(), log.purged().map(|id| id.index));
            if durable < purged {
                let detail = format!(
                    "it ends at {durable:?}, before the log begins, which is purged up to {purged:?}"
                );
                return Err(OpenError::Corrupt { directory: states, detail });
            }
            Ok::<_, OpenError>((log, state))
        });
        let failed = |detail: String| OpenError::Start { directory: data_dir.clone(), detail };
        let (log, state) = match stores.await.map_err(|error| failed(error.to_string())).flatten() {
            Ok(stores) => stores,
            Err(error) => return Err(released(error, closed).await),
        };
        let (progress, directory, counters) = (state.progress(), state.directory(), log.counters());
        let durable = progress.clone();
        let log = log.keep_behind(Arc::new(move || durable.durable()));

        let local = Arc::new(config::local(&cluster_id, member.id, timings));
        let peers = Peers::new(local.clone(), dialer);
        let raft = match Raft::new(member.id, config, peers.clone(), log, state).await {
            Ok(raft) => raft,
            Err(error) => return Err(released(failed(error.to_string()), closed).await),
        };

        let leadership = LeadershipWatch::new();
        let lost = LostLeader::default();
        let reign = Reign::new(member.id, raft.clone(), peers.clone(), leadership.clone());
        let reads = reign.clone();
        let service =
            Service::new(raft.clone(), local, directory, lost.clone(), leadership.clone(), reads, caller_of);
        let (proposals, requests) = mpsc::channel(limits.pending_proposals);
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            raft: raft.clone(),
            member,
            limits,
            timings,
            peers: peers.clone(),
            rounds: Arc::default(),
            reign,
            progress: progress.clone(),
            leadership: leadership.clone(),
            space: space.clone(),
            counters: counters.clone(),
            proposals,
            epoch: AtomicU64::new(0),
            service,
            failure: watch::Sender::new(None),
            stop: stop.clone(),
            closed: Mutex::new(closed),
        });
        let node = Node { inner };
        node.spawn(propose::feed(raft.clone(), requests, timings));
        node.spawn(space.run());
        node.spawn(leadership::follow(raft.clone(), progress, leadership.clone()));
        node.spawn(watch_leader(peers, raft, leadership, lost));
        node.spawn(leadership::keep_house(node.clone()));
        node.spawn(half_done::finish_changes(node.clone()));
        Ok(node)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.inner.stop.clone();
        crate::scope::spawn(async move { stop.run_until_cancelled(task).await });
    }

    /// Makes this pristine node the first and only member of its cluster. Refused once there is any history.
    pub async fn initialize(&self) -> Result<(), ChangeError> {
        let member = &self.inner.member;
        let first = std::collections::BTreeMap::from([(member.id, member.seat())]);
        let done = self.inner.raft.initialize(first).await;
        done.map_err(|error| ChangeError::Refused(format!("initializing the cluster: {error}")))
    }

    /// Whether there is any history: a log or a vote. Known from the start, other than the members, which are folded.
    pub async fn has_begun(&self) -> bool {
        // A consensus that has failed has begun.
        self.inner.raft.is_initialized().await.unwrap_or(true)
    }

    /// The service to mount on this process's port, for the other controllers.
    pub fn service(&self) -> RaftService {
        RaftService::new(self.inner.service.clone())
            .max_decoding_message_size(crate::wire::MESSAGE_BYTES)
            .max_encoding_message_size(crate::wire::MESSAGE_BYTES)
    }

    /// Who leads, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.subscribe()
    }

    /// Resolves when the consensus died of an error that only a restart can heal, with the reason. The process must exit.
    pub async fn failed(&self) -> String {
        let mut failure = self.inner.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }

    /// Stops taking part and closes the databases. Give the leadership away before, with [`Node::transfer_leader`].
    pub async fn shutdown(&self) {
        let Inner { raft, stop, closed, space, .. } = &*self.inner;
        // On a full disk the consensus waits for its storage, and would not see that it is to end.
        space.end();
        // A flush spares the next start from folding again what is folded.
        let flush = raft.with_state_machine(|state| Box::pin(async move { state.flush() }));
        match tokio::time::timeout(CLOSE, flush).await {
            Ok(Ok(Ok(()))) => {}
            other => tracing::warn!(?other, "the state was not flushed; it is folded again from the log"),
        }
        stop.cancel();
        if let Err(error) = raft.shutdown().await {
            tracing::warn!(%error, "the consensus did not stop in order");
        }
        if tokio::time::timeout(CLOSE, closed.lock().await.recv()).await.is_err() {
            tracing::warn!("the databases are still in use; they close when the process ends");
        }
    }

    fn metrics(&self) -> openraft::RaftMetrics<crate::types::Types> {
        // Never held: a borrowed value blocks the consensus.
        self.inner.raft.metrics().borrow_watched().clone()
    }
}
