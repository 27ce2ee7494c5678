//! seccomp: not turned off (baseline), and said so (restricted).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Pod, Texts, Violation, containers, plural, quoted, setters};
use crate::pod_security::pod::name;

const OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const REASON: &str = "seccompProfile";

fn profile(of: &Value) -> &Value {
    &of["securityContext"]["seccompProfile"]
}

fn bad_type(of: &Value) -> Option<&str> {
    let named = profile(of)["type"].as_str().unwrap_or_default();
    (!profile(of).is_null() && !matches!(named, "RuntimeDefault" | "Localhost")).then_some(named)
}

/// Until fields came for it, in 1.19.
pub(super) fn annotations(pod: Pod<'_>) -> Option<Violation> {
    let bad = |key: String| {
        let value = pod.metadata["annotations"].get(&key)?.as_str()?;
        let allowed =
            matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
        (!allowed).then(|| format!("{key}={value:?}"))
    };
    let keys = pod.containers().map(|container| format!("{OF_CONTAINER}{}", name(container)));
    let bad: BTreeSet<String> = keys.chain([OF_POD.to_owned()]).filter_map(bad).collect();
    if bad.is_empty() {
        return None;
    }
    let listed = bad.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    Violation::new(REASON, format!("forbidden {} {listed}", plural("annotation", bad.len())))
}

pub(super) fn baseline(pod: Pod<'_>) -> Option<Violation> {
    let bad = pod.containers_that(|container| bad_type(container).is_some());
    let setters = setters(bad_type(pod.spec).is_some(), &bad)?;
    let values: Texts<'_> =
        bad_type(pod.spec).into_iter().chain(pod.containers().filter_map(bad_type)).collect();
    let detail = format!("{setters} must not set securityContext.seccompProfile.type to {}", quoted(values));
    Violation::new(REASON, detail)
}

pub(super) fn restricted(pod: Pod<'_>) -> Option<Violation> {
    if let Some(violation) = baseline(pod) {
        return Some(violation);
    }
    let implicit = pod.containers_that(|container| profile(container).is_null());
    if !profile(pod.spec).is_null() || implicit.is_empty() {
        return None;
    }
    let containers = containers(&implicit);
    let detail = format!(
        "pod or {containers} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
    );
    Violation::new(REASON, detail)
}

/// Windows has none.
pub(super) fn restricted_1_25(pod: Pod<'_>) -> Option<Violation> {
    if pod.is_for_windows() { None } else { restricted(pod) }
}
