//! Making room: a worker that is short of something ends pods until it is not, one at a time, those first that take
//! more than they asked for.
//!
//! ```text
//!   pressure (what is short) ─> images that nobody uses go ─> survey (what pods take) ─> rank (whose turn it is) ─> crew
//! ```
//!
//! Source: Kubernetes' "Node-pressure Eviction" and pkg/kubelet/eviction. Critical pods are never ended.

mod patience;
mod rank;
mod survey;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::warn;

use super::aside::aside;
use super::config::{AgentConfig, Watch};
use super::crew::Command;
use super::layout::Layout;
use super::pressure::{Shortage, Signal};
use crate::pod::tenant::{EVICTED, Eviction, Tenant};
use crate::runtime::Runtime;
use patience::Patience;

/// What a pod gets when the worker cannot wait, as by the kubelet.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The room of one pod is waited for that long before the next one is ended.
const ROOM_COMES: Duration = Duration::from_secs(30);

/// Ends pods when the worker is short of something.
pub(super) struct Evictor {
    crew: mpsc::Sender<Command>,
    runtime: Arc<dyn Runtime>,
    config: AgentConfig,
    watch: Watch,
    patience: Patience,
    /// Whose room is waited for.
    last: Option<(String, Instant)>,
}

impl Evictor {
    pub(super) fn new(
        crew: mpsc::Sender<Command>,
        runtime: Arc<dyn Runtime>,
        config: AgentConfig,
        watch: Watch,
    ) -> Evictor {
        Evictor { crew, runtime, config, watch, patience: Patience::default(), last: None }
    }

    /// Does something about what the worker is short of, if its time has come.
    pub(super) async fn relieve(&mut self, hard: Vec<Shortage>, soft: Vec<Shortage>, now: Instant) {
        let Some((shortage, grace)) = self.patience.over(hard, soft, &self.watch.bounds, now) else { return };
        let Some(tenants) = self.tenants().await else { return };
        if let Some((uid, since)) = &self.last
            && now.saturating_duration_since(*since) < ROOM_COMES
            && tenants.iter().any(|tenant| tenant.pod.metadata.uid == *uid && tenant.stays)
        {
            return;
        }
        if shortage.signal.is_of_disk() && self.reclaimed(shortage.signal).await {
            return;
        }
        self.evict(&shortage, grace, tenants, now).await;
    }

    async fn tenants(&self) -> Option<Vec<Tenant>> {
        let (answer, tenants) = oneshot::channel();
        self.crew.send(Command::Tenants(answer)).await.ok()?;
        tenants.await.ok()
    }

    /// Whether it is enough to remove the images that nobody uses. Where images have a disk of their own, that gives none of
    /// the other's room.
    async fn reclaimed(&self, signal: Signal) -> bool {
        let (runtime, watch) = (self.runtime.clone(), self.watch.clone());
        let done = aside(&self.config.clock, move || {
            if signal.is_of_data() && !watch.places.are_one() {
                return false;
            }
            if let Err(error) = runtime.free_images(u64::MAX, watch.images.unused_for) {
                warn!(error, "images cannot be removed");
            }
            let still = watch.bounds.hard.measure(&watch.places);
            let softly = watch.bounds.soft.measure(&watch.places);
            !still.iter().chain(&softly).any(|shortage| shortage.signal == signal)
        });
        done.await.unwrap_or(false)
    }

    async fn evict(
        &mut self,
        shortage: &Shortage,
        grace: Option<Duration>,
        tenants: Vec<Tenant>,
        now: Instant,
    ) {
        let (runtime, layout) = (self.runtime.clone(), Layout::new(&self.config.data_dir));
        let signal = shortage.signal;
        let surveyed =
            aside(&self.config.clock, move || survey::survey(tenants, signal, &*runtime, &layout)).await;
        let Ok(mut pods) = surveyed else { return };
        let resource = signal.resource();
        rank::order(&mut pods, signal);
        let Some(first) = pods.first() else {
            return warn!("this worker is short of {resource}, and has no pod that it may end for that");
        };
        let message = rank::message(first, shortage);
        let pod = &first.pod;
        let own = Duration::from_secs(u64::try_from(pod.grace_seconds()).unwrap_or(0));
        let grace = grace.map_or(AT_ONCE, |most| most.min(own).max(AT_ONCE));
        warn!(pod = %pod.metadata.name, namespace = %pod.metadata.namespace, "evicted: {message}");
        let uid = pod.metadata.uid.clone();
        self.last = Some((uid.clone(), now));
        let eviction = Eviction { reason: EVICTED.to_owned(), message, grace, disrupts: true };
        self.crew.send(Command::Evict(uid, eviction)).await.ok();
    }
}
