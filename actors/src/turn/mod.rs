//! The turn: one input and the whole cascade that it starts, run until no actor has anything left to do. Atomic: its
//! changes become one part of an entry, or nothing of it happens. Bounded: what does not fit goes on in a next turn,
//! by wake-ups that are part of the state.
//!
//! ```text
//!   input -> api / reports / verdicts ... -> put, delete --notify--> queue of keys -> actor's reconcile -> put, delete ...
//!                                                       \-> pods without a place: left to the scheduling queue, and
//!   input: pods to be placed -> plan -> put ...              placed by a turn of their own in the same entry
//! ```

mod api;
mod collect;
mod context;
mod delete;
mod event;
mod place;
mod report;
mod unseen;

use std::{collections::BTreeSet, sync::Arc};

pub(crate) use api::answer;
pub use context::Context;
use kontiki_hooks::{Defect, planted};
use serde_json::Value;

use crate::{
    candidates,
    change::{Change, Event},
    flow,
    input::{Input, Outcome, Part, Request},
    kind::Kind,
    kinds::{
        cluster_role, daemon_set, definition, disruption_budget, endpoints, flow_schema, job, namespace,
        service_cidr, storage,
    },
    level::LEVEL,
    object::{Document, Object, ObjectKey, OwnerRef, PodDigest},
    quota::{self, Counted, Usage},
    scheduling::{PLAN_LIMIT, ToPlace},
    state::State,
};

/// Changes after which a turn leaves the rest to a next one.
pub const CHANGES_LIMIT: usize = 2000;
/// Bytes of documents after which a turn leaves the rest to a next one.
pub const BYTES_LIMIT: usize = 4 << 20;
/// Actors that may react in one turn: an upper bound against a cascade that does not end.
const REACTIONS_LIMIT: usize = 20_000;

/// What a turn decided.
#[derive(Debug)]
pub struct Decision {
    /// Its changes, in order.
    pub changes: Vec<Change>,
    /// What watchers see of them.
    pub events: Vec<Event>,
    /// Its answer, with the document.
    pub outcome: Outcome,
    /// The state with the changes made: what the next turn starts from.
    pub state: State,
    /// Pods that are to be placed now, by a turn of their own.
    pub to_place: ToPlace,
}

/// Decides one input on a state. Pure: the same arguments give the same decision.
pub fn decide(state: &State, input: &Input, context: Context) -> Decision {
    let mut turn = Turn::new(state.clone(), context);
    let outcome = turn.take(input);
    let nothing = |outcome| Decision {
        changes: Vec::new(),
        events: Vec::new(),
        outcome,
        state: state.clone(),
        to_place: ToPlace::default(),
    };
    if let Outcome::Rejected(_) = outcome {
        return nothing(outcome);
    }
    turn.run();
    turn.write_quotas();
    let outcome = if writes_status(input) { outcome } else { turn.refresh(outcome) };
    if let Input::Api(request) = input
        && request.dry_run()
        && !planted(Defect::DryRunDone)
    {
        return nothing(outcome);
    }
    let (needs, at) = (turn.changes.iter().map(Change::level).max(), turn.state.level());
    // The last lock: what other controllers cannot read would stop them.
    assert!(needs <= Some(at), "the turn needs level {needs:?}, and the cluster is at level {at}");
    let to_place = turn.left_to_place();
    Decision { changes: turn.changes, events: turn.events, outcome, state: turn.state, to_place }
}

/// Whether a client writes a status: it is answered with what it wrote, at the revision of that, although the object's own actor may have
/// said otherwise since, in the same turn. In Kubernetes the actor comes later, and clients rely on finding in the answer what they wrote.
fn writes_status(input: &Input) -> bool {
    let Input::Api(request) = input else { return false };
    let mut request = request;
    while let Request::By { request: inner, .. } = request {
        request = inner;
    }
    matches!(request, Request::Update { part: Part::Status, .. })
}

/// A turn in progress: what actors act on.
pub struct Turn {
    state: State,
    context: Context,
    changes: Vec<Change>,
    events: Vec<Event>,
    bytes: usize,
    queue: BTreeSet<ObjectKey>,
    /// What garbage collection has to look at: an owner is gone, or a dependent that was waited for.
    to_collect: BTreeSet<ObjectKey>,
    /// Pods to be placed, in this turn if that is what it is for, else in one after it.
    unplaced: BTreeSet<ObjectKey>,
    /// How many pods this turn may still try to place; it tries none unless it is for that.
    placements_left: usize,
    woken: BTreeSet<ObjectKey>,
    capacity_changed: bool,
    newly_placed: Vec<ObjectKey>,
    reactions: usize,
    /// What is used of the quotas that it touched.
    quotas: Counted,
}

