//! The identity of a pod: its ordinal, and what follows from it: name, labels, host name, volumes.

use serde_json::{Value, json};

use crate::{
    kinds::history::HASH_LABEL,
    object::{Object, StatefulSetDigest},
};

/// The label that is the pod's own name, for services of one pod.
const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
/// The label that is the pod's ordinal.
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The name of a pod.
pub(super) fn name(me: &Object, ordinal: i64) -> String {
    format!("{}-{ordinal}", me.key.name)
}

/// The ordinal of a pod, if its name is one that the set gives.
pub(super) fn ordinal(me: &Object, pod: &Object) -> Option<i64> {
    let digits = pod.key.name.strip_prefix(me.key.name.as_str())?.strip_prefix('-')?;
    let ordinal: i64 = digits.parse().ok()?;
    (ordinal >= 0 && ordinal.to_string() == digits).then_some(ordinal)
}

/// Whether the set has a pod of this ordinal.
pub(super) fn in_range(spec: &StatefulSetDigest, ordinal: i64) -> bool {
    (spec.start..spec.start.saturating_add(spec.replicas)).contains(&ordinal)
}

/// The labels that tell who a pod is.
pub(super) fn labels(me: &Object, ordinal: i64) -> [(&'static str, String); 2] {
    [(NAME_LABEL, name(me, ordinal)), (INDEX_LABEL, ordinal.to_string())]
}

/// The name of a pod's claim by a template.
pub(super) fn claim_name(me: &Object, ordinal: i64, claim: &Value) -> String {
    format!("{}-{}", claim["metadata"]["name"].as_str().unwrap_or_default(), name(me, ordinal))
}

/// The templates of the set's claims.
pub(super) fn claim_templates(me: &Object) -> Vec<Value> {
    match me.document.spec_value()["volumeClaimTemplates"].take() {
        Value::Array(templates) => templates,
        _ => Vec::new(),
    }
}

/// A pod template made one for an ordinal, of a revision.
pub(super) fn template(me: &Object, mut template: Value, ordinal: i64, revision: &str) -> Value {
    let map = &mut template["metadata"]["labels"];
    if !map.is_object() {
        *map = json!({});
    }
    for (label, value) in labels(me, ordinal) {
        map[label] = value.into();
    }
    map[HASH_LABEL] = revision.into();
    let spec = &mut template["spec"];
    spec["hostname"] = name(me, ordinal).into();
    if let Some(service) = me.document.spec_value()["serviceName"].as_str().filter(|name| !name.is_empty()) {
        spec["subdomain"] = service.into();
    }
    let claims = claim_templates(me);
    if claims.is_empty() {
        return template;
    }
    let mut volumes: Vec<Value> = claims
        .iter()
        .map(|claim| {
            json!({"name": claim["metadata"]["name"],
                "persistentVolumeClaim": {"claimName": claim_name(me, ordinal, claim)}})
        })
        .collect();
    // A claim comes before a volume of the template with its name.
    let own = spec["volumes"].as_array().into_iter().flatten();
    let own: Vec<Value> = own.filter(|v| volumes.iter().all(|c| c["name"] != v["name"])).cloned().collect();
    volumes.extend(own);
    spec["volumes"] = volumes.into();
    template
}
