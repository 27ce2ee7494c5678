//! The shim: a small process per pod that owns the pod's containers, so that they outlive the agent.
//!
//! ```text
//! agent <- protocol (unix socket) -> pod (one loop) -> container -> linux (libcontainer) | host (plain process)
//!                                     |                  `-> log (CRI format)
//!                                     `-> state (what a later agent finds)
//! ```
//!
//! It is the worker's own binary, executed again as `shim --dir <pod directory>` (for containers from a sealed copy in memory,
//! which all shims of an agent share), and must stay single-threaded:
//! libcontainer clones it with the raw system call, and a child of a threaded process may find a lock held by a
//! thread that it does not have. So no async runtime here, and one loop over file descriptors.
//! Not for decisions: restarts, back-off and probes are the agent's.

mod agents;
mod bundle;
pub(crate) mod cgroup;
mod console;
mod container;
mod descriptors;
mod exec;
mod executor;
pub(crate) mod host;
mod launch;
mod linux;
mod log;
mod loopback;
pub(crate) mod message;
pub(crate) mod oci;
mod oom_score;
mod pod;
mod processes;
pub(crate) mod protocol;
mod sandbox;
mod seccomp;
mod signals;
pub(crate) mod state;
pub(crate) mod sub_path;
mod terminal;

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{FlockOperation, OFlags};

pub(crate) use launch::Launch;

/// What the first line on standard output says when the pod is ready; anything else is the reason why it is not.
pub(crate) const READY: &str = "ready";

/// How `ps` names it: it may have been started by a path that is the number of a descriptor.
const NAME: &CStr = c"kontiki-shim";

/// Runs a shim until its pod is removed. `args` are those behind the word `shim`. Call it before any thread exists.
pub fn main(args: impl IntoIterator<Item = String>) -> ExitCode {
    main_of_version(args, protocol::VERSION)
}

/// The same, of a build with another version of the protocol: for tests of how agents meet it.
#[doc(hidden)]
pub fn main_of_version(args: impl IntoIterator<Item = String>, version: u16) -> ExitCode {
    // Of use to people only.
    rustix::thread::set_name(NAME).ok();
    let mut args = args.into_iter().peekable();
    if args.peek().is_some_and(|word| word == processes::HOLD) {
        return processes::hold_until_input_ends();
    }
    let dir = match parse(args) {
        Ok(dir) => dir,
        Err(message) => {
            println!("{message}");
            return ExitCode::from(2);
        }
    };
    let ready = prepare(&dir, version.max(protocol::VERSION));
    let (verdict, shim) = match ready {
        Ok(shim) => (READY.to_owned(), Some(shim)),
        Err(message) => (message, None),
    };
    // Nobody may be left to hear it: the agent may have died meanwhile, and its successor will find the socket.
    writeln!(std::io::stdout(), "{verdict}").ok();
    let Some((mut shim, lock)) = shim else { return ExitCode::FAILURE };
    leave_terminal(&dir);
    shim.run();
    drop(lock);
    ExitCode::SUCCESS
}

fn parse(args: impl IntoIterator<Item = String>) -> Result<PathBuf, String> {
    let mut args = args.into_iter();
    match (args.next().as_deref(), args.next(), args.next()) {
        (Some("--dir"), Some(dir), None) => {
            let dir = PathBuf::from(dir);
            if dir.is_absolute() { Ok(dir) } else { Err("--dir must be an absolute path".to_owned()) }
        }
        _ => Err("usage: shim --dir <pod directory>; it is started by the worker, not by people".to_owned()),
    }
}

fn prepare(dir: &Path, version: u16) -> Result<(pod::Pod, File), String> {
    // Out of the agent's session and process group: what kills those must leave this process alive.
    rustix::process::setsid().ok();
    let lock = take_lock(dir)?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|source| format!("become the reaper of orphans: {source}"))?;
    oom_score::protect();
    let signals = signals::Signals::block().map_err(|source| format!("block signals: {source}"))?;
    let setup = state::Setup::read(dir)?;
    let sandbox = sandbox::enter(dir, &setup)?;
    let listener = agents::listen(dir).map_err(|source| format!("listen on {}: {source}", dir.display()))?;
    Ok((pod::Pod::new(dir.to_owned(), setup, sandbox, listener, signals, version)?, lock))
}

/// One shim per pod, whatever agents believe.
fn take_lock(dir: &Path) -> Result<File, String> {
    let path = dir.join(state::LOCK);
    let lock = File::create(&path).map_err(|source| format!("open {}: {source}", path.display()))?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| format!("another shim already serves {}", dir.display()))?;
    // Who removes a pod holds its lock meanwhile: what was opened before that locks nothing after it.
    let file = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (lock.metadata().map(file), std::fs::metadata(&path).map(file)) {
        (Ok(own), Ok(current)) if own == current => Ok(lock),
        _ => Err(format!("{} was removed meanwhile", dir.display())),
    }
}

/// Standard output was the agent's pipe; from now on there is nobody to talk to but a file.
fn leave_terminal(dir: &Path) {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, rustix::fs::Mode::empty());
    if let Ok(null) = null {
        rustix::stdio::dup2_stdin(&null).ok();
        rustix::stdio::dup2_stdout(&null).ok();
        rustix::stdio::dup2_stderr(&null).ok();
    }
    if let Ok(log) = OpenOptions::new().create(true).append(true).open(dir.join(state::LOG)) {
        rustix::stdio::dup2_stderr(&log).ok();
    }
}
