//! A pod's life on its worker, and the containers that its runtime really runs: those are written down as they come and go.

use std::sync::Arc;

use kontiki_actors::{
    Object, Uid,
    input::{Note, PodReport},
    object::rfc3339,
};
use kontiki_chaos_plan::history::InstanceEvent;
use kontiki_hooks::{Defect, planted};
use serde_json::json;

use crate::{
    order::is_overtaken,
    time::{MS, SECOND},
    workers::PodAct,
    world::{Happening, World},
};

/// The first pause before a restart, doubled each time, and the longest.
const BACKOFF: u64 = 10 * SECOND;
const BACKOFF_MAX: u64 = 300 * SECOND;
/// A container that ran so long begins with the first pause again.
const FORGIVEN: u64 = 600 * SECOND;
/// The code of a container that was killed.
const KILLED: i32 = 137;

/// A pod on its worker, with one container.
pub(crate) struct Pod {
    namespace: String,
    name: String,
    pub(crate) revision: u64,
    /// What is going to happen to it; what was going to before counts no more.
    epoch: u32,
    /// The container that runs: its attempt and since when.
    pub(crate) runs: Option<(u32, u64)>,
    starts: u32,
    pause: u64,
    again_at: u64,
    grace: u64,
    restarts: bool,
    /// It was deleted and must be gone by then.
    gone_by: Option<u64>,
    /// Nothing of it runs any more after its deletion.
    gone: bool,
    /// The leader does not know it any more.
    pub(crate) removed: bool,
    /// It ended and is not started again.
    over: bool,
    /// Its containers end well by themselves after they ran for so long.
    runs_for: Option<u64>,
    /// The code with which its container ended last.
    exit: i32,
    started_ms: i64,
    changed_ms: i64,
    notes: Vec<Note>,
}

/// How long the containers of a pod run, as its command says: `sleep 2`.
fn runs_for(pod: &Object) -> Option<u64> {
    let spec = pod.document.spec_value();
    let command = spec["containers"][0]["command"].as_array()?;
    let seconds = command.get(1).filter(|_| command[0] == "sleep")?.as_str()?;
    Some(seconds.parse::<u64>().ok()? * SECOND)
}

impl Pod {
    fn new(pod: &Object, now_ms: i64) -> Pod {
        let digest = pod.pod();
        Pod {
            namespace: pod.key.namespace.to_string(),
            name: pod.key.name.to_string(),
            revision: 0,
            epoch: 0,
            runs: None,
            starts: 0,
            pause: 0,
            again_at: 0,
            grace: 0,
            restarts: digest.is_none_or(|p| p.restart_policy != "Never"),
            gone_by: None,
            gone: false,
            removed: false,
            over: digest.is_some_and(|p| p.terminal()),
            runs_for: runs_for(pod),
            exit: 0,
            started_ms: now_ms,
            changed_ms: now_ms,
            notes: Vec::new(),
        }
    }

    /// What its worker says of it.
    pub(crate) fn report(&mut self, node: &str, uid: &Uid) -> PodReport {
        // What ended before this worker had it is no news.
        let status = if self.over && self.starts == 0 { Vec::new() } else { self.status() };
        PodReport {
            node: node.into(),
            uid: uid.clone(),
            namespace: self.namespace.as_str().into(),
            name: self.name.as_str().into(),
            status: status.into(),
            gone: self.gone,
            events: std::mem::take(&mut self.notes),
        }
    }

