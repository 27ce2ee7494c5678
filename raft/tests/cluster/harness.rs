//! A cluster to test with.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kontiki_raft::{
    Caller, ChangeError, CommittedEntry, Fold, FoldError, Leadership, Limits, LogPosition, MemberInfo, Node,
    OpenError, Options, PeerDialer, ProposeError, Purpose, Record, StoreError, Table, Timings, Writes,
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tonic::transport::{Channel, Endpoint};

use crate::relays::Relays;

pub(crate) const CLUSTER: &str = "test";
/// Long enough for a loaded machine; nothing waits for it when all goes well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Keeps every payload by its index.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) entries: Mutex<BTreeMap<u64, Vec<u8>>>,
}

impl Fold for Memory {
    fn load(&self, records: &mut dyn Iterator<Item = Result<Record, StoreError>>) -> Result<(), FoldError> {
        let mut loaded = BTreeMap::new();
        for record in records {
            let record = record?;
            loaded.insert(u64::from_be_bytes(record.key.try_into().unwrap()), record.value);
        }
        *self.entries.lock().unwrap() = loaded;
        Ok(())
    }

    fn fold(&self, entry: &CommittedEntry, writes: &mut Writes) {
        self.entries.lock().unwrap().insert(entry.index, entry.payload.to_vec());
        writes.put(Table(0), entry.index.to_be_bytes(), entry.payload.to_vec());
    }

    fn folded(&self, _last: LogPosition) {}
}

impl Memory {
    pub(crate) fn values(&self) -> Vec<Vec<u8>> {
        self.entries.lock().unwrap().values().cloned().collect()
    }
}

/// Dials without TLS; the user agent stands for the certificate.
struct Plain {
    id: u64,
    relays: Option<(Arc<Relays>, Handle)>,
}

impl PeerDialer for Plain {
    fn channel(&self, peer: &MemberInfo, _purpose: Purpose) -> Channel {
        let address = match &self.relays {
            Some((relays, runtime)) => {
                relays.way(runtime, self.id, peer.address.parse().unwrap()).to_string()
            }
            None => peer.address.clone(),
        };
        dial(&address, CLUSTER, self.id)
    }
}

/// A channel of somebody who can prove to be this controller of this cluster.
pub(crate) fn dial(address: &str, cluster: &str, id: u64) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .user_agent(format!("certificate/{cluster}/{id}"))
        .unwrap()
        .connect_timeout(Duration::from_secs(1))
        .tcp_nodelay(true)
        .connect_lazy()
}

fn identify(mut request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
    let agent =
        request.metadata().get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    let agent = agent.split(' ').next().unwrap_or_default().to_owned();
    let mut parts = agent.split('/').skip(1);
    if let (Some(cluster), Some(id)) = (parts.next(), parts.next()) {
        let caller =
            Caller { cluster: cluster.into(), controller: id.parse().ok(), name: format!("controller {id}") };
        request.extensions_mut().insert(caller);
    }
    Ok(request)
}

pub(crate) struct Running {
    pub(crate) node: Node,
    pub(crate) fold: Arc<Memory>,
    pub(crate) free: Arc<AtomicU64>,
    runtime: Option<Runtime>,
}

pub(crate) struct Cluster {
    pub(crate) place: TempDir,
    pub(crate) limits: Limits,
    pub(crate) nodes: BTreeMap<u64, Running>,
    killed: Vec<Running>,
    addresses: BTreeMap<u64, SocketAddr>,
    relays: Option<(Arc<Relays>, Handle)>,
}

/// Runs a test on a runtime of its own.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into()),
        )
        .with_test_writer()
        .try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(3 * PATIENCE, test).await.expect("the test hangs") })
}

impl Cluster {
    pub(crate) fn new(limits: Limits) -> Cluster {
        let place = TempDir::new().unwrap();
        Cluster {
            place,
            limits,
            nodes: BTreeMap::new(),
            killed: Vec::new(),
            addresses: BTreeMap::new(),
            relays: None,
        }
    }

    /// One that runs, with these members; the first leads.
    pub(crate) async fn of(members: u64, limits: Limits) -> Cluster {
        Cluster::new(limits).with(members).await
    }

