//! What is the host's: its namespaces, its ports and its processes (baseline).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, Violation, containers, plural};
use crate::pod_security::pod::items;

/// The runtime class by which workers run plain processes of the machine.
const CLASS: &str = "host";

pub(super) fn namespaces(pod: Pod<'_>) -> Option<Violation> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[*field] == true);
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    if shared.is_empty() {
        return None;
    }
    Violation::new("host namespaces", shared.join(", "))
}

fn host_ports(container: &Value) -> impl Iterator<Item = &Value> {
    let ports = items(&container["ports"]).map(|port| &port["hostPort"]);
    ports.filter(|port| !port.is_null() && port.as_f64() != Some(0.0))
}

pub(super) fn ports(pod: Pod<'_>) -> Option<Violation> {
    let bad = pod.containers_that(|container| host_ports(container).next().is_some());
    if bad.is_empty() {
        return None;
    }
    let ports: BTreeSet<String> = pod.containers().flat_map(host_ports).map(Value::to_string).collect();
    let uses = if bad.len() == 1 { "uses" } else { "use" };
    let listed = ports.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let detail = format!("{} {uses} {} {listed}", containers(&bad), plural("hostPort", ports.len()));
    Violation::new("hostPort", detail)
}

/// Nothing confines such a pod, so that no other check means anything for it.
pub(super) fn runtime_class(pod: Pod<'_>) -> Option<Violation> {
    if pod.runtime_class() != CLASS {
        return None;
    }
    Violation::new(
        "host processes",
        format!("pod must not set runtimeClassName={CLASS:?}: it is no container"),
    )
}
