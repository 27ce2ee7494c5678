//! Kills the agent, a pod's shim, or both, before any step of any pod's life, the pull of its image among them: nothing of the pod is
//! left when it is gone, no container runs twice at a time, and what is wanted comes true.
//!
//! A part of it runs with all tests, the same each time. `make kill-walk KILLS=500` is the whole: other steps with each `SEED`.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod agent;
mod filter;
mod pods;
mod pulls;
#[path = "../registry_support/mod.rs"]
mod registry_support;
#[path = "../runtime_support/mod.rs"]
mod runtime_support;
mod supervisor;
mod walk;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use pods::{KINDS, Kind};
use runtime_support::cannot_run_containers;
use supervisor::{Plan, Target};
use walk::{Deeds, Dice, Sum, Walk};

const TARGETS: [Target; 3] = [Target::Agent, Target::Shim, Target::Both];
/// For so many steps of the next agent those are held back who live on, if they are.
const HOLD: u32 = 60;
/// One pod in so many is killed at rest, and one in so many is killed twice.
const AT_REST: u32 = 12;
const TWICE: u32 = 4;
/// Lives that are led at a time; no more than there are kinds, for each first leads one without a kill.
const WALKERS: usize = 4;

/// A process of its own in the other tests here.
#[test]
#[ignore = "is the agent that the walks start"]
fn the_agent() {
    if let Ok(home) = std::env::var(agent::HOME) {
        agent::main(&serde_json::from_str(&home).unwrap());
    }
}

fn cannot_walk() -> bool {
    if cannot_run_containers() {
        return true;
    }
    if !filter::is_there() {
        eprintln!("skipped: this kernel cannot let stopped system calls go on");
        return true;
    }
    false
}

/// What is done in one life: the same for the same seed.
fn deeds(seed: u64, index: u32, steps: &[u32], rounds: u32) -> (&'static Kind, Deeds) {
    let mut dice = Dice::of(seed, index);
    let pairs = u32::try_from(KINDS.len() * TARGETS.len()).unwrap();
    let (round, pair) = ((index / pairs) % rounds, index % pairs);
    let nth = usize::try_from(pair).unwrap();
    let (kind, steps) = (&KINDS[nth % KINDS.len()], steps[nth % KINDS.len()]);
    let target = TARGETS[nth / KINDS.len()];
    // Each round of a pair has its own part of the steps.
    let (from, to) = (steps * round / rounds, steps * (round + 1) / rounds);
    let plan =
        |at: u32, target: Target, dice: &mut Dice| Plan { target, at: at + 1, hold: HOLD * dice.below(2) };
    let at = from + dice.below(to - from);
    let mut deeds = Deeds { plans: [Some(plan(at, target, &mut dice)), None], at_rest: None };
    if dice.below(TWICE) == 0 {
        let other = TARGETS[usize::try_from(dice.below(3)).unwrap()];
        let later = dice.below(steps / 2);
        deeds.plans[1] = Some(plan(later, other, &mut dice));
    } else if kind.restarts && !kind.deleted_early && dice.below(AT_REST) == 0 {
        deeds = Deeds { plans: [None, None], at_rest: Some(target) };
    }
    (kind, deeds)
}

/// Walks until so many were killed. Most of a life is waiting, so that several are led at a time.
fn run(kills: u32, seed: u64, tell: bool) {
    let pairs = u32::try_from(KINDS.len() * TARGETS.len()).unwrap();
    let rounds = kills.div_ceil(pairs);
    let (sum, next) = (Mutex::new(Sum::default()), AtomicU32::new(0));
    let steps = Mutex::new(vec![0; KINDS.len()]);
    let measure = |first: usize, walk: &mut Walk| {
        for nth in (first..KINDS.len()).step_by(WALKERS) {
            let outcome = walk.live(&KINDS[nth], Deeds::default());
            sum.lock().unwrap().add(&format!("{} without a kill", KINDS[nth].name), &outcome);
            steps.lock().unwrap()[nth] = outcome.steps;
        }
    };
    let kill = |walk: &mut Walk, steps: &[u32]| {
        while sum.lock().unwrap().count() < kills {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (kind, deeds) = deeds(seed, index, steps, rounds);
            let outcome = walk.live(kind, deeds);
            let mut sum = sum.lock().unwrap();
            sum.add(&format!("seed {seed}, life {index}: {}, {deeds:?}", kind.name), &outcome);
            if tell && (index + 1) % 10 == 0 {
                println!("{} of {kills} kills, {} lives went wrong", sum.count(), sum.wrong.len());
            }
        }
    };
    let mut walks: Vec<Walk> = (0..WALKERS).map(|_| Walk::default()).collect();
    std::thread::scope(|scope| {
        for (number, walk) in walks.iter_mut().enumerate() {
            let measure = &measure;
            scope.spawn(move || measure(number, walk));
        }
    });
    let measured = steps.lock().unwrap().clone();
    std::thread::scope(|scope| {
        for walk in &mut walks {
            let (kill, measured) = (&kill, &measured);
            scope.spawn(move || kill(walk, measured));
        }
    });
    let sum = sum.into_inner().unwrap();
    if tell {
        KINDS.iter().zip(&measured).for_each(|(kind, steps)| println!("{}: {steps} steps", kind.name));
        sum.tell();
        for target in TARGETS {
            let of = sum.kills.iter().filter(|((of, _), _)| *of == target);
            println!("{target:?}: {} kills", of.map(|(_, count)| count).sum::<u32>());
        }
    }
    println!("{} kills, {} lives went wrong", sum.count(), sum.wrong.len());
    assert!(sum.wrong.is_empty(), "{:#?}", sum.wrong);
}

#[test]
fn a_kill_at_any_step_leaves_nothing_and_starts_nothing_twice() {
    if !cannot_walk() {
        run(40, 1, false);
    }
}

#[test]
#[ignore = "takes long: make kill-walk"]
fn the_whole_walk() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if !cannot_walk() {
        let kills = number("KONTIKI_WALK_KILLS").and_then(|kills| u32::try_from(kills).ok()).unwrap_or(500);
        run(kills, number("KONTIKI_WALK_SEED").unwrap_or(1), true);
    }
}
