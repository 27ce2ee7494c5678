//! The volumes of a pod on this worker: emptyDir, configMap, secret, downwardAPI, projected and hostPath.
//!
//! ```text
//!   <pod>/volumes/<volume>/           what containers see
//!       ..data -> ..<n>/              swapped by one rename, so a reader sees the old files or the new ones
//!       key -> ..data/key
//! ```
//!
//! Secrets lie in plain folders of mode 0700 below the worker's data directory: whoever reads that as root reads them.
//! Not for: volumes that outlive the pod, or that are not of this machine.

mod files;
mod mounts;
mod payload;

use std::fs;
use std::path::{Path, PathBuf};

use crate::pod::document::{HostPath, Volume};
use crate::pod::env::Sources;

pub use mounts::mounts;

/// Why a volume is not in place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {cause}")]
pub struct MountError {
    /// The volume's name.
    pub volume: String,
    /// What is wrong, in Kubernetes' words.
    pub cause: String,
}

/// Puts the files of all volumes in place, or brings them up to date. Blocking.
pub fn mount(sources: Sources<'_>, dir: &Path) -> Result<(), MountError> {
    files::folder(dir, 0o700).map_err(|cause| MountError { volume: "*".to_owned(), cause })?;
    for volume in &sources.pod.spec.volumes {
        mount_one(sources, volume, dir).map_err(|cause| MountError { volume: volume.name.clone(), cause })?;
    }
    Ok(())
}

fn mount_one(sources: Sources<'_>, volume: &Volume, dir: &Path) -> Result<(), String> {
    let place = place(dir, &volume.name)?;
    if let Some(host) = &volume.host_path {
        return check_host_path(host);
    }
    if let Some(payload) = payload::of(sources, volume)? {
        files::folder(&place, 0o755)?;
        return files::replace(&place, &payload);
    }
    if volume.empty_dir.is_some() || volume.other.is_empty() {
        // Containers of any user write to it.
        return files::folder(&place, 0o1777);
    }
    let kind = volume.other.keys().next().map_or("unknown", String::as_str);
    Err(format!(
        "volumes of type {kind} are not supported on this worker: use emptyDir, configMap, secret, downwardAPI, projected or hostPath"
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
