//! How things of a pod end: containers, commands, and the pod itself.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use super::super::message::last_words;
use super::super::protocol::{Answer, Message};
use super::super::{Launch, bundle, host, linux};
use super::{Pod, Shutdown};
use crate::runtime::{Exit, RuntimeClass, RuntimeError};

/// How long a shutdown waits for killed processes; only one that hangs in the kernel takes longer.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

impl Pod {
    /// Looks after every child that ended: containers, commands, and orphans that nobody else would.
    pub(super) fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if let Some(index) = self.execs.iter().position(|exec| exec.pid == pid) {
                let exec = self.execs.swap_remove(index);
                let (agent, request) = (exec.agent, exec.request);
                let output = exec.finish(code_of(status).0, &mut self.buffer);
                self.answer(agent, request, Ok(Answer::Output(output)));
            } else if let Some(index) = self.streams.iter().position(|stream| stream.pid == Some(pid)) {
                let stream = self.streams.swap_remove(index);
                self.answer(stream.agent, stream.request, Ok(Answer::Ended { code: code_of(status).0 }));
            } else if let Some(name) =
                self.running.iter().find(|(_, running)| running.pid == pid).map(|(name, _)| name.clone())
            {
                self.finish(&name, status);
            } else if self.sandbox.processes.is_held_by(pid) {
                eprintln!("the holder of the pod's process namespace ended, and so must the pod");
                self.shut_down(None);
            }
        }
    }

    fn finish(&mut self, name: &str, status: WaitStatus) {
        let Some(mut running) = self.running.remove(name) else { return };
        if self.class() == RuntimeClass::Host
            && let Some(group) = Pid::from_raw(running.pid)
        {
            // What the first process left behind in its group ends with it, as in a container.
            rustix::process::kill_process_group(group, Signal::KILL).ok();
        }
        self.end_streams_in(name);
        if !self.sandbox.processes.ends_with_first() || running.launch.spec.process_target.is_some() {
            self.sandbox.cgroups.end(&self.cgroup(name));
        }
        let slow = running.drain(&mut self.buffer);
        self.cut_off(&slow);
        let (code, signal) = code_of(status);
        let exit = Exit {
            code,
            signal,
            oom_killed: self.sandbox.cgroups.oom_kills(&self.cgroup(name)) > 0,
            started_at_ms: running.started_at_ms,
            finished_at_ms: Timestamp::now().as_millisecond(),
            message: self.termination_message(&running.launch, code),
        };
        let attempt = running.launch.spec.attempt;
        self.state.exited(name, attempt, exit.clone());
        self.save();
        self.agents.tell_subscribers(&Message::Exited { container: name.to_owned(), attempt, exit });
        // The ends of their outputs come before word of the end.
        drop(running);
        self.end_attached(name, code);
        self.clean_up(name);
    }

    fn termination_message(&self, launch: &Launch, code: i32) -> String {
        let bundle = bundle::Bundle::of(&self.dir, &launch.spec.name);
        let path = match self.class() {
            RuntimeClass::Container => bundle.termination_message(),
            RuntimeClass::Host => host::message_file(&bundle.dir),
        };
        let from_log = launch.spec.termination_message_from_log && code != 0;
        last_words(&path, from_log.then_some(launch.spec.log_path.as_path()))
    }

    pub(super) fn clean_up(&mut self, container: &str) {
        let cleaned = match self.class() {
            RuntimeClass::Container => {
                linux::clean_up(container, &self.dir, &self.sandbox.cgroups, &self.cgroup(container))
            }
            RuntimeClass::Host => Ok(()),
        };
        if let Err(cause) = cleaned {
            eprintln!("clean up after container {container}: {cause}");
        }
    }

    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        for exec in self.execs.iter_mut().filter(|exec| !exec.timed_out() && now >= exec.deadline) {
            exec.time_out();
            if let Some(pid) = Pid::from_raw(exec.pid) {
                // Both kinds of command lead a session, so its children end too.
                rustix::process::kill_process_group(pid, Signal::KILL).ok();
                rustix::process::kill_process(pid, Signal::KILL).ok();
            }
        }
    }

    pub(super) fn shut_down(&mut self, asked: Option<(u64, u64)>) {
        self.shutdown = Some(Shutdown { asked, deadline: Instant::now() + SHUTDOWN_MAX });
        let pids =
            self.running.values().map(|running| running.pid).chain(self.execs.iter().map(|exec| exec.pid));
        for pid in pids.filter_map(Pid::from_raw) {
            if self.class() == RuntimeClass::Host {
                rustix::process::kill_process_group(pid, Signal::KILL).ok();
            }
            rustix::process::kill_process(pid, Signal::KILL).ok();
        }
    }

    pub(super) fn leave(&mut self) {
        kill_orphans();
        let cleaned = match self.class() {
            RuntimeClass::Container => self.sandbox.cgroups.remove(&self.setup.pod_cgroup()),
            RuntimeClass::Host => Ok(()),
        };
        let Some((agent, id)) = self.shutdown.as_ref().and_then(|shutdown| shutdown.asked) else { return };
        let left: Vec<&str> = self.running.keys().map(String::as_str).collect();
        let answer = match (left.is_empty(), cleaned) {
            (true, Ok(())) => Ok(Answer::Done),
            (false, _) => Err(format!("containers do not end: {}", left.join(", "))),
            (true, Err(cause)) => Err(cause),
        };
        let pod_uid = self.state.sandbox.uid.clone();
        self.answer(agent, id, answer.map_err(|cause| RuntimeError::Shim { pod_uid, cause }));
        self.agents.flush();
    }
}

/// The exit code and, if one ended it, the signal.
fn code_of(status: WaitStatus) -> (i32, Option<i32>) {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => (code, None),
        (None, Some(signal)) => (128 + signal, Some(signal)),
        (None, None) => (255, None),
    }
}

/// Kills the children that are left: host processes that left their group came back to this process as orphans, each
/// perhaps with orphans of its own.
fn kill_orphans() {
    const ROUNDS_MAX: u32 = 64;
    for _ in 0..ROUNDS_MAX {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        let children = std::fs::read_to_string("/proc/self/task/self/children")
            .or_else(|_| std::fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id())));
        let children = children.unwrap_or_default();
        let pids: Vec<Pid> = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .filter_map(Pid::from_raw)
            .collect();
        if pids.is_empty() {
            return;
        }
        for pid in &pids {
            rustix::process::kill_process(*pid, Signal::KILL).ok();
        }
        // In the order of their ends: the first process of a namespace ends after all others in it were waited for.
        for _ in &pids {
            rustix::process::wait(WaitOptions::empty()).ok();
        }
    }
}
