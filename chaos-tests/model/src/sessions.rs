//! The sessions between workers and the leader: a model of `src/controller/sessions/` (routing, resync, what a worker is
//! sent) with the real verdicts on silence. Signs of life are not sent but computed: a worker is heard as long as it is
//! awake, has a session, and its messages get through.

use std::{collections::VecDeque, sync::Arc};

use kontiki_actors::{Event, Input, Object, Uid, input::PodReport};

use crate::{
    desk::Reply,
    time::SECOND,
    world::{Happening, World},
};

/// A worker gives a silent leader up after this: three heartbeats, but a second at least.
const SILENCE: u64 = SECOND;

/// A message to a worker.
#[derive(Clone, Debug)]
pub(crate) enum Down {
    Welcome,
    Assign {
        complete: bool,
        put: Vec<Arc<Object>>,
        keep: Vec<Uid>,
        remove: Vec<Uid>,
    },
    ReportAck(u64),
    /// This controller leads no more; that one may.
    Over(Option<usize>),
}

/// A worker's report.
#[derive(Clone, Debug)]
pub(crate) struct Up {
    pub(crate) serial: u64,
    pub(crate) reports: Vec<PodReport>,
}

/// A session.
pub(crate) struct Session {
    pub(crate) worker: usize,
    /// The controller that leads, or believes so.
    pub(crate) at: usize,
    pub(crate) term: u64,
    /// What the worker said it has: uid and revision.
    known: Vec<(Uid, u64)>,
    /// Events up to this revision stand in the complete assignment.
    floor: Option<u64>,
    early: Vec<Event>,
    down: VecDeque<Down>,
    up: VecDeque<Up>,
    /// The worker will look whether it heard something.
    doubted: bool,
}

impl World {
    /// A worker calls. Who leads begins a session, who does not names another.
    pub(crate) fn hello(&mut self, at: usize, worker: usize, epoch: u64) {
        let host = self.host(worker);
        if self.workers[worker].epoch != epoch || !self.net.passes(host, at) || !self.net.passes(at, host) {
            return;
        }
        let Some(lead) = &self.controllers[at].lead else {
            let leader = self.raft.lead.map(|(leader, _)| leader);
            let leader = leader.filter(|l| *l != at && self.net.open(*l, at) && self.awake(*l));
            return self.send(at, host, Happening::Hint { worker, epoch, leader });
        };
        let term = lead.term;
        let id = self.next_session;
        self.next_session += 1;
        let known = self.workers[worker].digests();
        let session = Session {
            worker,
            at,
            term,
            known,
            floor: None,
            early: Vec::new(),
            down: VecDeque::new(),
            up: VecDeque::new(),
            doubted: false,
        };
        self.sessions.insert(id, session);
        self.workers[worker].session = Some(id);
        self.workers[worker].welcomed = false;
        let (name, now) = (self.workers[worker].name.clone(), self.instant());
        let Some(lead) = &mut self.controllers[at].lead else { return };
        lead.liveness.heard(&name, now);
        if let Some(old) = lead.sessions.insert(worker, id) {
            self.sessions.remove(&old);
        }
        let hello = self.workers[worker].node_hello();
        self.submit(at, Input::NodeHello(Box::new(hello)), None, Some(Reply::Hello { session: id }));
    }

    /// The node is introduced: everything it is to run is handed over.
    pub(crate) fn synchronize(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (at, known) = (session.at, &session.known);
        let state = self.controllers[at].replica.state.clone();
        let (mut put, mut keep) = (Vec::new(), Vec::new());
        for pod in state.pods_on(&self.workers[session.worker].name) {
            let have = known.iter().find(|(uid, _)| *uid == pod.meta.uid).map(|(_, revision)| *revision);
            if pod.pod().is_some_and(|p| p.terminal()) && have.is_none() && !pod.meta.deleting() {
                continue;
            }
            if have == Some(pod.revision) {
                keep.push(pod.meta.uid.clone());
            } else {
                put.push(pod.clone());
            }
        }
        let remove = Vec::new();
        self.push_down(id, Down::Welcome);
        self.push_down(id, Down::Assign { complete: true, put, keep, remove });
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.floor = Some(state.revision());
        let early = std::mem::take(&mut session.early);
        self.follow(id, early);
    }

    /// Committed events become assignments.
    pub(crate) fn follow(&mut self, id: u64, events: Vec<Event>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(floor) = session.floor else {
            session.early.extend(events);
            return;
        };
        let name = self.workers[session.worker].name.as_str();
        let mine = |o: &Object| o.pod().is_some_and(|p| p.node.as_deref() == Some(name));
        let (mut put, mut remove): (Vec<Arc<Object>>, Vec<Uid>) = (Vec::new(), Vec::new());
        for event in events.iter().filter(|event| event.revision > floor) {
            let key = event.key();
            let old = event.old.as_ref().filter(|o| mine(o));
            let new = event.new.as_ref().filter(|o| mine(o));
            if let Some(old) = old
                && new.is_none_or(|new| new.meta.uid != old.meta.uid)
            {
                put.retain(|pod| pod.key != *key);
                remove.push(old.meta.uid.clone());
            }
            if let Some(new) = new
                && old.is_none_or(|old| is_news(old, new))
            {
                put.retain(|pod| pod.key != *key);
                put.push(new.clone());
            }
        }
        if !put.is_empty() || !remove.is_empty() {
            self.push_down(id, Down::Assign { complete: false, put, keep: Vec::new(), remove });
        }
    }

