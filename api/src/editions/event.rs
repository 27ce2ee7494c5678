//! Events as `events.k8s.io/v1` has them: other names for the same, and rules of their own.
//! <https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/>

use kontiki_actors::Kind;
use serde_json::Value;

use super::{Edition, rename};
use crate::resource::{
    event::time_of,
    field::Errors,
    fields::{number, text},
};

/// As it is called here, and in `v1`.
const NAMES: [(&str, &str); 7] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

pub(super) const EDITION: Edition = Edition {
    kind: Kind::EVENT,
    group: "events.k8s.io",
    version: "v1",
    show,
    take: |event| rename(event, NAMES.into_iter()),
    validate,
    selectable: &[
        ("reason", "reason"),
        ("regarding.kind", "involvedObject.kind"),
        ("regarding.namespace", "involvedObject.namespace"),
        ("regarding.name", "involvedObject.name"),
        ("regarding.uid", "involvedObject.uid"),
        ("regarding.apiVersion", "involvedObject.apiVersion"),
        ("regarding.resourceVersion", "involvedObject.resourceVersion"),
        ("regarding.fieldPath", "involvedObject.fieldPath"),
        ("reportingController", "reportingComponent"),
        ("type", "type"),
    ],
};

fn show(event: &mut Value) {
    rename(event, NAMES.iter().map(|(here, stored)| (*stored, *here)));
    // It has to be there: older clients tell no time here, and Kubernetes shows that as null.
    if let Some(event) = event.as_object_mut() {
        event.entry("eventTime").or_insert(Value::Null);
    }
}

/// What stays as it is once it was told. Paths and order are Kubernetes'; a few are called by the names of this form.
const FIXED: [(&str, &str); 12] = [
    ("involvedObject", "involvedObject"),
    ("reason", "reason"),
    ("message", "message"),
    ("source", "source"),
    ("firstTimestamp", "firstTimestamp"),
    ("lastTimestamp", "lastTimestamp"),
    ("count", "count"),
    ("type", "type"),
    ("action", "action"),
    ("related", "related"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

/// New ones carry none of what this form has for old events only; later nothing changes but the series.
fn validate(event: &Value, old: Option<&Value>, errors: &mut Errors) {
    // Of all names, this one alone is told as it is called here.
    errors.rename("reportingComponent", "reportingController");
    if old.is_none_or(|old| old["series"] != event["series"]) {
        series(event, errors);
    }
    if let Some(old) = old {
        for (field, path) in FIXED {
            if !crate::resource::fields::same(&event[field], &old[field]) {
                errors.invalid(path, &event[field], "field is immutable");
            }
        }
        if time_of(event, "eventTime") != time_of(old, "eventTime") {
            errors.invalid("eventTime", &event["eventTime"], "field is immutable");
        }
        return;
    }
    if time_of(event, "eventTime").is_none() {
        errors.required("eventTime", "");
    }
    let kind = text(event, "type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid_text("type", "", &format!("has invalid value: {kind}"));
    }
    let unset = "needs to be unset";
    for field in ["firstTimestamp", "lastTimestamp"] {
        if time_of(event, field).is_some() {
            errors.invalid_text(field, "", unset);
        }
    }
    if number(event, "count") != 0 {
        errors.invalid_text("count", "", unset);
    }
    let source = &event["source"];
    if !text(source, "component").is_empty() || !text(source, "host").is_empty() {
        errors.invalid_text("source", "", unset);
    }
}

fn series(event: &Value, errors: &mut Errors) {
    let series = &event["series"];
    if !series.is_object() {
        return;
    }
    if number(series, "count") < 2 {
        errors.invalid_text("series.count", "", "should be at least 2");
    }
    if time_of(series, "lastObservedTime").is_none() {
        errors.required("series.lastObservedTime", "");
    }
}
