//! Limit ranges: what a container, a pod or a claim of a namespace asks for when it does not say, and how little and how much it may ask for.
//! <https://kubernetes.io/docs/concepts/policy/limit-range/>
//!
//! Looked at when an object is made, by whomever; what is there stays as it is. In the turn, so that actors' pods get the same, and the
//! same before quotas are asked.

use serde_json::{Map, Value, json};

use crate::{kind::Kind, kinds::pod::qos_class, object::ObjectKey, quantity, quota, state::State};

/// Says on a pod what was set.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Completes a new pod or claim by the limit ranges of its namespace, or says why it may not be, in Kubernetes' words.
pub(crate) fn admit(state: &State, key: &ObjectKey, object: &mut Value) -> Result<(), String> {
    if !concerns(state, key) {
        return Ok(());
    }
    let ranges = state.list(Kind::LIMIT_RANGE, Some(&key.namespace));
    let specs: Vec<Value> = ranges.map(|range| range.document.spec_value()).collect();
    let items = |kind: &'static str| {
        let all = specs.iter().flat_map(|spec| spec["limits"].as_array().into_iter().flatten());
        all.filter(move |item| item["type"] == kind)
    };
    let mut wrong = Vec::new();
    if key.kind == Kind::PERSISTENT_VOLUME_CLAIM {
        let asked = &object["spec"]["resources"]["requests"];
        for item in items("PersistentVolumeClaim") {
            bounds(item, "PersistentVolumeClaim", asked, None, &mut wrong);
        }
        return together(wrong);
    }
    for item in items("Container") {
        set_defaults(object, item);
    }
    let spec = &object["spec"];
    for item in items("Container") {
        for (_, container) in containers(spec) {
            let of = &container["resources"];
            bounds(item, "Container", &of["requests"], Some(&of["limits"]), &mut wrong);
        }
    }
    for item in items("Pod") {
        let (requests, limits) = (quota::of_pod(spec, "requests"), quota::of_pod(spec, "limits"));
        bounds(item, "Pod", &requests, Some(&limits), &mut wrong);
    }
    object["status"]["qosClass"] = qos_class(&object["spec"]).into();
    together(wrong)
}

/// Whether there is a limit range for an object at all: mostly there is none, and it need not be read.
pub(crate) fn concerns(state: &State, key: &ObjectKey) -> bool {
    matches!(key.kind, Kind::POD | Kind::PERSISTENT_VOLUME_CLAIM)
        && state.list(Kind::LIMIT_RANGE, Some(&key.namespace)).next().is_some()
}

/// The containers, each with what it is called in words.
fn containers(spec: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    let list = |key: &str, words| spec[key].as_array().into_iter().flatten().map(move |one| (words, one));
    list("containers", "container").chain(list("initContainers", "init container"))
}

/// Sets what a pod's containers do not say. Of old ranges, which were stored without defaults, bounds stand for them.
fn set_defaults(pod: &mut Value, item: &Value) {
    let first = |keys: &[&str]| {
        let mut all = Map::new();
        for (name, amount) in keys.iter().rev().flat_map(|key| item[*key].as_object().into_iter().flatten()) {
            all.insert(name.clone(), amount.clone());
        }
        all
    };
    let limits = first(&["default", "max"]);
    let requests = first(&["defaultRequest", "default", "max", "min"]);
    let mut set = Vec::new();
    for (list, words) in [("containers", "container"), ("initContainers", "init container")] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            for (which, amounts, what) in [("requests", &requests, "request"), ("limits", &limits, "limit")] {
                let names = fill(container, which, amounts);
                if !names.is_empty() {
                    let name = container["name"].as_str().unwrap_or_default();
                    set.push(format!("{} {what} for {words} {name}", names.join(", ")));
                }
            }
        }
    }
    if set.is_empty() {
        return;
    }
    let annotations = &mut pod["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    let told = format!("LimitRanger plugin set: {}", set.join("; "));
    annotations[ANNOTATION] = told.into();
}

/// Sets amounts that are missing; tells which.
fn fill(container: &mut Value, which: &str, amounts: &Map<String, Value>) -> Vec<String> {
    let mut names = Vec::new();
    for (name, amount) in amounts {
        let have = &container["resources"][which];
        if have.get(name).is_some() {
            continue;
        }
        let resources = &mut container["resources"];
        if !resources.is_object() {
            *resources = json!({});
        }
        if !resources[which].is_object() {
            resources[which] = json!({});
        }
        resources[which][name] = amount.clone();
        names.push(name.clone());
    }
    names
}

/// Checks amounts against the least, the most, and the largest share of a limit to a request. Without limits, requests count as both.
fn bounds(item: &Value, kind: &str, requests: &Value, limits: Option<&Value>, wrong: &mut Vec<String>) {
    let each = |key: &str| item[key].as_object().into_iter().flatten();
    let amount = |of: Option<&Value>, name: &str| of.and_then(|of| of.get(name)).and_then(quantity::wide_of);
    let shown = |of: Option<&Value>, name: &str| text(of.and_then(|of| of.get(name)));
    for (name, bound) in each("min") {
        let least = quantity::wide_of(bound).unwrap_or(0);
        let words = format!("minimum {name} usage per {kind} is {}", text(Some(bound)));
        match (amount(Some(requests), name), amount(limits, name)) {
            (None, _) => wrong.push(format!("{words}.  No request is specified")),
            (Some(request), _) if request < least => {
                wrong.push(format!("{words}, but request is {}", shown(Some(requests), name)));
            }
            (_, Some(limit)) if limit < least => {
                wrong.push(format!("{words}, but limit is {}", shown(limits, name)));
            }
            _ => {}
        }
    }
    for (name, bound) in each("max") {
        let most = quantity::wide_of(bound).unwrap_or(i128::MAX);
        let words = format!("maximum {name} usage per {kind} is {}", text(Some(bound)));
        match (amount(limits, name), amount(Some(requests), name)) {
            (None, _) if limits.is_some() => wrong.push(format!("{words}.  No limit is specified")),
            (Some(limit), _) if limit > most => {
                wrong.push(format!("{words}, but limit is {}", shown(limits, name)));
            }
            (_, Some(request)) if request > most => {
                wrong.push(format!("{words}, but request is {}", shown(Some(requests), name)));
            }
            _ => {}
        }
    }
    for (name, bound) in each("maxLimitRequestRatio") {
        let words = format!("{name} max limit to request ratio per {kind} is {}", text(Some(bound)));
        let most = quantity::wide_of(bound).map_or(f64::MAX, |milli| milli as f64 / 1000.0);
        match (amount(Some(requests), name).unwrap_or(0), amount(limits, name).unwrap_or(0)) {
            (0, _) => wrong.push(format!("{words}, but no request is specified or request is 0")),
            (_, 0) => wrong.push(format!("{words}, but no limit is specified or limit is 0")),
            (request, limit) => {
                let ratio = limit as f64 / request as f64;
                if ratio > most {
                    wrong.push(format!("{words}, but provided ratio is {ratio:.6}"));
                }
            }
        }
    }
}

fn text(amount: Option<&Value>) -> String {
    match amount {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "0".into(),
    }
}

/// Several errors as Kubernetes writes them.
fn together(wrong: Vec<String>) -> Result<(), String> {
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        more => Err(format!("[{}]", more.join(", "))),
    }
}
