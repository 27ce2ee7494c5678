//! The agent's connection to one shim: calls and answers, and exits until they are acknowledged.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::estranged::{LiveShim, ProcessEnd};
use super::{ContainerPhase, Exit, PodSandbox, RuntimeError, RuntimeEvent, pod_network};
use crate::shim::protocol::frame::Decoder;
use crate::shim::protocol::{Answer, Call, Message, PREVIOUS, Request, VERSION};
use crate::shim::state::PodState;

/// Calls that may wait to be sent; more wait at the caller.
const CALLS_MAX: usize = 64;
/// How long the shim may take for what it does at once.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// The cause when it took longer.
pub(super) const SILENT: &str = "it does not answer";
const DEAD: &str = "it is dead";
const RECONNECTS_MAX: u32 = 3;
/// Between two such rounds, while the shim lives.
const RECONNECT_PAUSE: Duration = Duration::from_secs(2);

/// Answers to one call.
type Reply = oneshot::Sender<Result<Answer, RuntimeError>>;

/// A pod whose shim lives.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) sandbox: PodSandbox,
    /// The version that the shim speaks.
    version: Arc<AtomicU16>,
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
        let (pod_uid, container) = (self.pod_uid.clone(), container.to_owned());
        self.send(RuntimeEvent::Exited { pod_uid, container, attempt, exit }).await;
    }

    /// Whoever is silenced while there is no room for the event does not send it.
    async fn send(&self, event: RuntimeEvent) {
        if let Ok(room) = self.events.reserve().await
            && !self.silenced.load(Ordering::Acquire)
        {
            room.send(event);
        }
    }

    /// The shim is dead: the exits that it wrote down come first.
    async fn lost(mut self) {
        for record in PodState::read(&self.dir).map(|state| state.containers).unwrap_or_default() {
            if let ContainerPhase::Exited(exit) = record.state.phase {
                self.tell(&record.state.name, record.state.attempt, exit).await;
            }
        }
        self.send(RuntimeEvent::PodLost { pod_uid: self.pod_uid.clone() }).await;
    }
}

impl Link {
    /// Connects to the shim and answers its state. `adopting` says that the caller takes the exits in it for told.
    pub(super) async fn open(mut teller: Teller, adopting: bool) -> Result<(Arc<Self>, PodState), String> {
        let (wire, state) = Wire::greet(&teller.dir).await?;
        if adopting {
            teller.skip(&state);
        }
        Ok((Self::begin(Some(wire), &state, teller), state))
    }

    /// The same for an agent that finds the pod. A shim that has taken the connection but does not answer yet is busy, or
    /// waits for a disk: its pod is the one that it wrote down, and it is spoken to as soon as it hears.
    pub(super) async fn find(mut teller: Teller) -> Result<(Arc<Self>, PodState), String> {
        let (wire, state) = match Wire::greet(&teller.dir).await {
            Ok((wire, state)) => (Some(wire), state),
            Err(cause) if cause == SILENT => (None, PodState::read(&teller.dir).map_err(|_| cause)?),
            Err(cause) => return Err(cause),
        };
        teller.skip(&state);
        Ok((Self::begin(wire, &state, teller), state))
    }

    fn begin(wire: Option<Wire>, state: &PodState, teller: Teller) -> Arc<Self> {
        let (calls, queue) = mpsc::channel(CALLS_MAX);
        let version = Arc::new(AtomicU16::new(wire.as_ref().map_or(VERSION, |wire| wire.version)));
        let link = Arc::new(Self {
            sandbox: state.sandbox.clone(),
            version: Arc::clone(&version),
            calls,
            silenced: Arc::clone(&teller.silenced),
        });
        tokio::spawn(serve(wire, version, queue, teller));
        link
    }

