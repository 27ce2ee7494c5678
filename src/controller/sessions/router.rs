//! The sessions of a term: who is connected, which change goes to whom, who is alive.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use compact_str::CompactString;
use kontiki_actors::{
    Input, Kind, ObjectKey,
    input::{Life, Verdict},
    kinds::storage,
};
use kontiki_api::feed::FeedEvent;
use kontiki_hooks::{Mark, reached};
use kontiki_proto::worker::{NodeUsage, OpenStream};
use tokio::sync::{mpsc, oneshot};

use super::{Lag, Liveness, LivenessTimings, Pace, links::services_of, session::Session, sign::SignOfLife};
use crate::controller::{
    crew::Vital,
    replica::Replica,
    stage::{Answer, Consensus, Stage, StageError, Submit},
};

/// How often silence is looked at.
const TICK: Duration = Duration::from_millis(200);

/// Now, by tokio's clock, which a simulation plays.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The actor.
pub(crate) struct Sessions {
    replica: Arc<Replica>,
    stage: Addr<Stage>,
    consensus: Arc<dyn Consensus>,
    timings: LivenessTimings,
    leading: Option<Term>,
    contact: Contact,
    pace: Pace,
    lag: Lag,
    late: Duration,
    _vital: Vital,
}

/// How many workers this controller hears: none while another one leads. For those who watch from outside; looked at with every tick.
#[derive(Clone, Debug, Default)]
pub(crate) struct Contact(Arc<AtomicU64>);

impl Contact {
    /// The number of this moment.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Term {
    term: u64,
    sessions: BTreeMap<CompactString, Registered>,
    interested: BTreeMap<ObjectKey, BTreeSet<CompactString>>,
    liveness: Liveness,
}

struct Registered {
    id: u64,
    address: Addr<Session>,
    heard: SignOfLife,
}

/// This controller leads in this term, or (none) leads no more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Lead(pub Option<u64>);

/// Events got lost on the way here: every worker begins a new session.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Resync;

/// Committed events, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Step(pub Vec<Arc<FeedEvent>>);

/// A session begins; it gets every event after this. Refused when its term is over.
#[derive(Message)]
#[rtype(result = "bool")]
pub(super) struct Register {
    pub node: CompactString,
    pub id: u64,
    pub term: u64,
    pub address: Addr<Session>,
    pub heard: SignOfLife,
}

/// A session ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Unregister {
    pub node: CompactString,
    pub id: u64,
}

/// Has a worker open a stream. Refused when it has no session here.
#[derive(Message)]
#[rtype(result = "bool")]
pub(crate) struct OpenOn {
    pub worker: CompactString,
    pub open: OpenStream,
}

/// A worker's pods refer to this object: it gets its changes.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Interest {
    pub node: CompactString,
    pub objects: BTreeSet<ObjectKey>,
    /// The revision that the worker got them at.
    pub seen: u64,
}

/// Asks workers what they use. Each that has a session and can tell does so by `tell`, which has room for all of them.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AskNodes {
    pub(crate) nodes: Vec<CompactString>,
    pub(crate) pods: bool,
    pub(crate) tell: mpsc::Sender<NodeUsage>,
}

/// What a session is told.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum Tell {
    Events(Vec<Arc<FeedEvent>>),
    /// These changed before the session could be told of it.
    Look(BTreeSet<ObjectKey>),
    /// It is to open a stream.
    Open(Box<OpenStream>),
    /// It is to say what it uses, and what its pods do.
    Usage(bool, mpsc::Sender<NodeUsage>),
    /// Another controller leads, or another session of this worker took over.
    Over,
}

impl Sessions {
    /// No session yet, not leading.
    pub(crate) fn new(
        replica: Arc<Replica>,
        stage: Addr<Stage>,
        consensus: Arc<dyn Consensus>,
        timings: LivenessTimings,
        contact: Contact,
        pace: Pace,
        lag: Lag,
        vital: Vital,
    ) -> Sessions {
        Sessions {
            replica,
            stage,
            consensus,
            timings,
            leading: None,
            contact,
            pace,
            lag,
            late: Duration::ZERO,
            _vital: vital,
        }
    }

    fn count(&self) {
        let count = self.leading.as_ref().map_or(0, |term| term.liveness.in_contact(now()));
        self.contact.0.store(count as u64, Ordering::Relaxed);
    }

