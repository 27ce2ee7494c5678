//! The sessions of a term: who is connected, which change goes to whom, who is alive.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message};
use compact_str::CompactString;
use kontiki_actors::{Input, Kind, ObjectKey};
use kontiki_api::feed::FeedEvent;

use super::{Liveness, LivenessTimings, session::Session};
use crate::controller::{
    replica::Replica,
    stage::{Stage, Submit},
};

/// How often silence is looked at.
const TICK: Duration = Duration::from_millis(200);

/// The actor.
pub struct Sessions {
    replica: Arc<Replica>,
    stage: Addr<Stage>,
    timings: LivenessTimings,
    leading: Option<Term>,
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
}

/// This controller leads in this term, or (none) leads no more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Lead(pub Option<u64>);

/// Committed events, in order.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Step(pub Vec<Arc<FeedEvent>>);

/// A session begins; it gets every event after this. Refused when its term is over.
#[derive(Message)]
#[rtype(result = "bool")]
pub(super) struct Register {
    pub node: CompactString,
    pub id: u64,
    pub term: u64,
    pub address: Addr<Session>,
}

/// A session ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Unregister {
    pub node: CompactString,
    pub id: u64,
}

/// A worker was heard.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Heard(pub CompactString);

/// A worker's pods refer to this object: it gets its changes.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Interest {
    pub node: CompactString,
    pub objects: BTreeSet<ObjectKey>,
}

/// What a session is told.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum Tell {
    Events(Vec<Arc<FeedEvent>>),
    /// Another controller leads, or another session of this worker took over.
    Over,
}

impl Sessions {
    /// No session yet, not leading.
    pub fn new(replica: Arc<Replica>, stage: Addr<Stage>, timings: LivenessTimings) -> Sessions {
        Sessions { replica, stage, timings, leading: None }
    }

    fn tick(&mut self) {
        let Some(term) = &mut self.leading else { return };
        let verdicts = term.liveness.verdicts(&self.replica.view(), Instant::now());
        if !verdicts.is_empty() {
            for verdict in &verdicts {
                tracing::info!(node = %verdict.node, life = ?verdict.life, reason = verdict.reason, "verdict");
            }
            self.stage.do_send(Submit { input: Input::Verdicts(verdicts), request: None, trace: None, reply: None });
        }
    }
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
        nodes
    }
}

impl Actor for Sessions {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(65_536);
        ctx.run_interval(TICK, |sessions, _| sessions.tick());
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
            liveness: Liveness::new(self.timings, Instant::now()),
        });
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
        term.liveness.heard(&register.node, Instant::now());
        let new = Registered { id: register.id, address: register.address };
        if let Some(old) = term.sessions.insert(register.node, new) {
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

impl Handler<Heard> for Sessions {
    type Result = ();

    fn handle(&mut self, Heard(node): Heard, _: &mut Context<Self>) {
        if let Some(term) = &mut self.leading {
            term.liveness.heard(&node, Instant::now());
        }
    }
}

impl Handler<Interest> for Sessions {
    type Result = ();

    fn handle(&mut self, interest: Interest, _: &mut Context<Self>) {
        if let Some(term) = &mut self.leading {
            for object in interest.objects {
                term.interested.entry(object).or_default().insert(interest.node.clone());
            }
        }
    }
}
