//! The session against controllers of this process, on loopback without TLS.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kontiki_proto::worker::from_worker::What as Told;
use kontiki_proto::worker::sessions_server::{Sessions, SessionsServer};
use kontiki_proto::worker::to_worker::What;
use kontiki_proto::worker::{
    Assignments, Controller, FromWorker, HeartbeatAck, Hello, NodeInfo, PodAssignment, Redirect, ReportAck,
    StatusReport, ToWorker, TokenAnswer, TokenAsk, Welcome,
};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::{Dial, session_thread};
use crate::agent::clock::Clock;
use crate::agent::images::ImageLimits;
use crate::agent::pressure::{Bounds, Places};
use crate::agent::{Agent, AgentConfig, Capacity, Watch};
use crate::runtime::{Runtime, SimulatedRuntime, Simulation};

/// What takes longer hangs.
const HUNG: Duration = Duration::from_secs(20);

struct PlainDial;

impl Dial for PlainDial {
    fn channel(&self, address: &str, _: Duration) -> Channel {
        Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
    }
}

/// A controller that does what the test says.
struct Fake {
    address: String,
    opened: mpsc::Receiver<Opened>,
}

/// A session with a worker, from the controller's side.
struct Opened {
    hello: Hello,
    incoming: Streaming<FromWorker>,
    out: mpsc::Sender<Result<ToWorker, Status>>,
    sequence: u64,
    takes_node: bool,
    gives_tokens: bool,
}

struct Service(mpsc::Sender<Opened>);

#[tonic::async_trait]
impl Sessions for Service {
    type SessionStream = ReceiverStream<Result<ToWorker, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<FromWorker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut incoming = request.into_inner();
        let (out, rest) = mpsc::channel(16);
        let opened = self.0.clone();
        tokio::spawn(async move {
            if let Ok(Some(FromWorker { what: Some(Told::Hello(hello)) })) = incoming.message().await {
                let opening =
                    Opened { hello, incoming, out, sequence: 0, takes_node: true, gives_tokens: false };
                opened.send(opening).await.ok();
            }
        });
        Ok(Response::new(ReceiverStream::new(rest)))
    }
}

impl Fake {
    async fn new() -> Fake {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, opened) = mpsc::channel(16);
        let server = Server::builder().add_service(SessionsServer::new(Service(sender)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Fake { address, opened }
    }

    async fn greeted(&mut self) -> Opened {
        self.opened.recv().await.unwrap()
    }
}

impl Opened {
    async fn say(&mut self, term: u64, what: What) {
        self.sequence += 1;
        self.out.send(Ok(ToWorker { term, sequence: self.sequence, what: Some(what) })).await.ok();
    }

    async fn welcome(&mut self, term: u64, controllers: &[&Fake]) {
        let controllers = controllers
            .iter()
            .map(|fake| Controller { address: fake.address.clone(), ..Controller::default() });
        let welcome = Welcome {
            leader: "c1".into(),
            heartbeat_ms: 50,
            lease_ms: 60_000,
            controllers: controllers.collect(),
            takes_node: self.takes_node,
            gives_tokens: self.gives_tokens,
        };
        self.say(term, What::Welcome(welcome)).await;
    }

    async fn redirect(&mut self, leader: &str) {
        let redirect = Redirect { leader_address: leader.to_owned(), ..Redirect::default() };
        self.say(0, What::Redirect(redirect)).await;
    }

    async fn put(&mut self, term: u64, uid: &str, revision: u64) {
        let pod = format!(
            r#"{{"metadata":{{"name":"{uid}","namespace":"ns","uid":"{uid}"}},"spec":{{"containers":[{{"name":"c","image":"web:1"}}]}}}}"#
        );
        let (uid, name, namespace) = (uid.to_owned(), uid.to_owned(), "ns".to_owned());
        let put = vec![PodAssignment {
            uid,
            name,
            namespace,
            revision,
            pod: pod.into(),
            ..PodAssignment::default()
        }];
        self.say(term, What::Assignments(Assignments { put, ..Assignments::default() })).await;
    }

    /// What is told of the node before this heartbeat.
    async fn node_before(&mut self, beat: u64) -> Vec<NodeInfo> {
        let mut told = Vec::new();
        while let Ok(Some(message)) = self.incoming.message().await {
            match message.what {
                Some(Told::Node(node)) => told.push(node),
                Some(Told::Heartbeat(heartbeat)) if heartbeat.serial >= beat => return told,
                _ => {}
            }
        }
        told
    }

    /// The next word about the node.
    async fn node(&mut self) -> Option<NodeInfo> {
        while let Ok(Some(message)) = self.incoming.message().await {
            if let Some(Told::Node(node)) = message.what {
                return Some(node);
            }
        }
        None
    }

