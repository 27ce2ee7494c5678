//! Images, loaded from archives that nobody honest made, in a fresh folder each. Whatever they hold: nothing outside of the store is made,
//! changed, linked to or read; a load that is refused leaves nothing; one that is not stays within the store's limits.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use kontiki_worker::{
    fuzzing,
    image::{Limits, Store, normalise},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{Target, owned, same, text};
use crate::{
    engine::mark,
    tar::{self, Header},
};

pub(super) const LAYERS: Target = Target::documents("image-layers", layer_seeds, layers).with(8 << 10, 1_500);
pub(super) const DOCUMENTS: Target =
    Target::documents("image-documents", document_seeds, documents).with(4 << 10, 2_000);
pub(super) const ARCHIVE: Target =
    Target::bytes("image-archive", archive_seeds, archive).with(24 << 10, 2_000);
pub(super) const NAME: Target = Target::bytes(
    "image-name",
    || {
        owned(&[
            b"web",
            b"127.0.0.1:5000/a/b-c__d:1.2",
            b"ghcr.io/a/b@sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
            b"[::1]:5000/w",
        ])
    },
    name,
);

/// Small enough that inputs reach them.
const LIMITS: Limits = Limits { bytes: 64 << 10, inodes: 60, document_bytes: 4 << 10 };
/// What a store may have besides files of images: its index, locks, and folders on the way to them.
const OVERHEAD_BYTES: u64 = 16 << 10;
const OVERHEAD_INODES: u64 = 100;
/// In texts of an input: the folder that must not be reached.
const OUTSIDE: &str = "@";
/// Who is known there only.
const STRANGER: &str = "stranger";
/// Entries of all layers.
const ENTRIES_MAX: usize = 100;

/// In memory where that is to be had: a store that puts an image in place waits until it is on the disk.
fn folder() -> Result<TempDir, String> {
    let made = tempfile::Builder::new().prefix("kontiki-fuzz-").tempdir_in("/dev/shm");
    made.or_else(|_| tempfile::tempdir()).map_err(|error| format!("make a folder: {error}"))
}

