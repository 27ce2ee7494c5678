//! A stream through a shim: a connection of its own, over which the shim hands the descriptors over and, at the end, tells
//! the exit code. When the connection ends before, so has the pod.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use super::streams::{Descriptor, ProcessStreams, StdStreams, Terminal};
use super::{RuntimeError, pod_network};
use crate::shim::protocol::frame::Decoder;
use crate::shim::protocol::{Answer, Call, Message, Opened, Opening, Request};

/// What the shim may take to begin: a program on a slow disk has half of it.
const PATIENCE: Duration = Duration::from_secs(60);
/// The first version of the protocol in which the call can be written at all.
const OPENS_SINCE: u16 = 2;
/// Descriptors that one message brings at most.
const DESCRIPTORS_MAX: usize = 4;

/// Opens streams through the shim that serves a directory, speaking its version.
pub(super) async fn open(
    dir: &Path,
    version: u16,
    pod_uid: &str,
    container: &str,
    command: Option<Vec<String>>,
    streams: StdStreams,
) -> Result<ProcessStreams, RuntimeError> {
    if version < OPENS_SINCE {
        return Err(RuntimeError::Invalid(
            "the pod's shim is of a build that has no streams: restart the pod to update its shim".to_owned(),
        ));
    }
    let opening = Opening { container: container.to_owned(), command, streams };
    let uid = pod_uid.to_owned();
    let failed = move |cause: String| RuntimeError::Shim { pod_uid: uid.clone(), cause };
    let mut line = Line::call(dir, version, opening).await.map_err(|source| failed(source.to_string()))?;
    let first = tokio::time::timeout(PATIENCE, line.next()).await;
    let first = first.map_err(|_| failed(format!("it did not begin within {PATIENCE:?}")))?;
    let opened = match first {
        Ok(Answer::Opened(opened)) => opened,
        Err(Unheard::Refused(error)) => return Err(error),
        Err(Unheard::Broken(source)) => return Err(failed(source.to_string())),
        Ok(_) => return Err(failed("it gave the answer to another question".to_owned())),
    };
    let mut fds = std::mem::take(&mut line.fds).into_iter();
    let mut take = |there: bool| -> Result<Option<Descriptor>, RuntimeError> {
        let missing = || failed("it did not send what it said".to_owned());
        let fd = if there { Some(fds.next().ok_or_else(missing)?) } else { None };
        fd.map(Descriptor::new).transpose().map_err(|source| failed(source.to_string()))
    };
    let Opened { stdin, stdout, stderr, terminal } = opened;
    let (stdin, stdout, stderr) = (take(stdin)?, take(stdout)?, take(stderr)?);
    let terminal = take(terminal)?;
    let exit = async move {
        match line.next().await {
            Ok(Answer::Ended { code }) => Ok(code),
            Ok(_) => Err(failed("it gave the answer to another question".to_owned())),
            Err(Unheard::Refused(error)) => Err(error),
            Err(Unheard::Broken(_)) => Err(failed("it ended, and the pod with it".to_owned())),
        }
    };
    Ok(match streams.tty {
        // One descriptor for everything.
        true => ProcessStreams {
            stdin: terminal.clone().filter(|_| streams.stdin),
            stdout: stdout.or(terminal.clone().filter(|_| streams.stdout)),
            stderr: None,
            terminal: terminal.map(Terminal::Here),
            exit: exit.boxed(),
        },
        false => {
            let terminal = terminal.map(Terminal::Here);
            ProcessStreams { stdin, stdout, stderr, terminal, exit: exit.boxed() }
        }
    })
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Unheard {
    #[error("{0}")]
    Refused(RuntimeError),
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// A connection that carries one call.
struct Line {
    stream: UnixStream,
    decoder: Decoder,
    fds: Vec<OwnedFd>,
}

impl Line {
    async fn call(dir: &Path, version: u16, opening: Opening) -> io::Result<Self> {
        let mut stream = UnixStream::from_std(pod_network::connect(dir)?)?;
        let request = Request { id: 0, call: Call::Open(Box::new(opening)) };
        stream.write_all(&request.encode(version).map_err(io::Error::other)?).await?;
        Ok(Self { stream, decoder: Decoder::default(), fds: Vec::new() })
    }

    /// The next answer. Nothing is lost when the future is dropped.
    async fn next(&mut self) -> Result<Answer, Unheard> {
        loop {
            if let Some(frame) = self.decoder.next().map_err(io::Error::other)? {
                match Message::decode(&frame).map_err(io::Error::other)? {
                    Some(Message::Answer { answer, .. }) => return answer.map_err(Unheard::Refused),
                    _ => continue,
                }
            }
            self.stream.readable().await?;
            let received = self.stream.try_io(Interest::READABLE, || receive(&self.stream));
            match received {
                Ok((bytes, _)) if bytes.is_empty() => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                Ok((bytes, fds)) => {
                    self.decoder.push(&bytes);
                    self.fds.extend(fds);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(stream.as_fd(), &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    Ok((bytes[..received.bytes].to_vec(), fds))
}
