//! The pod: the one loop of the shim. It waits for agents, outputs, ends of children and deadlines, nothing else.

mod calls;
mod endings;
mod streams;

use std::collections::BTreeMap;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::agents::Agents;
use super::container::Running;
use super::exec::Exec;
use super::log::Source;
use super::sandbox::Sandbox;
use super::signals::Signals;
use super::state::{PodState, Setup};
use crate::image::Hold;
use crate::runtime::RuntimeClass;

/// The pod and everything of it.
pub(super) struct Pod {
    dir: PathBuf,
    setup: Setup,
    sandbox: Sandbox,
    state: PodState,
    signals: Signals,
    agents: Agents,
    running: BTreeMap<String, Running>,
    /// What containers run on, or ran on and may again: not to be removed while this shim lives.
    holds: BTreeMap<String, Hold>,
    execs: Vec<Exec>,
    streams: Vec<streams::Stream>,
    next_stream: u64,
    buffer: Vec<u8>,
    shutdown: Option<Shutdown>,
}

struct Shutdown {
    /// The agent that waits for it, if one asked.
    asked: Option<(u64, u64)>,
    deadline: Instant,
}

/// What became ready.
enum Ready {
    Signals,
    Listener,
    Agent { id: u64, readable: bool, writable: bool },
    Output { container: String, source: Source },
    ExecOutput { pid: i32, index: usize },
}

impl Pod {
    pub(super) fn new(
        dir: PathBuf,
        setup: Setup,
        sandbox: Sandbox,
        listener: UnixListener,
        signals: Signals,
        version: u16,
    ) -> Result<Self, String> {
        let state = PodState::new(setup.sandbox.clone());
        state.write(&dir)?;
        let (agents, running, execs) = (Agents::new(listener, version), BTreeMap::new(), Vec::new());
        Ok(Self {
            dir,
            setup,
            sandbox,
            state,
            signals,
            agents,
            running,
            holds: BTreeMap::new(),
            execs,
            streams: Vec::new(),
            next_stream: 0,
            buffer: Vec::new(),
            shutdown: None,
        })
    }

    /// Serves until the pod is removed.
    pub(super) fn run(&mut self) {
        while !self.over() {
            for ready in self.wait() {
                self.handle(ready);
            }
            self.expire();
            self.agents.drop_broken();
            self.forget_streams_of_the_gone();
            // One burst of output must not stay as memory of every shim.
            self.buffer = Vec::new();
        }
        self.leave();
    }

    fn over(&self) -> bool {
        self.shutdown.as_ref().is_some_and(|shutdown| {
            (self.running.is_empty() && self.execs.is_empty()) || Instant::now() >= shutdown.deadline
        })
    }

    fn wait(&self) -> Vec<Ready> {
        let mut whats = vec![Ready::Signals, Ready::Listener];
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.agents.listener(), PollFlags::IN),
        ];
        for agent in self.agents.connected() {
            let write = if agent.wants_to_write() { PollFlags::OUT } else { PollFlags::empty() };
            fds.push(PollFd::from_borrowed_fd(agent.as_fd(), PollFlags::IN | write));
            whats.push(Ready::Agent { id: agent.id, readable: false, writable: false });
        }
        for (name, running) in &self.running {
            for (source, fd) in running.outputs() {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
                whats.push(Ready::Output { container: name.clone(), source });
            }
        }
        for exec in &self.execs {
            for (index, fd) in exec.outputs() {
                fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
                whats.push(Ready::ExecOutput { pid: exec.pid, index });
            }
        }
        let timeout = self.next_deadline().map(|deadline| {
            // One millisecond more than is left, so that it has passed when the wait is over.
            let left = deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return Vec::new();
        }
        let happened = fds.iter().map(PollFd::revents).zip(whats);
        happened
            .filter(|(events, _)| !events.is_empty())
            .map(|(events, what)| match what {
                Ready::Agent { id, .. } => {
                    let writable = events.contains(PollFlags::OUT);
                    Ready::Agent { id, readable: events.intersects(!PollFlags::OUT), writable }
                }
                other => other,
            })
            .collect()
    }

    fn next_deadline(&self) -> Option<Instant> {
        let execs = self.execs.iter().filter(|exec| !exec.timed_out()).map(|exec| exec.deadline);
        execs.chain(self.shutdown.as_ref().map(|shutdown| shutdown.deadline)).min()
    }

    fn handle(&mut self, ready: Ready) {
        match ready {
            Ready::Listener => self.agents.accept(),
            Ready::Signals => {
                let raised = self.signals.take();
                if raised.child {
                    self.reap();
                }
                if raised.terminate {
                    self.shut_down(None);
                }
            }
            Ready::Agent { id, readable, writable } => {
                let Some(agent) = self.agents.get(id) else { return };
                if writable {
                    agent.write();
                }
                let requests = if readable { agent.read(&mut self.buffer) } else { Vec::new() };
                for request in requests {
                    self.serve(id, request);
                }
            }
            Ready::Output { container, source } => {
                let running = self.running.get_mut(&container);
                let slow = running.map(|running| running.read(source, &mut self.buffer)).unwrap_or_default();
                self.cut_off(&slow);
            }
            Ready::ExecOutput { pid, index } => {
                if let Some(exec) = self.execs.iter_mut().find(|exec| exec.pid == pid) {
                    exec.read(index, &mut self.buffer);
                }
            }
        }
    }

    fn save(&self) {
        if let Err(cause) = self.state.write(&self.dir) {
            // Whoever reads it later gets the state before; the agent that is connected knows the truth.
            eprintln!("{cause}");
        }
    }

    fn class(&self) -> RuntimeClass {
        self.setup.sandbox.class
    }

    fn cgroup(&self, container: &str) -> PathBuf {
        Path::new("/").join(self.setup.pod_cgroup()).join(container)
    }
}
