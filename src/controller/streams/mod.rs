//! Streams into pods, at the controller whose client wants one. It has the leader tell the pod's worker to dial here, and
//! waits for it.
//!
//! ```text
//!   api --open--> Streams --> the leader's Sessions --OpenStream--> worker
//!                   ^ (here, or by Ask elsewhere)                      |
//!                   `----------- service: Carry <----------------------'
//! ```

mod service;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use actix::Addr;
use futures_util::StreamExt;
use kontiki_api::backend::{LogsError, LogsStream};
use kontiki_api::streams::{FromClient, FromPod, PodStream, StdStreams, StreamError, StreamTo};
use kontiki_proto::worker::{
    AttachContainer, DialPort, FromStream, LogsRequest, OpenStream, RunCommand, StdStreams as Wanted,
    StreamAsk, StreamFailed, from_stream::What, open_stream, stream_failed::Cause,
    streams_client::StreamsClient,
};
use kontiki_raft::{MemberInfo, Node};
use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tonic::{Code, Streaming, transport::Channel};
use uuid::Uuid;

use super::sessions::{OpenOn, Sessions};
pub(super) use service::StreamService;

/// How long somebody is looked for who can tell the worker: a leader, and a session of the worker with it.
const TELL: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(100);
/// How long one leader may take to answer.
const ASK: Duration = Duration::from_secs(2);
/// How long a worker may take to dial, and then to begin: a program on a slow disk takes its time.
const DIALED: Duration = Duration::from_secs(10);
const BEGUN: Duration = Duration::from_secs(70);
/// Streams of one worker that may be waited for at a time: each is a message on its session, which must not be flooded.
const PENDING_MAX: usize = 32;
/// What workers say of a stream that their build does not know.
const UNKNOWN: &str = "this worker does not know how to open such a stream: update it";

/// Opens streams, and knows those that are waited for. A clone is another handle of the same.
#[derive(Clone)]
pub(crate) struct Streams {
    /// `host:port` where workers dial this controller.
    own: Arc<str>,
    node: Node,
    sessions: Addr<Sessions>,
    awaited: Arc<Mutex<Awaited>>,
}

#[derive(Default)]
struct Awaited {
    /// By ticket.
    streams: HashMap<String, Expected>,
    pending: BTreeMap<String, usize>,
}

struct Expected {
    /// The worker that is to come.
    worker: String,
    hand: oneshot::Sender<Line>,
}

/// What a worker that came brought.
struct Line {
    input: mpsc::Sender<FromClient>,
    output: Streaming<FromStream>,
}

impl Streams {
    /// Nothing is waited for yet.
    pub(super) fn new(own: &str, node: Node, sessions: Addr<Sessions>) -> Streams {
        Streams { own: own.into(), node, sessions, awaited: Arc::default() }
    }

    /// Opens a stream. `channel` is a connection to another controller.
    pub(super) async fn open(
        &self,
        worker: &str,
        pod_uid: &str,
        to: StreamTo,
        channel: impl Fn(&MemberInfo) -> Channel,
    ) -> Result<PodStream, StreamError> {
        self.open_what(worker, pod_uid, wire(to), channel).await
    }

    /// Opens the log of a container. None if this is not the way to it: its worker is of an earlier build, has no session, or is asked
    /// for too much at a time.
    pub(super) async fn log(
        &self,
        worker: &str,
        request: LogsRequest,
        channel: impl Fn(&MemberInfo) -> Channel,
    ) -> Result<Option<LogsStream>, LogsError> {
        let uid = request.pod_uid.clone();
        match self.open_what(worker, &uid, open_stream::What::Logs(request), channel).await {
            Ok(PodStream { input, output }) => {
                let worker = worker.to_owned();
                let chunks = output.filter_map(move |said| {
                    // A worker hangs up when nobody is at this end any more.
                    let _held = &input;
                    let chunk = match said {
                        FromPod::Stdout(bytes) | FromPod::Stderr(bytes) => Some(Ok(bytes)),
                        FromPod::Failed(cause) => {
                            Some(Err(LogsError::Unreachable(format!("node {worker}: {cause}"))))
                        }
                        FromPod::Exited(_) => None,
                    };
                    std::future::ready(chunk)
                });
                Ok(Some(chunks.boxed()))
            }
            Err(StreamError::Refused(cause)) if cause == UNKNOWN => Ok(None),
            Err(StreamError::Unreachable(_) | StreamError::Busy(_)) => Ok(None),
            Err(StreamError::NotFound(cause)) => Err(LogsError::NotFound(cause)),
            Err(StreamError::Refused(cause)) => Err(LogsError::Refused(cause)),
            Err(StreamError::Failed(cause)) => Err(LogsError::Unreachable(format!("node {worker}: {cause}"))),
        }
    }

    async fn open_what(
        &self,
        worker: &str,
        pod_uid: &str,
        what: open_stream::What,
        channel: impl Fn(&MemberInfo) -> Channel,
    ) -> Result<PodStream, StreamError> {
        let (hand, dialed) = oneshot::channel();
        let ticket = self.expect(worker, hand)?;
        let open = OpenStream {
            ticket: ticket.name.clone(),
            controller: self.own.to_string(),
            pod_uid: pod_uid.to_owned(),
            what: Some(what),
        };
        self.tell(worker, open, channel).await?;
        let Ok(Ok(line)) = timeout(DIALED, dialed).await else {
            let message = format!(
                "node {worker} did not open the stream within {DIALED:?}: it cannot reach this controller, or is of a \
                 build that has no streams"
            );
            return Err(StreamError::Unreachable(message));
        };
        drop(ticket);
        begin(worker, line).await
    }

