//! The streams of a process in a container, through the daemon's streaming server: one connection for each, in which every
//! descriptor is a stream. Pipes stand for them on this side, so that agents see the same as with shims.
//!
//! Source: Kubernetes' remote command protocol, version 4 (k8s.io/kubelet/pkg/cri/streaming/remotecommand).

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http::Uri;
use kontiki_proto::cri;
use rustix::pipe::PipeFlags;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, watch};
use tokio_util::task::AbortOnDropHandle;

use super::super::RuntimeError;
use super::super::streams::{Descriptor, ProcessStreams, StdStreams, Terminal};
use super::Inner;
use super::daemon::{CALL, ask, error, is_gone};
use super::spdy::{DATA_MAX, Decoder, Encoder, Said, data, pong};

/// What reaching the server may take, and its first answer: a program on a slow disk has half a minute.
const PATIENCE: Duration = Duration::from_secs(60);
/// The head of an answer.
const HEAD_MAX: usize = 16 << 10;
/// What is said of how a command ended.
const VERDICT_MAX: usize = 64 << 10;
const PROTOCOL: &str = "v4.channel.k8s.io";

/// The numbers of the streams, which a client gives; the first is for how it ends.
const VERDICT: u32 = 1;
const STDIN: u32 = 3;
const STDOUT: u32 = 5;
const STDERR: u32 = 7;
const RESIZE: u32 = 9;

impl Inner {
    /// Starts a command in a container, or attaches to its own process.
    pub(super) async fn open(
        &self,
        pod_uid: &str,
        container: &str,
        command: Option<Vec<String>>,
        streams: StdStreams,
    ) -> Result<ProcessStreams, RuntimeError> {
        let id = self.pod(pod_uid)?.container(container)?.id;
        // A terminal has one output.
        let StdStreams { stdin, stdout, stderr, tty } = streams;
        let stderr = stderr && !tty;
        let mut daemon = self.daemon.runtime();
        let url = match command {
            Some(cmd) => {
                let request = cri::ExecRequest { container_id: id, cmd, tty, stdin, stdout, stderr };
                daemon.exec(ask(request, CALL)).await.map(|answer| answer.into_inner().url)
            }
            None => {
                let request = cri::AttachRequest { container_id: id, stdin, tty, stdout, stderr };
                daemon.attach(ask(request, CALL)).await.map(|answer| answer.into_inner().url)
            }
        };
        let url = url.map_err(|status| {
            if is_gone(&status) {
                let (pod_uid, container) = (pod_uid.to_owned(), container.to_owned());
                return RuntimeError::ContainerUnknown { pod_uid, container };
            }
            error(&status, RuntimeError::Invalid)
        })?;
        let failed = |cause: String| RuntimeError::Daemon { cause: format!("its streaming server: {cause}") };
        let opened = tokio::time::timeout(PATIENCE, Connection::open(&url)).await;
        let connection = opened.map_err(|_| failed(format!("it did not answer within {PATIENCE:?}")))?;
        let connection = connection.map_err(failed)?;
        connection.streams(StdStreams { stderr, ..streams }).await.map_err(failed)
    }
}

/// A connection that was upgraded.
struct Connection {
    read: OwnedReadHalf,
    write: OwnedWriteHalf,
    decoder: Decoder,
}

