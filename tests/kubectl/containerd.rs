//! A cluster whose containers a containerd runs: the scenarios that pods matter for are the same as with the built-in runtime.

#[path = "../../worker/tests/cri_support/containerd.rs"]
mod daemon;

use std::path::PathBuf;
use std::process::Command;

use kontiki_chaos_tests::{Cluster, Plan, eventually, example_image};

pub use self::daemon::Containerd;
use crate::scenario::Scenario;

const PAUSE: &str = "kontiki.local/pause:1";
/// An image archive of one program that waits; the words of the image specification that containerd goes by.
const ARCHIVE: &str = r#"
set -eu
cd "$1"; mkdir -p root/bin blobs/sha256; cp /usr/bin/busybox root/bin/busybox
tar -C root -cf layer bin
sum() { sha256sum "$1" | cut -d' ' -f1; }
keep() { digest=$(sum "$1"); size=$(wc -c <"$1"); mv "$1" "blobs/sha256/$digest"; }
type=application/vnd.oci.image
case $(uname -m) in aarch64) architecture=arm64 ;; *) architecture=amd64 ;; esac
printf '{"architecture":"%s","os":"linux","config":{"Cmd":["/bin/busybox","sleep","2147483647"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
    "$architecture" "$(sum layer)" >config
keep layer; layer="{\"mediaType\":\"$type.layer.v1.tar\",\"digest\":\"sha256:$digest\",\"size\":$size}"
keep config; config="{\"mediaType\":\"$type.config.v1+json\",\"digest\":\"sha256:$digest\",\"size\":$size}"
printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":%s,"layers":[%s]}' "$type" "$config" "$layer" >manifest
keep manifest
printf '{"schemaVersion":2,"manifests":[{"mediaType":"%s.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"io.containerd.image.name":"%s"}}]}' \
    "$type" "$digest" "$size" "$2" >index.json
printf '{"imageLayoutVersion":"1.0.0"}' >oci-layout
tar -cf image.tar oci-layout index.json blobs
"#;

/// A containerd that holds the example image; nothing where none can run.
pub fn start() -> Option<Containerd> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: containers need root");
        return None;
    }
    if daemon::is_missing() {
        return None;
    }
    let containerd = Containerd::start(PAUSE);
    eventually("containerd answers", || {
        if containerd.socket().exists() { Ok(()) } else { Err("it has no socket".to_owned()) }
    });
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("sh").args(["-c", ARCHIVE, "sh"]).arg(folder.path()).arg(PAUSE).status();
    assert!(made.unwrap().success());
    for archive in [folder.path().join("image.tar"), example_image().unwrap()] {
        containerd.ctr(&["images", "import", archive.to_str().unwrap()]);
    }
    Some(containerd)
}

/// A cluster whose three workers share it.
pub fn cluster(containerd: &Containerd) -> Cluster {
    let socket = format!("cri://{}", containerd.socket().display());
    let environment = vec![("KONTIKI_RUNTIME".to_owned(), socket)];
    Cluster::start(Plan { controllers: 1, environment, ..Plan::of(env!("CARGO_BIN_EXE_kontiki")) }).unwrap()
}

/// Its agent is killed, and containers run on; with the pod they go.
pub fn containers_outlive_the_agent(s: &Scenario, containerd: &Containerd) {
    let image = ["--image=kontiki.local/web:1", "--image-pull-policy=IfNotPresent"];
    s.kubectl(&[&["run", "web", "--port=8080"][..], &image].concat());
    s.kubectl(&["wait", "--for=condition=Ready", "pod/web", "--timeout=60s"]);
    let id = ["get", "pod", "web", "-o", "jsonpath={.status.containerStatuses[0].containerID}"];
    let before = s.kubectl(&id);
    let runs = || containerd.ctr(&["tasks", "ls", "-q"]).contains(before.trim_start_matches("containerd://"));
    assert!(before.starts_with("containerd://") && runs(), "{before}");
    let nodes = s.kubectl(&["get", "nodes", "-o", "wide"]);
    assert!(nodes.contains("containerd://"), "{nodes}");
    s.cluster.kill(&s.kubectl(&["get", "pod", "web", "-o", "jsonpath={.spec.nodeName}"])).unwrap();
    s.cluster.up().unwrap();
    eventually("the new agent reaches the container", || {
        let output =
            s.cluster.kubectl_output(&["-n", &s.namespace, "exec", "web", "--", "hostname"]).unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if said == "web\n" { Ok(()) } else { Err(said) }
    });
    assert!(s.kubectl(&id) == before && runs(), "{before}");
    s.kubectl(&["delete", "pod", "web", "--now"]);
    leaves_nothing(s.cluster, containerd);
}

/// What there was of pods is gone with them.
fn leaves_nothing(cluster: &Cluster, containerd: &Containerd) {
    eventually("containers go with their pods", || {
        let left = containerd.ctr(&["containers", "ls", "-q"]);
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    let workers = ["w1", "w2", "w3"].map(|name| cluster.dir().join(name).join("pods"));
    eventually("folders go with their pods", || {
        let pods = workers.iter().flat_map(|pods| std::fs::read_dir(pods).unwrap());
        let left: Vec<PathBuf> = pods.map(|entry| entry.unwrap().path()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for place in workers.iter().map(PathBuf::as_path).chain([containerd.dir.path()]) {
        assert!(!mounts.contains(place.to_str().unwrap()), "{}: {mounts}", place.display());
    }
}
