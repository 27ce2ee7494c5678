//! What breaks, and when. The plan is a row of scenes with pauses between them: the kinds that the options feature, a pair of core kinds
//! that overlap (in rotation by seed, so that 66 seeds in a row show every pair), single faults, a fault in the recovery from another,
//! and swizzles.

use rand::{Rng, rngs::StdRng, seq::SliceRandom};

use super::{
    Options, Quiet,
    aim::Aim,
    is_quiet,
    kinds::{self, KindInfo, pick},
};
use crate::plan::{Event, Fault, FaultKind, Shape, Side, Target, What};

/// Nothing breaks in the first and in the last part of a plan: it begins with a cluster that works, and ends with one that may.
const CALM: u64 = 20;
/// A featured fault lasts long enough to have its effect, and leaves the plan to the others.
const FEATURED_MS: std::ops::Range<u64> = 800..1600;
/// Before the next fault, so that this one is whole again.
const ALONE_MS: std::ops::Range<u64> = 500..1500;

/// `from_ms`: nothing of this breaks before.
pub(super) fn draw(
    rng: &mut StdRng,
    seed: u64,
    options: &Options,
    shape: &Shape,
    quiet: &Quiet,
    from_ms: u64,
) -> Vec<Event> {
    let aim = Aim::new(rng, options, shape);
    let mut scenes = Scenes { rng, options, shape, aim, events: Vec::new(), swarm: Vec::new() };
    scenes.draw(seed, quiet, from_ms);
    scenes.events
}

struct Scenes<'a> {
    rng: &'a mut StdRng,
    options: &'a Options,
    shape: &'a Shape,
    aim: Aim<'a>,
    events: Vec<Event>,
    /// The kinds that this seed has on.
    swarm: Vec<&'static KindInfo>,
}

