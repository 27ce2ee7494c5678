//! The runtime's description of a container (`config.json`), after the OCI runtime specification.

use std::path::Path;

use rustix::thread::CapabilitySet;
use serde_json::{Value, json};

use super::{Launch, seccomp};
use crate::runtime::capabilities::capabilities;
use crate::runtime::{ContainerSpec, Mount};

const SPEC_VERSION: &str = "1.0.2";
pub(crate) const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
pub(crate) const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const ADMIN: &str = "CAP_SYS_ADMIN";
const SETPCAP: &str = "CAP_SETPCAP";
const MKNOD: &str = "CAP_MKNOD";
const SHARED_MEMORY: &str = "/dev/shm";
const DEFAULT_MESSAGE_PATH: &str = "/dev/termination-log";

/// Where the parts of a container are on the worker.
pub(super) struct Places<'a> {
    pub(super) rootfs: &'a Path,
    pub(super) pod_dir: &'a Path,
    pub(super) termination_message: &'a Path,
    pub(super) cgroup: &'a Path,
    /// A single cgroup hierarchy is cheap to show to the container.
    pub(super) unified_cgroup: bool,
    /// Its process namespace, if it is not to be the shim's.
    pub(super) pid_namespace: Option<Value>,
    /// Something keeps it from the machine's devices, also from those that it makes files for.
    pub(super) bounds_devices: bool,
    /// It sees the machine's shared memory.
    pub(super) host_ipc: bool,
    /// What of the worker it sees, sub-paths found.
    pub(super) volumes: &'a [Mount],
}

/// Those of the capabilities that this machine gives: a worker may be confined itself, and the file of any device may be made only where
/// that opens none of the machine's. Who wants all of them gets all that there are, as with runc; what is wanted by name and is not there
/// is told.
fn at_hand(
    spec: &ContainerSpec,
    mut wanted: Vec<String>,
    bounds_devices: bool,
) -> Result<Vec<String>, String> {
    let plain = |name: &str| name.trim_start_matches("CAP_").to_uppercase();
    let is_there = |name: &str| {
        let known = CapabilitySet::from_name(&plain(name));
        known.is_none_or(|it| rustix::thread::capability_is_in_bounding_set(it).unwrap_or(true))
    };
    let named = if spec.privileged { &[][..] } else { &spec.add_capabilities };
    let makes_devices = spec.privileged || bounds_devices;
    if !makes_devices && named.iter().any(|name| format!("CAP_{}", plain(name)) == MKNOD) {
        return Err("this node bounds no devices, and so cannot give the capability \"MKNOD\"".to_owned());
    }
    if let Some(missing) = named.iter().find(|name| *name != "ALL" && !is_there(name)) {
        return Err(format!("this node has no capability \"{}\" to give", plain(missing)));
    }
    wanted.retain(|name| is_there(name) && (makes_devices || name != MKNOD));
    Ok(wanted)
}

/// Describes the container. The shim is already in the pod's network, ipc and uts namespaces: they are inherited.
pub(super) fn describe(launch: &Launch, places: &Places<'_>) -> Result<Value, String> {
    let spec = &launch.spec;
    let capabilities = at_hand(spec, capabilities(spec)?, places.bounds_devices)?;
    let masked = if spec.privileged { &[][..] } else { MASKED };
    let read_only = if spec.privileged { &[][..] } else { READ_ONLY };
    // Without inheritable ones, a process that is not root has none unless its file grants them.
    let mut effective = if launch.uid == 0 { capabilities.clone() } else { Vec::new() };
    let mut bounding = capabilities;
    if seccomp::needs_admin(spec) {
        // For the way to the program only: whoever installs the filters gives it away.
        bounding.extend(missing(&bounding, &[ADMIN]));
        effective.extend(missing(&effective, &[ADMIN, SETPCAP]));
    }
    let mut namespaces = vec![json!({ "type": "mount" })];
    namespaces.extend(places.pid_namespace.clone());
    Ok(json!({
        "ociVersion": SPEC_VERSION,
        "root": { "path": places.rootfs, "readonly": spec.read_only_root },
        "process": {
            "terminal": spec.tty,
            "user": { "uid": launch.uid, "gid": launch.gid, "additionalGids": launch.groups },
            "args": launch.args,
            "env": env(launch),
            "cwd": launch.working_dir,
            "noNewPrivileges": spec.no_new_privileges,
            "capabilities": {
                "bounding": bounding, "permitted": effective, "effective": effective,
                "inheritable": [], "ambient": [],
            },
        },
        "mounts": mounts(launch, places),
        "linux": {
            "cgroupsPath": places.cgroup,
            "namespaces": namespaces,
            "maskedPaths": masked,
            "readonlyPaths": read_only,
        },
    }))
}

fn env(launch: &Launch) -> Vec<String> {
    let mut env = launch.env_pairs();
    if launch.spec.tty && launch.env_value("TERM").is_none() {
        env.push(format!("TERM={}", super::terminal::TERM));
    }
    env
}

