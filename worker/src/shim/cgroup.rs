//! The control groups of containers, version 1 (a hierarchy per controller) and 2 (one for all).
//!
//! A missing controller is a warning, unless a limit was asked for that needs it: a limit that silently is none would
//! let one container starve the machine.

mod devices;
mod usage;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::runtime::ContainerSpec;

/// A hierarchy is busy for a moment after its last process ended.
const REMOVE_TRIES: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(2);
const CPU_PERIOD_US: u64 = 100_000;

/// The hierarchies of this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cgroups {
    #[default]
    None,
    V1(BTreeMap<String, PathBuf>),
    V2 {
        root: PathBuf,
        controllers: Vec<String>,
    },
}

impl Cgroups {
    /// Finds them among the mounts.
    pub(crate) fn detect() -> Result<Self, String> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(|source| source.to_string())?;
        Self::among(&mounts, |root| {
            std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default()
        })
    }

    fn among(mountinfo: &str, controllers_of: impl Fn(&Path) -> String) -> Result<Self, String> {
        const KNOWN: &[&str] =
            &["cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "blkio", "hugetlb"];
        let mut v1 = BTreeMap::new();
        let mut v2 = None;
        for line in mountinfo.lines() {
            let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
            let Some(point) = mount.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut filesystem = filesystem.split(' ');
            match filesystem.next() {
                Some("cgroup") => {
                    let options = filesystem.nth(1).unwrap_or_default();
                    for name in options.split(',').filter(|name| KNOWN.contains(name)) {
                        v1.insert(name.to_owned(), point.clone());
                    }
                }
                Some("cgroup2") => v2 = Some(point),
                _ => {}
            }
        }
        if !v1.is_empty() {
            return Ok(Self::V1(v1));
        }
        let root = v2.ok_or("no cgroup hierarchy is mounted")?;
        let controllers = controllers_of(&root).split_whitespace().map(str::to_owned).collect();
        Ok(Self::V2 { root, controllers })
    }

    /// Makes a cgroup in every hierarchy.
    pub(crate) fn make(&self, path: &Path) -> Result<(), String> {
        for dir in self.directories(path) {
            std::fs::create_dir_all(&dir).map_err(|source| format!("make {}: {source}", dir.display()))?;
        }
        if let Self::V2 { root, controllers } = self {
            let mut parent = root.clone();
            for name in std::iter::once(Path::new(""))
                .chain(path.iter().skip(usize::from(path.is_absolute())).map(Path::new))
            {
                parent.push(name);
                for controller in controllers {
                    // What cannot be handed down is missing below, and is found missing when a limit needs it.
                    std::fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}")).ok();
                }
            }
        }
        Ok(())
    }

    /// Bounds the processes in a cgroup and all below it.
    pub(crate) fn limit_pids(&self, path: &Path, pids: u64) -> Result<(), String> {
        let dir = self.directory("pids", path).ok_or("this machine has no pids cgroup")?;
        write(&dir.join("pids.max"), &pids.to_string())
    }

    /// Makes a container's cgroup and sets its limits. Answers warnings.
    pub(crate) fn limit(&self, path: &Path, spec: &ContainerSpec) -> Result<Vec<String>, String> {
        self.make_leaf(path)?;
        let mut warnings = Vec::new();
        let mut apply = |controller: &str, asked: &str, required: bool, files: Vec<(&str, String)>| {
            let result = match self.directory(controller, path) {
                Some(dir) => files.iter().try_for_each(|(file, value)| write(&dir.join(file), value)),
                None => Err(format!("this machine has no {controller} cgroup")),
            };
            match result {
                Err(cause) if required => Err(format!("{asked}: {cause}")),
                Err(cause) => {
                    warnings.push(format!("{asked} is not enforced: {cause}"));
                    Ok(())
                }
                Ok(()) => Ok(()),
            }
        };
        let v2 = matches!(self, Self::V2 { .. });
        if let Some(bytes) = spec.memory_limit_bytes {
            let file = if v2 { "memory.max" } else { "memory.limit_in_bytes" };
            apply("memory", "memory limit", true, vec![(file, bytes.to_string())])?;
            // Swap would stretch the limit. Kernels without swap accounting lack the file, and that is fine.
            let (file, value) =
                if v2 { ("memory.swap.max", 0) } else { ("memory.memsw.limit_in_bytes", bytes) };
            if let Some(dir) = self.directory("memory", path).filter(|dir| dir.join(file).exists()) {
                write(&dir.join(file), &value.to_string()).ok();
            }
        }
        if let Some(milli) = spec.cpu_milli_limit {
            let quota = (milli.saturating_mul(CPU_PERIOD_US) / 1000).max(1000);
            let files = if v2 {
                vec![("cpu.max", format!("{quota} {CPU_PERIOD_US}"))]
            } else {
                vec![
                    ("cpu.cfs_period_us", CPU_PERIOD_US.to_string()),
                    ("cpu.cfs_quota_us", quota.to_string()),
                ]
            };
            apply("cpu", "cpu limit", true, files)?;
        }
        if let Some(milli) = spec.cpu_milli_request {
            let shares = (milli.saturating_mul(1024) / 1000).clamp(2, 262_144);
            let weight = 1 + (shares - 2) * 9999 / 262_142;
            let files = if v2 {
                vec![("cpu.weight", weight.to_string())]
            } else {
                vec![("cpu.shares", shares.to_string())]
            };
            apply("cpu", "cpu request", false, files)?;
        }
        if let Some(pids) = spec.pids_limit {
            apply("pids", "process limit", true, vec![("pids.max", pids.to_string())])?;
        }
        Ok(warnings)
    }

    /// Lets a container's cgroup reach no devices but those that every container gets. Answers whether something bounds it.
    pub(crate) fn bound_devices(&self, path: &Path) -> Result<bool, String> {
        match self {
            Self::None => Ok(false),
            Self::V1(_) => {
                let Some(dir) = self.directory("devices", path) else { return Ok(false) };
                write(&dir.join("devices.deny"), "a")?;
                devices::rules().try_for_each(|rule| write(&dir.join("devices.allow"), &rule))?;
                Ok(true)
            }
            Self::V2 { root, .. } => {
                let dir = join(root, path);
                let bounded = devices::bound(&dir);
                bounded.map_err(|source| format!("bound the devices of {}: {source}", dir.display()))?;
                Ok(true)
            }
        }
    }

    /// How many processes of this cgroup the kernel killed for want of memory.
    pub(crate) fn oom_kills(&self, path: &Path) -> u64 {
        let file = if matches!(self, Self::V2 { .. }) { "memory.events" } else { "memory.oom_control" };
        let text =
            self.directory("memory", path).and_then(|dir| std::fs::read_to_string(dir.join(file)).ok());
        let text = text.unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    /// Kills every process of this cgroup and those below it. Answers how many there were.
    pub(crate) fn kill(&self, path: &Path) -> usize {
        let mut killed = 0;
        for dir in self.directories(path) {
            for dir in with_children(&dir) {
                let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
                for pid in text.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
                    rustix::process::kill_process(pid, Signal::KILL).ok();
                    killed += 1;
                }
            }
        }
        killed
    }

    /// Kills until nothing is left, also what is born meanwhile. What does not die within a moment is left.
    pub(crate) fn end(&self, path: &Path) {
        for _ in 0..REMOVE_TRIES {
            if self.kill(path) == 0 {
                return;
            }
            std::thread::sleep(REMOVE_PAUSE);
        }
    }

    /// Removes this cgroup and those below it. What is still busy at the end stays, and is reported.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), String> {
        let mut kept = Ok(());
        for dir in self.directories(path) {
            for dir in with_children(&dir).iter().rev() {
                if let Err(source) = remove_when_idle(dir) {
                    kept = Err(format!("remove {}: {source}", dir.display()));
                }
            }
        }
        kept
    }

    fn make_leaf(&self, path: &Path) -> Result<(), String> {
        for dir in self.directories(path) {
            std::fs::create_dir_all(&dir).map_err(|source| format!("make {}: {source}", dir.display()))?;
        }
        Ok(())
    }

    fn directory(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        match self {
            Self::None => None,
            Self::V1(hierarchies) => Some(join(hierarchies.get(controller)?, path)),
            Self::V2 { root, controllers } => {
                controllers.iter().any(|name| name == controller).then(|| join(root, path))
            }
        }
    }

    fn directories(&self, path: &Path) -> Vec<PathBuf> {
        match self {
            Self::None => Vec::new(),
            Self::V1(hierarchies) => {
                let mut roots: Vec<_> = hierarchies.values().collect();
                roots.dedup();
                roots.into_iter().map(|root| join(root, path)).collect()
            }
            Self::V2 { root, .. } => vec![join(root, path)],
        }
    }
}

