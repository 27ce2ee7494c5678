//! The agent's connection to one shim: calls and answers, and exits until they are acknowledged.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::{ContainerPhase, Exit, PodSandbox, RuntimeError, RuntimeEvent, pod_network};
use crate::shim::protocol::{Answer, Call, Decoder, Message, Request, encode};
use crate::shim::state::PodState;

/// Calls that may wait to be sent; more wait at the caller.
const CALLS_MAX: usize = 64;
/// How long the shim may take for what it does at once.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
const RECONNECTS_MAX: u32 = 3;

/// Answers to one call.
type Reply = oneshot::Sender<Result<Answer, RuntimeError>>;

/// A pod whose shim lives.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) sandbox: PodSandbox,
    calls: mpsc::Sender<(Call, Reply)>,
    silenced: Arc<AtomicBool>,
}

/// Where a link tells exits, and what it has told already.
pub(super) struct Teller {
    pub(super) pod_uid: String,
    pub(super) dir: PathBuf,
    pub(super) events: mpsc::Sender<RuntimeEvent>,
    /// The latest attempt of each container whose exit was told.
    told: HashMap<String, u32>,
    /// The pod is being removed: its end is no news.
    silenced: Arc<AtomicBool>,
}

impl Teller {
    pub(super) fn new(pod_uid: String, dir: PathBuf, events: mpsc::Sender<RuntimeEvent>) -> Self {
        Self { pod_uid, dir, events, told: HashMap::new(), silenced: Arc::default() }
    }

    /// These exits need not be told: whoever asked for the state has seen them.
    fn skip(&mut self, state: &PodState) {
        for record in &state.containers {
            if matches!(record.state.phase, ContainerPhase::Exited(_)) {
                self.told.insert(record.state.name.clone(), record.state.attempt);
            }
        }
    }

    async fn tell(&mut self, container: &str, attempt: u32, exit: Exit) {
        if self.told.get(container).is_some_and(|told| *told >= attempt) {
            return;
        }
        self.told.insert(container.to_owned(), attempt);
        if self.silenced.load(Ordering::Acquire) {
            return;
        }
        let (pod_uid, container) = (self.pod_uid.clone(), container.to_owned());
        self.events.send(RuntimeEvent::Exited { pod_uid, container, attempt, exit }).await.ok();
    }

    /// The shim is dead: the exits that it wrote down come first.
    async fn lost(mut self) {
        for record in PodState::read(&self.dir).map(|state| state.containers).unwrap_or_default() {
            if let ContainerPhase::Exited(exit) = record.state.phase {
                self.tell(&record.state.name, record.state.attempt, exit).await;
            }
        }
        if self.silenced.load(Ordering::Acquire) {
            return;
        }
        self.events.send(RuntimeEvent::PodLost { pod_uid: self.pod_uid }).await.ok();
    }
}

impl Link {
    /// Connects to the shim and answers its state. `adopting` says that the caller takes the exits in it for told.
    pub(super) async fn open(mut teller: Teller, adopting: bool) -> Result<(Arc<Self>, PodState), String> {
        let mut wire = Wire::connect(&teller.dir).await?;
        let state = wire.hello().await?;
        if adopting {
            teller.skip(&state);
        }
        let (calls, queue) = mpsc::channel(CALLS_MAX);
        let link =
            Arc::new(Self { sandbox: state.sandbox.clone(), calls, silenced: Arc::clone(&teller.silenced) });
        tokio::spawn(serve(wire, queue, teller));
        Ok((link, state))
    }

    pub(super) async fn call(&self, call: Call) -> Result<Answer, RuntimeError> {
        let gone = || RuntimeError::Shim {
            pod_uid: self.sandbox.uid.clone(),
            cause: "the connection broke before the answer: it may or may not have been done".to_owned(),
        };
        let (reply, answer) = oneshot::channel();
        let unknown = |_| RuntimeError::PodUnknown(self.sandbox.uid.clone());
        self.calls.send((call, reply)).await.map_err(unknown)?;
        answer.await.map_err(|_| gone())?
    }

    /// Nothing of this pod is told from now on.
    pub(super) fn silence(&self) {
        self.silenced.store(true, Ordering::Release);
    }

    /// The shim is gone and so is the link's task.
    pub(super) fn is_closed(&self) -> bool {
        self.calls.is_closed()
    }
}

