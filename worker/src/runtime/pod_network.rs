//! The way into a pod's network: the shim makes a socket there and hands it over, the agent connects it.

use std::io::{ErrorKind, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags,
    SocketType, socket_with,
};
use tokio::net::{TcpSocket, TcpStream};

use super::RuntimeError;
use crate::shim::protocol::frame::Decoder;
use crate::shim::protocol::{Answer, Call, Message, Request};
use crate::shim::state::SOCKET;

const SHIM_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a port of the pod's loopback. Without the version of its shim the pod has no network of its own. The time is
/// the port's; a shim that hands over no socket is another error than a port that takes no connection.
pub(super) async fn dial(
    dir: &Path,
    pod_uid: &str,
    port: u16,
    shim_version: Option<u16>,
    timeout: Duration,
) -> Result<TcpStream, RuntimeError> {
    let socket = socket(dir, shim_version).await.map_err(|source| RuntimeError::Shim {
        pod_uid: pod_uid.to_owned(),
        cause: format!("get a socket of it: {source}"),
    })?;
    let dialing = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let timed_out = |_| Err(std::io::Error::from(ErrorKind::TimedOut));
    tokio::time::timeout(timeout, dialing).await.unwrap_or_else(timed_out).map_err(|source| {
        let cause = match source.kind() {
            ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            ErrorKind::TimedOut => "i/o timeout".to_owned(),
            _ => source.to_string(),
        };
        RuntimeError::Connect { pod_uid: pod_uid.to_owned(), port, cause }
    })
}

async fn socket(dir: &Path, shim_version: Option<u16>) -> std::io::Result<TcpSocket> {
    let Some(version) = shim_version else { return TcpSocket::new_v4() };
    let dir = dir.to_owned();
    let socket = tokio::task::spawn_blocking(move || socket_of(&dir, version)).await;
    Ok(TcpSocket::from_std_stream(socket.map_err(std::io::Error::other)??.into()))
}

/// Connects to a pod's shim; reading and writing does not block. It never waits: where too many wait to be heard already,
/// it fails with [`ErrorKind::WouldBlock`]. The path goes through a descriptor: a socket's address holds about
/// a hundred bytes.
pub(super) fn connect(dir: &Path) -> std::io::Result<UnixStream> {
    let handle = std::fs::File::open(dir)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let path = format!("/proc/self/fd/{}/{SOCKET}", handle.as_raw_fd());
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}

/// An unconnected TCP socket of the pod's network, over a connection of its own.
fn socket_of(dir: &Path, version: u16) -> std::io::Result<OwnedFd> {
    let mut stream = connect(dir)?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(SHIM_TIMEOUT))?;
    let request = Request { id: 0, call: Call::Socket }.encode(version).map_err(std::io::Error::other)?;
    stream.write_all(&request)?;
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        &stream,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    let mut decoder = Decoder::default();
    decoder.push(&bytes[..received.bytes]);
    let frame = decoder.next().map_err(std::io::Error::other)?;
    match frame.map(|frame| Message::decode(&frame)).transpose().map_err(std::io::Error::other)?.flatten() {
        Some(Message::Answer { answer: Ok(Answer::Done), .. }) => {
            fd.ok_or_else(|| std::io::Error::other("the shim sent no socket"))
        }
        Some(Message::Answer { answer: Err(error), .. }) => Err(std::io::Error::other(error)),
        _ => Err(std::io::Error::other("the shim did not answer")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::shim::protocol::VERSION;

    #[tokio::test]
    async fn a_shim_that_hands_over_no_socket_is_not_a_port_that_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let dial = async |version| dial(dir.path(), "u-1", free, version, Duration::MAX).await.unwrap_err();
        assert!(matches!(dial(Some(VERSION)).await, RuntimeError::Shim { .. }));
        let refused = "dial 127.0.0.1:{} in pod u-1: connection refused".replace("{}", &free.to_string());
        assert_eq!(dial(None).await.to_string(), refused);
    }
}