fn join(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// A directory and its child directories, parents first: containers make no deeper ones without asking for it.
fn with_children(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(parent) = all.get(next).cloned() {
        let children = std::fs::read_dir(parent).into_iter().flatten().flatten();
        all.extend(children.filter(|it| it.file_type().is_ok_and(|kind| kind.is_dir())).map(|it| it.path()));
        next += 1;
    }
    all
}

fn remove_when_idle(dir: &Path) -> std::io::Result<()> {
    let mut tries = 0;
    loop {
        match std::fs::remove_dir(dir) {
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) if source.kind() == std::io::ErrorKind::ResourceBusy && tries < REMOVE_TRIES => {
                tries += 1;
                std::thread::sleep(REMOVE_PAUSE);
            }
            other => return other,
        }
    }
}

fn write(path: &Path, value: &str) -> Result<(), String> {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()));
    written.map_err(|source| format!("write {value} to {}: {source}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HYBRID: &str = "\
33 24 0:29 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
34 33 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
35 33 0:31 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory
36 33 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
37 33 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn hierarchies_are_found_among_mounts() {
        let found = Cgroups::among(HYBRID, |_| String::new()).unwrap();
        let Cgroups::V1(v1) = &found else { panic!("{found:?} is not version 1") };
        assert_eq!(v1.keys().collect::<Vec<_>>(), ["cpu", "cpuacct", "memory"]);
        assert_eq!(
            found.directory("memory", Path::new("/a")),
            Some(PathBuf::from("/sys/fs/cgroup/memory/a"))
        );
        assert_eq!(found.directories(Path::new("/a")).len(), 2, "a shared hierarchy counts once");

        let unified = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let found = Cgroups::among(unified, |_| "cpu memory pids".to_owned()).unwrap();
        assert_eq!(found.directory("memory", Path::new("/a")), Some(PathBuf::from("/sys/fs/cgroup/a")));
        assert_eq!(found.directory("hugetlb", Path::new("/a")), None);

        assert!(Cgroups::among("24 1 0:1 / / rw - ext4 /dev/vda rw\n", |_| String::new()).is_err());
    }

    #[test]
    fn a_limit_without_its_controller_is_refused_and_a_request_is_only_warned_about() {
        let limited = ContainerSpec { memory_limit_bytes: Some(1 << 20), ..ContainerSpec::default() };
        let refused = Cgroups::None.limit(Path::new("/a"), &limited).unwrap_err();
        assert_eq!(refused, "memory limit: this machine has no memory cgroup");

        let requested = ContainerSpec { cpu_milli_request: Some(100), ..ContainerSpec::default() };
        let warnings = Cgroups::None.limit(Path::new("/a"), &requested).unwrap();
        assert_eq!(warnings, ["cpu request is not enforced: this machine has no cpu cgroup"]);
    }

    #[test]
    fn devices_are_bounded_by_their_own_hierarchy_only() {
        let root = tempfile::tempdir().unwrap();
        let v1 = |name: &str| Cgroups::V1(BTreeMap::from([(name.to_owned(), root.path().to_owned())]));
        let path = Path::new("/a");
        let refused = v1("devices").bound_devices(path).unwrap_err();
        assert!(refused.contains("devices.deny"), "{refused}");

        std::fs::create_dir(root.path().join("a")).unwrap();
        for file in ["devices.deny", "devices.allow"] {
            std::fs::write(root.path().join("a").join(file), "").unwrap();
        }
        assert_eq!(v1("devices").bound_devices(path), Ok(true));
        assert_eq!(std::fs::read_to_string(root.path().join("a/devices.deny")).unwrap(), "a");
        for unbounded in [Cgroups::None, v1("memory")] {
            assert_eq!(unbounded.bound_devices(path), Ok(false), "{unbounded:?}");
        }
        // No cgroup, for all its controllers.
        let v2 = Cgroups::V2 { root: root.path().to_owned(), controllers: vec!["memory".to_owned()] };
        let refused = v2.bound_devices(path).unwrap_err();
        assert!(refused.contains("bound the devices of"), "{refused}");
    }
}
