//! The switch: takes every frame of the run and delivers it at once, later, twice, changed, or not at all.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use rand::{SeedableRng, rngs::StdRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{frame, link::Links, queue::fate};

/// Bursts wait in the kernel.
const BUFFER: usize = 8 << 20;
/// How often it looks whether it is still wanted.
const IDLE: Duration = Duration::from_millis(200);
const FRAME_MAX: usize = 9000;

/// The switch of a run.
pub(super) struct Switch {
    socket: UdpSocket,
    wire: SocketAddr,
    links: Arc<Links>,
    rng: StdRng,
    /// What waits, the earliest first; equal times in the order of arrival.
    waiting: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    count: u64,
}

impl Switch {
    /// Opens its socket in the namespace of this thread.
    pub(super) fn open(own: &str, wire: &str, links: Arc<Links>, seed: u64) -> anyhow::Result<Switch> {
        let socket = UdpSocket::bind((own, frame::UDP_PORT)).context("the switch's socket")?;
        let buffers = socket2::SockRef::from(&socket);
        buffers.set_recv_buffer_size(BUFFER)?;
        buffers.set_send_buffer_size(BUFFER)?;
        socket.set_nonblocking(true)?;
        let wire = SocketAddr::new(wire.parse()?, frame::UDP_PORT);
        let (rng, waiting) = (StdRng::seed_from_u64(seed), BinaryHeap::new());
        Ok(Switch { socket, wire, links, rng, waiting, count: 0 })
    }

    /// Until the run ends.
    pub(super) fn run(mut self) {
        let mut buffer = vec![0; FRAME_MAX];
        while !self.links.ended() {
            self.wait();
            self.deliver();
            // Not for ever: what is due must not wait for a burst to end.
            for _ in 0..64 {
                match self.socket.recv(&mut buffer) {
                    Ok(length) => self.take(&mut buffer[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // An earlier frame could not be delivered: its host is gone.
                    Err(_) => {}
                }
            }
        }
    }

    fn wait(&self) {
        let now = Instant::now();
        let until = self.waiting.peek().map_or(now + IDLE, |Reverse((at, _, _))| (*at).min(now + IDLE));
        let left = until.saturating_duration_since(now);
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        // Interrupted or not: whoever calls looks what is there.
        let _ = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&timeout));
    }

    fn take(&mut self, datagram: &mut [u8]) {
        let Some(link) = frame::route(datagram) else { return };
        frame::finish_checksum(datagram);
        frame::readdress(datagram, link.1);
        let now = Instant::now();
        for at in fate(&self.links, link, datagram, &mut self.rng) {
            if at <= now {
                let _ = self.socket.send_to(datagram, self.wire);
            } else {
                self.count += 1;
                self.waiting.push(Reverse((at, self.count, datagram.to_vec())));
            }
        }
    }

    fn deliver(&mut self) {
        let now = Instant::now();
        while self.waiting.peek().is_some_and(|Reverse((at, _, _))| *at <= now) {
            if let Some(Reverse((_, _, datagram))) = self.waiting.pop() {
                // A full buffer loses it, as any wire may.
                let _ = self.socket.send_to(&datagram, self.wire);
            }
        }
    }
}
