//! The images of a worker on disk, by digest, and the names that lead to them.
//!
//! ```text
//! images/index.json              every image: names, configuration, size
//! images/<hex digest>/rootfs/    its files, unpacked; the directory is locked by those who use it
//! images/loading-<...>/          a load or a removal in progress; removed when it ends and when the store is opened
//! images/pulling-<hex digest>    locked by the one that pulls that image
//! ```
//!
//! Any number of processes may use one store: the index is replaced whole, under a lock.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::ImageError;
use super::archive::Archive;
use super::budget::Limits;
use super::config::ImageConfig;
use super::manifest::{self, Manifest};
use super::name::{is_digest, normalise};
use super::unpack::Unpacker;
use super::usage::{Claim, Turn};
use super::user::{self, Identity};

const INDEX: &str = "index.json";
const LOCK: &str = "lock";
const LOADING: &str = "loading-";
const PULLING: &str = "pulling-";
const INDEX_VERSION: u32 = 1;

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
    /// The bytes of its files, unpacked.
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
}

#[derive(Default, Serialize, Deserialize)]
struct Index {
    version: u32,
    images: BTreeMap<String, Image>,
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
        let store = Self { dir, limits, next: AtomicU64::new(0) };
        store.sweep()?;
        Ok(store)
    }

    /// Loads every image of an archive (OCI or docker-archive; plain, gzip or zstd). All or nothing.
    pub fn load(&self, archive: &Path) -> Result<Vec<LoadedImage>, ImageError> {
        let loading = self.begin()?;
        let spool = loading.spool()?;
        let files = Archive::read(archive, &spool, self.limits)?;
        let file_name = archive.file_stem().and_then(|stem| stem.to_str()).unwrap_or("image");
        let mut unpacked = Vec::new();
        for manifest in manifest::read(&files)? {
            unpacked.push(self.unpack(&loading, manifest, file_name)?);
        }
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        let mut loaded = Vec::new();
        for (image, rootfs) in unpacked {
            loaded.push(self.adopt(&mut index, image, rootfs)?);
        }
        self.write_index(&index)?;
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

    /// The image's files: to be mounted read-only, never written to.
    pub fn rootfs(&self, image: &Image) -> PathBuf {
        self.home(&image.digest).join("rootfs")
    }

    /// The ids that `user` (empty: the image's own) means in the image.
    pub fn identity(&self, image: &Image, user: &str) -> Result<Identity, ImageError> {
        let user = if user.is_empty() { image.config.user.as_str() } else { user };
        user::look_up(&self.rootfs(image), user)
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
            self.write_index(&index)?;
            return Ok(true);
        }
        match self.claim(&image)? {
            Some(claim) => self.discard(&mut index, vec![(image, claim)])?,
            None => return Err(ImageError::InUse(name)),
        }
        Ok(true)
    }

    /// Removes the images that have no name any more and that no container uses; with `named`, those with names too.
    /// Answers those that went.
    pub fn prune(&self, named: bool) -> Result<Vec<Image>, ImageError> {
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        let mut unused = Vec::new();
        for image in index.images.values().filter(|image| named || image.names.is_empty()) {
            if let Some(claim) = self.claim(image)? {
                unused.push((image.clone(), claim));
            }
        }
        let gone = unused.iter().map(|(image, _)| image.clone()).collect();
        self.discard(&mut index, unused)?;
        Ok(gone)
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
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
        self.write_index(&index)?;
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
            self.touch(digest);
            return Ok(Some(image));
        }
        image.names.push(name.to_owned());
        image.repo_digests.push(own);
        take_names(&mut index, &mut image);
        index.images.insert(image.digest.clone(), image.clone());
        self.write_index(&index)?;
        self.touch(digest);
        Ok(Some(image))
    }

    /// The right to pull an image, unless another process has it.
    pub(super) fn turn(&self, digest: &str) -> Result<Option<Turn>, ImageError> {
        let path = self.dir.join(format!("{PULLING}{}", hex(digest)));
        Turn::try_take(path).map_err(ImageError::io("wait for another pull of the image"))
    }

    /// Removes an image if nobody uses it and it is still `fit` once nobody can begin to. Says whether it went.
    pub(super) fn discard_if(&self, digest: &str, fit: impl FnOnce() -> bool) -> Result<bool, ImageError> {
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        let Some(image) = index.images.get(digest).cloned() else { return Ok(false) };
        let Some(claim) = self.claim(&image)?.filter(|_| fit()) else { return Ok(false) };
        self.discard(&mut index, vec![(image, claim)])?;
        Ok(true)
    }

    /// The right to remove an image, unless it is in use. One whose files are gone is nobody's.
    pub(super) fn claim(&self, image: &Image) -> Result<Option<Option<Claim>>, ImageError> {
        let home = self.home(&image.digest);
        match Claim::on(&home) {
            Ok(claim) => Ok(claim.map(Some)),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(Some(None)),
            Err(source) => Err(ImageError::io(format!("lock {}", home.display()))(source)),
        }
    }

    /// Removes images that are claimed: first from the index, so that a half removed image is never found.
    fn discard(&self, index: &mut Index, images: Vec<(Image, Option<Claim>)>) -> Result<(), ImageError> {
        for (image, _) in &images {
            index.images.remove(&image.digest);
        }
        self.write_index(index)?;
        for (image, claim) in images {
            if claim.is_some() {
                self.bury(&self.home(&image.digest))?;
            }
        }
        Ok(())
    }

    /// Moves a directory out of the way, where whoever opens the store next removes it if this process cannot.
    fn bury(&self, home: &Path) -> Result<(), ImageError> {
        let grave = self.begin()?;
        std::fs::rename(home, grave.dir.join("removed"))
            .map_err(ImageError::io(format!("remove {}", home.display())))
    }

    fn unpack(
        &self,
        loading: &Loading,
        manifest: Manifest,
        file_name: &str,
    ) -> Result<(Image, PathBuf), ImageError> {
        let home = loading.dir.join(hex(&manifest.digest));
        let rootfs = home.join("rootfs");
        std::fs::create_dir_all(&rootfs).map_err(ImageError::io("make the root directory"))?;
        std::fs::set_permissions(&rootfs, std::fs::Permissions::from_mode(0o755))
            .map_err(ImageError::io("make the root directory"))?;
        let mut unpacker = Unpacker::new(&rootfs, self.limits)?;
        let layers = manifest.config.rootfs.diff_ids;
        for (layer, diff_id) in manifest.layers.iter().zip(&layers) {
            unpacker.apply(layer, diff_id)?;
        }
        let names = manifest.names.iter().map(|name| full_name(name, file_name)).collect();
        let config = manifest.config.config;
        let (digest, size_bytes) = (manifest.digest, unpacker.bytes());
        Ok((Image { digest, names, config, layers, size_bytes, repo_digests: Vec::new() }, home))
    }

    /// Moves an unpacked image to its place and its names to it.
    fn adopt(
        &self,
        index: &mut Index,
        mut image: Image,
        unpacked: PathBuf,
    ) -> Result<LoadedImage, ImageError> {
        let names = image.names.clone();
        let home = self.home(&image.digest);
        let new = !index.images.contains_key(&image.digest);
        if new {
            if home.exists() {
                crate::remove::remove_dir_all(&home).map_err(ImageError::io("remove a half image"))?;
            }
            sync(&unpacked)?;
            std::fs::rename(&unpacked, &home).map_err(ImageError::io("put the image in place"))?;
        } else if let Some(known) = index.images.get(&image.digest) {
            image.names.extend(known.names.iter().cloned());
            image.repo_digests.extend(known.repo_digests.iter().cloned());
        }
        take_names(index, &mut image);
        index.images.insert(image.digest.clone(), image.clone());
        self.touch(&image.digest);
        Ok(LoadedImage { image, names, new })
    }

    pub(super) fn home(&self, digest: &str) -> PathBuf {
        self.dir.join(hex(digest))
    }

    fn lock(&self) -> Result<File, ImageError> {
        let what = || format!("lock {}", self.dir.display());
        let file = File::create(self.dir.join(LOCK)).map_err(ImageError::io(what()))?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|source| ImageError::io(what())(source.into()))?;
        Ok(file)
    }

    fn read_index(&self) -> Result<Index, ImageError> {
        let path = self.dir.join(INDEX);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Index { version: INDEX_VERSION, images: BTreeMap::new() });
            }
            Err(source) => return Err(ImageError::io(format!("read {}", path.display()))(source)),
        };
        let index: Index = serde_json::from_slice(&bytes)
            .map_err(|source| ImageError::Malformed(format!("{}: {source}", path.display())))?;
        if index.version != INDEX_VERSION {
            return Err(ImageError::Malformed(format!("{} has version {}", path.display(), index.version)));
        }
        Ok(index)
    }

    fn write_index(&self, index: &Index) -> Result<(), ImageError> {
        let bytes = serde_json::to_vec_pretty(index)
            .map_err(|source| ImageError::Malformed(format!("write the image index: {source}")))?;
        let next = self.dir.join("index.json.new");
        let what = "write the image index";
        std::fs::write(&next, bytes).map_err(ImageError::io(what))?;
        File::open(&next).and_then(|file| file.sync_all()).map_err(ImageError::io(what))?;
        std::fs::rename(&next, self.dir.join(INDEX)).map_err(ImageError::io(what))
    }

    /// Removes what loads, pulls and removals that died left behind: what is theirs is locked while they live.
    fn sweep(&self) -> Result<(), ImageError> {
        let entries = std::fs::read_dir(&self.dir).map_err(ImageError::io("list the image store"))?;
        let mut homes = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(LOADING) {
                let dead = File::open(entry.path()).is_ok_and(|dir| {
                    rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_ok()
                });
                if dead {
                    crate::remove::remove_dir_all(&entry.path()).ok();
                }
            } else if name.starts_with(PULLING) {
                // Taking the right and giving it back takes the file away.
                Turn::try_take(entry.path()).ok();
            } else if is_digest(&format!("sha256:{name}")) {
                homes.push(format!("sha256:{name}"));
            }
        }
        // What an index that cannot be read would list, is not for taking away.
        let Ok(listed) = self.read_index() else { return Ok(()) };
        if homes.iter().all(|digest| listed.images.contains_key(digest)) {
            return Ok(());
        }
        // Images come to the index and leave it under the lock.
        let _lock = self.lock()?;
        let listed = self.read_index()?;
        for home in homes.iter().filter(|digest| !listed.images.contains_key(*digest)) {
            let home = self.home(home);
            if let Ok(Some(_claim)) = Claim::on(&home) {
                self.bury(&home)?;
            }
        }
        Ok(())
    }
}

