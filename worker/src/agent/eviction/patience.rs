//! When it is time to do something about what is short.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::super::pressure::{Bounds, Shortage, Signal};

/// Since when each soft threshold is crossed.
#[derive(Debug, Default)]
pub(super) struct Patience(BTreeMap<Signal, Instant>);

impl Patience {
    /// The shortage to begin with, memory before all others, and the most that a pod gets to end; of a hard threshold that is
    /// none. Nothing if it is not yet time for any.
    pub(super) fn over(
        &mut self,
        hard: Vec<Shortage>,
        soft: Vec<Shortage>,
        bounds: &Bounds,
        now: Instant,
    ) -> Option<(Shortage, Option<Duration>)> {
        self.0.retain(|signal, _| soft.iter().any(|shortage| shortage.signal == *signal));
        let mut due: Vec<_> = hard.into_iter().map(|shortage| (shortage, None)).collect();
        for shortage in soft {
            let since = *self.0.entry(shortage.signal).or_insert(now);
            if now.saturating_duration_since(since) >= bounds.soft_grace(shortage.signal) {
                due.push((shortage, Some(bounds.soft_pod_grace)));
            }
        }
        // Of the same signal the hard one counts, for it comes first.
        due.into_iter().min_by_key(|(shortage, _)| shortage.signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_threshold_is_borne_for_its_time_without_a_break() {
        let grace = Duration::from_secs(90);
        let pod_grace = Duration::from_secs(7);
        let bounds = Bounds {
            soft_for: BTreeMap::from([("memory.available".to_owned(), grace)]),
            soft_pod_grace: pod_grace,
            ..Bounds::default()
        };
        let memory = Shortage::example("memory.available<1Gi", 1);
        let disk = Shortage::example("nodefs.available<1Gi", 1);
        let (mut patience, start) = (Patience::default(), Instant::now());
        let mut soft = |seconds, short: &[Shortage]| {
            let now = start + Duration::from_secs(seconds);
            patience.over(Vec::new(), short.to_vec(), &bounds, now).map(|(it, grace)| (it.signal, grace))
        };
        let due = Some((Signal::Memory, Some(pod_grace)));
        assert_eq!(soft(0, &[memory]), None);
        assert_eq!(soft(89, &[memory]), None);
        assert_eq!(soft(90, &[memory]), due);
        assert_eq!(soft(95, &[]), None);
        assert_eq!(soft(100, &[memory]), None, "it begins anew");
        assert_eq!(soft(200, &[memory]), due);
        let now = start + Duration::from_secs(201);
        let both = patience.over(vec![memory, disk], vec![memory], &bounds, now);
        assert_eq!(both, Some((memory, None)), "a hard threshold waits for nothing and gives nothing");
        let first = patience.over(vec![disk], Vec::new(), &bounds, now);
        assert_eq!(first, Some((disk, None)));
        let mixed = patience.over(vec![disk, memory], Vec::new(), &bounds, now);
        assert_eq!(mixed, Some((memory, None)), "memory before all others");
    }
}