    pub(crate) fn push_down(&mut self, id: u64, message: Down) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (at, worker) = (session.at, session.worker);
        let host = self.controllers.len() + worker;
        if let Down::Assign { put, .. } = &message
            && !put.is_empty()
            && let Some(delay) = self.net.again(at, host, &mut self.rng)
        {
            let put = put.clone();
            self.agenda.enter(self.now + delay, Happening::Again { session: id, put });
        }
        session.down.push_back(message);
        self.send(at, host, Happening::Down { session: id });
    }

    /// Assignments arrive once more, late. The messages of a real session are counted, so that one which comes twice ends it
    /// (`worker/src/session/stream.rs`); here that first lock is open for pods that the worker has, so that the second is tried: the
    /// comparison of revisions.
    pub(crate) fn deliver_again(&mut self, id: u64, put: &[Arc<Object>]) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (at, worker) = (session.at, session.worker);
        if self.workers[worker].session != Some(id) || !self.net.passes(at, self.host(worker)) {
            return;
        }
        for pod in put {
            if self.workers[worker].pods.contains_key(&pod.meta.uid) {
                self.put_pod(worker, pod);
            }
        }
    }

    pub(crate) fn push_up(&mut self, id: u64, message: Up) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.up.push_back(message);
        let (at, worker) = (session.at, session.worker);
        let host = self.host(worker);
        self.send(host, at, Happening::Up { session: id });
    }

    /// The oldest message arrives; what does not get through waits for the link, as a stream's bytes do.
    pub(crate) fn deliver_down(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (at, worker, term) = (session.at, session.worker, session.term);
        if !self.net.passes(at, self.host(worker)) {
            return;
        }
        let message = self.sessions.get_mut(&id).and_then(|session| session.down.pop_front());
        if let Some(message) = message {
            self.worker_hears(worker, id, term, message);
        }
    }

    pub(crate) fn deliver_up(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (at, worker, term) = (session.at, session.worker, session.term);
        if !self.net.passes(self.host(worker), at) || !self.controllers[at].leads(term) {
            return;
        }
        let Some(Up { serial, mut reports }) = self.sessions.get_mut(&id).and_then(|s| s.up.pop_front())
        else {
            return;
        };
        let view = &self.controllers[at].replica.state;
        let strangers: Vec<Uid> =
            reports.iter().filter(|r| view.by_uid(&r.uid).is_none()).map(|r| r.uid.clone()).collect();
        reports.retain(|report| view.by_uid(&report.uid).is_some());
        if !strangers.is_empty() {
            let (put, keep) = (Vec::new(), Vec::new());
            self.push_down(id, Down::Assign { complete: false, put, keep, remove: strangers });
        }
        if reports.is_empty() {
            self.push_down(id, Down::ReportAck(serial));
        } else {
            self.submit(at, Input::Reports(reports), None, Some(Reply::Report { session: id, serial }));
        }
    }

    /// The leader ends a session: the worker is told who may lead now.
    pub(crate) fn session_over(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        let at = session.at;
        let leader = self.raft.lead.map(|(leader, _)| leader).filter(|leader| *leader != at);
        let leader = leader.filter(|leader| self.net.open(*leader, at));
        self.push_down(id, Down::Over(leader));
    }

    /// The leader's process is gone: its machine says so, if that is heard.
    pub(crate) fn session_broken(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (at, worker) = (session.at, session.worker);
        let host = self.host(worker);
        if self.net.open(at, host) {
            self.send(at, host, Happening::Silent { session: id });
        } else {
            self.after(SILENCE, Happening::Silent { session: id });
        }
    }

    /// The worker ends it.
    pub(crate) fn hang_up(&mut self, worker: usize) {
        let Some(id) = self.workers[worker].session.take() else { return };
        let Some(session) = self.sessions.remove(&id) else { return };
        let (at, host) = (session.at, self.host(worker));
        let heard = self.awake(host) && self.net.open(host, at);
        let (name, now) = (self.workers[worker].name.clone(), self.instant());
        if let Some(lead) = self.controllers[at].lead.as_mut().filter(|lead| lead.term == session.term) {
            if lead.sessions.get(&worker) == Some(&id) {
                lead.sessions.remove(&worker);
            }
            if heard {
                lead.liveness.heard(&name, now);
            }
            self.watch_silence(at);
        }
    }

    /// Who hears whom has changed.
    pub(crate) fn sessions_changed(&mut self) {
        let ids: Vec<u64> = self.sessions.keys().copied().collect();
        for id in ids {
            let Some(session) = self.sessions.get(&id) else { continue };
            let (at, worker) = (session.at, session.worker);
            let (down, up, doubted) = (session.down.len(), session.up.len(), session.doubted);
            let host = self.controllers.len() + worker;
            let well = self.net.open(at, host) && self.net.open(host, at) && self.awake(at);
            if !well {
                if !doubted && let Some(session) = self.sessions.get_mut(&id) {
                    session.doubted = true;
                    self.after(SILENCE, Happening::Silent { session: id });
                }
                continue;
            }
            for _ in 0..down {
                self.send(at, host, Happening::Down { session: id });
            }
            for _ in 0..up {
                self.send(host, at, Happening::Up { session: id });
            }
        }
    }

    /// The worker would have given its leader up by now.
    pub(crate) fn silent(&mut self, id: u64) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.doubted = false;
        let (at, worker, term) = (session.at, session.worker, session.term);
        let host = self.host(worker);
        let lives = self.awake(at) && self.controllers[at].leads(term);
        if lives && self.net.open(at, host) && self.net.open(host, at) {
            return;
        }
        self.hang_up(worker);
        self.dial_soon(worker, 0);
    }
}

/// Whether a change of a pod is news for its worker: everything but the status.
fn is_news(old: &Object, new: &Object) -> bool {
    let (a, b) = (old.document.whole(), new.document.whole());
    old.meta.uid != new.meta.uid || a.spec != b.spec || a.metadata != b.metadata || a.rest != b.rest
}
