//! A process that runs as long as somebody holds it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

/// A running process. Dropped, it is killed and gone.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// So many lines of a log are enough to see why a process ended.
const TAIL: usize = 15;

impl Process {
    /// Starts it. What it prints goes to a file in this folder.
    pub(crate) fn start(name: &str, mut command: Command, folder: &Path) -> anyhow::Result<Process> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let command = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {name}: {command:?}"))?;
        Ok(Process { name: name.to_owned(), child, log })
    }

    /// Its process number.
    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        Ok(i32::try_from(self.child.id())?)
    }

    /// An error with its last words if it has ended.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        bail!("{} has ended ({status}):\n{last}", self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Neither can fail on a child that was not waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start("sleeper", shell("exec sleep 1000"), folder.path()).unwrap();
        process.still_runs().unwrap();
        let stat = format!("/proc/{}/stat", process.pid().unwrap());
        assert!(Path::new(&stat).exists());
        drop(process);
        assert!(!Path::new(&stat).exists());
    }

    #[test]
    fn one_that_ended_tells_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut process =
            Process::start("talker", shell("echo no such port >&2; exit 3"), folder.path()).unwrap();
        let error = loop {
            match process.still_runs() {
                Ok(()) => std::thread::yield_now(),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("talker has ended") && error.contains("no such port"), "{error}");
    }
}