    /// The next ask for a token.
    async fn token_ask(&mut self) -> Option<TokenAsk> {
        while let Ok(Some(message)) = self.incoming.message().await {
            if let Some(Told::TokenAsk(ask)) = message.what {
                return Some(ask);
            }
        }
        None
    }

    /// The next heartbeat, with reports passed over.
    async fn heartbeat(&mut self) -> Option<u64> {
        while let Ok(Some(message)) = self.incoming.message().await {
            if let Some(Told::Heartbeat(beat)) = message.what {
                return Some(beat.serial);
            }
        }
        None
    }

    /// The next report, with heartbeats passed over.
    async fn report(&mut self) -> Option<StatusReport> {
        while let Ok(Some(message)) = self.incoming.message().await {
            if let Some(Told::Report(report)) = message.what {
                return Some(report);
            }
        }
        None
    }

    async fn until_ready(&mut self) -> StatusReport {
        loop {
            let report = self.report().await.unwrap();
            if report
                .pods
                .iter()
                .any(|pod| String::from_utf8_lossy(&pod.status).contains("\"phase\":\"Running\""))
            {
                return report;
            }
        }
    }
}

struct Worker {
    runtime: SimulatedRuntime,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn simulated() -> SimulatedRuntime {
    SimulatedRuntime::new(Simulation { images: vec!["web:1".into()], ..Simulation::default() })
}

fn config(dir: &Path, controllers: &[&Fake]) -> AgentConfig {
    AgentConfig {
        node: "n1".into(),
        zone: "z".into(),
        labels: Default::default(),
        data_dir: dir.to_owned(),
        controllers: controllers.iter().map(|fake| fake.address.clone()).collect(),
        listen: ([127, 0, 0, 1], 0).into(),
        advertised: "127.0.0.1".into(),
        capacity: Capacity::default(),
        version: "test".into(),
        clock: Clock::Wall,
        limits: Default::default(),
        names: Default::default(),
        memory: None,
        seccomp_default: false,
        transient: false,
    }
}

async fn worker(dir: &Path, runtime: Option<SimulatedRuntime>, controllers: &[&Fake]) -> Worker {
    start(config(dir, controllers), runtime.unwrap_or_else(simulated)).await
}

async fn start(config: AgentConfig, runtime: SimulatedRuntime) -> Worker {
    let agent = Agent::prepare(&config, Arc::new(runtime.clone())).await.unwrap();
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    let thread = Handle::current();
    let task = tokio::spawn(async move {
        agent.work(&config, Arc::new(PlainDial), 1, &thread, token).await.unwrap();
    });
    Worker { runtime, shutdown, task }
}

impl Worker {
    async fn stop(self) -> SimulatedRuntime {
        self.shutdown.cancel();
        self.task.await.unwrap();
        self.runtime
    }
}

#[tokio::test]
async fn a_new_session_begins_with_what_runs_and_repeats_what_was_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut fake = Fake::new().await;
    let worker = worker(dir.path(), None, &[&fake]).await;
    let mut session = fake.greeted().await;
    assert_eq!(
        (session.hello.node.as_str(), session.hello.pods.len(), session.hello.accepted_term),
        ("n1", 0, 0)
    );
    session.welcome(5, &[]).await;
    session.put(5, "uid-1", 7).await;
    let report = session.until_ready().await;
    drop(session);

