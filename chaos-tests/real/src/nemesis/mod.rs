//! The nemesis: breaks what the plan says, heals it, and proves by something seen from outside that it bit.

mod away;
pub(crate) mod clock;
mod disk;
mod evil;
mod input;
mod limits;
mod members;
mod network;
mod process;
mod rot;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use kontiki_chaos_plan::{
    Plan,
    history::{Broken, FaultRecord},
    plan::{Fault, FaultKind, Target, What},
};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{
    clock::Clock,
    cluster::Cluster,
    host::{Hold, Host, Role},
    play::Reigns,
    truth::Truth,
};

/// Everything that a fault may touch.
pub struct Field {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// What containers run.
    pub truth: Arc<Truth>,
    /// Who leads.
    pub reigns: Arc<Reigns>,
    /// The run's clock.
    pub clock: Clock,
    /// Runs what calls from the clients' host.
    pub runtime: Handle,
    /// The plan's seed.
    pub seed: u64,
    /// Whether a process may end by itself: something was planned that it must not survive.
    pub may_end: bool,
    ended: AtomicBool,
    broken: Mutex<Vec<Broken>>,
}

/// A fault as one of its files does it.
pub(crate) struct Doing<'a> {
    field: &'a Field,
    /// Whom it hits.
    hosts: Vec<Arc<Host>>,
    /// Its event's number.
    hold: Hold,
    lasts: Duration,
}

/// What came of it: whether it bit. An error says why it was not done.
type Bit = anyhow::Result<bool>;

impl Field {
    /// A field before the first fault.
    pub fn new(
        cluster: Arc<Cluster>,
        truth: Arc<Truth>,
        reigns: Arc<Reigns>,
        clock: Clock,
        runtime: Handle,
        plan: &Plan,
    ) -> Field {
        let seed = plan.seed;
        let may_end = plan.events.iter().any(|event| match &event.what {
            What::Fault(fault) => must_end(&fault.kind),
            What::Op { .. } => false,
        });
        Field {
            cluster,
            truth,
            reigns,
            clock,
            runtime,
            seed,
            may_end,
            ended: AtomicBool::new(false),
            broken: Mutex::default(),
        }
    }

    /// All faults that still last are over at once.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether they are.
    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Writes down that something is wrong that no checker sees.
    pub fn broken(&self, invariant: &str, words: String) {
        let at_ns = self.clock.now_ns();
        self.broken.lock().push(Broken { at_ns, invariant: invariant.into(), words });
    }

    /// What was written down.
    pub fn all_broken(&self) -> Vec<Broken> {
        self.broken.lock().clone()
    }

