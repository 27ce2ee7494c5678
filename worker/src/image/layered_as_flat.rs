//! An image in layers has the files that it has in one directory, whatever its layers do to each other.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};
use sha2::{Digest, Sha256};

use super::archive::{Spooled, digest_text};
use super::budget::Limits;
use super::config::ConfigDocument;
use super::manifest::Manifest;
use super::root::{FILES, Root};
use super::store::{Image, Store};
use super::{ImageError, overlay};

/// Random images; each has some layers of some entries, on few paths, so that they meet.
const IMAGES: u64 = 100;
/// So often another layer is tried in the place of one that is refused.
const ROLLS: usize = 1000;
const CAPABILITY: &[u8] = &[0, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn path(&mut self) -> String {
        let names: Vec<&str> = (0..=self.below(3)).map(|_| ["a", "b", "c"][self.below(3) as usize]).collect();
        names.join("/")
    }

    fn layer(&mut self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for number in 0..=self.below(9) {
            self.entry(&mut tar, number);
        }
        tar.into_inner().unwrap()
    }

    fn entry(&mut self, tar: &mut tar::Builder<Vec<u8>>, number: u64) {
        use tar::EntryType;
        let path = self.path();
        let (parent, name) = path.rsplit_once('/').map_or(("", path.as_str()), |(it, name)| (it, name));
        let beside = |name: &str| Path::new(parent).join(name).to_str().unwrap().to_owned();
        let (kind, path, target) = match self.below(20) {
            0..=4 => (EntryType::Directory, path, None),
            5..=9 => (EntryType::Regular, path, None),
            10 => {
                let target = self.path();
                let lead = ["", "/", "../"][self.below(3) as usize];
                (EntryType::Symlink, path, Some(format!("{lead}{target}")))
            }
            11..=13 => (EntryType::Link, path, Some(self.path())),
            14..=16 => (EntryType::Regular, beside(&format!(".wh.{name}")), None),
            17 => (EntryType::Regular, beside(".wh..wh..opq"), None),
            18 => (EntryType::Fifo, path, None),
            _ => (EntryType::Directory, "./".to_owned(), None),
        };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode([0o755, 0o700, 0o4711, 0o644][self.below(4) as usize]);
        header.set_uid(self.below(3) * 1000);
        header.set_gid(self.below(3) * 1000);
        header.set_mtime(1_000_000_000 + self.below(1000));
        let content = match kind {
            EntryType::Regular => format!("{number} {}", self.below(1000)).into_bytes(),
            _ => Vec::new(),
        };
        header.set_size(content.len() as u64);
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        if let Some(target) = target {
            header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_cksum();
        if kind == EntryType::Regular && self.below(3) == 0 {
            tar.append_pax_extensions([("SCHILY.xattr.security.capability", CAPABILITY)]).unwrap();
        }
        tar.append(&header, &content[..]).unwrap();
    }
}

/// What a container sees of an entry. The times of directories are those of the unpacking.
type Seen = BTreeMap<PathBuf, String>;

fn look(root: &Path, path: &Path, seen: &mut Seen) {
    let at = root.join(path);
    let found = std::fs::symlink_metadata(&at).unwrap();
    let content = match found.file_type() {
        kind if kind.is_symlink() => std::fs::read_link(&at).unwrap().into_os_string().into_encoded_bytes(),
        kind if kind.is_file() => std::fs::read(&at).unwrap(),
        _ => Vec::new(),
    };
    let mut capability = [0; 64];
    let length = rustix::fs::lgetxattr(&at, "security.capability", &mut capability).unwrap_or(0);
    let time = if found.is_dir() { 0 } else { found.mtime() };
    let (mode, uid, gid) = (found.mode(), found.uid(), found.gid());
    let content = String::from_utf8_lossy(&content);
    seen.insert(path.to_owned(), format!("{mode:o} {uid} {gid} {time} {length} {content}"));
    if found.is_dir() {
        for entry in std::fs::read_dir(&at).unwrap() {
            look(root, &path.join(entry.unwrap().file_name()), seen);
        }
    }
}

fn seen(root: &Path) -> Seen {
    let mut seen = Seen::new();
    look(root, Path::new(""), &mut seen);
    seen
}

pub(super) fn manifest(dir: &Path, layers: &[Vec<u8>]) -> Manifest {
    let mut config = ConfigDocument::default();
    let mut packed = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let digest = digest_text(Sha256::new_with_prefix(layer));
        let path = dir.join(number.to_string());
        std::fs::write(&path, layer).unwrap();
        config.rootfs.diff_ids.push(digest.clone());
        packed.push(Some(Spooled { path, size: layer.len() as u64, digest }));
    }
    let digest = digest_text(Sha256::new_with_prefix(config.rootfs.diff_ids.join(" ")));
    Manifest { digest, names: Vec::new(), config, layers: packed }
}

