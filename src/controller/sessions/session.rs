//! One worker's session. Everything it sends carries the leader's term and counts up, so that a worker can refuse what
//! is old or out of order.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, StreamHandler, WrapFuture,
};
use compact_str::CompactString;
use kontiki_actors::{
    Input, Kind, Object, ObjectKey, State,
    input::{NodeHello, Note, PodReport},
};
use kontiki_api::feed::FeedEvent;
use kontiki_proto::worker::{
    Assignments, FromWorker, HeartbeatAck, Hello, PodAssignment, Redirect, ReportAck, StatusReport, ToWorker,
    Welcome, from_worker, to_worker,
};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::{
    assignment::{assignment, dependencies, is_news},
    router::{Heard, Interest, Register, Sessions, Tell, Unregister},
};
use crate::controller::{
    replica::Replica,
    stage::{Answer, Stage, Submit},
};

/// Pods in one message of assignments: what is more follows in the next, so that no message is too large.
const PODS_PER_MESSAGE: usize = 200;
/// Pods and events that one report may carry.
const REPORT_MAX: usize = 4096;

/// What a session needs.
pub(super) struct Parts {
    pub id: u64,
    pub term: u64,
    pub hello: Hello,
    pub node_status: NodeHello,
    pub welcome: Welcome,
    pub out: mpsc::Sender<Result<ToWorker, Status>>,
    pub replica: Arc<Replica>,
    pub stage: Addr<Stage>,
    pub sessions: Addr<Sessions>,
    pub redirect: Arc<dyn Fn() -> Redirect + Send + Sync>,
}

/// The actor.
pub(super) struct Session {
    parts: Parts,
    node: CompactString,
    sequence: u64,
    /// Events up to this revision stand in the complete assignment.
    floor: Option<u64>,
    early: Vec<Arc<FeedEvent>>,
    /// Which pods refer to an object.
    users: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
}

impl Session {
    pub(super) fn new(parts: Parts) -> Session {
        let node = CompactString::from(parts.hello.node.as_str());
        Session { parts, node, sequence: 0, floor: None, early: Vec::new(), users: BTreeMap::new() }
    }

    /// A worker that does not read is cut off: it will resync.
    fn send(&mut self, what: to_worker::What, ctx: &mut Context<Self>) {
        self.sequence += 1;
        let message = ToWorker { term: self.parts.term, sequence: self.sequence, what: Some(what) };
        if self.parts.out.try_send(Ok(message)).is_err() {
            tracing::warn!(node = %self.node, "the worker does not take its messages: its session ends");
            ctx.stop();
        }
    }

    /// Introduces the node, then hands over everything it is to run.
    fn begin(&mut self, ctx: &mut Context<Self>) {
        let register = Register {
            node: self.node.clone(),
            id: self.parts.id,
            term: self.parts.term,
            address: ctx.address(),
        };
        let (sessions, stage) = (self.parts.sessions.clone(), self.parts.stage.clone());
        let hello = Input::NodeHello(Box::new(self.parts.node_status.clone()));
        let introduced = async move {
            if !sessions.send(register).await.unwrap_or(false) {
                return false;
            }
            let (reply, answer) = oneshot::channel();
            stage.do_send(Submit {
                input: hello,
                request: None,
                term: None,
                trace: None,
                reply: Some(reply),
            });
            matches!(answer.await, Ok(Ok(_)))
        };
        ctx.spawn(introduced.into_actor(self).map(|done, session, ctx| {
            if done {
                session.synchronize(ctx);
            } else {
                session.over(ctx);
            }
        }));
    }

    /// The complete assignment: only pods whose revision differs from what the worker has travel.
    fn synchronize(&mut self, ctx: &mut Context<Self>) {
        let state = self.parts.replica.view();
        self.send(to_worker::What::Welcome(self.parts.welcome.clone()), ctx);
        let known: BTreeMap<&str, u64> =
            self.parts.hello.pods.iter().map(|p| (p.uid.as_str(), p.revision)).collect();
        let (mut put, mut keep) = (Vec::new(), Vec::new());
        for pod in state.pods_on(&self.node) {
            // A pod that has ended is of no more interest, unless the worker still has something of it.
            let have = known.get(pod.meta.uid.as_str()).copied();
            if pod.pod().is_some_and(|p| p.terminal()) && have.is_none() && !pod.meta.deleting() {
                continue;
            }
            // What a pod refers to may have changed meanwhile, and its later changes must be followed.
            if have == Some(pod.revision) && dependencies(pod).is_empty() {
                keep.push(pod.meta.uid.to_string());
            } else {
                put.push(pod.clone());
            }
        }
        let mut later = put.split_off(put.len().min(PODS_PER_MESSAGE));
        // What travels later is kept for now, so that the complete message does not stop it.
        keep.extend(later.iter().map(|pod| pod.meta.uid.to_string()));
        let put = put.iter().map(|pod| self.assign(&state, pod, None)).collect();
        self.send(
            to_worker::What::Assignments(Assignments { complete: true, put, keep, remove: vec![] }),
            ctx,
        );
        while !later.is_empty() {
            let rest = later.split_off(later.len().min(PODS_PER_MESSAGE));
            let put = later.iter().map(|pod| self.assign(&state, pod, None)).collect();
            let more = Assignments { complete: false, put, keep: vec![], remove: vec![] };
            self.send(to_worker::What::Assignments(more), ctx);
            later = rest;
        }
        tracing::info!(node = %self.node, term = self.parts.term, pods = state.pods_on(&self.node).count(), "session");
        self.floor = Some(state.revision());
        let early = std::mem::take(&mut self.early);
        self.follow(early, ctx);
    }

