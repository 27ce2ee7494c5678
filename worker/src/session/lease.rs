//! The lease: how long pods that must never run twice may go on without a word from the leader.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::agent::crew::Command;

#[derive(Clone, Copy, Debug)]
struct Contact {
    at: Instant,
    lease: Option<Duration>,
}

/// The lease. Without one, as before the first session ever, nothing runs out.
#[derive(Debug)]
pub(super) struct Lease {
    contact: watch::Sender<Contact>,
}

impl Lease {
    /// Begins now: a worker that restarts does not know when it was last in touch.
    pub(super) fn new(lease: Option<Duration>) -> Lease {
        Lease { contact: watch::Sender::new(Contact { at: Instant::now(), lease }) }
    }

    /// The leader has granted a lease of this length.
    pub(super) fn grant(&self, lease: Duration) {
        self.contact.send_modify(|contact| contact.lease = Some(lease).filter(|lease| !lease.is_zero()));
    }

    /// The leader has answered what was sent at that time: the lease counts from then, not from the answer.
    pub(super) fn renew(&self, sent: Instant) {
        self.contact.send_modify(|contact| contact.at = contact.at.max(sent));
    }

    /// Tells the crew, each time that the lease has run out.
    pub(super) fn watch(&self, crew: mpsc::Sender<Command>) -> impl Future<Output = ()> + use<> {
        let mut contact = self.contact.subscribe();
        async move {
            loop {
                let Contact { at, lease } = *contact.borrow_and_update();
                let ran_out = async {
                    match lease {
                        Some(lease) => tokio::time::sleep_until(at + lease).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = contact.changed() => {
                        if changed.is_err() {
                            return;
                        }
                    }
                    () = ran_out => {
                        tracing::warn!(?lease, "no controller was reached within the lease: exclusive pods are stopped");
                        if crew.send(Command::LeaseLost).await.is_err() || contact.changed().await.is_err() {
                            return;
                        }
                    }
                }
            }
        }
    }
}
