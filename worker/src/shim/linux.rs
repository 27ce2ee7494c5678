//! Containers proper: namespaces, cgroups and an image as root, by libcontainer.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};

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

/// Makes and starts a container. What a failure leaves behind, [`clean_up`] removes.
pub(super) fn start(
    launch: &Launch,
    pod_dir: &Path,
    sandbox: &Sandbox,
    cgroup: &Path,
) -> Result<(Process, Vec<String>), RuntimeError> {
    let failed = |cause: String| RuntimeError::CreateFailed(format!("failed to create container: {cause}"));
    let bundle = Bundle::of(pod_dir, &launch.spec.name);
    bundle.make().map_err(failed)?;
    let mut warnings = sandbox.cgroups.limit(cgroup, &launch.spec).map_err(failed)?;
    warnings.extend(bundle.mount(&launch.rootfs).map_err(failed)?);
    let volumes = Volumes::find(&launch.spec.mounts, &bundle.sub_paths()).map_err(failed)?;
    let places = Places {
        rootfs: &bundle.rootfs(),
        pod_dir,
        termination_message: &bundle.termination_message(),
        cgroup,
        unified_cgroup: matches!(sandbox.cgroups, Cgroups::V2 { .. }),
        pid_namespace: sandbox.processes.describe(),
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
    let failure_end = Some(Arc::new(far_failure));
    let executor = Become { failure: failure_end, dies_with_shim: true, terminal: false, confinement };
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
            builder.as_init(&bundle.dir).with_systemd(false).with_detach(true).build()
        })
        .map_err(|source| start_error(&chain(&source)))?;
    let pid = container.pid().ok_or_else(|| failed("it has no process".to_owned()))?.as_raw();
    let ends = match (ends, console) {
        (Some(ends), _) => ends,
        (None, console) => console
            .ok_or_else(|| "it has neither pipes nor a terminal".to_owned())
            .and_then(Console::terminal)
            .and_then(Ends::terminal)
            .map_err(|cause| {
                // It waits to be started, and nobody will.
                if let Some(pid) = Pid::from_raw(pid) {
                    rustix::process::kill_process(pid, Signal::KILL).ok();
                }
                failed(cause)
            })?,
    };
    container.start().map_err(|source| start_error(&chain(&source)))?;
    match reason_of_failure(&failure) {
        None => Ok((Process { pid, ends }, warnings)),
        Some(reason) => Err(start_error(&reason)),
    }
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
    let executor = Become { failure: None, dies_with_shim: true, terminal: stdio.terminal, confinement };
    let mut env = HashMap::new();
    if stdio.terminal && launch.env_value("TERM").is_none() {
        env.insert("TERM".to_owned(), terminal::TERM.to_owned());
    }
    let pid = builder(&launch.spec.name, &bundle)
        .and_then(|builder| {
            let builder = match stdio.stdin {
                Some(stdin) => builder.with_stdin(stdin),
                None => builder,
            };
            builder
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
                .with_additional_gids(launch.groups.clone())
                .build()
        })
        .map_err(|source| start_error(&chain(&source)))?;
    Ok(pid.as_raw())
}

/// Removes a container's mounts, files and cgroup. Idempotent.
pub(super) fn clean_up(
    container: &str,
    pod_dir: &Path,
    cgroups: &Cgroups,
    cgroup: &Path,
) -> Result<(), String> {
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
