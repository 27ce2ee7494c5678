//! What a fault hits. Within the budget, what destroys a controller's disk hits the same minority of them all along, by number: a
//! leader of now and a leader of later may be two.

use rand::{Rng, rngs::StdRng, seq::SliceRandom};

use super::{Budget, Options, kinds::KindInfo};
use crate::plan::{Shape, Target};

/// The controllers whose disks may be destroyed in a plan whose faults are drawn from here.
pub(super) fn victims(rng: &mut StdRng, options: &Options, shape: &Shape) -> Vec<u32> {
    let mut victims: Vec<u32> = (0..shape.controllers).collect();
    victims.shuffle(rng);
    if options.budget == Budget::Within {
        victims.truncate((shape.controllers.saturating_sub(1) / 2) as usize);
    }
    victims
}

/// Draws targets for one plan.
pub(super) struct Aim<'a> {
    options: &'a Options,
    shape: &'a Shape,
    /// The controllers whose disks may be destroyed.
    victims: Vec<u32>,
}

impl<'a> Aim<'a> {
    pub(super) fn new(rng: &mut StdRng, options: &'a Options, shape: &'a Shape) -> Aim<'a> {
        Aim { options, shape, victims: victims(rng, options, shape) }
    }

    /// What this kind hits; none when there is nothing that it may.
    pub(super) fn draw(&self, rng: &mut StdRng, kind: &KindInfo) -> Option<Target> {
        let controllers = kind.controllers && self.options.hit_controllers && self.shape.controllers > 0;
        let workers = kind.workers && self.options.hit_workers && self.shape.workers > 0;
        if kind.destroys {
            let victim = *self.victims.get(rng.random_range(0..self.victims.len().max(1)))?;
            return controllers.then_some(Target::Controller(victim));
        }
        if controllers
            && workers
            && kind.many
            && self.shape.zones > 1
            && (kind.name == "flap" || rng.random_bool(0.15))
        {
            return Some(Target::Zone(rng.random_range(0..self.shape.zones)));
        }
        match (controllers, workers) {
            (true, true) if rng.random_bool(0.6) => Some(self.controller(rng, kind)),
            (true, false) => Some(self.controller(rng, kind)),
            (_, true) => Some(self.worker(rng, kind)),
            (false, false) => None,
        }
    }

    /// Another end for a link.
    pub(super) fn far_end(&self, rng: &mut StdRng, near: Target) -> Target {
        let controller = Target::Controller(rng.random_range(0..self.shape.controllers.max(1)));
        match near {
            Target::Leader => Target::Follower,
            Target::Follower if rng.random_bool(0.5) => Target::Leader,
            Target::Worker(_) if rng.random_bool(0.5) => Target::Leader,
            Target::Controller(n) if self.shape.controllers > 1 => {
                Target::Controller((n + rng.random_range(1..self.shape.controllers)) % self.shape.controllers)
            }
            _ => controller,
        }
    }

    /// Numbers of the things that a swizzle cuts off: all controllers or some workers.
    pub(super) fn several(&self, rng: &mut StdRng) -> Vec<Target> {
        let controllers = self.options.hit_controllers && (!self.options.hit_workers || rng.random_bool(0.6));
        let mut targets: Vec<Target> = if controllers {
            (0..self.shape.controllers).map(Target::Controller).collect()
        } else {
            (0..self.shape.workers).map(Target::Worker).collect()
        };
        targets.shuffle(rng);
        targets.truncate(8);
        targets
    }

    fn controller(&self, rng: &mut StdRng, kind: &KindInfo) -> Target {
        match rng.random_range(0..10) {
            0..=3 => Target::Leader,
            4..=5 => Target::Follower,
            6 if kind.many => Target::Controllers,
            7 if kind.many && self.options.hit_workers && kind.workers && rng.random_bool(0.5) => Target::All,
            _ => Target::Controller(rng.random_range(0..self.shape.controllers.max(1))),
        }
    }

    fn worker(&self, rng: &mut StdRng, kind: &KindInfo) -> Target {
        if kind.many && rng.random_bool(0.1) {
            return Target::Workers;
        }
        Target::Worker(rng.random_range(0..self.shape.workers.max(1)))
    }
}
