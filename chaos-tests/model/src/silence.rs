//! Silence and what the leader makes of it. Signs of life are not sent but computed, whenever who hears whom changes; silence is
//! looked at only while there is something to see.

use kontiki_actors::{
    Input, Kind,
    input::{Life, Verdict},
};

use crate::{
    liveness,
    time::MS,
    world::{Happening, World},
};

/// Between two looks at silence.
const TICK: u64 = 200 * MS;

impl World {
    /// Notes who is heard at this moment.
    pub(crate) fn hear_all(&mut self, at: usize) {
        let now = self.instant();
        if !self.awake(at) || self.controllers[at].lead.is_none() {
            return;
        }
        let heard: Vec<usize> = self.heard_by(at).collect();
        let Some(lead) = &mut self.controllers[at].lead else { return };
        for worker in heard {
            lead.liveness.heard(&self.workers[worker].name, now);
        }
    }

    fn heard_by(&self, at: usize) -> impl Iterator<Item = usize> {
        let sessions = self.controllers[at].lead.iter().flat_map(|lead| lead.sessions.keys().copied());
        sessions.filter(move |worker| {
            let host = self.host(*worker);
            self.awake(host) && self.net.open(host, at)
        })
    }

    /// Silence is looked at as long as there is something to see.
    pub(crate) fn watch_silence(&mut self, at: usize) {
        if let Some(lead) = self.controllers[at].lead.as_mut().filter(|lead| !lead.ticking) {
            lead.ticking = true;
            let term = lead.term;
            self.after(0, Happening::Tick { at, term });
        }
    }

    pub(crate) fn tick(&mut self, at: usize, term: u64) {
        if !self.controllers[at].leads(term) {
            return;
        }
        self.hear_all(at);
        let now = self.instant();
        let controller = &mut self.controllers[at];
        let Some(lead) = &mut controller.lead else { return };
        let verdicts = lead.liveness.verdicts(&controller.replica.state, now);
        if !verdicts.is_empty() {
            let delay = self.rng.between(MS / 4, MS);
            self.after(delay, Happening::Judge { at, term, verdicts });
        }
        let heard: Vec<&str> = self.heard_by(at).map(|worker| self.workers[worker].name.as_str()).collect();
        let state = &self.controllers[at].replica.state;
        let open = state.list(Kind::NODE, None).any(|node| {
            let in_contact = heard.contains(&node.key.name.as_str());
            liveness::life(node) != if in_contact { Life::Ready } else { Life::Down }
        });
        if let Some(lead) = &mut self.controllers[at].lead {
            lead.ticking = open;
        }
        if open {
            self.after(TICK, Happening::Tick { at, term });
        }
    }

    /// A leader that a majority does not confirm judges nobody.
    pub(crate) fn judge(&mut self, at: usize, term: u64, verdicts: Vec<Verdict>) {
        if !self.confirms(at, term) {
            self.notes.reached("unconfirmed-leader-judges-nobody");
            return;
        }
        for verdict in &verdicts {
            self.notes.reached(match verdict.life {
                Life::Ready => "node-heard-again",
                Life::Suspect => "node-suspected",
                Life::Down => "node-given-up",
            });
        }
        self.submit(at, Input::Verdicts(verdicts), None, None);
    }
}
