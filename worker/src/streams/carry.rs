//! One stream, from the dialing to its end.

use std::time::Duration;

use kontiki_proto::worker::from_stream::What as Up;
use kontiki_proto::worker::open_stream::What;
use kontiki_proto::worker::stream_failed::Cause;
use kontiki_proto::worker::streams_client::StreamsClient;
use kontiki_proto::worker::{
    AttachContainer, DialPort, FromStream, LogsChunk, LogsRequest, OpenStream, RunCommand,
    StdStreams as Wanted, StreamExited, StreamStarted, ToStream,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{debug, warn};

use super::{failure, pump};
use crate::logs;
use crate::runtime::{ProcessStreams, Runtime, RuntimeError, StdStreams};
use crate::session::Dial;

/// How long a controller may take to be reached, and then to answer. It waits for this worker.
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(5);
/// How long a port of a pod may take to answer, as with the kubelet.
const DIAL: Duration = Duration::from_secs(10);
/// What is read at a time from a process and from a port. Clients of Kubernetes take messages of such sizes, and what comes from ports is
/// much more often. With the headers that it gets on its way it fills two and four records of TLS: a little more would be a record of its own.
const OUTPUT: usize = (32 << 10) - HEADERS;
const FROM_PORT: usize = (64 << 10) - HEADERS;
/// Those of a frame of HTTP/2, of a message of gRPC and of its field, to the controller, are 18 bytes; those to clients are less.
const HEADERS: usize = 32;
/// Chunks on their way to the controller. What finds no room waits where it is.
const CHUNKS_MAX: usize = 2;

/// What comes of a log.
type Chunks = ReceiverStream<Result<LogsChunk, Status>>;

/// Both directions of a stream.
struct Line {
    out: mpsc::Sender<FromStream>,
    input: Streaming<ToStream>,
}

/// Carries a stream to its end, or says why there is none. `refused`: there are too many already.
pub(super) async fn carry(
    open: OpenStream,
    runtime: &dyn Runtime,
    logs: &logs::Service,
    dial: &dyn Dial,
    refused: bool,
) {
    let OpenStream { ticket, controller, pod_uid, what } = open;
    let line = match Line::dial(&controller, ticket, dial).await {
        Ok(line) => line,
        Err(cause) => {
            return warn!(pod_uid, controller, cause, "a stream cannot be brought to its controller");
        }
    };
    if refused {
        let message = "this worker carries as many streams as it may: try later".to_owned();
        return line.end(Up::Failed(failure::failed(Cause::Busy, message))).await;
    }
    match what {
        Some(What::Exec(RunCommand { container, command, streams })) => {
            let streams = runtime.run(&pod_uid, &container, command, wanted(streams)).await;
            line.process(streams).await;
        }
        Some(What::Attach(AttachContainer { container, streams })) => {
            let streams = runtime.attach(&pod_uid, &container, wanted(streams)).await;
            line.process(streams).await;
        }
        None => {
            let message = "this worker does not know how to open such a stream: update it".to_owned();
            line.end(Up::Failed(failure::failed(Cause::Refused, message))).await;
        }
        Some(What::PortForward(DialPort { port })) => line.port(runtime, &pod_uid, port).await,
        Some(What::Logs(request)) => {
            line.log(logs.read(LogsRequest { pod_uid, ..request }).await).await;
        }
    }
}

fn wanted(streams: Option<Wanted>) -> StdStreams {
    let Wanted { stdin, stdout, stderr, tty } = streams.unwrap_or_default();
    StdStreams { stdin, stdout, stderr, tty }
}

impl Line {
    async fn dial(controller: &str, ticket: String, dial: &dyn Dial) -> Result<Line, String> {
        let (out, rest) = mpsc::channel(CHUNKS_MAX);
        let first = FromStream { what: Some(Up::Ticket(ticket)) };
        out.send(first).await.map_err(|_| "the stream is closed".to_owned())?;
        let mut client = StreamsClient::new(dial.bulk(controller, CONNECT));
        match timeout(ANSWER, client.carry(ReceiverStream::new(rest))).await {
            Ok(Ok(response)) => Ok(Line { out, input: response.into_inner() }),
            Ok(Err(status)) => Err(status.message().to_owned()),
            Err(_) => Err(format!("no answer within {ANSWER:?}")),
        }
    }

    async fn say(&self, what: Up) {
        // A controller that is gone needs no answer.
        self.out.send(FromStream { what: Some(what) }).await.ok();
    }

    /// Says the last, and stays until the controller has heard it: who hangs up takes back what is still on its way.
    async fn end(self, last: Up) {
        self.say(last).await;
        let Line { out, mut input } = self;
        drop(out);
        while let Ok(Some(_)) = input.message().await {}
    }

    async fn process(mut self, streams: Result<ProcessStreams, RuntimeError>) {
        let ProcessStreams { stdin, stdout, stderr, terminal, exit } = match streams {
            Ok(streams) => streams,
            Err(error) => return self.end(Up::Failed(failure::of(&error))).await,
        };
        self.say(Up::Started(StreamStarted {})).await;
        let Line { out, input } = &mut self;
        let ended = CancellationToken::new();
        let process = async {
            let exit = exit.await;
            ended.cancel();
            exit
        };
        let one = async |from, what| {
            if let Some(from) = from {
                pump::up(from, OUTPUT, what, out, &ended).await;
            }
        };
        let output = async { tokio::join!(process, one(stdout, Up::Stdout), one(stderr, Up::Stderr)).0 };
        let exit = tokio::select! {
            exit = output => exit,
            () = pump::down(input, stdin, terminal) => return debug!("the client of a stream is gone"),
            // Whatever waits for a process that does not read its input waits no more.
            () = out.closed() => return debug!("the controller of a stream is gone"),
        };
        let last = match exit {
            Ok(code) => Up::Exited(StreamExited { code }),
            Err(error) => Up::Failed(failure::of(&error)),
        };
        self.end(last).await;
    }

    async fn log(mut self, log: Result<Chunks, Status>) {
        let mut chunks = match log {
            Ok(chunks) => chunks,
            Err(status) => return self.end(Up::Failed(failure::of_status(&status))).await,
        };
        self.say(Up::Started(StreamStarted {})).await;
        let Line { out, input } = &mut self;
        let all = async {
            while let Some(chunk) = chunks.next().await {
                match chunk {
                    Ok(LogsChunk { data }) => {
                        drop(out.send(FromStream { what: Some(Up::Stdout(data)) }).await)
                    }
                    Err(status) => return Up::Failed(failure::of_status(&status)),
                }
            }
            Up::Exited(StreamExited { code: 0 })
        };
        let last = tokio::select! {
            last = all => last,
            () = pump::down(input, None::<tokio::io::Sink>, None) => return,
            () = out.closed() => return,
        };
        self.end(last).await;
    }

    async fn port(mut self, runtime: &dyn Runtime, pod_uid: &str, port: u32) {
        let dialed = match u16::try_from(port) {
            Ok(port) => runtime.connect(pod_uid, port, DIAL).await,
            Err(_) => Err(RuntimeError::Invalid(format!("{port} is no port"))),
        };
        let stream = match dialed {
            Ok(stream) => stream,
            Err(error) => return self.end(Up::Failed(failure::of(&error))).await,
        };
        self.say(Up::Started(StreamStarted {})).await;
        let Line { out, input } = &mut self;
        let (read, write) = tokio::io::split(stream);
        let never = CancellationToken::new();
        tokio::select! {
            () = pump::up(read, FROM_PORT, Up::Stdout, out, &never) => {}
            () = pump::down(input, Some(write), None) => return,
            () = out.closed() => return,
        }
        self.end(Up::Exited(StreamExited { code: 0 })).await;
    }
}
