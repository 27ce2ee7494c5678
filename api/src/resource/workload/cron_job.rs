//! CronJobs.

use kontiki_actors::kinds::cron_job::{Schedule, zone as known_zone};
use serde_json::Value;

use super::{containers_and_images, job};
use crate::resource::{
    Column, Strategy, age, duration,
    field::Errors,
    fields::{at, default, default_text, items, object, section, text},
    or_none, pod, selector_text,
};

/// The strategy of cron jobs.
pub static STRATEGY: Strategy = Strategy {
    default: |cron| {
        let spec = section(cron, "spec");
        default_text(spec, "concurrencyPolicy", "Allow");
        default(spec, "suspend", false);
        default(spec, "successfulJobsHistoryLimit", 3);
        default(spec, "failedJobsHistoryLimit", 1);
        job::default_pods(object(object(spec, "jobTemplate"), "spec"));
    },
    validate,
    warnings: |cron| {
        let path = ["spec", "jobTemplate", "spec", "template", "spec"];
        pod::template_warnings(at(cron, &path), &path.join("."))
    },
    columns: &[
        Column::text("Schedule"),
        Column::text("Timezone"),
        Column::text("Suspend"),
        Column::number("Active"),
        Column::text("Last Schedule"),
        Column::text("Age"),
        Column::wide("Containers"),
        Column::wide("Images"),
        Column::wide("Selector"),
    ],
    cells,
    status: true,
    ..Strategy::PASSIVE
};

fn validate(cron: &Value, errors: &mut Errors) {
    let name = text(&cron["metadata"], "name");
    if name.len() > 52 {
        // The names of its jobs are eleven letters longer.
        errors.invalid_text("metadata.name", name, "must be no more than 52 characters");
    }
    let spec = &cron["spec"];
    match text(spec, "schedule") {
        "" => errors.required("spec.schedule", ""),
        told if told.contains("TZ") => {
            let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.invalid_text("spec.schedule", told, detail);
        }
        told => {
            if let Err(wrong) = Schedule::parse(told) {
                errors.invalid_text("spec.schedule", told, &wrong);
            }
        }
    }
    if let Some(zone) = spec["timeZone"].as_str() {
        time_zone(zone, errors);
    }
    for key in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        errors.non_negative(&format!("spec.{key}"), &spec[key]);
    }
    let policies = ["Allow", "Forbid", "Replace"];
    errors.one_of("spec.concurrencyPolicy", &spec["concurrencyPolicy"], &policies);
    job::validate_spec(&spec["jobTemplate"]["spec"], "spec.jobTemplate.spec", errors);
}

/// A time zone, by the table that those have who run it.
fn time_zone(zone: &str, errors: &mut Errors) {
    let detail = if zone.is_empty() {
        "timeZone must be nil or non-empty string".to_owned()
    } else if zone.eq_ignore_ascii_case("Local") {
        "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned()
    } else if known_zone(zone).is_none() {
        format!("unknown time zone {zone}")
    } else {
        return;
    };
    errors.invalid_text("spec.timeZone", zone, &detail);
}

fn cells(cron: &Value, now_ms: i64) -> Vec<Value> {
    let (spec, status) = (&cron["spec"], &cron["status"]);
    let suspended = match spec["suspend"].as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let last = status["lastScheduleTime"].as_str().map(|time| duration::age(time, now_ms));
    let job = at(spec, &["jobTemplate", "spec"]);
    let [names, images] = containers_and_images(at(job, &["template", "spec"]));
    vec![
        text(spec, "schedule").into(),
        or_none(text(spec, "timeZone")),
        suspended.into(),
        items(status, "active").count().into(),
        or_none(&last.unwrap_or_default()),
        age(cron, now_ms),
        names,
        images,
        or_none(&selector_text(&job["selector"])),
    ]
}
