//! Pulling: what a registry has arrives whole, and a registry that misbehaves leaves nothing behind and hangs nobody.
#![allow(missing_docs, clippy::unwrap_used)]

#[allow(unused)]
mod registry_support;
#[allow(unused)]
mod runtime_support;

use std::collections::BTreeMap;
use std::path::Path;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use kontiki_worker::image::{
    Credential, Limits, Patience, Progress, Pulled, Puller, Registries, RegistriesFile, RegistryError,
    RegistrySettings, Store, Taken,
};
use registry_support::{Registry, Trick, architecture, digest, impatient, patient};
use runtime_support::{PATIENCE, Tar};
use rustix::mount::{MountFlags, UnmountFlags};
use serde_json::json;
use tokio::sync::Notify;

/// A worker's store, and who pulls into it.
struct Bench {
    dir: tempfile::TempDir,
    store: Arc<Store>,
    puller: Puller,
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default(), RegistriesFile::default(), patient())
    }

    fn with(limits: Limits, registries: RegistriesFile, patience: Patience) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open_with(dir.path(), limits).unwrap());
        let registries = Arc::new(Registries::new(registries).unwrap());
        let puller = Puller::new(store.clone(), registries, patience);
        Self { dir, store, puller }
    }

    async fn pull(&self, name: &str) -> Result<Pulled, RegistryError> {
        self.pull_as(name, &[]).await
    }

    async fn pull_as(&self, name: &str, credentials: &[Credential]) -> Result<Pulled, RegistryError> {
        let pull = self.puller.pull(name, credentials, &());
        tokio::time::timeout(PATIENCE, pull).await.expect("a pull that hangs")
    }

    /// What a failed pull says; the store must be as if it never had been asked.
    async fn refusal(&self, name: &str) -> String {
        let refusal = self.pull(name).await.unwrap_err().to_string();
        assert_eq!(self.store.list(), []);
        self.assert_nothing_left();
        refusal
    }

    /// Nothing but images and what keeps them in order.
    fn assert_nothing_left(&self) {
        let left = std::fs::read_dir(self.dir.path()).unwrap().flatten();
        let left: Vec<_> = left.map(|it| it.file_name().to_string_lossy().into_owned()).collect();
        let odd = left.iter().filter(|name| name.starts_with("loading-") || name.starts_with("pulling-"));
        assert_eq!(odd.count(), 0, "{left:?}");
        let layered = std::fs::read_dir(self.dir.path().join("layered")).into_iter().flatten().flatten();
        let layered: Vec<_> = layered.map(|it| it.file_name().to_string_lossy().into_owned()).collect();
        assert_eq!(layered.iter().filter(|name| name.starts_with("unpacking-")).count(), 0, "{layered:?}");
        let homes = left.iter().chain(&layered).filter(|name| name.len() == 64).count();
        assert_eq!(homes, self.store.list().len(), "{left:?}");
    }

    fn read(&self, pulled: &Pulled, path: &str) -> Vec<u8> {
        std::fs::read(self.store.root(&pulled.image).find(Path::new(path)).unwrap()).unwrap()
    }
}

/// A layer with one file of so many bytes, which no compression would shrink to nothing.
fn layer(path: &str, bytes: usize) -> Vec<u8> {
    Tar::default().file(path, 0o644, &contents(bytes)).finish()
}

fn contents(bytes: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn blob(layer: &[u8]) -> String {
    Registry::blob_path(&digest(layer))
}

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_by_digest() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let layers = [layer("a", 100_000), layer("b", 10), layer("a", 20)];
    let wanted = registry.put_image("1", &layers);
    let pulled = bench.pull(&registry.name("1")).await.unwrap();
    assert!(pulled.new);
    assert_eq!(pulled.image.digest, wanted);
    assert_eq!(pulled.image.names, [registry.name("1")]);
    assert_eq!(pulled.image.repo_digests, [registry.name(&wanted)]);
    assert_eq!(bench.read(&pulled, "a"), contents(20), "the upper layer counts");
    assert_eq!(bench.read(&pulled, "b"), contents(10));
    bench.assert_nothing_left();

    let again = bench.pull(&registry.name(&wanted)).await.unwrap();
    assert!(!again.new);
    assert_eq!(again.image, pulled.image);
    assert_eq!(bench.store.resolve(&registry.name(&wanted)), Some(again.image));
    for layer in &layers {
        assert_eq!(registry.count(&blob(layer)), 1, "layers are fetched once");
    }
}

