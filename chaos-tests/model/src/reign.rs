//! Leadership taken and lost, and the log folded into the replicas.

use std::sync::Arc;

use kontiki_actors::{Entry, Event, Input, LEVEL};
use kontiki_chaos_plan::{
    history::{FaultRecord, Reign, ReplicaHash},
    names,
};

use crate::{
    Moment, assertions, bootstrap,
    controller::{Lead, Replica},
    desk::Desk,
    liveness::{Liveness, LivenessTimings},
    raft::Logged,
    time::{MS, SECOND},
    world::{Happening, World},
};

/// After so many entries the replicas' hashes are written down.
const HASHED_EVERY: u64 = 512;

impl World {
    /// A controller leads from now on, and begins with what is folded there.
    pub(crate) fn begin_reign(&mut self, at: usize, term: u64) {
        let grace = std::time::Duration::from_millis(self.shape().node_grace_ms);
        let liveness = Liveness::new(LivenessTimings::of_grace(grace), self.instant());
        let reign = self.notes.reigns.len();
        let from_ns = self.now;
        self.notes.reigns.push(Reign { controller: at as u32, term, from_ns, until_ns: None });
        let controller = &mut self.controllers[at];
        let desk = Desk::new(controller.replica.state.clone());
        controller.lead =
            Some(Lead { term, desk, sessions: Default::default(), liveness, ticking: false, reign });
        // As of a cluster that is alone with itself: every controller is of this build.
        let first = Input::Raise { level: LEVEL, objects: bootstrap::objects("CA") };
        self.submit(at, first, None, None);
        self.watch_silence(at);
    }

    /// A controller leads no more: whoever waits is told, its workers are sent away.
    pub(crate) fn depose(&mut self, at: usize) {
        self.hear_all(at);
        if self.rng.chance(500) {
            self.decide_late(at);
        }
        let Some(mut lead) = self.controllers[at].lead.take() else { return };
        self.notes.reigns[lead.reign].until_ns = Some(self.now);
        for (reply, why) in lead.desk.close() {
            self.reply(at, reply, Err(why));
        }
        for session in lead.sessions.into_values() {
            self.session_over(session);
        }
    }

    /// The same for one whose process is gone: nobody is told anything.
    pub(crate) fn vanish(&mut self, at: usize) {
        let Some(lead) = self.controllers[at].lead.take() else { return };
        self.notes.reigns[lead.reign].until_ns = Some(self.now);
        for session in lead.sessions.into_values() {
            self.session_broken(session);
        }
    }

    /// Folds what is committed, up to there.
    pub(crate) fn fold_to(&mut self, at: usize, upto: u64) {
        while self.controllers[at].replica.index < upto {
            let index = self.controllers[at].replica.index + 1;
            let logged = self.raft.log[index as usize - 1].clone();
            let entry = logged.entry.as_deref().filter(|entry| entry.counts_in(logged.term));
            let events = self.fold_one(at, index, entry, &logged);
            if let Some(entry) = entry {
                self.check_fold(at, index, entry);
                self.route(at, &events);
            }
            let revision = self.controllers[at].replica.state.revision();
            self.controllers[at].feed.publish(events, revision);
            if index.is_multiple_of(HASHED_EVERY) {
                self.note_hash(at);
            }
        }
        self.feed_watches(at);
        self.wake_waiters(at);
    }

    /// Folds the next entry. Controllers with even numbers share the work: each odd one folds by itself, so that there are two
    /// replicas at least that came about independently of each other.
    fn fold_one(&mut self, at: usize, index: u64, entry: Option<&Entry>, logged: &Logged) -> Vec<Event> {
        let replica = &mut self.controllers[at].replica;
        if at % 2 == 1 || entry.is_none() {
            return replica.fold(entry, &logged.bytes);
        }
        if let (Some(after), Some(entry)) = (&logged.after, entry) {
            replica.follow(after.0.clone(), entry);
            return after.1.clone();
        }
        let events = replica.fold(entry, &logged.bytes);
        if index as usize > self.raft.dropped {
            let after = (replica.state.clone(), events.clone());
            self.raft.log[index as usize - 1].after = Some(Arc::new(after));
        }
        let least = self.controllers.iter().step_by(2).map(|c| c.replica.index).min().unwrap_or(0);
        while (self.raft.dropped as u64) < least {
            self.raft.log[self.raft.dropped].after = None;
            self.raft.dropped += 1;
        }
        events
    }

    /// What the leader folds is what it decided on; what it decided breaks no rule of placement.
    fn check_fold(&mut self, at: usize, index: u64, entry: &Entry) {
        let folded = &self.controllers[at].replica.state;
        let Some((decided, _)) = self.decided_at(at, index) else { return };
        let apart = assertions::apart(decided, folded, entry);
        // The state after the entry alone: later ones are decided already.
        let placed = assertions::placements(folded, entry);
        for (invariant, words) in apart.into_iter().map(|words| ("B1", words)).chain(placed) {
            self.notes.broken(self.now, invariant, format!("at entry {index}: {words}"));
        }
    }

