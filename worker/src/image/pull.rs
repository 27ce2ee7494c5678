//! Pulling: an image from its registry to the store.

use std::sync::Arc;
use std::time::Duration;

use super::ImageError;
use super::blobs::Blob;
use super::manifest::Manifest;
use super::registry::{Client, Credential, Patience, Progress, Reference, Registries, RegistryError};
use super::store::{Image, Store};
use super::usage::Turn;

/// How often it is looked whether another process is through with the same image.
const TURN_CHECK: Duration = Duration::from_millis(200);

/// Pulls images into a store. Files are written and layers hashed on the threads of the tokio runtime that calls it, so
/// that should be one of its own.
#[derive(Debug)]
pub struct Puller {
    store: Arc<Store>,
    client: Client,
}

/// What a pull brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulled {
    /// The image.
    pub image: Image,
    /// It was not here before.
    pub new: bool,
}

impl Puller {
    /// A puller into this store.
    pub fn new(store: Arc<Store>, registries: Arc<Registries>, patience: Patience) -> Self {
        Self { store, client: Client::new(registries, patience) }
    }

    /// Makes the store hold what the name leads to in its registry now. Only layers are fetched that it does not hold yet.
    /// The image is there whole or not at all; whoever drops the future ends the pull. What has come of layers until then is
    /// what the next pull that needs them goes on with.
    pub async fn pull(
        &self,
        name: &str,
        credentials: &[Credential],
        progress: &dyn Progress,
    ) -> Result<Pulled, RegistryError> {
        let reference = Reference::parse(name)?;
        if let Some(image) = self.unchanged(&reference, credentials).await? {
            return Ok(Pulled { image, new: false });
        }
        let located = self.client.locate(&reference, credentials, self.store.limits()).await?;
        let digest = located.digest().to_owned();
        let repo_digest = format!("{}@{}", reference.place(), located.named());
        // Other workers may share the store: one of them pulls, the others find it done.
        let turn = self.turn(&digest).await?;
        if let Some(image) = self.store.give_name(&digest, &reference.to_string(), &repo_digest)? {
            return Ok(Pulled { image, new: false });
        }
        let loading = Arc::new(self.store.begin()?);
        let reserved = self.store.reserve(&loading, &digest, located.diff_ids())?;
        let blobs = located.layers(&self.store.blobs(), &|index| reserved.has(index), progress).await?;
        progress.unpacking();
        let layers = blobs.iter().map(|blob| Some(blob.as_ref()?.spooled.clone())).collect();
        let names = vec![reference.to_string()];
        let manifest = Manifest { digest, names, config: located.into_config(), layers };
        let store = Arc::clone(&self.store);
        // The unpacking keeps its turn and its directory to its end, even if nobody waits for it any more.
        let kept = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let kept = store.keep(&loading, manifest, repo_digest);
            // What could not be stored is stored later, from what is here; what is wrong would be wrong again.
            if !kept.as_ref().is_err_and(ImageError::may_pass) {
                blobs.into_iter().flatten().filter_map(Arc::into_inner).for_each(Blob::discard);
            }
            kept
        });
        let broken =
            |source: tokio::task::JoinError| ImageError::Malformed(format!("the unpacking: {source}"));
        let loaded = kept.await.map_err(broken)??;
        Ok(Pulled { image: loaded.image, new: loaded.new })
    }

    /// The image that the store has by this name, if the registry still means that one. Asks without fetching anything.
    async fn unchanged(
        &self,
        reference: &Reference,
        credentials: &[Credential],
    ) -> Result<Option<Image>, RegistryError> {
        let Some(image) = self.store.resolve(&reference.to_string()) else { return Ok(None) };
        match self.client.digest(reference, credentials).await {
            Ok(Some(digest)) => {
                let repo_digest = format!("{}@{digest}", reference.place());
                let same = image.digest == digest || image.repo_digests.contains(&repo_digest);
                if same {
                    self.store.touch(&image);
                }
                Ok(same.then_some(image))
            }
            // It does not tell without the document: that will say.
            Ok(None) | Err(RegistryError::Status { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn turn(&self, digest: &str) -> Result<Turn, RegistryError> {
        loop {
            if let Some(turn) = self.store.turn(digest)? {
                return Ok(turn);
            }
            tokio::time::sleep(TURN_CHECK).await;
        }
    }
}
