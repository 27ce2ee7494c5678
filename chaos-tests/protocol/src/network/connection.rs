//! A connection: two pipes, each carrying bytes one way, and the end of it that a process holds.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::{HostId, SimNet};

/// So many bytes may be on their way.
const WINDOW: usize = 256 << 10;

/// What is on its way.
pub(super) enum Item {
    Data(Bytes),
    End,
    Reset,
}

struct Sent {
    item: Item,
    sent: Instant,
    at: Instant,
}

/// One direction of a connection.
pub(super) struct Pipe {
    /// A host, and which process on it.
    pub(super) from: (HostId, u64),
    pub(super) to: (HostId, u64),
    queue: VecDeque<Sent>,
    bytes: usize,
    last: Option<Instant>,
    /// The writer was told that the connection is broken.
    reset: bool,
    pub(super) reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    pub(super) fn new(from: (HostId, u64), to: (HostId, u64)) -> Pipe {
        let queue = VecDeque::new();
        Pipe { from, to, queue, bytes: 0, last: None, reset: false, reader: None, writer: None }
    }

    /// Sends something behind what is on its way already.
    pub(super) fn push(&mut self, item: Item, sent: Instant, at: Instant) {
        let at = self.last.map_or(at, |last| last.max(at));
        self.last = Some(at);
        if let Item::Data(bytes) = &item {
            self.bytes += bytes.len();
        }
        self.queue.push_back(Sent { item, sent, at });
    }
}

/// A process' end of a connection.
pub struct SimStream {
    net: SimNet,
    host: HostId,
    peer: HostId,
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
    sleep: Option<Pin<Box<Sleep>>>,
    ended: bool,
}

impl SimStream {
    pub(super) fn new(
        net: SimNet,
        host: HostId,
        peer: HostId,
        incoming: Arc<Mutex<Pipe>>,
        outgoing: Arc<Mutex<Pipe>>,
    ) -> SimStream {
        SimStream { net, host, peer, incoming, outgoing, sleep: None, ended: false }
    }

    /// The host at the other end.
    pub fn peer(&self) -> HostId {
        self.peer
    }

    /// Whether the process may use it now.
    fn usable(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let own = self.outgoing.lock().from.1;
        let mut net = self.net.0.net.lock();
        let host = &mut net.hosts[self.host];
        if host.incarnation != own {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::NotConnected, "this process is gone")));
        }
        if host.held {
            host.waiting.push(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer")
}

impl AsyncRead for SimStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        std::task::ready!(this.usable(context))?;
        let incoming = this.incoming.clone();
        loop {
            let mut pipe = incoming.lock();
            let now = Instant::now();
            let Some(first) = pipe.queue.front_mut() else {
                if this.ended {
                    return Poll::Ready(Ok(()));
                }
                pipe.reader = Some(context.waker().clone());
                return Poll::Pending;
            };
            if first.at > now {
                let at = first.at;
                pipe.reader = Some(context.waker().clone());
                drop(pipe);
                let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
                if sleep.deadline() != at {
                    sleep.as_mut().reset(at);
                }
                std::task::ready!(sleep.as_mut().poll(context));
                this.sleep = None;
                continue;
            }
            let (from, to) = (this.peer, this.host);
            let mut net = this.net.0.net.lock();
            let link = net.link(from, to);
            if link.conditions.cut {
                link.waiting.push(context.waker().clone());
                net.counts.cut += 1;
                return Poll::Pending;
            }
            // It met the cut: it comes when it is sent again.
            if let Some(healed) = link.healed.filter(|healed| first.at < *healed && first.sent < *healed)
                && let Some(again) = link.again(first.sent).filter(|again| *again > healed)
            {
                first.at = again.max(now);
                first.sent = healed;
                let at = first.at;
                pipe.last = pipe.last.map(|last| last.max(at));
                continue;
            }
            match &mut first.item {
                Item::Data(bytes) => {
                    let count = bytes.len().min(buffer.remaining());
                    buffer.put_slice(&bytes[..count]);
                    bytes.advance(count);
                    let whole = bytes.is_empty();
                    pipe.bytes -= count;
                    if whole {
                        pipe.queue.pop_front();
                        net.counts.delivered += 1;
                    }
                    if let Some(writer) = pipe.writer.take() {
                        writer.wake();
                    }
                    drop((pipe, net));
                    if whole {
                        this.net.0.trace.note("data", from as u64, to as u64, 0);
                    }
                    return Poll::Ready(Ok(()));
                }
                Item::End => {
                    this.ended = true;
                    pipe.queue.pop_front();
                    return Poll::Ready(Ok(()));
                }
                // It stays: whoever reads again learns it again.
                Item::Reset => {
                    let mut outgoing = this.outgoing.lock();
                    outgoing.reset = true;
                    if let Some(writer) = outgoing.writer.take() {
                        writer.wake();
                    }
                    return Poll::Ready(Err(broken()));
                }
            }
        }
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        std::task::ready!(this.usable(context))?;
        let mut pipe = this.outgoing.lock();
        if pipe.reset {
            return Poll::Ready(Err(broken()));
        }
        if pipe.bytes >= WINDOW {
            pipe.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = bytes.len().min(WINDOW - pipe.bytes);
        let (from, to) = (this.host, this.peer);
        let mut net = this.net.0.net.lock();
        let at = net.arrival(from, to, count);
        drop(net);
        pipe.push(Item::Data(Bytes::copy_from_slice(&bytes[..count])), Instant::now(), at);
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().finish();
        Poll::Ready(Ok(()))
    }
}

impl SimStream {
    /// Nothing more is written.
    fn finish(&mut self) {
        let own = self.outgoing.lock().from.1;
        let mut net = self.net.0.net.lock();
        // A process that is gone says nothing more; its kernel did.
        if net.hosts[self.host].incarnation != own {
            return;
        }
        let at = net.arrival(self.host, self.peer, 0);
        drop(net);
        let mut pipe = self.outgoing.lock();
        if !pipe.reset {
            pipe.push(Item::End, Instant::now(), at);
        }
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.finish();
    }
}
