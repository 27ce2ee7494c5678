//! `kontiki worker run`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Args;
use kontiki_pki::{Identity, Role};
use kontiki_worker::agent::{self, AgentConfig, Capacity, clock::Clock};
use kontiki_worker::image::{Registries, Store};
use kontiki_worker::runtime::{ShimConfig, ShimRuntime};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::joining::{self, Newcomer};
use super::settings::{self, first_of};
use super::{has_identity, identity_dir, shutdown_signals};
use crate::cli::image::IMAGES;
use crate::cli::logging::{self, LogArgs};
use crate::cli::version::VERSION;

const PORT: u16 = 10250;
/// An agent waits nearly all the time; one thread serves a hundred pods.
const THREADS: usize = 1;
/// File work happens beside it, on no more threads than this.
const FILE_THREADS: usize = 8;

/// Arguments of `kontiki worker run`.
#[derive(Debug, Args)]
#[command(
    after_help = "A new worker: kontiki worker run --data-dir /var/lib/kontiki --zone a --join TOKEN --server HOST:6443\n\
                        It joins once; later starts need neither token nor server.\n\
                        A settings file (--config) has the same names as the flags, in YAML."
)]
pub(crate) struct WorkerArgs {
    /// A YAML file with settings, named as the flags.
    #[arg(long, value_name = "FILE", env = "KONTIKI_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: WorkerSettings,
    #[command(flatten)]
    log: LogArgs,
}

/// What a worker can be told.
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct WorkerSettings {
    /// The node's name [default: the host's].
    #[arg(long, env = "KONTIKI_NAME")]
    name: Option<String>,
    /// Its failure domain.
    #[arg(long, env = "KONTIKI_ZONE")]
    zone: Option<String>,
    /// Where it keeps everything.
    #[arg(long, env = "KONTIKI_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The folder with its images; several workers may share one [default: images/ in the data directory].
    #[arg(long, env = "KONTIKI_IMAGES", value_name = "DIR")]
    images: Option<PathBuf>,
    /// A YAML file about registries: mirrors, plain HTTP, certificates. See docs/operations.md.
    #[arg(long, env = "KONTIKI_REGISTRIES", value_name = "FILE")]
    registries: Option<PathBuf>,
    /// Where controllers reach it for the logs of containers [default: 0.0.0.0:10250].
    #[arg(long, env = "KONTIKI_LISTEN", value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Its address as others see it [default: the listening one, else the host's name].
    #[arg(long, env = "KONTIKI_ADVERTISE", value_name = "HOST")]
    advertise: Option<String>,
    /// Controllers to begin with; several with commas. It learns the others.
    #[arg(long, env = "KONTIKI_SERVER", value_name = "HOST:PORT", value_delimiter = ',')]
    server: Option<Vec<String>>,
    /// Join with this token, unless it has joined already.
    #[arg(long, env = "KONTIKI_JOIN", value_name = "TOKEN", hide_env_values = true)]
    join: Option<String>,
    /// Take over the name of a worker that is lost for good.
    #[arg(long, env = "KONTIKI_REPLACE", num_args = 0..=1, default_missing_value = "true")]
    replace: Option<bool>,
    /// Labels of the node; several with commas.
    #[arg(long, env = "KONTIKI_LABELS", value_name = "KEY=VALUE", value_delimiter = ',')]
    labels: Option<Vec<String>>,
    /// Pods that it takes at most [default: 110].
    #[arg(long, env = "KONTIKI_MAX_PODS", value_name = "N")]
    max_pods: Option<i64>,
    /// Processors that it offers, in thousandths [default: the machine's].
    #[arg(long, env = "KONTIKI_CPU_MILLI", value_name = "N")]
    cpu_milli: Option<i64>,
    /// Memory that it offers, in bytes [default: the machine's].
    #[arg(long, env = "KONTIKI_MEMORY_BYTES", value_name = "N")]
    memory_bytes: Option<i64>,
    /// Processes and threads that a pod may have at a time; 0 for no limit [default: 4096].
    #[arg(long, env = "KONTIKI_POD_PIDS_LIMIT", value_name = "N")]
    pod_pids_limit: Option<u64>,
    /// Export traces to this OTLP endpoint (gRPC), such as http://127.0.0.1:4317.
    #[arg(long, env = "KONTIKI_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
}

