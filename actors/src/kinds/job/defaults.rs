//! What a job asks for that does not say: for those that clients make, and for those that cron jobs start.

use serde_json::{Map, Value};

/// Completes the spec of a job, its pod template apart.
pub fn default_spec(spec: &mut Map<String, Value>) {
    // Neither told means one pod; only one told means a queue of work that the pods know of.
    if !told(spec, "completions") && !told(spec, "parallelism") {
        default(spec, "completions", 1);
    }
    default(spec, "parallelism", 1);
    let limit = if told(spec, "backoffLimitPerIndex") { i32::MAX } else { 6 };
    default(spec, "backoffLimit", limit);
    default(spec, "completionMode", "NonIndexed");
    default(spec, "suspend", false);
    default(spec, "manualSelector", false);
    let policy = told(spec, "podFailurePolicy");
    default(spec, "podReplacementPolicy", if policy { "Failed" } else { "TerminatingOrFailed" });
    let rules = spec.get_mut("podFailurePolicy").and_then(|policy| policy.get_mut("rules")?.as_array_mut());
    for rule in rules.into_iter().flatten() {
        let conditions = rule.get_mut("onPodConditions").and_then(Value::as_array_mut);
        conditions
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
            .for_each(|c| default(c, "status", "True"));
    }
}

fn told(spec: &Map<String, Value>, key: &str) -> bool {
    spec.get(key).is_some_and(|value| !value.is_null() && *value != "")
}

fn default(spec: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    if !told(spec, key) {
        spec.insert(key.into(), value.into());
    }
}
