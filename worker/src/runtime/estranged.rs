//! Pods whose shim lives but cannot be spoken to, as one of a build that is too old or too new for this agent. They are
//! left alone. They are seen, and ended when that is asked for, from outside: by their processes.
#![allow(unsafe_code, reason = "waiting for a descriptor asks for a promise about it")]

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::{
    AdoptedPod, ContainerPhase, ContainerState, Exit, PodSandbox, RuntimeClass, RuntimeError, RuntimeEvent,
    pod_network,
};
use crate::shim::state::{BLOB, PodState, Setup};

/// What a shim that was asked to end may take: it kills what is left and removes its cgroups.
const END_MAX: Duration = Duration::from_secs(15);

/// The process of a shim that lives.
pub(super) struct LiveShim {
    pid: Pid,
    handle: OwnedFd,
}

impl LiveShim {
    /// Who listens in a pod's directory. An error says nothing about whether it lives.
    pub(super) fn find(dir: &Path) -> std::io::Result<Option<Self>> {
        let pid = match pod_network::connect(dir) {
            Ok(stream) => return Self::behind(&stream),
            Err(source) if matches!(source.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
                return Ok(None);
            }
            // It has stood still for so long that nobody can be added to those who wait for it.
            Err(source) if source.kind() == ErrorKind::WouldBlock => {
                let state = PodState::read_any(dir).map_err(std::io::Error::other)?;
                Pid::from_raw(state.shim_pid).ok_or_else(|| std::io::Error::other("its state has no pid"))?
            }
            Err(source) => return Err(source),
        };
        Self::of(pid)
    }

    /// Whose socket a connection leads to, if it lives: children of it may have the socket open for longer.
    pub(super) fn behind(connection: &UnixStream) -> std::io::Result<Option<Self>> {
        Self::of(socket_peercred(connection)?.pid)
    }

    /// Its end, to be waited for.
    pub(super) fn end(self) -> std::io::Result<ProcessEnd> {
        ProcessEnd::of(self.handle)
    }

    fn of(pid: Pid) -> std::io::Result<Option<Self>> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) if !has_ended(&handle) => Ok(Some(Self { pid, handle })),
            Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(source) => Err(source.into()),
        }
    }

    /// A process, if it is a child of this shim: its number cannot have become another's meanwhile.
    fn child(&self, pid: Pid) -> Option<OwnedFd> {
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        (parent.trim() == self.pid.to_string()).then_some(handle)
    }

    fn children(&self) -> Vec<Pid> {
        let pid = self.pid;
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw).collect()
    }
}

/// A pod that is left alone.
pub(super) struct Estranged {
    pod_uid: String,
    pub(super) cause: String,
    shim: LiveShim,
    /// Its first processes lead groups that are to be signalled whole.
    groups: bool,
    /// The containers that ran when it was met. None if nothing is known of them.
    running: Option<Vec<(String, Pid)>>,
    _watch: AbortOnDropHandle<()>,
}

impl Estranged {
    /// Meets a shim that cannot be spoken to. What ends from now on is told.
    pub(super) fn meet(
        shim: LiveShim,
        pod_uid: &str,
        dir: &Path,
        cause: String,
        events: mpsc::Sender<RuntimeEvent>,
    ) -> std::io::Result<(Self, AdoptedPod)> {
        let state = PodState::read_any(dir);
        let known = state.is_ok();
        let state = state.or_else(|_| Setup::read(dir).map(|setup| PodState::new(setup.sandbox)));
        let state = state.unwrap_or_else(|_| PodState::new(bare_sandbox(pod_uid, dir)));
        let containers: Vec<_> = state.containers.into_iter().map(|record| record.state).collect();
        let mut running = Vec::new();
        let mut ends = JoinSet::new();
        for container in containers.iter().filter(|state| state.phase == ContainerPhase::Running) {
            let Some(pid) = Pid::from_raw(container.started.pid) else { continue };
            let Some(handle) = shim.child(pid) else { continue };
            running.push((container.name.clone(), pid));
            let (end, container) = (ProcessEnd::of(handle)?, container.clone());
            ends.spawn(async move {
                end.wait().await;
                container
            });
        }
        let end = ProcessEnd::of(shim.handle.try_clone()?)?;
        let watch = AbortOnDropHandle::new(tokio::spawn(watch(pod_uid.to_owned(), end, ends, events)));
        let met = Self {
            pod_uid: pod_uid.to_owned(),
            cause: cause.clone(),
            shim,
            groups: state.sandbox.class == RuntimeClass::Host,
            running: known.then_some(running),
            _watch: watch,
        };
        let pod = AdoptedPod { sandbox: state.sandbox, alive: true, estranged: Some(cause), containers };
        Ok((met, pod))
    }

