//! When a worker is short of something: it says so, and gets no more pods until it is not.
//!
//! Not for making room: that is `eviction`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

/// Below these a worker is under pressure. In the kubelet's words, and its bound for memory; its shares of disks (10 % and
/// 15 %) are many gigabytes that nobody misses on a large disk, so here it is what images and logs need to go on.
pub const DEFAULT: &str =
    "memory.available<100Mi,nodefs.available<1Gi,imagefs.available<1Gi,nodefs.inodesFree<1%,pid.available<1%";
/// So long it counts as under pressure after it was, so that pods do not come and go, unless it is told otherwise.
const SETTLING: Duration = Duration::from_secs(300);

/// What can run short, in the order in which something is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Signal {
    Memory,
    Disk,
    DiskInodes,
    ImageDisk,
    ImageInodes,
    Pids,
}

const SIGNALS: [(&str, Signal); 6] = [
    ("memory.available", Signal::Memory),
    ("nodefs.available", Signal::Disk),
    ("nodefs.inodesFree", Signal::DiskInodes),
    ("imagefs.available", Signal::ImageDisk),
    ("imagefs.inodesFree", Signal::ImageInodes),
    ("pid.available", Signal::Pids),
];

impl Signal {
    /// The resource that pods take of it, in the kubelet's words.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Signal::Memory => "memory",
            Signal::Disk | Signal::ImageDisk => "ephemeral-storage",
            Signal::DiskInodes | Signal::ImageInodes => "inodes",
            Signal::Pids => "pids",
        }
    }

    pub(super) fn is_of_disk(self) -> bool {
        !matches!(self, Signal::Memory | Signal::Pids)
    }

    pub(super) fn is_of_inodes(self) -> bool {
        matches!(self, Signal::DiskInodes | Signal::ImageInodes)
    }

    /// Of the disk of volumes and logs.
    pub(super) fn is_of_data(self) -> bool {
        matches!(self, Signal::Disk | Signal::DiskInodes)
    }

    fn name(self) -> &'static str {
        SIGNALS.iter().find(|(_, signal)| *signal == self).map_or("", |(name, _)| name)
    }

    fn condition(self) -> &'static str {
        match self {
            Signal::Memory => "MemoryPressure",
            Signal::Disk | Signal::DiskInodes | Signal::ImageDisk | Signal::ImageInodes => "DiskPressure",
            Signal::Pids => "PIDPressure",
        }
    }
}

/// The least that must be there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Least {
    Units(u64),
    Percent(f64),
}

/// The bounds of a worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thresholds(Vec<(Signal, Least)>);

/// When a worker is under pressure, and what it does then.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    /// Below these it ends pods at once.
    pub hard: Thresholds,
    /// Below these it ends pods when that has lasted for a while, with some grace.
    pub soft: Thresholds,
    /// For how long, by the signals' names.
    pub soft_for: BTreeMap<String, Duration>,
    /// The most that a pod gets to end in that case.
    pub soft_pod_grace: Duration,
    /// So long it counts as under pressure after it was.
    pub transition: Duration,
}

impl Default for Bounds {
    /// It is never under pressure.
    fn default() -> Bounds {
        let (hard, soft, soft_for) = Default::default();
        Bounds { hard, soft, soft_for, soft_pod_grace: Duration::ZERO, transition: SETTLING }
    }
}

impl Bounds {
    /// The same, or what is wrong with them: a soft threshold needs a time, and a time a soft threshold.
    pub fn checked(self) -> Result<Bounds, String> {
        let names: Vec<&str> = self.soft.0.iter().map(|(signal, _)| signal.name()).collect();
        if let Some(name) = names.iter().find(|name| !self.soft_for.contains_key(**name)) {
            return Err(format!("grace period must be specified for the soft eviction threshold {name}"));
        }
        match self.soft_for.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => {
                Err(format!("soft eviction threshold {name} must be specified for its grace period"))
            }
            None => Ok(self),
        }
    }

    /// How long a soft threshold is borne.
    pub(super) fn soft_grace(&self, signal: Signal) -> Duration {
        self.soft_for.get(signal.name()).copied().unwrap_or_default()
    }
}

/// What a worker is short of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shortage {
    pub(super) signal: Signal,
    least: Least,
    room: Room,
}

impl Shortage {
    /// The pressure that it is.
    pub fn condition(&self) -> &'static str {
        self.signal.condition()
    }

    /// What should be there.
    pub(super) fn threshold(&self) -> String {
        self.quantity(self.least.of(self.room))
    }

    /// What is.
    pub(super) fn available(&self) -> String {
        self.quantity(self.room.available)
    }

    fn quantity(&self, amount: u64) -> String {
        let counts = self.signal.is_of_inodes() || self.signal == Signal::Pids;
        if counts { amount.to_string() } else { quantity(amount) }
    }

    #[cfg(test)]
    pub(super) fn example(threshold: &str, available: u64) -> Shortage {
        let thresholds: Thresholds = threshold.parse().expect("a threshold");
        let crossed = thresholds.crossed(|_| Some(Room { available, capacity: u64::MAX }));
        crossed.into_iter().next().expect("a threshold that is crossed")
    }
}

