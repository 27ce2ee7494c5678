//! One worker's session. Heartbeats are answered before they come here ([`SignOfLife`]).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, SpawnHandle, StreamHandler,
    WrapFuture,
};
use compact_str::CompactString;
use kontiki_actors::{
    Input, Kind, Object, ObjectKey, State,
    input::{NodeHello, Note, PodReport},
};
use kontiki_api::{
    feed::FeedEvent,
    token::{Issuer, PodToken, for_pod},
};
use kontiki_proto::worker::{
    AskUsage, Assignments, Hello, NodeInfo, NodeUsage, PodAssignment, Redirect, ReportAck, StatusReport,
    TokenAnswer, TokenAsk, VolumeRemoval, Welcome, from_worker, to_worker,
};
use tokio::sync::mpsc;

use super::{
    assignment::{assignment, dependencies, is_news, is_on, removal, users_on},
    complete::Complete,
    insist::insist,
    links::{self, concerned, links, watched},
    opens::Opens,
    outbox::Outbox,
    router::{Interest, Register, Sessions, Tell, Unregister},
    service::node_hello,
    sign::{Said, SignOfLife},
};
use crate::controller::{replica::Replica, stage::Stage};

/// Pods in one message of assignments: what is more follows in the next, so that no message is too large.
const PODS_PER_MESSAGE: usize = 200;
/// Pods and events that one report may carry.
const REPORT_MAX: usize = 4096;
/// Bytes of one pod's status. A worker that is sound may exceed it, where the pod itself is monstrous (statuses quote what it asks for):
/// then only this pod's status is not listened to.
const STATUS_MAX: usize = 1 << 20;
/// Bytes of all statuses of one report. A worker closes its reports at 1 MiB.
const STATUSES_MAX: usize = 4 << 20;
/// Bytes of each name, trace context and the like. The longest that is valid has 253.
const TEXT_MAX: usize = 512;
/// Reports that a worker may send before the first of them is acknowledged. A worker keeps to fewer.
const REPORTS_MAX: usize = 64;

/// Letters of the words in which a token is refused: they may quote what the worker asked for.
const REFUSAL_MAX: usize = 1024;
/// Questions to a worker that are waited for at a time: the leader asks one after the other, but gives up on slow ones.
const ASKED_MAX: usize = 4;

/// What a session needs.
pub(super) struct Parts {
    pub id: u64,
    pub term: u64,
    pub hello: Hello,
    pub node_status: NodeHello,
    pub welcome: Welcome,
    pub heard: SignOfLife,
    pub out: Arc<Outbox>,
    pub replica: Arc<Replica>,
    pub stage: Addr<Stage>,
    pub sessions: Addr<Sessions>,
    pub redirect: Arc<dyn Fn() -> Redirect + Send + Sync>,
    /// Makes tokens for the worker's pods; none where there is no key.
    pub issuer: Option<Arc<Issuer>>,
}

/// The actor.
pub(super) struct Session {
    parts: Parts,
    node: CompactString,
    /// Events up to this revision stand in the complete assignment.
    floor: Option<u64>,
    early: Vec<Arc<FeedEvent>>,
    opens: Opens,
    /// Questions that were asked.
    questions: u64,
    /// Who waits for what the worker uses, by the number of the question.
    asked: BTreeMap<u64, mpsc::Sender<NodeUsage>>,
    /// Which pods refer to an object.
    users: BTreeMap<ObjectKey, BTreeSet<ObjectKey>>,
    /// Reports that wait for the one before them.
    reports: VecDeque<StatusReport>,
    /// A report is on its way to the state.
    reporting: bool,
    /// News of the node are on their way to the state.
    renewing: Option<SpawnHandle>,
}

impl Session {
    pub(super) fn new(parts: Parts) -> Session {
        let node = CompactString::from(parts.hello.node.as_str());
        Session {
            parts,
            node,
            floor: None,
            early: Vec::new(),
            opens: Opens::default(),
            questions: 0,
            asked: BTreeMap::new(),
            users: BTreeMap::new(),
            reports: VecDeque::new(),
            reporting: false,
            renewing: None,
        }
    }

