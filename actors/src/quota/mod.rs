//! Resource quotas: what the objects of a namespace may take together.
//! <https://kubernetes.io/docs/concepts/policy/resource-quotas/>
//!
//! What is used stands in the quota's own status, which is counted on with each change of an object in the same turn: nothing can take
//! what another one has taken already, and nothing is scanned. A quota that is new, or that somebody else wrote to, is counted anew.
//! Without a quota a change in a namespace costs one look whether there is one.
//!
//! Clients' objects are refused, and pods and claims that actors make. What actors make besides (ReplicaSets, Jobs of CronJobs, events) is
//! counted, and not refused.

mod amount;
mod scope;
mod usage;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
pub(crate) use usage::{Usage, of_pod};

use crate::{
    kind::Kind,
    object::{Document, Object, ObjectKey},
    state::State,
    turn::Turn,
};

/// What each quota that a turn touched counts: written at the turn's end.
pub(crate) type Counted = BTreeMap<ObjectKey, Usage>;

/// A quota as it is to be kept.
struct Quota {
    key: ObjectKey,
    spec: Value,
    hard: Usage,
    status: Value,
}

impl Quota {
    fn of(object: &Object) -> Quota {
        let spec = object.document.spec_value();
        let hard = usage::read(&spec["hard"]);
        Quota { key: object.key.clone(), hard, status: object.document.status_value(), spec }
    }

    /// What an object takes of it.
    fn taken(&self, key: &ObjectKey, document: &Document) -> Usage {
        if !scope::covers(&self.spec, key, document) {
            return Usage::new();
        }
        let mut usage = usage::of(key, document);
        usage.retain(|name, _| self.hard.contains_key(name));
        usage
    }

    /// What is used of it: as this turn has counted it, or as it stands, or counted anew when that is about something else.
    fn used(&self, state: &State, counted: &Counted) -> Usage {
        if let Some(used) = counted.get(&self.key) {
            return used.clone();
        }
        if self.status["hard"] == self.spec["hard"] && self.status["used"].is_object() {
            return usage::read(&self.status["used"]);
        }
        self.recount(state)
    }

    fn recount(&self, state: &State) -> Usage {
        let mut used: Usage = self.hard.keys().map(|name| (name.clone(), 0)).collect();
        for kind in Kind::all().filter(|kind| kind.info().namespaced && usage::concerns(*kind, &self.hard)) {
            for object in state.list(kind, Some(&self.key.namespace)) {
                usage::add(&mut used, &self.taken(&object.key, &object.document.whole()), 1);
            }
        }
        used
    }
}

fn quotas(state: &State, namespace: &str) -> Vec<Quota> {
    if namespace.is_empty() {
        return Vec::new();
    }
    state.list(Kind::RESOURCE_QUOTA, Some(namespace)).map(|object| Quota::of(object)).collect()
}

/// Whether an object may be what it is to be, in Kubernetes' words where it may not.
pub(crate) fn admit(
    turn: &Turn,
    key: &ObjectKey,
    old: Option<&Document>,
    new: &Document,
) -> Result<(), String> {
    for quota in quotas(turn.state(), &key.namespace) {
        let name = &quota.key.name;
        let mut more = quota.taken(key, new);
        if old.is_none() && !more.is_empty() && key.kind == Kind::POD {
            let spec = new.spec_value();
            usage::all_told(&spec, &quota.hard).map_err(|why| format!("failed quota: {name}: {why}"))?;
        }
        if let Some(old) = old {
            usage::add(&mut more, &quota.taken(key, old), -1);
        }
        more.retain(|_, amount| *amount > 0);
        if more.is_empty() {
            continue;
        }
        let used = quota.used(turn.state(), turn.counted());
        let of = |usage: &Usage, name: &String| usage.get(name).copied().unwrap_or(0);
        more.retain(|name, amount| of(&used, name).saturating_add(*amount) > of(&quota.hard, name));
        if !more.is_empty() {
            let told = |usage: &Usage| {
                let texts = more.keys().map(|name| format!("{name}={}", amount::text(name, of(usage, name))));
                texts.collect::<Vec<_>>().join(",")
            };
            let (requested, used, limited) = (told(&more), told(&used), told(&quota.hard));
            return Err(format!(
                "exceeded quota: {name}, requested: {requested}, used: {used}, limited: {limited}"
            ));
        }
    }
    Ok(())
}

/// Whether an object may be made that an actor is about to make.
pub(crate) fn admit_value(turn: &Turn, key: &ObjectKey, value: &Value) -> Result<(), String> {
    if turn.state().list(Kind::RESOURCE_QUOTA, Some(&key.namespace)).next().is_none() {
        return Ok(());
    }
    admit(turn, key, None, &Document::from_value(value.clone()))
}

/// An object came, went or became something else: the quotas of its namespace count it.
pub(crate) fn changed(turn: &mut Turn, old: Option<&Object>, new: Option<&Object>) {
    let Some(key) = new.or(old).map(|object| &object.key) else { return };
    if let (Some(old), Some(new)) = (old, new)
        && usage::same(old, new)
    {
        return;
    }
    for quota in quotas(turn.state(), &key.namespace) {
        let taken =
            |object: Option<&Object>| object.map_or(Usage::new(), |o| quota.taken(key, &o.document.whole()));
        let (before, after) = (taken(old), taken(new));
        if before == after || quota.key == *key {
            continue;
        }
        // What is counted anew here has the change in it already.
        let fresh = !turn.counted().contains_key(&quota.key) && quota.status["hard"] != quota.spec["hard"];
        let mut used = quota.used(turn.state(), turn.counted());
        if !fresh {
            usage::add(&mut used, &after, 1);
            usage::add(&mut used, &before, -1);
        }
        turn.count(quota.key.clone(), used);
    }
}

/// A quota is new, or somebody wrote to it: it is counted anew.
pub(crate) fn reconcile(turn: &mut Turn, me: &Object) {
    if me.meta.deleting() {
        return;
    }
    let used = Quota::of(me).recount(turn.state());
    turn.count(me.key.clone(), used);
}

/// The status of a quota that uses so much; none if it is gone.
pub(crate) fn status(state: &State, key: &ObjectKey, used: &Usage) -> Option<(Arc<Object>, Value)> {
    let object = state.get(key)?.clone();
    let hard = object.document.spec_value()["hard"].clone();
    let names = hard.as_object().into_iter().flatten().map(|(name, _)| name);
    let used: serde_json::Map<String, Value> = names
        .map(|name| (name.clone(), amount::text(name, used.get(name).copied().unwrap_or(0)).into()))
        .collect();
    let mut status = object.document.status_value();
    if !status.is_object() {
        status = json!({});
    }
    status["hard"] = if hard.is_null() { json!({}) } else { hard };
    status["used"] = Value::Object(used);
    Some((object, status))
}
