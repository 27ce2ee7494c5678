//! L0, the model: the real actors, turn, scheduler and entry codec over a plain ordered log, in virtual time. One thread, no
//! runtime; what happens next is the next thing on an agenda, so an hour in which nothing happens costs nothing. Everything
//! random comes from the plan's seed: the same plan gives the same run.
//!
//! ```text
//!   plan -> clients, faults ─> controllers (desk -> log -> replicas -> feed -> watches)
//!                                   │ sessions: assignments down, reports up
//!                                   └─> workers (pods, containers) ──> instances: what really ran
//! ```
//!
//! Real, because it is the product's own code: `decide`, `State::fold`, entries and their encoding, actors, scheduler; the
//! API's defaulting, validation and refusals; the watch feed; the verdicts on silence; the first objects of a cluster.
//!
//! Modelled, and proven elsewhere: consensus (an ordered log with terms, where what a dead leader proposed survives or does
//! not; L1 has the real protocol), the stage's batching, the session's routing and the worker (L3 has the real ones). Signs of
//! life are not sent but computed from who is connected. There is no HTTP, no disk and no wire.

mod agenda;
mod assertions;
#[path = "../../../src/controller/bootstrap.rs"]
mod bootstrap;
mod calls;
mod clients;
mod controller;
mod desk;
mod documents;
mod evil;
mod faults;
mod hosts;
#[path = "../../../src/controller/sessions/liveness.rs"]
#[allow(unreachable_pub, dead_code, reason = "the product's own file: it is used here as it is")]
mod liveness;
mod net;
mod notes;
#[path = "../../../worker/src/pod/order.rs"]
#[allow(unreachable_pub, reason = "the product's own file: it is used here as it is")]
mod order;
#[path = "../../../src/controller/sessions/pace.rs"]
#[allow(unreachable_pub, dead_code, reason = "the product's own file: it is used here as it is")]
mod pace;
mod pods;
mod raft;
mod reign;
mod requests;
mod rng;
mod sessions;
mod settle;
mod silence;
#[path = "../../../src/controller/sessions/stretch.rs"]
#[allow(unreachable_pub, dead_code, reason = "the product's own file: it is used here as it is")]
mod stretch;
mod time;
mod watches;
mod workers;
mod world;

use anyhow::bail;
use kontiki_chaos_plan::{Layer, Plan, Play, Run, history::LoggedEntry};

use crate::{rng::Rng, time::MS, world::World};

/// The fault kinds that the model can do, as the generator calls them.
pub const LAYER_FAULTS: [&str; 21] = [
    "crash",
    "power-cut",
    "pause",
    "isolate",
    "cut",
    "delay",
    "loss",
    "reset",
    "flap",
    "clock-jump",
    "clock-rate",
    "disk-slow",
    "evil-worker",
    "overload",
    "leader-transfer",
    "snapshot-while-away",
    "agent-crash",
    "runtime-hangs",
    "containers-exit",
    "node-reboot",
    "crash-at-command",
];

/// The places that runs of the model must come to, as its notes call them. Not `leader-of-an-older-term-refused`: a deposed leader has nothing
/// committed, so that it welcomes no worker; that lock is tried in L1, by a leader that is played.
pub const LAYER_MARKS: [&str; 12] = [
    "crash-between-commands",
    "entry-lost-with-its-leader",
    "entry-of-another-term",
    "entry-survived-its-leader",
    "older-assignment-ignored",
    "retry-answered-from-memory",
    "runtime-hung",
    "snapshot-installed",
    "unconfirmed-leader-judges-nobody",
    "watch-expired",
    "watch-resumed",
    "worker-lied",
];

/// When, around an entry, its leader crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has proposed it and nobody else has it.
    Proposed,
    /// It is committed and nobody was told.
    Committed,
}

/// How a plan is played.
#[derive(Clone, Debug)]
pub struct Options {
    /// The leader crashes at this entry, counted from 1, besides what the plan says.
    pub crash_at: Option<(u64, Moment)>,
    /// So many in a thousand decisions are made twice and compared.
    pub twice_per_mille: u32,
    /// The whole log is written into the run.
    pub keep_log: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { crash_at: None, twice_per_mille: 250, keep_log: true }
    }
}

impl Options {
    fn checks_now(&self, rng: &mut Rng) -> bool {
        rng.chance(u64::from(self.twice_per_mille))
    }
}

/// How much work the last run was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Virtual time, nanoseconds.
    pub virtual_ns: u64,
    /// Turns that were decided.
    pub turns: u64,
    /// Things that happened.
    pub happenings: u64,
    /// Entries in the log.
    pub entries: u64,
}

/// The model.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// How it plays.
    pub options: Options,
    /// What the last run was.
    pub work: Work,
}

impl Play for Model {
    fn layer(&self) -> Layer {
        Layer::L0
    }

    fn play(&mut self, plan: &Plan) -> anyhow::Result<Run> {
        if plan.shape.controllers == 0 {
            bail!("a cluster without controllers");
        }
        kontiki_hooks::reset_reached();
        let mut world = World::new(plan, &self.options);
        world.run_until(plan.ends_ms() * MS);
        let settled = world.settle();
        world.last_hashes();
        self.work = Work {
            virtual_ns: world.now,
            turns: world.notes.turns,
            happenings: world.notes.happenings,
            entries: world.raft.log.len() as u64,
        };
        let log = if self.options.keep_log { log_of(&world) } else { Vec::new() };
        let trace_hash = world.notes.trace_hash();
        let mut notes = world.notes;
        for (mark, count) in kontiki_hooks::reached_counts() {
            *notes.reached.entry(mark.to_owned()).or_default() += count;
        }
        Ok(Run {
            plan: plan.clone(),
            layer: Layer::L0,
            ops: notes.ops,
            watches: notes.watches,
            log,
            instances: notes.instances,
            reigns: notes.reigns,
            heeded: Vec::new(),
            hashes: notes.hashes,
            faults: notes.faults,
            reached: notes.reached,
            settled,
            broken: notes.broken,
            trace_hash,
        })
    }
}

fn log_of(world: &World) -> Vec<LoggedEntry> {
    let entries = world.raft.log.iter().enumerate();
    let logged = |(place, logged): (usize, &raft::Logged)| LoggedEntry {
        index: place as u64 + 1,
        term: logged.term,
        committed_ns: logged.at,
        bytes: logged.bytes.to_vec(),
    };
    entries.map(logged).collect()
}
