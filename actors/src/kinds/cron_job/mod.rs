//! The cron job: starts a job at each time of its schedule.
//!
//! ```text
//!   jobs -> which run, which ended     schedule, zone -> missed: the start that is due -> start, by the concurrency policy
//!        -> status, the wake-up of the next start, those that are too many go
//! ```

mod jobs;
mod missed;
mod schedule;
mod zone;

use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Map, Value, json};

pub use self::{schedule::Schedule, zone::zone};
use super::{job, namespace};
use crate::{
    candidates::{self, Made},
    kind::Kind,
    object::{CronJobDigest, Object, ObjectKey, parse_time_ms, rfc3339},
    turn::Turn,
};

/// Who events are from.
const COMPONENT: &str = "cronjob-controller";
/// The start that a job is for.
const STARTED_FOR: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// Starts what is due, and follows what was started.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let Some(spec) = me.cron_job() else { return };
    let mut status = me.document.status_value();
    if !status.is_object() {
        status = json!({});
    }
    jobs::follow(turn, me, spec, &mut status);
    let ending = me.meta.deleting() || namespace::terminating(turn.state(), &me.key.namespace);
    if ending || spec.suspend {
        candidates::withdraw(turn, me, Kind::JOB);
    }
    let next = if ending || spec.suspend { None } else { run(turn, me, spec, &mut status) };
    turn.put_status(me, status);
    if !ending {
        jobs::cut(turn, me, spec);
    }
    turn.wake(&me.key, next.map(|at_s| at_s.saturating_mul(1000)));
}

/// Starts the job that is due. When the next one is, Unix seconds.
fn run(turn: &mut Turn, me: &Object, spec: &CronJobDigest, status: &mut Value) -> Option<i64> {
    let zone = match &spec.time_zone {
        None => TimeZone::UTC,
        Some(name) => match zone(name) {
            Some(zone) => zone,
            None => {
                let message = format!("invalid timeZone: {name:?}: unknown time zone {name}");
                turn.event(me, "Warning", "UnknownTimeZone", message, COMPONENT);
                return None;
            }
        },
    };
    let schedule = match Schedule::parse(&spec.schedule) {
        Ok(schedule) => schedule,
        Err(why) => {
            let message = format!("unparseable schedule: {:?} : {why}", spec.schedule);
            turn.event(me, "Warning", "UnparseableSchedule", message, COMPONENT);
            return None;
        }
    };
    let now_s = turn.now_ms().div_euclid(1000);
    let last = spec.status.last_schedule_time.as_deref().and_then(parse_time_ms);
    let mut after_s = last.unwrap_or(me.meta.created_ms).div_euclid(1000);
    if let Some(deadline) = spec.starting_deadline_s {
        after_s = after_s.max(now_s.saturating_sub(deadline));
    }
    let due = match missed::due(&schedule, &zone, after_s, now_s) {
        Ok(due) => due,
        Err(why) => {
            let message = format!("invalid schedule: {} : {why}", spec.schedule);
            turn.event(me, "Warning", "InvalidSchedule", message, COMPONENT);
            return None;
        }
    };
    let mut again_s = None;
    if let Some(due) = due {
        if due.many {
            let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            turn.event(me, "Warning", "TooManyMissedTimes", message.into(), COMPONENT);
        }
        again_s = start(turn, me, spec, status, due.at_s, &zone);
    }
    let next_s = schedule.next(due.map_or(after_s, |due| due.at_s).max(now_s), &zone);
    next_s.into_iter().chain(again_s).min()
}

