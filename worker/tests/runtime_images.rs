//! Images: what is loaded is what was built, and what is wrong or hostile is refused and leaves nothing behind.
#![allow(missing_docs, clippy::unwrap_used)]

mod runtime_support;

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use kontiki_worker::image::{ImageError, Limits, LoadedImage, Store};
use runtime_support::{Tar, View, hex, oci_archive, plain};
use serde_json::json;

struct Bench {
    dir: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open_with(dir.path().join("images"), limits).unwrap();
        Self { dir, store }
    }

    fn load(&self, archive: &[u8]) -> Result<Vec<LoadedImage>, ImageError> {
        let path = self.dir.path().join("archive.tar");
        std::fs::write(&path, archive).unwrap();
        self.store.load(&path)
    }

    /// Loads one image of these layers and answers its root.
    fn root(&self, layers: Vec<Vec<u8>>) -> View {
        let layers: Vec<_> = layers.into_iter().map(plain).collect();
        let loaded = self.load(&oci_archive("it:1", &layers, json!({}))).unwrap();
        View::of(&self.store, &loaded[0].image)
    }

    /// What a refused load says; the store must be as if it never had been asked.
    fn refusal(&self, archive: &[u8]) -> String {
        let refusal = self.load(archive).unwrap_err().to_string();
        assert_eq!(self.store.list(), []);
        let images = self.dir.path().join("images");
        for (dir, kept) in [("", &["layered", "lock"][..]), ("layered", &["l"]), ("layered/l", &[])] {
            let mut left = if images.join(dir).exists() { names(&images.join(dir)) } else { Vec::new() };
            left.retain(|name| !kept.contains(&name.as_str()));
            assert_eq!(left, [""; 0], "left behind in {dir}");
        }
        refusal
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|it| it.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn layers_lie_upon_each_other() {
    let bench = Bench::new();
    let lower = Tar::default()
        .dir("keep/", 0o755)
        .file("keep/a", 0o644, b"a")
        .file("gone", 0o644, b"x")
        .dir("emptied/", 0o755)
        .file("emptied/old", 0o644, b"x")
        .dir("dir-to-file/", 0o755)
        .file("dir-to-file/x", 0o644, b"x")
        .file("file-to-dir", 0o644, b"x")
        .dir("usr/lib/", 0o755)
        .symlink("lib", "usr/lib")
        .finish();
    let upper = Tar::default()
        .file("keep/b", 0o600, b"b")
        .file(".wh.gone", 0o644, b"")
        .file("emptied/new", 0o644, b"new")
        .file("emptied/.wh..wh..opq", 0o644, b"")
        .file("dir-to-file", 0o644, b"file")
        .dir("file-to-dir/", 0o755)
        .file("lib/x.so", 0o755, b"so")
        .hard_link("keep/c", "keep/a")
        .finish();
    let root = bench.root(vec![lower, upper]);
    assert_eq!(names(&root), ["dir-to-file", "emptied", "file-to-dir", "keep", "lib", "usr"]);
    assert_eq!(names(&root.join("keep")), ["a", "b", "c"]);
    assert_eq!(names(&root.join("emptied")), ["new"], "what the same layer made stays");
    assert_eq!(std::fs::read_to_string(root.join("usr/lib/x.so")).unwrap(), "so", "through the link");
    assert!(root.join("file-to-dir").is_dir());
    let (a, c) = (root.join("keep/a").metadata().unwrap(), root.join("keep/c").metadata().unwrap());
    assert_eq!(a.ino(), c.ino());
    let b = root.join("keep/b").metadata().unwrap();
    assert_eq!((b.mode() & 0o7777, b.mtime()), (0o600, 1_000_000_000));
}

#[test]
fn nothing_is_written_outside_the_image() {
    for (what, layer) in [
        ("a path that climbs", Tar::default().file("../../escape", 0o644, b"x")),
        ("a hard link that climbs", Tar::default().hard_link("x", "../../../etc/passwd")),
        ("a hard link to what is not there", Tar::default().hard_link("x", "/etc/passwd")),
        ("a whiteout of the root", Tar::default().file(".wh...", 0o644, b"")),
        (
            "a file beneath a link to nowhere",
            Tar::default().symlink("d", "/nowhere/at/all").file("d/x", 0o644, b"x"),
        ),
    ] {
        let bench = Bench::new();
        let refusal = bench.refusal(&oci_archive("it:1", &[plain(layer.finish())], json!({})));
        assert!(refusal.starts_with("entry \""), "{what}: {refusal}");
    }

    // Links that point out of the image lead back into it.
    let bench = Bench::new();
    let outside = bench.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let layer = Tar::default()
        .dir("inside/", 0o755)
        .symlink("absolute", "/inside")
        .file("absolute/one", 0o644, b"1")
        .symlink("climbing", "../../../../inside")
        .file("climbing/two", 0o644, b"2")
        .file("/leading/slash", 0o644, b"3")
        .symlink("file", outside.join("file").to_str().unwrap())
        .file("file", 0o644, b"replaced, not followed")
        .finish();
    let root = bench.root(vec![layer]);
    assert_eq!(names(&root.join("inside")), ["one", "two"]);
    assert_eq!(std::fs::read_to_string(root.join("leading/slash")).unwrap(), "3");
    assert_eq!(names(&outside), Vec::<String>::new());
    assert!(root.join("file").symlink_metadata().unwrap().is_file());
}

#[test]
fn a_device_is_not_unpacked() {
    let bench = Bench::new();
    let layer = Tar::default().link(tar::EntryType::Char, "dev-null", "").file("file", 0o644, b"x").finish();
    assert_eq!(names(&bench.root(vec![layer])), ["file"]);
}

#[test]
fn corrupt_archives_are_refused() {
    let layer = Tar::default().file("file", 0o644, b"contents").finish();
    let good = oci_archive("it:1", &[plain(layer.clone())], json!({}));

    let mut flipped = good.clone();
    let at = flipped.windows(8).position(|window| window == b"contents").unwrap();
    flipped[at] ^= 1;
    let refusal = Bench::new().refusal(&flipped);
    assert!(
        refusal.contains("has digest sha256:") && refusal.contains("the archive is corrupt"),
        "{refusal}"
    );

    let cut = &good[..good.len() / 2];
    assert!(Bench::new().refusal(cut).contains("archive"));
    assert!(Bench::new().refusal(b"no tar at all, only words").contains("archive"));
    let foreign = Tar::default().file("readme", 0o644, b"x").finish();
    assert!(Bench::new().refusal(&foreign).contains("neither index.json (OCI) nor manifest.json (docker)"));
    let climbing = Tar::default().file("../x", 0o644, b"x").finish();
    assert_eq!(Bench::new().refusal(&climbing), "entry \"../x\": leaves the archive");

    // The manifest's diff id is for other bytes than the layer's.
    let lying = oci_archive("it:1", &[(layer, b"other".to_vec())], json!({}));
    let refusal = Bench::new().refusal(&lying);
    assert!(refusal.contains(&hex(b"other")), "{refusal}");
}

#[test]
fn an_image_has_bounds() {
    let files = |count: usize| {
        let tar =
            (0..count).fold(Tar::default(), |tar, number| tar.file(&format!("f{number}"), 0o644, &[0; 1000]));
        oci_archive("it:1", &[plain(tar.finish())], json!({}))
    };
    let by_count = Bench::with(Limits { inodes: 5, ..Limits::default() });
    assert!(by_count.refusal(&files(6)).contains("exceeds the limit of 5 files"));
    let by_size = Bench::with(Limits { bytes: 100_000, ..Limits::default() });
    // Packed it is small, unpacked it is not.
    let layer = Tar::default().file("zeros", 0o644, &vec![0; 1 << 20]).finish();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&layer).unwrap();
    let refusal = by_size.refusal(&oci_archive("it:1", &[(gzip.finish().unwrap(), layer)], json!({})));
    assert!(refusal.contains("exceeds the limit") || refusal.contains("limits allow"), "{refusal}");
}

