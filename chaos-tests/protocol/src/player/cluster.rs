//! The cluster: the machines, what runs on them, and the supervisors that start again what died.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kontiki_chaos_plan::{
    Plan,
    plan::{Op, Shape, What},
};
use kontiki_raft::Node;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{Book, Fabric, faults::Undo, rules::Rules};
use crate::{
    client::{Doors, Outside},
    controller::{Running, Site, Surroundings},
    network::SimNet,
    trace::Trace,
    worker::Machine,
};

/// What died by itself is started again after this time.
const AGAIN: Duration = Duration::from_millis(500);

/// A controller that could not be started so often in a row is replaced.
const FAILURES_MAX: u32 = 8;

/// The cluster.
pub(super) struct Cluster {
    pub(super) shape: Shape,
    pub(super) around: Surroundings,
    pub(super) book: Arc<Book>,
    pub(super) sites: Vec<Site>,
    pub(super) machines: Vec<Machine>,
    pub(super) doors: Arc<Doors>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) rules: Rules,
    /// What is to be undone when a fault ends.
    pub(super) undo: BTreeMap<usize, Undo>,
    /// How many faults keep a controller or worker down, or held.
    pub(super) down: BTreeMap<Who, u32>,
    pub(super) held: BTreeMap<Who, u32>,
    /// How often in a row a controller could not be started.
    failures: BTreeMap<u32, u32>,
    /// Jobs that are done beside the plan.
    pub(super) jobs: JoinSet<()>,
    starts: JoinSet<(u32, u64, anyhow::Result<Running>)>,
    news: mpsc::UnboundedSender<News>,
    heard: mpsc::UnboundedReceiver<News>,
    _folder: TempDir,
}

/// A controller or a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// A controller.
    Controller(u32),
    /// A worker.
    Worker(u32),
}

/// The members that run, for jobs beside the plan.
#[derive(Default)]
pub(super) struct Nodes(Mutex<BTreeMap<u32, Node>>);

impl Nodes {
    /// Whoever leads, as it says itself.
    pub(super) fn leader(&self) -> Option<Node> {
        let nodes = self.0.lock();
        let leading = nodes.values().filter(|node| node.leadership().borrow().leading);
        leading.max_by_key(|node| node.leadership().borrow().term).cloned()
    }
}

/// What supervisors hear.
enum News {
    /// This life of a controller cannot go on.
    Failed(u32, u64, String),
    /// A controller is to be started.
    Start(u32),
}

