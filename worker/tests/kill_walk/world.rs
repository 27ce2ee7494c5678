//! What of a machine belongs to a worker: processes, mounts, cgroups, files, ports. What is there before a pod is there after it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::FlockOperation;

use super::agent::Home;
use super::pods::MARK;

/// Names each thing that is there.
pub type World = BTreeSet<String>;

/// What a directory of an image is called: digits of its digest.
const DIGEST_LENGTH: usize = 64;

/// Looks around. `uid` names the pod that is looked for, `agent` the process that may be there, `port` what nobody may listen on.
pub fn look(home: &Home, uid: &str, agent: Option<u32>, port: u16) -> World {
    let mut world = World::new();
    files(&home.data, &home.data, &mut world);
    files(&home.memory, &home.memory, &mut world);
    cgroups(&home.cgroup_parent, &mut world);
    processes(home, uid, agent, &mut world);
    mounts(home, &mut world);
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // 0A: it listens.
        let listens = |line: &&str| line.contains(&format!(":{port:04X} ")) && line.contains(" 0A ");
        let table = fs::read_to_string(table).unwrap_or_default();
        world.extend(table.lines().filter(listens).map(|line| format!("port {line}")));
    }
    world
}

fn files(root: &Path, dir: &Path, world: &mut World) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        // The session's memory.
        if dir == root.join("agent") && path.is_file() {
            continue;
        }
        world.insert(format!("file {}", path.display()));
        let name = entry.file_name();
        // Files of an image are the image's; what counts is whether somebody still uses it.
        let image = (dir == root.join("images") && name.len() == DIGEST_LENGTH)
            || dir == root.join("images/layered/l");
        if (image || name.len() == DIGEST_LENGTH) && is_locked(&path) {
            world.insert(format!("use of {}", path.display()));
        }
        if !image && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(root, &path, world);
        }
    }
}

fn is_locked(dir: &Path) -> bool {
    let lock = FlockOperation::NonBlockingLockExclusive;
    fs::File::open(dir).is_ok_and(|dir| rustix::fs::flock(dir, lock).is_err())
}

fn cgroups(parent: &str, world: &mut World) {
    let hierarchies =
        fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    for root in hierarchies.chain(["/sys/fs/cgroup".into()]) {
        let mut dirs = vec![root.join(parent.trim_start_matches('/'))];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    world.insert(format!("cgroup {}", entry.path().display()));
                    dirs.push(entry.path());
                }
            }
        }
    }
}

/// The numbers of all processes.
pub fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A process' words, separated by spaces.
pub fn words(pid: u32, file: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// Its state's letter and its parent.
pub fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn processes(home: &Home, uid: &str, agent: Option<u32>, world: &mut World) {
    let data = home.data.to_string_lossy();
    let mark = format!("{MARK}={uid}/");
    for pid in pids().into_iter().filter(|pid| Some(*pid) != agent && *pid != std::process::id()) {
        let Some((state, parent)) = stat(pid) else { continue };
        // What its parent has not heard of yet is its own business, unless that is the agent.
        if matches!(state, 'Z' | 'X') {
            if agent.is_some_and(|agent| agent == parent) {
                world.insert(format!("zombie {pid} {}", words(pid, "comm")));
            }
            continue;
        }
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let command = words(pid, "cmdline");
        let environment = words(pid, "environ");
        let of_agent =
            environment.contains(&format!("{}=", super::agent::HOME)) && environment.contains(&*data);
        if cgroup.contains(&home.cgroup_parent)
            || command.contains(&*data)
            || environment.contains(&mark)
            || of_agent
        {
            let comm = words(pid, "comm");
            world.insert(format!("process {pid} ({}, child of {parent}) {command}", comm.trim()));
        }
    }
}

/// Mounts in all namespaces that a process is in.
fn mounts(home: &Home, world: &mut World) {
    let mut seen = BTreeSet::new();
    for pid in pids() {
        let Ok(namespace) = fs::metadata(format!("/proc/{pid}/ns/mnt")) else { continue };
        if !seen.insert(namespace.ino()) {
            continue;
        }
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default();
        for line in mounts.lines() {
            let ours =
                [&home.data, &home.memory].into_iter().any(|dir| line.contains(&*dir.to_string_lossy()));
            if ours {
                world.insert(format!(
                    "mount in {}: {}",
                    namespace.ino(),
                    line.split_once(' ').unwrap_or_default().1
                ));
            }
        }
    }
}

/// What a process has open, by what kind of thing it is.
pub fn descriptors(pid: u32) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut counts = std::collections::BTreeMap::<String, u32>::new();
    for target in entries.filter_map(|entry| fs::read_link(entry.path()).ok()) {
        let target = target.to_string_lossy().into_owned();
        // One program of the shims is kept for all pods.
        if target.starts_with("/memfd:") {
            continue;
        }
        let kind = if target.starts_with('/') {
            target
        } else {
            target.split('[').next().unwrap_or_default().to_owned()
        };
        *counts.entry(kind).or_default() += 1;
    }
    counts
        .into_iter()
        .flat_map(|(kind, count)| (1..=count).map(move |nth| format!("descriptor {kind} {nth}")))
        .collect()
}
