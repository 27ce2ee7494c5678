//! A worker: a model of `worker/`: the agent's session and fence, the pods that it drives, what it reports.

use std::collections::{BTreeMap, BTreeSet};

use kontiki_actors::{Object, Uid, input::NodeHello};
use kontiki_chaos_plan::{names, plan::Shape};
use serde_json::json;

use crate::{
    pods::Pod,
    sessions::{Down, Up},
    time::{MS, SECOND},
    world::{Happening, World},
};

/// Pods in one report.
const REPORT_PODS_MAX: usize = 256;
/// Reports that may be on their way.
const UNACKNOWLEDGED_MAX: usize = 8;
/// A controller that takes longer to answer is not waited for.
const FIRST_ANSWER: u64 = 2 * SECOND;

/// What happens in a pod's life on its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PodAct {
    /// Its container is started.
    Start,
    /// Its container has ended after it was asked to, or was killed.
    Stopped,
}

/// A worker. The agent may be away while its pods go on.
pub(crate) struct Worker {
    pub(crate) name: String,
    zone: String,
    cpu_m: u64,
    memory_mib: u64,
    max_pods: u32,
    /// Faults that keep the agent down.
    pub(crate) down: u32,
    /// Faults that let it stand still.
    pub(crate) paused: u32,
    /// Faults that let its runtime hang, and what it was asked to do meanwhile.
    pub(crate) hanging: u32,
    pub(crate) hung: Vec<Happening>,
    /// The highest term that it obeyed; on disk.
    fence: u64,
    pub(crate) session: Option<u64>,
    pub(crate) welcomed: bool,
    /// Counts its calls, so that an old one's end is not taken for the present one's.
    pub(crate) epoch: u64,
    roster: usize,
    tries: u32,
    pub(crate) pods: BTreeMap<Uid, Pod>,
    /// Pods of which there is something to say.
    pub(crate) due: BTreeSet<Uid>,
    sent: BTreeMap<u64, Vec<Uid>>,
    serial: u64,
    flushing: bool,
}

/// The number of a worker by its name.
pub(crate) fn number(name: &str) -> Option<usize> {
    name.strip_prefix("worker-")?.parse().ok()
}

impl Worker {
    pub(crate) fn new(n: u32, shape: &Shape) -> Worker {
        Worker {
            name: names::worker(n),
            zone: names::zone(shape.zone_of(n)),
            cpu_m: shape.node_cpu_m,
            memory_mib: shape.node_memory_mib,
            max_pods: shape.node_pods,
            down: 0,
            paused: 0,
            hanging: 0,
            hung: Vec::new(),
            fence: 0,
            session: None,
            welcomed: false,
            epoch: 0,
            roster: n as usize,
            tries: 0,
            pods: BTreeMap::new(),
            due: BTreeSet::new(),
            sent: BTreeMap::new(),
            serial: 0,
            flushing: false,
        }
    }

    /// What it has, for the leader to compare.
    pub(crate) fn digests(&self) -> Vec<(Uid, u64)> {
        let there = self.pods.iter().filter(|(_, pod)| !pod.removed);
        there.map(|(uid, pod)| (uid.clone(), pod.revision)).collect()
    }

    /// How it introduces itself: what `src/controller/sessions/service.rs` makes of a greeting.
    pub(crate) fn node_hello(&self) -> NodeHello {
        let amounts = json!({
            "cpu": format!("{}m", self.cpu_m), "memory": format!("{}Mi", self.memory_mib),
            "ephemeral-storage": "100Gi", "pods": self.max_pods.to_string(),
        });
        let status = json!({
            "capacity": amounts, "allocatable": amounts,
            "addresses": [{"type": "Hostname", "address": self.name}],
            "nodeInfo": {"kubeletVersion": "v1", "operatingSystem": "linux", "architecture": "amd64"},
        });
        let label = |key: &str, value: &str| (key.into(), value.into());
        NodeHello {
            name: self.name.as_str().into(),
            labels: vec![
                label("kubernetes.io/hostname", &self.name),
                label("kubernetes.io/os", "linux"),
                label("topology.kubernetes.io/zone", &self.zone),
            ],
            status: serde_json::to_vec(&status).unwrap_or_default().into(),
        }
    }

    /// What was sent and not acknowledged is due again.
    fn rewind(&mut self) {
        for uids in std::mem::take(&mut self.sent).into_values() {
            self.due.extend(uids.into_iter().filter(|uid| self.pods.contains_key(uid)));
        }
    }

    /// Nothing of this pod is of interest any more.
    pub(crate) fn forget(&mut self, uid: &str) {
        self.pods.remove(uid);
        self.due.remove(uid);
    }
}

impl World {
    /// A worker calls the next controller on its list after a pause.
    pub(crate) fn dial_soon(&mut self, worker: usize, pause: u64) {
        self.workers[worker].epoch += 1;
        let epoch = self.workers[worker].epoch;
        let delay = pause + self.rng.below(5 * MS);
        self.after(delay, Happening::Dial { worker, epoch });
    }

    pub(crate) fn dial(&mut self, worker: usize, epoch: u64) {
        if self.workers[worker].epoch != epoch || self.workers[worker].session.is_some() {
            return;
        }
        let at = self.workers[worker].roster % self.controllers.len();
        self.workers[worker].roster += 1;
        self.call(worker, at, epoch);
    }

