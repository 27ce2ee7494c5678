//! What the containers of a pod share: the shim enters the pod's network, ipc and uts namespaces itself, so that its
//! children are born in them, and a mount namespace, so that their mounts vanish with it. Of the processes' namespace it
//! stays out.

use std::ffi::CString;
use std::path::Path;

use nix::sched::CloneFlags;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::cgroup::Cgroups;
use super::loopback;
use super::processes::Namespace;
use super::state::{Setup, replace};
use crate::runtime::{MemoryVolume, RuntimeClass};

const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// The sandbox that this process is in.
#[derive(Debug, Default)]
pub(super) struct Sandbox {
    pub(super) cgroups: Cgroups,
    /// The process namespaces of its containers.
    pub(super) processes: Namespace,
    /// It uses the machine's IPC.
    pub(super) host_ipc: bool,
    /// What it cannot give, told with every container.
    pub(super) warnings: Vec<String>,
}

/// Enters the pod's sandbox.
pub(super) fn enter(dir: &Path, setup: &Setup) -> Result<Sandbox, String> {
    if setup.sandbox.class == RuntimeClass::Host {
        return Ok(Sandbox::default());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(
            "containers need root: run the worker as root, or the pod with runtimeClassName: host".to_owned()
        );
    }
    let mut namespaces = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
    if !setup.sandbox.host_network {
        namespaces |= CloneFlags::CLONE_NEWNET;
    }
    if !setup.sandbox.host_ipc {
        namespaces |= CloneFlags::CLONE_NEWIPC;
    }
    nix::sched::unshare(namespaces).map_err(|source| format!("make the pod's namespaces: {source}"))?;
    // Mounts of the worker still arrive here (volumes made later); none of the pod's go there.
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|source| format!("detach the pod's mounts: {source}"))?;
    rustix::system::sethostname(setup.sandbox.hostname.as_bytes())
        .map_err(|source| format!("set the host name \"{}\": {source}", setup.sandbox.hostname))?;
    if !setup.sandbox.host_network {
        loopback::bring_up().map_err(|source| format!("bring up the pod's loopback: {source}"))?;
        // A pod's ports are its own: an unprivileged process may listen on 80. Old kernels lack the setting.
        std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").ok();
    }
    for (name, value) in &setup.sandbox.sysctls {
        set_sysctl(name, value)?;
    }
    for volume in &setup.sandbox.memory_volumes {
        mount_memory(volume)?;
    }
    write_files(dir, setup)?;

    let processes = Namespace::make(setup.sandbox.processes)?;
    let mut sandbox = Sandbox { processes, host_ipc: setup.sandbox.host_ipc, ..Sandbox::default() };
    match Cgroups::detect().and_then(|cgroups| cgroups.make(&setup.pod_cgroup()).map(|()| cgroups)) {
        Ok(cgroups) => {
            let limited = setup.pids_limit.map(|pids| cgroups.limit_pids(&setup.pod_cgroup(), pids));
            if let Some(Err(cause)) = limited {
                sandbox.warnings.push(format!("the number of the pod's processes is not limited: {cause}"));
            }
            sandbox.cgroups = cgroups;
        }
        Err(cause) => {
            sandbox.warnings.push(format!("no cgroups ({cause}): containers run without limits"));
            hide_cgroups()?;
        }
    }
    Ok(sandbox)
}

/// Mounts a volume in memory where the containers look for it. The machine does not see it, and it ends with the shim.
fn mount_memory(volume: &MemoryVolume) -> Result<(), String> {
    let MemoryVolume { path, bytes, mode, group } = volume;
    let data = format!("size={bytes},mode={mode:o},gid={}", group.unwrap_or(0));
    let mounted = CString::new(data).map_err(|_| "a zero byte".to_owned()).and_then(|data| {
        rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::NODEV, data.as_c_str())
            .map_err(|e| e.to_string())
    });
    mounted.map_err(|cause| format!("mount a volume in memory at {}: {cause}", path.display()))
}

/// Sets what is of the pod's own namespaces: `/proc/sys` shows those of whoever looks.
fn set_sysctl(name: &str, value: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if !name.bytes().all(plain) || name.split('.').any(str::is_empty) {
        return Err(format!("\"{name}\" is no name of a sysctl"));
    }
    std::fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value)
        .map_err(|source| format!("set sysctl {name} to \"{value}\": {source}"))
}

/// libcontainer insists on the hierarchies that it finds. Those that cannot be used must not be found.
fn hide_cgroups() -> Result<(), String> {
    rustix::mount::unmount(CGROUP_ROOT, UnmountFlags::DETACH).ok();
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("tmpfs", CGROUP_ROOT, "tmpfs", flags, c"size=4k,mode=555")
        .map_err(|source| format!("hide {CGROUP_ROOT}: {source}"))
}

fn write_files(dir: &Path, setup: &Setup) -> Result<(), String> {
    let name = &setup.sandbox.hostname;
    replace(&dir.join("hostname"), format!("{name}\n").as_bytes())?;
    let hosts = if !setup.sandbox.hosts.is_empty() {
        setup.sandbox.hosts.clone()
    } else if setup.sandbox.host_network {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.0.1\t{name}\n")
    };
    replace(&dir.join("hosts"), hosts.as_bytes())?;
    let of_machine = || std::fs::read("/etc/resolv.conf").unwrap_or_default();
    let resolver = setup.sandbox.resolver.clone().map_or_else(of_machine, String::into_bytes);
    replace(&dir.join("resolv.conf"), &resolver)
}
