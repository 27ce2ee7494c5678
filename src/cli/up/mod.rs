//! `kontiki up` and `kontiki down`: a whole cluster on this machine, each controller and worker its own process.
//!
//! ```text
//!   plan (what belongs to it) -> trust (CA, identities, kubeconfig) -> start (processes) -> ready (wait) -> watch | detach
//!                                                                            stop <- Ctrl-C, down
//! ```
//! Not for what the processes do: they are the same `controller run` and `worker run` that anybody can start.

mod plan;
pub(crate) mod process;
mod progress;
mod ready;
mod start;
mod stop;
mod trust;
mod watch;

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use rustix::fs::FlockOperation;
use tokio::signal::unix::{SignalKind, signal};

use super::access::{Access, DEFAULT_DIR, KUBECONFIG_FILE};
use super::run::worker::BUILTIN;
use super::say::{say, say_text};
use super::{block_on, status};
use plan::{Plan, Wanted};
use progress::Progress;
use start::Started;

/// Arguments of `kontiki up`.
#[derive(Debug, Args)]
#[command(
    after_help = "Run again on a running cluster it starts what is missing. Ctrl-C stops the cluster; its data stays, and\n\
                        the next `kontiki up` goes on with it."
)]
pub(crate) struct UpArgs {
    /// How many controllers [default: 3, or as many as there are].
    #[arg(long, value_name = "N")]
    controllers: Option<u16>,
    /// How many workers [default: 3, or as many as there are].
    #[arg(long, value_name = "N")]
    workers: Option<u16>,
    /// Over how many zones new ones are spread: a, b, c... [default: 3]
    #[arg(long, value_name = "N")]
    zones: Option<u16>,
    /// Where everything of this cluster is kept.
    #[arg(long, value_name = "DIR", env = "KONTIKI_DATA_DIR", default_value = DEFAULT_DIR)]
    data_dir: PathBuf,
    /// The port for kubectl, shared by all controllers; 0 takes any free one [default: 6443].
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Return when the cluster is ready; `kontiki down` stops it.
    #[arg(long)]
    detach: bool,
    /// Load this image archive; may be given several times.
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    /// Who runs the containers of its workers: builtin, or a daemon by its CRI socket, which all of them share
    /// (cri:///run/containerd/containerd.sock) [default: builtin].
    #[arg(long, value_name = "RUNTIME", env = "KONTIKI_RUNTIME")]
    runtime: Option<String>,
}

/// Arguments of `kontiki down`.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// Where the cluster is kept.
    #[arg(long, value_name = "DIR", env = "KONTIKI_DATA_DIR", default_value = DEFAULT_DIR)]
    data_dir: PathBuf,
}

pub(crate) fn up(args: UpArgs) -> anyhow::Result<()> {
    block_on(async {
        let (mut interrupt, mut terminate, mut hangup) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        );
        let mut told_to_stop = std::pin::pin!(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {}, _ = hangup.recv() => {} }
        });
        let progress = Progress::new();
        prepare(&args.data_dir)?;
        let dir = args
            .data_dir
            .canonicalize()
            .with_context(|| format!("cannot use {}", args.data_dir.display()))?;
        let mut started = Started::default();
        let outcome = tokio::select! {
            outcome = bring_up(&args, &dir, &progress, &mut started) => outcome,
            () = &mut told_to_stop => {
                say("\nstopping");
                return stop::stop(&dir, &started_plan(&dir)?).await;
            }
        };
        let plan = match outcome {
            Ok(plan) => plan,
            Err(error) => {
                // What this `up` has started would otherwise run on unwatched; what ran before is left alone.
                if let Ok(plan) = started_plan(&dir) {
                    let mine = plan.only(&started.names());
                    stop::stop(&dir, &mine).await?;
                }
                return Err(error);
            }
        };
        finish(&args, &dir, &progress).await?;
        if args.detach {
            return Ok(());
        }
        say("\nCtrl-C stops the cluster.");
        tokio::select! {
            () = watch::watch(&dir, &plan, &mut started) => {}
            () = &mut told_to_stop => say("\nstopping"),
        }
        stop::stop(&dir, &plan).await
    })
}

