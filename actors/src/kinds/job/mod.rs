//! The job: pods until enough of them have succeeded.
//!
//! ```text
//!   pods -> tally: what runs, what ended and is not counted yet (failure_policy)
//!        -> finish: has something decided the end?   yes: all pods go   no: manage, one step (backoff)
//!        -> count: each ended pod once, in the entry that takes its finalizer -> status -> Complete or Failed, ttl
//! ```
//!
//! A pod carries a finalizer until it is counted, and both happen in one entry: no crash and no change of leaders lies between them,
//! so `uncountedTerminatedPods` is always empty.

mod backoff;
mod defaults;
mod failure_policy;
mod finish;
mod indexes;
mod manage;
mod pods;
mod selector;
mod success_policy;
mod tally;

use std::sync::Arc;

use serde_json::{Value, json};

pub(crate) use self::pods::let_go_of_orphan;
use self::{backoff::Record, failure_policy::Meaning, finish::Verdict, manage::Managed, tally::Tally};
pub use self::{defaults::default_spec, selector::select_own_pods};
use super::{claim, gather, namespace};
use crate::{
    candidates,
    input::{DeleteOptions, Propagation},
    kind::Kind,
    object::{JobDigest, Object, parse_time_ms},
    turn::Turn,
};

/// Who events are from.
const COMPONENT: &str = "job-controller";
/// Events about pods in one reaction: more of the same tell people nothing new.
const EVENTS: usize = 10;
/// Pods counted by one reaction: the rest is a next turn's.
const COUNTED: usize = 500;
/// When a refused pod is tried again.
const RETRY_MS: i64 = 10_000;

/// Takes the next step, and counts what has ended.
pub fn reconcile(turn: &mut Turn, me: &Object) {
    let Some(spec) = me.job().filter(|spec| !spec.foreign) else { return };
    if spec.status.finished().is_some() {
        after_the_end(turn, me, spec);
        return;
    }
    // Ended ones are looked at, too.
    let pods = turn.state().dependents_count(&me.meta.uid);
    if gather::gathers(turn, me, pods, gather::LARGE, me.meta.deleting()) {
        return;
    }
    let all = pods::claimed(turn, me, spec);
    let mut tally = Tally::of(spec, &all);
    let before = Record::of(me);
    let mut backoff = before;
    backoff.add(tally.ended.iter().map(|ended| (pods::ended_ms(turn, &ended.pod), ended.success)).collect());
    let mut status = base_status(turn, me, spec);
    let mut verdict = finish::verdict(turn, spec, &tally);
    // A wake-up at this very time was asked for in this turn: the rest is a next turn's.
    let later = turn.state().wake_of(&me.key) == Some(turn.now_ms());
    let ending = me.meta.deleting() || namespace::terminating(turn.state(), &me.key.namespace);
    let mut managed = Managed { active: tally.active.len(), ..Managed::default() };
    if let Some(verdict) = &verdict {
        managed.wake = stop(turn, me, &tally, verdict);
    } else if !ending && !later {
        managed = manage::manage(turn, me, spec, &tally, backoff);
        if is_complete(spec, &tally, managed.active) {
            verdict = Some(Verdict::complete());
        } else {
            note_pause(turn, me, spec, &mut status);
        }
    }
    tally.followed.retain(|index, _| !managed.followed.contains(index));
    let counted = count(turn, me, spec, &tally, verdict.as_ref(), &mut status);
    let rest = counted.rest;
    let pods = claim::owned(turn, me, Kind::POD);
    let running = write_pods(&mut status, &pods);
    if let Some(verdict) = &verdict {
        // It is written down with the first that are counted: what decided it may be among them, and is not seen again.
        finish::conclude(turn, me, &mut status, verdict, running || rest);
    }
    let mut backoff = before;
    if spec.backoff_limit_per_index.is_none() {
        backoff.add(counted.ended);
    }
    write(turn, me, status, backoff);
    if !later {
        let now = turn.now_ms();
        let deadline = finish::deadline_ms(spec).filter(|due| *due > now && verdict.is_none());
        // A first start is seen in the next reaction, which sets this.
        let wake = managed.wake.into_iter().chain(rest.then_some(now)).chain(deadline).min();
        turn.wake(&me.key, wake);
    }
}

/// The status to go on from: what does not change stays, with the time of the first start.
fn base_status(turn: &Turn, me: &Object, spec: &JobDigest) -> Value {
    let mut status = me.document.status_value();
    if !status.is_object() {
        status = json!({});
    }
    if spec.status.start_time.is_none() && !spec.suspend {
        status["startTime"] = turn.now().into();
    }
    status["uncountedTerminatedPods"] = json!({});
    status
}

fn is_complete(spec: &JobDigest, tally: &Tally, active: usize) -> bool {
    let enough = match spec.completions {
        Some(completions) => tally.succeeded >= completions,
        None => tally.succeeded > 0,
    };
    enough && active == 0
}

/// The end is decided: nothing has to run any more.
fn stop(turn: &mut Turn, me: &Object, tally: &Tally, verdict: &Verdict) -> Option<i64> {
    candidates::of(turn, me, Kind::POD).iter().for_each(|candidate| turn.remove(&candidate.key));
    for (done, pod) in tally.active.iter().enumerate() {
        if turn.full() {
            return Some(turn.now_ms());
        }
        // A job that failed counts those that ran; one that succeeded does not.
        if verdict.success {
            pods::untrack(turn, &pod.key);
        }
        if turn.delete(&pod.key, &DeleteOptions::default()).is_ok() && done < EVENTS {
            turn.event(me, "Normal", "SuccessfulDelete", format!("Deleted pod: {}", pod.key.name), COMPONENT);
        }
    }
    None
}

