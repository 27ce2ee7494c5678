//! `kontiki image load|list`: the images of a worker on this machine. They reach a machine as archive files.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use kontiki_worker::image::Store;

use super::access::DEFAULT_DIR;
use super::say::{say, say_text};
use super::{Output, print_json, table};

/// The image store's folder in a data directory.
pub(crate) const IMAGES: &str = "images";

/// `kontiki image ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Load archives (OCI or docker-archive; plain, gzip or zstd). Running workers see the images at once.
    Load(LoadArgs),
    /// List the images.
    List(ListArgs),
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
        Ok(Store::open(self.data_dir.join(IMAGES))?)
    }
}

pub(crate) fn image(command: ImageCommand) -> anyhow::Result<()> {
    match command {
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
    }
}

/// Loads one archive; answers the names that now lead to its images.
pub(crate) fn load(store: &Store, file: &Path) -> anyhow::Result<Vec<String>> {
    let loaded = store.load(file).with_context(|| format!("cannot load {}", file.display()))?;
    Ok(loaded.into_iter().flat_map(|loaded| loaded.names).collect())
}

fn list(store: &Store, output: Output) -> anyhow::Result<()> {
    let images = store.list();
    match output {
        Output::Json => print_json(&images),
        Output::Table => {
            let mut table = table::table(&["IMAGE", "DIGEST", "SIZE"]);
            for image in &images {
                let digest: String = image.digest.chars().take(19).collect();
                let size = format!("{:.1}MiB", image.size_bytes as f64 / f64::from(1 << 20));
                for name in &image.names {
                    table.add_row([name, &digest, &size]);
                }
            }
            say_text(&table::text(&mut table));
            Ok(())
        }
    }
}
