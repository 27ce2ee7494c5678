//! Disks of controllers: full, stuck, slow, failing, without power.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::{Bit, Doing};
use crate::{
    ground::command,
    host::{Disk, Host},
};

/// A tracer that was told to end is gone by then.
const DETACHES: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// A controller that is meant, with its disk for this fault alone.
fn disk(host: &Host) -> anyhow::Result<&Disk> {
    host.disk.as_ref().context("it has no disk of its own")
}

impl Doing<'_> {
    /// The controllers whose disks no other fault has.
    fn disks(&self) -> anyhow::Result<Vec<(&Host, &Disk)>> {
        let mut taken = Vec::new();
        for host in self.controllers() {
            if host.claim("disk", self.hold) {
                taken.push((&**host, disk(host)?));
            }
        }
        if taken.is_empty() {
            bail!("another fault has the disk, or nobody who is meant has one");
        }
        Ok(taken)
    }

    fn give_back(&self, disks: &[(&Host, &Disk)]) {
        disks.iter().for_each(|(host, _)| host.release("disk", self.hold));
    }

    /// What is not on the disk is lost. Workers lose their processes. Proof: the process was there when the power went.
    pub(super) fn power_cut(&self) -> Bit {
        let workers: Vec<_> = self.workers().cloned().collect();
        let disks = if self.controllers().next().is_some() { self.disks()? } else { Vec::new() };
        let mut ran = 0;
        for (host, disk) in &disks {
            // First the disk: nothing that the process does while it dies may come to it.
            disk.cut_power()?;
            ran += usize::from(host.crash(self.hold));
        }
        ran += workers.iter().filter(|host| host.power_off(self.hold)).count();
        self.wait();
        for (host, disk) in &disks {
            disk.plug_in()?;
            host.let_up(self.hold)?;
        }
        for host in &workers {
            host.let_up(self.hold)?;
        }
        self.give_back(&disks);
        Ok(ran > 0)
    }

    /// Full to the last byte. Proof: nothing is free.
    pub(super) fn disk_full(&self) -> Bit {
        let disks = self.disks()?;
        let mut full = 0;
        for (_, disk) in &disks {
            disk.fill()?;
            full += usize::from(disk.free() == 0);
        }
        self.wait();
        for (_, disk) in &disks {
            disk.empty()?;
        }
        self.give_back(&disks);
        Ok(full > 0)
    }

    /// Frozen: who writes waits. Proof: a thread was seen waiting for it.
    pub(super) fn disk_stuck(&self) -> Bit {
        let disks = self.disks()?;
        for (_, disk) in &disks {
            disk.freeze()?;
        }
        let mut waiting = false;
        for _ in 0..10 {
            self.field.wait(self.lasts / 10);
            waiting |= disks.iter().any(|(host, _)| host.pid().is_some_and(waits_for_disk));
        }
        for (_, disk) in &disks {
            disk.thaw()?;
        }
        self.give_back(&disks);
        Ok(waiting)
    }

    /// Something happens to each fsync of the processes. Proof: strace says to how many.
    pub(super) fn syncs(&self, injection: &str) -> Bit {
        if !command::exists("strace") {
            bail!("this machine has no strace");
        }
        let disks = self.disks()?;
        let mut traced = Vec::new();
        for (host, _) in &disks {
            let Some(pid) = host.pid() else { continue };
            let out = self.field.cluster.dir().join(format!("{}-{}.strace", host.name, self.hold));
            let inject = format!("inject=fsync,fdatasync:{injection}");
            let child = Command::new("strace")
                .args(["-f", "-q", "-e", "trace=fsync,fdatasync", "-e", &inject, "-o"])
                .arg(&out)
                .args(["-p", &pid.to_string()])
                .env(crate::ground::MARK, format!("{}/strace", self.field.cluster.id()))
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            traced.push((child, out));
        }
        self.wait();
        let mut hit = false;
        for (mut child, out) in traced {
            // It detaches when it is told to end. While a process that it traces dies it may wait for ever; killed, it lets go as well.
            if let Some(pid) = Pid::from_raw(i32::try_from(child.id())?) {
                let _ = kill_process(pid, Signal::INT);
            }
            let end = Instant::now() + DETACHES;
            while child.try_wait()?.is_none() {
                if Instant::now() > end {
                    child.kill()?;
                }
                std::thread::sleep(PAUSE);
            }
            hit |= fs::read_to_string(out).unwrap_or_default().contains("sync(");
        }
        self.give_back(&disks);
        Ok(hit)
    }

    /// Its data is gone; it comes back as a new member. Proof: there was data, and the process died.
    pub(super) fn disk_lost(&self) -> Bit {
        let disks = self.disks()?;
        let ran = disks.iter().filter(|(host, _)| host.crash(self.hold)).count();
        self.wait();
        for (host, _) in &disks {
            self.field.cluster.replace_when_possible(host, || self.field.wait(Duration::from_millis(200)))?;
            host.let_up(self.hold)?;
        }
        self.give_back(&disks);
        Ok(ran > 0)
    }
}

/// Whether a thread of this process waits in the kernel for a disk.
fn waits_for_disk(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut stats = threads.filter_map(|thread| fs::read_to_string(thread.path().join("stat")).ok());
    stats.any(|stat| stat.contains(") D "))
}
