//! The service through which controllers read logs.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use kontiki_pki::{Peer, Role};
use kontiki_proto::worker::node_server::Node;
use kontiki_proto::worker::{LogsChunk, LogsRequest};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::growth::Growth;
use super::reader::{Cut, Reader};
use crate::agent::crew::{Command, Subject};
use crate::agent::layout::Layout;
use crate::pod::driver::{LogState, Runs};

/// Chunks that wait for a slow reader; the file waits for the rest.
const CHUNKS_MAX: usize = 8;
/// Should the kernel not tell of a change, a follower looks by itself.
const LOOK: Duration = Duration::from_secs(2);

/// The node's service.
pub struct Service {
    crew: mpsc::Sender<Command>,
    layout: Layout,
}

/// One log to be sent.
struct Sending {
    path: PathBuf,
    cut: Cut,
    container: String,
    attempt: u32,
    follow: Option<watch::Receiver<Runs>>,
    out: mpsc::Sender<Result<LogsChunk, Status>>,
}

impl Service {
    /// Answers from the files below `layout`, knowing the pods by the crew.
    pub fn new(crew: mpsc::Sender<Command>, layout: Layout) -> Service {
        Service { crew, layout }
    }

    /// Begins to send a log.
    pub async fn read(
        &self,
        request: LogsRequest,
    ) -> Result<ReceiverStream<Result<LogsChunk, Status>>, Status> {
        let ended = |_| Status::unavailable("the worker is ending");
        let (answer, subject) = oneshot::channel();
        self.crew
            .send(Command::Subject(request.pod_uid.clone(), answer))
            .await
            .map_err(|_| Status::unavailable("the worker is ending"))?;
        let Some(Subject { namespace, name, runs }) = subject.await.map_err(ended)? else {
            return Err(Status::not_found(format!("pod {} is not on this worker", request.pod_uid)));
        };
        let container = request.container;
        let state = runs.borrow().get(&container).cloned();
        let Some(state) = state else {
            return Err(Status::invalid_argument(format!(
                "container {container} is not valid for pod {name}"
            )));
        };
        let attempt = which(&state, request.previous, &container, &name)?;
        let positive = |value: i64| u64::try_from(value).unwrap_or(0);
        let cut = Cut {
            tail_lines: request.tail_lines.map(positive),
            since_ms: request.since_time_ms,
            limit_bytes: request.limit_bytes.map(positive),
            timestamps: request.timestamps,
            growing: request.follow && !request.previous,
        };
        let folder = self.layout.logs(&namespace, &name, &request.pod_uid);
        let path = folder.join(&container).join(format!("{attempt}.log"));
        let follow = cut.growing.then_some(runs);
        let (out, chunks) = mpsc::channel(CHUNKS_MAX);
        let sending = Sending { path, cut, container, attempt, follow, out };
        tokio::spawn(sending.run());
        Ok(ReceiverStream::new(chunks))
    }
}

fn which(state: &LogState, previous: bool, container: &str, pod: &str) -> Result<u32, Status> {
    if previous {
        let missing = || format!("previous terminated container \"{container}\" in pod \"{pod}\" not found");
        return state.previous.ok_or_else(|| Status::failed_precondition(missing()));
    }
    let waiting = || {
        let why = &state.waiting;
        let word = match why.as_str() {
            "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" => "trying and failing to pull image",
            why => return format!("container \"{container}\" in pod \"{pod}\" is waiting to start: {why}"),
        };
        format!("container \"{container}\" in pod \"{pod}\" is waiting to start: {word}")
    };
    state.attempt.ok_or_else(|| Status::failed_precondition(waiting()))
}

impl Sending {
    async fn run(mut self) {
        if let Err(error) = self.send().await {
            let status = Status::internal(format!("{}: {error}", self.path.display()));
            self.out.send(Err(status)).await.ok();
        }
    }

    async fn send(&mut self) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(&self.path).to_owned();
        let growth = self.follow.as_ref().and_then(|_| Growth::of(&folder).ok());
        let mut reader = match Reader::open(&self.path, self.cut).await {
            Ok(reader) => reader,
            // A container that never wrote has an empty log.
            Err(error) if error.kind() == ErrorKind::NotFound && self.follow.is_none() => return Ok(()),
            Err(error) => return Err(error),
        };
        loop {
            // Asked before reading: what was written before the end is then in the file.
            let runs_on = self.runs_on();
            while let Some(data) = reader.next().await? {
                if self.out.send(Ok(LogsChunk { data: data.into() })).await.is_err() {
                    return Ok(());
                }
            }
            if !runs_on || reader.is_done() {
                return Ok(());
            }
            let Some(runs) = &mut self.follow else { return Ok(()) };
            tokio::select! {
                // When the pod is forgotten there is nothing to wait for: the next look finds that out.
                changed = runs.changed() => if changed.is_err() { self.follow = None },
                grown = grown(growth.as_ref()) => grown?,
                () = tokio::time::sleep(LOOK) => {}
                () = self.out.closed() => return Ok(()),
            }
        }
    }

    fn runs_on(&mut self) -> bool {
        let Some(runs) = &mut self.follow else { return false };
        let runs = runs.borrow_and_update();
        runs.get(&self.container).is_some_and(|state| state.running && state.attempt == Some(self.attempt))
    }
}

async fn grown(growth: Option<&Growth>) -> std::io::Result<()> {
    match growth {
        Some(growth) => growth.changed().await,
        None => std::future::pending().await,
    }
}

#[tonic::async_trait]
impl Node for Service {
    type LogsStream = ReceiverStream<Result<LogsChunk, Status>>;

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        match request.extensions().get::<Peer>() {
            Some(peer) if peer.role == Role::Controller => {}
            Some(peer) => {
                return Err(Status::permission_denied(format!(
                    "{peer} may not read logs: only controllers may"
                )));
            }
            None => {
                return Err(Status::unauthenticated(
                    "logs are for controllers: show a controller's certificate",
                ));
            }
        }
        Ok(Response::new(self.read(request.into_inner()).await?))
    }
}
