//! The end of a run: everything is healed, and then the cluster must come to rest as it was asked to.

use std::collections::BTreeMap;

use kontiki_actors::{Kind, Object, ObjectKey, Uid};
use kontiki_chaos_plan::{
    history::{Answer, ReplicaHash, Settled},
    names,
};

use crate::{
    assertions, controller::Replica, controller::state_hash, requests::Intent, time::MS, world::World,
};

/// Between two looks.
const LOOK: u64 = 100 * MS;

impl World {
    /// Heals everything and waits until all is well, or the limit.
    pub(crate) fn settle(&mut self) -> Settled {
        self.heal_all();
        let (healed_ns, limit_ns) = (self.now, self.settle_limit());
        let mut settled = Settled { healed_ns, limit_ns, ..Settled::default() };
        let mut probes: Vec<(usize, Option<usize>)> = Vec::new();
        let mut missing = Vec::new();
        while self.now < healed_ns + limit_ns {
            self.run_until(self.now + LOOK);
            let passed = self.now - healed_ns;
            missing.clear();
            let leads = self.raft.lead.is_some_and(|(leader, term)| self.confirms(leader, term));
            note(&mut settled.leader_ns, leads, passed, "nobody leads", &mut missing);
            let end = self.raft.log.len() as u64;
            let level = self.raft.tail.is_empty() && self.controllers.iter().all(|c| c.replica.index == end);
            note(&mut settled.replicas_ns, level, passed, "replicas are not at the same entry", &mut missing);
            let wrong =
                if leads && level { self.workload() } else { vec!["nobody can tell what runs".to_owned()] };
            let well = leads && self.clients_done() && wrong.is_empty();
            note(&mut settled.workload_ns, well, passed, "", &mut missing);
            missing.extend(wrong);
            if settled.leader_ns.is_some() && probes.is_empty() {
                probes = self.probe_all();
            }
            let served = !probes.is_empty() && self.probed(&mut probes);
            note(&mut settled.served_ns, served, passed, "not every controller serves", &mut missing);
            if leads && level && well && served {
                missing.clear();
                break;
            }
        }
        settled.missing = missing;
        settled
    }

    /// A watch, a write and then a read through each controller.
    fn probe_all(&mut self) -> Vec<(usize, Option<usize>)> {
        (0..self.controllers.len())
            .map(|at| {
                let client = 1_000_000 + at as u32;
                self.watch(client, at as u32, at as u32, 0);
                let key = 1_000_000 + at as u32;
                self.probe(at, Intent::Put { key, value: String::new(), create: true });
                (at, None)
            })
            .collect()
    }

    fn probed(&mut self, probes: &mut [(usize, Option<usize>)]) -> bool {
        if !self.clients_done() {
            return false;
        }
        let mut well = true;
        for (at, read) in probes {
            let (number, key) = (1_000_000 + *at as u32, names::text(&World::probe_key(*at)));
            let answer = read.and_then(|read| self.notes.ops.get(read)).map(|op| &op.answer);
            if !matches!(answer, Some(Answer::Value { value: Some(_) })) {
                if read.is_some() {
                    // Refused for the moment: once more.
                    self.probe(*at, Intent::Put { key: number, value: String::new(), create: true });
                }
                *read = Some(self.probe(*at, Intent::Get { key: number, stale: false }));
                well = false;
            }
            well &= self.watched(number, &key);
        }
        well
    }

