//! Required pod affinity and anti-affinity, the pod's own and that of pods which have a place.

use crate::scheduling::{
    pod_affinity::{PodRules, Tally},
    reasons::Reason,
};

/// Why the rules forbid a node to the next pod of the group, in Kubernetes' order.
pub(in crate::scheduling) fn refuses(rules: &PodRules, node: usize) -> Option<Reason> {
    let near = |count: Option<i64>| count.is_some_and(|count| count > 0 || rules.first);
    if !rules.wanted.iter().all(|tally| near(tally.at(node))) {
        return Some(Reason::PodAffinity);
    }
    if rules.avoided.iter().any(|tally| occupied(tally, node)) {
        return Some(Reason::PodAntiAffinity);
    }
    rules.barred.iter().any(|tally| occupied(tally, node)).then_some(Reason::Barred)
}

/// Whether anti-affinity closes a domain of several nodes that this one is in.
pub(in crate::scheduling) fn closed(rules: &PodRules, node: usize) -> bool {
    let mut tallies = rules.avoided.iter().chain(&rules.barred).filter(|tally| !tally.topology.per_node);
    tallies.any(|tally| occupied(tally, node))
}

fn occupied(tally: &Tally, node: usize) -> bool {
    tally.at(node).is_some_and(|count| count > 0)
}
