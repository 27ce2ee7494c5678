//! A simulated network: hosts with addresses, connections that carry bytes in order, and links between hosts that are slow, lossy or
//! cut. What TCP makes of loss is delay: bytes come late, never doubled and never overtaken. Below a cut connection the
//! sender tries again at growing intervals, as a kernel does; a process that dies breaks its connections, a host without power
//! says nothing at all.

mod connection;
mod host;
mod http2;
mod link;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use connection::SimStream;
use connection::{Item, Pipe};
use host::Host;
pub use http2::{Executor, dial, serve};
pub use link::Conditions;
use link::Link;

use crate::trace::Trace;

/// A host by number.
pub type HostId = usize;

/// The first pause before a lost connection request is sent again; it doubles.
const SYN_AGAIN: Duration = Duration::from_secs(1);

/// The network. Cheap to clone.
#[derive(Clone)]
pub struct SimNet(Arc<Shared>);

struct Shared {
    net: Mutex<Net>,
    trace: Trace,
}

struct Net {
    hosts: Vec<Host>,
    links: BTreeMap<(HostId, HostId), Link>,
    listeners: BTreeMap<String, Listening>,
    pipes: Vec<std::sync::Weak<Mutex<Pipe>>>,
    sweep_at: usize,
    random: StdRng,
    counts: Counts,
}

struct Listening {
    host: HostId,
    incarnation: u64,
    accepted: mpsc::UnboundedSender<SimStream>,
}

/// What went over the network, and what did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pieces of data that arrived.
    pub delivered: u64,
    /// Pieces that were lost once and sent again.
    pub lost: u64,
    /// Pieces that met a cut link.
    pub cut: u64,
    /// Connections that were refused or reset.
    pub broken: u64,
}

impl SimNet {
    /// A network without hosts.
    pub fn new(seed: u64, trace: Trace) -> SimNet {
        let net = Net {
            hosts: Vec::new(),
            links: BTreeMap::new(),
            listeners: BTreeMap::new(),
            pipes: Vec::new(),
            sweep_at: 64,
            random: StdRng::seed_from_u64(seed),
            counts: Counts::default(),
        };
        SimNet(Arc::new(Shared { net: Mutex::new(net), trace }))
    }

    /// A new host. Its links to the others are those of a local network until they are changed.
    pub fn host(&self, name: &str) -> HostId {
        let mut net = self.0.net.lock();
        net.hosts.push(Host::new(name));
        net.hosts.len() - 1
    }

    /// Listens at an address.
    pub fn listen(&self, host: HostId, address: &str) -> mpsc::UnboundedReceiver<SimStream> {
        let (accepted, incoming) = mpsc::unbounded_channel();
        let mut net = self.0.net.lock();
        let incarnation = net.hosts[host].incarnation;
        net.listeners.insert(address.into(), Listening { host, incarnation, accepted });
        incoming
    }

    /// Connects to an address, as a kernel does: it asks again while nobody answers, so the caller sets a limit.
    pub async fn connect(&self, from: HostId, address: &str) -> io::Result<SimStream> {
        let mut again = SYN_AGAIN;
        let incarnation = self.0.net.lock().hosts[from].incarnation;
        loop {
            match self.attempt(from, address) {
                Some(round_trip) => {
                    tokio::time::sleep(round_trip).await;
                    return self.open(from, incarnation, address);
                }
                None => {
                    tokio::time::sleep(again).await;
                    again *= 2;
                }
            }
        }
    }

    /// How long a connection request takes to be answered; none if nothing answers.
    fn attempt(&self, from: HostId, address: &str) -> Option<Duration> {
        let mut net = self.0.net.lock();
        // An address that nobody ever had is refused by a host that is near.
        let Some(to) = net.listeners.get(address).map(|listening| listening.host) else {
            return Some(Duration::from_micros(200));
        };
        let out = net.link(from, to).conditions;
        let back = net.link(to, from).conditions;
        if out.cut || back.cut || net.hosts[to].dark {
            net.counts.cut += 1;
            return None;
        }
        let net = &mut *net;
        Some(out.delay(&mut net.random) + back.delay(&mut net.random))
    }