    let mut session = fake.greeted().await;
    let digests: Vec<_> = session.hello.pods.iter().map(|pod| (pod.uid.as_str(), pod.revision)).collect();
    assert_eq!((digests, session.hello.accepted_term), (vec![("uid-1", 7)], 5));
    session.welcome(5, &[]).await;
    let again = session.until_ready().await;
    assert_eq!(again.pods, report.pods);
    let serial = again.serial;
    session.say(5, What::ReportAck(ReportAck { serial })).await;
    // The same once more changes nothing; a newer state of the pod is taken.
    session.put(5, "uid-1", 7).await;
    session.put(5, "uid-1", 8).await;
    drop(session);
    loop {
        let session = fake.greeted().await;
        if session.hello.pods[0].revision == 8 {
            break;
        }
    }
    assert_eq!(worker.stop().await.adopt().await.unwrap()[0].containers.len(), 1, "it was started once");
}

#[tokio::test]
async fn a_leader_hears_of_images_and_pressures_as_they_come_if_it_takes_that() {
    let dir = tempfile::tempdir().unwrap();
    let mut fake = Fake::new().await;
    let registry = vec!["other:1".into(), "third:1".into()];
    let images = vec!["web:1".into()];
    let runtime = SimulatedRuntime::new(Simulation { images, registry, ..Simulation::default() });
    let mut config = config(dir.path(), &[&fake]);
    // There is always less than all.
    let bounds = Bounds { hard: "nodefs.available<100%".parse().unwrap(), ..Bounds::default() };
    let places = Places { data: dir.path().to_owned(), images: dir.path().to_owned() };
    config.limits.reserved.cpu_milli = 7;
    let (period, images) = (Duration::from_millis(10), ImageLimits::default());
    config.limits.watch = Some(Watch { bounds, places, period, images });
    let worker = start(config, runtime.clone()).await;
    let mut session = fake.greeted().await;
    assert_eq!(session.hello.info.as_ref().unwrap().reserved_cpu_milli, 7);
    session.welcome(1, &[]).await;
    // It may have looked before it said hello.
    let mut told = session.hello.info.clone().unwrap();
    if told.pressures.is_empty() {
        told = session.node().await.unwrap();
    }
    assert_eq!((told.pressures, told.images.len()), (vec!["DiskPressure".to_owned()], 1));
    runtime.pull_image("other:1", &[]).await.unwrap();
    assert_eq!(session.node().await.unwrap().images.len(), 2);
    assert_eq!(session.node_before(5).await, [], "what has not changed is not told");
    drop(session);

    let mut session = fake.greeted().await;
    let info = session.hello.info.as_ref().unwrap();
    assert_eq!((info.pressures.len(), info.images.len()), (1, 2), "a new leader hears of it at once");
    session.takes_node = false;
    session.welcome(2, &[]).await;
    runtime.pull_image("third:1", &[]).await.unwrap();
    assert_eq!(session.node_before(10).await, [], "one of an earlier build would not understand");
    worker.stop().await;
}

#[tokio::test]
async fn pods_tokens_come_from_whoever_leads_unless_its_build_is_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let mut fake = Fake::new().await;
    let images = vec!["web:1".into()];
    let shown = SimulatedRuntime::new(Simulation { images, shows_volumes: true, ..Simulation::default() });
    let worker = worker(dir.path(), Some(shown), &[&fake]).await;
    let mut session = fake.greeted().await;
    session.welcome(1, &[]).await;
    let pod = r#"{"metadata":{"name":"p","namespace":"ns","uid":"uid-1"},"spec":{"containers":[{"name":"c","image":"web:1"}],
        "volumes":[{"name":"v","projected":{"sources":[{"serviceAccountToken":{"path":"token"}}]}}]}}"#;
    let (uid, name, namespace) = ("uid-1".to_owned(), "p".to_owned(), "ns".to_owned());
    let put =
        vec![PodAssignment { uid, name, namespace, revision: 1, pod: pod.into(), ..Default::default() }];
    session.say(1, What::Assignments(Assignments { put, ..Assignments::default() })).await;
    let told = loop {
        let told = session.report().await.unwrap().events;
        if !told.is_empty() {
            break told;
        }
    };
    assert_eq!(told[0].reason, "FailedMount");
    assert!(told[0].message.contains("runs a build that gives no tokens"), "{}", told[0].message);
    drop(session);

    let mut session = fake.greeted().await;
    session.gives_tokens = true;
    session.welcome(2, &[]).await;
    let ask = session.token_ask().await.unwrap();
    assert_eq!((ask.pod_uid.as_str(), ask.lifetime_s), ("uid-1", 3600));
    drop(session);

    // Nobody has answered: the next one is asked the same.
    let mut session = fake.greeted().await;
    session.gives_tokens = true;
    session.welcome(3, &[]).await;
    let again = session.token_ask().await.unwrap();
    assert_eq!(again, ask);
    let (token, refusal) = ("a token".to_owned(), String::new());
    let answer = TokenAnswer { serial: again.serial, token, lifetime_s: 3600, refusal };
    session.say(3, What::Token(answer)).await;
    session.until_ready().await;
    worker.stop().await;
}

#[tokio::test]
async fn hints_are_followed_and_controllers_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (mut first, mut second) = (Fake::new().await, Fake::new().await);
    let running = worker(dir.path(), None, &[&first]).await;
    first.greeted().await.redirect(&second.address).await;
    let mut session = second.greeted().await;
    session.welcome(1, &[&first, &second]).await;
    session.put(1, "uid-1", 1).await;
    session.until_ready().await;
    drop(session);
    running.stop().await;
    // Started again with no address at all, it finds its cluster.
    while second.opened.try_recv().is_ok() {}
    let running = worker(dir.path(), None, &[]).await;
    first.greeted().await.redirect("").await;
    second.greeted().await;
    running.stop().await;
}

