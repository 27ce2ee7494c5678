//! What clients do, and when.

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use super::{Options, Profile, Quiet, is_quiet, kinds::pick};
use crate::plan::{Client, Event, Op, Shape, What};

/// Clients stop in the last part of a plan, but for what puts the cluster in order.
const TAIL: u64 = 20;

/// No more pods than this, unless there are many workers.
const PODS: u32 = 200;

/// StatefulSets, and Jobs at a time, of a plan with workloads.
const STATEFUL_SETS: u32 = 2;
const JOBS: u32 = 3;
/// Ordinals of a StatefulSet, and pods that a Job runs at a time, at most.
const ORDINALS: u32 = 5;
const PARALLELISM: u32 = 3;
/// How long the pods of Jobs run: the last of them must be over soon after the plan.
const RUNS_S: [u32; 4] = [0, 1, 1, 2];

/// The kinds of operations and how often they come up: registers, workloads.
const OPS: [(&str, u32, u32); 26] = [
    ("put", 10, 2),
    ("cas", 10, 2),
    ("remove", 3, 1),
    ("get", 12, 2),
    ("get-stale", 4, 1),
    ("list", 2, 0),
    ("dry-run", 2, 1),
    ("deploy", 0, 6),
    ("scale", 0, 10),
    ("rollout", 0, 8),
    ("undo", 0, 3),
    ("undeploy", 0, 3),
    ("stateful-set", 0, 3),
    ("scale-stateful-set", 0, 5),
    ("rollout-stateful-set", 0, 4),
    ("delete-stateful-set", 0, 1),
    ("job", 0, 6),
    ("delete-job", 0, 2),
    ("pod", 0, 3),
    ("delete-pod", 0, 3),
    ("drain", 0, 2),
    ("uncordon", 0, 4),
    ("taint", 0, 3),
    ("finalize", 1, 2),
    ("namespace", 0, 1),
    ("create-namespace", 0, 2),
];

pub(super) fn draw(rng: &mut StdRng, options: &Options, shape: &Shape, quiet: &Quiet) -> Vec<Event> {
    let swarm = swarm(rng, options.profile);
    let mut draw =
        Draw { rng, options, shape, deployments: 0, replicas: 0, ordinals: 0, parallelism: 1, cpu_m: 0 };
    draw.size_workload();
    let mut events = draw.watches();
    events.extend(draw.first_workload());
    if options.ops_per_s > 0.0 && !swarm.is_empty() {
        let end = options.duration_ms - options.duration_ms / TAIL;
        let mut at = 0.0;
        let mut rate = options.ops_per_s;
        while (at as u64) < end {
            if draw.rng.random_bool(0.01) {
                // Calm and storm within the same plan.
                rate = options.ops_per_s * pick(draw.rng, &[0.2, 1.0, 1.0, 4.0]);
            }
            at += draw.rng.random_range(0.0..2000.0) / rate;
            if is_quiet(quiet, at as u64) || at as u64 >= end {
                continue;
            }
            let Ok((name, _)) = swarm.choose_weighted(draw.rng, |(_, weight)| *weight) else { continue };
            let op = draw.op(name);
            let client = draw.rng.random_range(0..options.clients.max(1));
            events.push(draw.event(at as u64, client, op));
        }
    }
    events.extend(draw.in_order_again(&events));
    events
}

/// The operations that this seed has on, and their weights.
fn swarm(rng: &mut StdRng, profile: Profile) -> Vec<(&'static str, u32)> {
    let mut swarm = Vec::new();
    for (name, registers, workloads) in OPS {
        let weight = match profile {
            Profile::Registers | Profile::Watches => registers,
            Profile::Workloads => workloads,
            Profile::Mixed => registers + workloads * 2,
        };
        // What makes a history worth checking, and a workload one, is always on.
        let always = matches!(name, "put" | "get" | "scale" | "deploy" | "uncordon" | "create-namespace");
        if weight > 0 && (always || rng.random_bool(0.7)) {
            swarm.push((name, weight * pick(rng, &[1, 1, 3])));
        }
    }
    swarm
}