    /// The error of everything that only its shim could do.
    pub(super) fn error(&self) -> RuntimeError {
        RuntimeError::Estranged { pod_uid: self.pod_uid.clone(), cause: self.cause.clone() }
    }

    /// Signals the first process of a container; of whatever runs in the pod where the containers are not known.
    pub(super) fn signal(&self, container: &str, signal: i32) -> Result<(), RuntimeError> {
        let named = Signal::from_named_raw(signal)
            .ok_or_else(|| RuntimeError::Invalid(format!("signal {signal} does not exist")))?;
        let pids = match &self.running {
            Some(running) => {
                running.iter().filter(|(name, _)| name == container).map(|(_, pid)| *pid).collect()
            }
            None => self.shim.children(),
        };
        for pid in pids {
            let Some(handle) = self.shim.child(pid) else { continue };
            if self.groups {
                rustix::process::kill_process_group(pid, named).ok();
            }
            pidfd_send_signal(&handle, named).ok();
        }
        Ok(())
    }

    /// Ends what is left of the pod, and its shim: as every shim does it when it is asked to by TERM, or by force.
    pub(super) async fn end(self) -> Result<(), String> {
        for signal in [Signal::TERM, Signal::KILL] {
            pidfd_send_signal(&self.shim.handle, signal).ok();
            let handle = self.shim.handle.try_clone().map_err(|source| source.to_string())?;
            let end = ProcessEnd::of(handle).map_err(|source| source.to_string())?;
            if tokio::time::timeout(END_MAX, end.wait()).await.is_ok() {
                return Ok(());
            }
        }
        Err(format!("process {} does not end", self.shim.pid))
    }
}

/// Of a pod of which nothing can be read.
fn bare_sandbox(pod_uid: &str, dir: &Path) -> PodSandbox {
    let blob = std::fs::read(dir.join(BLOB)).unwrap_or_default();
    PodSandbox { uid: pod_uid.to_owned(), blob, ..PodSandbox::default() }
}

async fn watch(
    pod_uid: String,
    shim: ProcessEnd,
    mut containers: JoinSet<ContainerState>,
    events: mpsc::Sender<RuntimeEvent>,
) {
    let mut shim = std::pin::pin!(shim.wait());
    loop {
        tokio::select! {
            Some(ended) = containers.join_next() => {
                let Ok(ContainerState { name, attempt, started, .. }) = ended else { continue };
                let exit = unseen_exit(started.started_at_ms);
                events.send(RuntimeEvent::Exited { pod_uid: pod_uid.clone(), container: name, attempt, exit }).await.ok();
            }
            () = &mut shim => break,
        }
    }
    events.send(RuntimeEvent::PodLost { pod_uid }).await.ok();
}

fn unseen_exit(started_at_ms: i64) -> Exit {
    let finished_at_ms = jiff::Timestamp::now().as_millisecond();
    let message = "how it ended is not known: its shim cannot be spoken to".to_owned();
    Exit { code: 137, signal: None, oom_killed: false, started_at_ms, finished_at_ms, message }
}

/// The end of a process, to be waited for.
#[derive(Debug)]
pub(super) struct ProcessEnd(AsyncFd<OwnedFd>);

impl ProcessEnd {
    fn of(handle: OwnedFd) -> std::io::Result<Self> {
        // SAFETY: an `OwnedFd` is open and names the same process until it is dropped, and it moves into the `AsyncFd`,
        // which drops it last and never lets it out.
        let registered = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) };
        registered.map(Self).map_err(std::io::Error::from)
    }

    pub(super) async fn wait(&self) {
        // It fails only when the runtime shuts down, and then nobody waits any more.
        self.0.ready(Interest::READABLE).await.ok();
    }
}

fn has_ended(handle: &OwnedFd) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(handle.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
}
