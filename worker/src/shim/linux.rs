//! Containers proper: namespaces, cgroups and an image as root, by libcontainer.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::PipeFlags;

use super::Launch;
use super::bundle::Bundle;
use super::cgroup::Cgroups;
use super::container::{Process, output_pipe};
use super::executor::{Become, MARK};
use super::oci::{Places, describe};
use super::sandbox::Sandbox;
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
    let places = Places {
        rootfs: &bundle.rootfs(),
        pod_dir,
        termination_message: &bundle.termination_message(),
        cgroup,
        unified_cgroup: matches!(sandbox.cgroups, Cgroups::V2 { .. }),
        pid_namespace: sandbox.processes.describe(),
        host_ipc: sandbox.host_ipc,
    };
    let description = describe(launch, &places).map_err(RuntimeError::Invalid)?;
    let path = bundle.dir.join("config.json");
    std::fs::write(&path, description.to_string())
        .map_err(|source| failed(format!("describe it: {source}")))?;

    let (stdout, far_stdout) = output_pipe().map_err(failed)?;
    let (stderr, far_stderr) = output_pipe().map_err(failed)?;
    let (failure, far_failure) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|source| failed(source.to_string()))?;
    let executor = Become { failure: Some(Arc::new(far_failure)), dies_with_shim: true };
    let mut container = builder(&launch.spec.name, &bundle)
        .and_then(|builder| {
            builder
                .with_executor(executor)
                .with_stdout(far_stdout)
                .with_stderr(far_stderr)
                .as_init(&bundle.dir)
                .with_systemd(false)
                .with_detach(true)
                .build()
        })
        .map_err(|source| start_error(&chain(&source)))?;
    let pid = container.pid().ok_or_else(|| failed("it has no process".to_owned()))?.as_raw();
    container.start().map_err(|source| start_error(&chain(&source)))?;
    match reason_of_failure(&failure) {
        None => Ok((Process { pid, stdout, stderr }, warnings)),
        Some(reason) => Err(start_error(&reason)),
    }
}

/// Starts a command in a running container, with the environment and the user of its first process.
pub(super) fn exec(launch: &Launch, pod_dir: &Path, command: Vec<String>) -> Result<Process, RuntimeError> {
    let failed = |cause: String| RuntimeError::CreateFailed(format!("failed to exec in container: {cause}"));
    let bundle = Bundle::of(pod_dir, &launch.spec.name);
    let (stdout, far_stdout) = output_pipe().map_err(failed)?;
    let (stderr, far_stderr) = output_pipe().map_err(failed)?;
    let executor = Become { failure: None, dies_with_shim: true };
    let pid = builder(&launch.spec.name, &bundle)
        .and_then(|builder| {
            builder
                .with_executor(executor)
                .with_stdout(far_stdout)
                .with_stderr(far_stderr)
                .as_tenant()
                .with_detach(true)
                .with_container_args(command)
                .with_cwd(Some(launch.working_dir.as_str()))
                .with_user(Some(launch.uid))
                .with_group(Some(launch.gid))
                .with_additional_gids(launch.groups.clone())
                .build()
        })
        .map_err(|source| start_error(&chain(&source)))?;
    Ok(Process { pid: pid.as_raw(), stdout, stderr })
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
