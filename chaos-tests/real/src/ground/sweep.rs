//! Removes what a run has taken of the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::bail;
use rustix::{
    mount::{UnmountFlags, unmount},
    process::{Pid, Signal, kill_process},
};

use super::{RUNS, cgroup_of, command, dir_of, netns_of, processes::of_run};

/// A killed process is gone by then, unless the kernel itself hangs.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
const CGROUPS: &str = "/sys/fs/cgroup";

/// Removes all runs whose harness is dead. Answers their ids.
pub fn sweep() -> anyhow::Result<Vec<String>> {
    let mut swept = Vec::new();
    for entry in fs::read_dir(std::env::temp_dir())?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(id) = run_id(&name).filter(|_| entry.path().is_dir()) else { continue };
        // A folder without its owner's name is younger than this sentence, or half removed already.
        let owner = fs::read_to_string(entry.path().join("owner")).unwrap_or_default();
        if super::alive(&owner) || (owner.is_empty() && is_young(&entry.path())) {
            continue;
        }
        eprintln!("removing what run {id} left when its harness died");
        remove(id)?;
        swept.push(id.to_owned());
    }
    Ok(swept)
}

/// The run whose folder has this name. Others may call their files nearly the same, and want to keep them.
fn run_id(name: &str) -> Option<&str> {
    name.strip_prefix(RUNS).filter(|id| id.len() == 8 && id.bytes().all(|letter| letter.is_ascii_hexdigit()))
}

fn is_young(path: &Path) -> bool {
    let age = fs::metadata(path).and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
    age.is_none_or(|age| age < PATIENCE)
}

/// Removes a run. What cannot be removed is an error that names it.
pub fn remove(id: &str) -> anyhow::Result<()> {
    let dir = dir_of(id);
    let end = Instant::now() + PATIENCE;
    // More than once: the threads of a killed process hold its mounts and cgroups for a moment longer than there is a process.
    let left = loop {
        take_away(id, &dir);
        let left = leftovers(id);
        if left.is_empty() || Instant::now() > end {
            break left;
        }
        std::thread::sleep(PAUSE);
    };
    if !left.is_empty() {
        bail!("run {id} left {}", left.join(", "));
    }
    match fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => bail!("{}: {error}", dir.display()),
        _ => Ok(()),
    }
}

/// Takes away as much of a run as can be taken now.
fn take_away(id: &str, dir: &Path) {
    // A process that writes to a frozen disk cannot even die.
    for (point, _) in mounts(dir) {
        let _ = command::run(&["fsfreeze", "-u", &point.to_string_lossy()]);
    }
    kill(id, dir);
    for (point, _) in mounts(dir).into_iter().rev() {
        if unmount(&point, UnmountFlags::empty()).is_err() {
            let _ = unmount(&point, UnmountFlags::DETACH);
        }
    }
    for device in loops(dir) {
        let _ = command::run(&["losetup", "-d", &device]);
    }
    for name in namespaces(id) {
        let _ = command::run(&["ip", "netns", "del", &name]);
    }
    for cgroup in cgroups(id) {
        let _ = fs::remove_dir(cgroup);
    }
}

/// What is still there of a run, besides its folder.
pub fn leftovers(id: &str) -> Vec<String> {
    let dir = dir_of(id);
    let processes = of_run(id, None).into_iter().map(|pid| format!("process {pid}"));
    let mounts = mounts(&dir).into_iter().map(|(point, _)| format!("mount {}", point.display()));
    let loops = loops(&dir).into_iter().map(|device| format!("loop device {device}"));
    let namespaces = namespaces(id).into_iter().map(|name| format!("namespace {name}"));
    let cgroups = cgroups(id).into_iter().map(|path| format!("cgroup {}", path.display()));
    processes.chain(mounts).chain(loops).chain(namespaces).chain(cgroups).collect()
}

/// Kills the run's processes, and those of containers whose shim is dead already.
fn kill(id: &str, dir: &Path) {
    let end = Instant::now() + PATIENCE;
    loop {
        let mut pids = of_run(id, None);
        for cgroup in pod_cgroups(dir) {
            let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        if pids.is_empty() || Instant::now() > end {
            break;
        }
        for pid in pids.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for cgroup in pod_cgroups(dir) {
        let _ = fs::remove_dir(cgroup);
    }
}

/// The cgroups of pods of the run's workers: `kontiki/<uid>` and what is below.
fn pod_cgroups(dir: &Path) -> Vec<PathBuf> {
    let hosts = fs::read_dir(dir).into_iter().flatten().flatten();
    let pods = hosts.flat_map(|host| fs::read_dir(host.path().join("pods")).into_iter().flatten().flatten());
    let uids: Vec<_> = pods.map(|pod| pod.file_name()).collect();
    let mut found = Vec::new();
    for hierarchy in fs::read_dir(CGROUPS).into_iter().flatten().flatten() {
        for uid in &uids {
            let pod = hierarchy.path().join("kontiki").join(uid);
            let below = fs::read_dir(&pod).into_iter().flatten().flatten();
            found.extend(below.filter(|e| e.path().is_dir()).map(|entry| entry.path()));
            found.extend(pod.is_dir().then_some(pod));
        }
    }
    found
}

/// Mount points below a folder, outer ones first, and what is mounted there.
fn mounts(dir: &Path) -> Vec<(PathBuf, String)> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        if let (Some(device), Some(point)) = (words.next(), words.next())
            && Path::new(point).starts_with(dir)
        {
            found.push((PathBuf::from(point), device.to_owned()));
        }
    }
    found
}

/// Loop devices whose files lie below a folder.
fn loops(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let file = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        if Path::new(file.trim()).starts_with(dir) {
            found.push(format!("/dev/{}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

fn namespaces(id: &str) -> Vec<String> {
    let names = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&netns_of(id, ""))).collect()
}

/// The run's cgroups, inner ones first.
fn cgroups(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in fs::read_dir(CGROUPS).into_iter().flatten().flatten() {
        let own = hierarchy.path().join(cgroup_of(id));
        let below = fs::read_dir(&own).into_iter().flatten().flatten();
        found.extend(below.filter(|entry| entry.path().is_dir()).map(|entry| entry.path()));
        found.extend(own.is_dir().then_some(own));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_runs_are_swept() {
        assert_eq!(run_id("kontiki-chaos-af9a1e1d"), Some("af9a1e1d"));
        for other in ["kontiki-chaos-notes", "kontiki-chaos-shrink-29086.jsonl", "kontiki-chaos-", "af9a1e1d"]
        {
            assert_eq!(run_id(other), None, "{other}");
        }
    }
}
