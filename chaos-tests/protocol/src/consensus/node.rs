//! A member of a consensus-only cluster: the node, its fold, and the machine under them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kontiki_raft::{
    Caller, Fold, Limits, MemberInfo, Node, OpenError, Options, PeerDialer, Purpose, Scope, Timings,
};
use tonic::transport::Channel;

use super::fold::{Registers, TABLES, Watcher};
use crate::machine::{Machine, Process};
use crate::network::{HostId, SimNet, dial, serve};

/// The cluster of all simulations.
const CLUSTER: &str = "simulated";
/// As the product dials controllers.
const CONNECT: Duration = Duration::from_millis(500);
/// Free space on a disk that has some.
const FREE: u64 = 1 << 40;

/// How the nodes of a cluster are set.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// How fast they react.
    pub timings: Timings,
    /// How much they hold.
    pub limits: Limits,
}

/// A member: its machine, and what runs on it.
pub struct Member {
    /// Its number in the consensus; a machine whose disk was lost gets a new one.
    pub id: u64,
    /// The machine.
    pub machine: Machine,
    /// The node, while it runs.
    pub running: Option<Running>,
    net: SimNet,
    setup: Setup,
    zone: String,
}

/// A node that runs.
#[derive(Clone)]
pub struct Running {
    /// The handle.
    pub node: Node,
    /// Its replica.
    pub fold: Arc<Registers>,
    /// Its tasks.
    pub scope: Scope,
}

struct Dialer {
    scope: Scope,
    net: SimNet,
    host: HostId,
}

impl PeerDialer for Dialer {
    fn channel(&self, peer: &MemberInfo, _: Purpose) -> Channel {
        dial(&self.scope, &self.net, self.host, &peer.address, CONNECT)
    }
}

fn address(host: HostId) -> String {
    format!("c{host}:7000")
}

impl Member {
    /// One that does not run yet.
    pub fn new(net: &SimNet, id: u64, zone: u32, setup: Setup, seed: u64) -> Member {
        let machine = Machine::new(net, &format!("c{id}"), seed);
        Member { id, machine, running: None, net: net.clone(), setup, zone: format!("z{zone}") }
    }

    /// As the others know it.
    pub fn info(&self) -> MemberInfo {
        let (id, zone) = (self.id, self.zone.clone());
        MemberInfo { id, name: format!("c{id}"), zone, address: address(self.machine.host) }
    }

    /// Where its log is on its disk.
    pub fn log_path() -> PathBuf {
        data_dir().join("raft.db")
    }

    /// Where its states are on its disk.
    pub fn state_path() -> PathBuf {
        data_dir().join("state")
    }

    /// Starts it. `ids` gives the number of the member on each host, which stands for its certificate.
    pub async fn start(&mut self, ids: Ids, watcher: Watcher) -> Result<(), OpenError> {
        let Process { scope, disk } = self.machine.start();
        let fold = Arc::new(Registers::new(watcher));
        let (host, net) = (self.machine.host, self.net.clone());
        let platter = self.machine.disk.clone();
        let options = Options {
            data_dir: data_dir(),
            cluster_id: CLUSTER.into(),
            member: self.info(),
            timings: self.setup.timings,
            limits: self.setup.limits,
            tables: TABLES,
            dialer: Arc::new(Dialer { scope: scope.clone(), net: net.clone(), host }),
            caller_of: Arc::new(|extensions| extensions.get::<Caller>().cloned()),
            probe: Arc::new(move |_: &Path| Ok(if platter.faults().full { 0 } else { FREE })),
        };
        let given: Arc<dyn Fold> = fold.clone();
        let opening = scope.spawn(async move { Node::open_on(disk, options, given).await });
        let failed = |detail: String| OpenError::Start { directory: data_dir(), detail };
        let node = match opening.await.map_err(|error| failed(error.to_string())).and_then(|opened| opened) {
            Ok(node) => node,
            Err(error) => {
                self.machine.crash();
                return Err(error);
            }
        };
        let incoming = net.listen(host, &address(host));
        let routes = tonic::service::Routes::new(node.service());
        serve(&scope, incoming, routes, move |peer, extensions| {
            let id = ids(peer);
            extensions.insert(Caller {
                cluster: CLUSTER.into(),
                controller: id,
                name: format!("host {peer}"),
            });
        });
        self.running = Some(Running { node, fold, scope });
        Ok(())
    }

    /// The process dies.
    pub fn crash(&mut self) {
        self.machine.crash();
        self.running = None;
    }

    /// The power fails.
    pub fn power_cut(&mut self) {
        self.machine.power_cut();
        self.running = None;
    }
}

/// The number of the member on a host.
pub type Ids = Arc<dyn Fn(HostId) -> Option<u64> + Send + Sync>;

fn data_dir() -> PathBuf {
    PathBuf::from("/data")
}