/// A load in progress; dropped, it leaves nothing behind.
pub(super) struct Loading {
    dir: PathBuf,
    _lock: File,
}

impl Loading {
    fn start(store: &Store) -> Result<Self, ImageError> {
        let number = store.next.fetch_add(1, Ordering::Relaxed);
        let dir = store.dir.join(format!("{LOADING}{}-{number}", std::process::id()));
        std::fs::create_dir(&dir).map_err(ImageError::io(format!("make {}", dir.display())))?;
        let lock = File::open(&dir).map_err(ImageError::io("open the load"))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)
            .map_err(|source| ImageError::io("lock the load")(source.into()))?;
        Ok(Self { dir, _lock: lock })
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

/// A name leads to one image: the last that was given it.
fn take_names(index: &mut Index, image: &mut Image) {
    for names in [&mut image.names, &mut image.repo_digests] {
        names.sort();
        names.dedup();
    }
    for other in index.images.values_mut().filter(|other| other.digest != image.digest) {
        other.names.retain(|name| !image.names.contains(name));
        other.repo_digests.retain(|name| !image.repo_digests.contains(name));
    }
}

/// All files reach the disk before the name that promises them.
fn sync(dir: &Path) -> Result<(), ImageError> {
    let dir = File::open(dir).map_err(ImageError::io("sync the image"))?;
    rustix::fs::syncfs(&dir).map_err(|source| ImageError::io("sync the image")(source.into()))
}

/// Archives without a full name hold only a tag: the file's name stands in for the image's.
fn full_name(name: &str, file_name: &str) -> String {
    let bare_tag = !name.contains(['/', ':', '@'])
        && (name == "latest" || name.starts_with(|c: char| c.is_ascii_digit()));
    if bare_tag { normalise(&format!("{file_name}:{name}")) } else { normalise(name) }
}

fn hex(digest: &str) -> &str {
    digest.rsplit_once(':').map_or(digest, |(_, hex)| hex)
}