impl Cluster {
    /// Machines on which nothing runs yet.
    pub(super) fn new(plan: &Plan, trace: Trace) -> anyhow::Result<Cluster> {
        let (shape, seed) = (plan.shape.clone(), plan.seed);
        let book = Arc::new(Book::new());
        let net = SimNet::new(seed, trace);
        let clients = plan.events.iter().filter_map(|event| match &event.what {
            What::Op { client, op: Op::Watch { .. } | Op::WatchSlowly { .. }, .. } => Some(client + 1),
            What::Op { client, .. } => Some(client + 1),
            What::Fault(_) => None,
        });
        // One more for those who look whether all is well.
        let clients = clients.max().unwrap_or(0) + 1;
        let fabric = Fabric::new(net, seed, shape.controllers, shape.workers, clients);
        let around = Surroundings { shape: shape.clone(), fabric, book: book.clone() };
        let memory = std::path::Path::new("/dev/shm");
        let folder = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir())?;
        let site = |n: u32| {
            let own = seed ^ (u64::from(n) + 1).wrapping_mul(0xa076_1d64_78bd_642f);
            Site::new(n, own, book.start())
        };
        let sites = (0..shape.controllers).map(site).collect();
        let machines = (0..shape.workers).map(|n| Machine::new(n, &around, folder.path())).collect();
        let (news, heard) = mpsc::unbounded_channel();
        let rules = Rules::default();
        Ok(Cluster {
            shape,
            around,
            book,
            sites,
            machines,
            doors: Arc::default(),
            nodes: Arc::default(),
            rules,
            undo: BTreeMap::new(),
            down: BTreeMap::new(),
            held: BTreeMap::new(),
            failures: BTreeMap::new(),
            jobs: JoinSet::new(),
            starts: JoinSet::new(),
            news,
            heard,
            _folder: folder,
        })
    }

    /// What clients need.
    pub(super) fn outside(&self) -> Outside {
        Outside {
            doors: self.doors.clone(),
            fabric: self.around.fabric.clone(),
            book: self.book.clone(),
            controllers: self.shape.controllers,
        }
    }

    /// Begins to start a controller; it is there some time later.
    pub(super) fn start(&mut self, n: u32, first: bool) {
        let site = &mut self.sites[n as usize];
        let (life, opening) = site.start(&self.around, first);
        self.starts.spawn_local(async move { (n, life, opening.await) });
    }

    /// Does what supervisors do, until then.
    pub(super) async fn look_after_until(&mut self, until: Instant) {
        loop {
            tokio::select! {
                biased;
                Some(started) = self.starts.join_next() => {
                    if let Ok((n, life, started)) = started {
                        self.started(n, life, started);
                    }
                }
                Some(news) = self.heard.recv() => self.hear(news),
                Some(_) = self.jobs.join_next() => {}
                () = sleep_until(until) => return,
            }
        }
    }

    fn started(&mut self, n: u32, life: u64, started: anyhow::Result<Running>) {
        let site = &mut self.sites[n as usize];
        if site.life() != life {
            return;
        }
        match started {
            Ok(mut running) => {
                self.failures.remove(&n);
                let (news, failed) = (self.news.clone(), running.failed());
                self.jobs.spawn_local(async move {
                    if let Some(why) = failed.await {
                        // Nobody looks after the cluster any more: it has ended.
                        let _ = news.send(News::Failed(n, life, why));
                    }
                });
                if self.held.get(&Who::Controller(n)).is_some_and(|count| *count > 0) {
                    running.hold(true);
                }
                self.nodes.0.lock().insert(n, running.node.clone());
                self.doors.open(n, running.service.clone(), running.scope.clone());
                site.runs(running);
            }
            Err(error) => {
                tracing::info!(controller = n, error = format!("{error:#}"), "a controller does not start");
                self.stop_controller(n, false);
                let failures = self.failures.entry(n).or_default();
                *failures += 1;
                if *failures >= FAILURES_MAX && !self.rules.is_spoiled(n) {
                    // Its disk is whole and what is on it is not: somebody replaces it, as its error says.
                    *failures = 0;
                    self.sites[n as usize].disk.wipe();
                    self.rejoin(n);
                }
                self.start_later(n);
            }
        }
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Failed(n, life, why) => {
                if self.sites[n as usize].life() == life {
                    tracing::info!(controller = n, why, "a controller ended");
                    self.stop_controller(n, false);
                    self.start_later(n);
                }
            }
            News::Start(n) => {
                let down = self.down.get(&Who::Controller(n)).is_some_and(|count| *count > 0);
                if !down && !self.sites[n as usize].is_up() {
                    self.start(n, false);
                }
            }
        }
    }

    fn start_later(&mut self, n: u32) {
        let news = self.news.clone();
        self.jobs.spawn_local(async move {
            tokio::time::sleep(AGAIN).await;
            let _ = news.send(News::Start(n));
        });
    }

    /// A controller is gone at once.
    pub(super) fn stop_controller(&mut self, n: u32, power: bool) {
        self.doors.close(n);
        self.nodes.0.lock().remove(&n);
        self.sites[n as usize].kill(&self.around, power);
    }

    /// Whoever leads, as it says itself.
    pub(super) fn leader(&self) -> Option<&Site> {
        let leading =
            |site: &&Site| site.running().is_some_and(|running| running.node.leadership().borrow().leading);
        // A deposed one may not know yet: the newest term counts.
        self.sites
            .iter()
            .filter(leading)
            .max_by_key(|site| site.running().map(|running| running.node.leadership().borrow().term))
    }

    /// Ends everything.
    pub(super) fn stop(&mut self) {
        for n in 0..self.shape.controllers {
            self.stop_controller(n, false);
        }
        for machine in &mut self.machines {
            machine.kill(&self.around);
        }
    }
}
