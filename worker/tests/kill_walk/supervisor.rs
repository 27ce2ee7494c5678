//! Watches a worker's processes step by step, and kills at one of the steps.
//!
//! A step is a system call that changes the world, of the agent, of a shim, or of a process that is not yet its container's program.
//! It is counted before it happens. After a kill, what lives on besides the agent can be held back for some steps of the next agent:
//! that is how slow processes look that nobody waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use nix::libc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::filter::{self, Call};
use super::pods::MARK;
use super::world::{pids, stat, words};

/// Whoever was killed is gone by then, unless the kernel itself hangs.
const DIES: Duration = Duration::from_secs(10);
/// Nobody is held back for longer.
const HOLD_MAX: Duration = Duration::from_secs(1);
/// Steps that are remembered, to tell what came before a kill.
const STEPS_KEPT: usize = 12;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Agent,
    Shim,
    Both,
}

/// When to kill whom.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub target: Target,
    /// Before which step, counted from 1.
    pub at: u32,
    /// For how many steps of the next agent others are held back.
    pub hold: u32,
}

/// What the supervisor is told.
pub enum Order {
    /// Calls arrive here of this agent and all that it starts.
    Listen(OwnedFd, u32),
    /// Count from here on, for this pod, and kill by this plan, if there is one.
    Begin { uid: String, cgroup_parent: String, plain: bool, plan: Option<Plan> },
    /// Kill now.
    Kill(Target),
    /// Count no more, and say how many steps there were.
    End,
}

/// What the supervisor says.
#[derive(Debug)]
pub enum News {
    /// They are dead; before which step, and what came before it.
    Killed { target: Target, agent: Option<u32>, step: String, before: Vec<String> },
    /// A container's program was about to start while an earlier one of it lives.
    Twice(String),
    /// How many steps there were.
    Steps(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Agent,
    /// Of the agent, but not yet the shim's program.
    AgentChild,
    Shim,
    /// Of the shim, but not yet the container's program.
    Child,
    /// Holds the pod's process namespace.
    Holder,
    Container,
}

/// How others speak to the supervisor.
pub struct Supervisor {
    orders: Sender<Order>,
    bell: UnixStream,
}

impl Supervisor {
    pub fn start(news: impl Fn(News) + Send + 'static) -> Self {
        let (orders, receiver) = channel();
        let (bell, ear) = UnixStream::pair().unwrap();
        ear.set_nonblocking(true).unwrap();
        std::thread::spawn(move || Watch::new(receiver, ear, Box::new(news)).run());
        Self { orders, bell }
    }

    pub fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
        (&self.bell).write_all(b"!").unwrap();
    }
}

struct Watch {
    orders: Receiver<Order>,
    ear: UnixStream,
    news: Box<dyn Fn(News) + Send>,
    listeners: Vec<OwnedFd>,
    agent: u32,
    shims: BTreeSet<u32>,
    roles: BTreeMap<i32, (u32, Role)>,
    uid: String,
    cgroup_parent: String,
    plain: bool,
    counting: bool,
    plan: Option<Plan>,
    count: u32,
    steps: Vec<String>,
    hold: Option<Hold>,
}

struct Hold {
    who: BTreeSet<u32>,
    steps_left: u32,
    until: Instant,
    calls: Vec<(usize, u64)>,
}

impl Watch {
    fn new(orders: Receiver<Order>, ear: UnixStream, news: Box<dyn Fn(News) + Send>) -> Self {
        Self {
            orders,
            ear,
            news,
            listeners: Vec::new(),
            agent: 0,
            shims: BTreeSet::new(),
            roles: BTreeMap::new(),
            uid: String::new(),
            cgroup_parent: String::new(),
            plain: false,
            counting: false,
            plan: None,
            count: 0,
            steps: Vec::new(),
            hold: None,
        }
    }

