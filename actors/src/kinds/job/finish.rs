//! The end of a job: first what decides it (SuccessCriteriaMet, FailureTarget), then, when none of its pods runs any more, the end
//! itself (Complete, Failed).

use serde_json::{Value, json};

use super::{COMPONENT, success_policy, tally::Tally};
use crate::{
    object::{JobDigest, Object, parse_time_ms},
    turn::Turn,
};

/// What decides a job's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// It succeeded; else it failed.
    pub success: bool,
    /// A word for programs.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
}

impl Verdict {
    fn new(success: bool, reason: &str, message: &str) -> Verdict {
        Verdict { success, reason: reason.into(), message: message.into() }
    }

    /// All that was asked for has succeeded.
    pub(super) fn complete() -> Verdict {
        Verdict::new(true, "CompletionsReached", "Reached expected number of succeeded pods")
    }
}

/// What decides the job's end, if something does: what did before, or the first of the limits that it is past.
pub(super) fn verdict(turn: &Turn, spec: &JobDigest, tally: &Tally) -> Option<Verdict> {
    for (kind, success) in [("SuccessCriteriaMet", true), ("FailureTarget", false)] {
        if let Some(condition) = spec.status.holds(kind) {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            return Some(Verdict {
                success,
                reason: text(&condition.reason),
                message: text(&condition.message),
            });
        }
    }
    let failed = |reason, message| Some(Verdict::new(false, reason, message));
    if let Some(why) = tally.failure() {
        return failed("PodFailurePolicy", why);
    }
    if tally.failed > spec.backoff_limit || restarted_too_often(spec, tally) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if deadline_ms(spec).is_some_and(|due| due <= turn.now_ms()) {
        return failed("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    if spec.backoff_limit_per_index.is_some() {
        let lost = tally.lost.len();
        if spec.max_failed_indexes.is_some_and(|most| lost > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return failed("MaxFailedIndexesExceeded", message);
        }
        if lost > 0 && lost + tally.done.len() >= spec.completions.unwrap_or(0) {
            return failed("FailedIndexes", "Job has failed indexes");
        }
    }
    if !spec.indexed {
        return None;
    }
    success_policy::met(spec, &tally.done).map(|message| Verdict::new(true, "SuccessPolicy", &message))
}

/// When the job has been active for too long, while it is.
pub(super) fn deadline_ms(spec: &JobDigest) -> Option<i64> {
    let began = spec.status.start_time.as_deref().and_then(parse_time_ms)?;
    let seconds = spec.active_deadline_s.filter(|_| !spec.suspend)?;
    Some(began.saturating_add(seconds.saturating_mul(1000)))
}

/// Pods that start their containers again fail the job by doing that too often.
fn restarted_too_often(spec: &JobDigest, tally: &Tally) -> bool {
    if !spec.restarts {
        return false;
    }
    let restarts: i64 = tally.active.iter().filter_map(|pod| pod.pod()).map(|pod| pod.restarts).sum();
    restarts > 0 && restarts >= spec.backoff_limit
}

/// Sets a condition as Kubernetes' job controller does. True when that changed something.
pub(super) fn set_condition(
    status: &mut Value,
    (kind, value): (&str, &str),
    reason: &str,
    message: &str,
    now: &str,
) -> bool {
    let condition = json!({"type": kind, "status": value, "reason": reason, "message": message,
        "lastProbeTime": now, "lastTransitionTime": now});
    let known = |list: &Value| list.as_array().is_some_and(|list| list.iter().any(|c| c["type"] == kind));
    if value == "False" && !known(&status["conditions"]) {
        // What never was need not be said not to be.
        return false;
    }
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(list) = status["conditions"].as_array_mut() else { return false };
    match list.iter_mut().find(|c| c["type"] == kind) {
        Some(old) if ["status", "reason", "message"].iter().all(|f| old[*f] == condition[*f]) => false,
        Some(old) => {
            *old = condition;
            true
        }
        None => {
            list.push(condition);
            true
        }
    }
}

/// Writes down the end: what decides it at once, the rest when nothing runs any more. True when the job has ended.
pub(super) fn conclude(
    turn: &mut Turn,
    me: &Object,
    status: &mut Value,
    verdict: &Verdict,
    running: bool,
) -> bool {
    let now = turn.now();
    let (first, last) =
        if verdict.success { ("SuccessCriteriaMet", "Complete") } else { ("FailureTarget", "Failed") };
    set_condition(status, (first, "True"), &verdict.reason, &verdict.message, &now);
    if running {
        return false;
    }
    set_condition(status, (last, "True"), &verdict.reason, &verdict.message, &now);
    if verdict.success {
        status["completionTime"] = now.as_str().into();
        let completions = me.job().and_then(|spec| spec.completions);
        if completions.is_some_and(|most| status["succeeded"].as_i64().unwrap_or(0) > most) {
            let message = "Too many succeeded pods running after completion count reached";
            turn.event(me, "Warning", "TooManySucceededPods", message.into(), COMPONENT);
        }
        turn.event(me, "Normal", "Completed", "Job completed".into(), COMPONENT);
    } else {
        turn.event(me, "Warning", &verdict.reason, verdict.message.clone(), COMPONENT);
    }
    true
}
