//! Making room: images that nobody uses go, those first that were not used for longest.
//!
//! When an image was used last is the modification time of its directory: every process that shares the store sees it,
//! and it outlives them all.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::ImageError;
use super::leftovers::KEPT;
use super::store::{Image, Store};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The images.
    pub images: Vec<Image>,
    /// What is free by that, in bytes: layers that others still need are not among it, what belonged to no image is.
    pub bytes: u64,
}

impl Store {
    /// Notes of every image that somebody holds now that it is in use, so that its time counts from when it is let go.
    pub fn note_use(&self) -> Result<(), ImageError> {
        for image in self.list() {
            if self.claim(&image)?.is_none() {
                self.touch(&image);
            }
        }
        Ok(())
    }

    /// Removes images that no container uses, the longest unused first, until so many bytes are free or no image is left
    /// that was unused for so long. What belongs to no image goes before them, and after a while also if room is not needed.
    /// Answers what went. What was loaded from an archive stays as long as it has a name: no registry brings it back.
    pub fn collect(&self, bytes: u64, unused_for: Duration) -> Result<Collected, ImageError> {
        let kept = if bytes > 0 { Duration::ZERO } else { KEPT };
        let cleared = self.lock().and_then(|_lock| self.clear_leftovers(kept))?;
        let mut gone = Collected { images: Vec::new(), bytes: cleared };
        let now = SystemTime::now();
        let of_registry = |image: &Image| image.names.is_empty() || !image.repo_digests.is_empty();
        let mut unused = Vec::new();
        for image in self.list().into_iter().filter(of_registry) {
            let used = last_used(&self.home(&image));
            match now.duration_since(used) {
                Ok(age) if age >= unused_for => unused.push((used, image)),
                Ok(_) => {}
                // The clock was set back: the time that this image needs begins now.
                Err(_) => self.touch(&image),
            }
        }
        unused.sort_by(|a, b| (a.0, &a.1.digest).cmp(&(b.0, &b.1.digest)));
        for (used, image) in unused {
            if gone.bytes >= bytes {
                break;
            }
            // It may have found a user since.
            if let Some(freed) = self.discard_if(&image.digest, || last_used(&self.home(&image)) == used)? {
                gone.bytes = gone.bytes.saturating_add(freed);
                gone.images.push(image);
            }
        }
        Ok(gone)
    }

    /// The image is used now.
    pub(super) fn touch(&self, image: &Image) {
        touch(&self.home(image));
    }
}

/// The image in this directory is used now. One that is gone is not.
fn touch(home: &Path) {
    if let Err(error) = File::open(home).and_then(|home| home.set_modified(SystemTime::now())) {
        tracing::debug!(path = %home.display(), %error, "the use of an image cannot be noted");
    }
}

/// Of an image whose files are gone: never.
fn last_used(home: &Path) -> SystemTime {
    std::fs::metadata(home).and_then(|home| home.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}
