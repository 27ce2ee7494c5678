//! The plain ordered log: who leads, what is committed, who has heard of it. A model of consensus that keeps what the layers
//! above can see of it (terms, entries that survive their leader or do not, replicas that lag) and none of its messages'
//! details; the protocol itself is proven in L1.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use kontiki_actors::{Entry, Event, State};

use crate::{
    rng::Rng,
    time::{MICRO, MS},
    world::{Happening, World},
};

/// An entry that is in the log for good.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    /// The term of the leader that put it into the log.
    pub(crate) term: u64,
    /// None for what a leader begins its term with.
    pub(crate) entry: Option<Arc<Entry>>,
    pub(crate) bytes: Bytes,
    pub(crate) at: u64,
    /// What folding it gave, for the replicas that do not fold it themselves.
    pub(crate) after: Option<Arc<(State, Vec<Event>)>>,
}

/// The log and its leader.
#[derive(Debug)]
pub(crate) struct Raft {
    pub(crate) term: u64,
    /// Whoever was elected last, and in which term.
    pub(crate) lead: Option<(usize, u64)>,
    pub(crate) log: Vec<Logged>,
    /// What the leader has proposed and is not committed yet.
    pub(crate) tail: VecDeque<Logged>,
    /// Up to which entry each controller has the log.
    pub(crate) held: Vec<u64>,
    /// The same, as the leader knows it.
    matched: Vec<u64>,
    /// Entries are on their way to it.
    pub(crate) sending: Vec<bool>,
    /// It is about to hear what is committed.
    pub(crate) learning: Vec<bool>,
    election: bool,
    epoch: u64,
    /// Up to here nobody needs what folding gave any more.
    pub(crate) dropped: usize,
}

/// A position that is never committed: a deposed leader's proposal.
pub(crate) const NEVER: u64 = u64::MAX;
/// Stands for the term of the next leader when a leader without a majority steps down by itself.
pub(crate) const STEPS_DOWN: u64 = u64::MAX;

impl Raft {
    pub(crate) fn new(controllers: usize) -> Raft {
        Raft {
            term: 0,
            lead: None,
            log: Vec::new(),
            tail: VecDeque::new(),
            held: vec![0; controllers],
            matched: vec![0; controllers],
            sending: vec![false; controllers],
            learning: vec![false; controllers],
            election: false,
            epoch: 0,
            dropped: 0,
        }
    }

    pub(crate) fn end(&self) -> u64 {
        (self.log.len() + self.tail.len()) as u64
    }
}

/// How long a disk takes to keep something.
fn disk(rng: &mut Rng) -> u64 {
    rng.between(100 * MICRO, 900 * MICRO)
}

impl World {
    /// Whether these two hear each other.
    fn linked(&self, a: usize, b: usize) -> bool {
        a == b || (self.awake(b) && self.net.open(a, b) && self.net.open(b, a))
    }

    /// Whether a controller runs and has a majority with it.
    pub(crate) fn has_majority(&self, at: usize) -> bool {
        let with = (0..self.controllers.len()).filter(|other| self.linked(at, *other)).count();
        self.awake(at) && with * 2 > self.controllers.len()
    }

    /// Whether this controller leads in this term and a majority says so.
    pub(crate) fn confirms(&self, at: usize, term: u64) -> bool {
        self.raft.lead == Some((at, term)) && self.has_majority(at)
    }

    /// Puts an entry behind all others, if this controller really leads.
    pub(crate) fn propose(&mut self, at: usize, term: u64, entry: Option<Arc<Entry>>, bytes: Bytes) -> u64 {
        if self.raft.lead != Some((at, term)) {
            return NEVER;
        }
        self.raft.tail.push_back(Logged { term, entry, bytes, at: 0, after: None });
        let end = self.raft.end();
        self.raft.held[at] = end;
        let delay = disk(&mut self.rng) + self.controllers[at].disk;
        self.after(delay, Happening::Ack { at, from: at, term, upto: end });
        self.replicate_all();
        self.crash_hook(end, crate::Moment::Proposed);
        end
    }

    /// Sends everybody what he lacks.
    pub(crate) fn replicate_all(&mut self) {
        for to in 0..self.controllers.len() {
            self.replicate(to);
        }
    }