    /// The version that the shim speaks; the newest until it is known.
    pub(super) fn version(&self) -> u16 {
        self.version.load(Ordering::Relaxed)
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
async fn serve(
    mut wire: Option<Wire>,
    version: Arc<AtomicU16>,
    mut queue: mpsc::Receiver<(Call, Reply)>,
    mut teller: Teller,
) {
    loop {
        if let Some(wire) = &mut wire {
            version.store(wire.version, Ordering::Relaxed);
            if let Ended::Dropped = carry(wire, &mut queue, &mut teller).await {
                return;
            }
        }
        wire = loop {
            let cause = match reconnect(&teller.dir).await {
                Ok(again) => break Some(again),
                Err(cause) => cause,
            };
            if matches!(LiveShim::find(&teller.dir), Ok(None)) {
                // Callers must see that the pod is gone before the event says so.
                drop(queue);
                return teller.lost().await;
            }
            // Its pod lives as long as it does.
            tracing::warn!(
                pod_uid = teller.pod_uid,
                cause,
                "the shim lives but cannot be spoken to: trying again"
            );
            if let Ended::Dropped = refuse(&mut queue, &teller.pod_uid, &cause).await {
                return;
            }
        };
    }
}

async fn reconnect(dir: &std::path::Path) -> Result<Wire, String> {
    let mut cause = String::new();
    for _ in 0..RECONNECTS_MAX {
        // A dead shim's socket refuses at once, so there is nothing to wait for between the tries.
        match Wire::greet(dir).await {
            Ok((wire, _)) => return Ok(wire),
            Err(other) => cause = other,
        }
    }
    Err(cause)
}

/// Lets nobody wait for a shim that does not answer, until it is time to try again.
async fn refuse(queue: &mut mpsc::Receiver<(Call, Reply)>, pod_uid: &str, cause: &str) -> Ended {
    let refusing = async {
        while let Some((_, reply)) = queue.recv().await {
            let (pod_uid, cause) = (pod_uid.to_owned(), cause.to_owned());
            reply.send(Err(RuntimeError::Shim { pod_uid, cause })).ok();
        }
    };
    match tokio::time::timeout(RECONNECT_PAUSE, refusing).await {
        Ok(()) => Ended::Dropped,
        Err(_) => Ended::Broken,
    }
}

enum Ended {
    Dropped,
    Broken,
}

async fn carry(wire: &mut Wire, queue: &mut mpsc::Receiver<(Call, Reply)>, teller: &mut Teller) -> Ended {
    // Dropping the replies tells their callers that the connection broke.
    let mut waiting: HashMap<u64, Reply> = HashMap::new();
    let shim = Arc::clone(&wire.shim);
    loop {
        // No branch loses anything when another one wins: a receive and a read are cancel-safe. What a shim said before it died is
        // heard first.
        let sent = tokio::select! {
            biased;
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
            () = shim.wait() => Err(DEAD.to_owned()),
        };
        if sent.is_err() {
            return Ended::Broken;
        }
        loop {
            let message = match wire.next() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(pod_uid = teller.pod_uid, error, "shim cannot be understood");
                    return Ended::Broken;
                }
            };
            match message {
                Message::Answer { id, answer } => {
                    if let Some(reply) = waiting.remove(&id) {
                        reply.send(answer).ok();
                    }
                }
                Message::Exited { container, attempt, exit } => {
                    teller.tell(&container, attempt, exit).await;
                    wire.next_id += 1;
                    if wire.send(wire.next_id, Call::Acknowledge { container, attempt }).await.is_err() {
                        return Ended::Broken;
                    }
                }
            }
        }
    }
}

/// A connection and its half-read frames.
struct Wire {
    stream: UnixStream,
    decoder: Decoder,
    version: u16,
    next_id: u64,
    /// A child that the shim was just making has the connection, too, and would keep it open.
    shim: Arc<ProcessEnd>,
}