impl Connection {
    async fn open(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|cause| format!("its address {url}: {cause}"))?;
        let authority = match (uri.scheme_str(), uri.authority()) {
            (Some("http"), Some(authority)) => authority.as_str(),
            (Some("https"), _) => {
                return Err("it speaks TLS, which is not supported here: let it listen on loopback without"
                    .to_owned());
            }
            _ => return Err(format!("its address {url} is none")),
        };
        let told = |source: std::io::Error| format!("{authority}: {source}");
        let mut stream = TcpStream::connect(authority).await.map_err(told)?;
        stream.set_nodelay(true).map_err(told)?;
        let path = uri.path_and_query().map_or("/", |it| it.as_str());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
             X-Stream-Protocol-Version: {PROTOCOL}\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(told)?;
        let rest = upgraded(&mut stream).await?;
        let mut decoder = Decoder::default();
        decoder.push(&rest);
        let (read, write) = stream.into_split();
        Ok(Self { read, write, decoder })
    }

    /// Opens what is wanted. The server begins when it has all of it.
    async fn streams(mut self, wanted: StdStreams) -> Result<ProcessStreams, String> {
        let mut encoder = Encoder::default();
        let all = [
            (VERDICT, "error", true),
            (STDIN, "stdin", wanted.stdin),
            (STDOUT, "stdout", wanted.stdout),
            (STDERR, "stderr", wanted.stderr),
            (RESIZE, "resize", wanted.tty),
        ];
        for (stream, kind, _) in all.into_iter().filter(|(.., wanted)| *wanted) {
            let opened = self.write.write_all(&encoder.open(stream, kind)).await;
            opened.map_err(|source| source.to_string())?;
        }
        let write = Arc::new(Mutex::new(self.write));
        let (mut tasks, mut stdin) = (Vec::new(), None);
        if wanted.stdin {
            let (from, near) = pipe()?;
            stdin = Some(near);
            tasks.push(tokio::spawn(send_input(from, Arc::clone(&write))));
        }
        let (stdout, far_stdout) = output(wanted.stdout)?;
        let (stderr, far_stderr) = output(wanted.stderr)?;
        let mut terminal = None;
        if wanted.tty {
            let (sizes, changes) = watch::channel((0, 0));
            terminal = Some(Terminal::Elsewhere(Arc::new(sizes)));
            tasks.push(tokio::spawn(send_sizes(changes, Arc::clone(&write))));
        }
        let hear = hear(self.read, self.decoder, write, far_stdout, far_stderr);
        let heard = AbortOnDropHandle::new(tokio::spawn(hear));
        // Whoever lets go of the process lets go of all of this.
        let tasks: Vec<_> = tasks.into_iter().map(AbortOnDropHandle::new).collect();
        let exit = async move {
            let verdict = heard.await.unwrap_or_else(|failure| Err(failure.to_string()));
            drop(tasks);
            verdict.map_err(|cause| RuntimeError::Daemon { cause }).and_then(|verdict| verdict.code())
        };
        Ok(ProcessStreams { stdin, stdout, stderr, terminal, exit: exit.boxed() })
    }
}

/// What comes behind the head of the answer, if that says that the connection is the streams' now.
async fn upgraded(stream: &mut TcpStream) -> Result<Vec<u8>, String> {
    const END: &[u8] = b"\r\n\r\n";
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(END.len()).position(|it| it == END) {
            break at + END.len();
        }
        if bytes.len() > HEAD_MAX {
            return Err("its answer has no end".to_owned());
        }
        if stream.read_buf(&mut bytes).await.map_err(|source| source.to_string())? == 0 {
            return Err("it hung up before it answered".to_owned());
        }
    };
    let rest = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes);
    let status = head.lines().next().unwrap_or_default();
    match status.split(' ').nth(1) {
        Some("101") => Ok(rest),
        _ => Err(format!("it answered \"{status}\": {}", String::from_utf8_lossy(&rest).trim())),
    }
}

/// A pipe's end to read from, and the one to write to.
fn pipe() -> Result<(Descriptor, Descriptor), String> {
    let told = |cause: String| format!("make a pipe: {cause}");
    let (read, write) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|source| told(source.to_string()))?;
    let end = |fd| Descriptor::new(fd).map_err(|source| told(source.to_string()));
    Ok((end(read)?, end(write)?))
}

/// The near and the far end of an output, if it is wanted.
fn output(wanted: bool) -> Result<(Option<Descriptor>, Option<Descriptor>), String> {
    if !wanted {
        return Ok((None, None));
    }
    let (near, far) = pipe()?;
    Ok((Some(near), Some(far)))
}

async fn send_input(mut from: Descriptor, to: Arc<Mutex<OwnedWriteHalf>>) {
    let mut buffer = vec![0; DATA_MAX];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        let frame = data(STDIN, count == 0, &buffer[..count]);
        if to.lock().await.write_all(&frame).await.is_err() || count == 0 {
            return;
        }
    }
}

