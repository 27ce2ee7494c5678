//! A machine of the run: a namespace, a process (a controller or a worker's agent), a disk, cgroups. Several faults may hold it
//! down or stopped at once; it runs again when the last of them is over.

mod cgroup;
mod disk;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};

pub use cgroup::Cgroup;
pub use disk::{Disk, wipe};

use crate::{
    ground::{MARK, command, descendants, of_run},
    net::Port,
};

/// What a host is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A controller, by number from 0.
    Controller(u32),
    /// A worker, by number from 0.
    Worker(u32),
}

/// Which fault holds a host: the number of its event.
pub type Hold = usize;

/// A machine of the run.
pub struct Host {
    /// Its name, which is also its process's.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Its zone, by number.
    pub zone: u32,
    /// Its place in the network.
    pub port: Port,
    /// `IP:port` where others reach it.
    pub address: String,
    /// Its data directory.
    pub dir: PathBuf,
    /// A disk of its own, if it has one.
    pub disk: Option<Disk>,
    run: String,
    netns: String,
    log: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    child: Option<Child>,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    down: BTreeSet<Hold>,
    stopped: BTreeSet<Hold>,
    restart_at: Option<Instant>,
    /// How often its process ended by itself.
    deaths: u32,
    /// What faults have for themselves.
    claims: BTreeMap<&'static str, Hold>,
    /// Its data was damaged.
    rots: bool,
}

/// Restarted by whatever looks after services on a machine.
const RESTART: Duration = Duration::from_millis(300);

/// Where a host stands in a run.
pub struct Place<'a> {
    /// The run.
    pub run: &'a str,
    /// The run's folder.
    pub root: &'a Path,
    /// Its namespace.
    pub netns: String,
    /// Its address in the network.
    pub port: Port,
    /// `IP:port`.
    pub address: String,
}

impl Host {
    /// A host whose process does not run yet.
    pub fn new(
        name: String,
        role: Role,
        zone: u32,
        place: Place,
        disk: Option<Disk>,
    ) -> anyhow::Result<Host> {
        let logs = place.root.join("logs");
        fs::create_dir_all(&logs)?;
        let dir = place.root.join(&name);
        fs::create_dir_all(&dir)?;
        Ok(Host {
            role,
            zone,
            port: place.port,
            address: place.address,
            dir,
            disk,
            run: place.run.to_owned(),
            netns: place.netns,
            log: logs.join(format!("{name}.log")),
            state: Mutex::default(),
            name,
        })
    }

    /// Sets what its process is, from the next start on.
    pub fn becomes(&self, command: Vec<String>, environment: Vec<(String, String)>) {
        let mut state = self.state.lock();
        (state.command, state.environment) = (command, environment);
    }

    /// Starts its process, unless it runs or a fault holds it down.
    pub fn start(&self) -> anyhow::Result<()> {
        self.start_locked(&mut self.state.lock())
    }

    fn start_locked(&self, state: &mut State) -> anyhow::Result<()> {
        state.restart_at = None;
        if !state.down.is_empty() || state.child.is_some() || state.command.is_empty() {
            return Ok(());
        }
        let out = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let [nsenter, net] = command::inside(&self.netns);
        let child = Command::new(nsenter)
            .arg(net)
            .args(&state.command)
            .env(MARK, format!("{}/{}", self.run, self.name))
            .envs(state.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        Cgroup::of(&self.run, &self.name).take(child.id());
        state.child = Some(child);
        if !state.stopped.is_empty() {
            signal(state, Signal::STOP);
        }
        Ok(())
    }

    /// Its process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.state.lock().child.as_ref().map(Child::id)
    }

    /// All processes of this machine: the agent, shims, what runs in pods.
    pub fn processes(&self) -> BTreeSet<i32> {
        of_run(&self.run, Some(&self.name))
    }

    /// Kills its process and holds it down until it is let up. Answers whether there was one.
    pub fn crash(&self, hold: Hold) -> bool {
        let mut state = self.state.lock();
        state.down.insert(hold);
        kill(&mut state)
    }

    /// SIGKILL without waiting for the end, and holds it down. Answers whether there was a process. Its end is waited for by
    /// [`Host::crash`].
    pub fn strike(&self, hold: Hold) -> bool {
        let mut state = self.state.lock();
        state.down.insert(hold);
        signal(&state, Signal::KILL)
    }

