//! The machine goes down: the worker says so, takes no more pods, and ends those that it has, the critical ones last, so that others
//! are served as long as can be. Then it ends itself.
//!
//! Source: Kubernetes' "Graceful node shutdown" and pkg/kubelet/nodeshutdown.

use std::sync::Arc;
use std::time::Duration;

use kontiki_proto::worker::NodeInfo;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::crew::Command;
use crate::pod::host::Host;
use crate::pod::tenant::{Eviction, Tenant};

/// The kubelet's words.
const REASON: &str = "Terminated";
const MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";
/// Between two looks at who is still there.
const LOOK: Duration = Duration::from_millis(100);
/// What containers that were killed at the end of their time take to be gone.
const KILLED: Duration = Duration::from_secs(2);
/// So long the leader has to hear how the pods have ended. Who is not heard is given up by it soon.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Less no pod gets.
const GRACE_MIN: Duration = Duration::from_secs(1);

/// How long pods get when the machine goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownGrace {
    /// All of them together.
    pub all: Duration,
    /// Of that, what is kept for those of the system's priority classes.
    pub critical: Duration,
}

/// When a machine goes down, and how much time there is then.
#[derive(Clone, Debug)]
pub struct Departure {
    /// Cancelled when it does.
    pub going_down: CancellationToken,
    /// The time that there is.
    pub grace: ShutdownGrace,
}

impl Departure {
    /// Waits until the machine goes down, ends the pods, and then the agent by `shutdown`.
    pub(super) async fn watch(
        self,
        crew: mpsc::Sender<Command>,
        host: Arc<Host>,
        node: watch::Sender<NodeInfo>,
        shutdown: CancellationToken,
    ) {
        self.going_down.cancelled().await;
        info!("the machine goes down: its pods are ended, and this worker then");
        host.admission.leave();
        node.send_if_modified(|node| !std::mem::replace(&mut node.shutting_down, true));
        end_pods(&crew, self.grace).await;
        let heard = async {
            while !host.outbox.is_empty() {
                sleep(LOOK).await;
            }
        };
        if timeout(LAST_WORDS, heard).await.is_err() {
            warn!("no leader has heard of the end of all pods");
        }
        shutdown.cancel();
    }
}

/// Ends all pods in order; those that do not end in their time are killed.
pub(crate) async fn end_pods(crew: &mpsc::Sender<Command>, grace: ShutdownGrace) {
    let usual = grace.all.saturating_sub(grace.critical);
    for (critical, time) in [(false, usual), (true, grace.critical)] {
        let time = time.max(GRACE_MIN);
        let begun = Instant::now();
        for tenant in there(crew, critical).await.iter().filter(|tenant| !tenant.ends) {
            let own = Duration::from_secs(u64::try_from(tenant.pod.grace_seconds()).unwrap_or(0));
            let eviction = Eviction {
                reason: REASON.to_owned(),
                message: MESSAGE.to_owned(),
                grace: own.clamp(GRACE_MIN, time),
                disrupts: true,
            };
            crew.send(Command::Evict(tenant.pod.metadata.uid.clone(), eviction)).await.ok();
        }
        while there(crew, critical).await.iter().any(|tenant| tenant.stays) {
            if begun.elapsed() > time + KILLED {
                warn!(critical, "pods take longer to end than there is time");
                break;
            }
            sleep(LOOK).await;
        }
    }
}

/// The pods that are critical, or the others.
async fn there(crew: &mpsc::Sender<Command>, critical: bool) -> Vec<Tenant> {
    let (answer, tenants) = oneshot::channel();
    if crew.send(Command::Tenants(answer)).await.is_err() {
        return Vec::new();
    }
    let mut tenants = tenants.await.unwrap_or_default();
    tenants.retain(|tenant| tenant.pod.is_critical() == critical);
    tenants
}
