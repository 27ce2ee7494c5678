//! Which images a store has, and the names that lead to them: two files, each replaced whole.
//!
//! Images in layers are in a file of their own, for builds before layers know nothing of them: such a build finds what it
//! unpacked itself, and pulls the others again.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ImageError;
use super::store::{Image, LAYERED};

const FILE: &str = "index.json";
const VERSION: u32 = 1;

/// Every image, by its digest.
#[derive(Default)]
pub(super) struct Index {
    pub(super) images: BTreeMap<String, Image>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    images: BTreeMap<String, Image>,
}

impl Index {
    /// Reads that of the store in a directory. One that has none is empty.
    pub(super) fn read(dir: &Path) -> Result<Self, ImageError> {
        let [flat, layered] = files(dir);
        let mut images = read(&flat)?;
        for (digest, mut image) in read(&layered)? {
            // The process may have ended between the two files: the image in layers counts, and its names.
            for other in images.values_mut() {
                other.names.retain(|name| !image.names.contains(name));
                other.repo_digests.retain(|name| !image.repo_digests.contains(name));
            }
            if let Some(flat) = images.remove(&digest) {
                image.names.extend(flat.names);
                image.repo_digests.extend(flat.repo_digests);
                image.names.sort();
                image.repo_digests.sort();
            }
            images.insert(digest, image);
        }
        Ok(Self { images })
    }

    /// Replaces that of the store in a directory, which is locked.
    pub(super) fn write(&self, dir: &Path) -> Result<(), ImageError> {
        let [flat, layered] = files(dir);
        for (path, in_layers) in [(layered, true), (flat, false)] {
            let images = self.images.iter().filter(|(_, image)| image.chain.is_empty() != in_layers);
            let images: BTreeMap<String, Image> =
                images.map(|(key, image)| (key.clone(), image.clone())).collect();
            if images.is_empty() && !path.exists() {
                continue;
            }
            write(&path, Document { version: VERSION, images })?;
        }
        Ok(())
    }

    /// A name leads to one image: the last that was given it.
    pub(super) fn put(&mut self, mut image: Image) -> Image {
        for names in [&mut image.names, &mut image.repo_digests] {
            names.sort();
            names.dedup();
        }
        for other in self.images.values_mut().filter(|other| other.digest != image.digest) {
            other.names.retain(|name| !image.names.contains(name));
            other.repo_digests.retain(|name| !image.repo_digests.contains(name));
        }
        self.images.insert(image.digest.clone(), image.clone());
        image
    }
}

fn files(dir: &Path) -> [PathBuf; 2] {
    [dir.join(FILE), dir.join(LAYERED).join(FILE)]
}

fn read(path: &Path) -> Result<BTreeMap<String, Image>, ImageError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(ImageError::io(format!("read {}", path.display()))(source)),
    };
    let document: Document = serde_json::from_slice(&bytes)
        .map_err(|source| ImageError::Malformed(format!("{}: {source}", path.display())))?;
    if document.version != VERSION {
        return Err(ImageError::Malformed(format!("{} has version {}", path.display(), document.version)));
    }
    Ok(document.images)
}

fn write(path: &Path, document: Document) -> Result<(), ImageError> {
    let bytes = serde_json::to_vec_pretty(&document)
        .map_err(|source| ImageError::Malformed(format!("write the image index: {source}")))?;
    let what = "write the image index";
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let next = path.with_extension("json.new");
    std::fs::write(&next, bytes).map_err(ImageError::io(what))?;
    File::open(&next).and_then(|file| file.sync_all()).map_err(ImageError::io(what))?;
    std::fs::rename(&next, path).map_err(ImageError::io(what))?;
    match path.parent() {
        Some(dir) => File::open(dir).and_then(|dir| dir.sync_all()).map_err(ImageError::io(what)),
        None => Ok(()),
    }
}
