//! The terminal of a container's first process: libcontainer makes it inside the container, and sends it here.

use std::io::{ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// It is there when the container is made; whatever takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the terminal is sent to.
pub(super) struct Console {
    pub(super) path: PathBuf,
    listener: UnixListener,
}

impl Console {
    /// Listens in a container's directory.
    pub(super) fn listen(dir: &Path) -> Result<Self, String> {
        let path = dir.join("console");
        let failed = |source: std::io::Error| format!("listen on {}: {source}", path.display());
        std::fs::remove_file(&path).or_else(|source| match source.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(failed(source)),
        })?;
        // Through a descriptor: the address of a socket is bounded.
        let handle = std::fs::File::open(dir).map_err(failed)?;
        let listener =
            UnixListener::bind(format!("/proc/self/fd/{}/console", handle.as_raw_fd())).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { path, listener })
    }

    /// Takes what was sent.
    pub(super) fn terminal(self) -> Result<OwnedFd, String> {
        let failed = |source: std::io::Error| format!("take the container's terminal: {source}");
        let (stream, _) = self.listener.accept().map_err(failed)?;
        std::fs::remove_file(&self.path).ok();
        receive(&stream).map_err(failed)
    }
}

fn receive(stream: &UnixStream) -> std::io::Result<OwnedFd> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut name = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(stream, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fd.ok_or_else(|| std::io::Error::other("nothing was sent"))
}
