//! AppArmor (baseline): no profile but the runtime's own or one of the node's.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Pod, Texts, Violation, containers, plural, quoted};

const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

fn bad_type(of: &Value) -> Option<&str> {
    let profile = &of["securityContext"]["appArmorProfile"];
    let named = profile["type"].as_str().unwrap_or_default();
    (!profile.is_null() && !matches!(named, "RuntimeDefault" | "Localhost")).then_some(named)
}

fn bad_annotation(value: &str) -> bool {
    !(value.is_empty() || value == "runtime/default" || value.starts_with("localhost/"))
}

pub(super) fn profile(pod: Pod<'_>) -> Option<Violation> {
    let (mut setters, mut values) = (Vec::new(), Texts::new());
    if let Some(value) = bad_type(pod.spec) {
        setters.push("pod".to_owned());
        values.insert(value);
    }
    let bad = pod.containers_that(|container| bad_type(container).is_some());
    if !bad.is_empty() {
        setters.push(containers(&bad));
        values.extend(pod.containers().filter_map(bad_type));
    }
    let annotations = pod.metadata["annotations"].as_object().into_iter().flatten();
    let annotations: BTreeMap<&String, &str> = annotations
        .filter(|(key, _)| key.starts_with(ANNOTATION))
        .filter_map(|(key, value)| Some((key, value.as_str().filter(|value| bad_annotation(value))?)))
        .collect();
    let mut told: Vec<String> = values.into_iter().map(str::to_owned).collect();
    if !annotations.is_empty() {
        setters.push(plural("annotation", annotations.len()));
        told.extend(annotations.iter().map(|(key, value)| format!("{key}={value:?}")));
    }
    if setters.is_empty() {
        return None;
    }
    let reason = plural("forbidden AppArmor profile", told.len());
    let told = quoted(told.iter().map(String::as_str));
    Violation::new(&reason, format!("{} must not set AppArmor profile type to {told}", setters.join(" and ")))
}