/// Serves the link until the shim is dead or nobody holds the link.
async fn serve(mut wire: Wire, mut queue: mpsc::Receiver<(Call, Reply)>, mut teller: Teller) {
    loop {
        match carry(&mut wire, &mut queue, &mut teller).await {
            Ended::Dropped => return,
            Ended::Broken => {}
        }
        match reconnect(&teller.dir).await {
            Some(again) => wire = again,
            None => {
                // Callers must see that the pod is gone before the event says so.
                drop(queue);
                return teller.lost().await;
            }
        }
    }
}

async fn reconnect(dir: &std::path::Path) -> Option<Wire> {
    for _ in 0..RECONNECTS_MAX {
        // A dead shim's socket refuses at once, so there is nothing to wait for between the tries.
        if let Ok(mut wire) = Wire::connect(dir).await
            && wire.hello().await.is_ok()
        {
            return Some(wire);
        }
    }
    None
}

enum Ended {
    Dropped,
    Broken,
}

async fn carry(wire: &mut Wire, queue: &mut mpsc::Receiver<(Call, Reply)>, teller: &mut Teller) -> Ended {
    // Dropping the replies tells their callers that the connection broke.
    let mut waiting: HashMap<u64, Reply> = HashMap::new();
    loop {
        // Both branches lose nothing when the other one wins: a receive and a read are cancel-safe.
        let sent = tokio::select! {
            call = queue.recv() => match call {
                Some((call, reply)) => {
                    wire.next_id += 1;
                    waiting.retain(|_, reply| !reply.is_closed());
                    waiting.insert(wire.next_id, reply);
                    wire.send(wire.next_id, call).await
                }
                None => return Ended::Dropped,
            },
            read = wire.read() => read,
        };
        if sent.is_err() {
            return Ended::Broken;
        }
        loop {
            match wire.decoder.next::<Message>() {
                Ok(Some(Message::Answer { id, answer })) => {
                    if let Some(reply) = waiting.remove(&id) {
                        reply.send(answer).ok();
                    }
                }
                Ok(Some(Message::Exited { container, attempt, exit })) => {
                    teller.tell(&container, attempt, exit).await;
                    wire.next_id += 1;
                    if wire.send(wire.next_id, Call::Acknowledge { container, attempt }).await.is_err() {
                        return Ended::Broken;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(pod_uid = teller.pod_uid, %error, "shim cannot be understood");
                    return Ended::Broken;
                }
            }
        }
    }
}

/// A connection and its half-read frames.
struct Wire {
    stream: UnixStream,
    decoder: Decoder,
    next_id: u64,
}

impl Wire {
    async fn connect(dir: &std::path::Path) -> Result<Self, String> {
        // Connecting to a listening unix socket does not wait for anyone.
        let stream = pod_network::connect(dir).map_err(|source| format!("connect to it: {source}"))?;
        let stream = stream.set_nonblocking(true).and_then(|()| UnixStream::from_std(stream));
        let stream = stream.map_err(|source| format!("connect to it: {source}"))?;
        Ok(Self { stream, decoder: Decoder::default(), next_id: 0 })
    }

    async fn send(&mut self, id: u64, call: Call) -> Result<(), String> {
        let frame = encode(&Request { id, call }).map_err(|source| source.to_string())?;
        self.stream.write_all(&frame).await.map_err(|source| source.to_string())
    }

    async fn read(&mut self) -> Result<(), String> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer).await {
            Ok(0) => Err("it closed the connection".to_owned()),
            Ok(count) => {
                self.decoder.push(&buffer[..count]);
                Ok(())
            }
            Err(source) => Err(source.to_string()),
        }
    }

    /// Says hello and waits for the welcome, which comes before anything else.
    async fn hello(&mut self) -> Result<PodState, String> {
        let hello = async {
            self.send(0, Call::Hello).await?;
            loop {
                match self.decoder.next::<Message>().map_err(|source| source.to_string())? {
                    Some(Message::Answer { answer: Ok(Answer::Welcome(state)), .. }) => return Ok(*state),
                    Some(other) => return Err(format!("it did not say welcome but {other:?}")),
                    None => self.read().await?,
                }
            }
        };
        tokio::time::timeout(HELLO_TIMEOUT, hello).await.map_err(|_| "it does not answer".to_owned())?
    }
}