    fn status(&self) -> Vec<u8> {
        let (started, changed) = (rfc3339(self.started_ms), rfc3339(self.changed_ms));
        let ready = if self.runs.is_some() { "True" } else { "False" };
        let ended = !self.restarts && self.runs.is_none() && self.starts > 0;
        let phase = match (self.starts, ended) {
            (0, _) => "Pending",
            (_, true) if self.exit == 0 => "Succeeded",
            (_, true) => "Failed",
            _ => "Running",
        };
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": changed});
        let state = match (self.runs, self.starts) {
            (Some(_), _) => json!({"running": {"startedAt": changed}}),
            (None, 0) => json!({"waiting": {"reason": "ContainerCreating"}}),
            (None, _) if ended => {
                let reason = if self.exit == 0 { "Completed" } else { "Error" };
                json!({"terminated": {"exitCode": self.exit, "reason": reason, "finishedAt": changed}})
            }
            (None, _) => json!({"waiting": {"reason": "CrashLoopBackOff"}}),
        };
        let status = json!({
            "phase": phase, "startTime": started, "hostIP": "10.0.0.1",
            "conditions": [condition("Initialized", "True"), condition("Ready", ready), condition("ContainersReady", ready)],
            "containerStatuses": [{
                "name": "main", "state": state, "ready": self.runs.is_some(), "image": "model",
                "restartCount": self.starts.saturating_sub(1), "started": self.runs.is_some(),
            }],
        });
        serde_json::to_vec(&status).unwrap_or_default()
    }

    fn note(&mut self, reason: &str, message: &str, now_ms: i64) {
        self.notes.push(Note {
            r#type: "Normal".into(),
            reason: reason.into(),
            message: message.into(),
            field_path: "spec.containers{main}".into(),
            time_ms: now_ms,
        });
    }
}

impl World {
    /// The wall clock of a worker; workers' clocks are right.
    fn worker_ms(&self) -> i64 {
        crate::time::Clock::default().machine_ms(self.now)
    }

    /// A pod is assigned, or assigned anew.
    pub(crate) fn put_pod(&mut self, worker: usize, object: &Arc<Object>) {
        let uid = &object.meta.uid;
        let now_ms = self.worker_ms();
        let pods = &mut self.workers[worker].pods;
        let new = !pods.contains_key(uid);
        let pod = pods.entry(uid.clone()).or_insert_with(|| Pod::new(object, now_ms));
        if is_overtaken(object.revision, pod.revision) {
            self.notes.reached("older-assignment-ignored");
            return;
        }
        pod.revision = object.revision;
        let grace = object.meta.deletion_grace_s.unwrap_or(0).max(0) as u64;
        pod.grace = grace * SECOND;
        if object.meta.deleting() {
            let by = self.now + pod.grace;
            let sooner = pod.gone_by.is_none_or(|earlier| by < earlier);
            if sooner {
                pod.gone_by = Some(by);
                self.take_up(worker, uid);
            }
        } else if new {
            self.take_up(worker, uid);
        } else if planted(Defect::OlderAssignmentObeyed) && pod.gone_by.take().is_some() {
            pod.gone = false;
            self.take_up(worker, uid);
        }
    }

    /// The leader does not know this pod any more: it is killed and forgotten.
    pub(crate) fn remove_pod(&mut self, worker: usize, uid: &Uid) {
        let Some(pod) = self.workers[worker].pods.get_mut(uid) else { return };
        if !pod.removed {
            pod.removed = true;
            self.take_up(worker, uid);
        }
    }

    /// Looks at what is wanted of a pod and what is seen of it, and does the next thing.
    pub(crate) fn take_up(&mut self, worker: usize, uid: &Uid) {
        let Some(pod) = self.workers[worker].pods.get_mut(uid) else { return };
        pod.epoch += 1;
        let epoch = pod.epoch;
        let (act, delay) = if pod.removed {
            if pod.runs.is_none() {
                return self.workers[worker].forget(uid);
            }
            (PodAct::Stopped, self.rng.between(2 * MS, 60 * MS))
        } else if let Some(by) = pod.gone_by {
            if pod.runs.is_none() {
                pod.gone = true;
                return self.report_soon(worker, uid);
            }
            let most = by.saturating_sub(self.now);
            // Most heed the signal, some are killed at the end of their grace.
            let heeds = if self.rng.chance(900) { self.rng.between(MS, 800 * MS) } else { most };
            (PodAct::Stopped, heeds.min(most) + MS)
        } else if pod.runs.is_none() && !pod.over {
            let least = pod.again_at.saturating_sub(self.now);
            (PodAct::Start, least + self.rng.between(10 * MS, 300 * MS))
        } else {
            return;
        };
        self.after(delay, Happening::Pod { worker, uid: uid.clone(), epoch, act });
    }

