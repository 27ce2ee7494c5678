//! The share of the chaos tests that every test run plays: the plans of bugs that were found, and the same seeds each time. Other
//! seeds are for campaigns (`make chaos`).

use std::process::Command;

fn passes(args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_kontiki-chaos"))
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("kontiki-chaos runs");
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{args:?}: {words}\n{}", String::from_utf8_lossy(&output.stderr));
    let passed = ["replayed", " runs, 0 failed", ": passed, "];
    assert!(passed.iter().any(|said| words.contains(said)), "{args:?}: {words}");
}

#[test]
fn regressions_hold() {
    passes(&["regressions"]);
}

/// 3,300 pods on 300 workers; a zone is lost while they roll out, and the leader twice.
#[test]
fn a_large_cluster_passes() {
    passes(&["play", "--layer", "l0", "chaos-tests/plans/300-workers.jsonl"]);
}

#[test]
fn seeds_pass() {
    // One layer after the other: each takes all processors.
    // 1,000 cluster-hours of L0, most of them quiet.
    passes(&["seeds", "--layer", "l0", "--from", "1", "--count", "1088", "--minutes", "60"]);
    passes(&["seeds", "--layer", "l1", "--from", "1", "--count", "18", "--minutes", "60", "--numbers", "24"]);
    // And 64 cluster-hours of L1.
    passes(&["seeds", "--layer", "l1", "--hours", "--from", "1", "--count", "64", "--minutes", "60"]);
}
