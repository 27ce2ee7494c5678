//! Each planted defect is found within its budget of seeds; a process of its own for each.

use std::process::Command;

/// Defect, profile, seeds, and what the plans are like.
const BUDGETS: [(&str, &str, u32, &[&str]); 22] = [
    ("capacity-forgotten", "workloads", 40, &[]),
    ("taints-ignored", "workloads", 40, &[]),
    ("placement-by-hash", "workloads", 10, &[]),
    ("replica-leak", "workloads", 80, &[]),
    ("surplus-kept", "workloads", 20, &[]),
    ("rollout-too-fast", "workloads", 40, &[]),
    ("rollout-surge", "workloads", 40, &[]),
    ("node-stays-lost", "registers", 40, &[]),
    ("new-leader-condemns", "registers", 80, &[]),
    ("mass-condemnation", "registers", 80, &[]),
    ("garbage-of-the-living", "workloads", 80, &[]),
    ("garbage-left", "workloads", 40, &[]),
    ("finalizer-ignored", "mixed", 40, &[]),
    ("namespace-forgets", "mixed", 80, &[]),
    ("capacity-not-freed", "mixed", 80, &["workers=1", "faults=0"]),
    ("usage-drift", "workloads", 80, &[]),
    ("report-of-another", "workloads", 80, &[]),
    ("clock-in-turn", "registers", 300, &[]),
    ("dry-run-done", "registers", 10, &[]),
    ("revision-not-compared", "registers", 80, &["ops=60"]),
    ("retry-done-again", "registers", 300, &["faults=40", "ops=60"]),
    ("fold-foreign-term", "registers", 400, &["faults=40", "ops=60"]),
];

fn play(profile: &str, seeds: u32, more: &[&str]) -> (bool, String) {
    let seeds = seeds.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_kontiki-model"))
        .args([profile, "0", &seeds, "seconds=20", "first"])
        .args(more)
        .output()
        .expect("the model's binary runs");
    (output.status.code() == Some(2), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn every_planted_defect_is_found() {
    let mut missed = Vec::new();
    for (defect, profile, seeds, more) in BUDGETS {
        let planted = format!("defect={defect}");
        let mut more: Vec<&str> = more.to_vec();
        more.push(&planted);
        let (found, said) = play(profile, seeds, &more);
        eprint!("{defect}: {said}");
        if !found {
            missed.push(defect);
        }
    }
    assert!(missed.is_empty(), "not found within their budgets: {missed:?}");
}
