//! Reaching other controllers and workers, and knowing who calls: the two questions that are put to certificates.

use std::{sync::Arc, time::Duration};

use kontiki_pki::{DialOptions, Dialer, Identity, Peer, Role};
use kontiki_raft::{Caller, CallerOf, MemberInfo};
use tonic::transport::Channel;

/// A controller that does not accept within this time counts as unreachable.
const CONNECT: Duration = Duration::from_millis(500);

/// Reaches others. A trait, so that a simulation can reach them through its own network.
pub trait Dial: Send + Sync + 'static {
    /// A connection to that controller, and to no other one at its address.
    fn controller(&self, member: &MemberInfo) -> Channel;

    /// A connection to the node's own service at `host:port`; the error is why there cannot be one.
    fn worker(&self, node: &str, address: &str) -> Result<Channel, String>;
}

/// By TLS and identity: whoever answers at the address must be the controller with that number.
pub(super) struct Peers {
    identity: Identity,
    dialer: Dialer,
}

impl Peers {
    /// Dials with this certificate.
    pub(super) fn new(identity: Identity) -> Peers {
        Peers::by(Dialer::new(&identity), identity)
    }

    /// By this dialer.
    pub(super) fn by(dialer: Dialer, identity: Identity) -> Peers {
        Peers { identity, dialer }
    }
}

impl Dial for Peers {
    fn controller(&self, member: &MemberInfo) -> Channel {
        let options = DialOptions { connect_timeout: CONNECT, ..DialOptions::default() };
        self.dialer.channel(&member.address, self.identity.controller_server_name(Some(member.id)), options)
    }

    fn worker(&self, node: &str, address: &str) -> Result<Channel, String> {
        let name = self.identity.worker_server_name(node).map_err(|e| format!("node {node:?}: {e}"))?;
        Ok(self.dialer.channel(address, name, DialOptions::default()))
    }
}

/// Reads the caller from the certificate that the accept loop left with the request.
pub fn caller_of() -> CallerOf {
    Arc::new(|extensions| {
        let peer = extensions.get::<Peer>()?;
        Some(Caller {
            cluster: peer.cluster.clone(),
            controller: peer.node_id.filter(|_| peer.role == Role::Controller),
            name: peer.name.clone(),
        })
    })
}
