//! `kontiki-fuzz run MINUTES FOLDER` gives all targets arbitrary input in turn; `kontiki-fuzz replay TARGET FILE` gives one target one input.

use std::{
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kontiki_fuzz::{TARGETS, Target, fuzz, try_input};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["run", minutes, folder] => run(minutes, Path::new(folder)),
        ["replay", target, file] => replay(target, Path::new(file)),
        _ => Err("usage: kontiki-fuzz run MINUTES FOLDER | kontiki-fuzz replay TARGET FILE".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Each target has its share of the time; a failure does not keep the rest from being tried.
fn run(minutes: &str, folder: &Path) -> Result<(), String> {
    let minutes: u32 = minutes.parse().map_err(|_| format!("minutes are a whole number, not {minutes:?}"))?;
    let share = Duration::from_secs(60) * minutes / u32::try_from(TARGETS.len()).unwrap_or(1);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut failed = Vec::new();
    for target in TARGETS {
        let (began, mut inputs) = (Instant::now(), 0_u64);
        let result = fuzz(target, seed, || {
            inputs += 1;
            began.elapsed() < share
        });
        println!("{}: {inputs} inputs from seed {seed}", target.name);
        if let Err(failure) = result {
            let path = folder.join(format!("{}-{seed}", target.name));
            fs::create_dir_all(folder).and_then(|()| fs::write(&path, &failure.input)).map_err(|error| {
                format!(
                    "{}: {}; its input {:?} is not kept: {error}",
                    target.name, failure.why, failure.input
                )
            })?;
            let replay = format!(
                "cargo run --release --locked -p kontiki-fuzz -- replay {} {}",
                target.name,
                path.display()
            );
            println!("{}: {}\n  {replay}", target.name, failure.why);
            failed.push(target.name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(" "))) }
}

fn replay(name: &str, file: &Path) -> Result<(), String> {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let target: &Target = TARGETS
        .iter()
        .find(|target| target.name == name)
        .ok_or_else(|| format!("no target {name:?}; there are {}", names.join(" ")))?;
    let input = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let (accepted, allocations) = try_input(target, &input)?;
    println!("{name}: {} by {allocations} allocations", if accepted { "accepted" } else { "refused" });
    Ok(())
}
