//! Images go when their disk gets full: the kubelet's image garbage collection.
//!
//! Source: Kubernetes' "Garbage Collection" and pkg/kubelet/images/image_gc_manager.go. One thing differs: what was loaded
//! from an archive stays, for no registry brings it back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::aside::aside;
use super::config::AgentConfig;
use super::pressure::{self, Room};
use crate::runtime::Runtime;

/// How often it is looked whether there is too little room, as by the kubelet.
const PERIOD: Duration = Duration::from_secs(300);

/// When images are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLimits {
    /// From this share of their disk on, in percent; 100 for never.
    pub high_percent: u8,
    /// Until the disk is no fuller than this.
    pub low_percent: u8,
    /// None that was used, pulled or loaded within this time.
    pub unused_for: Duration,
}

impl Default for ImageLimits {
    /// The kubelet's.
    fn default() -> ImageLimits {
        ImageLimits { high_percent: 85, low_percent: 80, unused_for: Duration::from_secs(120) }
    }
}

impl ImageLimits {
    /// Limits that do not contradict themselves, or what is wrong with them.
    pub fn checked(self) -> Result<ImageLimits, String> {
        let ImageLimits { high_percent: high, low_percent: low, .. } = self;
        match (high, low) {
            (101.., _) | (_, 101..) => Err("a share of a disk is 0 to 100 percent".to_owned()),
            _ if low >= high => {
                Err(format!("the low threshold ({low}) must be less than the high one ({high})"))
            }
            _ => Ok(self),
        }
    }

    /// How much must go of a disk with so much room: nothing while it is not too full.
    fn excess(&self, room: Room) -> u64 {
        let Room { available, capacity } = room;
        let share = |percent: u128| u64::try_from(u128::from(capacity) * percent / 100).unwrap_or(u64::MAX);
        let full = capacity > 0 && available <= share(100 - u128::from(self.high_percent.min(100)));
        if !full || self.high_percent >= 100 {
            return 0;
        }
        share(100 - u128::from(self.low_percent.min(100))).saturating_sub(available)
    }
}

/// Looks from time to time which images are used, and makes room when there is too little.
pub(super) async fn clear(config: AgentConfig, runtime: Arc<dyn Runtime>) {
    let Some(watch) = config.limits.watch.clone() else { return };
    let limits = watch.images;
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (runtime, images) = (runtime.clone(), watch.places.images.clone());
        let done = aside(&config.clock, move || {
            let excess = pressure::disk(&images).map_or(0, |(bytes, _)| limits.excess(bytes));
            runtime.free_images(excess, limits.unused_for).map(|freed| (excess, freed))
        });
        match done.await {
            Ok(Ok((0, _))) => {}
            Ok(Ok((excess, freed))) if freed < excess => warn!(
                "the disk of the images is over {} % full, and removing those that nobody uses freed {freed} of {excess} \
                 bytes: give it more room or delete other files",
                limits.high_percent
            ),
            Ok(Ok((_, freed))) => info!(freed, "images that nobody uses were removed"),
            Ok(Err(error)) => warn!(error, "images cannot be removed"),
            Err(error) => warn!(%error, "images cannot be removed"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn images_go_from_the_high_threshold_to_the_low_one() {
        let limits = ImageLimits::default();
        let excess = |available| limits.excess(Room { available, capacity: 1000 });
        assert_eq!((excess(151), excess(150), excess(0)), (0, 50, 200));
        assert_eq!(limits.excess(Room { available: 0, capacity: 0 }), 0, "a disk that cannot be measured");
        let never = ImageLimits { high_percent: 100, ..limits };
        assert_eq!(never.excess(Room { available: 0, capacity: 1000 }), 0);
    }

    #[test]
    fn thresholds_that_make_no_sense_are_refused() {
        let of = |high_percent, low_percent| {
            ImageLimits { high_percent, low_percent, ..ImageLimits::default() }.checked()
        };
        assert!(of(85, 80).is_ok() && of(100, 99).is_ok());
        for (high, low) in [(80, 80), (70, 80), (101, 80)] {
            assert!(of(high, low).is_err(), "{high} {low}");
        }
    }
}
