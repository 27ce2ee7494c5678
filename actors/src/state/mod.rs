//! The replicated state: objects by key, and the indexes that actors and the scheduler read. Persistent maps, so a clone
//! is a consistent view at its revision and costs nothing. Changed by [`State::apply`] only; the leader's stage and every
//! controller's fold call the same function, which is total: no clock, no failure.

mod definitions;
mod families;
mod foreseen;
mod grants;
mod index;
mod list;
mod services;
mod terms;

use std::{net::IpAddr, sync::Arc};

pub use foreseen::Foreseen;
pub use grants::Grant;
use imbl::{OrdMap, OrdSet, Vector};
pub use index::{NodeUsage, Share};
use kontiki_hooks::{Defect, planted};
pub use list::List;
pub use terms::{Pull, StandingTerm};

use crate::{
    change::{Change, Event},
    entry::Entry,
    input::{Outcome, RequestId},
    kind::Kind,
    level,
    object::{Document, Object, ObjectKey},
};

/// How many answered requests are remembered, so that a retry is answered and not done again. Retries of a write end after
/// some seconds: this is what a busy leader answers in that time.
pub const ANSWERED_LIMIT: usize = 32_768;

/// The whole cluster at one revision.
#[derive(Clone, Default)]
pub struct State {
    revision: u64,
    chain: [u8; 32],
    /// 0 while it was never raised.
    level: u32,
    objects: OrdMap<ObjectKey, Arc<Object>>,
    by_uid: OrdMap<index::UidHash, ObjectKey>,
    dependents: OrdMap<Id, OrdSet<ObjectKey>>,
    active_pods: OrdMap<Id, usize>,
    usage: OrdMap<compact_str::CompactString, NodeUsage>,
    labelled: OrdMap<Arc<index::Label>, OrdSet<ObjectKey>>,
    standing: OrdMap<Arc<StandingTerm>, terms::OnNodes>,
    unplaced: OrdSet<ObjectKey>,
    wanting: OrdSet<ObjectKey>,
    nominated: OrdSet<ObjectKey>,
    /// Pods that ended and are not leaving, by when they were made.
    ended: OrdSet<(i64, ObjectKey)>,
    priorities: OrdMap<i32, i64>,
    grants: grants::Grants,
    addresses: OrdMap<IpAddr, ObjectKey>,
    node_ports: OrdMap<u16, ObjectKey>,
    wakes: OrdMap<ObjectKey, i64>,
    due: OrdSet<(i64, ObjectKey)>,
    answered: OrdMap<Id, Arc<Outcome>>,
    answered_order: Vector<Id>,
    families: families::Families,
}

/// A uid or a request's id as a key. A map that is changed while a view shares it copies the nodes on the way to the change,
/// 16 keys each: ids are too long to lie in their keys, and each would be allocated anew.
type Id = Arc<str>;

/// What folding an entry did.
#[derive(Default, Debug)]
pub struct Folded {
    /// For watchers, in order of revision.
    pub events: Vec<Event>,
    /// Wake-ups that were set or cleared.
    pub wakes: Vec<(ObjectKey, Option<i64>)>,
    /// Requests that were answered.
    pub answered: Vec<(RequestId, Outcome)>,
    /// Requests whose answers are forgotten.
    pub forgotten: Vec<RequestId>,
    /// The level that the cluster was raised to.
    pub level: Option<u32>,
}

impl State {
    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The hash chain over all folded entries: equal on all controllers at the same entry.
    pub fn chain(&self) -> [u8; 32] {
        self.chain
    }

    /// The level of the cluster: what may be decided (see [`crate::level`]).
    pub fn level(&self) -> u32 {
        self.level.max(level::FIRST)
    }

