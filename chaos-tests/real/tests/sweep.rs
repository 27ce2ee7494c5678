//! A harness that is killed outright leaves its cluster behind: the next one removes all of it, also what is stopped or frozen.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use kontiki_chaos_real::ground::{dir_of, leftovers, of_run, sweep};
use rustix::process::{Pid, Signal, kill_process};
use support::{binary, machine};

#[test]
fn what_a_killed_harness_left_is_removed() {
    let Some(_machine) = machine() else { return };
    let mut harness = Command::new(env!("CARGO_BIN_EXE_kontiki-chaos-real"))
        .args(["hold", "--controllers", "1", "--workers", "1", "--binary"])
        .arg(binary())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(harness.stdout.take().unwrap()).lines();
    let ready = lines.next().unwrap().unwrap();
    let id = ready.strip_prefix("ready ").unwrap().to_owned();

    // The worst that a nemesis may have been at: a frozen disk and a stopped process.
    let disk = dir_of(&id).join("controller-0");
    assert!(Command::new("fsfreeze").arg("-f").arg(&disk).status().unwrap().success());
    for pid in of_run(&id, Some("worker-0")) {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    }
    let before = leftovers(&id);
    for what in ["process", "mount", "loop device", "namespace", "cgroup"] {
        assert!(before.iter().any(|left| left.starts_with(what)), "no {what} in {before:?}");
    }

    harness.kill().unwrap();
    harness.wait().unwrap();
    assert!(!leftovers(&id).is_empty(), "a killed harness cannot clean up");
    assert!(sweep().unwrap().contains(&id));
    assert_eq!(leftovers(&id), Vec::<String>::new());
    assert!(!dir_of(&id).exists());
}
