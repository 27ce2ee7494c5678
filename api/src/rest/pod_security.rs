//! Pod security, as far as it refuses nothing: what whoever asks is warned of, and what the audit is told. What is enforced is decided in
//! the turn. <https://kubernetes.io/docs/concepts/security/pod-security-admission/>

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kontiki_actors::{
    Kind, Object, ObjectKey, Request, State,
    pod_security::{
        Configuration, Level, Pod, Policy, Standard, details, reasons, significant_change, violations,
    },
};
use serde_json::Value;

use super::call::Call;
use crate::resource::namespace;

/// So many pods of a namespace are looked at when it is to enforce more than before, as in Kubernetes.
const PODS_LIMIT: usize = 3000;

const ENFORCED: &str = "pod-security.kubernetes.io/enforce-policy";
const VIOLATIONS: &str = "pod-security.kubernetes.io/audit-violations";
const EXEMPT: &str = "pod-security.kubernetes.io/exempt";
const ERROR: &str = "pod-security.kubernetes.io/error";

/// What came of it.
#[derive(Default)]
pub(crate) struct Review {
    /// For whoever asks.
    pub(crate) warnings: Vec<String>,
    /// Whether it makes a difference to the turn who asks.
    exempt: Option<String>,
}

impl Review {
    /// Whether objects of a kind are looked at at all.
    pub(crate) fn concerns(kind: Kind) -> bool {
        kind == Kind::NAMESPACE || Pod::is_within(kind)
    }

    /// Looks at an object that is to be made, or to become another one.
    pub(crate) fn of(
        call: &Call,
        key: &ObjectKey,
        old: Option<&Object>,
        new: &Value,
        state: &State,
    ) -> Review {
        if key.kind == Kind::NAMESPACE {
            let warnings = of_namespace(key, old, new, state);
            return Review { warnings, exempt: None };
        }
        Pod::within(key.kind, new).map_or_else(Review::default, |pod| of_pod(call, key, old, pod, state))
    }

    /// The request for it, with whoever asks where the turn must know.
    pub(crate) fn request(&self, request: Request) -> Request {
        match &self.exempt {
            Some(user) => Request::By { user: user.as_str().into(), request: Box::new(request) },
            None => request,
        }
    }
}

/// Looks at a pod, or at what makes pods.
fn of_pod(call: &Call, key: &ObjectKey, old: Option<&Object>, pod: Pod<'_>, state: &State) -> Review {
    let mut review = Review::default();
    let note = |name, text| {
        if let Some(record) = &call.record {
            record.annotate(name, text);
        }
    };
    let (home, is_pod) = (key.namespace.as_str(), key.kind == Kind::POD);
    let configuration = Configuration::of(state);
    if configuration.exempts_namespace(home) {
        note(EXEMPT, "namespace".into());
        return review;
    }
    if configuration.exempts_user(&call.user.name) {
        note(EXEMPT, "user".into());
        review.exempt = is_pod.then(|| call.user.name.clone());
        return review;
    }
    let (policy, wrong) = configuration.policy(state, home);
    if wrong.is_empty() && policy.is_privileged() {
        if is_pod {
            note(ENFORCED, policy.enforce.to_string());
        }
        return review;
    }
    if is_pod && old.is_some_and(|old| !significant_change(&old.document.spec_value(), pod.spec)) {
        return review;
    }
    if configuration.exempts_class_of(pod) {
        note(EXEMPT, "runtimeClass".into());
        return review;
    }
    if !wrong.is_empty() {
        note(ERROR, format!("Failed to parse policy: {}", namespace::told(&wrong)));
    }
    if is_pod {
        note(ENFORCED, policy.enforce.to_string());
    }
    let would = |standard: Standard| {
        let violations = violations(standard, pod);
        let standard = standard.to_string();
        let told = || format!("would violate PodSecurity {standard:?}: {}", details(&violations));
        (!violations.is_empty()).then(told)
    };
    if let Some(told) = would(policy.audit) {
        note(VIOLATIONS, told);
    }
    // What is enforced is refused anyway, and a refusal carries no warnings.
    review.warnings.extend(would(policy.warn));
    review
}