    fn assign(&mut self, state: &State, pod: &Object, trace: Option<&str>) -> PodAssignment {
        let needed = dependencies(pod);
        let mut unknown = BTreeSet::new();
        for object in &needed {
            let users = self.users.entry(object.clone()).or_default();
            if users.is_empty() {
                unknown.insert(object.clone());
            }
            users.insert(pod.key.clone());
        }
        if !unknown.is_empty() {
            let interest = Interest { node: self.node.clone(), objects: unknown, seen: state.revision() };
            self.parts.sessions.do_send(interest);
        }
        assignment(state, pod, &needed, trace)
    }

    /// Committed events become assignments.
    fn follow(&mut self, events: Vec<Arc<FeedEvent>>, ctx: &mut Context<Self>) {
        let Some(floor) = self.floor else {
            self.early.extend(events);
            return;
        };
        let state = self.parts.replica.view();
        let (mut put, mut remove) = (BTreeMap::new(), Vec::new());
        let mine = |o: &Object, node: &str| o.pod().is_some_and(|p| p.node.as_deref() == Some(node));
        for event in events.iter().map(|e| &e.event).filter(|e| e.revision > floor) {
            let key = event.key();
            if key.kind != Kind::POD {
                for pod in self.users.get(key).into_iter().flatten() {
                    if let Some(pod) = state.get(pod).filter(|o| mine(o, &self.node)) {
                        put.insert(pod.key.clone(), (pod.clone(), event.trace.clone()));
                    }
                }
                continue;
            }
            let old = event.old.as_ref().filter(|o| mine(o, &self.node));
            let new = event.new.as_ref().filter(|o| mine(o, &self.node));
            if let Some(old) = old
                && new.is_none_or(|n| n.meta.uid != old.meta.uid)
            {
                put.remove(key);
                remove.push(old.meta.uid.to_string());
                for users in self.users.values_mut() {
                    users.remove(key);
                }
            }
            if let Some(new) = new
                && old.is_none_or(|old| is_news(old, new))
            {
                put.insert(key.clone(), (new.clone(), event.trace.clone()));
            }
        }
        self.users.retain(|_, users| !users.is_empty());
        self.hand_out(&state, put.into_values().collect(), remove, ctx);
    }

    /// Objects that pods refer to changed before the session was told of their changes.
    fn look_again(&mut self, objects: &BTreeSet<ObjectKey>, ctx: &mut Context<Self>) {
        let state = self.parts.replica.view();
        let users: BTreeSet<&ObjectKey> =
            objects.iter().filter_map(|key| self.users.get(key)).flatten().collect();
        let put = users.into_iter().filter_map(|pod| state.get(pod)).map(|pod| (pod.clone(), None)).collect();
        self.hand_out(&state, put, Vec::new(), ctx);
    }

    fn hand_out(
        &mut self,
        state: &State,
        put: Vec<(Arc<Object>, Option<Arc<str>>)>,
        remove: Vec<String>,
        ctx: &mut Context<Self>,
    ) {
        if put.is_empty() && remove.is_empty() {
            return;
        }
        let mut remove = Some(remove);
        for chunk in put.chunks(PODS_PER_MESSAGE).chain(put.is_empty().then_some(&[][..])) {
            let put = chunk.iter().map(|(pod, trace)| self.assign(state, pod, trace.as_deref())).collect();
            let remove = remove.take().unwrap_or_default();
            let message = Assignments { complete: false, put, keep: vec![], remove };
            self.send(to_worker::What::Assignments(message), ctx);
        }
    }