/// A folder with a store and with what it must leave alone.
struct Place {
    dir: TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Place {
    fn new() -> Result<Place, String> {
        let dir = folder()?;
        let failed = |error: std::io::Error| format!("prepare a folder: {error}");
        let outside = dir.path().join("outside");
        fs::create_dir_all(outside.join("etc")).map_err(failed)?;
        fs::create_dir(dir.path().join("store")).map_err(failed)?;
        for file in ["secret", "etc/passwd", "etc/group"] {
            let line = format!("{STRANGER}:x:4242:4242::/:/bin/sh\n");
            fs::write(outside.join(file), line).map_err(failed)?;
        }
        symlink("secret", outside.join("link")).map_err(failed)?;
        let before = seen(dir.path(), Some(&dir.path().join("store"))).map_err(failed)?;
        Ok(Place { dir, before })
    }

    /// A text with the folder that must not be reached in it. Other absolute paths lead there, too: if they are followed, here is what suffers.
    fn path(&self, text: &str) -> String {
        let outside = self.dir.path().join("outside").display().to_string();
        let text = text.replace(OUTSIDE, &outside);
        if text.starts_with('/') && !text.starts_with(&outside) { outside + &text } else { text }
    }

    /// Loads an archive, and looks at what that did. Answers what was unpacked, if it was taken.
    fn load(&self, archive: &[u8]) -> Result<Option<BTreeMap<PathBuf, String>>, String> {
        let failed = |error: std::io::Error| format!("look at a folder: {error}");
        let (store_dir, file) = (self.dir.path().join("store"), self.dir.path().join("store/image.tar"));
        let store =
            Store::open_with(&store_dir, LIMITS).map_err(|error| format!("open the store: {error}"))?;
        fs::write(&file, archive).map_err(failed)?;
        let loaded = store.load(&file);
        fs::remove_file(&file).map_err(failed)?;
        same("what is outside", &seen(self.dir.path(), Some(&store_dir)).map_err(failed)?, &self.before)?;
        let images = match loaded {
            Ok(images) => images,
            // A layer upon others is unpacked by a thread of its own.
            Err(error) if error.to_string().contains("panicked") => return Err(error.to_string()),
            Err(error) => {
                mark(&error.to_string());
                same("images of a load that was refused", &store.list().len(), &0)?;
                nothing_begun(&store_dir)?;
                no_layers(&store_dir)?;
                return Ok(None);
            }
        };
        mark(&format!("{} images", images.len().min(3)));
        nothing_begun(&store_dir)?;
        for loaded in &images {
            let image = store.resolve(&loaded.image.digest).ok_or("what was loaded is not found")?;
            if let Ok(identity) = store.identity(&image, STRANGER) {
                return Err(format!("users of the machine were read: {identity:?}"));
            }
            store.identity(&image, "").ok();
        }
        let inside = seen(&store_dir, None).map_err(failed)?;
        let (bytes, inodes) = (bytes_of(&store_dir).map_err(failed)?, inside.len() as u64);
        // Each image of an archive has its own limits.
        let of = images.len().max(1) as u64;
        if bytes > of * LIMITS.bytes + OVERHEAD_BYTES || inodes > of * LIMITS.inodes + OVERHEAD_INODES {
            return Err(format!("the store holds {bytes} bytes and {inodes} files"));
        }
        let again =
            Store::open_with(&store_dir, LIMITS).map_err(|error| format!("open it again: {error}"))?;
        same("images of the store opened again", &again.list(), &store.list())?;
        store.prune(true).map_err(|error| format!("remove what was loaded: {error}"))?;
        same("images that are left", &store.list().len(), &0)?;
        no_layers(&store_dir)?;
        same("what is outside", &seen(self.dir.path(), Some(&store_dir)).map_err(failed)?, &self.before)?;
        Ok(Some(inside))
    }
}

/// All that is in a folder, in words; with times, and without what is in another one, if there is one.
fn seen(dir: &Path, but: Option<&Path>) -> std::io::Result<BTreeMap<PathBuf, String>> {
    let mut found = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if but == Some(&*path) {
                continue;
            }
            let meta = fs::symlink_metadata(&path)?;
            let is = meta.file_type();
            let mut words =
                format!("{:o} {}:{} of {} links: ", meta.mode(), meta.uid(), meta.gid(), meta.nlink());
            if but.is_some() {
                // A folder's tells of what was made in it.
                words += &format!("{}.{}, ", meta.mtime(), meta.mtime_nsec());
            }
            if is.is_symlink() {
                words += &fs::read_link(&path)?.display().to_string();
            } else if is.is_file() {
                let mut content = Vec::new();
                File::open(&path)?.take(1 << 10).read_to_end(&mut content)?;
                words += &format!("{} bytes, {}", meta.len(), content.escape_ascii());
            } else if is.is_dir() {
                left.push(path.clone());
            }
            found.insert(path.strip_prefix(dir).unwrap_or(&path).to_owned(), words);
        }
    }
    Ok(found)
}

fn bytes_of(dir: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    let mut left = vec![dir.to_owned()];
    let mut counted = std::collections::BTreeSet::new();
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let meta = fs::symlink_metadata(&path)?;
            if meta.is_dir() {
                left.push(path);
            } else if meta.is_file() && counted.insert(meta.ino()) {
                sum += meta.len();
            }
        }
    }
    Ok(sum)
}

/// What a load begins goes with it.
fn nothing_begun(store: &Path) -> Result<(), String> {
    let left = names(store)?;
    match left.iter().find(|name| name.starts_with("loading-")) {
        Some(name) => Err(format!("{name} is left")),
        None => Ok(()),
    }
}

/// A store without images has no layers either.
fn no_layers(store: &Path) -> Result<(), String> {
    same("layers of no image", &names(&store.join("layered/l"))?, &Vec::new())
}

/// What is in a folder, if it is there.
fn names(dir: &Path) -> Result<Vec<String>, String> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("list {}: {error}", dir.display())),
    };
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn file(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    let header = Header { kind: b'0', name, mode: 0o644, size: data.len() as u64, ..Header::default() };
    tar::append(out, &header, data);
}

/// Adds a blob to an archive; answers its digest.
fn blob(out: &mut Vec<u8>, data: &[u8]) -> String {
    let digest = digest(data);
    file(out, &format!("blobs/{}", digest.replacen(':', "/", 1)), data);
    digest
}

