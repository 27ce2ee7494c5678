//! Which layers make an image, read from an OCI archive (`index.json`) or a docker-archive (`manifest.json`).

use serde::Deserialize;

use super::ImageError;
use super::archive::{Archive, Spooled};
use super::config::{ConfigDocument, machine_architecture, null_is_default};
use super::name::is_digest;

/// Layers of one image, as with Docker: the kernel reads the names of all of them from one page.
pub(super) const LAYERS_MAX: usize = 127;
const IMAGES_MAX: usize = 64;
const INDEX_DEPTH_MAX: u32 = 4;

/// One image of an archive: verified documents, and where its layers are.
#[derive(Debug)]
pub(super) struct Manifest {
    /// The digest of the OCI manifest; of the configuration in a docker-archive, which has no other.
    pub(super) digest: String,
    pub(super) names: Vec<String>,
    pub(super) config: ConfigDocument,
    /// Its packed layers, the lowest first; none of a layer that is to be here already.
    pub(super) layers: Vec<Option<Spooled>>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct IndexOrManifest {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default, deserialize_with = "null_is_default")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<String>,
}

/// Every image of the archive that this machine can run.
pub(super) fn read(archive: &Archive) -> Result<Vec<Manifest>, ImageError> {
    let images = if archive.has("index.json") {
        oci_images(archive)?
    } else if archive.has("manifest.json") {
        docker_images(archive)?
    } else {
        return Err(ImageError::Malformed(
            "the archive has neither index.json (OCI) nor manifest.json (docker): is it an image?".to_owned(),
        ));
    };
    if images.is_empty() {
        return Err(ImageError::WrongPlatform(machine_architecture().to_owned()));
    }
    Ok(images)
}

fn oci_images(archive: &Archive) -> Result<Vec<Manifest>, ImageError> {
    let index: IndexOrManifest = parse("index.json", &archive.document(archive.file("index.json")?)?)?;
    let mut images = Vec::new();
    for descriptor in index.manifests.unwrap_or_default() {
        let names = descriptor_name(&descriptor);
        add_oci(archive, &descriptor, names, 0, &mut images)?;
    }
    Ok(images)
}

/// The name that the archive's writer gave: containerd writes the full one, others only a tag or a name with a tag.
fn descriptor_name(descriptor: &Descriptor) -> Vec<String> {
    let full = descriptor.annotations.get("io.containerd.image.name");
    let short = descriptor.annotations.get("org.opencontainers.image.ref.name");
    full.or(short).into_iter().cloned().collect()
}

fn add_oci(
    archive: &Archive,
    descriptor: &Descriptor,
    names: Vec<String>,
    depth: u32,
    images: &mut Vec<Manifest>,
) -> Result<(), ImageError> {
    if depth > INDEX_DEPTH_MAX || images.len() >= IMAGES_MAX {
        return Err(ImageError::TooBig { limit: IMAGES_MAX as u64, unit: "images in one archive" });
    }
    if descriptor
        .platform
        .as_ref()
        .is_some_and(|it| it.os != "linux" || it.architecture != machine_architecture())
    {
        return Ok(());
    }
    let document: IndexOrManifest =
        parse(&descriptor.digest, &archive.document(blob(archive, descriptor)?)?)?;
    if let Some(manifests) = document.manifests {
        for inner in &manifests {
            add_oci(archive, inner, names.clone(), depth + 1, images)?;
        }
        return Ok(());
    }
    let Some(config) = document.config else {
        return Err(ImageError::Malformed(format!("manifest {} has no config", descriptor.digest)));
    };
    let config: ConfigDocument = parse(&config.digest, &archive.document(blob(archive, &config)?)?)?;
    if !fits_machine(&config) {
        return Ok(());
    }
    let layers = document
        .layers
        .iter()
        .map(|layer| blob(archive, layer).cloned().map(Some))
        .collect::<Result<_, _>>()?;
    images.push(checked(Manifest { digest: descriptor.digest.clone(), names, config, layers })?);
    Ok(())
}

fn docker_images(archive: &Archive) -> Result<Vec<Manifest>, ImageError> {
    let listed: Vec<DockerImage> =
        parse("manifest.json", &archive.document(archive.file("manifest.json")?)?)?;
    if listed.len() > IMAGES_MAX {
        return Err(ImageError::TooBig { limit: IMAGES_MAX as u64, unit: "images in one archive" });
    }
    let mut images = Vec::new();
    for image in listed {
        let spooled = archive.file(&image.config)?;
        let config: ConfigDocument = parse(&image.config, &archive.document(spooled)?)?;
        if !fits_machine(&config) {
            continue;
        }
        let layers = image
            .layers
            .iter()
            .map(|path| archive.file(path).cloned().map(Some))
            .collect::<Result<_, _>>()?;
        images.push(checked(Manifest {
            digest: spooled.digest.clone(),
            names: image.repo_tags,
            config,
            layers,
        })?);
    }
    Ok(images)
}

fn blob<'a>(archive: &'a Archive, descriptor: &Descriptor) -> Result<&'a Spooled, ImageError> {
    let spooled = archive.blob(&descriptor.digest)?;
    if descriptor.size.is_some_and(|size| size != spooled.size) {
        return Err(ImageError::Malformed(format!(
            "blob {} does not have its stated size",
            descriptor.digest
        )));
    }
    Ok(spooled)
}

pub(super) fn fits_machine(config: &ConfigDocument) -> bool {
    (config.os.is_empty() || config.os == "linux")
        && (config.architecture.is_empty() || config.architecture == machine_architecture())
}

/// An image whose documents contradict each other is refused.
fn checked(manifest: Manifest) -> Result<Manifest, ImageError> {
    check_layers(manifest.layers.len(), &manifest.config)?;
    Ok(manifest)
}

/// Refuses an image of so many layers if its configuration says something else, or nothing that layers could be known by.
pub(super) fn check_layers(layers: usize, config: &ConfigDocument) -> Result<(), ImageError> {
    let diff_ids = &config.rootfs.diff_ids;
    if layers != diff_ids.len() {
        return Err(ImageError::Malformed(format!(
            "image has {layers} layers but {} diff ids",
            diff_ids.len()
        )));
    }
    if layers > LAYERS_MAX {
        return Err(ImageError::TooBig { limit: LAYERS_MAX as u64, unit: "layers" });
    }
    // They become names of directories.
    match diff_ids.iter().find(|diff_id| !is_digest(diff_id)) {
        Some(odd) => {
            let shown: String = odd.chars().take(80).collect();
            Err(ImageError::Malformed(format!("\"{shown}\" is not a sha256 digest")))
        }
        None => Ok(()),
    }
}

fn parse<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|source| ImageError::Malformed(format!("{what}: {source}")))
}
