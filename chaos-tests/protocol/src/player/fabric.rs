//! The network of a cluster: which host is what, who calls with which certificate, and what is between two of them.

use std::{sync::Arc, time::Duration};

use kontiki_chaos_plan::names;
use kontiki_pki::{Peer, Role};
use kontiki_raft::Scope;
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tonic::transport::Channel;

use crate::{
    controller::CLUSTER,
    network::{self, Conditions, HostId, SimNet},
};

/// A connection that is not there after this time is none.
const CONNECT: Duration = Duration::from_millis(500);

/// The network of one cluster. Hosts are numbered: controllers, workers, then clients.
pub struct Fabric {
    /// The simulated network.
    pub net: SimNet,
    controllers: u32,
    workers: u32,
    clients: u32,
    ids: Mutex<Vec<u64>>,
    random: Mutex<StdRng>,
}

impl Fabric {
    /// Hosts for all of them.
    pub fn new(net: SimNet, seed: u64, controllers: u32, workers: u32, clients: u32) -> Arc<Fabric> {
        let ids = Mutex::new((0..controllers).map(|n| u64::from(n) + 1).collect());
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        let fabric = Fabric { net, controllers, workers, clients, ids, random };
        for n in 0..fabric.hosts() {
            fabric.net.host(&fabric.name(n));
        }
        Arc::new(fabric)
    }

    /// How many hosts there are.
    pub fn hosts(&self) -> HostId {
        (self.controllers + self.workers + self.clients) as usize
    }

    /// A controller's host.
    pub fn controller(&self, n: u32) -> HostId {
        n as usize
    }

    /// A worker's host.
    pub fn worker(&self, n: u32) -> HostId {
        (self.controllers + n) as usize
    }

    /// A client's host.
    pub fn client(&self, n: u32) -> HostId {
        (self.controllers + self.workers + n % self.clients.max(1)) as usize
    }

    /// How many clients there are.
    pub fn clients(&self) -> u32 {
        self.clients
    }

    /// A controller has a new number in the consensus, and a certificate that says so.
    pub fn renumber(&self, controller: u32, id: u64) {
        self.ids.lock()[controller as usize] = id;
    }

    /// A host's name.
    pub fn name(&self, host: HostId) -> String {
        let n = host as u32;
        if n < self.controllers {
            names::controller(n)
        } else if n < self.controllers + self.workers {
            names::worker(n - self.controllers)
        } else {
            format!("client-{}", n - self.controllers - self.workers)
        }
    }

    /// The certificate that a host shows.
    pub fn certificate(&self, host: HostId) -> Peer {
        let n = host as u32;
        let (role, node_id, group) = if n < self.controllers {
            (Role::Controller, Some(self.ids.lock()[host]), "system:controllers")
        } else if n < self.controllers + self.workers {
            (Role::Worker, None, "system:nodes")
        } else {
            (Role::User, None, "system:masters")
        };
        Peer {
            cluster: CLUSTER.into(),
            role,
            name: self.name(host),
            node_id,
            groups: vec![group.into()],
            fingerprint: String::new(),
        }
    }

    /// Answers at an address, in a scope.
    pub fn serve(self: &Arc<Self>, host: HostId, address: &str, service: axum::Router, scope: &Scope) {
        let incoming = self.net.listen(host, address);
        let fabric = self.clone();
        network::serve(scope, incoming, service, move |peer, extensions| {
            extensions.insert(fabric.certificate(peer));
        });
    }

    /// A gRPC channel from a host to an address, whose tasks run in a scope. It connects when it is used.
    pub fn channel(&self, from: HostId, to: &str, scope: &Scope) -> Channel {
        network::dial(scope, &self.net, from, to, CONNECT)
    }

    /// How long a message from one to another takes that is sent now; none: it does not get through.
    pub fn delay(&self, from: HostId, to: HostId) -> Option<Duration> {
        let Conditions { cut, delay, jitter, loss_per_mille, .. } = self.net.link(from, to);
        let mut random = self.random.lock();
        let lost = random.random_range(0..1000) < loss_per_mille;
        let again = if lost { Duration::from_millis(200) } else { Duration::ZERO };
        (!cut).then(|| delay + jitter.mul_f64(random.random_range(0.0..=1.0)) + again)
    }
}
