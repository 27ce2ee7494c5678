//! The agents that are connected: usually one, for a moment two when one replaces another.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use super::protocol::frame::{Decoder, Frame};
use super::protocol::{Message, Misread, Request, VERSION};
use super::state::SOCKET;
use crate::runtime::RuntimeError;

/// Connections at a time; each dial of a port uses one for a moment.
const AGENTS_MAX: usize = 64;
/// Descriptors that go with one message.
const DESCRIPTORS_MAX: usize = 4;
/// What may wait for a slow agent before it is dropped; it connects again and is told everything.
const OUTBOX_MAX: usize = 16 << 20;

/// Listens in the pod's directory. The path is short whatever the directory's: a socket's address is bounded.
pub(super) fn listen(dir: &Path) -> std::io::Result<UnixListener> {
    std::env::set_current_dir(dir)?;
    // The lock proves that no shim serves it any more.
    std::fs::remove_file(SOCKET).or_else(|source| match source.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(source),
    })?;
    let listener = UnixListener::bind(SOCKET)?;
    std::env::set_current_dir("/")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// One connection.
pub(super) struct Agent {
    pub(super) id: u64,
    /// It asked for everything and is told of exits.
    pub(super) subscribed: bool,
    /// The version in which it spoke last, and is answered.
    version: u16,
    /// What this build calls the version that it speaks by itself; only tests give it another number.
    newest: u16,
    stream: UnixStream,
    decoder: Decoder,
    outbox: VecDeque<u8>,
    broken: bool,
}

impl Agent {
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    pub(super) fn wants_to_write(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// The requests that have arrived whole.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>) -> Vec<Request> {
        buffer.resize(64 * 1024, 0);
        match self.stream.read(buffer) {
            Ok(0) => self.broken = true,
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(source) if matches!(source.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.broken = true,
        }
        let mut requests = Vec::new();
        loop {
            let frame = match self.decoder.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => return requests,
                Err(_) => {
                    self.broken = true;
                    return requests;
                }
            };
            let version = frame.version;
            let request = if version == self.newest {
                Request::decode(&Frame { version: VERSION, ..frame })
            } else if version == self.newest - 1 {
                Request::decode(&frame)
            } else {
                Err(Misread::Version(version))
            };
            match request {
                Ok(request) => {
                    self.version = version;
                    requests.push(request);
                }
                Err(misread) => self.refuse(&misread),
            }
        }
    }

    /// Says what is not understood, for an agent of a newer build may well go on without it.
    fn refuse(&mut self, misread: &Misread) {
        let id = match misread {
            Misread::Body { id: Some(id), .. } => *id,
            // Its header shows the asker what is spoken here.
            Misread::Version(_) => 0,
            Misread::Body { id: None, .. } => {
                self.broken = true;
                return;
            }
        };
        let cause = format!("the pod's shim cannot do this: {misread}: restart the pod to update its shim");
        self.send(&Message::Answer { id, answer: Err(RuntimeError::Invalid(cause)) });
    }

    pub(super) fn send(&mut self, message: &Message) {
        match message.encode(self.version) {
            Ok(frame) if self.outbox.len() + frame.len() <= OUTBOX_MAX => {
                self.outbox.extend(frame);
                self.write();
            }
            _ => self.broken = true,
        }
    }

    /// Sends a message and file descriptors with it, at most [`DESCRIPTORS_MAX`]; such connections carry nothing else at
    /// that time.
    pub(super) fn send_with(&mut self, message: &Message, fds: &[OwnedFd]) {
        let Ok(frame) = message.encode(self.version) else {
            self.broken = true;
            return;
        };
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = control.push(SendAncillaryMessage::ScmRights(&fds)) && self.outbox.is_empty();
        let sent =
            rustix::net::sendmsg(&self.stream, &[IoSlice::new(&frame)], &mut control, SendFlags::NOSIGNAL);
        self.broken |= !fits || sent != Ok(frame.len());
    }

    pub(super) fn write(&mut self) {
        while !self.outbox.is_empty() {
            let (front, _) = self.outbox.as_slices();
            match self.stream.write(front) {
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(source) if source.kind() == ErrorKind::WouldBlock => return,
                Err(source) if source.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
        self.outbox = VecDeque::new();
    }
}

/// All connections.
pub(super) struct Agents {
    listener: UnixListener,
    connected: Vec<Agent>,
    next: u64,
    newest: u16,
}

impl Agents {
    pub(super) fn new(listener: UnixListener, newest: u16) -> Self {
        Self { listener, connected: Vec::new(), next: 0, newest }
    }

    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    pub(super) fn connected(&self) -> &[Agent] {
        &self.connected
    }

    pub(super) fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connected.len() < AGENTS_MAX && stream.set_nonblocking(true).is_ok() {
                self.connected.push(Agent {
                    id: self.next,
                    subscribed: false,
                    version: self.newest,
                    newest: self.newest,
                    stream,
                    decoder: Decoder::default(),
                    outbox: VecDeque::new(),
                    broken: false,
                });
                self.next += 1;
            }
        }
    }

    pub(super) fn is_connected(&self, id: u64) -> bool {
        self.connected.iter().any(|agent| agent.id == id)
    }

    pub(super) fn get(&mut self, id: u64) -> Option<&mut Agent> {
        self.connected.iter_mut().find(|agent| agent.id == id)
    }

    pub(super) fn tell_subscribers(&mut self, message: &Message) {
        for agent in self.connected.iter_mut().filter(|agent| agent.subscribed) {
            agent.send(message);
        }
    }

    pub(super) fn drop_broken(&mut self) {
        self.connected.retain(|agent| !agent.broken);
    }

    /// Gives what was said the chance to arrive before this process ends.
    pub(super) fn flush(&mut self) {
        for agent in &mut self.connected {
            agent.stream.set_nonblocking(false).ok();
            agent.stream.set_write_timeout(Some(std::time::Duration::from_secs(1))).ok();
            agent.write();
        }
    }
}