/// An OCI archive of an image with these layers, packed and not.
fn oci(layers: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    let diff_ids: Vec<String> = layers.iter().map(|(_, plain)| digest(plain)).collect();
    let config = json!({"rootfs": {"diff_ids": diff_ids}, "config": {"User": "a:b"}}).to_string();
    let described: Vec<Value> = layers
        .iter()
        .map(|(packed, _)| json!({"digest": blob(&mut out, packed), "size": packed.len()}))
        .collect();
    let config = json!({"digest": blob(&mut out, config.as_bytes())});
    let manifest = json!({"config": config, "layers": described}).to_string();
    let manifest = json!({"digest": blob(&mut out, manifest.as_bytes()), "annotations": {"io.containerd.image.name": "a/b:1"}});
    file(&mut out, "index.json", json!({"manifests": [manifest]}).to_string().as_bytes());
    tar::end(&mut out);
    out
}

fn layer_seeds() -> Vec<Vec<u8>> {
    let seeds = [
        json!({"layers": [
            [{"k": "dir", "n": "etc/"}, {"k": "file", "n": "etc/passwd", "c": "a:x:1:2::/:/bin/sh\n"}, {"k": "file", "n": "etc/group", "c": "b:x:3:\n"}, {"k": "symlink", "n": "bin", "l": "usr/bin"}, {"k": "link", "n": "c", "l": "etc/passwd"}],
            [{"k": "file", "n": "etc/.wh.passwd"}, {"k": "file", "n": "usr/bin/sh", "c": "#!", "m": 0o6755, "x": {"SCHILY.xattr.user.a": "b", "SCHILY.xattr.security.capability": "x"}}, {"k": "file", "n": "usr/.wh..wh..opq"}, {"k": "fifo", "n": "f"}, {"k": "char", "n": "dev/null"}],
        ]}),
        json!({"pack": "gzip", "layers": [[{"k": "symlink", "n": "a", "l": "@"}, {"k": "file", "n": "a/new", "c": "x"}, {"k": "link", "n": "b", "l": "@/secret"}, {"k": "link", "n": "d", "l": "a/secret"}, {"k": "file", "n": "a/.wh.secret"}, {"k": "file", "n": "a/.wh..wh..opq"}]]}),
        json!({"pack": "zstd", "layers": [[{"k": "symlink", "n": "up", "l": "../../../../outside"}, {"k": "dir", "n": "up/etc", "m": 0o777}, {"k": "file", "n": "up/secret", "c": "y"}, {"k": "symlink", "n": "etc", "l": "@/etc"}]]}),
        json!({"pack": "members", "layers": [[{"k": "file", "n": "../../x", "c": "x"}], [{"k": "file", "n": "@/x", "c": "x"}], [{"k": "file", "n": "a/..", "c": "x"}]]}),
        json!({"layers": [[{"k": "longname", "c": "long/name/of/a/file"}, {"k": "file", "n": "short", "c": "x"}, {"k": "longlink", "c": "@/secret"}, {"k": "symlink", "n": "s"}, {"k": "pax", "x": {"path": "p/q", "size": "3", "linkpath": "@/secret", "uid": "7"}}, {"k": "link", "n": "r", "l": "q", "c": "abc"}, {"k": "global", "x": {"path": "@/g"}}, {"k": "file", "n": "after"}]]}),
        json!({"layers": [[{"k": "longname", "c": "d/".repeat(50) + "x"}, {"k": "file"}, {"k": "longname", "c": "e/".repeat(50) + "x"}, {"k": "dir"}, {"k": "longname", "c": "f/".repeat(60) + "x"}, {"k": "dir"}]]}),
        json!({"layers": [[{"k": "sparse", "n": "holes", "c": "x", "s": 1000}, {"k": "file", "n": "cut", "c": "abc", "s": 2000}]], "cut": 1500}),
        json!({"layers": [[{"k": "dir", "n": "d/d/d", "m": 0}, {"k": "symlink", "n": "d/d/l", "l": "l"}, {"k": "file", "n": "d/d/l/x", "c": ""}, {"k": "file", "n": "d/d", "c": "over"}, {"k": "dir", "n": ".", "m": 0o700}, {"k": "link", "n": "self", "l": "self"}]], "flip": 700}),
    ];
    seeds.iter().map(|seed| seed.to_string().into_bytes()).collect()
}