impl Least {
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share need not be exact"
    )]
    fn of(self, room: Room) -> u64 {
        match self {
            Least::Units(least) => least,
            Least::Percent(share) => (room.capacity as f64 * share / 100.0) as u64,
        }
    }
}

/// Bytes as Kubernetes writes them: `100Mi`.
pub(crate) fn quantity(bytes: u64) -> String {
    let (mut amount, mut unit) = (bytes, "");
    for larger in ["Ki", "Mi", "Gi", "Ti", "Pi"] {
        if amount == 0 || amount % 1024 != 0 {
            break;
        }
        (amount, unit) = (amount / 1024, larger);
    }
    format!("{amount}{unit}")
}

/// `memory.available<100Mi,nodefs.available<10%`, as the kubelet's `--eviction-hard`.
impl FromStr for Thresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Thresholds, String> {
        let mut all = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, least) =
                pair.split_once('<').ok_or_else(|| format!("\"{pair}\" must be SIGNAL<QUANTITY"))?;
            let known = SIGNALS.iter().find(|(known, _)| *known == name);
            let (_, signal) = known.ok_or_else(|| {
                let names: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
                format!("\"{name}\" is no signal: use {}", names.join(", "))
            })?;
            let wrong = || format!("\"{least}\" is neither a quantity nor a share of 0% to 100%");
            let least = match least.strip_suffix('%') {
                Some(share) => {
                    let share = share.parse().ok().filter(|share| (0.0..=100.0).contains(share));
                    Least::Percent(share.ok_or_else(wrong)?)
                }
                None => {
                    let amount = Value::from(least);
                    // A little less than nothing rounds up to nothing.
                    let enough = crate::pod::quantity::milli(&amount).is_some_and(|milli| milli >= 0);
                    let units = if enough { crate::pod::quantity::units(&amount) } else { None };
                    Least::Units(units.ok_or_else(wrong)?)
                }
            };
            all.push((*signal, least));
        }
        Ok(Thresholds(all))
    }
}

/// What there is of something, and how much of it is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) available: u64,
    pub(super) capacity: u64,
}

impl Thresholds {
    /// What a machine is short of whose room is as `room` says; what cannot be measured is enough.
    fn crossed(&self, room: impl Fn(Signal) -> Option<Room>) -> Vec<Shortage> {
        let crossed = |(signal, least): &(Signal, Least)| {
            let room = room(*signal)?;
            let short = room.available < least.of(room);
            short.then_some(Shortage { signal: *signal, least: *least, room })
        };
        self.0.iter().filter_map(crossed).collect()
    }

    /// What this machine is short of. Blocking.
    pub fn measure(&self, places: &Places) -> Vec<Shortage> {
        self.crossed(|signal| match signal {
            Signal::Memory => memory(&read("/proc/meminfo")),
            Signal::Disk => disk(&places.data).map(|(bytes, _)| bytes),
            Signal::DiskInodes => disk(&places.data).map(|(_, inodes)| inodes),
            Signal::ImageDisk => disk(&places.images).map(|(bytes, _)| bytes),
            Signal::ImageInodes => disk(&places.images).map(|(_, inodes)| inodes),
            Signal::Pids => pids(&read("/proc/loadavg"), &read("/proc/sys/kernel/pid_max")),
        })
    }
}

/// Where a worker's files are.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Volumes, logs, and the rest.
    pub data: PathBuf,
    /// Images.
    pub images: PathBuf,
}

impl Places {
    /// Whether both are on one disk.
    pub(super) fn are_one(&self) -> bool {
        let device =
            |path: &Path| std::fs::metadata(path).map(|it| std::os::unix::fs::MetadataExt::dev(&it)).ok();
        device(&self.data) == device(&self.images)
    }
}