    /// What is desired and is not so.
    fn workload(&self) -> Vec<String> {
        let Some((leader, _)) = self.raft.lead else { return Vec::new() };
        let state = &self.controllers[leader].replica.state;
        let mut wrong = Vec::new();
        let mut say = |words: String| {
            if wrong.len() < 10 {
                wrong.push(words);
            }
        };
        let waits = |pod: &kontiki_actors::Object| {
            pod.pod().is_some_and(|p| p.node.is_none() && !p.terminal()) && !pod.meta.deleting()
        };
        // What really runs, by uid.
        let mut running: BTreeMap<&Uid, Vec<&str>> = BTreeMap::new();
        for worker in &self.workers {
            for (uid, _) in worker.pods.iter().filter(|(_, pod)| pod.runs.is_some()) {
                running.entry(uid).or_default().push(&worker.name);
            }
        }
        for pod in state.list(Kind::POD, None) {
            let Some(digest) = pod.pod() else { continue };
            if pod.meta.deleting() {
                say(format!("{} is still being deleted", pod.key));
                continue;
            }
            if waits(pod) {
                let fits =
                    |node: &&std::sync::Arc<kontiki_actors::Object>| assertions::would_fit(state, pod, node);
                if let Some(node) = state.list(Kind::NODE, None).find(fits) {
                    say(format!("{} waits for a place and would fit on {}", pod.key, node.key.name));
                }
                continue;
            }
            let places = running.remove(&pod.meta.uid).unwrap_or_default();
            let node = digest.node.as_deref().unwrap_or_default();
            if digest.terminal() {
                if !places.is_empty() {
                    say(format!("{} has ended and runs on {places:?}", pod.key));
                }
            } else if places != [node] || !digest.ready {
                say(format!(
                    "{} is to run on {node}, ready: {}, and runs on {places:?}",
                    pod.key, digest.ready
                ));
            }
        }
        for (uid, places) in running {
            say(format!("{uid} is nobody's pod and runs on {places:?}"));
        }
        for deployment in state.list(Kind::DEPLOYMENT, None) {
            let Some(spec) = deployment.deployment() else { continue };
            let sets = || state.dependents(&deployment.meta.uid).filter(|o| o.key.kind == Kind::REPLICA_SET);
            let pods = || sets().flat_map(|set| state.dependents(&set.meta.uid));
            if pods().any(|pod| waits(pod)) {
                continue;
            }
            let alive = pods().filter(|o| o.pod().is_some_and(|p| !p.terminal())).count() as i64;
            let status = &spec.status;
            let well = [status.replicas, status.updated_replicas, status.available_replicas, alive];
            if well != [spec.replicas; 4] || status.observed_generation != deployment.meta.generation {
                say(format!(
                    "{} wants {}: replicas, updated, available, alive are {well:?}, generation {} of {}",
                    deployment.key, spec.replicas, status.observed_generation, deployment.meta.generation
                ));
            }
        }
        for set in state.list(Kind::REPLICA_SET, None) {
            let Some(spec) = set.replica_set() else { continue };
            let pods = || state.dependents(&set.meta.uid).filter(|o| o.key.kind == Kind::POD);
            let alive = pods().filter(|o| o.pod().is_some_and(|p| !p.terminal())).count() as i64;
            if alive != spec.replicas {
                say(format!("{} wants {} pods and has {alive}", set.key, spec.replicas));
            }
        }
        for set in state.list(Kind::STATEFUL_SET, None) {
            let Some(spec) = set.stateful_set() else { continue };
            let pods = || state.dependents(&set.meta.uid).filter(|o| o.key.kind == Kind::POD);
            if pods().any(|pod| waits(pod)) {
                continue;
            }
            let status = set.document.status_value();
            let number = |field: &str| status[field].as_i64().unwrap_or(0);
            let counts = ["replicas", "readyReplicas", "updatedReplicas"].map(number);
            if counts != [spec.replicas; 3] || spec.status.observed_generation != set.meta.generation {
                say(format!(
                    "{} wants {}: replicas, ready, updated are {counts:?}, generation {} of {}",
                    set.key, spec.replicas, spec.status.observed_generation, set.meta.generation
                ));
            }
        }
        for job in state.list(Kind::JOB, None) {
            let waiting = state.dependents(&job.meta.uid).any(|pod| waits(pod));
            if !waiting && job.job().is_some_and(|spec| spec.status.finished().is_none()) {
                say(format!("{} has not ended: {:?}", job.key, job.job().map(|spec| &spec.status)));
            }
        }
        for object in state.iter() {
            let gone = |r: &kontiki_actors::object::OwnerRef| state.by_uid(&r.uid).is_none();
            if !object.meta.owners.is_empty() && object.meta.owners.iter().all(gone) {
                say(format!("{} outlives its owners", object.key));
            }
        }
        for node in state.list(Kind::NODE, None) {
            let name = &node.key.name;
            let contact = crate::workers::number(name).and_then(|n| self.workers.get(n));
            if contact.is_some_and(|worker| worker.welcomed) && node.node().is_none_or(|n| n.ready != "True")
            {
                say(format!("{name} is in contact and not ready"));
            }
        }
        for node in state.list(Kind::NODE, None).filter_map(|node| Some((&node.key.name, node.node()?))) {
            let condemned = node.1.taints.iter().find(|t| t.key == "node.kubernetes.io/unreachable");
            if let Some(taint) = condemned {
                say(format!("{} still has the taint {taint:?}", node.0));
            }
        }
        for object in state.iter().filter(|object| !object.key.namespace.is_empty()) {
            if state.get(&ObjectKey::new(Kind::NAMESPACE, "", &object.key.namespace)).is_none() {
                say(format!("{} outlives its namespace", object.key));
            }
        }
        for worker in self.workers.iter().filter(|worker| !worker.welcomed) {
            say(format!("{} has no session", worker.name));
        }
        for worker in &self.workers {
            let key = ObjectKey::new(Kind::NODE, "", &worker.name);
            if state.get(&key).is_none() {
                say(format!("{} has no node", worker.name));
            }
        }
        wrong
    }

    /// The hashes at the end, and that of a replay of the whole log.
    pub(crate) fn last_hashes(&mut self) {
        for at in 0..self.controllers.len() {
            self.note_hash(at);
        }
        let mut replay = Replica::default();
        for logged in &self.raft.log {
            let entry = logged.entry.as_deref().filter(|entry| entry.counts_in(logged.term));
            replay.fold(entry, &logged.bytes);
        }
        let (index, revision) = (replay.index, replay.state.revision());
        let hash = state_hash(&replay.state);
        let differs =
            |c: &&crate::controller::Controller| c.replica.index == index && c.replica.hash() != hash;
        if self.controllers.iter().any(|c| differs(&c)) {
            self.notes.broken(self.now, "B2", "a replay of the log gives another state".into());
        }
        let stale = |object: &&std::sync::Arc<Object>| {
            let fresh = Object::new(object.key.clone(), object.revision, object.document.whole());
            fresh.meta != object.meta || format!("{:?}", fresh.digest) != format!("{:?}", object.digest)
        };
        if let Some(object) = replay.state.iter().find(stale) {
            let words = format!("{} is taken for something else than its document says", object.key);
            self.notes.broken(self.now, "B2", words);
        }
        match replay.restored() {
            Ok(restored) if restored.hash() == hash => {}
            Ok(_) => self.notes.broken(self.now, "B2", "a restored state is another one".into()),
            Err(words) => self.notes.broken(self.now, "B2", words),
        }
        self.notes.hashes.push(ReplicaHash { replica: u32::MAX, index, revision, hash });
    }
}

fn note(when: &mut Option<u64>, now: bool, passed: u64, words: &str, missing: &mut Vec<String>) {
    if now {
        when.get_or_insert(passed);
    } else {
        *when = None;
        if !words.is_empty() {
            missing.push(words.to_owned());
        }
    }
}