    /// The same, whose connections can be held.
    pub(crate) async fn relayed(members: u64, limits: Limits) -> Cluster {
        let mut cluster = Cluster::new(limits);
        cluster.relays = Some((Arc::default(), Handle::current()));
        cluster.with(members).await
    }

    async fn with(self, members: u64) -> Cluster {
        let mut cluster = self;
        cluster.start(1).await;
        cluster.node(1).initialize().await.unwrap();
        cluster.leader_is(1).await;
        for id in 2..=members {
            cluster.start(id).await;
            cluster.join(id).await;
        }
        cluster.led_by_the_first().await;
        cluster
    }

    /// A controller gets its vote, through whoever leads: a machine that stands still for a moment costs a leader its lease.
    async fn join(&self, id: u64) {
        loop {
            let (leader, _) = self.leader().await;
            let node = self.node(leader);
            let joined = async {
                node.add_learner(self.member(id)).await?;
                node.promote(id).await
            };
            match joined.await {
                Ok(()) => return,
                Err(ChangeError::Refused(why)) => panic!("{why}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }

    /// If somebody else leads meanwhile, the leadership is handed back.
    async fn led_by_the_first(&self) {
        loop {
            let (leader, _) = self.leader().await;
            if leader == 1 {
                return;
            }
            let _ = self.node(leader).transfer_leader(Some(1)).await;
        }
    }

    pub(crate) fn node(&self, id: u64) -> &Node {
        &self.nodes[&id].node
    }

    pub(crate) fn fold(&self, id: u64) -> &Memory {
        &self.nodes[&id].fold
    }

    pub(crate) fn address(&self, id: u64) -> SocketAddr {
        self.addresses[&id]
    }

    pub(crate) fn member(&self, id: u64) -> MemberInfo {
        let address = self.addresses.get(&id).map(ToString::to_string).unwrap_or_default();
        MemberInfo { id, name: format!("c{id}"), zone: format!("z{id}"), address }
    }

    pub(crate) fn options(&self, id: u64, free: &Arc<AtomicU64>) -> Options {
        let free = free.clone();
        Options {
            data_dir: self.place.path().join(format!("c{id}")),
            cluster_id: CLUSTER.into(),
            member: self.member(id),
            // Slower than in production: the tests share a machine with compilers.
            timings: Timings {
                heartbeat: Duration::from_millis(50),
                election_min: Duration::from_millis(300),
                election_max: Duration::from_millis(600),
            },
            limits: self.limits,
            tables: &["entries"],
            dialer: Arc::new(Plain { id, relays: self.relays.clone() }),
            caller_of: Arc::new(|extensions| extensions.get::<Caller>().cloned()),
            probe: Arc::new(move |_| Ok(free.load(Ordering::Relaxed))),
        }
    }

    /// Opens a controller's data directory, at once or not at all.
    pub(crate) async fn try_open(&self, id: u64) -> Result<Node, OpenError> {
        let free = Arc::new(AtomicU64::new(u64::MAX));
        Node::open(self.options(id, &free), Arc::new(Memory::default())).await
    }

    /// Starts a controller, on its address if it had one.
    pub(crate) async fn start(&mut self, id: u64) {
        self.try_start(id).await.unwrap();
    }

    pub(crate) async fn try_start(&mut self, id: u64) -> Result<(), OpenError> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let wanted = self.addresses.get(&id).copied().unwrap_or(([127, 0, 0, 1], 0).into());
        let listener = runtime.spawn(async move {
            loop {
                match TcpListener::bind(wanted).await {
                    // The killed one is still letting go of its port.
                    Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    bound => break bound.unwrap(),
                }
            }
        });
        let listener = listener.await.unwrap();
        self.addresses.insert(id, listener.local_addr().unwrap());
        let free = Arc::new(AtomicU64::new(u64::MAX));
        let options = self.options(id, &free);
        let fold = Arc::new(Memory::default());
        let given = fold.clone();
        let opened = runtime.spawn(async move {
            loop {
                match Node::open(options.clone(), given.clone()).await {
                    // The killed one is still letting go of its files.
                    Err(OpenError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
                    opened => break opened,
                }
            }
        });
        let opened = opened.await.unwrap();
        let node = match opened {
            Ok(node) => node,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let service = node.service();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        runtime.spawn(
            tonic::transport::Server::builder()
                .layer(tonic::service::InterceptorLayer::new(identify))
                .tcp_nodelay(true)
                .add_service(service)
                .serve_with_incoming(incoming),
        );
        self.nodes.insert(id, Running { node, fold, free, runtime: Some(runtime) });
        Ok(())
    }

    /// Kills a controller without a word.
    pub(crate) fn kill(&mut self, id: u64) {
        let mut running = self.nodes.remove(&id).unwrap();
        running.runtime.take().unwrap().shutdown_background();
        self.killed.push(running);
    }

    /// The leader that all given controllers agree on, once it may decide.
    pub(crate) async fn leader(&self) -> (u64, u64) {
        loop {
            let now: Vec<(u64, Leadership)> = self
                .nodes
                .iter()
                .map(|(id, running)| (*id, running.node.leadership().borrow().clone()))
                .collect();
            let leading = now.iter().filter(|(_, now)| now.leading).max_by_key(|(_, now)| now.term);
            if let Some((id, leader)) = leading {
                return (*id, leader.term);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn leader_is(&self, id: u64) {
        let mut leadership = self.node(id).leadership();
        tokio::time::timeout(PATIENCE, leadership.wait_for(|now| now.leading)).await.unwrap().unwrap();
    }

    /// Has whoever leads change the members. The leadership may have moved on a busy machine: again then.
    pub(crate) async fn changed<T>(
        &self,
        change: impl AsyncFn(&Node) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        loop {
            let (leader, _) = self.leader().await;
            match change(self.node(leader)).await {
                Err(ChangeError::NotLeader { .. } | ChangeError::InProgress) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                done => return done,
            }
        }
    }

    /// Writes through whoever leads until it is acknowledged.
    pub(crate) async fn write(&self, text: &str) -> LogPosition {
        loop {
            let (leader, term) = self.leader().await;
            match self.node(leader).propose(text.as_bytes().to_vec().into(), term).await {
                Ok(position) => return position,
                Err(ProposeError::TooLarge { .. }) => panic!("too large"),
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }

    /// The connections of a cluster that can hold them.
    pub(crate) fn relays(&self) -> &Relays {
        &self.relays.as_ref().unwrap().0
    }

    /// Waits until all but the leader have the log up to here, or follow it no more.
    pub(crate) async fn followers_have(&self, leader: u64, term: u64, index: u64) {
        for (_, running) in self.nodes.iter().filter(|(id, _)| **id != leader) {
            while running.node.status().last_log < Some(index) && running.node.status().term == term {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// The first to lead a later term.
    pub(crate) async fn leader_after(&self, term: u64) -> u64 {
        loop {
            let leads = |running: &Running| {
                let now = running.node.leadership().borrow().clone();
                now.leading && now.term > term
            };
            if let Some((id, _)) = self.nodes.iter().find(|(_, running)| leads(running)) {
                return *id;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Writes through this controller, which leads.
    pub(crate) async fn write_at(&self, id: u64, text: &str) -> LogPosition {
        let node = self.node(id);
        let term = node.leadership().borrow().term;
        node.propose(text.as_bytes().to_vec().into(), term).await.unwrap()
    }

    /// Waits until all controllers hold everything up to here, and the same.
    pub(crate) async fn settled(&self, last: LogPosition) {
        for running in self.nodes.values() {
            running.node.wait_applied(last.index, PATIENCE).await.unwrap();
        }
        let upto = |running: &Running| {
            let entries = running.fold.entries.lock().unwrap();
            entries.range(..=last.index).map(|(index, value)| (*index, value.clone())).collect::<Vec<_>>()
        };
        let mut all = self.nodes.values().map(upto);
        let first = all.next().unwrap();
        assert!(all.all(|other| other == first), "the controllers differ");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let nodes = std::mem::take(&mut self.nodes).into_values().chain(std::mem::take(&mut self.killed));
        // The databases are closed before the process may end; a thread of its own, for this one must not block.
        let closing = std::thread::spawn(move || {
            let own = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            for mut running in nodes {
                if let Some(runtime) = running.runtime.take() {
                    runtime.shutdown_timeout(Duration::from_secs(5));
                }
                own.block_on(running.node.shutdown());
            }
        });
        closing.join().unwrap();
    }
}
