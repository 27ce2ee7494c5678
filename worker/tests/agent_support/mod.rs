//! A whole agent without a leader, for tests with real containers.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use kontiki_proto::worker::{Assignments, Dependency, PodAssignment};
use kontiki_worker::agent::clock::Clock;
use kontiki_worker::agent::crew::Command;
use kontiki_worker::agent::images::ImageLimits;
use kontiki_worker::agent::outbox::Outbox;
use kontiki_worker::agent::pressure::{Bounds, Places};
use kontiki_worker::agent::{Agent, AgentConfig, Limits, Watch};
use kontiki_worker::runtime::Runtime;
use kontiki_worker::session::Dial;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::runtime_support::{PATIENCE, Worker};

/// Nobody leads.
struct Nobody;

impl Dial for Nobody {
    fn channel(&self, _: &str, _: Duration) -> Channel {
        Endpoint::from_static("http://127.0.0.1:1").connect_lazy()
    }
}

pub struct Running {
    pub crew: mpsc::Sender<Command>,
    pub outbox: Arc<Outbox>,
    pub runtime: Arc<dyn Runtime>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    /// A worker that is short of something below these thresholds, and keeps secrets there.
    pub async fn start(worker: &Worker, hard: &str, memory: Option<&Path>) -> Running {
        Running::of(worker.dir.path(), Arc::new(worker.bare_runtime()), hard, memory).await
    }

    /// The same with any runtime.
    pub async fn of(data: &Path, runtime: Arc<dyn Runtime>, hard: &str, memory: Option<&Path>) -> Running {
        let data = data.to_owned();
        let places = Places { data: data.clone(), images: data.join("images") };
        let bounds = Bounds { hard: hard.parse().unwrap(), ..Bounds::default() };
        let (period, images) = (Duration::from_millis(50), ImageLimits::default());
        let watch = Some(Watch { bounds, places, period, images });
        let config = AgentConfig {
            node: "n1".into(),
            zone: String::new(),
            labels: Default::default(),
            data_dir: data,
            controllers: vec!["127.0.0.1:1".into()],
            listen: ([127, 0, 0, 1], 0).into(),
            advertised: "127.0.0.1".into(),
            capacity: Default::default(),
            version: "test".into(),
            clock: Clock::Wall,
            limits: Limits { watch, ..Limits::default() },
            names: Default::default(),
            memory: memory.map(Path::to_owned),
            seccomp_default: false,
            transient: false,
        };
        let agent = Agent::prepare(&config, runtime.clone()).await.unwrap();
        let (crew, outbox) = (agent.crew.handle(), agent.crew.host().outbox.clone());
        let shutdown = CancellationToken::new();
        let ends = shutdown.clone();
        let task = tokio::spawn(async move {
            let thread = tokio::runtime::Handle::current();
            agent.work(&config, Arc::new(Nobody), 1, &thread, ends).await.unwrap();
        });
        Running { crew, outbox, runtime, shutdown, task }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    pub async fn put(&self, name: &str, spec: Value, dependencies: Vec<Dependency>) {
        let pod = json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": spec,
            "status": {"qosClass": "BestEffort"},
        });
        let put = PodAssignment {
            uid: name.into(),
            namespace: "ns".into(),
            name: name.into(),
            revision: 1,
            pod: pod.to_string().into(),
            dependencies,
            ..PodAssignment::default()
        };
        let sent =
            self.crew.send(Command::Assign(Assignments { put: vec![put], ..Assignments::default() })).await;
        assert!(sent.is_ok());
    }

    /// The leader knows a pod no more: it is gone when this returns.
    pub async fn remove(&self, name: &str) {
        let remove = Assignments { remove: vec![name.into()], ..Assignments::default() };
        assert!(self.crew.send(Command::Assign(remove)).await.is_ok());
        let gone = async {
            loop {
                let (answer, tenants) = tokio::sync::oneshot::channel();
                assert!(self.crew.send(Command::Subject(name.into(), answer)).await.is_ok());
                if tenants.await.unwrap().is_none() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.unwrap();
    }

    /// The next status of a pod that looks as asked; none but the big one may end.
    pub async fn until(&self, name: &str, asked: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                while let Some(report) = self.outbox.next() {
                    self.outbox.acknowledge(report.serial);
                    for pod in report.pods {
                        let status: Value = serde_json::from_slice(&pod.status).unwrap();
                        if pod.name == name && asked(&status) {
                            return status;
                        }
                        assert!(pod.name == "big" || status["phase"] != "Failed", "{}: {status}", pod.name);
                    }
                }
                self.outbox.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }
}
