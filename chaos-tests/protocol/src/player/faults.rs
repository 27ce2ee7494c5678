//! The plan's faults, done and undone.

use std::{collections::BTreeSet, time::Duration};

use http::Method;
use kontiki_actors::Kind;
use kontiki_chaos_plan::{
    history::FaultRecord,
    plan::{Fault, FaultKind, Side, Target},
};
use kontiki_raft::Scope;
use serde_json::json;

use super::{
    cluster::{Cluster, Who},
    rules::{Effect, Rule, Trouble},
};
use crate::{client::Ask, controller, network::HostId, worker};

/// Writes that make a snapshot due are this many at most.
const WRITES_MAX: u64 = 3000;
/// Of these so many at once.
const WRITES_AT_ONCE: u64 = 20;
/// While nobody leads, a change of members waits so long before it looks again.
const NOBODY_LEADS: Duration = Duration::from_millis(300);
/// Whoever was refused a change of members, or does not know what became of it, asks again after this, as a person would: later than
/// the leader ends by itself what was left half done.
const ASK_AGAIN: Duration = Duration::from_secs(3);

/// How a fault ends.
pub(super) struct Undo {
    back: Back,
    hit: Vec<String>,
    from_ns: u64,
    bit: bool,
    before: u64,
}

enum Back {
    Nothing,
    Links,
    Up(Vec<Who>),
    Release(Vec<Who>),
    Disks(Vec<u32>),
    Jump(Vec<u32>, i64),
    Rate(Vec<u32>),
    Answer(Vec<u32>),
    Rejoin(Vec<u32>),
    /// What spoke in their place.
    Replace(Vec<(u32, Scope)>),
}

/// From when until when a fault holds, after its beginning. One that flaps has many.
pub(super) fn phases(fault: &Fault) -> Vec<(Duration, Duration)> {
    let all = Duration::from_millis(fault.for_ms);
    match fault.kind {
        FaultKind::Flap { times } => {
            let part = all / (2 * times.max(1));
            (0..times).map(|n| (part * (2 * n), part * (2 * n + 1))).collect()
        }
        _ => vec![(Duration::ZERO, all)],
    }
}