/// What was counted.
#[derive(Default)]
struct Counted {
    /// Pods that ended: when, and whether they succeeded.
    ended: Vec<(i64, bool)>,
    /// Some are left for a next turn.
    rest: bool,
}

/// Adds each pod that ended to the status and takes its finalizer.
fn count(
    turn: &mut Turn,
    me: &Object,
    spec: &JobDigest,
    tally: &Tally,
    verdict: Option<&Verdict>,
    status: &mut Value,
) -> Counted {
    let (mut succeeded, mut failed) = (spec.status.succeeded, spec.status.failed);
    let completions = spec.completions.unwrap_or(0);
    let mut done = indexes::Indexes::parse(&spec.status.completed_indexes, completions);
    let fails = verdict.is_some_and(|verdict| !verdict.success);
    let mut left = COUNTED;
    let mut counted = Counted::default();
    for (at, ended) in tally.ended.iter().enumerate() {
        let waits = ended.index.is_some_and(|index| tally.followed.get(&index) == Some(&at));
        if waits && verdict.is_none() && !me.meta.deleting() {
            continue;
        }
        if left == 0 || turn.full() {
            counted.rest = true;
            break;
        }
        left -= 1;
        counted.ended.push((pods::ended_ms(turn, &ended.pod), ended.success));
        pods::untrack(turn, &ended.pod.key);
        match (ended.success, ended.index) {
            (true, Some(index)) => done.insert(index),
            (true, None) => succeeded += i64::from(!spec.indexed),
            (false, _) if ended.meaning == Meaning::Ignored => {}
            (false, index) => failed += i64::from(index.is_some() || !spec.indexed),
        }
    }
    // Whatever still ran when the job failed has failed with it.
    for pod in tally.active.iter().filter(|pod| fails && pods::is_tracked(pod)) {
        if left == 0 || turn.full() {
            counted.rest = true;
            break;
        }
        left -= 1;
        pods::untrack(turn, &pod.key);
        failed += i64::from(!spec.indexed || pods::index(pod, spec).is_some());
    }
    if spec.indexed {
        succeeded = done.len();
        set_or_remove(status, "completedIndexes", Some(done.to_string()).filter(|list| !list.is_empty()));
        if spec.backoff_limit_per_index.is_some() {
            status["failedIndexes"] = tally.lost.to_string().into();
        }
    }
    set_or_remove(status, "succeeded", Some(succeeded).filter(|n| *n > 0));
    set_or_remove(status, "failed", Some(failed).filter(|n| *n > 0));
    counted
}

/// Counts the pods that are there. True when one of them may still run.
fn write_pods(status: &mut Value, pods: &[Arc<Object>]) -> bool {
    let active = || pods.iter().filter(|pod| pod.is_active_pod());
    let terminating = pods.iter().filter(|pod| pods::terminating(pod)).count();
    set_or_remove(status, "active", Some(active().count()).filter(|n| *n > 0));
    status["ready"] = active().filter(|pod| pod.pod().is_some_and(|digest| digest.ready)).count().into();
    status["terminating"] = terminating.into();
    terminating > 0 || active().next().is_some()
}

fn set_or_remove(status: &mut Value, field: &str, value: Option<impl Into<Value>>) {
    match (value, status.as_object_mut()) {
        (Some(value), _) => status[field] = value.into(),
        (None, Some(fields)) => drop(fields.remove(field)),
        (None, None) => {}
    }
}

/// Says that the job was suspended or resumed. Its deadline counts anew from there.
fn note_pause(turn: &mut Turn, me: &Object, spec: &JobDigest, status: &mut Value) {
    let now = turn.now();
    let [value, reason, message, event] = if spec.suspend {
        ["True", "JobSuspended", "Job suspended", "Suspended"]
    } else {
        ["False", "JobResumed", "Job resumed", "Resumed"]
    };
    if finish::set_condition(status, ("Suspended", value), reason, message, &now) {
        turn.event(me, "Normal", event, message.into(), COMPONENT);
        if !spec.suspend {
            status["startTime"] = now.into();
        }
    }
}

/// Writes status and back-off at once.
fn write(turn: &mut Turn, me: &Object, status: Value, backoff: Record) {
    let Some(object) = turn.state().get(&me.key).cloned() else { return };
    let mut document = object.document.with_status(status);
    let text = backoff.text();
    if object.meta.annotations.get(backoff::ANNOTATION) != text.as_ref() {
        let mut metadata = document.metadata_value();
        if !metadata["annotations"].is_object() {
            metadata["annotations"] = json!({});
        }
        set_or_remove(&mut metadata["annotations"], backoff::ANNOTATION, text);
        document = document.with_metadata(metadata);
    }
    turn.put(&me.key, document);
}

/// A job that has ended goes when its time is over.
fn after_the_end(turn: &mut Turn, me: &Object, spec: &JobDigest) {
    let ended = spec.status.finished().and_then(|c| c.last_transition_time.as_deref());
    let due = ended.and_then(parse_time_ms).zip(spec.ttl_s).map(|(at, ttl)| at + ttl.max(0) * 1000);
    let due = due.filter(|_| !me.meta.deleting());
    if due.is_some_and(|due| due <= turn.now_ms()) {
        let options =
            DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
        // It exists and there are no preconditions, so this is not refused.
        let _ = turn.delete(&me.key, &options);
    } else {
        turn.wake(&me.key, due);
    }
}