/// A disk for stores that write much, and wait each time until it is there.
struct InMemory(tempfile::TempDir);

impl InMemory {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Without root there is nothing to be tried on it.
        rustix::mount::mount("tmpfs", dir.path(), "tmpfs", MountFlags::empty(), c"mode=700").ok();
        Self(dir)
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        rustix::mount::unmount(self.0.path(), UnmountFlags::DETACH).ok();
    }
}

fn stores(dir: &Path, limits: Limits) -> Option<(Store, Store)> {
    let layered = Store::open_with(dir.join("layered"), limits).unwrap();
    if !layered.has_layers().unwrap() {
        eprintln!("skipped: no layers can be mounted here");
        return None;
    }
    Some((layered, Store::open_with(dir.join("flat"), limits).unwrap().without_layers()))
}

pub(super) fn keep(store: &Store, manifest: Manifest) -> Result<Image, ImageError> {
    let loading = store.begin()?;
    store.reserve(&loading, &manifest.digest, &manifest.config.rootfs.diff_ids)?;
    store.keep(&loading, manifest, String::new()).map(|loaded| loaded.image)
}

/// Looks at an image in layers as a container does.
fn mounted<T: Send>(store: &Store, chain: &[String], look: impl FnOnce(&Path) -> T + Send) -> T {
    let loading = store.begin().unwrap();
    let files = loading.dir().join("look").join(FILES);
    std::fs::create_dir_all(&files).unwrap();
    let last = store.layers().dir().join(chain.last().unwrap()).join(FILES);
    super::unpacking::look_like(&files, &last).unwrap();
    let place = Path::new("../..").join(loading.name()).join("look");
    overlay::upon(store.layers().dir(), chain, &place, |merged| Ok(look(merged))).unwrap()
}

/// What a container would see of one of them, and not of the other.
fn differences(layered: &Store, one: &Image, flat: &Store, other: &Image) -> Vec<String> {
    let (one_root, other_root) = (layered.root(one), flat.root(other));
    let expected = seen(&other_root.home().join("rootfs"));
    let found = mounted(layered, &one.chain, seen);
    let paths: BTreeSet<&PathBuf> = expected.keys().chain(found.keys()).collect();
    let differing = paths.iter().filter(|path| found.get(**path) != expected.get(**path));
    let mut wrong: Vec<String> = differing
        .map(|path| format!("{}: {:?}, not {:?}", path.display(), found.get(*path), expected.get(*path)))
        .collect();
    // What is looked up without a mount is the same.
    let odd = ["a/b/c", "b/../a", "/c/a", "a/a/../b", "../b"].map(PathBuf::from);
    for path in paths.into_iter().chain(&odd) {
        let look = |root: &Root| {
            let found = root.find(path)?;
            Some((found.is_dir(), found.is_file().then(|| std::fs::read(&found).unwrap())))
        };
        if look(&one_root) != look(&other_root) {
            wrong.push(format!("{}: looked up, {:?}", path.display(), one_root.find(path)));
        }
    }
    wrong
}

