//! Images as people make them: put together by umoci, copied by skopeo in several forms, from Debian's registry on loopback. One of
//! busybox, and a Debian root file system that debootstrap has made.
#![allow(missing_docs, clippy::unwrap_used)]

mod runtime_support;

use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kontiki_worker::runtime::{ContainerSpec, ImageRef, RuntimeClass};
use runtime_support::{Agent, PATIENCE, Worker, cannot_run_containers};
use rustix::fs::XattrFlags;

/// Names the registry's program where all must be there, as in CI; else tests are skipped that do not find it.
const NAMED: &str = "DOCKER_REGISTRY";
/// Names the folder of a root file system that debootstrap has made; without it that test is skipped.
const DEBIAN: &str = "KONTIKI_TEST_DEBIAN";
const ATTRIBUTE: &str = "user.mood";

/// Whether what these tests need is missing, and says so.
fn is_missing() -> bool {
    if cannot_run_containers() {
        return true;
    }
    let registry = std::env::var(NAMED).unwrap_or_else(|_| "docker-registry".to_owned());
    for (program, package) in
        [(registry.as_str(), "docker-registry"), ("umoci", "umoci"), ("skopeo", "skopeo")]
    {
        if Command::new(program).arg("--help").output().is_err() {
            let missing = format!("{program} is missing (Debian: {package})");
            assert!(std::env::var_os(NAMED).is_none(), "{NAMED} is set, but {missing}");
            eprintln!("skipped: {missing}");
            return true;
        }
    }
    false
}

/// Runs a program that must succeed.
fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Debian's registry, and a folder in which images are made for it.
struct Registry {
    dir: tempfile::TempDir,
    address: String,
    server: Child,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
    }
}

