//! What a pod takes of the disk is measured while it runs; one that takes more than it may is ended, as in Kubernetes.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::disk_limits::DiskLimits;
use super::document::Pod;
use super::host::Host;
use super::inbox::Inbox;
use super::observed::Observed;
use super::tenant::{EVICTED, Eviction};
use crate::agent::aside::aside;

/// How often it is measured, as by the kubelet.
const PERIOD: Duration = Duration::from_secs(10);

/// What a pod gets that takes more than it may, as by the kubelet.
const GRACE: Duration = Duration::from_secs(1);

/// Who measures what a pod takes, while its sandbox runs.
#[derive(Default)]
pub(super) struct Watch(Option<AbortOnDropHandle<()>>);

impl Watch {
    /// Begins to measure, or ends it. A critical pod is ended for nothing that it takes, as by the kubelet.
    pub(super) fn tend(&mut self, host: &Arc<Host>, inbox: &Arc<Inbox>, pod: &Arc<Pod>, seen: &Observed) {
        let runs = seen.sandbox && seen.estranged.is_none() && seen.stop_by_ms().is_none();
        if !runs || pod.is_critical() {
            self.0 = None;
        } else if self.0.is_none() {
            let limits = DiskLimits::of(pod);
            if !limits.is_empty() {
                let task = measure(host.clone(), inbox.clone(), pod.clone(), Arc::new(limits));
                self.0 = Some(AbortOnDropHandle::new(tokio::spawn(task)));
            }
        }
    }
}

async fn measure(host: Arc<Host>, inbox: Arc<Inbox>, pod: Arc<Pod>, limits: Arc<DiskLimits>) {
    loop {
        let (of, pod, limits) = (host.clone(), pod.clone(), limits.clone());
        let found = aside(&host.clock, move || limits.exceeded(&pod, &of.layout, &*of.runtime));
        if let Ok(Some(message)) = found.await {
            let reason = EVICTED.to_owned();
            let eviction = Eviction { reason, message, grace: GRACE, disrupts: false };
            return inbox.tell(|news| news.evicted = Some(eviction));
        }
        tokio::time::sleep(PERIOD).await;
    }
}
