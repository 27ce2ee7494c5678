//! The images that a daemon holds: known by asking it from time to time, pulled and removed by it.
//!
//! What nobody uses is removed when room is needed, as by the kubelet (pkg/kubelet/images/image_gc_manager.go): when an image was
//! used last is known from when this worker runs. What was imported stays, as with the built-in runtime: no registry brings it back.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use kontiki_proto::cri;
use tonic::Status;

use super::super::pull::{Fetch, Outcome};
use super::super::{ImageRef, PullError};
use super::daemon::{CALL, Daemon, ask, in_full};
use crate::image::{Credential, Reference, normalise};

/// A pull has no bound of its own with the kubelet either, but one that is silent so long has lost its daemon.
const PULL: Duration = Duration::from_secs(3600);

/// An image of the daemon's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// The digest of its configuration, by which the daemon knows it.
    pub(super) id: String,
    /// The digest of its manifest; its id, if it came from no registry.
    pub(super) digest: String,
    pub(super) tags: Vec<String>,
    pub(super) size_bytes: u64,
    /// The user that it names, by number or by name.
    pub(super) uid: Option<i64>,
    pub(super) username: String,
    pub(super) pinned: bool,
}

impl Held {
    fn of(image: cri::Image) -> Self {
        let digest = image.repo_digests.iter().find_map(|it| Some(it.split_once('@')?.1.to_owned()));
        Self {
            digest: digest.unwrap_or_else(|| image.id.clone()),
            id: image.id,
            tags: image.repo_tags,
            size_bytes: image.size,
            uid: image.uid.map(|uid| uid.value),
            username: image.username,
            pinned: image.pinned,
        }
    }

    fn under(&self, name: String) -> ImageRef {
        ImageRef { name, digest: self.digest.clone(), size_bytes: self.size_bytes }
    }
}

/// What is known of the images.
#[derive(Debug)]
pub(super) struct Images {
    daemon: Daemon,
    /// Never to be removed: pods begin with it.
    of_sandboxes: String,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By id.
    held: BTreeMap<String, Held>,
    /// When each was used last, or first seen.
    used: BTreeMap<String, Instant>,
}