pub(crate) fn run(args: WorkerArgs) -> anyhow::Result<()> {
    let file: WorkerSettings = settings::read(args.config.as_ref())?;
    let settings = first_of!(WorkerSettings, args.settings, file, {
        name, zone, data_dir, images, registries, listen, advertise, server, join, replace, labels, max_pods, cpu_milli,
        memory_bytes, pod_pids_limit, otlp_endpoint,
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(FILE_THREADS)
        .thread_name("worker")
        .enable_all()
        .build()?;
    let session = agent::session_thread()?;
    let thread = session.handle().clone();
    runtime.block_on(async move {
        let name = settings.name.clone().unwrap_or_else(settings::host_name);
        let _guard = logging::init(&args.log, settings.otlp_endpoint.clone(), &name)?;
        let failed = start(settings, name, &thread).await;
        if let Err(error) = &failed {
            tracing::error!("{error:#}");
        }
        failed
    })
}

async fn start(settings: WorkerSettings, name: String, session: &Handle) -> anyhow::Result<()> {
    let Some(data_dir) = settings.data_dir.clone() else {
        bail!("where does this worker keep its data? --data-dir DIR");
    };
    let shutdown = shutdown_signals()?;
    let zone = settings.zone.clone().unwrap_or_default();
    let (identity, learned) = identity(&settings, &name, &zone, &data_dir).await?;
    let peer = identity.peer();
    if peer.role != Role::Worker || peer.name != name {
        bail!(
            "{} belongs to {peer}, and this is to be worker {name}: use another --data-dir or --name",
            data_dir.display()
        );
    }
    let images = settings.images.clone().unwrap_or_else(|| data_dir.join(IMAGES));
    let store = Arc::new(Store::open(images).context("the image store")?);
    let mut shims = ShimConfig::new(&data_dir);
    if let Some(pids) = settings.pod_pids_limit {
        shims.pod_pids_limit = Some(pids).filter(|pids| *pids > 0);
    }
    if !shims.containers {
        tracing::warn!(
            "this worker is not root: its pods run as plain processes of the machine, on its network"
        );
    }
    let registries =
        Registries::new(settings::read(settings.registries.as_ref())?).context("the registries")?;
    let runtime = ShimRuntime::new(shims, store, Arc::new(registries)).context("the runtime")?;
    let listen = settings.listen.unwrap_or(SocketAddr::from(([0, 0, 0, 0], PORT)));
    let own = if listen.ip().is_unspecified() { settings::host_name() } else { listen.ip().to_string() };
    let config = AgentConfig {
        node: name,
        zone,
        labels: labels(settings.labels.as_deref().unwrap_or_default())?,
        data_dir,
        controllers: settings.server.unwrap_or_default().into_iter().chain(learned).collect(),
        listen,
        advertised: settings.advertise.unwrap_or(own),
        capacity: Capacity {
            cpu_milli: settings.cpu_milli,
            memory_bytes: settings.memory_bytes,
            max_pods: settings.max_pods,
        },
        version: VERSION.to_owned(),
        clock: Clock::Wall,
    };
    agent::run(config, Arc::new(runtime), identity, session, shutdown).await?;
    Ok(())
}

/// The identity that the data directory holds, or a new one by a token; and controllers that were learned on joining.
async fn identity(
    settings: &WorkerSettings,
    name: &str,
    zone: &str,
    data_dir: &Path,
) -> anyhow::Result<(Identity, Vec<String>)> {
    if has_identity(data_dir) {
        let identity = Identity::load(&identity_dir(data_dir)).context("this worker's identity")?;
        return Ok((identity, Vec::new()));
    }
    let Some(token) = &settings.join else {
        bail!(
            "{} holds no identity: enter a cluster with --join TOKEN --server HOST:PORT",
            data_dir.display()
        );
    };
    let newcomer = Newcomer {
        role: Role::Worker,
        name,
        zone,
        advertise: "",
        replace: settings.replace.unwrap_or(false),
    };
    let servers = settings.server.clone().unwrap_or_default();
    let (identity, members) = joining::join(&newcomer, token, &servers, data_dir).await?;
    Ok((identity, members.into_iter().map(|member| member.address).collect()))
}

fn labels(texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => bail!("label {text:?} must be KEY=VALUE"),
    };
    texts.iter().map(pair).collect()
}
