//! Streams to a controller of this process, on loopback without TLS.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use kontiki_proto::worker::from_stream::What as Up;
use kontiki_proto::worker::open_stream::What;
use kontiki_proto::worker::stream_failed::Cause;
use kontiki_proto::worker::streams_server::{Streams as Service, StreamsServer};
use kontiki_proto::worker::to_stream::What as Down;
use kontiki_proto::worker::{
    DialPort, FromStream, LogsRequest, OpenStream, RunCommand, StreamAsk, StreamAsked, StreamEof, ToStream,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::{STREAMS_MAX, Streams};
use crate::agent::crew::{Command, Subject};
use crate::agent::layout::Layout;
use crate::pod::driver::LogState;
use crate::runtime::{ContainerSpec, PodSandbox, Runtime, SimulatedRuntime, Simulation};
use crate::session::Dial;

struct PlainDial;

impl Dial for PlainDial {
    fn channel(&self, address: &str, _: Duration) -> Channel {
        Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
    }
}

/// A stream, from the controller's side.
struct Carried {
    ticket: String,
    from: Streaming<FromStream>,
    to: mpsc::Sender<Result<ToStream, Status>>,
}

struct Fake(mpsc::Sender<Carried>);

#[tonic::async_trait]
impl Service for Fake {
    type CarryStream = ReceiverStream<Result<ToStream, Status>>;

    async fn carry(
        &self,
        request: Request<Streaming<FromStream>>,
    ) -> Result<Response<Self::CarryStream>, Status> {
        let mut from = request.into_inner();
        let Some(FromStream { what: Some(Up::Ticket(ticket)) }) = from.message().await? else {
            return Err(Status::invalid_argument("no ticket"));
        };
        let (to, rest) = mpsc::channel(4);
        self.0.send(Carried { ticket, from, to }).await.unwrap();
        Ok(Response::new(ReceiverStream::new(rest)))
    }

    async fn ask(&self, _: Request<StreamAsk>) -> Result<Response<StreamAsked>, Status> {
        Err(Status::unimplemented("not of workers"))
    }
}

/// A worker with a running pod, and a controller.
struct Stage {
    streams: Streams,
    address: String,
    carried: mpsc::Receiver<Carried>,
    _dir: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Stage {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (sender, carried) = mpsc::channel(1);
        let server = Server::builder().add_service(StreamsServer::new(Fake(sender)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let runtime = SimulatedRuntime::new(Simulation { any_image: true, ..Simulation::default() });
        runtime.start_pod(PodSandbox { uid: "u-1".to_owned(), ..PodSandbox::default() }).await.unwrap();
        let spec = ContainerSpec { name: "web".to_owned(), ..ContainerSpec::default() };
        runtime.start_container("u-1", spec).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let folder = layout.logs("ns", "p", "u-1").join("web");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("0.log"), "2026-01-01T00:00:01.5Z stdout F one\n").unwrap();
        let (crew, mut commands) = mpsc::channel(1);
        tokio::spawn(async move {
            let state = LogState { attempt: Some(0), running: true, ..LogState::default() };
            let runs = watch::Sender::new([("web".to_owned(), state)].into());
            while let Some(Command::Subject(_, answer)) = commands.recv().await {
                let runs = runs.subscribe();
                answer.send(Some(Subject { namespace: "ns".into(), name: "p".into(), runs })).ok();
            }
        });
        let logs = Arc::new(crate::logs::Service::new(crew, layout));
        let streams = Streams::new(Arc::new(runtime), logs, Arc::new(PlainDial));
        Stage { streams, address, carried, _dir: dir }
    }

    async fn open(&mut self, what: What) -> Carried {
        let (ticket, controller) = ("t-1".to_owned(), self.address.clone());
        self.streams.open(OpenStream { ticket, controller, pod_uid: "u-1".to_owned(), what: Some(what) });
        let carried = self.carried.recv().await.unwrap();
        assert_eq!(carried.ticket, "t-1");
        carried
    }
}

impl Carried {
    async fn hears(&mut self) -> Option<Up> {
        self.from.message().await.unwrap()?.what
    }

    async fn says(&self, what: Down) {
        self.to.send(Ok(ToStream { what: Some(what) })).await.unwrap();
    }

    async fn failure(&mut self) -> (Cause, String) {
        match self.hears().await {
            Some(Up::Failed(failed)) => (failed.cause(), failed.message),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_port_is_carried_to_its_end() {
    let mut stage = Stage::new().await;
    let mut carried = stage.open(What::PortForward(DialPort { port: 80 })).await;
    assert!(matches!(carried.hears().await, Some(Up::Started(_))));
    carried.says(Down::Stdin("GET / HTTP/1.1\r\n\r\n".into())).await;
    carried.says(Down::Eof(StreamEof {})).await;
    let mut answer = Vec::new();
    loop {
        match carried.hears().await {
            Some(Up::Stdout(bytes)) => answer.extend_from_slice(&bytes),
            Some(Up::Exited(_)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
    drop(carried.to);
    assert!(carried.from.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_log_is_carried_to_its_end_or_until_nobody_reads_it() {
    let mut stage = Stage::new().await;
    let log = |container: &str, follow| {
        What::Logs(LogsRequest { container: container.to_owned(), follow, ..LogsRequest::default() })
    };
    let mut carried = stage.open(log("web", false)).await;
    assert!(matches!(carried.hears().await, Some(Up::Started(_))));
    assert_eq!(carried.hears().await, Some(Up::Stdout("one\n".into())));
    assert!(matches!(carried.hears().await, Some(Up::Exited(_))));
    let mut carried = stage.open(log("web", true)).await;
    assert!(matches!(carried.hears().await, Some(Up::Started(_))));
    assert_eq!(carried.hears().await, Some(Up::Stdout("one\n".into())));
    drop(carried.to);
    assert!(
        carried.from.message().await.unwrap().is_none(),
        "who hangs up ends it, though the container runs"
    );
    let mut carried = stage.open(log("other", false)).await;
    let expected = (Cause::Refused, "container other is not valid for pod p".to_owned());
    assert_eq!(carried.failure().await, expected);
}

#[tokio::test]
async fn the_reason_arrives_although_nothing_follows_it() {
    let mut stage = Stage::new().await;
    let exec = What::Exec(RunCommand { container: "web".to_owned(), ..RunCommand::default() });
    let mut carried = stage.open(exec).await;
    // Whoever hung up at once would take back what is on its way.
    tokio::task::yield_now().await;
    let (cause, message) = carried.failure().await;
    assert_eq!((cause, message.as_str()), (Cause::Refused, "a simulated container has no streams"));
    let mut carried = stage.open(What::PortForward(DialPort { port: 70_000 })).await;
    assert_eq!(carried.failure().await.0, Cause::Refused);
}

#[tokio::test]
async fn one_stream_too_many_is_told_so_and_places_come_back() {
    let mut stage = Stage::new().await;
    let mut held = Vec::new();
    for _ in 0..STREAMS_MAX {
        let mut carried = stage.open(What::PortForward(DialPort { port: 80 })).await;
        assert!(matches!(carried.hears().await, Some(Up::Started(_))));
        held.push(carried);
    }
    let mut refused = stage.open(What::PortForward(DialPort { port: 80 })).await;
    assert_eq!(refused.failure().await.0, Cause::Busy);
    // A client that is gone frees its place; the worker hears of it a moment later.
    drop(held.pop());
    loop {
        let mut again = stage.open(What::PortForward(DialPort { port: 80 })).await;
        match again.hears().await {
            Some(Up::Started(_)) => break,
            Some(Up::Failed(_)) => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    }
}