impl Cluster {
    /// A fault begins.
    pub(super) fn begin(&mut self, n: usize, fault: &Fault) {
        let who = self.targets(fault.on);
        let mut hit: Vec<String> = who.iter().map(|who| self.name(*who)).collect();
        let from_ns = self.book.now_ns();
        let before = self.evidence(&who);
        let controllers: Vec<u32> = who.iter().filter_map(|who| who.controller()).collect();
        let workers: Vec<u32> = who.iter().filter_map(|who| who.worker()).collect();
        let hosts: BTreeSet<HostId> = who.iter().map(|who| self.host(*who)).collect();
        let rule = |those, side, effect| Rule { these: hosts.clone(), those, side, effect };
        let ms = Duration::from_millis;
        let mut bit = !who.is_empty();
        let mut link = |cluster: &mut Cluster, rule| {
            cluster.rules.add(n, rule, &cluster.around.fabric);
            bit = false;
            Back::Links
        };
        let back = match &fault.kind {
            FaultKind::Crash | FaultKind::AgentCrash => self.take_down(&who, false),
            FaultKind::PowerCut | FaultKind::NodeReboot => self.take_down(&who, true),
            FaultKind::Pause => self.hold(&who),
            FaultKind::Isolate { side } => link(self, rule(None, *side, Effect::Cut)),
            FaultKind::Flap { .. } => link(self, rule(None, Side::Both, Effect::Cut)),
            FaultKind::Cut { other, side } => {
                let others: Vec<Who> = self.targets(*other);
                hit.extend(others.iter().map(|who| self.name(*who)));
                let those = others.iter().map(|who| self.host(*who)).collect();
                link(self, rule(Some(those), *side, Effect::Cut))
            }
            FaultKind::Delay { ms: least, jitter_ms } => {
                let effect = Effect::Slow { least: ms(*least), jitter: ms(*jitter_ms) };
                let back = link(self, rule(None, Side::Both, effect));
                bit = !who.is_empty();
                back
            }
            FaultKind::Loss { per_mille, reorder_per_mille, .. } => {
                // What comes twice or too early is put in order by the transport; what is put in order comes late.
                let late = per_mille + reorder_per_mille / 2;
                let back = link(self, rule(None, Side::Both, Effect::Loss(late)));
                bit = late > 0 && !who.is_empty();
                back
            }
            FaultKind::Bandwidth { kib_per_s } => {
                let back = link(self, rule(None, Side::Both, Effect::Narrow(kib_per_s.max(&1) * 1024)));
                bit = !who.is_empty();
                back
            }
            // A flipped bit breaks the connection: no signature fits any more.
            FaultKind::Reset | FaultKind::Corrupt { .. } => {
                hosts.iter().for_each(|host| self.around.fabric.net.reset(*host));
                Back::Nothing
            }
            FaultKind::ClockJump { by_ms } => {
                controllers.iter().for_each(|c| self.sites[*c as usize].clock.jump(*by_ms));
                bit = !controllers.is_empty();
                Back::Jump(controllers, *by_ms)
            }
            FaultKind::ClockRate { per_mille } => {
                controllers.iter().for_each(|c| self.sites[*c as usize].clock.rate(*per_mille));
                bit = !controllers.is_empty();
                Back::Rate(controllers)
            }
            FaultKind::DiskFull => self.spoil(n, controllers, Trouble::Full),
            FaultKind::DiskError => self.spoil(n, controllers, Trouble::Error),
            FaultKind::DiskSlow { ms: by } => self.spoil(n, controllers, Trouble::Slow(ms(*by))),
            FaultKind::DiskStuck => self.spoil(n, controllers, Trouble::Stuck),
            FaultKind::BitRot { flips } => {
                let back = self.take_down(&who, false);
                controllers.iter().for_each(|c| self.sites[*c as usize].disk.rot(*flips));
                back
            }
            FaultKind::DiskLost | FaultKind::MemberReplaced => {
                self.take_down(&who, false);
                controllers.iter().for_each(|c| self.sites[*c as usize].disk.wipe());
                Back::Rejoin(controllers)
            }
            FaultKind::OldLeader => self.speak_of_the_past(&controllers),
            FaultKind::BadInput { requests } => self.nonsense(n, &controllers, *requests),
            FaultKind::Overload { requests } => self.overload(n, &controllers, *requests),
            FaultKind::EvilWorker => self.lie(&workers),
            FaultKind::LeaderTransfer => self.transfer(),
            FaultKind::SnapshotWhileAway => {
                let back = link(self, rule(None, Side::Both, Effect::Cut));
                self.write_much(n, &controllers);
                back
            }
            FaultKind::RuntimeHangs => {
                workers.iter().for_each(|w| self.machines[*w as usize].hang(true));
                Back::Answer(workers)
            }
            FaultKind::ContainersExit { count } => {
                bit = self.exit_some(n, &workers, *count);
                Back::Nothing
            }
            other => {
                let why = match other {
                    FaultKind::Stranger => "TLS refuses strangers before any of this code",
                    FaultKind::CrashAtCommand { .. } => "commands are counted in the model",
                    _ => "everything runs in one process",
                };
                self.skip(n, fault, why);
                return;
            }
        };
        self.undo.insert(n, Undo { back, hit, from_ns, bit, before });
    }

    /// A fault is over.
    pub(super) fn end(&mut self, n: usize, fault: &Fault) {
        let Some(Undo { back, hit, from_ns, bit, before }) = self.undo.remove(&n) else { return };
        let who = self.targets(fault.on);
        let mut bit = bit;
        match back {
            Back::Nothing => {}
            Back::Links => {
                bit |= self.evidence(&who) != before;
                self.rules.remove(n, &self.around.fabric);
            }
            Back::Up(who) => self.bring_up(&who),
            Back::Release(who) => self.release(&who),
            Back::Disks(controllers) => {
                let touched = |c: &u32| {
                    let counts = self.sites[*c as usize].disk.counts();
                    counts.refused + counts.delayed
                };
                bit = controllers.iter().map(touched).sum::<u64>() > before || bit;
                for c in controllers {
                    self.rules.mend(n, c, &self.sites[c as usize].disk);
                }
            }
            Back::Jump(controllers, by_ms) => {
                controllers.iter().for_each(|c| self.sites[*c as usize].clock.jump(-by_ms));
            }
            Back::Rate(controllers) => {
                controllers.iter().for_each(|c| self.sites[*c as usize].clock.rate(1000));
            }
            Back::Answer(workers) => {
                workers.iter().for_each(|w| self.machines[*w as usize].hang(false));
            }
            Back::Rejoin(controllers) => {
                for c in controllers {
                    self.rejoin(c);
                    self.bring_up(&[Who::Controller(c)]);
                }
            }
            Back::Replace(old) => self.forget_the_past(old),
        }
        let until_ns = self.book.now_ns();
        let number = fault.kind.number();
        self.book.fault(FaultRecord { event: n, number, hit, from_ns, until_ns, bit, skipped: None });
    }