/// Everything up to a cluster that is ready.
async fn bring_up(
    args: &UpArgs,
    dir: &Path,
    progress: &Progress,
    started: &mut Started,
) -> anyhow::Result<Plan> {
    let daemon = args.runtime.as_deref().filter(|runtime| *runtime != BUILTIN);
    if let (Some(daemon), [image, ..]) = (daemon, args.image.as_slice()) {
        bail!(
            "{} is for the built-in runtime: import it into that of {daemon} by its own tools, such as ctr --namespace k8s.io \
             images import",
            image.display()
        );
    }
    let lock = lock(dir)?;
    let wanted =
        Wanted { controllers: args.controllers, workers: args.workers, zones: args.zones, port: args.port };
    let known = Plan::read(dir)?;
    let ca = trust::authority(dir, known.is_some())?;
    let mut plan = Plan::make(known, wanted, ca.cluster_id())?;
    if plan.cluster_id != ca.cluster_id() {
        bail!(
            "{} holds the CA of cluster {}, and cluster.json is of {}",
            dir.display(),
            ca.cluster_id(),
            plan.cluster_id
        );
    }
    start::check_front(dir, &plan)?;
    plan.write(dir)?;
    trust::identities(dir, &plan, &ca)?;
    trust::kubeconfig(dir, &plan, &ca)?;
    progress.step(&format!("cluster CA and certificates in {}", dir.display()));
    let images = load_images(dir, &args.image);
    start::controllers(dir, &plan, started)?;
    start::workers(dir, &plan, daemon, started)?;
    progress.step(&started.words());
    let access = Access::open(&dir.join(KUBECONFIG_FILE), None)?;
    for name in start::lost_controllers(dir, &plan, &access, started).await? {
        progress.step(&format!("{name} has no data and joins anew"));
    }
    progress.step(&ready::controllers(dir, &plan, &access).await?);
    if !plan.begun {
        plan.begun = true;
        plan.write(dir)?;
    }
    for name in images.await.context("loading the images failed")?? {
        progress.step(&format!("image {name} loaded"));
    }
    progress.step(&ready::workers(dir, &plan, &access).await?);
    for name in ready::ended(dir, &plan.controllers) {
        progress.step(ready::why(dir, name).trim_end());
    }
    drop(lock);
    Ok(plan)
}

/// Unpacking is work for the disk and a processor, so it goes on beside the start of the controllers.
fn load_images(dir: &Path, files: &[PathBuf]) -> tokio::task::JoinHandle<anyhow::Result<Vec<String>>> {
    let (store_dir, files) = (dir.join(super::image::IMAGES), files.to_vec());
    tokio::task::spawn_blocking(move || {
        let store = kontiki_worker::image::Store::open(store_dir)?;
        let mut names = Vec::new();
        for file in &files {
            names.extend(super::image::load(&store, file)?);
        }
        Ok(names)
    })
}

/// The cluster's state as a table, and what to type next.
async fn finish(args: &UpArgs, dir: &Path, progress: &Progress) -> anyhow::Result<()> {
    progress.done("the cluster is ready");
    let access = Access::open(&dir.join(KUBECONFIG_FILE), None)?;
    say("");
    say_text(&status::Report::collect(&access).await?.table());
    // A path that is right wherever the next commands are typed.
    let base = if args.data_dir.is_absolute() { Path::new("") } else { Path::new("$PWD") };
    let kubeconfig = base.join(&args.data_dir).join(KUBECONFIG_FILE);
    say("\nNext:");
    say(format_args!("  export KUBECONFIG={}", kubeconfig.display()));
    say("  kubectl apply -f examples/web.yaml");
    say("  kontiki status");
    Ok(())
}

pub(crate) fn down(args: &DownArgs) -> anyhow::Result<()> {
    let Some(plan) = Plan::read(&args.data_dir)? else {
        bail!("there is no cluster in {}: name it by --data-dir", args.data_dir.display());
    };
    let dir = args.data_dir.canonicalize()?;
    block_on(stop::stop(&dir, &plan))
}

fn started_plan(dir: &Path) -> anyhow::Result<Plan> {
    Plan::read(dir)?.with_context(|| format!("{} has no cluster yet", dir.display()))
}

/// Makes the data directory's folders. They hold keys: only their owner may enter.
fn prepare(dir: &Path) -> anyhow::Result<()> {
    for folder in [dir.to_owned(), dir.join("logs"), process::run_dir(dir)] {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    Ok(())
}

/// Two `up`s at once would both start what is missing.
fn lock(dir: &Path) -> anyhow::Result<fs::File> {
    let path = dir.join("lock");
    let file = fs::File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another `kontiki up` is starting the cluster in {} just now: wait for it", dir.display());
    }
    Ok(file)
}
