//! Privilege escalation (restricted): not by programs of other users either.

use super::{Pod, Violation, containers};

pub(super) fn of_1_8(pod: Pod<'_>) -> Option<Violation> {
    let bad =
        pod.containers_that(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    if bad.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", containers(&bad));
    Violation::new("allowPrivilegeEscalation != false", detail)
}

/// Windows has none.
pub(super) fn of_1_25(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_for_windows() { None } else { of_1_8(pod) }
}