    fn replicate(&mut self, to: usize) {
        let Some((leader, term)) = self.raft.lead else { return };
        let upto = self.raft.end();
        if to == leader || self.raft.sending[to] || !self.awake(leader) || !self.awake(to) {
            return;
        }
        if self.raft.matched[to] < upto && self.net.open(leader, to) {
            self.raft.sending[to] = true;
            self.send(leader, to, Happening::Append { to, term, upto });
        }
        self.tell_committed(to);
    }

    pub(crate) fn append(&mut self, to: usize, term: u64, upto: u64) {
        self.raft.sending[to] = false;
        let Some((leader, _)) = self.raft.lead.filter(|(_, now)| *now == term) else { return };
        if !self.net.passes(leader, to) {
            return;
        }
        let behind = (self.raft.log.len() as u64).saturating_sub(self.controllers[to].replica.index);
        if behind > self.shape().snapshot_entries && self.raft.held[to] < self.raft.log.len() as u64 {
            self.install_snapshot(leader, to);
        }
        self.raft.held[to] = self.raft.held[to].max(upto.min(self.raft.end()));
        self.raft.sending[to] = true;
        let delay =
            disk(&mut self.rng) + self.controllers[to].disk + self.net.delay(to, leader, &mut self.rng);
        self.after(delay, Happening::Ack { at: leader, from: to, term, upto });
    }

    pub(crate) fn ack(&mut self, at: usize, from: usize, term: u64, upto: u64) {
        if self.raft.lead != Some((at, term)) {
            return;
        }
        self.raft.sending[from] = false;
        if from != at && !self.net.passes(from, at) {
            return;
        }
        self.raft.matched[from] = self.raft.matched[from].max(upto);
        self.advance(at);
        self.replicate(from);
    }

    fn advance(&mut self, leader: usize) {
        let mut matched = self.raft.matched.clone();
        matched.sort_unstable();
        let majority = matched[(matched.len() - 1) / 2];
        let before = self.raft.log.len();
        while (self.raft.log.len() as u64) < majority
            && let Some(mut logged) = self.raft.tail.pop_front()
        {
            logged.at = self.now;
            self.notes.mix(logged.term);
            let hash = crate::notes::mix_bytes(0, &logged.bytes);
            self.notes.mix(hash);
            self.raft.log.push(logged);
        }
        if self.raft.log.len() == before {
            return;
        }
        let committed = self.raft.log.len() as u64;
        for index in before as u64 + 1..=committed {
            self.crash_hook(index, crate::Moment::Committed);
        }
        if !self.awake(leader) {
            return;
        }
        self.fold_to(leader, committed);
        self.settle_flights(leader);
        for to in 0..self.controllers.len() {
            self.tell_committed(to);
        }
    }

    /// A follower hears a little later what is committed; sometimes a good deal later.
    pub(crate) fn tell_committed(&mut self, to: usize) {
        let Some((leader, _)) = self.raft.lead else { return };
        let knows = self.controllers[to].replica.index;
        let has = self.raft.held[to].min(self.raft.log.len() as u64);
        if to == leader || self.raft.learning[to] || has <= knows || !self.net.open(leader, to) {
            return;
        }
        let lag = match self.rng.below(100) {
            0..85 => self.rng.below(2 * MS),
            85..98 => self.rng.below(50 * MS),
            _ => self.rng.below(400 * MS),
        };
        let delay = lag + self.net.delay(leader, to, &mut self.rng);
        self.raft.learning[to] = true;
        self.after(delay, Happening::Learn { to });
    }

    pub(crate) fn learn(&mut self, to: usize) {
        self.raft.learning[to] = false;
        let Some((leader, _)) = self.raft.lead.filter(|(leader, _)| *leader != to) else { return };
        if self.awake(leader) && self.net.passes(leader, to) {
            self.fold_to(to, self.raft.held[to].min(self.raft.log.len() as u64));
        }
        self.replicate(to);
    }