    /// One object.
    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// One object by its uid.
    pub fn by_uid(&self, uid: &str) -> Option<&Arc<Object>> {
        self.key_of(uid).and_then(|key| self.objects.get(key))
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// The objects that are an owner's: those that name its uid, and are in its namespace if it is in one. Who may write in one namespace
    /// could else push what he likes under owners in all others. Of an owner that is gone, nobody knows where it was: all that name it.
    pub fn dependents(&self, owner: &str) -> impl Iterator<Item = &Arc<Object>> {
        let home = self.key_of(owner).map(|key| &key.namespace).filter(|home| !home.is_empty());
        let keys = self.dependents.get(owner).into_iter().flatten();
        let own = keys.filter(move |key| home.is_none_or(|home| *home == key.namespace));
        own.filter_map(|key| self.objects.get(key))
    }

    /// How many objects name this uid as an owner, wherever they are: a measure of the work, which decides about no object.
    pub fn dependents_count(&self, owner: &str) -> usize {
        self.dependents.get(owner).map_or(0, OrdSet::len)
    }

    /// How many pods that count (not ended, not leaving) name this uid as their managing owner, wherever they are: a measure of the work, too.
    pub fn active_pods(&self, owner: &str) -> usize {
        self.active_pods.get(owner).copied().unwrap_or(0)
    }

    /// What a node carries.
    pub fn usage(&self, node: &str) -> Option<&NodeUsage> {
        self.usage.get(node)
    }

    /// The pods placed on a node.
    pub fn pods_on(&self, node: &str) -> impl Iterator<Item = &Arc<Object>> {
        self.usage
            .get(node)
            .into_iter()
            .flat_map(|usage| usage.pods())
            .filter_map(|key| self.objects.get(key))
    }

    /// Pods that wait for a place.
    pub fn unplaced(&self) -> impl Iterator<Item = &ObjectKey> {
        self.unplaced.iter()
    }

    /// Those of them that want other pods near: one that gets a place may be what they wait for.
    pub fn wanting(&self) -> impl Iterator<Item = &ObjectKey> {
        self.wanting.iter()
    }

    /// Those of them for which room is being made on a node.
    pub fn nominated(&self) -> impl Iterator<Item = &ObjectKey> {
        self.nominated.iter()
    }

    /// Pods that ended and are not leaving, the oldest first.
    pub fn ended(&self) -> impl Iterator<Item = &ObjectKey> {
        self.ended.iter().map(|(_, key)| key)
    }

    /// How many there are.
    pub fn ended_count(&self) -> usize {
        self.ended.len()
    }

    /// Whether this pod waits for a place.
    pub fn is_unplaced(&self, key: &ObjectKey) -> bool {
        self.unplaced.contains(key)
    }

    /// The time of the next wake-up.
    pub fn next_wake_ms(&self) -> Option<i64> {
        self.due.get_min().map(|(at, _)| *at)
    }

    /// Objects whose wake-up is due, at most `limit`, the oldest first.
    pub fn due(&self, now_ms: i64, limit: usize) -> Vec<ObjectKey> {
        self.due.iter().take_while(|(at, _)| *at <= now_ms).take(limit).map(|(_, key)| key.clone()).collect()
    }

    /// When an object's actor is to be woken.
    pub fn wake_of(&self, key: &ObjectKey) -> Option<i64> {
        self.wakes.get(key).copied()
    }

    /// The answer that a request got already.
    pub fn answered(&self, request: &str) -> Option<&Outcome> {
        self.answered.get(request).map(|outcome| &**outcome).filter(|_| !planted(Defect::RetryDoneAgain))
    }

    /// Makes one change. Returns what watchers see of it.
    pub fn apply(&mut self, change: &Change) -> Option<Event> {
        match change {
            Change::Put { key, metadata, spec, status, rest } => {
                self.revision += 1;
                let old = self.objects.get(key).cloned();
                let before = old.as_ref().map(|o| o.document.whole()).unwrap_or_default();
                let mut document = before.clone();
                let Document { metadata: m, spec: sp, status: st, rest: r } = &mut document;
                for (segment, new) in [(m, metadata), (sp, spec), (st, status), (r, rest)] {
                    if let Some(new) = new {
                        *segment = new.clone();
                    }
                }
                let mut object = match &old {
                    Some(old) => Object::after_document(old, &before, self.revision, document),
                    None => Object::new(key.clone(), self.revision, document),
                };
                self.families.hold(&mut object);
                let object = Arc::new(object);
                self.replace(old.as_deref(), Some(&object));
                self.objects.insert(object.key.clone(), object.clone());
                Some(Event { revision: self.revision, old, new: Some(object), trace: None })
            }
            Change::Delete { key } => {
                let old = self.objects.remove(key)?;
                self.revision += 1;
                self.replace(Some(&old), None);
                self.set_wake(key, None);
                Some(Event { revision: self.revision, old: Some(old), new: None, trace: None })
            }
            Change::Wake { key, at_ms } => {
                self.set_wake(key, *at_ms);
                None
            }
            Change::Level(level) => {
                self.level = self.level.max(*level);
                None
            }
        }
    }

    /// The hash chain after an entry of these bytes.
    pub fn next_chain(&self, bytes: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.chain);
        hasher.update(bytes);
        *hasher.finalize().as_bytes()
    }

