//! HorizontalPodAutoscalers, as `autoscaling/v2` has them; see `editions` for `autoscaling/v1`.
//! <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/>

use serde_json::{Value, json};

use super::{
    Column, Strategy, age,
    field::Errors,
    fields::{at, default, items, number, section, text},
    names::NameRule,
};
use crate::{
    editions::autoscaler::{DEFAULT_SHARE, share_of_cpu},
    quantity::Quantity,
};

/// The strategy of autoscalers.
pub static STRATEGY: Strategy = Strategy {
    default: default_scaler,
    prepare_create: |scaler| scaler["status"] = json!({"desiredReplicas": 0}),
    validate,
    columns: &[
        Column::text("Reference"),
        Column::text("Targets"),
        Column::text("MinPods"),
        Column::text("MaxPods"),
        Column::text("Replicas"),
        Column::text("Age"),
    ],
    cells,
    status: true,
    ..Strategy::PASSIVE
};

/// Seconds that a policy may look back at most.
const LONGEST_PERIOD: i64 = 1800;
/// Seconds over which recommendations may be compared at most.
const LONGEST_WINDOW: i64 = 3600;
/// Metrics of which a table tells.
const SHOWN: usize = 2;

fn default_scaler(scaler: &mut Value) {
    let spec = section(scaler, "spec");
    default(spec, "minReplicas", 1);
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("metrics".into(), json!([share_of_cpu(DEFAULT_SHARE.into())]));
    }
    let Some(behavior) = spec.get_mut("behavior").and_then(Value::as_object_mut) else { return };
    let policy = |kind: &str, value: i64| json!({"type": kind, "value": value, "periodSeconds": 15});
    let all = || policy("Percent", 100);
    for (direction, policies) in [("scaleUp", vec![policy("Pods", 4), all()]), ("scaleDown", vec![all()])] {
        let rules = super::fields::object(behavior, direction);
        default(rules, "selectPolicy", "Max");
        default(rules, "policies", policies);
        // How long to wait with fewer is left to whoever scales.
        if direction == "scaleUp" {
            default(rules, "stabilizationWindowSeconds", 0);
        }
    }
}

fn validate(scaler: &Value, errors: &mut Errors) {
    let spec = &scaler["spec"];
    let (least, most) = (spec["minReplicas"].as_i64().unwrap_or(1), number(spec, "maxReplicas"));
    // To none at all nobody is scaled, as in Kubernetes without the gate HPAScaleToZero.
    if least < 1 {
        errors.invalid("spec.minReplicas", &spec["minReplicas"], "must be greater than or equal to 1");
    }
    if most < 1 {
        errors.invalid("spec.maxReplicas", &most.into(), "must be greater than 0");
    }
    if most < least {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.invalid("spec.maxReplicas", &most.into(), detail);
    }
    reference(&spec["scaleTargetRef"], "spec.scaleTargetRef", errors);
    for (at, each) in items(spec, "metrics") {
        metric(each, &format!("spec.metrics[{at}]"), errors);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules_of = &spec["behavior"][direction];
        if rules_of.is_object() {
            rules(rules_of, &format!("spec.behavior.{direction}"), errors);
        }
    }
}

fn segment(value: &Value, key: &str, path: &str, missing: &str, errors: &mut Errors) {
    let (found, path) = (text(value, key), format!("{path}.{key}"));
    if found.is_empty() {
        errors.required(&path, missing);
        return;
    }
    for wrong in NameRule::Segment.check(found) {
        errors.invalid_text(&path, found, &wrong);
    }
}

fn reference(to: &Value, path: &str, errors: &mut Errors) {
    segment(to, "kind", path, "", errors);
    segment(to, "name", path, "", errors);
}

/// The fields of the sources of metrics, in Kubernetes' order of looking at them, and their types.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];