    fn skip(&self, n: usize, fault: &Fault, why: &str) {
        let now = self.book.now_ns();
        self.book.fault(FaultRecord {
            event: n,
            number: fault.kind.number(),
            hit: Vec::new(),
            from_ns: now,
            until_ns: now,
            bit: false,
            skipped: Some(why.into()),
        });
    }

    fn name(&self, who: Who) -> String {
        self.around.fabric.name(self.host(who))
    }

    fn host(&self, who: Who) -> HostId {
        match who {
            Who::Controller(n) => self.around.fabric.controller(n),
            Who::Worker(n) => self.around.fabric.worker(n),
        }
    }

    /// Whom a target means now.
    fn targets(&self, target: Target) -> Vec<Who> {
        let shape = &self.shape;
        let controllers = || (0..shape.controllers).map(Who::Controller);
        let workers = || (0..shape.workers).map(Who::Worker);
        let leader = self.leader().map(|site| site.number);
        match target {
            Target::Controller(n) => vec![Who::Controller(n % shape.controllers.max(1))],
            Target::Leader => leader.map(Who::Controller).into_iter().collect(),
            Target::Follower => {
                let follower = (0..shape.controllers).find(|n| Some(*n) != leader);
                follower.map(Who::Controller).into_iter().collect()
            }
            Target::Worker(n) if shape.workers > 0 => vec![Who::Worker(n % shape.workers)],
            Target::Worker(_) => Vec::new(),
            Target::Zone(zone) => {
                let inside = |who: &Who| match who {
                    Who::Controller(n) | Who::Worker(n) => shape.zone_of(*n) == zone % shape.zones.max(1),
                };
                controllers().chain(workers()).filter(inside).collect()
            }
            Target::Controllers => controllers().collect(),
            Target::Workers => workers().collect(),
            Target::All => controllers().chain(workers()).collect(),
        }
    }

    /// A number that grows when a fault on the network shows.
    fn evidence(&self, _: &[Who]) -> u64 {
        let counts = self.around.fabric.net.counts();
        counts.cut + counts.lost + counts.broken
    }

    fn take_down(&mut self, who: &[Who], power: bool) -> Back {
        for who in who {
            *self.down.entry(*who).or_default() += 1;
            match who {
                Who::Controller(n) => self.stop_controller(*n, power),
                Who::Worker(n) => {
                    let machine = &mut self.machines[*n as usize];
                    machine.kill(&self.around);
                    if power {
                        machine.runtime.power_off();
                    }
                }
            }
        }
        Back::Up(who.to_vec())
    }

    fn bring_up(&mut self, who: &[Who]) {
        for who in who {
            let count = self.down.entry(*who).or_default();
            *count = count.saturating_sub(1);
            if *count > 0 {
                continue;
            }
            match who {
                Who::Controller(n) if !self.sites[*n as usize].is_up() => {
                    self.start(*n, false);
                }
                Who::Worker(n) if !self.machines[*n as usize].is_up() => {
                    self.machines[*n as usize].start(&self.around);
                }
                _ => {}
            }
        }
    }

    fn hold(&mut self, who: &[Who]) -> Back {
        for who in who {
            *self.held.entry(*who).or_default() += 1;
            self.set_held(*who, true);
        }
        Back::Release(who.to_vec())
    }