/// One layer as a tar archive.
fn layer(place: &Place, entries: &[Value], left: &mut usize) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        let Some(one_less) = left.checked_sub(1) else { break };
        *left = one_less;
        let text = |key: &str| place.path(entry[key].as_str().unwrap_or_default());
        let number = |key: &str| entry[key].as_u64();
        let (name, link, mut data) = (text("n"), text("l"), text("c").into_bytes());
        let attributes = |kind: u8, out: &mut Vec<u8>| {
            let records: String = entry["x"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| tar::record(name, &place.path(value.as_str().unwrap_or_default())))
                .collect();
            if !records.is_empty() {
                let header =
                    Header { kind, name: "attributes", size: records.len() as u64, ..Header::default() };
                tar::append(out, &header, records.as_bytes());
            }
        };
        let kind = match entry["k"].as_str().unwrap_or_default() {
            "file" => b'0',
            "link" => b'1',
            "symlink" => b'2',
            "char" => b'3',
            "block" => b'4',
            "dir" => b'5',
            "fifo" => b'6',
            "sparse" => b'S',
            "longname" => b'L',
            "longlink" => b'K',
            "pax" | "global" => 0,
            other => other.bytes().next().unwrap_or(b'7'),
        };
        match entry["k"].as_str() {
            Some("global") => attributes(b'g', &mut out),
            _ => attributes(b'x', &mut out),
        }
        if kind == 0 {
            continue;
        }
        if matches!(kind, b'L' | b'K') {
            data.push(0);
        }
        let mode = number("m").map_or(0o755, |mode| mode as u32);
        let size = number("s").unwrap_or(data.len() as u64);
        let header =
            Header { kind, name: &name, link: &link, mode, id: number("u").unwrap_or(0) as u32, size };
        tar::append(&mut out, &header, &data);
    }
    tar::end(&mut out);
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).ok();
    encoder.finish().unwrap_or_default()
}

fn pack(how: &str, plain: &[u8]) -> Vec<u8> {
    match how {
        "gzip" => gzip(plain),
        "members" => {
            let (first, second) = plain.split_at(plain.len() / 2);
            [gzip(first), gzip(second)].concat()
        }
        "zstd" => zstd::encode_all(plain, 1).unwrap_or_default(),
        _ => plain.to_vec(),
    }
}

/// A document of layers, each a list of entries, and of how they are packed and spoilt.
fn layers(input: &[u8]) -> Result<bool, String> {
    let Ok(given) = serde_json::from_slice::<Value>(input) else { return Ok(false) };
    let place = Place::new()?;
    let mut left = ENTRIES_MAX;
    let entries = given["layers"].as_array().into_iter().flatten().filter_map(Value::as_array);
    let plain: Vec<Vec<u8>> = entries.map(|entries| layer(&place, entries, &mut left)).collect();
    let how = given["pack"].as_str().unwrap_or_default();
    let spoil = |mut packed: Vec<u8>| {
        let at = |key: &str, bytes: &[u8]| Some(given[key].as_u64()? as usize % bytes.len().max(1));
        if let Some(at) = at("flip", &packed)
            && let Some(byte) = packed.get_mut(at)
        {
            *byte ^= 1;
        }
        if let Some(at) = at("cut", &packed) {
            packed.truncate(at);
        }
        packed
    };
    let packed: Vec<_> = plain.iter().map(|plain| (spoil(pack(how, plain)), plain.clone())).collect();
    let unpacked = place.load(&oci(&packed))?;
    // However they are packed, layers hold the same.
    let spoilt = given["flip"].is_u64() || given["cut"].is_u64();
    if !how.is_empty() && !spoilt {
        let packed: Vec<_> = plain.iter().map(|plain| (plain.clone(), plain.clone())).collect();
        let other = place.load(&oci(&packed))?;
        same("files by another compression", &files(unpacked.as_ref()), &files(other.as_ref()))?;
    }
    Ok(unpacked.is_some())
}

/// The files of images in a store, without the digests that name their folders.
fn files(store: Option<&BTreeMap<PathBuf, String>>) -> Option<Vec<(PathBuf, &String)>> {
    let of_image = |(path, words): (&PathBuf, _)| {
        let mut parts = path.components();
        parts.by_ref().find(|part| ["rootfs", "f"].iter().any(|root| part.as_os_str() == *root))?;
        Some((parts.as_path().to_owned(), words))
    };
    Some(store?.iter().filter_map(of_image).collect())
}

