//! `kontiki image pull|load|list|remove|prune`: the images of a worker on this machine.

mod pull;

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use kontiki_worker::image::{Image, Store, normalise};
use serde::Serialize;

use super::access::DEFAULT_DIR;
use super::run::worker::is_by_daemon;
use super::say::{say, say_text};
use super::{Output, print_json, table};

/// The image store's folder in a data directory.
pub(crate) const IMAGES: &str = "images";

/// `kontiki image ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Pull images from their registries. Running workers see them at once.
    Pull(pull::PullArgs),
    /// Load archives (OCI or docker-archive; plain, gzip or zstd). Running workers see the images at once.
    Load(LoadArgs),
    /// List the images.
    List(ListArgs),
    /// Remove images by name or digest, unless a container uses them.
    #[command(visible_alias = "rm")]
    Remove(RemoveArgs),
    /// Remove the images that have no name any more, unless a container uses them, and what pulls left that did not end.
    Prune(PruneArgs),
}

/// Arguments of `kontiki image load`.
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// The archives.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `kontiki image list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    common: Common,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Arguments of `kontiki image remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Their names, or digests (`sha256:...`).
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Arguments of `kontiki image prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove every image that no container uses.
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// The data directory of the cluster that `up` started, or of one worker.
    #[arg(long, value_name = "DIR", env = "KONTIKI_DATA_DIR", default_value = DEFAULT_DIR)]
    data_dir: PathBuf,
}

impl Common {
    fn store(&self) -> anyhow::Result<Store> {
        if !self.data_dir.exists() {
            bail!("there is no data directory {}: name it by --data-dir", self.data_dir.display());
        }
        if is_by_daemon(&self.data_dir) {
            bail!(
                "the images of the worker in {} are its container runtime's: use that one's tools, such as ctr --namespace k8s.io images",
                self.data_dir.display()
            );
        }
        Ok(Store::open(self.data_dir.join(IMAGES))?)
    }
}

pub(crate) fn image(command: ImageCommand) -> anyhow::Result<()> {
    match command {
        ImageCommand::Pull(args) => pull::pull(&args),
        ImageCommand::Load(args) => {
            let store = args.common.store()?;
            for file in &args.files {
                for name in load(&store, file)? {
                    say(format_args!("loaded {name}"));
                }
            }
            Ok(())
        }
        ImageCommand::List(args) => list(&args.common.store()?, args.output),
        ImageCommand::Remove(args) => remove(&args.common.store()?, &args.names),
        ImageCommand::Prune(args) => prune(&args.common.store()?, args.all),
    }
}

/// Loads one archive; answers the names that now lead to its images.
pub(crate) fn load(store: &Store, file: &Path) -> anyhow::Result<Vec<String>> {
    let loaded = store.load(file).with_context(|| format!("cannot load {}", file.display()))?;
    Ok(loaded.into_iter().flat_map(|loaded| loaded.names).collect())
}

/// An image, and what would be free without it: layers that others have too are not among it.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    image: Image,
    own_bytes: u64,
}

fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let images = store.list().into_iter();
    let images: Vec<Listed> =
        images.map(|image| Listed { own_bytes: store.own_bytes(&image), image }).collect();
    match output {
        Output::Json => print_json(&images),
        Output::Table => {
            let mut table = table::table(&["IMAGE", "DIGEST", "SIZE", "OWN"]);
            for Listed { image, own_bytes } in &images {
                let digest: String = image.digest.chars().take(19).collect();
                let (size, own) = (mebibytes(image.size_bytes), mebibytes(*own_bytes));
                for name in &image.names {
                    table.add_row([name, &digest, &size, &own]);
                }
                if image.names.is_empty() {
                    table.add_row(["<none>", &digest, &size, &own]);
                }
            }
            say_text(&table::text(&mut table));
            let taken = store.taken()?;
            say(format_args!(
                "{} in images, {} left by pulls that did not end (see kontiki image prune)",
                mebibytes(taken.images),
                mebibytes(taken.leftovers)
            ));
            Ok(())
        }
    }
}

/// All that can go go, and the first that cannot is the error.
fn remove(store: &Store, names: &[String]) -> anyhow::Result<()> {
    let mut failed = None;
    for name in names {
        match store.remove(name) {
            Ok(true) => say(format_args!("removed {}", normalise(name))),
            Ok(false) => {
                let cause = anyhow!("there is no image {}: see kontiki image list", normalise(name));
                failed.get_or_insert(cause);
            }
            Err(error) => {
                failed.get_or_insert(error.into());
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn prune(store: &Store, all: bool) -> anyhow::Result<()> {
    let gone = store.prune(all)?;
    for image in &gone.images {
        let name = image.names.first().unwrap_or(&image.digest);
        say(format_args!("removed {name}"));
    }
    say(format_args!("{} images, {}", gone.images.len(), mebibytes(gone.bytes)));
    Ok(())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}MiB", bytes as f64 / f64::from(1 << 20))
}