    /// A worker that does not read is cut off: it will resync.
    fn send(&mut self, what: to_worker::What, ctx: &mut Context<Self>) {
        if self.parts.out.send(what).is_err() {
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
            heard: self.parts.heard.clone(),
        };
        let (sessions, stage) = (self.parts.sessions.clone(), self.parts.stage.clone());
        let (term, hello) = (self.parts.term, Input::NodeHello(Box::new(self.parts.node_status.clone())));
        let introduced = async move {
            sessions.send(register).await.unwrap_or(false) && insist(&stage, term, hello, None).await.is_ok()
        };
        ctx.spawn(introduced.into_actor(self).map(|done, session, ctx| {
            if done {
                session.synchronize(ctx);
            } else {
                session.over(ctx);
            }
        }));
    }

    /// The complete assignment: only pods of which there is something that the worker was not told travel.
    fn synchronize(&mut self, ctx: &mut Context<Self>) {
        let state = self.parts.replica.view();
        self.send(to_worker::What::Welcome(self.parts.welcome.clone()), ctx);
        let Complete { mut put, keep: known } =
            Complete::of(&state, &self.node, &std::mem::take(&mut self.parts.hello.pods));
        let volumes = state.list(Kind::PERSISTENT_VOLUME, None);
        let remove_volumes = volumes.filter_map(|volume| removal(volume, &self.node)).collect();
        let mut keep = Vec::new();
        let all = put.iter().chain(known.iter().map(|(pod, _)| pod));
        let links = links(&state, all.map(|pod| pod.key.namespace.as_str()));
        for (pod, needed) in &known {
            self.watch_over(&state, pod, needed);
            keep.push(pod.meta.uid.to_string());
        }
        let mut later = put.split_off(put.len().min(PODS_PER_MESSAGE));
        // What travels later is kept for now, so that the complete message does not stop it.
        keep.extend(later.iter().map(|pod| pod.meta.uid.to_string()));
        let put = put.iter().map(|pod| self.assign(&state, pod, None)).collect();
        self.send(
            to_worker::What::Assignments(Assignments {
                complete: true,
                put,
                keep,
                remove: vec![],
                remove_volumes,
                links,
            }),
            ctx,
        );
        while !later.is_empty() {
            let rest = later.split_off(later.len().min(PODS_PER_MESSAGE));
            let put = later.iter().map(|pod| self.assign(&state, pod, None)).collect();
            let more = Assignments { put, ..Assignments::default() };
            self.send(to_worker::What::Assignments(more), ctx);
            later = rest;
        }
        tracing::info!(node = %self.node, term = self.parts.term, pods = state.pods_on(&self.node).count(), "session");
        self.floor = Some(state.revision());
        let early = std::mem::take(&mut self.early);
        self.follow(early, ctx);
        for open in self.opens.welcomed() {
            self.send(to_worker::What::OpenStream(open), ctx);
        }
    }

    fn assign(&mut self, state: &State, pod: &Object, trace: Option<&str>) -> PodAssignment {
        let needed = dependencies(state, pod);
        self.watch_over(state, pod, &needed);
        assignment(state, pod, &needed, trace)
    }

