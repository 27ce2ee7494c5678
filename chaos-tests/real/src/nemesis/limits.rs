//! Little of everything: processor, memory, file descriptors.

use std::fs;

use anyhow::{Context, bail};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{Bit, Doing};

/// How often a limit of memory that was refused is set anew.
const TIGHTER: u32 = 20;

impl Doing<'_> {
    /// Proof: the kernel counts how often it denied the processor.
    pub(super) fn cpu_limit(&self, per_mille: u32) -> Bit {
        let throttled = || self.hosts.iter().map(|host| host.cgroup().throttled()).sum::<u64>();
        let before = throttled();
        for host in &self.hosts {
            host.cgroup().limit_cpu(Some(per_mille))?;
        }
        self.wait();
        for host in &self.hosts {
            host.cgroup().limit_cpu(None)?;
        }
        Ok(throttled() > before)
    }

    /// Proof: the kernel counts how often the limit was hit.
    pub(super) fn memory_limit(&self, bytes: u64) -> Bit {
        let squeezed = || self.hosts.iter().map(|host| host.cgroup().squeezed()).sum::<u64>();
        let before = squeezed();
        let mut refused = None;
        for host in &self.hosts {
            refused = host.cgroup().limit_memory(Some(bytes)).err().or(refused);
        }
        // Below what cannot be reclaimed it is refused. Then what is in use is the limit, again and again, as less is used.
        for _ in 0..TIGHTER {
            self.field.wait(self.lasts / TIGHTER);
            if refused.is_some() {
                for host in &self.hosts {
                    refused = host.cgroup().limit_memory_tightly().err().or(refused);
                }
            }
        }
        for host in &self.hosts {
            host.cgroup().limit_memory(None)?;
        }
        match refused {
            Some(error) if squeezed() == before => Err(error),
            _ => Ok(squeezed() > before),
        }
    }

    /// Proof: a process has as many open as it may, so that the next one fails.
    pub(super) fn file_limit(&self, files: u32) -> Bit {
        let (mut before, mut refused) = (Vec::new(), None);
        // Of two at once the later one would take the limit of the first for the usual one, and leave it behind.
        let hosts: Vec<_> = self.hosts.iter().filter(|host| host.claim("files", self.hold)).collect();
        if hosts.is_empty() {
            bail!("another fault has the files");
        }
        for pid in hosts.iter().filter_map(|host| host.pid()) {
            let id = Pid::from_raw(i32::try_from(pid)?);
            // The hard limit stays: even root may not raise it beyond what the kernel allows.
            let limit = Rlimit { current: Some(u64::from(files)), maximum: Some(hard_limit(pid)?) };
            match prlimit(id, Resource::Nofile, limit) {
                Ok(old) => before.push((pid, id, old)),
                Err(error) => refused = Some(error),
            }
        }
        if before.is_empty() {
            bail!("no process could be limited: {refused:?}");
        }
        let mut bit = false;
        for _ in 0..10 {
            self.field.wait(self.lasts / 10);
            bit |= before.iter().any(|(pid, ..)| open(*pid) >= files as usize);
        }
        for (_, id, old) in before {
            // It may be another process by now, or none.
            let _ = prlimit(id, Resource::Nofile, old);
        }
        hosts.iter().for_each(|host| host.release("files", self.hold));
        Ok(bit)
    }
}

/// How many files a process may have open at most, whatever it asks for.
fn hard_limit(pid: u32) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).context("it has no limit of open files")
}

fn open(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
