//! `kontiki-fuzz run MINUTES FOLDER` gives all targets arbitrary input in turn; `kontiki-fuzz one TARGET SECONDS SEED FOLDER` one of them;
//! `kontiki-fuzz replay TARGET FILE` gives one target one input.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kontiki_fuzz::{TARGETS, Target, Watcher, fuzz, try_input};
use rustix::time::{ClockId, clock_gettime};

/// How often a target tells how far it is.
const PROGRESS: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["run", minutes, folder] => run(minutes, Path::new(folder)),
        ["one", target, seconds, seed, folder] => one(target, seconds, seed, Path::new(folder)),
        ["replay", target, file] => replay(target, Path::new(file)),
        _ => Err(
            "usage: kontiki-fuzz run MINUTES FOLDER | one TARGET SECONDS SEED FOLDER | replay TARGET FILE"
                .to_owned(),
        ),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Each target has its share of the time, and a process of its own: neither a failure nor the end of that keeps the rest from being tried.
fn run(minutes: &str, folder: &Path) -> Result<(), String> {
    let minutes: u64 = minutes.parse().map_err(|_| format!("minutes are a whole number, not {minutes:?}"))?;
    let share = (60 * minutes / TARGETS.len() as u64).max(1).to_string();
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).to_string();
    let program = std::env::current_exe().map_err(|error| format!("find this program: {error}"))?;
    let mut failed = Vec::new();
    for target in TARGETS {
        let ended = Command::new(&program).args(["one", target.name, &share, &seed]).arg(folder).status();
        let ended = ended.map_err(|error| format!("start {}: {error}", program.display()))?;
        if ended.code().is_none() {
            // By a signal, as at the end of the stack: then the input that was tried last is still there.
            let path = running(folder, target);
            println!("{}: {ended}\n  {}", target.name, replay_by(target, &path));
        }
        if !ended.success() {
            failed.push(target.name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(" "))) }
}

/// Counts, tells how far it is, and keeps what is tried where it outlives the process.
struct Following {
    target: &'static Target,
    began: Instant,
    told: Instant,
    share: Duration,
    /// Holds what is tried. It stays open: a file that is made anew for each input waits for the disk each time.
    running: File,
    inputs: u64,
    /// The processor's time when the last one began, and the longest that one took, with that input.
    since: Duration,
    slowest: (Duration, Vec<u8>),
    last: Vec<u8>,
}

impl Following {
    fn ended(&mut self) {
        let took = processor_time().saturating_sub(self.since);
        if self.inputs > 0 && took > self.slowest.0 {
            self.slowest = (took, std::mem::take(&mut self.last));
        }
    }
}

impl Watcher for Following {
    fn more(&mut self) -> bool {
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            println!("{}: {} inputs in {} s", self.target.name, self.inputs, self.began.elapsed().as_secs());
        }
        self.began.elapsed() < self.share
    }

    fn trying(&mut self, input: &[u8]) {
        self.ended();
        self.inputs += 1;
        // If it cannot be written nothing is lost but the input of a process that ends.
        self.running.write_all_at(input, 0).and_then(|()| self.running.set_len(input.len() as u64)).ok();
        self.last = input.to_vec();
        self.since = processor_time();
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanoseconds = time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec);
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}

fn one(name: &str, seconds: &str, seed: &str, folder: &Path) -> Result<(), String> {
    let target = target_of(name)?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    let (share, seed) = (Duration::from_secs(number(seconds)?), number(seed)?);
    fs::create_dir_all(folder).map_err(|error| format!("make {}: {error}", folder.display()))?;
    let (began, path) = (Instant::now(), running(folder, target));
    let running = File::create(&path).map_err(|error| format!("make {}: {error}", path.display()))?;
    let (since, slowest) = (processor_time(), (Duration::ZERO, Vec::new()));
    let (told, last) = (began, Vec::new());
    let mut following = Following { target, began, told, share, running, inputs: 0, since, slowest, last };
    let result = fuzz(target, seed, &mut following);
    following.ended();
    fs::remove_file(&path).ok();
    let kept = |what: &str, input: &[u8]| -> Result<PathBuf, String> {
        let path = folder.join(format!("{name}-{what}{seed}"));
        let kept = fs::write(&path, input);
        kept.map_err(|error| {
            format!("{name}: its input {:?} is not kept: {error}", input.escape_ascii().to_string())
        })?;
        Ok(path)
    };
    let (inputs, slowest) = (following.inputs, following.slowest);
    match result {
        Ok(accepted) => {
            println!("{name}: {inputs} inputs from seed {seed}, {accepted} accepted");
            println!(
                "  the slowest took {:?}: {}",
                slowest.0,
                replay_by(target, &kept("slowest-", &slowest.1)?)
            );
            Ok(())
        }
        Err(failure) => {
            let replay = replay_by(target, &kept("", &failure.input)?);
            Err(format!("{name}: input {inputs} from seed {seed}: {}\n  {replay}", failure.why))
        }
    }
}

fn running(folder: &Path, target: &Target) -> PathBuf {
    folder.join(format!("{}-running", target.name))
}

fn replay_by(target: &Target, path: &Path) -> String {
    format!("cargo run --release --locked -p kontiki-fuzz -- replay {} {}", target.name, path.display())
}

fn target_of(name: &str) -> Result<&'static Target, String> {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.ok_or_else(|| format!("no target {name:?}; there are {}", names.join(" ")))
}

fn replay(name: &str, file: &Path) -> Result<(), String> {
    let target = target_of(name)?;
    let input = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let tried = try_input(target, &input)?;
    let became = if tried.accepted { "accepted" } else { "refused" };
    println!("{name}: {became} by {} allocations", tried.allocations);
    Ok(())
}