    /// Makes a ticket for a worker.
    fn expect(&self, worker: &str, hand: oneshot::Sender<Line>) -> Result<Ticket, StreamError> {
        let name = Uuid::new_v4().to_string();
        let mut awaited = self.awaited.lock();
        let pending = awaited.pending.entry(worker.to_owned()).or_default();
        if *pending >= PENDING_MAX {
            let message = format!("{PENDING_MAX} streams of node {worker} are being opened, try again later");
            return Err(StreamError::Busy(message));
        }
        *pending += 1;
        awaited.streams.insert(name.clone(), Expected { worker: worker.to_owned(), hand });
        Ok(Ticket { name, worker: worker.to_owned(), awaited: self.awaited.clone() })
    }

    /// Has the worker told, by whoever leads.
    async fn tell(
        &self,
        worker: &str,
        open: OpenStream,
        channel: impl Fn(&MemberInfo) -> Channel,
    ) -> Result<(), StreamError> {
        let until = Instant::now() + TELL;
        loop {
            let now = self.node.leadership().borrow().clone();
            let told = match (now.leading, &now.leader) {
                (true, _) => self.tell_here(worker, open.clone()).await,
                (false, Some(leader)) => ask(channel(leader), worker, open.clone()).await,
                (false, None) => Err("no controller leads at the moment".to_owned()),
            };
            match told {
                Ok(()) => return Ok(()),
                Err(cause) if Instant::now() + AGAIN >= until => return Err(StreamError::Unreachable(cause)),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    async fn tell_here(&self, worker: &str, open: OpenStream) -> Result<(), String> {
        let told = self.sessions.send(OpenOn { worker: worker.into(), open }).await;
        if told.unwrap_or(false) { Ok(()) } else { Err(no_session(worker)) }
    }

    /// Who waits for this ticket, if it is that worker's. Each is good once.
    fn redeem(&self, ticket: &str, worker: &str) -> Option<oneshot::Sender<Line>> {
        let mut awaited = self.awaited.lock();
        awaited.streams.get(ticket).filter(|expected| expected.worker == worker)?;
        awaited.streams.remove(ticket).map(|expected| expected.hand)
    }
}

/// A ticket that was given out; it is worth nothing any more once this is dropped.
struct Ticket {
    name: String,
    worker: String,
    awaited: Arc<Mutex<Awaited>>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut awaited = self.awaited.lock();
        awaited.streams.remove(&self.name);
        if let Some(pending) = awaited.pending.get_mut(&self.worker) {
            *pending -= 1;
            if *pending == 0 {
                awaited.pending.remove(&self.worker);
            }
        }
    }
}

fn no_session(worker: &str) -> String {
    format!("node {worker} has no session with the leader: it is down, or has just lost it")
}

async fn ask(channel: Channel, worker: &str, open: OpenStream) -> Result<(), String> {
    let request = StreamAsk { node: worker.to_owned(), open: Some(open) };
    match timeout(ASK, StreamsClient::new(channel).ask(request)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) if status.code() == Code::NotFound => Err(no_session(worker)),
        Ok(Err(status)) => Err(format!("the leader did not tell node {worker}: {}", status.message())),
        Err(_) => Err("the leader did not answer".to_owned()),
    }
}

/// Waits for the first word of the worker.
async fn begin(worker: &str, line: Line) -> Result<PodStream, StreamError> {
    let Line { input, mut output } = line;
    let broke =
        |cause: &str| StreamError::Unreachable(format!("node {worker} broke the stream off: {cause}"));
    let first = timeout(BEGUN, output.message()).await.map_err(|_| broke("it did not begin"))?;
    match first.map_err(|status| broke(status.message()))?.and_then(|first| first.what) {
        Some(What::Started(_)) => {}
        Some(What::Failed(failed)) => return Err(failure(failed)),
        _ => return Err(broke("it began with something else")),
    }
    let said = output.map(|said| match said.map(|said| said.what) {
        Ok(Some(What::Stdout(bytes))) => Some(FromPod::Stdout(bytes)),
        Ok(Some(What::Stderr(bytes))) => Some(FromPod::Stderr(bytes)),
        Ok(Some(What::Exited(exited))) => Some(FromPod::Exited(exited.code)),
        Ok(Some(What::Failed(failed))) => Some(FromPod::Failed(failed.message)),
        // A newer worker may say what is not known here.
        Ok(Some(What::Ticket(_) | What::Started(_)) | None) => None,
        Err(status) => Some(FromPod::Failed(format!("the worker is gone: {}", status.message()))),
    });
    Ok(PodStream { input, output: said.filter_map(async |said| said).boxed() })
}

fn failure(failed: StreamFailed) -> StreamError {
    match failed.cause() {
        Cause::NotFound => StreamError::NotFound(failed.message),
        Cause::Refused => StreamError::Refused(failed.message),
        Cause::Busy => StreamError::Busy(failed.message),
        Cause::Internal | Cause::Unspecified => StreamError::Failed(failed.message),
    }
}

fn wire(to: StreamTo) -> open_stream::What {
    let wanted = |streams: StdStreams| {
        let StdStreams { stdin, stdout, stderr, tty } = streams;
        Some(Wanted { stdin, stdout, stderr, tty })
    };
    match to {
        StreamTo::Exec { container, command, streams } => {
            open_stream::What::Exec(RunCommand { container, command, streams: wanted(streams) })
        }
        StreamTo::Attach { container, streams } => {
            open_stream::What::Attach(AttachContainer { container, streams: wanted(streams) })
        }
        StreamTo::Port(port) => open_stream::What::PortForward(DialPort { port: port.into() }),
    }
}