#[test]
fn what_describes_an_entry_is_not_without_end() {
    use tar::EntryType;
    const TOO_MUCH: usize = 2 << 20;
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        for (bytes, cause) in
            [(TOO_MUCH, "more than 1 MiB of names and attributes"), (5000, "a name is longer")]
        {
            if kind == EntryType::XHeader && bytes < TOO_MUCH {
                continue; // As attributes these are not many.
            }
            let tar = Tar::default().other(kind, "long", &vec![b'a'; bytes]).file("f", 0o644, b"x").finish();
            let of_layer = Bench::new().refusal(&oci_archive("it:1", &[plain(tar.clone())], json!({})));
            assert!(of_layer.contains(cause), "{kind:?}: {of_layer}");
            let of_archive = Bench::new().refusal(&tar);
            assert!(of_archive.contains(cause), "{kind:?}: {of_archive}");
        }
    }

    // What nobody reads may be long, and names may be as long as those of files.
    let name = "n".repeat(200);
    let layer = Tar::default()
        .other(EntryType::XGlobalHeader, ".", &vec![b'a'; TOO_MUCH])
        .other(EntryType::Char, "device", &vec![b'a'; TOO_MUCH])
        .other(EntryType::GNULongName, "long", name.as_bytes())
        .file("f", 0o644, &vec![b'x'; TOO_MUCH])
        .file("g", 0o644, b"x")
        .finish();
    let bench = Bench::new();
    assert_eq!(names(&bench.root(vec![layer])), ["g", &name]);
}

