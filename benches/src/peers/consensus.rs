//! Three nodes of the raft crate in this process: real RocksDB, real fdatasync, real TLS among them, and a fold that only keeps.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use futures_util::{FutureExt, future::BoxFuture};
use kontiki_pki::{ALPN, Ca, DEFAULT_LIFETIME, DialOptions, Dialer, Identity, Peer, Role, Subject};
use kontiki_raft::{
    Caller, CallerOf, CommittedEntry, Fold, FoldError, Limits, LogPosition, MemberInfo, Node, Options,
    PeerDialer, Purpose, Record, StoreError, Table, Timings, Writes,
};
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{Store, VALUE};

const MEMBERS: u64 = 3;
const CLUSTER: &str = "consensus";
/// They have a leader by then, or never.
const PATIENCE: Duration = Duration::from_secs(30);

/// Three nodes of their own, gone when this is dropped.
pub(crate) struct Consensus {
    leader: Node,
    term: u64,
    nodes: Vec<Running>,
    _folder: TempDir,
}

struct Running {
    node: Node,
    stop: CancellationToken,
    runtime: Option<Runtime>,
}

/// Keeps every payload as a record and nothing in memory.
struct Keep;

impl Fold for Keep {
    fn load(&self, records: &mut dyn Iterator<Item = Result<Record, StoreError>>) -> Result<(), FoldError> {
        for record in records {
            record?;
        }
        Ok(())
    }

    fn fold(&self, entry: &CommittedEntry, writes: &mut Writes) {
        writes.put(Table(0), entry.index.to_be_bytes(), entry.payload.to_vec());
    }

    fn folded(&self, _last: LogPosition) {}
}

struct Dial(Identity);

impl PeerDialer for Dial {
    fn channel(&self, peer: &MemberInfo, _purpose: Purpose) -> Channel {
        let name = self.0.controller_server_name(Some(peer.id));
        Dialer::new(&self.0).channel(&peer.address, name, DialOptions::default())
    }
}

fn caller_of() -> CallerOf {
    Arc::new(|extensions| {
        let peer = extensions.get::<Peer>()?;
        Some(Caller {
            cluster: peer.cluster.clone(),
            controller: peer.node_id.filter(|_| peer.role == Role::Controller),
            name: peer.name.clone(),
        })
    })
}

impl Consensus {
    /// Starts three nodes and waits until one leads.
    pub(crate) async fn start() -> anyhow::Result<Consensus> {
        let folder = tempfile::Builder::new().prefix("kontiki-bench-raft-").tempdir()?;
        let ca = Ca::create(CLUSTER)?;
        let (mut nodes, mut members) = (Vec::new(), Vec::new());
        for id in 1..=MEMBERS {
            let (running, member) = Running::start(&ca, folder.path().join(format!("c{id}")), id).await?;
            nodes.push(running);
            members.push(member);
        }
        let leader = nodes.first().context("no nodes")?.node.clone();
        leader.initialize().await?;
        let mut leadership = leader.leadership();
        tokio::time::timeout(PATIENCE, leadership.wait_for(|now| now.leading))
            .await
            .context("no leader")??;
        for member in members.into_iter().skip(1) {
            let id = member.id;
            leader.add_learner(member).await?;
            leader.promote(id).await?;
        }
        let term = leader.leadership().borrow().term;
        Ok(Consensus { leader, term, nodes, _folder: folder })
    }
}

impl Running {
    async fn start(ca: &Ca, data_dir: std::path::PathBuf, id: u64) -> anyhow::Result<(Running, MemberInfo)> {
        let name = format!("c{id}");
        let subject = Subject::Controller { id, name: name.clone(), addresses: Vec::new() };
        let pair = ca.issue(&subject, DEFAULT_LIFETIME)?;
        let identity = Identity::new(ca.cert_pem(), &pair.cert_pem, &pair.key_pem)?;
        // As a controller's own process has it.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let listener = runtime.spawn(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))).await??;
        let address = listener.local_addr()?.to_string();
        let member = MemberInfo { id, name, zone: format!("z{id}"), address };
        let options = Options {
            data_dir,
            cluster_id: CLUSTER.into(),
            member: member.clone(),
            timings: Timings::default(),
            limits: Limits::default(),
            tables: &["values"],
            dialer: Arc::new(Dial(identity.clone())),
            caller_of: caller_of(),
            probe: Arc::new(kontiki_raft::free_bytes),
        };
        let node = runtime.spawn(Node::open(options, Arc::new(Keep))).await??;
        let (service, stop) =
            (tonic::service::Routes::new(node.service()).prepare(), CancellationToken::new());
        let (tls, end) = (identity.server_config(ALPN), stop.clone());
        runtime.spawn(async move { kontiki_pki::serve(listener, tls, CLUSTER, None, service, end).await });
        Ok((Running { node, stop, runtime: Some(runtime) }, member))
    }
}

impl Store for Consensus {
    fn name(&self) -> String {
        format!("kontiki-raft {} in process", env!("CARGO_PKG_VERSION"))
    }

    fn servers(&self) -> &[i32] {
        &[]
    }

    fn create(&self, _client: usize, _key: String) -> BoxFuture<'static, anyhow::Result<()>> {
        let proposal = self.leader.propose(vec![b'x'; VALUE].into(), self.term);
        async move { Ok(proposal.await.map(drop)?) }.boxed()
    }

    fn read(&self, _client: usize, _key: String) -> BoxFuture<'static, anyhow::Result<()>> {
        async { bail!("the consensus keeps and does not read") }.boxed()
    }
}

impl Drop for Consensus {
    fn drop(&mut self) {
        let nodes = std::mem::take(&mut self.nodes);
        // A thread of its own, for this one may belong to a runtime and must not block.
        let closing = std::thread::spawn(move || {
            let Ok(own) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            for mut running in nodes {
                running.stop.cancel();
                own.block_on(running.node.shutdown());
                if let Some(runtime) = running.runtime.take() {
                    runtime.shutdown_background();
                }
            }
        });
        if closing.join().is_err() {
            eprintln!("a node did not shut down");
        }
    }
}
