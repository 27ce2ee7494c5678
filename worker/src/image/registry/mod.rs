//! Registries: where images come from, spoken to by the OCI distribution protocol.
//!
//! ```text
//! name -> reference -> config (which places) -> session (authorization, redirects) -> wire (one request)
//!                                                  ^- manifest (which image) and blob (its layers) ask by it
//! ```
//!
//! Nothing here trusts a registry: what is named by a digest is compared with it, what has a length is cut there, what
//! takes too long ends. The requests are hyper's and bounded by us: the client crates at hand read manifests, tokens and
//! refusals whole, however long, and begin a broken layer anew.
//! Not for deciding when to pull (`pod/image.rs`), nor for unpacking (`../unpack.rs`).

mod auth;
mod blob;
mod config;
mod credentials;
mod error;
mod manifest;
mod platform;
mod reference;
mod session;
mod trust;
mod wire;

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};

pub use config::{Registries, RegistriesFile, RegistrySettings};
pub use credentials::Credential;
pub use error::RegistryError;
pub(crate) use reference::Reference;
pub use wire::Patience;

use self::manifest::{Descriptor, Found};
use self::session::Session;
use self::wire::Wire;
use super::blobs::{Blob, Blobs};
use super::budget::Limits;
use super::config::ConfigDocument;

/// Layers of one image on their way at a time.
const LAYERS_AT_A_TIME: usize = 3;

/// Who is told how a pull goes. Every method may be called from any thread, and often.
pub trait Progress: Send + Sync {
    /// These layers are to come: digest and bytes.
    fn layers(&self, _layers: &[(String, u64)]) {}
    /// So much of one of them is there.
    fn received(&self, _layer: usize, _bytes: u64) {}
    /// All are there and are being unpacked.
    fn unpacking(&self) {}
}

/// Nobody is told.
impl Progress for () {}

/// A client of every registry.
#[derive(Clone, Debug)]
pub(super) struct Client {
    wire: Wire,
}

/// An image that was found in a registry, and where.
pub(super) struct Located {
    session: Session,
    found: Found,
}

impl Client {
    pub(super) fn new(registries: Arc<Registries>, patience: Patience) -> Self {
        Self { wire: Wire { registries, patience: Arc::new(patience) } }
    }

    /// The digest that a name leads to now; none if only its documents could tell.
    pub(super) async fn digest(
        &self,
        reference: &Reference,
        credentials: &[Credential],
    ) -> Result<Option<String>, RegistryError> {
        let mut last = None;
        for session in self.sessions(reference, credentials)? {
            match manifest::head(&session, reference).await {
                Ok(digest) => return Ok(digest),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| nowhere(reference)))
    }

    /// Finds the image for this machine: in the first mirror that has it, else in the registry itself. The error is the
    /// last one's, the registry's.
    pub(super) async fn locate(
        &self,
        reference: &Reference,
        credentials: &[Credential],
        limits: Limits,
    ) -> Result<Located, RegistryError> {
        let mut last = None;
        for session in self.sessions(reference, credentials)? {
            match manifest::find(&session, reference, limits).await {
                Ok(found) => return Ok(Located { session, found }),
                Err(error) => {
                    tracing::debug!(image = %reference, place = session.host(), %error, "not to be had there");
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| nowhere(reference)))
    }

    /// Every place, and at each every credential that counts there, or none. A mirror gets only credentials that were meant for it.
    fn sessions(
        &self,
        reference: &Reference,
        credentials: &[Credential],
    ) -> Result<Vec<Session>, RegistryError> {
        let mut sessions = Vec::new();
        let endpoints = self.wire.registries.endpoints(&reference.registry)?;
        let own = endpoints.len().saturating_sub(1);
        for (index, endpoint) in endpoints.into_iter().enumerate() {
            let mut named = reference.clone();
            if index != own {
                named.registry = endpoint.authority.to_string();
            }
            let matching = Credential::matching(credentials, &named);
            let users = matching.into_iter().cloned().map(Some);
            let users: Vec<_> = users.collect();
            let users = if users.is_empty() { vec![None] } else { users };
            let session = |user| Session::new(self.wire.clone(), endpoint.clone(), &named, user);
            sessions.extend(users.into_iter().map(session));
        }
        Ok(sessions)
    }
}

fn nowhere(reference: &Reference) -> RegistryError {
    RegistryError::NotFound { host: reference.registry.clone(), what: reference.to_string() }
}

impl Located {
    /// The digest of what the name leads to: an index, or the manifest.
    pub(super) fn named(&self) -> &str {
        &self.found.named
    }

    /// The digest of the manifest.
    pub(super) fn digest(&self) -> &str {
        &self.found.digest
    }

    /// The digests of its uncompressed layers.
    pub(super) fn diff_ids(&self) -> &[String] {
        &self.found.config.rootfs.diff_ids
    }

    /// Fetches those layers that are not here by their number; several at a time, each once. What an earlier pull left of one is
    /// gone on with. For one that another pull fetches just now it waits, until there it is, packed or unpacked.
    pub(super) async fn layers(
        &self,
        blobs: &Blobs,
        here: &(dyn Fn(usize) -> bool + Sync),
        progress: &dyn Progress,
    ) -> Result<Vec<Option<Arc<Blob>>>, RegistryError> {
        let mut distinct: Vec<&Descriptor> = Vec::new();
        let mut places = Vec::new();
        for (number, layer) in self.found.layers.iter().enumerate() {
            if here(number) {
                places.push(None);
                continue;
            }
            let known = distinct.iter().position(|other| other.digest == layer.digest);
            places.push(Some(known.unwrap_or(distinct.len())));
            if known.is_none() {
                distinct.push(layer);
            }
        }
        let listed: Vec<_> = distinct.iter().map(|layer| (layer.digest.clone(), layer.size)).collect();
        progress.layers(&listed);
        let mut fetches = Vec::new();
        for (index, layer) in distinct.into_iter().enumerate() {
            let all_here = |numbers: &[usize]| numbers.iter().all(|number| here(*number));
            let numbers: Vec<usize> = places
                .iter()
                .enumerate()
                .filter(|(_, place)| **place == Some(index))
                .map(|it| it.0)
                .collect();
            fetches.push(self.fetch(index, layer, blobs, move || all_here(&numbers), progress));
        }
        let fetched: Vec<Option<Arc<Blob>>> =
            futures_util::stream::iter(fetches).buffered(LAYERS_AT_A_TIME).try_collect().await?;
        Ok(places.into_iter().map(|place| fetched.get(place?).cloned().flatten()).collect())
    }

    async fn fetch(
        &self,
        index: usize,
        layer: &Descriptor,
        blobs: &Blobs,
        here: impl Fn() -> bool,
        progress: &dyn Progress,
    ) -> Result<Option<Arc<Blob>>, RegistryError> {
        let received = move |bytes| progress.received(index, bytes);
        Ok(blob::fetch(&self.session, layer, blobs, here, &received).await?.map(Arc::new))
    }

    pub(super) fn into_config(self) -> ConfigDocument {
        self.found.config
    }
}
