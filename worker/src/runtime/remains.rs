//! What a dead shim may have left: processes, cgroups, and children of it that are not yet a container's program.
//!
//! Its mount namespace dies with it, and the programs of its containers are killed by the kernel. The rest is done here. A child on
//! its way to a program waits for the shim for ever once that is dead, and may enter the pod's cgroup only after somebody has looked
//! into it. It has the shim's command line, and holds the pod's lock as the shim did, so that whoever gets the lock knows that there
//! is none left. The lock also keeps a shim that an agent before this one has just started from beginning.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::runtime::{ContainerPhase, RuntimeClass};
use crate::shim::cgroup::Cgroups;
use crate::shim::host;
use crate::shim::state::{BUNDLES, LOCK, PodState, Setup};

/// Who was killed is gone by then; only one that hangs in the kernel takes longer.
const TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(5);
/// A program is there within that, also on a busy machine; few processes have no environment for ever.
const EXECVE_TRIES: u32 = 50;
const EXECVE_PAUSE: Duration = Duration::from_millis(1);

/// While this is held, no shim begins to serve the pod.
pub(super) struct Cleared(File);

impl Drop for Cleared {
    fn drop(&mut self) {
        // A process that is being started may have a copy of the descriptor for a moment, and would hold the lock with it.
        rustix::fs::flock(&self.0, FlockOperation::Unlock).ok();
    }
}

/// Ends what is left of a pod whose shim is dead or is not to begin. `ended` says that the shim has ended its processes. Blocking.
pub(super) fn clear(dir: &Path, ended: bool) -> Result<Cleared, String> {
    let lock = take_lock(dir)?;
    let Ok(setup) = Setup::read(dir) else { return Ok(lock) };
    match setup.sandbox.class {
        RuntimeClass::Container => {
            let cgroups = Cgroups::detect().unwrap_or_default();
            cgroups.end(&setup.pod_cgroup());
            cgroups.remove(&setup.pod_cgroup())?;
        }
        RuntimeClass::Host if ended => {}
        RuntimeClass::Host => {
            end_all(|| plain_processes(dir)).map_err(|pid| format!("process {pid} does not end"))?
        }
    }
    Ok(lock)
}

fn take_lock(dir: &Path) -> Result<Cleared, String> {
    let path = dir.join(LOCK);
    let lock = File::options().write(true).create(true).truncate(false).open(&path);
    let lock = lock.map_err(|source| format!("open {}: {source}", path.display()))?;
    for _ in 0..TRIES {
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Cleared(lock)),
            Err(Errno::WOULDBLOCK) => {
                kill(own_processes(dir));
            }
            Err(source) => return Err(format!("lock {}: {source}", path.display())),
        }
        std::thread::sleep(PAUSE);
    }
    Err(format!("processes of its earlier shim do not end: {} is locked", path.display()))
}

/// Processes that are a shim of this pod, or that it made and that run nothing else yet.
fn own_processes(dir: &Path) -> Vec<Pid> {
    let is_own = |pid: &Pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.strip_suffix(b"\0").unwrap_or(&line).rsplit(|byte| *byte == 0);
        words.next() == Some(dir.as_os_str().as_bytes()) && words.next() == Some(b"--dir")
    };
    all().filter(is_own).collect()
}

/// The plain processes of a pod's containers, found by what the shim put into their environment; and with each all of its session,
/// which a process can only be born into.
fn plain_processes(dir: &Path) -> Vec<Pid> {
    let bundles = dir.join(BUNDLES);
    let mark = [host::MESSAGE_PATH.as_bytes(), b"=", bundles.as_os_str().as_bytes(), b"/"].concat();
    let recorded = PodState::read(dir).map(|state| state.containers).unwrap_or_default();
    let running = recorded.iter().filter(|record| record.state.phase == ContainerPhase::Running);
    // The number may be another process's by now: only one that works in the pod's directory is the container's.
    let first = running.filter_map(|record| {
        let pid = record.state.started.pid;
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        (cwd == bundles.join(&record.state.name)).then_some(pid)
    });
    let mut sessions: BTreeSet<i32> = first.collect();
    let living: Vec<(Pid, i32)> = all().filter_map(|pid| Some((pid, session_of_living(pid)?))).collect();
    for (pid, session) in &living {
        if environment(*pid).split(|byte| *byte == 0).any(|entry| entry.starts_with(&mark)) {
            sessions.insert(*session);
        }
    }
    living.into_iter().filter(|(_, session)| sessions.contains(session)).map(|(pid, _)| pid).collect()
}

/// What a process was given. It reads as empty while a program is just being executed, and always of what is no program at all.
fn environment(pid: Pid) -> Vec<u8> {
    for _ in 0..EXECVE_TRIES {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if !environment.is_empty() || std::fs::read_link(format!("/proc/{pid}/exe")).is_err() {
            return environment;
        }
        std::thread::sleep(EXECVE_PAUSE);
    }
    Vec::new()
}

