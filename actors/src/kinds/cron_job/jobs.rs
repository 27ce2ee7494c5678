//! A cron job's jobs: which of them run, and how many of those that have ended are kept.

use std::sync::Arc;

use serde_json::{Value, json};

use super::COMPONENT;
use crate::{
    input::{DeleteOptions, Propagation},
    kind::Kind,
    kinds::claim,
    object::{CronJobDigest, Object, parse_time_ms},
    turn::Turn,
};

/// The cron job's jobs, by name.
pub(super) fn own(turn: &Turn, me: &Object) -> Vec<Arc<Object>> {
    claim::owned(turn, me, Kind::JOB)
}

/// `Complete` or `Failed`; none while it runs.
pub(super) fn end(job: &Object) -> Option<&str> {
    Some(job.job()?.status.finished()?.r#type.as_str())
}

/// The list of jobs that run, and the time of the last success, brought up to date in the status.
pub(super) fn follow(turn: &mut Turn, me: &Object, spec: &CronJobDigest, status: &mut Value) {
    let jobs = own(turn, me);
    let listed = |job: &Object| spec.status.active.iter().any(|active| active.uid == job.meta.uid);
    for job in &jobs {
        let name = &job.key.name;
        match end(job) {
            None if !listed(job) => {
                let message = format!("Saw a job that the controller did not create or forgot: {name}");
                turn.event(me, "Warning", "UnexpectedJob", message, COMPONENT);
            }
            Some(end) if listed(job) => {
                let message = format!("Saw completed job: {name}, condition: {end}");
                turn.event(me, "Normal", "SawCompletedJob", message, COMPONENT);
                forget(status, job);
            }
            _ => {}
        }
        if end(job) == Some("Complete") {
            let at = job.document.status_value()["completionTime"].take();
            let later = |text: &Value| text.as_str().and_then(parse_time_ms);
            if later(&at) > later(&status["lastSuccessfulTime"]) {
                status["lastSuccessfulTime"] = at;
            }
        }
    }
    for active in &spec.status.active {
        if !jobs.iter().any(|job| job.meta.uid == active.uid) {
            let message = format!("Active job went missing: {}", active.name);
            turn.event(me, "Normal", "MissingJob", message, COMPONENT);
            forget_uid(status, &active.uid);
        }
    }
}

/// Lists a job that was just started.
pub(super) fn list(status: &mut Value, job: &Object) {
    if !status["active"].is_array() {
        status["active"] = json!([]);
    }
    if let Some(active) = status["active"].as_array_mut() {
        active.push(
            json!({"kind": "Job", "namespace": job.key.namespace, "name": job.key.name, "uid": job.meta.uid,
            "apiVersion": job.key.kind.api_version(), "resourceVersion": job.revision.to_string()}),
        );
    }
}

/// Takes a job off the list.
pub(super) fn forget(status: &mut Value, job: &Object) {
    forget_uid(status, &job.meta.uid);
}

fn forget_uid(status: &mut Value, uid: &str) {
    let Some(fields) = status.as_object_mut() else { return };
    if let Some(active) = fields.get_mut("active").and_then(Value::as_array_mut) {
        active.retain(|job| job["uid"] != uid);
        if active.is_empty() {
            fields.remove("active");
        }
    }
}

/// Deletes a job with its pods, and says so.
pub(super) fn delete(turn: &mut Turn, me: &Object, job: &Object) {
    let options = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    if turn.delete(&job.key, &options).is_ok() {
        let message = format!("Deleted job {}", job.key.name);
        turn.event(me, "Normal", "SuccessfulDelete", message, COMPONENT);
    }
}

/// Deletes the oldest jobs that have ended, beyond those that are kept.
pub(super) fn cut(turn: &mut Turn, me: &Object, spec: &CronJobDigest) {
    for (how, kept) in [("Complete", spec.successes_kept), ("Failed", spec.failures_kept)] {
        let Some(kept) = kept else { continue };
        let mut ended: Vec<Arc<Object>> =
            own(turn, me).into_iter().filter(|job| end(job) == Some(how)).collect();
        ended.sort_by_cached_key(|job| {
            let began =
                job.job().and_then(|digest| digest.status.start_time.as_deref()).and_then(parse_time_ms);
            (began, job.key.name.clone())
        });
        let surplus = ended.len().saturating_sub(usize::try_from(kept.max(0)).unwrap_or(usize::MAX));
        ended.iter().take(surplus).filter(|job| !job.meta.deleting()).for_each(|job| delete(turn, me, job));
    }
}