#[tokio::test]
async fn an_older_term_is_refused_after_a_restart_too() {
    let dir = tempfile::tempdir().unwrap();
    let (mut old, mut new) = (Fake::new().await, Fake::new().await);
    let running = worker(dir.path(), None, &[&new]).await;
    let mut session = new.greeted().await;
    session.welcome(9, &[&old, &new]).await;
    session.put(9, "uid-1", 1).await;
    session.until_ready().await;
    let runtime = running.stop().await;

    let running = worker(dir.path(), Some(runtime), &[]).await;
    let mut session = old.greeted().await;
    assert_eq!(session.hello.accepted_term, 9);
    session.welcome(8, &[]).await;
    session.say(8, What::Assignments(Assignments { complete: true, ..Assignments::default() })).await;
    assert!(session.report().await.is_none(), "it hangs up without a word");
    while new.opened.try_recv().is_ok() {}
    let session = new.greeted().await;
    assert_eq!(session.hello.pods.len(), 1, "what the old leader wanted did not happen");
    assert_eq!(running.stop().await.adopt().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_gap_and_a_silence_begin_a_new_session() {
    let dir = tempfile::tempdir().unwrap();
    let mut fake = Fake::new().await;
    let worker = worker(dir.path(), None, &[&fake]).await;
    let mut session = fake.greeted().await;
    assert_eq!(session.hello.lost_leader, "");
    session.welcome(1, &[]).await;
    session.sequence += 1;
    session.put(1, "uid-1", 1).await;
    let mut next = fake.greeted().await;
    assert_eq!(next.hello.pods.len(), 0, "what came after the gap was not obeyed");
    assert_eq!(next.hello.lost_leader, fake.address);
    // This one acknowledges no heartbeat, yet keeps the stream open.
    next.welcome(1, &[]).await;
    fake.greeted().await;
    drop((session, next));
    worker.stop().await;
}

#[tokio::test]
async fn a_leader_that_is_silent_and_leads_still_keeps_its_session() {
    let dir = tempfile::tempdir().unwrap();
    let (mut leader, mut other) = (Fake::new().await, Fake::new().await);
    let worker = worker(dir.path(), None, &[&leader]).await;
    let mut session = leader.greeted().await;
    session.welcome(1, &[&leader, &other]).await;
    let mut asked = other.greeted().await;
    assert_eq!(asked.hello.lost_leader, leader.address);
    assert!(asked.hello.info.is_some(), "whoever leads would take it for a greeting");
    asked.redirect(&leader.address).await;
    assert!(asked.heartbeat().await.is_none(), "it only asks");
    session.put(1, "uid-1", 1).await;
    session.until_ready().await;
    assert!(leader.opened.try_recv().is_err(), "the session goes on");
    worker.stop().await;
}

#[tokio::test]
async fn a_leader_that_is_silent_is_left_for_the_one_that_leads() {
    let dir = tempfile::tempdir().unwrap();
    let (mut silent, mut next) = (Fake::new().await, Fake::new().await);
    let worker = worker(dir.path(), None, &[&silent]).await;
    let mut session = silent.greeted().await;
    session.welcome(1, &[&silent, &next]).await;
    let mut asked = next.greeted().await;
    asked.welcome(2, &[&silent, &next]).await;
    let mut begun = next.greeted().await;
    assert_eq!(begun.hello.lost_leader, silent.address);
    begun.welcome(2, &[&silent, &next]).await;
    assert!(begun.heartbeat().await.is_some());
    while session.heartbeat().await.is_some() {}
    worker.stop().await;
}

#[tokio::test]
async fn it_is_heard_while_a_disk_holds_up_its_pods() {
    let dir = tempfile::tempdir().unwrap();
    let mut fake = Fake::new().await;
    let (begun, mut begins) = mpsc::unbounded_channel();
    let (let_go, held_up) = std::sync::mpsc::channel::<()>();
    let held_up = Mutex::new(held_up);
    let runtime = simulated().witnessed(Arc::new(move |_, _, _, _| {
        begun.send(()).unwrap();
        held_up.lock().unwrap().recv().ok();
    }));
    let (agent_thread, session_thread) = (session_thread().unwrap(), session_thread().unwrap());
    let (config, handle) = (config(dir.path(), &[&fake]), session_thread.handle().clone());
    let shutdown = CancellationToken::new();
    let token = shutdown.clone();
    let agent = agent_thread.spawn(async move {
        let agent = Agent::prepare(&config, Arc::new(runtime)).await.unwrap();
        agent.work(&config, Arc::new(PlainDial), 1, &handle, token).await.unwrap();
    });
    let mut session = fake.greeted().await;
    session.welcome(1, &[]).await;
    session.put(1, "uid-1", 1).await;
    begins.recv().await.unwrap();
    for _ in 0..10 {
        let beat = tokio::time::timeout(HUNG, session.heartbeat()).await;
        let serial = beat.expect("it waits for its pods").unwrap();
        session.say(1, What::HeartbeatAck(HeartbeatAck { serial, heartbeat_ms: 0 })).await;
    }
    let_go.send(()).unwrap();
    session.until_ready().await;
    drop(let_go);
    shutdown.cancel();
    agent.await.unwrap();
    agent_thread.shutdown_background();
    session_thread.shutdown_background();
}