    fn report(&mut self, report: StatusReport, ctx: &mut Context<Self>) {
        if report.pods.len() + report.events.len() > REPORT_MAX {
            tracing::warn!(node = %self.node, "a report of more than {REPORT_MAX} items: the session ends");
            self.over(ctx);
            return;
        }
        let serial = report.serial;
        let view = self.parts.replica.view();
        let trace = report.pods.iter().map(|p| p.traceparent.clone()).find(|t| !t.is_empty());
        let (reports, strangers) = read_report(&self.node, report, &view);
        if !strangers.is_empty() {
            let message = Assignments { complete: false, put: vec![], keep: vec![], remove: strangers };
            self.send(to_worker::What::Assignments(message), ctx);
        }
        if reports.is_empty() {
            self.send(to_worker::What::ReportAck(ReportAck { serial }), ctx);
            return;
        }
        let (reply, answer) = oneshot::channel::<Answer>();
        let submit =
            Submit { input: Input::Reports(reports), request: None, term: None, trace, reply: Some(reply) };
        if self.parts.stage.try_send(submit).is_err() {
            // Not acknowledged: the worker sends it again.
            self.over(ctx);
            return;
        }
        ctx.spawn(answer.into_actor(self).map(move |answer, session, ctx| match answer {
            Ok(Ok(_)) => session.send(to_worker::What::ReportAck(ReportAck { serial }), ctx),
            Ok(Err(error)) => {
                tracing::debug!(node = %session.node, %error, "a report was not taken in");
                session.over(ctx);
            }
            Err(_) => session.over(ctx),
        }));
    }

    fn over(&mut self, ctx: &mut Context<Self>) {
        let redirect = (self.parts.redirect)();
        self.send(to_worker::What::Redirect(redirect), ctx);
        ctx.stop();
    }
}

/// A worker's report in the state's words, and the pods of it that exist no more.
fn read_report(node: &CompactString, report: StatusReport, view: &State) -> (Vec<PodReport>, Vec<String>) {
    let mut reports: BTreeMap<String, PodReport> = BTreeMap::new();
    let mut strangers = Vec::new();
    let blank = |uid: &str, namespace: &str, name: &str| PodReport {
        node: node.clone(),
        uid: uid.into(),
        namespace: namespace.into(),
        name: name.into(),
        status: Default::default(),
        gone: false,
        events: Vec::new(),
    };
    for pod in report.pods {
        if view.by_uid(&pod.uid).is_none() {
            strangers.push(pod.uid);
            continue;
        }
        let entry =
            reports.entry(pod.uid.clone()).or_insert_with(|| blank(&pod.uid, &pod.namespace, &pod.name));
        entry.status = pod.status;
        entry.gone |= pod.gone;
    }
    for note in report.events {
        if view.by_uid(&note.pod_uid).is_none() {
            continue;
        }
        let entry = reports
            .entry(note.pod_uid.clone())
            .or_insert_with(|| blank(&note.pod_uid, &note.pod_namespace, &note.pod_name));
        entry.events.push(Note {
            r#type: note.r#type.into(),
            reason: note.reason.into(),
            message: note.message,
            field_path: note.field_path.into(),
            time_ms: note.time_ms,
        });
    }
    (reports.into_values().collect(), strangers)
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(1024);
        self.begin(ctx);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.parts.sessions.do_send(Unregister { node: self.node.clone(), id: self.parts.id });
    }
}

impl StreamHandler<Result<FromWorker, Status>> for Session {
    fn handle(&mut self, message: Result<FromWorker, Status>, ctx: &mut Context<Self>) {
        let what = match message {
            Ok(message) => message.what,
            Err(status) => {
                tracing::info!(node = %self.node, cause = status.message(), "the worker's session broke");
                ctx.stop();
                return;
            }
        };
        self.parts.sessions.do_send(Heard(self.node.clone()));
        match what {
            Some(from_worker::What::Heartbeat(beat)) => {
                self.send(to_worker::What::HeartbeatAck(HeartbeatAck { serial: beat.serial }), ctx);
            }
            Some(from_worker::What::Report(report)) => self.report(report, ctx),
            Some(from_worker::What::Hello(_)) | None => {
                tracing::warn!(node = %self.node, "the worker broke the protocol: a second hello, or nothing");
                ctx.stop();
            }
        }
    }

    fn finished(&mut self, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Handler<Tell> for Session {
    type Result = ();

    fn handle(&mut self, tell: Tell, ctx: &mut Context<Self>) {
        match tell {
            Tell::Events(events) => self.follow(events, ctx),
            Tell::Look(objects) => self.look_again(&objects, ctx),
            Tell::Over => self.over(ctx),
        }
    }
}
