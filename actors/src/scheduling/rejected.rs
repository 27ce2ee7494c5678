//! Whether a node takes a pod that somebody else than the scheduler puts there: what the kubelet asks of each pod that comes to it,
//! and its words where it refuses one (`pkg/kubelet/lifecycle/predicate.go`). A taint of effect NoExecute sends pods away when they
//! are there.

use super::{
    filter::{affinity, ports},
    reasons::Reason,
    view::{NodeView, ports_on},
};
use crate::{
    object::{Object, PodDigest},
    state::State,
};

/// Why a node does not take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The reason of the pod's status, such as `OutOfcpu` or `NodePorts`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// The first reason why a node does not take a pod that is not among its own. None also of a node whose worker is not in contact: nobody
/// is there to refuse it.
pub fn rejected(state: &State, pod: &PodDigest, node: &Object) -> Option<Rejected> {
    let view = NodeView::new(state, node).filter(|node| node.digest.ready == "True")?;
    let short = |name: &str, requested: i64, free: i64, capacity: i64| Rejected {
        reason: format!("OutOf{name}"),
        message: format!(
            "Node didn't have enough resource: {name}, requested: {requested}, used: {}, capacity: {capacity}",
            capacity.saturating_sub(free)
        ),
    };
    if view.free_pods < 1 {
        return Some(short("pods", 1, view.free_pods, view.digest.max_pods));
    }
    let (wanted, has) = (&pod.requests, &view.digest.allocatable);
    let mut amounts = vec![
        ("cpu", wanted.cpu_milli, view.free.cpu_milli, has.cpu_milli),
        ("memory", wanted.memory, view.free.memory, has.memory),
        ("ephemeral-storage", wanted.ephemeral_storage, view.free.ephemeral_storage, has.ephemeral_storage),
    ];
    // What a node knows nothing of is not its business: somebody else gives it.
    let known = pod.scalars.iter().filter_map(|(name, wanted)| {
        let capacity = *view.digest.scalars.get(name)?;
        Some((name.as_str(), *wanted, view.free_scalar(name), capacity))
    });
    amounts.extend(known);
    for (name, requested, free, capacity) in amounts {
        if requested > 0 && requested > free {
            return Some(short(name, requested, free, capacity));
        }
    }
    let failed = |predicate: &str, why: Reason| Rejected {
        reason: predicate.to_owned(),
        message: format!("Predicate {predicate} failed: {why}"),
    };
    if !affinity::selects(pod, node) {
        return Some(failed("NodeAffinity", Reason::Affinity));
    }
    let taken = !pod.host_ports.is_empty() && ports::refuses(pod, &ports_on(state, &node.key.name)).is_some();
    taken.then(|| failed("NodePorts", Reason::Ports))
}
