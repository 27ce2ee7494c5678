//! Making room: the images that go are those that nobody uses, the longest unused first.
#![allow(missing_docs, clippy::unwrap_used)]

#[allow(unused)]
mod registry_support;
mod runtime_support;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kontiki_worker::image::{Collected, Image, Puller, Registries, RegistriesFile, Store};
use kontiki_worker::runtime::{ContainerSpec, RuntimeClass};
use registry_support::{Registry, patient};
use runtime_support::{Tar, Worker, busybox_layer, cannot_run_containers};

const MINUTE: Duration = Duration::from_secs(60);

struct Bench {
    dir: tempfile::TempDir,
    store: Arc<Store>,
    puller: Puller,
    registry: Registry,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let registries = Arc::new(Registries::new(RegistriesFile::default()).unwrap());
        let puller = Puller::new(store.clone(), registries, patient());
        Self { dir, store, puller, registry: Registry::start().await }
    }

    /// An image of 1000 bytes and a bit.
    async fn pull(&self, tag: &str) -> Image {
        self.registry.put_image(tag, &[Tar::default().file(tag, 0o644, &[7; 1000]).finish()]);
        self.puller.pull(&self.registry.name(tag), &[], &()).await.unwrap().image
    }

    fn tags(&self) -> Vec<String> {
        let names = self.store.list().into_iter().flat_map(|image| image.names);
        let mut tags: Vec<String> = names.filter_map(|name| Some(name.rsplit_once(':')?.1.into())).collect();
        tags.sort();
        tags
    }
}

/// As if it had been used last so long ago.
fn age(store: &Store, image: &Image, ago: Duration) {
    File::open(store.home(image)).unwrap().set_modified(SystemTime::now() - ago).unwrap();
}

#[tokio::test]
async fn the_longest_unused_go_first_and_no_more_than_is_needed() {
    let bench = Bench::new().await;
    let [a, b, c] = [bench.pull("a").await, bench.pull("b").await, bench.pull("c").await];
    age(&bench.store, &a, 20 * MINUTE);
    age(&bench.store, &b, 30 * MINUTE);
    age(&bench.store, &c, 10 * MINUTE);
    // Who opens the store next finds the same times.
    let store = Store::open(bench.dir.path()).unwrap();
    assert_eq!(store.collect(0, 2 * MINUTE).unwrap(), Collected::default());
    let gone = store.collect(1, 2 * MINUTE).unwrap().images;
    assert_eq!(gone.iter().map(|image| &image.digest).collect::<Vec<_>>(), [&b.digest]);
    assert!(!store.home(&b).exists());
    assert_eq!(store.root(&b).find(Path::new("b")), None);
    let gone = store.collect(a.size_bytes, 15 * MINUTE).unwrap();
    assert_eq!((gone.images.len(), gone.bytes), (1, a.size_bytes));
    assert_eq!(bench.tags(), ["c"]);
    assert_eq!(store.collect(u64::MAX, 15 * MINUTE).unwrap(), Collected::default(), "it is too young");
    assert_eq!(store.collect(u64::MAX, 2 * MINUTE).unwrap().images.len(), 1);
}

#[tokio::test]
async fn what_was_pulled_or_asked_for_a_moment_ago_stays() {
    let bench = Bench::new().await;
    let image = bench.pull("a").await;
    assert_eq!(bench.store.collect(u64::MAX, 2 * MINUTE).unwrap().images, []);
    age(&bench.store, &image, 10 * MINUTE);
    // A pull that finds it here.
    bench.puller.pull(&bench.registry.name("a"), &[], &()).await.unwrap();
    assert_eq!(bench.store.collect(u64::MAX, 2 * MINUTE).unwrap().images, []);
    // A clock that was set back for good: its time begins now.
    File::open(bench.store.home(&image)).unwrap().set_modified(SystemTime::now() + 1000 * MINUTE).unwrap();
    assert_eq!(bench.store.collect(u64::MAX, Duration::ZERO).unwrap().images, []);
    assert_eq!(bench.store.collect(u64::MAX, Duration::ZERO).unwrap().images.len(), 1);
}

#[test]
fn what_no_registry_brings_back_stays_while_it_has_a_name() {
    let worker = Worker::default();
    let image = worker.store.resolve("busybox:1").unwrap();
    age(&worker.store, &image, 1000 * MINUTE);
    assert_eq!(worker.store.collect(u64::MAX, MINUTE).unwrap().images, []);
    // Another image takes its name.
    let other = worker.dir.path().join("other.tar");
    let layer = Tar::default().file("other", 0o644, b"other").finish();
    let archive =
        runtime_support::oci_archive("busybox:1", &[runtime_support::plain(layer)], serde_json::json!({}));
    std::fs::write(&other, archive).unwrap();
    worker.store.load(&other).unwrap();
    assert_eq!(worker.store.collect(u64::MAX, MINUTE).unwrap().images[0].digest, image.digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_in_use_stays_and_its_time_counts_from_the_end_of_that() {
    if cannot_run_containers() {
        return;
    }
    let (worker, registry) = (Worker::default(), Registry::start().await);
    let agent = worker.runtime();
    // Its lower layer is the busybox image's, too.
    registry.put_image("1", &[busybox_layer(), Tar::default().file("own", 0o644, &[7; 1000]).finish()]);
    let pulled = agent.runtime.pull_image(&registry.name("1"), &[]).await.unwrap();
    let image = worker.store.resolve(&pulled.digest).unwrap();
    age(&worker.store, &image, 1000 * MINUTE);
    agent.start_pod("pod", RuntimeClass::Container).await;
    let spec = ContainerSpec {
        image: pulled,
        command: ["/bin/sh", "-c", "sleep 1000"].map(str::to_owned).to_vec(),
        ..agent.spec("main", "")
    };
    agent.runtime.start_container("pod", spec).await.unwrap();
    assert_eq!(agent.runtime.free_images(u64::MAX, MINUTE).unwrap(), 0, "its start is a use");
    age(&worker.store, &image, 1000 * MINUTE);
    // Without a note of its use, the claim alone keeps it.
    assert_eq!(worker.store.collect(u64::MAX, MINUTE).unwrap().images, []);
    assert_eq!(agent.runtime.free_images(u64::MAX, Duration::ZERO).unwrap(), 0);
    // The other image with its lower layer goes; the layer stays.
    assert!(worker.store.remove("busybox:1").unwrap());
    assert_eq!(worker.store.prune(true).unwrap(), Collected::default());
    let command = ["/bin/busybox", "cat", "/own"].map(str::to_owned).to_vec();
    let said = agent.runtime.exec("pod", "main", command, MINUTE).await.unwrap();
    assert_eq!((said.code, said.stdout.len()), (0, 1000));
    agent.runtime.remove_pod("pod").await.unwrap();
    assert_eq!(agent.runtime.free_images(u64::MAX, MINUTE).unwrap(), 0, "it was in use a moment ago");
    age(&worker.store, &image, 1000 * MINUTE);
    assert_eq!(agent.runtime.free_images(u64::MAX, MINUTE).unwrap(), image.size_bytes);
    assert_eq!(worker.store.resolve(&image.digest), None);
}