    /// Writes down the hash of a replica.
    pub(crate) fn note_hash(&mut self, at: usize) {
        let replica = &self.controllers[at].replica;
        let (index, revision, hash) = (replica.index, replica.state.revision(), replica.hash());
        let same = |other: &&ReplicaHash| other.index == index && other.hash != hash;
        if let Some(other) = self.notes.hashes.iter().rev().find(same) {
            let words = format!("controllers {at} and {} differ after entry {index}", other.replica);
            self.notes.broken(self.now, "B1", words);
        }
        self.notes.hashes.push(ReplicaHash { replica: at as u32, index, revision, hash });
    }

    /// The log's tail is gone where this controller is: it gets the leader's snapshot.
    pub(crate) fn install_snapshot(&mut self, from: usize, to: usize) {
        self.notes.reached("snapshot-installed");
        match self.controllers[from].replica.restored() {
            Ok(replica) => self.put_replica(to, replica),
            Err(words) => self.notes.broken(self.now, "B2", format!("a snapshot is not read: {words}")),
        }
    }

    /// What a controller has on disk is read back: the documents; the rest is derived.
    pub(crate) fn restart_replica(&mut self, at: usize) {
        let restored = self.controllers[at].replica.restored();
        match restored {
            Ok(replica) => {
                if replica.hash() != self.controllers[at].replica.hash() {
                    let words = format!("controller {at} reads back another state than it had");
                    self.notes.broken(self.now, "B2", words);
                }
                self.put_replica(at, replica);
            }
            Err(words) => self.notes.broken(self.now, "B2", format!("a state is not read back: {words}")),
        }
    }

    fn put_replica(&mut self, at: usize, replica: Replica) {
        self.controllers[at].feed.reset(replica.state.revision());
        self.controllers[at].replica = replica;
        self.note_hash(at);
        self.feed_watches(at);
        self.wake_waiters(at);
    }

    /// Committed events at a controller that leads: its sessions hear of them.
    fn route(&mut self, at: usize, events: &[Event]) {
        let Some(lead) = &self.controllers[at].lead else { return };
        let mut told: std::collections::BTreeMap<u64, Vec<Event>> = Default::default();
        let mut nodes = false;
        for event in events {
            nodes |= event.key().kind == kontiki_actors::Kind::NODE;
            let mut last = None;
            for object in [&event.old, &event.new].into_iter().flatten() {
                let node = object.pod().and_then(|pod| pod.node.as_deref());
                let Some(worker) = node.and_then(crate::workers::number) else { continue };
                if last != Some(worker)
                    && let Some(session) = lead.sessions.get(&worker)
                {
                    told.entry(*session).or_default().push(event.clone());
                }
                last = Some(worker);
            }
        }
        for (session, events) in told {
            self.follow(session, events);
        }
        if nodes {
            self.watch_silence(at);
        }
    }

    /// Before and after anything that changes who hears whom.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut World)) {
        for at in 0..self.controllers.len() {
            self.hear_all(at);
        }
        change(self);
        self.check_leadership();
        self.replicate_all();
        self.tell_deposed();
        for at in 0..self.controllers.len() {
            if self.awake(at) && self.controllers[at].lead.is_some() {
                self.watch_silence(at);
                self.step_down_some_time(at);
            }
        }
        self.sessions_changed();
    }

    /// A leader without a majority may notice it by itself, or only when it hears of the next one.
    fn step_down_some_time(&mut self, at: usize) {
        if !self.has_majority(at) && self.rng.chance(500) {
            let delay = self.rng.between(self.shape().election_ms, self.shape().election_ms * 4) * MS;
            let term = crate::raft::STEPS_DOWN;
            self.after(delay, Happening::Deposed { at, term });
        }
    }

    /// Crashes whoever leads at a boundary between two commands: the plan's, and the one that was asked for besides.
    pub(crate) fn crash_hook(&mut self, index: u64, moment: Moment) {
        if let Some((leader, _)) = self.raft.lead.filter(|(leader, _)| self.awake(*leader))
            && let Some(event) = self.faults.crashes_at(index, moment)
        {
            self.notes.reached("crash-between-commands");
            return self.crash_by(event, leader);
        }
        if self.options.crash_at == Some((index, moment))
            && let Some((leader, _)) = self.raft.lead
        {
            self.options.crash_at = None;
            self.notes.reached("crash-between-commands");
            // No event of the plan: its number is the one after the last.
            self.notes.faults.push(FaultRecord {
                event: self.plan.events.len(),
                number: 1,
                hit: vec![names::controller(leader as u32)],
                from_ns: self.now,
                until_ns: self.now + SECOND,
                bit: true,
                skipped: None,
            });
            self.crash_controller(leader);
            let event = self.faults.extra(leader);
            self.after(SECOND, Happening::FaultEnds(event));
        }
    }
}
