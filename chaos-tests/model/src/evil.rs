//! A worker with a valid certificate that lies: it speaks of pods that are not its own, of pods that are not there, and
//! nonsense of those that are.

use kontiki_actors::{Kind, Uid, input::PodReport};

use crate::{
    sessions::Up,
    time::MS,
    world::{Happening, World},
};

/// What it says instead of a status.
const NONSENSE: [&str; 6] = [
    "not json at all",
    "[]",
    r#"{"phase": 7, "conditions": "none"}"#,
    r#"{"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": {}}"#,
    r#"{"phase": "Failed", "conditions": [7, null, {"type": 1}]}"#,
    r#"{"phase": "Succeeded"}"#,
];

/// Of these the first do not say that a pod has ended: a worker that ends its own pods and runs them on hurts itself only.
const LIVING: usize = 4;

impl World {
    /// One lie, and the next in a while.
    pub(crate) fn lie(&mut self, worker: usize, event: usize) {
        if !self.lies(worker, event) {
            return;
        }
        let delay = self.rng.between(20 * MS, 200 * MS);
        self.after(delay, Happening::Lie { worker, event });
        let it = &self.workers[worker];
        let Some(session) = it.session.filter(|_| it.welcomed && it.down == 0 && it.paused == 0) else {
            return;
        };
        let Some(at) = self.sessions.get(&session).map(|session| session.at) else { return };
        let name = it.name.clone();
        let state = &self.controllers[at].replica.state;
        let foreign = |o: &&std::sync::Arc<kontiki_actors::Object>| {
            o.pod().is_some_and(|pod| pod.node.as_deref() != Some(name.as_str()))
        };
        let count = state.list(Kind::POD, None).filter(foreign).count() as u64;
        let chosen = self.rng.below(count) as usize;
        let nonsense = NONSENSE[self.rng.below(NONSENSE.len() as u64) as usize];
        let gone = self.rng.chance(300);
        let mut reports = Vec::new();
        if let Some(pod) = state.list(Kind::POD, None).filter(foreign).nth(chosen) {
            reports.push(PodReport {
                node: name.as_str().into(),
                uid: pod.meta.uid.clone(),
                namespace: pod.key.namespace.clone(),
                name: pod.key.name.clone(),
                status: nonsense.as_bytes().to_vec().into(),
                gone,
                events: Vec::new(),
            });
        }
        let own: Option<Uid> = self.workers[worker].pods.keys().next().cloned();
        if let Some(uid) = own.filter(|_| self.rng.chance(300))
            && let Some(pod) = state.by_uid(&uid)
        {
            // Of a pod of its own it may say what it likes; it must not hurt anybody else.
            reports.push(PodReport {
                node: name.as_str().into(),
                uid,
                namespace: pod.key.namespace.clone(),
                name: pod.key.name.clone(),
                status: NONSENSE[chosen % LIVING].as_bytes().to_vec().into(),
                gone: false,
                events: Vec::new(),
            });
        }
        if !reports.is_empty() {
            self.notes.reached("worker-lied");
            self.push_up(session, Up { serial: 0, reports });
        }
    }
}
