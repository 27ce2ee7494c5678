//! From packed layers to an image's files: layers that are not here yet are unpacked, one upon the other.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::archive::Spooled;
use super::budget::Budget;
use super::layers::{Layers, Record, chain_ids, name_of};
use super::manifest::Manifest;
use super::name::normalise;
use super::root::FILES;
use super::store::{Image, LAYERED, Loading, Store, hex};
use super::unpack::Unpacker;
use super::usage::Turn;
use super::{ImageError, overlay};

/// In an image's directory: the names of its layers, which nobody removes while they stand there.
pub(super) const LIST: &str = "layers";
/// Locked by whoever unpacks that layer.
pub(super) const UNPACKING: &str = "unpacking-";
/// A layer that is being unpacked, in the directory of the load.
const LAYER: &str = "layer";

/// The layers that an image is to have.
pub(super) struct Reserved {
    /// None of an image in one directory, for which all of them are needed.
    ids: Vec<String>,
    layers: Layers,
}

impl Reserved {
    /// Whether this layer is here by now, the lowest being the first.
    pub(super) fn has(&self, index: usize) -> bool {
        self.ids.get(index).is_some_and(|id| matches!(self.layers.find(id), Ok(Some(_))))
    }
}

impl Store {
    /// Makes the directory of an image that is to come from these layers, and lists them in it, so that from now on nobody
    /// removes those that are here.
    pub(super) fn reserve(
        &self,
        loading: &Loading,
        digest: &str,
        diff_ids: &[String],
    ) -> Result<Reserved, ImageError> {
        let home = loading.home(digest);
        std::fs::create_dir_all(&home).map_err(ImageError::io("make the image's directory"))?;
        let known = self.read_index()?.images.remove(digest);
        let stays_flat = known.is_some_and(|image| image.chain.is_empty());
        if diff_ids.is_empty() || stays_flat || !self.has_layers()? {
            return Ok(Reserved { ids: Vec::new(), layers: self.layers() });
        }
        let ids = chain_ids(diff_ids);
        let names: Vec<String> = ids.iter().map(|id| name_of(id)).collect();
        let list = serde_json::to_vec(&names)
            .map_err(|source| ImageError::Malformed(format!("list the layers: {source}")))?;
        // Who removes layers has the lock from the reading of the lists on.
        let _lock = self.lock()?;
        std::fs::write(home.join(LIST), list).map_err(ImageError::io("list the layers"))?;
        Ok(Reserved { ids, layers: self.layers() })
    }

    /// Unpacks an image for which layers were reserved. Answers where, for it has still to be put in place.
    pub(super) fn unpack(
        &self,
        loading: &Loading,
        manifest: Manifest,
        file_name: &str,
    ) -> Result<(Image, PathBuf), ImageError> {
        let home = loading.home(&manifest.digest);
        let (chain, size_bytes) = match home.join(LIST).exists() {
            true => self.unpack_layers(loading, &manifest)?,
            false => (Vec::new(), self.unpack_flat(&home, &manifest)?),
        };
        let names = manifest.names.iter().map(|name| full_name(name, file_name)).collect();
        let (layers, config) = (manifest.config.rootfs.diff_ids, manifest.config.config);
        let digest = manifest.digest;
        Ok((Image { digest, names, config, layers, chain, size_bytes, repo_digests: Vec::new() }, home))
    }

    fn unpack_flat(&self, home: &Path, manifest: &Manifest) -> Result<u64, ImageError> {
        let rootfs = home.join("rootfs");
        make_root(&rootfs)?;
        let mut unpacker = Unpacker::new(&rootfs, self.limits(), Budget::new(self.limits()))?;
        for (packed, diff_id) in manifest.layers.iter().zip(&manifest.config.rootfs.diff_ids) {
            unpacker.apply(packed.as_ref().ok_or_else(|| missing(diff_id))?, diff_id)?;
        }
        Ok(unpacker.budget().bytes_taken())
    }