#[tokio::test]
async fn a_tag_that_moved_brings_the_new_image_and_one_that_did_not_brings_nothing() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let old = registry.put_image("1", &[layer("a", 1)]);
    bench.pull(&registry.name("1")).await.unwrap();
    registry.forget();
    assert!(!bench.pull(&registry.name("1")).await.unwrap().new);
    let asked: Vec<_> = registry.asked().into_iter().map(|asked| asked.method).collect();
    assert_eq!(asked, ["HEAD"], "no more than a question");

    let new = registry.put_image("1", &[layer("a", 2)]);
    assert!(bench.pull(&registry.name("1")).await.unwrap().new);
    assert_eq!(bench.store.resolve(&registry.name("1")).unwrap().digest, new);
    assert_eq!(bench.store.resolve(&registry.name(&old)).unwrap().names, [""; 0], "the name went on");
    assert_eq!(bench.store.prune(false).unwrap().images.len(), 1);
    assert_eq!(bench.store.list().len(), 1);
    bench.assert_nothing_left();
}

#[tokio::test]
async fn the_image_for_this_machine_is_taken_from_an_index() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let other = if architecture() == "amd64" { "arm64" } else { "amd64" };
    let own = registry.put_image_for(None, &[layer("own", 1)], architecture());
    let foreign = registry.put_image_for(None, &[layer("foreign", 1)], other);
    let entry = |digest: &str, os: &str, architecture: &str| json!({ "digest": digest, "size": 500, "platform": { "os": os, "architecture": architecture } });
    let mut attestation = entry(&foreign, "linux", architecture());
    attestation["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    let entries = [attestation, entry(&foreign, "linux", other), entry(&own, "linux", architecture())];
    let index = registry.put_manifest(Some("1"), &json!({ "schemaVersion": 2, "manifests": entries }));
    let pulled = bench.pull(&registry.name("1")).await.unwrap();
    assert_eq!(pulled.image.digest, own);
    assert_eq!(pulled.image.repo_digests, [registry.name(&index)]);
    assert_eq!(
        bench.store.resolve(&registry.name(&index)).unwrap().digest,
        own,
        "the index's digest leads to it"
    );
    registry.forget();
    assert!(!bench.pull(&registry.name("1")).await.unwrap().new);
    assert_eq!(registry.asked().len(), 1);

    let bench = Bench::new();
    registry.put_manifest(
        Some("2"),
        &json!({ "manifests": [entry(&foreign, "linux", other), entry(&own, "windows", "x")] }),
    );
    let refusal = bench.refusal(&registry.name("2")).await;
    assert!(
        refusal
            .contains(&format!("no manifest for linux/{} (it has linux/{other}, windows/x)", architecture())),
        "{refusal}"
    );
    registry.put_manifest(Some("3"), &json!({ "manifests": [{ "digest": foreign, "size": 500 }] }));
    let refusal = bench.refusal(&registry.name("3")).await;
    assert!(refusal.contains(&format!("it is for linux/{other}")), "{refusal}");
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_broke() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let big = layer("a", 200_000);
    registry.put_image("1", from_ref(&big));
    registry.trick(&blob(&big), Trick::Cut(100_000));
    registry.trick(&blob(&big), Trick::Cut(50_000));
    let pulled = bench.pull(&registry.name("1")).await.unwrap();
    assert_eq!(bench.read(&pulled, "a"), contents(200_000));
    let asked: Vec<_> = registry.asked().into_iter().filter(|it| it.path == blob(&big)).collect();
    let ranges: Vec<_> = asked.iter().map(|asked| asked.range.is_some()).collect();
    assert_eq!(ranges, [false, true, true], "{asked:?}");
}

#[tokio::test]
async fn a_registry_without_ranges_is_read_from_the_beginning() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let big = layer("a", 200_000);
    registry.put_image("1", from_ref(&big));
    registry.trick(&blob(&big), Trick::Cut(100_000));
    registry.trick(&blob(&big), Trick::IgnoreRange);
    let pulled = bench.pull(&registry.name("1")).await.unwrap();
    assert_eq!(bench.read(&pulled, "a"), contents(200_000));
}

