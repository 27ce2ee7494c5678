//! Events.

use kontiki_actors::object::parse_time_ms;
use serde_json::Value;

use super::{
    Column, Strategy,
    duration::age,
    field::Errors,
    fields::{at, default_text, number, text},
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

fn validate(event: &Value, errors: &mut Errors) {
    let (own, involved) =
        (text(&event["metadata"], "namespace"), text(&event["involvedObject"], "namespace"));
    let fits = if involved.is_empty() { own == "default" } else { own == involved };
    if !fits {
        errors.invalid_text("involvedObject.namespace", involved, "does not match event.namespace");
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
