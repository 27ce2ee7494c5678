//! The port that the controllers of one machine share (SO_REUSEPORT): the kernel gives a connection to any of those that
//! listen, so a controller that knows it cannot serve must not.

use std::{future::Future, net::SocketAddr, time::Duration};

use anyhow::Context;
use kontiki_raft::Room;
use tokio::{net::TcpListener, sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

/// The pause before an address that could not be had back is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// The shared port, open.
pub(super) struct Front {
    address: SocketAddr,
    listener: TcpListener,
}

impl Front {
    pub(super) fn open(address: SocketAddr) -> anyhow::Result<Front> {
        let listener = kontiki_pki::bind(address, true)
            .with_context(|| format!("cannot listen on the shared address {address}"))?;
        Ok(Front { address, listener })
    }

    /// Serves until the shutdown, and leaves the port to the others while the disk is full: this controller's state then
    /// stands still, and most requests would be refused. Connections are ended in order, so that their clients go on elsewhere.
    pub(super) async fn run<F>(
        self,
        mut room: watch::Receiver<Room>,
        serve: impl Fn(TcpListener, CancellationToken) -> F,
        shutdown: CancellationToken,
    ) where
        F: Future<Output = ()>,
    {
        let mut listener = Some(self.listener);
        loop {
            let has_room = async {
                // Without a sender the node has ended, and so has the process almost.
                let _ = room.wait_for(|room| *room != Room::None).await;
            };
            tokio::select! { () = shutdown.cancelled() => return, () = has_room => {} }
            let open = match listener.take().map_or_else(|| kontiki_pki::bind(self.address, true), Ok) {
                Ok(open) => open,
                Err(error) => {
                    tracing::warn!(address = %self.address, %error, "the shared address cannot be had back yet");
                    tokio::select! { () = shutdown.cancelled() => return, () = sleep(AGAIN) => continue }
                }
            };
            let until = shutdown.child_token();
            let close = async {
                if room.wait_for(|room| *room == Room::None).await.is_err() {
                    shutdown.cancelled().await;
                }
                until.cancel();
            };
            tokio::join!(serve(open, until.clone()), async {
                tokio::select! { () = close => {}, () = until.cancelled() => {} }
            });
            if shutdown.is_cancelled() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts, and answers with one byte.
    async fn greet(listener: TcpListener, until: CancellationToken) {
        loop {
            tokio::select! {
                () = until.cancelled() => return,
                accepted = listener.accept() => drop(accepted),
            }
        }
    }

    async fn until_connects(address: SocketAddr, wanted: bool) {
        while tokio::net::TcpStream::connect(address).await.is_ok() != wanted {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn is_closed_while_the_disk_is_full_and_opened_again() {
        let front = Front::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = front.listener.local_addr().unwrap();
        let front = Front { address, ..front };
        let (room, watched) = watch::channel(Room::Ample);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(front.run(watched, greet, shutdown.clone()));
        until_connects(address, true).await;
        room.send_replace(Room::Low);
        until_connects(address, true).await;
        room.send_replace(Room::None);
        until_connects(address, false).await;
        room.send_replace(Room::Ample);
        until_connects(address, true).await;
        shutdown.cancel();
        running.await.unwrap();
        until_connects(address, false).await;
    }
}