    fn open(&self, from: HostId, incarnation: u64, address: &str) -> io::Result<SimStream> {
        let mut net = self.0.net.lock();
        if net.hosts[from].incarnation != incarnation {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "this process is gone"));
        }
        let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused");
        let alive = net.listeners.get(address).filter(|listening| {
            net.hosts[listening.host].incarnation == listening.incarnation && !net.hosts[listening.host].dark
        });
        let Some((to, accepted)) = alive.map(|listening| (listening.host, listening.accepted.clone())) else {
            net.counts.broken += 1;
            self.0.trace.note("refused", from as u64, 0, 0);
            return Err(refused());
        };
        let remote = net.hosts[to].incarnation;
        let out = Arc::new(Mutex::new(Pipe::new((from, incarnation), (to, remote))));
        let back = Arc::new(Mutex::new(Pipe::new((to, remote), (from, incarnation))));
        net.keep(&out);
        net.keep(&back);
        drop(net);
        self.0.trace.note("connected", from as u64, to as u64, 0);
        let here = SimStream::new(self.clone(), from, to, back.clone(), out.clone());
        let there = SimStream::new(self.clone(), to, from, out, back);
        accepted.send(there).map_err(|_| refused())?;
        Ok(here)
    }

    /// Changes what a direction of a link is like.
    pub fn change_link(&self, from: HostId, to: HostId, change: impl FnOnce(&mut Conditions)) {
        let mut net = self.0.net.lock();
        let wakers = net.link(from, to).change(change);
        drop(net);
        for waker in wakers {
            waker.wake();
        }
    }

    /// What a direction of a link is like.
    pub fn link(&self, from: HostId, to: HostId) -> Conditions {
        self.0.net.lock().link(from, to).conditions
    }

    /// The process on this host dies: its kernel breaks its connections.
    pub fn crash(&self, host: HostId) {
        self.end(host, false);
    }

    /// The host loses its power: nobody is told.
    pub fn power_cut(&self, host: HostId) {
        self.end(host, true);
    }

    fn end(&self, host: HostId, dark: bool) {
        let mut net = self.0.net.lock();
        net.hosts[host].incarnation += 1;
        net.hosts[host].dark = dark;
        let mut wakers = std::mem::take(&mut net.hosts[host].waiting);
        if !dark {
            wakers.extend(net.reset(host, false));
        }
        drop(net);
        for waker in wakers {
            waker.wake();
        }
    }

    /// The host has power again; connections from before are unknown to it, which it says when it hears of them.
    pub fn power_on(&self, host: HostId) {
        let mut net = self.0.net.lock();
        let was_dark = std::mem::replace(&mut net.hosts[host].dark, false);
        let wakers = if was_dark { net.reset(host, false) } else { Vec::new() };
        drop(net);
        for waker in wakers {
            waker.wake();
        }
    }

    /// Breaks all connections of a host that lives.
    pub fn reset(&self, host: HostId) {
        let wakers = self.0.net.lock().reset(host, true);
        for waker in wakers {
            waker.wake();
        }
    }

    /// The process on this host does not read or write for now.
    pub fn hold(&self, host: HostId, held: bool) {
        let mut net = self.0.net.lock();
        net.hosts[host].held = held;
        let wakers = std::mem::take(&mut net.hosts[host].waiting);
        drop(net);
        for waker in wakers {
            waker.wake();
        }
    }

    /// What went over it.
    pub fn counts(&self) -> Counts {
        self.0.net.lock().counts
    }
}

impl Net {
    fn link(&mut self, from: HostId, to: HostId) -> &mut Link {
        self.links.entry((from, to)).or_default()
    }

    fn keep(&mut self, pipe: &Arc<Mutex<Pipe>>) {
        if self.pipes.len() >= self.sweep_at {
            self.pipes.retain(|pipe| pipe.strong_count() > 0);
            self.sweep_at = 2 * self.pipes.len() + 64;
        }
        self.pipes.push(Arc::downgrade(pipe));
    }

    /// Tells the other ends of a host's connections that they are broken, and its own if it still has them.
    fn reset(&mut self, host: HostId, own: bool) -> Vec<std::task::Waker> {
        let mut wakers = Vec::new();
        let now = Instant::now();
        for pipe in self.pipes.clone().iter().filter_map(std::sync::Weak::upgrade) {
            let mut pipe = pipe.lock();
            let (from, to) = (pipe.from.0, pipe.to.0);
            if from != host && !(own && to == host) {
                continue;
            }
            self.counts.broken += 1;
            let delay = self.link(from, to).conditions;
            let at = now + delay.delay(&mut self.random);
            pipe.push(Item::Reset, now, at);
            wakers.extend(pipe.reader.take());
        }
        wakers
    }
}

impl Net {
    /// When a piece of data that is sent now arrives.
    fn arrival(&mut self, from: HostId, to: HostId, bytes: usize) -> Instant {
        let conditions = self.link(from, to).conditions;
        let mut delay = conditions.delay(&mut self.random);
        if conditions.loss_per_mille > 0 && self.random.random_ratio(conditions.loss_per_mille.min(999), 1000)
        {
            self.counts.lost += 1;
            // What follows it tells the sender soon that it is missing, or only silence does.
            delay += match self.random.random_bool(0.5) {
                true => 2 * conditions.delay(&mut self.random),
                false => link::RETRANSMIT,
            };
        }
        // In whole kilobytes, so that a few bytes more or less do not change the order of events. 0: no bound.
        let kib = bytes.div_ceil(1024) as u64 * 1024;
        if let Some(micros) = (kib * 1_000_000).checked_div(conditions.bytes_per_second) {
            delay += Duration::from_micros(micros);
        }
        Instant::now() + delay
    }
}
