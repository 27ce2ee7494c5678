//! The last step of a container's process: find the program, become it, and say why if that cannot be.

use std::fs::{File, Metadata};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::Signal;

use super::descriptors::close_all_but;
use super::seccomp::Confinement;
use super::signals;

/// Where programs are looked for when the environment does not say.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How every message about a program that cannot be run begins; libcontainer wraps its errors in text.
pub(super) const MARK: &str = "exec: \"";
/// How a process ends that became no program, as libcontainer ends it.
const NO_PROGRAM: i32 = 255;

/// Becomes the program that the description names.
#[derive(Clone)]
pub(super) struct Become {
    /// A pipe that gets the reason of a failed execve; closed by one that succeeds.
    pub(super) failure: Arc<OwnedFd>,
    /// The process must not survive the shim.
    pub(super) dies_with_shim: bool,
    /// Its input is a terminal, which is to control its session.
    pub(super) terminal: bool,
    /// What the program is confined by, beside what the description says.
    pub(super) confinement: Confinement,
}

impl Executor for Become {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let args = arguments(spec);
        let Some((program, rest)) = args.split_first() else { return Err(ExecutorError::InvalidArg) };
        if self.dies_with_shim {
            // Set here, after the change of user, which would clear it.
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
                .map_err(|source| ExecutorError::Other(source.to_string()))?;
        }
        if self.terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())
                .map_err(|source| ExecutorError::Other(format!("take the terminal: {source}")))?;
        }
        signals::restore_for_exec().map_err(|source| ExecutorError::Other(source.to_string()))?;
        // Before the confinement, which may forbid it. The pipe that is kept leads nowhere.
        #[allow(
            unsafe_code,
            reason = "there is no safe way to close what this process did not open by itself"
        )]
        // SAFETY: libcontainer forked this process from the shim, which is single-threaded. Nothing here uses another descriptor
        // from here on, and nothing above can: this ends in another program or in the end of the process, without unwinding.
        unsafe {
            close_all_but(Some(self.failure.as_raw_fd()));
        }
        // The shim died before its death was asked to be told of. Of the other end of this pipe nobody else has a copy now.
        if self.dies_with_shim && is_unheard(self.failure.as_fd()) {
            std::process::exit(NO_PROGRAM);
        }
        let reason = match self.confinement.apply() {
            Ok(()) => format!("{MARK}{program}\": {}", plain(&Command::new(program).args(rest).exec())),
            Err(source) => format!("confine the container's system calls: {}", plain(&source)),
        };
        self.fail(&reason);
        std::process::exit(NO_PROGRAM)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let args = arguments(spec);
        let program = args.first().map(String::as_str).unwrap_or_default();
        let process = spec.process().as_ref();
        let env = process.and_then(|process| process.env().as_deref()).unwrap_or_default();
        let path = env.iter().rev().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        find(program, path).map(drop).map_err(ExecutorValidationError::ArgValidationError)
    }
}

impl Become {
    /// Tells whoever waits for the program why there is none.
    fn fail(&self, message: &str) {
        rustix::io::write(self.failure.as_fd(), message.as_bytes()).ok();
        std::io::stderr().write_all(message.as_bytes()).ok();
    }
}

/// Whether nobody has the reading end of a pipe.
fn is_unheard(pipe: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(pipe, PollFlags::empty())];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::ERR)
}

fn arguments(spec: &Spec) -> &[String] {
    spec.process().as_ref().and_then(|process| process.args().as_deref()).unwrap_or_default()
}

/// The program that a name means, or why there is none, in the words of the container runtimes.
pub(super) fn find(program: &str, path: &str) -> Result<PathBuf, String> {
    let refused = |cause: &str| Err(format!("{MARK}{program}\": {cause}"));
    if program.is_empty() {
        return refused("no command");
    }
    if program.contains('/') {
        return match check(Path::new(program)) {
            Ok(()) => Ok(PathBuf::from(program)),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                refused(&format!("stat {program}: no such file or directory"))
            }
            Err(source) => refused(&plain(&source)),
        };
    }
    let mut denied = false;
    for dir in path.split(':').filter(|dir| !dir.is_empty()) {
        let candidate = Path::new(dir).join(program);
        match check(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(source) => denied |= source.kind() == std::io::ErrorKind::PermissionDenied,
        }
    }
    if denied { refused("permission denied") } else { refused("executable file not found in $PATH") }
}

fn check(path: &Path) -> std::io::Result<()> {
    if metadata(path)?.is_dir() {
        return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory));
    }
    Ok(rustix::fs::access(path, Access::EXEC_OK)?)
}

/// What is at a path that leads there by names alone. The links in `/proc` that lead to what this process has open, or to its own
/// program, are no way to a program of a container, which has neither.
fn metadata(path: &Path) -> std::io::Result<Metadata> {
    match rustix::fs::openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    ) {
        Ok(file) => File::from(file).metadata(),
        // A kernel before 5.6, or a filter of the machine that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => std::fs::metadata(path),
        Err(source) => Err(source.into()),
    }
}

/// The cause without the number that Rust adds.
pub(super) fn plain(source: &std::io::Error) -> String {
    let text = source.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut characters = text.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn missing_programs_are_named_as_container_runtimes_name_them() {
        let missing = find("no-such-program", "/bin:/usr/bin");
        assert_eq!(missing, Err("exec: \"no-such-program\": executable file not found in $PATH".to_owned()));
        let missing = find("/no/such", "");
        assert_eq!(missing, Err("exec: \"/no/such\": stat /no/such: no such file or directory".to_owned()));
        assert_eq!(find("/", ""), Err("exec: \"/\": is a directory".to_owned()));
        assert_eq!(find("sh", "/nowhere:/bin"), Ok(PathBuf::from("/bin/sh")));
    }

    #[test]
    fn a_pipe_that_nobody_reads_any_more_is_noticed() {
        let (near, far) = rustix::pipe::pipe().unwrap();
        assert!(!is_unheard(far.as_fd()));
        drop(near);
        assert!(is_unheard(far.as_fd()));
    }

    #[test]
    fn what_a_process_has_open_leads_to_no_program() {
        let root = File::open("/").unwrap();
        let program = format!("/proc/self/fd/{}/bin/sh", root.as_raw_fd());
        assert!(std::fs::metadata(&program).is_ok(), "it is there");
        for program in
            [program.as_str(), "/proc/self/exe", "/proc/self/root/bin/sh", "/proc/self/cwd/../bin/sh"]
        {
            let cause = plain(&Errno::LOOP.into());
            assert_eq!(find(program, ""), Err(format!("exec: \"{program}\": {cause}")));
        }
    }
}
