//! Which of the pod's volumes a container sees, and where.

use std::path::{Path, PathBuf};

use super::files::check_path;
use super::{Places, claim};
use crate::pod::dependency::Dependencies;
use crate::pod::document::{Container, Pod};
use crate::pod::env::expand;
use crate::runtime::{Mount, SubPath};

/// The mounts of a container, in the order of the document. An error is the message of `CreateContainerConfigError`.
pub fn mounts(
    pod: &Pod,
    container: &Container,
    env: &[(String, String)],
    dependencies: &Dependencies,
    places: &Places,
) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::with_capacity(container.volume_mounts.len());
    for mount in &container.volume_mounts {
        let volume = pod.spec.volumes.iter().find(|volume| volume.name == mount.name);
        let volume = volume.ok_or_else(|| format!("volume \"{}\" of a volumeMount not found", mount.name))?;
        let source = match (&volume.host_path, &volume.persistent_volume_claim) {
            (Some(host), _) => PathBuf::from(&host.path),
            (None, Some(source)) => claim::find(dependencies, source, &places.lasting)?.path(),
            (None, None) => places.of(volume)?,
        };
        let value =
            |name: &str| env.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let sub_path = match mount.sub_path_expr.as_str() {
            "" => mount.sub_path.clone(),
            expression => expand(expression, value),
        };
        let sub_path = match sub_path.as_str() {
            "" => None,
            path => Some(SubPath {
                path: checked(path)?,
                make: volume.empty_dir.is_some()
                    || volume.host_path.is_some()
                    || volume.persistent_volume_claim.is_some(),
            }),
        };
        let files = volume.config_map.is_some()
            || volume.secret.is_some()
            || volume.downward_api.is_some()
            || volume.projected.is_some();
        let read_only = mount.read_only
            || files
            || volume.persistent_volume_claim.as_ref().is_some_and(|source| source.read_only);
        // Relative targets are below the root, as Kubernetes has them.
        let target = Path::new("/").join(&mount.mount_path);
        mounts.push(Mount { source, target, read_only, sub_path });
    }
    Ok(mounts)
}

fn checked(sub_path: &str) -> Result<PathBuf, String> {
    let path = sub_path.trim_end_matches('/');
    check_path(path).map_err(|_| format!("subPath \"{sub_path}\" must be relative and without \"..\""))?;
    Ok(PathBuf::from(path))
}