    fn release(&mut self, who: &[Who]) {
        for who in who {
            let count = self.held.entry(*who).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.set_held(*who, false);
            }
        }
    }

    fn set_held(&self, who: Who, held: bool) {
        self.around.fabric.net.hold(self.host(who), held);
        match who {
            Who::Controller(n) => {
                if let Some(running) = self.sites[n as usize].running() {
                    running.hold(held);
                }
            }
            Who::Worker(n) => self.machines[n as usize].hang(held),
        }
    }

    fn spoil(&mut self, n: usize, controllers: Vec<u32>, trouble: Trouble) -> Back {
        for c in &controllers {
            self.rules.spoil(n, *c, trouble, &self.sites[*c as usize].disk);
        }
        Back::Disks(controllers)
    }

    /// A controller whose disk is gone gets a new number; the others forget the old one and take the new one in.
    pub(super) fn rejoin(&mut self, c: u32) {
        let old = self.sites[c as usize].id();
        let new = self.sites[c as usize].renew(&self.around);
        let member = controller::member(&self.shape, c, new);
        let nodes = self.nodes.clone();
        self.jobs.spawn_local(async move {
            loop {
                let mut pause = NOBODY_LEADS;
                if let Some(node) = nodes.leader() {
                    let known = |id: u64| node.status().members.iter().any(|m| m.info.id == id);
                    let done = (!known(old) || node.remove(old).await.is_ok())
                        && node.add_learner(member.clone()).await.is_ok()
                        && node.promote(new).await.is_ok();
                    if done {
                        return;
                    }
                    pause = ASK_AGAIN;
                }
                tokio::time::sleep(pause).await;
            }
        });
    }

    fn transfer(&mut self) -> Back {
        if let Some(node) = self.nodes.leader() {
            self.jobs.spawn_local(async move {
                // Refused, if nobody can take it now.
                let _ = node.transfer_leader(None).await;
            });
        }
        Back::Nothing
    }

    fn lie(&mut self, workers: &[u32]) -> Back {
        let Some(leader) = self.leader() else { return Back::Nothing };
        let address = controller::address(leader.number);
        let view = leader.running().map(|running| running.replica.view());
        for w in workers {
            let machine = &self.machines[*w as usize];
            let others = view.iter().flat_map(|view| view.list(Kind::POD, None)).filter(|pod| {
                pod.pod().is_some_and(|p| p.node.as_deref().is_some_and(|node| node != machine.name))
            });
            let victims = others.take(5).map(|pod| {
                (pod.meta.uid.to_string(), pod.key.namespace.to_string(), pod.key.name.to_string())
            });
            let (fabric, host) = (self.around.fabric.clone(), self.around.fabric.worker(*w));
            let lies = worker::lie(fabric, host, machine.info(), address.clone(), victims.collect());
            self.jobs.spawn_local(lies);
        }
        Back::Nothing
    }

    /// In place of these controllers somebody speaks who leads, as he believes, in the term before the present one.
    fn speak_of_the_past(&mut self, controllers: &[u32]) -> Back {
        let newest = self.book.read(|pages| pages.reigns.iter().map(|reign| reign.term).max());
        let term = newest.unwrap_or(0).saturating_sub(1);
        let who: Vec<Who> = controllers.iter().map(|c| Who::Controller(*c)).collect();
        self.take_down(&who, false);
        let rise = |c: &u32| (*c, controller::old_leader(&self.around, *c, term));
        Back::Replace(controllers.iter().map(rise).collect())
    }

    fn forget_the_past(&mut self, old: Vec<(u32, Scope)>) {
        for (c, scope) in old {
            scope.kill();
            self.around.fabric.net.reset(self.around.fabric.controller(c));
            self.bring_up(&[Who::Controller(c)]);
        }
    }

    fn exit_some(&self, n: usize, workers: &[u32], count: u32) -> bool {
        let mut any = false;
        for w in workers {
            let runtime = &self.machines[*w as usize].runtime;
            let running = runtime.running_containers();
            for k in 0..(count as usize).min(running.len()) {
                let (uid, container) = &running[(n + k * 7) % running.len()];
                runtime.finish(uid, container, 1);
                any = true;
            }
        }
        any
    }

    /// The client that does what is not in the plan's operations.
    fn extra(&self) -> u32 {
        self.around.fabric.clients() - 1
    }

    fn nonsense(&mut self, n: usize, controllers: &[u32], requests: u32) -> Back {
        // Not where the clients' registers are: some of it may be understood, such as a DELETE of a whole collection.
        let paths = [
            "/api/v1/namespaces/nonsense/configmaps",
            "/api/v1/namespaces/..%2f/pods?limit=-1&continue=%00",
            "/apis/apps/v1/namespaces/default/deployments/none/scale",
            "/api/v1/namespaces/nonsense/configmaps?watch=true&resourceVersion=minus",
            "/api/v1/pods?fieldSelector=a%3Db%3Dc&labelSelector=((",
        ];
        let bodies = [
            json!(null),
            json!([[[[]]]]),
            json!({"metadata": {"name": "A/../b"}}),
            json!({"kind": "Pod", "spec": 7}),
        ];
        let methods = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::GET];
        for c in controllers.iter().copied() {
            for k in 0..requests as usize {
                let ask = Ask::new(
                    methods[(n + k) % methods.len()].clone(),
                    paths[k % paths.len()],
                    format!("n{n}-{c}-{k}"),
                );
                let ask = ask.with(bodies[(n + k / 2) % bodies.len()].clone());
                let (outside, client) = (self.outside(), self.extra());
                self.jobs.spawn(async move {
                    let path = ask.path.clone();
                    if let Ok((status, body)) = outside.ask(client, c, ask).await
                        && status == http::StatusCode::INTERNAL_SERVER_ERROR
                    {
                        outside
                            .book
                            .broken("G1", format!("nonsense for {path} was answered {status}: {body}"));
                    }
                });
            }
        }
        Back::Nothing
    }

    fn overload(&mut self, n: usize, controllers: &[u32], requests: u32) -> Back {
        for c in controllers.iter().copied() {
            for k in 0..requests {
                let (outside, client) = (self.outside(), self.extra());
                self.jobs.spawn(async move {
                    let ask = match k % 4 {
                        0 => scratch(&format!("o{n}-{}", k % 64), &format!("o{n}-{c}-{k}")),
                        _ => Ask::new(Method::GET, "/api/v1/namespaces/default/configmaps", ""),
                    };
                    // Refused or lost: as it is with too much at once.
                    let _ = outside.ask(client, c, ask).await;
                });
            }
        }
        Back::Nothing
    }

    /// So many writes that a snapshot is due, through somebody else.
    fn write_much(&mut self, n: usize, away: &[u32]) {
        let Some(via) = (0..self.shape.controllers).find(|c| !away.contains(c)) else { return };
        let writes = (3 * self.shape.snapshot_entries + 10).min(WRITES_MAX);
        let (outside, client) = (self.outside(), self.extra());
        self.jobs.spawn(async move {
            for round in 0..writes.div_ceil(WRITES_AT_ONCE) {
                let asks = (0..WRITES_AT_ONCE).map(|k| {
                    let id = format!("s{n}-{round}-{k}");
                    outside.ask(client, via, scratch(&format!("s{n}-{}", round * WRITES_AT_ONCE + k), &id))
                });
                let _ = futures_util::future::join_all(asks).await;
            }
        });
    }
}

/// Creates an object that nobody looks at.
fn scratch(name: &str, id: &str) -> Ask {
    Ask::new(Method::POST, "/api/v1/namespaces/default/configmaps", id).with(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}, "data": {"value": id},
    }))
}

impl Who {
    fn controller(self) -> Option<u32> {
        if let Who::Controller(n) = self { Some(n) } else { None }
    }

    fn worker(self) -> Option<u32> {
        if let Who::Worker(n) = self { Some(n) } else { None }
    }
}

impl Cluster {
    /// Everything is whole again, at once.
    pub(super) fn heal(&mut self) {
        let disks = self.sites.iter().map(|site| &site.disk);
        self.rules.heal(&self.around.fabric, disks);
        for (_, undo) in std::mem::take(&mut self.undo) {
            match undo.back {
                Back::Up(who) => self.bring_up(&who),
                Back::Release(who) => self.release(&who),
                Back::Answer(workers) => workers.iter().for_each(|w| self.machines[*w as usize].hang(false)),
                Back::Rejoin(controllers) => {
                    for c in controllers {
                        self.rejoin(c);
                        self.bring_up(&[Who::Controller(c)]);
                    }
                }
                Back::Replace(old) => self.forget_the_past(old),
                _ => {}
            }
        }
    }
}
