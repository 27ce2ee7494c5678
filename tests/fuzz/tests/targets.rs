//! Every target holds on what was found before, and on so many new inputs. `KONTIKI_FUZZ_SEED` repeats a run.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use kontiki_fuzz::{Form, MAX_ALLOCATIONS, TARGETS, Target, Times, fuzz, try_input};

#[test]
fn what_was_found_before_stays_mended() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target.name);
        let Ok(files) = fs::read_dir(&folder) else { continue };
        for file in files {
            let path = file.unwrap().path();
            if let Err(why) = try_input(target, &fs::read(&path).unwrap()) {
                panic!("{} of {}: {why}", path.display(), target.name);
            }
        }
    }
}

#[test]
fn arbitrary_inputs_break_nothing() {
    let chosen = std::env::var("KONTIKI_FUZZ_SEED").ok().map(|seed| seed.parse().unwrap());
    let seed: u64 =
        chosen.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("KONTIKI_FUZZ_SEED={seed}");
    // What a target is given depends on the seed only, not on who gives it.
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(target) = TARGETS.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = given(target, seed) {
                        failed.lock().unwrap().push(why);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "KONTIKI_FUZZ_SEED={seed}\n{}", failed.join("\n"));
}

/// Gives a target its inputs.
fn given(target: &Target, seed: u64) -> Result<(), String> {
    let began = Instant::now();
    match fuzz(target, seed, &mut Times(target.times)) {
        Ok(0) => Err(format!("{}: nothing that it is given is accepted", target.name)),
        Ok(accepted) => {
            let (name, inputs, took) = (target.name, target.times, began.elapsed());
            println!("{name}: {inputs} inputs, {accepted} accepted, {took:?}");
            Ok(())
        }
        Err(failure) => {
            let input = failure.input.escape_ascii();
            Err(format!("{}: {}\n  by b\"{input}\"", target.name, failure.why))
        }
    }
}

fn target(run: fn(&[u8]) -> Result<bool, String>) -> Target {
    Target {
        name: "planted",
        seeds: || vec![b"seed".to_vec()],
        form: Form::Bytes,
        longest: 4096,
        times: 1,
        run,
    }
}

#[test]
fn panics_broken_properties_and_waste_are_failures() {
    assert!(try_input(&target(|_| panic!("planted")), b"").unwrap_err().contains("panic: planted"));
    assert_eq!(try_input(&target(|_| Err("broken".into())), b"").unwrap_err(), "broken");
    let wasteful = target(|_| {
        (0..=MAX_ALLOCATIONS).for_each(|n| drop(std::hint::black_box(Box::new(n))));
        Ok(true)
    });
    assert!(try_input(&wasteful, b"").unwrap_err().contains("allocated"));
    let large = target(|_| Ok(std::hint::black_box(vec![1_u8; 200 << 20]).len() > 1));
    assert!(try_input(&large, b"").unwrap_err().contains("held"));
    let rare = target(|input| if input.contains(&0) { Err("found".into()) } else { Ok(true) });
    assert_eq!(fuzz(&rare, 1, &mut Times(100_000)).unwrap_err().why, "found");
}
