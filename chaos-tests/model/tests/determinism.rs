//! The same plan gives the same run: in one process, and in another.

use std::{collections::BTreeMap, process::Command};

use kontiki_chaos_model::{LAYER_FAULTS, Model};
use kontiki_chaos_plan::{
    Play,
    plan::generate::{Options, Profile, generate},
};

fn hash(profile: Profile, seed: u64) -> u64 {
    let options =
        Options { profile, faults: LAYER_FAULTS.to_vec(), duration_ms: 20_000, ..Options::default() };
    Model::default().play(&generate(seed, &options)).expect("the model plays any plan").trace_hash
}

fn elsewhere(profile: &str, count: u64) -> BTreeMap<u64, u64> {
    let output = Command::new(env!("CARGO_BIN_EXE_kontiki-model"))
        .args([profile, "0", &count.to_string(), "seconds=20", "traces", "nojudge"])
        .output()
        .expect("the model's binary runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = |line: &str| {
        let (seed, hash) = line.split_once(' ')?;
        Some((seed.parse().ok()?, u64::from_str_radix(hash, 16).ok()?))
    };
    text.lines().filter_map(line).collect()
}

#[test]
fn twenty_seeds_twice_here_and_once_elsewhere() {
    for (name, profile) in [("registers", Profile::Registers), ("mixed", Profile::Mixed)] {
        let there = elsewhere(name, 10);
        for seed in 0..10 {
            let once = hash(profile, seed);
            assert_eq!(once, hash(profile, seed), "{name} {seed}: twice in one process");
            assert_eq!(Some(&once), there.get(&seed), "{name} {seed}: in two processes");
        }
    }
}
