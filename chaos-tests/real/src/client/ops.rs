//! What a client does for each operation of a plan.

use std::{collections::BTreeMap, sync::Arc};

use http::Method;
use kontiki_chaos_plan::{
    history::{Answer, Call},
    names::{self, NAMESPACE, TAINT},
    plan::{Client, Op},
};
use serde_json::{Value, json};

use super::{
    Book, answers,
    objects::{self, BUILD},
    rest::{Rest, Sent},
    watch,
};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const STATEFUL_SETS: &str = "/apis/apps/v1/namespaces/default/statefulsets";
const JOBS: &str = "/apis/batch/v1/namespaces/default/jobs";
const NODES: &str = "/api/v1/nodes";
const NAMESPACES: &str = "/api/v1/namespaces";

/// A client's hand: its connections and what it remembers.
pub(super) struct Hand {
    client: Client,
    book: Arc<Book>,
    connections: BTreeMap<u32, Rest>,
    /// The revision at which it saw each register last.
    seen: BTreeMap<u32, u64>,
    /// The templates of each Deployment that it made, the newest last.
    builds: BTreeMap<u32, Vec<String>>,
}

impl Hand {
    pub(super) fn new(client: Client, book: Arc<Book>) -> Hand {
        Hand { client, book, connections: BTreeMap::new(), seen: BTreeMap::new(), builds: BTreeMap::new() }
    }

    pub(super) fn stopped(&self) -> bool {
        self.book.stopped()
    }

    async fn send(&mut self, via: u32, method: Method, path: &str, body: Option<&Value>) -> Sent {
        let (server, address) = self.book.server(via);
        if self.connections.get(&server).is_none_or(Rest::is_closed) {
            match Rest::connect(&self.book.identity, address).await {
                Ok(connection) => drop(self.connections.insert(server, connection)),
                Err(_) => return Sent::Not,
            }
        }
        let Some(connection) = self.connections.get(&server) else { return Sent::Not };
        let sent = connection.send(method, path, body).await;
        if matches!(sent, Sent::Unknown) {
            self.connections.remove(&server);
        }
        sent
    }

    pub(super) async fn play(&mut self, via: u32, op: Op) {
        match op {
            Op::Put { key } => self.put(via, key).await,
            Op::Cas { key } => {
                if !self.seen.contains_key(&key) {
                    self.get(via, key, false).await;
                }
                if let Some(revision) = self.seen.get(&key).copied() {
                    self.update(via, key, Some(revision)).await;
                }
            }
            Op::Remove { key } => self.remove(via, key).await,
            Op::Get { key } => self.get(via, key, false).await,
            Op::GetStale { key } => self.get(via, key, true).await,
            Op::List { page } => self.list(via, page.max(1)).await,
            Op::DryRun { key } => self.dry_run(via, key).await,
            Op::Watch { resume_via } => watch::start(self.client, &self.book, [via, resume_via], 0),
            Op::WatchSlowly { resume_via, stall_ms } => {
                watch::start(self.client, &self.book, [via, resume_via], stall_ms)
            }
            other => self.change(via, other).await,
        }
    }

    /// Remembers what it saw of a register.
    fn learn(&mut self, key: u32, answer: &Answer) {
        match answer {
            Answer::Done { revision } | Answer::Value { value: Some((_, revision)) } => {
                self.seen.insert(key, *revision);
            }
            Answer::Value { value: None } | Answer::Refused { code: 404 | 409 } => {
                self.seen.remove(&key);
            }
            _ => {}
        }
    }

    async fn put(&mut self, via: u32, key: u32) {
        if self.update(via, key, None).await == (Answer::Refused { code: 404 }) {
            let (name, value) = (names::register(key), self.book.fresh());
            let body = names::register_json(&name, &value);
            let call = Call::Create { key: names::text(&name), value };
            let number = self.book.asked(self.client, self.book.server(via).0, call);
            let answer = answers::written(&self.send(via, Method::POST, MAPS, Some(&body)).await);
            self.learn(key, &answer);
            self.book.answered(number, answer);
        }
    }

    async fn update(&mut self, via: u32, key: u32, revision: Option<u64>) -> Answer {
        let (name, value) = (names::register(key), self.book.fresh());
        let mut body = names::register_json(&name, &value);
        if let Some(revision) = revision {
            body["metadata"]["resourceVersion"] = json!(revision.to_string());
        }
        let call = Call::Update { key: names::text(&name), value, revision };
        let number = self.book.asked(self.client, self.book.server(via).0, call);
        let path = format!("{MAPS}/{}", name.name);
        let answer = answers::written(&self.send(via, Method::PUT, &path, Some(&body)).await);
        self.learn(key, &answer);
        self.book.answered(number, answer.clone());
        answer
    }

