//! One pod on each node that is to have one, and none elsewhere.

use std::sync::Arc;

use compact_str::CompactString;

use super::{
    COMPONENT,
    fleet::{Fleet, Station},
    steps::Steps,
};
use crate::{
    object::{DaemonSetDigest, Object},
    turn::Turn,
};

/// How many pods in a row have failed on a node, on the one that was made after them.
pub(super) const FAILURES: &str = "kontiki.io/failures-before";
/// The shortest time between two pods when the first failed; it doubles with each failure ...
const BACKOFF_MS: i64 = 1000;
/// ... up to this.
const BACKOFF_MAX_MS: i64 = 15 * 60_000;

/// What is missing and what is too much.
pub(super) fn steps(turn: &Turn, spec: &DaemonSetDigest, fleet: &Fleet, surges: bool) -> Steps {
    let mut steps = Steps::default();
    for (node, station) in &fleet.stations {
        if station.verdict.runs && station.pods.is_empty() {
            steps.create.push(node.clone());
        } else if station.verdict.stays {
            let running = running(turn, node, station, &mut steps);
            if surges {
                steps.delete.extend(beyond_surge(turn, spec, fleet, &running));
            } else {
                // The oldest stays.
                steps.delete.extend(running.into_iter().skip(1));
            }
        } else {
            steps.delete.extend(station.pods.iter().filter(|pod| !pod.meta.deleting()).cloned());
        }
    }
    steps.delete.extend(fleet.stranded.iter().filter(|pod| !pod.meta.deleting()).cloned());
    steps
}

/// The pods of a node that have not ended; those that have go, and a failed one is replaced when its time has come.
fn running(turn: &Turn, node: &CompactString, station: &Station, steps: &mut Steps) -> Vec<Arc<Object>> {
    let (mut running, mut ended) = (Vec::new(), Vec::new());
    let (now_ms, said) = (turn.now_ms(), &mut steps.said);
    for pod in station.pods.iter().filter(|pod| !pod.meta.deleting()) {
        let name = format!("{}/{}", pod.key.namespace, pod.key.name);
        match pod.pod().map_or("", |digest| digest.phase.as_str()) {
            "Failed" => {
                let failures = failures(pod);
                let due = pod.meta.created_ms + backoff_ms(failures);
                if failures > 0 && due > now_ms {
                    steps.wake = Some(steps.wake.map_or(due, |at| at.min(due)));
                    continue;
                }
                let message = format!("Found failed daemon pod {name} on node {node}, will try to kill it");
                said.push(("Warning", "FailedDaemonPod", message));
                // What has run for long begins to count anew.
                let before = if pod.meta.created_ms + 2 * BACKOFF_MAX_MS < now_ms { 0 } else { failures };
                ended.push((pod.clone(), before + 1));
            }
            "Succeeded" => {
                let message =
                    format!("Found succeeded daemon pod {name} on node {node}, will try to delete it");
                said.push(("Normal", "SucceededDaemonPod", message));
                ended.push((pod.clone(), 0));
            }
            _ => running.push(pod.clone()),
        }
    }
    if station.verdict.runs && running.is_empty() {
        // One comes for all that have ended.
        let last = ended.pop();
        steps.replace.extend(last.map(|(pod, failures)| (pod, node.clone(), failures)));
    }
    steps.delete.extend(ended.into_iter().map(|(pod, _)| pod));
    running
}

/// With a surge, a node may have the oldest pod of the present template beside the oldest of another one, until the new one is
/// available or the old one is not ready.
fn beyond_surge(
    turn: &Turn,
    spec: &DaemonSetDigest,
    fleet: &Fleet,
    running: &[Arc<Object>],
) -> Vec<Arc<Object>> {
    if running.len() < 2 {
        return Vec::new();
    }
    let (mut new, mut old): (Vec<_>, Vec<_>) = running.iter().cloned().partition(|pod| fleet.is_new(pod));
    let first = |pods: &mut Vec<Arc<Object>>| (!pods.is_empty()).then(|| pods.remove(0));
    let pair = first(&mut new).zip(first(&mut old));
    let mut surplus: Vec<Arc<Object>> = new.into_iter().chain(old).collect();
    if let Some((new, old)) = pair {
        let ready = old.pod().is_some_and(|pod| pod.ready);
        let available = new.pod().is_some_and(|pod| pod.available(spec.min_ready_s, turn.now_ms()));
        surplus.extend((!ready || available).then_some(old));
    }
    surplus
}

fn failures(pod: &Object) -> i64 {
    pod.meta.annotations.get(FAILURES).and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn backoff_ms(failures: i64) -> i64 {
    let doublings = u32::try_from((failures - 1).clamp(0, 20)).unwrap_or(0);
    BACKOFF_MS.saturating_mul(1 << doublings).min(BACKOFF_MAX_MS)
}

impl Steps {
    /// Tells people of what was found.
    pub(super) fn tell(&mut self, turn: &mut Turn, me: &Object, most: usize) {
        for (r#type, reason, message) in std::mem::take(&mut self.said).into_iter().take(most) {
            turn.event(me, r#type, reason, message, COMPONENT);
        }
    }
}