async fn send_sizes(mut sizes: watch::Receiver<(u16, u16)>, to: Arc<Mutex<OwnedWriteHalf>>) {
    while sizes.changed().await.is_ok() {
        let (columns, rows) = *sizes.borrow_and_update();
        let size = format!("{{\"Width\":{columns},\"Height\":{rows}}}\n");
        if to.lock().await.write_all(&data(RESIZE, false, size.as_bytes())).await.is_err() {
            return;
        }
    }
}

/// Hands on what the process writes, until the server has said how it ended, or hangs up.
async fn hear(
    mut read: OwnedReadHalf,
    mut decoder: Decoder,
    write: Arc<Mutex<OwnedWriteHalf>>,
    mut stdout: Option<Descriptor>,
    mut stderr: Option<Descriptor>,
) -> Result<Verdict, String> {
    let (mut verdict, mut buffer) = (Vec::new(), vec![0; DATA_MAX]);
    loop {
        while let Some(said) = decoder.next()? {
            let (stream, fin, bytes) = match said {
                Said::Data { stream, fin, bytes } => (stream, fin, bytes),
                Said::Reset { stream } => (stream, true, bytes::Bytes::new()),
                Said::Ping(id) => {
                    // Even numbers are the server's; others answer ours, of which there are none.
                    if id % 2 == 0 {
                        write.lock().await.write_all(&pong(id)).await.ok();
                    }
                    continue;
                }
                Said::GoAway => continue,
            };
            match stream {
                VERDICT => {
                    let room = VERDICT_MAX.saturating_sub(verdict.len()).min(bytes.len());
                    verdict.extend_from_slice(&bytes[..room]);
                    let read = Verdict::read(&verdict);
                    if fin || read.is_some() {
                        // What the process wrote came before.
                        drop((stdout, stderr));
                        let said = || String::from_utf8_lossy(&verdict).trim().to_owned();
                        return read
                            .ok_or_else(|| format!("it does not say how its process did: \"{}\"", said()));
                    }
                }
                STDOUT => hand_on(&mut stdout, &bytes, fin).await,
                STDERR => hand_on(&mut stderr, &bytes, fin).await,
                _ => {}
            }
        }
        match read.read(&mut buffer).await {
            Ok(0) => return Err("the stream ended without a word about how its process did".to_owned()),
            Ok(count) => decoder.push(&buffer[..count]),
            Err(source) => return Err(format!("the stream broke off: {source}")),
        }
    }
}

/// Who does not read holds up the process; what nobody reads any more is thrown away.
async fn hand_on(to: &mut Option<Descriptor>, bytes: &[u8], fin: bool) {
    let Some(output) = to else { return };
    if output.write_all(bytes).await.is_err() || fin {
        *to = None;
    }
}

/// How a process ended: a Status of Kubernetes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Verdict {
    status: String,
    message: String,
    reason: String,
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    causes: Vec<Cause>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
    message: String,
}

impl Verdict {
    /// Once it is complete.
    fn read(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    fn code(self) -> Result<i32, RuntimeError> {
        let exit = self.details.causes.iter().find(|cause| cause.reason == "ExitCode");
        match (self.status.as_str(), self.reason.as_str()) {
            ("Failure", "NonZeroExitCode") => {
                Ok(exit.and_then(|cause| cause.message.parse().ok()).unwrap_or(1))
            }
            ("Failure", _) => Err(RuntimeError::StartFailed(self.message)),
            _ => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::net::TcpListener;

    use super::*;

    const ALL: StdStreams = StdStreams { stdin: true, stdout: true, stderr: true, tty: false };

    /// A server that answers so, and what it heard until then.
    async fn served(answer: Vec<u8>, wanted: StdStreams) -> (ProcessStreams, Vec<u8>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/exec/word", listener.local_addr().unwrap());
        let serve = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut heard).await.unwrap();
            }
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\n\r\n").await.unwrap();
            stream.write_all(&answer).await.unwrap();
            (heard, stream)
        };
        let open = async {
            let connection = Connection::open(&url).await.unwrap();
            connection.streams(wanted).await.unwrap()
        };
        let ((heard, stream), streams) = tokio::join!(serve, open);
        (streams, heard, stream)
    }