    fn call(&mut self, worker: usize, at: usize, epoch: u64) {
        let host = self.host(worker);
        self.send(host, at, Happening::Hello { at, worker, epoch });
        self.after(FIRST_ANSWER, Happening::Hint { worker, epoch, leader: None });
    }

    /// The call led to nothing: the leader that was named is called, or the next on the list, in the end after a pause.
    pub(crate) fn hint(&mut self, worker: usize, epoch: u64, leader: Option<usize>) {
        if self.workers[worker].epoch != epoch || self.workers[worker].session.is_some() {
            return;
        }
        self.workers[worker].epoch += 1;
        let epoch = self.workers[worker].epoch;
        if let Some(leader) = leader {
            self.workers[worker].tries = 0;
            return self.call(worker, leader, epoch);
        }
        self.workers[worker].tries += 1;
        let rounds = self.workers[worker].tries / self.controllers.len() as u32;
        let pause = ((50 * MS) << rounds.min(6)).min(2 * SECOND);
        let delay = self.rng.between(pause / 2, pause);
        self.after(delay, Happening::Dial { worker, epoch });
    }

    /// A message of a session is there. An older term than one that was obeyed is not.
    pub(crate) fn worker_hears(&mut self, worker: usize, session: u64, term: u64, message: Down) {
        if self.workers[worker].session != Some(session) {
            return;
        }
        if let Down::Over(leader) = message {
            self.hang_up(worker);
            self.workers[worker].epoch += 1;
            let epoch = self.workers[worker].epoch;
            return match leader {
                Some(leader) => self.call(worker, leader, epoch),
                None => self.dial_soon(worker, 50 * MS),
            };
        }
        let old = &mut self.workers[worker];
        if term < old.fence {
            self.notes.reached("leader-of-an-older-term-refused");
            self.hang_up(worker);
            return self.dial_soon(worker, 50 * MS);
        }
        old.fence = term;
        match message {
            Down::Welcome => {
                (old.welcomed, old.tries) = (true, 0);
                old.rewind();
                self.flush_soon(worker);
            }
            Down::Assign { complete, put, keep, remove } => self.assign(worker, complete, put, &keep, remove),
            Down::ReportAck(serial) => {
                old.sent = old.sent.split_off(&(serial + 1));
                self.flush_soon(worker);
            }
            Down::Over(_) => {}
        }
    }

    fn assign(
        &mut self,
        worker: usize,
        complete: bool,
        put: Vec<std::sync::Arc<Object>>,
        keep: &[Uid],
        remove: Vec<Uid>,
    ) {
        if complete {
            let named = |uid: &Uid| keep.contains(uid) || put.iter().any(|pod| pod.meta.uid == *uid);
            let rest: Vec<Uid> =
                self.workers[worker].pods.keys().filter(|uid| !named(uid)).cloned().collect();
            for uid in rest {
                self.remove_pod(worker, &uid);
            }
        }
        for uid in remove {
            self.remove_pod(worker, &uid);
        }
        for pod in put {
            self.put_pod(worker, &pod);
        }
    }

    pub(crate) fn report_soon(&mut self, worker: usize, uid: &Uid) {
        self.workers[worker].due.insert(uid.clone());
        self.flush_soon(worker);
    }

    fn flush_soon(&mut self, worker: usize) {
        let it = &mut self.workers[worker];
        if it.welcomed && !it.flushing && !it.due.is_empty() && it.sent.len() < UNACKNOWLEDGED_MAX {
            it.flushing = true;
            let delay = self.rng.below(5 * MS);
            self.after(delay, Happening::Flush { worker });
        }
    }

    pub(crate) fn flush(&mut self, worker: usize) {
        let it = &mut self.workers[worker];
        it.flushing = false;
        let Some(session) = it.session.filter(|_| it.welcomed) else { return };
        let uids: Vec<Uid> = it.due.iter().take(REPORT_PODS_MAX).cloned().collect();
        let reports: Vec<_> =
            uids.iter().filter_map(|uid| Some(it.pods.get_mut(uid)?.report(&it.name, uid))).collect();
        for uid in &uids {
            it.due.remove(uid);
        }
        if reports.is_empty() {
            return;
        }
        it.serial += 1;
        let serial = it.serial;
        it.sent.insert(serial, uids);
        self.push_up(session, Up { serial, reports });
        self.flush_soon(worker);
    }

    /// The agent's process ends; its pods go on.
    pub(crate) fn agent_dies(&mut self, worker: usize) {
        self.hang_up(worker);
        let it = &mut self.workers[worker];
        (it.welcomed, it.flushing) = (false, false);
        it.epoch += 1;
    }

    /// The agent is back: it takes up what it finds.
    pub(crate) fn agent_returns(&mut self, worker: usize) {
        let it = &mut self.workers[worker];
        it.sent.clear();
        it.due = it.pods.keys().cloned().collect();
        let uids: Vec<Uid> = it.pods.keys().cloned().collect();
        for uid in uids {
            self.take_up(worker, &uid);
        }
        self.dial_soon(worker, 20 * MS);
    }
}