impl Registry {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.yml");
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            // Somebody else may take the port meanwhile: then it ends, and another one is tried.
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let text = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{free}\"}}\n",
                dir.path().join("registry").display()
            );
            std::fs::write(&config, text).unwrap();
            let program = std::env::var(NAMED).unwrap_or_else(|_| "docker-registry".to_owned());
            let mut server = Command::new(program)
                .arg("serve")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            while server.try_wait().unwrap().is_none() {
                if std::net::TcpStream::connect(free).is_ok() {
                    return Self { dir, address: free.to_string(), server };
                }
                assert!(std::time::Instant::now() < end, "the registry does not come up");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn name(&self, version: &str) -> String {
        format!("{}/{version}", self.address)
    }

    /// Begins an image.
    fn begin(&self, image: &str) {
        let layout = self.path("layout");
        if !Path::new(&layout).exists() {
            run("umoci", &["init", "--layout", &layout]);
        }
        run("umoci", &["new", "--image", &format!("{layout}:{image}")]);
    }

    /// Adds a layer to an image: what is changed of its files.
    fn layer(&self, image: &str, change: impl FnOnce(&Path)) {
        let (image, bundle) = (format!("{}:{image}", self.path("layout")), self.path("bundle"));
        run("umoci", &["unpack", "--image", &image, &bundle]);
        change(&Path::new(&bundle).join("rootfs"));
        run("umoci", &["repack", "--image", &image, &bundle]);
        std::fs::remove_dir_all(bundle).unwrap();
    }

    fn configure(&self, image: &str, settings: &[&str]) {
        let image = format!("{}:{image}", self.path("layout"));
        run("umoci", &[&["config", "--image", &image], settings].concat());
    }

    /// Gives an image to the registry; the options say in which form.
    fn push(&self, image: &str, options: &[&str], version: &str) {
        let from = format!("oci:{}:{image}", self.path("layout"));
        self.copy(&from, options, version);
    }

    fn copy(&self, from: &str, options: &[&str], version: &str) {
        let to = format!("docker://{}", self.name(version));
        let copy: &[&str] = &["--insecure-policy", "copy", "-q", "--dest-tls-verify=false"];
        run("skopeo", &[copy, options, &[from, &to]].concat());
    }

    /// The digest of what a name leads to, by skopeo's word.
    fn digest(&self, version: &str) -> String {
        let name = format!("docker://{}", self.name(version));
        let args = ["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &name];
        let told = Command::new("skopeo").args(args).output().unwrap();
        String::from_utf8(told.stdout).unwrap().trim().to_owned()
    }
}

/// What a script says in a container of an image.
async fn said(agent: &mut Agent, name: &str, image: ImageRef, script: &str) -> String {
    let spec = ContainerSpec {
        name: name.to_owned(),
        image,
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        log_path: agent.logs.join(name).join("0.log"),
        ..ContainerSpec::default()
    };
    let exit = agent.run("pod", spec).await;
    assert_eq!(exit.code, 0, "{}", agent.log(name, "stderr"));
    agent.log(name, "stdout")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_of_busybox_comes_in_every_form_as_it_was_made() {
    if is_missing() {
        return;
    }
    let registry = Registry::start();
    registry.begin("box");
    let marked = std::cell::Cell::new(false);
    registry.layer("box", |root| {
        for dir in ["bin", "etc", "data", "tmp"] {
            std::fs::create_dir(root.join(dir)).unwrap();
        }
        std::fs::copy("/usr/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "id", "ls", "stat"] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:1000:2000::/:/bin/sh\n")
            .unwrap();
        std::fs::write(root.join("data/gone"), "lower").unwrap();
        let owned = root.join("data/owned");
        std::fs::write(&owned, "lower").unwrap();
        chown(&owned, Some(1000), Some(2000)).unwrap();
        std::fs::set_permissions(&owned, std::fs::Permissions::from_mode(0o6751)).unwrap();
        // Not every file system in memory has them.
        marked.set(rustix::fs::setxattr(&owned, ATTRIBUTE, b"good", XattrFlags::empty()).is_ok());
        std::fs::hard_link(&owned, root.join("data/again")).unwrap();
    });
    registry.layer("box", |root| {
        std::fs::remove_file(root.join("data/gone")).unwrap();
        std::fs::write(root.join("data/new"), "upper").unwrap();
    });
    registry.configure(
        "box",
        &["--config.user", "web", "--config.env", "PATH=/bin", "--config.workingdir", "/data"],
    );
    // In a registry of its own: of layers that one has already, skopeo makes no other form.
    let other = Registry::start();
    let plain = registry.path("plain");
    run(
        "skopeo",
        &[
            "--insecure-policy",
            "copy",
            "-q",
            "--dest-decompress",
            &format!("oci:{}:box", registry.path("layout")),
            &format!("dir:{plain}"),
        ],
    );
    other.copy(&format!("dir:{plain}"), &["--dest-compress-format", "zstd"], "zstd/box:1");
    registry.push("box", &[], "oci/box:1");
    registry.push("box", &["--format", "v2s2"], "docker/box:1");
    let digest = registry.digest("oci/box:1");

    let script = "id -u; id -g; pwd; ls /data; cat new; stat -c '%u:%g %a %h' owned";
    let expected = "1000\n2000\n/data\nagain\nnew\nowned\nupper1000:2000 6751 2\n";
    let by_digest = format!("oci/box@{digest}");
    let forms = [
        (&other, "zstd/box:1"),
        (&registry, "oci/box:1"),
        (&registry, "docker/box:1"),
        (&registry, by_digest.as_str()),
    ];
    for (registry, version) in forms {
        // Each from nothing.
        let worker = Worker::default();
        let mut agent = worker.runtime();
        agent.start_pod("pod", RuntimeClass::Container).await;
        let image = agent.runtime.pull_image(&registry.name(version), &[]).await.unwrap();
        if version.starts_with("oci") {
            assert_eq!(image.digest, digest, "{version}");
        }
        if marked.get() {
            let held = worker.store.resolve(&registry.name(version)).unwrap();
            let file = worker.store.root(&held).find(Path::new("data/owned")).unwrap();
            let mut value = [0; 8];
            let length = rustix::fs::getxattr(&file, ATTRIBUTE, &mut value).unwrap();
            assert_eq!(&value[..length], b"good", "{version}");
        }
        let told = said(&mut agent, "main", image, script).await;
        assert_eq!(told, expected, "{version}");
        agent.runtime.remove_pod("pod").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_debian_root_file_system_is_whole() {
    let Some(debian) = std::env::var_os(DEBIAN).map(PathBuf::from) else {
        return eprintln!("skipped: {DEBIAN} names no root file system that debootstrap has made");
    };
    if is_missing() {
        return;
    }
    let registry = Registry::start();
    registry.begin("debian");
    registry.layer("debian", |root| {
        run("cp", &["-a", &format!("{}/.", debian.display()), root.to_str().unwrap()]);
    });
    registry.push("debian", &[], "debian:12");
    let worker = Worker::default();
    let mut agent = worker.runtime();
    agent.start_pod("pod", RuntimeClass::Container).await;
    let image = agent.runtime.pull_image(&registry.name("debian:12"), &[]).await.unwrap();
    // Every file is compared with what its package says; then somebody becomes another user.
    let script = "dpkg --verify && echo whole; dpkg-query -W -f '.' | wc -c; su nobody -s /bin/sh -c id; \
                  cat /etc/debian_version";
    let told = said(&mut agent, "debian", image, script).await;
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "whole", "{told}");
    assert!(lines[1].parse::<u32>().unwrap() > 50, "{told}");
    assert!(lines[2].starts_with("uid=65534(nobody)"), "{told}");
    agent.runtime.remove_pod("pod").await.unwrap();
}