fn of_namespace(key: &ObjectKey, old: Option<&Object>, new: &Value, state: &State) -> Vec<String> {
    let configuration = Configuration::of(state);
    let (defaults, _) = configuration.defaults();
    let labels = &new["metadata"]["labels"];
    let (policy, _) = Policy::of_labels(labels, defaults);
    let enforced = policy.enforce;
    if let Some(old) = old {
        let before = Policy::of(&old.meta.labels, defaults).0.enforce;
        let relaxed = enforced.version == before.version && enforced.level <= before.level;
        if enforced == before || enforced.is_privileged() || relaxed {
            return Vec::new();
        }
    }
    if configuration.exempts_namespace(&key.name) {
        return ignored(&key.name, policy, defaults, labels).into_iter().collect();
    }
    if old.is_none() {
        return Vec::new();
    }
    let pods = state.list(Kind::POD, Some(&key.name)).cloned().collect();
    of_existing(&key.name, enforced, pods, &configuration)
}

/// That a namespace is exempt, and what it asks for is not looked at.
fn ignored(name: &str, policy: Policy, defaults: Policy, labels: &Value) -> Option<String> {
    let same =
        |one: Standard, other: Standard| one == other || (one.is_privileged() && other.is_privileged());
    let modes = [
        ("enforce", policy.enforce, defaults.enforce),
        ("audit", policy.audit, defaults.audit),
        ("warn", policy.warn, defaults.warn),
    ];
    if policy.is_privileged() || modes.iter().all(|(_, standard, default)| same(*standard, *default)) {
        return None;
    }
    let said = |mode: &str| {
        let label = format!("pod-security.kubernetes.io/{mode}");
        labels.get(&label).is_some() || labels.get(format!("{label}-version")).is_some()
    };
    let told = modes.iter().filter(|(mode, standard, _)| standard.level != Level::Privileged && said(mode));
    let told: Vec<String> = told.map(|(mode, standard, _)| format!("{mode}={standard}")).collect();
    let told = told.join(", ");
    Some(format!("namespace {name:?} is exempt from Pod Security, and the policy ({told}) will be ignored"))
}

/// Which pods of a namespace violate what it is to enforce: they stay, and would not be made again.
fn of_existing(
    namespace: &str,
    standard: Standard,
    pods: Vec<Arc<Object>>,
    configuration: &Configuration,
) -> Vec<String> {
    let pods = first_of_each_owner(pods);
    let total = pods.len();
    // By what they violate: the first by name, and how many.
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    let mut checked = 0;
    for object in pods.into_iter().take(PODS_LIMIT) {
        checked += 1;
        let (metadata, spec) = (object.document.metadata_value(), object.document.spec_value());
        let pod = Pod { metadata: &metadata, spec: &spec };
        let violations = violations(standard, pod);
        if violations.is_empty() || configuration.exempts_class_of(pod) {
            continue;
        }
        let name = object.key.name.to_string();
        let (first, count) = found.entry(reasons(&violations)).or_insert_with(|| (name.clone(), 0));
        if name < *first {
            *first = name;
        }
        *count += 1;
    }
    let mut warnings = Vec::new();
    if checked < total {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
        ));
    }
    if !found.is_empty() {
        let standard = standard.to_string();
        warnings.push(format!(
            "existing pods in namespace {namespace:?} violate the new PodSecurity enforce level {standard:?}"
        ));
    }
    let told = |(why, (first, count)): (String, (String, usize))| match count {
        1 => format!("{first}: {why}"),
        2 => format!("{first} (and 1 other pod): {why}"),
        more => format!("{first} (and {} other pods): {why}", more - 1),
    };
    let mut told: Vec<String> = found.into_iter().map(told).collect();
    told.sort_unstable();
    warnings.extend(told);
    warnings
}

/// Pods of one owner are mostly alike: the first of each comes before the second of any.
fn first_of_each_owner(pods: Vec<Arc<Object>>) -> Vec<Arc<Object>> {
    let mut seen = BTreeSet::new();
    let (mut first, more): (Vec<_>, Vec<_>) = pods
        .into_iter()
        .partition(|pod| pod.meta.controller().is_none_or(|owner| seen.insert(owner.uid.clone())));
    first.extend(more);
    first
}