#[tokio::test]
async fn a_download_that_keeps_breaking_ends() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let big = layer("a", 200_000);
    registry.put_image("1", from_ref(&big));
    (0..20).for_each(|_| registry.trick(&blob(&big), Trick::Cut(10_000)));
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(refusal.contains("the connection broke"), "{refusal}");
    assert_eq!(registry.count(&blob(&big)), 4, "once, and three times again");
}

#[tokio::test]
async fn what_is_not_what_its_digest_says_is_refused() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let good = layer("a", 1000);
    let image = registry.put_image("1", from_ref(&good));
    let mut evil = good.clone();
    evil[600] ^= 1;
    registry.trick(&blob(&good), Trick::Bytes(evil));
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(refusal.contains("a layer from registry") && refusal.contains(&digest(&good)), "{refusal}");

    let manifest = Registry::manifest_path(&image);
    registry.trick(&manifest, Trick::Bytes(b"{\"layers\": []}".to_vec()));
    let refusal = bench.refusal(&registry.name(&image)).await;
    assert!(refusal.contains("the manifest has digest"), "{refusal}");
}

#[tokio::test]
async fn a_body_longer_than_its_size_is_cut_off() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let good = layer("a", 1000);
    registry.put_image("1", from_ref(&good));
    registry.trick(&blob(&good), Trick::Endless);
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(refusal.contains("is longer than the"), "{refusal}");
    let manifest = Registry::manifest_path("1");
    registry.trick(&manifest, Trick::Endless);
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(refusal.contains(&format!("longer than {} bytes", 4 << 20)), "{refusal}");
}

#[tokio::test]
async fn a_body_shorter_than_its_size_is_refused() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let good = layer("a", 1000);
    registry.put_image("1", from_ref(&good));
    (0..20).for_each(|_| registry.trick(&blob(&good), Trick::Bytes(good[..500].to_vec())));
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(refusal.contains(&format!("500 of {} bytes", good.len())), "{refusal}");
}

#[tokio::test]
async fn a_registry_that_hangs_hangs_nobody() {
    let bench = Bench::with(Limits::default(), RegistriesFile::default(), impatient());
    let registry = Registry::start().await;
    let good = layer("a", 100_000);
    registry.put_image("1", from_ref(&good));
    for trick in [Trick::Hang, Trick::Stall(10)] {
        registry.trick(&Registry::manifest_path("1"), trick);
        let refusal = bench.refusal(&registry.name("1")).await;
        assert!(refusal.contains("it hangs, or the network does"), "{refusal}");
    }
    for trick in [Trick::Hang, Trick::Stall(50_000)] {
        registry.trick(&blob(&good), trick);
        let refusal = bench.refusal(&registry.name("1")).await;
        assert!(refusal.contains("it hangs, or the network does"), "{refusal}");
    }
    // It accepts, and then says nothing at all: not even TLS.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusal = bench.refusal(&format!("{}/a:1", mute.local_addr().unwrap())).await;
    assert!(refusal.contains("no answer within"), "{refusal}");
}

#[tokio::test]
async fn what_drips_counts_as_hanging() {
    let patience = Patience { window: std::time::Duration::ZERO, window_bytes: 1 << 30, ..patient() };
    let bench = Bench::with(Limits::default(), RegistriesFile::default(), patience);
    let registry = Registry::start().await;
    registry.put_image("1", &[layer("a", 100_000)]);
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(refusal.contains("bytes of a layer in"), "{refusal}");
    let patience = Patience { document: std::time::Duration::from_secs(1), ..patient() };
    let bench = Bench::with(Limits::default(), RegistriesFile::default(), patience);
    registry.trick(&Registry::manifest_path("1"), Trick::Drip);
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(refusal.contains("a document did not arrive within 1s"), "{refusal}");
}

#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let good = layer("a", 1000);
    registry.put_image("1", from_ref(&good));
    registry.trick(&Registry::manifest_path("1"), Trick::Status(429, Some("1")));
    registry.trick(&Registry::manifest_path("1"), Trick::Status(503, None));
    registry.trick(&blob(&good), Trick::Status(429, None));
    bench.pull(&registry.name("1")).await.unwrap();
    assert_eq!(registry.count(&Registry::manifest_path("1")), 3);

    let bench = Bench::new();
    (0..20).for_each(|_| registry.trick(&Registry::manifest_path("1"), Trick::Status(429, None)));
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(refusal.contains("unexpected status 429"), "{refusal}");
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_not_there() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(refusal.contains("team/web/manifests/1: not found: check the name and the tag"), "{refusal}");
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let refusal = bench.refusal(&format!("{nobody}/a:1")).await;
    assert!(refusal.contains("Connection refused"), "{refusal}");
    let refused = bench.pull("Not A Name").await.unwrap_err();
    assert!(matches!(refused, RegistryError::InvalidName { .. }), "{refused}");
}

