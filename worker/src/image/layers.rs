//! The layers of a store: each unpacked once, however many images have it.
//!
//! ```text
//! layered/l/<name>/f            its files; what it took away of those below is noted as the overlay wants it
//! layered/l/<name>/layer.json   which layer it is, and how big
//! ```
//!
//! What a layer's files are depends on the layers below it (whiteouts, links to their files, attributes of their
//! directories), so it is known by the OCI image specification's chain id: a hash of its own digest and of theirs.
//! A layer is put in place whole, after its files have reached the disk.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ImageError;
use super::archive::digest_text;

const RECORD: &str = "layer.json";
/// Digits of the chain id that name a layer: few, for the names of all layers of an image must fit into a mount's options. The
/// record has the whole id, so that two with the same begin are told apart.
const NAME_DIGITS: usize = 24;

/// A layer that is unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) chain_id: String,
    /// The bytes of its files, those included that it had to copy from below.
    pub(super) bytes: u64,
    /// Its entries.
    pub(super) inodes: u64,
}

/// The layers on disk.
#[derive(Clone, Debug)]
pub(super) struct Layers {
    dir: PathBuf,
}

/// The chain ids of an image's layers, by the digests of its uncompressed layers; the lowest first.
pub(super) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match ids.last() {
            None => diff_id.clone(),
            Some(below) => digest_text(Sha256::new_with_prefix(format!("{below} {diff_id}"))),
        };
        ids.push(id);
    }
    ids
}

/// The name of a layer's directory.
pub(super) fn name_of(chain_id: &str) -> String {
    let hex = chain_id.rsplit_once(':').map_or(chain_id, |(_, hex)| hex);
    hex.chars().take(NAME_DIGITS).collect()
}

impl Layers {
    pub(super) fn of(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The layer, if it is here.
    pub(super) fn find(&self, chain_id: &str) -> Result<Option<Record>, ImageError> {
        let name = name_of(chain_id);
        match self.record(&name)? {
            Some(record) if record.chain_id == chain_id => Ok(Some(record)),
            Some(record) => Err(ImageError::Malformed(format!(
                "layers {chain_id} and {} have the same name {name} here: remove the images with the other one first",
                record.chain_id
            ))),
            None => Ok(None),
        }
    }

    /// The layer of this name, if it is here.
    pub(super) fn record(&self, name: &str) -> Result<Option<Record>, ImageError> {
        let path = self.dir.join(name).join(RECORD);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ImageError::io(format!("read {}", path.display()))(source)),
        };
        let malformed = |source| ImageError::Malformed(format!("{}: {source}", path.display()));
        serde_json::from_slice(&bytes).map(Some).map_err(malformed)
    }

    /// Moves an unpacked layer to its place, with its record. Another process may have been first: then its layer counts.
    pub(super) fn put(&self, unpacked: &Path, record: &Record) -> Result<(), ImageError> {
        let failed = || ImageError::io("put a layer in place");
        let json = serde_json::to_vec(record)
            .map_err(|source| ImageError::Malformed(format!("describe a layer: {source}")))?;
        std::fs::write(unpacked.join(RECORD), json).map_err(failed())?;
        let dir = File::open(unpacked).map_err(failed())?;
        rustix::fs::syncfs(&dir).map_err(|source| failed()(source.into()))?;
        std::fs::create_dir_all(&self.dir).map_err(failed())?;
        let place = self.dir.join(name_of(&record.chain_id));
        match std::fs::rename(unpacked, &place) {
            Ok(()) => {}
            Err(_) if self.find(&record.chain_id)?.is_some() => return Ok(()),
            Err(source) => return Err(failed()(source)),
        }
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(failed())?;
        self.touch(&name_of(&record.chain_id));
        Ok(())
    }

    /// Notes that the layer is used now.
    pub(super) fn touch(&self, name: &str) {
        File::open(self.dir.join(name)).and_then(|dir| dir.set_modified(SystemTime::now())).ok();
    }

    /// Those that nobody refers to and that were not used within this time.
    pub(super) fn unused(&self, used: &BTreeSet<String>, within: Duration) -> Vec<String> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let idle = entries.filter(|entry| {
            let modified = entry.metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            // What is of a time to come was there before the clock was set back.
            modified.elapsed().map_or(true, |age| age >= within)
        });
        let names = idle.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| !used.contains(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_layer_is_another_one_upon_others() {
        let diff = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let ids = chain_ids(&[diff("a"), diff("b"), diff("b")]);
        assert_eq!(ids[0], diff("a"));
        // As the specification says: the hash of both, with a space between them.
        let second = digest_text(Sha256::new_with_prefix(format!("{} {}", diff("a"), diff("b"))));
        assert_eq!(ids[1], second);
        assert_ne!(ids[1], ids[2]);
        assert_eq!(chain_ids(&[diff("b"), diff("b")])[0], diff("b"));
        assert_ne!(chain_ids(&[diff("b"), diff("b")])[1], ids[2]);
    }

    #[test]
    fn layers_whose_names_are_the_same_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let layers = Layers::of(dir.path().join("l"));
        let id = |end: &str| format!("sha256:{}{end}", "a".repeat(63));
        let new = dir.path().join("new");
        std::fs::create_dir(&new).unwrap();
        let record = Record { chain_id: id("0"), bytes: 1, inodes: 1 };
        layers.put(&new, &record).unwrap();
        assert_eq!(layers.find(&id("0")).unwrap(), Some(record));
        assert!(layers.find(&id("1")).unwrap_err().to_string().contains("have the same name"));
    }
}
