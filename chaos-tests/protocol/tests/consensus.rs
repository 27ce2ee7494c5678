//! The consensus alone in the simulation: seeds pass, and the same seed is the same run in another process.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

const PLAYER: &str = env!("CARGO_BIN_EXE_kontiki-sim-consensus");

/// Runs the player in a process of its own: what it printed, and whether all seeds passed.
fn play(arguments: &[&str]) -> (String, bool) {
    let output = Command::new(PLAYER).args(arguments).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

#[test]
fn the_same_seed_is_the_same_run_in_another_process() {
    let (first, _) = play(&["1", "20"]);
    let (second, _) = play(&["1", "20"]);
    assert_eq!(first.lines().filter(|line| line.starts_with("seed")).count(), 20);
    assert_eq!(first, second);
}

#[test]
fn seeds_pass() {
    let (said, passed) = play(&["1", "60"]);
    assert!(passed, "replay a seed with `kontiki-sim-consensus SEED`:\n{said}");
}

/// The plans of bugs that were found, of those that are about the consensus alone.
#[test]
fn plans_that_found_bugs_pass() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../regressions");
    for regression in kontiki_chaos_plan::regressions::read(&directory).unwrap() {
        if regression.plan.shape.workers == 0 {
            let file = directory.join(format!("{}.jsonl", regression.name));
            let (said, passed) = play(&["--plan", file.to_str().unwrap()]);
            assert!(passed, "{}: {said}", regression.name);
        }
    }
}
