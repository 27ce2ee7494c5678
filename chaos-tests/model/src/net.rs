//! The network: who reaches whom, and how long a message takes. Hosts are numbers: the controllers first, then the workers.

use std::collections::BTreeMap;

use crate::{
    rng::Rng,
    time::{MICRO, MS},
};

/// A controller or a worker.
pub(crate) type Host = usize;

/// A cut between some hosts and some others.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// Per host: on this side.
    pub(crate) these: Vec<bool>,
    /// Per host: on the other side.
    pub(crate) those: Vec<bool>,
    /// What goes from these to those is lost.
    pub(crate) out: bool,
    /// What comes from those to these is lost.
    pub(crate) into: bool,
}

/// Links of some hosts that are slower.
#[derive(Clone, Debug)]
pub(crate) struct Slow {
    /// Per host.
    pub(crate) these: Vec<bool>,
    /// Added to every message.
    pub(crate) delay: u64,
    /// Added at most besides.
    pub(crate) jitter: u64,
    /// So many in a thousand packets are lost and sent again, which is all that a stream's ends see of a loss.
    pub(crate) lost_per_mille: u64,
    /// So many in a thousand of the things that workers are told are told again.
    pub(crate) twice_per_mille: u64,
}

/// The network.
#[derive(Debug, Default)]
pub(crate) struct Net {
    cuts: BTreeMap<usize, Cut>,
    slow: BTreeMap<usize, Slow>,
    /// Messages that a cut or a slow link concerned, by fault.
    pub(crate) bitten: BTreeMap<usize, u64>,
}

/// What a lost packet costs until it is sent again.
const RESEND: u64 = 200 * MS;
/// What is said again comes no later than this.
const AGAIN_MAX: u64 = 3000 * MS;

impl Net {
    /// A fault cuts.
    pub(crate) fn cut(&mut self, fault: usize, cut: Cut) {
        self.cuts.insert(fault, cut);
    }

    /// A fault slows.
    pub(crate) fn slow(&mut self, fault: usize, slow: Slow) {
        self.slow.insert(fault, slow);
    }

    /// A fault is over.
    pub(crate) fn heal(&mut self, fault: usize) {
        self.cuts.remove(&fault);
        self.slow.remove(&fault);
    }

    /// Whether a message gets from one host to another.
    pub(crate) fn open(&self, from: Host, to: Host) -> bool {
        self.cuts.values().all(|cut| !cut.blocks(from, to))
    }

    /// The same, and what stops it has had an effect.
    pub(crate) fn passes(&mut self, from: Host, to: Host) -> bool {
        let blocking = self.cuts.iter().find(|(_, cut)| cut.blocks(from, to));
        let Some((fault, _)) = blocking else { return true };
        *self.bitten.entry(*fault).or_default() += 1;
        false
    }

    /// How long a message takes.
    pub(crate) fn delay(&mut self, from: Host, to: Host, rng: &mut Rng) -> u64 {
        let mut delay = rng.between(80 * MICRO, 400 * MICRO);
        for (fault, slow) in &self.slow {
            if slow.these[from] || slow.these[to] {
                *self.bitten.entry(*fault).or_default() += 1;
                delay += slow.delay + rng.below(slow.jitter + 1);
                let mut tries = 0;
                while tries < 5 && rng.chance(slow.lost_per_mille) {
                    delay += RESEND << tries;
                    tries += 1;
                }
            }
        }
        delay
    }

    /// When a message comes once more, if it does.
    pub(crate) fn again(&self, from: Host, to: Host, rng: &mut Rng) -> Option<u64> {
        let on = |slow: &&Slow| slow.these[from] || slow.these[to];
        let twice = self.slow.values().filter(on).map(|slow| slow.twice_per_mille).max().unwrap_or(0);
        (twice > 0 && rng.chance(twice)).then(|| rng.between(RESEND, AGAIN_MAX))
    }
}

impl Cut {
    fn blocks(&self, from: Host, to: Host) -> bool {
        (self.out && self.these[from] && self.those[to]) || (self.into && self.those[from] && self.these[to])
    }
}