impl Wire {
    /// Connects in the newest version that both sides speak.
    async fn greet(dir: &std::path::Path) -> Result<(Self, PodState), String> {
        let mut wire = Self::connect(dir, VERSION)?;
        let cause = match wire.hello().await {
            Ok(state) => return Ok((wire, state)),
            Err(cause) if cause == SILENT => return Err(cause),
            Err(cause) => cause,
        };
        // A shim of the version before knows only that one, and hangs up at any other.
        let mut wire = Self::connect(dir, PREVIOUS)?;
        match wire.hello().await {
            Ok(state) => Ok((wire, state)),
            Err(_) => Err(cause),
        }
    }

    fn connect(dir: &std::path::Path, version: u16) -> Result<Self, String> {
        let failed = |source: std::io::Error| format!("connect to it: {source}");
        let stream = pod_network::connect(dir).map_err(failed)?;
        let shim = LiveShim::behind(&stream).map_err(failed)?.ok_or(DEAD)?;
        let shim = Arc::new(shim.end().map_err(failed)?);
        let stream = UnixStream::from_std(stream).map_err(failed)?;
        Ok(Self { stream, decoder: Decoder::default(), version, next_id: 0, shim })
    }

    async fn send(&mut self, id: u64, call: Call) -> Result<(), String> {
        let frame = Request { id, call }.encode(self.version).map_err(|source| source.to_string())?;
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

    /// The next message that has arrived. News of a kind that this build does not know is passed over.
    fn next(&mut self) -> Result<Option<Message>, String> {
        while let Some(frame) = self.decoder.next().map_err(|source| source.to_string())? {
            if let Some(message) = Message::decode(&frame).map_err(|source| source.to_string())? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    /// Says hello and waits for the welcome, which comes before anything else.
    async fn hello(&mut self) -> Result<PodState, String> {
        let shim = Arc::clone(&self.shim);
        let hello = async {
            self.send(0, Call::Hello).await?;
            loop {
                match self.next()? {
                    Some(Message::Answer { answer: Ok(Answer::Welcome(state)), .. }) => return Ok(*state),
                    Some(Message::Answer { answer: Err(error), .. }) => return Err(error.to_string()),
                    Some(other) => return Err(format!("it did not say welcome but {other:?}")),
                    None => self.read().await?,
                }
            }
        };
        tokio::select! {
            biased;
            said = tokio::time::timeout(HELLO_TIMEOUT, hello) => said.map_err(|_| SILENT.to_owned())?,
            () = shim.wait() => Err(DEAD.to_owned()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{BufRead, BufReader, Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

    use super::*;
    use crate::shim::protocol::golden_v1;

    /// A shim of the version before, as it was: it hangs up at what it does not understand.
    fn old_shim(listener: UnixListener) {
        for stream in listener.incoming() {
            let (mut stream, mut header) = (stream.unwrap(), [0; 6]);
            stream.read_exact(&mut header).unwrap();
            if header[4..6] == [1, 0] {
                stream.write_all(&golden_v1("message")[0]).unwrap();
            }
        }
    }

    fn welcome() -> Answer {
        let mut decoder = Decoder::default();
        decoder.push(&golden_v1("message")[0]);
        let message = Message::decode(&decoder.next().unwrap().unwrap()).unwrap();
        let Some(Message::Answer { answer: Ok(welcome), .. }) = message else { panic!("{message:?}") };
        welcome
    }

    /// A shim of this build, until it has answered so often or is left.
    pub(crate) fn answer(mut stream: std::os::unix::net::UnixStream, count: usize) {
        let (mut decoder, mut buffer, mut answered) = (Decoder::default(), [0; 4096], 0);
        while answered < count {
            let Ok(read @ 1..) = stream.read(&mut buffer) else { return };
            decoder.push(&buffer[..read]);
            while let Some(frame) = decoder.next().unwrap() {
                let Request { id, call } = Request::decode(&frame).unwrap();
                let answer = Ok(if matches!(call, Call::Hello) { welcome() } else { Answer::Done });
                let answer = Message::Answer { id, answer }.encode(VERSION).unwrap();
                if stream.write_all(&answer).is_err() {
                    return;
                }
                answered += 1;
            }
        }
    }

    #[tokio::test]
    async fn a_shim_that_hangs_up_for_a_while_is_not_taken_for_dead() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(crate::shim::state::SOCKET)).unwrap();
        std::thread::spawn(move || {
            for (nth, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                match nth {
                    0 => answer(stream, 1),
                    1..=6 => drop(stream),
                    _ => answer(stream, usize::MAX),
                }
            }
        });
        let (events, mut receiver) = mpsc::channel(1);
        let teller = Teller::new("u-1".to_owned(), dir.path().to_owned(), events);
        let (link, _) = Link::open(teller, true).await.unwrap();
        loop {
            match link.call(Call::StoreBlob(Vec::new())).await {
                Ok(answer) => break assert!(matches!(answer, Answer::Done), "{answer:?}"),
                Err(RuntimeError::Shim { .. }) => tokio::task::yield_now().await,
                Err(other) => panic!("{other}"),
            }
        }
        assert!(receiver.try_recv().is_err(), "nobody said that it is lost");
    }

    const DIR: &str = "KONTIKI_TEST_SHIM_DIR";

    #[tokio::test]
    async fn a_shim_is_dead_though_a_child_of_it_has_its_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let mut shim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runtime::shim_link::tests::a_shim_with_a_child", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(shim.stdout.take().unwrap()).lines().map_while(Result::ok);
        said.find(|line| line.contains("it listens")).unwrap();
        let (events, mut receiver) = mpsc::channel(1);
        let teller = || Teller::new("u-1".to_owned(), dir.path().to_owned(), events.clone());
        let (link, _) = Link::open(teller(), true).await.unwrap();
        let child = said.find_map(|line| line.split_once("child ")?.1.parse().ok());
        let child = Pid::from_raw(child.unwrap()).unwrap();
        let mut call = std::pin::pin!(link.call(Call::StoreBlob(Vec::new())));
        let dies = async {
            tokio::task::yield_now().await;
            shim.kill().unwrap();
        };
        let told = tokio::time::timeout(HELLO_TIMEOUT, async {
            let (called, ()) = tokio::join!(&mut call, dies);
            (called.is_err(), receiver.recv().await)
        });
        let told = told.await;
        let found = Link::find(teller()).await.map(drop);
        kill_process(child, Signal::KILL).unwrap();
        shim.wait().unwrap();
        assert_eq!(told, Ok((true, Some(RuntimeEvent::PodLost { pod_uid: "u-1".to_owned() }))));
        assert_eq!(found, Err(DEAD.to_owned()));
    }

    /// Not a test: the shim of the one above. It says welcome, and no more.
    #[test]
    #[ignore = "it never ends"]
    fn a_shim_with_a_child() {
        let Some(dir) = std::env::var_os(DIR) else { return };
        set_parent_process_death_signal(Some(Signal::KILL)).unwrap();
        let path = std::path::Path::new(&dir).join(crate::shim::state::SOCKET);
        let listener = UnixListener::bind(path).unwrap();
        println!("it listens");
        let (stream, _) = listener.accept().unwrap();
        answer(stream.try_clone().unwrap(), 1);
        let sockets = [OwnedFd::from(listener), OwnedFd::from(stream)];
        let [input, output] = sockets.each_ref().map(|socket| Stdio::from(socket.try_clone().unwrap()));
        let mut child = Command::new("sleep").arg("1000").stdin(input).stdout(output).spawn().unwrap();
        println!("child {}", child.id());
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_shim_of_the_version_before_is_spoken_to_in_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(crate::shim::state::SOCKET)).unwrap();
        std::thread::spawn(move || old_shim(listener));
        let (events, _receiver) = mpsc::channel(1);
        let teller = Teller::new("u-1".to_owned(), dir.path().to_owned(), events);
        let (link, state) = Link::open(teller, true).await.unwrap();
        assert_eq!((link.version(), state.sandbox.name.as_str(), state.containers.len()), (1, "web-0", 2));
    }
}
