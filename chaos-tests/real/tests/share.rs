//! The share of real processes that every test run plays: the plans of bugs that were found, and the same seeds each time. Other seeds
//! are for campaigns (`make chaos`).
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{fs, path::Path, process::Command};

use support::{binary, machine, say};

/// One of each profile, and one of them purges logs; two at once, since plans wait more than they work.
const SEEDS: [&str; 6] = ["--from", "1", "--count", "4", "--jobs", "2"];

fn passes(args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_kontiki-chaos-real"))
        .args(args)
        .arg("--binary")
        .arg(binary())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{args:?}: {words}\n{}", String::from_utf8_lossy(&output.stderr));
    say(&format!(
        "{}: {}",
        args.join(" "),
        words.lines().find(|line| line.contains(" seeds played")).unwrap_or("passed")
    ));
}

#[test]
fn regressions_hold() {
    let Some(_machine) = machine() else { return };
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut plans: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    plans.sort();
    assert!(!plans.is_empty());
    for plan in plans {
        passes(&["play", plan.to_str().unwrap()]);
    }
}

#[test]
fn seeds_pass() {
    let Some(_machine) = machine() else { return };
    passes(&[&["seeds"], &SEEDS[..]].concat());
}
