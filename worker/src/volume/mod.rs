//! The volumes of a pod on this worker: emptyDir, configMap, secret, downwardAPI, projected, hostPath, and what its claims are bound to.
//!
//! ```text
//!   <pod>/volumes/<volume>/           what containers see
//!       ..data -> ..<n>/              swapped by one rename, so a reader sees the old files or the new ones
//!       key -> ..data/key
//! ```
//!
//! An emptyDir in memory is mounted over its folder by the pod's shim, for itself alone. Secrets, projected and downwardAPI
//! volumes lie in memory, as with the kubelet, where the worker has a place for that; else, and those that an earlier build
//! put there, below the worker's data directory in folders of mode 0700: whoever reads that as root reads them.
//! Not for: volumes that are not of this machine.

pub(crate) mod claim;
mod empty_dir;
mod files;
mod mounts;
mod ownership;
mod payload;
mod usage;

use std::fs;
use std::path::{Path, PathBuf};

use crate::pod::document::{HostPath, Volume};
use crate::pod::env::Sources;

pub use empty_dir::{disk_limits, exceeded, in_memory};
pub use mounts::mounts;
pub(crate) use usage::{Size, size};

/// Names the volumes by which pods reach the API, which the server adds to every pod.
const API_ACCESS: &str = "kube-api-access-";

/// Why a volume is not in place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {cause}")]
pub struct MountError {
    /// The volume's name.
    pub volume: String,
    /// What is wrong, in Kubernetes' words.
    pub cause: String,
}

/// Where a pod's volumes are put.
#[derive(Clone, Debug)]
pub struct Places {
    /// On disk.
    pub disk: PathBuf,
    /// In memory, if there is such a place, those that may hold secrets.
    pub memory: Option<PathBuf>,
    /// Those of the cluster's own driver, which outlive the pod.
    pub lasting: PathBuf,
}

impl Places {
    /// The folder of a volume. One that is on disk already stays there: its containers look for it there.
    fn of(&self, volume: &Volume) -> Result<PathBuf, String> {
        let disk = place(&self.disk, &volume.name)?;
        let secret = volume.secret.is_some() || volume.projected.is_some() || volume.downward_api.is_some();
        match &self.memory {
            Some(memory) if secret && !disk.exists() => place(memory, &volume.name),
            _ => Ok(disk),
        }
    }
}

/// Puts the files of all volumes in place, or brings them up to date. The first time, when nothing of the pod runs yet, what is in its
/// volumes already becomes its group's. Blocking.
pub fn mount(sources: Sources<'_>, places: &Places, first: bool) -> Result<(), MountError> {
    for dir in [&places.disk].into_iter().chain(&places.memory) {
        files::folder(dir, 0o700).map_err(|cause| MountError { volume: "*".to_owned(), cause })?;
    }
    // What every pod gets need not lie where nobody can see it.
    let unseen = |volume: &&Volume| sources.access.tokens.is_none() && volume.name.starts_with(API_ACCESS);
    for volume in sources.pod.spec.volumes.iter().filter(|volume| !unseen(volume)) {
        mount_one(sources, volume, places, first)
            .map_err(|cause| MountError { volume: volume.name.clone(), cause })?;
    }
    Ok(())
}

fn mount_one(sources: Sources<'_>, volume: &Volume, places: &Places, first: bool) -> Result<(), String> {
    let place = places.of(volume)?;
    // Who is not root cannot give files to a group, and runs no containers.
    let group = sources.pod.spec.security_context.fs_group.filter(|_| rustix::process::geteuid().is_root());
    if let Some(host) = &volume.host_path {
        return check_host_path(host);
    }
    if let Some(source) = &volume.persistent_volume_claim {
        let place = claim::find(sources.dependencies, source, &places.lasting)?;
        let context = &sources.pod.spec.security_context;
        let all = first && !source.read_only;
        let owner = group.map(|group| claim::Owner { group, all, policy: &context.fs_group_change_policy });
        return claim::set_up(&place, owner);
    }
    if let Some(payload) = payload::of(sources, volume)? {
        files::folder(&place, 0o755)?;
        return files::replace(&place, &payload, group);
    }
    if volume.empty_dir.is_some() || volume.other.is_empty() {
        if let Some(refusal) = volume.empty_dir.as_ref().and_then(empty_dir::refusal) {
            return Err(refusal);
        }
        // Containers of any user write to it.
        files::folder(&place, 0o777)?;
        return group.map_or(Ok(()), |group| files::give(&place, group));
    }
    let kind = volume.other.keys().next().map_or("unknown", String::as_str);
    Err(format!(
        "volumes of type {kind} are not supported on this worker: use emptyDir, configMap, secret, downwardAPI, projected, hostPath, ephemeral or persistentVolumeClaim"
    ))
}

fn place(dir: &Path, name: &str) -> Result<PathBuf, String> {
    let harmless = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    if harmless { Ok(dir.join(name)) } else { Err(format!("\"{name}\" is no name of a volume")) }
}

fn check_host_path(host: &HostPath) -> Result<(), String> {
    let path = Path::new(&host.path);
    if !path.is_absolute() {
        return Err(format!("hostPath {} is not absolute", host.path));
    }
    let failed = |error: std::io::Error| format!("hostPath {}: {error}", host.path);
    let wrong = |what: &str| Err(format!("hostPath type check failed: {} is not a {what}", host.path));
    match host.kind.as_str() {
        "DirectoryOrCreate" if !path.exists() => fs::create_dir_all(path).map_err(failed),
        "FileOrCreate" if !path.exists() => fs::File::create(path).map(drop).map_err(failed),
        "Directory" | "DirectoryOrCreate" if !path.is_dir() => wrong("directory"),
        "File" | "FileOrCreate" if !path.is_file() => wrong("file"),
        "" if !path.exists() => fs::create_dir_all(path).map_err(failed),
        "" | "Directory" | "DirectoryOrCreate" | "File" | "FileOrCreate" => Ok(()),
        other => Err(format!("hostPath type {other} is not supported on this worker")),
    }
}

#[cfg(test)]
mod tests;
