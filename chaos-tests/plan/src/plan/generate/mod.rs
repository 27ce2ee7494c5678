//! From a seed to a plan. Each seed is another swarm: it turns operations and fault kinds on and off and skews their rates, so
//! that rare mixtures come up. The same seed and options give the same plan.

mod aim;
mod faults;
mod kinds;
mod ops;
mod shape;
mod situation;

pub use kinds::{ALL_KINDS, CORE_KINDS, core_pairs};
use rand::{Rng, SeedableRng, rngs::StdRng};
pub use situation::Situation;

use super::{Event, Plan};

/// What clients do mostly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Writes, compare-and-swaps, reads and lists of few registers.
    Registers,
    /// Many watches over registers, little history, many snapshots.
    Watches,
    /// Deployments: scaled, rolled out, undone, drained, deleted.
    Workloads,
    /// All of it.
    Mixed,
}

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 4] = [Profile::Registers, Profile::Watches, Profile::Workloads, Profile::Mixed];
}

/// What the faults may do to the controllers' disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Budget {
    /// A majority keeps what it has written, whatever else breaks: everything must come back.
    Within,
    /// Anything: nothing wrong may be said, but it need not come back.
    Beyond,
}

/// What the plans of a campaign have in common.
#[derive(Clone, Debug)]
pub struct Options {
    /// What clients do.
    pub profile: Profile,
    /// How much may be destroyed.
    pub budget: Budget,
    /// How long, simulated.
    pub duration_ms: u64,
    /// Operations in each second, of all clients together. 0: none.
    pub ops_per_s: f64,
    /// Clients that do operations; watches have clients of their own after these.
    pub clients: u32,
    /// Registers.
    pub keys: u32,
    /// Numbers of controllers to choose from.
    pub controllers: Vec<u32>,
    /// Numbers of workers: at least, at most.
    pub workers: (u32, u32),
    /// Zones.
    pub zones: u32,
    /// The names of the fault kinds that the layer can do (see [`ALL_KINDS`]). Others do not come up.
    pub faults: Vec<&'static str>,
    /// Faults in each minute, about.
    pub faults_per_minute: f64,
    /// Whether controllers are hit.
    pub hit_controllers: bool,
    /// Whether workers are hit.
    pub hit_workers: bool,
    /// The situation that every plan begins with, if the layer can do it.
    pub situation: Option<Situation>,
    /// The names of fault kinds that every plan has, each at first and alone, whatever else is drawn: where few plans are played, chance
    /// leaves some kinds out.
    pub featured: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            profile: Profile::Mixed,
            budget: Budget::Within,
            duration_ms: 60_000,
            ops_per_s: 20.0,
            clients: 5,
            keys: 8,
            controllers: vec![3, 3, 5],
            workers: (3, 9),
            zones: 3,
            faults: ALL_KINDS.iter().map(|kind| kind.name).collect(),
            faults_per_minute: 12.0,
            hit_controllers: true,
            hit_workers: true,
            situation: None,
            featured: Vec::new(),
        }
    }
}

/// Windows in which nobody does anything and nothing new breaks: some bugs are armed by silence.
type Quiet = Vec<(u64, u64)>;

/// Makes the plan of a seed.
pub fn generate(seed: u64, options: &Options) -> Plan {
    // One source for each part, so that more operations do not mean other faults.
    let source =
        |part: u64| StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(part));
    let shape = shape::draw(&mut source(1), options);
    let quiet = quiet(&mut source(2), options.duration_ms);
    let mut events = ops::draw(&mut source(3), options, &shape, &quiet);
    // A situation destroys no other disk than the faults after it may.
    let victim = aim::victims(&mut source(4), options, &shape).first().copied();
    let (scene, over_ms) = situation::draw(&mut source(5), options, &shape, victim);
    events.extend(scene);
    events.extend(faults::draw(&mut source(4), seed, options, &shape, &quiet, over_ms));
    events.sort_by_key(|event: &Event| event.at_ms);
    Plan { seed, shape, events }
}

fn quiet(rng: &mut StdRng, duration_ms: u64) -> Quiet {
    let count = rng.random_range(0..=2);
    let mut windows = Vec::new();
    for _ in 0..count {
        let length = duration_ms * rng.random_range(5..=20) / 100;
        let from = rng.random_range(0..duration_ms.saturating_sub(length).max(1));
        windows.push((from, from + length));
    }
    windows
}