    pub(crate) fn pod_act(&mut self, worker: usize, uid: &Uid, epoch: u32, act: PodAct) {
        let now_ms = self.worker_ms();
        let it = &mut self.workers[worker];
        let Some(pod) = it.pods.get_mut(uid).filter(|pod| pod.epoch == epoch) else { return };
        if it.hanging > 0 {
            self.notes.reached("runtime-hung");
            return it.hung.push(Happening::Pod { worker, uid: uid.clone(), epoch, act });
        }
        match act {
            PodAct::Start => {
                let attempt = pod.starts;
                pod.runs = Some((attempt, self.now));
                pod.starts += 1;
                pod.changed_ms = now_ms;
                pod.note("Started", "Started container main", now_ms);
                if let Some(time) = pod.runs_for {
                    self.after(time, Happening::Ends { worker, uid: uid.clone(), attempt });
                }
                self.instance(worker, uid, attempt, None);
                self.report_soon(worker, uid);
            }
            PodAct::Stopped => {
                let attempt = pod.runs.take().map_or(0, |(attempt, _)| attempt);
                (pod.changed_ms, pod.exit) = (now_ms, KILLED);
                self.instance(worker, uid, attempt, Some(KILLED));
                self.take_up(worker, uid);
            }
        }
    }

    /// A container has run for as long as it does, and ends well, whatever its agent does.
    pub(crate) fn container_ends(&mut self, worker: usize, uid: &Uid, attempt: u32) {
        let runs = self.workers[worker].pods.get(uid).and_then(|pod| pod.runs);
        if runs.is_some_and(|(runs, _)| runs == attempt) {
            self.container_exits(worker, uid, 0);
        }
    }

    /// A container ends by itself with this code; it is started again, after a pause when that was not the first time.
    pub(crate) fn container_exits(&mut self, worker: usize, uid: &Uid, code: i32) {
        let now_ms = self.worker_ms();
        let now = self.now;
        let Some(pod) = self.workers[worker].pods.get_mut(uid) else { return };
        let Some((attempt, since)) = pod.runs.take() else { return };
        if now - since >= FORGIVEN {
            pod.pause = 0;
        }
        pod.again_at = now + pod.pause;
        pod.pause = (pod.pause * 2).clamp(BACKOFF, BACKOFF_MAX);
        pod.over |= !pod.restarts;
        (pod.changed_ms, pod.exit) = (now_ms, code);
        self.instance(worker, uid, attempt, Some(code));
        if self.workers[worker].down == 0 {
            self.report_soon(worker, uid);
            self.take_up(worker, uid);
        }
    }

    /// The machine restarts: nothing runs there any more.
    pub(crate) fn all_containers_die(&mut self, worker: usize) {
        let now_ms = self.worker_ms();
        let running: Vec<Uid> = self.workers[worker]
            .pods
            .iter()
            .filter(|(_, pod)| pod.runs.is_some())
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in running {
            let Some(pod) = self.workers[worker].pods.get_mut(&uid) else { continue };
            let attempt = pod.runs.take().map_or(0, |(attempt, _)| attempt);
            // The machine did that, not the container: it starts again without a pause.
            (pod.pause, pod.again_at) = (0, 0);
            pod.over |= !pod.restarts;
            (pod.changed_ms, pod.exit) = (now_ms, KILLED);
            self.instance(worker, &uid, attempt, Some(KILLED));
        }
    }

    /// What the node's own eyes see: a container that begins, or ends with a code.
    fn instance(&mut self, worker: usize, uid: &Uid, attempt: u32, exit: Option<i32>) {
        let running = exit.is_none();
        let it = &self.workers[worker];
        let pod = it.pods.get(uid).map(|pod| format!("{}/{}", pod.namespace, pod.name)).unwrap_or_default();
        self.notes.mix(u64::from(attempt) << 1 | u64::from(running));
        self.notes.instances.push(InstanceEvent {
            at_ns: self.now,
            node: it.name.clone(),
            pod_uid: uid.to_string(),
            pod,
            container: "main".into(),
            attempt,
            running,
            exit,
        });
    }
}
