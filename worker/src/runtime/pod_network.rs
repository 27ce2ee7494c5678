//! The way into a pod's network: the shim makes a socket there and hands it over, the agent connects it.

use std::io::{IoSliceMut, Write};
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

use crate::shim::protocol::frame::Decoder;
use crate::shim::protocol::{Answer, Call, Message, Request};
use crate::shim::state::SOCKET;

const SHIM_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to a port of the pod's loopback. Without the version of its shim the pod has no network of its own.
pub(super) async fn dial(
    dir: &Path,
    port: u16,
    shim_version: Option<u16>,
    timeout: Duration,
) -> std::io::Result<TcpStream> {
    let dialing = async {
        let socket = match shim_version {
            None => TcpSocket::new_v4()?,
            Some(version) => {
                let dir = dir.to_owned();
                let socket = tokio::task::spawn_blocking(move || socket_of(&dir, version))
                    .await
                    .map_err(std::io::Error::other)??;
                TcpSocket::from_std_stream(socket.into())
            }
        };
        socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await
    };
    match tokio::time::timeout(timeout, dialing).await {
        Ok(dialed) => dialed,
        Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut)),
    }
}

/// Connects to a pod's shim; reading and writing does not block. It never waits: where too many wait to be heard already,
/// it fails with [`std::io::ErrorKind::WouldBlock`]. The path goes through a descriptor: a socket's address holds about
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