fn missing(there: &[String], wanted: &[&str]) -> Vec<String> {
    wanted.iter().filter(|name| !there.iter().any(|it| it == *name)).map(|name| (*name).to_owned()).collect()
}

fn mounts(launch: &Launch, places: &Places<'_>) -> Vec<Value> {
    let filesystem = |kind: &str, target: &str, options: &[&str]| json!({ "type": kind, "source": kind, "destination": target, "options": options });
    let bind = |source: &Path, target: &Path, read_only: bool| {
        let access = if read_only { "ro" } else { "rw" };
        json!({ "type": "bind", "source": source, "destination": target, "options": ["rbind", "rprivate", access] })
    };
    let system = if launch.spec.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        filesystem("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        filesystem("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        filesystem(
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        match places.host_ipc {
            true => bind(Path::new(SHARED_MEMORY), Path::new(SHARED_MEMORY), false),
            false => {
                filesystem("tmpfs", SHARED_MEMORY, &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"])
            }
        },
        filesystem("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        filesystem("sysfs", "/sys", &["nosuid", "noexec", "nodev", system]),
    ];
    if places.unified_cgroup {
        mounts.push(filesystem(
            "cgroup",
            "/sys/fs/cgroup",
            &["nosuid", "noexec", "nodev", "relatime", system],
        ));
    }
    let asked = |target: &Path| places.volumes.iter().any(|mount| mount.target == target);
    for name in ["hosts", "hostname", "resolv.conf"] {
        let target = Path::new("/etc").join(name);
        if !asked(&target) {
            mounts.push(bind(&places.pod_dir.join(name), &target, launch.spec.read_only_root));
        }
    }
    let message = match launch.spec.termination_message_path.as_str() {
        "" => DEFAULT_MESSAGE_PATH,
        path => path,
    };
    mounts.push(bind(places.termination_message, Path::new(message), false));
    mounts.extend(places.volumes.iter().map(|mount| bind(&mount.source, &mount.target, mount.read_only)));
    mounts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::runtime::ContainerSpec;

    fn launch(spec: ContainerSpec) -> Launch {
        let (rootfs, args, env, working_dir) =
            (crate::image::Root::Flat("".into()), Vec::new(), Vec::new(), "/".to_owned());
        Launch { spec, rootfs, args, env, working_dir, uid: 0, gid: 0, groups: Vec::new() }
    }

    fn places(volumes: &[Mount]) -> Places<'_> {
        let place = Path::new("/pod");
        Places {
            rootfs: place,
            pod_dir: place,
            termination_message: place,
            cgroup: place,
            unified_cgroup: false,
            pid_namespace: None,
            bounds_devices: true,
            host_ipc: false,
            volumes,
        }
    }

    #[test]
    fn a_mount_of_the_pod_replaces_the_file_that_every_container_gets() {
        let mount =
            Mount { source: "/x".into(), target: "/etc/hosts".into(), read_only: true, ..Default::default() };
        let mounts = mounts(&launch(ContainerSpec::default()), &places(&[mount]));
        let hosts: Vec<&Value> = mounts.iter().filter(|mount| mount["destination"] == "/etc/hosts").collect();
        assert_eq!(hosts.len(), 1);
        assert_eq!(hosts[0]["source"], "/x");
    }

    /// Whether a container may make files of devices, or why there is none.
    fn makes_devices(add: &[&str], privileged: bool, bounds_devices: bool) -> Result<bool, String> {
        let add_capabilities = add.iter().map(|name| (*name).to_owned()).collect();
        let launch = launch(ContainerSpec { add_capabilities, privileged, ..ContainerSpec::default() });
        let described = describe(&launch, &Places { bounds_devices, ..places(&[]) })?;
        let has = |set: &str| {
            let names = described["process"]["capabilities"][set].as_array();
            names.unwrap().iter().any(|name| name == MKNOD)
        };
        assert_eq!([has("effective"), has("permitted")], [has("bounding"); 2]);
        Ok(has("bounding"))
    }

    #[test]
    fn who_is_kept_from_no_device_makes_none() {
        assert_eq!(makes_devices(&[], false, false), Ok(false));
        assert_eq!(makes_devices(&["ALL"], false, false), Ok(false));
        let refused = "this node bounds no devices, and so cannot give the capability \"MKNOD\"".to_owned();
        for name in ["MKNOD", "CAP_MKNOD", "mknod"] {
            assert_eq!(makes_devices(&["ALL", name], false, false), Err(refused.clone()));
        }
        // Where this test has it to give.
        if rustix::thread::capability_is_in_bounding_set(CapabilitySet::MKNOD).unwrap() {
            assert_eq!(makes_devices(&[], false, true), Ok(true));
            assert_eq!(makes_devices(&["MKNOD"], false, true), Ok(true));
            assert_eq!(makes_devices(&[], true, false), Ok(true));
        }
    }
}