fn user(place: &str, user: &str) -> Vec<Credential> {
    let json = json!({ "auths": { place: { "username": user, "password": "secret" } } });
    Credential::from_config_json(json.to_string().as_bytes()).unwrap()
}

const BASIC_ME: &str = "Basic bWU6c2VjcmV0";

#[tokio::test]
async fn a_registry_gets_the_token_that_its_realm_gives() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    registry.put_image("1", &[layer("a", 1000)]);
    let realm = format!("http://{}/token", registry.address);
    let token = "/token?scope=repository%3Ateam%2Fweb%3Apull&service=it";
    registry.put(token, br#"{"token": "t0ken"}"#);
    registry.guard("Bearer t0ken", &format!("Bearer realm=\"{realm}\",service=\"it\""), None);
    bench.pull(&registry.name("1")).await.unwrap();
    assert_eq!(registry.count(token), 1, "one token serves the whole pull");

    registry.guard("Bearer t0ken", &format!("Bearer realm=\"{realm}\",service=\"it\""), Some(BASIC_ME));
    let bench = Bench::new();
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(
        refusal.contains("it wants credentials and there are none") && refusal.contains("imagePullSecrets"),
        "{refusal}"
    );
    let strangers = [user("elsewhere.example", "me"), user(&registry.address, "other")].concat();
    let refused = bench.pull_as(&registry.name("1"), &strangers).await.unwrap_err().to_string();
    assert!(refused.contains("the credentials are not accepted"), "{refused}");
    let all = [user(&format!("{}/team", registry.address), "other"), user(&registry.address, "me")].concat();
    bench.pull_as(&registry.name("1"), &all).await.unwrap();
}

#[tokio::test]
async fn a_registry_gets_user_and_password() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    registry.put_image("1", &[layer("a", 1000)]);
    registry.guard(BASIC_ME, "Basic realm=\"it\"", None);
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(refusal.contains("not authorized to pull team/web"), "{refusal}");
    bench.pull_as(&registry.name("1"), &user(&registry.address, "me")).await.unwrap();
}

#[tokio::test]
async fn layers_may_lie_elsewhere_but_secrets_stay() {
    let (bench, registry, elsewhere) = (Bench::new(), Registry::start().await, Registry::start().await);
    let good = layer("a", 1000);
    registry.put_image("1", from_ref(&good));
    registry.guard(BASIC_ME, "Basic realm=\"it\"", None);
    elsewhere.put("/store", &good);
    registry.trick(&blob(&good), Trick::Redirect(format!("http://{}/store", elsewhere.address)));
    bench.pull_as(&registry.name("1"), &user(&registry.address, "me")).await.unwrap();
    assert_eq!(elsewhere.asked().len(), 1);
    assert_eq!(elsewhere.asked()[0].authorization, None, "the password is the registry's alone");
}

#[tokio::test]
async fn redirects_end() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    registry.put_image("1", &[layer("a", 1000)]);
    let path = Registry::manifest_path("1");
    (0..100).for_each(|_| registry.trick(&path, Trick::Redirect(path.clone())));
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(refusal.contains("it redirects more than 5 times"), "{refusal}");
    assert_eq!(registry.count(&path), 6);
    let path = Registry::manifest_path("2");
    for (to, said) in [
        ("http://192.0.2.1/x", "it is not on loopback"),
        ("ftp://127.0.0.1/x", "is not an address to go to"),
        ("//127.0.0.1/x", "which is not an address"),
        ("", "which is not an address"),
    ] {
        registry.trick(&path, Trick::Redirect(to.to_owned()));
        let refusal = bench.refusal(&registry.name("2")).await;
        assert!(refusal.contains(said), "{to}: {refusal}");
    }
}

