//! What is said of metrics that have no value, in Kubernetes' words: in a condition and an event of their own, and as the reason why an
//! autoscaler does nothing.

use serde_json::Value;

use super::spec::{Metric, Sort, Source};

/// What the cluster has no figures of.
const NO_CUSTOM_METRICS: &str = "unable to fetch metrics from custom metrics API: no custom metrics API \
                                 (custom.metrics.k8s.io) registered";
const NO_EXTERNAL_METRICS: &str =
    "unable to fetch metrics from external metrics API: the server could not find the requested resource";

/// The reason of a metric's failure.
pub(super) fn reason(sort: Sort) -> String {
    format!("FailedGet{}Metric", sort.name())
}

/// What is said of a metric of an unknown type, or without its source.
pub(super) fn unknown(metric: &Metric) -> String {
    format!("unknown metric source type {:?}", metric.type_name())
}

/// Why a metric has no value that no worker can tell.
pub(super) fn no_source(sort: Sort, source: &Source, namespace: &str) -> String {
    let name = &source.metric.name;
    match sort {
        Sort::Object => {
            let about = &source.described_object;
            format!(
                "unable to get metric {name}: {NO_CUSTOM_METRICS} on {} {namespace}/{}",
                about.kind, about.name
            )
        }
        Sort::External => {
            let selector = selector(source.metric.selector.as_ref());
            format!("unable to get external metric {namespace}/{name}/{selector}: {NO_EXTERNAL_METRICS}")
        }
        _ => format!("unable to get metric {name}: {NO_CUSTOM_METRICS}"),
    }
}

/// The same failure, as the reason why an autoscaler does nothing.
pub(super) fn as_reason(sort: Sort, source: &Source, why: &str) -> String {
    let name = &source.metric.name;
    let average = source.target.average_value.is_some();
    match sort {
        Sort::Resource => format!("failed to get {} resource metric value: {why}", source.name),
        Sort::ContainerResource => {
            format!("failed to get {} container metric value: {why}", source.container)
        }
        Sort::Pods => format!("failed to get pods metric value: {why}"),
        Sort::Object if average => {
            format!("failed to get object metric value: failed to get {name} object metric: {why}")
        }
        Sort::Object => format!("failed to get object metric value: {why}"),
        Sort::External if average => {
            format!("failed to get {name} external metric value: failed to get {name} external metric: {why}")
        }
        Sort::External => {
            format!("failed to get {name} external metric value: failed to get external metric {name}: {why}")
        }
    }
}

/// A label selector as Go writes one.
fn selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector.filter(|selector| selector.is_object()) else { return "nil".to_owned() };
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let labels: String =
        labels.map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default())).collect();
    let expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    let expressions: String = expressions
        .map(|it| {
            let text = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
            let values: Vec<&str> =
                it["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
                text("key"),
                text("operator"),
                values.join(" ")
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_written_as_go_writes_them() {
        assert_eq!(selector(None), "nil");
        assert_eq!(
            selector(Some(&json!({"matchLabels": {"a": "b", "c": "d"},
                "matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]}))),
            "&LabelSelector{MatchLabels:map[string]string{a: b,c: d,},MatchExpressions:[]LabelSelectorRequirement{\
             LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}"
        );
    }
}
