//! Whole clusters in one thread, played from seeds and judged.
//!
//! `KONTIKI_SEEDS=from..until KONTIKI_PROFILE=mixed cargo test --release -p kontiki-chaos-protocol --test whole -- --ignored explore
//! --nocapture` plays others; `KONTIKI_DEFECT` plants a defect, `KONTIKI_LOG` logs, `KONTIKI_TRACE` prints what happens.
#![allow(clippy::unwrap_used)]

use std::{process::Command, time::Instant};

use kontiki_chaos_plan::{
    Plan, Play, Run, check,
    plan::{
        Event, Op, Shape, What,
        generate::{ALL_KINDS, Options, Profile, generate},
    },
};
use kontiki_chaos_protocol::{ABSENT_FAULTS, Player};
use kontiki_hooks::Defect;

fn options(profile: Profile) -> Options {
    let faults = ALL_KINDS.iter().map(|kind| kind.name).filter(|kind| !ABSENT_FAULTS.contains(kind));
    Options { profile, duration_ms: 20_000, faults: faults.collect(), ..Options::default() }
}

fn plan(seed: u64, profile: Profile) -> Plan {
    generate(seed, &options(profile))
}

fn play(plan: &Plan) -> (Run, Option<String>) {
    let run = Player.play(plan).unwrap();
    let judgements = check::judge_all(&run);
    let failure = check::first_failure(&judgements).map(|judgement| format!("{judgement:?}"));
    (run, failure)
}

fn profile(name: &str) -> Profile {
    serde_json::from_value(name.into()).unwrap()
}

fn log() {
    if let Ok(filter) = std::env::var("KONTIKI_LOG") {
        let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let _ = subscriber.without_time().try_init();
    }
}

/// Runs a test of this file in a process of its own; gives what it prints.
fn apart(test: &str, seeds: &str, profile: &str, defect: &str) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", test, "--nocapture"]);
    command.env("KONTIKI_SEEDS", seeds).env("KONTIKI_PROFILE", profile).env("KONTIKI_DEFECT", defect);
    let output = command.output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "plays what the environment says, in a process of its own"]
fn explore() {
    log();
    let text = |name: &str, or: &str| std::env::var(name).unwrap_or(or.into());
    let seeds = text("KONTIKI_SEEDS", "0..10");
    let (from, until) = seeds.split_once("..").unwrap();
    let profile = profile(&text("KONTIKI_PROFILE", "mixed"));
    let defect = text("KONTIKI_DEFECT", "");
    if let Some(defect) = Defect::ALL.iter().find(|known| known.name() == defect) {
        kontiki_hooks::plant(*defect);
    }
    for seed in from.parse::<u64>().unwrap()..until.parse().unwrap() {
        let plan = plan(seed, profile);
        let begun = Instant::now();
        let (run, failure) = play(&plan);
        if let Ok(file) = std::env::var("KONTIKI_RUN") {
            std::fs::write(file, serde_json::to_vec(&run).unwrap()).unwrap();
        }
        let simulated = run.settled.healed_ns + run.settled.served_ns.unwrap_or(run.settled.limit_ns);
        println!(
            "seed {seed} hash {:016x} {}",
            run.trace_hash,
            if failure.is_some() { "FAIL" } else { "pass" }
        );
        let failed = failure.is_some();
        if let Some(words) = failure {
            println!("  {words:.1500}");
        }
        eprintln!(
            "  {:.1} s simulated in {:.2} s; {} ops, {} entries, {} instances, {} faults",
            simulated as f64 / 1e9,
            begun.elapsed().as_secs_f64(),
            run.ops.len(),
            run.log.len(),
            run.instances.len(),
            run.faults.len(),
        );
        if failed && !defect.is_empty() {
            return;
        }
    }
}

fn op(at_ms: u64, client: u32, via: u32, op: Op) -> Event {
    Event { at_ms, what: What::Op { client, via, op } }
}

#[test]
fn a_deployment_runs_and_registers_are_written() {
    log();
    let events = vec![
        op(0, 2, 1, Op::Watch { resume_via: 2 }),
        op(0, 0, 0, Op::Deploy { name: 0, replicas: 5, cpu_m: 100, max_surge: 1, max_unavailable: 0 }),
        op(100, 1, 1, Op::Put { key: 1 }),
        op(200, 1, 2, Op::Get { key: 1 }),
        op(300, 1, 0, Op::Cas { key: 1 }),
        op(400, 1, 0, Op::List { page: 2 }),
        op(500, 1, 0, Op::Remove { key: 1 }),
        op(2000, 0, 2, Op::Rollout { name: 0 }),
    ];
    let plan = Plan { seed: 1, shape: Shape::default(), events };
    let (run, failure) = play(&plan);
    assert_eq!(failure, None);
    let started = run.instances.iter().filter(|event| event.running).count();
    assert_eq!(started, 10, "five pods, and five after the rollout: {:?}", run.instances);
}

#[test]
fn seeds_of_each_profile_pass() {
    for name in ["registers", "watches", "workloads", "mixed"] {
        let said = apart("explore", "0..5", name, "");
        let passed = said.lines().filter(|line| line.starts_with("seed ") && line.ends_with(" pass"));
        assert_eq!(passed.count(), 5, "{name}: {said}");
    }
}

#[test]
fn a_seed_is_the_same_run_in_another_process() {
    let hashes = || {
        let said = apart("explore", "100..120", "mixed", "");
        said.lines().filter(|line| line.starts_with("seed")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (one, other) = (hashes(), hashes());
    assert_eq!(one.len(), 20);
    assert_eq!(one, other);
}
