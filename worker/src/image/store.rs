//! The images of a worker on disk, by digest, and the names that lead to them.
//!
//! ```text
//! images/layered/index.json      every image in layers: names, configuration, size
//! images/layered/<hex digest>/   which layers it has; the directory is locked by those who use it
//! images/layered/l/<name>/       a layer (`layers.rs`)
//! images/index.json              the images in one directory: of builds before layers, and where layers cannot be mounted
//! images/<hex digest>/rootfs/    the files of such an image; its directory is locked by those who use it
//! images/blobs/                  packed layers on their way (`blobs.rs`)
//! images/loading-<...>/          a load or a removal in progress; removed when it ends and when the store is opened
//! images/pulling-<hex digest>    locked by the one that pulls that image
//! ```
//!
//! Any number of processes may use one store: the index is replaced whole, under a lock.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::ImageError;
use super::archive::Archive;
use super::blobs::Blobs;
use super::budget::Limits;
use super::collect::Collected;
use super::config::ImageConfig;
use super::index::Index;
use super::layers::{Layers, chain_ids, name_of};
use super::leftovers::KEPT;
use super::manifest::{self, Manifest};
use super::name::{is_digest, normalise};
use super::overlay;
use super::root::{Root, Stack};
use super::unpacking::UNPACKING;
use super::usage::{Claim, Turn, lock};
use super::user::{self, Identity};

const LOCK: &str = "lock";
pub(super) const LAYERED: &str = "layered";
const LAYERS: &str = "l";
const BLOBS: &str = "blobs";
pub(super) const LOADING: &str = "loading-";
const PULLING: &str = "pulling-";
/// Names that are tried for a load: more are not taken at a time.
const LOADING_TRIES: u32 = 1000;

/// An image that the worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The digest of its manifest (of its configuration when it came from a docker-archive).
    pub digest: String,
    /// Every full name that leads to it, sorted.
    pub names: Vec<String>,
    /// What to run in it and how.
    pub config: ImageConfig,
    /// The digests of its uncompressed layers, the lowest first.
    pub layers: Vec<String>,
    /// The names of its layers' directories, the lowest first; none if it is in one directory of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// The bytes of its files, unpacked; other images may have some of them, too.
    pub size_bytes: u64,
    /// What it was pulled as, as `repository@digest`: the digest is that of an index where its name led to one.
    #[serde(default)]
    pub repo_digests: Vec<String>,
}

/// What a load brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedImage {
    /// The image.
    pub image: Image,
    /// The names that now lead to it because of this load.
    pub names: Vec<String>,
    /// It was not here before.
    pub new: bool,
}

/// The images of a worker.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    limits: Limits,
    next: AtomicU64,
    /// Whether images are unpacked in layers here; found out when the first one is.
    has_layers: OnceLock<bool>,
}