#[tokio::test]
async fn a_layer_that_climbs_out_is_refused() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    registry.put_image("1", &[layer("a", 1), layer("../../evil", 1)]);
    let refusal = bench.refusal(&registry.name("1")).await;
    assert!(refusal.contains("climbs out of the image"), "{refusal}");
    assert!(!bench.dir.path().join("evil").exists());
}

#[tokio::test]
async fn what_is_too_much_is_refused_before_it_is_fetched() {
    let limits = Limits { bytes: 4000, inodes: 10, document_bytes: 4000 };
    let bench = Bench::with(limits, RegistriesFile::default(), patient());
    let registry = Registry::start().await;
    let big = layer("a", 5000);
    registry.put_image("1", from_ref(&big));
    assert!(bench.refusal(&registry.name("1")).await.contains("limit of 4000 bytes"));
    assert_eq!(registry.count(&blob(&big)), 0);
    let entry = |size: u64| json!({ "digest": digest(b"x"), "size": size });
    registry.put_manifest(Some("2"), &json!({ "config": entry(5000), "layers": [] }));
    assert!(bench.refusal(&registry.name("2")).await.contains("limit of 4000 bytes in a document"));
    registry.put_manifest(
        Some("3"),
        &json!({ "config": entry(10), "layers": [entry(u64::MAX), entry(u64::MAX)] }),
    );
    assert!(bench.refusal(&registry.name("3")).await.contains("limit of 4000 bytes"));
    let (bench, empty) = (Bench::new(), vec![entry(1); 128]);
    registry.put_manifest(Some("4"), &json!({ "config": entry(10), "layers": empty }));
    assert!(bench.refusal(&registry.name("4")).await.contains("limit of 127 layers"));
    for digest in ["sha256:../../x", "sha512:00", ""] {
        registry.put_manifest(Some("5"), &json!({ "config": { "digest": digest, "size": 1 }, "layers": [] }));
        assert!(bench.refusal(&registry.name("5")).await.contains("is not a sha256 digest"));
    }
    registry.put_manifest(Some("6"), &json!({ "schemaVersion": 1, "fsLayers": [] }));
    assert!(bench.refusal(&registry.name("6")).await.contains("schema 1"));
    registry.put(&Registry::manifest_path("7"), b"<html>");
    assert!(bench.refusal(&registry.name("7")).await.contains("expected value"));
}

#[tokio::test]
async fn mirrors_are_asked_first_and_the_registry_when_they_fail() {
    let (registry, mirror) = (Registry::start().await, Registry::start().await);
    let settings = RegistrySettings {
        mirrors: vec![format!("http://{}", mirror.address)],
        ..RegistrySettings::default()
    };
    let file = RegistriesFile { registries: BTreeMap::from([(registry.address.clone(), settings)]) };
    let bench = Bench::with(Limits::default(), file, patient());
    mirror.put_image("1", &[layer("a", 1)]);
    let pulled = bench.pull_as(&registry.name("1"), &user(&registry.address, "me")).await.unwrap();
    assert_eq!(pulled.image.names, [registry.name("1")], "the name is the registry's");
    assert!(registry.asked().is_empty());
    assert!(mirror.asked().iter().all(|asked| asked.authorization.is_none()));
    registry.put_image("2", &[layer("b", 1)]);
    bench.pull(&registry.name("2")).await.unwrap();
}

#[tokio::test]
async fn tls_is_spoken_with_whom_the_registries_file_trusts() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let server =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![key.cert.der().clone()],
                rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap(),
            )
            .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
    let registry = Registry::start().await;
    registry.put_image("1", &[layer("a", 100_000)]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("localhost:{}", listener.local_addr().unwrap().port());
    let behind = registry.address.clone();
    let front = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                let Ok(mut near) = acceptor.accept(stream).await else { return };
                let mut far = tokio::net::TcpStream::connect(behind).await.unwrap();
                tokio::io::copy_bidirectional(&mut near, &mut far).await.ok();
            });
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, key.cert.pem()).unwrap();
    let image = format!("{name}/team/web:1");
    for (trusted, ca_file) in [(false, None), (true, Some(ca_file))] {
        let settings = RegistrySettings { plain_http: Some(false), ca_file, ..RegistrySettings::default() };
        let file = RegistriesFile { registries: BTreeMap::from([(name.clone(), settings)]) };
        let bench = Bench::with(Limits::default(), file, patient());
        if trusted {
            bench.pull(&image).await.unwrap();
            let down = Trick::Redirect(format!("http://{}/x", registry.address));
            registry.trick(&Registry::manifest_path("2"), down);
            let refused = bench.pull(&format!("{name}/team/web:2")).await.unwrap_err().to_string();
            assert!(refused.contains("which is without TLS"), "{refused}");
            registry.guard("Bearer x", &format!("Bearer realm=\"http://{}/token\"", registry.address), None);
            let refused = bench.pull(&format!("{name}/team/web:2")).await.unwrap_err().to_string();
            assert!(refused.contains("is not https, and would hear the password"), "{refused}");
        } else {
            let refusal = bench.refusal(&image).await;
            assert!(refusal.contains("TLS") && refusal.contains("UnknownIssuer"), "{refusal}");
        }
    }
    front.abort();
}

