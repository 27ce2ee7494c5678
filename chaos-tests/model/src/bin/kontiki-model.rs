//! Plays seeds in the model and judges them: `kontiki-model PROFILE FROM COUNT [key=value ...]`.

use std::time::Instant;

use kontiki_chaos_model::{LAYER_FAULTS, Model};
use kontiki_chaos_plan::{
    Play,
    check::{first_failure, judge_all},
    plan::generate::{Options, Profile, generate},
};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let profile = match args.first().map(String::as_str) {
        Some("registers") => Profile::Registers,
        Some("watches") => Profile::Watches,
        Some("workloads") => Profile::Workloads,
        _ => Profile::Mixed,
    };
    let number =
        |n: usize, otherwise: u64| args.get(n).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (from, count) = (number(1, 0), number(2, 10));
    let value = |name: &str, otherwise: f64| -> f64 {
        let found = args.iter().find_map(|arg| arg.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
        found.unwrap_or(otherwise)
    };
    let verbose = args.iter().any(|arg| arg == "verbose");
    let mut options = Options { profile, faults: LAYER_FAULTS.to_vec(), ..Options::default() };
    options.duration_ms = (value("seconds", options.duration_ms as f64 / 1000.0) * 1000.0) as u64;
    options.ops_per_s = value("ops", options.ops_per_s);
    options.faults_per_minute = value("faults", options.faults_per_minute);
    let workers = value("workers", -1.0);
    if workers >= 0.0 {
        options.workers = (workers as u32, workers as u32);
    }
    let first = args.iter().any(|arg| arg == "first");
    let traces = args.iter().any(|arg| arg == "traces");
    let judge = !args.iter().any(|arg| arg == "nojudge");
    if let Some(name) = args.iter().find_map(|arg| arg.strip_prefix("defect=")) {
        let all = kontiki_hooks::Defect::ALL.iter();
        let defect = all.copied().find(|defect| defect.name() == name);
        kontiki_hooks::plant(defect.ok_or_else(|| anyhow::anyhow!("no defect {name}"))?);
    }
    let mut model = Model::default();
    let (mut virtual_ns, mut turns, mut happenings, mut failed) = (0, 0, 0, 0);
    let mut played = 0.0;
    for seed in from..from + count {
        let plan = generate(seed, &options);
        let begun = Instant::now();
        let run = model.play(&plan)?;
        played += begun.elapsed().as_secs_f64();
        virtual_ns += model.work.virtual_ns;
        turns += model.work.turns;
        happenings += model.work.happenings;
        let judgements = if judge { judge_all(&run) } else { Vec::new() };
        if let Some(failure) = first_failure(&judgements) {
            failed += 1;
            if first {
                println!("seed {seed}: {} {:?}", failure.check, failure.verdict);
                std::process::exit(2);
            }
            println!("seed {seed}: {} {:?}", failure.check, failure.verdict);
            if verbose {
                println!("{:#?}\n{:?}", run.settled, run.broken);
                print!("{}", plan.to_lines());
            }
        }
        let wanted = value("entry", 0.0) as u64;
        for logged in run.log.iter().filter(|logged| logged.index == wanted && !logged.bytes.is_empty()) {
            show(&kontiki_actors::Entry::decode(&logged.bytes)?);
        }
        if traces {
            println!("{seed} {:016x}", run.trace_hash);
        }
        if verbose {
            println!("{seed} {:016x} {:?} {:?}", run.trace_hash, model.work, run.reached);
        }
    }
    let hours = virtual_ns as f64 / 3.6e12;
    println!(
        "{count} seeds, {failed} failed; {hours:.2} cluster-hours in {played:.1} s: {:.0}x, {:.0} turns/s, {:.0} happenings/s",
        hours * 3600.0 / played,
        turns as f64 / played,
        happenings as f64 / played,
    );
    Ok(())
}

/// What an entry did, for people.
fn show(entry: &kontiki_actors::Entry) {
    use kontiki_actors::Change;
    for turned in &entry.turns {
        println!("at {} {:?} -> {:?}", turned.now_ms, turned.input, turned.outcome);
        for change in &turned.changes {
            match change {
                Change::Put { key, metadata, spec, status, rest } => {
                    print!("  put {key}");
                    for (name, segment) in [("m", metadata), ("s", spec), ("st", status), ("r", rest)] {
                        if let Some(segment) = segment {
                            print!(" {name}={}", String::from_utf8_lossy(segment));
                        }
                    }
                    println!();
                }
                other => println!("  {other:?}"),
            }
        }
    }
}
