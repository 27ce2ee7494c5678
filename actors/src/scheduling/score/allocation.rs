//! Free room: the node that stays the least used, cpu and memory in balance.

use crate::{object::PodDigest, scheduling::view::NodeView};

/// One whole, in fixed point.
const WHOLE: i64 = 1_000_000;

/// Free shares of cpu, memory and pods after the pod came, and how near the first two are to each other. Pods count
/// as a resource so that pods without requests spread as well.
pub(in crate::scheduling) fn allocation(pod: &PodDigest, node: &NodeView<'_>) -> i64 {
    let (all, free, wanted) = (&node.digest.allocatable, &node.free, &pod.requests);
    let cpu = share(free.cpu_milli.saturating_sub(wanted.cpu_milli), all.cpu_milli);
    let memory = share(free.memory.saturating_sub(wanted.memory), all.memory);
    let pods = share(node.free_pods - 1, node.digest.max_pods);
    let balance = WHOLE - (cpu - memory).abs();
    (cpu + memory + pods) / 3 + balance / 2
}

fn share(part: i64, whole: i64) -> i64 {
    if whole <= 0 {
        return 0;
    }
    // Large amounts lose their low bits, so that the product fits.
    let shift = (i64::BITS - whole.leading_zeros()).saturating_sub(43);
    (part.clamp(0, whole) >> shift) * WHOLE / (whole >> shift)
}
