//! What holds between hosts and on disks while faults overlap: each fault adds a rule, and the conditions are what all rules together say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kontiki_chaos_plan::plan::Side;

use super::Fabric;
use crate::{
    disk::SimDisk,
    network::{Conditions, HostId},
};

/// What a rule does to the links that it is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Effect {
    Cut,
    Slow { least: Duration, jitter: Duration },
    Loss(u32),
    Narrow(u64),
}

/// A rule about links.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) these: BTreeSet<HostId>,
    /// None: all others.
    pub(super) those: Option<BTreeSet<HostId>>,
    pub(super) side: Side,
    pub(super) effect: Effect,
}

impl Rule {
    fn is_about(&self, from: HostId, to: HostId) -> bool {
        let those = |host: HostId| match &self.those {
            Some(those) => those.contains(&host),
            None => !self.these.contains(&host),
        };
        let out = self.these.contains(&from) && those(to);
        let into = self.these.contains(&to) && those(from);
        match self.side {
            Side::Both => out || into,
            Side::Out => out,
            Side::In => into,
        }
    }
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    Full,
    Error,
    Slow(Duration),
    Stuck,
}

/// All rules, by the event that brought them.
#[derive(Default)]
pub(super) struct Rules {
    links: BTreeMap<usize, Rule>,
    disks: BTreeMap<(usize, u32), Trouble>,
}

impl Rules {
    pub(super) fn add(&mut self, event: usize, rule: Rule, fabric: &Fabric) {
        self.links.insert(event, rule);
        self.apply(fabric);
    }

    pub(super) fn remove(&mut self, event: usize, fabric: &Fabric) {
        if self.links.remove(&event).is_some() {
            self.apply(fabric);
        }
    }

    fn apply(&self, fabric: &Fabric) {
        for from in 0..fabric.hosts() {
            for to in (0..fabric.hosts()).filter(|to| *to != from) {
                let mut now = Conditions::default();
                for rule in self.links.values().filter(|rule| rule.is_about(from, to)) {
                    match rule.effect {
                        Effect::Cut => now.cut = true,
                        Effect::Slow { least, jitter } => {
                            now.delay += least;
                            now.jitter += jitter;
                        }
                        Effect::Loss(per_mille) => now.loss_per_mille = now.loss_per_mille.max(per_mille),
                        Effect::Narrow(bytes) => {
                            let least =
                                if now.bytes_per_second == 0 { u64::MAX } else { now.bytes_per_second };
                            now.bytes_per_second = least.min(bytes);
                        }
                    }
                }
                if fabric.net.link(from, to) != now {
                    fabric.net.change_link(from, to, |conditions| *conditions = now);
                }
            }
        }
    }

    pub(super) fn spoil(&mut self, event: usize, controller: u32, trouble: Trouble, disk: &SimDisk) {
        self.disks.insert((event, controller), trouble);
        self.apply_disk(controller, disk);
    }

    pub(super) fn is_spoiled(&self, controller: u32) -> bool {
        self.disks.keys().any(|(_, of)| *of == controller)
    }

    pub(super) fn mend(&mut self, event: usize, controller: u32, disk: &SimDisk) {
        self.disks.remove(&(event, controller));
        self.apply_disk(controller, disk);
    }

    fn apply_disk(&self, controller: u32, disk: &SimDisk) {
        let mut stuck = false;
        disk.set_faults(|faults| {
            *faults = Default::default();
            for ((_, of), trouble) in &self.disks {
                match trouble {
                    _ if *of != controller => {}
                    Trouble::Full => faults.full = true,
                    Trouble::Error => faults.error = true,
                    Trouble::Slow(by) => faults.slow = faults.slow.max(*by),
                    Trouble::Stuck => stuck = true,
                }
            }
        });
        disk.set_stuck(stuck);
    }

    /// Everything is whole.
    pub(super) fn heal<'a>(&mut self, fabric: &Fabric, disks: impl Iterator<Item = &'a SimDisk>) {
        self.links.clear();
        self.disks.clear();
        self.apply(fabric);
        for disk in disks {
            disk.set_faults(|faults| *faults = Default::default());
            disk.set_stuck(false);
        }
    }
}