#[test]
fn compressed_layers_and_docker_archives_are_read() {
    let layer = Tar::default().file("file", 0o644, b"contents").finish();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&layer).unwrap();
    let zstd = zstd::encode_all(&layer[..], 1).unwrap();
    for stored in [gzip.finish().unwrap(), zstd] {
        let bench = Bench::new();
        let loaded = bench.load(&oci_archive("web:1", &[(stored, layer.clone())], json!({}))).unwrap();
        assert!(bench.store.root(&loaded[0].image).find(Path::new("file")).is_some());
    }

    let config = json!({ "os": "linux", "config": { "Cmd": ["/file"], "Entrypoint": null },
        "rootfs": { "diff_ids": [format!("sha256:{}", hex(&layer))] } })
    .to_string();
    let manifest =
        json!([{ "Config": "config.json", "RepoTags": ["web:1", "team/web:2"], "Layers": ["a/layer.tar"] }]);
    let archive = Tar::default()
        .file("manifest.json", 0o644, manifest.to_string().as_bytes())
        .file("config.json", 0o644, config.as_bytes())
        .symlink("a/layer.tar", "../b/layer.tar")
        .file("b/layer.tar", 0o644, &layer)
        .finish();
    let bench = Bench::new();
    let loaded = bench.load(&archive).unwrap();
    assert_eq!(loaded[0].names, ["docker.io/library/web:1", "docker.io/team/web:2"]);
    assert_eq!(loaded[0].image.config.cmd, ["/file"]);
    assert_eq!(loaded[0].image.digest, format!("sha256:{}", hex(config.as_bytes())));
}

#[test]
fn names_lead_to_the_image_loaded_last() {
    let bench = Bench::new();
    let archive = |contents: &[u8]| {
        oci_archive("web:1", &[plain(Tar::default().file("file", 0o644, contents).finish())], json!({}))
    };
    let first = bench.load(&archive(b"1")).unwrap().remove(0);
    assert!(first.new);
    assert!(!bench.load(&archive(b"1")).unwrap()[0].new, "once more is no error");
    let second = bench.load(&archive(b"2")).unwrap().remove(0);
    let resolved = bench.store.resolve("web:1").unwrap();
    assert_eq!(resolved.digest, second.image.digest);
    assert_eq!(resolved, bench.store.resolve("docker.io/library/web:1").unwrap());
    assert_eq!(bench.store.resolve("web"), None, "no tag means latest, which was not loaded");
    let old = bench.store.resolve(&format!("web@{}", first.image.digest)).unwrap();
    assert_eq!(old.names, Vec::<String>::new(), "the old image lost its name and is still there by digest");

    // Another process opens the same store and sees the same; what a dead load left is swept.
    let half = bench.dir.path().join("images/loading-1-1");
    std::fs::create_dir(&half).unwrap();
    let again = Store::open(bench.dir.path().join("images")).unwrap();
    assert_eq!(again.list(), bench.store.list());
    assert!(!half.exists());

    assert!(again.remove("web:1").unwrap());
    assert!(!again.remove("web:1").unwrap());
    assert_eq!(bench.store.resolve("web:1"), None);
    assert!(!bench.store.home(&second.image).exists());
    assert_eq!(bench.store.root(&second.image).find(Path::new("file")), None);
}

#[test]
fn users_are_looked_up_in_the_image() {
    let bench = Bench::new();
    let layer = Tar::default()
        .symlink("etc", "/elsewhere")
        .dir("elsewhere/", 0o755)
        .file("elsewhere/passwd", 0o644, b"root:x:0:0::/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n")
        .file("elsewhere/group", 0o644, b"data:x:2000:web,other\n")
        .finish();
    let archive = oci_archive("web:1", &[plain(layer)], json!({ "User": "web" }));
    let image = bench.load(&archive).unwrap().remove(0).image;
    let ids = |user: &str| bench.store.identity(&image, user).map(|it| (it.uid, it.gid, it.groups));
    assert_eq!(ids("").unwrap(), (1000, 1001, vec![2000]));
    assert_eq!(ids("0").unwrap(), (0, 0, vec![]));
    assert_eq!(ids("web:data").unwrap(), (1000, 2000, vec![]));
    assert_eq!(ids("4242:7").unwrap(), (4242, 7, vec![]));
    assert!(ids("nobody").unwrap_err().to_string().contains("securityContext.runAsUser"));
}
