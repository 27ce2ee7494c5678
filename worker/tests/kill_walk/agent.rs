//! The agent that is killed: a process of its own that hears from its standard input what the leader would tell it, and says on its
//! standard output what the leader would hear.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kontiki_proto::worker::{
    Assignments, Dependency, LinkPort, PodAssignment, ServiceLink, ServiceLinks, TokenAnswer, VolumeRemoval,
};
use kontiki_worker::agent::clock::Clock;
use kontiki_worker::agent::crew::Command;
use kontiki_worker::agent::{Agent, AgentConfig, Limits};
use kontiki_worker::image::{Registries, RegistriesFile, Store};
use kontiki_worker::runtime::{ShimConfig, ShimRuntime};
use kontiki_worker::session::Dial;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{filter, pods};

/// How long a life a token has.
const TOKEN_S: i64 = 3600;
/// Between two looks whether a pod is forgotten.
const LOOK: Duration = Duration::from_millis(5);

/// Where this agent's worker is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Home {
    pub data: PathBuf,
    pub memory: PathBuf,
    pub cgroup_parent: String,
    pub shim: String,
}

/// What the leader says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Word {
    pub complete: bool,
    pub put: Option<Assigned>,
    pub remove: Vec<String>,
    /// Volumes that nothing uses any more.
    pub remove_volumes: Vec<String>,
}

/// A pod as the leader says it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Assigned {
    pub uid: String,
    pub revision: u64,
    pub pod: Value,
    /// By kind and name.
    pub objects: Vec<(String, String, Value)>,
}

/// What the environment variable with its [`Home`] is called.
pub const HOME: &str = "KONTIKI_WALK_HOME";
/// How each line begins that it says.
pub const MARK: char = '@';

/// Nobody leads.
struct Nobody;

impl Dial for Nobody {
    fn channel(&self, _: &str, _: Duration) -> Channel {
        Endpoint::from_static("http://127.0.0.1:1").connect_lazy()
    }
}

fn say(what: &Value) {
    // One write, so that lines of several threads do not mix.
    std::io::stdout().lock().write_all(format!("{MARK}{what}\n").as_bytes()).unwrap();
}

/// Runs until its input ends, or somebody kills it.
pub fn main(home: &Home) {
    let listener = filter::install().unwrap();
    say(&json!({ "listener": listener.as_raw_fd() }));
    std::io::stdin().read_line(&mut String::new()).unwrap();
    drop(listener);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (sender, words) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            sender.blocking_send(serde_json::from_str(&line).unwrap()).unwrap();
        }
    });
    runtime.block_on(work(home, words));
    std::process::exit(0);
}

async fn work(home: &Home, mut words: mpsc::Receiver<Word>) {
    let store = Arc::new(Store::open(home.data.join("images")).unwrap());
    let registries = Arc::new(Registries::new(RegistriesFile::default()).unwrap());
    let shims = ShimConfig {
        shim_command: vec![home.shim.clone()],
        cgroup_parent: home.cgroup_parent.clone(),
        ..ShimConfig::new(&home.data)
    };
    let config = AgentConfig {
        node: "n1".into(),
        zone: String::new(),
        labels: BTreeMap::new(),
        data_dir: home.data.clone(),
        controllers: vec!["127.0.0.1:1".into()],
        listen: ([127, 0, 0, 1], 0).into(),
        advertised: "127.0.0.1".into(),
        capacity: Default::default(),
        version: "test".into(),
        clock: Clock::Wall,
        limits: Limits::default(),
        names: Default::default(),
        memory: Some(home.memory.clone()),
        seccomp_default: false,
        transient: false,
    };
    let runtime = Arc::new(ShimRuntime::new(shims, store, registries).unwrap());
    let agent = Agent::prepare(&config, runtime).await.unwrap();
    let (crew, host) = (agent.crew.handle(), agent.crew.host().clone());
    let (outbox, tokens) = (host.outbox.clone(), host.tokens.clone());
    tokens.begin(true);
    tokio::spawn(async move {
        loop {
            while let Some(ask) = tokens.next() {
                let token = format!("token of {}", ask.pod_uid);
                tokens.answer(TokenAnswer {
                    serial: ask.serial,
                    token,
                    lifetime_s: TOKEN_S,
                    refusal: String::new(),
                });
            }
            tokens.changed().await;
        }
    });
    tokio::spawn(async move {
        loop {
            while let Some(report) = outbox.next() {
                for pod in report.pods {
                    let status: Value = serde_json::from_slice(&pod.status).unwrap_or_default();
                    say(&json!({ "uid": pod.uid, "gone": pod.gone, "status": status }));
                }
                for event in report.events {
                    say(&json!({ "event": format!("{event:?}") }));
                }
                outbox.acknowledge(report.serial);
            }
            outbox.changed().await;
        }
    });
    let shutdown = CancellationToken::new();
    tokio::spawn(async move {
        let thread = tokio::runtime::Handle::current();
        agent.work(&config, Arc::new(Nobody), 1, &thread, shutdown).await.unwrap();
    });
    say(&json!({ "up": true }));
    while let Some(word) = words.recv().await {
        let Word { complete, put, remove, remove_volumes } = word;
        let links = put.iter().map(|_| links()).collect();
        let put = put.into_iter().map(assignment).collect();
        let volume = |name: String| VolumeRemoval { uid: name.clone(), name };
        let remove_volumes = remove_volumes.into_iter().map(volume).collect();
        let assignments = Assignments {
            complete,
            put,
            remove: remove.clone(),
            remove_volumes,
            links,
            ..Assignments::default()
        };
        assert!(crew.send(Command::Assign(assignments)).await.is_ok());
        for uid in remove {
            tokio::spawn(tell_end(crew.clone(), uid));
        }
    }
}

/// The Services of the pods' namespace.
fn links() -> ServiceLinks {
    let port = LinkPort { name: String::new(), protocol: "TCP".into(), port: 80 };
    let web =
        ServiceLink { name: "web".into(), address: pods::SERVICE.into(), ports: vec![port], always: false };
    ServiceLinks { namespace: "ns".into(), services: vec![web], left_out: 0 }
}

fn assignment(assigned: Assigned) -> PodAssignment {
    let Assigned { uid, revision, pod, objects } = assigned;
    let dependency = |(kind, name, object): (String, String, Value)| Dependency {
        kind,
        name,
        revision: 1,
        object: object.to_string().into(),
        ..Dependency::default()
    };
    PodAssignment {
        name: uid.clone(),
        uid,
        namespace: "ns".into(),
        revision,
        pod: pod.to_string().into(),
        dependencies: objects.into_iter().map(dependency).collect(),
        ..PodAssignment::default()
    }
}

/// Says when nothing is known of a pod any more.
async fn tell_end(crew: mpsc::Sender<Command>, uid: String) {
    loop {
        let (answer, subject) = tokio::sync::oneshot::channel();
        if crew.send(Command::Subject(uid.clone(), answer)).await.is_err() {
            return;
        }
        if matches!(subject.await, Ok(None)) {
            return say(&json!({ "forgotten": uid }));
        }
        tokio::time::sleep(LOOK).await;
    }
}
