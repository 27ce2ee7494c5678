//! What a pod's containers share, as a daemon is asked for it; and what of it the agent itself puts in place, as the kubelet does:
//! the pod's cgroup, its volumes in memory, and the files by which its processes find names.
//!
//! ```text
//!   pods/<uid>/cri/sandbox.json       what it was started with, the agent's blob in it
//!   pods/<uid>/cri/hosts resolv.conf  what its containers see
//!   pods/<uid>/cri/containers/<name>/<attempt>/termination-log
//! ```

use std::collections::HashMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use kontiki_proto::cri;
use kontiki_proto::cri::NamespaceMode;
use rustix::mount::{MountFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use super::super::{MemoryVolume, PodSandbox, Processes};
use super::labels;
use crate::agent::disk::{self, Durability};
use crate::agent::layout::Layout;

/// The folder of this runtime in a pod's.
pub(super) const FOLDER: &str = "cri";
const RECORD: &str = "sandbox.json";
/// A pod's ports are its own: an unprivileged process may listen on 80.
const UNPRIVILEGED_PORTS: &str = "net.ipv4.ip_unprivileged_port_start";

/// The folder of this runtime for a pod.
pub(super) fn folder(pod_dir: &Path) -> PathBuf {
    pod_dir.join(FOLDER)
}

/// The configuration of a pod.
pub(super) fn config(
    pod: &PodSandbox,
    worker: &str,
    layout: &Layout,
    cgroup_parent: String,
) -> cri::PodSandboxConfig {
    let mut sysctls: HashMap<String, String> = pod.sysctls.iter().cloned().collect();
    if !pod.host_network {
        sysctls.entry(UNPRIVILEGED_PORTS.to_owned()).or_insert_with(|| "0".to_owned());
    }
    let seccomp = cri::SecurityProfile {
        profile_type: cri::security_profile::ProfileType::RuntimeDefault.into(),
        ..Default::default()
    };
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            namespace: pod.namespace.clone(),
            attempt: 0,
        }),
        // Who has the machine's network has its name, too.
        hostname: if pod.host_network { String::new() } else { pod.hostname.clone() },
        log_directory: layout.logs(&pod.namespace, &pod.name, &pod.uid).to_string_lossy().into_owned(),
        labels: labels::pod(worker, pod),
        annotations: HashMap::new(),
        linux: Some(cri::LinuxPodSandboxConfig {
            cgroup_parent,
            security_context: Some(cri::LinuxSandboxSecurityContext {
                namespace_options: Some(namespaces(pod)),
                supplemental_groups: Vec::new(),
                privileged: pod.privileged,
                // Of the process that holds the sandbox only.
                seccomp: Some(seccomp),
            }),
            sysctls,
        }),
    }
}

/// The namespaces of a pod's containers.
pub(super) fn namespaces(pod: &PodSandbox) -> cri::NamespaceOption {
    let own_or_node = |of_node| if of_node { NamespaceMode::Node } else { NamespaceMode::Pod };
    let processes = match pod.processes {
        Processes::Container => NamespaceMode::Container,
        Processes::Pod => NamespaceMode::Pod,
        Processes::Machine => NamespaceMode::Node,
    };
    cri::NamespaceOption {
        network: own_or_node(pod.host_network).into(),
        pid: processes.into(),
        ipc: own_or_node(pod.host_ipc).into(),
        target_id: String::new(),
    }
}

/// What is written down of a pod.
#[derive(Serialize, Deserialize)]
struct Record {
    sandbox: PodSandbox,
    /// It is not written with the sandbox itself.
    #[serde(default)]
    privileged: bool,
}

/// Writes down what a pod is started with, for who adopts it.
pub(super) fn write_record(pod_dir: &Path, pod: &PodSandbox) -> Result<(), String> {
    let folder = folder(pod_dir);
    let told = |cause: std::io::Error| format!("write {}: {cause}", folder.display());
    disk::private_folder(&folder).map_err(told)?;
    let record = Record { sandbox: pod.clone(), privileged: pod.privileged };
    let json = serde_json::to_vec(&record).map_err(|cause| cause.to_string())?;
    disk::write(&folder.join(RECORD), &json, Durability::Process).map_err(told)
}

/// What a pod was started with, if that was written down.
pub(super) fn read_record(pod_dir: &Path) -> Option<PodSandbox> {
    let json = disk::read(&folder(pod_dir).join(RECORD)).ok()??;
    let Record { sandbox, privileged } = serde_json::from_slice(&json).ok()?;
    Some(PodSandbox { privileged, ..sandbox })
}

/// Puts in place what the daemon knows nothing of. Blocking.
pub(super) fn prepare(pod_dir: &Path, pod: &PodSandbox) -> Result<(), String> {
    write_record(pod_dir, pod)?;
    let name = &pod.hostname;
    let hosts = match (pod.hosts.is_empty(), pod.host_network) {
        (false, _) => pod.hosts.clone(),
        (true, true) => std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
        (true, false) => format!("127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.0.1\t{name}\n"),
    };
    let of_machine = || std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let resolver = pod.resolver.clone().unwrap_or_else(of_machine);
    for (file, text) in [(hosts_file(pod_dir), hosts), (resolver_file(pod_dir), resolver)] {
        public_file(&file, text.as_bytes())?;
    }
    pod.memory_volumes.iter().try_for_each(mount_memory)
}

