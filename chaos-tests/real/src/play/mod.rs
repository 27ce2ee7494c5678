//! Plays a plan: starts the cluster, lets clients and faults go in time, heals, lets it settle, stops it, and collects what happened.

mod collect;
mod reigns;
mod scenario;
mod settle;
mod silence;
mod tend;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use kontiki_chaos_plan::{
    Layer, Plan, Play, Run,
    plan::{Event, Fault, FaultKind, Shape, What},
};

pub use reigns::Reigns;
pub use scenario::{SNAPSHOT_ENTRIES, kinds, options};
pub use silence::{Silence, silence};

use crate::{
    client::{Book, Clients, Task, runtime},
    clock::Clock,
    cluster::{CLIENT, Cluster, Setup},
    nemesis::Field,
    truth::Truth,
};

/// How often the player looks after the processes.
const TEND: Duration = Duration::from_millis(50);
/// How long clients may finish what they have begun.
const FINISH: Duration = Duration::from_secs(8);

/// Layer L3.
pub struct Real {
    /// What to run.
    pub setup: Setup,
    /// The harness's own program, which containers run.
    pub program: PathBuf,
    /// Say what happens while it happens.
    pub tell: bool,
    /// Keep the logs of all processes in this folder.
    pub logs: Option<PathBuf>,
}

impl Play for Real {
    fn layer(&self) -> Layer {
        Layer::L3
    }

    fn play(&mut self, plan: &Plan) -> anyhow::Result<Run> {
        let started = Instant::now();
        let mut setup = self.setup.clone();
        setup.clocks = plan.events.iter().any(|event| is_clock(&event.what));
        setup.snapshots = plan.events.iter().any(|event| purges(&event.what));
        let snapshot_entries = plan.shape.snapshot_entries.max(SNAPSHOT_ENTRIES);
        let shape = Shape { snapshot_entries, ..plan.shape.clone() };
        let cluster = Arc::new(Cluster::start(setup, &shape, plan.seed)?);
        self.say(&format!(
            "run {}: {} controllers and {} workers are ready after {:.1} s",
            cluster.id(),
            plan.shape.controllers,
            plan.shape.workers,
            started.elapsed().as_secs_f64()
        ));
        let run = self.go(plan, &cluster);
        if let Some(logs) = &self.logs {
            keep(&cluster.dir().join("logs"), logs)?;
        }
        run
    }
}

/// Copies the files of a folder.
fn keep(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

impl Real {
    fn say(&self, words: &str) {
        if self.tell {
            println!("{words}");
        }
    }

    fn go(&self, plan: &Plan, cluster: &Arc<Cluster>) -> anyhow::Result<Run> {
        let clock = Clock::start();
        let socket = cluster.dir().join("truth");
        let truth = Arc::new(Truth::listen(&socket, clock)?);
        let reigns = Reigns::follow(&cluster.hosts, clock)?;
        let runtime = runtime(cluster.net.netns(CLIENT))?;
        let addresses = cluster.controllers().map(|host| host.address.clone()).collect();
        let container = vec![self.program.to_string_lossy().into_owned(), "container".into()];
        let socket = socket.to_string_lossy().into_owned();
        let book = Arc::new(Book::new(clock, cluster.identity()?, addresses, container, socket));
        let field =
            Field::new(cluster.clone(), truth.clone(), reigns.clone(), clock, runtime.handle().clone(), plan);
        let mut clients = Clients::new(book.clone());
        let faults = std::thread::scope(|scope| {
            let mut doing = Vec::new();
            for (number, event) in plan.events.iter().enumerate() {
                self.until(&field, clock.at_ms(event.at_ms));
                match &event.what {
                    What::Op { client, via, op } => {
                        let task = Task { at: clock.at_ms(event.at_ms), via: *via, op: op.clone() };
                        clients.give(&runtime, *client, task);
                    }
                    What::Fault(fault) => {
                        self.tell_fault(event, fault);
                        let field = &field;
                        doing.push(scope.spawn(move || field.play(number, fault)));
                    }
                }
            }
            self.until(&field, clock.at_ms(plan.ends_ms()));
            field.end();
            while doing.iter().any(|fault| !fault.is_finished()) {
                let _ = tend::tend(&field);
                std::thread::sleep(TEND);
            }
            let mut records = Vec::new();
            for fault in doing {
                match fault.join() {
                    Ok(record) => records.push(record),
                    // What it broke may never have been mended: no verdict on this run counts.
                    Err(_) => field.broken("harness", "a fault panicked: see standard error".into()),
                }
            }
            records
        });
        drop(clients);
        let (answered, asked, steps) = book.counts();
        self.say(&format!("   healed; {answered} of {asked} operations answered, {steps} steps of watches"));
        let settled = settle::settle(&field, &book)?;
        self.say(&format!("   settled: {settled:?}"));
        self.until(&field, Instant::now() + Duration::from_millis(200));
        book.stop();
        runtime.shutdown_timeout(FINISH);
        reigns.end();
        let instances = truth.events();
        let (log, hashes) = collect::collect(cluster)?;
        let (ops, watches) = book.read();
        let reigns = reigns.all();
        self.say(&format!("   {} entries in the log; led: {}", log.len(), reigns::in_words(&reigns)));
        Ok(Run {
            plan: plan.clone(),
            layer: Layer::L3,
            ops,
            watches,
            log,
            instances,
            reigns,
            heeded: Vec::new(),
            hashes,
            faults,
            reached: Default::default(),
            settled,
            broken: field.all_broken(),
            trace_hash: 0,
        })
    }

    /// Waits for a moment and looks after the processes meanwhile.
    fn until(&self, field: &Field, at: Instant) {
        while Instant::now() < at {
            if let Err(error) = tend::tend(field) {
                eprintln!("{error:#}");
            }
            std::thread::sleep(TEND.min(at.saturating_duration_since(Instant::now())));
        }
    }

    fn tell_fault(&self, event: &Event, fault: &Fault) {
        self.say(&format!(
            "   {:6.2} s  {:?} on {:?} for {} ms",
            event.at_ms as f64 / 1000.0,
            fault.kind,
            fault.on,
            fault.for_ms
        ));
    }
}

fn is_clock(what: &What) -> bool {
    matches!(what, What::Fault(Fault { kind: FaultKind::ClockJump { .. } | FaultKind::ClockRate { .. }, .. }))
}

fn purges(what: &What) -> bool {
    matches!(what, What::Fault(Fault { kind: FaultKind::SnapshotWhileAway, .. }))
}