    fn run(mut self) {
        loop {
            let timeout = self.hold.as_ref().map(|hold| {
                let left = hold.until.saturating_duration_since(Instant::now());
                Timespec { tv_sec: left.as_secs().try_into().unwrap(), tv_nsec: left.subsec_nanos().into() }
            });
            let mut fds: Vec<PollFd<'_>> =
                self.listeners.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            fds.push(PollFd::new(&self.ear, PollFlags::IN));
            poll(&mut fds, timeout.as_ref()).unwrap();
            let ready: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            if ready.last().is_some_and(|ear| !ear.is_empty()) && !self.obey() {
                return;
            }
            for (index, ready) in ready.iter().enumerate().take(ready.len() - 1) {
                if ready.contains(PollFlags::IN)
                    && let Some(call) = filter::receive(self.listeners[index].as_fd())
                {
                    self.heed(index, call);
                }
            }
            if self.hold.as_ref().is_some_and(|hold| hold.steps_left == 0 || Instant::now() >= hold.until) {
                self.let_go();
            }
            // Nobody is left who could call. Held calls are named by the listener's place, so that places stay while there are some.
            let hung_up =
                |flags: &PollFlags| flags.contains(PollFlags::HUP) && !flags.contains(PollFlags::IN);
            if self.hold.is_none() {
                let mut flags = ready.iter();
                self.listeners.retain(|_| !flags.next().is_some_and(hung_up));
            } else if ready.iter().any(hung_up) {
                // It would be told of at once, again and again.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// False when nobody orders anything any more.
    fn obey(&mut self) -> bool {
        let mut rings = [0; 64];
        if matches!(self.ear.read(&mut rings), Ok(0)) {
            return false;
        }
        while let Ok(order) = self.orders.try_recv() {
            match order {
                Order::Listen(listener, agent) => {
                    self.listeners.push(listener);
                    self.agent = agent;
                    self.roles.clear();
                }
                Order::Begin { uid, cgroup_parent, plain, plan } => {
                    (self.uid, self.cgroup_parent, self.plain, self.plan) = (uid, cgroup_parent, plain, plan);
                    (self.counting, self.count) = (true, 0);
                    self.steps.clear();
                }
                Order::Kill(target) => self.kill(target, 0, "at rest".to_owned()),
                Order::End => {
                    self.let_go();
                    self.counting = false;
                    self.plan = None;
                    self.shims.clear();
                    self.roles.clear();
                    (self.news)(News::Steps(self.count));
                }
            }
        }
        true
    }

    fn heed(&mut self, listener: usize, call: Call) {
        let (process, role) = self.role(call.tid);
        let counts = self.counting && role != Role::Container && is_step(role, &call);
        if call.nr == libc::SYS_execve {
            self.roles.remove(&call.tid);
            if self.counting && role == Role::Child {
                self.look_for_twins(process);
            }
        }
        if counts {
            self.count += 1;
            if self.steps.len() >= STEPS_KEPT {
                self.steps.remove(0);
            }
            self.steps.push(describe(role, &call));
            if role == Role::Agent
                && let Some(hold) = &mut self.hold
            {
                hold.steps_left = hold.steps_left.saturating_sub(1);
            }
            if let Some(plan) = self.plan.filter(|plan| self.count >= plan.at) {
                let step = format!("{role:?} {}", call.name());
                self.kill(plan.target, plan.hold, step);
            }
        }
        match &mut self.hold {
            Some(hold) if hold.who.contains(&process) => hold.calls.push((listener, call.id)),
            _ => filter::go_on(self.listeners[listener].as_fd(), call.id),
        }
    }

    fn let_go(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        for (listener, id) in hold.calls {
            filter::go_on(self.listeners[listener].as_fd(), id);
        }
    }

    /// Kills whom it is to kill, if they are there; later if not.
    fn kill(&mut self, target: Target, hold: u32, step: String) {
        self.shims.retain(|pid| is_alive(*pid));
        let shim = self.shims.last().copied();
        let agent = is_alive(self.agent).then_some(self.agent);
        let victims: Vec<u32> = match target {
            Target::Agent => agent.into_iter().collect(),
            Target::Shim => shim.into_iter().collect(),
            Target::Both if shim.is_some() => agent.into_iter().chain(shim).collect(),
            Target::Both => Vec::new(),
        };
        if victims.is_empty() {
            return;
        }
        self.plan = None;
        if hold > 0 {
            let who = pids().into_iter().filter(|pid| *pid != self.agent && !victims.contains(pid));
            let who = who.filter(|pid| !matches!(self.role_of_process(*pid), Role::Container | Role::Agent));
            let who: BTreeSet<u32> = who.collect();
            // Between two, nobody is to be held who is waited for by the one that lives.
            if !who.is_empty() {
                self.hold =
                    Some(Hold { who, steps_left: hold, until: Instant::now() + HOLD_MAX, calls: Vec::new() });
            }
        }
        for pid in &victims {
            kill_process(raw(*pid), Signal::KILL).ok();
        }
        for pid in &victims {
            wait_for_end(*pid);
        }
        let killed = victims.iter().find(|pid| Some(**pid) == agent).copied();
        (self.news)(News::Killed { target, agent: killed, step, before: self.steps.clone() });
    }

    fn role(&mut self, tid: i32) -> (u32, Role) {
        if let Some(known) = self.roles.get(&tid) {
            return *known;
        }
        let status = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
        let process =
            status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok()).unwrap_or(0);
        let role = self.role_of_process(process);
        if role == Role::Shim {
            self.shims.insert(process);
        }
        // Until it is named, a shim's child looks like the shim; what is there before execve is not what is there after.
        if !matches!(role, Role::Child | Role::AgentChild) {
            self.roles.insert(tid, (process, role));
        }
        (process, role)
    }

    fn role_of_process(&self, pid: u32) -> Role {
        if pid == self.agent {
            return Role::Agent;
        }
        if self.shims.contains(&pid) {
            return Role::Shim;
        }
        let command = words(pid, "cmdline");
        let parent = stat(pid).map_or(0, |(_, parent)| parent);
        if command.contains("--dir ") && command.trim_end().ends_with(&format!("/pods/{}", self.uid)) {
            let named = words(pid, "comm").starts_with("youki:");
            if named || self.shims.contains(&parent) { Role::Child } else { Role::Shim }
        } else if command.trim_end().ends_with(" hold") {
            Role::Holder
        } else if parent == self.agent && command == words(self.agent, "cmdline") {
            Role::AgentChild
        } else {
            Role::Container
        }
    }

    /// A process of a shim is about to become a container's program: nobody of an earlier start of it may be there.
    fn look_for_twins(&self, pid: u32) {
        let Some(container) = self.container_of(pid) else { return };
        let mark = format!("{MARK}={}/{container} ", self.uid);
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = namespace(pid);
        for other in pids() {
            // Commands that are run in a container are in its namespace.
            let within = !self.plain && namespace(other) == own;
            if other == pid || within || !words(other, "environ").contains(&mark) || !is_alive(other) {
                continue;
            }
            let what =
                format!("{container} starts as {pid} while {other} lives: {}", words(other, "cmdline"));
            (self.news)(News::Twice(what));
        }
    }

    fn container_of(&self, pid: u32) -> Option<String> {
        if self.plain {
            let dir = fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
            return Some(dir.file_name()?.to_string_lossy().into_owned());
        }
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let pod = format!("{}/{}/", self.cgroup_parent, self.uid);
        cgroups.lines().find_map(|line| line.split_once(&pod).map(|(_, container)| container.to_owned()))
    }
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

fn is_alive(pid: u32) -> bool {
    pid != 0 && stat(pid).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

fn wait_for_end(pid: u32) {
    let Ok(handle) = pidfd_open(raw(pid), PidfdFlags::empty()) else { return };
    let timeout = Timespec { tv_sec: DIES.as_secs().try_into().unwrap(), tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&timeout)).unwrap();
    assert!(ended > 0, "process {pid} does not die: {:?}", stat(pid));
}

fn is_step(role: Role, call: &Call) -> bool {
    match call.name() {
        // Of the session, which finds nobody, and of what wakes threads.
        "write" => {
            let to = fs::read_link(format!("/proc/{}/fd/{}", call.tid, call.args[0])).unwrap_or_default();
            let to = to.to_string_lossy();
            to.starts_with("socket:") || (to.starts_with('/') && !to.starts_with("/dev/"))
        }
        "exit_group" => role != Role::Agent,
        _ => true,
    }
}

/// A step in words.
fn describe(role: Role, call: &Call) -> String {
    let path_at = match call.name() {
        "openat" | "mkdirat" | "unlinkat" | "renameat" | "renameat2" | "fchmodat" | "fchownat"
        | "mknodat" | "symlinkat" | "linkat" => Some(1),
        "open" | "mkdir" | "rmdir" | "unlink" | "rename" | "chmod" | "chown" | "lchown" | "symlink"
        | "umount2" | "execve" | "pivot_root" | "link" | "mknod" => Some(0),
        "mount" => Some(1),
        _ => None,
    };
    let path = match path_at {
        Some(at) => text(call.tid, call.args[at]),
        None if matches!(call.name(), "write" | "flock" | "sendto" | "sendmsg" | "fchmod" | "fchown") => {
            let to = fs::read_link(format!("/proc/{}/fd/{}", call.tid, call.args[0])).unwrap_or_default();
            to.to_string_lossy().into_owned()
        }
        None => String::new(),
    };
    format!("{role:?} {} {} {path}", call.tid, call.name())
}

fn text(tid: i32, at: u64) -> String {
    let mut bytes = [0; 256];
    let read = fs::File::open(format!("/proc/{tid}/mem")).and_then(|memory| memory.read_at(&mut bytes, at));
    let bytes = &bytes[..read.unwrap_or(0)];
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