impl Images {
    pub(super) fn new(daemon: Daemon, of_sandboxes: String) -> Self {
        Self { daemon, of_sandboxes, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the daemon which there are.
    pub(super) async fn refresh(&self) -> Result<(), Status> {
        let request = ask(cri::ListImagesRequest { filter: None }, CALL);
        let images = self.daemon.images().list_images(request).await?.into_inner().images;
        let held: BTreeMap<String, Held> =
            images.into_iter().map(Held::of).map(|image| (image.id.clone(), image)).collect();
        let (mut known, now) = (self.known(), Instant::now());
        known.used.retain(|id, _| held.contains_key(id));
        for id in held.keys() {
            known.used.entry(id.clone()).or_insert(now);
        }
        known.held = held;
        Ok(())
    }

    /// All of them by all their tags, sorted by name; those that have none by their digest.
    pub(super) fn list(&self) -> Vec<ImageRef> {
        let known = self.known();
        let mut refs: Vec<ImageRef> = known.held.values().flat_map(refs).collect();
        refs.sort();
        refs
    }

    /// The one that a name stands for now.
    pub(super) fn resolve(&self, name: &str) -> Option<ImageRef> {
        let full = normalise(name);
        let image = self.find(&full)?;
        Some(image.under(full))
    }

    /// The one that was resolved before.
    pub(super) fn of(&self, image: &ImageRef) -> Option<Held> {
        self.find(if image.digest.is_empty() { &image.name } else { &image.digest })
    }

    fn find(&self, full: &str) -> Option<Held> {
        let known = self.known();
        let digest = full.rsplit_once('@').map_or(full, |(_, digest)| digest);
        let is = |image: &&Held| {
            image.id == digest || image.digest == digest || image.tags.iter().any(|tag| tag == full)
        };
        known.held.values().find(is).cloned()
    }

    /// It is used now.
    pub(super) fn note_use(&self, id: &str) {
        self.known().used.insert(id.to_owned(), Instant::now());
    }

    /// Removes images until so many bytes are free, the longest unused first; none that was used within `unused_for`. Answers how many
    /// bytes are.
    pub(super) async fn free(&self, bytes: u64, unused_for: Duration) -> Result<u64, String> {
        let told = |status: Status| format!("ask the container runtime: {}", in_full(&status));
        self.refresh().await.map_err(told)?;
        // Those of others, too.
        let request = ask(cri::ListContainersRequest { filter: None }, CALL);
        let containers = self.daemon.runtime().list_containers(request).await.map_err(told)?;
        let mut in_use = HashSet::new();
        for container in containers.into_inner().containers {
            let named = container.image.map(|image| image.image).unwrap_or_default();
            in_use.extend([named, container.image_ref]);
        }
        let candidates = self.candidates(&in_use, unused_for);
        let mut freed = 0_u64;
        for image in candidates {
            if freed >= bytes {
                break;
            }
            let spec = cri::ImageSpec { image: image.id.clone(), ..Default::default() };
            let request = ask(cri::RemoveImageRequest { image: Some(spec) }, CALL);
            match self.daemon.images().remove_image(request).await {
                Ok(_) => {
                    freed = freed.saturating_add(image.size_bytes);
                    let name = image.tags.first().unwrap_or(&image.digest);
                    tracing::info!(image = %name, bytes = image.size_bytes, "an image that nobody uses is removed");
                }
                Err(status) => {
                    tracing::warn!(image = %image.id, cause = in_full(&status), "an image cannot be removed");
                }
            }
        }
        if freed > 0 {
            self.refresh().await.map_err(told)?;
        }
        Ok(freed)
    }

    /// Those that may go, the longest unused first; what is in use counts as used now.
    fn candidates(&self, in_use: &HashSet<String>, unused_for: Duration) -> Vec<Held> {
        let (mut known, now) = (self.known(), Instant::now());
        let known = &mut *known;
        let mut candidates = Vec::new();
        for image in known.held.values() {
            let names = image.tags.iter().chain([&image.id, &image.digest]);
            let by_digest = |used: &String| used.ends_with(&format!("@{}", image.digest));
            if names.into_iter().any(|name| in_use.contains(name)) || in_use.iter().any(by_digest) {
                known.used.insert(image.id.clone(), now);
                continue;
            }
            let imported = image.digest == image.id;
            let of_sandboxes = image.tags.iter().any(|tag| *tag == normalise(&self.of_sandboxes));
            let since = known.used.get(&image.id).copied().unwrap_or(now);
            if !image.pinned && !imported && !of_sandboxes && now.duration_since(since) >= unused_for {
                candidates.push((since, image.clone()));
            }
        }
        candidates.sort_by_key(|(since, _)| *since);
        candidates.into_iter().map(|(_, image)| image).collect()
    }

    /// The folder whose disk the images are on.
    pub(super) async fn place(&self) -> Option<String> {
        let request = ask(cri::ImageFsInfoRequest {}, CALL);
        let info = self.daemon.images().image_fs_info(request).await.ok()?.into_inner();
        let disk = info.image_filesystems.into_iter().next()?;
        Some(disk.fs_id?.mountpoint).filter(|path| !path.is_empty())
    }
}

fn refs(image: &Held) -> Vec<ImageRef> {
    match image.tags.as_slice() {
        [] => vec![image.under(image.digest.clone())],
        tags => tags.iter().map(|tag| image.under(tag.clone())).collect(),
    }
}

/// Pulls through the daemon, by its own settings about registries.
pub(super) struct ByDaemon(pub(super) Arc<Images>);

#[async_trait]
impl Fetch for ByDaemon {
    async fn fetch(&self, name: &str, credentials: &[Credential]) -> Outcome {
        let reference = Reference::parse(name)?;
        let images = &self.0;
        // Each that counts, the most special first; without any, as nobody.
        let mut users: Vec<Option<cri::AuthConfig>> =
            Credential::matching(credentials, &reference).into_iter().map(|it| Some(auth(it))).collect();
        if users.is_empty() {
            users.push(None);
        }
        let mut refused = None;
        for auth in users {
            let spec = cri::ImageSpec { image: normalise(name), ..Default::default() };
            let request = cri::PullImageRequest { image: Some(spec), auth, sandbox_config: None };
            match images.daemon.images().pull_image(ask(request, PULL)).await {
                Ok(pulled) => return images.pulled(name, &pulled.into_inner().image_ref).await,
                Err(status) => refused = Some(status),
            }
        }
        let cause = refused.map(|status| in_full(&status)).unwrap_or_default();
        Err(PullError::Failed(cause))
    }
}

impl Images {
    async fn pulled(&self, name: &str, image_ref: &str) -> Outcome {
        self.refresh().await.map_err(|status| PullError::Failed(in_full(&status)))?;
        let image = self.find(&normalise(name)).or_else(|| self.find(image_ref));
        let image = image.ok_or_else(|| {
            PullError::Failed(format!("the container runtime pulled \"{name}\", but does not hold it"))
        })?;
        self.note_use(&image.id);
        Ok(image.under(normalise(name)))
    }
}

fn auth(credential: &Credential) -> cri::AuthConfig {
    let (username, password) = credential.login();
    cri::AuthConfig { username: username.to_owned(), password: password.to_owned() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn images(of: &[(&str, &[&str], Option<&str>)]) -> Images {
        let daemon = Daemon::at(std::path::Path::new("/none.sock")).unwrap();
        let images = Images::new(daemon, "pause:1".to_owned());
        let mut known = images.known();
        for (id, tags, digest) in of {
            let image = cri::Image {
                id: (*id).to_owned(),
                repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
                repo_digests: digest.iter().map(|digest| format!("reg.io/x@{digest}")).collect(),
                size: 10,
                ..cri::Image::default()
            };
            known.held.insert(image.id.clone(), Held::of(image));
            known.used.insert((*id).to_owned(), Instant::now());
        }
        drop(known);
        images
    }

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    #[tokio::test]
    async fn an_image_is_found_by_tag_digest_and_id() {
        let (a, b) = (digest("a"), digest("b"));
        let images = images(&[(&a, &["docker.io/library/web:1", "reg.io/web:2"], Some(&b))]);
        let found = images.resolve("web:1").unwrap();
        assert_eq!((found.name.as_str(), found.digest.as_str()), ("docker.io/library/web:1", b.as_str()));
        assert!(images.resolve("reg.io/web:2").is_some() && images.resolve("web:2").is_none());
        assert!(images.resolve(&format!("reg.io/x@{b}")).is_some());
        assert_eq!(images.of(&found).unwrap().id, a);
        let names: Vec<String> = images.list().into_iter().map(|image| image.name).collect();
        assert_eq!(names, ["docker.io/library/web:1", "reg.io/web:2"]);
    }

    #[tokio::test]
    async fn what_is_used_or_begins_pods_is_not_removed() {
        let [a, b, c, d, i] = ["a", "b", "c", "d", "1"].map(digest);
        let (of_a, of_b, of_c) = (digest("2"), digest("3"), digest("4"));
        let images = images(&[
            (&a, &["docker.io/library/pause:1"], Some(&of_a)),
            (&b, &["docker.io/library/used:1"], Some(&of_b)),
            (&c, &["docker.io/library/old:1"], Some(&of_c)),
            (&i, &["docker.io/library/imported:1"], None),
            (&d, &[], Some(&digest("e"))),
        ]);
        let in_use = HashSet::from([b.clone()]);
        let ids = |unused_for| -> Vec<String> {
            images.candidates(&in_use, unused_for).into_iter().map(|image| image.id).collect()
        };
        assert_eq!(ids(Duration::ZERO), [c.clone(), d.clone()]);
        assert!(ids(Duration::from_secs(60)).is_empty());
        images.note_use(&c);
        assert_eq!(ids(Duration::ZERO), [d, c], "the longest unused first");
    }
}
