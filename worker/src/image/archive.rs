//! An archive's files, spooled to disk once and hashed on the way, so that they can be read in any order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ImageError;
use super::budget::{Bounded, Limits};
use super::entries::Pace;

/// Files that an archive may have: layers, manifests and configurations, so never many.
const FILES_MAX: usize = 4096;
const CHUNK: usize = 64 * 1024;

/// One file of the archive.
#[derive(Clone, Debug)]
pub(super) struct Spooled {
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) digest: String,
}

/// The archive's files by their path in it.
#[derive(Debug)]
pub(super) struct Archive {
    files: BTreeMap<PathBuf, Spooled>,
    links: BTreeMap<PathBuf, PathBuf>,
    limits: Limits,
}

impl Archive {
    /// Reads the archive into `spool`, an empty directory.
    pub(super) fn read(path: &Path, spool: &Path, limits: Limits) -> Result<Self, ImageError> {
        let what = || format!("read {}", path.display());
        let file = File::open(path).map_err(ImageError::io(what()))?;
        let reader = decompress(file, limits.bytes).map_err(ImageError::io(what()))?;
        let mut archive = Self { files: BTreeMap::new(), links: BTreeMap::new(), limits };
        let pace = Pace::default();
        let mut tar = tar::Archive::new(pace.of(reader));
        let malformed = |source: std::io::Error| {
            ImageError::Malformed(format!("{} is not a readable tar archive: {source}", path.display()))
        };
        let mut entries = tar.entries().map_err(malformed)?;
        while let Some(mut entry) = pace.next(&mut entries).map_err(malformed)? {
            let name = plain_path(&entry.path().map_err(malformed)?)?;
            if archive.files.len() + archive.links.len() >= FILES_MAX {
                return Err(ImageError::TooBig { limit: FILES_MAX as u64, unit: "files in the archive" });
            }
            let kind = entry.header().entry_type();
            if kind.is_symlink() || kind.is_hard_link() {
                // Old `docker save` links equal layers to each other.
                if let Some(target) = entry.link_name().map_err(malformed)? {
                    let base = if kind.is_symlink() {
                        name.parent().unwrap_or(Path::new(""))
                    } else {
                        Path::new("")
                    };
                    archive.links.insert(name.clone(), lexical_join(base, &target)?);
                }
            } else if kind.is_file() {
                let target = spool.join(archive.files.len().to_string());
                let spooled = spool_file(&mut entry, target)?;
                archive.files.insert(name, spooled);
            }
            pace.skip(entry).map_err(malformed)?;
        }
        Ok(archive)
    }

    /// The file at a path of the archive.
    pub(super) fn file(&self, path: &str) -> Result<&Spooled, ImageError> {
        let path = plain_path(Path::new(path))?;
        let path = self.links.get(&path).unwrap_or(&path);
        self.files
            .get(path)
            .ok_or_else(|| ImageError::Malformed(format!("{} is not in the archive", path.display())))
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.files.contains_key(Path::new(path))
    }

    /// A blob of an OCI archive, its digest compared with what was read.
    pub(super) fn blob(&self, digest: &str) -> Result<&Spooled, ImageError> {
        if !super::name::is_digest(digest) {
            return Err(ImageError::Malformed(format!("\"{digest}\" is not a sha256 digest")));
        }
        let path = digest.replacen(':', "/", 1);
        let spooled = self.file(&format!("blobs/{path}"))?;
        if spooled.digest != digest {
            return Err(ImageError::DigestMismatch {
                what: format!("blobs/{path}"),
                expected: digest.to_owned(),
                actual: spooled.digest.clone(),
            });
        }
        Ok(spooled)
    }

    /// A small file's contents.
    pub(super) fn document(&self, spooled: &Spooled) -> Result<Vec<u8>, ImageError> {
        if spooled.size > self.limits.document_bytes {
            return Err(ImageError::TooBig {
                limit: self.limits.document_bytes,
                unit: "bytes in a document",
            });
        }
        std::fs::read(&spooled.path).map_err(ImageError::io("read a spooled document"))
    }
}

fn spool_file(entry: &mut impl Read, target: PathBuf) -> Result<Spooled, ImageError> {
    let what = "spool the archive";
    let mut file = File::create_new(&target).map_err(ImageError::io(what))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let count = entry.read(&mut buffer).map_err(ImageError::io("read the archive"))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count]).map_err(ImageError::io(what))?;
        size += count as u64;
    }
    Ok(Spooled { path: target, size, digest: digest_text(hasher) })
}

/// `sha256:` and the hash so far.
pub(super) fn digest_text(hasher: Sha256) -> String {
    let mut text = String::from("sha256:");
    for byte in hasher.finalize() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The plain bytes of a stream that may be compressed by gzip or zstd, at most `limit` of them.
pub(super) fn decompress(file: File, limit: u64) -> std::io::Result<Box<dyn Read>> {
    let mut reader = BufReader::with_capacity(CHUNK, file);
    let magic = std::io::BufRead::fill_buf(&mut reader)?;
    Ok(if magic.starts_with(&[0x1f, 0x8b]) {
        Box::new(Bounded::new(flate2::bufread::MultiGzDecoder::new(reader), limit))
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(Bounded::new(zstd::stream::read::Decoder::with_buffer(reader)?, limit))
    } else {
        Box::new(Bounded::new(reader, limit))
    })
}

/// The path without `./`; one that is absolute or climbs is refused, for nothing honest needs it here.
fn plain_path(path: &Path) -> Result<PathBuf, ImageError> {
    lexical_join(Path::new(""), path)
}

fn lexical_join(base: &Path, path: &Path) -> Result<PathBuf, ImageError> {
    let hostile =
        || ImageError::Hostile { path: path.display().to_string(), cause: "leaves the archive".to_owned() };
    let mut joined = base.to_owned();
    for component in path.components() {
        match component {
            Component::Normal(name) => joined.push(name),
            Component::CurDir => {}
            Component::ParentDir if !joined.as_os_str().is_empty() => {
                joined.pop();
            }
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(hostile()),
        }
    }
    Ok(joined)
}