    async fn remove(&mut self, via: u32, key: u32) {
        let name = names::register(key);
        let call = Call::Delete { key: names::text(&name) };
        let number = self.book.asked(self.client, self.book.server(via).0, call);
        let path = format!("{MAPS}/{}", name.name);
        let answer = answers::written(&self.send(via, Method::DELETE, &path, None).await);
        self.seen.remove(&key);
        self.book.answered(number, answer);
    }

    async fn get(&mut self, via: u32, key: u32, stale: bool) {
        let name = names::register(key);
        let call = Call::Get { key: names::text(&name), stale };
        let number = self.book.asked(self.client, self.book.server(via).0, call);
        let query = if stale { "?resourceVersion=0" } else { "" };
        let path = format!("{MAPS}/{}{query}", name.name);
        let answer = answers::read(&self.send(via, Method::GET, &path, None).await);
        self.learn(key, &answer);
        self.book.answered(number, answer);
    }

    async fn list(&mut self, via: u32, page: u32) {
        let call = Call::List { prefix: names::REGISTERS.into() };
        let number = self.book.asked(self.client, self.book.server(via).0, call);
        let (mut items, mut next) = (Vec::new(), String::new());
        let answer = loop {
            let path = format!("{MAPS}?limit={page}&continue={next}");
            let path = if next.is_empty() { format!("{MAPS}?limit={page}") } else { path };
            let sent = self.send(via, Method::GET, &path, None).await;
            let body = match answers::page(&sent) {
                Ok(reply) => &reply.body,
                Err(answer) => break answer,
            };
            items.extend(body["items"].as_array().into_iter().flatten().filter_map(answers::register));
            match body["metadata"]["continue"].as_str() {
                Some(token) if !token.is_empty() => next = token.to_owned(),
                _ => break Answer::Listed { revision: answers::revision(body), items },
            }
        };
        self.book.answered(number, answer);
    }

    async fn dry_run(&mut self, via: u32, key: u32) {
        let (name, value) = (names::register(key), self.book.fresh());
        let body = names::register_json(&name, &value);
        let call = Call::DryRun { key: names::text(&name), value };
        let number = self.book.asked(self.client, self.book.server(via).0, call);
        let path = format!("{MAPS}/{}?dryRun=All", name.name);
        let answer = answers::written(&self.send(via, Method::PUT, &path, Some(&body)).await);
        self.book.answered(number, answer);
    }

    /// Sends a change of something that is no register.
    async fn other(&mut self, via: u32, method: Method, path: &str, body: Option<&Value>) -> Sent {
        let call = Call::Other { what: format!("{method} {path}") };
        let number = self.book.asked(self.client, self.book.server(via).0, call);
        let sent = self.send(via, method, path, body).await;
        self.book.answered(number, answers::written(&sent));
        sent
    }

