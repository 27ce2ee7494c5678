//! `kontiki worker simulate`: many workers in one process. Their sessions are real, each over a connection of its own with a
//! certificate of its own; their containers are played. What they were given is forgotten when the process ends.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use clap::Args;
use kontiki_pki::{Ca, DEFAULT_LIFETIME, Dialer, Identity, Subject};
use kontiki_worker::{
    agent::{Agent, AgentConfig, Capacity, clock::Clock},
    runtime::{SimulatedRuntime, Simulation},
    session::ControllerDial,
};
use tokio::{runtime::Handle, task::JoinSet, time::sleep};
use tokio_util::sync::CancellationToken;

use super::shutdown_signals;
use crate::cli::{
    logging::{self, LogArgs},
    say::say,
    version::VERSION,
};

/// How often the progress is told.
const TELL: Duration = Duration::from_secs(2);

/// Arguments of `kontiki worker simulate`.
#[derive(Debug, Args)]
#[command(after_help = "A thousand workers beside a local cluster:\n  \
                        kontiki worker simulate --nodes 1000 --ca .kontiki/ca --server 127.0.0.1:6443\n\
                        They end with the process (Ctrl-C); their nodes stay as objects until they are deleted.")]
pub(crate) struct SimulateArgs {
    /// How many workers.
    #[arg(long, value_name = "N", default_value_t = 100)]
    nodes: usize,
    /// The cluster's authority, which signs their certificates: the folder `ca` of a local cluster or of a controller.
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// Controllers to begin with; several with commas. They learn the others.
    #[arg(long, env = "KONTIKI_SERVER", value_name = "HOST:PORT", value_delimiter = ',', required = true)]
    server: Vec<String>,
    /// Their names are this and a number.
    #[arg(long, value_name = "TEXT", default_value = "sim-")]
    prefix: String,
    /// Zones; they are dealt to them in turn.
    #[arg(long, value_name = "ZONE", value_delimiter = ',', default_value = "a,b,c")]
    zones: Vec<String>,
    /// Processors that each offers, in thousandths.
    #[arg(long, value_name = "N", default_value_t = 4000)]
    cpu_milli: i64,
    /// Memory that each offers, in MiB.
    #[arg(long, value_name = "N", default_value_t = 16 * 1024)]
    memory_mib: i64,
    /// Pods that each takes.
    #[arg(long, value_name = "N", default_value_t = 110)]
    max_pods: i64,
    /// How long the start of a container takes, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 20)]
    start_ms: u64,
    /// Of a thousand starts of containers so many fail.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1000))]
    start_failures: u32,
    /// So many workers call in per second.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    #[command(flatten)]
    log: LogArgs,
}

pub(crate) fn run(args: SimulateArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("simulate").enable_all().build()?;
    runtime.block_on(async move {
        let _guard = logging::init(&args.log, None, "simulate")?;
        play(args).await
    })
}

async fn play(args: SimulateArgs) -> anyhow::Result<()> {
    if args.zones.iter().any(String::is_empty) {
        bail!("--zones names an empty zone");
    }
    let ca =
        Ca::open(&args.ca).with_context(|| format!("the cluster's authority in {}", args.ca.display()))?;
    let home = home().context("a folder for their files")?;
    let shutdown = shutdown_signals()?;
    let begun = Arc::new(AtomicUsize::new(0));
    let mut runtimes = Vec::with_capacity(args.nodes);
    let mut workers = JoinSet::new();
    for n in 0..args.nodes {
        let worker = worker(&args, &ca, home.path(), n)?;
        runtimes.push(worker.runtime.clone());
        let (begun, shutdown) = (begun.clone(), shutdown.clone());
        let wait = Duration::from_micros(n as u64 * 1_000_000 / args.rate);
        workers.spawn(async move {
            tokio::select! { () = shutdown.cancelled() => return Ok(()), () = sleep(wait) => {} }
            begun.fetch_add(1, Ordering::Relaxed);
            worker.work(shutdown).await
        });
    }
    tokio::spawn(tell(args.nodes, begun, runtimes, shutdown.clone()));
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended? {
            shutdown.cancel();
            return Err(error);
        }
    }
    Ok(())
}

/// Where their files lie: in memory if that can be had. Each worker of its own has a disk of its own, but thousands that wait for one
/// disk are nothing but slow.
fn home() -> std::io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("kontiki-simulate-");
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())
}

/// One of them, before its first word.
struct Worker {
    config: AgentConfig,
    identity: Identity,
    runtime: SimulatedRuntime,
}

impl Worker {
    async fn work(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let name = &self.config.node;
        let dial =
            ControllerDial::new(Dialer::new(&self.identity), self.identity.controller_server_name(None));
        let agent =
            Agent::prepare(&self.config, Arc::new(self.runtime)).await.with_context(|| name.clone())?;
        let thread = Handle::current();
        agent.work(&self.config, Arc::new(dial), 0, &thread, shutdown).await.with_context(|| name.clone())
    }
}

fn worker(args: &SimulateArgs, ca: &Ca, home: &Path, n: usize) -> anyhow::Result<Worker> {
    let node = format!("{}{n}", args.prefix);
    let pair = ca.issue(&Subject::Worker { name: node.clone() }, DEFAULT_LIFETIME)?;
    let identity = Identity::new(ca.cert_pem(), &pair.cert_pem, &pair.key_pem)?;
    let epoch_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let runtime = SimulatedRuntime::new(Simulation {
        any_image: true,
        start_delay: Duration::from_millis(args.start_ms),
        start_failures: args.start_failures,
        epoch_ms: i64::try_from(epoch_ms).unwrap_or(0),
        ..Simulation::default()
    });
    let config = AgentConfig {
        data_dir: home.join(&node),
        node,
        zone: args.zones[n % args.zones.len()].clone(),
        labels: BTreeMap::new(),
        controllers: args.server.clone(),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        advertised: "127.0.0.1".to_owned(),
        capacity: Capacity {
            cpu_milli: Some(args.cpu_milli),
            memory_bytes: Some(args.memory_mib.saturating_mul(1 << 20)),
            max_pods: Some(args.max_pods),
        },
        version: VERSION.to_owned(),
        clock: Clock::Wall,
        limits: Default::default(),
        names: Default::default(),
        memory: None,
        seccomp_default: false,
        transient: true,
    };
    Ok(Worker { config, identity, runtime })
}

/// Tells how far they are, as long as that changes.
async fn tell(
    nodes: usize,
    begun: Arc<AtomicUsize>,
    runtimes: Vec<SimulatedRuntime>,
    shutdown: CancellationToken,
) {
    let mut last = String::new();
    loop {
        tokio::select! { () = shutdown.cancelled() => return, () = sleep(TELL) => {} }
        let running: usize = runtimes.iter().map(SimulatedRuntime::running).sum();
        let now =
            format!("{} of {nodes} workers play, {running} containers run", begun.load(Ordering::Relaxed));
        if now != last {
            say(&now);
            last = now;
        }
    }
}
