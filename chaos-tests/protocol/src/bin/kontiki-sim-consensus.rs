//! Plays consensus-only plans: `kontiki-sim-consensus [--defect NAME] FIRST [COUNT]`. A plan's seed is all that it needs to be played
//! again. Prints a line per seed, and what went wrong; ends with 1 if something did.

use std::time::{Duration, Instant};

use kontiki_chaos_protocol::{consensus, sim};
use kontiki_hooks::{Defect, plant};

fn main() {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "--defect") && arguments.len() > 1 {
        let name = arguments.remove(1);
        arguments.remove(0);
        match Defect::ALL.iter().find(|defect| defect.name() == name) {
            Some(defect) => plant(*defect),
            None => {
                eprintln!("no defect is called {name:?}");
                std::process::exit(2);
            }
        }
    }
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
    let begun = Instant::now();
    let (mut simulated, mut failures) = (Duration::ZERO, 0);
    for seed in first..first + count {
        let own = Instant::now();
        let outcome = sim::run(seed, consensus::play(consensus::generate(seed)));
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
    }
    let speed = simulated.as_secs_f64() / begun.elapsed().as_secs_f64();
    eprintln!(
        "{count} seeds, {:.3} simulated hours at {speed:.0} times real time, {failures} with violations",
        simulated.as_secs_f64() / 3600.0
    );
    std::process::exit(i32::from(failures > 0));
}
