//! Plays consensus-only plans: `kontiki-sim-consensus [--until-found] [--defect NAME] (FIRST [COUNT] | --plan FILE)`; `--print` prints the
//! plan of a seed instead, `--shrink` makes a failing plan small. A plan's seed is all that it needs to be played
//! again. Prints a line per seed, and what went wrong; ends with 1 if something did.

use std::time::{Duration, Instant};

use kontiki_chaos_plan::Plan;
use kontiki_chaos_plan::shrink::shrink;
use kontiki_chaos_protocol::{consensus, sim};
use kontiki_hooks::{Defect, plant};

/// A plan is shrunk with no more runs than this.
const SHRINK: usize = 400;

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let until_found = take(&mut arguments, "--until-found", 1).is_some();
    if let Some(name) = take(&mut arguments, "--defect", 2) {
        match Defect::ALL.iter().find(|defect| defect.name() == name) {
            Some(defect) => plant(*defect),
            None => {
                eprintln!("no defect is called {name:?}");
                std::process::exit(2);
            }
        }
    }
    let print = take(&mut arguments, "--print", 1).is_some();
    let file = take(&mut arguments, "--plan", 2);
    let shrinks = take(&mut arguments, "--shrink", 1).is_some();
    let number =
        |n: usize, default: u64| arguments.get(n).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (first, count) = (number(0, 1), number(1, 1));
    let logged = tracing_subscriber::EnvFilter::try_from_default_env();
    if let Ok(filter) = logged {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .without_time()
            .with_writer(std::io::stderr)
            .try_init();
    }
    if print {
        print!("{}", consensus::generate(first).to_lines());
        return;
    }
    let plans: Vec<Plan> = match file.map(|file| Plan::read(file.as_ref())) {
        Some(Ok(plan)) => vec![plan],
        Some(Err(error)) => {
            eprintln!("{error:#}");
            std::process::exit(2);
        }
        None => (first..first + count).map(consensus::generate).collect(),
    };
    if shrinks {
        for plan in &plans {
            let shrunk = shrink(plan, SHRINK, |plan| !run(plan).broken.is_empty());
            print!("{}", shrunk.plan.to_lines());
        }
        return;
    }
    let begun = Instant::now();
    let (mut simulated, mut failures) = (Duration::ZERO, 0);
    for plan in &plans {
        let (seed, own) = (plan.seed, Instant::now());
        let outcome = run(plan);
        let (hash, events) = outcome.trace;
        let faults: u64 = outcome.faults.values().sum();
        println!(
            "seed {seed} trace {hash:016x} events {events} simulated {:.3} s writes {} reads {} reigns {} faults {faults} deaths {} violations {}",
            outcome.simulated.as_secs_f64(),
            outcome.done.0,
            outcome.done.1,
            outcome.reigns,
            outcome.deaths,
            outcome.broken.len()
        );
        for broken in &outcome.broken {
            println!("  {} at {:.3} s: {}", broken.invariant, broken.at_ns as f64 / 1e9, broken.words);
        }
        eprintln!("  {:.1}x", outcome.simulated.as_secs_f64() / own.elapsed().as_secs_f64());
        failures += u64::from(!outcome.broken.is_empty());
        simulated += outcome.simulated;
        if until_found && failures > 0 {
            break;
        }
    }
    let speed = simulated.as_secs_f64() / begun.elapsed().as_secs_f64();
    eprintln!(
        "{count} seeds, {:.3} simulated hours at {speed:.0} times real time, {failures} with violations",
        simulated.as_secs_f64() / 3600.0
    );
    std::process::exit(i32::from(failures > 0));
}

fn run(plan: &Plan) -> consensus::Outcome {
    sim::run(plan.seed, consensus::play(plan.clone()))
}

/// Takes an option with its value, if it has one, out of the arguments; gives the last of its words.
fn take(arguments: &mut Vec<String>, name: &str, words: usize) -> Option<String> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.drain(at..(at + words).min(arguments.len())).next_back()
}
