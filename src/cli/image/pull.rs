//! `kontiki image pull`: images from their registries, with a bar for each layer on a terminal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use kontiki_worker::image::{Credential, Patience, Progress, Puller, Registries};
use parking_lot::Mutex;

use super::Common;
use crate::cli::run::settings;
use crate::cli::say::say;

/// Nobody has more credentials than this.
const AUTH_FILE_MAX: u64 = 1 << 20;
/// Letters of a digest that people look at.
const DIGEST_SHOWN: usize = 12;

/// Arguments of `kontiki image pull`.
#[derive(Debug, Args)]
#[command(
    after_help = "Registries on loopback are spoken to without TLS, all others with it, unless --registries says otherwise.\n\
                  Credentials are those of a Docker configuration: kontiki image pull --auth-file ~/.docker/config.json NAME"
)]
pub(crate) struct PullArgs {
    /// The images, such as `alpine:3`, `ghcr.io/team/web:1` or `127.0.0.1:5000/web@sha256:...`.
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
    /// A YAML file about registries: mirrors, plain HTTP, certificates.
    #[arg(long, value_name = "FILE", env = "KONTIKI_REGISTRIES")]
    registries: Option<PathBuf>,
    /// A file with credentials, in Docker's format (config.json).
    #[arg(long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

pub(super) fn pull(args: &PullArgs) -> anyhow::Result<()> {
    let store = Arc::new(args.common.store()?);
    let registries = Arc::new(Registries::new(settings::read(args.registries.as_ref())?)?);
    let credentials = args.auth_file.as_deref().map(credentials).transpose()?.unwrap_or_default();
    let puller = Puller::new(store, registries, Patience::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for name in &args.names {
        let bars = Bars::new();
        let pulled = runtime.block_on(puller.pull(name, &credentials, &bars));
        bars.end();
        let pulled = pulled.with_context(|| format!("cannot pull {name}"))?;
        let what = if pulled.new { "pulled" } else { "up to date:" };
        say(format_args!("{what} {} {}", kontiki_worker::image::normalise(name), pulled.image.digest));
    }
    Ok(())
}

fn credentials(path: &Path) -> anyhow::Result<Vec<Credential>> {
    let failed = || format!("cannot read credentials {}", path.display());
    if std::fs::metadata(path).with_context(failed)?.len() > AUTH_FILE_MAX {
        bail!("{} is too long for a file with credentials", path.display());
    }
    let json = std::fs::read(path).with_context(failed)?;
    Credential::from_config_json(&json).map_err(anyhow::Error::msg).with_context(failed)
}

/// A bar for each layer on a terminal, nothing elsewhere.
struct Bars {
    all: MultiProgress,
    layers: Mutex<Vec<ProgressBar>>,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        Self { all, layers: Mutex::new(Vec::new()) }
    }

    fn add(&self, bar: ProgressBar, form: &str, message: String) -> ProgressBar {
        let bar = self.all.add(bar);
        if let Ok(style) = ProgressStyle::with_template(form) {
            bar.set_style(style);
        }
        bar.set_message(message);
        bar
    }

    fn end(&self) {
        self.all.clear().ok();
    }
}

impl Progress for Bars {
    fn layers(&self, layers: &[(String, u64)]) {
        let bar = |(digest, size): &(String, u64)| {
            let hex = digest.rsplit_once(':').map_or(digest.as_str(), |(_, hex)| hex);
            let shown = hex.chars().take(DIGEST_SHOWN).collect();
            self.add(ProgressBar::new(*size), "{msg} {bar:30} {bytes:>11} of {total_bytes}", shown)
        };
        *self.layers.lock() = layers.iter().map(bar).collect();
    }

    fn received(&self, layer: usize, bytes: u64) {
        if let Some(bar) = self.layers.lock().get(layer) {
            bar.set_position(bytes);
        }
    }

    fn unpacking(&self) {
        let bar = self.add(ProgressBar::new_spinner(), "{spinner} {msg}", "unpacking".to_owned());
        bar.enable_steady_tick(std::time::Duration::from_millis(100));
        self.layers.lock().push(bar);
    }
}
