//! Dialing the other controllers, and knowing who calls: the consensus' two questions to the certificates.

use std::{sync::Arc, time::Duration};

use kontiki_pki::{DialOptions, Dialer, Identity, Peer, Role};
use kontiki_raft::{Caller, CallerOf, MemberInfo, PeerDialer, Purpose};
use tonic::transport::Channel;

/// Dials by identity: whoever answers at the address must be the controller with that number.
pub(super) struct Peers {
    identity: Identity,
    dialer: Dialer,
}

impl Peers {
    /// Dials with this certificate.
    pub(super) fn new(identity: Identity) -> Peers {
        Peers { dialer: Dialer::new(&identity), identity }
    }
}

impl PeerDialer for Peers {
    fn channel(&self, peer: &MemberInfo, _purpose: Purpose) -> Channel {
        let options = DialOptions { connect_timeout: Duration::from_millis(500), ..DialOptions::default() };
        self.dialer.channel(&peer.address, self.identity.controller_server_name(Some(peer.id)), options)
    }
}

/// Reads the caller from the certificate that the accept loop left with the request.
pub(super) fn caller_of() -> CallerOf {
    Arc::new(|extensions| {
        let peer = extensions.get::<Peer>()?;
        Some(Caller {
            cluster: peer.cluster.clone(),
            controller: peer.node_id.filter(|_| peer.role == Role::Controller),
            name: peer.name.clone(),
        })
    })
}
