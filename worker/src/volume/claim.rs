//! Volumes that outlive the pod: what a claim is bound to. Those of the cluster's own driver are folders below the worker's data directory,
//! each by its volume's name; no object names their path.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{check_host_path, files, ownership};
use crate::agent::layout::Layout;
use crate::pod::dependency::Dependencies;
use crate::pod::document::{ClaimSource, HostPath};
use crate::remove::remove_dir_all;

/// The driver of the cluster's own volumes.
const LOCAL_PATH: &str = "kontiki.io/local-path";

/// Where a claim leads to on this machine.
#[derive(Debug, PartialEq)]
pub(super) enum Place {
    /// A folder of the cluster's own driver.
    Own(PathBuf),
    /// A folder that must be there already.
    Local(PathBuf),
    /// As a pod's own hostPath.
    Host(HostPath),
}

impl Place {
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Place::Own(path) | Place::Local(path) => path.clone(),
            Place::Host(host) => PathBuf::from(&host.path),
        }
    }
}

/// Finds the place of a claim; an error says what it lacks. `folders`: where the cluster's own volumes lie.
pub(super) fn find(
    dependencies: &Dependencies,
    source: &ClaimSource,
    folders: &Path,
) -> Result<Place, String> {
    let name = &source.claim_name;
    let claim = dependencies
        .object("PersistentVolumeClaim", name)
        .ok_or_else(|| format!("persistentvolumeclaim \"{name}\" not found"))?;
    if let Some(owner) = &source.owner
        && !is_made_for(&claim["metadata"], owner)
    {
        return Err(format!("PVC {name} was not created for this pod (pod is not owner)"));
    }
    if !claim["metadata"]["deletionTimestamp"].is_null() {
        return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
    }
    let volume_name = claim["spec"]["volumeName"].as_str().unwrap_or_default();
    if claim["status"]["phase"] != "Bound" || volume_name.is_empty() {
        return Err(format!("persistentvolumeclaim \"{name}\" is not bound"));
    }
    let volume = dependencies
        .object("PersistentVolume", volume_name)
        .ok_or_else(|| format!("persistentvolume \"{volume_name}\" not found"))?;
    let spec = &volume["spec"];
    if spec["claimRef"]["uid"] != claim["metadata"]["uid"] {
        return Err(format!(
            "persistentvolume \"{volume_name}\" is not bound to persistentvolumeclaim \"{name}\""
        ));
    }
    if spec["volumeMode"] == "Block" {
        return Err("volumeMode Block is not supported on this worker: use Filesystem".to_owned());
    }
    place(volume_name, spec, folders)
}

/// Whether the pod with this uid is the managing owner.
fn is_made_for(metadata: &Value, uid: &str) -> bool {
    let mut owners = metadata["ownerReferences"].as_array().into_iter().flatten();
    owners.any(|owner| owner["controller"] == true && owner["uid"] == uid)
}

fn place(name: &str, spec: &Value, folders: &Path) -> Result<Place, String> {
    if spec["csi"]["driver"] == LOCAL_PATH {
        return folder(folders, name).map(Place::Own);
    }
    if let Some(path) = spec["local"]["path"].as_str() {
        return Ok(Place::Local(PathBuf::from(path)));
    }
    if let Ok(host) = serde_json::from_value::<HostPath>(spec["hostPath"].clone())
        && !host.path.is_empty()
    {
        return Ok(Place::Host(host));
    }
    Err(format!(
        "persistentvolume \"{name}\" is of a type that is not supported on this worker: use local, hostPath or {LOCAL_PATH}"
    ))
}

/// The group that a volume is given to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) group: u32,
    /// With all that is in it already.
    pub(super) all: bool,
    /// `OnRootMismatch`: only if its own folder is not the group's yet.
    pub(super) policy: &'a str,
}

impl Owner<'_> {
    fn take(self, folder: &Path) -> Result<(), String> {
        let Owner { group, all, policy } = self;
        if all && (policy != "OnRootMismatch" || !ownership::is_given(folder, group)) {
            ownership::give_below(folder, group)?;
        }
        // Last, so that nothing is passed over if this is broken off.
        files::give(folder, group)
    }
}

/// Puts it in place. Folders of the cluster's driver are made when they are used first.
pub(super) fn set_up(place: &Place, owner: Option<Owner<'_>>) -> Result<(), String> {
    match place {
        Place::Own(path) => {
            if let Some(folders) = path.parent() {
                files::folder(folders, 0o700)?;
            }
            // Containers of any user write to it.
            files::folder(path, 0o777)?;
            owner.map_or(Ok(()), |owner| owner.take(path))
        }
        Place::Local(path) if !path.is_absolute() || !path.is_dir() => {
            Err(format!("path \"{}\" does not exist", path.display()))
        }
        Place::Local(path) => owner.map_or(Ok(()), |owner| owner.take(path)),
        Place::Host(host) => check_host_path(host),
    }
}

/// The folder of one of the cluster's own volumes.
fn folder(folders: &Path, name: &str) -> Result<PathBuf, String> {
    if Layout::is_plain(name) {
        Ok(folders.join(name))
    } else {
        Err(format!("\"{name}\" cannot name a volume"))
    }
}

/// Removes the folder of one of the cluster's own volumes, if it is there. Blocking.
pub(crate) fn remove(folders: &Path, name: &str) -> Result<(), String> {
    let folder = folder(folders, name)?;
    match remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}
