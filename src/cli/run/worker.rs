//! `kontiki worker run`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use kontiki_pki::{Identity, Role};
use kontiki_worker::agent::images::ImageLimits;
use kontiki_worker::agent::pressure::{self, Bounds, Places, Thresholds};
use kontiki_worker::agent::reserved::Reserved;
use kontiki_worker::agent::{
    self, AgentConfig, Capacity, Limits, ShutdownGrace, Watch, clock::Clock, memory,
};
use kontiki_worker::image::{Registries, Store};
use kontiki_worker::pod::names::ClusterNames;
use kontiki_worker::runtime::{CriConfig, CriRuntime, Runtime, ShimConfig, ShimRuntime, cri_socket};
use serde::Deserialize;
use tokio::runtime::Handle;

use super::joining::{self, Newcomer};
use super::settings::{self, first_of};
use super::{departure, has_identity, identity_dir, shutdown_signals};
use crate::cli::image::IMAGES;
use crate::cli::logging::{self, LogArgs};
use crate::cli::version::VERSION;

const PORT: u16 = 10250;
/// How often a worker looks how it is.
const WATCH_PERIOD: Duration = Duration::from_secs(10);
/// An agent waits nearly all the time; one thread serves a hundred pods.
const THREADS: usize = 1;
/// File work happens beside it, on no more threads than this.
const FILE_THREADS: usize = 8;

/// The runtimes that there are.
pub(crate) const BUILTIN: &str = "builtin";
const CRI: &str = "cri";
/// Says in the data directory whose pods are there; those of the built-in runtime if nothing does.
const RUNTIME_FILE: &str = "runtime";

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
    /// Who runs its containers: builtin, or a daemon by its CRI socket, such as cri:///run/containerd/containerd.sock. See
    /// docs/operations.md [default: builtin].
    #[arg(long, env = "KONTIKI_RUNTIME", value_name = "RUNTIME")]
    runtime: Option<String>,
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
    /// Labels of the node; several with commas. Of kubernetes.io and k8s.io only those that Kubernetes lets a node give itself.
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
    /// What of the machine is the system's and not for pods, such as cpu=500m,memory=1Gi,ephemeral-storage=10Gi
    /// [default: nothing].
    #[arg(long, env = "KONTIKI_SYSTEM_RESERVED", value_name = "RESOURCE=QUANTITY,...")]
    system_reserved: Option<String>,
    /// The same for the worker itself; both are taken from what the node offers [default: nothing].
    #[arg(long, env = "KONTIKI_KUBE_RESERVED", value_name = "RESOURCE=QUANTITY,...")]
    kube_reserved: Option<String>,
    /// Below these the worker gets no more pods, removes images and ends pods; empty for never. See docs/operations.md.
    #[arg(long, env = "KONTIKI_EVICTION_HARD", value_name = "SIGNAL<QUANTITY,...")]
    eviction_hard: Option<String>,
    /// The same once it has been so for the signal's grace period, and with some grace for the pods [default: nothing].
    #[arg(long, env = "KONTIKI_EVICTION_SOFT", value_name = "SIGNAL<QUANTITY,...")]
    eviction_soft: Option<String>,
    /// How long each soft threshold is borne, such as memory.available=1m30s.
    #[arg(long, env = "KONTIKI_EVICTION_SOFT_GRACE_PERIOD", value_name = "SIGNAL=DURATION,...")]
    eviction_soft_grace_period: Option<String>,
    /// The most that a pod gets to end, in seconds, when a soft threshold is crossed [default: 0].
    #[arg(long, env = "KONTIKI_EVICTION_MAX_POD_GRACE_PERIOD", value_name = "SECONDS")]
    eviction_max_pod_grace_period: Option<u32>,
    /// So long the worker counts as under pressure after it was [default: 5m].
    #[arg(long, env = "KONTIKI_EVICTION_PRESSURE_TRANSITION_PERIOD", value_name = "DURATION")]
    eviction_pressure_transition_period: Option<String>,
    /// From this share of their disk on, in percent, images that nobody uses are removed; 100 for never [default: 85].
    #[arg(long, env = "KONTIKI_IMAGE_GC_HIGH_THRESHOLD", value_name = "PERCENT")]
    image_gc_high_threshold: Option<u8>,
    /// Until the disk is no fuller than this [default: 80].
    #[arg(long, env = "KONTIKI_IMAGE_GC_LOW_THRESHOLD", value_name = "PERCENT")]
    image_gc_low_threshold: Option<u8>,
    /// When its machine goes down, pods have so long to end, such as 30s; 0s: they are ended with the machine [default: 0s]. See
    /// docs/operations.md.
    #[arg(long, env = "KONTIKI_SHUTDOWN_GRACE_PERIOD", value_name = "DURATION")]
    shutdown_grace_period: Option<String>,
    /// Of that, what is kept for pods of the system's priority classes, which end last [default: 0s].
    #[arg(long, env = "KONTIKI_SHUTDOWN_GRACE_PERIOD_CRITICAL_PODS", value_name = "DURATION")]
    shutdown_grace_period_critical_pods: Option<String>,
    /// Who answers for names of the cluster (dnsPolicy ClusterFirst); several with commas [default: nobody, pods ask whom
    /// the machine asks].
    #[arg(long, env = "KONTIKI_CLUSTER_DNS", value_name = "IP", value_delimiter = ',')]
    cluster_dns: Option<Vec<IpAddr>>,
    /// What names of the cluster end with [default: cluster.local].
    #[arg(long, env = "KONTIKI_CLUSTER_DOMAIN", value_name = "DOMAIN")]
    cluster_domain: Option<String>,
    /// Confine containers that ask for no seccomp profile by the runtime's own (RuntimeDefault) [default: false, as in
    /// Kubernetes].
    #[arg(long, env = "KONTIKI_SECCOMP_DEFAULT", num_args = 0..=1, default_missing_value = "true")]
    seccomp_default: Option<bool>,
    /// Export traces to this OTLP endpoint (gRPC), such as http://127.0.0.1:4317.
    #[arg(long, env = "KONTIKI_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
}