struct Draw<'a> {
    rng: &'a mut StdRng,
    options: &'a Options,
    shape: &'a Shape,
    deployments: u32,
    replicas: u32,
    /// Of each StatefulSet at most.
    ordinals: u32,
    /// Of each Job at most.
    parallelism: u32,
    cpu_m: u64,
}

impl Draw<'_> {
    /// As many pods as fit when a zone is lost, with room for rollouts.
    fn size_workload(&mut self) {
        let (zones, workers) = (self.shape.zones.max(1), self.shape.workers);
        let left = if zones > 1 { workers - workers.div_ceil(zones) } else { workers };
        self.cpu_m = pick(self.rng, &[0, 10, 100, 500]);
        let by_cpu = self.shape.node_cpu_m.checked_div(self.cpu_m).unwrap_or(u64::MAX);
        let per_node = by_cpu.min(u64::from(self.shape.node_pods)) as u32;
        self.deployments = self.rng.random_range(1..=8);
        // Some seeds fill the cluster, but for what rollouts and bare pods need besides.
        let room = if self.rng.random_bool(0.25) {
            (workers * per_node).saturating_sub(self.deployments * 3 + 8) * 9 / 10
        } else {
            left * per_node * 6 / 10
        };
        let room = room.min(PODS.max(workers * 20)).max(1);
        // Up to a third of it is for StatefulSets and up to a sixth for Jobs, whose pods find room one after the other, if need be.
        self.ordinals = (room / 3 / STATEFUL_SETS).min(ORDINALS);
        self.parallelism = (room / 6 / JOBS).clamp(1, PARALLELISM);
        let room = room.saturating_sub(self.ordinals * STATEFUL_SETS + self.parallelism * JOBS).max(1);
        self.deployments = self.deployments.min(room);
        self.replicas = (room / self.deployments).clamp(1, 500);
    }

    fn has_workload(&self) -> bool {
        matches!(self.options.profile, Profile::Workloads | Profile::Mixed)
    }

    fn event(&mut self, at_ms: u64, client: Client, op: Op) -> Event {
        Event { at_ms, what: What::Op { client, via: self.server(), op } }
    }

    fn server(&mut self) -> u32 {
        self.rng.random_range(0..self.shape.controllers.max(1))
    }

    /// Watches, each of a client of its own; most from the start.
    fn watches(&mut self) -> Vec<Event> {
        let count = match self.options.profile {
            Profile::Watches => self.rng.random_range(6..=16),
            Profile::Registers | Profile::Mixed => self.rng.random_range(1..=4),
            Profile::Workloads => 0,
        };
        let mut events = Vec::new();
        for n in 0..count {
            let at = if n % 2 == 0 { 0 } else { self.rng.random_range(0..self.options.duration_ms / 2) };
            let resume_via = self.server();
            let op = if self.rng.random_bool(0.15) {
                Op::WatchSlowly { resume_via, stall_ms: self.rng.random_range(500..10_000) }
            } else {
                Op::Watch { resume_via }
            };
            events.push(self.event(at, self.options.clients + n, op));
        }
        events
    }

    fn first_workload(&mut self) -> Vec<Event> {
        if !self.has_workload() {
            return Vec::new();
        }
        let mut ops: Vec<Op> = (0..self.deployments).map(|name| self.deploy(name)).collect();
        ops.extend((0..STATEFUL_SETS).map(|name| self.stateful_set(name)));
        ops.into_iter().zip(0..).map(|(op, n)| self.event(n * 50, 0, op)).collect()
    }

    fn stateful_set(&mut self, name: u32) -> Op {
        let replicas = self.rng.random_range(0..=self.ordinals);
        Op::StatefulSet { name, replicas, cpu_m: self.cpu_m, parallel: self.rng.random_bool(0.3) }
    }

    fn job(&mut self) -> Op {
        Op::Job {
            name: self.rng.random_range(0..JOBS),
            completions: self.rng.random_range(1..=5),
            parallelism: self.rng.random_range(1..=self.parallelism),
            indexed: self.rng.random_bool(0.4),
            runs_s: pick(self.rng, &RUNS_S),
            backoff_limit: self.rng.random_range(0..=2),
            ttl_s: pick(self.rng, &[None, Some(0), Some(3)]),
            cpu_m: self.cpu_m,
        }
    }

    fn deploy(&mut self, name: u32) -> Op {
        let replicas = self.rng.random_range(0..=self.replicas);
        let (max_surge, max_unavailable) = pick(self.rng, &[(1, 0), (0, 1), (1, 1), (3, 2), (2, 0)]);
        Op::Deploy { name, replicas, cpu_m: self.cpu_m, max_surge, max_unavailable }
    }

    fn op(&mut self, name: &str) -> Op {
        let keys = self.options.keys.max(1);
        // A few keys are hot.
        let key = if self.rng.random_bool(0.5) { 0 } else { self.rng.random_range(0..keys) };
        let deployment = self.rng.random_range(0..self.deployments.max(1));
        let worker = self.rng.random_range(0..self.shape.workers.max(1));
        let small = self.rng.random_range(0..4);
        let set = small % STATEFUL_SETS;
        let coin = self.rng.random_bool(0.5);
        match name {
            "put" => Op::Put { key },
            "cas" => Op::Cas { key },
            "remove" => Op::Remove { key },
            "get" => Op::Get { key },
            "get-stale" => Op::GetStale { key },
            "list" => Op::List { page: pick(self.rng, &[1, 2, 3, 500]) },
            "dry-run" => Op::DryRun { key },
            "deploy" => self.deploy(deployment),
            "scale" => Op::Scale { name: deployment, replicas: self.rng.random_range(0..=self.replicas) },
            "rollout" => Op::Rollout { name: deployment },
            "undo" => Op::Undo { name: deployment },
            "undeploy" => Op::Undeploy { name: deployment, orphan: self.rng.random_bool(0.2) },
            "stateful-set" => self.stateful_set(set),
            "scale-stateful-set" => {
                Op::ScaleStatefulSet { name: set, replicas: self.rng.random_range(0..=self.ordinals) }
            }
            "rollout-stateful-set" => Op::RolloutStatefulSet { name: set },
            "delete-stateful-set" => Op::DeleteStatefulSet { name: set },
            "job" => self.job(),
            "delete-job" => Op::DeleteJob { name: self.rng.random_range(0..JOBS) },
            "pod" => Op::Pod { name: small, cpu_m: self.cpu_m },
            "delete-pod" => Op::DeletePod { name: small, at_once: false },
            "drain" => Op::Drain { worker },
            "uncordon" => Op::Uncordon { worker },
            "taint" => Op::Taint { worker, on: coin },
            "finalize" => Op::Finalize { key: small, add: coin },
            _ => Op::Namespace { name: small, create: name == "create-namespace" },
        }
    }

    /// At the end no worker stays cordoned or tainted, so that what is wanted can run.
    fn in_order_again(&mut self, events: &[Event]) -> Vec<Event> {
        let (mut cordoned, mut tainted) = (Vec::new(), Vec::new());
        for event in events {
            match event.what {
                What::Op { op: Op::Drain { worker }, .. } => cordoned.push(worker),
                What::Op { op: Op::Taint { worker, on: true }, .. } => tainted.push(worker),
                _ => {}
            }
        }
        for list in [&mut cordoned, &mut tainted] {
            list.sort_unstable();
            list.dedup();
        }
        let at = self.options.duration_ms;
        let cordoned = cordoned.into_iter().map(|worker| Op::Uncordon { worker });
        let tainted = tainted.into_iter().map(|worker| Op::Taint { worker, on: false });
        cordoned.chain(tainted).map(|op| self.event(at, 0, op)).collect()
    }
}
