//! What a container's processes use, as the kernel counts it for their cgroup.
//!
//! Source: cAdvisor's reading of both versions, by which the kubelet and metrics-server go.

use std::path::{Path, PathBuf};

use super::Cgroups;
use crate::runtime::ContainerUsage;

impl Cgroups {
    /// What the containers of a pod use, whose cgroup this is; those in which nothing runs are left out.
    pub(crate) fn usage(&self, pod: &Path) -> Vec<ContainerUsage> {
        // Any hierarchy has a directory for each container.
        let Some(dir) = self.directories(pod).into_iter().next() else { return Vec::new() };
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let containers = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let names = containers.filter_map(|entry| entry.file_name().into_string().ok());
        let mut all: Vec<ContainerUsage> = names.filter_map(|name| self.usage_of(pod, name)).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn usage_of(&self, pod: &Path, name: String) -> Option<ContainerUsage> {
        let path = pod.join(&name);
        let (cpu, memory) = match self {
            Self::None => return None,
            Self::V1(_) => ("cpuacct", ["memory.usage_in_bytes", "total_inactive_file "]),
            Self::V2 { .. } => ("cpu", ["memory.current", "inactive_file "]),
        };
        let file = |controller: &str, name: &str| {
            self.directory(controller, &path).and_then(|dir| std::fs::read_to_string(dir.join(name)).ok())
        };
        let processes = file("pids", "pids.current").and_then(|text| number(&text));
        // The count is of the cgroups below, too, into which a container may have moved all of its processes.
        if processes.map_or_else(|| self.is_empty(&path), |count| count == 0) {
            return None;
        }
        let cpu_ns = match self {
            Self::V2 { .. } => {
                let micros = field(&file(cpu, "cpu.stat")?, "usage_usec ")?;
                micros.saturating_mul(1000)
            }
            _ => number(&file(cpu, "cpuacct.usage")?)?,
        };
        let used = number(&file("memory", memory[0])?)?;
        let idle = file("memory", "memory.stat").and_then(|stat| field(&stat, memory[1]));
        // The kernel takes back what was only read from files and is not read now before it runs short.
        let memory_bytes = used.saturating_sub(idle.unwrap_or(0));
        Some(ContainerUsage { name, cpu_ns, memory_bytes, processes: processes.unwrap_or(0) })
    }

    /// Whether nothing runs in this cgroup itself.
    fn is_empty(&self, path: &Path) -> bool {
        let empty = |dir: &PathBuf| std::fs::read(dir.join("cgroup.procs")).is_ok_and(|pids| pids.is_empty());
        self.directories(path).first().is_some_and(empty)
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)).and_then(number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;

    fn put(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn both_versions_are_read_as_the_kubelet_reads_them() {
        let root = tempfile::tempdir().unwrap();
        let files = [
            ("cpu/k/p/web/cgroup.procs", "7\n8\n"),
            ("cpu/k/p/web/cpuacct.usage", "5000000000\n"),
            ("cpu/k/p/over/cgroup.procs", ""),
            ("cpu/k/p/over/cpuacct.usage", "9\n"),
            ("memory/k/p/web/memory.usage_in_bytes", "1000\n"),
            ("memory/k/p/web/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n"),
            ("pids/k/p/web/pids.current", "2\n"),
        ];
        put(root.path(), &files);
        let dir = |name: &str| (name.to_owned(), root.path().join(name));
        let v1 =
            BTreeMap::from([("cpuacct".to_owned(), root.path().join("cpu")), dir("memory"), dir("pids")]);
        let expected =
            ContainerUsage { name: "web".into(), cpu_ns: 5_000_000_000, memory_bytes: 700, processes: 2 };
        assert_eq!(Cgroups::V1(v1).usage(Path::new("/k/p")), std::slice::from_ref(&expected));

        let files = [
            ("two/k/p/web/cgroup.procs", "7\n8\n"),
            ("two/k/p/web/cpu.stat", "usage_usec 5000000\nuser_usec 1\n"),
            ("two/k/p/web/memory.current", "1000\n"),
            ("two/k/p/web/memory.stat", "anon 1\ninactive_file 300\n"),
            ("two/k/p/web/pids.current", "2\n"),
        ];
        put(root.path(), &files);
        let controllers = ["cpu", "memory", "pids"].map(str::to_owned).to_vec();
        let v2 = Cgroups::V2 { root: root.path().join("two"), controllers };
        assert_eq!(v2.usage(Path::new("/k/p")), [expected]);
        assert_eq!(v2.usage(Path::new("/k/gone")), []);
        assert_eq!(Cgroups::None.usage(Path::new("/k/p")), []);
    }

    #[test]
    fn processes_in_cgroups_that_a_container_made_count() {
        let root = tempfile::tempdir().unwrap();
        let files = [
            ("k/p/nested/cgroup.procs", ""),
            ("k/p/nested/inner/cgroup.procs", "7\n8\n9\n"),
            ("k/p/nested/cpu.stat", "usage_usec 5\n"),
            ("k/p/nested/memory.current", "1000\n"),
            ("k/p/nested/pids.current", "3\n"),
            ("k/p/over/cgroup.procs", ""),
            ("k/p/over/cpu.stat", "usage_usec 5\n"),
            ("k/p/over/memory.current", "1000\n"),
            ("k/p/over/pids.current", "0\n"),
        ];
        put(root.path(), &files);
        let controllers = ["cpu", "memory", "pids"].map(str::to_owned).to_vec();
        let cgroups = Cgroups::V2 { root: root.path().to_owned(), controllers };
        let expected =
            ContainerUsage { name: "nested".into(), cpu_ns: 5_000, memory_bytes: 1000, processes: 3 };
        assert_eq!(cgroups.usage(Path::new("/k/p")), [expected]);
    }
}