fn document_seeds() -> Vec<Vec<u8>> {
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let seeds = [
        json!([["", {"rootfs": {"diff_ids": ["digest:L"]}, "architecture": arch, "os": "linux", "config": {"Env": ["A=b"], "Cmd": null, "User": "0"}}],
            ["", {"config": {"digest": "digest:0"}, "layers": [{"digest": "digest:L", "size": 10240}]}],
            ["index.json", {"manifests": [{"digest": "digest:1", "platform": {"os": "linux", "architecture": arch}, "annotations": {"org.opencontainers.image.ref.name": "1.2"}}]}]]),
        json!([["", {"rootfs": {"diff_ids": []}}], ["", {"config": {"digest": "digest:0"}}], ["", {"manifests": [{"digest": "digest:1"}, {"digest": "digest:1"}]}],
            ["", {"manifests": [{"digest": "digest:2"}, {"digest": "digest:2"}]}], ["", {"manifests": [{"digest": "digest:3"}]}], ["index.json", {"manifests": [{"digest": "digest:4"}]}]]),
        json!([["c.json", {"rootfs": {"diff_ids": ["digest:L"]}}], ["manifest.json", [{"Config": "c.json", "RepoTags": ["a/b:1", "c"], "Layers": ["layer.tar"]}]]]),
        json!([["c.json", "{}"], ["manifest.json", [{"Config": "./c.json", "RepoTags": null, "Layers": null}]], ["../x", "y"]]),
    ];
    seeds.iter().map(|seed| seed.to_string().into_bytes()).collect()
}

/// A list of documents and their paths in the archive; without one, a document is a blob.
fn documents(input: &[u8]) -> Result<bool, String> {
    let Ok(Value::Array(given)) = serde_json::from_slice(input) else { return Ok(false) };
    let mut plain = Vec::new();
    file(&mut plain, "a", b"x");
    tar::end(&mut plain);
    let mut out = Vec::new();
    file(&mut out, "layer.tar", &plain);
    let mut known = vec![("digest:L".to_owned(), blob(&mut out, &plain))];
    for (at, document) in given.iter().enumerate().take(ENTRIES_MAX) {
        let mut text = document[1].as_str().map_or_else(|| document[1].to_string(), str::to_owned);
        for (name, digest) in &known {
            text = text.replace(&format!("{name}\""), &format!("{digest}\""));
        }
        match document[0].as_str() {
            None | Some("") => known.push((format!("digest:{at}"), blob(&mut out, text.as_bytes()))),
            Some(path) => file(&mut out, path, text.as_bytes()),
        }
    }
    tar::end(&mut out);
    Ok(Place::new()?.load(&out)?.is_some())
}

fn archive_seeds() -> Vec<Vec<u8>> {
    let mut plain = Vec::new();
    file(&mut plain, "a", b"x");
    tar::end(&mut plain);
    let oci = oci(&[(plain.clone(), plain.clone())]);
    let mut docker = Vec::new();
    let config = json!({"rootfs": {"diff_ids": [digest(&plain), digest(&plain)]}}).to_string();
    file(&mut docker, "c.json", config.as_bytes());
    file(&mut docker, "l.tar", &plain);
    let link = Header { kind: b'2', name: "x/l.tar", link: "../l.tar", ..Header::default() };
    tar::append(&mut docker, &link, b"");
    let manifest =
        json!([{"Config": "c.json", "RepoTags": ["w:1"], "Layers": ["l.tar", "x/l.tar"]}]).to_string();
    file(&mut docker, "manifest.json", manifest.as_bytes());
    tar::end(&mut docker);
    let mut seeds = vec![gzip(&oci), pack("zstd", &docker), pack("members", &docker)];
    seeds.extend([oci, docker]);
    seeds
}

/// An archive as it is, its headers put right; what is packed is changed as it is.
fn archive(input: &[u8]) -> Result<bool, String> {
    let mut input = input.to_vec();
    tar::put_right(&mut input);
    Ok(Place::new()?.load(&input)?.is_some())
}

fn name(input: &[u8]) -> Result<bool, String> {
    let Some(name) = text(input) else { return Ok(false) };
    let full = normalise(name);
    let Some(read) = fuzzing::reference(name) else { return Ok(false) };
    same("a full name made full", &normalise(&full), &full)?;
    same("a name read again", &fuzzing::reference(&read), &Some(read.clone()))?;
    Ok(true)
}