    /// Looks who is silent. A leader that a majority does not confirm judges nobody: it may be the one that is cut off, and
    /// what it decided would come true when it no longer is.
    fn tick(&mut self, ctx: &mut Context<Self>) {
        // Before it is looked who was heard: who speaks in between is seen to have spoken later.
        let judged = now();
        if let Some(Term { sessions, liveness, .. }) = &mut self.leading {
            for (node, registered) in sessions {
                liveness.heard(node, registered.heard.last());
            }
        }
        self.count();
        // Who is always as late hears everybody as often as before.
        let late = self.lag.take();
        let later = late.saturating_sub(std::mem::replace(&mut self.late, late));
        let Some(Term { term, liveness, .. }) = &mut self.leading else { return };
        liveness.missed(later, now());
        let verdicts = liveness.verdicts(&self.replica.view(), now());
        self.pace.set(liveness.period());
        if verdicts.is_empty() {
            return;
        }
        let term = *term;
        let confirmed = self.consensus.confirm(term).into_actor(self);
        ctx.spawn(confirmed.map(move |confirmed, sessions, ctx| {
            if confirmed.is_err() || sessions.leading_in(term).is_none() {
                reached(Mark::LeaderNotConfirmed);
                tracing::warn!(
                    count = verdicts.len(),
                    "no majority confirms this leader: it judges no worker"
                );
                return;
            }
            sessions.judge(term, verdicts, judged, ctx);
        }));
    }

    /// The term, if it is not over.
    fn leading_in(&mut self, term: u64) -> Option<&mut Term> {
        self.leading.as_mut().filter(|leading| leading.term == term)
    }

    /// Submits the verdicts of a confirmed leader. To be confirmed takes time, in which a worker may have spoken.
    fn judge(&mut self, term: u64, verdicts: Vec<Verdict>, judged: Instant, ctx: &mut Context<Self>) {
        let Some(Term { sessions, liveness, .. }) = self.leading_in(term) else { return };
        let last = |node: &str| sessions.get(node).map(|registered| registered.heard.last());
        let (verdicts, refuted) = still_true(verdicts, judged, last);
        liveness.take_back(refuted.iter().map(|verdict| &verdict.node));
        if verdicts.is_empty() {
            return;
        }
        for verdict in &verdicts {
            tracing::info!(node = %verdict.node, life = ?verdict.life, reason = verdict.reason, "verdict");
            if verdict.life == Life::Down {
                reached(Mark::NodeLost);
            }
        }
        let nodes: Vec<CompactString> = verdicts.iter().map(|verdict| verdict.node.clone()).collect();
        let (submit, answer) = submission(term, verdicts);
        self.stage.do_send(submit);
        ctx.spawn(answer.into_actor(self).map(move |answer, sessions, _| {
            if let (Ok(Err(StageError::NotLeader)), Some(leading)) = (answer, sessions.leading_in(term)) {
                leading.liveness.take_back(&nodes);
            }
        }));
    }
}

/// The verdicts that hold, and those on workers that were heard after they were judged.
fn still_true(
    verdicts: Vec<Verdict>,
    judged: Instant,
    last: impl Fn(&str) -> Option<Instant>,
) -> (Vec<Verdict>, Vec<Verdict>) {
    let holds = |v: &Verdict| v.life == Life::Ready || last(&v.node).is_none_or(|last| last <= judged);
    verdicts.into_iter().partition(holds)
}

/// Verdicts for the stage. Only the leader of this term may decide them: the next one has heard others.
fn submission(term: u64, verdicts: Vec<Verdict>) -> (Submit, oneshot::Receiver<Answer>) {
    let (reply, answer) = oneshot::channel();
    let input = Input::Verdicts(verdicts);
    (Submit { input, request: None, term: Some(term), trace: None, reply: Some(reply) }, answer)
}

impl Term {
    /// The nodes that an event is news for.
    fn readers(&self, event: &FeedEvent) -> BTreeSet<CompactString> {
        let mut nodes = BTreeSet::new();
        let key = event.event.key();
        if key.kind == Kind::POD {
            for object in [&event.event.old, &event.event.new].into_iter().flatten() {
                nodes.extend(object.pod().and_then(|p| p.node.clone()));
            }
        } else if let Some(readers) = self.interested.get(key) {
            nodes.extend(readers.iter().cloned());
        }
        if key.kind == Kind::SERVICE {
            nodes.extend(self.interested.get(&services_of(&key.namespace)).into_iter().flatten().cloned());
        }
        let volume = event.event.new.as_ref().filter(|_| key.kind == Kind::PERSISTENT_VOLUME);
        nodes.extend(volume.and_then(|volume| storage::to_be_removed_by(volume)).map(CompactString::from));
        nodes
    }
}

impl Actor for Sessions {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(65_536);
        ctx.run_interval(TICK, |sessions, ctx| sessions.tick(ctx));
    }
}

impl Handler<Lead> for Sessions {
    type Result = ();

    fn handle(&mut self, Lead(term): Lead, _: &mut Context<Self>) {
        for registered in self.leading.take().into_iter().flat_map(|t| t.sessions.into_values()) {
            registered.address.do_send(Tell::Over);
        }
        self.leading = term.map(|term| Term {
            term,
            sessions: BTreeMap::new(),
            interested: BTreeMap::new(),
            liveness: Liveness::new(self.timings, now()),
        });
    }
}

impl Handler<Resync> for Sessions {
    type Result = ();

