//! Containers proper: namespaces, cgroups and an image as root, by libcontainer.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;
use rustix::process::{DumpableBehavior, Pid, Signal};

use super::Launch;
use super::bundle::Bundle;
use super::cgroup::Cgroups;
use super::console::Console;
use super::container::{Ends, Process, Stdio};
use super::executor::{Become, MARK};
use super::oci::{Places, describe};
use super::sandbox::Sandbox;
use super::seccomp::Confinement;
use super::sub_path::Volumes;
use super::terminal;
use crate::runtime::RuntimeError;

/// A program that takes longer than this to be executed hangs on a dead file system.
const EXECVE_SECONDS_MAX: i64 = 30;
const REASON_BYTES_MAX: usize = 4096;

/// Makes and starts a container. If it is to be `beside` a process, it sees that one's namespace of processes. What a failure leaves behind, [`clean_up`] removes.
pub(super) fn start(
    launch: &Launch,
    pod_dir: &Path,
    sandbox: &Sandbox,
    cgroup: &Path,
    beside: Option<i32>,
) -> Result<(Process, Vec<String>), RuntimeError> {
    let failed = |cause: String| RuntimeError::CreateFailed(format!("failed to create container: {cause}"));
    let bundle = Bundle::of(pod_dir, &launch.spec.name);
    bundle.make().map_err(failed)?;
    let mut warnings = sandbox.cgroups.limit(cgroup, &launch.spec).map_err(failed)?;
    let bounded = if launch.spec.privileged { Ok(false) } else { sandbox.cgroups.bound_devices(cgroup) };
    let bounds_devices = bounded.unwrap_or_else(|cause| {
        warnings.push(format!("devices are not restricted: {cause}"));
        false
    });
    warnings.extend(bundle.mount(&launch.rootfs).map_err(failed)?);
    let volumes = Volumes::find(&launch.spec.mounts, &bundle.sub_paths()).map_err(failed)?;
    let places = Places {
        rootfs: &bundle.rootfs(),
        pod_dir,
        termination_message: &bundle.termination_message(),
        cgroup,
        unified_cgroup: matches!(sandbox.cgroups, Cgroups::V2 { .. }),
        pid_namespace: sandbox.processes.describe(beside),
        bounds_devices,
        host_ipc: sandbox.host_ipc,
        volumes: &volumes.mounts,
    };
    let description = describe(launch, &places).map_err(RuntimeError::Invalid)?;
    let path = bundle.dir.join("config.json");
    std::fs::write(&path, description.to_string())
        .map_err(|source| failed(format!("describe it: {source}")))?;

    let console = launch.spec.tty.then(|| Console::listen(&bundle.dir)).transpose().map_err(failed)?;
    let pipes = console.is_none().then(|| Ends::pipes(launch.spec.stdin)).transpose().map_err(failed)?;
    let (ends, stdio) = pipes.unzip();
    let (failure, far_failure) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|source| failed(source.to_string()))?;
    let confinement = Confinement::of(&launch.spec).map_err(RuntimeError::Invalid)?;
    let executor =
        Become { failure: Arc::new(far_failure), dies_with_shim: true, terminal: false, confinement };
    let mut container = builder(&launch.spec.name, &bundle)
        .and_then(|builder| {
            let mut builder = builder
                .with_executor(executor)
                .with_console_socket(console.as_ref().map(|console| console.path.clone()));
            if let Some(Stdio { stdin, stdout, stderr, .. }) = stdio {
                builder = builder.with_stdout(stdout).with_stderr(stderr);
                if let Some(stdin) = stdin {
                    builder = builder.with_stdin(stdin);
                }
            }
            let builder = builder.as_init(&bundle.dir).with_systemd(false).with_detach(true);
            unseen(|| builder.build())
        })
        .map_err(|source| start_error(&chain(&source)))?;
    let pid = container.pid().ok_or_else(|| failed("it has no process".to_owned()))?.as_raw();
    let near_ends = match (ends, console) {
        (Some(ends), _) => Ok(ends),
        (None, console) => console
            .ok_or_else(|| "it has neither pipes nor a terminal".to_owned())
            .and_then(Console::terminal)
            .and_then(Ends::terminal)
            .map_err(failed),
    };
    let started = near_ends.and_then(|ends| {
        container.start().map_err(|source| start_error(&chain(&source)))?;
        reason_of_failure(&failure).map_or(Ok(ends), |reason| Err(start_error(&reason)))
    });
    let ends = or_killed(pid, started)?;
    Ok((Process { pid, ends }, warnings))
}

/// Kills a process whose start failed: it would wait for ever, or run beside its successor after all.
fn or_killed<T>(pid: i32, started: Result<T, RuntimeError>) -> Result<T, RuntimeError> {
    if let (Err(_), Some(pid)) = (&started, Pid::from_raw(pid)) {
        rustix::process::kill_process(pid, Signal::KILL).ok();
    }
    started
}

