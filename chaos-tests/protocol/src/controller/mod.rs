//! Whole controllers in the simulation: the real consensus on a simulated disk, the real replica, stage, sessions and REST API, on
//! the one thread that everything shares.

mod clock;
mod old_leader;
mod room;
mod tap;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
pub use clock::{EPOCH_MS, WallClock};
use kontiki::controller::{
    Controller, ControllerConfig, Dial, Nature, Parts, Replica, Spawner, TABLES, caller_of,
};
use kontiki_actors::LEVEL;
use kontiki_api::{
    feed::{Feed, FeedLimits},
    rest,
};
use kontiki_chaos_plan::{names, plan::Shape};
use kontiki_raft::{Limits, MemberInfo, Node, Options, PeerDialer, Purpose, Scope, Timings};
pub use old_leader::rise as old_leader;
use room::Stalls;
use tap::Tap;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;

use crate::{
    disk::SimDisk,
    network::HostId,
    player::{Book, Fabric},
};

/// The cluster of all simulations.
pub const CLUSTER: &str = "kontiki-simulated";
/// The header by which a simulated client names its requests.
pub const REQUEST_ID: &str = "x-request-id";
/// Free space on a disk that has some.
const FREE: u64 = 1 << 40;
/// Where a controller's files are on its own disk.
const DATA: &str = "/data";
/// How often a watch is told where it stands.
const BOOKMARKS: Duration = Duration::from_millis(700);

/// The machine of a controller. It outlives what runs on it.
pub struct Site {
    /// Its number, from 0.
    pub number: u32,
    /// Its clock.
    pub clock: Arc<WallClock>,
    /// Its disk.
    pub disk: SimDisk,
    id: u64,
    seed: u64,
    lives: u64,
    up: bool,
    opening: Option<Scope>,
    running: Option<Running>,
}

/// A controller that runs.
pub struct Running {
    /// Its tasks.
    pub scope: Scope,
    /// Its member of the consensus.
    pub node: Node,
    /// Its replica.
    pub replica: Arc<Replica>,
    /// What answers on its port.
    pub service: axum::Router,
    controller: Option<Controller>,
    stalls: Stalls,
    end: CancellationToken,
    _ends_with_this: DropGuard,
}

/// What all controllers of a simulation share.
#[derive(Clone)]
pub struct Surroundings {
    /// How the cluster is set.
    pub shape: Shape,
    /// The network.
    pub fabric: Arc<Fabric>,
    /// Where everything is written down.
    pub book: Arc<Book>,
}

/// Its address in the simulated network.
pub fn address(number: u32) -> String {
    format!("{}:6443", names::controller(number))
}

/// As a member with this number in the consensus.
pub fn member(shape: &Shape, number: u32, id: u64) -> MemberInfo {
    MemberInfo {
        id,
        name: names::controller(number),
        zone: names::zone(shape.zone_of(number)),
        address: address(number),
    }
}

impl Site {
    /// A machine with this disk on which nothing runs yet.
    pub fn new(number: u32, seed: u64, start: Instant) -> Site {
        let (clock, disk) = (Arc::new(WallClock::new(start)), SimDisk::new(seed ^ 0xd15c));
        Site {
            number,
            clock,
            disk,
            id: u64::from(number) + 1,
            seed,
            lives: 0,
            up: false,
            opening: None,
            running: None,
        }
    }

    /// What runs, if something does.
    pub fn running(&self) -> Option<&Running> {
        self.running.as_ref()
    }

    /// Which life it is in; a start or an end begins another.
    pub fn life(&self) -> u64 {
        self.lives
    }

    /// Whether something runs, or is being started.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Its number in the consensus.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its disk is gone: it comes back as somebody else.
    pub fn renew(&mut self, around: &Surroundings) -> u64 {
        self.id += 100;
        around.fabric.renumber(self.number, self.id);
        self.id
    }

    /// It runs.
    pub fn runs(&mut self, running: Running) {
        self.running = Some(running);
    }