/// Pressures that ended a moment ago still count.
#[derive(Debug, Default)]
pub struct Settling(BTreeMap<&'static str, Instant>);

impl Settling {
    /// The pressures that are told, given those that are measured now, and how long one counts that is over.
    pub fn told(&mut self, measured: &[&'static str], now: Instant, transition: Duration) -> Vec<String> {
        self.0.retain(|_, since| now.saturating_duration_since(*since) < transition);
        for pressure in measured {
            self.0.insert(pressure, now);
        }
        self.0.keys().map(|pressure| (*pressure).to_owned()).collect()
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn memory(meminfo: &str) -> Option<Room> {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes.saturating_mul(1024))
    };
    Some(Room { available: field("MemAvailable:")?, capacity: field("MemTotal:")? })
}

/// Bytes and inodes.
pub(super) fn disk(path: &Path) -> Option<(Room, Room)> {
    let fs = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(fs.f_frsize);
    let inodes = Room { available: fs.f_favail, capacity: fs.f_files };
    Some((Room { available: bytes(fs.f_bavail), capacity: bytes(fs.f_blocks) }, inodes))
}

/// The fourth word of the load is `running/all`.
fn pids(load: &str, most: &str) -> Option<Room> {
    let all: u64 = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    let capacity: u64 = most.trim().parse().ok()?;
    Some(Room { available: capacity.saturating_sub(all), capacity })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn thresholds_are_read_as_by_the_kubelet() {
        assert!(DEFAULT.parse::<Thresholds>().is_ok_and(|it| it.0.len() == 5));
        assert_eq!("".parse::<Thresholds>().unwrap(), Thresholds::default());
        for wrong in [
            "memory.available",
            "memory.available<",
            "memory.available<101%",
            "swap.free<1Gi",
            "pid.available<-1",
        ] {
            assert!(wrong.parse::<Thresholds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_signal_has_its_condition() {
        let thresholds: Thresholds =
            "memory.available<100Mi,nodefs.available<10%,pid.available<100".parse().unwrap();
        let of = |memory: u64, disk: u64, pids: u64| {
            thresholds.crossed(|signal| match signal {
                Signal::Memory => Some(Room { available: memory, capacity: 1 << 30 }),
                Signal::Disk => Some(Room { available: disk, capacity: 1000 }),
                Signal::Pids => Some(Room { available: pids, capacity: 1000 }),
                _ => None,
            })
        };
        let conditions = |short: Vec<Shortage>| short.iter().map(Shortage::condition).collect::<Vec<_>>();
        assert_eq!(of(100 << 20, 100, 100), [], "just enough is enough");
        let short = of((100 << 20) - 1, 99, 99);
        assert_eq!(conditions(short.clone()), ["MemoryPressure", "DiskPressure", "PIDPressure"]);
        let told: Vec<_> = short.iter().map(|it| (it.threshold(), it.available())).collect();
        let text = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(told, [text("100Mi", "104857599"), text("100", "99"), text("100", "99")]);
        assert!(thresholds.crossed(|_| None).is_empty());
    }

    #[test]
    fn the_machine_is_read_from_its_files() {
        let meminfo = "MemTotal:  2048 kB\nMemFree: 1 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(memory(meminfo), Some(Room { available: 1 << 20, capacity: 2 << 20 }));
        assert_eq!(
            pids("0.1 0.2 0.3 2/300 77\n", "32768\n"),
            Some(Room { available: 32_468, capacity: 32_768 })
        );
        let (bytes, inodes) = disk(Path::new("/")).unwrap();
        assert!(bytes.available <= bytes.capacity && inodes.available <= inodes.capacity);
        assert_eq!(disk(Path::new("/no/such/place")), None);
    }

    #[test]
    fn a_pressure_outlasts_its_cause() {
        let mut settling = Settling::default();
        let start = Instant::now();
        let mut told = |measured: &[&'static str], after| settling.told(measured, start + after, SETTLING);
        assert_eq!(told(&["DiskPressure"], Duration::ZERO), ["DiskPressure"]);
        assert_eq!(told(&[], SETTLING - Duration::from_secs(1)), ["DiskPressure"]);
        assert_eq!(told(&[], SETTLING), [""; 0]);
        let at_once = settling.told(&["PIDPressure"], start + 2 * SETTLING, Duration::ZERO);
        assert_eq!(at_once, ["PIDPressure"], "what is measured now is told, however soon it is forgotten");
    }

    #[test]
    fn a_soft_threshold_has_its_time() {
        let soft = |thresholds: &str, times: &[&str]| {
            let soft_for = times.iter().map(|name| ((*name).to_owned(), Duration::from_secs(90))).collect();
            Bounds { soft: thresholds.parse().unwrap(), soft_for, ..Bounds::default() }.checked()
        };
        assert_eq!(
            soft("memory.available<1Gi", &["memory.available"]).unwrap().soft_grace(Signal::Memory),
            Duration::from_secs(90)
        );
        assert!(soft("memory.available<1Gi", &[]).unwrap_err().contains("must be specified for the soft"));
        assert!(soft("", &["memory.available"]).unwrap_err().contains("for its grace period"));
    }

    #[test]
    fn bytes_as_kubernetes_writes_them() {
        for (bytes, text) in [(0, "0"), (1, "1"), (1536, "1536"), (2048, "2Ki"), (100 << 20, "100Mi")] {
            assert_eq!(quantity(bytes), text);
        }
    }
}