    fn handle(&mut self, _: Resync, _: &mut Context<Self>) {
        let Some(term) = &mut self.leading else { return };
        term.interested.clear();
        for registered in std::mem::take(&mut term.sessions).into_values() {
            registered.address.do_send(Tell::Over);
        }
    }
}

impl Handler<Step> for Sessions {
    type Result = ();

    fn handle(&mut self, Step(events): Step, _: &mut Context<Self>) {
        let Some(term) = &self.leading else { return };
        let mut told: BTreeMap<CompactString, Vec<Arc<FeedEvent>>> = BTreeMap::new();
        for event in events {
            for node in term.readers(&event) {
                told.entry(node).or_default().push(event.clone());
            }
        }
        for (node, events) in told {
            if let Some(session) = term.sessions.get(&node) {
                session.address.do_send(Tell::Events(events));
            }
        }
    }
}

impl Handler<Register> for Sessions {
    type Result = bool;

    fn handle(&mut self, register: Register, _: &mut Context<Self>) -> bool {
        let Some(term) = self.leading.as_mut().filter(|t| t.term == register.term) else { return false };
        term.liveness.heard(&register.node, now());
        let new = Registered { id: register.id, address: register.address, heard: register.heard };
        if let Some(old) = term.sessions.insert(register.node, new) {
            reached(Mark::SessionSuperseded);
            old.address.do_send(Tell::Over);
        }
        true
    }
}

impl Handler<Unregister> for Sessions {
    type Result = ();

    fn handle(&mut self, gone: Unregister, _: &mut Context<Self>) {
        let Some(term) = &mut self.leading else { return };
        if term.sessions.get(&gone.node).is_some_and(|s| s.id == gone.id) {
            term.sessions.remove(&gone.node);
            term.interested.retain(|_, nodes| {
                nodes.remove(&gone.node);
                !nodes.is_empty()
            });
        }
    }
}

impl Handler<OpenOn> for Sessions {
    type Result = bool;

    fn handle(&mut self, OpenOn { worker, open }: OpenOn, _: &mut Context<Self>) -> bool {
        let session = self.leading.as_ref().and_then(|term| term.sessions.get(&worker));
        session.is_some_and(|session| session.address.try_send(Tell::Open(Box::new(open))).is_ok())
    }
}

impl Handler<AskNodes> for Sessions {
    type Result = ();

    fn handle(&mut self, AskNodes { nodes, pods, tell }: AskNodes, _: &mut Context<Self>) {
        let Some(term) = &self.leading else { return };
        for session in nodes.iter().filter_map(|node| term.sessions.get(node)) {
            // One that is too busy to be told answers no more than one that is gone.
            let _ = session.address.try_send(Tell::Usage(pods, tell.clone()));
        }
    }
}

impl Handler<Interest> for Sessions {
    type Result = ();

    fn handle(&mut self, interest: Interest, _: &mut Context<Self>) {
        let Some(term) = &mut self.leading else { return };
        let view = self.replica.view();
        let mut changed = BTreeSet::new();
        for object in interest.objects {
            // Events that passed by here before this interest was known.
            let revision = view.get(&object).map(|found| found.revision);
            if view.revision() > interest.seen && revision.is_none_or(|revision| revision > interest.seen) {
                changed.insert(object.clone());
            }
            term.interested.entry(object).or_default().insert(interest.node.clone());
        }
        if !changed.is_empty()
            && let Some(session) = term.sessions.get(&interest.node)
        {
            session.address.do_send(Tell::Look(changed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(node: &str, life: Life) -> Verdict {
        Verdict { node: node.into(), life, reason: String::new() }
    }

    #[test]
    fn who_has_spoken_since_is_not_silent() {
        let judged = Instant::now();
        let later = judged + Duration::from_millis(1);
        let last = |node: &str| match node {
            "spoke" | "again" => Some(later),
            "silent" => Some(judged),
            _ => None,
        };
        let verdicts = vec![
            verdict("spoke", Life::Down),
            verdict("silent", Life::Suspect),
            verdict("again", Life::Ready),
            verdict("gone", Life::Down),
        ];
        let (hold, refuted) = still_true(verdicts, judged, last);
        let hold: Vec<&str> = hold.iter().map(|v| v.node.as_str()).collect();
        assert_eq!(hold, ["silent", "again", "gone"]);
        assert_eq!(refuted, [verdict("spoke", Life::Down)]);
    }

    #[test]
    fn only_the_leader_that_judged_may_decide_it() {
        let verdicts = vec![verdict("silent", Life::Down)];
        let (submit, mut answer) = submission(7, verdicts.clone());
        assert_eq!(submit.term, Some(7));
        assert_eq!(submit.input, Input::Verdicts(verdicts));
        assert!(submit.reply.is_some_and(|reply| reply.send(Err(StageError::NotLeader)).is_ok()));
        assert_eq!(answer.try_recv(), Ok(Err(StageError::NotLeader)), "a refusal is heard of");
    }
}
