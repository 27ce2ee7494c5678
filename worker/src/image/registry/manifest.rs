//! From a name to the image's documents: index, manifest and configuration, each compared with its digest.

use std::collections::{BTreeMap, BTreeSet};

use http::header::{ACCEPT, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::RegistryError;
use super::platform::{Platform, choose};
use super::reference::Reference;
use super::session::Session;
use crate::image::archive::digest_text;
use crate::image::budget::Limits;
use crate::image::config::{ConfigDocument, machine_architecture, null_is_default};
use crate::image::manifest::LAYERS_MAX;
use crate::image::name::is_digest;
use crate::image::{ImageError, manifest};

/// An index in an index; more than this nobody writes.
const INDEX_DEPTH_MAX: u32 = 3;
const MEDIA_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What a manifest says of a blob.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Descriptor {
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<Descriptor>,
}

/// An image that a registry has for this machine.
#[derive(Debug)]
pub(super) struct Found {
    /// The digest of what the name leads to: an index, or the manifest.
    pub(super) named: String,
    /// The digest of the manifest.
    pub(super) digest: String,
    pub(super) config: ConfigDocument,
    pub(super) layers: Vec<Descriptor>,
}

/// The digest that a name leads to now, if the registry tells it without the document.
pub(super) async fn head(session: &Session, reference: &Reference) -> Result<Option<String>, RegistryError> {
    let what = format!("manifests/{}", reference.version);
    let answer = session.get(Method::HEAD, &what, &accept()).await?;
    Ok(answer.header(CONTENT_DIGEST).filter(|digest| is_digest(digest)).map(str::to_owned))
}

/// Reads the documents of the image that a name leads to.
pub(super) async fn find(
    session: &Session,
    reference: &Reference,
    limits: Limits,
) -> Result<Found, RegistryError> {
    let (named, body) = manifest_of(session, &reference.version, limits).await?;
    let (mut digest, mut document) = (named.clone(), parse::<Document>(&named, &body)?);
    let mut depth = 0;
    while let Some(manifests) = &document.manifests {
        let entries = manifests.iter().map(|entry| (entry.platform.as_ref(), &entry.annotations));
        let Some(entry) = choose(entries).and_then(|index| manifests.get(index)).cloned() else {
            return Err(wrong_platform(manifests).into());
        };
        depth += 1;
        if depth > INDEX_DEPTH_MAX {
            return Err(ImageError::Malformed(format!("index {named} leads to ever more indexes")).into());
        }
        checked(&entry)?;
        let (_, body) = manifest_of(session, &entry.digest, limits).await?;
        (digest, document) = (entry.digest.clone(), parse(&entry.digest, &body)?);
    }
    let Some(config) = document.config else {
        let cause = "has no config: images of schema 1 are not supported, push it again with a newer tool";
        return Err(ImageError::Malformed(format!("manifest {digest} {cause}")).into());
    };
    within_limits(&document.layers, limits)?;
    for descriptor in document.layers.iter().chain([&config]) {
        checked(descriptor)?;
    }
    let body = config_of(session, &config, limits).await?;
    let config: ConfigDocument = parse(&config.digest, &body)?;
    if !manifest::fits_machine(&config) {
        let platform =
            format!("{} (it is for {}/{})", machine_architecture(), config.os, config.architecture);
        return Err(ImageError::WrongPlatform(platform).into());
    }
    manifest::check_layers(document.layers.len(), &config)?;
    Ok(Found { named, digest, config, layers: document.layers })
}

fn accept() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MEDIA_TYPES))])
}

/// A manifest or index and its digest, which is computed, not believed.
async fn manifest_of(
    session: &Session,
    version: &str,
    limits: Limits,
) -> Result<(String, Vec<u8>), RegistryError> {
    let mut answer = session.get(Method::GET, &format!("manifests/{version}"), &accept()).await?;
    let body = answer.read(limits.document_bytes).await?;
    let actual = digest_text(Sha256::new_with_prefix(&body));
    if is_digest(version) && actual != version {
        return Err(mismatch("the manifest", version, actual));
    }
    Ok((actual, body))
}

async fn config_of(session: &Session, config: &Descriptor, limits: Limits) -> Result<Vec<u8>, RegistryError> {
    if config.size > limits.document_bytes {
        let (limit, unit) = (limits.document_bytes, "bytes in a document");
        return Err(ImageError::TooBig { limit, unit }.into());
    }
    let what = format!("blobs/{}", config.digest);
    let mut answer = session.get(Method::GET, &what, &HeaderMap::new()).await?;
    let body = answer.read(config.size).await?;
    let actual = digest_text(Sha256::new_with_prefix(&body));
    if actual != config.digest {
        return Err(mismatch("the configuration", &config.digest, actual));
    }
    Ok(body)
}

/// An image may hold one layer several times; it is fetched once and counted each time, for so it is unpacked.
fn within_limits(layers: &[Descriptor], limits: Limits) -> Result<(), RegistryError> {
    if layers.len() > LAYERS_MAX {
        return Err(ImageError::TooBig { limit: LAYERS_MAX as u64, unit: "layers" }.into());
    }
    let bytes = layers.iter().fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
    if bytes > limits.bytes {
        return Err(ImageError::TooBig { limit: limits.bytes, unit: "bytes" }.into());
    }
    Ok(())
}

/// A digest goes into an address and becomes a file's promise: only the one kind that is understood.
fn checked(descriptor: &Descriptor) -> Result<(), RegistryError> {
    if is_digest(&descriptor.digest) {
        return Ok(());
    }
    let shown: String = descriptor.digest.chars().take(80).collect();
    Err(ImageError::Malformed(format!("\"{shown}\" is not a sha256 digest")).into())
}

fn wrong_platform(manifests: &[Descriptor]) -> ImageError {
    let known: BTreeSet<String> =
        manifests.iter().filter_map(|it| it.platform.as_ref()).map(ToString::to_string).take(32).collect();
    let known: Vec<String> = known.into_iter().collect();
    ImageError::WrongPlatform(format!("{} (it has {})", machine_architecture(), known.join(", ")))
}

pub(super) fn mismatch(what: &str, expected: &str, actual: String) -> RegistryError {
    let (what, expected) = (what.to_owned(), expected.to_owned());
    ImageError::DigestMismatch { what, expected, actual }.into()
}

fn parse<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, RegistryError> {
    let malformed = |source| ImageError::Malformed(format!("{what}: {source}"));
    serde_json::from_slice(bytes).map_err(malformed).map_err(RegistryError::from)
}
