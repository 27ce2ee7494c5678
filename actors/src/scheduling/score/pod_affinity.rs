//! Preferred pod affinity and anti-affinity, the pod's own and that of pods which have a place.

use crate::scheduling::pod_affinity::Tally;

/// How strongly pods in a node's domains draw the next pod of the group; negative: away.
pub(in crate::scheduling) fn pull<'a>(tallies: impl Iterator<Item = &'a Tally>, node: usize) -> i64 {
    tallies.fold(0, |sum, tally| sum.saturating_add(tally.at(node).unwrap_or(0)))
}