    /// Kills everything that runs on this machine and holds it down.
    pub fn power_off(&self, hold: Hold) -> bool {
        let ran = self.crash(hold);
        for pid in self.processes().into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        ran
    }

    /// Lets it up again.
    pub fn let_up(&self, hold: Hold) -> anyhow::Result<()> {
        let mut state = self.state.lock();
        state.down.remove(&hold);
        self.start_locked(&mut state)
    }

    /// Stops its process (SIGSTOP) until it is let go. Answers whether there is one.
    pub fn stop(&self, hold: Hold) -> bool {
        let mut state = self.state.lock();
        state.stopped.insert(hold);
        signal(&state, Signal::STOP)
    }

    /// Lets it go on.
    pub fn let_go(&self, hold: Hold) {
        let mut state = self.state.lock();
        state.stopped.remove(&hold);
        if state.stopped.is_empty() {
            signal(&state, Signal::CONT);
        }
    }

    /// Asks its process to end in order and waits for it.
    pub fn terminate(&self, patience: Duration) -> bool {
        let mut state = self.state.lock();
        state.command.clear();
        signal(&state, Signal::CONT);
        signal(&state, Signal::TERM);
        let end = Instant::now() + patience;
        let Some(mut child) = state.child.take() else { return true };
        while Instant::now() < end {
            if matches!(child.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        false
    }

    /// Looks after the process as a service manager does: one that ended by itself is started again. Answers its last words when
    /// it has just ended.
    pub fn tend(&self) -> anyhow::Result<Option<String>> {
        let mut state = self.state.lock();
        let ended = match &mut state.child {
            Some(child) => child.try_wait()?,
            None => None,
        };
        if let Some(status) = ended {
            state.child = None;
            state.deaths += 1;
            state.restart_at = Some(Instant::now() + RESTART);
            return Ok(Some(format!("{status}: {}", self.last_words())));
        }
        if state.restart_at.is_some_and(|at| at <= Instant::now()) {
            self.start_locked(&mut state)?;
        }
        Ok(None)
    }

    /// How often its process has ended by itself.
    pub fn deaths(&self) -> u32 {
        self.state.lock().deaths
    }

    /// Takes a part of the host for one fault alone. Answers whether it was free.
    pub fn claim(&self, what: &'static str, hold: Hold) -> bool {
        *self.state.lock().claims.entry(what).or_insert(hold) == hold
    }

    /// Gives it back.
    pub fn release(&self, what: &'static str, hold: Hold) {
        let mut state = self.state.lock();
        if state.claims.get(what) == Some(&hold) {
            state.claims.remove(what);
        }
    }

    /// Takes back all that a fault that failed half-way did to the process.
    pub fn forgive(&self, hold: Hold) -> anyhow::Result<()> {
        self.state.lock().claims.retain(|_, by| *by != hold);
        self.let_go(hold);
        self.let_up(hold)
    }

    /// Its data is damaged from now on.
    pub fn rots(&self) {
        self.state.lock().rots = true;
    }

    /// Whether its data is damaged. Asked for once: whoever asks replaces it.
    pub fn take_rot(&self) -> bool {
        std::mem::take(&mut self.state.lock().rots)
    }

    /// What it has logged.
    pub fn logged(&self) -> String {
        fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// Where it logs.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    fn last_words(&self) -> String {
        let text = self.logged();
        text.lines()
            .rev()
            .find(|line| line.contains("ERROR") || line.contains("panicked"))
            .unwrap_or("")
            .into()
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> Cgroup {
        Cgroup::of(&self.run, &self.name)
    }

    /// Its network namespace.
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// The processes that its own one started, shims and what runs in pods.
    pub fn below(&self) -> BTreeSet<i32> {
        let own = self.pid().and_then(|pid| i32::try_from(pid).ok());
        let mut all = descendants(self.processes());
        all.retain(|pid| Some(*pid) != own);
        all
    }
}

fn signal(state: &State, signal: Signal) -> bool {
    let pid = state.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?));
    pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
}

fn kill(state: &mut State) -> bool {
    state.restart_at = None;
    let Some(mut child) = state.child.take() else { return false };
    let killed = child.try_wait().is_ok_and(|ended| ended.is_none()) && child.kill().is_ok();
    // A process that is stuck in the kernel is not waited for: it dies when its disk is thawed.
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(Duration::from_millis(1));
    }
    killed
}