/// The pod's hosts file.
pub(super) fn hosts_file(pod_dir: &Path) -> PathBuf {
    folder(pod_dir).join("hosts")
}

/// Its resolver's configuration.
pub(super) fn resolver_file(pod_dir: &Path) -> PathBuf {
    folder(pod_dir).join("resolv.conf")
}

/// A file that any user of a container may read. What is in it stays in it: it may be mounted already.
fn public_file(path: &Path, text: &[u8]) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    let told = |cause: std::io::Error| format!("write {}: {cause}", path.display());
    std::fs::write(path, text).map_err(told)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).map_err(told)
}

/// Mounts a volume in memory, on the machine: the daemon starts containers in its own view of it.
fn mount_memory(volume: &MemoryVolume) -> Result<(), String> {
    let MemoryVolume { path, bytes, mode, group } = volume;
    if mounts_below(path).iter().any(|mounted| mounted == path) {
        return Ok(());
    }
    let data = format!("size={bytes},mode={mode:o},gid={}", group.unwrap_or(0));
    let mounted = CString::new(data).map_err(|_| "a zero byte".to_owned()).and_then(|data| {
        rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::NODEV, data.as_c_str())
            .map_err(|source| source.to_string())
    });
    mounted.map_err(|cause| format!("mount a volume in memory at {}: {cause}", path.display()))
}

/// Unmounts all that is mounted in a pod's folder. Blocking.
pub(super) fn unmount_all(pod_dir: &Path) -> Result<(), String> {
    // The last one first: it may be in another one.
    for mounted in mounts_below(pod_dir).iter().rev() {
        rustix::mount::unmount(mounted, UnmountFlags::DETACH)
            .map_err(|source| format!("unmount {}: {source}", mounted.display()))?;
    }
    Ok(())
}

/// Removes a pod's cgroup from the hierarchies that nobody here uses, but daemons do: systemd's, and that of version 2 beside version
/// 1. Nothing is left in it.
pub(super) fn remove_foreign_cgroups(cgroup: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let of_cgroups = mounts.lines().filter(|line| line.contains(" - cgroup"));
    for point in of_cgroups.filter_map(|line| line.split(' ').nth(4)) {
        let below = cgroup.strip_prefix("/").unwrap_or(cgroup);
        std::fs::remove_dir(unescaped(point).join(below)).ok();
    }
}

/// Where something is mounted, at a path or below it, in the order in which it was.
fn mounts_below(path: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    places.filter(|place| place.starts_with(path)).collect()
}

/// The kernel writes blanks as octal numbers.
fn unescaped(text: &str) -> PathBuf {
    let mut plain = text.to_owned();
    for (written, meant) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(written, meant);
    }
    PathBuf::from(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_pod_shares_with_the_machine_what_it_asks_for_and_nothing_else() {
        let of = |pod: PodSandbox| {
            let cri::NamespaceOption { network, pid, ipc, .. } = namespaces(&pod);
            [network, pid, ipc].map(|mode| NamespaceMode::try_from(mode).unwrap())
        };
        use NamespaceMode::{Container, Node, Pod};
        assert_eq!(of(PodSandbox::default()), [Pod, Container, Pod]);
        assert_eq!(of(PodSandbox { host_network: true, ..PodSandbox::default() }), [Node, Container, Pod]);
        assert_eq!(of(PodSandbox { host_ipc: true, ..PodSandbox::default() }), [Pod, Container, Node]);
        let processes = |processes| PodSandbox { processes, ..PodSandbox::default() };
        assert_eq!(of(processes(Processes::Pod)), [Pod, Pod, Pod]);
        assert_eq!(of(processes(Processes::Machine)), [Pod, Node, Pod]);
    }

    #[test]
    fn what_a_pod_was_started_with_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_record(dir.path()), None);
        let pod = PodSandbox {
            uid: "u-1".into(),
            blob: b"kept".to_vec(),
            privileged: true,
            ..PodSandbox::default()
        };
        write_record(dir.path(), &pod).unwrap();
        assert_eq!(read_record(dir.path()), Some(pod));
    }

    #[test]
    fn the_ports_and_the_name_of_a_pod_are_its_own_and_the_machines_are_not() {
        let layout = Layout::new(Path::new("/data"));
        let named = |host_network| {
            let pod = PodSandbox { hostname: "web-1".into(), host_network, ..PodSandbox::default() };
            config(&pod, "w", &layout, String::new()).hostname
        };
        assert_eq!((named(false).as_str(), named(true).as_str()), ("web-1", ""));
        let sysctls = |pod: PodSandbox| {
            config(&pod, "w", &layout, String::new()).linux.unwrap().sysctls.get(UNPRIVILEGED_PORTS).cloned()
        };
        assert_eq!(sysctls(PodSandbox::default()).as_deref(), Some("0"));
        assert_eq!(sysctls(PodSandbox { host_network: true, ..PodSandbox::default() }), None);
        let asked = vec![(UNPRIVILEGED_PORTS.to_owned(), "1024".to_owned())];
        assert_eq!(sysctls(PodSandbox { sysctls: asked, ..PodSandbox::default() }).as_deref(), Some("1024"));
    }
}
