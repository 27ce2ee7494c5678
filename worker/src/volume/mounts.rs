//! Which of the pod's volumes a container sees, and where.

use std::fs;
use std::path::{Path, PathBuf};

use super::files::{check_path, folder};
use crate::pod::document::{Container, Pod};
use crate::pod::env::expand;
use crate::runtime::Mount;

/// The mounts of a container, in the order of the document. An error is the message of `CreateContainerConfigError`.
/// Blocking.
pub fn mounts(
    pod: &Pod,
    container: &Container,
    env: &[(String, String)],
    dir: &Path,
) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::with_capacity(container.volume_mounts.len());
    for mount in &container.volume_mounts {
        let volume = pod.spec.volumes.iter().find(|volume| volume.name == mount.name);
        let volume = volume.ok_or_else(|| format!("volume \"{}\" of a volumeMount not found", mount.name))?;
        let base = match &volume.host_path {
            Some(host) => PathBuf::from(&host.path),
            None => super::place(dir, &volume.name)?,
        };
        let value =
            |name: &str| env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let sub_path = match mount.sub_path_expr.as_str() {
            "" => mount.sub_path.clone(),
            expression => expand(expression, value),
        };
        let source = if sub_path.is_empty() {
            base
        } else {
            within(&base, &sub_path, volume.empty_dir.is_some() || volume.host_path.is_some())?
        };
        let files = volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.downward_api.is_some()
            || volume.projected.is_some();
        // Relative targets are below the root, as Kubernetes has them.
        let target = Path::new("/").join(&mount.mount_path);
        mounts.push(Mount { source, target, read_only: mount.read_only || files });
    }
    Ok(mounts)
}

/// A place below `base`, through the links on the way but never out of it.
fn within(base: &Path, sub_path: &str, create: bool) -> Result<PathBuf, String> {
    check_path(sub_path)
        .map_err(|_| format!("subPath \"{sub_path}\" must be relative and without \"..\""))?;
    let failed =
        |error: std::io::Error| format!("failed to prepare subPath for volumeMount \"{sub_path}\": {error}");
    let base = fs::canonicalize(base).map_err(failed)?;
    // One step at a time: what is created is created inside, never behind a link that leads out.
    let mut place = base.clone();
    for part in Path::new(sub_path).components() {
        let next = place.join(part);
        if create && fs::symlink_metadata(&next).is_err() {
            folder(&next, 0o755)?;
        }
        place = fs::canonicalize(&next).map_err(failed)?;
        if !place.starts_with(&base) {
            return Err(format!("subPath \"{sub_path}\" leads out of its volume"));
        }
    }
    Ok(place)
}