    /// Waits, unless everything ends.
    pub(crate) fn wait(&self, lasts: Duration) {
        let end = Instant::now() + lasts;
        while Instant::now() < end && !self.ended() {
            std::thread::sleep(Duration::from_millis(10).min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// Who is meant, now.
    pub fn meant(&self, target: Target) -> Vec<Arc<Host>> {
        let leader = self.reigns.leader();
        let hosts = self.cluster.hosts.iter();
        let number = |host: &Host| match host.role {
            Role::Controller(n) | Role::Worker(n) => n,
        };
        let controls = |host: &Host| matches!(host.role, Role::Controller(_));
        let (controllers, workers) =
            (self.cluster.shape.controllers.max(1), self.cluster.shape.workers.max(1));
        let found: Vec<Arc<Host>> = match target {
            Target::Controller(n) => {
                hosts.filter(|h| controls(h) && number(h) == n % controllers).cloned().collect()
            }
            Target::Worker(n) => {
                hosts.filter(|h| !controls(h) && number(h) == n % workers).cloned().collect()
            }
            Target::Leader => hosts.filter(|h| controls(h) && Some(number(h)) == leader).cloned().collect(),
            Target::Follower => {
                hosts.filter(|h| controls(h) && Some(number(h)) != leader).take(1).cloned().collect()
            }
            Target::Zone(zone) => {
                let zone = zone % self.cluster.shape.zones.max(1);
                hosts.filter(|h| h.zone == zone).cloned().collect()
            }
            Target::Controllers => hosts.filter(|h| controls(h)).cloned().collect(),
            Target::Workers => hosts.filter(|h| !controls(h)).cloned().collect(),
            Target::All => hosts.cloned().collect(),
        };
        found
    }

    /// Does a fault from its beginning to its end.
    pub fn play(&self, event: usize, fault: &Fault) -> FaultRecord {
        let hosts = self.meant(fault.on);
        let hit = hosts.iter().map(|host| host.name.clone()).collect();
        let from_ns = self.clock.now_ns();
        let doing = Doing { field: self, hosts, hold: event, lasts: Duration::from_millis(fault.for_ms) };
        let (bit, skipped) = match doing.play(&fault.kind) {
            Ok(bit) => (bit, None),
            Err(error) => {
                for host in &doing.hosts {
                    if let Err(error) = host.forgive(event) {
                        self.broken("harness", format!("{}: {error:#}", host.name));
                    }
                }
                (false, Some(format!("{error:#}")))
            }
        };
        let (until_ns, number) = (self.clock.now_ns(), fault.kind.number());
        FaultRecord { event, number, hit, from_ns, until_ns, bit, skipped }
    }
}

/// Whether a process that it hits has to end rather than go on: a failed fsync, damaged data, no memory. And one that was taken out
/// of the cluster.
fn must_end(kind: &FaultKind) -> bool {
    use FaultKind::{BitRot, DiskError, DiskLost, FileLimit, MemberReplaced, MemoryLimit, PowerCut};
    matches!(
        kind,
        BitRot { .. }
            | DiskError
            | DiskLost
            | FileLimit { .. }
            | MemberReplaced
            | MemoryLimit { .. }
            | PowerCut
    )
}

impl Doing<'_> {
    fn play(&self, kind: &FaultKind) -> Bit {
        if self.hosts.is_empty() {
            anyhow::bail!("nobody is meant: no leader is known, or there is no such host");
        }
        let ms = Duration::from_millis;
        match *kind {
            FaultKind::Crash => self.crash(),
            FaultKind::Pause => self.pause(),
            FaultKind::AgentCrash => self.crash(),
            FaultKind::NodeReboot => self.reboot(),
            FaultKind::RuntimeHangs => self.runtime_hangs(),
            FaultKind::ContainersExit { count } => self.containers_exit(count),
            FaultKind::PowerCut => self.power_cut(),
            FaultKind::DiskFull => self.disk_full(),
            FaultKind::DiskStuck => self.disk_stuck(),
            FaultKind::DiskSlow { ms } => self.syncs(&format!("delay_exit={}", ms * 1000)),
            FaultKind::DiskError => self.syncs("error=EIO"),
            FaultKind::BitRot { flips } => self.bit_rot(flips),
            FaultKind::DiskLost => self.disk_lost(),
            FaultKind::Isolate { side } => self.isolate(side),
            FaultKind::Cut { other, side } => self.cut(other, side),
            FaultKind::Flap { times } => self.flap(times),
            FaultKind::Delay { ms: delay, jitter_ms } => self.slow(ms(delay), ms(jitter_ms)),
            FaultKind::Loss { per_mille, duplicate_per_mille, reorder_per_mille } => {
                self.lossy(per_mille, duplicate_per_mille, reorder_per_mille)
            }
            FaultKind::Corrupt { per_mille } => self.corrupt(per_mille),
            FaultKind::Bandwidth { kib_per_s } => self.bandwidth(kib_per_s << 10),
            FaultKind::Reset => self.reset(),
            FaultKind::MemoryLimit { mib } => self.memory_limit(mib << 20),
            FaultKind::CpuLimit { per_mille } => self.cpu_limit(per_mille),
            FaultKind::FileLimit { files } => self.file_limit(files),
            FaultKind::ClockJump { by_ms } => self.clock_jump(by_ms),
            FaultKind::ClockRate { per_mille } => self.clock_rate(per_mille),
            FaultKind::MemberReplaced => self.member_replaced(),
            FaultKind::LeaderTransfer => self.leader_transfer(),
            FaultKind::BadInput { requests } => self.bad_input(requests),
            FaultKind::Stranger => self.stranger(),
            FaultKind::Overload { requests } => self.overload(requests),
            FaultKind::SnapshotWhileAway => self.snapshot_while_away(),
            FaultKind::EvilWorker => self.lie(),
            FaultKind::OldLeader => {
                anyhow::bail!("an old leader is played in the simulation of the protocol")
            }
            FaultKind::CrashAtCommand { .. } => anyhow::bail!("commands are counted in the model"),
        }
    }

    fn wait(&self) {
        self.field.wait(self.lasts);
    }

    /// Only the controllers among those that are meant.
    fn controllers(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.hosts.iter().filter(|host| matches!(host.role, Role::Controller(_)))
    }

    /// Only the workers.
    fn workers(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.hosts.iter().filter(|host| matches!(host.role, Role::Worker(_)))
    }
}