impl Store {
    /// Opens the store in this directory, making it if needed.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, ImageError> {
        Self::open_with(dir, Limits::default())
    }

    /// Opens the store with limits of one's own.
    pub fn open_with(dir: impl Into<PathBuf>, limits: Limits) -> Result<Self, ImageError> {
        let dir = dir.into();
        // Not for others: the files of images carry setuid bits and owners that mean nothing out here.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(ImageError::io(format!("make {}", dir.display())))?;
        let dir = dir.canonicalize().map_err(ImageError::io(format!("open {}", dir.display())))?;
        let store = Self { dir, limits, next: AtomicU64::new(0), has_layers: OnceLock::new() };
        store.sweep()?;
        Ok(store)
    }

    /// Loads every image of an archive (OCI or docker-archive; plain, gzip or zstd). All or nothing.
    pub fn load(&self, archive: &Path) -> Result<Vec<LoadedImage>, ImageError> {
        let mut layers = Vec::new();
        let loaded = self.load_noting(archive, &mut layers);
        if loaded.is_err() && !layers.is_empty() {
            // Why it failed is what is to be told.
            self.lock().and_then(|_lock| self.release(layers)).ok();
        }
        loaded
    }

    /// The same; `layers` becomes the names of those that may have been unpacked.
    fn load_noting(&self, archive: &Path, layers: &mut Vec<String>) -> Result<Vec<LoadedImage>, ImageError> {
        let loading = self.begin()?;
        let spool = loading.spool()?;
        let files = Archive::read(archive, &spool, self.limits)?;
        let file_name = archive.file_stem().and_then(|stem| stem.to_str()).unwrap_or("image");
        let mut unpacked = Vec::new();
        for manifest in manifest::read(&files)? {
            let diff_ids = &manifest.config.rootfs.diff_ids;
            layers.extend(chain_ids(diff_ids).iter().map(|id| name_of(id)));
            self.reserve(&loading, &manifest.digest, diff_ids)?;
            unpacked.push(self.unpack(&loading, manifest, file_name)?);
        }
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        let mut loaded = Vec::new();
        for (image, home) in unpacked {
            loaded.push(self.adopt(&mut index, image, home)?);
        }
        index.write(&self.dir)?;
        Ok(loaded)
    }

    /// The image that a name or digest leads to.
    pub fn resolve(&self, name: &str) -> Option<Image> {
        let name = normalise(name);
        let digest = name.rsplit_once('@').map_or(name.as_str(), |(_, digest)| digest);
        let mut index = self.read_index().ok()?;
        if is_digest(digest) && index.images.contains_key(digest) {
            return index.images.remove(digest);
        }
        index
            .images
            .into_values()
            .find(|image| image.names.contains(&name) || image.repo_digests.contains(&name))
    }

    /// Every image, ordered by digest.
    pub fn list(&self) -> Vec<Image> {
        self.read_index().map(|index| index.images.into_values().collect()).unwrap_or_default()
    }

    /// Where the image's files are: to be mounted read-only, never written to.
    pub fn root(&self, image: &Image) -> Root {
        if image.chain.is_empty() {
            return Root::Flat(self.home(image).join("rootfs"));
        }
        let dir = self.layers().dir().to_owned();
        Root::Layers(Stack { home: self.home(image), dir, layers: image.chain.clone() })
    }

    /// The image's own directory: those who use it have it locked, and its time is when it was used last.
    pub fn home(&self, image: &Image) -> PathBuf {
        let dir = if image.chain.is_empty() { self.dir.clone() } else { self.dir.join(LAYERED) };
        dir.join(hex(&image.digest))
    }

    /// The ids that `user` (empty: the image's own) means in the image.
    pub fn identity(&self, image: &Image, user: &str) -> Result<Identity, ImageError> {
        let user = if user.is_empty() { image.config.user.as_str() } else { user };
        user::look_up(&self.root(image), user)
    }

    /// Takes a name away; an image without names goes too, unless a container uses it: then nothing changes. Answers
    /// whether there was such a name (or digest).
    pub fn remove(&self, name: &str) -> Result<bool, ImageError> {
        let name = normalise(name);
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        let hit = index.images.values().find(|image| image.digest == name || image.names.contains(&name));
        let Some(image) = hit.cloned() else { return Ok(false) };
        if image.digest != name && image.names.len() > 1 {
            if let Some(image) = index.images.get_mut(&image.digest) {
                image.names.retain(|other| *other != name);
            }
            index.write(&self.dir)?;
            return Ok(true);
        }
        match self.claim(&image)? {
            Some(claim) => self.discard(&mut index, vec![(image, claim)])?,
            None => return Err(ImageError::InUse(name)),
        };
        Ok(true)
    }

    /// Removes the images that have no name any more and that no container uses; with `named`, those with names too. What
    /// belongs to no image goes, too. Answers what went.
    pub fn prune(&self, named: bool) -> Result<Collected, ImageError> {
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        let mut unused = Vec::new();
        for image in index.images.values().filter(|image| named || image.names.is_empty()) {
            if let Some(claim) = self.claim(image)? {
                unused.push((image.clone(), claim));
            }
        }
        let images = unused.iter().map(|(image, _)| image.clone()).collect();
        let bytes = self.discard(&mut index, unused)?;
        Ok(Collected { images, bytes: bytes.saturating_add(self.clear_leftovers(Duration::ZERO)?) })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn layers(&self) -> Layers {
        Layers::of(self.dir.join(LAYERED).join(LAYERS))
    }

    pub(super) fn blobs(&self) -> Blobs {
        Blobs::of(self.dir.join(BLOBS))
    }

    /// Whether images are unpacked in layers here: who may not mount, or whose disk carries no layers, has one directory for
    /// each image. An error if the disk is too full to tell.
    pub(super) fn has_layers(&self) -> Result<bool, ImageError> {
        if let Some(known) = self.has_layers.get() {
            return Ok(*known);
        }
        let has = rustix::process::geteuid().is_root()
            && match self.try_layers() {
                Ok(()) => true,
                Err(full @ ImageError::DiskFull { .. }) => return Err(full),
                Err(error) => {
                    tracing::info!(%error, "images share no layers here: each is unpacked to a directory of its own");
                    false
                }
            };
        Ok(*self.has_layers.get_or_init(|| has))
    }

    fn try_layers(&self) -> Result<(), ImageError> {
        overlay::works_in(self.begin()?.dir())?;
        std::fs::create_dir_all(self.layers().dir()).map_err(ImageError::io("make the directory of layers"))
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// A store whose images are in one directory each, as where no layers can be mounted.
    #[cfg(test)]
    pub(super) fn without_layers(self) -> Self {
        Self { has_layers: OnceLock::from(false), ..self }
    }

    /// Begins a load: a directory that is removed if nothing comes of it.
    pub(super) fn begin(&self) -> Result<Loading, ImageError> {
        Loading::start(self)
    }

    /// Unpacks and adopts an image whose layers are in the directory of a load.
    pub(super) fn keep(
        &self,
        loading: &Loading,
        manifest: Manifest,
        repo_digest: String,
    ) -> Result<LoadedImage, ImageError> {
        let (mut image, unpacked) = self.unpack(loading, manifest, "image")?;
        image.repo_digests.push(repo_digest);
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        let loaded = self.adopt(&mut index, image, unpacked)?;
        index.write(&self.dir)?;
        Ok(loaded)
    }

    /// Lets a name lead to the image whose manifest has this digest, if it is here.
    pub(super) fn give_name(
        &self,
        digest: &str,
        name: &str,
        repo_digest: &str,
    ) -> Result<Option<Image>, ImageError> {
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        let own = repo_digest.to_owned();
        let Some(mut image) = index.images.get(digest).cloned() else { return Ok(None) };
        if image.names.iter().any(|other| other == name) && image.repo_digests.contains(&own) {
            self.touch(&image);
            return Ok(Some(image));
        }
        image.names.push(name.to_owned());
        image.repo_digests.push(own);
        let image = index.put(image);
        index.write(&self.dir)?;
        self.touch(&image);
        Ok(Some(image))
    }

    /// The right to pull an image, unless another process has it.
    pub(super) fn turn(&self, digest: &str) -> Result<Option<Turn>, ImageError> {
        let path = self.dir.join(format!("{PULLING}{}", hex(digest)));
        Turn::try_take(path).map_err(ImageError::io("wait for another pull of the image"))
    }

    /// Removes an image if nobody uses it and it is still `fit` once nobody can begin to. Answers how many bytes are free by
    /// that, if it went.
    pub(super) fn discard_if(
        &self,
        digest: &str,
        fit: impl FnOnce() -> bool,
    ) -> Result<Option<u64>, ImageError> {
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        let Some(image) = index.images.get(digest).cloned() else { return Ok(None) };
        let Some(claim) = self.claim(&image)?.filter(|_| fit()) else { return Ok(None) };
        self.discard(&mut index, vec![(image, claim)]).map(Some)
    }

    /// The right to remove an image, unless it is in use. One whose files are gone is nobody's.
    pub(super) fn claim(&self, image: &Image) -> Result<Option<Option<Claim>>, ImageError> {
        let home = self.home(image);
        match Claim::on(&home) {
            Ok(claim) => Ok(claim.map(Some)),
            Err(source) if source.kind() == ErrorKind::NotFound => Ok(Some(None)),
            Err(source) => Err(ImageError::io(format!("lock {}", home.display()))(source)),
        }
    }

    /// Removes images that are claimed: first from the index, so that a half removed image is never found. Answers how many
    /// bytes are free by that.
    fn discard(&self, index: &mut Index, images: Vec<(Image, Option<Claim>)>) -> Result<u64, ImageError> {
        for (image, _) in &images {
            index.images.remove(&image.digest);
        }
        index.write(&self.dir)?;
        let (mut freed, mut layers) = (0_u64, Vec::new());
        for (image, claim) in images {
            if claim.is_some() {
                self.bury(&self.home(&image))?;
            }
            if image.chain.is_empty() {
                freed = freed.saturating_add(image.size_bytes);
            }
            layers.extend(image.chain);
        }
        Ok(freed.saturating_add(self.release(layers)?))
    }

    /// Moves a directory out of the way, where whoever opens the store next removes it if this process cannot.
    pub(super) fn bury(&self, dir: &Path) -> Result<(), ImageError> {
        let grave = self.begin()?;
        std::fs::rename(dir, grave.dir.join("removed"))
            .map_err(ImageError::io(format!("remove {}", dir.display())))
    }

    /// Moves an unpacked image to its place and its names to it.
    fn adopt(
        &self,
        index: &mut Index,
        mut image: Image,
        unpacked: PathBuf,
    ) -> Result<LoadedImage, ImageError> {
        let names = image.names.clone();
        let known = index.images.get(&image.digest);
        let new = known.is_none();
        if let Some(known) = known {
            image.names.extend(known.names.iter().cloned());
            image.repo_digests.extend(known.repo_digests.iter().cloned());
            // Wherever its files are, there they stay.
            image.chain.clone_from(&known.chain);
            image.size_bytes = known.size_bytes;
        } else {
            let home = self.home(&image);
            if home.exists() {
                crate::remove::remove_dir_all(&home).map_err(ImageError::io("remove a half image"))?;
            }
            sync(&unpacked)?;
            std::fs::rename(&unpacked, &home).map_err(ImageError::io("put the image in place"))?;
        }
        let image = index.put(image);
        self.touch(&image);
        Ok(LoadedImage { image, names, new })
    }

    pub(super) fn lock(&self) -> Result<File, ImageError> {
        let what = || format!("lock {}", self.dir.display());
        let file = File::create(self.dir.join(LOCK)).map_err(ImageError::io(what()))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|source| ImageError::io(what())(source.into()))?;
        Ok(file)
    }

    pub(super) fn read_index(&self) -> Result<Index, ImageError> {
        Index::read(&self.dir)
    }

    /// Removes what loads, pulls and removals that died left behind: what is theirs is locked while they live. What a pull can
    /// go on with stays for a while.
    fn sweep(&self) -> Result<(), ImageError> {
        let mut homes = Vec::new();
        for dir in [self.dir.clone(), self.dir.join(LAYERED)] {
            let entries = match std::fs::read_dir(&dir) {
                Err(source) if source.kind() == ErrorKind::NotFound => continue,
                entries => entries.map_err(ImageError::io("list the image store"))?,
            };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with(LOADING) {
                    // Locked to the end, so that nobody begins in it.
                    if let Ok(Some(_dead)) = lock(&entry.path(), FlockOperation::NonBlockingLockExclusive) {
                        crate::remove::remove_dir_all(&entry.path()).ok();
                    }
                } else if name.starts_with(PULLING) || name.starts_with(UNPACKING) {
                    // Taking the right and giving it back takes the file away.
                    Turn::try_take(entry.path()).ok();
                } else if is_digest(&format!("sha256:{name}")) {
                    homes.push(entry.path());
                }
            }
        }
        // What an index that cannot be read would list, is not for taking away.
        let Ok(index) = self.read_index() else { return Ok(()) };
        let lost =
            |index: &Index, home: &PathBuf| index.images.values().all(|image| self.home(image) != *home);
        let odd =
            homes.iter().any(|home| lost(&index, home)) || index.images.values().any(|it| self.lacks(it));
        if !odd && !self.layers().dir().exists() && !self.dir.join(BLOBS).exists() {
            return Ok(());
        }
        // Images come to the index and leave it under the lock.
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        for home in homes.iter().filter(|home| lost(&index, home)) {
            if let Ok(Some(_claim)) = Claim::on(home) {
                self.bury(home)?;
            }
        }
        let halves: Vec<Image> = index.images.values().filter(|image| self.lacks(image)).cloned().collect();
        for image in halves {
            if let Some(claim) = self.claim(&image)? {
                tracing::warn!(image = image.digest, "some of its layers are gone, and so is the image");
                self.discard(&mut index, vec![(image, claim)])?;
            }
        }
        self.clear_leftovers(KEPT).map(drop)
    }

    /// Whether a layer of the image is gone.
    fn lacks(&self, image: &Image) -> bool {
        image.chain.iter().any(|name| !self.layers().dir().join(name).exists())
    }
}