#[tokio::test]
async fn pulls_of_one_image_into_a_shared_store_fetch_it_once() {
    let registry = Registry::start().await;
    let bench = Bench::new();
    let good = layer("a", 100_000);
    registry.put_image("1", from_ref(&good));
    let others: Vec<_> = (0..4)
        .map(|_| {
            let store = Arc::new(Store::open(bench.dir.path()).unwrap());
            let registries = Arc::new(Registries::new(RegistriesFile::default()).unwrap());
            Puller::new(store, registries, patient())
        })
        .collect();
    let name = registry.name("1");
    let pulls = join_all(others.iter().map(|puller| puller.pull(&name, &[], &()))).await;
    assert_eq!(pulls.into_iter().filter(|pulled| pulled.as_ref().unwrap().new).count(), 1);
    assert_eq!(registry.count(&blob(&good)), 1);
    bench.assert_nothing_left();
}

#[tokio::test]
async fn a_pull_that_nobody_waits_for_leaves_nothing() {
    let bench = Bench::new();
    let registry = Registry::start().await;
    let good = layer("a", 100_000);
    registry.put_image("1", from_ref(&good));
    registry.trick(&blob(&good), Trick::Wait(Arc::new(Notify::new())));
    let name = registry.name("1");
    tokio::select! {
        _ = bench.pull(&name) => panic!("it cannot have ended"),
        () = async { while registry.count(&blob(&good)) == 0 { registry.arrived.notified().await } } => {}
    }
    assert_eq!(bench.store.list(), []);
    bench.assert_nothing_left();
    bench.pull(&name).await.unwrap();
}

#[tokio::test]
async fn what_a_killed_process_left_is_swept() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let digest = registry.put_image("1", &[layer("a", 1)]);
    let dir = bench.dir.path();
    // In the middle of layers; between its place and the index; while it had the right to pull.
    std::fs::create_dir_all(dir.join("loading-1-0/spool")).unwrap();
    std::fs::create_dir_all(dir.join(&digest[7..]).join("rootfs")).unwrap();
    std::fs::create_dir_all(dir.join("layered").join(&digest[7..])).unwrap();
    std::fs::write(dir.join("layered").join(&digest[7..]).join("layers"), b"[]").unwrap();
    std::fs::write(dir.join("layered/unpacking-0123"), b"").unwrap();
    std::fs::write(dir.join(format!("pulling-{}", &digest[7..])), b"").unwrap();
    assert_eq!(bench.store.list(), [], "nothing of it is visible");
    let store = Store::open(dir).unwrap();
    assert_eq!(store.list(), []);
    bench.assert_nothing_left();
    let pulled = bench.pull(&registry.name("1")).await.unwrap();
    assert_eq!(bench.read(&pulled, "a"), contents(1));
}

#[tokio::test]
async fn a_pull_goes_on_with_what_the_one_before_left() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let big = layer("a", 200_000);
    registry.put_image("1", from_ref(&big));
    (0..4).for_each(|_| registry.trick(&blob(&big), Trick::Cut(20_000)));
    assert!(bench.pull(&registry.name("1")).await.is_err());
    // Another process, as after a kill: it asks for the rest only.
    registry.forget();
    let store = Arc::new(Store::open(bench.dir.path()).unwrap());
    let registries = Arc::new(Registries::new(RegistriesFile::default()).unwrap());
    let pulled = Puller::new(store, registries, patient()).pull(&registry.name("1"), &[], &()).await.unwrap();
    let ranges: Vec<_> = registry.asked().into_iter().filter_map(|asked| asked.range).collect();
    assert_eq!((ranges.len(), registry.count(&blob(&big))), (1, 1));
    assert_ne!(ranges[0], "bytes=0-");
    assert_eq!(bench.read(&pulled, "a"), contents(200_000));
    assert_eq!(std::fs::read_dir(bench.dir.path().join("blobs")).unwrap().count(), 0, "it was unpacked");
}