/// Starts a command in a running container, with the environment and the user of its first process.
pub(super) fn exec(
    launch: &Launch,
    pod_dir: &Path,
    command: Vec<String>,
    stdio: Stdio,
) -> Result<i32, RuntimeError> {
    let bundle = Bundle::of(pod_dir, &launch.spec.name);
    let confinement = Confinement::of(&launch.spec).map_err(RuntimeError::Invalid)?;
    let (failure, far_failure) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|source| RuntimeError::CreateFailed(format!("failed to exec in container: {source}")))?;
    let terminal = stdio.terminal;
    let executor = Become { failure: Arc::new(far_failure), dies_with_shim: true, terminal, confinement };
    let mut env = HashMap::new();
    if terminal && launch.env_value("TERM").is_none() {
        env.insert("TERM".to_owned(), terminal::TERM.to_owned());
    }
    let pid = builder(&launch.spec.name, &bundle)
        .and_then(|builder| {
            let builder = match stdio.stdin {
                Some(stdin) => builder.with_stdin(stdin),
                None => builder,
            };
            let builder = builder
                .with_executor(executor)
                .with_stdout(stdio.stdout)
                .with_stderr(stdio.stderr)
                .as_tenant()
                .with_detach(true)
                .with_env(env)
                .with_container_args(command)
                .with_cwd(Some(launch.working_dir.as_str()))
                .with_user(Some(launch.uid))
                .with_group(Some(launch.gid))
                .with_additional_gids(launch.groups.clone());
            unseen(|| builder.build())
        })
        .map_err(|source| start_error(&chain(&source)))?
        .as_raw();
    // libcontainer's own pipe is closed before execve, so that it tells what failed until then and nothing of execve.
    let started = reason_of_failure(&failure).map_or(Ok(pid), |reason| Err(start_error(&reason)));
    or_killed(pid, started)
}

/// Makes processes that nobody in a container may look into until they are its programs: until then they have open what is the
/// shim's, and a neighbour with the same rights would reach it by their `/proc/<pid>/fd`.
fn unseen<T>(make: impl FnOnce() -> T) -> T {
    let before = rustix::process::dumpable_behavior().unwrap_or(DumpableBehavior::Dumpable);
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).ok();
    let made = make();
    rustix::process::set_dumpable_behavior(before).ok();
    made
}

/// Ends what is left of a container, and removes its mounts, files and cgroup. Idempotent.
pub(super) fn clean_up(
    container: &str,
    pod_dir: &Path,
    cgroups: &Cgroups,
    cgroup: &Path,
) -> Result<(), String> {
    cgroups.end(cgroup);
    let removed = Bundle::of(pod_dir, container).remove();
    cgroups.remove(cgroup).and(removed)
}

fn builder(
    container: &str,
    bundle: &Bundle,
) -> Result<ContainerBuilder, libcontainer::error::LibcontainerError> {
    ContainerBuilder::new(container.to_owned(), SyscallType::default())
        .validate_id()?
        .with_root_path(bundle.records())
}

/// Waits until the program is executed, which closes the pipe, or until a reason arrives why it is not.
fn reason_of_failure(failure: &OwnedFd) -> Option<String> {
    let mut reason = vec![0; REASON_BYTES_MAX];
    let mut fds = [PollFd::from_borrowed_fd(failure.as_fd(), PollFlags::IN)];
    let timeout = Timespec { tv_sec: EXECVE_SECONDS_MAX, tv_nsec: 0 };
    match rustix::io::retry_on_intr(|| poll(&mut fds, Some(&timeout))) {
        Ok(0) => return Some("the program could not be executed in time".to_owned()),
        Ok(_) => {}
        Err(source) => return Some(source.to_string()),
    }
    match rustix::io::read(failure, &mut reason[..]) {
        Ok(0) => None,
        Ok(count) => Some(String::from_utf8_lossy(&reason[..count]).into_owned()),
        Err(source) => Some(source.to_string()),
    }
}

/// Tells a command that cannot be run from everything else that can go wrong.
fn start_error(text: &str) -> RuntimeError {
    let text = text.replace('\0', "");
    match text.find(MARK) {
        Some(at) => RuntimeError::StartFailed(format!("unable to start container process: {}", &text[at..])),
        None => RuntimeError::CreateFailed(format!("failed to create container: {text}")),
    }
}

/// An error and its causes, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that ends when its input does, and so when somebody waits for it.
    fn process() -> (Child, i32) {
        let child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        (child, pid)
    }

    #[test]
    fn who_cannot_be_started_is_killed() {
        let (mut child, pid) = process();
        assert_eq!(or_killed(pid, Ok(1)), Ok(1));
        assert_eq!(child.wait().unwrap().signal(), None);

        let (mut child, pid) = process();
        let error = start_error("the program could not be executed in time");
        assert_eq!(or_killed::<()>(pid, Err(error.clone())), Err(error));
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }

    #[test]
    fn what_is_left_of_a_container_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let cgroups = Cgroups::V2 { root: dir.path().join("cgroups"), controllers: Vec::new() };
        let clean_up = |cgroup: &str| clean_up("c", dir.path(), &cgroups, Path::new(cgroup));
        assert_eq!(clean_up("/none"), Ok(()));

        let (mut child, pid) = process();
        std::fs::create_dir_all(dir.path().join("cgroups/c")).unwrap();
        std::fs::write(dir.path().join("cgroups/c/cgroup.procs"), format!("{pid}\n")).unwrap();
        // The kernel would take away the file with its folder.
        clean_up("/c").unwrap_err();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