    fn verdict(json: &str) -> Vec<u8> {
        data(VERDICT, false, json.as_bytes()).to_vec()
    }

    const CODE_3: &str = r#"{"status":"Failure","reason":"NonZeroExitCode","message":"x",
        "details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;

    #[tokio::test]
    async fn outputs_come_apart_and_the_code_after_them() {
        let mut answer = data(STDOUT, false, b"out").to_vec();
        answer.extend(data(STDERR, false, b"err"));
        answer.extend(pong(2));
        answer.extend(verdict(CODE_3));
        let (streams, heard, mut server) = served(answer, ALL).await;
        assert!(String::from_utf8(heard).unwrap().starts_with("POST /exec/word HTTP/1.1\r\n"));
        let ProcessStreams { stdin, stdout, stderr, exit, .. } = streams;
        assert_eq!(exit.await, Ok(3));
        let mut said = String::new();
        stdout.unwrap().read_to_string(&mut said).await.unwrap();
        stderr.unwrap().read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "outerr");
        drop(stdin);
        // The streams in their order, and the answer to the ping.
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).await.unwrap();
        for kind in ["error", "stdin", "stdout", "stderr"] {
            assert!(heard.windows(kind.len()).any(|it| it == kind.as_bytes()), "{kind}");
        }
        assert!(heard.windows(12).any(|it| it == &pong(2)[..]));
    }

    #[tokio::test]
    async fn an_input_and_its_end_are_passed_on_and_sizes_of_terminals_too() {
        let wanted = StdStreams { tty: true, stderr: false, ..ALL };
        let (streams, _, mut server) = served(Vec::new(), wanted).await;
        let ProcessStreams { stdin, terminal, exit, .. } = streams;
        terminal.as_ref().unwrap().resize(132, 43).unwrap();
        let mut stdin = stdin.unwrap();
        stdin.write_all(b"word").await.unwrap();
        drop(stdin);
        let mut heard = Vec::new();
        let (word, end) = (data(STDIN, false, b"word"), data(STDIN, true, b""));
        let size = data(RESIZE, false, b"{\"Width\":132,\"Height\":43}\n");
        let came = |heard: &[u8], what: &[u8]| heard.windows(what.len()).any(|it| it == what);
        while ![&word, &end, &size].into_iter().all(|what| came(&heard, what)) {
            assert!(server.read_buf(&mut heard).await.unwrap() > 0);
        }
        server.write_all(&verdict(r#"{"status":"Success"}"#)).await.unwrap();
        assert_eq!(exit.await, Ok(0));
    }

    #[tokio::test]
    async fn what_could_not_be_started_and_what_broke_off_are_told_apart() {
        let refused =
            verdict(r#"{"status":"Failure","reason":"InternalError","message":"not found in $PATH"}"#);
        let (streams, _, _server) = served(refused, ALL).await;
        assert_eq!(streams.exit.await, Err(RuntimeError::StartFailed("not found in $PATH".to_owned())));
        let mut silent = data(STDOUT, false, b"x").to_vec();
        silent.extend(data(VERDICT, true, b""));
        for answer in [data(STDOUT, false, b"x").to_vec(), silent] {
            let (streams, _, server) = served(answer, ALL).await;
            drop(server);
            assert!(matches!(streams.exit.await, Err(RuntimeError::Daemon { .. })));
        }
    }

    #[tokio::test]
    async fn who_lets_go_of_a_process_hangs_up() {
        let (streams, _, mut server) = served(Vec::new(), ALL).await;
        drop(streams);
        let mut heard = Vec::new();
        // However much is still on its way, the connection ends.
        server.read_to_end(&mut heard).await.ok();
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_heard() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\nno such word").await.unwrap();
        };
        let url = format!("http://{address}/exec/word");
        let ((), opened) = tokio::join!(serve, Connection::open(&url));
        let told = opened.err().unwrap();
        assert!(told.contains("404 Not Found") && told.contains("no such word"), "{told}");
        assert!(Connection::open("https://127.0.0.1:1/x").await.err().unwrap().contains("TLS"));
    }
}
