//! What is hidden of /proc (baseline): as usual.

use serde_json::Value;

use super::{Pod, Texts, Violation, containers, quoted};

fn bad(container: &Value) -> Option<&str> {
    container["securityContext"]["procMount"].as_str().filter(|mount| *mount != "Default")
}

pub(super) fn proc_mount(pod: Pod<'_>) -> Option<Violation> {
    let setters = pod.containers_that(|container| bad(container).is_some());
    if setters.is_empty() {
        return None;
    }
    let values: Texts<'_> = pod.containers().filter_map(bad).collect();
    let detail =
        format!("{} must not set securityContext.procMount to {}", containers(&setters), quoted(values));
    Violation::new("procMount", detail)
}
