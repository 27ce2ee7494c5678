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
        self.assign(name, spec, dependencies, None).await;
    }

    /// Somebody has deleted a pod, which gets so long to end.
    pub async fn delete(&self, name: &str, spec: Value, grace_s: u32) {
        self.assign(name, spec, Vec::new(), Some(grace_s)).await;
    }

    async fn assign(&self, name: &str, spec: Value, dependencies: Vec<Dependency>, grace_s: Option<u32>) {
        let mut pod = json!({
            "metadata": {"name": name, "namespace": "ns", "uid": name}, "spec": spec,
            "status": {"qosClass": "BestEffort"},
        });
        if let Some(grace_s) = grace_s {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            pod["metadata"]["deletionGracePeriodSeconds"] = grace_s.into();
        }
        let put = PodAssignment {
            uid: name.into(),
            namespace: "ns".into(),
            name: name.into(),
            revision: 1 + u64::from(grace_s.is_some()),
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
        self.until_any(|other, status| other == name && asked(status)).await
    }

    /// The next status of any pod that looks as asked.
    pub async fn until_any(&self, mut asked: impl FnMut(&str, &Value) -> bool) -> Value {
        let found = async {
            loop {
                while let Some(report) = self.outbox.next() {
                    self.outbox.acknowledge(report.serial);
                    let mut found = None;
                    for pod in report.pods {
                        let status: Value = serde_json::from_slice(&pod.status).unwrap();
                        if asked(&pod.name, &status) {
                            found.get_or_insert(status);
                        } else {
                            assert!(
                                pod.name == "big" || status["phase"] != "Failed",
                                "{}: {status}",
                                pod.name
                            );
                        }
                    }
                    if let Some(status) = found {
                        return status;
                    }
                }
                self.outbox.changed().await;
            }
        };
        tokio::time::timeout(PATIENCE, found).await.unwrap()
    }
}