/// A load in progress; dropped, it leaves nothing behind.
pub(super) struct Loading {
    dir: PathBuf,
    _lock: File,
}

impl Loading {
    fn start(store: &Store) -> Result<Self, ImageError> {
        for _ in 0..LOADING_TRIES {
            let number = store.next.fetch_add(1, Ordering::Relaxed);
            let dir = store.dir.join(format!("{LOADING}{}-{number}", std::process::id()));
            let what = || ImageError::io(format!("make {}", dir.display()));
            match std::fs::create_dir(&dir) {
                Ok(()) => {}
                // Processes of two containers may have one number.
                Err(source) if source.kind() == ErrorKind::AlreadyExists => continue,
                Err(source) => return Err(what()(source)),
            }
            match lock(&dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(Some(lock)) => return Ok(Self { dir, _lock: lock }),
                // Who opens the store just now took it for one that died.
                Ok(None) => {}
                Err(source) if source.kind() == ErrorKind::NotFound => {}
                Err(source) => return Err(what()(source)),
            }
        }
        Err(ImageError::Malformed(format!("{} is full of loads that did not end", store.dir.display())))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The name of its directory in the store's.
    pub(super) fn name(&self) -> &std::ffi::OsStr {
        self.dir.file_name().unwrap_or_default()
    }

    /// A directory for what is to be unpacked.
    pub(super) fn spool(&self) -> Result<PathBuf, ImageError> {
        let spool = self.dir.join("spool");
        std::fs::create_dir(&spool).map_err(ImageError::io("make the spool"))?;
        Ok(spool)
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        crate::remove::remove_dir_all(&self.dir).ok();
    }
}

/// All files reach the disk before the name that promises them.
fn sync(dir: &Path) -> Result<(), ImageError> {
    let dir = File::open(dir).map_err(ImageError::io("sync the image"))?;
    rustix::fs::syncfs(&dir).map_err(|source| ImageError::io("sync the image")(source.into()))
}

pub(super) fn hex(digest: &str) -> &str {
    digest.rsplit_once(':').map_or(digest, |(_, hex)| hex)
}