/// Starts the job for a time, unless that was done before. When to try again, Unix seconds, if one was refused a moment ago.
fn start(
    turn: &mut Turn,
    me: &Object,
    spec: &CronJobDigest,
    status: &mut Value,
    at_s: i64,
    zone: &TimeZone,
) -> Option<i64> {
    let name = format!("{}-{}", me.key.name, at_s.div_euclid(60));
    let runs = |status: &Value| status["active"].as_array().is_some_and(|active| !active.is_empty());
    let listed = spec.status.active.iter().any(|job| job.name == name);
    if listed || status["lastScheduleTime"] == rfc3339(at_s * 1000).as_str() {
        return None;
    }
    // One after the other, as in Kubernetes, whose controller waits for the answer.
    let leave = candidates::leave(turn, me, Kind::JOB, 1);
    if leave.most == 0 || !candidates::of(turn, me, Kind::JOB).is_empty() {
        return leave.wake.map(|at_ms| at_ms.saturating_add(999).div_euclid(1000));
    }
    if spec.concurrency == "Forbid" && runs(status) {
        let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
        turn.event(me, "Normal", "JobAlreadyActive", message.into(), COMPONENT);
        return None;
    }
    if spec.concurrency == "Replace" {
        for job in jobs::own(turn, me).iter().filter(|job| jobs::end(job).is_none()) {
            jobs::delete(turn, me, job);
            jobs::forget(status, job);
        }
    }
    let key = ObjectKey::new(Kind::JOB, &me.key.namespace, &name);
    if let Some(there) = turn.state().get(&key) {
        // Somebody took the name; only a job of its own is the one that was to be started.
        if there.meta.controller().is_none_or(|owner| owner.uid != me.meta.uid) {
            let message = format!("Error creating job: jobs.batch {name:?} already exists");
            turn.event(me, "Warning", "FailedCreate", message, COMPONENT);
            return None;
        }
    }
    match candidates::make(turn, me, Kind::JOB, job_of(me, &name, at_s, zone)) {
        Made::There(job) => note_started(turn, me, status, &job, at_s),
        // It is started when it is there.
        Made::Waits => {}
        Made::Taken => status["lastScheduleTime"] = rfc3339(at_s * 1000).into(),
    }
    None
}

/// Says that a job was started.
fn note_started(turn: &mut Turn, me: &Object, status: &mut Value, job: &Object, at_s: i64) {
    turn.event(me, "Normal", "SuccessfulCreate", format!("Created job {}", job.key.name), COMPONENT);
    jobs::list(status, job);
    status["lastScheduleTime"] = rfc3339(at_s * 1000).into();
}

/// A job that somebody was asked about is there. `wanted` is it as it was wanted, and says for which time.
pub(crate) fn admitted(turn: &mut Turn, me: &Object, job: &Object, wanted: &Value) {
    let at_ms = wanted["metadata"]["annotations"][STARTED_FOR].as_str().and_then(parse_time_ms);
    let at_s = at_ms.unwrap_or(job.meta.created_ms).div_euclid(1000);
    let mut status = me.document.status_value();
    if !status.is_object() {
        status = json!({});
    }
    note_started(turn, me, &mut status, job, at_s);
    turn.put_status(me, status);
}

/// It is not, for this reason.
pub(crate) fn refused(turn: &mut Turn, me: &Object, why: &str) {
    turn.event(me, "Warning", "FailedCreate", format!("Error creating job: {why}"), COMPONENT);
}

/// The job of the template for a start.
fn job_of(me: &Object, name: &str, at_s: i64, zone: &TimeZone) -> Value {
    let template = me.document.spec_value()["jobTemplate"].take();
    let mut metadata = json!({
        "name": name, "namespace": me.key.namespace, "ownerReferences": [Turn::controller_reference(me)],
        "annotations": {},
    });
    for field in ["labels", "annotations"] {
        if let Some(map) = template["metadata"].get(field).filter(|map| map.is_object()) {
            metadata[field] = map.clone();
        }
    }
    metadata["annotations"][STARTED_FOR] = in_zone(at_s, zone).into();
    let mut spec = template["spec"].clone();
    if let Some(fields) = spec.as_object_mut() {
        job::default_spec(fields);
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if metadata.get("labels").is_none() && labels.is_object() {
        metadata["labels"] = labels.clone();
    }
    json!({"metadata": metadata, "spec": spec, "status": Map::new()})
}

/// `2026-01-01T02:30:00+01:00`, and with `Z` in UTC.
fn in_zone(at_s: i64, zone: &TimeZone) -> String {
    let at = Timestamp::from_second(at_s).unwrap_or(Timestamp::UNIX_EPOCH);
    if *zone == TimeZone::UTC {
        at.to_string()
    } else {
        at.display_with_offset(zone.to_offset(at)).to_string()
    }
}