    /// Puts an entry, whose changes are made already, into the hash chain.
    pub fn advance(&mut self, bytes: &[u8]) {
        self.chain = self.next_chain(bytes);
    }

    /// Folds a committed entry: its changes, its answers, the hash chain over its bytes.
    pub fn fold(&mut self, entry: &Entry, bytes: &[u8]) -> Folded {
        self.fold_to(entry, self.next_chain(bytes))
    }

    /// The same, where the hash chain after it is known.
    pub fn fold_to(&mut self, entry: &Entry, chain: [u8; 32]) -> Folded {
        self.chain = chain;
        let mut folded = Folded::default();
        for turned in &entry.turns {
            let trace: Option<Arc<str>> = turned.trace.as_deref().map(Arc::from);
            for change in &turned.changes {
                match change {
                    Change::Wake { key, at_ms } => folded.wakes.push((key.clone(), *at_ms)),
                    Change::Delete { key } if self.wakes.contains_key(key) => {
                        folded.wakes.push((key.clone(), None));
                    }
                    _ => {}
                }
                let event = self.apply(change);
                if matches!(change, Change::Level(_)) {
                    folded.level = Some(self.level());
                }
                folded.events.extend(event.map(|event| Event { trace: trace.clone(), ..event }));
            }
            if let Some(request) = &turned.request {
                folded.forgotten.extend(self.remember(request, &turned.outcome));
                folded.answered.push((request.clone(), turned.outcome.abridged()));
            }
        }
        folded
    }

    /// Remembers a request's answer; returns the request that is forgotten for it.
    pub fn remember(&mut self, request: &RequestId, outcome: &Outcome) -> Option<RequestId> {
        let id = Id::from(request.as_str());
        if self.answered.insert(id.clone(), Arc::new(outcome.abridged())).is_none() {
            self.answered_order.push_back(id);
        }
        if self.answered_order.len() <= ANSWERED_LIMIT {
            return None;
        }
        let forgotten = self.answered_order.pop_front()?;
        self.answered.remove(&forgotten);
        Some(RequestId::from(&*forgotten))
    }

    /// Puts a stored object back, at open. Revisions and the chain are set by [`State::restore_position`].
    pub fn restore(&mut self, mut object: Object) {
        self.families.hold(&mut object);
        let object = Arc::new(object);
        self.replace(None, Some(&object));
        self.objects.insert(object.key.clone(), object);
    }

    /// Puts a stored wake-up back, at open.
    pub fn restore_wake(&mut self, key: &ObjectKey, at_ms: i64) {
        self.set_wake(key, Some(at_ms));
    }

    /// Sets revision and chain, at open.
    pub fn restore_position(&mut self, revision: u64, chain: [u8; 32]) {
        self.revision = revision;
        self.chain = chain;
    }

    /// Sets the level, at open.
    pub fn restore_level(&mut self, level: u32) {
        self.level = level;
    }

    fn set_wake(&mut self, key: &ObjectKey, at_ms: Option<i64>) {
        let old = self.wake_of(key);
        if old == at_ms {
            return;
        }
        // The one that the object has, rather than another that says the same.
        let key = self.objects.get(key).map_or(key, |object| &object.key).clone();
        if let Some(old) = old {
            self.due.remove(&(old, key.clone()));
        }
        match at_ms {
            Some(at) => {
                self.wakes.insert(key.clone(), at);
                self.due.insert((at, key));
            }
            None => drop(self.wakes.remove(&key)),
        }
    }

    fn replace(&mut self, old: Option<&Object>, new: Option<&Object>) {
        let kind: Kind = match old.or(new) {
            Some(object) => object.key.kind,
            None => return,
        };
        self.replace_references(old, new);
        if matches!(kind, Kind::ROLE_BINDING | Kind::CLUSTER_ROLE_BINDING) {
            self.replace_binding(old, new);
        }
        if kind == Kind::SERVICE {
            self.replace_service(old, new);
        }
        if kind == Kind::POD {
            self.replace_pod(old, new);
            self.replace_terms(old, new);
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State(revision {}, {} objects)", self.revision, self.objects.len())
    }
}