#[test]
fn layers_upon_each_other_are_what_one_directory_is() {
    let disk = InMemory::new();
    let dir = disk.0.path();
    let Some((layered, flat)) = stores(dir, Limits::default()) else { return };
    let (mut refused, mut entries, mut wrong) = (0, 0, Vec::new());
    for seed in 0..IMAGES {
        let mut dice = Dice(seed);
        let count = 2 + dice.below(4) as usize;
        let (mut layers, mut images) = (Vec::new(), None);
        for _ in 0..ROLLS {
            if layers.len() == count {
                break;
            }
            layers.push(dice.layer());
            let one = keep(&layered, manifest(dir, &layers));
            let other = keep(&flat, manifest(dir, &layers));
            match (one, other) {
                (Ok(one), Ok(other)) => images = Some((one, other)),
                // Many a layer is refused, as one that links to what is not there: another one takes its place.
                (Err(one), Err(other)) if one.to_string() == other.to_string() => {
                    layers.pop();
                    refused += 1;
                }
                (one, other) => {
                    wrong.push(format!("seed {seed}: {one:?}, not {other:?}"));
                    layers.pop();
                }
            }
        }
        let (one, other) = images.unwrap();
        assert_eq!((one.chain.len(), other.chain.len()), (count, 0), "seed {seed}");
        let differ = differences(&layered, &one, &flat, &other);
        wrong.extend(differ.into_iter().map(|it| format!("seed {seed}: {it}")));
        entries += seen(&flat.root(&other).home().join("rootfs")).len();
    }
    assert!(wrong.is_empty(), "{} of {entries}:\n{}", wrong.len(), wrong[..wrong.len().min(20)].join("\n"));
    assert!(refused > 20 && entries > 500, "{refused} refusals and {entries} entries say little");
}

/// A layer that only names a big file of the one below.
#[test]
fn copies_of_what_lies_below_count() {
    let dir = tempfile::tempdir().unwrap();
    let Some((layered, _)) = stores(dir.path(), Limits { bytes: 250_000, ..Limits::default() }) else {
        return;
    };
    let big = |name: &str, bytes: usize| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &vec![7; bytes][..]).unwrap();
        tar.into_inner().unwrap()
    };
    let link = |names: &[&str]| {
        let mut tar = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Link);
            header.set_size(0);
            tar.append_link(&mut header, name, "big").unwrap();
        }
        tar.into_inner().unwrap()
    };
    // One copy, however many names it gets.
    let image = keep(&layered, manifest(dir.path(), &[big("big", 100_000), link(&["b", "c", "d"])])).unwrap();
    assert_eq!(image.size_bytes, 200_000);
    let inodes = mounted(&layered, &image.chain, |root| {
        ["big", "b", "d"].map(|name| root.join(name).metadata().unwrap().ino())
    });
    assert_eq!(inodes, [inodes[0]; 3]);
    // The names that it has below become files of their own.
    let two = manifest(dir.path(), &[big("big", 100_000), link(&["b"]), link(&["c"])]);
    assert!(keep(&layered, two).unwrap_err().to_string().contains("limit of 250000 bytes"));
    // One path to several files, by a link that changes.
    let below = [big("one/big", 60_000), big("two/big", 60_000), big("three/big", 60_000)];
    let mut tar = tar::Builder::new(Vec::new());
    for (number, dir) in ["one", "two", "three"].into_iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "a", dir).unwrap();
        header.set_entry_type(tar::EntryType::Link);
        tar.append_link(&mut header, number.to_string(), "a/big").unwrap();
    }
    let layers = [&below[..], &[tar.into_inner().unwrap()]].concat();
    let refused = keep(&layered, manifest(dir.path(), &layers)).unwrap_err().to_string();
    assert!(refused.contains("limit of 250000 bytes"), "{refused}");
}

/// As many as there may be: their names must fit into a mount's options.
#[test]
fn the_most_layers_that_an_image_may_have_can_be_mounted() {
    let dir = tempfile::tempdir().unwrap();
    let Some((layered, _)) = stores(dir.path(), Limits::default()) else { return };
    let layer = |number: usize| {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        tar.append_data(&mut header, format!("file-{number}"), &b"x"[..]).unwrap();
        tar.into_inner().unwrap()
    };
    let layers: Vec<Vec<u8>> = (0..super::manifest::LAYERS_MAX).map(layer).collect();
    let image = keep(&layered, manifest(dir.path(), &layers)).unwrap();
    let count = mounted(&layered, &image.chain, |root| std::fs::read_dir(root).unwrap().count());
    assert_eq!(count, layers.len());
    let options = super::Stack { home: PathBuf::new(), dir: PathBuf::new(), layers: image.chain }.lowerdir();
    // Beside it are two paths of a container's own directory.
    assert!(options.len() < 3500, "{}", options.len());
    assert!(overlay::options(format!("lowerdir={options},upperdir={}", "x".repeat(700))).is_err());
}
