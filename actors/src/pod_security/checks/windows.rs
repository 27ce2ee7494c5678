//! Processes of a Windows host (baseline): none.

use serde_json::Value;

use super::{Pod, Violation, setters};

fn is_set(of: &Value) -> bool {
    of["securityContext"]["windowsOptions"]["hostProcess"] == true
}

pub(super) fn host_process(pod: Pod<'_>) -> Option<Violation> {
    let setters = setters(is_set(pod.spec), &pod.containers_that(is_set))?;
    Violation::new(
        "hostProcess",
        format!("{setters} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}