impl Scenes<'_> {
    fn draw(&mut self, seed: u64, quiet: &Quiet, from_ms: u64) {
        let supported: Vec<&'static KindInfo> = self
            .options
            .faults
            .iter()
            .filter_map(|name| kinds::info(name))
            .filter(|kind| !kind.staged)
            .collect();
        if supported.is_empty() || self.options.faults_per_minute <= 0.0 {
            return;
        }
        let share = pick(self.rng, &[0.2, 0.5, 1.0]);
        self.swarm = supported.iter().copied().filter(|_| self.rng.random_bool(share)).collect();
        if self.swarm.is_empty() {
            self.swarm.push(supported[self.rng.random_range(0..supported.len())]);
        }
        let duration = self.options.duration_ms;
        let (first, last) = (from_ms.max(duration / CALM), duration - duration / CALM);
        let pairs = kinds::core_pairs(&self.options.faults);
        let mut next_pair = usize::try_from(seed % pairs.len().max(1) as u64).unwrap_or(0);
        let gap = 60_000.0 / self.options.faults_per_minute;
        let mut at = self.featured(quiet, first, last);
        let mut opened = false;
        while at < last {
            if is_quiet(quiet, at) && opened {
                at += 500;
                continue;
            }
            let room = last - at;
            let drawn = self.rng.random_range(0..10);
            let made = match drawn {
                // The pair comes first, so that it is in every plan.
                _ if !opened && !pairs.is_empty() => {
                    let pair = pairs[next_pair % pairs.len()];
                    next_pair += 1;
                    self.pair(at, room, pair)
                }
                0..=2 => self.overlap(at, room),
                3..=4 => self.in_recovery(at, room),
                5 => self.swizzle(at, room),
                6 if self.rng.random_bool(0.5) => self.mass_silence(at, room),
                _ => self.single(at, room),
            };
            opened = true;
            let pause = gap * made as f64 * self.rng.random_range(0.3..1.7);
            at += 1 + pause as u64;
        }
    }

    /// The kinds that every plan has, one after the other. When they are over.
    fn featured(&mut self, quiet: &Quiet, from: u64, until: u64) -> u64 {
        let mut at = from;
        for info in self.options.featured.iter().filter_map(|name| kinds::info(name)) {
            // Most would show nothing while nobody does anything.
            while is_quiet(quiet, at) {
                at += 500;
            }
            // One host is a controller, if it can be: it has more to lose.
            let info = KindInfo { workers: info.workers && (info.many || !info.controllers), ..*info };
            let length = self.rng.random_range(FEATURED_MS).min(until.saturating_sub(at));
            self.one(at, length, &info);
            at += length + self.rng.random_range(ALONE_MS);
        }
        at
    }

    /// How long something stays broken.
    fn length(&mut self, room: u64) -> u64 {
        let grace = self.shape.node_grace_ms;
        let length = match self.rng.random_range(0..10) {
            0..=2 => self.rng.random_range(20..400),
            3..=6 => self.rng.random_range(400..3000),
            7..=8 => self.rng.random_range(grace..grace * 3),
            _ => self.rng.random_range(3000..20_000),
        };
        length.min(room)
    }

    fn push(&mut self, at_ms: u64, on: Target, for_ms: u64, kind: FaultKind) {
        self.events.push(Event { at_ms, what: What::Fault(Fault { on, for_ms, kind }) });
    }

    /// One fault of this kind. How many were made.
    fn one(&mut self, at: u64, for_ms: u64, info: &KindInfo) -> usize {
        let Some(on) = self.aim.draw(self.rng, info) else { return 0 };
        let other = self.aim.far_end(self.rng, on);
        let kind = kinds::draw(info.name, other, self.rng);
        self.push(at, on, if info.at_once { 0 } else { for_ms }, kind);
        1
    }

    fn any(&mut self) -> &'static KindInfo {
        pick(self.rng, &self.swarm)
    }

    fn single(&mut self, at: u64, room: u64) -> usize {
        let (info, length) = (self.any(), self.length(room));
        self.one(at, length, info)
    }

    /// Two of these kinds; the second begins while the first lasts.
    fn pair(&mut self, at: u64, room: u64, (a, b): (&str, &str)) -> usize {
        let (a, b) = if self.rng.random_bool(0.5) { (a, b) } else { (b, a) };
        let (Some(a), Some(b)) = (kinds::info(a), kinds::info(b)) else { return 0 };
        let first = self.length(room).max(200.min(room));
        let begins = self.rng.random_range(0..=first / 2);
        let second = self.length(room.saturating_sub(begins));
        self.one(at, first, a) + self.one(at + begins, second, b)
    }

    fn overlap(&mut self, at: u64, room: u64) -> usize {
        let (a, b) = (self.any().name, self.any().name);
        self.pair(at, room, (a, b))
    }

    /// One fault in the moment in which another has just ended, and a third in that of the second.
    fn in_recovery(&mut self, at: u64, room: u64) -> usize {
        let (mut begins, mut made) = (at, 0);
        for _ in 0..self.rng.random_range(2..=3) {
            let (left, info) = (room.saturating_sub(begins - at), self.any());
            let length = self.length(left).min(left);
            made += self.one(begins, length, info);
            begins += (length + self.rng.random_range(0..500)).min(left);
        }
        made
    }

    /// Cut off one by one, healed in another order.
    fn swizzle(&mut self, at: u64, room: u64) -> usize {
        if !self.options.faults.contains(&"isolate") {
            return self.single(at, room);
        }
        let targets = self.aim.several(self.rng);
        let step = self.rng.random_range(20..800).min(room / (2 * targets.len() as u64 + 2));
        let mut ends: Vec<u64> = (0..targets.len() as u64).collect();
        ends.shuffle(self.rng);
        let count = targets.len() as u64;
        for (n, (target, end)) in targets.into_iter().zip(ends).enumerate() {
            let begins = at + n as u64 * step;
            let heals = at + (count + end) * step;
            self.push(begins, target, heals - begins, FaultKind::Isolate { side: Side::Both });
        }
        1
    }

    /// The controllers lose all workers at once, for longer than a single one would be given: that is not mass death.
    fn mass_silence(&mut self, at: u64, room: u64) -> usize {
        let able = self.options.hit_workers && self.options.faults.contains(&"isolate");
        if !able {
            return self.single(at, room);
        }
        let length = (self.shape.node_grace_ms * self.rng.random_range(2..8)).min(room);
        self.push(at, Target::Workers, length, FaultKind::Isolate { side: Side::Both });
        2
    }
}
