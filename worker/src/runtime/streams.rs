//! The streams of a process in a container, as descriptors: what is read and written passes no shim.
#![allow(
    unsafe_code,
    reason = "descriptors that another process hands over must be registered to be waited for"
)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use rustix::io::Errno;
use rustix::termios::Winsize;
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::RuntimeError;

/// What of a process is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StdStreams {
    /// Its input. Without it, a command gets none.
    pub stdin: bool,
    /// Its output.
    pub stdout: bool,
    /// What it says of errors.
    pub stderr: bool,
    /// One terminal for all three; what it shows comes as [`ProcessStreams::stdout`].
    pub tty: bool,
}

/// The streams of a process. Closed when dropped: it then reads the end, cannot write, and has its terminal hung up.
pub struct ProcessStreams {
    /// To its input.
    pub stdin: Option<Descriptor>,
    /// From its output.
    pub stdout: Option<Descriptor>,
    /// From its errors.
    pub stderr: Option<Descriptor>,
    /// To change the size of its terminal.
    pub terminal: Option<Terminal>,
    /// Its exit code; 128 + signal when a signal ended it.
    pub exit: BoxFuture<'static, Result<i32, RuntimeError>>,
}

/// Where the size of a terminal is changed.
#[derive(Clone, Debug)]
pub enum Terminal {
    /// At this side of it.
    Here(Descriptor),
    /// Somebody else does it, and is told columns and rows.
    Elsewhere(Arc<watch::Sender<(u16, u16)>>),
}

impl Terminal {
    /// Makes it this large.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        match self {
            Self::Here(terminal) => terminal.resize(columns, rows),
            Self::Elsewhere(sizes) => {
                sizes.send_replace((columns, rows));
                Ok(())
            }
        }
    }
}

/// One end of a pipe or of a terminal, to read from or to write to.
#[derive(Clone, Debug)]
pub struct Descriptor(Arc<AsyncFd<OwnedFd>>);

impl Descriptor {
    /// Takes a descriptor over. Within a runtime only.
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        // SAFETY: an `OwnedFd` is open and stands for the same pipe or terminal until it is dropped, and it moves into the
        // `AsyncFd`, which gives it back to nobody.
        let registered = unsafe { AsyncFd::register(fd) };
        Ok(Self(Arc::new(registered?)))
    }

    /// Makes a terminal this large.
    fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(self.0.get_ref(), size)?)
    }
}

impl AsyncRead for Descriptor {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let read = guard.try_io(|fd| {
                // SAFETY: nothing but what is read is written into it.
                let unfilled = unsafe { into.unfilled_mut() };
                let read = rustix::io::retry_on_intr(|| {
                    let (read, _) = rustix::io::read(fd.get_ref().as_fd(), &mut *unfilled)?;
                    Ok(read.len())
                });
                match read {
                    // A terminal whose other side nobody holds any more.
                    Err(Errno::IO) => Ok(0),
                    other => Ok(other?),
                }
            });
            match read {
                Ok(Ok(count)) => {
                    // SAFETY: so much was read into it just now.
                    unsafe { into.assume_init(count) };
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Descriptor {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            let written = guard.try_io(|fd| {
                let write = || rustix::io::write(fd.get_ref().as_fd(), bytes);
                Ok(rustix::io::retry_on_intr(write)?)
            });
            if let Ok(written) = written {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
