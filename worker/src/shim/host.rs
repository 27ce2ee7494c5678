//! Plain processes of the machine, for workers without root: no isolation, the same life and logs.
#![allow(unsafe_code, reason = "a child's session and signals must be set between fork and execve")]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Launch;
use super::container::{self, Ends, Process};
use super::executor::{find, plain};
use super::{signals, terminal};
use crate::runtime::RuntimeError;

/// Where containers find the token of their account.
const ACCOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Starts the container's command as a process in a session of its own.
pub(super) fn start(launch: &Launch, pod_dir: &Path) -> Result<(Process, Vec<String>), RuntimeError> {
    let dir = pod_dir.join(super::state::BUNDLES).join(&launch.spec.name);
    std::fs::create_dir_all(&dir)
        .map_err(|source| RuntimeError::CreateFailed(format!("make {}: {source}", dir.display())))?;
    // A message of the attempt before is not this one's.
    std::fs::write(message_file(&dir), b"").ok();
    let made = match launch.spec.tty {
        true => terminal::of_machine().and_then(|terminal| {
            let stdio = terminal.stdio()?;
            Ok((Ends::terminal(terminal.near)?, stdio))
        }),
        false => Ends::pipes(launch.spec.stdin),
    };
    let (ends, stdio) = made.map_err(RuntimeError::CreateFailed)?;
    let pid = spawn(launch, &dir, &launch.args, stdio)?;
    Ok((Process { pid, ends }, warnings(launch)))
}

/// Starts a command with the container's environment.
pub(super) fn exec(
    launch: &Launch,
    pod_dir: &Path,
    command: &[String],
    stdio: container::Stdio,
) -> Result<i32, RuntimeError> {
    spawn(launch, &pod_dir.join(super::state::BUNDLES).join(&launch.spec.name), command, stdio)
}

/// The file in which the process may leave a termination message; it is told by `TERMINATION_MESSAGE_PATH`.
pub(super) fn message_file(dir: &Path) -> PathBuf {
    dir.join("termination-log")
}

fn spawn(launch: &Launch, dir: &Path, args: &[String], stdio: container::Stdio) -> Result<i32, RuntimeError> {
    let start_failed =
        |cause: String| RuntimeError::StartFailed(format!("unable to start container process: {cause}"));
    let name = args.first().map(String::as_str).unwrap_or_default();
    let host_path = std::env::var("PATH").unwrap_or_else(|_| super::executor::DEFAULT_PATH.to_owned());
    let image_path = launch.env_value("PATH").unwrap_or(super::executor::DEFAULT_PATH);
    let program = in_image(launch, name, image_path)
        .map_or_else(|| find(name, &host_path), Ok)
        .map_err(start_failed)?;
    let in_terminal = stdio.terminal;
    let working_dir = Path::new(&launch.working_dir);
    let working_dir = if launch.working_dir != "/" && working_dir.is_dir() { working_dir } else { dir };
    let mut command = Command::new(&program);
    command
        .arg0(name)
        .args(args.get(1..).unwrap_or_default())
        .env_clear()
        .envs(launch.env.iter().map(|(name, value)| (name, value)))
        .env("PATH", &host_path)
        .env("TERMINATION_MESSAGE_PATH", message_file(dir))
        .current_dir(working_dir)
        .stdin(stdio.stdin.map_or_else(Stdio::null, Stdio::from))
        .stdout(stdio.stdout)
        .stderr(stdio.stderr);
    if in_terminal && launch.env_value("TERM").is_none() {
        command.env("TERM", terminal::TERM);
    }
    // SAFETY: the closure runs in the forked child of a single-threaded process, before execve; it makes system
    // calls only and neither allocates nor takes locks.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            if in_terminal {
                rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            }
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            signals::restore_for_exec()
        });
    }
    let child =
        command.spawn().map_err(|source| start_failed(format!("exec: \"{name}\": {}", plain(&source))))?;
    i32::try_from(child.id()).map_err(|source| RuntimeError::CreateFailed(source.to_string()))
}

/// The program's file in the image's unpacked files, if it is there.
fn in_image(launch: &Launch, name: &str, path: &str) -> Option<PathBuf> {
    if launch.rootfs.is_none() || name.is_empty() {
        return None;
    }
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![PathBuf::from(name)]
    } else {
        path.split(':').map(|dir| Path::new(dir).join(name)).collect()
    };
    let mut found = candidates.iter().filter_map(|candidate| launch.rootfs.find(candidate));
    found.find(|path| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok())
}

fn warnings(launch: &Launch) -> Vec<String> {
    let spec = &launch.spec;
    let mut warnings = Vec::new();
    if spec.memory_limit_bytes.is_some() || spec.cpu_milli_limit.is_some() || spec.pids_limit.is_some() {
        warnings.push("a host process runs without its limits".to_owned());
    }
    // That of its account's token, which every pod gets, it has not asked for.
    if spec.mounts.iter().any(|mount| mount.target != Path::new(ACCOUNT_PATH)) {
        warnings.push("a host process sees none of its volumes".to_owned());
    }
    warnings
}
