//! The last step of a container's process: find the program, become it, and say why if that cannot be.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use rustix::fs::Access;
use rustix::process::Signal;

use super::seccomp::Confinement;
use super::signals;

/// Where programs are looked for when the environment does not say.
pub(super) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How every message about a program that cannot be run begins; libcontainer wraps its errors in text.
pub(super) const MARK: &str = "exec: \"";

/// Becomes the program that the description names.
#[derive(Clone)]
pub(super) struct Become {
    /// Gets the reason of a failed execve; closed by one that succeeds.
    pub(super) failure: Option<Arc<OwnedFd>>,
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
        if let Err(source) = self.confinement.apply() {
            return Err(self.fail(format!("confine the container's system calls: {}", plain(&source))));
        }
        let cause = Command::new(program).args(rest).exec();
        Err(self.fail(format!("{MARK}{program}\": {}", plain(&cause))))
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
    fn fail(&self, message: String) -> ExecutorError {
        if let Some(failure) = &self.failure {
            rustix::io::write(failure.as_fd(), message.as_bytes()).ok();
        }
        std::io::stderr().write_all(message.as_bytes()).ok();
        ExecutorError::Other(message)
    }
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
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(std::io::Error::from(std::io::ErrorKind::IsADirectory));
    }
    Ok(rustix::fs::access(path, Access::EXEC_OK)?)
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
}
