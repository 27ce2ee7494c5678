//! Host ports: one pod per port, protocol and node.

use crate::{
    object::PodDigest,
    scheduling::{reasons::Reason, view::Ports},
};

pub(in crate::scheduling) fn refuses(pod: &PodDigest, taken: &Ports) -> Option<Reason> {
    pod.host_ports.iter().any(|port| taken.contains(port)).then_some(Reason::Ports)
}