    /// From here on, changes of what the pod refers to are heard of.
    fn watch_over(&mut self, state: &State, pod: &Object, needed: &BTreeSet<ObjectKey>) {
        let mut unknown = BTreeSet::new();
        for object in needed.iter().chain(&watched(pod)) {
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
    }

    /// Committed events become assignments.
    fn follow(&mut self, events: Vec<Arc<FeedEvent>>, ctx: &mut Context<Self>) {
        let Some(floor) = self.floor else {
            self.early.extend(events);
            return;
        };
        let state = self.parts.replica.view();
        let (mut put, mut remove, mut folders) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let mut linked = BTreeSet::new();
        for event in events.iter().map(|e| &e.event).filter(|e| e.revision > floor) {
            let key = event.key();
            if key.kind == Kind::SERVICE {
                if links::is_news(event.old.as_deref(), event.new.as_deref()) {
                    linked.extend(concerned(key, &self.users));
                }
                continue;
            }
            if key.kind != Kind::POD {
                let new = event.new.as_ref().filter(|_| key.kind == Kind::PERSISTENT_VOLUME);
                if let Some(removal) = new.and_then(|volume| removal(volume, &self.node)) {
                    folders.insert(removal.uid.clone(), removal);
                }
                for pod in self.users.get(key).into_iter().flatten() {
                    if let Some(pod) = state.get(pod).filter(|o| is_on(o, &self.node)) {
                        put.insert(pod.key.clone(), (pod.clone(), event.trace.clone()));
                    }
                }
                continue;
            }
            let old = event.old.as_ref().filter(|o| is_on(o, &self.node));
            let new = event.new.as_ref().filter(|o| is_on(o, &self.node));
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
        let folders = folders.into_values().collect();
        self.hand_out(&state, put.into_values().collect(), remove, folders, linked, ctx);
    }

    /// Objects that pods refer to changed before the session was told of their changes.
    fn look_again(&mut self, objects: &BTreeSet<ObjectKey>, ctx: &mut Context<Self>) {
        let state = self.parts.replica.view();
        let linked = objects.iter().flat_map(|object| concerned(object, &self.users)).collect();
        let objects = objects.iter().filter(|object| object.kind != Kind::SERVICE).cloned().collect();
        let users = users_on(&state, &self.node, &objects, &self.users);
        let put = users.into_iter().map(|pod| (pod, None)).collect();
        self.hand_out(&state, put, Vec::new(), Vec::new(), linked, ctx);
    }

    fn hand_out(
        &mut self,
        state: &State,
        put: Vec<(Arc<Object>, Option<Arc<str>>)>,
        remove: Vec<String>,
        mut folders: Vec<VolumeRemoval>,
        mut linked: BTreeSet<String>,
        ctx: &mut Context<Self>,
    ) {
        if put.is_empty() && remove.is_empty() && folders.is_empty() && linked.is_empty() {
            return;
        }
        let mut remove = Some(remove);
        for chunk in put.chunks(PODS_PER_MESSAGE).chain(put.is_empty().then_some(&[][..])) {
            let mut linked = std::mem::take(&mut linked);
            linked.extend(chunk.iter().map(|(pod, _)| pod.key.namespace.to_string()));
            let links = links(state, linked.iter().map(String::as_str));
            let put = chunk.iter().map(|(pod, trace)| self.assign(state, pod, trace.as_deref())).collect();
            let remove = remove.take().unwrap_or_default();
            let remove_volumes = std::mem::take(&mut folders);
            let message = Assignments { put, remove, remove_volumes, links, ..Assignments::default() };
            self.send(to_worker::What::Assignments(message), ctx);
        }
    }

    fn report(&mut self, mut report: StatusReport, ctx: &mut Context<Self>) {
        for uid in leave_out_monsters(&mut report) {
            tracing::warn!(node = %self.node, uid, "a pod's status of more than {STATUS_MAX} bytes is not taken in");
        }
        if is_monstrous(&report) {
            tracing::warn!(
                node = %self.node,
                "a report with more than {STATUSES_MAX} bytes of statuses, or a name of more than {TEXT_MAX}: the session ends"
            );
            self.over(ctx);
            return;
        }
        if report.pods.len() + report.events.len() > REPORT_MAX || self.reports.len() >= REPORTS_MAX {
            tracing::warn!(
                node = %self.node,
                "a report of more than {REPORT_MAX} items, or more than {REPORTS_MAX} reports at once: the session ends"
            );
            self.over(ctx);
            return;
        }
        self.reports.push_back(report);
        self.take_in(ctx);
    }

    /// One report after another, so that an older word of a pod never comes after a newer one.
    fn take_in(&mut self, ctx: &mut Context<Self>) {
        while !self.reporting
            && let Some(report) = self.reports.pop_front()
        {
            let serial = report.serial;
            let view = self.parts.replica.view();
            let trace = report.pods.iter().map(|p| p.traceparent.clone()).find(|t| !t.is_empty());
            let (reports, strangers) = read_report(&self.node, report, &view);
            if !strangers.is_empty() {
                let message = Assignments { remove: strangers, ..Assignments::default() };
                self.send(to_worker::What::Assignments(message), ctx);
            }
            if reports.is_empty() {
                self.send(to_worker::What::ReportAck(ReportAck { serial }), ctx);
                continue;
            }
            self.reporting = true;
            let (stage, term) = (self.parts.stage.clone(), self.parts.term);
            let taken = async move { insist(&stage, term, Input::Reports(reports), trace).await };
            ctx.spawn(taken.into_actor(self).map(move |answer, session, ctx| {
                session.reporting = false;
                match answer {
                    Ok(_) => {
                        session.send(to_worker::What::ReportAck(ReportAck { serial }), ctx);
                        session.take_in(ctx);
                    }
                    Err(error) => {
                        // Not acknowledged: the worker sends it again.
                        tracing::debug!(node = %session.node, %error, "a report was not taken in");
                        session.over(ctx);
                    }
                }
            }));
        }
    }

    /// The node has changed. If that is not taken in, the next leader is greeted with it.
    fn renew(&mut self, info: NodeInfo, ctx: &mut Context<Self>) {
        self.parts.hello.info = Some(info);
        // One that was deleted comes back with a new session only.
        let key = ObjectKey::new(Kind::NODE, "", &self.node);
        if self.parts.replica.view().get(&key).is_none() {
            return;
        }
        let (stage, term) = (self.parts.stage.clone(), self.parts.term);
        let input = Input::NodeHello(Box::new(node_hello(&self.parts.hello)));
        // The newest counts: what is still tried of an older one ends.
        if let Some(older) = self.renewing.take() {
            ctx.cancel_future(older);
        }
        let taken = async move { insist(&stage, term, input, None).await };
        self.renewing = Some(ctx.spawn(taken.into_actor(self).map(|answer, session, ctx| {
            session.renewing = None;
            if answer.is_err() {
                session.over(ctx);
            }
        })));
    }

    /// Asks what the worker uses, if it tells that, and is in a state to.
    fn ask_usage(&mut self, pods: bool, tell: mpsc::Sender<NodeUsage>, ctx: &mut Context<Self>) {
        if !self.parts.hello.tells_usage || self.floor.is_none() {
            return;
        }
        while self.asked.len() >= ASKED_MAX {
            self.asked.pop_first();
        }
        self.questions += 1;
        let serial = self.questions;
        self.asked.insert(serial, tell);
        self.send(to_worker::What::AskUsage(AskUsage { serial, pods }), ctx);
    }

    /// What the worker uses. It answers the newest question only: who waits for an older one is not told.
    fn usage(&mut self, usage: NodeUsage) {
        let newer = self.asked.split_off(&usage.serial.saturating_add(1));
        let asked = std::mem::replace(&mut self.asked, newer).remove(&usage.serial);
        if let Some(tell) = asked.filter(|_| usage.node == self.node) {
            // Nobody waits any more.
            let _ = tell.try_send(usage);
        }
    }

    /// A token for one of the worker's pods, or why there is none. Nobody needs to confirm it: it holds for as long as its pod is there, and
    /// whoever believes it looks for that.
    fn give_token(&mut self, ask: &TokenAsk, ctx: &mut Context<Self>) {
        let TokenAsk { serial, pod_uid, audience, lifetime_s } = ask;
        let now_ms = jiff::Timestamp::now().as_millisecond();
        let made = match &self.parts.issuer {
            None => Err("this cluster has no key for tokens".to_owned()),
            Some(issuer) => {
                let id = uuid::Uuid::new_v4().to_string();
                let token =
                    PodToken { node: &self.node, pod: pod_uid, audience, lifetime_s: *lifetime_s, id: &id };
                for_pod(issuer, &self.parts.replica.view(), token, now_ms)
                    .map_err(|why| why.chars().take(REFUSAL_MAX).collect())
            }
        };
        let answer = match made {
            Ok(token) => {
                TokenAnswer { serial: *serial, token, lifetime_s: *lifetime_s, refusal: String::new() }
            }
            Err(refusal) => {
                tracing::info!(node = %self.node, pod = pod_uid, refusal, "a token was refused to a worker");
                TokenAnswer { serial: *serial, refusal, ..TokenAnswer::default() }
            }
        };
        self.send(to_worker::What::Token(answer), ctx);
    }

    fn over(&mut self, ctx: &mut Context<Self>) {
        let redirect = (self.parts.redirect)();
        self.send(to_worker::What::Redirect(redirect), ctx);
        ctx.stop();
    }
}

/// Takes out statuses that are too large. Tells whose.
fn leave_out_monsters(report: &mut StatusReport) -> Vec<String> {
    let monsters = report.pods.iter_mut().filter(|pod| pod.status.len() > STATUS_MAX);
    monsters
        .map(|pod| {
            pod.status.clear();
            pod.uid.clone()
        })
        .collect()
}

/// Whether a report holds more than a sound worker says: the log would not take it, nor what is decided together with it.
fn is_monstrous(report: &StatusReport) -> bool {
    let StatusReport { serial: _, pods, events } = report;
    let statuses: usize = pods.iter().map(|pod| pod.status.len()).sum();
    let of_pods = pods.iter().flat_map(|pod| [&pod.uid, &pod.namespace, &pod.name, &pod.traceparent]);
    // Messages are cut before they are logged.
    let of_events = events.iter().flat_map(|note| {
        [&note.pod_uid, &note.pod_namespace, &note.pod_name, &note.field_path, &note.r#type, &note.reason]
    });
    statuses > STATUSES_MAX || of_pods.chain(of_events).any(|text| text.len() > TEXT_MAX)
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

impl StreamHandler<Box<Said>> for Session {
    fn handle(&mut self, message: Box<Said>, ctx: &mut Context<Self>) {
        let what = match *message {
            Ok(message) => message.what,
            Err(status) => {
                tracing::info!(node = %self.node, cause = status.message(), "the worker's session broke");
                ctx.stop();
                return;
            }
        };
        match what {
            Some(from_worker::What::Report(report)) => self.report(report, ctx),
            Some(from_worker::What::Node(info)) => self.renew(info, ctx),
            Some(from_worker::What::Usage(usage)) => self.usage(usage),
            Some(from_worker::What::TokenAsk(ask)) => self.give_token(&ask, ctx),
            Some(from_worker::What::Hello(_) | from_worker::What::Heartbeat(_)) | None => {
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
            Tell::Open(open) => {
                if let Some(open) = self.opens.ask(*open) {
                    self.send(to_worker::What::OpenStream(open), ctx);
                }
            }
            Tell::Usage(pods, tell) => self.ask_usage(pods, tell, ctx),
            Tell::Over => self.over(ctx),
        }
    }
}

#[cfg(test)]
mod tests {
    use kontiki_proto::worker::{EventNote, PodReport};

    use super::*;

    fn pod(status: usize) -> PodReport {
        PodReport { uid: format!("u{status}"), status: vec![b' '; status].into(), ..PodReport::default() }
    }

    fn of(pods: Vec<PodReport>) -> StatusReport {
        StatusReport { pods, ..StatusReport::default() }
    }

    #[test]
    fn a_monstrous_status_costs_only_its_pod() {
        let mut report = of(vec![pod(10), PodReport { gone: true, ..pod(STATUS_MAX + 1) }, pod(STATUS_MAX)]);
        assert_eq!(leave_out_monsters(&mut report), [format!("u{}", STATUS_MAX + 1)]);
        let sizes: Vec<usize> = report.pods.iter().map(|pod| pod.status.len()).collect();
        assert_eq!(sizes, [10, 0, STATUS_MAX]);
        assert!(report.pods[1].gone, "the rest of what is said of it is heard");
        assert!(!is_monstrous(&report));
    }

    #[test]
    fn what_no_sound_worker_says_is_noticed() {
        assert!(!is_monstrous(&of(vec![pod(STATUS_MAX); 4])));
        assert!(is_monstrous(&of(vec![
            pod(STATUS_MAX),
            pod(1),
            pod(STATUS_MAX),
            pod(STATUS_MAX),
            pod(STATUS_MAX)
        ])));
        let text = || "x".repeat(TEXT_MAX + 1);
        for broken in [
            PodReport { uid: text(), ..pod(1) },
            PodReport { namespace: text(), ..pod(1) },
            PodReport { name: text(), ..pod(1) },
            PodReport { traceparent: text(), ..pod(1) },
        ] {
            assert!(is_monstrous(&of(vec![pod(1), broken])));
        }
        let note = EventNote::default;
        for broken in [
            EventNote { pod_name: text(), ..note() },
            EventNote { reason: text(), ..note() },
            EventNote { field_path: text(), ..note() },
        ] {
            let events = vec![broken];
            assert!(is_monstrous(&StatusReport { events, ..StatusReport::default() }));
        }
        let events = vec![EventNote { message: text(), ..note() }];
        assert!(!is_monstrous(&StatusReport { events, ..StatusReport::default() }), "a sentence may be long");
    }
}
