//! A machine: a host on the network with a disk, and the process that runs on it. It crashes, loses its power, stands still, and
//! starts again; what ran on it before can then do nothing any more.

use std::sync::Arc;

use kontiki_raft::{Disk, Scope};

use crate::disk::SimDisk;
use crate::network::{HostId, SimNet};

/// A machine.
pub struct Machine {
    /// Its place on the network.
    pub host: HostId,
    /// Its disk.
    pub disk: SimDisk,
    net: SimNet,
    seed: u64,
    starts: u64,
    process: Option<Scope>,
}

/// What a process begins with.
pub struct Process {
    /// All of its tasks must be spawned in it.
    pub scope: Scope,
    /// The disk as this process has it.
    pub disk: Arc<dyn Disk>,
}

impl Machine {
    /// One with an empty disk.
    pub fn new(net: &SimNet, name: &str, seed: u64) -> Machine {
        let (host, disk) = (net.host(name), SimDisk::new(seed));
        Machine { host, disk, net: net.clone(), seed, starts: 0, process: None }
    }

    /// Starts a process. It must not have one.
    pub fn start(&mut self) -> Process {
        self.starts += 1;
        self.net.power_on(self.host);
        let scope = Scope::new(self.seed ^ (self.starts << 48));
        self.process = Some(scope.clone());
        Process { scope, disk: self.disk.mount() }
    }

    /// Whether a process runs.
    pub fn runs(&self) -> bool {
        self.process.is_some()
    }

    /// The process that runs.
    pub fn scope(&self) -> Option<&Scope> {
        self.process.as_ref()
    }

    /// The process dies at once: its kernel breaks its connections and keeps what it wrote.
    pub fn crash(&mut self) {
        self.disk.crash();
        self.net.crash(self.host);
        self.kill();
    }

    /// The power fails: nobody is told, and what was not synced is lost.
    pub fn power_cut(&mut self) {
        self.disk.power_cut();
        self.net.power_cut(self.host);
        self.kill();
    }

    fn kill(&mut self) {
        self.net.hold(self.host, false);
        if let Some(scope) = self.process.take() {
            scope.kill();
        }
    }

    /// The process stands still, or goes on. Its kernel, and the clock, go on.
    pub fn hold(&self, held: bool) {
        self.net.hold(self.host, held);
        if let Some(scope) = &self.process {
            if held { scope.hold() } else { scope.resume() }
        }
    }
}
