//! Whole worker agents in the simulation, with containers that are played in memory. Their files lie in a folder of the real file system
//! (memory, where there is one): they are small, written at once and read back after a crash.

mod evil;
mod runtime;

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, time::Duration};

pub use evil::lie;
use kontiki_chaos_plan::{history::InstanceEvent, names};
use kontiki_worker::{
    agent::{Agent, AgentConfig, Capacity, clock::Clock},
    runtime::{SimulatedRuntime, Simulation},
    session::Dial,
};
use runtime::Hanging;
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use kontiki_raft::Scope;

use crate::{
    controller::{self, EPOCH_MS, Surroundings},
    network::HostId,
    player::{Book, Fabric},
};

/// How long a container takes to start.
const START: Duration = Duration::from_millis(30);
/// An agent that ended is started again after this time, as a supervisor does.
const AGAIN: Duration = Duration::from_millis(500);

/// The machine of a worker. It outlives its agent.
pub struct Machine {
    /// Its number, from 0.
    pub number: u32,
    /// Its name and its node's.
    pub name: String,
    /// What runs on it.
    pub runtime: SimulatedRuntime,
    hangs: watch::Sender<bool>,
    config: AgentConfig,
    agent: Option<(CancellationToken, Scope, JoinHandle<()>)>,
}

impl Machine {
    /// A machine on which nothing runs yet, with its files below this folder.
    pub fn new(number: u32, around: &Surroundings, folder: &Path) -> Machine {
        let (shape, book, name) = (&around.shape, around.book.clone(), names::worker(number));
        let simulation =
            Simulation { any_image: true, start_delay: START, epoch_ms: EPOCH_MS, ..Simulation::default() };
        let runtime = SimulatedRuntime::new(simulation).witnessed(witness(book, name.clone()));
        let config = AgentConfig {
            node: name.clone(),
            zone: names::zone(shape.zone_of(number)),
            labels: BTreeMap::new(),
            data_dir: folder.join(&name),
            controllers: (0..shape.controllers).map(controller::address).collect(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertised: format!("10.0.{}.{}", number / 250, number % 250 + 1),
            capacity: Capacity {
                cpu_milli: i64::try_from(shape.node_cpu_m).ok(),
                memory_bytes: i64::try_from(shape.node_memory_mib << 20).ok(),
                max_pods: Some(shape.node_pods.into()),
            },
            version: "simulated".into(),
            clock: Clock::Simulated { epoch_ms: EPOCH_MS, birth: around.book.start() },
            limits: Default::default(),
            names: Default::default(),
            memory: None,
            seccomp_default: false,
            transient: false,
        };
        Machine { number, name, runtime, hangs: watch::Sender::new(false), config, agent: None }
    }

    /// Starts its agent.
    pub fn start(&mut self, around: &Surroundings) {
        let shutdown = CancellationToken::new();
        let host = around.fabric.worker(self.number);
        let scope = Scope::new(0);
        let dial = Arc::new(Dialer { host, fabric: around.fabric.clone(), scope: scope.clone() });
        let runtime = Hanging::new(self.runtime.clone(), self.hangs.subscribe());
        let (config, until) = (self.config.clone(), shutdown.clone());
        let life = async move {
            loop {
                let ended = match Agent::prepare(&config, runtime.clone()).await {
                    Ok(agent) => {
                        agent.work(&config, dial.clone(), 10250, &Handle::current(), until.clone()).await
                    }
                    Err(error) => Err(error),
                };
                if until.is_cancelled() {
                    return;
                }
                tracing::warn!(node = config.node, ?ended, "an agent ended");
                tokio::time::sleep(AGAIN).await;
            }
        };
        let stop = shutdown.clone();
        let task = scope.spawn(async move {
            // What the agent has spawned ends by the token; what it waits for is dropped.
            stop.run_until_cancelled(life).await;
        });
        self.agent = Some((shutdown, scope, task));
    }

    /// Its agent is gone at once; its containers are not.
    pub fn kill(&mut self, around: &Surroundings) {
        if let Some((shutdown, scope, task)) = self.agent.take() {
            shutdown.cancel();
            task.abort();
            scope.kill();
            let host = around.fabric.worker(self.number);
            around.fabric.net.crash(host);
            around.fabric.net.hold(host, false);
        }
    }

    /// What it says of itself, for those who lie in its name.
    pub fn info(&self) -> kontiki_proto::worker::NodeInfo {
        kontiki_worker::agent::node::hello(&self.config, &self.runtime, 0).info.unwrap_or_default()
    }

    /// Whether its agent runs.
    pub fn is_up(&self) -> bool {
        self.agent.is_some()
    }

    /// The runtime answers nothing, or does again.
    pub fn hang(&self, hangs: bool) {
        self.hangs.send_replace(hangs);
    }
}

fn witness(book: Arc<Book>, node: String) -> kontiki_worker::runtime::Witness {
    Arc::new(move |pod, container, attempt, exit| {
        book.instance(InstanceEvent {
            at_ns: book.now_ns(),
            node: node.clone(),
            pod_uid: pod.uid.clone(),
            pod: format!("{}/{}", pod.namespace, pod.name),
            container: container.into(),
            attempt,
            running: exit.is_none(),
            exit,
        });
    })
}

/// Reaches controllers through the simulated network.
struct Dialer {
    host: HostId,
    fabric: Arc<Fabric>,
    scope: Scope,
}

impl Dial for Dialer {
    fn channel(&self, address: &str, _: Duration) -> Channel {
        self.fabric.channel(self.host, address, &self.scope)
    }
}