#[tokio::test]
async fn a_full_disk_is_named_and_what_had_come_makes_room() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: a disk of its own needs root");
    }
    let (disk, registry) = (tempfile::tempdir().unwrap(), Registry::start().await);
    rustix::mount::mount("tmpfs", disk.path(), "tmpfs", MountFlags::empty(), c"size=1m").unwrap();
    let store = Arc::new(Store::open(disk.path().join("images")).unwrap());
    let registries = Arc::new(Registries::new(RegistriesFile::default()).unwrap());
    let puller = Puller::new(store.clone(), registries, patient());
    registry.put_image("1", &[layer("a", 2 << 20)]);
    let refused = puller.pull(&registry.name("1"), &[], &()).await.unwrap_err().to_string();
    let left = store.taken().unwrap().leftovers;
    let (early, freed) =
        (store.collect(0, Duration::ZERO).unwrap().bytes, store.collect(1, Duration::ZERO).unwrap().bytes);
    registry.put_image("2", &[layer("a", 100_000)]);
    let pulled = puller.pull(&registry.name("2"), &[], &()).await;
    drop(store);
    rustix::mount::unmount(disk.path(), UnmountFlags::DETACH).unwrap();
    assert!(refused.contains("the disk of the images is full"), "{refused}");
    assert!(left > 500_000, "{left} bytes are left");
    assert_eq!((early, freed), (0, left), "when room is needed, and not before");
    pulled.unwrap();
}

#[tokio::test]
async fn what_was_spoiled_on_disk_is_fetched_anew() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let big = layer("a", 200_000);
    registry.put_image("1", from_ref(&big));
    (0..4).for_each(|_| registry.trick(&blob(&big), Trick::Cut(20_000)));
    assert!(bench.pull(&registry.name("1")).await.is_err());
    let part = std::fs::read_dir(bench.dir.path().join("blobs")).unwrap().next().unwrap().unwrap().path();
    let length = std::fs::metadata(&part).unwrap().len();
    for spoiled in [vec![0; usize::try_from(length).unwrap()], vec![0; big.len()], vec![0; 2 * big.len()]] {
        std::fs::write(&part, spoiled).unwrap();
        let pulled = bench.pull(&registry.name("1")).await.unwrap();
        assert_eq!(bench.read(&pulled, "a"), contents(200_000));
        bench.store.prune(true).unwrap();
    }
}

#[tokio::test]
async fn a_layer_that_is_here_is_not_fetched_again() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let (base, one, two) = (layer("base", 100_000), layer("one", 1000), layer("two", 1000));
    registry.put_image("1", &[base.clone(), one]);
    registry.put_image("2", &[base.clone(), two.clone()]);
    let first = bench.pull(&registry.name("1")).await.unwrap();
    let second = bench.pull(&registry.name("2")).await.unwrap();
    assert_eq!(bench.read(&second, "base"), contents(100_000));
    assert_eq!(bench.read(&second, "two"), contents(1000));
    if first.image.chain.is_empty() {
        return; // Without root there are no layers.
    }
    assert_eq!(registry.count(&blob(&base)), 1);
    assert_eq!((first.image.size_bytes, bench.store.own_bytes(&first.image)), (101_000, 1000));
    assert_eq!(bench.store.taken().unwrap().images, 102_000);
    // It goes with the last that has it.
    assert!(bench.store.remove(&registry.name("1")).unwrap());
    assert_eq!(bench.read(&second, "base"), contents(100_000));
    assert_eq!(bench.store.own_bytes(&second.image), 101_000);
    assert_eq!(bench.store.prune(true).unwrap().bytes, 101_000);
    assert_eq!(bench.store.taken().unwrap(), Taken::default());
}

