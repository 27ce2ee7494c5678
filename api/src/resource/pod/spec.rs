//! Checks of a pod spec.

use std::collections::HashSet;

use serde_json::Value;

use super::containers::{self, Pod, Role};
use super::{dns, ephemeral, security};
use crate::resource::{
    field::Errors,
    fields::{items, number, text},
    metadata,
    names::{NameRule, check_label_value, check_qualified},
    volumes,
};

/// How few and how many seconds a projected token may live.
const TOKEN_LIFETIME_MIN_S: i64 = 600;
const TOKEN_LIFETIME_MAX_S: i64 = 1 << 32;

/// Checks a pod spec at a path.
pub fn validate_spec(spec: &Value, path: &str, errors: &mut Errors) {
    validate_spec_with(spec, std::iter::empty(), path, errors);
}

/// Checks a pod spec at a path, of pods that will have volumes of these names besides their own.
pub fn validate_spec_with<'a>(
    spec: &'a Value,
    more_volumes: impl Iterator<Item = &'a str>,
    path: &str,
    errors: &mut Errors,
) {
    let mut pod = Pod::default();
    volumes(&mut pod, spec, path, errors);
    pod.volumes.extend(more_volumes);
    if items(spec, "containers").next().is_none() {
        errors.required(&format!("{path}.containers"), "");
    }
    for (list, role) in [("initContainers", Role::Init), ("containers", Role::Main)] {
        for (at, container) in items(spec, list) {
            let path = format!("{path}.{list}[{at}]");
            containers::validate(&mut pod, container, &path, role, errors);
            security::of_container(spec, container, &path, errors);
            if role == Role::Init {
                // They run one by one, so that whoever is next may have the same ports.
                pod.host_ports.clear();
            }
        }
    }
    ephemeral::validate(&mut pod, spec, path, errors);
    security::of_pod(spec, path, errors);
    dns::validate(spec, path, errors);
    for (key, values) in [
        ("restartPolicy", &["Always", "OnFailure", "Never"][..]),
        ("dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]),
        ("preemptionPolicy", &["PreemptLowerPriority", "Never"]),
    ] {
        errors.one_of(&format!("{path}.{key}"), &spec[key], values);
    }
    errors.non_negative(
        &format!("{path}.terminationGracePeriodSeconds"),
        &spec["terminationGracePeriodSeconds"],
    );
    if let Some(deadline) = spec.get("activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&deadline.as_i64().unwrap_or(1))
    {
        let detail = "must be between 1 and 2147483647, inclusive";
        errors.invalid(&format!("{path}.activeDeadlineSeconds"), deadline, detail);
    }
    for (key, rule) in [
        ("nodeName", NameRule::Subdomain),
        ("serviceAccountName", NameRule::Subdomain),
        ("hostname", NameRule::Label),
        ("subdomain", NameRule::Label),
    ] {
        let name = text(spec, key);
        if !name.is_empty() {
            for wrong in rule.check(name) {
                errors.invalid_text(&format!("{path}.{key}"), name, &wrong);
            }
        }
    }
    metadata::labels(&spec["nodeSelector"], &format!("{path}.nodeSelector"), errors);
    for (at, toleration) in items(spec, "tolerations") {
        self::toleration(toleration, &format!("{path}.tolerations[{at}]"), errors);
    }
    affinity(&spec["affinity"], &format!("{path}.affinity"), errors);
    spread(spec, path, errors);
    let mut gates = HashSet::new();
    for (at, gate) in items(spec, "schedulingGates") {
        let name = text(gate, "name");
        for wrong in check_qualified(name) {
            errors.invalid_text(&format!("{path}.schedulingGates[{at}].name"), name, &wrong);
        }
        if !gates.insert(name) {
            errors.duplicate(&format!("{path}.schedulingGates[{at}]"), &gate["name"]);
        }
    }
}

fn volumes<'a>(pod: &mut Pod<'a>, spec: &'a Value, path: &str, errors: &mut Errors) {
    for (at, volume) in items(spec, "volumes") {
        let path = format!("{path}.volumes[{at}]");
        let name = text(volume, "name");
        if name.is_empty() {
            errors.required(&format!("{path}.name"), "");
        } else {
            for wrong in NameRule::Label.check(name) {
                errors.invalid_text(&format!("{path}.name"), name, &wrong);
            }
            if !pod.volumes.insert(name) {
                errors.duplicate(&format!("{path}.name"), &volume["name"]);
            }
        }
        let mut sources = volume.as_object().into_iter().flatten().map(|(k, _)| k).filter(|k| *k != "name");
        match (sources.next(), sources.next()) {
            (None, _) => errors.required(&path, "must specify a volume type"),
            (Some(_), Some(second)) => {
                errors.forbidden(&format!("{path}.{second}"), "may not specify more than 1 volume type");
            }
            _ => {}
        }
        for (source, key) in [
            ("hostPath", "path"),
            ("secret", "secretName"),
            ("configMap", "name"),
            ("persistentVolumeClaim", "claimName"),
        ] {
            if let Some(value) = volume.get(source)
                && text(value, key).is_empty()
            {
                errors.required(&format!("{path}.{source}.{key}"), "");
            }
        }
        if let Some(source) = volume.get("ephemeral") {
            claim_template(&source["volumeClaimTemplate"], &format!("{path}.ephemeral"), errors);
        }
        for (at, source) in items(&volume["projected"], "sources") {
            projection(source, at, &format!("{path}.projected"), errors);
        }
    }
}

/// Checks from what the claim of a generic ephemeral volume is made.
fn claim_template(template: &Value, path: &str, errors: &mut Errors) {
    let path = format!("{path}.volumeClaimTemplate");
    if !template.is_object() {
        return errors.required(&path, "");
    }
    metadata::labels(&template["metadata"]["labels"], &format!("{path}.metadata.labels"), errors);
    for (key, value) in template["metadata"].as_object().into_iter().flatten() {
        if !value.is_null() && !matches!(key.as_str(), "labels" | "annotations") {
            errors.forbidden(&format!("{path}.metadata.{key}"), "cannot be set");
        }
    }
    volumes::claim_spec(&template["spec"], &format!("{path}.spec"), errors);
}

/// Checks one source of a projected volume at a path.
fn projection(source: &Value, at: usize, path: &str, errors: &mut Errors) {
    let own = format!("{path}.sources[{at}]");
    if source.as_object().is_some_and(|kinds| kinds.len() > 1) {
        errors.forbidden(&own, "may not specify more than 1 volume type per source");
    }
    let Some(token) = source.get("serviceAccountToken").filter(|token| token.is_object()) else { return };
    let seconds = &token["expirationSeconds"];
    let lives_s = seconds.as_i64().unwrap_or(3600);
    if lives_s < TOKEN_LIFETIME_MIN_S {
        let why = "may not specify a duration less than 10 minutes";
        errors.invalid(&format!("{own}.serviceAccountToken.expirationSeconds"), seconds, why);
    }
    if lives_s > TOKEN_LIFETIME_MAX_S {
        let why = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(&format!("{own}.serviceAccountToken.expirationSeconds"), seconds, why);
    }
    // Kubernetes names the volume's field here, not the source's.
    let (file, path) = (text(token, "path"), format!("{path}.path"));
    if file.is_empty() {
        return errors.required(&path, "");
    }
    if file.starts_with('/') {
        errors.invalid_text(&path, file, "must be a relative path");
    }
    if file.split('/').any(|part| part == "..") {
        errors.invalid_text(&path, file, "must not contain '..'");
    } else if file.starts_with("..") {
        errors.invalid_text(&path, file, "must not start with '..'");
    }
}

/// Checks one toleration.
pub(super) fn toleration(toleration: &Value, path: &str, errors: &mut Errors) {
    let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
    if !key.is_empty() {
        for wrong in check_qualified(key) {
            errors.invalid_text(&format!("{path}.key"), key, &wrong);
        }
    } else if operator != "Exists" {
        let detail =
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.invalid_text(&format!("{path}.operator"), operator, detail);
    }
    let effect = text(toleration, "effect");
    if toleration.get("tolerationSeconds").is_some() && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.invalid_text(&format!("{path}.effect"), effect, detail);
    }
    let value = text(toleration, "value");
    match operator {
        "" | "Equal" => {
            for wrong in check_label_value(value) {
                errors.invalid_text(&format!("{path}.operator"), value, &wrong);
            }
        }
        "Exists" => {
            if !value.is_empty() {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.invalid_text(&format!("{path}.operator"), value, detail);
            }
        }
        other => errors.not_supported(&format!("{path}.operator"), other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() {
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        errors.one_of(&format!("{path}.effect"), &toleration["effect"], &effects);
    }
}

fn affinity(affinity: &Value, path: &str, errors: &mut Errors) {
    let node = &affinity["nodeAffinity"];
    let required = &node["requiredDuringSchedulingIgnoredDuringExecution"];
    let at = format!("{path}.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    if required.is_object() && items(required, "nodeSelectorTerms").next().is_none() {
        errors.required(&format!("{at}.nodeSelectorTerms"), "must have at least one node selector term");
    }
    for (i, term) in items(required, "nodeSelectorTerms") {
        node_term(term, &format!("{at}.nodeSelectorTerms[{i}]"), errors);
    }
    for (i, preferred) in items(node, "preferredDuringSchedulingIgnoredDuringExecution") {
        let at = format!("{path}.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[{i}]");
        weight(preferred, &at, errors);
        node_term(&preferred["preference"], &format!("{at}.preference"), errors);
    }
    for key in ["podAffinity", "podAntiAffinity"] {
        for (i, term) in items(&affinity[key], "requiredDuringSchedulingIgnoredDuringExecution") {
            let at = format!("{path}.{key}.requiredDuringSchedulingIgnoredDuringExecution[{i}]");
            pod_term(term, &at, errors);
        }
        for (i, preferred) in items(&affinity[key], "preferredDuringSchedulingIgnoredDuringExecution") {
            let at = format!("{path}.{key}.preferredDuringSchedulingIgnoredDuringExecution[{i}]");
            weight(preferred, &at, errors);
            pod_term(&preferred["podAffinityTerm"], &format!("{at}.podAffinityTerm"), errors);
        }
    }
}

fn weight(preferred: &Value, path: &str, errors: &mut Errors) {
    if !(1..=100).contains(&number(preferred, "weight")) {
        errors.invalid(&format!("{path}.weight"), &preferred["weight"], "must be in the range 1-100");
    }
}

fn node_term(term: &Value, path: &str, errors: &mut Errors) {
    for list in ["matchExpressions", "matchFields"] {
        for (at, requirement) in items(term, list) {
            let path = format!("{path}.{list}[{at}]");
            let values = requirement["values"].as_array().map_or(0, Vec::len);
            match text(requirement, "operator") {
                "In" | "NotIn" if values == 0 => {
                    errors.required(
                        &format!("{path}.values"),
                        "must be specified when `operator` is 'In' or 'NotIn'",
                    );
                }
                "Exists" | "DoesNotExist" if values > 0 => {
                    let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.forbidden(&format!("{path}.values"), detail);
                }
                "Gt" | "Lt" if values != 1 => {
                    let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                    errors.required(&format!("{path}.values"), detail);
                }
                "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
                other => {
                    errors.invalid_text(&format!("{path}.operator"), other, "not a valid selector operator")
                }
            }
            for wrong in check_qualified(text(requirement, "key")) {
                errors.invalid_text(&format!("{path}.key"), text(requirement, "key"), &wrong);
            }
        }
    }
}

fn pod_term(term: &Value, path: &str, errors: &mut Errors) {
    let key = text(term, "topologyKey");
    if key.is_empty() {
        errors.required(&format!("{path}.topologyKey"), "can not be empty");
    }
    metadata::selector(&term["labelSelector"], &format!("{path}.labelSelector"), errors);
}

fn spread(spec: &Value, path: &str, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (at, constraint) in items(spec, "topologySpreadConstraints") {
        let path = format!("{path}.topologySpreadConstraints[{at}]");
        if number(constraint, "maxSkew") <= 0 {
            errors.invalid(&format!("{path}.maxSkew"), &constraint["maxSkew"], "must be greater than zero");
        }
        let (key, action) = (text(constraint, "topologyKey"), text(constraint, "whenUnsatisfiable"));
        if key.is_empty() {
            errors.required(&format!("{path}.topologyKey"), "can not be empty");
        }
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            let supported = ["DoNotSchedule", "ScheduleAnyway"];
            errors.not_supported(&format!("{path}.whenUnsatisfiable"), action, &supported);
        }
        if !seen.insert((key, action)) {
            errors.duplicate(
                &format!("{path}.{{topologyKey, whenUnsatisfiable}}"),
                &format!("{{{key}, {action}}}").into(),
            );
        }
        metadata::selector(&constraint["labelSelector"], &format!("{path}.labelSelector"), errors);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn host_ports_are_not_shared_by_containers_that_run_at_the_same_time() {
        let wrong = |init: &[&str], main: &[&str]| -> Vec<String> {
            let all = |names: &[&str]| -> Value {
                let ports = json!([{"containerPort": 9100, "hostPort": 9100, "protocol": "TCP"}]);
                names.iter().map(|name| json!({"name": name, "image": "i", "ports": ports})).collect()
            };
            let spec = json!({"initContainers": all(init), "containers": all(main)});
            let mut errors = Errors::default();
            validate_spec(&spec, "spec", &mut errors);
            errors
                .into_causes()
                .into_iter()
                .map(|cause| format!("{}: {}", cause.field, cause.message))
                .collect()
        };
        assert_eq!(wrong(&["a", "b"], &["c"]), [""; 0]);
        assert_eq!(wrong(&[], &["c", "d"]), ["spec.containers[1].ports[0].hostPort: Duplicate value: 9100"]);
    }

    #[test]
    fn the_claims_of_ephemeral_volumes_are_checked_like_claims() {
        let wrong = |source: Value| -> Vec<String> {
            let spec = json!({"volumes": [{"name": "v", "ephemeral": source}], "containers": [{"name": "c", "image": "i"}]});
            let mut errors = Errors::default();
            validate_spec(&spec, "spec", &mut errors);
            let causes = errors.into_causes().into_iter();
            causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
        };
        let path = "spec.volumes[0].ephemeral.volumeClaimTemplate";
        assert_eq!(wrong(json!({})), [format!("{path}: Required value")]);
        let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
        let metadata = json!({"creationTimestamp": null, "labels": {"a": "b"}, "annotations": {"c": "d"}});
        assert_eq!(wrong(json!({"volumeClaimTemplate": {"metadata": metadata, "spec": claim}})), [""; 0]);
        let named =
            json!({"volumeClaimTemplate": {"metadata": {"name": "x"}, "spec": {"accessModes": ["No"]}}});
        assert_eq!(wrong(named).len(), 3, "name, size, mode");
    }

    #[test]
    fn projected_tokens_live_for_ten_minutes_at_least_and_stay_in_their_volume() {
        let wrong = |token: Value| -> Vec<String> {
            let volumes = json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": token}]}}]);
            let spec = json!({"volumes": volumes, "containers": [{"name": "c", "image": "i"}]});
            let mut errors = Errors::default();
            validate_spec(&spec, "spec", &mut errors);
            let causes = errors.into_causes().into_iter();
            causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
        };
        assert_eq!(
            wrong(json!({"path": "deep/token", "expirationSeconds": 600, "audience": "vault"})),
            [""; 0]
        );
        let seconds = "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds";
        for (token, field, why) in [
            (json!({"path": "t", "expirationSeconds": 599}), seconds, "less than 10 minutes"),
            (
                json!({"path": "t", "expirationSeconds": (1_i64 << 32) + 1}),
                seconds,
                "larger than 2^32 seconds",
            ),
            (json!({"expirationSeconds": 600}), "spec.volumes[0].projected.path", "Required value"),
            (json!({"path": "/t"}), "spec.volumes[0].projected.path", "must be a relative path"),
            (json!({"path": "a/../../t"}), "spec.volumes[0].projected.path", "must not contain '..'"),
            (json!({"path": "..t"}), "spec.volumes[0].projected.path", "must not start with '..'"),
        ] {
            let wrong = wrong(token);
            assert_eq!(wrong.len(), 1, "{wrong:?}");
            assert!(wrong[0].starts_with(field) && wrong[0].contains(why), "{wrong:?}");
        }
    }
}
