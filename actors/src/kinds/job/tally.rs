//! What a job's pods come to: each that ended adds to the status once, in the entry that lets go of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kontiki_hooks::{Defect, planted};

use super::{
    failure_policy::{Meaning, meaning},
    indexes::Indexes,
    pods,
};
use crate::object::{JobDigest, Object};

/// A pod that ended and has still to be counted.
pub(super) struct Ended {
    pub pod: Arc<Object>,
    pub index: Option<i64>,
    pub success: bool,
    pub meaning: Meaning,
}

/// What the pods come to.
pub(super) struct Tally {
    /// Pods that run or are to run.
    pub active: Vec<Arc<Object>>,
    /// Pods that ended and have still to be counted.
    pub ended: Vec<Ended>,
    /// Successes, with those still to be counted.
    pub succeeded: i64,
    /// Failures, with those still to be counted.
    pub failed: i64,
    /// Indexes that have succeeded.
    pub done: Indexes,
    /// Indexes that have failed.
    pub lost: Indexes,
    /// By index, the last pod that failed and is still to be followed by another one. It is counted when that is there: it carries
    /// the index's failures.
    pub followed: BTreeMap<i64, usize>,
    /// Pods that leave, by index.
    pub leaving: Vec<Option<i64>>,
}

impl Tally {
    /// Looks at the pods.
    pub(super) fn of(spec: &JobDigest, all: &[Arc<Object>]) -> Tally {
        let completions = spec.completions.unwrap_or(0);
        let status = &spec.status;
        let mut tally = Tally {
            active: all.iter().filter(|pod| pod.is_active_pod()).cloned().collect(),
            ended: Vec::new(),
            succeeded: status.succeeded,
            failed: status.failed,
            done: Indexes::parse(&status.completed_indexes, completions),
            lost: Indexes::parse(status.failed_indexes.as_deref().unwrap_or(""), completions),
            followed: BTreeMap::new(),
            leaving: Vec::new(),
        };
        for pod in all {
            let index = if spec.indexed { pods::index(pod, spec) } else { None };
            if pods::terminating(pod) {
                tally.leaving.push(index);
            }
            let success = pods::succeeded(pod);
            let counts = pods::is_tracked(pod) || success && planted(Defect::CompletionCountedTwice);
            if !counts || !(success || pods::failed(pod, spec)) {
                continue;
            }
            let meaning = if success { Meaning::Counts } else { meaning(spec, pod) };
            match (success, index) {
                (true, Some(index)) if spec.indexed => tally.done.insert(index),
                (true, _) if spec.indexed => {}
                (true, _) => tally.succeeded += 1,
                (false, _) => tally.failed += i64::from(meaning != Meaning::Ignored),
            }
            tally.ended.push(Ended { pod: pod.clone(), index, success, meaning });
        }
        if spec.indexed {
            tally.succeeded = tally.done.len();
        }
        if let Some(limit) = spec.backoff_limit_per_index {
            tally.judge_indexes(limit, spec);
        }
        tally
    }

    /// Which indexes have failed, and which get another pod.
    fn judge_indexes(&mut self, limit: i64, spec: &JobDigest) {
        let active: BTreeSet<i64> = self.active.iter().filter_map(|pod| pods::index(pod, spec)).collect();
        for (at, ended) in self.ended.iter().enumerate().filter(|(_, ended)| !ended.success) {
            let Some(index) = ended.index else { continue };
            let failures = failures(&ended.pod) + i64::from(ended.meaning != Meaning::Ignored);
            if ended.meaning == Meaning::FailsIndex || failures > limit {
                self.lost.insert(index);
            } else if !active.contains(&index) {
                let age = |at: &usize| self.ended[*at].pod.meta.created_ms;
                if self.followed.get(&index).is_none_or(|other| age(other) < age(&at)) {
                    self.followed.insert(index, at);
                }
            }
        }
        let (done, lost) = (&self.done, &self.lost);
        self.followed.retain(|index, _| !done.contains(*index) && !lost.contains(*index));
    }

    /// Why the job failed by what one of its pods means.
    pub(super) fn failure(&self) -> Option<&str> {
        self.ended.iter().find_map(|ended| match &ended.meaning {
            Meaning::FailsJob(why) => Some(why.as_str()),
            _ => None,
        })
    }

    /// The first indexes for which there is no pod and that have neither succeeded nor failed.
    pub(super) fn pending(&self, spec: &JobDigest, most: usize) -> Vec<i64> {
        let mut busy: BTreeSet<i64> = self.active.iter().filter_map(|pod| pods::index(pod, spec)).collect();
        if spec.replaces_ended_only {
            busy.extend(self.leaving.iter().flatten());
        }
        let (mut pending, mut index) = (Vec::new(), 0);
        while index < spec.completions.unwrap_or(0) && pending.len() < most {
            // Whole spans are passed over at once: there may be billions in one.
            if let Some(last) = self.done.span_end(index).or_else(|| self.lost.span_end(index)) {
                index = last;
            } else if !busy.contains(&index) {
                pending.push(index);
            }
            index += 1;
        }
        pending
    }
}

/// How often an index had failed when a pod for it was made.
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How often such a failure was ignored.
const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

fn count(pod: &Object, annotation: &str) -> i64 {
    pod.meta.annotations.get(annotation).and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn failures(pod: &Object) -> i64 {
    count(pod, FAILURES)
}

/// What the pod that follows a failed one says of its index: annotations and their values, and after how many failures it comes.
pub(super) fn follow(ended: Option<&Ended>) -> ([(&'static str, i64); 2], i64) {
    let Some(ended) = ended else { return ([(FAILURES, 0), (IGNORED, 0)], 0) };
    let ignored = i64::from(ended.meaning == Meaning::Ignored);
    let (failures, ignores) = (failures(&ended.pod) + 1 - ignored, count(&ended.pod, IGNORED) + ignored);
    ([(FAILURES, failures), (IGNORED, ignores)], failures + ignores)
}
