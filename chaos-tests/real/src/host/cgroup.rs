//! A host's cgroups (version 1): limits that can be set while it runs, and the kernel's counts of what they did.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::ground::cgroup_of;

const ROOT: &str = "/sys/fs/cgroup";
const HIERARCHIES: [&str; 2] = ["cpu", "memory"];
const PERIOD_US: u64 = 20_000;
/// A process may take more between a look at its memory and the limit.
const TRIES: u32 = 20;

/// The cgroups of a host.
pub struct Cgroup {
    name: PathBuf,
}

impl Cgroup {
    /// Whether this machine has the hierarchies by which processes are limited. Those of version 2 are not used.
    pub fn able() -> bool {
        HIERARCHIES.iter().all(|hierarchy| is_there(hierarchy))
    }

    /// Of this host of this run.
    pub(super) fn of(run: &str, host: &str) -> Cgroup {
        Cgroup { name: Path::new(&cgroup_of(run)).join(host) }
    }

    fn dir(&self, hierarchy: &str) -> PathBuf {
        Path::new(ROOT).join(hierarchy).join(&self.name)
    }

    /// Puts a process in. Where there is no hierarchy, its limits cannot be set later, and that is told then.
    pub(super) fn take(&self, pid: u32) {
        for hierarchy in HIERARCHIES {
            let dir = self.dir(hierarchy);
            if is_there(hierarchy) {
                let made = fs::create_dir_all(&dir);
                let _ = made.and_then(|()| fs::write(dir.join("cgroup.procs"), pid.to_string()));
            }
        }
    }

    fn set(&self, hierarchy: &str, file: &str, value: &str) -> anyhow::Result<()> {
        let path = self.dir(hierarchy).join(file);
        fs::write(&path, value).with_context(|| format!("{} = {value}", path.display()))
    }

    fn count(&self, hierarchy: &str, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(self.dir(hierarchy).join(file)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().parse().unwrap_or(0)
    }

    /// Limits the processor to so many thousandths of one; none: no limit.
    pub fn limit_cpu(&self, per_mille: Option<u32>) -> anyhow::Result<()> {
        self.set("cpu", "cpu.cfs_period_us", &PERIOD_US.to_string())?;
        let quota =
            per_mille.map_or("-1".into(), |n| (PERIOD_US * u64::from(n) / 1000).max(1000).to_string());
        self.set("cpu", "cpu.cfs_quota_us", &quota)
    }

    /// How often the processor was denied.
    pub fn throttled(&self) -> u64 {
        self.count("cpu", "cpu.stat", "nr_throttled ")
    }

    /// Limits the memory; none: no limit.
    pub fn limit_memory(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        self.set("memory", "memory.limit_in_bytes", &bytes.map_or("-1".into(), |bytes| bytes.to_string()))
    }

    /// Limits the memory to what is in use now and cannot be reclaimed, so that the next page is denied.
    pub fn limit_memory_tightly(&self) -> anyhow::Result<()> {
        let mut limited = Ok(());
        for _ in 0..TRIES {
            // Refused, but it makes the kernel reclaim what it can and take back the pages that each processor has
            // charged ahead. Of those a process takes up to 32 without being counted, which is more than an idle one asks for.
            let _ = self.limit_memory(Some(0));
            let used = self.count("memory", "memory.usage_in_bytes", "");
            limited = self.limit_memory(Some(used));
            if limited.is_ok() {
                break;
            }
        }
        limited
    }

    /// How often memory was denied or had to be reclaimed for the limit.
    pub fn squeezed(&self) -> u64 {
        self.count("memory", "memory.failcnt", "")
    }
}

fn is_there(hierarchy: &str) -> bool {
    Path::new(ROOT).join(hierarchy).join("cgroup.procs").exists()
}
