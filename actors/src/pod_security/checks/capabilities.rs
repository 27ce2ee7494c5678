//! Capabilities: none beyond those that runtimes give anyway (baseline); all dropped, and at most NET_BIND_SERVICE added (restricted).

use serde_json::Value;

use super::{Pod, Texts, Violation, containers, quoted};
use crate::pod_security::pod::items;

const USUAL: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn listed<'a>(container: &'a Value, list: &str) -> impl Iterator<Item = &'a str> {
    items(&container["securityContext"]["capabilities"][list]).filter_map(Value::as_str)
}

/// Containers that add what they may not, in words.
fn added(pod: Pod<'_>, allowed: &[&str]) -> Option<String> {
    let beyond = |capability: &&str| !allowed.contains(capability);
    let bad = pod.containers_that(|container| listed(container, "add").any(|capability| beyond(&capability)));
    let added: Texts<'_> =
        pod.containers().flat_map(|container| listed(container, "add")).filter(beyond).collect();
    let words = || {
        format!("{} must not include {} in securityContext.capabilities.add", containers(&bad), quoted(added))
    };
    (!bad.is_empty()).then(words)
}

pub(super) fn baseline(pod: Pod<'_>) -> Option<Violation> {
    Violation::new("non-default capabilities", added(pod, &USUAL)?)
}

pub(super) fn restricted(pod: Pod<'_>) -> Option<Violation> {
    let keeping =
        pod.containers_that(|container| !listed(container, "drop").any(|capability| capability == "ALL"));
    let keeping = (!keeping.is_empty())
        .then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", containers(&keeping)));
    let details: Vec<String> = keeping.into_iter().chain(added(pod, &["NET_BIND_SERVICE"])).collect();
    if details.is_empty() {
        return None;
    }
    Violation::new("unrestricted capabilities", details.join("; "))
}

/// Windows has none.
pub(super) fn restricted_1_25(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_for_windows() { None } else { restricted(pod) }
}