/// The session of a process that has not ended.
fn session_of_living(pid: Pid) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind its name, which may hold anything: state, parent, group, session.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let lives = !matches!(fields.next()?, "Z" | "X");
    lives.then(|| fields.nth(2)?.parse().ok()).flatten()
}

fn all() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let number = |name: &OsStr| name.to_str()?.parse().ok().and_then(Pid::from_raw);
    entries.filter_map(move |entry| number(&entry.file_name()))
}

/// Kills until none is found; the error is one that is still there.
fn end_all(find: impl Fn() -> Vec<Pid>) -> Result<(), Pid> {
    let mut left = None;
    for _ in 0..TRIES {
        left = kill(find());
        if left.is_none() {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    left.map_or(Ok(()), Err)
}

/// Kills all of them. Answers one.
fn kill(pids: Vec<Pid>) -> Option<Pid> {
    for pid in &pids {
        if let Ok(handle) = pidfd_open(*pid, PidfdFlags::empty()) {
            pidfd_send_signal(&handle, Signal::KILL).ok();
        }
    }
    pids.first().copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command};

    use super::*;
    use crate::runtime::PodSandbox;

    fn pod(class: RuntimeClass) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = PodSandbox { uid: "u".to_owned(), class, ..PodSandbox::default() };
        Setup::new(sandbox, "/kontiki-test-none".to_owned(), 1, None).write(dir.path()).unwrap();
        dir
    }

    fn is_killed(mut child: Child) -> bool {
        child.wait().unwrap().signal() == Some(9)
    }

    #[test]
    fn who_is_still_on_the_way_to_a_program_of_the_pod_is_ended() {
        let dir = pod(RuntimeClass::Container);
        // As a shim's child it has the lock open, and the words of the shim.
        let script = r#"exec 9> "$2/shim.lock" && flock 9 && echo && read line"#;
        let start = |path: &Path| {
            let mut child = Command::new("sh")
                .args(["-c", script, "shim", "--dir"])
                .arg(path)
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
            child
        };
        let (orphan, other) = (start(dir.path()), pod(RuntimeClass::Container));
        let mut others = start(other.path());
        let cleared = clear(dir.path(), false).unwrap();
        assert!(is_killed(orphan));
        assert!(others.try_wait().unwrap().is_none(), "another pod's is left alone");
        let again = File::create(dir.path().join(LOCK)).unwrap();
        let lock = || rustix::fs::flock(&again, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(lock(), Err(Errno::WOULDBLOCK), "no shim can begin");
        drop(cleared);
        assert_eq!(lock(), Ok(()));
        clear(other.path(), false).unwrap();
        assert!(is_killed(others));
    }

    #[test]
    fn plain_processes_are_found_while_they_execute_a_program() {
        let dir = pod(RuntimeClass::Host);
        let message = dir.path().join(BUNDLES).join("web").join("termination-log");
        // It executes itself again and again, until it is told that it was seen often enough.
        let script = r#"test -e "$0" || exec sh -c "$1" "$0" "$1""#;
        let seen = dir.path().join("seen");
        let mut child = Command::new("sh");
        child.args(["-c", script]).arg(&seen).arg(script).env(host::MESSAGE_PATH, message);
        let mut child = child.spawn().unwrap();
        let pid = Pid::from_child(&child);
        let missed = (0..500).filter(|_| environment(pid).is_empty()).count();
        std::fs::write(&seen, "").unwrap();
        child.wait().unwrap();
        assert_eq!(missed, 0);
    }

    #[test]
    fn plain_processes_are_found_though_their_first_one_is_dead() {
        let dir = pod(RuntimeClass::Host);
        let start = |name: &str, script: &str| {
            let mut command = Command::new("setsid");
            command.args(["sh", "-c", script]);
            command.env(host::MESSAGE_PATH, dir.path().join(BUNDLES).join(name).join("termination-log"));
            command.process_group(0).spawn().unwrap()
        };
        // The children of the first outlive it; one leaves its session, and one forgets its environment.
        let file = dir.path().join("pids");
        let note = format!("echo $! >> {}", file.display());
        let script = format!("setsid sleep 1000 & {note}; env -i sleep 1000 & {note}; sleep 1000 & {note}");
        start("web", &script).wait().unwrap();
        let pids = || std::fs::read_to_string(&file).unwrap_or_default();
        while pids().lines().count() < 3 {
            std::thread::yield_now();
        }
        let found = plain_processes(dir.path());
        assert!(found.len() >= 3, "{found:?} of {}", pids());
        clear(dir.path(), false).unwrap();
        assert_eq!(plain_processes(dir.path()), []);
        for pid in pids().lines() {
            let lives = pid.parse().ok().and_then(Pid::from_raw).and_then(session_of_living);
            assert_eq!(lives, None, "{pid}");
        }
    }
}
