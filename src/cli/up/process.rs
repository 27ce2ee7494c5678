//! The processes of a local cluster: started on their own, known by a pid file, signalled only when it is certain that
//! the pid still is theirs.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A log that has grown over this is put aside at the next start.
const LOG_MAX: u64 = 16 << 20;
/// So much of a log's end is shown when its process dies.
const TAIL_BYTES: u64 = 4096;
const TAIL_LINES: usize = 12;
/// Settings that are meant for every process of a cluster.
const PASSED_ON: [&str; 5] = [
    "KONTIKI_AUTHENTICATION_CONFIG",
    "KONTIKI_OTLP_ENDPOINT",
    "KONTIKI_PRETEND_LEVEL",
    "KONTIKI_REGISTRIES",
    "KONTIKI_SNAPSHOT_ENTRIES",
];

/// The folder with pid files.
pub(crate) fn run_dir(dir: &Path) -> PathBuf {
    dir.join("run")
}

/// A process's log.
pub(super) fn log_file(dir: &Path, name: &str) -> PathBuf {
    dir.join("logs").join(format!("{name}.log"))
}

fn pid_file(dir: &Path, name: &str) -> PathBuf {
    run_dir(dir).join(format!("{name}.pid"))
}

/// Starts a process of this same binary in a group of its own, so that Ctrl-C reaches only whoever was typed at.
pub(super) fn spawn(dir: &Path, name: &str, args: &[String]) -> anyhow::Result<Child> {
    let log = log_file(dir, name);
    if fs::metadata(&log).is_ok_and(|m| m.len() > LOG_MAX) {
        fs::rename(&log, log.with_extension("log.1"))
            .with_context(|| format!("cannot put {} aside", log.display()))?;
    }
    let out = OpenOptions::new().create(true).append(true).open(&log);
    let out = out.with_context(|| format!("cannot open {}", log.display()))?;
    let mut command = Command::new(std::env::current_exe().context("where is this binary?")?);
    command.args(args).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).process_group(0);
    // What is meant for a process of another cluster must not reach this one.
    for (variable, _) in std::env::vars_os() {
        let text = variable.to_string_lossy();
        let passed_on = text.starts_with("KONTIKI_LOG") || PASSED_ON.contains(&&*text);
        if text.starts_with("KONTIKI_") && !passed_on {
            command.env_remove(&variable);
        }
    }
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let born = Stat::of(child.id()).map(|stat| stat.born).unwrap_or_default();
    let file = pid_file(dir, name);
    fs::write(&file, format!("{}\n{born}\n", child.id()))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(child)
}

/// The pid of the named process, if it runs.
pub(crate) fn running(dir: &Path, name: &str) -> Option<u32> {
    let text = fs::read_to_string(pid_file(dir, name)).ok()?;
    let mut lines = text.lines();
    let (pid, born) = (lines.next()?.parse().ok()?, lines.next()?.parse::<u64>().ok()?);
    Stat::of(pid).filter(|stat| stat.born == born && stat.alive).map(|_| pid)
}

/// Forgets a process that has ended.
pub(super) fn forget(dir: &Path, name: &str) {
    // Should it stay, its start time tells it from whoever gets the pid next.
    let _ = fs::remove_file(pid_file(dir, name));
}

/// Signals a process, if `still` holds of the process that is behind the pid now.
pub(super) fn signal(pid: u32, signal: Signal, still: impl Fn() -> bool) -> anyhow::Result<()> {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { bail!("{pid} is no pid") };
    // From here on the descriptor stands for one process: whoever it is, it is the one that is asked about.
    let Ok(fd) = pidfd_open(id, PidfdFlags::empty()) else { return Ok(()) };
    if still() {
        match pidfd_send_signal(&fd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => bail!("cannot signal process {pid}: {error}"),
        }
    }
    Ok(())
}

/// The shims of pods whose folders lie in this data directory.
pub(super) fn shims(dir: &Path) -> Vec<u32> {
    let Ok(dir) = dir.canonicalize() else { return Vec::new() };
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| is_shim(*pid, &dir)).collect()
}

/// Whether this process is the shim of a pod in this folder.
pub(super) fn is_shim(pid: u32, dir: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let [_, b"shim", b"--dir", pod, ..] = args[..] else { return false };
    std::str::from_utf8(pod).is_ok_and(|pod| Path::new(pod).starts_with(dir))
        && Stat::of(pid).is_some_and(|s| s.alive)
}

/// The last lines of a process's log.
pub(super) fn log_tail(dir: &Path, name: &str) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log_file(dir, name))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| format!("    {line}\n")).collect()
}

/// What `/proc` says of a process.
struct Stat {
    /// Clock ticks from the machine's start to the process's: with the pid it names one process for ever.
    born: u64,
    alive: bool,
}

impl Stat {
    fn of(pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Stat> {
        // The program's name stands in parentheses and may itself contain blanks and parentheses.
        let (_, rest) = text.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        let state = fields.next()?;
        Some(Stat { born: fields.nth(18)?.parse().ok()?, alive: !matches!(state, "Z" | "X") })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let line = "12 (a) b (c) S 1 12 12 0 -1 4194560 1 0 0 0 3 4 0 0 20 0 5 0 98765 1 2 3";
        let stat = Stat::parse(line).unwrap();
        assert!(stat.alive && stat.born == 98_765);
        assert!(!Stat::parse(&line.replace(") S ", ") Z ")).unwrap().alive);
    }

    #[test]
    fn a_pid_that_went_to_another_process_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(run_dir(dir.path())).unwrap();
        let own = std::process::id();
        let born = Stat::of(own).unwrap().born;
        fs::write(pid_file(dir.path(), "c1"), format!("{own}\n{born}\n")).unwrap();
        assert_eq!(running(dir.path(), "c1"), Some(own));
        fs::write(pid_file(dir.path(), "c1"), format!("{own}\n{}\n", born + 1)).unwrap();
        assert_eq!(running(dir.path(), "c1"), None);
        assert_eq!(running(dir.path(), "c2"), None);
    }

    #[test]
    fn this_is_no_shim() {
        assert!(!is_shim(std::process::id(), Path::new("/")));
    }
}
