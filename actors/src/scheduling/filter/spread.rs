//! Hard topology spread: one more pod in a domain must not make it too uneven.

use crate::scheduling::spread::Counter;

/// Whether a counter's constraint lets one more pod into a domain.
pub(in crate::scheduling) fn allows(counter: &Counter, domain: Option<usize>) -> bool {
    let Some(hard) = &counter.hard else { return true };
    let Some(domain) = domain else { return false };
    counter.at(domain) + i64::from(counter.counts_itself) - counter.least() <= hard.max_skew
}

/// The same for a node's domain without some of the pods that are counted there.
pub(in crate::scheduling) fn allows_without(counter: &Counter, node: usize, fewer: i64) -> bool {
    let Some(hard) = &counter.hard else { return true };
    let Some(domain) = counter.topology.domain(node) else { return false };
    let here = counter.at(domain) - fewer;
    here + i64::from(counter.counts_itself) - counter.least().min(here) <= hard.max_skew
}
