//! The worker looks at itself: its images and its pressures may change while a session lasts.

use std::sync::Arc;

use kontiki_proto::worker::NodeInfo;
use tokio::sync::mpsc;
use tokio::sync::watch::Sender;
pub(super) use tokio::sync::watch::channel;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::aside::aside;
use super::config::AgentConfig;
use super::crew::Command;
use super::eviction::Evictor;
use super::node;
use super::pressure::{Settling, Shortage};
use crate::pod::host::Host;

/// Tells how the node is whenever that has changed, and does something about what it is short of.
pub(super) async fn node(
    config: AgentConfig,
    host: Arc<Host>,
    crew: mpsc::Sender<Command>,
    told: Sender<NodeInfo>,
) {
    let Some(watch) = config.limits.watch.clone() else { return };
    let runtime = host.runtime.clone();
    let mut settling = Settling::default();
    let mut evictor = Evictor::new(crew, runtime.clone(), config.clone(), watch.clone());
    let mut ticks = interval(watch.period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (bounds, places) = (watch.bounds.clone(), watch.places.clone());
        let (config, runtime) = (config.clone(), runtime.clone());
        let clock = config.clock;
        let looked = aside(&clock, move || {
            let info = node::info(&config, &*runtime);
            (info, bounds.hard.measure(&places), bounds.soft.measure(&places))
        });
        let Ok((mut fresh, hard, soft)) = looked.await else { continue };
        let now = Instant::now();
        let measured: Vec<&str> = hard.iter().chain(&soft).map(Shortage::condition).collect();
        fresh.pressures = settling.told(&measured, now, watch.bounds.transition);
        host.admission.press(&fresh.pressures);
        fresh.shutting_down = host.admission.leaves();
        told.send_if_modified(|known| {
            if known.pressures != fresh.pressures {
                match fresh.pressures.as_slice() {
                    [] => info!("this worker is under pressure no more"),
                    pressures => warn!("this worker is under pressure: {}", pressures.join(", ")),
                }
            }
            let changed = *known != fresh;
            *known = fresh;
            changed
        });
        evictor.relieve(hard, soft, now).await;
    }
}
