//! The runtime's description of a container (`config.json`), after the OCI runtime specification.

use std::path::Path;

use serde_json::{Value, json};

use super::Launch;

const SPEC_VERSION: &str = "1.0.2";
const DEFAULT_CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];
const MORE_CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "IPC_LOCK",
    "IPC_OWNER",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_ADMIN",
    "NET_BROADCAST",
    "PERFMON",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "SYSLOG",
    "WAKE_ALARM",
];
const MASKED: &[&str] = &[
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
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
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
    /// It sees the machine's shared memory.
    pub(super) host_ipc: bool,
}

/// Describes the container. The shim is already in the pod's network, ipc and uts namespaces: they are inherited.
pub(super) fn describe(launch: &Launch, places: &Places<'_>) -> Result<Value, String> {
    let spec = &launch.spec;
    let capabilities = capabilities(launch)?;
    let masked = if spec.privileged { &[][..] } else { MASKED };
    let read_only = if spec.privileged { &[][..] } else { READ_ONLY };
    // Without inheritable ones, a process that is not root has none unless its file grants them.
    let effective: &[String] = if launch.uid == 0 { &capabilities } else { &[] };
    let mut namespaces = vec![json!({ "type": "mount" })];
    namespaces.extend(places.pid_namespace.clone());
    Ok(json!({
        "ociVersion": SPEC_VERSION,
        "root": { "path": places.rootfs, "readonly": spec.read_only_root },
        "process": {
            "terminal": false,
            "user": { "uid": launch.uid, "gid": launch.gid, "additionalGids": launch.groups },
            "args": launch.args,
            "env": launch.env_pairs(),
            "cwd": launch.working_dir,
            "noNewPrivileges": spec.no_new_privileges,
            "capabilities": {
                "bounding": capabilities, "permitted": effective, "effective": effective,
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
    let asked = |target: &Path| launch.spec.mounts.iter().any(|mount| mount.target == target);
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
    mounts.extend(launch.spec.mounts.iter().map(|mount| bind(&mount.source, &mount.target, mount.read_only)));
    mounts
}

fn capabilities(launch: &Launch) -> Result<Vec<String>, String> {
    let spec = &launch.spec;
    let all = || DEFAULT_CAPABILITIES.iter().chain(MORE_CAPABILITIES).map(|name| (*name).to_owned());
    let plain = |name: &String| name.trim_start_matches("CAP_").to_uppercase();
    if spec.privileged {
        return Ok(all().map(|name| format!("CAP_{name}")).collect());
    }
    let dropped: Vec<String> = spec.drop_capabilities.iter().map(plain).collect();
    let added: Vec<String> = spec.add_capabilities.iter().map(plain).collect();
    if let Some(unknown) = added.iter().find(|name| *name != "ALL" && !all().any(|known| known == **name)) {
        return Err(format!("capability \"{unknown}\" does not exist"));
    }
    let base: Vec<String> = if added.iter().any(|name| name == "ALL") {
        all().collect()
    } else {
        DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect()
    };
    let drops = |name: &String| dropped.iter().any(|gone| gone == "ALL" || gone == name);
    let mut kept: Vec<String> = base.into_iter().filter(|name| !drops(name)).collect();
    // What is added by name stays even where all are dropped.
    kept.extend(added.into_iter().filter(|name| name != "ALL"));
    kept.sort();
    kept.dedup();
    Ok(kept.into_iter().map(|name| format!("CAP_{name}")).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::runtime::ContainerSpec;

    fn launch(spec: ContainerSpec) -> Launch {
        let (rootfs, args, env, working_dir) =
            (std::path::PathBuf::new(), Vec::new(), Vec::new(), "/".to_owned());
        Launch { spec, rootfs, args, env, working_dir, uid: 0, gid: 0, groups: Vec::new() }
    }

    fn of(add: &[&str], drop: &[&str]) -> Result<Vec<String>, String> {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        capabilities(&launch(ContainerSpec {
            add_capabilities: names(add),
            drop_capabilities: names(drop),
            ..ContainerSpec::default()
        }))
    }

    #[test]
    fn capabilities_are_added_to_and_taken_from_the_default_set() {
        assert_eq!(of(&[], &[]).unwrap().len(), DEFAULT_CAPABILITIES.len());
        assert_eq!(of(&["NET_ADMIN"], &["ALL"]).unwrap(), ["CAP_NET_ADMIN"]);
        assert!(!of(&[], &["CAP_NET_RAW"]).unwrap().contains(&"CAP_NET_RAW".to_owned()));
        assert!(of(&["ALL"], &[]).unwrap().contains(&"CAP_SYS_ADMIN".to_owned()));
        assert!(of(&["FLYING"], &[]).unwrap_err().contains("FLYING"));
    }

    #[test]
    fn a_mount_of_the_pod_replaces_the_file_that_every_container_gets() {
        let mount =
            crate::runtime::Mount { source: "/x".into(), target: "/etc/hosts".into(), read_only: true };
        let launch = launch(ContainerSpec { mounts: vec![mount], ..ContainerSpec::default() });
        let place = Path::new("/pod");
        let places = Places {
            rootfs: place,
            pod_dir: place,
            termination_message: place,
            cgroup: place,
            unified_cgroup: false,
            pid_namespace: None,
            host_ipc: false,
        };
        let mounts = mounts(&launch, &places);
        let hosts: Vec<&Value> = mounts.iter().filter(|mount| mount["destination"] == "/etc/hosts").collect();
        assert_eq!(hosts.len(), 1);
        assert_eq!(hosts[0]["source"], "/x");
    }
}
