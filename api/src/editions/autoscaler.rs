//! HorizontalPodAutoscalers as `autoscaling/v1` has them: with one metric, the share of the processors that pods ask for. Whatever else the
//! stored form says stands in annotations, as Kubernetes writes them, so that nothing is lost on the way back.
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v1/>

use kontiki_actors::Kind;
use serde_json::{Map, Value, json};

use super::Edition;
use crate::{
    resource::{fields::section, metadata::metadata_of},
    schema::{
        reader::{self, Limits},
        strict, type_for,
    },
};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ALL: [&str; 4] = [METRICS, CURRENT, CONDITIONS, BEHAVIOR];

/// The share of what they ask for that pods use on average where nothing is said, in percent.
pub(crate) const DEFAULT_SHARE: i64 = 80;

pub(super) const EDITION: Edition = Edition {
    kind: Kind::HORIZONTAL_POD_AUTOSCALER,
    group: "autoscaling",
    version: "v1",
    show,
    take,
    validate: |_, _, _| {},
    selectable: &[],
};

/// A metric of a share of processors.
pub(crate) fn share_of_cpu(percent: Value) -> Value {
    json!({"type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

/// The share that a metric of the stored form asks for, if it is of the sort that this form has a field for.
fn share(metric: &Value) -> Option<&Value> {
    let resource = &metric["resource"];
    let is_cpu = metric["type"] == "Resource" && resource["name"] == "cpu";
    resource["target"].get("averageUtilization").filter(|share| is_cpu && !share.is_null())
}

fn show(scaler: &mut Value) {
    let mut notes = Map::new();
    let mut note = |key: &str, value: Value| {
        notes.insert(key.to_owned(), value.to_string().into());
    };
    let mut spec = scaler.get_mut("spec").map(Value::take).unwrap_or_default();
    let metrics = take_list(&mut spec, "metrics");
    if let Some(share) = metrics.iter().find_map(share) {
        spec["targetCPUUtilizationPercentage"] = share.clone();
    }
    let others: Vec<Value> =
        metrics.iter().filter(|m| share(m).is_none()).map(|m| each(m, older_target)).collect();
    if !others.is_empty() {
        note(METRICS, others.into());
    }
    if let Some(behavior) = remove(&mut spec, "behavior") {
        note(BEHAVIOR, recase(behavior, capital));
    }
    if !spec.is_null() {
        scaler["spec"] = spec;
    }
    let mut status = scaler.get_mut("status").map(Value::take).unwrap_or_default();
    let current = take_list(&mut status, "currentMetrics");
    // Of several of processors the last one counts, as in Kubernetes.
    let used = current.iter().rev().find_map(|metric| {
        let resource = &metric["resource"];
        let is_cpu = metric["type"] == "Resource" && resource["name"] == "cpu";
        resource["current"].get("averageUtilization").filter(|used| is_cpu && !used.is_null())
    });
    if let Some(used) = used {
        status["currentCPUUtilizationPercentage"] = used.clone();
    }
    if !current.is_empty() {
        note(CURRENT, current.iter().map(|metric| each(metric, older_current)).collect());
    }
    let conditions = take_list(&mut status, "conditions");
    if !conditions.is_empty() {
        note(CONDITIONS, conditions.into());
    }
    if let Some(status) = status.as_object_mut() {
        // Of this form, both are always told.
        for count in ["currentReplicas", "desiredReplicas"] {
            status.entry(count).or_insert_with(|| 0.into());
        }
    }
    if !status.is_null() {
        scaler["status"] = status;
    }
    forget(scaler);
    if !notes.is_empty() {
        let kept = metadata_of(scaler).entry("annotations").or_insert_with(|| json!({}));
        if let Some(kept) = kept.as_object_mut() {
            kept.extend(notes);
        }
    }
}

fn take(scaler: &mut Value) {
    let noted = |scaler: &Value, key: &str| -> Option<Value> {
        let text = scaler["metadata"]["annotations"].get(key)?.as_str()?;
        Some(reader::read(text.as_bytes(), Limits::default()).ok()?.value)
    };
    let list = |noted: Option<Value>| match noted {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let newer = |noted: Option<Value>, change: fn(&str, &Value) -> Value| -> Value {
        list(noted).iter().map(|metric| each(metric, change)).collect()
    };
    let metrics = newer(noted(scaler, METRICS), newer_target);
    let mut metrics = list(fitting("spec", "metrics", metrics));
    let current = newer(noted(scaler, CURRENT), newer_current);
    let current = list(fitting("status", "currentMetrics", current));
    let conditions = noted(scaler, CONDITIONS).and_then(|noted| fitting("status", "conditions", noted));
    let conditions = list(conditions);
    let behavior = noted(scaler, BEHAVIOR).and_then(|b| fitting("spec", "behavior", recase(b, small)));
    forget(scaler);
    let spec = section(scaler, "spec");
    let told = spec.remove("targetCPUUtilizationPercentage").filter(|told| !told.is_null());
    metrics.extend(told.map(share_of_cpu));
    if metrics.is_empty() {
        metrics.push(share_of_cpu(DEFAULT_SHARE.into()));
    }
    spec.insert("metrics".into(), metrics.into());
    if let Some(behavior) = behavior {
        spec.insert("behavior".into(), behavior);
    }
    let Some(status) = scaler.get_mut("status").and_then(Value::as_object_mut) else { return };
    // The stored form leaves out that there are none.
    if status.get("currentReplicas").is_some_and(|count| *count == 0) {
        status.remove("currentReplicas");
    }
    let used = status.remove("currentCPUUtilizationPercentage").filter(|used| !used.is_null());
    if !current.is_empty() {
        status.insert("currentMetrics".into(), current.into());
    } else if let Some(used) = used {
        let metric = json!({"type": "Resource",
            "resource": {"name": "cpu", "current": {"averageUtilization": used}}});
        status.insert("currentMetrics".into(), json!([metric]));
    }
    if !conditions.is_empty() {
        status.insert("conditions".into(), conditions.into());
    }
}

/// What an annotation says of a field, as far as it is of the field's type: anybody may write anything there. What does not fit, or says
/// nothing, was never said.
fn fitting(part: &str, field: &str, value: Value) -> Option<Value> {
    let of = type_for("autoscaling", "v2", "HorizontalPodAutoscaler")?;
    let mut scaler = json!({part: {field: value}});
    strict::check(of, &mut scaler).ok()?;
    let says = |value: &Value| match value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => false,
    };
    Some(scaler[part][field].take()).filter(says)
}

/// Takes away the annotations that say what this form has no fields for.
fn forget(scaler: &mut Value) {
    let metadata = metadata_of(scaler);
    let Some(notes) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else { return };
    ALL.iter().for_each(|key| drop(notes.remove(*key)));
    if notes.is_empty() {
        metadata.remove("annotations");
    }
}

fn remove(value: &mut Value, key: &str) -> Option<Value> {
    value.as_object_mut()?.remove(key).filter(|found| !found.is_null())
}

fn take_list(value: &mut Value, key: &str) -> Vec<Value> {
    match remove(value, key) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    }
}

/// A metric whose source, under the name of its type, is told in other words.
fn each(metric: &Value, change: fn(&str, &Value) -> Value) -> Value {
    let Some(fields) = metric.as_object() else { return metric.clone() };
    let changed = fields.iter().map(|(key, value)| match key.as_str() {
        "object" | "pods" | "resource" | "containerResource" | "external" if value.is_object() => {
            (key.clone(), change(key, value))
        }
        _ => (key.clone(), value.clone()),
    });
    Value::Object(changed.collect())
}

/// Names of fields in both forms.
type Names = &'static [(&'static str, &'static str)];

/// What a metric is of, by names: (stored, here). Of some, the stored form has them within `metric`.
fn names(of: &str) -> (Names, Names) {
    match of {
        "object" => (&[("describedObject", "target")], &[("name", "metricName"), ("selector", "selector")]),
        "pods" => (&[], &[("name", "metricName"), ("selector", "selector")]),
        "external" => (&[], &[("name", "metricName"), ("selector", "metricSelector")]),
        _ => (&[("name", "name"), ("container", "container")], &[]),
    }
}

/// The fields of a target, or of what is now: (stored, here).
fn amounts(of: &str, current: bool) -> Names {
    match (of, current) {
        ("object", false) => &[("value", "targetValue"), ("averageValue", "averageValue")],
        ("object", true) => &[("value", "currentValue"), ("averageValue", "averageValue")],
        (_, false) => &[
            ("value", "targetValue"),
            ("averageValue", "targetAverageValue"),
            ("averageUtilization", "targetAverageUtilization"),
        ],
        (_, true) => &[
            ("value", "currentValue"),
            ("averageValue", "currentAverageValue"),
            ("averageUtilization", "currentAverageUtilization"),
        ],
    }
}

fn copy(from: &Value, to: &mut Value, names: impl Iterator<Item = (&'static str, &'static str)>) {
    for (old, new) in names {
        if let Some(value) = from.get(old).filter(|value| !value.is_null()) {
            to[new] = value.clone();
        }
    }
}

fn older(of: &str, source: &Value, current: bool) -> Value {
    let (own, metric) = names(of);
    let mut out = json!({});
    copy(source, &mut out, own.iter().copied());
    copy(&source["metric"], &mut out, metric.iter().copied());
    copy(&source[if current { "current" } else { "target" }], &mut out, amounts(of, current).iter().copied());
    out
}

fn newer(of: &str, source: &Value, current: bool) -> Value {
    let swap = |(stored, here): &(&'static str, &'static str)| (*here, *stored);
    let (own, metric) = names(of);
    let mut out = json!({});
    copy(source, &mut out, own.iter().map(swap));
    if !metric.is_empty() {
        let mut named = json!({});
        copy(source, &mut named, metric.iter().map(swap));
        out["metric"] = named;
    }
    let mut amount = json!({});
    copy(source, &mut amount, amounts(of, current).iter().map(swap));
    if !current {
        // The older form does not say of which sort a target is: it is what is told of it.
        let has = |field: &str| amount.get(field).is_some();
        let sort = match of {
            "pods" => "AverageValue",
            "object" if has("averageValue") => "AverageValue",
            "external" if !has("value") => "AverageValue",
            "object" | "external" => "Value",
            _ if has("averageUtilization") => "Utilization",
            _ => "AverageValue",
        };
        amount["type"] = sort.into();
    }
    out[if current { "current" } else { "target" }] = amount;
    out
}

fn older_target(of: &str, source: &Value) -> Value {
    older(of, source, false)
}

fn older_current(of: &str, source: &Value) -> Value {
    older(of, source, true)
}

fn newer_target(of: &str, source: &Value) -> Value {
    newer(of, source, false)
}

fn newer_current(of: &str, source: &Value) -> Value {
    newer(of, source, true)
}

/// Kubernetes writes behavior with capital letters, and reads it with either.
fn recase(value: Value, first: fn(char) -> char) -> Value {
    match value {
        Value::Object(map) => {
            let renamed = map.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| {
                let mut letters = key.chars();
                let key =
                    letters.next().map_or_else(String::new, |c| first(c).to_string() + letters.as_str());
                (key, recase(value, first))
            });
            Value::Object(renamed.collect())
        }
        Value::Array(list) => list.into_iter().map(|value| recase(value, first)).collect(),
        other => other,
    }
}

fn capital(c: char) -> char {
    c.to_ascii_uppercase()
}

fn small(c: char) -> char {
    c.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each sort of metric, with all that may be said.
    fn stored() -> Value {
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a", "annotations": {"mine": "too"}},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 1, "maxReplicas": 9,
                "metrics": [
                    {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
                    {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                        "target": {"type": "Utilization", "averageUtilization": 50}}},
                    {"type": "Pods", "pods": {"metric": {"name": "p", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "1k"}}},
                    {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "o"},
                        "target": {"type": "Value", "value": "2"}}},
                    {"type": "External", "external": {"metric": {"name": "e", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "3"}}},
                    {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
                ],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60, "selectPolicy": "Max",
                    "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}},
            },
            "status": {
                "currentReplicas": 2, "desiredReplicas": 3, "lastScaleTime": "2026-01-01T00:00:00Z",
                "currentMetrics": [{"type": "Resource",
                    "resource": {"name": "cpu", "current": {"averageUtilization": 70, "averageValue": "7m"}}}],
                "conditions": [{"type": "AbleToScale", "status": "True", "reason": "r", "message": "m"}],
            },
        })
    }

    #[test]
    fn nothing_is_lost_on_the_way_there_and_back() {
        let mut value = stored();
        EDITION.show(&mut value);
        assert_eq!(value["apiVersion"], "autoscaling/v1");
        assert_eq!(value["spec"]["targetCPUUtilizationPercentage"], 60);
        assert_eq!(value["status"]["currentCPUUtilizationPercentage"], 70);
        assert!(value["spec"].get("metrics").is_none() && value["status"].get("conditions").is_none());
        let notes = &value["metadata"]["annotations"];
        assert_eq!(notes["mine"], "too");
        let read = |key: &str| serde_json::from_str::<Value>(notes[key].as_str().unwrap()).unwrap();
        assert_eq!(read(METRICS)[0]["resource"], json!({"name": "memory", "targetAverageValue": "1Gi"}));
        assert_eq!(read(METRICS)[2]["pods"]["metricName"], "p");
        assert_eq!(read(METRICS)[3]["object"]["target"], json!({"kind": "Service", "name": "s"}));
        assert_eq!(read(BEHAVIOR)["ScaleDown"]["Policies"][0]["PeriodSeconds"], 15);
        assert_eq!(read(CURRENT)[0]["resource"]["currentAverageUtilization"], 70);
        EDITION.take(&mut value);
        assert_eq!(value, stored());
    }

    #[test]
    fn a_plain_one_of_the_older_form_is_one_metric() {
        let mut value = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}});
        EDITION.take(&mut value);
        assert_eq!(value["spec"], json!({"maxReplicas": 3, "metrics": [share_of_cpu(50.into())]}));
        // What is said in no words is the default; what cannot be read in an annotation was never said.
        let mut value = json!({"metadata": {"name": "a", "annotations": {METRICS: "{", BEHAVIOR: "{}"}}, "spec": {"maxReplicas": 3}});
        EDITION.take(&mut value);
        assert_eq!(value["spec"], json!({"maxReplicas": 3, "metrics": [share_of_cpu(DEFAULT_SHARE.into())]}));
        assert_eq!(value["metadata"], json!({"name": "a"}));
        // Anybody may write anything there.
        let deep = format!("[{}]", "[".repeat(100) + &"]".repeat(100));
        for odd in [deep.as_str(), r#"[{"type": 7}]"#, r#"[{"type": "Resource", "resource": "x"}]"#, "7"] {
            let mut value = json!({"metadata": {"annotations": {METRICS: odd}}, "spec": {}});
            EDITION.take(&mut value);
            assert_eq!(value["spec"]["metrics"], json!([share_of_cpu(DEFAULT_SHARE.into())]), "{odd}");
        }
        let unknown = r#"[{"type": "Resource", "odd": 1, "resource": {"name": "memory", "odd": 2}}]"#;
        let mut value = json!({"metadata": {"annotations": {METRICS: unknown}}, "spec": {}});
        EDITION.take(&mut value);
        let metric =
            json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue"}}});
        assert_eq!(value["spec"]["metrics"], json!([metric]));
    }
}
