//! Processes die, stand still, and take others with them.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Bit, Doing};

fn send(pid: i32, signal: Signal) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

impl Doing<'_> {
    /// SIGKILL; started again after. Pods of a worker live on. Proof: a process was there and died.
    pub(super) fn crash(&self) -> Bit {
        let died = self.hosts.iter().filter(|host| host.crash(self.hold)).count();
        self.wait();
        for host in &self.hosts {
            host.let_up(self.hold)?;
        }
        Ok(died > 0)
    }

    /// SIGSTOP. Proof: the kernel says that the process is stopped.
    pub(super) fn pause(&self) -> Bit {
        for host in &self.hosts {
            host.stop(self.hold);
        }
        let state = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        self.field.wait(self.lasts / 2);
        let stopped = self.hosts.iter().filter_map(|host| host.pid()).any(|pid| state(pid).contains(") T "));
        self.field.wait(self.lasts / 2);
        self.hosts.iter().for_each(|host| host.let_go(self.hold));
        Ok(stopped)
    }

    /// The machine restarts: all its processes are gone. Proof: some were there.
    pub(super) fn reboot(&self) -> Bit {
        let ran = self.hosts.iter().filter(|host| host.power_off(self.hold)).count();
        self.wait();
        for host in &self.hosts {
            host.let_up(self.hold)?;
        }
        Ok(ran > 0)
    }

    /// The shims answer nothing. Proof: there were some to stop.
    pub(super) fn runtime_hangs(&self) -> Bit {
        let is_shim = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(b"shim")
        };
        let shims: Vec<i32> = self.workers().flat_map(|host| host.below()).filter(is_shim).collect();
        let stopped = shims.iter().filter(|pid| send(**pid, Signal::STOP)).count();
        self.wait();
        for pid in shims {
            send(pid, Signal::CONT);
        }
        Ok(stopped > 0)
    }

    /// Containers of the workers are killed. Proof: they died, as they told themselves.
    pub(super) fn containers_exit(&self, count: u32) -> Bit {
        let names: Vec<&str> = self.workers().map(|host| host.name.as_str()).collect();
        let running = self.field.truth.running();
        let here = running.iter().filter(|(_, event)| names.contains(&event.node.as_str()));
        let pids: Vec<i32> = here.map(|(pid, _)| *pid).take(count as usize).collect();
        if pids.is_empty() {
            anyhow::bail!("no container runs there");
        }
        for pid in &pids {
            send(*pid, Signal::KILL);
        }
        self.field.wait(Duration::from_millis(300));
        let left = self.field.truth.running();
        Ok(pids.iter().any(|pid| !left.contains_key(pid)))
    }
}
