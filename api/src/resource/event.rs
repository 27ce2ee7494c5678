//! Events.

use kontiki_actors::object::parse_time_ms;
use serde_json::Value;

use super::{
    Column, Strategy,
    duration::age,
    field::Errors,
    fields::{at, default_text, number, text},
    names::check_qualified,
};

/// The strategy of events.
pub static STRATEGY: Strategy = Strategy {
    default: |event| {
        if let Some(map) = event.as_object_mut() {
            default_text(map, "type", "Normal");
        }
    },
    validate,
    columns: &[
        Column::text("Last Seen"),
        Column::text("Type"),
        Column::text("Reason"),
        Column::text("Object"),
        Column::wide("Subobject"),
        Column::wide("Source"),
        Column::text("Message"),
        Column::wide("First Seen"),
        Column::wide("Count"),
        Column::wide("Name"),
    ],
    cells,
    selectable: &[
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    create_on_update: true,
    ..Strategy::PASSIVE
};

/// Bytes of some of the texts of events that tell when they happened.
const LONGEST: usize = 128;
/// Bytes of their messages.
const LONGEST_NOTE: usize = 1024;

/// The time at a field, in Unix milliseconds; none if it tells none.
pub(crate) fn time_of(event: &Value, field: &str) -> Option<i64> {
    event[field].as_str().and_then(parse_time_ms)
}

/// Those that tell when they happened are of the newer sort, which are told more of, whatever form they are written in.
fn validate(event: &Value, errors: &mut Errors) {
    let (own, involved) =
        (text(&event["metadata"], "namespace"), text(&event["involvedObject"], "namespace"));
    let timed = time_of(event, "eventTime").is_some();
    let fits = match involved.is_empty() {
        true => own == "default" || (timed && own == "kube-system"),
        false => timed || own == involved,
    };
    if !fits {
        errors.invalid_text("involvedObject.namespace", involved, "does not match event.namespace");
    }
    if !timed {
        return;
    }
    let reporter = text(event, "reportingComponent");
    if reporter.is_empty() {
        errors.required("reportingComponent", "");
    }
    for wrong in check_qualified(reporter) {
        errors.invalid_text("reportingComponent", reporter, &wrong);
    }
    for (field, required, limit) in [
        ("reportingInstance", true, LONGEST),
        ("action", true, LONGEST),
        ("reason", true, LONGEST),
        ("message", false, LONGEST_NOTE),
    ] {
        let length = text(event, field).len();
        if required && length == 0 {
            errors.required(field, "");
        }
        if length > limit {
            errors.invalid_text(field, "", &format!("can have at most {limit} characters"));
        }
    }
}

fn cells(event: &Value, now_ms: i64) -> Vec<Value> {
    let first_of = |keys: &[&[&str]]| {
        let found = keys.iter().map(|path| at(event, path)).find_map(Value::as_str);
        found
            .filter(|time| parse_time_ms(time).is_some())
            .map_or("<unknown>".to_owned(), |time| age(time, now_ms))
    };
    let first = first_of(&[&["firstTimestamp"], &["eventTime"]]);
    let series = at(event, &["series", "lastObservedTime"]).as_str();
    let last = match series {
        Some(time) => age(time, now_ms),
        None => first_of(&[&["lastTimestamp"], &["eventTime"], &["firstTimestamp"]]),
    };
    let count = match (at(event, &["series", "count"]).as_i64(), number(event, "count")) {
        (Some(count), _) => count,
        (None, count) => count.max(1),
    };
    let involved = &event["involvedObject"];
    let source = match (
        text(event, "reportingComponent"),
        text(&event["source"], "component"),
        text(&event["source"], "host"),
    ) {
        (reporter, "", _) => reporter.to_owned(),
        (_, component, "") => component.to_owned(),
        (_, component, host) => format!("{component}, {host}"),
    };
    vec![
        last.into(),
        text(event, "type").into(),
        text(event, "reason").into(),
        format!("{}/{}", text(involved, "kind").to_lowercase(), text(involved, "name")).into(),
        text(involved, "fieldPath").into(),
        source.into(),
        text(event, "message").trim().into(),
        first.into(),
        count.to_string().into(),
        text(&event["metadata"], "name").into(),
    ]
}
