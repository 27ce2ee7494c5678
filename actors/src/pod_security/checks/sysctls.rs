//! Parameters of the kernel (baseline): those that are the pod's own, as far as they were known to be.

use super::{Pod, Violation};
use crate::pod_security::pod::{items, name};

/// In the order in which they were allowed.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn check(pod: Pod<'_>, allowed: usize) -> Option<Violation> {
    let set = items(&pod.spec["securityContext"]["sysctls"]).map(name);
    let bad: Vec<&str> = set.filter(|sysctl| !SAFE[..allowed].contains(sysctl)).collect();
    if bad.is_empty() {
        return None;
    }
    Violation::new("forbidden sysctls", bad.join(", "))
}

pub(super) fn of_1_0(pod: Pod<'_>) -> Option<Violation> {
    check(pod, 5)
}

pub(super) fn of_1_27(pod: Pod<'_>) -> Option<Violation> {
    check(pod, 6)
}

pub(super) fn of_1_29(pod: Pod<'_>) -> Option<Violation> {
    check(pod, 10)
}

pub(super) fn of_1_32(pod: Pod<'_>) -> Option<Violation> {
    check(pod, 12)
}
