//! The command that is printed with a failure plays that very failure again.

use std::process::Command;

/// What `kontiki-chaos` says to these arguments, and whether it was content.
fn says(args: &[&str]) -> (String, bool) {
    let output = Command::new(env!("CARGO_BIN_EXE_kontiki-chaos"))
        .args(args)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .expect("kontiki-chaos runs");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
}

#[test]
fn a_planted_defect_is_in_the_command() {
    let (words, passed) =
        says(&["play", "--layer", "l1", "--defect", "mass-condemnation", "mass-condemnation:0"]);
    assert!(!passed, "{words}");
    let again = words.lines().find_map(|line| line.trim().strip_prefix("again: kontiki-chaos "));
    let again: Vec<&str> = again.expect("the command").split(' ').collect();
    assert_eq!(says(&again), (words.clone(), false), "{again:?}");
}
