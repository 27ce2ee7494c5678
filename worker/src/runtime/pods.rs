//! What runtimes keep of pods on disk, and who may change one.

use std::collections::HashMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::RuntimeError;

/// A uid names a folder, and is no longer than this.
const UID_MAX: usize = 128;

/// The folder below which each pod has one, by its uid.
#[derive(Clone, Debug)]
pub(super) struct PodsDir(PathBuf);

impl PodsDir {
    /// Below a worker's directory; made if it is not there.
    pub(super) fn open(data_dir: &Path) -> std::io::Result<Self> {
        let dir = data_dir.join("pods");
        std::fs::DirBuilder::new().recursive(true).mode(0o711).create(&dir)?;
        Ok(Self(dir.canonicalize()?))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// A pod's. The uid must be a plain name.
    pub(super) fn of(&self, pod_uid: &str) -> Result<PathBuf, RuntimeError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if pod_uid.is_empty() || pod_uid.len() > UID_MAX || !pod_uid.bytes().all(plain) {
            return Err(RuntimeError::Invalid(format!("pod uid \"{pod_uid}\" is not a plain name")));
        }
        Ok(self.0.join(pod_uid))
    }
}

/// One start or removal of a pod at a time; a second call for it waits and then finds what the first made.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Turns {
    /// The right to start or remove a pod.
    pub(super) fn of(&self, pod_uid: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|uid, turn| uid == pod_uid || Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(pod_uid.to_owned()).or_default())
    }
}