fn metric(metric: &Value, path: &str, errors: &mut Errors) {
    let sort = text(metric, "type");
    let known = ["ContainerResource", "External", "Object", "Pods", "Resource"];
    if sort.is_empty() {
        errors.required(&format!("{path}.type"), "must specify a metric source type");
    } else {
        errors.one_of(&format!("{path}.type"), &metric["type"], &known);
    }
    let told: Vec<&str> =
        SOURCES.iter().map(|(field, _)| *field).filter(|field| metric[*field].is_object()).collect();
    if let Some(first) = told.first() {
        source(&metric[*first], first, &format!("{path}.{first}"), errors);
    }
    let Some((expected, _)) = SOURCES.iter().find(|(_, known)| *known == sort) else { return };
    if !metric[*expected].is_object() {
        let detail = "must populate information for the given metric source";
        errors.required(&format!("{path}.{expected}"), detail);
    }
    if told.len() > 1 || (told.len() == 1 && told[0] != *expected) {
        for other in told.into_iter().filter(|field| field != expected) {
            errors.forbidden(&format!("{path}.{other}"), "must populate the given metric source only");
        }
    }
}

fn source(source: &Value, field: &str, path: &str, errors: &mut Errors) {
    if field == "object" {
        reference(&source["describedObject"], &format!("{path}.describedObject"), errors);
    }
    if matches!(field, "resource" | "containerResource") && text(source, "name").is_empty() {
        errors.required(&format!("{path}.name"), "must specify a resource name");
    }
    if field == "containerResource" {
        let (container, path) = (text(source, "container"), format!("{path}.container"));
        if container.is_empty() {
            errors.required(&path, "must specify a container");
        } else {
            NameRule::Label.check(container).iter().for_each(|e| errors.invalid_text(&path, container, e));
        }
    }
    if matches!(field, "object" | "external" | "pods") {
        segment(&source["metric"], "name", &format!("{path}.metric"), "must specify a metric name", errors);
    }
    let (target, path) = (&source["target"], format!("{path}.target"));
    target_of(target, &path, errors);
    let has = |field: &str| !target[field].is_null();
    let both = |one: &str, other: &str| has(one) && has(other);
    let neither = |one: &str, other: &str| !has(one) && !has(other);
    match field {
        "object" if neither("value", "averageValue") => {
            errors.required(&format!("{path}.averageValue"), "must set either a target value or averageValue")
        }
        "external" if neither("value", "averageValue") => errors.required(
            &format!("{path}.averageValue"),
            "must set either a target value for metric or a per-pod target",
        ),
        "external" if both("value", "averageValue") => errors.forbidden(
            &format!("{path}.value"),
            "may not set both a target value for metric and a per-pod target",
        ),
        "pods" if !has("averageValue") => {
            errors.required(&format!("{path}.averageValue"), "must specify a positive target averageValue");
        }
        "resource" | "containerResource" if neither("averageUtilization", "averageValue") => errors.required(
            &format!("{path}.averageUtilization"),
            "must set either a target raw value or a target utilization",
        ),
        "resource" | "containerResource" if both("averageUtilization", "averageValue") => errors.forbidden(
            &format!("{path}.averageValue"),
            "may not set both a target raw value and a target utilization",
        ),
        _ => {}
    }
}

fn target_of(target: &Value, path: &str, errors: &mut Errors) {
    let sort = text(target, "type");
    if sort.is_empty() {
        errors.required(&format!("{path}.type"), "must specify a metric target type");
    }
    if !matches!(sort, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.invalid_text(&format!("{path}.type"), sort, detail);
    }
    for field in ["value", "averageValue"] {
        if target[field].as_str().and_then(|t| t.parse::<Quantity>().ok()).is_some_and(|q| q.nanos() <= 0) {
            errors.invalid(&format!("{path}.{field}"), &target[field], "must be positive");
        }
    }
    if target["averageUtilization"].as_i64().is_some_and(|share| share < 1) {
        let detail = "must be greater than 0";
        errors.invalid(&format!("{path}.averageUtilization"), &target["averageUtilization"], detail);
    }
}