    /// Starts a controller. `first`: it begins the cluster. Gives its life, and what gets it running.
    pub fn start(
        &mut self,
        around: &Surroundings,
        first: bool,
    ) -> (u64, impl Future<Output = anyhow::Result<Running>> + use<>) {
        self.lives += 1;
        self.up = true;
        let scope = Scope::new(self.seed ^ self.lives.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let stalls = Stalls::open();
        let limits = FeedLimits {
            events: usize::try_from(around.shape.watch_history).unwrap_or(usize::MAX),
            bytes: 64 << 20,
        };
        let replica = Replica::new(Arc::new(Feed::new(0, limits)));
        let tap = Tap { controller: self.number, replica: replica.clone(), book: around.book.clone() };
        let host = around.fabric.controller(self.number);
        around.fabric.net.power_on(host);
        let dial = Arc::new(Dialer { host, fabric: around.fabric.clone(), scope: scope.clone() });
        let options = self.options(&around.shape, dial.clone());
        let parts = {
            let (wall, random) = (self.clock.clone(), scope.clone());
            let clock = self.clock.clone();
            move |node: Node, replica: Arc<Replica>, spawner: Arc<dyn Spawner>, config: ControllerConfig| {
                Parts {
                    config,
                    node,
                    replica,
                    cluster_id: CLUSTER.into(),
                    ca_pem: "simulated".into(),
                    ca: None,
                    spawner,
                    dial,
                    nature: Nature {
                        wall_ms: Arc::new(move || wall.now_ms()),
                        random: Arc::new(move || random.random()),
                    },
                    api: rest::Options {
                        bookmark_interval: BOOKMARKS,
                        request_id: Arc::new(|headers| {
                            let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok());
                            id.unwrap_or("nameless").to_owned()
                        }),
                        clock: Arc::new(move || clock.now_ms()),
                        ..rest::Options::default()
                    },
                }
            }
        };
        let (config, disk, spawner) = (self.config(&around.shape), self.disk.mount(), stalls.spawner());
        let opened = scope.spawn(async move {
            let node = Node::open_on(disk, options, Arc::new(tap)).await?;
            if first {
                node.initialize().await.map_err(|e| anyhow::anyhow!("{e}"))?;
            }
            let controller =
                Controller::assemble(parts(node.clone(), replica.clone(), spawner, config)).await;
            anyhow::Ok((node, replica, controller))
        });
        self.opening = Some(scope.clone());
        let (around, number) = (around.clone(), self.number);
        let runs = async move {
            let (node, replica, controller) =
                opened.await.context("a controller's start was cut short")??;
            let service = controller.service();
            around.fabric.serve(host, &address(number), service.clone(), &scope);
            let (book, mut leadership) = (around.book.clone(), node.leadership());
            scope.spawn(async move {
                loop {
                    let now = leadership.borrow_and_update().clone();
                    book.leads(number, now.leading.then_some(now.term));
                    if leadership.changed().await.is_err() {
                        return;
                    }
                }
            });
            let end = CancellationToken::new();
            let (controller, guard) = (Some(controller), end.clone().drop_guard());
            Ok(Running { scope, node, replica, service, controller, stalls, end, _ends_with_this: guard })
        };
        (self.lives, runs)
    }

    /// Everything that runs is gone at once: the process died, or the machine lost its power.
    pub fn kill(&mut self, around: &Surroundings, power: bool) {
        let host = around.fabric.controller(self.number);
        self.lives += 1;
        self.up = false;
        self.running = None;
        if let Some(scope) = self.opening.take() {
            scope.kill();
        }
        if power {
            self.disk.power_cut();
            around.fabric.net.power_cut(host);
        } else {
            self.disk.crash();
            around.fabric.net.crash(host);
        }
        around.fabric.net.hold(host, false);
        around.book.leads(self.number, None);
    }

    fn config(&self, shape: &Shape) -> ControllerConfig {
        ControllerConfig {
            name: names::controller(self.number),
            node_id: self.id,
            zone: names::zone(shape.zone_of(self.number)),
            data_dir: PathBuf::from(DATA),
            listen: SocketAddr::from(([127, 0, 0, 1], 6443)),
            shared_listen: None,
            advertise: address(self.number),
            bootstrap: false,
            election_timeout_ms: shape.election_ms,
            node_grace_ms: shape.node_grace_ms,
            snapshot_entries: Some(shape.snapshot_entries),
            level: LEVEL,
        }
    }

    fn options(&self, shape: &Shape, dialer: Arc<Dialer>) -> Options {
        let election = Duration::from_millis(shape.election_ms);
        let entries = shape.snapshot_entries.max(1);
        let disk = self.disk.clone();
        let limits = Limits { snapshot_entries: entries, kept_entries: entries / 2, ..Limits::default() };
        Options {
            data_dir: PathBuf::from(DATA),
            cluster_id: CLUSTER.into(),
            member: member(shape, self.number, self.id),
            timings: Timings { heartbeat: election / 2, election_min: election, election_max: election * 2 },
            limits,
            tables: TABLES,
            dialer,
            caller_of: caller_of(),
            probe: Arc::new(move |_| Ok(if disk.faults().full { 0 } else { FREE })),
        }
    }
}

impl Running {
    /// Everything of it stands still, or goes on.
    pub fn hold(&self, held: bool) {
        if held {
            self.scope.hold()
        } else {
            self.scope.resume()
        }
        self.stalls.hold(held);
    }

    /// Resolves when it cannot go on, with the reason, or when it is gone.
    pub fn failed(&mut self) -> impl Future<Output = Option<String>> + use<> {
        let (controller, end) = (self.controller.take(), self.end.clone());
        async move {
            let mut controller = controller?;
            end.run_until_cancelled(controller.failed()).await
        }
    }
}

/// Reaches other controllers through the simulated network.
struct Dialer {
    host: HostId,
    fabric: Arc<Fabric>,
    scope: Scope,
}

impl Dial for Dialer {
    fn controller(&self, member: &MemberInfo) -> Channel {
        self.fabric.channel(self.host, &member.address, &self.scope)
    }

    fn worker(&self, node: &str, address: &str) -> Result<Channel, String> {
        Err(format!("node {node} at {address}: logs are not simulated"))
    }
}

impl PeerDialer for Dialer {
    fn channel(&self, peer: &MemberInfo, _: Purpose) -> Channel {
        self.controller(peer)
    }
}