    async fn change(&mut self, via: u32, op: Op) {
        let in_deployments = |n: u32| format!("{DEPLOYMENTS}/{}", names::deployment(n).name);
        let in_stateful_sets = |n: u32| format!("{STATEFUL_SETS}/{}", names::stateful_set(n).name);
        match op {
            Op::Deploy { name, replicas, cpu_m, max_surge, max_unavailable } => {
                let body = objects::deployment(&self.book, name, replicas, cpu_m, max_surge, max_unavailable);
                self.builds.insert(name, vec!["first".into()]);
                let path = in_deployments(name);
                let sent = self.other(via, Method::PUT, &path, Some(&body)).await;
                if matches!(sent, Sent::Answered(reply) if reply.code == 404) {
                    self.other(via, Method::POST, DEPLOYMENTS, Some(&body)).await;
                }
            }
            Op::Scale { name, replicas } => {
                let body = json!({"spec": {"replicas": replicas}});
                self.other(via, Method::PATCH, &in_deployments(name), Some(&body)).await;
            }
            Op::Rollout { name } => {
                let build = self.book.fresh();
                self.builds.entry(name).or_default().push(build.clone());
                self.build(via, &in_deployments(name), &build).await;
            }
            Op::Undo { name } => {
                let builds = self.builds.entry(name).or_default();
                let build = if builds.len() > 1 { builds.remove(builds.len() - 2) } else { "first".into() };
                self.build(via, &in_deployments(name), &build).await;
            }
            Op::Undeploy { name, orphan } => {
                let policy = if orphan { "Orphan" } else { "Background" };
                self.delete(via, &in_deployments(name), policy).await;
            }
            Op::StatefulSet { name, replicas, cpu_m, parallel } => {
                let body = objects::stateful_set(&self.book, name, replicas, cpu_m, parallel);
                let sent = self.other(via, Method::POST, STATEFUL_SETS, Some(&body)).await;
                if matches!(sent, Sent::Answered(reply) if reply.code == 409) {
                    let body = json!({"spec": {"replicas": replicas}});
                    self.other(via, Method::PATCH, &in_stateful_sets(name), Some(&body)).await;
                }
            }
            Op::ScaleStatefulSet { name, replicas } => {
                let body = json!({"spec": {"replicas": replicas}});
                self.other(via, Method::PATCH, &in_stateful_sets(name), Some(&body)).await;
            }
            Op::RolloutStatefulSet { name } => {
                let build = self.book.fresh();
                self.build(via, &in_stateful_sets(name), &build).await;
            }
            Op::DeleteStatefulSet { name } => self.delete(via, &in_stateful_sets(name), "Background").await,
            Op::Job { .. } => {
                if let Some(body) = objects::job(&self.book, &op) {
                    self.other(via, Method::POST, JOBS, Some(&body)).await;
                }
            }
            Op::DeleteJob { name } => {
                self.delete(via, &format!("{JOBS}/{}", names::job(name).name), "Background").await;
            }
            Op::Pod { name, cpu_m } => {
                let body = objects::pod(&self.book, name, cpu_m);
                self.other(via, Method::POST, PODS, Some(&body)).await;
            }
            Op::DeletePod { name, at_once } => {
                let path = format!("{PODS}/{}", names::pod(name).name);
                let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
                self.other(via, Method::DELETE, &path, at_once.then_some(&options)).await;
            }
            Op::Drain { worker } => self.drain(via, worker).await,
            Op::Uncordon { worker } => {
                let body = json!({"spec": {"unschedulable": null}});
                let path = format!("{NODES}/{}", names::worker(worker));
                self.other(via, Method::PATCH, &path, Some(&body)).await;
            }
            Op::Taint { worker, on } => self.taint(via, worker, on).await,
            Op::Finalize { key, add: true } => {
                self.other(via, Method::POST, MAPS, Some(&objects::held(key))).await;
                let path = format!("{MAPS}/{}", names::finalized(key).name);
                self.other(via, Method::DELETE, &path, None).await;
            }
            Op::Finalize { key, add: false } => {
                let path = format!("{MAPS}/{}", names::finalized(key).name);
                let body = json!({"metadata": {"finalizers": null}});
                self.other(via, Method::PATCH, &path, Some(&body)).await;
            }
            Op::Namespace { name, create: true } => {
                self.other(via, Method::POST, NAMESPACES, Some(&objects::namespace(name))).await;
            }
            Op::Namespace { name, create: false } => {
                let path = format!("{NAMESPACES}/{}", names::namespace(name).name);
                self.other(via, Method::DELETE, &path, None).await;
            }
            // Those of registers and watches are played elsewhere.
            _ => {}
        }
    }

    async fn build(&mut self, via: u32, path: &str, build: &str) {
        let body = json!({"spec": {"template": {"metadata": {"annotations": {BUILD: build}}}}});
        self.other(via, Method::PATCH, path, Some(&body)).await;
    }

    /// Deletes something with what it has made, or without.
    async fn delete(&mut self, via: u32, path: &str, policy: &str) {
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
        self.other(via, Method::DELETE, path, Some(&body)).await;
    }

    /// As `kubectl drain` does it, without asking budgets.
    async fn drain(&mut self, via: u32, worker: u32) {
        let node = names::worker(worker);
        let body = json!({"spec": {"unschedulable": true}});
        self.other(via, Method::PATCH, &format!("{NODES}/{node}"), Some(&body)).await;
        let path = format!("{PODS}?fieldSelector=spec.nodeName%3D{node}");
        let Sent::Answered(reply) = self.send(via, Method::GET, &path, None).await else { return };
        let pods = reply.body["items"].as_array().cloned().unwrap_or_default();
        for name in pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()) {
            self.other(via, Method::DELETE, &format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}"), None)
                .await;
        }
    }

    /// Taints are a list that others write to, too: read, changed, written back at that revision.
    async fn taint(&mut self, via: u32, worker: u32, on: bool) {
        let path = format!("{NODES}/{}", names::worker(worker));
        let Sent::Answered(reply) = self.send(via, Method::GET, &path, None).await else { return };
        let mut node = reply.body;
        if reply.code >= 300 {
            return;
        }
        let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
        let mut taints: Vec<Value> = taints.into_iter().filter(|taint| taint["key"] != TAINT).collect();
        if on {
            taints.push(json!({"key": TAINT, "effect": "NoSchedule"}));
        }
        node["spec"]["taints"] = json!(taints);
        self.other(via, Method::PUT, &path, Some(&node)).await;
    }
}
