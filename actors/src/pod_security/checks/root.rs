//! Root (restricted): nobody runs as root, and says so.

use serde_json::Value;

use super::{Pod, Violation, containers, setters};

fn non_root_of(of: &Value) -> &Value {
    &of["securityContext"]["runAsNonRoot"]
}

pub(super) fn non_root(pod: Pod<'_>) -> Option<Violation> {
    const REASON: &str = "runAsNonRoot != true";
    let explicit = pod.containers_that(|container| *non_root_of(container) == false);
    if let Some(setters) = setters(*non_root_of(pod.spec) == false, &explicit) {
        return Violation::new(REASON, format!("{setters} must not set securityContext.runAsNonRoot=false"));
    }
    let implicit = pod.containers_that(|container| *non_root_of(container) != true);
    if *non_root_of(pod.spec) == true || implicit.is_empty() {
        return None;
    }
    let detail = format!("pod or {} must set securityContext.runAsNonRoot=true", containers(&implicit));
    Violation::new(REASON, detail)
}

fn is_root(of: &Value) -> bool {
    of["securityContext"]["runAsUser"].as_f64() == Some(0.0)
}

pub(super) fn user(pod: Pod<'_>) -> Option<Violation> {
    let setters = setters(is_root(pod.spec), &pod.containers_that(is_root))?;
    Violation::new("runAsUser=0", format!("{setters} must not set runAsUser=0"))
}
