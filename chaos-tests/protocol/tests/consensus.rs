//! The consensus alone in the simulation: seeds pass, the same seed is the same run in another process, and planted defects are found.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use kontiki_hooks::Defect;

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

/// Each of the consensus' defects, with the first seed and how many in which it must be found.
const BUDGETS: &[(Defect, u32, u32)] = &[
    (Defect::AckBeforeFsync, 1, 10),
    (Defect::VoteNotSynced, 1, 10),
    (Defect::ReadWithoutQuorum, 1, 20),
    (Defect::SnapshotWithoutTable, 1, 40),
    (Defect::PurgeAheadOfFlush, 1, 40),
    (Defect::FsyncErrorIgnored, 1, 60),
    (Defect::ChecksumIgnored, 1, 20),
    (Defect::TruncateOffByOne, 1, 80),
    (Defect::JointLeft, 100, 100),
];

#[test]
fn every_planted_defect_is_found() {
    let missed: Vec<&str> = BUDGETS
        .iter()
        .filter(|(defect, first, count)| {
            let (first, count) = (first.to_string(), count.to_string());
            play(&["--until-found", "--defect", defect.name(), &first, &count]).1
        })
        .map(|(defect, ..)| defect.name())
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
