//! The consensus has threads of its own: what clients and workers ask for, thousands of them at once, runs on others, and a heartbeat never
//! waits for it. Where the operating system allows it, these threads also go before all others of this machine.

use std::{io, sync::Arc};

use kontiki_pki::{Dialer, Identity};
use kontiki_raft::{MemberInfo, PeerDialer, Purpose};
use tokio::runtime::{Builder, Handle, Runtime};
use tonic::transport::Channel;

use super::peers::{Dial, Peers};

/// One that folds does not hold up the other.
const THREADS: usize = 2;
/// As a nice value, which only root and CAP_SYS_NICE may lower.
const PRIORITY: i32 = -10;

/// The consensus' own runtime.
pub(super) struct Lane(Option<Runtime>);

impl Lane {
    /// Starts the threads.
    pub(super) fn start() -> io::Result<Lane> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("consensus")
            .on_thread_start(|| {
                // None is the calling thread. Without the right to do it, it stays as it is.
                if let Err(error) = rustix::process::setpriority_process(None, PRIORITY) {
                    tracing::debug!(%error, "the consensus has no priority on this machine");
                }
            })
            .enable_all()
            .build()?;
        Ok(Lane(Some(runtime)))
    }

    /// For those who run something in it.
    pub(super) fn handle(&self) -> Handle {
        self.0.as_ref().expect("it is there until it is dropped").handle().clone()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Within another runtime, its end cannot be waited for.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Dials other controllers for the consensus: both ends of the connection live in the lane. Snapshots are large and have time.
pub(super) struct LanePeers {
    lane: Handle,
    urgent: Peers,
    others: Peers,
}

impl LanePeers {
    /// Dials with this certificate.
    pub(super) fn new(lane: Handle, identity: &Identity) -> Arc<LanePeers> {
        let urgent = Peers::by(Dialer::of_lane(identity), identity.clone());
        Arc::new(LanePeers { lane, urgent, others: Peers::new(identity.clone()) })
    }
}

impl PeerDialer for LanePeers {
    fn channel(&self, peer: &MemberInfo, purpose: Purpose) -> Channel {
        // A channel lives where it is made, and reads are confirmed on behalf of others.
        let _lane = self.lane.enter();
        match purpose {
            Purpose::Snapshot => self.others.controller(peer),
            _ => self.urgent.controller(peer),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn it_has_threads_of_its_own_and_can_end_anywhere() {
        let lane = Lane::start().unwrap();
        let name = lane.handle().spawn(async { std::thread::current().name().map(str::to_owned) });
        assert_eq!(name.await.unwrap().as_deref(), Some("consensus"));
        drop(lane);
    }
}