fn is_quiet(quiet: &Quiet, at_ms: u64) -> bool {
    quiet.iter().any(|(from, to)| (*from..*to).contains(&at_ms))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::{FaultKind, Target, What};

    fn faults(plan: &Plan) -> impl Iterator<Item = (u64, u64, &crate::plan::Fault)> {
        plan.events.iter().filter_map(|event| match &event.what {
            What::Fault(fault) => Some((event.at_ms, event.ends_ms(), fault)),
            What::Op { .. } => None,
        })
    }

    #[test]
    fn a_seed_is_a_plan() {
        for profile in Profile::ALL {
            let options = Options { profile, ..Options::default() };
            let plan = generate(7, &options);
            assert_eq!(plan, generate(7, &options));
            assert_ne!(plan.events, generate(8, &options).events);
            assert_eq!(Plan::from_lines(&plan.to_lines()).unwrap(), plan);
            assert!(plan.events.is_sorted_by_key(|event| event.at_ms));
            assert!(plan.events.len() > 100, "{}", plan.events.len());
            assert!(plan.ends_ms() <= options.duration_ms + 1000, "{}", plan.ends_ms());
        }
    }

    #[test]
    fn sixty_six_seeds_show_every_core_pair_overlapping() {
        let mut seen = BTreeSet::new();
        for seed in 100..166 {
            let plan = generate(seed, &Options::default());
            let faults: Vec<_> = faults(&plan).collect();
            for (from, to, fault) in &faults {
                for (other_from, other_to, other) in &faults {
                    let (a, b) = (fault.kind.name(), other.kind.name());
                    if a < b && from <= other_to && other_from <= to {
                        seen.insert((a, b));
                    }
                }
            }
        }
        let missing: Vec<_> =
            core_pairs(&CORE_KINDS).into_iter().filter(|pair| !seen.contains(pair)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_run_of_seeds_shows_every_kind() {
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            seen.extend(faults(&generate(seed, &Options::default())).map(|(_, _, fault)| fault.kind.name()));
        }
        for situation in [Situation::OldLeader, Situation::BetweenCommands] {
            let staged = Options { situation: Some(situation), ..Options::default() };
            seen.extend(faults(&generate(0, &staged)).map(|(_, _, fault)| fault.kind.name()));
        }
        let missing: Vec<_> =
            ALL_KINDS.iter().map(|kind| kind.name).filter(|name| !seen.contains(name)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn within_the_budget_a_majority_keeps_its_disks() {
        for seed in 0..300 {
            let situation = (seed % 2 == 0).then_some(Situation::ChangeCutShort);
            let options = Options { faults_per_minute: 60.0, situation, ..Options::default() };
            let plan = generate(seed, &options);
            let mut victims = BTreeSet::new();
            for (_, _, fault) in faults(&plan) {
                if matches!(
                    fault.kind,
                    FaultKind::BitRot { .. } | FaultKind::DiskLost | FaultKind::MemberReplaced
                ) {
                    match fault.on {
                        Target::Controller(n) => {
                            victims.insert(n);
                        }
                        Target::Worker(_) => {}
                        other => panic!("{other:?} may be several controllers one after the other"),
                    }
                }
            }
            assert!(victims.len() as u32 <= (plan.shape.controllers - 1) / 2, "seed {seed}: {victims:?}");
        }
    }

    #[test]
    fn beyond_the_budget_says_so() {
        let options = Options { budget: Budget::Beyond, ..Options::default() };
        assert!(generate(1, &options).shape.beyond_budget);
        assert!(!generate(1, &Options::default()).shape.beyond_budget);
    }

    #[test]
    fn only_what_the_layer_can_do_and_reach() {
        let options = Options {
            faults: vec!["crash", "pause", "node-reboot"],
            hit_controllers: false,
            controllers: vec![1],
            ..Options::default()
        };
        for seed in 0..50 {
            for (_, _, fault) in faults(&generate(seed, &options)) {
                assert!(options.faults.contains(&fault.kind.name()), "{fault:?}");
                assert!(matches!(fault.on, Target::Worker(_) | Target::Workers), "{fault:?}");
            }
        }
    }

    #[test]
    fn a_situation_comes_first_and_is_let_be() {
        for situation in Situation::ALL {
            for seed in 0..20 {
                let with =
                    Options { situation: Some(situation), faults_per_minute: 0.0, ..Options::default() };
                let alone = generate(seed, &with);
                assert!(faults(&alone).count() > 0, "{situation:?}");
                let over = faults(&alone).map(|(_, ends, _)| ends).max().unwrap();
                assert!(over < with.duration_ms, "{situation:?}: {over}");
                let more = generate(seed, &Options { faults_per_minute: 12.0, ..with });
                let before = faults(&more).filter(|(from, _, _)| *from < over).count();
                assert_eq!(before, faults(&alone).count(), "{situation:?}");
            }
            let unable = Options { situation: Some(situation), faults: vec!["pause"], ..Options::default() };
            assert!(faults(&generate(1, &unable)).all(|(_, _, fault)| fault.kind == FaultKind::Pause));
        }
    }

    #[test]
    fn what_is_featured_is_there_at_first_and_alone() {
        let featured = vec!["disk-lost", "reset"];
        for seed in 0..100 {
            let plan = generate(
                seed,
                &Options { featured: featured.clone(), faults_per_minute: 60.0, ..Options::default() },
            );
            let faults: Vec<_> = faults(&plan).collect();
            let names: Vec<_> = faults.iter().take(2).map(|(_, _, fault)| fault.kind.name()).collect();
            assert_eq!(names, featured, "seed {seed}");
            assert!(faults[0].1 < faults[1].0 && faults[1].1 < faults[2].0, "seed {seed}: {faults:?}");
        }
    }

    #[test]
    fn large_clusters_are_quickly_made() {
        let options = Options {
            profile: Profile::Workloads,
            workers: (300, 300),
            duration_ms: 600_000,
            ops_per_s: 2.0,
            ..Options::default()
        };
        let plan = generate(3, &options);
        assert_eq!(plan.shape.workers, 300);
        assert!(plan.events.len() > 500);
    }
}