impl Turn {
    fn new(state: State, context: Context) -> Turn {
        Turn {
            state,
            context,
            changes: Vec::new(),
            events: Vec::new(),
            bytes: 0,
            queue: BTreeSet::new(),
            to_collect: BTreeSet::new(),
            unplaced: BTreeSet::new(),
            placements_left: 0,
            woken: BTreeSet::new(),
            capacity_changed: false,
            newly_placed: Vec::new(),
            reactions: 0,
            quotas: Counted::new(),
        }
    }

    /// The state as it stands in this turn.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The turn's time, Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        if planted(Defect::ClockInTurn) {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            return now.map_or(0, |now| now.as_millis() as i64);
        }
        self.context.now_ms
    }

    /// The turn's time as Kubernetes writes it.
    pub fn now(&self) -> String {
        crate::object::rfc3339(self.context.now_ms)
    }

    /// Ids and names.
    pub fn context(&mut self) -> &mut Context {
        &mut self.context
    }

    /// Whether the turn is full: an actor with much to do stops and asks to be woken at once.
    pub fn full(&self) -> bool {
        self.changes.len() >= CHANGES_LIMIT || self.bytes >= BYTES_LIMIT
    }

    /// Lets an object's actor react in this turn.
    pub fn notify(&mut self, key: &ObjectKey) {
        if key.kind.info().reconcile.is_some() {
            self.queue.insert(key.clone());
        }
    }

    /// Sets or clears the time of an actor's next wake-up. One that garbage collection may wait for stays if it is earlier: an object
    /// has one for both.
    pub fn wake(&mut self, key: &ObjectKey, at_ms: Option<i64>) {
        let kept = self.state.wake_of(key).filter(|_| self.waits_for_collection(key));
        self.set_wake(key, kept.into_iter().chain(at_ms).min());
    }

    fn set_wake(&mut self, key: &ObjectKey, at_ms: Option<i64>) {
        if self.state.wake_of(key) != at_ms {
            self.change(Change::Wake { key: key.clone(), at_ms });
        }
    }

    /// Whether an actor's wake-up came in this turn.
    pub fn woken(&self, key: &ObjectKey) -> bool {
        self.woken.contains(key)
    }

    /// Wakes an actor no later than that: an earlier wake-up stays.
    pub fn wake_by(&mut self, key: &ObjectKey, at_ms: i64) {
        if self.state.wake_of(key).is_none_or(|at| at > at_ms) {
            self.wake(key, Some(at_ms));
        }
    }

    /// Puts an object: nothing happens when it stays the same. Its actor, its managing owner and whoever depends on it
    /// get to react. Returns the object as it stands now.
    pub fn put(&mut self, key: &ObjectKey, document: Document) -> Arc<Object> {
        let old = self.state.get(key).cloned();
        let before = old.as_ref().map(|o| o.document.whole());
        if let Some(change) = Change::between(key.clone(), before.as_ref(), &document) {
            self.change(change);
        }
        let new = self.state.get(key).expect("just put").clone();
        if old.as_ref().map(|o| o.revision) != Some(new.revision) {
            self.changed(old.as_deref(), Some(&new));
        }
        new
    }

    /// Writes an object's status, if it differs.
    pub fn put_status(&mut self, object: &Object, status: Value) -> Arc<Object> {
        let current =
            self.state.get(&object.key).map_or(&object.document, |o| &o.document).with_status(status);
        self.put(&object.key, current)
    }

    /// Changes an object's metadata by a function on its JSON.
    pub fn edit_metadata(&mut self, key: &ObjectKey, edit: impl FnOnce(&mut serde_json::Map<String, Value>)) {
        let Some(object) = self.state.get(key).cloned() else { return };
        let mut metadata = object.document.metadata_value();
        if let Some(map) = metadata.as_object_mut() {
            edit(map);
        }
        self.put(key, object.document.with_metadata(metadata));
    }

    /// Changes an object's spec by a function on its JSON and counts its generation up when it differs.
    pub fn edit_spec(&mut self, key: &ObjectKey, edit: impl FnOnce(&mut Value)) {
        let Some(object) = self.state.get(key).cloned() else { return };
        let before = object.document.whole();
        let mut spec = before.spec_value();
        edit(&mut spec);
        let mut document = before.with_spec(spec);
        if document.spec != before.spec && object.meta.generation > 0 {
            let mut metadata = document.metadata_value();
            metadata["generation"] = (object.meta.generation + 1).into();
            document = document.with_metadata(metadata);
        }
        self.put(key, document);
    }

    /// Creates an object that an actor owns: completes uid, creationTimestamp and generation. The value carries
    /// metadata with a name, spec and so on. None when the name is taken, or the cluster's level does not allow the kind yet.
    pub fn create(&mut self, kind: Kind, mut value: Value) -> Option<Arc<Object>> {
        let name = value["metadata"]["name"].as_str().unwrap_or_default().to_string();
        let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default().to_string();
        let key = ObjectKey::new(kind, &namespace, &name);
        if self.state.get(&key).is_some() || !self.knows(kind) {
            return None;
        }
        api::complete_metadata(self, kind, &mut value["metadata"]);
        Some(self.put_new(&key, value))
    }

    /// Puts a new object whose metadata is complete.
    pub(crate) fn put_new(&mut self, key: &ObjectKey, value: Value) -> Arc<Object> {
        let names_node = key.kind == Kind::POD && value["spec"]["nodeName"].is_string();
        let mut document = Document::from_value(value);
        if key.kind == Kind::JOB {
            document = job::select_own_pods(document);
        }
        match names_node {
            true => self.put_on_its_node(key, document),
            false => self.put(key, document),
        }
    }

    /// Whether there may be objects of a kind at the cluster's level.
    pub(crate) fn knows(&self, kind: Kind) -> bool {
        kind.level() <= self.state.level()
    }

    /// An owner reference to an object, as the managing owner.
    pub fn controller_reference(owner: &Object) -> Value {
        serde_json::json!({
            "apiVersion": owner.key.kind.api_version(), "kind": owner.key.kind.info().kind,
            "name": owner.key.name, "uid": owner.meta.uid, "controller": true, "blockOwnerDeletion": true,
        })
    }

    /// The object that a reference from a namespace means, if it is still that one.
    pub fn owner(&self, namespace: &str, reference: &OwnerRef) -> Option<Arc<Object>> {
        let kind = self.state.kind_named(&reference.api_version, &reference.kind)?;
        let namespace = if kind.info().namespaced { namespace } else { "" };
        let key = ObjectKey::new(kind, namespace, &reference.name);
        self.state.get(&key).filter(|o| o.meta.uid == reference.uid).cloned()
    }

    fn change(&mut self, change: Change) {
        self.bytes += change.weight();
        self.events.extend(self.state.apply(&change));
        self.changes.push(change);
    }

    /// Removes an object at once; finalizers and grace are the business of [`Turn::delete`].
    pub(crate) fn remove(&mut self, key: &ObjectKey) {
        let Some(old) = self.state.get(key).cloned() else { return };
        self.change(Change::Delete { key: key.clone() });
        self.queue.remove(key);
        self.to_collect.remove(key);
        self.changed(Some(&old), None);
        self.owner_gone(&old);
    }

    /// What is used of the quotas that this turn touched.
    pub(crate) fn counted(&self) -> &Counted {
        &self.quotas
    }

    /// Notes what is used of a quota now.
    pub(crate) fn count(&mut self, quota: ObjectKey, used: Usage) {
        self.quotas.insert(quota, used);
    }

    /// Writes what is used of the quotas that this turn touched, also of a turn that is full: what is counted must not be lost.
    fn write_quotas(&mut self) {
        for (key, used) in std::mem::take(&mut self.quotas) {
            if let Some((object, status)) = quota::status(&self.state, &key, &used) {
                self.put_status(&object, status);
                // That was this very reaction.
                self.queue.remove(&key);
            }
        }
    }

    /// Who gets to react to a change.
    fn changed(&mut self, old: Option<&Object>, new: Option<&Object>) {
        let Some(object) = new.or(old) else { return };
        let key = &object.key;
        if new.is_some() {
            self.notify(key);
        }
        quota::changed(self, old, new);
        for owners in [old, new].into_iter().flatten().map(|o| &o.meta.owners) {
            for reference in owners.iter().filter(|r| r.controller) {
                if let Some(owner) = self.owner(&key.namespace, reference) {
                    self.notify(&owner.key);
                }
            }
        }
        if key.kind == Kind::POD {
            // Whoever ends or leaves frees capacity.
            let takes = |o: &Object| o.pod().is_some_and(|p| p.node.is_some() && !p.terminal());
            if old.is_some_and(takes) && !new.is_some_and(takes) && !planted(Defect::CapacityNotFreed) {
                self.capacity_changed = true;
            }
            if new.is_some_and(takes) && !old.is_some_and(takes) {
                self.newly_placed.push(key.clone());
            }
            // By another label, others may want it near, or need no longer keep away from it.
            if old.is_some_and(|old| takes(old) && new.is_some_and(|new| old.meta.labels != new.meta.labels))
            {
                self.capacity_changed = true;
            }
            if new.is_some() && self.state.is_unplaced(key) {
                self.unplaced.insert(key.clone());
            }
            self.orphan_changed(object);
            disruption_budget::pod_changed(self, old, new);
        }
        if key.kind == Kind::CLUSTER_ROLE {
            cluster_role::changed(self, old, new);
        }
        if key.kind == Kind::PRIORITY_LEVEL_CONFIGURATION && old.is_none() != new.is_none() {
            flow_schema::level_changed(self, key);
        }
        if flow::upkeep::keeps(key.kind) && new.is_none() {
            flow::upkeep::removed(self, key);
        }
        if key.kind == Kind::CUSTOM_RESOURCE_DEFINITION {
            definition::changed(self, old, new);
        }
        if matches!(key.kind, Kind::SERVICE | Kind::SERVICE_CIDR) {
            service_cidr::changed(self, old, new);
        }
        if key.kind == Kind::SERVICE {
            endpoints::service_changed(self, key);
        }
        candidates::changed(self, key);
        if let Some(old) = old
            && namespace::furnishes(key)
        {
            namespace::furniture_changed(self, old, new);
        }
        if key.kind == Kind::NODE {
            self.capacity_changed = true;
            daemon_set::node_changed(self, old, new);
        }
        storage::changed(self, old, new);
        // Terms of pod affinity may select namespaces by their labels.
        if key.kind == Kind::NAMESPACE && old.map(|o| &o.meta.labels) != new.map(|o| &o.meta.labels) {
            self.capacity_changed = true;
        }
        if let Some(old) = old
            && new.is_none()
        {
            if !key.namespace.is_empty() {
                let namespace = ObjectKey::new(Kind::NAMESPACE, "", &key.namespace);
                if self.state.get(&namespace).is_some_and(|n| n.meta.deleting()) {
                    self.notify(&namespace);
                }
            }
            // A definition that goes waits for the objects of its kind.
            if key.kind.is_custom()
                && let Some(definition) =
                    self.state.definition_of(key.kind).filter(|d| d.meta.deleting()).cloned()
            {
                self.notify(&definition.key);
            }
            // A foreground deletion waits for its dependents.
            for reference in &old.meta.owners {
                if let Some(owner) = self.owner(&key.namespace, reference)
                    && delete::waits_for_dependents(&owner)
                {
                    self.to_collect.insert(owner.key.clone());
                }
            }
        }
    }

    /// Has pods without a place tried again of which this holds.
    pub(crate) fn try_again(&mut self, concerns: impl Fn(&ObjectKey, &PodDigest) -> bool) {
        let state = &self.state;
        let concerned = |key: &&ObjectKey| {
            state.get(key).is_some_and(|pod| pod.pod().is_some_and(|digest| concerns(key, digest)))
        };
        let again: Vec<ObjectKey> = state.unplaced().filter(concerned).cloned().collect();
        self.unplaced.extend(again);
    }

    /// A pod without a managing owner may be adopted by whoever manages pods that its selector matches.
    fn orphan_changed(&mut self, pod: &Object) {
        if pod.meta.controller().is_some() || pod.meta.labels.is_empty() {
            return;
        }
        const MANAGERS: [Kind; 5] = [
            Kind::REPLICATION_CONTROLLER,
            Kind::REPLICA_SET,
            Kind::DAEMON_SET,
            Kind::JOB,
            Kind::STATEFUL_SET,
        ];
        let matching: Vec<ObjectKey> = MANAGERS
            .iter()
            .flat_map(|kind| self.state.list(*kind, Some(&pod.key.namespace)))
            .filter(|manager| {
                manager.pod_selector().is_some_and(|s| !s.is_empty() && s.matches(&pod.meta.labels))
            })
            .map(|manager| manager.key.clone())
            .collect();
        for key in matching {
            self.notify(&key);
        }
    }

    /// Collects garbage and runs actors until none has anything to do, then places pods if it is for that, and so on.
    fn run(&mut self) {
        loop {
            self.collect_all();
            let Some(key) = self.next() else {
                if self.place() {
                    continue;
                }
                return;
            };
            self.reactions += 1;
            if self.full() || self.reactions > REACTIONS_LIMIT {
                self.postpone(key);
                return;
            }
            let Some(object) = self.state.get(&key).cloned() else { continue };
            if let Some(reconcile) = key.kind.info().reconcile {
                reconcile(self, &object);
            }
        }
    }

    /// Pods first, then nodes, which send many of them away at once, then what owns them, so that an owner counts once what happened to
    /// many of its pods.
    fn next(&mut self) -> Option<ObjectKey> {
        const ORDER: [Kind; 4] = [Kind::POD, Kind::NODE, Kind::REPLICA_SET, Kind::DEPLOYMENT];
        for kind in ORDER {
            let first = ObjectKey::new(kind, "", "");
            let found = self.queue.range(first..).next().filter(|key| key.kind == kind).cloned();
            if let Some(key) = found {
                self.queue.remove(&key);
                return Some(key);
            }
        }
        self.queue.pop_first()
    }

    /// The turn is full: whoever has not reacted is woken at once, in a next turn.
    fn postpone(&mut self, key: ObjectKey) {
        let now = self.context.now_ms;
        self.wake_by(&key, now);
        while let Some(key) = self.queue.pop_first() {
            self.wake_by(&key, now);
        }
    }

    /// What is left to be placed.
    fn left_to_place(&mut self) -> ToPlace {
        let mut pods = std::mem::take(&mut self.unplaced);
        pods.extend(self.found_company());
        pods.retain(|key| self.state.is_unplaced(key));
        ToPlace { pods, all: self.capacity_changed }
    }

    fn take(&mut self, input: &Input) -> Outcome {
        match input {
            Input::Api(request) => self.api(request),
            Input::NodeHello(hello) => {
                crate::kinds::node::hello(self, hello);
                Outcome::Done
            }
            Input::Verdicts(verdicts) => {
                for verdict in verdicts {
                    crate::kinds::node::verdict(self, verdict);
                }
                Outcome::Done
            }
            Input::Reports(reports) => {
                for report in reports {
                    self.report(report);
                }
                Outcome::Done
            }
            Input::Wake(keys) => {
                for key in keys {
                    if self.state.wake_of(key).is_some_and(|at| at <= self.context.now_ms) {
                        self.set_wake(key, None);
                        self.woken.insert(key.clone());
                        self.collect(key);
                        self.finish_deletion(key);
                        if self.state.is_unplaced(key) {
                            self.unplaced.insert(key.clone());
                        }
                        self.notify(key);
                    }
                }
                Outcome::Done
            }
            Input::Place(pods) => {
                self.placements_left = PLAN_LIMIT;
                self.unplaced.extend(pods.iter().cloned());
                Outcome::Done
            }
            Input::Bootstrap(objects) => self.begin(objects),
            Input::Raise { level, objects } => {
                let level = (*level).min(LEVEL);
                if level > self.state.level() {
                    self.change(Change::Level(level));
                }
                self.begin(objects)
            }
            Input::Measured(measurements) => {
                crate::kinds::autoscaler::measured(self, measurements);
                Outcome::Done
            }
        }
    }

    /// The beginning of a term, or of a level.
    fn begin(&mut self, objects: &[(ObjectKey, Document)]) -> Outcome {
        for (key, document) in objects {
            self.bootstrap(key, document);
        }
        self.notify_unseen();
        Outcome::Done
    }

    /// The outcome with the object as it stands at the end of the turn.
    fn refresh(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Object { key, revision, document } => match self.state.get(&key) {
                Some(object) => Outcome::Object {
                    key,
                    revision: object.revision,
                    document: Some(object.document.whole()),
                },
                // Gone within the turn: its last state is the answer.
                None => Outcome::Deleted { key, revision, document },
            },
            other => other,
        }
    }
}