pub(crate) fn run(args: WorkerArgs) -> anyhow::Result<()> {
    let file: WorkerSettings = settings::read(args.config.as_ref())?;
    let settings = first_of!(WorkerSettings, args.settings, file, {
        name, zone, data_dir, runtime, images, registries, listen, advertise, server, join, replace, labels, max_pods, cpu_milli,
        memory_bytes, pod_pids_limit, system_reserved, kube_reserved, eviction_hard, eviction_soft,
        eviction_soft_grace_period, eviction_max_pod_grace_period, eviction_pressure_transition_period, image_gc_high_threshold,
        image_gc_low_threshold, shutdown_grace_period, shutdown_grace_period_critical_pods, cluster_dns, cluster_domain, seccomp_default, otlp_endpoint,
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
    let grace = shutdown_grace(&settings)?;
    let stopped = shutdown_signals()?;
    let (shutdown, departure) = match grace {
        Some(grace) => {
            let (shutdown, departure) = departure::listen(stopped, grace)?;
            (shutdown, Some(departure))
        }
        None => (stopped, None),
    };
    let zone = settings.zone.clone().unwrap_or_default();
    let (identity, learned) = identity(&settings, &name, &zone, &data_dir).await?;
    let peer = identity.peer();
    if peer.role != Role::Worker || peer.name != name {
        bail!(
            "{} belongs to {peer}, and this is to be worker {name}: use another --data-dir or --name",
            data_dir.display()
        );
    }
    let data_dir = match settings.runtime.as_deref() {
        None | Some(BUILTIN) => data_dir,
        // A daemon knows nothing of the folder in which this was started.
        Some(_) => data_dir.canonicalize().with_context(|| format!("cannot use {}", data_dir.display()))?,
    };
    let (runtime, images) = runtime(&settings, &data_dir).await?;
    let limits = limits(&settings, &data_dir, &images)?;
    let listen = settings.listen.unwrap_or(SocketAddr::from(([0, 0, 0, 0], PORT)));
    let own = if listen.ip().is_unspecified() { settings::host_name() } else { listen.ip().to_string() };
    let names = cluster_names(&settings);
    let memory = memory::open(&data_dir);
    let config = AgentConfig {
        node: name,
        zone,
        labels: labels(settings.labels.as_deref().unwrap_or_default())?,
        data_dir,
        memory: memory.as_ref().map(|memory| memory.path.clone()),
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
        limits,
        names,
        seccomp_default: settings.seccomp_default.unwrap_or(false),
        transient: false,
    };
    agent::run(config, runtime, identity, session, shutdown, departure).await?;
    Ok(())
}

/// Who runs the containers, and the folder with the images.
async fn runtime(settings: &WorkerSettings, data_dir: &Path) -> anyhow::Result<(Arc<dyn Runtime>, PathBuf)> {
    let pids = |usual| settings.pod_pids_limit.map_or(usual, |pids| Some(pids).filter(|pids| *pids > 0));
    let address = settings.runtime.as_deref().unwrap_or(BUILTIN);
    if address != BUILTIN {
        let socket = cri_socket(address).map_err(|cause| anyhow!("--runtime: {cause}; or {BUILTIN}"))?;
        if settings.images.is_some() || settings.registries.is_some() {
            bail!("--images and --registries are for the built-in runtime: that of {address} has its own");
        }
        if !rustix::process::geteuid().is_root() {
            bail!(
                "--runtime {address} needs root: the volumes and cgroups of containers are made for the daemon"
            );
        }
        keep_to(data_dir, CRI)?;
        let mut config = CriConfig::new(socket, data_dir);
        config.pod_pids_limit = pids(config.pod_pids_limit);
        let runtime = CriRuntime::connect(config).await.map_err(|cause| anyhow!(cause))?;
        let images = runtime.image_place().await.filter(|place| place.exists());
        let runtime: Arc<dyn Runtime> = Arc::new(runtime);
        return Ok((runtime, images.unwrap_or_else(|| data_dir.to_owned())));
    }
    keep_to(data_dir, BUILTIN)?;
    let images = settings.images.clone().unwrap_or_else(|| data_dir.join(IMAGES));
    let store = Arc::new(Store::open(&images).context("the image store")?);
    let mut shims = ShimConfig::new(data_dir);
    shims.pod_pids_limit = pids(shims.pod_pids_limit);
    if !shims.containers {
        tracing::warn!(
            "this worker is not root: its pods run as plain processes of the machine, on its network"
        );
    }
    let registries =
        Registries::new(settings::read(settings.registries.as_ref())?).context("the registries")?;
    let runtime = ShimRuntime::new(shims, store, Arc::new(registries)).context("the runtime")?;
    let runtime: Arc<dyn Runtime> = Arc::new(runtime);
    Ok((runtime, images))
}

/// Whether a daemon runs the containers of the worker in a folder, by what was written down.
pub(crate) fn is_by_daemon(data_dir: &Path) -> bool {
    std::fs::read_to_string(data_dir.join(RUNTIME_FILE)).is_ok_and(|kind| kind.trim() == CRI)
}

/// Pods that one runtime has started are nothing that another one could find again.
fn keep_to(data_dir: &Path, kind: &str) -> anyhow::Result<()> {
    let file = data_dir.join(RUNTIME_FILE);
    let before = match std::fs::read_to_string(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => BUILTIN.to_owned(),
        read => read.with_context(|| format!("cannot read {}", file.display()))?.trim().to_owned(),
    };
    if before == kind {
        return Ok(());
    }
    if std::fs::read_dir(data_dir.join("pods")).is_ok_and(|mut pods| pods.next().is_some()) {
        bail!(
            "{} holds pods of the {before} runtime, which the {kind} one would not find again: start this worker with the former, \
             drain it, and change then",
            data_dir.display()
        );
    }
    std::fs::write(&file, kind).with_context(|| format!("cannot write {}", file.display()))
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
        level: 0,
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

fn limits(settings: &WorkerSettings, data: &Path, images: &Path) -> anyhow::Result<Limits> {
    let reserved = |name: &str, text: &Option<String>| -> anyhow::Result<Reserved> {
        text.as_deref().unwrap_or_default().parse().map_err(|cause: String| anyhow!("--{name}: {cause}"))
    };
    let system = reserved("system-reserved", &settings.system_reserved)?;
    let own = reserved("kube-reserved", &settings.kube_reserved)?;
    let bounds = bounds(settings)?;
    let places = Places { data: data.to_owned(), images: images.to_owned() };
    let usual = ImageLimits::default();
    let images = ImageLimits {
        high_percent: settings.image_gc_high_threshold.unwrap_or(usual.high_percent),
        low_percent: settings.image_gc_low_threshold.unwrap_or(usual.low_percent),
        ..usual
    };
    let images = images.checked().map_err(|cause| anyhow!("--image-gc-high-threshold: {cause}"))?;
    let watch = Watch { bounds, places, period: WATCH_PERIOD, images };
    Ok(Limits { reserved: system.and(own), watch: Some(watch) })
}

fn bounds(settings: &WorkerSettings) -> anyhow::Result<Bounds> {
    let thresholds = |name: &str, text: &str| -> anyhow::Result<Thresholds> {
        text.parse().map_err(|cause: String| anyhow!("--{name}: {cause}"))
    };
    let usual = Bounds::default();
    let mut soft_for = BTreeMap::new();
    let times = settings.eviction_soft_grace_period.as_deref().unwrap_or_default();
    for pair in times.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (signal, time) = pair
            .split_once('=')
            .ok_or_else(|| anyhow!("--eviction-soft-grace-period: \"{pair}\" must be SIGNAL=DURATION"))?;
        soft_for.insert(signal.to_owned(), duration("eviction-soft-grace-period", time)?);
    }
    let transition = settings.eviction_pressure_transition_period.as_deref();
    let bounds = Bounds {
        hard: thresholds("eviction-hard", settings.eviction_hard.as_deref().unwrap_or(pressure::DEFAULT))?,
        soft: thresholds("eviction-soft", settings.eviction_soft.as_deref().unwrap_or_default())?,
        soft_for,
        soft_pod_grace: Duration::from_secs(settings.eviction_max_pod_grace_period.unwrap_or(0).into()),
        transition: match transition {
            Some(text) => duration("eviction-pressure-transition-period", text)?,
            None => usual.transition,
        },
    };
    bounds.checked().map_err(|cause| anyhow!("--eviction-soft: {cause}"))
}

fn shutdown_grace(settings: &WorkerSettings) -> anyhow::Result<Option<ShutdownGrace>> {
    let time = |name: &str, text: &Option<String>| {
        text.as_deref().map_or(Ok(Duration::ZERO), |text| duration(name, text))
    };
    departure::grace(
        time("shutdown-grace-period", &settings.shutdown_grace_period)?,
        time("shutdown-grace-period-critical-pods", &settings.shutdown_grace_period_critical_pods)?,
    )
}

/// `1m30s`.
fn duration(name: &str, text: &str) -> anyhow::Result<Duration> {
    let read = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    read.ok_or_else(|| anyhow!("--{name}: \"{text}\" is no time such as 1m30s"))
}

fn cluster_names(settings: &WorkerSettings) -> ClusterNames {
    ClusterNames {
        servers: settings.cluster_dns.iter().flatten().map(ToString::to_string).collect(),
        domain: settings.cluster_domain.clone().unwrap_or_else(|| "cluster.local".to_owned()),
    }
}

fn labels(texts: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => bail!("label {text:?} must be KEY=VALUE"),
    };
    texts.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_runtime_does_not_take_over_the_pods_of_another() {
        let dir = tempfile::tempdir().unwrap();
        keep_to(dir.path(), BUILTIN).unwrap();
        assert!(!is_by_daemon(dir.path()));
        std::fs::create_dir_all(dir.path().join("pods/u-1")).unwrap();
        let refused = keep_to(dir.path(), CRI).unwrap_err().to_string();
        assert!(refused.contains("pods of the builtin runtime"), "{refused}");
        std::fs::remove_dir(dir.path().join("pods/u-1")).unwrap();
        keep_to(dir.path(), CRI).unwrap();
        assert!(is_by_daemon(dir.path()));
        std::fs::create_dir(dir.path().join("pods/u-2")).unwrap();
        keep_to(dir.path(), CRI).unwrap();
        assert!(keep_to(dir.path(), BUILTIN).unwrap_err().to_string().contains("pods of the cri runtime"));
    }
}