fn rules(rules: &Value, path: &str, errors: &mut Errors) {
    let (window, at) = (&rules["stabilizationWindowSeconds"], format!("{path}.stabilizationWindowSeconds"));
    if window.as_i64().is_some_and(|window| window < 0) {
        errors.invalid(&at, window, "must be greater than or equal to zero");
    }
    if window.as_i64().is_some_and(|window| window > LONGEST_WINDOW) {
        errors.invalid(&at, window, &format!("must be less than or equal to {LONGEST_WINDOW}"));
    }
    errors.one_of(&format!("{path}.selectPolicy"), &rules["selectPolicy"], &["Disabled", "Max", "Min"]);
    if items(rules, "policies").next().is_none() {
        errors.required(&format!("{path}.policies"), "must specify at least one Policy");
    }
    for (at, policy) in items(rules, "policies") {
        let path = format!("{path}.policies[{at}]");
        if !matches!(text(policy, "type"), "Pods" | "Percent") {
            errors.not_supported(&format!("{path}.type"), text(policy, "type"), &["Percent", "Pods"]);
        }
        for field in ["value", "periodSeconds"] {
            if number(policy, field) <= 0 {
                let value = number(policy, field).into();
                errors.invalid(&format!("{path}.{field}"), &value, "must be greater than zero");
            }
        }
        if number(policy, "periodSeconds") > LONGEST_PERIOD {
            let detail = format!("must be less than or equal to {LONGEST_PERIOD}");
            errors.invalid(&format!("{path}.periodSeconds"), &policy["periodSeconds"], &detail);
        }
    }
}

fn cells(scaler: &Value, now_ms: i64) -> Vec<Value> {
    let (spec, status) = (&scaler["spec"], &scaler["status"]);
    let target = &spec["scaleTargetRef"];
    let least = spec["minReplicas"].as_i64().map_or("<unset>".to_owned(), |least| least.to_string());
    vec![
        format!("{}/{}", text(target, "kind"), text(target, "name")).into(),
        targets(spec, status).into(),
        least.into(),
        number(spec, "maxReplicas").into(),
        number(status, "currentReplicas").into(),
        age(scaler, now_ms),
    ]
}

fn targets(spec: &Value, status: &Value) -> String {
    let told: Vec<String> = items(spec, "metrics")
        .map(|(at, metric)| target_text(metric, &status["currentMetrics"][at]))
        .collect();
    match told.len() {
        0 => "<none>".into(),
        count if count > SHOWN => format!("{} + {} more...", told[..SHOWN].join(", "), count - SHOWN),
        _ => told.join(", "),
    }
}

/// What is now, and what shall be.
fn target_text(metric: &Value, now: &Value) -> String {
    let Some((field, _)) = SOURCES.iter().find(|(_, sort)| *sort == text(metric, "type")) else {
        return "<unknown type>".into();
    };
    let (source, current) = (&metric[*field], at(now, &[field, "current"]));
    let target = &source["target"];
    let told = |key: &str| current[key].as_str().unwrap_or("<unknown>").to_owned();
    let text_of = |key: &str| text(target, key).to_owned();
    let average = target["averageValue"].is_string();
    match *field {
        "object" | "external" if average => {
            format!("{}/{} (avg)", told("averageValue"), text_of("averageValue"))
        }
        "object" | "external" => format!("{}/{}", told("value"), text_of("value")),
        "pods" => format!("{}/{}", told("averageValue"), text_of("averageValue")),
        _ if average => {
            format!("{}: {}/{}", text(source, "name"), told("averageValue"), text_of("averageValue"))
        }
        _ => {
            let percent = |value: &Value, absent: &str| {
                value.as_i64().map_or(absent.to_owned(), |percent| format!("{percent}%"))
            };
            let (now, shall) = (&current["averageUtilization"], &target["averageUtilization"]);
            format!("{}: {}/{}", text(source, "name"), percent(now, "<unknown>"), percent(shall, "<auto>"))
        }
    }
}
