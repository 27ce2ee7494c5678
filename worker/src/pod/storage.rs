//! The pod's volumes on disk are measured while it runs; one that grew beyond its limit ends the pod, as in Kubernetes.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use super::document::Pod;
use super::host::Host;
use super::inbox::Inbox;
use super::observed::Observed;
use super::tenant::Eviction;
use crate::agent::aside::aside;
use crate::volume;

/// How often volumes are measured, as by the kubelet.
const PERIOD: Duration = Duration::from_secs(10);

/// What a pod gets that takes more than it may, as by the kubelet.
const GRACE: Duration = Duration::from_secs(1);

/// Who measures a pod's volumes, while its sandbox runs.
#[derive(Default)]
pub(super) struct Watch(Option<AbortOnDropHandle<()>>);

impl Watch {
    /// Begins to measure, or ends it.
    pub(super) fn tend(&mut self, host: &Arc<Host>, inbox: &Arc<Inbox>, pod: &Arc<Pod>, seen: &Observed) {
        let limits = volume::disk_limits(pod);
        let wanted =
            seen.sandbox && seen.estranged.is_none() && seen.stop_by_ms().is_none() && !limits.is_empty();
        match (wanted, &self.0) {
            (true, None) => {
                let task = measure(host.clone(), inbox.clone(), pod.clone(), limits);
                self.0 = Some(AbortOnDropHandle::new(tokio::spawn(task)));
            }
            (false, Some(_)) => self.0 = None,
            _ => {}
        }
    }
}

async fn measure(host: Arc<Host>, inbox: Arc<Inbox>, pod: Arc<Pod>, limits: Vec<(String, u64, String)>) {
    let folder = host.layout.volumes(&pod.metadata.uid);
    loop {
        let (folder, limits) = (folder.clone(), limits.clone());
        let found = aside(&host.clock, move || {
            limits.into_iter().find_map(|(name, most, written)| {
                match volume::size(&folder.join(&name)).map(|size| size.bytes) {
                    Ok(bytes) => (bytes > most).then(|| volume::exceeded(&name, &written)),
                    Err(error) => {
                        warn!(volume = name, %error, "a volume cannot be measured");
                        None
                    }
                }
            })
        });
        if let Ok(Some(message)) = found.await {
            let eviction = Eviction { message, grace: GRACE, disrupts: false };
            return inbox.tell(|news| news.evicted = Some(eviction));
        }
        tokio::time::sleep(PERIOD).await;
    }
}