#[tokio::test]
async fn images_that_are_pulled_at_a_time_fetch_a_layer_of_both_once() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let base = layer("base", 100_000);
    let go = Arc::new(Notify::new());
    registry.put_image("1", &[base.clone(), layer("one", 10)]);
    registry.put_image("2", &[base.clone(), layer("two", 10)]);
    registry.trick(&blob(&base), Trick::Wait(go.clone()));
    let names = [registry.name("1"), registry.name("2")];
    let last = blob(&layer("two", 10));
    let (first, second, ()) = tokio::join!(bench.pull(&names[0]), bench.pull(&names[1]), async {
        // Both have begun, and only one of them asked for it.
        while registry.count(&last) == 0 {
            registry.arrived.notified().await;
        }
        go.notify_one();
    });
    assert_eq!(bench.read(&first.unwrap(), "base"), bench.read(&second.unwrap(), "base"));
    assert_eq!(registry.count(&blob(&base)), 1);
    assert_eq!(std::fs::read_dir(bench.dir.path().join("blobs")).unwrap().count(), 0);
}

#[tokio::test]
async fn images_of_a_build_before_layers_stay() {
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let dir = bench.dir.path();
    // As such a build stored them.
    let digest = registry.put_image("1", &[layer("a", 10)]);
    let rootfs = dir.join(&digest[7..]).join("rootfs");
    std::fs::create_dir_all(&rootfs).unwrap();
    std::fs::write(rootfs.join("old"), b"old").unwrap();
    let image = json!({ "digest": digest, "names": ["localhost/old:1"], "config": {}, "layers": [],
        "size_bytes": 3, "repo_digests": [registry.name(&digest)] });
    let index = json!({ "version": 1, "images": { &digest: image } });
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
    let store = Arc::new(Store::open(dir).unwrap());
    let old = store.resolve("localhost/old:1").unwrap();
    let registries = Arc::new(Registries::new(RegistriesFile::default()).unwrap());
    let pulled = Puller::new(store.clone(), registries, patient());
    let pulled = pulled.pull(&registry.name("1"), &[], &()).await.unwrap();
    assert!(!pulled.new, "it is not fetched again");
    for image in [&old, &pulled.image] {
        assert_eq!(std::fs::read(store.root(image).find(Path::new("old")).unwrap()).unwrap(), b"old");
    }
    // Beside it are images in layers, of which such a build knows nothing.
    registry.put_image("2", &[layer("a", 20)]);
    let new = bench.pull(&registry.name("2")).await.unwrap();
    let read = || std::fs::read_to_string(dir.join("index.json")).unwrap();
    assert_eq!(read().contains(&new.image.digest), new.image.chain.is_empty());
    assert!(read().contains(&digest));
    assert_eq!(store.list().len(), 2);
    assert!(store.remove(&digest).unwrap() && !read().contains(&digest) && !rootfs.exists());
}

#[tokio::test]
async fn progress_is_told() {
    #[derive(Default)]
    struct Told(std::sync::Mutex<(Vec<u64>, Vec<u64>, bool)>);
    impl Progress for Told {
        fn layers(&self, layers: &[(String, u64)]) {
            let mut told = self.0.lock().unwrap();
            told.0 = layers.iter().map(|(_, size)| *size).collect();
            told.1 = vec![0; layers.len()];
        }
        fn received(&self, layer: usize, bytes: u64) {
            self.0.lock().unwrap().1[layer] = bytes;
        }
        fn unpacking(&self) {
            self.0.lock().unwrap().2 = true;
        }
    }
    let (bench, registry) = (Bench::new(), Registry::start().await);
    let (one, two) = (layer("a", 1000), layer("b", 20_000));
    registry.put_image("1", &[one.clone(), two.clone(), one.clone()]);
    let told = Told::default();
    bench.puller.pull(&registry.name("1"), &[], &told).await.unwrap();
    let told = told.0.into_inner().unwrap();
    let sizes = vec![one.len() as u64, two.len() as u64];
    assert_eq!(told, (sizes.clone(), sizes, true));
}

#[test]
fn a_registries_file_that_is_wrong_is_refused() {
    let settings =
        RegistrySettings { ca_file: Some(Path::new("/nowhere").into()), ..RegistrySettings::default() };
    let file = RegistriesFile { registries: BTreeMap::from([("a.io".to_owned(), settings)]) };
    let refused = Registries::new(file).unwrap_err().to_string();
    assert!(refused.starts_with("registry a.io: read certificates in /nowhere"), "{refused}");
}