    /// Somebody stands for election when the leader does not lead any more.
    pub(crate) fn check_leadership(&mut self) {
        let healthy = self
            .raft
            .lead
            .is_some_and(|(leader, term)| self.controllers[leader].leads(term) && self.has_majority(leader));
        if healthy {
            self.raft.epoch += 1;
            self.raft.election = false;
        } else if !self.raft.election {
            self.raft.election = true;
            let timeout = self.shape().election_ms.max(1) * MS;
            let delay = timeout + self.rng.below(timeout);
            let epoch = self.raft.epoch;
            self.after(delay, Happening::Election { epoch });
        }
    }

    pub(crate) fn election(&mut self, epoch: u64) {
        if epoch != self.raft.epoch {
            return;
        }
        self.raft.election = false;
        self.elect(None);
    }

    /// Elects one of those that can win, or this one.
    pub(crate) fn elect(&mut self, wanted: Option<usize>) -> bool {
        let all = self.controllers.len();
        let can_win = |c: &usize| {
            let votes = |v: &usize| self.linked(*c, *v) && self.raft.held[*v] <= self.raft.held[*c];
            self.awake(*c) && (0..all).filter(votes).count() * 2 > all
        };
        let able: Vec<usize> = (0..all).filter(can_win).filter(|c| wanted.is_none_or(|w| w == *c)).collect();
        let Some(winner) = self.rng.pick(&able).copied() else { return false };
        // Who stood for election before comes too late, and whoever wants another one has to stand anew.
        self.raft.epoch += 1;
        self.raft.election = false;
        self.raft.term += 1;
        let term = self.raft.term;
        // What the winner does not have is lost; what it has is committed now, in the term in which it was proposed.
        let has = self.raft.held[winner];
        let lost = self.raft.end() - has;
        let kept = has - self.raft.log.len() as u64;
        if lost > 0 {
            self.notes.reached("entry-lost-with-its-leader");
        }
        if kept > 0 {
            self.notes.reached("entry-survived-its-leader");
        }
        self.raft.tail.truncate(kept as usize);
        for held in &mut self.raft.held {
            *held = (*held).min(has);
        }
        let commits = std::mem::take(&mut self.raft.tail);
        for logged in commits {
            let hash = crate::notes::mix_bytes(logged.term, &logged.bytes);
            self.notes.mix(hash);
            self.raft.log.push(Logged { at: self.now, ..logged });
        }
        self.raft.lead = Some((winner, term));
        self.raft.matched.iter_mut().for_each(|matched| *matched = 0);
        self.raft.sending.iter_mut().for_each(|sending| *sending = false);
        self.fold_to(winner, self.raft.log.len() as u64);
        if self.controllers[winner].lead.is_some() {
            // It led before and leads again, perhaps with others in between of whom it never heard: that reign is over.
            self.depose(winner);
        }
        // What it still had to propose when it lost the leadership goes out first, in a term that is not its own.
        let late = self.controllers[winner].late.take();
        self.propose(winner, term, None, Bytes::new());
        if let Some(bytes) = late.filter(|_| self.awake(winner)) {
            self.notes.reached("entry-of-another-term");
            let entry = Entry::decode(&bytes).ok().map(Arc::new);
            self.propose(winner, term, entry, bytes);
        }
        self.notes.reached("leader-elected");
        // It may have crashed at its first command.
        if self.awake(winner) {
            self.begin_reign(winner, term);
        }
        self.tell_deposed();
        self.leadership_changed();
        true
    }

    /// Who still believes to lead and can hear the one who does is told.
    pub(crate) fn tell_deposed(&mut self) {
        let Some((leader, term)) = self.raft.lead else { return };
        for at in 0..self.controllers.len() {
            let old = self.controllers[at].lead.as_ref().is_some_and(|lead| lead.term < term);
            if old && self.net.open(leader, at) {
                self.send(leader, at, Happening::Deposed { at, term });
            }
        }
    }

    pub(crate) fn deposed(&mut self, at: usize, term: u64) {
        let old = self.controllers[at].lead.as_ref().is_some_and(|lead| lead.term < term);
        let by_itself = term == STEPS_DOWN;
        if old && !(by_itself && self.has_majority(at)) {
            self.depose(at);
            self.check_leadership();
        }
    }
}
