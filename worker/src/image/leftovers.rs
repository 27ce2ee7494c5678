//! What belongs to no image: layers of images that went, and what pulls left that did not come to their end.
//!
//! Which layers are needed is read from the images themselves, each time: from the index, and from the lists in the
//! directories of images and of loads. Nobody counts.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use super::ImageError;
use super::store::{Image, LAYERED, LOADING, Store};
use super::unpacking::LIST;

/// So long stays what a pull left, if room is not needed: pulls of pods are tried again every five minutes.
pub(super) const KEPT: Duration = Duration::from_secs(3600);

/// What the images of a store take, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// All images, what several have counted once.
    pub images: u64,
    /// Layers that are of no image, and packed ones that are on their way.
    pub leftovers: u64,
}

impl Store {
    /// Removes those of these layers that are not needed any more. Answers how many bytes they were. The store is locked.
    pub(super) fn release(&self, layers: impl IntoIterator<Item = String>) -> Result<u64, ImageError> {
        let layers: BTreeSet<String> = layers.into_iter().collect();
        if layers.is_empty() {
            return Ok(0);
        }
        let needed = self.needed()?;
        self.remove_layers(layers.difference(&needed))
    }

    /// Removes layers that are of no image, and packed ones that nobody is fetching, if nobody used them within this time.
    /// Answers how many bytes they were. The store is locked.
    pub(super) fn clear_leftovers(&self, within: Duration) -> Result<u64, ImageError> {
        let packed = self.blobs().clear(within);
        let unused = self.layers().unused(&self.needed()?, within);
        Ok(packed.saturating_add(self.remove_layers(&unused)?))
    }

    /// What the images take, each layer counted once.
    pub fn taken(&self) -> Result<Taken, ImageError> {
        let (images, all) = (self.list(), self.layers().unused(&BTreeSet::new(), Duration::ZERO));
        let flat = images.iter().filter(|image| image.chain.is_empty()).map(|image| image.size_bytes).sum();
        let of_images: BTreeSet<&String> = images.iter().flat_map(|image| &image.chain).collect();
        let mut taken = Taken { images: flat, leftovers: self.blobs().bytes() };
        for name in &all {
            let bytes = self.layers().record(name)?.map_or(0, |layer| layer.bytes);
            let sum = if of_images.contains(name) { &mut taken.images } else { &mut taken.leftovers };
            *sum = sum.saturating_add(bytes);
        }
        Ok(taken)
    }

    /// What would be free without this image: what no other one has.
    pub fn own_bytes(&self, image: &Image) -> u64 {
        if image.chain.is_empty() {
            return image.size_bytes;
        }
        let others = self.list().into_iter().filter(|other| other.digest != image.digest);
        let others: BTreeSet<String> = others.flat_map(|other| other.chain).collect();
        let own = image.chain.iter().filter(|name| !others.contains(*name));
        own.filter_map(|name| Some(self.layers().record(name).ok()??.bytes)).sum()
    }

    fn remove_layers<'a>(&self, names: impl IntoIterator<Item = &'a String>) -> Result<u64, ImageError> {
        let mut freed = 0_u64;
        for name in names {
            let bytes = self.layers().record(name).ok().flatten().map_or(0, |layer| layer.bytes);
            let place = self.layers().dir().join(name);
            if place.exists() {
                self.bury(&place)?;
                freed = freed.saturating_add(bytes);
            }
        }
        Ok(freed)
    }

    /// The names of all layers that images and loads need. An error if that cannot be known: then none may go.
    fn needed(&self) -> Result<BTreeSet<String>, ImageError> {
        let images = self.read_index()?.images;
        let mut needed: BTreeSet<String> = images.into_values().flat_map(|image| image.chain).collect();
        // A container may run on an image that the index has lost.
        listed_below(&self.dir().join(LAYERED), &mut needed)?;
        for entry in std::fs::read_dir(self.dir()).map_err(ImageError::io("list the image store"))? {
            let entry = entry.map_err(ImageError::io("list the image store"))?;
            if entry.file_name().to_string_lossy().starts_with(LOADING) {
                listed_below(&entry.path(), &mut needed)?;
            }
        }
        Ok(needed)
    }
}

/// Adds the layers that the directories in this one list. What is removed meanwhile needs nothing.
fn listed_below(dir: &Path, needed: &mut BTreeSet<String>) -> Result<(), ImageError> {
    let failed = || ImageError::io(format!("list {}", dir.display()));
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(source) if is_gone(&source) => return Ok(()),
        Err(source) => return Err(failed()(source)),
    };
    for entry in entries {
        let path = entry.map_err(failed())?.path().join(LIST);
        let list = match std::fs::read(&path) {
            Ok(list) => list,
            Err(source) if is_gone(&source) => continue,
            Err(source) => return Err(ImageError::io(format!("read {}", path.display()))(source)),
        };
        let names: Vec<String> = serde_json::from_slice(&list)
            .map_err(|source| ImageError::Malformed(format!("{}: {source}", path.display())))?;
        needed.extend(names);
    }
    Ok(())
}

fn is_gone(error: &std::io::Error) -> bool {
    [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind())
}