    fn unpack_layers(
        &self,
        loading: &Loading,
        manifest: &Manifest,
    ) -> Result<(Vec<String>, u64), ImageError> {
        let diff_ids = &manifest.config.rootfs.diff_ids;
        let mut budget = Budget::new(self.limits());
        let mut chain = Vec::with_capacity(diff_ids.len());
        for ((id, diff_id), packed) in chain_ids(diff_ids).iter().zip(diff_ids).zip(&manifest.layers) {
            let layer = self.layer(loading, &chain, id, diff_id, packed.as_ref(), budget)?;
            budget.take_layer(layer.bytes, layer.inodes)?;
            chain.push(name_of(id));
        }
        Ok((chain, budget.bytes_taken()))
    }

    /// The layer upon those `below`: as it is here, or unpacked now, once whoever else does that is through.
    fn layer(
        &self,
        loading: &Loading,
        below: &[String],
        chain_id: &str,
        diff_id: &str,
        packed: Option<&Spooled>,
        budget: Budget,
    ) -> Result<Record, ImageError> {
        let (layers, name) = (self.layers(), name_of(chain_id));
        let turn = self.dir().join(LAYERED).join(format!("{UNPACKING}{name}"));
        let _turn = Turn::take(&turn).map_err(ImageError::io("wait for another one to unpack a layer"))?;
        if let Some(layer) = layers.find(chain_id)? {
            layers.touch(&name);
            return Ok(layer);
        }
        let packed = packed.ok_or_else(|| missing(diff_id))?;
        let place = loading.dir().join(LAYER);
        let files = place.join(FILES);
        make_root(&files)?;
        let limits = self.limits();
        let apply = |unpacker: Result<Unpacker, ImageError>| {
            let mut unpacker = unpacker?;
            unpacker.apply(packed, diff_id)?;
            Ok(unpacker.budget())
        };
        let after = match below.last() {
            None => apply(Unpacker::new(&files, limits, budget))?,
            Some(last) => {
                look_like(&files, &layers.dir().join(last).join(FILES))
                    .map_err(ImageError::io("make a layer's root directory"))?;
                let from_layers = Path::new("../..").join(loading.name()).join(LAYER);
                overlay::upon(layers.dir(), below, &from_layers, |merged| {
                    apply(Unpacker::upon(merged, limits, budget))
                })?
            }
        };
        let layer = Record {
            chain_id: chain_id.to_owned(),
            bytes: after.bytes_taken() - budget.bytes_taken(),
            inodes: after.inodes_taken() - budget.inodes_taken(),
        };
        layers.put(&place, &layer)?;
        Ok(layer)
    }
}

fn missing(diff_id: &str) -> ImageError {
    ImageError::Malformed(format!("layer {diff_id} is not here any more: pull the image again"))
}

fn make_root(dir: &Path) -> Result<(), ImageError> {
    let what = || ImageError::io("make the root directory");
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(what())?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).map_err(what())
}

/// The root directory of the uppermost layer is what is seen of all of them.
pub(super) fn look_like(dir: &Path, below: &Path) -> std::io::Result<()> {
    let below = std::fs::metadata(below)?;
    std::os::unix::fs::chown(dir, Some(below.uid()), Some(below.gid()))?;
    std::fs::set_permissions(dir, below.permissions())
}

/// Archives without a full name hold only a tag: the file's name stands in for the image's.
fn full_name(name: &str, file_name: &str) -> String {
    let bare_tag = !name.contains(['/', ':', '@'])
        && (name == "latest" || name.starts_with(|c: char| c.is_ascii_digit()));
    if bare_tag { normalise(&format!("{file_name}:{name}")) } else { normalise(name) }
}

/// The directory of an image that is being loaded, and what else such a load has.
impl Loading {
    fn home(&self, digest: &str) -> PathBuf {
        self.dir().join(hex(digest))
    }
}
